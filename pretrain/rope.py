"""Rotary position embedding (RoPE), and YaRN for longer contexts (arXiv 2309.00071, sections 3.2 to 3.4).

Shape suffixes: B sequences, S positions, H heads, R dimensions of a head that carry its position.
"""

import math

import torch
from torch import Tensor

from pretrain.config import ModelConfig, Yarn


def rope_angles(config: ModelConfig, first: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32 [S, R/2], of the positions first, first + 1, ... times each frequency."""
    frequency = _frequencies(config, device)
    position = torch.arange(first, first + length, dtype=torch.float32, device=device)
    angle = torch.outer(position, frequency)
    yarn = config.yarn
    if yarn is None:
        return angle.cos(), angle.sin()
    # 1 for DeepSeek's models, whose mscale and mscale_all_dim agree: they scale the softmax instead.
    both = yarn.mscale and yarn.mscale_all_dim
    size = _mscale(yarn.factor, yarn.mscale) / _mscale(yarn.factor, yarn.mscale_all_dim) if both else None
    size = _mscale(yarn.factor, 1.0) if size is None else size
    return angle.cos() * size, angle.sin() * size


def softmax_scale(config: ModelConfig, width: int) -> float:
    """What attention scores are multiplied with: width^-0.5, and YaRN's temperature (V3 report, section 4.3)."""
    scale = width**-0.5
    if config.attention == "mla" and config.yarn and config.yarn.mscale_all_dim:
        scale *= _mscale(config.yarn.factor, config.yarn.mscale_all_dim) ** 2
    return scale


def rotate_pairs(x_BSHR: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (x0, x1), (x2, x3), ... by their position's angles: the layout of V2's and V3's releases."""
    cos, sin = (part[:, None, :] for part in rope)
    even, odd = x_BSHR.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x_BSHR.dtype)


def rotate_halves(x_BSHR: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (x0, x[R/2]), (x1, x[R/2 + 1]), ...: the layout of Llama and DeepSeekMoE."""
    cos, sin = (part[:, None, :] for part in rope)
    left, right = x_BSHR.float().chunk(2, -1)
    return torch.cat((left * cos - right * sin, left * sin + right * cos), -1).to(x_BSHR.dtype)


def _frequencies(config: ModelConfig, device: torch.device) -> Tensor:
    """Radians a position of each pair of dimensions, float32 [R/2]."""
    width, theta = config.rope_dim, config.rope_theta
    frequency = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)
    if config.yarn is None:
        return frequency
    # Dimensions that turn often within the old context keep their frequency; those that turn less than once are
    # stretched to the new one; a ramp lies between.
    low = math.floor(_dimension(config.yarn.beta_fast, width, theta, config.yarn))
    high = math.ceil(_dimension(config.yarn.beta_slow, width, theta, config.yarn))
    low, high = max(low, 0), min(high, width - 1)
    place = torch.arange(width // 2, dtype=torch.float32, device=device)
    ramp = ((place - low) / max(high - low, 0.001)).clamp(0, 1)
    return frequency / config.yarn.factor * ramp + frequency * (1 - ramp)


def _dimension(turns: float, width: int, theta: float, yarn: Yarn) -> float:
    """The pair of dimensions that makes so many turns over the old context."""
    turned = yarn.original_max_position_embeddings / (turns * 2 * math.pi)
    return width * math.log(turned) / (2 * math.log(theta))


def _mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0
