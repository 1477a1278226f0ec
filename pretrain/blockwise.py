"""FP8 weights with a scale for each 128 x 128 block, as V3 is released (report, section 3.3.2, and its `config.json`).

A block's scale is what its codes are multiplied with to get the weight back: its largest magnitude over 448, the
greatest number of E4M3. The release calls it `weight_scale_inv`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 128
LARGEST = torch.finfo(torch.float8_e4m3fn).max  # 448


def quantise(weight_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, float8_e4m3fn [N, K], and scales, float32 [N / 128, K / 128], rounded up; a block of zeros has scale 1."""
    n, k = weight_NK.shape
    blocks = F.pad(weight_NK.float(), (0, -k % BLOCK, 0, -n % BLOCK))
    blocks = (
        blocks.unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).transpose(1, 2)
    )  # [N/128, K/128, 128, 128]
    scale = blocks.abs().amax((-2, -1)) / LARGEST
    # Dividing by the tiniest of floats overflows; what it would scale is zero in E4M3 either way.
    scale = torch.where(scale > torch.finfo(torch.float32).tiny, scale, torch.ones_like(scale))
    codes = (blocks / scale[..., None, None]).to(torch.float8_e4m3fn)
    return codes.transpose(1, 2).flatten(2).flatten(0, 1)[:n, :k].contiguous(), scale


def dequantise(codes_NK: Tensor, scale: Tensor) -> Tensor:
    """The weight of codes [N, K] and scales [N / 128, K / 128], float32."""
    n, k = codes_NK.shape
    whole = scale.float().repeat_interleave(BLOCK, 0)[:n].repeat_interleave(BLOCK, 1)[:, :k]
    return codes_NK.float() * whole


def scale_shape(n: int, k: int) -> tuple[int, int]:
    """The shape of the scales of a weight [n, k]."""
    return -(-n // BLOCK), -(-k // BLOCK)
