"""Swift: the file of a module that declares a name, for inside a module nothing is imported.

A module is a target of a package (`Sources/NAME`, `Tests/NAME`, or the `path` that Package.swift gives) or, elsewhere,
a folder at the top of the repository. Types, functions, operators and what extensions add are found by name in the
file's module and in those that it imports; members by the type of what they are selected from, as far as declarations
tell it, through superclasses and protocols. Where they do not, a member that only one file declares counts, with less
confidence.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages import swift_read as read
from repo_ordering.languages.swift_bodies import Reader
from repo_ordering.languages.swift_names import Resolver

_TARGET = re.compile(
    r"[Tt]arget\s{0,8}\(\s{0,40}name:\s{0,8}\"([^\"\n]{1,200})\"([^\n]{0,400}(?:\n[^\n]{0,400}){0,40}?)(?=[Tt]arget\s{0,8}\(|\Z)"
)
_PATH = re.compile(r"\bpath:\s{0,8}\"([^\"\n]{1,200})\"")


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_swift

    return tree_sitter_swift.language()


def scan_tree(root) -> dict:
    """Imports, declarations, and expressions that use names (see `Reader`)."""
    reader = Reader(root.text.decode("utf-8", "replace"))
    reader.read()
    return reader.facts()


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Symbol edges between Swift files; those that only `#if` parts of a file have are guarded."""
    known = {path: found.symbols for path, found in sorted(facts.items()) if found.symbols is not None}
    resolver = Resolver(known, _modules(known, files))
    for path in known:
        yield from resolver.edges(path)


def _modules(known: Mapping[str, Any], files: Mapping[str, SourceFile]) -> dict[str, tuple[str, str]]:
    """Path -> module, as (root of its package, name)."""
    targets: list[tuple[str, str, str]] = []  # folder, package, name
    packages = set()
    for path in sorted(files):
        if posixpath.basename(path) == "Package.swift":
            package = posixpath.dirname(path)
            packages.add(package)
            for name, rest in _TARGET.findall(files[path].text):
                place = _PATH.search(rest)
                if place:
                    folder = posixpath.normpath(posixpath.join(package, place[1]))
                    targets.append(("" if folder == "." else folder, package, name))
    by_folder = {folder: (package, name) for folder, package, name in sorted(targets, reverse=True)}
    found = {}
    for path in known:
        parts = path.split("/")[:-1]
        around = ["/".join(parts[:end]) for end in range(len(parts), -1, -1)]
        named = next((by_folder[folder] for folder in around if folder in by_folder), None)
        if named is None:
            place = next(
                (
                    at
                    for at in range(len(parts) - 2, -1, -1)
                    if parts[at] in ("Sources", "Tests", "Source", "src", "Plugins")
                    and "/".join(parts[:at]) in packages
                ),
                None,
            )
            if place is not None:
                named = "/".join(parts[:place]), parts[place + 1]
        if named is None:
            package = next((folder for folder in around if folder in packages), "")
            rest = parts[len(package.split("/")) if package else 0 :]
            named = package, rest[0] if rest else ""
        found[path] = named
    return found


def names_written(facts: Facts) -> set[str]:
    """Names in a file that it does not bind itself, and those that it selects."""
    if facts.symbols is None:
        return set()
    nodes = facts.symbols["nodes"]
    naming = (read.NAME, read.SELECT, read.IMPLICIT)
    return {name.rpartition(":")[2] for operation, _, name in nodes if operation in naming}


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Declarations of the file, and members of its types, that another one names."""
    found = facts.symbols
    if found is None:
        return []
    declared = [name.rpartition(".")[2] for name in (*found["types"], *found["aliases"])]
    declared += [name for members in found["members"].values() for name in members]
    return [name for name in dict.fromkeys(declared) if name in written]
