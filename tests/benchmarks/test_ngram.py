"""The n-gram baseline: a distribution, and the formula by hand."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ngram import NGram


def naive(sequences: list[list[int]], vocabulary: int, order: int, discounts: list[list[float]]):
    """p(w | h) by the book, from dictionaries; the discounts are given."""
    raw: dict[tuple, int] = {}
    for sequence in sequences:
        marked = ["s", *sequence]
        for k in range(1, order + 1):
            for i in range(len(marked) - k + 1):
                gram = tuple(marked[i : i + k])
                raw[gram] = raw.get(gram, 0) + 1
    counts: dict[tuple, int] = {}
    for gram, n in raw.items():
        if gram[-1] == "s":
            continue
        if len(gram) == order or gram[0] == "s":
            counts[gram] = n
        else:
            counts[gram] = sum(g[1:] == gram for g in raw if len(g) == len(gram) + 1)

    def p(w: int, h: tuple) -> float:
        d = discounts[len(h)]
        after = {g: n for g, n in counts.items() if len(g) == len(h) + 1 and g[:-1] == h}
        lower = p(w, h[1:]) if h else 1 / vocabulary
        total = sum(after.values())
        if not total:
            return lower
        n = counts.get((*h, w), 0)
        left = sum(d[min(c, 3)] for c in after.values())
        return (n - d[min(n, 3)]) / total + left / total * lower

    return p


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 4),
    st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5),
    st.integers(0, 9),
)
def test_probabilities_are_those_of_the_formula_and_sum_to_one(order, sequences, seed):
    model = NGram(np.array(sequences), 4, order)
    text = np.random.default_rng(seed).integers(0, 4, 5).tolist()
    p = naive(sequences, 4, order, [d.tolist() for d in model.discounts])
    found = model.probabilities(np.array([text]))[0]
    marked = ["s", *text]
    for i in range(1, 6):
        assert found[i - 1] == pytest.approx(p(text[i - 1], tuple(marked[max(0, i - order + 1) : i])))
    last = np.array([[*text, w] for w in range(4)])
    assert model.probabilities(last)[:, -1].sum() == pytest.approx(1.0)


def test_discounts_are_chen_and_goodmans():
    """Counts of counts of bigrams 1: 3, 2: 2, 3: 1, 4: 1."""
    pairs = [(0, 1), (1, 2), (2, 3)] + 2 * [(3, 4)] + 2 * [(4, 5)] + 3 * [(5, 6)] + 4 * [(6, 7)]
    # A pair a sequence, apart from the start mark; grams that begin with it are bigrams as well.
    model = NGram(np.array(pairs), 8, 2)
    grams = [*pairs, *(("start", first) for first, _ in pairs)]
    counts = np.bincount(list(Counter(grams).values()))
    n1, n2, n3, n4 = counts[1:5]
    y = n1 / (n1 + 2 * n2)
    expected = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    assert model.discounts[1] == pytest.approx(expected)


def test_repetition_is_learned():
    text = np.array([list(itertools.islice(itertools.cycle([3, 1, 4, 1, 5, 9, 2, 6]), 64))] * 4)
    model = NGram(text, 10)
    assert model.probabilities(text)[:, 8:].min() > 0.7
    assert model.probabilities(np.array([[7, 7, 7, 7]]))[0].max() < 0.1
