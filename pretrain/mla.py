"""Multi-head latent attention (V2 report, section 2.1; V3 report, section 2.1.1).

Keys and values are read from one small latent per token, and the position enters through a few extra
dimensions (decoupled RoPE) whose key all heads share. A cache would hold kv_lora_rank + qk_rope_head_dim
numbers a token.

Shape suffixes: B sequences, S positions, D model width, H heads, N/R dimensions without/with RoPE, K = N + R,
V value dimensions, C latent (kv_lora_rank), X heads and their dimensions side by side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import ModelConfig
from pretrain.layers import Linear, RMSNorm

# The release normalises its latents with this epsilon whatever rms_norm_eps says (Moonlight: 1e-5).
LATENT_EPS = 1e-6


def rope_angles(length: int, width: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32 [S, R/2], of position times theta^(-2i/R)."""
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)
    angle = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequency)
    return angle.cos(), angle.sin()


def apply_rope(x_BSHR: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (x0, x1), (x2, x3), ... by their position's angles: the release's interleaved layout."""
    cos, sin = (part[:, None, :] for part in rope)
    even, odd = x_BSHR.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x_BSHR.dtype)


class MLA(nn.Module):
    """x [B, S, D] to [B, S, D]; causal, or causal and within `mask` (bool [B, 1, S, S], True attends)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.dims = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
        self.q_lora_rank, self.kv_lora_rank = config.q_lora_rank, config.kv_lora_rank
        nope, rope, value = self.dims
        if config.q_lora_rank is None:
            self.wq = Linear(config.hidden_size, self.n_heads * (nope + rope))
        else:
            self.wq_a = Linear(config.hidden_size, config.q_lora_rank)
            self.q_norm = RMSNorm(config.q_lora_rank, LATENT_EPS)
            self.wq_b = Linear(config.q_lora_rank, self.n_heads * (nope + rope))
        self.wkv_a = Linear(config.hidden_size, config.kv_lora_rank + rope)
        self.kv_norm = RMSNorm(config.kv_lora_rank, LATENT_EPS)
        self.wkv_b = Linear(config.kv_lora_rank, self.n_heads * (nope + value))
        self.wo = Linear(self.n_heads * value, config.hidden_size)

    def forward(self, x_BSD: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        nope, rotary, value = self.dims
        if self.q_lora_rank is None:
            q_BSX = self.wq(x_BSD)
        else:
            q_BSX = self.wq_b(self.q_norm(self.wq_a(x_BSD)))
        q_BSHN, q_BSHR = q_BSX.unflatten(-1, (self.n_heads, -1)).split([nope, rotary], -1)

        c_BSC, k_BSR = self.wkv_a(x_BSD).split([self.kv_lora_rank, rotary], -1)
        kv_BSHX = self.wkv_b(self.kv_norm(c_BSC)).unflatten(-1, (self.n_heads, -1))
        k_BSHN, v_BSHV = kv_BSHX.split([nope, value], -1)
        k_BS1R = apply_rope(k_BSR[:, :, None], rope)

        q_BSHK = torch.cat((q_BSHN, apply_rope(q_BSHR, rope)), -1)
        k_BSHK = torch.cat((k_BSHN, k_BS1R.expand(-1, -1, self.n_heads, -1)), -1)
        return self.wo(_attend(q_BSHK, k_BSHK, v_BSHV, mask).flatten(-2))


def _attend(q_BSHK: Tensor, k_BSHK: Tensor, v_BSHV: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention at scale K^-0.5, [B, S, H, V]."""
    width, missing = v_BSHV.shape[-1], q_BSHK.shape[-1] - v_BSHV.shape[-1]
    if missing > 0 and not q_BSHK.is_cuda:
        # torch's fused CPU kernel wants values as wide as keys; zeros cost less than the unfused path.
        v_BSHV = F.pad(v_BSHV, (0, missing))
    q, k, v = (x.transpose(1, 2) for x in (q_BSHK, k_BSHK, v_BSHV))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return out.transpose(1, 2)[..., :width]
