"""Which language a file is in, by Linguist's rules and names, what kind of language that is, how it writes a comment.

The evidence is taken in Linguist's order: the editor mode that the file states, its name, the program that its first
line calls, its extension, an XML declaration, a manual page's section, and, where several languages are left, what the
text says. Each step narrows what the steps before it left. Two things differ from Linguist: where its content rules
decide nothing it asks a classifier, and here the usual language of the extension is taken; and where the version
stripped from a program's name (`lua5.3`) leaves a name that nobody knows, the rest of the digits go too.

Linguist's facts are in `linguist.json` (made by benchmarks/linguist_tables.py), ours in `languages.toml`.
"""

import functools
import importlib.resources
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# The content rules read this many characters from the beginning (Linguist: as many bytes).
HEAD_CHARS = 51_200
# Editor modes and programs are looked for in the first and last five lines, and in this many characters.
_EDGE_CHARS = 2048
_EDGE_LINES = 5
# Of a line and of white space, the content rules read so many characters where there are twice as many.
_LINE = 500
_BLANK = 250
_LONG_BLANK = re.compile(rf"\s{{{_BLANK},}}")

_EMACS = re.compile(r"-\*-(.*?)-\*-")
_EMACS_MODE = re.compile(r"(?:^|[ \t;])mode[ \t]*:[ \t]*([^:;\s]+)(?=[ \t;]|$)", re.I)
_VIM = re.compile(r"(?:(?:^|(?<=[ \t]))(?:vi|[vV]im(?:[<=>]?\d+)?)|(?<=[ \t])ex):", re.M)
_VIM_SET = re.compile(r"[ \t]*set?[ \t]")
_VIM_SET_CLOSED = re.compile(r"[ \t]*set?[ \t][^\r\n:]+:")
# Words, colons and blanks, and values, in which anything but white space may stand.
_VIM_OPTIONS = re.compile(r"(?:[\w: \t]++|=(?:[^\\\s]|\\.)*+)*+", re.ASCII)
_VIM_TYPE = re.compile(r"[ \t:](?:filetype|ft|syntax)[ \t]*=(\w+)(?=$|\s|:)", re.ASCII)
_ENV_ARGUMENTS = re.compile(r"\s+(?:(?:-[i0uCSv]*|--\S+|\S+=\S+)\s+)*+(\S+)")
_EXEC = re.compile(r"exec (\w+)", re.ASCII)
_VERSION = re.compile(r"-?[\d.]+$")
_MANUAL = re.compile(r"\.(?:[1-9](?![0-9])[a-z_0-9]*|0p|n|man|mdoc)(?:\.in)?$", re.ASCII | re.I)

# Folders of others' code that Linguist does not list, beside those it does.
_ALSO_VENDORED = r"(?:_?[Vv]endored|_[Vv]endors?|Pods|gnulib|\.yarn)/"


class _Linguist(NamedTuple):
    """Linguist's table, by what is looked up in it; languages in the table's order."""

    facts: Mapping[str, Mapping[str, Any]]
    filenames: Mapping[str, Sequence[str]]
    extensions: Mapping[str, Sequence[str]]
    interpreters: Mapping[str, Sequence[str]]
    aliases: Mapping[str, str]
    generic: frozenset[str]
    plain: Mapping[str, str]  # by extension, where it alone settles the matter
    rules: Mapping[str, int]  # by extension, the place in `heuristics`
    heuristics: Sequence[Mapping[str, Any]]
    popular: frozenset[str]
    vendor: Mapping[str, Sequence[str]]


def _read(name: str) -> str:
    return importlib.resources.files("corpus").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _linguist() -> _Linguist:
    table = json.loads(_read("linguist.json"))
    found: dict[str, dict[str, list[str]]] = {"filenames": {}, "extensions": {}, "interpreters": {}}
    aliases: dict[str, str] = {}
    for language, facts in table["languages"].items():
        for kind, index in found.items():
            for key in dict.fromkeys(k.lower() if kind == "extensions" else k for k in facts.get(kind, ())):
                index.setdefault(key, []).append(language)
        aliases["-".join(language.lower().split(" "))] = language
        aliases.update((alias.lower(), language) for alias in facts.get("aliases", ()))
    rules: dict[str, int] = {}
    for place, group in enumerate(table["heuristics"]):
        for extension in group["extensions"]:
            rules.setdefault(extension, place)
    generic = frozenset(table["generic"])
    longer = {
        "." + extension.rpartition(".")[2] for extension in found["extensions"] if extension.count(".") > 1
    }
    plain = {
        extension: claiming[0]
        for extension, claiming in found["extensions"].items()
        if len(claiming) == 1 and extension not in generic and extension not in longer
    }
    return _Linguist(
        table["languages"],
        **found,
        aliases=aliases,
        generic=generic,
        plain=plain,
        rules=rules,
        heuristics=table["heuristics"],
        popular=frozenset(table["popular"]),
        vendor=table["vendor"],
    )


@functools.cache
def _own() -> dict[str, Any]:
    return tomllib.loads(_read("languages.toml"))


def languages() -> list[str]:
    """Every language that has a name here, sorted."""
    return sorted(_linguist().facts)


def kind_of(language: str) -> str | None:
    """`programming`, `markup`, `data` or `prose`; None for what is no language here."""
    return _linguist().facts.get(language, {}).get("type")


def language_of(path: str, text: str = "") -> str | None:
    """The language of the file at `path` that says `text`; None where nothing tells.

    `text` may be the file's beginning alone: a mode stated in its last lines is then not seen.
    """
    linguist = _linguist()
    name = path.rsplit("/", 1)[-1]
    if found := _by_mode(text, linguist):
        return found
    candidates = linguist.filenames.get(name, ())
    if len(candidates) == 1:
        return candidates[0]
    if text.startswith("#!"):
        candidates = _narrowed(candidates, _by_program(text, linguist))
        if len(candidates) == 1:
            return candidates[0]
    ending = "." + name.rpartition(".")[2].lower()
    if not candidates and "." in name and ending in linguist.plain:
        return linguist.plain[ending]
    endings = _endings(name)
    if ending not in linguist.generic:
        claimed = next((linguist.extensions[e] for e in endings if e in linguist.extensions), ())
        candidates = _narrowed(candidates, claimed)
        if len(candidates) == 1:
            return candidates[0]
    if not candidates and "<?xml version=" in _first_lines(text, 2):
        return "XML"
    if not candidates and endings and _MANUAL.search(name):
        candidates = ("Roff", "Roff Manpage")
    ruled = [linguist.rules[ending] for ending in endings if ending in linguist.rules]
    if ruled and (told := _by_content(min(ruled), text[:HEAD_CHARS])):
        candidates = told
    return _usual(candidates, endings, text) if len(candidates) > 1 else next(iter(candidates), None)


def _narrowed(candidates: Sequence[str], found: Sequence[str]) -> Sequence[str]:
    """`found`, within the candidates that there are; what there was where that leaves nothing."""
    if candidates:
        found = [language for language in candidates if language in found]
    return found or candidates


def _endings(name: str) -> list[str]:
    """`.app.src` and `.src`, in lower case; a name that begins with a dot is one."""
    parts = name.lower().split(".")
    if len(parts) > 9:  # no extension has as many dots
        parts = ["", *parts[-8:]]
    return ["." + ".".join(parts[at:]) for at in range(1, len(parts))]


def _first_lines(text: str, lines: int) -> str:
    text = text[:_EDGE_CHARS]
    parts = text.split("\n", lines)
    return text[: -len(parts[-1]) - 1] if len(parts) > lines else text


def _last_lines(text: str, lines: int) -> str:
    text = text[-_EDGE_CHARS:].rstrip("\r\n")
    parts = text.rsplit("\n", lines)
    return text[len(parts[0]) + 1 :] if len(parts) > lines else text


def _by_mode(text: str, linguist: _Linguist) -> str | None:
    """The mode that a line for Emacs, or else one for Vim, states at the beginning or the end."""
    first = _first_lines(text, _EDGE_LINES)
    last = _last_lines(text, _EDGE_LINES)
    both = f"{first}\n{last}"
    mode = None
    if "-*-" in both:
        mode = _emacs_mode(both)
    if mode is None and ("vim" in both or "vi:" in both or "ex:" in both or "Vim" in both):
        mode = _vim_mode(both)
    if mode is None or "UseVimball" in first:  # the mode would be that of what the archive holds
        return None
    return linguist.aliases.get(mode.lower()) or linguist.aliases.get(mode.split(",", 1)[0].lower())


def _emacs_mode(lines: str) -> str | None:
    """`ruby` of `-*- ruby -*-` or `-*- coding: utf-8; mode: ruby -*-`."""
    for match in _EMACS.finditer(lines):
        stated = match[1].strip(" \t")
        if stated and not re.search(r"[:;\s]", stated):
            return stated
        if mode := _EMACS_MODE.search(match[1]):
            return mode[1]
    return None


def _vim_mode(lines: str) -> str | None:
    """`sh` of `vim: noai ft=sh` or `vi: set ft=sh :`, the last one of a line."""
    for start in _VIM.finditer(lines):
        at = start.end()
        if _VIM_SET.match(lines, at) and not _VIM_SET_CLOSED.match(lines, at):
            continue
        options = _VIM_OPTIONS.match(lines, at - 1)
        end = options.end() if options else at
        stated = [match[1] for match in _VIM_TYPE.finditer(lines, at - 1) if match.start() < end]
        if stated:
            return stated[-1]
    return None


def _by_program(text: str, linguist: _Linguist) -> Sequence[str]:
    line = _first_lines(text, 1)
    words = re.match(r"#!\s*(\S+)", line)
    if not words:
        return ()
    program = words[1].rsplit("/", 1)[-1]
    if program == "env":
        called = _ENV_ARGUMENTS.match(line, words.end())
        if not called:
            return ()
        program = called[1].rsplit("/", 1)[-1]
    program = re.sub(r"\.\d+$", "", program)
    if program == "sh":  # a script that hands itself to another program in its first lines
        for opening in _first_lines(text, _EDGE_LINES).split("\n"):
            match = _EXEC.search(opening)
            if match and (at := opening.find("$0", match.end() + 1)) >= 0 <= opening.find("$@", at + 3):
                program = match[1]
                break
    if program == "osascript" and "-l" in line:
        return ()
    return linguist.interpreters.get(program) or linguist.interpreters.get(_VERSION.sub("", program), ())


class _Sought(NamedTuple):
    """An expression of Linguist's: what to look for before it, whether on lowered text, whether after a newline."""

    literals: Sequence[str]
    lowered: bool
    after_newline: bool
    expression: re.Pattern[str]


@functools.cache
def _compiled(place: int) -> list[tuple[list[str], list[tuple[bool, list[_Sought]]]]]:
    def sought(pattern: str, literals: Sequence[str]) -> _Sought:
        flags, body = re.match(r"(\(\?[a-z]+\))?(.*)", pattern, re.S).groups()  # type: ignore[union-attr]
        compiled = re.compile(pattern, re.ASCII | re.M)
        return _Sought(literals, "i" in (flags or ""), body.startswith("\\n"), compiled)

    return [
        (names, [(wanted, [sought(*pattern) for pattern in patterns]) for wanted, patterns in tests])
        for names, tests in _linguist().heuristics[place]["rules"]
    ]


def _by_content(place: int, head: str) -> Sequence[str]:
    """What the first rule says whose tests all hold."""
    lined = "\n" + head
    lowered: str | None = None
    tamed: str | None = None

    def found(sought: _Sought) -> bool:
        nonlocal lowered, tamed
        if sought.literals:
            if sought.lowered and lowered is None:
                lowered = lined.lower()
            within = lowered if sought.lowered and lowered is not None else lined
            for literal in sought.literals:
                if literal in within:
                    break
            else:
                return False
        if tamed is None:
            tamed = _tamed(lined)
        return sought.expression.search(tamed, not sought.after_newline) is not None

    for names, tests in _compiled(place):
        if all(wanted == any(map(found, patterns)) for wanted, patterns in tests):
            return names
    return ()


def _tamed(head: str) -> str:
    """`head` with no line of `2 * _LINE` characters and no white space of `2 * _BLANK`: expressions that go back over
    what they have seen do so within one of these."""
    if any("\n" not in head[at : at + _LINE] for at in range(0, len(head) - _LINE, _LINE)):
        head = "\n".join(line[:_LINE] for line in head.split("\n"))
    if any(head[at : at + _BLANK].isspace() for at in range(0, len(head) - _BLANK, _BLANK)):
        head = _LONG_BLANK.sub(lambda run: run[0][: _BLANK // 2] + run[0][-(_BLANK // 2) :], head)
    return head


def _usual(candidates: Sequence[str], endings: Sequence[str], text: str) -> str:
    """One of several languages that nothing tells apart."""
    if "XML" in candidates and text[:_EDGE_CHARS].lstrip().startswith("<"):
        return "XML"
    usual = next((_own()["usual"][ending] for ending in endings if ending in _own()["usual"]), None)
    if usual in candidates:
        return usual
    linguist = _linguist()

    def rank(language: str) -> tuple[bool, bool]:
        extensions = linguist.facts[language].get("extensions", [""])
        return language not in linguist.popular, extensions[0].lower() not in endings

    return min(candidates, key=rank)


@functools.cache
def _vendored() -> tuple[re.Pattern[str], re.Pattern[str]]:
    vendor = _linguist().vendor
    named = "|".join([_ALSO_VENDORED, *vendor["named"]])
    return re.compile(f"/(?:{named})"), re.compile("|".join(vendor["anywhere"]))


def is_vendored(path: str) -> bool:
    """Whether the path looks like others' code kept in the repository: Linguist's list, and a few folders more."""
    named, other = _vendored()
    return named.search("/" + path) is not None or other.search(path) is not None


@functools.cache
def _comments() -> dict[str, tuple[str, str]]:
    own = _own()
    marks = {name: (mark, "") for mark, names in own["comments"].items() for name in names}
    for pair, names in own["comment_pairs"].items():
        opening, closing = pair.split(" ")
        marks.update((name, (opening, closing)) for name in names)
    for language, facts in _linguist().facts.items():
        if language not in marks and facts.get("group") in marks:
            marks[language] = marks[facts["group"]]
    return marks


def comment_line(language: str | None, text: str) -> str:
    """`text` as one line of comment in `language`, without the newline.

    Languages without comments (data formats, plain text) and unknown ones get `#`, which a reader
    understands. Nothing in `text` can end the comment early.
    """
    text = " ".join(text.split())
    opening, closing = _comments().get(language or "", ("#", ""))
    if not closing:
        return f"{opening} {text.rstrip(chr(92))}"  # a backslash at the end would continue the comment in C
    return f"{opening} {text.replace(closing, ' ')} {closing}"
