"""One repository for human eyes and for `jq`: what `lode graph` and `lode order` print."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from corpus.errors import LodeError
from corpus.repositories import read_repository
from repo_ordering.document import OrderRepositories
from repo_ordering.edges import Edge, Graph, SourceFile
from repo_ordering.graph import repository_graph
from repo_ordering.rows import FILE_ROW


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
    """The tree of folders; below each file what it depends on, one line a dependency with its kinds."""
    edges: dict[str, dict[str, list[Edge]]] = {}
    for edge in graph.edges:
        edges.setdefault(edge.source, {}).setdefault(edge.target, []).append(edge)
    tree: dict[str, Any] = {}
    for path in graph.files:
        folder = tree
        *above, name = path.split("/")
        for part in above:
            folder = folder.setdefault(part + "/", {})
        folder[name] = path
    lines: list[str] = []
    # Folders as deep as a hostile archive wants: a stack, not recursion.
    stack = [(name, child, "", i == 0) for i, (name, child) in enumerate(sorted(tree.items(), reverse=True))]
    while stack:
        name, child, indent, last = stack.pop()
        lines.append(f"{indent}{'└─' if last else '├─'} {name}")
        below = indent + ("   " if last else "│  ")
        if isinstance(child, dict):
            parts = sorted(child.items(), reverse=True)
            stack += [(part, each, below, i == 0) for i, (part, each) in enumerate(parts)]
            continue
        lines += [f"{below}   → {target}  {_kinds(found)}" for target, found in edges.get(child, {}).items()]
    alone = len(graph.files) - len(edges)
    lines.append(f"{len(graph.files)} files ({alone} depend on none here), {len(graph.pairs())} dependencies")
    lines += [f"not parsed: {path}: {reason}" for path, reason in sorted(graph.unparsed.items())]
    return "\n".join(lines)


def _kinds(edges: Sequence[Edge]) -> str:
    """`import, symbol 0.6`: the kinds of a dependency, with what makes each less than certain."""
    marks = []
    for edge in edges:
        words = [edge.kind, *(["guarded"] if edge.guarded else [])]
        marks.append(" ".join([*words, *([f"{edge.confidence:g}"] if edge.confidence < 1 else [])]))
    return ", ".join(marks)


def order_of_files(files: Sequence[SourceFile], settings: OrderRepositories) -> dict[str, Any]:
    """The order, its samples and what they keep, as `lode order REPO --json` prints it.

    {"order", "sample", "samples": [[{"path", "characters", "skeleton"}, ...], ...], "edges", "edges_satisfied",
    "edges_in_sample", "edges_by_skeleton", "unparsed"}.
    """
    row = dict.fromkeys(FILE_ROW.names)
    rows = [
        row | {"repository": "repository", "path": file.path, "language": file.language, "text": file.text}
        for file in files
    ]
    made = settings(pa.RecordBatch.from_pylist([each], FILE_ROW) for each in rows)
    (document,) = (found for batch in made for found in batch.to_pylist() if found["reason"] is None)
    spans = [(span, False) for span in document["files"]] + [(span, True) for span in document["skeletons"]]
    spans.sort(key=lambda each: each[0]["start"])
    samples: list[list[dict[str, Any]]] = []
    for sample in document["samples"]:
        inside = [each for each in spans if sample["start"] <= each[0]["start"] < sample["end"]]
        samples.append(
            [
                {"path": span["path"], "characters": span["end"] - span["start"], "skeleton": is_skeleton}
                for span, is_skeleton in inside
            ]
        )
    names = (
        "order",
        "sample",
        "edges",
        "edges_satisfied",
        "edges_in_sample",
        "edges_by_skeleton",
        "unparsed",
    )
    return {name: document[name] for name in names} | {"samples": samples}


def order_listing(view: dict[str, Any]) -> str:
    """`order_of_files` as text: samples, and the files in each."""
    lines = []
    for number, sample in enumerate(view["samples"], 1):
        chars = sum(part["characters"] for part in sample)
        files = sum(not part["skeleton"] for part in sample)
        lines.append(
            f"{view['sample']} {number} of {len(view['samples'])}: {files} files, {chars:,} characters"
        )
        lines += [f"   {part['path']}{'  (signatures only)' if part['skeleton'] else ''}" for part in sample]
    lines.append(
        f"{view['order']}: {view['edges_satisfied']:.1%} of {view['edges']} dependencies come earlier, "
        f"{view['edges_in_sample']:.1%} in the same {view['sample']}"
    )
    if any(part["skeleton"] for sample in view["samples"] for part in sample):
        lines[-1] += f", and {view['edges_by_skeleton']:.1%} as signatures"
    lines += [f"not parsed: {each['path']}: {each['reason']}" for each in view["unparsed"]]
    return "\n".join(lines)
