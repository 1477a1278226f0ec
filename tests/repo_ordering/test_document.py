"""Repository documents: every file once, offsets that hold, accounts that balance, bytes that stay."""

import itertools
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.languages import comment_line
from corpus.schema import DOCUMENT, document_id
from repo_ordering.document import JUDGED, OrderRepositories
from repo_ordering.order import ORDERS

FILES = {
    "pkg/__init__.py": "from .b import y\n",
    "pkg/a.py": "from . import b\nx = 1",
    "pkg/b.py": "y = 'é🜚'\n",
    "main.py": "import pkg.a\n",
    "README.md": "",
}


def row(path, text, repository="r", language="Python", source="s"):
    key = f"{repository}\n{path}"
    return {
        "id": document_id(source, key), "text": text, "source": source, "language": language,
        "repository": repository, "path": path,
    }  # fmt: skip


def run(rows, transform=None, size=2):
    transform = transform or OrderRepositories()
    batches = [pa.RecordBatch.from_pylist(rows[i : i + size], DOCUMENT) for i in range(0, len(rows), size)]
    out = list(transform(iter(batches)))
    for batch in out:
        assert batch.schema == JUDGED
    found = [row for batch in out for row in batch.to_pylist()]
    return [r for r in found if not r["reason"]], [r for r in found if r["reason"]]


def test_a_document_is_its_files_behind_their_paths():
    (document,), dropped = run([row(path, text) for path, text in FILES.items()])
    assert not dropped
    assert document["id"] == document_id("s", "r")
    assert document["path"] is None and document["language"] == "Python"
    spans = document["files"]
    assert spans[0]["start"] == 0 and spans[-1]["end"] == len(document["text"])
    for before, after in itertools.pairwise(spans):
        assert before["end"] == after["start"]
    for span in spans:
        comment, _, body = document["text"][span["start"] : span["end"]].partition("\n")
        assert comment == comment_line(span["language"], span["path"])
        assert body in (FILES[span["path"]], FILES[span["path"]] + "\n")
    place = [span["path"] for span in spans]
    assert place.index("pkg/b.py") < place.index("pkg/a.py") < place.index("main.py")
    assert (document["edges"], document["edges_satisfied"]) == (3, 1.0)
    pairs = [(edge["source"], edge["target"]) for edge in document["dependencies"]]
    assert pairs == [
        ("main.py", "pkg/a.py"),
        ("pkg/__init__.py", "pkg/b.py"),
        ("pkg/a.py", "pkg/b.py"),
    ]


@pytest.mark.parametrize("order", ["clustered", *ORDERS])
def test_the_same_repository_gives_the_same_document(order):
    rows = [row(path, text, name) for name in ("r", "q") for path, text in FILES.items()]
    transform = OrderRepositories(order, seed=4)
    expected = run(rows, transform)
    for seed in range(4):
        shuffled = [*rows[:5], *rows[5:]]
        first, second = shuffled[:5], shuffled[5:]
        random.Random(seed).shuffle(first)
        random.Random(seed + 9).shuffle(second)
        assert run([*first, *second], transform, size=seed + 1) == expected


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", None, ""]),
            st.sampled_from(["x.py", "y.py", "d/z.c", "\n*/ odd\r", None, ""]),
            st.none() | st.text(max_size=30),
        ),
        max_size=12,
    ),
    st.integers(1, 5),
)
def test_every_file_is_in_a_document_or_dropped(found, size):
    rows = [row(path, text, repository) for repository, path, text in sorted(found, key=str)]
    kept, dropped = run(rows, OrderRepositories(max_chars=60), size)
    assert sum(len(r["files"]) for r in kept) + len(dropped) == len(rows)
    assert {r["reason"] for r in dropped} <= {
        "no_repository", "no_path", "no_text", "duplicate_path", "repository_too_large",
    }  # fmt: skip
    for document in kept:
        assert len({span["path"] for span in document["files"]}) == len(document["files"])


def test_a_large_repository_is_dropped_whole_and_its_neighbours_are_not():
    rows = [row("a.py", "x" * 10, "a"), *(row(f"{i}.py", "y" * 40, "b") for i in range(5))]
    rows += [row("c.py", "", "c")]
    kept, dropped = run(rows, OrderRepositories(max_chars=100))
    assert [r["repository"] for r in kept] == ["a", "c"]
    assert [(r["path"], r["reason"]) for r in dropped] == [
        (f"{i}.py", "repository_too_large") for i in range(5)
    ]
    assert all(r["id"] == document_id("s", f"b\n{r['path']}") for r in dropped)


def test_a_path_twice_keeps_one():
    kept, dropped = run([row("a.py", "two"), row("a.py", "one")])
    assert kept[0]["text"].endswith("one\n")
    assert [(r["reason"], r["detail"]) for r in dropped] == [("duplicate_path", "a.py")]


def test_what_could_not_be_parsed_is_said():
    kept, _ = run([row("A.java", "class A {}" + " " * (1 << 20), language="Java")])
    assert kept[0]["unparsed"] == [{"path": "A.java", "reason": "file_too_long_to_parse"}]


def test_the_language_of_a_repository_is_that_of_its_code():
    kept, _ = run([row("d.json", "[1, 2, 3]", language="JSON"), row("a.c", "", language="C")])
    assert kept[0]["language"] == "C"
    kept, _ = run([row("d.json", "[]", language="JSON"), row("x", "?", language=None)])
    assert kept[0]["language"] == "JSON"


def test_two_sources_are_two_repositories():
    kept, _ = run([row("a.py", "1", source="s"), row("a.py", "2", source="t")])
    assert [r["source"] for r in kept] == ["s", "t"]


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="topological"):
        OrderRepositories("toplogical")
