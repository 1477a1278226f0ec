"""Rust: the modules of a file, what it declares and brings into scope, and the paths that it writes.

The syntax tree tells modules, items, `use` trees and what stands under `#[cfg]`; names are read off the text between
them, which is as good in the arguments of macros, where there is no tree. `rust_modules` finds the files.
"""

import functools
import re
from bisect import bisect_left
from itertools import pairwise
from typing import Any

from repo_ordering.edges import Facts
from repo_ordering.languages.rust_modules import resolve
from repo_ordering.languages.rust_spans import Frames, Spans, use_tree
from repo_ordering.trees import captured

__all__ = ["grammar", "names_used", "names_written", "resolve", "scan_tree"]

_ITEMS = (
    "struct_item", "enum_item", "union_item", "trait_item", "type_item", "function_item", "const_item",
    "static_item", "function_signature_item", "associated_type",
)  # fmt: skip
_QUERY = (
    "(mod_item) @mod (use_declaration) @use (extern_crate_declaration) @extern (impl_item) @impl "
    "(attribute_item) @attribute (inner_attribute_item) @inner (macro_definition) @macro "
    "(source_file (macro_invocation) @wrapper) (declaration_list (macro_invocation) @wrapper) "
    "(source_file (expression_statement (macro_invocation) @wrapper)) "
    f"[{' '.join(f'({kind})' for kind in _ITEMS)}] @item"
)
_WRAPPED = re.compile(
    rb"\s*(?:#\s*!?\[[^\]]{0,400}\]\s*|//[^\n]{0,400}\n\s*){0,400}(?:pub\b(?:\s*\([^)]{0,80}\))?\s*)?"
    rb"(?:(?:mod|use|fn|struct|enum|trait|impl|const|static|type|unsafe|async|macro_rules|extern)\b|\w+\s*!\s*\{|if\s*#)"
)
_DULL = re.compile(
    rb"//[^\n]*|/\*(?:[^*]|\*(?!/))*+\*/|\bb?r(#*)\".*?\"\1|\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\\n]|\\[^\n][^'\n]{0,8})'",
    re.DOTALL,
)
_HEAD = re.compile(rb"([\w:]+)\s*!\s*\{")
_BRANCH = re.compile(rb"(?:\}\s*else\s*)?if\s*#\s*\[[^\]]{0,400}\]\s*\{|\}\s*else\s*\{")
_CFG = re.compile(rb"#\s*!?\s*\[\s*cfg\s*\(")
_PATH_ATTRIBUTE = re.compile(rb'path\s*=\s*"([^"]{1,400})"')
_NAME = re.compile(
    rb"(?<![\w.'#])(?:::\s*)?(?:[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+!?|[A-Za-z_]\w*!(?=\s*[(\[{])|[A-Z]\w*|[a-z_]\w*(?=\())"
    rb"|\bself\.([a-z_]\w*)(?=\(|::<)"
)
_KEYWORDS = frozenset(
    b"if while for match return in as fn let loop move where impl dyn ref mut else unsafe".split()
)
_SEGMENT = re.compile(rb"\w+")
_MAX_WRAPPED = 3  # macros around items, in one another
_MAX_NAMES = 30_000  # different names of a file; more is a table


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_rust

    return tree_sitter_rust.language()


@functools.cache
def _tools():
    import tree_sitter

    language = tree_sitter.Language(grammar("Rust"))
    return tree_sitter.Parser(language), tree_sitter.Query(language, _QUERY), tree_sitter.QueryCursor


def scan_tree(root) -> dict[str, Any]:
    """Facts of one file; a scope is the list of inline modules around, `guarded` says there is a `#[cfg]`.

    mods: [scope, name, path attribute, inline, guarded]; items: [scope, name]; macros: [name];
    members: [type or trait, name, is it a trait's] of functions; uses: [scope, path, alias or "*", guarded];
    paths: [scope, path, type of the `impl` around, guarded], each once; a path of one name that starts with a dot is
    a method of `self`, one that ends with an exclamation mark a macro.
    """
    parser, query, cursor = _tools()
    text = root.text
    wrappers: list[tuple[int, int]] = []
    captures = captured(cursor(query), root)
    for _ in range(_MAX_WRAPPED):
        # Items in a macro's braces (`cfg_rt! { mod a; }`) are read as if the macro were not there.
        bare = bytearray(text)
        for node in captures.get("wrapper", ()):
            start, end = node.start_byte, node.end_byte
            head = _HEAD.match(text, start, end)
            if head is None or head[1] == b"macro_rules" or not _WRAPPED.match(text, head.end(), end):
                continue
            last = text.rfind(b"}", head.end(), end)
            bare[start : head.end()] = b" " * (head.end() - start)
            bare[last : last + 1] = b" "
            if head[1].endswith(b"cfg_if"):
                inside = _BRANCH.sub(lambda match: b" " * len(match[0]), bytes(bare[start:end]))
                last = inside.rfind(b"}")
                bare[start:end] = inside[:last] + b" " + inside[last + 1 :] if last >= 0 else inside
            if b"cfg" in head[1]:
                wrappers.append((start, end))
        if bare == text:
            break
        text = bytes(bare)
        captures = captured(cursor(query), parser.parse(text).root_node)
    return _Reader(text, captures, wrappers).facts()


class _Reader:
    """Facts out of the captured nodes of one file."""

    def __init__(self, text: bytes, captures: dict[str, list], wrappers: list[tuple[int, int]]) -> None:
        self.text = text
        self.captures = captures
        declared = [
            *captures.get("mod", ()), *captures.get("use", ()), *captures.get("impl", ()), *captures.get("item", ()),
            *captures.get("macro", ()), *captures.get("extern", ()),
        ]  # fmt: skip
        self.spans = sorted((node.start_byte, node.end_byte) for node in declared)
        self.guards = Spans(wrappers + self.guarded())
        self.mods: list[tuple[int, int, str]] = []
        for node in captures.get("mod", ()):
            body = node.child_by_field_name("body")
            name = node.child_by_field_name("name")
            if body is not None and name is not None:
                self.mods.append((body.start_byte, body.end_byte, self.text_of(name)))
        self.scopes = Frames(self.mods)

    def text_of(self, node) -> str:
        return self.text[node.start_byte : node.end_byte].decode("utf-8", "replace").removeprefix("r#")

    def guarded(self) -> list[tuple[int, int]]:
        """Spans of the items that `#[cfg(...)]` stands before."""
        found = []
        starts = [start for start, _ in self.spans]
        attributes = [(n.start_byte, n.end_byte) for n in self.captures.get("attribute", ())]
        last = [end for _, end in attributes]  # of the attributes that follow each other
        for k in range(len(attributes) - 2, -1, -1):
            if not self.text[attributes[k][1] : attributes[k + 1][0]].strip():
                last[k] = last[k + 1]
        for (start, end), after in zip(attributes, last, strict=True):
            if not _CFG.match(self.text, start, end):
                continue
            end = after
            i = bisect_left(starts, end)
            if i < len(starts) and starts[i] - end < 2000:
                gap = re.sub(rb"//[^\n]*|/\*.*?\*/", b"", self.text[end : starts[i]], flags=re.DOTALL)
                if not gap.strip() or re.fullmatch(rb"\s*pub(\s*\([^)]*\))?\s*", gap):
                    found.append((start, self.spans[i][1]))
                    continue
            # A statement, a field or an arm: what is on its line and the next.
            line = self.text.find(b"\n", end + 1)
            found.append((start, line if line >= 0 else len(self.text)))
        for node in self.captures.get("inner", ()):
            if _CFG.match(self.text, node.start_byte, node.end_byte):
                found.append((0, len(self.text)))
        return found

    def attributes_before(self, node) -> bytes:
        """The text of the attributes just before an item, as far as may matter."""
        return self.text[self.previous_end(node.start_byte) : node.start_byte]

    def previous_end(self, position: int) -> int:
        return max(position - 600, self.text.rfind(b";", 0, position), self.text.rfind(b"}", 0, position), 0)

    def facts(self) -> dict[str, Any]:
        impls = []
        members: dict[tuple[str, str, bool], None] = {}
        for node in self.captures.get("impl", ()):
            kind, body = node.child_by_field_name("type"), node.child_by_field_name("body")
            if kind is not None and body is not None:
                name = self.text[kind.start_byte : kind.end_byte].partition(b"<")[0]
                last = _SEGMENT.findall(name)
                owner = last[-1].decode("utf-8", "replace") if last else ""
                of_trait = node.child_by_field_name("trait") is not None
                impls.append((body.start_byte, body.end_byte, (owner, of_trait)))
        traits = []
        items: dict[tuple, None] = {}
        functions = []
        for node in self.captures.get("item", ()):
            name = node.child_by_field_name("name")
            if name is None:
                continue
            if node.type in ("function_item", "function_signature_item"):
                functions.append((node.start_byte, node.end_byte, self.text_of(name)))
                continue
            if node.type == "trait_item":
                body = node.child_by_field_name("body")
                if body is not None:
                    traits.append((body.start_byte, body.end_byte, (self.text_of(name), None)))
            elif node.type == "associated_type":
                continue
            items[self.scopes.at(node.start_byte), self.text_of(name), node.start_byte] = None
        owners = Frames(impls + traits)
        blocks = Frames([(start, end, name) for start, end, name in functions])
        for start, _, name in functions:
            owner = owners.at(start)
            if len(blocks.at(start - 1)):
                continue  # a function in a function
            if not owner:
                items[self.scopes.at(start), name, start] = None
            elif owner[-1][1] is not True:
                members[owner[-1][0], name, owner[-1][1] is None] = None
        kept: dict[tuple, None] = {}
        for scope, name, start in items:
            if not owners.at(start) and not blocks.at(start - 1):
                kept[scope, name] = None
        mods = []
        for node in self.captures.get("mod", ()):
            name = node.child_by_field_name("name")
            if name is None:
                continue
            inline = node.child_by_field_name("body") is not None
            path = None
            before = self.attributes_before(node)
            if b"path" in before:
                stated = list(_PATH_ATTRIBUTE.finditer(before))
                path = stated[-1][1].decode("utf-8", "replace") if stated else None
            start = node.start_byte
            mods.append(
                [list(self.scopes.at(start)), self.text_of(name), path, inline, self.guards.at(start)]
            )
        uses = []
        for node in self.captures.get("use", ()):
            argument = node.child_by_field_name("argument")
            if argument is not None:
                scope, guarded = list(self.scopes.at(node.start_byte)), self.guards.at(node.start_byte)
                uses += [[scope, path, alias, guarded] for path, alias in use_tree(self.text, argument)]
        for node in self.captures.get("extern", ()):
            name, alias = node.child_by_field_name("name"), node.child_by_field_name("alias")
            if name is not None:
                whole = self.text_of(name)
                path = ["crate"] if whole == "self" else ["", whole]
                known_as = self.text_of(alias) if alias is not None else whole
                scope, guarded = list(self.scopes.at(node.start_byte)), self.guards.at(node.start_byte)
                uses.append([scope, path, known_as, guarded])
        macros = []
        for node in self.captures.get("macro", ()):
            name = node.child_by_field_name("name")
            if name is not None:
                macros.append(self.text_of(name))
        return {
            "mods": mods,
            "items": [[list(scope), name] for scope, name in kept],
            "macros": macros,
            "members": [list(each) for each in members],
            "uses": uses,
            "paths": self.paths(owners),
        }

    def paths(self, owners: "Frames") -> list[list]:
        """Names in the text, without comments, strings, attributes, `use` trees and the insides of macros' rules."""
        dull = [
            (node.start_byte, node.end_byte)
            for kind in ("attribute", "inner", "use", "extern", "macro")
            for node in self.captures.get(kind, ())
        ]
        dull.sort()
        pieces, at = [], 0
        for start, end in dull:
            if start >= at:
                pieces.append(self.text[at:start])
                pieces.append(b" " * (end - start))
                at = end
        pieces.append(self.text[at:])
        text = _DULL.sub(lambda match: b" " * len(match[0]), b"".join(pieces))
        found: dict[tuple, None] = {}
        # What is around changes at few places: names are sought between them.
        edges = sorted({0, len(text), *self.scopes.starts, *owners.starts, *self.guards.starts})
        for start, end in pairwise(edges):
            scope, owner, guarded = self.scopes.at(start), owners.at(start), self.guards.at(start)
            kind = owner[-1][0] if owner else ""
            names: dict[bytes, None] = {}
            for match in _NAME.finditer(text, start, end):
                name = b"." + match[1] if match[1] else match[0]
                if name not in names:
                    if name[-1:].islower() and name in _KEYWORDS:
                        continue
                    if text[max(match.start() - 3, 0) : match.start()] == b"fn ":
                        continue
                    names[name] = None
            for name in names:
                found[scope, name, kind, guarded] = None
            if len(found) > _MAX_NAMES:
                break
        return [[list(scope), _segments(name), kind, guarded] for scope, name, kind, guarded in found]


def _segments(name: bytes) -> list[str]:
    whole = name.decode("utf-8", "replace")
    return ["".join(part.split()) for part in whole.split("::")] if "::" in whole else [whole]


def names_written(facts: Facts) -> set[str]:
    """Segments of the paths in a file."""
    if facts.symbols is None:
        return set()
    return {segment for _, path, *_ in [*facts.symbols["uses"], *facts.symbols["paths"]] for segment in path}


def names_used(path: str, facts: Facts, written: set[str]) -> list[str]:
    """Items and macros of the file that another one names."""
    if facts.symbols is None:
        return []
    items = [
        name
        for scope, name in facts.symbols["items"]
        if not scope and not written.isdisjoint((name, f"{name}!"))
    ]
    return items + [name for name in facts.symbols["macros"] if f"{name}!" in written]
