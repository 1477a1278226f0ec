"""C#: what a name stands for where it is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from repo_ordering.languages.csharp_projects import Projects

MAX_BASES = 32  # looked at for one name
MAX_DECLARED = 64  # files that declare one name; more is data, and none of them is meant
MAX_USINGS = 256  # of one scope
MAX_NAME = 1024  # characters of a type's name that go before those of the types inside it


@dataclass(frozen=True, slots=True)
class Type:
    """One declaration of a type; of a partial one there may be several, in several files."""

    path: str
    full: str
    scope: int
    around: int
    partial: bool
    bases: tuple[str, ...]
    members: frozenset[str]
    guarded: bool


@dataclass(slots=True)
class Scope:
    """A namespace declaration, or the whole file, with what its usings bring in."""

    parent: int
    namespace: str
    usings: list[tuple[str, bool]] = field(default_factory=list)  # namespace or type, is guarded
    aliases: dict[str, str] = field(default_factory=dict)


class Names:
    """Every declaration of every file, and the rules by which names find them."""

    def __init__(self, known: Mapping[str, Mapping], projects: Projects) -> None:
        self.known = known
        self.projects = projects
        self.types: dict[str, list[Type]] = {}  # full name with arity
        self.of: dict[str, list[Type]] = {}  # the types of a file, in its own numbering
        self.namespaces: set[str] = set()
        # method -> (file, namespace of its class, is guarded, fewest and most arguments)
        self.extensions: dict[str, list[tuple[str, str, bool, int, int]]] = {}
        self.members: dict[str, dict[str, list[Type]]] = {}  # partial type -> member -> parts
        self._bases: dict[tuple[str, str], list[str]] = {}
        self.scopes: dict[str, list[Scope]] = {}
        # What a file's own usings name, and whether only under a condition.
        self.stated: dict[str, list[tuple[str, bool]]] = {}
        self._resolved: dict[tuple, tuple[str, bool] | None] = {}
        for path, own in known.items():
            self._declare(path, own)
        self.names = {name.rpartition(".")[2] for name in self.types}
        self.names |= {part for name in self.namespaces for part in name.split(".")}
        for path, own in known.items():
            self.scopes[path] = self._open(own)
        for path in known:
            self._bring_in(path)
        self._global_usings()

    def _declare(self, path: str, own: Mapping) -> None:
        types = self.of[path] = []
        for scope, around, name, partial, bases, members, extensions, guarded in own["types"]:
            namespace = own["scopes"][scope][1]
            outer = types[around].full if around >= 0 else namespace
            if len(outer) > MAX_NAME:
                outer = namespace
            full = f"{outer}.{name}" if outer else name
            row = Type(path, full, scope, around, partial, tuple(bases), frozenset(members), guarded)
            types.append(row)
            declared = self.types.setdefault(row.full, [])
            declared.append(row)
            if partial:
                parts = self.members.setdefault(row.full, {})
                for member in row.members:
                    parts.setdefault(member, []).append(row)
            for method, fewest, most, is_guarded in extensions:
                self.extensions.setdefault(method, []).append(
                    (path, namespace, guarded or is_guarded, fewest, most)
                )
        for _, namespace, *_ in own["scopes"]:
            while namespace and namespace not in self.namespaces:
                self.namespaces.add(namespace)
                namespace = namespace.rpartition(".")[0]

    def _open(self, own: Mapping) -> list[Scope]:
        return [Scope(parent, namespace) for parent, namespace, *_ in own["scopes"]]

    def _bring_in(self, path: str) -> None:
        """Usings name namespaces and types from where they stand outward, but never through one another."""
        scopes = self.scopes[path]
        stated = self.stated[path] = []
        for scope, (_, _, usings, statics, aliases) in zip(scopes, self.known[path]["scopes"], strict=True):
            for name, is_guarded, _ in [*usings, *statics][:MAX_USINGS]:
                full = self._outward(scopes, scope, name)
                if full is not None:
                    scope.usings.append((full, is_guarded))
                    stated.append((full, is_guarded))
            for alias, name, _ in aliases[:MAX_USINGS]:
                full = self._outward(scopes, scope, name)
                if full is not None:
                    scope.aliases[alias] = full
                    stated.append((full, False))

    def _outward(self, scopes: list[Scope], scope: Scope, name: str) -> str | None:
        if name.startswith("global::."):
            name = name[9:]
        else:
            for level in levels(scopes, scope):
                full = f"{level}.{name}" if level else name
                if full in self.namespaces or full in self.types:
                    return full
        return name if name in self.namespaces or name in self.types else None

    def _global_usings(self) -> None:
        """`global using` and `<Using>` hold in every file of the project."""
        shared: dict[str, Scope] = {}
        for path, own in self.known.items():
            rows = own["scopes"][0]
            if any(row[2] for rows in (rows[2], rows[3], rows[4]) for row in rows):
                found = shared.setdefault(self.projects.of(path), Scope(-1, ""))
                for name, is_guarded, is_global in [*rows[2], *rows[3]]:
                    if is_global and (name in self.namespaces or name in self.types):
                        found.usings.append((name, is_guarded))
                for alias, name, is_global in rows[4]:
                    if is_global and (name in self.namespaces or name in self.types):
                        found.aliases[alias] = name
        for path, scopes in self.scopes.items():
            project = self.projects.of(path)
            stated = [*self.projects.usings(path)]
            found = shared.get(project, Scope(-1, ""))
            usings = [(name, False) for alias, name in stated if not alias] + found.usings
            own = {name for name, _ in scopes[0].usings}
            usings = [
                use
                for use in dict.fromkeys(usings)
                if use[0] not in own and (use[0] in self.namespaces or use[0] in self.types)
            ]
            scopes[0].usings += usings[:MAX_USINGS]
            aliases = {alias: name for alias, name in stated if alias} | found.aliases
            for alias, name in aliases.items():
                if name in self.namespaces or name in self.types:
                    scopes[0].aliases.setdefault(alias, name)

    def forget(self) -> None:
        """Names are remembered for one file at a time."""
        self._resolved.clear()

    def find(self, path: str, scope: int, around: int, head: str) -> tuple[str, bool] | None:
        key = (scope, around, head)
        if key not in self._resolved:
            self._resolved[key] = self._look(path, scope, around, head)
        return self._resolved[key]

    def _look(self, path: str, scope: int, around: int, head: str) -> tuple[str, bool] | None:
        """Full name of the type or namespace that a simple name stands for, and whether a guarded using says so."""
        if head == "global::":
            return "", False
        types, known = self.of[path], self.types
        while around >= 0:
            row = types[around]
            for full in (row.full, *self._all_bases(row)):
                if (inner := f"{full}.{head}") in known:
                    return inner, False
            around = row.around
        scopes = self.scopes[path]
        while scope >= 0:
            here = scopes[scope]
            outer = scopes[here.parent].namespace if here.parent >= 0 else None
            level = here.namespace
            while True:
                full = f"{level}.{head}" if level else head
                if full in known or full in self.namespaces:
                    return full, False
                if level == here.namespace:
                    if head in here.aliases:
                        return here.aliases[head], False
                    by_guarded = None
                    for using, is_guarded in here.usings:
                        if (full := f"{using}.{head}") in known:
                            if not is_guarded:
                                return full, False
                            by_guarded = by_guarded or (full, True)
                    if by_guarded:
                        return by_guarded
                if not level:
                    break
                level = level.rpartition(".")[0]
                if level == outer:
                    break
            scope = here.parent
        return None

    def follow(self, full: str, names: list[str]) -> tuple[str, str]:
        """The type that the names lead to from a namespace or type, and the member named next."""
        for name in names:
            inner = f"{full}.{name}" if full else name
            if inner not in self.types and inner not in self.namespaces:
                return full, name
            full = inner
        return full, ""

    def _all_bases(self, row: Type) -> list[str]:
        """Full names of the bases of a type that the repository declares, nearest first."""
        key = (row.path, row.full)
        if key in self._bases:
            return self._bases[key]
        self._bases[key] = []  # met again, it is its own base
        found: dict[str, None] = {}
        waiting = [row, *(self.types[row.full][:MAX_DECLARED] if row.partial else ())]
        looked = 0
        while waiting and looked < MAX_BASES:
            part = waiting.pop(0)
            for name in part.bases[:MAX_BASES]:
                looked += 1
                full = self._base(part, name)
                if full is not None and full not in found and full != row.full:
                    found[full] = None
                    waiting += self.types[full][:1]
        self._bases[key] = list(found)
        return self._bases[key]

    def _base(self, row: Type, name: str) -> str | None:
        first, _, rest = name.partition(".")
        if first not in self.names:
            return None
        found = self._look(row.path, row.scope, -1, first)
        if found is None:
            return None
        full, _ = self.follow(found[0], rest.split(".") if rest else [])
        return full if full in self.types else None

    def is_inherited_member(self, path: str, row: Type, name: str) -> bool:
        """Whether a name that also stands for a type is rather a member of a base or of another part."""
        if row.partial and name in self.members[row.full]:
            return True
        bases = self._all_bases(row)
        return any(name in self.types[base][0].members for base in bases)


def levels(scopes: list[Scope], scope: Scope) -> Iterator[str]:
    """The namespaces around a place, innermost first; the last is the global one."""
    level = scope.namespace
    while level:
        yield level
        level = level.rpartition(".")[0]
    yield ""
