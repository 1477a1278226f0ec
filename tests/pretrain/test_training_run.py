"""Whole runs: learning, being stopped, being refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from corpus.schema import METRICS
from pretrain.checkpoint import load_checkpoint, newest_checkpoint
from pretrain.errors import TrainingError
from pretrain.evaluate import evaluate
from pretrain.generate import generate
from pretrain.loop import train
from pretrain.shards import RowReader


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(newest_checkpoint(out / "checkpoints") / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, training, shards, heldout) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("run")
    return out, train(training(), shards, heldout, str(out))


def stop_at(step: int):
    def progress(done: int, total: int, row: dict) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_a_run_learns(tmp_path, training, shards, heldout):
    calls = []
    summary = train(
        training(steps=60, learning_rate=1e-2, eval_every=60, checkpoint_every=60),
        shards,
        heldout,
        str(tmp_path),
        lambda *call: calls.append(call),
    )
    assert summary["first_loss"] - summary["last_loss"] > 1.0
    for source in ("code", "web"):
        assert summary["heldout"]["first"][source]["loss"] - summary["heldout"]["last"][source]["loss"] > 1.0
    assert [(done, total) for done, total, _ in calls] == [(i, 60) for i in range(1, 61)]


def test_metrics_hold_a_row_for_each_step_and_each_source(finished):
    out, summary = finished
    table = pq.read_table(out / "metrics.parquet")
    assert table.schema == METRICS
    rows = table.to_pylist()
    steps = [row for row in rows if row["source"] is None]
    assert [row["step"] for row in steps] == list(range(1, 7))
    assert [row["tokens"] for row in steps] == [128 * i for i in range(1, 7)]
    for row in steps:
        # Two expert layers see 4 x 32 tokens twice each, the MTP layer one token a sequence less.
        assert [sum(load) for load in row["expert_load"]] == [256, 256, 248]
        expected = [max(load) / (sum(load) / 8) - 1 for load in row["expert_load"]]
        assert row["max_violation"] == pytest.approx(expected)
    held = [(row["step"], row["source"]) for row in rows if row["source"] is not None]
    assert held == [(step, source) for step in (0, 3, 6) for source in ("code", "web")]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("loss") for row in lines] == [row["loss"] for row in rows]
    assert summary["steps"] == 6 and summary["tokens"] == 768


def test_a_stopped_run_ends_with_the_same_bits_and_no_row_twice(
    finished, tmp_path, training, shards, heldout
):
    whole, _ = finished
    for step in (1, 3, 5):  # before the first checkpoint, and between two
        with pytest.raises(KeyboardInterrupt):
            train(training(), shards, heldout, str(tmp_path), stop_at(step))
    train(training(), shards, heldout, str(tmp_path))
    assert same(weights(whole), weights(tmp_path))
    one, two = (
        pq.read_table(out / "metrics.parquet").drop(["tokens_per_second", "model_tflops"])
        for out in (whole, tmp_path)
    )
    assert one.equals(two)
    moments = [
        load_file(newest_checkpoint(run / "checkpoints") / "optimizer.safetensors")
        for run in (whole, tmp_path)
    ]
    assert same(*moments)


def test_a_killed_process_leaves_a_run_that_goes_on(finished, tmp_path, training, shards, heldout):
    whole, _ = finished
    (tmp_path / "config.json").write_text(training().model_dump_json())
    code = (
        "import os, signal, sys, torch\n"
        "from pretrain.config import TrainingConfig\n"
        "from pretrain.loop import train\n"
        "torch.set_num_threads(1)\n"
        "config = TrainingConfig.model_validate_json(open(sys.argv[1]).read())\n"
        "kill = lambda done, total, row: done == 5 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(config, *sys.argv[2:], kill)\n"
    )
    arguments = [str(tmp_path / "config.json"), shards, heldout, str(tmp_path / "run")]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ | {"PYTHONPATH": str(root)}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    summary = train(training(), shards, heldout, str(tmp_path / "run"))
    assert summary["steps_now"] == 2  # from the checkpoint at step 4
    assert same(weights(whole), weights(tmp_path / "run"))


def test_a_finished_run_does_nothing_more(finished, training, shards, heldout):
    out, first = finished
    before = (out / "metrics.jsonl").read_bytes()
    again = train(training(), shards, heldout, str(out))
    assert again["steps_now"] == 0 and (out / "metrics.jsonl").read_bytes() == before
    assert again["checkpoint"] == "checkpoints/step-00000006"
    for key in ("first_loss", "last_loss", "heldout", "tokens"):
        assert again[key] == first[key]


def test_a_damaged_checkpoint_is_passed_over(finished, tmp_path, training, shards, heldout):
    whole, _ = finished
    with pytest.raises(KeyboardInterrupt):
        train(training(), shards, heldout, str(tmp_path), stop_at(5))
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest.name == "step-00000004"
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    (tmp_path / "checkpoints" / ".partial-step-00000006").mkdir()
    assert newest_checkpoint(tmp_path / "checkpoints").name == "step-00000002"
    train(training(), shards, heldout, str(tmp_path))
    assert same(weights(whole), weights(tmp_path))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000006"]


def test_micro_batches_make_the_same_step(tmp_path, training, shards):
    runs = {}
    for micro in (4, 1):
        out = tmp_path / str(micro)
        config = training(steps=1, micro_batch_sequences=micro, warmup_steps=0)
        train(config, shards, None, str(out))
        rows = pq.read_table(out / "metrics.parquet").to_pylist()
        runs[micro] = rows[0] | {"weights": weights(out)}
    for name in ("loss", "mtp_loss", "balance_loss", "grad_norm"):
        assert runs[1][name] == pytest.approx(runs[4][name], rel=1e-4)
    assert runs[1]["expert_load"] == runs[4]["expert_load"]
    biases = [name for name in runs[1]["weights"] if name.endswith("router.bias")]
    assert biases and all(torch.equal(runs[1]["weights"][n], runs[4]["weights"][n]) for n in biases)


def test_evaluate_counts_each_token_for_its_own_document(finished, heldout):
    out, summary = finished
    found = evaluate(out, heldout, batch_sequences=3, device="cpu")
    model, _ = load_checkpoint(newest_checkpoint(out / "checkpoints"))
    sums: dict[str, list[float]] = {}
    for row in pq.read_table(heldout).to_pylist():
        tokens = torch.tensor([row["tokens"]])
        with torch.no_grad():
            log_p = model.logits(model(tokens)[0]).log_softmax(-1)[0]
        for document in row["documents"]:
            for place in range(max(1, document["start"]), document["start"] + document["length"]):
                sums.setdefault(document["source"], []).append(-log_p[place - 1, row["tokens"][place]].item())
    for source, losses in sums.items():
        assert found[source]["tokens"] == len(losses)
        assert found[source]["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        assert summary["heldout"]["last"][source]["loss"] == pytest.approx(found[source]["loss"], rel=1e-5)


def test_generation_is_repeatable_and_greedy_at_zero(finished):
    out, _ = finished
    one, two = (generate(out, [5, 6, 7], max_new_tokens=6, seed=3, device="cpu") for _ in range(2))
    assert one == two and all(0 <= token < 64 for token in one.tokens)
    greedy = generate(out, [5, 6, 7], max_new_tokens=4, temperature=0, device="cpu").tokens
    model, _ = load_checkpoint(newest_checkpoint(out / "checkpoints"))
    tokens = [5, 6, 7]
    with torch.no_grad():
        for token in greedy:
            assert token == model.logits(model(torch.tensor([tokens]))[0])[0, -1].argmax()
            tokens.append(token)
    for prompt in ([], [64], [-1]):
        with pytest.raises(TrainingError, match="prompt"):
            generate(out, prompt, device="cpu")


@pytest.mark.parametrize(
    ("changes", "manifest", "says"),
    [
        ({}, {"vocabulary_size": 65}, "vocab_size = 65"),
        ({"sequence_length": 16}, {}, "sequence_length = 32"),
    ],
)
def test_shards_that_do_not_fit_are_refused(tmp_path, training, write_shards, changes, manifest, says):
    from tests.pretrain.conftest import packed_rows

    folder = write_shards(tmp_path / "s", packed_rows(4), **manifest)
    with pytest.raises(TrainingError, match=says):
        train(training(**changes), folder, None, str(tmp_path / "out"))


def test_another_tokenizer_in_the_heldout_shards_is_refused(tmp_path, training, shards, write_shards):
    from tests.pretrain.conftest import packed_rows

    other = write_shards(tmp_path / "s", packed_rows(4), tokenizer_fingerprint="other")
    with pytest.raises(TrainingError, match="different tokenizers"):
        train(training(), shards, other, str(tmp_path / "out"))


def test_a_run_under_other_settings_or_data_is_not_continued(
    tmp_path, training, shards, heldout, write_shards
):
    from tests.pretrain.conftest import packed_rows

    train(training(steps=2), shards, None, str(tmp_path / "out"))
    with pytest.raises(TrainingError, match="another learning_rate, steps"):
        train(training(learning_rate=1e-4), shards, None, str(tmp_path / "out"))
    other = write_shards(tmp_path / "s", packed_rows(5))
    with pytest.raises(TrainingError, match="other shards"):
        train(training(steps=2), other, None, str(tmp_path / "out"))


def test_a_loss_that_explodes_is_named(tmp_path, training, shards):
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train(training(learning_rate=1e30, clip_norm=1e30), shards, None, str(tmp_path))


def test_settings_nobody_knows_are_refused(training):
    with pytest.raises(ValidationError, match="lerning_rate"):
        training(lerning_rate=1)
    with pytest.raises(ValidationError, match="max_position_embeddings"):
        training(sequence_length=5000)
    with pytest.raises(ValidationError, match="batch_sequences must be 1"):
        training(batch_sequences=0)


def test_each_epoch_reads_each_sequence_once(tmp_path, training, shards, monkeypatch):
    read = []
    batch = RowReader.read
    monkeypatch.setattr(RowReader, "read", lambda self, rows: read.extend(rows.tolist()) or batch(self, rows))
    train(training(steps=20, checkpoint_every=20), shards, None, str(tmp_path))
    assert sorted(read[:40]) == sorted(read[40:80]) == list(range(40))  # what lies behind was read ahead
    assert read[:40] != read[40:80]
