"""Connected components on Spark against scipy's."""

import pathlib
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from corpus.errors import LodeError
from jobs.components import EDGE, Follow, LargeStar, SmallStar, components, contract
from jobs.worker import SaveRows


def scipy_clusters(edges):
    """For each node that an edge ties to another: the least node of its component."""
    edges = edges[edges[:, 0] != edges[:, 1]]
    nodes, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(edges.shape)
    graph = coo_matrix((np.ones(len(ends)), ends.T), (len(nodes), len(nodes)))
    _, labels = connected_components(graph, directed=False)
    # Nodes are sorted, so the first of a component is its least.
    _, least = np.unique(labels, return_index=True)
    return dict(zip(nodes.tolist(), nodes[least[labels]].tolist(), strict=True))


def graphs():
    draw = np.random.default_rng(5)
    chain = np.stack([np.arange(500), np.arange(1, 501)], 1)
    star = np.stack([np.full(5000, 77), np.arange(5000)], 1)
    large = draw.choice(2**62, 900, replace=False)
    yield "sparse", draw.integers(0, 2000, (1000, 2))
    yield "dense", draw.integers(0, 300, (3000, 2))
    yield "chain", chain
    yield "shuffled chain", draw.permutation(501)[chain]
    yield "star of the middle", star
    yield "star of the greatest", np.where(star == 77, 10**6, star)
    yield "cycle", np.concatenate([chain, [[500, 0]]])
    yield "large numbers", large[draw.integers(0, 900, (700, 2))]
    yield (
        "loops, repeated, both ways",
        np.array([[1, 2], [2, 1], [1, 2], [3, 3], [2, 4], [0, 5], [5, 0], [7, 7]]),
    )
    both = np.concatenate([chain, star + 10_000, draw.integers(20_000, 22_000, (1000, 2))])
    yield "all of these", both[draw.permutation(len(both))]


GRAPHS = dict(graphs())


def found(work, edges, one_task=0, partitions=4):
    """Clusters by node, and the number of rounds; also checks that each node comes once and that no round is left."""
    session = work.spark.session
    session.conf.set("spark.sql.shuffle.partitions", str(partitions))
    frame = session.createDataFrame(pa.table({"u": edges[:, 0], "v": edges[:, 1]}))
    clusters = components(work, frame, work.path("scratch"), one_task)
    rows = [(row["node"], row["cluster"]) for row in work.collect(clusters.rows)]
    assert len(rows) == clusters.nodes == len(dict(rows))
    left = [path.parent.name for path in pathlib.Path(work.path("scratch")).rglob("*.parquet")]
    assert set(left) <= {"clusters"}
    return dict(rows), clusters.rounds


@pytest.mark.parametrize("name", GRAPHS)
def test_components_are_those_of_scipy(work, name):
    edges = GRAPHS[name]
    assert found(work, edges)[0] == scipy_clusters(edges)


@pytest.mark.parametrize("one_task", [40, 300, 10**6])
def test_what_one_task_finishes_changes_nothing(work, one_task):
    edges = GRAPHS["all of these"]
    assert found(work, edges, one_task)[0] == scipy_clusters(edges)


@pytest.mark.parametrize("partitions", [1, 4, 16])
def test_partitions_change_nothing(work, partitions):
    # Adaptive execution would make one partition of so few rows.
    work.spark.session.conf.set("spark.sql.adaptive.enabled", "false")
    try:
        assert found(work, GRAPHS["sparse"], 100, partitions) == (scipy_clusters(GRAPHS["sparse"]), 10)
    finally:
        work.spark.session.conf.unset("spark.sql.adaptive.enabled")


def test_a_graph_without_edges_has_no_clusters(work):
    assert found(work, np.zeros((0, 2), int)) == ({}, 1)
    assert found(work, np.array([[4, 4]])) == ({}, 1)


def test_rounds_grow_with_the_logarithm_of_a_chain(work):
    chain = np.stack([np.arange(2**9), np.arange(1, 2**9 + 1)], 1)
    clusters, rounds = found(work, chain)
    assert set(clusters.values()) == {0}
    assert rounds <= 1 + 9 + 1


def test_numbers_below_zero_are_refused_in_a_sentence(work):
    with pytest.raises(LodeError, match="below 0"):
        found(work, np.array([[1, -2]]))


# The steps, without Spark.

NODES = st.integers(0, 12) | st.integers(2**62 - 6, 2**62)
EDGES = st.lists(st.tuples(NODES, NODES), min_size=1, max_size=40).map(lambda rows: np.array(rows, np.int64))


def batches(edges, sizes=(10**9,)):
    """Sorted rows in batches of these sizes, in turn."""
    rows, at, turn = edges[np.lexsort((edges[:, 1], edges[:, 0]))], 0, 0
    while at < len(rows):
        size = sizes[turn % len(sizes)]
        piece = rows[at : at + size]
        yield pa.RecordBatch.from_arrays([pa.array(piece[:, 0]), pa.array(piece[:, 1])], schema=EDGE)
        at, turn = at + size, turn + 1


def outputs(step, edges, sizes=(10**9,)):
    rows = [(name, *row.values()) for name, batch in step(batches(edges, sizes)) for row in batch.to_pylist()]
    return sorted(rows)


@given(EDGES, st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any))
def test_where_a_batch_ends_changes_nothing(edges, sizes):
    down = np.sort(edges, axis=1)[:, ::-1]
    down = down[down[:, 0] != down[:, 1]]
    both = np.concatenate([down, down[:, ::-1]])
    assert outputs(SmallStar(), down, sizes) == outputs(SmallStar(), down)
    assert outputs(LargeStar(), both, sizes) == outputs(LargeStar(), both)
    # A forest: the least of a node's smaller neighbours is its parent.
    forest = np.array(sorted(dict(sorted(map(tuple, down.tolist()), reverse=True)).items())).reshape(-1, 2)
    forest = np.concatenate([forest, forest[:, ::-1]]).astype(np.int64)
    for begun in (False, True):
        assert outputs(Follow(begun), forest, sizes) == outputs(Follow(begun), forest)


@given(EDGES)
def test_what_a_task_contracts_is_what_scipy_finds(edges):
    nodes, least = contract(edges[:, 0], edges[:, 1])
    apart = scipy_clusters(edges)
    assert (
        dict(zip(nodes.tolist(), least.tolist(), strict=True))
        == {n: n for n in edges.ravel().tolist()} | apart
    )


# What the rounds are kept by.


def rows_of_many_types(session, count=1000):
    return session.range(0, count, 1, 3).selectExpr(
        "id", "string(id) AS name", "array(id, id * 2) AS list", "if(id % 3 = 0, null, id / 7) AS share",
        "named_struct('a', id, 'b', binary(string(id))) AS pair", "timestamp_seconds(id) AS time",
    )  # fmt: skip


def test_a_checkpoint_has_the_rows_and_types_and_runs_once(work, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()

    def marked(batches):
        (marks / str(uuid.uuid4())).touch()
        yield from batches

    before = rows_of_many_types(work.spark.session)
    kept = work.checkpoint(before.mapInArrow(marked, before.schema), work.path("kept"))
    assert kept.schema == before.schema
    for _ in range(2):
        assert work.collect(kept.orderBy("id")) == work.collect(before.orderBy("id"))
    assert len(list(marks.iterdir())) == 3
    assert len(list(pathlib.Path(work.path("kept")).rglob("*.parquet"))) == 3


def test_a_checkpoint_of_no_rows_has_the_types(work):
    before = rows_of_many_types(work.spark.session).where("id < 0")
    kept = work.checkpoint(before, work.path("kept"))
    assert kept.schema == before.schema
    assert work.collect(kept) == []


def test_a_repeated_task_replaces_its_file_and_a_failed_one_leaves_none(tmp_path):
    edges = np.array([[5, 1], [5, 2], [6, 5]])
    for _ in range(2):
        made = [
            row
            for batch in SaveRows(str(tmp_path), SmallStar()).save(3, batches(edges))
            for row in batch.to_pylist()
        ]
        assert [(row["name"], row["rows"]) for row in made] == [("edges", 4), ("moved", 2)]
        assert sorted(tmp_path.rglob("*.*")) == sorted(pathlib.Path(row["path"]) for row in made)
        assert pq.read_table(made[1]["path"]).to_pylist() == [{"u": 2, "v": 1}, {"u": 1, "v": 2}]

    def broken(rows):
        yield "edges", next(iter(rows))
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        list(SaveRows(str(tmp_path / "other"), broken).save(0, batches(edges)))
    assert [path for path in (tmp_path / "other").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(work):
    pathlib.Path(work.path("kept")).write_text("a file where the folder should be")
    with pytest.raises(LodeError, match="kept"):
        work.checkpoint(work.spark.session.range(5), work.path("kept"))
