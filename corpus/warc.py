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

from corpus import content, opt_out, storage

# The largest block that is read into memory; Common Crawl cuts bodies at 5 MiB.
MAX_RECORD_BYTES = 64 << 20
HTML_SUFFIXES = (".html", ".htm", ".xhtml")
# Larger files are shared out between workers, where their container allows it.
SPLIT_BYTES = 256 << 20
# A worker that starts inside a file reads from so far in front of its own part: an archive that lies inside a record
# is then passed with its record, and not taken for records of the crawl.
_LOOK_BACK = 8 << 20
_CHUNK = 1 << 20
_MAX_HEADER = 1 << 16
# Whatever FastWARC takes for a record's first line, so that all readers of a file agree where records begin.
_PLAIN_START = re.compile(rb"WARC/[01]\.\d{1,2}[ \t\r]{0,20}\n")
_CONTENT_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d{1,15})[ \t]*\r?$", re.I | re.M)
_IGNORED = (WarcRecordType.warcinfo, WarcRecordType.request, WarcRecordType.metadata)


@dataclasses.dataclass(slots=True)
class Record:
    """One document-bearing record, or the `reason` why it bears none.

    `payload` is the body with every transfer and content encoding undone: HTML, or UTF-8 plain text where
    `is_text` (WET). `status` is None where HTTP was not spoken. `date` is the WARC's own (ISO 8601). `url` is
    null only for damage that left no header; `position` (a byte offset into the file, into what it unpacks to where it
    is compressed as a whole) names such a row.
    """

    url: str | None = None
    status: int | None = None
    content_type: str | None = None
    charset: str | None = None
    payload: bytes = b""
    date: str | None = None
    is_text: bool = False
    directives: tuple[tuple[str, str], ...] = ()
    position: int = 0
    reason: str | None = None
    detail: str | None = None

    def drop(self, reason: str, detail: str = "") -> "Record":
        self.reason, self.detail, self.payload = reason, detail, b""
        return self


def read_warc(path: str, start: int = 0, end: int | None = None) -> Iterator[Record]:
    """Records of a WARC or WET file (gzip by record or whole, zstd, plain) or of one loose HTML file.

    `path` is local or an fsspec URL. Only records that begin at `start` or behind and before `end` (bytes of the file,
    see `ranges`) are given: together the parts of a file give each of its records once. An empty file has no records.
    Errors of the file system itself (no such file, a lost connection) are raised; errors in the file's content become
    records with a `reason`.
    """
    fs, inside = storage.filesystem(path)
    with fs.open(inside, "rb") as stream:
        kind = _kind(stream, path)
        if kind == "html":
            if start == 0:
                yield _html_file(path, stream)
        elif kind != "empty":
            yield from _Archive(stream, kind).records(start, end)


def ranges(path: str, size: int, split_bytes: int = SPLIT_BYTES) -> list[tuple[int, int | None]]:
    """Parts of a file of `size` bytes for `read_warc`, of `split_bytes` each.

    One part where it is no larger, and where records have no places of their own (gzip or zstd as a whole). Only a
    larger file is opened.
    """
    if size <= split_bytes:
        return [(0, None)]
    fs, inside = storage.filesystem(path)
    with fs.open(inside, "rb") as stream:
        kind = _kind(stream, path)
        if kind not in ("plain", "gzip", "zstd") or (kind != "plain" and not _is_by_record(stream, kind)):
            return [(0, None)]
    starts = list(range(0, size, split_bytes))
    return list(zip(starts, [*starts[1:], None], strict=True))


def _kind(stream: IO[bytes], path: str) -> str:
    """`html`, `empty`, or an archive's container: `plain`, `gzip`, `zstd`, `whole gzip`, `whole zstd`."""
    head = stream.read(2048)
    if not head:
        return "empty"
    is_archive = (
        content.container(head, "") != "plain"
        or head.startswith(b"WARC/")
        or ".warc" in path
        or ".wet" in path
    )
    if path.lower().endswith(HTML_SUFFIXES) or (not is_archive and content.looks_like_html(head)):
        stream.seek(0)
        return "html"
    kind = content.container(head, posixpath.basename(path))
    if kind == "plain":
        return kind
    head, end, _ = _first_record(stream, kind)
    return f"whole {kind}" if end and head[end:].lstrip(b"\r\n").startswith(b"WARC/") else kind


def _is_by_record(stream: IO[bytes], kind: str) -> bool:
    """Whether the first member holds one record and nothing else, so that the others may be taken to as well."""
    head, end, ended = _first_record(stream, kind)
    return bool(end) and ended and len(head) >= end and not head[end:].strip()


def _first_record(stream: IO[bytes], kind: str) -> tuple[bytes, int | None, bool]:
    """The unpacked start of an archive's first member, where its first record ends in it, whether the member ends."""
    known = content.dictionary(stream) if kind == "zstd" else None
    limit = _MAX_HEADER
    while True:
        stream.seek(_first_frame(stream) if kind == "zstd" else 0)
        head, ended = content.first_member(stream, kind == "gzip", limit, known)
        end = _block_end(head)
        if end is None or ended or limit >= min(end + 16, MAX_RECORD_BYTES):
            return head, end, ended
        limit = min(end + 16, MAX_RECORD_BYTES)


def _first_frame(stream: IO[bytes]) -> int:
    """Where the first zstd frame with content lies, behind those that readers skip."""
    at = 0
    while True:
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8 or head[1:4] != b"\x2a\x4d\x18" or head[0] >> 4 != 5:
            return at
        at += 8 + int.from_bytes(head[4:], "little")


def _html_file(path: str, stream: IO[bytes]) -> Record:
    url = pathlib.Path(path).absolute().as_uri() if storage.is_local(path) and "://" not in path else path
    record = Record(url=url, content_type="text/html")
    payload = stream.read(MAX_RECORD_BYTES + 1)
    if len(payload) > MAX_RECORD_BYTES:
        return record.drop("record_too_large", f"more than {MAX_RECORD_BYTES} bytes")
    return _judge_body(record, payload)


class _Stream:
    """A file that remembers its own errors, so that a lost connection is not taken for a damaged archive.

    What stands in `prefix` is read before it: the dictionary that every part of a zstd file needs.
    """

    def __init__(self, file: Any):
        self.file = file
        self.prefix = b""
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        if self.prefix:
            piece, self.prefix = self.prefix[:size], self.prefix[size:]
            return piece
        try:
            return self.file.read(size)
        except BaseException as error:
            self.error = error
            raise

    def tell(self) -> int:
        return 0

    def read_at(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)


class _Archive:
    """Records of one archive, with a fresh start behind every damaged place."""

    def __init__(self, file: IO[bytes], kind: str):
        self.container = "plain" if kind.startswith("whole") else kind
        self.dictionary = content.dictionary(file) if kind.endswith("zstd") else None
        self.first = _first_frame(file) if kind == "zstd" else 0
        self.unpacked: content.Unpacked | None = None
        self.size: int | None = None
        if kind.startswith("whole"):
            self.unpacked = content.Unpacked(file, kind == "whole gzip", self.dictionary)
        else:
            self.size = file.seek(0, 2)
        self.stream = _Stream(self.unpacked or file)
        self.shift = 0
        # Of the first document: conversions beside the responses they were made from are no documents.
        self.has_responses: bool | None = None

    def records(self, first: int = 0, end: int | None = None) -> Iterator[Record]:
        start: int | None = self.first
        if first > 0:
            for _ in self._chain(start, None):
                if self.has_responses is not None:
                    break
            if first - _LOOK_BACK > self.first:
                start = self._next_start(first - _LOOK_BACK)
        for record in self._chain(start, end):
            if record.position >= first:
                yield record
        if self.unpacked:
            for offset, fault in sorted(self.unpacked.faults.items()):
                yield Record(position=offset).drop("truncated_archive", f"damaged compressed data: {fault}")

    def _chain(self, start: int | None, end: int | None) -> Iterator[Record]:
        """Records from `start`, where one begins, up to the first that begins at `end` or behind."""
        while start is not None and (end is None or start < end):
            # A record is held back until the one behind it parses: only then is its length known to be true.
            held: Record | None = None
            last, seen = start, False
            position, fault = None, None
            records = self._walk(self._iterator(start))
            for position, following, problem in records:
                fault = problem
                if position is None:
                    break
                if end is not None and position >= end:
                    if held is not None:
                        yield held
                    return
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
                elif self.container == "plain" and held and held.reason is None and not self._ends_well(last):
                    # A last record that does not end as records do may have taken in what stands behind it.
                    start = self._next_start(last + 1)
                    if start is not None:
                        held.drop("wrong_length", "the block is shorter than its Content-Length")
            else:
                start = self._next_start(last + 1)
                if position is None and (not seen or self._ends_well(last)):
                    lost = Record(position=last).drop("unreadable_record", fault)
                elif position is None and held is not None and held.reason is None:
                    held.drop("wrong_length", "the block is longer than its Content-Length")
            yield from (record for record in (held, lost) if record is not None)

    def _iterator(self, start: int) -> Iterator[WarcRecord]:
        self.stream.file.seek(start)
        self.stream.prefix = b""
        if self.container == "zstd" and self.dictionary:
            self.stream.prefix = content.dictionary_frame(self.dictionary)
        # FastWARC counts what it is given from 0.
        self.shift = start - len(self.stream.prefix)
        return iter(ArchiveIterator(self.stream, parse_http=False))

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
                record = self._bare(raw).drop("unreadable_record", fault)
            yield raw.stream_pos + self.shift, record, fault
            if fault is not None:
                return

    def _open(self, raw: WarcRecord) -> tuple[Record | None, str | None]:
        """The record (None where it never is a document) and what is wrong with its extent in the file."""
        declared = raw.content_length
        if self.container == "plain" and self.size and raw.stream_pos + self.shift + declared > self.size:
            fault = f"block of {declared} bytes reaches beyond the end of the file"
            if raw.record_type in _IGNORED:
                return None, fault
            return self._bare(raw).drop("truncated", fault), fault
        if raw.record_type in _IGNORED:
            return None, None
        record = self._bare(raw)
        if raw.record_type == WarcRecordType.revisit:
            return record.drop("revisit"), None
        if self.has_responses is None:
            self.has_responses = raw.record_type != WarcRecordType.conversion
        if raw.record_type == WarcRecordType.conversion:
            return self._open_text(raw, record, declared)
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
        record.directives = tuple(
            (name, value) for name in opt_out.HEADERS for value in headers.get_multiple(name)
        )
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

    def _bare(self, raw: WarcRecord) -> Record:
        headers: Any = raw.headers
        url = (headers.get("WARC-Target-URI") or "").strip().strip("<>") or None
        return Record(url=url, date=headers.get("WARC-Date"), position=raw.stream_pos + self.shift)

    # Damage: where does the next record start, and was the one before it whole?

    def _next_start(self, offset: int) -> int | None:
        """Offset of the first place at or behind `offset` where a record begins, or None."""
        magic = {"gzip": content.GZIP, "zstd": content.ZSTD}.get(self.container)
        overlap = 64
        while chunk := self.stream.read_at(offset, _CHUNK + overlap):
            if magic is None:
                found = _PLAIN_START.search(chunk)
                if found:
                    return offset + found.start()
            else:
                is_gzip = self.container == "gzip"
                at = chunk.find(magic)
                while at >= 0:
                    head = self.stream.read_at(offset + at, content.RECORD_HEAD[is_gzip])
                    if content.starts_with_record(head, is_gzip, self.dictionary):
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
                self.stream.file.seek(position)
                return content.first_member(self.stream.file, True, end + 4)[0][end:].strip() == b""
            except zlib.error:
                return True
        return True

    def _is_cut(self, position: int, seen: bool) -> bool:
        """Whether bytes are left behind the last record that FastWARC gave up on without a word."""
        if self.container == "gzip":
            self.stream.file.seek(position)
            return not content.ends_whole(self.stream.file)
        if self.container == "plain" and seen:
            end = _block_end(self.stream.read_at(position, _MAX_HEADER))
            return end is not None and bool(self.stream.read_at(position + end, _MAX_HEADER).strip())
        return not seen


_TOO_LARGE = ("record_too_large", f"more than {MAX_RECORD_BYTES} bytes")


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
