import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.ngrams import ngram_hashes, shingles, tokenize


@given(st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=40), st.integers(1, 6))
def test_equal_ngrams_have_equal_hashes_and_others_do_not(tokens, n):
    hashes = ngram_hashes(tokens, n).tolist()
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    assert len(hashes) == len(grams)
    assert len(set(hashes)) == len(set(grams))
    assert len(set(zip(hashes, grams, strict=True))) == len(set(grams))


@pytest.mark.parametrize("profile", ["math", "code"])
def test_formulas_that_differ_in_signs_and_digits_differ(profile):
    # A normaliser that maps numbers to 0 and drops punctuation makes these the same text.
    one, other = (shingles(t, profile, 3) for t in ("x^2+1=0", "x^3-2=5"))
    assert len(np.intersect1d(one, other)) == 0


def test_a_text_shorter_than_n_is_one_shingle_of_all_of_it():
    assert len(shingles("two words", "prose", 5)) == 1
    assert shingles("two words", "prose", 5) == shingles("Two  words!", "prose", 5)
    assert shingles("two words", "prose", 5) != shingles("two birds", "prose", 5)


def test_unspaced_scripts_split_into_characters():
    assert tokenize("数学 abc です", "prose") == ["数", "学", "abc", "で", "す"]
