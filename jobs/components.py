"""Connected components on Spark, on as many machines as there are, with every round kept in the work folder.

    edges ─► small star ⇄ large star ─► a forest ─► its paths halved, ended nodes set aside ─► clusters
                                    └─► the few edges that are no part of it ──────────────────────┘

Large star and small star are those of Kiveris et al., Connected Components in MapReduce and Beyond (2014). Each is one
shuffle of the edges, sorted by node, and one pass over the sorted rows that holds a batch and no neighbourhood: a node
with a hundred million neighbours takes a task's time and not its memory.
"""

import collections
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from corpus import storage
from corpus.errors import LodeError
from jobs.engine import Saved, Work
from jobs.worker import LoadRows

EDGE = pa.schema([("u", pa.int64()), ("v", pa.int64())])
CLUSTER = pa.schema([("node", pa.int64()), ("cluster", pa.int64())])
EDGE_SQL, CLUSTER_SQL = "u long, v long", "node long, cluster long"
# As many edges as one task takes by itself, in about 250 MB: to spread few edges costs more than it saves.
EDGES_OF_ONE_TASK = 1 << 21

Ints = np.ndarray[Any, np.dtype[np.int64]]
Outputs = Iterator[tuple[str, pa.RecordBatch]]


class Components(NamedTuple):
    """`rows`: a DataFrame (node long, cluster long) that reads files in the scratch folder."""

    rows: Any
    nodes: int
    rounds: int


def components(work: Work, edges: Any, scratch: str, one_task: int = EDGES_OF_ONE_TASK) -> Components:
    """Connected components of undirected edges (u, v: long, 0 or more): for each node its cluster's least node.

    Loops, repeated edges and edges in both directions are welcome; a node whose only edges are loops has no row. A
    round is a shuffle, or a pass without one; rounds grow with the logarithm of the number of nodes. What takes part
    in a round no more is not carried through it, and `one_task` edges or fewer are left to one task.

    Args:
        scratch: a folder of one's own in the work folder; the result lies there until it is removed.
    """
    from pyspark.sql import functions as F

    rounds = Rounds(work, scratch)
    most = 2 * one_task  # edges are kept in both directions
    down = edges.where("u <> v").select(F.greatest("u", "v").alias("u"), F.least("u", "v").alias("v"))
    found = rounds.shuffle(down, SmallStar())
    while found["moved"].rows > most:
        found = rounds.shuffle(found["edges"] + found["moved"], LargeStar())
        found = rounds.shuffle(found["edges"], SmallStar())
    # The edges are a forest now, but for those that moved.
    forest, extra = found["edges"], found["moved"]
    if forest.rows + extra.rows <= most:
        forest, extra = forest + extra, Saved()
    done = Saved()
    begun = False
    while forest.rows:
        if forest.rows <= most:
            found = rounds.gather(forest, Finish(forest.paths, begun))
        else:
            found = rounds.shuffle(forest, Follow(begun))
        done += found["clusters"]
        forest, begun = found["edges"] + found["ended"], True
        if not found["edges"].rows:  # no path is longer than an edge: all have ended
            rounds.remove(forest)
            break
    if extra.rows:
        picked = rounds.each(done, Pick(done.paths, extra.paths))["clusters"]
        joined = rounds.gather(picked, Join(picked.paths, extra.paths))
        renamed = rounds.each(done, Rename(done.paths, joined["renamed"].paths))["clusters"]
        rounds.remove(extra, joined["renamed"], done)
        done = renamed + joined["clusters"]
    return Components(work.load(done, CLUSTER_SQL), done.rows, rounds.count)


class Rounds:
    """Runs one step after the other, each into a folder of its own, and removes what a step has used up."""

    def __init__(self, work: Work, scratch: str):
        self.work = work
        self.scratch = scratch
        self.count = 0

    def shuffle(self, edges: Any, step: Any) -> dict[str, Saved]:
        """A step over edges (files, or a DataFrame) sorted by u and v, all of a u in one task."""
        rows = self.work.load(edges, EDGE_SQL) if isinstance(edges, Saved) else edges
        found = self.run(rows.repartition("u").sortWithinPartitions("u", "v"), step)
        if isinstance(edges, Saved):
            self.remove(edges)
        return found

    def gather(self, files: Saved, step: Any) -> dict[str, Saved]:
        """A step that reads all the files in one task."""
        found = self.run(self.work.numbers(files).coalesce(1), step)
        self.remove(files)
        return found

    def each(self, files: Saved, step: Any) -> dict[str, Saved]:
        """A step that reads each file in a task."""
        return self.run(self.work.numbers(files), step)

    def run(self, rows: Any, step: Any) -> dict[str, Saved]:
        self.count += 1
        found = self.work.save(rows, storage.join(self.scratch, f"round-{self.count:03d}"), step)
        left = sum(saved.rows for saved in found.values())
        self.work.progress.update(0, 0, note=f"round {self.count}, {left:,} rows")
        return collections.defaultdict(Saved, found)

    def remove(self, *used: Saved) -> None:
        for folder in {posixpath.dirname(path) for saved in used for path in saved.paths}:
            storage.remove(folder)


@dataclass(frozen=True)
class SmallStar:
    """Ties the smaller neighbours of a node, and the node, to the least of them. Rows in: u > v, sorted.

    `edges` holds the tie of each node itself, `moved` those of its neighbours, both in both directions.
    """

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Outputs:
        for u, v, least, first in neighbours(batches):
            if v.min() < 0:
                raise LodeError("a node of the graph has a number below 0; this is a fault in Lode.")
            yield "edges", both(u[first], v[first])
            yield "moved", both(v[~first], least[~first])


@dataclass(frozen=True)
class LargeStar:
    """Ties the larger neighbours of a node to the least of its neighbourhood. Rows in: both directions, sorted."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Outputs:
        for u, v, least, _ in neighbours(batches):
            larger = v > u
            yield "edges", pairs(v[larger], np.minimum(u, least)[larger])


@dataclass(frozen=True)
class Follow:
    """Gives the children of a node to its parent, so that paths to the root halve. Rows in: a forest, sorted.

    A row (u, v) is a child v > u, a parent v < u or, as ~v, a root that is known to be the end of the path. A node
    goes to `clusters` when it comes under its root, and is kept for the others while it has children.
    """

    begun: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Outputs:
        child_seen = -1
        for u, v, parent, first in neighbours(batches):
            if not self.begun:
                roots = u[first & (v > u)]
                yield "clusters", clusters(roots, roots)
            child = v > u
            u, v, parent = u[child], v[child], parent[child]
            if not len(u):
                continue
            # A node whose least neighbour is a child has no parent.
            parent = np.where(parent > u, ~u, parent)
            ended = parent < 0
            yield "clusters", clusters(v[ended], ~parent[ended])
            yield "ended", pairs(v[ended], parent[ended])
            yield "edges", both(v[~ended], parent[~ended])
            first_child = np.diff(u, prepend=child_seen) != 0
            child_seen = u[-1]
            again = first_child & ended & (~parent != u)
            yield "ended", pairs(u[again], parent[again])


@dataclass(frozen=True)
class Finish:
    """Clusters of all rows at once. Of the rows that `Follow` left (`begun`): those that it has not written yet."""

    paths: tuple[str, ...]
    begun: bool

    def __call__(self, numbers: Iterator[pa.RecordBatch]) -> Outputs:
        u, v = columns(LoadRows(self.paths)(numbers), EDGE)
        down = u > v
        u, v = u[down], v[down]
        nodes, least = contract(u, np.where(v < 0, ~v, v))
        if self.begun:
            new = np.isin(nodes, u[v >= 0])
            nodes, least = nodes[new], least[new]
        yield "clusters", clusters(nodes, least)


@dataclass(frozen=True)
class Pick:
    """The rows of clusters whose node has one of the extra edges."""

    paths: tuple[str, ...]
    extra: tuple[str, ...]

    def __call__(self, numbers: Iterator[pa.RecordBatch]) -> Outputs:
        nodes = np.unique(read(self.extra, EDGE)[0])
        for batch in LoadRows(self.paths)(numbers):
            node = batch.column("node").to_numpy()
            yield "clusters", batch.filter(pa.array(nodes[places(nodes, node)] == node))


@dataclass(frozen=True)
class Join:
    """Joins clusters by the extra edges: `renamed` says what becomes of a cluster, `clusters` what becomes of the nodes
    that only these edges have."""

    paths: tuple[str, ...]
    extra: tuple[str, ...]

    def __call__(self, numbers: Iterator[pa.RecordBatch]) -> Outputs:
        node, root = columns(LoadRows(self.paths)(numbers), CLUSTER)
        u, v = read(self.extra, EDGE)
        alone = np.setdiff1d(u, node)
        down = u > v
        old, new = contract(*(rename(ends[down], node, root) for ends in (u, v)))
        yield "clusters", clusters(alone, rename(alone, old, new))
        yield "renamed", clusters(old[old != new], new[old != new])


@dataclass(frozen=True)
class Rename:
    """Clusters under the names that they have once they are joined."""

    paths: tuple[str, ...]
    renamed: tuple[str, ...]

    def __call__(self, numbers: Iterator[pa.RecordBatch]) -> Outputs:
        old, new = read(self.renamed, CLUSTER)
        for batch in LoadRows(self.paths)(numbers):
            node, cluster = (column.to_numpy() for column in batch.columns)
            yield "clusters", clusters(node, rename(cluster, old, new))


def neighbours(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[Ints, Ints, Ints, Any]]:
    """Batches sorted by (u, v) as arrays without repeated rows: u, v, the least v of that u, whether v is this one."""
    node, other, carried = -1, 0, 0
    for batch in batches:
        if not batch.num_rows:
            continue
        u, v = batch.column(0).to_numpy(), batch.column(1).to_numpy()
        first = np.empty(len(u), bool)
        first[0], first[1:] = u[0] != node, u[1:] != u[:-1]
        fresh = first.copy()
        fresh[0] |= v[0] != other
        fresh[1:] |= v[1:] != v[:-1]
        # Rows before the first new node belong to the one that the last batch ended with.
        least = np.concatenate([[carried], v[first]])[np.cumsum(first)]
        node, other, carried = u[-1], v[-1], least[-1]
        if fresh.any():
            yield u[fresh], v[fresh], least[fresh], first[fresh]


def contract(u: Ints, v: Ints) -> tuple[Ints, Ints]:
    """The nodes of edges (u, v), and for each the least node of its component; all in memory.

    Hooks each root to the least root beside it and flattens the trees, O(log n) times.
    """
    nodes, ends = np.unique(np.concatenate([u, v]), return_inverse=True)
    parent = np.arange(len(nodes))
    a, b = np.split(ends, 2)
    while True:
        a, b = parent[a], parent[b]
        apart = a != b
        if not apart.any():
            return nodes, nodes[parent]
        a, b = np.maximum(a, b)[apart], np.minimum(a, b)[apart]
        np.minimum.at(parent, a, b)
        while not np.array_equal(above := parent[parent], parent):
            parent = above


def rename(values: Ints, old: Ints, new: Ints) -> Ints:
    """Values with each that is in `old` replaced by its `new`; `old` in any order, each value once."""
    if not len(old):
        return values
    order = np.argsort(old)
    at = order[places(old[order], values)]
    return np.where(old[at] == values, new[at], values)


def places(ordered: Ints, values: Ints) -> Ints:
    """Where each value is in `ordered`, if it is there. Values that are looked up in order find their way sooner."""
    order = np.argsort(values)
    at = np.empty_like(order)
    at[order] = np.searchsorted(ordered, values[order])
    return np.minimum(at, len(ordered) - 1)


def columns(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> tuple[Ints, Ints]:
    table = pa.Table.from_batches(batches, schema)
    return table.column(0).to_numpy(), table.column(1).to_numpy()


def read(paths: tuple[str, ...], schema: pa.Schema) -> tuple[Ints, Ints]:
    numbers = pa.record_batch({"number": pa.array(range(len(paths)))})
    return columns(LoadRows(paths)(iter([numbers])), schema)


def pairs(u: Ints, v: Ints) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(u), pa.array(v)], schema=EDGE)


def both(u: Ints, v: Ints) -> pa.RecordBatch:
    return pairs(np.concatenate([u, v]), np.concatenate([v, u]))


def clusters(node: Ints, cluster: Ints) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(node), pa.array(cluster)], schema=CLUSTER)
