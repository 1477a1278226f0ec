"""Files that a program wrote, by Linguist's rules and some it does not have (`generated.toml`).

Not here: Linguist's rule for minified scripts and style sheets, which is a rule of its own in `code_rules.py`.
"""

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

HEAD_LINES = 41
LINE_CHARS = 1000
_COFFEE = re.compile(r"_fn|_i|_len|_ref|_results")
_COFFEE_CLASSES = re.compile(r"__bind|__extends|__hasProp|__indexOf|__slice")
_FONT = re.compile(r"[\r\n][ \t]{0,99}(?:currentfile eexec\s{1,9}|/sfnts\s{1,9}\[\s{0,9}<)[0-9a-fA-F]{8}")
_META = re.compile(r"<meta\s([^<>]+)>", re.I)
_ATTRIBUTE = re.compile(r"""(?<!\S)(name|content|value)\s{0,9}=\s{0,9}("[^"]+"|'[^']+'|[^\s"']+)""", re.I)
_GENERATORS = re.compile(r"(?i)(?:org\s+mode|j?latex2html|groff|makeinfo|texi2html|ronn)\b")


class Head(NamedTuple):
    """A pattern for certain lines of a file."""

    generator: str
    first: int
    end: int
    least: int
    holds: str
    pattern: re.Pattern[str]


class Group(NamedTuple):
    """What a group of rules looks for: in names, in paths, and in lines by the ending of the file's name."""

    names: re.Pattern[str]
    generators: dict[str, str]  # by the groups of the pattern
    folders: list[tuple[str, str, re.Pattern[str]]]  # what the path holds, generator, pattern
    heads: dict[str, list[Head]]
    special: dict[str, tuple[str, Callable[[str], bool]]]

    def found(self, path: str, text: str) -> str | None:
        name = path.rsplit("/", 1)[-1]
        if match := self.names.search(name):
            return self.generators[match.lastgroup or ""]
        for holds, generator, pattern in self.folders:
            if holds in path and pattern.search(path):
                return generator
        ending = name[name.rfind(".") :] if "." in name[1:] else ""
        rules = self.heads.get(ending) or self.heads[""]
        if name in self.heads:
            rules = [*rules, *self.heads[name]]
        if rules:
            lines = text.split("\n", HEAD_LINES)
            count = len(lines)
            head = [line[:LINE_CHARS] for line in lines[:HEAD_LINES]]
            low = "\n".join(head).lower()
            tail = text.rsplit("\n", 2) if any(rule.first < 0 for rule in rules) else []
            for rule in rules:
                of = tail if rule.first < 0 else head
                if (
                    count >= rule.least
                    and rule.holds in low
                    and rule.pattern.search("\n".join(of[rule.first : rule.end or None]))
                ):
                    return rule.generator
        if ending in self.special:
            generator, is_so = self.special[ending]
            return generator if is_so(text) else None
        return None


def generator(path: str, text: str, groups: tuple[str, ...] = ("linguist",)) -> str | None:
    """What wrote the file, by the first rule of `groups` that says so; None: nothing does."""
    for name in groups:
        if found := group(name).found(path, text):
            return found
    return None


@functools.cache
def _table() -> dict[str, Any]:
    text = importlib.resources.files("filters").joinpath("generated.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def groups() -> list[str]:
    """Names of the groups of rules, sorted."""
    return sorted(_table())


@functools.cache
def group(name: str) -> Group:
    table = _table()[name]
    generators = {f"g{i}": generator for i, generator in enumerate(table["names"])}
    # `(?x)` may stand at the beginning of a whole expression only.
    patterns = [f"(?x:{p[4:]})" if p.startswith("(?x)") else p for p in table["names"].values()]
    names = re.compile("|".join(f"(?P<g{i}>{pattern})" for i, pattern in enumerate(patterns)))
    folders = [
        (about["holds"], generator, re.compile(about["pattern"]))
        for generator, about in table.get("folders", {}).items()
    ]
    rules: dict[str, list[Head]] = {"": []}
    for about in table["heads"]:
        head = Head(
            about["generator"],
            *about["lines"],
            about.get("least", 1),
            about.get("holds", ""),
            re.compile(about["pattern"], re.M),
        )
        for extension in about.get("extensions", [""]):
            rules.setdefault(extension, []).append(head)
    heads = {ending: [*own, *(rules[""] if ending else ())] for ending, own in rules.items()}
    return Group(names, generators, folders, heads, _SPECIAL if name == "linguist" else {})


def _coffeescript(text: str) -> bool:
    """What CoffeeScript's compiler wrote before it signed: a closure around variables named as it names them."""
    if not (text.startswith("(function() {\n") and text.endswith("\n}).call(this);\n")):
        return False
    lines = [line for line in text.split("\n") if "var " in line]
    return sum(len(_COFFEE.findall(line)) + 3 * len(_COFFEE_CLASSES.findall(line)) for line in lines) >= 3


def _net_documentation(text: str) -> bool:
    first, last = text.split("\n", 3), text.rsplit("\n", 2)
    if len(first) < 4:
        return False
    return "<doc>" in first[1] and "<assembly>" in first[2] and "</doc>" in last[-2]


def _font(text: str) -> bool:
    """A font in PostScript is a long hexadecimal string after one of two words."""
    return ("currentfile eexec" in text or "/sfnts" in text) and bool(_FONT.search(text))


def _stated_in_html(text: str) -> bool:
    """`<meta name="generator" content="...">` in the first lines names one of the programs that write whole pages."""
    head = " ".join(line[:LINE_CHARS] for line in text.split("\n", 31)[:31])
    for tag in _META.findall(head):
        found = {
            key.lower(): value.strip("\"'")
            for key, value in _ATTRIBUTE.findall(tag.rstrip().removesuffix("/"))
        }
        values = (found.get("content", ""), found.get("value", ""))
        if found.get("name", "").lower() == "generator" and any(map(_GENERATORS.match, values)):
            return True
    return False


_SPECIAL = {
    ".js": ("CoffeeScript", _coffeescript),
    ".xml": (".NET documentation", _net_documentation),
    ".XML": (".NET documentation", _net_documentation),
    **dict.fromkeys((".ps", ".eps", ".pfa"), ("PostScript", _font)),
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("stated in HTML", _stated_in_html)),
}
