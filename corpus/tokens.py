"""Tokenizers: a byte-level BPE of one's own or any Hugging Face `tokenizer.json`, and text to ids without accidents.

Special strings that occur in a text (a page about `<｜fim▁begin｜>`, a scraped chat template) are encoded as the
characters they are. Only the packing code can place a control token.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import xxhash
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from corpus import storage
from corpus.errors import LodeError

# Roles and the strings that play them in the tokenizers of the lineage and of its neighbours, best first.
SPECIAL = {
    "bos": ("<｜begin▁of▁sentence｜>", "<s>", "<|begin_of_text|>", "<|im_start|>", "<|endoftext|>"),
    "eos": ("<｜end▁of▁sentence｜>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>"),
    "pad": ("<｜▁pad▁｜>", "<pad>", "<|fim_pad|>"),
    "fim_begin": ("<｜fim▁begin｜>", "<|fim_prefix|>", "<fim_prefix>"),
    "fim_hole": ("<｜fim▁hole｜>", "<|fim_suffix|>", "<fim_suffix>"),
    "fim_end": ("<｜fim▁end｜>", "<|fim_middle|>", "<fim_middle>"),
}
# DeepSeek-V2/V3 split a text before BPE: digits in threes at most, runs of Han and kana, words with a leading
# space or mark, runs of punctuation with the newlines after them, spaces.
SPLIT = (
    r"\p{N}{1,3}",
    r"[一-龥\u3040-\u309f\u30a0-\u30ff]+",
    r"[^\r\n\p{L}\p{N}]?\p{L}[\p{L}\p{M}]*| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def train_tokenizer(texts: Iterator[str], vocabulary_size: int) -> Tokenizer:
    """A byte-level BPE with DeepSeek's special tokens; every string of bytes has an encoding and decodes to itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLIT),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        show_progress=False,
        special_tokens=[names[0] for names in SPECIAL.values()],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=64,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


PIECE_CHARS = 100_000


@dataclass
class TextTokenizer:
    """A tokenizer and its special ids.

    Attributes:
        fingerprint: of the file it came from; shards and models name it, so that they can not be mixed up.
        special: id of each role in `SPECIAL` that this tokenizer has.
    """

    tokenizer: Tokenizer
    fingerprint: str
    special: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str) -> "TextTokenizer":
        fs, inside = storage.filesystem(path)
        try:
            content = fs.cat_file(inside)
        except FileNotFoundError:
            raise LodeError(f"{path}: there is no such tokenizer file.") from None
        except (IsADirectoryError, OSError) as error:
            raise LodeError(f"{path}: a tokenizer.json was expected ({error}).") from None
        try:
            tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise LodeError(f"{path}: not a Hugging Face tokenizer.json ({error}).") from None
        # Published files often carry the truncation of the model they came with; it would cut documents short.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        loaded = cls(tokenizer, xxhash.xxh3_128_hexdigest(content))
        for role, names in SPECIAL.items():
            ids = [tokenizer.token_to_id(name) for name in names]
            found = [i for i in ids if i is not None]
            if found:
                loaded.special[role] = found[0]
        for role in ("bos", "eos"):
            if role not in loaded.special:
                raise LodeError(f"{path}: no {role} token among {', '.join(SPECIAL[role])}.")
        return loaded

    @property
    def vocabulary_size(self) -> int:
        """Rows that an embedding needs: ids may have gaps."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def _reserved(self) -> re.Pattern[str] | None:
        added = [
            token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.content
        ]
        return re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True)))) if added else None

    def _pieces(self, text: str) -> list[str]:
        """The text in pieces for the tokenizer: cut after a line break where it is long, since a tokenizer's own
        bookkeeping is 200 bytes a token, and inside every reserved string, so that no piece holds a whole one."""
        pieces, start = [], 0
        while len(text) - start > PIECE_CHARS:
            end = text.rfind("\n", start, start + PIECE_CHARS) + 1 or start + PIECE_CHARS
            pieces += self._unreserved(text[start:end])
            start = end
        return pieces + self._unreserved(text[start:])

    def _unreserved(self, text: str) -> list[str]:
        pieces, start = [], 0
        if self._reserved is not None:
            position = 0
            while match := self._reserved.search(text, position):
                # After the first character; a one-character reserved string can not be cut and is left out of
                # consideration, since no tokenizer of this family has one.
                position = match.start() + 1
                if len(match.group()) > 1:
                    pieces.append(text[start:position])
                    start = position
        pieces.append(text[start:])
        return pieces

    def encode(self, text: str) -> list[int]:
        """Ids of a text, with no special token among them."""
        ids: list[int] = []
        for piece in self._pieces(text):
            ids += self.tokenizer.encode(piece, add_special_tokens=False).ids
        return ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[int]]:
        """Ids of a text and the character at which each starts. A token that begins inside a character has the
        start of the token before it: wherever the start grows, the text can be cut between the two."""
        ids: list[int] = []
        starts: list[int] = []
        base = 0
        for piece in self._pieces(text):
            encoding = self.tokenizer.encode(piece, add_special_tokens=False)
            ids += encoding.ids
            end = 0
            for start, stop in encoding.offsets:
                starts.append(base + start if start >= end else starts[-1])
                end = max(end, stop)
            base += len(piece)
        return ids, starts

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)


@lru_cache(maxsize=2)
def load(path: str, mark: str) -> TextTokenizer:
    """A tokenizer, loaded once in a process. `mark` changes with the file's content: workers outlive a run."""
    return TextTokenizer.load(path)


def check(tokenizer: TextTokenizer, texts: list[tuple[str, str]]) -> dict[str, Any]:
    """Fertility (tokens per character) by language, exactness of the round trip, and missing special tokens."""
    tokens: dict[str, list[int]] = {}
    inexact = 0
    for language, text in texts:
        ids = tokenizer.encode(text)
        inexact += tokenizer.decode(ids) != text
        entry = tokens.setdefault(language or "unknown", [0, 0])
        entry[0] += len(ids)
        entry[1] += len(text)
    return {
        "vocabulary_size": tokenizer.vocabulary_size,
        "fingerprint": tokenizer.fingerprint,
        "missing": [role for role in SPECIAL if role not in tokenizer.special],
        "characters_per_token": {k: round(c / max(n, 1), 3) for k, (n, c) in sorted(tokens.items())},
        "inexact_round_trips": inexact,
        "texts": len(texts),
    }
