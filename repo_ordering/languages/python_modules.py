"""Python: the modules of a repository, by the paths the import system would look for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from repo_ordering.edges import Edge

SUFFIXES = (".py", ".pyi")


class Modules:
    """Where the repository's modules are: a module is named here by its path without suffix."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.file: dict[str, str] = {}
        paths = list(paths)
        stubs = sorted(path for path in paths if path.endswith(".pyi"))
        for path in sorted(paths, reverse=True):  # `a.py` after `a.pyi`, so that the implementation wins
            stem = path[: path.rindex(".")]
            folder, _, last = stem.rpartition("/")
            if last == "__init__":
                self.file[folder] = path
            else:
                self.file.setdefault(stem, path)
                if not path.endswith(".pyi"):
                    self.file[stem] = path
        for path in sorted(self.file.values()):  # a package hides a module of the same name
            folder, _, last = path.rpartition("/")
            if last == "__init__.py":
                self.file[folder] = path
        # Names are declared in a module's stub, where it has one, and in its twin, the implementation.
        self.declares = dict(self.file)
        self.twins: dict[str, str] = {}
        for path in stubs:
            stem = path.removesuffix(".pyi")
            folder, _, last = stem.rpartition("/")
            place = folder if last == "__init__" else stem
            self.declares[place] = path
            if self.file[place] == path[:-1]:
                self.twins[path] = path[:-1]
        self.folders = {""}
        for stem in self.file:
            while (stem := _folder(stem)) not in self.folders:
                self.folders.add(stem)
        self.packages = {
            _folder(path) for path in self.file.values() if path.rpartition("/")[2].startswith("__init__.")
        }
        # First components of absolute imports: whatever lies outside every package.
        self.tops: set[str] = set()
        # Of those, what may be imported from anywhere: packages, and modules in a source root. A stray
        # `tools/types.py` must not catch `import types`.
        self.anywhere: dict[str, str] = {}
        places = set(self.file) | self.folders
        for place in sorted(places, key=lambda place: (place.count("/"), place)):
            parent, _, name = place.rpartition("/")
            if name and parent not in self.packages:
                self.tops.add(place)
                if place in self.packages or parent.rpartition("/")[2] in ("src", "lib", "python"):
                    self.anywhere.setdefault(name, place)
        self.root_name: str | None = None
        self._roots: dict[tuple[str, str], str | None] = {}
        self._places: dict[tuple[str, int, str], str | None] = {}

    def name_root(self, facts: Mapping[str, list]) -> None:
        """Guess what a repository whose root is itself a package calls itself.

        It is the first component under which its own modules are most often imported.
        """
        if "" not in self.packages:
            return
        votes = Counter(
            module.split(".")[0]
            for entries in facts.values()
            for level, module, _ in entries
            if not level and "/".join(module.split(".")[1:]) in self.file and "." in module
        )
        if votes:
            self.root_name = min(votes, key=lambda name: (-votes[name], name))

    def _root(self, first: str, folder: str) -> str | None:
        """The place `first` names in an absolute import of a file in `folder`, None for a module from elsewhere."""
        if first == self.root_name:
            return ""
        key = (folder, first)
        if key not in self._roots:
            while (place := f"{folder}/{first}" if folder else first) not in self.tops and folder:
                folder = _folder(folder)
            self._roots[key] = place if place in self.tops else self.anywhere.get(first)
        return self._roots[key]

    def edges(self, path: str, module: str, names: list[str]) -> Iterator[Edge]:
        """What `from module import names` in the file at `path` means."""
        own = self.file.get(module)
        targets = [self.file.get(f"{module}/{name}" if module else name, own) for name in names] or [own]
        for target in dict.fromkeys(targets):
            if target is not None and target != path:
                yield Edge(path, target)

    def place(self, path: str, level: int, module: str) -> str | None:
        """The place that a statement in the file at `path` names, None for a module from elsewhere.

        `level` counts the dots before `module`. There need not be a file of that place.
        """
        key = (_folder(path), level, module)
        if key not in self._places:
            self._places[key] = self._place(*key)
        return self._places[key]

    def _place(self, folder: str, level: int, module: str) -> str | None:
        parts = module.split(".") if module else []
        if not level:
            root = self._root(parts[0], folder) if parts else None
            return None if root is None else "/".join([root, *parts[1:]] if root else parts[1:])
        for _ in range(level - 1):
            if not folder:
                return None
            folder = _folder(folder)
        return "/".join([folder, *parts] if folder else parts)


def _folder(path: str) -> str:
    """The folder of a file or folder, "" at the top: unlike `dirname`, also of what starts with a slash."""
    return path.rpartition("/")[0]
