"""Which files declare what the expressions of a Swift file name (see `swift_read`): by the types of what they name."""

from collections.abc import Iterator, Mapping
from typing import Any

from repo_ordering.edges import Edge
from repo_ordering.languages import swift_read as read

_MOST_PLACES = 32  # files of a module that add one name to one type
_MOST_TYPES = 128  # looked through for one member
_MOST_SEEN = 64  # modules that one file imports
_LONGEST = 512  # characters of a type's whole name
_DEEPEST = 60  # declarations that wait for another's type


class _Module:
    """What the files of a module declare: places are (file, node)."""

    def __init__(self) -> None:
        self.types: dict[
            str, list[tuple[str, int]]
        ] = {}  # classes and the like, and aliases with what they are
        self.members: dict[str, dict[str, list[tuple[str, int]]]] = {}  # by type, "" the module itself
        self.inherits: dict[str, list[tuple[str, int]]] = {}
        self.homes: dict[str, dict[str, None]] = {}  # member -> files, whatever the type
        self.operators: dict[str, list[tuple[str, int]]] = {}

    def add(self, path: str, facts: Mapping) -> None:
        for name in facts["types"]:
            _put(self.types, name, (path, 0))
        for name, node in facts["aliases"].items():
            _put(self.types, name, (path, node))
        for table in (facts["types"], facts["extended"]):
            for name, nodes in table.items():
                for node in nodes:
                    _put(self.inherits, name, (path, node))
        for name in facts["operators"]:
            _put(self.operators, name, (path, 0))
        for owner, members in facts["members"].items():
            own = self.members.setdefault(owner, {})
            for name, nodes in members.items():
                for node in nodes:
                    _put(own, name, (path, node))
                homes = self.homes.setdefault(name, {}) if owner else None
                if homes is not None and len(homes) < 2:
                    homes[path] = None


def _put(table: dict[str, list], name: str, place: tuple) -> None:
    places = table.setdefault(name, [])
    if len(places) < _MOST_PLACES:
        places.append(place)


class _File:
    def __init__(self, path: str, facts: Mapping) -> None:
        self.path, self.facts, self.nodes = path, facts, facts["nodes"]
        self.found: list[Any] = [None, None, ("named", "String")] + [_UNSET] * (len(self.nodes) - 3)
        self.unsure = set(facts["unsure"])
        self.private = set(facts["private"])
        self.private_members = {name.partition(":")[2] for name in self.private if ":" in name}
        self.targets: dict[str, tuple[bool, float]] = {}


# What an expression comes to: None where nobody knows, ("type", T) for a type itself, or a value, told by its type T:
#   ("named", name), ("array", file, node), ("dictionary", file, node), ("function", file, node).
_UNSET, _OPEN = ("unset",), ("open",)  # not looked for, being looked for
_ELSEWHERE = ("elsewhere",)  # of no file here


class Resolver:
    def __init__(self, facts: Mapping[str, Mapping], modules: Mapping[str, tuple[str, str]]) -> None:
        self.files = {path: _File(path, found) for path, found in facts.items()}
        self.modules: dict[tuple[str, str], _Module] = {}
        by_name: dict[str, list[tuple[str, str]]] = {}
        for path, key in modules.items():
            if key not in self.modules:
                by_name.setdefault(key[1], []).append(key)
            self.modules.setdefault(key, _Module()).add(path, facts[path])
        self.visible: dict[str, list[_Module]] = {}
        for path, key in modules.items():
            names = dict.fromkeys(facts[path]["imports"])
            others = [other for name in names for other in by_name.get(name, ()) if other != key]
            self.visible[path] = [self.modules[key], *(self.modules[other] for other in others[:_MOST_SEEN])]
        self.depth = 0
        self.node = 0
        self.known: dict[tuple, Any] = {}
        self.supers: dict[tuple, list[str]] = {}

    def edges(self, path: str) -> Iterator[Edge]:
        file = self.files[path]
        for self.node in range(3, len(file.nodes)):
            self.value(file, self.node)
        for inherits in (*file.facts["types"].values(), *file.facts["extended"].values()):
            for node in inherits:
                self.value(file, node)
        for target, (guarded, confidence) in file.targets.items():
            yield Edge(path, target, "symbol", guarded, confidence)

    def note(self, file: _File, node: int, places: list[tuple[str, int]], confidence: float = 1.0) -> None:
        guarded = node in file.unsure
        for path, _ in places:
            was = file.targets.get(path, (True, 0.0))
            file.targets[path] = (guarded and was[0], max(confidence, was[1]))

    def value(self, file: _File, node: int) -> Any:
        found = file.found[node]
        if found is not _UNSET:
            return None if found is _OPEN else found
        if self.depth > _DEEPEST:
            return None
        file.found[node] = _OPEN  # of a declaration that needs itself
        self.depth += 1
        found = file.found[node] = self.find(file, node)
        self.depth -= 1
        return found

    def find(self, file: _File, node: int) -> Any:
        operation, first, second = file.nodes[node]
        if operation == read.NAME:
            owner, _, name = second.rpartition(":")
            return self.name(file, node, owner, name)
        if operation == read.IMPLICIT:
            self.guess(file, node, second)
            return None
        if operation == read.ARRAY:
            return "type", ("array", file, node)
        if operation == read.DICTIONARY:
            return "type", ("dictionary", file, node)
        if operation == read.FUNCTION:
            return "function", file, first
        base = self.value(file, first)
        if operation == read.SELECT:
            return self.select(file, node, base, second)
        if base is None or base is _ELSEWHERE:
            return base
        if operation == read.VALUE:
            return base[1] if base[0] == "type" else base
        if operation == read.CALL:
            if base[0] == "type":
                if (
                    base[1] is not None and base[1][0] == "named"
                ):  # the initializer, which an extension may have
                    self.note(file, node, self.member(file, base[1], f"({second}"))
                return base[1]
            return self.instance(base[1], base[2]) if base[0] == "function" else None
        if operation == read.INDEX:
            return self.element(file, node, base, second)
        return None

    def instance(self, file: _File, node: int) -> Any:
        """A value of the type that a node is."""
        found = self.value(file, node)
        return found[1] if found is not None and found[0] == "type" else found

    def element(self, file: _File, node: int, base: Any, label: str) -> Any:
        if base[0] == "type":
            return None
        if base[0] == "named":
            places = self.member(file, base, f"[{label}")
            if places:
                self.note(file, node, places)
                return self.instance(self.files[places[0][0]], places[0][1])
            base = self.meaning(file, base)
        if base is not None and base[0] in ("array", "dictionary"):
            _, key, element = base[1].nodes[base[2]]
            return self.instance(base[1], element if base[0] == "dictionary" else key)
        return None

    def meaning(self, file: _File, base: Any) -> Any:
        """What an alias stands for."""
        for _ in range(_DEEPEST):
            if base is None or base[0] != "named":
                return base
            place = next((p for m in self.visible[file.path] for p in m.types.get(base[1], ()) if p[1]), None)
            if place is None:
                return base
            found = self.value(self.files[place[0]], place[1])
            base = found[1] if found is not None and found[0] == "type" else None
        return None

    def seen(self, file: _File, places: list[tuple[str, int]], name: str) -> list[tuple[str, int]]:
        """The places that a file sees: what is private stays in its own."""
        return [p for p in places if p[0] == file.path or name not in self.files[p[0]].private]

    def name(self, file: _File, node: int, owner: str, name: str) -> Any:
        """A name that stands alone: a member of the types around it, a type in them, or the module's own."""
        around = owner
        while around:
            places = self.member(file, ("named", around), name)
            if places:
                self.note(file, node, places)
                return self.told(places)
            inner = f"{around}.{name}"
            found = self.declared(file, node, inner)
            if found is not None:
                return found
            around = around.rpartition(".")[0]
        found = self.declared(file, node, name)
        if found is not None:
            return found
        for module in self.visible[file.path]:
            places = module.members.get("", {}).get(name) or module.operators.get(name)
            places = self.seen(file, places, f":{name}") if places else None
            if places:
                self.note(file, node, places)
                return self.told(places) if places[0][1] else None
        return ("type", ("named", name)) if name[:1].isupper() else None

    def told(self, places: list[tuple[str, int]]) -> Any:
        """The first of the places' values that is known: a protocol may leave open what its extension says."""
        found = (self.value(self.files[path], node) for path, node in places)
        return next((each for each in found if each is not None), None)

    def declared(self, file: _File, node: int, name: str) -> Any:
        for module in self.visible[file.path]:
            places = module.types.get(name)
            places = self.seen(file, places, name) if places else None
            if places:
                self.note(file, node, places)
                return "type", ("named", name)
        return None

    def select(self, file: _File, node: int, base: Any, name: str) -> Any:
        if base is None:
            self.guess(file, node, name)
            return None
        base = base[1] if base[0] == "type" else base
        if base is None or base[0] != "named":
            return _ELSEWHERE
        if name == "init":
            return "type", base
        if len(base[1]) > _LONGEST:
            return None
        found = self.declared(file, node, f"{base[1]}.{name}")
        if found is not None:
            return found
        places = self.member(file, base, name)
        if places:
            self.note(file, node, places)
            return self.told(places)
        return ("type", ("named", f"{base[1]}.{name}")) if name[:1].isupper() else _ELSEWHERE

    def member(self, file: _File, base: Any, name: str) -> list[tuple[str, int]]:
        """Places that add a member to a type, itself or what it inherits."""
        key = (*self.view(file), base[1], name)
        if key not in self.known:
            self.known[key] = self.search(file, base[1], name)
        places = self.known[key]
        return [p for p in places if p[0] == file.path or not self.is_private(p[0], name)]

    def view(self, file: _File) -> tuple[int, str]:
        """What files have in common that see the same modules."""
        visible = self.visible[file.path]
        return id(visible[0]), file.path if len(visible) > 1 else ""

    def is_private(self, path: str, name: str) -> bool:
        return name in self.files[path].private_members

    def search(self, file: _File, start: str, name: str) -> list[tuple[str, int]]:
        level, seen = [start], set()
        while level and len(seen) < _MOST_TYPES:
            below: list[str] = []
            found: list[tuple[str, int]] = []
            for each in level:
                if each in seen:
                    continue
                seen.add(each)
                for module in self.visible[file.path]:
                    found += module.members.get(each, {}).get(name, ())
                below += self.above(file, each)
            if found:
                return found
            level = below
        return []

    def above(self, file: _File, name: str) -> list[str]:
        """The types that one inherits from, or stands for as an alias."""
        key = (*self.view(file), name)
        if key in self.supers:
            return self.supers[key]
        found: list[str] = []
        is_settled = True
        for module in self.visible[file.path]:
            aliases = [place for place in module.types.get(name, ()) if place[1]]
            for path, node in (*module.inherits.get(name, ()), *aliases):
                kind = self.value(self.files[path], node)
                is_settled &= self.files[path].found[node] not in (_UNSET, _OPEN)
                if kind is not None and kind[0] == "type" and kind[1]:
                    shape, what, *_ = kind[1]
                    found.append(what if shape == "named" else shape.capitalize())  # an array is an `Array`
        if is_settled:
            self.supers[key] = found
        return found

    def guess(self, file: _File, node: int, name: str) -> None:
        """A member of who knows what, if only one file around declares one so called.

        Names of one word are those that the system's own libraries have too.
        """
        if name.islower():
            return
        homes = {path for module in self.visible[file.path] for path in module.homes.get(name, ())}
        homes = {path for path in homes if path == file.path or not self.is_private(path, name)}
        if len(homes) == 1:
            self.note(file, node, [(homes.pop(), 0)], 0.6)
