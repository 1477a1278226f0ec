"""MathML to LaTeX: sympy prints the same expression both ways, and neither printer knows this converter."""

import re
import time

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
            r"x \tag{1}",
        ),
        (
            "<mtable><mlabeledtr><mtd><mtext>(2.1)</mtext></mtd><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mlabeledtr>"
            "<mtr><mtd><mi>c</mi></mtd><mtd><mi>d</mi></mtd></mtr></mtable>",
            r"\begin{align*}a & b \tag{2.1} \\ c & d\end{align*}",
        ),
        ("<mo>∉</mo><mo>≠</mo><mo>⊏̸</mo>", r"\notin\neq\not\sqsubset"),
        (
            "<munder><mrow><mi>argmax</mi><mo>&ApplyFunction;</mo></mrow><mi>x</mi></munder>",
            r"\operatorname*{argmax}_{x}",
        ),
        ("<munderover><mo>→</mo><mi>g</mi><mi>f</mi></munderover>", r"\xrightarrow[g]{f}"),
        ("<mi><mover><mo>=</mo><mo>!</mo></mover></mi>", r"\overset{!}{=}"),
        ("<mn>2</mn><mo>&InvisibleTimes;</mo><mn>3</mn>", r"2\,3"),
        ("<mn>12,000</mn>", "12{,}000"),
        ("<mi>a</mi><mo>mod</mo><mi>b</mi>", r"a\bmod b"),
        ("<mtext>if x ≤ 1</mtext>", r"\text{if x }\leq\text{ 1}"),
        ("<mtext mathvariant='bold'>so</mtext>", r"\textbf{so}"),
        ("<mi>x²</mi><mi>y₁₂</mi>", "x^{2}y_{12}"),
        ("<mi mathvariant='normal'>l</mi><mi mathvariant='normal'>i</mi>", r"\mathrm{li}"),
        ("<maction selection='2'><mi>a</mi><mi>b</mi></maction>", "b"),
        (
            "<semantics><ci>a</ci><annotation-xml encoding='MathML-Presentation'><mi>b</mi></annotation-xml>"
            "</semantics>",
            "b",
        ),
    ],
)
def test_elements(markup, expected):
    assert latex(markup) == expected


def test_fractions_in_brackets_are_read_once():
    """Twice a level would be 2^30 times."""
    inner = "<mi>x</mi>"
    for _ in range(30):
        inner = f"<mrow><mo>(</mo><mfrac>{inner}<mn>2</mn></mfrac><mo>)</mo></mrow>"
    assert latex(inner).count(r"\frac") == 30


def test_binomials():
    stacked = "<mfrac linethickness='0'><mi>n</mi><mi>k</mi></mfrac>"
    assert latex(f"<mo>(</mo>{stacked}<mo>)</mo>") == r"\binom{n}{k}"


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


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_content_as_sympy_writes_it(expression):
    from sympy.printing.mathml import mathml

    ours = plain(latex(mathml(expression, printer="content")))
    theirs = plain(sympy.latex(expression)).replace("\\left[\\begin", "[\\begin")
    theirs = re.sub(r"\[(\\begin\{)(matrix.*\\end\{)(matrix\})\]", r"\1p\2p\3", theirs)
    theirs = theirs.replace("\\wedge", "\\land").replace("\\vee", "\\lor").replace("\\frac{1}{x}", "x^{-1}")
    assert ours == theirs


# After the constructions of the MathML 3 recommendation's chapter 4.
@pytest.mark.parametrize(
    "markup, expected",
    [
        (
            "<apply><forall/><bvar><ci>x</ci></bvar><apply><eq/><apply><minus/><ci>x</ci><ci>x</ci></apply><cn>0</cn>"
            "</apply></apply>",
            r"\forall x : x - x = 0",
        ),
        (
            "<apply><int/><bvar><ci>x</ci></bvar><interval><ci>a</ci><ci>b</ci></interval><apply><cos/><ci>x</ci></apply>"
            "</apply>",
            r"\int_{a}^{b} \cos x \, dx",
        ),
        (
            "<apply><partialdiff/><bvar><ci>x</ci><degree><ci>m</ci></degree></bvar><bvar><ci>y</ci><degree><ci>n</ci>"
            "</degree></bvar><degree><ci>k</ci></degree><apply><ci>f</ci><ci>x</ci><ci>y</ci></apply></apply>",
            r"\frac{\partial^{k}}{\partial x^{m} \, \partial y^{n}} f(x, y)",
        ),
        ("<apply><root/><degree><ci>n</ci></degree><ci>a</ci></apply>", r"\sqrt[n]{a}"),
        (
            "<apply><csymbol cd='arith1'>plus</csymbol><ci>x</ci><apply><csymbol cd='arith1'>unary_minus</csymbol>"
            "<ci>y</ci></apply></apply>",
            "x - y",
        ),
        (
            "<apply><csymbol cd='calculus1'>defint</csymbol><apply><csymbol cd='interval1'>interval</csymbol><cn>0</cn>"
            "<cn>1</cn></apply><bind><csymbol cd='fns1'>lambda</csymbol><bvar><ci>x</ci></bvar><apply>"
            "<csymbol cd='arith1'>power</csymbol><ci>x</ci><cn>2</cn></apply></bind></apply>",
            r"\int_{0}^{1} x^{2} \, dx",
        ),
        (
            "<set><bvar><ci>x</ci></bvar><condition><apply><lt/><ci>x</ci><cn>5</cn></apply></condition><ci>x</ci></set>",
            r"\left\{x \mid x < 5\right\}",
        ),
        ("<cn type='e-notation'>12.3<sep/>5</cn>", r"12.3\times 10^{5}"),
        ("<cn type='rational'>22<sep/>7</cn>", r"\frac{22}{7}"),
        ("<ci><msub><mi>x</mi><mi>a</mi></msub></ci>", "x_{a}"),
        (
            "<apply><times/><apply><plus/><ci>a</ci><ci>b</ci></apply><apply><minus/><ci>c</ci></apply></apply>",
            r"\left(a + b\right)\left(-c\right)",
        ),
        (
            "<apply><power/><apply><power/><ci>x</ci><cn>2</cn></apply><cn>3</cn></apply>",
            r"\left(x^{2}\right)^{3}",
        ),
        (
            "<apply><minus/><ci>a</ci><apply><minus/><ci>b</ci><ci>c</ci></apply></apply>",
            r"a - \left(b - c\right)",
        ),
        (
            "<piecewise><piece><cn>0</cn><apply><lt/><ci>x</ci><cn>0</cn></apply></piece><otherwise><ci>x</ci></otherwise>"
            "</piecewise>",
            r"\begin{cases}0 & x < 0 \\ x & \text{otherwise}\end{cases}",
        ),
        ("<apply><log/><logbase><cn>3</cn></logbase><ci>x</ci></apply>", r"\log_{3} x"),
        ("<apply><in/><ci>a</ci><integers/></apply>", r"a \in \mathbb{Z}"),
        ("<apply><minus/><ci>a</ci><ci>b</ci><ci>c</ci></apply>", "a - b - c"),
    ],
)
def test_content_mathml(markup, expected):
    assert latex(markup) == expected


@pytest.mark.parametrize(
    "operator", ["power", "minus", "not", "factorial", "inverse", "transpose", "selector"]
)
def test_operators_without_arguments(operator):
    assert "n" in latex(f"<apply><{operator}></{operator}><bvar><ci>n</ci></bvar></apply>")


@pytest.mark.parametrize("name", ["set", "lambda", "times", "plus", "vector", "piecewise"])
def test_long_lists_take_linear_time(name):
    infix = name in ("times", "plus")
    head, first = ("apply", f"<{name}></{name}>") if infix else (name, "")
    members = ("<ci>x</ci>" if infix else "<bvar><ci>x</ci></bvar>") * 100_000
    parser = lxml_html.HTMLParser(huge_tree=True)
    root = lxml_html.document_fromstring(f"<math><{head}>{first}{members}</{head}></math>", parser=parser)
    start = time.process_time()
    assert mathml_to_latex(next(root.iter("math"))).count("x") >= 100_000
    assert time.process_time() - start < 20


def test_depth_of_presentation_in_content_is_bounded():
    layer = "<ci><mrow>" + "<apply><plus></plus>" * 20
    closed = "</apply>" * 20 + "</mrow></ci>"
    parser = lxml_html.HTMLParser(huge_tree=True)
    root = lxml_html.document_fromstring(f"<math>{layer * 12}<ci>x</ci>{closed * 12}</math>", parser=parser)
    with pytest.raises(TooDeepError):
        mathml_to_latex(next(root.iter("math")))


def test_depth_of_content_is_bounded():
    with pytest.raises(TooDeepError):
        latex("<apply><plus/>" * (MAX_DEPTH + 50) + "<ci>x</ci>" + "</apply>" * (MAX_DEPTH + 50))


TAGS = ["mi", "mn", "mo", "mrow", "mfrac", "msup", "msub", "msubsup", "munderover", "mover", "mtable", "mtr", "mtd",
        "mmultiscripts", "mprescripts", "none", "mfenced", "mroot", "menclose", "mspace", "unknown",
        "apply", "plus", "ci", "cn", "bvar", "int", "power", "diff", "piecewise", "piece", "set", "csymbol", "bind",
        "mlabeledtr", "semantics", "maction"]  # fmt: skip
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
