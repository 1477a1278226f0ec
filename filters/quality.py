"""Language and rules for web pages. Rules for English prose (curly brackets, stop words, ends of lines) are left
out on purpose: they throw away the formulas and the code that this corpus is made of."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from corpus.schema import judged
from filters.language import detect_language

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Quality:
    """Transform: fill `language` and drop pages by language and by simple statistics.

    Args:
        languages: ISO 639 codes to keep; empty keeps all, also pages whose language is not known.
        min_chars, max_chars: bounds on the length of the text.
        min_letters: least share of letters among the characters that are not spaces.
        max_repeated_lines: greatest share of characters in lines that occurred before on the page (Gopher's
            duplicate-line fraction).
        max_top_word: greatest share of one word among all words.
    """

    languages: tuple[str, ...]
    min_chars: int
    max_chars: int
    min_letters: float
    max_repeated_lines: float
    max_top_word: float

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            languages: list[str | None] = []
            verdicts: list[tuple[str, str] | None] = []
            for text in batch.column("text").to_pylist():
                text = text or ""
                language = detect_language(text)
                languages.append(language)
                verdicts.append(self.verdict(text, language))
            place = batch.schema.get_field_index("language")
            batch = batch.set_column(place, "language", pa.array(languages, pa.string()))
            yield judged(batch, verdicts)

    def verdict(self, text: str, language: str | None) -> tuple[str, str] | None:
        """(reason, measured value) for a page that goes, None for one that stays."""
        if len(text) < self.min_chars:
            return "too_short", f"{len(text)} characters"
        if len(text) > self.max_chars:
            return "too_long", f"{len(text)} characters"
        if self.languages and language not in self.languages:
            return "other_language", language or "unknown"
        letters = sum(map(str.isalpha, text))
        solid = len(text) - sum(map(str.isspace, text))
        if letters < self.min_letters * solid:
            return "few_letters", f"{letters / max(solid, 1):.3f}"
        lines = [line for line in map(str.strip, text.split("\n")) if line]
        repeated = sum(len(line) * (count - 1) for line, count in Counter(lines).items())
        total = sum(map(len, lines))
        if repeated > self.max_repeated_lines * total:
            return "repeated_lines", f"{repeated / total:.3f}"
        words = Counter(WORD.findall(text.lower()))
        top = max(words.values(), default=0)
        if top > self.max_top_word * max(sum(words.values()), 1):
            return "repeated_word", f"{top / sum(words.values()):.3f}"
        return None
