"""A folder of packed sequences: what its manifest says, and its row groups decoded into arrays."""

import json
import posixpath
import re
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pretrain.errors import TrainingError

PADDING = -1  # the document and the source of positions that only fill a sequence up
_PART = re.compile(r"part-.*\.parquet")


@dataclass(frozen=True)
class Group:
    """A row group: tokens int32 [R, S]; the spans of row r are first[r] to first[r + 1], [N] int32 arrays."""

    tokens: np.ndarray
    first: np.ndarray
    length: np.ndarray
    document: np.ndarray  # counted from 0 in its row, or PADDING
    source: np.ndarray  # index into `Shards.sources`, or PADDING


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
        names = self._fs.ls(root, detail=False)
        parts = sorted(name for name in names if _PART.fullmatch(posixpath.basename(name)))
        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(self._group_rows, parts))
        self._places = [
            (part, group) for part, each in zip(parts, rows, strict=True) for group in range(len(each))
        ]
        self.group_rows = np.array([count for each in rows for count in each], np.int64)  # [G]
        self._ends = np.cumsum(self.group_rows)
        if not self.group_rows.sum():
            raise TrainingError(f"{self.path} holds no packed sequences; pack some with 'lode pack'")

    def __len__(self) -> int:
        """Number of packed sequences."""
        return int(self._ends[-1])

    def fingerprint(self) -> str:
        """A name for exactly this data order: manifest and the rows of each row group."""
        text = json.dumps([self.about, self.group_rows.tolist()], sort_keys=True, ensure_ascii=False)
        return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))

    def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row group of each row of the folder, and its place in that group."""
        group = np.searchsorted(self._ends, rows, "right")
        return group, rows - (self._ends - self.group_rows)[group]

    def read_group(self, group: int) -> Group:
        """Row group `group` of the folder, whole."""
        part, number = self._places[group]
        where = f"{part}, row group {number}"
        try:
            with self._open(part) as file:
                table = file.read_row_group(number, columns=["tokens", "documents"], use_threads=False)
            tokens, documents = (table[name].combine_chunks() for name in ("tokens", "documents"))
            ids, spans = tokens.flatten().cast(pa.int32()), documents.flatten()
            start, length = (pc.struct_field(spans, name).cast(pa.int32()) for name in ("start", "length"))
            padding = pc.struct_field(spans, "id").is_null()
            source = self._sources(pc.struct_field(spans, "source"), padding, where)
            goes_on = _goes_on(spans)
        except (OSError, KeyError, AttributeError, pa.ArrowException) as error:
            raise TrainingError(f"{where} does not hold packed sequences ({error!r}); pack again") from None
        if any(column.null_count for column in (tokens, documents, ids, start, length)):
            raise TrainingError(f"{where}: a sequence has nulls in its tokens or documents; pack again")
        if pc.any(pc.not_equal(tokens.value_lengths(), self.sequence_length)).as_py():
            raise TrainingError(f"{where}: a sequence is not {self.sequence_length} tokens long; pack again")
        values = ids.to_numpy().reshape(-1, self.sequence_length)
        if values.min() < 0 or values.max() >= self.vocabulary_size:
            raise TrainingError(
                f"{where}: a token id is outside the vocabulary of {self.vocabulary_size}; pack again"
            )
        counts, length = documents.value_lengths().to_numpy(), length.to_numpy()
        first = np.concatenate([[0], np.cumsum(counts)])
        if not _covers(start.to_numpy(), length, first, self.sequence_length):
            raise TrainingError(f"{where}: the documents of a sequence do not cover it; pack again")
        begins = ~goes_on
        begins[first[:-1]] = True
        number_of = np.cumsum(begins) - 1
        number_of -= np.repeat(number_of[first[:-1]], counts)
        document = np.where(padding.to_numpy(zero_copy_only=False), PADDING, number_of)
        return Group(values, first, length, document.astype(np.int32), source)

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
            if "file" in self._fs.protocol:
                return pq.ParquetFile(part)
            return pq.ParquetFile(self._fs.open(part), pre_buffer=True)
        except (OSError, pa.ArrowException) as error:
            raise TrainingError(f"{part} cannot be read as Parquet ({error}); pack again") from None

    def _group_rows(self, part: str) -> list[int]:
        with self._open(part) as file:
            return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]

    def _sources(self, names: pa.Array, padding: pa.Array, where: str) -> np.ndarray:
        """Indices into `sources`, the same on every rank: nothing depends on which shard was read first."""
        found = pc.index_in(names.fill_null(""), pa.array(self.sources, pa.string()))
        if pc.any(unknown := pc.and_(found.is_null(), pc.invert(padding))).as_py():
            name = names.filter(unknown)[0].as_py()
            raise TrainingError(f"{where}: the source {name!r} is not in the folder's _lode.json; pack again")
        return pc.if_else(padding, PADDING, found).to_numpy(zero_copy_only=False).astype(np.int32)


class RowReader:
    """Rows of shards, with the row groups used last in memory: at most `groups` of them."""

    def __init__(self, shards: Shards, groups: int) -> None:
        self.shards, self._limit = shards, groups
        self._held: OrderedDict[int, Group] = OrderedDict()

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens int64, document and source int32 of these rows of the folder, in this order, each [B, S]."""
        shape = (len(rows), self.shards.sequence_length)
        tokens, document, source = (np.empty(shape, kind) for kind in (np.int64, np.int32, np.int32))
        groups, within = self.shards.locate(rows)
        # Groups in the order of their first row: those that later rows go on with are the last ones used.
        _, begin = np.unique(groups, return_index=True)
        for number in groups[np.sort(begin)].tolist():
            group = self._group(number)
            for place in np.flatnonzero(groups == number).tolist():
                row = within[place]
                spans = slice(group.first[row], group.first[row + 1])
                tokens[place] = group.tokens[row]
                document[place] = np.repeat(group.document[spans], group.length[spans])
                source[place] = np.repeat(group.source[spans], group.length[spans])
        return tokens, document, source

    def _group(self, number: int) -> Group:
        if number in self._held:
            self._held.move_to_end(number)
        else:
            if len(self._held) >= self._limit:
                self._held.popitem(last=False)
            self._held[number] = self.shards.read_group(number)
        return self._held[number]


def _goes_on(spans: pa.StructArray) -> np.ndarray:
    """Whether each span goes on with the window of the span before it, bool [N].

    Only pieces of one window are one document to a mask. Two windows of a long document are not: each has its
    own path comment and its own fill-in-the-middle, and the text between them may lie elsewhere.
    """
    found = np.zeros(len(spans), bool)
    names = {field.name for field in spans.type}
    if len(spans) > 1 and {"id", "chunk", "epoch", "offset"} <= names:
        same = [
            pc.equal(column[1:], column[:-1])
            for column in (pc.struct_field(spans, name) for name in ("id", "chunk", "epoch"))
        ]
        length, offset = (pc.struct_field(spans, name) for name in ("length", "offset"))
        same.append(pc.equal(offset[1:], pc.add(offset[:-1], length[:-1])))
        together = pc.and_(pc.and_(same[0], same[1]), pc.and_(same[2], same[3]))
        found[1:] = together.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _covers(start: np.ndarray, length: np.ndarray, first: np.ndarray, sequence_length: int) -> bool:
    """Whether the spans of each row follow one another from 0 to the sequence's end."""
    counts = np.diff(first)
    if not counts.all() or (length <= 0).any() or (length > sequence_length).any():
        return False
    ends = np.cumsum(length, dtype=np.int64)
    before = np.repeat(np.arange(len(counts)) * sequence_length, counts)
    full = (np.arange(len(counts)) + 1) * sequence_length
    return bool((ends[first[1:] - 1] == full).all() and (start == ends - length - before).all())
