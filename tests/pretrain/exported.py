"""A model as a folder that was exported."""

from pathlib import Path
from typing import Any

from pretrain.checkpoint import State, save_checkpoint
from pretrain.hf import export_hf
from pretrain.model import Transformer


def save_and_export(folder: Path, model: Transformer, **arguments: Any) -> Path:
    """Save a model as the checkpoint `folder/checkpoints/step-00000001` and export it to `folder/hf`."""
    shards = {"special_tokens": {"bos": 0, "eos": 1, "pad": 2}}
    state = State(1, 1, {"model": model.config.model_dump(mode="json")}, shards, "", {})
    files = {"model.safetensors": model.state_dict()}
    return export_hf(
        save_checkpoint(folder / "checkpoints", state, files, keep=1), folder / "hf", **arguments
    )
