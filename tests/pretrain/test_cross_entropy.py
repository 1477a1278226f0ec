"""The chunked loss against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from pretrain import loss as module
from pretrain.loss import IGNORED, linear_cross_entropy, next_tokens, token_losses


@pytest.mark.parametrize("chunk", [3, 7, 100])
def test_loss_and_gradients_are_those_of_cross_entropy(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(20, 8), torch.randn(50, 8), torch.randint(0, 50, (20,))
    targets[4:9] = IGNORED
    found = []
    for ours in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if ours:
            total = linear_cross_entropy(h, w, targets)
        else:
            total = F.cross_entropy(h @ w.T, targets, ignore_index=IGNORED, reduction="sum")
        (total * 0.3).backward()
        found.append((total, h.grad, w.grad))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5)
    each = token_losses(hidden, weight, targets)
    assert_close(each.sum(), found[0][0].detach(), rtol=1e-5, atol=1e-5)
    assert (each[4:9] == 0).all()


def test_targets_are_the_tokens_ahead():
    tokens = torch.tensor([[5, 6, 2, 8]])
    assert next_tokens(tokens, 1, None).tolist() == [[6, 2, 8, IGNORED]]
    assert next_tokens(tokens, 2, None).tolist() == [[2, 8, IGNORED, IGNORED]]
    assert next_tokens(tokens, 1, 2).tolist() == [[6, IGNORED, 8, IGNORED]]
