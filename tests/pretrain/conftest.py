"""Small packed shards and models for the tests of pretraining."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pretrain.config import ModelConfig, TrainingConfig
from pretrain.model import Transformer
from pretrain.presets import MODELS

SCHEMA = pa.schema(
    [
        ("tokens", pa.list_(pa.int32())),
        (
            "documents",
            pa.list_(
                pa.struct(
                    [
                        ("id", pa.string()),
                        ("source", pa.string()),
                        ("start", pa.int32()),
                        ("length", pa.int32()),
                    ]
                )
            ),
        ),
    ]
)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The same sums on every machine; operations this small gain nothing from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def packed_rows(n_rows: int, length: int = 32, vocabulary: int = 64, seed: int = 0) -> list[dict[str, Any]]:
    """Sequences a model can learn: documents of two sources, each counting up in steps of its own."""
    random = np.random.default_rng(seed)
    rows = []
    for row in range(n_rows):
        cut = int(random.integers(1, length))
        documents, tokens = [], []
        for source, step, start, size in (("code", 1, 0, cut), ("web", 3, cut, length - cut)):
            first = int(random.integers(3, vocabulary))
            tokens += [3 + (first + step * i) % (vocabulary - 3) for i in range(size)]
            documents.append({"id": f"{row}-{source}", "source": source, "start": start, "length": size})
        rows.append({"tokens": tokens, "documents": documents})
    return rows


@pytest.fixture(scope="session")
def write_shards() -> Callable[..., str]:
    """Write rows as a folder of shards; `manifest` overrides entries of its manifest."""

    def write(
        folder: Path, rows: list[dict[str, Any]], parts: int = 2, group: int = 5, **manifest: Any
    ) -> str:
        folder.mkdir(parents=True)
        size = -(-len(rows) // parts)
        for part in range(parts):
            table = pa.Table.from_pylist(rows[part * size : (part + 1) * size], SCHEMA)
            pq.write_table(table, folder / f"part-{part:05d}.parquet", row_group_size=group)
        about = {
            "tokenizer_fingerprint": "test",
            "vocabulary_size": 64,
            "special_tokens": {
                "bos": 0,
                "eos": 1,
                "pad": 2,
                "fim_begin": None,
                "fim_hole": None,
                "fim_end": None,
            },
            "sequence_length": len(rows[0]["tokens"]) if rows else 32,
            "tokens_per_source": {"code": 1, "web": 1},
            "fim_rate": 0.0,
            "seed": 0,
        }
        (folder / "_lode.json").write_text(json.dumps({"stage": "pack", "shards": about | manifest}))
        return str(folder)

    return write


@pytest.fixture(scope="session")
def shards(tmp_path_factory, write_shards) -> str:
    return write_shards(tmp_path_factory.mktemp("data") / "shards", packed_rows(40))


@pytest.fixture(scope="session")
def heldout(tmp_path_factory, write_shards) -> str:
    return write_shards(tmp_path_factory.mktemp("data") / "heldout", packed_rows(7, seed=1), parts=1)


@pytest.fixture(scope="session")
def small_model() -> ModelConfig:
    """The tiny preset with a vocabulary to match the shards."""
    return ModelConfig.model_validate(MODELS["tiny"].model_dump() | {"vocab_size": 64})


@pytest.fixture(scope="session")
def training(small_model) -> Callable[..., TrainingConfig]:
    """A run of a few steps; keyword arguments replace settings."""

    def make(**changes: Any) -> TrainingConfig:
        settings: dict[str, Any] = {
            "model": small_model,
            "sequence_length": 32,
            "batch_sequences": 4,
            "steps": 6,
            "learning_rate": 3e-3,
            "bias_update_speed": 0.01,
            "eval_every": 3,
            "checkpoint_every": 2,
            "device": "cpu",
        }
        return TrainingConfig.model_validate(settings | changes)

    return make


@pytest.fixture(scope="session")
def build_model() -> Callable[[ModelConfig], Transformer]:
    """A model whose norms and biases are not the trivial ones a fresh model has."""

    def build(config: ModelConfig, seed: int = 0) -> Transformer:
        model = Transformer(config)
        model.init_weights(seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
            for layer in model.moe_layers():
                if layer.router.bias is not None:
                    layer.router.bias += 0.05 * torch.randn(layer.router.bias.shape, generator=generator)
        return model.eval()

    return build
