"""Main content, code as typed, and pages of any quality."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.blocks import Block, Frame
from corpus.html import TooDeepError, extract_text
from corpus.markdown import markdown

WORDS = "The quick brown fox jumps over the lazy dog, and the story goes on for a while in plain words. " * 3
PYTHON = (
    'def f(x):\n    """Doc $x$ `tick`."""\n\n    if x < 1 and x > 0:\n\treturn x & 2\n    return {"a": \'b\'}'
)


def page(body: str, head: str = "<title>A title</title>") -> str:
    return (
        f"<html><head>{head}</head><body><nav><ul><li><a href=/>Home</a></li></ul></nav><main><p>{WORDS}</p>{body}"
        f"<p>{WORDS}</p></main><footer>Copyright</footer></body></html>"
    )


def escaped(code: str) -> str:
    return code.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def spans(code: str) -> str:
    """What a highlighter makes of code: each word in a span."""
    return re.sub(r"(\w+)|\W+", lambda m: f'<span class="n">{m[1]}</span>' if m[1] else escaped(m[0]), code)


def numbered(code: str) -> str:
    return "\n".join(
        f'<span class="lineno">{i:>3} </span>{spans(line)}' for i, line in enumerate(code.split("\n"), 1)
    )


HIGHLIGHTERS = {
    "plain": ("", lambda c: f"<pre>{escaped(c)}</pre>"),
    "prism": (
        "python",
        lambda c: f'<pre class="language-python"><code class="language-python">{spans(c)}</code></pre>',
    ),
    "highlight.js": ("python", lambda c: f'<pre><code class="hljs language-python">{spans(c)}</code></pre>'),
    "sphinx": (
        "python",
        lambda c: (
            f'<div class="highlight-python notranslate"><div class="highlight"><pre><span></span>{spans(c)}\n</pre>'
            "</div></div>"
        ),
    ),
    "pygments numbers": (
        "python",
        lambda c: (
            f'<div class="highlight-python"><div class="highlight"><pre>{numbered(c)}</pre></div></div>'
        ),
    ),
    "pygments table": (
        "",
        lambda c: (
            f'<table class="highlighttable"><tr><td class="linenos"><div class="linenodiv"><pre>1\n2\n3</pre></div>'
            f'</td><td class="code"><div class="highlight"><pre>{spans(c)}</pre></div></td></tr></table>'
        ),
    ),
    "hexo": (
        "python",
        lambda c: (
            '<figure class="highlight" data-lang="python"><table><tr><td class="gutter"><pre>1<br>2</pre></td>'
            f'<td class="code"><pre>{spans(c).replace(chr(10), "<br>")}</pre></td></tr></table></figure>'
        ),
    ),
    "rouge": (
        "python",
        lambda c: (
            f'<div class="language-python highlighter-rouge"><div class="highlight"><pre class="highlight"><code>'
            f"{spans(c)}\n</code></pre></div></div>"
        ),
    ),
    "pandoc": (
        "python",
        lambda c: (
            f'<div class="sourceCode"><pre class="sourceCode python"><code>{spans(c)}</code></pre></div>'
        ),
    ),
    "copy button": (
        "js",
        lambda c: f'<pre data-lang="js"><button class="copy">Copy</button><code>{escaped(c)}</code></pre>',
    ),
    "github": (
        "python",
        lambda c: f'<div class="highlight highlight-source-python"><pre>{spans(c)}</pre></div>',
    ),
}


@pytest.mark.parametrize("name", HIGHLIGHTERS)
def test_code_comes_out_character_for_character(name):
    language, write = HIGHLIGHTERS[name]
    found = extract_text(page(write(PYTHON)))
    assert f"\n```{language}\n{PYTHON}\n```\n" in found.text
    assert found.code_blocks == 1 and found.formulas == 0


ROWS = (("int f(int a) {", "    return a;", "}"), ("for x in y:", "  print(x)"))
SITES = {
    "cnblogs": (
        "",
        lambda rows: (
            '<div class="cnblogs_code"><pre>'
            + "\n".join(
                f'<span style="color: #008080;">{i}</span> {escaped(r)}' for i, r in enumerate(rows, 1)
            )
            + "</pre></div>"
        ),
    ),
    "csdn": (
        "cpp",
        lambda rows: (
            f'<pre class="prettyprint"><code class="prism language-cpp has-numbering">{escaped(chr(10).join(rows))}'
            '</code><ul class="pre-numbering"><li>1</li><li>2</li></ul></pre>'
        ),
    ),
    "w3schools": (
        "python",
        lambda rows: (
            f'<div class="w3-code notranslate pythonHigh">{"<br>".join(rows).replace("  ", "&nbsp; ")}</div>'
        ),
    ),
    "phpbb": (
        "",
        lambda rows: (
            '<div class="codebox"><p>Code: <a href="#">Select all</a></p><pre><code>'
            f"{escaped(chr(10).join(rows))}\n</code></pre></div>"
        ),
    ),
    "doxygen": (
        "",
        lambda rows: (
            '<div class="fragment">'
            + "".join(
                f'<div class="line"><span class="lineno">    {i}</span> {escaped(row)}</div>'
                for i, row in enumerate(rows, 1)
            )
            + "</div>"
        ),
    ),
    "highlight.js, by the language alone": (
        "go",
        lambda rows: f'<pre><code class="go">{escaped(chr(10).join(rows))}</code></pre>',
    ),
}


@pytest.mark.parametrize("rows", ROWS, ids=("braces", "colons"))
@pytest.mark.parametrize("name", SITES)
def test_code_of_sites_without_their_numbers_and_buttons(name, rows):
    language, write = SITES[name]
    text = extract_text(page(write(rows))).text
    assert (
        text[len(WORDS) :].removesuffix(WORDS.strip()).strip()
        == f"```{language}\n" + "\n".join(rows) + "\n```"
    )


def test_numbers_of_the_code_itself_stay():
    html = page('<pre><span style="color: #008080;">1</span> <span style="color: #008080;">2</span></pre>')
    assert "```\n1 2\n```" in extract_text(html).text


def test_gitlab_mathematics_is_a_formula():
    html = page('<pre class="code math js-render-math" data-math-style="display"><code>a^2</code></pre>')
    found = extract_text(html)
    assert "$$a^2$$" in found.text and found.code_blocks == 0


def test_fences_and_ticks_are_longer_than_what_they_hold():
    found = extract_text(
        page("<pre>```\nx\n````</pre><p>Inline <code>a`b</code> and <code>$HOME</code> too.</p>")
    )
    assert "\n`````\n```\nx\n````\n`````\n" in found.text
    assert "Inline `` a`b `` and `$HOME` too." in found.text
    assert found.code_blocks == 1


def test_several_blocks_keep_their_order():
    blocks = [f"line {i}\n    indented {i}" for i in range(20)]
    text = extract_text(page("".join(f"<p>Before {i}</p><pre>{b}</pre>" for i, b in enumerate(blocks)))).text
    assert re.findall(r"```\n(.*?)\n```", text, re.S) == blocks


def test_title_and_furniture():
    found = extract_text(page("", "<title>\n A &amp; B&nbsp;– “C” </title>"))
    assert found.title == "A & B – “C”"
    assert "Copyright" not in found.text and "quick brown fox" in found.text
    assert extract_text("<p>no title</p>").title is None


def test_light_markdown():
    html = page(
        "<h2>Part <a class='headerlink' href='#p'>¶</a></h2><ul><li>one<ul><li>inner</li></ul></li><li><p>two</p>"
        "<p>more</p></li></ul><ol start=3><li>three</li><li>four</li></ol><blockquote><p>said</p><p>again</p>"
        "</blockquote><table><tr><th>a</th><th>b|c</th></tr><tr><td colspan=2>1</td></tr></table>"
        "<dl><dt>Term</dt><dd>Meaning</dd></dl>"
    )
    assert extract_text(html).text[len(WORDS) :].removesuffix(WORDS.strip()).strip() == (
        "## Part\n\n- one\n  - inner\n- two\n\n  more\n\n3. three\n4. four\n\n> said\n\n> again\n\n"
        "| a | b\\|c |\n| --- | --- |\n| 1 |  |\n\nTerm\nMeaning"
    )


def test_links_of_manuals_are_text_and_notes_are_not():
    """Sphinx calls every link a reference, Wikipedia its footnote marks."""
    html = page(
        '<p>The <a class="reference internal" href="#x"><code class="xref">X</code></a> variable<sup class="reference">'
        '<a href="#n">[1]</a></sup> of <a class="reference external" href="y">Y</a>.</p>'
    )
    assert "The `X` variable of Y." in extract_text(html).text


def between(body: str) -> str:
    """What is made of markup between two paragraphs."""
    text = extract_text(page(body)).text
    assert text.startswith(WORDS.strip()) and text.endswith(WORDS.strip())
    return text[len(WORDS.strip()) : -len(WORDS.strip())].strip()


def test_lists_and_quotations_within_each_other():
    assert (
        between(
            f"<ol><li><p>one</p><p>more</p><ul><li>inner</li></ul></li><li><blockquote>{WORDS}</blockquote></li></ol>"
        )
        == f"1. one\n\n   more\n\n   - inner\n2. > {WORDS.strip()}"
    )
    assert between("<blockquote><ul><li>a</li><li>b</li></ul></blockquote>") == "> - a\n> - b"


def test_an_item_with_a_heading_is_no_item():
    assert between(f"<ul><li><p>before</p><h2>Part</h2><p>{WORDS}</p></li></ul>") == (
        f"before\n\n## Part\n\n{WORDS.strip()}"
    )


def test_an_item_is_opened_by_its_first_block_that_is_content():
    frame = Frame("- ", None)
    inner = Frame("1. ", frame)
    blocks = [Block("p", text, 0, 0, 0, frame=frame) for text in ("a", "b")]
    assert markdown(blocks[1:]) == "- b" and markdown(blocks) == "- a\n\n  b"
    below = Block("li", "c", 0, 0, 0, frame=inner)
    assert markdown([below]) == "1. c" and markdown([blocks[0], below]) == "- a\n\n  1. c"


def test_a_list_ends_before_a_term():
    assert (
        between("<ul><li>item</li></ul><dl><dt>Term</dt><dd>Meaning</dd></dl>") == "- item\n\nTerm\nMeaning"
    )


def test_empty_columns_go_and_with_them_the_table():
    html = f"<table><tr><td></td><td>{WORDS}</td></tr><tr><td> </td><td>second</td></tr></table>"
    assert between(html) == f"{WORDS.strip()}\n\nsecond"
    html = "<table><tr><td>a</td><td></td><td>b</td></tr><tr><td>1</td><td></td><td>2</td></tr></table>"
    assert between(html) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_headings_of_accordions_and_links_to_themselves():
    text = between(
        f"<h2><button>Why?</button></h2><p>{WORDS}</p><h2>How <a href='#h'>§</a></h2><p>{WORDS}</p>"
    )
    assert text.startswith("## Why?\n\n") and "\n\n## How\n\n" in text


def test_latexml_labels_and_footnotes():
    tag = '<li class="ltx_item"><span class="ltx_tag ltx_tag_item">{}</span><div><p>{}</p></div></li>'
    note = (
        '<span class="ltx_note"><sup class="ltx_note_mark">1</sup><span class="ltx_note_outer">'
        '<sup class="ltx_note_mark">1</sup><span class="ltx_tag ltx_tag_note">1</span>a note</span></span>'
    )
    html = f"<ul>{tag.format('•', WORDS)}</ul><ol>{tag.format('(a)', f'{WORDS}{note}.')}</ol>"
    assert between(html) == f"- {WORDS.strip()}\n\n(a) {WORDS.strip()} (a note)."


def test_a_formula_in_a_picture_is_kept():
    html = page(
        "<p>Norm <picture><source srcset=a><img class=formulaInline alt='$\\sqrt{x}$'></picture>.</p>"
    )
    assert r"Norm $\sqrt{x}$." in extract_text(html).text


@pytest.mark.filterwarnings("error")
def test_a_link_is_no_longer_than_its_text_with_the_formulas_taken_out():
    found = extract_text(
        r"<a href=x>\(\frac{a}{b}+\frac{c}{d}+\frac{e}{f}+\frac{g}{h}\) and of more than eighty "
        r"characters, all of which are in this one link of the page</a>"
    )
    assert found.formulas == 1


def test_tables_of_a_layout_are_paragraphs():
    html = page(f"<table><tr><td>Left</td><td><h2>Title</h2><p>{WORDS}</p></td></tr></table>")
    assert f"## Title\n\n{WORDS.strip()}" in extract_text(html).text


def test_a_line_break_is_one_and_two_end_a_paragraph():
    assert "one\ntwo\n\nthree" in extract_text(page("<div>one<br> two<br><br>three</div>")).text


def test_nothing_of_a_deep_page_is_lost():
    html = page("<p>start " + "<font>x " * 300 + "end</p>")
    assert re.search(r"start (x )+", extract_text(html).text) and "end" in extract_text(html).text
    assert extract_text(html).text.count("x ") >= 300


def test_a_page_can_hold_no_word_of_the_shelf():
    html = page("<p>Q<b></b>Z&#76;0Z</p><pre>code</pre>")
    assert extract_text(html).text.count("```\ncode\n```") == 1


def test_heights_are_kept():
    text = extract_text(
        page("<p>About 10<sup>6</sup> of H<sub>2</sub>O, and x<sup>2</sup> + y<sub>i</sub> = 1.</p>")
    ).text
    assert "10^6" in text and "H_2O" in text and "$x^{2}" in text.replace(" ", "")


def test_formulas_side_by_side_stay_apart():
    assert (
        "$a^2$ $b^2$"
        in extract_text(
            page("<p><script type='math/tex'>a^2</script><script type='math/tex'>b^2</script></p>")
        ).text
    )


def test_macros_are_written_out_where_asked():
    html = page(
        r"<div style='display:none'>\(\newcommand{\half}{\frac12}\)</div><p>See \(\half+x\).</p>"
        "<script src=mathjax></script>"
    )
    assert r"$\half+x$" in extract_text(html).text and extract_text(html).formulas == 1
    assert r"$\frac12+x$" in extract_text(html, expand_macros=True).text


def test_furniture_of_a_blog_goes():
    links = "".join(f"<li><a href='/{i}'>Another story number {i}</a></li>" for i in range(12))
    html = (
        f"<html><body class='home'><header><a href=/>The Site</a><nav><ul>{links}</ul></nav></header>"
        f"<div class='post'><h1>The title</h1><p>{WORDS}</p><p>{WORDS}</p></div>"
        "<div class='share'><a href=x>Share</a> <a href=y>Tweet</a></div>"
        f"<aside class='sidebar'><h3>Related posts</h3><ul>{links}</ul></aside>"
        "<div id='cookie-banner'>We use cookies. <a href=p>Privacy policy</a></div>"
        "<footer>© 2020 The Site. All rights reserved.</footer></body></html>"
    )
    text = extract_text(html).text
    assert text.count("quick brown fox") == 6
    for furniture in ("Another story", "Tweet", "Related", "cookies", "rights reserved"):
        assert furniture not in text


def test_main_content_is_not_kept_at_the_price_of_formulas():
    hidden = "".join(f"<p>Formula \\(x_{{{i}}}=y\\) here.</p>" for i in range(9))
    html = f"<html><body><main><p>{WORDS}</p></main><footer>{hidden}</footer></body></html>"
    assert extract_text(html).formulas == 9


def test_text_behind_an_early_end_is_kept():
    html = f"<html><head></head></html><body><p>{WORDS}</p><pre>x = 1</pre></body>"
    found = extract_text(html)
    assert "quick brown fox" in found.text and "x = 1" in found.text


def test_a_page_may_hold_our_own_words():
    found = extract_text(page("<p>QZL0Z and QZLQ1Z</p><pre>code</pre>"))
    assert "QZL0Z and QZLQ1Z" in found.text and "```\ncode\n```" in found.text


def test_nfc_without_control_characters():
    found = extract_text(
        page("<p>e\u0301 \x07bell \u0085 \ufeff</p><p><code>o\u0308</code> \\(\\text{u\u0308}^2\\)</p>")
    )
    assert "é" in found.text and "`ö`" in found.text and "ü" in found.text
    assert unicodedata.is_normalized("NFC", found.text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]", found.text)


@pytest.mark.parametrize(
    "unit", ["<div>", "<b>", "<pre>", "<code>", "<math><mrow>", "<span class=math>", "<ul><li>"]
)
def test_deep_nesting_is_refused(unit):
    with pytest.raises(TooDeepError):
        extract_text("<body>" + unit * 5000 + "x")


HOSTILE = {
    "delimiters": "\\(" * 100_000,
    "dollars": "$a " * 100_000,
    "environments": "\\begin{align}" * 30_000,
    "formulas": "<math><mi>x</mi></math>" * 20_000,
    "one formula": "<math>" + "<mi>x</mi>" * 50_000 + "</math>",
    "inline code": "<code>x</code>" * 30_000,
    "previews": '<span class="MathJax_Preview">x</span>' * 20_000,
    "titles": "<title>" * 50_000,
    "blank run": '<script type="math/tex">' + "%<![CDATA[" * 10_000 + " " * 200_000 + "</script>",
    "ticks": "<pre>" + "`" * 300_000 + "</pre>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_cost_in_proportion_to_their_size(name):
    """Each took minutes where one step was quadratic; now all of them together take seconds."""
    found = extract_text(HOSTILE[name])
    assert len(found.text) <= 4 * len(HOSTILE[name])


PIECES = st.sampled_from((
    "<p>", "</p>", "<pre>", "</pre>", "<code>", "</code>", "<math>", "</math>", "<mi>x</mi>", "<svg>", "<body>",
    "<script type='math/tex'>", "</script>", "\\(", "\\)", "$", "$$", "<table><tr><td>", "</table>", "</span>",
    "<span class='katex'>", "<!--", "-->", "<img class=latex alt='x^2'>", "&amp;", "&#0;", "&lt;", "</html>",
    "words and words ", "\u0301", "\\", "`", "```\n", "<title>", "<div class='MathJax'>", "<textarea>",
    "<annotation encoding='application/x-tex'>",
))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=40).map("".join))
def test_any_tag_soup_gives_clean_text(html):
    found = extract_text(html)
    assert unicodedata.is_normalized("NFC", found.text)
    assert "\0" not in found.text and found.text == found.text.strip()
    assert not re.search(r"QZL\d+Z", found.text)
    found.text.encode("utf-8")
    assert extract_text(html) == found
