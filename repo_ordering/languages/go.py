"""Go: the file that declares a name, where the language itself knows only packages.

A package is a folder, and any of its files may use what any other declares. "All files of the imported package" would
be wrong nine times in ten, so names are resolved to the declaring file: free names in the package, `pkg.Name` in an
imported one, and members by the type of what they are selected from (parameters, variables, fields, results of
functions, embedded types), as far as declarations tell it without inference. Where they do not, a member that only one
file around declares counts, with less confidence.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages.go_bodies import Reader
from repo_ordering.languages.go_names import Resolver
from repo_ordering.languages.go_packages import Packages

_DECLARATIONS = {
    "function_declaration",
    "method_declaration",
    "type_declaration",
    "var_declaration",
    "const_declaration",
}


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_go

    return tree_sitter_go.language()


def scan_tree(root) -> dict:
    """package, build constraint, imports [alias, path]; declarations, and expressions that use names (see `Reader`)."""
    facts: dict[str, Any] = {"package": "", "path": "", "constrained": False, "imports": []}
    reader = Reader()
    if root.has_error:  # fragments of declarations may stand anywhere in the tree
        for part in _TOP.split(root.text.decode("utf-8", "replace")):
            reader.declaration(part)
    for node in root.children:
        kind = node.type
        if kind in _DECLARATIONS and not root.has_error:
            reader.declaration(node.text.decode("utf-8", "replace"))
        elif kind == "comment" and not facts["imports"]:
            text = node.text
            if not facts["package"]:
                facts["constrained"] |= text.startswith((b"//go:build", b"// +build"))
            elif not facts["path"]:
                path = re.match(rb'//\s*+import\s++"([^"\s]+)"', text)
                facts["path"] = path[1].decode("utf-8", "replace") if path else ""
        elif kind == "package_clause":
            facts["package"] = "".join(
                child.text.decode("utf-8", "replace") for child in node.named_children[:1]
            )
        elif kind == "import_declaration":
            text = node.text[len("import") :].decode("utf-8", "replace")
            found = (match.groups() for match in _IMPORT.finditer(text))
            facts["imports"] += [[alias or "", path or raw] for alias, path, raw in found if path or raw]
    return facts | reader.facts()


_TOP = re.compile(r"^(?=(?:func|type|var|const)\b)", re.MULTILINE)
_IMPORT = re.compile(
    r"""//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?|(?:(?:(\w++|\.)[ \t]*+)?(?:"([^"\n]++)"|`([^`\n]++)`))"""
)


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Symbol edges between Go files; into a file with a build constraint they are guarded."""
    known = {path: found.symbols for path, found in sorted(facts.items()) if found.symbols is not None}
    resolver = Resolver(Packages(known, files))
    for path in known:
        yield from resolver.edges(path)


def names_written(facts: Facts) -> set[str]:
    """Names in a file that it does not bind itself, and those that it selects."""
    return set(facts.symbols["names"]) if facts.symbols is not None else set()


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Declarations of the file, and members of its types, that another one names."""
    found = facts.symbols
    if found is None:
        return []
    declared = [*found["types"], *found["functions"], *found["variables"]]
    declared += [name for methods in found["methods"].values() for name in methods]
    declared += [name for fields, _ in found["members"] for name in fields]
    return [name for name in dict.fromkeys(declared) if name in written]
