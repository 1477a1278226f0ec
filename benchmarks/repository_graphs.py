"""Accuracy of repository graphs against graphs that compilers and type checkers wrote, and order quality.

    python -m benchmarks.repository_graphs [DATA/graphs]

Each NAME.json in the folder lists files and edges of the sources in NAME.tar.gz. Import graphs judge our edges of
kind `import`; symbol graphs those and the ones of kind `symbol`, and the latter alone as well. A guarded edge (`#if`)
that the oracle's build did not take counts for neither side, because the oracle saw one configuration.
"""

import argparse
import json
import pathlib
import tarfile
import time
from collections.abc import Collection

from benchmarks.record import SAMPLE, record
from repo_ordering.graph import Graph, SourceFile, repository_graph
from repo_ordering.order import dependency, satisfied, topological
from repo_ordering.windows import compose, in_window_coverage

SUFFIX_LANGUAGE = {
    ".py": "Python", ".pyi": "Python", ".c": "C", ".h": "C++", ".cc": "C++", ".cpp": "C++", ".hpp": "C++",
    ".java": "Java", ".go": "Go", ".rs": "Rust", ".ts": "TypeScript", ".tsx": "TSX", ".js": "JavaScript",
}  # fmt: skip
CHARS_PER_TOKEN = 3.5


def read_archive(path: pathlib.Path) -> list[SourceFile]:
    """Source files of an archive, paths below its top folder, in the languages the graphs are about."""
    files = []
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.isfile():
                continue
            name = member.name.partition("/")[2]
            text = archive.extractfile(member).read().decode("utf-8", "replace")
            files.append(SourceFile(name, SUFFIX_LANGUAGE.get(pathlib.PurePosixPath(name).suffix), text))
    return files


def is_symbolic(name: str) -> bool:
    """Whether an oracle says which names are used, and not which files are imported."""
    return name.endswith(("-scip", "-javac", "-types")) or name.startswith("rust-")


def score(oracle: dict, graph: Graph, kinds: Collection[str]) -> dict[str, float]:
    """Precision, recall and F1 of edges of some kinds over the files the oracle lists."""
    listed = set(oracle["files"])
    truth = {(a, b) for a, b in oracle["edges"] if a in listed and b in listed}
    edges = [e for e in graph.edges if e.kind in kinds and e.source in listed and e.target in listed]
    ours = {(edge.source, edge.target) for edge in edges}
    sure = {(edge.source, edge.target) for edge in edges if not edge.guarded}
    wrong = len(sure - truth)
    hits = len(ours & truth)
    precision = hits / (hits + wrong) if hits + wrong else 0.0
    recall = hits / len(truth) if truth else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def accuracy(name: str, oracle: dict, graph: Graph) -> dict[str, float]:
    """Import oracles judge edges of kind import; symbol oracles the same and those of kind symbol, and these alone."""
    if not is_symbolic(name):
        return score(oracle, graph, ["import"]) | dict.fromkeys(("symbol_precision", "symbol_recall"), None)
    alone = score(oracle, graph, ["symbol"])
    both = score(oracle, graph, ["import", "symbol"])
    return both | {"symbol_precision": alone["precision"], "symbol_recall": alone["recall"]}


def measure(folder: pathlib.Path, name: str) -> dict:
    """One row of the table: accuracy, speed, order and windows of one graph."""
    oracle = json.loads((folder / f"{name}.json").read_text())
    archive = folder / f"{name.removesuffix('-scip')}.tar.gz"
    files = read_archive(archive)
    started = time.perf_counter()
    graph = repository_graph(files)
    seconds = time.perf_counter() - started
    parsed = [file for file in files if file.language]
    edges = [(a, b) for a, b in oracle["edges"]]
    chars = {file.path: len(file.text) for file in files}
    sizes = {path: chars[path] for path in oracle["files"]}
    windows = {
        f"{label}_{method}": in_window_coverage(
            compose(sizes, edges, int(tokens * CHARS_PER_TOKEN), method), edges
        )
        for label, tokens in (("16k", 16_384), ("128k", 131_072))
        for method in ("topological", "dependency", "clustered")
    }
    return {
        "graph": name,
        "files": len(oracle["files"]),
        "edges": len(edges),
        **accuracy(name, oracle, graph),
        "unparsed": len(graph.unparsed),
        "mb_per_s": sum(len(file.text) for file in parsed) / 1e6 / seconds,
        "files_per_s": len(parsed) / seconds,
        "algorithm_1": satisfied(topological(oracle["files"], edges), edges),
        "dependency": satisfied(dependency(oracle["files"], edges), edges),
        **windows,
    }


def cell(value: object) -> str:
    if isinstance(value, str):
        return f"{value:<30}"
    return f"{'-' if value is None else f'{value:.3f}' if isinstance(value, float) else value:>14}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default=SAMPLE / "graphs")
    arguments = parser.parse_args()
    names = sorted(path.stem for path in arguments.folder.glob("*.json"))
    rows = [measure(arguments.folder, name) for name in names]
    columns = list(rows[0]) if rows else []
    print(" ".join(f"{column[:14]:>14}" if column != "graph" else f"{column:<30}" for column in columns))
    for row in rows:
        print(" ".join(cell(row[column]) for column in columns))
    if rows:
        record("repository_graphs", rows, ["lode", "tree-sitter"])
    else:
        print(f"no graphs in {arguments.folder}")


if __name__ == "__main__":
    main()
