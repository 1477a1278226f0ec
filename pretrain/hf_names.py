"""Our names of weights and settings, and those of the releases: DeepSeekMoE, V2, V3 (and Moonlight), and Llama for
plain models.

MTP modules follow the main layers as `model.layers.{L + k}`, embedding and head repeated in each, as in V3's release.
"""

from typing import Any

from pydantic import ValidationError

from pretrain.config import ModelConfig, Yarn
from pretrain.errors import TrainingError

_TOP = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_BLOCK = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.wq.weight": "self_attn.q_proj.weight",
    "attention.wk.weight": "self_attn.k_proj.weight",
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wq_a.weight": "self_attn.q_a_proj.weight",
    "attention.q_norm.weight": "self_attn.q_a_layernorm.weight",
    "attention.wq_b.weight": "self_attn.q_b_proj.weight",
    "attention.wkv_a.weight": "self_attn.kv_a_proj_with_mqa.weight",
    "attention.kv_norm.weight": "self_attn.kv_a_layernorm.weight",
    "attention.wkv_b.weight": "self_attn.kv_b_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "mlp.w1.weight": "mlp.gate_proj.weight",
    "mlp.w2.weight": "mlp.down_proj.weight",
    "mlp.w3.weight": "mlp.up_proj.weight",
    "mlp.router.weight": "mlp.gate.weight",
    "mlp.router.bias": "mlp.gate.e_score_correction_bias",
    "mlp.shared.w1.weight": "mlp.shared_experts.gate_proj.weight",
    "mlp.shared.w2.weight": "mlp.shared_experts.down_proj.weight",
    "mlp.shared.w3.weight": "mlp.shared_experts.up_proj.weight",
}
_EXPERTS = {"mlp.experts.w13_EGD": ("gate_proj", "up_proj"), "mlp.experts.w2_EDF": ("down_proj",)}
_MTP = {
    "enorm.weight": "enorm.weight",
    "hnorm.weight": "hnorm.weight",
    "eh_proj.weight": "eh_proj.weight",
    "norm.weight": "shared_head.norm.weight",
}
_REPEATED = {"embed.weight": "embed_tokens.weight", "head.weight": "shared_head.head.weight"}

_SHARED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings", "num_attention_heads",
    "intermediate_size", "rms_norm_eps", "initializer_range",
)  # fmt: skip
_MLA = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_MOE = (
    "first_k_dense_replace", "moe_intermediate_size", "n_routed_experts", "n_shared_experts", "num_experts_per_tok",
    "scoring_func", "norm_topk_prob",
)  # fmt: skip
_GROUPS = ("n_group", "topk_group", "routed_scaling_factor")
_YARN = tuple(Yarn.model_fields)

# A layout: the settings it has beside those shared by all.
LAYOUTS = {
    "deepseek_v3": (*_MLA, *_MOE, *_GROUPS, "num_nextn_predict_layers"),
    "deepseek_v2": (*_MLA, *_MOE, *_GROUPS, "num_nextn_predict_layers"),
    "deepseek": ("num_key_value_heads", *_MOE),
    "llama": ("num_key_value_heads", "head_dim"),
}
_CLASSES = {
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek": "DeepseekForCausalLM",
    "llama": "LlamaForCausalLM",
}


def released_names(name: str, config: ModelConfig) -> list[str]:
    """The released tensors that one of ours is made of, in the order of its memory: itself, or the experts (and their
    gate and up halves) that it stacks."""
    if name in _TOP:
        return [_TOP[name]]
    kind, index, rest = name.split(".", 2)
    layer = int(index) + (config.num_hidden_layers if kind == "mtp" else 0)
    if kind == "mtp" and rest in _MTP:
        return [f"model.layers.{layer}.{_MTP[rest]}"]
    rest = rest.removeprefix("block.")
    if rest in _EXPERTS:
        return [
            f"model.layers.{layer}.mlp.experts.{e}.{part}.weight"
            for e in range(config.n_routed_experts)
            for part in _EXPERTS[rest]
        ]
    return [f"model.layers.{layer}.{_BLOCK[rest]}"]


def repeated_names(name: str, config: ModelConfig) -> list[str]:
    """Where V3's release repeats embedding and head: in each MTP module."""
    layers = range(config.num_hidden_layers, config.num_hidden_layers + config.num_nextn_predict_layers)
    return [f"model.layers.{i}.{_REPEATED[name]}" for i in layers] if name in _REPEATED else []


def layout_of(config: ModelConfig) -> str:
    """The released layout that a model fits. Raises TrainingError where there is none."""
    softmax, experts = config.scoring_func == "softmax", config.n_routed_experts > 0
    if config.num_nextn_predict_layers and not experts:
        raise TrainingError("no release has multi-token prediction and no experts; train without one of them")
    if config.attention == "mla":
        if softmax and experts and config.norm_topk_prob:
            raise TrainingError(
                "V2's release does not normalise the gates of a softmax router, and `transformers` never does: "
                "a model with norm_topk_prob and scoring_func = 'softmax' has no layout to be written in"
            )
        return "deepseek_v2" if softmax and experts else "deepseek_v3"
    if config.num_nextn_predict_layers:
        raise TrainingError(
            "no release has grouped-query attention and multi-token prediction; train without one"
        )
    if not experts:
        return "llama"
    square = config.head_dim and config.head_dim * config.num_attention_heads == config.hidden_size
    if softmax and square and config.n_group == 1 and config.routed_scaling_factor == 1 and not config.yarn:
        return "deepseek"
    raise TrainingError(
        "with grouped-query attention only DeepSeekMoE's experts have a release to follow: scoring_func = 'softmax', "
        "n_group = 1, routed_scaling_factor = 1, head_dim = hidden_size / num_attention_heads, no yarn"
    )


def released_config(config: ModelConfig, special_tokens: dict[str, Any], dtype: str) -> dict[str, Any]:
    """`config.json` of a model; `dtype` is that of its weights, `fp8` for V3's blockwise format."""
    layout = layout_of(config)
    about: dict[str, Any] = {"architectures": [_CLASSES[layout]], "model_type": layout}
    experts = config.n_routed_experts > 0
    named = [name for name in LAYOUTS[layout] if experts or name not in (*_MOE, *_GROUPS)]
    about |= {name: getattr(config, name) for name in (*_SHARED, *named)}
    if layout in ("deepseek_v2", "deepseek_v3"):
        about["num_key_value_heads"] = config.num_attention_heads
        if not experts:
            about["first_k_dense_replace"] = config.num_hidden_layers
    if layout == "deepseek_v2":
        about["topk_method"] = "group_limited_greedy" if config.n_group > 1 else "greedy"
    elif layout == "deepseek_v3":
        about["topk_method"] = "noaux_tc"
    if layout != "llama":
        about["moe_layer_freq"] = 1
    yarn = config.yarn.model_dump() if config.yarn else None
    about |= {
        "rope_theta": config.rope_theta,
        "rope_scaling": {"type": "yarn", **yarn} if yarn else None,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "use_cache": True,
        "torch_dtype": "bfloat16" if dtype == "fp8" else dtype,
        **{f"{name}_token_id": special_tokens.get(name) for name in ("bos", "eos", "pad")},
    }
    if dtype == "fp8":
        about["quantization_config"] = {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        }
    return about


def our_config(where: str, about: dict[str, Any]) -> ModelConfig:
    """The model that a `config.json` describes. Raises TrainingError naming what we have no part for."""
    layout = about.get("model_type")
    rope = about.get("rope_parameters") or about.get("rope_scaling") or {}
    if layout not in LAYOUTS:
        raise TrainingError(f"{where} is of model type {layout!r}; we read {', '.join(LAYOUTS)}")
    if not isinstance(rope, dict):
        raise TrainingError(f"{where}: rope_scaling is no table")
    kind = rope.get("rope_type", rope.get("type", "default"))
    quantised = about.get("quantization_config") or {}
    blocks = isinstance(quantised, dict) and (
        quantised.get("quant_method") == "fp8" and quantised.get("weight_block_size") == [128, 128]
    )
    unsupported = {
        f"RoPE of type {kind!r}": kind not in ("default", "yarn"),
        "a YaRN attention_factor": rope.get("attention_factor") is not None,
        "YaRN without truncation": rope.get("truncate", True) is not True,
        "RoPE on a part of its dimensions": (rope.get("partial_rotary_factor") or 1) != 1,
        "RoPE on halves in V3's layout": about.get("rope_interleave", True) is not True,
        "normalised gates in V2's layout": layout == "deepseek_v2" and about.get("norm_topk_prob"),
        "weights quantised otherwise than in 128 x 128 blocks of FP8": quantised and not blocks,
        "biases in attention": about.get("attention_bias"),
        "biases in feed-forward layers": about.get("mlp_bias"),
        "expert layers between dense ones": about.get("moe_layer_freq", 1) != 1,
        f"the activation {about.get('hidden_act')!r}": about.get("hidden_act", "silu") != "silu",
    }
    if found := [what for what, there in unsupported.items() if there]:
        raise TrainingError(f"{where} asks for {', '.join(found)}, which our model has no part for")

    shape: dict[str, Any] = {name: about[name] for name in (*_SHARED, *LAYOUTS[layout]) if name in about}
    shape["rope_theta"] = rope.get("rope_theta", about.get("rope_theta", 10000.0))
    if kind == "yarn":
        # What is not said is 32 and 1 for the betas, and no mscale at all.
        given = {name: rope[name] for name in _YARN if rope.get(name) is not None}
        shape["yarn"] = {"mscale": 0.0, "mscale_all_dim": 0.0} | given
    if layout in ("deepseek", "llama"):
        shape["attention"] = "gqa"
        shape.setdefault("num_key_value_heads", about.get("num_attention_heads"))
        try:
            shape["head_dim"] = shape.get("head_dim") or about["hidden_size"] // about["num_attention_heads"]
        except (KeyError, TypeError, ZeroDivisionError):
            raise TrainingError(
                f"{where}: hidden_size and num_attention_heads do not tell head_dim"
            ) from None
    if layout != "llama":
        shape.setdefault("scoring_func", "sigmoid" if layout == "deepseek_v3" else "softmax")
        shape.setdefault("norm_topk_prob", layout == "deepseek_v3")
    if layout == "deepseek_v2" and about.get("topk_method") == "greedy":
        shape |= {"n_group": 1, "topk_group": 1}
    shape = {name: value for name, value in shape.items() if value is not None}
    n_layers = shape.get("num_hidden_layers")
    if layout != "llama" and n_layers is not None and shape.get("first_k_dense_replace") == n_layers:
        shape = {name: value for name, value in shape.items() if name not in (*_MOE, *_GROUPS)}
    try:
        return ModelConfig.model_validate(shape)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"])) or "its numbers"
        message = fault["msg"].removeprefix("Value error, ")
        raise TrainingError(f"{where} does not describe a model Lode can build: {key}: {message}") from None


def special_tokens_of(about: dict[str, Any]) -> dict[str, int | None]:
    """Ids of bos, eos and pad in a `config.json`: of several the first, None for what is no id."""
    ids = {}
    for name in ("bos", "eos", "pad"):
        value = about.get(f"{name}_token_id")
        value = value[0] if isinstance(value, list) and value else value
        ids[name] = value if type(value) is int else None
    return ids


def tokenizer_config(special_tokens: dict[str, Any], added: list[Any], config: ModelConfig) -> dict[str, Any]:
    """`tokenizer_config.json` for a `tokenizer.json` with these `added_tokens`."""
    contents = {token.get("id"): token.get("content") for token in added if isinstance(token, dict)}
    named = {f"{kind}_token": contents.get(special_tokens.get(kind)) for kind in ("bos", "eos", "pad")}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        **{name: content for name, content in named.items() if content is not None},
    }
