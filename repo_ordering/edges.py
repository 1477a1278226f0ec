"""The words of a repository graph: a file, an edge, a graph."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: `path` relative to the repository's root with `/`, `language` by Linguist's name."""

    path: str
    language: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file: imports as its module's `scan` finds them, symbols as `scan_tree` does.

    Either is None where the module has no such function or the text could not be read so; both are, where no
    more is known than that there is a file of this path.
    """

    imports: Any = None
    symbols: Any = None


@dataclass(frozen=True, order=True, slots=True)
class Edge:
    """`source` depends on `target`; both are paths.

    `kind` is `import` (a statement names the file), `symbol` (a used name is declared there), `test`,
    `header` or `cross`. `guarded` marks a dependency that holds only under a condition the repository does
    not settle (`#if`, a build tag). `confidence` is 1.0 where the language's own rules decide, less where a
    unique name or path suffix does.
    """

    source: str
    target: str
    kind: str = "import"
    guarded: bool = False
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Graph:
    """Files and dependencies of one repository, both sorted.

    `unparsed` names the files of which no more is known than their imports, or nothing at all, and why.
    """

    files: tuple[str, ...]
    edges: tuple[Edge, ...]
    unparsed: dict[str, str] = field(default_factory=dict)

    def pairs(self) -> list[tuple[str, str]]:
        """Each dependency once, whatever its kinds: (source, target), sorted."""
        return sorted({(edge.source, edge.target) for edge in self.edges})


def merged(edges: list[Edge]) -> tuple[Edge, ...]:
    """One edge per (source, target, kind): unguarded if any is, as sure as the surest; self edges go."""
    best: dict[tuple[str, str, str], Edge] = {}
    for edge in edges:
        if edge.source == edge.target:
            continue
        key = (edge.source, edge.target, edge.kind)
        seen = best.get(key)
        if seen is not None:
            guarded = edge.guarded and seen.guarded
            edge = Edge(*key, guarded, max(edge.confidence, seen.confidence))
        best[key] = edge
    return tuple(sorted(best.values()))
