"""Orders and windows over dependency graphs: how much of a repository's graph a training window holds.

    python -m benchmarks.windows [DATA/graphs ...] [--files 50000]

Each NAME.json in the folders lists files and edges of the sources in NAME.tar.gz; sizes are characters, 3.5 to a
token. For each graph: the share of edges that an order satisfies (with the share that no order can exceed, since of
two files that need each other one comes first), and the share whose target stands earlier in the same window, at 16K
and 128K tokens, for the orders cut where the next file does not fit, for a depth-first post-order so cut, for greedy
merging by shared edges alone, and for `clustered`. Then the time of `dependency` and `clustered` on made graphs: one
of many files with popular ones and a great cycle, and a small one in which every file needs every other.
"""

import argparse
import itertools
import json
import pathlib
import random
import statistics
import tarfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.record import SAMPLE, record
from repo_ordering.cycles import strongly_connected
from repo_ordering.order import dependency, satisfied, topological
from repo_ordering.windows import compose, cut, in_window_coverage

Pair = tuple[str, str]
CHARS_PER_TOKEN = 3.5
BUDGETS = {"16k": 16_384, "128k": 131_072}
ORDERS = ["random", "path", "topological", "dependency"]
METHODS = [*ORDERS, "post_order", "greedy", "clustered"]


def read_graph(path: pathlib.Path) -> tuple[dict[str, int], list[Pair]]:
    """Sizes in characters of the files that a graph lists and its archive holds, and the edges between them."""
    oracle = json.loads(path.read_text())
    listed = set(oracle["files"])
    sizes: dict[str, int] = {}
    with tarfile.open(path.with_name(f"{path.stem.removesuffix('-scip')}.tar.gz")) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            if member.isfile() and name in listed:
                sizes[name] = len(archive.extractfile(member).read().decode("utf-8", "replace"))
    return sizes, sorted({(s, t) for s, t in oracle["edges"] if s in sizes and t in sizes and s != t})


def post_order(sizes: Mapping[str, int], edges: Sequence[Pair]) -> list[str]:
    """Depth-first post-order from the files by path: what a file needs right before it."""
    targets: dict[str, list[str]] = {path: [] for path in sorted(sizes)}
    for source, target in edges:
        targets[source].append(target)
    order: dict[str, None] = {}
    seen: set[str] = set()
    for start in targets:
        work = [(start, iter(targets[start]))] if start not in seen else []
        seen.add(start)
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in seen:
                    seen.add(target)
                    work.append((target, iter(targets[target])))
                    break
            else:
                order[node] = None
                work.pop()
    return list(order)


def greedy(sizes: Mapping[str, int], edges: Sequence[Pair], budget: int) -> list[list[str]]:
    """The plain way: start a window with the most linked file left, add what shares most edges with it and fits."""
    around: dict[str, set[str]] = {path: set() for path in sizes}
    for source, target in edges:
        around[source].add(target)
        around[target].add(source)
    left = dict.fromkeys(sorted(sizes, key=lambda path: (-len(around[path]), path)))
    windows = []
    while left:
        window = [next(iter(left))]
        room = budget - sizes[window[0]]
        shared: Counter[str] = Counter()
        while True:
            del left[window[-1]]
            shared.update(path for path in around[window[-1]] if path in left)
            fits = [(-count, path) for path, count in shared.items() if path in left and sizes[path] <= room]
            if not fits:
                break
            window.append(min(fits)[1])
            room -= sizes[window[-1]]
        windows.append(window)
    merged = []  # a window of few links is not closed while another's files fit: first fit, as anybody would
    rooms: list[int] = []
    for window in windows:
        size = sum(sizes[path] for path in window)
        number = next((i for i, room in enumerate(rooms) if room >= size), None)
        if number is None:
            merged.append(window)
            rooms.append(budget - size)
        else:
            merged[number] += window
            rooms[number] -= size
    return [dependency(window, edges_inside(window, edges)) for window in merged]


def edges_inside(window: Sequence[str], edges: Sequence[Pair]) -> list[Pair]:
    known = set(window)
    return [edge for edge in edges if edge[0] in known and edge[1] in known]


def windows_of(method: str, sizes: Mapping[str, int], edges: Sequence[Pair], budget: int) -> list[list[str]]:
    if method == "post_order":
        return cut(post_order(sizes, edges), sizes, budget)
    if method == "greedy":
        return greedy(sizes, edges, budget)
    return compose(sizes, edges, budget, method)


def measure(name: str, sizes: Mapping[str, int], edges: list[Pair]) -> dict:
    mutual = len({(s, t) for s, t in edges if s < t} & {(t, s) for s, t in edges if s > t})
    started = time.process_time()
    ordered = dependency(sizes, edges)
    row = {
        "graph": name,
        "files": len(sizes),
        "edges": len(edges),
        "largest_cycle": max(map(len, strongly_connected(sizes, edges)), default=0),
        "algorithm_1": satisfied(topological(sizes, edges), edges),
        "dependency": satisfied(ordered, edges),
        "no_order_above": 1 - mutual / len(edges),
        "seconds": 0.0,
    }
    for label, tokens in BUDGETS.items():
        budget = int(tokens * CHARS_PER_TOKEN)
        for method in METHODS:
            windows = windows_of(method, sizes, edges, budget)
            row[f"{label}_{method}"] = in_window_coverage(windows, edges)
        held = sum(min(size, budget) for size in sizes.values())
        row |= {f"{label}_windows": len(windows), f"{label}_fill": held / (len(windows) * budget)}
    row["seconds"] = time.process_time() - started
    return row


def made(files: int, edges: int, cycle: float = 0.3) -> tuple[dict[str, int], list[Pair]]:
    """A graph with popular files (in-degree by a power law); a share of the files also need one they serve."""
    draw = random.Random(0)
    names = [f"d{i // 40:05}/f{i % 40}" for i in range(files)]
    sizes = {name: int(min(2e6, draw.lognormvariate(8.3, 1.2))) for name in names}
    found = set()
    for i in range(1, files):
        for _ in range(edges):
            popular = int(i * draw.random() ** 3)  # early files are needed by many
            near = max(0, i - 1 - int(draw.random() ** 2 * 60))
            found.add((names[i], names[popular if draw.random() < 0.5 else near]))
        if draw.random() < cycle:
            found.add((names[int(i * draw.random())], names[i]))
    return sizes, sorted(edge for edge in found if edge[0] != edge[1])


def timed(name: str, sizes: Mapping[str, int], edges: list[Pair]) -> dict:
    started = time.process_time()
    share = satisfied(dependency(sizes, edges), edges)
    ordered = time.process_time()
    windows = compose(sizes, edges, int(BUDGETS["16k"] * CHARS_PER_TOKEN))
    return {
        "graph": name,
        "files": len(sizes),
        "edges": len(edges),
        "largest_cycle": max(map(len, strongly_connected(sizes, edges))),
        "dependency": share,
        "16k_clustered": in_window_coverage(windows, edges),
        "order_seconds": ordered - started,
        "windows_seconds": time.process_time() - ordered,
    }


def shown(rows: list[dict]) -> None:
    columns = list(rows[0])
    print("  ".join([f"{columns[0]:<36}", *columns[1:]]))
    for row in rows:
        cells = [f"{row[c]:.3f}" if isinstance(row[c], float) else str(row[c]) for c in columns[1:]]
        print("  ".join([f"{row['graph']:<36}", *map(str.rjust, cells, map(len, columns[1:]))]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=pathlib.Path, nargs="*", default=[SAMPLE / "graphs"])
    parser.add_argument("--files", type=int, default=50_000, help="of the made graph that is timed")
    arguments = parser.parse_args()
    rows = []
    for path in sorted(path for folder in arguments.folders for path in folder.glob("*.json")):
        sizes, edges = read_graph(path)
        if edges:
            rows.append(measure(path.stem, sizes, edges))
    if not rows:
        raise SystemExit(f"no graphs in {', '.join(map(str, arguments.folders))}")
    cyclic = [row for row in rows if row["largest_cycle"] > 1]
    for label, group in (("mean", rows), ("mean of the cyclic", cyclic)):
        if group:
            means = {column: statistics.mean(row[column] for row in group) for column in list(rows[0])[1:]}
            rows = [*rows, {"graph": f"{label} ({len(group)})", **means}]
    shown(rows)
    few = [f"f{i:04}" for i in range(2000)]
    speed = [
        timed("popular files, one great cycle", *made(arguments.files, 6)),
        timed("every file needs every other", dict.fromkeys(few, 2000), list(itertools.permutations(few, 2))),
    ]
    print()
    shown(speed)
    record("windows", {"graphs": rows, "speed": speed}, ["lode"])


if __name__ == "__main__":
    main()
