"""Stages from repositories to ordered documents: files, code_rules, code_deduplicated, ..., repositories."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import xxhash

from corpus import installed, storage
from corpus.errors import LodeError
from corpus.repositories import FILE, read_repository, repository_name, repository_paths
from corpus.schema import to_batches, with_verdict
from filters.code_rules import CodeRules
from filters.licences import licence_of_files
from jobs.engine import Account, Stage, Work, fingerprint_files, limited, spark_schema
from jobs.recipe import CodeSection, Source
from jobs.web import is_installed
from jobs.worker import Task
from repo_ordering.document import OrderRepositories

# Repositories of one part. A repository is never split between parts, so a part is as large as they are.
REPOSITORIES_PER_PART = 8


@dataclass(frozen=True)
class ReadRepositories:
    """Function of a task: files of repositories; each input is `source<newline>name<newline>path`."""

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        for item in inputs:
            source, name, path = item.split("\n", 2)
            rows = read_repository(path, source, name, licence_of_files)
            yield from to_batches(rows, with_verdict(FILE))


def files(work: Work, sources: dict[str, Source], seed: int, name: str = "files") -> Stage:
    """Every file of every repository as a row, or as a dropped row with its reason."""
    found, marks = [], {}
    for source, about in sources.items():
        paths = limited(repository_paths(about.input), about.limit, seed)
        if not paths:
            raise LodeError(f"sources.{source}.input: no repository in {', '.join(about.input)}.")
        found += [f"{source}\n{name}\n{path}" for name, path in distinct_names(paths)]
        marks[source] = fingerprint_repositories(paths)

    def build(folder: str) -> Account:
        groups = [found[i : i + REPOSITORIES_PER_PART] for i in range(0, len(found), REPOSITORIES_PER_PART)]
        tasks = [Task(part, tuple(group)) for part, group in enumerate(groups)]
        here = any(is_installed(item.split("\n", 2)[2]) for item in found)
        counts = work.map_parts(folder, tasks, FILE, read=ReadRepositories(), unit="files", here=here)
        return Account(counts, "files", {"repositories": len(found)})

    rooms = ("corpus/repositories.py", "corpus/languages.toml", "filters/licences.py", "jobs/repositories.py")
    return work.stage(name, rooms, {"inputs": found}, marks, build)


def distinct_names(paths: list[str]) -> list[tuple[str, str]]:
    """(name, path) of each repository: its own name, with the folders above it where two share one."""
    shown = {path: repository_name(path) for path in paths}
    depth = 1
    while len(set(shown.values())) < len(paths) and depth < 8:
        depth += 1
        seen = Counter(shown.values())
        for path, name in shown.items():
            if seen[name] > 1:
                shown[path] = "/".join([*path.rstrip("/").split("/")[-depth:-1], repository_name(path)])
    return [(shown[path], path) for path in paths]


def fingerprint_repositories(paths: list[str]) -> str:
    """A fingerprint of archives by name, size and time, of folders by their files, of packages by their version."""
    kept = [path for path in paths if not is_installed(path)]
    marks = [fingerprint_files(storage.expand(kept))] if kept else []
    marks += sorted(
        f"{path} {package.version}"
        for path in paths
        if is_installed(path)
        for package, _ in installed.resolve(path)
    )
    return xxhash.xxh3_128_hexdigest("\n".join(marks).encode())


def code_rules(work: Work, before: Stage, section: CodeSection) -> Stage:
    rules = CodeRules(section.rules)

    def build(folder: str) -> Account:
        tasks = [Task(part, (path,)) for part, path in enumerate(before.parts)]
        return Account(work.map_parts(folder, tasks, before.schema, rules, unit="files"), "files")

    rooms = ("filters/code_rules.py", "filters/code_rules.toml", "jobs/repositories.py")
    return work.stage("code_rules", rooms, {"rules": section.rules}, {"files": before.fingerprint}, build)


@dataclass(frozen=True)
class ReadFiles:
    """mapInArrow function: rows of files with the bucket of their repository, for a shuffle."""

    tasks: tuple[Task, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for rows in storage.read_parquet(self.tasks[number].inputs[0]):
                    names = zip(rows["source"].to_pylist(), rows["repository"].to_pylist(), strict=True)
                    keys = [xxhash.xxh3_64_intdigest(f"{s}\n{r}".encode()) for s, r in names]
                    buckets = pa.array([key % len(self.tasks) for key in keys], pa.int32())
                    yield rows.append_column("bucket", buckets)


def repositories(
    work: Work, before: Stage, section: CodeSection, seed: int, name: str = "repositories"
) -> Stage:
    """One document a repository, its files in order. Files arrive in any order and any part."""
    transform = OrderRepositories(section.order, seed, section.max_chars)

    def build(folder: str) -> Account:
        tasks = tuple(Task(part, (path,)) for part, path in enumerate(before.parts))
        schema = before.schema.append(pa.field("bucket", pa.int32()))
        numbers = work.spark.session.range(0, len(tasks), 1, len(tasks))
        rows = numbers.mapInArrow(ReadFiles(tasks), spark_schema(schema))
        order = ["source", "repository", "path", "id"]
        counts = work.write_buckets(
            folder, rows, transform.schema(before.schema), transform, len(tasks), order
        )
        return Account(counts, "files", {"repositories": counts.rows_written})

    parameters = {"order": section.order, "max_chars": section.max_chars, "seed": seed}
    rooms = ("corpus/languages.toml", "repo_ordering", "jobs/repositories.py")
    return work.stage(name, rooms, parameters, {"files": before.fingerprint}, build)
