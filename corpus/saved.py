"""A work folder's views as a file of DuckDB's own, which any of its clients opens without Lode."""

import os
import pathlib

import duckdb

from corpus.errors import LodeError
from corpus.inspect import literal, sentence
from corpus.trace import add_macros

MARK = "saved_by_lode"  # an empty table: the file may be written anew
# Tables of manifests, which are small, are in the file; documents, shards and the rest stay where they are.
TABLES = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'loaded' AND database_name = 'memory' ORDER BY 1"
VIEWS = """
    SELECT sql FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' AND database_name = 'memory'
    ORDER BY view_oid
"""


def save(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Write the views and macros of `corpus.inspect.open_work` to a database file, atomically.

    Its views read the Parquet of the work folder where it lies now, by absolute path: where that moves, save again.

    Raises:
        LodeError: there is a file that is no such database, or it can not be written.
    """
    target = pathlib.Path(path).absolute()
    if target.is_dir():
        raise LodeError(f"{path}: this is a folder; a file was expected.")
    if target.exists() and not is_saved(target):
        raise LodeError(
            f"{path}: there is a file of this name that is not, or not only, such views; give another one."
        )
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        connection.execute(f"ATTACH {literal(str(scratch))} AS saved")
        try:
            connection.execute("CREATE SCHEMA saved.loaded")
            connection.execute(f"CREATE TABLE saved.loaded.{MARK} (version INTEGER)")
            for (name,) in connection.execute(TABLES).fetchall():
                connection.execute(f"CREATE TABLE saved.loaded.{name} AS FROM memory.loaded.{name}")
            definitions = [sql for (sql,) in connection.execute(VIEWS).fetchall()]
            connection.execute("USE saved")
            for sql in definitions:
                connection.execute(sql)
            add_macros(connection)
        finally:
            connection.execute("USE memory")
            connection.execute("DETACH saved")
        scratch.replace(target)
    except (duckdb.Error, OSError) as error:
        raise LodeError(f"{path}: can not be written ({sentence(error)}).") from None
    finally:
        for left in (scratch, scratch.with_name(f"{scratch.name}.wal")):
            left.unlink(missing_ok=True)


def is_saved(path: pathlib.Path) -> bool:
    """Whether a file is a database that `save` wrote, and nobody has added a table to."""
    try:
        with duckdb.connect(str(path), read_only=True) as found:
            tables = found.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
    except duckdb.Error:
        return False
    return ("loaded", MARK) in tables and all(schema == "loaded" for schema, _ in tables)
