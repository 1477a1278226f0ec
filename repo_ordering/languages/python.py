"""Python: import statements, resolved as the import system would find the files of this repository.

An edge goes to the module a statement names: `import a.b` to `a/b.py` or `a/b/__init__.py`, `from a import b`
to the submodule `a/b` where there is one and to `a` otherwise. Parents that are merely initialised on the way
count for nothing (the semantics of grimp, which the accuracy is measured against).
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile

SUFFIXES = (".py", ".pyi")
MOST_NAMES = 64  # of one module, as far as they are told

# Strings and comments are blanked before any statement is looked for. Possessive quantifiers keep this linear
# on hostile text; an unterminated string runs to the end of the file, or of the line.
_NOISE = re.compile(
    r"""(?P<comment>\#[^\n]*)
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
    code = _NOISE.sub(lambda match: "" if match["comment"] else '""', text)
    code = code.replace("\\\r\n", " ").replace("\\\n", " ").replace("\r", "\n")
    found: list[list] = []
    for match in _STATEMENT.finditer(code):
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
    return [re.sub(r"\s", "", word[0]) for word in words if word]


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of the Python files in `facts`, given every file of the repository."""
    known = {path: found.imports or [] for path, found in facts.items()}
    modules = _Modules(path for path in facts if path.endswith(SUFFIXES))
    modules.name_root(known)
    for path in sorted(known):
        for level, module, names in known[path]:
            if level:
                base = posixpath.dirname(path)
                for _ in range(level - 1):
                    if not base:
                        break
                    base = posixpath.dirname(base)
                else:
                    yield from modules.edges(
                        path, posixpath.join(base, *filter(None, module.split("."))), names
                    )
                continue
            first, *rest = module.split(".")
            root = modules.root_of(first, path)
            if root is not None:
                yield from modules.edges(path, posixpath.join(root, *rest), names)


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


class _Modules:
    """Where the repository's modules are: a module is named here by its path without suffix."""

    def __init__(self, paths: Iterator[str]) -> None:
        self.file: dict[str, str] = {}
        for path in sorted(paths, reverse=True):  # `a.py` after `a.pyi`, so that the implementation wins
            stem = path[: path.rindex(".")]
            folder, _, last = stem.rpartition("/")
            if last == "__init__":
                self.file[folder] = path
            else:
                self.file.setdefault(stem, path)
                if not path.endswith(".pyi"):
                    self.file[stem] = path
        for path in sorted(self.file.values()):  # a package hides a module of the same name
            folder, _, last = path.rpartition("/")
            if last == "__init__.py":
                self.file[folder] = path
        self.folders = {""}
        for stem in self.file:
            while stem := posixpath.dirname(stem):
                self.folders.add(stem)
        self.packages = {
            posixpath.dirname(path)
            for path in self.file.values()
            if posixpath.basename(path).startswith("__init__.")
        }
        # First components of absolute imports: whatever lies outside every package.
        self.tops: set[str] = set()
        # Of those, what may be imported from anywhere: packages, and modules in a source root. A stray
        # `tools/types.py` must not catch `import types`.
        self.anywhere: dict[str, str] = {}
        places = set(self.file) | self.folders
        for place in sorted(places, key=lambda place: (place.count("/"), place)):
            parent, _, name = place.rpartition("/")
            if name and parent not in self.packages:
                self.tops.add(place)
                if place in self.packages or posixpath.basename(parent) in ("src", "lib", "python"):
                    self.anywhere.setdefault(name, place)
        self.root_name: str | None = None

    def name_root(self, facts: Mapping[str, list]) -> None:
        """Guess what a repository whose root is itself a package calls itself.

        It is the first component under which its own modules are most often imported.
        """
        if "" not in self.packages:
            return
        votes = Counter(
            module.split(".")[0]
            for entries in facts.values()
            for level, module, _ in entries
            if not level and "/".join(module.split(".")[1:]) in self.file and "." in module
        )
        if votes:
            self.root_name = min(votes, key=lambda name: (-votes[name], name))

    def root_of(self, first: str, importer: str) -> str | None:
        """The place `first` names in an absolute import, None for a module from elsewhere."""
        if first == self.root_name:
            return ""
        folder = importer
        while folder:
            folder = posixpath.dirname(folder)
            place = posixpath.join(folder, first)
            if place in self.tops:
                return place
        return self.anywhere.get(first)

    def edges(self, path: str, module: str, names: list[str]) -> Iterator[Edge]:
        submodules = [self.file.get(posixpath.join(module, name)) for name in names] or [None]
        targets = [submodule or self.file.get(module) for submodule in submodules]
        for target in targets:
            if target is not None and target != path:
                yield Edge(path, target)
