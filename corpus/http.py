"""Polite reading over HTTP, and the same calls for any fsspec URL: ranges, retries, back-off, a stall limit.

An answer that is not the file itself (503 "SlowDown" and its like) is never handed on as content. One `Remote` is
shared by all threads of a fetch: when a server asks for a slower pace, every connection slows down.
"""

import contextlib
import email.utils
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import fsspec
import urllib3
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from urllib3.util import Retry, Timeout

from corpus.errors import LodeError

CHUNK = 1 << 18
# Below this rate, in bytes a second, a transfer counts as stalled.
LEAST_RATE = 1024
LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 3600.0
# A server that ignores ranges may be read from the start for a file of this many bytes, not for a larger one.
MAX_SKIPPED = 64 << 20
_THROTTLED = (429, 503)
_PASSING = (408, 425, 500, 502, 504, 520, 521, 522, 523, 524)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_CODE = re.compile(rb"<Code>(\w{1,60})</Code>")
_REASONS = {
    401: "it asks for a login",
    403: "it is not public, or there is no such file",
    404: "there is no such file",
    410: "the file is gone",
}
T = TypeVar("T")


class RefusedError(LodeError):
    """This file cannot be had, however often one asks; others may. `gone`: it, or this part of it, does not exist."""

    def __init__(self, text: str, gone: bool = False):
        super().__init__(text)
        self.gone = gone


class StoppedError(Exception):
    """The fetch was called off."""


class TroubleError(Exception):
    """A failure worth another try. `wait` seconds are the server's wish; `throttled` slows all connections."""

    def __init__(self, text: str, wait: float = 0.0, throttled: bool = False):
        super().__init__(text)
        self.wait, self.throttled = wait, throttled


class RangeError(TroubleError):
    """The server does not have the bytes that were asked for."""


@dataclass
class Answer:
    """What a server sends: `chunks` from the byte `start` of a file of `total` bytes.

    `mark` names the version of the file (a strong ETag or the time of its last change). `md5` is the content's
    MD5 where the server is known to promise one.
    """

    start: int
    total: int
    mark: str | None
    chunks: Iterator[bytes]
    md5: str | None = None


class Remote:
    """Files behind URLs. `connections` at once; `retries` in a row without progress; `stall` in seconds."""

    def __init__(self, connections: int = 4, retries: int = 12, stall: float = 60.0, pause: float = 1.0):
        self.connections, self.retries, self.stall, self.first_pause = connections, retries, stall, pause
        self.stopped = threading.Event()
        self.reached = False
        self.waiting = ""
        self._not_before = 0.0
        self._known: dict[str, dict[str, Any]] = {}
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            timeout=Timeout(connect=stall, read=stall),
            headers={"User-Agent": "lode/0.1", "Accept-Encoding": "identity"},
            retries=Retry(
                connect=0, read=0, status=0, other=0, redirect=5,
                raise_on_status=False, respect_retry_after_header=False,
            ),
        )  # fmt: skip

    @contextlib.contextmanager
    def open(
        self, url: str, start: int = 0, stop: int | None = None, mark: str | None = None
    ) -> Iterator[Answer]:
        """One attempt at the bytes from `start` to `stop` (excluded). With `mark`, only of that version.

        The answer may begin at 0 all the same: the server knows no ranges, or the file has changed.
        """
        if not url.startswith(("http://", "https://")):
            with self._open_elsewhere(url, start, stop, mark) as answer:
                yield answer
            return
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if mark:
                headers["If-Range"] = mark
        try:
            response = self._pool.request("GET", url, headers=headers, preload_content=False)
        except urllib3.exceptions.LocationValueError as error:
            raise LodeError(f"{url}: not a URL that can be opened ({error}).") from None
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            if "CERTIFICATE_VERIFY_FAILED" in str(cause):
                raise LodeError(f"{url}: the server's certificate cannot be trusted ({cause}).") from None
            raise TroubleError(_plain(cause)) from None
        whole = False
        try:
            self.reached = True
            answer = self._judge(url, response, bool(headers))
            yield answer
            whole = True
        finally:
            # A connection with bytes still to come cannot be used again.
            response.release_conn() if whole and not response.length_remaining else response.close()

    def _judge(self, url: str, response: Any, ranged: bool) -> Answer:
        status, headers = response.status, response.headers
        if status == 416:
            raise RangeError("the file ends before the bytes that were asked for")
        if status not in (200, 206) or (status == 206 and not ranged):
            raise self._refusal(url, response)
        length = headers.get("Content-Length", "")
        if not length.isdigit():
            raise RefusedError(
                f"{url}: the server does not say how long the file is, so it cannot be verified."
            )
        begin, total = 0, int(length)
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
            if not found or int(found[2]) - int(found[1]) + 1 != int(length):
                raise TroubleError(f"206 with the Content-Range {headers.get('Content-Range')!r}")
            begin, total = int(found[1]), int(found[3])
        tag = headers.get("ETag", "")
        mark = tag if tag.startswith('"') else headers.get("Last-Modified")
        md5 = None
        # Only Amazon's own answer promises an MD5, and not under a key of the customer's.
        if (
            headers.get("Server") == "AmazonS3"
            and headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
        ):
            found = re.fullmatch(r'"([0-9a-f]{32})"', tag)
            md5 = found[1] if found else None
        return Answer(begin, total, mark, self._chunks(response, int(length)), md5)

    def _refusal(self, url: str, response: Any) -> Exception:
        try:
            code = _CODE.search(response.read1(2048, decode_content=False) or b"")
        except (urllib3.exceptions.HTTPError, OSError):
            code = None
        said = f"{response.status} {code[1].decode() if code else response.reason or ''}".strip()
        throttled = response.status in _THROTTLED or (code is not None and code[1] == b"SlowDown")
        # Where S3 itself says 403 the file is private or missing; a 403 without its word is a block in front of it,
        # which is lifted after a while.
        if response.status == 403 and code is None and response.headers.get("Server") != "AmazonS3":
            said, throttled = f"{said}: the server blocks this address for now", True
        if not throttled and response.status not in _PASSING:
            why = _REASONS.get(response.status, "the server will not send it")
            return RefusedError(f"{url}: {said}: {why}.", response.status in (404, 410))
        wait = _seconds(response.headers.get("Retry-After"))
        if wait > LONGEST_RETRY_AFTER:
            return LodeError(
                f"{url}: the server asks to come back in {wait:,.0f} s ({said}); run it again then."
            )
        return TroubleError(said, wait, throttled)

    def _chunks(self, response: Any, length: int) -> Iterator[bytes]:
        seen = lately = 0
        since = time.monotonic()
        while seen < length:
            if self.stopped.is_set():
                raise StoppedError
            try:
                data = response.read1(min(CHUNK, length - seen), decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise TroubleError(f"{_plain(error)} after {seen:,} of {length:,} bytes") from None
            if not data:
                raise TroubleError(f"the transfer broke off after {seen:,} of {length:,} bytes")
            seen += len(data)
            lately += len(data)
            now = time.monotonic()
            if now - since > self.stall:
                if lately < LEAST_RATE * self.stall:
                    raise TroubleError(f"only {lately:,} bytes in {now - since:.0f} s")
                since, lately = now, 0
            yield data

    @contextlib.contextmanager
    def _open_elsewhere(self, url: str, start: int, stop: int | None, mark: str | None) -> Iterator[Answer]:
        try:
            fs, inside = fsspec.core.url_to_fs(url)
            about = fs.info(inside)
            if about["type"] == "directory":
                raise RefusedError(f"{url}: this is a folder; a file was expected.")
            file = fs.open(inside, "rb")
        except FileNotFoundError:
            raise RefusedError(f"{url}: there is no such file.", gone=True) from None
        except PermissionError as error:
            raise RefusedError(f"{url}: {error.strerror or 'it may not be read'}.") from None
        except (ImportError, ValueError) as error:
            raise LodeError(f"{url}: {error}.") from None
        except OSError as error:
            raise TroubleError(str(error)) from None
        self.reached = True
        total = about["size"]
        now = str(about.get("ETag") or about.get("mtime") or about.get("LastModified") or "") or None
        begin = start if mark is None or mark == now else 0
        if begin > total or (begin == total and total):
            raise RangeError("the file ends before the bytes that were asked for")

        def chunks() -> Iterator[bytes]:
            left = (total if stop is None or begin != start else min(stop, total)) - begin
            file.seek(begin)
            while left:
                if self.stopped.is_set():
                    raise StoppedError
                try:
                    data = file.read(min(CHUNK, left))
                except OSError as error:
                    raise TroubleError(str(error)) from None
                if not data:
                    raise TroubleError(f"the file ends {left:,} bytes early")
                left -= len(data)
                yield data

        with file:
            yield Answer(begin, total, now, chunks())

    def persist(self, url: str, attempt: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """The result of `attempt`, tried again after each TroubleError with growing, jittered pauses.

        `retries` are counted from the last time that `progress` reached a new height.
        """
        failures, best = 0, progress()
        while True:
            self._wait()
            try:
                return attempt()
            except TroubleError as trouble:
                now = progress()
                failures = 1 if now > best else failures + 1
                best = max(best, now)
                # A server that never answered once is more likely a wrong address than a passing fault.
                if failures > (self.retries if self.reached else min(self.retries, 3)):
                    raise LodeError(
                        f"{url}: given up after {failures} attempts: {trouble}; run the same command again to go on."
                    ) from None
                pause = min(LONGEST_PAUSE, self.first_pause * 2 ** (failures - 1)) * random.uniform(0.5, 1)
                pause = max(pause, trouble.wait)
                if trouble.throttled:
                    self._not_before = max(self._not_before, time.monotonic() + pause)
                    self.waiting = str(trouble)
                elif self.stopped.wait(pause):
                    raise StoppedError from None

    def _wait(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            # Not all at the same moment, or the server is pushed over again.
            if self.stopped.wait(left + random.uniform(0, self.first_pause)):
                raise StoppedError
        self.waiting = ""
        if self.stopped.is_set():
            raise StoppedError

    def read(self, url: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` to `stop` (excluded; to the end without), in memory, retried until whole."""
        return self.read_version(url, start, stop)[0]

    def read_version(
        self, url: str, start: int = 0, stop: int | None = None
    ) -> tuple[bytes, int, str | None]:
        """(bytes, size of the whole file, mark of its version)."""

        def attempt() -> tuple[bytes, int, str | None]:
            with self.open(url, start, stop) as answer:
                if answer.start > start:
                    raise TroubleError(f"bytes from {answer.start:,} where {start:,} was asked for")
                end = answer.total if stop is None else min(stop, answer.total)
                if answer.start < start and answer.total > MAX_SKIPPED:
                    raise RefusedError(
                        f"{url}: this server sends no parts of a file; download it whole, with "
                        "`lode fetch commoncrawl --list`, and read it from the disk."
                    )
                if start >= end and answer.total:
                    raise RangeError("the file ends before the bytes that were asked for")
                held = bytearray()
                for data in answer.chunks:
                    held += data
                    if answer.start + len(held) >= end:
                        break
                found = bytes(held[start - answer.start : end - answer.start])
                if len(found) < end - start:
                    raise TroubleError(f"{len(found):,} of {end - start:,} bytes came")
                return found, answer.total, answer.mark

        def in_range() -> tuple[bytes, int, str | None]:
            try:
                return attempt()
            except RangeError as error:
                if start == 0:  # of an empty file no range can be had
                    with self.open(url) as answer:
                        if answer.total == 0:
                            return b"", 0, answer.mark
                where = f"{url}, bytes {start:,} to {'the end' if stop is None else f'{stop:,}'}"
                raise RefusedError(f"{where}: {error}.", gone=True) from None

        return self.persist(url, in_range)

    def file(self, url: str) -> IO[bytes]:
        """A file that is read at any place, each read a request of its own (Parquet)."""
        if url.startswith(("http://", "https://")):
            files = HttpFiles(self, skip_instance_cache=True)
            if url not in self._known:
                self._known[url] = files.info(url)
            return HttpFile(
                files, url, "rb", size=self._known[url]["size"], cache_type="none", about=self._known[url]
            )
        fs, inside = fsspec.core.url_to_fs(url)
        return fs.open(inside, "rb")


class HttpFiles(AbstractFileSystem):
    """`http://` and `https://` for fsspec, read-only, with the patience of a `Remote`."""

    protocol = ("http", "https")

    def __init__(self, remote: Remote | None = None, **options: Any):
        super().__init__(**options)
        self.remote = remote or Remote()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def unstrip_protocol(self, name: str) -> str:
        return name

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and version, by asking for the first byte: not every server answers HEAD."""
        try:
            _, size, mark = self.remote.read_version(path, 0, 1)
        except RefusedError as error:
            raise FileNotFoundError(2, str(error).removeprefix(f"{path}: ").rstrip("."), path) from None
        return {"name": path, "size": size, "type": "file", "ETag": mark}

    def exists(self, path: str, **_: Any) -> bool:
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        about = self.info(path)
        return [about] if detail else [path]

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> "HttpFile":
        if mode != "rb":
            raise LodeError(f"{path}: files behind http can only be read; give a local path or a bucket.")
        about = self.info(path)
        options.pop("autocommit", None)
        size = 8 << 20 if block_size in (None, "default") else block_size
        return HttpFile(self, path, mode, size, size=about["size"], about=about, **options)


class HttpFile(AbstractBufferedFile):
    """A file read by ranges; a change of the file while it is read is an error, never a mixture."""

    def __init__(self, fs: HttpFiles, path: str, *arguments: Any, about: dict[str, Any], **options: Any):
        self.about = about
        super().__init__(fs, path, *arguments, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        if start >= end:
            return b""
        data, size, mark = self.fs.remote.read_version(self.path, start, end)
        if (size, mark) != (self.size, self.about["ETag"]):
            raise LodeError(f"{self.path}: the file changed while it was read; run the command again.")
        return data


def _plain(error: BaseException) -> str:
    """An error of urllib3 without the addresses of its objects."""
    if isinstance(error, urllib3.exceptions.ReadTimeoutError | TimeoutError):
        return "no data came in time"
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the name of the server is unknown"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError) and not isinstance(
        error, urllib3.exceptions.NewConnectionError
    ):
        return "no connection in time"
    cause = error.args[-1] if error.args else error
    cause = error.__cause__ or (cause if isinstance(cause, BaseException) else None) or error
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    text = re.sub(r"<[^<>]*object at 0x[0-9a-f]+>:?\s*|HTTPS?Connection\([^()]*\):\s*", "", str(error))
    return text.strip() or type(error).__name__


def _seconds(retry_after: str | None) -> float:
    """A Retry-After header, a number of seconds or a date, in seconds from now."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdigit():
        return float(retry_after[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
