"""What the sources of kind `repositories` name: archives, folders, git repositories, packages, tables of files."""

import contextlib
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from corpus import installed, storage
from corpus.archives import LIMITS, SKIPPED_FOLDERS, RepositoryError, walk
from corpus.errors import LodeError
from corpus.file_tables import TableFile, is_table, table_files
from corpus.git import git_entries, git_folder
from corpus.repositories import repository_name, shown, understand
from corpus.repository_facts import FactList, Facts, repository_key
from jobs.engine import fingerprint_files, limited
from jobs.recipe import Source
from jobs.web import is_installed

# About so many parts, of whole repositories, within these bounds of what is stored and how many there are: small
# ones share a part, a large one has its own.
PARTS = 256
PART_BYTES = (4 << 20, 64 << 20)
PART_REPOSITORIES = (8, 512)


@dataclass
class Found:
    """What the sources of kind `repositories` name."""

    repositories: list[tuple[str, str, str]] = field(default_factory=list)  # source, name, path
    sizes: list[int] = field(default_factory=list)  # of these, as stored
    tables: list[TableFile] = field(default_factory=list)
    table_bytes: int = 0
    marks: dict[str, str] = field(default_factory=dict)  # by source: changes when what it names does


def places(source: Source) -> tuple[list[str], list[str]]:
    """The inputs of a source that are tables, and the others."""
    tables = [path for path in source.input if source.columns or is_table(path)]
    return tables, [path for path in source.input if path not in tables]


def understood(source: Source) -> list[str]:
    """What a source's inputs were taken for, a line each.

    Raises:
        LodeError: where there is nothing, also no list `about`, or a table without a column for the text.
    """
    tables, others = places(source)
    if source.about:
        storage.expand([source.about])
    lines = [str(taken) for taken in understand(others)]
    for path in tables:
        files = table_files(path)
        if not files:
            raise LodeError(f"{path}: no Parquet files there.")
        TableFile("", files[0], tuple(source.columns.items())).layout()
        count = f"{len(files):,} Parquet file{'s' if len(files) > 1 else ''}"
        lines.append(f"{path}: a table of files in {count}")
    return lines


def find(sources: dict[str, Source], seed: int) -> Found:
    """List what the sources name."""
    found = Found()
    for name, source in sources.items():
        understood(source)
        tables, others = places(source)
        if source.limit is not None and tables and others:
            raise LodeError(
                f"sources.{name}.limit: counts repositories of one kind; give the Parquet files a source of their own."
            )
        marks = []
        files = [file for path in tables for file in table_files(path)]
        columns = tuple(source.columns.items())
        found.tables += [TableFile(name, file, columns) for file in dict.fromkeys(files)]
        sizes: dict[str, int] = {}
        marks += [fingerprint_files(files, sizes)] if files else []
        found.table_bytes += sum(sizes.values())
        paths = sorted({path for taken in understand(others) for path in taken.repositories})
        paths = limited(paths, source.limit, seed)
        if not paths and not files:
            raise LodeError(f"sources.{name}.input: no repository in {', '.join(source.input)}.")
        if source.about:
            marks.append(fingerprint_files(storage.expand([source.about])))
        for called, path in distinct_names(paths):
            mark, size = measured(path, source.revision)
            marks.append(f"{path}\n{mark}")
            found.sizes.append(size)
            found.repositories.append((name, called, path))
        found.marks[name] = digest(marks)
    return found


def digest(lines: Iterable[str]) -> str:
    """32 hex digits of some lines, which may hold names that are no Unicode."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def facts_of(path: str, names: list[tuple[str, str]]) -> list[Facts | None]:
    """What a list says of repositories by (name, path): under that name, as `owner/name` where the path ends so, or
    as a name that one owner alone has."""
    asked = []
    for number, (name, place) in enumerate(names):
        owner = os.path.basename(os.path.dirname(place.rstrip("/")))
        also = [f"{owner}/{name}"] if "/" not in name else []
        asked += [(repository_key(n), rank, n, number) for rank, n in enumerate([name, *also, f"*/{name}"])]
    best: dict[int, tuple[int, Facts]] = {}
    with FactList(path) as facts:
        for _, rank, name, number in sorted(asked):
            if (known := facts.of(name)) and (number not in best or rank < best[number][0]):
                best[number] = (rank, known)
    return [best[number][1] if number in best else None for number in range(len(names))]


def measured(path: str, revision: str) -> tuple[str, int]:
    """What changes when a repository does (the commit of a git repository), and its bytes as stored."""
    if is_installed(path):
        files, package = installed.tree_files(path)
        return package.version, sum(os.path.getsize(place) for _, place in files)
    if not storage.is_local(path):
        files = storage.expand([path])
        sizes: dict[str, int] = {}
        return fingerprint_files(files, sizes), sum(sizes.values())
    place = storage.absolute(path)
    if not os.path.isdir(place):
        try:
            status = os.stat(place)
        except OSError as error:  # a link that leads nowhere, say: it gets a row
            return type(error).__name__, 0
        return f"{status.st_size} {status.st_mtime_ns}", status.st_size
    if folder := git_folder(place):
        stored = sum(size for _, size, _ in tree(os.path.join(folder, "objects"), frozenset()))
        try:
            return git_entries(folder, revision, LIMITS)[0], stored
        except RepositoryError as error:
            return str(error), stored
    found = list(tree(place, SKIPPED_FOLDERS))
    marks = (f"{os.path.relpath(file, place)}\n{size}\n{changed}" for file, size, changed in found)
    return digest(marks), sum(size for _, size, _ in found)


def tree(folder: str, without: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """(path, size, time of change) of every file below a folder, in order; links are not followed."""
    for parent, names in walk(folder, without, []):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(parent, name))
                yield os.path.join(parent, name), status.st_size, status.st_mtime_ns


def bounds(count: int, total: int) -> tuple[int, int]:
    """Repositories and bytes that a part holds, of so many in all."""
    return (
        min(max(math.ceil(count / PARTS), PART_REPOSITORIES[0]), PART_REPOSITORIES[1]),
        min(max(math.ceil(total / PARTS), PART_BYTES[0]), PART_BYTES[1]),
    )


def parts_of(count: float, total: float) -> int:
    """About how many parts so many repositories of so many bytes make."""
    most, room = bounds(math.ceil(count), math.ceil(total))
    return max(math.ceil(count / most), math.ceil(total / room))


def grouped(items: list[str], sizes: list[int]) -> list[tuple[str, ...]]:
    """Neighbours in one part, as many as `bounds` allow; by their number and sizes alone."""
    most, room = bounds(len(items), sum(sizes))
    groups: list[list[str]] = []
    held = room + 1
    for item, size in zip(items, sizes, strict=True):
        if not groups or held + size > room or len(groups[-1]) >= most:
            groups.append([])
            held = 0
        groups[-1].append(item)
        held += size
    return [tuple(group) for group in groups]


def distinct_names(paths: list[str]) -> list[tuple[str, str]]:
    """(name, path) of each repository: its own name, with its ending where two of that name lie side by side, and
    with the folders above it where they do not."""
    names = {path: repository_name(path) for path in paths}
    while twice := {name for name, count in Counter(names.values()).items() if count > 1}:
        alike = [path for path in paths if names[path] in twice]
        beside = Counter((os.path.dirname(path.rstrip("/")), names[path]) for path in alike)
        before = names.copy()
        for path in alike:
            parts = shown(path.rstrip("/")).split("/")
            depth = names[path].count("/") + 1
            if beside[os.path.dirname(path.rstrip("/")), names[path]] > 1:
                names[path] = "/".join(parts[-depth:])
            elif depth < len(parts):
                names[path] = f"{parts[-depth - 1]}/{names[path]}"
        if names == before:  # bytes of one, escapes of the other
            names |= {path: f"{names[path]}~{repository_key(repr(path))}" for path in alike}
    return [(names[path], path) for path in paths]
