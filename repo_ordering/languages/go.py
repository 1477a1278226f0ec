"""Go: the file that declares a name, where the language itself knows only packages.

A package is a folder, and any of its files may use what any other declares. "All files of the imported
package" would be wrong nine times in ten, so names are resolved to the declaring file: free names in the
package, `pkg.Name` in an imported one, and members (`x.Name`) where only one file around declares one so
called.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.trees import text_of, walk

_BINDERS = {
    "parameter_declaration": "name",
    "variadic_parameter_declaration": "name",
    "type_parameter_declaration": "name",
    "short_var_declaration": "left",
    "range_clause": "left",
    "receive_statement": "left",
    "var_spec": "name",
    "const_spec": "name",
    "type_switch_statement": "alias",
}
_DECLARATIONS = {
    "function_declaration",
    "method_declaration",
    "type_declaration",
    "var_declaration",
    "const_declaration",
}
_PLATFORMS = re.compile(
    r"_(aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|solaris|wasip1|windows"
    r"|386|amd64|arm|arm64|loong64|mips\w*|ppc64\w*|riscv64|s390x|wasm)\.go$"
)


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_go

    return tree_sitter_go.language()


def scan_tree(root) -> dict:
    """package, build constraint, imports [alias, path]; names and members, declared and used."""
    facts = {"package": "", "constrained": False, "imports": [], "declares": [], "members": []}
    names: dict[str, None] = {}
    selected: dict[tuple[str, str], None] = {}
    for node in root.named_children:
        kind = node.type
        if kind == "comment":
            facts["constrained"] |= not facts["package"] and text_of(node).startswith(
                ("//go:build", "// +build")
            )
        elif kind == "package_clause":
            facts["package"] = "".join(text_of(child) for child in node.named_children[:1])
        elif kind == "import_declaration":
            walk(node, facts["imports"], _import)
        elif kind in _DECLARATIONS:
            declared, members = _declared(node)
            facts["declares"] += declared
            facts["members"] += members
            _uses(node, set(declared), names, selected)
    facts["names"] = list(names)
    facts["selected"] = [list(pair) for pair in selected]
    return facts


def _import(node, found: list) -> list | None:
    if node.type != "import_spec":
        return found
    path = node.child_by_field_name("path")
    alias = node.child_by_field_name("name")
    if path is not None:
        found.append([text_of(alias) if alias is not None else "", text_of(path).strip('"`')])
    return None


def _declared(node) -> tuple[list[str], list[str]]:
    """Names a top-level declaration adds to the package, and the methods and fields it adds to types."""
    if node.type == "method_declaration":
        return [], [text_of(name) for name in node.children_by_field_name("name")]
    if node.type == "function_declaration":
        return [text_of(name) for name in node.children_by_field_name("name")], []
    declared: list[str] = []
    members: list[str] = []

    def visit(node, depth: int) -> int | None:
        if node.type in ("func_literal", "block"):
            return None
        if node.type in ("type_spec", "type_alias", "var_spec", "const_spec"):
            declared.extend(text_of(name) for name in node.children_by_field_name("name"))
        elif node.type in ("field_declaration", "method_elem"):
            members.extend(text_of(name) for name in node.children_by_field_name("name"))
        return depth + 1

    walk(node, 0, visit)
    return declared, members


def _uses(node, own: set[str], names: dict[str, None], selected: dict[tuple[str, str], None]) -> None:
    """Names used in a declaration that it does not bind itself, and (operand, member) of its selectors."""
    bound: set[str] = set()
    seen: dict[str, None] = {}
    pairs: dict[tuple[str, str], None] = {}

    def visit(node, inside: bool) -> bool | None:
        kind = node.type
        if kind in ("identifier", "type_identifier"):
            seen[text_of(node)] = None
        elif kind in ("selector_expression", "qualified_type"):
            operand = node.child_by_field_name("operand") or node.child_by_field_name("package")
            member = node.child_by_field_name("field") or node.child_by_field_name("name")
            if member is not None:
                plain = operand is not None and operand.type in ("identifier", "package_identifier")
                pairs[(text_of(operand) if plain else "", text_of(member))] = None
        elif kind == "keyed_element":
            key = node.named_children[0] if node.named_children else None
            if key is not None and key.named_child_count == 1 and key.named_children[0].type == "identifier":
                pairs[("", text_of(key))] = None
        elif kind in _BINDERS and inside:
            for part in node.children_by_field_name(_BINDERS[kind]):
                parts = part.named_children if part.type == "expression_list" else [part]
                bound.update(text_of(name) for name in parts if name.type == "identifier")
        # A package-level var or const binds nothing inside its own declaration.
        return inside or kind in ("func_literal", "function_declaration", "method_declaration")

    walk(node, False, visit)
    names.update((name, None) for name in seen if name not in bound and name not in own)
    for operand, member in pairs:  # a local variable is no package, whatever its name
        selected[("" if operand in bound else operand, member)] = None


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Symbol edges between Go files; into a file with a build constraint they are guarded."""
    known = {path: found.symbols for path, found in facts.items() if found.symbols is not None}
    modules = _module_roots(files)
    packages: dict[str, _Package] = {}
    for path in sorted(known):
        packages.setdefault(posixpath.dirname(path), _Package()).add(path, known[path])
    for path in sorted(known):
        own = known[path]
        folder = posixpath.dirname(path)
        testing = path.endswith("_test.go")
        imported: dict[str, _Package] = {}
        near: list[_Package] = [packages[folder]]
        for alias, target in own["imports"]:
            found = _folder(target, modules, packages)
            if found is None:
                continue
            package = packages[found]
            near.append(package)
            if alias == ".":
                continue
            imported[alias or package.name or posixpath.basename(target)] = package
        uses: list[tuple[str, float]] = []
        for name in own["names"]:
            uses += [(target, 1.0) for target in packages[folder].declares.get(name, ())]
        for operand, member in own["selected"]:
            if operand in imported:
                uses += [(target, 1.0) for target in imported[operand].declares.get(member, ())]
                continue
            homes = {target for package in near for target in package.members.get(member, ())}
            homes = {target for target in homes if testing or not target.endswith("_test.go")}
            if len(homes) == 1:
                uses.append((homes.pop(), 0.6))
        for target, confidence in uses:
            if target != path and (testing or not target.endswith("_test.go")):
                guarded = known[target]["constrained"] or bool(_PLATFORMS.search(target))
                yield Edge(path, target, "symbol", guarded, confidence)


def names_written(facts: Facts) -> tuple[set[str], set[str]]:
    """Names in a file: those that stand alone, and those selected from something."""
    return set(facts.symbols["names"]), {member for _, member in facts.symbols["selected"]}


def names_used(path: str, facts: Facts, written: tuple[set[str], set[str]]) -> list[str]:
    """Declarations of the file that another one names."""
    if facts.symbols is None:
        return []
    alone, selected = written
    found = [name for name in facts.symbols["declares"] if name in alone or name in selected]
    return found + [name for name in facts.symbols["members"] if name in selected]


class _Package:
    """What the files of one folder declare."""

    def __init__(self) -> None:
        self.name = ""
        self.declares: dict[str, list[str]] = {}
        self.members: dict[str, list[str]] = {}

    def add(self, path: str, facts: Mapping) -> None:
        if not path.endswith("_test.go"):
            self.name = self.name or facts["package"]
        for table, names in ((self.declares, facts["declares"]), (self.members, facts["members"])):
            for name in dict.fromkeys(names):
                if name not in ("_", "init", "main"):
                    table.setdefault(name, []).append(path)


def _module_roots(files: Mapping[str, SourceFile]) -> list[tuple[str, str]]:
    """(module path, folder) of each go.mod, the longest module path first."""
    roots = []
    for path in sorted(files):
        if posixpath.basename(path) == "go.mod":
            match = re.search(r"^[ \t]*+module[ \t]++[\"`]?([^\s\"`]+)", files[path].text, re.MULTILINE)
            if match:
                roots.append((match[1], posixpath.dirname(path)))
    return sorted(roots, key=lambda root: (-len(root[0]), root))


def _folder(target: str, modules: list[tuple[str, str]], packages: Mapping[str, _Package]) -> str | None:
    """The folder an import path names: under its module, under a vendor folder, or by a unique suffix."""
    for module, folder in modules:
        if target == module or target.startswith(module + "/"):
            found = posixpath.join(folder, target[len(module) :].strip("/")).rstrip("/")
            return found if found in packages else None
    parts = target.split("/")
    if "." not in parts[0]:
        return None  # the standard library
    for folder in (f"vendor/{target}", f"src/{target}"):
        if folder in packages:
            return folder
    if modules:
        return None
    # Before modules a repository's import path was where it was hosted: try what follows host and owner.
    suffixes = ("/".join(parts[start:]) for start in range(1, len(parts) + 1))
    return next((suffix for suffix in suffixes if suffix in packages and (suffix or len(parts) == 3)), None)
