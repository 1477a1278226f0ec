import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import ngrams
from corpus.ngrams import UNSPACED_CHARACTERS, blocks, nfc

WORDS = re.compile(rf"[^\W_{UNSPACED_CHARACTERS}]+|[{UNSPACED_CHARACTERS}]")


def tokens(text, profile="prose"):
    """The tokens of a text, as they stand in it."""
    return [
        text[start:end]
        for block in blocks([text], profile)
        for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True)
    ]


def shingles(text, profile, n):
    found = [block.shingles(n)[0] for block in blocks([text], profile, n - 1)]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *found]))


# Letters, digits, blanks, signs and Han, without marks: there Python's \w is an oracle.
PLAIN = st.text(st.sampled_from("abcXYZéßñ0189 \n\t_.,;+-$\\^{}数学です中"), max_size=80)


@given(PLAIN)
def test_words_are_those_of_a_regular_expression(text):
    text = unicodedata.normalize("NFC", text)
    assert tokens(text) == WORDS.findall(text)


@given(st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=40), st.integers(1, 6))
def test_equal_ngrams_have_equal_hashes_and_others_do_not(words, n):
    found = [block.ngrams(n)[0] for block in blocks([" ".join(words)], "prose")]
    hashes = np.concatenate([np.empty(0, np.uint64), *found]).tolist()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    assert len(hashes) == len(grams)
    assert len(set(hashes)) == len(set(grams)) == len(set(zip(hashes, grams, strict=True)))


@given(st.lists(st.text(max_size=60), max_size=12), st.sampled_from(ngrams.PROFILES), st.integers(1, 5))
def test_a_document_does_not_depend_on_its_neighbours_nor_on_blocks(texts, profile, n):
    alone = [shingles(text, profile, n) for text in texts]
    together = [set() for _ in texts]
    for block in blocks(texts, profile, n - 1):
        hashes, counts = block.shingles(n)
        for number, part in enumerate(np.split(hashes, np.cumsum(counts)[:-1])):
            together[block.first + number] |= set(part.tolist())
    assert [set(found.tolist()) for found in alone] == together


@given(st.text(st.sampled_from("ab ﬁéc數\u00ad\u0301-_+"), min_size=1, max_size=400), st.integers(1, 4))
def test_a_long_document_is_the_same_in_stretches(text, n):
    # A word longer than a block is cut in two: only texts with gaps are the same.
    text = re.sub(r"(\S{16})(?=\S)", r"\1 ", unicodedata.normalize("NFC", text))
    whole = shingles(text, "prose", n), tokens(text)
    size = ngrams.BLOCK
    try:
        ngrams.BLOCK = 64
        assert np.array_equal(shingles(text, "prose", n), whole[0]) and tokens(text) == whole[1]
    finally:
        ngrams.BLOCK = size


@given(st.text(st.sampled_from("aé\u0301\u0323\u0344 각ᄀ\u1161\u11a8が\u3099か中Å\u2126\n"), max_size=300))
def test_texts_are_normalised_in_pieces_as_at_once(text):
    size = ngrams.BLOCK
    try:
        ngrams.BLOCK = 8
        assert nfc(text) == unicodedata.normalize("NFC", text)
    finally:
        ngrams.BLOCK = size


def test_marks_without_end_are_left_and_normalised_twice_is_once():
    text = "e\u0301 " * 100_000 + "a" + "\u0323\u0301" * 1000 + " e\u0301" * 100_000
    assert nfc(text) == text
    short = "a" + "\u0344" * 200 + " e\u0301"
    assert nfc(nfc(short)) == nfc(short) != short


def test_a_million_words_have_a_million_hashes():
    words = np.unique(np.random.default_rng(0).integers(0, 36**6, 1_000_000))
    text = " ".join(np.base_repr(word, 36).lower() for word in words.tolist())
    hashes = np.concatenate([block.hashes for block in blocks([text], "prose")])
    assert len(np.unique(hashes)) == len(words)
    assert len(np.unique(hashes >> np.uint64(40))) > 900_000  # the upper bits alone tell most of them apart


@pytest.mark.parametrize("profile", ["math", "code"])
def test_formulas_that_differ_in_signs_and_digits_differ(profile):
    # A normaliser that maps numbers to 0 and drops punctuation makes these the same text.
    one, other = (shingles(text, profile, 3) for text in ("x^2+1=0", "x^3-2=5"))
    assert len(np.intersect1d(one, other)) == 0
    assert tokens("a += b_1*x", profile)[:4] == ["a", "+", "=", "b" if profile == "math" else "b_1"]


def test_case_and_forms_fold_in_prose_alone():
    assert np.array_equal(
        shingles("The ﬁrst ½ NAÏVE", "prose", 2), shingles("the first 1⁄2 naïve", "prose", 2)
    )
    assert not np.array_equal(shingles("$A x$", "math", 2), shingles("$a x$", "math", 2))


def test_hidden_characters_do_not_hide_a_word():
    assert np.array_equal(
        shingles("exam\u00adple \ufeffword", "prose", 1), shingles("example word", "prose", 1)
    )
    assert tokens("exam\u00adple ﬁne") == ["exam\u00adple", "ﬁne"]


def test_marks_belong_to_their_word():
    assert tokens("हिन्दी में") == ["हिन्दी", "में"]


def test_a_text_shorter_than_n_is_one_shingle_of_all_of_it():
    assert len(shingles("two words", "prose", 5)) == 1
    assert shingles("two words", "prose", 5) == shingles("Two  words!", "prose", 5)
    assert shingles("two words", "prose", 5) != shingles("two birds", "prose", 5)
    assert len(shingles("...", "prose", 5)) == 0


def test_unspaced_scripts_split_into_characters():
    assert tokens("数学 abc です") == ["数", "学", "abc", "で", "す"]


def test_lone_surrogates_and_nulls_are_read():
    assert tokens("a\ud800b \x00c") == ["a", "b", "c"]
