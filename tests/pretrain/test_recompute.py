"""Recomputed activations: the same bits from less memory."""

import pytest
import torch

from pretrain.presets import MODELS, model_preset

GQA = {"attention": "gqa", "num_key_value_heads": 2, "head_dim": 16}


def kept_bytes(model, tokens: torch.Tensor) -> int:
    """Bytes of the tensors that a backward pass would read, each memory counted once, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(x)  # so that no other tensor gets its address
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        model(tokens)
    return sum(kept.values())


def gradients(model, recompute: str, tokens: torch.Tensor) -> list[torch.Tensor]:
    model.recompute = recompute
    model.zero_grad()
    hidden, routings = model(tokens)
    ahead, more = model.predict_ahead(hidden, tokens)
    loss = sum(model.logits(h).float().logsumexp(-1).mean() for h in (hidden, *ahead))
    loss = loss + sum(r.scores_BSE.square().mean() for r in routings + more)
    loss.backward()
    loads = [r.load_E for r in routings + more]
    return [loss.detach(), *loads, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("changes", [{}, {"q_lora_rank": None}, GQA], ids=["mla", "no-q-lora", "gqa"])
def test_recomputing_changes_no_bit_and_counts_no_token_twice(build_model, dtype, changes):
    model = build_model(model_preset("tiny", **changes)).train()
    model.compute_dtype = dtype
    tokens = torch.randint(0, 512, (2, 24), generator=torch.Generator().manual_seed(0))
    plain = gradients(model, "none", tokens)
    for recompute in ("cheap", "block"):
        again = gradients(model, recompute, tokens)
        assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def test_less_is_kept(build_model):
    model = build_model(MODELS["quickstart"]).train()
    tokens = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(0))
    bytes_kept = {}
    for recompute in ("none", "cheap", "block"):
        model.recompute = recompute
        # The model's own notes of what it will make again stand inside these hooks, and hide it from them.
        bytes_kept[recompute] = kept_bytes(model, tokens)
    assert bytes_kept["cheap"] < 0.7 * bytes_kept["none"]
    assert bytes_kept["block"] < 0.3 * bytes_kept["none"]
