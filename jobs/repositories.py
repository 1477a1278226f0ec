"""Stages from repositories to their files: files, code_rules. `repository_documents` has the last one."""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus import storage
from corpus.file_tables import ORDER, SHUFFLED, FinishRepositories, TableFile, read_table, repository_keys
from corpus.repositories import FILE, read_repository
from corpus.repository_facts import FactList, Facts, repository_key, write_facts
from corpus.schema import to_batches, with_verdict
from filters.code_rules import CodeRules
from filters.licences import Licences, RepositoryLicences
from filters.repository_lists import listed
from jobs import worker
from jobs.engine import Account, Stage, Transform, Work, fingerprint_files, spark_schema
from jobs.recipe import CodeSection, LicencesSection, Source
from jobs.repository_inputs import Found, bounds, digest, facts_of, find, grouped
from jobs.web import is_installed
from jobs.worker import Counts, Task

FILES_ROOMS = (
    "corpus/repositories.py",
    "corpus/archives.py",
    "corpus/git.py",
    "corpus/file_tables.py",
    "corpus/languages.toml",
    "corpus/linguist.json",
)
LICENCE_ROOMS = ("filters/licences.py", "filters/licence_names.py", "filters/licence_names.toml")
FILES_ROOMS += (
    *LICENCE_ROOMS,
    "filters/licence_manifests.py",
    "filters/licence_texts.py",
    "filters/licences.npz",
)
FILES_ROOMS += ("jobs/repositories.py", "jobs/repository_inputs.py")


@dataclass(frozen=True)
class ReadRepositories:
    """Function of a task: files of repositories; each input is a `repository_item`."""

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        for item in inputs:
            known, path = item.split("\n", 1)
            source, name, revision, facts = json.loads(known)
            rows = read_repository(path, source, name, RepositoryLicences, revision=revision)
            yield from to_batches(with_facts(rows, Facts(*facts)), with_verdict(FILE))


def repository_item(source: str, name: str, revision: str, facts: Facts | None, path: str) -> str:
    """What `ReadRepositories` reads; its last line is the path."""
    return f"{json.dumps([source, name, revision, facts or Facts()])}\n{path}"


def with_facts(rows: Iterator[dict[str, Any]], facts: Facts) -> Iterator[dict[str, Any]]:
    """Rows with what is known from elsewhere: of stars, forks and the last change it counts first, else last."""
    known: dict[str, Any] = {"stars": facts.stars, "forks": facts.forks}
    if facts.updated is not None:
        known["updated"] = datetime.fromtimestamp(facts.updated / 1e6, UTC)
    known = {name: value for name, value in known.items() if value is not None}
    for row in rows:
        row.update(known, licence=row["licence"] or facts.licence, revision=row["revision"] or facts.revision)
        yield row


@dataclass(frozen=True)
class ReadTables:
    """mapInArrow function: each row is the number of a Parquet file, whose rows come out with their part as `bucket`.

    Rows of the parts in `done` stay out, and so do those of repositories whose key is above their source's.
    """

    tables: tuple[TableFile, ...]
    first: int
    buckets: int
    done: frozenset[int]
    highest: tuple[tuple[str, str], ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        highest = dict(self.highest)
        for batch in batches:
            for number in batch.column(0).to_pylist():
                table = self.tables[number]
                for rows in read_table(table, self.first, self.buckets, highest.get(table.source)):
                    if self.done:
                        keep = [bucket not in self.done for bucket in rows.column("bucket").to_pylist()]
                        rows = rows.filter(pa.array(keep, pa.bool_()))
                    yield rows


@dataclass(frozen=True)
class ReadKeys:
    """mapInArrow function: each row is the number of a Parquet file; the keys of its repositories come out."""

    tables: tuple[TableFile, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                keys = sorted(set(repository_keys(self.tables[number])))
                yield pa.RecordBatch.from_arrays([pa.array(keys, pa.string())], names=["key"])


def files(work: Work, sources: dict[str, Source], seed: int, name: str = "files") -> Stage:
    """Every file of every repository as a row, or as a dropped row with its reason."""
    found = find(sources, seed)

    def build(folder: str) -> Account:
        scratch = storage.join(folder, "_scratch")
        lists = {
            source: storage.join(scratch, f"about-{number}.parquet")
            for number, (source, s) in enumerate(sources.items())
            if s.about
        }
        about = {
            source: {"lines": write_facts(sources[source].about or "", out)} for source, out in lists.items()
        }
        items, unknown = known_items(found, sources, lists)
        groups = grouped(items, found.sizes)
        tasks = [Task(part, group) for part, group in enumerate(groups)]
        here = any(is_installed(path) for _, _, path in found.repositories)
        counts = work.map_parts(
            folder, tasks, FILE, read=ReadRepositories(), unit="files", here=here, resumes=True
        )
        repositories = len(items)
        if found.tables:
            of_tables = {table.source for table in found.tables}
            taken = frozenset((source, name) for source, name, _ in found.repositories if source in of_tables)
            counts = write_tables(work, folder, found, sources, len(tasks), lists, taken)
            repositories += look_up(folder, len(tasks), lists, unknown, taken)
        storage.remove(scratch)
        for source, facts in about.items():
            facts["unknown"] = unknown[source]
        return Account(counts, "files", {"repositories": repositories, **({"about": about} if about else {})})

    # Of a source that is limited the fingerprint covers more than is read, so what is read counts as well.
    listing = digest(map("\n".join, found.repositories))
    settings = {
        source: s.model_dump(include={"limit", "revision", "columns"}, exclude_defaults=True)
        for source, s in sources.items()
    }
    return work.stage(
        name, FILES_ROOMS, {"inputs": listing, "sources": settings}, found.marks, build, resumes=True
    )


def known_items(
    found: Found, sources: dict[str, Source], lists: dict[str, str]
) -> tuple[list[str], Counter[str]]:
    """What `ReadRepositories` reads, with what the lists say of each; and how many each list does not have."""
    facts: dict[str, Iterator[Facts | None]] = {}
    unknown: Counter[str] = Counter()
    for source, path in lists.items():
        known = facts_of(path, [(name, place) for s, name, place in found.repositories if s == source])
        unknown[source] = known.count(None)
        facts[source] = iter(known)
    items = [
        repository_item(
            source, name, sources[source].revision, next(facts[source]) if source in facts else None, path
        )
        for source, name, path in found.repositories
    ]
    return items, unknown


def write_tables(
    work: Work,
    folder: str,
    found: Found,
    sources: dict[str, Source],
    first: int,
    lists: dict[str, str],
    taken: frozenset[tuple[str, str]],
) -> Counts:
    """Bring the rows of each repository together and write them as parts from number `first` on."""
    _, room = bounds(0, found.table_bytes)
    buckets = max(math.ceil(found.table_bytes / room), 1)
    numbers = work.spark.session.range(0, len(found.tables), 1, len(found.tables))
    highest = []
    for source, about in sources.items():
        tables = tuple(table for table in found.tables if table.source == source)
        if tables and about.limit is not None:
            keys = work.spark.session.range(0, len(tables), 1, len(tables)).mapInArrow(
                ReadKeys(tables), "key string"
            )
            ((last,),) = work.collect(keys.distinct().orderBy("key").limit(about.limit).agg({"key": "max"}))
            highest.append((source, last or ""))
    done = frozenset(
        part for part in range(first, first + buckets) if storage.exists(worker.counts_path(folder, part))
    )
    read = ReadTables(tuple(found.tables), first, buckets, done, tuple(highest))
    finish = FinishRepositories(RepositoryLicences, tuple(lists.items()), taken=taken)
    with work.small_rows():
        rows = numbers.mapInArrow(read, spark_schema(SHUFFLED))
        return work.write_buckets(folder, rows, FILE, finish, buckets, ORDER)


def look_up(
    folder: str, first: int, lists: dict[str, str], unknown: Counter[str], taken: frozenset[tuple[str, str]]
) -> int:
    """Count the repositories in the parts from number `first` on, but for those in `taken`; `unknown` gets those that a
    list does not have."""
    count = 0
    with contextlib.ExitStack() as stack:
        facts = {source: stack.enter_context(FactList(path)) for source, path in lists.items()}
        for path in storage.parquet_parts(storage.join(folder, "part-*.parquet")):
            if path.rpartition("/")[2] < worker.part_name(first):
                continue
            dropped = storage.join(folder, "dropped", path.rpartition("/")[2])
            pairs: set[tuple[str, str]] = set()
            for part in (path, dropped) if storage.exists(dropped) else (path,):
                for batch in storage.read_parquet(part, ["source", "repository"], 1 << 16):
                    pairs.update(
                        zip(batch["source"].to_pylist(), batch["repository"].to_pylist(), strict=True)
                    )
            pairs = {pair for pair in pairs - taken if pair[1] is not None}
            count += len(pairs)
            # In the order of their keys, as a list is read.
            for source, name in sorted(pairs, key=lambda pair: (pair[0], repository_key(pair[1]))):
                if source in facts and facts[source].of(name) is None:
                    unknown[source] += 1
    return count


@dataclass(frozen=True)
class InTurn:
    """A `Transform` of two: the second looks at what the first keeps."""

    first: Transform
    second: Transform

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            (judged,) = self.first(iter((batch,)))
            kept = pc.is_null(judged["reason"])
            columns = {name: judged[name] for name in ("reason", "detail")}
            for rest in self.second(iter((batch.filter(kept),))):
                for name, values in columns.items():
                    columns[name] = pc.replace_with_mask(values, kept, rest[name])
            yield pa.RecordBatch.from_arrays([*batch.columns, *columns.values()], schema=judged.schema)


def licence_policy(section: LicencesSection) -> Licences | None:
    """None where every file may be used; `LodeError` for a list of opt-outs that cannot be read."""
    lists = storage.expand(section.opt_out) if section.opt_out else []
    if not lists and section.allow == "any":
        return None
    policy = Licences(section.allow, lists, fingerprint_files(lists))
    listed(policy.opt_out, policy.mark)
    return policy


def code_rules(work: Work, before: Stage, section: CodeSection) -> Stage:
    """Files that may be used and keep the rules: opt-outs and licences first, then what the file is like."""
    rules = CodeRules(section.rules)
    policy = licence_policy(section.licences)

    def build(folder: str) -> Account:
        tasks = [Task(part, (path,)) for part, path in enumerate(before.parts)]
        transform = InTurn(policy, rules) if policy else rules
        return Account(work.map_parts(folder, tasks, before.schema, transform, unit="files"), "files")

    # What a file of one's own says counts, not only its name.
    parameters: dict[str, Any] = {"rules": rules.facts if section.rules.endswith(".toml") else section.rules}
    data = ("filters/code_rules.toml", "filters/generated.toml")
    rooms = ["filters/code_rules.py", "filters/generated.py", *data, "jobs/repositories.py"]
    inputs = {"files": before.fingerprint}
    if policy:
        parameters["allow"] = section.licences.allow
        rooms += [*LICENCE_ROOMS, "filters/repository_lists.py"]
        inputs |= {"opt_out": policy.mark} if policy.opt_out else {}
    return work.stage("code_rules", tuple(rooms), parameters, inputs, build)
