"""Repository documents: every file once, offsets that hold, accounts that balance, bytes that stay."""

import itertools
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.languages import comment_line
from corpus.schema import DOCUMENT, document_id
from corpus.tokens import TextTokenizer
from repo_ordering.document import OrderRepositories
from repo_ordering.order import ORDERS
from repo_ordering.rows import JUDGED
from repo_ordering.views import files_of_path

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
    assert document["edges_satisfied"] == 1.0
    imports = [edge for edge in document["dependencies"] if edge["kind"] == "import"]
    pairs = [(edge["source"], edge["target"]) for edge in imports]
    assert pairs == [
        ("main.py", "pkg/a.py"),
        ("pkg/__init__.py", "pkg/b.py"),
        ("pkg/a.py", "pkg/b.py"),
    ]


@pytest.mark.parametrize("order", ["clustered", *ORDERS])
def test_the_same_repository_gives_the_same_document(order):
    rows = [row(path, text, name) for name in ("r", "q") for path, text in FILES.items()]
    samples = "window" if order == "clustered" else "component"
    transform = OrderRepositories(order, seed=4, samples=samples, window=12)
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


CHAIN = {
    "util.py": "def helper(x):\n" + "    x = x + 1\n" * 12 + "    return x\n",
    "core.py": "import util\n\n\ndef core(x):\n    return util.helper(x)\n",
    "app.py": "import core\nprint(core.core(1))\n",
    "other/alone.py": "x = 1\n",
    "other/more.py": "from other import alone\n",
    "notes.md": "words\n",
}


def samples_of(document):
    """The paths of each sample, skeletons marked."""
    found = []
    marked = [(span, "") for span in [*document["files"], *document["stubs"]]]
    marked += [(span, "~") for span in document["skeletons"]]
    for sample in document["samples"]:
        inside = [each for each in marked if sample["start"] <= each[0]["start"] < sample["end"]]
        found.append(
            [mark + span["path"] for span, mark in sorted(inside, key=lambda each: each[0]["start"])]
        )
    return found


def covers(document):
    spans = sorted(
        (span["start"], span["end"])
        for span in [*document["files"], *document["stubs"], *document["skeletons"]]
    )
    for parts in (spans, [(sample["start"], sample["end"]) for sample in document["samples"]]):
        assert [start for start, _ in parts] == [0, *(end for _, end in parts[:-1])]
        assert parts[-1][1] == len(document["text"])


def test_a_repository_is_one_sample_or_its_connected_parts():
    rows = [row(path, text) for path, text in CHAIN.items()]
    (whole,), _ = run(rows)
    assert len(whole["samples"]) == 1 and whole["sample"] == "repository"
    assert whole["edges_in_sample"] == whole["edges_satisfied"] == 1.0
    (parts,), _ = run(rows, OrderRepositories(samples="component"))
    assert sorted(samples_of(parts)) == [
        ["notes.md"], ["other/alone.py", "other/more.py"], ["util.py", "core.py", "app.py"],
    ]  # fmt: skip
    assert parts["edges_in_sample"] == 1.0
    for document in (whole, parts):
        covers(document)
    (mixed,), _ = run(rows, OrderRepositories("random", samples="component"))
    assert {frozenset(paths) for paths in samples_of(mixed)} == {
        frozenset(paths) for paths in samples_of(parts)
    }


def test_windows_hold_what_fits_and_skeletons_what_did_not():
    rows = [row(path, text) for path, text in CHAIN.items()]
    (plain,), _ = run(rows, OrderRepositories("clustered", samples="window", window=70))
    covers(plain)
    assert not plain["skeletons"] and plain["edges_by_skeleton"] == 0.0
    assert {path for paths in samples_of(plain) for path in paths} == set(CHAIN)
    assert not any(
        {"util.py", "core.py"} <= set(paths) for paths in samples_of(plain)
    )  # they do not fit together
    (filled,), _ = run(rows, OrderRepositories("clustered", samples="window", window=70, skeletons=True))
    covers(filled)
    assert any(paths[0] == "~util.py" and "core.py" in paths for paths in samples_of(filled))
    assert filled["edges_in_sample"] == plain["edges_in_sample"]
    assert filled["edges_by_skeleton"] == pytest.approx(1 / 3)
    (span,) = filled["skeletons"]
    assert filled["text"][span["start"] : span["end"]] == (
        "# util.py\n# signatures only\ndef helper(x):\n    ...\n"
    )
    sizes = [sample["end"] - sample["start"] for sample in filled["samples"]]
    assert max(sizes) <= 70 * 3.5


def test_windows_of_a_real_tokenizer_fit_it(shared_data):
    """Files measured one by one never come to less than their window: no window is cut again when it is packed."""
    path = shared_data / "tokenizer" / "deepseek" / "tokenizer.json"
    loaded = TextTokenizer.load(str(path))
    rows = [
        row(file.path, file.text, language=file.language)
        for file in files_of_path(str(shared_data / "repos" / "thor-1.2.1.tar.gz"))
    ]
    transform = OrderRepositories(
        "clustered", samples="window", window=4096, tokenizer=(str(path), loaded.fingerprint), skeletons=True
    )
    (document,), _ = run(rows, transform)
    covers(document)
    sizes = []
    for sample, paths in zip(document["samples"], samples_of(document), strict=True):
        sizes.append(len(loaded.encode(document["text"][sample["start"] : sample["end"]])))
        assert sizes[-1] <= 4096 or len(paths) == 1
    assert sum(size <= 4096 for size in sizes) > 10 and document["edges_in_sample"] > 0.2


@pytest.mark.parametrize(
    "settings", [{"order": "clustered"}, {"skeletons": True}, {"samples": "windows"}, {"lost": "never"}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError):
        OrderRepositories(**settings)
