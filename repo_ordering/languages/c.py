"""C, C++ and their kin: includes by scanning, definitions and calls by parsing, and the edges of both."""

from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages.c_includes import include_edges, scan
from repo_ordering.languages.c_links import last_part, link_edges

__all__ = ["grammar", "names_used", "names_written", "resolve", "scan", "scan_tree"]


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    from repo_ordering.languages import c_symbols

    return c_symbols.grammar(language)


def scan_tree(root) -> dict:
    """What the file defines, declares and calls; see `c_symbols`."""
    from repo_ordering.languages import c_symbols

    return c_symbols.scan_tree(root)


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of the files in `facts`: `import` for includes, `header` and `symbol` through what these declare."""
    includes = list(include_edges(facts, files))
    yield from includes
    yield from link_edges(facts, includes)


def names_written(facts: Facts) -> set[str]:
    """Functions that a file calls and types that it names."""
    symbols = facts.symbols or {}
    return {last_part(name) for name in symbols.get("called", ())} | set(symbols.get("named", ()))


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Those of them that the file at `path` defines or declares."""
    symbols = facts.symbols or {}
    kinds = ("defined", "declared", "types", "macros")
    return [name for kind in kinds for name in symbols.get(kind, ()) if last_part(name) in written]
