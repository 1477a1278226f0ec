"""MathML to LaTeX: MathML Core, the MathML 3 elements that pages still carry, and Content MathML.

Works on an lxml element of any namespace or prefix, as browsers, word processors and LaTeXML write them. What
it cannot know (colours, exact spacing) is left out; no text is.
"""

import re
import unicodedata

from lxml import etree

from corpus.charset import nfc
from corpus.content_mathml import content_to_latex, is_content
from corpus.mathml_symbols import (
    ARROWS,
    BIG,
    CLOSE,
    FUNCTIONS,
    INTEGRALS,
    INVISIBLE,
    MATRICES,
    NOTATIONS,
    OPEN,
    OVER,
    SYMBOLS,
    TALL,
    TEXT_VARIANTS,
    UNDER,
    UNICODE_STYLES,
    VARIANTS,
    WIDE,
    escaped,
    joined,
)
from corpus.mathml_tree import MAX_DEPTH, TooDeepError, children_of, local_name, text_of

# Stands for a product without a sign until it is known whether digits meet there.
_TIMES = "\u2062"
_GROUPS = ("math", "mrow", "mstyle", "mpadded", "semantics", "merror")
_SINGLE = re.compile(r"[^\\{}\s_^&]|\\[A-Za-z]+|\\[^A-Za-z]|\\[A-Za-z]+\{[^{}]*\}|\{[^{}]*\}")


def mathml_to_latex(math: etree._Element) -> str:
    """LaTeX (without delimiters) of a `math` element or any MathML element in it.

    Raises TooDeepError where the tree is deeper than MAX_DEPTH.
    """
    return (_numbered(math) or _element(math, 0)).replace(_TIMES, "").strip()


def _numbered(math: etree._Element) -> str | None:
    """Equations that are a table with their numbers in front: what MathJax makes of numbered displays."""
    core = math
    while len(children := children_of(core)) == 1 and local_name(core) in _GROUPS:
        core = children[0]
    rows = children_of(core)
    if local_name(core) != "mtable" or not any(local_name(row) == "mlabeledtr" for row in rows):
        return None
    lines = []
    columns = 1
    for row in rows:
        cells = children_of(row)
        label = text_of(cells.pop(0)) if local_name(row) == "mlabeledtr" and cells else ""
        star = "" if re.match(r"\(.*\)\Z", label, re.S) else "*"
        tag = escaped(label if star else label[1:-1])
        columns = max(columns, len(cells))
        line = " & ".join(_element(cell, 2).strip() for cell in cells)
        lines.append(f"{line} \\tag{star}{{{tag}}}" if label else line)
    if len(lines) == 1 and columns == 1:
        return lines[0]
    kind = "align*" if columns > 1 else "gather*"
    body = " \\\\ ".join(lines)
    return f"\\begin{{{kind}}}{body}\\end{{{kind}}}"


def _join(parts: list[str]) -> str:
    """LaTeX side by side, a thin space for the product of two numbers."""
    out: list[str] = []
    for part in filter(None, parts):
        if out and out[-1] == _TIMES and part != _TIMES:
            out.pop()
            if out and out[-1][-1].isdigit() and part[0].isdigit():
                out.append("\\,")
        out.append(part)
    return joined(out)


def _row(elements: list[etree._Element], depth: int) -> str:
    fenced = _fenced_row(elements, depth) if len(elements) > 1 else None
    if fenced is not None:
        return fenced
    latex = _join([_element(child, depth) for child in elements])
    return _LETTER_BY_LETTER.sub(_one_word, latex) if "}\\math" in latex else latex


# Upright words that a renderer took apart.
_LETTER_BY_LETTER = re.compile(r"(\\math(?:rm|sf|tt))\{\w\}(?:\1\{\w\})+")


def _one_word(found: re.Match[str]) -> str:
    return f"{found[1]}{{{found[0].replace(found[1], '').replace('{', '').replace('}', '')}}}"


def _element(element: etree._Element, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise TooDeepError(f"MathML deeper than {MAX_DEPTH} levels")
    name = local_name(element)
    children = children_of(element)
    if is_content(name):
        return content_to_latex(element, depth, _element)
    handler = _HANDLERS.get(name)
    # KaTeX wraps whole formulas in `mi` and `mo` to set their spacing.
    if handler is not None and not (
        children and name in ("mi", "mo", "mn") and local_name(children[0]) in _HANDLERS
    ):
        return handler(element, children, depth + 1)
    return _row(children, depth + 1) if children else symbols_to_latex(text_of(element))


def _argument(children: list[etree._Element], index: int, depth: int) -> str:
    return _element(children[index], depth) if index < len(children) else ""


def _base(latex: str) -> str:
    """Something that can carry a script: one atom, or a group."""
    return latex if _SINGLE.fullmatch(latex) else "{" + latex + "}"


def symbols_to_latex(text: str) -> str:
    """LaTeX of mathematical characters, one by one."""
    if "\u0338" in text:  # a stroke through what it stands behind
        text = nfc(text)
        if len(text) == 2 and text[1] == "\u0338":
            return f"\\not{{{_symbol(text[0])}}}" if text[0].isalnum() else "\\not" + _symbol(text[0])
    if _SMALL.search(text):
        text = _SMALL.sub(
            lambda run: ("^" if run[1] else "_") + "{" + unicodedata.normalize("NFKC", run[0]) + "}", text
        )
        return "".join(
            part if index % 2 else symbols_to_latex(part) for index, part in enumerate(_SCRIPTS.split(text))
        )
    return _join([_symbol(char) for char in text])


_SMALL = re.compile("([⁰¹²³⁴-⁹⁺⁻⁼⁽⁾ⁿⁱ]+)|[₀-₎ₐ-ₜ]+")
_SCRIPTS = re.compile(r"([_^]\{[^{}]*\})")


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
    text = text_of(element)
    if not text:
        return ""
    variant = element.get("mathvariant", "")
    if text in ("∣", "∥"):  # KaTeX writes bars that are no relations so
        return "|" if text == "∣" else "\\|"
    if len(text) > 1 and text.isascii() and text.isalpha():
        if text in FUNCTIONS:
            return "\\" + text
        following = element.getnext()
        if following is not None and following.text == "\u2061" and variant in ("", "normal"):
            return f"\\operatorname{{{text}}}"
        return f"{VARIANTS.get(variant, '') or chr(92) + 'mathrm'}{{{text}}}"
    if text in ("lim sup", "lim inf"):
        return "\\" + text.replace(" ", "")
    latex = symbols_to_latex(text)
    command = VARIANTS.get(variant)
    if command == "\\mathrm" and not (len(text) == 1 and text.isascii() and text.isalpha()):
        return latex
    return f"{command}{{{latex}}}" if command else latex


def _number(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    # A bare comma would be spaced as punctuation.
    latex = symbols_to_latex(text_of(element)).replace(",", "{,}")
    command = VARIANTS.get(element.get("mathvariant", ""))
    return f"{command}{{{latex}}}" if command and command != "\\mathrm" else latex


def _operator(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    text = text_of(element)
    if text == _TIMES:
        return _TIMES
    if text in FUNCTIONS or text in ("lim sup", "lim inf"):
        return "\\" + text.replace(" ", "")
    if text == "mod":
        return "\\bmod"
    if len(text) > 1 and text.isascii() and text.isalpha():
        return f"\\operatorname{{{text}}}"
    return symbols_to_latex(text)


def _words(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    text = re.sub(r"[ \t\r\n]+", " ", "".join(element.itertext())).replace("\u00a0", " ")
    if not text.strip():
        return "\\ " if text else ""
    command = TEXT_VARIANTS.get(element.get("mathvariant", ""), "\\text")
    # Mathematical characters have no place in text: LaTeX refuses them there.
    parts = [
        symbols_to_latex(part) if part in SYMBOLS else f"{command}{{{escaped(part)}}}"
        for part in _MATH_IN_TEXT.split(text)
        if part
    ]
    return _join(parts)


_MATH_IN_TEXT = re.compile(
    "(["
    + "".join(char for char in SYMBOLS if ord(char) > 127 and char not in "“”‘’…†‡¬±°×÷\u00a0\u2003\u2009")
    + "])"
)


def _string(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    return f"\\text{{“{escaped(text_of(element))}”}}"


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
    command = _STACKED if _has_no_line(element) else "\\frac"
    return f"{command}{{{top}}}{{{bottom}}}"


_STACKED = "\\genfrac{}{}{0pt}{}"


def _has_no_line(fraction: etree._Element) -> bool:
    return re.fullmatch(r"\s*0\D*", fraction.get("linethickness", "")) is not None


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
    word = text_of(children[0]).strip(INVISIBLE) if children else ""
    below = _element(under, depth) if under is not None else ""
    above = _element(over, depth) if over is not None else ""
    if word in BIG or word in INTEGRALS or _is_operator_name(base):
        out = base + ("\\limits" if word in INTEGRALS else "")
        if not word or word not in BIG | INTEGRALS:
            out = re.sub(r"\A\\(?:mathrm|operatorname)\{", r"\\operatorname*{", base)
        return out + (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")
    if word in ARROWS:
        below, above = (latex if latex.strip("\\,:;! {}quad") else "" for latex in (below, above))
        if below or above:
            return f"\\x{ARROWS[word]}" + (f"[{below}]" if below else "") + f"{{{above}}}"
        return base
    if under is not None and below.strip():
        command = UNDER.get(text_of(under)) if local_name(under) == "mo" else None
        if base.startswith("\\underbrace") or (
            over is None and base.endswith("}") and "\\underbrace{" in base[:12]
        ):
            base = f"{base}_{{{below}}}"
        else:
            base = f"{command}{{{base}}}" if command else f"\\underset{{{below}}}{{{base}}}"
    if over is not None and (above.strip() or text_of(over)):
        mark = text_of(over)
        command = OVER.get(mark) if local_name(over) in ("mo", "mi", "mtext") else None
        if command and over.get("stretchy") != "false" and len(word) > 1:
            command = WIDE.get(command, command)
        if base.startswith("\\overbrace"):
            base = f"{base}^{{{above}}}"
        else:
            base = f"{command}{{{base}}}" if command else f"\\overset{{{above}}}{{{base}}}"
    return base


def _is_operator_name(base: str) -> bool:
    return re.fullmatch(r"\\(?:mathrm|operatorname)\{[A-Za-z-]{2,}\}", base) is not None


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
        cells = children_of(row)
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
    return f"\\{side}{symbols_to_latex(char) or '.'}"


def _fenced_row(elements: list[etree._Element], depth: int) -> str | None:
    """A row in brackets that grow: matrices, binomials, cases, and brackets around something tall."""
    opening = text_of(elements[0]) if local_name(elements[0]) == "mo" else ""
    if not opening or opening not in OPEN:
        return None
    last = elements[-1]
    closing = text_of(last) if local_name(last) == "mo" else None
    if closing is None or (closing and closing not in CLOSE):
        inner, closing = elements[1:], ""
        if opening != "{" or len(inner) != 1 or local_name(inner[0]) != "mtable":
            return None
    else:
        inner = elements[1:-1]
    core = inner[0] if len(inner) == 1 else None
    while (
        core is not None and local_name(core) in ("mrow", "mstyle", "mpadded") and len(children_of(core)) == 1
    ):
        core = children_of(core)[0]
    if core is not None and local_name(core) == "mtable" and (opening, closing) in MATRICES:
        return _matrix(core, children_of(core), depth + 1, MATRICES[opening, closing])
    if core is not None and local_name(core) == "mfrac" and _has_no_line(core) and opening + closing == "()":
        return "\\binom" + _element(core, depth).removeprefix(_STACKED)
    growing = elements[0].get("stretchy") != "false" and any(
        local_name(node) in TALL for child in inner for node in child.iter()
    )
    if not growing or any(
        text_of(child) in tuple(OPEN + CLOSE) for child in inner if local_name(child) == "mo"
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
        while local_name(core) in ("mrow", "mstyle") and len(children_of(core)) == 1:
            core = children_of(core)[0]
        if local_name(core) == "mtable" and (opening, closing) in MATRICES:
            return _matrix(core, children_of(core), depth, MATRICES[opening, closing])
    parts: list[str] = []
    for index, child in enumerate(children):
        if index and separators:
            parts.append(symbols_to_latex(separators[min(index - 1, len(separators) - 1)]))
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


def _semantics(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    """Its first child, unless that is empty or Content MathML and a presentation stands beside it."""
    in_content = bool(children) and is_content(local_name(children[0]))
    first = _argument(children, 0, depth) if children and not in_content else ""
    if not first:
        for child in children[1:]:
            kind = (child.get("encoding") or "").lower()
            if local_name(child) == "annotation-xml" and "presentation" in kind:
                first = _row(children_of(child), depth)
            if first:
                return first
    # Converted once only: nested, two conversions a level would be exponential.
    return _argument(children, 0, depth) if in_content else first


def _selected(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    chosen = element.get("selection", "1").strip()
    index = int(chosen) - 1 if chosen.isdecimal() and len(chosen) < 6 else 0
    return _argument(children, index if 0 <= index < len(children) else 0, depth)


def _nothing(element: etree._Element, children: list[etree._Element], depth: int) -> str:
    return ""


_HANDLERS = {
    "mi": _identifier, "mn": _number, "mo": _operator, "mtext": _words, "ms": _string, "mspace": _space,
    "mfrac": _fraction, "msqrt": _wrapped("\\sqrt"), "mroot": _root, "mphantom": _wrapped("\\phantom"),
    "msub": _scripts, "msup": _scripts, "msubsup": _scripts, "munder": _limits, "mover": _limits,
    "munderover": _limits, "mmultiscripts": _multiscripts, "mtable": _matrix, "mfenced": _fenced,
    "menclose": _enclosed, "semantics": _semantics, "maction": _selected, "annotation": _nothing,
    "annotation-xml": _nothing, "none": _nothing, "mprescripts": _nothing, "maligngroup": _nothing,
    "malignmark": _nothing,
}  # fmt: skip
