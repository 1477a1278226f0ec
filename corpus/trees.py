"""tree-sitter with its work counted. Only for the child of a `corpus.guarded.Worker`."""

import functools
from importlib import import_module

import tree_sitter

from corpus.guarded import Failed

# tree-sitter asks for leave to go on about once per 64 bytes of ordinary code; hostile text makes it ask
# without end. The count depends on the text alone, so the verdict is the same everywhere.
BASE_STEPS = 20_000
STEPS_PER_BYTE = 0.25


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
        return source[offset : offset + (1 << 16)]

    try:
        return tree_sitter.Parser(language).parse(read, progress_callback=cancel)
    except ValueError:
        raise Failed("too_hard") from None
