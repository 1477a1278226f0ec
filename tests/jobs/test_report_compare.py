"""Two work folders beside each other: the same, changed, damaged, of different kinds, hostile."""

import json
import pathlib
import re
import shutil

import pyarrow.parquet as pq
import pytest

from corpus.errors import LodeError
from jobs.report_compare import difference, flat, render, write_comparison
from tests.browser import browser, open_page  # noqa: F401 (fixtures)
from tests.tiny_work import HOSTILE, TinyWork


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    work = tmp_path_factory.mktemp("compare") / "first"
    TinyWork(work).build()
    return work


@pytest.fixture
def other(folder, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(folder, tmp_path / "second"))


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S))


def change(folder: pathlib.Path, stage: str, **values) -> None:
    path = folder / stage / "_lode.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def final_stage(folder: pathlib.Path) -> str:
    from corpus.inspect import open_work, query

    return query(open_work(str(folder)), "SELECT stage FROM corpus WHERE url IS NOT NULL LIMIT 1")[1][0][0]


def test_a_folder_and_itself_are_identical_and_the_page_is_the_same_each_time(folder, other):
    page = render(str(folder), str(folder))
    assert "They are identical." in page and "are the same, row for row" in page
    assert render(str(folder), str(folder)) == page
    assert "They are identical." in render(str(folder), str(other))


def test_what_was_set_differently_is_named_with_the_stages_it_changed(folder, other):
    before = json.loads((folder / "deduplicated" / "_lode.json").read_text())
    change(other, "deduplicated", parameters=(before.get("parameters") or {}) | {"jaccard": 0.5}, fingerprint="other",
           rows_out=before["rows_out"] + 7, dropped={"near_duplicate": 1234})  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps({"name": "x", "deduplicate": {"jaccard": 0.8}}))
    (other / "recipe.json").write_text(json.dumps({"name": "x", "deduplicate": {"jaccard": 0.5}}))
    try:
        text = words(render(str(folder), str(other)))
    finally:
        (folder / "recipe.json").unlink()
    assert "deduplicate.jaccard 0.8 0.5" in text
    assert re.search(r"deduplicated \S+ \S+ \+7.{0,20} its settings: jaccard", text)
    assert "deduplicated: near duplicate" in text and "1,234" in text
    assert "They are identical" not in text


def test_documents_that_are_missing_are_followed_to_where_they_were_lost(folder, other):
    stage = final_stage(folder)
    path = next((other / stage).glob("part-*.parquet"))
    table = pq.read_table(path)
    lost, kept = table.slice(0, 1), table.slice(1)
    pq.write_table(kept, path)
    name, url = lost["id"][0].as_py(), lost["url"][0].as_py()
    dropped = next((folder / stage / "dropped").glob("*.parquet"), None) or next(
        folder.rglob("dropped/*.parquet")
    )
    rows = pq.read_table(dropped).slice(0, 1).to_pylist()
    row = dict.fromkeys(rows[0]) | {"id": name, "url": url, "reason": "too_sad", "detail": "x"}
    place = other / stage / "dropped"
    place.mkdir(exist_ok=True)
    pq.write_table(type(table).from_pylist([row], pq.read_schema(dropped)), place / "part-00099.parquet")
    text = words(render(str(folder), str(other)))
    assert "What became in B of the documents that only A has" in text
    assert f"dropped in {stage}: too sad 1 {url}" in text
    back = words(render(str(other), str(folder)))
    assert "What became in A of the documents that only B has" in back and "too sad" in back


def test_a_changed_text_is_counted(folder, other):
    stage = final_stage(folder)
    path = next((other / stage).glob("part-*.parquet"))
    rows = pq.read_table(path).to_pylist()
    rows[0]["text"] = rows[0]["text"][::-1] + "!"
    pq.write_table(pq.read_table(path).from_pylist(rows, pq.read_schema(path)), path)
    text = words(render(str(folder), str(other)))
    assert "Other text" in text and "They are identical" in text  # the manifests know nothing of it


def test_folders_of_different_kinds_and_damaged_ones_give_a_page(folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(folder / "run", model / "run")
    damaged = pathlib.Path(shutil.copytree(folder, tmp_path / "damaged"))
    for path in list(damaged.rglob("*.parquet"))[::3]:
        path.write_bytes(path.read_bytes()[:-9])
    for path in list(damaged.rglob("_lode.json"))[::4]:
        path.write_text('{"stage": 3}')
    for a, b in ((folder, model), (model, folder), (folder, damaged), (damaged, model)):
        page = render(str(a), str(b))
        assert "Stage by stage" in page and "Traceback" not in page
    assert "Not everything here is whole" in render(str(folder), str(damaged))
    with pytest.raises(LodeError, match="no stage"):
        (tmp_path / "empty").mkdir()
        render(str(folder), str(tmp_path / "empty"))


def test_hostile_names_stay_text(folder, other, tmp_path, open_page):  # noqa: F811
    for number, work in enumerate((folder, other)):
        (work / "recipe.json").write_text(
            json.dumps({HOSTILE: f"{number} {HOSTILE}", "x": [HOSTILE] * number})
        )
    change(other, "deduplicated", fingerprint="x", dropped={HOSTILE: 3}, parameters={HOSTILE: HOSTILE})
    try:
        out = write_comparison(str(folder), str(other), str(tmp_path / "compare.html"))
    finally:
        (folder / "recipe.json").unlink()
    text = pathlib.Path(out).read_text()
    assert "<script" not in text and "onerror=alert(2)>" not in text and "\u202e" not in text
    page = open_page(f"file://{out}", viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("section h2").count() >= 3


def test_the_page_lies_in_the_second_folder(folder, other):
    assert write_comparison(str(folder), str(other)) == str(other / "compare.html")
    assert not (folder / "compare.html").exists()


def test_small_things():
    assert dict(flat({"a": {"b": [1, "x"], "c": {}}, "d": "e"})) == {"a.b": '[1, "x"]', "a.c": "{}", "d": "e"}
    assert difference(100, 112) == "+12 (+12 %)" and difference(0, 3) == "+3" and difference(None, 3) == "–"
    assert difference(4, 4) == "0"
