"""Links and comparisons over sorted rows, cut into batches anywhere."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import candidates
from corpus.candidates import (
    BAND,
    BOILERPLATE,
    COMPARISON,
    EARLIER,
    KEYED,
    LEAST_SHINGLES,
    OVERLAP,
    SAMPLED,
    Links,
    Shared,
    Verify,
    comparison,
    settle,
)
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


def shared(rows, step):
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip(zip(*rows, strict=True), SAMPLED, strict=True)
        ],
        schema=SAMPLED,
    )
    slices = [batch.slice(at, step) for at in range(0, batch.num_rows, step)]
    return sorted(
        tuple(row.values())
        for name, found in Shared()(iter(slices))
        for row in found.to_pylist()
        if name == "shared"
    )


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 40), st.booleans()), min_size=1, max_size=150),
    st.integers(1, 9),
)
def test_repositories_of_a_shingle_are_paired_unless_it_is_boilerplate(rows, step):
    rows = sorted({(key, number + EARLIER * earlier, number + 10) for key, number, earlier in rows})
    expected = []
    for _, run in itertools.groupby(rows, key=lambda row: row[0]):
        run = list(run)
        pairs = itertools.combinations(run, 2) if len(run) <= BOILERPLATE else zip(run, run, strict=True)
        expected += [(a[1], b[1], a[2], b[2]) for a, b in pairs if a[1] < EARLIER]
    assert shared(rows, step) == sorted(expected)


SETS = st.lists(
    st.tuples(st.sets(st.integers(0, 9), min_size=1, max_size=10), st.integers(0, 2)), min_size=2, max_size=9
)


@given(SETS, st.sampled_from([0.5, 0.75, 1.0]), st.randoms(use_true_random=False))
def test_what_goes_is_contained_in_what_stays(repositories, least, random):
    # Each number stands for `LEAST_SHINGLES` shingles.
    sets = [
        ShingleSet(
            np.arange(0, 10 * LEAST_SHINGLES, dtype=np.uint64)[
                np.repeat(np.isin(np.arange(10), list(numbers)), LEAST_SHINGLES)
            ]
        )
        for numbers, _ in repositories
    ]
    known = [stars for _, stars in repositories]
    order = sorted(range(len(sets)), key=lambda n: (-known[n], -sets[n].count, n))
    rows = []
    for u, v in itertools.combinations(range(len(sets)), 2):
        both, a, b = sets[u].shared(sets[v])
        row = {"u": u, "v": v, "u_count": a, "v_count": b, "u_in_v": both / a, "v_in_u": both / b}
        rows.append(row | {"jaccard": both / (a + b - both)})
    random.shuffle(rows)
    found, better_known = settle(
        np.array(order), np.array(known)[order], pa.Table.from_pylist(rows, OVERLAP), least
    )
    gone = {row["node"]: row for row in found.to_pylist()}
    assert len(gone) == found.num_rows

    def share(a, b):
        return len(repositories[a][0] & repositories[b][0]) / len(repositories[a][0])

    protected = 0
    for node in range(len(sets)):
        before = order[: order.index(node)]
        stayed = [other for other in before if other not in gone and share(node, other) >= least]
        # It goes if and only if one that is no less known, and stays, has enough of it.
        assert (node in gone) == bool(stayed)
        if stayed:
            best = max(share(node, other) for other in stayed)
            assert gone[node]["other"] in stayed and gone[node]["containment"] == best
        else:
            protected += any(
                known[other] < known[node] and share(node, other) >= least for other in range(len(sets))
            )
    assert better_known == protected


def test_the_smallest_repositories_are_contained_in_nothing():
    for count in (LEAST_SHINGLES - 1, LEAST_SHINGLES):
        row = {
            "u": 0,
            "v": 1,
            "u_count": count,
            "v_count": 9999,
            "u_in_v": 1.0,
            "v_in_u": 0.1,
            "jaccard": 0.1,
        }
        found, _ = settle(np.array([1, 0]), np.zeros(2, int), pa.Table.from_pylist([row], OVERLAP), 0.75)
        assert found.num_rows == (count == LEAST_SHINGLES)
