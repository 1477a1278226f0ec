"""tree-sitter with its work counted. Only for the child of a `corpus.guarded.Worker`."""

import functools
from importlib import import_module

import tree_sitter

from corpus.guarded import Failed

# tree-sitter asks for leave to go on about once per 64 bytes of ordinary code; hostile text makes it ask
# without end. The count depends on the text alone, so the verdict is the same everywhere.
BASE_STEPS = 20_000
STEPS_PER_BYTE = 0.25
MOST_LOOSE = 20_000  # signs outside of any rule
CHUNK = 2048  # bytes that the parser is handed at once, and that every `node.text` copies again


@functools.cache
def grammar(module: str, name: str = "language") -> tree_sitter.Language:
    """The grammar of a wheel such as `tree_sitter_java`; `name` is the function that gives it."""
    return tree_sitter.Language(getattr(import_module(module), name)())


def parse(language: tree_sitter.Language, source: bytes) -> tree_sitter.Tree:
    """The syntax tree of UTF-8 text; raises `Failed("too_hard")` where it takes more steps than its size allows."""
    limit = BASE_STEPS + int(STEPS_PER_BYTE * len(source))
    steps = 0

    def cancel(*_: object) -> bool:
        nonlocal steps
        steps += 1
        return steps > limit

    def read(offset: int, _: object) -> bytes:
        return source[offset : offset + CHUNK]

    try:
        return tree_sitter.Parser(language).parse(read, progress_callback=cancel)
    except ValueError:
        raise Failed("too_hard") from None


def readable(root: tree_sitter.Node) -> tree_sitter.Node:
    """The root itself; raises `Failed("too_hard")` for text that is hardly code.

    A query's time grows with the square of what no rule of the grammar holds together: 100,000 `{` take seconds, and a
    file of code has next to nothing of the kind.
    """
    loose = root.child_count - root.named_child_count
    if root.has_error:
        loose += sum(node.child_count for node in (root, *root.children) if node.is_error)
    if loose > MOST_LOOSE:
        raise Failed("too_hard")
    return root
