"""How fast near-duplicates go, beside other tools: whole jobs, and text to signatures on one core.

    python -m benchmarks.dedup_corpus CORPUS
    python -m benchmarks.dedup_speed CORPUS [--peer TOOL=PYTHON ...] [--repeats 3]

A whole job is one command that reads the documents and writes what survives, from the start of its process to its end:
`lode dedup` on local[CORES] with the start of the JVM in it (Parquet in and out), the others as `dedup_peers` runs them
(JSON lines in, their own format out; it says what to install in each PYTHON). All have the same documents, bands, rows,
word 5-grams and cores, take turns, and are measured --repeats times, those over a minute once. Medians count; where
others use the machine as well, the least CPU seconds say more. Lode runs twice, once without its check of candidates by
their exact similarity, as the others have none, and once at the default setting for the same Jaccard target. Memory is
the largest sum over all processes of a job of their proportional sets (a page that is shared counts once). A pair of
the corpus counts as found if it loses a member; recall stands beside what 1 - (1 - s^rows)^bands expects of the pairs.

On one core: documentation, pages of mathematics and source code as they are found here, text in memory to signatures,
for Lode with the profile made for it. For the libraries the seconds of their own part, token sets to signatures, stand
beside those for cutting shingles with a regular expression.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.dedup_corpus import found_here
from benchmarks.extraction_speed import alone, descendants
from benchmarks.record import SAMPLE, record
from corpus import storage
from corpus.extract import extract_pages
from corpus.minhash import MinHash

PEERS = pathlib.Path(__file__).with_name("dedup_peers.py")
TOOLS = ("datatrove", "text-dedup", "data-juicer", "rensa", "datasketch")
LIBRARIES = ("rensa", "datasketch")
BANDS, ROWS, NGRAM = 14, 8, 5
BARS = {"datatrove": 10.0} | dict.fromkeys(TOOLS[1:], 3.0)
TEXT_MEGABYTES = 20
BATCH = 256


def whole(command: list[str]) -> dict[str, float]:
    """Run one job: wall seconds; of all its processes, seen four times a second, CPU seconds and peak memory in MB."""
    peak, spent, stop = [0.0], dict[int, float](), threading.Event()
    with tempfile.TemporaryFile() as printed:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)

        def look() -> None:
            while not stop.wait(0.25):
                alive = [process.pid, *descendants(process.pid)]
                peak[0] = max(peak[0], sum(map(memory, alive)))
                spent.update({pid: seconds for pid in alive if (seconds := cpu_seconds(pid))})

        watcher = threading.Thread(target=look)
        watcher.start()
        status = process.wait()
        seconds = time.perf_counter() - began
        stop.set()
        watcher.join()
        if status:
            printed.seek(0)
            tail = printed.read().decode("utf-8", "replace")[-2000:]
            sys.exit(f"{' '.join(command[:5])} ... failed with status {status}:\n{tail}")
    return {"seconds": seconds, "cpu_seconds": sum(spent.values()), "memory_mb": peak[0]}


def cpu_seconds(pid: int) -> float:
    """What a process itself has used, without its children; 0 where it has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def memory(pid: int) -> float:
    """The proportional set of a process in MB; 0 where it has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(status.partition("\nPss:")[2].split()[0]) / 1024
    return 0.0


def scores(survivors: set[str], pairs: list[dict[str, Any]], documents: int) -> dict[str, Any]:
    """Recall by tenths of known similarity, against the curve; and pairs of which nothing is left."""
    bands: dict[str, list[tuple[bool, float]]] = {}
    for pair in pairs:
        similarity = pair["jaccard"]
        found = not {pair["base"], pair["variant"]} <= survivors
        expected = 1 - (1 - similarity**ROWS) ** BANDS
        bands.setdefault(f"{int(similarity * 10 + 1e-9) / 10:.1f}", []).append((found, expected))
    return {
        "removed": documents - len(survivors),
        "pairs_lost_entirely": sum(not {p["base"], p["variant"]} & survivors for p in pairs),
        "recall": {
            name: round(float(np.mean([f for f, _ in rows])), 3) for name, rows in sorted(bands.items())
        },
        "expected": {
            name: round(float(np.mean([e for _, e in rows])), 3) for name, rows in sorted(bands.items())
        },
    }


def lode_command(source: pathlib.Path, out: str, cores: int, verify: bool) -> list[str]:
    program = str(pathlib.Path(sys.executable).with_name("lode"))
    options = ["--input", str(source), "--out", out, "--profile", "prose", "--ngram", str(NGRAM)]
    options += ["--master", f"local[{cores}]"]
    options += [] if verify else ["--no-verify", "--bands", str(BANDS), "--rows", str(ROWS)]
    return [program, "dedup", *options]


def jobs(arguments: argparse.Namespace, peers: dict[str, str]) -> dict[str, Any]:
    """All whole jobs, in turns."""
    corpus: pathlib.Path = arguments.corpus
    cores = len(os.sched_getaffinity(0))
    table = pq.read_table(corpus / "documents", columns=["id", "text"])
    megabytes = sum(len(text.encode()) for text in table["text"].to_pylist()) / 1e6
    pairs = pq.read_table(corpus / "pairs.parquet").to_pylist()
    print(f"{table.num_rows} documents, {megabytes:.1f} MB, {len(pairs)} pairs, {cores} cores", flush=True)
    names = ["lode", "lode verified"]
    for tool in peers:
        names += [f"{tool}, 1 process", f"{tool}, {cores} processes"] if tool in LIBRARIES else [tool]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    quality: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        for repeat in range(arguments.repeats):
            for name in names:
                if repeat and runs[name][0]["seconds"] > 60:
                    continue
                out = f"{scratch}/out"
                tool = name.partition(",")[0]
                if tool in peers:
                    workers = 1 if name.endswith("1 process") else cores
                    numbers = map(str, (BANDS, ROWS, NGRAM, workers))
                    run = whole([peers[tool], str(PEERS), "run", tool, str(corpus / "jsonl"), out, *numbers])
                else:
                    run = whole(lode_command(corpus / "documents", out, cores, name == "lode verified"))
                if not repeat:
                    quality[name] = scores(survivors(tool, out, peers), pairs, table.num_rows)
                runs[name].append(run)
                print(f"{name:24}{' '.join(f'{key} {value:.1f}' for key, value in run.items())}", flush=True)
                shutil.rmtree(out)
    rows = {}
    for name, times in runs.items():
        seconds = median(run["seconds"] for run in times)
        rows[name] = {
            "seconds": [round(run["seconds"], 2) for run in times],
            "cpu_seconds": [round(run["cpu_seconds"], 1) for run in times],
            "mb_per_s": round(megabytes / seconds, 2),
            "memory_mb": round(max(run["memory_mb"] for run in times)),
            **quality[name],
        }
        rows[name]["lode_is_faster_by"] = round(rows["lode"]["mb_per_s"] / rows[name]["mb_per_s"], 2)
        least = [min(rows[one]["cpu_seconds"]) for one in (name, "lode")]
        rows[name]["by_cpu_seconds"] = round(least[0] / least[1], 2)
    heads = f"{'MB/s':>8}{'peak MB':>9}{'removed':>9}{'Lode faster by':>16}{'by CPU':>8}"
    print(f"\n{'':24}{heads}   recall by tenths of s")
    for name, row in rows.items():
        bar = BARS.get(name.partition(",")[0])
        recall = " ".join(f"{value:.2f}" for value in row["recall"].values())
        print(
            f"{name:24}{row['mb_per_s']:8.2f}{row['memory_mb']:9}{row['removed']:9}{row['lode_is_faster_by']:16.2f}"
            f"{row['by_cpu_seconds']:8.2f}"
            f"   {recall}{f'   (bar: {bar:.0f})' if bar else ''}"
        )
    print(f"{'expected':77}{' '.join(f'{value:.2f}' for value in rows['lode']['expected'].values())}")
    return {
        "documents": table.num_rows,
        "megabytes": megabytes,
        "pairs": len(pairs),
        "cores": cores,
        "jobs": rows,
    }


def version(tool: str, python: str) -> str:
    """The version of a tool in an interpreter of its own."""
    package = {"data-juicer": "py-data-juicer"}.get(tool, tool)
    ask = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    asked = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    if asked.returncode:
        sys.exit(f"--peer {tool}={python}: {package} is not installed there; dedup_peers says how.")
    return asked.stdout.strip()


def survivors(tool: str, out: str, peers: dict[str, str]) -> set[str]:
    if tool in peers:
        listed = subprocess.run(
            [peers[tool], str(PEERS), "ids", tool, out], check=True, capture_output=True, text=True
        )
        return set(listed.stdout.split())
    parts = storage.parquet_parts(out)
    return {name for part in parts for name in pq.read_table(part, columns=["id"])["id"].to_pylist()}


def real_kinds() -> dict[str, list[str]]:
    """Documentation, pages of mathematics and source code as they lie here, some 20 MB of each, or what there is."""
    found: dict[str, list[str]] = {"prose": [], "math": [], "code": []}
    suffixes = {".md": "prose", ".rst": "prose", ".txt": "prose", ".py": "code", ".c": "code", ".h": "code"}
    sizes = dict.fromkeys(found, 0)
    for folder in found_here():
        for path in sorted(pathlib.Path(folder).rglob("*")):
            kind = suffixes.get(path.suffix)
            if kind is None or sizes[kind] > TEXT_MEGABYTES * 10**6 or not path.is_file():
                continue
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if len(text := path.read_text("utf-8")) > 500:
                    found[kind].append(text)
                    sizes[kind] += len(text)
    labels = SAMPLE / "web" / "labels.parquet"
    if labels.is_file():
        table = pq.read_table(labels, columns=["url", "class"]).to_pylist()
        math = {row["url"] for row in table if row["class"] == "math"}
        for batch in extract_pages(sorted(map(str, (SAMPLE / "web").glob("dev-*.warc.gz"))), "web"):
            for url, text in zip(batch["url"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if text and url in math:
                    found["math"].append(text)
    return {kind: texts for kind, texts in found.items() if texts}


def one_core(peers: dict[str, str], repeats: int, core: int) -> dict[str, Any]:
    """Text to signatures, everybody in turn on one core."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind, texts in real_kinds().items():
            path = f"{scratch}/{kind}.jsonl"
            pathlib.Path(path).write_text(
                "".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8"
            )
            megabytes = sum(len(text.encode()) for text in texts) / 1e6
            commands = {"lode": [sys.executable, "-m", "benchmarks.dedup_speed", "--one", kind, path]}
            for tool in LIBRARIES:
                if tool in peers:
                    commands[tool] = [
                        peers[tool],
                        str(PEERS),
                        "part",
                        tool,
                        str(BANDS * ROWS),
                        str(NGRAM),
                        path,
                    ]
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
            for _ in range(repeats):
                for name, command in commands.items():
                    runs[name].append(alone(command, {core}))
            rows: dict[str, Any] = {"documents": len(texts), "megabytes": round(megabytes, 1)}
            for name, times in runs.items():
                shingles = median(run.get("shingles", 0.0) for run in times)
                signatures = median(run["signatures"] for run in times)
                rows[name] = {"mb_per_s": round(megabytes / (shingles + signatures), 2)}
                if shingles:
                    rows[name]["of_sets_mb_per_s"] = round(megabytes / signatures, 2)
                    rows[name]["lode_is_faster_by"] = round(
                        rows["lode"]["mb_per_s"] / rows[name]["mb_per_s"], 2
                    )
            result[kind] = rows
            print(f"one core, {kind}: {rows}", flush=True)
    return result


def lode_part(profile: str, path: str) -> dict[str, float]:
    texts = [json.loads(line) for line in pathlib.Path(path).read_text("utf-8").splitlines()]
    minhash = MinHash(profile, NGRAM, BANDS, ROWS, 0)  # type: ignore[arg-type]
    minhash.signatures(texts[:20])
    began, before = time.perf_counter(), time.process_time()
    for at in range(0, len(texts), BATCH):
        minhash.band_keys(minhash.signatures(texts[at : at + BATCH]))
    return {"signatures": time.perf_counter() - began, "cpu_before": before}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=pathlib.Path, nargs="?", help="made by benchmarks.dedup_corpus")
    parser.add_argument("--peer", action="append", default=[], metavar="TOOL=PYTHON", help=", ".join(TOOLS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", help="folder for what the jobs write")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=["jobs", "one_core"], help="half of it, and no record")
    parser.add_argument("--note", default="", help="what else ran on the machine, for the record")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(lode_part(*arguments.one)))
        return
    peers = dict(peer.split("=", 1) for peer in arguments.peer)
    if unknown := set(peers) - set(TOOLS):
        sys.exit(f"--peer {min(unknown)}: there are {', '.join(TOOLS)}.")
    if arguments.only != "one_core" and not (
        arguments.corpus and (arguments.corpus / "pairs.parquet").is_file()
    ):
        sys.exit("Name a folder made by `python -m benchmarks.dedup_corpus`.")
    result: dict[str, Any] = {"note": arguments.note} if arguments.note else {}
    result["peers"] = {tool: version(tool, python) for tool, python in peers.items()}
    if arguments.only != "jobs":
        result["one_core"] = one_core(peers, arguments.repeats, arguments.core)
    if arguments.only != "one_core":
        result |= jobs(arguments, peers)
    if not arguments.only:
        record("dedup_speed", result, ["lode", "pyspark", "numpy", "pyarrow"])


if __name__ == "__main__":
    main()
