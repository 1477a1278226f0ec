"""Which language a file is in, by Linguist's names, and how that language writes a comment.

The order of evidence is Linguist's: the file's name, the program its first line calls, the editor mode it
states, its extension, and, where several languages share one, what the file says at its beginning. The facts
are in `languages.toml`.
"""

import functools
import importlib.resources
import re
import tomllib
from typing import Any

HEAD_CHARS = 8192
_SHEBANG = re.compile(r"^#!\s*(?:\S*/)?([^/\s]+)(?:\s+(?:-\S+\s+)*(?:\w+=\S+\s+)*([^/\s]+))?")
_MODELINE = re.compile(
    r"-\*-\s*(?:mode:\s*)?([\w+#-]+)\s*(?:;[^*]*)?-\*-|\bvim?:.*?\b(?:ft|filetype|syntax)=(\w+)"
)
_VERSION = re.compile(r"[\d.]+$")


@functools.cache
def _table() -> dict[str, Any]:
    text = importlib.resources.files("corpus").joinpath("languages.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@functools.cache
def _index() -> tuple[dict[str, str], dict[str, str], dict[str, str], dict[str, str], dict[str, list]]:
    """Languages by file name, extension, interpreter and alias; and the rules of shared extensions."""
    names: dict[str, str] = {}
    extensions: dict[str, str] = {}
    interpreters: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for language, facts in _table()["languages"].items():
        names.update((name, language) for name in facts.get("filenames", ()))
        for extension in facts.get("extensions", ()):
            extensions.setdefault(extension, language)
        interpreters.update((name, language) for name in facts.get("interpreters", ()))
        aliases.update((alias, language) for alias in (language.lower(), language.lower().replace(" ", "-")))
    rules = {
        extension: [(language, re.compile(pattern, re.M)) for language, pattern in entry["rules"]]
        for entry in _table()["heuristics"]
        for extension in entry["extensions"]
    }
    return names, extensions, interpreters, aliases, rules


def languages() -> list[str]:
    """Every language that has a name here, sorted."""
    return sorted(_table()["languages"])


def language_of(path: str, head: str = "") -> str | None:
    """The language of the file at `path` that begins with `head`; None where nothing tells."""
    names, extensions, interpreters, aliases, rules = _index()
    name = path.rsplit("/", 1)[-1]
    if name in names:
        return names[name]
    head = head[:HEAD_CHARS]
    if head.startswith("#!") and (found := _by_shebang(head, interpreters)):
        return found
    if match := _MODELINE.search("\n".join(head.split("\n", 2)[:2])[:400]):
        found = aliases.get((match[1] or match[2]).lower())
        if found:
            return found
    for extension in _extensions(name):
        for spelling in dict.fromkeys((extension, extension.lower())):
            if spelling in rules:
                return next((language for language, rule in rules[spelling] if rule.search(head)), None)
            if spelling in extensions:
                return extensions[spelling]
    if name.startswith(("Dockerfile.", "Makefile.")):
        return name.split(".")[0]
    return None


def _extensions(name: str) -> list[str]:
    """`.app.src` before `.src`; a leading dot is part of the name."""
    parts = name.lstrip(".").split(".")
    return ["." + ".".join(parts[i:]) for i in range(max(1, len(parts) - 2), len(parts))]


def _by_shebang(head: str, interpreters: dict[str, str]) -> str | None:
    match = _SHEBANG.match(head.split("\n", 1)[0][:200])
    if not match:
        return None
    program = match[2] if match[1] == "env" and match[2] else match[1]
    return interpreters.get(program) or interpreters.get(_VERSION.sub("", program))


def comment_line(language: str | None, text: str) -> str:
    """`text` as one line of comment in `language`, without the newline.

    Languages without comments (data formats, plain text) and unknown ones get `#`, which a reader
    understands. Nothing in `text` can end the comment early.
    """
    text = " ".join(text.split())
    comment = _table()["languages"].get(language, {}).get("comment", "#")
    if isinstance(comment, str):
        return f"{comment} {text.rstrip(chr(92))}"  # a backslash at the end would continue the comment in C
    opening, closing = comment
    return f"{opening} {text.replace(closing, ' ')} {closing}"
