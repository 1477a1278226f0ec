"""Text as the classifiers read it: one function in training and scoring, and the same with BPE for unspaced scripts."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from corpus import storage
from corpus.errors import LodeError
from corpus.ngrams import CODE_POINTS, UNSPACED_CHARACTERS

# fastText reads a supervised example whole, however long: a book would be one huge average.
MAX_CHARS = 20_000
TOKEN = re.compile(rf"\\[a-z]+|[^\W_{UNSPACED_CHARACTERS}]+|[{UNSPACED_CHARACTERS}]|[^\w\s]|_")
# The same, but a run of an unspaced script stays together.
RUN = re.compile(rf"\\[a-z]+|[^\W_{UNSPACED_CHARACTERS}]+|[{UNSPACED_CHARACTERS}]+|[^\w\s]|_")
UNSPACED = re.compile(f"[{UNSPACED_CHARACTERS}]")
NORMALISATION = (
    1  # goes up with every change of what `normalise` gives: a model is used with its own or not at all
)
SPACES = re.compile("[ \t\n\v\f\r\0]+")  # what fastText splits at; no other white space
BLOCK = 1 << 17  # characters worked on at a time: the arrays stay in a core's cache


def fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text[:MAX_CHARS]).lower()


def normalise(text: str) -> str:
    """A text as the classifier sees it, in training and in scoring: one line of lower-case words, LaTeX commands,
    single symbols and, in unspaced scripts, single characters. Labels in the text lose their meaning."""
    return " ".join(TOKEN.findall(fold(text)))


SPACE, WORD, SINGLE, BREAK = range(4)


@cache
def kinds() -> np.ndarray:
    """[CODE_POINTS] uint8: what a character is to `TOKEN`."""
    found = np.zeros(CODE_POINTS, np.uint8)
    every = "".join(map(chr, range(CODE_POINTS)))
    single = rf"(?:[{UNSPACED_CHARACTERS}_]|[^\w\s])+"
    for kind, characters in ((WORD, rf"[^\W_{UNSPACED_CHARACTERS}]+"), (SINGLE, single)):
        for some in re.finditer(characters, every):
            found[some.start() : some.end()] = kind
    return found


def normalise_all(texts: Sequence[str]) -> list[str]:
    """`normalise` of each text; three times as fast, since it looks at the characters of many texts at a time."""
    found = [""] * len(texts)
    held: dict[bool, list[int]] = {True: [], False: []}  # ASCII takes a quarter of the memory
    sizes = {True: 0, False: 0}
    folded = {}
    for i, text in enumerate(texts):
        folded[i] = fold(text)
        kind = folded[i].isascii()
        held[kind].append(i)
        sizes[kind] += len(folded[i])
        for ascii in (True, False):
            if sizes[ascii] >= BLOCK or i == len(texts) - 1:
                block = held[ascii]
                for k, line in zip(block, spaced([folded.pop(k) for k in block]), strict=True):
                    found[k] = line
                held[ascii], sizes[ascii] = [], 0
    return found


def spaced(texts: Sequence[str]) -> list[str]:
    """Folded texts as `TOKEN` splits them, the tokens joined by spaces."""
    whole = "\n".join(texts)
    if not whole or whole.isspace():
        return [""] * len(texts)
    if whole.isascii():
        codes = np.frombuffer(whole.encode(), np.uint8)
    else:
        codes = np.frombuffer(whole.encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = kinds()[codes]
    breaks = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)[:-1] - 1
    kind[breaks] = BREAK
    word = kind == WORD
    starts = word.copy()
    starts[1:] &= ~word[:-1]
    starts |= kind == SINGLE
    slashes = np.flatnonzero(codes[:-1] == ord("\\"))
    if len(slashes):  # a LaTeX command: one token, which ends with its letters
        letters = (codes >= ord("a")) & (codes <= ord("z"))
        slashes = slashes[letters[slashes + 1]]
        starts[slashes + 1] = False
        others = np.append(np.flatnonzero(~letters), len(codes))
        ends = others[np.searchsorted(others, slashes + 1)]
        ends = ends[ends < len(codes)]
        starts[ends] |= word[ends]
    kept = kind != SPACE
    places = np.cumsum(kept.view(np.int8) + starts.view(np.int8), dtype=np.int32)
    spread = np.full(int(places[-1]), ord(" "), codes.dtype)
    at = np.flatnonzero(kept)
    spread[places[at] - 1] = codes[at]
    data = spread.tobytes()
    lines = data.decode() if codes.dtype == np.uint8 else data.decode("utf-32-le", "surrogatepass")
    return [line[1:] for line in lines.split("\n")]  # each token has a space before it


class Normaliser:
    """`normalise`, or with a tokenizer (DeepSeek-Coder-V2, section 2) the same but for runs of unspaced scripts, which
    become pieces of its BPE. All other scripts stay words: BPE takes several times as long and gains nothing there.

    Args:
        tokenizer: a `tokenizer.json` of Hugging Face's tokenizers.

    Raises:
        LodeError: there is no such file, or it is no tokenizer.
    """

    def __init__(self, tokenizer: str | None = None):
        self.json: str | None = None
        if tokenizer is None:
            return
        fs, inside = storage.filesystem(tokenizer)
        try:
            self.json = fs.cat_file(inside).decode("utf-8")
            self.bpe  # noqa: B018
        except FileNotFoundError:
            raise LodeError(f"{tokenizer}: there is no such tokenizer.") from None
        except Exception as error:  # `tokenizers` raises nothing more precise
            raise LodeError(f"{tokenizer}: not a tokenizer.json ({error}).") from error

    @classmethod
    def from_json(cls, content: str | None) -> "Normaliser":
        found = cls()
        found.json = content
        return found

    @property
    def identity(self) -> dict[str, Any]:
        """What a model's texts have to be normalised with."""
        digest = hashlib.sha256(self.json.encode()).hexdigest() if self.json is not None else None
        return {"normalisation": NORMALISATION, "tokenizer_sha256": digest}

    @cached_property
    def bpe(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.json)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def pieces(self) -> dict[int, str]:
        """How the tokens seen so far are written; the vocabulary bounds it."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {"json": self.json}

    def __call__(self, text: str) -> str:
        return self.batch([text])[0]

    def batch(self, texts: Sequence[str]) -> list[str]:
        """Normalised texts, one line each."""
        found = normalise_all(texts)
        if self.json is not None:
            for i in (i for i, line in enumerate(found) if UNSPACED.search(line)):
                # One after the other: a batch would start as many threads as there are cores in each worker.
                tokens = RUN.findall(fold(texts[i]))
                found[i] = " ".join(self.split(t) if UNSPACED.match(t) else t for t in tokens)
        return found

    def split(self, run: str) -> str:
        ids = self.bpe.encode(run, add_special_tokens=False).ids
        return " ".join(self.pieces.get(number) or self.piece(number) for number in ids) or run

    def piece(self, number: int) -> str:
        """A token as its text where it is some characters, else (a part of one) as the vocabulary names it."""
        text = self.bpe.decode([number], skip_special_tokens=False)
        if not text.strip() or "\ufffd" in text:
            text = self.bpe.id_to_token(number)
        self.pieces[number] = SPACES.sub("", text) or f"<{number}>"
        return self.pieces[number]
