"""Operations a token against the published figures and torch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pretrain import flops, moe
from pretrain.flops import peak_flops, training_flops_per_token
from pretrain.model import Transformer
from pretrain.presets import MODELS, model_preset


@pytest.mark.parametrize(
    ("name", "giga"),
    [
        ("deepseekmoe-16b", 17.12),
        ("v2-lite", 16.41),
        ("v2", 155.3),
        ("v3", 250.5),
        ("moonlight", 17.17),
        ("proxy-lite", 3.76),
    ],
)
def test_published_models_cost_what_is_published(name, giga):
    """At 4,096 positions, without multi-token prediction."""
    config = MODELS[name].model_copy(update={"num_nextn_predict_layers": 0})
    assert training_flops_per_token(config, 4096) / 1e9 == pytest.approx(giga, rel=5e-4)


GQA = {"attention": "gqa", "num_key_value_heads": 2, "head_dim": 16}
DENSE = dict.fromkeys(("n_routed_experts", "n_shared_experts", "num_experts_per_tok"), 0)


@pytest.mark.parametrize("depths", [0, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"q_lora_rank": None}, {**GQA, "n_shared_experts": 2}, {**GQA, **DENSE}]
)
def test_torch_counts_the_same(changes, depths, monkeypatch):
    """Forward and backward. torch counts all of attention's square: causal attention over twice the length."""
    # Values as wide as keys, which on a CPU are padded to that.
    config = model_preset("tiny", v_head_dim=24, num_nextn_predict_layers=depths, **changes)
    model = Transformer(config)
    model.init_weights(0)
    # torch has no count for grouped_mm.
    monkeypatch.setattr(moe, "grouped_mm", moe.ref_grouped_mm)
    x_BS = torch.randint(0, config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        hidden, _ = model(x_BS)
        ahead, _ = model.predict_ahead(hidden, x_BS)
        sum(model.logits(h).sum() for h in (hidden, *ahead)).backward()
    # Depth k of multi-token prediction has k positions fewer than the main model.
    tolerance = 0.02 if depths else 1e-12
    expected = x_BS.numel() * training_flops_per_token(config, 2 * x_BS.shape[1])
    assert counter.get_total_flops() == pytest.approx(expected, rel=tolerance)


def test_peaks_go_by_the_longest_name_that_fits(monkeypatch):
    device = torch.device("cuda")
    for name, peak in (
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H20", 148e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("Something else", None),
    ):
        monkeypatch.setattr(flops.torch.cuda, "get_device_name", lambda _, name=name: name)
        assert peak_flops(device) == peak
    assert peak_flops(torch.device("cpu")) is None
