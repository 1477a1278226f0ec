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
            total, parts = linear_cross_entropy(h, w, targets)
        else:
            total = F.cross_entropy(h @ w.T, targets, ignore_index=IGNORED, reduction="sum")
        (total * 0.3).backward()
        found.append((total, h.grad, w.grad))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5)
    each = token_losses(hidden, weight, targets)
    assert_close(each, parts, rtol=1e-5, atol=1e-5)
    assert_close(each.sum(), found[0][0].detach(), rtol=1e-5, atol=1e-5)
    assert (each[4:9] == 0).all()


def test_gradients_are_those_of_float64():
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(40, 16), torch.randn(30, 16), torch.randint(0, 30, (40,))
    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    linear_cross_entropy(h, w, targets)[0].backward()
    exact_h, exact_w = hidden.double().requires_grad_(), weight.double().requires_grad_()
    logits = exact_h @ exact_w.T
    (logits.logsumexp(-1) - logits[torch.arange(40), targets]).sum().backward()
    for mine, exact in ((h.grad, exact_h.grad), (w.grad, exact_w.grad)):
        assert (mine - exact).abs().max() / exact.abs().max() < 1e-6


def test_never_are_all_logits_held(monkeypatch):
    """The largest tensor that is made is a chunk's."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        rows = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple | list) else [out]:
                if isinstance(x, torch.Tensor) and x.ndim == 2 and x.shape[1] == 999:
                    self.rows = max(self.rows, x.shape[0])
            return out

    monkeypatch.setattr(module, "CHUNK", 8)
    h, w = torch.randn(64, 4, requires_grad=True), torch.randn(999, 4, requires_grad=True)
    with Largest() as largest:
        linear_cross_entropy(h, w, torch.randint(0, 999, (64,)))[0].backward()
    assert largest.rows == 8


def test_targets_are_the_tokens_ahead():
    tokens = torch.tensor([[5, 6, 2, 8]])
    assert next_tokens(tokens, 1, None).tolist() == [[6, 2, 8, IGNORED]]
    assert next_tokens(tokens, 2, None).tolist() == [[2, 8, IGNORED, IGNORED]]
    assert next_tokens(tokens, 1, 2).tolist() == [[6, IGNORED, 8, IGNORED]]
