"""A work folder: stages that run once, keep accounts, and run again only when what they depend on changes.

A stage is a folder with `part-*.parquet`, `dropped/` and, last of all, `_lode.json`. The manifest's fingerprint
covers the source of the rooms that the stage uses, its parameters and the fingerprints of its inputs. Equal
fingerprint: the stage is skipped. No manifest: it did not finish, and runs again from clean.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import Transform
from jobs import worker
from jobs.progress import Progress
from jobs.spark import ARROW_SETTING, Spark, code_version, first_cause
from jobs.worker import Counts, MapParts, Task, WriteBuckets

MANIFEST, RUNNING = "_lode.json", "_running.json"
STAGE_NAMES = re.compile(
    r"part-\d+\.parquet|dropped|clusters|signatures|matches|lines|accounts|contamination|unusable|_scratch|_counts|_running\.json|_lode\.json"
)
# The name of a stage that is the work folder itself: what `lode dedup --out DIR` and its like write.
HERE = "."
EVERY_STAGE = ("corpus/schema.py", "corpus/storage.py", "jobs/engine.py", "jobs/worker.py")
SAVED_SQL = "path string, name string, rows long, error string"
VERSION = "0.1.0"


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder and its manifest."""

    folder: str
    manifest: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]

    @property
    def parts(self) -> list[str]:
        return storage.parquet_parts(self.manifest.get("glob") or storage.join(self.folder, "part-*.parquet"))

    @property
    def schema(self) -> pa.Schema:
        return storage.parquet_schema(self.parts[0])


def open_dataset(path: str, needs: tuple[str, ...] = ("id", "text")) -> Stage:
    """A dataset as a stage: a stage's own folder, or any Parquet file, folder or glob with the columns it needs."""
    path = storage.absolute(path)
    parts = storage.parquet_parts(path)
    schema = storage.parquet_schema(parts[0])
    columns = schema.names
    if reserved := {"reason", "detail"} & set(columns):
        raise LodeError(f"{parts[0]}: the column {min(reserved)!r} has a meaning of its own here; rename it.")
    if missing := [name for name in needs if name not in columns]:
        raise LodeError(
            f"{parts[0]}: the column {missing[0]!r} is missing; it has {', '.join(columns[:12])}."
        )
    # An address is read wherever there is one; a column of nothing but nulls has no type.
    for name in dict.fromkeys((*needs, *({"url"} & set(columns)))):
        kind = schema.field(name).type
        if kind not in (pa.string(), pa.large_string()) and not (name == "url" and pa.types.is_null(kind)):
            raise LodeError(f"{parts[0]}: the column {name!r} is {kind}; text was expected.")
    manifest = storage.read_json(storage.join(path, MANIFEST))
    if manifest and "fingerprint" in manifest:
        return Stage(path, manifest)
    if storage.exists(storage.join(path, RUNNING)):
        raise LodeError(f"{path}: this stage did not finish; run the command that makes it again.")
    rows = 0
    for part in parts:
        with storage.open_parquet(part) as file:
            rows += file.metadata.num_rows
            check_columns(part, file.schema_arrow, parts[0], schema)
    folder = storage.filesystem(path)[0].isdir(storage.filesystem(path)[1])
    made_up = {"fingerprint": fingerprint_files(parts), "rows_out": rows, "rows_written": rows, "dropped": {}}
    made_up |= {"bytes": sum(storage.size(part) for part in parts), "unit": "rows", "rows_in": rows}
    return Stage(path, made_up | {"glob": storage.join(path, "*.parquet") if folder else path})


def check_columns(part: str, theirs: pa.Schema, first: str, ours: pa.Schema) -> None:
    """Raises LodeError where a part lacks a column of the first, or has it in another type."""
    for wanted in ours:
        kind = theirs.field(wanted.name).type if wanted.name in theirs.names else None
        if kind != wanted.type:
            there = "is missing" if kind is None else f"is {kind}"
            raise LodeError(
                f"{part}: the column {wanted.name!r} {there}, but in {first} it is {wanted.type}; all parts of a "
                "dataset have the same columns."
            )


@dataclass
class Account:
    """What a stage tells its manifest beside the counts."""

    counts: Counts = field(default_factory=Counts)
    unit: str = "rows"
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved:
    """Files that `Work.save` wrote, and how many rows are in them."""

    paths: tuple[str, ...] = ()
    rows: int = 0

    def __add__(self, other: "Saved") -> "Saved":
        return Saved(self.paths + other.paths, self.rows + other.rows)


class Work:
    """A work folder in use by this process, and the engine that fills it."""

    def __init__(self, folder: str, spark: Spark, progress: Progress):
        # Executors run in folders of their own, so a relative path would mean another place to each.
        self.folder = storage.absolute(folder)
        self.spark = spark
        self.progress = progress
        self._lock: Any = None

    def __enter__(self) -> "Work":
        fs, inside = storage.filesystem(self.folder)
        if fs.exists(inside) and not fs.isdir(inside):
            raise LodeError(f"{self.folder}: this is a file; a folder for the results was expected.")
        storage.make_folder(self.folder)
        if storage.is_local(self.folder):
            self._lock = open(storage.join(inside, ".lock"), "w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LodeError(
                    f"{self.folder}: another lode is working in this folder; wait for it."
                ) from None
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock:
            self._lock.close()

    def path(self, name: str) -> str:
        return storage.join(self.folder, name)

    def stage(
        self,
        name: str,
        rooms: tuple[str, ...],
        parameters: dict[str, Any],
        inputs: dict[str, str],
        build: Callable[[str], Account],
        resumes: bool = False,
    ) -> Stage:
        """Run `build(folder)` unless its result is there already.

        Args:
            rooms: the folders and files of source code that decide the result.
            parameters: JSON values that decide the result.
            inputs: a fingerprint for each input, by name.
            resumes: `build` goes on from what an unfinished run with the same fingerprint left.
        """
        folder = self.path(name) if name != HERE else self.folder
        shown = name if name != HERE else os.path.basename(folder)
        identity = {
            "stage": name,
            "code": code_version((*rooms, *EVERY_STAGE)),
            "parameters": parameters,
            "inputs": inputs,
        }
        fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
        manifest = storage.read_json(storage.join(folder, MANIFEST))
        if manifest and manifest.get("fingerprint") == fingerprint:
            self.progress.skip(shown, summary(manifest))
            return Stage(folder, manifest)
        self.progress.start(shown)
        marker = storage.join(folder, RUNNING)
        if not (resumes and storage.read_json(marker) == {"fingerprint": fingerprint} and not manifest):
            self._clear(folder, name, manifest)
        else:
            storage.remove_scratch(folder)
        storage.make_folder(folder)
        storage.write_json(marker, {"fingerprint": fingerprint})
        began = time.time()
        try:
            account = build(folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            raise disk_error(shown, self.folder, error) from error
        storage.remove(storage.join(folder, "_counts"))
        counts = account.counts
        manifest = {
            "lode": VERSION,
            **identity,
            "fingerprint": fingerprint,
            "unit": account.unit,
            "rows_in": counts.rows_in,
            "rows_out": counts.rows_out,
            "rows_dropped": sum(counts.dropped.values()),
            "dropped": dict(sorted(counts.dropped.items())),
            "rows_written": counts.rows_written,
            "bytes": counts.bytes,
            "tokens": counts.tokens or None,
            "started": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
            "wall_seconds": round(time.time() - began, 3),
            "engine": self.spark.engine if self.spark.running else "python",
            **account.extra,
        }
        if manifest["rows_in"] != manifest["rows_out"] + manifest["rows_dropped"]:
            raise LodeError(f"{name}: rows are missing from the account; this is a fault in Lode.")
        storage.write_json(storage.join(folder, MANIFEST), manifest)
        storage.remove(marker)
        self.progress.finish(shown, summary(manifest))
        return Stage(folder, manifest)

    def _clear(self, folder: str, name: str, manifest: dict[str, Any] | None) -> None:
        """Empty a stage's folder, but never a folder that something else is in."""
        found: list[str] = []
        if name == HERE:
            if manifest and manifest.get("stage") != HERE:
                raise LodeError(
                    f"{folder}: holds the stage {manifest.get('stage')!r}; choose another folder."
                )
            found = [n for n in storage.visible_names(folder) if not STAGE_NAMES.fullmatch(n)]
            if found and not manifest and not storage.exists(storage.join(folder, RUNNING)):
                raise LodeError(
                    f"{folder}: holds other things ({found[0]}, ...); choose an empty or new folder."
                )
        # Whatever came to lie beside such a stage is not its own.
        storage.remove_folder_contents(folder, keep=found)

    def map_parts(
        self,
        folder: str,
        tasks: list[Task],
        schema: pa.Schema,
        transform: Transform | None = None,
        read: Callable[[tuple[str, ...]], Iterator[pa.RecordBatch]] = worker.read_parts,
        unit: str = "rows",
        here: bool = False,
        resumes: bool = False,
    ) -> Counts:
        """One Spark task for each part: read, transform, write. No row crosses into the JVM.

        With `resumes` parts that an unfinished run has left are not made again.
        With `here` the tasks need what only the driver's machine has, and a cluster's executors are not asked.
        """
        if not tasks:
            return Counts()
        run = MapParts(tuple(tasks), folder, schema, read, transform, resumes)
        session = self.spark.session
        if here and not self.spark.is_local:
            for task in tasks:
                run.run(task)
            return self._total(folder, len(tasks))
        self._run(folder, session.range(0, len(tasks), 1, len(tasks)), run, len(tasks), unit)
        return self._total(folder, len(tasks))

    def write_buckets(
        self,
        folder: str,
        rows: Any,
        schema: pa.Schema,
        transform: Transform,
        buckets: int,
        order: list[str],
        write: type[WriteBuckets] = WriteBuckets,
    ) -> Counts:
        """Shuffle a DataFrame by its column `bucket`, sort each bucket by `order`, and write it as one part."""
        shuffled = rows.repartitionById(buckets, "bucket").sortWithinPartitions("bucket", *order)
        self._run(folder, shuffled, write(folder, schema, transform), buckets, "rows")
        if not storage.exists(storage.join(folder, worker.part_name(0))):
            worker.write_part(folder, 0, iter(()), schema)  # a dataset without rows still has its columns
        return self._total(folder, None)

    def _run(self, folder: str, rows: Any, function: Any, parts: int, unit: str) -> None:
        with self._watching(folder, parts, unit):
            failures = self.collect(rows.mapInArrow(function, "error string"))
        for row in failures:
            if row["error"]:
                raise LodeError(f"{os.path.basename(folder)}: {row['error']}")

    def collect(self, rows: Any) -> list[Any]:
        """Run a Spark job and bring its (few) rows here."""
        with self.spark_errors():
            return rows.collect()

    def checkpoint(self, rows: Any, folder: str) -> Any:
        """Run a Spark job, keep its rows as Parquet in `folder`, and return a DataFrame that reads them from there.

        `folder` lies in the work folder, which every machine reaches, so a lost executor takes nothing with it.
        """
        with self.spark_errors():
            schema = rows.schema
        return self.load(self.save(rows, folder).get("rows", Saved()), schema)

    def save(
        self,
        rows: Any,
        folder: str,
        function: Callable[[Iterator[pa.RecordBatch]], Iterator[tuple[str, pa.RecordBatch]]] = worker.as_rows,
    ) -> dict[str, "Saved"]:
        """Run a Spark job and write what `function` makes of each partition, as files of each name that it gives."""
        with self.small_rows():
            made = self.collect(rows.mapInArrow(worker.SaveRows(folder, function), SAVED_SQL))
        saved: dict[str, Saved] = {}
        for row in sorted(made, key=lambda row: row["path"] or ""):
            if row["error"]:
                raise LodeError(f"{os.path.basename(folder)}: {row['error']}")
            saved[row["name"]] = saved.get(row["name"], Saved()) + Saved((row["path"],), row["rows"])
        return saved

    def load(self, saved: "Saved", schema: Any) -> Any:
        """A DataFrame that reads what `save` wrote, one task a file."""
        return self.numbers(saved).mapInArrow(worker.LoadRows(saved.paths), schema)

    def numbers(self, saved: "Saved") -> Any:
        """A DataFrame with the number of each file, in a task of its own: the input of `LoadRows`."""
        count = len(saved.paths)
        return self.spark.session.range(0, count, 1, max(count, 1))

    @contextlib.contextmanager
    def small_rows(self) -> Iterator[None]:
        """Arrow batches bounded by bytes: the bound in rows that suits pages makes slow work of numbers."""
        conf = self.spark.session.conf
        bounds = {ARROW_SETTING: "65536", "spark.sql.execution.arrow.maxBytesPerBatch": "4m"}
        before = {name: conf.get(name, None) for name in bounds}
        for name, value in bounds.items():
            conf.set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                conf.unset(name) if value is None else conf.set(name, value)

    @contextlib.contextmanager
    def spark_errors(self) -> Iterator[None]:
        """Whatever Spark says of a failure, at some length, becomes a sentence."""
        try:
            yield
        except Exception as error:
            raise LodeError(f"a Spark job failed: {first_cause(error)} (log: {self.spark.log})") from error

    @contextlib.contextmanager
    def _watching(self, folder: str, parts: int, unit: str) -> Iterator[None]:
        """Show progress from the counts files as tasks leave them."""
        stop = threading.Event()
        pause = 0.5 if storage.is_local(folder) else 5.0

        def watch() -> None:
            while not stop.wait(pause):
                with contextlib.suppress(Exception):
                    done = worker.read_counts(folder)
                    rows = sum(c.rows_in for c in done) if unit else 0
                    self.progress.update(len(done), parts, rows, unit, f"{len(done)} of {parts} parts")

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _total(self, folder: str, parts: int | None) -> Counts:
        done = worker.read_counts(folder)
        if parts is not None and len(done) != parts:
            raise LodeError(
                f"{folder}: {parts} tasks ran and {len(done)} left their counts here; do the executors see this "
                "folder? On a cluster the work folder must be a path or URL that every machine reaches."
            )
        total = Counts()
        for counts in done:
            total.add(counts)
        return total


def spark_schema(schema: pa.Schema) -> Any:
    """An Arrow schema as Spark names it, for `mapInArrow`."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)


def disk_error(stage: str, folder: str, error: OSError) -> LodeError:
    where = error.filename or folder
    return LodeError(
        f"{stage}: {error.strerror or error} ({where}); free space, or choose another --work folder."
    )


def summary(manifest: dict[str, Any]) -> str:
    """One line about a finished stage."""
    text = f"{manifest['rows_in']:,} → {manifest['rows_out']:,} {manifest['unit']}"
    reasons = sorted(manifest["dropped"].items(), key=lambda item: (-item[1], item[0]))
    if reasons:
        shown = 4 if len(reasons) == 4 else 3
        text += "  dropped: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons[:shown])
        if len(reasons) > shown:
            text += f", {sum(n for _, n in reasons[shown:]):,} others"
    if manifest.get("headline"):
        text = manifest["headline"]
    return text


def limited(names: list[str], limit: int | None, seed: int) -> list[str]:
    """At most `limit` of the names, chosen by a hash of each, in their order."""
    if limit is None or len(names) <= limit:
        return names

    def place(name: str) -> bytes:
        key = f"{seed}\n{os.path.basename(name)}"
        return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

    chosen = sorted(names, key=place)
    taken = set(chosen[:limit])
    return [name for name in names if name in taken]


def fingerprint_files(paths: list[str], sizes: dict[str, int] | None = None) -> str:
    """A fingerprint of files by name, size and time of last change (or the store's own tag); fills in `sizes`."""
    digest = hashlib.sha256()
    for path in paths:
        fs, inside = storage.filesystem(path)
        info = fs.info(inside)
        if sizes is not None:
            sizes[path] = info.get("size") or 0
        mark = info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("created")
        digest.update(f"{path}\n{info.get('size')}\n{mark}\n".encode())
    return digest.hexdigest()[:32]
