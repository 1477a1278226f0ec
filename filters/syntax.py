"""Whether a file is whole and written in the language it is said to be.

Python, JSON, TOML and XML are read by parsers that know all of them. For others tree-sitter tells the share of a
file that it could not make sense of; for the C family, whose files no parser understands before the preprocessor
has been over them, the brackets are counted too. All of it runs in a child process under limits (`corpus.guarded`).
"""

import ast
import functools
import json
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import lxml.etree
import tree_sitter

from corpus import trees
from corpus.guarded import Failed, Worker, shared_worker

CHECK = "filters.syntax:check"
MEMORY_LIMIT = 1 << 30  # bytes of address space of the child
# Grammars to try: what most files of a language follow, then what the rest may. A `.h` file can be either of two
# languages, and TSX understands most of the type annotations that JavaScript is written with.
GRAMMARS: dict[str, tuple[tuple[str, str], ...]] = {
    "C": (("tree_sitter_c", "language"), ("tree_sitter_cpp", "language")),
    "C++": (("tree_sitter_cpp", "language"),),
    "C#": (("tree_sitter_c_sharp", "language"),),
    "Go": (("tree_sitter_go", "language"),),
    "Java": (("tree_sitter_java", "language"),),
    "JavaScript": (("tree_sitter_javascript", "language"), ("tree_sitter_typescript", "language_tsx")),
    "Kotlin": (("tree_sitter_kotlin", "language"),),
    "PHP": (("tree_sitter_php", "language_php"),),
    "Ruby": (("tree_sitter_ruby", "language"),),
    "Rust": (("tree_sitter_rust", "language"),),
    "Scala": (("tree_sitter_scala", "language"),),
    "Shell": (("tree_sitter_bash", "language"),),
    "Swift": (("tree_sitter_swift", "language"),),
    "TSX": (("tree_sitter_typescript", "language_tsx"),),
    "TypeScript": (("tree_sitter_typescript", "language_typescript"),),
}
BRACKETED = {"C", "C++", "Cuda", "Objective-C", "Objective-C++"}
# Languages with `#if`: of its branches one is read, since together they need not be code.
BRANCHED = BRACKETED | {"C#", "Swift"}
XML = {"Ant Build System", "Maven POM", "SVG", "XML", "XML Property List", "XSLT"}
JSON_WITH_COMMENTS = {"JSON", "JSON with Comments", "JSON5"}
# A line of C that holds no more than a macro, such as `G_BEGIN_DECLS`: what it stands for is not the grammar's to know.
_MACRO_LINE = re.compile(r"^[ \t]*+[A-Z_][A-Z0-9_]{3,}+(?:\([^()\n]*+\))?+[ \t]*+\r?$", re.M)
# `@flow` at the head says that a JavaScript file has types that no grammar here knows.
_FLOW = re.compile(r"\A(?:.{0,2000}?)@flow\b", re.S)
# `import("module").Name` is a type whose arguments the grammar does not know.
_IMPORT_TYPE = re.compile(r"""\bimport\((?:"[^"\n]*"|'[^'\n]*')\)\.""")


class Syntax(NamedTuple):
    """What is known about a file's syntax.

    Attributes:
        error_share: bytes that no rule of the grammar explains, and one for each missing token, over all bytes;
            None: there is no parser for the language.
        fault: `python2`, what is wrong with the brackets, or None.
    """

    error_share: float | None
    fault: str | None = None


def is_checked(language: str | None) -> bool:
    """Whether `check` can say anything about files of this language."""
    return language in _CHECKS


def check_all(files: Sequence[tuple[str, str]], worker: Worker | None = None) -> list[Syntax | Failed]:
    """The syntax of each (language, text) whose language `is_checked`, or why there is no answer."""
    answers = (worker or shared_worker(CHECK, MEMORY_LIMIT)).call_all(files)
    return [answer if isinstance(answer, Failed) else Syntax(*answer) for answer in answers]


def prepare() -> None:
    """A grammar that is not installed shows before the first file, not at each."""
    warnings.simplefilter("ignore")  # of what Python's parser thinks of others' code
    for grammars in GRAMMARS.values():
        for module, name in grammars:
            trees.grammar(module, name)
    trees.grammar("tree_sitter_python")


def check(language: str, text: str) -> Syntax:
    """The syntax of one file. Only for a child process: hostile text may end it.

    Raises:
        Failed: parsing takes more work than the file's size allows (`too_hard`).
    """
    return _CHECKS[language](text)


def _by_grammar(language: str, text: str) -> Syntax:
    if language == "JavaScript" and _FLOW.match(text):
        return Syntax(None)
    if language == "PHP" and "<?" not in text:  # to the grammar all of it is text around code
        return Syntax(1.0)
    fault = None
    if language in BRANCHED:
        text, fault = one_branch(text, only_branches=language == "Swift")
    if language in BRACKETED:
        fault = fault or brackets_fault(text)
        text = _MACRO_LINE.sub("", text)
    else:
        fault = None
    tries = [(text, grammar) for grammar in GRAMMARS.get(language, ())]
    if language == "TypeScript":
        tries.append((_IMPORT_TYPE.sub("", text), tries[0][1]))
    least = 1.0
    for written, (module, name) in tries:
        tree = trees.parse(trees.grammar(module, name), written.encode("utf-8", "replace"))
        least = min(least, error_share(tree))
        if not least:
            break
    return Syntax(least if language in GRAMMARS else None, fault)


def error_share(tree: tree_sitter.Tree) -> float:
    """Share of a file's bytes that the parser skipped, each error and each missing token counting one more, 0 to 1."""
    root = tree.root_node
    size = max(root.end_byte, 1)
    skipped = 0
    stack = [root] if root.has_error else []
    while stack:
        node = stack.pop()
        if node.is_missing:
            skipped += 1
        elif node.is_error:
            skipped += 1 + node.end_byte - node.start_byte
            for child in node.named_children:
                if child.child_count:  # understood again, whatever surrounds it
                    skipped -= child.end_byte - child.start_byte
                if child.has_error:
                    stack.append(child)
        else:
            stack += [child for child in node.children if child.has_error]
    return min(skipped / size, 1.0)


def _python(text: str) -> Syntax:
    try:
        ast.parse(text)
        return Syntax(0.0)
    except (RecursionError, MemoryError):
        raise Failed("too_hard") from None
    except (SyntaxError, ValueError) as error:
        message = str(error)
    tree = trees.parse(trees.grammar("tree_sitter_python"), text.encode("utf-8", "replace"))
    share = error_share(tree)
    if not share:  # Python, but not of this version, or wrong in a way that only its own parser sees
        is_new = False
        for node in _nodes(tree.root_node):
            if (mark := _python_mark(node)) == "old":
                return Syntax(0.0, "python2")
            is_new |= mark == "new"
        if is_new or message.startswith(("f-string", "t-string")):
            return Syntax(0.0)
    return Syntax(max(share, 1 / max(len(text), 1)))


def _nodes(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += node.named_children


_OLD_STRING = re.compile(rb"(?i)`|ur")
_OLD_INTEGER = re.compile(rb"(?i)0\d*[1-9]\d*|\w+l")


def _python_mark(node: tree_sitter.Node) -> str | None:
    """`old` for what is Python 2 alone, `new` for what came with Python 3.12 or later."""
    kind = node.type
    if kind in ("print_statement", "exec_statement"):
        return "old"
    if kind == "integer":
        return "old" if _OLD_INTEGER.fullmatch(node.text) else None
    if kind == "string_start":
        return "old" if _OLD_STRING.match(node.text) else None
    if kind == "except_clause":
        return "old" if len(node.children_by_field_name("value")) > 1 else None
    if kind == "raise_statement":
        return "old" if any(child.type == "expression_list" for child in node.named_children) else None
    if kind == "comparison_operator":
        return "old" if any(child.type == "<>" for child in node.children) else None
    if kind == "parameters":
        return "old" if any(child.type == "tuple_pattern" for child in node.named_children) else None
    if kind in ("function_definition", "class_definition"):
        return "new" if node.child_by_field_name("type_parameters") else None
    return "new" if kind == "type_alias_statement" else None


def _json(text: str) -> Syntax:
    """JSON, JSON lines, or JSON with comments and trailing commas, which JavaScript understands."""
    if not text.strip():
        return Syntax(1.0)
    try:
        try:
            json.loads(text)
        except ValueError:
            for line in text.splitlines():
                if line.strip():
                    json.loads(line)
    except ValueError:
        source = f"({text}\n)".encode("utf-8", "replace")
        return Syntax(error_share(trees.parse(trees.grammar("tree_sitter_javascript"), source)))
    except RecursionError:
        raise Failed("too_hard") from None
    return Syntax(0.0)


def _toml(text: str) -> Syntax:
    try:
        tomllib.loads(text)
    except ValueError:  # also of numbers that are too long to read
        return Syntax(1.0)
    except RecursionError:
        raise Failed("too_hard") from None
    return Syntax(0.0)


def _xml(text: str) -> Syntax:
    """Well-formed or not; no entity is replaced and nothing is fetched."""
    parser = lxml.etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False)
    try:
        lxml.etree.fromstring(text.encode("utf-8", "replace"), parser)
    except lxml.etree.XMLSyntaxError:
        return Syntax(1.0)
    return Syntax(0.0)


_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*([a-z]*)[ \t]*([^\r\n]*)")
_IF = ("if", "ifdef", "ifndef")
_ELSE = ("else", "elif", "elifdef", "elifndef", "elseif")
_NEVER = re.compile(r"(?:0|\(0\)|false)(?:\s*/[/*].*)?")
# What opens a comment, or hides such an opening.
_OPENING = re.compile(r"""//|/\*|"(?:\\.|[^"\\])*+"?|'(?:\\.|[^'\\]){1,10}+'""")


def _leaves_open(line: str) -> bool:
    """Whether a comment that begins on a line of C goes on in the next line."""
    at = 0
    while match := _OPENING.search(line, at):
        at = match.end()
        if match[0] == "//":
            break
        if match[0] == "/*":
            at = line.find("*/", at) + 2
            if at < 2:
                return True
    return False


def one_branch(text: str, only_branches: bool = False) -> tuple[str, str | None]:
    """C as one configuration sees it: without directives and all branches of an `#if` but the first that can be.

    Lines keep their numbers. Also what is wrong with the directives themselves, or None. With `only_branches` a
    line that begins with `#` is a directive only if it opens or closes a branch.
    """
    lines: list[str] = []
    # Of each `#if` around: whether this branch is out, and whether one was taken already.
    around: list[tuple[bool, bool]] = []
    out = 0  # of `around`, how many are out
    inside = False  # a directive that goes on in the next line
    commented = False  # a comment that does
    fault = None
    for line in text.split("\n"):
        directive = None if inside or commented else _DIRECTIVE.match(line)
        closed = line.find("*/") + 2 if commented else 0
        if not commented or closed >= 2:
            commented = "/*" in line and _leaves_open(line[closed:])
        if directive and only_branches and directive[1] not in (*_IF, *_ELSE, "endif"):
            directive = None
        if directive:
            name, rest = directive[1], directive[2].strip()
            if name in _IF:
                is_out = name == "if" and _NEVER.fullmatch(rest) is not None
                around.append((is_out, not is_out))
                out += is_out
            elif name in (*_ELSE, "endif"):
                if around:
                    was_out, taken = around.pop()
                    out -= was_out
                    if name != "endif":
                        around.append((taken, True))
                        out += taken
                else:
                    fault = fault or f"#{name} without #if"
        if directive or inside:
            inside = commented or line.rstrip("\r").endswith("\\")
            lines.append("")
        else:
            lines.append("" if out else line)
    if around:
        fault = fault or "#if without #endif"
    return "\n".join(lines), fault


# Comments, strings and characters of the C family, or one bracket. Each is closed at the end of its line (comments:
# of the file) at the latest, so that a stray quote costs no more than its line.
_C_TOKEN = re.compile(
    r"//(?:\\\r?\n|[^\n])*"
    r"|/\*(?:[^*]++|\*(?!/))*+(?:\*/|(?P<open>\Z))"
    r'|\b(?:u8|[uUL])?R"(?P<mark>[^ ()\\\t\n"]{0,16})\('
    r'|"(?:\\(?:\r\n|.)|[^"\\\n])*+"?'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])++'?"
    r"|[][(){}]",
    re.S,
)
_PAIRS = {")": "(", "]": "[", "}": "{"}


def brackets_fault(text: str) -> str | None:
    """What is wrong with the brackets of a file of the C family, which has been through `one_branch`, or None."""
    stack: list[str] = []
    at = 0
    while match := _C_TOKEN.search(text, at):
        at = match.end()
        token = match[0]
        if match["mark"] is not None:  # a raw string ends where its mark comes again
            end = text.find(f'){match["mark"]}"', at)
            if end < 0:
                return "a raw string without end"
            at = end + len(match["mark"]) + 2
        elif match["open"] is not None:
            return "a comment without end"
        elif token in _PAIRS:
            if not stack or stack.pop() != _PAIRS[token]:
                return f"{token} without {_PAIRS[token]}"
        elif token in "([{":
            stack.append(token)
    return f"{stack[-1]} without its end" if stack else None


_CHECKS: dict[str | None, Callable[[str], Syntax]] = {
    **{name: functools.partial(_by_grammar, name) for name in [*GRAMMARS, *BRACKETED]},
    **dict.fromkeys(XML, _xml),
    **dict.fromkeys(JSON_WITH_COMMENTS, _json),
    "Python": _python,
    "TOML": _toml,
}
