"""Models in and out of Hugging Face folders, with the names of DeepSeek's releases.

A sigmoid router makes a `DeepseekV3ForCausalLM`, V2's softmax router a `DeepseekV2ForCausalLM`. MTP modules
follow the main layers as `model.layers.{L + k}`, embedding and head repeated in each, as in the V3 release.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pretrain.checkpoint import load_checkpoint
from pretrain.config import ModelConfig
from pretrain.errors import TrainingError
from pretrain.model import Transformer

_TOP = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_BLOCK = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.wq.weight": "self_attn.q_proj.weight",
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
_MTP = {
    "enorm.weight": "enorm.weight",
    "hnorm.weight": "hnorm.weight",
    "eh_proj.weight": "eh_proj.weight",
    "norm.weight": "shared_head.norm.weight",
}
_SHAPE = [name for name in ModelConfig.model_fields if name != "rope_theta"]
_FILE_BYTES = 4 << 30


def export_hf(
    checkpoint: str | Path, out: str | Path, tokenizer_json: str | None = None, *, dtype: str = "float32"
) -> Path:
    """Write a checkpoint as a folder that `transformers` opens, weights in `dtype` (float32 or bfloat16).

    `tokenizer_json` is a file of the `tokenizers` library to go with it. Raises TrainingError where `out`
    holds something that is not an exported model.
    """
    model, state = load_checkpoint(Path(checkpoint))
    special_tokens = state.shards.get("special_tokens") or {}
    out = Path(out)
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / "config.json").exists())):
        raise TrainingError(f"{out} is there already and is not an exported model; give another folder")
    partial = out.with_name(f".partial-{out.name}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_json(partial / "config.json", _hf_config(model.config, special_tokens, dtype))
        ids = {f"{name}_token_id": special_tokens.get(name) for name in ("bos", "eos", "pad")}
        _write_json(partial / "generation_config.json", {k: v for k, v in ids.items() if v is not None})
        _write_weights(partial, model, getattr(torch, dtype))
        if tokenizer_json:
            _write_tokenizer(partial, Path(tokenizer_json), special_tokens, model.config)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot write the exported model {out}: {error}") from error
    return out


def import_hf(
    path: str | Path, compute_dtype: torch.dtype = torch.float32
) -> tuple[Transformer, dict[str, Any]]:
    """The model in a Hugging Face folder, on the CPU, and its special tokens by name (bos, eos, pad).

    Raises TrainingError for models of another make: quantised weights, scaled RoPE, tied embeddings.
    """
    path = Path(path)
    about = _read_json(path / "config.json")
    model = Transformer(_model_config(path, about), compute_dtype)
    wanted = {hf: name for name, _ in model.state_dict().items() for hf in _hf_names(name, model.config)}
    target, filled = model.state_dict(), set()
    for hf, tensor in _read_weights(path):
        name = wanted.get(hf)
        if name is None:
            continue
        place = _part(target[name], hf)
        if place.shape != tensor.shape:
            raise TrainingError(
                f"{path}: {hf} is {tuple(tensor.shape)}, the model needs {tuple(place.shape)}"
            )
        place.copy_(tensor)
        filled.add(hf)
    if missing := sorted(wanted.keys() - filled):
        raise TrainingError(f"{path} lacks {len(missing)} weights, {missing[0]} among them")
    return model.eval(), {name: about.get(f"{name}_token_id") for name in ("bos", "eos", "pad")}


def hf_tensors(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Each weight under its released name, expert by expert."""
    for name, tensor in model.state_dict().items():
        for hf in _hf_names(name, model.config):
            yield hf, _part(tensor, hf)


def _hf_names(name: str, config: ModelConfig) -> list[str]:
    """The released names of one of our tensors: itself, or the experts (and halves) it stacks."""
    if name in _TOP:
        copies = {"embed.weight": "embed_tokens.weight", "head.weight": "shared_head.head.weight"}
        layers = range(config.num_hidden_layers, config.num_hidden_layers + config.num_nextn_predict_layers)
        return [_TOP[name], *(f"model.layers.{i}.{copies[name]}" for i in layers if name in copies)]
    kind, index, rest = name.split(".", 2)
    layer = int(index) + (config.num_hidden_layers if kind == "mtp" else 0)
    if kind == "mtp" and rest in _MTP:
        return [f"model.layers.{layer}.{_MTP[rest]}"]
    rest = rest.removeprefix("block.")
    parts = {"mlp.experts.w13_EGD": ("gate_proj", "up_proj"), "mlp.experts.w2_EDF": ("down_proj",)}
    if rest in parts:
        experts = range(config.n_routed_experts)
        return [
            f"model.layers.{layer}.mlp.experts.{e}.{part}.weight" for e in experts for part in parts[rest]
        ]
    return [f"model.layers.{layer}.{_BLOCK[rest]}"]


def _part(tensor: Tensor, hf: str) -> Tensor:
    """The view of our tensor that a released name stands for."""
    found = re.search(r"\.experts\.(\d+)\.(gate|up|down)_proj\.", hf)
    if not found:
        return tensor
    expert = tensor[int(found[1])]
    gate_up = {"gate": 0, "up": 1}
    return expert.chunk(2)[gate_up[found[2]]] if found[2] in gate_up else expert


def _hf_config(config: ModelConfig, special_tokens: dict[str, Any], dtype: str) -> dict[str, Any]:
    v3 = config.scoring_func == "sigmoid"
    grouped = "group_limited_greedy" if config.n_group > 1 else "greedy"
    return {
        "architectures": ["DeepseekV3ForCausalLM" if v3 else "DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v3" if v3 else "deepseek_v2",
        **{name: getattr(config, name) for name in _SHAPE},
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "topk_method": "noaux_tc" if v3 else grouped,
        "num_key_value_heads": config.num_attention_heads,
        "moe_layer_freq": 1,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "use_cache": True,
        "torch_dtype": dtype,
        **{f"{name}_token_id": special_tokens.get(name) for name in ("bos", "eos", "pad")},
    }


def _model_config(path: Path, about: dict[str, Any]) -> ModelConfig:
    rope = about.get("rope_parameters") or about.get("rope_scaling") or {}
    unsupported = {
        "quantised weights": about.get("quantization_config"),
        "scaled RoPE": rope.get("rope_type", rope.get("type", "default")) != "default",
        "tied embeddings": about.get("tie_word_embeddings"),
        "biases in attention": about.get("attention_bias"),
        f"model type {about.get('model_type')}": about.get("model_type")
        not in {"deepseek_v3", "deepseek_v2"},
    }
    if found := [what for what, there in unsupported.items() if there]:
        raise TrainingError(
            f"{path}/config.json asks for {', '.join(found)}, which this importer does not read"
        )
    default = {"scoring_func": "sigmoid" if about["model_type"] == "deepseek_v3" else "softmax"}
    shape = default | {name: about[name] for name in _SHAPE if name in about}
    theta = rope.get("rope_theta", about.get("rope_theta", 10000.0))
    try:
        return ModelConfig.model_validate(shape | {"rope_theta": theta})
    except ValidationError as error:
        raise TrainingError(f"{path}/config.json does not describe a model Lode can build: {error}") from None


def _write_weights(folder: Path, model: Transformer, dtype: torch.dtype) -> None:
    """`model.safetensors`, or numbered files of bounded size and their index."""
    files: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, tensor in hf_tensors(model):
        # The bias decides between near ties, so it keeps its precision; copies because parts share memory.
        tensor = tensor.to(torch.float32 if name.endswith("e_score_correction_bias") else dtype, copy=True)
        if files[-1] and held + tensor.nbytes > _FILE_BYTES:
            files.append({})
            held = 0
        files[-1][name] = tensor.contiguous()
        held += tensor.nbytes
    if len(files) == 1:
        save_file(files[0], folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = [f"model-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)]
    for name, tensors in zip(names, files, strict=True):
        save_file(tensors, folder / name, metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensors in files for tensor in tensors.values())
    where = {key: name for name, tensors in zip(names, files, strict=True) for key in tensors}
    _write_json(
        folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": where}
    )


def _read_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    index = folder / "model.safetensors.index.json"
    names = sorted(set(_read_json(index)["weight_map"].values())) if index.exists() else ["model.safetensors"]
    for name in names:
        try:
            with safe_open(folder / name, "pt") as file:
                for key in file.keys():  # noqa: SIM118 (not a mapping)
                    yield key, file.get_tensor(key)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{folder / name} cannot be read ({error}); export or download it again"
            ) from None


def _write_tokenizer(folder: Path, source: Path, special_tokens: dict[str, Any], config: ModelConfig) -> None:
    tokens = {token["id"]: token["content"] for token in _read_json(source).get("added_tokens", [])}
    shutil.copyfile(source, folder / "tokenizer.json")
    names = {f"{kind}_token": tokens.get(special_tokens.get(kind)) for kind in ("bos", "eos", "pad")}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.max_position_embeddings}
    about["clean_up_tokenization_spaces"] = False
    _write_json(folder / "tokenizer_config.json", about | {k: v for k, v in names.items() if v is not None})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise TrainingError(f"{path} is not a JSON object")
    return value
