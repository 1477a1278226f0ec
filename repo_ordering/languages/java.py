"""Java: the types that a file declares with their members, and what its code names.

Import statements alone show less than half of the dependencies: types of the same package need none, some imports
serve only the documentation, and a call names a member without its type. So the receivers of calls are followed
through the types of variables, fields and results as far as the files declare them (`jvm` does that).
"""

import re
from bisect import bisect_right
from functools import cache

from repo_ordering.languages.jvm_words import MAX_CHAIN, bare_words, code_of
from repo_ordering.trees import captured

_DECLARED = """
(package_declaration (_) @package)
(import_declaration) @import
[(class_declaration) (interface_declaration) (enum_declaration) (record_declaration)
 (annotation_type_declaration)] @declares
[(superclass (_) @base) (super_interfaces (type_list (_) @base)) (extends_interfaces (type_list (_) @base))]
[(method_declaration) (field_declaration) (constant_declaration) (annotation_type_element_declaration)] @member
(enum_constant name: (identifier) @constant)
(record_declaration parameters: (formal_parameters (formal_parameter) @component))
[(formal_parameter) (local_variable_declaration) (resource) (catch_formal_parameter) (spread_parameter)] @local
(enhanced_for_statement name: (identifier) @each)
(instanceof_expression name: (identifier) @each)
(type_pattern (identifier) @each)
(inferred_parameters (identifier) @untyped)
(lambda_expression parameters: (identifier) @untyped)
(type_parameter . (type_identifier) @variable)
[(method_declaration) (constructor_declaration)] @method
[(type_identifier) (scoped_type_identifier)] @type
[(marker_annotation name: (_) @type) (annotation name: (_) @type)]
[(method_invocation) (field_access)] @chain
(method_invocation arguments: (argument_list) @arguments)
(method_reference) @reference
"""
# A declaration's head: its type and the name declared, modifiers and annotations before them set aside.
_HEAD = re.compile(
    rb"(?:@[\w.]+(?:\([^()]*\))?\s*|(?:public|protected|private|static|final|abstract|default|synchronized|native"
    rb"|transient|volatile|strictfp)\s+|<[^;{}()=]*?>\s*(?=[\w@]))*"
    rb"([^\W\d][\w$.]*)\s*(?:<[^;{}()=]*>)?(?:\s*\|[^()]*?)?(?:\s*@\w+\s*)?[\s\[\].]*?\s*([^\W\d][\w$]*)\s*([\[\](,;=:)]|\Z)"
)
_MORE = re.compile(rb"(?:^|,)\s*([^\W\d][\w$]*)\s*(?=[=,;]|\Z)")
_BEFORE = re.compile(rb"([^\W\d][\w$.]*)\s*(?:<[^;{}()=]*>)?[\s\[\]]*\Z")
_NAME_AT_END = re.compile(rb"([^\W\d][\w$]*)\s*\Z")
_ROOT = re.compile(
    rb"\s*(?:new\s+([\w$.]+)|\(\(\s*([\w$.]+)(?:<[^;{}()]*?>)?[\s\[\]]*\)|(this|super)\b|([^\W\d][\w$]*))"
)
_REFERENCE = re.compile(rb"([\w$.]+)\s*(?:<[^()]*>)?(?:\[\])*::\s*([\w$]+)\Z")
_IMPORT = re.compile(rb"import\s+(static\s+)?([\w$.\s]+?)\s*(\.\s*\*)?\s*;?\Z")


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_java

    return tree_sitter_java.language()


@cache
def _query():
    import tree_sitter

    return tree_sitter.Query(tree_sitter.Language(grammar("Java")), _DECLARED)


def scan_tree(root) -> dict:
    """What a file declares and names; `jvm` says what the fields are."""
    import tree_sitter

    source = root.text
    found = captured(tree_sitter.QueryCursor(_query()), root)
    package = b"".join(next(iter(found.get("package", ()))).text.split()) if "package" in found else b""
    facts = {"package": package.decode("utf-8", "replace"), "imports": [], "tops": {}, "aliases": {}}
    for node in found.get("import", ()):
        if parts := _IMPORT.match(node.text):
            name = b"".join(parts[2].split()).decode("utf-8", "replace")
            facts["imports"].append([name, name.rpartition(".")[2], bool(parts[3]), bool(parts[1])])
    types, within = _types(found)
    for node in found.get("base", ()):
        if (at := within(node.start_byte - 1)) >= 0:
            base = re.match(rb"(?:@\w+\s*)*([\w$.]+)", node.text)
            if base:
                types[at][2].append(base[1].decode("utf-8", "replace"))
    variables = {node.text for node in found.get("variable", ())}
    for node in [*found.get("member", ()), *found.get("component", ())]:
        start = node.start_byte
        text = source[start : min(node.end_byte, start + 600)]
        head = _HEAD.match(text)
        if head is None or (at := within(start)) < 0:
            continue
        kind = "" if head[1] in variables else head[1].decode("utf-8", "replace")
        name = head[2].decode("utf-8", "replace")
        members = types[at][3]
        if head[3] == b"(":
            is_bare = text[head.end() : head.end() + 40].lstrip()[:1] == b")"
            members.setdefault(f"{name}()" if is_bare else f"{name}(", kind)
        else:
            members.setdefault(name, kind)
            if node.type == "formal_parameter":
                members.setdefault(f"{name}()", kind)
            elif b"," in text[head.end() - 1 :]:
                for other in _MORE.findall(text[head.end() - 1 :]):
                    members.setdefault(other.decode("utf-8", "replace"), kind)
    for node in found.get("constant", ()):
        if (at := within(node.start_byte)) >= 0:
            types[at][3][node.text.decode("utf-8", "replace")] = types[at][0]
    facts["types"] = types
    local = _locals(found, source, variables)
    uses: dict[str, None] = {}
    for node in found.get("type", ()):
        start = node.start_byte
        if source[start - 1 : start] != b".":
            name = source[start : node.end_byte]
            if name not in variables and len(name) < 256:
                uses[name] = None
    facts["names"] = sorted(
        {re.sub(r"\s|<[^<>]*>|@\w+", "", name.decode("utf-8", "replace")) for name in uses}
    )
    facts["chains"] = _chains(found, source, local)
    _, named = bare_words(code_of(source))
    facts["called"] = []  # chains that begin with `this` say the same, and with what arguments
    facts["bare"] = sorted(named - {name.decode("utf-8", "replace") for name in local.names})
    facts["dotted"] = []
    return facts


def _types(found) -> tuple[list[list], object]:
    """[full name in the package, index of the type around, bases, members] of each type, and the type at a place."""
    starts, inside = [-1], [-1]
    types: list[list] = []
    opened: list[tuple[int, int]] = []

    def close(before: int) -> None:
        while opened and opened[-1][0] <= before:
            starts.append(opened.pop()[0])
            inside.append(opened[-1][1] if opened else -1)

    for node in sorted(found.get("declares", ()), key=lambda node: (node.start_byte, -node.end_byte)):
        start, end = node.start_byte, node.end_byte
        close(start)
        around = opened[-1][1] if opened else -1
        name = node.child_by_field_name("name").text.decode("utf-8", "replace")
        types.append([f"{types[around][0]}.{name}" if around >= 0 else name, around, [], {}])
        starts.append(start)
        inside.append(len(types) - 1)
        opened.append((end, len(types) - 1))
    close(1 << 62)
    return types, lambda at: inside[bisect_right(starts, at) - 1]


class _locals:
    """Types of local variables by where they are named: the last declaration before, in the same method."""

    def __init__(self, found, source: bytes, variables: set[bytes]) -> None:
        self.names: dict[bytes, list[tuple[int, bytes]]] = {}
        self._methods = sorted(node.start_byte for node in found.get("method", ()))
        for node in found.get("local", ()):
            start = node.start_byte
            head = _HEAD.match(source[start : min(node.end_byte, start + 400)])
            if head is not None:
                kind = b"" if head[1] in variables or head[1] == b"var" else head[1]
                if head[1] == b"var" and (
                    made := re.match(rb"\s*new\s+([\w$.]+)", source[start + head.end() :][:200])
                ):
                    kind = made[1]
                self.names.setdefault(head[2], []).append((start, kind))
        for node in found.get("each", ()):
            start = node.start_byte
            before = _BEFORE.search(source[max(0, start - 120) : start])
            self.names.setdefault(node.text, []).append((start, before[1] if before else b""))
        for node in found.get("untyped", ()):
            self.names.setdefault(node.text, []).append((node.start_byte, b""))
        for rows in self.names.values():
            rows.sort()

    def of(self, name: bytes, at: int) -> bytes | None:
        """The type, b"" where it is not known, None where no variable of this method has the name."""
        rows = self.names.get(name)
        if rows is None:
            return None
        i = bisect_right(rows, (at, b"\xff")) - 1
        if i < 0:
            return None
        method = bisect_right(self._methods, at)
        start = self._methods[method - 1] if method else 0
        return rows[i][1] if rows[i][0] >= start else None


def _chains(found, source: bytes, local: _locals) -> list[list[str]]:
    """[what the root is, steps ...]: `=Type` for a value, `name` for what may be a member, a type or a package."""
    spans = [(node.start_byte, node.end_byte) for node in found.get("chain", ())]
    spans.sort()
    arguments = {node.end_byte: node.start_byte for node in found.get("arguments", ())}
    chains: set[tuple] = set()
    i, n = 0, len(spans)
    while i < n:
        start = spans[i][0]
        steps: list[str] = []
        while i < n and spans[i][0] == start:
            end = spans[i][1]
            i += 1
            if len(steps) <= MAX_CHAIN:
                steps.append(_step(source, start, end, arguments))
        root = _ROOT.match(source, start, start + 200)
        if root is None or not all(steps):
            continue
        made = root[1] or root[2]
        if made:
            chains.add(("=" + made.decode("utf-8", "replace"), *steps))
        elif root[3]:
            chains.add(("this", *steps))
        else:
            name = root[4]
            if steps[0][-1] in "()" and steps[0].rstrip("()") == name.decode("utf-8", "replace"):
                after = source[root.end() : root.end() + 8].lstrip()[:1]
                if after == b"(":
                    chains.add(("this", *steps))
                    continue
            kind = local.of(name, start)
            if kind is None:
                chains.add((name.decode("utf-8", "replace"), *steps))
            elif kind:
                chains.add(("=" + kind.decode("utf-8", "replace"), *steps))
    for node in found.get("reference", ()):
        if parts := _REFERENCE.match(source[node.start_byte : min(node.end_byte, node.start_byte + 200)]):
            first, *rest = parts[1].split(b".")
            kind = local.of(first, node.start_byte)
            root = first if kind is None else b"=" + kind
            chains.add(tuple(word.decode("utf-8", "replace") for word in (root, *rest, parts[2] + b"(")))
    return sorted([list(chain) for chain in chains])


def _step(source: bytes, start: int, end: int, arguments: dict[int, int]) -> str:
    """`name` of a field, `name()` of a call without arguments, `name(` of one with some."""
    at = arguments.get(end) if source[end - 1 : end] == b")" else None
    stop = end if at is None else at
    name = _NAME_AT_END.search(source, max(start, stop - 120), stop)
    if name is None:
        return ""
    mark = "" if at is None else "(" if source[at + 1 : end - 1].strip() else "()"
    return name[1].decode("utf-8", "replace") + mark
