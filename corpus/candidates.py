"""Which documents are compared, and which of them are alike: pure functions over sorted Arrow batches.

A shuffle brings equal keys together and sorts them; these functions walk over the runs. Memory is bounded by a run's
first members, so a text that occurs a million times costs a million rows and never their square.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus.minhash import Formulas, ShingleSet

# Kinds of keys: the canonical URL, the exact text, and from here on the bands of the signature.
URL, TEXT, BAND = 0, 1, 2
# Nodes from here up are documents of earlier corpora.
EARLIER = 1 << 62
# One row for each key of each document. `rank` orders the members of a bucket, whatever the parts they lie in.
KEYED = pa.schema(
    [
        ("kind", pa.int16()),
        ("key", pa.int64()),
        ("rank", pa.int64()),
        ("text", pa.int64()),
        ("node", pa.int64()),
    ]
)
LINK = pa.schema([("u", pa.int64()), ("v", pa.int64()), ("kind", pa.int16())])
# A bucket's first members are all compared with each other, each later one with the first of them.
COMPARED, ANCHORS = 64, 4
# Texts of a hot bucket that are remembered, so that their copies are left out.
REMEMBERED = 1 << 20
HOT = pa.schema([("kind", pa.int16()), ("key", pa.int64()), ("members", pa.int64())])
Named = Iterator[tuple[str, pa.RecordBatch]]


def keyed(
    kind: int, keys: np.ndarray, rank: np.ndarray, text: np.ndarray, node: np.ndarray
) -> pa.RecordBatch:
    kinds = np.full(len(keys), kind, np.int16)
    return pa.RecordBatch.from_arrays([pa.array(c) for c in (kinds, keys, rank, text, node)], schema=KEYED)


@dataclass(frozen=True)
class Links:
    """Rows of `KEYED`, sorted by kind, key, rank, text and node, to links between documents.

    `exact`: equal URLs and texts tie each member of a run to the run's first (and to the first of an earlier corpus, if
    there is one). So do equal bands, unless candidates are to be verified: then the members of a bucket are paired
    (`pairs`), those of one text being one member, the first of them. Documents of earlier corpora are never tied to
    each other. `hot` has the buckets in which not all members were paired.
    """

    verify: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Named:
        run: _Run | None = None
        # The last row waits: whether it is alone shows in the next batch.
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            if batch.num_rows:
                rows = pa.concat_batches([*waiting, batch])
                waiting = [rows.slice(rows.num_rows - 1)]
                found = _Found()
                run = self.walk(rows, run, rows.num_rows - 1, found)
                yield from found.named()
        if waiting:
            found = _Found()
            run = self.walk(waiting[0], run, 1, found)
            found.close(run)
            yield from found.named()

    def walk(self, rows: pa.RecordBatch, run: "_Run | None", count: int, found: "_Found") -> "_Run | None":
        """Finds the links of the first `count` rows; the run that may go on behind them."""
        kind, key, _, text, node = (column.to_numpy(zero_copy_only=False) for column in rows.columns)
        same = (kind[1:] == kind[:-1]) & (key[1:] == key[:-1])
        # Most keys occur once: only rows that are equal to a neighbour are looked at.
        matters = np.zeros(rows.num_rows, bool)
        matters[:-1] |= same
        matters[1:] |= same
        matters[0] |= run is not None and run.name == (kind[0], key[0])
        places = np.flatnonzero(matters[:count])
        for values in zip(*(column[places].tolist() for column in (kind, key, text, node)), strict=True):
            if run is None or run.name != values[:2]:
                found.close(run)
                run = _Run(values[:2], self.verify)
            run.add(*values[2:], found)
        return run


class _Found:
    """Links that were found in a batch."""

    def __init__(self) -> None:
        self.links: dict[str, list[tuple[int, int, int]]] = {"exact": [], "pairs": []}
        self.hot: list[tuple[int, int, int]] = []

    def close(self, run: "_Run | None") -> None:
        if run is not None and max(run.sizes) > COMPARED:
            self.hot.append((*run.name, sum(run.sizes)))

    def named(self) -> Named:
        for name, rows, schema in (*((n, r, LINK) for n, r in self.links.items()), ("hot", self.hot, HOT)):
            if rows:
                columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
                yield name, pa.RecordBatch.from_arrays(columns, schema=schema)


class _Run:
    """The members of one key so far: the new ones, and beside them those of earlier corpora, so that what becomes of
    the new ones among themselves is not for the others to say."""

    def __init__(self, name: tuple[int, int], verify: bool):
        self.name = name
        self.paired = verify and name[0] >= BAND
        self.first: tuple[list[int], list[int]] = (
            [],
            [],
        )  # of a bucket's members; of an exact key the first one
        self.texts: tuple[set[int], set[int]] = set(), set()
        self.sizes = [0, 0]

    def add(self, text: int, node: int, found: _Found) -> None:
        side = int(node >= EARLIER)
        if self.paired:
            if text in self.texts[side]:
                return
            if len(self.texts[side]) < REMEMBERED:
                self.texts[side].add(text)
        compared = COMPARED if self.sizes[side] < COMPARED else ANCHORS
        # Documents of earlier corpora are tied to new ones only.
        for members in self.first[: 2 - side]:
            found.links["pairs" if self.paired else "exact"] += [
                (node, other, self.name[0]) for other in members[:compared]
            ]
        self.sizes[side] += self.paired
        if len(self.first[side]) < (COMPARED if self.paired else 1):
            self.first[side].append(node)


# What is compared: of each hub first its own set (`node` = `hub`), then those of the documents paired with it.
COMPARISON = pa.schema(
    [
        ("hub", pa.int64()),
        ("other", pa.bool_()),
        ("node", pa.int64()),
        ("hashes", pa.binary()),
        ("halvings", pa.int8()),
        ("formulas", pa.binary()),
        ("sequence", pa.int64()),
        ("prose", pa.int64()),
    ]
)
VERIFIED = pa.schema(
    [("u", pa.int64()), ("v", pa.int64()), ("jaccard", pa.float64()), ("containment", pa.float64())]
)


def comparison(shingles: ShingleSet, formulas: Formulas | None) -> dict[str, object]:
    """The columns of `COMPARISON` that say what is in a document."""
    row: dict[str, object] = {"hashes": shingles.hashes.tobytes(), "halvings": shingles.halvings}
    if formulas is not None:
        row |= {
            "formulas": formulas.found.hashes.tobytes(),
            "sequence": formulas.sequence,
            "prose": formulas.prose,
        }
    return row


@dataclass(frozen=True)
class Verify:
    """Rows of `COMPARISON`, sorted by hub, other and node, to the pairs that are as similar as they have to be."""

    jaccard: float

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Named:
        hub, shingles, formulas = -1, ShingleSet(np.empty(0, np.uint64)), None
        for batch in batches:
            rows = []
            for row in batch.to_pylist():
                mine = ShingleSet(np.frombuffer(row["hashes"], np.uint64), row["halvings"])
                own = None
                if row["formulas"] is not None:
                    found = ShingleSet(np.frombuffer(row["formulas"], np.uint64))
                    own = Formulas(found, row["sequence"], row["prose"])
                if not row["other"]:
                    hub, shingles, formulas = row["hub"], mine, own
                    continue
                if row["hub"] != hub:
                    raise ValueError(f"the documents paired with {row['hub']} came without it")
                jaccard, containment = shingles.compare(mine)
                alike = formulas is None or own is None or formulas.agree(own)
                if jaccard >= self.jaccard and alike:
                    rows.append({"u": hub, "v": row["node"], "jaccard": jaccard, "containment": containment})
            if rows:
                yield "alike", pa.RecordBatch.from_pylist(rows, VERIFIED)


# Containment. A row for each sampled shingle of each repository, and how many such rows the repository has.
SAMPLED = pa.schema([("key", pa.int64()), ("node", pa.int64()), ("size", pa.int32())])
# Two repositories that share a sampled shingle, and their sizes; one with itself where the shingle is boilerplate.
SHARED = pa.schema([("u", pa.int64()), ("v", pa.int64()), ("u_size", pa.int32()), ("v_size", pa.int32())])
# `u_in_v`: the share of u's shingles that v has too.
OVERLAP = pa.schema(
    [
        ("u", pa.int64()),
        ("v", pa.int64()),
        ("u_count", pa.int64()),
        ("v_count", pa.int64()),
        ("u_in_v", pa.float64()),
        ("v_in_u", pa.float64()),
        ("jaccard", pa.float64()),
    ]
)
CONTAINED = pa.schema(
    [("node", pa.int64()), ("other", pa.int64()), ("jaccard", pa.float64()), ("containment", pa.float64())]
)
# A shingle of more repositories than this is boilerplate: it is evidence of nothing.
BOILERPLATE = 32
# A repository of fewer shingles, some 2 kB of code, is never said to be contained in another.
LEAST_SHINGLES = 512
# Sampled shingles that a contained repository has in common with its container, at least. One in 64 is sampled: of
# 512, 8.
LEAST_SHARED = 3


@dataclass(frozen=True)
class Shared:
    """Rows of `SAMPLED`, sorted by key and node, to rows of `SHARED`: all pairs of the repositories of a shingle,
    those of earlier corpora among themselves left out. Memory: a batch."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Named:
        rest, hot = pa.RecordBatch.from_pylist([], SAMPLED), None
        for batch in batches:
            rows = pa.concat_batches([rest, batch.cast(SAMPLED)])
            if not rows.num_rows:
                continue
            key = rows["key"].to_numpy()
            # The last run may go on in the next batch; one that is known to be boilerplate need not be held.
            last = int(np.searchsorted(key, key[-1]))
            yield from self.named(rows.slice(0, last), hot)
            rest = rows.slice(last)
            hot = key[-1] if rest.num_rows > BOILERPLATE or hot == key[-1] else None
            if hot is not None:
                yield from self.named(rest, hot)
                rest = rest.slice(rest.num_rows)
        yield from self.named(rest, hot)

    def named(self, rows: pa.RecordBatch, hot: int | None) -> Named:
        """What whole runs have in common; the run of the key `hot` has begun before."""
        key, node, size = (column.to_numpy() for column in rows.columns)
        first = np.flatnonzero(np.diff(key, prepend=~key[:1]))
        lengths = np.diff(first, append=len(key))
        boilerplate = np.repeat((lengths > BOILERPLATE) | (key[first] == hot), lengths)
        alone = np.flatnonzero(boilerplate)
        left, right = [alone], [alone]
        shared = np.flatnonzero(np.repeat(lengths > 1, lengths) & ~boilerplate)
        for step in range(1, BOILERPLATE):
            pairs = key[shared[step:]] == key[shared[: len(shared) - step]]
            if not pairs.any():
                break
            left.append(shared[: len(shared) - step][pairs])
            right.append(shared[step:][pairs])
        u, v = np.concatenate(left), np.concatenate(right)
        # Rows are sorted by node: the second is an earlier one wherever the first is.
        new = node[u] < EARLIER
        u, v = u[new], v[new]
        if len(u):
            columns = [pa.array(column) for column in (node[u], node[v], size[u], size[v])]
            yield "shared", pa.RecordBatch.from_arrays(columns, schema=SHARED)


@dataclass(frozen=True)
class Overlaps:
    """Rows of `COMPARISON`, sorted by hub, other and node, to rows of `OVERLAP` of the pairs where one repository has
    the share `containment` of the other."""

    containment: float

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Named:
        hub, mine = -1, ShingleSet(np.empty(0, np.uint64))
        for batch in batches:
            rows = []
            for row in batch.to_pylist():
                shingles = ShingleSet(np.frombuffer(row["hashes"], np.uint64), row["halvings"])
                if not row["other"]:
                    hub, mine = row["hub"], shingles
                    continue
                if row["hub"] != hub:
                    raise ValueError(f"the repositories paired with {row['hub']} came without it")
                shared, a, b = mine.shared(shingles)
                found = {"u": hub, "v": row["node"], "u_count": mine.count, "v_count": shingles.count}
                found |= {"u_in_v": shared / max(a, 1), "v_in_u": shared / max(b, 1)}
                found["jaccard"] = shared / max(a + b - shared, 1)
                if max(found["u_in_v"], found["v_in_u"]) >= self.containment:
                    rows.append(found)
            if rows:
                yield "overlaps", pa.RecordBatch.from_pylist(rows, OVERLAP)


def settle(
    order: np.ndarray, known: np.ndarray, overlaps: pa.Table, containment: float
) -> tuple[pa.Table, int]:
    """Which repositories go because another one that stays contains them: rows of `CONTAINED`.

    A repository goes only for one that stands before it in `order`, so that of two that contain each other one stays,
    and of a chain the one that contains the others. Where one's container goes itself and nothing that stays has
    enough of it, it stays. The container named is the one with the largest share.

    Args:
        order: [N] nodes, those of earlier corpora first, then the better known, then the larger.
        known: [N] how well known each is.
        overlaps: rows of `OVERLAP`.

    Returns:
        The rows, and how many repositories stay for no other reason than that they are better known.
    """
    place = np.argsort(order)
    by_node = order[place]
    sides = []
    for u, v in ("uv", "vu"):
        inside, count = overlaps[f"{u}_in_{v}"].to_numpy(), overlaps[f"{u}_count"].to_numpy()
        node, other = overlaps[u].to_numpy(), overlaps[v].to_numpy()
        jaccard = overlaps["jaccard"].to_numpy()
        passes = (inside >= containment) & (count >= LEAST_SHINGLES) & (node < EARLIER)
        sides.append([column[passes] for column in (node, other, inside, jaccard)])
    node, other, inside, jaccard = (np.concatenate(pair) for pair in zip(*sides, strict=True))
    rank, container = (place[np.searchsorted(by_node, nodes)] for nodes in (node, other))
    before = np.lexsort((container, -inside, rank))
    gone = np.zeros(len(order), bool)
    better_known: set[int] = set()
    rows: list[int] = []
    for row, at, by in zip(before.tolist(), rank[before].tolist(), container[before].tolist(), strict=True):
        if gone[at]:
            continue
        if by < at:
            if not gone[by]:
                gone[at] = True
                rows.append(row)
        elif known[at] > known[by]:
            better_known.add(at)
    columns = [column[rows] for column in (node, other, jaccard, inside)]
    table = pa.Table.from_arrays([pa.array(column) for column in columns], schema=CONTAINED)
    return table, sum(not gone[at] for at in better_known)
