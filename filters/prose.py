"""Rules for prose: Gopher's repetition and quality rules, C4's and FineWeb's, with their published thresholds.

Verdicts, reasons and edits are datatrove 0.10.1's (`GopherRepetitionFilter`, `GopherQualityFilter`,
`C4QualityFilter`, `FineWebQualityFilter`), document by document; see `benchmarks/prose_rules.py`. They are made for
prose: of code and of pages full of formulas they leave next to nothing.

A threshold of 0 (-1 in C4's rules) switches its rule off. Shares are of characters, lines or words as named; a detail
is the value that was measured.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import mul
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from filters.words import Splitter, splitter, tables

PARAGRAPHS = re.compile(r"\n{2,}")
LINES = re.compile(r"\n+")
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
# C4's ends of a line; FineWeb's are `terminal` of words.toml.
ENDS = (".", "?", "!", '"', "'")
BULLETS = ("•", "-")
ELLIPSES = ("...", "…")

NOWHERE = np.empty(0, np.int64)
# Odd, and of no other meaning.
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Verdict = tuple[str, str] | None
FilterName = Literal["gopher_repetition", "gopher_quality", "c4", "fineweb"]


class Text:
    """A text with its words, found when a rule first asks for them."""

    def __init__(self, text: str, splitter: Splitter) -> None:
        self.text = text
        self.splitter = splitter

    @functools.cached_property
    def words(self) -> list[str]:
        return self.splitter.words(self.text)

    @functools.cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.words)

    def count_words(self) -> int:
        return len(self.words) if "words" in self.__dict__ else self.splitter.count(self.text)


class Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GopherRepetition(Rules):
    """Table A1 of arXiv 2112.11446: greatest shares of repeated lines, paragraphs and n-grams."""

    dup_para_frac: float = 0.3
    dup_para_char_frac: float = 0.2
    dup_line_frac: float = 0.3
    dup_line_char_frac: float = 0.2
    top_n_grams: tuple[tuple[int, float], ...] = ((2, 0.2), (3, 0.18), (4, 0.16))
    dup_n_grams: tuple[tuple[int, float], ...] = (
        *((5, 0.15), (6, 0.14), (7, 0.13)),
        *((8, 0.12), (9, 0.11), (10, 0.10)),
    )

    def verdict(self, document: Text) -> Verdict:
        text = document.text
        size = len(text)
        if not size:
            return "empty", "0 characters"
        paragraphs = PARAGRAPHS.split(text.strip())
        repeated, chars = _duplicates(paragraphs)
        if self.dup_para_frac and (share := repeated / len(paragraphs)) > self.dup_para_frac:
            return "dup_para_frac", f"{share:.3f}"
        if self.dup_para_char_frac and (share := chars / size) > self.dup_para_char_frac:
            return "dup_para_char_frac", f"{share:.3f}"
        lines = LINES.split(text)
        repeated, chars = _duplicates(lines)
        if self.dup_line_frac and (share := repeated / len(lines)) > self.dup_line_frac:
            return "dup_line_frac", f"{share:.3f}"
        if self.dup_line_char_frac and (share := chars / size) > self.dup_line_char_frac:
            return "dup_line_char_frac", f"{share:.3f}"
        return self._top(document.words, document.counts, size) or self._duplicated(document.words, size)

    def _top(self, words: Sequence[str], counts: Counter[str], size: int) -> Verdict:
        """Characters of the most frequent n-gram."""
        # An n-gram is no more frequent than each word in it, so it cannot have more characters than its words.
        heaviest = max(map(mul, map(len, counts), counts.values()), default=0)
        most = max(counts.values(), default=0)
        for n, limit in self.top_n_grams:
            if len(words) < n or (n * heaviest + (n - 1) * most) / size <= limit:
                continue
            grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
            top = max(grams, key=grams.__getitem__)
            if (share := (sum(map(len, top)) + n - 1) * grams[top] / size) > limit:
                return f"top_{n}_gram", f"{share:.3f}"
        return None

    def _duplicated(self, words: Sequence[str], size: int) -> Verdict:
        """Characters of n-grams that occurred before, without overlaps."""
        if not self.dup_n_grams:
            return None
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        starts = np.concatenate(([0], lengths.cumsum()))
        # Where an n-gram repeats, so do the shorter ones in it: elsewhere nothing has to be looked for.
        shortest = min(n for n, _ in self.dup_n_grams)
        places, again = _repeating(words, shortest)
        # With overlaps these are no fewer characters than any of the shares below counts.
        most = int((starts[again + shortest] - starts[again]).sum()) / size
        if all(most <= limit for _, limit in self.dup_n_grams):
            return None
        joined, offsets, found = "".join(words), starts.tolist(), places.tolist()
        for n, limit in self.dup_n_grams:
            if (share := _repeated(joined, offsets, found, n) / size) > limit:
                return f"duplicated_{n}_n_grams", f"{share:.3f}"
        return None


class GopherQuality(Rules):
    """Section A1.1 of arXiv 2112.11446: counts and shares of words, symbols, bullets, ellipses and stop words."""

    min_doc_words: int = 50
    max_doc_words: int = 100_000
    min_avg_word_length: float = 3
    max_avg_word_length: float = 10
    max_symbol_word_ratio: float = 0.1
    max_bullet_lines_ratio: float = 0.9
    max_ellipsis_lines_ratio: float = 0.3
    min_alpha_words_ratio: float = 0.8
    min_stop_words: int = 2
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")

    def verdict(self, document: Text) -> Verdict:
        text, words, counts = document.text, document.words, document.counts
        no_word = tables()["punctuation"] | tables()["terminal"]
        solid = chars = alphabetic = 0
        for word, count in counts.items():
            if word[0].isalpha():
                solid += count
                chars += count * len(word)
                alphabetic += count
                continue
            if not no_word.issuperset(word):
                solid += count
                chars += count * len(word)
            if any(map(str.isalpha, word)):
                alphabetic += count
        if self.min_doc_words and solid < self.min_doc_words:
            return "gopher_short_doc", f"{solid} words"
        if self.max_doc_words and solid > self.max_doc_words:
            return "gopher_long_doc", f"{solid} words"
        if not words:
            return None
        mean = chars / max(solid, 1)
        if self.min_avg_word_length and solid and mean < self.min_avg_word_length:
            return "gopher_below_avg_threshold", f"{mean:.3f}"
        if self.max_avg_word_length and mean > self.max_avg_word_length:
            return "gopher_above_avg_threshold", f"{mean:.3f}"
        if self.max_symbol_word_ratio:
            if (ratio := text.count("#") / len(words)) > self.max_symbol_word_ratio:
                return "gopher_too_many_hashes", f"{ratio:.3f}"
            if (ratio := sum(map(text.count, ELLIPSES)) / len(words)) > self.max_symbol_word_ratio:
                return "gopher_too_many_ellipsis", f"{ratio:.3f}"
        lines = text.splitlines()
        bullets = sum(line.lstrip().startswith(BULLETS) for line in lines) / len(lines)
        if self.max_bullet_lines_ratio and bullets > self.max_bullet_lines_ratio:
            return "gopher_too_many_bullets", f"{bullets:.3f}"
        ellipses = sum(line.rstrip().endswith(ELLIPSES) for line in lines) / len(lines)
        if self.max_ellipsis_lines_ratio and ellipses > self.max_ellipsis_lines_ratio:
            return "gopher_too_many_end_ellipsis", f"{ellipses:.3f}"
        if self.min_alpha_words_ratio and (ratio := alphabetic / len(words)) < self.min_alpha_words_ratio:
            return "gopher_below_alpha_threshold", f"{ratio:.3f}"
        stops = len(counts.keys() & self.stop_words)
        if self.min_stop_words and stops < self.min_stop_words:
            return "gopher_enough_stop_words", f"{stops} stop words"
        return None


class C4(Rules):
    """Section 2.2 of arXiv 1910.10683: lines that are no sentences, notices and citations go; what is left decides.

    FineWeb runs it with `terminal_punctuation = false`, because that rule takes headings, lists and formulas too.
    """

    terminal_punctuation: bool = True
    remove_citations: bool = True
    min_num_sentences: int = 5
    min_words_per_line: int = 3
    max_word_length: int = 1000
    lorem_ipsum: bool = True
    javascript: bool = True
    curly_bracket: bool = True
    policy: bool = True

    def edit(self, document: Text) -> tuple[Verdict, str]:
        """The verdict, and the text without the lines and citations that go."""
        text = document.text
        kept: list[str] = []
        sentences = 0
        lowered = text.lower()
        # Where a citation goes, what it parted may become a phrase, so then each line is asked.
        cited = self.remove_citations and "[" in text
        lorem = self.lorem_ipsum and (cited or "lorem ipsum" in lowered)
        javascript = self.javascript and (cited or "javascript" in lowered)
        policy = self.policy and (cited or any(phrase in lowered for phrase in POLICIES))
        for line in map(str.strip, text.splitlines()):
            pieces = line.split()
            if len(line) > self.max_word_length != -1 and max(map(len, pieces)) > self.max_word_length:
                continue
            if cited:
                line = CITATION.sub("", line)
            if self.terminal_punctuation and (not line.endswith(ENDS) or line.endswith("...")):
                continue
            if len(pieces) < self.min_words_per_line:
                continue
            low = line.lower() if lorem or javascript or policy else ""
            if lorem and "lorem ipsum" in low:
                return ("lorem_ipsum", "lorem ipsum"), text
            if javascript and "javascript" in low:
                continue
            if self.curly_bracket and "{" in line:
                return ("curly_bracket", f"line {text[: text.index('{')].count(chr(10)) + 1}"), text
            if policy and any(phrase in low for phrase in POLICIES):
                continue
            if sentences < self.min_num_sentences:
                sentences += document.splitter.sentences(line)
            kept.append(line)
        if sentences < self.min_num_sentences:
            return ("too_few_sentences", f"{sentences} sentences"), text
        return None, "\n".join(kept).strip()


class FineWeb(Rules):
    """Section 3.6 of arXiv 2406.17557: ends and lengths of lines, repeated lines, lists."""

    line_punct_thr: float = 0.12
    line_punct_exclude_zero: bool = False
    short_line_thr: float = 0.67
    short_line_length: int = 30
    char_duplicates_ratio: float = 0.01
    new_line_ratio: float = 0.3

    def verdict(self, document: Text) -> Verdict:
        text = document.text
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not lines:
            return "empty", "0 lines"
        ends = tables()["terminal"]
        ratio = sum(line[-1] in ends for line in lines) / len(lines)
        if ratio < self.line_punct_thr and not (ratio == 0 and self.line_punct_exclude_zero):
            return "line_punct_ratio", f"{ratio:.3f}"
        ratio = sum(len(line) <= self.short_line_length for line in lines) / len(lines)
        if ratio > self.short_line_thr:
            return "short_line_ratio", f"{ratio:.3f}"
        breaks = text.count("\n")
        ratio = _duplicates(lines)[1] / (len(text) - breaks)
        if ratio > self.char_duplicates_ratio:
            return "char_dup_ratio", f"{ratio:.3f}"
        if (ratio := breaks / document.count_words()) > self.new_line_ratio:
            return "list_ratio", f"{ratio:.3f}"
        return None


class Judgement(NamedTuple):
    verdict: Verdict
    text: str  # as C4's rules leave it


class Prose(Rules):
    """Which filters run, in their order, each on what the one before left."""

    filters: tuple[FilterName, ...] = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
    gopher_repetition: GopherRepetition = GopherRepetition()
    gopher_quality: GopherQuality = GopherQuality()
    c4: C4 = C4()
    fineweb: FineWeb = FineWeb()

    def judge(self, text: str, language: str | None = "en") -> Judgement:
        """The first rule that a text breaks, and the text as edited up to there."""
        document = Text(text, splitter(language))
        for name in self.filters:
            if name == "c4":
                verdict, edited = self.c4.edit(document)
                if edited != document.text:
                    document = Text(edited, document.splitter)
            else:
                rules: GopherRepetition | GopherQuality | FineWeb = getattr(self, name)
                verdict = rules.verdict(document)
            if verdict:
                return Judgement(verdict, document.text)
        return Judgement(None, document.text)


def _duplicates(parts: Iterable[str]) -> tuple[int, int]:
    """How many parts occurred before, and their characters."""
    seen: set[str] = set()
    repeated = [part for part in parts if part in seen or seen.add(part)]  # type: ignore[func-returns-value]
    return len(repeated), sum(map(len, repeated))


def _repeating(words: Sequence[str], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the n-grams begin that occur more than once, and of each of these all places but one.

    By hashes, so that a few may be among them that do not.
    """
    count = len(words) - n + 1
    if count < 2:
        return NOWHERE, NOWHERE
    hashes = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    keys = hashes[:count]
    for i in range(1, n):
        keys = keys * MULTIPLIER + hashes[i : i + count]
    order = keys.argsort()
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    again = order[1:][same]
    return np.union1d(again, order[:-1][same]), again


def _repeated(joined: str, offsets: list[int], places: list[int], n: int) -> int:
    seen: set[str] = set()
    chars = at = 0
    last = len(offsets) - n
    for place in places:
        if at <= place < last:
            gram = joined[offsets[place] : offsets[place + n]]
            if gram in seen:
                chars += len(gram)
                at = place + n
            else:
                seen.add(gram)
    return chars
