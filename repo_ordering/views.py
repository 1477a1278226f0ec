"""One repository for human eyes and for `jq`: what `lode graph` and `lode order` print."""

from collections.abc import Sequence

from corpus.errors import LodeError
from corpus.repositories import read_repository
from repo_ordering.edges import Graph, SourceFile
from repo_ordering.graph import repository_graph
from repo_ordering.order import satisfied
from repo_ordering.windows import compose, in_window_coverage


def files_of_path(path: str) -> list[SourceFile]:
    """The usable files of one repository, a directory or an archive; LodeError where there are none."""
    rows = list(read_repository(path, "local"))
    files = [SourceFile(row["path"], row["language"], row["text"]) for row in rows if row["reason"] is None]
    if not files:
        said = f"{rows[0]['reason']}, {rows[0]['detail']}" if rows else "it is empty"
        raise LodeError(f"{path}: no file of this repository can be read ({said}).")
    return files


def graph_of_path(path: str) -> Graph:
    """The dependency graph of the repository at `path`."""
    return repository_graph(files_of_path(path))


def graph_listing(graph: Graph) -> str:
    """Each file with what it depends on, one line a dependency, and the files that could not be parsed."""
    targets: dict[str, list[str]] = {path: [] for path in graph.files}
    for edge in graph.edges:
        marks = [edge.kind] + ["guarded"] * edge.guarded + [f"{edge.confidence:.1f}"] * (edge.confidence < 1)
        targets[edge.source].append(f"  -> {edge.target} ({', '.join(marks)})")
    lines = []
    for path in graph.files:
        if targets[path]:
            lines += [path, *targets[path]]
    alone = sum(not found for found in targets.values())
    lines.append(f"{len(graph.files)} files ({alone} depend on none here), {len(graph.pairs())} dependencies")
    lines += [f"not parsed: {path}: {reason}" for path, reason in sorted(graph.unparsed.items())]
    return "\n".join(lines)


def order_of_files(files: Sequence[SourceFile], order: str, seed: int, window_chars: int) -> dict:
    """The order, its windows and what it keeps, as `lode order REPO --json` prints it.

    {"order", "files", "edges", "edges_satisfied", "windows": [[path, ...], ...], "in_window"}.
    """
    graph = repository_graph(files)
    sizes = {file.path: len(file.text) for file in files}
    pairs = graph.pairs()
    windows = compose(sizes, pairs, window_chars, order, seed)
    ordered = [path for window in windows for path in window]
    return {
        "order": order,
        "files": ordered,
        "edges": len(pairs),
        "edges_satisfied": satisfied(ordered, pairs),
        "windows": windows,
        "in_window": in_window_coverage(windows, pairs),
    }


def order_listing(view: dict) -> str:
    """`order_of_files` as text: windows, and the files in each."""
    lines = []
    for number, window in enumerate(view["windows"], 1):
        lines += [f"window {number}", *(f"  {path}" for path in window)]
    lines.append(
        f"{view['order']}: {view['edges_satisfied']:.1%} of {view['edges']} dependencies come earlier, "
        f"{view['in_window']:.1%} in the same window"
    )
    return "\n".join(lines)
