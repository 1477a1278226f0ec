"""What the child process of `nodes` runs: the spans of the named nodes of a text."""

import functools
from importlib import import_module

import numpy as np
import tree_sitter

from corpus import trees
from corpus.guarded import Failed
from repo_ordering.languages import MODULES

MOST_NODES = 16_384
# Ordinary code has a node for two to four characters; a count, because its verdict is the same on every machine.
MOST_VISITED = 500_000


@functools.cache
def _grammar(language: str) -> tree_sitter.Language | None:
    module = import_module(f"repo_ordering.languages.{MODULES[language]}")
    return tree_sitter.Language(module.grammar(language)) if hasattr(module, "grammar") else None


def spans(language: str, text: str) -> list[tuple[int, int]]:
    """(start, end) in characters; raises `Failed` where the text is too hard."""
    grammar = _grammar(language)
    if grammar is None:
        return []
    source = text.encode("utf-8", "replace")
    cursor = trees.parse(grammar, source).walk()
    found: set[tuple[int, int]] = set()
    visited = 0
    # A cursor: a tree as deep as its text is long must not meet the recursion limit.
    more = cursor.goto_first_child()
    while more:
        visited += 1
        if visited > MOST_VISITED:
            raise Failed("too_hard")
        node = cursor.node
        if node.is_named and not node.has_error and node.end_byte - node.start_byte > 1:
            found.add((node.start_byte, node.end_byte))
        more = cursor.goto_first_child() or cursor.goto_next_sibling()
        while not more and cursor.goto_parent():
            more = cursor.goto_next_sibling()
    heads = (np.frombuffer(source, np.uint8) & 0xC0) != 0x80  # bytes that begin a character
    characters = np.concatenate([[0], np.cumsum(heads)])
    ends = characters[np.array(sorted(found), np.int64).reshape(-1, 2)].tolist()
    nodes = [(start, end) for start, end in ends if end - start > 1]
    nodes.sort(key=lambda span: (span[0] - span[1], span[0]))
    return sorted(nodes[:MOST_NODES], key=lambda span: (span[0], -span[1]))
