"""Stages from a crawl to clean pages: crawl (only of installed documentation), pages, quality."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa

from corpus import installed, storage
from corpus.docs_crawl import part_name, render_part
from corpus.errors import LodeError
from corpus.extract import PAGE, Extraction, extract_pages
from corpus.schema import with_verdict
from corpus.warc import ranges
from jobs.engine import Account, Stage, Work, fingerprint_files, limited
from jobs.recipe import PagesSection, QualitySection, Source
from jobs.worker import Task

PAGE_ROOMS = ("corpus/extract.py", "corpus/main_content.npz", "corpus/main_content.toml", "jobs/web.py")
QUALITY_ROOMS = ("filters/quality.py", "filters/words.toml", "jobs/web.py")
CRAWL = pa.schema([("file", pa.string()), ("kind", pa.string()), ("count", pa.int64())])


@dataclass(frozen=True)
class RenderCrawl:
    """Function of a task: write one WARC file of documentation; its rows say what is in it."""

    specs: tuple[str, ...]
    files: int
    folder: str
    seed: int

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        part = int(inputs[0])
        path = storage.join(self.folder, part_name(part))
        counts = render_part(list(self.specs), part, self.files, path, self.seed)
        rows = [
            {"file": part_name(part), "kind": k, "count": n, "reason": None, "detail": None}
            for k, n in counts.items()
        ]
        yield pa.RecordBatch.from_pylist(rows, with_verdict(CRAWL))


def is_installed(path: str) -> bool:
    return path.startswith(installed.PREFIX)


def crawl(work: Work, name: str, specs: list[str], files: int, seed: int) -> Stage:
    """Write the documentation that `specs` name as a crawl of WARC files under `<name>/`."""
    versions = sorted(f"{p.name} {p.version}" for p in installed.packages())

    def build(folder: str) -> Account:
        tasks = [Task(part, (str(part),)) for part in range(files)]
        render = RenderCrawl(tuple(specs), files, folder, seed)
        counts = work.map_parts(folder, tasks, CRAWL, read=render, unit="", here=True)
        kinds: dict[str, int] = {}
        for part in storage.parquet_parts(storage.join(folder, "part-*.parquet")):
            for batch in storage.read_parquet(part):
                for row in batch.to_pylist():
                    kinds[row["kind"]] = kinds.get(row["kind"], 0) + row["count"]
        found = f"{kinds.get('pages', 0):,} pages with {kinds.get('formulas', 0):,} formulas"
        headline = f"{found} written to {files} WARC files"
        return Account(counts, "kinds", {"crawl": dict(sorted(kinds.items())), "headline": headline})

    parameters = {"specs": specs, "files": files, "seed": seed}
    return work.stage(
        name, ("corpus/docs_crawl.py", "jobs/web.py"), parameters, {"packages": json.dumps(versions)}, build
    )


def check_readable(path: str) -> None:
    """Name what in a local folder cannot be listed or followed: listings leave it out without a word."""

    def refuse(error: OSError) -> None:
        raise LodeError(
            f"{error.filename}: cannot be read ({error.strerror}); mend its permissions or move it."
        )

    if storage.is_local(path) and os.path.isdir(path):
        for folder, _, names in os.walk(path, onerror=refuse):
            for name in names:
                file = os.path.join(folder, name)
                if not name.startswith(".") and os.path.islink(file) and not os.path.exists(file):
                    raise LodeError(f"{file}: this link leads nowhere; mend or remove it.")


def warc_files(
    work: Work, name: str, inputs: list[str], files: int, seed: int, sizes: dict[str, int] | None = None
) -> tuple[list[str], str]:
    """The files behind a source's `input`, and their fingerprint. `installed:` documentation is written first.

    Fills in `sizes` of the files that were found.
    """
    specs = [path for path in inputs if is_installed(path)]
    paths = [path for path in inputs if not is_installed(path)]
    for path in paths:
        check_readable(path)
    found = storage.expand(paths) if paths else []
    mark = fingerprint_files(found, sizes)
    if specs:
        made = crawl(work, name, specs, files, seed)
        found += [storage.join(made.folder, part_name(part)) for part in range(files)]
        mark += made.fingerprint
    if not found:
        raise LodeError(f"{', '.join(inputs)}: no files to read there.")
    return found, mark


@dataclass(frozen=True)
class ReadPages:
    """Pages of several sources; each input is a `page_item`."""

    how: Extraction = field(default_factory=Extraction)

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        for item in inputs:
            source, part, path = item.split("\n", 2)
            start, end = part.split("-")
            yield from extract_pages([path], source, self.how, int(start), int(end) if end else None)


def page_item(source: str, path: str, start: int = 0, end: int | None = None) -> str:
    """What `ReadPages` reads: a file, or the records that begin between two of its bytes."""
    return f"{source}\n{start}-{'' if end is None else end}\n{path}"


def pages(
    work: Work,
    sources: dict[str, Source],
    seed: int,
    name: str = "pages",
    section: PagesSection = PagesSection(),  # noqa: B008 (frozen)
) -> Stage:
    """WARC, WET and HTML files to documents: one part a file, several of a large file whose container allows it."""
    inputs, marks = [], {}
    for source, about in sources.items():
        sizes: dict[str, int] = {}
        files, marks[source] = warc_files(
            work, f"crawl/{source}", about.input, about.crawl_files, seed, sizes
        )
        inputs += [
            page_item(source, path, *part)
            for path in limited(files, about.limit, seed)
            for part in ranges(path, sizes.get(path, 0), section.split_bytes)
        ]

    def build(folder: str) -> Account:
        tasks = [Task(part, (item,)) for part, item in enumerate(inputs)]
        counts = work.map_parts(folder, tasks, PAGE, read=ReadPages(section.extraction), unit="pages")
        if not counts.rows_in:
            raise LodeError(
                f"{', '.join(sources)}: no page in any of the {len(inputs)} input files; are they WARC files?"
            )
        return Account(counts, "pages")

    # Which files, in which order: of a source that is limited the fingerprint covers more than is read. What lies in
    # the work folder is named from there, so that the folder can be moved.
    named = [item.replace(f"{work.folder}/", "") for item in inputs]
    listing = hashlib.sha256("\n".join(named).encode()).hexdigest()
    parameters = {
        "inputs": listing,
        "drop_opt_out": sorted(section.drop_opt_out),
        "expand_macros": section.expand_macros,
    }
    return work.stage(name, PAGE_ROOMS, parameters, marks, build)


def quality(work: Work, before: Stage, section: QualitySection) -> Stage:
    rules = replace(section.rules, lists=section.rules.lists.resolved())
    lists = fingerprint_files([*rules.lists.domains, *rules.lists.urls, *rules.lists.words])

    def build(folder: str) -> Account:
        tasks = [Task(part, (path,)) for part, path in enumerate(before.parts)]
        schema = rules.schema(before.schema)
        return Account(work.map_parts(folder, tasks, schema, rules, unit="pages"), "pages")

    inputs = {"pages": before.fingerprint, "lists": lists}
    return work.stage("quality", QUALITY_ROOMS, section.model_dump(mode="json"), inputs, build)
