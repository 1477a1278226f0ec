"""Text to hashed tokens and n-grams, for near-duplicates and for contamination: one tokenizer, vectorised.

    texts ─► code points ─► folded, classified (a table look-up each) ─► runs are tokens ─► hashes of tokens
          ─► hashes of n-grams, which differences of prefix sums give for any n

Hashes depend on nothing but a document's own text: not on the batch it came in, nor on the machine.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Profile = Literal["prose", "math", "code"]
PROFILES: tuple[Profile, ...] = ("prose", "math", "code")
# What decides whether two texts have the same words: see `tables`.
Reading = Profile | Literal["words"]

# Characters that are worked on at a time: the arrays of a block stay in a core's cache, whatever a document's length.
BLOCK = 1 << 17
# Han, kana, Thai, Lao, Khmer and Burmese are written without spaces: there each character is a token.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
# The same for a class of a regular expression.
UNSPACED_CHARACTERS = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
SEPARATOR, WORD, SINGLE, IGNORED, NUMBER = 0, 1, 2, 3, 4
CODE_POINTS = 0x110000
# Odd, so it has an inverse modulo 2^64 (2^64 / golden ratio).
BASE = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Tables:
    """For every code point what it folds to (from CODE_POINTS up: an entry of `longer`) and its class."""

    fold: np.ndarray  # [CODE_POINTS] uint32
    kind: np.ndarray  # [CODE_POINTS + longer] uint8
    longer: tuple[np.ndarray, ...]  # code points of those that fold to several


@functools.cache
def tables(profile: Reading) -> Tables:
    """The profile's tables.

    `prose`: words of letters, digits and marks, compatibility forms and case folded; the rest separates. `math`
    and `code`: case counts, and every operator and symbol is a token of its own; in `code` the underscore belongs
    to the word. `words`: as `prose`, but a word ends where a number begins (3x is 3 x), and nothing that a change of
    case can bring about or an accent makes a difference.
    """
    fold = np.arange(CODE_POINTS, dtype=np.uint32)
    kind = np.zeros(CODE_POINTS, np.uint8)
    longer: list[np.ndarray] = []
    # Beyond these planes nothing is assigned but tags and private use.
    for code in range(0x40000):
        char = chr(code)
        category = unicodedata.category(char)
        if profile in ("prose", "words") and category not in ("Cn", "Cs", "Co"):
            folded = unicodedata.normalize("NFKC", char).lower() if profile == "prose" else bare(char)
            if len(folded) > 1:
                fold[code] = CODE_POINTS + len(longer)
                longer.append(np.array([ord(c) for c in folded], np.uint32))
            elif folded != char:
                fold[code] = ord(folded)
        if category == "Cf":
            kind[code] = IGNORED  # soft hyphens, joiners and byte order marks hide in words
        elif profile == "words" and (category[0] == "N" or 0x300 <= code < 0x370):
            kind[code] = NUMBER if category[0] == "N" else IGNORED
        elif category[0] in "LNM":
            kind[code] = WORD
        elif profile in ("math", "code") and category[0] in "PS":
            kind[code] = SINGLE
    for first, last in UNSPACED:
        span = kind[first : last + 1]
        span[span == WORD] = SINGLE
    if profile == "code":
        kind[ord("_")] = WORD
    return Tables(fold, kind, tuple(longer))


def bare(char: str) -> str:
    """A character without case, accents (of Latin, Greek and Cyrillic) and compatibility form."""
    # First to capitals: that is how ς and σ, ı and i, ſ and s come together.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", char).upper().casefold())
    plain = "".join(c for c in folded if not 0x300 <= ord(c) < 0x370)
    return unicodedata.normalize("NFC", plain) or char


@functools.cache
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """BASE to the powers 0 .. count - 1, and to their negatives, modulo 2^64."""
    both = []
    for base in (BASE, pow(BASE, -1, 2**64)):
        steps = np.full(count, base, np.uint64)
        steps[0] = 1
        both.append(np.multiply.accumulate(steps))
    return both[0], both[1]


def powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    up, down = _powers(max(1 << 19, 1 << (count - 1).bit_length()))
    return up[:count], down[:count]


def mixed(hashes: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64, in place: prefix sums alone leave the low bits weak."""
    hashes ^= hashes >> np.uint64(30)
    hashes *= MIX_1
    hashes ^= hashes >> np.uint64(27)
    hashes *= MIX_2
    hashes ^= hashes >> np.uint64(31)
    return hashes


def prefix_sums(values: np.ndarray) -> np.ndarray:
    """[len + 1] uint64: the polynomial in BASE; `spans` reads the hash of any run of values out of it."""
    sums = np.empty(len(values) + 1, np.uint64)
    sums[0] = 0
    np.multiply(values, powers(len(values))[0], out=sums[1:])
    np.cumsum(sums[1:], out=sums[1:])
    return sums


def spans(sums: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hashes uint64 of the runs of values from `starts` to `ends`."""
    return mixed((sums[ends] - sums[starts]) * powers(len(sums))[1][starts])


@dataclass
class Block:
    """Tokens of some consecutive documents, or of a stretch of a long one.

    Args:
        first: index of its first document.
        offsets: [D + 1] int64; tokens of document `first + d` are offsets[d] : offsets[d + 1].
        hashes: [T] uint64.
        starts, ends: [T] int64, characters in the token's own document.
        before: tokens of the first document that lie in earlier blocks only.
        finished: the last document ends here.
    """

    first: int
    offsets: np.ndarray
    hashes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    before: int = 0
    finished: bool = True

    @functools.cached_property
    def sums(self) -> np.ndarray:
        return prefix_sums(self.hashes)

    def ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes [M] uint64 of all n-grams within one document, and the index [M] of the first token of each."""
        windows = np.maximum(np.diff(self.offsets) - n + 1, 0)
        tokens = runs(self.offsets[:-1], windows)
        return spans(self.sums, tokens, tokens + n), tokens

    def shingles(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes [M] uint64 of the n-grams and their number [D] for each document.

        A document of fewer than n tokens is one shingle, all of it: it is like its equals and like nothing else.
        """
        tokens = np.diff(self.offsets)
        counts = np.maximum(tokens - n + 1, 0)
        short = (tokens > 0) & (tokens < n)
        short[0] &= self.before == 0
        short[-1] &= self.finished
        counts[short] = 1
        first = runs(self.offsets[:-1], counts)
        last = first + np.repeat(np.where(short, tokens, n), counts)
        return spans(self.sums, first, last), counts


def runs(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[sum of counts] int64: starts[0], starts[0] + 1, ... (counts[0] of them), then from starts[1] on."""
    done = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(starts - done, counts)


# Marks on one letter. Putting more in their order takes the square of their number, and nobody writes them.
MARKS = 256


@functools.cache
def marks() -> np.ndarray:
    """[CODE_POINTS] bool: what combines with the character before."""
    return np.fromiter(
        (unicodedata.combining(chr(code)) > 0 for code in range(CODE_POINTS)), bool, CODE_POINTS
    )


# Neither changed by what stands before it nor changing that: a text may be cut in front of it.
CUT = re.compile("[\0-\u02ff\u4e00-\u9fff]")


def nfc(text: str) -> str:
    """A text in NFC, in which places are counted; as it is where `MARKS` and more stand on one letter."""
    if text.isascii():
        return text
    pieces = []
    at = 0
    while at < len(text):  # in pieces, since normalising takes ten times a text's memory
        cut = CUT.search(text, at + BLOCK)
        end = cut.start() if cut else len(text)
        piece = text[at:end]
        if not unicodedata.is_normalized("NFC", piece):
            codes = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), np.uint32)
            starters = np.flatnonzero(~marks()[codes])
            if np.diff(starters, prepend=-1, append=len(piece)).max() > MARKS:
                return text
            piece = unicodedata.normalize("NFC", piece)
        pieces.append(piece)
        at = end
    return "".join(pieces)


def blocks(texts: Sequence[str], profile: Reading, overlap: int = 0) -> Iterator[Block]:
    """Documents as blocks of tokens, in order.

    A document longer than a block comes in several, and each repeats the last `overlap` tokens of the one before,
    so that no n-gram of overlap + 1 tokens is missed. Positions count characters of the text in NFC.
    """
    held: list[str] = []
    first, size = 0, 0
    for index, text in enumerate(texts):
        text = nfc(text)
        if held and size + len(text) > BLOCK:
            yield _documents(held, first, profile)
            held, size = [], 0
        if len(text) > BLOCK:
            yield from _stretches(text, index, profile, overlap)
            continue
        if not held:
            first = index
        held.append(text)
        size += len(text) + 1
    if held:
        yield _documents(held, first, profile)


def _documents(texts: list[str], first: int, profile: Reading) -> Block:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    ends = np.cumsum(lengths)
    hashes, starts, stops = _tokens(_classified("\n".join(texts), profile))
    offsets = np.concatenate([[0], np.searchsorted(starts, ends)])
    began = np.repeat(ends - lengths, np.diff(offsets))
    return Block(first, offsets, hashes, starts - began, stops - began)


def _stretches(text: str, index: int, profile: Reading, overlap: int) -> Iterator[Block]:
    carried: tuple[np.ndarray, ...] = (np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))
    at = seen = 0
    while at < len(text):
        codes, kinds, origin = _classified(text[at : at + BLOCK], profile)
        finished = at + BLOCK >= len(text)
        width = min(BLOCK, len(text) - at)
        if not finished:
            # Cut at the last separator, so that no token is cut in two, unless there is none for a long way.
            gaps = np.flatnonzero(kinds[len(kinds) // 2 :] == SEPARATOR)
            if len(gaps):
                cut = len(kinds) // 2 + int(gaps[-1])
                width = int(origin[cut]) if origin is not None else cut
                codes, kinds, origin = codes[:cut], kinds[:cut], origin if origin is None else origin[:cut]
        hashes, starts, ends = _tokens((codes, kinds, origin))
        parts = [np.concatenate(pair) for pair in zip(carried, (hashes, starts + at, ends + at), strict=True)]
        before = seen - len(carried[0])
        yield Block(index, np.array([0, len(parts[0])]), parts[0], parts[1], parts[2], before, finished)
        seen += len(hashes)
        carried = tuple(part[max(0, len(part) - overlap) :] for part in parts)
        at += width


def _classified(text: str, profile: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Folded code points, their classes, and the place of each in the text where that is not its own index."""
    table = tables(profile)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    origin = None
    if profile in ("prose", "words"):
        codes = table.fold[codes]
        if not text.isascii() and (long := np.flatnonzero(codes >= CODE_POINTS)).size:
            entries = [table.longer[code - CODE_POINTS] for code in codes[long].tolist()]
            lengths = np.ones(len(codes), np.int64)
            lengths[long] = [len(entry) for entry in entries]
            origin = np.repeat(np.arange(len(codes)), lengths)
            codes = np.repeat(codes, lengths)
            codes[codes >= CODE_POINTS] = np.concatenate(entries)
    kinds = table.kind[codes]
    if not text.isascii() and (kinds == IGNORED).any():
        stays = kinds != IGNORED
        origin = np.flatnonzero(stays) if origin is None else origin[stays]
        codes, kinds = codes[stays], kinds[stays]
    return codes, kinds, origin


def _tokens(
    classified: tuple[np.ndarray, np.ndarray, np.ndarray | None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, first characters and ends of the tokens."""
    codes, kinds, origin = classified
    word, single = (kinds == WORD) | (kinds == NUMBER), kinds == SINGLE
    changes = kinds[1:] != kinds[:-1]
    begins, stops = word.copy(), word.copy()
    begins[1:] &= changes
    stops[:-1] &= changes
    starts = np.flatnonzero(begins | single)
    ends = np.flatnonzero(stops | single) + 1
    hashes = spans(prefix_sums(codes.astype(np.uint64)), starts, ends)
    if origin is not None and len(starts):
        starts, ends = origin[starts], origin[ends - 1] + 1
    return hashes, starts, ends
