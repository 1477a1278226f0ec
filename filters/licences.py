"""The licence of a repository, from the texts it carries: an SPDX identifier, or None where nothing tells.

Licence files count first, the one nearest the root before others; then what the package's own manifest
states. A file that holds several licences (a choice, or those of bundled code) is named after the first it
holds.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from corpus.schema import judged

PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "PSF-2.0",
    }
    | {"Python-2.0", "Unlicense", "WTFPL", "Zlib", "public-domain"}
)
MAX_LICENCE_CHARS = 200_000

_LICENCE_FILE = re.compile(r"(?i)(?:^|/)(?:un)?(?:licen[cs]es?|copying|copyright)(?:[._-][^/]*)?$")
_SPACE = re.compile(r"[\s*#/;]+")

# Phrases of the licences' own texts, after white space and comment marks are folded; all of an entry must
# occur. Where one text contains another's phrases the narrower stands first.
_PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AGPL-3.0", ("gnu affero general public license", "version 3")),
    ("LGPL-3.0", ("gnu lesser general public license", "version 3, 29 june 2007")),
    ("LGPL-2.1", ("gnu lesser general public license", "version 2.1")),
    ("LGPL-2.0", ("gnu library general public license", "version 2")),
    ("GPL-3.0", ("gnu general public license", "version 3, 29 june 2007")),
    ("GPL-2.0", ("gnu general public license", "version 2, june 1991")),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("EPL-2.0", ("eclipse public license", "2.0")),
    ("BSL-1.0", ("boost software license", "version 1.0")),
    ("CC0-1.0", ("cc0 1.0 universal",)),
    ("CC-BY-SA-4.0", ("attribution-sharealike 4.0 international",)),
    ("CC-BY-4.0", ("attribution 4.0 international",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("WTFPL", ("do what the fuck you want to public license",)),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Zlib", ("this software is provided 'as-is'", "must not be misrepresented")),
    (
        "0BSD",
        ("for any purpose with or without fee is hereby granted.",),
    ),
    (
        "ISC",
        (
            "permission to use, copy, modify, and or distribute this software for any purpose",
            "appear in all copies",
        ),
    ),
    (
        "ISC",
        (
            "permission to use, copy, modify, and distribute this software for any purpose",
            "appear in all copies",
        ),
    ),
    ("BSD-4-Clause", ("redistributions in binary form", "all advertising materials mentioning")),
    ("BSD-3-Clause", ("redistributions in binary form", "endorse or promote products")),
    ("BSD-2-Clause", ("redistributions in binary form", "redistributions of source code")),
    ("MIT", ("permission is hereby granted, free of charge", "shall be included in all copies")),
    ("MIT-0", ("permission is hereby granted, free of charge", "without limitation the rights to use")),
    ("public-domain", ("has been placed in the public domain",)),
)
_NAMES = {"mit license": "MIT", "the mit license": "MIT", "apache 2.0": "Apache-2.0", "bsd": "BSD-3-Clause"}
_NAMES |= {
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2": "Apache-2.0",
}
_NAMES |= {"new bsd": "BSD-3-Clause", "modified bsd": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause"}
_NAMES |= {"lgplv2+": "LGPL-2.0", "lgpl": "LGPL-2.1", "gplv2": "GPL-2.0", "gplv3": "GPL-3.0"}
_STATED = re.compile(r"(?im)^\s*(?:\w+\.)?licen[cs]es?\s*[:=]\s*(?:\[|%w.)?['\"]?([\w.+-]+)")
_SPDX = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")


def licence_of_text(text: str) -> str | None:
    """The licence a licence file holds, or None."""
    folded = _SPACE.sub(" ", text[:MAX_LICENCE_CHARS]).lower()
    found = [
        (max(folded.index(phrase) for phrase in phrases), order, name)
        for order, (name, phrases) in enumerate(_PHRASES)
        if all(phrase in folded for phrase in phrases)
    ]
    if not found:
        return None
    # The head of the file decides between licences; the order of the table between texts that share phrases.
    start = min(position for position, _, _ in found)
    near = [(order, name) for position, order, name in found if position <= start + 1500]
    return min(near)[1]


def licence_of_files(files: Mapping[str, str]) -> str | None:
    """The licence of a repository with these texts by path."""
    candidates = sorted((path for path in files if _LICENCE_FILE.search(path)), key=_nearest_first)
    for path in candidates[:20]:
        if path.count("/") <= 1 and (found := licence_of_text(files[path])):
            return found
    for name, read in (("package.json", _npm), ("pyproject.toml", _pyproject), ("PKG-INFO", _metadata)):
        if name in files and (found := _spdx(read(files[name]))):
            return found
    manifests = [path for path in files if path.endswith((".cabal", ".gemspec", ".podspec"))]
    for path in sorted(manifests, key=_nearest_first)[:20]:
        stated = _STATED.search(files[path])
        if stated and (found := _spdx(stated[1])):
            return found
    return None


def _nearest_first(path: str) -> tuple[int, int, str]:
    return (path.count("/"), len(path), path)


def _npm(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    stated = value.get("license", "") if isinstance(value, dict) else ""
    stated = stated.get("type", "") if isinstance(stated, dict) else stated
    return stated if isinstance(stated, str) else ""


def _pyproject(text: str) -> str:
    try:
        project = tomllib.loads(text).get("project", {})
    except (ValueError, RecursionError):
        return ""
    stated = project.get("license", "") if isinstance(project, dict) else ""
    stated = stated.get("text", "") if isinstance(stated, dict) else stated
    return stated if isinstance(stated, str) else ""


def _metadata(text: str) -> str:
    found = re.search(r"(?m)^License(?:-Expression)?:[ \t]*(\S[^\n]*)$", text[:20_000])
    return found[1].strip() if found else ""


def _spdx(stated: str) -> str | None:
    """What a manifest states as an SPDX expression; None for prose."""
    stated = stated.strip()
    if known := _NAMES.get(stated.lower()):
        return known
    return stated if len(stated) <= 100 and _SPDX.fullmatch(stated) and stated.upper() != "UNKNOWN" else None


def is_allowed(licence: str | None, allowed: Iterable[str]) -> bool:
    """Whether a licence or expression is within `allowed`: one of `A OR B`, all of `A AND B`."""
    allowed = frozenset(allowed)
    if licence is None:
        return False
    choices = re.split(r"\s+OR\s+", licence.strip("() "))
    return any(
        all(part.strip("() ").split(" WITH ")[0] in allowed for part in re.split(r"\s+AND\s+", choice))
        for choice in choices
    )


class Licences:
    """A `Transform` that drops the rows whose `licence` is not in `allowed`; `unlicensed` says if None may
    stay.

    Reasons: `licence_not_allowed`, `no_licence`.
    """

    def __init__(self, allowed: Iterable[str] = PERMISSIVE, unlicensed: bool = True) -> None:
        self.allowed = frozenset(allowed)
        self.unlicensed = unlicensed

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield judged(batch, [self.verdict(licence) for licence in batch.column("licence").to_pylist()])

    def verdict(self, licence: str | None) -> tuple[str, str] | None:
        if licence is None:
            return None if self.unlicensed else ("no_licence", "")
        return None if is_allowed(licence, self.allowed) else ("licence_not_allowed", licence)
