"""Rules that decide which pages stay: language, lists, and one of three profiles.

`prose` runs the published rules for English web text (`filters/prose.py`). `mathematics` and `code` run a few gentle
ones: rules for prose (curly brackets, stop words, ends of lines) throw away the formulas and the code that such a
corpus is made of.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from corpus.schema import judged
from filters.language import Language, detect_language
from filters.prose import Prose, Verdict
from filters.url_lists import Lists

WORD = re.compile(r"\w+")
LETTERS = re.compile(r"[^\W\d_]+")
FENCED = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)

Profile = Literal["prose", "mathematics", "code"]
SCORE = pa.field("language_score", pa.float32())


@dataclass(frozen=True)
class Quality:
    """Transform: fill `language` and `language_score`, drop pages by language, lists and a profile's rules.

    Args:
        languages: ISO 639 codes to keep; empty keeps all, also pages whose language is not known.
        min_chars, max_chars: bounds on the length of the text.
        min_letters: least share of letters among the characters that are not spaces.
        max_repeated_lines: greatest share of characters in lines that occurred before on the page (Gopher's
            duplicate-line fraction).
        max_top_word: greatest share of one word among all words.
        profile: `prose` runs `prose` instead of the three shares above; `code` measures repetition outside of fenced
            code only.
        min_language_score: least probability of the language, 0 to 1; 0 keeps all.
        prose: the rules of the profile `prose`; C4's leave out lines of the pages that stay.
        lists: what is blocked by domain, URL and word.
    """

    languages: tuple[str, ...]
    min_chars: int
    max_chars: int
    min_letters: float
    max_repeated_lines: float
    max_top_word: float
    profile: Profile = "mathematics"
    min_language_score: float = 0.0
    prose: Prose = field(default_factory=Prose)
    lists: Lists = field(default_factory=Lists)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows if SCORE.name in rows.names else rows.append(SCORE)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts: list[str] = []
            languages: list[Language] = []
            verdicts: list[Verdict] = []
            for url, text in zip(batch["url"].to_pylist(), batch["text"].to_pylist(), strict=True):
                language = detect_language(text or "")
                verdict, text = self.judge(text or "", language, url)
                texts.append(text)
                languages.append(language)
                verdicts.append(verdict)
            new = {
                "text": pa.array(texts, pa.string()),
                "language": pa.array([language.code for language in languages], pa.string()),
                SCORE.name: pa.array([language.score for language in languages], SCORE.type),
            }
            schema = self.schema(batch.schema)
            columns = [new[name] if name in new else batch[name] for name in schema.names]
            yield judged(pa.RecordBatch.from_arrays(columns, schema=schema), verdicts)

    def judge(self, text: str, language: Language, url: str | None = None) -> tuple[Verdict, str]:
        """(reason, measured value) for a page that goes, None for one that stays, and its text as edited."""
        verdict = self._bounds(text, language) or self.lists.verdict(url, text, language.code)
        if verdict is None and self.profile == "prose":
            return self.prose.judge(text, language.code)
        return verdict or self._gentle(text), text

    def _bounds(self, text: str, language: Language) -> Verdict:
        if len(text) < self.min_chars:
            return "too_short", f"{len(text)} characters"
        if len(text) > self.max_chars:
            return "too_long", f"{len(text)} characters"
        if self.languages and language.code not in self.languages:
            return "other_language", language.code or "unknown"
        if language.score < self.min_language_score:
            return "uncertain_language", f"{language.code or 'unknown'} {language.score:.3f}"
        return None

    def _gentle(self, text: str) -> Verdict:
        letters = sum(map(len, LETTERS.findall(text)))
        solid = sum(map(len, text.split()))
        if letters < self.min_letters * solid:
            return "few_letters", f"{letters / max(solid, 1):.3f}"
        if self.profile == "code":  # code repeats itself by nature
            text = FENCED.sub("", text)
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
