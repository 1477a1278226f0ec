"""The plain layers. Weights are float32; the product runs in the dtype of its input.

Shape suffixes: T tokens, D model width, F feed-forward width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.recompute import cheaply


class Linear(nn.Module):
    """`x @ weight.T` without bias; weight [out, in], float32, cast to the input's dtype for the product."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class Embedding(nn.Module):
    """Rows of a float32 table [n, width] by integer id."""

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, width))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last dimension, with a learned scale."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # A view, so that gradients of the norm's own steps are summed before they meet those of the residual
        # stream: the same bits whether or not the norm is computed again in the backward pass.
        x = x.view_as(x)
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    return F.silu(gate) * up


class SwiGLU(nn.Module):
    """The dense feed-forward layer: w2(silu(w1 x) * w3 x)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff)
        self.w2 = Linear(d_ff, d_model)
        self.w3 = Linear(d_model, d_ff)

    def forward(self, x_TD: Tensor) -> Tensor:
        return self.w2(cheaply(swiglu, self.w1(x_TD), self.w3(x_TD)))
