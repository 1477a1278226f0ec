"""Runs of a recipe from which `lode plan` takes its rates, and how well it foretells each of them from the others.

python -m benchmarks.plan [--keep FOLDER]

Two crawls: the sample's, and the documentation and sources of the packages installed here, each in several sizes and
with settings that differ, so that what grows with what can be told apart. Each run is a `lode run` from an empty
folder on four cores. CPU seconds (all processes of the run) and the largest Python worker are read from /proc, shuffled
bytes from Spark's event log; both are given to the stage that ran at the time. Writes `jobs/rates.toml` and
`results/plan.json`. Linux; some ten minutes.
"""

import argparse
import bisect
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from benchmarks.record import SAMPLE, processor, record
from corpus.docs_crawl import write_crawl
from jobs.plan import backtest
from jobs.plan_runs import Measurement, Run, model_of, run_of, runs_as_toml

ROOT = pathlib.Path(__file__).resolve().parents[1]
RATES = ROOT / "jobs" / "rates.toml"
CORES = 4
SAMPLING = 0.1  # seconds
PACKAGES = ("numpy", "networkx", "pydantic", "rich", "fsspec", "docutils", "jinja2", "pygments", "markdown_it", "typer",
    "urllib3", "datasketch", "tldextract", "tokenizers")  # fmt: skip

RECIPE = """
name = "rates"
seed = 1
[mine]
max_rounds = 2
stop_share = 1.0
path_share = 0.7
classifier = { bucket = 200_000 }
rest = { name = "general", share = 0.5 }
[deduplicate]
[decontaminate]
benchmarks = ["installed:stdlib.statistics", "installed:stdlib.fractions"]
[tokenizer]
vocabulary_size = 8192
sample_chars = 1_000_000
[mixture]
weights = { general = 0.7, code = 0.3 }
[pack]
sequence_length = 4096
held_out_tokens = 30_000
[spark]
"spark.eventLog.enabled" = "true"
"spark.eventLog.compress" = "false"
"spark.eventLog.rolling.enabled" = "false"
"""
# (name, crawl, parts of its files, settings that differ)
RUNS = (
    ("sample 1/4", "sample", 0.25, {"mine.classifier.passes": 40_000, "tokenizer.sample_chars": 4_000_000}),
    ("sample 1/2", "sample", 0.5, {"deduplicate.permutations": 256, "mine.classifier.bucket": 400_000}),
    ("sample", "sample", 1.0, {}),
    (
        "packages 1/2",
        "packages",
        0.5,
        {"deduplicate.permutations": 256, "mine.classifier.dim": 128, "tokenizer.sample_chars": 4_000_000},
    ),
    ("packages", "packages", 1.0, {}),
    ("both", "both", 1.0, {"deduplicate.permutations": 64, "mine.classifier.passes": 60_000}),
)


class Sampler(threading.Thread):
    """CPU seconds of a process and all its descendants over time, and the largest Python process below it."""

    def __init__(self, root: int):
        super().__init__(daemon=True)
        self.root = root
        self.times: list[float] = []
        self.cpu: list[float] = []
        self.largest: list[int] = []
        self.done = threading.Event()

    def run(self) -> None:
        tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        spent: dict[tuple[int, str], int] = {}  # what ended stays counted
        while not self.done.is_set():
            found = {}
            for entry in os.listdir("/proc"):
                if entry.isdigit():
                    try:
                        text = pathlib.Path("/proc", entry, "stat").read_text()
                    except OSError:
                        continue
                    name, _, rest = text.partition("(")[2].rpartition(")")
                    # From the third on: state, parent, ..., user and system time, ..., start, size, resident pages.
                    found[int(entry)] = name, rest.split()
            tree, grown = {self.root}, True
            while grown:
                below = {pid for pid, (_, rest) in found.items() if int(rest[1]) in tree and pid not in tree}
                tree |= below
                grown = bool(below)
            largest = 0
            for pid in tree & set(found):
                name, rest = found[pid]
                spent[pid, rest[19]] = int(rest[11]) + int(rest[12])
                if pid != self.root and name.startswith("python"):
                    largest = max(largest, int(rest[21]) * page)
            self.times.append(time.time())
            self.cpu.append(sum(spent.values()) / tick)
            self.largest.append(largest)
            self.done.wait(SAMPLING)

    def seconds(self, start: float, end: float) -> float:
        return self._at(end) - self._at(start)

    def worker(self, start: float, end: float) -> int:
        return max(self.largest[bisect.bisect(self.times, start) : bisect.bisect(self.times, end)], default=0)

    def _at(self, when: float) -> float:
        after = min(max(bisect.bisect(self.times, when), 1), len(self.times) - 1)
        t0, t1, c0, c1 = *self.times[after - 1 : after + 1], *self.cpu[after - 1 : after + 1]
        return c0 + (c1 - c0) * min(max((when - t0) / (t1 - t0), 0), 1)


def shuffles(events: pathlib.Path) -> list[tuple[float, int]]:
    """(time, bytes written for a shuffle) of each task in Spark's event logs."""
    found = []
    for file in events.iterdir():
        for line in file.read_text().splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd":
                written = (event.get("Task Metrics") or {}).get("Shuffle Write Metrics") or {}
                found.append(
                    (event["Task Info"]["Finish Time"] / 1000, written.get("Shuffle Bytes Written", 0))
                )
    return found


def inputs(scratch: pathlib.Path) -> dict[str, dict[str, list[str]]]:
    """The files of each crawl, and archives that go with it."""
    print("writing the crawl of packages ...", flush=True)
    write_crawl(["installed:*"], str(scratch / "packages"), 8)
    write_crawl(["installed:scipy.special", "installed:sympy.functions"], str(scratch / "seeds"), 4)
    (scratch / "archives").mkdir()
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            with tarfile.open(scratch / "archives" / f"{name}.tar.gz", "w:gz") as archive:
                archive.add(place, name)
    found = {
        "sample": {
            "web": sorted(map(str, (SAMPLE / "web").glob("dev-*.warc.gz"))),
            "archives": sorted(str(p) for p in (SAMPLE / "repos").iterdir() if p.suffix != ".json"),
        },
        "packages": {
            "web": sorted(map(str, (scratch / "packages").glob("*.warc.gz"))),
            "archives": sorted(map(str, (scratch / "archives").iterdir())),
        },
    }
    found["both"] = {kind: found["sample"][kind] + found["packages"][kind] for kind in ("web", "archives")}
    return found


def measure(
    name: str, crawl: str, share: float, changes: dict[str, Any], found: Any, scratch: pathlib.Path
) -> Run:
    work, events = scratch / "work", scratch / "events"
    for folder in (work, events):
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    events.mkdir()
    recipe = scratch / "rates.toml"
    chosen = {kind: paths[: max(round(share * len(paths)), 1)] for kind, paths in found[crawl].items()}
    recipe.write_text(
        RECIPE
        + f'"spark.eventLog.dir" = "{events}"\n'
        + f'[sources.crawl]\nkind = "web"\ninput = {json.dumps(chosen["web"])}\n'
        + f'[sources.code]\nkind = "repositories"\ninput = {json.dumps(chosen["archives"])}\n'
        + f'[mine.targets.mathematics]\nseeds = ["{scratch}/seeds/*.warc.gz"]\n'
    )
    command = [
        sys.executable,
        "-m",
        "jobs.cli",
        "run",
        str(recipe),
        "--work",
        str(work),
        "--master",
        f"local[{CORES}]",
    ]
    command += [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    with open(scratch / "said.txt", "w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stderr=said, stdout=said)
        sampler = Sampler(process.pid)
        sampler.start()
        status = process.wait()
        sampler.done.set()
        sampler.join()
        if status:
            said.seek(0)
            sys.exit(f"{name}: {said.read()}")
    run = run_of(str(work))
    written = shuffles(events)
    seen: dict[str, dict[str, float]] = {}
    for file in work.rglob("_lode.json"):
        manifest = json.loads(file.read_text())
        start = datetime.fromisoformat(manifest["started"]).timestamp()
        end = start + manifest["wall_seconds"]
        values = seen.setdefault(
            model_of(manifest["stage"]), dict.fromkeys(("cpu", "shuffle", "worker"), 0.0)
        )
        values["cpu"] += sampler.seconds(start, end)
        values["shuffle"] += sum(size for when, size in written if start <= when <= end)
        values["worker"] = max(values["worker"], sampler.worker(start, end))
    stages: dict[str, Measurement] = {
        stage: replace(
            m,
            core_seconds=seen[stage]["cpu"],
            shuffle_bytes=seen[stage]["shuffle"],
            worker_bytes=seen[stage]["worker"],
        )
        for stage, m in run.stages.items()
    }
    return replace(
        run, name=name, crawls=["sample", "packages"] if crawl == "both" else [crawl], stages=stages
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--keep", help="write to this folder, and leave the last work folder there")
    arguments = parser.parse_args()
    if not SAMPLE.is_dir():
        sys.exit(f"No sample data at {SAMPLE}.")
    began = time.perf_counter()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(arguments.keep or folder)
        scratch.mkdir(exist_ok=True)
        found = inputs(scratch)
        for name, crawl, share, changes in RUNS:
            runs.append(measure(name, crawl, share, changes, found, scratch))
            total = sum(m.core_seconds for m in runs[-1].stages.values())
            print(f"{name}: {total:.0f} core-seconds", flush=True)
    head = f"# Written by `python -m benchmarks.plan` on {CORES} cores of {processor()}.\n"
    RATES.write_text(f"{head}\n{runs_as_toml(runs)}", encoding="utf-8")
    tested = backtest(runs)
    for row in tested:
        print(row["run"], row["total"]["core_seconds"])
    result = {
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "runs": {
            row["run"]: {
                "total": rounded(row["total"]),
                "stages": {each.pop("stage"): rounded(each) for each in row["stages"]},
            }
            for row in tested
        },
    }
    record("plan", result, ["lode", "pyspark", "scipy"])


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return round(value, 2) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
