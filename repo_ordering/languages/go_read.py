"""Go's declarations and bodies, read into expressions that types can be found for later, across files.

The syntax tree gives the declarations; inside one, its tokens are read once from left to right, keeping scopes. A
local variable stands for the expression that it was bound to, so that what is left of a body are expressions over
names of the package: `x := NewThing(); x.Part.Run()` leaves `NewThing().Part.Run`. Equal expressions are kept once.
"""

import re

# Expressions: (operation, operand, operand or name). Operands come before what they are part of.
NAME, SELECT, CALL, PICK, INDEX, KEY, LOCAL_KEY, VALUE, RECEIVE, RANGE_KEY, RANGE_VALUE, SEQUENCE, CHANNEL, MAP, \
    FUNCTION, MEMBERS = range(16)  # fmt: skip
NOTHING, UNKNOWN, FOREIGN = range(3)  # expressions that are none, have no known type, are of nobody here

TOKEN = re.compile(
    r"""(?: [ \t\r]++ | //[^\n]*+ | /\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/)? )*+
    ( [^\W\d]\w*+ | \.\s*+[^\W\d]\w*+ | \n | "(?:[^"\\\n]++|\\.)*+"? | `[^`]*+`? | '(?:[^'\\\n]++|\\.)*+'?
    | \d[\w.]*+ | \.\.\. | := | <- | [=!<>]= | && | \|\| | \+\+ | -- | [-+*/%&|^]= | [^\s] )""",
    re.VERBOSE,
)
_NAMING = frozenset([SELECT, KEY, LOCAL_KEY])
KEYWORDS = [
    "break", "case", "chan", "const", "continue", "default", "defer", "else", "fallthrough", "for", "func",
    "go", "goto", "if", "import", "interface", "map", "package", "range", "return", "select", "struct",
    "switch", "type", "var",
]  # fmt: skip
_TYPE_STARTERS = frozenset(["*", "[", "map", "func", "chan", "struct", "interface", "(", "<-"])
NOT_NAMES = frozenset(KEYWORDS)
MAX_DEPTH = 100  # of a type inside types
_NO_TYPE = frozenset(")]},;:={\n")
_NO_ARGUMENT = frozenset("]){};=")
_LOOK_AHEAD = 64  # tokens; to tell an array's length from a type's arguments


class Declarations:
    """Expressions of one file, and the types that it declares."""

    def __init__(self) -> None:
        self.nodes: list[tuple] = [(UNKNOWN,)] * 3
        self.ids: dict[tuple, int] = {}
        self.types: dict[str, list] = {}  # name -> [type, is alias]
        self.functions: dict[str, int] = {}
        self.variables: dict[str, int] = {}
        self.methods: dict[str, dict[str, int]] = {}
        self.members: list[list] = []  # of structs and interfaces: [name -> type], [embedded type]
        self.lists: list[list[int]] = []  # results of functions
        self.local: dict[str, int] = {}
        self.tokens: list[str] = []

    def node(self, *key) -> int:
        found = self.ids.get(key)
        if found is None:
            found = self.ids[key] = len(self.nodes)
            self.nodes.append(key)
        return found

    def name(self, name: str) -> int:
        found = self.local.get(name)
        return self.node(NAME, name) if found is None else found

    def facts(self) -> dict:
        """All of it as plain values: `nodes` is flat, three numbers each, and names are numbers into `names`."""
        names: dict[str, int] = {}
        nodes: list[int] = []
        for node in self.nodes:
            operation = node[0]
            if len(node) == 1:
                nodes += (-1, 0, 0)
            elif operation == NAME:
                nodes += (NAME, names.setdefault(node[1], len(names)), 0)
            elif operation in _NAMING:
                nodes += (operation, node[1], names.setdefault(node[2], len(names)))
            else:
                nodes += (operation, node[1], node[2] if len(node) > 2 else 0)
        return {
            "names": list(names),
            "nodes": nodes,
            "types": self.types,
            "functions": self.functions,
            "variables": self.variables,
            "methods": self.methods,
            "members": self.members,
            "lists": self.lists,
        }

    def type_declarations(self, i: int, log: list | None) -> int:
        """`type` declarations from behind the word; of the package where there is no log of bindings."""
        tokens = self.tokens
        grouped = tokens[i] == "("
        i += grouped
        while i < len(tokens) - 3:
            while grouped and tokens[i] in "\n;":
                i += 1
            name = tokens[i]
            if not name.isidentifier() or name in NOT_NAMES:
                return i + (name == ")")
            i += 1
            outer = dict(self.local) if tokens[i] == "[" and self._has_type_parameters(i) else None
            if outer is not None:
                i = self.type_parameters(i)
            alias = tokens[i] == "="
            if log is not None:
                log.append((name, self.local.get(name)))
                self.local[name] = UNKNOWN
            kind, i = self.type(i + alias, 0)
            if outer is not None:
                self.local = outer
            if log is not None:
                self.local[name] = kind
            else:
                self.types.setdefault(name, [kind, alias])
            if not grouped:
                break
        return i

    def _has_type_parameters(self, i: int) -> bool:
        """Whether `[` begins type parameters: `[T any]` and not `[N]int`."""
        tokens = self.tokens
        return tokens[i + 1].isidentifier() and tokens[i + 2] != "]" and not tokens[i + 2].startswith(".")

    def type_parameters(self, i: int) -> int:
        """Bind the parameters to their constraints, whose methods their values have."""
        tokens = self.tokens
        i += 1
        names: list[str] = []
        while i < len(tokens) - 3 and tokens[i] != "]":
            token = tokens[i]
            if token in (",", "\n"):
                i += 1
            elif token.isidentifier() and tokens[i + 1] in (",", "]"):
                names.append(token)
                self.local[token] = UNKNOWN
                i += 1
            elif token.isidentifier():
                names.append(token)
                self.local[token] = UNKNOWN
                kind, i = self._union(i + 1, 0)
                for name in names:
                    self.local[name] = kind
                names = []
            else:
                i += 1
        return i + 1

    # Types

    def _union(self, i: int, depth: int) -> tuple[int, int]:
        tokens = self.tokens
        kind = NOTHING
        while True:
            while tokens[i] in ("~", "|"):
                i += 1
            start = i
            found, i = self.type(i, depth)
            kind = kind or found
            if tokens[i] != "|" or i == start:
                return kind, i

    def type(self, i: int, depth: int) -> tuple[int, int]:
        """The type from token `i` on, and where it ends; pointers are as good as what they point to."""
        tokens = self.tokens
        while tokens[i] == "*":
            i += 1
        token = tokens[i]
        if depth > MAX_DEPTH or i >= len(tokens) - 3:
            return UNKNOWN, i + 1 if i < len(tokens) - 3 else i
        depth += 1
        if token == "[":
            if tokens[i + 1] == "]":
                inner, i = self.type(i + 2, depth)
                return self.node(SEQUENCE, inner), i
            i += 1
            while tokens[i] != "]" and i < len(tokens) - 3:
                if tokens[i].isidentifier() and tokens[i] not in NOT_NAMES:
                    operand = self.name(tokens[i])
                    if tokens[i + 1][0] == "." and tokens[i + 1] != "...":
                        i += 1
                        self.node(SELECT, operand, tokens[i][1:].strip())
                i += 1
            inner, i = self.type(i + 1, depth)
            return self.node(SEQUENCE, inner), i
        if token == "map":
            key, i = self.type(i + 2, depth)
            value, i = self.type(i + (tokens[i] == "]"), depth)
            return self.node(MAP, key, value), i
        if token in ("chan", "<-"):
            i += 1
            while tokens[i] in ("chan", "<-"):
                i += 1
            inner, i = self.type(i, depth)
            return self.node(CHANNEL, inner), i
        if token == "func":
            kind, _, i = self.signature(i + 1, depth)
            return kind, i
        if token in ("struct", "interface") and tokens[i + 1] == "{":
            return self._struct(i + 2, depth) if token == "struct" else self._interface(i + 2, depth)
        if token == "(":
            kind, i = self.type(i + 1, depth)
            return kind, i + (tokens[i] == ")")
        if token.isidentifier() and token not in NOT_NAMES:
            kind = self.name(token)
            i += 1
            if tokens[i][0] == "." and len(tokens[i]) > 1 and tokens[i] != "...":
                kind = self.node(SELECT, kind, tokens[i][1:].strip())
                i += 1
            if tokens[i] == "[" and tokens[i + 1] != "]":
                i += 1
                while tokens[i] not in _NO_ARGUMENT and i < len(tokens) - 3:
                    _, after = self.type(i, depth)
                    i = max(after, i + 1)
                return kind, i + (tokens[i] == "]")
            return kind, i
        return UNKNOWN, i if token in _NO_TYPE else i + 1

    def _is_named(self, i: int) -> bool:
        """Whether token `i` names a parameter or field and is not itself a type."""
        tokens = self.tokens
        if not tokens[i].isidentifier() or tokens[i] in NOT_NAMES:
            return False
        following = tokens[i + 1]
        if following == "[":
            if tokens[i + 2] == "]":
                return True
            opened = 0
            for j in range(i + 1, min(i + _LOOK_AHEAD, len(tokens) - 1)):
                opened += (tokens[j] == "[") - (tokens[j] == "]")
                if not opened:
                    return tokens[j + 1] not in (",", ")", "\n", ";", "}") and tokens[j + 1][0] not in '"`'
            return False
        return (
            following in _TYPE_STARTERS
            or following == "..."
            or (following.isidentifier() and following not in NOT_NAMES)
        )

    def signature(self, i: int, depth: int) -> tuple[int, dict[str, int], int]:
        """Parameters and results from `(` on: the function's type, what they bind, and where it ends."""
        tokens = self.tokens
        bound: dict[str, int] = {}
        results: list[int] = []
        if tokens[i] != "(":
            return UNKNOWN, bound, i
        i = self._parameters(i + 1, depth, bound)[1]
        token = tokens[i]
        if token == "(":
            results, i = self._parameters(i + 1, depth, bound)
        elif token in _TYPE_STARTERS or (token.isidentifier() and token not in NOT_NAMES):
            kind, i = self.type(i, depth)
            results = [kind]
        return self.node(FUNCTION, self._list(results)), bound, i

    def _list(self, items: list[int]) -> int:
        key = ("list", *items)
        if key not in self.ids:
            self.ids[key] = len(self.lists)
            self.lists.append(items)
        return self.ids[key]

    def _parameters(self, i: int, depth: int, bound: dict[str, int]) -> tuple[list[int], int]:
        """Types of the parameters up to `)`, one each; names that have one are bound to values of it."""
        tokens = self.tokens
        items: list[tuple[str | None, int | None, int]] = []  # name, type, token
        named = False
        while i < len(tokens) - 3 and tokens[i] != ")":
            token = tokens[i]
            if token in (",", "\n"):
                i += 1
                continue
            if self._is_named(i):
                named = True
                name, i = token, i + 1
            elif token.isidentifier() and token not in NOT_NAMES and tokens[i + 1] in (",", ")", "\n"):
                items.append((token, None, i))  # a name that shares the next one's type, or a type
                i += 1
                continue
            else:
                name = None
            variadic = tokens[i] == "..."
            kind, end = self.type(i + variadic, depth + 1)
            i = max(end, i + 1)
            items.append((name, self.node(SEQUENCE, kind) if variadic else kind, i))
        types: list[int] = []
        following = UNKNOWN
        for name, kind, _ in reversed(items):
            if kind is None:
                kind = following if named else self.name(name)
            following = kind
            types.append(kind)
            if named and name is not None and name != "_":
                bound[name] = self.node(VALUE, kind)
        types.reverse()
        return types, i + 1

    def _struct(self, i: int, depth: int) -> tuple[int, int]:
        tokens = self.tokens
        fields: dict[str, int] = {}
        embedded: list[int] = []
        index = len(self.members)
        self.members.append([fields, embedded])
        while i < len(tokens) - 3 and tokens[i] != "}":
            token = tokens[i]
            if token[0] in '\n;"`':
                i += 1
                continue
            names = []
            while token.isidentifier() and tokens[i + 1] == ",":
                names.append(token)
                i += 2 + (tokens[i + 2] == "\n")
                token = tokens[i]
            if names or self._is_named(i):
                names.append(token)
                kind, end = self.type(i + 1, depth)
                fields.update((name, kind) for name in names)
            else:
                kind, end = self.type(i, depth)
                embedded.append(kind)
                if kind > FOREIGN and self.nodes[kind][0] in (NAME, SELECT):
                    fields[self.nodes[kind][-1]] = kind
            i = max(end, i + 1)
        return self.node(MEMBERS, index), i + 1

    def _interface(self, i: int, depth: int) -> tuple[int, int]:
        tokens = self.tokens
        methods: dict[str, int] = {}
        embedded: list[int] = []
        index = len(self.members)
        self.members.append([methods, embedded])
        while i < len(tokens) - 3 and tokens[i] != "}":
            token = tokens[i]
            if token in ("\n", ";"):
                i += 1
            elif token.isidentifier() and tokens[i + 1] == "(":
                methods[token], _, i = self.signature(i + 1, depth)
            else:
                kind, end = self._union(i, depth)
                embedded.append(kind)
                i = max(end, i + 1)
        return self.node(MEMBERS, index), i + 1
