"""From WARC files to clean pages in Parquet: megabytes of HTML a second and core, beside other extractors.

    python -m benchmarks.extraction_speed [--peer PYTHON] [--openwebmath PYTHON] [--spark] [--repeats 3] [--every 1]

Lode runs what its stages `pages` and `quality` run on an executor: read, decode, extract, write, read, language and
rules, write. The others read the same files, extract and write JSON lines (`benchmarks/peers.py` says what to install
in each PYTHON). Every run is a process of its own on one core, the contestants take turns, and the median of the
seconds counts, from the first record to the last byte written, without imports; on a machine that others use as well
the CPU seconds say more. The megabytes are those of the bodies of the pages that can be extracted, decoded, and the
same for all.

With --spark, the same two stages run on local[1] and local[4], in a session that is warm, over the crawl dealt out to
32 files; the memory is the largest resident set of a Python worker.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.record import SAMPLE, record
from corpus.warc import read_warc

PEERS = pathlib.Path(__file__).with_name("peers.py")
# In the order of the bars: Lode against each of them.
CONTESTANTS = ("trafilatura", "datatrove", "resiliparse")
BARS = {"trafilatura": 6.0, "openwebmath": 6.0, "datatrove": 10.0}
SPARK_FILES = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("warc", nargs="*", help="default: the sample crawl")
    parser.add_argument("--peer", help="interpreter with trafilatura, resiliparse and datatrove")
    parser.add_argument("--openwebmath", help="interpreter with haruka-parser 0.2.0, a packaged OpenWebMath")
    parser.add_argument("--spark", action="store_true", help="measure local[1] and local[4] too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="only one record in so many, to be quick")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--one", choices=["lode", "spark"], help=argparse.SUPPRESS)
    parser.add_argument("--master", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one = lode(arguments.warc, arguments.out) if arguments.one == "lode" else spark(arguments)
        print(json.dumps(one))
        return
    warcs = arguments.warc or [str(path) for path in sorted((SAMPLE / "web").glob("dev-*.warc.gz"))]
    if not warcs:
        sys.exit(f"no WARC files given, and no sample crawl in {SAMPLE}")
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.every > 1:
            warcs = deal(warcs, scratch, len(warcs), arguments.every)
        result = measure(warcs, arguments, pathlib.Path(scratch))
        if arguments.spark:
            result["spark"] = scaling(
                deal(warcs, f"{scratch}/dealt", SPARK_FILES, 1), arguments.repeats, scratch
            )
    record("extraction_speed", result, ["lode", "fastwarc", "resiliparse", "lxml", "pyarrow"])


def measure(warcs: list[str], arguments: argparse.Namespace, scratch: pathlib.Path) -> dict[str, Any]:
    """One core, everybody in turn."""
    sizes = [len(page.payload) for path in warcs for page in read_warc(path) if page.reason is None]
    megabytes = sum(sizes) / 1e6
    print(f"{len(sizes)} pages, {megabytes:.1f} MB of HTML in {len(warcs)} files; core {arguments.core}")
    commands = {
        "lode": [sys.executable, "-m", "benchmarks.extraction_speed", "--one", "lode", "--out", "OUT"]
    }
    for name in CONTESTANTS if arguments.peer else ():
        commands[name] = [arguments.peer, str(PEERS), name, "OUT"]
    if arguments.openwebmath:
        commands["openwebmath"] = [arguments.openwebmath, str(PEERS), "openwebmath", "OUT"]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for repeat in range(arguments.repeats):
        for name, command in commands.items():
            out = scratch / f"{name}-{repeat}"
            out.mkdir()
            run = alone([str(out) if word == "OUT" else word for word in command] + warcs, {arguments.core})
            runs[name].append(run)
            print(f"{name:12} {run['seconds']:8.1f} s", flush=True)
    rows = {}
    for name, times in runs.items():
        seconds, cpu_seconds = (median(run[clock] for run in times) for clock in ("seconds", "cpu_seconds"))
        rows[name] = {
            "mb_per_s": megabytes / seconds,
            "mb_per_cpu_s": megabytes / cpu_seconds,
            "pages_per_s": len(sizes) / seconds,
            "seconds": [run["seconds"] for run in times],
            "cpu_seconds": [run["cpu_seconds"] for run in times],
            "peak_mb": max(run["peak_mb"] for run in times),
            "pages": times[0]["pages"],
        }
        rows[name]["lode_is_faster_by"] = rows["lode"]["mb_per_s"] / rows[name]["mb_per_s"]
        rows[name]["by_cpu_time"] = rows["lode"]["mb_per_cpu_s"] / rows[name]["mb_per_cpu_s"]
    print(
        f"\n{'':12}{'MB/s':>8}{'MB/CPU s':>10}{'pages/s':>9}{'peak MB':>9}{'Lode faster by':>16}{'by CPU time':>13}"
    )
    for name, row in rows.items():
        bar = f"   (bar: {BARS[name]:.0f})" if name in BARS else ""
        print(f"{name:12}{row['mb_per_s']:8.2f}{row['mb_per_cpu_s']:10.2f}{row['pages_per_s']:9.0f}{row['peak_mb']:9.0f}"
              f"{row['lode_is_faster_by']:16.2f}{row['by_cpu_time']:13.2f}{bar}")  # fmt: skip
    return {"pages": len(sizes), "megabytes": megabytes, "every": arguments.every, "one_core": rows}


def alone(command: list[str], cores: set[int]) -> dict[str, float]:
    """Run one contestant on `cores`: what it prints, and the CPU time and memory of the whole process."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(
            f"{' '.join(command[:4])} ... failed with status {process.returncode}; run it by hand to see why"
        )
    run = json.loads(printed.splitlines()[-1])
    cpu_seconds = used.ru_utime + used.ru_stime - run.pop("cpu_before", 0)
    return {**run, "cpu_seconds": cpu_seconds, "peak_mb": used.ru_maxrss / 1024}


def lode(warcs: list[str], out: str) -> dict[str, float]:
    """The stages `pages` and `quality`, one task a file, as an executor runs them."""
    from corpus.extract import PAGE
    from filters.language import detect_language
    from jobs.recipe import QualitySection
    from jobs.web import ReadPages, page_item
    from jobs.worker import MapParts, Task, part_name, read_counts, read_parts

    rules = QualitySection().rules
    read = tuple(Task(part, (page_item("web", path),)) for part, path in enumerate(warcs))
    judge = tuple(Task(task.part, (f"{out}/pages/{part_name(task.part)}",)) for task in read)
    extracting = MapParts(read, f"{out}/pages", PAGE, ReadPages())
    judging = MapParts(judge, f"{out}/quality", rules.schema(PAGE), read_parts, rules)
    detect_language("A text that loads the model of languages.")
    began, before = time.perf_counter(), time.process_time()
    for task in read:
        extracting.run(task)
    for task in judge:
        judging.run(task)
    seconds = time.perf_counter() - began
    pages = sum(counts.rows_out for counts in read_counts(f"{out}/pages"))
    return {"seconds": seconds, "cpu_before": before, "pages": pages}


def spark(arguments: argparse.Namespace) -> dict[str, float]:
    """The same two stages on Spark, in a session that has run a task on every core before."""
    from jobs import web
    from jobs.cli_corpus import work_in
    from jobs.recipe import QualitySection, Source

    def stages(work: Any, warcs: list[str], name: str) -> Any:
        found = web.pages(work, {"web": Source(kind="web", input=warcs)}, 0, name)
        return web.quality(work, found, QualitySection())

    with work_in(f"{arguments.out}/warm", arguments.master, True) as work:
        stages(work, arguments.warc[:4], "pages")
        # The session is kept, its folder changes.
        work.folder = f"{arguments.out}/work"
        with largest_worker() as peak:
            began = time.perf_counter()
            stages(work, arguments.warc, "pages")
            seconds = time.perf_counter() - began
    return {"seconds": seconds, "worker_mb": peak[0]}


@contextlib.contextmanager
def largest_worker() -> Iterator[list[float]]:
    """The peak resident set in MB of any of Spark's Python workers below this process, looked at twice a second."""
    peak, stop = [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            for pid in descendants(os.getpid()):
                with contextlib.suppress(OSError):  # it may have ended
                    command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    if b"-m" in command[:3] and any(word.startswith(b"pyspark.") for word in command):
                        status = pathlib.Path(f"/proc/{pid}/status").read_text()
                        peak[0] = max(peak[0], int(status.partition("VmHWM:")[2].split()[0]) / 1024)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def descendants(pid: int) -> list[int]:
    """Processes below `pid`."""
    parents: dict[int, list[int]] = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def scaling(warcs: list[str], repeats: int, scratch: str) -> dict[str, Any]:
    """local[4] against local[1], in turn."""
    runs: dict[int, list[dict[str, float]]] = {1: [], 4: []}
    for repeat in range(repeats):
        for cores, times in runs.items():
            out = f"{scratch}/spark-{cores}-{repeat}"
            command = [sys.executable, "-m", "benchmarks.extraction_speed", "--one", "spark"]
            run = alone(
                [*command, "--master", f"local[{cores}]", "--out", out, *warcs], os.sched_getaffinity(0)
            )
            times.append(run)
            print(f"local[{cores}] {run['seconds']:12.1f} s", flush=True)
    seconds = {cores: median(run["seconds"] for run in times) for cores, times in runs.items()}
    worker = max(run["worker_mb"] for times in runs.values() for run in times)
    print(
        f"local[4] is faster than local[1] by {seconds[1] / seconds[4]:.2f} (bar: 3.2); worker {worker:.0f} MB"
    )
    return {
        "seconds": {f"local[{cores}]": [run["seconds"] for run in times] for cores, times in runs.items()},
        "speed_up": seconds[1] / seconds[4],
        "worker_mb": worker,
    }


def deal(warcs: list[str], folder: str, files: int, every: int) -> list[str]:
    """One in `every` response records of a crawl, dealt out to `files` new files."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    os.makedirs(folder, exist_ok=True)
    paths = [f"{folder}/dealt-{number:02}.warc.gz" for number in range(files)]
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(open(path, "wb")) for path in paths]
        number = 0
        for path in warcs:
            for one in ArchiveIterator(path, record_types=WarcRecordType.response, parse_http=False):
                if number % every == 0:
                    outputs[number // every % files].write(member(one))
                number += 1
    return paths


def member(record: Any) -> bytes:
    """A record as a gzip member."""
    import gzip
    import io

    buffer = io.BytesIO()
    record.write(buffer)
    return gzip.compress(buffer.getvalue(), 6)


if __name__ == "__main__":
    main()
