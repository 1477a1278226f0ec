import random
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.packing import (
    CUT,
    PLACED,
    RATHER_NOT,
    WHOLE,
    Chunks,
    Pack,
    Packer,
    copies,
    mixture_epochs,
    regions,
    tokens_per_source,
    windows,
)
from corpus.tokens import TextTokenizer, train_tokenizer

LENGTH = 16


@st.composite
def some_chunks(draw):
    sizes = draw(
        st.lists(st.tuples(st.integers(1, LENGTH), st.sampled_from([CUT, RATHER_NOT, WHOLE])), max_size=60)
    )
    value = iter(range(10**6))
    return [(f"d{i}", "s", whole, [next(value) for _ in range(n)]) for i, (n, whole) in enumerate(sizes)]


@given(some_chunks())
def test_nothing_is_lost_and_whole_chunks_stay_whole(chunks):
    packer = Packer(LENGTH, pad=-1)
    sequences = list(packer.sequences(chunks))
    seen: dict[str, list[int]] = {}
    completed = 0
    for tokens, spans, ended in sequences:
        completed += ended
        assert len(tokens) == LENGTH
        assert [s["start"] for s in spans] == [sum(p["length"] for p in spans[:i]) for i in range(len(spans))]
        assert sum(span["length"] for span in spans) == LENGTH
        for span in spans:
            piece = tokens[span["start"] : span["start"] + span["length"]]
            seen.setdefault(span["id"], []).extend(piece)
            if span["id"] == "":
                assert set(piece) == {-1}
    pads = sum(span["id"] == "" for _, spans, _ in sequences for span in spans)
    left = packer.left_over()
    lost = {name for name, _ in left}
    for name, _, whole, tokens in chunks:
        if name not in lost:
            assert seen[name] == tokens
        if whole == WHOLE and name in seen:
            assert seen[name] == tokens
            homes = [i for i, (_, spans, _) in enumerate(sequences) if any(s["id"] == name for s in spans)]
            assert len(homes) == 1
    assert completed - pads + len(left) == len(chunks)
    tokens_in = sum(len(c[3]) for c in chunks)
    tokens_out = sum(len(v) for name, v in seen.items() if name)
    assert tokens_in == tokens_out + sum(count for _, count in left)


def test_half_whole_windows_leave_no_padding_and_little_remainder():
    # Full windows, every other one whole: the case that starved when a cut chunk always went on first.
    chunks = [(f"d{i}", "s", WHOLE if i % 2 == 0 else CUT, [i] * (500 + i % 8)) for i in range(1000)]
    packer = Packer(512, pad=-1)
    sequences = list(packer.sequences(chunks))
    assert len(sequences) * 512 > 0.99 * sum(len(c[3]) for c in chunks)
    assert not any(span["id"] == "" for _, spans, _ in sequences for span in spans)


def test_only_whole_chunks_are_padded_and_counted():
    chunks = [(f"d{i}", "s", WHOLE, [1] * 10) for i in range(600)]
    packer = Packer(LENGTH, pad=-1)
    assert all(tokens.count(-1) == 6 for tokens, _, _ in packer.sequences(chunks))


def test_composed_windows_leave_no_padding_and_few_of_them_are_cut():
    sizes = random.Random(0).choices(range(440, 512), k=2000)
    chunks = [(f"d{i}", "s", RATHER_NOT, [i] * size) for i, size in enumerate(sizes)]
    packer = Packer(512, pad=-1)
    pieces = Counter()
    for tokens, spans, _ in packer.sequences(chunks):
        assert len(tokens) == 512 and -1 not in tokens
        pieces.update(span["id"] for span in spans)
    assert sum(count == 1 for count in pieces.values()) > 0.9 * len(chunks)


def test_samples_of_a_document_are_chunks_of_their_own(tmp_path):
    path = str(tmp_path / "tokenizer.json")
    train_tokenizer(iter(["# a.py x = 1 # b.py y = 2"]), 300).save(path)
    tokenizer = TextTokenizer.load(path)
    text = "# a.py\nx = 1\n# b.py\ny = 2\n# c.py\n" + "z = 3\n" * 20
    files = [{"start": 0, "end": 13}, {"start": 13, "end": 26}, {"start": 26, "end": len(text)}]
    samples = [{"start": 0, "end": 26}, {"start": 26, "end": len(text)}]
    row = {"id": "i", "text": text, "source": "s", "files": files, "samples": samples, "sample": "window"}
    rows = list(Chunks(path, "", 60, None, None).cut(row, tokenizer))
    assert "".join(row["text"] for row in rows) == text
    assert rows[0]["text"] == text[:26] and len(rows) > 2
    assert [row["chunk"] for row in rows] == list(range(len(rows)))
    assert [row["first"] for row in rows] == [True, True, *[False] * (len(rows) - 2)]
    assert [row["last"] for row in rows] == [True, *[False] * (len(rows) - 2), True]
    assert [row["composed"] for row in rows] == [
        True,
        *[False] * (len(rows) - 1),
    ]  # the second is longer than a window
    region = rows[1]["regions"][0]
    assert rows[1]["text"][region["start"] :].startswith("z = 3\n")
    for row in rows:
        assert tokenizer.decode(row["tokens"]) == row["text"]


def test_the_pack_transform_balances():
    rows = [
        {"bucket": 0, "key": i, "id": f"d{i}", "source": "s", "whole": CUT, "tokens": [i] * 10,
         "reason": None, "detail": None}
        for i in range(5)
    ]  # fmt: skip
    rows.append({**rows[0], "id": "x", "tokens": None, "reason": "over_mixture"})
    out = pa.Table.from_batches(list(Pack(LENGTH, 0)(iter([pa.RecordBatch.from_pylist(rows, PLACED)]))))
    assert sum(out["completed"].to_pylist()) == 6
    assert sorted(filter(None, out["reason"].to_pylist())) == ["over_mixture", "remainder"]
    kept = out.filter(pc.is_null(out["reason"]))
    assert tokens_per_source(kept.to_batches()) == {"s": 48}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(4, 40))
def test_windows_cover_a_text_and_never_cut_a_character(steps, limit):
    starts = [0]
    for step in steps:
        starts.append(starts[-1] + (step > 0) * step)
    # At most four tokens share a character, as in a byte-level BPE.
    text = "".join("\n" if i % 11 == 10 else "x" for i in range(starts[-1] + 1))
    runs = max(starts.count(s) for s in starts)
    if runs > 4:
        return
    ranges = windows(text, starts, max(limit, 5), [])
    assert ranges[0][0] == 0 and ranges[-1][1] == len(starts)
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    assert all(0 < end - first <= max(limit, 5) for first, end in ranges)
    assert all(starts[first] > starts[first - 1] for first, _ in ranges[1:])


def test_windows_prefer_the_beginning_of_a_file():
    text = "a" * 30 + "b" * 30
    assert windows(text, list(range(60)), 40, [0, 30]) == [(0, 30), (30, 60)]


def test_regions_leave_path_comments_out():
    text = "# a.py\nx = 1\n# b.py\ny = 2\n"
    files = [{"start": 0, "end": 13}, {"start": 13, "end": 26}]
    assert [text[r["start"] : r["end"]] for r in regions(text, files, 0, 26)] == ["x = 1\n", "y = 2\n"]
    # In a window that begins inside a file there is no comment to leave out.
    assert [text[9:][r["start"] : r["end"]] for r in regions(text, files, 9, 26)] == ["= 1\n", "y = 2\n"]


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1), min_size=1),
    st.integers(1, 10**9),
)
def test_a_mixture_has_its_weights(weights, scale):
    available = {name: scale * (i + 1) for i, name in enumerate(weights)}
    epochs = mixture_epochs(weights, available, 4.0, None)
    total = sum(epochs[s] * available[s] for s in weights)
    for source, weight in weights.items():
        assert epochs[source] * available[source] / total == pytest.approx(weight / sum(weights.values()))
        assert epochs[source] <= 4.0 + 1e-6 + 4 / available[source]


def test_a_mixture_that_cannot_be_had_is_refused():
    with pytest.raises(LodeError, match="no documents"):
        mixture_epochs({"a": 1, "b": 1}, {"a": 10}, 4, None)


def test_no_source_is_seen_more_often_than_allowed():
    assert mixture_epochs({"a": 1, "b": 1}, {"a": 10, "b": 1000}, 4, 1000) == {"a": 4.0, "b": 0.04}
    assert mixture_epochs({"a": 1, "b": 1}, {"a": 10, "b": 1000}, 4, 20) == {"a": 1.0, "b": 0.01}


@given(st.floats(0, 5), st.floats(0, 0.999))
def test_copies_average_to_the_epochs(epochs, draw):
    assert int(epochs) <= copies(epochs, draw) <= int(epochs) + 1
