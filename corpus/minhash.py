"""MinHash signatures and their bands (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash

from corpus.ngrams import Profile, shingles

# Bounds the [block, permutations] matrix of hashes to 8 MB, whatever the length of the document.
BLOCK = 8192


@dataclass(frozen=True)
class MinHash:
    """How documents are compared.

    Args:
        profile: what counts as a token (see `corpus.ngrams`).
        ngram: tokens in a shingle.
        bands, rows: a pair of documents with Jaccard similarity s becomes a candidate with probability
            1 - (1 - s^rows)^bands.
        seed: of the permutations.
    """

    profile: Profile
    ngram: int
    bands: int
    rows: int
    seed: int

    def __post_init__(self) -> None:
        # Multiply-add-shift hashing of 64 bits to 32 (Dietzfelbinger): universal without a modulus.
        draws = [
            xxhash.xxh3_128_intdigest(f"{self.seed}:{i}".encode()) for i in range(self.bands * self.rows)
        ]
        object.__setattr__(self, "_a", np.array([(d >> 64) | 1 for d in draws], np.uint64))
        object.__setattr__(self, "_b", np.array([d & (2**64 - 1) for d in draws], np.uint64))

    def signature(self, text: str) -> np.ndarray:
        """[bands * rows] uint32: for each permutation the least hash of any shingle."""
        return self.of_shingles(shingles(text, self.profile, self.ngram))

    def of_shingles(self, hashes: np.ndarray) -> np.ndarray:
        least = np.full(self.bands * self.rows, 2**32 - 1, np.uint32)
        for start in range(0, len(hashes), BLOCK):
            block = hashes[start : start + BLOCK, None] * self._a + self._b  # type: ignore[attr-defined]
            np.minimum(least, (block >> np.uint64(32)).astype(np.uint32).min(axis=0), out=least)
        return least

    def band_keys(self, signature: np.ndarray) -> list[int]:
        """One signed 64-bit key a band; two documents with an equal key at the same band are candidates. A text
        without a token has none: it is like no other."""
        if (signature == 2**32 - 1).all():
            return []
        rows = signature.reshape(self.bands, self.rows)
        keys = [xxhash.xxh64_intdigest(row.tobytes(), seed=band) for band, row in enumerate(rows)]
        return [key - 2**64 if key >= 2**63 else key for key in keys]


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The estimate of the Jaccard similarity from two signatures; its deviation is sqrt(s (1 - s) / length)."""
    return float((a == b).mean())


def optimal_bands(jaccard: float, permutations: int) -> tuple[int, int]:
    """Bands and rows whose curve is steepest around a Jaccard target, as `datasketch` chooses them."""
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=jaccard, num_perm=permutations)
    return lsh.b, lsh.r


def union_signatures(
    batches: Iterator[pa.RecordBatch], minhash: MinHash
) -> Iterator[tuple[tuple[str, str], np.ndarray, int]]:
    """Signatures of repositories: consecutive files of one repository, in any order, are one set of shingles.

    Yields (source and repository, signature, characters). The signature of a union of sets is the least of their
    signatures, so the order of files does not matter and memory is one signature.
    """
    name, chars = None, 0
    least = np.empty(0)
    for batch in batches:
        columns = (batch[column].to_pylist() for column in ("source", "repository", "text"))
        for source, repository, text in zip(*columns, strict=True):
            if (source, repository) != name:
                if name is not None:
                    yield name, least, chars
                name, chars = (source, repository), 0
                least = np.full(minhash.bands * minhash.rows, 2**32 - 1, np.uint32)
            text = text or ""
            chars += len(text)
            np.minimum(least, minhash.signature(text), out=least)
    if name is not None:
        yield name, least, chars
