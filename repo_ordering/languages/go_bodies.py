"""What Go's functions and variables use: their tokens, read once from left to right (see `go_read`)."""

from repo_ordering.languages.go_read import (
    CALL,
    FOREIGN,
    INDEX,
    KEY,
    KEYWORDS,
    LOCAL_KEY,
    NAME,
    NOT_NAMES,
    NOTHING,
    PICK,
    RANGE_KEY,
    RANGE_VALUE,
    RECEIVE,
    SELECT,
    TOKEN,
    UNKNOWN,
    VALUE,
    Declarations,
)

_STARTERS = frozenset(["\n", ";", "{", "}", ":", "if", "for", "switch", "case", "else", "("])
_ENDS = frozenset(["break", "continue", "fallthrough", "return", "++", "--"])
_MOST_DEFINED = 64  # names on the left of one `:=`
_KIND = {token: token for token in [*KEYWORDS, *"()[]{},;:.\n=~", ":=", "<-", "++", "--"]}
_NEW, _MAKE, _APPEND = (NAME, "new"), (NAME, "make"), (NAME, "append")


class Reader(Declarations):
    """Expressions and declarations of one file."""

    def declaration(self, text: str) -> None:
        """A top-level declaration."""
        self.tokens = [*TOKEN.findall(text), *"\n" * 16]  # so that looking ahead needs no care
        self.local = {}
        word = self.tokens[0]
        if word == "func":
            self._function()
        elif word == "type":
            self.type_declarations(1, None)
        elif word in ("var", "const"):
            self._statements(0, True)

    def _function(self) -> None:
        tokens, i = self.tokens, 1
        receiver = None
        if tokens[i] == "(":
            i += 1
            words = []
            while tokens[i] not in (")", "[", "{") and i < len(tokens) - 3:
                words.append(tokens[i])
                i += 1
            names = [word for word in words if word.isidentifier()]
            receiver = names[-1] if names else ""
            if tokens[i] == "[":  # names for the type's parameters
                while tokens[i] != "]" and i < len(tokens) - 3:
                    i += 1
                    if tokens[i].isidentifier():
                        self.local[tokens[i]] = UNKNOWN
                i += 1
            if names:
                self.local[names[0]] = self.node(VALUE, self.node(NAME, receiver))
            if len(names) < 2:
                self.local.pop(receiver, None)
            i += 1
        name = tokens[i]
        if not name.isidentifier():
            return
        i += 1
        if tokens[i] == "[":
            i = self.type_parameters(i)
        kind, bound, i = self.signature(i, 0)
        if receiver is not None:
            self.methods.setdefault(receiver, {}).setdefault(name, kind)
        else:
            self.functions.setdefault(name, kind)
        if tokens[i] == "{":
            self.local.update(bound)
            self._statements(i, False)

    # Bodies

    def _statements(self, i: int, top: bool) -> None:
        """Statements from token `i` to the end of the declaration, which is a package's variables where `top`.

        `current` is the operand that has just been read, NOTHING behind an operator. Every bracket puts the state of
        the statement around it on the stack.
        """
        tokens, nodes, ids, local = self.tokens, self.nodes, self.ids, self.local
        kind_of = _KIND.get
        log: list[tuple[str, int | None]] = []  # bindings, with what they hid
        stack: list[tuple] = []
        inside, base = "", NOTHING  # which bracket this is inside of, and what stood before it
        mark = 0  # length of the log to go back to at the end of the block
        carried: int | None = None  # of an `if`, when its `else` follows
        header: int | None = None  # of the statement whose block has not begun
        defined: list[str] | None = None  # names on the left
        declared = NOTHING  # their type, where it is written
        constants = NOTHING  # the last type of a group of constants
        values: list[int] = []
        ranged = receiving = switched = False
        opened: tuple | None = None  # the bracket that this token opens
        after = 0  # the `mark` inside it
        blocks = 0  # that are open
        literal = (
            -1
        )  # token before which a type that is no name ended: `{` after it is a literal even in a header
        current, previous = NOTHING, "\n"
        end = len(tokens) - 2

        def bind(name: str, node: int) -> None:
            if name == "_":
                return
            if top and not blocks:
                self.variables.setdefault(name, node)
            else:
                log.append((name, local.get(name)))
                local[name] = node

        while i < end:
            token = tokens[i]
            i += 1
            kind = kind_of(token)
            if kind is None:
                first = token[0]
                if first > "@" and first != "`":  # a name
                    following = tokens[i]
                    if following in (":=", ",", ":") or (inside == "var" and previous in "(\n;"):
                        if following == ":":
                            if inside == "{literal" and previous in ("{", ",", "\n"):
                                current = self.node(LOCAL_KEY if token in local else KEY, base, token)
                                previous = token
                                continue
                            if inside == "{" and previous in ("\n", "{", "}", ";"):  # a label
                                previous = token
                                continue
                        elif inside == "var":
                            if previous in "(\n;":
                                i, defined, declared, constants = self._variables(i - 1, constants)
                                values = []
                                if tokens[i] != "=":
                                    self._finish(bind, defined, declared, values, NOTHING, False, False)
                                    defined, declared = None, NOTHING
                                previous, current = ")", NOTHING
                                continue
                        elif previous in _STARTERS or previous == "=":
                            j, names = i, [token]
                            while (
                                tokens[j] == ","
                                and tokens[j + 1].isidentifier()
                                and tokens[j + 2] in (",", ":=")
                                and len(names) < _MOST_DEFINED
                            ):
                                names.append(tokens[j + 1])
                                j += 2
                            if tokens[j] == ":=":
                                defined, declared, values = names, NOTHING, []
                                i = j
                                continue
                    current = local.get(token, -1)
                    if current < 0:
                        key = (NAME, token)
                        current = ids.get(key, -1)
                        if current < 0:
                            current = ids[key] = len(nodes)
                            nodes.append(key)
                    elif current == NOTHING:
                        current = UNKNOWN
                elif first == ".":
                    if token != "...":
                        key = (SELECT, current or UNKNOWN, token[1:].strip())
                        current = ids.get(key, -1)
                        if current < 0:
                            current = ids[key] = len(nodes)
                            nodes.append(key)
                elif first in "\"`'" or first.isdigit():
                    current = FOREIGN
                else:
                    current = NOTHING
                previous = token
                continue
            if kind == "\n" or kind == ";":
                if not current and previous not in _ENDS and previous not in ")]}" and kind == "\n":
                    continue  # the statement goes on
                if defined is not None:
                    self._finish(bind, defined, declared, values, current, ranged, receiving)
                    defined, declared, ranged = None, NOTHING, False
                current, receiving = NOTHING, False
            elif kind == "(":
                if previous == ".":
                    if tokens[i] == "type":
                        switched = True
                        i += 2
                    else:
                        found, i = self.type(i, 0)
                        current = self.node(VALUE, found)
                        i += tokens[i] == ")"
                    previous = ")"
                    continue
                opened = "(", current
            elif kind == "[":
                if not current:
                    current, i = self.type(i - 1, 0)
                    literal = i
                    previous = "]"
                    continue
                opened = "[", current
            elif kind == "{":
                is_literal = current and (header is None or literal == i - 1) and previous not in _STARTERS
                if not is_literal and not current and inside == "{literal" and previous in (":", ",", "{"):
                    is_literal, current = True, self.node(INDEX, base)
                if is_literal:
                    opened = "{literal", current
                else:
                    subject = None
                    if switched:
                        subject = (defined[0] if defined else None, current or UNKNOWN)
                    elif defined is not None:
                        self._finish(bind, defined, declared, values, current, ranged, receiving)
                    after = header if header is not None else carried if carried is not None else len(log)
                    header = carried = defined = None
                    declared, values, ranged, receiving, switched = NOTHING, [], False, False, False
                    opened = "{", subject
            elif kind == ")" or kind == "]" or kind == "}":
                if defined is not None and (inside == "var" or (inside == "{" and kind == "}")):
                    self._finish(bind, defined, declared, values, current, ranged, receiving)
                    defined = None
                if not stack:
                    previous, current = token, UNKNOWN
                    continue
                closed, before, old, first_value = inside, base, mark, values
                was_receiving = receiving
                inside, base, mark, header, defined, declared, values, ranged, receiving, switched, constants = \
                    stack.pop()  # fmt: skip
                if closed == "(":
                    if not before:
                        current = (
                            self.node(RECEIVE, current) if was_receiving and current else current or UNKNOWN
                        )
                    elif before > FOREIGN and nodes[before] in (_NEW, _MAKE):
                        current = self.node(VALUE, first_value[0]) if first_value else UNKNOWN
                    elif before > FOREIGN and nodes[before] == _APPEND:
                        current = first_value[0] if first_value else current or UNKNOWN
                    else:
                        current = self.node(CALL, before) if before != FOREIGN else FOREIGN
                elif closed == "[":
                    current = self.node(INDEX, before)
                elif closed == "{literal":
                    current = self.node(VALUE, before)
                elif closed == "{":
                    blocks -= 1
                    if tokens[i] == "else":
                        carried = old
                    else:
                        while len(log) > old:
                            name, hidden = log.pop()
                            if hidden is None:
                                local.pop(name, None)
                            else:
                                local[name] = hidden
                    current = self.node(VALUE, before) if type(before) is int else NOTHING
                else:
                    current = NOTHING
            elif kind == ",":
                if inside == "(" and not values:
                    values = [current or UNKNOWN]
                elif defined is not None:
                    values.append(self.node(RECEIVE, current) if receiving else current or UNKNOWN)
                receiving = False
                current = NOTHING
            elif kind == ":":
                if defined is not None and inside == "{":
                    self._finish(bind, defined, declared, values, current, ranged, receiving)
                    defined, ranged, receiving = None, False, False
                current = NOTHING
            elif kind == "<-":
                receiving = receiving or not current
                current = NOTHING
            elif kind == "range":
                ranged = True
                current = NOTHING
            elif kind == "func":
                found, bound, i = self.signature(i, 0)
                if tokens[i] == "{":
                    after = len(log)
                    for name, node in bound.items():
                        log.append((name, local.get(name)))
                        local[name] = node
                    i += 1
                    opened, token = ("{", found), "{"
                else:
                    current, previous = found, ")"
                    continue
            elif kind in ("map", "chan", "struct", "interface"):
                current, i = self.type(i - 1, 0)
                literal = i
                previous = "]"
                continue
            elif kind in ("if", "for", "switch", "select"):
                header = len(log) if carried is None else carried
                carried = None
                current = NOTHING
            elif kind == "var" or kind == "const":
                constants = NOTHING
                if tokens[i] == "(":
                    opened, token = ("var", NOTHING), "("
                    i += 1
                else:
                    i, defined, declared, constants = self._variables(i, NOTHING)
                    values = []
                    if tokens[i] != "=":
                        self._finish(bind, defined, declared, values, NOTHING, False, False)
                        defined, declared = None, NOTHING
                    previous, current = ")", NOTHING
                    continue
            elif kind == "type":
                i = self.type_declarations(i, log)
                previous, current = ")", NOTHING
                continue
            elif kind == "case" and inside == "{" and type(base) is tuple:
                i = self._case(bind, base, i)
                previous, current = ":", NOTHING
                continue
            elif kind == "default" and inside == "{" and type(base) is tuple and base[0]:
                bind(*base)
                current = NOTHING
            elif kind in ("goto", "break", "continue"):
                i += tokens[i].isidentifier() and tokens[i] not in NOT_NAMES
                current = NOTHING
            elif kind != ".":
                current = NOTHING
            if opened is not None:
                stack.append(
                    (inside, base, mark, header, defined, declared, values, ranged, receiving, switched, constants)
                )  # fmt: skip
                inside, base = opened
                header = defined = opened = None
                declared, values, ranged, receiving, switched = NOTHING, [], False, False, False
                current = NOTHING
                if inside == "{":
                    mark = after
                    blocks += 1
                elif inside == "(" and base > FOREIGN and nodes[base] in (_NEW, _MAKE):
                    found, i = self.type(i, 0)
                    values = [found]
                    current = FOREIGN
            previous = token

    def _finish(self, bind, defined, declared, values, current, ranged, receiving) -> None:
        """The end of a statement that defines names."""
        if current:
            values.append(self.node(RECEIVE, current) if receiving else current)
        if declared:
            for name in defined:
                bind(name, self.node(VALUE, declared))
        elif ranged and values:
            for name, operation in zip(defined, (RANGE_KEY, RANGE_VALUE), strict=False):
                bind(name, self.node(operation, values[0]))
        elif len(values) == len(defined):
            for name, value in zip(defined, values, strict=True):
                bind(name, value)
        elif values:
            for index, name in enumerate(defined):
                bind(name, self.node(PICK, values[0], index))
        else:
            for name in defined:
                bind(name, UNKNOWN)
        values.clear()

    def _variables(self, i: int, constants: int) -> tuple[int, list[str], int, int]:
        """`a, b T` of a `var` or `const`: where it ends, the names, their type, and the type that constants keep."""
        tokens = self.tokens
        names: list[str] = []
        while tokens[i].isidentifier() and tokens[i] not in NOT_NAMES:
            names.append(tokens[i])
            i += 1
            if tokens[i] != ",":
                break
            i += 1
        if tokens[i] == "=":
            return i, names, NOTHING, NOTHING
        if tokens[i] in ("\n", ";", ")"):
            return i, names, constants, constants
        start = i
        declared, i = self.type(i, 0)
        return max(i, start), names, declared, declared

    def _case(self, bind, subject: tuple[str | None, int], i: int) -> int:
        """The types of one case of a type switch, up to the colon."""
        tokens = self.tokens
        found = []
        while i < len(tokens) - 3 and tokens[i] not in (":", "}"):
            if tokens[i] in (",", "\n"):
                i += 1
                continue
            start = i
            kind, i = self.type(i, 0)
            found.append(kind)
            i = max(i, start + 1)
        name, node = subject
        if name is not None:
            bind(name, self.node(VALUE, found[0]) if len(found) == 1 else node)
        return i + 1
