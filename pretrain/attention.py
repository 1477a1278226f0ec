"""What both attentions share: the softmax over keys, and the cache of a text being written.

Shape suffixes: B sequences, S queries, T keys, H heads, K/V dimensions of a key or value.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class Cache:
    """What one layer remembers of each position: `entries` [B, room, width], of which `length` are filled."""

    def __init__(self, batch: int, room: int, width: int, device: torch.device, dtype: torch.dtype) -> None:
        self.entries = torch.zeros(batch, room, width, device=device, dtype=dtype)
        self.length = 0

    def add(self, new_BSX: Tensor) -> Tensor:
        """Append positions; all those held, [B, T, width]."""
        end = self.length + new_BSX.shape[1]
        self.entries[:, self.length : end] = new_BSX
        self.length = end
        return self.entries[:, :end]

    def cut(self, length: int) -> None:
        """Forget all positions from `length` on."""
        self.length = min(self.length, length)


def attend(q_BSHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax attention, [B, S, H, V]. Queries are the last S of T positions and look back, or where `mask`
    (bool [B, 1, S, T]) lets them. Keys and values may have fewer heads, each shared by equally many queries.
    """
    width, missing = v_BTHV.shape[-1], k_BTHK.shape[-1] - v_BTHV.shape[-1]
    if missing > 0 and not q_BSHK.is_cuda:
        # torch's fused CPU kernel wants values as wide as keys; zeros cost less than the unfused path.
        v_BTHV = F.pad(v_BTHV, (0, missing))
    n_queries, n_keys = q_BSHK.shape[1], k_BTHK.shape[1]
    if mask is None and 1 < n_queries < n_keys:
        mask = torch.ones(n_queries, n_keys, dtype=torch.bool, device=q_BSHK.device).tril(n_keys - n_queries)
    q, k, v = (x.transpose(1, 2) for x in (q_BSHK, k_BTHK, v_BTHV))
    out = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=mask is None and n_queries > 1,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out.transpose(1, 2)[..., :width]
