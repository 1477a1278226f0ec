"""Decoding from the cache against the full forward pass."""

import pytest
import torch

from pretrain.config import Yarn
from pretrain.presets import MODELS, model_preset

YARN = Yarn(factor=40.0, original_max_position_embeddings=16)
CONFIGS = {
    "v3": model_preset("tiny", yarn=YARN),
    "v2-lite": model_preset("tiny", q_lora_rank=None, scoring_func="softmax", norm_topk_prob=False),
    "gqa": model_preset("tiny", attention="gqa", num_key_value_heads=2, head_dim=16),
}


def tokens(batch: int = 2, length: int = 30) -> torch.Tensor:
    return torch.randint(0, 512, (batch, length), generator=torch.Generator().manual_seed(0))


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "pieces", [[1] * 30, [30], [11, 1, 1, 7, 10]], ids=["one by one", "at once", "mixed"]
)
def test_pieces_from_the_cache_are_the_whole(build_model, name, pieces):
    model, x = build_model(CONFIGS[name]), tokens()
    whole = model.logits(model(x)[0])
    caches = model.new_caches(2, 30)
    found = [model.logits(model(piece, caches=caches)[0]) for piece in x.split(pieces, 1)]
    assert relative(torch.cat(found, 1), whole) < 1e-5


@torch.no_grad()
def test_what_was_cut_back_leaves_no_trace(build_model):
    model, x = build_model(CONFIGS["v3"]), tokens()
    caches = model.new_caches(2, 40)
    model(x[:, :12], caches=caches)
    model(x[:, 20:28], caches=caches)
    for cache in caches:
        cache.cut(12)
    again = model(x[:, 12:], caches=caches)[0]
    assert relative(again, model(x)[0][:, 12:]) < 1e-5


@torch.no_grad()
def test_drafts_from_the_cache_are_those_of_training(build_model):
    model, x = build_model(MODELS["tiny"].model_copy(update={"num_nextn_predict_layers": 2})), tokens()
    hidden, _ = model(x)
    (first, second), _ = model.predict_ahead(hidden, x)
    one, two = model.new_draft_caches(2, 30)
    found = [
        model.draft(1, h, t, one)
        for h, t in zip(hidden[:, :29].split(7, 1), x[:, 1:].split(7, 1), strict=True)
    ]
    assert relative(torch.cat(found, 1), first) < 1e-5
    assert relative(model.draft(2, first[:, :28], x[:, 2:], two), second) < 1e-5


def test_a_cache_holds_the_latent_and_nothing_more():
    """576 numbers a token for V2 and V3 (V2 report, section 2.1.4: 4.5 d_h, of which 4 latent and 1/2 RoPE)."""
    with torch.device("meta"):
        from pretrain.mla import MLA

        assert MLA(MODELS["v3"]).cache_width == 576
