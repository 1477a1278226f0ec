"""Schedules against the papers' numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pretrain.presets import multi_step, v3
from pretrain.schedule import Piecewise, Progress, Segment

SHAPES = ["constant", "linear", "cosine", "sqrt"]


def at_tokens(trillions: float) -> Progress:
    return Progress(step=0, tokens=int(trillions * 1e12), fraction=0.0)


def at_share(fraction: float) -> Progress:
    return Progress(step=0, tokens=0, fraction=fraction)


def test_v3_learning_rate_follows_the_report():
    rate = v3().learning_rate
    assert rate(at_tokens(0)) == rate(at_tokens(9.99)) == 2.2e-4
    assert rate(at_tokens(10 + 4.3 / 2)) == pytest.approx((2.2e-4 + 2.2e-5) / 2)  # halfway down the cosine
    quarter = 2.2e-5 + (2.2e-4 - 2.2e-5) * (1 + math.cos(math.pi / 4)) / 2
    assert rate(at_tokens(10 + 4.3 / 4)) == pytest.approx(quarter)
    assert rate(at_tokens(14.3)) == rate(at_tokens(14.63)) == 2.2e-5
    assert rate(at_tokens(14.64)) == rate(at_tokens(14.8)) == 7.3e-6


def test_v3_bias_speed_and_mtp_weight_follow_the_report():
    run = v3()
    assert [run.bias_update_speed(at_tokens(t)) for t in (0, 14.2, 14.4)] == [1e-3, 1e-3, 0.0]
    assert [run.mtp_loss_weight(at_tokens(t)) for t in (0, 9.9, 10.1, 14.8)] == [0.3, 0.3, 0.1, 0.1]


def test_v3_reads_its_tokens_in_growing_batches():
    run, tokens = v3(), 0
    batches = {}
    for step in range(run.steps):
        batches[step] = round(run.batch_sequences(Progress(step, tokens, step / run.steps)))
        if tokens <= 469e9:
            last_growing = step
        tokens += batches[step] * run.sequence_length
    assert tokens == pytest.approx(14.8e12, rel=1e-5)
    assert batches[0] == 3072 and batches[last_growing + 1] == batches[run.steps - 1] == 15360
    assert batches[last_growing // 2] < 15360


def test_v3_is_the_report_in_the_rest():
    run = v3()
    fixed = (run.beta1, run.beta2, run.weight_decay, run.clip_norm, run.balance_loss_weight, run.warmup_steps)
    assert fixed == (0.9, 0.95, 0.1, 1.0, 1e-4, 2000)
    assert (run.sequence_length, run.document_mask, run.moments, run.optimizer) == (
        4096,
        False,
        "bfloat16",
        "adamw",
    )


def test_multi_step_is_that_of_deepseek_moe():
    rate = multi_step(4.2e-4)
    values = [rate(at_share(f)) for f in (0, 0.79, 0.8, 0.89, 0.9, 1.0)]
    assert values == pytest.approx([4.2e-4, 4.2e-4, 1.3272e-4, 1.3272e-4, 4.193952e-5, 4.193952e-5])


@given(st.floats(0, 1), st.floats(-5, 5), st.floats(-5, 5), st.sampled_from(SHAPES))
def test_a_segment_stays_between_its_ends(fraction, start, to, shape):
    value = Piecewise(start=start, segments=(Segment(until=0.5, to=to, shape=shape),))(at_share(fraction))
    assert min(start, to) - 1e-9 <= value <= max(start, to) + 1e-9
    if fraction >= 0.5:
        assert value == to


def test_a_number_is_a_constant_and_units_are_told_apart():
    assert Piecewise.model_validate(0.3)(at_share(0.7)) == 0.3
    by_step = Piecewise(unit="step", start=0.0, segments=(Segment(until=10, to=1.0, shape="linear"),))
    assert by_step(Progress(step=5, tokens=10**9, fraction=0.9)) == 0.5


@pytest.mark.parametrize("untils", [(0.5, 0.5), (0.9, 0.8)])
def test_segments_out_of_order_are_refused(untils):
    with pytest.raises(ValidationError, match="increasing"):
        Piecewise(start=1.0, segments=tuple(Segment(until=u, to=0.0) for u in untils))
