"""A small crawl made from the documentation installed here, as WARC files with gzip per record.

Each page is a request and a response, as Common Crawl writes them, on one domain a package. As in any crawl a
few records are no good, and these are made on purpose: some addresses redirect to a page, some are gone (404,
with an HTML body), some bodies are cut short (`WARC-Truncated: length`), some are not HTML, and some pages
are there a second time under `/latest/`. `render_part` counts each kind. Dates and identifiers come from
hashes, so the same packages give the same bytes.
"""

import base64
import collections
import gzip
import hashlib
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import xxhash

from corpus.docpages import DocPage, render
from corpus.installed import PAGES_PER_PACKAGE, pages_of_part
from corpus.storage import atomic_write, join

MAX_LINKS = 24
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


def write_crawl(
    specs: list[str], folder: str, files: int, seed: int = 0, cap: int = PAGES_PER_PACKAGE
) -> dict[str, int]:
    """`files` WARC files of the documentation that `specs` name, under `folder`; what they hold, by kind.

    `specs` are names as `corpus.installed` reads them; at most about `cap` pages come from one package. To
    write the files at the same time, call `render_part` for each: the bytes are the same.
    """
    total: collections.Counter[str] = collections.Counter()
    for part in range(files):
        total.update(render_part(specs, part, files, join(folder, part_name(part)), seed, cap))
    return dict(sorted(total.items()))


def part_name(part: int) -> str:
    return f"documentation-{part:05d}.warc.gz"


def render_part(
    specs: list[str], part: int, parts: int, path: str, seed: int = 0, cap: int = PAGES_PER_PACKAGE
) -> dict[str, int]:
    """Write file `part` of `parts` to `path`, atomically; returns counts.

    `records` is all responses; `pages` the documentation pages among them, `formulas` and `plain_text` (texts
    whose markup could not be rendered) what is on those; `redirect`, `not_found`, `truncated`, `not_html` and
    `copies` the odd ones; `bytes` the file's size.
    """
    counts: collections.Counter[str] = collections.Counter()
    with atomic_write(path) as file:
        info = (
            b"software: lode\r\nformat: WARC File Format 1.0\r\ndescription: documentation installed here\r\n"
        )
        name = f"info {seed} {part} {parts}"
        file.write(_record("warcinfo", name, "", info, "application/warc-fields", {}))
        for group in pages_of_part(specs, part, parts, seed, cap):
            links = [(page.name.rsplit(".", 1)[-1], page.url) for page in group[:MAX_LINKS]]
            for page in group:
                for kind, record in _records(page, links, seed, counts):
                    counts[kind] += 1
                    counts["records"] += 1
                    file.write(record)
        counts["bytes"] = file.tell()
    return dict(sorted(counts.items()))


def _records(
    page: DocPage, links: list[tuple[str, str]], seed: int, counts: collections.Counter[str]
) -> Iterator[tuple[str, bytes]]:
    """(kind, bytes) of a page's records: the page, and for few pages one of the odd records beside it."""
    text, found = render(page, links)
    counts.update(found)
    body = text.encode("utf-8", "replace")
    yield "pages", _exchange(page.url, "200 OK", "text/html; charset=utf-8", body)
    chance = xxhash.xxh3_64_intdigest(f"odd\n{page.url}".encode(), seed) % 1000
    parts = urlsplit(page.url)
    site = f"{parts.scheme}://{parts.netloc}"
    if chance < 10:
        headers = {"Location": page.url}
        old = f"{site}/old{parts.path}"
        yield "redirect", _exchange(old, "301 Moved Permanently", "text/html", b"", headers)
    elif chance < 20:
        gone = (
            f"<html><head><title>Not found</title></head><body><h1>404</h1><p>{parts.path}</p></body></html>"
        )
        address = f"{site}/v0{parts.path}"
        yield "not_found", _exchange(address, "404 Not Found", "text/html; charset=utf-8", gone.encode())
    elif chance < 25:
        address = f"{site}/print{parts.path}"
        yield "truncated", _exchange(address, "200 OK", "text/html", body[: len(body) // 3], cut=len(body))
    elif chance < 30:
        address = f"{site}/_images{parts.path.removesuffix('.html')}.png"
        yield "not_html", _exchange(address, "200 OK", "image/png", _PIXEL)
    elif chance < 50:
        yield "copies", _exchange(f"{site}/latest{parts.path}", "200 OK", "text/html; charset=utf-8", body)


def _exchange(
    url: str, status: str, content_type: str, body: bytes, headers: dict[str, str] | None = None, cut: int = 0
) -> bytes:
    """A request record and its response record. `cut` is the length the server promised for a cut body."""
    parts = urlsplit(url)
    request = (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: lode\r\n"
        "Accept: text/html\r\nConnection: close\r\n\r\n"
    ).encode()
    lines = [f"HTTP/1.1 {status}", "Server: nginx", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"Content-Length: {cut or len(body)}")
    response = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
    extra = {"WARC-Concurrent-To": _identifier(f"response {url}")}
    first = _record("request", f"request {url}", url, request, "application/http; msgtype=request", extra)
    extra = {"WARC-Payload-Digest": f"sha1:{base64.b32encode(hashlib.sha1(body).digest()).decode()}"}
    if cut:
        extra["WARC-Truncated"] = "length"
    return first + _record(
        "response", f"response {url}", url, response, "application/http; msgtype=response", extra
    )


def _record(kind: str, name: str, url: str, block: bytes, content_type: str, extra: dict[str, str]) -> bytes:
    second = xxhash.xxh3_64_intdigest((url or name).encode()) % 86400
    headers = {
        "WARC-Type": kind,
        "WARC-Record-ID": _identifier(name),
        "WARC-Date": f"2024-01-01T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z",
        **({"WARC-Target-URI": url} if url else {}),
        **extra,
        "Content-Type": content_type,
        "Content-Length": str(len(block)),
    }
    head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return gzip.compress(f"WARC/1.0\r\n{head}\r\n".encode() + block + b"\r\n\r\n", 6, mtime=0)


def _identifier(name: str) -> str:
    return f"<urn:uuid:{uuid.UUID(bytes=xxhash.xxh3_128_digest(name.encode()))}>"
