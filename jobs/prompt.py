"""The prompt of `lode inspect`: SQL over the views of a work folder, with history, completion and named questions."""

import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import duckdb
import pyarrow as pa
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from corpus.errors import LodeError
from corpus.inspect import quoted, statistics
from jobs.answers import (
    SHOWN,
    Answer,
    ask,
    printable,
    question_sql,
    shown,
    trace_sql,
    what_is,
    write_csv,
    write_json,
    write_table,
)

COMMANDS = {
    ".help": "this list",
    ".ask NAME [PATTERN]": "answer a question of the list below",
    ".views": "the views, with the number of their columns",
    ".schema VIEW": "the columns of a view",
    ".trace KEY": "follow a URL, an id, a repository, or FILE:ROW[:FIRST-LAST] of a shard",
    ".table  .json  .csv": "how answers are shown",
    ".quit": "leave, as Ctrl-D does",
}
KEYWORDS = (
    "SELECT FROM WHERE GROUP BY ORDER LIMIT HAVING JOIN LEFT USING ON AS AND OR NOT IN IS NULL LIKE ILIKE BETWEEN "
    "CASE WHEN THEN ELSE END DISTINCT UNION ALL WITH DESC ASC FILTER OVER PARTITION UNNEST DESCRIBE SUMMARIZE EXPLAIN "
    "QUALIFY SAMPLE EXCLUDE count( sum( avg( min( max( median( quantile_cont( round( length( any_value( "
    "histogram( arg_max( arg_min( list( regexp_matches( contains( starts_with( coalesce( trace( origin("
)
PLAIN = {"help": ".help", "quit": ".quit", "exit": ".quit", "\\q": ".quit", "?": ".help"}
APART = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*")


def prompt(connection: duckdb.DuckDBPyConnection, work: str) -> None:
    """Ask on the terminal until Ctrl-D."""
    Prompt(connection, work).run()


def finished(text: str) -> bool:
    """Whether Enter sends what was typed: a command, SQL that ends in `;`, or any text after an empty line."""
    stripped = text.strip()
    if not stripped or stripped.startswith(".") or stripped.lower() in PLAIN:
        return True
    code = APART.sub("", stripped).rstrip()
    return (code.endswith(";") and "'" not in code) or text.endswith("\n")


def history_file() -> pathlib.Path:
    """Where the XDG rules put what a program remembers."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = pathlib.Path(state) if os.path.isabs(state) else pathlib.Path.home() / ".local" / "state"
    return folder / "lode" / "inspect_history"


def remembered() -> History:
    """The history on disk, for its owner alone; where none can be written it lasts as long as the prompt."""
    try:
        file = history_file()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    except (OSError, RuntimeError):
        return InMemoryHistory()
    return FileHistory(str(file))


class Words(Completer):
    """Views, their columns, questions, commands and keywords, whichever may stand at the cursor."""

    def __init__(self, columns: dict[str, dict[str, str]]) -> None:
        self.columns = columns  # of each view: names and types
        self.questions = statistics()

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        typed = re.search(r"[\w.\\]*$", before)
        word = typed.group() if typed else ""
        head = before[: len(before) - len(word)]
        if not word and not complete_event.completion_requested:
            return  # Tab asks for all there is
        for text, about in self.candidates(head, word, document.text):
            start = word if head.strip() or text.startswith(".") else word.lstrip(".")
            start = start.rpartition(".")[2] if not text.startswith(".") else start
            if text.lower().startswith(start.lower()) and text.lower() != start.lower():
                yield Completion(text, start_position=-len(start), display_meta=about)

    def candidates(self, head: str, word: str, text: str) -> Iterator[tuple[str, str]]:
        command = head.strip()
        if not command and word.startswith("."):
            for usage, about in COMMANDS.items():
                for name in re.findall(r"\.\w+", usage):
                    yield name, about
        elif command == ".ask":
            for name, known in self.questions.items():
                yield name, known.question
        elif command == ".schema" or re.search(r"\b(from|join|describe|summarize)\s+$", head, re.IGNORECASE):
            for view in self.columns:
                yield view, "view"
        elif not command.startswith("."):
            # The views that the query names say which columns come first.
            named = [view for view in self.columns if re.search(rf"\b{view}\b", text, re.IGNORECASE)]
            seen = set()
            for view in named or self.columns:
                for name, kind in self.columns[view].items():
                    if name not in seen:
                        seen.add(name)
                        yield name, kind if len(kind) < 30 else kind[:29] + "…"
            for view in self.columns:
                yield view, "view"
            for keyword in KEYWORDS.split():
                yield keyword, ""


class Prompt:
    """A loop over what is typed; an error is said and the loop goes on."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        work: str,
        out: TextIO | None = None,
        **session: Any,  # of PromptSession: tests give an input, an output and a history
    ) -> None:
        self.connection = connection
        self.work = work
        self.out = out or sys.stdout
        self.write: Callable[[Answer], None] = self.table
        self.columns: dict[str, dict[str, str]] = {}
        sql = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        sql += " AND schema_name = 'main' ORDER BY table_name, column_index"
        for view, column, kind in connection.execute(sql).fetchall():
            self.columns.setdefault(view, {})[column] = kind
        self.session: PromptSession[str] = PromptSession(
            multiline=Condition(lambda: not finished(get_app().current_buffer.text)),
            completer=Words(self.columns),
            complete_while_typing=True,
            lexer=PygmentsLexer(SqlLexer),
            auto_suggest=AutoSuggestFromHistory(),
            prompt_continuation=lambda width, line, wrapped: "· ".rjust(width),
            **({"history": remembered()} | session),
        )

    def say(self, text: str) -> None:
        self.out.write(text + "\n")

    def run(self) -> None:
        self.say(
            f"{shown(self.work)}: {len(self.columns)} views. SQL ends in ';'. .help lists useful questions."
        )
        problems = self.connection.execute("FROM problems").fetchall()
        for row in problems[:3]:
            self.say(f"left out: {': '.join(shown(str(value), 300) for value in row)}")
        if len(problems) > 3:
            self.say(f"left out: {len(problems) - 3:,} more; FROM problems; lists them.")
        while True:
            try:
                text = self.session.prompt("lode> ")
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            try:
                if not self.answer(text.strip()):
                    return
            except (KeyboardInterrupt, duckdb.InterruptException):
                self.connection.interrupt()
                self.say("Interrupted.")
            except LodeError as error:
                self.say(complaint(error))
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                self.say(printable(error))
            self.out.flush()

    def answer(self, text: str) -> bool:
        """Do what was typed; False to leave."""
        text = PLAIN.get(text.lower().rstrip(";"), text)
        if not text.startswith("."):
            # Statements one by one: each that has an answer shows it.
            for statement in duckdb.extract_statements(text):
                self.write(ask(self.connection, statement.query))
            return True
        command, _, rest = text.rstrip(";").partition(" ")
        rest = rest.strip()
        if command in (".quit", ".exit"):
            return False
        if command == ".help":
            self.help()
        elif command == ".ask":
            name, _, pattern = rest.partition(" ")
            sql = question_sql(self.connection, name or "list", pattern.strip(" '\"") or None)
            self.write(ask(self.connection, sql))
        elif command == ".views":
            for view, columns in self.columns.items():
                self.say(f"{view:<20} {len(columns)} columns")
        elif command == ".schema":
            if rest not in self.columns:
                raise LodeError(f"{rest or '.schema'}: name one of the views {', '.join(self.columns)}.")
            self.write(
                ask(self.connection, f"SELECT column_name, column_type FROM (DESCRIBE {quoted(rest)})")
            )
        elif command == ".trace":
            self.trace(rest)
        elif command in (".table", ".json", ".csv"):
            self.write = {".table": self.table, ".json": self.json, ".csv": self.csv}[command]
        else:
            raise LodeError(f"{command}: there is no such command; .help lists them.")
        return True

    def help(self) -> None:
        known = statistics()
        self.say(
            "SQL over the views, ended by ';' or an empty line; Tab completes, Ctrl-C stops a query. Or:"
        )
        for usage, about in COMMANDS.items():
            self.say(f"  {usage:<22} {about}")
        self.say("Questions for .ask:")
        wide = shutil.get_terminal_size().columns
        for name, statistic in known.items():
            self.say(f"  {name:<22} {statistic.question}"[:wide])

    def trace(self, key: str) -> None:
        if not key:
            raise LodeError(".trace: give a URL, an id, a repository, or FILE:ROW of a shard.")
        sql, values = trace_sql(key)
        found = ask(self.connection, sql, values)
        rows = list(found.rows)
        if not rows:
            raise LodeError(f"{key}: nothing in {self.work} has this {what_is(key)}.")
        found.rows = iter(rows)
        self.write(found)

    def table(self, answer: Answer) -> None:
        write_table(answer, self.out, shutil.get_terminal_size().columns, self.connection)

    def json(self, answer: Answer) -> None:
        self.some(answer, write_json)

    def csv(self, answer: Answer) -> None:
        self.some(answer, write_csv)

    def some(self, answer: Answer, write: Callable[[Answer, TextIO], None]) -> None:
        """The first rows; a terminal is no place for a million."""
        rows, more = [], False
        for row in answer.rows:
            if len(rows) == SHOWN:
                more = True
                break
            rows.append(row)
        answer.rows = iter(rows)
        write(answer, self.out)
        if more:
            self.say(f"… and more rows than {SHOWN}; lode inspect --sql writes all of them to a file.")


def complaint(error: LodeError) -> str:
    """DuckDB's words with the line and the caret, where they are its; hidden characters made visible."""
    cause = error.__cause__
    text = str(cause) if isinstance(cause, duckdb.Error) else str(error)
    return printable(text.strip())
