"""What every machine with Lode on it has to read: the documentation and sources of its installed packages.

`installed:numpy` names a package, `installed:sympy.functions` a part of one, `installed:stdlib` and
`installed:stdlib.statistics` the standard library or a module of it, `installed:*` everything. Nothing that
is read is imported or run. Tests and caches stay out.
"""

import doctest
import functools
import importlib.metadata
import inspect
import os
import platform
import re
import sysconfig
from collections.abc import Iterator
from typing import Any, NamedTuple

import xxhash

from corpus.docpages import DocPage, Section
from corpus.docstrings import docstrings
from corpus.errors import LodeError

PREFIX = "installed:"
MIN_TEXT_CHARS = 200
MAX_SOURCE_BYTES = 2 << 20
PAGES_PER_PACKAGE = 600
PAGES_PER_MODULE = 120
_SKIPPED_FOLDERS = {
    "__pycache__",
    "test",
    "tests",
    "testing",
    "site-packages",
    "dist-packages",
    "node_modules",
}
_SKIPPED_FOLDERS |= {"idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data"}
_GUIDE = re.compile(r"(?i)^(readme|changes|changelog|history|news|usage|tutorial)([._-].*)?$")
_LEGAL = re.compile(r"(?i)licen[cs]e|copying|notice|authors")


class Package(NamedTuple):
    """A package with Python source: import name, version, absolute folder and licence (SPDX or as stated)."""

    name: str
    version: str
    folder: str
    licence: str | None


@functools.cache
def packages() -> tuple[Package, ...]:
    """The installed import packages that have Python source, and `stdlib`, sorted by name."""
    found = {"stdlib": Package("stdlib", platform.python_version(), _stdlib(), "PSF-2.0")}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"] or ""
        root = os.path.realpath(str(distribution.locate_file("")))
        if os.path.basename(root) not in ("site-packages", "dist-packages") or name.lower() == "lode":
            continue  # neither an editable checkout nor this program is anybody's documentation
        for top in sorted(_top_levels(distribution)):
            folder = os.path.join(root, top)
            if top not in found and os.path.isfile(os.path.join(folder, "__init__.py")):
                found[top] = Package(top, distribution.version, folder, _stated_licence(distribution))
    return tuple(found[name] for name in sorted(found))


def _stdlib() -> str:
    return os.path.realpath(sysconfig.get_paths()["stdlib"])


def _top_levels(distribution: importlib.metadata.Distribution) -> set[str]:
    if text := distribution.read_text("top_level.txt"):
        return {name for name in text.split() if name.isidentifier()}
    firsts = {file.parts[0] for file in distribution.files or () if len(file.parts) > 1}
    return {name for name in firsts if name.isidentifier() and name != "__pycache__"}


_CLASSIFIERS = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
}


def _stated_licence(distribution: importlib.metadata.Distribution) -> str | None:
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    stated = (metadata.get("License") or "").strip()
    if stated in ("MIT", "ISC") or re.fullmatch(r"[A-Za-z0-9.+]+(-[A-Za-z0-9.+]+)+", stated):
        return stated
    names = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
    known = [_CLASSIFIERS[name] for name in names if name in _CLASSIFIERS]
    if known:
        return known[0]
    return stated.split("\n")[0][:60] or (names[0] if names else None)


def resolve(spec: str) -> list[tuple[Package, str]]:
    """The packages a spec names, each with the dotted part of it that is meant ("" for all of it)."""
    name = spec.removeprefix(PREFIX)
    if name in ("*", ""):
        return [(package, "") for package in packages()]
    top, _, inside = name.partition(".")
    for package in packages():
        if package.name == top:
            if inside and not _place(package, inside):
                raise LodeError(f"{spec}: the package {top} {package.version} has no module {inside!r}.")
            return [(package, inside)]
    raise LodeError(f"{spec}: no package {top!r} with Python source is installed here.")


def _place(package: Package, inside: str) -> str | None:
    """The folder or file of a dotted name in a package, or None."""
    parts = inside.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    path = os.path.join(package.folder, *parts)
    return next((p for p in (path, f"{path}.py") if os.path.exists(p)), None)


class _Module(NamedTuple):
    package: Package
    name: str  # dotted, as a reader imports it
    path: str


def _files(package: Package, inside: str) -> Iterator[str]:
    """Absolute paths of a package's files in a fixed order, without tests and caches."""
    place = _place(package, inside) if inside else package.folder
    if place is None or os.path.isfile(place):
        yield from [place] if place else []
        return
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(f for f in folders if f not in _SKIPPED_FOLDERS and not f.startswith("."))
        if package.name == "stdlib" and folder == package.folder:
            folders[:] = [f for f in folders if f.isidentifier()]  # not config-3.11-x86_64-linux-gnu
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                yield path


def _modules(package: Package, inside: str) -> Iterator[_Module]:
    base = package.folder if package.name == "stdlib" else os.path.dirname(package.folder)
    for path in _files(package, inside):
        if path.endswith(".py") and os.path.getsize(path) <= MAX_SOURCE_BYTES:
            parts = os.path.relpath(path, base)[:-3].split(os.sep)
            if parts[-1] == "__init__":
                parts.pop()
            if parts and parts[-1] != "__main__" and all(part.isidentifier() for part in parts):
                yield _Module(package, ".".join(parts), path)


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_SOURCE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def documentation(spec: str) -> Iterator[DocPage]:
    """Every page of documentation a spec names: docstrings of modules, functions and classes, and guides."""
    for package, inside in resolve(spec):
        for module in _modules(package, inside):
            yield from module_pages(module.package, module.name, _read(module.path))
        yield from _guides(package, inside)


def module_pages(package: Package, module: str, source: str) -> list[DocPage]:
    """The pages of one module: one for itself, one for each public function and class with enough to say."""
    pages: dict[str, DocPage] = {}
    for doc in docstrings(source):
        sections = (
            [Section("", doc.text)]
            if doc.kind == "module"
            else [Section(doc.signature or doc.name, doc.text)]
        )
        sections += [Section(f"{doc.name}.{member.signature}", member.text) for member in doc.members]
        if sum(len(section.text) for section in sections) < MIN_TEXT_CHARS:
            continue
        name = _public(_join(package.name, module, doc.name))
        page = DocPage(package.name, package.version, name, doc.kind, "rst", tuple(sections))
        pages.setdefault(name, page)
    return list(pages.values())


def _join(package: str, module: str, name: str) -> str:
    """The dotted name of `name` in `module`; calls that attach docstrings state whole names themselves."""
    return name if name.split(".")[0] == package and "." in name else f"{module}.{name}" if name else module


def _public(name: str) -> str:
    """The name a reader uses: `numpy._core.fromnumeric.sum` is `numpy.core.fromnumeric.sum`."""
    return ".".join(part.lstrip("_") or part for part in name.split("."))


def _guides(package: Package, inside: str) -> Iterator[DocPage]:
    """README-like files, and the long description of the distribution."""
    for path in _files(package, inside):
        name, suffix = os.path.splitext(os.path.basename(path))
        suffix = suffix.lower()
        if suffix not in (".rst", ".md", ".txt", "") or _LEGAL.search(name):
            continue
        if suffix not in (".rst", ".md") and not _GUIDE.match(name):
            continue
        place = os.path.relpath(path, package.folder).replace(os.sep, "-")
        yield from _guide(package, place, {".rst": "rst", ".md": "markdown"}.get(suffix, "text"), _read(path))
    if not inside and package.name != "stdlib":
        metadata = _metadata(package.name)
        text = metadata.get_payload() if metadata else ""
        kind = (metadata.get("Description-Content-Type") or "text/x-rst") if metadata else ""
        yield from _guide(package, "overview", "markdown" if "markdown" in kind else "rst", text or "")


def _metadata(package: str) -> Any:
    for name in (package, package.replace("_", "-")):
        try:
            return importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _guide(package: Package, name: str, markup: str, text: str) -> Iterator[DocPage]:
    if len(text) >= MIN_TEXT_CHARS:
        slug = re.sub(r"[^A-Za-z0-9-]+", "-", name)
        sections = (Section("", text),)
        yield DocPage(package.name, package.version, f"{package.name}-{slug}", "document", markup, sections)


# --- a bounded choice, and a share of it ------------------------------------------------------------------


def pages_of_part(specs: list[str], part: int, parts: int, seed: int, cap: int) -> Iterator[list[DocPage]]:
    """The pages of one share of a crawl of `specs`, in groups that come from one module.

    At most about `cap` pages a package, from modules taken in the order of a seeded hash, so that no package
    fills the crawl; which modules those are is found without parsing, and a module belongs to one part, so
    that parts are cheap and independent.
    """
    for package, inside in _distinct(specs):
        for module in _chosen(package, inside, seed, cap):
            if _digest(f"{package.name}\n{module.name}", seed) % parts == part:
                pages = module_pages(package, module.name, _read(module.path))
                pages.sort(key=lambda page: (_digest(page.url, seed), page.url))
                yield pages[:PAGES_PER_MODULE]
        for page in _guides(package, inside):
            if _digest(page.url, seed) % parts == part:
                yield [page]


def _distinct(specs: list[str]) -> list[tuple[Package, str]]:
    found = {(package.name, inside): package for spec in specs for package, inside in resolve(spec)}
    whole = {name for name, inside in found if not inside}
    return [(found[key], key[1]) for key in sorted(found) if not key[1] or key[0] not in whole]


def _chosen(package: Package, inside: str, seed: int, cap: int) -> list[_Module]:
    """Modules in seeded order until their docstrings reach `cap`; the first half from modules with formulas.

    Mathematics is rare even in mathematical libraries, and a crawl to mine it from needs some.
    """
    sizes: dict[_Module, int] = {}
    formulas: set[_Module] = set()
    for module in _modules(package, inside):
        source = _read(module.path)
        # Every second piece between triple quotes is the inside of a string.
        strings = source.replace("'''", '"""').split('"""')[1::2]
        sizes[module] = min(PAGES_PER_MODULE, sum(len(text) >= MIN_TEXT_CHARS for text in strings))
        if ":math:" in source or ".. math::" in source:
            formulas.add(module)
    order = sorted(
        (module for module, size in sizes.items() if size),
        key=lambda m: (_digest(f"choose\n{m.name}", seed), m),
    )
    chosen: list[_Module] = []
    taken = 0
    for candidates, limit in (([m for m in order if m in formulas], cap // 2), (order, cap)):
        for module in candidates:
            if taken >= limit:
                break
            if module not in chosen:
                chosen.append(module)
                taken += sizes[module]
    return chosen


def _digest(key: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(key.encode(), seed)


# --- evaluation items -------------------------------------------------------------------------------------


def evaluation_items(spec: str) -> list[dict[str, str]]:
    """Questions with answers from the doctests of a spec: what a docstring says, a call, and what it prints.

    Items `{"id", "question", "answer"}` in the order of the sources.
    """
    items: dict[str, dict[str, str]] = {}
    parser = doctest.DocTestParser()
    for page in documentation(spec):
        for section in page.sections:
            try:
                pieces = parser.parse(inspect.cleandoc(section.text))
            except ValueError:
                continue
            prose, calls = "", []
            for piece in pieces:
                if isinstance(piece, str):
                    if piece.strip():
                        prose, calls = piece.strip(), []
                    continue
                calls.append(f">>> {piece.source.rstrip()}")
                if piece.want.strip() and not piece.want.startswith("Traceback"):
                    key = f"{page.name}:{section.signature.split('(')[0]}:{len(items)}"
                    # What stands right before an example says what it shows; all of it may be a manual.
                    question = prose.split("\n\n")[-1] + "\n\n" + "\n".join(calls)
                    items[key] = {"id": key, "question": question.strip(), "answer": piece.want.strip()}
    return list(items.values())


# --- source trees -----------------------------------------------------------------------------------------


def source_trees(max_bytes: int = 4 << 20, per_package: int = 8, min_files: int = 3) -> list[dict[str, Any]]:
    """Repositories to read here: `name`, `path` (a spec for the repository reader), `licence`, `version`.

    A package is one repository. One with more than `max_bytes` of source gives up to `per_package` of its
    parts instead (the largest that fit, part by part downwards), and the standard library gives each of its
    packages. Modules that stand directly in a divided folder are in no repository.
    """
    trees = []
    for package in packages():
        divided = package.name == "stdlib"
        parts = sorted(_coherent(package, "", max_bytes, min_files, divided), key=lambda p: (-p[1], p[0]))
        for inside, _ in parts if divided else parts[:per_package]:
            spec = f"{package.name}.{inside}" if inside else package.name
            trees.append(
                {
                    "name": spec.replace(".", "-"),
                    "path": PREFIX + spec,
                    "licence": package.licence,
                    "version": package.version,
                }
            )
    return sorted(trees, key=lambda tree: tree["name"])


def _coherent(
    package: Package, inside: str, max_bytes: int, min_files: int, divide: bool = False
) -> Iterator[tuple[str, int]]:
    """(dotted part, bytes) of the largest folders that are small enough to be a repository."""
    sizes = [os.path.getsize(path) for path in _files(package, inside) if path.endswith(".py")]
    if len(sizes) < min_files:
        return
    if sum(sizes) <= max_bytes and not divide:
        yield inside, sum(sizes)
        return
    place = _place(package, inside) if inside else package.folder
    for name in sorted(os.listdir(place)):
        is_package = os.path.isfile(os.path.join(place, name, "__init__.py"))
        if is_package and name.isidentifier() and name not in _SKIPPED_FOLDERS:
            yield from _coherent(package, f"{inside}.{name}".lstrip("."), max_bytes, min_files)


def tree_files(spec: str) -> tuple[list[tuple[str, str]], Package]:
    """The files of a source tree as (path in the repository, absolute path), sorted, and its package.

    Paths start at the folder that is on `sys.path`, so that the imports in the files resolve inside it.
    """
    ((package, inside),) = resolve(spec)
    base = package.folder if package.name == "stdlib" else os.path.dirname(package.folder)
    place = _place(package, inside) if inside else package.folder
    if place and os.path.isfile(place):
        return [(os.path.relpath(place, base).replace(os.sep, "/"), place)], package
    found = []
    for folder, folders, names in os.walk(place or package.folder):
        folders[:] = sorted(f for f in folders if f not in ("__pycache__", "site-packages", "dist-packages"))
        for name in names:
            path = os.path.join(folder, name)
            found.append((os.path.relpath(path, base).replace(os.sep, "/"), path))
    return sorted(found), package
