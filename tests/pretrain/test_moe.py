"""Routing, experts and balance against transformers, plain loops and the papers' definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

from pretrain.moe import MoE, grouped_mm, max_violation, move_bias, ref_grouped_mm, sequence_balance
from pretrain.presets import model_preset

GROUPED = {"n_routed_experts": 16, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 3}


def build(**changes) -> MoE:
    torch.manual_seed(0)
    moe = MoE(model_preset("tiny", **changes))
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    moe.router.bias.normal_(std=0.3)
    return moe


@pytest.mark.parametrize("changes", [{}, GROUPED, {"norm_topk_prob": False, "n_shared_experts": 2}])
def test_a_layer_equals_transformers(changes):
    ours = build(**changes)
    config = model_preset("tiny", **changes)
    theirs = DeepseekV3MoE(
        DeepseekV3Config(
            **config.model_dump(exclude={"rope_theta", "scoring_func", "num_nextn_predict_layers"}),
            attn_implementation="eager",
        )
    )
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router.weight)
        theirs.gate.e_score_correction_bias.copy_(ours.router.bias)
        theirs.experts.gate_up_proj.copy_(ours.experts.w13_EGD)
        theirs.experts.down_proj.copy_(ours.experts.w2_EDF)
        for mine, name in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")):
            getattr(theirs.shared_experts, name).weight.copy_(getattr(ours.shared, mine).weight)
    x = torch.randn(2, 17, 64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    mine, routing = ours(x)
    expected = theirs(y)
    assert_close(mine, expected, rtol=1e-5, atol=1e-5)
    assert routing.load_E.sum() == 2 * 17 * config.num_experts_per_tok  # no token is dropped
    mine.square().sum().backward()
    expected.square().sum().backward()
    assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-4)
    assert_close(ours.experts.w13_EGD.grad, theirs.experts.gate_up_proj.grad, rtol=1e-4, atol=1e-3)
    assert_close(ours.router.weight.grad, theirs.gate.weight.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loads", [[5, 0, 3, 8], [0, 0, 16, 0], [4, 4, 4, 4]])
def test_grouped_mm_is_the_loop_over_experts(dtype, loads):
    torch.manual_seed(0)
    ends = torch.tensor(loads).cumsum(0).int()
    x, w = torch.randn(16, 24).to(dtype), torch.randn(4, 8, 24).to(dtype)
    found = []
    for multiply in (grouped_mm, ref_grouped_mm):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        out = multiply(a, b, ends)
        out.float().square().sum().backward()
        found.append((out, a.grad, b.grad))
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_the_bias_chooses_but_never_weighs_and_has_no_gradient():
    moe = build()
    x = torch.randn(32, 64)
    moe.router.bias.zero_()
    before, experts, _ = moe.router(x)
    moe.router.bias += 0.7  # the same for all: no choice changes
    after, same, _ = moe.router(x)
    assert torch.equal(experts, same) and torch.equal(before, after)
    moe.router.bias[3] += 100.0
    _, forced, _ = moe.router(x)
    assert (forced == 3).any(-1).all()
    assert "bias" not in dict(moe.router.named_parameters())


def test_the_bias_moves_by_a_fixed_step_against_the_load():
    moe = build()
    moe.router.bias.zero_()
    move_bias(moe.router, torch.tensor([9, 1, 5, 5, 5, 5, 5, 5]), 0.001)  # mean 5
    assert moe.router.bias.tolist() == pytest.approx([-0.001, 0.001, 0, 0, 0, 0, 0, 0])


def test_moving_the_bias_spreads_a_collapsed_router():
    moe = build()
    moe.router.bias.zero_()
    x = torch.randn(1, 256, 64) + 0.5  # a common direction makes a few experts everybody's favourites
    loads = []
    for _ in range(100):
        load = moe(x)[1].load_E
        loads.append(load)
        move_bias(moe.router, load, 0.005)
    first, last = max_violation(torch.stack([loads[0], loads[-1]])).tolist()
    assert first > 1.0 and last < 0.35


def test_max_violation_is_the_excess_of_the_fullest_expert():
    assert max_violation(torch.tensor([[4, 4, 4, 4], [16, 0, 0, 0], [0, 0, 0, 0]])).tolist() == [
        0.0,
        3.0,
        -1.0,
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(2, 6), st.integers(0, 2**31))
def test_sequence_balance_is_the_papers_sum(n_sequences, n_positions, n_experts, seed):
    k = min(2, n_experts)
    scores = (
        torch.rand(n_sequences, n_positions, n_experts, generator=torch.Generator().manual_seed(seed)) + 0.01
    )
    expected = 0.0
    for s in scores.double().tolist():
        chosen = [sorted(range(n_experts), key=lambda i, t=t: -t[i])[:k] for t in s]
        for i in range(n_experts):
            f = n_experts / (k * n_positions) * sum(i in c for c in chosen)
            p = sum(t[i] / sum(t) for t in s) / n_positions
            expected += f * p / n_sequences
    assert sequence_balance(scores, k).item() == pytest.approx(expected, rel=1e-4)


def test_softmax_routers_follow_v2():
    config = model_preset("tiny", scoring_func="softmax", norm_topk_prob=False, routed_scaling_factor=16.0)
    moe = MoE(config)
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert moe.router.bias is None
    gates, experts, scores = moe.router(torch.randn(9, 64))
    assert_close(scores.sum(-1), torch.ones(9))
    assert_close(gates, scores.gather(-1, experts) * 16.0)
