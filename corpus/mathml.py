"""Presentation MathML to LaTeX (MathML Core and the MathML 3 elements that pages still carry).

Works on an lxml element of any namespace or prefix, as browsers, word processors and LaTeXML write them. What
it cannot know (colours, exact spacing) is left out; no text is.
"""

import re
import unicodedata

from lxml import etree

from corpus.mathml_symbols import (
    BIG,
    CLOSE,
    FUNCTIONS,
    INTEGRALS,
    MATRICES,
    NOTATIONS,
    OPEN,
    OVER,
    SYMBOLS,
    TALL,
    UNDER,
    UNICODE_STYLES,
    VARIANTS,
    WIDE,
)

# Deeper trees are hostile: real formulas stay below thirty levels.
MAX_DEPTH = 100

_CONTROL_WORD = re.compile(r"\\[A-Za-z]+\Z")
_SINGLE = re.compile(r"[^\\{}\s_^&]|\\[A-Za-z]+|\\[^A-Za-z]|\\[A-Za-z]+\{[^{}]*\}|\{[^{}]*\}")


class TooDeepError(ValueError):
    """A formula is nested deeper than MAX_DEPTH."""


def mathml_to_latex(math: etree._Element) -> str:
    """LaTeX (without delimiters) of a `math` element or any Presentation MathML element in it.

    Raises TooDeepError where the tree is deeper than MAX_DEPTH.
    """
    return _element(math, 0).strip()


def local_name(element: etree._Element) -> str:
    """The tag without namespace or prefix, in lower case; empty for comments and processing instructions."""
    tag = element.tag
    return tag.rsplit("}", 1)[-1].rsplit(":", 1)[-1].lower() if isinstance(tag, str) else ""


def _children(element: etree._Element) -> list[etree._Element]:
    return [child for child in element if isinstance(child.tag, str)]


def _text(element: etree._Element) -> str:
    return re.sub(r"[ \t\r\n]+", " ", "".join(element.itertext())).strip(" ")


def _join(parts: list[str]) -> str:
    """Concatenation with a space only where a control word would swallow the letter behind it."""
    out: list[str] = []
    for part in filter(None, parts):
        if out and part[0].isalpha() and _CONTROL_WORD.search(out[-1]):
            out.append(" ")
        out.append(part)
    return "".join(out)


def _row(elements: list[etree._Element], depth: int) -> str:
    fenced = _fenced_row(elements, depth) if len(elements) > 1 else None
    return fenced if fenced is not None else _join([_element(child, depth) for child in elements])


def _element(element: etree._Element, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise TooDeepError(f"MathML deeper than {MAX_DEPTH} levels")
    name = local_name(element)
    handler = _HANDLERS.get(name)
    if handler is not None:
        return handler(element, _children(element), depth + 1)
    children = _children(element)
    return _row(children, depth + 1) if children else _symbols(_text(element))


def _argument(children: list[etree._Element], index: int, depth: int) -> str:
    return _element(children[index], depth) if index < len(children) else ""


def _base(latex: str) -> str:
    """Something that can carry a script: one atom, or a group."""
    return latex if _SINGLE.fullmatch(latex) else "{" + latex + "}"


def _symbols(text: str) -> str:
    return _join([_symbol(char) for char in text])


def _symbol(char: str) -> str:
    known = SYMBOLS.get(char)
    if known is not None:
        return known
    if ord(char) > 0x2100 and (name := unicodedata.name(char, "")):
        plain = unicodedata.normalize("NFKC", char)
        if len(plain) == 1 and plain != char and (name.startswith("MATHEMATICAL ") or plain.isalnum()):
            style = next((command for words, command in UNICODE_STYLES if words in name), "")
            inner = SYMBOLS.get(plain, plain)
            return f"{style}{{{inner}}}" if style else inner
    return char


def _identifier(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    text = _text(element)
    if not text:
        return ""
    variant = element.get("mathvariant", "")
    if len(text) > 1 and text.isascii() and text.isalpha():
        if text in FUNCTIONS:
            return "\\" + text
        return f"{VARIANTS.get(variant, '') or chr(92) + 'mathrm'}{{{text}}}"
    if text in ("lim sup", "lim inf"):
        return "\\" + text.replace(" ", "")
    latex = _symbols(text)
    command = VARIANTS.get(variant)
    if command == "\\mathrm" and not (len(text) == 1 and text.isascii() and text.isalpha()):
        return latex
    return f"{command}{{{latex}}}" if command else latex


def _number(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    latex = _symbols(_text(element))
    command = VARIANTS.get(element.get("mathvariant", ""))
    return f"{command}{{{latex}}}" if command and command != "\\mathrm" else latex


def _operator(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    text = _text(element)
    if text in FUNCTIONS or text in ("lim sup", "lim inf"):
        return "\\" + text.replace(" ", "")
    if len(text) > 1 and text.isascii() and text.isalpha():
        return f"\\operatorname{{{text}}}"
    if text == "mod":
        return "\\bmod"
    return _symbols(text)


def _words(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    text = re.sub(r"[ \t\r\n]+", " ", "".join(element.itertext())).replace("\u00a0", " ")
    if not text.strip():
        return "\\ " if text else ""
    return (
        "\\text{"
        + re.sub(r"[{}%#&_$]", lambda found: "\\" + found[0], text.replace("\\", "\\backslash "))
        + "}"
    )


def _string(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    return "\\text{“" + _words(element, children, depth)[6:-1] + "”}"


def _space(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    if element.get("linebreak") == "newline":
        return "\\\\ "
    width = re.fullmatch(r"\s*([\d.]{1,8})\s*em\s*", element.get("width", ""))
    if not width or width[1].count(".") > 1:
        return ""
    em = float(width[1].strip(".") or 0)
    return (
        "\\qquad "
        if em >= 2
        else "\\quad "
        if em >= 1
        else "\\;"
        if em >= 0.25
        else "\\,"
        if em >= 0.15
        else ""
    )


def _fraction(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    top, bottom = _argument(children, 0, depth), _argument(children, 1, depth)
    if re.fullmatch(r"\s*0\D*", element.get("linethickness", "")):
        return f"\\genfrac{{}}{{}}{{0pt}}{{}}{{{top}}}{{{bottom}}}"
    return f"\\frac{{{top}}}{{{bottom}}}"


def _root(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    return f"\\sqrt[{_argument(children, 1, depth)}]{{{_argument(children, 0, depth)}}}"


def _scripts(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    name = local_name(element)
    base = _base(_argument(children, 0, depth))
    below = _argument(children, 1, depth) if name != "msup" else ""
    above = _argument(children, 2 if name == "msubsup" else 1, depth) if name != "msub" else ""
    out = base + (f"_{{{below}}}" if below else "")
    if above and set(above.replace("\\prime", "'").replace(" ", "")) == {"'"}:
        return out + above.replace("\\prime", "'").replace(" ", "")
    return out + (f"^{{{above}}}" if above else "")


def _limits(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    name = local_name(element)
    base = _argument(children, 0, depth)
    under = children[1] if name != "mover" and len(children) > 1 else None
    over = children[-1] if name != "munder" and len(children) > 1 else None
    word = _text(children[0]) if children else ""
    if word in BIG or word in INTEGRALS:
        out = base + ("\\limits" if word in INTEGRALS else "")
        out += f"_{{{_element(under, depth)}}}" if under is not None else ""
        return out + (f"^{{{_element(over, depth)}}}" if over is not None else "")
    if under is not None:
        command = UNDER.get(_text(under)) if local_name(under) == "mo" else None
        if base.startswith("\\underbrace") or (
            over is None and base.endswith("}") and "\\underbrace{" in base[:12]
        ):
            base = f"{base}_{{{_element(under, depth)}}}"
        else:
            base = f"{command}{{{base}}}" if command else f"\\underset{{{_element(under, depth)}}}{{{base}}}"
    if over is not None:
        mark = _text(over)
        command = OVER.get(mark) if local_name(over) == "mo" else None
        if command and over.get("stretchy") != "false" and len(word) > 1:
            command = WIDE.get(command, command)
        if base.startswith("\\overbrace"):
            base = f"{base}^{{{_element(over, depth)}}}"
        else:
            base = f"{command}{{{base}}}" if command else f"\\overset{{{_element(over, depth)}}}{{{base}}}"
    return base


def _multiscripts(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    if not children:
        return ""
    before = after = ""
    in_front = False
    scripts = children[1:]
    index = 0
    while index < len(scripts):
        if local_name(scripts[index]) == "mprescripts":
            in_front, index = True, index + 1
            continue
        pair = ""
        for sign, script in zip("_^", scripts[index : index + 2], strict=False):
            latex = "" if local_name(script) == "none" else _element(script, depth)
            pair += f"{sign}{{{latex}}}" if latex else ""
        if in_front:
            before += pair and "{}" + pair
        else:
            after += ("{}" if after and pair else "") + pair
        index += 2
    return before + _base(_element(children[0], depth)) + after


def _matrix(element: etree._Element, children: list[etree._Element], depth: int, kind: str = "") -> str:
    rows = []
    for row in children:
        cells = _children(row)
        if local_name(row) == "mlabeledtr":  # its first cell is the equation number
            cells = cells[1:]
        if local_name(row) == "mtd":
            cells = [row]
        rows.append(" & ".join(_element(cell, depth + 1).strip() for cell in cells))
    if not kind:
        aligns = (element.get("columnalign") or "").split()
        kind = "aligned" if aligns[:2] == ["right", "left"] else "matrix"
    body = " \\\\ ".join(rows)
    return f"\\begin{{{kind}}}{body}\\end{{{kind}}}" if rows else ""


def _fence(char: str, side: str) -> str:
    return f"\\{side}{_symbols(char) or '.'}"


def _fenced_row(elements: list[etree._Element], depth: int) -> str | None:
    """A row in brackets that grow: matrices, binomials, cases, and brackets around something tall."""
    opening = _text(elements[0]) if local_name(elements[0]) == "mo" else ""
    if not opening or opening not in OPEN:
        return None
    last = elements[-1]
    closing = _text(last) if local_name(last) == "mo" else None
    if closing is None or (closing and closing not in CLOSE):
        inner, closing = elements[1:], ""
        if opening != "{" or len(inner) != 1 or local_name(inner[0]) != "mtable":
            return None
    else:
        inner = elements[1:-1]
    core = inner[0] if len(inner) == 1 else None
    while (
        core is not None and local_name(core) in ("mrow", "mstyle", "mpadded") and len(_children(core)) == 1
    ):
        core = _children(core)[0]
    if core is not None and local_name(core) == "mtable" and (opening, closing) in MATRICES:
        return _matrix(core, _children(core), depth + 1, MATRICES[opening, closing])
    if core is not None and local_name(core) == "mfrac" and (opening, closing) == ("(", ")"):
        latex = _element(core, depth)
        if latex.startswith("\\genfrac{}{}{0pt}{}"):
            return "\\binom" + latex[len("\\genfrac{}{}{0pt}{}") :]
    growing = elements[0].get("stretchy") != "false" and any(
        local_name(node) in TALL for child in inner for node in child.iter()
    )
    if not growing or any(
        _text(child) in tuple(OPEN + CLOSE) for child in inner if local_name(child) == "mo"
    ):
        return None
    body = _row(inner, depth)
    left = _fence(opening, "left")
    return f"{_join([left, body])}{_fence(closing, 'right')}"


def _fenced(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    opening, closing = element.get("open", "(").strip(), element.get("close", ")").strip()
    separators = element.get("separators", ",").replace(" ", "")
    if len(children) == 1:
        core = children[0]
        while local_name(core) in ("mrow", "mstyle") and len(_children(core)) == 1:
            core = _children(core)[0]
        if local_name(core) == "mtable" and (opening, closing) in MATRICES:
            return _matrix(core, _children(core), depth, MATRICES[opening, closing])
    parts: list[str] = []
    for index, child in enumerate(children):
        if index and separators:
            parts.append(_symbols(separators[min(index - 1, len(separators) - 1)]))
        parts.append(_element(child, depth))
    return _join([_fence(opening, "left"), *parts]) + _fence(closing, "right")


def _enclosed(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    body = _row(children, depth)
    notation = element.get("notation", "longdiv").split()
    for word, command in NOTATIONS:
        if word in notation:
            return f"{command}{{{body}}}"
    return body


def _wrapped(command: str):
    return lambda element, children, depth: f"{command}{{{_row(children, depth)}}}"


def _first(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    return _argument(children, 0, depth)


def _nothing(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    return ""


_HANDLERS = {
    "mi": _identifier, "mn": _number, "mo": _operator, "mtext": _words, "ms": _string, "mspace": _space,
    "mfrac": _fraction, "msqrt": _wrapped("\\sqrt"), "mroot": _root, "mphantom": _wrapped("\\phantom"),
    "msub": _scripts, "msup": _scripts, "msubsup": _scripts, "munder": _limits, "mover": _limits,
    "munderover": _limits, "mmultiscripts": _multiscripts, "mtable": _matrix, "mfenced": _fenced,
    "menclose": _enclosed, "semantics": _first, "maction": _first, "annotation": _nothing,
    "annotation-xml": _nothing, "none": _nothing, "mprescripts": _nothing, "maligngroup": _nothing,
    "malignmark": _nothing,
}  # fmt: skip
