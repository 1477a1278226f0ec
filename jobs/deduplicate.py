"""Near-duplicates on Spark: signatures, candidate groups, connected components, one survivor a cluster.

    parts ─► signatures (Python, one row a document or repository) ─► groups of equal band, URL or text
          ─► edges to the least member ─► components (large star, small star) ─► fates, one file a part ─► verdicts

A group of n equal keys gives n - 1 edges, so a text that occurs a million times costs a million rows and not
their square. Texts themselves never leave their parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from corpus import storage
from corpus.minhash import MinHash, optimal_bands, union_signatures
from corpus.schema import judged
from corpus.urls import canonical_url
from jobs.engine import Account, Stage, Work
from jobs.worker import Task

Unit = Literal["document", "repository"]

# A node is a document (or repository): its part, and its place in the part.
NODE_BITS = 32
SIGNATURE = pa.schema(
    [("node", pa.int64()), ("name", pa.string()), ("size", pa.int64()), ("keys", pa.list_(pa.int64()))]
)
FATE = pa.schema(
    [
        ("place", pa.int64()),
        ("id", pa.string()),
        ("reason", pa.string()),
        ("cluster", pa.int64()),
        ("winner", pa.string()),
    ]
)
FATE_SQL = "part int, place long, id string, reason string, cluster long, winner string"


@dataclass(frozen=True)
class Signatures:
    """Function: one row for each document, or for each run of files of one repository, of a part."""

    minhash: MinHash
    unit: Unit

    def __call__(self, part: int, path: str) -> Iterator[pa.RecordBatch]:
        rows = self.repositories(path) if self.unit == "repository" else self.documents(path)
        held: list[dict[str, Any]] = []
        for place, row in enumerate(rows):
            held.append({"node": part << NODE_BITS | place, **row})
            if len(held) == 512:
                yield pa.RecordBatch.from_pylist(held, SIGNATURE)
                held = []
        if held:
            yield pa.RecordBatch.from_pylist(held, SIGNATURE)

    def documents(self, path: str) -> Iterator[dict[str, Any]]:
        for batch in storage.read_parquet(path, ["id", "url", "text"]):
            for row in batch.to_pylist():
                # The first two keys are exact: the page's address and its text.
                exact = [self.key("url", canonical_url(row["url"]) if row["url"] else row["id"])]
                text = row["text"] or ""
                exact.append(self.key("text", text))
                bands = self.minhash.band_keys(self.minhash.signature(text))
                yield {"name": row["id"], "size": len(text), "keys": exact + bands}

    def repositories(self, path: str) -> Iterator[dict[str, Any]]:
        batches = storage.read_parquet(path, ["source", "repository", "text"])
        for name, signature, chars in union_signatures(batches, self.minhash):
            exact = [self.key("url", "\n".join(name)), self.key("text", "\n".join(name))]
            yield {"name": name[1], "size": chars, "keys": exact + self.minhash.band_keys(signature)}

    @staticmethod
    def key(kind: str, value: str) -> int:
        return xxhash.xxh3_64_intdigest(f"{kind}\n{value}".encode("utf-8", "surrogatepass")) - 2**63


@dataclass(frozen=True)
class ReadSignatures:
    """mapInArrow function over numbers of tasks."""

    tasks: tuple[Task, ...]
    function: Signatures

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                task = self.tasks[number]
                yield from self.function(task.part, task.inputs[0])


@dataclass(frozen=True)
class WriteFates:
    """mapInArrow function over fates sorted by part: one small file for each part that loses something."""

    folder: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held: dict[int, list[pa.RecordBatch]] = {}

        def write(part: int) -> None:
            table = pa.Table.from_batches(held.pop(part)).sort_by("place").cast(FATE)
            storage.write_parquet(fate_path(self.folder, part), iter(table.to_batches()), FATE)

        for batch in batches:
            for part in batch.column("part").unique().to_pylist():
                for other in [p for p in held if p != part]:
                    write(other)
                mine = batch.filter(pc.equal(batch.column("part"), part)).drop_columns(["part"])
                held.setdefault(part, []).append(mine)
        for part in list(held):
            write(part)
        yield pa.RecordBatch.from_pylist([{"error": None}], pa.schema([("error", pa.string())]))


def fate_path(folder: str, part: int) -> str:
    return storage.join(folder, "clusters", f"part-{part:05d}.parquet")


@dataclass(frozen=True)
class ReadWithFates:
    """Function of a task (`part`, its path): judged batches, with the fate of each row from the part's own file."""

    folder: str
    unit: Unit

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        part, path = int(inputs[0]), inputs[1]
        fates: dict[int, tuple[str, str]] = {}
        if storage.exists(fate_path(self.folder, part)):
            for batch in storage.read_parquet(fate_path(self.folder, part)):
                for row in batch.to_pylist():
                    fates[row["place"]] = row["reason"], f"cluster {row['cluster']} kept {row['winner']}"
        place, last = -1, None
        for batch in storage.read_parquet(path):
            verdicts = []
            names: Any = range(batch.num_rows)
            if self.unit == "repository":
                names = zip(batch["source"].to_pylist(), batch["repository"].to_pylist(), strict=True)
            for name in names:
                if self.unit == "document" or name != last:
                    place, last = place + 1, name
                verdicts.append(fates.get(place))
            yield judged(batch, verdicts)


def deduplicate(
    work: Work,
    name: str,
    before: Stage,
    jaccard: float,
    permutations: int,
    ngram: int,
    profile: str,
    seed: int,
    unit: Unit = "document",
) -> Stage:
    """Keep the longest of each cluster of equal URLs, equal texts and near-duplicates (then the least name).

    `clusters/` beside the parts names for every dropped document its cluster and the one that was kept.
    """
    bands, rows = optimal_bands(jaccard, permutations)
    minhash = MinHash(profile, ngram, bands, rows, seed)

    def build(folder: str) -> Account:
        tasks = tuple(Task(part, (path,)) for part, path in enumerate(before.parts))
        spark = work.spark.session
        work.progress.update(0, 4, note="signatures")
        signatures = work.checkpoint(
            spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(
                ReadSignatures(tasks, Signatures(minhash, unit)),
                "node long, name string, size long, keys array<long>",
            )
        )
        work.progress.update(1, 4, note="clusters")
        fates = lost_nodes(work, signatures)
        work.progress.update(2, 4, note="verdicts")
        written = fates.repartition(len(tasks), "part").sortWithinPartitions("part", "place")
        work.collect(written.mapInArrow(WriteFates(folder), "error string"))
        judge = [Task(task.part, (str(task.part), *task.inputs)) for task in tasks]
        read = ReadWithFates(folder, unit)
        files = "files" if unit == "repository" else "documents"
        counts = work.map_parts(folder, judge, before.schema, read=read, unit=files)
        return Account(counts, files, {"bands": bands, "rows_per_band": rows})

    parameters = {"jaccard": jaccard, "permutations": permutations, "ngram": ngram, "profile": profile}
    parameters |= {"seed": seed, "unit": unit}
    rooms = ("corpus/minhash.py", "corpus/urls.py", "jobs/deduplicate.py")
    return work.stage(name, rooms, parameters, {"documents": before.fingerprint}, build)


def lost_nodes(work: Work, signatures: Any) -> Any:
    """DataFrame of the nodes that go: part, place, id, reason, cluster, winner."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    keyed = signatures.select("node", F.posexplode("keys").alias("kind", "key"))
    least = keyed.groupBy("kind", "key").agg(F.min("node").alias("least"), F.count("*").alias("members"))
    links = keyed.join(least.where("members > 1"), ["kind", "key"]).where("node <> least")
    # The reason is the strongest link that ties a node to another: 0 URL, 1 text, above that a band.
    ends = links.select("node", "kind").union(links.select("least", "kind"))
    reasons = ends.groupBy("node").agg(F.min("kind").alias("kind"))
    edges = links.select(F.col("node").alias("u"), F.col("least").alias("v")).distinct()
    clusters = components(work, edges)
    best = Window.partitionBy("cluster").orderBy(F.desc("size"), "name", "node")
    placed = clusters.join(signatures.drop("keys"), "node").select(
        "*", F.first("name").over(best).alias("winner"), F.row_number().over(best).alias("rank")
    )
    reason = (
        F.when(F.col("kind") == 0, "duplicate_url")
        .when(F.col("kind") == 1, "duplicate_text")
        .otherwise("near_duplicate")
    )
    return (
        placed.where("rank > 1")
        .join(reasons, "node", "left")
        .select(
            F.shiftright("node", NODE_BITS).cast("int").alias("part"),
            F.col("node").bitwiseAND(2**NODE_BITS - 1).alias("place"),
            F.col("name").alias("id"),
            reason.alias("reason"),
            "cluster",
            "winner",
        )
    )


def components(work: Work, edges: Any) -> Any:
    """Connected components of undirected edges (u, v): rows (node, cluster), the cluster being its least node.

    Alternating large-star and small-star (Kiveris et al., Connected Components in MapReduce and Beyond, 2014):
    each round costs two shuffles of the edges and the number of rounds grows with the logarithm of the size, also
    on long chains.
    """
    from pyspark.sql import functions as F

    edges = work.checkpoint(edges.where("u <> v"))
    before = None
    while True:
        # Large star: tie every larger neighbour of a node to the least of its neighbourhood.
        both = edges.unionByName(edges.select(F.col("v").alias("u"), F.col("u").alias("v")))
        least = both.groupBy("u").agg(F.least(F.min("v"), F.col("u")).alias("m"))
        large = both.join(least, "u").where("v > u").select(F.col("v").alias("u"), F.col("m").alias("v"))
        # Small star: tie every smaller neighbour, and the node itself, to the least of them.
        down = large.distinct().select(
            F.greatest("u", "v").alias("u"), F.least("u", "v").alias("v")
        )  # fmt: skip
        least = down.groupBy("u").agg(F.min("v").alias("m"))
        joined = down.join(least, "u")
        small = joined.select(F.col("v").alias("u"), F.col("m").alias("v")).union(
            joined.select("u", F.col("m").alias("v"))
        )
        edges = work.checkpoint(small.where("u <> v").distinct())
        state = work.collect(edges.agg(F.count("*"), F.sum(F.xxhash64("u", "v") % 2**31)))[0]
        if tuple(state) == before:
            break
        before = tuple(state)
    nodes = edges.select(F.col("u").alias("node"), F.col("v").alias("cluster"))
    roots = edges.select(F.col("v").alias("node"), F.col("v").alias("cluster")).distinct()
    return nodes.unionByName(roots)
