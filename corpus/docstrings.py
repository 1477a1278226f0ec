"""The documentation inside a Python source file, read without running it.

Docstrings are taken from the syntax tree. Libraries written in C attach theirs by calls
(`add_newdoc("numpy", "sum", ...)`, `add_docstr(torch.abs, ...)`); those are read too, as far as their text is
made of literals.
"""

import ast
import inspect
import string
import warnings
from collections.abc import Iterator
from typing import NamedTuple

MIN_MEMBER_CHARS = 60
MAX_SIGNATURE_CHARS = 400
_ADDERS = {"add_newdoc", "add_docstr", "_add_docstr", "add_newdoc_for_scalar_type"}


class Docstring(NamedTuple):
    """One documented thing: dotted name in its module ("" for the module itself), kind, signature, text."""

    name: str
    kind: str  # module, class or function
    signature: str
    text: str
    members: tuple["Docstring", ...] = ()


def docstrings(source: str) -> list[Docstring]:
    """The module's, its public functions' and its public classes' docstrings, classes with their methods'.

    In source order, one a name (the longest text where a name is defined twice). Source that does not parse
    has none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: dict[str, Docstring] = {}
    for doc in _in_module(tree):
        if doc.name not in found or len(doc.text) > len(found[doc.name].text):
            found[doc.name] = doc
    return list(found.values())


def _in_module(tree: ast.Module) -> Iterator[Docstring]:
    if text := ast.get_docstring(tree):
        yield Docstring("", "module", "", text)
    for node in _statements(tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if text := ast.get_docstring(node):
                yield Docstring(node.name, "function", _signature(node.name, node.args), text)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            doc = _class(node)
            if doc.text or doc.members:
                yield doc
        elif isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call):
            yield from _attached(node.value)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements, also those under `if` and `try`, where alternatives for platforms stand."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _statements([*node.body, *node.orelse])
            for handler in node.handlers:
                yield from _statements(handler.body)


def _class(node: ast.ClassDef) -> Docstring:
    members = []
    signature = node.name
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if child.name == "__init__":
            signature = _signature(node.name, child.args, method=True)
        text = ast.get_docstring(child)
        if text and len(text) >= MIN_MEMBER_CHARS and not child.name.startswith("_"):
            members.append(Docstring(child.name, "function", _signature(child.name, child.args, True), text))
    return Docstring(node.name, "class", signature, ast.get_docstring(node) or "", tuple(members))


def _signature(name: str, arguments: ast.arguments, method: bool = False) -> str:
    text = ast.unparse(arguments)
    if method:
        first, _, rest = text.partition(", ")
        text = rest if first in ("self", "cls") else text
    text = f"{name}({text})"
    return text if len(text) <= MAX_SIGNATURE_CHARS else f"{name}(...)"


def _attached(call: ast.Call) -> Iterator[Docstring]:
    """`add_newdoc(place, name, text)` in numpy's and scipy's forms, `add_docstr(object, text)` in torch's."""
    adder = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if adder not in _ADDERS or len(call.args) < 2:
        return
    *place, value = call.args
    if isinstance(value, ast.Tuple) and len(value.elts) == 2:  # add_newdoc(place, class, (member, text))
        place, value = [*place, value.elts[0]], value.elts[1]
    text = _literal(value)
    names = [_literal(p) if isinstance(p, ast.Constant) else _dotted(p) for p in place]
    if text and all(names) and not names[-1].split(".")[-1].startswith("_"):
        # numpy's first argument is the module that holds the object, which says where the reader finds it.
        text = inspect.cleandoc(text)
        # A first line closed by "--" is the signature CPython strips from the docstrings of C functions.
        signature, mark, rest = text.partition("\n--\n")
        is_signature = bool(mark) and len(signature) <= MAX_SIGNATURE_CHARS and signature.endswith(")")
        if is_signature:
            yield Docstring(".".join(names), "function", signature, rest.strip())
        else:
            yield Docstring(".".join(names), "function", "", text)


def _dotted(node: ast.expr) -> str:
    try:
        text = ast.unparse(node)
    except (ValueError, RecursionError):
        return ""
    return text if all(part.isidentifier() for part in text.split(".")) else ""


def _literal(node: ast.expr) -> str:
    """The text of an expression made of string literals, `+` and `.format`; "" where there is more to it.

    Fields that `format` would fill from variables are left as their names.
    """
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _literal(node.left), _literal(node.right)
        return left + right if left and right else left or right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "format":
            try:
                return _FieldNames().vformat(_literal(node.func.value), (), {})
            except (ValueError, AttributeError, KeyError, IndexError):
                return ""
        if node.func.attr in ("strip", "lstrip", "rstrip"):
            return _literal(node.func.value).strip()
    return ""


class _FieldNames(string.Formatter):
    def get_field(self, field_name, args, kwargs):
        return field_name, field_name

    def format_field(self, value, format_spec):
        return value

    def convert_field(self, value, conversion):
        return value
