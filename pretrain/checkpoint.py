"""Checkpoints: a folder that is there whole or not at all.

`checkpoints/step-00000100/` holds `model.safetensors` (weights and router biases), `optimizer.safetensors`
(AdamW's moments) and `state.json` (where the run was, its settings, and the sizes of the other two).
Nothing is pickled, so opening a stranger's checkpoint runs no code.
"""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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


def save_checkpoint(
    folder: Path, state: State, model: Transformer, optimizer: torch.optim.Optimizer, keep: int
) -> Path:
    """Write `folder/step-*/` atomically, remove all but the newest `keep`, and return its path."""
    final = folder / checkpoint_name(state.step)
    partial = folder / f".partial-{final.name}"
    tensors = {
        "model.safetensors": {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()},
        "optimizer.safetensors": _optimizer_tensors(model, optimizer),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".partial-*"):
            shutil.rmtree(stale)
        partial.mkdir()
        for name, values in tensors.items():
            save_file(values, partial / name)
            _flush(partial / name)
        sizes = {name: (partial / name).stat().st_size for name in tensors}
        (partial / "state.json").write_text(
            json.dumps(asdict(state) | {"files": sizes}, indent=1, sort_keys=True)
        )
        _flush(partial / "state.json")
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _flush(folder)
        for old in _candidates(folder)[keep:]:
            shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"cannot write the checkpoint {final}: {error}; free some space and run again"
        ) from error
    return final


def checkpoint_name(step: int) -> str:
    """The folder of the checkpoint after this many steps."""
    return f"step-{step:08d}"


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps that is whole, if there is one."""
    for path in _candidates(folder):
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
        return State(**{name: fields[name] for name in State.__dataclass_fields__})
    except FileNotFoundError:
        raise TrainingError(f"{path} is not a checkpoint: it has no state.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}/state.json is damaged ({error!r}); use another checkpoint") from None


def restore(path: Path, model: Transformer, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Fill a model, and an optimizer built over it, with a checkpoint's values."""
    try:
        model.load_state_dict(load_file(path / "model.safetensors"))
        if optimizer is None:
            return
        moments = load_file(path / "optimizer.safetensors")
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be read ({error}); use another one") from None
    for name, parameter in model.named_parameters():
        found = {kind: moments[f"{kind}.{name}"] for kind in _MOMENTS if f"{kind}.{name}" in moments}
        if found:
            optimizer.state[parameter] = {kind: value.to(parameter.device) for kind, value in found.items()}


def load_checkpoint(path: Path, compute_dtype: torch.dtype = torch.float32) -> tuple[Transformer, State]:
    """The model of a checkpoint, on the CPU, and its state."""
    state = read_state(path)
    try:
        config = ModelConfig.model_validate(state.config["model"])
    except (KeyError, TypeError, ValidationError) as error:
        raise TrainingError(
            f"{path}/state.json has no usable model settings ({error}); use another one"
        ) from None
    model = Transformer(config, compute_dtype)
    restore(path, model)
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


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _optimizer_tensors(model: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{kind}.{name}": optimizer.state[parameter][kind].cpu().contiguous()
        for name, parameter in model.named_parameters()
        for kind in _MOMENTS
        if kind in optimizer.state.get(parameter, {})
    }


def _candidates(folder: Path) -> list[Path]:
    """Checkpoints by name, most steps first."""
    found = [(int(m[1]), path) for path in folder.glob("step-*") if (m := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _flush(path: Path) -> None:
    """Make sure a file, or a folder's list of files, is on the disk before something relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
