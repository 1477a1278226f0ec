import numpy as np
import pytest
from datasketch import MinHash as TheirMinHash
from datasketch import MinHashLSH
from hypothesis import given
from hypothesis import strategies as st

from corpus import minhash as module
from corpus.minhash import FORMULA, Formulas, MinHash, ShingleSet, choose_bands, has_tokens, similarity

RNG = np.random.default_rng(7)


def sets_of_similarity(jaccard: float, size: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of hashes with a known Jaccard similarity."""
    shared = round(2 * size * jaccard / (1 + jaccard))
    pool = RNG.integers(0, 2**64, 2 * size - shared, dtype=np.uint64)
    return pool[:size], np.concatenate([pool[:shared], pool[size:]])


def signatures(minhash: MinHash, sets: list[np.ndarray]) -> np.ndarray:
    return minhash.of_sets(np.concatenate(sets), np.array([len(s) for s in sets])).T


@pytest.mark.parametrize("jaccard", [0.2, 0.5, 0.8, 0.95])
def test_the_estimate_is_within_four_deviations(jaccard):
    minhash = MinHash("prose", 5, 32, 8, seed=1)
    found = signatures(minhash, [s for _ in range(50) for s in sets_of_similarity(jaccard)])
    estimates = [similarity(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
    deviation = np.sqrt(jaccard * (1 - jaccard) / 256 / 50)
    assert abs(np.mean(estimates) - jaccard) < 4 * deviation + 0.002


@pytest.mark.parametrize("jaccard", [0.5, 0.6, 0.7, 0.8])
def test_candidates_follow_the_theory_curve(jaccard):
    minhash = MinHash("prose", 5, 14, 8, seed=3)
    pairs = 2000
    keys = minhash.band_keys(
        signatures(minhash, [s for _ in range(pairs) for s in sets_of_similarity(jaccard, 200)])
    )
    found = (keys[::2] == keys[1::2]).any(axis=1).mean()
    theory = 1 - (1 - jaccard**8) ** 14
    assert abs(found - theory) < 0.02 + 3 * np.sqrt(theory * (1 - theory) / pairs)


def test_candidates_are_those_of_datasketch_for_equal_hashes():
    minhash = MinHash("prose", 1, 14, 8, seed=3)
    sets = [s for j in np.linspace(0.3, 1, 300) for s in sets_of_similarity(j, 100)]
    found = signatures(minhash, sets)
    lsh = MinHashLSH(num_perm=112, params=(14, 8))
    theirs = set()
    for number, row in enumerate(found):
        sketch = TheirMinHash(num_perm=112, hashvalues=row.astype(np.uint64), scheme="legacy")
        theirs |= {(other, number) for other in lsh.query(sketch)}
        lsh.insert(number, sketch)
    buckets: dict[tuple[int, int], list[int]] = {}
    for number, row in enumerate(minhash.band_keys(found).tolist()):
        for band, key in enumerate(row):
            buckets.setdefault((band, key), []).append(number)
    ours = {(a, b) for members in buckets.values() for b in members for a in members if a < b}
    assert ours == theirs and len(ours) > 100


@given(st.lists(st.text(max_size=50), min_size=1, max_size=8))
def test_a_signature_does_not_depend_on_the_batch(texts):
    minhash = MinHash("math", 3, 4, 4, seed=0)
    together = minhash.signatures(texts)
    for row, text in zip(together, texts, strict=True):
        assert np.array_equal(row, minhash.signatures([text])[0])
    assert np.array_equal(
        has_tokens(together),
        [bool(text.split()) and has_tokens(minhash.signatures([text]))[0] for text in texts],
    )


def test_a_book_has_the_signature_of_its_shingles(monkeypatch):
    text = " ".join(str(i) for i in range(30_000))
    minhash = MinHash("math", 5, 16, 4, seed=0)
    whole = minhash.signatures([text, "x"])
    monkeypatch.setattr("corpus.ngrams.BLOCK", 5000)
    assert np.array_equal(minhash.signatures([text, "x"]), whole)


def test_bands_are_those_of_datasketch():
    lsh = MinHashLSH(threshold=0.8, num_perm=128)
    assert choose_bands(0.8, 128, verify=False) == (lsh.b, lsh.r)
    bands, rows = choose_bands(0.8, 128, verify=True)
    assert bands * rows <= 128 and 1 - (1 - 0.8**rows) ** bands > 0.98


def test_short_documents_are_like_their_equals_alone():
    # Toolkits either give them no signature, so that copies stay, or one for all, so that they become one.
    found = MinHash("prose", 5, 4, 4, seed=0).signatures(["two words", "Two words.", "two birds", "...", ""])
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])
    assert has_tokens(found).tolist() == [True, True, True, False, False]


@given(st.sets(st.integers(0, 2**64 - 1), max_size=40), st.sets(st.integers(0, 2**64 - 1), max_size=40))
def test_exact_similarity_is_that_of_sets(a, b):
    one, other = (ShingleSet(np.array(sorted(s), np.uint64)) for s in (a, b))
    jaccard, containment = one.compare(other)
    if a or b:
        assert jaccard == len(a & b) / len(a | b)
    if a and b:
        assert containment == len(a & b) / min(len(a), len(b))
    assert one.compare(other) == other.compare(one)


def test_huge_sets_are_compared_by_a_sample(monkeypatch):
    texts = [" ".join(f"w{i}" for i in range(start, start + 20_000)) for start in (0, 2_000)]
    exact = ShingleSet.of_texts([texts[0]], "prose", 5).compare(ShingleSet.of_texts([texts[1]], "prose", 5))
    monkeypatch.setattr(module, "LARGEST_SET", 3000)
    small = [ShingleSet.of_texts([text], "prose", 5) for text in texts]
    assert all(0 < len(s.hashes) <= 3000 and s.halvings >= 3 for s in small)
    assert abs(small[0].compare(small[1])[0] - exact[0]) < 0.03
    monkeypatch.undo()
    mixed = ShingleSet.of_texts([texts[1]], "prose", 5)
    assert abs(small[0].compare(mixed)[0] - exact[0]) < 0.03


def test_a_set_of_files_does_not_depend_on_their_order():
    files = ["def f(x): return x + 1", "import os\nprint(os.getcwd())", "x = [1, 2, 3]"]
    one, other = (ShingleSet.of_texts(order, "code", 3) for order in (files, files[::-1]))
    assert np.array_equal(one.hashes, other.hashes)
    assert one.compare(ShingleSet.of_texts(files[:2], "code", 3))[1] == 1.0


EXERCISE = "Solve the equation ${}$ for all real numbers. Then show that ${}$ has no other root."


def formulas(text: str) -> Formulas:
    return Formulas.of_documents(["", text])[1]


def agree(one: str, other: str) -> bool:
    found = [formulas(text) for text in (one, other)]
    assert found[0].agree(found[1]) == found[1].agree(found[0])
    return found[0].agree(found[1])


def test_pages_that_differ_only_in_formulas_do_not_agree():
    one = EXERCISE.format("x^2+1=0", "f(x)")
    assert agree(one, EXERCISE.format("x^2 + 1 = 0", "f(x)"))
    assert not agree(one, EXERCISE.format("x^3-2=5", "f(x)"))
    # The same formulas elsewhere, an escaped dollar inside, and none at all.
    assert not agree("From $n$ and $m$ and $n$ follows", "From $n$ and $n$ and $m$ follows")
    assert not agree("Pay $\\$4.50 - \\$1$ now", "Pay $\\$4.50 - \\$2$ now")
    assert not agree("Solve it: $x=1$", "Solve it: ")


def test_elsewhere_two_formulas_of_three_are_enough():
    many = [f"x_{i} + {i} = y" for i in range(9)]
    page = "We show $" + "$ and $".join(many) + "$."
    assert agree(page, "Now we show $" + "$ and $".join(many[:5]) + "$.")
    assert not agree(page, "Now we show $" + "$ and $".join(many[:4]) + "$.")


def test_another_rendering_without_formulas_is_no_objection():
    assert agree("The sum $a+b$ is even.", "The sum a+b is always even.")
    assert agree("No formula here, for $5 or $6.", "None here.")


def test_delimiters_without_their_other_half_take_linear_time():
    # Each would be searched for its end over thousands of characters.
    for opening in ("\\[ ", "\\( ", "\\begin{align}", "\\begin{align}\\begin{gather}\\[\\("):
        assert FORMULA.search(opening * 200_000 + "x") is None
    text = r"\[ lost \[ x \\[4pt] y \] and \begin{align} \begin{aligned} a \end{aligned} \end{align} then \\[2pt]"
    found = [match[0] for match in FORMULA.finditer(text)]
    assert found == [r"\[ x \\[4pt] y \]", r"\begin{align} \begin{aligned} a \end{aligned} \end{align}"]


def test_no_documents_have_no_formulas():
    assert Formulas.of_documents([]) == []
