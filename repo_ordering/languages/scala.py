"""Scala 2 and 3: types, objects and members that a file declares, and what its code names."""

import re

from repo_ordering.languages.jvm_words import code_of, uses

_TYPES = {
    "class_definition": True,
    "trait_definition": True,
    "object_definition": True,
    "enum_definition": True,
    "package_object": False,
}
_VALUES = {
    "function_definition",
    "function_declaration",
    "val_definition",
    "var_definition",
    "val_declaration",
}
_VALUES |= {"var_declaration", "given_definition"}
_BODIES = {
    "template_body",
    "enum_body",
    "with_template_body",
    "extension_definition",
    "enum_case_definitions",
}
_BODIES |= {"full_enum_case", "simple_enum_case", "compilation_unit", "indented_block", "ERROR"}
_TYPED = re.compile(
    r"\b([^\W\d]\w*)\s*:\s*(?:=>\s*)?([A-Z][\w.]*)|\bva[lr]\s+([^\W\d]\w*)\s*=\s*(?:new\s+)([A-Z][\w.]*)"
)
_LOCAL = re.compile(
    r"\bva[lr]\s+([^\W\d]\w*)|[({,]\s*([^\W\d]\w*)\s*(?:=>|<-)|\bcase\s+([a-z]\w*)\s*(?:@|=>|if\b)"
)
_NAME = re.compile(r"[^\W\d][\w$]*(?:\.[^\W\d][\w$]*)*")


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_scala

    return tree_sitter_scala.language()


def scan_tree(root) -> dict:
    """What a file declares and names; `jvm` says what the fields are."""
    facts = {
        "package": "",
        "imports": [],
        "types": [],
        "tops": {},
        "aliases": {},
        "extensions": [],
        "loose": True,
    }
    facts["around"] = []
    _declarations(root, facts)
    code = code_of(root.text)
    types: dict[str, str] = {}
    for name, kind, made, maker in _TYPED.findall(code):
        types.setdefault(name or made, kind or maker)
    for words in _LOCAL.findall(code):
        types.setdefault(next(filter(None, words)), "")
    declared = {member for row in facts["types"] for member in row[3]} | facts["tops"].keys()
    for name in declared:
        if not types.get(name):
            types.pop(name, None)
    body = re.sub(r"\bimport\s+[\w.`]+(?:\{[^{}]*\})?|(?m:^\s*package\s+(?!object\b)[\w.]+)", "", code)
    return facts | uses(body, types)


def _text(node) -> str:
    return node.text.decode("utf-8", "replace") if node is not None else ""


def _declarations(root, facts: dict) -> None:
    """Definitions in source order; the stack holds (node, index of the type around, prefix within the package)."""
    types: list[list] = facts["types"]
    index: dict[str, int] = {}
    stack: list[tuple] = [(root, -1, "")]
    while stack:
        node, around, prefix = stack.pop()
        kind = node.type
        if kind in _TYPES:
            name = _text(node.child_by_field_name("name"))
            full = f"{prefix}.{name}" if prefix else name
            key = full if _TYPES[kind] else f"{full}.package"
            if key not in index:  # a class and its companion are one
                index[key] = len(types)
                types.append([key, around, [], {}])
            at = index[key]
            row = types[at]
            for child in node.named_children:
                if child.type == "extends_clause":
                    row[2] += _bases(child.children_by_field_name("type"))
                elif child.type == "class_parameters":
                    for each in child.named_children:
                        row[3].setdefault(_text(each.child_by_field_name("name")), _kind(each, "type"))
            if not _TYPES[kind]:
                at = -1  # what a package object declares stands in the package
                facts["around"].insert(0, f"{facts['package']}.{full}" if facts["package"] else full)
            body = node.child_by_field_name("body")
            if body is not None:
                stack.append((body, at, full))
                # What a self type has, the body may name as if inherited.
                first = body.named_children[0] if body.named_child_count else None
                if at >= 0 and first is not None and first.type == "self_type":
                    types[at][2] += _bases(first.named_children[1:])
        elif kind in _VALUES:
            name = node.child_by_field_name("name") or node.child_by_field_name("pattern")
            if name is None:
                continue
            written = _kind(node, "return_type" if kind.startswith(("function", "given")) else "type")
            for each in (name,) if "identifier" in name.type else name.named_children:
                word = _text(each)
                if around >= 0:
                    types[around][3].setdefault(word, written)
                else:
                    facts["tops"].setdefault(f"{prefix}.{word}" if prefix else word, written)
        elif kind == "type_definition":
            name = _text(node.child_by_field_name("name"))
            full = f"{prefix}.{name}" if prefix else name
            if around >= 0:
                types[around][3].setdefault(name, "")
            else:
                facts["aliases"][full] = ""
        elif kind == "package_clause":
            name = "".join(_text(node.child_by_field_name("name")).split())
            body = node.child_by_field_name("body")
            if facts["package"]:
                facts["around"].insert(0, facts["package"])
                name = f"{facts['package']}.{name}"
            facts["package"] = name
            if body is not None:
                stack.append((body, -1, ""))
        elif kind == "import_declaration":
            facts["imports"] += _imported(_text(node))
        elif kind in ("full_enum_case", "simple_enum_case"):
            if around >= 0:
                types[around][3].setdefault(_text(node.child_by_field_name("name")), types[around][0])
        elif kind in _BODIES:
            if kind == "extension_definition" and around < 0:
                for child in node.named_children:
                    if child.type == "function_definition":
                        facts["extensions"].append(_text(child.child_by_field_name("name")))
            stack += [(child, around, prefix) for child in reversed(node.named_children)]
    facts["imports"] = [list(row) for row in dict.fromkeys(map(tuple, facts["imports"]))]


def _bases(nodes) -> list[str]:
    parts = [
        part for each in nodes for part in (each.named_children if each.type == "compound_type" else (each,))
    ]
    return [found[0] for part in parts if part.is_named and (found := _NAME.match(_text(part)[:256]))]


def _kind(node, field: str) -> str:
    written = node.child_by_field_name(field)
    if written is None:
        return ""
    found = _NAME.match(_text(written)[:256])
    return found[0] if found else ""


def _imported(text: str) -> list[list]:
    """[name, alias, is on demand, is static] of each name of an import."""
    rows: list[list] = []
    for path, selectors, single in re.findall(
        r"([\w.$`]+?)\.?(?:\{([^{}]*)\}|((?<=\.)[_*]|(?<=\.)given\b[\s\w]*)?)(?=\s*(?:,|\Z|\n|as\b))",
        text[6:].strip(),
    ):
        path = path.replace("`", "").strip(".")
        if single or path.endswith("._"):
            rows.append([path.removesuffix("._"), "", True, False])
        elif selectors:
            for each in selectors.split(","):
                words = re.split(r"\s*(?:=>|\bas\b)\s*", each.strip().replace("`", ""))
                if words[0] in ("_", "*") or words[0].startswith("given"):
                    rows.append([path, "", True, False])
                elif words[0] and words[-1] != "_":
                    rows.append([f"{path}.{words[0]}", words[-1], False, False])
        elif "." in path:
            renamed = re.search(r"\bas\s+(\w+)\s*\Z", text)
            rows.append([path, renamed[1] if renamed else path.rpartition(".")[2], False, False])
    return rows
