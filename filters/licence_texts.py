"""Which licences' texts a text holds, by SPDX's own texts, whatever the names, years, wrapping and comment marks.

The texts are words (`licences.npz`, made by `benchmarks/licence_tables.py`). Candidates are the licences most of whose
trigrams of words a text has; each is laid over the stretch of the text that has most of them, and counts when the two
have nearly the same bigrams (Dice's coefficient, as licensee compares words). What a text holds beyond its licences
comes back as words, for those who must know of conditions added to them.
"""

import functools
import importlib.resources
import re
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

MAX_CHARS = 200_000
# Licences differ from their own edited copies by less than this, and by more from most others.
MIN_DICE = 0.88
# A text of few words has to be nearly all there.
SHORT, MIN_DICE_SHORT = 60, 0.94
# Of several that do, the one that explains most counts; a bigram of only one side takes away as many.
COST = 2
MIN_CONTAINED = 0.5
MAX_CANDIDATES = 24
MAX_LICENCES = 24  # in one text

Codes: TypeAlias = npt.NDArray[np.int64]

_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)*")
_TAG = re.compile(r"<[^<>\n]{1,100}>")
_OWNER = re.compile(
    r"(?m)^[^\w\n]{0,40}(?:(?:portions? )?copyright\b(?! (?:notice|holder|owner|law|act|statement|and|right|licens))"
    r"|©|\(c\)|all rights reserved)[^\n]{0,120}$"
)


def words_of(text: str) -> list[str]:
    """The words that licences are compared by: lower case, without tags, marks and lines that name owners."""
    text = _TAG.sub(" ", text[:MAX_CHARS].lower()).replace("licenc", "licens")
    return _WORD.findall(_OWNER.sub("", text))


@dataclass(frozen=True)
class _Table:
    names: list[str]
    number: dict[str, int]  # of a word
    bigrams: list[Codes]  # of each licence, sorted
    trigrams: list[Codes]  # of each licence, distinct, sorted
    places: list[npt.NDArray[np.int64]]  # where in the licence each of them stands first
    sizes: npt.NDArray[np.int64]  # how many those are
    lengths: npt.NDArray[np.int64]  # in words
    exact: dict[bytes, int]  # a licence by all its words
    keys: Codes  # all trigrams, sorted
    starts: npt.NDArray[np.int64]  # of each trigram's licences in `owners`
    owners: npt.NDArray[np.int64]


@functools.cache
def _table() -> _Table:
    with importlib.resources.files("filters").joinpath("licences.npz").open("rb") as file:
        data = dict(np.load(file))
    vocabulary = str(data["vocabulary"]).split("\n")
    texts = np.split(data["words"].astype(np.int64), np.cumsum(data["lengths"])[:-1])
    distinct = [np.unique(_grams(words, 3), return_index=True) for words in texts]
    trigrams = [codes for codes, _ in distinct]
    owners = np.repeat(np.arange(len(texts)), [len(codes) for codes in trigrams])
    codes = np.concatenate(trigrams)
    order = np.argsort(codes, kind="stable")
    keys, starts = np.unique(codes[order], return_index=True)
    return _Table(
        names=data["names"].tolist(),
        number={word: at for at, word in enumerate(vocabulary, 1)},
        bigrams=[np.sort(_grams(words, 2)) for words in texts],
        trigrams=trigrams,
        places=[places for _, places in distinct],
        sizes=np.array([len(codes) for codes in trigrams]),
        lengths=data["lengths"].astype(np.int64),
        exact={words.tobytes(): at for at, words in enumerate(texts)},
        keys=keys,
        starts=np.append(starts, len(codes)),
        owners=owners[order],
    )


def _grams(words: Codes, length: int) -> Codes:
    """A code of each `length` words in a row; -1 where one of them (0) is in no licence."""
    count = max(len(words) - length + 1, 0)
    codes = np.zeros(count, np.int64)
    known = np.ones(count, bool)
    for offset in range(length):
        part = words[offset : offset + count]
        codes = (codes << 16) | part
        known &= part > 0
    return np.where(known, codes, -1)


def texts_in(words: list[str]) -> tuple[list[str], list[str]]:
    """The SPDX identifiers of the licences whose texts stand in a text, each once, and the words of no licence.

    Takes what `words_of` gives; one that is not among SPDX's texts' words is the licence's of nobody.
    """
    table = _table()
    numbers = np.fromiter((table.number.get(word, 0) for word in words), np.int64, len(words))
    if (exact := table.exact.get(numbers.tobytes())) is not None:
        return [table.names[exact]], []
    rest = np.ones(len(words), bool)
    least = int(table.lengths.min())
    whole = _grams(numbers, 3)
    found: dict[str, None] = {}
    for _ in range(MAX_LICENCES):
        best = _best(table, numbers) if np.count_nonzero(numbers) >= least else None
        if best is None:
            break
        licence, start, end = best
        found[table.names[licence]] = None
        same = np.isin(_grams(numbers[start:end], 2), table.bigrams[licence])
        rest[start : end - 1] &= ~same
        rest[start + 1 : end] &= ~same
        numbers[start:end] = 0
    for licence, name in enumerate(table.names):
        if name in found:  # what another version of its text has, such as advice at the end
            same = np.isin(whole, table.trigrams[licence])
            for offset in range(3):
                rest[offset : offset + len(same)] &= ~same
    return list(found), [word for word, left in zip(words, rest.tolist(), strict=True) if left]


def _best(table: _Table, numbers: Codes) -> tuple[int, int, int] | None:
    """The licence that explains most of a text, and the words from where to where it stands."""
    trigrams = _grams(numbers, 3)
    distinct = np.unique(trigrams)
    at = np.minimum(np.searchsorted(table.keys, distinct), len(table.keys) - 1)
    at = at[table.keys[at] == distinct]
    spans = table.starts[at + 1] - table.starts[at]
    steps = np.arange(spans.sum()) - np.repeat(np.cumsum(spans) - spans, spans)
    counts = np.bincount(table.owners[np.repeat(table.starts[at], spans) + steps], minlength=len(table.names))
    # What a licence could explain at most: a missing bigram takes two trigrams with it.
    most = table.lengths - (table.sizes - counts) * (1 + COST) // 2
    likely = np.flatnonzero(counts >= table.sizes * MIN_CONTAINED)
    likely = likely[np.argsort(-most[likely], kind="stable")][:MAX_CANDIDATES]
    best, top = None, 0
    for licence in likely.tolist():
        if most[licence] <= top:
            break
        length = int(table.lengths[licence])
        start, end = _stretch(table, licence, trigrams)
        ours, theirs = _grams(numbers[start:end], 2), table.bigrams[licence]
        shared, both = _shared(ours, theirs), len(ours) + len(theirs)
        score = shared - COST * (both - 2 * shared)
        if score > top and 2 * shared >= both * (MIN_DICE if length >= SHORT else MIN_DICE_SHORT):
            best, top = (licence, start, end), score
    return best


def _stretch(table: _Table, licence: int, trigrams: Codes) -> tuple[int, int]:
    """The words of a text that hold most of a licence, from the first trigram of it to the last.

    Trigrams of one copy stand nearly as far from those of the licence's own text as each other do.
    """
    codes = table.trigrams[licence]
    at = np.minimum(np.searchsorted(codes, trigrams), len(codes) - 1)
    places = np.flatnonzero(codes[at] == trigrams)
    distances = places - table.places[licence][at[places]]
    order = np.argsort(distances, kind="stable")
    distances = distances[order]
    ends = np.searchsorted(distances, distances + int(table.lengths[licence]) // 7 + 12, "right")
    first = int(np.argmax(ends - np.arange(len(ends))))
    copy = places[order[first : ends[first]]]
    return int(copy.min()), int(copy.max()) + 3


def _shared(ours: Codes, theirs: Codes) -> int:
    """How many bigrams two multisets share; the second is sorted."""
    keys, counts = np.unique(ours, return_counts=True)
    left, right = np.searchsorted(theirs, keys, "left"), np.searchsorted(theirs, keys, "right")
    return int(np.minimum(counts, right - left).sum())
