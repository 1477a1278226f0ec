"""Which files declare what the expressions of a Go file name (see `go_read`): by the types of what they name."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from repo_ordering.edges import Edge
from repo_ordering.languages import go_read as read
from repo_ordering.languages.go_packages import Package, Packages

_PLATFORM = re.compile(
    r"_(aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|solaris|wasip1|windows"
    r"|386|amd64|arm|arm64|loong64|mips\w*|ppc64\w*|riscv64|s390x|wasm)(?:_test)?\.go$"
)
_MOST_NEAR = 64  # packages that are asked for a member of an unknown type
_MOST_EMBEDDED = 256  # types looked through for one member
_DEEPEST = 80  # declarations that wait for another's type


class _File:
    """A file's expressions and what they came to."""

    def __init__(self, path: str, facts: Mapping, package: Package) -> None:
        self.path, self.facts, self.package = path, facts, package
        self.nodes, self.names = facts["nodes"], facts["names"]
        self.found: list[Any] = [None, None, _FOREIGN] + [_UNSET] * (len(self.nodes) // 3 - 3)
        self.targets: dict[str, float] = {}
        self.imported: dict[str, Package | None] = {}
        self.dotted: list[Package] = []


# What an expression comes to: None where nobody knows; _FOREIGN where it is of no file here; a package; a type
# itself, ("type", T); or a value, which is told by its type T:
#   ("named", package, name), ("members", file, index), ("func", file, index of results), ("tuple", file, results),
#   ("sequence", file, node), ("channel", file, node), ("map", file, node).
_UNSET = ("unset",)
_FOREIGN = ("foreign",)
_FOREIGN_TYPE = ("type", _FOREIGN)


class Resolver:
    """Types of expressions, each found once, those of other files' declarations when they are asked for."""

    def __init__(self, packages: Packages) -> None:
        self.packages = packages
        self.files: dict[str, _File] = {}
        self.depth = 0
        self.members: dict[tuple, Any] = {}
        self.guarded: dict[str, bool] = {}

    def edges(self, path: str) -> Iterator[Edge]:
        file = self.file(path)
        for node in range(3, len(file.found)):
            self.value(file, node)
        for target, confidence in file.targets.items():
            yield Edge(path, target, "symbol", self.is_guarded(target), confidence)

    def is_guarded(self, path: str) -> bool:
        if path not in self.guarded:
            constrained = self.packages.facts[path]["constrained"]
            self.guarded[path] = constrained or bool(_PLATFORM.search(path))
        return self.guarded[path]

    def file(self, path: str) -> _File:
        file = self.files.get(path)
        if file is None:
            facts = self.packages.facts[path]
            file = self.files[path] = _File(path, facts, self.packages.of(path))
            for alias, target in facts["imports"]:
                package = self.packages.imported(path, target)
                if alias == ".":
                    file.dotted += [package] if package else []
                else:
                    name = alias or (package.name if package else "") or _last(target)
                    file.imported[name] = package
        return file

    def value(self, file: _File, node: int) -> Any:
        """What a node comes to; the edges of its names are noted with its file."""
        found = file.found[node]
        if found is not _UNSET:
            return found
        if self.depth > _DEEPEST:
            return None
        file.found[node] = None  # of a declaration that needs itself
        self.depth += 1
        found = file.found[node] = self.find(file, node)
        self.depth -= 1
        return found

    def find(self, file: _File, node: int) -> Any:
        operation, first, second = file.nodes[3 * node : 3 * node + 3]
        if operation == read.NAME:
            return self.name(file, file.names[first])
        if operation == read.SEQUENCE:
            return "type", ("sequence", file, first)
        if operation == read.CHANNEL:
            return "type", ("channel", file, first)
        if operation == read.MAP:
            return "type", ("map", file, node)
        if operation == read.FUNCTION:
            return "type", ("func", file, first)
        if operation == read.MEMBERS:
            return "type", ("members", file, first)
        base = self.value(file, first)
        if operation == read.SELECT:
            return self.select(file, base, file.names[second])
        if operation in (read.KEY, read.LOCAL_KEY):
            return self.key(file, base, file.names[second], operation == read.LOCAL_KEY)
        if base is None:
            return None
        if base is _FOREIGN or base is _FOREIGN_TYPE:
            return _FOREIGN
        kind = base[0]
        if operation == read.VALUE:
            return base[1] if kind == "type" else base
        if operation == read.CALL and kind == "type":
            return base[1]
        if operation == read.INDEX and kind in ("type", "func"):
            if (
                kind == "type" and base[1] and base[1][0] in ("sequence", "map")
            ):  # an element without its type
                inner = base[1]
                return self.value(inner[1], inner[2]) if inner[0] == "sequence" else self._map(inner, 2)
            return base
        if kind == "type":
            return _FOREIGN
        if operation == read.PICK:
            if kind == "tuple":
                return self.instance(base[1], base[2][second]) if second < len(base[2]) else None
            return base if second == 0 else _FOREIGN
        base = self.underlying(base)
        if base is None or base is _FOREIGN:
            return base
        kind = base[0]
        if operation == read.CALL:
            if kind != "func":
                return None
            results = base[1].facts["lists"][base[2]]
            if len(results) == 1:
                return self.instance(base[1], results[0])
            return "tuple", base[1], results
        if operation == read.RANGE_KEY:
            return (
                self._map(base, 1)
                if kind == "map"
                else self._element(base)
                if kind == "channel"
                else _FOREIGN
            )
        if operation in (read.INDEX, read.RANGE_VALUE, read.RECEIVE):
            return self._map(base, 2) if kind == "map" else self._element(base)
        return None

    def instance(self, file: _File, node: int) -> Any:
        """A value of the type that a node is."""
        found = self.value(file, node)
        return found[1] if found is not None and found[0] == "type" else found

    def _element(self, base: Any) -> Any:
        return self.instance(base[1], base[2]) if base[0] in ("sequence", "channel") else _FOREIGN

    def _map(self, base: Any, part: int) -> Any:
        file = base[1]
        return self.instance(file, file.nodes[3 * base[2] + part])

    def underlying(self, base: Any) -> Any:
        """The type that a named type is made of, through however many names."""
        for _ in range(_DEEPEST):
            if base is None or base[0] != "named":
                return base
            places = base[1].types.get(base[2])
            if not places:
                return None
            found = self.value(self.file(places[0][0]), places[0][1])
            base = found[1] if found is not None and found[0] == "type" else None
        return None

    def name(self, file: _File, name: str) -> Any:
        if name in file.imported:
            return file.imported[name] or _FOREIGN
        for package in (file.package, *file.dotted):
            if name in package.declared:
                return self.declared(file, package, name)
        return _FOREIGN_TYPE if name in _TYPES else _FOREIGN

    def declared(self, file: _File, package: Package, name: str) -> Any:
        """A name of a package, with edges to the files that declare it."""
        places = self.visible(file, package.declared.get(name, ()))
        for path, *_ in places:
            file.targets[path] = 1.0
        if not places:
            return _FOREIGN
        path, kind, node = places[0]
        if kind == "type":
            return "type", ("named", package, name)
        other = self.file(path)
        if kind == "alias":
            return self.value(other, node)
        return self.instance(other, node) if kind == "func" else self.value(other, node)

    def visible(self, file: _File, places: Any) -> list[tuple]:
        """Those places that the file sees: what tests declare is for the tests beside them."""
        testing = file.path.endswith("_test.go")
        if testing:
            folder = posixpath.dirname(file.path)
            return [p for p in places if not p[0].endswith("_test.go") or posixpath.dirname(p[0]) == folder]
        return [place for place in places if not place[0].endswith("_test.go")]

    def select(self, file: _File, base: Any, name: str) -> Any:
        if isinstance(base, Package):
            return self.declared(file, base, name)
        if base is None:
            return self.guess(file, name)
        if base is _FOREIGN:
            return _FOREIGN
        found = self.member(base[1] if base[0] == "type" else base, name)
        if found is None:
            return self.guess(file, name)
        if found is _FOREIGN:
            return _FOREIGN
        places = self.visible(file, found)
        for path, _ in places:
            file.targets[path] = 1.0
        return self.instance(self.file(places[0][0]), places[0][1]) if places else None

    def guess(self, file: _File, name: str) -> None:
        near = [file.package, *file.imported.values(), *file.dotted][:_MOST_NEAR]
        homes = {path for package in near if package for path in package.members.get(name, ())}
        homes = {path for (path,) in self.visible(file, [(home,) for home in homes])}
        if len(homes) == 1:
            file.targets.setdefault(homes.pop(), 0.6)

    def member(self, base: Any, name: str) -> Any:
        """[file, type] of the places that declare a member of a type: its own, else of the types it embeds."""
        if base is None or base is _FOREIGN or base[0] not in ("named", "members"):
            return base if base is None else _FOREIGN
        key = (*base, name) if base[0] == "named" else None
        if key in self.members:
            return self.members[key]
        level, seen, missing = [base], set(), _FOREIGN
        found: Any = None
        while level and not found and len(seen) < _MOST_EMBEDDED:
            below: list[Any] = []
            for each in level:
                if each is None:
                    missing = None
                    continue
                if each in seen or each is _FOREIGN:
                    continue
                seen.add(each)
                if each[0] == "named":
                    found = found or each[1].methods.get(each[2], {}).get(name)
                    each = self.underlying(each)
                    if each is None or each[0] != "members":
                        missing = None if each is None else missing
                        continue
                if each[0] == "members":
                    fields, embedded = each[1].facts["members"][each[2]]
                    if name in fields:
                        found = found or [(each[1].path, fields[name])]
                    below += [self.instance(each[1], node) for node in embedded[:_MOST_EMBEDDED]]
            level = below
        found = found or missing
        if key is not None:
            self.members[key] = found
        return found

    def key(self, file: _File, base: Any, name: str, is_local: bool) -> Any:
        """`name:` in a composite literal: a field of a struct, or an expression in a map or an array."""
        base = base[1] if base is not None and base[0] == "type" else base
        base = self.underlying(base) if not isinstance(base, Package) else None
        if base is None or base is _FOREIGN:
            return None
        if base[0] == "members":
            if name in base[1].facts["members"][base[2]][0]:
                file.targets[base[1].path] = 1.0
            return None
        return None if is_local else self.name(file, name)


_TYPES = frozenset([
    "any", "bool", "byte", "comparable", "complex64", "complex128", "error", "float32", "float64", "int",
    "int8", "int16", "int32", "int64", "rune", "string", "uint", "uint8", "uint16", "uint32", "uint64",
    "uintptr",
])  # fmt: skip


def _last(path: str) -> str:
    """The name that a package of this path most likely has."""
    parts = path.rsplit("/", 2)
    last = parts[-2] if len(parts) > 1 and re.fullmatch(r"v\d+", parts[-1]) else parts[-1]
    return re.sub(r"\.v\d+$", "", last).removeprefix("go-").removesuffix("-go")
