r"""The formulas of a page as its own renderer would find them: ground truth that shares nothing with the extractor.

html5lib builds the tree, as browsers do; nothing here comes from `corpus`. Formulas come in document order,
each with how the page writes it. Text between delimiters is a formula only where the page's MathJax or KaTeX
configuration says so, within one run of text as those programs read it, so `$5 and $10` is none.

The rules: MathJax 2 `tex2jax`, MathJax 3/4 `FindTeX` and KaTeX auto-render as their manuals and defaults
state them. A page can load a configuration from a script that is not in the page; `Page.renderer` says what
could be seen, and formulas typed where no renderer was seen are `unrendered`, in no recall figure.
"""

import dataclasses
import html as entities
import re
import urllib.parse
from collections.abc import Iterator

import html5lib

MAX_FORMULA_CHARS = 50_000
CONTEXT_WORDS = 4

_SVG = "{http://www.w3.org/2000/svg}"
_SKIPPED = frozenset((
    "script", "noscript", "style", "textarea", "pre", "code", "select", "option", "template", "head", "title",
    "kbd", "samp", "tt", "xmp", "iframe", "annotation", "annotation-xml",
))  # fmt: skip
# What MathJax reads as part of one run of text; any other element ends the run.
_IN_RUN = {"br": "\n", "wbr": ""}
_DRAWN = frozenset(("MathJax", "MathJax_Display", "MathJax_Preview", "MathJax_SVG", "MathJax_SVG_Display",
                    "MathJax_CHTML", "MathJax_MathML", "MathJax_PHTML", "mjx-chtml"))  # fmt: skip
_LANDMARKS = frozenset(("nav", "header", "footer", "aside"))
_ROLES = frozenset(("navigation", "banner", "contentinfo", "complementary", "search"))


@dataclasses.dataclass(frozen=True, slots=True)
class TrueFormula:
    """One formula of a page. `tex` is as published, without delimiters; empty where the page has no LaTeX for it.

    `encoding` names the way it is written; `before` and `after` are the words next to it, without blanks or
    punctuation, in lower case; `landmark` says that it stands in navigation, a header, a footer or an aside.
    """

    tex: str
    encoding: str
    display: bool
    before: str = ""
    after: str = ""
    landmark: bool = False


@dataclasses.dataclass(slots=True)
class Page:
    formulas: list[TrueFormula]  # with LaTeX in the page
    sourceless: list[TrueFormula]  # MathML or glyphs alone: only conversion can give LaTeX
    unrendered: list[TrueFormula]  # typed, but no renderer was seen that would draw them
    renderer: str  # mathjax2, mathjax3, katex, documenter, none


# --- what the page's renderer takes for delimiters ----------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    renderer: str
    delimiters: tuple[tuple[str, str, bool], ...]  # opening, closing, display; longest first
    environments: bool
    ignore: re.Pattern[str] | None
    process: re.Pattern[str] | None
    skipped: frozenset[str]


_NEXT_PAIR = re.compile(
    r"""[\s,]{0,80}\[\s*(["'])((?:\\.|(?!\1).){1,30}?)\1\s*,\s*(["'])((?:\\.|(?!\3).){1,30}?)\3\s*\]"""
)
_LEFT_RIGHT = re.compile(
    r"""\{\s*["']?left["']?\s*:\s*(["'])((?:\\.|(?!\1).){1,40}?)\1\s*,\s*["']?right["']?\s*:\s*"""
    r"""(["'])((?:\\.|(?!\3).){1,40}?)\3\s*(?:,\s*["']?display["']?\s*:\s*(true|false|!0|!1))?"""
)
_MATHJAX_2 = re.compile(r"MathJax\.Hub|text/x-mathjax-config|MathJax\.js", re.I)
_MATHJAX_3 = re.compile(
    r"mathjax@?/?[34]|startMathJax|\b(?:tex|mml)(?:-mml|-svg|-chtml){1,2}(?:-full|-nofont)?\.js"
    r"|MathJax\s*=\s*\{|mathjax/es5|mathjax@latest",
    re.I,
)
_ENVIRONMENT_KATEX = ("equation", "align", "alignat", "gather", "CD")
_DEFAULT_INLINE = (("\\(", "\\)", False),)
_DEFAULT_DISPLAY = (("$$", "$$", True), ("\\[", "\\]", True))
_DOLLAR = ("$", "$", False)
_SKIP_ALWAYS = frozenset(
    ("script", "noscript", "style", "textarea", "pre", "code", "annotation", "annotation-xml")
)


def rules_of(scripts: str, sources: list[str], generator: str) -> Rules:
    """`scripts` is the text of all inline scripts, `sources` the addresses of all others."""
    loaded = "\n".join(sources)
    both = f"{loaded}\n{scripts}"
    if "renderMathInElement" in scripts or "auto-render" in loaded:
        found = [(_js(m[2]), _js(m[4]), m[5] in ("true", "!0")) for m in _LEFT_RIGHT.finditer(scripts)]
        pairs = found or [*_DEFAULT_DISPLAY, *_DEFAULT_INLINE]
        return _rules("katex", pairs, not found, "", "", None)
    if "documenter" in loaded.lower() or "documenter" in generator.lower():
        return _rules("documenter", [*_DEFAULT_DISPLAY, _DOLLAR], False, "", "", None)
    third, second = _MATHJAX_3.search(both), _MATHJAX_2.search(both)
    if not third and not second:
        return Rules(
            "katex" if re.search("katex", both, re.I) else "none", (), False, None, None, _SKIP_ALWAYS
        )
    inline = _pairs(scripts, "inlineMath", False, list(_DEFAULT_INLINE))
    display = _pairs(scripts, "displayMath", True, list(_DEFAULT_DISPLAY))
    ignore = (
        _setting(scripts, "ignoreHtmlClass" if third else "ignoreClass") or "tex2jax_ignore|mathjax_ignore"
    )
    process = (
        _setting(scripts, "processHtmlClass" if third else "processClass")
        or "tex2jax_process|mathjax_process"
    )
    if "startMathJax" in scripts:  # PreTeXt's own start script, whose settings are not in the page
        ignore, process = "tex2jax_ignore|ignore-math", "process-math"
    environments = re.search(r"processEnvironments[\"']?\s*:\s*(?:false|!1)", scripts) is None
    skipped = re.search(r"(?:skipHtmlTags|skipTags)[\"']?\s*:\s*\[([^\]]{0,400})\]", scripts)
    tags = frozenset(re.findall(r"[\"']([a-z-]+)[\"']", skipped[1])) if skipped else None
    name = "mathjax3" if third else "mathjax2"
    return _rules(name, [*inline, *display], environments, ignore, process, tags)


def _rules(name, pairs, environments, ignore, process, skipped) -> Rules:
    ordered = sorted({pair[0]: pair for pair in pairs}.values(), key=lambda pair: -len(pair[0]))
    return Rules(
        name, tuple(ordered), environments, _classes(ignore), _classes(process),
        (_SKIP_ALWAYS if skipped is None else skipped | {"script", "style", "annotation"}),
    )  # fmt: skip


def _js(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal)


def _pairs(scripts: str, name: str, display: bool, default: list) -> list:
    """The delimiters a MathJax configuration gives under `name`; `default` where it gives none."""
    found = re.search(name + r"""["']?\s*:\s*(\{\s*["']\[\+\]["']\s*:\s*)?\[""", scripts)
    if not found:
        return default
    pairs, at = [], found.end()
    while match := _NEXT_PAIR.match(scripts, at):
        pairs.append((_js(match[2]), _js(match[4]), display))
        at = match.end()
    return default + pairs if found[1] else pairs


def _setting(scripts: str, name: str) -> str:
    found = re.search(name + r"""["']?\s*:\s*(["'])([^"'\n]{0,200})\1""", scripts)
    return found[2] if found else ""


def _classes(names: str) -> re.Pattern[str] | None:
    try:
        return re.compile(rf"(?:^|\s)(?:{names})(?:\s|$)") if names else None
    except re.error:
        return None


# --- typed formulas -----------------------------------------------------------------------------------------

_ENVIRONMENT = r"\\begin\{(?P<name>[A-Za-z]{1,20}\*?)\}"


def typed(text: str, rules: Rules) -> Iterator[tuple[int, int, str, bool]]:
    """(start, end, tex, display) of the formulas that the page's renderer finds in one run of text."""
    if not rules.delimiters and not rules.environments:
        return
    closings = {opening: (closing, display) for opening, closing, display in rules.delimiters}
    starts = [re.escape(opening) for opening, _, _ in rules.delimiters]
    if rules.environments:
        starts.append(_ENVIRONMENT)
    # An escaped dollar or a double backslash opens nothing; a delimiter may itself begin with a backslash.
    opener = re.compile("|".join([r"\\\\(?=[(\[])|\\\$", *starts]))
    hopeless: set[str] = set()
    at = 0
    while match := opener.search(text, at):
        at = match.end()
        name = match.groupdict().get("name")
        if name:
            allowed = rules.renderer != "katex" or name.rstrip("*") in _ENVIRONMENT_KATEX
            closing, display = f"\\end{{{name}}}", True
            if not allowed:
                continue
        elif match[0] in closings:
            closing, display = closings[match[0]]
        else:
            continue
        if match[0] in hopeless:
            continue
        end = _end(text, match.end(), closing)
        if end is None:
            hopeless.add(match[0])
            continue
        tex = text[match.start() : end] if name else text[match.end() : end - len(closing)]
        if tex.strip():
            yield match.start(), end, tex, display
        at = end


def _end(text: str, start: int, closing: str) -> int | None:
    """Where a formula that begins at `start` is closed, outside of braces; None where it is not."""
    token = re.compile(rf"{re.escape(closing)}|\\(?:[A-Za-z]|.)|[{{}}]", re.S)
    depth = 0
    for match in token.finditer(text, start, min(len(text), start + MAX_FORMULA_CHARS)):
        if match[0] == closing and depth <= 0:
            return match.end()
        depth += (match[0] == "{") - (match[0] == "}")
    return None


_ANY = Rules("any", (*_DEFAULT_DISPLAY, *_DEFAULT_INLINE, _DOLLAR), True, None, None, _SKIP_ALWAYS)
_TEX_SIGN = re.compile(r"\\[A-Za-z]+|[\^_]")


# --- the page -----------------------------------------------------------------------------------------------


_XML_EMPTY = re.compile(r"<(script|style|title|textarea|iframe|noscript)\b([^<>]{0,2000})/>", re.I)


def parse(html: str):
    """The tree a browser builds; XHTML's empty `<script/>` does not swallow the page."""
    if html[:200].lstrip("\ufeff \r\n\t").startswith("<?xml"):
        html = _XML_EMPTY.sub(r"<\1\2></\1>", html)
    return html5lib.parse(html, treebuilder="etree", namespaceHTMLElements=False)


def read(html: str) -> Page:
    """All formulas of a page. `html` is decoded text."""
    return _Reader(parse(html)).page()


class _Reader:
    def __init__(self, root):
        self.root = root
        scripts, sources, generator = [], [], ""
        for element in root.iter():
            if element.tag == "script":
                sources.append(f"{element.get('src') or ''} {element.get('data-main') or ''}")
                if not (element.get("type") or "").startswith("math/"):
                    scripts.append(f"{element.get('type') or ''}\n{element.text or ''}")
            elif element.tag == "meta" and (element.get("name") or "").lower() == "generator":
                generator = element.get("content") or ""
        self.rules = rules_of("\n".join(scripts), sources, generator)
        self.stream: list = []  # words, and formulas between them
        self.run: list[str] = []
        self.kinds: list[str] = []

    def page(self) -> Page:
        body = self.root.find("body")
        if body is not None:
            self._walk(body)
        formulas, sourceless, unrendered = [], [], []
        for index, thing in enumerate(self.stream):
            if isinstance(thing, str):
                continue
            kind, formula = thing
            near = dataclasses.replace(
                formula, before=self._context(index, -1), after=self._context(index, 1)
            )
            {"formula": formulas, "sourceless": sourceless, "unrendered": unrendered}[kind].append(near)
        return Page(formulas, sourceless, unrendered, self.rules.renderer)

    def _context(self, index: int, step: int) -> str:
        words: list[str] = []
        at = index + step
        while 0 <= at < len(self.stream) and isinstance(self.stream[at], str) and len(words) < CONTEXT_WORDS:
            if self.stream[at] == "":  # code, an image: text may not go on behind it
                break
            words.append(self.stream[at])
            at += step
        return "".join(words[::step])

    def _walk(self, body) -> None:
        """Document order without recursion: pages nest deeper than Python's stack."""
        state = (True, False, "")  # typed text is read here; in a landmark; class of the formula's container
        stack: list = [("open", body, state)]
        while stack:
            action, element, state = stack.pop()
            if action == "tail":
                self._text(element.tail)
                continue
            if action == "close":
                self._flush(state)
                continue
            tag = element.tag
            if not isinstance(tag, str):  # a comment: the run goes on
                continue
            name = _local_name(element)
            if name in _IN_RUN:
                self.run.append(_IN_RUN[name])
                continue
            self._flush(state)
            inner = self._state(element, name, state)
            if self._formula(element, name, inner):
                continue
            if name in _SKIPPED or name in self.rules.skipped:
                if name in ("pre", "code", "kbd", "samp", "tt", "xmp", "textarea"):
                    self.stream.append("")
                continue
            self._text(element.text)
            stack.append(("close", element, inner))
            for child in reversed(element):
                stack.append(("tail", child, inner))
                stack.append(("open", child, inner))

    def _state(self, element, name: str, state):
        typed_here, landmark, container = state
        classes = element.get("class") or ""
        if self.rules.ignore and self.rules.ignore.search(classes):
            typed_here = False
        if self.rules.process and self.rules.process.search(classes):
            typed_here = True
        landmark = landmark or name in _LANDMARKS or (element.get("role") or "") in _ROLES
        names = classes.split()
        container = next((c for c in ("math-container", "arithmatex", "math", "tex") if c in names), "")
        return typed_here, landmark, container

    def _text(self, text: str | None) -> None:
        if text:
            self.run.append(text)

    def _flush(self, state) -> None:
        """Read one run of text: formulas between the delimiters that count here, words for the rest."""
        text = "".join(self.run)
        self.run.clear()
        if not text.strip():
            return
        typed_here, landmark, container = state
        if container == "math-container":  # Stack Exchange: its script is never in the page
            found = list(typed(text, _ANY))
            kind, encoding = "formula", "math-container"
        elif typed_here and (self.rules.delimiters or self.rules.environments):
            found = list(typed(text, self.rules))
            kind, encoding = "formula", ""
        elif container:
            found = list(typed(text, _ANY))
            kind = "formula" if self.rules.renderer != "none" else "unrendered"
            encoding = "class"
            # A script may render it by its class; without one a reader sees what is typed (Texinfo's <em>).
            if not found and (kind == "unrendered" or _TEX_SIGN.search(text)) and len(text) < 1000:
                found = [(0, len(text), text, False)]
        else:
            found = [f for f in typed(text, _ANY) if _TEX_SIGN.search(f[2])] if typed_here else []
            kind, encoding = "unrendered", "unrendered"
        at = 0
        for start, end, tex, display in found:
            self.stream += _words(text[at:start])
            named = encoding or _typed_name(text[start : start + 2], self.rules.renderer)
            self.stream.append((kind, TrueFormula(tex, named, display, landmark=landmark)))
            at = end
        self.stream += _words(text[at:])

    def _add(self, tex: str | None, encoding: str, display: bool, state) -> bool:
        tex = tex or ""
        kind = "formula" if tex.strip() else "sourceless"
        self.stream.append((kind, TrueFormula(tex, encoding, display, landmark=state[1])))
        return True

    def _formula(self, element, name: str, state) -> bool:
        """Record the formula an element stands for; True where nothing inside needs a look."""
        classes = set((element.get("class") or "").split())
        if name == "script":
            kind = (element.get("type") or "").lower().replace(" ", "")
            if kind.startswith("math/tex"):
                display = "mode=display" in kind
                if (element.text or "").strip():
                    self._add(element.text, "script-display" if display else "script", display, state)
            elif kind.startswith(("math/mml", "math/asciimath")):
                self._add("", kind.partition(";")[0], False, state)
            return True
        if name == "math":
            tex, encoding = _math_source(element)
            return self._add(tex, encoding, element.get("display") == "block", state)
        if classes & {"mwe-math-element", "mwe-math-element-inline", "mwe-math-element-block"}:
            tex = next((s for s in (_math_source(m)[0] for m in _maths(element)) if s), "") or next(
                (i.get("alt") for i in element.iter("img") if i.get("alt")), ""
            )
            return self._add(tex, "wikipedia", "mwe-math-element-block" in classes, state)
        if name == "mjx-container":
            tex = (
                element.get("data-latex")
                or next((e.get("data-latex") for e in element.iter() if e.get("data-latex")), "")
                or next((s for s in (_math_source(m)[0] for m in _maths(element)) if s), "")
            )
            return self._add(tex, "mjx-container", element.get("display") in ("true", "block"), state)
        if classes & _DRAWN:
            # The script behind it is the source. Without one, assistive MathML is all there is.
            if self._script_follows(element):
                return True
            maths = list(_maths(element))
            stored = next((e.get("data-mathml") for e in element.iter() if e.get("data-mathml")), None)
            if maths or stored:
                tex = next((s for s in (_math_source(m)[0] for m in maths) if s), "")
                return self._add(tex, "mathjax2-drawn", False, state)
            return True
        if "katex" in classes:
            tex = next((s for s in (_math_source(m)[0] for m in _maths(element)) if s), "")
            return self._add(tex, "katex", False, state)
        if name == "img":
            tex, encoding = _image_source(element, classes)
            if encoding:
                self._add(tex, encoding, False, state)
            else:
                self.stream.append("")
            return True
        return element.tag.startswith(_SVG)

    def _script_follows(self, element) -> bool:
        if any((s.get("type") or "").startswith("math/") for s in element.iter("script")):
            return False
        if not hasattr(self, "parents"):
            self.parents = {child: parent for parent in self.root.iter() for child in parent}
            self.places = {}
        parent = self.parents.get(element)
        for _ in range(2):
            siblings = list(parent) if parent is not None else []
            behind = siblings[siblings.index(element) + 1 :][:3] if siblings else []
            for sibling in behind:
                if sibling.tag == "script" and (sibling.get("type") or "").startswith("math/"):
                    return True
                if not set((sibling.get("class") or "").split()) & _DRAWN:
                    break
            # MathJax 2 wraps displayed equations once more.
            if parent is None or not set((parent.get("class") or "").split()) & _DRAWN:
                return False
            element, parent = parent, self.parents.get(parent)
        return False


def _local_name(element) -> str:
    return element.tag.rpartition("}")[2].rpartition(":")[2].lower() if isinstance(element.tag, str) else ""


def _maths(element) -> Iterator:
    return (each for each in element.iter() if _local_name(each) == "math")


def _math_source(math) -> tuple[str, str]:
    """(TeX, encoding) of a MathML element; no TeX where the page gives none."""
    for element in math.iter():
        if _local_name(element) == "annotation" and "tex" in (element.get("encoding") or "").lower():
            text = "".join(element.itertext())
            if text.strip():
                return text, "mathml-annotation"
    alt = math.get("alttext") or ""
    if alt.strip() and (_TEX_SIGN.search(alt) or not re.search(r"[a-z]{3,} [a-z]+", alt)):
        return alt, "alttext"
    return "", "mathml"


_TEX_IMAGE = frozenset(("latex", "tex", "math", "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display",
                        "ql-img-inline-formula", "ql-img-displayed-equation"))  # fmt: skip
_QUERY = re.compile(
    r"codecogs\.com/[^?]*\?(.*)|(?:mimetex|mathtex|tex)\.cgi\?(.*)|[?&](?:cht=tx&chl|tex|latex)=([^&]*)", re.S
)


def _image_source(image, classes: set[str]) -> tuple[str, str]:
    source, alt = image.get("src") or "", image.get("alt") or image.get("title") or ""
    if "latex.php" in source:
        query = urllib.parse.urlsplit(source).query
        value = urllib.parse.parse_qs(query, keep_blank_values=True).get("latex", [""])[0]
        return (alt if alt.strip() else value), "wordpress-image"
    found = _QUERY.search(source)
    if found:
        raw = next(group for group in found.groups() if group is not None)
        tex = urllib.parse.unquote(raw.replace("&space;", " ").replace("&plus;", "+"))
        tex = re.sub(
            r"\\(?:inline|dpi\s*\{\d+\}|bg_\w+|fn_\w+|(?:tiny|small|large|huge)(?![A-Za-z]))\s*", "", tex
        )
        return tex, "codecogs-image" if "codecogs" in source else "cgi-image"
    if classes & _TEX_IMAGE:
        if "mwe-math" in " ".join(classes):
            return alt, "wikipedia"
        return (
            (alt, "image-alt") if alt.strip() and (_TEX_SIGN.search(alt) or len(alt) <= 12) else ("", "image")
        )
    return "", ""


def _typed_name(opening: str, renderer: str) -> str:
    kind = (
        "environment"
        if opening == "\\b"
        else opening
        if opening in ("$$", "\\(", "\\[")
        else "$"
        if opening[:1] == "$"
        else "other"
    )
    return f"typed {kind}"


def _words(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[^\W_]+", text)]


# --- comparing ----------------------------------------------------------------------------------------------

_OUTER = re.compile(
    r"\\begin\{(equation|align|aligned|split|gather|gathered|multline|eqnarray|displaymath|flalign)(\*?)\}"
    r"(.*)\\end\{\1\2\}",
    re.S,
)
_SIGN = re.compile(r"[\\^_=+/<>{}-]")


def normalise(tex: str) -> str:
    r"""A formula as it is compared: no blanks, `\label`, `\displaystyle`, outer braces or environment, escapes.

    Dollars and `\(` inside, in `\text`, count as one: an output in dollars cannot hold dollars.
    """
    tex = re.sub(
        r"(?<!\\)(?:\\\\)*\\[()]|\\?\$",
        lambda m: m[0][:-2] if m[0][-1] in "()" else "",
        entities.unescape(tex),
    )
    tex = re.sub(r"\\label\s*\{[^{}]*\}|\\(?:displaystyle|textstyle)(?![A-Za-z])", "", tex)
    tex = re.sub(r"\s+", "", tex)
    while True:
        whole = _OUTER.fullmatch(tex)
        if whole and f"\\begin{{{whole[1]}{whole[2]}}}" not in whole[3]:
            tex = whole[3]
        elif tex.startswith("{") and tex.endswith("}") and _is_one_group(tex):
            tex = tex[1:-1]
        else:
            break
    return re.sub(r"\\([_*#&%$\[\]()~`!.+-])", r"\1", tex)


def _is_one_group(tex: str) -> bool:
    depth = 0
    for match in re.finditer(r"\\.|[{}]", tex, re.S):
        depth += (match[0] == "{") - (match[0] == "}")
        if depth == 0:
            return match.end() == len(tex)
    return False


def is_trivial(normal: str) -> bool:
    """Whether a normalised formula is too short or plain to tell that it was found, or defines instead of says."""
    return (
        len(normal) < 4
        or not _SIGN.search(normal)
        or normal.startswith(
            ("\\begingroup", "\\newcommand", "\\renewcommand", "\\def\\", "\\endgroup", "\\require")
        )
        or "\\PageIndex" in normal
    )
