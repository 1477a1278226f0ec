"""The first stage: files of a crawl to documents, each record kept or given its reason.

Reading, decoding and extraction happen in one process, record by record, so that raw payloads never travel.
"""

import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from corpus.charset import decode
from corpus.errors import LodeError
from corpus.html import Page, TooDeepError, extract_text
from corpus.opt_out import signals
from corpus.schema import DOCUMENT, document_id, to_batches, with_verdict
from corpus.urls import canonical_url, registered_domain
from corpus.warc import Record, read_warc

PAGE = pa.schema(
    [
        *DOCUMENT,
        ("title", pa.string()),
        ("formulas", pa.int32()),  # in `text`, as LaTeX between dollars
        ("code_blocks", pa.int32()),  # in `text`, fenced
        ("characters", pa.int32()),  # of `text`
        ("words", pa.int32()),  # runs of anything but blanks
        ("lines", pa.int32()),
        ("published", pa.string()),  # the day that the page states, ISO 8601
        ("date", pa.string()),  # when the page was crawled, ISO 8601
        ("opt_out", pa.list_(pa.string())),  # what its publisher asks for: see corpus.opt_out
    ]
)
# Bounds on what one page may cost: 600 MB and a few seconds at the worst. Common Crawl cuts bodies at 5 MiB; what is
# longer, or has more tags, is a dump or a trap: a manual of a megabyte has 40,000 tags.
MAX_PAGE_CHARS = 4 << 20
MAX_TAGS = 150_000
# The bounds above end hostile pages everywhere alike; the clock is for what they do not foresee.
EXTRACTION_SECONDS = 60.0
# So many pages in a row that fail in the same way are no fault of the pages.
_FAILURES_IN_A_ROW = 100


@dataclasses.dataclass(frozen=True)
class Extraction:
    """How pages are extracted.

    Args:
        drop_opt_out: pages with one of these signals (see `corpus.opt_out`) are dropped.
        expand_macros: write out the TeX macros that a page defines; without it formulas are as the page has them.
        max_page_chars: characters of the longest page that is extracted.
        seconds: that the extraction of one page may take; measured in a process's main thread only.
    """

    drop_opt_out: tuple[str, ...] = ()
    expand_macros: bool = False
    max_page_chars: int = MAX_PAGE_CHARS
    seconds: float = EXTRACTION_SECONDS


def extract_pages(
    paths: list[str], source: str, how: Extraction = Extraction(), start: int = 0, end: int | None = None
) -> Iterator[pa.RecordBatch]:
    """One row a record of the files at `paths`, in order (`with_verdict(PAGE)`); `language` is left to a later stage.

    `start` and `end`: only records that begin there, in bytes of the file (see `corpus.warc.ranges`).

    Reasons beyond those of `corpus.warc`: `page_too_large` (characters, tags or nesting), `opted_out` (detail: the
    signal), `extraction_timeout`, `extraction_failed` (detail: what was raised), `no_text`. Raises OSError where a
    file cannot be opened or its storage fails, LodeError where no page at all can be extracted.
    """
    yield from to_batches(_rows(paths, source, how, start, end), with_verdict(PAGE))


def _rows(
    paths: list[str], source: str, how: Extraction, start: int, end: int | None
) -> Iterator[dict[str, Any]]:
    failures: list[str] | None = []
    for path in paths:
        for record in read_warc(path, start, end):
            row = _identity(record, path, source)
            if record.reason is None:
                row.update(_extracted(record, how))
                if row["reason"] != "extraction_failed":
                    failures = None if "text" in row else failures
                elif failures is not None:
                    failures.append(row["detail"])
                    _check_failures(failures, path)
            yield row


def _check_failures(failures: list[str], path: str) -> None:
    """Stop where nothing has worked: an extractor that is broken would otherwise drop a whole crawl, page by page."""
    if len(failures) >= _FAILURES_IN_A_ROW and len(set(failures)) == 1:
        raise LodeError(
            f"{path}: the first {len(failures)} pages all failed with {failures[0]}, so extraction does not work on "
            "this machine; reinstall Lode and its packages there."
        )


def _identity(record: Record, path: str, source: str) -> dict[str, Any]:
    place = f"{path}@{record.position}"
    url = _utf8(record.url) if record.url else None
    return {
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


def _extracted(record: Record, how: Extraction) -> dict[str, Any]:
    if len(record.payload) > 4 * how.max_page_chars:
        return {"reason": "page_too_large", "detail": f"{len(record.payload)} bytes"}
    text = decode(record.payload, record.charset)
    if len(text) > how.max_page_chars:
        return {"reason": "page_too_large", "detail": f"{len(text)} characters"}
    if not record.is_text and (tags := text.count("<")) > MAX_TAGS:
        return {"reason": "page_too_large", "detail": f"{tags} tags"}
    try:
        opt_out = [] if record.is_text else [_utf8(signal) for signal in signals(record.directives, text)]
        if refused := set(how.drop_opt_out).intersection(opt_out):
            return {"reason": "opted_out", "detail": min(refused)}
        if record.is_text:
            page = Page(None, text.strip())
        else:
            page = in_time(lambda: extract_text(text, how.expand_macros), how.seconds)
    except TooDeepError as error:
        return {"reason": "page_too_large", "detail": str(error)}
    except TimeoutError:
        return {"reason": "extraction_timeout", "detail": f"{how.seconds:g} seconds"}
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic in a Rust library is no Exception
        return {"reason": "extraction_failed", "detail": type(error).__name__}
    if not page.text:
        return {"reason": "no_text", "detail": page.title and _utf8(page.title)}
    return {
        **{name: getattr(page, name) for name in _PAGE_FIELDS},
        "characters": len(page.text),
        "words": len(page.text.split()),
        "lines": page.text.count("\n") + 1,
        "opt_out": opt_out,
    }


_PAGE_FIELDS = [field.name for field in dataclasses.fields(Page)]


class _TimeUpError(BaseException):
    """Raised by the alarm; no `except Exception` in between may take it for an error of the page."""


def in_time(function: Callable[[], Page], seconds: float) -> Page:
    """`function()`, or TimeoutError after `seconds` of wall time; outside a process's main thread without limit.

    A call into C or Rust is not interrupted: what it is given has to be bounded.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL
    ):
        return function()
    expired = False

    def ring(*_: Any) -> None:
        nonlocal expired
        expired = True
        raise _TimeUpError

    signal.signal(signal.SIGALRM, ring)
    try:
        # Again every second: the first may be lost in a library that turns it into an error of its own.
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        page = function()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if expired:
            raise TimeoutError from None
        raise
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return page


def _utf8(text: str) -> str:
    """What Arrow can hold of a header's text."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
