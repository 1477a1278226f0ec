"""Ruby: what a file requires, the constants it declares, and those that it names.

`require` and its like are read off the lines, as they name paths; constants off the syntax tree. `ruby_names` finds
the files.
"""

import functools
import re
from bisect import bisect_right
from typing import Any

from repo_ordering.edges import Facts
from repo_ordering.languages.ruby_names import resolve
from repo_ordering.trees import captured

__all__ = ["grammar", "names_used", "names_written", "resolve", "scan", "scan_tree"]

_COMMENT = re.compile(r"^=begin\b.*?^=end\b", re.MULTILINE | re.DOTALL)
_END = re.compile(r"^__END__\r?$", re.MULTILINE)
_REQUIRE = re.compile(
    r"^[^\n#\"'/]{0,80}?(?<![\w.:])"
    r"(require_relative|require_dependency|require|load|autoload\??)[ \t(]{1,8}"
    r"([^\n]{1,400}(?:\n[ \t]{1,80}File\.[^\n]{1,300})?)",
    re.MULTILINE,
)
_TEXT = re.compile(r"""(['"])((?:(?!\1)[^\\\n]){1,300})\1""")
_MODIFIER = re.compile(r"\s(?:if|unless|rescue|and|or)\b.*|\s#.*")
_PATH = re.compile(r"(?:::)?[A-Z]\w*(?:::[A-Z]\w*)*\Z")
_CALL = re.compile(rb"(\w+)[\s(\\]{0,80}(.*)", re.DOTALL)
_MIXINS = {b"include", b"extend", b"prepend"}
# Calls that name a class by the name of a thing, as Rails has them.
_ONE = {b"belongs_to", b"has_one"}
_MANY = {b"has_many", b"has_and_belongs_to_many"}
_PLURALS = (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("uses", "us"))
_CLASS_NAME = re.compile(rb"""(?<!\w):?class_name:?\s{0,4}(?:=>)?\s{0,4}["']([\w:]{1,200})["']""")
_MOST_REFERENCES = 20_000  # different names in different scopes; more is a table
_MAX_DEPTH = 64

_QUERY = """
(class) @class
(module) @module
(singleton_class) @singleton
(method) @method
(singleton_method) @method
(constant) @constant
(scope_resolution) @scoped
(assignment left: [(constant) (scope_resolution)] @assigned)
((call !receiver method: (identifier) @verb arguments: (argument_list)) @call
  (#any-of? @verb "include" "extend" "prepend" "autoload" "helper"
    "belongs_to" "has_one" "has_many" "has_and_belongs_to_many"))
"""


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_ruby

    return tree_sitter_ruby.language()


def scan(text: str) -> list[list[str]]:
    """[form, path] of each file that is required: form is where the path starts.

    `load_path`, `folder` (of the file), `file` (the file itself, as `File.expand_path(path, __FILE__)` has it) or
    `root`.
    """
    if "=begin" in text and "\n=end" in text:
        text = _COMMENT.sub("", text)
    end = _END.search(text)
    if end:
        text = text[: end.start()]
    found: dict[tuple[str, str], None] = {}
    for match in _REQUIRE.finditer(text):
        verb, argument = match.groups()
        argument = _MODIFIER.sub("", argument)
        parts = [part for _, part in _TEXT.findall(argument)]
        if verb.startswith("autoload"):
            name, comma, argument = argument.partition(",")
            parts = parts[1:] if _TEXT.match(name.strip()) else parts
            if not comma:
                continue
        form = "load_path"
        if "__FILE__" in argument or "__dir__" in argument:
            whole = "__FILE__" in argument and "dirname" not in argument
            form = "file" if whole and "expand_path" in argument else "folder"
        elif verb == "require_relative":
            form = "folder"
        elif "Rails.root" in argument:
            form = "root"
        elif argument.lstrip("( \t")[:1] not in ("'", '"'):
            continue  # a name that the program makes
        if form in ("load_path",) or verb == "require_relative":
            parts = parts[:1]
        path = "/".join(
            part.replace("#{__dir__}", "").strip("/") if form != "load_path" else part for part in parts
        )
        if path and "#{" not in path:
            found[form, path] = None
    return [list(each) for each in found]


@functools.cache
def _query(language):
    import tree_sitter

    return tree_sitter.Query(language, _QUERY)


@functools.cache
def _language():
    import tree_sitter

    return tree_sitter.Language(grammar("Ruby"))


def scan_tree(root) -> dict[str, Any]:
    """Constants of one file. A scope is an opening of a class or module; the first one is the file itself.

    scopes: [name, index of the scope around, superclass, mixins, weight], where a weight of 0 tells that nothing but
    other scopes is in there; constants: [scope, name] that are assigned; references: [scope, name], each once.
    """
    import tree_sitter

    text = root.text
    captures = captured(tree_sitter.QueryCursor(_query(_language())), root)
    events = []
    for node in captures.get("class", []) + captures.get("module", []):
        name = node.child_by_field_name("name")
        if name is None:
            continue
        above = node.child_by_field_name("superclass")
        body = above.end_byte if above is not None else name.end_byte
        events.append((node.start_byte, 0, node.end_byte, body, name, above))
    events.sort(key=lambda event: (event[0], -event[2]))
    scopes: list[list[Any]] = [["", -1, "", [], 1]]
    skipped: set[int] = set()  # where names of classes start: they are declared, not used
    opened: list[tuple[int, int]] = [(0, len(text) + 1)]  # (index, end) of the scopes around
    starts, owners = [0], [0]
    bounds: list[tuple[int, int, int]] = []
    for start, _, end, body, name, above in events:
        while opened[-1][1] <= start:
            opened.pop()
        if len(opened) > _MAX_DEPTH:
            continue
        around = opened[-1][0]
        skipped.add(name.start_byte)
        written = text[name.start_byte : name.end_byte].decode("utf-8", "replace")
        inherits = (
            text[above.start_byte : above.end_byte].decode("utf-8", "replace") if above is not None else ""
        )
        inherits = "".join(inherits.lstrip("<").split())
        if not _PATH.match(written):
            continue
        full = _within(scopes[around][0], written)
        scopes.append(
            [full, around, inherits if _PATH.match(inherits) else "", [], 2 if above is not None else 0]
        )
        opened.append((len(scopes) - 1, end))
        bounds.append((body, end, len(scopes) - 1))
    # Where each scope starts and where the one around goes on, so that a position finds its scope by bisection.
    stack: list[tuple[int, int]] = [(len(text) + 1, 0)]
    for body, end, index in bounds:
        while stack[-1][0] <= body:
            closed, _ = stack.pop()
            starts.append(closed)
            owners.append(stack[-1][1])
        starts.append(body)
        owners.append(index)
        stack.append((end, index))
    while len(stack) > 1:
        closed, _ = stack.pop()
        starts.append(closed)
        owners.append(stack[-1][1])

    def scope_at(position: int) -> int:
        return owners[bisect_right(starts, position) - 1]

    with_scopes = {scope[1] for scope in scopes[1:]}
    for node in captures.get("method", []) + captures.get("singleton", []):
        scopes[scope_at(node.start_byte)][4] += 1
    constants: dict[tuple[int, str], None] = {}
    for node in captures.get("assigned", []):
        name = text[node.start_byte : node.end_byte].decode("utf-8", "replace")
        if _PATH.match(name):
            constants[scope_at(node.start_byte), name] = None
            skipped.add(node.start_byte)
    references: dict[tuple[int, bytes], None] = {}
    spans = [(node.start_byte, -node.end_byte) for node in captures.get("scoped", [])]
    spans += [(node.start_byte, -node.end_byte) for node in captures.get("constant", [])]
    spans.sort()
    done = -1
    for start, end in spans:
        if start < done or start in skipped:
            continue
        name = text[start:-end]
        if b"::" in name:
            name = b"".join(name.split())
            if not _PATH.match(name.decode("utf-8", "replace")):
                continue  # `x::Y`: what it starts with is seen next
        done = -end
        references[scope_at(start), name] = None
        if len(references) > _MOST_REFERENCES:
            break
    for call in captures.get("call", []):
        called, inside = _CALL.match(
            text[call.start_byte : min(call.end_byte, call.start_byte + 1000)]
        ).groups()
        at = scope_at(call.start_byte)
        if called in _MIXINS:
            scopes[at][4] += 1
            names = [name.strip() for name in inside.rstrip(b")").decode("utf-8", "replace").split(",")]
            scopes[at][3] += [name for name in names if _PATH.match(name)]
        elif called == b"autoload":
            name = re.match(rb":([A-Z]\w*)", inside)
            if name:
                references[at, name[1]] = None
        else:
            stated = _CLASS_NAME.search(inside)
            name = re.match(rb":([a-z]\w*)", inside)
            if stated and called != b"helper":
                references[at, stated[1]] = None
            elif name and b":polymorphic" not in inside and b"polymorphic:" not in inside:
                references[at, _class_named(name[1].decode(), called).encode()] = None
    for index, scope in enumerate(scopes):
        if scope[4] == 0 and index not in with_scopes:
            scope[4] = 1  # an empty class is declared too
    return {
        "scopes": scopes,
        "constants": [list(each) for each in constants],
        "references": [[scope, name.decode("utf-8", "replace")] for scope, name in references],
    }


def _within(scope: str, name: str) -> str:
    if name.startswith("::"):
        return name[2:]
    return f"{scope}::{name}" if scope else name


def _class_named(name: str, called: bytes) -> str:
    """`:line_items` of has_many is LineItem; the common plurals only."""
    if called in _MANY:
        for plural, single in _PLURALS:
            if name.endswith(plural):
                name = name[: -len(plural)] + single
                break
        else:
            name = name[:-1] if name.endswith("s") and not name.endswith("ss") else name
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return camel + "Helper" * (called == b"helper")


def names_written(facts: Facts) -> set[str]:
    """Last parts of the constants that a file names."""
    if facts.symbols is None:
        return set()
    return {name.rpartition("::")[2] for _, name in facts.symbols["references"]}


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Classes, modules and constants of the file that another one names."""
    if facts.symbols is None:
        return []
    declared = [scope[0] for scope in facts.symbols["scopes"][1:]]
    declared += [name for _, name in facts.symbols["constants"]]
    last = dict.fromkeys(name.rpartition("::")[2] for name in declared)
    return [name for name in last if name in written]
