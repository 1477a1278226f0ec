"""Python: names and values as text, cut out of a syntax tree."""

import re

import tree_sitter

MAX_LINKS = 24  # of one chain
MAX_CHARS = 400  # of one chain or annotation
MAX_VALUES = 12  # that one expression may have

_SIMPLE = re.compile(rb"[\w.]+")
_CASTS = (b"cast", b"typing.cast", b"t.cast")
_ALTERNATIVES = {"conditional_expression", "boolean_operator", "parenthesized_expression", "await"}
_LINKS = {"attribute", "call", "subscript", "await", "parenthesized_expression"}


class Source:
    """The text of a tree. `node.text` asks for it anew each time; a slice of it costs a tenth."""

    def __init__(self, root: tree_sitter.Node) -> None:
        self.source = b" " * root.start_byte + root.text  # so that a node's bytes are counted from its start

    def raw(self, node: tree_sitter.Node) -> bytes:
        """The first `MAX_CHARS` bytes and one more."""
        start, end = node.start_byte, node.end_byte
        return self.source[start : end if end - start <= MAX_CHARS else start + MAX_CHARS + 1]

    def text(self, node: tree_sitter.Node) -> str:
        return str(self.raw(node), "utf-8", "replace")

    def annotation(self, node: tree_sitter.Node) -> str:
        text = self.raw(node)
        return "" if len(text) > MAX_CHARS else re.sub(r"[\s\"']", "", text.decode("utf-8", "replace"))

    def values(self, node: tree_sitter.Node | None) -> list[str]:
        """The chains that an expression may be the value of."""
        found: list[str] = []
        stack = [node] if node is not None else []
        for _ in range(MAX_VALUES):
            if not stack:
                break
            node = stack.pop()
            kind = node.type
            if kind in _ALTERNATIVES:
                children = node.named_children
                stack += [children[0], children[2]] if len(children) == 3 else children[:2]
            elif kind == "binary_operator":
                stack += node.named_children[:1]
            else:
                chain = self.chain(node)
                if chain:
                    found.append(chain.decode("utf-8", "replace"))
        return found

    def plain(self, start: int, end: int) -> bytes:
        """What stands there, if it is nothing but names and dots."""
        match = _SIMPLE.fullmatch(self.source, start, end) if end - start <= MAX_CHARS else None
        return match[0] if match else b""

    def chain(self, node: tree_sitter.Node) -> bytes:
        """`a.b().c[]`; empty where the expression does not start with a name."""
        kind = node.type
        if kind in ("attribute", "identifier"):
            plain = self.plain(node.start_byte, node.end_byte)
            if plain:
                return plain
        parts: list[bytes] = []
        for _ in range(MAX_LINKS):
            if kind == "identifier":
                parts.append(self.raw(node))
                chain = b"".join(reversed(parts))
                return chain if len(chain) <= MAX_CHARS else b""
            if kind not in _LINKS:
                break
            children = node.named_children
            if not children:
                break
            if kind == "attribute":
                parts.append(b"." + self.raw(children[-1]))
            elif kind == "call":
                is_cast = self.raw(children[0]) in _CASTS
                if is_cast and len(children) > 1 and children[1].named_child_count:
                    hint = children[1].named_child(0)
                    if hint.type == "string":
                        return b""
                    node = hint
                    parts.append(b"()")
                    kind = node.type
                    continue
                parts.append(b"()")
            elif kind == "subscript":
                parts.append(b"[]")
            node = children[0]
            kind = node.type
        return b""
