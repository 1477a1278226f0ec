"""Small helpers over tree-sitter nodes, shared by the languages that need identifiers."""

from collections.abc import Callable
from typing import Any

_DOTTED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$.")


def text_of(node) -> str:
    """The node's source text."""
    return node.text.decode("utf-8", "replace")


def dotted(node) -> str:
    """A qualified name without blanks, or "" where the node is more than names and dots."""
    if node.end_byte - node.start_byte > 512:
        return ""
    name = "".join(text_of(node).split())
    return name if name.isidentifier() or all(c in _DOTTED or c.isalpha() for c in name) else ""


def walk(root, context: Any, visit: Callable[[Any, Any], Any]) -> None:
    """Visit named nodes in source order; `visit(node, context)` gives the context below it, None to stay out.

    The stack is a list: a tree as deep as its file is long must not meet the recursion limit. And context
    goes down rather than being asked of `node.parent`, which tree-sitter finds by searching from the root.
    """
    stack = [(root, context)]
    while stack:
        node, context = stack.pop()
        below = visit(node, context)
        if below is not None:
            stack += [(child, below) for child in reversed(node.named_children)]


def captured(cursor, root) -> dict[str, list]:
    """Captured nodes of a query in source order, outer ones first: tree-sitter gives them in none."""
    return {
        name: sorted(nodes, key=lambda node: (node.start_byte, -node.end_byte))
        for name, nodes in cursor.captures(root).items()
    }
