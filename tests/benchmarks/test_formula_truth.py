r"""The truth parser against hand-written pages: what the page's own renderer would draw, no more and no less."""

import pytest

pytest.importorskip("html5lib", reason="html5lib, which reads the truth, is not installed")

from benchmarks.formula_truth import is_trivial, normalise, read

MATHJAX_2 = '<script src="https://cdn.example/mathjax/2.7.9/MathJax.js?config=TeX-AMS_HTML"></script>'
MATHJAX_3 = '<script src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"></script>'
AUTO_RENDER = '<script src="/katex/contrib/auto-render.min.js"></script>'


def page(body: str, head: str = "") -> str:
    return f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>"


def found(body: str, head: str = "") -> list[tuple[str, str]]:
    return [(formula.tex.strip(), formula.encoding) for formula in read(page(body, head)).formulas]


def test_mathjax_takes_single_dollars_only_where_it_is_told_to():
    body = r"<p>from $5 to $10, \(x^2\) and $$y^2$$</p>"
    assert found(body, MATHJAX_2) == [("x^2", r"typed \("), ("y^2", "typed $$")]
    told = (
        MATHJAX_2
        + r"<script>MathJax.Hub.Config({tex2jax: {inlineMath: [['$','$'], ['\\(','\\)']]}});</script>"
    )
    assert found("<p>$a^2$ and \\(b\\)</p>", told) == [("a^2", "typed $"), ("b", r"typed \(")]


@pytest.mark.parametrize(
    "setting",
    [
        r"""tex: {inlineMath: [["$", "$"], ["\\(", "\\)"]]}""",
        r"""tex:{inlineMath:{'[+]':[['$','$']]}}""",
        r""""tex": {"inlineMath": [ ["$","$"] , ["\\(","\\)"] ], "tags": "none"}""",
    ],
)
def test_delimiters_of_mathjax_3_are_read_in_every_spelling(setting):
    head = f"<script>MathJax = {{{setting}}};</script>{MATHJAX_3}"
    assert found(r"<p>$a$ \(b\) \[c\]</p>", head) == [
        ("a", "typed $"),
        ("b", r"typed \("),
        ("c", r"typed \["),
    ]


def test_an_empty_list_of_delimiters_takes_none():
    head = f"<script>MathJax = {{tex: {{inlineMath: [], displayMath: [['\\\\[','\\\\]']]}}}};</script>{MATHJAX_3}"
    assert found(r"<p>\(b\) \[c\] $$d$$</p>", head) == [("c", r"typed \[")]


def test_katex_auto_render_reads_its_own_list_and_else_no_single_dollars():
    body = r"<p>$a$ \(b\) $$c$$ \begin{align}d\end{align}</p>"
    assert [tex for tex, _ in found(body, AUTO_RENDER)] == ["b", "c", r"\begin{align}d\end{align}"]
    options = '{delimiters: [{left: "$", right: "$", display: false}]}'
    told = f"<script>renderMathInElement(document.body, {options})</script>"
    assert found(r"<p>$a$ \(b\)</p>", told) == [("a", "typed $")]


def test_documenter_pages_take_dollars_through_a_script_that_is_not_in_the_page():
    head = '<script src="require.js" data-main="../assets/documenter.js"></script>'
    assert found("<p>range <span>$(-m/2, m/2]$</span></p>", head) == [("(-m/2, m/2]", "typed $")]


def test_code_ignored_classes_and_processed_classes():
    processed = r'<p class="tex2jax_process">\(d\)</p>'
    body = rf'<pre>\(a\)</pre><code>\(b\)</code><div class="tex2jax_ignore">\(c\){processed}</div>'
    assert found(body, MATHJAX_2) == [("d", r"typed \(")]
    pretext = (
        '<script>window.MathJax = {"options": {"ignoreHtmlClass": "tex2jax_ignore|ignore-math",'
        '"processHtmlClass": "process-math"}};</script>' + MATHJAX_3
    )
    body = r'<div class="ignore-math">\(a\) <span class="process-math">\(b\)</span></div>'
    assert found(body, pretext) == [("b", r"typed \(")]


def test_an_element_ends_a_run_of_text_and_a_line_break_or_comment_does_not():
    assert found(r"<p>\(a <em>b</em>\)</p>", MATHJAX_3) == []
    assert found(r"<p>\(a<br>+<!-- note -->b\)</p>", MATHJAX_3) == [("a\n+b", r"typed \(")]


def test_delimiters_close_outside_of_braces_and_escapes_open_nothing():
    assert (
        found(r"<p>\(a \text{if \(b\)} c\) and \$5 \\(no\\)</p>", MATHJAX_3)[0][0] == r"a \text{if \(b\)} c"
    )


def test_every_other_way_to_write_a_formula():
    body = (
        '<script type="math/tex">a_1</script><script type="math/tex; mode=display">a_2</script>'
        '<span class="katex"><span class="katex-mathml"><math><semantics><mi>a</mi>'
        '<annotation encoding="application/x-tex">a_3</annotation></semantics></math></span>'
        '<span class="katex-html">a3</span></span>'
        '<math alttext="a_4"><mi>a</mi></math>'
        '<span class="mwe-math-element"><math><semantics><annotation encoding="application/x-tex">'
        r"{\displaystyle a_5}</annotation></semantics></math>"
        '<img class="mwe-math-fallback-image-inline" alt="a_5"></span>'
        '<img src="https://s0.wp.com/latex.php?latex=a_6%2B1&amp;bg=fff" class="latex" alt="a_6+1">'
        '<img src="https://latex.codecogs.com/svg.image?a_7&amp;space;%5Cgeq&space;0">'
        '<span class="math-container">$a_8$</span>'
        '<mjx-container data-latex="a_9"><math><mi>a</mi></math></mjx-container>'
    )
    assert found(body) == [
        ("a_1", "script"),
        ("a_2", "script-display"),
        ("a_3", "katex"),
        ("a_4", "alttext"),
        (r"{\displaystyle a_5}", "wikipedia"),
        ("a_6+1", "wordpress-image"),
        (r"a_7 \geq 0", "codecogs-image"),
        ("a_8", "math-container"),
        ("a_9", "mjx-container"),
    ]


def test_what_mathjax_2_drew_is_not_a_second_formula():
    assistive = '<span class="MJX_Assistive_MathML"><math><mi>a</mi></math></span>'
    drawn = f'<span class="MathJax_Preview"></span><span class="MathJax">{assistive}</span>'
    assert found(f'<p>{drawn}<script type="math/tex">a_1</script></p>') == [("a_1", "script")]
    display = f'<div class="MathJax_Display">{drawn}</div><script type="math/tex; mode=display">a_2</script>'
    assert found(display) == [("a_2", "script-display")]
    assert len(read(page(drawn)).sourceless) == 1


def test_mathml_alone_has_no_source_and_typed_text_without_a_renderer_is_kept_apart():
    parsed = read(page(r"<p><math><mi>x</mi></math> \(a^2\) $5 and $6 <em class='math'>x &gt; 0</em></p>"))
    assert parsed.formulas == []
    assert len(parsed.sourceless) == 1
    assert [formula.tex for formula in parsed.unrendered] == ["a^2", "x > 0"]


def test_the_words_beside_a_formula_stop_at_other_formulas_and_code():
    first, second = read(
        page(r"<p>one two <code>f</code> three \(a_1\) four \(a_2\)</p>", MATHJAX_3)
    ).formulas
    assert (first.before, first.after) == ("three", "four")
    assert (second.before, second.after) == ("four", "")


def test_formulas_in_navigation_are_marked():
    marks = [f.landmark for f in read(page(r"<nav>\(a\)</nav><p>\(b\)</p>", MATHJAX_3)).formulas]
    assert marks == [True, False]


def test_xhtml_with_an_empty_script_element_is_read_to_its_end():
    body = '<body><math alttext="x_1"><mi>x</mi></math></body>'
    text = f'<?xml version="1.0"?><html><head><script src="a.js"/></head>{body}</html>'
    assert [formula.tex for formula in read(text).formulas] == ["x_1"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"{\displaystyle x^2 }", "x^2"),
        (r"\begin{equation} a &lt; b \label{eq:1} \end{equation}", "a<b"),
        (r"\begin{align*}a&=b\end{align*}", "a&=b"),
        (r"a\_b", "a_b"),
        (r"\text{if $m$}", r"\text{if \(m\)}"),
        (r"{{a}{b}}", "{a}{b}"),
    ],
)
def test_formulas_that_are_the_same(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"), [("x^2", "x^3"), (r"{a}{b}", "a}{b"), (r"a\\b", "ab"), (r"\alpha", "alpha")]
)
def test_formulas_that_are_not_the_same(one, other):
    assert normalise(one) != normalise(other)


def test_what_says_too_little_to_count():
    assert is_trivial("x") and is_trivial("abcd") and is_trivial(r"\newcommand{\R}{\mathbbR}")
    assert not is_trivial("x^2+1") and not is_trivial(r"\psi")


@pytest.mark.parametrize("piece", [r"\(", "$$" + 50 * "a", r"\begin{align}{", "{", "\\", r"\(a{\)"])
def test_a_megabyte_of_one_thing_is_read_to_its_end(piece):
    parsed = read(page(piece * (1_000_000 // len(piece)) + r"<p>\(x^2\)</p>", MATHJAX_3))
    assert parsed.formulas[-1].tex == "x^2"
