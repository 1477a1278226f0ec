"""A page's text, with its formulas as LaTeX and its code as it was typed.

Resiliparse finds the main content. It knows neither formulas nor code, so both are taken out before it runs
and put back behind it: each is replaced in the parsed page by an ASCII word that survives any extraction.
"""

import dataclasses
import html as entities
import re
import unicodedata

from lxml import etree
from lxml import html as lxml_html
from resiliparse.extract.html2text import extract_plain_text

from corpus import formulas
from corpus.delimiters import Delimiters, escape_dollars, typed
from corpus.formulas import Formula
from corpus.mathml import local_name

# The extractor's time grows with the square of nesting; pages that people read stay below a hundred levels.
MAX_DEPTH = 400
# Main content that keeps less than this share of the formulas and code of a page was cut in the wrong place.
MIN_KEPT = 0.8
# Main content shorter than both is suspected to have missed the page's text.
SHORT_TEXT, SHORT_SHARE = 250, 0.1

_NEEDS_TREE = re.compile(r"<(?:pre|code|tt|samp|kbd)\b", re.I)
_TITLE = re.compile(r"<title\b[^>]{0,200}>([^<]{0,2000})", re.I)
_PREFIXED_MATH = re.compile(r"(</?)(?:m|mml|mathml):(?=[a-z])", re.I)
# HTML5 goes on behind these, libxml2 drops what follows; both close them at the end of the file anyway.
_EARLY_END = re.compile(r"</(?:html|body)\s*>", re.I)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_LANGUAGE_CLASS = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-source-|highlight-|brush:\s*|sourceCode\s+)([\w+#.-]+)"
)
_NOT_LANGUAGES = frozenset((
    "default", "none", "notranslate", "text", "plain", "plaintext", "nohighlight", "highlight", "source", "code",
))  # fmt: skip
_GUTTER_CLASSES = (
    "linenos", "lineno", "linenodiv", "linenumbers", "line-numbers-rows", "gutter", "rouge-gutter", "gutter-line",
    "hljs-ln-numbers", "blob-num", "copy-button", "copybtn", "copy-btn", "btn-copy", "btn-clipboard", "clipboard",
    "headerlink", "code-copy", "copy",
)  # fmt: skip
_GUTTERS = etree.XPath(
    "descendant-or-self::*[self::button or "
    + " or ".join(
        f"contains(concat(' ', normalize-space(@class), ' '), ' {name} ')" for name in _GUTTER_CLASSES
    )
    + "]"
)
_OUTER_GUTTERS = etree.XPath(
    "//td[contains(@class, 'linenos') or contains(@class, 'gutter') or contains(@class, 'rouge-gutter')"
    " or contains(@class, 'hljs-ln-numbers') or contains(@class, 'lineno')][.//pre]"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """What a page says: plain text with `$...$`, `$$...$$`, `` `...` `` and fenced code, in NFC.

    `formulas` and `code_blocks` count those that are in `text`.
    """

    title: str | None
    text: str
    formulas: int
    code_blocks: int


class TooDeepError(ValueError):
    """A page is nested deeper than MAX_DEPTH."""


class _Shelf:
    """The things taken out of a page, each under a word that no text extraction changes."""

    def __init__(self, html: str):
        self.prefix = "QZL"
        while self.prefix in html:
            self.prefix += "Q"
        self.things: list[Formula | str] = []
        self.word = re.compile(self.prefix + r"(\d+)Z")

    def put(self, thing: Formula | str) -> str:
        if isinstance(thing, Formula) and self.word.search(thing.tex):  # code inside a formula: a broken page
            thing = Formula(self.word.sub(lambda found: self.bare(int(found[1])), thing.tex), thing.display)
        self.things.append(thing)
        return f"{self.prefix}{len(self.things) - 1}Z"

    def bare(self, index: int) -> str:
        """The characters of a thing without fences or delimiters."""
        thing = self.things[index]
        return thing.tex if isinstance(thing, Formula) else thing.strip("`\n").replace("$", r"\$")

    def weight(self, text: str) -> int:
        """How many formulas and code blocks (not inline code) `text` holds; typed ones by their openings."""
        found = (self.things[int(match[1])] for match in self.word.finditer(text))
        shelved = sum(1 for thing in found if isinstance(thing, Formula) or thing.startswith("```"))
        return shelved + text.count("\\(") + text.count("\\[") + text.count("$$") // 2


def extract_text(html: str) -> Page:
    """Main content of a page as text, formulas and code intact; the whole text where it would lose those.

    `html` is decoded text of any quality. Raises TooDeepError for hostile nesting; lxml and Resiliparse may
    raise their own errors on what they cannot parse at all.
    """
    if _CONTROL.search(html):
        html = _CONTROL.sub("", html.replace("\r\n", "\n").replace("\r", "\n").replace("\f", " "))
    title = _title(html)
    delimiters = Delimiters.of(html)
    shelf = _Shelf(html)
    if _PREFIXED_MATH.search(html):
        html = _PREFIXED_MATH.sub(r"\1", html)
    if _NEEDS_TREE.search(html) or formulas.may_hold_formulas(html):
        html = _shelve(html, shelf)
    else:
        _check_depth_of_text(html)
    text = _main_text(html, shelf)
    text = typed(text, delimiters, shelf.put)
    return _put_back(title, text, shelf)


def _title(html: str) -> str | None:
    found = _TITLE.search(html)
    title = " ".join(_tidy(entities.unescape(found[1])).split()) if found else ""
    return title or None


def _main_text(html: str, shelf: _Shelf) -> str:
    # Texts for images stay in: without them Resiliparse drops whole figures, and with these listings.
    main = extract_plain_text(html, main_content=True, preserve_formatting=True)
    weight = shelf.weight(html)
    cut_wrongly = weight and shelf.weight(main) < MIN_KEPT * weight
    if cut_wrongly or len(main) < SHORT_TEXT:
        whole = extract_plain_text(html, main_content=False, preserve_formatting=True)
        if cut_wrongly or len(main) < SHORT_SHARE * len(whole):
            return whole
    return main


def _shelve(html: str, shelf: _Shelf) -> str:
    """The page with a word for each formula and each piece of code."""
    parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = lxml_html.document_fromstring(
            _EARLY_END.sub("", html).encode("utf-8", "replace"), parser=parser, ensure_head_body=True
        )
    except etree.ParserError:  # nothing but comments
        return ""
    _check_depth(root)
    for gutter in _OUTER_GUTTERS(root):
        gutter.drop_tree()
    for pre in list(root.iter("pre")):
        if not any(local_name(ancestor) == "pre" for ancestor in pre.iterancestors()):
            _shelve_block(pre, shelf)
    for element, formula in formulas.sources(root):
        _replace(element, shelf.put(formula) if formula else "")
    for code in list(root.iter("code", "tt", "samp", "kbd")):
        if (
            code.getparent() is not None
            and next(code.iterancestors("code", "tt", "samp", "kbd"), None) is None
        ):
            _shelve_inline(code, shelf)
    return lxml_html.tostring(root, encoding="unicode")


def _shelve_block(pre: etree._Element, shelf: _Shelf) -> None:
    language = _language(pre)
    code = _code_text(pre)
    if language in ("math", "katex", "latex-math"):
        tex, _ = formulas.clean_tex(code)
        _replace(pre, shelf.put(Formula(tex, True)) if tex else "", "p")
    elif code.strip():
        # The fence must be longer than any run of backticks inside.
        fence = "`" * max(3, 1 + max(map(len, re.findall(r"`{3,}", code)), default=0))
        _replace(pre, shelf.put(f"{fence}{language}\n{code}\n{fence}"), "p")


def _shelve_inline(code: etree._Element, shelf: _Shelf) -> None:
    classes = (code.get("class") or "").split()
    text = "".join(code.itertext())
    if "language-math" in classes or "math" in classes:
        tex, _ = formulas.clean_tex(text)
        if tex:
            _replace(code, shelf.put(Formula(tex, "display" in (code.get("data-math-style") or ""))))
        return
    text = " ".join(text.split())
    if not text or shelf.word.search(text):
        return
    ticks = "`" * (1 + max(map(len, re.findall(r"`+", text)), default=0))
    pad = " " if "`" in text else ""
    _replace(code, shelf.put(f"{ticks}{pad}{text}{pad}{ticks}"))


def _code_text(pre: etree._Element) -> str:
    """The characters of a code block, with line breaks from `br` and row elements, without line numbers."""
    for gutter in _GUTTERS(pre):
        if gutter is not pre and gutter.getparent() is not None:
            gutter.drop_tree()
    for line_break in pre.iter("br"):
        line_break.tail = "\n" + _CONTROL.sub("", line_break.tail or "")
    for row in pre.iter("tr", "li", "div", "p"):
        if row.getnext() is not None and not "".join(row.itertext()).endswith("\n"):
            row.tail = "\n" + _CONTROL.sub("", row.tail or "").lstrip("\n")
    code = _tidy("".join(pre.itertext()).replace("\r\n", "\n").replace("\r", "\n"), form=None)
    return re.sub(r"\A(?:[ \t]*\n)+", "", "\n".join(line.rstrip() for line in code.split("\n"))).rstrip()


def _language(pre: etree._Element) -> str:
    """The language a page gives for a code block, in lower case, or nothing."""
    near = [pre, *pre.iterchildren("code")]
    for ancestor in pre.iterancestors():
        if len(near) > 5 or local_name(ancestor) not in (
            "div",
            "figure",
            "table",
            "tbody",
            "tr",
            "td",
            "span",
            "code",
        ):
            break
        near.append(ancestor)
    for element in near:
        stated = element.get("data-lang") or element.get("data-language") or element.get("lang-name")
        found = _LANGUAGE_CLASS.search(element.get("class") or "")
        language = (stated or (found[1] if found else "")).strip().lower()
        if language and language not in _NOT_LANGUAGES and re.fullmatch(r"[\w+#.-]{1,30}", language):
            return language
    return ""


def _replace(element: etree._Element, word: str, wrapper: str = "span") -> None:
    """Put a word, in an element of its own, in an element's place.

    Joining it to the text around would copy that text once for every formula in it.
    """
    parent = element.getparent()
    if parent is None:
        return
    box = parent.makeelement(wrapper, {})
    # Character references smuggle in control characters that lxml gives out but does not take back.
    box.text, box.tail = word, _CONTROL.sub("", element.tail or "")
    parent.replace(element, box)


def _check_depth(root: etree._Element) -> None:
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            raise TooDeepError(f"nested deeper than {MAX_DEPTH} elements")


def _check_depth_of_text(html: str) -> None:
    """A bound on nesting without a tree: more block elements open at once than any page needs."""
    depth = 0
    for found in re.finditer(
        r"<(/?)(?:div|span|b|i|font|ul|ol|table|blockquote|section|center|em|a|dl|q)\b", html, re.I
    ):
        depth = max(0, depth + (-1 if found[1] else 1))
        if depth > 4 * MAX_DEPTH:
            raise TooDeepError(f"nested deeper than {MAX_DEPTH} elements")


def _put_back(title: str | None, text: str, shelf: _Shelf) -> Page:
    counts = {"formulas": 0, "code_blocks": 0}
    shown = {int(match[1]) for match in shelf.word.finditer(text)}
    has_formulas = any(isinstance(shelf.things[index], Formula) for index in shown)
    text = escape_dollars(_tidy(text), has_formulas)
    out: list[str] = []
    at = 0
    for match in shelf.word.finditer(text):
        thing = shelf.things[int(match[1])]
        before, at = text[at : match.start()], match.end()
        out.append(before)
        if isinstance(thing, Formula):
            counts["formulas"] += 1
            out.append(_tidy(str(thing)))
        elif thing.startswith("```") and "\n" in thing:
            counts["code_blocks"] += 1
            out.append(
                ("" if not out or before.endswith("\n") else "\n")
                + thing
                + ("" if text.startswith("\n", at) else "\n")
            )
        else:
            out.append(_tidy(thing))
    out.append(text[at:])
    return Page(title, unicodedata.normalize("NFC", "".join(out)).strip(), **counts)


def _tidy(text: str, form: str | None = "NFC") -> str:
    """Text without control characters, in NFC."""
    text = _CONTROL.sub("", text)
    return unicodedata.normalize(form, text) if form else text
