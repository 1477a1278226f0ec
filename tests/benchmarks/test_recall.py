r"""The metrics on outputs whose figures can be counted by hand."""

import pytest

pytest.importorskip("html5lib", reason="html5lib, which reads the truth, is not installed")

from benchmarks import encoding_swap
from benchmarks.code_recall import blocks, fences
from benchmarks.code_recall import score as score_code
from benchmarks.formula_recall import score, segments
from benchmarks.formula_truth import read

MATHJAX_3 = '<script src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"></script>'


def counts(body: str, output: str) -> dict[str, int]:
    return dict(score(read(MATHJAX_3 + body), output)["counts"])


def test_segments_of_an_output():
    text = "a $x$ \\$5 $$y\nz$$ \\(u\\) \\[v\\] `$code$`\n\n```\n$code$\n```\n\\begin{align}w\\end{align} $open\n\nend$"
    assert segments(text) == ["x", "y\nz", "u", "v", "\\begin{align}w\\end{align}"]


def test_each_segment_is_used_once_and_blanks_do_not_count():
    got = counts(r"<p>\(x^2 + 1\) and \(x^2+1\) and \(y^2+1\)</p>", "$x^2+1$ and $y^2 + 1$")
    assert (got["formulas"], got["found"], got["raw"]) == (3, 2, 2)


def test_raw_recall_needs_no_delimiters_and_precision_counts_what_is_made_up():
    got = counts(r"<p>\(x^2+1\)</p>", "x^2+1 costs $5 and $6")
    assert (got["found"], got["raw"], got["segments"], got["segments_wrong"]) == (0, 1, 1, 1)


def test_losses_are_mangled_where_the_words_beside_them_are_kept():
    body = r"<p>The sum of the squares \(x^2+1\) is always positive here.</p>"
    assert counts(body, "The sum of the squares is always positive here.")["mangled"] == 1
    assert counts(body, "Something else entirely.")["dropped"] == 1
    assert counts(r"<p>\(x^2+1\)</p>", "Something else entirely.")["unknown"] == 1


def test_short_formulas_count_for_precision_only():
    got = counts(r"<p>\(x\) and \(n\)</p>", "$x$ and $n$ and $z$")
    assert (got.get("formulas", 0), got["segments"], got["segments_wrong"]) == (0, 3, 1)


def test_converted_and_unrendered_formulas_are_no_mistakes():
    page = read(r"<p><math><mi>x</mi><mo>+</mo><mi>y</mi></math> and \(a^2\)</p>")
    got = score(page, "$x+y$ and $a^2$ and $b^2$")["counts"]
    assert (got["segments_converted"], got["segments_unrendered"], got["segments_wrong"]) == (1, 1, 1)


# --- code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "code", "language", "highlighter"),
    [
        ("<pre>\n  a\n\tb  \n\n</pre>", "  a\n\tb", "", "plain"),
        (
            '<div class="highlight-python notranslate"><div class="highlight"><pre><span></span><span class="linenos">1'
            '</span>x<button class="copybtn">Copy</button>\n<span class="linenos">2</span>y</pre></div></div>',
            "x\ny",
            "python",
            "Pygments",
        ),
        (
            '<figure class="highlight cpp"><table><tr><td class="gutter"><pre>1<br>2</pre></td><td class="code"><pre>'
            '<span class="line">int a;</span><br><span class="line">int b;</span><br></pre></td></tr></table></figure>',
            "int a;\nint b;",
            "cpp",
            "Hexo",
        ),
        (
            '<pre class="line-numbers language-js"><code class="language-js"><span class="token">let</span> a;\nb'
            '<span class="line-numbers-rows"><span></span></span></code></pre>',
            "let a;\nb",
            "js",
            "Prism",
        ),
        (
            '<div class="language-ruby highlighter-rouge"><div class="highlight"><pre class="highlight"><code><table '
            'class="rouge-table"><tbody><tr><td class="rouge-gutter gl"><pre class="lineno">1\n2\n</pre></td>'
            '<td class="rouge-code"><pre>a\nb\n</pre></td></tr></tbody></table></code></pre></div></div>',
            "a\nb",
            "ruby",
            "Rouge",
        ),
        (
            '<pre><code class="hljs language-go"><table class="hljs-ln"><tr><td class="hljs-ln-numbers" '
            'data-line-number="1"></td><td class="hljs-ln-code">a</td></tr><tr><td class="hljs-ln-numbers">2</td>'
            '<td class="hljs-ln-code">  b</td></tr></table></code></pre>',
            "a\n  b",
            "go",
            "highlight.js",
        ),
        (
            '<div class="fragment">\n<div class="line"><span class="lineno">    1</span>&#160;int a;</div>\n'
            '<div class="foldopen"><div class="line"><span class="lineno">    2</span>&#160;  int b;</div></div>'
            '<div class="ttc">int a<div class="ttdef">Definition: a.c:1</div></div></div>',
            "int a;\n  int b;",
            "",
            "Doxygen",
        ),
        (
            '<table class="highlight"><tr><td class="blob-num">1</td><td class="blob-code">a</td></tr>'
            '<tr><td class="blob-num">2</td><td class="blob-code">  b</td></tr></table>',
            "a\n  b",
            "",
            "GitHub table",
        ),
        ('<pre lang="javascript"><code>a</code></pre>', "a", "javascript", "plain"),
    ],
)
def test_blocks_of_each_highlighter(html, code, language, highlighter):
    (block,) = blocks(f"<body><p>text</p>{html}</body>")
    assert (block.code, block.language, block.highlighter) == (code, language, highlighter)


def test_fences_of_an_output():
    text = "a\n\n```python\nx\n  y \n```\n\n- item\n  ~~~~\n  z\n  ~~~~\n\n````\n```\n````\n"
    assert fences(text) == [("python", "x\n  y"), ("", "z"), ("", "```")]


def test_code_is_compared_character_for_character_and_once():
    truth = blocks('<pre class="lang-py">a\n  b</pre><pre>a\n  b</pre><pre>c\nd</pre>')
    tallies, lost = score_code(truth, "```py\na\n  b\n```\n\nc\nd and more\n\n    c\n    d")
    total = tallies[""]
    assert (total["blocks"], total["found"], total["verbatim"], total["fences"]) == (3, 1, 3, 1)
    assert (total["languages"], total["languages_right"]) == (1, 1)
    assert [kind for kind, _ in lost] == ["mangled", "mangled"]
    assert score_code(truth, "a\nb")[0][""]["found"] == 0


# --- ten encodings ------------------------------------------------------------------------------------------

DRAWN = (
    '<span class="katex"><span class="katex-mathml"><math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow>'
    '<mi>x</mi></mrow><annotation encoding="application/x-tex">x^2 &lt; y+1</annotation></semantics></math></span>'
    '<span class="katex-html" aria-hidden="true">x</span></span>'
)


@pytest.mark.parametrize("display", [False, True])
@pytest.mark.parametrize("encoding", encoding_swap.ENCODINGS)
def test_a_formula_is_in_the_page_in_each_encoding(encoding, display):
    page = "<html><body><p>so \ue0000\ue001 holds</p></body></html>"
    html = encoding_swap.write(page, [("x^2 < y+1", display, DRAWN)], encoding_swap.ENCODINGS[encoding])
    truth = read(MATHJAX_3 + html)
    (formula,) = truth.formulas
    assert not truth.sourceless
    assert encoding_swap.recall([["x^2<y+1"]], [f"so ${formula.tex}$ holds"]) == (1, 1)


def test_a_formula_that_cannot_be_drawn_leaves_a_gap():
    assert (
        encoding_swap.write("a \ue0000\ue001 b", [("x", False, None)], encoding_swap.ENCODINGS["KaTeX"])
        == "a  b"
    )
