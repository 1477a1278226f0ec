"""What a Swift file declares and uses: its tokens, read once from left to right (see `swift_read`)."""

from repo_ordering.languages.swift_read import (
    ARRAY,
    CALL,
    FUNCTION,
    IMPLICIT,
    INDEX,
    NAME,
    NOTHING,
    SELECT,
    STATEMENTS,
    STRING,
    UNKNOWN,
    VALUE,
    Declarations,
)

_KINDS = frozenset(["class", "struct", "enum", "protocol", "actor"])
_MODIFIERS = frozenset(["static", "class", "final", "public", "private", "override", "open", "internal"])
_LOOK_AHEAD = 400  # tokens of a closure's parameters
_MOST_NESTED = 16  # types, as far as their names tell
_PLAIN = frozenset(["->", "==", "!=", "<=", ">=", "&&", "||", "??", "...", "..<", "===", "!==", "+=", "-=", "*=", "/=",
                    "|=", "&=", "<<", ">>", "&+", "&-", "&*", "%=", "^=", "=>", "~="])  # fmt: skip
_NOT_PARAMETERS = frozenset(
    ["if", "for", "let", "var", "return", "switch", "guard", "while", "case", "func", "try", ";"]
)


class Reader(Declarations):
    """Expressions and declarations of one file."""

    # Statements

    def read(self) -> None:
        """The whole file; `current` is the operand that has just been read, NOTHING behind an operator."""
        tokens, local = self.tokens, self.local
        log: list[tuple[str, int | None]] = []  # bindings, with what they hid
        stack: list[tuple] = []
        inside, base, mark = (
            "type",
            NOTHING,
            0,
        )  # the bracket this is in, what stood before it, where its bindings begin
        header = False  # before the block of an `if` and its like
        pending: tuple[str, str] | None = None  # how and what the expression that follows is bound to
        private = False
        current, previous, i = NOTHING, "\n", 0
        for name in ("newValue", "oldValue", "error", "_"):
            local[name] = UNKNOWN

        def bind(name: str, node: int) -> None:
            name = name.strip("`")
            log.append((name, local.get(name)))
            local[name] = node or UNKNOWN

        def finish() -> None:
            nonlocal pending
            if pending is not None:
                how, name = pending
                if how == "member":
                    self.declare(name, current or UNKNOWN)
                else:
                    bind(name, self.node(INDEX, current, "") if how == "each" and current else current)
                pending = None

        while i < self.end:
            token = tokens[i]
            i += 1
            first = token[0]
            if first.isalpha() or first == "_" or first == "`":
                following = tokens[i]
                if token in ("private", "fileprivate"):
                    if following == "(":
                        i = self.past(i)
                    else:
                        private = True
                elif (
                    token in _KINDS
                    and following.isidentifier()
                    and following not in ("func", "var", "let", "init")
                    and following not in _MODIFIERS
                    and previous != ":"
                ):
                    outer, opened = self.owner, len(log)
                    name = f"{outer}.{following}" if outer and outer.count(".") < _MOST_NESTED else following
                    saved = dict(local)
                    i = self.generics(i + 1)
                    self.owner = name
                    inherits, i = self.inherited(i)
                    self.types.setdefault(name, []).extend(inherits)
                    if private:
                        self.private.append(name)
                    private = False
                    if tokens[i] == "{":
                        i += 1
                        stack.append((inside, base, mark, header, pending, outer, saved))
                        inside, base, mark, header, pending = (
                            "enum" if token == "enum" else "type",
                            NOTHING,
                            opened,
                            False,
                            None,
                        )
                    else:
                        self.owner = outer
                    current, previous = NOTHING, "{"
                    continue
                elif token == "extension" and inside == "type" and following.isidentifier():
                    outer, opened, saved = self.owner, len(log), dict(local)
                    name = following
                    self.name(following)
                    i += 1
                    while tokens[i][0] == "." and len(tokens[i]) > 1:
                        if name.count(".") < _MOST_NESTED:
                            name += f".{tokens[i][1:].strip()}"
                            self.node(NAME, 0, f":{name}")
                        i += 1
                    i = self.arguments(i, 0)
                    self.owner = name
                    inherits, i = self.inherited(i)
                    self.extended.setdefault(name, []).extend(inherits)
                    private = False
                    if tokens[i] == "{":
                        i += 1
                        stack.append((inside, base, mark, header, pending, outer, saved))
                        inside, base, mark, header, pending = "type", NOTHING, opened, False, None
                    else:
                        self.owner = outer
                    current, previous = NOTHING, "{"
                    continue
                elif (
                    token == "func" or (token in ("init", "subscript") and inside in ("type", "enum"))
                ) and following not in (".", ":"):
                    name = token
                    if token == "func":
                        name, i = following.strip("`"), i + 1
                        while tokens[i] not in "(<\n" and i < self.end:
                            i += 1
                    while tokens[i] in ("?", "!"):
                        i += 1
                    opened, saved = len(log), dict(local)
                    i = self.generics(i)
                    label = ""
                    if token == "subscript" and tokens[i + 1].isidentifier() and tokens[i + 2].isidentifier():
                        label = "" if tokens[i + 1] == "_" else tokens[i + 1]
                    if token == "init" and tokens[i + 1].isidentifier() and tokens[i + 1] != "_":
                        label = tokens[i + 1]
                    bound, i = self.parameters(i)
                    while tokens[i] in ("async", "throws", "rethrows"):
                        i += 1
                    result = UNKNOWN
                    if tokens[i] == "->":
                        result, i = self.type(i + 1)
                    i = self.where(i)
                    if token == "subscript":
                        self.declare(f"[{label}", self.node(VALUE, result, 0))
                    elif inside in ("type", "enum"):
                        name = f"({label}" if token == "init" else name
                        self.declare(name, self.node(FUNCTION, result, 0))
                        if private:
                            self.private.append(f"{self.owner}:{name}")
                    else:
                        saved[name] = self.node(FUNCTION, result, 0)
                    private = False
                    if tokens[i] == "\n" and tokens[i + 1] == "{":
                        i += 1
                    if tokens[i] == "{":
                        i += 1
                        stack.append((inside, base, mark, header, pending, self.owner, saved))
                        inside, base, mark, header, pending = "{", NOTHING, opened, False, None
                        local.update(bound)
                    else:
                        local.clear()
                        local.update(saved)
                    current, previous = NOTHING, "{"
                    continue
                elif token in ("let", "var"):
                    if header or inside not in ("type", "enum"):
                        finish()
                    if following == "(" or following[0] == ".":
                        stop = self.past(i + (following != "("))
                        for part in range(i, min(stop, i + 60)):
                            if (
                                tokens[part].isidentifier()
                                and tokens[part + 1] != ":"
                                and tokens[part] not in STATEMENTS
                            ):
                                bind(tokens[part], UNKNOWN)
                        i = stop if following == "(" else i
                        current, previous = NOTHING, token
                        continue
                    name, i = following.strip("`"), i + 1
                    where = "member" if inside in ("type", "enum") and not header else "local"
                    if where == "member" and private:
                        self.private.append(f"{self.owner}:{name}")
                    private = False
                    if tokens[i] == ":" or tokens[i] == "as":
                        kind, i = self.type(i + 1)
                        kind = self.node(VALUE, kind, 0)
                    else:
                        kind = NOTHING
                        if tokens[i] == "=":
                            pending = (where, name)
                        elif tokens[i] == "in":
                            pending = ("each", name)
                        elif header and tokens[i] in (",", "{", "else", "\n"):
                            kind = self.name(name)
                    if pending is None:
                        if where == "member":
                            self.declare(name, kind or UNKNOWN)
                        else:
                            bind(name, kind)
                    current, previous = NOTHING, name
                    if tokens[i] in ("=", "in"):
                        i += 1
                        previous = "="
                    continue
                elif token == "case" and inside == "enum":
                    while i < self.end and tokens[i] not in ("\n", ";", "}"):
                        if tokens[i].strip("`").isidentifier() and tokens[i - 1] in ("case", ",", "\n"):
                            self.declare(
                                tokens[i].strip("`"),
                                self.node(VALUE, self.name(self.owner.rpartition(".")[2]), 0),
                            )
                        if tokens[i] == "(":
                            _, i = self.type_list(i + 1, 0)
                        else:
                            i += 1
                            if tokens[i - 1] == "," and tokens[i] == "\n":
                                i += 1
                    continue
                elif token in ("typealias", "associatedtype") and following.isidentifier():
                    name = f"{self.owner}.{following}" if self.owner else following
                    saved = dict(local)
                    i = self.generics(i + 1)
                    kind = UNKNOWN
                    if tokens[i] in ("=", ":"):
                        kind, i = self.type(i + 1)
                    local.clear()
                    local.update(saved)
                    if token == "associatedtype":
                        self.declare(following, UNKNOWN)
                    elif inside in ("type", "enum"):
                        self.aliases.setdefault(name, kind)
                        if private:
                            self.private.append(name)
                    else:
                        bind(following, kind)
                    private, current, previous = False, NOTHING, "\n"
                    continue
                elif token == "import" and (
                    previous in ("\n", ";", "public", "internal") or previous[0] == "@"
                ):
                    i += following in (
                        "class",
                        "struct",
                        "enum",
                        "protocol",
                        "func",
                        "var",
                        "let",
                        "typealias",
                    )
                    self.imports.append(tokens[i])
                    while tokens[i] not in ("\n", ";"):
                        i += 1
                elif token == "operator":
                    if not following.isidentifier():
                        self.operators.append(following)
                    while tokens[i] not in ("\n", ";"):
                        i += 1
                elif token in ("as", "is"):
                    while tokens[i] in ("?", "!"):
                        i += 1
                    kind, after = self.type(i)
                    i = max(after, i)
                    current = self.node(VALUE, kind, 0)
                    previous = ")"
                    continue
                elif token in STATEMENTS:
                    if token in ("if", "guard", "while", "for", "switch", "catch"):
                        header = True
                        if token == "for" and following.isidentifier() and tokens[i + 1] == "in":
                            pending, i = ("each", following), i + 2
                        elif token == "for" and following == "(":
                            stop = self.past(i)
                            for part in tokens[i : min(stop, i + 20)]:
                                if part.isidentifier():
                                    bind(part, UNKNOWN)
                            i = stop
                    elif token == "else":
                        finish()
                        if following != "if":
                            header = True
                    elif token in ("do", "repeat", "defer"):
                        header = True
                    current = NOTHING
                elif following == ":" and inside == "(" and previous in ("(", ",", "\n"):
                    i += 1  # an argument's label
                    previous = ":"
                    continue
                elif token == "self" or token == "super" or token == "Self":
                    kind = self.node(NAME, 0, f":{self.owner}") if self.owner else UNKNOWN
                    current = self.node(VALUE, kind, 0) if token != "Self" else kind
                else:
                    current = self.name(token.strip("`"))
            elif first == "." and len(token) > 1 and token[1] not in ".<":
                name = token[1:].strip().strip("`")
                if name not in ("self", "Type"):
                    current = self.node(SELECT, current, name) if current else self.node(IMPLICIT, 0, name)
            elif token == "\n" or token == ";":
                if token == "\n" and (
                    inside in ("(", "[") or (tokens[i][0] == "." and len(tokens[i]) > 1) or tokens[i] == "\n"
                ):
                    continue
                if current or previous not in ("=", ",", "+", "(", "&&", "||", "??"):
                    if not (header and not pending):
                        finish()
                    current = NOTHING
            elif first == "#" and token[:3] in ("#if", "#el", "#en"):
                self.guards += (token[:3] == "#if") - (token[:4] == "#end")
            elif token == "(" or token == "[":
                stack.append((inside, base, mark, header, pending, self.owner, None))
                inside, base, header, pending = token, current, False, None
                if base:
                    labelled = tokens[i].isidentifier() and tokens[i + 1] == ":"
                    base = current, tokens[i] if labelled else ""
                    i += 2 * labelled
                current = NOTHING
            elif token == ")" or token == "]":
                if inside in ("(", "[") and stack:
                    before, closed = base, inside
                    inside, base, mark, header, pending, _, _ = stack.pop()
                    if not before:
                        if closed == "[":
                            current = self.node(ARRAY, current, 0) if current else UNKNOWN
                    else:
                        current = self.node(CALL if closed == "(" else INDEX, *before)
                current = current or UNKNOWN
            elif token == "{":
                if header or (pending is not None and pending[0] == "member" and previous != "="):
                    finish()
                    current = NOTHING
                stack.append((inside, base, mark, False, pending, self.owner, None))
                inside, base, mark, header, pending = "{", current, len(log), False, None
                i = self.closure(i, bind)
                current = NOTHING
            elif token == "}":
                finish()
                while inside in ("(", "[") and stack:  # never closed
                    inside, base, mark, header, pending, _, _ = stack.pop()
                if stack:
                    before, old = base, mark
                    inside, base, mark, header, pending, self.owner, saved = stack.pop()
                    while len(log) > old:
                        name, hidden = log.pop()
                        if hidden is None:
                            local.pop(name, None)
                        else:
                            local[name] = hidden
                    if saved is not None:
                        local.clear()
                        local.update(saved)
                    current = before or (UNKNOWN if pending else NOTHING)
            elif token == ",":
                if inside not in ("(", "["):
                    finish()
                current = NOTHING
            elif token == "?" or token == "!":
                if not (current and (token == "!" or tokens[i][0] in ".([?")):
                    current = NOTHING
            elif first == "$":
                current = UNKNOWN
            elif first in '"#' or first.isdigit():
                current = STRING if first != "#" or '"' in token else NOTHING
            elif first == "@" and tokens[i] == "(":
                i = self.past(i)
                continue
            elif token != "@":
                if len(token) > 1 and token not in _PLAIN:
                    self.node(NAME, 0, f":{token}")
                current = NOTHING
            previous = token

    def closure(self, i: int, bind) -> int:
        """Bind the parameters of a closure that begins at `i`; where its statements begin."""
        tokens = self.tokens
        j = i
        while j < self.end and tokens[j] == "\n":
            j += 1
        start = j
        if tokens[j] == "[":
            j = self.past(j)
        stop = j
        while stop < min(self.end, j + _LOOK_AHEAD) and tokens[stop] != "in":
            if tokens[stop] in _NOT_PARAMETERS or tokens[stop][0] in '"{}=\n':
                return i
            stop += 1
        if tokens[stop] != "in":
            return i
        if tokens[start] == "[":
            j = max(j, start)
        if tokens[j] == "(":
            bound, _ = self.parameters(j)
            for name, node in bound.items():
                bind(name, node)
        for part in range(j, stop):
            if (
                tokens[part].isidentifier()
                and tokens[part - 1] in ("(", ",", "{", "]", "\n", "_")
                and tokens[part + 1]
                in (
                    ",",
                    ")",
                    "in",
                    "->",
                )
            ):
                bind(tokens[part], UNKNOWN)
        arrow = next((part for part in range(j, stop) if tokens[part] == "->"), None)
        if arrow is not None:
            self.type(arrow + 1)
        return stop + 1
