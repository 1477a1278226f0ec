"""What a run does besides learning: schedules, spikes, averages, signals, full disks, weights from elsewhere."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from pretrain import checkpoint as checkpoints
from pretrain import loop
from pretrain.checkpoint import State, newest_checkpoint, save_checkpoint
from pretrain.errors import TrainingError
from pretrain.hf import export_hf
from pretrain.load import load_model, shape_of
from pretrain.loop import Stopped, train
from pretrain.model import Transformer
from pretrain.schedule import Piecewise, Segment


def rows(out: Path) -> list[dict]:
    return [row for row in pq.read_table(out / "metrics.parquet").to_pylist() if row["source"] is None]


def weights(out: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(newest_checkpoint(out / "checkpoints") / f"{name}.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stairs(start: float, *steps: tuple[float, float]) -> Piecewise:
    return Piecewise(
        unit="step", start=start, segments=tuple(Segment(until=end, to=value) for end, value in steps)
    )


def growing(**changes) -> dict:
    """Batches of 2, 4, 6 sequences, pieces of 8 tokens and then whole sequences of 32."""
    batch = Piecewise(
        unit="step",
        start=2,
        segments=(Segment(until=2, to=2), Segment(until=4, to=4), Segment(until=9, to=6)),
    )
    pieces = Piecewise(unit="step", start=9, segments=(Segment(until=3, to=9), Segment(until=9, to=40)))
    return {"batch_sequences": batch, "context_length": pieces} | changes


def test_batches_and_pieces_follow_their_schedules(tmp_path, training, shards):
    train(training(**growing()), shards, None, str(tmp_path))
    found = rows(tmp_path)
    assert [row["batch_sequences"] for row in found] == [2, 2, 4, 4, 6, 6]
    assert [row["context_length"] for row in found] == [8, 8, 8, 32, 32, 32]
    assert [row["tokens"] for row in found] == [64, 128, 256, 384, 576, 768]
    # Two layers of experts see every position, MTP's all but the last of each piece.
    assert [sum(load) for load in found[0]["expert_load"]] == [128, 128, 2 * 8 * 7]
    assert [sum(load) for load in found[5]["expert_load"]] == [384, 384, 2 * 6 * 31]


def test_growing_batches_resume_to_the_same_bits(tmp_path, training, shards):
    settings = growing(
        ema_decay=0.9, moments="bfloat16", optimizer="muon", micro_batch_sequences=4, spike_factor=50.0
    )
    train(training(**settings), shards, None, str(tmp_path / "whole"))

    def stop(done: int, total: int, row: dict) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(training(**settings), shards, None, str(tmp_path / "cut"), stop)
    train(training(**settings), shards, None, str(tmp_path / "cut"))
    for name in ("model", "optimizer", "average"):
        assert same(weights(tmp_path / "whole", name), weights(tmp_path / "cut", name))
    timed = {"tokens_per_second", "model_tflops"}
    one, two = (
        [{k: v for k, v in row.items() if k not in timed} for row in rows(tmp_path / n)]
        for n in ("whole", "cut")
    )
    assert one == two


def test_an_mtp_weight_of_zero_is_no_mtp_at_all(tmp_path, training, small_model, shards):
    alone = small_model.model_copy(update={"num_nextn_predict_layers": 0})
    train(training(mtp_loss_weight=0.0), shards, None, str(tmp_path / "zero"))
    train(training(model=alone), shards, None, str(tmp_path / "none"))
    zero, none = weights(tmp_path / "zero"), weights(tmp_path / "none")
    assert all(torch.equal(zero[name], value) for name, value in none.items())
    start = Transformer(small_model)
    start.init_weights(0)
    assert all(
        torch.equal(zero[name], value) for name, value in start.state_dict().items() if name not in none
    )
    assert [row["loss"] for row in rows(tmp_path / "zero")] == [
        row["loss"] for row in rows(tmp_path / "none")
    ]


def test_recomputing_is_the_same_run(tmp_path, training, shards):
    for recompute in ("none", "cheap", "block"):
        train(training(recompute=recompute), shards, None, str(tmp_path / recompute))
    assert same(weights(tmp_path / "none"), weights(tmp_path / "cheap"))
    assert same(weights(tmp_path / "none"), weights(tmp_path / "block"))
    # A run that ran out of memory may go on with another choice.
    train(training(recompute="block"), shards, None, str(tmp_path / "none"))


def test_source_losses_make_up_the_loss(tmp_path, training, shards):
    train(training(), shards, None, str(tmp_path))
    for row in rows(tmp_path):
        by_source = dict(row["source_loss"])
        assert by_source.keys() == {"code", "web"}
        assert min(by_source.values()) <= row["loss"] <= max(by_source.values())


def test_the_average_follows_the_weights(tmp_path, training, shards):
    seen = []

    def note(done: int, total: int, row: dict) -> None:
        seen.append(weights(tmp_path))

    train(training(ema_decay=0.5, checkpoint_every=1, steps=4), shards, None, str(tmp_path), note)
    start = Transformer(training().model)
    start.init_weights(0)
    name = "blocks.1.attention.wo.weight"
    expected = start.state_dict()[name]
    for n, held in enumerate(seen, start=1):
        kept = min(0.5, n / (n + 10))
        expected = expected * kept + held[name] * (1 - kept)
    assert torch.allclose(weights(tmp_path, "average")[name], expected, atol=1e-6)
    mean, _ = load_model(tmp_path, "cpu", average=True)
    assert torch.equal(mean.state_dict()[name], weights(tmp_path, "average")[name])
    assert torch.equal(mean.blocks[1].mlp.router.bias, weights(tmp_path)["blocks.1.mlp.router.bias"])
    out = export_hf(newest_checkpoint(tmp_path / "checkpoints"), tmp_path / "hf", average=True)
    exported = load_file(out / "model.safetensors")["model.layers.1.self_attn.o_proj.weight"]
    assert torch.equal(exported, mean.state_dict()[name])


def spiking(monkeypatch, at: set[int]) -> list[int]:
    """Make the n-th batches that are read look like spikes; which were read."""
    real, read = loop.gradients, []

    def gradients(model, batch, *rest):
        read.append(int(batch.tokens_BS.sum()))
        found = real(model, batch, *rest)
        return loop.Step(**{**found.__dict__, "loss": 1e6}) if len(read) in at else found

    monkeypatch.setattr(loop, "gradients", gradients)
    monkeypatch.setattr("pretrain.spikes.FEWEST", 2)
    return read


def test_a_spike_is_skipped(tmp_path, training, shards, monkeypatch):
    spiking(monkeypatch, {4})
    held = {}
    train(
        training(spike_factor=5.0, checkpoint_every=1),
        shards,
        None,
        str(tmp_path),
        lambda done, total, row: held.update({done: weights(tmp_path)}),
    )
    assert same(held[3], held[4]) and not same(held[4], held[5])
    assert [row["spike"] for row in rows(tmp_path)] == [None, None, None, "skipped", None, None]


def test_a_spike_rolls_back_and_passes_over_the_batches_that_led_to_it(
    tmp_path, training, shards, monkeypatch
):
    read = spiking(monkeypatch, {4})
    settings = training(spike_factor=5.0, after_spike="roll_back", checkpoint_every=2)
    train(settings, shards, None, str(tmp_path))
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6]
    assert [row["spike"] for row in found] == [None, None, "rolled back", None, None, None]
    assert len(read) == 8  # two of them in vain
    # The rest is the run that never saw batches 3 and 4.
    monkeypatch.undo()
    batches = [0, 1, 4, 5, 6, 7]
    whole = []

    class Passing(loop.Loader):
        def __next__(self):
            while True:
                whole.append(0)
                batch = super().__next__()
                if len(whole) - 1 in batches:
                    return batch

    monkeypatch.setattr(loop, "Loader", Passing)
    train(
        training(spike_factor=5.0, after_spike="roll_back", checkpoint_every=2),
        shards,
        None,
        str(tmp_path / "other"),
    )
    assert same(weights(tmp_path), weights(tmp_path / "other"))


def test_going_back_that_does_not_help_ends_in_skipping(tmp_path, training, shards, monkeypatch):
    spiking(monkeypatch, set(range(4, 8)))
    settings = training(spike_factor=5.0, after_spike="roll_back", checkpoint_every=3)
    train(settings, shards, None, str(tmp_path))
    assert [row["spike"] for row in rows(tmp_path)][3] == "skipped"


def test_a_run_that_goes_back_is_the_same_when_it_was_stopped(tmp_path, training, shards, monkeypatch):
    """It was stopped between two checkpoints, before the spike, and has kept no more than it had to."""
    settings = training(
        spike_factor=5.0, after_spike="roll_back", checkpoint_every=4, keep_checkpoints=1, steps=10
    )
    spiking(monkeypatch, {8})
    train(settings, shards, None, str(tmp_path / "whole"))
    monkeypatch.undo()

    def ask_at(step: int):  # the step after it is finished and saved
        return lambda done, total, row: done == step and os.kill(os.getpid(), signal.SIGTERM)

    spiking(monkeypatch, {8})
    for step in (4, 5):
        with pytest.raises(Stopped):
            train(settings, shards, None, str(tmp_path / "stopped"), ask_at(step))
    kept = sorted(path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000006"]
    train(settings, shards, None, str(tmp_path / "stopped"))
    assert [row["spike"] for row in rows(tmp_path / "whole")][4] == "rolled back"
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    assert same(weights(tmp_path / "whole", "optimizer"), weights(tmp_path / "stopped", "optimizer"))


@pytest.mark.parametrize(
    ("after", "last", "n_read"),
    # Skipped: steps 6 to 25. Going back: three times to each of the checkpoints 3, 6, ..., 21, and steps 4 to 23.
    [("skip", 25, 5 + 20), ("roll_back", 23, 5 + 7 * 3 + 20)],
)
def test_a_run_that_only_spikes_ends(tmp_path, training, shards, monkeypatch, after, last, n_read):
    read = spiking(monkeypatch, set(range(6, 1000)))
    settings = training(spike_factor=5.0, after_spike=after, checkpoint_every=3, steps=100)
    with pytest.raises(TrainingError, match=f"last 20 steps, up to {last}, were all spikes"):
        train(settings, shards, None, str(tmp_path))
    assert len(read) == n_read


RUN = """
import json, sys, torch
from pretrain.config import TrainingConfig
from pretrain.loop import train
torch.set_num_threads(1)
config = TrainingConfig.model_validate_json(open(sys.argv[1]).read())
try:
    print(json.dumps(train(config, sys.argv[2], None, sys.argv[3], {progress})))
except Exception as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


def launch(
    tmp_path: Path, config, shards: str, progress: str = "None", before: str = ""
) -> subprocess.CompletedProcess:
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [
        sys.executable,
        "-c",
        before + RUN.format(progress=progress),
        str(tmp_path / "config.json"),
        shards,
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [*command, str(tmp_path / "run")], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(tmp_path, training, shards, number):
    train(training(checkpoint_every=100), shards, None, str(tmp_path / "whole"))
    ask = f"lambda done, *_: done == 2 and __import__('os').kill(__import__('os').getpid(), {int(number)})"
    ended = launch(tmp_path, training(checkpoint_every=100), shards, ask)
    # The signal comes while step 2 is shown; step 3 is finished and saved.
    assert "Stopped: stopped by" in ended.stderr and "after step 3 of 6" in ended.stderr, ended.stderr
    assert newest_checkpoint(tmp_path / "run" / "checkpoints").name == "step-00000003"
    train(training(checkpoint_every=100), shards, None, str(tmp_path / "run"))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_handlers_are_put_back(tmp_path, training, shards):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(training(steps=1), shards, None, str(tmp_path))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert Stopped(3, 6, signal.SIGTERM).exit_status == 143


KILL_IN_SAVE = """
import os, signal
import pretrain.checkpoint as checkpoint
real, calls = checkpoint.save_file, []
def save_file(values, path):
    calls.append(1)
    if len(calls) == {n}:
        open(path, "wb").write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    real(values, path)
checkpoint.save_file = save_file
"""


@pytest.mark.parametrize("n", [3, 4])  # in the second save: the weights, the optimizer
def test_killed_while_saving_the_run_goes_on_from_the_one_before(tmp_path, training, shards, n):
    train(training(), shards, None, str(tmp_path / "whole"))
    ended = launch(tmp_path, training(), shards, before=KILL_IN_SAVE.format(n=n))
    assert ended.returncode == -signal.SIGKILL
    assert newest_checkpoint(tmp_path / "run" / "checkpoints").name == "step-00000002"
    summary = train(training(), shards, None, str(tmp_path / "run"))
    assert summary["steps_now"] == 4
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    assert not list((tmp_path / "run" / "checkpoints").glob(".partial-*"))


def test_killed_anywhere_the_run_ends_with_the_same_bits(tmp_path, training, shards):
    """A kill from outside, after a random time, until the run gets through."""
    config = training(steps=40, checkpoint_every=3)
    train(config, shards, None, str(tmp_path / "whole"))
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-c", RUN.format(progress="None"), str(tmp_path / "config.json"), shards]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    chance = random.Random(0)
    for _ in range(3):
        with subprocess.Popen(
            [*command, str(tmp_path / "run")], env=environment, stdout=subprocess.DEVNULL
        ) as process:
            lines, wanted = tmp_path / "run" / "metrics.jsonl", chance.randint(2, 12)
            begun = len(lines.read_text().splitlines()) if lines.exists() else 0
            while process.poll() is None:
                if lines.exists() and len(lines.read_text().splitlines()) >= begun + wanted:
                    process.kill()
                    break
    train(config, shards, None, str(tmp_path / "run"))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, training, shards, monkeypatch):
    real, calls = checkpoints.save_file, []

    def save_file(values, path):
        calls.append(path)
        if len(calls) == 4:  # the optimizer of the second save
            Path(path).write_bytes(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(values, path)

    monkeypatch.setattr(checkpoints, "save_file", save_file)
    with pytest.raises(TrainingError, match=r"No space left on device.*free some space"):
        train(training(), shards, None, str(tmp_path))
    assert newest_checkpoint(tmp_path / "checkpoints").name == "step-00000002"
    assert not list((tmp_path / "checkpoints").glob(".partial-*"))
    monkeypatch.undo()
    assert train(training(), shards, None, str(tmp_path))["steps"] == 6


def test_a_real_limit_on_file_size_is_one_sentence(tmp_path, training, shards):
    limit = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    ended = launch(tmp_path, training(), shards, before=limit)
    assert ended.returncode == 1 and ended.stderr.startswith("TrainingError: cannot write the checkpoint"), (
        ended.stderr
    )


def test_a_run_begins_with_weights_from_elsewhere(tmp_path, training, small_model, shards):
    train(training(), shards, None, str(tmp_path / "first"))
    learned = weights(tmp_path / "first")
    export_hf(newest_checkpoint(tmp_path / "first" / "checkpoints"), tmp_path / "hf")
    for source in ("first", "hf"):
        path = str(tmp_path / source)
        assert shape_of(path) == small_model
        # A step of length 0: what is saved is what was read.
        still = training(start_from=path, steps=1, learning_rate=0.0, bias_update_speed=0.0)
        train(still, shards, None, str(tmp_path / f"from-{source}"))
        assert same(weights(tmp_path / f"from-{source}"), learned)
        assert len(rows(tmp_path / f"from-{source}")) == 1


def test_mtp_modules_and_positions_may_be_new_and_nothing_else(
    tmp_path, training, small_model, shards, write_shards
):
    from tests.pretrain.conftest import packed_rows

    plain = small_model.model_copy(update={"num_nextn_predict_layers": 0})
    train(training(model=plain), shards, None, str(tmp_path / "first"))
    path = str(tmp_path / "first")
    longer = small_model.model_copy(update={"max_position_embeddings": 9999})
    summary = train(
        training(model=longer, start_from=path, steps=1, learning_rate=0.0, bias_update_speed=0.0),
        shards,
        None,
        str(tmp_path / "more"),
    )
    found = weights(tmp_path / "more")
    assert all(torch.equal(found[name], value) for name, value in weights(tmp_path / "first").items())
    assert "mtp.0.eh_proj.weight" in summary["fresh"] and all(
        n.startswith("mtp.0.") for n in summary["fresh"]
    )
    wider = small_model.model_copy(update={"intermediate_size": 96})
    with pytest.raises(TrainingError, match="another shape"):
        train(training(model=wider, start_from=path), shards, None, str(tmp_path / "no"))
    other = write_shards(tmp_path / "s", packed_rows(8), tokenizer_fingerprint="other")
    with pytest.raises(TrainingError, match="another tokenizer"):
        train(training(start_from=path), other, None, str(tmp_path / "no"))
    with pytest.raises(TrainingError, match="no model at"):
        train(training(start_from=str(tmp_path / "nowhere")), shards, None, str(tmp_path / "no"))


def test_deterministic_mode_refuses_chance_and_ends_with_the_run(tmp_path, training, shards):
    seen = []
    train(
        training(steps=1, deterministic=True),
        shards,
        None,
        str(tmp_path),
        lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()),
    )
    assert seen == [True] and not torch.are_deterministic_algorithms_enabled()


def test_settings_are_saved_with_the_run(tmp_path, training, shards):
    config = training(steps=1)
    train(config, shards, None, str(tmp_path))
    saved = json.loads((tmp_path / "settings.json").read_text())
    assert type(config).model_validate(saved) == config


def test_tensorboard_gets_every_number(tmp_path, training, shards, heldout):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(training(tensorboard=True), shards, heldout, str(tmp_path))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = events.Scalars("loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in losses] == pytest.approx(
        [row["loss"] for row in rows(tmp_path)], rel=1e-6
    )
    names = set(events.Tags()["scalars"])
    assert {"lr", "grad_norm", "loss/code", "max_violation/layer_2", "heldout_loss/web"} <= names


def test_tensorboard_that_is_not_there_is_one_sentence(tmp_path, training, shards, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        train(training(tensorboard=True), shards, None, str(tmp_path))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), None])
def test_memory_that_does_not_suffice_is_one_sentence(tmp_path, training, shards, monkeypatch, error):
    def too_much(*_):
        if error is None:
            torch.empty(2**60)  # what torch itself says on a CPU
        raise error

    monkeypatch.setattr(loop, "gradients", too_much)
    with pytest.raises(TrainingError, match=r"not enough memory.*micro_batch_sequences"):
        train(training(), shards, None, str(tmp_path))


@pytest.mark.parametrize("left", [None, b"\xff\xfe\x00\n", b"[1]\n", b'{"loss":1}\n'])
def test_metrics_that_are_lost_or_damaged_cost_themselves(tmp_path, training, shards, left):
    whole = train(training(), shards, None, str(tmp_path))
    lines = tmp_path / "metrics.jsonl"
    lines.unlink() if left is None else lines.write_bytes(left)
    again = train(training(), shards, None, str(tmp_path))
    assert again["first_loss"] is again["last_loss"] is None
    assert again["checkpoint"] == whole["checkpoint"] and rows(tmp_path) == []


def test_a_run_without_a_whole_checkpoint_is_not_begun_anew_unasked(tmp_path, training, shards):
    train(training(), shards, None, str(tmp_path))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    for path in (tmp_path / "checkpoints").iterdir():
        (path / "state.json").write_text("[]")
    with pytest.raises(TrainingError, match=r"none of the checkpoints .* is whole; remove them"):
        train(training(), shards, None, str(tmp_path))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_what_is_kept_is_whole_and_of_this_run(tmp_path, small_model):
    def save(step: int, keep: int, every: int = 1) -> list[int]:
        state = State(step, 1, {}, {}, "", {})
        save_checkpoint(tmp_path, state, {"model.safetensors": {"x": torch.zeros(1)}}, keep, every)
        return sorted(int(path.name.removeprefix("step-")) for path in tmp_path.iterdir())

    assert save(9, 1) == [9]
    (tmp_path / "step-00000009" / "model.safetensors").unlink()
    assert save(4, 1) == [4, 9]  # the damaged one takes no place of it
    assert save(5, 1, every=4) == [4, 5, 9] and save(6, 1, every=4) == [4, 6, 9]
    assert newest_checkpoint(tmp_path).name == "step-00000006"
    assert newest_checkpoint(tmp_path, every=4).name == "step-00000004"
    assert newest_checkpoint(tmp_path, every=5) is None
    assert save(8, 1, every=4) == [8, 9] and save(10, 2) == [9, 10]


def test_old_checkpoints_without_what_is_new_are_read(tmp_path, small_model):
    model = Transformer(small_model)
    model.init_weights(0)
    state = State(1, 1, {"model": small_model.model_dump(mode="json")}, {}, "", {})
    path = save_checkpoint(tmp_path, state, {"model.safetensors": model.state_dict()}, keep=1)
    about = json.loads((path / "state.json").read_text())
    del about["spikes"], about["rolled_back"]
    (path / "state.json").write_text(json.dumps(about))
    assert checkpoints.read_state(path).spikes == [] and checkpoints.read_state(path).rolled_back == 0
    with pytest.raises(TrainingError, match="no average"):
        load_model(path, "cpu", average=True)
