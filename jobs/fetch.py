"""Fetching from Common Crawl: threads, progress and the list of what has arrived.

The output folder holds the archives, and `_fetch.jsonl` with one line for each of them, written when it was verified
and just before it gets its name. A file that is there with its line, in its size, is finished.
"""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus import commoncrawl, storage
from corpus.commoncrawl import Query
from corpus.errors import LodeError
from corpus.http import RefusedError, Remote
from jobs.progress import Progress

LIST, PLAN = "_fetch.jsonl", "_records.parquet"


class Folder:
    """An output folder in use by this process, with its list of finished files."""

    def __init__(self, out: str):
        if not storage.is_local(out):
            raise LodeError(f"--out {out}: fetching needs a local folder, so that it can go on after a stop.")
        self.path = storage.absolute(out)
        self._lock = threading.Lock()
        self.entries: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "Folder":
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise LodeError(f"{self.path}: this is a file; a folder was expected.")
        os.makedirs(self.path, exist_ok=True)
        self._held = open(f"{self.path}/.lock", "w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LodeError(f"{self.path}: another lode is fetching into this folder; wait for it.") from None
        for entry in self._lines():
            self.entries[entry["file"]] = entry
        for name in filter(self.has, self.entries):  # a kill may have come in the middle of `finish`
            self._tidy(name)
        return self

    def __exit__(self, *_: Any) -> None:
        self._held.close()

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with open(f"{self.path}/{LIST}", "rb+") as file:
                data = file.read()
                end = data.rfind(b"\n") + 1
                file.truncate(end)  # a line that was cut by a kill
        except FileNotFoundError:
            return
        for number, line in enumerate(data[:end].splitlines(), 1):
            try:
                entry = json.loads(line)
                if not isinstance(entry["file"], str) or not isinstance(entry["bytes"], int):
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                raise LodeError(
                    f"{self.path}/{LIST}, line {number}: not a line that lode wrote; remove it, and the file it "
                    "names is checked again."
                ) from None
            yield entry

    def has(self, name: str) -> bool:
        """Whether a file is finished: listed, and there in its size (a file of no records is not there)."""
        entry = self.entries.get(name)
        if entry is None:
            return False
        path = f"{self.path}/{name}"
        return os.path.getsize(path) == entry["bytes"] if os.path.exists(path) else entry["bytes"] == 0

    def finish(self, name: str, about: dict[str, Any]) -> dict[str, Any]:
        """List a verified file and give it its name."""
        path = f"{self.path}/{name}"
        entry = {"file": name} | about
        with self._lock:
            with open(f"{self.path}/{LIST}", "ab") as file:
                before = file.tell()
                try:
                    file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
                    file.flush()
                except OSError:  # half a line, for want of space, must not become part of the next
                    os.truncate(file.fileno(), before)
                    raise
            self.entries[name] = entry
        if about["bytes"]:
            os.replace(commoncrawl.beside(path, ".part"), path)
        self._tidy(name)
        return entry

    def _tidy(self, name: str) -> None:
        """Remove what stands beside a finished file."""
        for suffix in (".part", ".mark", ".journal"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(commoncrawl.beside(f"{self.path}/{name}", suffix))


class Meter:
    """Bytes and files as they arrive, from all threads."""

    def __init__(self, progress: Progress, stage: str, files: int, remote: Remote, unit: str = "files"):
        self.progress, self.files, self.remote, self.unit = progress, files, remote, unit
        self.parts: dict[str, tuple[int, int]] = {}
        self.began: dict[str, int] = {}
        self.ended = 0
        self._lock = threading.Lock()
        progress.start(stage)

    def count(self, name: str, have: int, total: int) -> None:
        with self._lock:
            self.began.setdefault(name, have)
            self.parts[name] = (have, total)

    def show(self) -> None:
        with self._lock:
            under_way = sum(have / total for have, total in self.parts.values() if 0 < have < total)
            arrived = sum(have - self.began[name] for name, (have, _) in self.parts.items())
        note = f"{self.ended:,} of {self.files:,} {self.unit}"
        if self.remote.waiting:
            note += f", waiting ({self.remote.waiting})"
        self.progress.update(self.ended + under_way, self.files, int(arrived / 1e6), "MB", note)


def run_all(
    remote: Remote, jobs: dict[str, Callable[[], Any]], meter: Meter
) -> tuple[dict[str, Any], list[RefusedError]]:
    """Results by name, and what was refused; any other error stops all."""
    results: dict[str, Any] = {}
    refused: list[RefusedError] = []
    pool = concurrent.futures.ThreadPoolExecutor(remote.connections, "fetch")
    waiting = iter(jobs.items())
    running: dict[concurrent.futures.Future, str] = {}
    try:
        while True:
            while len(running) < remote.connections and (job := next(waiting, None)):
                running[pool.submit(job[1])] = job[0]
            if not running:
                return results, refused
            ready, _ = concurrent.futures.wait(running, 0.25, concurrent.futures.FIRST_COMPLETED)
            for future in ready:
                name = running.pop(future)
                try:
                    results[name] = future.result()
                except RefusedError as error:
                    refused.append(error)
                meter.ended += 1
            meter.show()
    except BaseException:
        remote.stopped.set()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def fetch_files(
    remote: Remote, base: str, folder: Folder, paths: list[str], progress: Progress
) -> dict[str, Any]:
    """Whole files into the folder; returns the summary. Raises LodeError where any could not be had."""
    urls: dict[str, str] = {}
    for path in paths:
        url = commoncrawl.address(base, path)
        name = commoncrawl.local_name(base, url)
        if urls.setdefault(name, url) != url:
            raise LodeError(f"{url} and {urls[name]} would both be written to {name}; fetch them apart.")
    missing = [name for name in urls if not folder.has(name)]
    meter = Meter(progress, "fetch", len(missing), remote)

    def job(name: str) -> Callable[[], dict[str, Any]]:
        def fetch() -> dict[str, Any]:
            path, url = f"{folder.path}/{name}", urls[name]
            about = _adopt(remote, url, path)
            if about is None:
                about = commoncrawl.fetch_file(remote, url, path, lambda h, t: meter.count(name, h, t))
            return folder.finish(name, {"url": url} | about)

        return fetch

    got, refused = run_all(remote, {name: job(name) for name in missing}, meter)
    entries = [folder.entries[name] for name in urls if folder.has(name)]
    return _summary(folder, entries, got, refused, progress, counted(len(entries), "file"))


def _adopt(remote: Remote, url: str, path: str) -> dict[str, Any] | None:
    """What is verified of a file that lies there without a line in the list, put in the place of a part; or None."""
    if not os.path.exists(path):
        return None
    try:
        about = commoncrawl.check_archive(path, remote.stopped.is_set)
    except commoncrawl.DamagedError:
        return None
    _, total, mark = remote.read_version(url, 0, 1)
    if total != about["bytes"]:
        return None
    os.replace(path, commoncrawl.beside(path, ".part"))
    return about | {"etag": mark}


def fetch_records(
    remote: Remote,
    base: str,
    crawl: str,
    folder: Folder,
    query: Query,
    limit: int | None,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """The records that the columnar index names for a query into `records-*.warc.gz`; returns the summary."""
    plan = f"{folder.path}/{PLAN}"
    request = {"crawl": crawl, "limit": limit, "seed": seed}
    request |= {name: sorted(getattr(query, name)) for name in ("urls", "domains", "mimes", "languages")}
    if os.path.exists(plan):
        with storage.open_parquet(plan) as file:
            made_for = json.loads((file.schema_arrow.metadata or {}).get(b"request", b"{}"))
        if made_for != request:
            raise LodeError(
                f"--out {folder.path}: the records of another query are in there; choose another folder."
            )
    else:
        look_up(remote, base, folder, query, request, progress)
    with pq.ParquetFile(plan) as file:
        names = [f"records-{number:05d}.warc.gz" for number in range(file.metadata.num_row_groups)]
    missing = [name for name in names if not folder.has(name)]
    meter = Meter(progress, "fetch", len(missing), remote)

    def job(name: str) -> Callable[[], dict[str, Any]]:
        def fetch() -> dict[str, Any]:
            with pq.ParquetFile(plan) as file:
                rows = file.read_row_group(names.index(name)).to_pylist()
            path = f"{folder.path}/{name}"
            about = commoncrawl.fetch_records(remote, base, rows, path, lambda h, t: meter.count(name, h, t))
            return folder.finish(name, {"crawl": crawl} | about)

        return fetch

    got, refused = run_all(remote, {name: job(name) for name in missing}, meter)
    entries = [folder.entries[name] for name in names if folder.has(name)]
    records = sum(entry["records"] for entry in entries)
    reasons: dict[str, int] = {}
    for entry in entries:
        for lost in entry["dropped"]:
            reasons[lost["reason"]] = reasons.get(lost["reason"], 0) + 1
    headline = f"{counted(records, 'record')} in {counted(len(entries), 'file')}"
    if reasons:
        headline += f", without {', '.join(f'{n:,} {reason}' for reason, n in sorted(reasons.items()))}"
    counts = {"records": records, "dropped": dict(sorted(reasons.items()))}
    return counts | _summary(folder, entries, got, refused, progress, headline)


def look_up(
    remote: Remote, base: str, folder: Folder, query: Query, request: dict[str, Any], progress: Progress
) -> None:
    """Write the plan: the records of the index that match, of at most `limit` an even draw over the index."""
    crawl, limit, seed = request["crawl"], request["limit"], request["seed"]
    paths = commoncrawl.list_paths(remote, base, crawl, "cc-index-table")
    urls = [commoncrawl.address(base, path) for path in paths if "/subset=warc/" in path]
    if not urls:
        raise LodeError(f"--crawl {crawl}: its index lists no files of subset=warc.")
    meter = Meter(progress, "index: footers", len(urls), remote, "index files")
    opened, refused = run_all(
        remote, {url: lambda u=url: commoncrawl.open_index(remote, u, query) for url in urls}, meter
    )
    if refused:
        raise refused[0]
    places = [(opened[url], group) for url in urls for group in opened[url].groups]
    progress.finish("index: footers", f"{counted(len(places), 'row group')} can match")
    order = commoncrawl.visits(len(places), seed)
    meter = Meter(progress, "index: rows", len(places), remote, "row groups")
    found = f"{folder.path}/.matches.parquet"
    quota = None if limit is None else max(50, -(-2 * limit // max(1, len(places))))
    taken, spare = 0, commoncrawl.RECORD.empty_table()
    with storage.atomic_write(found) as file, storage.parquet_writer(file, commoncrawl.RECORD) as writer:
        # In batches, so that many connections read and the order of what is kept is always the same.
        for at in range(0, len(order), 4 * remote.connections):
            batch = [places[number] for number in order[at : at + 4 * remote.connections]]
            jobs = {
                f"{index.url} {group}": lambda i=index, g=group: commoncrawl.matching_rows(
                    remote, i, g, query
                )
                for index, group in batch
            }
            tables, refused = run_all(remote, jobs, meter)
            if refused:
                raise refused[0]
            for name in jobs:
                rows = tables[name]
                if limit is not None:
                    rows, rest = commoncrawl.draw(rows, min(quota, limit - taken), seed)
                    spare = pa.concat_tables([spare, rest[: limit - spare.num_rows]])
                taken += rows.num_rows
                writer.write_table(rows)
            if taken == limit:
                break
        if limit is not None and taken < limit:
            rows, _ = commoncrawl.draw(spare, limit - taken, seed)
            taken += rows.num_rows
            writer.write_table(rows)
    if not taken:
        os.remove(found)
        raise LodeError(f"--crawl {crawl}: no capture in its index matches; nothing was fetched.")
    commoncrawl.write_plan(f"{folder.path}/{PLAN}", found, request)
    os.remove(found)
    progress.finish("index: rows", f"found {counted(taken, 'record')}")


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _summary(
    folder: Folder,
    entries: list[dict[str, Any]],
    got: dict[str, Any],
    refused: list[RefusedError],
    progress: Progress,
    headline: str,
) -> dict[str, Any]:
    size = sum(entry["bytes"] for entry in entries)
    told = f"{headline}, {size:,} bytes, all verified"
    if len(got) < len(entries):
        told += f"; {len(entries) - len(got):,} were there already"
    progress.finish("fetch", told)
    if refused:
        lost = f"{counted(len(refused), 'file')} could not be fetched, {len(entries):,} are there"
        raise LodeError(f"{lost}. The first: {refused[0]}")
    summary = {"folder": folder.path, "files": len(entries), "bytes": size, "fetched_now": len(got)}
    return summary | {"entries": entries}
