"""Repositories out of Parquet tables of files: The Stack, The Stack v2, GitHub Code, Lode's own `files`, or any other.

A layout says which column holds what; `LAYOUTS` knows the published ones, `columns` of a recipe maps any other. Rows of
a repository may lie anywhere, so `read_table` gives each a `bucket` for a shuffle, and `FinishRepositories` takes them
sorted by `ORDER` and makes of each repository the rows that an archive of it would have given.
"""

import contextlib
import itertools
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from corpus import storage
from corpus.archives import LIMITS, Limits, RepositoryError
from corpus.errors import LodeError
from corpus.repositories import FILE, Licences, RepositoryFiles
from corpus.repository_facts import FactList, Facts, repository_key
from corpus.schema import document_id, to_batches, with_verdict

# What a layout may name; `forks_of` is the repository that the number of forks belongs to, where that may be another.
FIELDS = ("repository", "path", "text", "size", "blob", "licence", "encoding", "revision", "stars", "forks")
FIELDS += ("forks_of", "updated", "language")
REQUIRED = ("repository", "path", "text")
# Columns of each field, the first that has a value counts. A table of one row a repository keeps its files' columns
# in the list `files`.
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "The Stack": {
        "repository": ("max_stars_repo_name",),
        "path": ("max_stars_repo_path",),
        "text": ("content",),
        "size": ("size",),
        "blob": ("hexsha",),
        "licence": ("max_stars_repo_licenses",),
        "revision": ("max_stars_repo_head_hexsha",),
        "stars": ("max_stars_count",),
        "forks": ("max_forks_count",),
        "forks_of": ("max_forks_repo_name",),
        "language": ("lang",),
    },
    "The Stack v2": {
        "repository": ("repo_name",),
        "path": ("path",),
        "text": ("content", "text"),
        "size": ("length_bytes",),
        "blob": ("blob_id",),
        "licence": ("detected_licenses", "gha_license_id"),
        "encoding": ("src_encoding",),
        "revision": ("revision_id",),
        "stars": ("star_events_count",),
        "forks": ("fork_events_count",),
        "updated": ("committer_date", "revision_date"),
        "language": ("language",),
    },
    "GitHub Code": {
        "repository": ("repo_name",),
        "path": ("path",),
        "text": ("code",),
        "size": ("size",),
        "licence": ("license",),
        "language": ("language",),
    },
    "files": {name: (name,) for name in FIELDS if name != "forks_of"},
}
BATCH_BYTES = 8 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Dates outside are faults of a clock: from 1980 to 2100, in microseconds.
_FROM, _UNTIL = 315_532_800_000_000, 4_102_444_800_000_000
SHUFFLED = pa.schema(
    [
        ("source", pa.string()),
        ("repository", pa.string()),
        ("path", pa.binary()),
        ("text", pa.binary()),
        ("size", pa.int64()),
        ("blob", pa.string()),
        ("licence", pa.string()),
        ("encoding", pa.string()),
        ("revision", pa.string()),
        ("stars", pa.int64()),
        ("forks", pa.int64()),
        ("updated", pa.int64()),  # microseconds since 1970
        ("language", pa.string()),  # as the table has it
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("key", pa.string()),
        ("bucket", pa.int32()),
    ]
)
# By key, as lists of facts are. Of rows with the same path the last counts: that of the newest commit. All columns, so
# that no two rows differ which this puts side by side in any order.
ORDER = ["source", "key", "repository", "path", "updated", "revision", "blob", "text"]
ORDER += [name for name in SHUFFLED.names if name not in (*ORDER, "bucket")]


class Layout(NamedTuple):
    """Where a table keeps what: columns by field, those of `nested` in the structs of the list `files`.

    `rooted` paths start with a slash, which stands for the repository's root.
    """

    top: dict[str, tuple[str, ...]]
    nested: dict[str, tuple[str, ...]]
    files: str | None = None
    rooted: bool = False


def is_table(path: str) -> bool:
    """Whether a path is a Parquet table of files: a Parquet file, a glob of them, or a folder that holds no others
    (but for notes: `.md`, `.json`, `.txt`)."""
    if path.endswith(".parquet"):
        return True
    if path.startswith("installed:") or path.endswith("/*"):
        return False
    fs, inside = storage.filesystem(path)
    if not fs.isdir(inside):
        return False
    if fs.exists(posixpath.join(inside, "_lode.json")):
        return True
    found = False
    pending = [inside]
    while pending:
        try:
            entries = fs.ls(pending.pop(), detail=True)
        except OSError:
            return False
        for entry in entries:
            name = posixpath.basename(entry["name"].rstrip("/"))
            if name.startswith(".") or entry.get("islink"):
                continue
            if entry["type"] == "directory":
                pending.append(entry["name"])
            elif name.endswith(".parquet"):
                found = True
            elif not name.lower().endswith((".md", ".json", ".txt")):
                return False
    return found


def table_files(path: str) -> list[str]:
    """The Parquet files of a table, sorted."""
    return [file for file in storage.expand([path]) if file.endswith(".parquet")]


def layout_of(schema: pa.Schema, columns: Mapping[str, str], where: str) -> Layout:
    """The layout of a table with this schema; `columns` maps fields to columns of one's own.

    Raises:
        LodeError: where a field of `REQUIRED` has no column, or `columns` names one that is not there.
    """
    files = columns.get("files", "files")
    kind = schema.field(files).type if files in schema.names else pa.null()
    kind = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else pa.null()
    struct = [field.name for field in kind] if pa.types.is_struct(kind) else []
    known = {*schema.names, *struct}
    for field, column in columns.items():
        if field not in (*FIELDS, "files"):
            raise LodeError(f"columns.{field}: there is no such field; valid are {', '.join(FIELDS)}.")
        if column not in known:
            raise LodeError(
                f"{where}: there is no column {column!r}, which columns.{field} names; {_has(schema)}"
            )
    best = max(LAYOUTS, key=lambda name: sum(bool(known & set(names)) for names in LAYOUTS[name].values()))
    recognised = all(known & set(LAYOUTS[best][field]) for field in ("repository", "path"))
    wanted = dict(LAYOUTS[best]) if recognised else {}
    wanted |= {field: (column,) for field, column in columns.items() if field != "files"}
    found = {field: tuple(name for name in names if name in known) for field, names in wanted.items()}
    for field in REQUIRED:
        if not found.get(field):
            raise LodeError(
                f"{where}: no column for the {field} of a file; {_has(schema)} "
                f'Name it with columns = {{ {field} = "..." }} or --column {field}=...'
            )
    nested = {field: tuple(name for name in names if name in struct) for field, names in found.items()}
    top = {field: tuple(name for name in names if name not in struct) for field, names in found.items()}
    nested, top = ({field: names for field, names in half.items() if names} for half in (nested, top))
    for name in (name for half in (nested, top) for names in half.values() for name in names):
        if schema.names.count(name) > 1 or struct.count(name) > 1:
            raise LodeError(f"{where}: the column {name!r} is there twice; rename one of them.")
    rooted = recognised and best == "The Stack v2" and "path" not in columns
    return Layout(top, nested, files if nested else None, rooted)


def _has(schema: pa.Schema) -> str:
    shown = ", ".join(schema.names[:30])
    return f"the table has {shown}{', ...' if len(schema.names) > 30 else ''}."


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a source, and the columns its recipe names."""

    source: str
    path: str
    columns: tuple[tuple[str, str], ...] = ()

    def layout(self) -> Layout:
        return layout_of(storage.parquet_schema(self.path), dict(self.columns), self.path)


def read_table(
    file: TableFile, first: int, buckets: int, highest: str | None = None, limits: Limits = LIMITS
) -> Iterator[pa.RecordBatch]:
    """The rows of one Parquet file as batches of `SHUFFLED`, a row a file, texts as bytes.

    `bucket` is `first` and above by the repository's name alone. A repository whose key is above `highest` is left out.
    What of the file cannot be read is one row with the reason `table_broken`.
    """
    held: list[dict[str, Any]] = []
    size = 0
    for row in _table_rows(file, limits):
        key = repository_key(row["repository"] or "")
        if highest is not None and key > highest:
            continue
        bucket = first + (int(key, 16) * buckets >> 64)
        held.append(row | {"source": file.source, "key": key, "bucket": bucket})
        size += len(row["text"] or b"")
        if size >= BATCH_BYTES or len(held) >= 1024:
            yield pa.RecordBatch.from_pylist(held, SHUFFLED)
            held, size = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, SHUFFLED)


def repository_keys(file: TableFile) -> Iterator[str]:
    """The keys of the repositories in one Parquet file; without its texts."""
    try:
        layout = file.layout()
        names = layout.top.get("repository") or layout.nested["repository"]
        only = Layout({"repository": names}, {}) if "repository" in layout.top else layout
        for raw, inner in _raw_rows(file.path, only):
            yield repository_key(_string((raw | (inner or {})).get(names[0])) or "")
    except (LodeError, pa.ArrowException, OSError) as error:
        _check_broken(error)


def _table_rows(file: TableFile, limits: Limits) -> Iterator[dict[str, Any]]:
    try:
        layout = file.layout()
        for raw, inner in _raw_rows(file.path, layout):
            yield _file_row(raw, inner, layout, limits)
    except (LodeError, pa.ArrowException, OSError) as error:
        _check_broken(error)
        yield _row(None, os.path.basename(file.path).encode(), "table_broken", str(error)[:200])


def _check_broken(error: Exception) -> None:
    """Raise again what another try may mend; Arrow's own complaints of damaged bytes have no error number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _raw_rows(path: str, layout: Layout) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each file's row and its struct in the list of its repository's files, empty where there is no such list and None
    where the list is; strings are bytes, as a table's text need not be UTF-8. Memory: what the Parquet file has as one
    row, or `BATCH_BYTES`."""
    with storage.open_parquet(path) as file:
        rows = max(file.metadata.num_rows, 1)
        bytes_ = sum(file.metadata.row_group(g).total_byte_size for g in range(file.num_row_groups))
        at_once = max(1, min(256, BATCH_BYTES * rows // max(bytes_, 1)))
        for batch in file.iter_batches(batch_size=at_once, columns=_columns(file, layout), use_threads=False):
            names = [name for name in batch.schema.names if name != layout.files]
            columns = [batch.column(name).cast(_plain(batch.column(name).type)) for name in names]
            tops = (
                pa.RecordBatch.from_arrays(columns, names=names).to_pylist()
                if names
                else [{}] * batch.num_rows
            )
            if layout.files is None:
                yield from ((top, {}) for top in tops)
                continue
            lists = batch.column(layout.files)
            lists = lists.cast(_plain(lists.type))
            for top, files in zip(tops, lists, strict=True):
                if not files.is_valid or not len(files.values):
                    yield top, None
                    continue
                for start in range(0, len(files.values), 64):
                    yield from ((top, inner or {}) for inner in files.values.slice(start, 64).to_pylist())


def _columns(file: pq.ParquetFile, layout: Layout) -> list[str]:
    """The columns to read. What stands between a list and the fields of its structs differs between writers."""
    top = {name for names in layout.top.values() for name in names}
    nested = {name for names in layout.nested.values() for name in names}
    paths = [file.schema.column(number).path for number in range(len(file.schema))]
    parts = [(path, path.split(".")) for path in paths]
    return sorted(top) + [
        path for path, names in parts if names[0] == layout.files and nested & set(names[2:])
    ]


def _plain(kind: pa.DataType) -> pa.DataType:
    """Strings as binary and times as numbers, also inside lists and structs: whatever they hold has a Python value."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    return kind


def _file_row(
    raw: dict[str, Any], inner: dict[str, Any] | None, layout: Layout, limits: Limits
) -> dict[str, Any]:
    def value(field: str) -> Any:
        """The first value that a field's columns have; those of the file before those of its repository."""
        values = [(inner or {}).get(name) for name in layout.nested.get(field, ())]
        values += [raw.get(name) for name in layout.top.get(field, ())]
        return next((v for v in values if v not in (None, b"", [])), b"" if b"" in values else None)

    path, text, repository = value("path"), value("text"), value("repository")
    repository = str(repository) if type(repository) is int else _string(repository)
    if layout.rooted and isinstance(path, bytes):
        path = path.removeprefix(b"/")
    if not repository:
        return _row(
            None, path, "no_repository", "the table does not say which repository the file belongs to"
        )
    if inner is None:
        return _row(repository, None, "empty_repository", "no files")
    if not isinstance(path, bytes) or not path:
        return _row(repository, None, "no_path", "the table does not say what the file is called")
    row = _row(repository, path)
    size = _integer(value("size"))
    if not isinstance(text, bytes):
        row.update(size=size, reason="no_text", detail="the table does not hold the file's text")
    elif len(text) > limits.file_bytes:
        row.update(size=len(text), reason="too_large", detail=f"{len(text)} bytes")
    else:
        row.update(text=text, size=len(text) if size is None or size < 0 else size)
    blob, forks_of = _string(value("blob")), _string(value("forks_of"))
    row.update(
        blob=blob.lower() if blob and len(blob) in (40, 64) else None,
        licence=_licence(value("licence")),
        encoding=(_string(value("encoding")) or "").lower() or None,
        revision=_string(value("revision")),
        stars=_integer(value("stars")),
        forks=_integer(value("forks")) if forks_of in (None, repository) else None,
        updated=_microseconds(value("updated")),
        language=_string(value("language")),
    )
    return row


def _row(
    repository: str | None, path: bytes | None, reason: str | None = None, detail: str | None = None
) -> dict:
    return dict.fromkeys(SHUFFLED.names) | {
        "repository": repository,
        "path": path,
        "reason": reason,
        "detail": detail,
    }


def _string(value: Any) -> str | None:
    return value.decode("utf-8", "backslashreplace").strip() or None if isinstance(value, bytes) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return int(value) if abs(value) < 2**53 else None


def _licence(value: Any) -> str | None:
    """What a table states as one expression: all of a list of identifiers."""
    stated = value if isinstance(value, list) else [value]
    names = sorted({name for item in stated if (name := _string(item))} - {"other", "NOASSERTION", "None"})
    if len(names) < 2:
        return names[0] if names else None
    return " AND ".join(f"({name})" if " OR " in name else name for name in names)


def _microseconds(value: Any) -> int | None:
    """A time since 1970 in microseconds; numbers count what their size suggests, from seconds to nanoseconds."""
    if isinstance(value, bytes):
        try:
            value = datetime.fromisoformat(value.decode())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        value = (value - _EPOCH) // timedelta(microseconds=1)
    elif isinstance(value, int):
        value = next(
            (v for v in (value * 10**6, value * 1000, value, value // 1000) if _FROM <= v < _UNTIL), 0
        )
    return value if isinstance(value, int) and _FROM <= value < _UNTIL else None


@dataclass(frozen=True)
class FinishRepositories:
    """A `Transform` of `SHUFFLED` rows in `ORDER` to rows of `FILE`: each repository as if it had been an archive.

    `facts` names by source the list that `write_facts` made, `taken` the (source, repository) that come from elsewhere.
    Reasons beside those of `read_repository`: `no_text`, `no_path`, `no_repository`, `table_broken`,
    `duplicate_repository` (it is in `taken`); of a repository beyond the limits every file is dropped.
    """

    licences: Callable[[], Licences] | None = None
    facts: tuple[tuple[str, str], ...] = ()
    limits: Limits = LIMITS
    taken: frozenset[tuple[str, str]] = frozenset()

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return FILE

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with contextlib.ExitStack() as stack:
            lists = {source: stack.enter_context(FactList(path)) for source, path in self.facts}
            rows = (row for batch in batches for row in batch.to_pylist())
            yield from to_batches(self.finished(rows, lists), with_verdict(FILE))

    def finished(
        self, rows: Iterable[dict[str, Any]], lists: dict[str, FactList]
    ) -> Iterator[dict[str, Any]]:
        for (source, repository), group in groupby(rows, key=lambda row: (row["source"], row["repository"])):
            if repository is None:
                yield from (_lost(row, row["reason"], row["detail"]) for row in group)
                continue
            if (source, repository) in self.taken:
                detail = "an archive or a folder of this source has the same name"
                yield from (_lost(row, "duplicate_repository", detail) for row in group)
                continue
            facts = lists[source].of(repository) if source in lists else None
            yield from self.repository(source, repository, group, facts or Facts())

    def repository(
        self, source: str, repository: str, rows: Iterable[dict[str, Any]], facts: Facts
    ) -> Iterator[dict[str, Any]]:
        """The rows of one repository, sorted by path."""
        taken: list[dict[str, Any]] = []
        rows = iter(rows)
        with RepositoryFiles(source, repository, self.licences, self.limits) as files:
            try:
                for row in rows:
                    if row["path"] is None:
                        yield _lost(row, row["reason"], row["detail"])
                        continue
                    text = row.pop("text")
                    taken.append(row)
                    _add(files, row, text, facts.licence)
            except RepositoryError as error:
                for row in itertools.chain(taken, rows):
                    yield _lost(row, error.reason, error.detail)
                return
            if not taken:
                return
            newest = max(taken, key=lambda row: (row["updated"] or 0, row["revision"] or ""))
            files.revision = newest["revision"] or facts.revision
            updated = facts.updated or newest["updated"]
            files.updated = updated and updated / 1e6
            files.stars = _most(taken, "stars") if facts.stars is None else facts.stars
            files.forks = _most(taken, "forks") if facts.forks is None else facts.forks
            yield from files.rows()


def _add(files: RepositoryFiles, row: dict[str, Any], text: bytes | None, licence: str | None) -> None:
    verdict = (row["reason"], row["detail"] or "") if row["reason"] else None
    files.add(
        (row["path"] or b"").decode("utf-8", "surrogateescape"),
        text,
        verdict,
        size=row["size"],
        blob=row["blob"],
        encoding=row["encoding"],
        language=row["language"],
        licence=row["licence"] or licence,
    )


def _most(rows: list[dict[str, Any]], name: str) -> int | None:
    return max((row[name] for row in rows if row[name] is not None), default=None)


def _lost(row: dict[str, Any], reason: str, detail: str) -> dict[str, Any]:
    """The row of a file that is dropped without being looked at."""
    path = (row["path"] or b"").decode("utf-8", "backslashreplace")
    key = f"{row['repository'] or ''}\n{path}"
    named = {"id": document_id(row["source"], key), "source": row["source"], "repository": row["repository"]}
    about = {"path": path, "size": row["size"], "blob": row["blob"], "reason": reason, "detail": detail}
    return dict.fromkeys(with_verdict(FILE).names) | named | about
