"""A repository's files as a dependency graph."""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from repo_ordering.companions import test_edges
from repo_ordering.cross import cross_edges
from repo_ordering.edges import Edge, Facts, Graph, SourceFile, merged
from repo_ordering.languages import FAMILIES, MODULES, is_manifest
from repo_ordering.parse import ParseFailed, Parser, shared_parser

MAX_FILE_CHARS = 1 << 20  # a longer file is data or generated: it stays in the graph, with no edges out
MAX_USERS = 32
MAX_ABSENT_CHARS = 64 << 20  # of one repository's absent files, so that their facts stay bounded

__all__ = ["Edge", "Graph", "GraphBuilder", "SourceFile", "graph_json", "repository_graph", "speaks"]


def repository_graph(files: Iterable[SourceFile], parser: Parser | None = None) -> Graph:
    """Dependencies between the files of one repository; edges run from a file to what it depends on.

    The same files give the same graph in whatever order they come. Where a path comes twice the text that
    sorts first counts. A file that is too long or too hard to parse keeps its edges in and those of its edges
    out that need no parse; `unparsed` names it with the reason.
    """
    found = GraphBuilder(parser)
    for file in sorted(files, key=lambda file: (file.path, file.text)):
        found.add(file)
    return found.graph()


class GraphBuilder:
    """A repository's graph, file by file. Of files that are absent from the corpus no text is held.

    An absent file is one that something may depend on and that is not there: its edges in are found, those
    out are not looked for. Where imports name paths (Python, C, JavaScript) its path is enough for those that
    imports tell; for what follows from what it declares its text is parsed and let go.
    """

    def __init__(self, parser: Parser | None = None, max_absent_chars: int = MAX_ABSENT_CHARS) -> None:
        self._parser = parser
        self._files: dict[str, SourceFile] = {}
        self._facts: dict[str, dict[str, Facts]] = {}  # by family
        self._unparsed: dict[str, str] = {}
        self._absent_chars_left = max_absent_chars

    def add(self, file: SourceFile) -> None:
        """A file that is there; of two with one path the first counts."""
        if file.path in self._files:
            return
        self._files[file.path] = file
        name = MODULES.get(file.language or "")
        if name is not None:
            self._facts.setdefault(_family(name), {})[file.path] = self._read(file)

    def _read(self, file: SourceFile) -> Facts:
        if len(file.text) > MAX_FILE_CHARS:
            self._unparsed[file.path] = "file_too_long_to_parse"
            return Facts()
        module = _module(file.language)
        imports = module.scan(file.text) if hasattr(module, "scan") else None
        if not hasattr(module, "scan_tree"):
            return Facts(imports)
        try:
            return Facts(imports, (self._parser or shared_parser()).scan(file.language, file.text))
        except ParseFailed as failure:
            self._unparsed[file.path] = failure.reason
            return Facts(imports)

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
        self._files[path] = SourceFile(path, language, (text or "") if is_manifest(path) else "")
        # Facts of a family are looked at by its own files alone.
        facts = self._facts.get(_family(MODULES.get(language or "", "")))
        if facts is not None:
            is_read = text is not None and speaks(path, language)
            facts[path] = self._read(SourceFile(path, language, text)) if is_read else Facts()
            self._unparsed.pop(path, None)
        return True

    def language(self, path: str) -> str | None:
        return self._files[path].language

    def graph(self) -> Graph:
        """The graph of all files, the absent ones among them."""
        edges: list[Edge] = []
        # A path from the root of a file system has no place in a repository, and no end for one who walks upwards.
        files = {path: file for path, file in self._files.items() if not path.startswith("/")}
        with _no_collector():
            for family, found in sorted(self._facts.items()):
                facts = {path: each for path, each in found.items() if path in files}
                edges += _load(family).resolve(facts, files)
            edges += cross_edges(files)
            edges += test_edges(files, edges)
            return Graph(tuple(sorted(self._files)), merged(edges), self._unparsed)

    def names_used(self, users: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Of each file (with the files that depend on it) the names that these write, sorted.

        Empty where a language's facts do not tell. The first `MAX_USERS` files that depend on it are asked.
        """
        found: dict[str, list[str]] = {}
        written: dict[str, Any] = {}
        for target, sources in users.items():
            family = _family(MODULES.get(self._files[target].language or "", ""))
            facts = self._facts.get(family, {})
            module = _load(family) if target in facts else None
            names: set[str] = set()
            for source in sources[:MAX_USERS] if hasattr(module, "names_used") else ():
                if source in facts:
                    if source not in written:
                        written[source] = module.names_written(facts[source])
                    names.update(module.names_used(target, facts[target], written[source]))
            found[target] = sorted(names)
        return found


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without the garbage collector: it would walk all facts again and again, and they are no garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def speaks(path: str, language: str | None) -> bool:
    """Whether an absent file's text, and not its path alone, says what depends on it."""
    if is_manifest(path):
        return True
    return language in MODULES and hasattr(_module(language), "scan_tree")


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


def _family(module: str) -> str:
    return FAMILIES.get(module, module)


def _module(language: str) -> ModuleType:
    return _load(MODULES[language])


def _load(module: str) -> ModuleType:
    return import_module(f"repo_ordering.languages.{module}")
