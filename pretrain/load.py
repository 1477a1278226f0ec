"""Open a model wherever it lies: a run directory, a checkpoint, or a Hugging Face folder."""

from pathlib import Path
from typing import Any

import torch

from pretrain.checkpoint import load_checkpoint, newest_checkpoint
from pretrain.errors import TrainingError
from pretrain.hf import import_hf
from pretrain.model import Transformer


def find_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises TrainingError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device = 'cuda' but torch finds no GPU here; use device = 'cpu'")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def load_model(path: str | Path, device: str = "auto") -> tuple[Transformer, dict[str, Any]]:
    """A model ready to use, in float32 on a CPU and bfloat16 on a GPU, and its special tokens by name."""
    path, place = Path(path), find_device(device)
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    if not path.is_dir():
        raise TrainingError(
            f"there is no model at {path}; give a run directory, a checkpoint or an exported model"
        )
    if (path / "state.json").exists():
        model, state = load_checkpoint(path, dtype)
        return model.to(place), state.shards.get("special_tokens") or {}
    if (path / "config.json").exists():
        model, special_tokens = import_hf(path, dtype)
        return model.to(place), special_tokens
    if newest := newest_checkpoint(path / "checkpoints") or newest_checkpoint(path):
        return load_model(newest, device)
    raise TrainingError(f"{path} holds neither a checkpoint nor an exported model")
