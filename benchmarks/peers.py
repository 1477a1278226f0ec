"""Other extractors, run in an interpreter of their own; this file imports nothing of Lode.

    PYTHON benchmarks/peers.py EXTRACTOR < pages.jsonl > texts.jsonl
    PYTHON benchmarks/peers.py EXTRACTOR OUT WARC...

Each line in is a page's HTML as a JSON string, each line out the text extracted of it, null where there was none.
With WARC files, texts are written to the folder OUT and the time it took is printed. What to install:

    pip install trafilatura==2.3.1 resiliparse==2.0.1 fastwarc==2.0.1 readability-lxml==0.9 justext==3.0.2 \\
        html2text==2025.4.15 datatrove==0.10.1 warcio python-magic faust-cchardet orjson
    pip install haruka-parser==0.2.0 resiliparse==0.14.7 fastwarc==0.14.7 readability-lxml inscriptis==2.3.2 \\
        lxml-html-clean py-asciimath tabulate pyyaml ftfy numpy        (openwebmath, in an environment of its own)
"""

import contextlib
import gzip
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator

EXTRACTORS = (
    "trafilatura", "trafilatura_no_comments", "trafilatura_precision", "trafilatura_recall",
    "resiliparse", "resiliparse_strict", "readability", "justext", "html2text", "all_text",
)  # fmt: skip


def extractor(name: str) -> Callable[[str], str | None]:
    """HTML to text, with the settings that the name stands for and the library's defaults for the others."""
    if name.startswith("trafilatura"):
        from trafilatura import extract

        settings = {
            "trafilatura": {},
            "trafilatura_no_comments": {"include_comments": False},
            "trafilatura_precision": {"favor_precision": True},
            "trafilatura_recall": {"favor_recall": True},
        }[name]
        return lambda html: extract(html, **settings)
    if name in ("resiliparse", "resiliparse_strict", "all_text"):
        from resiliparse.extract.html2text import extract_plain_text

        settings = {
            "resiliparse": {"main_content": True},
            "resiliparse_strict": {"main_content": True, "alt_texts": False, "comments": False},
            "all_text": {},
        }[name]
        return lambda html: extract_plain_text(html, **settings)
    if name == "readability":
        from lxml import html as lxml_html
        from readability import Document
        from resiliparse.extract.html2text import extract_plain_text

        def readability(html: str) -> str:
            summary = Document(html).summary()
            return extract_plain_text(summary) if lxml_html.fromstring(summary) is not None else ""

        return readability
    if name == "justext":
        import justext

        # Its stop word lists are per language and its caller's to choose; a crawl's pages are not known beforehand.
        words = frozenset().union(*map(justext.get_stoplist, justext.get_stoplists()))
        return lambda html: "\n".join(
            paragraph.text
            for paragraph in justext.justext(html.encode(), words, encoding="utf-8")
            if not paragraph.is_boilerplate
        )
    if name == "html2text":
        import html2text

        def markdown(html: str) -> str:
            parser = html2text.HTML2Text(bodywidth=0)
            parser.ignore_links = parser.ignore_images = True
            return parser.handle(html)

        return markdown
    raise SystemExit(f"no extractor {name!r}; there are {', '.join(EXTRACTORS)}")


def openwebmath() -> Callable[[bytes], str | None]:
    """OpenWebMath's extractor as haruka-parser 0.2.0 packages it, with Resiliparse for the text as in the original."""
    from collections import defaultdict

    import haruka_parser.extract as haruka
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    # The fork writes text with Inscriptis where there is a tree, and as the original does where there is none.
    haruka.get_lxml_tree = lambda html: None
    settings = defaultdict(bool, {
        "extract_latex": True, "escape_dollars": True, "markdown_code": True, "markdown_headings": True,
        "remove_buttons": True, "remove_edit_buttons": True, "remove_image_figures": True,
        "table_config": {"format": "markdown", "min_rows": 2, "min_cols": 2},
        "boilerplate_config": {"enable": True, "ratio_threshold": 0.18, "absolute_threshold": 10, "end_threshold": 15},
    })  # fmt: skip
    return lambda html: haruka.extract_text(bytes_to_str(html, detect_encoding(html)), settings)[0]


def bytes_extractor(name: str) -> Callable[[bytes], str | None]:
    """A page as it was crawled to text; decoding is part of it."""
    if name == "openwebmath":
        return openwebmath()
    extract = extractor(name)
    if name.startswith("trafilatura"):
        return extract  # type: ignore[return-value]
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    return lambda html: extract(bytes_to_str(html, detect_encoding(html)))


def pages(path: str) -> Iterator[tuple[str, bytes]]:
    """URL and body of the HTML pages of a WARC file, without bodies that are not encoded as they say."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with open(path, "rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
            kind = record.http_content_type or "text/html"
            if not record.http_headers or record.http_headers.status_code != 200 or "html" not in kind:
                continue
            body = record.reader.read()
            encoding = record.http_headers.get("Content-Encoding", "")
            with contextlib.suppress(zlib.error):
                if encoding in ("gzip", "deflate"):
                    body = zlib.decompress(body, 47 if encoding == "gzip" or body[:1] == b"\x78" else -15)
                if encoding != "br":
                    yield record.headers.get("WARC-Target-URI", ""), body


def crawl(name: str, out: str, paths: list[str]) -> dict[str, float]:
    """WARC files to JSON lines; seconds from the first record to the last line, after imports and a first page."""
    if name == "datatrove":
        return datatrove(out, paths)
    extract = bytes_extractor(name)
    with contextlib.suppress(Exception):
        extract(b"<html><body><p>A page to warm up with.</p></body></html>")
    count = failed = 0
    began, before = time.perf_counter(), time.process_time()
    with gzip.open(f"{out}/texts.jsonl.gz", "wt", compresslevel=1) as lines:
        for path in paths:
            for url, html in pages(path):
                count += 1
                try:
                    text = extract(html)
                except Exception:
                    failed += 1
                    continue
                if text:
                    lines.write(json.dumps({"url": url, "text": text}) + "\n")
    return {"seconds": time.perf_counter() - began, "cpu_before": before, "pages": count, "failed": failed}


def datatrove(out: str, paths: list[str]) -> dict[str, float]:
    """datatrove's own reader, extractor and writer, one task in this process."""
    import os

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import JsonlWriter

    with open(f"{out}/paths.txt", "w") as listing:
        listing.writelines(os.path.basename(path) + "\n" for path in paths)
    count = 0

    def counted(data, rank=0, world_size=1):  # type: ignore[no-untyped-def]
        nonlocal count
        for document in data:
            count += 1
            yield document

    reader = WarcReader(os.path.dirname(os.path.abspath(paths[0])), paths_file=f"{out}/paths.txt")
    steps = [reader, counted, Trafilatura(), JsonlWriter(f"{out}/texts")]
    executor = LocalPipelineExecutor(pipeline=steps, tasks=1, workers=1, logging_dir=f"{out}/logs")
    began, before = time.perf_counter(), time.process_time()
    executor.run()
    return {"seconds": time.perf_counter() - began, "cpu_before": before, "pages": count}


def main() -> None:
    if len(sys.argv) > 2:
        name, out, *paths = sys.argv[1:]
        print(json.dumps(crawl(name, out, paths)))
        return
    extract = extractor(sys.argv[1])
    for line in sys.stdin:
        try:
            text = extract(json.loads(line))
        except Exception as error:  # what an extractor raises on a page is its result
            print(f"{sys.argv[1]}: {type(error).__name__}: {error}", file=sys.stderr)
            text = None
        print(json.dumps(text), flush=True)


if __name__ == "__main__":
    main()
