"""Holes in files: whole lines where lines are asked for, inside the file always, the same every time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim.holes import KINDS, MOST_CHARS, MOST_LINES, holes

CODE = "import os\n\n\ndef area(r):\n    # of a circle\n    return 3 * r * r\n\n}\n"
texts = st.text("ab_1 \t\n\r}<｜fim▁hole｜>é\u2028", max_size=300) | st.text(max_size=100)


def found(text: str, key: str = "k") -> dict[str, tuple[int, int]]:
    return {hole.kind: (hole.start, hole.end) for hole in holes(text, 0, len(text), key)}


@given(texts, st.text(max_size=8), st.data())
def test_a_hole_is_what_its_kind_says(text, key, data):
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))
    for kind, a, b in holes(text, begin, end, key):
        middle = text[a:b]
        assert begin <= a < b <= end and middle.strip() and any(c.isalnum() or c == "_" for c in middle)
        if kind == "span":
            assert len(middle) <= MOST_CHARS and middle == middle.strip()
            continue
        # Whole lines of what may be cut, and no line break at the end.
        assert a == begin or text[a - 1] == "\n"
        assert b == end or text[b] == "\n" or (text[b] == "\r" and (b + 1 == end or text[b + 1] == "\n"))
        told = [line for line in middle.split("\n") if line.strip()]
        assert middle.split("\n")[0].strip() and middle.split("\n")[-1].strip()
        assert len(told) == 1 if kind == "line" else 2 <= len(told) <= MOST_LINES
        assert kind == "lines" or "\n" not in middle


@given(texts, st.text(max_size=8), st.text(max_size=20), st.text(max_size=20))
def test_what_stands_around_the_file_moves_no_hole(text, key, before, after):
    alone = [(kind, a, b) for kind, a, b in holes(text, 0, len(text), key)]
    inside = holes(before + text + after, len(before), len(before) + len(text), key)
    assert [(kind, a - len(before), b - len(before)) for kind, a, b in inside] == alone


def test_every_line_is_drawn_about_as_often():
    lines = ["import os", "def area(r):", "    # of a circle", "    return 3 * r * r"]
    drawn = [CODE[slice(*found(CODE, str(k))["line"])] for k in range(800)]
    # The brace alone asks nothing.
    assert set(drawn) == set(lines)
    assert all(abs(drawn.count(line) - 200) < 5 * (800 * 0.25 * 0.75) ** 0.5 for line in lines)


@pytest.mark.parametrize("text", ["", "\n\n", "   ", "}\n{\n", "\r\n"])
def test_files_without_anything_to_ask(text):
    assert found(text) == {}


def test_a_file_of_one_line():
    assert found("x = 1")["line"] == (0, 5) and "lines" not in found("x = 1")
    assert found("x = 1\r\n")["line"] == (0, 5)
    assert set(found("a = 1\nb = 2")) == set(KINDS)
