import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html as lxml_html

from benchmarks.content_quality import score, segment_score, text_score, words
from benchmarks.gold_pages import GoldPage, site_of, text_of, trafilatura, write
from corpus.charset import decode

TEXT = st.text(st.sampled_from("ab cd\n#*漢字かナé"), max_size=60)


def test_markdown_and_formula_marks_are_no_words():
    marked = "## Two *words*\n\n- `a_b` and $x^2$ | 3\n\n```python\nx = 1\n```\n"
    assert words(marked) == ["two", "words", "a", "b", "and", "x", "2", "3", "x", "1"]


def test_scripts_without_spaces_count_by_character_and_others_by_word():
    assert words("漢字とカナ 한국어 Ünïcode") == ["漢", "字", "と", "カ", "ナ", "한국어", "ünïcode"]
    assert words("e\u0301te\u0301") == words("été")


def test_a_word_counts_as_often_as_it_occurs():
    # Shared: a twice, b once. Four words out, five in the label.
    found = text_score("a a b x", "a a a b c")
    assert (found.precision, found.recall) == (3 / 4, 3 / 5)
    assert found.f1 == pytest.approx(2 * 3 / (4 + 5))


def test_nothing_scores_nothing():
    assert text_score("", "a").f1 == text_score("a", "").f1 == text_score("", "").f1 == 0


@given(TEXT, TEXT)
def test_precision_is_the_recall_of_the_other_way_round(one, other):
    there, back = text_score(one, other), text_score(other, one)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert 0 <= there.f1 <= 1
    assert (text_score(one, one).f1 == 1) == bool(words(one))


def test_segments_are_found_across_marks_and_lines():
    page = {"present": ["the first, half", "missing here"], "absent": ["Follow us", "Imprint"]}
    found = segment_score(["# The *first*\nhalf\n\nFOLLOW us!"], [page])
    assert (found.precision, found.recall) == (1 / 2, 1 / 2)


def test_a_set_without_unwanted_segments_has_no_precision_and_is_no_part_of_the_mean():
    pages = [
        {"set": "one", "gold": "a b", "present": [], "absent": []},
        {"set": "two", "gold": None, "present": ["a"], "absent": []},
        {"set": "three", "gold": None, "present": ["a"], "absent": ["z"]},
    ]
    table = score(pages, ["a c", "b", "a"])
    assert table["two segments"] == {"pages": 1, "recall": 0}
    assert table["macro"]["f1"] == pytest.approx((0.5 + 1) / 2)


def test_blocks_are_lines_and_inline_elements_are_not():
    tree = lxml_html.document_fromstring(
        "<title>T</title><p>One <b>bo</b>ld<br>line</p><ul><li>x</li><li>y</li></ul><script>no()</script>"
    )
    assert text_of(tree) == "One bold\nline\nx\ny"


def test_a_site_is_in_one_half():
    pages = [GoldPage("s", str(n), site_of(f"https://www{n}.example.org/{n}", ""), b"") for n in range(9)]
    assert len({page.split for page in pages}) == 1
    other = [GoldPage("s", "", site_of(f"https://site{n}.org/", ""), b"").split for n in range(200)]
    assert 70 < other.count("dev") < 130


def test_assertions_are_labels_also_where_they_are_commented_out(tmp_path):
    tests = """
MOCK_PAGES = {
'https://a.org/1': 'a.html',
'https://b.org/': 'b.html',
}

def test():
    result = load_mock_page('https://a.org/1', xmloutput)
    assert 'it\\'s here' in result and 'gone' not in result # and 'Also gone' not in result
    assert '<p>' not in result
    result = load_mock_page('https://unknown.org/')
    assert 'nowhere' in result
    result = load_mock_page('https://b.org/')
    assert 'only absent' not in result
"""
    files = {"realworld_tests.py": tests.encode(), "cache/a.html": b"<p>a", "cache/b.html": b"<p>b"}
    with tarfile.open(tmp_path / "trafilatura-1.0.0.tar.gz", "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"trafilatura-1.0.0/tests/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (page,) = trafilatura(tmp_path)
    assert (page.name, page.site, page.html) == ("a", "a.org", b"<p>a")
    assert (page.present, page.absent) == (("it's here",), ("gone", "Also gone"))


def test_pages_are_written_as_they_were(tmp_path):
    page = GoldPage("set", "name", "a.org", b"\xff<p>caf\xe9", "café")
    write([page], tmp_path)
    row = json.loads((tmp_path / "pages.jsonl").read_text())
    assert (row["set"], row["gold"], row["split"]) == ("set", "café", page.split)
    assert (tmp_path / row["html_path"]).read_bytes() == page.html
    assert "café" in decode((tmp_path / row["html_path"]).read_bytes(), None)
