"""What runs on an executor: read one task's input, apply a room's function, write one part.

A task writes its own part file and its own counts, each atomically and under a name that depends on nothing
but the task. It can be repeated, after a lost executor or beside a slow twin, and the bytes are the same. Text
therefore never crosses into the JVM unless Spark has to shuffle it.
"""

import contextlib
import errno
import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import DROPPED, Transform

ROW_GROUP_BYTES = 32 << 20
# Documents, and scores of them. A question pays for each row group anew; sequences are read at random places.
DOCUMENT_GROUP_ROWS = 1 << 13
RESULT = pa.schema([("error", pa.string())])
SAVED = pa.schema(
    [("path", pa.string()), ("name", pa.string()), ("rows", pa.int64()), ("error", pa.string())]
)
SAVED_GROUP_ROWS = 1 << 18


@dataclass(frozen=True)
class Task:
    """One part of a stage: its number and what it reads."""

    part: int
    inputs: tuple[str, ...]


@dataclass
class Counts:
    """What became of the rows of one part, or of a whole stage."""

    rows_in: int = 0
    rows_out: int = 0
    rows_written: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    tokens: int = 0

    def add(self, other: "Counts") -> None:
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.rows_written += other.rows_written
        self.dropped += other.dropped
        self.bytes += other.bytes
        self.tokens += other.tokens

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "dropped": dict(sorted(self.dropped.items()))}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Counts":
        return cls(**{**value, "dropped": Counter(value["dropped"])})


def part_name(part: int) -> str:
    return f"part-{part:05d}.parquet"


def counts_path(folder: str, part: int) -> str:
    return storage.join(folder, "_counts", f"part-{part:05d}.json")


def one_each(batch: pa.RecordBatch) -> list[int]:
    return [1] * batch.num_rows


def units(batch: pa.RecordBatch) -> list[int]:
    """How many rows of the input each row of the output stands for: a repository for its files, a packed sequence
    for the chunks that end in it, any other row for itself."""
    if "completed" in batch.schema.names:
        return batch.column("completed").to_pylist()
    if "files" in batch.schema.names:
        return [1 if files is None else len(files) for files in batch.column("files").to_pylist()]
    return [1] * batch.num_rows


class RowGroups:
    """Gathers batches to row groups: a filter leaves few rows of each batch, and a row group of each would be slow
    to read. Bounded in rows, so that shards can be read at random, and in bytes."""

    def __init__(self, writer: pq.ParquetWriter, rows: int = storage.ROW_GROUP_ROWS):
        self.writer = writer
        self.most_rows = rows
        self.held: list[pa.RecordBatch] = []
        self.rows = self.bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.held.append(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        if self.rows >= self.most_rows or self.bytes >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.held:
            self.writer.write_table(pa.Table.from_batches(self.held))
            self.held = []
            self.rows = self.bytes = 0


def write_part(
    folder: str,
    part: int,
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    stands_for: Callable[[pa.RecordBatch], list[int]] = one_each,
) -> Counts:
    """Write judged batches as a part and its dropped rows; return the counts. Memory: one row group.

    Documents are written with the `characters` of their text, so that no question has to read all text for them.
    """
    counts = Counts()
    written = with_characters(schema)
    kept_path = storage.join(folder, part_name(part))
    dropped_path = storage.join(folder, "dropped", part_name(part))
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(storage.atomic_write(kept_path))
        rows, keys = SAVED_GROUP_ROWS, 0
        if "tokens" in schema.names:
            rows = storage.ROW_GROUP_ROWS
        elif "text" in schema.names or {"id", "url"} <= set(schema.names):
            rows = keys = DOCUMENT_GROUP_ROWS
        groups = RowGroups(stack.enter_context(storage.parquet_writer(kept, written, keys)), rows)
        dropped: RowGroups | None = None
        for batch in batches:
            reasons = batch.column("reason")
            stays = reasons.is_null()
            keeps, leaves = batch.select(schema.names), batch.slice(0, 0)
            if reasons.null_count < batch.num_rows:
                keeps, leaves = keeps.filter(stays), batch.filter(pc.invert(stays))
            if keeps.num_rows:
                groups.add(counted_characters(keeps, written))
                counts.rows_out += sum(stands_for(keeps))
                counts.rows_written += keeps.num_rows
                if "tokens" in schema.names:
                    counts.tokens += len(keeps.column("tokens").flatten())
                if "text" in schema.names:
                    counts.bytes += pc.sum(pc.binary_length(keeps.column("text"))).as_py() or 0
            if leaves.num_rows:
                if dropped is None:
                    file = stack.enter_context(storage.atomic_write(dropped_path))
                    writer = stack.enter_context(storage.parquet_writer(file, DROPPED))
                    dropped = RowGroups(writer, SAVED_GROUP_ROWS)
                dropped.add(dropped_rows(leaves))
                for reason, count in zip(
                    leaves.column("reason").to_pylist(), stands_for(leaves), strict=True
                ):
                    counts.dropped[reason] += count
        groups.flush()
        if dropped is not None:
            dropped.flush()
    counts.rows_in = counts.rows_out + sum(counts.dropped.values())
    return counts


def with_characters(schema: pa.Schema) -> pa.Schema:
    """The columns of a part: of documents (not of tables of others, nor of windows) also `characters`."""
    names = set(schema.names)
    if not {"id", "text", "source"} <= names or names & {"characters", "tokens"}:
        return schema
    return schema.append(pa.field("characters", pa.int64()))


def counted_characters(batch: pa.RecordBatch, written: pa.Schema) -> pa.RecordBatch:
    """`batch` with the columns `written`, its `characters` counted anew: the stage may have changed the text."""
    place = written.get_field_index("characters")
    is_document = {"text", "source"} <= set(batch.schema.names)
    if not is_document or place < 0 or not pa.types.is_integer(written.types[place]):
        return batch
    characters = pc.utf8_length(batch.column("text")).cast(written.types[place])
    columns = [*batch.columns[:place], characters, *batch.columns[place + 1 :]]
    return pa.RecordBatch.from_arrays(columns, schema=written)


def dropped_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in DROPPED
    ]
    return pa.RecordBatch.from_arrays(columns, schema=DROPPED)


@dataclass(frozen=True)
class MapParts:
    """mapInArrow function: each row names a task; the task's part and counts are files, not rows.

    `read` opens a task's inputs as batches. Without a `transform` these are already judged and have the columns
    of `schema`; with one they go through it.
    """

    tasks: tuple[Task, ...]
    folder: str
    schema: pa.Schema
    read: Callable[[tuple[str, ...]], Iterator[pa.RecordBatch]]
    transform: Transform | None = None
    resumes: bool = False

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                # The last line of an input is its path.
                path = self.tasks[number].inputs[0].rpartition("\n")[2]
                with reported(f"reading {path}") as failure:
                    self.run(self.tasks[number])
                yield pa.RecordBatch.from_pylist([failure], RESULT)

    def run(self, task: Task) -> None:
        if self.resumes and storage.exists(counts_path(self.folder, task.part)):
            return
        seen = Counts()
        rows = self.read(task.inputs)
        if self.transform is None:
            counts = write_part(self.folder, task.part, rows, self.schema)
        else:
            counts = write_part(self.folder, task.part, self.transform(counted(rows, seen)), self.schema)
            check_nothing_vanished(counts, seen, task.part)
        storage.write_json(counts_path(self.folder, task.part), counts.as_json())


@dataclass(frozen=True)
class WriteBuckets:
    """mapInArrow function after a shuffle: consecutive rows of one `bucket` become the part of that number."""

    folder: str
    schema: pa.Schema
    transform: Transform

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for bucket, rows in by_bucket(batches):
            with reported(f"writing {part_name(bucket)}") as failure:
                seen = Counts()
                counts = write_part(self.folder, bucket, self.judged(bucket, rows, seen), self.schema, units)
                check_nothing_vanished(counts, seen, bucket)
                storage.write_json(counts_path(self.folder, bucket), counts.as_json())
            yield pa.RecordBatch.from_pylist([failure], RESULT)

    def judged(self, bucket: int, rows: Iterator[pa.RecordBatch], seen: Counts) -> Iterator[pa.RecordBatch]:
        """What becomes of a bucket's rows; `seen` counts those that are to be accounted for."""
        return self.transform(counted(rows, seen))


def as_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    for batch in batches:
        yield "rows", batch


@dataclass(frozen=True)
class SaveRows:
    """mapInArrow function: what `function` makes of a partition's rows, as `FOLDER/NAME/part-*.parquet` for each name
    that it gives to a batch. One row of `SAVED` for each file; memory: a row group for each name.

    A file is named after its partition, so a repeated task or a slow twin replaces it with the same rows.
    """

    folder: str
    function: Callable[[Iterator[pa.RecordBatch]], Iterator[tuple[str, pa.RecordBatch]]] = as_rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        yield from self.save(context.partitionId() if context else 0, batches)

    def save(self, part: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows: Counter[str] = Counter()
        with reported(f"writing {self.folder}") as failure, contextlib.ExitStack() as files:
            groups: dict[str, RowGroups] = {}
            for name, batch in self.function(batches):
                if not batch.num_rows:
                    continue
                if name not in groups:
                    file = files.enter_context(storage.atomic_write(self.path(name, part)))
                    # Next to no value of a node or a hash comes twice, and what is read once is not worth zstd's time.
                    writer = pq.ParquetWriter(file, batch.schema, compression="lz4", use_dictionary=False)
                    groups[name] = RowGroups(files.enter_context(writer), SAVED_GROUP_ROWS)
                groups[name].add(batch)
                rows[name] += batch.num_rows
            for held in groups.values():
                held.flush()
        made = [
            {"path": self.path(name, part), "name": name, "rows": n, "error": None}
            for name, n in rows.items()
        ]
        yield pa.RecordBatch.from_pylist([failure] if failure["error"] else made, SAVED)

    def path(self, name: str, part: int) -> str:
        return storage.join(self.folder, name, part_name(part))


@dataclass(frozen=True)
class LoadRows:
    """mapInArrow function: each row is the number of a Parquet file, whose rows come out, a row group at a time."""

    paths: tuple[str, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                with storage.open_parquet(self.paths[number]) as file:
                    for group in range(file.num_row_groups):
                        yield from file.read_row_group(group, use_threads=False).to_batches()


def by_bucket(
    batches: Iterator[pa.RecordBatch], name: str = "bucket"
) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """Batches sorted by the column `name`, as one stream of batches (without that column) for each bucket."""
    pending: list[pa.RecordBatch] = []

    def next_batch() -> pa.RecordBatch | None:
        while not pending:
            batch = next(batches, None)
            if batch is None:
                return None
            if batch.num_rows:
                pending.append(batch)
        return pending.pop()

    def stream(bucket: int) -> Iterator[pa.RecordBatch]:
        while (batch := next_batch()) is not None:
            column = batch.column(name)
            length = pc.sum(pc.equal(column, bucket).cast(pa.int64())).as_py()
            if length < batch.num_rows:
                pending.append(batch.slice(length))
            if length:
                yield batch.slice(0, length).drop_columns([name])
            if length < batch.num_rows:
                return

    while (first := next_batch()) is not None:
        pending.append(first)
        bucket = first.column(name)[0].as_py()
        rows = stream(bucket)
        yield bucket, rows
        for _ in rows:  # whoever failed half-way must not leave rows to the next bucket
            pass


def counted(batches: Iterator[pa.RecordBatch], seen: Counts) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        seen.rows_in += batch.num_rows
        yield batch


def check_nothing_vanished(counts: Counts, seen: Counts, part: int) -> None:
    if counts.rows_in != seen.rows_in:
        raise LodeError(
            f"{part_name(part)}: {seen.rows_in} rows went in and {counts.rows_in} came out; this is a fault in Lode."
        )


@contextlib.contextmanager
def reported(doing: str) -> Iterator[dict[str, str | None]]:
    """Hand errors that no retry can mend to the driver as a sentence; let Spark retry all others."""
    result: dict[str, str | None] = {"error": None}
    try:
        yield result
    except LodeError as error:
        result["error"] = str(error)
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EROFS,
            errno.EACCES,
            errno.EISDIR,
            errno.ENOTDIR,
        ):
            raise
        result["error"] = f"{error.strerror} while {doing}" + (
            f" ({error.filename})" if error.filename else ""
        )


def read_parts(paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        yield from storage.read_parquet(path)


def read_counts(folder: str) -> list[Counts]:
    """The counts of the parts that are finished so far."""
    fs, inside = storage.filesystem(storage.join(folder, "_counts"))
    if not fs.exists(inside):
        return []
    return [
        Counts.from_json(json.loads(fs.cat_file(name)))
        for name in sorted(fs.ls(inside, detail=False))
        if name.endswith(".json") and not posixpath.basename(name).startswith(".")
    ]
