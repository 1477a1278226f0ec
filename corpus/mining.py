"""The decisions of the mining loop (DeepSeekMath, section 2.1): examples, the cut, URL paths that widen the net."""

from collections.abc import Iterator
from dataclasses import dataclass
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
        ("target", pa.string()),
        ("positive", pa.bool_()),
        ("held_out", pa.bool_()),
        ("text", pa.string()),
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


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on `parts` alone: a draw that no worker's stream can change."""
    return xxhash.xxh3_64_intdigest("\n".join(map(str, parts)).encode()) / 2**64


def url_key(url: str | None) -> int:
    """A number for a page's address that all its spellings share."""
    return xxhash.xxh3_64_intdigest(canonical_url(url or "").encode("utf-8", "surrogatepass"))


def path_prefixes(url: str) -> list[str]:
    """`site.org/a/b/c.html` -> [`site.org/a`, `site.org/a/b`]: the folders a page lies in, to `DEPTH`."""
    bare = canonical_url(url).partition("://")[2].partition("?")[0].partition("#")[0]
    host, *folders = bare.split("/")
    return ["/".join([host, *folders[:depth]]) for depth in range(1, min(len(folders), DEPTH + 1))]


@dataclass(frozen=True)
class Rule:
    """One target's decision about a page: a score at the cut, an accepted path, or a seed."""

    target: str
    cut: float
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_paths", frozenset(path.rstrip("/") for path in self.paths))

    def accepts(self, url: str) -> bool:
        """Whether a page lies under an accepted path."""
        return bool(self.paths) and any(prefix in self._paths for prefix in path_prefixes(url or ""))

    def collects(self, url: str, score: float, seeds: frozenset[int]) -> str | None:
        """Why the page is collected (`score`, `path`, `seed`), or None."""
        if score >= self.cut:
            return "score"
        if self.accepts(url):
            return "path"
        return "seed" if url_key(url) in seeds else None


def choose_cut(positives: np.ndarray, negatives: np.ndarray, precision: float) -> tuple[float, float, float]:
    """The lowest score, one half at least, from which held-out examples reach a precision.

    Negatives are drawn from the crawl and some of them are unlabelled positives, so the precision is a lower
    bound. Returns (cut, precision, recall); where no cut reaches it, the one that comes closest.
    """
    best = (0.5, 0.0, 0.0)
    for cut in sorted({0.5, *(float(s) for s in (*positives, *negatives) if s > 0.5)}):
        hits, misses = int((positives >= cut).sum()), int((negatives >= cut).sum())
        if not hits:
            break
        here = (cut, hits / (hits + misses), hits / len(positives))
        if here[1] >= precision:
            return here
        if here[1] > best[1]:
            best = here
    return best


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
        inside = any("/".join(folders[:depth]) in accepted for depth in range(1, len(folders) + 1))
        if domain in domains and not inside:
            accepted.add(prefix)
    return sorted(accepted)


def read_scored(paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """A part of pages beside its parts of scores, row by row: the score columns are added as `name@k`."""
    pages, *scores = paths
    tables = [
        pa.Table.from_batches(list(storage.read_parquet(path)), storage.parquet_schema(path))
        for path in scores
    ]
    start = 0
    for batch in storage.read_parquet(pages):
        for k, table in enumerate(tables):
            here = table.slice(start, batch.num_rows)
            for name in table.schema.names:
                if name not in ("id", "url", "domain"):
                    batch = batch.append_column(f"{name}@{k}", here.column(name).combine_chunks())
        start += batch.num_rows
        yield batch


@dataclass(frozen=True)
class Examples:
    """Function: the training examples that one part of the crawl gives a round.

    Positives are the pages under accepted paths that the classifier missed, negatives are drawn at random from all
    others but the seeds. Pages that only the classifier itself called positive can be drawn: taken out, each round
    would learn from its own opinion and the net would widen for ever.
    """

    rules: tuple[Rule, ...]  # of the round before; none in the first round
    targets: tuple[str, ...]
    seeds: dict[str, frozenset[int]]
    negative_share: dict[str, float]
    held_out: float
    seed: int
    round: int

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        rules = {rule.target: rule for rule in self.rules}
        for batch in read_scored(paths):
            rows = []
            for row in batch.to_pylist():
                for target in self.targets:
                    rule = rules.get(target)
                    known = url_key(row["url"]) in self.seeds[target]
                    score = row.get(f"{target}@0", 0.0)
                    accepted = rule is not None and rule.accepts(row["url"])
                    missed = accepted and score < rule.cut
                    drawn = fraction(self.seed, self.round, target, row["id"]) < self.negative_share[target]
                    if known or not (missed if accepted else drawn):
                        continue
                    held_out = fraction(self.seed, "held out", row["id"]) < self.held_out
                    rows.append(
                        {"id": row["id"], "target": target, "positive": missed,
                         "held_out": held_out, "text": row["text"], "reason": None, "detail": None}
                    )  # fmt: skip
            if rows:
                yield pa.RecordBatch.from_pylist(
                    rows, pa.schema([*EXAMPLE, ("reason", pa.string()), ("detail", pa.string())])
                )


@dataclass(frozen=True)
class Statistics:
    """Function: pages and collected pages by domain and by path prefix in one part, now and a round before."""

    rules: tuple[Rule, ...]
    before: tuple[Rule, ...]
    seeds: dict[str, frozenset[int]]

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        counts: dict[tuple[str, str, str], list[int]] = {}
        earlier = {rule.target: rule for rule in self.before}
        for batch in read_scored((paths[0], *paths)):
            for row in batch.to_pylist():
                for rule in self.rules:
                    seeds = self.seeds[rule.target]
                    now = rule.collects(row["url"], row[f"{rule.target}@0"], seeds) is not None
                    old = rule.target in earlier and (
                        earlier[rule.target].collects(row["url"], row[f"{rule.target}@1"], seeds) is not None
                    )
                    domain = row["domain"] or ""  # loose files have none
                    keys = [("total", ""), ("domain", domain)]
                    keys += [("path", f"{domain} {prefix}") for prefix in path_prefixes(row["url"] or "")]
                    for kind, key in keys:
                        entry = counts.setdefault((rule.target, kind, key), [0, 0, 0])
                        entry[0] += 1
                        entry[1] += now
                        entry[2] += now and old
        rows = [
            {
                "target": t,
                "kind": kind,
                "key": key,
                "pages": n[0],
                "collected": n[1],
                "collected_before": n[2],
            }
            for (t, kind, key), n in sorted(counts.items())
        ]
        for start in range(0, len(rows), 10_000):
            yield pa.RecordBatch.from_pylist(rows[start : start + 10_000], STATISTIC)


@dataclass(frozen=True)
class Collect:
    """Transform over pages read with their scores: keep what some target collects, drop the rest.

    Adds `target`, `score` and `collected_by`. A page that two targets collect goes to the one whose cut its
    score exceeds by more. Of the others a share stays as the target `rest`: general text for the mixture.
    """

    rules: tuple[Rule, ...]
    seeds: dict[str, frozenset[int]]
    rest: str | None
    rest_share: float
    seed: int

    def schema(self, rows: pa.Schema) -> pa.Schema:
        added = [("target", pa.string()), ("score", pa.float32()), ("collected_by", pa.string())]
        return pa.schema([*rows, *(pa.field(name, kind) for name, kind in added)])

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            chosen, verdicts = [], []
            ids = batch["id"].to_pylist()
            scores = {rule.target: batch[f"{rule.target}@0"].to_pylist() for rule in self.rules}
            for row, url in enumerate(batch["url"].to_pylist()):
                found = []
                for rule in self.rules:
                    score = scores[rule.target][row]
                    if why := rule.collects(url, score, self.seeds[rule.target]):
                        found.append((score - rule.cut, rule.target, score, why))
                best = max(found, default=None)
                top = max((s[row], t) for t, s in scores.items())
                if best is None and self.rest and fraction(self.seed, "rest", ids[row]) < self.rest_share:
                    best = (0.0, self.rest, top[0], "sample")
                chosen.append(best[1:] if best else (None, None, None))
                verdicts.append(None if best else ("not_collected", f"{top[1]} {top[0]:.4f}"))
            columns = list(zip(*chosen, strict=True))
            batch = batch.select([name for name in batch.schema.names if "@" not in name])
            for name, kind, values in zip(
                ("target", "score", "collected_by"),
                (pa.string(), pa.float32(), pa.string()),
                columns,
                strict=True,
            ):
                batch = batch.append_column(name, pa.array(values, kind))
            yield judged(batch, verdicts)
