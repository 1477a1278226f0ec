"""How long a question takes over a work folder of ten million documents, and how much memory.

    python -m benchmarks.inspect_speed [--work FOLDER] [--documents N] [--processes N] [--questions PAGE] [--keep]

Writes the folder of `benchmarks.inspect_corpus` (12 GB), unless it is there, and asks it the ten questions of
`docs/inspect.md`, with names that occur in it in place of the page's own, and every question of `corpus/sql/`. Each is
asked three times, in a fresh process with four threads; medians are told of the seconds to open the folder, those to
the answer with all its rows, and the processor's seconds of all threads for the answer, and the highest peak of the
process's resident memory. The files are in the system's cache. Where other programs share the machine (`others_load`)
a fourth of the processor's seconds says more than the clock. Exits with 1 where one of the ten takes 2 seconds or 4 GB.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import inspect_corpus
from benchmarks.record import record
from corpus import inspect

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "inspect.md"
THREADS, TIMES, SECONDS, MEMORY = 4, 3, 2.0, 4096
HEADING = re.compile(r"^#+ (\d+)\. ([^\n]+)$|^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def ten_questions(page: str) -> dict[str, str]:
    """The SQL below the numbered headings of a page; a second query of one heading is another entry."""
    found: dict[str, str] = {}
    heading, queries = "", 0
    for match in HEADING.finditer(page):
        if match[1]:
            heading, queries = f"{match[1]}. {match[2].strip()}", 0
        elif heading:
            queries += 1
            found[heading if queries == 1 else f"{heading} ({queries})"] = match[3]
    return found


def names(work: pathlib.Path) -> dict[str, str]:
    """What stands in this folder where the page names something of the quickstart's."""
    connection = inspect.open_work(str(work), THREADS)
    _, rows = inspect.query(connection, "SELECT id, url, domain FROM corpus WHERE url IS NOT NULL LIMIT 1")
    return dict(zip(("id", "url", "domain"), rows[0], strict=True))


def transposed(sql: str, known: dict[str, str]) -> str:
    """A question of the page with a URL, an id and a repository of this folder."""
    sql = re.sub(r"'https?://[^']*'", f"'{known['url']}'", sql)
    sql = re.sub(r"'[0-9a-f]{32}'", f"'{known['id']}'", sql)
    return re.sub(r"'[\w-]+-docs\.example'", f"'{known['domain']}'", sql)


def answer(work: str) -> None:
    """The child: asks what comes in on standard input."""
    sql = sys.stdin.read()
    began = time.perf_counter()
    connection = inspect.open_work(work, THREADS)
    connection.execute("SET VARIABLE pattern = '%site7.example/folder2/0-3%'")
    opened, before = time.perf_counter(), time.process_time()
    _, rows = inspect.query(connection, sql)
    answered, processor = time.perf_counter(), time.process_time() - before
    status = pathlib.Path("/proc/self/status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    found = {"open": opened - began, "answer": answered - opened, "processor": processor}
    print(json.dumps(found | {"megabytes": peak, "rows": len(rows)}))


def measured(work: pathlib.Path, sql: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.inspect_speed", "--work", str(work), "--answer"]
    load, runs = os.getloadavg()[0], []
    for _ in range(TIMES):
        done = subprocess.run(command, input=sql, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{sql}\n{done.stderr}")
        runs.append(json.loads(done.stdout))
    shown = {
        name: round(statistics.median(run[name] for run in runs), 3)
        for name in ("open", "answer", "processor")
    }
    peak = round(max(run["megabytes"] for run in runs))
    return shown | {"megabytes": peak, "rows": runs[0]["rows"], "others_load": round(load, 1)}


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--work", type=pathlib.Path)
    arguments.add_argument("--documents", type=int, default=10_000_000)
    arguments.add_argument("--processes", type=int, default=3)
    arguments.add_argument(
        "--questions", type=pathlib.Path, default=PAGE, help="a page of numbered headings and SQL"
    )
    arguments.add_argument("--keep", action="store_true", help="leave the folder where it is")
    arguments.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.answer:
        answer(str(given.work))
        return 0
    work = given.work or pathlib.Path(tempfile.mkdtemp())
    if not (work / "run" / "_lode.json").exists():
        inspect_corpus.write_work(work, given.documents, given.processes)
    known = names(work)
    ten = {
        name: transposed(sql, known)
        for name, sql in ten_questions(given.questions.read_text(encoding="utf-8")).items()
    }
    asked = ten | {name: question.sql for name, question in inspect.statistics().items()}
    found: dict[str, dict[str, Any]] = {}
    for name, sql in asked.items():
        found[name] = measured(work, sql)
        print(f"{name:60.60} {found[name]}", flush=True)
    sql = "SELECT stage, rows_written, bytes, final FROM stages WHERE rows_written > 0"
    stages = inspect.query(inspect.open_work(str(work), THREADS), sql)[1]
    folder = {
        "documents": sum(row[1] for row in stages if row[3]),
        "rows": {row[0]: row[1] for row in stages},
        "text_gigabytes": round(
            sum(row[2] for row in stages if row[0] in ("deduplicated", "repositories")) / 1e9, 1
        ),
        "disk_gigabytes": round(sum(f.stat().st_size for f in work.rglob("*") if f.is_file()) / 1e9, 1),
    }
    result = {"folder": folder, "threads": THREADS, "bars": {"seconds": SECONDS, "megabytes": MEMORY}}
    result |= {"ten": {n: found[n] for n in ten}, "named": {n: found[n] for n in found if n not in ten}}
    record("inspect_speed", result, ["duckdb", "pyarrow"])
    if not given.keep and not given.work:
        shutil.rmtree(work)
    missed = [n for n in ten if found[n]["answer"] >= SECONDS or found[n]["megabytes"] >= MEMORY]
    print("\n".join(f"missed: {name}" for name in missed))
    return 1 if missed or len({name.partition(".")[0] for name in ten}) != 10 else 0


if __name__ == "__main__":
    sys.exit(main())
