"""LaTeX out of KaTeX's drawing; the markup is what katex 0.16 and 0.19 print."""

import pytest
from lxml import html as lxml_html

from corpus.formulas import sources
from corpus.katex_html import MAX_DEPTH, katex_html_to_latex
from corpus.mathml_tree import TooDeepError


def stack(*entries: tuple[float, str], deep: bool = False) -> str:
    rows = "".join(
        f'<span style="top:{top}em;"><span class="pstrut" style="height:3em;"></span>{content}</span>'
        for top, content in entries
    )
    depth = (
        '<span class="vlist-r"><span class="vlist" style="height:0.2em;"><span></span></span></span>'
        if deep
        else ""
    )
    return (
        f'<span class="vlist-t{" vlist-t2" if deep else ""}"><span class="vlist-r"><span class="vlist" style="height:1em;">'  # noqa: E501
        f"{rows}</span></span>{depth}</span>"
    )


def small(content: str) -> str:
    return f'<span class="sizing reset-size6 size3 mtight">{content}</span>'


X, N = '<span class="mord mathnormal">x</span>', '<span class="mord mathnormal mtight">n</span>'
ONE = '<span class="mord mtight"><span class="mord mtight">1</span></span>'
FRACTION = (
    '<span class="mord"><span class="mopen nulldelimiter"></span><span class="mfrac">'
    + stack(
        (-2.3, X), (-3.2, '<span class="frac-line"></span>'), (-3.7, '<span class="mord">1</span>'), deep=True
    )
    + '</span><span class="mclose nulldelimiter"></span></span>'
)


def fenced(left: str, inner: str, right: str) -> str:
    return (
        f'<span class="minner"><span class="mopen delimcenter"><span class="delimsizing size2">{left}</span></span>{inner}'  # noqa: E501
        f'<span class="mclose delimcenter"><span class="delimsizing size2">{right}</span></span></span>'
    )


MATRIX = (
    '<span class="mord"><span class="mtable"><span class="col-align-c">'
    + stack((-3.6, X), (-2.4, '<span class="mord">0</span>'), deep=True)
    + '</span><span class="arraycolsep"></span><span class="col-align-c">'
    + stack((-3.6, '<span class="mord">1</span>'), (-2.4, X), deep=True)
    + "</span></span></span>"
)


@pytest.mark.parametrize(
    "markup, expected",
    [
        (f'<span class="mord">{X}<span class="msupsub">{stack((-3.1, small(N)))}</span></span>', "x^n"),
        (
            f'<span class="mord">{X}<span class="msupsub">{stack((-2.5, small(ONE)), deep=True)}</span></span>',
            "x_{1}",
        ),
        (
            f'<span class="mord">{X}<span class="msupsub">{stack((-2.4, small(ONE)), (-3.1, small(N)), deep=True)}</span></span>',  # noqa: E501
            "x_{1}^n",
        ),
        (FRACTION, r"\frac{1}{x}"),
        (fenced("(", FRACTION, ")"), r"\left(\frac{1}{x}\right)"),
        (fenced("(", MATRIX, ")"), r"\begin{pmatrix}x & 1 \\ 0 & x\end{pmatrix}"),
        (
            '<span class="mop op-limits">'
            + stack(
                (-1.9, small(ONE)),
                (-3.05, '<span><span class="mop op-symbol large-op">∑</span></span>'),
                (-4.3, small(N)),
                deep=True,
            )
            + "</span>",
            r"\sum_{1}^{n}",
        ),
        (
            f'<span class="mord sqrt">{stack((-3, X), (-2.8, "<span class=hide-tail></span>"), deep=True)}</span>',
            r"\sqrt{x}",
        ),
        (
            f'<span class="mord accent">{stack((-3, X), (-3, "<span class=accent-body><span class=mord>^</span></span>"))}</span>',  # noqa: E501
            r"\hat{x}",
        ),
        ('<span class="mop">lo<span style="margin-right:0.01em;">g</span></span>' + X, r"\log x"),
        ('<span class="mop"><span class="mord mathrm">rank</span></span>', r"\operatorname{rank}"),
        ('<span class="mord mathbb">R</span><span class="mrel">∈</span>', r"\mathbb{R}\in"),
        ('<span class="mord text"><span class="mord">if\u00a0so</span></span>', r"\text{if so}"),
        ('<span class="mspace" style="margin-right:1em;"></span>' + X, r"\quad x"),
    ],
)
def test_structures(markup, expected):
    drawn = f'<span class="katex-html"><span class="base"><span class="strut"></span>{markup}</span></span>'
    assert katex_html_to_latex(lxml_html.fragment_fromstring(drawn)) == expected
    # Releases since 0.17 prefix their classes.
    renamed = (
        drawn.replace('"base"', '"katex-base"')
        .replace('"strut"', '"katex-strut"')
        .replace('"sizing', '"katex-sizing')
    )
    assert katex_html_to_latex(lxml_html.fragment_fromstring(renamed)) == expected


def test_a_page_without_any_other_source():
    drawn = f'<span class="katex"><span class="katex-html" aria-hidden="true"><span class="base">{FRACTION}</span></span></span>'  # noqa: E501
    page = f"<p>so {drawn} is</p>"
    root = lxml_html.document_fromstring(page)
    assert [str(formula) for _, formula in sources(root, page)] == [r"$\frac{1}{x}$"]


def test_fractions_in_brackets_are_read_once():
    """Twice a level would be 2^30 times."""
    inner = X
    for _ in range(30):
        line = (-3.2, '<span class="frac-line"></span>')
        inner = f'<span class="mfrac">{stack((-2.3, X), line, (-3.7, inner), deep=True)}</span>'
        inner = fenced("(", inner, ")")
    parser = lxml_html.HTMLParser(huge_tree=True)
    root = lxml_html.document_fromstring(f'<span class="katex-html">{inner}</span>', parser=parser)
    assert katex_html_to_latex(root).count(r"\frac") == 30


def test_binomials():
    stacked = stack((-2.3, X), (-3.7, '<span class="mord">n</span>'), deep=True)
    drawn = fenced("(", f'<span class="mfrac">{stacked}</span>', ")")
    assert katex_html_to_latex(lxml_html.fragment_fromstring(f"<span>{drawn}</span>")) == r"\binom{n}{x}"


def test_depth_is_bounded():
    deep = '<span class="mord">' * (MAX_DEPTH + 20) + "x" + "</span>" * (MAX_DEPTH + 20)
    parser = lxml_html.HTMLParser(huge_tree=True)
    root = lxml_html.document_fromstring(f'<span class="katex-html">{deep}</span>', parser=parser)
    with pytest.raises(TooDeepError):
        katex_html_to_latex(root)
