"""Rust: where in a file a position lies, and what a `use` tree brings in."""

import re
from bisect import bisect_right
from typing import Any


class Frames:
    """Spans that lie in one another: the names of all those around a position, outermost first."""

    def __init__(self, spans: list[tuple[int, int, Any]]) -> None:
        self.starts, self.names = [0], [()]
        stack: list[tuple[int, tuple]] = [(1 << 62, ())]
        for start, end, name in sorted(spans, key=lambda span: (span[0], -span[1])):
            while stack[-1][0] <= start:
                self._add(stack.pop()[0], stack[-1][1])
            inside = (*stack[-1][1], name) if len(stack) < 64 else stack[-1][1]
            self._add(start, inside)
            stack.append((end, inside))
        while len(stack) > 1:
            self._add(stack.pop()[0], stack[-1][1])

    def _add(self, start: int, names: tuple) -> None:
        self.starts.append(start)
        self.names.append(names)

    def at(self, position: int) -> tuple:
        return self.names[max(bisect_right(self.starts, position) - 1, 0)]


class Spans:
    """Whether a position lies in any of some spans."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        self.starts: list[int] = []
        self._inside: list[bool] = []
        reach = -1
        for start, end in sorted(spans):
            if start > reach:
                self.starts += [start, end]
                self._inside += [True, False]
            elif end > reach:
                self.starts[-1] = end
            reach = max(reach, end)

    def at(self, position: int) -> bool:
        i = bisect_right(self.starts, position) - 1
        return i >= 0 and self._inside[i]


def use_tree(text: bytes, argument) -> list[tuple[list[str], str]]:
    """(path, alias) of each leaf of a `use` tree; alias "*" is a glob, a leaf "self" is its parent."""
    source = text[argument.start_byte : argument.end_byte]
    if b"/" in source:
        source = re.sub(rb"//[^\n]*|/\*.*?\*/", b" ", source, flags=re.DOTALL)
    leaves: list[tuple[list[str], str]] = []
    prefixes: list[list[str]] = [[]]
    path: list[str] = []
    alias = None
    tokens = [*re.findall(r"::|r#\w+|\w+|[{},*]", source.decode("utf-8", "replace")), ","]
    expects_alias = False

    def leaf() -> None:
        nonlocal path, alias
        whole = prefixes[-1] + path
        if path and path[-1] == "*":
            leaves.append((whole[:-1], "*"))
        elif path:
            if len(whole) > 1 and whole[-1] == "self":
                whole = whole[:-1]
            leaves.append((whole, alias or whole[-1]))
        path, alias = [], None

    for token in tokens:
        if token == "::":
            if not path and len(prefixes) == 1:
                path = [""]
        elif token == "{":
            if len(prefixes) > 64:
                break
            prefixes.append(prefixes[-1] + path)
            path = []
        elif token == "}":
            leaf()
            if len(prefixes) > 1:
                prefixes.pop()
        elif token == ",":
            leaf()
        elif expects_alias:
            alias, expects_alias = token, False
        elif token == "as":
            expects_alias = True
        else:
            path.append(token.removeprefix("r#"))
    return leaves
