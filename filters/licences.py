"""Under what licence each file of a repository is, and which licences a corpus may hold.

What is nearest to a file counts: its own notice, else the licence files and the manifest of the nearest folder above it
that has any, else what a `LICENSES` folder or a README says. Licences are SPDX expressions; a licence file whose text
nobody knows is `LicenseRef-unknown`, and None says that nothing was said at all.
"""

import fnmatch
import functools
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from corpus.errors import LodeError
from corpus.languages import is_vendored
from corpus.schema import judged
from filters import repository_lists
from filters.licence_manifests import is_manifest, paragraphs, stated
from filters.licence_names import (
    DUAL,
    UNKNOWN,
    VAGUE,
    expression_of,
    folded,
    is_satisfied,
    joined,
    named,
    names_of,
    parsed,
    permissive,
)
from filters.licence_texts import MAX_CHARS, texts_in, words_of

HEAD_CHARS = 4096
# A notice is looked up by this many characters from where it begins, which are the same in most files of a project.
NOTICE_CHARS = 450
MAX_NOTICES = 4
FEW_WORDS = 40  # a licence file with fewer, and no licence, is a pointer or an owner's name
CHOICE_WORDS = 150  # beside the licences' own texts, in which a choice between them may be offered
MAX_PATTERNS = 64  # of REUSE.toml and .reuse/dep5

_LICENCE_FILE = re.compile(
    r"(?:[a-z0-9]+[._-])?(?:un)?(?:licen[cs]es?|copying|copyright|lisence|licen[cs]ing)(?:[._-][a-z0-9+._-]*|\d)?"
)
_PROGRAM = re.compile(
    r"\.(?:py|pyi|js|mjs|cjs|jsx|ts|tsx|c|h|cc|cpp|hpp|cs|java|kt|go|rs|rb|php|swift|m|mm|scala|hs|ml|lua|pl|pm|sh|r|jl|ex|exs"
    r"|erl|clj|el|vue|svelte|css|scss|less|json|ya?ml|toml|xml|ini|cfg|lock|svg|png|jpe?g|gif|ico|sql|proto|gradle|bat|ps1|tmpl"
    r"|tpl|erb|ejs|hbs|template|in|key|dat|csv|map|snap|patch|diff|resx|xaml|csproj|license)$"
)
_OTHERS = re.compile(
    r"third|3rd|bundle|vendor|depend|notice|other|external|header|template|cla\b|contribut|check|report|list"
)
_README = re.compile(r"readme(?:\.(?:md|markdown|rst|txt|org|adoc|rdoc|textile|pod))?")
_PROSE = (
    ".md",
    ".markdown",
    ".rst",
    ".txt",
    ".adoc",
    ".org",
    ".textile",
    ".rdoc",
    ".pod",
    ".po",
    ".pot",
    ".json",
    ".csv",
)
_OF_ITSELF = re.compile(
    r"\bthis\s+(?:document|file|text|page|article|guide|tutorial|stylesheet)\s+(?:is|has\s+been)\s+(?:hereby\s+)?"
    r"(?:placed|released|licensed|distributed|in\s+the\s+public)\b"
)
_TAG = re.compile(
    r"(?m)^[^\w\n]{0,40}(?:(?:rem|dnl|@)[^\w\n]{1,10})?SPDX-License-Identifier:[ \t]*([A-Za-z(][^\n\r\"'`<>]{0,300})"
)
_TAG_END = re.compile(r"\s*(?:\*+/|-->|\*\)|#\}|\}\}|-\}|\]\]|%>|\"\"\").*$|[\s*#/;.,]+$")
_WHOLE = (
    "permission is hereby",
    "permission to use, copy",
    "redistribution and use",
    "permission is granted to anyone",
)
_WHOLE += ("this is free and unencumbered", "this software is provided 'as-is'")
_WHOLE_END = re.compile(
    r"possibility\W{1,10}of\W{1,10}such\W{1,10}damages?|dealings\W{1,10}in\W{1,10}the\W{1,10}(?:software|material)"
    r"|from\W{1,10}any\W{1,10}source\W{1,10}distribution|performance\W{1,10}of\W{1,10}this\W{1,10}software|unlicense\.org"
)
# Words of conditions that a known licence's text does not have.
_CONDITIONS = re.compile(
    r"\b(?:non ?commercial(?:ly)?|commons clause|not be sold|not (?:permitted|allowed)|prohibited|forbidden"
    r"|proprietary(?! (?:programs|applications))|confidential|may not (?!be used to endorse|use this|misrepresent)"
    r"|(?:evaluation|academic|research|educational) (?:use|purposes) only)"
)
_SECTION = re.compile(
    r"(?im)^[ \t]{0,3}(?:#{1,6}|=+|\*+)?[ \t]*(?:\d+\.?[ \t]*)?(?:copyright (?:and|&) )?"
    r"licen[cs](?:e|es|ing)\b[^\n]{0,60}$"
)


@dataclass
class _Folder:
    """What one folder says of the files below it, each by the name of the file that says so."""

    files: dict[str, tuple[str | None, bool]] = field(default_factory=dict)  # licence, and "either of"
    manifests: dict[str, str] = field(default_factory=dict)
    readmes: dict[str, str] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)  # by its LICENSES folder
    patterns: dict[str, list[tuple[Callable[[str], bool], str]]] = field(default_factory=dict)


class RepositoryLicences:
    """The licences of one repository's files: `look` at all of them in any order, then ask `of` each."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}
        self._own: dict[str, str] = {}
        self._beside: dict[str, str] = {}  # by REUSE's file `x.license` beside x
        self._found: dict[
            str, tuple[str | None, str | None]
        ] = {}  # of a folder, and in want of anything better
        self._has_patterns = False

    def look(self, path: str, text: str) -> None:
        """Take note of a readable file at `path`, relative to the root, and keep little of it."""
        if self._found:
            self._found.clear()
            self.__dict__.pop("_agreed", None)
        folder, _, name = path.rpartition("/")
        lower = name.lower()
        if lower.endswith(".license") and (found := _tagged(text[:HEAD_CHARS])):
            self._beside[path[: -len(".license")]] = found
            return
        if is_manifest(lower):
            if not folder.endswith(".egg-info") and (found := stated(lower, text)):
                self._folder(folder).manifests[name] = found
            lower = ".txt"
        elif lower.startswith("readme"):
            if _README.fullmatch(lower) and (found := _readme(text)):
                self._folder(folder).readmes[name] = found
        elif lower in ("reuse.toml", "dep5") or (lower == "copyright" and folder.endswith("debian")):
            self._take_patterns(folder, lower, text)
            return
        elif is_licence_file(folder, lower):
            above, _, last = folder.rpartition("/")
            if last.lower() in ("licenses", "licences", "license", "licence"):
                listed = parsed(name.removesuffix(".txt").removesuffix(".md"))
                if found := str(listed) if listed is not None else licence_of_text(text):
                    self._folder(above).listed.add(found)
            else:
                self._folder(folder).files[name] = _read(text)
            return
        if found := notice(text, lower):
            self._own[path] = found

    def of(self, path: str) -> str | None:
        """The SPDX expression that holds for the file at `path`, or None where nothing says."""
        if own := self._beside.get(path) or self._own.get(path):
            return own
        folder = path.rpartition("/")[0]
        if self._has_patterns and (found := self._by_patterns(path, folder)):
            return found
        strong, weak = self._of_folder(folder)
        return strong or weak or self._agreed

    def _folder(self, path: str) -> _Folder:
        return self._folders.setdefault(path, _Folder())

    def _of_folder(self, folder: str) -> tuple[str | None, str | None]:
        below = []
        while folder not in self._found:
            below.append(folder)
            if not folder:
                break
            folder = folder.rpartition("/")[0]
        found = self._found.get(folder, (None, None))
        for name in reversed(below):
            if place := self._folders.get(name):
                weak = joined(place.listed, False) or place.readmes.get(min(place.readmes, default=""))
                found = (_strong(place) or found[0], weak or found[1])
            self._found[name] = found
        return found

    @functools.cached_property
    def _agreed(self) -> str | None:
        """What all manifests of the repository's own state, where they state the same."""
        own = {
            name
            for folder, place in self._folders.items()
            if place.manifests and not is_vendored(f"{folder}/")
            for name in place.manifests.values()
        }
        return next(iter(own)) if len(own) == 1 else None

    def _take_patterns(self, folder: str, name: str, text: str) -> None:
        base = folder.rpartition("/")[0] if name in ("dep5", "copyright") else folder
        found = _reuse(text) if name == "reuse.toml" else paragraphs(text)
        fits = [
            (pattern, licence) for patterns, licence in found for pattern in patterns if len(pattern) <= 200
        ]
        made = [(_glob(pattern, name == "reuse.toml"), licence) for pattern, licence in fits[:MAX_PATTERNS]]
        self._folder(base).patterns[name] = made
        self._has_patterns = True

    def _by_patterns(self, path: str, folder: str) -> str | None:
        """By the nearest file of patterns; of those the last that fits."""
        while True:
            if (place := self._folders.get(folder)) and place.patterns:
                within = path[len(folder) + 1 :] if folder else path
                for name in sorted(place.patterns, reverse=True):
                    for fits, licence in reversed(place.patterns[name]):
                        if fits(within):
                            return licence
            if not folder:
                return None
            folder = folder.rpartition("/")[0]


def _glob(pattern: str, by_folder: bool) -> Callable[[str], bool]:
    """Whether a path fits a pattern: Debian's `*` crosses folders, of REUSE's only `**` does."""
    if not by_folder:
        whole = re.compile(fnmatch.translate(pattern))  # takes linear time
        return lambda path: whole.match(path) is not None
    parts: list[re.Pattern[str] | None] = []  # None is any number of folders
    for part in pattern.split("/"):
        if "**" in part and parts[-1:] != [None]:
            parts.append(None)
        if part != "**":
            plain = "*".join(
                piece.replace("[", "[[]").replace("?", "[?]") for piece in re.split(r"\*+", part)
            )
            parts.append(re.compile(fnmatch.translate(plain)))

    def fits(path: str) -> bool:
        states = {0}
        for name in path.split("/"):
            states |= {at + 1 for at in states if at < len(parts) and parts[at] is None}
            states = {at for at in states if at < len(parts) and parts[at] is None} | {
                at + 1
                for at in states
                if at < len(parts) and (part := parts[at]) is not None and part.match(name)
            }
        return len(parts) in states or (parts[-1:] == [None] and len(parts) - 1 in states)

    return fits


def _reuse(text: str) -> Iterator[tuple[list[str], str]]:
    try:
        tables = tomllib.loads(text[:MAX_CHARS]).get("annotations", [])
    except (ValueError, RecursionError):
        return
    for table in tables if isinstance(tables, list) else []:
        paths, licence = (
            (table.get("path"), table.get("SPDX-License-Identifier")) if isinstance(table, dict) else ("", "")
        )
        paths = [paths] if isinstance(paths, str) else paths
        names = licence if isinstance(licence, list) else [licence]
        found = joined([e for n in names if isinstance(n, str) and (e := expression_of(n))], False)
        if found and isinstance(paths, list):
            yield [path for path in paths if isinstance(path, str)], found


def is_licence_file(folder: str, name: str) -> bool:
    """Whether a file, by its folder and its name in lower case, is there to say under what licence others are."""
    if "licen" in name or "copying" in name or "copyright" in name or "lisence" in name:
        return bool(_LICENCE_FILE.fullmatch(name)) and not _PROGRAM.search(name) and not _OTHERS.search(name)
    if folder[-8:].lower() in ("licenses", "licences") and folder[-9:-8] in ("", "/"):
        is_text = (
            "." not in name or name.endswith((".txt", ".md", ".rst", ".html")) or parsed(name) is not None
        )
        return is_text and not name.startswith("readme")
    return False


def licence_of_text(text: str) -> str | None:
    """The SPDX expression of what a licence file holds; `LicenseRef-unknown` where nobody knows it.

    None for a file that is empty, or points to another.
    """
    return _read(text)[0]


@functools.lru_cache(256)
def _read(text: str) -> tuple[str | None, bool]:
    """A licence file's licence, and whether it says "either of": of what it names, or of the files beside it."""
    text = text[:MAX_CHARS]
    words = words_of(text)
    found, rest = texts_in(words)
    remainder = " ".join(rest)
    either = bool(DUAL.search(remainder))
    tags = _tagged(text[:HEAD_CHARS])
    if found:
        if "LGPL-3.0-only" in found and "GPL-3.0-only" in found:  # which the one is an addition to
            found.remove("GPL-3.0-only")
        more, choice = named(remainder) if re.search(r"\bunder\b|\bversion\b", remainder) else ([], False)
        more = [name for name in more if name not in (UNKNOWN, *VAGUE)]
        if tags and names_of(tags) >= set(found):
            return _with_conditions(tags, remainder), False
        names = _merged(found, more)
        # A few words that offer a choice of two or three; long collections have such words in what is bundled.
        choice = (choice or either) and len(names) <= 3 and len(rest) <= CHOICE_WORDS
        return _with_conditions(joined(names, choice) or UNKNOWN, remainder), False
    if tags:
        return tags, False
    names, choice = named(text[:20_000])
    if names:
        return _with_conditions(joined(names, choice) or UNKNOWN, remainder), False
    if not words or (
        len(words) < FEW_WORDS and re.search(r"licen|copying|copyright|^\W*[\w./-]+\W*$", text, re.I)
    ):
        return None, either
    return UNKNOWN, either


def _merged(texts: list[str], more: list[str]) -> list[str]:
    """Licences by their texts with those named beside them: `-or-later` said of a text takes its place."""
    replaced = {name.replace("-or-later", "-only"): name for name in more if name.endswith("-or-later")}
    return [replaced.get(name, name) for name in texts] + [
        name for name in more if not names_of(name) <= set(texts)
    ]


def _with_conditions(expression: str, remainder: str) -> str:
    """The expression, and something unknown where the text has conditions besides."""
    if UNKNOWN in expression or not _CONDITIONS.search(remainder):
        return expression
    return f"({expression}) AND {UNKNOWN}" if " OR " in expression else f"{expression} AND {UNKNOWN}"


def _strong(folder: _Folder) -> str | None:
    """What the licence files and the manifests of one folder say together."""
    texts = [folder.files[name] for name in sorted(folder.files)]
    found = [licence for licence, _ in texts if licence]
    named_here = [folder.manifests[name] for name in sorted(folder.manifests)]
    known = [name for name in named_here if parsed(name) is not None and UNKNOWN not in name]
    manifest = known[0] if known else next(iter(named_here), None)
    if not found:
        return manifest
    ids = frozenset().union(*(names_of(licence) for licence in found))
    if {"LGPL-3.0-only", "GPL-3.0-only"} <= ids and len(found) > 1:
        found = [licence for licence in found if names_of(licence) != {"GPL-3.0-only"}]
        ids = frozenset().union(*(names_of(licence) for licence in found))
    for stated_here in known:  # which knows of choices, of later versions and of exceptions
        if names_of(stated_here) >= ids:
            return stated_here
    pair = ids == {"Apache-2.0", "MIT"} and len(found) == 2
    return joined(found, pair or any(either for _, either in texts))


def _tagged(head: str) -> str | None:
    """The expression of the `SPDX-License-Identifier` lines; all of several."""
    names = []
    for value in _TAG.findall(head)[:20]:
        names.append(expression_of(_TAG_END.sub("", value)) or UNKNOWN)
    return joined(names, False)


def notice(text: str, name: str = "") -> str | None:
    """The licence that a source file's head (4,096 characters) says it is under, or None.

    `name` tells prose, which talks of licences that are not its own: there an SPDX tag counts, and what begins with
    "this document is".
    """
    head = text[:HEAD_CHARS]
    # Most files end here; what matters begins a sentence, so that a search of each case is quicker than one of none.
    if not (
        "icen" in head
        or "ICEN" in head
        or "ublic domain" in head
        or "edistribution and" in head
        or "ermission " in head
        or "roprietary" in head
        or "PROPRIETARY" in head
        or "nauthorized" in head
    ):
        return None
    lower = head.lower()
    at = lower.find("licen")
    if "spdx-license-identifier" in lower and (found := _tagged(head)):
        return found
    if name.endswith(_PROSE):
        own = _OF_ITSELF.search(lower)
        return _named(lower[own.start() : own.end() + 120].partition("\n\n")[0]) if own else None
    starts = [found for mark in _WHOLE if (found := lower.find(mark)) >= 0]
    if starts:
        longer = text[: 2 * HEAD_CHARS]
        start = min(starts)
        if ends := [end.end() for end in _WHOLE_END.finditer(longer.lower(), start)]:
            return _whole(longer[start : ends[-1]])
    for _ in range(MAX_NOTICES):
        if at < 0:
            break
        if found := _named(lower[_two_lines_up(lower, at) : at + NOTICE_CHARS]):
            return found
        at = lower.find("licen", at + NOTICE_CHARS - 100)
    for mark in ("public domain", "proprietary", "unauthorized"):
        if (at := lower.find(mark)) >= 0:
            return _named(lower[_two_lines_up(lower, at) : at + len(mark) + 40].partition("\n\n")[0])
    return None


def _two_lines_up(text: str, at: int) -> int:
    """Where the line before the one at `at` begins, at most 300 characters up."""
    line = text.rfind("\n", 0, at)
    return max(text.rfind("\n", 0, max(line, 0)) + 1, at - 300)


@functools.lru_cache(1024)
def _whole(text: str) -> str | None:
    found, _ = texts_in(words_of(text))
    more, choice = named(text)
    if not found:
        return joined(more, choice) or UNKNOWN
    return joined(_merged(found, more), choice or bool(DUAL.search(folded(text))))


_UNDER = re.compile(
    r"\bunder\b|licensed|licen[cs]e[\W_]{1,10}[a-z0-9]|released|distributed|terms|subject to|public domain|proprietary"
    r"|unauthorized|governed"
)


@functools.lru_cache(4096)
def _named(text: str) -> str | None:
    return joined(*named(text)) if _UNDER.search(text) else None


def _readme(text: str) -> str | None:
    """What a README's section on its licence names."""
    if (match := _SECTION.search(text[:MAX_CHARS])) is None:
        return None
    section = text[match.start() : match.end() + 600]
    return joined(*named(section))


def allowed_ids(policy: str | Iterable[str]) -> tuple[frozenset[str] | None, bool]:
    """The SPDX ids of a policy (None: all) and whether files of which nothing is known may stay.

    `any`, `permissive`, `permissive-or-none`, or a list of ids. Raises LodeError for what is no SPDX id.
    """
    if policy == "any":
        return None, True
    if policy in ("permissive", "permissive-or-none"):
        return permissive(), policy == "permissive-or-none"
    ids = set()
    for name in [policy] if isinstance(policy, str) else policy:
        tree = parsed(name)
        if tree is None or " OR " in str(tree) or " AND " in str(tree):
            raise LodeError(
                f"code.licences.allow: {name!r} is no SPDX identifier of a licence; give 'any', 'permissive', "
                "'permissive-or-none' or a list such as ['MIT', 'Apache-2.0']."
            )
        ids.add(str(tree))
    return frozenset(ids), False


class Licences:
    """A `Transform` that drops the files of opted out repositories, and those whose licence a policy does not allow.

    `allow` is as for `allowed_ids`, `opt_out` names lists (`filters.repository_lists`) and `mark` tells their state.

    Reasons: `opted_out` (detail: the entry), `licence_not_allowed` (the expression), `licence_unknown` (nothing
    says, or a licence file says what nobody here knows).
    """

    def __init__(
        self, allow: str | Iterable[str] = "any", opt_out: Iterable[str] = (), mark: str = ""
    ) -> None:
        self.allow = allow if isinstance(allow, str) else tuple(allow)
        self.opt_out = tuple(opt_out)
        self.mark = mark
        allowed_ids(self.allow)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return rows

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = zip(batch["repository"].to_pylist(), batch["licence"].to_pylist(), strict=True)
            yield judged(batch, [self.verdict(*row) for row in rows])

    def verdict(self, repository: str | None, licence: str | None) -> tuple[str, str] | None:
        if self.opt_out and (entry := _opted_out(repository, self.opt_out, self.mark)):
            return ("opted_out", entry)
        return _verdict(self.allow, licence)


@functools.lru_cache(1024)
def _opted_out(repository: str | None, lists: tuple[str, ...], mark: str) -> str | None:
    return repository_lists.find(repository, repository_lists.listed(lists, mark))


@functools.lru_cache(4096)
def _verdict(allow: str | tuple[str, ...], licence: str | None) -> tuple[str, str] | None:
    ids, unlicensed = allowed_ids(allow)
    # What a table says of itself may be spelt in its own way.
    expression = expression_of(licence) if licence else None
    if ids is None or (expression is None and unlicensed):
        return None
    if expression is None:
        return ("licence_unknown", "nothing says")
    if is_satisfied(expression, ids):
        return None
    return ("licence_unknown" if expression == UNKNOWN else "licence_not_allowed", licence or "")
