"""The licence that a package's manifest states, as an SPDX expression. Nothing of a manifest is executed."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

from filters.licence_names import UNKNOWN, expression_of, joined

MAX_CHARS = 200_000
MAX_PARAGRAPHS = 200  # of debian/copyright
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?([^\n\"',:]{1,100})")
_ASSIGNED = re.compile(
    r"(?im)^[^\n#]{0,200}?(?<![\w-])[\"']?licen[cs]es?[\"']?\s{0,10}(?:=>|=|:)\s{0,10}(\[[^\]\n]{0,300}\]?|\{[^}\n]{0,300}\}?"
    r"|%w.[^\n]{0,200}|[\"'][^\"'\n]{1,200}[\"']|[^\s\"'\[{][^\n]{0,200})"
)
_QUOTED = re.compile(r"[\"']([^\"'\n]{1,100})[\"']")
_FIELD = re.compile(r"(?im)^licen[cs]e(?:-expression)?[ \t]*:[ \t]*([^\n]*)$")
_XML = re.compile(
    r"(?is)<(?:packagelicenseexpression|license(?:\s[^<>]{0,100})?)>\s*(?:<name>\s*)?([^<>]{1,200}?)\s*<|<licenseurl>\s*([^<>]{1,200}?)\s*<"
)
_COMMENT = re.compile(r"<!--.{0,100000}?-->", re.S)


def stated(name: str, text: str) -> str | None:
    """What the manifest called `name` (without folders) states, or None where it says nothing.

    A licence that it names and nobody here knows is `LicenseRef-unknown`.
    """
    read = _reader(name.lower())
    return read(text[:MAX_CHARS]) if read else None


def is_manifest(name: str) -> bool:
    return _reader(name.lower()) is not None


def _reader(name: str) -> Callable[[str], str | None] | None:
    return _READERS.get(name) or _ENDINGS.get(name.rpartition(".")[2])


def _every(values: Any, choice: bool) -> str | None:
    """One expression of a list of names, or of tables with a `type` or `name`."""
    values = values if isinstance(values, list) else [values]
    names = []
    for value in values[:20]:
        if isinstance(value, dict):
            value = value.get("type") or value.get("name") or value.get("text")
        if isinstance(value, str) and (found := expression_of(value)):
            names.append(found)
    return joined(names, choice)


def _json(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return _every(value.get("license"), True) or _every(value.get("licenses"), True)


def _toml(text: str) -> str | None:
    try:
        value = tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    poetry = value.get("tool", {})
    poetry = poetry.get("poetry", {}) if isinstance(poetry, dict) else {}
    for table in (value.get("project"), poetry, value.get("package")):
        if isinstance(table, dict):
            workspace = table.get("license")
            if isinstance(workspace, dict) and not isinstance(workspace.get("text"), str):
                workspace = None
            classifiers = table.get("classifiers")
            listed = (
                "\n".join(c for c in classifiers if isinstance(c, str))
                if isinstance(classifiers, list)
                else ""
            )
            if found := _prose(workspace) or _classified(listed):
                return found
    return None


def _prose(value: Any) -> str | None:
    """A field that may hold the licence's whole text in place of its name."""
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, str) or len(value) > 300 or value.count("\n") > 3:
        return None
    return expression_of(value)


def _classified(text: str) -> str | None:
    """Python's classifiers; what they leave open ("OSI Approved") says nothing."""
    names = [name.strip() for name in _CLASSIFIER.findall(text)[:20]]
    return _every(
        [name for name in names if name not in ("OSI Approved", "Other", "Freeware", "Freely Distributable")],
        False,
    )


def _python(text: str) -> str | None:
    """`setup.py` and `setup.cfg`; a classifier says more than a word such as `BSD`."""
    assigned = _assigned(text)
    return assigned if assigned not in (None, UNKNOWN) else _classified(text) or assigned


def _assigned(text: str) -> str | None:
    """`license = "MIT"` as Ruby, Perl, Lua, YAML and others write it; several are a choice."""
    names: list[str] = []
    for match in _ASSIGNED.finditer(text):
        value = match[1].strip()
        if value.startswith("%w"):
            values = re.sub(r"^%w.|[\])}>|].*$", "", value).split()
        elif value[0] in "[{":
            kind = re.search(r":?[\"']?type[\"']?\s{0,5}(?:=>|:)\s{0,5}[\"']([^\"']{1,100})", value)
            values = [kind[1]] if kind else _QUOTED.findall(value)
        elif value[0] in "\"'":
            values = [value[1:-1]]
        else:
            values = (
                [value]
                if re.fullmatch(r"[\w .+()/,&-]{1,60}", value) and not re.search(r"\w\(|\w\.\w*[a-z]", value)
                else []
            )
        names += [found for value in values[:20] if (found := expression_of(value))]
        if names:
            return joined(names, True)
    return None


def _metadata(text: str) -> str | None:
    """Fields of PKG-INFO, of a .cabal file or of R's DESCRIPTION; PKG-INFO's classifiers where those say nothing."""
    found = [expression_of(value) for value in _FIELD.findall(text[:50_000])[:5]]
    known = [name for name in found if name and name != UNKNOWN]
    return known[0] if known else _classified(text[:50_000]) or next(filter(None, found), None)


def _xml(text: str) -> str | None:
    """`.nuspec`, `.csproj`, `pom.xml` and `package.xml`; several are a choice, as Maven has it."""
    values = [name or url for name, url in _XML.findall(_COMMENT.sub("", text))]
    names = [
        found
        for value in values[:20]
        if not value.lower().endswith(".txt") or "/" in value
        if (found := expression_of(value))
    ]
    known = [name for name in names if name != UNKNOWN]
    return joined(known or names, True)


def paragraphs(text: str) -> Iterator[tuple[list[str], str]]:
    """(patterns, expression) of the `Files` of Debian's copyright format, in order; the last that fits holds."""
    for paragraph in re.split(r"\n[ \t]*\n", text[:MAX_CHARS])[:MAX_PARAGRAPHS]:
        files = re.search(r"(?im)^files:((?:[^\n]*\n?(?:[ \t][^\n]*\n?)*))", paragraph)
        licence = re.search(r"(?im)^license:[ \t]*([^\n]*)", paragraph)
        if files and licence:
            yield files[1].split()[:MAX_PARAGRAPHS], _debian(licence[1]) or UNKNOWN


def _debian(value: str) -> str | None:
    return expression_of(
        re.sub(r"(?i)\bexpat\b", "MIT", value.replace(", and", " and").replace(", or", " or"))
    )


_READERS: dict[str, Callable[[str], str | None]] = dict.fromkeys(
    (
        "package.json",
        "composer.json",
        "bower.json",
        "meta.json",
        "haxelib.json",
        "vcpkg.json",
        "component.json",
    ),
    _json,
)
_READERS |= dict.fromkeys(("pyproject.toml", "cargo.toml"), _toml)
_READERS |= dict.fromkeys(("setup.py", "setup.cfg", "conanfile.py"), _python)
_READERS |= dict.fromkeys(("pkg-info", "description"), _metadata)
_READERS |= dict.fromkeys(("pom.xml", "package.xml"), _xml)
_READERS |= dict.fromkeys(
    ("opam", "mix.exs", "dist.ini", "makefile.pl", "build.pl", "meta.yml", "galaxy.yml"), _assigned
)
_ENDINGS: dict[str, Callable[[str], str | None]] = dict.fromkeys(
    ("nuspec", "csproj", "fsproj", "vbproj"), _xml
)
_ENDINGS |= dict.fromkeys(("gemspec", "podspec", "rockspec", "opam"), _assigned)
_ENDINGS |= {"cabal": _metadata}
