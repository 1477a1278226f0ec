"""Token files of other toolkits: the ids of many documents back to back in one file, and an index that says where each
ends. `corpus.megatron` and `corpus.datatrove_tokens` know a layout each; here their documents become rows.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import VERDICT, document_id

TOKENS = pa.schema([("id", pa.string()), ("source", pa.string()), ("tokens", pa.list_(pa.int32()))])
# Tokens and index entries that are read at once, and the most tokens of a row: no document is as long as that, so
# an index that has a longer one does not know where documents end.
BLOCK_TOKENS, BLOCK_ENTRIES, MOST_TOKENS = 1 << 22, 1 << 16, 1 << 26


def read_array(path: str, kind: str, start: int, count: int, offset: int = 0) -> np.ndarray:
    """`count` numbers of the numpy type `kind`, from the number `start` on, behind `offset` bytes of a file."""
    fs, inside = storage.filesystem(path)
    size = np.dtype(kind).itemsize
    if not count:
        return np.empty(0, kind)
    content = fs.cat_file(inside, start=offset + start * size, end=offset + (start + count) * size)
    if len(content) != count * size:
        raise LodeError(f"{path}: the file ends too soon; copy it again.")
    return np.frombuffer(content, kind)


def file_size(path: str) -> int:
    try:
        return storage.size(path)
    except (FileNotFoundError, IsADirectoryError):
        raise LodeError(f"{path}: there is no such file; ids and index lie side by side.") from None


def find(paths: list[str], ending: str, other: str = "") -> list[str]:
    """The files that end in `ending` among files (their `ending` may be missing, or be `other`), globs and folders."""
    files: set[str] = set()
    for path in paths:
        fs, inside = storage.filesystem(path)
        if other and path.endswith(other):
            path = path.removesuffix(other)
        if not path.endswith(ending) and not fs.isdir(inside):
            path += ending
        here = [file for file in storage.expand([path]) if file.endswith(ending)]
        if not here:
            raise LodeError(f"{path}: no file in this folder ends in {ending}.")
        files.update(here)
    return sorted(files)


def names(files: list[str]) -> list[str]:
    """What files are called: by their own names, with as many folders above as it takes to tell them apart."""
    paths = [file.split("/") for file in files]
    depth = next(d for d in itertools.count(1) if len({tuple(p[-d:]) for p in paths}) == len(paths))
    return ["/".join(path[-depth:]) for path in paths]


@dataclass(frozen=True)
class TokenFile:
    """A file of token ids, and what its index told of it when it was checked.

    Attributes:
        path: of the ids.
        name: what its documents are named after, together with their numbers.
        kind: the ids' numpy type.
    """

    path: str
    name: str
    kind: str
    documents: int
    tokens: int

    def bounds(self, first: int, last: int) -> np.ndarray:
        """The token at which each of the documents first … last - 1 begins, and the one at which the last ends."""
        raise NotImplementedError

    @property
    def files(self) -> list[str]:
        """The ids, and every file beside them that decides what is read."""
        raise NotImplementedError

    def read(self, start: int, end: int) -> np.ndarray:
        return read_array(self.path, self.kind, start, end - start)


@dataclass(frozen=True)
class ReadDocuments:
    """Function of a task, whose input begins with a number and a line break: the documents of that range, judged.

    Packing puts BOS and EOS where they belong, so one at either end of a document is taken off. Memory: a few blocks,
    or the longest document.
    """

    ranges: tuple[tuple[TokenFile, int, int], ...]
    source: str
    vocabulary_size: int
    bos: int
    eos: int

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        file, first, last = self.ranges[int(inputs[0].partition("\n")[0])]
        for begin in range(first, last, BLOCK_ENTRIES):
            bounds = file.bounds(begin, min(begin + BLOCK_ENTRIES, last))
            place = 0
            while place + 1 < len(bounds):
                end = int(np.searchsorted(bounds, bounds[place] + BLOCK_TOKENS, "right")) - 1
                end = max(end, place + 1)
                yield self.rows(file, begin + place, bounds[place : end + 1])
                place = end

    def rows(self, file: TokenFile, first: int, bounds: np.ndarray) -> pa.RecordBatch:
        ids = [document_id(self.source, f"{file.name}/{first + n}") for n in range(len(bounds) - 1)]
        sizes = np.diff(bounds)
        if bounds[-1] - bounds[0] > MOST_TOKENS:  # of one document
            return self.judged(ids, np.zeros(2, np.int32), np.empty(0, np.int32), sizes, "too_long")
        tokens = file.read(int(bounds[0]), int(bounds[-1]))
        self.check(file, first, bounds, tokens)
        values = tokens.astype(np.int32, copy=False)
        starts, ends = bounds[:-1] - bounds[0], bounds[1:] - bounds[0]
        keep = np.ones(len(values), bool)
        for token, at_end in ((self.bos, False), (self.eos, True)):
            filled = np.flatnonzero(ends > starts)
            here = filled[values[ends[filled] - 1 if at_end else starts[filled]] == token]
            keep[ends[here] - 1 if at_end else starts[here]] = False
            ends[here] -= at_end
            starts[here] += not at_end
        offsets = np.concatenate(([0], np.cumsum(ends - starts))).astype(np.int32)
        return self.judged(ids, offsets, values if keep.all() else values[keep], sizes, "empty")

    def judged(
        self, ids: list[str], offsets: np.ndarray, values: np.ndarray, sizes: np.ndarray, reason: str
    ) -> pa.RecordBatch:
        """Rows of `TOKENS` with a verdict: those without tokens go, for `reason`; `sizes` are those in the file."""
        goes = np.diff(offsets) == 0
        reasons = pa.array(np.where(goes, reason, None), pa.string())
        details = pa.array(np.where(goes, np.char.add(sizes.astype("U20"), " tokens"), None), pa.string())
        tokens = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, pa.int32()))
        columns: list[Any] = [pa.array(ids), pa.repeat(pa.scalar(self.source), len(ids)), tokens]
        return pa.RecordBatch.from_arrays([*columns, reasons, details], schema=pa.schema([*TOKENS, *VERDICT]))

    def check(self, file: TokenFile, first: int, bounds: np.ndarray, tokens: np.ndarray) -> None:
        if not len(tokens) or (tokens.min() >= 0 and tokens.max() < self.vocabulary_size):
            return
        place = int(np.flatnonzero((tokens < 0) | (tokens >= self.vocabulary_size))[0])
        document = first + int(np.searchsorted(bounds, bounds[0] + place, "right")) - 1
        raise LodeError(
            f"{file.path}: document {document} has the token {tokens[place]}, but the tokenizer has "
            f"{self.vocabulary_size:,} entries; give the tokenizer.json that the file was written with."
        )


def ranges(files: list[TokenFile], tokens: int) -> tuple[tuple[TokenFile, int, int], ...]:
    """(file, first document, end) of parts of about `tokens` tokens; a file without documents is in none."""
    found = []
    for file in files:
        count = min(max(1, -(-file.tokens // tokens)), file.documents)
        cuts = [file.documents * n // count for n in range(count + 1)] if count else []
        found += [(file, first, last) for first, last in itertools.pairwise(cuts)]
    return tuple(found)
