"""A whole recipe: what it leaves, what a second run does, and that nothing but the recipe decides the bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from corpus.schema import DOCUMENT, DROPPED
from tests.jobs.conftest import digests, environment, lode


def table(stage):
    """The rows of a stage; its `dropped/` and other tables beside them have columns of their own."""
    return pq.read_table(sorted(stage.glob("part-*.parquet")))


def manifests(work):
    return {str(f.parent.relative_to(work)): json.loads(f.read_text()) for f in work.rglob("_lode.json")}


def test_every_stage_balances_and_says_what_it_did(finished):
    found = manifests(finished)
    wanted = {
        "pages",
        "quality",
        "mined",
        "deduplicated",
        "decontaminated",
        "files",
        "code_rules",
        "repositories",
    }
    assert wanted | {"tokenizer", "tokenized", "heldout", "shards", "run", "evaluation", "run/hf"} <= set(
        found
    )
    for name, manifest in found.items():
        assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_dropped"], name
        assert manifest["rows_dropped"] == sum(manifest["dropped"].values()), name
        assert manifest["rows_in"] > 0, name
        dropped = sorted((finished / name / "dropped").glob("*.parquet"))
        if name not in ("repositories", "shards"):
            assert sum(pq.read_metadata(f).num_rows for f in dropped) == manifest["rows_dropped"], name
        for file in dropped:
            assert pq.read_schema(file).remove_metadata() == DROPPED


def test_documents_have_the_agreed_columns(finished):
    for stage in ("pages", "quality", "mined", "deduplicated", "decontaminated", "files", "repositories"):
        for file in (finished / stage).glob("part-*.parquet"):
            schema = pq.read_schema(file)
            for field in DOCUMENT:
                assert schema.field(field.name).type == field.type, (stage, field.name)
    pages = table(finished / "pages")
    assert all(len(i) == 32 for i in pages["id"].to_pylist())
    texts = "\n".join(pages["text"].to_pylist())
    assert "$" in texts and "\\" in texts


def test_shards_are_full_sequences_covered_by_documents(finished):
    facts = json.loads((finished / "shards" / "_lode.json").read_text())["shards"]
    sequences = table(finished / "shards")
    assert len(list((finished / "shards").glob("part-*.parquet"))) > 1
    total: dict[str, int] = {}
    for tokens, documents in zip(
        sequences["tokens"].to_pylist(), sequences["documents"].to_pylist(), strict=True
    ):
        assert len(tokens) == facts["sequence_length"] == sum(d["length"] for d in documents)
        for document in documents:
            total[document["source"]] = total.get(document["source"], 0) + document["length"]
    assert total == facts["tokens_per_source"]
    assert facts["fim_windows"] > 0 and facts["padding_tokens"] == 0
    held = {d["id"] for row in table(finished / "heldout")["documents"].to_pylist() for d in row}
    used = {d["id"] for row in sequences["documents"].to_pylist() for d in row}
    assert held and used and not held & used


def test_a_second_run_does_nothing_and_says_so(finished, recipe):
    before = {f: f.stat().st_mtime_ns for f in finished.rglob("_lode.json")}
    done = lode("run", str(recipe), "--work", str(finished), "--master", "local[2]")
    assert done.returncode == 0
    assert "Nothing to do" in done.stderr
    assert before == {f: f.stat().st_mtime_ns for f in finished.rglob("_lode.json")}


@pytest.mark.parametrize("cores", [1, 4])
def test_the_number_of_cores_decides_nothing(finished, recipe, tmp_path, cores):
    done = lode(
        "run", str(recipe), "--work", str(tmp_path / "w"), "--master", f"local[{cores}]", "--until", "shards"
    )
    assert done.returncode == 0, done.stderr
    mine, theirs = digests(tmp_path / "w"), digests(finished)
    assert mine == {
        name: digest for name, digest in theirs.items() if not name.startswith(("run/", "evaluation/"))
    }


def test_a_changed_parameter_reruns_its_stage_and_what_follows(finished, recipe, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(finished, work)
    before = {name: m["started"] + m["fingerprint"] for name, m in manifests(work).items()}
    done = lode("run", str(recipe), "--work", str(work), "--master", "local[2]", "--until", "shards",
                "--set", "fim.rate.code=0.9")  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = {name: m["started"] + m["fingerprint"] for name, m in manifests(work).items()}
    assert {name for name in before if before[name] != after[name]} == {"shards"}


@pytest.mark.parametrize(
    "stage", ["pages", "mining/round-1/scores", "deduplicated", "repositories", "shards", "run"]
)
def test_a_killed_run_goes_on_to_the_same_bytes(finished, recipe, tmp_path, stage):
    work = tmp_path / "work"
    arguments = ["run", str(recipe), "--work", str(work), "--master", "local[2]"]
    # Start from what an undisturbed run had before this stage, so that the kill comes soon.
    shutil.copytree(finished, work)
    started = manifests(finished)[stage]["started"]
    for name, manifest in manifests(finished).items():
        if manifest["started"] >= started:
            shutil.rmtree(work / name, ignore_errors=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *arguments], env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    marker = work / stage / "_running.json"
    while not marker.exists():
        assert process.poll() is None, "the run ended before it reached the stage"
        time.sleep(0.01)
    if stage == "run":
        while not list((work / "run" / "checkpoints").glob("step-*")):
            assert process.poll() is None
            time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = lode(*arguments)
    assert done.returncode == 0, done.stderr
    mine, theirs = digests(work), digests(finished)
    # Seconds and tokens a second are part of the metrics, and not of the model.
    mine.pop("run/metrics.parquet"), theirs.pop("run/metrics.parquet")
    assert mine == theirs
    weights = [(f / "run" / "hf" / "model.safetensors").read_bytes() for f in (work, finished)]
    assert weights[0] == weights[1]


def test_the_exported_model_gives_the_same_logits_in_transformers(finished):
    import torch
    from transformers import DeepseekV3ForCausalLM

    from pretrain.load import load_model

    theirs = DeepseekV3ForCausalLM.from_pretrained(finished / "run" / "hf", dtype=torch.float32).eval()
    ours, _ = load_model(finished / "run", "cpu")
    tokens = torch.tensor(table(finished / "shards")["tokens"].to_pylist()[:2])
    with torch.no_grad():
        expected = theirs(tokens).logits
        hidden, _ = ours(tokens)
        found = ours.logits(hidden)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
