"""C, C++ and their kin: from an implementation to its header, and from a call to the file that defines the function.

Neither shows in a graph of includes: there a file never depends on the one that defines what it calls. What links
them is a header that declares the name and that a file includes, if only by way of others.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from repo_ordering.cycles import strongly_connected
from repo_ordering.edges import Edge, Facts, merged
from repo_ordering.places import TEST_FOLDERS

HEADERS = (".h", ".hh", ".hpp", ".hxx", ".h++", ".cuh", ".inl", ".ipp", ".tpp", ".inc")
# Members of the standard library's classes: of whose object they are called, the name does not tell.
_MEMBER_NAMES = """
    append assign at back begin cbegin cend c_str capacity clear close compare count data emplace emplace_back empty
    end erase fail find first front get good insert join length load lock max min name open pop pop_back pop_front
    push push_back push_front rbegin read release rend reset reserve resize second size start stop store str substr
    swap top type unlock value what write
"""
_MEMBERS = frozenset(_MEMBER_NAMES.split())
MAX_ALIKE = 64  # files that define or declare one name; more, and the name says nothing
MAX_HEADERS = 1 << 15  # whose reach is followed
MAX_VARIANTS = 16  # definitions of one name, for as many platforms
MAX_EXPANDED = 4096  # names that the macros of one file bring in


def link_edges(facts: Mapping[str, Facts], includes: Sequence[Edge]) -> Iterator[Edge]:
    """Edges of kind `header` and `symbol` of the files in `facts`, given their includes."""
    names = _Names(facts)
    reach = _Reach(facts, includes, names.declarers())
    implements: dict[str, set[str]] = {}  # file -> headers that declare what it defines
    for path, reached in reach.of_each():
        symbols = facts[path].symbols
        if symbols is not None:
            for edge in _headers(path, symbols, names, reached):
                implements.setdefault(path, set()).add(edge.target)
                yield edge
    for path, reached in reach.of_each():
        symbols = facts[path].symbols
        if symbols is not None:
            yield from _calls(path, symbols, names, reached, implements)


class _Names:
    """Which files define and declare the names of a repository."""

    def __init__(self, facts: Mapping[str, Facts]) -> None:
        self.defined: dict[str, list[tuple[str, str, bool]]] = defaultdict(
            list
        )  # last part -> file, name, static
        self.declared: dict[str, list[str]] = defaultdict(list)
        self.macros: dict[str, list[tuple[str, list[str], bool]]] = defaultdict(list)  # file, calls, if
        self.defined_if: dict[str, set[str]] = {}  # file -> what of it depends on an `#if`
        self.stems: dict[tuple[str, str], list[str]] = defaultdict(list)  # folder, stem -> headers
        for path in sorted(facts):
            if path.endswith(HEADERS):
                folder, name = posixpath.split(path)
                self.stems[folder, name.partition(".")[0]].append(path)
            symbols = facts[path].symbols
            if symbols is None:
                continue
            self.defined_if[path] = set(symbols["defined_if"])
            for key, is_static in (("defined", False), ("static", True)):
                for name in symbols[key]:
                    self.defined[last_part(name)].append((path, name, is_static))
            only_if = set(symbols["macros_if"])
            for name, calls in symbols["macros"].items():
                self.macros[name].append((path, calls, name in only_if))
        for path in sorted(facts):
            symbols = facts[path].symbols
            for name in symbols["declared"] if symbols is not None else ():
                if last_part(name) in self.defined:
                    self.declared[name].append(path)
        for index in (self.defined, self.declared, self.macros):
            for name in [name for name, paths in index.items() if len(paths) > MAX_ALIKE]:
                del index[name]

    def declarers(self) -> list[str]:
        """Files whose declarations, definitions or macros others may see by including them."""
        found = {path for paths in self.declared.values() for path in paths}
        found.update(path for paths in self.macros.values() for path, _, _ in paths)
        found.update(path for paths in self.defined.values() for path, _, _ in paths)
        return sorted(found)


class _Reached:
    """The files that a file includes, itself among them, and by way of others."""

    def __init__(self, path: str, number: Mapping[str, int], bits: int) -> None:
        self._path = path
        self._number = number
        self._bits = bits.to_bytes(len(number) // 8 + 1, "little")

    def __contains__(self, path: str) -> bool:
        number = self._number.get(path)
        return path == self._path or (
            number is not None and bool(self._bits[number >> 3] >> (number & 7) & 1)
        )


class _Reach:
    """What every file reaches; as bits of a number, because the sets of a large repository are too many to hold."""

    def __init__(
        self, facts: Mapping[str, Facts], includes: Sequence[Edge], declarers: Sequence[str]
    ) -> None:
        pairs = sorted({(edge.source, edge.target) for edge in includes if edge.target in facts})
        self._included = {target for _, target in pairs}
        seen = [path for path in declarers if path in self._included][:MAX_HEADERS]
        self._number = {path: number for number, path in enumerate(seen)}
        self._targets: dict[str, list[str]] = defaultdict(list)
        for source, target in pairs:
            self._targets[source].append(target)
        self._components = list(strongly_connected(facts, pairs))

    def of_each(self) -> Iterator[tuple[str, _Reached]]:
        bits: dict[str, int] = {}  # of files that others include
        for component in self._components:
            union = 0
            for path in component:
                if path in self._number:
                    union |= 1 << self._number[path]
                for target in self._targets.get(path, ()):
                    union |= bits.get(target, 0)
            for path in component:
                if path in self._included:
                    bits[path] = union
                yield path, _Reached(path, self._number, union)


def _headers(path: str, symbols: Mapping, names: _Names, reached: _Reached) -> Iterator[Edge]:
    if path.endswith(HEADERS):
        return
    headers = {
        header
        for name in symbols["defined"]
        for header in names.declared.get(name, ())
        if header in reached and header.endswith(HEADERS)
    }
    for header in sorted(headers):
        yield Edge(path, header, "header", False, 1.0)
    if not headers:
        folder, name = posixpath.split(path)
        alike = names.stems.get((folder, name.partition(".")[0]), ())
        if len(alike) == 1:
            yield Edge(path, alike[0], "header", False, 0.9)


def _calls(
    path: str, symbols: Mapping, names: _Names, reached: _Reached, implements: Mapping[str, set[str]]
) -> Iterator[Edge]:
    own = {last_part(name) for key in ("defined", "static") for name in symbols[key]}
    bound = set(symbols["bound"])
    found: list[Edge] = []
    for call, only_if in _expanded(symbols, names, reached):
        last = last_part(call)
        if last in own or (call.startswith(".") and last in _MEMBERS):
            continue
        seen = [
            (target, name)
            for target, name, is_static in names.defined.get(last, ())
            if target in reached or not (is_static or target.endswith(HEADERS))
        ]
        if len({target for target, _ in seen}) > 1:
            # Of files that define it, those that this one includes, or whose header makes it known here.
            by = {header for _, name in seen for header in names.declared.get(name, ()) if header in reached}
            seen = (
                [one for one in seen if one[0] in reached]
                or [one for one in seen if by & implements.get(one[0], set())]
                or seen
            )
        targets, confidence = _meant(path, call, seen, names, reached, call in bound)
        for target in targets:
            alone = {name for other, name in seen if other == target} - names.defined_if[target]
            guarded = only_if or len(targets) > 1 or not alone
            found.append(Edge(path, target, "symbol", guarded, confidence))
    yield from merged(found)


def _expanded(symbols: Mapping, names: _Names, reached: _Reached) -> Iterator[tuple[str, bool]]:
    """The calls, those of macros that the file can see replaced by what these call; and whether only under an `#if`."""
    only_if = set(symbols["called_if"])
    waiting = [(call, call in only_if) for call in reversed(symbols["called"])]
    seen = set(waiting)
    left = MAX_EXPANDED
    while waiting:
        call, guarded = waiting.pop()
        meanings = [
            (calls, is_if) for header, calls, is_if in names.macros.get(call, ()) if header in reached
        ]
        if not meanings or any(call in calls for calls, _ in meanings):  # no macro expands in itself
            yield call, guarded
        sure = len(meanings) == 1
        for calls, is_if in meanings:
            inner = [(name, guarded or is_if or not sure) for name in calls]
            new = [one for one in inner if one not in seen][:left]
            left -= len(new)
            seen.update(new)
            waiting += new


def _meant(
    path: str, call: str, seen: Sequence[tuple[str, str]], names: _Names, reached: _Reached, is_bound: bool
) -> tuple[list[str], float]:
    """The file that defines what is called, of those that define a function of that name for others, and how sure.

    Several where each is another platform's: the build takes one of them.
    """
    is_member = call.startswith(".")
    if is_member:
        seen = [(target, name) for target, name in seen if "::" in name]
    elif "::" in call:
        seen = [(target, name) for target, name in seen if name == call]
    declared = {
        target
        for target, name in seen
        if target in reached or any(header in reached for header in names.declared.get(name, ()))
    }
    if is_member:  # of whatever class; so it must be the only one, and of a class that the file can know
        targets = {target for target, _ in seen}
        return (sorted(targets), 0.6) if len(targets) == 1 and targets == declared else ([], 0.0)
    if declared:
        one_name = len({name for target, name in seen if target in declared}) == 1
        targets = _variants(path, declared) if one_name else sorted(declared)
        return (
            (targets, 0.9) if len(targets) == 1 or (one_name and len(targets) <= MAX_VARIANTS) else ([], 0.0)
        )
    if is_bound:  # a parameter of the file has that name
        return [], 0.0
    targets = sorted({target for target, name in seen if "::" in call or "::" not in name})
    return (targets, 0.6) if len(targets) == 1 and _is_near(path, targets[0]) else ([], 0.0)


def _variants(path: str, targets: Iterable[str]) -> list[str]:
    """Of several definitions of one name the nearest: a file of `unix/` is not linked with one of `win/`."""
    folder = "/" + posixpath.dirname(path)
    shared = {
        target: len(posixpath.commonpath([folder, "/" + posixpath.dirname(target)])) for target in targets
    }
    most = max(shared.values())
    return sorted(target for target, length in shared.items() if length == most)


def _is_near(path: str, target: str) -> bool:
    """Whether the two may well be linked into one program: in one part of the repository, the target no test's."""
    mine, theirs = path.split("/"), target.split("/")
    return mine[0] == theirs[0] and (
        not TEST_FOLDERS.intersection(theirs) or bool(TEST_FOLDERS.intersection(mine))
    )


def last_part(name: str) -> str:
    """The name alone of a call or a scoped name."""
    return name.rpartition("::")[2].removeprefix(".")
