"""A small crawl on this disk, laid out as Common Crawl lays out its own, and a server that serves it badly."""

import base64
import collections
import contextlib
import gzip
import hashlib
import http.server
import pathlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

CRAWL = "CC-MAIN-2024-10"
SLOW_DOWN = (
    b"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>SlowDown</Code>"
    b"<Message>Please reduce your request rate.</Message></Error>"
)
# Of the columns of the real index those that matter here, with their types there.
INDEX = pa.schema(
    [
        ("url_surtkey", pa.string()),
        ("url", pa.string()),
        ("url_host_name", pa.string()),
        ("url_host_registered_domain", pa.string()),
        ("fetch_status", pa.int16()),
        ("content_digest", pa.string()),
        ("content_mime_detected", pa.string()),
        ("content_languages", pa.string()),
        ("warc_filename", pa.string()),
        ("warc_record_offset", pa.int32()),
        ("warc_record_length", pa.int32()),
    ]
)


def member(kind: str, url: str, block: bytes, media: str, **more: str) -> bytes:
    lines = ["WARC/1.0", f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", "WARC-Date: 2024-02-20T21:10:55Z"]
    lines += [f"WARC-Record-ID: <urn:uuid:{hashlib.md5(kind.encode() + block).hexdigest()}>"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    head = "\r\n".join([*lines, f"Content-Type: {media}", f"Content-Length: {len(block)}"])
    return gzip.compress(head.encode() + b"\r\n\r\n" + block + b"\r\n\r\n", 6, mtime=0)


def sha1(data: bytes) -> str:
    return base64.b32encode(hashlib.sha1(data).digest()).decode()


def build(folder: pathlib.Path, files: int = 6, pages: int = 12, row_group_rows: int = 8) -> list[dict]:
    """Write a crawl below `folder`; returns its index rows. Every third page is German, every fifth a PDF."""
    rows: list[dict] = []
    listed: dict[str, list[str]] = {"warc": [], "wet": [], "cc-index-table": []}
    for number in range(files):
        segment = f"crawl-data/{CRAWL}/segments/17079474{number % 2}.0"
        warc = f"{segment}/warc/CC-MAIN-20240220211055-20240221001055-{number:05d}.warc.gz"
        wet = warc.replace("/warc/", "/wet/").replace(".warc.gz", ".warc.wet.gz")
        data, text = bytearray(), bytearray()
        for page in range(pages):
            host = f"{'www' if page % 2 else 'docs'}.site{(number * pages + page) % 7}.org"
            url = f"https://{host}/{number}/page_{page}%20x.html"
            noise = random.Random(f"{number} {page}").randbytes(4000).hex()
            body = f"<html><title>{page}</title><body><p>Page {page} of {host}.</p>{noise}</body></html>".encode()
            request = b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n"
            data += member("request", url, request, "application/http; msgtype=request")
            offset = len(data)
            block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
            block_digest, digest = sha1(block), sha1(body)
            data += member(
                "response", url, block, "application/http; msgtype=response",
                WARC_Block_Digest=f"sha1:{block_digest}", WARC_Payload_Digest=f"sha1:{digest}",
            )  # fmt: skip
            text += member("conversion", url, f"Page {page} of {host}.".encode(), "text/plain")
            rows.append(
                {
                    "url_surtkey": ",".join(reversed(host.removeprefix("www.").split(".")))
                    + f")/{number}/page_{page}",
                    "url": url,
                    "url_host_name": host,
                    "url_host_registered_domain": ".".join(host.split(".")[-2:]),
                    "fetch_status": 200,
                    "content_digest": digest,
                    "content_mime_detected": "application/pdf" if page % 5 == 0 else "text/html",
                    "content_languages": "deu,eng" if page % 3 == 0 else None if page % 7 == 0 else "eng",
                    "warc_filename": warc,
                    "warc_record_offset": offset,
                    "warc_record_length": len(data) - offset,
                }
            )
        for name, content in ((warc, data), (wet, text)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        listed["warc"].append(warc)
        listed["wet"].append(wet)
    rows.sort(key=lambda row: row["url_surtkey"])
    half = len(rows) // 2
    for subset, part in (("warc", rows[:half]), ("warc", rows[half:]), ("crawldiagnostics", rows[:3])):
        place = f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset={subset}"
        name = f"{place}/part-{len(listed['cc-index-table']):05d}-c000.gz.parquet"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(part, INDEX)
        pq.write_table(table, folder / name, compression="gzip", row_group_size=row_group_rows)
        listed["cc-index-table"].append(name)
    for kind, names in listed.items():
        path = folder / f"crawl-data/{CRAWL}/{kind}.paths.gz"
        path.write_bytes(gzip.compress("\n".join(names).encode() + b"\n"))
    return rows


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder; for paths that end in a key of `faults`, its next fault is played first.

    `log` has (path, Range header) of every request; `busy` the greatest number of answers at one time; `pace` is a
    pause in seconds after every `piece` of bytes; `sent` counts bytes by path.
    """

    daemon_threads = True

    def __init__(self, folder: pathlib.Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.faults: dict[str, list[str]] = {}
        self.log: list[tuple[str, str | None]] = []
        self.ranges = True
        self.honest_tags = True
        self.pace = 0.0
        self.piece = 2000
        self.sent: collections.Counter[str] = collections.Counter()
        self.version: collections.Counter[str] = collections.Counter()
        self.open = self.busy = 0
        self._contents: dict[tuple[str, int], tuple[bytes, str]] = {}
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.budget: int | None = None
        self.held = threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def content(self, path: str, version: int) -> tuple[bytes, str]:
        """A file, with a record more where its version is not 0, and its MD5."""
        if (path, version) not in self._contents:
            data = (self.folder / path).read_bytes()
            if version and path.endswith(".warc.gz"):
                data += member("metadata", "", str(version).encode(), "text/plain")
            self._contents[path, version] = (data, hashlib.md5(data).hexdigest())
        return self._contents[path, version]

    def next_fault(self, path: str) -> str | None:
        with self.lock:
            for ending, faults in self.faults.items():
                if path.endswith(ending) and faults:
                    return faults.pop(0)
        return None

    def hold_after(self, budget: int | None) -> None:
        """Send so many more bytes, then set `held` and send nothing until the next call."""
        self.released.set()
        self.released, self.held, self.budget = threading.Event(), threading.Event(), budget

    def handle_error(self, request, client_address) -> None:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.open += 1
            self.server.busy = max(self.server.busy, self.server.open)
        try:
            self.answer()
        finally:
            with self.server.lock:
                self.server.open -= 1

    def answer(self) -> None:
        path, asked = self.path.lstrip("/"), self.headers.get("Range")
        self.server.log.append((path, asked))
        fault = self.server.next_fault(path) or ""
        if fault.startswith("5") or fault.startswith("4"):
            status, _, wait = fault.partition(" ")
            more = {"Retry-After": wait} if wait else {}
            self.reply(int(status), SLOW_DOWN if status == "503" else b"", more)
            return
        if fault == "denied":
            self.reply(403, SLOW_DOWN.replace(b"SlowDown", b"AccessDenied"), {"Server": "AmazonS3"})
            return
        if fault == "reset":
            self.reset()
            return
        if fault == "xml200":
            self.reply(200, SLOW_DOWN)
            return
        if fault == "changed":
            self.server.version[path] += 1
        file = self.server.folder / path
        if not file.is_file():
            self.reply(404, b"")
            return
        version = self.server.version[path]
        data, digest = self.server.content(path, version)
        tag = f'"{digest}"' if self.server.honest_tags else f'"v{version}-0"'
        start, stop, status = 0, len(data), 200
        more = {"ETag": tag, "Server": "AmazonS3"}
        same = self.headers.get("If-Range") in (None, tag) or fault == "ignores If-Range"
        if asked and same and self.server.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop, status = int(first), min(int(last or len(data) - 1) + 1, len(data)), 206
            if start >= len(data):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            more["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            if fault == "wrong range":
                more["Content-Range"] = f"bytes {start + 1}-{stop}/{len(data)}"
        body = data[start:stop]
        half = len(body) // 2
        if fault == "other bytes":
            body = gzip.compress(b"WARC/1.0\r\n\r\n" + bytes(9))
        if fault == "flip":
            body = body[:half] + bytes([body[half] ^ 0x55]) + body[half + 1 :]
        if fault == "no length":
            self.close_connection = True
            self.send_response_only(200)
            self.end_headers()
            self.wfile.write(body)
            return
        if fault == "short length":
            body = body[:half]
        length = len(body) + (1000 if fault == "long length" else 0)
        if fault == "short length":
            more.pop("Content-Range", None)
            status = 200
        self.send_response_only(status)
        for name, value in (more | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()
        if fault in ("truncate", "stall", "reset inside"):
            self.pay(half)
            self.wfile.write(body[:half])
            self.server.sent[path] += half
            self.wfile.flush()
            if fault == "stall":
                self.server.released.wait(20)
            if fault == "reset inside":
                self.reset()
            self.close_connection = True
            return
        for at in range(0, len(body), self.server.piece):
            piece = body[at : at + self.server.piece]
            self.pay(len(piece))
            self.wfile.write(piece)
            self.server.sent[path] += len(piece)
            self.wfile.flush()
            if self.server.pace:
                time.sleep(self.server.pace)
        if fault == "long length":
            self.close_connection = True

    def pay(self, size: int) -> None:
        with self.server.lock:
            if self.server.budget is None:
                return
            self.server.budget -= size
            broke = self.server.budget < 0
            released, held = self.server.released, self.server.held
        if broke:
            held.set()
            released.wait(60)
            raise ConnectionAbortedError

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def reply(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in ((more or {}) | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serve(folder: pathlib.Path) -> Iterator[Server]:
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
