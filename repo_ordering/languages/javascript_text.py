"""JavaScript and TypeScript without a parse: comments and regular expressions blanked, strings numbered."""

import re

# What is never closed runs to the end of its line or the file: giving it up and trying again from the next character
# would be quadratic. Each branch begins with a literal character, or the search would try them at every one.
_PIECES = r"""//[^\n]*+ | /\* [^*]*+ (?: \*(?!/) [^*]*+ )*+ (?: \*/ | \Z ) | /
      | "(?:[^"\\\n]++|\\.)*+"? | '(?:[^'\\\n]++|\\.)*+'?
      | `(?: [^`\\$]++ | \\. | \$(?!\{) )*+ (?: ` | \$\{ | \Z | \\\Z )"""
_NOISE = re.compile(_PIECES, re.VERBOSE | re.DOTALL)
_INSIDE = re.compile(_PIECES + r" | \{ | \}", re.VERBOSE | re.DOTALL)
_REST = re.compile(r"(?: [^`\\$]++ | \\. | \$(?!\{) )*+ (?: ` | \$\{ | \Z | \\\Z )", re.VERBOSE | re.DOTALL)
# A slash opens a regular expression only where no operand can have ended; `/>` closes a tag.
_REGEX = re.compile(
    r"/ (?!>) (?: [^/\\\[\n]++ | \\[^\n] | \[ (?: [^\]\\\n]++ | \\[^\n] )*+ \]? )++ /?", re.VERBOSE
)
_OPENERS = frozenset("(,=:[!&|?{};+\n~^%*-")
_MOST_BLANKS = 128  # before the slash
_REFERENCE = re.compile(r"""///\s*+<reference\s++(path|types)\s*+=\s*+["']([^"']++)["']""")
TYPES = "types:"  # marks what `/// <reference types>` names
_TAG = re.compile(r"@(?=[a-z])")
_TYPED_TAG = re.compile(r"\w++\s*+\{")
_TYPE_IMPORT = re.compile(
    r"""(?<![\w$.])import\s*+\(\s*+["']([^"'\n]++)["']\s*+\)(?:\s*+\.\s*+([A-Za-z_$][\w$]*+))?"""
)
_TAG_IMPORT = re.compile(r"""import\b([^"'@]*+)["']([^"'\n]++)["']""")
_TAG_NAME = re.compile(r"(?:^|[{,])[\s*]*+(?:type\s++)?([A-Za-z_$][\w$]*+)")


def documented(comment: str) -> list[tuple[str, str]]:
    """Specifiers and names in the types and `@import` tags of a JSDoc comment; `*` where it names none."""
    found: list[tuple[str, str]] = []
    for tag in _TAG.split(comment)[1:]:
        if tag.startswith("import"):
            if (match := _TAG_IMPORT.match(tag)) is not None:
                _, brace, named = match[1].partition("{")
                names = _TAG_NAME.findall(brace + named.partition("}")[0]) or ["*"]
                found += [(match[2], name) for name in names]
        elif _TYPED_TAG.match(tag):
            found += [(specifier, name or "*") for specifier, name in _TYPE_IMPORT.findall(tag)]
    return found


def blanked(text: str, comments: list[str] | None = None) -> tuple[str, list[str], list[str]]:
    """The code with each string as `"n"`, the strings, and what triple-slash references name, types after `TYPES`.

    JSDoc comments that import something are added to `comments`.
    What stands in the `${}` of a template is code; the rest of it goes.
    """
    strings: list[str] = []
    references: list[str] = []
    out: list[str] = []
    depths: list[int] = []  # of braces, in each template that is open
    at = 0
    while (match := (_INSIDE if depths else _NOISE).search(text, at)) is not None:
        start = match.start()
        out.append(text[at:start])
        at = match.end()
        piece = match[0]
        first = piece[0]
        if first == '"' or first == "'":
            out.append(f'"{len(strings)}"')
            strings.append(piece[1:].removesuffix(first))
        elif first == "/":
            if len(piece) == 1:
                if _is_regex(text, start) and (match := _REGEX.match(text, start)) is not None:
                    out.append(" 0 ")
                    at = match.end()
                else:
                    out.append("/")
                continue
            if piece.startswith("///") and (reference := _REFERENCE.match(piece)):
                kind, path = reference.groups()
                is_path = kind == "path" and not path.startswith(".")
                references.append(TYPES + path if kind == "types" else "./" + path if is_path else path)
            elif comments is not None and piece.startswith("/**") and "import" in piece:
                comments.append(piece)
            out.append(" ")
        elif first == "`":
            out.append(" 0 ")
            if piece.endswith("${") and not piece.endswith("\\${"):
                depths.append(0)
                out.append(";")
        else:
            out.append(first)
            depths[-1] += 1 if first == "{" else -1
            if depths[-1] < 0:
                rest = _REST.match(text, at)
                at = rest.end()
                if rest[0].endswith("${"):
                    depths[-1] = 0
                    out.append(";")
                else:
                    depths.pop()
    out.append(text[at:])
    return "".join(out), strings, references


def _is_regex(text: str, start: int) -> bool:
    before = text[max(start - _MOST_BLANKS, 0) : start].rstrip(" \t")
    return before[-1:] in _OPENERS or before.endswith(("=>", "return", "case")) or not before
