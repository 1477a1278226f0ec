"""Every way the web writes a formula ends as the same LaTeX between dollars."""

import html as entities
import re
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.delimiters import Delimiters, escape_dollars, typed
from corpus.formulas import clean_tex
from corpus.html import extract_text

FORMULAS = [
    r"x^2+y^2=z^2",
    r"\frac{a}{b} < \sqrt{c_{1}}",
    r"\sum_{i=1}^{n} a_i \leq \int_0^1 f(x)\,dx",
    r"A = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"\forall \varepsilon > 0\ \exists \delta \text{ such that } |x| < \delta",
]


def quoted(tex: str) -> str:
    return entities.escape(tex)


# Each writer gives the markup of one formula, as the named software does.
WRITERS = {
    "mathjax2 script": lambda t, d: f'<script type="math/tex{"; mode=display" if d else ""}">{t}</script>',
    "mathjax2 rendered": lambda t, d: (
        f'<span class="MathJax_Preview">{quoted(t)}</span><span class="MathJax" id="MathJax-1"><nobr>'
        f'<span class="math">glyphs</span></nobr></span>'
        f'<script type="math/tex{"; mode=display" if d else ""}">{t}</script>'
    ),
    "mathjax3 rendered": lambda t, d: (
        f'<mjx-container class="MathJax" jax="CHTML"{" display=true" if d else ""}><mjx-math><mjx-c></mjx-c></mjx-math>'
        f'<mjx-assistive-mml><math display="{"block" if d else "inline"}"><semantics><mi>x</mi>'
        f'<annotation encoding="application/x-tex">{quoted(t)}</annotation></semantics></math>'
        "</mjx-assistive-mml></mjx-container>"
    ),
    "katex": lambda t, d: (
        f'<span class="{"katex-display" if d else "katex"}">{"<span class=katex>" if d else ""}'
        f'<span class="katex-mathml"><math><semantics><mrow><mi>x</mi></mrow>'
        f'<annotation encoding="application/x-tex">{quoted(t)}</annotation>'
        f'</semantics></math></span><span class="katex-html" aria-hidden="true">glyphs</span></span>'
        f"{'</span>' if d else ''}"
    ),
    "mathml with annotation": lambda t, d: (
        f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="{"block" if d else "inline"}">'
        f'<semantics><mi>x</mi><annotation encoding="application/x-tex">{quoted(t)}</annotation></semantics></math>'
    ),
    "alttext": lambda t, d: (
        f'<math alttext="{quoted(t)}" class="ltx_Math" display="{"block" if d else "inline"}"><mi>x</mi></math>'
    ),
    "wikipedia": lambda t, d: (
        f'<span class="mwe-math-element"><span class="mwe-math-mathml-inline" style="display: none;"><math display='
        f'"{"block" if d else "inline"}" alttext="{{\\displaystyle {quoted(t)}}}"><semantics><mi>x</mi><annotation '
        f'encoding="application/x-tex">{{\\displaystyle {quoted(t)}}}</annotation></semantics></math></span>'
        f'<img src="https://wikimedia.org/api/rest_v1/media/math/render/svg/00" class="mwe-math-fallback-image-inline" '
        f'alt="{{\\displaystyle {quoted(t)}}}"></span>'
    ),
    "typed": lambda t, d: quoted(f"\\[{t}\\]" if d else f"\\({t}\\)"),
    "double dollars or pandoc": lambda t, d: (
        quoted(f"$${t}$$") if d else f'<span class="math inline">\\({quoted(t)}\\)</span>'
    ),
    "sphinx": lambda t, d: (
        f'<div class="math notranslate nohighlight">\n\\[{quoted(t)}\\]</div>'
        if d
        else f'<span class="math notranslate nohighlight">\\({quoted(t)}\\)</span>'
    ),
}
INLINE_WRITERS = {
    "wordpress": lambda t: (
        f'<img src="https://s0.wp.com/latex.php?latex={urllib.parse.quote_plus(t)}&amp;bg=ffffff&amp;s=0" '
        f'alt="{quoted(t)}" title="{quoted(t)}" class="latex" />'
    ),
    "codecogs": lambda t: (
        f'<img src="https://latex.codecogs.com/svg.image?\\inline {urllib.parse.quote(t)}" alt="" />'
    ),
    "codecogs with parameters": lambda t: (
        f'<img src="https://latex.codecogs.com/gif.latex?\\dpi{{120}}&amp;space;{urllib.parse.quote(t)}">'
    ),
    "zhihu": lambda t: (
        f'<img src="https://www.zhihu.com/equation?tex={urllib.parse.quote(t)}" alt="[formula]">'
    ),
    "google charts": lambda t: (
        f'<img src="//chart.googleapis.com/chart?cht=tx&amp;chl={urllib.parse.quote(t)}">'
    ),
    "upmath": lambda t: f'<img src="https://i.upmath.me/svg/{urllib.parse.quote(t)}">',
    "github": lambda t: (
        f'<img src="https://render.githubusercontent.com/render/math?math={urllib.parse.quote(t)}">'
    ),
    "jianshu": lambda t: (
        f'<img src="https://math.jianshu.com/math?formula={urllib.parse.quote(t)}" alt="{quoted(t)}">'
    ),
    "csdn": lambda t: f'<img src="https://latex.csdn.net/eq?{urllib.parse.quote(t)}">',
    "canvas": lambda t: (
        f'<img class="equation_image" src="/equation_images/{urllib.parse.quote(urllib.parse.quote(t))}" '
        f'data-equation-content="{quoted(t)}">'
    ),
    "latex2html": lambda t: f'<img width="50" src="img1.png" alt="${quoted(t)}$">',
    "mathjax image": lambda t: f'<img src="eq.svg" alt="\\({quoted(t)}\\)">',
    "sphinx image": lambda t: f'<img class="math" src="_images/math/0a.png" alt="{quoted(t)}"/>',
    "stack exchange": lambda t: f'<span class="math-container">${quoted(t)}$</span>',
    "gitlab": lambda t: f'<code class="language-math">{quoted(t)}</code>',
    "data attribute": lambda t: f'<span class="eq" data-tex="{quoted(t)}">glyphs</span>',
}


def squeeze(tex: str) -> str:
    return re.sub(r"\s+", "", tex)


def page_with(formulas: list[str]) -> str:
    paragraphs = "".join(
        f"<p>This sentence number {number} stands before {formula} and this one behind it, in plain words.</p>"
        for number, formula in enumerate(formulas)
    )
    return (
        '<html><head><title>t</title><script src="https://cdn.example/MathJax.js"></script></head><body><nav>Home</nav>'
        f"<article><h1>Heading</h1>{paragraphs}</article></body></html>"
    )


def segments(text: str) -> list[tuple[str, bool]]:
    """Formulas a naive reader would find: (LaTeX, displayed)."""
    found = re.finditer(r"(?<!\\)\$\$((?:\\.|[^\\$])+)\$\$|(?<!\\)\$((?:\\.|[^\\$])+)\$", text)
    return [(squeeze(match[1] or match[2]), match[1] is not None) for match in found]


@pytest.mark.parametrize("display", [False, True], ids=["inline", "display"])
@pytest.mark.parametrize("writer", WRITERS)
def test_encodings(writer, display):
    page = extract_text(page_with([WRITERS[writer](tex, display) for tex in FORMULAS]))
    assert segments(page.text) == [(squeeze(tex), display) for tex in FORMULAS]
    assert page.formulas == len(FORMULAS)
    assert "glyphs" not in page.text
    assert "stands before" in page.text and "in plain words" in page.text


@pytest.mark.parametrize("writer", INLINE_WRITERS)
def test_inline_encodings(writer):
    page = extract_text(page_with([INLINE_WRITERS[writer](tex) for tex in FORMULAS]))
    assert segments(page.text) == [(squeeze(tex), False) for tex in FORMULAS]
    assert page.formulas == len(FORMULAS) and "glyphs" not in page.text


def test_bare_mathml_in_any_prefix():
    for prefix in ("", "m:", "mml:"):
        tag = lambda name, inner, p=prefix: f"<{p}{name}>{inner}</{p}{name}>"
        formula = tag("math", tag("msup", tag("mi", "x") + tag("mn", "2")) + tag("mo", "≤") + tag("mi", "π"))
        assert segments(extract_text(page_with([formula])).text) == [(r"x^{2}\leq\pi", False)]


def test_mathml_in_an_attribute_of_wiris():
    image = (
        "<img class='Wirisformula' src='x.png' data-mathml='«math xmlns=¨http://www.w3.org/1998/Math/MathML¨»«msup»«mi»x"
        "«/mi»«mn»2«/mn»«/msup»«mo»§#8804;«/mo»«mn»1«/mn»«/math»'>"
    )
    assert segments(extract_text(page_with([image])).text) == [(r"x^{2}\leq1", False)]


def test_asciimath_scripts():
    script = '<script type="math/asciimath">sum_(i=1)^n i/2</script>'
    assert segments(extract_text(page_with([script])).text) == [(r"\sum_{i=1}^{n}\frac{i}{2}", False)]


def test_an_annotation_in_another_language_is_not_latex():
    formula = (
        "<math><semantics><msqrt><mi>x</mi></msqrt><annotation encoding='text/plain'>root of x</annotation>"
        "</semantics></math>"
    )
    assert segments(extract_text(page_with([formula])).text) == [(r"\sqrt{x}", False)]


def test_numbered_equations_are_displayed():
    row = "<mlabeledtr><mtd><mtext>(7)</mtext></mtd><mtd><mi>x</mi></mtd></mlabeledtr>"
    formula = f"<math><mtable>{row}</mtable></math>"
    assert segments(extract_text(page_with([formula])).text) == [(r"x\tag{7}", True)]


def test_an_image_that_is_no_formula_is_none():
    page = extract_text(page_with(['<img src="cat.png" alt="a_cat = cute">']))
    assert page.formulas == 0 and segments(page.text) == []


@pytest.mark.parametrize(
    "alt, expected",
    [
        ("x**n + 1", ["x**n+1"]),
        ("[-1, 1]", ["[-1,1]"]),
        ("l - j + 1", ["l-j+1"]),
        ("n", ["n"]),
        ("Equation", []),
        ("Equation 3", []),
        ("the sum of all", []),
        ("eq12.png", []),
    ],
)
def test_alternative_text_without_signs_of_tex(alt, expected):
    page = page_with([f'<img class="math" src="a.png" alt="{alt}">'])
    assert [tex for tex, _ in segments(extract_text(page).text)] == expected


def test_a_spoken_alternative_is_not_latex():
    formula = (
        '<math alttext="x squared plus one"><msup><mi>x</mi><mn>2</mn></msup><mo>+</mo><mn>1</mn></math>'
    )
    assert segments(extract_text(page_with([formula])).text) == [("x^{2}+1", False)]


@pytest.mark.parametrize(
    "tex, expected",
    [
        ("  a \n +  b ", ("a + b", None)),
        ("% <![CDATA[\n a<b \\\\ %]]>", ("a<b \\\\", None)),
        ("a % comment\n b \\% c", ("a b \\% c", None)),
        ("a \\\\% comment\n b", ("a \\\\ b", None)),
        ("$$x$$", ("x", True)),
        ("\\(x\\)", ("x", False)),
        ("\\[x\\]", ("x", True)),
        ("{\\displaystyle \\frac{1}{2}}", ("\\frac{1}{2}", None)),
        ("{\\displaystyle a}+{b}", ("{\\displaystyle a}+{b}", None)),
        ("x \\text{ if $y$}", ("x \\text{ if \\(y\\)}", None)),
        ("\\begin{align} a \\end{align}", ("\\begin{align} a \\end{align}", True)),
        ("x\\", ("x", None)),
        ("", ("", None)),
    ],
)
def test_clean_tex(tex, expected):
    assert clean_tex(tex) == expected


@given(st.text("ab$\\{}%[]() \n", max_size=40))
def test_clean_tex_never_breaks_the_pairs_around_it(tex):
    clean, _ = clean_tex(tex)
    assert clean_tex(clean)[0] is not None
    assert not re.search(r"(?<!\\)(?:\\\\)*\$", re.sub(r"\\.", "", clean))
    assert re.search(r"(?<!\\)(?:\\\\)*\\\Z", clean) is None


def put(formula) -> str:
    return f"<{'D' if formula.display else 'I'}:{formula.tex}>"


RENDERED, DOLLARS, NONE = Delimiters(True, False), Delimiters(True, True), Delimiters()


@pytest.mark.parametrize(
    "text, delimiters, expected",
    [
        (r"a \(x\) b \[y\]", RENDERED, "a <I:x> b <D:y>"),
        (r"group with \( and \) in sed", NONE, r"group with \( and \) in sed"),
        (r"so \(x^2\) here", NONE, "so <I:x^2> here"),
        (r"\[ a \\[2pt] b \]", RENDERED, r"<D:a \\[2pt] b>"),
        ("pay $5 and $10 now", RENDERED, "pay $5 and $10 now"),
        ("pay $5 and $10 now", NONE, "pay $5 and $10 now"),
        ("so $x$ and $y = 2$ hold", DOLLARS, "so <I:x> and <I:y = 2> hold"),
        ("so $x_1$ holds", RENDERED, "so <I:x_1> holds"),
        ("export $HOME and $PATH", NONE, "export $HOME and $PATH"),
        ("echo $A_B:$C_D", NONE, "echo $A_B:$C_D"),
        (r"with $\frac{1}{2}$ of it", NONE, r"with <I:\frac{1}{2}> of it"),
        (r"\begin{align}a\\b\end{align} then", RENDERED, r"<D:\begin{align}a\\b\end{align}> then"),
        (r"costs \$5 and $x^2$", DOLLARS, r"costs \$5 and <I:x^2>"),
        ("one $ alone", DOLLARS, "one $ alone"),
        ("$$x$$$$y$$", RENDERED, "<D:x><D:y>"),
        ("so $x$$y_1$$z$ hold", DOLLARS, "so <I:x><I:y_1><I:z> hold"),
        (r"$5, so $$\frac{\$5}{x_1}$$ of $6", DOLLARS, r"$5, so <D:\frac{\$5}{x_1}> of $6"),
        (r"\(a\n\n b\)".replace(r"\n", "\n"), RENDERED, "\\(a\n\n b\\)"),
    ],
)
def test_typed_delimiters(text, delimiters, expected):
    assert typed(text, delimiters, put) == expected


def test_configuration_is_read_from_the_page():
    mathjax = "<script>MathJax = {tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']]}};</script>"
    katex = "<script>renderMathInElement(document.body, {delimiters: [{left: '$', right: '$'}]}) // katex</script>"
    assert Delimiters.of(mathjax) == DOLLARS and Delimiters.of(katex) == DOLLARS
    assert Delimiters.of("<script src=mathjax.js></script>") == RENDERED
    assert Delimiters.of('<script src="require.js" data-main="../assets/documenter.js"></script>') == DOLLARS
    assert Delimiters.of("<p>plain</p>") == NONE


@pytest.mark.parametrize(
    "head, expected",
    [
        ('<script src="MathJax.js?config=TeX-MML-AM_CHTML"></script>', True),
        ('<script src="MathJax.js?config=TeX-AMS_CHTML"></script>', False),
        ('<script src="http://example.com/ASCIIMathML.js"></script>', True),
        ("<script>MathJax = {loader: {load: ['input/asciimath']}}</script>", True),
        (
            "<script>MathJax = {loader: {load: ['input/asciimath']}}</script><body class='pretext ignore-math'>",
            False,
        ),
        ("<p>`x`</p>", False),
    ],
)
def test_asciimath_is_read_where_the_page_reads_it(head, expected):
    assert Delimiters.of(head).asciimath is expected


def test_backticks_of_asciimath():
    read = Delimiters(True, False, True)
    assert typed("so `x/2` and `sqrt y`, \\(z\\)", read, put) == r"so <I:\frac{x}{2}> and <I:\sqrt{y}>, <I:z>"
    assert typed("so `x/2`", RENDERED, put) == "so `x/2`"
    assert typed("``not`` and ` ` and `one", read, put) == "``not`` and ` ` and `one"


@given(st.text("ab $\\()[]{}_\n", max_size=80), st.sampled_from([RENDERED, DOLLARS, NONE]))
def test_typed_loses_no_words(text, delimiters):
    """Whatever is taken for a formula, every letter is still there."""
    found = typed(text, delimiters, lambda formula: formula.tex)
    assert re.sub(r"[^ab]", "", found) == re.sub(r"[^ab]", "", text)


def test_dollars_are_escaped_only_where_they_would_pair():
    assert escape_dollars("from $5 to $10", False) == "from $5 to $10"
    assert escape_dollars("one $ only", False) == "one $ only"
    assert escape_dollars("$PATH:$HOME/bin$ x", False) == r"\$PATH:\$HOME/bin\$ x"
    assert escape_dollars("from $5 to $10", True) == r"from \$5 to \$10"
    assert escape_dollars(r"already \$5", True) == r"already \$5"


def test_prices_beside_formulas():
    page = extract_text(page_with([r"\(x^2\)", "a price of $5 or", r"\(y^2\)", "another of $7"]))
    assert segments(page.text) == [("x^2", False), ("y^2", False)]
    assert r"\$5" in page.text and r"\$7" in page.text


def test_dollars_that_github_draws_and_that_a_blog_without_renderer_types():
    github = extract_text(page_with(['<math-renderer class="js-inline-math">$O(n)$</math-renderer>']))
    assert segments(github.text) == [("O(n)", False)]
    assert segments(extract_text(page_with([r"$O(\log n)$"])).text) == [(r"O(\logn)", False)]


def test_blanks_of_a_form_encoded_query():
    image = '<img src="https://www.zhihu.com/equation?tex=%5Chat+f+%3D+a%2Bb">'
    assert r"$\hat f = a+b$" in extract_text(page_with([image])).text
