"""Routing, experts and balance against transformers, plain loops and the papers' definitions."""

import pytest
import torch
from torch.testing import assert_close
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

from pretrain.moe import MoE, grouped_mm, kept_in_capacity, ref_grouped_mm
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
            **config.model_dump(
                exclude={"rope_theta", "scoring_func", "num_nextn_predict_layers", "attention"},
                exclude_none=True,
            ),
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


def test_experts_that_nobody_chose_get_no_gradient_at_all():
    moe = build()
    moe.router.bias[5] = -100.0
    out, routing = moe(torch.randn(2, 9, 64))
    out.square().sum().backward()
    used = routing.load_E > 0
    assert not used[5] and used.sum() >= 5
    for weight in (moe.experts.w13_EGD, moe.experts.w2_EDF):
        assert torch.equal(weight.grad.flatten(1).any(1), used)


def dropping(capacity: float, **changes) -> MoE:
    moe = MoE(
        model_preset(
            "tiny", scoring_func="softmax", norm_topk_prob=False, capacity_factor=capacity, **changes
        )
    )
    torch.manual_seed(0)
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return moe.train()


def test_a_device_serves_its_share_greatest_gates_first():
    config = model_preset("tiny", n_routed_experts=4, n_group=2, topk_group=2, capacity_factor=0.5)
    # 12 sequences of one token, two experts each: 24 pairs, 6 for each device of two experts.
    experts = torch.tensor([[0, 1]] * 8 + [[2, 3]] * 4)
    gates = torch.arange(24.0).flip(0).view(12, 2)
    kept = kept_in_capacity(gates, experts, config, n_positions=1)
    # Sequences 0 and 10 are whole; the first device's next best are the pairs of sequences 1 and 2.
    assert kept[:8].sum() == 6 and kept[:3].all()
    assert kept[8:].sum() == 6 and kept[10].all() and kept[8].all() and kept[9].all()


def test_what_is_dropped_weighs_nothing_and_only_while_training():
    moe, x = dropping(0.3, n_group=4, topk_group=4), torch.randn(3, 20, 64)
    whole = moe.eval()(x)[0]
    some, routing = moe.train()(x)
    assert_close(some[0], whole[0])  # one sequence of ten is never cut
    assert not torch.allclose(some[1:], whole[1:])
    assert routing.load_E.sum() == 3 * 20 * 2  # loads count what was chosen
    assert_close(dropping(100.0, n_group=4, topk_group=4)(x)[0], whole)


def test_softmax_routers_follow_v2():
    config = model_preset("tiny", scoring_func="softmax", norm_topk_prob=False, routed_scaling_factor=16.0)
    moe = MoE(config)
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert moe.router.bias is None
    gates, experts, scores = moe.router(torch.randn(9, 64))
    assert_close(scores.sum(-1), torch.ones(9))
    assert_close(gates, scores.gather(-1, experts) * 16.0)
