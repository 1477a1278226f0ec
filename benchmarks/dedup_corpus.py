"""A corpus of real text whose near-duplicates are known exactly, for the benchmarks of deduplication.

    python -m benchmarks.dedup_corpus OUT [--megabytes 150] [--seed 0] [--folder DIR ...]

Texts are pieces of 0.5 to 20 kB, cut between lines, of what is found on the machine: pages of the sample crawl, the
sample repositories, sources and documentation of the installed packages and of the standard library, and the folders
given. A piece stays if at most a fifth of its word 5-grams occurred in any piece before it, so that no two of them are
alike. One in three documents is the variant of a piece of its own: words are deleted, repeated from elsewhere in the
text or replaced by such, at a rate drawn so that Jaccard similarities spread over 0.3 to 1. Words are runs of letters
and digits, lower case; texts in scripts without spaces stay out, for there every tool has words of its own.

OUT holds the same documents twice, `documents/part-*.parquet` (Lode's columns) and `jsonl/part-*.jsonl` (`id`,
`text`), and `pairs.parquet` (`base`, `variant`, `jaccard`: exact, of the sets of word 5-grams). Everything follows
from the seed and the files read.
"""

import argparse
import json
import os
import pathlib
import random
import re
import sys
import sysconfig
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import SAMPLE
from corpus import storage
from corpus.extract import extract_pages
from corpus.ngrams import blocks
from corpus.repositories import read_repository
from corpus.schema import DOCUMENT, document_id

NGRAM = 5
SMALLEST, LARGEST = 500, 20_000
PARTS = 16
# Slots for hashes of 5-grams seen before; a slot taken by chance can only turn a piece away.
SEEN = 1 << 29
SUFFIXES = (".c", ".cc", ".cpp", ".h", ".hpp", ".js", ".md", ".py", ".pyi", ".pyx", ".rst", ".ts", ".txt")
WORD = re.compile(r"[^\W_]+")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


def words(text: str) -> list[str]:
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def shingles(text: str) -> set[tuple[str, ...]]:
    """The word 5-grams of a text."""
    found = words(text)
    return set(zip(*(found[start:] for start in range(NGRAM)), strict=False))


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def real_texts(folders: Iterable[str], sample: pathlib.Path, random_: random.Random) -> Iterator[str]:
    """Every text there is, in an order that mixes the sources."""
    texts: list[str | pathlib.Path] = []
    for batch in extract_pages(sorted(map(str, (sample / "web").glob("dev-*.warc.gz"))), "web"):
        texts += [text for text in batch["text"].to_pylist() if text]
    for archive in sorted((sample / "repos").glob("*.tar.gz")):
        texts += [row["text"] for row in read_repository(str(archive), "sample") if row["text"]]
    for folder in folders:
        for place, folders_inside, names in os.walk(folder):
            folders_inside.sort()
            paths = (pathlib.Path(place, name) for name in sorted(names) if name.endswith(SUFFIXES))
            texts += [path for path in paths if path.is_file() and path.stat().st_size >= SMALLEST]
    random_.shuffle(texts)
    for text in texts:
        if isinstance(text, pathlib.Path):
            try:
                text = text.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
        yield text


def pieces(text: str, random_: random.Random, largest: int = LARGEST) -> Iterator[str]:
    """Stretches of whole lines, their sizes spread evenly over the logarithm of 500 to `largest` characters."""
    held: list[str] = []
    size, wanted = 0, SMALLEST * (largest / SMALLEST) ** random_.random()
    for line in text.splitlines(keepends=True):
        if len(line) > largest:
            return
        held.append(line)
        size += len(line)
        if size >= wanted:
            yield "".join(held)
            held, size = [], 0
            wanted = SMALLEST * (largest / SMALLEST) ** random_.random()


class Novel:
    """Tells pieces that are new from those that share more than a fifth of their 5-grams with those before."""

    def __init__(self) -> None:
        self.seen = np.zeros(SEEN, bool)

    def __call__(self, text: str) -> bool:
        if UNSPACED.search(text):
            return False
        found = [block.ngrams(NGRAM)[0] for block in blocks([text], "prose", NGRAM - 1)]
        slots = np.unique(np.concatenate([np.empty(0, np.uint64), *found]) % np.uint64(SEEN))
        if len(slots) < 50 or self.seen[slots].mean() > 0.2:
            return False
        self.seen[slots] = True
        return True


def variant(text: str, similarity: float, random_: random.Random) -> str:
    """`text` with as many words deleted, replaced and inserted as leave about this Jaccard similarity."""
    rate = 1 - (2 * similarity / (1 + similarity)) ** (1 / NGRAM)
    spans = [match.span() for match in WORD.finditer(text)]
    held, at = [], 0
    for start, end in spans:
        held.append(text[at:start])
        at = end
        if random_.random() >= rate:
            held.append(text[start:end])
            continue
        other = slice(*random_.choice(spans))
        held.append(random_.choice(("", text[other], f"{text[other]} {text[start:end]}")))
    return "".join(held) + text[at:]


def build(
    texts: Iterable[str], megabytes: float, seed: int
) -> tuple[list[str], list[tuple[int, int, float]]]:
    """Documents, and pairs (index of the base, index of the variant, exact Jaccard similarity)."""
    random_ = random.Random(seed)
    novel, documents, size = Novel(), [], 0.0
    found: list[tuple[int, int, float]] = []
    for text in texts:
        for piece in pieces(text, random_):
            if not novel(piece):
                continue
            documents.append(piece)
            size += len(piece.encode()) / 1e6
            if random_.random() < 0.5:
                other = variant(piece, random_.uniform(0.3, 1), random_)
                found.append((len(documents) - 1, len(documents), jaccard(shingles(piece), shingles(other))))
                documents.append(other)
                size += len(other.encode()) / 1e6
        if size >= megabytes:
            break
    places = list(range(len(documents)))
    random_.shuffle(places)
    order = [0] * len(documents)
    for index, place in enumerate(places):
        order[place] = index
    return [documents[i] for i in order], [(places[a], places[b], s) for a, b, s in found]


def write(out: pathlib.Path, documents: list[str], pairs: list[tuple[int, int, float]]) -> None:
    ids = [document_id("bench", str(index)) for index in range(len(documents))]
    for folder in ("documents", "jsonl"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for part in range(PARTS):
        mine = range(part, len(documents), PARTS)
        rows = [
            dict.fromkeys(DOCUMENT.names) | {"id": ids[i], "text": documents[i], "source": "bench"}
            for i in mine
        ]
        batch = pa.RecordBatch.from_pylist(rows, DOCUMENT)
        storage.write_parquet(str(out / "documents" / f"part-{part:05d}.parquet"), iter([batch]), DOCUMENT)
        with open(out / "jsonl" / f"part-{part:05d}.jsonl", "w", encoding="utf-8") as lines:
            for i in mine:
                lines.write(json.dumps({"id": ids[i], "text": documents[i]}, ensure_ascii=False) + "\n")
    columns = {"base": [ids[a] for a, _, _ in pairs], "variant": [ids[b] for _, b, _ in pairs]}
    pq.write_table(pa.table({**columns, "jaccard": [s for _, _, s in pairs]}), out / "pairs.parquet")


def found_here() -> list[str]:
    """Folders of text that any machine with Lode on it has."""
    paths = sysconfig.get_paths()
    places = [paths["stdlib"], paths["purelib"], "/usr/share/doc"]
    return [place for place in places if os.path.isdir(place)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--megabytes", type=float, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", nargs="*", default=[], help="more folders of text")
    arguments = parser.parse_args()
    texts = real_texts([*found_here(), *arguments.folder], SAMPLE, random.Random(arguments.seed))
    documents, pairs = build(texts, arguments.megabytes, arguments.seed)
    if not documents:
        sys.exit("No text of at least 500 characters was found here: name folders with --folder.")
    write(arguments.out, documents, pairs)
    size = sum(len(text.encode()) for text in documents) / 1e6
    print(f"{len(documents)} documents, {size:.1f} MB, {len(pairs)} pairs")
    if size < arguments.megabytes:
        print(f"There is no more real text here; {arguments.megabytes} MB were asked for.")


if __name__ == "__main__":
    main()
