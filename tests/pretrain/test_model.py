"""Properties of the whole model that no weights can change."""

import torch
from torch.testing import assert_close

from pretrain.model import Transformer
from pretrain.presets import MODELS

TINY = MODELS["tiny"]


def tokens(batch: int = 2, length: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, TINY.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_nothing_looks_ahead(build_model):
    model = build_model(TINY)
    x = tokens()
    changed = x.clone()
    changed[:, 13:] = (changed[:, 13:] + 7) % TINY.vocab_size
    (h, _), (g, _) = model(x), model(changed)
    assert_close(h[:, :13], g[:, :13])
    assert not torch.allclose(h[:, 13:], g[:, 13:])
    # Depth 1 at position i has seen token i + 1, and no more.
    (ahead,), _ = model.predict_ahead(h, x)
    (other,), _ = model.predict_ahead(g, changed)
    assert ahead.shape[1] == 23
    assert_close(ahead[:, :12], other[:, :12])
    assert not torch.allclose(ahead[:, 12], other[:, 12])


@torch.no_grad()
def test_under_the_document_mask_packed_documents_are_as_if_alone(build_model):
    model = build_model(TINY)
    first, second = tokens(1, 9), tokens(1, 15, seed=1)
    packed = torch.cat((first, second), 1)
    documents = torch.tensor([[0] * 9 + [1] * 15])
    masked, _ = model(packed, documents)
    alone = torch.cat((model(first)[0], model(second)[0]), 1)
    # RoPE is relative, so that a document's place in its sequence does not matter.
    assert_close(masked, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(packed)[0][:, 9:], alone[:, 9:], atol=1e-3)


def test_two_mtp_depths_shorten_one_by_one_and_reach_shared_weights(build_model):
    config = TINY.model_copy(update={"num_nextn_predict_layers": 2})
    model = build_model(config)
    x = tokens()
    hidden, routings = model(x)
    ahead, more = model.predict_ahead(hidden, x)
    assert [h.shape[1] for h in ahead] == [23, 22]
    assert len(routings) == 2 and len(more) == 2 == len(model.moe_layers()) - 2
    model.logits(ahead[1]).sum().backward()
    assert model.embed.weight.grad is not None and model.blocks[0].attention.wo.weight.grad.abs().sum() > 0


def test_weights_depend_on_name_and_seed_only():
    def weights(seed: int, **changes) -> dict[str, torch.Tensor]:
        model = Transformer(TINY.model_copy(update=changes))
        model.init_weights(seed)
        return model.state_dict()

    one, deeper, other = weights(3), weights(3, num_hidden_layers=5), weights(4)
    assert all(torch.equal(value, deeper[name]) for name, value in one.items())
    assert not torch.equal(one["embed.weight"], other["embed.weight"])
    assert one["embed.weight"].std().item() * 50 == 1.0 or abs(one["embed.weight"].std().item() - 0.02) < 1e-3


@torch.no_grad()
def test_bfloat16_stays_near_float32(build_model):
    model = build_model(TINY)
    x = tokens()
    exact = model.logits(model(x)[0])
    model.compute_dtype = torch.bfloat16
    rounded = model.logits(model(x)[0])
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05
