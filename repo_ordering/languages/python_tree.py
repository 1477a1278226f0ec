"""Python: what a file binds, and the chains of names it writes, read off its syntax tree.

A chain is a name with what follows it, arguments and indices left out: `a.b().c[]`. A value is a list of such chains,
any of which it may be; an annotation is its text without blanks and quotes.
"""

import functools
import re

import tree_sitter

from corpus import trees
from repo_ordering.languages.python_chains import Source
from repo_ordering.trees import captured

MAX_ENTRIES = 12  # ways one name is bound in one scope
MODULE, CLASS, FUNCTION = 0, 1, 2
# What a function is to its class.
PLAIN, PROPERTY, CLASS_METHOD, STATIC = 0, 1, 2, 3

_QUERY = """
(import_statement) @import
(import_from_statement) @from
(class_definition) @class
(function_definition) @def
(decorator) @decorator
(assignment) @assign
(augmented_assignment) @augmented
(attribute) @attribute
(return_statement) @return
(for_statement) @for
(for_in_clause) @for
(as_pattern) @as
(named_expression) @walrus
"""
_STARRED = "(identifier) @name"
# Asking each call for its name would cost a query as much as all the rest; a hit in a string does no harm. What stands
# before it is looked at last: with a `\b` in front the search would take five times as long.
_ISINSTANCE = re.compile(rb"isinstance(?<!\wisinstance)\(\s*+(\w++)\s*+,\s*+([\w.]++|\([\w.,\s]*+\))\s*+\)")
_STRINGS = re.compile(r"""["']([^"'\\\n]*)["']""")
_KINDS = ("class", "def", "decorator", "import", "from", "assign", "augmented", "return", "for", "as", "walrus",
          "attribute")  # fmt: skip


@functools.cache
def _query(source: str) -> tree_sitter.Query:
    return tree_sitter.Query(trees.grammar("tree_sitter_python"), source)


def read(root: tree_sitter.Node) -> dict:
    """Scopes, imports and exports of a module.

    `scopes` is a list of [kind, parent, bindings, uses, more, name]; the first is the module, a parent comes before its
    own. `bindings` gives each name's entries, a line for each, their fields apart by tabs: "=", scope and values; ":",
    scope and annotation; "I", level, module and name, "" for the module itself; "D" and the scope of a class or
    function; "?". They are text, not lists, for there are as many as names in the repository.
    `uses` are the chains that are written there, apart by blanks. `more` is the list of bases of a class, and of a
    function [what it is to its class, return annotation, returned values, parameters].

    `modules` and `stars` are [level, module] of imports, and of `from ... import *`; `all` is `__all__` where it is
    written out, or None; `names` are the identifiers of a file that has stars.
    """
    captures = captured(tree_sitter.QueryCursor(_query(_QUERY)), root)
    reader = _Reader(root)
    events: list[tuple[int, int, int, int, tree_sitter.Node | re.Match[bytes]]] = [
        (node.start_byte, -node.end_byte, rank, number, node)
        for rank, kind in enumerate(_KINDS)
        for number, node in enumerate(captures.get(kind, ()))
    ]
    for number, match in enumerate(_ISINSTANCE.finditer(reader.source)):
        events.append((match.start(), -match.start() - 1, len(_KINDS), number, match))
    events.sort()
    handlers = [getattr(reader, f"on_{kind}", None) for kind in (*_KINDS, "isinstance")]
    attribute = _KINDS.index("attribute")
    last = -1
    stack = reader.stack
    for start, end, rank, _, node in events:
        while start >= stack[-1][1]:
            stack.pop()
        reader.current = stack[-1][0]
        if rank != attribute:
            handlers[rank](node, -end)
        elif start != last:  # else it is the head of the chain before it
            last = start
            chain = reader.plain(start, -end) or reader.chain(node)
            if chain:
                reader.scopes[reader.current][3][chain] = None
    names: list[str] = []
    if reader.stars:
        nodes = tree_sitter.QueryCursor(_query(_STARRED)).captures(root).get("name", ())
        names = sorted(name.decode("utf-8", "replace") for name in {reader.raw(node) for node in nodes})
    scopes = [
        [
            kind,
            parent,
            {bound: "\n".join(entries) for bound, entries in bindings.items()},
            b" ".join(uses).decode("utf-8", "replace"),
            more,
            name,
        ]
        for kind, parent, bindings, uses, more, name in reader.scopes
    ]
    return {
        "scopes": scopes,
        "modules": [list(module) for module in reader.modules],
        "stars": reader.stars,
        "all": reader.exported,
        "names": names,
    }


class _Reader(Source):
    def __init__(self, root: tree_sitter.Node) -> None:
        super().__init__(root)
        self.scopes: list[list] = [[MODULE, -1, {}, {}, None, ""]]
        self.stack: list[tuple[int, int]] = [(0, root.end_byte + 1)]
        self.current = 0
        self.modules: dict[tuple[int, str], None] = {}
        self.stars: list[list] = []
        self.exported: list[str] | None = None
        self.decorators: list[bytes] = []

    def bind(self, name: str, entry: str, scope: int | None = None) -> None:
        entries = self.scopes[self.current if scope is None else scope][2].setdefault(name, [])
        if len(entries) < MAX_ENTRIES and entry not in entries:
            entries.append(entry)

    def on_class(self, node: tree_sitter.Node, end: int) -> None:
        self.decorators.clear()
        name, bases = None, []
        for child in node.named_children:
            if child.type == "identifier":
                name = self.text(child)
            elif child.type == "argument_list":
                bases = [
                    chain.decode("utf-8", "replace")
                    for base in child.named_children
                    if base.type in ("identifier", "attribute", "subscript", "call")
                    and (chain := self.chain(base))
                ]
        self._open(name, [CLASS, self.current, {}, {}, bases], end)

    def on_def(self, node: tree_sitter.Node, end: int) -> None:
        name, parameters, annotation = None, None, ""
        for child in node.named_children:
            if child.type == "identifier":
                name = self.text(child)
            elif child.type == "parameters":
                parameters = child
            elif child.type == "type":
                annotation = self.annotation(child)
        role = PLAIN
        for decorator in self.decorators:
            last = decorator.partition(b"(")[0].rpartition(b".")[2].strip(b"@ \t")
            if last.endswith(b"property") or last in (b"setter", b"getter", b"deleter", b"hybrid_method"):
                role = PROPERTY
            elif last == b"classmethod":
                role = CLASS_METHOD
            elif last == b"staticmethod":
                role = STATIC
        self.decorators.clear()
        listed: list[str] = []
        index = self._open(name, [FUNCTION, self.current, {}, {}, [role, annotation, [], listed]], end)
        for parameter in parameters.named_children if parameters is not None else ():
            kind = parameter.type
            if kind == "identifier":
                listed.append(self.text(parameter))
                self.bind(listed[-1], "?", index)
            elif kind in ("default_parameter", "typed_default_parameter", "typed_parameter"):
                head = parameter.named_child(0)
                if head is None:
                    continue
                starred = head.type in ("list_splat_pattern", "dictionary_splat_pattern")
                named = self.text(head).lstrip("* ")
                listed.append(named)
                hint = parameter.child_by_field_name("type")
                if hint is not None:
                    text = self.annotation(hint)
                    text = f"list[{text}]" if starred else text
                    self.bind(named, f":\t{self.current}\t{text}", index)
                else:
                    self.bind(named, self._value(self.values(parameter.child_by_field_name("value"))), index)

    def _open(self, name: str | None, scope: list, end: int) -> int:
        self.scopes.append([*scope, name or ""])
        index = len(self.scopes) - 1
        if name:
            self.bind(name, f"D\t{index}")
        self.stack.append((index, end))
        return index

    def on_decorator(self, node: tree_sitter.Node, end: int) -> None:
        self.decorators.append(self.raw(node))

    def on_import(self, node: tree_sitter.Node, end: int) -> None:
        for child in node.named_children:
            if child.type == "aliased_import":
                module, alias = (
                    self.text(child.named_child(0)),
                    self.text(child.named_child(child.named_child_count - 1)),
                )
                self.modules[0, _plain(module)] = None
                self.bind(alias, f"I\t0\t{_plain(module)}\t")
            elif child.type == "dotted_name":
                module = _plain(self.text(child))
                self.modules[0, module] = None
                self.bind(module.partition(".")[0], f"I\t0\t{module.partition('.')[0]}\t")

    def on_from(self, node: tree_sitter.Node, end: int) -> None:
        level, module = 0, None
        for child in node.named_children:
            kind = child.type
            if module is None:
                module = _plain(self.text(child))
                if kind == "relative_import":
                    bare = module.lstrip(".")
                    level, module = len(module) - len(bare), bare
                self.modules[level, module] = None
            elif kind == "wildcard_import":
                self.stars.append([level, module])
            elif kind == "dotted_name":
                name = self.text(child)
                self.bind(name, f"I\t{level}\t{module}\t{_plain(name)}")
            elif kind == "aliased_import":
                name, alias = (
                    self.text(child.named_child(0)),
                    self.text(child.named_child(child.named_child_count - 1)),
                )
                self.bind(alias, f"I\t{level}\t{module}\t{_plain(name)}")

    def on_assign(self, node: tree_sitter.Node, end: int) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        hint = node.child_by_field_name("type")
        if left is None:
            return
        if (
            left.type == "identifier"
            and self.raw(left) == b"__all__"
            and self.current == 0
            and right is not None
        ):
            self._export(right, first=True)
        if hint is not None:
            self._assign(left, f":\t{self.current}\t{self.annotation(hint)}")
        elif left.type in ("pattern_list", "tuple_pattern"):
            self._unpack(left, right)
        else:
            self._assign(left, self._value(self.values(right)))

    def on_augmented(self, node: tree_sitter.Node, end: int) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is not None and right is not None and self.raw(left) == b"__all__" and self.current == 0:
            self._export(right, first=False)

    def _export(self, right: tree_sitter.Node, first: bool) -> None:
        if right.type in ("list", "tuple"):
            names = [name for item in right.named_children for name in _STRINGS.findall(self.text(item))]
            self.exported = names if first or self.exported is None else self.exported + names

    def _value(self, values: list[str]) -> str:
        return "\t".join([f"=\t{self.current}", *values]) if values else "?"

    def _unpack(self, left: tree_sitter.Node, right: tree_sitter.Node | None) -> None:
        targets = left.named_children
        if right is not None and right.type in ("expression_list", "tuple"):
            sources = right.named_children
            if len(sources) == len(targets):
                for target, source in zip(targets, sources, strict=True):
                    self._assign(target, self._value(self.values(source)))
                return
        values = self.values(right)
        for number, target in enumerate(targets):
            self._assign(target, self._value([f"{value}[{number}]" for value in values]))

    def _assign(self, left: tree_sitter.Node, entry: str) -> None:
        if left.type == "identifier":
            self.bind(self.text(left), entry)
        elif left.type == "attribute":
            owner, _, name = self.raw(left).decode("utf-8", "replace").partition(".")
            kind, parent, _, _, more, _ = self.scopes[self.current]
            if (
                kind == FUNCTION
                and self.scopes[parent][0] == CLASS
                and more[0] != STATIC
                and more[3][:1] == [owner]
                and name.isidentifier()
            ):
                self.bind(name, entry, parent)
        elif left.type in ("pattern_list", "tuple_pattern", "list_pattern"):
            for child in left.named_children:
                if child.type == "identifier":
                    self.bind(self.text(child), "?")

    def on_walrus(self, node: tree_sitter.Node, end: int) -> None:
        name = node.child_by_field_name("name")
        if name is not None:
            self.bind(self.text(name), self._value(self.values(node.child_by_field_name("value"))))

    def on_return(self, node: tree_sitter.Node, end: int) -> None:
        kind, _, _, _, more, _ = self.scopes[self.current]
        if kind == FUNCTION and node.named_child_count and len(more[2]) < MAX_ENTRIES:
            more[2] += [value for value in self.values(node.named_child(0)) if value not in more[2]]

    def on_for(self, node: tree_sitter.Node, end: int) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return
        is_pair = left.type in ("pattern_list", "tuple_pattern")
        if is_pair and right.type == "call" and right.named_child_count > 1:
            function = self.text(right.named_child(0))
            if function.endswith(".items"):
                values = [value.removesuffix(".items()") + "[]" for value in self.values(right)]
                self._assign(left.named_child(left.named_child_count - 1), self._value(values))
                return
            if function == "enumerate":
                values = [value + "[]" for value in self.values(right.named_child(1).named_child(0))]
                self._assign(left.named_child(left.named_child_count - 1), self._value(values))
                return
        values = [value + "[]" for value in self.values(right)]
        if is_pair:
            for number, target in enumerate(left.named_children):
                self._assign(target, self._value([f"{value}[{number}]" for value in values]))
        else:
            self._assign(left, self._value(values))

    def on_as(self, node: tree_sitter.Node, end: int) -> None:
        if node.named_child_count != 2:
            return
        value, target = node.named_children
        target = target.named_child(0) if target.named_child_count else target
        chains = self.values(value)
        if chains and value.type == "call":
            chains = [chain + ".__enter__()" for chain in chains]
        elif value.type == "tuple":
            chains = [chain + "()" for item in value.named_children for chain in self.values(item)][
                :MAX_ENTRIES
            ]
        elif chains:  # except Error as error
            chains = [chain + "()" for chain in chains] + [chain + ".__enter__()" for chain in chains]
        self._assign(target, self._value(chains))

    def on_isinstance(self, match: re.Match[bytes], end: int) -> None:
        kinds = match[2].decode("utf-8", "replace").strip("()").split(",")
        chains = ["".join(kind.split()) + "()" for kind in kinds if kind.strip()]
        self.bind(match[1].decode("utf-8", "replace"), self._value(chains[:MAX_ENTRIES]))


def _plain(name: str) -> str:
    return name if name.isidentifier() else "".join(name.split())
