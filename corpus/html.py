"""A page's text as light Markdown, with its formulas as LaTeX and its code as it was typed.

The page is parsed once. Code and formulas are taken out of the tree, each replaced by an ASCII word that nothing
changes, the rest becomes a list of blocks, those that are content are written as Markdown, and the words are put
back.
"""

import dataclasses
import re

from lxml import etree

from corpus import code_blocks, formulas
from corpus.blocks import Block, Walk
from corpus.charset import nfc
from corpus.delimiters import Delimiters, escape_dollars, typed
from corpus.formulas import Formula
from corpus.macros import Macros
from corpus.main_content import main_content
from corpus.markdown import markdown
from corpus.page_facts import stated_date, stated_title
from corpus.scripts import settle
from corpus.shelf import Code, Shelf

# Pages that people read stay below a hundred levels. What looks at an element's ancestors needs a bound.
MAX_DEPTH = 400
_TOO_DEEP = etree.XPath("boolean(/" + "/".join("*" * (MAX_DEPTH + 1)) + ")")

_PREFIXED_MATH = re.compile(r"(</?)(?:m|mml|mathml):(?=[a-z])", re.I)
# HTML5 goes on behind these, libxml2 drops what follows; both close them at the end of the file anyway.
_EARLY_END = re.compile(r"</(?:html|body)\s*>", re.I)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff\ue0f1-\ue0f4]")
_QUIET = re.compile("[\xad\u200b\u2060\ufeff]")  # soft hyphens and other marks that no reader sees
_EMPTY_PARAGRAPHS = re.compile(r"\n{3,}")
_MAY_BE_TYPED = re.compile(r"[$\\`]")
_PARSER = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)


class TooDeepError(ValueError):
    """A page is nested deeper than MAX_DEPTH."""


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """What a page says: light Markdown with `$...$`, `$$...$$`, `` `...` `` and fenced code, in NFC.

    `formulas` and `code_blocks` count those that are in `text`; `published` is the day the page states (ISO 8601).
    """

    title: str | None
    text: str
    formulas: int = 0
    code_blocks: int = 0
    published: str | None = None


def extract_text(html: str, expand_macros: bool = False) -> Page:
    """Main content of a page as Markdown, formulas and code intact.

    `html` is decoded text of any quality. Formulas are as the page has them; with `expand_macros` the macros that the
    page defines are written out. Raises TooDeepError for hostile nesting; lxml may raise its own errors on
    what it cannot parse at all.
    """
    html = clean(html)
    title = stated_title(html)
    title = _tidy(title) if title else None
    root = parse(html)
    if root is None:
        return Page(title, "")
    published = stated_date(root, html)
    shelf = Shelf(html, Macros.of(html) if expand_macros else Macros(expands=False))
    shelve(root, html, shelf)
    walk = Walk(root, shelf)
    find_typed(walk.blocks, html, shelf)
    weights = [shelf.weight(block.text) for block in walk.blocks]
    text = _tidy(markdown(main_content(walk, weights, title)))
    if _QUIET.search(text):
        text = _EMPTY_PARAGRAPHS.sub("\n\n", _QUIET.sub("", text))
    held = shelf.held(text)
    n_formulas = sum(isinstance(thing, Formula) for thing in held)
    n_blocks = sum(isinstance(thing, Code) and thing.language is not None for thing in held)
    if "$" in text:
        # Where a page's own scripts would read dollars, a reader of its text will.
        text = escape_dollars(text, n_formulas > 0 or Delimiters.of(html).renderer)
    text = shelf.put_back(text)
    return Page(title, _tidy(text).strip(), n_formulas, n_blocks, published)


def clean(html: str) -> str:
    """`html` with one kind of line break and no control characters."""
    if _CONTROL.search(html):
        html = _CONTROL.sub("", html.replace("\r\n", "\n").replace("\r", "\n").replace("\f", " "))
    return html


def parse(html: str) -> etree._Element | None:
    if _PREFIXED_MATH.search(html):
        html = _PREFIXED_MATH.sub(r"\1", html)
    try:
        return etree.fromstring(_EARLY_END.sub("", html).encode("utf-8", "replace"), parser=_PARSER)
    except etree.XMLSyntaxError:  # nothing but comments
        return None


def shelve(root: etree._Element, html: str, shelf: Shelf) -> None:
    """Put the page's code blocks and formulas on the shelf, words in their place. Raises TooDeepError."""
    if _TOO_DEEP(root):
        raise TooDeepError(f"nested deeper than {MAX_DEPTH} elements")
    if code_blocks.may_hold_code(html):
        code_blocks.shelve_code(root, shelf.block)
        for element, tex, display in code_blocks.inline_mathematics(root):
            code_blocks.replace(element, shelf.formula(Formula(formulas.clean_tex(tex)[0], display)))
    for element, formula in formulas.sources(root, html):
        code_blocks.replace(element, shelf.formula(formula) if formula else "")


def find_typed(blocks: list[Block], html: str, shelf: Shelf) -> None:
    """Put formulas typed between delimiters, and those written with `sup` and `sub`, on the shelf too."""
    delimiters: Delimiters | None = None
    for block in blocks:
        text = settle(block.text, shelf.formula)
        if _MAY_BE_TYPED.search(text):
            delimiters = delimiters or Delimiters.of(html)
            text = typed(text, delimiters, shelf.formula)
        block.text = text.strip()
        block.link_chars = min(block.link_chars, len(block.text))
    blocks[:] = [block for block in blocks if block.text]


def _tidy(text: str) -> str:
    """Text without control characters, in NFC."""
    return nfc(_CONTROL.sub("", text))
