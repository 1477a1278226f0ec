"""Licences by name: what a manifest states and what a notice says, as SPDX expressions.

Identifiers, old spellings and categories are those of `license-expression`, which carries ScanCode's index of licences.
Besides, `LicenseRef-unknown` is a licence that nobody here knows, and `LicenseRef-scancode-public-domain` ScanCode's
name of what has been given to everybody.
"""

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Iterable
from typing import Any

from license_expression import (
    AND,
    OR,
    ExpressionError,
    LicenseExpression,
    LicenseWithExceptionSymbol,
    Licensing,
    build_spdx_licensing,
    get_license_index,
)

UNKNOWN = "LicenseRef-unknown"
PUBLIC_DOMAIN = "LicenseRef-scancode-public-domain"
PROPRIETARY = "LicenseRef-scancode-proprietary-license"
# The GNU licences where no version is named.
VAGUE = ("GPL-1.0-or-later", "LGPL-2.0-or-later", "AGPL-3.0-or-later")
MAX_CHARS = 300  # of what a manifest states
MAX_DEPTH = 20  # of parentheses

# What is stated without saying anything.
_NOTHING = frozenset(
    ("", "unknown", "none", "noassertion", "n/a", "na", "null", "undefined", "license", "todo", "tbd")
)
_SPACE = re.compile(r"[\s*#/;%!|\"'`<>(){}\[\],:_=-]+")
_REFERS = re.compile(r"(?i)see (?:the )?licen[cs]e|^licen[cs]e(?:\.\w+)?$|^file licen[cs]e$|\bfile:")
_URL = re.compile(r"(?:https?:|www\.)\S+")
# R's ways: `MIT + file LICENSE`, `GPL (>= 2)`.
_R_FILE = re.compile(r"(?i) ?[+|] ?file licen[cs]e$")
_R_LEAST = re.compile(r" ?\(>= ?(\d(?:\.\d)?)\)")
_GNU_WITH = {
    "classpath": "Classpath-exception-2.0",
    "gcc": "GCC-exception-3.1",
    "autoconf": "Autoconf-exception-3.0",
}
_GNU = (
    r"\b(?:gnu )?(?:(?P<kind>lesser|library|affero|lesser gnu|affero gnu) )?(?:gnu )?general public licen[cs]e\b"
    r"|\bgnu (?P<short>l|a)?gpl|\b(?P<abbreviation>l|a)?gpl(?=\b|v\d|\d)|gnu\.org licenses (?P<link>l|a)?gpl"
)
_GNU_NAME = re.compile(_GNU)
_VERSION = re.compile(
    r"(?: (?:license|version|as published by the free software foundation|either|the|only|gpl|l?gpl|is))*"
    r"(?: ?v(?:ersion|ers|er)?\.? ?| )?(?P<version>[123](?:\.[01])?)(?![\d.]*\d)(?P<plus>\+| ?\+)?"
)
_BEFORE = re.compile(
    r"version (?P<version>[123](?:\.[01])?) (?:or (?:at your option )?(?:any )?later )?(?:of|\w+ of) the $"
)
_NEAR = re.compile(r"version (?P<version>[123](?:\.[01])?)")
_LATER = re.compile(
    r"(?:or|and) (?:at your option )?(?:any |a )?(?:later|newer|greater|higher)|or \(?at your option|\+"
)
# What offers a choice between two licences, in the few words between their names or anywhere; not GPL's own words.
_BETWEEN = re.compile(r"\bor(?: \S+){0,5} ?$|\balternatively\b")
_BETWEEN_CHARS = 120
DUAL = re.compile(
    r"\bdual(?:ly)? licens|\btri licens|\b(?:your|the recipient s) (?:option|choice)\b(?! any)|\beither (?:one )?of\b"
    r"|\balternatively this\b"
)
_OR_LATER = re.compile(
    r"(?:either )?(?:version )?[\d.]+(?: of the license)? or (?:at your option )?(?:any )?later(?: version)?"
)


@functools.cache
def spdx() -> Licensing:
    """SPDX's identifiers and exceptions, and the two of one's own."""
    own = {
        "license_key": "unknown-here",
        "spdx_license_key": UNKNOWN,
        "other_spdx_license_keys": [],
        "is_exception": False,
    }
    return build_spdx_licensing([*get_license_index(), {**own, "is_deprecated": False, "aliases": []}])


@functools.cache
def _table() -> dict[str, Any]:
    text = importlib.resources.files("filters").joinpath("licence_names.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@functools.cache
def _names() -> list[tuple[list[str], re.Pattern[str], str]]:
    return [(entry["words"], re.compile(entry["pattern"]), entry["licence"]) for entry in _table()["names"]]


@functools.cache
def _stated() -> dict[str, str]:
    return {_key(name): licence for licence, names in _table()["stated"].items() for name in names}


@functools.cache
def categories() -> dict[str, str]:
    """ScanCode's category of each licence by its SPDX identifier."""
    return {
        key: entry["category"]
        for entry in get_license_index()
        for key in (entry.get("spdx_license_key"), *entry.get("other_spdx_license_keys", ()))
        if key
    }


@functools.cache
def permissive() -> frozenset[str]:
    """Identifiers of the licences that ScanCode calls permissive, or public domain."""
    return frozenset(
        key for key, category in categories().items() if category in ("Permissive", "Public Domain")
    )


@functools.lru_cache(4096)
def parsed(expression: str) -> LicenseExpression | None:
    """An SPDX expression as a tree, or None where it is none. `LicenseRef-` names of anybody's own are let through."""
    if len(expression) > MAX_CHARS or expression.count("(") > MAX_DEPTH:
        return None
    try:
        tree = spdx().parse(
            re.sub(r"(?<=[\w.])\+(?=[\s)]|$)", _plus, expression), validate=False, strict=True
        )
        unknown = spdx().unknown_license_keys(tree)
    except (ExpressionError, RecursionError, TypeError, ValueError, AttributeError):
        return None
    if any(not re.fullmatch(r"(?:DocumentRef-[\w.-]+:)?LicenseRef-[\w.-]+", key) for key in unknown):
        return None
    return tree


def _plus(found: re.Match[str]) -> str:
    """SPDX's `+` stays where an old name has it; elsewhere the licence itself is one of the choices it gives."""
    before = found.string[: found.start()]
    name = re.split(r"[\s(]", before)[-1]
    return "+" if "GPL" in name.upper() or "GFDL" in name.upper() else ""


@functools.lru_cache(4096)
def expression_of(stated: str) -> str | None:
    """What a manifest states as an SPDX expression; None where it says nothing or points elsewhere.

    A statement that is not understood is `LicenseRef-unknown`.
    """
    stated = _R_FILE.sub("", _R_LEAST.sub(r"-\1+", " ".join(stated.split()).strip("\"', ")))
    if stated.lower().strip("<>[](). ") in _NOTHING:
        return None
    if len(stated) > MAX_CHARS:
        return joined(*named(stated[: 10 * MAX_CHARS])) or UNKNOWN
    tree = parsed(stated)
    if tree is None and " " not in stated:
        tree = parsed(stated.replace("/", " OR "))
    if tree is not None:
        return str(tree)
    if single := _stated().get(_key(stated)):
        return single
    if re.search(r"(?i)\bor\b|\band\b|[/;,|&]", stated) and (parts := _parts(stated)):
        return parts
    if _REFERS.search(stated):
        return None
    names = named(f"license {stated}")
    if not names[0] and _URL.fullmatch(stated):
        return None
    return joined(*names) or UNKNOWN


def _parts(stated: str) -> str | None:
    """`MIT/X11 or GPLv2+`, `Apache 2.0 & BSD`: every part by itself, if each is a licence."""
    if re.search(r"(?i)or (?:any )?(?:later|newer)", stated):
        return None
    choice = bool(re.search(r"(?i)\bor\b|/|\|", stated))
    names = [_single(part) for part in re.split(r"(?i)\s*(?:\bor\b|\band\b|[/;,|&])\s*", stated) if part]
    if not names or None in names or len(names) > 20:
        return None
    return joined([name for name in names if name], choice)


def _single(stated: str) -> str | None:
    if (tree := parsed(stated)) is not None:
        return str(tree)
    return _stated().get(_key(stated)) or joined(*named(f"license {stated}"))


def _key(name: str) -> str:
    name = name.lower().replace("licence", "license")
    name = re.sub(r"\(.{0,40}\)|\b(?:the|license|licensed|version|under|v)\b|[\s,._-]+", " ", name)
    return re.sub(r"[\s.]+|(?<=[a-z])v(?=\d)", "", name)


def folded(text: str) -> str:
    """Lower case, with comment marks, punctuation and white space as single spaces."""
    return _SPACE.sub(" ", text.lower().replace("licence", "license").replace("\u2011", "-"))


def named(text: str) -> tuple[list[str], bool]:
    """The licences a text names, each once, and whether it leaves the choice between them."""
    text = folded(text)
    places: list[tuple[int, int, int, str]] = []  # start, order, end, licence
    for order, (words, pattern, licence) in enumerate(_names()):
        for word in words:
            if word in text:
                break
        else:
            continue
        places += [(match.start(), order, match.end(), licence) for match in pattern.finditer(text)]
    vague = set()
    if "general public" in text or "gpl" in text:
        for match in _GNU_NAME.finditer(text):
            if gnu := _gnu(text, match):
                name, has_version = gnu
                places.append((match.start(), -1, match.end(), name))
                vague |= set() if has_version else {name}
    found: dict[str, None] = {}
    choices, end = True, 0
    versions = {name.partition("-")[0] for _, _, _, name in places if "GPL-" in name and name not in vague}
    for start, _, stop, name in sorted(places):
        if start < end or (name in vague and name.partition("-")[0] in versions):
            continue
        if name in found:
            end = stop
            continue
        if found:
            between = _OR_LATER.sub(" ", text[end : min(start, end + 400)])
            near = start - end < 400 and len(between) <= _BETWEEN_CHARS
            choices = choices and near and bool(_BETWEEN.search(between))
        found[name] = None
        end = stop
    choice = [name for name in found if " OR " in name]
    found = {name: None for name in found if not any(name in other.split(" OR ") for other in choice)}
    return list(found), len(found) > 1 and (choices or bool(DUAL.search(text)))


def _gnu(text: str, match: re.Match[str]) -> tuple[str, bool] | None:
    """`GPL-2.0-or-later` of what stands around a name of the GNU licences, and whether a version does."""
    start, end = match.span()
    if text.startswith(" compatib", end) or text[:start].endswith(
        ("compatible with the ", "compatible with ")
    ):
        return None
    kind = match["kind"] or match["short"] or match["abbreviation"] or match["link"] or ""
    family = "LGPL" if kind.startswith("l") else "AGPL" if kind.startswith("a") else "GPL"
    version = _VERSION.match(text, end, end + 200) or _BEFORE.search(text, max(start - 80, 0), start)
    version = version or _NEAR.search(text, end, end + 120)
    if version is None:
        number, later = {"GPL": "1.0", "LGPL": "2.0", "AGPL": "3.0"}[family], True
    else:
        number = version["version"] if "." in version["version"] else f"{version['version']}.0"
        stop = max(version.end(), end)
        later = bool(version.groupdict().get("plus")) or bool(_LATER.search(text, stop, stop + 60))
    name = f"{family}-{number}-{'or-later' if later else 'only'}"
    if parsed(name) is None:
        return None
    if "exception" in text:
        for word, exception in _GNU_WITH.items():
            if re.compile(rf"{word}(?: path)?(?: runtime library)? exception").search(text, end, end + 600):
                return f"{name} WITH {exception}", version is not None
    return name, version is not None


def joined(names: Iterable[str], choice: bool) -> str | None:
    """One expression of several: any of them will do where there is a choice."""
    distinct = sorted(dict.fromkeys(names))
    if len(distinct) <= 1:
        return distinct[0] if distinct else None
    word = " OR " if choice else " AND "
    return word.join(f"({name})" if " OR " in name or " AND " in name else name for name in distinct)


def names_of(expression: str) -> frozenset[str]:
    """The licences in an expression, without `-or-later` and exceptions: as their texts say."""
    tree = parsed(expression)
    keys = (
        []
        if tree is None
        else [getattr(s, "license_symbol", s).key for s in spdx().license_symbols(tree, decompose=False)]
    )
    return frozenset(key.replace("-or-later", "-only") for key in keys)


def is_satisfied(expression: str, allowed: frozenset[str]) -> bool:
    """Whether one may use what is under `expression` by licences in `allowed` alone.

    One side of an OR is enough, an AND needs all. An exception only adds leave to a licence that is allowed without
    it; it may also be allowed by its full name, `GPL-2.0-only WITH Classpath-exception-2.0`. `X-or-later` is
    satisfied by any version of X from there on.
    """
    tree = parsed(expression)
    return tree is not None and _satisfied(tree, allowed)


def _satisfied(tree: LicenseExpression, allowed: frozenset[str]) -> bool:
    if isinstance(tree, OR):
        return any(_satisfied(part, allowed) for part in tree.args)
    if isinstance(tree, AND):
        return all(_satisfied(part, allowed) for part in tree.args)
    if isinstance(tree, LicenseWithExceptionSymbol):
        return tree.render() in allowed or _satisfied(tree.license_symbol, allowed)
    key = tree.key
    if key in allowed:
        return True
    family = re.fullmatch(r"(.+?)-(\d+\.\d+)-or-later", key)
    return family is not None and any(
        (other := re.fullmatch(r"(.+?)-(\d+\.\d+)-(?:only|or-later)", name)) is not None
        and other[1] == family[1]
        and float(other[2]) >= float(family[2])
        for name in allowed
    )
