"""Checkpoints: a folder that is there whole or not at all.

`checkpoints/step-00000100/` holds `model.safetensors` (weights and router biases), `optimizer.safetensors` (its
moments), `average.safetensors` (the running mean of the weights, if one is kept) and `state.json` (where the run was,
its settings, and the sizes of the others). A model that was imported has no optimizer yet. Nothing is pickled, so
opening a stranger's checkpoint runs no code.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pretrain.config import ModelConfig, TrainingConfig
from pretrain.errors import TrainingError
from pretrain.model import Transformer

_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class State:
    """Where a run is: optimizer steps and tokens done, its settings, and the data it reads."""

    step: int
    tokens: int
    config: dict[str, Any]
    shards: dict[str, Any]  # the manifest's `shards` entry: tokenizer and special tokens
    shards_fingerprint: str
    loader: dict[str, Any]  # `Loader.state`: the place in the data
    spikes: list[Any] = field(default_factory=list)  # `Spikes.state`
    rolled_back: int = 0  # times since the checkpoint that a spike leads back to


@contextmanager
def new_checkpoint(folder: Path, state: State, keep: int, every: int = 1) -> Iterator[Path]:
    """A folder to write a checkpoint's files into. Where all went well it becomes `folder/step-*/` with `state.json`
    beside them, and older ones go, but for the newest `keep` and the newest at a multiple of `every` steps; otherwise
    nothing has changed.
    """
    final = folder / checkpoint_name(state.step)
    partial = folder / f".partial-{final.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".partial-*"):
            shutil.rmtree(stale)
        partial.mkdir()
        yield partial
        sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
        about = json.dumps(asdict(state) | {"files": sizes}, indent=1, sort_keys=True)
        (partial / "state.json").write_text(about)
        for path in partial.iterdir():
            _flush(path)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _flush(folder)
        # One with more steps was passed over as damaged, and must not count as one that is kept.
        steps = [step for step in _candidates(folder) if step <= state.step]
        kept = {*steps[:keep], *[step for step in steps if step % every == 0][:1]}
        for step in steps:
            if step not in kept:
                shutil.rmtree(folder / checkpoint_name(step))
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"cannot write the checkpoint {final}: {error}; free some space and run again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def save_checkpoint(
    folder: Path, state: State, files: dict[str, dict[str, Tensor]], keep: int, every: int = 1
) -> Path:
    """Write tensors by the name of their file as the checkpoint of `state`; its path. `keep` and `every` are those of
    `new_checkpoint`."""
    with new_checkpoint(folder, state, keep, every) as partial:
        for name, tensors in files.items():
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial / name)
    return folder / checkpoint_name(state.step)


def checkpoint_name(step: int) -> str:
    """The folder of the checkpoint after this many steps."""
    return f"step-{step:08d}"


def newest_checkpoint(folder: Path, every: int = 1) -> Path | None:
    """The checkpoint with the most steps, a multiple of `every`, that is whole, if there is one."""
    for path in [folder / checkpoint_name(step) for step in _candidates(folder) if step % every == 0]:
        try:
            sizes = json.loads((path / "state.json").read_text())["files"]
            if all((path / name).stat().st_size == size for name, size in sizes.items()):
                return path
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue
    return None


def read_state(path: Path) -> State:
    """What a checkpoint says about its run."""
    try:
        fields = json.loads((path / "state.json").read_text())
        return State(**{name: fields[name] for name in State.__dataclass_fields__ if name in fields})
    except FileNotFoundError:
        raise TrainingError(f"{path} is not a checkpoint: it has no state.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}/state.json is damaged ({error!r}); use another checkpoint") from None


def read_tensors(path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one of a checkpoint's files."""
    try:
        return load_file(path / name)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path / name} cannot be read ({error}); use another checkpoint") from None


def restore(path: Path, model: Transformer, average: bool = False) -> None:
    """Fill a model with a checkpoint's weights, or with their running mean."""
    weights = read_tensors(path, "model.safetensors")
    if average:
        if not (path / "average.safetensors").exists():
            raise TrainingError(f"{path} holds no average of the weights; ema_decay keeps one while training")
        weights |= {k: v for k, v in read_tensors(path, "average.safetensors").items() if k in weights}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(f"the checkpoint {path} does not fit its settings ({error})") from None


def model_config(path: Path, state: State) -> ModelConfig:
    """The shape of a checkpoint's model."""
    try:
        return ModelConfig.model_validate(state.config["model"])
    except (KeyError, TypeError, ValidationError) as error:
        raise TrainingError(
            f"{path}/state.json has no usable model settings ({error}); use another one"
        ) from None


def load_checkpoint(
    path: Path, compute_dtype: torch.dtype = torch.float32, average: bool = False
) -> tuple[Transformer, State]:
    """The model of a checkpoint, on the CPU, and its state; `average` takes the running mean of the weights."""
    state = read_state(path)
    config = model_config(path, state)
    model = Transformer(config, compute_dtype)
    restore(path, model, average)
    return model.eval(), state


def check_same_run(path: Path, state: State, config: TrainingConfig, shards_fingerprint: str) -> None:
    """Refuse to go on with a run under other settings or other data: it would be neither run."""
    before, now = state.config, config.identity()
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        raise TrainingError(
            f"{path} belongs to a run with another {', '.join(changed)}; "
            "give a new --out or the same settings"
        )
    if state.shards_fingerprint != shards_fingerprint:
        raise TrainingError(f"{path} belongs to a run on other shards; give a new --out or the same shards")


def _candidates(folder: Path) -> list[int]:
    """Steps of what is a checkpoint by its name, the most first."""
    names = [_NAME.fullmatch(path.name) for path in folder.glob("step-*")]
    return sorted((int(name[1]) for name in names if name), reverse=True)


def _flush(path: Path) -> None:
    """Make sure a file, or a folder's list of files, is on the disk before something relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
