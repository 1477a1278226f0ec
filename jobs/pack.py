"""Stages from clean documents to packed shards: tokenizer, tokenized, heldout, shards.

    parts of the mixture ─► tokenizer ─► tokenized (one row a window) ─► heldout (whole documents, set aside)
                                                  └─► copies (FIM) ─► thresholds ─► shuffle by bucket ─► shards

A window's draw for the mixture and its place in the shuffle are hashes of the recipe's seed, its document and the
epoch, so shards are the same for any number of executors.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from corpus import storage
from corpus.chunks import CHUNK, OVERHEAD, Chunks
from corpus.errors import LodeError
from corpus.mining import fraction
from corpus.mixture import BINS, Counted, Range, mix
from corpus.packing import SEQUENCE, Pack
from corpus.tokens import SPECIAL, TextTokenizer, load, train_tokenizer
from fim.transform import Fim
from jobs.copies import (
    COUNTED,
    COUNTS,
    DOCUMENTS,
    NAMED_SQL,
    TALLIED,
    TRAVELLING,
    AddUp,
    Arrived,
    Census,
    Chosen,
    Copies,
    Count,
    First,
    Named,
    Tally,
    Travelling,
    Unused,
    read_documents,
)
from jobs.engine import Account, Stage, Work, fingerprint_files, open_dataset, spark_schema
from jobs.recipe import FimSection, MixtureSection, PackSection, TokenizerSection
from jobs.worker import Counts, Task

# One token of so many is room for sentinels, where files are cut one by one.
FILES_SHARE = 32


@dataclass(frozen=True)
class Part:
    """Documents for the mixture: a stage, and the name of the source (None: each row's `target` or `source`)."""

    stage: Stage
    name: str | None


def part(path: str, name: str) -> Part:
    """A dataset of documents, or of their tokens (as `lode import` writes it), under the name of a source."""
    found = open_dataset(path, ())
    columns = found.schema.names
    if "tokens" in columns and ("text" in columns or "documents" in columns):
        what = "windows" if "text" in columns else "packed sequences"
        raise LodeError(f"{path}: these are {what} already; give the documents that they were made of.")
    open_dataset(path, ("id",) if "tokens" in columns else ("id", "text"))
    if not found.manifest["rows_out"]:
        raise LodeError(f"{path}: there are no documents in it.")
    return Part(found, name)


def check(parts: list[Part], tokenizer: str, fim: FimSection) -> None:
    """Raises LodeError where parts do not fit a tokenizer.json or the rates of fill-in-the-middle."""
    loaded = TextTokenizer.load(tokenizer)
    check_sentinels(loaded, fim)
    for part in parts:
        if "tokens" not in part.stage.schema.names:
            continue
        known = part.stage.manifest.get("tokenizer_fingerprint")
        if known and known != loaded.fingerprint:
            raise LodeError(f"{part.stage.folder}: its tokens are of another tokenizer than {tokenizer}.")
        if part.name is not None and fim.rate.get(part.name):
            raise LodeError(
                f"fim.rate.{part.name}: {part.stage.folder} holds tokens; fill-in-the-middle needs the text, so give a "
                "rate to the other sources alone."
            )


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
        ("corpus/fast_bpe.py", "corpus/mining.py", "corpus/tokens.py", "jobs/pack.py"),
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
                    place = fraction(seed, "tokenizer", name)
                    if place < share and text:
                        found.append((place, text))
        room = chars // len(parts)
        for _, text in sorted(found):
            if room <= 0:
                break
            chosen.append(text[:room])
            room -= len(text)
    return chosen


def window_tokens(section: PackSection, fim: FimSection) -> int:
    """Tokens of a window at most. Where each file of it may be cut, the sentinels of many need more room."""
    many = fim.level == "file" and any(fim.rate.values())
    return section.sequence_length - OVERHEAD - many * (section.sequence_length // FILES_SHARE)


def tokenized(work: Work, parts: list[Part], tokens: Stage, section: PackSection, fim: FimSection) -> Stage:
    """Every document as windows of at most the sequence length, with their ids."""
    path = storage.join(tokens.folder, "tokenizer.json")
    length = window_tokens(section, fim) + OVERHEAD

    def build(folder: str) -> Account:
        sources = [(part.name, file) for part in parts for file in part.stage.parts]
        cut = {name: Chunks(path, tokens.fingerprint, length, read_documents, name) for name, _ in sources}
        tasks = [Task(number, (str(number), file)) for number, (_, file) in enumerate(sources)]
        read = CutParts(tuple(cut[name] for name, _ in sources))
        return Account(work.map_parts(folder, tasks, CHUNK, read=read, unit="windows"), "windows")

    inputs = fingerprints(parts) | {"tokenizer": tokens.fingerprint}
    rooms = ("corpus/chunks.py", "corpus/fast_bpe.py", "corpus/tokens.py", "jobs/copies.py", "jobs/pack.py")
    parameters = {"sequence_length": length, "names": [part.name for part in parts]}
    return work.stage("tokenized", rooms, parameters, inputs, build)


@dataclass(frozen=True)
class CutParts:
    """Function of a task (its number, a path): the windows of that part under its own source's name."""

    cutters: tuple[Chunks, ...]

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        return self.cutters[int(inputs[0])](inputs[1:])


def numbers(work: Work, count: int, each: int = 1) -> Any:
    """A DataFrame of the numbers of so many files, `each` in a task: to start one takes as long as to count a few."""
    return work.spark.session.range(0, count, 1, max(-(-count // each), 1))


def held_out_documents(work: Work, windows: Stage, target: int, seed: int) -> dict[str, list[str]]:
    """Documents to evaluate on: of each source, in the order of a hash, until `target` tokens are together.

    A document larger than the target is passed over (a single repository would be all there is), unless a source
    has no smaller one: then it gives none, and its loss is not measured.
    """
    # One that would be too much is passed over, too; so a few more are looked at.
    first = First(4 * target, target, seed)
    parts = tuple(windows.parts)
    rows = numbers(work, len(parts), 4).mapInArrow(replace(first, paths=parts), spark_schema(DOCUMENTS))
    rows = rows.repartition(1).mapInArrow(first, spark_schema(DOCUMENTS))
    chosen: dict[str, list[str]] = {}
    total: dict[str, int] = {}
    for source, name, tokens in work.collect(rows):
        before = total.setdefault(source, 0)
        held = chosen.setdefault(source, [])
        if before < target and before + tokens <= target * 5 // 4:
            held.append(name)
            total[source] += tokens
    return {source: sorted(held) for source, held in sorted(chosen.items())}


PACK_ROOMS = (
    "corpus/fast_bpe.py",
    "corpus/mining.py",
    "corpus/mixture.py",
    "corpus/packing.py",
    "corpus/tokens.py",
    "fim",
    "jobs/copies.py",
    "jobs/pack.py",
    "repo_ordering/nodes.py",
    "repo_ordering/nodes_child.py",
)


def heldout(work: Work, windows: Stage, tokens: Stage, section: PackSection, seed: int) -> Stage:
    """Whole documents of each source, kept aside and packed under `heldout/`."""

    def build(folder: str) -> Account:
        documents: dict[str, list[str]] = {}
        if section.held_out_tokens:
            documents = held_out_documents(work, windows, section.held_out_tokens, seed)
        only = frozenset(name for names in documents.values() for name in names)
        copies = replace(every_copy(windows, tokens, section, seed), only=only)
        rows = numbers(work, len(copies.paths), 4).mapInArrow(Travelling(copies), spark_schema(TRAVELLING))
        counts = write_shards(work, folder, rows, tokens, section, 1)
        facts = {"shards": shard_facts(work, folder, tokens, section, seed)}
        return Account(counts, "windows", {"documents": documents} | facts)

    parameters = section.model_dump(include={"sequence_length", "packing", "held_out_tokens"}) | {
        "seed": seed
    }
    inputs = {"windows": windows.fingerprint, "tokenizer": tokens.fingerprint}
    return work.stage("heldout", PACK_ROOMS, parameters, inputs, build)


SCRATCH = "_scratch"


def every_copy(windows: Stage, tokens: Stage, section: PackSection, seed: int) -> Copies:
    path = storage.join(tokens.folder, "tokenizer.json")
    return Copies(tuple(windows.parts), path, tokens.fingerprint, section.sequence_length, seed)


def write_shards(
    work: Work, folder: str, rows: Any, tokens: Stage, section: PackSection, buckets: int
) -> Counts:
    """Shuffle rows of `TRAVELLING` by their bucket and write packed sequences."""
    special = load(storage.join(tokens.folder, "tokenizer.json"), tokens.fingerprint).special
    packing = Pack(section.sequence_length, special.get("pad", special["eos"]), section.packing)
    with work.small_rows():
        order = ["key", "id", "source", "chunk", "epoch", "tokens"]  # nothing says that ids are unique
        return work.write_buckets(folder, rows, SEQUENCE, Arrived(packing), buckets, order)


class Scratch:
    """Copies of windows in files of their own, until it is known which of them are packed."""

    def __init__(self, work: Work, folder: str, copies: Copies):
        self.work = work
        self.folder = storage.join(folder, SCRATCH)
        self.copies = copies
        self.files: list[str] = []

    def place(self, ranges: dict[str, Range]) -> None:
        self.work.progress.update(1, 3, note="copies of windows")
        rows = numbers(self.work, len(self.copies.paths))
        here = storage.join(self.folder, str(len(self.files)))
        saved = self.work.save(rows, here, Named(replace(self.copies, ranges=ranges)))
        self.files += saved["copies"].paths if "copies" in saved else ()

    def count(self, ranges: dict[str, Range]) -> Counted:
        rows = numbers(self.work, len(self.files), 16).mapInArrow(
            Count(tuple(self.files), ranges), spark_schema(COUNTS)
        )
        found = {name: (np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)) for name in ranges}
        for source, place, tokens, windows in self.work.collect(rows.groupBy("source", "bin").sum(*COUNTED)):
            found[source][0][place], found[source][1][place] = tokens, windows
        return found

    def added(self, ends: dict[str, int]) -> dict[str, Counter[str]]:
        """Of each source, the sums over the copies that are packed."""
        rows = numbers(self.work, len(self.files), 16).mapInArrow(AddUp(tuple(self.files), ends), NAMED_SQL)
        found: dict[str, Counter[str]] = {name: Counter() for name in ends}
        for source, what, number in self.work.collect(rows.groupBy("kind", "name").sum("count")):
            found[source][what] = number
        return found

    def chosen(self, ends: dict[str, int], buckets: int) -> Any:
        """Rows of `TRAVELLING`: the copies that are packed, and the windows of which there is none."""
        chosen = Chosen(tuple(self.files), ends, buckets)
        unused = Unused(self.copies.paths, ends, buckets, self.copies.seed, self.copies.left_out)
        rows = numbers(self.work, len(self.files)).mapInArrow(chosen, spark_schema(TRAVELLING))
        others = numbers(self.work, len(self.copies.paths), 16).mapInArrow(unused, spark_schema(TRAVELLING))
        return rows.unionAll(others)


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
    weights = {name: weight for name, weight in mixture.weights.items() if weight}
    rate = {name: share for name, share in fim.rate.items() if share and name in weights}

    def build(folder: str) -> Account:
        check_sentinels(load(storage.join(tokens.folder, "tokenizer.json"), tokens.fingerprint), fim)
        held = frozenset(name for names in aside.manifest["documents"].values() for name in names)
        cuts = {
            name: Fim(share, fim.spm_rate, seed, fim.level, fim.syntax_rate) for name, share in rate.items()
        }
        copies = every_copy(windows, tokens, section, seed)
        copies = replace(copies, fim=cuts, split=section.split_newlines, left_out=held)
        scratch = Scratch(work, folder, copies)

        work.progress.update(0, 3, note="tokens of each source")
        had = tokens_had(work, copies.paths, held)
        for name in weights:
            if not had.get(name, (0, 0))[0] and aside.manifest["documents"].get(name):
                raise LodeError(
                    f"{name}: all of its documents are held out; set held_out_tokens "
                    f"({section.held_out_tokens:,}) lower."
                )
        had = {name: had.get(name, (0, 0)) for name in weights}
        shares, binding = mix(weights, had, mixture.max_epochs, mixture.tokens, scratch.place, scratch.count)
        ends = {name: share.end for name, share in shares.items()}
        added = scratch.added(ends)
        work.progress.update(2, 3, note="shuffle and packing")
        total = sum(share.tokens for share in shares.values())
        buckets = max(1, round(total / section.tokens_per_part))
        rows = scratch.chosen(ends, buckets)
        counts = write_shards(work, folder, rows, tokens, section, buckets)
        storage.remove(scratch.folder)
        if not counts.rows_written:
            raise LodeError(
                f"The mixture has {total:,} tokens, which do not fill a sequence; set sequence_length "
                f"({section.sequence_length:,}) lower or take more documents."
            )

        facts = shard_facts(work, folder, tokens, section, seed)
        facts["fim_rate"] = rate
        facts["fim_windows"] = sum(added[name]["middles"] for name in rate)
        packed = facts["tokens_per_source"]
        mixed = {
            name: {
                "weight": weights[name],
                "asked": share.share,
                "share": packed.get(name, 0) / max(sum(packed.values()), 1),
                "tokens": had[name][0],
                "used": share.tokens,
                "epochs": share.epochs,
                "windows": added[name]["windows"],
                "tokens_split": added[name]["split"],
                **({"fim": middles(rate[name], added[name])} if name in rate else {}),
            }
            for name, share in sorted(shares.items())
        }
        parts = ", ".join(f"{name} {count:,}" for name, count in packed.items())
        headline = f"{counts.tokens:,} tokens packed: {parts}"
        extra = {"mixture": mixed, "limited_by": binding, "shards": facts, "headline": headline}
        return Account(counts, "windows", extra)

    parameters = {
        "mixture": mixture.model_dump(),
        "fim": fim.model_dump(),
        "pack": section.model_dump(exclude={"held_out_tokens"}),
        "seed": seed,
    }
    inputs = {"windows": windows.fingerprint, "tokenizer": tokens.fingerprint, "heldout": aside.fingerprint}
    return work.stage("shards", PACK_ROOMS, parameters, inputs, build)


def tokens_had(work: Work, paths: tuple[str, ...], held: frozenset[str]) -> dict[str, tuple[int, int]]:
    """Tokens and windows of each source, once, without documents held out."""
    rows = numbers(work, len(paths), 4).mapInArrow(Tally(paths, held), spark_schema(TALLIED))
    return {name: (size, count) for name, size, count in work.collect(rows.groupBy("source").sum(*COUNTED))}


def middles(asked: float, added: Counter[str]) -> dict[str, Any]:
    """What became of the fill-in-the-middle of a source."""
    chances, cuts, uncut = (added[name] for name in ("chances", "cuts", "uncut"))
    return {"asked": asked, "rate": cuts / max(chances, 1), "of": chances, "cut": cuts, "too_long": uncut}


def check_sentinels(tokenizer: TextTokenizer, fim: FimSection) -> None:
    """Raises LodeError where a rate asks for control tokens that a tokenizer does not have."""
    missing = [role for role in ("fim_begin", "fim_hole", "fim_end") if role not in tokenizer.special]
    if missing and any(fim.rate.values()):
        raise LodeError(
            f"fim.rate: the tokenizer has none of {', '.join(SPECIAL[missing[0]])}; set the rates to 0 or take "
            "a tokenizer with fill-in-the-middle tokens."
        )


def shard_facts(work: Work, folder: str, tokens: Stage, section: PackSection, seed: int) -> dict[str, Any]:
    """What the trainer checks before it trusts shards, and how they are packed, for the manifest."""
    loaded = load(storage.join(tokens.folder, "tokenizer.json"), tokens.fingerprint)
    parts = tuple(storage.parquet_parts(storage.join(folder, "part-*.parquet")))
    rows = numbers(work, len(parts), 4).mapInArrow(Census(parts), NAMED_SQL)
    found: dict[str, dict[str, int]] = {"tokens": {}, "packing": {}}
    for kind, name, count in sorted(map(tuple, work.collect(rows.groupBy("kind", "name").sum("count")))):
        found[kind][name] = count
    return {
        "tokenizer_fingerprint": loaded.fingerprint,
        "vocabulary_size": loaded.vocabulary_size,
        "special_tokens": loaded.special,
        "sequence_length": section.sequence_length,
        "tokens_per_source": found["tokens"],
        "padding_tokens": found["packing"]["padding"],
        "packing": {"how": section.packing, **found["packing"]},
        "fim_rate": {},
        "fim_windows": 0,
        "seed": seed,
    }
