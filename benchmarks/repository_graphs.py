"""Accuracy of repository graphs against graphs that compilers and type checkers wrote.

    python -m benchmarks.repository_graphs [FOLDER ...]

Each NAME.json in the folders (without any, those of the sample) lists files and edges of the sources in NAME.tar.gz,
or in the archive of the same name without `-scip` or `-types`; `benchmarks/oracles/` makes more of them. Import graphs
judge our edges of kind `import`; symbol graphs those and the ones of kind `symbol`, and the latter alone as well. A
guarded edge (`#if`) that the oracle's build did not take counts for neither side: the oracle saw one configuration.
"""

import argparse
import json
import pathlib
from collections.abc import Collection

from benchmarks.record import SAMPLE, record
from repo_ordering.graph import Graph, SourceFile, repository_graph
from repo_ordering.views import files_of_path


def read_archive(path: pathlib.Path) -> list[SourceFile]:
    """The files of an archive, as `lode graph` reads them."""
    return files_of_path(str(path))


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


def archive_of(graph: pathlib.Path) -> pathlib.Path:
    """The sources of a graph: several graphs may be of one archive."""
    own = graph.with_name(f"{graph.stem}.tar.gz")
    return own if own.exists() else graph.with_name(f"{graph.stem.rpartition('-')[0]}.tar.gz")


def measure(path: pathlib.Path, graph: Graph) -> dict:
    """One row of the table."""
    oracle = json.loads(path.read_text())
    return {
        "graph": path.stem,
        "sample": path.parent == SAMPLE / "graphs",
        "oracle": oracle["oracle"],
        "files": len(oracle["files"]),
        "edges": len(oracle["edges"]),
        **accuracy(path.stem, oracle, graph),
        "unparsed": len(graph.unparsed),
    }


def cell(value: object) -> str:
    return f"{'-' if value is None else f'{value:.3f}' if isinstance(value, float) else value:>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=pathlib.Path, nargs="*", default=[SAMPLE / "graphs"])
    arguments = parser.parse_args()
    paths = [path for folder in arguments.folders for path in sorted(folder.glob("*.json"))]
    rows: list[dict] = []
    made: tuple[pathlib.Path, Graph] | None = None
    for path in paths:
        archive = archive_of(path)
        if made is None or made[0] != archive:
            made = archive, repository_graph(read_archive(archive))
        rows.append(measure(path, made[1]))
        columns = [column for column in rows[0] if column not in ("graph", "sample", "oracle")]
        if len(rows) == 1:
            print(f"{'':<38}", " ".join(f"{column.replace('symbol_', 's.')[:9]:>9}" for column in columns))
        print(f"{path.stem:<38}", " ".join(cell(rows[-1][column]) for column in columns), flush=True)
    if rows:
        record("repository_graphs", rows, ["lode", "tree-sitter"])
    else:
        print("no graphs there")


if __name__ == "__main__":
    main()
