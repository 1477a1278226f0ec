"""Tokenizers: a byte-level BPE of one's own or any Hugging Face `tokenizer.json`, and text to ids without accidents.

Special strings that occur in a text (a page about `<｜fim▁begin｜>`, a scraped chat template) are encoded as the
characters they are: as the same tokenizer.json without its added tokens would. Only the packing code can place a
control token.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from corpus import storage
from corpus.errors import LodeError
from corpus.fast_bpe import BYTES, FastBPE, UnknownPattern, blocks, byte_level

# Roles and the strings that play them in the tokenizers of the lineage and of its neighbours, best first.
SPECIAL = {
    "bos": ("<｜begin▁of▁sentence｜>", "<s>", "<|begin_of_text|>", "<|im_start|>", "<|endoftext|>"),
    "eos": ("<｜end▁of▁sentence｜>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>"),
    "pad": ("<｜▁pad▁｜>", "<pad>", "<|fim_pad|>"),
    "fim_begin": ("<｜fim▁begin｜>", "<|fim_prefix|>", "<fim_prefix>"),
    "fim_hole": ("<｜fim▁hole｜>", "<|fim_suffix|>", "<fim_suffix>"),
    "fim_end": ("<｜fim▁end｜>", "<|fim_middle|>", "<fim_middle>"),
}
# DeepSeek-V3 splits a text before BPE: digits in threes at most, runs of Han and kana, a word with the ASCII
# punctuation or the blank before it, punctuation and symbols with the line breaks after them, blanks.
SPLIT = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-\u30ff]+",
    r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """DeepSeek-V3's: its merges join punctuation with the line breaks after it (arXiv 2412.19437, section 4.1)."""
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLIT]
    return pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A byte-level BPE with DeepSeek's special tokens; every string of bytes has an encoding and decodes to itself.

    Raises:
        LodeError: the vocabulary has no room for the bytes and the special tokens, or there is no text.
    """
    special = [names[0] for names in SPECIAL.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary_size < len(alphabet) + len(special):
        raise LodeError(
            f"a vocabulary of {vocabulary_size:,} entries: {len(alphabet)} bytes and {len(special)} special tokens "
            "are in it before any word; give a larger one."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        show_progress=False,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        max_token_length=64,
    )
    seen = [text for text in texts if text]
    if not seen:
        raise LodeError("there is no text to train a tokenizer on.")
    tokenizer.train_from_iterator(seen, trainer)
    return tokenizer


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
        if getattr(tokenizer.model, "dropout", None):
            tokenizer.model.dropout = None  # the same text always gets the same ids
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

    @cached_property
    def vocabulary_size(self) -> int:
        """Rows that an embedding needs: ids may have gaps."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def reserved(self) -> dict[str, int]:
        """Special strings and their ids: what a file adds to its vocabulary, but for blanks of some width."""
        added = self.tokenizer.get_added_tokens_decoder()
        return {token.content: i for i, token in added.items() if token.special or token.content.strip()}

    @cached_property
    def reserved_in(self) -> re.Pattern[str]:
        """Finds special strings in a text, the longest at each place."""
        # Of one character there are only mistakes: bytes that no UTF-8 has, written as the letters that stand for them.
        names = sorted((name for name in self.reserved if len(name) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or "(?!)")

    @cached_property
    def _control(self) -> np.ndarray:
        """Which ids no text may give (bool). What stands for unknown characters may, unless it has another role; so may
        a single character that was added as a word like others."""
        found = np.zeros(self.vocabulary_size, bool)
        added = self.tokenizer.get_added_tokens_decoder()
        found[[i for name, i in self.reserved.items() if len(name) > 1 or added[i].special]] = True
        unknown = getattr(self.tokenizer.model, "unk_token", None)
        if unknown is not None and (i := self.reserved.get(unknown)) is not None:
            found[i] = i in self.special.values()
        return found

    @cached_property
    def _plain(self) -> tuple[Tokenizer, np.ndarray | None]:
        """The tokenizer without special strings, and the ids of its ids where they are not the same."""
        plain = Tokenizer(self.tokenizer.model)
        for part in ("normalizer", "pre_tokenizer"):
            if (step := getattr(self.tokenizer, part)) is not None:
                setattr(plain, part, step)
        added = self.tokenizer.get_added_tokens_decoder()
        blanks = {i: token for i, token in added.items() if token.content not in self.reserved}
        if not blanks:
            return plain, None
        plain.add_tokens(list(blanks.values()))
        ids = np.arange(max(plain.get_vocab().values()) + 1, dtype=np.int32)
        for i, token in blanks.items():
            ids[plain.token_to_id(token.content)] = i
        return plain, ids

    @cached_property
    def _fast(self) -> FastBPE | None:
        plain, ids = self._plain
        try:
            return FastBPE(plain) if ids is None else None
        except UnknownPattern:
            return None

    @cached_property
    def _cuttable(self) -> bool:
        """May a long text be encoded block by block? Not where a token goes on over the place of the cut, nor where
        every beginning of a text gets a blank."""
        if self._fast is not None:
            return True
        if any(map(OVER_SEAM.search, self.tokenizer.get_vocab(with_added_tokens=False))):
            return False
        texts = ("A vein", " of ore\n", "lies in\n", "rock of", "\nthe hill.")
        return np.array_equal(
            self._slow("".join(texts))[0], np.concatenate([self._slow(text)[0] for text in texts])
        )

    def _slow(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids and starts from `tokenizers` itself."""
        plain, renumbered = self._plain
        encoding = plain.encode(text, add_special_tokens=False)
        ids = np.array(encoding.ids, np.int32)
        spans = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        # A token that begins before the end of one before it begins inside a character.
        ends = np.maximum.accumulate(np.concatenate([np.zeros(1, np.int64), spans[:, 1]]))[:-1]
        starts = np.maximum.accumulate(np.where(spans[:, 0] >= ends, spans[:, 0], 0))
        return ids if renumbered is None else renumbered[ids], starts

    def _encoded(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        found, base = [], 0
        for block in blocks(text) if self._cuttable else (text,):
            ids, starts = self._slow(block)
            found.append((ids, starts + base))
            base += len(block)
        return np.concatenate([ids for ids, _ in found]), np.concatenate([starts for _, starts in found])

    def _escaped(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """As `_encoded`, for a model that takes special strings for words: cut inside each of them."""
        cuts = {0, len(text), *(match.start() + 1 for match in self.reserved_in.finditer(text))}
        while True:
            parts = [(*self._encoded(text[start:end]), start) for start, end in pairwise(sorted(cuts))]
            ids = np.concatenate([ids for ids, _, _ in parts])
            starts = np.concatenate([starts + base for _, starts, base in parts])
            control = self._control[ids]
            # A normalizer makes such strings of others: they show in the ids only.
            more = {*(starts[control] + 1).tolist()} - cuts
            if not more:
                return ids[~control], starts[~control]
            cuts |= more

    def encode(self, text: str) -> np.ndarray:
        """Ids of a text (int32), with no special token among them."""
        try:
            ids = self._fast.encode(text) if self._fast else self._encoded(text)[0]
        except UnknownPattern:
            ids = self._encoded(text)[0]
        return self._escaped(text)[0] if self._control[ids].any() else ids

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids of a text (int32) and the character at which each starts (int64). A token that begins inside a
        character has the start of the token before it: wherever the start grows, the text can be cut between."""
        try:
            ids, starts = self._fast.encode_with_offsets(text) if self._fast else self._encoded(text)
        except UnknownPattern:
            ids, starts = self._encoded(text)
        return self._escaped(text) if self._control[ids].any() else (ids, starts)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    @cached_property
    def _joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each id: tokens it is split to (0: it stays whole), and where these begin in the third array."""
        count, first = np.zeros(self.vocabulary_size, np.int64), np.zeros(self.vocabulary_size, np.int64)
        parts: list[int] = []
        model = self.tokenizer.model
        for token, i in sorted(self.tokenizer.get_vocab(with_added_tokens=False).items()):
            if token[-1:] not in LINE_BREAKS or not isinstance(model, models.BPE) or self._control[i]:
                continue
            left = token.rstrip(LINE_BREAKS)
            if not punctuation(left):
                continue
            halves = [[piece.id for piece in model.tokenize(half)] for half in (left, token[len(left) :])]
            ids = halves[0] + halves[1]
            if all(halves) and i not in ids and not self._control[ids].any():
                count[i], first[i] = len(ids), len(parts)
                parts += ids
        return count, first, np.array(parts, np.int32)

    @property
    def joined_tokens(self) -> int:
        """Tokens of the vocabulary that join punctuation with the line breaks after it."""
        return int(np.count_nonzero(self._joined[0]))

    def split(self, ids: np.ndarray, rate: float, key: int | str) -> np.ndarray:
        """Ids (int32) with a share of the tokens that join punctuation with line breaks split in these two.

        A prompt that ends in punctuation never ends in such a token, so a model that has seen no other goes on
        badly from there (DeepSeek-V3, arXiv 2412.19437, section 4.1). Each is split with probability `rate`, drawn
        from a hash of `key` and its place in `ids`. The text is the same.
        """
        count, first, parts = self._joined
        places = np.flatnonzero(count[ids])
        chosen = places[fractions(key, places) < rate]
        if not len(chosen):
            return ids
        lengths = np.ones(len(ids), np.int64)
        lengths[chosen] = count[ids[chosen]]
        out = np.repeat(ids, lengths).astype(np.int32, copy=False)
        # The k-th of all tokens that come of splitting: the chosen token's place, and which of its parts it is.
        sizes = lengths[chosen]
        nth = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        begins = (np.cumsum(lengths) - lengths)[chosen]
        out[np.repeat(begins, sizes) + nth] = parts[np.repeat(first[ids[chosen]], sizes) + nth]
        return out


LINE_BREAKS = byte_level("\r\n")
# Tokens over a `fast_bpe.SEAM`, as SentencePiece and byte-level BPE write them (ä to é begin the ideographs).
OVER_SEAM = re.compile(r"[A-Za-z][ \n▁ĠĊ]|[\nĊ][A-Za-z一-龥ä-é]")


def punctuation(token: str) -> bool:
    """Is a byte-level token punctuation or symbols, maybe behind a blank?"""
    try:
        text = bytes(BYTES[char] for char in token).decode().removeprefix(" ")
    except (KeyError, UnicodeDecodeError):
        return False
    return bool(text) and all(unicodedata.category(char)[0] in "PS" for char in text)


def fractions(key: int | str, places: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each place: splitmix64 from a hash of the key."""
    state = np.uint64(xxhash.xxh3_64_intdigest(str(key).encode()))
    state = state + (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@lru_cache(maxsize=2)
def load(path: str, mark: str) -> TextTokenizer:
    """A tokenizer, loaded once in a process. `mark` changes with the file's content: workers outlive a run."""
    return TextTokenizer.load(path)


def check(tokenizer: TextTokenizer, texts: Iterable[tuple[str, str | None, str]]) -> dict[str, Any]:
    """What a tokenizer makes of texts (each with its id and its language).

    Returns:
        fertility by language in characters and in bytes a token, texts that come back changed with the first of
        them, roles that it has no token for, special strings that occur in texts, tokens that join punctuation
        with line breaks.
    """
    languages: dict[str, Counter[str]] = {}
    count = changed = with_reserved = 0
    example: dict[str, Any] | None = None
    reserved: Counter[str] = Counter()
    for name, language, text in texts:
        ids = tokenizer.encode(text)
        count += 1
        languages.setdefault(language or "unknown", Counter()).update(
            texts=1, tokens=len(ids), characters=len(text), bytes=len(text.encode())
        )
        if (back := tokenizer.decode(ids)) != text:
            changed += 1
            if example is None:
                place = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), None)
                place = min(len(text), len(back)) if place is None else place
                around = slice(max(place - 10, 0), place + 10)
                example = {"id": name, "character": place, "text": text[around], "decoded": back[around]}
        found = tokenizer.reserved_in.findall(text)
        with_reserved += bool(found)
        reserved.update(found)
    rows = {
        language: {
            "texts": tally["texts"],
            "tokens": tally["tokens"],
            "characters_per_token": round(tally["characters"] / max(tally["tokens"], 1), 3),
            "bytes_per_token": round(tally["bytes"] / max(tally["tokens"], 1), 3),
        }
        for language, tally in sorted(languages.items(), key=lambda item: (-item[1]["tokens"], item[0]))
    }
    return {
        "vocabulary_size": tokenizer.vocabulary_size,
        "fingerprint": tokenizer.fingerprint,
        "special": tokenizer.special,
        "missing": [role for role in SPECIAL if role not in tokenizer.special],
        "tokens_that_join_punctuation_and_line_breaks": tokenizer.joined_tokens,
        "texts": count,
        "languages": rows,
        "changed": changed,
        "first_changed": example,
        "texts_with_special_strings": with_reserved,
        "special_strings": dict(reserved.most_common(20)),
    }
