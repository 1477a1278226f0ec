"""C#: which files declare the types, members and extension methods that a file names."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages.csharp_projects import Projects
from repo_ordering.languages.csharp_scopes import MAX_DECLARED, Names, Type, levels
from repo_ordering.places import nearest

MAX_PARTS = 8  # of a type that declare one member

# Methods that strings, collections, types and streams have anyway: a call says nothing of an extension so called.
_NAMES = """
    Add AddRange All Any Append Clear Close CompareTo Concat Contains ContainsKey Copy CopyTo Count Create Dispose
    EndsWith Equals Exists Find First Flush Format Get GetConstructor GetConstructors GetEnumerator GetField GetFields
    GetGenericArguments GetHashCode GetInterfaces GetMember GetMembers GetMethod GetMethods GetProperties GetProperty
    GetType GetValue IndexOf Insert InsertRange Invoke IsAssignableFrom IsDefined IsSubclassOf Join Last LastIndexOf
    Max Min Open PadLeft PadRight Parse Peek Pop Push Read Remove RemoveAll RemoveAt Replace Reverse Select Set
    SetValue Skip Sort Split StartsWith Start Stop Substring Sum Take ToArray ToDictionary ToList ToLower ToString
    ToUpper Trim TrimEnd TrimStart TryGetValue Union Where Write WriteLine Zip
"""
_COMMON = frozenset(_NAMES.split())


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Symbol edges for the types and extension methods named; import edges for `using static` and aliases."""
    known = {path: facts[path].symbols for path in sorted(facts) if facts[path].symbols is not None}
    resolver = _Resolver(Names(known, Projects(files)))
    for path in known:
        yield from resolver.edges(path)


def names_written(facts: Facts) -> set[str]:
    """Simple names of types, attributes and methods that a file names."""
    if facts.symbols is None:
        return set()
    found = {name for name, _, _ in facts.symbols["calls"]}
    for _, _, kind, name, _ in facts.symbols["uses"]:
        parts = [part.partition("`")[0] for part in name.split(".")]
        found.update(parts)
        if kind == "attribute":
            found.add(parts[-1] + "Attribute")
    return found


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Types and extension methods of the file that another one names."""
    if facts.symbols is None:
        return []
    rows = facts.symbols["types"]
    names = [row[2].partition("`")[0] for row in rows] + [name for row in rows for name, *_ in row[6]]
    return [name for name in names if name in written]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The declarations of a type that a project sees."""

    rows: list[Type]
    paths: frozenset[str]
    standing: Type


class _Resolver:
    """Edges of one file after the other."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._seen: dict[tuple[str, str | None], _Seen] = {}  # type, project or None for all
        self._by_project: dict[str, dict[str, list[Type]]] = {}
        self._united: dict[str, frozenset[str]] = {}

    def edges(self, path: str) -> Iterator[Edge]:
        own, scopes = self._names.known[path], self._names.scopes[path]
        types = self._names.of[path]
        aliases = {alias for scope in scopes for alias in scope.aliases}
        self._names.forget()
        named: dict[str, bool] = {}  # types, and whether only under a condition
        for scope, around, kind, name, is_guarded in own["uses"]:
            first, _, rest = name.partition(".")
            names = (first + "Attribute", first) if kind == "attribute" and not rest else (first,)
            for head in names:
                if head not in self._names.names and head not in aliases and head != "global::":
                    continue
                found = self._names.find(path, scope, around, head)
                if found is None:
                    continue
                if (
                    kind == "head"
                    and around >= 0
                    and self._names.is_inherited_member(path, types[around], head)
                ):
                    break
                full, by_guarded = found
                ending = rest.split(".") if rest else []
                if kind == "attribute" and ending:
                    target, _ = self._names.follow(full, [*ending[:-1], ending[-1] + "Attribute"])
                    if target in self._names.types:
                        ending[-1] += "Attribute"
                target, member = self._names.follow(full, ending)
                if target in self._names.types:
                    named[target] = named.get(target, True) and (is_guarded or by_guarded)
                for file, guarded, confidence in self._choose(path, target, member):
                    yield Edge(path, file, "symbol", is_guarded or by_guarded or guarded, confidence)
                break
        for full, is_guarded in self._names.stated[path]:
            for file, guarded, confidence in self._choose(path, full, ""):
                yield Edge(path, file, "symbol", is_guarded or guarded, confidence)
                yield Edge(path, file, "import", is_guarded or guarded, confidence)
        yield from self._other_parts(path)
        yield from self._called_parts(path, named)
        yield from self._extension_calls(path)

    def _visible(self, path: str, full: str) -> _Seen:
        """The declarations in the file's own project, or else in those that it references, or else all."""
        projects = self._names.projects
        project = projects.of(path)
        if (seen := self._seen.get((full, project))) is not None:
            return seen
        by_project = self._by_project.get(full)
        if by_project is None:
            by_project = self._by_project[full] = {}
            for row in self._names.types[full]:
                by_project.setdefault(projects.of(row.path), []).append(row)
        rows = by_project.get(project)
        if rows is None:
            referenced = [other for other in projects.references(project) if other in by_project]
            rows = [row for other in sorted(referenced) for row in by_project[other]]
        if rows:
            return self._remember((full, project), rows)
        return self._seen.get((full, None)) or self._remember((full, None), self._names.types[full])

    def _remember(self, key: tuple[str, str | None], rows: list[Type]) -> _Seen:
        seen = self._seen[key] = _Seen(rows, frozenset(row.path for row in rows), _standing(rows))
        return seen

    def _choose(self, path: str, full: str, member: str) -> list[tuple[str, bool, float]]:
        """(file, is guarded, confidence) of each declaration that is meant."""
        rows = self._names.types.get(full)
        if rows is None:
            return []
        if len(rows) == 1:
            return [(rows[0].path, rows[0].guarded, 1.0)] if rows[0].path != path else []
        seen = self._visible(path, full)
        standing = seen.standing
        if full in self._names.members:
            parts = self._names.members[full].get(member, ()) if member else ()
            parts = [row for row in parts[:MAX_DECLARED] if row.path in seen.paths]
            if parts:
                is_own = any(row.path == path for row in parts)
                return [] if is_own else [(row.path, row.guarded, 1.0) for row in parts[:MAX_PARTS]]
            return [] if path in seen.paths else [(standing.path, standing.guarded, 1.0)]
        if path in seen.paths or len(seen.paths) > MAX_DECLARED:
            return []
        found = nearest(path, sorted(seen.paths))
        guarded = all(row.guarded for row in seen.rows if row.path == found)
        return [(found, guarded, 1.0 if len(seen.paths) == 1 else 0.9)] if found is not None else []

    def _other_parts(self, path: str) -> Iterator[Edge]:
        """From one part of a type to those that declare members it names."""
        words = frozenset(self._names.known[path]["words"])
        project = self._names.projects.of(path)
        own: dict[str, set[str]] = {}  # partial type -> members that this file declares
        for row in self._names.of[path]:
            if row.partial and len(self._names.types[row.full]) > 1:
                own.setdefault(row.full, set()).update(row.members)
        for full, declared in own.items():
            members = self._names.members[full]
            fewer, more = (words, members) if len(words) < len(members) else (members, words)
            for word in sorted(word for word in fewer if word in more and word not in declared):
                for file in dict.fromkeys(part.path for part in members[word][:MAX_PARTS]):
                    if file != path and self._names.projects.of(file) == project:
                        yield Edge(path, file, "symbol")

    def _called_parts(self, path: str, named: Mapping[str, bool]) -> Iterator[Edge]:
        """To the parts of a type that declare a method called, where no other type named in the file has one such."""
        several = [
            full
            for full in named
            if full in self._names.members
            and 1 < len(self._names.types[full]) <= MAX_DECLARED
            and not self._is_here(path, full)
        ][:MAX_DECLARED]
        if not several:
            return
        calls = {name for name, _, _ in self._names.known[path]["calls"]}
        having: Counter[str] = Counter()
        for full in named:
            having.update(calls & self._all_members(full))
        calls = {name for name, count in having.items() if count == 1}
        for full in several:
            for name in calls:
                for part in self._names.members[full].get(name, ())[:MAX_PARTS]:
                    yield Edge(path, part.path, "symbol", named[full] or part.guarded, 0.6)

    def _all_members(self, full: str) -> frozenset[str]:
        """Members that any declaration of a type has."""
        rows = self._names.types[full]
        if len(rows) == 1:
            return rows[0].members
        if full not in self._united:
            self._united[full] = frozenset().union(*(row.members for row in rows))
        return self._united[full]

    def _is_here(self, path: str, full: str) -> bool:
        return any(row.path == path for row in self._names.types[full])

    def _extension_calls(self, path: str) -> Iterator[Edge]:
        scopes = self._names.scopes[path]
        in_scope = {level: False for scope in scopes for level in levels(scopes, scope)}
        for scope in scopes:
            for name, is_guarded in scope.usings:
                in_scope[name] = in_scope.get(name, True) and is_guarded
        for name, given, on in self._names.known[path]["calls"]:
            declaring = self._names.extensions.get(name)
            if declaring is None or len(declaring) > MAX_DECLARED or name in _COMMON:
                continue
            if on in self._names.names and self._names.find(path, len(scopes) - 1, -1, on) is not None:
                continue  # called on a type
            targets: dict[str, bool] = {}
            for file, namespace, guarded, fewest, most in declaring:
                if namespace in in_scope and fewest <= given <= most:
                    targets[file] = targets.get(file, True) and (guarded or in_scope[namespace])
            if len(targets) == 1 and path not in targets:
                ((file, guarded),) = targets.items()
                yield Edge(path, file, "symbol", guarded, 0.6)


def _standing(rows: list[Type]) -> Type:
    """The part that stands for a partial type: the one named after it, then one that says what it derives from."""
    simple = rows[0].full.rpartition(".")[2].partition("`")[0]

    def rank(row: Type) -> tuple[bool, bool, int, str]:
        stem = posixpath.basename(row.path).removesuffix(".cs")
        return stem != simple, not row.bases, len(row.path), row.path

    return min(rows, key=rank)
