"""Multi-head latent attention (V2 report, section 2.1; V3 report, section 2.1.1).

Keys and values are read from one small latent per token, and the position enters through a few extra
dimensions (decoupled RoPE) whose key all heads share. A cache holds kv_lora_rank + qk_rope_head_dim numbers a
token.

Training expands the latents into keys and values. Decoding absorbs that expansion into queries and output, so that
attention runs on the cached latents themselves (V2 report, section 2.1.3).

Shape suffixes: B sequences, S positions, T positions in the cache, D model width, H heads, N/R dimensions
without/with RoPE, K = N + R, V value dimensions, C latent (kv_lora_rank), X several side by side.
"""

import torch
from torch import Tensor, nn

from pretrain.attention import Cache, attend
from pretrain.config import ModelConfig
from pretrain.layers import Linear, RMSNorm
from pretrain.recompute import cheaply
from pretrain.rope import rotate_pairs, softmax_scale

# The release normalises its latents with this epsilon whatever rms_norm_eps says (Moonlight: 1e-5).
LATENT_EPS = 1e-6


class MLA(nn.Module):
    """x [B, S, D] to [B, S, D]; causal, or where `mask` (bool [B, 1, S, S]) lets a query look."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        nope, rope, value = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
        assert nope and rope and value and config.kv_lora_rank
        self.n_heads, self.dims, self.kv_lora_rank = (
            config.num_attention_heads,
            (nope, rope, value),
            config.kv_lora_rank,
        )
        self.scale = softmax_scale(config, nope + rope)
        if config.q_lora_rank is None:
            self.wq = Linear(config.hidden_size, self.n_heads * (nope + rope))
        else:
            self.wq_a = Linear(config.hidden_size, config.q_lora_rank)
            self.q_norm = RMSNorm(config.q_lora_rank, LATENT_EPS)
            self.wq_b = Linear(config.q_lora_rank, self.n_heads * (nope + rope))
        self.q_lora_rank = config.q_lora_rank
        self.wkv_a = Linear(config.hidden_size, config.kv_lora_rank + rope)
        self.kv_norm = RMSNorm(config.kv_lora_rank, LATENT_EPS)
        self.wkv_b = Linear(config.kv_lora_rank, self.n_heads * (nope + value))
        self.wo = Linear(self.n_heads * value, config.hidden_size)

    @property
    def cache_width(self) -> int:
        """Numbers that a cache holds of a position."""
        return self.kv_lora_rank + self.dims[1]

    def forward(
        self,
        x_BSD: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        cq_BSX = x_BSD if self.q_lora_rank is None else self.wq_a(x_BSD)
        c_BSX = self.wkv_a(x_BSD)
        if cache is not None:
            return self._decode(cq_BSX, c_BSX, rope, cache)
        q_BSHK = cheaply(lambda c: self._queries(c, rope), cq_BSX)
        k_BSHK, v_BSHV = cheaply(lambda c: self._expand(c, rope), c_BSX)
        return self.wo(attend(q_BSHK, k_BSHK, v_BSHV, mask, self.scale).flatten(2))

    def _queries(self, cq_BSX: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        q_BSX = self.wq(cq_BSX) if self.q_lora_rank is None else self.wq_b(self.q_norm(cq_BSX))
        q_BSHN, q_BSHR = q_BSX.unflatten(-1, (self.n_heads, -1)).split(self.dims[:2], -1)
        return torch.cat((q_BSHN, rotate_pairs(q_BSHR, rope)), -1)

    def _expand(self, c_BSX: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nope, rotary, value = self.dims
        c_BSC, k_BSR = c_BSX.split([self.kv_lora_rank, rotary], -1)
        kv_BSHX = self.wkv_b(self.kv_norm(c_BSC)).unflatten(-1, (self.n_heads, -1))
        k_BSHN, v_BSHV = kv_BSHX.split([nope, value], -1)
        k_BS1R = rotate_pairs(k_BSR[:, :, None], rope)
        return torch.cat((k_BSHN, k_BS1R.expand(-1, -1, self.n_heads, -1)), -1), v_BSHV

    def _decode(self, cq_BSX: Tensor, c_BSX: Tensor, rope: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        """The absorbed path: one key head of C + R dimensions for all queries, its first C the value as well."""
        nope, rotary, value = self.dims
        q_BSHN, q_BSHR = self._queries(cq_BSX, rope).split([nope, rotary], -1)
        w_HXC = self.wkv_b.weight.to(c_BSX.dtype).unflatten(0, (self.n_heads, -1))
        wk_HNC, wv_HVC = w_HXC.split([nope, value], 1)
        q_BSHC = torch.einsum("bshn,hnc->bshc", q_BSHN, wk_HNC)

        c_BSC, k_BSR = c_BSX.split([self.kv_lora_rank, rotary], -1)
        k_BSR = rotate_pairs(k_BSR[:, :, None], rope)[:, :, 0]
        held_BT1X = cache.add(torch.cat((self.kv_norm(c_BSC), k_BSR), -1))[:, :, None]
        latent_BT1C = held_BT1X[..., : self.kv_lora_rank]
        o_BSHC = attend(torch.cat((q_BSHC, q_BSHR), -1), held_BT1X, latent_BT1C, None, self.scale)
        return self.wo(torch.einsum("bshc,hvc->bshv", o_BSHC, wv_HVC).flatten(2))
