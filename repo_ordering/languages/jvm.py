"""Names of Java, Kotlin and Scala, resolved to the files that declare them.

The symbols of a file are:
- package, and `around`: further packages whose names it sees (Scala);
- imports: [name, the name it gets here, is on demand, is static];
- types: [full name within the package, index of the type around it or -1, bases as written, members], the members
  with the type each has ("" where it is not written): `name` of a field, `name()` and `name(` of methods without
  and with parameters;
- facade: the class that Java sees a Kotlin file's functions in, "" for the usual one; extensions: functions that are
  called on something; loose: whether a name that follows no dot may as well be a type;
- tops: what stands in the package itself and is no type (functions, properties), with its type; aliases likewise;
- names: types written; bare and called: other names that follow no dot; dotted: names that do;
- chains: [root, step, ...], the root `=Type` for a value of a written type, `this`, or a name.

A simple name is looked for among the file's own types and what they inherit, its imports, its package, and the
packages that it imports on demand. Where a type is declared twice (source sets, copies for another platform), the
declaration nearest in the tree counts.
"""

from collections.abc import Iterable, Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages.jvm_types import MAX_SUPERS, Type, Types, spellings

MAX_DECLARING = 4  # files of a package that may declare one overloaded function


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Import edges for the types and members that imports name, symbol edges for what the code names."""
    known = {path: facts[path].symbols for path in sorted(facts) if facts[path].symbols is not None}
    names = _Names(known)
    for path in known:
        names.enter(path)
        yield from names.imports()
        for target, confidence in names.used():
            yield Edge(path, target, "symbol", False, confidence)


def names_written(facts: Facts) -> set[str]:
    """Names in a file that may be types or functions: those it uses and those it imports."""
    if facts.symbols is None:
        return set()
    own = facts.symbols
    named = {part for name in own["names"] for part in name.split(".")}
    named |= {step.rstrip("()").lstrip("=") for chain in own["chains"] for step in chain}
    return named.union(
        own["called"], own["bare"], own["dotted"], (row[0].rpartition(".")[2] for row in own["imports"])
    )


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Top-level types and functions of the file that another one names."""
    if facts.symbols is None:
        return []
    declared = [row[0] for row in facts.symbols["types"] if row[1] < 0]
    return [name for name in dict.fromkeys([*declared, *facts.symbols["tops"]]) if name in written]


class _Names(Types):
    """What the code of one file after another names."""

    def __init__(self, known: Mapping[str, dict]) -> None:
        super().__init__(known)
        self._path = ""
        self._own: dict = {}
        self._statics: list[Type] = []

    def enter(self, path: str) -> None:
        """The file whose names are asked for next."""
        self._path, self._own = path, self.known[path]

    def imports(self) -> Iterator[Edge]:
        """Edges to the files that declare what is imported by name."""
        path = self._path
        for name, _, on_demand, static in self._own["imports"]:
            for full in self.relative(self._own, name):
                found, rest = self.qualified(path, full)
                if found is not None and not (
                    on_demand and not static and not rest and full in self.packages
                ):
                    yield Edge(path, found[0], "import")
                elif not on_demand:
                    for target in self._functions(full):
                        yield Edge(path, target, "import")

    def _functions(self, full: str) -> list[str]:
        rows = self.tops.get(full, ())
        if len(rows) > MAX_DECLARING:
            return [found[0]] if (found := self.choose(self._path, full, self.tops)) else []
        return [row[0] for row in rows]

    def used(self) -> Iterator[tuple[str, float]]:
        """(file, confidence) of each declaration that the code names."""
        path, own = self._path, self._own
        _, named, every = self.scope(path)
        for name in own["names"]:
            yield from self._along(name)
        mine = {member for row in own["types"] for member in row[3]} | own["tops"].keys()
        inherited = self._inherited(path)
        self._statics = [at for name in every if (at := self.choose(path, name, self.declared)) is not None]
        for package in (own["package"], *own.get("around", ())) if own.get("loose") else ():
            if (at := self.choose(path, f"{package}.package", self.declared)) is not None:
                self._statics += [at, *self.supers(at)]
        for name, _, on_demand, _ in own["imports"] if own.get("loose") else ():
            if on_demand and name not in self.packages and name not in self.declared:
                at = self._value(name, inherited)
                self._statics += [] if at is None else [at, *self.supers(at)]
        for word, step in [
            *((word, word + "(") for word in own["called"]),
            *((word, word) for word in own["bare"]),
        ]:
            if word in mine or step in mine or f"{step})" in mine:
                continue
            target = self._among(inherited, step)
            if target is not None:
                yield target[0][0], 1.0
            else:
                yield from self._imported(word, step, every)
        for word in own["dotted"]:
            if word in named:
                yield from ((file, 1.0) for file in self._functions(named[word]))
            else:
                for package in (own["package"], *own.get("around", ()), *every):
                    rows = self.tops.get(f"{package}.{word}" if package else word, ())
                    if not 0 < len(rows) <= MAX_DECLARING or path in {row[0] for row in rows}:
                        continue
                    if all(word in self.known[row[0]].get("extensions", ()) for row in rows):
                        yield from ((row[0], 0.9) for row in rows)
                        break
        for chain in own["chains"]:
            yield from self._follow(chain, mine, inherited)

    def _imported(self, word: str, step: str, every: Iterable[str]) -> Iterator[tuple[str, float]]:
        """What a name means that no type around declares: a member or function that is imported, or a type."""
        own, path = self._own, self._path
        full = self.scope(path)[1].get(word)
        if full is not None:
            found, rest = self.qualified(path, full)
            if found is None:
                yield from ((file, 1.0) for file in self._functions(full))
            elif rest:
                last = rest.rpartition(".")[2]
                target = self.member(found, last + step[len(word) :]) or self.member(found, last)
                if target is not None:
                    yield target[0][0], 1.0
            elif own.get("loose"):
                yield found[0], 1.0
            return
        target = self._among(self._statics, step)
        if target is not None:
            yield target[0][0], 1.0
        elif own.get("loose"):
            for at in self._statics:
                if (inner := self.nested(at, word)) is not None:
                    yield inner[0], 1.0
                    return
            yield from self._loose(word, every)

    def _loose(self, word: str, every: Iterable[str]) -> Iterator[tuple[str, float]]:
        """A name of Kotlin or Scala that may be a type, an object, or a function of a package."""
        found = self.simple(self._path, word)
        if found is not None:
            yield found[0], 1.0
            return
        own = self._own
        for package in (own["package"], *own.get("around", ()), *every):
            full = f"{package}.{word}" if package else word
            if full in self.tops:
                yield from ((file, 1.0) for file in self._functions(full))
                return

    def _value(self, name: str, inherited: list[Type]) -> Type | None:
        """The type of a value whose members are imported (Scala)."""
        first, *rest = name.split(".")[:8]
        own = [(self._path, i) for i in range(len(self._own["types"]))]
        found = self._among([*own, *inherited], first)
        at = self.type_named(found[0][0], found[1]) if found and found[1] else self.simple(self._path, first)
        for step in rest:
            found = self.member(at, step) if at is not None else None
            at = self.type_named(found[0][0], found[1]) if found and found[1] else None
        return at

    def _inherited(self, path: str) -> list[Type]:
        found: dict[Type, None] = {}
        for i, row in enumerate(self.known[path]["types"]):
            if row[2]:
                found.update(dict.fromkeys(base for base in self.supers((path, i)) if base[0] != path))
        return list(found)[: 2 * MAX_SUPERS]

    def _among(self, types: Iterable[Type], step: str) -> tuple[Type, str] | None:
        return next((found for each in types if (found := self.member(each, step)) is not None), None)

    def _along(self, name: str) -> Iterator[tuple[str, float]]:
        """Files of each type along a written name."""
        first, _, rest = name.partition(".")
        found = self.simple(self._path, first)
        if found is None:
            found, rest = self.qualified(self._path, name)
            if found is None:
                return
        yield found[0], 1.0
        for part in rest.split(".") if rest else ():
            found = self.inner(found, part)
            if found is None:
                return
            yield found[0], 1.0

    def _follow(self, chain: list[str], mine: set[str], inherited: list[Type]) -> Iterator[tuple[str, float]]:
        path = self._path
        root, *steps = chain
        at: Type | None
        if root.startswith("="):
            at = self.type_named(path, root[1:])
        else:
            step = steps.pop(0) if root == "this" else root
            found = None
            if not mine.isdisjoint(spellings(step)):
                types = ((path, i) for i in range(len(self._own["types"])))
                found = self._among(types, step)
            found = found or self._among(inherited, step)
            if found is not None:
                yield found[0][0], 1.0
                at = self.type_named(found[0][0], found[1]) if found[1] else None
            elif root == "this":
                yield from self._imported(step.rstrip("()"), step, self.scope(path)[2])
                return
            else:
                at = self.simple(path, root)
                if at is None:
                    plain = []
                    for each in steps:
                        if each[-1] in "()":
                            break
                        plain.append(each)
                    at, rest = self.qualified(path, ".".join([root, *plain]))
                    if at is not None:
                        steps = steps[len(plain) - (rest.count(".") + 1 if rest else 0) :]
                if at is not None:
                    yield at[0], 1.0
        for step in steps:
            if at is None:
                return
            found = self.member(at, step)
            if found is not None:
                yield found[0][0], 1.0
                at = self.type_named(found[0][0], found[1]) if found[1] else None
            else:
                at = self.inner(at, step)
                if at is not None:
                    yield at[0], 1.0
