import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHashLSH

from corpus.minhash import MinHash, optimal_bands, similarity, union_signatures
from corpus.ngrams import shingles

RNG = np.random.default_rng(7)


def sets_of_similarity(jaccard: float, size: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of hashes with a known Jaccard similarity."""
    shared = round(2 * size * jaccard / (1 + jaccard))
    pool = RNG.integers(0, 2**64, 2 * size - shared, dtype=np.uint64)
    return pool[:size], np.concatenate([pool[:shared], pool[size:]])


@pytest.mark.parametrize("jaccard", [0.2, 0.5, 0.8, 0.95])
def test_the_estimate_is_within_four_deviations(jaccard):
    minhash = MinHash("prose", 5, 32, 8, seed=1)
    estimates = []
    for _ in range(20):
        a, b = sets_of_similarity(jaccard)
        estimates.append(similarity(minhash.of_shingles(a), minhash.of_shingles(b)))
    deviation = np.sqrt(jaccard * (1 - jaccard) / 256 / 20)
    assert abs(np.mean(estimates) - jaccard) < 4 * deviation + 0.002


@pytest.mark.parametrize("jaccard", [0.5, 0.6, 0.7, 0.8])
def test_candidates_follow_the_theory_curve(jaccard):
    minhash = MinHash("prose", 5, 14, 8, seed=3)
    pairs = 600
    found = 0
    for _ in range(pairs):
        a, b = (minhash.band_keys(minhash.of_shingles(s)) for s in sets_of_similarity(jaccard, 200))
        found += any(x == y for x, y in zip(a, b, strict=True))
    theory = 1 - (1 - jaccard**8) ** 14
    assert abs(found / pairs - theory) < 4 * np.sqrt(theory * (1 - theory) / pairs) + 0.02


def test_blocks_do_not_change_the_signature(monkeypatch):
    text = " ".join(str(i) for i in range(3000))
    minhash = MinHash("math", 5, 16, 4, seed=0)
    whole = minhash.signature(text)
    monkeypatch.setattr("corpus.minhash.BLOCK", 7)
    assert (minhash.signature(text) == whole).all()


def test_bands_are_those_of_datasketch():
    lsh = MinHashLSH(threshold=0.8, num_perm=128)
    assert optimal_bands(0.8, 128) == (lsh.b, lsh.r)


def test_a_repository_is_the_union_of_its_files_in_any_order():
    minhash = MinHash("code", 3, 8, 4, seed=0)
    files = ["def f(x): return x + 1", "import os\nprint(os.getcwd())", "x = [1, 2, 3]"]

    def signature(order):
        rows = {"source": ["s"] * 3, "repository": ["r"] * 3, "text": [files[i] for i in order]}
        batches = [pa.RecordBatch.from_pydict(rows).slice(i, 1) for i in range(3)]
        ((name, found, _),) = union_signatures(iter(batches), minhash)
        assert name == ("s", "r")
        return found

    union = np.unique(np.concatenate([shingles(text, "code", 3) for text in files]))
    expected = minhash.of_shingles(union)
    assert (signature([0, 1, 2]) == expected).all()
    assert (signature([2, 0, 1]) == expected).all()
