"""Packed sequences out of Parquet shards, in any order, a row group at a time.

A run's place in its data is one number, the sequences read so far: the order of an epoch is a keyed
permutation that answers for one place without listing the others.
"""

import json
import posixpath
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import xxhash

from pretrain.errors import TrainingError

Value = TypeVar("Value")
_PART = re.compile(r"part-.*\.parquet")


@dataclass(frozen=True)
class Batch:
    """Sequences side by side, all [B, S]: token ids, the document each position is in (counted from 0 in
    its row), and its source as an index into `Shards.sources`."""

    tokens_BS: torch.Tensor  # int64
    document_BS: torch.Tensor  # int32
    source_BS: torch.Tensor  # int32


class Shards:
    """A folder of packed sequences, `part-*.parquet` and manifest; a local path or an fsspec URL.

    Raises TrainingError where the folder is not what `lode pack` writes.
    """

    def __init__(self, path: str) -> None:
        self.path = str(path)
        self._fs, root = fsspec.core.url_to_fs(self.path)
        about = self._manifest(root)
        self.about = about
        self.sequence_length = self._number(about, "sequence_length")
        self.vocabulary_size = self._number(about, "vocabulary_size")
        self.special_tokens: dict[str, int | None] = about.get("special_tokens") or {}
        self.tokenizer_fingerprint = str(about.get("tokenizer_fingerprint") or "")
        self.sources = sorted(about.get("tokens_per_source") or {})
        self._source_index = {name: i for i, name in enumerate(self.sources)}
        self._files = _Recent(64, self._open)
        self._groups = _Recent(8, self._read)
        names = self._fs.ls(root, detail=False)
        self._parts = sorted(name for name in names if _PART.fullmatch(posixpath.basename(name)))
        # First row of each row group, and where that group is.
        self._starts, self._places, rows = [], [], 0
        for part in self._parts:
            metadata = self._files[part].metadata
            for group in range(metadata.num_row_groups):
                self._starts.append(rows)
                self._places.append((part, group))
                rows += metadata.row_group(group).num_rows
        self._rows = rows
        if not rows:
            raise TrainingError(f"{self.path} holds no packed sequences; pack some with 'lode pack'")

    def __len__(self) -> int:
        """Number of packed sequences."""
        return self._rows

    @property
    def padding(self) -> int | None:
        """The id that only fills up sequences; None where it also begins or ends documents."""
        pad = self.special_tokens.get("pad")
        return None if pad in {self.special_tokens.get("eos"), self.special_tokens.get("bos")} else pad

    def fingerprint(self) -> str:
        """A name for exactly this data order: manifest and number of rows."""
        text = json.dumps([self.about, len(self)], sort_keys=True, ensure_ascii=False)
        return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))

    def batch(self, rows: Sequence[int]) -> Batch:
        """The sequences at these places of the folder, in this order."""
        found = [self._row(row) for row in rows]
        tokens, documents, sources = (np.stack(column) for column in zip(*found, strict=True))
        return Batch(
            torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(documents), torch.from_numpy(sources)
        )

    def shuffled(self, first: int, count: int, seed: int) -> list[int]:
        """Rows of the places first, first + 1, ... of an endless run of differently shuffled epochs."""
        places = (divmod(place, len(self)) for place in range(first, first + count))
        return [permuted(place, len(self), f"{seed} {epoch}") for epoch, place in places]

    def _manifest(self, root: str) -> dict[str, Any]:
        name = posixpath.join(root, "_lode.json")
        try:
            about = json.loads(self._fs.cat_file(name))["shards"]
        except FileNotFoundError:
            raise TrainingError(
                f"{self.path} has no _lode.json; give the folder that 'lode pack' wrote"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{name} is not a manifest of packed shards ({error!r}); pack again"
            ) from None
        if not isinstance(about, dict):
            raise TrainingError(f"{name} does not describe shards; pack again")
        return about

    def _number(self, about: dict[str, Any], key: str) -> int:
        value = about.get(key)
        if not isinstance(value, int) or value <= 0:
            raise TrainingError(f"{self.path}/_lode.json has no usable '{key}' ({value!r}); pack again")
        return value

    def _open(self, part: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._fs.open(part))
        except (OSError, pa.ArrowException) as error:
            raise TrainingError(f"{part} cannot be read as Parquet ({error}); pack again") from None

    def _row(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        group = int(np.searchsorted(self._starts, row, "right")) - 1
        tokens, spans = self._groups[self._places[group]]
        within = row - self._starts[group]
        names, lengths = spans[within]
        documents = np.repeat(np.arange(len(names), dtype=np.int32), lengths)
        return tokens[within], documents, np.repeat(np.array(names, np.int32), lengths)

    def _read(self, place: tuple[str, int]) -> tuple[np.ndarray, list[tuple[list[int], np.ndarray]]]:
        """One row group: tokens int32 [R, S], and for each row its documents' sources and lengths."""
        part, group = place
        where = f"{part}, row group {group}"
        try:
            table = self._files[part].read_row_group(group, columns=["tokens", "documents"])
            tokens, documents = (table[name].combine_chunks() for name in ("tokens", "documents"))
            ids, spans = tokens.flatten().cast(pa.int32()), documents.flatten()
            starts, sizes = (pc.struct_field(spans, name).cast(pa.int64()) for name in ("start", "length"))
            names = pc.struct_field(spans, "source").to_pylist()
        except (OSError, KeyError, AttributeError, pa.ArrowException) as error:
            raise TrainingError(f"{where} does not hold packed sequences ({error!r}); pack again") from None
        if any(column.null_count for column in (tokens, documents, ids, starts, sizes)):
            raise TrainingError(f"{where}: a sequence has nulls in its tokens or documents; pack again")
        if pc.any(pc.not_equal(tokens.value_lengths(), self.sequence_length)).as_py():
            raise TrainingError(f"{where}: a sequence is not {self.sequence_length} tokens long; pack again")
        values = ids.to_numpy().reshape(-1, self.sequence_length)
        if values.min() < 0 or values.max() >= self.vocabulary_size:
            raise TrainingError(
                f"{where}: a token id is outside the vocabulary of {self.vocabulary_size}; pack again"
            )
        first, length = starts.to_numpy(), sizes.to_numpy()
        covered, begin = [], 0
        for count in documents.value_lengths().to_pylist():
            one = slice(begin, begin + count)
            if not _covers(first[one], length[one], self.sequence_length):
                raise TrainingError(f"{where}: the documents of a sequence do not cover it; pack again")
            covered.append(([self._source(name) for name in names[one]], length[one]))
            begin += count
        return values, covered

    def _source(self, name: str | None) -> int:
        name = name or ""
        if name not in self._source_index:
            self._source_index[name] = len(self.sources)
            self.sources.append(name)
        return self._source_index[name]


def _covers(starts: np.ndarray, lengths: np.ndarray, sequence_length: int) -> bool:
    """Whether these stretches follow one another from 0 to the sequence's end."""
    fits = len(lengths) > 0 and (lengths > 0).all() and (lengths <= sequence_length).all()
    ends = np.cumsum(lengths)
    return bool(fits and ends[-1] == sequence_length and (starts == ends - lengths).all())


def permuted(place: int, size: int, key: str) -> int:
    """Where a keyed permutation of range(size) sends `place`, in constant memory.

    A Feistel network over the next power of four; values beyond `size` are sent on until they fall inside.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    seed = xxhash.xxh64_intdigest(key.encode())
    while True:
        left, right = place >> half, place & mask
        for turn in range(4):
            left, right = right, left ^ (xxhash.xxh64_intdigest(struct.pack("<QB", right, turn), seed) & mask)
        place = left << half | right
        if place < size:
            return place


class _Recent(Generic[Value]):
    """The last few values a function gave, so that neighbouring rows do not read and open again."""

    def __init__(self, limit: int, make: Callable[[Any], Value]) -> None:
        self._limit, self._make = limit, make
        self._held: OrderedDict[Any, Value] = OrderedDict()

    def __getitem__(self, key: Any) -> Value:
        if key in self._held:
            self._held.move_to_end(key)
        else:
            self._held[key] = self._make(key)
            if len(self._held) > self._limit:
                self._held.popitem(last=False)
        return self._held[key]
