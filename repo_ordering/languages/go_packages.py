"""Go's packages: which files make one, what they declare, and which one an import path names."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from repo_ordering.edges import SourceFile

_MOST_PLACES = 64  # files of one package that declare one name, each for another platform
_LONGEST = 1024  # characters of an import path
_MOST_ROOTS = 64  # folders of one repository that claim one import path
_MODULE = re.compile(r"^[ \t]*+module[ \t]++[\"`]?([^\s\"`]+)", re.MULTILINE)
_REPLACE = re.compile(
    r"^[ \t]*+(?:replace[ \t]++)?([^\s()=]++)(?:[ \t]++v\S++)?[ \t]++=>[ \t]++(\.\.?/\S*+|\.\.?)",
    re.MULTILINE,
)


class Package:
    """What the files of one package declare: name -> places, a place being (file, kind, node)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.declared: dict[str, list[tuple[str, str, int]]] = {}
        self.types: dict[str, list[tuple[str, int]]] = {}
        self.methods: dict[str, dict[str, list[tuple[str, int]]]] = {}  # by type
        self.members: dict[str, dict[str, None]] = {}  # files, whatever the type

    def add(self, path: str, facts: Mapping) -> None:
        for kind, names in (("func", facts["functions"]), ("var", facts["variables"])):
            for name, node in names.items():
                if name not in ("_", "init", "main"):
                    _put(self.declared, name, (path, kind, node))
        for name, (node, is_alias) in facts["types"].items():
            _put(self.declared, name, (path, "alias" if is_alias else "type", node))
            _put(self.types, name, (path, node))
        for owner, methods in facts["methods"].items():
            own = self.methods.setdefault(owner, {})
            for name, node in methods.items():
                _put(own, name, (path, node))
                self._member(name, path)
        for fields, _ in facts["members"]:
            for name in fields:
                self._member(name, path)

    def _member(self, name: str, path: str) -> None:
        homes = self.members.setdefault(name, {})
        if len(homes) < 2:  # of more than one nothing is made
            homes[path] = None


def _put(table: dict[str, list], name: str, place: tuple) -> None:
    places = table.setdefault(name, [])
    if len(places) < _MOST_PLACES:
        places.append(place)


def _prefixes(target: str) -> Iterator[tuple[str, str]]:
    """(module that an import path may be of, what follows), the longest first."""
    end = len(target)
    while end > 0:
        yield target[:end], target[end:]
        end = target.rfind("/", 0, end)


class Packages:
    """The packages of a repository, by folder and name."""

    def __init__(self, facts: Mapping[str, Mapping], files: Mapping[str, SourceFile]) -> None:
        self.facts = facts
        self._packages: dict[tuple[str, str], Package] = {}
        names: dict[str, Counter[str]] = defaultdict(Counter)
        for path, found in facts.items():
            folder, name = posixpath.dirname(path), found["package"]
            self._packages.setdefault((folder, name), Package(name)).add(path, found)
            if not path.endswith("_test.go"):
                # Programs that make something (`//go:build ignore`) lie beside what they make it for.
                names[folder][name] += 1 if name == "main" or found["constrained"] else 1 << 20
        self._folders = {
            folder: self._packages[folder, min(found, key=lambda name: (-found[name], name))]
            for folder, found in names.items()
        }
        self._roots: list[tuple[str, str]] = []  # import path -> folder
        self._modules: set[str] = set()
        self._replaced: dict[str, dict[str, str]] = {}  # the same for the module in a folder alone
        self._replaced_by_all: dict[str, str] = {}  # and for a workspace
        self._manifests(files)
        if not self._roots:
            self._guess_root()
        self._by_module: dict[str, list[str]] = {}
        for module, root in sorted(set(self._roots)):
            self._by_module.setdefault(module, []).append(root)
        self._found: dict[tuple[str, str], Package | None] = {}

    def of(self, path: str) -> Package:
        """The package of a file."""
        return self._packages[posixpath.dirname(path), self.facts[path]["package"]]

    def imported(self, path: str, target: str) -> Package | None:
        """The package that a file imports, or None where it is not of this repository."""
        key = posixpath.dirname(path), target
        if key not in self._found:
            self._found[key] = self._find(*key)
        return self._found[key]

    def _find(self, folder: str, target: str) -> Package | None:
        if len(target) > _LONGEST:
            return None
        if target.startswith(("./", "../")) or target in (".", ".."):
            return self._folders.get(posixpath.normpath(posixpath.join(folder, target)).removeprefix("."))
        parts = folder.split("/") if folder else []
        if "/" in target or "." in target:
            for end in range(len(parts), -1, -1):  # `vendor` of this folder, or of one around it
                vendored = self._folders.get("/".join([*parts[:end], "vendor", target]))
                if vendored is not None:
                    return vendored
        own = self._module(folder)
        for replaced in (self._replaced.get(own, {}), self._replaced_by_all):
            for module, rest in _prefixes(target):
                if module in replaced:
                    return self._below(replaced[module], rest)
        for module, rest in _prefixes(target):
            roots = self._by_module.get(module, [])[:_MOST_ROOTS]
            shared = {root: len(posixpath.commonprefix([root.split("/"), parts])) for root in roots}
            for root in sorted(roots, key=lambda root: (-shared[root], root)):
                found = self._below(root, rest)
                if found is not None:
                    return found
        return self._folders.get(f"src/{target}")  # a GOPATH

    def _below(self, root: str, rest: str) -> Package | None:
        folder = posixpath.join(root, rest.strip("/")).rstrip("/")
        inner = self._module(folder)  # a module inside this one is not of it
        return self._folders.get(folder) if len(inner) <= len(root) else None

    def _module(self, folder: str) -> str:
        """The folder of the module that a folder is of."""
        while folder and folder not in self._modules:
            folder = folder.rpartition("/")[0]  # `posixpath.dirname` never gets above "/"
        return folder

    def _manifests(self, files: Mapping[str, SourceFile]) -> None:
        for path in sorted(files):
            name = posixpath.basename(path)
            if name not in ("go.mod", "go.work"):
                continue
            folder, text = posixpath.dirname(path), files[path].text
            module = _MODULE.search(text)
            if module and name == "go.mod" and "/vendor/" not in f"/{path}":
                self._roots.append((module[1], folder))
                self._modules.add(folder)
            for old, target in _REPLACE.findall(text):
                root = posixpath.normpath(posixpath.join(folder, target))
                if not root.startswith(".."):
                    is_module = name == "go.mod"
                    replaced = self._replaced.setdefault(folder, {}) if is_module else self._replaced_by_all
                    replaced.setdefault(old, root.removeprefix("."))

    def _guess_root(self) -> None:
        """Before modules a repository's import path was where it was hosted: a comment says it, or imports agree."""
        for path, found in self.facts.items():
            folder, canonical = posixpath.dirname(path), found["path"]
            if canonical and (canonical == folder or canonical.endswith(f"/{folder}") or not folder):
                self._roots = [(canonical[: len(canonical) - len(folder)].rstrip("/"), "")]
                return
        rests: dict[str, set[str]] = defaultdict(set)
        for found in self.facts.values():
            for _, target in found["imports"]:
                parts = target.split("/")
                if "." in parts[0]:
                    for size in (2, 3):
                        if len(parts) > size:
                            rests["/".join(parts[:size])].add("/".join(parts[size:]))
        votes = []
        for root, found_rests in rests.items():
            here = sum(rest in self._folders for rest in found_rests)
            if here and 2 * here >= len(found_rests):
                votes.append((-here, -len(root), root))
        if votes:
            self._roots = [(min(votes)[2], "")]
