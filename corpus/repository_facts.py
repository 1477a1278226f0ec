"""What is known about repositories from elsewhere: a list of them with stars, forks, licence, last change, revision.

The list may be as long as a code host is large. `write_facts` sorts it once by a hash of the names; `FactList` then
reads the row groups that hold the names which are asked for, one at a time.
"""

import bisect
import contextlib
import hashlib
import os
import tempfile
from typing import NamedTuple

import duckdb
import pyarrow as pa

from corpus import storage
from corpus.errors import LodeError

COLUMNS = ("stars", "forks", "licence", "updated", "revision")
ROW_GROUP_ROWS = 1 << 15
# Nothing about a list is guessed from how it begins.
_CSV = "read_csv(?, all_varchar = true, header = true, quote = '\"', escape = '\"', delim = '{}')"
_READERS = {
    ".csv": _CSV.format(","),
    ".tsv": _CSV.format("\t"),
    ".jsonl": "read_json(?, format = 'newline_delimited')",
    ".ndjson": "read_json(?, format = 'newline_delimited')",
    ".json": "read_json(?)",
    ".parquet": "read_parquet(?)",
}
_KINDS = {"stars": "BIGINT", "forks": "BIGINT", "updated": "TIMESTAMP"}
_URL = r"^(https?://)?(www\.)?(github|gitlab)\.com/|(\.git)?/*$"


def repository_key(repository: str) -> str:
    """16 hex digits that a repository is known by, whatever the case of its name; DuckDB's `left(md5(name), 16)`."""
    return hashlib.md5(repository.lower().encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:16]


class Facts(NamedTuple):
    """What a list says of one repository; None where it does not say. `updated` is in microseconds since 1970."""

    stars: int | None = None
    forks: int | None = None
    licence: str | None = None
    updated: int | None = None
    revision: str | None = None


def write_facts(path: str, out: str) -> int:
    """Sort the list at `path` (CSV, TSV, JSON lines or Parquet, also compressed) into a Parquet file for `FactList`.

    It has a column `repository` (a name, `owner/name` or its address on GitHub) and any of `COLUMNS`; of lines with
    the same name the last counts. Returns the lines read. Memory: bounded, the rest is sorted on disk.

    Raises:
        LodeError: where there is no such file or column, or a value is not what its column should hold.
    """
    kind = next((ending for ending in _READERS if path.lower().removesuffix(".gz").endswith(ending)), None)
    if kind is None:
        raise LodeError(f"{path}: expected a list of repositories as .csv, .tsv, .jsonl or .parquet.")
    with tempfile.TemporaryDirectory(prefix="lode-") as scratch:
        local = _local(path, kind + (".gz" if path.lower().endswith(".gz") else ""), scratch)
        connection = duckdb.connect()
        connection.execute("SET memory_limit = '1GB'")
        connection.execute("SET threads = 2")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET temp_directory = ?", [scratch])
        try:
            return _sorted(connection, path, local, _READERS[kind], scratch, out)
        except duckdb.Error as error:
            raise LodeError(f"{path}: cannot be read as a list of repositories: {_sentence(error)}") from None
        finally:
            connection.close()


def _sorted(
    connection: duckdb.DuckDBPyConnection, path: str, local: str, reader: str, scratch: str, out: str
) -> int:
    found = connection.execute(f"SELECT * FROM {reader} LIMIT 0", [local]).description or []
    names = {name[0].lower(): name[0] for name in found}
    if "licence" not in names and "license" in names:
        names["licence"] = names["license"]
    if "repository" not in names:
        raise LodeError(
            f"{path}: the column 'repository' is missing; it has {', '.join(n[0] for n in found)}."
        )
    values = [f'"{names[n]}"' if n in names else f"NULL::VARCHAR AS {n}" for n in COLUMNS]
    values = [f"{v} AS {n}" if n in names else v for n, v in zip(COLUMNS, values, strict=True)]
    connection.execute(
        f"CREATE TABLE list AS SELECT lower(regexp_replace(trim(\"{names['repository']}\"::VARCHAR), ?, '', 'g')) AS "
        f"name, {', '.join(values)} FROM {reader}",
        [_URL, local],
    )
    for column, wanted in _KINDS.items():
        sane = "BETWEEN '1970-01-01' AND '2100-01-01'" if column == "updated" else "IS NOT NULL"
        wrong = connection.execute(
            f"SELECT name, {column}::VARCHAR FROM list WHERE {column} IS NOT NULL AND {column}::VARCHAR <> '' "
            f"AND NOT coalesce(TRY_CAST({column}::VARCHAR AS {wanted}) {sane}, false) LIMIT 1"
        ).fetchone()
        if wrong:
            what = "a date after 1970" if column == "updated" else "a whole number"
            raise LodeError(f"{path}: {column} of {wrong[0]} is {wrong[1]!r}; expected {what}.")
    cast = {c: f"nullif(trim({c}::VARCHAR), '')" for c in COLUMNS}
    cast |= {c: f"TRY_CAST({c}::VARCHAR AS {kind})" for c, kind in _KINDS.items()}
    cast["updated"] = f"epoch_us({cast['updated']})"
    copy = os.path.join(scratch, "facts.parquet")
    # A name without its owner is known by `*/name`, where no two owners have one of that name.
    connection.execute(
        f"""COPY (
            WITH latest AS (
                SELECT name, {", ".join(f"arg_max(struct_pack({c}), rowid).{c} AS {c}" for c in COLUMNS)}
                FROM list WHERE name <> '' GROUP BY name),
            bare AS (
                SELECT '*/' || split_part(name, '/', -1) AS name, {", ".join(f"any_value({c}) AS {c}" for c in COLUMNS)}
                FROM latest WHERE contains(name, '/') GROUP BY 1 HAVING count(*) = 1)
            SELECT left(md5(name), 16) AS key, {", ".join(f"{value} AS {c}" for c, value in cast.items())}
            FROM (FROM latest UNION ALL FROM bare) ORDER BY key, name
        ) TO '{copy.replace("'", "''")}' (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, COMPRESSION zstd)"""
    )
    with open(copy, "rb") as file, storage.atomic_write(out) as target:
        while block := file.read(1 << 20):
            target.write(block)
    counted = connection.execute("SELECT count(*) FROM list").fetchone()
    return counted[0] if counted else 0


def _local(path: str, kind: str, scratch: str) -> str:
    fs, inside = storage.filesystem(path)
    if not fs.exists(inside) or fs.isdir(inside):
        raise LodeError(f"{path}: there is no such file.")
    # Under a name of its own: DuckDB takes `*`, `?` and `[` in a name for a pattern.
    copy = os.path.join(scratch, f"list{kind}")
    if storage.is_local(path):
        os.symlink(os.path.abspath(inside), copy)
    else:
        fs.get_file(inside, copy)
    return copy


def _sentence(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0][:300]


class FactList:
    """A list that `write_facts` wrote, open for reading. Quick where names are asked for in the order of their keys.

    Memory: one row group.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stack = contextlib.ExitStack()
        self._group = -1
        self._keys: list[str] = []
        self._table = pa.table({})

    def __enter__(self) -> "FactList":
        self._file = self._stack.enter_context(storage.open_parquet(self._path))
        groups = map(self._file.metadata.row_group, range(self._file.num_row_groups))
        self._lowest = [group.column(0).statistics.min for group in groups]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, *names: str) -> Facts | None:
        """What the list says of a repository under the first of its names that it has."""
        return next((facts for name in names if (facts := self._find(repository_key(name)))), None)

    def _find(self, key: str) -> Facts | None:
        group = bisect.bisect_right(self._lowest, key) - 1
        if group < 0:
            return None
        if group != self._group:
            self._table = self._file.read_row_group(group, use_threads=False)
            self._keys = self._table["key"].to_pylist()
            self._group = group
        row = bisect.bisect_left(self._keys, key)
        if row == len(self._keys) or self._keys[row] != key:
            return None
        return Facts(**{name: self._table[name][row].as_py() for name in Facts._fields})
