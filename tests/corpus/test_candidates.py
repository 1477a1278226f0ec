"""Links and comparisons over sorted rows, cut into batches anywhere."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import candidates
from corpus.candidates import BAND, COMPARISON, EARLIER, KEYED, Links, Verify, comparison
from corpus.minhash import Formulas, ShingleSet

# kind, key, rank, text; the node is the row's number, of an earlier corpus where the last value says so.
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 9), st.integers(0, 5), st.booleans()),
    max_size=60,
)


def keyed(rows):
    named = [(*row[:4], number + EARLIER * row[4]) for number, row in enumerate(rows)]
    columns = list(zip(*sorted(named), strict=True)) or [()] * 5
    arrays = [pa.array(column, field.type) for column, field in zip(columns, KEYED, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=KEYED)


def links(batch, verify, step=1000):
    slices = [batch.slice(at, step) for at in range(0, batch.num_rows, step)]
    found: dict[str, list] = {"exact": [], "pairs": [], "hot": []}
    for name, rows in Links(verify)(iter(slices)):
        found[name] += [tuple(row.values()) for row in rows.to_pylist()]
    return found


def runs(batch):
    rows = [tuple(row.values()) for row in batch.to_pylist()]
    return [(name, list(run)) for name, run in itertools.groupby(rows, key=lambda row: row[:2])]


@given(ROWS, st.integers(1, 7))
def test_batches_do_not_matter(rows, step):
    batch = keyed(rows)
    for verify in (True, False):
        assert links(batch, verify, step) == links(batch, verify)


@given(ROWS)
def test_pairs_are_all_pairs_of_texts_in_a_bucket_but_earlier_ones(rows):
    # One of each text on either side: an earlier document does not stand for a new one.
    batch = keyed(rows)
    expected = set()
    for (kind, _), run in runs(batch):
        if kind >= BAND:
            first = {(row[3], row[4] >= EARLIER): row[4] for row in reversed(run)}.values()
            expected |= {frozenset(pair) for pair in itertools.combinations(first, 2) if min(pair) < EARLIER}
    assert {frozenset(row[:2]) for row in links(batch, True)["pairs"]} == expected


@given(ROWS, st.booleans())
def test_equal_keys_are_tied_into_one(rows, verify):
    batch = keyed(rows)
    ties = {frozenset(row[:2]) for row in links(batch, verify)["exact"]}
    for (kind, _), run in runs(batch):
        if kind >= BAND and verify:
            continue
        nodes = [row[4] for row in run]
        new = [node for node in nodes if node < EARLIER]
        if not new:
            continue
        # Every document but the run's first new one is tied to it, or an earlier one to it by the first new one.
        reached = {new[0]}
        for _ in nodes:
            reached |= {node for node in nodes for other in reached if frozenset((node, other)) in ties}
        first_earlier = [node for node in nodes if node >= EARLIER][:1]
        assert set(new) | set(first_earlier) <= reached
    assert all(min(tie) < EARLIER for tie in ties)


def test_a_hot_bucket_costs_rows_and_not_their_square():
    size = 5000
    batch = keyed([(BAND, 1, number, number, False) for number in range(size)])
    found = links(batch, True, 512)
    assert len(found["pairs"]) < 5 * size
    assert found["hot"] == [(BAND, 1, size)]
    # All of them hang together.
    reached = {0}
    for u, v, _ in found["pairs"]:
        assert v in reached
        reached.add(u)
    assert len(reached) == size


def test_there_may_be_as_many_bands_as_permutations():
    kind = BAND + 4096
    batch = candidates.keyed(kind, *np.zeros((3, 2), np.int64), np.arange(2))
    assert links(batch, False)["exact"] == [(1, 0, kind)]


def test_earlier_documents_do_not_come_between_new_ones():
    rows = [(BAND, 1, number, number, True) for number in range(200)]
    rows += [(BAND, 1, 200 + number, 200 + number, False) for number in range(3)]
    new = {frozenset(row[:2]) for row in links(keyed(rows), True)["pairs"] if max(row[:2]) < EARLIER}
    assert new == {frozenset(pair) for pair in itertools.combinations((200, 201, 202), 2)}


def test_copies_of_one_text_in_a_bucket_are_one_member():
    batch = keyed([(BAND, 1, number, number % 3, False) for number in range(10_000)])
    found = links(batch, True)
    assert len(found["pairs"]) == 3 and not found["hot"]


def compared(*documents):
    """The first is the hub of the others."""
    rows = [
        {
            "hub": 0,
            "other": node > 0,
            "node": node,
            **comparison(ShingleSet.of_texts([text], "math", 2), formulas),
        }
        for node, (text, formulas) in enumerate(documents)
    ]
    batches = [pa.RecordBatch.from_pylist([row], COMPARISON) for row in rows]
    return [row for _, batch in Verify(0.5)(iter(batches)) for row in batch.to_pylist()]


def test_only_pairs_that_reach_the_threshold_are_alike():
    found = compared(("a b c d e", None), ("a b c d f", None), ("a b x y z", None), ("a b c d e", None))
    assert [(row["u"], row["v"]) for row in found] == [(0, 1), (0, 3)]
    assert found[0]["jaccard"] == pytest.approx(3 / 5) and found[0]["containment"] == pytest.approx(3 / 4)


def test_formulas_may_forbid_it():
    pages = ["Solve $x^2+1=0$ and then all the rest of it.", "Solve $x^2-1=0$ and then all the rest of it."]
    assert len(compared(*((page, None) for page in pages))) == 1
    assert not compared(*zip(pages, Formulas.of_documents(pages), strict=True))


def test_rows_out_of_order_are_refused():
    row = {"hub": 7, "other": True, "node": 1, **comparison(ShingleSet(np.empty(0, np.uint64)), None)}
    with pytest.raises(ValueError, match="came without it"):
        list(Verify(0.5)(iter([pa.RecordBatch.from_pylist([row], COMPARISON)])))
