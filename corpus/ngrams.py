"""Text to hashed n-grams, for near-duplicates and for contamination: one normaliser, vectorised."""

import re
import unicodedata
from functools import lru_cache
from typing import Literal

import numpy as np
import xxhash

Profile = Literal["prose", "math", "code"]

# Han, kana, Thai, Lao, Khmer and Burmese are written without spaces: there each character is a token.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = rf"[^\W_{UNSPACED}]+|[{UNSPACED}]"
TOKENS = {
    "prose": re.compile(WORD),
    # In mathematics and code an operator is a word: x^2+1=0 and x^3-2=5 differ.
    "math": re.compile(rf"\\[A-Za-z]+|{WORD}|[^\w\s]"),
    "code": re.compile(rf"[^\W{UNSPACED}]+|[{UNSPACED}]|[^\w\s]"),
}
# Odd multiplier of the polynomial that chains token hashes into n-gram hashes (2^64 / golden ratio).
CHAIN = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def tokenize(text: str, profile: Profile) -> list[str]:
    """Lower-case NFKC words of a text; `math` and `code` keep every operator, digit and symbol as a token."""
    return TOKENS[profile].findall(unicodedata.normalize("NFKC", text).lower())


@lru_cache(maxsize=1 << 20)
def token_hash(token: str) -> int:
    return xxhash.xxh64_intdigest(token.encode("utf-8", "surrogatepass"))


def ngram_hashes(tokens: list[str], n: int) -> np.ndarray:
    """Hashes [T - n + 1] uint64 of the n-grams in order; none where there are fewer than n tokens."""
    if len(tokens) < n:
        return np.empty(0, np.uint64)
    hashes = np.fromiter(map(token_hash, tokens), np.uint64, len(tokens))
    count = len(tokens) - n + 1
    chained = np.zeros(count, np.uint64)
    for offset in range(n):
        chained = chained * np.uint64(CHAIN) + hashes[offset : offset + count]
    # The polynomial alone keeps its low bits weak; finish with splitmix64's mixer.
    chained ^= chained >> np.uint64(30)
    chained *= MIX_1
    chained ^= chained >> np.uint64(27)
    chained *= MIX_2
    return chained ^ (chained >> np.uint64(31))


def shingles(text: str, profile: Profile, n: int) -> np.ndarray:
    """The set of n-gram hashes of a text, sorted. A text of fewer than n tokens is one shingle: all of it."""
    tokens = tokenize(text, profile)
    return np.unique(ngram_hashes(tokens, min(n, max(len(tokens), 1))))
