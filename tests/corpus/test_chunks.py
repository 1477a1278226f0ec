"""Documents cut to windows: exact joins, sensible places, path comments repeated, tokens without text."""

import functools
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.repository_graphs import read_archive
from corpus.chunks import CHUNK, OVERHEAD, Chunks, regions, windows
from corpus.errors import LodeError
from corpus.schema import with_verdict
from corpus.tokens import TextTokenizer, train_tokenizer

LENGTH = 64


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    train_tokenizer(iter(["# a.py x = 1 # b.py y = 2 def f():\n    return 1\r\n\n"] * 3), 320).save(path)
    return path


@functools.cache
def loaded(path):
    return TextTokenizer.load(path)


def cut(path, row, length=LENGTH):
    row = {"id": "i", "source": "s", **row}
    return list(Chunks(path, "", length, None, None).cut(row, loaded(path)))


def repository(*bodies):
    """A repository document of Python files, each behind its path comment."""
    text, files = "", []
    for number, body in enumerate(bodies):
        start = len(text)
        text += f"# dir/{number}.py\n{body}"
        files.append({"path": f"dir/{number}.py", "language": "Python", "start": start, "end": len(text)})
    return {"text": text, "files": files, "language": "Python"}


def check(rows, row, path, length=LENGTH):
    """What holds for the windows of any document with text."""
    text = row["text"]
    assert "".join(r["text"][r["repeated"] :] for r in rows) == text
    assert [r["chunk"] for r in rows] == list(range(len(rows)))
    at = 0
    for r in rows:
        assert len(r["tokens"]) <= length - OVERHEAD
        assert loaded(path).decode(list(r["tokens"])) == r["text"]
        assert r["reason"] == (None if r["text"] else "empty")
        inside = [f for f in row.get("files") or [] if f["start"] < at < f["end"]]
        if r["repeated"]:
            (file,) = inside
            first_line = text[file["start"] : text.index("\n", file["start"]) + 1]
            assert r["text"][: r["repeated"]] == first_line
            assert at >= file["start"] + len(first_line)
        for region in r["regions"]:
            assert r["repeated"] <= region["start"] < region["end"] <= len(r["text"])
            start = at + region["start"] - r["repeated"]
            end = at + region["end"] - r["repeated"]
            if row.get("files"):
                (file,) = [f for f in row["files"] if f["start"] <= start and end <= f["end"]]
                assert "\n" in text[file["start"] : start]  # behind its path comment
                assert region["language"] == file["language"]
        assert all(a["end"] <= b["start"] for a, b in itertools.pairwise(r["regions"]))
        at += len(r["text"]) - r["repeated"]
        if 0 < at < len(text) and r is not rows[-1] and not r["last"]:
            assert text[at - 1 : at + 1] != "\r\n"


TEXTS = st.text(st.sampled_from("ab \t\n\r\n#}é數😀"), max_size=600)


@given(text=TEXTS, language=st.sampled_from(["Python", "Markdown", "en", None]))
def test_the_windows_of_a_document_join_to_it(tokenizer_file, text, language):
    row = {"text": text, "language": language}
    rows = cut(tokenizer_file, row)
    check(rows, row, tokenizer_file)
    assert [(r["first"], r["last"]) for r in rows] == [(i == 0, i == len(rows) - 1) for i in range(len(rows))]
    for r in rows:
        assert not r["repeated"]
        whole = [{"start": 0, "end": len(r["text"]), "language": language}]
        assert r["regions"] == (whole if r["text"] else [])


@given(bodies=st.lists(TEXTS, min_size=1, max_size=4))
def test_the_windows_of_a_repository_join_to_it_but_for_repeated_path_comments(tokenizer_file, bodies):
    row = repository(*bodies)
    check(cut(tokenizer_file, row), row, tokenizer_file)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(5, 40))
def test_windows_cover_a_text_and_never_cut_a_character(steps, limit):
    # At most four tokens share a character, as in a byte-level BPE.
    starts, same = [0], 1
    for step in steps:
        step = step or same == 4
        same = 1 if step else same + 1
        starts.append(starts[-1] + step)
    text = "".join("\n" if i % 11 == 10 else "x" for i in range(starts[-1] + 1))
    ranges = windows(text, starts, limit)
    assert ranges[0][0] == 0 and ranges[-1][1] == len(starts)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    assert all(0 < end - first <= limit for first, end in ranges)
    assert all(starts[first] > starts[first - 1] for first, _ in ranges[1:])


def test_a_character_of_more_tokens_than_a_window_holds_ends_up_in_several():
    assert windows("x", [0] * 25, 10) == [(0, 10), (10, 20), (20, 25)]


def test_windows_prefer_the_beginning_of_a_file():
    text = "a" * 30 + "b" * 30
    assert windows(text, range(60), 40, [0, 30]) == [(0, 30), (30, 60)]
    # One that would leave more than a quarter of the window empty is no place to cut.
    assert windows(text, range(60), 40, [0, 29]) == [(0, 40), (40, 60)]


CODE = """def a():
    x = 1

    y = 2


@decorated
def b():
    if x:
        y = 3
    else:
        y = 4
"""
BRACES = "  x();\n" * 10 + "\n  y();\n}\n  z();\n}\n"
CRLF = "a = 1\r\nb = 2\r\n"


@pytest.mark.parametrize(
    "text, limit, is_code, second",
    [
        (CODE, 36, True, "@decorated\n"),  # least indented, behind a blank line
        (CODE[CODE.index("def b") :], 37, True, "    else:\n"),  # in part of a function, what there is
        (BRACES, 80, True, "  y();\n}"),  # a closing bracket belongs to what it closes
        ("some words\nin a line\n\n  a quotation\n", 25, False, "  a quotation\n"),
        ("words " * 12 + "and\n\n## Next\n\nof it\n\nall, and more", 88, False, "## Next\n"),
        ("- one\n- two\n  of it\n- three", 22, False, "- three"),
        ("some words in one line and no other", 21, False, "line and no other"),
        ("一二三四五六七。八九十一二三四", 10, False, "八九"),
        ("一二三四五六七八九十一二三四", 10, False, "一二三四"),
        (CRLF * 2, 15, True, "a = 1\r\n"),
        (CRLF * 2, 23, True, "b = 2\r\n"),
        ("x" * 9 + "\r\n" + "y" * 5, 10, False, "\r\n"),  # 10 characters would end between CR and LF
        ("x" * 7 + "\r" + "y" * 9, 10, False, "y" * 9),  # a line break of old
    ],
)
def test_a_long_document_is_cut_at_a_sensible_place(text, limit, is_code, second):
    ranges = windows(text, range(len(text)), limit, is_code=lambda place: is_code)
    assert text[ranges[1][0] :].startswith(second)


def test_a_token_over_a_line_break_and_the_indentation_behind_it_is_no_obstacle():
    # As GPT-2 has it: the line break and three blanks are a token, the last blank belongs to the word.
    text = "x = f(a)\n    y = g(b)"
    starts = [*range(9), 8 + 4, *range(13, len(text))]
    starts[9:] = [12, *range(14, len(text))]
    assert starts[8] == 8  # the token "\n   "
    (_, end), _ = windows(text, starts, 11, is_code=lambda place: True)
    assert text[starts[end] :] == " y = g(b)"


def test_a_window_that_begins_inside_a_file_repeats_its_path_comment(tokenizer_file):
    row = repository("x = 1\n" * 3, "y = 2\n" * 60)
    rows = cut(tokenizer_file, row, 96)
    check(rows, row, tokenizer_file, 96)
    assert len(rows) > 3 and [bool(r["repeated"]) for r in rows] == [False] + [True] * (len(rows) - 1)
    assert rows[0]["text"].startswith("# dir/0.py\n")
    assert all(r["text"].startswith("# dir/1.py\ny = 2\n") for r in rows[1:])
    assert all(r["regions"][0]["start"] == len("# dir/1.py\n") for r in rows[1:])


def test_a_path_comment_of_more_than_an_eighth_of_a_window_is_not_repeated(tokenizer_file):
    row = repository("y = 2\n" * 60)
    row["text"] = row["text"].replace("dir", "d" * 50, 1)
    row["files"][0]["end"] = len(row["text"])
    rows = cut(tokenizer_file, row)
    check(rows, row, tokenizer_file)
    assert len(rows) > 1 and not any(r["repeated"] for r in rows)


def test_a_window_that_begins_in_a_path_comment_leaves_the_rest_of_it_alone():
    text = "# some/path.py\nx = 1\n"
    files = [{"start": 0, "end": len(text), "language": "Python"}]
    assert regions(text, files, 5, len(text)) == [{"start": 10, "end": 16, "language": "Python"}]


def test_regions_leave_path_comments_out():
    text = "# a.py\nx = 1\n# b.py\ny = 2\n"
    files = [{"start": 0, "end": 13, "language": "Python"}, {"start": 13, "end": 26, "language": None}]
    assert [text[r["start"] : r["end"]] for r in regions(text, files, 0, 26)] == ["x = 1\n", "y = 2\n"]
    assert [r["language"] for r in regions(text, files, 0, 26)] == ["Python", None]
    # In a window that begins inside a file there is no comment to leave out.
    assert [text[9:][r["start"] : r["end"]] for r in regions(text, files, 9, 26)] == ["= 1\n", "y = 2\n"]
    assert [r["start"] for r in regions(text, files, 9, 26, head=7)] == [7, 18]


def test_samples_of_a_document_are_chunks_of_their_own(tokenizer_file):
    row = repository("x = 1\n", "y = 2\n", "z = 3\n" * 40)
    middle = row["files"][2]["start"]
    row["samples"] = [{"start": 0, "end": middle}, {"start": middle, "end": len(row["text"])}]
    row["sample"] = "window"
    rows = cut(tokenizer_file, row, 128)
    assert "".join(r["text"][r["repeated"] :] for r in rows) == row["text"]
    assert rows[0]["text"] == row["text"][:middle] and len(rows) > 2
    assert [r["chunk"] for r in rows] == list(range(len(rows)))
    assert [r["first"] for r in rows] == [True, True, *[False] * (len(rows) - 2)]
    assert [r["last"] for r in rows] == [True, *[False] * (len(rows) - 2), True]
    # The second is longer than a window.
    assert [r["composed"] for r in rows] == [True, *[False] * (len(rows) - 1)]
    region = rows[1]["regions"][0]
    assert rows[1]["text"][region["start"] :].startswith("z = 3\n")


def test_stubs_and_skeletons_are_no_regions(tokenizer_file):
    row = repository("x = 1\n", "y = 2\n")
    row["stubs"] = [row["files"].pop(0)]
    (chunk,) = cut(tokenizer_file, row, 128)
    assert [chunk["text"][r["start"] : r["end"]] for r in chunk["regions"]] == ["y = 2\n"]
    row["skeletons"] = [row["files"].pop()]
    (chunk,) = cut(tokenizer_file, row, 128)
    assert chunk["regions"] == []


@given(st.integers(0, 300))
def test_a_document_of_tokens_is_cut_to_full_windows(tokenizer_file, count):
    ids = np.arange(count, dtype=np.int32) % 256
    rows = cut(tokenizer_file, {"tokens": ids if count else None})
    limit = LENGTH - OVERHEAD
    assert np.array_equal(np.concatenate([r["tokens"] for r in rows]), ids)
    assert all(len(r["tokens"]) == limit for r in rows[:-1])
    assert [r["reason"] for r in rows] == ([None] * -(-count // limit) if count else ["empty"])
    assert [(r["first"], r["last"]) for r in rows] == [(i == 0, i == len(rows) - 1) for i in range(len(rows))]
    assert {(r["text"], r["repeated"], len(r["regions"])) for r in rows} == {(None, 0, 0)}


def test_rows_come_out_in_batches_of_one_schema(tokenizer_file):
    documents = pa.table(
        {
            "id": [f"d{i}" for i in range(700)],
            "source": ["s"] * 699 + [None],
            "target": [None] * 699 + ["t"],
            "language": ["en"] * 700,
            "text": ["", None, *["some text"] * 698],
        }
    )

    def read(paths):
        assert paths == ("somewhere",)
        return iter(documents.to_batches(max_chunksize=64))

    batches = list(Chunks(tokenizer_file, "", LENGTH, read, None)(("somewhere",)))
    assert [batch.num_rows for batch in batches] == [512, 188]
    assert all(batch.schema == with_verdict(CHUNK) for batch in batches)
    rows = pa.Table.from_batches(batches)
    assert rows["id"].to_pylist() == documents["id"].to_pylist()
    assert rows["source"].to_pylist() == ["s"] * 699 + ["t"]
    assert rows["reason"].to_pylist() == ["empty"] * 2 + [None] * 698
    assert loaded(tokenizer_file).decode(rows["tokens"][5].as_py()) == "some text"


def test_documents_of_tokens_come_from_lists(tokenizer_file):
    documents = pa.table(
        {
            "id": ["a", "b"],
            "source": ["s", "s"],
            "tokens": pa.array([[5, 6, 7], None], pa.list_(pa.int32())),
        }
    )
    (batch,) = Chunks(tokenizer_file, "", LENGTH, lambda paths: documents.to_batches(), "n")(("x",))
    assert batch["tokens"].to_pylist() == [[5, 6, 7], []]
    assert batch["source"].to_pylist() == ["n", "n"]
    assert batch["reason"].to_pylist() == [None, "empty"]


def test_tokens_of_another_vocabulary_are_an_error(tokenizer_file):
    size = loaded(tokenizer_file).vocabulary_size
    for ids in ([1, size], [-1]):
        with pytest.raises(LodeError, match=f"document a has the token {ids[-1]}, which"):
            cut(tokenizer_file, {"id": "a", "tokens": np.array(ids, np.int32)})


def test_a_document_without_an_id_is_dropped_and_counted(tokenizer_file):
    documents = pa.table({"id": [None, "a"], "source": ["s", "s"], "text": ["one", "two"]})
    (batch,) = Chunks(tokenizer_file, "", LENGTH, lambda paths: documents.to_batches(), "n")(("x",))
    assert batch["reason"].to_pylist() == ["no_id", None]


@pytest.mark.parametrize("filling", ["x", " ", "\n", "\r\n", "word ", "a = b\n", "數"])
def test_long_documents_of_one_kind_of_character_take_linear_time(filling):
    text = filling * (1_000_000 // len(filling))
    for is_code in (False, True):
        looked_at = 0

        def code(place, answer=is_code):
            nonlocal looked_at
            looked_at += 1
            return answer

        ranges = windows(text, np.arange(0, len(text), 4), 500, is_code=code)
        assert ranges[-1][1] == -(-len(text) // 4)
        # Each line in the last eighth of a window is looked at once.
        assert looked_at <= text.count("\n") and looked_at <= len(text) / 7


@pytest.mark.parametrize("name", ["okio-1.16.0", "sinatra-3.0.5", "guzzlehttp-psr7-2.4.5"])
def test_a_real_repository_joins_to_itself(shared_data, name):
    files = read_archive(shared_data / "repos" / f"{name}.tar.gz")
    row: dict = {"text": "", "files": [], "language": None}
    parts = []
    for file in files:
        start = sum(map(len, parts))
        parts.append(f"# {file.path}\n{file.text}\n")
        row["files"].append({"start": start, "end": start + len(parts[-1]), "language": file.language})
    row["text"] = "".join(parts)[:400_000]
    row["files"] = [f | {"end": min(f["end"], 400_000)} for f in row["files"] if f["start"] < 400_000]
    path = str(shared_data / "tokenizer" / "deepseek" / "tokenizer.json")
    rows = cut(path, row, 1024)
    check(rows, row, path, 1024)
    # A path comment may be longer than an eighth of a window, but few are.
    begins = {f["start"] for f in row["files"]}
    at, inside, repeated = 0, 0, 0
    for r in rows:
        inside += at not in begins
        repeated += r["repeated"] > 0
        at += len(r["text"]) - r["repeated"]
    assert inside == repeated > 0
