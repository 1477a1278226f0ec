"""Rust: the module trees of a repository's crates, and the files that paths lead through and end in.

`mod` items make the tree (also `#[path]` and inline modules); `use` trees, re-exports and globs give names in each
module; every path is then followed segment by segment to the item that it names, through re-exports.
What stands under `#[cfg(...)]` is guarded. Methods count where they are called of `self`, as those of the type that
the `impl` around is about: of another value the type is not known, and a name alone is wrong more often than not.
"""

import posixpath
import tomllib
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.places import nearest

# Bounds that no real crate meets, against module trees built to explode.
_MAX_HOPS = 16  # re-exports followed from one name
_MAX_GLOBS = 64  # glob imports of one module
_MAX_PLACES = 32  # modules that one file is the text of
_MAX_SEARCHES = 5_000_000  # names looked for in modules, of one repository


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Import edges for `mod` and `use`, symbol edges for these and for every path in the code."""
    known = {path: facts[path].symbols for path in sorted(facts) if facts[path].symbols is not None}
    crates = _Crates(known, set(facts), files)
    for path in known:
        seen: set[tuple] = set()
        for base in crates.placed.get(path, ()):
            for scope, segments, alias, guarded in known[path]["uses"]:
                # What a glob brings in counts where it is used.
                for target in crates.files_on(base.below(scope), segments, True) if alias != "*" else ():
                    yield Edge(path, target, "symbol", guarded)
                    yield Edge(path, target, "import", guarded)
            for scope, name, _, inline, guarded in known[path]["mods"]:
                child = base.below(scope).children.get(name)
                if child is not None and not inline:
                    yield Edge(path, child.file, "import", guarded)
                    yield Edge(path, child.file, "symbol", guarded)
            for scope, segments, kind, guarded in known[path]["paths"]:
                for target in crates.files_on(base.below(scope), segments, False, kind):
                    if (target, guarded) not in seen:
                        seen.add((target, guarded))
                        yield Edge(path, target, "symbol", guarded)


class _Module:
    """A module: the file it is written in, what it declares, what it brings into scope."""

    __slots__ = ("children", "file", "globs", "items", "parent", "root", "uses")

    def __init__(self, file: str, parent: "_Module | None", root: "_Module | None") -> None:
        self.file = file
        self.parent = parent
        self.root = root or self
        self.children: dict[str, _Module] = {}
        self.items: set[str] = set()
        self.uses: dict[str, list[list[str]]] = {}
        self.globs: list[list[str]] = []

    def below(self, scope: list[str]) -> "_Module":
        """The inline module `scope` leads to."""
        module = self
        for name in scope:
            module = module.children.get(name, module)
        return module


_Found = tuple[str | None, "_Module | None"]  # the file of an item, or a module


class _Crates:
    """All module trees of a repository, and names looked up in them."""

    def __init__(self, facts: Mapping[str, dict], present: set[str], files: Mapping[str, SourceFile]) -> None:
        self.placed: dict[str, list[_Module]] = {}  # a file may be a module of several crates
        self._facts = facts
        self._present = present
        self._packages = _packages(files)
        self._macros: dict[str, dict[str, list[str]]] = {}  # name -> package's folder -> files
        self._members: dict[
            str, dict[tuple[str, str], list[str]]
        ] = {}  # package's folder -> (type, name) -> files
        self._known: dict[tuple[int, str, bool, bool], _Found] = {}
        self._searches = 0
        roots = {root for package in self._packages.values() for root in package["roots"]}
        self._folder_of = {path: self._package_of(path) for path in facts}
        for path in sorted(facts):
            folder = self._folder_of[path]
            for name in facts[path]["macros"]:
                self._macros.setdefault(name, {}).setdefault(folder, []).append(path)
            members = self._members.setdefault(folder, {})
            for kind, name, _ in facts[path]["members"]:
                members.setdefault((kind, name), []).append(path)
        for path in sorted(
            facts, key=lambda path: (path not in roots, not _is_root(path), path.count("/"), path)
        ):
            if path in roots or _is_root(path) or path not in self.placed:
                self._grow(path)
        self._named: dict[str, list[tuple[str, _Module]]] = {}  # libraries by the name others use
        for folder, package in self._packages.items():
            if package["library"] in self.placed:
                self._named.setdefault(package["name"], []).append(
                    (folder, self.placed[package["library"]][0])
                )

    def _package_of(self, path: str) -> str:
        folder = posixpath.dirname(path)
        while folder and folder not in self._packages:
            folder = posixpath.dirname(folder)
        return folder

    def _grow(self, root_path: str) -> None:
        """Build the tree of the crate whose root is `root_path`."""
        facts = self._facts
        root = _Module(root_path, None, None)
        folder = posixpath.dirname(root_path)
        work = [(root, folder, folder)]  # module, folder of its children, folder `#[path]` is relative to
        while work:
            module, below, beside = work.pop()
            self.placed.setdefault(module.file, []).append(module)
            if module.file not in facts:
                continue
            ours = facts[module.file]
            for scope, name, attribute, inline, _ in ours["mods"]:
                parent = module.below(scope)
                if inline:
                    parent.children.setdefault(name, _Module(module.file, parent, root))
                    continue
                stem = posixpath.join(below, *scope, name)
                where = posixpath.join(beside, *scope) if not scope else posixpath.join(below, *scope)
                tries = [posixpath.normpath(posixpath.join(where, attribute))] if attribute else []
                tries += [stem + ".rs", stem + "/mod.rs"]
                found = next((path for path in tries if path in self._present), None)
                if (
                    found is None
                    or len(self.placed.get(found, ())) >= _MAX_PLACES
                    or _is_above(module, found)
                ):
                    continue
                child = _Module(found, parent, root)
                if name in parent.children:  # one of several under conditions: the first gives its name
                    known = parent.children[name]
                    if known.file == found:
                        continue
                    parent.children.setdefault(f"{name} {found}", child)
                else:
                    parent.children[name] = child
                own = posixpath.dirname(found)
                work.append((child, own if found.endswith("/mod.rs") or attribute else stem, own))
            for scope, name in ours["items"]:
                module.below(scope).items.add(name)
            for scope, path, alias, _ in ours["uses"]:
                place = module.below(scope)
                if alias == "*":
                    place.globs += [path] * (len(place.globs) < _MAX_GLOBS and path not in place.globs)
                else:
                    ways = place.uses.setdefault(alias, [])
                    if len(ways) < 4:
                        ways.append(path)

    def files_on(self, module: _Module, path: list[str], is_use: bool, kind: str = "") -> list[str]:
        """The files of what a path ends in: an item and the function of a type; none for other crates."""
        if path[0] == "Self":
            return [] if len(path) < 2 else self._member(module, kind, path[1])
        if path[0][:1] == ".":
            return self._member(module, kind, path[0][1:])
        home, end, rest = self._follow(module, path, _MAX_HOPS, is_use)
        if end is not None:
            # A module is declared by the `mod` item.
            return [end.parent.file] if end.parent is not None else []
        if home is None:
            return []
        return [home, *(self._member(module, rest[0], rest[1], home) if len(rest) > 1 else ())]

    def _member(self, module: _Module, kind: str, name: str, home: str = "") -> list[str]:
        """The file of a type's function, where it is written in one file only."""
        folder = self._folder_of.get(home or module.file, "")
        found = self._members.get(folder, {}).get((kind, name), ())
        return [found[0]] if len(set(found)) == 1 else []

    def _follow(self, module: _Module, path: list[str], hops: int, is_use: bool = False):
        """The file of the item a path leads to, or else the module that it is; and the path from the item on."""
        here: _Module | None = module
        if len(path) == 1 and path[0][-1:] == "!":
            name = path[0][:-1]
            home = None if name in module.uses else self._macro(module, name)
            if home is None:
                home, _ = self._lookup(module, name, True, hops, True)
            return home, None, path
        for i, name in enumerate(path):
            if name == "crate":
                here = here.root
            elif name == "super":
                here = here.parent
                if here is None:
                    return None, None, []
            elif name == "" and i == 0 and len(path) > 1:
                # `::name` is a crate, or in the edition of 2015 what the root has.
                if self._library(module, path[1]) is None:
                    here = module.root
            elif name not in ("self", ""):
                first = i == 0 or (i == 1 and path[0] == "")
                is_macro = name[-1:] == "!"
                name = name.rstrip("!")
                last = i == len(path) - 1
                home, below = self._lookup(here, name, first, hops, last)
                if home is None and below is None and first and is_use and here is not here.root:
                    home, below = self._lookup(here.root, name, True, hops, last)  # the edition of 2015
                if home is None and below is None and (is_macro or is_use) and last:
                    home = self._macro(here, name)
                    if home is None and i and is_use and hops == _MAX_HOPS and name not in here.uses:
                        home = here.file  # made by a macro there
                if below is None:
                    return home, None, path[i:]
                here = below
        return None, here, []

    def _macro(self, module: _Module, name: str) -> str | None:
        """The file whose `macro_rules!` a name means: of this package, else the one that has it."""
        homes = self._macros.get(name)
        if not homes:
            return None
        found = homes.get(self._folder_of.get(module.file, ""))
        if found:
            return module.file if module.file in found else nearest(module.file, found[:_MAX_GLOBS])
        return None

    def _library(self, module: _Module, name: str) -> _Module | None:
        folder = self._folder_of.get(module.file, "")
        package = self._packages.get(folder)
        name = package["aliases"].get(name, name) if package is not None else name
        libraries = self._named.get(name)
        if not libraries:
            return None
        if len(libraries) == 1:
            return libraries[0][1]
        return max(libraries, key=lambda each: (each[0] == folder, _shared(each[0], folder), each[0]))[1]

    def _lookup(self, module: _Module, name: str, first: bool, hops: int, last: bool) -> _Found:
        """What one name in a module means: a child module, an item, or something brought into scope.

        Each question is answered once: globs of globs would otherwise be searched without end.
        """
        key = (id(module), name, first, last)
        if key not in self._known:
            self._searches += 1
            if self._searches > _MAX_SEARCHES:
                return None, None
            self._known[key] = None, None  # what a cycle of re-exports finds
            self._known[key] = self._search(module, name, first, hops, last)
        return self._known[key]

    def _search(self, module: _Module, name: str, first: bool, hops: int, last: bool) -> _Found:
        child = module.children.get(name)
        if child is not None and not last:
            return None, child
        # A module and an item may bear one name (`mod copy; pub use copy::copy;`): at the end of a path the item is
        # meant. What is both declared and brought in is declared for other configurations.
        for way in module.uses.get(name, ()) if hops else ():
            if way != [name] or not first:
                home, end, _ = self._follow(module, way, hops - 1, True)
                if home is not None or (end is not None and child is None):
                    return home, end
        if name in module.items:
            return module.file, None
        if child is not None or not hops:
            return None, child
        for glob in module.globs:
            _, place, _ = self._follow(module, glob, hops - 1, True)
            if place is not None and place is not module:
                home, end = self._lookup(place, name, False, hops - 1, last)
                if home is not None or end is not None:
                    return home, end
        return None, self._library(module, name) if first else None


def _is_above(module: _Module, path: str) -> bool:
    """Whether a file is the text of a module or of one around it."""
    above: _Module | None = module
    for _ in range(256):
        if above is None:
            return False
        if above.file == path:
            return True
        above = above.parent
    return True


def _packages(files: Mapping[str, SourceFile]) -> dict[str, dict]:
    """What Cargo.toml says, by its folder: the library and its name, other crates' roots, renamed dependencies."""
    found: dict[str, dict] = {}
    for path in sorted(files):
        if posixpath.basename(path) != "Cargo.toml":
            continue
        try:
            stated = tomllib.loads(files[path].text)
        except (ValueError, RecursionError):
            continue
        folder = posixpath.dirname(path)
        package, library = _table(stated, "package"), _table(stated, "lib")
        name = library.get("name") or package.get("name")
        if not isinstance(name, str):
            continue
        main = library.get("path")
        main = posixpath.normpath(posixpath.join(folder, main if isinstance(main, str) else "src/lib.rs"))
        roots = [main]
        for kind in ("bin", "test", "bench", "example"):
            targets = stated.get(kind)
            for target in targets if isinstance(targets, list) else ():
                if isinstance(target, dict) and isinstance(target.get("path"), str):
                    roots.append(posixpath.normpath(posixpath.join(folder, target["path"])))
        aliases = {}
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            for alias, wanted in _table(stated, kind).items():
                if isinstance(wanted, dict) and isinstance(wanted.get("package"), str):
                    aliases[alias.replace("-", "_")] = wanted["package"].replace("-", "_")
        found[folder] = {"name": name.replace("-", "_"), "library": main, "roots": roots, "aliases": aliases}
    return found


def _table(stated: dict, name: str) -> dict:
    table = stated.get(name)
    return table if isinstance(table, dict) else {}


def _shared(left: str, right: str) -> int:
    count = 0
    for a, b in zip(left.split("/"), right.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count


def _is_root(path: str) -> bool:
    """Whether Cargo builds a crate from this file by default."""
    folder, _, name = path.rpartition("/")
    if name in ("lib.rs", "main.rs", "build.rs"):
        return True
    return folder.rpartition("/")[2] in ("bin", "tests", "examples", "benches")
