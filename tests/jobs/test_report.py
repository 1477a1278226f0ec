"""The report of a small folder: its numbers are the manifests', hostile text stays text, and it loads nothing."""

import html
import json
import re
from html.parser import HTMLParser

import lxml.html
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.contamination import CONTAMINATION
from corpus.errors import LodeError
from jobs.charts import Line, heat, heat_strip, line_chart, short, ticks, visible
from jobs.report import environment, percent, render, seconds, write_report
from jobs.report_corpus import differences
from tests.tiny_work import HOSTILE, TinyWork, parquet

VOID = {"meta", "br", "hr", "img", "link", "input", "source", "wbr"}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return TinyWork(tmp_path_factory.mktemp("work")).build()


@pytest.fixture(scope="module")
def page(work):
    return render(str(work))


class Strict(HTMLParser):
    """Raises where tags are not closed in the order in which they were opened, or an id is there twice."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids = [], set()

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        if identity := dict(attributes).get("id"):
            assert identity not in self.ids
            self.ids.add(identity)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open[-3:]}"
        self.open.pop()


def assert_harmless(page):
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert not parser.open
    tree = lxml.html.document_fromstring(page)
    tags = {element.tag for element in tree.iter() if isinstance(element.tag, str)}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "base", "form", "audio", "video"}
    for element in tree.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on"), (element.tag, name)
            assert name not in ("src", "srcset", "action", "data", "xlink:href", "background"), (
                element.tag,
                name,
            )
            if name == "href":
                assert value.startswith("#") and value[1:] in parser.ids
    style = "".join(tree.xpath("//style/text()"))
    assert "@import" not in style and "url(" not in style
    return tree


def text_of(tree, path):
    return [" ".join(element.text_content().split()) for element in tree.xpath(path)]


def test_the_page_is_valid_and_loads_nothing(page):
    tree = assert_harmless(page)
    assert len(page.encode()) < 1 << 20
    assert text_of(tree, "//section/h2")[0] == "What came in, what stayed, and why the rest went"
    assert len(tree.xpath("//section")) == 11  # all but decontamination, which this folder did not do
    assert all(svg.get("aria-label") or svg.get("aria-hidden") or svg.getparent().get("aria-hidden")
               for svg in tree.xpath("//svg"))  # fmt: skip


def test_what_was_found_of_evaluation_sets(tmp_path):
    tiny = TinyWork(tmp_path)
    sets = {"gsm8k.jsonl": {"items": 1319, "texts": 2638, "unusable": 4, "items_found": 2, "documents": 3}}
    tiny.manifest("clean", 7, {"contaminated": 3}, [], benchmark_items=1319, benchmarks=sets)
    found = [("1", "a", 0.25, 40), ("1", "b", 0.5, 40), ("2", "c", 1.0, 1)]
    rows = [
        {"benchmark": "gsm8k.jsonl", "item": item, "id": document, "coverage": share, "item_ngrams": ngrams}
        for item, document, share, ngrams in found
    ]
    parquet(tmp_path / "clean" / "contamination" / "part-00000.parquet", rows, CONTAMINATION)
    tree = assert_harmless(render(str(tmp_path)))
    at = "//section[@id='contamination']//"
    assert text_of(tree, f"{at}table[1]//tbody/tr/*")[:6] == ["gsm8k.jsonl", "1,319", "2,638", "4", "2", "3"]
    # Of each item the document that has most of it; a text of ten words says nothing by being there whole.
    assert text_of(tree, f"{at}tr[contains(., '#')]/*") == ["50 %", "gsm8k.jsonl#1", "b", ""]


def test_hostile_text_is_shown_as_it_is(page):
    tree = lxml.html.document_fromstring(page)
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩").replace("\u202c", "⟨U+202C⟩").replace("\x07", "⟨U+0007⟩")
    assert shown in [element.text_content() for element in tree.xpath("//section[@id='samples']//pre")]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", page)
    assert "{{ 7 * 7 }}" in page


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_survives_the_template(text):
    template = environment().from_string('<p>{{ text }}</p><i title="{{ text }}"></i>')
    rendered = template.render(text=text)
    body, attribute = re.fullmatch(r'<p>([^<]*)</p><i title="([^"<]*)"></i>', rendered).groups()
    assert html.unescape(body) == html.unescape(attribute)
    # What HTML's own references do to a few odd characters (&#x80; and the like) can not happen: none is written.
    assert html.unescape(body) == visible(text)


def test_rows_of_the_funnel_are_the_manifests(work, page):
    tree = lxml.html.document_fromstring(page)
    rows = {}
    for item in tree.xpath("//ol[@class='funnel']/li"):
        (name,) = item.xpath(".//span[@class='name']/text()")
        rows[name] = item
    for path in work.glob("*/_lode.json"):
        manifest = json.loads(path.read_text())
        item = rows.pop(manifest["stage"])
        said = " ".join(item.text_content().split())
        if manifest["unit"] != "sources" and manifest["unit"] != "sequences":
            assert f"{manifest['rows_in']:,} → {manifest['rows_out']:,} {manifest['unit']}" in said
        for reason, number in manifest["dropped"].items():
            assert f"{reason.replace('_', ' ')} {number:,}" in said
        assert "1.5 s" in said
    assert not rows


def test_bars_are_as_long_as_their_numbers(page):
    tree = lxml.html.document_fromstring(page)
    (mined,) = [i for i in tree.xpath("//ol[@class='funnel']/li") if i.xpath(".//span[.='mined']")]
    kept, lost = (float(i.get("style")[6:-1]) for i in mined.xpath(".//i"))
    assert (kept, lost) == (60.0, 20.0)  # 3 and 1 of the 5 pages that came in


def test_numbers_of_the_sections(page):
    tree = lxml.html.document_fromstring(page)
    tiles = dict(zip(text_of(tree, "//dl/div/dt"), text_of(tree, "//dl/div/dd"), strict=True))
    assert tiles["Pages read"] == "52 of them kept"
    assert tiles["Tokens packed"] == "81 × 8"
    assert tiles["Parameters"] == "5.00M3.00M active for a token"
    assert tiles["Training loss"] == "5.45nats a token, from 8.90"
    assert tiles["Held-out loss"] == "7.00from 9.00, mean of sources"
    rows = text_of(tree, "//section[@id='tokens']//tbody/tr")
    assert rows[0] == "shelf 3 1.50 5 62 % 75 % 1".replace(" ", "", 0) or rows[0].split()[0].startswith(
        "shelf"
    )
    cells = [text_of(row, "./*") for row in tree.xpath("//section[@id='tokens']//tbody/tr")]
    assert cells[0] == ["shelf", "3", "1.50", "5", "62 %", "75 %", "1"]
    assert cells[1] == ["math", "6", "1.00", "3", "38 %", "25 %", "1"]
    assert cells[2] == ["shelf", "50 %", "1", "100.0 %"]
    packed = [text_of(row, "./*") for row in tree.xpath("//section[@id='packing']//tbody/tr")]
    assert packed[0] == ["placed", "", "8", "80.0 %"] and packed[2] == ["remainder", "", "2", "20.0 %"]
    mining = [text_of(row, "./*") for row in tree.xpath("//section[@id='mining']/div//tbody/tr")]
    assert [row[:3] for row in mining] == [["1", "2", "0.0 %"], ["2", "3", "66.7 %"]]
    assert "the limit of 2 rounds" in text_of(tree, "//section[@id='mining']/p")[0]
    said = text_of(tree, "//section[@id='repositories']/p")
    assert "for 100.0 % of 1 dependencies" in said[0]
    assert said[-1].startswith("2 of the 4 files of 1 repository stay. 1 of 2 dependencies, in 1 repository,")
    lost = [text_of(row, "./*") for row in tree.xpath("//section[@id='repositories']/div[last()]//tbody/tr")]
    assert lost == [["line too long", "code_rules", "1", "70 B", "1"], ["binary", "files", "1", "5 B", "0"]]


def test_near_duplicates_stand_side_by_side_with_their_differences(page):
    tree = lxml.html.document_fromstring(page)
    left, right = tree.xpath("//section[@id='duplicates']//pre")
    assert text_of(left, ".//mark") == [
        "One.",
    ] or text_of(left, ".//mark") == ["One", "."]
    assert "".join(text_of(right, ".//mark")) == "Two!"


def test_differences_give_back_both_texts_and_show_a_late_one():
    left, right = differences("a b c d", "a x c")
    assert "".join(text for _, text in left) == "a b c d"
    assert [text for differs, text in right if differs] == ["x"]
    same = "line of text\n" * 500
    left, right = differences(same + "left", same + "right")
    assert ("left" in left[-1][1], "right" in right[-1][1]) == (True, True)


def test_the_same_folder_gives_the_same_bytes(work, page, tmp_path):
    out = write_report(str(work), str(tmp_path / "out.html"))
    assert (tmp_path / "out.html").read_text(encoding="utf-8") == page and out == str(tmp_path / "out.html")
    assert write_report(str(work)) == f"{work}/report.html"
    assert render(str(work)) == page


def test_the_recipe_names_the_page(tmp_path):
    work = TinyWork(tmp_path / "folder").build()
    assert "<h1>folder</h1>" in render(str(work)) and "lode run RECIPE --work" in render(str(work))
    (work / "recipe.json").write_text('{"name": "my <math>"}')
    assert "<h1>my &lt;math&gt;</h1>" in render(f"{work}/") and "lode run my &lt;math&gt; --work" in render(
        str(work)
    )


def test_stages_by_themselves(tmp_path):
    """A run that got no further than its first stages has a report of those."""
    tiny = TinyWork(tmp_path)
    tiny.manifest("pages", 0, {}, [])
    tree = assert_harmless(render(str(tmp_path)))
    assert [section.get("id") for section in tree.xpath("//section")] == ["funnel", "made"]
    tiny.web()
    tree = assert_harmless(render(str(tmp_path)))
    ids = [section.get("id") for section in tree.xpath("//section")]
    assert ids == ["funnel", "languages", "domains", "mining", "duplicates", "samples", "made"]
    with pytest.raises(LodeError):
        render(str(tmp_path / "nowhere"))


def test_damage_is_named_and_the_rest_is_shown(tmp_path):
    work = TinyWork(tmp_path).build()
    part = work / "deduplicated" / "part-00000.parquet"
    (work / "mined" / "_lode.json").write_text("{")
    tree = assert_harmless(render(str(work)))
    assert "mined/_lode.json" in text_of(tree, "//*[@role='note']")[0]
    # The end of the file, which says where everything lies, is whole; what it points at is not.
    whole = bytearray(part.read_bytes())
    whole[4:200] = bytes(196)
    part.write_bytes(whole)
    tree = assert_harmless(render(str(work)))
    assert "section samples" in text_of(tree, "//*[@role='note']")[0]
    assert tree.xpath("//section[@id='training']")


def test_a_run_that_goes_on_has_its_curves(tmp_path):
    work = TinyWork(tmp_path).build()
    (work / "run" / "metrics.parquet").unlink()
    (work / "run" / "_lode.json").rename(work / "run" / "_running.json")
    tree = assert_harmless(render(str(work)))
    assert len(tree.xpath("//section[@id='training']//figure")) == 6


def test_many_steps_and_layers_make_no_longer_page(tmp_path):
    tiny = TinyWork(tmp_path)
    tiny.trained(steps=3_000)
    assert len(assert_harmless(render(str(tmp_path))).xpath("//figure")) == 6
    assert len(render(str(tmp_path))) < 100_000


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
def test_ticks_cover_their_range_with_few_round_numbers(low, span):
    marks = ticks(low, low + span)
    high = low + span if span else low
    assert 2 <= len(marks) <= 9
    assert marks == sorted(set(marks))
    size = (marks[-1] - marks[0]) * 1e-6  # of rounding
    assert marks[0] <= low + size and high <= marks[-1] + size


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
def test_a_chart_of_any_numbers_is_inside_its_frame(points):
    points = [(x, y) for x, y in points if not abs(x) > 1e15 and not abs(y) > 1e15]
    chart = line_chart("t", [Line("</svg><script>", points)], "x", "y")
    if chart is None:
        assert not Line("", points).finite
        return
    assert "<script>" not in chart
    (path,) = re.findall(r'points="([^"]*)"', chart)
    for pair in path.split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 440 and 0 <= y <= 250


def test_numbers_are_written_for_people():
    assert [short(v) for v in (0, 12, 1234, 12_345, 4_560_000, 0.0021, 6.204)] == [
        "0", "12", "1,234", "12.3K", "4.56M", "2.1e-3", "6.2"]  # fmt: skip
    assert [percent(v, 1) for v in (None, 0, 1e-9, 0.5, 1 - 1e-9, 1)] == [
        "–", "0.0\u00a0%", "<0.1\u00a0%", "50.0\u00a0%", ">99.9\u00a0%", "100.0\u00a0%"]  # fmt: skip
    assert [seconds(v) for v in (None, 1.26, 59.6, 61, 7_260)] == [
        "–",
        "1.3 s",
        "1 min 00 s",
        "1 min 01 s",
        "2 h 01 min",
    ]


def test_heat_of_experts():
    assert [heat(ratio) for ratio in (0, 0.5, 1, 1.5, 2, 9)] == [0, 2, 4, 6, 8, 8]
    assert heat_strip([1.0] * 256, "layer").count("<rect") == 64
    assert heat_strip([0.0, 0.0], "an idle layer").count('class="h0"') == 2
