"""Java: which types a file declares and which it names in its code.

Import statements alone show less than half of the dependencies: types of the same package need none, and some
imports serve only the documentation. So every type-like name in the code is resolved as the compiler would:
the file's own types, single-type imports, the package, then imports on demand.
"""

from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.trees import dotted, text_of, walk

_TYPES = {
    "class_declaration",
    "interface_declaration",
    "enum_declaration",
    "record_declaration",
    "annotation_type_declaration",
}


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_java

    return tree_sitter_java.language()


def scan_tree(root) -> dict:
    """package; types declared; imports as [name, static, on_demand]; dotted names used, by first use."""
    facts = {"package": "", "types": [], "nested": [], "imports": [], "uses": []}
    uses: dict[str, None] = {}

    def visit(node, depth: int) -> int | None:
        kind = node.type
        if kind == "package_declaration":
            facts["package"] = _name_in(node)
            return None
        if kind == "import_declaration":
            words = {child.type for child in node.children}
            facts["imports"].append([_name_in(node), "static" in words, "asterisk" in words])
            return None
        if kind in _TYPES:
            name = node.child_by_field_name("name")
            if name is not None:
                facts["types" if depth == 1 else "nested"].append(text_of(name))
        elif kind in ("scoped_type_identifier", "field_access", "scoped_identifier"):
            name = dotted(node)
            if name:
                uses[name] = None
                return None
            # More than a name (a call, an array): its parts are visited.
        elif kind in ("identifier", "type_identifier"):
            uses[text_of(node)] = None
        return depth + 1

    walk(root, 0, visit)
    facts["uses"] = list(uses)
    return facts


def _name_in(node) -> str:
    return next((dotted(child) for child in node.named_children if "identifier" in child.type), "")


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Symbol edges for names used in the code, import edges for single-type imports."""
    known = {path: found.symbols for path, found in facts.items() if found.symbols is not None}
    declared: dict[str, str] = {}  # qualified name of a top-level type -> file
    members: dict[str, dict[str, str]] = {}  # package -> simple name -> file
    for path in sorted(known):
        package = known[path]["package"]
        for name in known[path]["types"]:
            qualified = f"{package}.{name}" if package else name
            # The same class in two source sets (multi-release, test fixtures): the first path stands for it.
            members.setdefault(package, {}).setdefault(name, path)
            declared.setdefault(qualified, path)
    for path in sorted(known):
        own = known[path]
        named: dict[str, str] = {}
        on_demand: list[str] = []
        for name, static, every in own["imports"]:
            if every and not static:
                on_demand.append(name)
                continue
            found = _longest(name, declared)
            if found is None:
                continue
            yield Edge(path, found, "import")
            if not every:
                named[name.rpartition(".")[2]] = found
        mine = {*own["types"], *own["nested"]}
        on_demand = [package for package in dict.fromkeys(on_demand) if package in members]
        for use in own["uses"]:
            first = use.partition(".")[0]
            if first in mine:
                continue
            target = named.get(first) or members.get(own["package"], {}).get(first)
            if target is None:
                target = next((members[p][first] for p in on_demand if first in members.get(p, {})), None)
            if target is None and "." in use:
                target = _longest(use, declared)
            if target is not None:
                yield Edge(path, target, "symbol")


def names_written(facts: Facts) -> set[str]:
    """Names in a file that may be types: those it uses and those it imports."""
    named = {part for use in facts.symbols["uses"] for part in use.split(".")}
    return named | {name.rpartition(".")[2] for name, _, _ in facts.symbols["imports"]}


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Top-level types of the file that another one names."""
    if facts.symbols is None:
        return []
    return [name for name in facts.symbols["types"] if name in written]


def _longest(name: str, declared: Mapping[str, str]) -> str | None:
    """The file of the type that a qualified name, or its longest prefix, stands for."""
    while name:
        if name in declared:
            return declared[name]
        name = name.rpartition(".")[0]
    return None
