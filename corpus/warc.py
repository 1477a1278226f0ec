"""Reading crawls: WARC, WET and loose HTML files as one stream of records.

FastWARC parses the records. This module adds what a real crawl needs around it: a damaged record costs
itself and no other, bodies are decoded within bounds, and what cannot become a page says why.

Reasons where the archive is at fault: `truncated`, `wrong_length`, `record_too_large`, `unreadable_record`,
`truncated_archive`. Where the record holds no page: `revisit`, `not_http`, `not_a_response`,
`derived_record`, `bad_http`, `not_ok_status`, `not_html`, `empty_body`, `bad_content_encoding`.
"""

import dataclasses
import pathlib
import posixpath
import re
import zlib
from collections.abc import Iterator
from typing import IO, Any

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from corpus import content, storage

# The largest block that is read into memory; Common Crawl cuts bodies at 5 MiB.
MAX_RECORD_BYTES = 64 << 20
HTML_SUFFIXES = (".html", ".htm", ".xhtml")
_CHUNK = 1 << 20
_MAX_HEADER = 1 << 16
_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_PLAIN_START = re.compile(rb"\n\r?\n(?=WARC/\d\.\d\r?\n)")
_CONTENT_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d{1,15})[ \t]*\r?$", re.I | re.M)
_IGNORED = (WarcRecordType.warcinfo, WarcRecordType.request, WarcRecordType.metadata)


@dataclasses.dataclass(slots=True)
class Record:
    """One document-bearing record, or the `reason` why it bears none.

    `payload` is the body with every transfer and content encoding undone: HTML, or UTF-8 plain text where
    `is_text` (WET). `status` is None where HTTP was not spoken. `date` is the WARC's own (ISO 8601). `url` is
    null only for damage that left no header; `position` (a byte offset into the file) names such a row.
    """

    url: str | None = None
    status: int | None = None
    content_type: str | None = None
    charset: str | None = None
    payload: bytes = b""
    date: str | None = None
    is_text: bool = False
    position: int = 0
    reason: str | None = None
    detail: str | None = None

    def drop(self, reason: str, detail: str = "") -> "Record":
        self.reason, self.detail, self.payload = reason, detail, b""
        return self


def read_warc(path: str) -> Iterator[Record]:
    """Records of a WARC or WET file (gzip by record or whole, zstd, plain) or of one loose HTML file.

    `path` is local or an fsspec URL. An empty file has no records. Errors of the file system itself (no such
    file, a lost connection) are raised; errors in the file's content become records with a `reason`.
    """
    fs, inside = storage.filesystem(path)
    with fs.open(inside, "rb") as stream:
        head = stream.read(2048)
        if not head:
            return
        stream.seek(0)
        is_archive = head.startswith((_GZIP, _ZSTD, b"WARC/")) or ".warc" in path or ".wet" in path
        if path.lower().endswith(HTML_SUFFIXES) or (not is_archive and content.looks_like_html(head)):
            yield _html_file(path, stream)
        else:
            yield from _Archive(stream, content.container(head, posixpath.basename(path))).records()


def _html_file(path: str, stream: IO[bytes]) -> Record:
    url = pathlib.Path(path).absolute().as_uri() if storage.is_local(path) and "://" not in path else path
    record = Record(url=url, content_type="text/html")
    payload = stream.read(MAX_RECORD_BYTES + 1)
    if len(payload) > MAX_RECORD_BYTES:
        return record.drop("record_too_large", f"more than {MAX_RECORD_BYTES} bytes")
    return _judge_body(record, payload)


class _Stream:
    """A file that remembers its own errors, so that a lost connection is not taken for a damaged archive."""

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self.file.read(size)
        except BaseException as error:
            self.error = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def read_at(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)


class _Archive:
    """Records of one archive, with a fresh start behind every damaged place."""

    def __init__(self, file: IO[bytes], container: str):
        self.stream = _Stream(file)
        self.container = container
        self.size = file.seek(0, 2)
        self.has_responses = False

    def records(self) -> Iterator[Record]:
        start: int | None = 0
        while start is not None:
            # A record is held back until the one behind it parses: only then is its length known to be true.
            held: Record | None = None
            last, seen = start, False
            position, fault = None, None
            self.stream.seek(start)
            records = self._walk(iter(ArchiveIterator(self.stream, parse_http=False)))
            for position, following, problem in records:
                fault = problem
                if position is None:
                    break
                if held is not None:
                    yield held
                held, last, seen = following, position, True
            lost: Record | None = None
            if fault is None:
                # FastWARC takes a member it cannot inflate at all for the end of the file.
                cut = self._is_cut(last, seen)
                start = self._next_start(last + 1) if cut else None
                if cut and start is not None:
                    lost = Record(position=last).drop(
                        "unreadable_record", "unreadable bytes before the next record"
                    )
                elif cut:
                    lost = Record(position=last).drop("truncated_archive", "the file ends inside a record")
            else:
                start = self._next_start(last + 1)
                if position is None and (not seen or self._ends_well(last)):
                    lost = Record(position=last).drop("unreadable_record", fault)
                elif position is None and held is not None and held.reason is None:
                    held.drop("wrong_length", "the block is longer than its Content-Length")
            yield from (record for record in (held, lost) if record is not None)

    def _walk(self, iterator: Iterator[WarcRecord]) -> Iterator[tuple[int | None, Record | None, str | None]]:
        """(position, record or None where it never is a document, fault) until the end or the first fault.

        A fault with a position is that record's own; without one, nothing behind it could be parsed.
        """
        while True:
            raw: WarcRecord | None = None
            try:
                raw = next(iterator, None)
                if raw is None:
                    return
                record, fault = self._open(raw)
            except (KeyboardInterrupt, SystemExit, GeneratorExit):
                raise
            except BaseException as error:  # a panic in FastWARC's Rust is no Exception
                if self.stream.error is not None:
                    raise self.stream.error from None
                fault = f"{type(error).__name__}: {error}"
                if raw is None:
                    yield None, None, fault
                    return
                record = _bare(raw).drop("unreadable_record", fault)
            yield raw.stream_pos, record, fault
            if fault is not None:
                return

    def _open(self, raw: WarcRecord) -> tuple[Record | None, str | None]:
        """The record (None where it never is a document) and what is wrong with its extent in the file."""
        declared = raw.content_length
        if self.container == "plain" and raw.stream_pos + declared > self.size:
            fault = f"block of {declared} bytes reaches beyond the end of the file"
            if raw.record_type in _IGNORED:
                return None, fault
            return _bare(raw).drop("truncated", fault), fault
        if raw.record_type in _IGNORED:
            return None, None
        record = _bare(raw)
        if raw.record_type == WarcRecordType.revisit:
            return record.drop("revisit"), None
        if raw.record_type == WarcRecordType.conversion:
            return self._open_text(raw, record, declared)
        self.has_responses = True
        if raw.record_type != WarcRecordType.response:
            return record.drop("not_a_response", raw.headers.get("WARC-Type") or ""), None
        if not (raw.is_http or (record.url or "").lower().startswith(("http:", "https:"))):
            return record.drop("not_http", raw.headers.get("Content-Type") or ""), None
        return self._open_response(raw, record)

    def _open_text(self, raw: WarcRecord, record: Record, declared: int) -> tuple[Record, str | None]:
        if self.has_responses:
            return record.drop("derived_record", "a conversion beside the responses it was made from"), None
        payload, fault = _block(raw, declared)
        if fault or payload is None:
            return record.drop(*(("truncated", fault) if fault else _TOO_LARGE)), fault
        record.content_type, record.charset, record.is_text = "text/plain", "utf-8", True
        record.payload = payload
        return (record if payload.strip() else record.drop("empty_body")), None

    def _open_response(self, raw: WarcRecord, record: Record) -> tuple[Record, str | None]:
        try:
            raw.parse_http(auto_decode="none", quirks_mode=True)
            headers = raw.http_headers
            record.status = headers.status_code if headers is not None else None
        except (OSError, ValueError) as error:
            return record.drop("bad_http", str(error)), None
        payload, fault = _block(raw, raw.content_length)
        if fault:
            return record.drop("truncated", fault), fault
        if payload is None:
            return record.drop(*_TOO_LARGE), None
        if record.status is None:
            return record.drop("bad_http", "no status line"), None
        record.content_type, record.charset = content.media_type(headers.get_multiple("Content-Type"))
        if record.status != 200:
            return record.drop("not_ok_status", str(record.status)), None
        if not payload:
            return record.drop("empty_body"), None
        try:
            payload = content.undo(
                payload,
                headers.get("Transfer-Encoding") or "",
                headers.get("Content-Encoding") or "",
                MAX_RECORD_BYTES,
            )
        except content.BodyTooLargeError:
            return record.drop("record_too_large", f"more than {MAX_RECORD_BYTES} bytes when decoded"), None
        except content.BadEncodingError as error:
            return record.drop("bad_content_encoding", str(error)), None
        return _judge_body(record, payload), None

    # Damage: where does the next record start, and was the one before it whole?

    def _next_start(self, offset: int) -> int | None:
        """Offset of the first place at or behind `offset` where a record begins, or None."""
        magic = {"gzip": _GZIP, "zstd": _ZSTD}.get(self.container)
        overlap = 64
        while offset < self.size:
            chunk = self.stream.read_at(offset, _CHUNK + overlap)
            if magic is None:
                found = _PLAIN_START.search(chunk)
                if found:
                    return offset + found.end()
            else:
                at = chunk.find(magic)
                while at >= 0:
                    if content.starts_with_record(
                        self.stream.read_at(offset + at, _MAX_HEADER), magic == _GZIP
                    ):
                        return offset + at
                    at = chunk.find(magic, at + 1)
            offset += _CHUNK
        return None

    def _ends_well(self, position: int) -> bool:
        """Whether the record at `position` is followed by the two line ends that close it."""
        if self.container == "plain":
            end = _block_end(self.stream.read_at(position, _MAX_HEADER))
            return end is not None and self.stream.read_at(position + end, 2) in (b"\r\n", b"\n\n")
        if self.container == "gzip":
            inflate = zlib.decompressobj(31)
            try:
                head = inflate.decompress(self.stream.read_at(position, _CHUNK), _MAX_HEADER)
                end = _block_end(head)
                if end is None or end > MAX_RECORD_BYTES:
                    return True
                self.stream.seek(position)
                return content.inflate(self.stream, end + 4)[end:].strip() == b""
            except zlib.error:
                return True
        return True

    def _is_cut(self, position: int, seen: bool) -> bool:
        """Whether bytes are left behind the last record that FastWARC gave up on without a word."""
        if self.container == "gzip":
            self.stream.seek(position)
            return not content.ends_whole(self.stream)
        if self.container == "plain" and seen:
            end = _block_end(self.stream.read_at(position, _MAX_HEADER))
            return end is not None and bool(self.stream.read_at(position + end, _MAX_HEADER).strip())
        return not seen


_TOO_LARGE = ("record_too_large", f"more than {MAX_RECORD_BYTES} bytes")


def _bare(raw: WarcRecord) -> Record:
    headers: Any = raw.headers
    url = (headers.get("WARC-Target-URI") or "").strip().strip("<>") or None
    return Record(url=url, date=headers.get("WARC-Date"), position=raw.stream_pos)


def _block(raw: WarcRecord, declared: int) -> tuple[bytes | None, str | None]:
    """What is left of a record's block (None when too large to hold), and the fault if it is cut short."""
    if declared > MAX_RECORD_BYTES:
        return None, None
    payload = raw.reader.read(declared)
    if len(payload) < declared:
        return payload, f"{len(payload)} of {declared} bytes are there"
    return payload, None


def _block_end(head: bytes) -> int | None:
    """Length of a record (header and block, without the closing line ends), read from its first bytes."""
    blank = re.search(rb"\r?\n\r?\n", head)
    length = _CONTENT_LENGTH.search(head, 0, blank.end()) if blank else None
    return blank.end() + int(length[1]) if blank and length else None


def _judge_body(record: Record, payload: bytes) -> Record:
    if not payload.strip():
        return record.drop("empty_body")
    why = content.why_not_html(record.content_type, payload)
    if why:
        return record.drop("not_html", why)
    record.payload = payload
    return record
