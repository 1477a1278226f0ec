"""C#: the types that a file declares and those that it names, resolved as the compiler does it.

A name is looked for in the types around it and their bases, then in each namespace from the innermost outward: what
the namespace declares, then what its `using`s bring in. Where several projects declare a type, the file's own and
those that it references come first. Of a partial type in several files, the file counts that declares the member
that is named; where none is, the one that stands for the type. See `csharp_names` for the resolution.
"""

from bisect import bisect_right
from functools import cache

from repo_ordering.languages.csharp_names import names_used, names_written, resolve
from repo_ordering.trees import captured

__all__ = ["grammar", "names_used", "names_written", "resolve", "scan_tree"]

MAX_DEPTH = 64  # of a qualified name
MAX_NESTED = 32  # namespaces and types in one another; what is deeper is nobody's code and is not declared
MAX_NAME = 512  # characters of a namespace

_TYPE = "[(identifier) (generic_name) (qualified_name) (alias_qualified_name)]"
_QUERY = f"""
[(namespace_declaration) (file_scoped_namespace_declaration)] @namespace
(using_directive) @using
[(class_declaration) (struct_declaration) (interface_declaration) (enum_declaration) (record_declaration)
 (delegate_declaration)] @declares
[(method_declaration name: (identifier) @member) (property_declaration name: (identifier) @member)
 (event_declaration name: (identifier) @member) (enum_member_declaration name: (identifier) @member)
 (field_declaration (variable_declaration (variable_declarator name: (identifier) @member)))
 (event_field_declaration (variable_declaration (variable_declarator name: (identifier) @member)))]
((method_declaration parameters: (parameter_list . (parameter (modifier) @_this))) @extension
 (#eq? @_this "this"))
[(variable_declarator name: (identifier) @variable) (parameter name: (identifier) @variable)
 (type_parameter name: (identifier) @parameter)]
(_ type: {_TYPE} @type)
[(method_declaration returns: {_TYPE} @type) (local_function_statement type: {_TYPE} @type)
 (type_argument_list {_TYPE} @type) (base_list {_TYPE} @type) (explicit_interface_specifier {_TYPE} @type)
 (as_expression right: {_TYPE} @type) (is_expression right: {_TYPE} @type)
 (type_parameter_constraint {_TYPE} @type)]
(constant_pattern [(identifier) (generic_name)] @head)
(constant_pattern (binary_expression) @pattern)
(ERROR (identifier) @head)
(attribute name: {_TYPE} @attribute)
((invocation_expression function: (identifier) @_nameof arguments: (argument_list (argument (identifier) @head)))
 (#eq? @_nameof "nameof"))
(member_access_expression expression: [(identifier) (generic_name) (alias_qualified_name)]) @access
(member_access_expression expression: (member_access_expression) name: (_)) @further
(invocation_expression function: [(member_access_expression) (conditional_access_expression)]) @call
(preproc_if) @guard
(ERROR "namespace" . [(identifier) (qualified_name)] @lost_namespace)
(ERROR ["class" "struct" "interface" "enum"] . (identifier) @lost_type)
"""
_WORDS = "(identifier) @word"


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_c_sharp

    return tree_sitter_c_sharp.language()


@cache
def _query(text: str):
    import tree_sitter

    return tree_sitter.Query(tree_sitter.Language(grammar("C#")), text)


def scan_tree(root) -> dict:
    """What a file declares and names.

    scopes: [parent, namespace, usings as [name, guarded, global], static usings alike, aliases as [alias, name,
    global]], the first the whole file. types: [scope, type around it or -1, name with its arity, is partial, bases,
    members, extension methods as [name, fewest arguments, most, guarded], is guarded]. uses: [scope, type around,
    kind, name, is guarded], by kind `type`, `attribute` or `head` (of what may be a member's access). calls: [method
    called on something, its arguments, the name it is called on or ""]. words: all names, for a partial type.
    """
    import tree_sitter

    found = captured(tree_sitter.QueryCursor(_query(_QUERY)), root)
    source = b" " * root.start_byte + root.text  # its slices cost far less than `node.text`

    def text_of(node) -> bytes:
        return source[node.start_byte : node.end_byte]

    scopes: list[list] = [[-1, "", [], [], []]]
    types: list[list] = []
    guards = _guards(found.get("guard", ()), within_types=True)
    conditional = _guards(found.get("guard", ()))
    # Where the text enters a namespace or a type's body, and what it is in from there on.
    starts, inside = [0], [(0, -1)]
    opened: list[tuple[int, tuple[int, int]]] = []  # (end, what it was in before)

    def enter(start: int, end: int, into: tuple[int, int]) -> None:
        starts.append(start)
        inside.append(into)
        opened.append((end, into))

    def leave(start: int) -> tuple[int, int]:
        while opened and opened[-1][0] <= start:
            end, _ = opened.pop()
            starts.append(end)
            inside.append(opened[-1][1] if opened else (0, -1))
        return opened[-1][1] if opened else (0, -1)

    blocks = [
        (node.start_byte, kind, node)
        for kind in ("namespace", "declares", "lost_namespace", "lost_type")
        for node in found.get(kind, ())
    ]
    for start, kind, node in sorted(blocks, key=lambda block: block[:2]):
        scope, around = leave(start)
        is_lost = kind.startswith("lost")  # its declaration could not be read to its end
        name = node if is_lost else node.child_by_field_name("name")
        body = None if is_lost else node.child_by_field_name("body")
        if name is None or len(opened) >= MAX_NESTED:
            continue
        if kind.endswith("namespace"):
            full = ".".join([scopes[scope][1], *(part for part, _ in _parts(name))]).strip(".")
            scopes.append([scope, full[:MAX_NAME], [], [], []])
            end = node.end_byte if node.type == "namespace_declaration" else root.end_byte
            enter(start, end, (len(scopes) - 1, -1))
            continue
        declared = [_text(name), False, []] if is_lost else _declared(node, name)
        types.append([scope, around, *declared, [], [], _is_guarded(conditional, start)])
        if body is not None:
            enter(body.start_byte, body.end_byte, (scope, len(types) - 1))
    leave(root.end_byte + 1)

    def at(node) -> tuple[int, int]:
        return inside[bisect_right(starts, node.start_byte) - 1]

    for node in found.get("member", ()):
        around = at(node)[1]
        if around >= 0:
            types[around][5].append(text_of(node).decode("utf-8", "replace"))
    for node in found.get("extension", ()):
        around = at(node)[1]
        if around >= 0:
            types[around][6].append([*_extension(node), _is_guarded(conditional, node.start_byte)])
    for node in found.get("using", ()):
        _using(node, scopes[at(node)[0]], _is_guarded(guards, node.start_byte))
    bound = {text_of(node) for kind in ("member", "variable") for node in found.get(kind, ())}
    parameters = {text_of(node) for node in found.get("parameter", ())}
    uses: dict[tuple, None] = {}
    found.setdefault("head", []).extend(_leftmost(node) for node in found.get("pattern", ()))
    for kind in ("type", "attribute", "head"):
        for node in found.get(kind, ()):
            text = text_of(node)
            if text in parameters or (kind == "head" and text in bound):
                continue
            is_plain = node.type == "identifier"
            if kind == "head" and not is_plain and node.type != "generic_name":
                continue
            name = text.decode("utf-8", "replace") if is_plain else _name(node)
            if name:
                uses[(*at(node), kind, name, _is_guarded(guards, node.start_byte))] = None
    for node, name in _accesses(found, bound | parameters, text_of):
        uses[(*at(node), "head", name, _is_guarded(guards, node.start_byte))] = None
    named: set[bytes] = set()
    if any(row[3] for row in types):  # a part of a type, whose other parts declare some of the names in it
        named = set(map(text_of, tree_sitter.QueryCursor(_query(_WORDS)).captures(root).get("word", ())))
    calls = dict.fromkeys(_call(node, text_of) for node in found.get("call", ()))
    return {
        "scopes": scopes,
        "types": types,
        "uses": [list(use) for use in uses],
        "calls": [list(call) for call in calls if call[0]],
        "words": sorted(text.decode("utf-8", "replace") for text in named),
    }


def _text(node) -> str:
    return node.text.decode("utf-8", "replace")


def _parts(node) -> list[tuple[str, int]]:
    """A type's name in parts, each with its number of type arguments; an alias before `::` counts as a part."""
    parts: list[tuple[str, int]] = []
    while node is not None and len(parts) < MAX_DEPTH:
        kind = node.type
        name, node = node, None
        if kind in ("qualified_name", "alias_qualified_name"):
            node = name.child_by_field_name("qualifier") or name.child_by_field_name("alias")
            name = name.child_by_field_name("name")
            if name is None:
                break
            kind = name.type
        if kind == "generic_name":
            arguments = name.named_children[-1]
            arity = sum(child.type == "," for child in arguments.children) + 1
            parts.append(
                (_text(name.named_children[0]), arity if arguments.type == "type_argument_list" else 0)
            )
        else:
            parts.append((_text(name), 0))
    parts.reverse()
    return parts


def _name(node) -> str:
    """A dotted name whose parts end with a backquote and their arity, as in metadata, where they have one."""
    parts = _parts(node)
    if parts and parts[0][0] == "global":
        parts[0] = ("global::", 0)
    return ".".join(f"{name}`{arity}" if arity else name for name, arity in parts)


def _declared(node, name) -> list:
    """Name with arity, whether it is partial, its bases."""
    partial, arity, bases = False, 0, []
    for child in node.children:
        kind = child.type
        if kind == "modifier":
            partial |= child.text == b"partial"
        elif kind == "type_parameter_list":
            arity = sum(each.type == "type_parameter" for each in child.named_children)
        elif kind == "base_list":
            for base in child.named_children:
                base = base.child_by_field_name("type") or base
                if base.type.endswith("name") or base.type == "identifier":
                    bases.append(_name(base))
    return [f"{_text(name)}`{arity}" if arity else _text(name), partial, bases]


def _extension(method) -> tuple[str, int, int]:
    """Name of an extension method, the fewest and the most arguments it takes behind `this`."""
    fewest = most = -1
    for parameter in method.child_by_field_name("parameters").children:
        if parameter.type == "params":
            most = 1 << 16
        elif parameter.type == "parameter":
            fewest += not any(child.type == "=" for child in parameter.children)
            most += 1
    return _text(method.child_by_field_name("name")), fewest, most


def _call(invocation, text_of) -> tuple[str, int, str]:
    """Name of a method that is called on something, how many arguments it is given, and the name of that something."""
    access = invocation.child_by_field_name("function")
    on = access.child_by_field_name("expression")
    if access.type == "conditional_access_expression":
        access, on = access.named_children[-1], None
    name = access.child_by_field_name("name")
    if name is None:
        return "", 0, ""
    arguments = invocation.child_by_field_name("arguments")
    given = arguments.named_child_count if arguments is not None else 0
    named = text_of(on).decode("utf-8", "replace") if on is not None and on.type == "identifier" else ""
    return text_of(name).partition(b"<")[0].strip().decode("utf-8", "replace"), given, named


def _leftmost(node):
    """Of `x is A && b`, which is read as `x is (A && b)`, the A."""
    for _ in range(MAX_DEPTH):
        left = node.child_by_field_name("left")
        if left is None or node.type != "binary_expression":
            break
        node = left
    return node


def _using(node, scope: list, is_guarded: bool) -> None:
    alias = node.child_by_field_name("name")
    words = {child.type for child in node.children if not child.is_named}
    named = [child for child in node.named_children if child != alias]
    name = (
        _name(named[-1])
        if named and (named[-1].type.endswith("name") or named[-1].type == "identifier")
        else ""
    )
    if not name:
        return
    if alias is not None:
        scope[4].append([_text(alias), name, "global" in words])
    elif "static" in words:
        scope[3].append([name, is_guarded, "global" in words])
    else:
        scope[2].append([name, is_guarded, "global" in words])


def _accesses(found, bound: set[bytes], text_of):
    """(node, dotted name) of each access that starts with a name: as far as it is names."""
    further: dict[int, list[tuple[int, object]]] = {}
    for node in found.get("further", ()):
        name = node.child_by_field_name("name")
        if name is not None:
            further.setdefault(node.start_byte, []).append((node.end_byte, name))
    for node in found.get("access", ()):
        head = node.child_by_field_name("expression")
        name = node.child_by_field_name("name")
        if head is None or name is None or (first := text_of(head)) in bound:
            continue
        names = [name]
        if node.start_byte in further:
            names += [
                part for _, part in sorted(further[node.start_byte], key=lambda pair: pair[0])[:MAX_DEPTH]
            ]
        dotted = [first.decode("utf-8", "replace") if head.type == "identifier" else _name(head)]
        dotted += [text_of(part).partition(b"<")[0].strip().decode("utf-8", "replace") for part in names]
        yield node, ".".join(dotted)


def _guards(nodes, within_types: bool = False) -> list[tuple[int, int]]:
    """Byte ranges below an #if. Within types: not of one that holds whole types, for their own code goes with them."""
    ranges = []
    for node in nodes:
        kinds = {child.type for child in node.named_children} if within_types else ()
        if not any(kind.endswith("_declaration") and kind not in _MEMBERS for kind in kinds):
            ranges.append((node.start_byte, node.end_byte))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start < merged[-1][1]:
            end = max(end, merged[-1][1])
            start = merged.pop()[0]
        merged.append((start, end))
    return merged


_MEMBERS = {
    "method_declaration", "property_declaration", "field_declaration", "event_declaration", "constructor_declaration",
    "event_field_declaration", "indexer_declaration", "operator_declaration", "conversion_operator_declaration",
    "destructor_declaration", "enum_member_declaration", "variable_declaration", "delegate_declaration",
}  # fmt: skip


def _is_guarded(guards: list[tuple[int, int]], position: int) -> bool:
    index = bisect_right(guards, (position, 1 << 62)) - 1
    return index >= 0 and position < guards[index][1]
