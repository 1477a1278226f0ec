"""Types of Java, Kotlin and Scala: which one a name in a file means, and which declares a member."""

from collections.abc import Mapping

MAX_SUPERS = 128  # supertypes of a type that are looked through

Type = tuple[str, int]  # the file and the index of a type in it


class _Places:
    """Which of several files that declare a name is meant: the one nearest in the tree, no test where there is more."""

    def __init__(self, rows: list[Type]) -> None:
        self._best: dict[str, Type] = {}
        ranked = sorted(rows, key=lambda row: ("test" in row[0].lower().split("/"), len(row[0]), row))
        for row in ranked:
            folder = row[0]
            while folder:
                folder = folder.rpartition("/")[0]
                self._best.setdefault(folder, row)

    def nearest(self, path: str) -> Type:
        while path not in self._best:
            path = path.rpartition("/")[0]
        return self._best[path]


class Types:
    """Types of the repository by name, what they inherit, and their members."""

    def __init__(self, known: Mapping[str, dict]) -> None:
        self.known = known
        self.declared: dict[str, list[Type]] = {}  # types and aliases by qualified name
        self.tops: dict[str, list[Type]] = {}  # functions and properties of packages likewise
        self.packages: set[str] = set()
        self._places: dict[str, _Places] = {}
        self._supers: dict[Type, list[Type]] = {}
        self._looked: dict[tuple[Type, str], tuple[Type, str] | None] = {}  # members by type
        self._found: dict[str, dict[str, Type | None]] = {}  # what a simple name means in a file
        self._scopes: dict[str, tuple[dict, dict, list]] = {}
        for path, own in known.items():
            package = own["package"]
            self.packages.add(package)
            for i, row in enumerate(own["types"]):
                name = f"{package}.{row[0]}" if package else row[0]
                rows = self.declared.setdefault(name, [])
                if not rows or rows[-1][0] != path:
                    rows.append((path, i))
            for name in own["aliases"]:
                self.declared.setdefault(f"{package}.{name}" if package else name, []).append((path, -1))
            if own["tops"] and "facade" in own:
                stem = path.rpartition("/")[2].partition(".")[0]
                name = own["facade"] or f"{stem[:1].upper()}{stem[1:]}Kt"
                self.declared.setdefault(f"{package}.{name}" if package else name, []).append((path, -1))
            for name in own["tops"]:
                if "." in name:  # of a package object
                    inner = name.rpartition(".")[0]
                    self.packages.add(f"{package}.{inner}" if package else inner)
                self.tops.setdefault(f"{package}.{name}" if package else name, []).append((path, -1))

    def choose(self, path: str, full: str, declared: Mapping[str, list[Type]]) -> Type | None:
        rows = declared.get(full)
        if not rows:
            return None
        if len(rows) == 1:
            return rows[0]
        key = full if declared is self.declared else full + "()"
        if key not in self._places:
            self._places[key] = _Places(rows)
        return self._places[key].nearest(path)

    def scope(self, path: str) -> tuple[dict[str, Type], dict[str, str], list[str]]:
        """Own types by simple name; imported names; packages and types imported on demand."""
        if path not in self._scopes:
            own = self.known[path]
            types: dict[str, Type] = {}
            for i, row in enumerate(own["types"]):
                types.setdefault(row[0].rpartition(".")[2], (path, i))
            named: dict[str, str] = {}
            every: list[str] = []
            for name, alias, on_demand, _ in own["imports"]:
                for each in self.relative(own, name):
                    if on_demand:
                        every.append(each)
                    else:
                        named.setdefault(alias, each)
            every = [name for name in dict.fromkeys(every) if name in self.packages or name in self.declared]
            self._scopes[path] = types, named, every
        return self._scopes[path]

    def relative(self, own: Mapping, name: str) -> list[str]:
        """The name itself, or under the packages around where one of them has it (Scala)."""
        for package in own.get("around", ()):
            first = f"{package}.{name.partition('.')[0]}" if package else name
            full = f"{package}.{name}" if package else name
            if (
                first in self.declared
                or full in self.packages
                or any(
                    (part := full.rsplit(".", cut)[0]) in self.packages
                    and part != package
                    and len(part) > len(package)
                    for cut in range(1, name.count(".") + 1)
                )
            ):
                return [full]
        return [name]

    def type_named(self, path: str, name: str) -> Type | None:
        """The type that a simple or qualified name stands for in a file."""
        first, _, rest = name.partition(".")
        found = self.simple(path, first)
        if found is not None:
            for part in rest.split(".") if rest else ():
                inner = self.inner(found, part)
                if inner is None:
                    break
                found = inner
            return found
        return self.qualified(path, name)[0] if rest else None

    def qualified(self, path: str, name: str) -> tuple[Type | None, str]:
        """The longest type at the front of a name, and what of the name is left."""
        front, rest = name, ""
        while "." in front:
            found = self.choose(path, front, self.declared)
            if found is not None:
                return found, rest
            front, _, last = front.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
        return None, name

    def simple(self, path: str, name: str) -> Type | None:
        cache = self._found.setdefault(path, {})
        if name not in cache:
            cache[name] = None  # a base that names itself
            cache[name] = self._look(path, name)
        return cache[name]

    def _look(self, path: str, name: str) -> Type | None:
        types, named, every = self.scope(path)
        if name in types:
            return types[name]
        for i, row in enumerate(self.known[path]["types"]):
            if row[2]:
                for base in self.supers((path, i)):
                    if base[1] >= 0 and (found := self.nested(base, name)) is not None:
                        return found
        if name in named:
            found, rest = self.qualified(path, named[name])
            if found is not None and not rest:
                return found
            if found is not None and (inner := self.inner(found, rest)) is not None:
                return inner
        own = self.known[path]
        for package in (own["package"], *own.get("around", ())):
            found = self.choose(path, f"{package}.{name}" if package else name, self.declared)
            if found is not None:
                return found
        for package in every:
            if (found := self.choose(path, f"{package}.{name}", self.declared)) is not None:
                return found
            around = self.choose(path, package, self.declared)
            if around is not None and (inner := self.inner(around, name)) is not None:
                return inner
        return None

    def nested(self, at: Type, name: str) -> Type | None:
        path, i = at
        if i < 0:
            return None
        own = self.known[path]
        full = f"{own['types'][i][0]}.{name}"
        package = own["package"]
        rows = self.declared.get(f"{package}.{full}" if package else full, ())
        return self.choose(path, f"{package}.{full}" if package else full, self.declared) if rows else None

    def inner(self, at: Type, name: str) -> Type | None:
        """A nested type of a type or of its supertypes."""
        for each in (at, *self.supers(at)):
            if (found := self.nested(each, name)) is not None:
                return found
        return None

    def supers(self, at: Type) -> list[Type]:
        """Supertypes that the repository declares: what a class extends comes before what it implements."""
        if at in self._supers:
            return self._supers[at]
        self._supers[at] = []  # met again, it is its own base
        found: dict[Type, None] = {}
        waiting = [at]
        while waiting:
            path, i = each = waiting.pop()
            if each != at:
                if each in found or len(found) == MAX_SUPERS:
                    continue
                found[each] = None
            if i >= 0:
                bases = (self._base(path, i, name) for name in self.known[path]["types"][i][2][:MAX_SUPERS])
                waiting += [base for base in bases if base is not None and base != at][::-1]
        self._supers[at] = list(found)
        return self._supers[at]

    def _base(self, path: str, i: int, name: str) -> Type | None:
        """A base as a declaration names it; what the type itself inherits is not in scope there."""
        first, _, rest = name.partition(".")
        types, named, every = self.scope(path)
        own = self.known[path]
        found = types.get(first) if types.get(first) != (path, i) or rest else None
        if found is None and first in named:
            found, left = self.qualified(path, named[first])
            found = found if not left else self.nested(found, left) if found else None
        packages = (own["package"], *own.get("around", ()), *every)
        if found is None:
            tries = (f"{package}.{first}" if package else first for package in packages)
            found = next((hit for full in tries if (hit := self.choose(path, full, self.declared))), None)
        if found == (path, i):
            return None
        if found is None:
            if rest:
                return self.qualified(path, name)[0]
            around = own["types"][i][1]
            while around >= 0:
                for base in self._supers.get((path, around), ()):
                    if (inner := self.nested(base, first)) is not None:
                        return inner
                around = own["types"][around][1]
            return None
        for part in rest.split(".") if rest else ():
            found = self.nested(found, part) or found
        return found

    def member(self, at: Type, step: str) -> tuple[Type, str] | None:
        """The type that declares a member of a type, and the type that the member is written to have."""
        key = at, step
        if key not in self._looked:
            self._looked[key] = None
            around = [(each, self._members(each)) for each in (at, *self.supers(at))]
            for name in spellings(step):
                found = next(((each, members[name]) for each, members in around if name in members), None)
                if found is not None:
                    self._looked[key] = found
                    break
        return self._looked[key]

    def _members(self, at: Type) -> Mapping[str, str]:
        own = self.known[at[0]]
        return own["types"][at[1]][3] if at[1] >= 0 else own["tops"]


def spellings(step: str) -> tuple[str, ...]:
    """A member as it may be declared: Kotlin names the property that Java calls a getter of, and the reverse."""
    name = step.rstrip("()")
    if step == name:
        return name, f"{name}()", f"{name}(", f"get{name[:1].upper()}{name[1:]}()"
    other = f"{name}(" if step.endswith(")") else f"{name}()"
    property_ = name[3].lower() + name[4:] if name[:3] in ("get", "set") and len(name) > 3 else name
    return step, other, name, property_
