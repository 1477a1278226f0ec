"""Which file a module specifier names: relative paths, `tsconfig.json`, `package.json`, workspaces.

The rules are those of Node (`exports`, `imports`, self reference) and of TypeScript (`paths`, `baseUrl`, `extends`,
`.js` standing for `.ts`). Where a package points to files that its build makes, the source they are made of is meant.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping

from repo_ordering.edges import SourceFile
from repo_ordering.languages.javascript_manifests import read_json, targets_of
from repo_ordering.languages.javascript_text import TYPES

_TYPESCRIPT = (".ts", ".tsx", ".mts", ".cts")
_TYPESCRIPT_FIRST = (
    ".ts",
    ".tsx",
    ".d.ts",
    ".js",
    ".jsx",
    ".mts",
    ".cts",
    ".mjs",
    ".cjs",
    ".json",
    ".vue",
    ".svelte",
)
_JAVASCRIPT_FIRST = (
    ".js",
    ".jsx",
    ".mjs",
    ".cjs",
    ".json",
    ".ts",
    ".tsx",
    ".d.ts",
    ".mts",
    ".cts",
    ".vue",
    ".svelte",
)
_STANDS_FOR = {
    ".js": (".ts", ".tsx", ".d.ts"),
    ".jsx": (".tsx", ".d.ts"),
    ".mjs": (".mts", ".d.mts"),
    ".cjs": (".cts", ".d.cts"),
}
_SUFFIX = re.compile(r"(?:\.d)?\.[cm]?[jt]sx?$")
MAX_EXTENDS = 32
MOST_BUILD_FOLDERS = 3  # `dist/esm/x.js` is made of `src/x.ts`


def is_typescript(path: str) -> bool:
    """Whether the file's suffix is one of TypeScript's."""
    return path.endswith(_TYPESCRIPT)


class Modules:
    """Finds the files that specifiers name; its answers do not depend on the order of `files`."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        self._files = files
        self._manifests: dict[str, dict] = {}  # by folder
        self._packages: dict[str, str] = {}  # name -> folder, the shallowest
        self._configs: dict[str, dict] = {}  # by path
        self._installed: set[str] = set()  # folders of packages in folders `node_modules`
        for path in sorted(files, key=lambda path: (path.count("/"), path)):
            folder, _, name = path.rpartition("/")
            if name == "package.json":
                manifest = read_json(files[path].text)
                self._manifests[folder] = manifest
                called = manifest.get("name")
                if isinstance(called, str) and called and "node_modules" not in path.split("/"):
                    self._packages.setdefault(called, folder)
            elif name.endswith(".json") and name.startswith(("tsconfig", "jsconfig")):
                self._configs[path] = read_json(files[path].text)
            if "node_modules/" in path:
                head, _, tail = path.rpartition("node_modules/")
                parts = tail.split("/")
                depth = 2 if tail.startswith("@") else 1
                if (not head or head.endswith("/")) and len(parts) > depth:
                    self._installed.add(head + "node_modules/" + "/".join(parts[:depth]))
        self._nearest: dict[tuple[str, tuple[str, ...]], str | None] = {}
        self._options: dict[str, tuple[str | None, list[tuple[str, list[str]]]]] = {}
        self._found: dict[tuple[str, bool, str], str | None] = {}

    def find(self, path: str, specifier: str, is_typed: bool = False) -> str | None:
        """The file of the repository that `specifier` means in the file at `path`.

        Where code and its declarations stand side by side, JavaScript means the code unless `is_typed`.
        """
        folder = path.rpartition("/")[0]
        is_typed = is_typed or is_typescript(path)
        key = (folder, is_typed, specifier)
        if key not in self._found:
            suffixes = _TYPESCRIPT_FIRST if is_typed else _JAVASCRIPT_FIRST
            self._found[key] = self._find(folder, specifier.rpartition("!")[2], suffixes)
        return self._found[key]

    def _find(self, folder: str, specifier: str, suffixes: tuple[str, ...]) -> str | None:
        plain = specifier.partition("?")[0]
        if plain.startswith(TYPES):
            plain = plain.removeprefix(TYPES)
            if not plain.startswith("."):
                return self._rooted(folder, plain, suffixes) or self._package(folder, plain, suffixes)
        if plain.startswith("."):
            last = plain.split("/")[-1]
            base = posixpath.normpath(posixpath.join(folder, plain))
            if base == ".." or base.startswith("../"):
                return None
            return self._module("" if base == "." else base, suffixes, last in ("", ".", ".."))
        if not plain or plain.startswith("/") or ":" in plain:
            return None
        if plain.startswith("#"):
            found = self._imported(folder, plain, suffixes)
            if found is not None:
                return found
        return self._mapped(folder, plain, suffixes) or self._package(folder, plain, suffixes)

    def _module(self, base: str, suffixes: tuple[str, ...], folder_only: bool = False) -> str | None:
        """The file a path without certain suffix names: exact, a `.js` that is really `.ts`, suffix, folder."""
        tries: list[str] = []
        if not folder_only:
            stem, suffix = posixpath.splitext(base)
            stand_ins = [stem + other for other in _STANDS_FOR.get(suffix, ())]
            tries += [*stand_ins, base] if suffixes is _TYPESCRIPT_FIRST else [base, *stand_ins]
            tries += [base + suffix for suffix in suffixes]
        found = next((candidate for candidate in tries if candidate in self._files), None)
        if found is not None:
            return found
        manifest = self._manifests.get(base, {})
        for field in ("types", "typings", "module", "main"):
            entry = manifest.get(field)
            if isinstance(entry, str) and (found := self._built(base, entry, suffixes)) is not None:
                return found
        tries = [posixpath.join(base, "index" + suffix) for suffix in suffixes]
        return next((candidate for candidate in tries if candidate in self._files), None)

    # package.json

    def _package(self, folder: str, specifier: str, suffixes: tuple[str, ...]) -> str | None:
        parts = specifier.split("/")
        depth = 2 if specifier.startswith("@") else 1
        name, rest = "/".join(parts[:depth]), "/".join(parts[depth:])
        root = self._installed_above(folder, name)
        own = self._up(folder, ("package.json",)) if root is None else None
        if own is not None and self._manifests[own.rpartition("/")[0]].get("name") == name:
            root = own.rpartition("/")[0]
        root = self._packages.get(name) if root is None else root
        if root is None:
            return None
        manifest = self._manifests.get(root, {})
        for target in targets_of(manifest.get("exports"), "./" + rest if rest else ".", "."):
            if (found := self._built(root, target, suffixes)) is not None:
                return found
        if not rest:
            for field in ("source", "types", "typings", "module", "main", "browser"):
                entry = manifest.get(field)
                if isinstance(entry, str) and (found := self._built(root, entry, suffixes)) is not None:
                    return found
        for base in (posixpath.join(root, "src", rest), posixpath.join(root, rest)):
            found = self._module(base.rstrip("/"), suffixes, not rest)
            if found is not None:
                return found
        return None

    def _installed_above(self, folder: str, name: str) -> str | None:
        """The folder of a package, or of types for it, in the nearest `node_modules` that Node would look into."""
        plain = name.removeprefix("@").replace("/", "__")
        while self._installed:
            for installed in (name, f"@types/{plain}"):
                if (root := posixpath.join(folder, "node_modules", installed)) in self._installed:
                    return root
            if not folder:
                break
            folder = posixpath.dirname(folder)
        return None

    def _imported(self, folder: str, specifier: str, suffixes: tuple[str, ...]) -> str | None:
        own = self._up(folder, ("package.json",))
        if own is None:
            return None
        root = own.rpartition("/")[0]
        for target in targets_of(self._manifests[root].get("imports"), specifier, "#"):
            if target.startswith("."):
                found = self._built(root, target, suffixes)
            else:
                found = None if target.startswith("#") else self._package(root, target, suffixes)
            if found is not None:
                return found
        return None

    def _built(self, root: str, target: str, suffixes: tuple[str, ...]) -> str | None:
        """The file that an entry of a manifest names, or the source that it is built of."""
        base = posixpath.normpath(posixpath.join(root, target))
        if base == ".." or base.startswith("../"):
            return None
        if base in self._files:
            return base
        if base not in ("", ".", root) and (found := self._plain(base, suffixes)) is not None:
            return found
        if root and not base.startswith(root + "/"):
            return None
        parts = _SUFFIX.sub("", base[len(root) + 1 if root else 0 :]).split("/")
        for cut in range(min(MOST_BUILD_FOLDERS, len(parts) - 1) + 1):
            inner = "/".join(parts[cut:])
            for folder in (posixpath.join(root, "src"), root) if cut else (posixpath.join(root, "src"),):
                found = self._plain(posixpath.join(folder, inner), suffixes)
                if found is not None:
                    return found
        return None

    def _plain(self, base: str, suffixes: tuple[str, ...]) -> str | None:
        stem = _SUFFIX.sub("", base)
        tries = [base, *(stem + suffix for suffix in suffixes)]
        tries += [posixpath.join(stem, "index" + suffix) for suffix in suffixes]
        return next((candidate for candidate in tries if candidate in self._files), None)

    # tsconfig.json

    def _mapped(self, folder: str, specifier: str, suffixes: tuple[str, ...]) -> str | None:
        config = self._up(folder, ("tsconfig.json", "jsconfig.json"))
        if config is None:
            return None
        base, paths = self._compiler_options(config)
        best: tuple[int, list[str], str] | None = None
        for pattern, targets in paths:
            head, star, tail = pattern.partition("*")
            if not star:
                if pattern == specifier:
                    best = (len(pattern) + 1, targets, "")
                    break
            elif (
                len(specifier) >= len(head) + len(tail)
                and specifier.startswith(head)
                and specifier.endswith(tail)
            ) and (best is None or len(head) > best[0]):
                best = (len(head), targets, specifier[len(head) : len(specifier) - len(tail)])
        for target in best[1] if best is not None else ():
            found = self._inside(posixpath.normpath(target.replace("*", best[2], 1)), suffixes)
            if found is not None:
                return found
        return (
            None
            if base is None
            else self._inside(posixpath.normpath(posixpath.join(base, specifier)), suffixes)
        )

    def _rooted(self, folder: str, name: str, suffixes: tuple[str, ...]) -> str | None:
        """The declarations of a name in the nearest configuration's `typeRoots`."""
        config = self._up(folder, ("tsconfig.json", "jsconfig.json"))
        options = self._configs[config].get("compilerOptions") if config is not None else None
        roots = options.get("typeRoots") if isinstance(options, dict) else None
        for root in roots if isinstance(roots, list) else ():
            if isinstance(root, str):
                base = posixpath.normpath(posixpath.join(posixpath.dirname(config), root, name))
                if (found := self._inside(base, suffixes)) is not None:
                    return found
        return None

    def _inside(self, base: str, suffixes: tuple[str, ...]) -> str | None:
        if base == ".." or base.startswith("../"):
            return None
        return self._module("" if base == "." else base, suffixes)

    def _compiler_options(self, config: str) -> tuple[str | None, list[tuple[str, list[str]]]]:
        """`baseUrl` as a folder, and `paths` with their targets below the repository's root."""
        if config not in self._options:
            base, paths = None, None
            waiting, seen = [config], set()
            while waiting and len(seen) < MAX_EXTENDS:
                path = waiting.pop(0)
                if path in seen or path not in self._configs:
                    continue
                seen.add(path)
                read, folder = self._configs[path], posixpath.dirname(path)
                options = read.get("compilerOptions")
                options = options if isinstance(options, dict) else {}
                here = options.get("baseUrl")
                here = posixpath.normpath(posixpath.join(folder, here)) if isinstance(here, str) else None
                base = base if base is not None else here
                if paths is None and isinstance(options.get("paths"), dict):
                    paths = [
                        (pattern, [posixpath.join(here or folder, t) for t in targets if isinstance(t, str)])
                        for pattern, targets in options["paths"].items()
                        if isinstance(targets, list)
                    ]
                waiting = [*self._extended(folder, read), *waiting, *self._referred(folder, read)]
            self._options[config] = (base, paths or [])
        return self._options[config]

    def _extended(self, folder: str, read: dict) -> Iterator[str]:
        parents = read.get("extends")
        for parent in reversed(parents) if isinstance(parents, list) else [parents]:
            if not isinstance(parent, str):
                continue
            if not parent.startswith("."):
                parts = parent.split("/")
                depth = 2 if parent.startswith("@") else 1
                root = self._packages.get("/".join(parts[:depth]))
                if root is None:
                    continue
                path = posixpath.join(root, *(parts[depth:] or ["tsconfig.json"]))
            else:
                path = posixpath.normpath(posixpath.join(folder, parent))
            yield path if path in self._configs else path + ".json"

    def _referred(self, folder: str, read: dict) -> Iterator[str]:
        """Projects that a configuration only gathers: it has no files of its own."""
        references = read.get("references")
        if read.get("files") == [] and isinstance(references, list):
            for reference in references:
                path = reference.get("path") if isinstance(reference, dict) else None
                if isinstance(path, str):
                    path = posixpath.normpath(posixpath.join(folder, path))
                    yield path if path in self._configs else posixpath.join(path, "tsconfig.json")

    def _up(self, folder: str, names: tuple[str, ...]) -> str | None:
        """The nearest file of one of these names in the folder or above it."""
        passed = []
        at = folder
        found = None
        while True:
            if (at, names) in self._nearest:
                found = self._nearest[at, names]
                break
            passed.append(at)
            found = next((p for name in names if (p := posixpath.join(at, name)) in self._files), None)
            if found is not None or not at:
                break
            at = posixpath.dirname(at)
        for at in passed:
            self._nearest[at, names] = found
        return found
