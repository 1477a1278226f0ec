"""Commands for one stage of the corpus at a time: each reads datasets and writes one stage's folder."""

import contextlib
import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_options import Json, Master, Out, Quiet


@contextlib.contextmanager
def work_in(out: str, master: str | None, quiet: bool, *reads: str) -> Iterator[Any]:
    """A work folder with an engine, for one command that reads something somewhere else: the folder is emptied."""
    from corpus import storage
    from jobs.engine import Work
    from jobs.progress import Progress
    from jobs.spark import Spark

    for path in reads:
        if (storage.absolute(path) + "/").startswith(storage.absolute(out) + "/"):
            raise LodeError(
                f"--out {out}: {path}, which the command reads, is in there; choose another folder."
            )
    spark = Spark(master, {}, os.path.join(tempfile.gettempdir(), f"lode-spark-{os.getuid()}.log"))
    try:
        with Progress(quiet) as progress, Work(out, spark, progress) as work:
            yield work
    finally:
        spark.stop()


def show(value: Any, as_json: bool, text: str) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False) if as_json else text)


def done(stage: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(stage.manifest, indent=2, ensure_ascii=False))


def extract(
    inputs: Annotated[list[str], typer.Argument(help="WARC, WET or HTML files, folders or globs.")],
    out: Annotated[
        str | None, typer.Option(help="Folder for the documents; without it one page's text is printed.")
    ] = None,
    source: Annotated[str, typer.Option(help="The name of this source in the documents.")] = "web",
    drop_opt_out: Annotated[
        list[str] | None,
        typer.Option(help="Drop pages whose publisher asks for this, such as noai (repeatable)."),
    ] = None,
    expand_macros: Annotated[
        bool, typer.Option("--expand-macros", help="Write out the TeX macros that a page defines.")
    ] = False,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """WARC, WET and HTML files to documents, formulas and code intact."""
    from jobs import web
    from jobs.recipe import PagesSection, Source, known_signal

    try:
        refused = [known_signal(signal) for signal in drop_opt_out or ()]
    except ValueError as error:
        raise LodeError(f"--drop-opt-out: {error}") from None
    section = PagesSection(drop_opt_out=refused, expand_macros=expand_macros)
    if out is None:
        from corpus.extract import extract_pages
        from corpus.storage import expand

        for path in inputs:
            web.check_readable(path)
        files = expand(inputs)
        if len(files) != 1:
            raise LodeError(
                f"{', '.join(inputs)}: {len(files)} files; give --out DIR to extract more than one."
            )
        batches = extract_pages(files, source, section.extraction)
        print_pages((row for batch in batches for row in batch.to_pylist()), files[0], as_json)
        return
    from jobs.engine import HERE

    with work_in(out, master, quiet, *inputs) as work:
        done(web.pages(work, {source: Source(kind="web", input=inputs)}, 0, HERE, section), as_json)


def print_pages(rows: Iterator[dict[str, Any]], file: str, as_json: bool) -> None:
    """The texts of the pages that were kept, each as soon as it is there; as JSON a list of their rows."""
    kept: list[dict[str, Any]] = []
    dropped: dict[str, Any] | None = None
    count = 0
    for row in rows:
        if row["reason"]:
            dropped = dropped or row
            continue
        count += 1
        if as_json:
            kept.append({name: value for name, value in row.items() if name not in ("reason", "detail")})
        else:
            typer.echo(row["text"] if count == 1 else f"\n{row['text']}")
    if not count:
        why = (
            f"{dropped['reason']} ({dropped['detail'] or dropped['url'] or dropped['path']})"
            if dropped
            else "no page is in it"
        )
        raise LodeError(f"{file}: no text came out of it: {why}.")
    if as_json:
        typer.echo(json.dumps(kept, indent=2, ensure_ascii=False))


def dedup(
    input: Annotated[
        str, typer.Option(help="Documents: Parquet with the columns id and text (file, folder or glob).")
    ],
    out: Out,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Result of an earlier `lode dedup`: what is in there goes too (repeatable)."),
    ] = None,
    report_earlier: Annotated[
        bool,
        typer.Option("--report-earlier", help="With --against: drop none of these, list them in matches/."),
    ] = False,
    jaccard: Annotated[
        float, typer.Option(min=0.01, max=1, help="Similarity from which documents are duplicates.")
    ] = 0.8,
    verify: Annotated[
        bool,
        typer.Option(help="Compare candidates exactly, so that no pair below --jaccard is merged."),
    ] = True,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Who stays: longest (default), score, earliest, most_starred, best_known (default for "
            'repositories), or SQL such as "score DESC, url".'
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="What a token is: prose, math (default) or code (default for repositories)."),
    ] = None,
    ngram: Annotated[int, typer.Option(min=1, max=1000, help="Tokens in a shingle.")] = 5,
    permutations: Annotated[
        int,
        typer.Option(min=16, max=4096, help="Hashes of a signature at most, to choose bands and rows from."),
    ] = 128,
    bands: Annotated[
        int | None,
        typer.Option(min=1, help="Bands of a signature, with --rows (default: what suits --jaccard)."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Hashes of a band, with --bands.")] = None,
    repeated_lines: Annotated[
        int | None, typer.Option(min=2, help="Take out lines that occur in so many documents.")
    ] = None,
    repositories: Annotated[
        bool,
        typer.Option(
            "--repositories", help="Rows are files (of `lode repos`); compare repositories as wholes."
        ),
    ] = False,
    containment: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="With --repositories: one of which so much is in another goes (0: none does)."
        ),
    ] = 0.75,
    seed: int = 0,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep one document of each cluster with the same URL, the same text or nearly the same text."""
    from jobs.deduplicate import deduplicate
    from jobs.engine import HERE, open_dataset
    from jobs.recipe import CodeDeduplicateSection, DeduplicateSection, section_of

    section = section_of(
        CodeDeduplicateSection if repositories else DeduplicateSection,
        jaccard=jaccard, ngram=ngram, permutations=permutations, bands=bands, rows=rows, verify=verify,
        repeated_lines=repeated_lines, against=against or [], earlier="report" if report_earlier else "drop",
        **({"profile": profile} if profile else {}), **({"keep": keep} if keep else {}),
        **({"containment": containment} if repositories else {}),
    )  # fmt: skip
    unit: Any = "repository" if repositories else "document"
    before = open_dataset(input, ("id", "text", *(("source", "repository") if repositories else ())))
    with work_in(out, master, quiet, input, *section.against) as work:
        stage = deduplicate(work, HERE, before, section, seed, unit)
    if as_json or not quiet:
        show(stage.manifest, as_json, duplicates_found(stage.manifest, out))


def duplicates_found(manifest: dict[str, Any], out: str) -> str:
    """A manifest of `lode dedup` for a reader: what the bands find, what was compared, and where to look."""
    about, settings = manifest["deduplication"], manifest["parameters"]
    share = 1 - (1 - settings["jaccard"] ** about["rows"]) ** about["bands"]
    text = f"{about['bands']} bands of {about['rows']} rows find {share:.1%} of the pairs at {settings['jaccard']}; "
    if settings["verify"]:
        text += f"of {about['pairs_compared']:,} pairs that were compared {about['pairs_alike']:,} are alike."
    else:
        text += "what they found was not compared."
    if "contained" in about:
        text += f" {about['contained']:,} repositories are contained in another one"
        text += f", {about['contained_but_better_known']:,} more are better known than it and stay."
    look = []
    if manifest["rows_dropped"]:
        look.append(("The least similar", "FROM clusters ORDER BY jaccard LIMIT 20"))
    if about["against"]:
        where = "matches" if settings["earlier"] == "report" else "clusters"
        sql = f"SELECT corpus, reason, count(*) FROM {where} WHERE corpus IS NOT NULL GROUP BY ALL"
        look.append(("What was there before", sql))
    return "\n".join(
        [text, *(f'{what}: lode inspect {shlex.quote(out)} --sql "{sql}"' for what, sql in look)]
    )


def decontaminate(
    input: Annotated[
        str, typer.Option(help="Documents: Parquet with the columns id and text (file, folder or glob).")
    ],
    benchmarks: Annotated[
        list[str],
        typer.Option(
            help="Evaluation sets: JSONL, JSON, Parquet or CSV files, folders or globs (repeatable)."
        ),
    ],
    out: Out,
    field: Annotated[
        list[str] | None,
        typer.Option(help="A column that holds a text, where a set's layout is not known (repeatable)."),
    ] = None,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Drop documents that share a 10-gram with an evaluation set; list every item found, and where."""
    from jobs.contamination import decontaminate as run
    from jobs.contamination import findings
    from jobs.engine import HERE, open_dataset
    from jobs.recipe import DecontaminateSection

    section = DecontaminateSection(benchmarks=benchmarks, fields=field or [])
    with work_in(out, master, quiet, input, *benchmarks) as work:
        before = open_dataset(input)
        unit = "files" if before.manifest["unit"] == "files" else "documents"
        stage = run(work, HERE, before, section, unit)
    if as_json or not quiet:
        show(stage.manifest, as_json, findings(stage.manifest, out))


def repos(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Archives, folders, git repositories, folders of these, or Parquet of files."),
    ],
    out: Out,
    source: Annotated[str, typer.Option(help="The name of this source in the rows.")] = "repositories",
    revision: Annotated[
        str, typer.Option(help="Branch, tag or commit at which git repositories are read.")
    ] = "HEAD",
    about: Annotated[
        str | None,
        typer.Option(
            help="A list (CSV, JSONL, Parquet) with a column repository and stars, forks, licence, ..."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="FIELD=COLUMN of Parquet in a layout of its own, such as text=content (repeatable)."
        ),
    ] = None,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Repositories to one row a file, every file accounted for."""
    from corpus import storage
    from jobs.engine import HERE
    from jobs.recipe import Source, section_of
    from jobs.repositories import files
    from jobs.repository_inputs import understood

    columns = {}
    for item in column or ():
        name, equals, value = item.partition("=")
        if not equals or not name or not value:
            raise LodeError(f"--column {item}: expected FIELD=COLUMN, such as text=content.")
        columns[name] = value
    for path in inputs:
        within = storage.absolute(path.removesuffix("*")) + "/"
        if (storage.absolute(out) + "/").startswith(within):
            raise LodeError(f"--out {out}: lies in {path}, which the command reads; choose another folder.")
    given = section_of(
        Source, kind="repositories", input=inputs, revision=revision, about=about, columns=columns
    )
    with work_in(out, master, quiet, *inputs, *([about] if about else [])) as work:
        for line in understood(given):
            work.progress.say(line)
        done(files(work, {source: given}, 0, HERE), as_json)


def graph(
    repository: Annotated[str, typer.Argument(help="A folder or an archive.")],
    svg: Annotated[str | None, typer.Option(help="Write a picture of the graph to this file, too.")] = None,
    as_json: Json = False,
) -> None:
    """The dependency graph of a repository."""
    from corpus import storage
    from repo_ordering.graph import graph_json
    from repo_ordering.picture import graph_svg
    from repo_ordering.views import graph_listing, graph_of_path

    found = graph_of_path(repository)
    if svg is not None:
        with storage.atomic_write(svg) as file:
            name = os.path.basename(os.path.abspath(repository))
            file.write(graph_svg(found, name.removesuffix(".gz").removesuffix(".tar")).encode())
    show(graph_json(found), as_json, graph_listing(found))


def order(
    repository: Annotated[
        str | None, typer.Argument(help="A folder or an archive, to print its order.")
    ] = None,
    input: Annotated[str | None, typer.Option(help="Files, as `lode repos` writes them.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder for the repository documents.")] = None,
    order: Annotated[
        str, typer.Option(help="topological, dependency, path, random, or clustered (in windows).")
    ] = "dependency",
    samples: Annotated[
        str | None, typer.Option(help="What is one sample: repository, component or window.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=16, help="Tokens in a window; 16,384 if not given.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="tokenizer.json that counts them; 3.5 characters each without.")
    ] = None,
    skeletons: Annotated[
        bool, typer.Option(help="Fill windows with signatures of dependencies that did not fit.")
    ] = False,
    seed: int = 0,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Files of repositories in dependency order: print one repository's, or write documents."""
    from jobs.recipe import CodeSection, section_of
    from jobs.repository_documents import ordering, repositories

    in_windows = window or skeletons or order == "clustered"
    section = section_of(
        CodeSection,
        order=order,
        samples=samples or ("window" if in_windows else "repository"),
        window=window,
        skeletons=skeletons,
    )
    if repository is not None and out is not None:
        raise LodeError(f"lode order: to write documents of {repository} give it as --input.")
    if repository is not None:
        from repo_ordering.views import files_of_path, order_listing, order_of_files

        settings = ordering(section, seed, tokenizer)
        view = order_of_files(files_of_path(repository), settings)
        show(view, as_json, order_listing(view))
        return
    if input is None or out is None:
        raise LodeError("lode order: give a repository to look at, or --input and --out.")
    from jobs.engine import HERE, open_dataset

    before = open_dataset(input, ("id", "text", "source", "repository", "path", "language"))
    with work_in(out, master, quiet, input) as work:
        done(repositories(work, before, section, seed, HERE, tokenizer=tokenizer), as_json)


def printable(value: Any) -> str:
    """A value for a terminal: text from the web must not move the cursor or change colours."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value))


def register(app: typer.Typer) -> None:
    for command in (extract, dedup, decontaminate, repos, graph, order):
        app.command()(command)
