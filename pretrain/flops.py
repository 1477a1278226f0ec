"""How much arithmetic a training step is, by the model's shape: the numerator of MFU (PaLM report, appendix B)."""

import re

import torch

from pretrain.config import ModelConfig

# Dense bfloat16 peak of a GPU, floating-point operations a second, by a part of its name (vendor's data sheets).
_PEAKS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "H200": 989.4e12,
    "H200 NVL": 835e12,
    "H800": 989.4e12,
    "GH200": 989.4e12,
    "H20": 148e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
}


def training_flops_per_token(config: ModelConfig, sequence_length: int) -> float:
    """Floating-point operations of one token, forward and backward: 6 for each weight of a matrix product that works on
    it, and causal attention over half the sequence. Multi-token prediction counts; recomputation does not, nor do
    norms and the embedding's look-up.
    """
    head = config.vocab_size * config.hidden_size
    attention = _attention_weights(config)
    dense = 3 * config.hidden_size * config.intermediate_size
    experts = config.num_experts_per_tok + config.n_shared_experts
    moe = 3 * config.hidden_size * (config.moe_intermediate_size or 0) * experts
    moe += config.hidden_size * config.n_routed_experts  # the router

    layers, n_dense, depths = config.num_hidden_layers, config.n_dense_layers, config.num_nextn_predict_layers
    weights = head + layers * attention + n_dense * dense + (layers - n_dense) * moe
    ahead = head + attention + (moe if config.n_routed_experts else dense) + 2 * config.hidden_size**2
    weights += depths * ahead

    if config.attention == "mla":
        width = (config.qk_nope_head_dim or 0) + (config.qk_rope_head_dim or 0) + (config.v_head_dim or 0)
    else:
        width = 2 * (config.head_dim or 0)
    scores = config.num_attention_heads * width * sequence_length / 2
    return 6.0 * (weights + (layers + depths) * scores)


def peak_flops(device: torch.device) -> float | None:
    """The dense bfloat16 peak of a GPU we know, operations a second; None for others and for a CPU."""
    if device.type != "cuda":
        return None
    # "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3": whole words, so that an H200 is no H20.
    words = set(re.split(r"[ -]", torch.cuda.get_device_name(device)))
    fitting = [part for part in _PEAKS if words.issuperset(part.split())]
    return _PEAKS[max(fitting, key=len)] if fitting else None


def _attention_weights(config: ModelConfig) -> int:
    """Weights of one layer's attention."""
    d, heads = config.hidden_size, config.num_attention_heads
    if config.attention == "gqa":
        assert config.head_dim and config.num_key_value_heads
        return 2 * d * config.head_dim * (heads + config.num_key_value_heads)
    assert config.kv_lora_rank and config.qk_nope_head_dim and config.qk_rope_head_dim and config.v_head_dim
    width = heads * (config.qk_nope_head_dim + config.qk_rope_head_dim)
    queries = d * width if config.q_lora_rank is None else config.q_lora_rank * (d + width)
    latent = d * (config.kv_lora_rank + config.qk_rope_head_dim)
    expand = config.kv_lora_rank * heads * (config.qk_nope_head_dim + config.v_head_dim)
    return queries + latent + expand + heads * config.v_head_dim * d
