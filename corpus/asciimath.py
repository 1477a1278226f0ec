"""ASCIIMath to LaTeX, by the grammar of asciimath.org.

v ::= [A-Za-z] | numbers | symbols      u ::= sqrt | text | bb | hat | ...      b ::= frac | root | stackrel | ...
l ::= ( | [ | { | (: | {: | |           r ::= ) | ] | } | :) | :} | |
S ::= v | lEr | uS | bSS                I ::= S_S | S^S | S_S^S | S              E ::= IE | I/I
"""

import dataclasses
import re
from collections.abc import Callable

from corpus.mathml_symbols import escaped, joined

# Deeper formulas are hostile.
MAX_DEPTH = 60

_WORDS = """
+ + - - * \\cdot ** \\ast xx \\times -: \\div -<= \\leq @ \\circ o+ \\oplus ox \\otimes o. \\odot sum \\sum prod \\prod
^^ \\wedge ^^^ \\bigwedge vv \\vee vvv \\bigvee nn \\cap nnn \\bigcap uu \\cup uuu \\bigcup *** \\star // /
\\\\ \\backslash setminus \\setminus |>< \\ltimes ><| \\rtimes |><| \\bowtie ltimes \\ltimes rtimes \\rtimes
bowtie \\bowtie cdot \\cdot ast \\ast star \\star times \\times div \\div divide \\div circ \\circ oplus \\oplus
otimes \\otimes odot \\odot wedge \\wedge bigwedge \\bigwedge vee \\vee bigvee \\bigvee cap \\cap bigcap \\bigcap
cup \\cup bigcup \\bigcup
= = != \\neq ne \\neq := := < < lt < <= \\leq le \\leq lt= \\leq > > gt > >= \\geq ge \\geq gt= \\geq -< \\prec
-lt \\prec prec \\prec succ \\succ >- \\succ -<= \\preceq >-= \\succeq preceq \\preceq succeq \\succeq in \\in
!in \\notin notin \\notin sub \\subset subset \\subset sup \\supset supset \\supset sube \\subseteq
subseteq \\subseteq supe \\supseteq supseteq \\supseteq -= \\equiv equiv \\equiv ~= \\cong cong \\cong ~~ \\approx
approx \\approx ~ \\sim sim \\sim prop \\propto propto \\propto mlt \\ll mgt \\gg
not \\neg neg \\neg => \\Rightarrow implies \\Rightarrow <=> \\Leftrightarrow iff \\Leftrightarrow AA \\forall
forall \\forall EE \\exists exists \\exists _|_ \\bot bot \\bot TT \\top top \\top |-- \\vdash vdash \\vdash
|== \\models models \\models
int \\int oint \\oint del \\partial partial \\partial grad \\nabla nabla \\nabla +- \\pm pm \\pm -+ \\mp mp \\mp
O/ \\emptyset emptyset \\emptyset oo \\infty infty \\infty aleph \\aleph ... \\ldots ldots \\ldots :. \\therefore
therefore \\therefore :' \\because because \\because cdots \\cdots vdots \\vdots ddots \\ddots /_ \\angle
angle \\angle /_\\ \\triangle triangle \\triangle ' ' frown \\frown diamond \\diamond square \\square CC \\mathbb{C}
NN \\mathbb{N} QQ \\mathbb{Q} RR \\mathbb{R} ZZ \\mathbb{Z} ! ! quad \\quad qquad \\qquad |__ \\lfloor __| \\rfloor
|~ \\lceil ~| \\rceil
uarr \\uparrow uparrow \\uparrow darr \\downarrow downarrow \\downarrow rarr \\rightarrow rightarrow \\rightarrow
to \\to -> \\to >-> \\rightarrowtail rightarrowtail \\rightarrowtail ->> \\twoheadrightarrow
twoheadrightarrow \\twoheadrightarrow >->> \\twoheadrightarrowtail |-> \\mapsto mapsto \\mapsto larr \\leftarrow
leftarrow \\leftarrow harr \\leftrightarrow leftrightarrow \\leftrightarrow rArr \\Rightarrow
Rightarrow \\Rightarrow lArr \\Leftarrow Leftarrow \\Leftarrow hArr \\Leftrightarrow Leftrightarrow \\Leftrightarrow
lim \\lim Lim \\operatorname{Lim} sin \\sin cos \\cos tan \\tan sinh \\sinh cosh \\cosh tanh \\tanh cot \\cot
sec \\sec csc \\csc arcsin \\arcsin arccos \\arccos arctan \\arctan coth \\coth sech \\operatorname{sech}
csch \\operatorname{csch} exp \\exp log \\log ln \\ln det \\det dim \\dim mod \\bmod gcd \\gcd lcm \\operatorname{lcm}
lub \\operatorname{lub} glb \\operatorname{glb} min \\min max \\max Sin \\operatorname{Sin} Cos \\operatorname{Cos}
Tan \\operatorname{Tan} Log \\operatorname{Log} Ln \\operatorname{Ln} dx dx dy dy dz dz dt dt f f g g
"""
_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_SYMBOLS = dict(zip(*[iter(_WORDS.split())] * 2, strict=True)) | {
    name: "\\" + name for name in _GREEK.split()
}
_SYMBOLS |= {"\\ ": "\\ ", "and": "\\text{ and }", "or": "\\text{ or }", "if": "\\text{if }"}
_SYMBOLS |= {"%": "\\%", "#": "\\#", "&": "\\&", "$": "\\$"}
_UNARY = {
    "sqrt": "\\sqrt", "hat": "\\hat", "bar": "\\overline", "overline": "\\overline", "vec": "\\vec", "dot": "\\dot",
    "ddot": "\\ddot", "tilde": "\\tilde", "overarc": "\\overparen", "overparen": "\\overparen", "ul": "\\underline",
    "underline": "\\underline", "ubrace": "\\underbrace", "underbrace": "\\underbrace", "obrace": "\\overbrace",
    "overbrace": "\\overbrace", "cancel": "\\cancel", "bb": "\\mathbf", "mathbf": "\\mathbf", "bbb": "\\mathbb",
    "mathbb": "\\mathbb", "cc": "\\mathcal", "mathcal": "\\mathcal", "fr": "\\mathfrak", "mathfrak": "\\mathfrak",
    "tt": "\\mathtt", "mathtt": "\\mathtt", "sf": "\\mathsf", "mathsf": "\\mathsf", "rm": "\\mathrm",
    "mathrm": "\\mathrm", "it": "\\mathit",
}  # fmt: skip
_AROUND = {
    "abs": ("|", "|"),
    "floor": ("\\lfloor", "\\rfloor"),
    "ceil": ("\\lceil", "\\rceil"),
    "norm": ("\\|", "\\|"),
}
_BINARY = {"frac": "\\frac", "root": "", "stackrel": "\\stackrel", "overset": "\\overset", "underset": "\\underset",
           "color": "", "id": "", "class": ""}  # fmt: skip
_OPEN = {"(": "(", "[": "[", "{": "\\{", "(:": "\\langle", "<<": "\\langle", "langle": "\\langle", "{:": ".",
         "lfloor": "\\lfloor", "lceil": "\\lceil"}  # fmt: skip
_CLOSE = {")": ")", "]": "]", "}": "\\}", ":)": "\\rangle", ">>": "\\rangle", "rangle": "\\rangle", ":}": ".",
          "rfloor": "\\rfloor", "rceil": "\\rceil"}  # fmt: skip
_FUNCTIONS = frozenset((
    "sin", "cos", "tan", "sinh", "cosh", "tanh", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "coth", "sech",
    "csch", "exp", "log", "ln", "det", "gcd", "lcm", "f", "g", "Sin", "Cos", "Tan", "Log", "Ln",
))  # fmt: skip
_NO_ARGUMENT = frozenset(("_", "^", "/", "|", ",", "+", "-", "=", "<", ">"))
_MATRICES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", ("\\{", "\\}"): "Bmatrix",
             ("\\{", "."): "cases", (".", "."): "matrix"}  # fmt: skip
_TOKEN = re.compile(
    r"\s+|(?P<quoted>\"[^\"]*\")|(?P<text>(?:text|mbox)\s*(?:\([^()]*\)|\[[^][]*\]|\{[^{}]*\}))|(?P<number>\d+(?:\.\d+)?)|"
    + "(?P<name>"
    + "|".join(
        re.escape(name)
        for name in sorted(
            {*_SYMBOLS, *_UNARY, *_AROUND, *_BINARY, *_OPEN, *_CLOSE, "_", "^", "/", "|", "||", ","},
            key=len,
            reverse=True,
        )
    )
    + r")|(?P<other>.)",
    re.S,
)


class AsciiMathError(ValueError):
    """What stands between the delimiters cannot be ASCIIMath."""


@dataclasses.dataclass(slots=True)
class _Node:
    """LaTeX of an expression; `inner` is the same without the brackets around it."""

    tex: str
    inner: str
    name: str = ""
    # The cells of a bracketed list, with its brackets, where it could be a row of a matrix.
    cells: list[str] | None = None
    brackets: tuple[str, str] = ("", "")


def asciimath_to_latex(text: str) -> str:
    """LaTeX (without delimiters). Raises AsciiMathError for nesting deeper than MAX_DEPTH, or as confusing."""
    tokens = [(kind, found[0]) for found in _TOKEN.finditer(text) if (kind := found.lastgroup) is not None]
    return _Parser(tokens).expression(0, None)[0].strip()


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]):
        self.tokens = tokens
        self.at = 0
        # A bar that closes nothing is read again as a sign: this bounds how often.
        self.budget = 100 + 20 * len(tokens)

    def _peek(self) -> str:
        """The next token if it is a name, sign or bracket."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "name":
            return self.tokens[self.at][1]
        return ""

    def expression(self, depth: int, end: str | None) -> tuple[str, list[tuple[str, _Node | None]]]:
        """E: LaTeX up to a closing bracket (or the bar `end`), and its parts with commas apart."""
        if depth > MAX_DEPTH:
            raise AsciiMathError(f"ASCIIMath nested deeper than {MAX_DEPTH} levels")
        parts: list[tuple[str, _Node | None]] = []
        while self.at < len(self.tokens):
            name = self._peek()
            if name in _CLOSE and (end is None or name not in ("|", "||")):
                if depth == 0:  # nothing opened it
                    self.at += 1
                    parts.append((_CLOSE[name].replace(".", ""), None))
                    continue
                break
            if end is not None and name == end:
                break
            if name == ",":
                self.at += 1
                parts.append((",", None))
                continue
            node = self.scripted(depth)
            if self._peek() == "/":
                self.at += 1
                bottom = self.signed(depth, self.scripted)
                node = _Node(tex := f"\\frac{{{node.inner}}}{{{bottom.inner}}}", tex)
            parts.append((node.tex, node))
        return joined([latex for latex, _ in parts]), parts

    def _more(self) -> bool:
        return self.at < len(self.tokens) and self._peek() not in _CLOSE

    def signed(self, depth: int, read: Callable[[int], _Node]) -> _Node:
        """What stands behind `/`, `_` or `^`, where a minus is part of it: e^-x."""
        if self._peek() != "-":
            return read(depth) if self._more() else _Node("", "")
        self.at += 1
        value = read(depth) if self._more() else _Node("", "")
        return _Node(tex := "-" + value.tex, tex)

    def scripted(self, depth: int) -> _Node:
        """I: a simple expression with its subscript and superscript."""
        node = self.simple(depth)
        below = above = None
        if self._peek() == "_":
            self.at += 1
            below = self.signed(depth, self.simple).inner
        if self._peek() == "^":
            self.at += 1
            above = self.signed(depth, self.simple).inner
        if below is None and above is None:
            return node
        tex = node.tex or "{}"
        tex += f"_{{{below}}}" if below is not None else ""
        tex += f"^{{{above}}}" if above is not None else ""
        if node.name in _FUNCTIONS and self._more():  # sin^2(x)
            argument = self.scripted(depth + 1) if depth < MAX_DEPTH else _Node("", "")
            tex = joined([tex, argument.tex])
        return _Node(tex, tex)

    def simple(self, depth: int) -> _Node:
        """S."""
        self.budget -= 1
        if depth > MAX_DEPTH or self.budget < 0:
            raise AsciiMathError(f"ASCIIMath nested deeper than {MAX_DEPTH} levels")
        if self.at >= len(self.tokens):
            return _Node("", "")
        kind, text = self.tokens[self.at]
        if kind == "name" and text in _CLOSE:  # left to the bracket it closes
            return _Node("", "")
        self.at += 1
        if kind in ("quoted", "text"):
            words = text[1:-1] if kind == "quoted" else re.sub(r"\A\w+\s*.", "", text)[:-1]
            words = escaped(words.replace("\\", ""))
            return _Node(tex := f"\\text{{{words}}}" if words else "", tex)
        if kind == "number":
            return _Node(text, text)
        if kind == "other":
            tex = text if text not in "{}\\~" else "\\" + text if text in "{}" else ""
            return _Node(tex, tex)
        if text in _OPEN:
            return self._bracketed(text, depth)
        if text in ("|", "||"):
            return self._barred(text, depth)
        if text in _AROUND:
            inner = self.simple(depth + 1).inner
            left, right = _AROUND[text]
            tex = joined([f"\\left{left}", inner]) + f"\\right{right}"
            return _Node(tex, tex)
        if text in _UNARY:
            inner = self.simple(depth + 1).inner
            return _Node(tex := f"{_UNARY[text]}{{{inner}}}", tex)
        if text in _BINARY:
            return self._binary(text, depth)
        if text in ("_", "^"):  # a script on nothing
            inner = self.simple(depth + 1).inner
            return _Node(tex := f"{{}}{text}{{{inner}}}", tex)
        if text in ("/", ","):
            return _Node(text, text)
        tex = _SYMBOLS.get(text, text)
        if text in _FUNCTIONS and self._takes_argument(text):  # one thing: sin x/cos x
            argument = self.simple(depth + 1)
            return _Node(tex := joined([tex, argument.tex]), tex)
        return _Node(tex, tex, name=text)

    def _takes_argument(self, function: str) -> bool:
        """Whether a function's argument comes next: for `f` and `g` only in brackets."""
        if len(function) == 1:
            return self._peek() in _OPEN
        return self._more() and self._peek() not in _NO_ARGUMENT

    def _binary(self, name: str, depth: int) -> _Node:
        first = self.simple(depth + 1).inner
        second = self.simple(depth + 1).inner
        if name == "root":
            tex = f"\\sqrt[{first}]{{{second}}}"
        elif name in ("color", "id", "class"):
            tex = second
        else:
            tex = f"{_BINARY[name]}{{{first}}}{{{second}}}"
        return _Node(tex, tex)

    def _bracketed(self, opening: str, depth: int) -> _Node:
        inner, parts = self.expression(depth + 1, None)
        closing = "."
        if self._peek() in _CLOSE:
            closing = _CLOSE[self._peek()]
            self.at += 1
        brackets = (_OPEN[opening], closing)
        matrix = self._matrix(brackets, parts)
        if matrix:
            return _Node(matrix, matrix)
        tex = _within(brackets, inner)
        return _Node(tex, inner, cells=_cells(parts), brackets=brackets)

    def _barred(self, bar: str, depth: int) -> _Node:
        """An absolute value, where a second bar closes it; else the sign."""
        start = self.at
        inner, parts = self.expression(depth + 1, bar) if self._more() and self._closes(bar) else ("", [])
        sign = "|" if bar == "|" else "\\|"
        if inner and self._peek() == bar:
            self.at += 1
            matrix = self._matrix((sign, sign), parts)
            tex = matrix or _within((sign, sign), inner)
            return _Node(tex, tex)
        self.at = start
        return _Node("\\mid" if bar == "|" else "\\|", sign)

    def _closes(self, bar: str) -> bool:
        """Whether a bar follows before the bracket around it ends."""
        depth = 0
        for kind, text in self.tokens[self.at : self.at + 400]:
            if kind != "name":
                continue
            if text == bar and depth == 0:
                return True
            depth += (text in _OPEN) - (text in _CLOSE)
            if depth < 0:
                return False
        return False

    def _matrix(self, brackets: tuple[str, str], parts: list[tuple[str, _Node | None]]) -> str | None:
        """Rows in brackets of one kind with as many cells each, separated by commas, are a matrix."""
        rows = [node for latex, node in parts if node is not None]
        commas = sum(1 for latex, node in parts if node is None)
        if (
            not rows
            or any(node.cells is None or node.brackets != rows[0].brackets for node in rows)
            or len(rows) != commas + 1
            or len({len(node.cells or ()) for node in rows}) != 1
            or brackets not in _MATRICES
            or rows[0].brackets not in (("(", ")"), ("[", "]"))
            or (len(rows) == 1 and len(rows[0].cells or ()) == 1)
        ):
            return None
        cells = [node.cells or [] for node in rows]
        bars = {index for index in range(len(cells[0])) if all(row[index] == "\\mid" for row in cells)}
        body = " \\\\ ".join(
            " & ".join(c for index, c in enumerate(row) if index not in bars) for row in cells
        )
        if bars:  # an augmented matrix
            columns = "".join("|" if index in bars else "c" for index in range(len(cells[0])))
            return _within(brackets, f"\\begin{{array}}{{{columns}}}{body}\\end{{array}}")
        return f"\\begin{{{_MATRICES[brackets]}}}{body}\\end{{{_MATRICES[brackets]}}}"


def _within(brackets: tuple[str, str], inner: str) -> str:
    left, right = brackets
    tall = any(
        command in inner for command in ("\\frac", "\\sum", "\\int", "\\prod", "\\begin", "\\sqrt[", "\\left")
    )
    if tall or "." in brackets:
        if brackets == (".", "."):
            return f"{{{inner}}}"
        return joined([f"\\left{left}", inner]) + f"\\right{right}"
    return joined([left, inner, right])


def _cells(parts: list[tuple[str, _Node | None]]) -> list[str]:
    cells: list[list[str]] = [[]]
    for latex, node in parts:
        if node is None and latex == ",":
            cells.append([])
        else:
            cells[-1].append(latex)
    return [joined(cell) for cell in cells]
