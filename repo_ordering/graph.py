"""A repository's files as a dependency graph."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from repo_ordering.edges import Edge, Graph, SourceFile, merged
from repo_ordering.languages import PARSED, SCANNED
from repo_ordering.parse import ParseFailed, Parser, shared_parser

MAX_FILE_CHARS = 1 << 20  # a longer file is data or generated: it stays in the graph, with no edges out

__all__ = ["Edge", "Graph", "SourceFile", "graph_json", "repository_graph"]


def repository_graph(files: Iterable[SourceFile], parser: Parser | None = None) -> Graph:
    """Dependencies between the files of one repository; edges run from a file to what it depends on.

    The same files give the same graph in whatever order they come. Where a path comes twice the text that
    sorts first counts. A file that cannot be read into facts (too long, too hard to parse) keeps its edges
    in, loses its edges out and is named in `unparsed` with the reason.
    """
    known: dict[str, SourceFile] = {}
    for file in sorted(files, key=lambda file: (file.path, file.text)):
        known.setdefault(file.path, file)
    facts: dict[str, dict[str, Any]] = {}
    unparsed: dict[str, str] = {}
    for path, file in known.items():
        module = SCANNED.get(file.language) or PARSED.get(file.language)
        if module is None:
            continue
        if len(file.text) > MAX_FILE_CHARS:
            unparsed[path] = "file_too_long_to_parse"
            continue
        try:
            facts.setdefault(module, {})[path] = _facts(module, file, parser)
        except ParseFailed as failure:
            unparsed[path] = failure.reason
    edges: list[Edge] = []
    for module in sorted(facts):
        edges += import_module(f"repo_ordering.languages.{module}").resolve(facts[module], known)
    return Graph(tuple(known), merged(edges), unparsed)


def graph_json(graph: Graph) -> dict[str, list]:
    """The graph as `lode graph --json` prints it."""
    return {
        "files": list(graph.files),
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "kind": edge.kind,
                "guarded": edge.guarded,
                "confidence": edge.confidence,
            }
            for edge in graph.edges
        ],
    }


def _facts(module: str, file: SourceFile, parser: Parser | None) -> Any:
    if file.language in PARSED:
        return (parser or shared_parser()).scan(file.language, file.text)
    return import_module(f"repo_ordering.languages.{module}").scan(file.text)
