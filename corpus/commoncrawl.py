"""Common Crawl: which files or records of a crawl, how they arrive whole, and what is verified of them.

A file is written as a hidden `.NAME.part` beside a `.NAME.mark` that names the version it is a part of, and is
renamed only when all of it has been verified (`check_archive`). Records named by the columnar index are fetched by
ranges, copied as they are (one gzip member each) and checked one by one (`why_not_record`).
"""

import contextlib
import gzip
import hashlib
import json
import math
import os
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from corpus import storage
from corpus.errors import LodeError
from corpus.http import Answer, RangeError, RefusedError, Remote, TroubleError

BASE = "https://data.commoncrawl.org/"
KINDS = ("warc", "wet")
# Damaged arrivals of a file, from the first byte to the last, before it is given up.
MAX_DAMAGED = 3
# Records that lie so close together are read with one request.
MAX_GAP, MAX_REQUEST = 16 << 10, 8 << 20
RECORDS_PER_FILE = 1000
_MAX_RECORD = 64 << 20
_GZIP, _ZSTD, _PLAIN = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"WARC/"
_CRAWL = re.compile(r"[A-Z]{2}-[A-Za-z0-9-]{1,40}")
_PIECE = 1 << 20


class DamagedError(Exception):
    """The bytes are not one whole archive; the message says where they stop being one."""


# Which files


def address(base: str, path: str) -> str:
    """The URL of a path of the crawl; a URL or an absolute path stays as it is."""
    return path if "://" in path or path.startswith("/") else posixpath.join(base, path)


def list_paths(remote: Remote, base: str, crawl: str, name: str) -> list[str]:
    """The paths in a crawl's `NAME.paths.gz` (`warc`, `wet`, `cc-index-table`), in their order."""
    if not _CRAWL.fullmatch(crawl):
        raise LodeError(f"--crawl {crawl}: not the name of a crawl; they are like CC-MAIN-2024-10.")
    url = address(base, f"crawl-data/{crawl}/{name}.paths.gz")
    try:
        return list_in(remote, url)
    except RefusedError as error:
        raise LodeError(f"--crawl {crawl}: {error}") from None


def list_in(remote: Remote, url: str) -> list[str]:
    """Lines of a text file, gzipped or not, without empty ones and comments (`#`)."""
    data = remote.read(url)
    try:
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        lines = [line.strip() for line in data.decode("utf-8").splitlines()]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise LodeError(f"{url}: not a list of paths ({error}); expected one path or URL a line.") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise LodeError(f"{url}: no paths in it.")
    return lines


def choose(paths: list[str], count: int | None, seed: int) -> list[str]:
    """`count` of the paths, spread evenly over the list; a larger count takes the same ones and more."""
    if count is None or count >= len(paths):
        return paths
    return [paths[place] for place in sorted(visits(len(paths), seed)[:count])]


def visits(total: int, seed: int) -> list[int]:
    """The numbers below `total` in an order of which every beginning is spread evenly over them.

    The order is van der Corput's, numbers with their bits reversed, begun at a place that the seed draws.
    """
    bits = max(1, (total - 1).bit_length())
    places = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits))
    start = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "big")
    return [(start + place) % total for place in places if place < total]


def local_name(base: str, url: str) -> str:
    """Where a file lies in the output folder: its path below the base, or its host (if any) and path."""
    if url.startswith(base.rstrip("/") + "/"):
        path = url[len(base.rstrip("/")) + 1 :].split("?")[0].split("#")[0]
    else:
        parts = urlsplit(url)
        path = (
            posixpath.join(parts.netloc, parts.path.lstrip("/")) if parts.scheme else posixpath.basename(url)
        )
    steps = [re.sub(r"[^\w.+=~-]", "_", step) for step in path.split("/")]
    steps = [re.sub(r"^\.+", "_", step) for step in steps if step not in ("", ".")]
    if not steps:
        raise LodeError(f"{url}: this URL names no file.")
    return "/".join(steps)


# A whole file


def check_archive(path: str, stopped: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """What is verified of a WARC or WET file, in one pass: `bytes`, `sha256`, `md5`, gzip or zstd `members`.

    Every gzip member inflates to its end with the CRC-32 and length it states (zstd frames likewise, with their
    checksum where they have one), nothing lies behind the last, and the first begins a WARC record. Of an
    uncompressed file only the beginning is. Raises DamagedError.
    """
    sha256, md5, size = hashlib.sha256(), hashlib.md5(), 0
    with open(path, "rb") as file:
        head = file.read(5)
        file.seek(0)
        unpack = _unpacker(head)
        while data := file.read(_PIECE):
            if stopped():
                raise InterruptedError
            sha256.update(data)
            md5.update(data)
            size += len(data)
            if unpack is not None:
                unpack.feed(data)
    members = unpack.finish() if unpack is not None else None
    return {"bytes": size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest(), "members": members}


def _unpacker(head: bytes) -> "_Members | None":
    why = why_no_archive(head)
    if why:
        raise DamagedError(why)
    return None if head.startswith(_PLAIN) else _Members(head.startswith(_GZIP))


def why_no_archive(head: bytes) -> str | None:
    """Why a file that begins with these (five or more) bytes is no WARC or WET file, or None."""
    if head.startswith((_GZIP, _ZSTD, _PLAIN)):
        return None
    return f"not a WARC file: it begins with {head[:5]!r}" if head else "an empty file"


class _Members:
    """Compressed members one behind the other, inflated and thrown away in bounded memory."""

    def __init__(self, is_gzip: bool):
        self.is_gzip = is_gzip
        self.inflate: Any = None
        self.count = self.before = 0
        self.first = b""

    def feed(self, data: bytes) -> None:
        # zstd's decoder knows no limit of its output: four bytes may become 128 KiB, so it gets 1 kB at a time.
        step = len(data) if self.is_gzip else 1024
        for at in range(0, len(data), step):
            self._feed(data[at : at + step])
        self.before += len(data)

    def _feed(self, data: bytes) -> None:
        try:
            while data:
                if self.inflate is None:
                    self.inflate = zlib.decompressobj(31) if self.is_gzip else _zstd()
                out = self.inflate.decompress(data, _PIECE) if self.is_gzip else self.inflate.decompress(data)
                if self.count == 0 and len(self.first) < 5:
                    self.first += out[:5]
                    if len(self.first) >= 5 and not self.first.startswith(_PLAIN):
                        raise DamagedError(
                            f"not a WARC file: its first member begins with {self.first[:5]!r}"
                        )
                if self.inflate.eof:
                    data = self.inflate.unused_data
                    self.inflate = None
                    self.count += 1
                else:
                    data = self.inflate.unconsumed_tail if self.is_gzip else b""
        except (zlib.error, zstandard.ZstdError) as error:
            raise DamagedError(f"member {self.count + 1:,}, near byte {self.before:,}: {error}") from None

    def finish(self) -> int:
        if self.inflate is not None:
            raise DamagedError(f"it ends inside member {self.count + 1:,}")
        return self.count


def _zstd() -> Any:
    return zstandard.ZstdDecompressor().decompressobj()


def beside(path: str, suffix: str) -> str:
    """A hidden file beside `path`."""
    return f"{os.path.dirname(path)}/.{os.path.basename(path)}{suffix}"


def fetch_file(remote: Remote, url: str, path: str, count: Callable[[int, int], None]) -> dict[str, Any]:
    """Fetch an archive to `.part`, going on where an earlier attempt ended, and verify it; the caller renames it.

    `count(have, total)` is called as bytes arrive. Returns what `check_archive` found, with `etag`. Raises
    RefusedError where this file cannot be had.
    """
    part, note = beside(path, ".part"), beside(path, ".mark")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    damaged: list[str] = []

    def have() -> int:
        return os.path.getsize(part) if os.path.exists(part) else 0

    def known() -> dict[str, Any]:
        about = storage.read_json(note)
        return about if isinstance(about, dict) and about.get("url") == url else {}

    def discard() -> None:
        for name in (note, part):
            with contextlib.suppress(FileNotFoundError):
                os.remove(name)

    def transfer() -> dict[str, Any]:
        about = known()
        if not about.get("mark") or have() > about["total"]:
            discard()
            about = {}
        try:
            if not about or have() < about["total"]:
                about = _append(remote, url, part, note, about, have(), count)
            count(about["total"], about["total"])
            found = check_archive(part, remote.stopped.is_set)
            if about["md5"] not in (None, found["md5"]):
                raise DamagedError("its MD5 is not the one in the server's ETag")
        except DamagedError as error:
            if (
                known() and have() == known()["total"]
            ):  # else it was the answer, and the part is as good as before
                discard()
            damaged.append(str(error))
            if len(damaged) >= MAX_DAMAGED:
                raise RefusedError(f"{url}: {error}; it came {MAX_DAMAGED} times, never whole.") from None
            raise TroubleError(str(error)) from None
        return found | {"etag": about["mark"]}

    return remote.persist(url, transfer, have)


def _append(
    remote: Remote,
    url: str,
    part: str,
    note: str,
    about: dict[str, Any],
    start: int,
    count: Callable[[int, int], None],
) -> dict[str, Any]:
    """One transfer: the rest of the part of the version in `about`, or all of a version found there now."""
    try:
        with remote.open(url, start, mark=about.get("mark") if start else None) as answer:
            same = about and (answer.mark, answer.total) == (about["mark"], about["total"])
            if answer.start != (start if same else 0) and answer.start != 0:
                raise RangeError("another version of the file, and not from its start")
            chunks = answer.chunks
            if answer.start == 0:
                head, chunks = _head(answer)
                if why := why_no_archive(head):
                    raise DamagedError(why)
                # First the old bytes go, then the name of the version changes: no mixture survives a kill.
                with open(part, "wb"):
                    pass
                about = {"url": url, "mark": answer.mark, "total": answer.total, "md5": answer.md5}
                storage.write_json(note, about)
            with open(part, "ab") as file:
                for data in chunks:
                    file.write(data)
                    file.flush()  # what has come survives a kill
                    count(file.tell(), answer.total)
                os.fsync(file.fileno())
            return about
    except RangeError:
        with contextlib.suppress(FileNotFoundError):
            os.remove(note)
        raise


def _head(answer: Answer) -> tuple[bytes, Iterator[bytes]]:
    """The first five bytes, and all chunks."""
    first = b""
    for data in answer.chunks:
        first += data
        if len(first) >= 5:
            break

    def again() -> Iterator[bytes]:
        yield first
        yield from answer.chunks

    return first[:5], again()


# Records named by the columnar index


@dataclass(frozen=True)
class Query:
    """Captures with status 200 whose URL, site, MIME type and language are each among those named, if any are.

    `urls`: exact, or with `*` for any characters; `domains`: a host with all below it; `mimes`: as detected by the
    crawl; `languages`: ISO 639-3, the page's first.
    """

    urls: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    mimes: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for code in self.languages:
            if not re.fullmatch(r"[a-z]{3}", code):
                raise LodeError(
                    f"--language {code}: the index has ISO 639-3 codes of three letters, such as eng, deu or zho."
                )
        for url in self.urls:
            if not re.match(r"(https?|\*)", url):
                raise LodeError(f"--url {url}: expected a whole URL, such as 'https://example.org/notes/*'.")
        for domain in self.domains:
            if not re.fullmatch(r"[^\s/:*]+\.[^\s/:*]+", domain):
                raise LodeError(f"--domain {domain}: expected a domain or host, such as example.org.")

    def __bool__(self) -> bool:
        return bool(self.urls or self.domains or self.mimes or self.languages)

    @property
    def columns(self) -> list[str]:
        """What decides; the other columns are read only where something was found."""
        needs = {"url": self.urls, "url_host_name": self.domains}
        needs |= {"content_mime_detected": self.mimes, "content_languages": self.languages}
        return ["fetch_status", *(name for name, values in needs.items() if values)]

    def keys(self) -> list[str] | None:
        """Beginnings of `url_surtkey`, by which the index is sorted, that can match; None for any."""
        hosts = [_host_of(url) for url in self.urls] or [_ascii(domain) for domain in self.domains]
        if not hosts or None in hosts or any(re.fullmatch(r"[\d.]+", host) for host in hosts if host):
            return None
        return [",".join(reversed(re.sub(r"^www\d*\.", "", host).split("."))) for host in hosts if host]

    def matches(self, table: pa.Table) -> pa.Array:
        """Which rows of a table with `columns` match."""
        found = pc.equal(table["fetch_status"], 200)
        for name, any_of in (
            ("url", [lambda c, u=url: pc.match_substring_regex(c, _glob(u)) for url in self.urls]),
            ("url_host_name", [lambda c, d=d: _below(c, _ascii(d)) for d in self.domains]),
            ("content_mime_detected", [lambda c, m=m: pc.equal(c, m) for m in self.mimes]),
            ("content_languages", [lambda c, x=x: pc.starts_with(c, x) for x in self.languages]),
        ):
            if any_of:
                column = table[name]
                this = any_of[0](column)
                for test in any_of[1:]:
                    this = pc.or_(this, test(column))
                found = pc.and_(found, pc.fill_null(this, False))
        return pc.fill_null(found, False)


def _below(hosts: pa.ChunkedArray, domain: str) -> pa.ChunkedArray:
    return pc.or_(pc.equal(hosts, domain), pc.ends_with(hosts, "." + domain))


def _glob(pattern: str) -> str:
    """A pattern with `*` as a regular expression (Arrow's LIKE mistakes backslashes)."""
    return r"(?s)\A" + ".*".join(map(re.escape, pattern.split("*"))) + r"\z"


def _ascii(domain: str) -> str:
    try:
        return domain.lower().strip(".").encode("idna").decode()
    except UnicodeError:
        raise LodeError(f"--domain {domain}: not a domain.") from None


def _host_of(url: str) -> str | None:
    """The host of a URL pattern, or None where it has a wildcard before its end."""
    found = re.match(r"https?://(?:[^/@*]*@)?([^/:*?#]+)[/:?#]", url.lower())
    return _ascii(found[1]) if found else None


RECORD = pa.schema(
    [
        ("url", pa.string()),
        ("mime", pa.string()),
        ("languages", pa.string()),
        ("digest", pa.string()),
        ("filename", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
_INDEX = {
    "url": "url",
    "mime": "content_mime_detected",
    "languages": "content_languages",
    "digest": "content_digest",
    "filename": "warc_filename",
    "offset": "warc_record_offset",
    "length": "warc_record_length",
}


@dataclass(frozen=True)
class IndexFile:
    """A file of the columnar index: its footer, and the row groups that can match by their statistics."""

    url: str
    footer: pq.FileMetaData
    groups: tuple[int, ...]


def open_index(remote: Remote, url: str, query: Query) -> IndexFile:
    with _parquet(remote, url, None) as file:
        footer, there = file.metadata, file.schema_arrow.names
    needs = [*query.columns, "url", "warc_filename", "warc_record_offset", "warc_record_length"]
    if missing := [name for name in needs if name not in there]:
        raise LodeError(f"{url}: the index of this crawl has no column {missing[0]!r}.")
    keys = query.keys()
    names = [footer.schema.column(place).name for place in range(footer.num_columns)]
    if keys is None or "url_surtkey" not in names:
        return IndexFile(url, footer, tuple(range(footer.num_row_groups)))
    column = names.index("url_surtkey")
    bounds = [footer.row_group(group).column(column).statistics for group in range(footer.num_row_groups)]
    # Behind a host stands `)` or `:`, and `,` before what lies below it.
    ranges = [(key + mark, key + chr(ord(mark) + 1)) for key in keys for mark in "),:"]
    groups = (
        group
        for group, known in enumerate(bounds)
        if known is None
        or not known.has_min_max
        or any(low <= known.max and known.min < high for low, high in ranges)
    )
    return IndexFile(url, footer, tuple(groups))


def matching_rows(remote: Remote, index: IndexFile, group: int, query: Query) -> pa.Table:
    """Rows (`RECORD`) of one row group of an index file that match."""
    with _parquet(remote, index.url, index.footer) as file:
        mask = query.matches(file.read_row_group(group, columns=query.columns, use_threads=False))
        if not pc.any(mask).as_py():
            return RECORD.empty_table()
        there = [name for name in _INDEX.values() if name in file.schema_arrow.names]
        rows = file.read_row_group(group, columns=there, use_threads=False).filter(mask)
    columns = [
        rows[_INDEX[name]].cast(kind) if _INDEX[name] in there else pa.nulls(rows.num_rows, kind)
        for name, kind in zip(RECORD.names, RECORD.types, strict=True)
    ]
    return pa.table(columns, schema=RECORD)


@contextlib.contextmanager
def _parquet(remote: Remote, url: str, footer: pq.FileMetaData | None) -> Iterator[pq.ParquetFile]:
    try:
        stream = remote.file(url)
    except FileNotFoundError as error:
        raise LodeError(f"{url}: {error.strerror or 'there is no such file'}.") from None
    with stream:
        try:
            file = pq.ParquetFile(stream, metadata=footer, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise LodeError(f"{url}: not a whole Parquet file ({error}).") from None
        yield file


def draw(rows: pa.Table, count: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """(`count` of the rows at most, the rest), by a hash of each row's URL and place."""
    marks = [
        hashlib.sha256(f"{seed}\n{u}\n{f}\n{o}".encode()).digest()
        for u, f, o in zip(*(rows[name].to_pylist() for name in ("url", "filename", "offset")), strict=True)
    ]
    order = sorted(range(len(marks)), key=marks.__getitem__)
    taken, rest = pa.array(sorted(order[:count]), pa.int64()), pa.array(order[count:], pa.int64())
    return rows.take(taken), rows.take(rest)


def write_plan(path: str, found: str, request: dict[str, Any]) -> None:
    """Sort the rows in the Parquet file `found` by their place, into one row group for each file to be written.

    `request` goes into the plan's metadata, so that another request is not mistaken for this one.
    """
    quoted = found.replace("'", "''")
    with duckdb.connect() as connection:
        scratch = os.path.dirname(path).replace("'", "''")
        connection.execute(f"set temp_directory = '{scratch}/.spill'; set threads = 2")
        unique = f"select distinct on (filename, \"offset\") * from '{quoted}'"
        rows = connection.execute(f"select count(*) from ({unique})").fetchone()[0]
        size = max(25, min(RECORDS_PER_FILE, math.ceil(rows / 8)))
        sorted_rows = connection.execute(f'select * from ({unique}) order by filename, "offset"')
        schema = RECORD.with_metadata({"request": json.dumps(request, sort_keys=True)})
        with storage.atomic_write(path) as file, storage.parquet_writer(file, schema) as writer:
            while batch := sorted_rows.fetchmany(size):
                columns = zip(*batch, strict=True)
                arrays = [pa.array(c, kind) for c, kind in zip(columns, RECORD.types, strict=True)]
                writer.write_table(pa.table(arrays, schema=schema), row_group_size=size)


def requests_of(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runs of rows (sorted by file and offset) that one request reads."""
    run: list[dict[str, Any]] = []
    for row in rows:
        if run:
            end = max(r["offset"] + r["length"] for r in run)
            near = row["filename"] == run[0]["filename"] and row["offset"] - end <= MAX_GAP
            if not near or row["offset"] + row["length"] - run[0]["offset"] > MAX_REQUEST:
                yield run
                run = []
        run.append(row)
    if run:
        yield run


def why_not_record(data: bytes, row: dict[str, Any]) -> tuple[str, str] | None:
    """Why these bytes are not the one gzip member with the capture that the index names: (reason, detail)."""
    inflate = zlib.decompressobj(31)
    try:
        record = inflate.decompress(data, _MAX_RECORD)
        if not inflate.eof or inflate.unused_data:
            return "not_a_record", f"not one gzip member of {len(data)} bytes"
    except zlib.error as error:
        return "not_a_record", str(error)
    head = record[: record.find(b"\r\n\r\n") + 1]
    if not record.startswith(_PLAIN) or not head:
        return "not_a_record", f"it begins with {record[:5]!r}"
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (
            line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n")[1:]
        )
    }
    # The index writes some URLs in another way than the archive; the digest of the content is enough.
    digest = fields.get("warc-payload-digest", "").rpartition(":")[2]
    target = fields.get("warc-target-uri", "").strip("<>")
    if target != row["url"] and (not digest or digest != row["digest"]):
        return "other_record", f"a record of {target[:200]}"
    return None


def fetch_records(
    remote: Remote, base: str, rows: list[dict[str, Any]], path: str, count: Callable[[int, int], None]
) -> dict[str, Any]:
    """Write the records of `rows` to `.part`, going on where an earlier attempt ended; the caller renames it.

    Returns what `check_archive` found, with the number of `records` and the list of those `dropped`. Reasons:
    `missing_file`, `not_a_record`, `other_record`.
    """
    part, journal = beside(path, ".part"), beside(path, ".journal")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lines = _journal(journal)
    size = lines[-1]["bytes"] if lines else 0
    if not os.path.exists(part) or os.path.getsize(part) < size:
        lines, size = [], 0
    dropped = [entry for line in lines for entry in line["dropped"]]
    with open(part, "ab") as file, open(journal, "ab" if lines else "wb") as log:
        file.truncate(size)
        for number, run in enumerate(requests_of(rows)):
            if number < len(lines):
                continue
            lost = []
            for row, data, fault in _records_of(remote, base, run):
                if fault is None:
                    file.write(data)
                else:
                    lost.append({"url": row["url"], "reason": fault[0], "detail": fault[1]})
            file.flush()
            dropped += lost
            log.write(json.dumps({"bytes": file.tell(), "dropped": lost}).encode() + b"\n")
            log.flush()
            count(file.tell(), sum(row["length"] for row in rows))
        os.fsync(file.fileno())
    found: dict[str, Any] = {"bytes": 0}
    if len(dropped) < len(rows):
        try:
            found = check_archive(part, remote.stopped.is_set)
        except DamagedError as error:
            os.remove(journal)
            raise LodeError(f"{path}: {error} on this disk; run the same command again.") from None
    return found | {"records": len(rows) - len(dropped), "dropped": dropped}


def _journal(path: str) -> list[dict[str, Any]]:
    """Whole lines of a journal; a line cut by a kill does not count."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    with contextlib.suppress(ValueError, KeyError):
        lines = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
        # A line that was cut must not be appended to.
        os.truncate(path, data.rfind(b"\n") + 1)
        return lines
    return []


def _records_of(
    remote: Remote, base: str, run: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], bytes, tuple[str, str] | None]]:
    """(row, bytes, fault) of the rows that one request reads; a record that arrives bad is asked for once more."""
    url = address(base, run[0]["filename"])
    start, stop = run[0]["offset"], max(row["offset"] + row["length"] for row in run)
    try:
        block = remote.read(url, start, stop)
    except RefusedError as error:
        if not error.gone:
            raise
        if len(run) > 1:
            for row in run:
                yield from _records_of(remote, base, [row])
        else:
            yield run[0], b"", ("missing_file", str(error))
        return
    for row in run:
        data = block[row["offset"] - start : row["offset"] - start + row["length"]]
        fault = why_not_record(data, row)
        if fault is not None:
            with contextlib.suppress(RefusedError):
                data = remote.read(url, row["offset"], row["offset"] + row["length"])
                fault = why_not_record(data, row)
        yield row, data, fault
