"""Main content, code as typed, and pages of any quality."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from corpus.html import TooDeepError, extract_text

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


def test_a_plain_page_is_what_resiliparse_makes_of_it():
    html = page("<h2>Part</h2><ul><li>one</li><li>two</li></ul><table><tr><td>a</td><td>b</td></tr></table>")
    expected = extract_plain_text(html, main_content=True, preserve_formatting=True)
    assert extract_text(html).text == expected.strip()


def test_a_tree_changes_nothing_but_formulas_and_code():
    """The page with a code block, cut out again, is the page without it."""
    without = extract_text(page("<p>Between.</p>")).text
    block = extract_text(page("<p>Between.</p><pre>code</pre>")).text
    squash = lambda text: re.sub(r"\s+", " ", text.replace("```\ncode\n```", " ")).strip()
    assert squash(block) == squash(without)


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
