"""Kotlin: types, functions and properties that a file declares, and what its code names.

The grammar takes the bodies of interfaces and of delegating classes for errors, so that declarations are read by
their keywords and brackets, which Kotlin makes easy: nothing that stands in a block that is no type's body is
visible from elsewhere.
"""

import re

from repo_ordering.languages.jvm_words import code_of, uses

MAX_HEADER = 2000  # characters from the colon that are looked at for supertypes

_TOKEN = re.compile(
    r"[{}()]"
    r"|\b(?P<package>package|import)[ \t]+(?P<path>[\w.`]+)(?P<every>\.\*|\*)?(?:[ \t]+as[ \t]+(?P<alias>[\w`]+))?"
    r"|(?<![.:])\b(?P<companion>companion[ \t]+)?(?P<type>class|interface|object)\b"
    r"(?:\s+(?P<name>[^\W\d]\w*|`[^`\n]+`))?"
    r"|\b(?P<value>fun|val|var|typealias)\s+(?P<generic><[^(){}=]{0,300}?>\s*)?"
    r"(?P<receiver>(?:[^\W\d][\w.]*(?:<[^(){}=\n]{0,300}?>)?\??\.)?)(?P<member>[^\W\d]\w*|`[^`\n]+`)"
)
_KIND = re.compile(r"(?:\s*<[^(){}=]*?>)?\s*:\s*([^\W\d][\w.]*)")
_MADE = re.compile(r"\s*(?:=|by\s+lazy\s*\{)\s*([A-Z][\w.]*)\s*(?:<[^(){}=]*>)?\(")
_COLON = re.compile(r"\s*(?:<[^(){}]*?>)?\s*(?:where[^{]*)?:\s*([^{}\n]*(?:,\s*\n[^{}\n]*)*)")
_TYPED = re.compile(
    r"\b([^\W\d]\w*)\s*:\s*([A-Z][\w.]*)|\b(?:val|var)\s+([^\W\d]\w*)\s*=\s*([A-Z][\w.]*)\s*\("
)
_LOCAL = re.compile(r"\b(?:val|var)\s+([^\W\d]\w*)|\bfor\s*\(\s*([^\W\d]\w*)\s+in\b|[{,]\s*([^\W\d]\w*)\s*->")
_FACADE = re.compile(rb'@file\s*:\s*(?:kotlin\.jvm\.)?JvmName\s*\(\s*"(\w+)"')


def grammar(language: str) -> object:
    """The tree-sitter grammar, imported only where it is used: in the child process."""
    import tree_sitter_kotlin

    return tree_sitter_kotlin.language()


def scan_tree(root) -> dict:
    """What a file declares and names; `jvm` says what the fields are."""
    source = root.text
    code = code_of(source)
    facade = _FACADE.search(source[:4096])
    facts = {
        "package": "",
        "imports": [],
        "types": [],
        "tops": {},
        "aliases": {},
        "extensions": [],
        "loose": True,
    }
    facts["facade"] = facade[1].decode() if facade else ""
    _declarations(code, facts)
    types: dict[str, str] = {}
    for name, kind, made, maker in _TYPED.findall(code):
        if name or made:
            types.setdefault(name or made, kind or maker)
    for words in _LOCAL.findall(code):
        types.setdefault(next(filter(None, words)), "")
    inside = {member for row in facts["types"] for member in row[3]}
    for name in [*facts["tops"], *(name for name, kind in types.items() if not kind and name in inside)]:
        if not types.get(name):
            types.pop(name, None)
    body = re.sub(r"(?m)^[ \t]*(?:import|package)[ \t][^\n;]*", "", code)
    return facts | uses(body, types)


def bases_in(text: str) -> list[str]:
    """Supertypes of a list that is written after a colon."""
    for _ in range(4):
        text = re.sub(r"\([^()]*\)|<[^<>]*>", "", text)
    found = (re.match(r"\s*(?:@\w+\s*)*([^\W\d][\w.]*)", part) for part in re.split(r",", text))
    return [each[1] for each in found if each]


def _declarations(code: str, facts: dict) -> None:
    types: list[list] = facts["types"]
    # Where the text is: in the body of a type (its index), in none (-1), in another block (-2), or among the
    # parameters of the constructor of type i (-3 - i). waiting: what the next bracket belongs to.
    opened: list[tuple[int, object]] = []
    inside, waiting = -1, None
    for token in _TOKEN.finditer(code):
        text = token[0]
        if text == "(":
            opened.append((inside, waiting))
            inside = -3 - waiting if isinstance(waiting, int) else -2
            waiting = None
        elif text == "{":
            opened.append((inside, None))
            inside = waiting if isinstance(waiting, int) else -2
            waiting = None
        elif text in ")}":
            if opened:
                inside, waiting = opened.pop()
                if isinstance(waiting, tuple):
                    kind = _KIND.match(code, token.end(), token.end() + 200)
                    waiting[0][waiting[1]] = kind[1] if kind else ""
                    waiting = None
                elif waiting is not None:
                    _add_bases(code, token.end(), types[waiting])
        elif token["package"]:
            name = token["path"].replace("`", "").rstrip(".")
            if token["package"] == "package":
                facts["package"] = facts["package"] or name
            else:
                alias = (token["alias"] or name.rpartition(".")[2]).replace("`", "")
                facts["imports"].append([name, alias, bool(token["every"]), False])
        elif token["type"]:
            waiting = None
            if inside < -1:
                continue
            if token["companion"]:
                waiting = inside if inside >= 0 else None
                if waiting is not None:
                    _add_bases(code, token.end(), types[waiting])
            elif token["name"]:
                name = token["name"].strip("`")
                types.append([f"{types[inside][0]}.{name}" if inside >= 0 else name, inside, [], {}])
                waiting = len(types) - 1
                _add_bases(code, token.end(), types[waiting])
        elif token["value"]:
            name = token["member"].strip("`")
            end = token.end()
            if inside < -2:
                if token["value"] != "fun":
                    kind = _KIND.match(code, end, end + 200)
                    types[-3 - inside][3].setdefault(name, kind[1] if kind else "")
                continue
            waiting = None
            if inside == -2:
                continue
            where = types[inside][3] if inside >= 0 else facts["tops"]
            if token["value"] == "typealias":
                (facts["aliases"] if inside < 0 else where)[name] = ""
            elif token["value"] == "fun":
                key = name if inside < 0 else f"{name}("
                where.setdefault(key, "")
                waiting = (where, key)
            else:
                kind = _KIND.match(code, end, end + 200) or _MADE.match(code, end, end + 200)
                where.setdefault(name, kind[1] if kind else "")
            if inside < 0 and token["receiver"]:
                facts["extensions"].append(name)


def _add_bases(code: str, at: int, row: list) -> None:
    found = _COLON.match(code, at, at + MAX_HEADER)
    if found and not row[2]:
        row[2].extend(bases_in(found[1]))
