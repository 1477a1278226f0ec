"""The `lode` command. Each command is a few lines here and its work elsewhere."""

import errno
import logging
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from corpus.errors import LodeError
from jobs import (
    cli_corpus,
    cli_evaluate,
    cli_fetch,
    cli_formats,
    cli_inspect,
    cli_mine,
    cli_model,
    cli_pack,
    cli_plan,
    cli_tokens,
)
from jobs.cli_options import Master, Quiet, Set

app = typer.Typer(
    name="lode",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Build domain corpora on Spark, see what is in them with DuckDB, and train on them."""


def run_in(work_folder: str, recipe: Any, master: str | None, until: str | None, quiet: bool) -> None:
    """Run a recipe in a work folder, with its report, and say what there is to look at."""
    from corpus import storage
    from jobs.engine import Work
    from jobs.pipeline import run_recipe
    from jobs.progress import Progress
    from jobs.report import write_report
    from jobs.spark import Spark

    local = storage.is_local(work_folder)
    log = storage.join(storage.absolute(work_folder) if local else os.getcwd(), "logs", "spark.log")
    spark = Spark(master, recipe.spark, log)
    try:
        with Progress(quiet) as progress, Work(work_folder, spark, progress) as work:
            storage.write_json(work.path("recipe.json"), recipe.model_dump(mode="json", exclude={"spark"}))
            run_recipe(work, recipe, until)
    finally:
        spark.stop()
    page = write_report(work_folder.removeprefix("file://")) if local else None
    if progress.ran == 0:
        progress.say(f"Nothing to do: all {progress.skipped} stages in {work_folder} are up to date.")
    if page:
        progress.say(f"Report: {page}")


@app.command()
def quickstart(
    out: Annotated[str, typer.Option(help="Folder for the results.")] = "quickstart",
    master: Master = None,
    change: Set = None,
    quiet: Quiet = False,
) -> None:
    """The main job, small and offline: from a crawl and repositories to a trained model and a report."""
    from jobs.progress import Progress
    from jobs.recipe import load_recipe

    Progress(quiet).say(
        "Lode quickstart. Input: a crawl written from the documentation of the Python packages installed on this\n"
        "machine (real WARC files, one site a package), and the source trees of those packages as repositories.\n"
        f"Nothing is downloaded. Everything is written to {out}/."
    )
    run_in(out, load_recipe("quickstart", change or []), master, None, quiet)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a recipe that comes with Lode.")],
    work: Annotated[str, typer.Option(help="Work folder: a path or URL that all executors reach.")] = "work",
    master: Master = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.")] = None,
    change: Set = None,
    quiet: Quiet = False,
) -> None:
    """Run every stage of a recipe; what is done already is skipped, what was killed goes on."""
    from jobs.recipe import load_recipe

    run_in(work, load_recipe(recipe, change or []), master, until, quiet)


cli_plan.register(app)
cli_fetch.register(app)
cli_corpus.register(app)
cli_mine.register(app)
cli_tokens.register(app)
cli_pack.register(app)
cli_model.register(app)
cli_evaluate.register(app)
cli_inspect.register(app)
cli_formats.register(app)


def explain(error: BaseException) -> str | None:
    """The sentence for an error that a user can do something about, or None for a fault of Lode's."""
    if isinstance(error, LodeError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" ({error.filename})" if error.filename else ""
        return f"No space left on device{where}: free some, or choose another folder for the results."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}."
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}."
    return None


def main() -> None:
    """Entry point: an error is one sentence and exit status 1; `--debug`, anywhere, shows the traceback."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if not debug:
        logging.disable(logging.ERROR)  # Spark's gateway logs the traceback of an interrupted call
    try:
        app(args=arguments, prog_name="lode")
    except SystemExit as ended:
        if ended.code == 130:  # typer's word for Ctrl-C
            leave("stopped; run the same command again to go on.", 130)
        raise
    except Exception as error:
        if debug:
            raise
        sentence = explain(error)
        if sentence is None:
            sentence = f"{type(error).__name__}: {error} (this is a fault in Lode; --debug shows where)"
        leave(sentence, getattr(error, "exit_status", 1))


def leave(sentence: str, status: int) -> NoReturn:
    """Say one sentence and end at once: threads of Spark's gateway may have more to say, and nobody asked."""
    print(f"lode: {' '.join(sentence.split())}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
