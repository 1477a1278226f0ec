"""Python: the files that declare the names a file writes, as a type checker would find them.

Imported names are followed through packages that hand them on. The members of a value are looked for in the classes it
may be of, known from annotations, calls of constructors, returned values, `self`, and the base classes. Where a value's
class is not known its members give no edge.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from repo_ordering.edges import Edge
from repo_ordering.languages.python_annotations import parse_annotation
from repo_ordering.languages.python_modules import Modules
from repo_ordering.languages.python_names import Declarations, Names

_MODULE, _CLASS, _FUNCTION = 0, 1, 2
_PLAIN, _PROPERTY, _CLASS_METHOD, _STATIC = 0, 1, 2, 3

MAX_TYPES = 12  # that one value may be of
MAX_DEPTH = 24  # values looked through for the type of one
MAX_BASES = 64  # classes a member is looked for in
MAX_LOOKS = 256  # at classes, to find those; one with two ways to it is looked at twice
MAX_WORK = 40  # declarations looked at, on average over the chains
MAX_LINKS = 1 << 20  # of chains, whose values are remembered

_PARTS = re.compile(r"\w+|\(\)|\[\d*\]")
_UNION = {"Optional", "Union", "ClassVar", "Final", "Annotated", "Required", "NotRequired", "Awaitable"}
_ITEM_METHODS = {"get", "pop", "popleft", "setdefault", "popitem", "__getitem__", "__next__", "__enter__"}
_SAME_METHODS = {"values", "copy", "union"}

# A type is ("module", place), ("class" | "instance" | "super", path, scope), ("function", path, scope, receiver),
# ("container", items of each parameter) or ("callable", types it returns).
Type = tuple[Any, ...]
Types = tuple[Type, ...]


class _Link:
    """A part of a chain: the types of the value up to it, the files that declare its name, and the parts after it."""

    __slots__ = ("below", "files", "types")

    def __init__(self) -> None:
        self.types: Types = ()
        self.files: tuple[str, ...] = ()
        self.below: dict[str, _Link] = {}


class Symbols(Names):
    """The symbols of a repository: facts as `python_tree.read` gives them, by path; None where they are not known."""

    def __init__(self, symbols: Mapping[str, dict | None], modules: Modules) -> None:
        super().__init__(symbols, modules)
        chains = sum(scope[3].count(" ") + 1 for found in self.symbols.values() for scope in found["scopes"])
        self.work_left = MAX_WORK * (chains + 10_000)
        self.depth = 0
        self.links = 0
        self._chains: dict[tuple[str, int], dict[str, _Link]] = {}
        self._hints: dict[tuple[str, int, str], Types] = {}
        self._linear: dict[tuple[str, int], list[tuple[str, int]]] = {}

    def edges(self) -> Iterator[Edge]:
        """Each file's edges to what declares the names it writes."""
        for path, symbols in self.symbols.items():
            if self.links > MAX_LINKS:
                self.links = 0
                self._chains.clear()
                self._hints.clear()
            targets: set[str] = set()
            for _, _, bindings, _, _, _ in symbols["scopes"]:
                for entries in bindings.values():
                    if entries[0] == "I" or "\nI" in entries:
                        for entry in entries.split("\n"):
                            if entry[0] == "I":
                                targets.update(self.files(self.named(path, entry)))
            modules = [module for level, module in symbols["modules"] + symbols["stars"] if not level]
            targets.update(
                self.files([(place, None) for m in modules if (place := self.modules.place(path, 0, m))])
            )
            own = symbols["scopes"][0][2]
            for name in symbols["names"]:
                if name not in own:
                    targets.update(self.files(self.lookup(path, name)))
            for index, scope in enumerate(symbols["scopes"]):
                for chain in scope[3].split():
                    self._chain(path, index, chain, targets)
            targets.update([self.modules.twins[target] for target in targets if target in self.modules.twins])
            if path in self.modules.twins:  # a stub's names are declared in the implementation too
                targets.add(self.modules.twins[path])
            for target in sorted(targets - {path}):
                yield Edge(path, target, "symbol")

    def edges_of_imports(self, path: str, imports: Sequence[list]) -> Iterator[Edge]:
        """The edges of a file of which no more is known than what `python.scan` finds."""
        entries = [
            f"I\t{level}\t{module}\t{name}"
            for level, module, names in imports
            for name in names
            if name != "*"
        ]
        targets = set(self.files([found for entry in entries for found in self.named(path, entry)]))
        for target in sorted(targets - {path}):
            yield Edge(path, target, "symbol")

    def _value(self, path: str, scope: int, chain: str) -> Types:
        return self._chain(path, scope, chain, None)

    def _chain(self, path: str, scope: int, chain: str, files: set[str] | None) -> Types:
        """The types of a chain's value; each of its heads is looked at once a scope.

        What declares the names after its first goes to `files`, where those are asked for.
        """
        links = self._chains.get((path, scope))
        if links is None:
            links = self._chains[path, scope] = {}
        types: Types | None = None
        for part in _PARTS.findall(chain):
            link = links.get(part)
            if link is None:
                if self.depth >= MAX_DEPTH:
                    return ()
                link = links[part] = _Link()  # empty for whoever asks in a circle
                self.depth += 1
                self.links += 1
                if types is None:
                    link.types = self._name(path, scope, part)
                elif part == "()":
                    link.types = self._call(types)
                elif part[0] == "[":
                    link.types = self._item(types, part[1:-1])
                else:
                    link.types, link.files = self._attribute(types, part)
                self.depth -= 1
            if files is not None and link.files:
                files.update(link.files)
            types = link.types
            if not types:
                break
            links = link.below
        return types or ()

    def _name(self, path: str, scope: int, name: str) -> Types:
        scopes = self.symbols[path]["scopes"]
        if name == "super":
            owner = self._class_around(path, scope)
            return () if owner is None else (("callable", (("super", path, owner),)),)
        at = scope
        while at > 0:
            kind, parent, bindings, _, more, _ = scopes[at]
            if name in bindings and (kind == _FUNCTION or at == scope):
                entries: str = bindings[name]
                if entries[0] == "?" and kind == _FUNCTION and name in more[3]:
                    types = self._parameter(path, at, name)
                    if entries == "?":
                        return types
                    return _first([*types, *self._declared(self.follow(path, entries))])
                return self._declared(self.follow(path, entries))
            at = parent
        return self._declared(self.lookup(path, name))

    def _class_around(self, path: str, scope: int) -> int | None:
        scopes = self.symbols[path]["scopes"]
        while scope > 0:
            if scopes[scope][0] == _CLASS:
                return scope
            scope = scopes[scope][1]
        return None

    def _parameter(self, path: str, scope: int, name: str) -> Types:
        """The type of a parameter without annotation: the method's own instance, or what an overridden method says."""
        scopes = self.symbols[path]["scopes"]
        _, parent, _, _, (role, _, _, listed), method = scopes[scope]
        if scopes[parent][0] != _CLASS:
            return ()
        if listed[0] == name and role != _STATIC:
            is_class = role == _CLASS_METHOD or method in (
                "__new__",
                "__init_subclass__",
                "__class_getitem__",
            )
            return (("class" if is_class else "instance", path, parent),)
        for owner, index in self._mro(path, parent)[1:]:
            for entry in self.symbols[owner]["scopes"][index][2].get(method, "?").split("\n"):
                if entry[0] == "D":
                    hints = self.symbols[owner]["scopes"][int(entry[2:])][2].get(name, "?").split("\n")
                    return self._declared([(owner, hint) for hint in hints if hint[0] == ":"])
        return ()

    def _declared(self, found: Declarations, receiver: Type | None = None) -> Types:
        """Types of what `_follow` found; `receiver` is what it is a member of."""
        types: list[Type] = []
        self.work_left -= len(found) + 1
        if self.work_left < 0:
            return ()
        if len(found) > 1:
            found = self._meant(found)
        for path, entry in found:
            if entry is None:
                types.append(("module", path))
            elif entry[0] == "D":
                index = int(entry[2:])
                scope = self.symbols[path]["scopes"][index]
                if scope[0] == _CLASS:
                    types.append(("class", path, index))
                elif scope[4][0] == _PROPERTY and receiver is not None:
                    types += self._call((("function", path, index, receiver),))
                else:
                    types.append(("function", path, index, receiver))
            elif entry[0] == ":":
                _, index, annotation = entry.split("\t")
                types += self._annotated(path, int(index), annotation, receiver)
            elif entry[0] == "=":
                _, index, *values = entry.split("\t")
                for value in values:
                    types += self._value(path, int(index), value)
        return _first(types)

    def _meant(self, found: Declarations) -> Declarations:
        """Those of several declarations that say what a name is."""
        path, first = found[0]
        if all(entry is not None and entry[0] == "D" for _, entry in found):
            # Of overloads the last is the implementation, of a property's functions the first the getter.
            scope = self.symbols[path]["scopes"][int(first[2:])]
            if scope[0] == _FUNCTION:
                return found[:1] if scope[4][0] == _PROPERTY else found[-1:]
        return [one for one in found if one[1] is not None and one[1][0] == ":"] or found

    def _annotated(self, path: str, scope: int, text: str, receiver: Type | None = None) -> Types:
        if not text or "Self" in text:
            return self._hinted(path, scope, parse_annotation(text), receiver) if text else ()
        key = (path, scope, text)
        types = self._hints.get(key)
        if types is None:
            self._hints[key] = ()  # for whoever asks in a circle
            types = self._hints[key] = self._hinted(path, scope, parse_annotation(text), None)
        return types

    def _hinted(self, path: str, scope: int, hints: tuple, receiver: Type | None) -> Types:
        types: list[Type] = []
        for name, arguments in hints:
            last = name.rpartition(".")[2]
            inner = [self._hinted(path, scope, argument, receiver) for argument in arguments]
            if last in _UNION:
                types += (
                    inner[0] if last == "Annotated" and inner else [kind for kinds in inner for kind in kinds]
                )
            elif last == "Coroutine":
                types += inner[-1] if inner else ()
            elif last in ("type", "Type"):
                types += [("class", *kind[1:]) for kinds in inner for kind in kinds if kind[0] == "instance"]
            elif last == "Callable":
                types.append(("callable", inner[-1] if inner else ()))
            elif last == "Self":
                owner = self._class_around(path, scope)
                if receiver is not None and receiver[0] in ("instance", "class"):
                    types.append(("instance", *receiver[1:]))
                elif owner is not None:
                    types.append(("instance", path, owner))
            else:
                for kind in self._value(path, scope, name) if name else ():
                    if kind[0] == "class":
                        types.append(("instance", *kind[1:]))
                    elif kind[0] in ("instance", "container", "callable"):
                        types.append(kind)  # an alias of a type
                if inner:
                    if last in ("Generator", "AsyncGenerator"):
                        inner = inner[:1]
                    types.append(("container", tuple(inner)))
        return _first(types)

    def _call(self, types: Types) -> Types:
        found: list[Type] = []
        for kind in types:
            if kind[0] == "class":
                found.append(("instance", *kind[1:]))
            elif kind[0] == "callable":
                found += kind[1]
            elif kind[0] == "function":
                _, path, scope, receiver = kind
                _, parent, _, _, (_, annotation, values, listed), _ = self.symbols[path]["scopes"][scope]
                if annotation:
                    found += self._annotated(path, parent, annotation, receiver)
                    continue
                for value in values:
                    if receiver is not None and listed[:1] == [value]:
                        found.append(receiver)
                    else:
                        found += self._value(path, scope, value)
            elif kind[0] == "instance":
                found += self._call(
                    tuple(t for t in self._attribute((kind,), "__call__")[0] if t[0] == "function")
                )
        return _first(found)

    def _item(self, types: Types, number: str) -> Types:
        found: list[Type] = []
        for kind in types:
            if kind[0] == "container" and kind[1]:
                at = int(number) if number and int(number) < len(kind[1]) else -1
                found += kind[1][at]
            elif kind[0] == "class" and not number:
                found.append(kind)  # a generic class with its arguments
            elif kind[0] == "instance":
                for name in ("__getitem__", "__iter__"):
                    methods = tuple(t for t in self._attribute((kind,), name)[0] if t[0] == "function")
                    if methods:
                        returned = self._call(methods)
                        if name == "__iter__":  # an iterator's own `__iter__` gives itself again
                            containers = tuple(t for t in returned if t[0] == "container")
                            returned = self._item(containers, "")
                        found += returned
                        break
        return _first(found)

    def _attribute(self, types: Types, name: str) -> tuple[Types, tuple[str, ...]]:
        """Types of a member, and the files that declare it."""
        found: list[Type] = []
        files: dict[str, None] = {}
        for kind in types:
            if kind[0] == "module":
                target = self.modules.declares.get(kind[1])
                below = f"{kind[1]}/{name}" if kind[1] else name
                declared = self.lookup(target, name) if target in self.symbols else []
                if not declared and (below in self.modules.declares or below in self.modules.folders):
                    declared = [(below, None)]
                files.update(dict.fromkeys(self.files(declared)))
                found += self._declared(declared)
            elif kind[0] in ("class", "instance", "super"):
                receiver = ("instance", *kind[1:]) if kind[0] == "super" else kind
                for owner, index in self._mro(kind[1], kind[2])[1 if kind[0] == "super" else 0 :]:
                    entries = self.symbols[owner]["scopes"][index][2].get(name)
                    if entries is not None:
                        files[owner] = None
                        found += self._declared(self.follow(owner, entries), receiver)
                        break
            elif kind[0] == "container":
                if name in _ITEM_METHODS:
                    found.append(("callable", kind[1][-1] if kind[1] else ()))
                elif name in _SAME_METHODS:
                    found.append(("callable", (kind,)))
        return _first(found), tuple(files)

    def _mro(self, path: str, scope: int) -> list[tuple[str, int]]:
        """The class and its bases, in the order their members are looked for."""
        key = (path, scope)
        if key in self._linear:
            return self._linear[key]
        self._linear[key] = [key]  # for whoever asks in a circle
        order: dict[tuple[str, int], None] = {}
        waiting = [key]
        for _ in range(MAX_LOOKS):  # where classes are bases of one another the waiting would never end
            self.work_left -= 1
            if not waiting or len(order) == MAX_BASES or self.work_left < 0:
                break
            at = waiting.pop()
            order.pop(at, None)  # a shared base comes after all that have it
            order[at] = None
            owner, index = at
            _, parent, _, _, bases, _ = self.symbols[owner]["scopes"][index]
            above: list[tuple[str, int]] = []
            for base in bases:
                above += [kind[1:] for kind in self._value(owner, parent, base) if kind[0] == "class"]
            waiting += [base for base in reversed(above) if base != key]
        self._linear[key] = list(order)
        return self._linear[key]


def _first(types: Sequence[Type]) -> Types:
    return tuple(types) if len(types) < 2 else tuple(dict.fromkeys(types))[:MAX_TYPES]
