"""Formulas typed into text between delimiters, and the dollars that are none.

JavaScript (MathJax, KaTeX) would have found them in the browser; here they are found in the extracted text.
"""

import bisect
import dataclasses
import re
from collections.abc import Callable

from corpus.asciimath import AsciiMathError, asciimath_to_latex
from corpus.formulas import TEX_SIGN, Formula, clean_tex

# A longer run between two delimiters is prose between two strays.
MAX_TYPED_CHARS = 10_000

_MACRO = re.compile(r"\\[A-Za-z]{2,}")
_RENDERERS = ("mathjax", "katex", "math/tex", "math-container", "tex2jax", "arithmatex", "tex-mml", "latexit",
              "documenter.js", "math-renderer")  # fmt: skip
_ASCIIMATH = re.compile(
    r"ASCIIMathML|asciimath2jax|input/asciimath|asciimath2tex|asciimath-parser|AMprocessNode|AM_(?:CHTML|HTMLorMML|SVG)"
    r"|config=AM\b"
)
# PreTeXt loads the ASCIIMath reader and keeps it off the page.
_UNREAD = re.compile(r"(?:class=[\"'][^\"']*\bignore-math|generator[\"'] content=[\"']PreTeXt)", re.I)
_BACKTICKS = re.compile(r"(?<![`\\])`([^`\n]{1,1000})`(?!`)")
# Documenter.jl and Stack Exchange configure it in scripts of their own.
_DOLLARS = re.compile(
    r"""["']\$["']\s*,\s*(?:["']?right["']?\s*:\s*)?["']\$["']|math-container|\bdocumenter\.js|<math-renderer"""
)


@dataclasses.dataclass(frozen=True, slots=True)
class Delimiters:
    """What a page's own scripts make of delimiters: is there a renderer, does it take single dollars, and does
    it read ASCIIMath between backticks?"""

    renderer: bool = False
    dollars: bool = False
    asciimath: bool = False

    @classmethod
    def of(cls, html: str) -> "Delimiters":
        lower = html.lower()
        renderer = any(name in lower for name in _RENDERERS)
        dollars = renderer and _DOLLARS.search(html) is not None
        asciimath = (
            ("AM_" in html or "sciimath" in html or "SCIIMath" in html or "config=AM" in html)
            and _ASCIIMATH.search(html) is not None
            and _UNREAD.search(html) is None
        )
        return cls(renderer, dollars, asciimath)


_TOKEN = re.compile(
    r"\\\\|\\[$]|\\[()\[\]]|\$\$?|\\(?P<kind>begin|end)\{(?P<name>(?:equation|align|gather|multline|eqnarray"
    r"|displaymath|flalign|alignat)\*?)\}"
)
_CLOSES = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}


def typed(text: str, delimiters: Delimiters, put: Callable[[Formula], str]) -> str:
    """`text` with every typed formula replaced by what `put` returns for it, in linear time.

    Double delimiters count where the page has a renderer or what is inside looks like TeX. A single dollar
    opens where the page's configuration says so, or else under Pandoc's rule (no blank inside the delimiters,
    no digit behind the closing one) around something that looks like TeX: prices and shell variables do not.
    """
    if delimiters.asciimath and "`" in text:
        text = _BACKTICKS.sub(lambda found: _asciimath(found, put), text)
    tokens = list(_TOKEN.finditer(text))
    places: dict[str, list[int]] = {}
    for index, token in enumerate(tokens):
        places.setdefault(token[0], []).append(index)
    out: list[str] = []
    at = index = 0
    while index < len(tokens):
        token = tokens[index]
        close = _closing(tokens, places, index)
        if close is not None and _plausible(text, token, tokens[close], delimiters):
            opening, end = token, tokens[close]
            environment = opening["kind"] is not None
            body = text[opening.start() : end.end()] if environment else text[opening.end() : end.start()]
            # Two dollars between single ones: formulas side by side.
            bodies = body.split("$$") if opening[0] == "$" else [body]
            formulas = [clean_tex(body)[0] for body in bodies]
            if all(formulas):
                display = environment or opening[0] in ("\\[", "$$")
                out += [text[at : opening.start()], *(put(Formula(tex, display)) for tex in formulas)]
                at, index = end.end(), close + 1
                continue
        index += 1
    out.append(text[at:])
    return "".join(out)


def _asciimath(found: re.Match[str], put: Callable[[Formula], str]) -> str:
    try:
        tex, _ = clean_tex(asciimath_to_latex(found[1]))
    except AsciiMathError:
        return found[0]
    return put(Formula(tex)) if tex else found[0]


def _closing(tokens: list[re.Match[str]], places: dict[str, list[int]], index: int) -> int | None:
    """Index of the token that closes the one at `index`, if that opens and none of its kind opens between."""
    token = tokens[index]
    closing = f"\\end{{{token['name']}}}" if token["kind"] == "begin" else _CLOSES.get(token[0])
    ends = places.get(closing) if closing else None
    if not ends:
        return None
    found = bisect.bisect_right(ends, index)
    if found == len(ends):
        return None
    close = ends[found]
    again = places[token[0]]
    behind = bisect.bisect_right(again, index)
    if closing != token[0] and behind < len(again) and again[behind] < close:
        return None
    return close if tokens[close].start() - token.end() <= MAX_TYPED_CHARS else None


def _plausible(text: str, opening: re.Match[str], end: re.Match[str], delimiters: Delimiters) -> bool:
    body = text[opening.end() : end.start()]
    if not body.strip():
        return False
    if opening["kind"]:
        return True
    if opening[0] != "$":
        if opening[0] == "\\(" and "\n\n" in body:
            return False
        return delimiters.renderer or TEX_SIGN.search(body) is not None
    if "\n\n" in body or len(body) > 1000 or _BETWEEN_DISPLAYED.search(body):
        return False
    pandoc = not (body[0].isspace() or body[-1].isspace() or text[end.end() : end.end() + 1].isdigit())
    if delimiters.dollars:
        return pandoc or TEX_SIGN.search(body) is not None
    if not pandoc:
        return False
    if delimiters.renderer:
        return (
            TEX_SIGN.search(body) is not None
            or re.fullmatch(r"[A-Za-z]'*|[-\d.,+*/() A-Za-z]{1,12}", body) is not None
        )
    return _MACRO.search(body) is not None and re.match(r"[A-Z_]+\b(?![\^_{(])", body) is None


# Prices before and behind a displayed formula.
_BETWEEN_DISPLAYED = re.compile(r"\s\$\$|\$\$\s")
_CAN_OPEN = re.compile(r"(?<!\\)\$(?=\S)")
_CAN_CLOSE = re.compile(r"(?<=\S)(?<!\\)\$(?!\d)")


def escape_dollars(text: str, has_formulas: bool) -> str:
    """`text` with a backslash before each literal dollar that could be taken for a delimiter.

    In a page with formulas that is every one, since a single stray shifts all pairs behind it. In a page
    without it is none, unless one could open and a later one close by Pandoc's rule: "from $5 to $10" stays.
    """
    opening = _CAN_OPEN.search(text)
    if has_formulas or (opening and _CAN_CLOSE.search(text, opening.end() + 1)):
        return re.sub(r"(?<!\\)\$", r"\\$", text)
    return text
