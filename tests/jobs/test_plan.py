import json
import math
import shutil
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import storage
from corpus.errors import LodeError
from corpus.extract import PAGE
from corpus.survivor import parse_ordering
from filters.classifier import FastTextSettings, train
from jobs.cli_plan import hours, size_of
from jobs.plan import (
    MODELS,
    Load,
    Rates,
    amount,
    backtest,
    estimate,
    fit,
    near_duplicates,
    plan,
    signature_bytes,
)
from jobs.plan_runs import Amounts, Run, Settings, load_runs, packaged_runs, run_of, runs_as_toml
from jobs.recipe import load_recipe
from jobs.signatures import signature_schema
from tests.jobs.conftest import lode
from tests.jobs.test_cli import sentence

RUNS = packaged_runs()
CRAWL = Load(1e6, 2e10)
positive = st.floats(0.01, 100)


def lawful(load: Load, settings: Settings) -> Run:
    """A run whose costs follow laws that the model can express."""
    stages = {e.stage: e for e in estimate(Rates(RUNS), settings, load)}
    one = RUNS[0].stages
    measured = {
        name: replace(
            one[name],
            **asdict(Amounts(e.rows_in, e.bytes_in, e.rows_out, e.bytes_out, e.tokens)),
            core_seconds=1 + sum(x * 1e-6 for x in MODELS[name].work(e, settings)),
            disk_bytes=10 + sum(x * 0.5 for x in MODELS[name].disk(e, settings)),
        )
        for name, e in stages.items()
    }
    kept = Rates(RUNS).collected * stages["mined"].rows_in
    return Run("made up", ["one"], load.pages, load.bytes, 0, 0, settings, measured, 0.0, kept)


@given(
    st.lists(positive, min_size=3, max_size=3),
    st.lists(st.tuples(positive, positive), min_size=8, max_size=8),
)
def test_coefficients_that_made_the_measurements_explain_them(true, drivers):
    """Whatever the fit finds foretells what it was fitted to, exactly, and is never negative."""
    measured = [true[0] + true[1] * a + true[2] * b for a, b in drivers]
    found = fit(drivers, measured)
    assert (found >= 0).all()
    assert [found @ [1, *row] for row in drivers] == pytest.approx(measured, rel=1e-6)


@given(positive, positive, positive)
def test_one_measurement_is_shared_out_and_scales(value, a, b):
    found = fit([(a, b)], [value])
    assert found @ [1, a, b] == pytest.approx(value)
    assert found @ [1, 7 * a, 7 * b] == pytest.approx(7 * value)
    assert found[1] * a == pytest.approx(found[2] * b)


def test_the_fit_is_the_least_squares_of_relative_errors():
    """scipy's bounded solver is the oracle."""
    from scipy.optimize import lsq_linear

    drivers = np.array([(1, 9), (2, 5), (4, 4), (8, 20), (16, 3)], float)
    measured = np.array([3.0, 1.0, 9.0, 5.0, 8.0])
    x = np.hstack([np.ones((5, 1)), drivers]) / measured[:, None]
    wanted = lsq_linear(x, np.ones(5), (0, np.inf)).x
    assert fit(drivers.tolist(), measured.tolist()) == pytest.approx(wanted, abs=1e-6)


def test_laws_are_found_again():
    settings = replace(RUNS[0].settings, code_weight=0.0, sample_chars=1000)
    sizes = [Load(n, n * each) for n, each in ((1e3, 5e3), (4e3, 7e3), (2e4, 6e3), (3e4, 7e3), (5e4, 3e3))]
    runs = [lawful(load, settings) for load in sizes]
    for row in backtest(runs):
        for value in ("core_seconds", "disk_bytes"):
            # The vocabulary's size is no law of the model's.
            errors = [s[value]["error_percent"] for s in row["stages"] if s["stage"] != "mining/models"]
            assert max(map(abs, errors)) < 1, row


def test_packaged_runs_foretell_each_other():
    """What comes with Lode is whole: every run has every stage and is foretold from the others."""
    for row in backtest(RUNS):
        assert {each["stage"] for each in row["stages"]} == set(MODELS)
        assert abs(row["total"]["core_seconds"]["error_percent"]) < 40, row["run"]
        assert abs(row["total"]["disk_bytes"]["error_percent"]) < 60, row["run"]
        assert row["total"]["core_seconds"]["measured"] > 10


def test_runs_are_kept_as_text():
    again = load_runs(runs_as_toml(RUNS))
    assert [r.name for r in again] == [r.name for r in RUNS]
    for a, b in zip(again, RUNS, strict=True):
        assert a.settings == b.settings
        for stage, m in b.stages.items():
            assert asdict(a.stages[stage]) == pytest.approx(asdict(m), rel=1e-4)


def test_the_estimate_is_linear_in_the_crawl():
    settings = Settings.of(load_recipe("math"))
    small, large = (
        estimate(Rates(RUNS), settings, Load(n * 1e6, n * 2e10)) for n in (1, 1000)
    )  # fmt: skip
    for a, b in zip(small, large, strict=True):
        assert b.rows_in == pytest.approx(1000 * a.rows_in)
        assert a.core_seconds <= b.core_seconds <= 1000 * a.core_seconds * (1 + 1e-9)
        assert b.at_most >= b.core_seconds
    by_name = {e.stage: e for e in large}
    assert by_name["pages"].core_seconds > 100 * {e.stage: e for e in small}["pages"].core_seconds
    assert by_name["mined"].rows_out < by_name["mined"].rows_in


def test_what_the_recipe_decides():
    def made(*changes: str) -> dict:
        return plan(load_recipe("math", changes), CRAWL, 100, RUNS)

    def seconds(found: dict, stage: str) -> float:
        return next(e["core_seconds"] for e in found["stages"] if e["stage"] == stage)

    usual = made("deduplicate.bands=9", "deduplicate.rows=13")
    assert (usual["signatures"]["bands"], usual["signatures"]["permutations"]) == (9, 117)
    assert usual["signatures"]["bytes"] == signature_bytes(usual["signatures"]["documents"], 9)
    finer = made("deduplicate.bands=20", "deduplicate.rows=13")
    assert finer["signatures"]["bytes"] > usual["signatures"]["bytes"]
    assert seconds(finer, "deduplicated") > seconds(usual, "deduplicated")
    unchecked = made("deduplicate.bands=9", "deduplicate.rows=13", "deduplicate.verify=false")
    assert unchecked["total"]["shuffle_bytes"] < usual["total"]["shuffle_bytes"]
    rounds = made("mine.max_rounds=2")
    assert seconds(rounds, "mining/scores") < seconds(usual, "mining/scores")
    assert seconds(rounds, "pages") == seconds(usual, "pages")
    assert usual["memory"]["classifier_bytes"] >= 4 * 256 * 2_000_000
    small = made("mine.classifier.bucket=1000", "mine.classifier.dim=16")
    held = [found["memory"]["classifiers_held_bytes"] for found in (usual, small)]
    assert held[0] - held[1] == pytest.approx(2 * 4 * (2_000_000 - 1000))
    assert small["memory"]["driver_bytes"] < usual["memory"]["driver_bytes"] - 2**30
    more = made("mine.rest.share=0.5")
    assert more["signatures"]["documents"] > 2 * usual["signatures"]["documents"]


def test_the_shuffle_of_near_duplicates():
    alone = near_duplicates(Amounts(1000, 5e6, 1000, 5e6), 9, 0)
    assert alone == 1000 * 11 * 27
    # 300 pairs of 500 shingles each, and 500 documents that go.
    assert near_duplicates(Amounts(1000, 5e6, 500, 2.5e6), 9, 300) == alone + 600 * (16 + 4000) + 500 * 16 * 4


def test_signatures_are_as_large_as_parquet_makes_them(tmp_path):
    draw = np.random.default_rng(1)
    columns = {
        "id": [bytes(row).hex() for row in draw.integers(0, 256, (20_000, 16), np.uint8)],
        "characters": draw.integers(200, 20_000, 20_000),
        "bands": draw.integers(-(2**63), 2**63 - 1, (20_000, 17)).tolist(),
    }
    schema = signature_schema(parse_ordering("longest", PAGE), PAGE, "document")
    for name in set(schema.names) - set(columns):
        hashes = draw.integers(-(2**63), 2**63 - 1, 20_000)
        columns[name] = columns["characters"] if name.startswith("keep_") else hashes
    table = pa.table([pa.array(columns[n], schema.field(n).type) for n in schema.names], schema)
    storage.write_parquet(str(tmp_path / "s.parquet"), iter(table.to_batches()), schema)
    assert (tmp_path / "s.parquet").stat().st_size == pytest.approx(signature_bytes(20_000, 17), rel=0.2)


def test_a_classifier_and_its_scorer_are_as_large_as_planned(tmp_path):
    import fasttext

    words = [f"word{n:04}" for n in range(3000)]
    texts = [" ".join(words[i::7]) for i in range(7)]
    settings = FastTextSettings(dim=64, bucket=5000, min_count=1, passes=10)
    train(texts, texts[:3], settings, str(tmp_path / "m.bin"))
    count = len(fasttext.load_model(str(tmp_path / "m.bin")).words)
    wanted = Settings(dim=64, bucket=5000).model_bytes(count)
    assert (tmp_path / "m.bin").stat().st_size == pytest.approx(wanted, rel=0.05)
    scorer = Settings(bucket=200_000).scorer_bytes(count)
    train(texts, texts[:3], replace(settings, bucket=200_000), str(tmp_path / "s.bin"))
    assert (tmp_path / "s.safetensors").stat().st_size == pytest.approx(scorer, rel=0.3)


@pytest.mark.parametrize(
    "text, value",
    [("250000", 250_000), ("250_000", 250_000), ("3.1B", 3.1e9), ("5k", 5000), ("1e9", 1e9), ("2,000", 2000)],
)
def test_numbers(text, value):
    assert amount(text, "--pages") == pytest.approx(value)


@pytest.mark.parametrize(
    "text, value",
    [
        ("4GB", 4e9),
        ("1.5TB", 1.5e12),
        ("2 TiB", 2 * 2**40),
        ("500B", 500),
        ("4g", 4e9),
        ("80 PB", 8e16),
        ("1KiB", 1024),
    ],
)
def test_sizes(text, value):
    assert amount(text, "--bytes") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "many", "-4", "4XB", "4i", "1.2.3", "nan", "4Bi", "1e999", "GB"])
def test_what_is_no_amount(text):
    for option in ("--pages", "--bytes"):
        with pytest.raises(LodeError, match=f"{option} {text}.*not an amount"):
            amount(text, option)
    with pytest.raises(LodeError, match="not of bytes"):
        amount("4GB", "--pages")


@pytest.mark.parametrize(
    "name, load, message",
    [
        ("math", Load(), "nothing to plan"),
        ("math", Load(1e6), "--pages and --bytes: give both"),
        ("math", Load(0, 1e6), "--pages and --bytes: give both"),
        ("math", Load(1e6, 3e6), "are 3.0 bytes a page; between 100 and"),
        ("math", Load(10, 1e12), "bytes a page"),
        ("math", Load(0, 0, 10, 50), "5.0 bytes a repository"),
        ("v3", Load(1e6, 1e10, 10), "--repositories and --repository-bytes: give both"),
    ],
)
def test_amounts_that_cannot_be_meant(name, load, message):
    with pytest.raises(LodeError, match=message):
        plan(load_recipe(name), load, 4, RUNS)


def test_a_recipe_without_a_crawl(tmp_path):
    text = """
    name = "only-code"
    [sources.code]
    kind = "repositories"
    input = ["archives/*"]
    [tokenizer]
    vocabulary_size = 1000
    [mixture]
    weights = { code = 1.0 }
    """
    (tmp_path / "code.toml").write_text(text)
    recipe = load_recipe(str(tmp_path / "code.toml"))
    with pytest.raises(LodeError, match=r"'only-code' has no source of kind 'web' .--repositories"):
        plan(recipe, CRAWL, 4, RUNS)
    found = plan(recipe, Load(0, 0, 1000, 1e9), 4, RUNS)
    assert found["stages"][0]["stage"] == "files"
    assert found["signatures"]["documents"] == 0
    assert found["stages"][-1]["stage"] == "shards" and found["stages"][-1]["tokens"] > 0


def test_plans_of_all_recipes_are_finite():
    for name in ("quickstart", "math", "code", "v3"):
        recipe = load_recipe(name)
        code = (1e4, 1e10) if recipe.repositories else (0, 0)
        found = plan(recipe, Load(1e9, 3e13, *code), 1000, RUNS)
        for e in found["stages"]:
            assert all(math.isfinite(v) and v >= 0 for v in e.values() if isinstance(v, float)), e
            assert e["core_seconds"] > 0
        assert found["total"]["wall_seconds"] >= found["total"]["core_seconds"] / 1000


def test_a_crawl_unlike_the_measured_ones_is_said_to_be():
    recipe = load_recipe("math")
    assert "unlike" in " ".join(plan(recipe, Load(1e6, 1e11), 4, RUNS)["assumes"])
    like = RUNS[0].bytes / RUNS[0].pages
    assert "unlike" not in " ".join(plan(recipe, Load(1e6, like * 1e6), 4, RUNS)["assumes"])


def test_a_finished_work_folder_is_a_measured_run(finished, recipe):
    run = run_of(str(finished))
    manifest = json.loads((finished / "pages" / "_lode.json").read_text())
    assert run.pages == manifest["rows_in"] and run.stages["pages"].rows_out == manifest["rows_out"]
    assert run.stages["pages"].core_seconds == pytest.approx(2 * manifest["wall_seconds"])
    assert run.bytes == sum(f.stat().st_size for f in finished.glob("crawl/documentation/*.warc.gz"))
    assert run.stages["quality"].bytes_in == manifest["bytes"]
    assert run.settings.rounds == 2 and run.settings.dim == 16
    assert set(run.stages) == set(MODELS)
    models = [
        json.loads(f.read_text())["wall_seconds"] for f in finished.glob("mining/round-*/models/_lode.json")
    ]
    assert run.stages["mining/models"].core_seconds == pytest.approx(sum(models))
    # Planning it again from itself alone gives what it was.
    said = lode("plan", str(recipe), "--pages", str(run.pages), "--bytes", str(run.bytes), "--measured", str(finished),
                "--repositories", str(run.repositories), "--repository-bytes", str(run.repository_bytes),
                "--seeds", str(run.settings.seeds), "--cores", "2", "--json")  # fmt: skip
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    measured = sum(m.core_seconds for m in run.stages.values())
    assert found["total"]["core_seconds"] == pytest.approx(measured, rel=0.1)
    assert [row["run"] for row in found["runs"]] == [run.name]


def test_folders_that_are_no_measured_runs(finished, tmp_path):
    with pytest.raises(LodeError, match="there is no such work folder"):
        run_of(str(tmp_path / "none"))
    with pytest.raises(LodeError, match=r"recipe.json is missing or of another version"):
        run_of(str(tmp_path))
    (tmp_path / "recipe.json").write_text((finished / "recipe.json").read_text())
    with pytest.raises(LodeError, match="the stage 'quality' is not finished"):
        run_of(str(tmp_path))


def test_the_cores_of_a_cluster_are_asked_for(finished, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(finished, work)
    for file in work.rglob("_lode.json"):
        file.write_text(file.read_text().replace("spark 4.3.0 local[2]", "spark 4.3.0 yarn"))
    with pytest.raises(LodeError, match=r"made on spark .* yarn, .* give --measured-cores"):
        run_of(str(work))
    assert run_of(str(work), 8).stages["pages"].core_seconds == pytest.approx(
        4 * run_of(str(finished)).stages["pages"].core_seconds
    )


def test_what_a_person_reads():
    arguments = ("plan", "math", "--pages", "3.1B", "--bytes", "90TB", "--cores", "1000")
    said = lode(*arguments, COLUMNS="80")
    assert said.returncode == 0, said.stderr
    for words in (
        "Signatures:",
        "Memory of an executor",
        "core-hours",
        "Assumed:",
        "repositories left out",
        "total",
    ):
        assert words in said.stdout
    assert "%" in said.stdout.split("Measured runs")[1]
    assert "3.1B" in said.stdout
    assert "…" not in said.stdout  # a pipe has no width
    # Every number stands under its title.
    whole = json.loads(lode(*arguments, "--json").stdout)["total"]
    lines = said.stdout.splitlines()
    last = next(line for line in lines if line.startswith("total"))
    columns = {
        "core-hours": hours(whole["core_seconds"]),
        "at most": hours(whole["core_seconds_at_most"]),
        "hours on 1,000 cores": hours(whole["wall_seconds"]),
        "shuffle": size_of(whole["shuffle_bytes"]),
        "disk": size_of(whole["disk_bytes"]),
    }
    for title, value in columns.items():
        assert last[: lines[0].index(title) + len(title)].endswith(f" {value}"), title


def test_errors_are_sentences(tmp_path):
    assert "nothing to plan" in sentence(lode("plan", "math"))
    assert "not an amount" in sentence(lode("plan", "math", "--pages", "x"))
    assert "3.0 bytes a page" in sentence(lode("plan", "math", "--pages", "1M", "--bytes", "3MB"))
    assert "no such work folder" in sentence(
        lode("plan", "math", "--pages", "1M", "--bytes", "3GB", "--measured", str(tmp_path / "none"))
    )


def test_how_numbers_are_written():
    assert [size_of(n) for n in (0, 999, 1000, 1.5e12, 9.996e8, 4e18)] == [
        "",
        "999 B",
        "1 kB",
        "1.5 TB",
        "1 GB",
        "4,000 PB",
    ]
    assert [hours(n) for n in (36, 3600, 36000, 3.6e9)] == ["0.01", "1", "10.0", "1,000,000"]
