"""Rust: the module tree, and the files that paths in the code lead through and end in.

`mod` items make the tree (also `#[path]` and inline modules); `use` trees, re-exports and globs give names in
each module; every path used is then followed segment by segment. Each module on the way counts as named, as
rustdoc links it. What stands under `#[cfg(...)]` is guarded.
"""

import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.trees import text_of, walk

_ITEMS = {
    "struct_item", "enum_item", "union_item", "trait_item", "type_item", "function_item", "const_item",
    "static_item", "macro_definition", "function_signature_item",
}  # fmt: skip
_PATHS = {"scoped_identifier", "scoped_type_identifier"}
# Bounds that no real crate meets, against module trees built to explode.
_MAX_HOPS = 16  # re-exports followed from one name
_MAX_GLOBS = 64  # glob imports of one module
_MAX_PLACES = 32  # modules that one file is the text of


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_rust

    return tree_sitter_rust.language()


def scan_tree(root) -> dict:
    """Facts of one file; a scope is the list of inline modules around, `guarded` says there is a `#[cfg]`.

    mods: [scope, name, path attribute, inline, guarded]; items: [scope, name]; macros: [name];
    uses: [scope, path, alias or "*", guarded]; paths: [scope, path, guarded], each once.
    """
    facts = {"mods": [], "items": [], "macros": [], "uses": []}
    paths: dict[tuple, None] = {}
    attributes: list[str] = []  # of the item that comes next

    def visit(node, context: tuple) -> tuple | None:
        scope, guarded, top = context
        kind = node.type
        if kind == "attribute_item":
            attributes.append(text_of(node)[:512])
            return None
        if kind in ("line_comment", "block_comment"):
            return None
        mine, attributes[:] = list(attributes), []
        guarded = guarded or any(re.match(r"#\s*\[\s*cfg\s*\(", attribute) for attribute in mine)
        if kind == "mod_item":
            name = text_of(node.child_by_field_name("name"))
            inline = node.child_by_field_name("body") is not None
            attribute = next((m[1] for a in mine if (m := re.search(r'path\s*=\s*"([^"]*)"', a))), None)
            facts["mods"].append([list(scope), name, attribute, inline, guarded])
            return ((*scope, name), guarded, True) if inline else None
        if kind == "use_declaration":
            argument = node.child_by_field_name("argument")
            if argument is not None:
                facts["uses"] += [[list(scope), *use, guarded] for use in _use_tree(argument)]
            return None
        if kind == "declaration_list":  # of an inline module, or of an impl or trait, whose items are members
            return (scope, guarded, top)
        if kind in _ITEMS:
            name = node.child_by_field_name("name")
            if name is not None and kind == "macro_definition":
                facts["macros"].append(text_of(name))
            elif name is not None and top:
                facts["items"].append([list(scope), text_of(name)])
            return None if kind == "macro_definition" else (scope, guarded, False)
        if kind in _PATHS:
            path = _path(node)
            if path:
                paths[(scope, tuple(path), guarded)] = None
                return None
        elif kind == "type_identifier" or (kind == "identifier" and not text_of(node)[:1].islower()):
            paths[(scope, (text_of(node),), guarded)] = None
        elif kind in ("call_expression", "macro_invocation", "generic_function"):
            # A lower-case name alone is mostly a local variable; called, it is mostly a function.
            called = node.child_by_field_name("macro" if kind == "macro_invocation" else "function")
            if called is not None and called.type == "identifier":
                name = text_of(called) + ("!" if kind == "macro_invocation" else "")
                paths[(scope, (name,), guarded)] = None
        elif kind == "token_tree":
            for path in _token_paths(node):
                paths[(scope, tuple(path), guarded)] = None
        return (scope, guarded, top and kind == "source_file")

    walk(root, ((), False, True), visit)
    facts["paths"] = [[list(scope), list(path), guarded] for scope, path, guarded in paths]
    return facts


def _path(node) -> list[str]:
    """Segments of a path, without type arguments; empty for one that starts with a type (`<T as X>::Y`)."""
    segments: list[str] = []
    while node is not None:
        if node.type in ("generic_type", "generic_type_with_turbofish"):
            node = node.child_by_field_name("type")
            continue
        if node.type not in _PATHS:
            named = node.type in ("identifier", "type_identifier", "crate", "self", "super", "metavariable")
            return [text_of(node), *segments[::-1]] if named else []
        name = node.child_by_field_name("name")
        segments.append(text_of(name) if name is not None else "")
        node = node.child_by_field_name("path")
    return segments[::-1]


def _token_paths(node) -> Iterator[list[str]]:
    """Paths among the unparsed tokens of a macro's arguments: `a::b`, or a single capitalised name."""
    path: list[str] = []
    joined = False
    for token in [*node.children, None]:
        kind = token.type if token is not None else ""
        if kind == "::" and path:
            joined = True
        elif kind in ("identifier", "crate", "self", "super") and (joined or not path):
            path.append(text_of(token))
            joined = False
        else:
            if len(path) > 1 or (path and not path[0][:1].islower()):
                yield path
            path = [text_of(token)] if kind in ("identifier", "crate", "self", "super") else []
            joined = False


def _use_tree(argument) -> list[tuple[list[str], str]]:
    """(path, alias) of each leaf of a `use` tree; alias "*" is a glob, a leaf "self" is its parent."""
    leaves: list[tuple[list[str], str]] = []
    stack = [(argument, [])]
    while stack:
        node, prefix = stack.pop()
        kind = node.type
        if kind == "use_list":
            stack += [(child, prefix) for child in reversed(node.named_children)]
        elif kind == "scoped_use_list":
            path, tail = node.child_by_field_name("path"), node.child_by_field_name("list")
            if tail is not None:
                stack.append((tail, prefix + (_path(path) if path is not None else [])))
        elif kind == "use_as_clause":
            path, alias = node.child_by_field_name("path"), node.child_by_field_name("alias")
            if path is not None and alias is not None:
                leaves.append((prefix + _path(path), text_of(alias)))
        elif kind == "use_wildcard":
            inner = node.named_children[0] if node.named_children else None
            leaves.append((prefix + (_path(inner) if inner is not None else []), "*"))
        else:
            path = prefix + _path(node)
            if len(path) > 1 and path[-1] == "self":
                path.pop()
            if path:
                leaves.append((path, path[-1]))
    return leaves


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Import edges for `mod` and `use`, symbol edges for paths in the code."""
    known = {path: found.symbols for path, found in facts.items() if found.symbols is not None}
    crates = _Crates(known, files)
    for path in sorted(known):
        for base in crates.placed.get(path, ()):
            for scope, segments, alias, guarded in known[path]["uses"]:
                whole = segments if alias != "*" else [*segments, ""]
                for target in crates.files_on(base.below(scope), whole):
                    yield Edge(path, target, "import", guarded)
            for scope, segments, guarded in known[path]["paths"]:
                for target in crates.files_on(base.below(scope), segments):
                    yield Edge(path, target, "symbol", guarded)
            for scope, name, _, inline, guarded in known[path]["mods"]:
                child = base.below(scope).children.get(name)
                if child is not None and not inline:
                    yield Edge(path, child.file, "import", guarded)


class _Module:
    """A module: the file it is written in, what it declares, what it brings into scope."""

    def __init__(self, file: str, parent: "_Module | None", root: "_Module | None") -> None:
        self.file = file
        self.parent = parent
        self.root = root or self
        self.children: dict[str, _Module] = {}
        self.items: set[str] = set()
        self.uses: dict[str, list[str]] = {}
        self.globs: list[list[str]] = []

    def below(self, scope: list[str]) -> "_Module":
        """The inline module `scope` leads to."""
        module = self
        for name in scope:
            module = module.children.get(name, module)
        return module


class _Crates:
    """All module trees of a repository, and names looked up in them."""

    def __init__(self, facts: Mapping[str, dict], files: Mapping[str, SourceFile]) -> None:
        self.placed: dict[str, list[_Module]] = {}  # a file may be a module of several crates
        self.macros: dict[str, str] = {}
        self._known: dict[tuple[int, str, bool], tuple[list[str], _Module | None]] = {}
        self.named: dict[str, _Module] = {}  # crates of this repository by the name others use
        for path in sorted(facts):
            for name in facts[path]["macros"]:
                self.macros.setdefault(name, path)
        for path in sorted(facts, key=lambda path: (not _is_root(path), path.count("/"), path)):
            if _is_root(path) or path not in self.placed:
                self._grow(path, facts)
        for path in sorted(files):
            if posixpath.basename(path) == "Cargo.toml":
                match = re.search(
                    r"^\s*\[package\](?:(?!^\s*\[).*\n)*?\s*name\s*=\s*\"([^\"]+)\"", files[path].text, re.M
                )
                library = posixpath.join(posixpath.dirname(path), "src/lib.rs")
                if match and library in self.placed:
                    self.named.setdefault(match[1].replace("-", "_"), self.placed[library][0])

    def _grow(self, root_path: str, facts: Mapping[str, dict]) -> None:
        """Build the tree of the crate whose root is `root_path`."""
        root = _Module(root_path, None, None)
        folder = posixpath.dirname(root_path)
        work = [(root, folder, folder)]  # module, folder of its children, folder `#[path]` is relative to
        while work:
            module, below, beside = work.pop()
            ours = facts[module.file]
            self.placed.setdefault(module.file, []).append(module)
            for scope, name, attribute, inline, _ in ours["mods"]:
                parent = module.below(scope)
                if inline:
                    parent.children.setdefault(name, _Module(module.file, parent, root))
                    continue
                stem = posixpath.join(below, *scope, name)
                tries = [posixpath.normpath(posixpath.join(beside, attribute))] if attribute else []
                tries += [stem + ".rs", stem + "/mod.rs"]
                found = next((path for path in tries if path in facts), None)
                on_the_way = {module.file}
                above = module.parent
                while above is not None:
                    on_the_way.add(above.file)
                    above = above.parent
                if found is None or found in on_the_way or len(self.placed.get(found, ())) >= _MAX_PLACES:
                    continue
                child = parent.children.setdefault(name, _Module(found, parent, root))
                own = posixpath.dirname(found)
                work.append((child, own if found.endswith("/mod.rs") or attribute else stem, own))
            for scope, name in ours["items"]:
                module.below(scope).items.add(name)
            for scope, path, alias, _ in ours["uses"]:
                place = module.below(scope)
                if alias == "*":
                    place.globs += [path] * (len(place.globs) < _MAX_GLOBS)
                else:
                    place.uses.setdefault(alias, path)

    def files_on(self, module: _Module, path: list[str]) -> list[str]:
        """Files of the modules a path names on its way, and of the item it ends in; none for other crates."""
        return self._follow(module, path, _MAX_HOPS)[0]

    def _follow(self, module: _Module, path: list[str], hops: int) -> tuple[list[str], _Module | None]:
        """The files a path touches, and the module it ends in unless that is an item or unknown."""
        if len(path) == 1 and path[0].endswith("!"):
            home = self.macros.get(path[0][:-1])
            return ([home] if home else []), None
        touched: list[str] = []
        here: _Module | None = module
        for i, name in enumerate(path):
            if name == "crate":
                here = module.root
            elif name == "super":
                here = here.parent
            elif name in ("self", ""):
                pass
            else:
                files, here = self._lookup(here, name, i == 0, hops)
                touched += files
                if here is None:
                    break
                continue
            if here is None:
                break
            if name in ("crate", "super"):
                touched.append(here.file)
        return touched, here

    def _lookup(self, module: _Module, name: str, first: bool, hops: int) -> tuple[list[str], _Module | None]:
        """What one name in a module means: a child module, an item, or something brought into scope.

        Each question is answered once: globs of globs would otherwise be searched without end.
        """
        key = (id(module), name, first)
        if key not in self._known:
            self._known[key] = [], None  # what a cycle of re-exports finds
            self._known[key] = self._search(module, name, first, hops)
        return self._known[key]

    def _search(self, module: _Module, name: str, first: bool, hops: int) -> tuple[list[str], _Module | None]:
        child = module.children.get(name)
        if child is not None:
            return [child.file], child
        if name in module.items:
            return [module.file], None
        if not hops:
            return [], None
        if name in module.uses and module.uses[name] != [name]:
            files, end = self._follow(module, module.uses[name], hops - 1)
            # Only where the name comes from counts here: the way to it was counted at the `use`.
            return files[-1:], end
        for glob in module.globs:
            _, place = self._follow(module, glob, hops - 1)
            if place is not None and place is not module:
                files, end = self._lookup(place, name, False, hops - 1)
                if files:
                    return files, end
        if first and name in self.named:
            return [self.named[name].file], self.named[name]
        return [], None


def names_written(facts: Facts) -> set[str]:
    """Segments of the paths in a file."""
    return {segment for _, path, *_ in [*facts.symbols["uses"], *facts.symbols["paths"]] for segment in path}


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Items and macros of the file that another one names."""
    if facts.symbols is None:
        return []
    items = [name for scope, name in facts.symbols["items"] if not scope and name in written]
    return items + [name for name in facts.symbols["macros"] if f"{name}!" in written]


def _crate_name(manifest: str) -> str | None:
    try:
        name = tomllib.loads(manifest)["package"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _is_root(path: str) -> bool:
    """Whether Cargo builds a crate from this file by default."""
    folder, _, name = path.rpartition("/")
    if name in ("lib.rs", "main.rs", "build.rs"):
        return True
    return folder.rpartition("/")[2] in ("bin", "tests", "examples", "benches")
