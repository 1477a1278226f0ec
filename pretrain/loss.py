"""Cross-entropy through the output head without ever holding all logits.

Shape suffixes: B sequences, S positions, T tokens, D model width, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
CHUNK = 1024  # tokens whose logits exist at once


def next_tokens(
    tokens_BS: Tensor, ahead: int, padding: int | None, document_BS: Tensor | None = None
) -> Tensor:
    """Targets [B, S]: the token `ahead` places on, IGNORED past the sequence's end and for padding.

    With `document_BS` (negative for padding) also where that token lies in another document: a loss `ahead`
    places on, the main one or a depth of multi-token prediction, then crosses no boundary.
    """
    targets_BS = F.pad(tokens_BS[:, ahead:], (0, ahead), value=IGNORED)
    if document_BS is not None:
        there_BS = F.pad(document_BS[:, ahead:], (0, ahead), value=-1)
        targets_BS = targets_BS.masked_fill((there_BS != document_BS) | (there_BS < 0), IGNORED)
    return targets_BS if padding is None else targets_BS.masked_fill(targets_BS == padding, IGNORED)


class _LinearCrossEntropy(torch.autograd.Function):
    """Cross-entropy of each token; the gradients of their sum are taken while a chunk's logits exist, not later."""

    @staticmethod
    def forward(ctx, h_TD: Tensor, weight_VD: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
        w_VD = weight_VD.to(h_TD.dtype)
        counted_T1 = (targets_T != IGNORED)[:, None]
        grad_h, grad_w = torch.empty_like(h_TD), torch.zeros_like(weight_VD)
        losses_T = torch.empty(len(h_TD), device=h_TD.device)
        # One chunk's logits, which become its probabilities in place: fresh memory for each would cost a CPU more
        # than the softmax.
        logits = h_TD.new_empty(min(CHUNK, len(h_TD)), len(w_VD))
        for rows in range(0, len(h_TD), CHUNK):
            chunk = slice(rows, rows + CHUNK)
            h, counted, places = h_TD[chunk], counted_T1[chunk], targets_T[chunk, None].clamp(min=0)
            scores = torch.mm(h, w_VD.T, out=logits[: len(h)])
            score, most = scores.gather(-1, places).float(), scores.amax(-1, keepdim=True).float()
            p = scores.float()
            torch.softmax(p, -1, out=p)
            # The most likely token's probability is never too small for a logarithm, whatever the target's is.
            losses_T[chunk] = ((most - p.amax(-1, keepdim=True).log() - score) * counted)[:, 0]
            p.scatter_add_(-1, places, torch.full_like(score, -1.0))
            p = p.to(h.dtype)
            torch.mm(p, w_VD, out=grad_h[chunk]).mul_(counted)
            h = h * counted
            if h.dtype == grad_w.dtype:
                grad_w.addmm_(p.T, h)
            else:
                grad_w += p.T @ h
        ctx.save_for_backward(grad_h, grad_w)
        ctx.mark_non_differentiable(losses_T)
        return losses_T.sum(), losses_T

    @staticmethod
    def backward(ctx, grad: Tensor, _: None) -> tuple[Tensor, Tensor, None]:
        # In place: nobody else holds them. A second backward pass would find them changed, and autograd refuses it.
        grad_h, grad_w = ctx.saved_tensors
        return grad_h.mul_(grad), grad_w.mul_(grad), None


def linear_cross_entropy(h_TD: Tensor, weight_VD: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy (nats, float32) of the head's predictions: the sum, with its gradient, and that of each token
    [T], without; both leave IGNORED targets out."""
    return _LinearCrossEntropy.apply(h_TD, weight_VD, targets_T)


@torch.no_grad()
def token_losses(h_TD: Tensor, weight_VD: Tensor, targets_T: Tensor) -> Tensor:
    """Cross-entropy of each token (nats, float32 [T]), zero for IGNORED targets."""
    w_VD = weight_VD.to(h_TD.dtype)
    return torch.cat(
        [
            F.cross_entropy((h @ w_VD.T).float(), targets, ignore_index=IGNORED, reduction="none")
            for h, targets in zip(h_TD.split(CHUNK), targets_T.split(CHUNK), strict=True)
        ]
    )
