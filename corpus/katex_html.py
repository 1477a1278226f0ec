"""LaTeX from the glyphs that KaTeX lays out, for pages that carry nothing else (`output: "html"`, mdbook-katex).

KaTeX stacks things in `vlist`s, each entry with its height in its style; what stands where, and the classes
around it, say which command was drawn. What cannot be told apart (spacing, colours, sizes) is left out.
"""

import contextlib
import re

from lxml import etree

from corpus.mathml_symbols import FUNCTIONS, OVER, SYMBOLS, escaped, joined
from corpus.mathml_tree import TooDeepError

# KaTeX puts about eight elements around each level of a formula.
MAX_DEPTH = 300

_FONTS = {
    "mathbf": "\\mathbf", "mathbb": "\\mathbb", "amsrm": "\\mathbb", "mathcal": "\\mathcal", "mathfrak": "\\mathfrak",
    "mathscr": "\\mathscr", "mathrm": "\\mathrm", "mathsf": "\\mathsf", "mathtt": "\\mathtt", "mathit": "\\mathit",
    "boldsymbol": "\\boldsymbol",
}  # fmt: skip
_TEXT_FONTS = {"textbf": "\\textbf", "textit": "\\textit", "texttt": "\\texttt", "textsf": "\\textsf"}
_SKIPPED = frozenset((
    "strut", "pstrut", "nulldelimiter", "vlist-s", "arraycolsep", "frac-line", "overline-line", "underline-line",
    "hide-tail", "vertical-separator", "hline", "fix", "rule",
))  # fmt: skip
# Brackets taller than any glyph are put together from these.
_PIECES = dict(zip("⎛⎜⎝⎞⎟⎠⎡⎢⎣⎤⎥⎦⎧⎨⎩⎪⎫⎬⎭∣∥⎮", "((()))[[[]]]{{{{}}}|‖|", strict=True))
_DELIMITERS = {"{": "\\{", "}": "\\}", "∣": "|", "|": "|", "∥": "\\|", "‖": "\\|"}
_MATRICES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", ("\\|", "\\|"): "Vmatrix",
             ("\\{", "\\}"): "Bmatrix"}  # fmt: skip
# The widths of the drawings that stand for accents, where the page has no character for them.
_DRAWN = {
    "471": "\\vec", "2364 300": "\\widehat", "1062": "\\widehat", "2364": "\\widehat", "600 260": "\\widetilde",
    "1033": "\\widetilde", "2339": "\\widetilde", "2340": "\\widetilde",
}  # fmt: skip


def katex_html_to_latex(element: etree._Element) -> str:
    """LaTeX of a `.katex-html` element. Raises TooDeepError where it is deeper than MAX_DEPTH."""
    return _row(element, 0).strip()


def _classes(element: etree._Element) -> set[str]:
    return {name.removeprefix("katex-") for name in (element.get("class") or "").split()}


def _children(element: etree._Element) -> list[etree._Element]:
    return [child for child in element if isinstance(child.tag, str)]


def _row(element: etree._Element, depth: int) -> str:
    children = _children(element)
    classes = _classes(element)
    # A letter with a correction of its own inside a name: "lo", then "g".
    if not children or ("mop" in classes and (element.text or "").strip()):
        return _glyphs("".join(element.itertext()), classes)
    parts = [_glyphs(element.text or "", classes)]
    for child in children:  # a comprehension would be one more frame a level
        parts.append(_read(child, depth + 1))
    latex = joined(parts)
    if "mrel" in classes:
        latex = latex.replace("\\not=", "\\neq").replace("\\in/", "\\notin")
    return latex


def _glyphs(text: str, classes: set[str]) -> str:
    text = text.replace("\u200b", "")
    if not text:
        return ""
    if text == "\ue020":
        return "\\not"
    if "mop" in classes and text.replace(" ", "").replace("\u2009", "") in FUNCTIONS:
        return "\\" + text.replace(" ", "").replace("\u2009", "")
    if "mrel" not in classes:  # a bar that is no relation
        text = text.replace("∣", "|")
    latex = joined([SYMBOLS.get(char, char) for char in text]).replace("\\ast", "*")
    command = next((_FONTS[name] for name in sorted(classes) if name in _FONTS), "")
    if command == "\\mathrm" and not text.isascii():
        command = ""
    if command == "\\mathit" and len(text) == 1:
        command = ""
    return f"{command}{{{latex}}}" if command else latex


def _read(element: etree._Element, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise TooDeepError(f"nested deeper than {MAX_DEPTH} elements")
    classes = _classes(element)
    children = _children(element)
    if classes & _SKIPPED or element.tag == "svg":
        return ""
    if "mspace" in classes:
        return _space(element, classes)
    if "text" in classes:
        return _text(element)
    if "delimsizing" in classes:
        return _delimiter(element)
    if "mfrac" in classes:
        return _fraction(element, depth)
    if "sqrt" in classes:
        return _root(element, depth)
    if "accent" in classes:
        return _accent(element, depth)
    if classes & {"overline", "underline"}:
        inner = joined([_read(entry, depth + 1) for entry in _entries(element)])
        return f"\\{'overline' if 'overline' in classes else 'underline'}{{{inner}}}"
    if classes & {"munder", "mover"}:
        return _brace(element, depth, "under" if "munder" in classes else "over")
    if "x-arrow" in classes:
        return _arrow(element, depth)
    if "op-limits" in classes:
        return _limits(element, depth)
    if "mtable" in classes:
        return _table(element, depth)
    if "minner" in classes or ("mord" in classes and _is_binomial(children)):
        found = _fenced(element, children, depth)
        if found is not None:
            return found
    if "mop" in classes and children and all(_classes(child) >= {"mord", "mathrm"} for child in children):
        return f"\\operatorname{{{''.join(element.itertext()).strip()}}}"
    if children and "vlist-t" in _classes(children[0]):
        return _enclosed(element, depth)
    scripts = next((child for child in children if "msupsub" in _classes(child)), None)
    if scripts is not None:
        return _scripted(element, children, scripts, depth)
    return _row(element, depth)


def _space(element: etree._Element, classes: set[str]) -> str:
    if (element.text or "").strip(" \u00a0") == "" and element.text:
        return "\\ "
    found = re.search(r"margin-right:\s*(-?[\d.]{1,8})em", element.get("style") or "")
    width = float(found[1]) if found and found[1].count(".") < 2 and found[1].strip("-.") else 0.0
    return "\\qquad " if width >= 2 else "\\quad " if width >= 1 else ""


def _text(element: etree._Element) -> str:
    text = "".join(element.itertext()).replace("\u00a0", " ").replace("\u200b", "")
    command = "\\text"
    for node in element.iter():
        command = next((_TEXT_FONTS[name] for name in _classes(node) if name in _TEXT_FONTS), command)
    return f"{command}{{{escaped(text)}}}" if text else ""


def _delimiter(element: etree._Element) -> str:
    text = "".join(element.itertext()).replace("\u200b", "").strip()
    char = _PIECES.get(text[:1], text[:1])
    if not char:  # drawn: the width tells which
        drawn = next((node.get("width") or "" for node in element.iter("svg")), "")
        closes = "mclose" in _classes(element) or "mclose" in _classes(element.getparent())
        pair = {"0.875em": "()", "0.667em": "[]", "0.333em": "||", "0.556em": "‖‖", "0.889em": "{}"}.get(
            drawn, "||"
        )
        char = pair[closes]
    return _DELIMITERS.get(char) or SYMBOLS.get(char, char)


def _entries(element: etree._Element) -> list[etree._Element]:
    """What the first `vlist` below stacks, from the highest to the lowest."""
    table = next((node for node in element.iter() if "vlist" in _classes(node)), None)
    if table is None:
        return []
    entries = []
    for entry in _children(table):
        found = re.search(r"top:\s*(-?[\d.]{1,10})em", entry.get("style") or "")
        try:
            top = float(found[1]) if found else 0.0
        except ValueError:
            top = 0.0
        strut = next((child for child in _children(entry) if "pstrut" in _classes(child)), None)
        height = (
            re.search(r"height:\s*([\d.]{1,10})em", strut.get("style") or "") if strut is not None else None
        )
        with contextlib.suppress(ValueError):
            top += float(height[1]) if height else 0.0
        entries.append((top, entry))
    return [entry for _, entry in sorted(entries, key=lambda pair: pair[0])]


def _has(element: etree._Element, name: str) -> bool:
    return any(name in _classes(node) for node in element.iter())


def _fraction(element: etree._Element, depth: int) -> str:
    entries = _entries(element)
    values = [_read(entry, depth + 1) for entry in entries if not _is_line(entry)]
    command = "\\frac" if len(values) < len(entries) else _STACKED
    values += [""] * (2 - len(values))
    return f"{command}{{{values[0]}}}{{{values[1]}}}"


_STACKED = "\\genfrac{}{}{0pt}{}"


def _is_line(entry: etree._Element) -> bool:
    return any("frac-line" in _classes(child) for child in _children(entry))


def _root(element: etree._Element, depth: int) -> str:
    children = _children(element)
    degree = next((_row(child, depth + 1) for child in children if "root" in _classes(child)), "")
    inner = "".join(
        _read(entry, depth + 1)
        for child in children
        if "vlist-t" in _classes(child)
        for entry in _entries(child)
    )
    return f"\\sqrt[{degree}]{{{inner}}}" if degree else f"\\sqrt{{{inner}}}"


def _accent(element: etree._Element, depth: int) -> str:
    base, command = "", "\\hat"
    for entry in _entries(element):
        if (
            _children(entry) and any("accent-body" in _classes(child) for child in _children(entry))
        ) or "svg-align" in _classes(entry):
            mark = "".join(entry.itertext()).replace("\u200b", "").strip()
            command = OVER.get(mark) or _drawn(entry, "\\hat" if mark else "\\overrightarrow")
        else:
            base = _read(entry, depth + 1)
    return f"{command}{{{base}}}"


def _drawn(entry: etree._Element, otherwise: str) -> str:
    for node in entry.iter("svg"):
        box = (node.get("viewBox") or node.get("viewbox") or "").removeprefix("0 0 ")
        for size, command in _DRAWN.items():
            if box == size or (box.split(" ")[0] == size and " " not in size):
                return command
        if node.get("preserveaspectratio", node.get("preserveAspectRatio", "")).startswith("xMinYMin"):
            return "\\overleftarrow"
    return otherwise


def _brace(element: etree._Element, depth: int, side: str) -> str:
    entries = _entries(element)
    braced = next((entry for entry in entries if "svg-align" in _classes(entry)), None)
    if braced is not None:
        inner = joined([_read(entry, depth + 1) for entry in entries if entry is not braced])
        name = (
            "brace" if _has(braced, "brace-center") else "rightarrow" if _has(braced, "hide-tail") else "line"
        )
        return f"\\{side}{name}{{{inner}}}"
    values = [_read(entry, depth + 1) for entry in entries]
    if len(values) != 2:
        return joined(values)
    base, note = (values[0], values[1]) if side == "under" else (values[1], values[0])
    return f"{base}{'_' if side == 'under' else '^'}{{{note}}}"


def _arrow(element: etree._Element, depth: int) -> str:
    above = below = ""
    seen = False
    command = "\\xrightarrow"
    for entry in _entries(element):
        if "svg-align" in _classes(entry):
            seen = True
            box = next(
                (
                    node.get("preserveaspectratio") or node.get("preserveAspectRatio") or ""
                    for node in entry.iter("svg")
                ),
                "",
            )
            command = "\\xleftarrow" if box.startswith("xMin") else command
        elif seen:
            below = _read(entry, depth + 1)
        else:
            above = _read(entry, depth + 1)
    return command + (f"[{below}]" if below else "") + f"{{{above}}}"


def _limits(element: etree._Element, depth: int) -> str:
    base = above = below = ""
    seen = symbol = False
    for entry in _entries(element):
        inside = [node for child in _children(entry) for node in (child, *_children(child))]
        if any(
            _classes(node) & {"mop", "mrel", "mbin"}
            or ("mord" in _classes(node) and "mtight" not in _classes(node))
            for node in inside
        ) and not any("sizing" in _classes(child) for child in _children(entry)):
            seen = True
            base = _read(entry, depth + 1)
            symbol = any("op-symbol" in _classes(node) for node in inside)
        elif seen:
            below = _read(entry, depth + 1)
        else:
            above = _read(entry, depth + 1)
    if symbol or re.fullmatch(r"\\(?:lim|max|min|sup|inf|liminf|limsup|det|gcd|Pr)", base):
        if base in ("\\int", "\\oint", "\\iint", "\\iiint"):
            base += "\\limits"
    elif base.startswith("\\operatorname{"):
        base = "\\operatorname*" + base[len("\\operatorname") :]
    else:
        base = f"\\overset{{{above}}}{{{base}}}" if above else base
        return f"\\underset{{{below}}}{{{base}}}" if below else base
    return base + (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")


def _table(element: etree._Element, depth: int, kind: str = "") -> str:
    columns = [
        child for child in _children(element) if any(name.startswith("col-align") for name in _classes(child))
    ]
    cells = [[_read(entry, depth + 1).strip() for entry in _entries(column)] for column in columns]
    rows = max(map(len, cells), default=0)
    for column in cells:
        column += [""] * (rows - len(column))
    aligns = "".join(
        next(name[10:11] for name in _classes(column) if name.startswith("col-align")) for column in columns
    )
    kind = kind or ("aligned" if aligns.startswith("rl") else "gathered" if aligns == "c" else "matrix")
    body = " \\\\ ".join(" & ".join(column[row] for column in cells) for row in range(rows))
    return f"\\begin{{{kind}}}{body}\\end{{{kind}}}" if rows else ""


def _is_binomial(children: list[etree._Element]) -> bool:
    return len(children) == 3 and "mfrac" in _classes(children[1]) and "delimcenter" in _classes(children[0])


def _fenced(element: etree._Element, children: list[etree._Element], depth: int) -> str | None:
    """Brackets that grew, with what they hold; None where an `minner` holds something else."""
    if len(children) < 2 or "mopen" not in _classes(children[0]) or "mclose" not in _classes(children[-1]):
        return None
    sides = []
    for child in (children[0], children[-1]):
        null = "nulldelimiter" in _classes(child)
        sides.append("" if null else _delimiter(child))
    inner = children[1:-1]
    core = inner[0] if len(inner) == 1 else None
    while core is not None and "mtable" not in _classes(core) and len(_children(core)) == 1:
        core = _children(core)[0]
    if core is not None and "mtable" in _classes(core):
        kind = _MATRICES.get((sides[0], sides[1])) or ("cases" if tuple(sides) == ("\\{", "") else None)
        if kind:
            return _table(core, depth + 1, kind)
    if (
        len(inner) == 1
        and "mfrac" in _classes(inner[0])
        and tuple(sides) == ("(", ")")
        and not any(map(_is_line, _entries(inner[0])))
    ):
        return "\\binom" + _fraction(inner[0], depth + 1).removeprefix(_STACKED)
    body = joined([_read(child, depth + 1) for child in inner])
    left, right = (side or "." for side in sides)
    return joined([f"\\left{left}", body]) + f"\\right{right}"


def _enclosed(element: etree._Element, depth: int) -> str:
    """Boxes and strikes: a stack of the formula and a drawing."""
    inner = joined([_read(entry, depth + 1) for entry in _entries(element)])
    if _has(element, "fbox"):
        return f"\\boxed{{{inner}}}"
    lines = list(element.iter("line"))
    if lines:
        single = "cancel" if lines[0].get("y1") == "100%" else "bcancel"
        return f"\\{'xcancel' if len(lines) > 1 else single}{{{inner}}}"
    return inner


def _scripted(
    element: etree._Element, children: list[etree._Element], scripts: etree._Element, depth: int
) -> str:
    before = [child for child in children if child is not scripts]
    base = joined([_read(child, depth + 1) for child in before])
    entries = _entries(scripts)
    values = [_braced(_read(entry, depth + 1), entry) for entry in entries]
    below = above = ""
    if len(values) >= 2:
        above, below = values[0], values[-1]
    elif values:
        # A stack that reaches below the line has a second row for its depth.
        low = any("vlist-t2" in _classes(node) for node in _children(scripts))
        above, below = ("", values[0]) if low else (values[0], "")
    if (
        not re.fullmatch(
            r"[^\\{}\s_^&]|\\[A-Za-z]+|\\[^A-Za-z]|\\[A-Za-z]+\*?\{[^{}]*\}|\\left.*\\right\W?(?:\\[a-z|]+)?",
            base,
        )
        and base
    ):
        base = f"{{{base}}}"
    out = (base or "{}") + (f"_{below}" if below else "")
    primes = above.strip("{}").replace("\\prime", "'").replace(" ", "")
    if primes and set(primes) == {"'"}:
        return out + primes
    return out + (f"^{above}" if above else "")


def _braced(latex: str, entry: etree._Element) -> str:
    """A script in braces, unless it was typed without: a single glyph that nothing groups."""
    if len(latex) == 1 or re.fullmatch(r"\\[A-Za-z]+", latex):
        sized = next((child for child in _children(entry) if "sizing" in _classes(child)), None)
        inner = _children(sized) if sized is not None else []
        if len(inner) == 1 and not _children(inner[0]):
            return latex
    return f"{{{latex}}}"
