"""Greedy decoding against the full forward pass, and speculation against greedy decoding."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.errors import TrainingError
from pretrain.generate import generate, sample, speculate
from pretrain.model import Transformer
from pretrain.presets import model_preset

V = 48
SHAPES = {
    "mla": {},
    "gqa": {"attention": "gqa", "num_key_value_heads": 2, "head_dim": 16},
    "dense": {
        "n_routed_experts": 0,
        "num_experts_per_tok": 0,
        "n_shared_experts": 0,
        "first_k_dense_replace": 0,
    },
}


def build(shape: str, depths: int = 1, seed: int = 0, positions: int = 64) -> Transformer:
    """float64, so that no two scores are equal but for rounding."""
    changes = SHAPES[shape] | {
        "vocab_size": V, "num_nextn_predict_layers": depths, "max_position_embeddings": positions,
        "num_hidden_layers": 2, "initializer_range": 0.1,
    }  # fmt: skip
    model = Transformer(model_preset("tiny", **changes), torch.float64)
    model.init_weights(seed)
    return model.eval()


def agreeing(model: Transformer) -> Transformer:
    """The same with MTP modules many of whose drafts are right: the main model's prediction rests mostly on the last
    token, and the modules hand that token's embedding on."""
    with torch.no_grad():
        width = model.config.hidden_size
        model.embed.weight.mul_(10)
        for module in model.mtp:
            module.eh_proj.weight.copy_(torch.cat((torch.eye(width), 0.05 * torch.eye(width)), 1))
        for block in [*model.blocks, *(module.block for module in model.mtp)]:
            block.attention.wo.weight.mul_(0.5)
    return model


@torch.no_grad()
def greedy(model: Transformer, prompt: list[int], count: int, eos: int | None) -> list[int]:
    """By definition: a full pass for each token."""
    text = list(prompt)
    while len(text) < len(prompt) + count:
        token = int(model.logits(model(torch.tensor([text]))[0])[0, -1].argmax())
        if token == eos:
            break
        text.append(token)
    return text[len(prompt) :]


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_sampling_is_the_definition(shape):
    model, prompt = build(shape), [5, 7, 11]
    written = sample(model, prompt, 20, 0, 50, 0, None)
    assert written.tokens == greedy(model, prompt, 20, None) and not written.ended
    eos = written.tokens[6]
    stopped = sample(model, prompt, 20, 0, 50, 0, eos)
    assert stopped.tokens == written.tokens[: written.tokens.index(eos)] and stopped.ended


@settings(max_examples=40)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    depths=st.integers(1, 3),
    n_draft=st.none() | st.integers(0, 5),
    seed=st.integers(0, 9),
    alike=st.booleans(),
    prompt=st.lists(st.integers(0, V - 1), min_size=1, max_size=12),
    count=st.integers(1, 24),
    eos=st.none() | st.integers(0, V - 1),
)
def test_speculation_writes_what_greedy_decoding_does(
    shape, depths, n_draft, seed, alike, prompt, count, eos
):
    model = build(shape, depths, seed)
    model = agreeing(model) if alike else model
    plain = sample(model, prompt, count, 0, 50, 0, eos)
    fast = speculate(model, prompt, count, eos, n_draft)
    assert (fast.tokens, fast.ended) == (plain.tokens, plain.ended)
    assert 0 <= fast.accepted <= fast.drafted
    # Each pass writes a token of its own and those of the drafts that it agreed with.
    assert fast.accepted <= len(fast.tokens) + fast.ended


@torch.no_grad()
@pytest.mark.parametrize(("depths", "n_draft"), [(1, 1), (2, 2), (3, 3), (3, 2)])
def test_drafts_are_the_predictions_of_the_modules(monkeypatch, depths, n_draft):
    """Of each round the drafts are those that the modules give over the whole text, read anew without a cache."""
    model = agreeing(build("mla", depths, seed=3))
    rounds: list[tuple[list[int], list[int]]] = []

    from pretrain import generate as module

    draft = module._Drafter.draft

    def noting(self, new_1SD, text, count):
        found = draft(self, new_1SD, text, count)
        rounds.append((list(text), found))
        return found

    monkeypatch.setattr(module._Drafter, "draft", noting)
    speculate(model, [3, 1, 4, 1, 5], 16, None, n_draft)
    assert len(rounds) > 2
    for text, found in rounds:
        known = list(text)
        for depth in range(1, len(found) + 1):
            hidden, _ = model(torch.tensor([known]))
            # The states of the text alone: what the main model would make of drafts is not known yet.
            ahead, _ = model.predict_ahead(hidden, torch.tensor([known]))
            known.append(int(model.logits(ahead[depth - 1][0, len(text) - 2]).argmax()))
        assert found == known[len(text) :]


def test_good_drafts_save_passes(monkeypatch):
    """A model that repeats one token, and a module that knows it: every draft is right."""
    model = build("dense", 1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and ("blocks" in name or "block." in name):
                weight.zero_()
        # Whatever is read, the state points to token 9.
        model.embed.weight.zero_()
        model.embed.weight[:, 0] = 1.0
        model.mtp[0].eh_proj.weight.zero_()
        model.mtp[0].eh_proj.weight[0, 0] = 1.0
        model.head.weight.zero_()
        model.head.weight[9, 0] = 1.0
    read = []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda *a, **k: (read.append(1), forward(*a, **k))[1])
    for n_draft, passes in ((1, 10), (3, 5)):
        read.clear()
        written = speculate(model, [1, 2], 20, None, n_draft)
        assert written.tokens == [9] * 20 and written.accepted == written.drafted
        # One for the prompt; then n_draft + 1 tokens each, the first of all came with the prompt.
        assert len(read) - 1 == passes
        assert written.drafted == 19 - passes


def test_draws_are_those_of_the_softmax():
    model, prompt = build("dense"), [5]
    with torch.no_grad():
        model.head.weight.mul_(3)
        logits = model.logits(model(torch.tensor([prompt]))[0])[0, -1]
    values, ids = logits.topk(4)
    wanted = dict(zip(ids.tolist(), (values / 0.7).softmax(-1).tolist(), strict=True))
    n = 600
    drawn = [sample(model, prompt, 1, 0.7, 4, seed, None).tokens[0] for seed in range(n)]
    assert set(drawn) <= set(wanted)
    for token, chance in wanted.items():
        assert abs(drawn.count(token) / n - chance) < 5 * (chance * (1 - chance) / n) ** 0.5 + 1e-9
    assert sample(model, prompt, 9, 1.0, 50, 7, None) == sample(model, prompt, 9, 1.0, 50, 7, None)


def test_a_long_prompt_keeps_its_end():
    model = build("mla", positions=24)
    prompt = [i % V for i in range(100)]
    assert (
        sample(model, prompt, 8, 0, 50, 0, None).tokens
        == sample(model, prompt[-16:], 8, 0, 50, 0, None).tokens
    )
    assert speculate(model, prompt, 8, None).tokens == sample(model, prompt, 8, 0, 50, 0, None).tokens


@pytest.mark.parametrize("prompt", [[], [V], [-1]])
def test_prompts_that_are_none(prompt):
    with pytest.raises(TrainingError, match="at least one token id"):
        sample(build("dense"), prompt, 4, 0, 50, 0, None)


@pytest.mark.parametrize("count", [0, -3, 64, 1000])
def test_more_tokens_than_positions(count):
    with pytest.raises(TrainingError, match="64 positions"):
        sample(build("dense"), [1], count, 0, 50, 0, None)


def test_without_modules_nothing_is_drafted():
    with pytest.raises(TrainingError, match="no multi-token prediction"):
        speculate(build("dense", 0), [1], 4, None)


def test_a_watcher_ends_it():
    model = build("mla")
    seen = []
    for write in (
        lambda watch: sample(model, [1], 20, 0, 50, 0, None, watch),
        lambda watch: speculate(model, [1], 20, None, watch=watch),
    ):
        seen.clear()
        written = write(lambda tokens: (seen.append(list(tokens)), len(tokens) >= 5)[1])
        assert not written.ended and 5 <= len(written.tokens) <= 6
        assert all(b[: len(a)] == a for a, b in itertools.pairwise(seen))
        assert seen[-1] == written.tokens


def test_there_is_no_model():
    with pytest.raises(TrainingError, match="no model at"):
        generate("nowhere", [1])
