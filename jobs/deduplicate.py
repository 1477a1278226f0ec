"""Near-duplicates on Spark: signatures, candidates, exact check, connected components, one survivor a cluster.

    parts ─► signatures/ ─► keys, sorted ─► links between equal URLs and texts, and pairs of equal bands
          ─► pairs with their shingles, sorted ─► pairs that are alike ─► components ─► who stays ─► clusters/ ─► parts

Of repositories, those that are contained in another go as well:

    who stays ─► samples of their shingles, sorted ─► pairs that share enough of them
              ─► pairs with their shingles, sorted ─► who is contained in one that stays ─► clusters/

Texts leave their parts only as the shingles of documents that share a band. Every step between two shuffles lies as
Parquet in `_scratch/`, where every machine reaches it: a lost executor takes nothing with it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpus import storage
from corpus.candidates import (
    BAND,
    COMPARISON,
    CONTAINED,
    EARLIER,
    KEYED,
    LEAST_SHARED,
    LINK,
    OVERLAP,
    SAMPLED,
    SHARED,
    TEXT,
    URL,
    VERIFIED,
    Links,
    Named,
    Overlaps,
    Shared,
    Verify,
    settle,
)
from corpus.errors import LodeError
from corpus.minhash import MinHash, choose_bands
from corpus.schema import judged
from corpus.survivor import Ordering, parse_ordering
from jobs import signatures
from jobs.components import components
from jobs.engine import Account, Saved, Stage, Work, spark_schema
from jobs.recipe import CodeDeduplicateSection, DeduplicateSection
from jobs.signatures import (
    NODE_BITS,
    Corpus,
    Languages,
    ReadKeys,
    ReadMembers,
    ReadSamples,
    ReadSets,
    ReadSignatures,
    Unit,
    Units,
    emptied,
    fate_path,
)
from jobs.worker import RESULT, Task, by_bucket, part_name, reported
from repo_ordering.languages import MODULES

ROOMS = (
    "corpus/candidates.py",
    "corpus/minhash.py",
    "corpus/survivor.py",
    "jobs/deduplicate.py",
    "jobs/signatures.py",
)
# One shingle of 64 is sampled, and five characters make one.
BYTES_OF_A_SAMPLED_SHINGLE = 64 * 5
# Rows of a partition of a sort: some 100 MB of Spark's memory.
ROWS_OF_A_PARTITION = 2_000_000
CONTAINED_REASON = "contained_repository"
FATE = pa.schema(
    [
        ("place", pa.int64()),
        ("id", pa.string()),
        ("reason", pa.string()),
        ("cluster", pa.int64()),
        ("winner", pa.string()),
        ("corpus", pa.string()),  # of the winner: null, or the folder of an earlier one
        ("jaccard", pa.float64()),  # with the most similar member that was verified
        ("containment", pa.float64()),
    ]
)
ORDERED = pa.schema([("node", pa.int64()), ("known", pa.int64())])
# Lines that were taken out of the documents of a part, and how often.
LINE = pa.schema([("line", pa.string()), ("times", pa.int64())])


@dataclass(frozen=True)
class WriteFates:
    """mapInArrow function over fates sorted by part: one file for each part that loses something."""

    folder: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for part, rows in by_bucket(batches, "part"):
            with reported(f"writing {self.folder}") as failure:
                fates = (batch.select(FATE.names).cast(FATE) for batch in rows)
                storage.write_parquet(storage.join(self.folder, part_name(part)), fates, FATE)
            yield pa.RecordBatch.from_pylist([failure], RESULT)


@dataclass(frozen=True)
class ReadWithFates:
    """Function of a task (a part's path and number): judged batches, the fate of each row from the part's own file."""

    folder: str
    units: Units

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        path, part = inputs[0], int(inputs[1])
        gone: Counter[str] = Counter()
        fates = self.fates(part)
        fate = next(fates, None)
        for places, batch, removed in self.units.read(path):
            verdicts: list[tuple[str, str] | None] = []
            for place, lines, nothing in zip(places.tolist(), removed, emptied(batch, removed), strict=True):
                while fate and fate[0] < place:
                    fate = next(fates, None)
                if fate and fate[0] == place:
                    verdicts.append(fate[1])
                else:
                    verdicts.append(("repeated_lines", f"{len(lines)} lines") if nothing else None)
            yield judged(batch, verdicts)
            for lines in removed:
                gone.update(lines)
        if gone:
            rows = [{"line": line, "times": times} for line, times in sorted(gone.items())]
            batch = pa.RecordBatch.from_pylist(rows, LINE)
            storage.write_parquet(storage.join(self.folder, "lines", part_name(part)), iter([batch]), LINE)

    def fates(self, part: int) -> Iterator[tuple[int, tuple[str, str]]]:
        """Place, reason and detail of each document of a part that goes, in order."""
        path = fate_path(self.folder, part)
        for batch in storage.read_parquet(path) if storage.exists(path) else ():
            for row in batch.to_pylist():
                of = f" of {row['corpus']}" if row["corpus"] else ""
                detail = f"cluster {row['cluster']} kept {row['winner']}{of}"
                if row["reason"].endswith(CONTAINED_REASON):
                    detail = f"{row['containment']:.3f} of it is in {row['winner']}{of}"
                yield row["place"], (row["reason"], detail)


def minhash_of(section: DeduplicateSection, seed: int) -> MinHash:
    bands, rows = section.bands, section.rows
    if bands is None or rows is None:
        bands, rows = choose_bands(section.jaccard, section.permutations, section.verify)
    return MinHash(section.profile, section.ngram, bands, rows, seed)


def deduplicate(
    work: Work,
    name: str,
    before: Stage,
    section: DeduplicateSection,
    seed: int,
    unit: Unit = "document",
    languages: Languages | None = None,
) -> Stage:
    """Keep one of each cluster of equal URLs, equal texts and near-duplicates; and of repositories those that are not
    contained in another.

    `clusters/` beside the parts names for every dropped document its cluster, the document that was kept and the
    exact similarity to the nearest member; `signatures/` is what a later corpus is compared with.

    Args:
        languages: documents of other languages stay and are compared with nothing.
    """
    minhash = minhash_of(section, seed)
    earlier, stages = signatures.open_earlier(section.against, minhash, unit, section.verify)
    ordering = parse_ordering(section.keep, signatures.described(before.schema, unit))
    parameters = section.model_dump(mode="json") | {"seed": seed, "unit": unit}
    del parameters["against"]
    if isinstance(section, CodeDeduplicateSection):
        del parameters["file_languages" if unit == "repository" else "containment"]
    if languages:
        parameters |= {"file_languages": sorted(languages.names), "named": languages.named}
    marks = {"documents": before.fingerprint}
    marks |= {f"against {number}": stage.fingerprint for number, stage in enumerate(stages, 1)}

    def build(folder: str) -> Account:
        job = Deduplication(work, folder, before, section, minhash, ordering, unit, tuple(earlier), languages)
        account = job.run()
        account.extra["deduplication"]["against"] = [
            {"folder": stage.folder, "fingerprint": stage.fingerprint} for stage in stages
        ]
        return account

    return work.stage(name, ROOMS, parameters, marks, build, resumes=True)


def file_languages(section: CodeDeduplicateSection) -> Languages | None:
    """The languages whose files are compared one by one; see docs/duplicates.md."""
    if section.file_languages == "unordered":
        return Languages(frozenset(MODULES), named=False)
    return Languages(frozenset(section.file_languages)) if section.file_languages else None


class Deduplication:
    """One run of the job: what its steps share."""

    def __init__(
        self,
        work: Work,
        folder: str,
        before: Stage,
        section: DeduplicateSection,
        minhash: MinHash,
        ordering: Ordering,
        unit: Unit,
        earlier: tuple[Corpus, ...],
        languages: Languages | None,
    ):
        self.work, self.folder, self.before, self.section = work, folder, before, section
        self.minhash, self.ordering, self.unit = minhash, ordering, unit
        self.corpora = (Corpus(folder, tuple(before.parts)), *earlier)
        self.containment = 0.0
        # What is not verified is said to be contained in nothing.
        if unit == "repository" and isinstance(section, CodeDeduplicateSection) and section.verify:
            self.containment = section.containment
        self.languages = languages
        self.scratch = storage.join(folder, "_scratch")
        self.documents = 0
        self.facts: dict[str, Any] = {}

    def run(self) -> Account:
        storage.remove(self.scratch)
        units = Units(self.unit, self.repeated_lines(), self.languages)
        schema = signatures.signature_schema(self.ordering, self.before.schema, self.unit)
        # How far the end of each step is, by the time they take on pages.
        self.work.progress.step(0.1 if units.repeated_lines else 0, 0.35, "signatures")
        self.sign(units, schema)
        self.work.progress.step(0.35, 0.6, "candidates")
        links = self.links()
        self.work.progress.step(0.6, 0.8, "exact check")
        edges = self.verified(links, units)
        self.work.progress.step(0.8, 0.9, "clusters")
        self.fates(edges, schema, units)
        self.work.progress.step(0.9, 1, "verdicts")
        tasks = [Task(part, (path, str(part))) for part, path in enumerate(self.before.parts)]
        read = ReadWithFates(self.folder, units)
        of = "files" if self.unit == "repository" or self.languages else "documents"
        counts = self.work.map_parts(self.folder, tasks, self.before.schema, read=read, unit=of)
        for made in (self.scratch, storage.join(self.folder, "signatures", "_counts")):
            storage.remove(made)
        about = {"unit": self.unit, **signatures.identity(self.minhash, self.unit), **self.facts}
        return Account(counts, of, {"deduplication": about})

    def numbers(self, count: int) -> Any:
        return self.work.spark.session.range(0, count, 1, max(count, 1))

    def partitions(self, rows: int) -> int:
        least = int(self.work.spark.session.conf.get("spark.sql.shuffle.partitions", "200"))
        return max(least, -(-rows // ROWS_OF_A_PARTITION))

    def path(self, name: str) -> str:
        return storage.join(self.scratch, name)

    def repeated_lines(self) -> str | None:
        """The file of the lines that occur in so many documents that they are boilerplate."""
        from pyspark.sql import functions as F

        if not self.section.repeated_lines:
            return None
        self.work.progress.step(0, 0.1, "repeated lines")
        lines = self.numbers(len(self.before.parts)).mapInArrow(
            signatures.CountLines(tuple(self.before.parts)), "line long"
        )
        counted = lines.groupBy("line").agg(F.count("*").alias("documents"))
        frequent = self.work.checkpoint(
            counted.where(F.col("documents") >= self.section.repeated_lines).select("line"),
            self.path("lines"),
        )
        with self.work.spark_errors():
            hashes = np.sort(frequent.toPandas()["line"].to_numpy().view(np.uint64))
        self.facts["repeated_lines"] = len(hashes)
        return signatures.write_hashes(self.path("lines"), hashes)

    def sign(self, units: Units, schema: pa.Schema) -> None:
        tasks = [Task(part, (path,)) for part, path in enumerate(self.before.parts)]
        read = ReadSignatures(self.minhash, units, self.ordering, schema)
        folder = storage.join(self.folder, "signatures")
        counts = self.work.map_parts(folder, tasks, schema, read=read, unit="documents", resumes=True)
        self.documents = counts.rows_in
        self.facts["signatures"] = counts.rows_in

    def links(self) -> dict[str, Saved]:
        """Links of equal keys (`exact`), and pairs of documents to compare (`pairs`)."""
        parts = [(corpus, part) for corpus in self.corpora for part in range(len(corpus.parts))]
        seen = None
        if len(self.corpora) > 1:
            ours = [signatures.signature_path(self.folder, part) for part in range(len(self.before.parts))]
            table = signatures.key_table(ours, self.documents, self.minhash.bands)
            seen = signatures.write_hashes(self.path("keys"), table)
        keyed = self.numbers(len(parts)).mapInArrow(ReadKeys(tuple(parts), seen), spark_schema(KEYED))
        count = self.partitions(self.documents * (self.minhash.bands + 2))
        # Spark compares eight bytes of the first column before it looks at a row: those of the key tell rows apart.
        keyed = keyed.repartition(count, "key").sortWithinPartitions("key", "kind", "rank", "text", "node")
        saved = self.work.save(keyed, self.path("links"), Links(self.section.verify))
        if self.unit == "repository":
            self.check_whole(saved.get("exact", Saved()))
        self.facts["hot_buckets"] = saved.get("hot", Saved()).rows
        return saved

    def check_whole(self, exact: Saved) -> None:
        """Raises LodeError where the files of a repository do not lie one after the other: it would be two."""
        from pyspark.sql import functions as F

        links = self.work.load(exact, spark_schema(LINK))
        torn = links.where((F.col("kind") == URL) & (F.greatest("u", "v") < EARLIER)).limit(1)
        for link in self.work.collect(torn):
            part, other = (node >> NODE_BITS for node in sorted((link["u"], link["v"])))
            where = "in two places" if part == other else f"here and in {self.before.parts[other]}"
            raise LodeError(
                f"{self.before.parts[part]}: files of one repository lie {where}; sort the rows by source and "
                "repository, and keep each repository in one file."
            )

    def verified(self, links: dict[str, Saved], units: Units) -> Any:
        """DataFrame of edges u, v, kind, jaccard, containment: the exact ones and the pairs that are alike."""
        from pyspark.sql import functions as F

        exact = self.work.load(links.get("exact", Saved()), spark_schema(LINK)).select(
            "u",
            "v",
            "kind",
            F.lit(None).cast("double").alias("jaccard"),
            F.lit(None).cast("double").alias("containment"),
        )
        pairs = links.get("pairs", Saved())
        if not pairs.rows:
            self.facts |= {"pairs_compared": 0, "pairs_alike": 0}
            return exact
        distinct = self.work.load(pairs, spark_schema(LINK)).select(
            F.greatest("u", "v").alias("hub"), F.least("u", "v").alias("node")
        )
        count = self.partitions(pairs.rows)
        compared = self.work.save(distinct.repartition(count, "hub", "node").distinct(), self.path("pairs"))
        pairs = compared["rows"]
        alike = self.compared(pairs, units, "alike", Verify(self.section.jaccard))
        self.facts |= {"pairs_compared": pairs.rows, "pairs_alike": alike.rows}
        near = self.work.load(alike, spark_schema(VERIFIED)).select(
            "u", "v", F.lit(2).cast("short").alias("kind"), "jaccard", "containment"
        )
        return exact.unionByName(near)

    def compared(
        self, pairs: Saved, units: Units, name: str, check: Callable[[Iterator[pa.RecordBatch]], Named]
    ) -> Saved:
        """What `check` finds in the shingles of pairs of documents (hub, node)."""
        from pyspark.sql import functions as F

        distinct = self.work.load(pairs, "hub long, node long")
        hubs = distinct.select("hub", F.col("hub").alias("node")).distinct().withColumn("other", F.lit(False))
        asked = (
            distinct.withColumn("other", F.lit(True)).unionByName(hubs).select(*self.place(), "hub", "other")
        )
        parts = sum(len(corpus.parts) for corpus in self.corpora)
        asked = asked.repartition(max(parts, self.partitions(2 * pairs.rows)), "part")
        asked = asked.sortWithinPartitions("part", "place", "hub", "other")
        sets = asked.mapInArrow(
            ReadSets(self.corpora, units, self.minhash.profile, self.minhash.ngram, COMPARISON),
            spark_schema(COMPARISON),
        )
        sets = sets.repartition(self.partitions(40 * pairs.rows), "hub").sortWithinPartitions(
            "hub", "other", "node"
        )
        return self.work.save(sets, self.path(name), check).get(name, Saved())

    def fates(self, edges: Any, schema: pa.Schema, units: Units) -> None:
        """Write `clusters/`: a row for each document that goes (and `matches/`, where earlier corpora only report)."""
        from pyspark.sql import functions as F

        if self.section.earlier == "report" and len(self.corpora) > 1:
            matched = self.judged(edges, schema, "matched")
            self.write(matched.where(F.col("corpus").isNotNull()), "matches")
            edges = edges.where((F.col("u") < EARLIER) & (F.col("v") < EARLIER))
        fates = self.judged(edges, schema, "clustered")
        earlier = F.when(F.col("corpus").isNotNull(), "earlier_").otherwise("")
        fates = fates.withColumn("reason", F.concat(earlier, "reason"))
        if self.containment:
            self.work.progress.step(0.85, 0.9, "containment")
            fates = self.work.checkpoint(fates, self.path("near/rows"))
            self.write(fates, "_scratch/near/clusters")
            overlaps = self.overlaps(units)
            if overlaps.rows:
                fates = self.with_contained(fates, overlaps, schema)
        self.write(fates, "clusters")

    def with_contained(self, near: Any, overlaps: Saved, schema: pa.Schema) -> Any:
        """The fates of near-duplicates, and those of the repositories that another one contains."""
        from pyspark.sql import functions as F

        pairs = self.work.load(overlaps, spark_schema(OVERLAP))
        ends = (
            pairs.select(F.col(end).alias("node"), F.col(f"{end}_count").alias("shingles")) for end in "uv"
        )
        sizes = next(ends).unionByName(next(ends)).groupBy("node").agg(F.max("shingles").alias("shingles"))
        alone = sizes.select("node", F.col("node").alias("cluster"))
        members = self.members(alone, schema, self.path("contained/members")).join(sizes, "node")
        order = [F.desc(F.col("corpus") > 0), F.desc("known"), F.desc("shingles"), *self.preferred()]
        ordered = self.work.save(
            members.orderBy(*order).select("node", "known"), self.path("contained/order")
        ).get("rows", Saved())
        read = [
            pa.Table.from_batches([b.cast(s) for path in saved.paths for b in storage.read_parquet(path)], s)
            for saved, s in ((ordered, ORDERED), (overlaps, OVERLAP))
        ]
        found, better_known = settle(
            read[0]["node"].to_numpy(), read[0]["known"].to_numpy(), read[1], self.containment
        )
        self.facts |= {"contained": found.num_rows, "contained_but_better_known": better_known}
        path = storage.join(self.path("contained"), "found.parquet")
        storage.write_parquet(path, iter(found.to_batches()), CONTAINED)
        rows = self.work.load(Saved((path,), found.num_rows), spark_schema(CONTAINED))
        # One that contains another is of its own cluster, or a cluster of its own.
        clusters = near.groupBy(F.col("kept_node").alias("other"))
        clusters = clusters.agg(F.min("cluster").alias("cluster"))
        here = members.select("node", "id")
        there = members.select(
            F.col("node").alias("other"),
            F.col("id").alias("winner"),
            self.folder_of("corpus").alias("corpus"),
        )
        reason = F.when(F.col("corpus").isNull(), CONTAINED_REASON).otherwise(f"earlier_{CONTAINED_REASON}")
        contained = (
            rows.join(here, "node")
            .join(there, "other")
            .join(clusters, "other", "left")
            .select(
                *self.place(),
                "node",
                "id",
                reason.alias("reason"),
                F.coalesce("cluster", "other").alias("cluster"),
                "winner",
                "corpus",
                "jaccard",
                "containment",
            )
        )
        # What was kept for a near-duplicate may be contained in another: that one is what stays.
        replaced = ("winner", "corpus", "cluster")
        onward = contained.select(
            F.col("node").alias("kept_node"), *(F.col(name).alias(f"onward_{name}") for name in replaced)
        )
        moved = F.col("onward_winner").isNotNull()
        near = near.join(onward, "kept_node", "left").select(
            *(name for name in near.columns if name not in replaced),
            *(F.when(moved, F.col(f"onward_{n}")).otherwise(F.col(n)).alias(n) for n in replaced),
        )
        return near.unionByName(contained, allowMissingColumns=True)

    def overlaps(self, units: Units) -> Saved:
        """Rows of `OVERLAP` of the repositories that are nobody's near-duplicate, so that many forks of one are
        evidence of one."""
        pairs = self.overlapping()
        self.facts |= {"containment_compared": pairs.rows, "contained": 0, "contained_but_better_known": 0}
        return self.compared(pairs, units, "overlaps", Overlaps(self.containment)) if pairs.rows else Saved()

    def overlapping(self) -> Saved:
        """Pairs of repositories (hub, node), the hub the larger one, of which one may contain the other."""
        from pyspark.sql import functions as F

        corpora = self.corpora if self.section.earlier == "drop" else self.corpora[:1]
        parts = [(corpus, part) for corpus in corpora for part in range(len(corpus.parts))]
        seen = None
        if len(corpora) > 1:
            ours = [signatures.signature_path(self.folder, part) for part in range(len(self.before.parts))]
            seen = signatures.write_hashes(self.path("samples"), signatures.sample_table(ours))
        near = ReadSamples(tuple(parts), self.path("near"), seen)
        sampled = self.numbers(len(parts)).mapInArrow(near, spark_schema(SAMPLED))
        count = self.partitions(self.before.manifest["bytes"] // BYTES_OF_A_SAMPLED_SHINGLE)
        sampled = sampled.repartition(count, "key").sortWithinPartitions("key", "node")
        shared = self.work.save(sampled, self.path("shared"), Shared()).get("shared", Saved())
        pairs = self.work.load(shared, spark_schema(SHARED)).groupBy("u", "v")
        counted = pairs.agg(
            F.count("*").alias("shared"), F.max("u_size").alias("u_size"), F.max("v_size").alias("v_size")
        )
        counted = self.work.checkpoint(counted, self.path("counted"))
        boilerplate = counted.where("u = v").select("u", "shared")
        pairs = counted.where((F.col("u") < F.col("v")) & (F.col("shared") >= LEAST_SHARED))
        inside = []
        for end in "uv":
            own = boilerplate.select(F.col("u").alias(end), F.col("shared").alias(f"{end}_boilerplate"))
            pairs = pairs.join(own, end, "left")
            evidence = F.col(f"{end}_size") - F.coalesce(f"{end}_boilerplate", F.lit(0))
            inside.append((F.col("shared") >= evidence * (self.containment / 2)) & (F.col(end) < EARLIER))
        larger = F.when(
            F.col("u_size") >= F.col("v_size"), F.struct(F.col("u").alias("hub"), F.col("v").alias("node"))
        )
        larger = larger.otherwise(F.struct(F.col("v").alias("hub"), F.col("u").alias("node")))
        found = pairs.where(inside[0] | inside[1]).select(larger.alias("pair")).select("pair.*")
        return self.work.save(found, self.path("overlapping")).get("rows", Saved())

    def judged(self, edges: Any, schema: pa.Schema, name: str) -> Any:
        """DataFrame of `FATE` and part: the documents that are not kept of their cluster."""
        from pyspark.sql import Window
        from pyspark.sql import functions as F

        found = components(self.work, edges.select("u", "v"), self.path(f"{name}/components"))
        self.facts |= {"rounds": found.rounds}
        # The reason is the strongest link that ties a document to another, to an earlier one if such a one stays.
        ends, backwards = (
            edges.select(
                F.col(one).alias("node"), F.col(two).alias("other"), "kind", "jaccard", "containment"
            )
            for one, two in ("uv", "vu")
        )
        ends = ends.unionByName(backwards)
        nearest = F.max(F.when(F.col("jaccard").isNotNull(), F.struct("jaccard", "containment")))
        strongest = ends.groupBy("node").agg(
            F.min("kind").alias("kind"),
            F.min(F.when(F.col("other") >= EARLIER, F.col("kind"))).alias("earlier_kind"),
            nearest.alias("nearest"),
        )
        strongest = strongest.select("node", "kind", "earlier_kind", "nearest.jaccard", "nearest.containment")
        members = self.members(found.rows, schema, self.path(f"{name}/members"))
        # What was there before stays.
        best = Window.partitionBy("cluster").orderBy(F.desc(F.col("corpus") > 0), *self.preferred())
        first = [F.first(name).over(best).alias(f"kept_{name}") for name in ("id", "corpus", "node")]
        placed = members.select("*", *first, F.row_number().over(best).alias("rank"))
        return (
            placed.where((F.col("rank") > 1) & (F.col("node") < EARLIER))
            .join(strongest, "node")
            .select(
                *self.place(),
                "node",
                "kept_node",
                "id",
                self.reason().alias("reason"),
                "cluster",
                F.col("kept_id").alias("winner"),
                self.folder_of("kept_corpus").alias("corpus"),
                "jaccard",
                "containment",
            )
        )

    def preferred(self) -> list[Any]:
        """Sort keys of who stays: the recipe's rule, the longest, and names that no partition changes."""
        from pyspark.sql import functions as F

        keys = []
        for number, term in enumerate(self.ordering.terms):
            key = F.col(f"keep_{number}")
            direction = "desc" if term.descending else "asc"
            keys.append(getattr(key, f"{direction}_nulls_{'first' if term.nulls_first else 'last'}")())
        return [*keys, F.desc("characters"), F.col("id"), F.col("text_hash"), F.col("node")]

    def folder_of(self, column: str) -> Any:
        """The folder of an earlier corpus by its number."""
        from pyspark.sql import functions as F

        folder = F.lit(None).cast("string")
        for corpus in self.corpora[1:]:
            folder = F.when(F.col(column) == corpus.number, corpus.folder).otherwise(folder)
        return folder

    def members(self, clusters: Any, schema: pa.Schema, folder: str) -> Any:
        """DataFrame: node, cluster, corpus, and of each document's signature what decides who stays."""
        names = ["id", "characters", "text_hash", *(n for n in schema.names if re.match("known$|keep_", n))]
        wanted = pa.schema(
            [
                ("node", pa.int64()),
                ("cluster", pa.int64()),
                ("corpus", pa.int32()),
                *(schema.field(n) for n in names),
            ]
        )
        placed = clusters.select(*self.place(), "cluster")
        parts = sum(len(corpus.parts) for corpus in self.corpora)
        rows = placed.repartition(parts, "part").sortWithinPartitions("part", "place")
        read = rows.mapInArrow(ReadMembers(self.corpora, wanted), spark_schema(wanted))
        return self.work.checkpoint(read, folder)

    @staticmethod
    def place() -> tuple[Any, Any]:
        """Part (the upper bits of a node) and place in it."""
        from pyspark.sql import functions as F

        place = F.col("node").bitwiseAND(2**NODE_BITS - 1)
        return F.shiftright("node", NODE_BITS).alias("part"), place.alias("place")

    @staticmethod
    def reason() -> Any:
        from pyspark.sql import functions as F

        near = F.lit(BAND).cast("short")
        kind = F.when(F.col("kept_corpus") > 0, F.coalesce("earlier_kind", near)).otherwise(F.col("kind"))
        return (
            F.when(kind == URL, "duplicate_url")
            .when(kind == TEXT, "duplicate_text")
            .otherwise("near_duplicate")
        )

    def write(self, fates: Any, name: str) -> None:
        count = max(1, len(self.before.parts))
        sorted_fates = fates.repartition(count, "part").sortWithinPartitions("part", "place")
        with self.work.small_rows():
            self.work.collect(
                sorted_fates.mapInArrow(WriteFates(storage.join(self.folder, name)), "error string")
            )
