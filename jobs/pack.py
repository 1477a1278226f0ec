"""Stages from clean documents to packed shards: tokenizer, tokenized, heldout, shards.

    parts of the mixture ─► tokenizer ─► tokenized (one row a window) ─► heldout (whole documents, set aside)
                                                  └─► mixture ─► FIM ─► shuffle by bucket ─► shards

A window's place in the shuffle is a hash of the recipe's seed, its document and the epoch, so shards are the same
for any number of executors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus import storage
from corpus.errors import LodeError
from corpus.mining import fraction
from corpus.packing import (
    CHUNK,
    CUT,
    PLACED,
    RATHER_NOT,
    SEQUENCE,
    WHOLE,
    Chunks,
    Pack,
    chunk_key,
    copies,
    mixture_epochs,
    tokens_per_source,
)
from corpus.tokens import SPECIAL, TextTokenizer, load, train_tokenizer
from fim.transform import Fim
from jobs.engine import Account, Stage, Work, fingerprint_files, spark_schema
from jobs.recipe import FimSection, MixtureSection, PackSection, TokenizerSection
from jobs.worker import Counts, Task, read_parts

# Held-out documents are looked for among this many of each source, in the order of a hash.
CANDIDATES = 20_000


@dataclass(frozen=True)
class Part:
    """Documents for the mixture: a stage, and the name of the source (None: each row's `target` or `source`)."""

    stage: Stage
    name: str | None


def tokenizer(work: Work, parts: list[Part], section: TokenizerSection, seed: int) -> Stage:
    """The tokenizer of the recipe under `tokenizer/tokenizer.json`: a copy of a given one, or one trained here."""

    def build(folder: str) -> Account:
        path = storage.join(folder, "tokenizer.json")
        if section.path:
            TextTokenizer.load(section.path)
            fs, inside = storage.filesystem(section.path)
            with storage.atomic_write(path) as file:
                file.write(fs.cat_file(inside))
            sampled = 0
        else:
            work.progress.update(0, 2, note="sampling texts")
            texts = sample_texts(parts, section.sample_chars, seed)
            sampled = len(texts)
            work.progress.update(1, 2, note=f"BPE on {sum(map(len, texts)):,} characters")
            storage.write_text(path, train_tokenizer(iter(texts), section.vocabulary_size or 0).to_str())
        size = TextTokenizer.load(path).vocabulary_size
        return Account(
            Counts(sampled, sampled), "documents", {"headline": f"{size:,} entries", "vocabulary_size": size}
        )

    inputs = {"path": fingerprint_files([section.path])} if section.path else fingerprints(parts)
    return work.stage(
        "tokenizer",
        ("corpus/mining.py", "corpus/tokens.py", "jobs/pack.py"),
        section.model_dump() | {"seed": seed},
        inputs,
        build,
    )


def fingerprints(parts: list[Part]) -> dict[str, str]:
    return {f"part {number}": part.stage.fingerprint for number, part in enumerate(parts)}


def sample_texts(parts: list[Part], chars: int, seed: int) -> list[str]:
    """Texts in the order of a hash of their ids, the same number of characters from every stage."""
    chosen: list[str] = []
    for part in parts:
        share = min(1.0, 2 * chars / len(parts) / max(part.stage.manifest["bytes"], 1))
        found: list[tuple[float, str]] = []
        for path in part.stage.parts:
            for batch in storage.read_parquet(path, ["id", "text"]):
                for name, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    draw = fraction(seed, "tokenizer", name)
                    if draw < share:
                        found.append((draw, text))
        room = chars // len(parts)
        for _, text in sorted(found):
            if room <= 0:
                break
            chosen.append(text[:room])
            room -= len(text)
    return chosen


def tokenized(work: Work, parts: list[Part], tokens: Stage, section: PackSection) -> Stage:
    """Every document as windows of at most the sequence length, with their ids."""
    path = storage.join(tokens.folder, "tokenizer.json")

    def build(folder: str) -> Account:
        sources = [(part.name, file) for part in parts for file in part.stage.parts]
        cut = {
            name: Chunks(path, tokens.fingerprint, section.sequence_length, read_parts, name)
            for name, _ in sources
        }
        tasks = [Task(number, (str(number), file)) for number, (_, file) in enumerate(sources)]
        read = CutParts(tuple(cut[name] for name, _ in sources))
        return Account(work.map_parts(folder, tasks, CHUNK, read=read, unit="windows"), "windows")

    inputs = fingerprints(parts) | {"tokenizer": tokens.fingerprint}
    rooms = ("corpus/packing.py", "corpus/tokens.py", "jobs/pack.py")
    parameters = {"sequence_length": section.sequence_length, "names": [part.name for part in parts]}
    return work.stage("tokenized", rooms, parameters, inputs, build)


@dataclass(frozen=True)
class CutParts:
    """Function of a task (its number, a path): the windows of that part under its own source's name."""

    cutters: tuple[Chunks, ...]

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        return self.cutters[int(inputs[0])](inputs[1:])


@dataclass(frozen=True)
class Tally:
    """mapInArrow function: tokens of each document, or of each source, in a part of windows."""

    tasks: tuple[Task, ...]
    by_document: bool
    left_out: frozenset[str] = frozenset()

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names = ["source", "key", "tokens"]
        for batch in batches:
            for number in batch.column(0).to_pylist():
                tally: dict[tuple[str, Any], int] = {}
                for rows in storage.read_parquet(
                    self.tasks[number].inputs[0], ["id", "source", "chunk", "tokens"]
                ):
                    lengths = pc.list_value_length(rows["tokens"]).to_pylist()
                    ids, sources = rows["id"].to_pylist(), rows["source"].to_pylist()
                    for name, source, length in zip(ids, sources, lengths, strict=True):
                        if name not in self.left_out:
                            key = (source, name if self.by_document else "")
                            tally[key] = tally.get(key, 0) + length
                rows = [(s, k, n) for (s, k), n in sorted(tally.items())]
                for start in range(0, len(rows), 10_000):
                    columns = list(zip(*rows[start : start + 10_000], strict=True))
                    types = [pa.string(), pa.string(), pa.int64()]
                    arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
                    yield pa.RecordBatch.from_arrays(arrays, names=names)


def tally(work: Work, windows: Stage, by_document: bool, left_out: frozenset[str] = frozenset()) -> Any:
    tasks = tuple(Task(part, (path,)) for part, path in enumerate(windows.parts))
    numbers = work.spark.session.range(0, len(tasks), 1, len(tasks))
    rows = numbers.mapInArrow(Tally(tasks, by_document, left_out), "source string, key string, tokens long")
    return rows.groupBy("source", "key").agg({"tokens": "sum"}).toDF("source", "key", "tokens")


def held_out_documents(
    work: Work, windows: Stage, target: int, seed: int, scratch: str
) -> dict[str, list[str]]:
    """Documents to evaluate on: of each source, in the order of a hash, until `target` tokens are together.

    A document larger than the target is passed over (a single repository would be all there is), unless a source
    has no smaller one: then it gives none, and its loss is not measured.
    """
    from pyspark.sql import functions as F

    documents = work.checkpoint(tally(work, windows, by_document=True), scratch)
    chosen: dict[str, list[str]] = {}
    for source in sorted(row["source"] for row in work.collect(documents.select("source").distinct())):
        here = documents.where((F.col("source") == source) & (F.col("tokens") <= target))
        ordered = here.orderBy(F.xxhash64(F.concat("key", F.lit(f"\n{seed}"))), "key").limit(CANDIDATES)
        held, total = [], 0
        for row in work.collect(ordered):
            if total + row["tokens"] > target * 5 // 4:
                continue
            if total >= target:
                break
            held.append(row["key"])
            total += row["tokens"]
        chosen[source] = sorted(held)
    return chosen


@dataclass(frozen=True)
class Place:
    """mapInArrow function: windows to rows of `PLACED`, one for each time a window is used.

    Fill-in-the-middle is drawn here, for each window and epoch. A window that became too long by it stays whole.
    """

    tasks: tuple[Task, ...]
    tokenizer: str
    mark: str  # of the tokenizer's content
    sequence_length: int
    buckets: int
    seed: int
    epochs: dict[str, float]
    fim: dict[str, Fim]
    left_out: frozenset[str]
    only: frozenset[str] | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                held: list[dict[str, Any]] = []
                for rows in storage.read_parquet(self.tasks[number].inputs[0]):
                    for row in rows.to_pylist():
                        held += self.place(row)
                    if held:
                        yield pa.RecordBatch.from_pylist(held, PLACED)
                        held = []

    def place(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        name, source, number = row["id"], row["source"], row["chunk"]
        if self.only is not None:
            if name in self.only:
                yield self.placed(row, 0, chunk_key(self.seed, source, name, number))
            return
        draw = fraction(self.seed, "mixture", name, number)
        times = copies(self.epochs.get(source, 0.0), draw)
        reason = "held_out" if name in self.left_out else None if times else "over_mixture"
        if reason:
            key = chunk_key(self.seed, 0, name, number)
            bucket = (key + 2**63) * self.buckets >> 64
            yield {"bucket": bucket, "key": key, "id": name, "source": source, "whole": CUT, "tokens": None,
                   "reason": reason, "detail": f"window {number}"}  # fmt: skip
            return
        for epoch in range(times):
            yield self.placed(row, epoch, chunk_key(self.seed, epoch, name, number))

    def placed(self, row: dict[str, Any], epoch: int, key: int) -> dict[str, Any]:
        tokenizer = load(self.tokenizer, self.mark)
        tokens, cut = row["tokens"], False
        fim = self.fim.get(row["source"])
        if fim is not None:
            spans = row["regions"]
            regions = None if spans is None else [(span["start"], span["end"]) for span in spans]
            pieces = fim.pieces(row["text"], f"{row['id']}:{row['chunk']}", epoch, regions)
            if any(kind == "special" for kind, _ in pieces):
                ids: list[int] = []
                for kind, value in pieces:
                    ids += [tokenizer.special[value]] if kind == "special" else tokenizer.encode(value)
                if len(ids) <= self.sequence_length - 2:
                    tokens, cut = ids, True
        tokens = [tokenizer.special["bos"], *tokens] if row["first"] else tokens
        tokens = [*tokens, tokenizer.special["eos"]] if row["last"] or cut else tokens
        bucket = (key + 2**63) * self.buckets >> 64
        whole = WHOLE if cut else RATHER_NOT if row["composed"] else CUT
        return {"bucket": bucket, "key": key, "id": row["id"], "source": row["source"], "whole": whole,
                "tokens": tokens, "reason": None, "detail": None}  # fmt: skip


PACK_ROOMS = ("corpus/mining.py", "corpus/packing.py", "corpus/tokens.py", "fim", "jobs/pack.py")


def pack_into(work: Work, folder: str, place: Place, extra: dict[str, Any]) -> Account:
    """Place windows, shuffle them and write packed sequences."""
    rows = work.spark.session.range(0, len(place.tasks), 1, len(place.tasks))
    special = load(place.tokenizer, place.mark).special
    packing = Pack(place.sequence_length, special.get("pad", special["eos"]))
    placed = rows.mapInArrow(place, spark_schema(PLACED))
    counts = work.write_buckets(folder, placed, SEQUENCE, packing, place.buckets, ["key", "id", "tokens"])
    return Account(counts, "windows", extra | {"shards": shard_facts(work, folder, place)})


def place_all(windows: Stage, tokens: Stage, section: PackSection, seed: int, **changes: Any) -> Place:
    """Windows to one bucket, each once, as they are; `changes` say otherwise."""
    tasks = tuple(Task(part, (file,)) for part, file in enumerate(windows.parts))
    path = storage.join(tokens.folder, "tokenizer.json")
    settings = {"buckets": 1, "seed": seed, "epochs": {}, "fim": {}, "left_out": frozenset()} | changes
    return Place(tasks, path, tokens.fingerprint, section.sequence_length, **settings)


def heldout(work: Work, windows: Stage, tokens: Stage, section: PackSection, seed: int) -> Stage:
    """Whole documents of each source, kept aside and packed under `heldout/`."""

    def build(folder: str) -> Account:
        tallied = storage.join(folder, "tally")
        documents = held_out_documents(work, windows, section.held_out_tokens, seed, tallied)
        storage.remove(tallied)
        only = frozenset(name for names in documents.values() for name in names)
        place = place_all(windows, tokens, section, seed, only=only)
        return pack_into(work, folder, place, {"documents": documents})

    parameters = section.model_dump(include={"sequence_length", "held_out_tokens"}) | {"seed": seed}
    inputs = {"windows": windows.fingerprint, "tokenizer": tokens.fingerprint}
    return work.stage("heldout", PACK_ROOMS, parameters, inputs, build)


def shards(
    work: Work,
    windows: Stage,
    aside: Stage,
    tokens: Stage,
    mixture: MixtureSection,
    fim: FimSection,
    section: PackSection,
    seed: int,
) -> Stage:
    """The mixture as packed sequences under `shards/`, without the documents that are kept `aside`."""

    def build(folder: str) -> Account:
        held = frozenset(name for names in aside.manifest["documents"].values() for name in names)
        available = {
            row["source"]: row["tokens"]
            for row in work.collect(tally(work, windows, by_document=False, left_out=held))
        }
        weights = {name: weight for name, weight in mixture.weights.items() if weight}
        epochs = mixture_epochs(weights, available, mixture.max_epochs, mixture.tokens)
        total = sum(epochs[source] * available[source] for source in epochs)
        cuts = {source: Fim(rate, fim.spm_rate, seed) for source, rate in fim.rate.items() if rate}
        buckets = max(1, round(total / section.tokens_per_part))
        place = place_all(
            windows, tokens, section, seed, buckets=buckets, epochs=epochs, fim=cuts, left_out=held
        )
        known = load(place.tokenizer, place.mark).special
        if cuts and (missing := [role for role in ("fim_begin", "fim_hole", "fim_end") if role not in known]):
            raise LodeError(
                f"fim.rate: the tokenizer has none of {', '.join(SPECIAL[missing[0]])}; set the rates to 0 or take "
                "a tokenizer with fill-in-the-middle tokens."
            )
        mixed = {
            s: {"weight": weights[s], "tokens": available[s], "epochs": epochs[s]} for s in sorted(epochs)
        }
        account = pack_into(work, folder, place, {"mixture": mixed})
        facts = account.extra["shards"]
        parts = ", ".join(f"{name} {count:,}" for name, count in facts["tokens_per_source"].items())
        account.extra["headline"] = f"{account.counts.tokens:,} tokens packed: {parts}"
        return account

    parameters = {
        "mixture": mixture.model_dump(),
        "fim": fim.model_dump(),
        "pack": section.model_dump(exclude={"held_out_tokens"}),
        "seed": seed,
    }
    inputs = {"windows": windows.fingerprint, "tokenizer": tokens.fingerprint, "heldout": aside.fingerprint}
    return work.stage("shards", PACK_ROOMS, parameters, inputs, build)


@dataclass(frozen=True)
class Census:
    """mapInArrow function: tokens of each source in a part of shards, and how often a token occurs."""

    paths: tuple[str, ...]
    token: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for rows in storage.read_parquet(self.paths[number]):
                    counts = tokens_per_source([rows])
                    seen = pc.sum(pc.equal(rows["tokens"].flatten(), self.token).cast(pa.int64()))
                    names, values = [*counts, "token"], [*counts.values(), seen.as_py() or 0]
                    kinds = ["source"] * len(counts) + ["token"]
                    yield pa.RecordBatch.from_arrays(
                        [pa.array(kinds), pa.array(names), pa.array(values, pa.int64())],
                        names=["kind", "name", "count"],
                    )


def shard_facts(work: Work, folder: str, place: Place) -> dict[str, Any]:
    """What the trainer checks before it trusts shards, for the manifest."""
    loaded = load(place.tokenizer, place.mark)
    parts = tuple(storage.parquet_parts(storage.join(folder, "part-*.parquet")))
    census = Census(parts, loaded.special.get("fim_hole", -1))
    rows = work.spark.session.range(0, len(parts), 1, len(parts)).mapInArrow(
        census, "kind string, name string, count long"
    )
    found = sorted(map(tuple, work.collect(rows.groupBy("kind", "name").sum("count"))))
    return {
        "tokenizer_fingerprint": loaded.fingerprint,
        "vocabulary_size": loaded.vocabulary_size,
        "special_tokens": loaded.special,
        "sequence_length": place.sequence_length,
        "tokens_per_source": {name: count for kind, name, count in found if kind == "source" and name},
        "padding_tokens": sum(count for kind, name, count in found if kind == "source" and not name),
        "fim_rate": {source: fim.rate for source, fim in place.fim.items()},
        "fim_windows": sum(count for kind, _, count in found if kind == "token"),
        "seed": place.seed,
    }
