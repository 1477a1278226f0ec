"""Rules that decide which source files stay, each a named reason with the value it measured.

The thresholds are data (`code_rules.toml`, where every key is explained): the published sets `deepseek-coder`,
`coder-v2` and `starcoder2`, and `strict`, which adds what the papers do not state; or a TOML file of one's own. A
file is dropped for the first rule it breaks, in the order of `REASONS`.
"""

import difflib
import functools
import importlib.resources
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import judged
from filters import generated

REASONS = (
    "lock_file",
    "minified",
    "generated",
    "unknown_language",
    "language_not_listed",
    "empty_file",
    "text_name",
    "too_many_lines",
    "mean_line_too_long",
    "line_too_long",
    "xml_prologue",
    "too_short",
    "too_long",
    "few_letters",
    "html_little_text",
    "encoded_data",
    "vendored",
)
PROLOGUE = "<?xml version="

# StarCoder2's patterns for hexadecimal and escapes; base64 is a row of at least 64 characters of a class. Hexadecimal
# is looked for only where enough of its characters stand together; the look-behind changes no match and keeps the
# search linear. The first escape is written out because the search is for what a pattern begins with.
_HEXADECIMAL = re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}")
_HEXADECIMAL_RUN = re.compile(r"(?<![0-9a-fA-Fx\\,\s])[0-9a-fA-Fx\\,\s]{23,}")
_ESCAPES = re.compile(r"\\u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4}){7,}")

# What a byte of UTF-8 may be: a letter, a digit, a backslash, part of base64, part of hexadecimal. The pattern for that
# takes every white space of Unicode, so the bytes of those characters may be part of it.
_LETTER, _DIGIT, _BACKSLASH, _IN_BASE64, _IN_HEXADECIMAL = 128, 64, 32, 1, 2
_SPACES = "".join(c for c in map(chr, range(0x10000)) if c.isspace())
_HEX_BYTES = frozenset(("0123456789abcdefABCDEFx\\," + _SPACES).encode())
_CLASSES = bytes(
    _LETTER * (c < 128 and chr(c).isalpha())
    | _DIGIT * (c < 128 and chr(c).isdigit())
    | _BACKSLASH * (c == 92)
    | _IN_BASE64 * (c < 128 and (chr(c).isalnum() or c in b"+/\n="))
    | _IN_HEXADECIMAL * (c in _HEX_BYTES)
    for c in range(256)
)
# What else than "\n" ends a line for str.splitlines.
_ENDS = "\r\v\f\x1c\x1d\x1e"
_WIDE_ENDS = "\x85\u2028\u2029"

_COUNT = "a whole number above 0"
_LENGTH = "a number above 0"
_SHARE = "a number from 0 to 1"
_SWITCH = "true or false"
_LIST = "a list of strings"
KEYS = {
    "listed": _LIST,
    "lock_files": _LIST,
    "minified_names": _LIST,
    "minified_line": _LENGTH,
    "generated": _LIST,
    "generated_within_lines": _COUNT,
    "generated_markers": _LIST,
    "names": _LIST,
    "names_containing": _LIST,
    "max_lines": _COUNT,
    "max_mean_line": _LENGTH,
    "max_line": _COUNT,
    "xml_prologue_within": _COUNT,
    "min_chars": _COUNT,
    "max_chars": _COUNT,
    "min_alphabetic_share": _SHARE,
    "count_digits": _SWITCH,
    "min_visible_share": _SHARE,
    "min_visible": _COUNT,
    "max_encoded_run": _COUNT,
    "max_encoded_share": _SHARE,
    "vendored": _SWITCH,
}

Verdict = tuple[str, str] | None


class Limits(NamedTuple):
    """The rules for one language; what is None or empty does not apply."""

    lock_files: frozenset[str]
    minified_names: tuple[str, ...]
    minified_line: float | None
    generated: tuple[str, ...]
    generated_within_lines: int | None
    generated_markers: tuple[str, ...]
    names: frozenset[str]
    names_containing: tuple[str, ...]
    max_lines: int | None
    max_mean_line: float | None
    max_line: int | None
    xml_prologue_within: int | None
    min_chars: int | None
    max_chars: int | None
    min_alphabetic_share: float | None
    count_digits: bool
    min_visible_share: float | None
    min_visible: int
    max_encoded_run: int | None
    max_encoded_share: float | None
    vendored: bool


@functools.cache
def rule_sets() -> dict[str, dict[str, Any]]:
    """The sets of `code_rules.toml` by name, as it states them."""
    return tomllib.loads(
        importlib.resources.files("filters").joinpath("code_rules.toml").read_text(encoding="utf-8")
    )


def rule_set(name: str) -> dict[str, Any]:
    """All thresholds of a set, or of a TOML file of one's own; `LodeError` where it cannot be understood."""
    sets = rule_sets()
    if name in sets:
        return _with_base(sets[name], sets, f"code rules {name!r}")
    if not name.endswith(".toml"):
        raise LodeError(
            f"code rules {name!r}: there is no such set; give {', '.join(sets)} or the path of a .toml file."
        )
    own = storage.read_toml(name, f"code rules {name}")
    return _with_base(own, sets, f"code rules {name}")


def _with_base(own: dict[str, Any], sets: dict[str, dict[str, Any]], where: str) -> dict[str, Any]:
    """`own` checked, over the set that it names as its base."""
    base = own.get("base")
    if base is not None and base not in sets:
        raise LodeError(f"{where}: base = {base!r} is no set of rules; give one of {', '.join(sets)}.")
    languages = own.get("languages", {})
    if not isinstance(languages, dict) or not all(isinstance(facts, dict) for facts in languages.values()):
        raise LodeError(f'{where}: languages holds tables, as in [languages."C++"].')
    _check({key: value for key, value in own.items() if key not in ("base", "languages")}, [*KEYS], where)
    for language, facts in languages.items():
        _check(facts, [key for key in KEYS if key != "listed"], f'{where}, languages."{language}"')
    below = _with_base(sets[base], sets, where) if base else {"languages": {}}
    merged = {
        language: {**below["languages"].get(language, {}), **facts} for language, facts in languages.items()
    }
    return {
        **below,
        **{key: value for key, value in own.items() if key != "base"},
        "languages": {**below["languages"], **merged},
    }


def _check(facts: Mapping[str, Any], keys: list[str], where: str) -> None:
    for key, value in facts.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1, 0)
            raise LodeError(f"{where}: there is no key {key!r}; did you mean {near[0]!r}?")
        if value is False or _fits(value, KEYS[key]):
            continue
        raise LodeError(f"{where}: {key} = {value!r} has to be {KEYS[key]} (or false: the rule is off).")
    for name in facts.get("generated") or ():
        if name not in generated.groups():
            raise LodeError(f"{where}: generated knows {', '.join(generated.groups())}, not {name!r}.")


def _fits(value: Any, kind: str) -> bool:
    if kind == _LIST:
        return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    if kind == _SWITCH or isinstance(value, bool):
        return kind == _SWITCH and isinstance(value, bool)
    if kind == _COUNT:
        return isinstance(value, int) and value > 0
    return isinstance(value, int | float) and (
        0 <= value <= 1 if kind == _SHARE else 0 < value < float("inf")
    )


def limits(facts: dict[str, Any], language: str | None) -> Limits:
    """The rules of `facts` (see `rule_set`) for a language."""
    facts = {**facts, **facts["languages"].get(language or "", {})}
    values: dict[str, Any] = {}
    for key in Limits._fields:
        value = facts.get(key) or None
        if key in ("lock_files", "names"):
            value = frozenset(value or ())
        elif KEYS[key] == _LIST:
            value = tuple(value or ())
        values[key] = value
    values["generated_markers"] = tuple(map(str.lower, values["generated_markers"]))
    for key in ("count_digits", "vendored"):
        values[key] = bool(values[key])
    values["min_visible"] = values["min_visible"] or 0
    return Limits(**values)


class CodeRules:
    """A `Transform` over rows with `text`, `language`, `path` and, if at hand, `vendored`.

    `rules` names a set or a TOML file, which is read here: a pickled object holds what it says. `facts` is all that
    a verdict depends on beside the row.
    """

    def __init__(self, rules: str = "deepseek-coder") -> None:
        self.facts = rule_set(rules)
        self._listed = frozenset(self.facts["listed"]) if self.facts.get("listed") else None
        self._limits: dict[str | None, Limits] = {}

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [batch.column(name).to_pylist() for name in ("text", "language", "path")]
            if "vendored" in batch.schema.names:
                columns.append(batch.column("vendored").to_pylist())
            yield judged(batch, [self.verdict(*row) for row in zip(*columns, strict=True)])

    def verdict(
        self, text: str | None, language: str | None, path: str | None, vendored: bool | None = None
    ) -> Verdict:
        """(reason, measured value) of the first rule the file breaks, or None: it stays."""
        text, path = text or "", path or ""
        name = path.rsplit("/", 1)[-1]
        rules = self._limits.get(language)
        if rules is None:
            rules = self._limits[language] = limits(self.facts, language)
        # What wrote a file says more about it than that its language is none of ours.
        if found := _by_origin(path, name, text, rules):
            return found
        if language is None:
            return ("unknown_language", name[-100:])
        if self._listed is not None and language not in self._listed:
            return ("language_not_listed", language)
        if not text or text.isspace():
            return ("empty_file", f"{len(text)} characters")
        return (
            _by_name(name.lower(), rules)
            or _by_lines(text, rules)
            or _by_size(text, rules)
            or _by_characters(text, rules)
            or (("vendored", path[-100:]) if vendored and rules.vendored else None)
        )


def _by_origin(path: str, name: str, text: str, rules: Limits) -> Verdict:
    if name in rules.lock_files:
        return ("lock_file", name)
    lower = name.lower()
    if rules.minified_line and lower.endswith((".js", ".css")):
        # Linguist's arithmetic: lines end with "\n" alone, the empty one at the end counts, the mean is cut.
        lines = text.count("\n") + 1
        if (mean := (len(text) - lines + 1) // lines) > rules.minified_line:
            return ("minified", f"{mean} characters a line")
    if lower.endswith(rules.minified_names):
        return ("minified", name[-100:])
    if rules.generated and (found := generated.generator(path, text, rules.generated)):
        return ("generated", found)
    if rules.generated_within_lines:
        head = "\n".join(first_lines(text, rules.generated_within_lines)).lower()
        for marker in rules.generated_markers:
            if marker in head:
                return ("generated", marker)
    return None


def _by_name(name: str, rules: Limits) -> Verdict:
    if not (rules.names or rules.names_containing) or name.rsplit(".", 1)[0] in rules.names:
        return None
    return None if any(part in name for part in rules.names_containing) else ("text_name", name[-100:])


def first_lines(text: str, count: int) -> list[str]:
    """The first `count` of `text.splitlines()`, without splitting the rest."""
    parts = text.split("\n", count)
    return (text[: -len(parts[count]) or None] if len(parts) > count else text).splitlines()[:count]


def _by_lines(text: str, rules: Limits) -> Verdict:
    """Rules on lines as `str.splitlines` finds them."""
    plain = not any(end in text for end in _ENDS)
    if plain and not text.isascii():
        plain = not any(end in text for end in _WIDE_ENDS)
    if plain:
        ends = text.count("\n")
        count, characters = ends + (text[-1] != "\n"), len(text) - ends
        longest = None if rules.max_line and has_line_over(text, rules.max_line) else 0
    else:
        lengths = list(map(len, text.splitlines()))
        count, characters, longest = len(lengths), sum(lengths), max(lengths)
    if rules.max_lines and count > rules.max_lines:
        return ("too_many_lines", str(count))
    if rules.max_mean_line and characters > rules.max_mean_line * count:
        return ("mean_line_too_long", f"{characters / count:.1f}")
    if longest is None:
        longest = max(map(len, text.split("\n")))
    if rules.max_line and longest > rules.max_line:
        return ("line_too_long", str(longest))
    return None


def has_line_over(text: str, most: int) -> bool:
    """Whether a line that "\n" ends has more than `most` characters: a look back from every `most` characters on."""
    at, end = 0, len(text) - most
    while at < end:
        found = text.rfind("\n", at, at + most + 1)
        if found < 0:
            return True
        at = found + 1
    return False


def _by_size(text: str, rules: Limits) -> Verdict:
    if rules.xml_prologue_within:
        at = text[: rules.xml_prologue_within].find(PROLOGUE)
        if at >= 0:
            return ("xml_prologue", f"at character {at}")
    if rules.min_chars and len(text) < rules.min_chars:
        return ("too_short", str(len(text)))
    if rules.max_chars and len(text) > rules.max_chars:
        return ("too_long", str(len(text)))
    return None


def _by_characters(text: str, rules: Limits) -> Verdict:
    encoded = rules.max_encoded_run and rules.max_encoded_share is not None
    if not (rules.min_alphabetic_share or rules.min_visible_share or encoded):
        return None
    classes = character_classes(text)
    if least := rules.min_alphabetic_share:
        share = _alphabetic(text, classes, rules.count_digits) / len(text)
        if share < least:
            return ("few_letters", f"{share:.4f}")
    if least := rules.min_visible_share:
        # What a reader sees is a fair share of the page, and not next to nothing.
        visible = len(visible_text(text))
        if visible < rules.min_visible or visible < least * len(text):
            return ("html_little_text", f"{visible} of {len(text)} characters")
    if encoded:
        return _by_encoded_data(text, classes, rules.max_encoded_run, rules.max_encoded_share)
    return None


def character_classes(text: str) -> np.ndarray:
    """What each byte of the text in UTF-8 may be, with zeros up to a multiple of 64."""
    raw = text.encode("utf-8", "surrogatepass")
    return np.frombuffer((raw + bytes(-len(raw) % 64)).translate(_CLASSES), np.uint8)


def visible_text(html: str) -> str:
    """The text of a page as a reader sees it: no scripts, styles or comments, one space where there are many."""
    return extract_plain_text(html, preserve_formatting=False, alt_texts=False, list_bullets=False).strip()


def alphabetic_share(text: str, count_digits: bool = False) -> float:
    """Share of characters that are letters (with `count_digits` letters or digits); 0 for no text."""
    if not text:
        return 0.0
    return _alphabetic(text, character_classes(text), count_digits) / len(text)


def _alphabetic(text: str, classes: np.ndarray, count_digits: bool) -> int:
    if text.isascii():
        return int(np.count_nonzero(classes & (_LETTER | _DIGIT) if count_digits else classes & _LETTER))
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return int(np.count_nonzero(_unicode(count_digits)[points]))


@functools.cache
def _unicode(count_digits: bool) -> np.ndarray:
    """For every code point whether it is a letter (or a digit), as Python's `str` says."""
    test = str.isalnum if count_digits else str.isalpha
    return np.fromiter(map(test, map(chr, range(0x110000))), np.bool_, 0x110000)


def _by_encoded_data(text: str, classes: np.ndarray, longest_allowed: int, share_allowed: float) -> Verdict:
    """Base64, hexadecimal and escaped Unicode: one long run, or together most of the file."""
    room = share_allowed * len(text)
    totals = {}
    for kind, (bounds, spans) in _ENCODED.items():
        run, totals[kind] = bounds(classes)
        if run <= longest_allowed:
            continue
        found = spans(text, classes)
        run = max((end - start for start, end in found), default=0)
        if run > longest_allowed:
            return ("encoded_data", f"{kind}: a run of {run}")
        totals[kind] = sum(end - start for start, end in found)
    if sum(totals.values()) <= room:
        return None
    matched = at = 0
    for start, end in sorted(span for found in encoded_spans(text, classes).values() for span in found):
        matched += max(0, end - max(start, at))
        at = max(at, end)
    return ("encoded_data", f"{matched / len(text):.2f} of the file") if matched > room else None


def encoded_spans(text: str, classes: np.ndarray | None = None) -> dict[str, list[tuple[int, int]]]:
    """[start, end) of the runs of base64, hexadecimal and escaped Unicode (StarCoder2, section 2.1)."""
    classes = character_classes(text) if classes is None else classes
    return {kind: spans(text, classes) for kind, (_, spans) in _ENCODED.items()}


def _base64_spans(text: str, classes: np.ndarray) -> list[tuple[int, int]]:
    if not text.isascii():
        # One byte a character; none beyond ASCII is of the class.
        classes = np.frombuffer(text.encode("latin-1", "replace").translate(_CLASSES), np.uint8)
    return _spans_of(classes & _IN_BASE64, 64)


def _hexadecimal_spans(text: str, classes: np.ndarray) -> list[tuple[int, int]]:
    if text.isascii():
        around = _spans_of(classes & _IN_HEXADECIMAL, 23)
    else:
        around = [found.span() for found in _HEXADECIMAL_RUN.finditer(text)]
    spans = []
    for start, end in around:
        # One character more on either side, so that word boundaries are those of the whole text.
        before = max(0, start - 1)
        runs = _HEXADECIMAL.finditer(text[before : end + 1])
        spans += [(before + run.start(), before + run.end()) for run in runs]
    return spans


def _escapes_spans(text: str, classes: np.ndarray) -> list[tuple[int, int]]:
    return [found.span() for found in _ESCAPES.finditer(text)]


def _spans_of(marks: np.ndarray, least: int) -> list[tuple[int, int]]:
    """[start, end) of the rows of at least so many bytes that are not zero."""
    zeros = np.concatenate(([-1], np.flatnonzero(marks == 0), [len(marks)]))
    long = np.flatnonzero(np.diff(zeros) > least)
    return list(zip((zeros[long] + 1).tolist(), zeros[long + 1].tolist(), strict=True))


# Upper bounds of the longest run and of all runs together, found far sooner than the runs. A run of n bytes covers
# (n + 1 - k) // k whole blocks of k bytes (which begin at multiples of k), or more: the blocks that hold nothing but
# a class bound its runs.


def _blocks(classes: np.ndarray, mark: int) -> np.ndarray:
    """For every 8 bytes whether all are of the class."""
    whole = np.uint64(mark * 0x0101010101010101)
    return (classes.view(np.uint64) & whole) == whole


def _consecutive(blocks: np.ndarray) -> tuple[int, int, int]:
    """How many blocks hold, in how many rows of neighbours, and how many the longest row has."""
    count = int(np.count_nonzero(blocks))
    if not count:
        return 0, 0, 0
    # A block before the first and after the last, which do not hold.
    edges = np.flatnonzero(np.diff(np.concatenate(([False], blocks, [False])).view(np.int8)))
    return count, len(edges) // 2, int((edges[1::2] - edges[::2]).max())


def _base64_bounds(classes: np.ndarray) -> tuple[int, int]:
    # A run of 64 or more covers a block of 32, or more.
    count, rows, longest = _consecutive(_blocks(classes, _IN_BASE64).view(np.uint32) == 0x01010101)
    return 32 * longest + 62, 32 * count + 62 * rows


def _hexadecimal_bounds(classes: np.ndarray) -> tuple[int, int]:
    # A run of 23 or more covers two blocks of 8, or more: pairs of neighbours are counted.
    eights = _blocks(classes, _IN_HEXADECIMAL)
    count, rows, longest = _consecutive(eights[1:] & eights[:-1])
    return 8 * longest + 22, 8 * count + 22 * rows


def _escapes_bounds(classes: np.ndarray) -> tuple[int, int]:
    most = 6 * int(np.count_nonzero(classes & _BACKSLASH))
    return most, most


_ENCODED = {
    "base64": (_base64_bounds, _base64_spans),
    "hexadecimal": (_hexadecimal_bounds, _hexadecimal_spans),
    "unicode escapes": (_escapes_bounds, _escapes_spans),
}
