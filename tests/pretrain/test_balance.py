"""Balance against the papers' sums, written out in plain Python, and by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.balance import (
    auxiliary_loss,
    communication_balance,
    device_balance,
    expert_balance,
    max_violation,
    move_bias,
    sequence_balance,
)
from pretrain.moe import MoE
from pretrain.presets import model_preset


def build() -> MoE:
    torch.manual_seed(0)
    moe = MoE(model_preset("tiny"))
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return moe


def test_the_bias_moves_by_a_fixed_step_against_the_load():
    moe = build()
    move_bias(moe.router, torch.tensor([9, 1, 5, 5, 5, 5, 5, 5]), 0.001)  # mean 5
    assert moe.router.bias.tolist() == pytest.approx([-0.001, 0.001, 0, 0, 0, 0, 0, 0])


def test_moving_the_bias_spreads_a_collapsed_router():
    moe = build()
    x = torch.randn(1, 256, 64) + 0.5  # a common direction makes a few experts everybody's favourites
    loads = []
    for _ in range(100):
        load = moe(x)[1].load_E
        loads.append(load)
        move_bias(moe.router, load, 0.005)
    first, last = max_violation(torch.stack([loads[0], loads[-1]])).tolist()
    assert first > 1.0 and last < 0.35


def test_max_violation_is_the_excess_of_the_fullest_expert():
    loads = torch.tensor([[4, 4, 4, 4], [16, 0, 0, 0], [0, 0, 0, 0]])
    assert max_violation(loads).tolist() == [0.0, 3.0, 0.0]


def test_sequence_balance_by_hand():
    """Two tokens, three experts, one chosen: f = (3/2, 3/2, 0), P = ((.5 + .25)/2, (.25 + .5)/2, .25)."""
    scores = torch.tensor([[[0.8, 0.4, 0.4], [0.2, 0.4, 0.2]]])
    assert sequence_balance(scores, 1).item() == pytest.approx(1.5 * 0.375 + 1.5 * 0.375)


def draw(
    sequences: int, positions: int, experts: int, k: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(sequences, positions, experts, generator=generator) + 0.01
    order = torch.rand(sequences, positions, experts, generator=generator)
    return scores, order.topk(
        k, -1
    ).indices  # the choice need not be the best: bias and groups have their say


cases = given(
    st.integers(1, 3), st.integers(1, 9), st.sampled_from([4, 6, 8]), st.integers(1, 3), st.integers(0, 99)
)


@settings(max_examples=25, deadline=None)
@cases
def test_sequence_balance_is_the_papers_sum(sequences, positions, experts, k, seed):
    scores, _ = draw(sequences, positions, experts, k, seed)
    expected = 0.0
    for s in scores.double().tolist():
        chosen = [sorted(range(experts), key=lambda i, t=t: -t[i])[:k] for t in s]
        for i in range(experts):
            f = experts / (k * positions) * sum(i in c for c in chosen)
            p = sum(t[i] / sum(t) for t in s) / positions
            expected += f * p / sequences
    assert sequence_balance(scores, k).item() == pytest.approx(expected, rel=1e-4)


@settings(max_examples=25, deadline=None)
@cases
def test_v2s_losses_are_the_reports_sums(sequences, positions, experts, k, seed):
    raw, chosen = draw(sequences, positions, experts, k, seed)
    scores = raw.softmax(-1)
    devices, limit = 2, 2
    size = experts // devices
    by_expert = by_device = by_sent = 0.0
    for s, c in zip(scores.double().tolist(), chosen.tolist(), strict=True):
        f = [experts / (k * positions) * sum(i in t for t in c) for i in range(experts)]
        p = [sum(t[i] for t in s) / positions for i in range(experts)]
        by_expert += sum(a * b for a, b in zip(f, p, strict=True)) / sequences
        for d in range(devices):
            here = range(d * size, (d + 1) * size)
            weight = sum(p[i] for i in here)
            sent = sum(any(i in here for i in t) for t in c)
            by_device += sum(f[i] for i in here) / size * weight / sequences
            by_sent += devices / (limit * positions) * sent * weight / sequences
    assert expert_balance(scores, chosen).item() == pytest.approx(by_expert, rel=1e-4)
    assert device_balance(scores, chosen, devices).item() == pytest.approx(by_device, rel=1e-4)
    assert communication_balance(scores, chosen, devices, limit).item() == pytest.approx(by_sent, rel=1e-4)


def test_the_auxiliary_loss_is_the_weighted_sum_over_layers(training):
    shape = model_preset("tiny", n_group=4, topk_group=2, vocab_size=64)
    weights = {"balance_loss_weight": 0.5, "expert_balance_weight": 0.25}
    weights |= {"device_balance_weight": 2.0, "communication_balance_weight": 3.0}
    torch.manual_seed(0)
    moe = MoE(shape)
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    routings = [moe(torch.randn(2, 9, 64))[1] for _ in range(2)]
    total, sequence = auxiliary_loss(routings, training(model=shape, **weights))
    one = [(sequence_balance(r.scores_BSE, 2), r.scores_BSE, r.experts_BSK) for r in routings]
    expected = sum(
        0.5 * own
        + 0.25 * expert_balance(s, e)
        + 2 * device_balance(s, e, 4)
        + 3 * communication_balance(s, e, 4, 2)
        for own, s, e in one
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert sequence.item() == pytest.approx((one[0][0] + one[1][0]).item() / 2)
    total.backward()
    assert moe.router.weight.grad.abs().sum() > 0
