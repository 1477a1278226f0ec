"""C, C++ and their kin: the functions and variables a file defines, declares and calls, read off its syntax tree.

A name of C++ stands with its innermost scope, `Table::Open`: that is how much a definition outside its class and the
declaration inside it always share. Macros leave ERROR nodes in many trees; what is readable between them is taken.
"""

import bisect
import functools
import re

import tree_sitter
import tree_sitter_cpp

from repo_ordering.trees import captured

MAX_NAMES = 20_000  # of a kind in one file; only generated tables have more
_MAX_NAME_BYTES = 512
_MAX_MACRO_BYTES = 4096

_QUERY = """
(function_definition) @definition
(function_definition declarator: (identifier) @macro_class)
(function_definition body: (compound_statement) @body)
(function_definition (storage_class_specifier) @storage)
(function_declarator declarator: (identifier) @function)
(call_expression function: (identifier) @call)
(initializer_list (identifier) @reference)
(initializer_list (pointer_expression argument: (identifier) @reference))
(initializer_pair value: (identifier) @reference)
(parameter_declaration declarator: (identifier) @bound)
(parameter_declaration declarator: (pointer_declarator declarator: (identifier) @bound))
(function_declarator declarator: (parenthesized_declarator (pointer_declarator declarator: (identifier) @bound)))
(preproc_function_def) @macro
(preproc_def) @macro
(preproc_if) @branch
(preproc_ifdef) @branch
(struct_specifier name: (type_identifier) @type body: (_))
(union_specifier name: (type_identifier) @type body: (_))
(enum_specifier name: (type_identifier) @type body: (_))
(type_definition declarator: (type_identifier) @type)
(type_identifier) @named
(translation_unit (declaration declarator: (_)) @variable)
(preproc_if (declaration declarator: (_)) @variable)
(preproc_ifdef (declaration declarator: (_)) @variable)
(preproc_else (declaration declarator: (_)) @variable)
(linkage_specification (declaration declarator: (_)) @variable)
(declaration_list (declaration declarator: (_)) @variable)
(namespace_definition) @scope
(class_specifier body: (_)) @scope
(struct_specifier body: (_)) @scope
(class_specifier name: (type_identifier) @type body: (_))
(alias_declaration name: (type_identifier) @type)
(function_declarator declarator: (field_identifier) @function)
(function_declarator declarator: (destructor_name) @function)
(function_declarator declarator: (operator_name) @function)
(function_declarator declarator: (qualified_identifier) @function)
(call_expression function: (qualified_identifier) @call)
(call_expression function: (template_function name: (identifier) @call))
(call_expression function: (field_expression field: (field_identifier) @member))
(new_expression type: (type_identifier) @new)
"""
_DECLARATORS = {"init_declarator", "pointer_declarator", "array_declarator", "reference_declarator"}
_CALL = re.compile(r"\b([A-Za-z_]\w*+)\s*+\(")
# An include guard with its `#define`, C++ in a header of both languages.
_SETTLED = re.compile(
    rb"#[ \t]*+(?:ifndef[ \t]++|if[ \t]*+![ \t]*+defined[ \t]*+\(?[ \t]*+)(\w++)[ \t]*+\)?\s*+(?:(?://|/\*)[^\n]*+\s*+)?"
    rb"#[ \t]*+define[ \t]++\1\b|#[ \t]*+if(?:def[ \t]++|[ \t]++defined[ \t]*+\(?[ \t]*+)__cplusplus\b"
)
_ARGUMENTS = re.compile(r"<[^<>]*+>")
_OPEN_DEFINITION, _BODY, _CLASS, _NAMESPACE, _UNNAMED = range(5)


def grammar(_: str) -> object:
    """The tree-sitter grammar: that of C++ for all, because it finds its way out of macros that C's does not."""
    return tree_sitter_cpp.language()


@functools.cache
def _query() -> tree_sitter.Query:
    return tree_sitter.Query(tree_sitter.Language(tree_sitter_cpp.language()), _QUERY)


def scan_tree(root) -> dict:
    """Names `defined` for all, for this file alone (`static`), `declared`, and `called`; `macros` with what they call.

    They are functions and variables of the file level and of classes. A call is `f`, `Scope::f` or, of an object's
    member, `.f`. Those that stand only under an `#if` are named again as `defined_if`, `called_if`, `macros_if`. Also
    the `types` of the file, the types that it `named`, and which called names are `bound` by parameters too.
    """
    captures = captured(tree_sitter.QueryCursor(_query()), root)
    source, offset = root.text, root.start_byte

    def text(node, limit: int = _MAX_NAME_BYTES) -> bytes:
        return source[node.start_byte - offset : min(node.end_byte, node.start_byte + limit) - offset]

    def texts(name: str) -> set[bytes]:
        return {text(node) for node in captures.get(name, ())}

    is_choice = _Choices(captures.get("branch", ()), text)
    found = _file_level(captures, text, is_choice)
    for kind, form in (("call", "{}"), ("reference", "{}"), ("member", ".{}"), ("new", "{0}::{0}")):
        by_choice: dict[bool, set[bytes]] = {False: set(), True: set()}
        for node in captures.get(kind, ()):
            by_choice[is_choice(node)].add(text(node))
        for choice, names in by_choice.items():
            calls = {
                form.format(name if name.isidentifier() else _tail(name)) for name in map(_decoded, names)
            }
            found.setdefault("called_if" if choice else "called", set()).update(calls)
    found["called_if"] -= found["called"]
    found["called"] |= found["called_if"]
    found["bound"] = found["called"].intersection(map(_decoded, texts("bound")))
    found["types"] = set(map(_decoded, texts("type")))
    found["named"] = set(map(_decoded, texts("named"))) - found["types"]
    macros, found["macros_if"] = _macros(captures.get("macro", ())[:MAX_NAMES], text, is_choice)
    return {name: sorted(names)[:MAX_NAMES] for name, names in found.items()} | {"macros": macros}


class _Choices:
    """Whether a node stands under an `#if` that the build decides: not an include guard's, nor `__cplusplus`."""

    def __init__(self, branches, text) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for node in sorted(branches, key=lambda node: (node.start_byte, -node.end_byte)):
            if (self._ends and node.start_byte < self._ends[-1]) or _SETTLED.match(text(node)):
                continue
            self._starts.append(node.start_byte)
            self._ends.append(node.end_byte)

    def __call__(self, node) -> bool:
        place = bisect.bisect_right(self._starts, node.start_byte) - 1
        return place >= 0 and node.start_byte < self._ends[place]


def _macros(nodes, text, is_choice: _Choices) -> tuple[dict[str, list[str]], set[str]]:
    """Each macro with what its values call, or the names that it stands for; and those only defined under an `#if`."""
    found: dict[str, list[str]] = {}
    sure: set[str] = set()
    for node in nodes:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            continue
        code = _decoded(text(value, _MAX_MACRO_BYTES)).strip() if value is not None else ""
        names = [code] if code.isidentifier() else dict.fromkeys(_CALL.findall(code))
        key = _decoded(text(name))
        found.setdefault(key, []).extend(names)
        if not is_choice(node):
            sure.add(key)
    return found, found.keys() - sure


def _file_level(captures: dict, text, is_choice: _Choices) -> dict[str, set[str]]:
    """What is defined and declared outside bodies of functions, with the innermost class or namespace."""
    events = [
        (node.start_byte, -node.end_byte, kind, node)
        for kind in ("definition", "scope", "storage", "macro_class", "body", "function", "variable")
        for node in captures.get(kind, ())
    ]
    events.sort(key=lambda event: event[:2])
    found: dict[str, set[str]] = {"defined": set(), "static": set(), "declared": set()}
    sure: set[str] = set()
    scopes: list[list] = []  # [end, what, name]
    bodies = 0  # of functions, among the scopes
    unnamed = 0  # namespaces without a name: what they hold is static
    is_static = False
    for start, end, kind, node in events:
        while scopes and scopes[-1][0] <= start:
            what = scopes.pop()[1]
            bodies -= what == _BODY
            unnamed -= what == _UNNAMED
        top = scopes[-1] if scopes else None
        if kind == "body":
            if top is not None and top[1] == _CLASS and top[0] == -end:
                continue  # of a class that a macro made look like a function
            scopes.append([-end, _BODY, ""])
            bodies += 1
        elif bodies:
            continue
        elif kind == "definition":
            scopes.append([-end, _OPEN_DEFINITION, ""])
            is_static = False
        elif kind == "storage":
            is_static |= text(node) == b"static"
        elif kind == "macro_class":
            if top is not None and top[1] == _OPEN_DEFINITION:
                top[1:] = [_CLASS, _decoded(text(node))]
        elif kind == "scope":
            name = node.child_by_field_name("name")
            is_namespace = node.type == "namespace_definition"
            what = (_UNNAMED if name is None else _NAMESPACE) if is_namespace else _CLASS
            scopes.append(
                [-end, what, _tail(_decoded(text(name))).rpartition("::")[2] if name is not None else ""]
            )
            unnamed += what == _UNNAMED
        elif kind == "variable":
            kind, names = _variables(node, text)
            if not is_choice(node):
                sure.update(_in_scope(name, scopes) for name in names)
            found["static" if unnamed and kind == "defined" else kind].update(
                _in_scope(name, scopes) for name in names
            )
        else:
            name = _in_scope(_decoded(text(node)), scopes)
            if top is None or top[1] != _OPEN_DEFINITION:
                found["declared"].add(name)
            elif not top[2]:
                top[2] = name
                in_class = any(scope[1] == _CLASS for scope in scopes)
                found["static" if unnamed or (is_static and not in_class) else "defined"].add(name)
                if not is_choice(node):
                    sure.add(name)
    found["defined_if"] = (found["defined"] | found["static"]) - sure
    return found


def _variables(node, text) -> tuple[str, list[str]]:
    """What a declaration of the file level does for the variables it names: defined, static or declared (`extern`)."""
    kind = "defined"
    names = []
    for child in node.named_children:
        if child.type == "storage_class_specifier":
            word = text(child)
            kind = "declared" if word == b"extern" else "static" if word == b"static" else kind
        while child is not None and child.type in _DECLARATORS:
            child = child.child_by_field_name("declarator")
        if child is not None and child.type == "identifier":
            names.append(_decoded(text(child)))
    return kind, names


def _in_scope(name: str, scopes: list[list]) -> str:
    """A name with its innermost scope, be it written before it or around it."""
    if not name.replace("_", "a").isalnum():
        name = _tail(name)
    if "::" in name:
        return name
    scope = next(
        (scope[2] for scope in reversed(scopes) if scope[2] and scope[1] in (_CLASS, _NAMESPACE)), ""
    )
    return f"{scope}::{name}" if scope else name


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _tail(name: str) -> str:
    """The last two parts of a qualified name, without template arguments and blanks."""
    if "operator" in name:
        before, _, operator = name.rpartition("operator")
        return "::".join([*_tail(before).split("::")[-2:-1], "operator" + "".join(operator.split())])
    while "<" in name and (shorter := _ARGUMENTS.sub("", name)) != name:
        name = shorter
    return "::".join("".join(name.split()).split("::")[-2:]).removeprefix("::")
