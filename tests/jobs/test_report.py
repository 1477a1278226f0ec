"""The report of a small folder: its numbers are the manifests', hostile text stays text, and it loads nothing."""

import html
import json
import re
from html.parser import HTMLParser

import lxml.html
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.contamination import CONTAMINATION
from corpus.errors import LodeError
from corpus.packing import SEQUENCE
from jobs.charts import short, visible
from jobs.deduplicate import FATE
from jobs.report import PARTS, environment, percent, render, seconds, write_report
from jobs.report_corpus import parameters_of
from jobs.report_duplicates import differences
from jobs.report_repositories import order_list, split
from tests.tiny_work import HOSTILE, ORDERED, PAGE, STATISTIC, TinyWork, parquet

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


def cells_of(tree, section):
    """The rows of a section's tables; those with a chart's numbers are left out."""
    rows = tree.xpath(f"//section[@id='{section}']//table[caption]/tbody/tr")
    return [text_of(row, "./*") for row in rows]


def test_the_page_is_valid_and_loads_nothing(page):
    tree = assert_harmless(page)
    assert len(page.encode()) < 1 << 20
    assert text_of(tree, "//section/h2")[0] == "What came in, what stayed, and why the rest went"
    everything = [name for group in PARTS for name in group]
    everything.remove("contamination")  # which this folder did not do
    assert [section.get("id") for section in tree.xpath("//section")] == everything
    assert [link.get("href")[1:] for link in tree.xpath("//nav//a")] == everything
    assert not tree.xpath("//table[not(caption) and not(ancestor::details[@class='numbers'])]")
    assert not tree.xpath("//th[not(@scope)]")
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
    assert text_of(tree, f"{at}tr[contains(., '#')]/*") == ["gsm8k.jsonl#1", "50 %", "b", ""]


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
    cells = cells_of(tree, "tokens")
    assert cells[0] == ["shelf", "3", "1.50", "5", "62 %", "75 %", "1"]
    assert cells[1] == ["math", "6", "1.00", "3", "38 %", "25 %", "1"]
    assert cells[2] == ["shelf", "50 %", "1", "100.0 %"]
    packed = cells_of(tree, "packing")
    assert packed[0] == ["placed", "", "8", "80.0 %"] and packed[2] == ["remainder", "", "2", "20.0 %"]
    mining = cells_of(tree, "mining")
    assert [row[:3] for row in mining[:2]] == [["1", "2", "0.0 %"], ["2", "3", "66.7 %"]]
    lengths = cells_of(tree, "documents")
    assert [row[:2] for row in lengths] == [["math", "2"], ["shelf", "1"]]
    assert lengths[1] == ["shelf", "1", *["42"] * 5]
    licences = cells_of(tree, "licences")
    assert licences == [
        ["MIT", "1", "12 B", "1", "12 B", "100.0 %"],
        ["nothing says", "2", "70 B", "1", "–", "–"],
    ]
    assert "the limit of 2 rounds" in text_of(tree, "//section[@id='mining']/p")[0]
    said = text_of(tree, "//section[@id='repositories']/p")
    assert "for 100.0 % of 1 dependencies" in said[0]
    assert said[-1].startswith("2 of the 4 files of 1 repository stay. 1 of 2 dependencies, in 1 repository,")
    lost = cells_of(tree, "repositories")[-2:]
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
    assert ids == ["funnel", "documents", "languages", "domains", "mining", "duplicates", "samples", "made"]
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


def test_what_is_wrong_in_one_part_leaves_the_others(tmp_path):
    """A manifest written by someone else: the part that needs it says so, and the others stand."""
    tiny = TinyWork(tmp_path)
    tiny.build()
    tiny.manifest("shards", 3, {}, ["tokenized"], mixture={"math": "much"}, shards={"fim_rate": [1]})
    tiny.manifest("decontaminated", 3, {}, [], benchmark_items=1, benchmarks="<b>none</b>", unit=None)
    tree = assert_harmless(render(str(tmp_path)))
    for name in ("tokens", "contamination"):
        (said,) = text_of(tree, f"//section[@id='{name}']/p[@class='warn']")
        assert said.startswith(
            "This part can not be shown: a manifest or a column holds something unexpected"
        )
    assert {"funnel", "mining", "training", "made"} <= {
        section.get("id") for section in tree.xpath("//section")
    }
    assert len(tree.xpath("//p[@class='warn']")) == 2


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (["code"], ["funnel", "documents", "languages", "licences", "repositories", "samples", "made"]),
        (["trained"], ["funnel", "training", "made"]),
        (["packed"], ["funnel", "tokens", "packing", "made"]),
    ],
)
def test_folders_with_few_stages(tmp_path, stages, expected):
    tiny = TinyWork(tmp_path)
    for stage in stages:
        getattr(tiny, stage)()
    tree = assert_harmless(render(str(tmp_path)))
    assert [section.get("id") for section in tree.xpath("//section")] == expected
    assert not tree.xpath("//*[@role='note']")


def test_one_dataset_is_a_work_folder(tmp_path):
    """What `lode extract` writes, or any Parquet of documents: the stage is the folder itself."""
    rows = [
        {"id": str(k), "text": "x" * k, "source": "s", "url": f"https://e.example/{k}"} for k in range(1, 9)
    ]
    schema = pa.schema([(name, pa.string()) for name in ("id", "text", "source", "url")])
    parquet(tmp_path / "part-00000.parquet", rows, schema)
    tree = assert_harmless(render(str(tmp_path)))
    assert cells_of(tree, "documents") == [["s", "8", "36", "1", "4", "8", "8"]]
    assert next(section.get("id") for section in tree.xpath("//section")) == "documents"


def test_the_page_stays_small_and_says_how_much_is_left_out(tmp_path):
    """Many of everything, and each of it long and made of characters that are written out."""
    long = "\u202e\x01<&\U0001f600" * 20_000
    schema = pa.schema([*PAGE, ("licence", pa.string()), ("size", pa.int64())])
    rows = [
        {"id": f"{k:05d}", "text": f"{k}{long}" if k < 40 else f"{k}", "source": f"s{k % 40}", "title": long,
         "domain": f"d{k}.example", "url": f"https://d{k}.example/{long if k < 40 else k}", "formulas": 1,
         "language": f"l{k % 300}"}
        for k in range(600)
    ]  # fmt: skip
    tiny = TinyWork(tmp_path)
    parquet(tmp_path / "pages" / "part-00000.parquet", rows, schema)
    reasons = {f"reason_{k}": 1 for k in range(300)}
    tiny.manifest("pages", 900, reasons, [], parameters={f"{long[:300]}{k}": long for k in range(300)})
    for number in range(300):
        tiny.manifest(
            f"stage-{number:03d}", 5, reasons, ["pages"], unit="windows", parameters={long[:99]: long}
        )
    statistics = [{"target": f"t{k:02d}", "kind": "path", "key": f"d d/{long}", "pages": 1, "collected": 1}
                  for k in range(30)]  # fmt: skip
    parquet(tmp_path / "mining/round-1/statistics/part-00000.parquet", statistics, STATISTIC)
    scores = [{"id": "1", f"t{k:02d}": 0.5} for k in range(30)]
    schema = pa.schema([("id", pa.string()), *((f"t{k:02d}", pa.float64()) for k in range(30))])
    parquet(tmp_path / "mining/round-1/scores/part-00000.parquet", scores, schema)
    found = {
        "cut": 0.5,
        "pages": 4,
        "collected": 2,
        "new": 1,
        "already_collected": 0.5,
        "domains_over_share": 1,
    }
    tiny.manifest("mining/round-1/statistics", 2, {}, [], round={f"t{k:02d}": found for k in range(30)},
                  accepted={f"t{k:02d}": [f"d/{long}"] for k in range(30)})  # fmt: skip
    page = render(str(tmp_path))
    assert len(page.encode()) < 2_000_000
    tree = assert_harmless(page)
    said = tree.text_content()
    for expected in (
        "Not shown: t08, t09,",
        "580 more domains",
        "292 other reasons",
        "20 more sources are not shown",
        "102 more stages",
    ):
        assert expected in said, expected


def test_every_pair_is_of_another_similarity(tmp_path):
    tiny = TinyWork(tmp_path)
    same = "A sentence that all of these documents have in common, and it is long enough to be read. " * 6
    kept = [{"id": "w", "text": f"{same} kept", "source": "s", "url": "https://kept.example"}]
    gone = [
        {
            "id": f"g{k:02d}",
            "text": f"{same} {'word ' * k}gone {k}",
            "source": "s",
            "url": f"https://gone.example/{k}",
        }
        for k in range(12)
    ]
    parquet(tmp_path / "mined" / "part-00000.parquet", [*kept, *gone], PAGE)
    parquet(tmp_path / "deduplicated" / "part-00000.parquet", kept, PAGE)
    fates = [
        {"place": k, "id": row["id"], "reason": "near_duplicate", "cluster": k, "winner": "w",
         "jaccard": 0.99 - k / 100}
        for k, row in enumerate(gone)
    ]  # fmt: skip
    parquet(tmp_path / "deduplicated" / "clusters" / "part-00000.parquet", fates, FATE)
    tiny.manifest("mined", 13, {}, [])
    tiny.manifest("deduplicated", 13, {"near_duplicate": 12}, ["mined"], parameters={"jaccard": 0.8})
    tree = assert_harmless(render(str(tmp_path)))
    summaries = text_of(tree, "//section[@id='duplicates']/details/summary/b")
    assert len(summaries) == 4 and summaries == sorted(summaries) and len(set(summaries)) == 4
    assert len(tree.xpath("//section[@id='duplicates']//pre[.//mark]")) == 8


def test_a_difference_far_inside_one_long_line_is_shown():
    same = "word " * 2_000
    left, right = differences(same + "left", same + "right")
    assert (left[-1][1], right[-1][1]) == ("left", "right")


def test_the_rule_that_stops_mining(work, page, tmp_path):
    tree = lxml.html.document_fromstring(page)
    titles = text_of(tree, "//section[@id='mining']//figcaption")
    assert titles[0] == "Share of a round collected before"
    chart = tree.xpath("//section[@id='mining']//figure")[0]
    assert "stops at 98 %" in " ".join(text_of(chart, ".//*[local-name()='text']"))
    assert text_of(chart, ".//tbody/tr/*") == ["round 1", "0 %", "round 2", "67 %"]
    other = TinyWork(tmp_path).build()
    (other / "recipe.json").write_text('{"mine": {"stop_share": 0.9}}')
    assert "when 90 % of a round was" in " ".join(
        lxml.html.document_fromstring(render(str(other))).text_content().split()
    )


def test_files_stand_in_the_sample_in_which_they_begin():
    files = [{"path": name, "start": start} for name, start in (("a", 0), ("b", 10), ("c", 20))]
    assert split(files, []) == [["a", "b", "c"]]
    assert split(files, [{"start": 0, "end": 10}, {"start": 10, "end": 30}]) == [["a"], ["b", "c"]]
    assert split(files, [{"start": 5, "end": 15}, {"start": 15, "end": 18}, {"start": 18, "end": 30}]) == [
        ["a", "b"],
        ["c"],
    ]


def test_arcs_tell_earlier_files_from_those_of_another_sample_and_later_ones():
    files = ["p/a", "p/b", "p/q/c", "p/d"]
    pairs = [("p/b", "p/a"), ("p/q/c", "p/b"), ("p/a", "p/d")]
    listing = order_list(files, [["p/a", "p/b"], ["p/q/c", "p/d"]], pairs)
    assert listing["arc_count"] == {"first": 1, "apart": 1, "late": 1}
    assert [(row["name"], row["folder"], row["colour"]) for row in listing["rows"]] == [
        ("a", "", 1), ("b", "", 1), ("c", "q", 2), ("d", "", 2)]  # fmt: skip
    assert [re.search('class="([a-z]+)"', arc)[1] for arc in listing["arcs"]] == ["first", "apart", "late"]
    hostile = order_list(["<b>\u202e", 'x"'], [["<b>\u202e", 'x"']], [('x"', "<b>\u202e")])
    assert "<b>" not in hostile["arcs"][0] and "\u202e" not in hostile["arcs"][0]


def test_a_repository_is_drawn_with_its_samples_and_places(tmp_path):
    text = "".join(f"# f{k}.py\n" for k in range(6))
    spans = [{"path": f"f{k}.py", "language": "Python", "start": k * 8, "end": k * 8 + 8} for k in range(6)]
    edges = [{"source": f"f{k}.py", "target": "f0.py", "kind": "import", "guarded": False, "confidence": 1.0}
             for k in range(1, 6)]  # fmt: skip
    sample = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))
    row = {"id": "r", "text": text, "source": "s", "repository": "<i>small</i>", "files": spans, "edges": 5,
           "edges_satisfied": 1.0, "order": "dependency", "dependencies": edges, "unparsed": [], "sample": "window",
           "samples": [{"start": 0, "end": 24}, {"start": 24, "end": 48}]}  # fmt: skip
    schema = pa.schema([*ORDERED, ("sample", pa.string()), ("samples", sample)])
    parquet(tmp_path / "repositories" / "part-00000.parquet", [row], schema)
    TinyWork(tmp_path).manifest("repositories", 6, {}, [], unit="files", rows_written=1)
    tree = assert_harmless(render(str(tmp_path)))
    assert text_of(tree, "//figure[@class='order']//li") == [f"f{k}.py" for k in range(6)]
    assert [item.get("class") for item in tree.xpath("//figure[@class='order']//li")] == [
        "sample1", "sample1", "sample1", "sample2 cut", "sample2", "sample2"]  # fmt: skip
    assert [len(tree.xpath(f"//figure[@class='graph']//circle[@class='sample{k}']")) for k in (1, 2, 3)] == [
        3,
        3,
        0,
    ]
    assert "2 samples" in text_of(tree, "//section[@id='repositories']//p[contains(., 'stand earlier')]")[0]
    assert len(tree.xpath("//figure[@class='order']//*[@class='apart']")) == 3
    assert text_of(tree, "//section[@id='repositories']/h3")[0] == "One of them: <i>small</i>"


def test_bins_of_lengths_begin_at_their_lengths(tmp_path):
    """Two bins to a doubling of characters, one to a doubling of formulas; shares of the source's documents."""
    rows = [{"id": str(k), "text": "x" * (8 << k), "source": "s", "formulas": 1 << k} for k in range(4)]
    parquet(tmp_path / "part-00000.parquet", [*rows, rows[0] | {"id": "9", "formulas": 0}], PAGE)
    tree = assert_harmless(render(str(tmp_path)))
    charts = {
        text_of(one, "./figcaption")[0]: one for one in tree.xpath("//section[@id='documents']//figure")
    }
    assert text_of(charts["Length of documents, in characters"], ".//tbody/tr/*") == [
        "from 8", "0.4", "from 16", "0.2", "from 32", "0.2", "from 64", "0.2"]  # fmt: skip
    assert text_of(charts["Formulas on a page that has any"], ".//tbody/tr/*") == [
        "from 1", "0.25", "from 2", "0.25", "from 4", "0.25", "from 8", "0.25"]  # fmt: skip


def test_each_shard_has_its_mixture(tmp_path):
    tiny = TinyWork(tmp_path)
    tiny.packed()
    span = {"id": "p1", "source": "math", "start": 0, "length": 8, "chunk": 0, "epoch": 0, "offset": 0}
    row = {"tokens": [1] * 8, "documents": [span], "completed": 1}
    parquet(tmp_path / "shards" / "part-00001.parquet", [row], SEQUENCE)
    tree = assert_harmless(render(str(tmp_path)))
    assert [row for row in cells_of(tree, "tokens") if len(row) == 3] == [
        ["math", "37.5 %", "100.0 %"], ["shelf", "0.0 %", "62.5 %"]]  # fmt: skip
    bars = tree.xpath("//div[@class='mixture']/span[@class='bar']")
    assert [[piece.get("style") for piece in bar] for bar in bars] == [
        ["width:37.50%", "width:62.50%"], ["width:100.00%"]]  # fmt: skip


def test_parameters_are_told_one_a_line():
    told = parameters_of({"prose": {"c4": {"min": 5}, "empty": {}}, "name": "x", "list": [1, "a"]})
    assert told == [("prose.c4.min", "5"), ("prose.empty", "{}"), ("name", "x"), ("list", '[1, "a"]')]
    assert parameters_of(["no mapping"]) == [] and parameters_of(None) == []
    assert parameters_of({str(k): k for k in range(10_000)})[-2:] == [("79", "79"), ("…", "9,920 more")]
