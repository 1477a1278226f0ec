"""Two work folders beside each other: the same, changed, stopped, damaged, of different kinds, hostile."""

import itertools
import json
import pathlib
import shutil

import fsspec
import lxml.html
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.schema import DROPPED
from jobs.deduplicate import FATE
from jobs.report_compare import names_of, render, write_comparison
from jobs.report_pair import Pair, apart, brief, changes, delta, flat, share, signed
from tests.tiny_work import HOSTILE, PAGE, TinyWork, parquet


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> pathlib.Path:
    return TinyWork(tmp_path_factory.mktemp("compare") / "first").build()


@pytest.fixture
def second(first, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(first, tmp_path / "second"))


def manifest(folder: pathlib.Path, stage: str, **values) -> dict:
    path = folder / stage / "_lode.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return json.loads(path.read_text())


def run_again(folder: pathlib.Path, stage: str, **values) -> None:
    """What a run with other settings leaves: another fingerprint of the stage, and of all that is made of it."""
    waiting = {f"mark of {stage}"}
    manifest(folder, stage, fingerprint=f"new mark of {stage}", **values)
    while waiting:
        mark = waiting.pop()
        for path in folder.rglob("_lode.json"):
            value = json.loads(path.read_text())
            if mark in value["inputs"].values():
                inputs = {key: "new " + one if one == mark else one for key, one in value["inputs"].items()}
                if not value["fingerprint"].startswith("new"):
                    waiting.add(value["fingerprint"])
                    value["fingerprint"] = "new " + value["fingerprint"]
                path.write_text(json.dumps(value | {"inputs": inputs}))


def without(folder: pathlib.Path, stage: str, name: str) -> dict:
    """Take a document out of a stage's Parquet; returns its row."""
    for path in sorted((folder / stage).glob("part-*.parquet")):
        table = pq.read_table(path)
        rows = {row["id"]: row for row in table.to_pylist()}
        if name in rows:
            pq.write_table(table.filter(pa.compute.not_equal(table["id"], name)), path)
            return rows[name]
    raise KeyError(name)


def drop(folder: pathlib.Path, stage: str, **row) -> None:
    parquet(folder / stage / "dropped" / "part-00009.parquet", [row], DROPPED)


def cells(page: str, section: str, table: str | None = None) -> list[list[str]]:
    """The rows of a section's tables, or of the one with this caption; bars and line ends are left out."""
    tree = lxml.html.document_fromstring(page)
    for element in tree.xpath("//small | //li"):
        element.text = f" {element.text or ''}"
    condition = f"caption[contains(., '{table}')]" if table else "caption"
    rows = tree.xpath(f"//section[@id='{section}']//table[{condition}]/tbody/tr")
    return [[" ".join(cell.text_content().split()) for cell in row.xpath("./*")] for row in rows]


def lines(page: str) -> dict[str, str]:
    """What a section says in one line, by its id."""
    tree = lxml.html.document_fromstring(page)
    return {s.get("id"): " ".join(s.xpath("./p[@class='lede']")[0].text_content().split())
            for s in tree.xpath("//section") if s.xpath("./p[@class='lede']")}  # fmt: skip


def test_the_same_folder_twice_is_identical_and_says_so_in_a_line_for_each_part(first, second):
    for other in (first, second):
        page = render(str(first), str(other))
        assert "They are identical." in page
        assert not lxml.html.document_fromstring(page).xpath("//table")
        assert set(lines(page)) == {"causes", "stages", "documents", "makeup", "mining", "tokens", "training"}
    assert render(str(first), str(second)) == page


def test_settings_come_first_and_changes_go_back_to_them(first, second):
    recipes = [{"name": "x", "deduplicate": {"jaccard": 0.8}}, {"name": "y", "deduplicate": {"jaccard": 0.5}}]
    for folder, recipe in zip((first, second), recipes, strict=True):
        manifest(folder, "deduplicated", parameters={"seed": 1} | recipe["deduplicate"])
        (folder / "recipe.json").write_text(json.dumps(recipe))
    run_again(second, "deduplicated", rows_out=1, dropped={"near_duplicate": 2})
    try:
        page = render(str(first), str(second))
    finally:
        (first / "recipe.json").unlink()
    assert cells(page, "causes") == [["deduplicate.jaccard", "0.8", "0.5", "deduplicated"]]
    why = {row[0].split()[0]: row[-1] for row in cells(page, "stages", "Stages that differ")}
    assert list(why) == ["deduplicated", "tokenized", "shards", "run", "evaluation"]
    assert why["deduplicated"] == "changed itself: jaccard 0.8 → 0.5"
    assert why["tokenized"] == "changed by its input: deduplicated"
    assert why["evaluation"] == "changed by its input: run (which goes back to deduplicated)"
    drops = cells(page, "stages", "Reasons")
    assert drops == [
        ["near duplicate deduplicated", "1", "2", "+1 +100 %", "changed itself: jaccard 0.8 → 0.5"]
    ]
    assert "They are identical" not in page
    # Without the recipes the stages say it.
    page = render(str(first), str(second))
    assert cells(page, "causes") == [["deduplicated: jaccard", "0.8", "0.5"]]


def test_what_a_round_learnt_is_no_setting_and_other_input_and_code_are_causes(first, second):
    rules = [{"target": "math", "accepted": ["a.example/x"], "learnt": ["a.example/m"], "cut": 0.5}]
    manifest(first, "mined", parameters={"rules": rules})
    run_again(second, "mined", parameters={"rules": [rules[0] | {"learnt": [], "cut": 2.0}]})
    manifest(second, "files", inputs={"archives": "f" * 32}, fingerprint="other", code="n3w")
    page = render(str(first), str(second))
    why = {row[0].split()[0]: row[-1] for row in cells(page, "stages", "Stages that differ")}
    assert why["mined"] == "changed: another run of the same"
    assert why["files"] == "changed itself: what it reads (archives), its code"
    assert cells(page, "causes", "Inputs") == [["files: archives", "–", "…ffffffff"]]
    assert cells(page, "causes", "Code") == [["code of files", "c0de", "n3w"]]
    run_again(second, "mined", parameters={"rules": [rules[0] | {"accepted": []}]})
    assert cells(render(str(first), str(second)), "causes", "Parameters") == [
        ["mined: rules.math.accepted", '["a.example/x"]', "[]"]
    ]


def test_stages_that_a_stopped_run_left_behind_are_named(first, second):
    run_again(second, "mined")
    kept = {"shards": "mark of shards", "run": "mark of run"}
    for stage, mark in kept.items():
        was = json.loads((first / stage / "_lode.json").read_text())
        manifest(second, stage, fingerprint=mark, inputs=was["inputs"])
    page = render(str(first), str(second))
    assert "Left over in B from an earlier run, and not made of what is there now: shards" in page
    assert "Left over in A" not in page


def test_documents_that_are_gone_are_followed_to_where_they_went(first, second):
    lost = without(second, "deduplicated", "p1")
    drop(
        second, "deduplicated", id="p1", url=lost["url"], reason="near_duplicate", detail="cluster 7 kept p3"
    )
    fate = {"place": 1, "id": "p1", "reason": "near_duplicate", "cluster": 7, "winner": "p3", "jaccard": 0.83}
    parquet(second / "deduplicated" / "clusters" / "part-00009.parquet", [fate], FATE)
    page = render(str(first), str(second))
    (row,) = cells(page, "documents", "What became in B of the 1 document")
    assert row[0] == "dropped by deduplicated: near duplicate"
    assert row[1] == "1"
    assert row[2] == "https://a.example/m/p1 a copy of https://a.example/m/p3 (0.83 alike)"
    (row,) = cells(render(str(second), str(first)), "documents", "What became in A of the 1 document")
    assert row[0].startswith("dropped by deduplicated") and "(0.83 alike)" in row[2]
    # Without a word of why, the last stage that had it; and without any trace, it was not in the input.
    shutil.rmtree(second / "deduplicated" / "dropped")
    (row,) = cells(render(str(first), str(second)), "documents", "What became")
    assert row[0] == "not taken on after mined"
    for stage in ("mined", "pages"):
        without(second, stage, "p1")
    (row,) = cells(render(str(first), str(second)), "documents", "What became")
    assert row[0] == "not in the input of B"


def test_a_repository_is_followed_by_its_files(first, second):
    without(second, "repositories", "r1")
    (row,) = cells(render(str(first), str(second)), "documents", "What became")
    assert row[0].startswith(
        "no document of its repository; most of the files dropped from it by code_rules: line too long"
    )
    assert row[2] == "tool"
    rows = pq.read_table(next((first / "repositories").glob("part-*.parquet")))
    again = rows.set_column(rows.column_names.index("id"), "id", pa.array(["r1-window-1"]))
    pq.write_table(again, second / "repositories" / "part-00000.parquet")
    page = render(str(first), str(second))
    assert [row[0] for row in cells(page, "documents", "What became")] == [
        "its repository is there, cut or named in another way"
    ] * 2
    for stage in ("files", "code_rules", "repositories"):
        shutil.rmtree(second / stage)
    (row,) = [r for r in cells(render(str(first), str(second)), "documents", "in B") if r[2] == "tool"]
    assert row[0] == "not in the input of B"


def test_documents_in_both_with_another_text_or_source(first, second):
    run_again(second, "mined")
    for stage in ("mined", "deduplicated"):
        path = next((second / stage).glob("part-*.parquet"))
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            if row["id"] == "p3":
                row |= {"text": row["text"].replace("angles", "corners"), "target": "general"}
        pq.write_table(pa.Table.from_pylist(rows, PAGE), path)
    page = render(str(first), str(second))
    rows = {row[0]: row[1:] for row in cells(page, "documents", "Documents of each source")}
    assert rows["math"] == ["2", "2", "2", "0", "0", "1"] and rows["all"] == ["3", "3", "3", "0", "0", "1"]
    assert cells(page, "documents", "In both, but of another source") == [["math → general", "1"]]
    ((name, before, after, since),) = cells(page, "documents", "In both with another text")
    assert (name, since) == ("https://a.example/m/p3", "from mined on changed: another run of the same")
    assert int(after) - int(before) == 5 * len("corners") - 5 * len("angles")


def test_a_stage_more_changes_no_text(first, second):
    shutil.copytree(second / "deduplicated", second / "decontaminated", dirs_exist_ok=True)
    new = {"stage": "decontaminated", "inputs": {"pages": "mark of deduplicated"}, "fingerprint": "new mark"}
    path = second / "decontaminated" / "_lode.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | new))
    manifest(second, "tokenized", inputs={"0": "new mark", "1": "mark of repositories"}, fingerprint="x")
    page = render(str(first), str(second))
    assert lines(page)["documents"] == "Both hold the same 3 documents, of the same text."
    assert ["decontaminated pages", "– → 3", "– → 2", "–", "only in B"] in cells(page, "stages")


names = st.sets(st.integers(0, 40), max_size=30)


@settings(max_examples=15)
@given(a=names, b=names, changed=names)
def test_the_numbers_of_documents_are_those_of_python_sets(tmp_path_factory, a, b, changed):
    folder = tmp_path_factory.mktemp("sets")
    rows = [
        [{"id": f"{k:032x}", "text": "x" * (k + side * (k in changed)), "source": "s"} for k in one]
        for side, one in enumerate((a, b))
    ]
    schema = pa.schema([(name, pa.string()) for name in ("id", "text", "source")])
    for name, part in zip("ab", rows, strict=True):
        parquet(folder / name / "part-00000.parquet", part, schema)
    page = render(str(folder / "a"), str(folder / "b"))
    both = a & b
    wanted = [len(a), len(b), len(both), len(a - b), len(b - a), len(both & changed)]
    if a == b and not both & changed:
        assert not cells(page, "documents")
    else:
        assert cells(page, "documents", "Documents of each source") == [["s", *map(str, wanted)]]


def test_losses_tokens_and_mining_rounds_are_laid_over_each_other(first, second):
    run_again(second, "shards", mixture={"math": {"weight": 1, "tokens": 6, "epochs": 2.0}},
              shards={"tokenizer_fingerprint": "e" * 32, "vocabulary_size": 9, "sequence_length": 8})  # fmt: skip
    manifest(first, "shards", shards={"tokenizer_fingerprint": "d" * 32, "vocabulary_size": 8})
    parquet(second / "evaluation" / "part-00000.parquet", [{"source": "math", "loss": 6.5, "tokens": 99}],
            pa.schema([("source", pa.string()), ("loss", pa.float64()), ("tokens", pa.int64())]))  # fmt: skip
    values = json.loads((second / "mining/round-2/statistics/_lode.json").read_text())["round"]["math"]
    manifest(second, "mining/round-2/statistics", round={"math": values | {"collected": 5}},
             accepted={"math": ["a.example/n"]}, fingerprint="x")  # fmt: skip
    page = render(str(first), str(second))
    assert ["the finished model on math", "7.000", "6.500", "−0.500 −7.1 %"] in cells(page, "training")
    assert "The tokenizers differ" in page
    (row,) = [row for row in cells(page, "tokens") if row[0] == "math"]
    assert row[1:7] == ["3", "3", "0", "38 % → 38 %", "1.00 → 2.00", "6 → 6"]
    assert cells(page, "causes", "Inputs") == [
        ["shards: its tokenizer", "…dddddddd", "…eeeeeeee"], ["shards: its vocabulary", "8", "9"]
    ]  # fmt: skip
    rounds = cells(page, "mining", "Round by round")
    assert [row[:4] for row in rounds] == [
        ["math, round 1", "2", "2", "0"], ["math, round 2", "3", "5", "+2 +67 %"]
    ]  # fmt: skip
    assert cells(page, "mining", "Pages collected in the end") == [["math", "3", "3", "3", "0", "0", "100 %"]]
    assert cells(page, "mining", "Paths") == [["a.example/n", "math", "–", "round 2"]]
    charts = lxml.html.document_fromstring(page).xpath("//figure/figcaption/text()")
    assert {
        "Pages collected for math",
        "Share of the tokens",
        "Training loss",
        "Held-out loss of math",
    } <= set(charts)


def test_folders_of_different_kinds_and_damaged_ones_give_a_page(first, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(first / "run", model / "run")
    damaged = pathlib.Path(shutil.copytree(first, tmp_path / "damaged"))
    for path in sorted(damaged.rglob("*.parquet"))[::3]:
        path.write_bytes(path.read_bytes()[:-9])
    for path in sorted(damaged.rglob("_lode.json"))[::4]:
        path.write_text('{"stage": 3}')
    for path in sorted(damaged.rglob("_lode.json"))[1::4]:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"mixture": 3, "shards": [], "parameters": "no",
                                                                   "dropped": {"x": 1}, "rounds": "none"}))  # fmt: skip
    (damaged / "recipe.json").write_text("[1, 2")
    for a, b in ((first, model), (model, first), (first, damaged), (damaged, model), (damaged, damaged)):
        page = render(str(a), str(b))
        assert "Stage by stage" in page and "Traceback" not in page
        assert "can not be compared" not in page
    page = render(str(first), str(damaged))
    assert "Not everything here is whole" in page and "<li>B: " in page and "<li>A: " not in page
    why = {
        row[0].split()[0]: row[-1]
        for row in cells(render(str(first), str(model)), "stages", "Stages that differ")
    }
    assert why["pages"] == "only in A"
    (tmp_path / "empty").mkdir()
    for a, b in ((first, tmp_path / "empty"), (tmp_path / "empty", first)):
        with pytest.raises(LodeError, match="no stage"):
            render(str(a), str(b))


def test_hostile_names_stay_text_and_the_page_fits_a_phone(first, second, tmp_path, open_page):
    run_again(
        second, "deduplicated", dropped={HOSTILE: 3}, parameters={HOSTILE: {HOSTILE: HOSTILE}}, code=HOSTILE
    )
    lost = without(second, "deduplicated", "p1")
    drop(second, "deduplicated", id="p1", url=lost["url"], reason=HOSTILE, detail=HOSTILE * 50_000)
    path = first / "deduplicated" / "part-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(
        pa.Table.from_pylist([row | {"url": HOSTILE * 1000, "target": HOSTILE} for row in rows], PAGE), path
    )
    manifest(second, "files", inputs={HOSTILE: json.dumps([HOSTILE])}, fingerprint="x")
    for number, work in enumerate((first, second)):
        (work / "recipe.json").write_text(
            json.dumps({HOSTILE: f"{number}{HOSTILE}", "x": [HOSTILE] * number})
        )
    out = tmp_path / "compare.html"
    try:
        write_comparison(str(first), str(second), str(out))
    finally:
        (first / "recipe.json").unlink()
        pq.write_table(pa.Table.from_pylist(rows, PAGE), path)
    text = out.read_text()
    assert (
        "<script" not in text
        and "onerror=alert(2)>" not in text
        and "\u202e" not in text
        and len(text) < 200_000
    )
    assert "can not be compared" not in text
    page = open_page(f"file://{out}", viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not page.locator("script, img, iframe").count()
    assert page.locator("table").count() == page.locator("table:has(caption), details.numbers table").count()
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(heading => +heading.tagName[1])")
    assert all(after - before < 2 for before, after in itertools.pairwise(levels))


def test_the_page_lies_in_the_second_folder_and_gives_the_same_bytes(first, second):
    run_again(second, "mined")
    without(second, "deduplicated", "p1")
    out = pathlib.Path(write_comparison(str(first), str(second)))
    assert out == second / "compare.html" and not (first / "compare.html").exists()
    before = out.read_bytes()
    assert write_comparison(str(first), str(second)) == str(out)
    assert out.read_bytes() == before


def test_folders_that_lie_elsewhere(first, second, tmp_path):
    without(second, "deduplicated", "p1")
    remote = "memory://compare/second"
    fs = fsspec.filesystem("memory")
    fs.put(str(second), "/compare/second", recursive=True)
    try:
        pages = [render(str(first), remote), render(remote, str(first)), render(remote, remote)]
        assert write_comparison(str(first), remote) == f"{remote}/compare.html" and fs.exists(
            "/compare/second/compare.html"
        )
    finally:
        fs.rm("/compare", recursive=True)
    here = render(str(first), str(second))
    assert cells(pages[0], "documents") == cells(here, "documents") != []
    assert cells(pages[1], "documents")[0] == ["math", "1", "2", "1", "0", "1", "0"]
    assert "They are identical." in pages[2]


def test_a_stage_goes_back_to_the_stages_that_changed_by_themselves(first, second, tmp_path):
    run_again(second, "mined", parameters={"seed": 2})
    pair = Pair(str(first), str(second), str(tmp_path))
    assert pair.sources("evaluation") == ["mined"] and pair.sources("pages") == []
    assert pair.why("pages") == "unchanged" and pair.why("nowhere") == ""


words = st.text(max_size=3)
leaves = st.none() | st.booleans() | st.integers() | words
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)


@given(trees)
def test_settings_do_not_differ_from_themselves(value):
    assert changes(flat(value), flat(value)) == []


def test_words():
    assert flat({"a": {"b": [1, "x"], "c": {}}, "d": "e"}) == {"a.b": [1, "x"], "a.c": {}, "d": "e"}
    assert changes({"a": 1, "b": None}, {"a": True}) == [("a", 1, True), ("b", None, None)]
    assert brief("0123456789abcdef" * 2) == "…89abcdef" and brief(None) == "–" and brief([1]) == "[1]"
    assert apart('["a", "b"]', '["a", "c", "d"]') == ("b and 1 in common", "c, d and 1 in common")
    assert apart(["a"], []) == ('["a"]', "[]")
    assert (signed(3, 1), signed(1, 1), signed(None, 1), signed(1, 1.25, 2)) == ("−2", "0", "–", "+0.25")
    assert (share(100, 112), share(8, 8), share(0, 3), share(1, 40)) == ("+12\u00a0%", "", "", "× 40")
    assert 'class="less bad" style="width:25.00%"' in delta(3, 2, 2, better=1) and delta(None, 2, 2) == "–"
    assert names_of("/x/a", "/x/b/") == ["a", "b"] and names_of("/x/a/w", "/x/b/w") == ["a/w", "b/w"]
    assert names_of("/w", "/w") == ["w", "w"] and names_of("s3://x/a", "b") == ["a", "b"]
