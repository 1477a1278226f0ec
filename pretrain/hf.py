"""Models in and out of Hugging Face folders, a tensor at a time: neither way needs memory for the whole model."""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.blockwise import dequantise, quantise, scale_shape
from pretrain.checkpoint import State, model_config, new_checkpoint, read_state
from pretrain.config import ModelConfig
from pretrain.errors import TrainingError
from pretrain.hf_names import (
    our_config,
    released_config,
    released_names,
    repeated_names,
    special_tokens_of,
    tokenizer_config,
)
from pretrain.model import Transformer
from pretrain.tensors import Entry, Reader, Show, write_file, write_folder

# What V3's release keeps in BF16: look-ups, heads, norms, the router and MTP's projection.
_NOT_FP8 = ("embed_tokens", "lm_head", "shared_head", "norm", ".gate.", "eh_proj")
_SCALE = "_scale_inv"
_WRITTEN = re.compile(
    r"(generation_)?config\.json|tokenizer(_config)?\.json|model[-\w]*\.safetensors(\.index\.json)?"
)


def export_hf(
    checkpoint: str | Path,
    out: str | Path,
    tokenizer_json: str | None = None,
    *,
    dtype: str = "float32",
    average: bool = False,
    show: Show | None = None,
) -> Path:
    """Write a checkpoint as a folder that `transformers`, vLLM and SGLang open, weights in `dtype`: float32, bfloat16,
    or fp8 in V3's blocks of 128 x 128. `average` takes the running mean of the weights.

    `tokenizer_json` is a file of the `tokenizers` library to go with it. Raises TrainingError where `out` holds
    anything but an exported model, which is replaced.
    """
    if dtype not in ("float32", "bfloat16", "fp8"):
        raise TrainingError(f"there is no export in {dtype!r}; choose float32, bfloat16 or fp8")
    checkpoint, out = Path(checkpoint), Path(out).resolve()
    state = read_state(checkpoint)
    config = model_config(checkpoint, state)
    special_tokens = state.shards.get("special_tokens") or {}
    if out.exists() and not (out.is_dir() and all(_WRITTEN.fullmatch(file.name) for file in out.iterdir())):
        raise TrainingError(f"{out} holds something other than an exported model; give another folder")
    added = (
        _read_json(Path(tokenizer_json), "a tokenizer.json").get("added_tokens") if tokenizer_json else None
    )
    about = released_config(config, special_tokens, dtype)
    entries = _released_entries(checkpoint, config, dtype, average)
    partial_out = out.with_name(f".partial-{out.name}")
    try:
        shutil.rmtree(partial_out, ignore_errors=True)
        partial_out.mkdir(parents=True)
        _write_json(partial_out / "config.json", about)
        ids = {f"{name}_token_id": special_tokens.get(name) for name in ("bos", "eos", "pad")}
        _write_json(partial_out / "generation_config.json", {k: v for k, v in ids.items() if v is not None})
        write_folder(partial_out, entries, show)
        if tokenizer_json:
            shutil.copyfile(tokenizer_json, partial_out / "tokenizer.json")
            settings = tokenizer_config(special_tokens, added or [], config)
            _write_json(partial_out / "tokenizer_config.json", settings)
        shutil.rmtree(out, ignore_errors=True)
        partial_out.rename(out)
    except OSError as error:
        raise TrainingError(f"cannot write the exported model {out}: {error}") from error
    finally:
        shutil.rmtree(partial_out, ignore_errors=True)
    return out


def import_hf(path: str | Path, out: str | Path, show: Show | None = None) -> Path:
    """Make a Hugging Face folder the checkpoint `out/checkpoints/step-00000000`, weights as they are (FP8 ones in
    bfloat16); its path. Raises TrainingError for models of another make, and where `out` holds a run."""
    path, out = Path(path), Path(out)
    if any((out / "checkpoints").glob("step-*")):
        raise TrainingError(f"{out} holds a run already; give another folder")
    config, special_tokens, found = _open(path)
    entries = []
    for name, shape, names in _ours(config):
        stored = {_plain(found.dtype(hf)) for hf in names}
        dtype = stored.pop() if len(stored) == 1 else torch.float32
        entries.append(Entry(name, dtype, shape, partial(_values, found, names)))
    state = State(0, 0, {"model": config.model_dump(mode="json")}, {"special_tokens": special_tokens}, "", {})
    with new_checkpoint(out / "checkpoints", state, keep=1) as folder:
        write_file(folder / "model.safetensors", entries, show)
    return out / "checkpoints" / "step-00000000"


def load_hf(
    path: str | Path, compute_dtype: torch.dtype = torch.float32
) -> tuple[Transformer, dict[str, Any]]:
    """The model in a Hugging Face folder, on the CPU, and its special tokens by name (bos, eos, pad). Raises
    TrainingError for models of another make."""
    config, special_tokens, found = _open(Path(path))
    model = Transformer(config, compute_dtype)
    ours = model.state_dict()
    for name, _, names in _ours(config):
        rows = ours[name].view(len(names), -1) if len(names) > 1 else ours[name].view(1, -1)
        for row, value in zip(rows, _values(found, names), strict=True):
            row.copy_(value.flatten())
    return model.eval(), special_tokens


def hf_config(path: Path) -> ModelConfig:
    """The shape of the model in a Hugging Face folder."""
    return our_config(f"{path}/config.json", _read_json(path / "config.json", "a Hugging Face folder"))


def _ours(config: ModelConfig) -> list[tuple[str, tuple[int, ...], list[str]]]:
    """Each of our tensors: its name, its shape, and the released ones it is made of."""
    try:
        with torch.device("meta"):
            state = Transformer(config).state_dict()
    except (RuntimeError, TypeError):
        raise TrainingError("the model's settings ask for larger tensors than there can be") from None
    return [(name, tuple(value.shape), released_names(name, config)) for name, value in state.items()]


def _released_entries(checkpoint: Path, config: ModelConfig, dtype: str, average: bool) -> list[Entry]:
    """What an exported folder holds, read from the checkpoint when it is written."""
    weights = Reader(checkpoint / "model.safetensors")
    if average and not (checkpoint / "average.safetensors").exists():
        raise TrainingError(
            f"{checkpoint} holds no average of the weights; ema_decay keeps one while training"
        )
    mean = Reader(checkpoint / "average.safetensors") if average else None
    entries = []
    for name, shape, names in _ours(config):
        if name not in weights or weights.shape(name) != shape:
            raise TrainingError(
                f"{checkpoint}/model.safetensors has no {name} of shape {shape}; use another one"
            )
        source = mean if mean and name in mean else weights
        for i, hf in enumerate(names):
            expert, rows, part = _place(shape, i, len(names))
            read = partial(source.read, name, expert, rows)
            for each in [hf, *repeated_names(name, config)]:
                entries += _entries(each, part, read, dtype)
    return entries


def _place(shape: tuple[int, ...], i: int, n_parts: int) -> tuple[int | None, slice | None, tuple[int, ...]]:
    """Where the i-th of equal parts lies in a stack [E, N, K] of experts: expert and rows; and the part's shape."""
    if n_parts == 1:
        return None, None, shape
    per_expert = n_parts // shape[0]
    rows = shape[1] // per_expert
    first = i % per_expert * rows
    return i // per_expert, slice(first, first + rows), (rows, *shape[2:])


def _entries(hf: str, shape: tuple[int, ...], read: Callable[[], Tensor], dtype: str) -> list[Entry]:
    if dtype == "fp8" and not any(part in hf for part in _NOT_FP8):
        n, k = shape
        scales: list[Tensor] = []  # made with the codes, written after them

        def codes() -> list[Tensor]:
            codes_NK, scale = quantise(read())
            scales.append(scale)
            return [codes_NK]

        return [
            Entry(hf, torch.float8_e4m3fn, shape, codes),
            Entry(hf + _SCALE, torch.float32, scale_shape(n, k), lambda: [scales.pop()]),
        ]
    # The bias decides between near ties, so it keeps its precision.
    whole = dtype == "float32" or hf.endswith("e_score_correction_bias")
    return [Entry(hf, torch.float32 if whole else torch.bfloat16, shape, lambda: [read()])]


def _open(path: Path) -> tuple[ModelConfig, dict[str, Any], Reader]:
    """Settings, special tokens and weights of a Hugging Face folder, each weight there with the right shape."""
    about = _read_json(path / "config.json", "a Hugging Face folder")
    config = our_config(f"{path}/config.json", about)
    found = Reader(path)
    depths = range(config.num_hidden_layers, config.num_hidden_layers + config.num_nextn_predict_layers)
    mtp = tuple(f"model.layers.{layer}." for layer in depths[: len(found) + 1])
    if mtp and not any(hf.startswith(mtp) for hf in found):
        # `transformers` drops these modules when it saves a model and leaves their number in its settings.
        config = config.model_copy(update={"num_nextn_predict_layers": 0})
    # Settings are counted before they are built: a short file may ask for a billion layers.
    fewest = config.num_hidden_layers + config.num_nextn_predict_layers
    if fewest + 3 * config.n_moe_layers * config.n_routed_experts > len(found):
        raise TrainingError(f"{path} lacks most weights of its config.json: it holds {len(found)}")
    if about.get("tie_word_embeddings"):
        found.add_alias("lm_head.weight", "model.embed_tokens.weight")
    known = set()
    for name, shape, names in _ours(config):
        known.update(names, repeated_names(name, config))
        for i, hf in enumerate(names):
            if hf not in found:
                raise TrainingError(f"{path} lacks the weight {hf}")
            wanted = _place(shape, i, len(names))[2]
            if found.shape(hf) != wanted:
                raise TrainingError(f"{path}: {hf} is {found.shape(hf)}, the model needs {wanted}")
            if not found.dtype(hf).is_floating_point:
                raise TrainingError(f"{path}: {hf} is of type {found.dtype(hf)}, which is no weight's")
            if found.dtype(hf) == torch.float8_e4m3fn:
                _check_scale(path, found, hf)
                known.add(hf + _SCALE)
    harmless = ("rotary_emb.inv_freq", _SCALE)
    if strange := [hf for hf in found if hf not in known and not hf.endswith(harmless)]:
        raise TrainingError(
            f"{path} holds {len(strange)} weights that its config.json does not account for, {strange[0]} among them"
        )
    return config, special_tokens_of(about), found


def _check_scale(path: Path, found: Reader, hf: str) -> None:
    scale, shape = hf + _SCALE, found.shape(hf)
    if len(shape) != 2 or scale not in found or found.shape(scale) != scale_shape(*shape):
        raise TrainingError(f"{path} lacks the scales of {hf}, or they have another shape")
    value = found.read(scale)
    if not value.is_floating_point() or not (value.isfinite() & (value >= 0)).all():
        raise TrainingError(f"{path}: {scale} holds a number that is no scale: NaN, infinite or negative")


def _values(found: Reader, names: list[str]) -> Iterable[Tensor]:
    """Released weights one after the other, in a type that a model computes with."""
    for hf in names:
        value = found.read(hf)
        yield dequantise(value, found.read(hf + _SCALE)) if value.dtype == torch.float8_e4m3fn else value


def _plain(dtype: torch.dtype) -> torch.dtype:
    return torch.bfloat16 if dtype == torch.float8_e4m3fn else dtype


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path, wanted: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"there is no {path}; give {wanted}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise TrainingError(f"{path} is not a JSON object")
    return value
