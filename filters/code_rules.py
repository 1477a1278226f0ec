"""Rules that decide which source files stay, each a named reason with the value it measured.

The thresholds are data (`code_rules.toml`), in two published sets: `deepseek-coder` and `starcoder2`. A file
is dropped for the first rule it breaks, in the order of `REASONS`.
"""

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from corpus.errors import LodeError
from corpus.schema import judged

REASONS = (
    "unknown_language",
    "language_not_listed",
    "empty_file",
    "lock_file",
    "minified",
    "generated",
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
)

_LOCK_FILES = {"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "composer.lock"}
_LOCK_FILES |= {"gemfile.lock", "cargo.lock", "poetry.lock", "pipfile.lock", "uv.lock", "pdm.lock", "go.sum"}
_LOCK_FILES |= {"gopkg.lock", "mix.lock", "podfile.lock", "pubspec.lock", "flake.lock", "package.resolved"}
_MINIFIED = re.compile(r"(?i)[.-]min\.(?:js|mjs|cjs|css)$")
_GENERATED_NAME = re.compile(
    r"(?i)(?:\.(?:js|mjs|cjs|css)\.map|_pb2(?:_grpc)?\.pyi?|\.pb\.(?:go|cc|h)|\.designer\.(?:cs|vb)|\.g\.dart"
    r"|\.nib|\.xcworkspacedata|\.xcuserstate|\.generated\.\w+)$"
)
# StarCoder2's three patterns. The look-behinds change no match and keep the search linear: a run of the class
# is tried once, at its beginning. Hexadecimal is looked for only where enough of its characters stand
# together.
_BASE64 = re.compile(r"(?<![a-zA-Z0-9+/\n=])[a-zA-Z0-9+/\n=]{64,}")
_HEXADECIMAL = re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}")
_HEXADECIMAL_RUN = re.compile(r"(?<![0-9a-fA-Fx\\,\s])[0-9a-fA-Fx\\,\s]{23,}")
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}")
_ASCII_LETTERS = bytes(c for c in range(128) if chr(c).isalpha())
_ASCII_ALPHANUMERIC = bytes(c for c in range(128) if chr(c).isalnum())
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


@functools.cache
def rule_set(name: str) -> dict[str, Any]:
    """The thresholds of a rule set as `code_rules.toml` states them; an unknown name is a `LodeError`."""
    text = importlib.resources.files("filters").joinpath("code_rules.toml").read_text(encoding="utf-8")
    sets = tomllib.loads(text)
    if name not in sets:
        raise LodeError(f"code rules {name!r}: there is no such set; there are {', '.join(sorted(sets))}.")
    return sets[name]


class CodeRules:
    """A `Transform` over rows with `text`, `language` and `path` that drops the files a rule set refuses."""

    def __init__(self, rules: str = "deepseek-coder") -> None:
        self.rules = rules
        rule_set(rules)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = (batch.column(name).to_pylist() for name in ("text", "language", "path"))
            yield judged(batch, [self.verdict(*row) for row in zip(*columns, strict=True)])

    def verdict(self, text: str | None, language: str | None, path: str | None) -> tuple[str, str] | None:
        """(reason, measured value) of the first rule the file breaks, or None: it stays."""
        facts = rule_set(self.rules)
        name = (path or "").rsplit("/", 1)[-1].lower()
        if language is None:
            return ("unknown_language", name[-100:])
        if "listed" in facts and language not in facts["listed"]:
            return ("language_not_listed", language)
        if not text or text.isspace():
            return ("empty_file", f"{len(text or '')} characters")
        facts = {**facts, **facts["languages"].get(language, {})}
        lines = text.splitlines()
        return (
            _by_name(name, text, lines, facts)
            or _by_lines(text, lines, facts)
            or _by_characters(text, lines, facts)
            or _by_visible_text(text, facts)
            or _by_encoded_data(text, facts)
        )


def _by_name(name: str, text: str, lines: list[str], facts: dict[str, Any]) -> tuple[str, str] | None:
    if facts.get("lock_files") and name in _LOCK_FILES:
        return ("lock_file", name)
    if facts.get("minified") and (_MINIFIED.search(name) or _looks_minified(name, text, lines)):
        return ("minified", f"{len(text) / len(lines):.0f} characters a line")
    if facts.get("generated_names") and _GENERATED_NAME.search(name):
        return ("generated", name[-100:])
    if within := facts.get("generated_within_lines"):
        head = "\n".join(line[:10_000] for line in lines[:within]).lower()
        if found := next((marker for marker in facts["generated_markers"] if marker in head), None):
            return ("generated", found)
    if (names := facts.get("names")) and not name.startswith(tuple(names)):
        return ("text_name", name[-100:])
    return None


def _looks_minified(name: str, text: str, lines: list[str]) -> bool:
    """Linguist's rule: scripts and style sheets of more than 110 characters a line."""
    return name.endswith((".js", ".mjs", ".cjs", ".css")) and len(text) > 110 * len(lines)


def _by_lines(text: str, lines: list[str], facts: dict[str, Any]) -> tuple[str, str] | None:
    longest = max(map(len, lines), default=0)
    mean = sum(map(len, lines)) / len(lines) if lines else 0.0
    if (most := facts.get("max_lines")) and len(lines) > most:
        return ("too_many_lines", str(len(lines)))
    if (most := facts.get("max_mean_line")) and mean > most:
        return ("mean_line_too_long", f"{mean:.1f}")
    if (most := facts.get("max_line")) and longest > most:
        return ("line_too_long", str(longest))
    return None


def _by_characters(text: str, lines: list[str], facts: dict[str, Any]) -> tuple[str, str] | None:
    if (within := facts.get("xml_prologue_within")) and "<?xml version=" in text[:within]:
        return ("xml_prologue", str(text.index("<?xml version=")))
    if (least := facts.get("min_chars")) and len(text) < least:
        return ("too_short", str(len(text)))
    if (most := facts.get("max_chars")) and len(text) > most:
        return ("too_long", str(len(text)))
    if least := facts.get("min_alphabetic_share"):
        share = alphabetic_share(text, count_digits=facts.get("count_digits", False))
        if share < least:
            return ("few_letters", f"{share:.4f}")
    return None


def alphabetic_share(text: str, count_digits: bool = False) -> float:
    """Share of characters that are letters (with `count_digits` letters or digits); 0 for no text."""
    if not text:
        return 0.0
    raw = text.encode("utf-8", "surrogatepass")
    count = len(raw) - len(raw.translate(None, _ASCII_ALPHANUMERIC if count_digits else _ASCII_LETTERS))
    if len(raw) != len(text):
        test = str.isalnum if count_digits else str.isalpha
        count += sum(map(test, "".join(_NOT_ASCII.findall(text))))
    return count / len(text)


def _by_visible_text(text: str, facts: dict[str, Any]) -> tuple[str, str] | None:
    """HTML stays if what a reader sees is a fair share of it, and not next to nothing."""
    if not (least := facts.get("min_visible_share")):
        return None
    visible = len(
        extract_plain_text(text, preserve_formatting=False, alt_texts=False, list_bullets=False).strip()
    )
    if visible < facts["min_visible"] or visible < least * len(text):
        return ("html_little_text", f"{visible} of {len(text)} characters")
    return None


def _by_encoded_data(text: str, facts: dict[str, Any]) -> tuple[str, str] | None:
    """Base64, hexadecimal and escaped Unicode: one long run, or most of the file."""
    if not (longest_allowed := facts.get("max_encoded_run")):
        return None
    for kind, runs in encoded_runs(text).items():
        if not runs:
            continue
        if max(runs) > longest_allowed:
            return ("encoded_data", f"{kind}: a run of {max(runs)}")
        if sum(runs) > facts["max_encoded_share"] * len(text):
            return ("encoded_data", f"{kind}: {sum(runs) / len(text):.2f} of the file")
    return None


def encoded_runs(text: str) -> dict[str, list[int]]:
    """Lengths of the runs of base64, hexadecimal and escaped Unicode by kind (StarCoder2, section 2.3)."""
    return {
        "base64": [len(run) for run in _BASE64.findall(text)],
        "hexadecimal": [
            len(run[0])
            for found in _HEXADECIMAL_RUN.finditer(text)
            # One character more on either side, so that word boundaries are those of the whole text.
            for run in _HEXADECIMAL.finditer(text[max(0, found.start() - 1) : found.end() + 1])
        ],
        "unicode escapes": [len(run[0]) for run in _ESCAPES.finditer(text)] if "\\u" in text else [],
    }
