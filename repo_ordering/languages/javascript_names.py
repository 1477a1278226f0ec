"""Names of a JavaScript or TypeScript module, read off its syntax tree: imported, exported, members of imports."""

import re

from repo_ordering.languages.javascript_text import blanked, documented

# A name with a member, with its annotation, or with what it is made by: one pass finds all three.
_NAMED = re.compile(
    r"""(?<![\w$.]) ([A-Za-z_$][\w$]*+) \s*+ (?: \??\. \s*+ ([A-Za-z_$][\w$]*+)
      | (?: [?!]?: \s*+ | = \s*+ new \s++ ) ([A-Z][\w$]*+) (?! \s*+ \. ) )""",
    re.VERBOSE,
)
# The first character comes first: a search led by what stands before it would look at every one.
_TYPE = re.compile(
    r'[ir](?<![\w$.][ir])(?:mport|equire)\s*+\(\s*+"(\d++)"\s*+\)\s*+\.\s*+([A-Za-z_$][\w$]*+)'
)
_PARAMETER = re.compile(r"@param\s*+\{\s*+([A-Z][\w$]*+)=?\s*+\}\s*+\[?([a-z_$][\w$]*+)")
_TYPEDEF = re.compile(
    r"""@typedef\s*+\{\s*+import\s*+\(\s*+["']([^"'\n]++)["']\s*+\)\s*+(?:\.\s*+([A-Za-z_$][\w$]*+)\s*+)?\}\s*+([\w$]++)"""
)
_OWN = re.compile(rb"\bthis\.([A-Za-z_$][\w$]*+)\s*+=(?!=)")
_BASE = re.compile(rb"\bextends\s++([A-Za-z_$][\w$]*+)")
_CLASSES = {"class_declaration", "abstract_class_declaration", "interface_declaration", "class"}
_DECLARATIONS = {"lexical_declaration", "variable_declaration"}
_GLOBALS = {
    "console", "crypto", "document", "error", "event", "exports", "global", "history", "location", "module",
    "navigator", "performance", "process", "require", "screen", "window",
}  # fmt: skip
MOST_USES = 4096
_NAMES = {"identifier", "shorthand_property_identifier_pattern", "type_identifier"}


def read(root) -> dict:
    """Facts of one module.

    `imports`: [specifier, name, local] with name `default`, `*` (a namespace) or `=` (what `require` gives);
    `exports`: [exported, local]; `reexports`: [specifier, name, exported], `*` twice for `export *`;
    `members`: [local, member] of imported names; `types`: [specifier, name] of `import("x").name`;
    `documented`: the same in JSDoc comments, with name `*` where none is given; `typedefs`: [specifier, name, local]
    of those that get a name of their own there;
    `classes`: [name, base, members], of interfaces too; `uses`: [type, member] of what has a plain type.
    """
    facts: dict[str, list] = {"imports": [], "exports": [], "reexports": [], "classes": []}
    waiting = [root]
    while waiting:
        for node in waiting.pop().named_children:
            kind = node.type
            if kind == "import_statement":
                _import(node, facts)
            elif kind == "export_statement":
                _export(node, facts)
            elif kind in _CLASSES:
                _class(node, facts)
            elif kind in _DECLARATIONS:
                _require(node, facts)
            elif kind == "expression_statement":
                _assignment(node.named_children[0] if node.named_children else None, facts)
            elif kind == "ERROR":
                waiting.append(node)
    text = root.text.decode("utf-8", "replace")
    comments: list[str] = []
    code, strings, _ = blanked(text, comments)
    locals_ = {local for _, _, local in facts["imports"]}
    named = sorted(set(_NAMED.findall(code)))
    facts["members"] = [(local, member) for local, member, _ in named if member and local in locals_]
    facts["uses"] = _uses([entry for entry in named if entry[0] not in locals_], text)
    facts["types"] = sorted({(strings[int(number)], name) for number, name in _TYPE.findall(code)})
    facts["typedefs"] = [entry for comment in comments for entry in _TYPEDEF.findall(comment)]
    whole = {(specifier, "*") for specifier, name, _ in facts["typedefs"] if not name}
    facts["documented"] = sorted({pair for comment in comments for pair in documented(comment)} - whole)
    return facts


def _uses(named: list[tuple[str, str, str]], text: str) -> list[tuple[str, str]]:
    """Types with members: by annotation, `new` and JSDoc, else by the convention that a `user` is a `User`."""
    types: dict[str, set[str]] = {}
    for local, kind in [(local, kind) for local, _, kind in named if kind] + [
        (local, kind) for kind, local in _PARAMETER.findall(text)
    ]:
        types.setdefault(local, set()).add(kind)
    uses: set[tuple[str, str]] = set()
    for local, member, _ in named:
        if not member:
            continue
        if local in types:
            uses.update((kind, member) for kind in types[local])
        elif "a" <= local[0] <= "z" and local not in _GLOBALS:
            uses.add((local[0].upper() + local[1:], member))
    return sorted(uses)[:MOST_USES]


def _text(node) -> str:
    return node.text.decode("utf-8", "replace")


def _string(node) -> str:
    return _text(node)[1:-1]


def _unquoted(node) -> str:
    return _string(node) if node.type == "string" else _text(node)


def _import(node, facts: dict[str, list]) -> None:
    source = node.child_by_field_name("source")
    for child in node.named_children:
        if child.type == "import_require_clause":
            source = child.child_by_field_name("source")
            if source is not None and child.named_children:
                facts["imports"].append((_string(source), "=", _text(child.named_children[0])))
        elif child.type == "import_clause" and source is not None:
            path = _string(source)
            for part in child.named_children:
                if part.type == "identifier":
                    facts["imports"].append((path, "default", _text(part)))
                elif part.type == "namespace_import" and part.named_children:
                    facts["imports"].append((path, "*", _text(part.named_children[-1])))
                elif part.type == "named_imports":
                    for name, local in _specifiers(part):
                        facts["imports"].append((path, name, local))


def _specifiers(node) -> list[tuple[str, str]]:
    found = []
    for part in node.named_children:
        names = [child for child in part.named_children if child.type in ("identifier", "string")]
        if part.type.endswith("_specifier") and names:
            found.append((_unquoted(names[0]), _unquoted(names[-1])))
    return found


def _export(node, facts: dict[str, list]) -> None:
    source = node.child_by_field_name("source")
    kinds = {child.type for child in node.children}
    if source is not None:
        path = _string(source)
        named = next((child for child in node.named_children if child.type == "export_clause"), None)
        space = next((child for child in node.named_children if child.type == "namespace_export"), None)
        if named is not None:
            facts["reexports"] += [(path, name, exported) for name, exported in _specifiers(named)]
        elif space is not None and space.named_children:
            facts["reexports"].append((path, "*", _unquoted(space.named_children[-1])))
        elif "*" in kinds:
            facts["reexports"].append((path, "*", "*"))
        return
    declaration = node.child_by_field_name("declaration")
    if declaration is not None and declaration.type in _CLASSES:
        _class(declaration, facts)
    value = node.child_by_field_name("value")
    if "default" in kinds or "=" in kinds:
        named = declaration.child_by_field_name("name") if declaration is not None else value
        name = _text(named) if named is not None and named.type in _NAMES else ""
        facts["exports"].append(("default", name))
        if "=" in kinds and value is not None:
            _exported_value(value, facts)
    elif declaration is not None:
        facts["exports"] += [(name, "") for name in _declared(declaration)]
    else:
        for child in node.named_children:
            if child.type == "export_clause":
                facts["exports"] += [(exported, name) for name, exported in _specifiers(child)]


def _class(node, facts: dict[str, list]) -> None:
    """Adds [name, base, members]: of a class also what it assigns to members of `this`."""
    name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
    if name is None or body is None:
        return
    source, offset = node.text, node.start_byte
    base = _BASE.search(source, name.end_byte - offset, body.start_byte - offset)
    members = set(_OWN.findall(source, body.start_byte - offset))
    for part in body.named_children:
        named = part.child_by_field_name("name") or part.child_by_field_name("property")
        if named is not None:
            members.add(source[named.start_byte - offset : named.end_byte - offset])
    members = sorted(member.decode("utf-8", "replace") for member in members)
    facts["classes"].append((_text(name), base[1].decode() if base else "", members))


def _declared(node) -> list[str]:
    while node.type in ("ambient_declaration", "expression_statement") and node.named_children:
        node = node.named_children[0]
    if node.type not in _DECLARATIONS:
        name = node.child_by_field_name("name")
        return [_text(name)] if name is not None else []
    found, waiting = [], [node]
    while waiting:
        at = waiting.pop()
        if at.type in _NAMES:
            found.append(_text(at))
        elif at.type == "variable_declarator":
            name = at.child_by_field_name("name")
            waiting += [name] if name is not None else []
        elif at.type == "pair_pattern":
            value = at.child_by_field_name("value")
            waiting += [value] if value is not None else []
        elif at.type in ("assignment_pattern", "object_assignment_pattern"):
            waiting += at.named_children[:1]
        else:
            waiting += at.named_children
    return found


def _required(node) -> tuple[str, str] | None:
    """Specifier and name of `require("x")` (`=`) or `require("x").name`."""
    name = "="
    if node.type == "member_expression":
        of, member = node.child_by_field_name("object"), node.child_by_field_name("property")
        if of is None or member is None:
            return None
        node, name = of, _text(member)
    if node.type != "call_expression":
        return None
    function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    if function is None or arguments is None or function.text != b"require":
        return None
    given = arguments.named_children
    return (_string(given[0]), name) if len(given) == 1 and given[0].type == "string" else None


def _require(node, facts: dict[str, list]) -> None:
    for declarator in node.named_children:
        value, name = declarator.child_by_field_name("value"), declarator.child_by_field_name("name")
        required = _required(value) if value is not None else None
        if required is None or name is None:
            continue
        path, member = required
        if name.type == "identifier":
            facts["imports"].append((path, member, _text(name)))
        elif name.type == "object_pattern" and member == "=":
            for part in name.named_children:
                if part.type == "shorthand_property_identifier_pattern":
                    facts["imports"].append((path, _text(part), _text(part)))
                elif part.type == "pair_pattern":
                    key, local = part.child_by_field_name("key"), part.child_by_field_name("value")
                    if key is not None and local is not None:
                        facts["imports"].append((path, _unquoted(key), _text(local)))


def _assignment(node, facts: dict[str, list]) -> None:
    """`module.exports = ...`, `exports.a = ...`, `module.exports.a = ...`."""
    chain = 0
    while node is not None and node.type == "assignment_expression" and chain < 8:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None or left.end_byte - left.start_byte > 256:
            return
        words = "".join(_text(left).split())
        if words == "module.exports":
            _exported_value(right, facts)
        elif words.startswith(("exports.", "module.exports.")):
            _exported_name(words.rpartition(".")[2], right, facts)
        node, chain = right, chain + 1


def _exported_name(exported: str, value, facts: dict[str, list]) -> None:
    required = _required(value)
    if required is not None:
        facts["reexports"].append((required[0], required[1], exported))
    else:
        facts["exports"].append((exported, _text(value) if value.type == "identifier" else ""))


def _exported_value(value, facts: dict[str, list]) -> None:
    required = _required(value)
    if required is not None:
        facts["reexports"].append((*required, "default"))
        if required[1] == "=":
            facts["reexports"].append((required[0], "*", "*"))
        return
    if value.type == "identifier":
        facts["exports"].append(("default", _text(value)))
    if value.type != "object":
        return
    for part in value.named_children:
        if part.type == "shorthand_property_identifier":
            facts["exports"].append((_text(part), _text(part)))
        elif part.type == "pair":
            key, inner = part.child_by_field_name("key"), part.child_by_field_name("value")
            if key is not None and inner is not None:
                _exported_name(_unquoted(key), inner, facts)
        elif part.type == "method_definition":
            name = part.child_by_field_name("name")
            if name is None:
                continue
            body = part.child_by_field_name("body")
            only = body.named_children[0] if body is not None and len(body.named_children) == 1 else None
            if only is not None and only.type == "return_statement" and only.named_children:
                _exported_name(
                    _unquoted(name), only.named_children[0], facts
                )  # get a() { return require("./a") }
            else:
                facts["exports"].append((_unquoted(name), ""))
