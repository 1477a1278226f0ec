"""MathML to LaTeX: sympy prints the same expression both ways, and neither printer knows this converter."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from lxml import html as lxml_html

from corpus.mathml import MAX_DEPTH, TooDeepError, mathml_to_latex

sympy = pytest.importorskip("sympy")


def parse(markup: str) -> etree._Element:
    parser = lxml_html.HTMLParser(encoding="utf-8")
    root = lxml_html.document_fromstring(f"<body>{markup}</body>".encode(), parser=parser)
    return next(node for node in root.iter() if isinstance(node.tag, str) and node.tag.endswith("math"))


def latex(markup: str) -> str:
    return mathml_to_latex(parse(f"<math>{markup}</math>"))


def plain(tex: str) -> str:
    """What two spellings of one formula have in common: no spaces, growing brackets or redundant braces."""
    tex = tex.replace("\\left", "").replace("\\right", "").replace("\\limits", "").replace("\\rarrow", "\\to")
    tex = re.sub(r"(\\\\)|\\[,;:! ]|\s", r"\1", tex)
    tex = re.sub(r"(?<=[_^])\{(\w)\}", r"\1", tex)
    return re.sub(r"(?<![A-Za-z}\]_^])\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", tex)


x, y, n, k, a, b = sympy.symbols("x y n k alpha beta")
EXPRESSIONS = [
    x**2 + 1,
    sympy.sqrt(x) / y,
    sympy.Rational(3, 4) * x,
    sympy.root(x, 3),
    sympy.Sum(k**2, (k, 1, n)),
    sympy.Eq(a**b, x + y),
    sympy.Ne(x, y),
    sympy.And(x > 1, y <= 2),
    sympy.Or(x < 1, y >= 2),
    sympy.factorial(n),
    sympy.Symbol("x_1") + sympy.Symbol("beta") ** 3,
    sympy.Symbol("Gamma_12") ** x,
    sympy.Matrix([[1, x], [y, 2]]),
    sympy.binomial(n, k),
    sympy.Union(sympy.Interval(0, 1), sympy.Interval(2, 3)),
    sympy.Implies(sympy.Symbol("p"), sympy.Symbol("q")),
    sympy.Limit(1 / x, x, sympy.oo),
    sympy.conjugate(x),
    sympy.Integral(x, x),
    (x + 1) / (y - 1) ** 2,
    sympy.pi * x / sympy.sqrt(1 + y**2),
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_as_sympy_writes_it(expression):
    from sympy.printing.mathml import mathml

    ours = plain(latex(mathml(expression, printer="presentation")))
    theirs = plain(sympy.latex(expression).replace("\\to", "\\rightarrow"))
    theirs = re.sub(r"\[(\\begin\{)(matrix.*\\end\{)(matrix\})\]", r"\1b\2b\3", theirs)
    assert ours == theirs


@pytest.mark.parametrize(
    "markup, expected",
    [
        ("<mi>sin</mi><mo>&ApplyFunction;</mo><mi>x</mi>", r"\sin x"),
        ("<mi>a</mi><mo>&InvisibleTimes;</mo><mi>b</mi>", "ab"),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_{i}^{2}"),
        ("<msup><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></msup>", "{a+b}^{2}"),
        ("<msup><mi>f</mi><mo>′</mo></msup>", "f'"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", r"\bar{x}"),
        ("<mover accent='true'><mrow><mi>A</mi><mi>B</mi></mrow><mo>→</mo></mover>", r"\overrightarrow{AB}"),
        (
            "<munder><mo>lim</mo><mrow><mi>n</mi><mo>→</mo><mi>∞</mi></mrow></munder>",
            r"\lim_{n\rightarrow\infty}",
        ),
        ("<munder><mi>x</mi><mi>y</mi></munder>", r"\underset{y}{x}"),
        ("<mi mathvariant='double-struck'>R</mi><mi>ℝ</mi><mi>𝔽</mi>", r"\mathbb{R}\mathbb{R}\mathbb{F}"),
        (
            "<mi mathvariant='normal'>d</mi><mi>𝐯</mi><mi>ℒ</mi><mi>𝔤</mi>",
            r"\mathrm{d}\mathbf{v}\mathcal{L}\mathfrak{g}",
        ),
        ("<mtext>50% of {all}</mtext>", r"\text{50\% of \{all\}}"),
        ("<mi>x</mi><mspace width='1em'/><mi>y</mi>", r"x\quad y"),
        (
            "<mo>{</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mi>a</mi></mtd></mtr></mtable>",
            r"\begin{cases}1 & a\end{cases}",
        ),
        ("<mfenced open='[' close=']'><mi>a</mi><mi>b</mi></mfenced>", r"\left[a,b\right]"),
        ("<menclose notation='box'><mi>x</mi></menclose>", r"\boxed{x}"),
        (
            "<mmultiscripts><mi>C</mi><mi>a</mi><none/><mprescripts/><mi>b</mi><mi>c</mi></mmultiscripts>",
            "{}_{b}^{c}C_{a}",
        ),
        ("<mo>(</mo><mfrac><mn>1</mn><mn>2</mn></mfrac><mo>)</mo>", r"\left(\frac{1}{2}\right)"),
        ("<mo>|</mo><mi>x</mi><mo>|</mo>", "|x|"),
        ("<semantics><mi>x</mi><annotation-xml><ci>y</ci></annotation-xml></semantics>", "x"),
        (
            "<mtable><mlabeledtr><mtd><mtext>(1)</mtext></mtd><mtd><mi>x</mi></mtd></mlabeledtr></mtable>",
            r"\begin{matrix}x\end{matrix}",
        ),
    ],
)
def test_elements(markup, expected):
    assert latex(markup) == expected


def test_any_prefix_and_namespace():
    expected = r"\frac{a}{b}"
    assert (
        mathml_to_latex(parse("<m:math><m:mfrac><m:mi>a</m:mi><m:mi>b</m:mi></m:mfrac></m:math>")) == expected
    )
    xml = '<math xmlns="urn:odd"><mfrac><mi>a</mi><mi>b</mi></mfrac></math>'
    assert mathml_to_latex(etree.fromstring(xml)) == expected


def test_depth_is_bounded():
    deep = "<mrow>" * (MAX_DEPTH + 50) + "<mi>x</mi>" + "</mrow>" * (MAX_DEPTH + 50)
    with pytest.raises(TooDeepError):
        latex(deep)


TAGS = ["mi", "mn", "mo", "mrow", "mfrac", "msup", "msub", "msubsup", "munderover", "mover", "mtable", "mtr", "mtd",
        "mmultiscripts", "mprescripts", "none", "mfenced", "mroot", "menclose", "mspace", "unknown"]  # fmt: skip
TREES = st.recursive(
    st.builds(
        lambda tag, text: f"<{tag}>{text}</{tag}>", st.sampled_from(TAGS), st.sampled_from("xα∑({})1−′¯ ")
    ),
    lambda inner: st.builds(
        lambda tag, children: f"<{tag}>{''.join(children)}</{tag}>",
        st.sampled_from(TAGS),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


@given(TREES)
def test_any_tree_gives_balanced_braces(markup):
    """Wrong numbers of children and elements in the wrong place are what real pages have."""
    tex = re.sub(r"\\[{}]", "", latex(markup))
    depth = 0
    for char in tex:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
