"""Bodies as they come over the wire: containers, media types, transfer and content encodings.

Every decoder here is bounded: a small body that unfolds into gigabytes stops at the limit it is given.
"""

import contextlib
import io
import re
import struct
import zlib
from typing import IO, Any

import brotli
import zstandard

GZIP, ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
# So many compressed bytes say whether a record begins there; zstd gives out nothing before a block is whole.
RECORD_HEAD = {True: 1 << 12, False: (1 << 17) + (1 << 10)}
_SKIPPABLE, _DICTIONARY_FRAME, _DICTIONARY = b"\x2a\x4d\x18", b"\x5d\x2a\x4d\x18", b"\x37\xa4\x30\xec"
_MAX_DICTIONARY = 16 << 20
_CHUNK, _PIECE = 1 << 16, 1 << 10
_WINDOW, _MAX_REWINDS = 16 << 20, 8
_HTML_TYPES = ("text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml")
# Types that servers send for pages they do not know; the bytes decide.
_VAGUE_TYPES = (
    "",
    "text/plain",
    "application/octet-stream",
    "text/xml",
    "application/xml",
    "unknown/unknown",
)
_HTML_START = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|div|p|table|script)[\s>]", re.I)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:+-]+)", re.I)
_BINARY_MAGIC = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"PK\x03\x04", b"\x1f\x8b", b"RIFF", b"\x7fELF", b"BM",
    b"\x00\x00\x01\x00",
    b"wOFF", b"wOF2", b"OggS", b"ID3", b"Rar!", b"7z\xbc\xaf", b"\xd0\xcf\x11\xe0", b"MZ",
)  # fmt: skip
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")


class BodyTooLargeError(Exception):
    """A decoded body would outgrow its limit."""


class BadEncodingError(Exception):
    """A body is not in the encoding its headers claim, nor plain."""


def container(head: bytes, name: str) -> str:
    """`gzip`, `zstd` or `plain`, by an archive's first bytes, by its name where these are damaged."""
    if re.match(rb"WARC/\d\.\d{1,2}[ \t\r]*\n", head):
        return "plain"
    is_zstd = head.startswith(ZSTD) or (head[1:4] == _SKIPPABLE and head[0] >> 4 == 5)
    if head.startswith(b"\x1f\x8b") or (name.endswith(".gz") and not is_zstd):
        return "gzip"
    return "zstd" if is_zstd or name.endswith(".zst") else "plain"


def dictionary(stream: IO[bytes]) -> bytes | None:
    """The dictionary that a `.warc.zst` begins with, in a frame of its own (IIPC's convention), or None.

    It may itself be compressed. One that is cut short or damaged is None.
    """
    stream.seek(0)
    head = stream.read(8)
    if len(head) < 8 or head[:4] != _DICTIONARY_FRAME:
        return None
    length = struct.unpack("<I", head[4:])[0]
    if length > _MAX_DICTIONARY:
        return None
    data = stream.read(length)
    try:
        data = _unzstd(data, _MAX_DICTIONARY) if data.startswith(ZSTD) else data
        _frames(data)
    except (BodyTooLargeError, zstandard.ZstdError):
        return None
    return data if data.startswith(_DICTIONARY) else None


def dictionary_frame(data: bytes) -> bytes:
    """The frame in which a dictionary stands at the head of a `.warc.zst`."""
    return _DICTIONARY_FRAME + struct.pack("<I", len(data)) + data


def _frames(with_dictionary: bytes | None) -> zstandard.ZstdDecompressor:
    known = zstandard.ZstdCompressionDict(with_dictionary) if with_dictionary else None
    return zstandard.ZstdDecompressor(dict_data=known, max_window_size=1 << 27)


def starts_with_record(compressed: bytes, is_gzip: bool, with_dictionary: bytes | None = None) -> bool:
    """Whether compressed bytes begin a WARC record."""
    try:
        if is_gzip:
            return zlib.decompressobj(31).decompress(compressed, 8).startswith(b"WARC/")
        with _frames(with_dictionary).stream_reader(io.BytesIO(compressed)) as reader:
            return reader.read(8).startswith(b"WARC/")
    except (zlib.error, zstandard.ZstdError, MemoryError):
        return False


def first_member(
    stream: IO[bytes], is_gzip: bool, limit: int, with_dictionary: bytes | None = None
) -> tuple[bytes, bool]:
    """At least `limit` bytes of the gzip member or zstd frame at the stream's place if it has them; whether it ends
    there. Damage ends the bytes."""
    decoder: Any = zlib.decompressobj(31) if is_gzip else _frames(with_dictionary).decompressobj()
    out = bytearray()
    while len(out) < limit and not decoder.eof:
        data = (decoder.unconsumed_tail if is_gzip else b"") or stream.read(_CHUNK if is_gzip else _PIECE)
        if not data:
            break
        before = decoder.copy() if is_gzip else None
        try:
            out += decoder.decompress(data, limit - len(out)) if is_gzip else decoder.decompress(data)
        except (zlib.error, zstandard.ZstdError):
            return bytes(out + (_inflated_before_damage(before, data) if before else b"")), False
    return bytes(out), decoder.eof


def ends_whole(stream: IO[bytes]) -> bool:
    """Whether complete gzip members, and nothing else, follow from the stream's place to its end."""
    decoder = zlib.decompressobj(31)
    data = stream.read(_CHUNK)
    fresh = True
    while data:
        try:
            decoder.decompress(data, 1 << 20)
        except zlib.error:
            return False
        fresh = False
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0") or stream.read(_CHUNK)
            decoder, fresh = zlib.decompressobj(31), True
        else:
            data = decoder.unconsumed_tail or stream.read(_CHUNK)
    return fresh


class Unpacked:
    """What a file holds that was compressed as a whole, as a file to read and seek in.

    Nothing in front of a damaged place is lost; where a later member begins with a record, reading goes on there.
    `faults` says what could not be unpacked, by the offset (into the unpacked bytes) at which it is missing.
    Memory: a window of some 32 MiB; to go further back the file is unpacked from its start again, a few times.
    """

    def __init__(self, file: IO[bytes], is_gzip: bool, with_dictionary: bytes | None = None):
        self.file, self.is_gzip, self.dictionary = file, is_gzip, with_dictionary
        self.faults: dict[int, str] = {}
        self._rewinds = 0
        self._begin()

    def _begin(self) -> None:
        self.file.seek(0)
        self._decoder: Any = None
        self._pending = b""
        self._window, self._base, self._place = bytearray(), 0, 0
        self._ended = False

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0:
            raise OSError("the length of what is compressed is not known")
        if offset < self._base:
            self._rewinds += 1
            if self._rewinds > _MAX_REWINDS:
                self.faults.setdefault(offset, "too many records with wrong lengths")
                self._ended = True
            else:
                self._begin()
        self._place = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        if self._place < self._base:
            return b""
        while not self._ended and (size < 0 or self._base + len(self._window) < self._place + size):
            self._unpack()
            spare = min(len(self._window) - _WINDOW, self._place - self._base)
            if spare > _WINDOW:
                del self._window[:spare]
                self._base += spare
        at = self._place - self._base
        piece = bytes(self._window[at : at + size if size >= 0 else None])
        self._place += len(piece)
        return piece

    def _unpack(self) -> None:
        data = self._pending or self.file.read(_CHUNK if self.is_gzip else _PIECE)
        if self._decoder is None:  # between members, where zeros may fill up a block
            data = data.lstrip(b"\0") if self.is_gzip else data
        if not data:
            if not self._pending and not self.file.read(1):
                self._stop("the file ends inside its compressed data" if self._decoder else None)
            elif not self._pending:
                self.file.seek(-1, 1)
            self._pending = b""
            return
        if self._decoder is None:
            self._decoder = (
                zlib.decompressobj(31) if self.is_gzip else _frames(self.dictionary).decompressobj()
            )
        before = self._decoder.copy() if self.is_gzip else None
        try:
            if self.is_gzip:
                self._window += self._decoder.decompress(data, 1 << 20)
            else:
                self._window += self._decoder.decompress(data)
        except (zlib.error, zstandard.ZstdError) as error:
            if before is not None:
                self._window += _inflated_before_damage(before, data)
            self._resume(str(error), data)
            return
        if self._decoder.eof:
            self._pending, self._decoder = self._decoder.unused_data, None
        else:
            self._pending = self._decoder.unconsumed_tail if self.is_gzip else b""

    def _stop(self, fault: str | None) -> None:
        self._ended = True
        if fault:
            self.faults[self._base + len(self._window)] = fault

    def _resume(self, fault: str, data: bytes) -> None:
        """Go on at the next member that begins with a record, or end here."""
        self.faults[self._base + len(self._window)] = fault
        self._window += b"\r\n\r\n"  # what a record begins behind
        self._decoder, self._pending = None, b""
        magic = GZIP if self.is_gzip else ZSTD
        need = RECORD_HEAD[self.is_gzip]
        at = 1
        while True:
            at = data.find(magic, at)
            if at < 0 or len(data) - at < need:
                more = self.file.read(_CHUNK + need)
                if not more and at < 0:
                    self._ended = True
                    return
                data, at = data[at if at >= 0 else max(0, len(data) - 3) :] + more, 0
                at = data.find(magic)
                if at < 0:
                    at = len(data)
                    continue
            if starts_with_record(data[at : at + need], self.is_gzip, self.dictionary):
                self._pending = data[at:]
                return
            at += 1


def _inflated_before_damage(decoder: Any, data: bytes) -> bytes:
    """All that a gzip decoder gives before it meets the damage in `data`."""
    out = bytearray()
    with contextlib.suppress(zlib.error):
        for byte in data:
            out += decoder.decompress(bytes((byte,)))
    return bytes(out)


def media_type(values: tuple[str, ...] | list[str] | None) -> tuple[str | None, str | None]:
    """Media type and charset of the Content-Type headers, the last valid one deciding (Fetch, 3.5)."""
    kind = charset = None
    for value in values or ():
        essence = value.split(";", 1)[0].split(",")[-1].strip().lower()
        if "/" not in essence:
            continue
        found = _CHARSET.search(value)
        if found or essence != kind:
            charset = found[1].lower() if found else None
        kind = essence
    return kind, charset


def looks_like_html(head: bytes) -> bool:
    """Whether the first bytes of a file are an HTML page's."""
    if head.startswith(_WIDE_BOMS):
        head = head.replace(b"\0", b"")
    return _HTML_START.search(head[:2048]) is not None


def why_not_html(kind: str | None, payload: bytes) -> str | None:
    """Why a body is no HTML page, or None where it is one; a vague declared type is checked by the bytes."""
    head = payload[:4096]
    if head.startswith(_BINARY_MAGIC) and not looks_like_html(head):
        return "binary"
    if kind not in _HTML_TYPES and (kind or "") not in _VAGUE_TYPES:
        return kind
    if kind not in _HTML_TYPES and not looks_like_html(head):
        return kind or "no media type and no HTML in its first bytes"
    # UTF-16 is half zeros in every second place; anything else with so many is no text.
    zeros = head.count(0)
    if zeros > len(head) // 50 and not (
        head.startswith(_WIDE_BOMS) or min(head[0::2].count(0), head[1::2].count(0)) < zeros // 20
    ):
        return "binary"
    return None


def undo(body: bytes, transfer_encoding: str, content_encoding: str, limit: int) -> bytes:
    """`body` without its transfer and content encodings, at most `limit` bytes.

    Crawlers often undo an encoding and leave its header: a body that plainly is not encoded is taken as it
    is. A body cut short gives what can be decoded of it.
    Raises BodyTooLargeError, or BadEncodingError for an encoding that is unknown or does not fit the bytes.
    """
    if "chunked" in transfer_encoding.lower():
        body = _unchunk(body)
    for name in reversed([part.strip().lower() for part in content_encoding.split(",")]):
        if name in ("", "identity", "none", "utf-8", "8bit"):
            continue
        body = _decode(body, name, limit)
    return body


def _unchunk(body: bytes) -> bytes:
    out, at = [], 0
    while at < len(body):
        end = body.find(b"\n", at, at + 1024)
        size = (
            re.fullmatch(rb"\s*([0-9a-fA-F]{1,8})\s*(?:;.*)?", body[at:end].rstrip(b"\r"), re.S)
            if end >= 0
            else None
        )
        if size is None:
            return b"".join(out) if out else body
        length = int(size[1], 16)
        if length == 0:
            break
        out.append(body[end + 1 : end + 1 + length])
        at = end + 1 + length
        if body.startswith(b"\r\n", at):
            at += 2
        elif body.startswith(b"\n", at):
            at += 1
    return b"".join(out)


def _decode(body: bytes, name: str, limit: int) -> bytes:
    if name in ("gzip", "x-gzip"):
        attempts = [_gunzip] if body.startswith(b"\x1f\x8b") else []
    elif name == "deflate":  # the zlib format by the standard, raw deflate from many servers
        attempts = [lambda b, n: _inflate_all(b, n, 15), lambda b, n: _inflate_all(b, n, -15)]
    elif name == "br":
        attempts = [_unbrotli]
    elif name == "zstd":
        attempts = [_unzstd] if body.startswith(b"\x28\xb5\x2f\xfd") else []
    else:
        attempts = []
    # At its very start only: some encodings carry a page's first words as they are, behind their own header.
    if _HTML_START.match(body[:256].removeprefix(b"\xef\xbb\xbf").lstrip()):
        return body
    for attempt in attempts:
        try:
            decoded = attempt(body, limit)
        except (zlib.error, brotli.error, zstandard.ZstdError):
            continue
        if decoded:
            return decoded
    if looks_like_html(body[:2048]):
        return body
    raise BadEncodingError(f"the body is not {name}")


def _inflate_all(body: bytes, limit: int, window: int) -> bytes:
    decoder = zlib.decompressobj(window)
    out = decoder.decompress(body, limit + 1)
    if len(out) > limit:
        raise BodyTooLargeError
    return out


def _gunzip(body: bytes, limit: int) -> bytes:
    out = bytearray()
    while body.startswith(b"\x1f\x8b"):
        decoder = zlib.decompressobj(31)
        try:
            out += decoder.decompress(body, limit + 1 - len(out))
        except zlib.error:
            if not out:
                raise
            break
        if len(out) > limit:
            raise BodyTooLargeError
        body = decoder.unused_data
    return bytes(out)


def _unbrotli(body: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    out = bytearray(decoder.process(body, output_buffer_limit=limit + 1))
    while not decoder.is_finished() and not decoder.can_accept_more_data() and len(out) <= limit:
        out += decoder.process(b"", output_buffer_limit=limit + 1 - len(out))
    if len(out) > limit:
        raise BodyTooLargeError
    return bytes(out)


def _unzstd(body: bytes, limit: int) -> bytes:
    out = bytearray()
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
        io.BytesIO(body), read_across_frames=True
    ) as reader:
        while len(out) <= limit:
            piece = reader.read(min(1 << 20, limit + 1 - len(out)))
            if not piece:
                return bytes(out)
            out += piece
    raise BodyTooLargeError
