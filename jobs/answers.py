"""Answers of DuckDB as a table, JSON or CSV: streamed, so that a result may be larger than memory."""

import csv
import decimal
import difflib
import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TextIO, TypeVar

import duckdb
import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from corpus.errors import LodeError
from corpus.inspect import literal, sentence, statistics
from corpus.trace import plain_key
from jobs.cli_corpus import printable

T = TypeVar("T")
SHOWN = 100  # rows of a table on a terminal
NARROWEST = 8  # cells that a column has at least, or else it is left out and named
AT_ONCE = 1000
COUNTING = 2.0  # seconds that counting the rows which are not shown may take
NUMBER = re.compile("TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|U[A-Z]+INT|FLOAT|DOUBLE|DECIMAL")


@dataclass
class Answer:
    """Column names, whether each is a number, and the rows, once."""

    columns: list[str]
    numeric: list[bool]
    rows: Iterator[tuple[Any, ...]]
    sql: str


def ask(connection: duckdb.DuckDBPyConnection, sql: str, values: list[Any] | None = None) -> Answer:
    """Start a query; its rows come as they are read.

    Raises:
        LodeError: DuckDB's complaint, and while the rows are read, too.
    """
    try:
        result = unless_interrupted(connection, lambda: connection.execute(sql, values))
        if result is None:
            raise LodeError("SQL: there is no statement in it.")
        description = result.description or []
        numeric = [NUMBER.match(str(column[1])) is not None for column in description]
        return Answer([column[0] for column in description], numeric, streamed(connection), sql)
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise LodeError(f"SQL: {sentence(error)}") from error


def unless_interrupted(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """What `work` gives; at Ctrl-C it is stopped, and KeyboardInterrupt raised.

    In the main thread DuckDB looks for Ctrl-C itself, but at times it never comes to do so; `interrupt` always ends it.
    """
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            while not running.done():
                wait([running], 0.1)
        except KeyboardInterrupt:
            while not running.done():  # what has not begun can not be interrupted
                connection.interrupt()
                wait([running], 0.1)
            raise
        return running.result()


def streamed(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    try:
        while rows := unless_interrupted(connection, lambda: connection.fetchmany(AT_ONCE)):
            yield from rows
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise LodeError(f"SQL: {sentence(error)}") from error


def write_json(answer: Answer, out: TextIO) -> None:
    """A list of records, each on lines of its own; what JSON has no number for is null."""
    first = True
    for row in answer.rows:
        record = {name: plain(value) for name, value in zip(answer.columns, row, strict=True)}
        text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
        out.write(("[\n" if first else ",\n") + "  " + text.replace("\n", "\n  "))
        first = False
    out.write("[]\n" if first else "\n]\n")


def write_csv(answer: Answer, out: TextIO) -> None:
    """RFC 4180, with a header; a list or a structure is JSON in its cell."""
    writer = csv.writer(out)
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow(
            [
                json.dumps(plain(v), ensure_ascii=False, default=str) if isinstance(v, list | dict) else v
                for v in row
            ]
        )


def plain(value: Any) -> Any:
    """A value of DuckDB as JSON has them; a lone surrogate or a NaN has no place there."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def write_table(
    answer: Answer,
    out: TextIO,
    width: int | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> None:
    """A table of plain text.

    Args:
        width: of the terminal, in cells: columns are cut to it and the first 100 rows are shown. None, for a file or
            a pipe: every row and every character.
        connection: counts the rows that are not shown; without it there are "more".
    """
    if width is None:
        write_whole(answer, out)
        return
    first = list(islice(answer.rows, SHOWN + 1))
    more, first = len(first) > SHOWN, first[:SHOWN]
    most = max(width, NARROWEST)
    # No more of a value than can be seen: a title may have ten million characters.
    cells = [[cell(value, most) for value in row] for row in first]
    natural = [
        max(cell_len(shown(text, most)) for text in [name, *(row[i] for row in cells)])
        for i, name in enumerate(answer.columns)
    ]
    if len(first) == 1 and sum(natural) + 2 * (len(natural) - 1) > width:
        write_record(answer.columns, first[0], out)
        return
    widths = fitted(natural, width)
    write_line(answer.columns, widths, answer.numeric, out)
    for row in cells:
        write_line(row, widths, answer.numeric, out)
    if len(widths) < len(natural):
        out.write(f"… and the columns {', '.join(map(shown, answer.columns[len(widths) :]))}.\n")
    if more:
        count = rows_of(connection, answer.sql) if connection is not None else None
        out.write(f"… and {'more' if count is None else f'{count - SHOWN:,} more'} rows.\n")


def write_whole(answer: Answer, out: TextIO) -> None:
    """Columns as wide as the first rows need; a longer value of a later row is whole all the same."""
    first = [[cell(value) for value in row] for row in islice(answer.rows, AT_ONCE)]
    widths = [
        max(cell_len(shown(text)) for text in [name, *(row[i] for row in first)])
        for i, name in enumerate(answer.columns)
    ]
    later: Iterable[list[str]] = ([cell(value) for value in row] for row in answer.rows)
    for row in chain([answer.columns], first, later):
        texts = [shown(text) for text in row]
        padded = [
            (" " * (w - cell_len(t)) + t) if numeric else t + " " * (w - cell_len(t))
            for t, w, numeric in zip(texts, widths, answer.numeric, strict=True)
        ]
        out.write("  ".join(padded).rstrip() + "\n")


def write_record(columns: list[str], row: tuple[Any, ...], out: TextIO) -> None:
    """One row that is wider than the terminal: a line a column, and texts whole."""
    widest = max(cell_len(shown(name)) for name in columns)
    for name, value in zip(columns, row, strict=True):
        text = printable(cell(value, 10_000))
        start = "\n" if "\n" in text else ""
        out.write(f"{set_cell_size(shown(name), widest)}  {start}{text}\n")


def write_line(row: list[str], widths: list[int], numeric: list[bool], out: TextIO) -> None:
    parts = []
    for text, width, right in zip(row, widths, numeric, strict=False):
        text = shown(text, width + 1)
        size = cell_len(text)
        if size > width:
            parts.append(set_cell_size(text, width - 1) + "…")
        else:
            parts.append(" " * (width - size) + text if right else text + " " * (width - size))
    out.write("  ".join(parts).rstrip() + "\n")


def fitted(natural: list[int], width: int) -> list[int]:
    """Widths of the columns that fit, two blanks apart: the widest give first, none below eight cells."""
    columns = len(natural)
    while columns > 1 and sum(min(w, NARROWEST) for w in natural[:columns]) + 2 * (columns - 1) > width:
        columns -= 1
    widths = natural[:columns]
    room = width - 2 * (columns - 1)
    cap = max(widths, default=0)
    while cap > 1 and sum(min(w, cap) for w in widths) > room:
        cap -= 1
    return [min(w, cap) for w in widths]


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str) -> int | None:
    """How many rows a query has, or None where counting them takes too long or it is no single SELECT."""
    timer = threading.Timer(COUNTING, connection.interrupt)
    timer.start()
    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1:
            return None
        text = statements[0].query.strip().rstrip(";")
        found = connection.execute(f"SELECT count(*) FROM ({text}\n)").fetchone()
        return None if found is None else int(found[0])
    except (duckdb.Error, OSError, pa.ArrowException):
        return None
    finally:
        timer.cancel()
        timer.join()


def cell(value: Any, most: int | None = None) -> str:
    """A value as text, the first `most` characters of it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"
    text = value if isinstance(value, str) else str(value)
    return text if most is None else text[: most + 1]


def shown(text: str, most: int | None = None) -> str:
    """A text on one line."""
    text = text if most is None else text[: most + 1]
    return printable(text).replace("\n", "⏎")


def question_sql(connection: duckdb.DuckDBPyConnection, name: str, like: str | None) -> str:
    """The SQL of a named question, or of the list of all; `like` becomes the variable `pattern`.

    Raises:
        LodeError: there is no question of this name.
    """
    known = statistics()
    if name == "list":
        rows = ", ".join(f"({literal(n)}, {literal(s.question)})" for n, s in known.items())
        return f"SELECT * FROM (VALUES {rows}) AS questions(name, question)"
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
        raise LodeError(f"{name}: there is no such question; {meant}")
    connection.execute("SET VARIABLE pattern = ?", [like])
    return known[name].sql


TOKENS = re.compile(r"(.+\.parquet):(\d{1,18})(?::(\d{1,9})-(\d{1,9}))?")


def trace_sql(key: str) -> tuple[str, list[str | int]]:
    """The query that follows a key: forward from a URL, an id or a repository, or back from tokens of a shard."""
    tokens = TOKENS.fullmatch(key)
    if tokens is None:
        return "FROM trace(?)", [plain_key(key)]
    file, row, first, last = tokens.groups()
    if first is not None and int(first) > int(last):
        raise LodeError(f"{key}: the first token comes after the last.")
    stage, _, name = file.rpartition("/")
    sql, values = "FROM origin(?, ?, ?, ?)", [name, int(row), int(first or 0), int(last or 2**31 - 1)]
    # `work/shards/part-0.parquet` names the stage `shards`; a bare name means every stage with such a file.
    return (f"{sql} WHERE ends_with('/' || ?, '/' || stage)", [*values, stage]) if stage else (sql, values)


def what_is(key: str) -> str:
    return "row, or no document in these tokens" if TOKENS.fullmatch(key) else "URL, id or repository"
