"""A synthetic work folder of any size, in the layout that the stages write: what `benchmarks.inspect_speed` asks.

Pages pass `pages`, `quality`, three mining rounds, `mined` and `deduplicated`; files pass `files`, `code_rules` and
`repositories`; a third of the tokens is packed. Everything is written by the code that writes a stage's parts, so
row groups, columns and compression are those of a real folder, and the same rows come out whatever the number of
processes. Domains are Zipf-distributed, lengths log-normal (median 2,000 characters a page); the texts themselves are
cut from 32 KB of prose, so that 130 GB of text take 5 GB on disk. There is no `tokenized` stage: it would hold all
text a second time, and no question reads it.
"""

import concurrent.futures
import functools
import pathlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpus import storage
from corpus.extract import PAGE
from corpus.mining import STATISTIC
from corpus.packing import SEQUENCE
from corpus.repositories import FILE
from corpus.schema import METRICS, VERDICT, document_id
from jobs.deduplicate import FATE
from jobs.worker import Counts, part_name, write_part
from repo_ordering.rows import ACCOUNT, DROPS, ORDERED

PAGES_OF_A_PART, REPOSITORIES_OF_A_PART = 100_000, 600
CHAIN = ("pages", "quality", "mined", "deduplicated")
KEPT = (0.97, 0.93, 0.80, 0.92)
REASONS = (
    (("not_ok_status", "404"), ("not_html", "application/pdf"), ("no_text", "0 characters")),
    (("too_short", "41 words"), ("repeated_word", "0.31"), ("too_many_symbols", "0.14"), ("not_language", "0.42")),
    (("not_collected", "mathematics 0.0230 evidence -2.76 cut 0.00"),),
    (("near_duplicate", ""), ("duplicate_text", ""), ("duplicate_url", "")),
)  # fmt: skip
QUALITY = PAGE.append(pa.field("language_score", pa.float32()))
MINED = pa.schema(
    [
        *QUALITY,
        ("target", pa.string()),
        ("score", pa.float64()),
        ("evidence", pa.float64()),
        ("collected_by", pa.string()),
    ]
)
SCHEMAS = {"pages": PAGE, "quality": QUALITY, "mined": MINED, "deduplicated": MINED}
SCORES = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "url", "domain")),
        ("characters", pa.int32()),
        ("mathematics", pa.float64()),
    ]
)
DOMAINS, FOLDERS, ROUNDS, CUT = 200_000, 5, 3, 0.5
LANGUAGES = tuple(re.findall("..", "endefresruzhjaitptnlpltrkocsvisvarhuukel"))
PROGRAMS = ["Python", "JavaScript", "Java", "C", "C++", "Go", "TypeScript", "Rust", "PHP", "Ruby", "C#"]
PROGRAMS += ["Shell"]
LICENCES = ["MIT", "Apache-2.0", None, "BSD-3-Clause", "GPL-3.0-only", "MPL-2.0", "LGPL-2.1-only"]
LICENCES += ["ISC", "Unlicense"]
BLOCK, BLOCKS, BATCH = 256, 128, 2048
LENGTH, VOCABULARY, HOLE = 4096, 32_000, 4


def zipf(size: int, exponent: float) -> np.ndarray:
    """Cumulative shares [size] of ranks whose shares fall with this exponent."""
    shares = np.cumsum(np.arange(1, size + 1, dtype=np.float64) ** -exponent)
    return shares / shares[-1]


@functools.cache
def prose() -> np.ndarray:
    """The bytes that texts are cut from [BLOCKS, BLOCK], ASCII."""
    draw = np.random.default_rng(1)
    letters = draw.integers(97, 123, (5_000, 9), np.uint8)
    words = [row[:n].tobytes().decode() for row, n in zip(letters, draw.integers(2, 10, 5_000), strict=True)]
    chosen = np.searchsorted(zipf(5_000, 1.0), draw.random(80_000))
    text = "".join(words[at] + (". " if end < 0.08 else "\n" if end > 0.98 else " ")
                   for at, end in zip(chosen, draw.random(80_000), strict=True))  # fmt: skip
    return np.frombuffer(text.encode()[: BLOCK * BLOCKS], np.uint8).reshape(BLOCKS, BLOCK)


def texts(keys: np.ndarray, lengths: np.ndarray) -> list[str]:
    """Of each document a text of its length, decided by its key alone."""
    blocks = -(-lengths // BLOCK)
    ends = np.cumsum(blocks)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - blocks, blocks)
    at = (np.repeat(keys, blocks) + within * np.repeat(keys // BLOCKS | 1, blocks)) % BLOCKS
    whole = prose()[at].tobytes().decode("ascii")
    starts = ((ends - blocks) * BLOCK).tolist()
    return [whole[a : a + n] for a, n in zip(starts, lengths.tolist(), strict=True)]


def page_url(part: int, row: int, domain: int, folder: int, key: int) -> str:
    return f"https://site{domain}.example/folder{folder}/{part}-{row}-{key & 0xFFFF:04x}.html"


@dataclass
class Pages:
    """What is decided about the pages of a part; arrays of one length."""

    part: int

    def __post_init__(self) -> None:
        draw, n = np.random.default_rng([2, self.part]), PAGES_OF_A_PART
        self.key = draw.integers(0, 2**31, n)
        self.domain = np.searchsorted(zipf(DOMAINS, 0.8), draw.random(n))
        self.folder = draw.integers(0, FOLDERS, n)
        self.length = np.clip(draw.lognormal(np.log(2000), 0.8, n), 60, 200_000).astype(np.int64)
        self.language = np.searchsorted(zipf(len(LANGUAGES), 1.4), draw.random(n))
        # One domain in eight writes about mathematics, in some of its folders.
        topic = (self.domain * 2654435761 % 8 == 0) & ((self.domain + self.folder) % 3 > 0)
        self.formulas = np.where(topic, draw.geometric(0.12, n), draw.random(n) < 0.02)
        self.code_blocks = (draw.random(n) < 0.07) * draw.integers(1, 6, n)
        base = np.where(topic, draw.beta(6, 2, n), draw.beta(1, 12, n))
        self.scores = [
            np.clip(base + draw.normal(0, 0.15 / k, n), 0.0005, 0.9995) for k in range(1, ROUNDS + 1)
        ]
        # The stage that drops a page, by its place in the chain; those that stay have the last.
        left = draw.random((len(CHAIN), n)) >= np.array(KEPT)[:, None]
        left[2] &= self.scores[-1] < CUT
        self.fate = np.where(left.any(0), left.argmax(0), len(CHAIN))
        self.fate[0] = len(CHAIN)
        self.reason = draw.random(n)
        self.language_score = draw.beta(30, 1, n).astype(np.float32)
        places = zip(self.domain.tolist(), self.folder.tolist(), self.key.tolist(), strict=True)
        self.url = [page_url(self.part, row, *place) for row, place in enumerate(places)]
        self.id = [document_id("crawl", url) for url in self.url]
        # Few documents have many copies.
        kept = np.flatnonzero(self.fate == len(CHAIN))
        self.winner = kept[(draw.random(n) ** 6 * min(len(kept), 20_000)).astype(np.int64)]
        self.jaccard = draw.uniform(0.8, 1, n)

    def verdict(self, row: int) -> tuple[str, str]:
        stage = int(self.fate[row])
        reasons = REASONS[stage]
        code, detail = reasons[int(self.reason[row] ** 2 * len(reasons))]
        if stage == 3:
            detail = f"cluster {self.cluster(row)} kept {self.id[self.winner[row]]}"
        return code, detail

    def cluster(self, row: int) -> int:
        return self.part << 33 | int(self.winner[row])

    def batches(self, stage: str) -> Iterator[pa.RecordBatch]:
        place, schema = CHAIN.index(stage), SCHEMAS[stage]
        rows = np.flatnonzero(self.fate >= place)
        for start in range(0, len(rows), BATCH):
            at = rows[start : start + BATCH]
            verdicts = [self.verdict(row) if self.fate[row] == place else (None, None) for row in at.tolist()]
            columns = self.columns(at) | {
                "reason": pa.array([v[0] for v in verdicts], pa.string()),
                "detail": pa.array([v[1] for v in verdicts], pa.string()),
            }
            fields = [*schema, *VERDICT]
            yield pa.RecordBatch.from_arrays(
                [
                    columns[f.name].cast(f.type) if f.name in columns else pa.nulls(len(at), f.type)
                    for f in fields
                ],
                schema=pa.schema(fields),
            )

    def columns(self, at: np.ndarray) -> dict[str, pa.Array]:
        score = self.scores[-1][at]
        mathematics = score >= CUT
        languages, sites = (
            pa.array(LANGUAGES),
            pa.array([f"site{d}.example" for d in self.domain[at].tolist()]),
        )
        days = [
            f"2024-{1 + k % 12:02d}-{1 + k % 28:02d}T{k % 24:02d}:{k % 60:02d}:00Z"
            for k in self.key[at].tolist()
        ]
        return {
            "id": pa.array([self.id[row] for row in at.tolist()]),
            "text": pa.array(texts(self.key[at], self.length[at])),
            "source": pa.DictionaryArray.from_arrays(np.zeros(len(at), np.int8), ["crawl"]).cast(pa.string()),
            "url": pa.array([self.url[row] for row in at.tolist()]),
            "domain": sites,
            "language": languages.take(pa.array(self.language[at])),
            "title": pa.array([f"Page {k % 9973} of the site" for k in self.key[at].tolist()]),
            "formulas": pa.array(self.formulas[at]),
            "code_blocks": pa.array(self.code_blocks[at]),
            "characters": pa.array(self.length[at]),
            "words": pa.array(self.length[at] // 6),
            "lines": pa.array(self.length[at] // 180),
            "date": pa.array(days),
            "opt_out": pa.array([[]] * len(at), pa.list_(pa.string())),
            "language_score": pa.array(self.language_score[at]),
            "target": pa.array(np.where(mathematics, "mathematics", "general").tolist()),
            "score": pa.array(score),
            "evidence": pa.array(np.log(score / (1 - score))),
            "collected_by": pa.array(np.where(mathematics, "score", "sample").tolist()),
        }

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the documents that stay, and the tokens of each."""
        rows = np.flatnonzero(self.fate == len(CHAIN))
        return rows, np.maximum(self.length[rows] // 4, 8)


def write_pages(folder: str, part: int) -> dict[str, Any]:
    """One part of every stage that pages pass; returns the counts, and the statistics of each round."""
    pages = Pages(part)
    counts = {s: write_part(f"{folder}/{s}", part, pages.batches(s), SCHEMAS[s]).as_json() for s in CHAIN}
    write_fates(folder, pages)
    rows = np.flatnonzero(pages.fate > 1)
    ids, urls = [pages.id[r] for r in rows.tolist()], [pages.url[r] for r in rows.tolist()]
    sites = [f"site{d}.example" for d in pages.domain[rows].tolist()]
    nothing = pa.nulls(len(rows), pa.string())
    place, found = pages.domain[rows] * FOLDERS + pages.folder[rows], []
    before = np.zeros(len(rows), bool)
    for number, scores in enumerate(pages.scores, 1):
        columns = [
            pa.array(ids),
            pa.array(urls),
            pa.array(sites),
            pa.array(pages.length[rows].astype(np.int32)),
        ]
        columns += [pa.array(scores[rows]), nothing, nothing]
        batch = pa.RecordBatch.from_arrays(columns, schema=pa.schema([*SCORES, *VERDICT]))
        write_part(f"{folder}/mining/round-{number}/scores", part, iter([batch]), SCORES)
        collected = scores[rows] >= CUT
        keys, where = np.unique(place, return_inverse=True)
        sums = [np.bincount(where, mask, len(keys)) for mask in (None, collected, collected & before)]
        found.append((keys, *(column.astype(np.int64) for column in sums)))
        before = collected
    at, lengths = pages.tokens()
    source = np.where(pages.scores[-1][at] >= CUT, "mathematics", "general").tolist()
    pieces = [(pages.id[row], s, 0) for row, s in zip(at.tolist(), source, strict=True)]
    # The budget of the mixture takes all of mathematics and a fifth of the rest.
    used = [s == "mathematics" or pages.reason[row] < 0.2 for row, s in zip(at.tolist(), source, strict=True)]
    packed = write_shard(folder, part, pieces, lengths, np.array(used), fim=False)
    return {"counts": counts, "statistics": found, "packed": packed}


def write_fates(folder: str, pages: Pages) -> None:
    rows = np.flatnonzero(pages.fate == 3).tolist()
    fates = []
    for row in rows:
        reason = pages.verdict(row)[0]
        likeness = float(pages.jaccard[row]) if reason == "near_duplicate" else None
        fates.append({"place": row, "id": pages.id[row], "reason": reason, "cluster": pages.cluster(row),
                      "winner": pages.id[pages.winner[row]], "jaccard": likeness, "containment": likeness})  # fmt: skip
    path = f"{folder}/deduplicated/clusters/{part_name(pages.part)}"
    storage.write_parquet(path, iter([pa.RecordBatch.from_pylist(fates, FATE)]), FATE)


@functools.cache
def token_rows() -> np.ndarray:
    """Sequences of tokens [8, LENGTH]: what shards are made of, one after another."""
    return np.random.default_rng(4).integers(6, VOCABULARY, (8, LENGTH), np.int32)


def write_shard(
    folder: str,
    part: int,
    pieces: list[tuple[str, str, int]],
    lengths: np.ndarray,
    used: np.ndarray,
    fim: bool,
) -> dict[str, Any]:
    """Windows (id, source, chunk) one after another as sequences; those that are not used are dropped."""
    kept = np.flatnonzero(used)
    ends = np.cumsum(lengths[kept])
    sequences = int(ends[-1]) // LENGTH if len(ends) else 0
    full = sequences * LENGTH
    starts = np.minimum(ends - lengths[kept], full)
    ends = np.minimum(ends, full)
    inside = starts < ends
    # A window is cut wherever a sequence ends.
    first, last = starts // LENGTH, np.maximum(ends - 1, 0) // LENGTH
    parts_of = np.where(inside, last - first + 1, 0)
    window = np.repeat(np.arange(len(kept)), parts_of)
    nth = np.arange(len(window)) - np.repeat(np.cumsum(parts_of) - parts_of, parts_of)
    begins = np.maximum(starts[window], (first[window] + nth) * LENGTH)
    stops = np.minimum(ends[window], (first[window] + nth + 1) * LENGTH)
    sequence = begins // LENGTH
    offsets = np.concatenate([[0], np.cumsum(np.bincount(sequence, minlength=sequences))]).astype(np.int32)
    ids, sources, chunks = ([pieces[i][k] for i in kept.tolist()] for k in range(3))
    types = [f.type for f in SEQUENCE.field("documents").type.value_type]
    span = pa.StructArray.from_arrays(
        [
            pa.array(ids, pa.string()).take(pa.array(window)),
            pa.array(sources, pa.string()).take(pa.array(window)),
            *(pa.array(column).cast(kind) for column, kind in zip(
                (begins % LENGTH, stops - begins, np.array(chunks, np.int64)[window] if len(window) else window,
                 np.zeros(len(window), np.int64), begins - starts[window]), types[2:], strict=True)),
        ],
        names=[f.name for f in SEQUENCE.field("documents").type.value_type],
    )  # fmt: skip
    documents = pa.ListArray.from_arrays(pa.array(offsets), span)
    completed = np.bincount(last[inside], minlength=sequences).astype(np.int32)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, sequences, 256):
            rows = min(256, sequences - start)
            tokens = token_rows()[np.random.default_rng([5, part, start]).integers(0, 8, rows)].copy()
            if fim:
                tokens[::2, 7] = HOLE
            flat = pa.array(tokens.reshape(-1))
            lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * LENGTH), flat)
            nothing = pa.nulls(rows, pa.string())
            columns = [
                lists,
                documents.slice(start, rows),
                pa.array(completed[start : start + rows]),
                nothing,
                nothing,
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=pa.schema([*SEQUENCE, *VERDICT]))
        left = [(*pieces[i], "over_mixture") for i in np.flatnonzero(~used).tolist()]
        left += [(*pieces[kept[i]], "remainder") for i in np.flatnonzero(~inside).tolist()]
        if left:
            rows = [
                {"reason": reason, "id": i, "source": s, "detail": f"window {c}"} for i, s, c, reason in left
            ]
            yield pa.RecordBatch.from_pylist(
                rows, pa.schema([*SEQUENCE, ("id", pa.string()), ("source", pa.string()), *VERDICT])
            )

    counts = write_part(f"{folder}/shards", part, batches(), SEQUENCE)
    counts.rows_in, counts.rows_out = len(pieces), int(inside.sum())
    by_source: Counter[str] = Counter()
    for source in set(sources):
        by_source[source] = int((stops - begins)[np.array(sources)[window] == source].sum())
    return {"counts": counts.as_json(), "tokens": dict(by_source), "windows": dict(Counter(sources))}


def write_code(folder: str, part: int, number: int) -> dict[str, Any]:
    """One part of every stage that files pass; `number` is the part's place in the shards."""
    draw = np.random.default_rng([6, part])
    stages = ("files", "code_rules")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*stages, "repositories", "accounts")}
    for repository in range(REPOSITORIES_OF_A_PART):
        name = f"owner{part}/tool{repository}"
        count = int(np.clip(draw.lognormal(np.log(15), 1.0), 2, 400))
        language = PROGRAMS[int(np.searchsorted(zipf(len(PROGRAMS), 1.0), draw.random()))]
        licence = LICENCES[int(np.searchsorted(zipf(len(LICENCES), 1.0), draw.random()))]
        lengths = np.clip(draw.lognormal(np.log(3000), 1.0, count), 20, 300_000).astype(np.int64)
        leaves = draw.random(count)
        files = []
        for k, text in enumerate(texts(draw.integers(0, 2**31, count), lengths)):
            path = f"{name}/source/folder{k % 7}/file{k}.txt"
            row = {"id": document_id("shelf", path), "text": text, "source": "shelf", "language": language,
                   "repository": name, "path": path, "size": len(text), "licence": licence, "encoding": "utf-8",
                   "vendored": False, "stars": 7, "forks": 1, "blob": f"{k:040x}",
                   "reason": "binary" if leaves[k] < 0.05 else None, "detail": None}  # fmt: skip
            rows["files"].append(row)
            if leaves[k] >= 0.05:
                reason = "line_too_long" if leaves[k] < 0.1 else "few_letters" if leaves[k] < 0.12 else None
                rows["code_rules"].append(row | {"reason": reason})
                if reason is None:
                    files.append(row)
        starts = np.cumsum([0, *(row["size"] for row in files)]).tolist()
        pairs = draw.integers(0, max(len(files), 1), (len(files) * 2, 2)).tolist() if files else []
        edges = [{"source": files[max(a, b)]["path"], "target": files[min(a, b)]["path"], "kind": "import",
                  "guarded": False, "confidence": 1.0} for a, b in pairs if a != b]  # fmt: skip
        spans = [{"path": row["path"], "language": language, "start": a, "end": a + row["size"]}
                 for row, a in zip(files, starts, strict=False)]  # fmt: skip
        rows["repositories"].append(
            {"id": document_id("shelf", name), "text": "".join(row["text"] for row in files) or " ", "source": "shelf",
             "language": language, "repository": name, "files": spans, "edges": len(edges), "edges_satisfied": 1.0,
             "order": "dependency", "dependencies": edges, "unparsed": [], "stubs": [], "sample": "repository",
             "samples": [{"start": 0, "end": starts[-1]}], "edges_in_sample": 1.0, "skeletons": [],
             "edges_by_skeleton": 0.0}
        )  # fmt: skip
        drops = [("files", "binary"), ("code_rules", "line_too_long"), ("code_rules", "few_letters")]
        shares = [(leaves < 0.05), (leaves >= 0.05) & (leaves < 0.1), (leaves >= 0.1) & (leaves < 0.12)]
        account = [dict(zip(DROPS, (*drop, int(mask.sum()), int(lengths[mask].sum()), 0), strict=True))
                   for drop, mask in zip(drops, shares, strict=True) if mask.any()]  # fmt: skip
        rows["accounts"].append({"source": "shelf", "repository": name, "files": count, "kept": len(files),
                                 "dropped": account, "edges": len(edges), "edges_lost": 0, "lost": [],
                                 "decision": "kept", "stubs": 0})  # fmt: skip
    judged = pa.schema([*FILE, *VERDICT])
    counts = {}
    for stage in stages:
        batches = (
            pa.RecordBatch.from_pylist(rows[stage][i : i + 512], judged)
            for i in range(0, len(rows[stage]), 512)
        )
        counts[stage] = write_part(f"{folder}/{stage}", part, batches, FILE).as_json()
    whole = rows["repositories"]
    batches = (
        pa.RecordBatch.from_pylist(whole[i : i + 64], pa.schema([*ORDERED, *VERDICT]))
        for i in range(0, len(whole), 64)
    )
    made = write_part(f"{folder}/repositories", part, batches, ORDERED)
    made.rows_in = made.rows_out = sum(len(row["files"]) for row in whole)
    counts["repositories"] = made.as_json()
    path = f"{folder}/repositories/accounts/{part_name(part)}"
    storage.write_parquet(path, iter([pa.RecordBatch.from_pylist(rows["accounts"], ACCOUNT)]), ACCOUNT)
    pieces, sizes = [], []
    for row in whole:
        tokens = max(len(row["text"]) // 4, 8)
        for chunk, start in enumerate(range(0, tokens, LENGTH)):
            pieces.append((row["id"], "shelf", chunk))
            sizes.append(min(LENGTH, tokens - start))
    packed = write_shard(folder, number, pieces, np.array(sizes), np.ones(len(pieces), bool), fim=True)
    return {"counts": counts, "packed": packed}


class Folder:
    """The manifests of the work folder."""

    def __init__(self, path: pathlib.Path):
        self.path, self.clock = path, 0

    def manifest(
        self, stage: str, counts: Counts, inputs: list[str], unit: str = "pages", **more: Any
    ) -> None:
        self.clock += 1
        value = {
            "lode": "0.1.0", "stage": stage, "code": "synthetic", "parameters": {"seed": 1},
            "inputs": {f"input {k}": f"mark of {name}" for k, name in enumerate(inputs)},
            "fingerprint": f"mark of {stage}", "unit": unit, "rows_in": counts.rows_in, "rows_out": counts.rows_out,
            "rows_dropped": sum(counts.dropped.values()), "dropped": dict(counts.dropped),
            "rows_written": counts.rows_written, "bytes": counts.bytes, "tokens": counts.tokens or None,
            "started": f"2026-01-01T00:{self.clock:02d}:00.000+00:00", "wall_seconds": 60.0,
            "engine": "spark 4.3.0 local[4]",
        }  # fmt: skip
        storage.write_json(f"{self.path}/{stage}/_lode.json", value | more)


def write_work(path: pathlib.Path, documents: int, processes: int) -> dict[str, int]:
    """A work folder whose final stages hold at least so many documents; returns their numbers by stage."""
    kept = float(np.mean(Pages(0).fate == len(CHAIN))) * PAGES_OF_A_PART
    parts = -(-documents // int(kept))
    shelves = max(1, parts // 4)
    with concurrent.futures.ProcessPoolExecutor(processes) as workers:
        pages = [workers.submit(write_pages, str(path), part) for part in range(parts)]
        code = [workers.submit(write_code, str(path), part, parts + part) for part in range(shelves)]
        web = [task.result() for task in pages]
        shelf = [task.result() for task in code]
    folder, totals = Folder(path), {}

    def total(results: list[dict[str, Any]], stage: str | None = None) -> Counts:
        sums = Counts()
        for result in results:
            sums.add(Counts.from_json(result["counts"][stage] if stage else result["packed"]["counts"]))
        return sums

    for stage, before in zip(CHAIN, (None, *CHAIN), strict=False):
        if stage == "mined":
            rounds = write_rounds(folder, [result["statistics"] for result in web])
            more = {"rounds": rounds, "stopped": f"the limit of {ROUNDS} rounds"}
        totals[stage] = total(web, stage)
        folder.manifest(
            stage, totals[stage], [before] if before else [], **(more if stage == "mined" else {})
        )
    for stage, before in (("files", None), ("code_rules", "files"), ("repositories", "code_rules")):
        totals[stage] = total(shelf, stage)
        folder.manifest(stage, totals[stage], [before] if before else [], "files")
    write_mixture(folder, [*web, *shelf], total([*web, *shelf]))
    write_run(folder)
    return {stage: counts.rows_written for stage, counts in totals.items()}


def write_rounds(folder: Folder, found: list[list[tuple[np.ndarray, ...]]]) -> list[dict[str, Any]]:
    rounds = []
    for number in range(1, ROUNDS + 1):
        at = f"mining/round-{number}"
        sums = np.zeros((3, DOMAINS * FOLDERS), np.int64)
        for part in found:
            keys, *columns = part[number - 1]
            sums[:, keys] += np.stack(columns)
        by_domain = sums.reshape(3, DOMAINS, FOLDERS).sum(2)
        rows = [{"target": "mathematics", "kind": "domain", "key": f"site{d}.example", "pages": int(by_domain[0, d]),
                 "collected": int(by_domain[1, d]), "collected_before": int(by_domain[2, d])}
                for d in np.flatnonzero(by_domain[1]).tolist()]  # fmt: skip
        for place in np.flatnonzero((sums[0] >= 20) & (sums[1] > 0)).tolist():
            site = f"site{place // FOLDERS}.example"
            rows.append({"target": "mathematics", "kind": "path", "key": f"{site} {site}/folder{place % FOLDERS}",
                         "pages": int(sums[0, place]), "collected": int(sums[1, place]),
                         "collected_before": int(sums[2, place])})  # fmt: skip
        batch = pa.RecordBatch.from_pylist(rows, STATISTIC)
        storage.write_parquet(f"{folder.path}/{at}/statistics/part-00000.parquet", iter([batch]), STATISTIC)
        pages, collected, before = (int(n) for n in by_domain.sum(1))
        model = {"positives": 50_000, "negatives": 50_000, "precision": 0.93, "recall": 0.9}
        model |= {"held_out_positives": 5_000, "held_out_negatives": 5_000}
        this = {"cut": CUT, "pages": pages, "collected": collected, "new": collected - before, "domains_over_share": 9,
                "already_collected": before / max(collected, 1), "paths_accepted": 2, "missed": 0}  # fmt: skip
        rounds.append({"mathematics": this})
        counts = Counts(len(rows), len(rows), len(rows))
        everything = Counts(pages, pages, pages)
        folder.manifest(f"{at}/models", Counts(), ["quality"], "examples", models={"mathematics": model})
        folder.manifest(f"{at}/scores", everything, ["quality", f"{at}/models"])
        paths = [row["key"].split(" ")[1] for row in rows if row["kind"] == "path"][:2]
        folder.manifest(f"{at}/statistics", counts, [f"{at}/scores"], "groups", round={"mathematics": this},
                        accepted={"mathematics": paths})  # fmt: skip
    return rounds


def write_mixture(folder: Folder, results: list[dict[str, Any]], counts: Counts) -> None:
    tokens: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    for result in results:
        tokens.update(result["packed"]["tokens"])
        windows.update(result["packed"]["windows"])
    everything = sum(tokens.values())
    mixture = {}
    for source, used in sorted(tokens.items()):
        share = used / everything
        mixture[source] = {"weight": share, "asked": share, "share": share, "tokens": used, "used": used, "epochs": 1.0,
                           "windows": windows[source], "tokens_split": 0}  # fmt: skip
    mixture["shelf"]["fim"] = {"asked": 0.5, "rate": 0.5, "of": windows["shelf"], "cut": windows["shelf"] // 2,
                               "too_long": 0}  # fmt: skip
    special = {"bos": 0, "eos": 1, "pad": 2, "fim_begin": 3, "fim_hole": HOLE, "fim_end": 5}
    shards = {"special_tokens": special, "fim_rate": {"shelf": 0.5}, "fim_windows": windows["shelf"] // 2,
              "sequence_length": LENGTH,
              "vocabulary_size": VOCABULARY, "tokens_per_source": dict(tokens)}  # fmt: skip
    counts.tokens = everything
    folder.manifest(
        "shards", counts, ["deduplicated", "repositories"], "windows", mixture=mixture, shards=shards
    )


def write_run(folder: Folder, steps: int = 5_000) -> None:
    rows: list[dict[str, Any]] = []
    for step in range(steps + 1):
        loss = 9 * (step + 10) ** -0.2
        if step:
            rows.append({"step": step, "tokens": step * 524_288, "loss": loss, "mtp_loss": loss + 0.4, "lr": 4e-4,
                         "grad_norm": 1.0, "tokens_per_second": 4e4, "max_violation": [0.3] * 8,
                         "expert_load": [[8192] * 64] * 8})  # fmt: skip
        if step % 100 == 0:
            rows += [{"step": step, "source": source, "heldout_loss": loss + k / 10, "heldout_tokens": 1 << 20}
                     for k, source in enumerate(("general", "mathematics", "shelf"))]  # fmt: skip
    batch = pa.RecordBatch.from_pylist(rows, METRICS)
    storage.write_parquet(f"{folder.path}/run/metrics.parquet", iter([batch]), METRICS)
    folder.manifest(
        "run", Counts(steps, steps, steps), ["shards"], "sequences", training={"parameters": 10**9}
    )
