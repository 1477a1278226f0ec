"""Open a model wherever it lies: a run directory, a checkpoint, or a Hugging Face folder."""

from pathlib import Path
from typing import Any

import torch

from pretrain.checkpoint import load_checkpoint, model_config, newest_checkpoint, read_state
from pretrain.config import ModelConfig
from pretrain.errors import TrainingError
from pretrain.hf import hf_config, load_hf
from pretrain.model import Transformer
from pretrain.shards import Shards


def find_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises TrainingError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device = 'cuda' but torch finds no GPU here; use device = 'cpu'")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def load_model(
    path: str | Path, device: str = "auto", average: bool = False
) -> tuple[Transformer, dict[str, Any]]:
    """A model ready to use, in float32 on a CPU and bfloat16 on a GPU, and its special tokens by name. `average` takes
    the running mean of a run's weights."""
    place = find_device(device)
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    path = Path(path)
    if checkpoint := _checkpoint_of(path):
        model, state = load_checkpoint(checkpoint, dtype, average)
        return model.to(place), state.shards.get("special_tokens") or {}
    if average:
        raise TrainingError(
            f"{path} is an exported model; only a run's checkpoint holds an average beside it"
        )
    model, special_tokens = load_hf(path, dtype)
    return model.to(place), special_tokens


def shape_of(path: str | Path) -> ModelConfig:
    """The shape of the model at `path`, its weights unread."""
    if checkpoint := _checkpoint_of(Path(path)):
        return model_config(checkpoint, read_state(checkpoint))
    return hf_config(Path(path))


def fill_from(model: Transformer, path: str, shards: Shards) -> list[str]:
    """Give a fresh model the weights of another, found at `path`; the names of those that the other lacks, such as MTP
    modules, which stay as they are.

    Raises TrainingError where the two differ in more than positions and MTP, or in the tokenizer.
    """
    checkpoint = _checkpoint_of(Path(path))
    made_with = read_state(checkpoint).shards.get("tokenizer_fingerprint") if checkpoint else None
    if made_with and made_with != shards.tokenizer_fingerprint:
        raise TrainingError(f"{path} was trained with another tokenizer than {shards.path} was packed with")
    other, _ = load_model(path, "cpu")
    ours, theirs = model.state_dict(), other.state_dict()
    for name in ours.keys() | theirs.keys():
        if name.startswith("mtp.") and not (name in ours and name in theirs):
            continue
        one, two = (tuple(held[name].shape) if name in held else None for held in (ours, theirs))
        if one != two:
            raise TrainingError(f"{path} has another shape than the run: {name} is {two}, the run's {one}")
    model.load_state_dict(
        theirs | {name: value for name, value in ours.items() if name not in theirs}, strict=False
    )
    return sorted(ours.keys() - theirs.keys())


def _checkpoint_of(path: Path) -> Path | None:
    """The checkpoint that a path names: itself, or a run's newest; None for an exported model."""
    if not path.is_dir():
        raise TrainingError(
            f"there is no model at {path}; give a run directory, a checkpoint or an exported model"
        )
    if (path / "state.json").exists():
        return path
    if (path / "config.json").exists():
        return None
    if newest := newest_checkpoint(path / "checkpoints") or newest_checkpoint(path):
        return newest
    raise TrainingError(f"{path} holds neither a checkpoint nor an exported model")
