"""Code of a page as it was typed: without the line numbers, buttons and spans that highlighters put around it."""

import re
from collections.abc import Callable, Iterator

from lxml import etree

from corpus.mathml import local_name
from corpus.shelf import SHELVED

_CLASS = "contains(concat(' ', normalize-space(@class), ' '), ' {} ')"
_GUTTER_CLASSES = frozenset((
    "linenos", "lineno", "linenodiv", "linenumbers", "line-numbers-rows", "line-numbers", "line-number",
    "ln-num", "gutter", "rouge-gutter", "gutter-line", "hljs-ln-numbers", "hljs-ln-n", "blob-num",
    "crayon-num", "react-syntax-highlighter-line-number", "copy-button", "copybtn", "copy-btn", "btn-copy",
    "btn-clipboard", "clipboard", "code-copy", "copy", "copy-to-clipboard", "copy-code-button",
    "headerlink", "viewcode-back", "ttc", "toolbar-item", "code-toolbar-item",
))  # fmt: skip
_NOT_CODE = frozenset(("button", "script", "style"))
_GUTTERS = etree.XPath(
    "//td[contains(@class, 'linenos') or contains(@class, 'gutter') or contains(@class, 'hljs-ln-numbers')"
    " or contains(@class, 'lineno') or contains(@class, 'line-numbers') or contains(@class, 'blob-num')][.//pre]"
    " | //ul[@class='pre-numbering'] | //*[@class='codebox']/*[self::p or self::dt]"  # CSDN; phpBB's "Select all"
)
# Code without `pre`: GitHub's blobs, SyntaxHighlighter, Crayon, W3Schools, Doxygen's fragments; `code` with breaks.
_DRAWN = etree.XPath(
    "//table[.//td[" + _CLASS.format("blob-code") + "]]"
    " | //div[" + _CLASS.format("syntaxhighlighter") + "]"
    " | //div[" + _CLASS.format("crayon-pre") + "]"
    " | //div[" + _CLASS.format("w3-code") + "]"
    " | //div[" + _CLASS.format("fragment") + "][.//div[" + _CLASS.format("line") + "]]"
    " | //code[br][not(ancestor::pre)]"
)
_DRAWN_LINES = etree.XPath(
    "descendant::td[" + _CLASS.format("blob-code") + "] | descendant::td[" + _CLASS.format("code") + "]//div["
    + _CLASS.format("line") + "] | descendant::div[" + _CLASS.format("crayon-line") + "]"
    " | self::div[" + _CLASS.format("fragment") + "]/descendant::div[" + _CLASS.format("line") + "]"
)  # fmt: skip
_HINTS = (
    "<pre",
    "<code",
    "<xmp",
    "<listing",
    "<plaintext",
    "blob-code",
    "syntaxhighlighter",
    "crayon-pre",
    "w3-code",
    "fragment",
)
_LANGUAGE_CLASS = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-source-|highlight-|brush:\s*|sourceCode\s+|syntaxhighlighter\s+)([\w+#.-]+)"
)
_NOT_LANGUAGES = frozenset((
    "default", "none", "notranslate", "text", "plain", "plaintext", "nohighlight", "highlight", "source",
    "code", "auto", "wrapper", "block", "container", "switch", "box", "nogutter", "line-numbers", "txt",
    "undefined", "unknown", "raw",
))  # fmt: skip
# Of these a class name alone says it: highlight.js, docutils, rustdoc; W3Schools puts `High` behind them.
_LANGUAGES = frozenset((
    "bash", "c", "clojure", "cpp", "csharp", "css", "dart", "diff", "erlang", "fortran", "go", "haskell",
    "html", "java", "javascript", "js", "json", "julia", "kotlin", "latex", "lisp", "lua", "makefile", "matlab",
    "objectivec", "ocaml", "perl", "php", "py", "python", "r", "ruby", "rust", "scala", "sh", "shell", "sql",
    "swift", "tex", "toml", "ts", "typescript", "xml", "yaml",
))  # fmt: skip
_LANGUAGE_ATTRIBUTES = (
    "data-lang",
    "data-language",
    "lang-name",
    "data-code-block-lang",
    "data-tagsearch-lang",
)
_LANGUAGE_NAME = re.compile(r"[\w+#.-]{1,30}")
_SPOKEN = frozenset(
    (
        "en",
        "en-us",
        "en-gb",
        "de",
        "fr",
        "es",
        "it",
        "pt",
        "ru",
        "ja",
        "zh",
        "zh-cn",
        "ko",
        "nl",
        "pl",
        "tr",
        "ar",
    )
)
_AROUND_CODE = frozenset(
    ("div", "figure", "table", "tbody", "tr", "td", "span", "code", "clipboard-copy", "li")
)
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def may_hold_code(html: str) -> bool:
    """Whether `shelve_code` can find any; cheap and never wrongly false."""
    lower = html.lower()
    return any(hint in lower for hint in _HINTS)


def shelve_code(root: etree._Element, put: Callable[[str, str], str]) -> None:
    """Replace every code block of a page by an element SHELVED holding the word `put(code, language)` returns.

    `language` is lower case, empty where the page does not say. An empty block goes.
    """
    for gutter in _GUTTERS(root):
        remove(gutter)
    for drawn in _DRAWN(root):
        if drawn.getparent() is not None:
            _shelve(drawn, _drawn_text(drawn), put)
    for pre in list(root.iter("pre", "xmp", "listing", "plaintext")):
        if next(pre.iterancestors("pre", SHELVED), None) is None:
            _shelve(pre, _text(pre), put)


def _shelve(element: etree._Element, code: str, put: Callable[[str, str], str]) -> None:
    if code.strip():
        replace(element, put(code, _language(element)), SHELVED)
    else:
        remove(element)


def remove(element: etree._Element) -> None:
    """Take an element out of its page and leave the text behind it."""
    replace(element, "", "span")


def replace(element: etree._Element, text: str, tag: str = "span") -> None:
    """Put an element with this text in an element's place.

    Joining the text to that around it would copy all of it once for every formula in it.
    """
    parent = element.getparent()
    if parent is not None:
        box = parent.makeelement(tag, {})
        # Character references smuggle in control characters that lxml gives out but does not take back.
        box.text, box.tail = text, _UNWANTED.sub("", element.tail or "")
        parent.replace(element, box)


def _drawn_text(element: etree._Element) -> str:
    _remove_gutters(element)
    lines = _DRAWN_LINES(element)
    if lines:
        return _clean("\n".join("".join(line.itertext()).strip("\n") for line in lines).replace("\xa0", " "))
    return _text(element).replace("\xa0", " ")


def _text(pre: etree._Element) -> str:
    """The characters of a code block, with line breaks from `br` and row elements, without line numbers."""
    _remove_gutters(pre)
    for line_break in pre.iter("br"):
        line_break.tail = "\n" + _UNWANTED.sub("", line_break.tail or "")
    for row in pre.iter("tr", "li", "div", "p"):
        behind = row.tail or ""
        if row.getnext() is not None and not behind.startswith("\n") and not _last_text(row).endswith("\n"):
            row.tail = "\n" + _UNWANTED.sub("", behind)
    return _clean("".join(pre.itertext()))


def _remove_gutters(code: etree._Element) -> None:
    around = code.getparent()
    is_cnblogs = around is not None and around.get("class") == "cnblogs_code"
    has_blanks = is_cnblogs or code.get("class") == "fragment"  # behind each number; Doxygen's
    for gutter in [inner for inner in code.iterdescendants() if _is_gutter(inner, is_cnblogs)]:
        if gutter.getparent() is not None:
            if has_blanks and (gutter.tail or "").startswith(" "):
                gutter.tail = gutter.tail[1:]
            remove(gutter)


def _is_gutter(element: etree._Element, is_cnblogs: bool) -> bool:
    tag = element.tag
    if tag in _NOT_CODE:
        return True
    if is_cnblogs and element.get("style") == "color: #008080;" and (element.text or "").strip().isdecimal():
        return True
    names = element.get("class")
    return names is not None and tag not in ("pre", "code") and not _GUTTER_CLASSES.isdisjoint(names.split())


def _last_text(element: etree._Element) -> str:
    """The text an element ends in."""
    while len(element):
        last = element[-1]
        if last.tail:
            return str(last.tail)
        element = last
    return element.text or ""


def _clean(code: str) -> str:
    code = _UNWANTED.sub("", code.replace("\r\n", "\n").replace("\r", "\n"))
    code = "\n".join(line.rstrip() for line in code.split("\n")).rstrip()
    first = next((at for at, line in enumerate(code.split("\n")) if line), 0)
    return code.split("\n", first)[-1] if first else code


def _language(code: etree._Element) -> str:
    """The language a page gives for a code block, in lower case, or nothing."""
    for element in _around(code):
        for stated in _stated_languages(element):
            language = stated.strip().lower()
            if language and language not in _NOT_LANGUAGES and _LANGUAGE_NAME.fullmatch(language):
                return language
    return ""


def _stated_languages(element: etree._Element) -> Iterator[str]:
    if element.get("data-math-style"):  # GitLab
        yield "math"
    for attribute in _LANGUAGE_ATTRIBUTES:
        yield element.get(attribute) or ""
    names = element.get("class") or ""
    yield from _LANGUAGE_CLASS.findall(names)
    if element.tag in ("code", "pre") or "w3-code" in names:
        yield from (name for name in names.replace("High", "").split() if name in _LANGUAGES)
    if element.tag == "figure" and names.startswith("highlight "):  # Hexo
        yield from names.split()[1:]
    if element.tag == "pre" and (lang := element.get("lang") or "") not in _SPOKEN:  # cmark
        yield lang


def _around(code: etree._Element) -> Iterator[etree._Element]:
    yield code
    yield from code.iterchildren("code")
    for distance, ancestor in enumerate(code.iterancestors()):
        if distance == 5 or local_name(ancestor) not in _AROUND_CODE:
            return
        yield ancestor


def inline_mathematics(root: etree._Element) -> Iterator[tuple[etree._Element, str, bool]]:
    """Elements of code in a line that are formulas: GitLab's, commonmark's; their TeX, and whether it is displayed."""
    for code in list(root.iter("code")):
        names = (code.get("class") or "").split()
        if ("language-math" in names or "math" in names) and next(code.iterancestors("pre"), None) is None:
            yield code, "".join(code.itertext()), "display" in (code.get("data-math-style") or "")
