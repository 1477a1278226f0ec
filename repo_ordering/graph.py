"""A repository's files as a dependency graph."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from repo_ordering.edges import Edge, Graph, SourceFile, merged
from repo_ordering.languages import MANIFESTS, PARSED, SCANNED
from repo_ordering.parse import ParseFailed, Parser, shared_parser

MAX_FILE_CHARS = 1 << 20  # a longer file is data or generated: it stays in the graph, with no edges out
MAX_USERS = 32
MAX_ABSENT_CHARS = 64 << 20  # of one repository's absent files, so that their facts stay bounded

__all__ = ["Edge", "Graph", "GraphBuilder", "SourceFile", "graph_json", "repository_graph", "speaks"]


def repository_graph(files: Iterable[SourceFile], parser: Parser | None = None) -> Graph:
    """Dependencies between the files of one repository; edges run from a file to what it depends on.

    The same files give the same graph in whatever order they come. Where a path comes twice the text that
    sorts first counts. A file that cannot be read into facts (too long, too hard to parse) keeps its edges
    in, loses its edges out and is named in `unparsed` with the reason.
    """
    found = GraphBuilder(parser)
    for file in sorted(files, key=lambda file: (file.path, file.text)):
        found.add(file)
    return found.graph()


class GraphBuilder:
    """A repository's graph, file by file. Of files that are absent from the corpus no text is held.

    An absent file is one that something may depend on and that is not there: its edges in are found, those
    out are not looked for. Where imports name paths (Python, C, JavaScript) its path is enough; where they
    name what a file declares (Java, Go, Rust) its text is parsed and let go.
    """

    def __init__(self, parser: Parser | None = None, max_absent_chars: int = MAX_ABSENT_CHARS) -> None:
        self._parser = parser
        self._files: dict[str, SourceFile] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._unparsed: dict[str, str] = {}
        self._absent_chars_left = max_absent_chars

    def add(self, file: SourceFile) -> None:
        """A file that is there; of two with one path the first counts."""
        if file.path in self._files:
            return
        self._files[file.path] = file
        module = SCANNED.get(file.language) or PARSED.get(file.language)
        if module is None:
            return
        if len(file.text) > MAX_FILE_CHARS:
            self._unparsed[file.path] = "file_too_long_to_parse"
            return
        try:
            self._facts.setdefault(module, {})[file.path] = _facts(module, file, self._parser)
        except ParseFailed as failure:
            self._unparsed[file.path] = failure.reason

    def add_absent(self, path: str, language: str | None, text: str | None = None) -> bool:
        """A file that is not there, after all that are; whether its path was new.

        `text` serves nothing unless `speaks(path, language)`. Once so many characters of absent files were
        used, the others count by their paths only.
        """
        if path in self._files:
            return False
        if text is not None:
            self._absent_chars_left -= len(text)
            if self._absent_chars_left < 0 or len(text) > MAX_FILE_CHARS:
                text = None
        is_manifest = path.rpartition("/")[2] in MANIFESTS
        self._files[path] = SourceFile(path, language, (text or "") if is_manifest else "")
        # Facts of a language are looked at by files of that language alone.
        module = SCANNED.get(language) or PARSED.get(language)
        facts = self._facts.get(module or "")
        if facts is None:
            return True
        if language in SCANNED:
            facts[path] = []
        elif text is not None:
            with contextlib.suppress(ParseFailed):
                facts[path] = _facts(module, SourceFile(path, language, text), self._parser)
        return True

    def language(self, path: str) -> str | None:
        return self._files[path].language

    def graph(self) -> Graph:
        """The graph of all files, the absent ones among them."""
        edges: list[Edge] = []
        for module in sorted(self._facts):
            resolve = import_module(f"repo_ordering.languages.{module}").resolve
            edges += resolve(self._facts[module], self._files)
        return Graph(tuple(sorted(self._files)), merged(edges), self._unparsed)

    def names_used(self, users: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Of each file (with the files that depend on it) the names that these write, sorted.

        Empty where a language's facts do not tell. The first `MAX_USERS` files that depend on it are asked.
        """
        found: dict[str, list[str]] = {}
        written: dict[str, Any] = {}
        for target, sources in users.items():
            language = self._files[target].language
            name = SCANNED.get(language) or PARSED.get(language)
            facts = self._facts.get(name or "", {})
            module = import_module(f"repo_ordering.languages.{name}") if target in facts else None
            names: set[str] = set()
            for source in sources[:MAX_USERS] if hasattr(module, "names_used") else ():
                if source in facts:
                    if source not in written:
                        written[source] = module.names_written(facts[source])
                    names.update(module.names_used(target, facts[target], written[source]))
            found[target] = sorted(names)
        return found


def speaks(path: str, language: str | None) -> bool:
    """Whether an absent file's text, and not its path alone, decides what depends on it."""
    return language in PARSED or path.rpartition("/")[2] in MANIFESTS


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
