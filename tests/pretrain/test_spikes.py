"""What counts as a spike."""

import json
import math

import pytest

from pretrain.spikes import Spikes


def fed(n: int, factor: float | None = 2.0) -> Spikes:
    spikes = Spikes(factor)
    for i in range(n):
        spikes.add(3.0 + 0.01 * (i % 7), 1.0)
    return spikes


def test_far_above_the_median_is_a_spike():
    spikes = fed(30)
    assert not spikes.is_spike(5.9, 1.9)
    assert spikes.is_spike(6.2, 1.0)
    assert spikes.is_spike(3.0, 2.1)


def test_the_first_steps_are_never_spikes_but_no_number_always_is():
    assert not fed(19).is_spike(100.0, 100.0)
    assert fed(20).is_spike(100.0, 1.0)
    for bad in (math.nan, math.inf):
        assert Spikes(2.0).is_spike(bad, 1.0) and Spikes(2.0).is_spike(1.0, bad)
        assert not Spikes(None).is_spike(bad, bad)


def test_only_the_last_hundred_steps_count():
    spikes = fed(100)
    for _ in range(51):
        spikes.add(30.0, 1.0)
    assert not spikes.is_spike(50.0, 1.0)
    assert len(spikes.state()) == 100


@pytest.mark.parametrize("n", [0, 25, 130])
def test_a_restored_one_decides_the_same(n):
    spikes, again = fed(n), Spikes(2.0)
    again.restore(json.loads(json.dumps(spikes.state())))
    for loss in (1.0, 5.0, 6.5):
        assert spikes.is_spike(loss, 1.0) == again.is_spike(loss, 1.0)
