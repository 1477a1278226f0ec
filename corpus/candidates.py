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
