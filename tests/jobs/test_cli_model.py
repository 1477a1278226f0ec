"""`lode train`, and models in and out, as a user runs them."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from corpus.errors import LodeError
from jobs.cli import app
from tests.jobs.conftest import environment
from tests.pretrain.conftest import SCHEMA, packed_rows

RECIPE = """
name = "train"
[sources.code]
kind = "repositories"
input = ["x"]
[tokenizer]
vocabulary_size = 64
[mixture]
weights = { code = 1.0 }
[pack]
sequence_length = 32
[train]
preset = "tiny"
batch_sequences = 2
steps = 6
learning_rate = 1e-3
checkpoint_every = 2
threads = 1
device = "cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("train")
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "shards").mkdir()
    pq.write_table(pa.Table.from_pylist(packed_rows(30), SCHEMA), folder / "shards" / "part-00000.parquet")
    about = {
        "tokenizer_fingerprint": "test",
        "vocabulary_size": 64,
        "sequence_length": 32,
        "fim_rate": 0.0,
        "seed": 0,
    }
    about |= {"special_tokens": {"bos": 0, "eos": 1, "pad": 2}, "tokens_per_source": {"code": 1, "web": 1}}
    (folder / "shards" / "_lode.json").write_text(json.dumps({"stage": "shards", "shards": about}))
    return folder


def command(*arguments: object) -> str:
    """What a command prints; its LodeError is raised."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, LodeError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def train(folder: pathlib.Path, out: str, *more: str) -> str:
    return command(
        "train", folder / "recipe.toml", "--shards", folder / "shards", "--out", folder / out, *more
    )


def test_a_model_goes_out_and_in_and_on(folder):
    summary = json.loads(train(folder, "run", "--set", "train.ema_decay=0.9"))
    assert summary["steps"] == 6 and summary["checkpoint"] == "checkpoints/step-00000006"
    for dtype, more in (("float32", []), ("fp8", ["--average"])):
        out = folder / f"hf-{dtype}"
        told = command("export", folder / "run", "--out", out, "--dtype", dtype, *more, "--json", "-q")
        assert json.loads(told) == {"model": str(out)}
    about = json.loads((folder / "hf-fp8" / "config.json").read_text())
    assert about["quantization_config"]["weight_block_size"] == [128, 128]
    told = json.loads(
        command("import", "hf", folder / "hf-fp8", "--out", folder / "imported", "--json", "-q")
    )
    assert told["checkpoint"].endswith("imported/checkpoints/step-00000000")

    # The recipe needs no preset where a model brings its shape, and may change its positions.
    (folder / "on.toml").write_text(RECIPE.replace('preset = "tiny"\n', ""))
    with pytest.raises(LodeError, match="name a shape with `preset`"):
        command("train", folder / "on.toml", "--shards", folder / "shards", "--out", folder / "on")
    longer = ["--set", "train.model.max_position_embeddings=8192", "--set", "train.model.yarn.factor=2"]
    summary = json.loads(
        command(
            *("train", folder / "on.toml", "--shards", folder / "shards", "--out", folder / "on"),
            *("--from", folder / "imported", *longer, "--set", "train.optimizer=muon"),
        )
    )
    assert summary["steps"] == 6 and "fresh" not in summary
    settings = json.loads((folder / "on" / "settings.json").read_text())
    assert settings["model"]["yarn"]["factor"] == 2 and settings["start_from"] == str(folder / "imported")


def test_all_settings_are_printed_at_the_start(folder):
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "train", folder / "recipe.toml", "--shards", folder / "shards",
         "--out", folder / "printed", "--set", "train.steps=1"],
        capture_output=True, text=True, env=environment(), check=True,
    )  # fmt: skip
    saved = json.loads((folder / "printed" / "settings.json").read_text())
    printed = dict(line.split(" = ", 1) for line in done.stderr.splitlines() if " = " in line)
    model = saved.pop("model")
    assert all(json.loads(printed[name]) == value for name, value in (saved | model).items())


def test_a_scheduler_s_signal_ends_it_with_its_status_and_one_sentence(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "train", folder / "recipe.toml", "--shards", folder / "shards",
         "--out", folder / "stopped", "--set", "train.steps=100000"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment(),
    )  # fmt: skip
    lines = folder / "stopped" / "metrics.jsonl"
    while process.poll() is None and not (lines.exists() and lines.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143, said
    assert "lode: stopped by SIGTERM after step" in said and "Traceback" not in said
    assert list((folder / "stopped" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.optimiser=muon", "unknown key 'train.optimiser'; did you mean 'optimizer'"),
        ("train.spike_factor=0.5", "spike_factor"),
        ("train.batch_sequences=0", "batch_sequences must be 1 or more"),
        ("train.model.yarn.factr=2", "factr"),
        ("train.start_from=/nowhere", "no model at /nowhere"),
    ],
)
def test_mistakes_are_one_sentence(folder, change, says):
    with pytest.raises(LodeError, match=says):
        train(folder, "wrong", "--set", change)
