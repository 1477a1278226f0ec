"""Python: import statements, resolved as the import system would find the files of this repository.

An edge goes to the module a statement names: `import a.b` to `a/b.py` or `a/b/__init__.py`, `from a import b`
to the submodule `a/b` where there is one and to `a` otherwise. Parents that are merely initialised on the way
count for nothing (the semantics of grimp, which the accuracy is measured against).
"""

import posixpath
import re
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages.python_modules import SUFFIXES, Modules
from repo_ordering.languages.python_symbols import Symbols

MOST_NAMES = 64  # of one module, as far as they are told

# Strings and comments are blanked before any statement is looked for. Possessive quantifiers keep this linear
# on hostile text; an unterminated string runs to the end of the file, or of the line.
_NOISE = re.compile(
    r"""\#[^\n]*+
      | \"\"\" (?: [^"\\]++ | \\. | "(?!"") )*+ (?: \"\"\" | \Z )
      | ''' (?: [^'\\]++ | \\. | '(?!'') )*+ (?: ''' | \Z )
      | " (?: [^"\\\n]++ | \\. )*+ "?
      | ' (?: [^'\\\n]++ | \\. )*+ '?""",
    re.VERBOSE | re.DOTALL,
)
_NAME = r"[^\W\d]\w*+"
_DOTTED = rf"{_NAME}(?:[ \t]*+\.[ \t]*+{_NAME})*+"
_STATEMENT = re.compile(
    rf"""(?:^|[;:])[ \t\f]*+
    (?: from [ \t]*+ (?P<dots>\.[. \t]*+)? (?P<module>{_DOTTED})? [ \t]*+ import\b [ \t]*+
            (?: \( (?P<group>[^()]*+) \)? | (?P<names>[^\n;()]++) )
      | import [ \t]++ (?P<modules>[^\n;()]++) )""",
    re.VERBOSE | re.MULTILINE,
)
_WORD = re.compile(rf"{_DOTTED}|\*")


def scan(text: str) -> list[list]:
    """Import statements as [level, module, [names]]; `import a, b` is one entry a module, without names."""
    code = _NOISE.sub(" ", text)
    code = code.replace("\\\r\n", " ").replace("\\\n", " ").replace("\r", "\n")
    found: list[list] = []
    at = 0
    while (
        word := code.find("import", at)
    ) >= 0:  # a search from its line on is ten times as fast as through all
        match = _STATEMENT.search(code, max(at, code.rfind("\n", at, word) + 1))
        if match is None:
            break
        at = match.end()
        if match["modules"] is not None:
            found += [[0, name, []] for name in _first_words(match["modules"])]
            continue
        names = match["group"] if match["group"] is not None else match["names"]
        level = (match["dots"] or "").count(".")
        module = re.sub(r"\s", "", match["module"] or "")
        if level or module:
            found.append([level, module, _first_words(names or "")])
    return found


def _first_words(listing: str) -> list[str]:
    """The imported name of each `name [as alias]` in a list separated by commas."""
    words = (_WORD.match(part.strip()) for part in listing.split(","))
    return ["".join(word[0].split()) for word in words if word]


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_python

    return tree_sitter_python.language()


def scan_tree(root) -> dict:
    """What the module binds and which names it writes; see `python_tree.read`."""
    from repo_ordering.languages import python_tree

    return python_tree.read(root)


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of the Python files in `facts`, given every file of the repository."""
    known = {path: found.imports or [] for path, found in facts.items()}
    modules = Modules(path for path in facts if path.endswith(SUFFIXES))
    modules.name_root(known)
    for path in sorted(known):
        for level, module, names in known[path]:
            place = modules.place(path, level, module)
            if place is not None:
                yield from modules.edges(path, place, names)
    symbols = Symbols({path: facts[path].symbols for path in sorted(facts)}, modules)
    yield from symbols.edges()
    for path in sorted(known):
        if facts[path].symbols is None:
            yield from symbols.edges_of_imports(path, known[path])


def names_written(facts: Facts) -> dict[str, list[str]]:
    """Names that a file imports from modules, by the modules' last names; "" is the package it is in."""
    found: dict[str, list[str]] = {}
    for _, module, names in facts.imports or []:
        held = found.setdefault(module.rpartition(".")[2], [])
        held += [name for name in names[:MOST_NAMES] if name != "*" and len(held) < MOST_NAMES]
    return found


def names_used(path: str, facts: Facts, written: dict[str, list[str]]) -> list[str]:
    """Names that a file imports from the module at `path`."""
    folder, _, last = path.rpartition(".")[0].rpartition("/")
    if last != "__init__":
        return written.get(last, [])
    return written.get(posixpath.basename(folder), []) + written.get("", [])
