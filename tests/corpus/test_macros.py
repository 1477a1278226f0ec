"""Macros that a page defines are written out; whatever they are, expansion ends."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.formulas import Formula
from corpus.macros import MAX_GROWTH, MIN_LIMIT, Macros

MATHJAX3 = r"""<script>
MathJax = {loader: {load: ['[tex]/ams']}, tex: {inlineMath: [['$', '$']], macros: { // of this site
  RR: "\\mathbb{R}", 'bold': ['\\mathbf{#1}', 1], opt: ["#1_{#2}", 2, "z"],
 /* { */ ip: [String.raw`\langle #1, #2\rangle`, 2]
}}, options: {a: "b"}};</script>"""
MATHJAX2 = r"""<script type="text/x-mathjax-config">
MathJax.Hub.Config({TeX: {Macros: {RR: "{\\bf R}", bold: ["{\\bf #1}", 1]}}});</script>"""
KATEX = r"""<script>renderMathInElement(document.body, {macros: {"\\RR": "\\mathbb{R}", "\\f": "#1f(#2)"}});</script>"""
TYPED = (
    r"<div style='display:none'>\(\newcommand{\lt}{<} \newcommand{\abs}[1]{\left|#1\right|} "
    r"\DeclareMathOperator*{\esssup}{ess\,sup}"
    r"\def\foo#1#2{f(#1,#2)} \let\eps\varepsilon \DeclarePairedDelimiter{\norm}{\lVert}{\rVert} "
    r"\newcommand\QQ{\mathbb Q}"
    r"\newcommand{\pair}[2][0]{(#1,#2)}\)</div>"
)


@pytest.mark.parametrize(
    "page, tex, expected",
    [
        (MATHJAX3, r"x \in \RR^n", r"x \in \mathbb{R}^n"),
        (MATHJAX3, r"\bold x + \bold{yz}", r"\mathbf{x} + \mathbf{yz}"),
        (MATHJAX3, r"\opt{a} + \opt[b]{c}", r"z_{a} + b_{c}"),
        (MATHJAX3, r"\ip{u}{v}", r"\langle u, v\rangle"),
        (MATHJAX2, r"\RR \bold{x}", r"{\bf R} {\bf x}"),
        (KATEX, r"\RR + \f{a}{b}", r"\mathbb{R} + af(b)"),
        (TYPED, r"\abs{\abs x}", r"\left|\left|x\right|\right|"),
        (TYPED, r"\esssup_x \foo3y x_\eps", r"\operatorname*{ess\,sup}_x f(3,y) x_\varepsilon"),
        (TYPED, r"\norm{v} + \norm*{w}", r"\left\lVert v\right\rVert + \left\lVert w\right\rVert"),
        (TYPED, r"\frac\QQ2 + x^\QQ", r"\frac{\mathbb Q}2 + x^{\mathbb Q}"),
        (TYPED, r"\pair{1} \pair[2]{3}", r"(0,1) (2,3)"),
        # Standard commands keep their names, line breaks are no macros, and longer names are others.
        (TYPED, r"a \lt b \\QQ \QQx", r"a \lt b \\QQ \QQx"),
    ],
)
def test_expansion(page, tex, expected):
    assert Macros.of(page).expand(tex) == expected


def test_a_formula_of_definitions_is_none():
    macros = Macros()
    assert macros.formula(Formula(r"\newcommand{\half}{\frac12} \require{cancel}")) is None
    assert macros.formula(Formula(r"\def\x{y}\half + \x", True)) == Formula(r"\frac12 + y", True)
    assert macros.formula(Formula(r"\alpha")) == Formula(r"\alpha")


def test_listings_define_nothing():
    assert Macros.of(r"<pre>\newcommand{\R}{x}</pre><code>\def\S{y}</code>").known == {}


@pytest.mark.parametrize(
    "definitions",
    [
        r"\def\a{\a\a}",
        r"\def\a{\b}\def\b{\a}",
        "".join(rf"\def\{x}{{\{y}\{y}\{y}}}" for x, y in zip("abcdefghijklm", "bcdefghijklmn", strict=True)),
    ],
)
def test_endless_expansion_leaves_the_formula(definitions):
    macros = Macros.of(definitions + "x" * 10)
    assert macros.expand(r"1 + \a") == r"1 + \a"


@pytest.mark.parametrize(
    "piece",
    [
        "\\def\\a{",
        "macros: {",
        "\\newcommand{\\a}[1]{#1}",
        "\\let\\a\\b",
        "macros:{a:'",
        "<pre>\\def",
        "\\a{",
    ],
)
def test_hostile_repetition_ends(piece):
    page = piece * (1_000_000 // len(piece))
    start = time.process_time()
    macros = Macros.of(page)
    macros.formula(Formula(page[:10_000]))
    assert time.process_time() - start < 20


@given(st.text("\\abdef{}#12 newcomand[]", max_size=60), st.text("\\ab{}#1 ", max_size=30))
def test_expansion_is_bounded(page, tex):
    macros = Macros.of("\\def\\a#1{#1#1b}" + page)
    assert len(macros.expand(tex)) <= 2 * max(MIN_LIMIT, MAX_GROWTH * len(tex)) + len(tex)
