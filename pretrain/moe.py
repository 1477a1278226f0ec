"""DeepSeekMoE: shared experts for all tokens, fine-grained routed ones for some (V3 report, section 2.1.2).

Balance comes from a bias that only takes part in choosing experts and is moved between optimizer steps, and
from a small loss per sequence. No token is ever dropped.

Shape suffixes: B sequences, S positions, T = B * S tokens, D model width, E routed experts, K experts a
token, F expert width, G = 2F, P = T * K pairs of a token and an expert it goes to, in expert order.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import ModelConfig
from pretrain.layers import SwiGLU


class Routing(NamedTuple):
    """What a router did: `load_E`, int64 tokens sent to each expert; `balance`, the sequence-wise loss."""

    load_E: Tensor
    balance: Tensor


class Router(nn.Module):
    """Affinity of tokens to experts, and the choice of K of them (V3 report, equations 13 to 16)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        # V2's softmax router has no bias. Moved by `move_bias`, never by the optimizer.
        bias = torch.zeros(config.n_routed_experts) if config.scoring_func == "sigmoid" else None
        self.register_buffer("bias", bias)

    def forward(self, x_TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate values float32 [T, K], experts int64 [T, K] and all scores float32 [T, E] of the tokens."""
        logits_TE = F.linear(x_TD.float(), self.weight)
        sigmoid = self.config.scoring_func == "sigmoid"
        scores_TE = logits_TE.sigmoid() if sigmoid else logits_TE.softmax(-1)
        experts_TK = self._choose(scores_TE.detach())
        gates_TK = scores_TE.gather(-1, experts_TK)
        if self.config.norm_topk_prob:
            gates_TK = gates_TK / (gates_TK.sum(-1, keepdim=True) + 1e-20)
        return gates_TK * self.config.routed_scaling_factor, experts_TK, scores_TE

    def _choose(self, scores_TE: Tensor) -> Tensor:
        config = self.config
        choice_TE = scores_TE if self.bias is None else scores_TE + self.bias
        if config.n_group > 1:
            groups = choice_TE.unflatten(-1, (config.n_group, -1))
            # A group is worth its best two experts in V3, its best one in V2.
            best = min(2 if self.bias is not None else 1, groups.shape[-1])
            worth = groups.topk(best, -1).values.sum(-1)
            kept = torch.zeros_like(worth, dtype=torch.bool).scatter_(
                -1, worth.topk(config.topk_group, -1).indices, True
            )
            choice_TE = groups.masked_fill(~kept[..., None], float("-inf")).flatten(-2)
        return choice_TE.topk(config.num_experts_per_tok, -1).indices


class Experts(nn.Module):
    """The routed experts' SwiGLU weights: `w13_EGD` gate above up, `w2_EDF` down."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, width, hidden = config.n_routed_experts, config.moe_intermediate_size, config.hidden_size
        self.w13_EGD = nn.Parameter(torch.empty(n, 2 * width, hidden))
        self.w2_EDF = nn.Parameter(torch.empty(n, hidden, width))

    def forward(self, x_PD: Tensor, load_E: Tensor) -> Tensor:
        """Rows in expert order, `load_E` of them for each expert, to [P, D]."""
        ends_E = load_E.cumsum(0).to(torch.int32)
        multiply = grouped_mm if _has_grouped_mm(x_PD) else ref_grouped_mm
        gate_PF, up_PF = multiply(x_PD, self.w13_EGD.to(x_PD.dtype), ends_E).chunk(2, -1)
        return multiply(F.silu(gate_PF) * up_PF, self.w2_EDF.to(x_PD.dtype), ends_E)


def _has_grouped_mm(x: Tensor) -> bool:
    """On a GPU torch multiplies groups in bfloat16 only; on a CPU in every type a model is trained in."""
    return x.dtype == torch.bfloat16 or (x.dtype == torch.float32 and not x.is_cuda)


def grouped_mm(x_PI: Tensor, w_EOI: Tensor, ends_E: Tensor) -> Tensor:
    """Rows of group e times w[e].T; group e ends before row ends[e]. [P, O]."""
    return F.grouped_mm(x_PI, w_EOI.transpose(-2, -1), offs=ends_E)


def ref_grouped_mm(x_PI: Tensor, w_EOI: Tensor, ends_E: Tensor) -> Tensor:
    """`grouped_mm`, one expert after the other."""
    rows = x_PI.tensor_split(ends_E[:-1].cpu().long())
    return torch.cat([F.linear(row, w) for row, w in zip(rows, w_EOI, strict=True)])


class _Permute(torch.autograd.Function):
    """x[order] whose backward is a gather too; autograd's own adds rows one by one, on a GPU in any order."""

    @staticmethod
    def forward(ctx, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class MoE(nn.Module):
    """x [B, S, D] to ([B, S, D], Routing)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.router = Router(config)
        self.experts = Experts(config)
        self.shared = SwiGLU(config.hidden_size, config.moe_intermediate_size * config.n_shared_experts)

    def forward(self, x_BSD: Tensor) -> tuple[Tensor, Routing]:
        x_TD = x_BSD.flatten(0, 1)
        gates_TK, experts_TK, scores_TE = self.router(x_TD)
        n_experts, k = scores_TE.shape[-1], experts_TK.shape[-1]

        # Stable, so that the order of rows within an expert, and with it every sum, is fixed.
        order_P = experts_TK.flatten().argsort(stable=True)
        inverse_P = torch.empty_like(order_P).scatter_(
            0, order_P, torch.arange(len(order_P), device=order_P.device)
        )
        load_E = torch.bincount(experts_TK.flatten(), minlength=n_experts)

        x_PD = _Permute.apply(x_TD.repeat_interleave(k, 0), order_P, inverse_P)
        y_TKD = _Permute.apply(self.experts(x_PD, load_E), inverse_P, order_P).unflatten(0, (-1, k))
        y_TD = (y_TKD * gates_TK[..., None].to(y_TKD.dtype)).sum(1)

        y_BSD = y_TD.view_as(x_BSD) + self.shared(x_BSD)
        return y_BSD, Routing(load_E, sequence_balance(scores_TE.view(*x_BSD.shape[:2], -1), k))


def sequence_balance(scores_BSE: Tensor, k: int) -> Tensor:
    """The sequence-wise balance loss without its weight, mean over sequences (V3 report, equations 17 to 20).

    As the paper writes it, an expert's share f counts the top k of the scores without bias and groups.
    """
    n_positions, n_experts = scores_BSE.shape[1:]
    top_BSK = scores_BSE.detach().topk(k, -1).indices
    count_BE = torch.zeros_like(scores_BSE[:, 0]).scatter_add_(
        -1, top_BSK.flatten(1), torch.ones_like(top_BSK.flatten(1), dtype=scores_BSE.dtype)
    )
    share_BE = count_BE * (n_experts / (k * n_positions))
    mean_BE = (scores_BSE / scores_BSE.sum(-1, keepdim=True)).mean(1)
    return (share_BE * mean_BE).sum(-1).mean()


@torch.no_grad()
def move_bias(router: Router, load_E: Tensor, speed: float) -> None:
    """Make experts that got more than their share less likely, the others more (V3 report, section 2.1.2)."""
    if router.bias is not None:
        load_E = load_E.to(router.bias)
        router.bias += speed * torch.sign(load_E.mean() - load_E)


def max_violation(load_LE: Tensor) -> Tensor:
    """MaxVio of each layer: the fullest expert's load over the mean load, less one. [L]"""
    load_LE = load_LE.double()
    return load_LE.amax(-1) / load_LE.mean(-1).clamp(min=1) - 1
