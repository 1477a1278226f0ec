"""Shapes and schedules by name: published models and small ones of the same make."""

from typing import Any

from pretrain.config import ModelConfig, TrainingConfig
from pretrain.errors import TrainingError
from pretrain.schedule import Piecewise, Segment

_V2_LITE = {
    "vocab_size": 102400, "hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "intermediate_size": 10944, "first_k_dense_replace": 1, "moe_intermediate_size": 1408,
    "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
    "scoring_func": "softmax", "norm_topk_prob": False,
}  # fmt: skip

_V3 = {
    "vocab_size": 129280, "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "intermediate_size": 18432, "first_k_dense_replace": 3, "moe_intermediate_size": 2048,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
    "routed_scaling_factor": 2.5, "num_nextn_predict_layers": 1,
}  # fmt: skip

MODELS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        vocab_size=512, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, q_lora_rank=32,
        kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, intermediate_size=128,
        first_k_dense_replace=1, moe_intermediate_size=48, n_routed_experts=8, n_shared_experts=1,
        num_experts_per_tok=2, routed_scaling_factor=2.5, num_nextn_predict_layers=1, initializer_range=0.02,
    ),
    "quickstart": ModelConfig(
        vocab_size=8192, hidden_size=160, num_hidden_layers=4, num_attention_heads=4, kv_lora_rank=64,
        qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, intermediate_size=448,
        first_k_dense_replace=1, moe_intermediate_size=112, n_routed_experts=16, n_shared_experts=1,
        num_experts_per_tok=2, routed_scaling_factor=2.5, num_nextn_predict_layers=1, initializer_range=0.02,
    ),
    "debug": ModelConfig(
        vocab_size=32768, hidden_size=512, num_hidden_layers=6, num_attention_heads=8, kv_lora_rank=128,
        qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64, intermediate_size=1408,
        first_k_dense_replace=1, moe_intermediate_size=256, n_routed_experts=16, n_shared_experts=1,
        num_experts_per_tok=4, routed_scaling_factor=2.5, num_nextn_predict_layers=1,
    ),
    "small": ModelConfig(
        vocab_size=32768, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, kv_lora_rank=256,
        qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64, intermediate_size=2048,
        first_k_dense_replace=1, moe_intermediate_size=384, n_routed_experts=32, n_shared_experts=1,
        num_experts_per_tok=4, routed_scaling_factor=2.5, num_nextn_predict_layers=1,
    ),
    # V2-Lite's and V3's layers in few enough copies, and with a small enough head, for one GPU.
    "proxy-lite": ModelConfig(**_V2_LITE | {"vocab_size": 32768, "num_hidden_layers": 6}),
    "proxy-v3": ModelConfig(
        **_V3 | {
            "vocab_size": 32768, "num_hidden_layers": 2, "first_k_dense_replace": 1, "n_routed_experts": 16,
            "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 0,
        }
    ),
    "2b-a0.4b": ModelConfig(
        vocab_size=102400, hidden_size=1024, num_hidden_layers=18, num_attention_heads=16, kv_lora_rank=512,
        qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, intermediate_size=5632,
        first_k_dense_replace=1, moe_intermediate_size=704, n_routed_experts=64, n_shared_experts=2,
        num_experts_per_tok=6, routed_scaling_factor=2.5, num_nextn_predict_layers=1,
    ),
    "deepseekmoe-2b": ModelConfig(
        vocab_size=8192, max_position_embeddings=2048, hidden_size=1280, num_hidden_layers=9, attention="gqa",
        num_attention_heads=10, num_key_value_heads=10, head_dim=128, intermediate_size=3412,
        moe_intermediate_size=853, n_routed_experts=63, n_shared_experts=1, num_experts_per_tok=7,
        scoring_func="softmax", norm_topk_prob=False,
    ),
    "deepseekmoe-16b": ModelConfig(
        vocab_size=102400, hidden_size=2048, num_hidden_layers=28, attention="gqa", num_attention_heads=16,
        num_key_value_heads=16, head_dim=128, intermediate_size=10944, first_k_dense_replace=1,
        moe_intermediate_size=1408, n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6,
        scoring_func="softmax", norm_topk_prob=False,
    ),
    "v2-lite": ModelConfig(**_V2_LITE),
    "v2": ModelConfig(
        **_V2_LITE | {
            "hidden_size": 5120, "num_hidden_layers": 60, "num_attention_heads": 128, "q_lora_rank": 1536,
            "intermediate_size": 12288, "moe_intermediate_size": 1536, "n_routed_experts": 160, "n_group": 8,
            "topk_group": 3, "routed_scaling_factor": 16.0,
        }
    ),
    "moonlight": ModelConfig(
        **_V2_LITE | {
            "vocab_size": 163840, "max_position_embeddings": 8192, "intermediate_size": 11264,
            "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.446,
            "rms_norm_eps": 1e-5, "rope_theta": 50000.0, "initializer_range": 0.02,
        }
    ),
    "v3": ModelConfig(**_V3),
}  # fmt: skip


def model_preset(name: str, **changes: Any) -> ModelConfig:
    """The named shape with some numbers changed. Raises TrainingError for a name nobody gave."""
    if name not in MODELS:
        raise TrainingError(f"there is no model preset '{name}'; choose one of {', '.join(MODELS)}")
    return ModelConfig.model_validate(MODELS[name].model_dump() | changes)


def multi_step(peak: float, at: tuple[float, float] = (0.8, 0.9), factor: float = 0.316) -> Piecewise:
    """Hold `peak`, multiply by `factor` twice, at these shares of the run (DeepSeekMoE, V2)."""
    first, second = at
    lower = peak * factor
    return Piecewise(
        start=peak,
        segments=(
            Segment(until=first, to=peak),
            Segment(until=second, to=lower),
            Segment(until=1.0, to=lower * factor),
        ),
    )


def v3(**changes: Any) -> TrainingConfig:
    """V3's pretraining, whole (report, section 4.2): 14.8T tokens; `changes` replace settings by name."""
    trillion = 1e12
    settings: dict[str, Any] = {
        "model": MODELS["v3"],
        "sequence_length": 4096,
        "batch_sequences": Piecewise(
            unit="token", start=3072, segments=(Segment(until=469e9, to=15360, shape="linear"),)
        ),
        "steps": 242_783,
        "warmup_steps": 2000,
        "learning_rate": Piecewise(
            unit="token",
            start=2.2e-4,
            segments=(
                Segment(until=10 * trillion, to=2.2e-4),
                Segment(until=14.3 * trillion, to=2.2e-5, shape="cosine"),
                Segment(until=14.633 * trillion, to=2.2e-5),
                Segment(until=14.8 * trillion, to=7.3e-6),
            ),
        ),
        "bias_update_speed": Piecewise(
            unit="token",
            start=0.001,
            segments=(Segment(until=14.3 * trillion, to=0.001), Segment(until=14.8 * trillion, to=0.0)),
        ),
        "mtp_loss_weight": Piecewise(
            unit="token",
            start=0.3,
            segments=(Segment(until=10 * trillion, to=0.3), Segment(until=14.8 * trillion, to=0.1)),
        ),
        "moments": "bfloat16",
        "recompute": "cheap",
        "ema_decay": 0.999,  # the report keeps an average and does not say how long it remembers
    }
    return TrainingConfig.model_validate(settings | changes)


def quickstart(**changes: Any) -> TrainingConfig:
    """A run of a few minutes on a laptop's CPU; `changes` replace settings by name."""
    settings: dict[str, Any] = {
        "model": MODELS["quickstart"],
        "sequence_length": 512,
        "batch_sequences": 4,
        "steps": 500,
        "learning_rate": multi_step(3e-3),
        "warmup_steps": 25,
        # V3's step of 0.001 would need more updates than the whole run has to spread the experts.
        "bias_update_speed": Piecewise(
            start=0.02, segments=(Segment(until=0.5, to=0.02), Segment(until=1.0, to=0.002))
        ),
        "eval_every": 100,
        "eval_sequences": 64,
        "checkpoint_every": 100,
    }
    return TrainingConfig.model_validate(settings | changes)
