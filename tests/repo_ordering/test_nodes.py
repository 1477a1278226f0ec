"""Syntax nodes as spans of characters: those of Python's own parser, in bounds and nested, for any text."""

import ast
import pathlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_ordering import nodes
from repo_ordering.languages import MODULES
from repo_ordering.nodes import node_spans
from repo_ordering.nodes_child import MOST_NODES
from tests.repo_ordering.test_skeletons import CODE

ROOT = pathlib.Path(__file__).resolve().parents[2]
ODD = 'é = "🜚数"  # ü\n\n\ndef f(ß):\n    return ß + é.strip("数学")\n'


def python_s_own(text):
    """Spans of simple statements and calls by `ast`, in characters; it counts bytes."""
    lines = text.encode().splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))
    tree = ast.parse(text)
    inside_strings = {
        id(node) for top in ast.walk(tree) if isinstance(top, ast.JoinedStr) for node in ast.walk(top)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call | ast.Return | ast.Assign | ast.Import | ast.Raise)
            and id(node) not in inside_strings
        ):
            start = begins[node.lineno - 1] + node.col_offset
            end = begins[node.end_lineno - 1] + node.end_col_offset
            yield len(text.encode()[:start].decode()), len(text.encode()[:end].decode())


@pytest.mark.parametrize("text", [ODD, ODD.replace("\n", "\r\n"), *[
    (ROOT / path).read_text() for path in ("corpus/guarded.py", "fim/transform.py", "repo_ordering/parse.py")
]])  # fmt: skip
def test_nodes_are_those_of_pythons_own_parser(text):
    spans = node_spans("Python", text)
    expected = set(python_s_own(text))
    assert expected and expected <= set(spans)
    assert spans == sorted(set(spans), key=lambda span: (span[0], -span[1]))


def is_nested(spans, length):
    open_spans = []
    for start, end in spans:
        while open_spans and open_spans[-1][1] <= start:
            open_spans.pop()
        if not 0 <= start < end - 1 <= length - 1 or (open_spans and end > open_spans[-1][1]):
            return False
        open_spans.append((start, end))
    return True


@pytest.mark.parametrize("language", sorted(MODULES))
def test_every_language_has_nodes(language):
    text = CODE.get(language, "<template><p>{{ x }}</p></template>\n")
    spans = node_spans(language, text)
    assert is_nested(spans, len(text))
    if language in CODE:
        assert "secret(1)" in {text[start:end] for start, end in spans}
        # A whole function, or its body, is one of them.
        assert any(text[start:end].count("secret(1)") == 30 for start, end in spans)
    else:
        assert spans == []


def test_a_window_that_begins_in_the_middle_of_a_file_has_its_whole_nodes():
    text = '    1, 2)\n        return x\n\n    def g(self, y):\n        return h(y, "z")\n\ndef last(a):\n    if a > ('
    found = {text[start:end] for start, end in node_spans("Python", text)}
    assert 'h(y, "z")' in found and "return x" in found
    assert not any("if a > (" in part for part in found)


@given(st.text(alphabet="ab=(){}[]<>\"'\n\t :;.,é数🜚\r\0/*#", max_size=80), st.sampled_from(sorted(CODE)))
def test_any_text_has_spans_in_bounds_and_nested(text, language):
    spans = node_spans(language, text)
    assert is_nested(spans, len(text))
    assert node_spans(language, text) == spans


def test_of_very_many_nodes_the_largest_stay():
    text = "def f():\n    return g(12, 34)\n" * 5000
    spans = node_spans("Python", text)
    assert len(spans) == MOST_NODES
    assert sum(text[start:end].startswith("def") for start, end in spans) == 5000
    assert "12" not in {text[start:end] for start, end in spans}
    # Of equals those that come first.
    lengths = [end - start for start, end in spans]
    least = [start for start, end in spans if end - start == min(lengths)]
    assert all(a < b for a, b in pairwise(least))


def test_what_cannot_be_read_has_none(monkeypatch):
    assert node_spans("Markdown", "# words") == node_spans(None, "x = 1") == node_spans("Python", "") == []
    assert node_spans("Python", "(" * 200_000) == []
    assert node_spans("JavaScript", "{" * 200_000) == []
    assert node_spans("JavaScript", "x;" * 260_000) == []  # more nodes than any code has
    assert (0, 5) in node_spans("Python", "x = 1\n\ud800\n")
    monkeypatch.setattr(nodes, "MOST_CHARS", 4)
    assert node_spans("Python", "x = 1") == []
