"""Names of JavaScript modules looked through re-exports to the files that declare them."""

from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge
from repo_ordering.languages.javascript_modules import Modules, is_typescript

MAX_STEPS = 300_000  # through re-exports, in one repository; past it a name counts as its module's own
MAX_BASES = 16
_DECLARATIONS = (".d.ts", ".d.mts", ".d.cts")
Place = tuple[str, str]  # file, name in it; `*` is the module as a namespace


class Links:
    """Symbol edges of the modules in `symbols` (see `javascript_names.read`), which comes sorted."""

    def __init__(self, symbols: Mapping[str, dict | None], modules: Modules) -> None:
        self._symbols = symbols
        self._find = modules.find
        self._steps = MAX_STEPS
        self._known: dict[Place, Place | None] = {}
        self._exports: dict[str, dict[str, Place]] = {}
        self._stars: dict[str, list[str]] = {}
        self._imports: dict[str, dict[str, tuple[str, str]]] = {}
        self._classes: dict[str, dict[str, tuple[str, frozenset[str]]]] = {}
        self._typedefs: dict[str, dict[str, tuple[str, str]]] = {}
        self._locals: dict[str, dict[str, str]] = {}
        self._declaring: dict[str, list[str]] = {}  # the files that declare a class of this name
        for path, found in symbols.items():
            if found is None:
                continue
            self._classes[path] = {name: (base, frozenset(own)) for name, base, own in found["classes"]}
            self._locals[path] = {exported: local for exported, local in found["exports"] if local}
            for name in self._classes[path] if not path.endswith(_DECLARATIONS) else ():
                self._declaring.setdefault(name, []).append(path)
            imports = self._imports[path] = {}
            for specifier, name, local in found["imports"]:
                target = self._find(path, specifier)
                if target is not None:
                    imports.setdefault(local, (target, name))
            for specifier, name, local in () if is_typescript(path) else found["typedefs"]:
                if (target := self._find(path, specifier)) is not None:
                    self._typedefs.setdefault(path, {}).setdefault(local, (target, name or "="))
            exports = self._exports[path] = {}
            for exported, local in found["exports"]:
                exports.setdefault(exported, imports.get(local, (path, "")))
            stars = self._stars[path] = []
            for specifier, name, exported in found["reexports"]:
                target = self._find(path, specifier)
                if exported == "*":
                    stars += [target] if target is not None and target not in stars else []
                else:
                    exports.setdefault(exported, (path, "") if target is None else (target, name))

    def edges(self) -> Iterator[Edge]:
        """An edge to each file that declares a name which another writes."""
        for path, found in self._symbols.items():
            if found is None:
                continue
            targets = {}
            spaces: dict[str, Place | None] = {}
            for local, (target, name) in self._imports[path].items():
                place = spaces[local] = self._declared(target, name)
                targets[place[0] if place else target] = None
            for specifier, name, _ in found["reexports"]:
                target = self._find(path, specifier)
                if target is not None:
                    place = self._declared(target, name)
                    targets[place[0] if place else target] = None
            for specifier, name in found["types"] + ([] if is_typescript(path) else found["documented"]):
                target = self._find(path, specifier)
                if target is not None:
                    place = self._declared(target, name)
                    targets[place[0] if place else target] = None
            for local, member in found["members"]:
                place = spaces.get(local)
                if place is not None and place[1] in ("*", "="):
                    place = self._declared(place[0], member)
                    if place is not None:
                        targets[place[0]] = None
            for target in targets:
                yield Edge(path, target, "symbol")
            for target, confidence in self._used(path, found["uses"]):
                yield Edge(path, target, "symbol", confidence=confidence)

    def _used(self, path: str, uses: list) -> Iterator[tuple[str, float]]:
        """The files that declare members of what has a plain type, or a class's name in lower case."""
        for kind, member in uses:
            place, confidence = self._type(path, kind), 1.0
            if place is None and len(self._declaring.get(kind, ())) == 1:
                place, confidence = (self._declaring[kind][0], kind), 0.6
            for _ in range(MAX_BASES):
                if place is None:
                    break
                base, own = self._classes.get(place[0], {}).get(place[1], ("", ()))
                if member in own:
                    yield place[0], confidence
                    break
                place = self._type(place[0], base) if base else None

    def _type(self, path: str, name: str) -> Place | None:
        """File and own name of the class that a module calls `name`."""
        if name in self._classes.get(path, ()):
            return path, name
        imported = self._imports.get(path, {}).get(name) or self._typedefs.get(path, {}).get(name)
        place = self._declared(*imported) if imported is not None else None
        if place is None:
            return None
        at, exported = place
        exported = "default" if exported in ("=", "*") else exported
        return at, self._locals.get(at, {}).get(exported, exported)

    def _declared(self, path: str, name: str) -> Place | None:
        """Where the export `name` of the module at `path` is declared; None where it has none."""
        start = (path, name)
        if start in self._known:
            return self._known[start]
        certain: list[Place] = []  # reached without a choice: what is found is theirs too
        is_certain = True
        waiting, seen = [start], set()
        answer: Place | None = None
        while waiting and self._steps > 0:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            self._steps -= 1
            if place in self._known:
                answer = self._known[place]
                if answer is not None:
                    break
                continue
            if is_certain:
                certain.append(place)
            at, name = place
            exports = self._exports.get(at)
            if exports is None or name in ("", "*"):
                answer = place if exports is not None or is_certain or name in ("", "*") else None
                if answer is not None:
                    break
                continue
            if name == "=" or (name == "default" and name not in exports):
                following = exports.get("default")
                if following is None or following[0] == at:
                    answer = (at, "=")
                    break
            else:
                following = exports.get(name)
            if following is not None:
                if following == (at, ""):
                    answer = (at, name)
                    break
                waiting = [following]
            else:
                stars = self._stars[at]
                is_certain = is_certain and len(stars) < 2
                waiting += [(star, name) for star in reversed(stars)]
        for place in certain if self._steps > 0 else ():
            self._known[place] = answer
        return answer
