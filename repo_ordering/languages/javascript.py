"""JavaScript and TypeScript: every form of import whose specifier is a literal string.

`import`, `export ... from`, `import x = require()`, `require()`, dynamic and type-position `import()`, and
triple-slash paths. Relative specifiers are resolved as bundlers and TypeScript do (extensions, `.js`
standing for `.ts`, `index`), bare ones against the names in the repository's own `package.json` files.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile

# Comments, templates and regular expressions are blanked and strings numbered before any import is looked
# for. A slash opens a regular expression only where no operand can have ended. What is never closed runs to
# the end of its line or the file: giving it up and trying again from the next character would be quadratic.
_NOISE = re.compile(
    r"""(?P<comment> //[^\n]*+ | /\* [^*]*+ (?: \*(?!/) [^*]*+ )*+ (?: \*/ | \Z ) )
      | (?P<string> "(?:[^"\\\n]++|\\.)*+"? | '(?:[^'\\\n]++|\\.)*+'? )
      | (?P<template> ` (?: [^`\\]++ | \\. )*+ (?: ` | \Z ) )
      | (?P<regex> (?: (?<=[(,=:\[!&|?{};+\n~^%*-]) | (?<==>) | (?<=\breturn) | (?<=\bcase) ) [ \t]*+
            / (?![/*]) (?: [^/\\\[\n]++ | \\[^\n] | \[ (?: [^\]\\\n]++ | \\[^\n] )*+ \]? )++ /? )""",
    re.VERBOSE | re.DOTALL,
)
_IMPORT = re.compile(
    r"""(?<![\w$.]) (?: from \s*+ | import \s*+ | (?: import | require ) \s*+ \( \s*+ ) "(\d+)" """,
    re.VERBOSE,
)
_REFERENCE = re.compile(r"""///\s*<reference\s+path\s*=\s*["']([^"']+)["']""")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

_TYPESCRIPT_FIRST = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mts", ".cts", ".mjs", ".cjs", ".json", ".vue")
_JAVASCRIPT_FIRST = (".js", ".jsx", ".mjs", ".cjs", ".json", ".ts", ".tsx", ".d.ts", ".mts", ".cts", ".vue")
_STANDS_FOR = {
    ".js": (".ts", ".tsx", ".d.ts"),
    ".jsx": (".tsx", ".d.ts"),
    ".mjs": (".mts", ".d.mts"),
    ".cjs": (".cts", ".d.cts"),
}


def scan(text: str) -> list[str]:
    """Specifiers of imports, each once, in order; a triple-slash path counts as a relative specifier."""
    strings: list[str] = []
    references: list[str] = []

    def blank(match: re.Match[str]) -> str:
        if match["string"] is not None:
            strings.append(match["string"][1:].removesuffix(match["string"][0]))
            return f'"{len(strings) - 1}"'
        if match["comment"] is not None:
            reference = _REFERENCE.match(match[0])
            if reference:
                path = reference[1]
                references.append(path if path.startswith(".") else "./" + path)
            return " "
        return " 0 "

    code = _NOISE.sub(blank, text)
    found = [_ESCAPE.sub(r"\1", strings[int(match[1])]) for match in _IMPORT.finditer(code)]
    return list(dict.fromkeys(references + found))


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of the files in `facts`, given every file of the repository."""
    packages = _packages(files)
    for path in sorted(facts):
        suffixes = _TYPESCRIPT_FIRST if path.endswith((".ts", ".tsx", ".mts", ".cts")) else _JAVASCRIPT_FIRST
        for specifier in facts[path].imports or ():
            target = _find(path, specifier, suffixes, packages, files)
            if target is not None:
                yield Edge(path, target)


def _find(
    path: str,
    specifier: str,
    suffixes: tuple[str, ...],
    packages: Mapping[str, str],
    files: Mapping[str, SourceFile],
) -> str | None:
    specifier = specifier.partition("?")[0]
    if specifier.startswith("."):
        base = posixpath.normpath(posixpath.join(posixpath.dirname(path), specifier))
        folder_only = specifier.rstrip("/") != specifier or specifier.split("/")[-1] in (".", "..")
        return (
            None
            if base.startswith("..")
            else _module("" if base == "." else base, suffixes, files, folder_only)
        )
    parts = specifier.split("/")
    depth = 2 if specifier.startswith("@") else 1
    root = packages.get("/".join(parts[:depth]))
    if root is None:
        return None
    rest = "/".join(parts[depth:])
    for base in (posixpath.join(root, "src", rest), posixpath.join(root, rest)):
        target = _module(base.rstrip("/"), suffixes, files, not rest)
        if target is not None:
            return target
    return None


def _module(
    base: str, suffixes: tuple[str, ...], files: Mapping[str, SourceFile], folder_only: bool
) -> str | None:
    """The file a path without certain suffix names: exact, a `.js` that is really `.ts`, suffix, index."""
    tries: list[str] = []
    if not folder_only:
        stem, suffix = posixpath.splitext(base)
        stand_ins = [stem + other for other in _STANDS_FOR.get(suffix, ())]
        tries += [*stand_ins, base] if suffixes is _TYPESCRIPT_FIRST else [base, *stand_ins]
        tries += [base + suffix for suffix in suffixes]
    tries += [posixpath.join(base, "index" + suffix) for suffix in suffixes]
    return next((candidate for candidate in tries if candidate in files), None)


def _packages(files: Mapping[str, SourceFile]) -> dict[str, str]:
    """Names of the repository's own packages and their folders, the shallowest where a name repeats."""
    found: dict[str, str] = {}
    for path in sorted(files, key=lambda path: (path.count("/"), path)):
        if posixpath.basename(path) != "package.json":
            continue
        try:
            manifest = json.loads(files[path].text)
        except (ValueError, RecursionError):
            continue
        name = manifest.get("name") if isinstance(manifest, dict) else None
        if isinstance(name, str) and name:
            found.setdefault(name, posixpath.dirname(path))
    return found
