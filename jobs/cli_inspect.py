"""Commands for looking at a work folder: `lode inspect`, `lode report` and `lode review`."""

import io
import os
import shutil
import sys
from typing import Annotated, TextIO

import duckdb
import typer

from corpus.errors import LodeError
from jobs.cli_options import Json

LIST = "SELECT stage, unit, rows_in, rows_out, rows_dropped, round(wall_seconds, 1) AS seconds FROM stages"
VIEWS = "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1"


def inspect(
    work: Annotated[str, typer.Argument(help="A work folder, a stage's folder, or Parquet.")],
    sql: Annotated[
        str | None,
        typer.Option(help="One query; without it, on a terminal, a prompt that has .help."),
    ] = None,
    question: Annotated[
        str | None, typer.Option("--ask", help="A named question, such as drop_reasons; `list` lists them.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="With --ask: what the question is narrowed to, such as '%.edu/%'.")
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            help="What became of a URL, a document's id or a repository; or what FILE:ROW[:FIRST-LAST], tokens "
            "of a shard, were made of."
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV (RFC 4180).")] = False,
    save: Annotated[
        str | None, typer.Option(help="Write the views to a file that any DuckDB client opens.")
    ] = None,
) -> None:
    """Ask DuckDB about any stage: documents, what was dropped and why, mining rounds, shards, training."""
    asked = {"--sql": sql, "--ask": question, "--trace": trace, "--save": save}
    given = [option for option, value in asked.items() if value is not None]
    if len(given) > 1:
        raise LodeError(f"lode inspect: {' and '.join(given)} are given; ask one thing at a time.")
    if as_json and as_csv:
        raise LodeError("lode inspect: --json and --csv are given; choose one.")
    if like is not None and question is None:
        raise LodeError("lode inspect: --like narrows a named question; name one with --ask.")
    if save is not None and (as_json or as_csv):
        raise LodeError(
            "lode inspect: --save writes a file and prints no result; leave out --json and --csv."
        )
    from corpus.inspect import open_work

    connection = open_work(work)
    if not given and not as_json and not as_csv and sys.stdin.isatty() and sys.stdout.isatty():
        from jobs.prompt import prompt

        prompt(connection, work)
        return
    tell_problems(connection)
    if save is not None:
        from corpus.saved import save as save_views

        save_views(connection, save)
        typer.echo(f"Saved: {save} (open it with any DuckDB client, such as `duckdb {save}`)")
        return
    try:
        answer_in_full(connection, work, sql, question, like, trace, as_json, as_csv)
        if not given and not as_json and not as_csv:
            names = [name for (name,) in connection.execute(VIEWS).fetchall()]
            typer.echo(f"\nViews: {', '.join(names)}. Ask with --sql; --ask list lists questions.")
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def answer_in_full(
    connection: duckdb.DuckDBPyConnection,
    work: str,
    sql: str | None,
    question: str | None,
    like: str | None,
    trace: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """The answer to what was asked, on standard output."""
    from jobs.answers import ask, question_sql, trace_sql, what_is, write_csv, write_json, write_table

    values = None
    if question is not None:
        sql = question_sql(connection, question, like)
    elif trace is not None:
        sql, values = trace_sql(trace)
    answer = ask(connection, LIST if sql is None else sql, values)
    if trace is not None:
        rows = list(answer.rows)
        if not rows:
            raise LodeError(f"{trace}: nothing in {work} has this {what_is(trace)}.")
        answer.rows = iter(rows)
    if as_json:
        write_json(answer, sys.stdout)
    elif as_csv:
        with exact_output() as out:
            write_csv(answer, out)
    else:
        # A terminal has a width; a file or a pipe gets every row and every character.
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        write_table(answer, sys.stdout, width, connection if values is None else None)


def exact_output() -> TextIO:
    """Standard output in UTF-8, with line ends as they are written, whatever the platform's are."""
    if not hasattr(sys.stdout, "buffer"):
        return sys.stdout
    sys.stdout.flush()
    return io.TextIOWrapper(os.fdopen(os.dup(sys.stdout.fileno()), "wb"), encoding="utf-8", newline="")


def tell_problems(connection: duckdb.DuckDBPyConnection) -> None:
    """Say what is left out of the views, where an answer would seem whole; standard output has the answer alone."""
    from jobs.answers import shown

    problems = connection.execute("FROM problems").fetchall()
    for row in problems[:3]:
        typer.echo(f"lode: left out: {': '.join(shown(str(value), 300) for value in row)}", err=True)
    if len(problems) > 3:
        typer.echo(f"lode: left out: {len(problems) - 3:,} more; FROM problems lists them.", err=True)


def report(
    work: Annotated[str, typer.Argument(help="A work folder.")],
    other: Annotated[
        str | None, typer.Argument(help="Another one: the page then shows what changed, and why.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="File for the page (default: report.html, or compare.html, in the last folder)"),
    ] = None,
) -> None:
    """One HTML page that shows what is in a work folder, or what changed between two; it needs no network."""
    if other is not None:
        from jobs.report_compare import write_comparison

        typer.echo(f"Comparison: {write_comparison(work, other, out)}")
        return
    from jobs.report import write_report

    typer.echo(f"Report: {write_report(work, out)}")


def review(
    work: Annotated[str, typer.Argument(help="A work folder with at least one mining round.")],
    reviewer: Annotated[str | None, typer.Option(help="Whose decisions these are (default: you).")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1 (default: a free one).")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the page's address and open nothing.")
    ] = False,
    merge: Annotated[
        list[str] | None, typer.Option(help="Another reviewer's annotations to take in (repeatable).")
    ] = None,
) -> None:
    """A local page to accept and reject URL paths for the next mining round, by keyboard."""
    from jobs.review import serve

    serve(work, reviewer, port, not no_browser, tuple(merge or ()))


def register(app: typer.Typer) -> None:
    for command in (inspect, report, review):
        app.command()(command)
