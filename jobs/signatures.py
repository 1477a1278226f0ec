"""Signatures of a dataset: one file beside each part, kept with the stage, so that a later corpus is compared with
this one without reading its text.

`signatures/part-N.parquet` has a row for each document (or repository) of part N of the input, in order: its `id`,
`characters`, the hashes of its canonical URL (null without one) and of its text, its `bands` keys, and the keys that
say who stays. A repository also has how well it is `known`, and a `sample` of its shingles, from which containment can
be told. A document of which nothing is left without the lines that repeat has no keys: it goes, and is like no
other.
"""

import dataclasses
import functools
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from corpus import storage
from corpus.candidates import BAND, EARLIER, SAMPLED, TEXT, URL, comparison, keyed
from corpus.errors import LodeError
from corpus.minhash import NO_HASH, SAMPLE_BITS, Formulas, MinHash, Sample, ShingleSet, Union, has_tokens
from corpus.ngrams import Profile
from corpus.repeated_lines import line_hashes, remove_lines
from corpus.schema import with_verdict
from corpus.survivor import Ordering
from corpus.urls import canonical_url
from jobs.engine import MANIFEST, Stage
from jobs.worker import by_bucket, part_name

Unit = Literal["document", "repository"]

# A node is a document: its part and its place in the part, both counted from 0.
NODE_BITS, CORPUS_BITS = 32, 52
PROBE = (
    "The roots of $x^2 + 1 = 0$ are \\pm i.\ndef f(x_1): return x_1 ** 2 + 1\n一元二次方程的根 état naïve ﬁn."
)
# Repositories, and shingles of their samples, that are written together.
MOST_HELD, MOST_SAMPLED = 512, 4 << 20
# A repository's sample has at most so many shingles: those of the least hashes.
LARGEST_SAMPLE = 1 << 20
# A kind of key, beside those of `corpus.candidates`.
SAMPLE = -1
# Files that say under what terms the others may be used: they are the same in repositories that share nothing else.
LICENCE_FILE = re.compile(
    r"(?:^|/)(?:licen[cs]es/[^/]+|(?:un)?(?:licen[cs]es?|copying|copyright|notice|patents)(?:[._-][^/]*)?)$",
    re.I,
)


def signature_path(folder: str, part: int) -> str:
    return storage.join(folder, "signatures", part_name(part))


def fate_path(folder: str, part: int) -> str:
    return storage.join(folder, "clusters", part_name(part))


def probe(minhash: MinHash) -> str:
    """Changes when equal texts would get other band keys."""
    return xxhash.xxh3_64_hexdigest(minhash.band_keys(minhash.signatures([PROBE])).tobytes())


@dataclass(frozen=True)
class Units:
    """The documents of a part: its rows, or runs of the files of one repository; without lines that repeat."""

    unit: Unit
    repeated_lines: str | None = None  # file of sorted hashes
    languages: "Languages | None" = None  # rows of others are compared with nothing

    def read(self, path: str) -> Iterator[tuple[np.ndarray, pa.RecordBatch, list[list[str]]]]:
        """Places [rows] of the documents that the rows of a batch belong to, the batch, and the lines that went."""
        last, place = None, -1
        for batch in storage.read_parquet(path, rows=batch_rows(path)):
            for name in ("id",) if self.unit == "document" else ("source", "repository"):
                if batch[name].null_count:
                    raise LodeError(f"{path}: a row has no {name!r}; every document needs its own.")
            batch, removed = self.without_repeated_lines(batch)
            if self.unit == "document":
                places = np.arange(place + 1, place + 1 + batch.num_rows)
            else:
                names = list(zip(*(batch[c].to_pylist() for c in ("source", "repository")), strict=True))
                places = place + np.cumsum([a != b for a, b in zip(names, [last, *names], strict=False)])
                last = names[-1] if names else last
            place = int(places[-1]) if len(places) else place
            yield places, batch, removed

    def without_repeated_lines(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[list[str]]]:
        if self.repeated_lines is None:
            return batch, [[] for _ in range(batch.num_rows)]
        repeated = load_hashes(self.repeated_lines)
        texts, removed = [], []
        for text in batch["text"].to_pylist():
            rest, lines = remove_lines(text or "", repeated)
            texts.append(rest)
            removed.append([line for line, _ in lines])
        counted = {
            "text": lambda: texts,
            "characters": lambda: [len(text) for text in texts],
            "words": lambda: [len(text.split()) for text in texts],
            "lines": lambda: [text.count("\n") + 1 for text in texts],
        }
        columns = [
            pa.array(counted[f.name](), f.type) if f.name in counted else batch.column(i)
            for i, f in enumerate(batch.schema)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema), removed


@dataclass(frozen=True)
class Languages:
    """Those named, or all but those named."""

    names: frozenset[str]
    named: bool = True

    def of(self, batch: pa.RecordBatch) -> np.ndarray:
        """[rows] bool."""
        here = pc.is_in(batch["language"], pa.array(sorted(self.names), batch["language"].type))
        return here.to_numpy(zero_copy_only=False) == self.named


def own_files(batch: pa.RecordBatch) -> np.ndarray:
    """[rows] bool: which files make a repository what it is. Neither its licence does nor what it has vendored."""
    own = np.ones(batch.num_rows, bool)
    if "path" in batch.schema.names:
        own &= [not LICENCE_FILE.search(path or "") for path in batch["path"].to_pylist()]
    if "vendored" in batch.schema.names and pa.types.is_boolean(batch["vendored"].type):
        own &= ~batch["vendored"].fill_null(False).to_numpy(zero_copy_only=False)
    return own


def known(batch: pa.RecordBatch) -> np.ndarray:
    """[rows] int64: stars and forks, as far as they are known."""
    total = np.zeros(batch.num_rows, np.int64)
    for name in ("stars", "forks"):
        if name in batch.schema.names:
            kind = batch[name].type
            if pa.types.is_integer(kind) or pa.types.is_floating(kind):
                total += batch[name].cast(pa.int64(), safe=False).fill_null(0).to_numpy()
    return total


def batch_rows(path: str) -> int:
    """Rows of some 8 MB: short documents are many to a batch, books come one by one."""
    with storage.open_parquet(path) as file:
        size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))
        return min(max((8 << 20) * file.metadata.num_rows // max(size, 1), 1), 4096)


@functools.lru_cache(maxsize=2)
def load_hashes(path: str) -> np.ndarray:
    """What `write_hashes` wrote; the workers of one machine share the pages of a local file."""
    fs, inside = storage.filesystem(path)
    if storage.is_local(path):
        return np.load(inside, mmap_mode="r")
    return np.load(io.BytesIO(fs.cat_file(inside)), allow_pickle=False)


def emptied(batch: pa.RecordBatch, removed: list[list[str]]) -> list[bool]:
    """Of which rows is nothing left without the lines that went?"""
    sizes = pc.binary_length(batch["text"]).to_pylist()
    return [bool(lines) and not size for lines, size in zip(removed, sizes, strict=True)]


def described(schema: pa.Schema, unit: Unit) -> pa.Schema:
    """What a rule about who stays may ask of a document. A repository is its first file's row with the sum of
    `characters` and the number of `files`."""
    if unit == "document":
        return schema
    kept = [f for f in schema if f.name not in ("text", "path", "language", "characters", "files")]
    return pa.schema([*kept, ("characters", pa.int64()), ("files", pa.int64())])


def signature_schema(ordering: Ordering, schema: pa.Schema, unit: Unit) -> pa.Schema:
    keys = ordering.types(described(schema, unit))
    more = [] if unit == "document" else [("known", pa.int64()), ("sample", pa.list_(pa.int64()))]
    return pa.schema(
        [
            ("id", pa.string()),
            ("characters", pa.int64()),
            ("rank", pa.int64()),
            ("url_hash", pa.int64()),
            ("text_hash", pa.int64()),
            ("bands", pa.list_(pa.int64())),
            *more,
            *((f"keep_{number}", kind) for number, kind in enumerate(keys)),
        ]
    )


@dataclass(frozen=True)
class ReadSignatures:
    """Function of a task: the signatures of a part, as judged batches (all of them stay)."""

    minhash: MinHash
    units: Units
    ordering: Ordering
    schema: pa.Schema

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        if self.units.unit == "repository":
            yield from self.repositories((places, batch) for places, batch, _ in self.units.read(inputs[0]))
            return
        for _, batch, removed in self.units.read(inputs[0]):
            texts = [text or "" for text in batch["text"].to_pylist()]
            sizes = np.fromiter(map(len, texts), np.int64, len(texts))
            ids = batch["id"].to_pylist()
            urls = batch["url"].to_pylist() if "url" in batch.schema.names else [None] * len(ids)
            gone = emptied(batch, removed)
            keys = [canonical_url(url) if url and not e else None for url, e in zip(urls, gone, strict=True)]
            exact = [
                None if e else hashed(f"{len(text)}\n", text) for text, e in zip(texts, gone, strict=True)
            ]
            if self.units.languages:
                for row in np.flatnonzero(~self.units.languages.of(batch)).tolist():
                    texts[row], keys[row], exact[row] = "", None, hashed(f"{ids[row]}\n")
            yield self.signed(batch, ids, ids, keys, exact, sizes, self.minhash.signatures(texts))

    def repositories(self, batches: Iterator[tuple[np.ndarray, pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """A repository is one set of shingles, whatever the order of its files: the least of their signatures."""
        done: list[Repository] = []
        last = -1
        for places, batch in batches:
            for place, piece in zip(*self.pieces(places, batch), strict=True):
                if place == last:
                    done[-1].add(piece)
                else:
                    done.append(piece)
                last = place
            if len(done) > MOST_HELD or sum(len(r.sample) for r in done[:-1]) > MOST_SAMPLED:
                yield self.signed_repositories(done[:-1])
                done = done[-1:]
        if done:
            yield self.signed_repositories(done)

    def pieces(self, places: np.ndarray, batch: pa.RecordBatch) -> "tuple[list[int], list[Repository]]":
        """The places of the repositories of a batch, and what it has of each."""
        texts = [text or "" for text in batch["text"].to_pylist()]
        about = batch.select(
            [name for name in described(batch.schema, "repository").names if name in batch.schema.names]
        )
        starts = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1]])[: len(places)])
        if not len(starts):
            return [], []
        own, samples = own_files(batch), list[Sample]()
        signatures = self.minhash.signatures(texts, samples)
        least = np.minimum.reduceat(signatures, starts, axis=0)
        own_least = np.minimum.reduceat(np.where(own[:, None], signatures, NO_HASH), starts, axis=0)
        files, hashes = (np.concatenate(column) for column in zip(*samples, strict=True))
        files, hashes = files[own[files]], hashes[own[files]]
        sampled = np.split(hashes, np.searchsorted(files, starts[1:]))
        found = []
        for start, end, *parts in zip(
            starts.tolist(), [*starts[1:].tolist(), len(texts)], least, own_least, sampled, strict=True
        ):
            # A copy: a slice would hold the texts of its batch.
            head, chars = about.take([start]), sum(map(len, texts[start:end]))
            found.append(Repository(head, *parts, chars, end - start))
        return places[starts].tolist(), found

    def signed_repositories(self, rows: "list[Repository]") -> pa.RecordBatch:
        first = pa.concat_batches([row.head for row in rows])
        sizes = np.array([row.characters for row in rows], np.int64)
        ids = first["repository"].to_pylist()
        names = [f"{source}\n{name}" for source, name in zip(first["source"].to_pylist(), ids, strict=True)]
        sums = {"characters": pa.array(sizes), "files": pa.array([row.files for row in rows], pa.int64())}
        wanted = described(first.schema, "repository")
        columns = [sums[name] if name in sums else first[name] for name in wanted.names]
        row = pa.RecordBatch.from_arrays(columns, schema=wanted)
        exact = [hashed(name) for name in names]
        least = np.stack([row.own_least if has_tokens(row.own_least[None])[0] else row.least for row in rows])
        samples = [np.unique(row.sample)[:LARGEST_SAMPLE].view(np.int64) for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(sample) for sample in samples])]).astype(np.int32)
        sample = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(samples)))
        return self.signed(row, ids, names, names, exact, sizes, least, pa.array(known(first)), sample)

    def signed(
        self,
        rows: pa.RecordBatch,
        ids: list[str],
        names: list[str],
        urls: Sequence[str | None],
        exact: Sequence[int | None],
        sizes: np.ndarray,
        least: np.ndarray,
        *more: pa.Array,
    ) -> pa.RecordBatch:
        filled = has_tokens(least)
        keys = self.minhash.band_keys(least[filled])
        offsets = np.concatenate([[0], np.cumsum(filled * self.minhash.bands)]).astype(np.int32)
        columns = [
            pa.array(ids, pa.string()),
            pa.array(sizes),
            pa.array([hashed(name) for name in names], pa.int64()),
            pa.array([None if url is None else hashed(url) for url in urls], pa.int64()),
            pa.array(exact, pa.int64()),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(keys.ravel())),
            *more,
            *self.ordering.keys(rows),
        ]
        nothing = pa.nulls(len(ids), pa.string())
        return pa.RecordBatch.from_arrays([*columns, nothing, nothing], schema=with_verdict(self.schema))


@dataclass
class Repository:
    """What is known of a repository from some of its files: the row of the first, the signature of all and of its own
    files, and a sample of the shingles of its own."""

    head: pa.RecordBatch
    least: np.ndarray
    own_least: np.ndarray
    sample: np.ndarray
    characters: int
    files: int

    def add(self, more: "Repository") -> None:
        self.least = np.minimum(self.least, more.least)
        self.own_least = np.minimum(self.own_least, more.own_least)
        self.sample = np.concatenate([self.sample, more.sample])
        if len(self.sample) > 2 * LARGEST_SAMPLE:
            self.sample = np.unique(self.sample)[:LARGEST_SAMPLE]
        self.characters += more.characters
        self.files += more.files


def hashed(*texts: str) -> int:
    digest = xxhash.xxh3_64()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.intdigest() - 2**63


@dataclass(frozen=True)
class Corpus:
    """One dataset's part of the graph: the new one, or an earlier one that it is compared with.

    Args:
        folder: where `signatures/` and `clusters/` are.
        parts: files with the text of each part.
        number: 0 for the new dataset; an earlier one has only the rows that stayed in its parts.
        former: folders where it lay when others were compared with it.
    """

    folder: str
    parts: tuple[str, ...]
    number: int = 0
    former: tuple[str, ...] = ()

    def node(self, part: int) -> int:
        """The node of a part's first document."""
        base = EARLIER | (self.number - 1) << CORPUS_BITS if self.number else 0
        return base | part << NODE_BITS

    def lost(self, part: int) -> np.ndarray:
        """Places, sorted, of the documents of an earlier corpus that went."""
        if not self.number:
            return np.empty(0, np.int64)
        signed = storage.read_parquet(signature_path(self.folder, part), ["text_hash"], 1 << 16)
        nothing_left = np.concatenate(
            [np.empty(0, bool), *(batch["text_hash"].is_null().to_numpy(False) for batch in signed)]
        )
        return np.sort(np.concatenate([np.flatnonzero(nothing_left), self.places(part)]))

    def places(self, part: int) -> np.ndarray:
        """Places of the documents that went as another's duplicates."""
        fates = [batch["place"].to_numpy() for batch in self.fates(part, ["place"])]
        return np.concatenate([np.empty(0, np.int64), *fates])

    def winners(self, part: int, places: np.ndarray) -> dict[int, tuple[str, str]]:
        """Of an earlier corpus: for those of the places whose document went, what was kept for it, and in which
        folder."""
        found = {}
        for batch in self.fates(part, ["place", "winner", "corpus"]) if self.number else ():
            for row in batch.filter(pa.array(np.isin(batch["place"].to_numpy(), places))).to_pylist():
                found[row["place"]] = row["winner"], row["corpus"] or self.folder
        return found

    def fates(self, part: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        path = fate_path(self.folder, part)
        if storage.exists(path):
            yield from storage.read_parquet(path, columns, 1 << 16)


def corpus_of(corpora: tuple[Corpus, ...], part: int) -> tuple[Corpus, int]:
    """The corpus and the number in it of a part as `part` (the upper bits of a node) names it."""
    if part < EARLIER >> NODE_BITS:
        return corpora[0], part
    number = (part >> (CORPUS_BITS - NODE_BITS)) & ((1 << (62 - CORPUS_BITS)) - 1)
    return corpora[number + 1], part & ((1 << (CORPUS_BITS - NODE_BITS)) - 1)


def number_of(corpora: tuple[Corpus, ...], folder: str) -> int:
    return next(c.number for c in corpora if c.number and folder in (c.folder, *c.former))


def open_earlier(
    folders: list[str], minhash: MinHash, unit: Unit, texts: bool = True
) -> tuple[list[Corpus], list[Stage]]:
    """Earlier corpora and, with each, those that it was compared with itself, wherever they lie now.

    Args:
        texts: are their parts needed too, beside the signatures?

    Raises:
        LodeError: naming the folder that is none, that is not whole, or whose signatures cannot be compared with ours.
    """
    corpora: dict[str, Corpus] = {}
    stages: list[Stage] = []
    queue = [(storage.absolute(folder), "", "") for folder in folders]
    while queue:
        folder, fingerprint, named_by = queue.pop(0)
        manifest = storage.read_json(storage.join(folder, MANIFEST)) or {}
        fingerprint = fingerprint or manifest.get("fingerprint", "")
        if fingerprint in corpora:
            corpus = corpora[fingerprint]
            corpora[fingerprint] = dataclasses.replace(corpus, former=(*corpus.former, folder))
            continue
        if named_by and manifest.get("fingerprint") != fingerprint:
            raise LodeError(
                f"against {named_by}: it was compared with {folder}, which is gone or was made anew; if it was moved, "
                "give its new folder with --against too."
            )
        about = manifest.get("deduplication")
        if not about:
            raise LodeError(
                f"against {folder}: not the folder of a finished `lode dedup` (or of a `deduplicated` stage)."
            )
        ours = {"unit": unit, **identity(minhash, unit)}
        for name, value in ours.items():
            if about.get(name) != value:
                what = f"{name} {about.get(name)!r}, now it is {value!r}"
                how = "use the same settings"
                if name in ("bands", "rows"):
                    how = f"give --bands {about['bands']} --rows {about['rows']} (bands and rows in a recipe)"
                if name in ("probe", "sample_bits"):
                    what = "another version of Lode's tokenizer"
                    how = "sign that corpus again"
                raise LodeError(f"against {folder}: its signatures were made with {what}; {how}.")
        corpora[fingerprint] = Corpus(folder, whole_parts(folder, texts), len(corpora) + 1)
        stages.append(Stage(folder, manifest))
        queue += [(other["folder"], other["fingerprint"], folder) for other in about["against"]]
    if len(corpora) > 1 << (62 - CORPUS_BITS):
        raise LodeError(f"against: {len(corpora)} earlier corpora are more than can be told apart.")
    return list(corpora.values()), stages


def whole_parts(folder: str, texts: bool) -> tuple[str, ...]:
    """The parts of an earlier corpus. Raises LodeError where one, or its signatures, is not there."""
    signed, there = (
        {name for name in storage.visible_names(place) if re.fullmatch(r"part-\d+\.parquet", name)}
        for place in (storage.join(folder, "signatures"), folder)
    )
    names = sorted(signed | there)
    missing = [f"signatures/{name}" for name in names if name not in signed]
    missing += [name for name in names if texts and name not in there]
    if missing or not names:
        raise LodeError(
            f"against {folder}: {missing[0] if missing else 'signatures/'} is not there any more."
        )
    return tuple(storage.join(folder, name) for name in names)


def identity(minhash: MinHash, unit: Unit) -> dict[str, Any]:
    """What two signatures must share to be compared."""
    sampled = {"sample_bits": SAMPLE_BITS} if unit == "repository" else {}
    return {**dataclasses.asdict(minhash), "probe": probe(minhash), **sampled}


@dataclass(frozen=True)
class ReadKeys:
    """mapInArrow function over numbers of parts: rows of `KEYED`, one for each key of each document.

    Of an earlier corpus only documents that share a key with the new one are of interest; `seen` is the file of a
    bit table of the new keys. Of a document that went only its URL and its text are compared: what was near to it alone
    is near to nothing that stayed.
    """

    parts: tuple[tuple[Corpus, int], ...]
    seen: str | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self.keys(*self.parts[number])

    def keys(self, corpus: Corpus, part: int) -> Iterator[pa.RecordBatch]:
        first = 0
        lost = corpus.lost(part)
        for rank, text, kinds in read_keys(signature_path(corpus.folder, part)):
            places = first + np.arange(len(rank))
            first += len(rank)
            stayed = ~np.isin(places, lost)
            node = corpus.node(part) + places
            for kind, keys, which in kinds:
                passes = stayed[which] if kind >= BAND else np.ones(len(which), bool)
                if corpus.number and self.seen:
                    passes &= in_table(load_hashes(self.seen), kind, keys)
                if passes.any():
                    which = which[passes]
                    yield keyed(kind, keys[passes], rank[which], text[which], node[which])


# A kind, the keys of that kind, and the index of the document that each belongs to.
Keys = tuple[int, np.ndarray, np.ndarray]


def read_keys(path: str) -> Iterator[tuple[np.ndarray, np.ndarray, list[Keys]]]:
    """rank [D], hash of the text [D] and all keys of the documents of a signature file, in batches."""
    for batch in storage.read_parquet(path, ["rank", "url_hash", "text_hash", "bands"], 1 << 14):
        kinds = [
            (kind, batch[name].drop_null().to_numpy(), np.flatnonzero(batch[name].is_valid()))
            for kind, name in ((URL, "url_hash"), (TEXT, "text_hash"))
        ]
        filled = np.flatnonzero(batch["bands"].value_lengths().to_numpy())
        if len(filled):
            bands = batch["bands"].flatten().to_numpy().reshape(len(filled), -1)
            kinds += [(BAND + band, keys, filled) for band, keys in enumerate(bands.T)]
        yield batch["rank"].to_numpy(), batch["text_hash"].fill_null(0).to_numpy(), kinds


@dataclass(frozen=True)
class ReadSamples:
    """mapInArrow function over numbers of parts: rows of `SAMPLED`, for each repository that stays so far.

    Args:
        near: the folder of the fates of those of the new dataset that do not.
        seen: as in `ReadKeys`.
    """

    parts: tuple[tuple[Corpus, int], ...]
    near: str
    seen: str | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self.samples(*self.parts[number])

    def samples(self, corpus: Corpus, part: int) -> Iterator[pa.RecordBatch]:
        lost = corpus.lost(part) if corpus.number else Corpus(self.near, ()).places(part)
        first = 0
        for documents, which, keys, sizes in read_samples(signature_path(corpus.folder, part)):
            stayed = ~np.isin(first + which, lost)
            if corpus.number and self.seen:
                stayed &= in_table(load_hashes(self.seen), SAMPLE, keys)
            node = corpus.node(part) + first + which
            first += documents
            if stayed.any():
                columns = [pa.array(column[stayed]) for column in (keys, node, sizes)]
                yield pa.RecordBatch.from_arrays(columns, schema=SAMPLED)


def read_samples(path: str) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """The number of repositories of a batch of a signature file, and of each sampled shingle the index of its
    repository, its hash and the size of the sample."""
    for batch in storage.read_parquet(path, ["sample"], 32):
        sizes = batch["sample"].value_lengths().to_numpy().astype(np.int32)
        which = np.repeat(np.arange(len(sizes)), sizes)
        yield len(sizes), which, batch["sample"].flatten().to_numpy(), sizes[which]


# The bits of one key in eight documents' worth of table: 1 in 9 of the earlier keys passes by chance, up to 256 MB.
TABLE_BITS_A_KEY, TABLE_BITS = 8, (16, 31)


def key_table(paths: list[str], documents: int, bands: int) -> np.ndarray:
    """A bit table [2^k / 8] uint8 of all keys of some signature files."""
    table = empty_table(documents * (bands + 2))
    for path in paths:
        for _, _, kinds in read_keys(path):
            for kind, keys, _ in kinds:
                byte, bit = table_place(len(table), kind, keys)
                np.bitwise_or.at(table, byte, bit)
    return table


def sample_table(paths: list[str]) -> np.ndarray:
    """The same of the sampled shingles."""
    table = empty_table(sum(len(keys) for path in paths for _, _, keys, _ in read_samples(path)))
    for path in paths:
        for _, _, keys, _ in read_samples(path):
            byte, bit = table_place(len(table), SAMPLE, keys)
            np.bitwise_or.at(table, byte, bit)
    return table


def empty_table(keys: int) -> np.ndarray:
    wanted = max(1, keys * TABLE_BITS_A_KEY).bit_length()
    return np.zeros(1 << (min(max(wanted, TABLE_BITS[0]), TABLE_BITS[1]) - 3), np.uint8)


def table_place(size: int, kind: int, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = (keys.view(np.uint64) + np.uint64(kind + 1)) * np.uint64(0x9E3779B97F4A7C15)
    place = spread >> np.uint64(64 - (size.bit_length() - 1 + 3))
    return (place >> np.uint64(3)).astype(np.int64), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8)


def in_table(table: np.ndarray, kind: int, keys: np.ndarray) -> np.ndarray:
    byte, bit = table_place(len(table), kind, keys)
    return (table[byte] & bit) != 0


@dataclass(frozen=True)
class ReadSets:
    """mapInArrow function: rows (part, place, hub, other), sorted by part and place, to rows of `COMPARISON`."""

    corpora: tuple[Corpus, ...]
    units: Units
    profile: Profile
    ngram: int
    schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for part, wanted in by_bucket(batches, "part"):
            asked = pa.Table.from_batches(wanted)
            corpus, number = corpus_of(self.corpora, part)
            places = asked["place"].to_numpy()
            lost = corpus.lost(number)
            # An earlier corpus's part has only what stayed of the documents that were signed.
            rows = places - np.searchsorted(lost, places)
            held: list[dict[str, Any]] = []
            size = 0
            # The lines that repeat were taken out of an earlier corpus when it was written.
            units = Units(self.units.unit) if corpus.number else self.units
            for place, what in self.sets(units, corpus.parts[number], np.unique(rows)):
                first, last = np.searchsorted(rows, [place, place + 1])
                for row in asked.slice(first, last - first).to_pylist():
                    held.append(
                        {
                            "hub": row["hub"],
                            "other": row["other"],
                            "node": part << NODE_BITS | row["place"],
                            **what,
                        }
                    )
                    size += len(what["hashes"])
                    if size > 4 << 20:
                        yield pa.RecordBatch.from_pylist(held, self.schema)
                        held, size = [], 0
            if held:
                yield pa.RecordBatch.from_pylist(held, self.schema)

    def sets(self, units: Units, path: str, wanted: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        """Place and content of the documents of a part that are wanted (sorted)."""
        batches = ((places, batch) for places, batch, _ in units.read(path))
        if units.unit == "repository":
            files = (
                row
                for places, batch in batches
                for row in zip(places.tolist(), batch["text"], own_files(batch).tolist(), strict=True)
            )
            places_wanted = set(wanted.tolist())
            for place, run in itertools.groupby(files, key=lambda row: row[0]):
                if place in places_wanted:
                    own, others = (Union(self.profile, self.ngram) for _ in range(2))
                    for _, text, is_own in run:
                        (own if is_own else others).add(text.as_py() or "")
                    shingles = own.shingles()
                    yield place, comparison(shingles if shingles.count else others.shingles(), None)
            return
        for places, batch in batches:
            here = places[np.isin(places, wanted)]
            if not len(here):
                continue
            # Only the texts that are wanted become Python's.
            texts = [text or "" for text in batch["text"].take(pa.array(here - places[:1])).to_pylist()]
            sets = ShingleSet.of_documents(texts, self.profile, self.ngram)
            formulas: list[Any] = [None] * len(texts)
            if self.profile == "math":
                formulas = Formulas.of_documents(texts)
            for place, shingles, found in zip(here.tolist(), sets, formulas, strict=True):
                yield place, comparison(shingles, found)


@dataclass(frozen=True)
class ReadMembers:
    """mapInArrow function: rows (part, place, cluster), sorted by part and place, with what is known of each."""

    corpora: tuple[Corpus, ...]
    schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for part, rows in by_bucket(batches, "part"):
            asked = pa.Table.from_batches(rows)
            corpus, number = corpus_of(self.corpora, part)
            places = asked["place"].to_numpy()
            winners = corpus.winners(number, places)
            # An earlier corpus may have been made by another rule of who stays; what it kept stays anyway.
            columns = [n for n in self.schema.names if n not in ("node", "cluster", "corpus")]
            columns = [n for n in columns if not (corpus.number and n.startswith("keep_"))]
            first = 0
            path = signature_path(corpus.folder, number)
            for batch in storage.read_parquet(path, columns, 1 << 14):
                low, high = np.searchsorted(places, [first, first + batch.num_rows])
                if high > low:
                    here = places[low:high] - first
                    found = dict.fromkeys(self.schema.names, [None] * len(here))
                    found |= batch.take(pa.array(here)).to_pydict()
                    found["node"] = (part << NODE_BITS) + places[low:high]
                    found["cluster"] = asked["cluster"].slice(low, high - low).combine_chunks()
                    found["corpus"] = [corpus.number] * len(here)
                    for row, place in enumerate(places[low:high].tolist() if winners else ()):
                        if place in winners:
                            found["id"][row], folder = winners[place]
                            found["corpus"][row] = number_of(self.corpora, folder)
                    yield pa.RecordBatch.from_pydict(found, self.schema)
                first += batch.num_rows


@dataclass(frozen=True)
class CountLines:
    """mapInArrow function over numbers of parts: for each document the hashes of its lines that may be boilerplate."""

    parts: tuple[str, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for rows in storage.read_parquet(self.parts[number], ["text"]):
                    lines = [line_hashes(text or "") for text in rows["text"].to_pylist()]
                    hashes = np.concatenate([np.empty(0, np.uint64), *lines]).view(np.int64)
                    yield pa.RecordBatch.from_arrays([pa.array(hashes)], names=["line"])


def write_hashes(path: str, hashes: np.ndarray) -> str:
    """Write an array to PATH-<its hash>.npy, for `load_hashes`, which reads a name once; return that name."""
    path = f"{path}-{xxhash.xxh3_64_hexdigest(np.ascontiguousarray(hashes))}.npy"
    with storage.atomic_write(path) as file:
        np.save(file, hashes)
    return path
