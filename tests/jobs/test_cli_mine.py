"""`lode mine` beside the loop itself: explaining a page, drawing a sample and reading its labels."""

import csv
import io
import json
import pathlib
import re
import shutil

import pyarrow.parquet as pq
import pytest
from typer.main import get_command

from corpus.errors import LodeError
from jobs.cli import app
from jobs.cli_mine import explanation, rounds_found, targets_of
from jobs.explain import Run, explain, find, sample
from jobs.recipe import Classifier, MineSection
from tests.jobs.conftest import lode
from tests.jobs.test_cli import sentence


def rows(folder: pathlib.Path) -> list[dict]:
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


@pytest.fixture(scope="module")
def run(finished) -> Run:
    return Run(str(finished))


def test_targets_of_the_options():
    found = targets_of(["math=a", "math=b", "code=/x=1/c"], ["math=site.org/q"], ["code=site.org"])
    assert found == {
        "math": {"seeds": ["a", "b"], "accept": ["site.org/q"], "reject": []},
        "code": {"seeds": ["/x=1/c"], "accept": [], "reject": ["site.org"]},
    }
    assert targets_of(["/x=1/c"], ["a.org"], []) == {
        "target": {"seeds": ["/x=1/c"], "accept": ["a.org"], "reject": []}
    }
    for accept in ("site.org", "other=site.org"):
        with pytest.raises(LodeError, match=f"--accept {accept}"):
            targets_of(["math=a", "code=b"], [accept], [])


def test_the_help_knows_the_defaults():
    defaults = {name.replace("_", "-"): field.default for name, field in MineSection.model_fields.items()}
    defaults |= {"rounds": defaults["max-rounds"], "bucket": Classifier().bucket}
    told = {}
    for option in get_command(app).commands["mine"].params:
        if found := re.search(r"\[([\d.,]+)\]$", (option.help or "").rstrip(".")):
            told[option.opts[0].removeprefix("--")] = float(found[1].replace(",", ""))
    assert len(told) == 7 and told == {name: defaults[name] for name in told}


@pytest.mark.parametrize(
    "options, said",
    [
        ((), "give --pages and --seeds"),
        (("--explain", "x.org", "--sample", "20"), "--explain and --sample: one at a time"),
        (("--pages", "p", "--seeds", "s", "--check", "f"), "leave out --seeds"),
        (
            ("--pages", "p", "--seeds", "s", "--min-score", "0.6", "--budget-tokens", "9"),
            "three ways to keep",
        ),
        (("--pages", "p", "--seeds", "s", "--growth", "0.5"), "--growth: Input should be greater than 1"),
        (("--explain", "x.org"), "no mining round has scored its pages there"),
    ],
)
def test_options_that_do_not_go_together(options, said, tmp_path):
    assert said in sentence(lode("mine", "--out", str(tmp_path), *options))


def test_every_page_ends_where_the_run_left_it(run, finished):
    """What is told of a page is what the stages wrote, to the last digit."""
    mined = {row["id"]: row for row in rows(finished / "mined")}
    dropped = {row["id"]: row for row in rows(finished / "mined" / "dropped")}
    collected = [row for row in mined.values() if row["target"] == "algebra"]
    chosen = (
        sorted(collected, key=lambda row: row["id"])[:4]
        + sorted(dropped.values(), key=lambda row: row["id"])[:4]
    )
    assert len(chosen) > 5
    for row in chosen:
        told = explain(run, row["url"])
        assert told["id"] == row["id"] and told["pages_with_this_address"] == 1
        last = told["targets"]["algebra"]["rounds"][-1]
        assert last["round"] == 2 and last["final_cut"] == run.rules[0].cut
        if row["id"] in mined:
            assert told["end"] == {"where": "mined"} | {
                name: row[name] for name in ("target", "score", "evidence", "collected_by")
            }
            assert (last["score"], last["evidence"]) == (row["score"], row["evidence"])
            assert last["finally_collected_by"] == row["collected_by"]
        else:
            assert told["end"] == {"where": "dropped", "reason": row["reason"], "detail": row["detail"]}
            assert last["finally_collected_by"] is None and f"{last['score']:.4f}" in row["detail"]


def test_the_levels_make_the_evidence_and_the_ngrams_the_logit(run, finished):
    row = min((r for r in rows(finished / "mined") if r["target"] == "algebra"), key=lambda r: r["id"])
    told = explain(run, row["url"])
    for entry in told["targets"]["algebra"]["rounds"]:
        levels = entry["levels"]
        assert 0.3 * entry["logit"] + 0.7 * levels[-1]["estimate"] == pytest.approx(entry["evidence"])
        pages = [level["pages"] for level in levels]
        assert pages == sorted(pages, reverse=True) and levels[1]["place"] == row["domain"]
    # The mean of the other pages of the domain, counted by hand from the scores of the first round.
    first = told["targets"]["algebra"]["rounds"][0]
    scores = rows(finished / "mining" / "round-1" / "scores")
    near = [r["algebra"] for r in scores if r["domain"] == row["domain"] and r["id"] != row["id"]]
    assert first["levels"][1]["pages"] == len(near)
    assert first["score"] == next(r["algebra"] for r in scores if r["id"] == row["id"])
    ngrams = told["targets"]["algebra"]["ngrams"]
    assert ngrams["for"] and all(n["share"] > 0 for n in ngrams["for"])
    assert [n["share"] for n in ngrams["against"]] == sorted(n["share"] for n in ngrams["against"])
    text = explanation(told)
    assert row["url"] in text and "collected for algebra" in text and "of the logit" in text


def test_other_spellings_of_an_address(run, finished):
    url = rows(finished / "mined")[0]["url"]
    (found,) = find(run, url)
    assert find(run, f"{url.replace('https://', 'HTTPS://')}#part?utm_source=x") == [found]


def test_an_address_that_is_not_there(finished):
    done = lode("mine", "--explain", "https://nowhere.example/x", "--out", str(finished))
    assert "not among the" in sentence(done)
    stage, gone = next(
        (s, r) for s in ("quality", "pages") for r in rows(finished / s / "dropped") if r["url"]
    )
    done = lode("mine", "--explain", gone["url"], "--out", str(finished))
    assert f"the stage {stage} dropped it ({gone['reason']}" in sentence(done)


def test_a_run_that_is_half_finished(finished, tmp_path):
    """What is there is told; stages that do not follow from one another are no part of the run."""
    work = tmp_path / "work"
    for name in ("mining", "mined", "quality"):
        shutil.copytree(finished / name, work / name)
    url = rows(work / "mined")[0]["url"]
    shutil.rmtree(work / "mined")
    half = Run(str(work))
    assert half.mined is None and explain(half, url)["end"] is None and half.last.number == 2
    manifest = work / "mining" / "round-2" / "scores" / "_lode.json"
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(value | {"inputs": value["inputs"] | {"models": "another"}}))
    assert [found.number for found in Run(str(work)).rounds] == [1]
    (work / "mining" / "round-1" / "statistics" / "_lode.json").unlink()
    told = explain(Run(str(work)), url, str(finished / "quality"))
    (entry,) = told["targets"]["algebra"]["rounds"]
    assert "evidence" not in entry and "has not come to its cut" in explanation(told)
    with pytest.raises(LodeError, match="run lode mine to the end"):
        sample(Run(str(work)), None, 20, 0)
    shutil.rmtree(work / "quality")
    told = explain(Run(str(work)), url)
    assert told["targets"]["algebra"]["ngrams"] is None and "--pages" in explanation(told)
    with pytest.raises(LodeError, match="these are not the pages"):
        explain(Run(str(work)), url, str(finished / "deduplicated"))


def test_the_table_after_a_run(run, finished):
    text = rounds_found(str(finished), run.mined.manifest)
    lines = [line.split() for line in text.splitlines() if line.startswith("algebra")]
    assert [line[:2] for line in lines] == [["algebra", "1"], ["algebra", "2"]]
    assert f"Stopped: {run.mined.manifest['stopped']}" in text and "--sample 200" in text


def test_a_sample_is_labelled_and_read(run, finished, tmp_path):
    work = tmp_path / "work"
    for name in ("mining", "mined", "quality"):
        shutil.copytree(finished / name, work / name)
    done = lode("mine", "--sample", "20", "--out", str(work))
    assert done.returncode == 0, done.stderr
    file = work / "spot-check-algebra.csv"
    assert str(file) in done.stdout
    table = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"), newline="")))
    texts = {row["id"]: row for row in rows(finished / "quality")}
    for row in table:
        assert run.is_held_out(row["url"]) and row["title"].lstrip("'")[:20] in texts[row["id"]]["title"]
        row["label"] = "yes" if row["collected"] == "yes" else "no"
    with open(file, "w", newline="") as out:
        writer = csv.DictWriter(out, table[0])
        writer.writeheader()
        writer.writerows(table)
    done = lode("mine", "--check", str(file), "--out", str(work), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["target"] == "algebra" and sum(b["yes"] + b["no"] for b in told["bands"]) == len(table)
    if any(b["collected"] for b in told["bands"]):
        assert told["precision"][0] == 1 and told["precision"][1] < 1
    assert "share of yes" in lode("mine", "--check", str(file), "--out", str(work)).stdout
