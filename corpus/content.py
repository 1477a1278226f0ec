"""Bodies as they come over the wire: containers, media types, transfer and content encodings.

Every decoder here is bounded: a small body that unfolds into gigabytes stops at the limit it is given.
"""

import io
import re
import zlib
from typing import IO

import brotli
import zstandard

_CHUNK = 1 << 16
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
    if head.startswith(b"WARC/"):
        return "plain"
    if head.startswith(b"\x1f\x8b") or (name.endswith(".gz") and not head.startswith(b"\x28\xb5\x2f\xfd")):
        return "gzip"
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") or name.endswith(".zst") else "plain"


def starts_with_record(compressed: bytes, is_gzip: bool) -> bool:
    """Whether compressed bytes begin a WARC record."""
    try:
        if is_gzip:
            return zlib.decompressobj(31).decompress(compressed, 8).startswith(b"WARC/")
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(compressed)) as reader:
            return reader.read(8).startswith(b"WARC/")
    except (zlib.error, zstandard.ZstdError, MemoryError):
        return False


def inflate(stream: IO[bytes], limit: int) -> bytes:
    """At most `limit` bytes of the gzip member at the stream's place."""
    decoder = zlib.decompressobj(31)
    out = bytearray()
    while len(out) < limit and not decoder.eof:
        data = decoder.unconsumed_tail or stream.read(_CHUNK)
        if not data:
            break
        out += decoder.decompress(data, limit - len(out))
    return bytes(out)


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
