"""MinHash signatures, their bands, and exact similarity (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from corpus.ngrams import Profile, blocks, mixed

NO_HASH = np.uint32(2**32 - 1)
# A sample of a set has the shingles whose hashes begin with so many zero bits, one of 64: the sketch of Broder, On the
# resemblance and containment of documents (1997), section 4, from which containment can be told.
SAMPLE_BITS = 6
# A set of more shingles than this, some 5 MB of text, is compared by a sample of them: those of the least hashes.
LARGEST_SET = 1 << 20
# Formulas as the extraction writes them and as TeX has them. None of its kind opens in one: so is time linear.
FORMULA = re.compile(
    r"\$\$(.{1,10000}?)\$\$|(?<![\\$])\$(?=[^\s$])((?:\\.|[^\\$\n]){1,2000}?)(?<!\s)\$(?!\d)"
    r"|(?<!\\)\\\[((?:[^\\]|\\[^][]){1,10000}?)\\\]|(?<!\\)\\\(((?:[^\\]|\\[^()]){1,2000}?)\\\)"
    r"|\\begin\{(?P<name>equation|align|gather|multline|eqnarray)\*?\}((?:(?!\\begin\{(?P=name)\*?\}).){1,10000}?)"
    r"\\end\{(?P=name)\*?\}",
    re.S,
)


@dataclass(frozen=True)
class MinHash:
    """How documents are compared.

    Args:
        profile: what counts as a token (see `corpus.ngrams`).
        ngram: tokens in a shingle. A document of fewer tokens is one shingle: all of it.
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
        # Linear permutations of the 32-bit numbers; what is permuted are hashes, so that no structure is left in it.
        draws = [xxhash.xxh3_64_intdigest(f"{self.seed}:{i}".encode()) for i in range(self.permutations)]
        object.__setattr__(self, "_a", np.array([(d >> 32) | 1 for d in draws], np.uint32))
        object.__setattr__(self, "_b", np.array([d & (2**32 - 1) for d in draws], np.uint32))

    @property
    def permutations(self) -> int:
        return self.bands * self.rows

    def signatures(self, texts: Sequence[str], samples: "list[Sample] | None" = None) -> np.ndarray:
        """[D, bands * rows] uint32: for each permutation the least hash of any shingle of a document.

        A document without a token has `NO_HASH` everywhere. Memory beside the result: some 20 MB, whatever the texts.

        Args:
            samples: is given the sampled shingles of the documents, in pieces that may repeat a shingle.
        """
        least = np.full((self.permutations, len(texts)), NO_HASH)
        for block in blocks(texts, self.profile, self.ngram - 1):
            hashes, counts = block.shingles(self.ngram)
            if samples is not None:
                few = np.flatnonzero(hashes >> np.uint64(64 - SAMPLE_BITS) == 0)
                owners = block.first + np.searchsorted(np.cumsum(counts), few, "right")
                samples.append((owners, hashes[few]))
            found = self.of_sets(hashes, counts)
            part = least[:, block.first : block.first + len(counts)]
            np.minimum(part, found, out=part)
        return least.T

    def of_sets(self, hashes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """[bands * rows, D] uint32: the signatures of sets of 64-bit hashes that lie one after the other."""
        least = np.full((self.permutations, len(counts)), NO_HASH)
        filled = np.flatnonzero(counts)
        if not len(filled):
            return least
        starts = (np.cumsum(counts) - counts)[filled]
        values = (hashes >> np.uint64(32)).astype(np.uint32)
        permuted = np.empty_like(values)
        for row, a, b in zip(least, self._a, self._b, strict=True):  # type: ignore[attr-defined]
            np.multiply(values, a, out=permuted)
            np.add(permuted, b, out=permuted)
            row[filled] = np.minimum.reduceat(permuted, starts)
        return least

    def band_keys(self, signatures: np.ndarray) -> np.ndarray:
        """[D, bands] int64; two documents with an equal key at the same band are candidates. (Keys of different bands
        are never equal but by chance.)"""
        rows = signatures.reshape(len(signatures), self.bands, self.rows).astype(np.uint64)
        keys = np.broadcast_to(np.arange(1, self.bands + 1, dtype=np.uint64), rows.shape[:2]).copy()
        for row in range(self.rows):
            keys = mixed((keys << np.uint64(32) | keys >> np.uint64(32)) ^ rows[:, :, row])
        return keys.view(np.int64)


# Indices [M] of documents, and the hash [M] uint64 of a shingle of each.
Sample = tuple[np.ndarray, np.ndarray]


def has_tokens(signatures: np.ndarray) -> np.ndarray:
    """[D] bool: a document without a token is like no other."""
    return (signatures != NO_HASH).any(axis=1)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The estimate of the Jaccard similarity from two signatures; its deviation is sqrt(s (1 - s) / length)."""
    return float((a == b).mean())


def choose_bands(jaccard: float, permutations: int, verify: bool) -> tuple[int, int]:
    """Bands and rows for a Jaccard target, by `datasketch`.

    Where candidates are verified a false one costs a little time and a missed one is lost, so misses weigh 50 to
    1; otherwise both weigh the same.
    """
    from datasketch import MinHashLSH

    weights = (0.02, 0.98) if verify else (0.5, 0.5)
    try:
        lsh = MinHashLSH(threshold=jaccard, num_perm=permutations, weights=weights)
    except ValueError:  # it would choose one band, and does not want to
        return 2, permutations // 2
    return lsh.b, lsh.r


@dataclass(frozen=True)
class ShingleSet:
    """A set of shingles, for exact comparison.

    Args:
        hashes: sorted uint64, those below 2^(64 - halvings).
        halvings: 0, or how often the largest hash was halved to make a huge set fit.
    """

    hashes: np.ndarray
    halvings: int = 0

    @classmethod
    def of_texts(cls, texts: Iterable[str], profile: Profile, n: int) -> "ShingleSet":
        """The union of the n-grams of some texts, in any order: a document, or a repository of many files.

        Memory is bounded by the largest set, whatever the length of the texts.
        """
        union = Union(profile, n)
        for text in texts:
            union.add(text)
        return union.shingles()

    @classmethod
    def of_documents(cls, texts: Sequence[str], profile: Profile, n: int) -> list["ShingleSet"]:
        """The sets of some documents, each one text."""
        parts: list[list[np.ndarray]] = [[] for _ in texts]
        sets: dict[int, ShingleSet] = {}
        for number, text in enumerate(texts):
            if len(text) > LARGEST_SET:
                sets[number] = cls.of_texts([text], profile, n)
        short = ["" if number in sets else text for number, text in enumerate(texts)]
        for block in blocks(short, profile, n - 1):
            hashes, counts = block.shingles(n)
            for number, part in enumerate(np.split(hashes, np.cumsum(counts)[:-1]), block.first):
                parts[number].append(part)
        for number, part in enumerate(parts):
            if number not in sets:
                whole = np.unique(np.concatenate(part)) if len(part) != 1 else np.unique(part[0])
                sets[number] = cls(*cls._bounded(whole, 0))
        return [sets[number] for number in range(len(texts))]

    @staticmethod
    def _bounded(hashes: np.ndarray, halvings: int = 0) -> tuple[np.ndarray, int]:
        while len(hashes) > LARGEST_SET:
            halvings += 1
            hashes = hashes[: np.searchsorted(hashes, np.uint64(1 << (64 - halvings)))]
        return hashes, halvings

    def compare(self, other: "ShingleSet") -> tuple[float, float]:
        """Jaccard similarity, and containment: the share of the smaller set that lies in the larger. Both 1 where
        both sets are empty."""
        shared, mine, others = self.shared(other)
        if not max(mine, others):
            return 1.0, 1.0
        if not min(mine, others):
            return 0.0, 0.0
        return shared / (mine + others - shared), shared / min(mine, others)

    def shared(self, other: "ShingleSet") -> tuple[int, int, int]:
        """How many shingles two sets share, and how many each has, of those that both were cut down to."""
        a, b = self.hashes, other.hashes
        if self.halvings != other.halvings:
            most = np.uint64(1 << (64 - max(self.halvings, other.halvings)))
            a, b = a[: np.searchsorted(a, most)], b[: np.searchsorted(b, most)]
        few, many = (a, b) if len(a) <= len(b) else (b, a)
        if not len(few):
            return 0, len(a), len(b)
        place = np.searchsorted(many, few)
        place[place == len(many)] = 0
        return int((many[place] == few).sum()), len(a), len(b)

    @property
    def count(self) -> int:
        """How many shingles there are; of a huge set an estimate."""
        return len(self.hashes) << self.halvings


class Union:
    """The n-grams of texts that come one by one; memory is bounded by the largest set, whatever their length."""

    def __init__(self, profile: Profile, n: int):
        self.profile: Profile = profile
        self.n = n
        self.kept = ShingleSet(np.empty(0, np.uint64))
        self.held: list[np.ndarray] = []
        self.size = 0

    def add(self, text: str) -> None:
        for block in blocks([text], self.profile, self.n - 1):
            hashes, _ = block.shingles(self.n)
            if halvings := self.kept.halvings:
                hashes = hashes[hashes >> np.uint64(64 - halvings) == 0]
            self.held.append(hashes)
            self.size += len(hashes)
            if self.size > 2 * LARGEST_SET:
                self.shingles()

    def shingles(self) -> ShingleSet:
        """The set of all that was added so far."""
        whole = np.unique(np.concatenate([self.kept.hashes, *self.held]))
        self.kept = ShingleSet(*ShingleSet._bounded(whole, self.kept.halvings))
        self.held, self.size = [], 0
        return self.kept


@dataclass(frozen=True)
class Formulas:
    """The formulas of a page: their set, a hash of them in order, and a hash of the words around them."""

    found: ShingleSet
    sequence: int
    prose: int

    @classmethod
    def of_documents(cls, texts: Sequence[str]) -> list["Formulas"]:
        formulas = [
            [match[0] for match in FORMULA.finditer(text)] if "$" in text or "\\" in text else []
            for text in texts
        ]
        # Spacing is no part of a formula: its tokens are, all of them as one.
        flat = [formula for found in formulas for formula in found]
        parts = [block.shingles(max(map(len, flat))) for block in blocks(flat, "math")]
        hashes = np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in parts)])
        counts = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in parts)])
        ends = np.concatenate([[0], np.cumsum(counts)])[
            np.cumsum([len(found) for found in formulas], dtype=np.int64)
        ]
        around = [
            FORMULA.sub(" ", text) if found else text for text, found in zip(texts, formulas, strict=True)
        ]
        prose = [xxhash.xxh3_64() for _ in texts]
        for block in blocks(around, "prose"):
            for number, words in enumerate(np.split(block.hashes, block.offsets[1:-1]), block.first):
                prose[number].update(words.tobytes())
        return [
            cls(
                ShingleSet(np.unique(own)),
                signed(xxhash.xxh3_64_intdigest(own.tobytes())),
                signed(words.intdigest()),
            )
            for own, words in zip(np.split(hashes, ends)[:-1], prose, strict=True)
        ]

    def agree(self, other: "Formulas") -> bool:
        """Do the formulas of two pages allow that the pages are near-duplicates?

        Formulas are evidence of their own. Pages that are the same word for word around their formulas (exercises
        made from one template) must have the same ones in the same order; other pages must have two of three in
        common. Where one page has none, it may be another rendering, and the tokens decide alone.
        """
        if self.prose == other.prose:
            return self.sequence == other.sequence
        if not len(self.found.hashes) or not len(other.found.hashes):
            return True
        return self.found.compare(other.found)[0] >= 0.5


def signed(number: int) -> int:
    """64 bits as Arrow's and Spark's integers have them."""
    return number - 2**64 if number >= 2**63 else number
