"""What the characters and attributes of MathML are called in LaTeX, and how LaTeX is put together."""

import re
from collections.abc import Iterable

_LETTERS = """
α alpha β beta γ gamma δ delta ϵ epsilon ε varepsilon ζ zeta η eta θ theta ϑ vartheta ι iota κ kappa λ lambda μ mu
ν nu ξ xi π pi ϖ varpi ρ rho ϱ varrho σ sigma ς varsigma τ tau υ upsilon φ varphi ϕ phi χ chi ψ psi ω omega
Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega ℓ ell ℏ hbar ı imath ȷ jmath
ℵ aleph ℶ beth ℘ wp ℜ Re ℑ Im ∂ partial ∇ nabla ∞ infty ∅ emptyset µ mu
"""
_OPERATORS = """
± pm ∓ mp × times ÷ div ⋅ cdot · cdot ∗ ast ⋆ star ∘ circ ∙ bullet • bullet ∩ cap ∪ cup ⊎ uplus ⊓ sqcap ⊔ sqcup
∨ vee ∧ wedge ∖ setminus ≀ wr ⊕ oplus ⊖ ominus ⊗ otimes ⊘ oslash ⊙ odot † dagger ‡ ddagger ⨿ amalg
≤ leq ≥ geq ⩽ leqslant ⩾ geqslant ≪ ll ≫ gg ≠ neq ≡ equiv ∼ sim ≃ simeq ≈ approx ≅ cong ≍ asymp ≐ doteq
∝ propto ≺ prec ≻ succ ⪯ preceq ⪰ succeq ⊂ subset ⊃ supset ⊆ subseteq ⊇ supseteq ⊊ subsetneq ⊋ supsetneq
⊏ sqsubset ⊑ sqsubseteq ⊒ sqsupseteq ∈ in ∋ ni ∉ notin ⊢ vdash ⊣ dashv ⊨ models ⊩ Vdash ⊥ perp ∣ mid ∤ nmid
∥ parallel ∦ nparallel ⋈ bowtie ≔ coloneqq ≜ triangleq ≲ lesssim ≳ gtrsim ⊲ triangleleft ⊳ triangleright
← leftarrow → rightarrow ↔ leftrightarrow ⇐ Leftarrow ⇒ Rightarrow ⇔ Leftrightarrow ↦ mapsto ↑ uparrow
↓ downarrow ↕ updownarrow ⇑ Uparrow ⇓ Downarrow ↪ hookrightarrow ↩ hookleftarrow ↗ nearrow ↘ searrow ↙ swarrow
↖ nwarrow ⟵ longleftarrow ⟶ longrightarrow ⟷ longleftrightarrow ⟸ Longleftarrow ⟹ Longrightarrow
⟺ Longleftrightarrow ⟼ longmapsto ⇀ rightharpoonup ⇌ rightleftharpoons ↠ twoheadrightarrow ⇝ rightsquigarrow
↾ upharpoonright
∑ sum ∏ prod ∐ coprod ∫ int ∬ iint ∭ iiint ∮ oint ⋂ bigcap ⋃ bigcup ⨆ bigsqcup ⋁ bigvee ⋀ bigwedge ⨀ bigodot
⨁ bigoplus ⨂ bigotimes ⨄ biguplus
∀ forall ∃ exists ∄ nexists ¬ neg ⊤ top ∠ angle ∡ measuredangle △ triangle ◻ square □ square ∎ blacksquare
■ blacksquare ♭ flat ♮ natural ♯ sharp ♣ clubsuit ♢ diamondsuit ♡ heartsuit ♠ spadesuit ⋄ diamond ∴ therefore
∵ because … ldots ⋯ cdots ⋮ vdots ⋱ ddots ′ prime √ surd
⟨ langle ⟩ rangle 〈 langle 〉 rangle ⌊ lfloor ⌋ rfloor ⌈ lceil ⌉ rceil ‖ | ⟦ llbracket ⟧ rrbracket
{ { } } % % # # & & $ $ _ _
"""


def _table(*pages: str) -> dict[str, str]:
    words = " ".join(pages).split()
    return {char: "\\" + name for char, name in zip(words[::2], words[1::2], strict=True)}


SYMBOLS = _table(_LETTERS, _OPERATORS) | {
    "−": "-", "‐": "-", "∕": "/", "⁄": "/", "∶": ":", "\\": "\\backslash", "^": "\\hat{}", "~": "\\sim",
    "\u00a0": "~", "\u2061": "", "\u2062": "", "\u2063": "", "\u2064": "", "\u200b": "", "″": "''", "‴": "'''",
    "\u2003": "\\quad", "\u2009": "\\,", "\u2005": "\\:", "\u2004": "\\;", "\u200a": "", "⩵": "==",
    "\u2147": "e", "\u2146": "d", "\u2148": "i", "\u2149": "j", "“": "``", "”": "''", "‘": "`", "’": "'",
}  # fmt: skip
FUNCTIONS = frozenset((
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp", "gcd", "hom",
    "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "Pr", "sec", "sin", "sinh", "sup", "tan",
    "tanh",
))  # fmt: skip
BIG = frozenset("∑∏∐⋂⋃⨆⋁⋀⨀⨁⨂⨄") | FUNCTIONS | {"lim sup", "lim inf"}
INTEGRALS = frozenset("∫∬∭∮")
OVER = {
    "¯": "\\bar", "‾": "\\overline", "―": "\\overline", "^": "\\hat", "ˆ": "\\hat", "~": "\\tilde",
    "˜": "\\tilde", "→": "\\vec", "⃗": "\\vec", "˙": "\\dot", ".": "\\dot", "¨": "\\ddot", "ˇ": "\\check",
    "˘": "\\breve", "´": "\\acute", "`": "\\grave", "⏞": "\\overbrace", "←": "\\overleftarrow", "−": "\\bar",
    "_": "\\overline", "ˉ": "\\bar", "̄": "\\bar", "̅": "\\overline", "̂": "\\hat", "̃": "\\tilde", "̇": "\\dot",
    "̈": "\\ddot",
    "̌": "\\check", "̆": "\\breve", "́": "\\acute", "̀": "\\grave", "˚": "\\mathring", "̊": "\\mathring", "⃛": "\\dddot",
    "↼": "\\overleftharpoon", "⇀": "\\overrightharpoon", "↔": "\\overleftrightarrow", "⏠": "\\overgroup",
    "⃖": "\\overleftarrow",
    "￣": "\\overline", "…": "\\dddot", "⋯": "\\dddot", "⎴": "\\overbracket",
}  # fmt: skip
WIDE = {"\\bar": "\\overline", "\\hat": "\\widehat", "\\tilde": "\\widetilde", "\\vec": "\\overrightarrow"}
UNDER = {"―": "\\underline", "−": "\\underline", "ˍ": "\\underline", "˜": "\\utilde", "→": "\\underrightarrow",
         "←": "\\underleftarrow",
         "↔": "\\underleftrightarrow", "̱": "\\underline", "⏡": "\\undergroup", "_": "\\underline",
         "¯": "\\underline", "‾": "\\underline", "⏟": "\\underbrace", "̲": "\\underline"}  # fmt: skip
# Arrows that grow with what stands over and under them: amsmath's and mathtools' `\\x...` commands.
ARROWS = {
    "→": "rightarrow", "⟶": "rightarrow", "←": "leftarrow", "⟵": "leftarrow", "↔": "leftrightarrow",
    "⟷": "leftrightarrow", "⇒": "Rightarrow", "⟹": "Rightarrow", "⇐": "Leftarrow", "⟸": "Leftarrow",
    "⇔": "Leftrightarrow", "⟺": "Leftrightarrow", "↦": "mapsto", "⟼": "mapsto", "↪": "hookrightarrow",
    "↩": "hookleftarrow", "⇌": "rightleftharpoons", "⇋": "leftrightharpoons", "⇀": "rightharpoonup",
    "↼": "leftharpoonup", "⇁": "rightharpoondown", "↽": "leftharpoondown", "↠": "twoheadrightarrow",
    "↞": "twoheadleftarrow",
}  # fmt: skip
INVISIBLE = "\u2061\u2062\u2063\u2064\u200b \u00a0"
VARIANTS = {
    "normal": "\\mathrm", "bold": "\\mathbf", "bold-italic": "\\boldsymbol", "double-struck": "\\mathbb",
    "script": "\\mathcal", "bold-script": "\\mathcal", "fraktur": "\\mathfrak", "bold-fraktur": "\\mathfrak",
    "sans-serif": "\\mathsf", "bold-sans-serif": "\\mathsf", "monospace": "\\mathtt",
}  # fmt: skip
TEXT_VARIANTS = {
    "italic": "\\textit", "bold": "\\textbf", "monospace": "\\texttt", "sans-serif": "\\textsf",
}  # fmt: skip
UNICODE_STYLES = (
    ("DOUBLE-STRUCK", "\\mathbb"), ("FRAKTUR", "\\mathfrak"), ("BLACK-LETTER", "\\mathfrak"),
    ("SCRIPT", "\\mathcal"), ("SANS-SERIF", "\\mathsf"), ("MONOSPACE", "\\mathtt"),
    ("BOLD ITALIC", "\\boldsymbol"), ("BOLD", "\\mathbf"), ("ITALIC", ""),
)  # fmt: skip
MATRICES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", ("‖", "‖"): "Vmatrix",
             ("{", "}"): "Bmatrix", ("{", ""): "cases"}  # fmt: skip
OPEN, CLOSE = "([{|‖⟨⌊⌈", ")]}|‖⟩⌋⌉"
TALL = ("mfrac", "mtable", "munderover", "munder", "mover", "mroot", "msqrt")
NOTATIONS = (
    ("box", "\\boxed"), ("roundedbox", "\\boxed"), ("radical", "\\sqrt"), ("top", "\\overline"),
    ("bottom", "\\underline"), ("updiagonalstrike", "\\cancel"), ("downdiagonalstrike", "\\bcancel"),
)  # fmt: skip
_CONTROL_WORD = re.compile(r"\\[A-Za-z]+\Z")


def joined(parts: Iterable[str]) -> str:
    """LaTeX side by side, with a blank where a control word would swallow the letter behind it."""
    out: list[str] = []
    for part in filter(None, parts):
        if out and part[0].isalpha() and _CONTROL_WORD.search(out[-1]):
            out.append(" ")
        out.append(part)
    return "".join(out)


def escaped(text: str) -> str:
    """Plain text as it stands inside `\\text{...}`."""
    text = re.sub(r"[{}%#&_$]", lambda found: "\\" + found[0], text.replace("\\", "\\textbackslash "))
    return text.replace("^", "\\^{}").replace("~", "\\textasciitilde ")
