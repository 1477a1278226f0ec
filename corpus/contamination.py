"""Overlap with evaluation sets, as DeepSeekMath (section 2.1.1) and DeepSeek-Coder (section 2.4) state it.

A document that contains any 10-gram of a benchmark text goes. A benchmark text of 3 to 9 words counts when the
whole of it occurs. Shorter texts can not be used and are reported, not ignored in silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from corpus.ngrams import ngram_hashes, tokenize
from corpus.schema import judged

NGRAM = 10
SHORTEST = 3


@dataclass
class BenchmarkIndex:
    """Hashes of the n-grams of evaluation items: for each n a sorted array, and the item each hash came from."""

    hashes: dict[int, np.ndarray] = field(default_factory=dict)
    items: dict[int, np.ndarray] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    @classmethod
    def build(cls, texts: list[tuple[str, str]]) -> "BenchmarkIndex":
        """From (item name, text) pairs; an item may have several texts."""
        index = cls()
        found: dict[int, dict[int, int]] = {}
        for name, text in texts:
            tokens = tokenize(text, "prose")
            if len(tokens) < SHORTEST:
                index.unusable.append(name)
                continue
            n = min(NGRAM, len(tokens))
            item = len(index.names)
            index.names.append(name)
            for value in ngram_hashes(tokens, n).tolist():
                found.setdefault(n, {}).setdefault(value, item)
        for n, table in sorted(found.items()):
            order = sorted(table)
            index.hashes[n] = np.array(order, np.uint64)
            index.items[n] = np.array([table[h] for h in order], np.int64)
        return index

    def match(self, text: str) -> tuple[str, str] | None:
        """The first item that the text contains and the words of the match, or None."""
        tokens = tokenize(text, "prose")
        for n, known in self.hashes.items():
            seen = ngram_hashes(tokens, n)
            if not len(seen):
                continue
            place = np.searchsorted(known, seen)
            place[place == len(known)] = 0
            hits = np.nonzero(known[place] == seen)[0]
            if len(hits):
                first = int(hits[0])
                return self.names[self.items[n][place[first]]], " ".join(tokens[first : first + n])
        return None


@dataclass
class Decontaminate:
    """Transform: drop documents that contain a benchmark item, naming the item and the words."""

    index: BenchmarkIndex

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            verdicts: list[tuple[str, str] | None] = []
            for text in batch.column("text").to_pylist():
                match = self.index.match(text or "")
                verdicts.append(match and ("contaminated", f"{match[0]}: {match[1]}"))
            yield judged(batch, verdicts)
