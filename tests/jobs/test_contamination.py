"""Decontamination on Spark: what is found, what is told, and the same for every division into parts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.contamination import CONTAMINATION, UNUSABLE
from corpus.errors import LodeError
from corpus.inspect import open_work, query, statistic
from corpus.schema import DOCUMENT, document_id
from jobs.contamination import decontaminate, findings
from jobs.engine import HERE, Work, open_dataset
from jobs.progress import Progress
from jobs.recipe import DecontaminateSection

QUESTION = (
    "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes. How much did she earn?"
)
ANSWER = "She earns 12 / 60 = $<<12/60=0.2>>0.2 a minute, so for 50 minutes it is 10.\n#### 10"
COUNT = "one 1 two 2 three 3 four 4 five 5 six 6 seven 7"


@pytest.fixture
def sets(tmp_path):
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [
        {"question": QUESTION, "answer": ANSWER},
        {"question": "Why?", "answer": f"{COUNT} is it.\n#### 7"},
    ]
    (folder / "gsm8k.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "humaneval.jsonl").write_text(
        json.dumps(
            {
                "task_id": "HumanEval/53",
                "prompt": "def add(x, y):",
                "canonical_solution": "    return x + y\n",
            }
        )
    )
    (folder / "manifest.json").write_text(json.dumps([{"file": "gsm8k.jsonl"}]))
    return folder


def pages(count=60):
    for i in range(count):
        text = f"Page {i} says little."
        text += f"\n\n> {QUESTION.upper()}\n" if i % 20 == 3 else ""
        text += f"\n\n{ANSWER.replace('<<12/60=0.2>>', '')}" if i % 20 == 7 else ""
        text += f" {COUNT}" if i % 6 == 0 else ""
        text += "\ndef f(x, y):\n    return x+y\n" if i == 31 else ""
        url = f"http://a.org/{i}"
        yield {"id": document_id("s", url), "source": "s", "url": url, "text": text}


def dataset(folder, parts):
    folder.mkdir(parents=True)
    rows = list(pages())
    size = -(-len(rows) // parts)
    for part in range(parts):
        table = pa.Table.from_pylist(rows[part * size : (part + 1) * size], DOCUMENT)
        pq.write_table(table, folder / f"part-{part:05d}.parquet")
    return open_dataset(str(folder))


def rows_of(folder):
    return [row for file in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def run(spark, tmp_path, sets):
    def decontaminated(parts, **section):
        out = tmp_path / f"out-{parts}"
        with Work(str(out), spark, Progress(quiet=True)) as work:
            about = DecontaminateSection(**{"benchmarks": [str(sets)], **section})
            return decontaminate(
                work, HERE, dataset(tmp_path / f"in-{parts}", parts), about, "documents"
            ), out

    return decontaminated


def test_what_is_found_is_told_and_dropped_whatever_the_parts(run):
    stage, out = run(1)
    found, dropped = rows_of(out / "contamination"), rows_of(out / "dropped")
    numbers = {int(row["url"].rpartition("/")[2]): row["detail"] for row in dropped}
    expected = {i for i in range(60) if i % 20 in (3, 7) or i % 6 == 0 or i == 31}
    assert set(numbers) == expected == {int(row["url"].rpartition("/")[2]) for row in found}
    assert numbers[3].startswith("gsm8k.jsonl#0: WENG EARNS $12 AN HOUR")
    assert numbers[31] == "humaneval.jsonl#HumanEval/53: return x+y"
    texts = {row["id"]: row["text"] for row in pages()}
    for row in found:
        assert row["excerpt"] == " ".join(texts[row["id"]][row["start"] : row["end"]].split())
    # Page 7 has the solution without the calculator's mark, page 31 all of a short one.
    by_page = {row["url"].rpartition("/")[2]: row for row in found}
    assert (by_page["7"]["field"], by_page["7"]["coverage"]) == ("answer", 1)
    assert (by_page["31"]["field"], by_page["31"]["item_ngrams"]) == ("canonical_solution", 1)
    for parts in (3, 7):
        other, other_out = run(parts)
        assert rows_of(other_out / "contamination") == found
        assert rows_of(other_out / "dropped") == dropped
        assert rows_of(other_out) == rows_of(out)
        assert other.manifest["benchmarks"] == stage.manifest["benchmarks"]
        assert other.manifest["found_most"] == stage.manifest["found_most"]


def test_the_manifest_has_an_account_of_every_set(run):
    stage, out = run(2)
    assert stage.manifest["benchmarks"] == {
        "gsm8k.jsonl": {"layout": "GSM8K", "items": 2, "texts": 4, "unusable": 1, "items_found": 2, "documents": 16},
        "humaneval.jsonl": {
            "layout": "HumanEval", "items": 1, "texts": 2, "unusable": 0, "items_found": 1, "documents": 1,
        },
    }  # fmt: skip
    assert stage.manifest["benchmark_items"] == 3 and stage.manifest["texts_too_short"] == 1
    # What most documents have is no item's own, and comes first.
    first = stage.manifest["found_most"][0]
    assert first == {"words": COUNT, "documents": 10, "example": "gsm8k.jsonl#1"}
    assert [row["file"] for row in stage.manifest["left_out"]] == ["manifest.json"]
    (unusable,) = rows_of(out / "unusable")
    assert unusable == dict(zip(UNUSABLE.names, ("gsm8k.jsonl", "1", "question", "Why?"), strict=True))
    shown = findings(stage.manifest, "out")
    assert "gsm8k.jsonl          2      4         1            2         16" in shown
    assert (
        "Texts of fewer than 3 words, which were not looked for: 1; they are listed in out/unusable." in shown
    )
    assert "manifest.json, row 1: file is no layout known here" in shown


def test_the_findings_are_a_view(run):
    _, out = run(4)
    connection = open_work(str(out), 2)
    names, rows = query(connection, "SELECT * FROM contamination")
    assert set(CONTAMINATION.names) <= set(names) and len(rows) == len(rows_of(out / "contamination"))
    assert query(connection, "SELECT count(*) FROM problems")[1] == [(0,)]
    names, rows = statistic(connection, "contamination")
    first = dict(zip(names, rows[0], strict=True))
    assert (first["item"], first["documents"], first["excerpt"]) == ("1", 10, COUNT)


def test_a_clean_corpus_has_no_findings(run, sets):
    (sets / "gsm8k.jsonl").write_text(
        json.dumps({"question": "What no page of these here has ever said of anything?"})
    )
    (sets / "humaneval.jsonl").unlink()
    stage, out = run(2)
    assert stage.manifest["rows_out"] == 60 and not (out / "contamination").exists()
    assert stage.manifest["found_most"] == []
    assert query(open_work(str(out), 2), "SELECT count(*) FROM contamination")[1] == [(0,)]


def test_a_set_without_a_usable_text_is_an_error(run, sets):
    (sets / "numbers.jsonl").write_text(json.dumps({"question": "8", "answer": "64"}))
    with pytest.raises(LodeError, match=r"numbers.jsonl: no text in it has 3 words"):
        run(1)


def test_named_fields_are_read_instead(run, sets):
    (sets / "a.jsonl").write_text(json.dumps({"note": f"It is known: {COUNT}"}))
    stage, _ = run(1, benchmarks=[str(sets / "a.jsonl")], fields=["note"])
    assert stage.manifest["dropped"] == {"contaminated": 10}


def test_a_set_that_cannot_be_read_costs_nothing(spark, sets, tmp_path):
    before = dataset(tmp_path / "in", 1)
    with Work(str(tmp_path / "work"), spark, Progress(quiet=True)) as work:
        stage = decontaminate(work, "out", before, DecontaminateSection(benchmarks=[str(sets)]), "documents")
        (sets / "gsm8k.jsonl").write_text("{")
        section = DecontaminateSection(benchmarks=[str(sets / "gsm8k.jsonl")])
        with pytest.raises(LodeError, match="not JSON"):
            decontaminate(work, "out", before, section, "documents")
        assert open_dataset(stage.folder).fingerprint == stage.fingerprint
