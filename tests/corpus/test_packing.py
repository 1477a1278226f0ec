"""Packing: nothing lost, nothing cut that must stay whole, next to nothing padded; best fit as one at a time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpus.packing import (
    CUT,
    PLACED,
    RATHER_NOT,
    SEQUENCE,
    WAYS,
    WHOLE,
    Pack,
    best_fit_decreasing,
    pack,
    packing_facts,
    tokens_per_source,
)
from corpus.schema import with_verdict

LENGTH = 16
SIZES = st.lists(st.integers(1, LENGTH), max_size=80)


@st.composite
def some_windows(draw, whole=(CUT, RATHER_NOT, WHOLE)):
    """Rows of `PLACED` in any order, each token a number of its own."""
    kinds = st.tuples(st.integers(0, 3 * LENGTH), st.sampled_from(whole))
    found = draw(st.lists(kinds, max_size=60))
    keys = draw(st.permutations(range(len(found))))
    value = iter(range(10**6))
    rows = []
    for i, (size, may) in enumerate(found):
        size = size if may == CUT else min(size, LENGTH)
        rows.append(
            {"bucket": 0, "key": keys[i], "id": f"d{i // 3}", "source": f"s{i % 2}", "chunk": i % 3, "epoch": i % 2,
             "whole": may, "tokens": [next(value) for _ in range(size)], "reason": None, "detail": None}
        )  # fmt: skip
    return rows


def packed(rows, how, length=LENGTH, batch=7):
    """Sequences, and the rows that are in none, of the transform."""
    batches = [pa.RecordBatch.from_pylist(rows[i : i + batch], PLACED) for i in range(0, len(rows), batch)]
    out = list(Pack(length, -1, how)(iter(batches)))
    found = [row for batch in out for row in batch.to_pylist()]
    return [row for row in found if not row["reason"]], [row for row in found if row["reason"]], out


def naive_best_fit_decreasing(sizes, length):
    """Room left in the bins, one item after another and every bin looked at."""
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [room for room in rooms if room >= size]
        if fitting:
            rooms[rooms.index(min(fitting))] -= size
        else:
            rooms.append(length - size)
    return rooms


@given(SIZES, st.integers(LENGTH, 3 * LENGTH))
@example([4, 4, 4, 4, 4, 4, 4, 4, 4, 9], 16)
def test_best_fit_decreasing_is_that_of_one_item_after_another(sizes, length):
    bins, home = best_fit_decreasing(np.array(sizes, int), length)
    fill = np.bincount(home, sizes, bins).astype(int) if sizes else np.zeros(bins, int)
    assert sorted((length - fill).tolist()) == sorted(naive_best_fit_decreasing(sizes, length))


def test_best_fit_decreasing_of_many_sizes():
    sizes = np.random.default_rng(0).integers(1, 4097, 3000)
    bins, home = best_fit_decreasing(sizes, 4096)
    rooms = (4096 - np.bincount(home, sizes, bins)).astype(int)
    assert sorted(rooms.tolist()) == sorted(naive_best_fit_decreasing(sizes.tolist(), 4096))


def test_items_of_no_size_are_in_no_bin():
    bins, home = best_fit_decreasing(np.array([0, 5, 0, 3]), 8)
    assert bins == 1 and home.tolist() == [-1, 0, -1, 0]


@given(some_windows(), st.sampled_from(WAYS), st.integers(1, 70))
def test_tokens_that_go_in_come_out_or_are_counted(rows, how, batch):
    sequences, unused, out = packed(rows, how, batch=batch)
    tokens_in = {(r["id"], r["chunk"], r["epoch"]): r["tokens"] for r in rows}
    kinds = {(r["id"], r["chunk"], r["epoch"]): r["whole"] for r in rows}
    assert len(tokens_in) == len(rows)
    pieces: dict[tuple, list] = {}
    completed = padding = 0
    for place, row in enumerate(sequences):
        spans = row["documents"]
        assert len(row["tokens"]) == LENGTH
        assert [s["start"] for s in spans] == [sum(p["length"] for p in spans[:i]) for i in range(len(spans))]
        assert sum(s["length"] for s in spans) == LENGTH and all(s["length"] for s in spans)
        ended = 0
        for span in spans:
            tokens = row["tokens"][span["start"] : span["start"] + span["length"]]
            if span["id"] is None:
                assert set(tokens) == {-1} and span["source"] is None and span is spans[-1]
                padding += span["length"]
                continue
            name = span["id"], span["chunk"], span["epoch"]
            pieces.setdefault(name, []).append((span["offset"], tokens, place))
            ended += span["offset"] + span["length"] == len(tokens_in[name])
        assert row["completed"] == ended
        completed += ended
    remainder = 0
    for name, tokens in tokens_in.items():
        found = sorted(pieces.get(name, []))
        together = [token for _, piece, _ in found for token in piece]
        assert together == tokens[: len(together)]
        assert [offset for offset, _, _ in found] == [
            sum(len(p) for _, p, _ in found[:i]) for i in range(len(found))
        ]
        remainder += len(tokens) - len(together)
        if kinds[name] == WHOLE:
            assert len(found) <= 1 and together in ([], tokens)
        if how == "concat":  # it goes on further down
            assert all(a[2] < b[2] for a, b in pairwise(found))
    # Every window ends in a sequence or is counted out, with what is missing of it.
    assert completed + len(unused) == len(rows)
    told = [int(r["detail"].split()[0]) for r in unused if r["reason"] == "remainder"]
    assert sum(told) == remainder < LENGTH
    assert Counter(r["reason"] for r in unused)["empty"] == sum(not r["tokens"] for r in rows)
    # Padding stays where only what must stay whole is left, or, for best fit, within its bound.
    if padding and WHOLE not in kinds.values():
        assert how == "best_fit" and padding <= 0.001 * LENGTH * len(sequences)
    facts = packing_facts(batch.filter(batch["reason"].is_null()) for batch in out)
    lengths = {name: len(found) for name, found in pieces.items()}
    assert facts == {
        "sequences": len(sequences), "tokens": LENGTH * len(sequences), "padding": padding, "windows": len(pieces),
        "pieces": sum(lengths.values()), "cuts": sum(n - 1 for n in lengths.values()),
        "windows_cut": sum(n > 1 for n in lengths.values()),
    }  # fmt: skip


@given(some_windows(), st.sampled_from(WAYS), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_and_the_size_of_batches_do_not_matter(rows, how, shuffler):
    first = packed(rows, how)[:2]
    shuffler.shuffle(rows)
    again = packed(rows, how, batch=3)[:2]
    assert again[0] == first[0]
    by_name = lambda row: (row["reason"], row["id"], row["source"], row["detail"] or "")
    assert sorted(again[1], key=by_name) == sorted(first[1], key=by_name)


@given(some_windows(whole=[CUT]))
def test_concat_of_what_may_be_cut_is_one_stream(rows):
    stream = [token for row in sorted(rows, key=lambda row: row["key"]) for token in row["tokens"]]
    sequences, _, _ = packed(rows, "concat")
    assert [token for row in sequences for token in row["tokens"]] == stream[: len(stream) // LENGTH * LENGTH]


def sizes_and_kinds(how, sizes, whole, length, seed=0):
    keys = np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, len(sizes))
    pieces = pack(np.array(sizes), np.array(whole), np.zeros(len(sizes), bool), keys, length, how)
    is_text = pieces.window >= 0
    return pieces, pieces.length[~is_text].sum() / (pieces.sequences * length)


def cut_windows(pieces):
    names, counts = np.unique(pieces.window[pieces.window >= 0], return_counts=True)
    return set(names[counts > 1].tolist())


def test_half_whole_windows_leave_no_padding_and_little_remainder():
    # Full windows, every other one whole: there is next to no room for the others beside them.
    sizes = [500 + i % 8 for i in range(1000)]
    pieces, padding = sizes_and_kinds("concat", sizes, [WHOLE, CUT] * 500, 512)
    assert padding == 0
    assert sum(sizes) - pieces.length.sum() < 512


def test_only_whole_windows_are_padded():
    pieces, padding = sizes_and_kinds("concat", [10] * 600, [WHOLE] * 600, 16)
    assert padding == 6 / 16 and pieces.sequences == 600


@pytest.mark.parametrize("how", WAYS)
def test_composed_windows_leave_no_padding_and_few_of_them_are_cut(how):
    sizes = np.random.default_rng(0).integers(440, 512, 2000)
    pieces, padding = sizes_and_kinds(how, sizes, [RATHER_NOT] * 2000, 512)
    assert padding <= (0 if how == "concat" else 0.001)
    # As many as it takes: each that is cut gives up one sequence.
    assert len(cut_windows(pieces)) <= 2000 - sizes.sum() // 512 + 1


def test_composed_windows_stay_whole_where_others_fill_the_gaps():
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.integers(440, 512, 1000), rng.integers(1, 400, 1000)])
    whole = [RATHER_NOT] * 1000 + [CUT] * 1000
    pieces, padding = sizes_and_kinds("concat", sizes, whole, 512)
    assert padding == 0 and min(cut_windows(pieces)) >= 1000


def test_a_cut_window_goes_on_in_the_next_sequence_with_room():
    rng = np.random.default_rng(0)
    sizes, whole = rng.integers(1, 512, 2000), rng.choice([CUT, WHOLE], 2000, p=[0.9, 0.1])
    pieces, _ = sizes_and_kinds("concat", sizes, whole, 512)
    liquid = np.flatnonzero(whole[pieces.window] == CUT)
    with_room = np.unique(pieces.sequence[liquid])
    for window in cut_windows(pieces):
        homes = pieces.sequence[pieces.window == window]
        places = np.searchsorted(with_room, homes)
        assert np.array_equal(places, np.arange(places[0], places[0] + len(places)))
    # What goes on comes first, what is to be continued last.
    for sequence in range(pieces.sequences):
        here = pieces.sequence == sequence
        goes_on = pieces.offset[here] > 0
        unfinished = (pieces.offset + pieces.length)[here] < sizes[pieces.window[here]]
        assert not goes_on[1:].any() and not (unfinished & ~goes_on)[:-1].any()


def test_best_fit_cuts_nothing_that_fits_where_small_windows_fill_the_gaps():
    sizes = np.minimum(np.random.default_rng(0).lognormal(5, 1.2, 20_000).astype(int) + 1, 2048)
    pieces, padding = sizes_and_kinds("best_fit", sizes, [CUT] * len(sizes), 2048)
    assert not cut_windows(pieces) and 0 < padding <= 0.001
    assert pieces.length[pieces.window >= 0].sum() == sizes.sum()


def test_best_fit_cuts_as_few_as_it_takes_and_first_those_that_may_be():
    sizes = np.random.default_rng(0).integers(300, 440, 3000)
    whole = np.array([CUT, RATHER_NOT, WHOLE])[np.arange(3000) % 3]
    pieces, padding = sizes_and_kinds("best_fit", sizes, whole, 512)
    assert padding <= 0.001
    cut = np.array(sorted(cut_windows(pieces)))
    assert not (whole[cut] == WHOLE).any() and not (whole[cut] == RATHER_NOT).any()
    # One window a sequence: each that is cut gives up one.
    assert len(cut) <= 3000 - sizes.sum() // 512 + 1


def test_best_fit_cuts_first_what_is_part_of_a_longer_document():
    rows = [
        {"bucket": 0, "key": i, "id": f"d{i}", "source": "s", "chunk": i % 2, "epoch": 0, "whole": CUT,
         "tokens": [i] * 11, "reason": None, "detail": None}
        for i in range(40)
    ]  # fmt: skip
    sequences, _, _ = packed(rows, "best_fit")
    cut = {span["chunk"] for row in sequences for span in row["documents"] if span["offset"]}
    assert len(sequences) == 40 * 11 // LENGTH and cut == {1}


def test_windows_of_one_id_in_two_sources_are_two():
    """A folder may be two parts of a mixture."""
    rows = [
        {"bucket": 0, "key": 0, "id": "d", "source": source, "chunk": 0, "epoch": 0, "whole": CUT,
         "tokens": list(range(size)), "reason": None, "detail": None}
        for source, size in (("a", LENGTH + 4), ("b", LENGTH))
    ]  # fmt: skip
    sequences, unused, out = packed(rows, "concat")
    assert [[(s["source"], s["offset"], s["length"]) for s in row["documents"]] for row in sequences] == [
        [("a", 0, LENGTH)], [("a", LENGTH, 4), ("b", 0, LENGTH - 4)],
    ]  # fmt: skip
    assert [(r["source"], r["detail"]) for r in unused] == [("b", f"4 of {LENGTH} tokens")]
    facts = packing_facts([*out, *packed([rows[1] | {"tokens": list(range(2 * LENGTH))}], "concat")[2]])
    assert (facts["windows_cut"], facts["cuts"]) == (2, 2)


def test_a_window_longer_than_a_sequence_keeps_full_ones_of_its_own():
    pieces, _ = sizes_and_kinds("best_fit", [40, 8, 16], [CUT] * 3, 16)
    assert pieces.sequences == 4
    assert np.array_equal(np.sort(pieces.length[pieces.window == 0]), [8, 16, 16])


def test_sequences_are_shuffled_by_the_keys_of_their_windows():
    rng = np.random.default_rng(0)
    sizes, keys = rng.integers(1, 512, 3000), rng.permutation(3000)
    pieces = pack(sizes, np.zeros(3000, int), np.zeros(3000, bool), keys, 512, "best_fit")
    largest = [sizes[pieces.window[pieces.sequence == s]].max() for s in range(pieces.sequences)]
    assert abs(np.corrcoef(largest, np.arange(len(largest)))[0, 1]) < 0.1


def test_what_is_not_used_keeps_its_reason():
    row = {"bucket": 0, "key": 0, "id": "a", "source": "s", "chunk": 0, "epoch": 0, "whole": WHOLE,
           "tokens": None, "reason": "over_mixture", "detail": "window 0"}  # fmt: skip
    long = row | {"id": "b", "tokens": [1] * (LENGTH + 1), "reason": None, "detail": None}
    sequences, unused, _ = packed([row, long, long | {"id": "c", "tokens": None}], "concat")
    assert not sequences
    told = [(r["id"], r["source"], r["reason"], r["completed"]) for r in unused]
    assert told == [("a", "s", "over_mixture", 1), ("b", "s", "too_long", 1), ("c", "s", "empty", 1)]
    assert unused[0]["detail"] == "window 0"


@pytest.mark.parametrize("how", WAYS)
def test_nothing_packs_to_nothing(how):
    assert not list(Pack(LENGTH, 0, how)(iter([])))
    assert not packed([], how)[0]


def test_batches_hold_a_bounded_number_of_tokens():
    length = 1 << 18
    rows = [
        {"bucket": 0, "key": i, "id": f"d{i}", "source": "s", "chunk": 0, "epoch": 0, "whole": CUT,
         "tokens": np.full(length, i, np.int32), "reason": None, "detail": None}
        for i in range(5)
    ]  # fmt: skip
    out = list(Pack(length, 0)(iter([pa.RecordBatch.from_pylist(rows, PLACED)])))
    assert [batch.num_rows for batch in out] == [2, 2, 1]
    kinds = {field.name: field.type for field in with_verdict(SEQUENCE)}
    assert all(batch.schema.field(name).type == kind for batch in out for name, kind in kinds.items())
    assert tokens_per_source(out) == {"s": 5 * length}
