"""Screening of source files: is the file well-formed, can it be read, and does a classifier think well of it.

DeepSeek-Coder (arXiv 2401.14196, section 2.5) screens with a compiler, heuristics and a quality model, against
syntax errors, poor readability and low modularity, and discloses none of the three. Here the limits are data
(`code_quality.toml`), the measured value of a drop is kept, and the order is from the cheapest to the dearest:
the first thing that is wrong with a file is its reason.
"""

import difflib
import functools
import importlib.resources
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from corpus import storage
from corpus.errors import LodeError
from corpus.guarded import Failed
from corpus.languages import comment_line, kind_of
from corpus.schema import judged
from filters.classifier import load
from filters.syntax import Syntax, check_all, is_checked

REASONS = (
    "merge_conflict",
    "no_code",
    "mostly_comments",
    "mostly_strings",
    "mostly_digits",
    "repeated_lines",
    "short_names",
    "long_names",
    "deep_nesting",
    "many_todos",
    "python2",
    "syntax_error",
    "unbalanced_brackets",
    "parse_too_hard",
    "parse_too_long",
    "parse_out_of_memory",
    "parse_crashed",
    "low_quality",
)
SYNTAX = pa.field("syntax", pa.float64())
QUALITY = pa.field("quality", pa.float64())
REQUEST_CHARS = 4 << 20  # of text, held once more as JSON on its way to the parsers

Verdict = tuple[str, str] | None

# Each part stops at the next marker, so that no line is read twice.
_CONFLICT = re.compile(
    r"^<{7} [^\n]*+\n(?:(?!<{7} |>{7} |={7}\r?\n)[^\n]*+\n)*+={7}\r?\n(?:(?!<{7} |>{7} )[^\n]*+\n)*+>{7} ",
    re.M,
)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*+"|' r"'(?:[^'\\\n]|\\.)*+'", re.S)
_NAME = re.compile(r"[^\W\d]\w*")
_TODO = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|(?i:your code here|implement me)")


def default_limits() -> dict[str, Any]:
    """`code_quality.toml` as it is."""
    text = importlib.resources.files("filters").joinpath("code_quality.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def limits_of(path: str | None = None) -> dict[str, Any]:
    """The limits that come with Lode, under those of a TOML file of one's own; a wrong file is a `LodeError`."""
    limits = default_limits()
    if path is None:
        return limits
    where = f"code quality {path}"
    own = storage.read_toml(path, where)
    languages = own.pop("languages", {})
    if not isinstance(languages, dict) or not all(isinstance(table, dict) for table in languages.values()):
        raise LodeError(f'{where}: languages holds tables, as in [languages."C++"].')
    keys = [key for key in limits if key != "languages"]
    for table in (own, *languages.values()):
        for key, value in table.items():
            if key not in keys:
                raise LodeError(
                    f"{where}: there is no limit {key!r}; did you mean "
                    f"{difflib.get_close_matches(key, keys, 1, 0)[0]!r}?"
                )
            if value is not False and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise LodeError(f"{where}: {key} = {value!r} has to be a number (or false: no limit).")
    merged = {name: {**limits["languages"].get(name, {}), **table} for name, table in languages.items()}
    return {**limits, **own, "languages": {**limits["languages"], **merged}}


@dataclass(frozen=True)
class CodeQuality:
    """Transform over rows with `text` and `language`: drop files by syntax, readability and a learned score.

    Adds `syntax`, the share of a file that its parser could not explain (null: no parser for the language), and
    `quality`, the classifier's score (null: no classifier).

    Args:
        limits: as `limits_of` gives them.
        syntax, heuristics: whether to look at these at all.
        python2: keep files that are Python 2; otherwise they go as `python2`.
        classifier: path of a scorer of `lode classify train`; None: no learned score.
        mark: changes with the classifier's content.
        min_score, min_scores: least score, and least score of single languages.
    """

    limits: Mapping[str, Any] = field(default_factory=default_limits)
    syntax: bool = True
    heuristics: bool = True
    python2: bool = False
    classifier: str | None = None
    mark: str = ""
    min_score: float = 0.0
    min_scores: Mapping[str, float] = field(default_factory=dict)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return pa.schema(
            [*(column for column in rows if column.name not in ("syntax", "quality")), SYNTAX, QUALITY]
        )

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts = [text or "" for text in batch["text"].to_pylist()]
            languages = batch["language"].to_pylist()
            verdicts: list[Verdict] = [
                self.readable(text, language) for text, language in zip(texts, languages, strict=True)
            ]
            shares: list[float | None] = [None] * len(texts)
            if self.syntax:
                self._check(texts, languages, verdicts, shares)
            scores: list[float | None] = [None] * len(texts)
            if self.classifier:
                self._score(texts, languages, verdicts, scores)
            schema = self.schema(batch.schema)
            new = {"syntax": pa.array(shares, SYNTAX.type), "quality": pa.array(scores, QUALITY.type)}
            columns = [new[name] if name in new else batch[name] for name in schema.names]
            yield judged(pa.RecordBatch.from_arrays(columns, schema=schema), verdicts)

    def limits_for(self, language: str | None) -> dict[str, Any]:
        """The limits for a language; what is false does not apply."""
        return {**self.limits, **self.limits["languages"].get(language or "", {})}

    def readable(self, text: str, language: str | None) -> Verdict:
        """(reason, measured value) of the first thing that makes the file hard to read, or None."""
        if _CONFLICT.search(text):
            return "merge_conflict", "conflict markers"
        if not self.heuristics or language is None or kind_of(language) != "programming":
            return None
        limits, facts = self.limits_for(language), Readability(text, language)
        if over(limits, "max_comment_share", share := facts.comment_share):
            return "mostly_comments" if facts.lines else "no_code", f"{share:.3f}"
        if facts.lines < limits["min_lines"]:
            return None
        if over(limits, "max_string_share", share := facts.string_share):
            return "mostly_strings", f"{share:.3f}"
        if over(limits, "max_digit_share", share := facts.digit_share):
            return "mostly_digits", f"{share:.3f}"
        if over(limits, "max_repeated_share", share := facts.repeated_share):
            return "repeated_lines", f"{share:.3f}"
        if (least := limits["min_mean_name"]) is not False and facts.mean_name < least:
            return "short_names", f"{facts.mean_name:.2f} characters"
        if over(limits, "max_mean_name", facts.mean_name):
            return "long_names", f"{facts.mean_name:.2f} characters"
        if over(limits, "max_mean_indentation", facts.mean_indentation):
            return "deep_nesting", f"{facts.mean_indentation:.1f} columns"
        if over(limits, "max_todo_share", share := facts.todo_share):
            return "many_todos", f"{share:.3f}"
        return None

    def well_formed(self, syntax: Syntax | Failed, language: str | None) -> Verdict:
        """(reason, measured value) for what is wrong with a file's syntax, or None.

        A file that no parser gets through within the limits goes: it is data or made to do harm.
        """
        if isinstance(syntax, Failed):
            return f"parse_{syntax.reason}", language or ""
        if syntax.fault == "python2":
            return None if self.python2 else ("python2", "what only Python 2 understands")
        if syntax.fault:
            return "unbalanced_brackets", syntax.fault
        if syntax.error_share is not None and over(
            self.limits_for(language), "max_error_share", syntax.error_share
        ):
            return "syntax_error", f"{syntax.error_share:.5f} of the file"
        return None

    def _check(
        self,
        texts: list[str],
        languages: list[str | None],
        verdicts: list[Verdict],
        shares: list[float | None],
    ) -> None:
        held: list[int] = []
        chars = 0
        left = [i for i, verdict in enumerate(verdicts) if verdict is None and is_checked(languages[i])]
        for i in left:
            held.append(i)
            chars += len(texts[i])
            if chars < REQUEST_CHARS and i != left[-1]:
                continue
            found = check_all([(languages[k] or "", texts[k]) for k in held])
            for k, syntax in zip(held, found, strict=True):
                verdicts[k] = self.well_formed(syntax, languages[k])
                shares[k] = None if isinstance(syntax, Failed) else syntax.error_share
            held, chars = [], 0

    def _score(
        self,
        texts: list[str],
        languages: list[str | None],
        verdicts: list[Verdict],
        scores: list[float | None],
    ) -> None:
        left = [i for i, verdict in enumerate(verdicts) if verdict is None]
        found = (
            load(self.classifier or "", self.mark).score([texts[i] for i in left]).tolist() if left else []
        )
        for i, score in zip(left, found, strict=True):
            scores[i] = score
            if score < self.min_scores.get(languages[i] or "", self.min_score):
                verdicts[i] = "low_quality", f"{score:.4f}"


def over(limits: Mapping[str, Any], key: str, value: float) -> bool:
    """Whether a value is above its limit, if it has one."""
    return limits[key] is not False and value > limits[key]


class Readability:
    """Measures of one file, each made when it is asked for; time and memory are linear in the text.

    Shares are of characters other than blanks; strings and comments are found by their quotes and marks, not by
    a parser, and so are good for averages only.
    """

    def __init__(self, text: str, language: str) -> None:
        self.text = text
        self.code, self.has_comments = without_comments(text, language)
        self.rows = [line for line in self.code.split("\n") if line and not line.isspace()]
        self.lines = len(self.rows)
        self.size = max(len("".join(self.code.split())), 1)

    @functools.cached_property
    def comment_share(self) -> float:
        """Characters of comments."""
        if not self.has_comments:
            return 0.0
        every = len("".join(self.text.split()))
        return 1 - (self.size if self.rows else 0) / every

    @functools.cached_property
    def string_share(self) -> float:
        """Characters of strings, in what is not comment."""
        return min(
            sum(len("".join(string.split())) for string in _STRING.findall(self.code)) / self.size, 1.0
        )

    @functools.cached_property
    def digit_share(self) -> float:
        """Digits, in what is not comment."""
        return sum(map(self.code.count, "0123456789")) / self.size

    @functools.cached_property
    def repeated_share(self) -> float:
        """Characters in lines that occurred before; lines of less than five characters are brackets."""
        lines = Counter(line for line in map(str.strip, self.rows) if len(line) > 4)
        every = sum(len(line) * count for line, count in lines.items())
        return sum(len(line) * (count - 1) for line, count in lines.items()) / max(every, 1)

    @functools.cached_property
    def mean_name(self) -> float:
        """Mean length of words outside of strings and comments, keywords among them."""
        names = _NAME.findall(_STRING.sub(" ", self.code))
        return sum(map(len, names)) / len(names) if names else 0.0

    @functools.cached_property
    def mean_indentation(self) -> float:
        """Mean columns before the first character of a line; a tab is four."""
        blanks = [row[: len(row) - len(row.lstrip())] for row in self.rows]
        return sum(len(blank) + 3 * blank.count("\t") for blank in blanks) / max(self.lines, 1)

    @functools.cached_property
    def todo_share(self) -> float:
        """Marks of unfinished work per line that is not blank, comments among them."""
        return len(_TODO.findall(self.text)) / max(sum(map(bool, map(str.strip, self.text.split("\n")))), 1)


@functools.cache
def _comment_marks(language: str) -> tuple[re.Pattern[str], str]:
    """What begins a comment at the beginning of a line, and what ends one that goes over several."""
    opening, *closing = comment_line(language, "").split()
    if opening in ("//", "/*"):
        line, block, end = "//", "/*", "*/"
    elif closing:
        line, block, end = None, opening, closing[-1]
    else:
        line, block, end = opening, None, ""
    kinds = [f"(?P<line>{re.escape(line)}[^\\n]*)"] if line else []
    kinds += [f"(?P<block>{re.escape(block)})"] if block else []
    return re.compile(rf"^[ \t]*+(?:{'|'.join(kinds)})", re.M), end


def without_comments(text: str, language: str) -> tuple[str, bool]:
    """`text` without the comments that begin a line, and whether there were any."""
    pattern, end = _comment_marks(language)
    kept: list[str] = []
    at = 0
    while match := pattern.search(text, at):
        kept.append(text[at : match.start()])
        at = match.end()
        if match.lastgroup == "block":
            close = text.find(end, at)
            at = len(text) if close < 0 else close + len(end)
    return "".join([*kept, text[at:]]) if kept or at else text, bool(at)
