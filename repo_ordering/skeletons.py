"""Signature-only stand-ins for dependencies that found no room in a window.

To complete code, a model needs of a dependency mostly what it offers: pruning the bodies of functions in
dependencies costs little (Hierarchical Context Pruning, arXiv 2406.18294). So where a window has room left, files
that others in it depend on come first without them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from corpus.guarded import Failed, shared_worker
from repo_ordering.edges import SourceFile
from repo_ordering.windows import Pair

_CUT = "repo_ordering.skeleton_child:skeleton"
_C = "(function_definition body: (compound_statement) @body)"
_JAVASCRIPT = """
(function_declaration body: (statement_block) @body)
(generator_function_declaration body: (statement_block) @body)
(function_expression body: (statement_block) @body)
(arrow_function body: (statement_block) @body)
(method_definition body: (statement_block) @body)
"""
# By language, what is left out. Of bodies in one another the outermost counts.
BODIES = {
    "Python": "(function_definition body: (block) @body)",
    "C": _C,
    "C++": _C,
    "Cuda": _C,
    "Objective-C": _C,
    "Objective-C++": _C,
    "Java": """
        (method_declaration body: (block) @body)
        (constructor_declaration body: (constructor_body) @body)
        (static_initializer (block) @body)
        (lambda_expression body: (block) @body)""",
    "C#": """
        (method_declaration body: (_) @body)
        (constructor_declaration body: (_) @body)
        (destructor_declaration body: (_) @body)
        (operator_declaration body: (_) @body)
        (accessor_declaration body: (_) @body)""",
    "Go": "(function_declaration body: (block) @body) (method_declaration body: (block) @body)",
    "Rust": "(function_item body: (block) @body)",
    "JavaScript": _JAVASCRIPT,
    "TypeScript": _JAVASCRIPT,
    "TSX": _JAVASCRIPT,
    "Ruby": "(method body: (body_statement) @body) (singleton_method body: (body_statement) @body)",
    "PHP": """
        (function_definition body: (compound_statement) @body)
        (method_declaration body: (compound_statement) @body)
        (anonymous_function body: (compound_statement) @body)""",
    "Kotlin": "(function_declaration (function_body) @body) (secondary_constructor (block) @body)",
    "Scala": "(function_definition body: (_) @body)",
    "Swift": "(function_declaration body: (function_body) @body) (init_declaration body: (function_body) @body)",
}
# A skeleton that saves less than a fifth is the file itself, again.
MOST_KEPT = 0.8


def skeleton(file: SourceFile) -> str | None:
    """The file without the bodies of its functions; None where its language or its text does not allow that."""
    if file.language not in BODIES:
        return None
    try:
        text = shared_worker(_CUT).call(file.language, file.text)
    except Failed:
        return None
    return text if text is not None and len(text) <= MOST_KEPT * len(file.text) else None


def fill(
    windows: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
    edges: Iterable[Pair],
    budget: int,
    body: Callable[[str], tuple[str, int] | None],
) -> list[list[tuple[str, str]]]:
    """For each window the skeletons, (path, text), that fit the room it has left.

    Candidates are the files outside a window that files inside depend on, those that most depend on first.

    Args:
        body: a file's skeleton and its size; None where it has none.
    """
    home = {path: number for number, window in enumerate(windows) for path in window}
    place = {path: i for i, path in enumerate(home)}
    wanted: list[Counter[str]] = [Counter() for _ in windows]
    for source, target in set(edges):
        if source in home and target in home and home[source] != home[target]:
            wanted[home[source]][target] += 1
    cut: dict[str, tuple[str, int] | None] = {}
    found: list[list[tuple[str, str]]] = []
    for window, counts in zip(windows, wanted, strict=True):
        room = budget - sum(sizes[path] for path in window)
        taken: list[tuple[str, str]] = []
        for path in sorted(counts, key=lambda path: (-counts[path], path)):
            if room <= 0:
                break
            if path not in cut:
                cut[path] = body(path)
            if cut[path] is not None and cut[path][1] <= room:
                taken.append((path, cut[path][0]))
                room -= cut[path][1]
        # Dependencies of dependencies come earlier, as the files themselves do.
        found.append(sorted(taken, key=lambda each: place[each[0]]))
    return found


def served(
    windows: Sequence[Sequence[str]], skeletons: Sequence[Sequence[tuple[str, str]]], edges: Iterable[Pair]
) -> float:
    """Share of edges whose target stands as a skeleton in the window of its source; 0.0 without edges."""
    home = {path: number for number, window in enumerate(windows) for path in window}
    there = {(number, path) for number, taken in enumerate(skeletons) for path, _ in taken}
    pairs = {(s, t) for s, t in edges if s != t and s in home and t in home}
    return sum((home[s], t) in there for s, t in pairs) / len(pairs) if pairs else 0.0
