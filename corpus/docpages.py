"""Documentation as web pages: reStructuredText, Markdown or plain text to HTML with formulas and furniture.

The pages are what a documentation site serves: a header with navigation, breadcrumbs, a side bar, a footer
and a cookie notice around the text. Formulas are written in one of three ways that sites use (MathJax
delimiters, `math/tex` scripts, MathML with its TeX annotation), chosen by a hash of the page's URL.
"""

import functools
import html
import re
from typing import Any, NamedTuple

import docutils.core
import docutils.frontend
import xxhash
from docutils import nodes
from docutils.parsers import rst
from docutils.parsers.rst import directives, roles
from docutils.utils.math import MathError, latex2mathml, unichar2tex, wrap_math_code
from docutils.writers import html5_polyglot
from markdown_it import MarkdownIt

MATH_STYLES = ("mathjax", "script", "mathml")
MAX_SOURCE_CHARS = 60_000


class Section(NamedTuple):
    """A documented thing on a page: the line that names it ("" for the page itself) and its text."""

    signature: str
    text: str


class DocPage(NamedTuple):
    """One page of documentation before rendering; `name` is dotted, `markup` is rst, markdown or text."""

    package: str
    version: str
    name: str
    kind: str  # module, class, function or document
    markup: str
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        return "\n\n".join(section.text for section in self.sections)

    @property
    def domain(self) -> str:
        """One registered domain a package, under the top-level domain reserved for examples."""
        return f"{self.package.lower().replace('_', '-').strip('-')}-docs.example"

    @property
    def url(self) -> str:
        module, _, leaf = self.name.rpartition(".")
        if self.kind == "document":
            return f"https://{self.domain}/guide/{self.name.lower()}.html"
        if self.kind == "module" or not module:
            return f"https://{self.domain}/reference/{self.name}/index.html"
        return f"https://{self.domain}/reference/{module}/{leaf}.html"


def math_style(url: str) -> str:
    """How this page writes its formulas."""
    return MATH_STYLES[xxhash.xxh3_64_intdigest(f"math\n{url}".encode()) % len(MATH_STYLES)]


def render(page: DocPage, links: list[tuple[str, str]]) -> tuple[str, dict[str, int]]:
    """The page as HTML and its counts of `formulas` and `plain_text`; `links` are (title, address)."""
    style = math_style(page.url)
    formulas = fallbacks = 0
    parts = []
    for section in page.sections:
        body, n = _body(section.text[:MAX_SOURCE_CHARS], page, style)
        fallbacks += n < 0
        formulas += max(n, 0)
        if section.signature:
            name = html.escape(section.signature)
            parts.append(f'<dl class="py"><dt class="sig"><code>{name}</code></dt><dd>{body}</dd></dl>')
        else:
            parts.append(body)
    title = page.name if page.kind == "document" else f"{page.name} ({page.kind})"
    document = _furniture(
        page, title, "\n".join(parts), links, needs_mathjax=formulas > 0 and style != "mathml"
    )
    return document, {"formulas": formulas, "plain_text": fallbacks}


def _body(text: str, page: DocPage, style: str) -> tuple[str, int]:
    """HTML of one text and its number of formulas; -1 where its markup defeats the renderer."""
    if page.markup == "markdown" or (page.markup == "rst" and _looks_markdown(text)):
        return _markdown(text), 0
    if page.markup == "rst":
        # mpmath's own documentation sets this role; in other projects a bare backtick is no formula.
        role = "math" if page.package == "mpmath" else "emphasis"
        try:
            return _restructured(text, style, role)
        except Exception:  # docutils has many ways to fail on text that was never meant for it
            return f"<pre>{html.escape(text)}</pre>", -1
    return f"<pre>{html.escape(text)}</pre>", 0


def _looks_markdown(text: str) -> bool:
    return "```" in text or "[`" in text or bool(re.search(r"^#{1,4} \w", text, re.M))


@functools.cache
def _markdown_parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


_ARGUMENT = re.compile(r"^ {4}(?=[\w*`]+ ?\()", re.M)


def _markdown(text: str) -> str:
    # Arguments stand indented under a heading word; Markdown would take them for code.
    return _markdown_parser().render(_ARGUMENT.sub("- ", text))


# --- reStructuredText -------------------------------------------------------------------------------------

_DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([A-Za-z][\w:+.-]*) ?::(?=\s|$)", re.M)
_ROLE = re.compile(r":([A-Za-z][\w:+.-]*):`|`:([A-Za-z][\w:+.-]*):")
_DOLLARS = re.compile(r"(?<![\\\w`$])\$(?=[^\s$])([^$\n`]{1,300}?)(?<=[^\s\\])\$(?![\w$`])")
_TEX_COMMAND = re.compile(r"\$[^$\n]*\\[a-z]+[^$\n]*\$")
_PASTED = re.compile(r"^[ \t]*%\(\w+\)s[ \t]*$", re.M)
_TARGET = re.compile(r"^(.+?)\s*<[^<>]*>$", re.S)

_CODE = {"code-block", "sourcecode", "testcode", "testoutput", "doctest", "plot", "prompt", "ipython", "code"}
_SILENT = {
    "toctree",
    "index",
    "currentmodule",
    "module",
    "highlight",
    "testsetup",
    "testcleanup",
    "autosummary",
}
_SILENT |= {"automodule", "autoclass", "autofunction", "automethod", "include", "raw", "contents", "sectnum"}
_SILENT |= {"literalinclude", "tabularcolumns", "py:module", "py:currentmodule", "role"}
_VERSIONS = {"versionadded": "New in version", "versionchanged": "Changed in version"}
_VERSIONS |= {"deprecated": "Deprecated since version", "deprecated-removed": "Deprecated since version"}


class _AnyOption(dict):
    """Sphinx's directives take options docutils has never heard of; all of them are read as plain text."""

    def __missing__(self, key: str):
        return directives.unchanged

    def __bool__(self) -> bool:
        return True


class _Harmless(rst.Directive):
    """A directive of Sphinx or of one of its extensions: its argument as a title, its content as text."""

    optional_arguments = 1000
    has_content = True
    option_spec = _AnyOption()

    def run(self) -> list[nodes.Node]:
        title = " ".join(self.arguments)
        label = _VERSIONS.get(self.name, "")
        if self.name == "seealso":
            label = "See also"
        content = nodes.container(classes=[self.name.replace(":", "-")])
        if label or title:
            text, _ = self.state.inline_text(f"{label} {title}".strip(), self.lineno)
            content += nodes.paragraph("", "", *text)
        self.state.nested_parse(self.content, self.content_offset, content)
        return [content]


class _Code(_Harmless):
    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text)] if text else []


class _Silent(_Harmless):
    def run(self) -> list[nodes.Node]:
        return []


class _Math(_Harmless):
    """`.. math::` with Sphinx's options; one formula a block that blank lines separate."""

    def run(self) -> list[nodes.Node]:
        text = "\n".join([" ".join(self.arguments), "", *self.content]).strip()
        blocks = [text] if "nowrap" in self.options else re.split(r"\n\s*\n", text)
        return [nodes.math_block(block.strip(), block.strip()) for block in blocks if block.strip()]


def _named_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    """Cross-references and markup of Sphinx: the words a reader sees, set as code."""
    match = _TARGET.match(text)
    shown = match[1] if match else text.lstrip("~!").rsplit(".", 1)[-1] if text.startswith("~") else text
    return [nodes.literal(rawtext, shown)], []


def _register(text: str) -> None:
    """Make the directives and roles in `text` known; what a name means does not depend on earlier texts."""
    for name in set(_DIRECTIVE.findall(text)):
        key = name.lower()
        if key == "math":
            directives.register_directive(key, _Math)
        elif key in _CODE:
            directives.register_directive(key, _Code)
        elif key in _SILENT:
            directives.register_directive(key, _Silent)
        elif key not in _NATIVE_DIRECTIVES:
            directives.register_directive(key, _Harmless)
    for before, after in set(_ROLE.findall(text)):
        name = (before or after).lower()
        if name not in _NATIVE_ROLES:
            roles.register_local_role(name, _named_role)


_NATIVE_DIRECTIVES = {
    "note",
    "warning",
    "tip",
    "hint",
    "important",
    "caution",
    "danger",
    "error",
    "attention",
}
_NATIVE_DIRECTIVES |= {"admonition", "image", "figure", "table", "csv-table", "list-table", "rubric", "topic"}
_NATIVE_DIRECTIVES |= {"epigraph", "parsed-literal", "replace", "unicode", "container", "compound", "sidebar"}
_NATIVE_DIRECTIVES |= {"default-role"}
_NATIVE_ROLES = {"math", "code", "emphasis", "strong", "literal", "sub", "sup", "subscript", "superscript"}


class _Translator(html5_polyglot.HTMLTranslator):
    formulas = 0

    def visit_math(self, node: nodes.Element) -> None:
        block = isinstance(node, nodes.math_block)
        code = node.astext().translate(unichar2tex.uni2tex_table)
        self.formulas += 1
        self.body.append(formula(code, block, self.settings.lode_math_style))
        raise nodes.SkipNode

    visit_math_block = visit_math


def formula(code: str, block: bool, style: str) -> str:
    """One TeX formula as a web page writes it. TeX that has no MathML is written with MathJax delimiters."""
    if style == "mathml":
        try:
            math = latex2mathml.tex2mathml(code, as_block=block)
        except (MathError, IndexError, KeyError, AttributeError, TypeError, ValueError, RecursionError):
            style = "mathjax"
        else:
            opening, rest = math.split(">", 1)
            inner = rest.rsplit("</math>", 1)[0]
            return (
                f'{opening}><semantics><mrow>{inner}</mrow><annotation encoding="application/x-tex">'
                f"{html.escape(code, quote=False)}</annotation></semantics></math>"
            )
    if style == "script" and "</" not in code and "<!--" not in code:
        mode = "; mode=display" if block else ""
        return f'<script type="math/tex{mode}">{code}</script>'
    escaped = html.escape(code, quote=False)
    if not block:
        return f'<span class="math notranslate nohighlight">\\({escaped}\\)</span>'
    if not code.lstrip().startswith("\\begin{"):
        escaped = f"\\[{html.escape(_aligned(code), quote=False)}\\]"
    return f'<div class="math notranslate nohighlight">\n{escaped}</div>\n'


def _aligned(code: str) -> str:
    if "\\\\" not in code:
        return code
    wrapped = wrap_math_code(code, True)
    return (
        wrapped.replace("equation*", "split")
        if "equation*" in wrapped
        else wrapped.replace("align*", "split")
    )


class _Writer(html5_polyglot.Writer):
    def __init__(self) -> None:
        super().__init__()
        self.translator_class = _Translator


@functools.cache
def _settings() -> Any:
    settings = docutils.frontend.get_default_settings(rst.Parser, html5_polyglot.Writer)
    settings.report_level = settings.halt_level = 5
    settings.file_insertion_enabled = settings.raw_enabled = False
    settings.doctitle_xform = settings.docinfo_xform = settings.sectsubtitle_xform = False
    settings.initial_header_level = 2
    settings.syntax_highlight = "none"
    settings.embed_stylesheet = False
    settings.stylesheet_path = settings.stylesheet = None
    settings.warning_stream = False
    settings.line_length_limit = MAX_SOURCE_CHARS
    settings.traceback = True
    settings.output_encoding = settings.input_encoding = "unicode"
    settings._disable_config = True
    settings.language_code = "en"
    return settings


def _restructured(text: str, style: str, default_role: str) -> tuple[str, int]:
    """The body of a text and its number of formulas; raises what docutils raises."""
    if _TEX_COMMAND.search(text):
        text = "\n".join(
            line if line.lstrip().startswith((">>>", "...")) else _DOLLARS.sub(r":math:`\1`", line)
            for line in text.split("\n")
        )
    _register(text)
    settings = _settings().copy()
    settings.lode_math_style = style
    # scipy and others paste shared paragraphs in when they are imported; nothing is imported here.
    text = f".. default-role:: {default_role}\n\n{_PASTED.sub('', text)}"
    writer = _Writer()
    parts = docutils.core.publish_parts(text, writer=writer, settings=settings)
    return parts["body"], writer.visitor.formulas


# --- furniture --------------------------------------------------------------------------------------------

_MATHJAX = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"
_MENUS = (
    ("Home", "User guide", "API reference", "Development", "Release notes"),
    ("Documentation", "Tutorials", "Reference", "Community", "Blog"),
    ("Install", "Getting started", "Manual", "FAQ", "Contribute", "Source code"),
)
_COOKIES = (
    "",
    "We use cookies to understand how the documentation is used. By continuing you accept our policy.",
    "This site stores a cookie to remember your theme. <button>Accept</button> <button>Decline</button>",
)
_FOOTERS = (
    "Created using Sphinx. Built with a theme by the documentation team.",
    "Last updated on Mon, 1 Jan 2024. Found a problem? Edit this page.",
    "All rights reserved. Terms of use | Privacy policy | Contact",
)


def _furniture(
    page: DocPage, title: str, body: str, links: list[tuple[str, str]], needs_mathjax: bool
) -> str:
    """What stands around the text: the same for all pages of a domain but for the names in it."""
    taste = xxhash.xxh3_64_intdigest(f"theme\n{page.domain}".encode())
    menu = _MENUS[taste % 3]
    cookies, footer = _COOKIES[taste // 3 % 3], _FOOTERS[taste // 9 % 3]
    package, heading = html.escape(page.package), html.escape(title)
    shown = html.escape(f"{title} — {page.package} {page.version} documentation")
    items = "".join(f'<li><a href="/{_slug(m)}/">{m}</a></li>' for m in menu)
    side = "".join(f'<li><a href="{html.escape(href)}">{html.escape(t)}</a></li>' for t, href in links)
    crumbs = " &raquo; ".join(
        f'<a href="/reference/">{html.escape(part)}</a>'
        for part in (page.package, *page.name.split(".")[:-1])
    )
    script = f'<script async src="{_MATHJAX}"></script>' if needs_mathjax else ""
    notice = f'<div class="cookie-banner" role="dialog">{cookies}</div>' if cookies else ""
    main, classes = (("main", "bd-main"), ("div", "body"), ("article", "content"))[taste // 27 % 3]
    role = ' role="main"' if main == "div" else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{shown}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/_static/theme.css">
<link rel="canonical" href="{html.escape(page.url)}">
{script}
</head>
<body>
{notice}
<header><a class="logo" href="/">{package}</a>
<nav aria-label="Main"><ul>{items}</ul></nav>
<form action="/search/" method="get"><input type="search" name="q" placeholder="Search the docs"></form>
</header>
<div class="breadcrumbs">{crumbs}</div>
<aside class="sidebar"><h3>On this site</h3><ul>{side}</ul></aside>
<{main} class="{classes}"{role}>
<h1>{heading}</h1>
{body}
</{main}>
<footer><p>&copy; Copyright the {package} developers.</p><p>{footer}</p></footer>
</body>
</html>
"""


def _slug(words: str) -> str:
    return words.lower().replace(" ", "-")
