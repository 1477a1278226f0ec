"""What the packing stages run on executors: copies of windows made, counted and chosen.

Copies wait in scratch files as rows of `COPY`. Tokens travel as bytes: Spark moves a list number by number.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus import storage
from corpus.chunks import READ
from corpus.mixture import EPOCH, Range, bin_width, draw, epochs_at
from corpus.packing import CUT, PLACED, RATHER_NOT, WHOLE, Pack, chunk_key, packing_facts, tokens_per_source
from corpus.tokens import TextTokenizer, load
from fim.transform import Fim
from repo_ordering.nodes import node_spans

# Rows of `PLACED` whose tokens are the bytes of int32 numbers.
TRAVELLING = pa.schema([pa.field("tokens", pa.binary()) if f.name == "tokens" else f for f in PLACED])
_WINDOW = ("key", "id", "source", "chunk", "epoch", "whole", "tokens")
# Numbers of a copy that are added up for the manifest.
ADDED = ("size", "split", "chances", "cuts", "uncut")
COPY = pa.schema(
    [
        ("position", pa.int64()),
        ("size", pa.int32()),  # in tokens
        ("split", pa.int32()),  # combined tokens that were split
        ("chances", pa.int32()),  # for fill-in-the-middle: regions that were drawn for, or the window as one
        ("cuts", pa.int32()),
        ("uncut", pa.int32()),  # would have been cut, but then the window would have been too long
        *(TRAVELLING.field(name) for name in _WINDOW),
    ]
)
COUNTED = ("tokens", "windows")
TALLIED = pa.schema([("source", pa.string()), *((name, pa.int64()) for name in COUNTED)])
COUNTS = pa.schema([("source", pa.string()), ("bin", pa.int32()), *((name, pa.int64()) for name in COUNTED)])
DOCUMENTS = pa.schema([("source", pa.string()), ("id", pa.string()), ("tokens", pa.int64())])
# Tokens of the copies that leave together.
_TOKENS = 4 << 20


def read_documents(paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Documents, without the columns that cutting them to windows does not ask for."""
    for path in paths:
        names = storage.parquet_schema(path).names
        yield from storage.read_parquet(path, [name for name in READ if name in names])


def as_bytes(tokens: list[np.ndarray]) -> pa.Array:
    """One binary value for each array of int32."""
    ends = np.cumsum([0, *(4 * len(ids) for ids in tokens)]).astype(np.int32)
    values = np.concatenate(tokens).astype(np.int32, copy=False) if tokens else np.empty(0, np.int32)
    return pa.Array.from_buffers(pa.binary(), len(tokens), [None, pa.py_buffer(ends), pa.py_buffer(values)])


def as_lists(tokens: pa.Array) -> pa.Array:
    """The inverse of `as_bytes`; null stays null."""
    _, offsets, values = tokens.buffers()
    ends = np.frombuffer(offsets, np.int32, len(tokens) + 1, 4 * tokens.offset) // 4
    numbers = np.frombuffer(values, np.int32, ends[-1]) if ends[-1] else np.empty(0, np.int32)
    return pa.ListArray.from_arrays(
        ends, pa.array(numbers), mask=tokens.is_null() if tokens.null_count else None
    )


def groups(paths: tuple[str, ...], batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pq.ParquetFile, int]]:
    """The files that the rows of `batches` name by number, and the row groups of each."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            with storage.open_parquet(paths[number]) as file:
                for group in range(file.num_row_groups):
                    yield file, group


def columns_of(file: pq.ParquetFile, group: int, names: Iterable[str]) -> dict[str, pa.Array]:
    rows = file.read_row_group(group, list(names), use_threads=False).combine_chunks()
    return {name: rows[name].combine_chunks() for name in rows.column_names}


@dataclass(frozen=True)
class Tally:
    """mapInArrow function: tokens (with BOS and EOS) and windows of each source."""

    paths: tuple[str, ...]
    left_out: frozenset[str] = frozenset()

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held_out = pa.array(sorted(self.left_out), pa.string())
        total: dict[str, list[int]] = {}
        for file, group in groups(self.paths, batches):
            rows = columns_of(file, group, ("id", "source", "first", "last", "tokens"))
            ends = pc.add(rows["first"].cast(pa.int32()), rows["last"].cast(pa.int32()))
            sizes = pc.add(pc.list_value_length(rows["tokens"]), ends).to_numpy()
            stays = ~pc.is_in(rows["id"], held_out).to_numpy(zero_copy_only=False)
            sources = rows["source"].dictionary_encode()
            codes = sources.indices.to_numpy()
            for code, name in enumerate(sources.dictionary.to_pylist()):
                here = (codes == code) & stays
                entry = total.setdefault(name, [0, 0])
                entry[0] += int(sizes[here].sum())
                entry[1] += int(here.sum())
        rows = [
            {"source": name, "tokens": tokens, "windows": windows}
            for name, (tokens, windows) in total.items()
        ]
        yield pa.RecordBatch.from_pylist(rows, TALLIED)


Document = tuple[int, str, int]  # its place in the order of a hash, id, tokens


@dataclass(frozen=True)
class First:
    """mapInArrow function: of each source the first documents in the order of a hash, as many as have `most` tokens
    together; none that has more than `largest`. Rows of `DOCUMENTS`, out of such rows or of parts of windows."""

    most: int
    largest: int
    seed: int
    paths: tuple[str, ...] | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found: dict[str, list[Document]] = {}
        enough: dict[str, int] = {}
        for source, name, tokens in self.documents(batches):
            if tokens > self.largest:
                continue
            held = found.setdefault(source, [])
            held.append((chunk_key(self.seed, "held out", name), name, tokens))
            if len(held) > enough.get(source, 10_000):
                found[source] = self.first(held)
                enough[source] = 2 * len(found[source]) + 10_000
        for source, held in sorted(found.items()):
            names, sizes = zip(*((name, tokens) for _, name, tokens in self.first(held)), strict=True)
            columns = [[source] * len(names), names, sizes]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, DOCUMENTS, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)

    def first(self, documents: list[Document]) -> list[Document]:
        documents = sorted(documents)
        before = np.cumsum([0, *(tokens for _, _, tokens in documents[:-1])])
        return documents[: int(np.searchsorted(before, self.most))]

    def documents(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, str, int]]:
        """Source, id and tokens of each document. The windows of one follow on each other."""
        if self.paths is None:
            for batch in batches:
                yield from zip(*(batch[field.name].to_pylist() for field in DOCUMENTS), strict=True)
            return
        last: tuple[str, str] | None = None
        total = 0
        for file, group in groups(self.paths, batches):
            rows = columns_of(file, group, ("id", "source", "tokens"))
            sizes = pc.list_value_length(rows["tokens"]).to_pylist()
            for name, source, size in zip(
                rows["id"].to_pylist(), rows["source"].to_pylist(), sizes, strict=True
            ):
                if (source, name) != last:
                    if last is not None:
                        yield *last, total
                    last, total = (source, name), 0
                total += size
        if last is not None:
            yield *last, total


@dataclass(frozen=True)
class Copies:
    """mapInArrow function: parts of windows to rows of `COPY`, those at positions in the range of their source, or
    those of `only` some documents, once and as they are.

    Fill-in-the-middle and the splitting of tokens are drawn here, for each window and epoch. What would make a window
    longer than a sequence is not cut (and none of its tokens split).
    """

    paths: tuple[str, ...]
    tokenizer: str
    mark: str  # of the tokenizer's content
    sequence_length: int
    seed: int
    fim: dict[str, Fim] = field(default_factory=dict)
    split: float = 0.0
    left_out: frozenset[str] = frozenset()
    ranges: dict[str, Range] = field(default_factory=dict)
    only: frozenset[str] | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for file, group in groups(self.paths, batches):
            yield from self.group(file, group)

    def group(self, file: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
        head = columns_of(file, group, ("id", "source", "chunk"))
        ids, sources, chunks = (head[name].to_pylist() for name in ("id", "source", "chunk"))
        copies = [
            (row, epoch, place)
            for row, (name, source, chunk) in enumerate(zip(ids, sources, chunks, strict=True))
            for place in (self.drawn(name, source, chunk),)
            for epoch in self.epochs(name, source, place)
        ]
        if not copies:
            return
        names = ["first", "last", "composed", "tokens"]
        names += ["text", "regions"] if self.fim.keys() & set(sources) else []
        rows = columns_of(file, group, names)
        ends, values = rows["tokens"].offsets.to_numpy().tolist(), rows["tokens"].values.to_numpy()
        first, last, composed = (rows[name].to_pylist() for name in ("first", "last", "composed"))
        tokenizer = load(self.tokenizer, self.mark)
        bos, eos = (np.array([tokenizer.special[role]], np.int32) for role in ("bos", "eos"))
        bos = bos[bos != eos]  # one token that is both, as GPT-2 has it, ends documents

        made: list[dict[str, Any]] = []
        tokens: list[np.ndarray] = []
        held = 0
        for row, epoch, place in copies:
            ids_of_row = values[ends[row] : ends[row + 1]]
            name, source, chunk = ids[row], sources[row], chunks[row]
            entry = {"split": 0, "chances": 0, "cuts": 0, "uncut": 0}
            if source in self.fim:
                spans = rows["regions"][row].as_py()
                ids_of_row = self.cut(
                    self.fim[source], tokenizer, rows["text"][row], spans, ids_of_row, f"{name}:{chunk}", epoch,
                    self.sequence_length - first[row] - 1, entry,
                )  # fmt: skip
            if self.split:
                before = ids_of_row
                key = f"{self.seed}\n{name}\n{chunk}\n{epoch}"
                ids_of_row = tokenizer.split(before, self.split, key)
                if entry["cuts"] and len(ids_of_row) > self.sequence_length - first[row] - 1:
                    ids_of_row = before
                entry["split"] = len(ids_of_row) - len(before)
            parts = [ids_of_row]
            parts = [bos, *parts] if first[row] else parts
            parts = [*parts, eos] if last[row] or entry["cuts"] else parts
            size = sum(map(len, parts))
            whole = WHOLE if entry["cuts"] else RATHER_NOT if composed[row] else CUT
            made.append(
                entry | {"position": epoch * EPOCH + place, "size": size, "whole": whole, "id": name,
                         "source": source, "chunk": chunk, "epoch": epoch,
                         "key": chunk_key(self.seed, epoch, name, chunk)}
            )  # fmt: skip
            tokens.append(parts[0] if len(parts) == 1 else np.concatenate(parts))
            held += size
            if held >= _TOKENS:
                yield self.batch(made, tokens)
                made, tokens, held = [], [], 0
        if made:
            yield self.batch(made, tokens)

    def drawn(self, name: str, source: str, chunk: int) -> int:
        return draw(self.seed, name, chunk) if source in self.ranges else 0

    def epochs(self, name: str, source: str, place: int) -> range:
        if self.only is not None:
            return range(name in self.only)
        if source not in self.ranges or name in self.left_out:
            return range(0)
        return epochs_at(place, self.ranges[source])

    def cut(
        self,
        fim: Fim,
        tokenizer: TextTokenizer,
        text: pa.Scalar,
        spans: list[dict[str, Any]],
        tokens: np.ndarray,
        name: str,
        epoch: int,
        room: int,
        entry: dict[str, Any],
    ) -> np.ndarray:
        """The ids of a window, rearranged where it is drawn and fits `room`; `entry` gets the counts."""
        regions = [(span["start"], span["end"]) for span in spans]
        here = sum(start < end for start, end in regions)
        entry["chances"] = here if fim.level == "file" else min(here, 1)
        chosen = fim.cut(regions, name, epoch)
        if not chosen:
            return tokens
        body = text.as_py()
        languages = {(span["start"], span["end"]): span["language"] for span in spans}
        nodes = {}
        for start, end in fim.by_syntax(regions, name, epoch):
            found = node_spans(languages[start, end], body[start:end])
            nodes[start, end] = [(start + a, start + b) for a, b in found]
        drawn = len(chosen)
        while chosen:
            ids = np.concatenate(
                [
                    np.array([tokenizer.special[value]], np.int32)
                    if kind == "special"
                    else tokenizer.encode(value)
                    for kind, value in fim.pieces(body, name, epoch, regions, nodes)
                ]
            )
            if len(ids) <= room:
                break
            # A cut makes about eight tokens; where several files are cut, some of them may still be.
            over = 1 + (len(ids) - room) // 8
            chosen, without = chosen[:-over], set(chosen[-over:])
            regions = [region for region in regions if region not in without]
        entry["cuts"], entry["uncut"] = len(chosen), drawn - len(chosen)
        return ids if chosen else tokens

    def batch(self, made: list[dict[str, Any]], tokens: list[np.ndarray]) -> pa.RecordBatch:
        columns = [
            as_bytes(tokens)
            if field.name == "tokens"
            else pa.array([row[field.name] for row in made], field.type)
            for field in COPY
        ]
        return pa.RecordBatch.from_arrays(columns, schema=COPY)


@dataclass(frozen=True)
class Named:
    """Function for `Work.save`: all rows under one name."""

    function: Any

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
        for batch in self.function(batches):
            yield "copies", batch


@dataclass(frozen=True)
class Travelling:
    """mapInArrow function: rows of `COPY` on their way to one bucket."""

    function: Any

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in self.function(batches):
            yield travelling(batch, 1)


def travelling(rows: pa.RecordBatch, buckets: int) -> pa.RecordBatch:
    """Rows of `COPY` as `TRAVELLING`: a bucket takes an equal part of the keys."""
    columns = {name: rows[name] for name in _WINDOW}
    columns["bucket"] = bucket_of(rows["key"], buckets)
    columns |= {name: pa.nulls(rows.num_rows, pa.string()) for name in ("reason", "detail")}
    return pa.RecordBatch.from_arrays([columns[field.name] for field in TRAVELLING], schema=TRAVELLING)


def bucket_of(keys: pa.Array, buckets: int) -> pa.Array:
    unsigned = keys.to_numpy().astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)
    return pa.array(((unsigned >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.int32))


@dataclass(frozen=True)
class Count:
    """mapInArrow function: files of copies to rows of `COUNTS`, in bins of the range of each source."""

    paths: tuple[str, ...]
    ranges: dict[str, Range]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for file, group in groups(self.paths, batches):
            rows = columns_of(file, group, ("position", "size", "source"))
            at, sizes = rows["position"].to_numpy(), rows["size"].to_numpy()
            sources = rows["source"].dictionary_encode()
            codes = sources.indices.to_numpy()
            for code, name in enumerate(sources.dictionary.to_pylist()):
                low, high = self.ranges.get(name, (0, 0))
                here = (codes == code) & (low <= at) & (at < high)
                bins, which = np.unique((at[here] - low) // bin_width((low, high)), return_inverse=True)
                if len(bins):
                    yield pa.RecordBatch.from_arrays(
                        [
                            pa.repeat(pa.scalar(name), len(bins)),
                            pa.array(bins, pa.int32()),
                            pa.array(np.bincount(which, sizes[here]).astype(np.int64)),
                            pa.array(np.bincount(which), pa.int64()),
                        ],
                        schema=COUNTS,
                    )


@dataclass(frozen=True)
class AddUp:
    """mapInArrow function: for each source the sums of `ADDED` over the copies below its end, and their number."""

    paths: tuple[str, ...]
    ends: dict[str, int]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total: dict[str, Counter[str]] = {}
        for file, group in groups(self.paths, batches):
            rows = columns_of(file, group, ("position", "source", *ADDED))
            at, sources = rows["position"].to_numpy(), rows["source"].dictionary_encode()
            codes = sources.indices.to_numpy()
            for code, name in enumerate(sources.dictionary.to_pylist()):
                here = (codes == code) & (at < self.ends[name])
                sums = {column: int(rows[column].to_numpy()[here].sum()) for column in ADDED}
                sums |= {
                    "windows": int(here.sum()),
                    "middles": int((rows["cuts"].to_numpy()[here] > 0).sum()),
                }
                total.setdefault(name, Counter()).update(sums)
        found = [(name, what, number) for name, sums in total.items() for what, number in sums.items()]
        yield named_counts(found)


@dataclass(frozen=True)
class Chosen:
    """mapInArrow function: files of copies to rows of `TRAVELLING`, those below the end of their source."""

    paths: tuple[str, ...]
    ends: dict[str, int]
    buckets: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for file, group in groups(self.paths, batches):
            for batch in file.read_row_group(group, use_threads=False).to_batches():
                ends = np.array([self.ends[name] for name in batch["source"].to_pylist()], np.int64)
                here = batch["position"].to_numpy() < ends
                if here.any():
                    yield travelling(batch.filter(pa.array(here)), self.buckets)


@dataclass(frozen=True)
class Unused:
    """mapInArrow function: the windows of which no copy is below the end of their source, each with the reason."""

    paths: tuple[str, ...]
    ends: dict[str, int]
    buckets: int
    seed: int
    left_out: frozenset[str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for file, group in groups(self.paths, batches):
            rows = columns_of(file, group, ("id", "source", "chunk"))
            found = [
                {"key": chunk_key(self.seed, 0, name, chunk), "id": name, "source": source, "chunk": chunk,
                 "epoch": 0, "whole": CUT, "tokens": None, "detail": f"window {chunk}",
                 "reason": "held_out" if name in self.left_out else "over_mixture"}
                for name, source, chunk in zip(*(rows[n].to_pylist() for n in ("id", "source", "chunk")), strict=True)
                if name in self.left_out or draw(self.seed, name, chunk) >= self.ends.get(source, 0)
            ]  # fmt: skip
            if found:
                batch = pa.RecordBatch.from_pylist(found, TRAVELLING)
                place = TRAVELLING.get_field_index("bucket")
                yield batch.set_column(place, TRAVELLING.field(place), bucket_of(batch["key"], self.buckets))


@dataclass(frozen=True)
class Arrived:
    """`Pack` over rows of `TRAVELLING`."""

    pack: Pack

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return self.pack.schema(rows)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return self.pack(self.unpacked(batch) for batch in batches)

    def unpacked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = batch.schema.names
        columns = [as_lists(batch[name]) if name == "tokens" else batch[name] for name in names]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema([PLACED.field(name) for name in names]))


@dataclass(frozen=True)
class Census:
    """mapInArrow function: what is in parts of shards: tokens of each source, and how they are packed."""

    paths: tuple[str, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                rows = list(storage.read_parquet(self.paths[number], ["documents"]))
                found = [("tokens", name, n) for name, n in tokens_per_source(rows).items() if name]
                yield named_counts(found + [("packing", name, n) for name, n in packing_facts(rows).items()])


NAMED_SQL = "kind string, name string, count long"


def named_counts(found: list[tuple[str, str, int]]) -> pa.RecordBatch:
    columns = list(zip(*found, strict=True)) or [(), (), ()]
    types = (pa.string(), pa.string(), pa.int64())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=["kind", "name", "count"])
