"""Blocks of FP8 against the release's rule written out, and their limits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.blockwise import LARGEST, dequantise, quantise, scale_shape

sizes = st.sampled_from([1, 8, 127, 128, 129, 256, 300])


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.integers(0, 99), st.sampled_from([1e-6, 1.0, 1e4]))
def test_each_block_has_its_own_scale(n, k, seed, size):
    weight = size * torch.randn(n, k, generator=torch.Generator().manual_seed(seed))
    weight[:, ::3] *= 1e-3
    codes, scale = quantise(weight)
    assert codes.shape == (n, k) and scale.shape == scale_shape(n, k) == (-(-n // 128), -(-k // 128))
    back = dequantise(codes, scale)
    for i in range(0, n, 128):
        for j in range(0, k, 128):
            block = weight[i : i + 128, j : j + 128]
            expected = block.abs().max() / 448
            assert scale[i // 128, j // 128] == expected
            same = (block / expected).to(torch.float8_e4m3fn)
            assert torch.equal(codes[i : i + 128, j : j + 128].view(torch.uint8), same.view(torch.uint8))
            # Three bits after the point: half a step is a sixteenth, and 2^-10 of the scale below the normal range.
            error = (back[i : i + 128, j : j + 128] - block).abs()
            assert (error <= (block.abs() / 16).clamp(min=expected * 2**-10) * 1.001).all()


def test_zeros_and_the_smallest_numbers_come_back():
    weight = torch.zeros(130, 5)
    weight[129, 4] = 1e-44
    codes, scale = quantise(weight)
    assert torch.equal(scale, torch.ones(2, 1))
    assert torch.equal(dequantise(codes, scale), torch.zeros(130, 5))


def test_the_largest_keeps_its_value():
    weight = torch.tensor([[3.0, -7.0], [0.5, 7.0]])
    codes, scale = quantise(weight)
    assert codes.float().abs().max() == LARGEST == 448
    assert dequantise(codes, scale)[0, 1] == pytest.approx(-7.0)


def test_quantising_again_changes_nothing():
    weight = torch.randn(200, 200, generator=torch.Generator().manual_seed(0))
    once = dequantise(*quantise(weight))
    assert torch.allclose(dequantise(*quantise(once)), once, rtol=1e-6, atol=0)
