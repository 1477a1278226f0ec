"""Are the near-duplicates found the right ones? Five measurements, each against something known beforehand.

    python -m benchmarks.near_duplicates [--pairs 5000] [--only curve candidates crawl formulas partitions]

curve: pairs of known Jaccard similarity s, random sets and real text, become candidates at the rate
    1 - (1 - s^rows)^bands, within 0.02 in each band of s of width 0.05 from 0.3 to 1.
candidates: for equal signatures of 20,000 documents the candidate pairs are `datasketch.MinHashLSH`'s, and the clusters
    of the job (without the exact check) are the connected components of those pairs by scipy.
crawl: of the record pairs that the sample crawl lists with word-5-gram Jaccard >= 0.8, and of all pairs of extracted
    pages that have it, how many end in one cluster at the default setting, what became of the others, and which pairs
    were merged below 0.5.
formulas: the sample's pages of mathematics, each with variants in which only formulas differ (their numbers, variables
    or operators; one formula, a fifth, all of them): how many are merged with their original, or with each other.
partitions: the same rows in 1, 4 and 16 parts, in order and shuffled, give the same survivors.
"""

import argparse
import collections
import csv
import functools
import gzip
import os
import pathlib
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from resiliparse.extract.html2text import extract_plain_text

from benchmarks.dedup_corpus import UNSPACED, found_here, jaccard, pieces, real_texts, shingles, variant
from benchmarks.record import SAMPLE, record
from corpus import storage
from corpus.charset import decode
from corpus.extract import extract_pages
from corpus.minhash import Formulas, MinHash, ShingleSet
from corpus.schema import DOCUMENT
from corpus.warc import read_warc

FIRST, WIDTH = 0.3, 0.05
BANDS_OF_S = round((1 - FIRST) / WIDTH)
SETTINGS = ((14, 8), (9, 13), (20, 5), (32, 4))
# Each pair is tried with so many sets of permutations: 20,000 trials a band of s leave chance 0.0035 of the 0.02.
SEEDS = range(4)
BATCH = 512
Pair = tuple[str, str, float]


def band_of(similarity: float) -> int:
    """The band of s a similarity lies in; -1 for none (equal sets are in none)."""
    return int((similarity - FIRST) / WIDTH + 1e-9) if FIRST <= similarity < 1 else -1


def band_name(band: int) -> str:
    return f"{FIRST + band * WIDTH:.2f}-{FIRST + (band + 1) * WIDTH:.2f}"


def random_sets(pairs: int, random_: random.Random) -> Iterator[Pair]:
    """Pairs of texts of distinct words, some 30 to 200 of them, as many in each band of s."""
    for band in range(BANDS_OF_S):
        found = 0
        while found < pairs:
            union = random_.randint(40, 200)
            shared = round(random_.uniform(FIRST + band * WIDTH, FIRST + (band + 1) * WIDTH) * union)
            if band_of(shared / union) != band:
                continue
            words = [f"{random_.getrandbits(40):010x}" for _ in range(union)]
            cut = random_.randint(shared, union)
            yield " ".join(words[:cut]), " ".join(words[:shared] + words[cut:]), shared / union
            found += 1


def real_pairs(pairs: int, texts: Iterable[str], random_: random.Random) -> Iterator[Pair]:
    """Stretches of real text of some 0.5 to 1 kB, each with one variant of itself, as many in each band of s."""
    wanted = collections.Counter(dict.fromkeys(range(BANDS_OF_S), pairs))
    for text in texts:
        for piece in pieces(text, random_, largest=1000):
            own = shingles(piece)
            if len(own) < 30 or UNSPACED.search(piece):
                continue
            band = random_.choice([band for band, count in wanted.items() if count > 0])
            other = variant(piece, FIRST + (band + random_.random()) * WIDTH, random_)
            similarity = jaccard(own, shingles(other))
            if wanted[band_of(similarity)] > 0:
                wanted[band_of(similarity)] -= 1
                yield piece, other, similarity
            if not +wanted:
                return


def candidate_rates(pairs: list[Pair], minhashes: list[MinHash]) -> dict[str, Any]:
    """For each band of s: pairs, the share that shares a band's key, and the share expected of their similarities."""
    hits, expected, count = (np.zeros(BANDS_OF_S) for _ in range(3))
    for at in range(0, len(pairs), BATCH):
        some = pairs[at : at + BATCH]
        similarity = np.array([pair[2] for pair in some])
        band = [band_of(one) for one in similarity]
        np.add.at(count, band, 1)
        for minhash in minhashes:
            keys = [minhash.band_keys(minhash.signatures([pair[side] for pair in some])) for side in (0, 1)]
            np.add.at(hits, band, (keys[0] == keys[1]).any(axis=1) / len(minhashes))
            curve = 1 - (1 - similarity**minhash.rows) ** minhash.bands
            np.add.at(expected, band, curve / len(minhashes))
    rows = {
        band_name(band): {
            "pairs": int(count[band]),
            "found": round(hits[band] / count[band], 4),
            "expected": round(expected[band] / count[band], 4),
        }
        for band in range(BANDS_OF_S)
        if count[band]
    }
    worst = max(abs(row["found"] - row["expected"]) for row in rows.values())
    return {"largest_difference": round(worst, 4), "fewest_pairs": int(count.min()), "bands_of_s": rows}


def curve(pairs: int, seed: int, texts: Callable[[], Iterable[str]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    kinds = {"random_sets": (1, random_sets(pairs, random.Random(seed)))}
    kinds["real_text"] = (5, real_pairs(pairs, texts(), random.Random(seed)))
    for kind, (ngram, made) in kinds.items():
        known = list(made)
        for bands, rows in SETTINGS:
            rates = candidate_rates(known, [MinHash("prose", ngram, bands, rows, i) for i in SEEDS])
            result[f"{kind} {bands} x {rows}"] = rates
            print(f"{kind} {bands} x {rows}: largest difference {rates['largest_difference']:.4f}, "
                  f"{rates['fewest_pairs']} pairs or more", flush=True)  # fmt: skip
    return result


def pairs_of_keys(keys: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of documents with an equal key at the same band; keys [D, bands]."""
    found: set[tuple[int, int]] = set()
    for band in keys.T:
        members: dict[int, list[int]] = collections.defaultdict(list)
        for document, key in enumerate(band.tolist()):
            members[key].append(document)
        for group in members.values():
            found.update((a, b) for i, a in enumerate(group) for b in group[i + 1 :])
    return found


def pairs_of_datasketch(signatures: np.ndarray, bands: int, rows: int) -> set[tuple[int, int]]:
    from datasketch import MinHash as Sketch
    from datasketch import MinHashLSH

    index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    sketches = [Sketch(num_perm=bands * rows, hashvalues=row, scheme="affine32") for row in signatures]
    with index.insertion_session() as session:
        for document, sketch in enumerate(sketches):
            session.insert(document, sketch)
    return {
        (min(document, other), max(document, other))
        for document, sketch in enumerate(sketches)
        for other in index.query(sketch)
        if other != document
    }


class Clusters:
    """What the job makes of some documents: `kept` ids, and `cluster` and `reason` by id of those that have one."""

    def __init__(self, documents: list[dict[str, Any]], folder: str, parts: int = 1, **settings: Any):
        from jobs.cli_corpus import work_in
        from jobs.deduplicate import deduplicate
        from jobs.engine import HERE, open_dataset
        from jobs.recipe import DeduplicateSection

        size = -(-len(documents) // parts)
        for part in range(parts):
            batch = pa.RecordBatch.from_pylist(documents[part * size : (part + 1) * size], DOCUMENT)
            path = f"{folder}/in/part-{part:05d}.parquet"
            storage.make_folder(f"{folder}/in")
            storage.write_parquet(path, iter([batch]), DOCUMENT)
        with work_in(f"{folder}/out", f"local[{len(os.sched_getaffinity(0))}]", True) as work:
            deduplicate(work, HERE, open_dataset(f"{folder}/in"), DeduplicateSection(**settings), 0)
        self.kept = {row for path in storage.parquet_parts(f"{folder}/out")
                     for row in pq.read_table(path, columns=["id"])["id"].to_pylist()}  # fmt: skip
        self.cluster: dict[str, int] = {}
        self.reason: dict[str, str] = {}
        for path in sorted(pathlib.Path(folder, "out", "clusters").glob("*.parquet")):
            for row in pq.read_table(path).to_pylist():
                self.cluster[row["id"]] = self.cluster[row["winner"]] = row["cluster"]
                self.reason[row["id"]] = row["reason"]

    def together(self, a: str, b: str) -> bool:
        return a in self.cluster and self.cluster[a] == self.cluster.get(b)

    def members(self) -> list[list[str]]:
        """The clusters, each of two documents or more."""
        groups: dict[int, list[str]] = collections.defaultdict(list)
        for name, cluster in self.cluster.items():
            groups[cluster].append(name)
        return [sorted(group) for group in groups.values()]


def document(name: str, text: str, url: str | None = None) -> dict[str, Any]:
    return dict.fromkeys(DOCUMENT.names) | {"id": name, "text": text, "source": "bench", "url": url}


def candidates(documents: int, seed: int, texts: Callable[[], Iterable[str]], scratch: str) -> dict[str, Any]:
    """Candidate pairs beside `datasketch`'s, and the job's clusters beside scipy's components of those."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = list(real_pairs(-(-documents // 2 // BANDS_OF_S), texts(), random.Random(seed)))
    chosen = [text for a, b, _ in known for text in (a, b)][:documents]
    result: dict[str, Any] = {"documents": len(chosen)}
    for bands, rows in SETTINGS:
        minhash = MinHash("prose", 5, bands, rows, 0)
        signatures = minhash.signatures(chosen)
        theirs = pairs_of_datasketch(signatures, bands, rows)
        ours = pairs_of_keys(minhash.band_keys(signatures))
        row = {"datasketch": len(theirs), "lode": len(ours), "different": len(ours ^ theirs)}
        if (bands, rows) == SETTINGS[0]:
            ends = np.array(sorted(theirs)).T
            edges = coo_array((np.ones(len(theirs)), ends), shape=(len(chosen), len(chosen)))
            count, labels = connected_components(edges, directed=False)
            job = Clusters(
                [document(f"{i:05d}", text) for i, text in enumerate(chosen)], f"{scratch}/candidates", 4,
                bands=bands, rows=rows, profile="prose", verify=False,
            )  # fmt: skip
            groups: dict[int, list[str]] = collections.defaultdict(list)
            for i, label in enumerate(labels.tolist()):
                groups[label].append(f"{i:05d}")
            expected = sorted(group for group in groups.values() if len(group) > 1)
            row |= {"kept": len(job.kept), "components": int(count), "clusters": len(expected)}
            row["clusters_equal"] = sorted(job.members()) == expected
        result[f"{bands} x {rows}"] = row
        print(f"candidates {bands} x {rows}: {row}", flush=True)
    return result


@functools.cache
def crawl_records() -> list[dict[str, Any]]:
    """The records of the sample crawl, extracted, each with its `label` and the text of the `whole` page."""
    labels: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for label in pq.read_table(SAMPLE / "web" / "labels.parquet").to_pylist():
        labels[label["warc_file"]].append(label)
    records = []
    for name in sorted(labels):
        path = str(SAMPLE / "web" / name)
        rows = [row for batch in extract_pages([path], "web") for row in batch.to_pylist()]
        here = sorted(labels[name], key=lambda label: label["warc_offset"])
        for row, label, raw in zip(rows, here, read_warc(path), strict=True):
            page = decode(raw.payload, raw.charset)
            whole = page if raw.is_text else extract_plain_text(page)
            records.append(row | {"label": label, "whole": whole})
    return records


def exact(texts: tuple[str, str], profile: str) -> float:
    a, b = (ShingleSet.of_texts([text], profile, 5) for text in texts)  # type: ignore[arg-type]
    return a.compare(b)[0]


def all_pairs(texts: dict[str, str], least: float) -> dict[tuple[str, str], float]:
    """Every pair of texts whose sets of word 5-grams have this Jaccard similarity or more: no sketch, all counted."""
    from scipy.sparse import csr_array

    names = sorted(texts)
    numbers: dict[tuple[str, ...], int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for row, name in enumerate(names):
        own = shingles(texts[name])
        rows += [row] * len(own)
        columns += [numbers.setdefault(shingle, len(numbers)) for shingle in own]
    incidence = csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(names), len(numbers)))
    sizes = np.asarray(incidence.sum(axis=1))
    found: dict[tuple[str, str], float] = {}
    for at in range(0, len(names), BATCH):
        shared = (incidence[at : at + BATCH] @ incidence.T).tocoo()
        a, b = shared.row + at, shared.col
        similarity = shared.data / (sizes[a] + sizes[b] - shared.data)
        for i in np.flatnonzero((a < b) & (similarity >= least)):
            found[names[a[i]], names[b[i]]] = float(similarity[i])
    return found


def crawl(scratch: str) -> dict[str, Any]:
    """The sample crawl at the default setting.

    Its list of near-duplicates compares whole pages, menus and all: so does `whole_pages`, with Resiliparse's text of
    all of a page. The extraction leaves the menus out; `extracted` has its own truth, all pairs of extracted texts.
    """
    records = [record for record in crawl_records() if record["reason"] is None]
    urls = {record["label"]["record_id"]: record["url"] for record in records}
    whole = {record["label"]["record_id"]: record["whole"] for record in records}
    extracted = {record["label"]["record_id"]: record["text"] for record in records}
    with gzip.open(SAMPLE / "web" / "near_dup_pairs.csv.gz", "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    listed = {(row["record_a"], row["record_b"]): float(row["jaccard_word5"]) for row in rows}
    here = {pair: similarity for pair, similarity in listed.items() if urls.keys() >= set(pair)}
    missing = [similarity for pair, similarity in listed.items() if pair not in here]
    result: dict[str, Any] = {
        "documents": len(urls),
        "listed_pairs": len(listed),
        # Their records are dropped at extraction, each with a reason of its own.
        "listed_pairs_without_text": len(missing),
        "of_those_080": sum(similarity >= 0.8 for similarity in missing),
    }
    for name, texts, truth in (
        ("whole_pages", whole, here),
        ("extracted", extracted, all_pairs(extracted, 0.5)),
    ):
        found = Clusters(
            [document(id_, text, urls[id_]) for id_, text in texts.items()], f"{scratch}/{name}", 4
        )
        result[name] = beside_truth(texts, urls, truth, found) | {
            "differ_only_in_formulas": only_formulas(texts, found)
        }
        result[name]["listed_080_together"] = sum(
            found.together(*pair) for pair, s in here.items() if s >= 0.8
        )
        for key in ("kept", "dropped", "recall_of_080", "why_lost", "differ_only_in_formulas"):
            print(f"crawl, {name}: {key} {result[name][key]}", flush=True)
    return result


def beside_truth(
    texts: dict[str, str], urls: dict[str, str], truth: dict[tuple[str, str], float], found: Clusters
) -> dict[str, Any]:
    """Pairs of known similarity: together or not, by bands; and all pairs that came together, by ours."""
    bands: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    lost: list[dict[str, Any]] = []
    for (a, b), similarity in truth.items():
        together = found.together(a, b)
        bands[f"{int(similarity * 20 + 1e-9) / 20:.2f}"].update(pairs=1, together=together)
        if similarity >= 0.8 and not together:
            ours = exact((texts[a], texts[b]), "math")
            of = Formulas.of_documents([texts[name] for name in (a, b)])
            # Alike by words but not by the tokens of the profile, or not in their formulas; or never compared.
            why = "symbols" if ours < 0.8 else "no candidate" if of[0].agree(of[1]) else "formulas"
            counts = [len(each.found.hashes) for each in of]
            lost.append({
                "urls": [urls[a], urls[b]], "jaccard": round(similarity, 3), "ours": round(ours, 3),
                "why": why, "formulas": counts,
            })  # fmt: skip
    within: collections.Counter[str] = collections.Counter()
    how: collections.Counter[str] = collections.Counter()
    for group in found.members():
        for i, a in enumerate(group):
            for b in group[i + 1 :]:
                ours = exact((texts[a], texts[b]), "math")
                within.update(pairs=1, below_080=ours < 0.8, below_050=ours < 0.5)
                if ours < 0.5:
                    how[" + ".join(sorted(found.reason.get(name, "kept") for name in (a, b)))] += 1
    high = [counts for name, counts in bands.items() if float(name) >= 0.8]
    pairs = sum(counts["pairs"] for counts in high)
    return {
        "kept": len(found.kept),
        "dropped": dict(collections.Counter(found.reason.values())),
        "pairs_of_080": pairs,
        "recall_of_080": round(1 - len(lost) / max(pairs, 1), 4),
        "lost_080": len(lost),
        "why_lost": dict(collections.Counter(pair["why"] for pair in lost)),
        "lost": sorted(lost, key=lambda pair: -pair["ours"])[:20],
        "bands": {name: dict(bands[name]) for name in sorted(bands)},
        "pairs_in_one_cluster": dict(within),
        "reasons_of_those_below_050": dict(how.most_common()),
    }


# Formulas as the extraction writes them; dollars in code and escaped ones are none.
FORMULA = re.compile(
    r"```.*?```|`[^`\n]+`"
    r"|(?<![\\$])(?P<formula>\$\$(?:\\.|[^\\$])+\$\$|\$(?=[^\s$])(?:\\.|[^\\$\n])+(?<!\s)\$(?!\d))",
    re.S,
)
NEXT_LETTER = {ord(a): b for letters in ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
               for a, b in zip(letters, letters[1:] + letters[0], strict=True)}  # fmt: skip
OPERATORS = str.maketrans("+-=<>", "-+<>=")
CHANGES: dict[str, Callable[[str], str]] = {
    "numbers": lambda formula: re.sub(r"\d+", lambda match: str(int(match[0][:9]) + 1), formula),
    # Single letters: not those of commands or words.
    "variables": lambda formula: re.sub(
        r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", lambda match: match[0].translate(NEXT_LETTER), formula
    ),
    "operators": lambda formula: formula.translate(OPERATORS),
}
AMOUNTS: dict[str, Callable[[int], int]] = {
    "one": lambda count: 1, "a fifth": lambda count: -(-count // 5), "all": lambda count: count,
}  # fmt: skip


def formulas_of(text: str) -> list[str]:
    return [match["formula"] for match in FORMULA.finditer(text) if match["formula"]]


def formula_variants(text: str, random_: random.Random) -> dict[tuple[str, str], str]:
    """Texts that differ from `text`, and each other, in formulas only, by (what changes, how many formulas)."""
    found: dict[tuple[str, str], str] = {}
    for change, edit in CHANGES.items():
        places = [m.start() for m in FORMULA.finditer(text) if m["formula"] and edit(m[0]) != m[0]]
        for amount, share in AMOUNTS.items():
            if places:
                chosen = set(random_.sample(places, share(len(places))))
                other = FORMULA.sub(
                    lambda m: edit(m[0]) if m.start() in chosen else m[0],  # noqa: B023 - used at once
                    text,
                )
                if other not in found.values():
                    found[change, amount] = other
    return found


def only_formulas(texts: dict[str, str], found: Clusters) -> dict[str, int]:
    """Real pages that are equal but for their formulas, and have some: pairs, and how many were merged."""
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for name, text in texts.items():
        if around := " ".join(FORMULA.sub(lambda m: " " if m["formula"] else m[0], text).split()):
            groups[around].append(name)
    counts = collections.Counter(pairs=0, merged=0)
    for group in groups.values():
        formulas = {
            name: ["".join(formula.split()) for formula in formulas_of(texts[name])] for name in group
        }
        for i, a in enumerate(group):
            for b in group[i + 1 :]:
                if formulas[a] != formulas[b]:
                    counts.update(pairs=1, merged=found.together(a, b))
    return dict(counts)


def formulas(scratch: str, seed: int) -> dict[str, Any]:
    """Variants of real pages of mathematics that differ in nothing but formulas."""
    records = crawl_records()
    pages = [
        document(record["label"]["record_id"], record["text"])
        for record in records
        if record["reason"] is None and record["label"]["class"] == "math" and formulas_of(record["text"])
    ]
    # Pages that are near-duplicates of each other would tie variants of the one to those of the other.
    kept = Clusters(pages, f"{scratch}/pages", 1, profile="math").kept
    random_ = random.Random(seed)
    rows, names = [], []
    for page in (page for page in pages if page["id"] in kept):
        rows.append(page)
        for key, text in formula_variants(page["text"], random_).items():
            names.append((page["id"], key))
            rows.append(document("\t".join((page["id"], *key)), text))
    result: dict[str, Any] = {"pages": len(kept), "variants": len(names)}
    made = collections.Counter(" of ".join((key[1], key[0])) for _, key in names)
    for profile in ("math", "prose"):
        found = Clusters(rows, f"{scratch}/formulas-{profile}", 4, profile=profile)
        merged = collections.Counter(
            " of ".join((key[1], key[0]))
            for name, key in names
            if found.together(name, "\t".join((name, *key)))
        )
        between = 0
        for group in found.members():
            counts = collections.Counter(name.split("\t")[0] for name in group)
            between += sum(count * (count - 1) // 2 for count in counts.values())
        result[profile] = {
            "merged_with_their_original": merged.total(),
            "pairs_of_one_page_merged": between,
            "by_change": {name: [merged[name], count] for name, count in sorted(made.items())},
        }
        print(f"formulas {profile}: {result[profile]}", flush=True)
    return result


def partitions(scratch: str, seed: int) -> dict[str, Any]:
    """Survivors of the sample crawl's pages for several numbers and orders of parts."""
    records = crawl_records()
    rows = [document(r["label"]["record_id"], r["text"], r["url"]) for r in records if r["reason"] is None]
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    runs = {
        f"{parts} parts{name}": Clusters(order, f"{scratch}/parts-{parts}{name}", parts).kept
        for name, order in (("", rows), (", shuffled", shuffled))
        for parts in (1, 4, 16)
    }
    first = next(iter(runs.values()))
    result = {"documents": len(rows), "kept": len(first)}
    result["different"] = {name: len(kept ^ first) for name, kept in runs.items()}
    print(f"partitions: {result}", flush=True)
    return result


def main() -> None:
    parts = ("curve", "candidates", "crawl", "formulas", "partitions")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--pairs", type=int, default=5000, help="for each band of s")
    parser.add_argument("--documents", type=int, default=20_000, help="of `candidates`")
    parser.add_argument("--folder", nargs="*", default=[], help="more folders of text")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    def texts() -> Iterator[str]:
        return real_texts([*found_here(), *arguments.folder], SAMPLE, random.Random(arguments.seed))

    with tempfile.TemporaryDirectory() as scratch:
        run: dict[str, Callable[[], dict[str, Any]]] = {
            "curve": lambda: curve(arguments.pairs, arguments.seed, texts),
            "candidates": lambda: candidates(arguments.documents, arguments.seed, texts, scratch),
            "crawl": lambda: crawl(scratch),
            "formulas": lambda: formulas(scratch, arguments.seed),
            "partitions": lambda: partitions(scratch, arguments.seed),
        }
        if not SAMPLE.is_dir() and set(arguments.only) & {"crawl", "formulas", "partitions"}:
            sys.exit(f"no sample data at {SAMPLE}: measure with --only curve candidates")
        result = {name: run[name]() for name in parts if name in arguments.only}
    if tuple(arguments.only) == parts:
        record("near_duplicates", result, ["lode", "datasketch", "numpy", "scipy", "pyspark"])


if __name__ == "__main__":
    main()
