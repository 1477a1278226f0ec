"""The loss of a gap and what is written in it, intervals and similarities, each against somebody else's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pretrain.completion import complete, edit_similarity, wilson
from pretrain.errors import TrainingError
from pretrain.generate import sample
from pretrain.presets import model_preset


@pytest.fixture(scope="module")
def model(build_model):
    return build_model(model_preset("tiny", vocab_size=64, max_position_embeddings=40))


@pytest.mark.parametrize("gold", [[9], [3, 3, 60, 1, 0]])
def test_the_loss_is_that_of_the_whole_text(model, gold):
    prompt = [7, 8, 50, 2]
    with torch.no_grad():
        logits = model.logits(model(torch.tensor([prompt + gold]))[0])[0]
    chances = logits.log_softmax(-1)
    wanted = -sum(chances[len(prompt) - 1 + i, token] for i, token in enumerate(gold)) / len(gold)
    done = complete(model, prompt, gold, 12, None)
    assert done.loss == pytest.approx(wanted.item(), rel=1e-5) and done.tokens == len(gold)
    # Having read the gold leaves no trace in what is written.
    assert done.written == sample(model, prompt, 12, 0, 1, 0, None)


def test_what_does_not_fit(model):
    with pytest.raises(TrainingError, match="exceeds the model's 40 positions"):
        complete(model, [1] * 30, [1] * 11, 4, None)
    with pytest.raises(TrainingError, match="exceeds the model's 40 positions"):
        complete(model, [1] * 30, [1], 11, None)
    for prompt, gold in (([], [1]), ([1], [])):
        with pytest.raises(TrainingError, match="a token before it and one in it"):
            complete(model, prompt, gold, 1, None)


# Brown, Cai, DasGupta 2001 and any table of it: Wilson's interval, 95 %.
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0, 1),
    ],
)
def test_the_interval_is_wilsons(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_solves_its_equation(successes, trials):
    """Its ends are where the rate lies z standard deviations (of that end) away."""
    successes = min(successes, trials)
    for end in wilson(successes, trials):
        if 0 < end < 1:
            away = (successes / trials - end) ** 2
            assert away == pytest.approx(1.959964**2 * end * (1 - end) / trials, rel=1e-6)


def longest_common(one: str, other: str) -> int:
    """By the textbook's table."""
    row = [0] * (len(other) + 1)
    for a in one:
        row, before = [0], row
        for j, b in enumerate(other):
            row.append(before[j] + 1 if a == b else max(before[j + 1], row[j]))
    return row[-1]


@given(st.text("abcä\n", max_size=70), st.text("abcä\n", max_size=70))
def test_similarity_is_that_of_the_textbook(one, other):
    wanted = 2 * longest_common(one, other) / (len(one) + len(other)) if one or other else 1.0
    assert edit_similarity(one, other) == pytest.approx(wanted)


def test_similarity_is_rapidfuzz_ratio():
    ratio = pytest.importorskip("rapidfuzz.fuzz").ratio
    for one, other in (("return a + b", "return b + a"), ("x", ""), ("", ""), ("foo(bar)", "foo(bar)")):
        assert edit_similarity(one, other) * 100 == pytest.approx(ratio(one, other))
