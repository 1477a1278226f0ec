"""PHP: the classes, functions and constants that a file declares and names, and the files it includes.

Names are made fully qualified in the child, as the compiler does it: namespace, `use`, and for functions and
constants the global one where the namespace has none. Where two files declare a name, composer.json's autoloading
decides, or else the nearer file. Types in documentation comments and names in strings do not count.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.languages.php_files import MAX_DECLARED, Autoload, Paths
from repo_ordering.places import nearest
from repo_ordering.trees import captured

MAX_PARTS = 32  # of a path that is put together from constants

_NAME = "[(name) (qualified_name) (relative_name)]"
_QUERY = f"""
(namespace_definition) @namespace
(namespace_use_declaration) @use
[(class_declaration name: (name) @class_name)
 (interface_declaration name: (name) @class_name)
 (trait_declaration name: (name) @class_name)
 (enum_declaration name: (name) @class_name)
 (function_definition name: (name) @function_name)]
(program (const_declaration (const_element . (name) @constant_name)))
(namespace_definition body: (compound_statement (const_declaration (const_element . (name) @constant_name))))
[(base_clause {_NAME} @class) (class_interface_clause {_NAME} @class) (use_declaration {_NAME} @class)
 (named_type {_NAME} @class) (object_creation_expression . {_NAME} @class) (attribute . {_NAME} @class)
 (scoped_call_expression scope: {_NAME} @class) (scoped_property_access_expression scope: {_NAME} @class)
 (class_constant_access_expression . {_NAME} @class)
 (binary_expression operator: "instanceof" right: {_NAME} @class)]
(function_call_expression function: {_NAME} @function)
((function_call_expression function: (name) @_define) @define (#eq? @_define "define"))
[(argument !name {_NAME} @constant) (argument name: (_) {_NAME} @constant)
 (binary_expression left: {_NAME} @constant)
 (binary_expression !operator right: {_NAME} @constant)
 (binary_expression operator: _ @_operator right: {_NAME} @constant)
 (array_element_initializer {_NAME} @constant) (return_statement {_NAME} @constant)
 (assignment_expression right: {_NAME} @constant) (parenthesized_expression {_NAME} @constant)
 (conditional_expression {_NAME} @constant) (echo_statement {_NAME} @constant)
 (sequence_expression {_NAME} @constant) (case_statement value: {_NAME} @constant)
 (unary_op_expression {_NAME} @constant) (subscript_expression (_) {_NAME} @constant)
 (match_conditional_expression {_NAME} @constant) (match_condition_list {_NAME} @constant)
 (match_default_expression {_NAME} @constant) (const_element (name) {_NAME} @constant)
 (property_element default_value: {_NAME} @constant) (simple_parameter default_value: {_NAME} @constant)
 (property_promotion_parameter default_value: {_NAME} @constant) (enum_case value: {_NAME} @constant)
 (arrow_function body: {_NAME} @constant) (cast_expression {_NAME} @constant)]
[(include_expression) (include_once_expression) (require_expression) (require_once_expression)] @include
"""
_KEYWORDS = {"self", "static", "parent"}


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_php

    return tree_sitter_php.language_php()


@cache
def _query():
    import tree_sitter

    return tree_sitter.Query(tree_sitter.Language(grammar("PHP")), _QUERY)


def scan_tree(root) -> dict:
    """Fully qualified names: declared classes, functions and constants (with their values), used ones, `use`d ones.

    A used function or constant has a second name where the global one serves too. Includes and values are paths
    in parts: ["text", s], ["folder", levels up from the file's], ["constant", name] or ["unknown", ""].
    """
    import tree_sitter

    found = captured(tree_sitter.QueryCursor(_query()), root)
    scopes = [_Scope("")]
    starts = [0]
    for node in sorted(found.get("namespace", ()), key=lambda node: node.start_byte):
        name = node.child_by_field_name("name")
        scopes.append(_Scope(_text(name) if name is not None else ""))
        starts.append(node.start_byte)

    def scope_of(node) -> _Scope:
        return scopes[bisect_right(starts, node.start_byte) - 1] if len(starts) > 1 else scopes[0]

    for node in found.get("use", ()):
        scope_of(node).use(node)

    def names(kind: str) -> Iterator[tuple["_Scope", str]]:
        if len(starts) == 1:
            for text in dict.fromkeys(node.text for node in found.get(kind, ())):
                yield scopes[0], text.decode("utf-8", "replace")
        else:
            for at, text in dict.fromkeys(
                (bisect_right(starts, node.start_byte) - 1, node.text) for node in found.get(kind, ())
            ):
                yield scopes[at], text.decode("utf-8", "replace")

    facts = {
        "classes": [scope.within(name) for scope, name in names("class_name")],
        "functions": [scope.within(name) for scope, name in names("function_name")],
        "constants": [],
        "imports": [name for scope in scopes for name in dict.fromkeys(scope.classes.values())],
        "used_classes": list(dict.fromkeys(scope.class_(name) for scope, name in names("class"))),
        "used_functions": [scope.function(name, scope.functions) for scope, name in names("function")],
        "used_constants": [scope.function(name, scope.constants) for scope, name in names("constant")],
        "includes": [],
    }
    for scope in scopes:
        facts["used_functions"] += [[name, ""] for name in scope.functions.values()]
        facts["used_constants"] += [[name, ""] for name in scope.constants.values()]
    for node in found.get("constant_name", ()):
        value = node.next_named_sibling
        facts["constants"].append([scope_of(node).within(_text(node)), _path(value)])
    for node in found.get("define", ()):
        given = [argument.named_children[-1] for argument in _arguments(node) if argument.named_children]
        if len(given) > 1 and given[0].type in ("string", "encapsed_string"):
            facts["constants"].append([_string(given[0]).strip("\\"), _path(given[1])])
    for node in found.get("include", ()):
        facts["includes"].append(_path(node.named_children[0] if node.named_children else None))
    return facts


class _Scope:
    """A namespace and what `use` brings into it: alias -> fully qualified name."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.classes: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.constants: dict[str, str] = {}

    def use(self, node) -> None:
        kind = node.child_by_field_name("type")
        prefix = ""
        clauses = []
        for child in node.named_children:
            if child.type == "namespace_name":
                prefix = _text(child).strip("\\") + "\\"
            elif child.type == "namespace_use_clause":
                clauses.append(child)
            elif child.type == "namespace_use_group":
                clauses += [each for each in child.named_children if each.type == "namespace_use_clause"]
        for clause in clauses:
            alias = clause.child_by_field_name("alias")
            own = clause.child_by_field_name("type") or kind
            named = next((child for child in clause.named_children if child.type.endswith("name")), None)
            if named is None:
                continue
            name = prefix + _text(named).strip("\\")
            what = _text(own).lower() if own is not None else ""
            table = {"function": self.functions, "const": self.constants}.get(what, self.classes)
            last = _text(alias) if alias is not None else name.rpartition("\\")[2]
            table[last if what == "const" else last.lower()] = name

    def within(self, name: str) -> str:
        return f"{self.namespace}\\{name}" if self.namespace else name

    def class_(self, name: str) -> str:
        if name[:1] == "\\":
            return name[1:]
        first, slash, rest = name.partition("\\")
        if slash and first.lower() == "namespace":
            return self.within(rest)
        if first.lower() in _KEYWORDS:
            return ""
        target = self.classes.get(first.lower())
        return target + slash + rest if target else self.within(name)

    def function(self, name: str, used: Mapping[str, str]) -> list[str]:
        """A function's or constant's name, and the global one that serves if there is no such."""
        if "\\" in name:
            return [self.class_(name), ""]
        target = used.get(name) or (used.get(name.lower()) if used is self.functions else None)
        if target:
            return [target, ""]
        return [self.within(name), name if self.namespace else ""]


def _text(node) -> str:
    return node.text.decode("utf-8", "replace")


def _arguments(call) -> list:
    arguments = call.child_by_field_name("arguments")
    return (
        [] if arguments is None else [child for child in arguments.named_children if child.type == "argument"]
    )


def _string(node) -> str:
    return "".join(_text(child) for child in node.named_children if child.type == "string_content")


def _path(node) -> list[list]:
    """The parts of an expression that gives a path; one that is not understood is ["unknown", ""]."""
    parts: list[list] = []
    waiting = [node]
    while waiting and len(parts) < MAX_PARTS:
        node = waiting.pop()
        kind = node.type if node is not None else ""
        if kind == "parenthesized_expression":
            waiting += node.named_children[:1]
        elif kind == "binary_expression" and any(child.type == "." for child in node.children):
            waiting += [node.child_by_field_name("right"), node.child_by_field_name("left")]
        elif kind == "string":
            parts.append(["text", _string(node)])
        elif kind == "encapsed_string":
            for child in node.named_children[:MAX_PARTS]:
                is_text = child.type == "string_content"
                parts.append(["text", _text(child)] if is_text else ["unknown", ""])
        elif kind == "name":
            name = _text(node)
            parts.append(["folder", 0] if name.upper() == "__DIR__" else ["constant", name])
        elif kind == "function_call_expression":
            parts.append(["folder", levels] if (levels := _dirname(node)) is not None else ["unknown", ""])
        else:
            parts.append(["unknown", ""])
    return [["unknown", ""]] if waiting else parts


def _dirname(call) -> int | None:
    """Folders up from the file's own that `dirname(dirname(__FILE__))` or `dirname(__DIR__, 2)` is."""
    levels = 0
    while call.type == "function_call_expression":
        function, given = call.child_by_field_name("function"), _arguments(call)
        if function is None or _text(function).lower().strip("\\") != "dirname" or not given or levels > 64:
            return None
        count = _text(given[1]) if len(given) > 1 else "1"
        levels += int(count) if count.isdecimal() and len(count) < 3 else 1
        if not given[0].named_children:
            return None
        call = given[0].named_children[-1]
    name = _text(call).upper() if call.type == "name" else ""
    return {"__FILE__": levels - 1, "__DIR__": levels}.get(name)


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Import edges for `use` and includes, symbol edges for every name that a file of the repository declares."""
    known = {path: facts[path].symbols for path in sorted(facts) if facts[path].symbols is not None}
    unread = facts.keys() - known.keys()
    autoload = Autoload(files)
    classes = _declared((path, name.lower()) for path in known for name in known[path]["classes"])
    functions = _declared((path, name.lower()) for path in known for name in known[path]["functions"])
    constants = _declared((path, _constant(name)) for path in known for name, _ in known[path]["constants"])
    paths = Paths(known, files)
    # Files that declare something nobody else does: a file of stubs, fallbacks or doubles does not.
    original = {
        declaring[0]
        for table in (classes, functions, constants)
        for declaring in table.values()
        if len(declaring) == 1
    }
    for path, own in known.items():
        imported = {name.lower() for name in own["imports"]}
        for name in dict.fromkeys([*own["imports"], *own["used_classes"]]):
            places = autoload.files(name)
            declaring = classes.get(name.lower())
            if declaring is None:  # it may be in a file that could not be read
                declaring, places = [place for place in places if place in unread][:1], ()
            target, confidence = _meant(path, declaring, places, original)
            if target is not None:
                yield Edge(path, target, "symbol", False, confidence)
                if name.lower() in imported:
                    yield Edge(path, target, "import", False, confidence)
        for table, kind, fold in (
            (functions, "used_functions", str.lower),
            (constants, "used_constants", _constant),
        ):
            for name, or_global in own[kind]:
                declaring = table.get(fold(name)) or (or_global and table.get(fold(or_global))) or ()
                target, confidence = _meant(path, declaring, (), original)
                if target is not None:
                    yield Edge(path, target, "symbol", False, confidence)
        for parts in own["includes"]:
            target, confidence = paths.find(path, parts)
            if target is not None:
                yield Edge(path, target, "import", False, confidence)


def names_written(facts: Facts) -> set[str]:
    """Last parts of the names in a file, in lower case."""
    if facts.symbols is None:
        return set()
    used = [*facts.symbols["imports"], *facts.symbols["used_classes"]]
    used += [name for name, _ in [*facts.symbols["used_functions"], *facts.symbols["used_constants"]]]
    return {name.rpartition("\\")[2].lower() for name in used}


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Classes, functions and constants of the file that another one names."""
    if facts.symbols is None:
        return []
    declared = [*facts.symbols["classes"], *facts.symbols["functions"]]
    declared += [name for name, _ in facts.symbols["constants"]]
    last = [name.rpartition("\\")[2] for name in declared]
    return [name for name in last if name.lower() in written]


def _constant(name: str) -> str:
    """Namespaces fold case, constants do not."""
    space, slash, last = name.rpartition("\\")
    return space.lower() + slash + last


def _declared(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for path, name in pairs:
        declaring = table.setdefault(name, [])
        if len(declaring) <= MAX_DECLARED and (not declaring or declaring[-1] != path):
            declaring.append(path)
    return table


def _meant(
    path: str, declaring: Sequence[str], autoloaded: Iterable[str], original: set[str]
) -> tuple[str | None, float]:
    """The declaring file that a name in `path` stands for, and how sure that is."""
    if path in declaring:
        return None, 0.0
    if len(declaring) == 1:
        return declaring[0], 1.0
    for place in autoloaded:
        if place in declaring:
            return place, 1.0
    if not declaring or len(declaring) > MAX_DECLARED:
        return None, 0.0
    return nearest(path, [other for other in declaring if other in original] or declaring), 0.9
