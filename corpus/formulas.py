"""Formulas as the web writes them, and one way to write them in text: `$...$` in a line, `$$...$$` displayed.

A page may hold the same formula as a script, as MathML with or without its TeX, as a picture of it, as spans
of glyphs, or between typed delimiters that JavaScript would have found. `sources` finds all but the last in a
parsed page, each once; `corpus.delimiters` finds the last in text.
"""

import dataclasses
import re
import urllib.parse
from collections.abc import Iterator

from lxml import etree
from lxml import html as lxml_html

from corpus.asciimath import AsciiMathError, asciimath_to_latex
from corpus.katex_html import katex_html_to_latex
from corpus.mathml import TooDeepError, local_name, mathml_to_latex

# Elements with more text than this hold prose with formulas in it.
MAX_TEXT_CHARS = 10_000

_TAGS = frozenset(("math", "img", "mjx-container", "script"))
_ATTRIBUTES = ("data-tex", "data-latex", "data-expr", "data-mathml")
_RENDERED = frozenset((
    "MathJax", "MathJax_Display", "MathJax_Preview", "MathJax_SVG", "MathJax_SVG_Display", "MathJax_CHTML",
    "MathJax_MathML", "MathJax_PHTML", "MathJax_Processed", "mjx-chtml", "MJXc-display",
))  # fmt: skip
_TEX_CLASSES = frozenset((
    "math", "tex", "latex", "math-tex", "math-container", "kdmath", "arithmatex", "mathjax", "tex-math",
))  # fmt: skip
_KATEX_DISPLAY = frozenset(("katex-display", "katex-block", "math-display"))
_KATEX = _KATEX_DISPLAY | {"katex", "katex-error", "katex-inline"}
_WIKIPEDIA = frozenset(("mwe-math-element", "mwe-math-element-inline", "mwe-math-element-block"))
_CLASSES = _RENDERED | _TEX_CLASSES | _KATEX | _WIKIPEDIA | {"katex-html"}
TEX_SIGN = re.compile(r"\\[A-Za-z]+|[\^_{}=<>]")
_IMAGE_CLASSES = frozenset((
    "tex", "latex", "math", "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display",
    "ql-img-inline-formula", "ql-img-displayed-equation", "mathjax-img", "eqn", "equation", "formula", "inlineformula",
    "equation_image", "mathtex", "mathimage", "texvc", "math-img", "latex-img", "tex-img", "mathimg",
    "mwe-math-fallback-image",
))  # fmt: skip
# Servers that draw the TeX they find in the query.
_IMAGE_SOURCE = re.compile(
    r"(?:codecogs\.com/[^?]*|latex\.php|mimetex(?:\.cgi)?|mathtex(?:\.cgi)?|/tex\.cgi|/tex2img\.php|/equation|/svg|/png|/eq"
    r"|/math|/render|//math\.now\.sh/?|//math\.vercel\.app/?)"
    r"\?(?:(?:[^#]*&)?(?:latex|tex|eq|formula|from|math|cht=tx&chl)=)?(?P<tex>[^#]+)|cht=tx[^#]*?&chl=(?P<chl>[^&#]+)"
    r"|(?:i\.upmath\.me|tex\.s2cms\.\w+)/(?:svg|png)/(?P<path>[^?#]+)|/equation_images/(?P<twice>[^?#]+)",
    re.I,
)
_TEX_SERVER = re.compile(
    r"codecogs\.com|latex\.php|mimetex|mathtex|tex\.cgi|tex2img\.php|/equation\?tex=|/math\?formula=|/eq\?[^/]*\\"
    r"|/eq\?[^/]*%5c|cht=tx|upmath\.me|tex\.s2cms|quicklatex|/media/math/|/render/math\?|/equation_images/"
    r"|//math\.now\.sh|//math\.vercel\.app|latex\.csdn\.net|latex\.numberempire",
    re.I,
)
_PARAMETERS = re.compile(r"&(?:bg|fg|s|fs|c|zoom|color)=[^&]*", re.I)
_SERVER_COMMANDS = re.compile(
    r"\\(?:inline|dpi\s*\{\d+\}|bg_\w+|fn_\w+|(?:tiny|small|large|huge)(?![A-Za-z]))\s*", re.I
)
_DISPLAY_ENVIRONMENT = re.compile(
    r"\s*\\begin\{(?:equation|align|gather|multline|eqnarray|displaymath|flalign|alignat)"
)
_SPOKEN = re.compile(r"[a-z]{3,} [a-z]+")
# No alternative text of a formula's picture has these without any sign of TeX: "Equation 3", "eq12.png".
_WORDS = re.compile(r"[^\W\d_]{4,}|[^\W\d_]{3,} |\.(?:png|gif|svg|jpe?g)\Z", re.I)
_TEX_ENCODING = re.compile(r"(?<![a-z])(?:la)?tex(?![a-z])", re.I)
_WRAPPERS = (("\\[", "\\]", True), ("$$", "$$", True), ("\\(", "\\)", False), ("$", "$", False))


@dataclasses.dataclass(frozen=True, slots=True)
class Formula:
    """LaTeX without delimiters, and whether it stands on a line of its own."""

    tex: str
    display: bool = False

    def __str__(self) -> str:
        return f"$${self.tex}$$" if self.display else f"${self.tex}$"


def sources(root: etree._Element, html: str) -> Iterator[tuple[etree._Element, Formula | None]]:
    """Elements of a page and the formula each stands for; None for one that repeats another formula's source.

    `html` is the text that `root` was parsed from. The caller replaces or removes each element before it asks
    for the next.
    """
    done: set[etree._Element] = set()
    for element in _candidates(root, [name for name in _ATTRIBUTES if name + "=" in html]):
        if done and any(ancestor in done for ancestor in element.iterancestors()):
            continue
        found = _read(element)
        if found is not None:
            done.add(element)
            yield element, found or None


def _candidates(root: etree._Element, attributes: list[str]) -> list[etree._Element]:
    """Everything that may be, or stand around, a formula's source, in order; `_read` decides."""
    found = []
    known: dict[str, bool] = {}  # a page has thousands of elements and few different classes
    for element in root.iter():
        classes = element.get("class")
        if classes and classes not in known:
            known[classes] = not _CLASSES.isdisjoint(classes.split())
        if (
            (classes and known[classes])
            or element.tag in _TAGS
            or (attributes and any(element.get(name) for name in attributes))
        ):
            found.append(element)
    return found


def _read(element: etree._Element) -> Formula | bool | None:
    """The formula an element stands for; False where it only repeats one; None where it is neither."""
    name = local_name(element)
    classes = set((element.get("class") or "").split())
    if name == "script":
        kind = (element.get("type") or "").lower()
        if kind.startswith("math/tex"):
            return _formula(element.text, "mode=display" in kind.replace(" ", ""))
        if kind.startswith("math/asciimath"):
            return _from_asciimath(element.text, "mode=display" in kind.replace(" ", ""))
        return _from_markup(element.text, False) if kind.startswith("math/mml") else None
    if name == "math":
        return _from_math(element)
    if name == "img":
        return _from_image(element, classes)
    if name == "mjx-container":
        tex = element.get("data-latex") or next(iter(element.xpath(".//@data-latex")), None)
        display = element.get("display") in ("true", "block")
        return _formula(tex, display) if tex else _from_inner_math(element, display)
    if classes & _RENDERED:
        return _from_rendered(element)
    if classes & _WIKIPEDIA:
        return _from_inner_math(element, "mwe-math-element-block" in classes)
    if "katex-html" in classes:
        return _from_glyphs(element, False)
    if classes & _KATEX or ("data-expr" in element.attrib and not classes.isdisjoint({"tex", "katex"})):
        return _from_katex(element, classes)
    for attribute in ("data-tex", "data-latex", "data-expr"):
        if element.get(attribute):
            return _formula(element.get(attribute), "display" in (element.get("class") or ""))
    if element.get("data-mathml"):
        return _from_markup(element.get("data-mathml"), False)
    if classes & _TEX_CLASSES and len(element) == 0 and element.text:
        return _from_text(element, classes)
    return None


def _formula(tex: str | None, display: bool) -> Formula | None:
    tex, typed_display = clean_tex(tex or "")
    return Formula(tex, display or bool(typed_display)) if tex else None


def _from_asciimath(text: str | None, display: bool) -> Formula | None:
    try:
        return _formula(asciimath_to_latex(text or ""), display)
    except AsciiMathError:
        return None


def _from_math(math: etree._Element, display: bool = False) -> Formula | None:
    display = display or math.get("display") == "block" or math.get("mode") == "display"
    for annotation in math.iter():
        if local_name(annotation) == "annotation" and _TEX_ENCODING.search(annotation.get("encoding") or ""):
            tex = "".join(annotation.itertext())
            if tex.strip():
                return _formula(tex, display)
    alt = math.get("alttext") or ""
    # Some tools put a spoken sentence there.
    if alt.strip() and (TEX_SIGN.search(alt) or not _SPOKEN.search(alt)):
        return _formula(alt, display)
    try:
        tex = mathml_to_latex(math)
    except TooDeepError:
        return None
    return _formula(tex, display or "\\tag" in tex)


def _from_inner_math(element: etree._Element, display: bool) -> Formula | None:
    math = next((node for node in element.iter() if local_name(node) == "math"), None)
    if math is not None:
        return _from_math(math, display)
    for image in element.iter("img"):
        found = _from_image(image, set((image.get("class") or "").split()) | {"math"})
        if found:
            return found
    return None


def _from_markup(markup: str | None, display: bool) -> Formula | None:
    try:
        element = lxml_html.fragment_fromstring(markup or "", create_parent="div")
    except (etree.LxmlError, ValueError):
        return None
    return _from_inner_math(element, display)


def _from_rendered(element: etree._Element) -> Formula | bool | None:
    """What MathJax 2 drew: superfluous where the script it was drawn from stands behind it."""
    following = element.getnext()
    for _ in range(3):  # preview, drawing, script
        if following is None or not set((following.get("class") or "").split()) & _RENDERED:
            break
        following = following.getnext()
    if following is not None and (following.get("type") or "").startswith("math/"):
        return False
    classes = (element.get("class") or "").split()
    if "MathJax_Preview" in classes:
        return False if element.getnext() is not following else None
    display = any("isplay" in name for name in classes)
    stored = next(iter(element.xpath("descendant-or-self::*/@data-mathml")), None)
    found = _from_markup(stored, display) if stored else None
    if found is None and element.xpath(".//script[starts-with(@type, 'math/')]"):
        return None
    return found or _from_inner_math(element, display)


def _from_katex(element: etree._Element, classes: set[str]) -> Formula | None:
    display = bool(classes & _KATEX_DISPLAY)
    if "katex-error" in classes:
        return _formula(element.text, display)
    found = _from_inner_math(element, display)
    if found is None and element.get("data-expr"):
        return _formula(element.get("data-expr"), display)
    if found is None and len(element) == 0 and TEX_SIGN.search(element.text or ""):
        return _formula(element.text, display)
    return found or _from_glyphs(element, display)


def _from_glyphs(element: etree._Element, display: bool) -> Formula | None:
    """What KaTeX drew, where the page keeps nothing else of it."""
    drawn = next(
        (node for node in element.iter("span") if "katex-html" in (node.get("class") or "").split()), None
    )
    if drawn is None:
        return None
    try:
        return _formula(katex_html_to_latex(drawn), display)
    except TooDeepError:
        return None


def _from_text(element: etree._Element, classes: set[str]) -> Formula | None:
    text = element.text.strip()
    tex, display = clean_tex(text)
    if display is None and (not TEX_SIGN.search(tex) or not classes & {"math", "tex", "latex", "math-tex"}):
        return None
    if display is None and len(element.text) > MAX_TEXT_CHARS:
        return None
    if re.search(r"(?<!\\)\$|\\[()\[\]](?!\d)", re.sub(r"\\\\", "", tex)):
        return None  # several formulas, or prose between them: left to `typed`
    return _formula(text, bool(display) or "display" in classes or (display is None and element.tag == "div"))


def _from_image(image: etree._Element, classes: set[str]) -> Formula | None:
    source = image.get("src") or image.get("data-src") or ""
    server = len(source) < MAX_TEXT_CHARS and _TEX_SERVER.search(source) is not None
    if image.get("data-mathml"):
        found = _from_markup(_unveiled(image.get("data-mathml")), False)
        if found:
            return found
    # latex2html and many others: the text in the dollars or brackets it had in the source.
    typed = (image.get("alt") or "").strip()
    typed_tex, typed_display = clean_tex(typed) if typed[:1] in ("$", "\\") else ("", None)
    if typed_tex and typed_display is not None and len(typed) < MAX_TEXT_CHARS:
        return _formula(typed, False)
    if not server and not classes & _IMAGE_CLASSES and not image.get("data-equation-content"):
        return None
    parent = image.getparent()
    display = "display" in " ".join(classes) or (
        parent is not None
        and (
            local_name(parent) == "dd"
            or ("math" in (parent.get("class") or "").split() and local_name(parent) == "div")
        )
    )
    if server and (tex := _tex_of_url(source)):
        return _formula(tex, display)
    for attribute in ("data-equation-content", "data-latex", "data-tex", "alt", "title"):
        text = (image.get(attribute) or "").strip()
        if text and (server or TEX_SIGN.search(text) or not _WORDS.search(text)):
            return _formula(text, display)
    return None


def _unveiled(markup: str) -> str:
    """MathML as WIRIS (MathType) keeps it in attributes, its brackets and quotes replaced."""
    return markup.translate(_WIRIS) if "«" in markup else markup


_WIRIS = str.maketrans({"«": "<", "»": ">", "¨": '"', "§": "&", "`": "'"})


def _tex_of_url(url: str) -> str | None:
    found = _IMAGE_SOURCE.search(url)
    if not found:
        return None
    raw = found["tex"] or found["chl"] or found["path"] or urllib.parse.unquote(found["twice"] or "")
    # A query that writes its plus signs as %2B writes blanks as plus signs.
    if "latex.php" in url or "chl=" in url or "zhihu.com" in url or "%2b" in raw.lower():
        raw = raw.replace("+", " ")
    # codecogs writes blanks as a bare `&space;`; only behind it do ampersands separate parameters.
    raw = _PARAMETERS.sub("", raw.replace("&space;", " ").replace("&plus;", "+"))
    tex = urllib.parse.unquote(raw)
    return _SERVER_COMMANDS.sub("", tex) if "\ufffd" not in tex else None


def clean_tex(tex: str) -> tuple[str, bool | None]:
    """TeX in one line without delimiters of its own, and whether those said display (None: there were none).

    Comments, CDATA markers and Wikipedia's outer `\\displaystyle` go; a `$` inside (in `\\text`) becomes `\\(`
    or `\\)`, so that dollars pair in the text around it.
    """
    tex = re.sub(r"%?[ \t]{0,8}<!\[CDATA\[|%?[ \t]{0,8}\]\]>", "", tex)
    tex = re.sub(r"(?<!\\)((?:\\\\)*)%[^\n]*(?:\n|$)", r"\1\n", tex) if "\n" in tex else tex
    tex = " ".join(tex.split())
    display = None
    for opening, closing, is_display in _WRAPPERS:
        if len(tex) >= len(opening) + len(closing) and tex.startswith(opening) and tex.endswith(closing):
            inner = tex[len(opening) : -len(closing)]
            if opening not in inner and not inner.endswith("\\"):
                tex, display = inner.strip(), is_display
                break
    styled = re.fullmatch(r"\{\\(displaystyle|textstyle)\s*(.*)\}", tex)
    if styled and _balanced(styled[2]):
        tex = styled[2].strip()
    if display is None and _DISPLAY_ENVIRONMENT.match(tex):
        display = True
    dollars = 0
    if "$" in tex:
        pieces = re.split(r"(\\.|\$)", tex)
        for index, piece in enumerate(pieces):
            if piece == "$":
                pieces[index] = "\\(" if dollars % 2 == 0 else "\\)"
                dollars += 1
        tex = "".join(pieces)
    return _without_open_escape(tex), display


def _without_open_escape(tex: str) -> str:
    """`tex` without the backslash at its end that would escape the closing delimiter."""
    while True:
        tex = tex.rstrip()
        body = tex.rstrip("\\")
        if (len(tex) - len(body)) % 2 == 0:
            return tex.lstrip()
        tex = tex[:-1]


def _balanced(tex: str) -> bool:
    depth = 0
    for brace in re.findall(r"\\.|[{}]", tex):
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return False
    return depth == 0
