"""The decisions of the mining loop (DeepSeekMath, section 2.1): examples, evidence, the cut, paths that widen the net.

score of a page ─► logit ─┬─► sums by domain, host and folder ─► evidence ─► the cut ─► collected
                          └─────────────────────────────────────────┘              └─► shares by domain and path
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from corpus import storage
from corpus.schema import judged
from corpus.urls import canonical_url

EXAMPLE = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("writing", pa.string()),
        ("target", pa.string()),  # null: drawn at random
        ("text", pa.string()),  # null: a page of the pool that is no negative of the target
    ]
)
STATISTIC = pa.schema(
    [
        ("target", pa.string()),
        ("kind", pa.string()),
        ("key", pa.string()),
        ("pages", pa.int64()),
        ("collected", pa.int64()),
        ("collected_before", pa.int64()),
    ]
)
# Path prefixes are looked at to this depth below the host: site/questions/tagged/algebra.
DEPTH = 3
# Logits are summed as whole numbers, so that no order of summing shows: 20 bits behind the point.
UNIT = 1 << 20
# The evidence of pages is counted in bins of a hundredth of a logit; the cut is the edge of one.
BIN, EDGE = 0.01, 4000
OWN_SHARE = 0.3  # of a page's own logit in its evidence; the rest is its neighbours'
SHRINKAGE = 4.0  # pages that a level of the address needs to count as much as the level above it
LEVELS = {"path": DEPTH + 2, "domain": 1, "page": 0}
CHARACTERS_PER_TOKEN = 4


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on `parts` alone: a draw that no worker's stream can change."""
    return xxhash.xxh3_64_intdigest("\n".join(map(str, parts)).encode("utf-8", "surrogatepass")) / 2**64


def url_key(url: str | None) -> int:
    """A number for a page's address that all its spellings share."""
    return xxhash.xxh3_64_intdigest(canonical_url(url or "").encode("utf-8", "surrogatepass"))


def path_prefixes(url: str) -> list[str]:
    """`site.org/a/b/c.html` -> [`site.org`, `site.org/a`, `site.org/a/b`]: the host and the folders that a page lies
    in, to `DEPTH`."""
    bare = canonical_url(url).partition("://")[2].partition("?")[0].partition("#")[0]
    host, *folders = bare.split("/")
    if not host:
        return []
    return ["/".join([host, *folders[:depth]]) for depth in range(min(max(len(folders), 1), DEPTH + 1))]


def levels(url: str | None, domain: str | None, most: int = DEPTH + 2) -> list[str]:
    """The places that a page belongs to, from its domain to its folder: the keys of the evidence."""
    prefixes = path_prefixes(url or "")
    return [f"{domain or ''} ", *prefixes][:most] if domain or prefixes else []


WRITINGS = {
    "unspaced": "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff",
    "hangul": "\u1100-\u11ff\uac00-\ud7af",
    "cyrillic": "\u0400-\u052f",
    "greek": "\u0370-\u03ff",
    "arabic": "\u0600-\u06ff\u0750-\u077f",
    "indic": "\u0900-\u0dff",
}
WRITING = {name: re.compile(f"[{ranges}]") for name, ranges in WRITINGS.items()}
LETTER = re.compile(r"[^\W\d_]")


def writing(text: str) -> str:
    """The script group that a text is written in, by its first 4,000 characters; `latin` where no other has 30 % of
    the letters. Negatives are drawn in the groups of the positives: from English seeds and a crawl in all languages a
    classifier learns to tell English."""
    start = text[:4000]
    if start.isascii():
        return "latin"
    letters = len(LETTER.findall(start))
    return next((name for name, some in WRITING.items() if len(some.findall(start)) > 0.3 * letters), "latin")


@dataclass(frozen=True)
class Rule:
    """One target's decision about a page: the cut on its evidence, paths accepted and rejected by a person, paths
    accepted by statistics, or a seed."""

    target: str
    cut: float = float("inf")
    accepted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    learnt: tuple[str, ...] = ()
    sets: dict[str, frozenset[str]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "sets",
            {name: frozenset(getattr(self, name)) for name in ("accepted", "rejected", "learnt")},
        )

    def person(self, prefixes: list[str]) -> str | None:
        """What a person said about a page with these prefixes: the longest of the annotated ones decides."""
        for prefix in reversed(prefixes):
            if prefix in self.sets["rejected"]:
                return "reject"
            if prefix in self.sets["accepted"]:
                return "accept"
        return None

    def widens(self, url: str | None) -> bool:
        """Whether a page lies under an accepted path, and so is a positive of the next round."""
        if not self.accepted and not self.learnt:
            return False
        prefixes = path_prefixes(url or "")
        said = self.person(prefixes)
        return said == "accept" or (said is None and any(p in self.sets["learnt"] for p in prefixes))

    def collects(self, url: str | None, own: float, evidence: float, seeds: frozenset[int]) -> str | None:
        """Why the page is collected (`score`, `path`, `seed`), or None.

        `path`: a person accepted it, or its neighbours lift it over the cut.
        """
        if self.accepted or self.rejected:
            said = self.person(path_prefixes(url or ""))
            if said:
                return "path" if said == "accept" else None
        if evidence >= self.cut:
            return "score" if own >= self.cut else "path"
        return "seed" if seeds and url_key(url) in seeds else None


def logit(scores: np.ndarray) -> np.ndarray:
    """Logits [N] of probabilities [N], held between -14 and 14: fastText counts in steps of 1e-5 at the ends."""
    held = np.clip(scores, 8e-7, 1 - 8e-7)
    return np.log(held) - np.log1p(-held)


class Evidence:
    """What the pages around a page say: mean logits by domain, host and folder, each drawn towards the level above.

    The evidence of a page with the logit z is `OWN_SHARE` z + (1 - `OWN_SHARE`) m, where m begins as the mean of the
    whole crawl and becomes, level by level down the address, (sum of the other pages' logits + `SHRINKAGE` m) / (their
    number + `SHRINKAGE`): an empirical Bayes estimate for nested groups. It is the paper's rule (domains of which more
    than a tenth was collected, and paths in them) without its steps. The page itself is left out of the sums.

    Files in `folder`: `keys.npy` [K] uint64 sorted hashes of places with more than one page, `pages.npy` [K] int64,
    `sums.npy` [K, T] int64 in units of 2^-20; mapped, so that the workers of a host share them.
    """

    def __init__(self, folder: str, targets: tuple[str, ...], level: str = "path"):
        self.keys, self.pages, self.sums = (
            load_array(storage.join(folder, f"{name}.npy")) for name in ("keys", "pages", "sums")
        )
        self.targets = targets
        self.most = LEVELS[level]

    def of(self, urls: list[str], domains: list[str | None], logits: np.ndarray) -> np.ndarray:
        """Evidence [N, T] of pages with the logits [N, T]."""
        if not self.most:
            return logits
        chains = [levels(url, domain, self.most) for url, domain in zip(urls, domains, strict=True)]
        own = np.rint(logits * UNIT).astype(np.int64)
        whole = self.sums[0] / max(int(self.pages[0]), 1) / UNIT
        mean = np.broadcast_to(whole, logits.shape).copy()
        for level in range(self.most):
            rows = np.array([i for i, chain in enumerate(chains) if len(chain) > level], np.int64)
            if not len(rows):
                break
            keys = np.array([place_key(chains[i][level]) for i in rows], np.uint64)
            at = np.searchsorted(self.keys, keys)
            there = at < len(self.keys)
            there[there] = self.keys[at[there]] == keys[there]
            rows, at = rows[there], at[there]
            others = (self.pages[at] - 1)[:, None]
            mean[rows] = ((self.sums[at] - own[rows]) / UNIT + SHRINKAGE * mean[rows]) / (others + SHRINKAGE)
        return OWN_SHARE * logits + (1 - OWN_SHARE) * mean


def place_key(place: str) -> int:
    """A number for a place; 0 is the whole crawl."""
    return max(xxhash.xxh3_64_intdigest(place.encode("utf-8", "surrogatepass")), 1)


def load_array(path: str) -> np.ndarray:
    fs, inside = storage.filesystem(path)
    if storage.is_local(path):
        return np.load(inside, mmap_mode="r", allow_pickle=False)
    with fs.open(inside, "rb") as file:
        return np.load(file, allow_pickle=False)


@lru_cache(maxsize=4)
def open_evidence(folder: str, targets: tuple[str, ...], level: str, mark: str) -> Evidence:
    """Evidence, opened once in a process. `mark` changes with its content: workers outlive a run."""
    return Evidence(folder, targets, level)


def accept_paths(
    statistics: list[dict[str, Any]], target: str, domain_share: float, path_share: float, min_pages: int
) -> list[str]:
    """Path prefixes accepted without a person: in a domain of which more than `domain_share` is collected (the
    paper's 10 %), a prefix with at least `min_pages` pages of which at least `path_share` is collected. A prefix
    inside an accepted one is left out."""
    mine = [row for row in statistics if row["target"] == target]
    domains = {
        row["key"]
        for row in mine
        if row["kind"] == "domain" and row["collected"] > domain_share * row["pages"]
    }
    accepted: set[str] = set()
    for row in sorted(mine, key=lambda row: row["key"]):
        if row["kind"] != "path" or row["pages"] < min_pages or row["collected"] < path_share * row["pages"]:
            continue
        domain, prefix = row["key"].split(" ", 1)
        folders = prefix.split("/")
        inside = any("/".join(folders[:depth]) in accepted for depth in range(1, len(folders)))
        if domain in domains and not inside:
            accepted.add(prefix)
    return sorted(accepted)


def rank_cut(counts: np.ndarray, most: float) -> float:
    """The lowest edge of a bin from which at most `most` are counted. counts: [2 EDGE + 1] by bins of evidence."""
    above = np.cumsum(counts[::-1])[::-1]
    fits = np.flatnonzero(above <= most)
    return edge_of(int(fits[0])) if len(fits) else edge_of(len(counts))


def bin_of(evidence: np.ndarray) -> np.ndarray:
    """Bins [N] of evidence [N]: 0 to 2 EDGE."""
    return np.clip(np.floor(evidence / BIN).astype(np.int64), -EDGE, EDGE) + EDGE


def edge_of(number: int) -> float:
    """The least evidence that lies in a bin."""
    return round((number - EDGE) * BIN, 2)


def valley(counts: np.ndarray, middle: float) -> float:
    """The emptiest place between 0 and where the known positives lie: evidence in two heaps is cut between them.

    counts: [2 EDGE + 1] pages by bins of evidence; middle: the median evidence of the positives. Where pages only get
    fewer on the way there is one heap, and 0 is returned.
    """
    last = int(min(max(middle, 0.0), 3.0) / BIN)
    width = np.arange(-100, 101) * BIN
    kernel = np.exp(-0.5 * (width / 0.35) ** 2)
    smooth = np.convolve(counts.astype(np.float64), kernel, "same")[EDGE : EDGE + last + 1]
    least = int(np.argmin(smooth)) if len(smooth) else 0
    return edge_of(EDGE + least) if 0 < least < last else 0.0


def whole(path: str) -> pa.Table:
    with storage.open_parquet(path) as file:
        return file.read(use_threads=False).combine_chunks()


def read_beside(paths: tuple[str, ...]) -> Iterator[tuple[pa.RecordBatch, list[pa.Table]]]:
    """Batches of a part, and beside each the same rows of other parts of the same pages."""
    first, *others = paths
    tables = [whole(path) for path in others]
    start = 0
    for batch in storage.read_parquet(first):
        yield batch, [table.slice(start, batch.num_rows) for table in tables]
        start += batch.num_rows


@dataclass(frozen=True)
class Logits:
    """The logits that a round goes by: the mean of its own and those of the round before, for each target.

    Models that were trained from one seed on differ in what they make of pages unlike all others; the mean of two is
    steadier than either.
    """

    targets: tuple[str, ...]

    def of(self, batch: pa.RecordBatch, before: list[pa.Table]) -> np.ndarray:
        """Logits [N, T] of a batch of scores, with the same rows of the round before, if there was one."""
        columns = []
        for target in self.targets:
            found = [logit(rows.column(target).to_numpy(zero_copy_only=False)) for rows in (batch, *before)]
            columns.append(np.mean(found, axis=0))
        return np.stack(columns, axis=1)


SUMS = pa.schema([("key", pa.int64()), ("pages", pa.int64()), ("sums", pa.list_(pa.int64()))])


@dataclass(frozen=True)
class Sums:
    """Function: for one part of the scores and each place in it, pages and sums of logits by target."""

    targets: tuple[str, ...]

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        logits = Logits(self.targets)
        numbers: dict[int, int] = {0: 0}
        rows: list[int] = []
        places: list[int] = []
        values: list[np.ndarray] = []
        count = 0
        for batch, before in read_beside(paths):
            values.append(np.rint(logits.of(batch, before) * UNIT).astype(np.int64))
            for url, domain in zip(batch["url"].to_pylist(), batch["domain"].to_pylist(), strict=True):
                keys = [0, *map(place_key, levels(url, domain))]
                rows += [count] * len(keys)
                places += [numbers.setdefault(key, len(numbers)) for key in keys]
                count += 1
        if not count:
            return
        every = np.concatenate(values)
        order = np.argsort(places, kind="stable")
        at = np.asarray(places)[order]
        starts = np.flatnonzero(np.diff(at, prepend=-1))
        sums = np.add.reduceat(every[np.asarray(rows)[order]], starts, axis=0)
        pages = np.diff(starts, append=len(at))
        keys = np.array(list(numbers), np.uint64).view(np.int64)
        ends = np.arange(0, sums.size + 1, len(self.targets), dtype=np.int32)
        for start in range(0, len(keys), 50_000):
            part = slice(start, start + 50_000)
            block = sums[part]
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(keys[part]),
                    pa.array(pages[part]),
                    pa.ListArray.from_arrays(ends[: len(block) + 1], pa.array(block.ravel())),
                ],
                schema=SUMS,
            )


@dataclass(frozen=True)
class Place:
    """Where a round's evidence lies, and what it says of a part of the scores."""

    folder: str
    mark: str
    targets: tuple[str, ...]
    level: str

    def of(self, batch: pa.RecordBatch, before: list[pa.Table]) -> tuple[np.ndarray, np.ndarray]:
        """Logits [N, T] and evidence [N, T] of a batch of scores."""
        logits = Logits(self.targets).of(batch, before)
        evidence = open_evidence(self.folder, self.targets, self.level, self.mark)
        return logits, evidence.of(batch["url"].to_pylist(), batch["domain"].to_pylist(), logits)


COUNTED = pa.schema(
    [
        ("target", pa.string()),
        *((name, pa.int64()) for name in ("bin", "pages", "characters", "seeds", "known", "held_out")),
    ]
)


@dataclass(frozen=True)
class Spread:
    """Function: how the evidence of one part lies: in each bin the pages, their characters, the seeds among them, the
    known positives (seeds and pages under accepted paths) and those of them that no training sees."""

    place: Place
    rules: tuple[Rule, ...]
    seeds: dict[str, frozenset[int]]
    held_out: float
    seed: int

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        counts: dict[tuple[str, int], list[int]] = {}
        for batch, before in read_beside(paths):
            _, evidence = self.place.of(batch, before)
            bins = bin_of(evidence)
            urls = batch["url"].to_pylist()
            keys = [url_key(url) for url in urls] if any(self.seeds.values()) else [0] * len(urls)
            characters = batch["characters"].to_pylist()
            for t, rule in enumerate(self.rules):
                for row, number in enumerate(bins[:, t].tolist()):
                    entry = counts.setdefault((rule.target, number), [0] * 5)
                    entry[0] += 1
                    entry[1] += characters[row] or 0
                    seed = keys[row] in self.seeds[rule.target]
                    if seed or rule.widens(urls[row]):
                        entry[2] += seed
                        entry[3] += 1
                        entry[4] += fraction(self.seed, "held out", urls[row]) < self.held_out
        if counts:
            columns = [*zip(*counts, strict=True), *zip(*counts.values(), strict=True)]
            yield pa.RecordBatch.from_arrays(
                [pa.array(list(column), kind) for column, kind in zip(columns, COUNTED.types, strict=True)],
                schema=COUNTED,
            )


@dataclass(frozen=True)
class Examples:
    """Function: the training examples that one part of the crawl gives a round.

    The first round draws pages at random, the pool of negatives of all rounds and targets. Later rounds, which read
    the part beside its scores, take pages under accepted paths as positives, with their text, and name without text
    the pages of the pool that the round before collected: they are no negatives. Positives they are not either; each
    round would learn from its own opinion.
    """

    rules: tuple[Rule, ...]
    seeds: dict[str, frozenset[int]]
    draw: float  # share of the pages that is in the pool
    keep: dict[str, float]  # share of the pages under accepted paths that is taken
    seed: int
    last: Place | None  # the evidence of the round before, and its rules
    last_rules: tuple[Rule, ...]

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        part, *scored = paths
        scores = [whole(path) for path in scored]
        start = 0
        with storage.open_parquet(part) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["id", "url"], use_threads=False)
                ids, urls = rows["id"].to_pylist(), rows["url"].to_pylist()
                drawn = [i for i, name in enumerate(ids) if fraction(self.seed, "draw", name) < self.draw]
                chosen: list[tuple[int, str | None]] = self.widened(ids, urls)
                left_out: list[tuple[int, str | None]] = []
                if self.last:
                    left_out = self.collected([start + i for i in drawn], start, scores)
                else:
                    chosen += [(i, None) for i in drawn]
                texts: Any = [None] * len(ids)
                if chosen:  # text is read only where it is wanted
                    texts = file.read_row_group(group, columns=["text"], use_threads=False)[
                        "text"
                    ].to_pylist()
                found = [
                    {"id": ids[i], "url": urls[i], "writing": writing(texts[i] or ""), "target": target,
                     "text": texts[i] or ""}
                    for i, target in chosen
                ]  # fmt: skip
                found += [{"id": ids[i], "url": urls[i], "target": target} for i, target in left_out]
                start += len(ids)
                if found:
                    batch = pa.RecordBatch.from_pylist(found, EXAMPLE)
                    yield judged(batch, [None] * batch.num_rows)

    def widened(self, ids: list[str], urls: list[str | None]) -> list[tuple[int, str | None]]:
        """Pages under accepted paths, and for which target."""
        widening = [rule for rule in self.rules if rule.accepted or rule.learnt]
        return [
            (row, rule.target)
            for rule in widening
            for row, (name, url) in enumerate(zip(ids, urls, strict=True))
            if rule.widens(url)
            and fraction(self.seed, "example", name) < self.keep[rule.target]
            and url_key(url) not in self.seeds[rule.target]
        ]

    def collected(self, rows: list[int], start: int, scores: list[pa.Table]) -> list[tuple[int, str | None]]:
        """Which of these rows the round before collected, and for which target."""
        if not rows or self.last is None:
            return []
        now, *before = [table.take(pa.array(rows)).combine_chunks() for table in scores]
        decided = decide(self.last, self.last_rules, self.seeds, now.to_batches()[0], before)
        return [
            (rows[at] - start, rule.target)
            for t, rule in enumerate(self.last_rules)
            for at in range(len(rows))
            if decided[t][at][0]
        ]


@dataclass(frozen=True)
class Statistics:
    """Function: pages and collected pages by domain and by path prefix in one part, now and a round before."""

    place: Place
    rules: tuple[Rule, ...]
    before: Place | None
    rules_before: tuple[Rule, ...]
    seeds: dict[str, frozenset[int]]

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        counts: dict[tuple[str, str, str], list[int]] = {}
        for batch, earlier in read_beside(paths):
            now = decide(self.place, self.rules, self.seeds, batch, earlier[:1])
            old = None
            if self.before:
                rows = earlier[0].combine_chunks().to_batches()[0]
                old = decide(self.before, self.rules_before, self.seeds, rows, earlier[1:])
            for row, (url, domain) in enumerate(
                zip(batch["url"].to_pylist(), batch["domain"].to_pylist(), strict=True)
            ):
                prefixes = path_prefixes(url or "")
                keys = [("total", ""), ("domain", domain or "")]
                keys += [("path", f"{domain or ''} {prefix}") for prefix in prefixes]
                for t, rule in enumerate(self.rules):
                    here = now[t][row][0] is not None
                    then = here and old is not None and old[t][row][0] is not None
                    for kind, key in keys:
                        entry = counts.setdefault((rule.target, kind, key), [0, 0, 0])
                        entry[0] += 1
                        entry[1] += here
                        entry[2] += then
        items = sorted(counts.items())
        for start in range(0, len(items), 50_000):
            part = items[start : start + 50_000]
            columns = [*zip(*(key for key, _ in part), strict=True), *zip(*(n for _, n in part), strict=True)]
            yield pa.RecordBatch.from_arrays(
                [pa.array(list(column), kind) for column, kind in zip(columns, STATISTIC.types, strict=True)],
                schema=STATISTIC,
            )


def decide(
    place: Place,
    rules: tuple[Rule, ...],
    seeds: dict[str, frozenset[int]],
    batch: pa.RecordBatch,
    before: list[pa.Table],
) -> list[list[tuple[str | None, float, float]]]:
    """For each rule and row of a batch of scores: why it is collected (or None), its own logit and its evidence."""
    logits, evidence = place.of(batch, before)
    urls = batch["url"].to_pylist()
    return [
        [
            (rule.collects(url, own, seen, seeds[rule.target]), own, seen)
            for url, own, seen in zip(urls, logits[:, t].tolist(), evidence[:, t].tolist(), strict=True)
        ]
        for t, rule in enumerate(rules)
    ]


@dataclass(frozen=True)
class Collect:
    """Function: one part of the pages beside its scores: what some target collects stays, the rest is dropped.

    Adds `target`, `score`, `evidence` and `collected_by`. A page that two targets collect goes to the one whose cut
    its evidence exceeds by more. Of the others a share stays as the target `rest`: general text for the mixture.
    """

    place: Place
    rules: tuple[Rule, ...]
    seeds: dict[str, frozenset[int]]
    rest: str | None
    rest_share: float
    seed: int

    def schema(self, rows: pa.Schema) -> pa.Schema:
        added = [
            ("target", pa.string()),
            ("score", pa.float64()),
            ("evidence", pa.float64()),
            ("collected_by", pa.string()),
        ]
        return pa.schema([*rows, *(pa.field(name, kind) for name, kind in added)])

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        for batch, (scores, *before) in read_beside(paths):
            now = scores.combine_chunks().to_batches()[0]
            decided = decide(self.place, self.rules, self.seeds, now, before)
            own = {rule.target: now.column(rule.target).to_pylist() for rule in self.rules}
            chosen, verdicts = [], []
            for row, (name, url) in enumerate(
                zip(batch["id"].to_pylist(), batch["url"].to_pylist(), strict=True)
            ):
                found = [
                    (decided[t][row][2] - rule.cut, rule.target, t)
                    for t, rule in enumerate(self.rules)
                    if decided[t][row][0]
                ]
                _, best, t = max(
                    found or ((decided[t][row][2] - r.cut, r.target, t) for t, r in enumerate(self.rules))
                )
                why, _, evidence = decided[t][row]
                if not found and self.rest and fraction(self.seed, "rest", name) < self.rest_share:
                    best, why = self.rest, "sample"
                score = own[self.rules[t].target][row]
                if why:
                    chosen.append((best, score, evidence, why))
                    verdicts.append(None)
                else:
                    rule = self.rules[t]
                    reason = (
                        "rejected_path"
                        if rule.person(path_prefixes(url or "")) == "reject"
                        else "not_collected"
                    )
                    chosen.append((None, None, None, None))
                    verdicts.append(
                        (reason, f"{rule.target} {score:.4f} evidence {evidence:.2f} cut {rule.cut:.2f}")
                    )
            columns = list(zip(*chosen, strict=True)) or [()] * 4
            for column, values in zip(self.schema(pa.schema([])), columns, strict=True):
                batch = batch.append_column(column.name, pa.array(values, column.type))
            yield judged(batch, verdicts)


def precision_cut(pages: np.ndarray, held_out: np.ndarray, precision: float) -> tuple[float, float]:
    """The lowest edge of a bin from which the pages reach a precision, and the precision estimated there.

    Nobody has labelled the crawl. Of the pages above a cut with the share U(t) of the crawl, the positives are at most
    r R(t), where R(t) is the share of held-out positives above it and r, the share of positives in the crawl, is the
    least U(t) / R(t) there is ("best bin estimation", Garg et al. 2021, arXiv 2111.00980). Held-out positives lie in
    domains that training saw and so lie high; the estimate errs on the low side. Where no cut reaches the precision,
    the one that comes closest is taken.

    Args:
        pages, held_out: [2 EDGE + 1] by bins of evidence.
    """
    above = np.cumsum(pages[::-1])[::-1]
    known = np.cumsum(held_out[::-1])[::-1]
    trusted = np.flatnonzero((known >= max(10.0, 0.05 * known[0])) & (above > 0))
    if not len(trusted):
        return edge_of(EDGE), 0.0
    ratios = known[trusted] / above[trusted]
    estimates = ratios / ratios.max()
    reached = np.flatnonzero(estimates >= precision)
    chosen = int(reached[0]) if len(reached) else int(np.argmax(estimates))
    return edge_of(int(trusted[chosen])), float(estimates[chosen])
