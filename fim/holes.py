"""Holes in code that a model is asked to fill: the three kinds of HumanEval's infilling benchmark
(Bavarian et al., arXiv 2207.14255, section 2.3), cut in any file.

Where a hole lies is drawn from a hash of the file's key, so that every model, on every machine, is asked the same.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import xxhash

KINDS = ("line", "lines", "span")
MOST_LINES = 5
MOST_CHARS = 80
_LINE = re.compile(r"[^\n]*[^\s][^\n]*")
_WORD = re.compile(r"\w")


class Hole(NamedTuple):
    """`text[start:end]` is to be written: one `line` or two to five `lines`, whole but for the last line break, or a
    `span` of 2 to 80 characters that may begin and end anywhere."""

    kind: str
    start: int
    end: int


def holes(text: str, start: int, end: int, key: str) -> Iterator[Hole]:
    """One hole of each kind in `text[start:end]`, as far as it has room for them.

    Each holds a letter or a digit, and begins and ends with a line that is not blank (a span: with a character that is
    not). `key` names the file; the same key draws the same places.
    """
    lines = [(m.start(), m.end() - m[0].endswith("\r")) for m in _LINE.finditer(text, start, end)]
    told = [line for line in lines if _WORD.search(text, *line)]
    if told:
        yield Hole("line", *told[_below(len(told), "line", key)])
    if len(lines) > 1:
        first = _below(len(lines) - 1, "first of lines", key)
        # The lines are those that are not blank, so blank ones between them do not count.
        count = 1 + _below(min(MOST_LINES, len(lines) - first) - 1, "number of lines", key)
        hole = lines[first][0], lines[first + count][1]
        if _WORD.search(text, *hole):
            yield Hole("lines", *hole)
    if end - start > 1:
        size = 2 + _below(min(MOST_CHARS, end - start) - 1, "size of span", key)
        begin = start + _below(end - start - size + 1, "start of span", key)
        middle = text[begin : begin + size]
        begin, size = begin + len(middle) - len(middle.lstrip()), len(middle.strip())
        if _WORD.search(middle):
            yield Hole("span", begin, begin + size)


def _below(bound: int, what: str, key: str) -> int:
    """A number from 0 to `bound` - 1."""
    return xxhash.xxh3_64_intdigest(f"{what}\n{key}".encode("utf-8", "surrogatepass")) * bound >> 64
