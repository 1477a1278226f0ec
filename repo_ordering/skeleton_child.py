"""What the child process of `skeletons` runs: a file without the bodies of its functions."""

import functools
from importlib import import_module

import tree_sitter

from corpus import trees
from repo_ordering.languages import MODULES
from repo_ordering.skeletons import BODIES


@functools.cache
def _query(language: str) -> tuple[tree_sitter.Language, tree_sitter.Query]:
    module = import_module(f"repo_ordering.languages.{MODULES[language]}")
    grammar = tree_sitter.Language(module.grammar(language))
    return grammar, tree_sitter.Query(grammar, BODIES[language])


def skeleton(language: str, text: str) -> str | None:
    """The text with `...` for each body; None where nothing could be left out."""
    grammar, query = _query(language)
    source = text.encode("utf-8", "replace")
    root = trees.readable(trees.parse(grammar, source).root_node)
    found = tree_sitter.QueryCursor(query).captures(root).get("body", [])
    parts: list[bytes] = []
    end = 0
    for start, stop in sorted((node.start_byte, node.end_byte) for node in found):
        if start < end:  # inside one that is out already
            continue
        body = source[start:stop]
        parts.append(source[end:start])
        parts.append(b"{ ... }" if body.startswith(b"{") else b"= ..." if body.startswith(b"=") else b"...")
        end = stop
    if not parts:
        return None
    return b"".join([*parts, source[end:]]).decode("utf-8", "replace")
