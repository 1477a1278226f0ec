"""`lode fetch`: parts of public crawls, onto this disk."""

import json
from typing import Annotated

import typer

from corpus.errors import LodeError
from jobs.cli_options import Json, Quiet

fetch = typer.Typer(no_args_is_help=True, help="WARC files of a public crawl, resumable and verified.")


@fetch.callback()
def sources() -> None:
    """WARC files of a public crawl, resumable and verified."""


@fetch.command()
def commoncrawl(
    crawl: Annotated[str | None, typer.Option(help="The crawl, such as CC-MAIN-2024-10.")] = None,
    files: Annotated[
        int | None, typer.Option(min=1, help="So many files, spread evenly over the crawl or the list.")
    ] = None,
    listed: Annotated[
        str | None, typer.Option("--list", help="A file with a path or URL a line, instead of --crawl.")
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="Only records of this URL; `*` stands for any characters.")
    ] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="Only records of this domain or host and those below it.")
    ] = None,
    mime: Annotated[list[str] | None, typer.Option(help="Only records of this detected MIME type.")] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Only pages mainly in this language (ISO 639-3: eng, deu, zho).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many records.")] = None,
    kind: Annotated[str, typer.Option(help="warc, or wet for the plain text.")] = "warc",
    out: Annotated[str, typer.Option(help="Folder for the files.")] = "crawl",
    base: Annotated[
        str, typer.Option(help="Where the crawls are: a URL (https, s3, ...) or a folder.")
    ] = "https://data.commoncrawl.org/",
    connections: Annotated[int, typer.Option(min=1, max=16, help="Files fetched at the same time.")] = 4,
    retries: Annotated[
        int, typer.Option(min=0, help="Attempts, after the first, in a row without a new byte.")
    ] = 12,
    stall: Annotated[float, typer.Option(min=0.1, help="Seconds without data until a new attempt.")] = 60.0,
    seed: int = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Files of a Common Crawl, or single records that its index names; run it again to go on after a stop."""
    from corpus import commoncrawl as crawls
    from corpus.http import Remote
    from jobs.fetch import Folder, fetch_files, fetch_records
    from jobs.progress import Progress

    query = crawls.Query(*(tuple(values or ()) for values in (url, domain, mime, language)))
    if kind not in crawls.KINDS:
        raise LodeError(f"--kind {kind}: valid are {', '.join(crawls.KINDS)}.")
    if (crawl is None) == (listed is None):
        raise LodeError("give either --crawl or --list.")
    if query and (listed or files or kind != "warc"):
        raise LodeError(
            "--url, --domain, --mime and --language choose single WARC records of a --crawl; leave out --list, --files "
            "and --kind (and use --limit for fewer)."
        )
    if limit and not query:
        raise LodeError("--limit: counts records that --url, --domain, --mime or --language choose.")
    if not (query or files or listed):
        raise LodeError("say how many with --files (a crawl has about 90,000, of 1 GB each).")
    remote = Remote(connections, retries, stall)
    with Folder(out) as folder, Progress(quiet) as progress:
        if query:
            done = fetch_records(remote, base, str(crawl), folder, query, limit, seed, progress)
        else:
            paths = (
                crawls.list_in(remote, listed)
                if listed
                else crawls.list_paths(remote, base, str(crawl), kind)
            )
            done = fetch_files(remote, base, folder, crawls.choose(paths, files, seed), progress)
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))


def register(app: typer.Typer) -> None:
    app.add_typer(fetch, name="fetch")
