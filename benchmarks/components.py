"""Connected components of growing graphs on four cores: equality with scipy, rounds, seconds and memory.

    python -m benchmarks.components [--edges N ...] [--heap 4g]

A graph of N edges is a random one of N edges over N nodes (one large component and many small ones), with ten chains of
N / 100 nodes, five of them numbered at random, and two stars of N / 10 leaves, one about its least and one about its
greatest node. Node numbers are drawn below 2^62 and edges are shuffled. Memory is the largest sum of proportional set
sizes of the Java process and the Python workers. Seconds of the clock tell little on a machine that others use;
processor seconds are those of the same processes.
"""

import argparse
import contextlib
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.record import record
from jobs.components import EDGES_OF_ONE_TASK, components
from jobs.engine import Work
from jobs.progress import Progress
from jobs.spark import Spark

Ints = np.ndarray[Any, np.dtype[np.int64]]


def graph(size: int, seed: int) -> tuple[Ints, Ints, int]:
    """Edges (u, v) of compact numbers, and how many numbers there are."""
    draw = np.random.default_rng(seed)
    edges = [draw.integers(0, size, (size, 2))]
    nodes = size
    for number in range(10):
        chain = nodes + np.arange(size // 100)
        if number % 2:
            draw.shuffle(chain)
        edges.append(np.stack([chain[:-1], chain[1:]], 1))
        nodes += len(chain)
    for centre in (0, size // 10):
        star = nodes + np.arange(size // 10 + 1)
        edges.append(np.stack([np.full(len(star), star[centre]), star], 1))
        nodes += len(star)
    whole = np.concatenate(edges)
    draw.shuffle(whole)
    return whole[:, 0], whole[:, 1], nodes


def expected(u: Ints, v: Ints, names: Ints) -> tuple[Ints, Ints]:
    """Nodes that an edge ties to another, in order of their names, and the least name in the component of each."""
    apart = u != v
    matrix = coo_matrix((np.ones(apart.sum(), np.int8), (u[apart], v[apart])), (len(names), len(names)))
    count, labels = connected_components(matrix, directed=False)
    least = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(least, labels, names)
    touched = np.zeros(len(names), bool)
    touched[u[apart]] = touched[v[apart]] = True
    order = np.argsort(names[touched])
    return names[touched][order], least[labels[touched]][order]


def below(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from below(int(child))


def processor_seconds() -> float:
    """Of the processes below this one, and of those that they have seen end."""
    ticks = 0
    for pid in below(os.getpid()):
        with contextlib.suppress(OSError):
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, stat[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def memory() -> Iterator[dict[str, float]]:
    """GB that the processes below this one take together, at their highest."""
    peak = {"java": 0.0, "python": 0.0, "together": 0.0}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            now = {"java": 0.0, "python": 0.0}
            for pid in below(os.getpid()):
                with contextlib.suppress(OSError, StopIteration):
                    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                    size = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e6
                    java = "java" in pathlib.Path(f"/proc/{pid}/comm").read_text()
                    now["java" if java else "python"] += size
            for name, value in (now | {"together": sum(now.values())}).items():
                peak[name] = max(peak[name], value)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def measure(size: int, heap: str, one_task: int) -> dict[str, Any]:
    u, v, nodes = graph(size, seed=size)
    # Distinct numbers below 2^62 in an order of their own: an odd factor permutes them.
    names = (np.arange(nodes, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) % np.uint64(2**62)).astype(
        np.int64
    )
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/edges.parquet"
        pq.write_table(pa.table({"u": names[u], "v": names[v]}), source, row_group_size=1 << 18)
        spark = Spark("local[4]", {"spark.driver.memory": heap}, f"{folder}/logs/spark.log")
        with Work(f"{folder}/work", spark, Progress(quiet=True)) as work, memory() as peak:
            frame = work.spark.session.read.parquet(source)
            work.collect(frame.groupBy().count())  # the session is awake
            began, spent = time.perf_counter(), processor_seconds()
            found = components(work, frame, work.path("scratch"), one_task)
            seconds, spent = time.perf_counter() - began, processor_seconds() - spent
            kept = sum(f.stat().st_size for f in pathlib.Path(work.path("scratch")).rglob("*.parquet"))
        table = found.rows.toArrow().sort_by("node")
        spark.stop()
    least = expected(u, v, names)
    equal = all(np.array_equal(table[i].to_numpy(), least[i]) for i in (0, 1)) and found.nodes == len(table)
    return {
        "edges": len(u),
        "nodes": found.nodes,
        "clusters": len(np.unique(least[1])),
        "equal to scipy": bool(equal),
        "rounds": found.rounds,
        "seconds": round(seconds, 1),
        "processor seconds": round(spent, 1),
        "edges a processor second": round(len(u) / spent),
        "peak GB": {name: round(value, 2) for name, value in peak.items()},
        "result MB": round(kept / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--edges", nargs="*", type=int, default=[10**5, 10**6, 10**7])
    parser.add_argument("--heap", default="4g", help="of the Java process")
    parser.add_argument(
        "--one-task", type=int, default=EDGES_OF_ONE_TASK, help="edges that one task finishes"
    )
    arguments = parser.parse_args()
    results = []
    for size in arguments.edges:
        results.append(measure(size, arguments.heap, arguments.one_task))
        print(results[-1], flush=True)
    record(
        "components", {"heap": arguments.heap, "graphs": results}, ["pyspark", "pyarrow", "numpy", "scipy"]
    )


if __name__ == "__main__":
    main()
