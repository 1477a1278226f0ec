"""Grouped-query attention: that of DeepSeekMoE (as many key heads as query heads) and of plain models.

Shape suffixes: B sequences, S positions, D model width, H heads, K dimensions of a head.
"""

import torch
from torch import Tensor, nn

from pretrain.attention import Cache, attend
from pretrain.config import ModelConfig
from pretrain.layers import Linear
from pretrain.rope import rotate_halves, softmax_scale


class GQA(nn.Module):
    """x [B, S, D] to [B, S, D]; causal, or where `mask` (bool [B, 1, S, S]) lets a query look."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.num_key_value_heads and config.head_dim
        self.head_dim, self.kv_heads = config.head_dim, config.num_key_value_heads
        self.scale = softmax_scale(config, config.head_dim)
        self.wq = Linear(config.hidden_size, config.num_attention_heads * config.head_dim)
        self.wk = Linear(config.hidden_size, config.num_key_value_heads * config.head_dim)
        self.wv = Linear(config.hidden_size, config.num_key_value_heads * config.head_dim)
        self.wo = Linear(config.num_attention_heads * config.head_dim, config.hidden_size)

    @property
    def cache_width(self) -> int:
        """Numbers that a cache holds of a position."""
        return 2 * self.kv_heads * self.head_dim

    def forward(
        self,
        x_BSD: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        q_BSHK, k_BSHK, v_BSHK = (
            w(x_BSD).unflatten(-1, (-1, self.head_dim)) for w in (self.wq, self.wk, self.wv)
        )
        q_BSHK, k_BSHK = rotate_halves(q_BSHK, rope), rotate_halves(k_BSHK, rope)
        if cache is not None:
            held = cache.add(torch.cat((k_BSHK, v_BSHK), 2).flatten(2))
            k_BSHK, v_BSHK = held.unflatten(-1, (-1, self.head_dim)).chunk(2, 2)
        return self.wo(attend(q_BSHK, k_BSHK, v_BSHK, mask, self.scale).flatten(2))
