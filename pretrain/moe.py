"""DeepSeekMoE: shared experts for all tokens, fine-grained routed ones for some (V3 report, section 2.1.2).

Balance comes from a bias that only takes part in choosing experts and is moved between optimizer steps, and
from losses over what the router did (`balance.py`). No token is dropped, unless V2's way is asked for.

Shape suffixes: B sequences, S positions, T = B * S tokens, D model width, E routed experts, K experts a
token, F expert width, G = 2F, P = T * K pairs of a token and an expert it goes to, in expert order.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import ModelConfig
from pretrain.layers import SwiGLU, swiglu
from pretrain.recompute import cheaply

NEVER_DROPPED = 10  # V2 leaves one training sequence of ten whole (report, section 2.2.4)


class Routing(NamedTuple):
    """What a router did: all scores, float32 [B, S, E]; the experts of each token, int64 [B, S, K]; and how many
    tokens chose each expert, int64 [E]."""

    scores_BSE: Tensor
    experts_BSK: Tensor
    load_E: Tensor


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
        assert width
        self.w13_EGD = nn.Parameter(torch.empty(n, 2 * width, hidden))
        self.w2_EDF = nn.Parameter(torch.empty(n, hidden, width))

    def forward(self, x_PD: Tensor, load_E: Tensor) -> Tensor:
        """Rows in expert order, `load_E` of them for each expert, to [P, D]."""
        ends_E = load_E.cumsum(0).to(torch.int32)
        multiply = grouped_mm if _has_grouped_mm(x_PD) else ref_grouped_mm
        gate_up_PG = multiply(x_PD, self.w13_EGD.to(x_PD.dtype), ends_E)
        hidden_PF = cheaply(lambda gate_up: swiglu(*gate_up.chunk(2, -1)), gate_up_PG)
        return multiply(hidden_PF, self.w2_EDF.to(x_PD.dtype), ends_E)


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


class _Dispatch(torch.autograd.Function):
    """Rows of x [T, D] for their pairs [P, D]. Backward gathers too; autograd's own would add rows one by one, on a
    GPU in any order."""

    @staticmethod
    def forward(ctx, x_TD: Tensor, order_P: Tensor, inverse_P: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_P)
        ctx.k = len(order_P) // len(x_TD)
        return x_TD.index_select(0, order_P // ctx.k)

    @staticmethod
    def backward(ctx, grad_PD: Tensor) -> tuple[Tensor, None, None]:
        return grad_PD.index_select(0, ctx.saved_tensors[0]).unflatten(0, (-1, ctx.k)).sum(1), None, None


class _Collect(torch.autograd.Function):
    """Rows back in the order of tokens: y[inverse], whose backward is a gather as well."""

    @staticmethod
    def forward(ctx, y_PD: Tensor, order_P: Tensor, inverse_P: Tensor) -> Tensor:
        ctx.save_for_backward(order_P)
        return y_PD.index_select(0, inverse_P)

    @staticmethod
    def backward(ctx, grad_PD: Tensor) -> tuple[Tensor, None, None]:
        return grad_PD.index_select(0, ctx.saved_tensors[0]), None, None


class MoE(nn.Module):
    """x [B, S, D] to ([B, S, D], Routing)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.moe_intermediate_size
        self.config = config
        self.router = Router(config)
        self.experts = Experts(config)
        shared = config.moe_intermediate_size * config.n_shared_experts
        self.shared = SwiGLU(config.hidden_size, shared) if shared else None

    def forward(self, x_BSD: Tensor) -> tuple[Tensor, Routing]:
        x_TD = x_BSD.flatten(0, 1)
        gates_TK, experts_TK, scores_TE = self.router(x_TD)
        k = experts_TK.shape[-1]
        load_E = torch.bincount(experts_TK.flatten(), minlength=scores_TE.shape[-1])
        if self.training and self.config.capacity_factor:
            kept_TK = kept_in_capacity(gates_TK.detach(), experts_TK, self.config, x_BSD.shape[1])
            gates_TK = gates_TK * kept_TK

        # Stable, so that the order of rows within an expert, and with it every sum, is fixed.
        order_P = experts_TK.flatten().argsort(stable=True)
        place_P = torch.arange(len(order_P), device=order_P.device)
        inverse_P = torch.empty_like(order_P).scatter_(0, order_P, place_P)
        y_PD = self.experts(_Dispatch.apply(x_TD, order_P, inverse_P), load_E)
        y_TKD = _Collect.apply(y_PD, order_P, inverse_P).unflatten(0, (-1, k))
        y_BSD = (y_TKD * gates_TK[..., None].to(y_TKD.dtype)).sum(1).view_as(x_BSD)

        if self.shared is not None:
            y_BSD = y_BSD + self.shared(x_BSD)
        routing = (part.unflatten(0, x_BSD.shape[:2]) for part in (scores_TE, experts_TK))
        return y_BSD, Routing(*routing, load_E)


def kept_in_capacity(gates_TK: Tensor, experts_TK: Tensor, config: ModelConfig, n_positions: int) -> Tensor:
    """Pairs of token and expert that are not dropped, bool [T, K] (V2 report, section 2.2.4).

    A device (group of experts) serves `capacity_factor` times its even share of all pairs: those with the greatest
    gates, and before them all of every tenth sequence. What is dropped weighs nothing; it is still computed here,
    so that dropping shows in what a model learns and not in speed.
    """
    assert config.capacity_factor
    n_pairs, per_group = gates_TK.numel(), config.n_routed_experts // config.n_group
    budget = math.ceil(config.capacity_factor * n_pairs / config.n_group)
    sequence_T = torch.arange(len(gates_TK), device=gates_TK.device) // n_positions
    exempt_TK = (sequence_T % NEVER_DROPPED == 0)[:, None].expand_as(gates_TK)
    worth_P = gates_TK.masked_fill(exempt_TK, math.inf).flatten()
    group_P = experts_TK.flatten() // per_group
    by_worth_P = worth_P.argsort(descending=True, stable=True)
    order_P = by_worth_P[group_P[by_worth_P].argsort(stable=True)]
    size_G = torch.bincount(group_P, minlength=config.n_group)
    begin_P = (size_G.cumsum(0) - size_G)[group_P[order_P]]
    rank_P = torch.arange(n_pairs, device=order_P.device) - begin_P
    kept_P = torch.empty_like(order_P, dtype=torch.bool).scatter_(0, order_P, rank_P < budget)
    return kept_P.view_as(gates_TK) | exempt_TK
