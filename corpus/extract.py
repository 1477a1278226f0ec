"""The first stage: files of a crawl to documents, each record kept or given its reason.

Reading, decoding and extraction happen in one process, record by record, so that raw payloads never travel.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from corpus.charset import decode
from corpus.html import Page, TooDeepError, extract_text
from corpus.schema import DOCUMENT, document_id, to_batches, with_verdict
from corpus.urls import canonical_url, registered_domain
from corpus.warc import Record, read_warc

PAGE = pa.schema(
    [
        *DOCUMENT,
        ("title", pa.string()),
        ("formulas", pa.int32()),  # in `text`, as LaTeX between dollars
        ("code_blocks", pa.int32()),  # in `text`, fenced
        ("date", pa.string()),  # when the page was crawled, ISO 8601
    ]
)
# Common Crawl's own limit is 5 MiB; longer pages are dumps and traps whose extraction takes minutes.
MAX_PAGE_CHARS = 10 << 20


@dataclasses.dataclass(frozen=True)
class Extract:
    """WARC, WET and HTML files to documents: a `path` column in, `PAGE` rows with their verdict out."""

    source: str
    max_page_chars: int = MAX_PAGE_CHARS

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return PAGE

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from extract_pages(batch["path"].to_pylist(), self.source, self.max_page_chars)


def extract_pages(
    paths: list[str], source: str, max_page_chars: int = MAX_PAGE_CHARS
) -> Iterator[pa.RecordBatch]:
    """One row a record of the files at `paths`, in order (`with_verdict(PAGE)`); `language` is left to a later stage.

    Reasons beyond those of `corpus.warc`: `page_too_large` (characters or nesting), `extraction_failed` (detail:
    what was raised), `no_text`. Raises OSError where a file cannot be opened or its storage fails.
    """
    rows = (_row(record, path, source, max_page_chars) for path in paths for record in read_warc(path))
    yield from to_batches(rows, with_verdict(PAGE))


def _row(record: Record, path: str, source: str, max_page_chars: int) -> dict[str, Any]:
    place = f"{path}@{record.position}"
    url = _utf8(record.url) if record.url else None
    row: dict[str, Any] = {
        "id": document_id(source, canonical_url(url) if url else place),
        "source": source,
        "url": url,
        "domain": (registered_domain(url) or None) if url else None,
        # A row without a URL is damage; where it is, is all there is to say about it.
        "path": None if url else place,
        "date": _utf8(record.date) if record.date else None,
        "reason": record.reason,
        "detail": _utf8(record.detail) if record.detail else None,
    }
    if record.reason is None:
        row.update(_extracted(record, max_page_chars))
    return row


def _extracted(record: Record, max_page_chars: int) -> dict[str, Any]:
    if len(record.payload) > 4 * max_page_chars:
        return {"reason": "page_too_large", "detail": f"{len(record.payload)} bytes"}
    text = decode(record.payload, record.charset)
    if len(text) > max_page_chars:
        return {"reason": "page_too_large", "detail": f"{len(text)} characters"}
    try:
        page = _plain(text) if record.is_text else extract_text(text)
    except TooDeepError as error:
        return {"reason": "page_too_large", "detail": str(error)}
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic in Resiliparse's Rust is no Exception
        return {"reason": "extraction_failed", "detail": type(error).__name__}
    if not page.text:
        return {"reason": "no_text", "detail": page.title and _utf8(page.title)}
    return dataclasses.asdict(page)


def _plain(text: str) -> Page:
    return Page(None, " ".join(text.split(" ")).strip(), 0, 0)


def _utf8(text: str) -> str:
    """What Arrow can hold of a header's text."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
