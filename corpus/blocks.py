"""A parsed page as a list of blocks: paragraphs, headings, list items, tables, code, each with what it stands in.

Text is collapsed as a browser would draw it. Everything that depends on markup is decided here, in one walk;
what is content and what is furniture is decided from the list (`corpus.main_content`), and Markdown is written
from it (`corpus.markdown`).
"""

import dataclasses
import functools
import importlib.resources
import re
import tomllib
from collections.abc import Iterator

from lxml import etree

from corpus.scripts import script
from corpus.shelf import SHELVED, Shelf

_SKIPPED = frozenset((
    "script", "style", "noscript", "template", "svg", "iframe", "object", "embed", "canvas", "audio", "video",
    "map", "select", "datalist", "textarea", "input", "button", "meta", "link", "title", "base", "img",
    "param", "track", "area", "math", "noframes", "frameset", "applet", "rp",
))  # fmt: skip
_BLOCKS = frozenset((
    "p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "ul", "ol", "menu", "dir", "li", "dl",
    "dt", "dd", "table", "caption", "thead", "tbody", "tfoot", "tr", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6",
    "blockquote", "hr", "form", "fieldset", "legend", "figure", "figcaption", "address", "center", "details", "summary",
    "body", "html", "hgroup", "search", "dialog", "pre", "head", SHELVED,
))  # fmt: skip
_CODE = frozenset(("code", "tt", "samp", "kbd"))
_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
# Their ids are made from their text, and say nothing of the kind of place.
_LEAVES = _HEADINGS | {"p", "li", "dt", "dd", "tr", "td", "th"}
_LISTS = frozenset(("ul", "ol", "menu", "dir"))
# A cell with more text than this holds part of a layout.
_MAX_CELL = 600
_MAX_SPAN = 50
# The marker of a quotation, as a frame around blocks.
QUOTE = "> "
# Deeper than this, elements are only read for their text: unclosed tags nest without meaning to.
MAX_DEPTH = 150
# What makes a table a layout: cells that hold more than a few lines of text.
_NOT_IN_CELLS = (
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "pre",
    SHELVED,
    "form",
    "article",
    "section",
    "nav",
)
# A private character that stands for `br` while text is collected.
BREAK = "\ue0f4"
# Small elements around a heading or a formula that say nothing: the pilcrow, "[edit]", the copy button.
_SILENT = frozenset((
    "headerlink", "header-link", "header-anchor", "heading-anchor", "hash-link", "anchorjs-link",
    "anchor-link", "permalink", "mw-editsection", "editsection", "mw-cite-backlink", "sr-only",
    "visually-hidden", "screen-reader-text", "katex-html", "copybtn", "copy-button", "viewcode-link",
    "octicon-link", "self-link", "heading-link", "linkicon", "doc-anchor", "footnote-backref", "footnote-back",
    "reversefootnote", "ltx_note_mark", "ltx_tag_note", "ltx_tag_item",
))  # fmt: skip

# The text of a link to the place where it stands.
_ANCHORS = frozenset(("¶", "§", "🔗"))

# What an element's tag, class and id say about all that is in it. A block's `places` has one bit for each.
TAG_PLACES = (
    "nav", "aside", "header", "footer", "form", "article", "main", "li", "td", "blockquote", "figure", "dl", "a",
    "table", "details", "address", "figcaption", "caption", "section",
)  # fmt: skip
_HINTS = {
    f"hint_{name}": "|".join(patterns)
    for name, patterns in tomllib.loads(
        importlib.resources.files("corpus").joinpath("main_content.toml").read_text("utf-8")
    )["hints"].items()
}
HIDDEN = "hidden"
PLACES = (*TAG_PLACES, *_HINTS, HIDDEN)
PLACE_BIT = {name: 1 << number for number, name in enumerate(PLACES)}
_TAG_BIT = {name: PLACE_BIT[name] for name in TAG_PLACES} | {
    "th": PLACE_BIT["td"],
    "q": PLACE_BIT["blockquote"],
}
_ROLES = {
    "navigation": "nav", "banner": "header", "contentinfo": "footer", "complementary": "aside", "main": "main",
    "article": "article", "search": "form", "dialog": "hint_cookie", "alertdialog": "hint_cookie", "menu": "nav",
    "menubar": "nav", "tablist": "hint_nav", "toolbar": "hint_nav", "tooltip": "hint_edit",
}  # fmt: skip
_HINT_PATTERNS = [(PLACE_BIT[name], re.compile(pattern)) for name, pattern in _HINTS.items()]
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclasses.dataclass(slots=True, eq=False)
class Frame:
    """A list item or (`marker` is `> `) a quotation that blocks are in; `outer` is the one around it."""

    marker: str
    outer: "Frame | None"
    has_heading: bool = False  # then it is no item of a list, but a part of a layout


@dataclasses.dataclass(slots=True)
class Block:
    """One run of text between two block boundaries.

    `kind` is `p`, `h1` to `h6`, `li`, `dt`, `dd`, `table` or `code`; `text` has a line for each that the page breaks
    (rows of Markdown for a table, a placeholder for code), `link_chars` of its characters are in links. `places` are
    the bits of PLACES that hold for it, `container` is the number of the block element it is in. `marker` opens a
    list item, `indent` is the list depth, `quote` the depth of quotation, `frame` the innermost item or quotation.
    """

    kind: str
    text: str
    link_chars: int
    places: int
    container: int
    marker: str = ""
    indent: int = 0
    quote: int = 0
    frame: Frame | None = None


@functools.lru_cache(maxsize=50_000)
def hints(names: str) -> int:
    """Bits for what class names and ids say, by the words that people use for them."""
    names = _CAMEL.sub("-", names[:300]).lower()
    found = 0
    for bit, pattern in _HINT_PATTERNS:
        if pattern.search(names):
            found |= bit
    return found


class Walk:
    """One walk through a parsed page; `blocks` is the result.

    Block elements are numbered in document order: `parents` holds the number of the one around each (-1 for the
    root), `ends` the number behind the last one in it, `own` the bits of PLACES that its tag, class, id and role say.
    """

    def __init__(self, root: etree._Element, shelf: Shelf):
        self._shelf = shelf
        self.blocks: list[Block] = []
        self.parents: list[int] = []
        self.ends: list[int] = []
        self.own: list[int] = []
        self._depth = 0
        self._parts: list[str] = []
        self._link_chars = 0
        self._in_link = 0
        self._marker = ""
        self._indent = 0
        self._quote = 0
        self._frame: Frame | None = None
        self._block(root, root.tag, "p", 0, -1)

    def _flush(self, kind: str, places: int, container: int) -> None:
        parts = self._parts
        if not parts:
            return
        text = " ".join("".join(parts).split())
        parts.clear()
        link_chars, self._link_chars = self._link_chars, 0
        if BREAK in text:
            lines = [line for line in map(str.strip, text.split(BREAK)) if line]
            text = (" " if kind in _HEADINGS else "\n").join(lines)
        if text:
            link_chars = min(link_chars, len(text))
            self._add(kind, text, link_chars, places, container)

    def _add(self, kind: str, text: str, link_chars: int, places: int, container: int) -> None:
        frame = self._frame
        if kind in _HEADINGS:
            while frame is not None and not frame.has_heading:
                frame.has_heading = frame.marker != QUOTE
                frame = frame.outer
            frame = self._frame
        self.blocks.append(
            Block(kind, text, link_chars, places, container, self._marker, self._indent, self._quote, frame)
        )
        self._marker = ""

    def _children(self, element: etree._Element, kind: str, places: int, container: int) -> None:
        """Text and children of an element, into the open paragraph or blocks of their own."""
        parts = self._parts
        if self._depth == MAX_DEPTH:
            parts.append(" ".join(element.itertext()))
            return
        self._depth += 1
        text = element.text
        if text and (parts or not text.isspace()):
            parts.append(text)
            if self._in_link:
                self._link_chars += len(text)
        for child in element:
            tag = child.tag
            if tag in _BLOCKS:
                self._flush(kind, places, container)
                self._block(child, tag, kind, places, container)
            elif tag == "br":
                parts.append(BREAK)
                following = child.getnext()
                if following is not None and following.tag == "br" and not (child.tail or "").strip():
                    self._flush(kind, places, container)
            elif tag not in _SKIPPED:
                self._inline(child, tag, kind, places, container)
            elif tag == "button" and kind in _HEADINGS and not parts:  # an accordion's
                self._children(child, kind, places, container)
            text = child.tail
            if text and (parts or not text.isspace()):
                parts.append(text)
                if self._in_link:
                    self._link_chars += len(text)
        self._depth -= 1

    def _inline(self, element: etree._Element, tag: str, kind: str, places: int, container: int) -> None:
        # A formula is no furniture, wherever it hides.
        if element.attrib and _is_silent(element) and self._shelf.prefix not in "".join(element.itertext()):
            return
        if tag == "a":
            if (element.text or "").strip() not in _ANCHORS:
                self._in_link += 1
                self._children(element, kind, places, container)
                self._in_link -= 1
        elif tag in _CODE:
            self._code(element, kind, places, container)
        elif tag in ("sup", "sub"):
            self._script(element, tag, kind, places, container)
        elif element.get("class") == "ltx_note_outer":  # LaTeXML's footnotes stand in the text
            self._parts.append(" (")
            self._children(element, kind, places, container)
            self._parts.append(")")
        else:
            self._children(element, kind, places, container)

    def _script(self, element: etree._Element, tag: str, kind: str, places: int, container: int) -> None:
        parts = self._parts
        start = len(parts)
        self._children(element, kind, places, container)
        inner = "".join(parts[start:])
        if len(parts) > start and self._shelf.prefix not in inner:
            linked = self._in_link > 0 or element.find(".//a") is not None
            parts[start:] = [script("".join(parts[max(start - 4, 0) : start]), inner, tag, linked)]

    def _code(self, element: etree._Element, kind: str, places: int, container: int) -> None:
        """Inline code between backticks, unless it holds blocks."""
        if any(child.tag in _BLOCKS for child in element.iter()):
            self._children(element, kind, places, container)
            return
        text = " ".join("".join(element.itertext()).split())
        if text:
            word = self._shelf.inline(text)
            self._parts.append(word)
            if self._in_link or element.find(".//a") is not None:
                self._link_chars += len(word)

    def _block(self, element: etree._Element, tag: str, kind: str, places: int, parent: int) -> None:
        container = len(self.parents)
        own = _TAG_BIT.get(tag, 0)
        if element.attrib and tag not in ("html", "head", "body"):
            own |= _said(element)
        self.parents.append(parent)
        self.ends.append(0)
        self.own.append(own)
        places |= own
        if tag in _HEADINGS or tag in ("li", "dt", "dd"):
            kind = tag
        elif kind not in _HEADINGS:
            kind = "p"
        if tag == SHELVED:
            self._parts.append(element.text or "")
            self._flush("code", places, container)
        elif tag == "table":
            self._table(element, places, container)
        elif tag in _LISTS:
            self._indent += 1
            self._list(element, tag, places, container)
            self._indent -= 1
        elif tag == "blockquote":
            self._quote += 1
            outer, self._frame = self._frame, Frame(QUOTE, self._frame)
            self._children(element, kind, places, container)
            self._flush(kind, places, container)
            self._frame = outer
            self._quote -= 1
        elif tag == "li":
            self._item(element, "- ", places, container)
        else:
            self._children(element, kind, places, container)
            self._flush(kind, places, container)
        self.ends[container] = len(self.parents)

    def _item(self, element: etree._Element, marker: str, places: int, container: int) -> None:
        outer, self._frame = self._frame, Frame(marker, self._frame)
        self._marker = marker
        self._children(element, "li", places, container)
        self._flush("li", places, container)
        self._marker, self._frame = "", outer

    def _list(self, element: etree._Element, tag: str, places: int, container: int) -> None:
        number = None
        if tag == "ol":
            start = element.get("start") or ""
            number = int(start) if start.isdecimal() and len(start) < 7 else 1
        for child in element:
            if child.tag == "li":
                self._flush("p", places, container)
                index = len(self.parents)
                own = _TAG_BIT["li"] | (_said(child) if child.attrib else 0)
                self.parents.append(container)
                self.ends.append(0)
                self.own.append(own)
                marker = _label(child) or ("- " if number is None else f"{number}. ")
                self._item(child, marker, places | own, index)
                if number is not None:
                    number += 1
                self.ends[index] = len(self.parents)
            elif child.tag in _BLOCKS:
                self._block(child, child.tag, "p", places, container)
            elif child.tag not in _SKIPPED:
                self._inline(child, child.tag, "p", places, container)
            if child.tail:
                self._parts.append(child.tail)
        self._flush("p", places, container)

    def _table(self, table: etree._Element, places: int, container: int) -> None:
        """A table of short cells as rows of Markdown; any other is layout, and its cells are blocks."""
        rows = None if next(_nested(table), None) is not None else _rows(table)
        if rows is None or len(rows) < 2 or max(map(len, rows)) < 2:
            self._children(table, "p", places, container)
            self._flush("p", places, container)
            return
        outer, self.blocks = self.blocks, []
        marker, self._marker = self._marker, ""
        cells: list[list[str]] = []
        captions: list[Block] = []
        link_chars = 0
        is_layout = False
        for caption in table.iterchildren("caption"):
            self._children(caption, "p", places, container)
            self._flush("p", places, container)
            captions += self.blocks
        inner: list[Block] = list(captions)
        for row in rows:
            line: list[str] = []
            for cell in row:
                self.blocks = []
                self._children(cell, "p", places, container)
                self._flush("p", places, container)
                text = " ".join(f"{block.marker}{block.text}" for block in self.blocks).replace("\n", " ")
                is_layout = is_layout or len(text) > _MAX_CELL
                link_chars += sum(block.link_chars for block in self.blocks)
                line.append(text.replace("|", "\\|"))
                span = cell.get("colspan") or ""
                line += [""] * (min(int(span), _MAX_SPAN) - 1 if span.isdecimal() and len(span) < 4 else 0)
                inner += self.blocks
            if any(line):
                cells.append(line)
        self.blocks, self._marker = outer, marker
        cells = _without_empty_columns(cells)
        if is_layout or len(cells) < 2 or max(map(len, cells)) < 2:
            self.blocks += inner
        else:
            self.blocks += captions
            self._add("table", _markdown_table(cells), link_chars, places, container)


def _is_silent(element: etree._Element) -> bool:
    """Whether an inline element says nothing to a reader of the text."""
    names = element.get("class")
    if names and not _SILENT.isdisjoint(names.split()):
        return True
    if (
        element.tag == "sup" and names and "reference" in names.split()
    ):  # Wikipedia's; Sphinx says it of every link
        return True
    style = element.get("style")
    if style and _HIDDEN_STYLE.search(style):
        return True
    return element.get("aria-hidden") == "true" and element.tag in ("i", "span") and len(element) == 0


def _label(item: etree._Element) -> str:
    """What LaTeXML writes before an item, where it is more than a bullet: `(a) `."""
    if len(item) and item[0].get("class") == "ltx_tag ltx_tag_item":
        label = "".join(item[0].itertext()).strip()
        return f"{label} " if len(label) < 9 and any(map(str.isalnum, label)) else ""
    return ""


def _said(element: etree._Element) -> int:
    """Bits of PLACES for the class, id, role and visibility of a block element."""
    names = element.get("class")
    id_ = None if element.tag in _LEAVES else element.get("id")
    said = hints(f"{names or ''} {id_ or ''}") if names or id_ else 0
    role = element.get("role")
    if role in _ROLES:
        said |= PLACE_BIT[_ROLES[role]]
    style = element.get("style")
    if (style and _HIDDEN_STYLE.search(style)) or element.get("hidden") is not None:
        said |= PLACE_BIT[HIDDEN]
    return said


def _nested(table: etree._Element) -> Iterator[etree._Element]:
    return (inner for inner in table.iter(*_NOT_IN_CELLS) if inner is not table)


def _rows(table: etree._Element) -> list[list[etree._Element]]:
    rows = []
    for part in table:
        if part.tag == "tr":
            rows.append([cell for cell in part if cell.tag in ("td", "th")])
        elif part.tag in ("thead", "tbody", "tfoot"):
            rows += [[cell for cell in row if cell.tag in ("td", "th")] for row in part if row.tag == "tr"]
    return [row for row in rows if row]


def _without_empty_columns(cells: list[list[str]]) -> list[list[str]]:
    filled = {column for row in cells for column, text in enumerate(row) if text}
    return [[text for column, text in enumerate(row) if column in filled] for row in cells]


def _markdown_table(cells: list[list[str]]) -> str:
    width = max(map(len, cells))
    rows = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in cells]
    return "\n".join([rows[0], "|" + " --- |" * width, *rows[1:]])
