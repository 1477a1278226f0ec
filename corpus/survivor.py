"""Who stays in a cluster of duplicates: a rule of the recipe, as sort keys of single rows.

A rule has a name (`score`, `longest`, `earliest`, `most_starred`, `best_known`) or is an SQL ordering such as
`score DESC, length(text) DESC, url`. DuckDB parses it and evaluates it batch by batch, so its functions are there;
what it may not do is look beyond the row: no subqueries, aggregates or windows, no tables, files, settings or clocks.
"""

import difflib
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from corpus.errors import LodeError

# Names of orderings: the columns that each may go by, the first that is there being taken, and what is sorted.
_NAMED = {
    "score": {"score": "score DESC"},
    # The text as it is now; `characters` was counted when it was extracted.
    "longest": {"text": "length(text) DESC", "characters": "characters DESC"},
    "earliest": {"date": "{instant}", "published": "{instant}"},
    "most_starred": {"stars": "stars DESC"},
}
# This one goes by all of its columns that are there: how well a repository is known, how new it is, its size, its name.
_BEST_KNOWN = "best_known"
RULES = (*_NAMED, _BEST_KNOWN)
# ISO 8601 at any precision and in any time zone (UTC without one), and the 14 digits of web archives.
_INSTANT = (
    "coalesce(try_cast(trim({column}) AS TIMESTAMPTZ), "
    "try_strptime(trim({column}), ['%Y-%m', '%Y', '%Y%m%d%H%M%S', '%Y%m%d', '%Y-%m-%dT%H']))"
)
_ALLOWED = frozenset(
    ("COLUMN_REF", "CONSTANT", "FUNCTION", "COMPARISON", "CONJUNCTION", "OPERATOR", "CASE", "CAST", "BETWEEN", "TYPE")
)  # fmt: skip
_FORBIDDEN = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star or ALL",
    "LAMBDA": "a lambda",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "the number of a column",
    "COLLATE": "COLLATE; sort by lower(...) instead",
}
# Some versions of DuckDB call these consistent, though they read a clock or settings.
_IMPURE = frozenset(("age", "current_localtime", "current_localtimestamp", "current_setting", "getvariable"))
_INTEGERS = frozenset(
    ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
)
_REALS = frozenset(("FLOAT", "DOUBLE", "HUGEINT", "UHUGEINT"))
_INSTANTS = frozenset(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP WITH TIME ZONE", "TIME"))
_WORDS = frozenset(("VARCHAR", "JSON", "UUID"))


@dataclass(frozen=True)
class Term:
    """One key: an expression over the columns of a row, and how its values are sorted."""

    sql: str
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True)
class Ordering:
    """What `parse_ordering` makes of a rule: the first row in this order stays.

    `columns` are those that the terms read. A value that is missing, NaN or infinitely far in time is null.
    """

    rule: str
    terms: tuple[Term, ...]
    columns: tuple[str, ...]

    def types(self, schema: pa.Schema) -> list[pa.DataType]:
        """Type of each key: int64, float64, or string, which sorts by its UTF-8 bytes.

        Raises LodeError where an expression does not fit the columns, or its values have no order.
        """
        return [kind for _, kind in self._keys(schema)]

    def keys(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """A key for each term and row; they depend on nothing but the row.

        Raises LodeError where an expression fails on a value, as CAST does on text that is no number.
        """
        keys = self._keys(batch.schema)
        cursor = _database(os.getpid()).cursor()
        try:
            cursor.register("documents", pa.Table.from_batches([batch.select(self.columns)]))
            sql = ", ".join(f"{key} AS key{number}" for number, (key, _) in enumerate(keys))
            table = cursor.sql(f"SELECT {sql} FROM documents").to_arrow_table()
        except duckdb.Error as error:
            raise LodeError(
                f"{_named(self.rule)}: {_sentence(error)} (TRY_CAST gives NULL where CAST fails)."
            ) from None
        finally:
            cursor.close()
        return [table.column(number).cast(kind).combine_chunks() for number, (_, kind) in enumerate(keys)]

    def _keys(self, schema: pa.Schema) -> tuple[tuple[str, pa.DataType], ...]:
        present = [schema.field(name) for name in self.columns if name in schema.names]
        if len(present) < len(self.columns):
            missing = next(name for name in self.columns if name not in schema.names)
            raise LodeError(_no_column(self.rule, missing, schema))
        return _bound(self, pa.schema([pa.field(field.name, field.type) for field in present]))


def parse_ordering(rule: str, schema: pa.Schema) -> Ordering:
    """The ordering that a rule of the recipe stands for, over rows of `schema`.

    A name wins over a column of the same name: `score` keeps the best score, `score ASC` the least. NULLs come last,
    also with DESC, unless the rule says NULLS FIRST. `longest` goes by the text's characters, `earliest` by the
    instant in `date` (when a page was crawled), `most_starred` by `stars`, `best_known` by the sum of `stars` and
    `forks`, then the newest `updated`, the characters, `repository` and `path`; of these columns any may be missing.

    Raises:
        LodeError: naming the rule and the column it lacks, or what it contains that is not allowed.
    """
    sql = _of_name(rule, schema) if rule.strip().lower() in RULES else rule
    cursor = _database(os.getpid()).cursor()
    try:
        columns: dict[str, None] = {}
        terms = []
        for order in _orders(cursor, rule, sql):
            used = _columns_of(cursor, rule, order["expression"], schema)
            written = _written(cursor, order["expression"])
            if not used:
                raise LodeError(f"{_named(rule)}: {written} names no column, so it is the same for all rows.")
            columns.update(dict.fromkeys(used))
            terms.append(Term(written, order["type"] == "DESCENDING", order["null_order"] == "NULLS FIRST"))
    except (duckdb.Error, RecursionError) as error:
        raise LodeError(f"{_named(rule)}: {_sentence(error)}.") from None
    finally:
        cursor.close()
    ordering = Ordering(rule, tuple(terms), tuple(columns))
    ordering.types(schema)
    return ordering


def _of_name(rule: str, schema: pa.Schema) -> str:
    if rule.strip().lower() == _BEST_KNOWN:
        known = [f"coalesce(try_cast({n} AS DOUBLE), 0)" for n in ("stars", "forks") if n in schema.names]
        terms = [f"{' + '.join(known)} DESC"] if known else []
        terms += [f"{_instant('updated', schema)} DESC"] if "updated" in schema.names else []
        # Of files that are the same, those of one repository and one folder stay together.
        names = [name for name in ("repository", "path") if name in schema.names]
        return ", ".join([*terms, _of_name("longest", schema), *names])
    choices = _NAMED[rule.strip().lower()]
    column = next((name for name in choices if name in schema.names), None)
    if column is None:
        raise LodeError(_no_column(rule, next(iter(choices)), schema))
    return choices[column].format(instant=_instant(column, schema))


def _instant(column: str, schema: pa.Schema) -> str:
    kind = schema.field(column).type
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return _INSTANT.format(column=column) if is_text else column


def _no_column(rule: str, column: str, schema: pa.Schema) -> str:
    known = [name for name in (*schema.names, *RULES) if name != column]
    near = difflib.get_close_matches(column, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(schema.names)}."
    return f"{_named(rule)}: the documents have no column {column!r}; {hint}"


def _orders(cursor: duckdb.DuckDBPyConnection, rule: str, sql: str) -> list[dict[str, Any]]:
    """The terms of an ORDER BY clause, as DuckDB's parser sees them."""
    # The line break ends a comment; LIMIT and the like behind the ordering make modifiers of their own.
    tree = _parsed(cursor, f"SELECT 1 FROM documents ORDER BY {sql}\n")
    if tree.get("error"):
        raise LodeError(
            f"{_named(rule)}: this is neither {', '.join(RULES)} nor an SQL ordering such as "
            f"'score DESC, url' ({_in_line(tree['error_message'])})."
        )
    statements = tree["statements"]
    node = statements[0]["node"]
    modifiers = node.get("modifiers", [])
    if len(statements) != 1 or [modifier["type"] for modifier in modifiers] != ["ORDER_MODIFIER"]:
        raise LodeError(
            f"{_named(rule)}: only what may stand behind ORDER BY is allowed, such as 'score DESC, url'."
        )
    return modifiers[0]["orders"]


def _parsed(cursor: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    return json.loads(_value(cursor, "SELECT json_serialize_sql(?)", sql))


def _written(cursor: duckdb.DuckDBPyConnection, expression: dict[str, Any]) -> str:
    """An expression as SQL again: nothing of the rule's own text is run."""
    tree = _parsed(cursor, "SELECT 1")
    tree["statements"][0]["node"]["select_list"] = [expression]
    sql = _value(cursor, "SELECT json_deserialize_sql(?::JSON)", json.dumps(tree))
    return sql.strip().removeprefix("SELECT").strip()


def _value(cursor: duckdb.DuckDBPyConnection, sql: str, argument: str) -> str:
    row = cursor.execute(sql, [argument]).fetchone()
    assert row is not None
    return row[0]


def _columns_of(
    cursor: duckdb.DuckDBPyConnection, rule: str, expression: dict[str, Any], schema: pa.Schema
) -> list[str]:
    """Columns of `schema` that an expression reads. Raises LodeError where it does what it may not."""
    found = []
    names = {name.lower(): name for name in reversed(schema.names)}
    for node in _nodes(expression):
        if node["class"] not in _ALLOWED:
            what = _FORBIDDEN.get(node["class"], node["class"].lower().replace("_", " "))
            raise LodeError(f"{_named(rule)}: only expressions over one row are allowed, not {what}.")
        if node["class"] == "FUNCTION":
            _check_function(cursor, rule, node["function_name"])
        if node["class"] == "COLUMN_REF":
            name = node["column_names"][0]
            if name not in schema.names and name.lower() not in names:
                raise LodeError(_no_column(rule, name, schema))
            found.append(name if name in schema.names else names[name.lower()])
    return found


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every expression inside a parsed one, itself first."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "class" in value:
                yield value
            left += reversed(value.values())
        elif isinstance(value, list):
            left += reversed(value)


def _check_function(cursor: duckdb.DuckDBPyConnection, rule: str, name: str) -> None:
    """Raises LodeError unless a function's value depends on its arguments alone."""
    rows = cursor.execute(
        "SELECT DISTINCT function_type, stability, macro_definition, parameters FROM duckdb_functions() "
        "WHERE lower(function_name) = lower(?) AND function_type NOT IN ('table', 'table_macro', 'pragma')",
        [name],
    ).fetchall()
    if not rows:
        raise LodeError(f"{_named(rule)}: there is no function {name} of single rows.")
    for kind, stability, definition, parameters in rows:
        if kind == "macro":
            pure = _is_pure_macro(cursor, rule, definition, parameters)
        else:
            pure = kind == "scalar" and stability == "CONSISTENT" and name.lower() not in _IMPURE
        if not pure:
            what = "works on many rows" if kind in ("aggregate", "window") else "depends on more than the row"
            raise LodeError(f"{_named(rule)}: the function {name} {what}, which is not allowed here.")


def _is_pure_macro(
    cursor: duckdb.DuckDBPyConnection, rule: str, definition: str, parameters: list[str]
) -> bool:
    tree = _parsed(cursor, f"SELECT {definition}")
    if tree.get("error"):
        return False
    for node in _nodes(tree["statements"][0]["node"]["select_list"]):
        if node["class"] not in _ALLOWED:
            return False
        if node["class"] == "COLUMN_REF" and node["column_names"][0] not in parameters:
            return False
        if node["class"] == "FUNCTION":
            _check_function(cursor, rule, node["function_name"])
    return True


@functools.lru_cache(maxsize=64)
def _bound(ordering: Ordering, schema: pa.Schema) -> tuple[tuple[str, pa.DataType], ...]:
    """Each term's key as SQL and its type, for columns of these types."""
    cursor = _database(os.getpid()).cursor()
    try:
        cursor.register("documents", schema.empty_table())
        return tuple(_key(cursor, ordering.rule, term.sql) for term in ordering.terms)
    except duckdb.Error as error:
        raise LodeError(f"{_named(ordering.rule)}: {_sentence(error)}.") from None
    finally:
        cursor.close()


def _key(cursor: duckdb.DuckDBPyConnection, rule: str, sql: str) -> tuple[str, pa.DataType]:
    """An expression whose values Spark sorts as DuckDB sorts those of `sql`."""
    kind = str(cursor.execute(f"DESCRIBE SELECT {sql} FROM documents").fetchall()[0][1])
    if kind in _INTEGERS:
        return f"CAST({sql} AS BIGINT)", pa.int64()
    if kind == "UBIGINT":
        return f"CAST(CAST({sql} AS HUGEINT) - 9223372036854775808 AS BIGINT)", pa.int64()
    if kind in _REALS or kind.startswith("DECIMAL"):
        # Engines differ in where NaN goes; adding zero makes one of the two zeros.
        return f"nullif(CAST({sql} AS DOUBLE), 'nan'::DOUBLE) + 0.0::DOUBLE", pa.float64()
    if kind == "DATE":
        return f"datediff('day', DATE '1970-01-01', {sql})", pa.int64()
    if kind in _INSTANTS:
        return f"epoch_us({sql})", pa.int64()
    if kind == "TIMESTAMP_NS":
        return f"epoch_ns({sql})", pa.int64()
    if kind in _WORDS:
        return f"CAST({sql} AS VARCHAR)", pa.string()
    raise LodeError(f"{_named(rule)}: {sql} gives values of type {kind}, which cannot be sorted here.")


@functools.lru_cache(maxsize=1)
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """The process's database, empty and without a way out of it; a child of a fork needs its own."""
    config = {
        "threads": "1",
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "enable_external_access": "false",
    }
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true")
    return connection


def _named(rule: str) -> str:
    """A rule for a message."""
    return f"keep rule {rule if len(rule) <= 80 else rule[:79] + '…'!r}"


def _sentence(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the expression is nested too deep"
    return _in_line(str(error).partition("\n")[0]).rstrip(".!")


def _in_line(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= 200 else message[:199] + "…"
