"""Edges between languages: where code names a file, a class or a library that is written in another one.

No compiler joins two languages, so these are conventions: file names in strings (templates, queries, shaders, data),
template inheritance, protobuf files and what is generated from them, native methods of the JVM, cgo, libraries loaded
by name, extension modules. Each carries the confidence that its convention deserves.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from corpus.languages import kind_of
from repo_ordering.edges import Edge, SourceFile
from repo_ordering.languages import MODULES
from repo_ordering.places import nearest

MAX_CHARS = 1 << 20  # a longer file is data or generated
_MOST = 256  # different names of one kind in one file; more is a table
_MOST_NAMED = 64  # files of one name that are considered

_C = {"C", "C++", "Objective-C", "Objective-C++", "Cuda"}
_JVM = {"Java", "Kotlin", "Scala"}
_BUILD = {"CMake", "Makefile", "Meson", "Starlark", "Ninja", "GN", "Bazel"}  # they list everything there is
_READ_BY_PEOPLE = {"Markdown", "reStructuredText"}
# Looking for words is faster than matching: a text without any of these has nothing to match.
_RENDER_SIGNS = ("render", "view", "partial", "layout", "template")
_TEMPLATE_SIGNS = ("{%", "<%", "{{>", "@extends(", "@include")
_QUOTED = re.compile(r"""(["'`])([\w@./+-]{3,200})\1""")
# Folders whose files are named without them.
_ROOTS = frozenset(
    ["templates", "views", "partials", "layouts", "sql", "queries", "shaders", "proto", "protos"]
)
_ROOTS |= {"static", "assets", "public", "resources"}
_TAG = re.compile(
    r"""\{%[-+]?\s{0,8}(?:extends|include|import|from|embed|use|render|layout)\s{1,8}["']([\w./@-]{1,200})["']
      | \{\{>\s{0,8}["']?([\w./-]{1,200})
      | <%[-=@]?\s{0,8}(?:include|inherit)\b[^"'\n%]{0,40}["']([\w./-]{1,200})["']
      | \b(?:render\w*|view|partial|layout|template)\b[\s(:=>]{1,8}["']([\w./-]{1,200})["']
      | @(?:extends|include\w{0,8}|component|each)\(\s{0,8}["']([\w.-]{1,200})["']""",
    re.VERBOSE,
)
_PROTO_IMPORT = re.compile(r'^\s{0,8}import\s{1,8}(?:public\s|weak\s)?\s{0,8}"([^"\n]{1,200})"', re.MULTILINE)
_GENERATED = re.compile(r"(?:_pb2(?:_grpc)?|_grpc_pb|_pb|(?:\.grpc)?\.pb)(?![a-z0-9_])")
_PROTO_OPTION = re.compile(
    r'^\s{0,8}option\s{1,8}(?:go|java)_package\s{0,8}=\s{0,8}"([\w./-]{3,200})', re.MULTILINE
)
_NATIVE = re.compile(r"\bnative\s|\bexternal\s{1,8}fun\b|@native\b")
_JNI = re.compile(r"\bJava_(\w{1,300})")
_LIBRARY_SIGNS = ("DLL", "dlopen", "DllImport", "LibraryImport", "oadLibrary", "oad_library", "ffi_lib")
_LIBRARY_SIGNS += ("Native.load",)
_LIBRARY = re.compile(
    r"""\b(?:CDLL|WinDLL|LoadLibrary|dlopen|DllImport|LibraryImport|loadLibrary|load_library|ffi_lib|Native\.load)
    \s{0,4}\(\s{0,8}["']([\w./+-]{1,100})["']""",
    re.VERBOSE,
)
_EXTENSION = re.compile(
    r"""\bPyInit_(\w{1,100})\s{0,4}\( | \bInit_(\w{1,100})\s{0,4}\(
      | \b(?:PYBIND11_MODULE|NB_MODULE|BOOST_PYTHON_MODULE|TORCH_LIBRARY)\s{0,4}\(\s{0,4}(\w{1,100})
      | \#\[pymodule[^\n]{0,80}\]\s{1,40}(?:pub\s{1,4})?fn\s{1,4}(\w{1,100})""",
    re.VERBOSE,
)
# A text without any of these has no extension module; looking is faster than matching.
_EXTENSION_SIGNS = ("PyInit_", "Init_", "_MODULE", "TORCH_LIBRARY", "#[pymodule")
_PYTHON_IMPORT = re.compile(r"^[ \t]{0,40}(?:from|c?import)\b[^\n]{0,400}", re.MULTILINE)
_RUBY_REQUIRE = re.compile(r"""\brequire(?:_relative)?[ (]{1,4}["']([\w./-]{1,200})["']""")
_CGO_INCLUDE = re.compile(
    r'^\s{0,8}(?://)?\s{0,8}#\s{0,8}include\s{0,8}["<]([\w./+-]{1,200})[">]', re.MULTILINE
)
_CGO_CALL = re.compile(r"\bC\.(\w{1,100})\(")
_WORD = re.compile(r"\w+")


def cross_edges(files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of kind `cross`, and the imports of protobuf files; more than one of a pair where two rules see it."""
    place = _Places(files)
    sources = [
        file
        for _, file in sorted(files.items())
        if file.language and file.text and len(file.text) <= MAX_CHARS
    ]
    rules: list[Callable[[_Places, Sequence[SourceFile]], Iterator[Edge]]] = [
        _named_files, _templates, _protobuf, _native_methods, _cgo, _libraries, _extension_modules,
    ]  # fmt: skip
    for rule in rules:
        yield from rule(place, sources)


class _Places:
    """Files by name, by template name and by stem."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        self.files = files
        self._by_name: dict[str, list[str]] = {}
        for path in sorted(files):
            self._by_name.setdefault(posixpath.basename(path), []).append(path)

    def named(self, path: str, name: str) -> tuple[str, float] | None:
        """The file that a name in the file at `path` stands for: beside it, by its path's end, or by its name alone
        where it lies in a folder whose files are named so."""
        clean = posixpath.normpath(name.lstrip("/"))
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), clean))
        if beside in self.files:
            return beside, 0.9
        while clean.startswith("../"):
            clean = clean[3:]
        ends = f"/{clean}"
        found = [
            other
            for other in self._by_name.get(posixpath.basename(clean), ())[:_MOST_NAMED]
            if f"/{other}".endswith(ends)
        ]
        if "/" not in clean:
            found = [other for other in found if not _ROOTS.isdisjoint(other.split("/")[:-1])]
        other = nearest(path, found)
        return None if other is None else (other, 0.9 if "/" in clean and len(found) == 1 else 0.6)

    def family(self, path: str) -> object:
        language = self.files[path].language
        return MODULES.get(language or "", language)


def _named_files(place: _Places, sources: Sequence[SourceFile]) -> Iterator[Edge]:
    """File names in the strings of code, and of pages that name scripts and styles, in another language."""
    for file in sources:
        if file.language in _BUILD or kind_of(file.language) not in ("programming", "markup"):
            continue
        for name in _distinct(match[2] for match in _QUOTED.finditer(file.text)):
            if "." not in posixpath.basename(name)[1:]:
                continue
            found = place.named(file.path, name)
            if found and place.family(found[0]) not in (None, place.family(file.path), *_READ_BY_PEOPLE):
                yield _edge(file.path, *found)


def _templates(place: _Places, sources: Sequence[SourceFile]) -> Iterator[Edge]:
    """Templates that extend and include others, and code that renders them by names without a suffix."""
    known: dict[str, list[str]] = {}
    for path in sorted(place.files):
        folders = path.split("/")
        root = max((i for i, part in enumerate(folders[:-1]) if part in ("templates", "views")), default=None)
        if root is not None:
            stem = folders[-1].partition(".")[0].removeprefix("_")
            known.setdefault("/".join([*folders[root + 1 : -1], stem]), []).append(path)
    for file in sources:
        is_template = any(sign in file.text for sign in _TEMPLATE_SIGNS)
        if not is_template and not (known and any(sign in file.text for sign in _RENDER_SIGNS)):
            continue
        for name in _distinct(next(filter(None, m.groups())) for m in _TAG.finditer(file.text)):
            found = place.named(file.path, name) if "." in name else None
            if found is None:
                found = _template(file.path, name, known)
            if (
                found
                and found[0] != file.path
                and (is_template or place.family(found[0]) != place.family(file.path))
            ):
                yield _edge(file.path, *found)


def _template(path: str, name: str, known: Mapping[str, list[str]]) -> tuple[str, float] | None:
    head, _, last = name.strip("/").rpartition("/")
    wanted = [posixpath.join(head, last.removeprefix("_"))]
    if "/" not in name:
        wanted.append(name.replace(".", "/"))  # Blade's way
        folders = path.split("/")[:-1]
        if "views" in folders:  # Rails: beside the template that asks, or in the folder of its controller
            wanted.insert(0, "/".join([*folders[folders.index("views") + 1 :], last.removeprefix("_")]))
        elif path.endswith("_controller.rb"):
            wanted.insert(0, f"{posixpath.basename(path).removesuffix('_controller.rb')}/{last}")
    for key in wanted:
        other = nearest(path, known.get(key, ())[:_MOST_NAMED])
        if other is not None:
            return other, 0.9 if "/" in key else 0.6
    return None


def _protobuf(place: _Places, sources: Sequence[SourceFile]) -> Iterator[Edge]:
    """Imports between .proto files; users of what is generated from one to the .proto itself."""
    protos = [path for path in sorted(place.files) if path.endswith(".proto")]
    if not protos:
        return
    packages: dict[str, list[str]] = {}
    for file in sources:
        if not file.path.endswith(".proto"):
            continue
        for name in _distinct(_PROTO_IMPORT.findall(file.text)):
            found = place.named(file.path, name)
            if found:
                yield Edge(file.path, found[0], "import", False, found[1])
        for package in _distinct(_PROTO_OPTION.findall(file.text)):
            packages.setdefault(package, []).append(file.path)
    for file in sources:
        if file.path.endswith(".proto") or file.language not in MODULES:
            continue
        text = file.text
        for match in _GENERATED.finditer(text):
            start = match.start()
            while start > max(match.start() - 100, 0) and (
                text[start - 1].isalnum() or text[start - 1] in "_/.-"
            ):
                start -= 1
            stem = (
                text[start : match.start()]
                .lstrip("./-")
                .replace("." if file.language == "Python" else "/", "/")
            )
            found = place.named(file.path, f"{stem}.proto") if stem else None
            if found is None and "/" not in stem:
                same = [path for path in protos if posixpath.basename(path) == f"{stem}.proto"]
                found = (same[0], 0.9) if len(same) == 1 else None
            if found:
                yield _edge(file.path, *found)
        if file.language in _JVM or file.language == "Go":
            end = '"' if file.language == "Go" else "."
            for package, paths in packages.items():
                if len(paths) == 1 and f"{package}{end}" in text:
                    yield _edge(file.path, paths[0], 0.9)


def _native_methods(place: _Places, sources: Sequence[SourceFile]) -> Iterator[Edge]:
    """A class with native methods to the C that has them (JNI's mangled names); C to a class it looks up."""
    if not any(file.language in _C for file in sources):
        return
    native: dict[str, str] = {}  # mangled name of the class -> file
    classes: dict[str, list[str]] = {}
    for file in sources:
        if file.language not in _JVM:
            continue
        name = file.path.rpartition(".")[0]
        classes.setdefault(posixpath.basename(name), []).append(file.path)
        if _NATIVE.search(file.text):
            declared = re.search(r"^\s{0,8}package\s{1,8}([\w.]{1,200})", file.text, re.MULTILINE)
            whole = f"{declared[1]}." if declared else ""
            native[(whole + posixpath.basename(name)).replace("_", "_1").replace(".", "_")] = file.path
    if not classes:
        return
    for file in sources:
        if file.language not in _C:
            continue
        for mangled in _distinct(_JNI.findall(file.text) if native else ()):
            while "_" in mangled:
                mangled = mangled[: mangled.rindex("_")]
                if mangled in native:
                    yield _edge(native[mangled], file.path, 1.0)
                    break
        for _, name in _distinct(_QUOTED.findall(file.text)):
            ends = tuple(f"/{name}{suffix}" for suffix in (".java", ".kt", ".scala"))
            same = [path for path in classes.get(posixpath.basename(name), ()) if f"/{path}".endswith(ends)]
            if "/" in name and len(same) == 1:
                yield _edge(file.path, same[0], 0.9)


def _cgo(place: _Places, sources: Sequence[SourceFile]) -> Iterator[Edge]:
    """Go with `import "C"` to the headers it includes and to C of its folder that has a function it calls."""
    users = [file for file in sources if file.language == "Go" and 'import "C"' in file.text]
    if not users:
        return
    beside: dict[str, list[tuple[str, set[str]]]] = {}
    folders = {posixpath.dirname(file.path) for file in users}
    for file in sources:
        folder = posixpath.dirname(file.path)
        if file.language in _C and folder in folders and not file.path.endswith((".h", ".hpp")):
            called = set(re.findall(r"\b(\w{1,100})\(", file.text))
            beside.setdefault(folder, []).append((file.path, called))
    for file in users:
        for name in _distinct(_CGO_INCLUDE.findall(file.text)):
            found = place.named(file.path, name)
            if found:
                yield _edge(file.path, found[0], 1.0 if found[1] > 0.6 else 0.6)
        wanted = set(_CGO_CALL.findall(file.text))
        for path, called in beside.get(posixpath.dirname(file.path), ()):
            if not wanted.isdisjoint(called):
                yield _edge(file.path, path, 0.6)


def _libraries(place: _Places, sources: Sequence[SourceFile]) -> Iterator[Edge]:
    """A shared library loaded by name (ctypes, P/Invoke, JNA, FFI) to the one source file called like it."""
    stems: dict[str, list[str]] = {}
    for path, file in sorted(place.files.items()):
        if (file.language in _C or file.language == "Rust") and not path.endswith((".h", ".hpp")):
            stems.setdefault(posixpath.basename(path).partition(".")[0].removeprefix("lib"), []).append(path)
    for file in sources if stems else ():
        if file.language in _C or not any(sign in file.text for sign in _LIBRARY_SIGNS):
            continue
        for name in _distinct(_LIBRARY.findall(file.text)):
            stem = re.split(r"\.(?:so|dll|dylib)\b", posixpath.basename(name))[0].removeprefix("lib")
            other = nearest(file.path, stems.get(stem, ())[:_MOST_NAMED])
            if other is not None and place.family(other) != place.family(file.path):
                yield _edge(file.path, other, 0.6)


def _extension_modules(place: _Places, sources: Sequence[SourceFile]) -> Iterator[Edge]:
    """An import of a module that is written in C, C++, Rust or Cython to the file that defines it."""
    modules: dict[str, list[str]] = {}
    for file in sources:
        native = file.language in _C or file.language == "Rust"
        if native and any(sign in file.text for sign in _EXTENSION_SIGNS):
            for groups in _distinct(_EXTENSION.findall(file.text)):
                modules.setdefault(next(filter(None, groups)), []).append(file.path)
    for path in sorted(place.files):
        if path.endswith(".pyx"):
            modules.setdefault(posixpath.basename(path)[:-4], []).append(path)
    for file in sources if modules else ():
        if file.language in ("Python", "Cython"):
            text = " ".join(_PYTHON_IMPORT.findall(file.text))
            names = _distinct(_WORD.findall(text))
        elif file.language == "Ruby":
            names = _distinct(posixpath.basename(name) for name in _RUBY_REQUIRE.findall(file.text))
        else:
            continue
        for name in names:
            other = nearest(file.path, modules.get(name, ())[:_MOST_NAMED])
            if other is not None and other != file.path:
                yield _edge(file.path, other, 0.9)


def _distinct(names) -> list:
    """The first of them, each once."""
    found: dict = {}
    for name in names:
        found[name] = None
        if len(found) == _MOST:
            break
    return list(found)


def _edge(source: str, target: str, confidence: float) -> Edge:
    return Edge(source, target, "cross", False, confidence)
