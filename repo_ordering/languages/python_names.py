"""Python: imported names followed to the files that declare them."""

from collections.abc import Iterator, Mapping

from repo_ordering.languages.python_modules import Modules

MAX_STEPS = 100  # files a name is followed through, on average over the files
MAX_FOUND = 24  # declarations of one name

# What a name is: (path, entry) for an entry of the file's facts, (place, None) for a module.
Declarations = list[tuple[str, str | None]]


class Names:
    """Facts as `python_tree.read` gives them, by path; None where they are not known."""

    def __init__(self, symbols: Mapping[str, dict | None], modules: Modules) -> None:
        self.symbols = {path: found for path, found in symbols.items() if found is not None}
        self.modules = modules
        self.steps_left = MAX_STEPS * (len(self.symbols) + 500)
        self._found: dict[tuple[str, str], Declarations] = {}

    def named(self, path: str, entry: str) -> Declarations:
        """What an imported name means; as in a type checker, a relative import's modules are no symbols."""
        _, level, _, name = entry.split("\t")
        found = self.follow(path, entry) if name else []
        return [one for one in found if one[1] is not None or level == "0"]

    def files(self, found: Declarations) -> Iterator[str]:
        for path, entry in found:
            if entry is not None:
                yield path
            elif path in self.modules.declares:
                yield self.modules.declares[path]

    def lookup(self, path: str, name: str) -> Declarations:
        """Where `name` of the module at `path` is declared: (path, entry), or (place, None) for a module."""
        key = (path, name)
        if key not in self._found:
            self._found[key] = self._follow_from([key])
        return self._found[key]

    def follow(self, path: str, entries: str) -> Declarations:
        """The same for the entries of a name in a scope of the file at `path`."""
        found: Declarations = []
        waiting: list[tuple[str, str]] = []
        for entry in entries.split("\n"):
            if entry[0] == "I":
                self._step(path, entry, found, waiting)
            else:
                found.append((path, entry))
        return found + self._follow_from(waiting) if waiting else found

    def _step(self, path: str, entry: str, found: Declarations, waiting: list[tuple[str, str]]) -> None:
        _, level, module, name = entry.split("\t")
        place = self.modules.place(path, int(level), module)
        if place is None:
            return
        if not name:
            found.append((place, None))
            return
        target = self.modules.declares.get(place)
        if target is None or target == path or not self._has(target, name):
            below = f"{place}/{name}" if place else name
            if below in self.modules.declares or below in self.modules.folders:
                found.append((below, None))
                return
        if target is not None:
            if target in self.symbols:
                waiting.append((target, name))
            else:
                found.append((target, "?"))

    def _has(self, path: str, name: str) -> bool:
        symbols = self.symbols.get(path)
        return symbols is None or bool(symbols["stars"]) or name in symbols["scopes"][0][2]

    def _follow_from(self, waiting: list[tuple[str, str]]) -> Declarations:
        found: Declarations = []
        seen: set[tuple[str, str]] = set()
        line: list[tuple[str, str]] = []  # of keys that lead to one another and nowhere else
        is_line = True
        while waiting:
            is_line = is_line and len(waiting) == 1 and not found
            key = waiting.pop()
            if is_line:
                line.append(key)
            if key in seen:
                continue
            seen.add(key)
            if key in self._found:
                found += self._found[key]
                continue
            self.steps_left -= 1
            if self.steps_left < 0:
                break
            path, name = key
            symbols = self.symbols[path]
            entries = symbols["scopes"][0][2].get(name)
            if entries is None:
                before = len(found) + len(waiting)
                for level, module in reversed(symbols["stars"]):
                    place = self.modules.place(path, level, module)
                    target = self.modules.declares.get(place) if place is not None else None
                    if target in self.symbols and self._gives(target, name):
                        waiting.append((target, name))
                folder, _, last = path.rpartition("/")
                below = f"{folder}/{name}" if folder else name
                is_unknown = len(found) + len(waiting) == before
                if is_unknown and last.startswith("__init__.") and below in self.modules.declares:
                    found.append((below, None))
                continue
            for entry in entries.split("\n"):
                if entry[0] == "I":
                    self._step(path, entry, found, waiting)
                else:
                    found.append((path, entry))
        distinct = list(dict.fromkeys(found))[:MAX_FOUND]
        self._found.update(dict.fromkeys(line, distinct))
        return distinct

    def _gives(self, path: str, name: str) -> bool:
        """Whether `from module import *` may give `name`."""
        listed = self.symbols[path]["all"]
        return name in listed if listed is not None else not name.startswith("_")
