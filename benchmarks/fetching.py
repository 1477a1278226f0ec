"""Fetching from a server on this machine that fails, the fetcher killed again and again: is it complete, and how dear.

python -m benchmarks.fetching
"""

import concurrent.futures
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import urllib3
from fastwarc.warc import ArchiveIterator

from benchmarks.record import SAMPLE, record
from corpus import storage
from corpus.commoncrawl import check_archive
from tests import fake_crawl

FAULTS = (
    "503",
    "500",
    "429",
    "reset",
    "xml200",
    "truncate",
    "reset inside",
    "stall",
    "flip",
    "long length",
    "short length",
)
FILES, PAGES, KILLS = 8, 1500, 6


def command(base: str, out: pathlib.Path, *what: str) -> list[str]:
    start = [sys.executable, "-m", "jobs.cli", "fetch", "commoncrawl", "--crawl", fake_crawl.CRAWL]
    return [*start, "--base", base, "--out", str(out), "--stall", "1", "-q", *what]


def timed(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(arguments, check=True)
    return time.perf_counter() - began


def bare(server: fake_crawl.Server, names: list[str], out: pathlib.Path) -> float:
    """Seconds of four threads that only copy from socket to disk."""
    pool = urllib3.PoolManager(maxsize=4)

    def copy(name: str) -> None:
        with (
            pool.request("GET", server.base + name, preload_content=False) as answer,
            open(out / pathlib.Path(name).name, "wb") as file,
        ):
            for data in answer.stream(1 << 18):
                file.write(data)

    out.mkdir()
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(copy, names))
    return time.perf_counter() - began


def same(server: fake_crawl.Server, out: pathlib.Path, names: list[str]) -> bool:
    found = [str(pathlib.Path(path).relative_to(out)) for path in storage.expand([str(out)])]
    return found == sorted(names) and all(
        (out / n).read_bytes() == (server.folder / n).read_bytes() for n in names
    )


def calm(server: fake_crawl.Server, folder: pathlib.Path, names: list[str]) -> dict:
    size = sum((server.folder / name).stat().st_size for name in names)
    fetched = timed(command(server.base, folder / "calm", "--files", str(FILES)))
    again = timed(command(server.base, folder / "calm", "--files", str(FILES)))
    copied = bare(server, names, folder / "bare")
    return {
        "complete": same(server, folder / "calm", names),
        "MB": round(size / 1e6, 1),
        "seconds": round(fetched, 2),
        "seconds_of_a_second_run": round(again, 2),
        "seconds_of_bare_copying": round(copied, 2),
    }


def verifying(paths: list[str]) -> dict:
    """Of one core, on real pages where the sample is there."""
    size = sum(map(storage.size, paths))
    began = time.perf_counter()
    for path in paths:
        check_archive(path)
    return {"MB": round(size / 1e6, 1), "MB_per_second": round(size / (time.perf_counter() - began) / 1e6, 1)}


def failing(server: fake_crawl.Server, folder: pathlib.Path, names: list[str]) -> dict:
    draw = random.Random(0)
    size = sum((server.folder / name).stat().st_size for name in names)
    server.faults = {name: draw.choices(FAULTS, k=draw.randrange(1, 4)) for name in names}
    planned = sum(map(len, server.faults.values()))
    kills = 0
    server.sent.clear()
    server.log.clear()
    arguments = command(server.base, folder / "failing", "--files", str(FILES))
    began = time.perf_counter()
    for _ in range(KILLS):
        server.hold_after(size // KILLS)
        process = subprocess.Popen(arguments)
        while process.poll() is None and not server.held.wait(0.1):
            pass
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    server.hold_after(None)
    subprocess.run(arguments, check=True)
    lines = (folder / "failing" / "_fetch.jsonl").read_text().splitlines()
    return {
        "complete": same(server, folder / "failing", names),
        "faults_played": planned - sum(map(len, server.faults.values())),
        "kills": kills,
        "files_verified": len({json.loads(line)["file"] for line in lines}),
        "requests": len(server.log),
        "bytes_sent_per_byte_needed": round(server.sent.total() / size, 2),
        "seconds": round(time.perf_counter() - began, 1),
    }


def records(server: fake_crawl.Server, folder: pathlib.Path, rows: list[dict]) -> dict:
    wanted = sorted(row["url"] for row in rows if row["url_host_registered_domain"] == "site3.org")
    server.faults = {".warc.gz": ["503", "flip", "reset", "truncate"] * 2}
    server.log.clear()
    seconds = timed(command(server.base, folder / "records", "--domain", "site3.org"))
    found = []
    for path in storage.expand([str(folder / "records")]):
        for each in ArchiveIterator(path, parse_http=False):
            assert each.verify_block_digest()
            found.append(each.headers["WARC-Target-URI"])
    return {
        "complete": sorted(found) == wanted,
        "records": len(found),
        "requests": len(server.log),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        rows = fake_crawl.build(folder / "source", FILES, PAGES, 2000)
        names = sorted({row["warc_filename"] for row in rows})
        with fake_crawl.serve(folder / "source") as server:
            server.piece = 1 << 16
            result = {
                "calm": calm(server, folder, names),
                "failing_and_killed": failing(server, folder, names),
                "records": records(server, folder, rows),
            }
            sample = sorted(map(str, SAMPLE.glob("web/*.warc.gz")))
            result["verifying"] = verifying(sample or [str(server.folder / name) for name in names])
    print(json.dumps(result, indent=1))
    record("fetching", result, ["lode", "urllib3", "pyarrow", "duckdb"])
    if not all(part.get("complete", True) for part in result.values()):
        sys.exit("something is missing or different")


if __name__ == "__main__":
    main()
