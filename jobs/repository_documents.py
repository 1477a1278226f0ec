"""The stage `repositories`: one document a repository, with an account of what was dropped and what that costs.

Beside the documents lie `accounts/part-*.parquet`, one row a repository: its files kept and dropped by reason, and
the dependencies of its files on files that earlier stages dropped.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import to_batches
from corpus.tokens import TextTokenizer
from jobs.engine import Account, Stage, Work, spark_schema
from jobs.recipe import CodeSection
from jobs.worker import Counts, Task, WriteBuckets, part_name
from repo_ordering.document import WINDOW, OrderRepositories
from repo_ordering.graph import speaks
from repo_ordering.rows import ACCOUNT, FILE_ROW

ACCOUNTS = "accounts"
FACTS = ("id", "source", "language", "repository", "path", "size")
ROW = FILE_ROW.append(pa.field("bucket", pa.int32()))
# Of a file dropped for what it is like, a stub may tell: its path and the names that files beside it write. Of one that
# must not be used (licence, wish of its owner) or must not be seen (evaluation items, secrets) nothing is told, and
# nothing of one that no rule has looked at.
TOLD_OF = ("code_rules", "code_quality")
NOT_TOLD = ("licence", "opted_out")


@dataclass(frozen=True)
class ReadFiles:
    """mapInArrow function: for each part the rows that stay, and those that stages on the way from `files` dropped.

    Each stage makes one part of a part. `way` names the stages from `files` on, and a task's inputs are its part in
    each of them; where files come from elsewhere it names none, and there is one input. A row's `bucket` is its
    repository's, for a shuffle.
    """

    tasks: tuple[Task, ...]
    way: tuple[str, ...] = ()

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self.part(self.tasks[number].inputs)

    def part(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        path = paths[-1]
        alive: set[int] = set()
        known = storage.parquet_schema(path)
        columns = [name for name in (*FACTS, "text") if name in known.names]
        if "size" in columns and not pa.types.is_integer(known.field("size").type):
            columns.remove("size")
        for rows in storage.read_parquet(path, columns):
            alive.update(self.keys(rows))
            yield self.with_bucket(rows)
        if self.way:
            yield from self.dropped(paths, alive)

    def dropped(self, paths: tuple[str, ...], alive: set[int]) -> Iterator[pa.RecordBatch]:
        """Rows of dropped files, with their text where it decides what depends on them."""
        texts: dict[str, dict[str, Any]] = {}
        for stage, path in zip(self.way, paths, strict=True):
            folder, _, part = path.rpartition("/")
            place = storage.join(folder, "dropped", part)
            if not storage.exists(place):
                continue
            for batch in storage.read_parquet(place, [*FACTS, "reason"]):
                rows = batch.to_pylist()
                for row, key in zip(rows, self.keys(batch), strict=True):
                    row |= {"dropped_at": stage, "dropped_for": row.pop("reason")}
                    row["stub"] = stage in TOLD_OF and not row["dropped_for"].startswith(NOT_TOLD)
                    if stage != self.way[0] and key in alive and speaks(row["path"] or "", row["language"]):
                        texts[row["id"]] = row
                rows = [row for row in rows if row["id"] not in texts]
                if rows:
                    yield self.with_bucket(pa.RecordBatch.from_pylist(rows, FILE_ROW))
        if texts:
            yield from self.with_text(paths[0], texts)

    def with_text(self, path: str, wanted: dict[str, dict[str, Any]]) -> Iterator[pa.RecordBatch]:
        ids = pa.array(wanted, pa.string())
        found = 0
        for batch in storage.read_parquet(path, ["id", "text"]):
            batch = batch.filter(pc.is_in(batch["id"], value_set=ids))
            found += batch.num_rows
            rows = [wanted[row["id"]] | row for row in batch.to_pylist()]
            for made in to_batches(rows, FILE_ROW):
                yield self.with_bucket(made)
        if found != len(wanted):
            raise LodeError(
                f"{path}: {len(wanted) - found} files that later stages dropped are not there; this is a fault in Lode."
            )

    def keys(self, rows: pa.RecordBatch) -> list[int]:
        """A hash of the repository of each row."""
        names = zip(rows["source"].to_pylist(), rows["repository"].to_pylist(), strict=True)
        return [xxhash.xxh3_64_intdigest(f"{source}\n{name}".encode()) for source, name in names]

    def with_bucket(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        columns = [
            rows[field.name].cast(field.type)
            if field.name in rows.schema.names
            else pa.nulls(rows.num_rows, field.type)
            for field in FILE_ROW
        ]
        buckets = pa.array([key % len(self.tasks) for key in self.keys(rows)], pa.int32())
        return pa.RecordBatch.from_arrays([*columns, buckets], schema=ROW)


@dataclass(frozen=True)
class WriteRepositories(WriteBuckets):
    """Writes the accounts of a bucket's repositories beside its documents. Rows dropped before are not counted."""

    def judged(self, bucket: int, rows: Iterator[pa.RecordBatch], seen: Counts) -> Iterator[pa.RecordBatch]:
        with ExitStack() as files:
            file = files.enter_context(
                storage.atomic_write(storage.join(self.folder, ACCOUNTS, part_name(bucket)))
            )
            writer = files.enter_context(storage.parquet_writer(file, ACCOUNT))
            held: list[dict[str, Any]] = []
            for batch in self.transform(still_there(rows, seen), held.append):
                yield batch
                if len(held) >= storage.ROW_GROUP_ROWS:
                    writer.write_batch(pa.RecordBatch.from_pylist(held, ACCOUNT))
                    held.clear()
            writer.write_batch(pa.RecordBatch.from_pylist(held, ACCOUNT))


def still_there(batches: Iterator[pa.RecordBatch], seen: Counts) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        seen.rows_in += batch["dropped_at"].null_count
        yield batch


def ordering(
    section: CodeSection, seed: int, tokenizer: str | None = None, window: int = WINDOW
) -> OrderRepositories:
    """What orders the files: windows hold `section.window` or else `window` tokens of the tokenizer at that path."""
    counted = (tokenizer, TextTokenizer.load(tokenizer).fingerprint) if tokenizer else None
    return OrderRepositories(
        section.order,
        seed,
        section.max_chars,
        section.samples,
        section.window or window,
        counted,
        section.skeletons,
        section.whole.lost,
        section.whole.max_lost_share,
    )


def repositories(
    work: Work,
    before: Stage,
    section: CodeSection,
    seed: int,
    name: str = "repositories",
    way: tuple[Stage, ...] = (),
    tokenizer: str | None = None,
    window: int = WINDOW,
) -> Stage:
    """One document a repository, its files in order. Files arrive in any order and any part.

    `way` holds the stages from `files` to `before`; without it nothing is known of what they dropped.
    """
    if way and way[-1].fingerprint != before.fingerprint:
        raise LodeError(f"{before.folder}: this stage is missing from the way; this is a fault in Lode.")
    for earlier, later in pairwise(way):
        if earlier.fingerprint not in later.manifest["inputs"].values():
            raise LodeError(f"{later.folder}: the stage before this one is missing; this is a fault in Lode.")
    transform = ordering(section, seed, tokenizer, window)

    def build(folder: str) -> Account:
        paths = zip(*(stage.parts for stage in way or (before,)), strict=True)
        tasks = tuple(map(Task, count(), paths))
        numbers = work.spark.session.range(0, len(tasks), 1, len(tasks))
        names = tuple(stage.manifest["stage"] for stage in way)
        rows = numbers.mapInArrow(ReadFiles(tasks, names), spark_schema(ROW))
        # Nulls come first: a repository's files, and then those that were dropped.
        order = ["source", "repository", "dropped_at", "path", "id"]
        schema = transform.schema(FILE_ROW)
        counts = work.write_buckets(folder, rows, schema, transform, len(tasks), order, WriteRepositories)
        return Account(counts, "files", {"repositories": counts.rows_written, **totals(folder)})

    parameters = {"order": section.order, "max_chars": section.max_chars, "seed": seed}
    parameters |= {"whole": section.whole.model_dump(), "samples": section.samples}
    if section.samples == "window":
        mark = transform.tokenizer and transform.tokenizer[1]
        parameters |= {"window": transform.window, "skeletons": section.skeletons, "tokenizer": mark}
    languages = ("corpus/languages.py", "corpus/languages.toml", "corpus/linguist.json")
    rooms = (
        *languages,
        "corpus/fast_bpe.py",
        "corpus/guarded.py",
        "corpus/tokens.py",
        "corpus/trees.py",
        "repo_ordering",
        "jobs/repository_documents.py",
    )
    return work.stage(name, rooms, parameters, {"files": before.fingerprint}, build)


def totals(folder: str) -> dict[str, int]:
    """What the manifest says of all accounts together."""
    found = {"edges": 0, "edges_lost": 0, "stubs": 0}
    place = storage.join(folder, ACCOUNTS)
    for path in storage.parquet_parts(place) if storage.exists(place) else ():
        for batch in storage.read_parquet(path, list(found)):
            for column in found:
                found[column] += pc.sum(batch[column]).as_py() or 0
    return found
