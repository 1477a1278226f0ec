"""Swift's declarations and bodies, read into expressions that types can be found for later, across files.

The tokens are read once from left to right, keeping scopes. A local variable stands for the expression that it was
bound to, so what is left are expressions over names of the module and of the types around: `let x = Thing(); x.part`
leaves `Thing().part`. Equal expressions are kept once.
"""

import re

# Expressions: (operation, operand, name or number). Operands come before what they are part of.
NAME, SELECT, CALL, INDEX, VALUE, IMPLICIT, ARRAY, DICTIONARY, FUNCTION = range(9)
NOTHING, UNKNOWN, STRING = range(3)  # expressions that are none, have no known type, are text

_TOKEN = re.compile(
    r"""(?: [ \t\r]++ | //[^\n]*+ | /\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/)? )*+
    ( \#(?:if|elseif|else|endif)\b[^\n]*+ | [^\W\d]\w*+ | `\w++` | \.\s*+[^\W\d]\w*+ | \.\s*+`\w++` | \n
    | \#*+\"{3}(?:[^"\\]++|\\.|"(?!""))*+(?:\"{3})?\#*+ | \#*+"(?:[^"\\\n]++|\\[^\n])*+"?\#*+
    | [\#$@][^\W]\w*+ | \d[\w.]*+ | -> | \.\.[.<] | [=!]==? | && | \|\| | \?\? | [-+*/%&|^<>=!~]{2,} | [^\s] )""",
    re.VERBOSE | re.DOTALL,
)
# Block comments may stand in one another; `_TOKEN` ends each at the first `*/`.
_NESTED = re.compile(r"/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+/\*")
_BEFORE = re.compile(
    r'//[^\n]*+|"{3}(?:[^"\\]++|\\.|"(?!""))*+(?:"{3})?|"(?:[^"\\\n]++|\\[^\n])*+"?|/\*', re.DOTALL
)
_EDGE = re.compile(r"/\*|\*/")
_INSIDE = re.compile(r"\\\(([^()\n]*+(?:\([^()\n]*+\)[^()\n]*+)*+)\)")  # of text, what is worked out
STATEMENTS = frozenset([
    "if", "guard", "while", "for", "switch", "return", "in", "else", "do", "repeat", "defer", "throw", "try",
    "await", "where", "is", "as", "catch", "case", "default", "break", "continue", "fallthrough", "inout",
    "some", "any", "super", "async", "throws", "rethrows",
])  # fmt: skip
_MOST_OVERLOADS = 8  # of one name in one type
MAX_DEPTH = 60  # of types inside types


def _without_comments(text: str) -> str:
    """The text without its block comments."""
    kept: list[str] = []
    at = start = depth = 0
    while match := (_EDGE if depth else _BEFORE).search(text, at):
        at = match.end()
        if match[0] == "/*":
            if not depth:
                kept.append(text[start : match.start()])
            depth += 1
        elif depth:
            depth -= 1
            start = at
    return " ".join(kept if depth else [*kept, text[start:]])


class Declarations:
    """Expressions of one file, and what its declarations are made of."""

    def __init__(self, text: str) -> None:
        self.nodes: list[tuple] = [(UNKNOWN,)] * 3
        self.ids: dict[tuple, int] = {}
        self.sure: set[int] = set()  # nodes that stand outside of every `#if`
        self.imports: list[str] = []
        self.types: dict[str, list[int]] = {}  # qualified name -> what it inherits
        self.aliases: dict[str, int] = {}
        self.extended: dict[str, list[int]] = {}  # the same of extensions
        self.members: dict[str, dict[str, list[int]]] = {"": {}}  # type -> name -> values; "" the file's own
        self.operators: list[str] = []
        self.private: list[str] = []
        self.guards = 0
        self.owner = ""
        self.local: dict[str, int] = {}
        tokens: list[str] = []
        for token in _TOKEN.findall(_without_comments(text) if _NESTED.search(text) else text):
            if "\\(" in token and '"' in token:
                for inner in _INSIDE.findall(token):
                    tokens += ["(", *(part for part in _TOKEN.findall(inner) if part != "\n"), ")", "+"]
            tokens.append(token)
        self.tokens = [*tokens, *"\n" * 16]  # so that looking ahead needs no care
        self.end = len(tokens)

    def node(self, *key) -> int:
        found = self.ids.get(key)
        if found is None:
            found = self.ids[key] = len(self.nodes)
            self.nodes.append(key)
        if not self.guards:
            self.sure.add(found)
        return found

    def name(self, name: str) -> int:
        found = self.local.get(name)
        return self.node(NAME, 0, f"{self.owner}:{name}") if found is None else found

    def declare(self, name: str, node: int) -> None:
        nodes = self.members.setdefault(self.owner, {}).setdefault(name, [])
        if node not in nodes and len(nodes) < _MOST_OVERLOADS:
            nodes.append(node)

    def facts(self) -> dict:
        return {
            "imports": self.imports,
            "nodes": [list(node) if len(node) == 3 else [-1, 0, 0] for node in self.nodes],
            "unsure": [node for node in range(3, len(self.nodes)) if node not in self.sure],
            "types": self.types,
            "aliases": self.aliases,
            "extended": self.extended,
            "members": self.members,
            "operators": self.operators,
            "private": self.private,
        }

    # Types

    def type(self, i: int, depth: int = 0) -> tuple[int, int]:
        """The type from token `i` on and where it ends; an optional is as good as what it holds."""
        tokens = self.tokens
        while (
            tokens[i] in ("inout", "some", "any", "borrowing", "consuming", "sending") or tokens[i][0] == "@"
        ):
            attribute = tokens[i][0] == "@"
            i += 1
            if attribute and tokens[i] == "(":
                i = self.past(i)
        token = tokens[i]
        if depth > MAX_DEPTH or i >= self.end:
            return UNKNOWN, i
        if token == "[":
            inner, i = self.type(i + 1, depth + 1)
            if tokens[i] == ":":
                value, i = self.type(i + 1, depth + 1)
                found = self.node(DICTIONARY, inner, value)
            else:
                found = self.node(ARRAY, inner, 0)
            i += tokens[i] == "]"
        elif token == "(":
            inner, i = self.type_list(i + 1, depth)
            found = inner[0] if len(inner) == 1 else UNKNOWN
        elif token.isidentifier() and token not in STATEMENTS:
            found = self.name(token)
            i += 1
            i = self.arguments(i, depth)
            while tokens[i][0] == "." and len(tokens[i]) > 1 and tokens[i][1:].strip().isidentifier():
                name = tokens[i][1:].strip()
                i += 1
                if name not in ("Type", "self", "Protocol"):
                    found = self.node(SELECT, found, name)
                i = self.arguments(i, depth)
        else:
            return UNKNOWN, i
        while tokens[i] in ("?", "!"):
            i += 1
        while tokens[i] in ("async", "throws", "rethrows"):
            i += 1
        if tokens[i] == "->":
            result, i = self.type(i + 1, depth + 1)
            return self.node(FUNCTION, result, 0), i
        while tokens[i] == "&":
            _, i = self.type(i + 1, depth + 1)
        return found, i

    def type_list(self, i: int, depth: int) -> tuple[list[int], int]:
        """Types up to `)`, with or without names."""
        tokens = self.tokens
        found = []
        while i < self.end and tokens[i] != ")":
            if tokens[i] in (",", "\n"):
                i += 1
                continue
            if tokens[i + 1] == ":" or tokens[i + 2] == ":":
                i += 2 if tokens[i + 1] == ":" else 3
            kind, after = self.type(i, depth + 1)
            found.append(kind)
            i = max(after, i + 1)
        return found, i + 1

    def arguments(self, i: int, depth: int) -> int:
        """Past `<...>`, the names in which are used."""
        tokens = self.tokens
        if tokens[i] != "<":
            return i
        i += 1
        while i < self.end and tokens[i][0] != ">" and tokens[i] not in ("{", ";"):
            if tokens[i] in (",", "\n", ":", "&", "==") or depth > MAX_DEPTH:
                i += 1
                continue
            _, after = self.type(i, depth + 1)
            i = max(after, i + 1)
        if len(tokens[i]) > 1 and tokens[i][0] == ">" and i < self.end:
            tokens[i] = tokens[i][1:]  # `>>` closes two
            return i
        return i + 1

    def past(self, i: int) -> int:
        """Past the bracket that begins at `i`."""
        tokens, opened = self.tokens, 0
        while i < self.end:
            opened += (tokens[i] in "([{") - (tokens[i] in ")]}")
            i += 1
            if not opened:
                break
        return i

    def generics(self, i: int) -> int:
        """`<T: P, U>` of a declaration: bind the names to what their constraints say."""
        tokens = self.tokens
        if tokens[i] != "<":
            return i
        i += 1
        while i < self.end and tokens[i][0] != ">" and tokens[i] not in ("{", "("):
            name = tokens[i]
            i += 1
            if not name.isidentifier():
                continue
            self.local[name] = UNKNOWN
            if tokens[i] == ":":
                kind, i = self.type(i + 1)
                self.local[name] = kind
        return i + 1

    def inherited(self, i: int) -> tuple[list[int], int]:
        """`: A, B where T: C` up to the brace."""
        tokens = self.tokens
        found = []
        while i < self.end and tokens[i] not in ("{", "}"):
            if tokens[i] in (",", ":", "\n", "where", "==", "&"):
                if tokens[i] == "where":
                    break
                i += 1
                continue
            kind, after = self.type(i)
            found.append(kind)
            i = max(after, i + 1)
        return found, self.where(i)

    def where(self, i: int) -> int:
        """Past the constraints of a declaration, the names in which are used."""
        tokens = self.tokens
        if tokens[i] == "\n" and tokens[i + 1] == "where":
            i += 1
        if tokens[i] != "where":
            return i
        i += 1
        while i < self.end and tokens[i] not in ("{", "}", ";", "="):
            if tokens[i] == "\n" and tokens[i - 1] != "," and tokens[i + 1] != "{":
                break
            _, after = self.type(i)
            i = max(after, i + 1)
        return i

    def parameters(self, i: int) -> tuple[dict[str, int], int]:
        """`(label name: Type = default, ...)`: what is bound, and where it ends; defaults are read as expressions."""
        tokens = self.tokens
        bound: dict[str, int] = {}
        if tokens[i] != "(":
            return bound, i
        i += 1
        while i < self.end and tokens[i] != ")":
            token = tokens[i]
            if token[0] == "@":
                i += 1
                i = self.past(i) if tokens[i] == "(" else i
            elif tokens[i + 1] == ":" or tokens[i + 2] == ":":
                name = token if tokens[i + 1] == ":" else tokens[i + 1]
                kind, i = self.type(i + (2 if tokens[i + 1] == ":" else 3))
                if tokens[i].startswith(".."):
                    kind, i = self.node(ARRAY, kind, 0), i + 1
                bound[name.strip("`")] = self.node(VALUE, kind, 0)
                if tokens[i] == "=":
                    _, i = self.chain(i + 1)
            else:
                i += 1
        return bound, i + 1

    def chain(self, i: int) -> tuple[int, int]:
        """The names and calls from token `i` on, as far as they go without an operator: a default's value."""
        tokens = self.tokens
        current = NOTHING
        while i < self.end:
            token = tokens[i]
            if token.isidentifier() and not current and token not in STATEMENTS:
                current = self.name(token)
            elif token[0] == "." and len(token) > 1 and token[1] not in ".<":
                name = token[1:].strip().strip("`")
                current = self.node(SELECT, current, name) if current else self.node(IMPLICIT, 0, name)
            elif token in ("(", "[", "{"):
                i = self.past(i)
                current = self.node(CALL, current, "") if current and token == "(" else current or UNKNOWN
                continue
            elif token in (",", ")", "\n", "{", "}"):
                break
            i += 1
        return current, i
