"""What keeps experts equally busy: a bias moved between steps, and losses over what routers did.

Shape suffixes: B sequences, S positions, E routed experts, K experts a token, G devices (groups of neighbouring
experts), L expert layers.
"""

import torch
from torch import Tensor

from pretrain.config import TrainingConfig
from pretrain.moe import Router, Routing


def sequence_balance(scores_BSE: Tensor, k: int) -> Tensor:
    """The sequence-wise balance loss without its weight, mean over sequences (V3 report, equations 17 to 20).

    As the paper writes it, an expert's share f counts the top k of the scores without bias and groups.
    """
    top_BSK = scores_BSE.detach().topk(k, -1).indices
    return (_share(top_BSK, scores_BSE) * _affinity(scores_BSE)).sum(-1).mean()


def expert_balance(scores_BSE: Tensor, experts_BSK: Tensor) -> Tensor:
    """V2's expert-level loss without its weight (report, equations 23 to 25): as above, with the experts chosen."""
    return (_share(experts_BSK, scores_BSE) * _affinity(scores_BSE)).sum(-1).mean()


def device_balance(scores_BSE: Tensor, experts_BSK: Tensor, n_devices: int) -> Tensor:
    """V2's device-level loss without its weight (report, equations 26 to 28)."""
    share_BG = _share(experts_BSK, scores_BSE).unflatten(-1, (n_devices, -1)).mean(-1)
    affinity_BG = _affinity(scores_BSE).unflatten(-1, (n_devices, -1)).sum(-1)
    return (share_BG * affinity_BG).sum(-1).mean()


def communication_balance(scores_BSE: Tensor, experts_BSK: Tensor, n_devices: int, limit: int) -> Tensor:
    """V2's communication loss without its weight (report, equations 29 to 31): over tokens sent to each device,
    each token at most once a device and to at most `limit` of them."""
    n_positions, n_experts = scores_BSE.shape[1:]
    device_BSK = experts_BSK // (n_experts // n_devices)
    sent_BSG = scores_BSE.new_zeros(*scores_BSE.shape[:2], n_devices).scatter_(-1, device_BSK, 1.0)
    share_BG = sent_BSG.sum(1) * (n_devices / (limit * n_positions))
    affinity_BG = _affinity(scores_BSE).unflatten(-1, (n_devices, -1)).sum(-1)
    return (share_BG * affinity_BG).sum(-1).mean()


def auxiliary_loss(routings: list[Routing], config: TrainingConfig) -> tuple[Tensor, Tensor]:
    """The weighted balance losses, summed over layers; and V3's sequence-wise one, unweighted, their mean."""
    shape = config.model
    sequence = torch.stack([sequence_balance(r.scores_BSE, shape.num_experts_per_tok) for r in routings])
    total = config.balance_loss_weight * sequence.sum()
    for scores, experts, _ in routings:
        if weight := config.expert_balance_weight:
            total = total + weight * expert_balance(scores, experts)
        if weight := config.device_balance_weight:
            total = total + weight * device_balance(scores, experts, shape.n_group)
        if weight := config.communication_balance_weight:
            total = total + weight * communication_balance(scores, experts, shape.n_group, shape.topk_group)
    return total, sequence.detach().mean()


def _share(experts_BSK: Tensor, scores_BSE: Tensor) -> Tensor:
    """f: the tokens each expert gets in a sequence, 1 where all get equally many. [B, E]"""
    chosen_BX = experts_BSK.flatten(1)
    count_BE = torch.zeros_like(scores_BSE[:, 0]).scatter_add_(
        -1, chosen_BX, torch.ones_like(chosen_BX, dtype=scores_BSE.dtype)
    )
    return count_BE * (scores_BSE.shape[-1] / chosen_BX.shape[1])


def _affinity(scores_BSE: Tensor) -> Tensor:
    """P: the mean over a sequence of scores that sum to one at each position. [B, E]"""
    return (scores_BSE / scores_BSE.sum(-1, keepdim=True)).mean(1)


@torch.no_grad()
def move_bias(router: Router, load_E: Tensor, speed: float) -> None:
    """Make experts that got more than their share less likely, the others more (V3 report, section 2.1.2)."""
    if router.bias is not None:
        load_E = load_E.to(router.bias)
        router.bias += speed * torch.sign(load_E.mean() - load_E)


def max_violation(load_LE: Tensor) -> Tensor:
    """MaxVio of each layer: the fullest expert's load over the mean load, less one; 0 where nothing came. [L]"""
    load_LE = load_LE.double()
    return (load_LE.amax(-1) / load_LE.mean(-1) - 1).nan_to_num(0.0)
