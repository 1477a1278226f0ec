"""How fast a model trains: on a CPU the step beside transformers', on a GPU a whole run.

    python -m benchmarks.training_speed [--presets tiny debug] [--threads 1 4] [--repeats 7]
    python -m benchmarks.training_speed --device cuda [--presets proxy-lite] [--steps 30] [--sequences 16] [--micro 2]

On a CPU a step is forward, backward, clipping and AdamW in float32 on the same tokens: Lode's as its loop runs it,
losses per source, balance loss and the router's bias with it; transformers' DeepseekV3ForCausalLM of the same weights,
its own loss, clip_grad_norm_ and torch's fused AdamW, with either of its ways for attention and for experts; the
combination that is fastest in the second turn goes on. Neither has multi-token prediction; `lode_mtp` is Lode's step
with it. A step has 2,048 tokens, as a few short sequences or one long one: how much attention weighs depends on that.
All live in one process and take turns. Ratios are of medians. Unless all find the same loss before the first update,
nothing is recorded.

On a GPU a row is a run of `lode train`, activations in bfloat16: shards are read, the optimizer steps and metrics are
written within the time that counts; held-out evaluation and saving a checkpoint do not count. Medians are those of all
steps but the first ten. MFU is against the dense bfloat16 peak, without recomputation. Tokens are made up and routing
is what a fresh model does with them.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.record import record
from corpus.packing import SEQUENCE
from corpus.storage import write_json, write_parquet
from pretrain.balance import move_bias
from pretrain.checkpoint import State, save_checkpoint
from pretrain.config import TrainingConfig
from pretrain.flops import training_flops_per_token
from pretrain.hf import export_hf
from pretrain.loader import Batch
from pretrain.loop import train
from pretrain.model import Transformer
from pretrain.optim import Optimizer
from pretrain.presets import model_preset
from pretrain.step import gradients

BAR = 1.5
WARM = 10  # steps of a run on a GPU that do not count
# On a CPU: steps of a turn, and the lengths of sequences.
TURNS = {"tiny": 3, "debug": 1}
LENGTHS = (512, 2048)
TOKENS = 2048
LEARNING_RATE = 1e-4

Step = Callable[[], float]


def tokens(n: int, length: int, vocabulary: int) -> np.ndarray:
    """Token ids [n, length] as skewed as text's."""
    return ((np.random.default_rng(0).zipf(1.2, (n, length)) - 1) % vocabulary).astype(np.int32)


def settings(preset: str, sequences: int, length: int, **changes: Any) -> TrainingConfig:
    depths = changes.pop("depths", 0)
    return TrainingConfig(
        model=model_preset(preset, num_nextn_predict_layers=depths),
        sequence_length=length,
        batch_sequences=sequences,
        learning_rate=LEARNING_RATE,
        **{"steps": 1} | changes,
    )


def lode(config: TrainingConfig, batch: Batch) -> tuple[Transformer, Step]:
    model = Transformer(config.model)
    model.init_weights(0)
    optimizer = Optimizer(model, config)

    def step() -> float:
        found = gradients(model, batch, config, 0.3, ["made up"])
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step(LEARNING_RATE)
        for layer, load_E in zip(model.moe_layers(), found.load_LE, strict=True):
            move_bias(layer.router, load_E, 0.001)
        return found.loss

    return model, step


def theirs(folder: Path, attention: str, experts: str, config: TrainingConfig, batch: Batch) -> Step:
    from transformers import DeepseekV3ForCausalLM

    model = DeepseekV3ForCausalLM.from_pretrained(
        folder, attn_implementation=attention, experts_implementation=experts, dtype=torch.float32
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=LEARNING_RATE,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )

    def step() -> float:
        loss = model(input_ids=batch.tokens_BS, labels=batch.tokens_BS, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def exported(model: Transformer, folder: Path) -> Path:
    state = State(0, 0, {"model": model.config.model_dump(mode="json")}, {"special_tokens": {}}, "", {})
    files = {"model.safetensors": model.state_dict()}
    return export_hf(save_checkpoint(folder / "checkpoints", state, files, keep=1), folder / "hf")


def beside_transformers(preset: str, length: int, threads: list[int], repeats: int) -> dict[str, Any]:
    sequences = TOKENS // length
    config = settings(preset, sequences, length)
    ids = torch.from_numpy(tokens(sequences, length, config.model.vocab_size)).long()
    batch = Batch(ids, torch.zeros_like(ids).int(), torch.zeros_like(ids).int())
    model, ours = lode(config, batch)
    steps = {"lode": ours}
    with tempfile.TemporaryDirectory() as folder:
        out = exported(model, Path(folder))
        for attention in ("sdpa", "eager"):
            for experts in ("grouped_mm", "eager"):
                name = f"transformers, attention {attention}, experts {experts}"
                steps[name] = theirs(out, attention, experts, config, batch)
    losses = {name: step() for name, step in steps.items()}
    if max(losses.values()) - min(losses.values()) > 1e-4 * max(losses.values()):
        raise SystemExit(f"the models are not the same: {losses}")
    steps["lode_mtp"] = lode(settings(preset, sequences, length, depths=1), batch)[1]

    about: dict[str, Any] = {"sequences": sequences, "first_loss": losses}
    for n in threads:
        torch.set_num_threads(n)
        one_turn(steps, TURNS[preset])  # for caches to warm
        first = one_turn(steps, TURNS[preset])
        best = min((name for name in steps if name.startswith("transformers")), key=first.__getitem__)
        kept = {name: step for name, step in steps.items() if name == best or name.startswith("lode")}
        turns = [one_turn(kept, TURNS[preset]) for _ in range(repeats)]
        median = {name: statistics.median(turn[name] for turn in turns) for name in kept}
        gflop = ids.numel() * training_flops_per_token(config.model, length) / 1e9
        about[f"{n} threads"] = found = {
            "second_turn_milliseconds": {name: round(1e3 * value, 1) for name, value in first.items()},
            "milliseconds": {name: round(1e3 * value, 1) for name, value in median.items()},
            "tokens_per_second": {name: round(ids.numel() / value) for name, value in median.items()},
            "gflops": {name: round(gflop / median[name], 1) for name in ("lode", best)},
            "ratio": round(median[best] / median["lode"], 2),
            "ratio_of_each_turn": [round(turn[best] / turn["lode"], 2) for turn in turns],
        }
        print(preset, length, f"{n} threads", found["milliseconds"], "ratio", found["ratio"], flush=True)
    return about


def one_turn(steps: dict[str, Step], n: int) -> dict[str, float]:
    """Seconds a step of each, one after the other."""
    seconds = {}
    for name, step in steps.items():
        began = time.perf_counter()
        for _ in range(n):
            step()
        seconds[name] = (time.perf_counter() - began) / n
    return seconds


def made_up_shards(folder: Path, sequences: int, length: int, vocabulary: int) -> str:
    """One document a sequence."""
    rows = tokens(sequences, length, vocabulary)
    table = [
        {"tokens": row, "documents": [{"id": str(i), "source": "made up", "start": 0, "length": length}]}
        for i, row in enumerate(rows)
    ]
    write_parquet(
        str(folder / "part-00000.parquet"), iter([pa.RecordBatch.from_pylist(table, SEQUENCE)]), SEQUENCE
    )
    about = {"sequence_length": length, "vocabulary_size": vocabulary, "special_tokens": {}}
    about["tokens_per_source"] = {"made up": rows.size}
    write_json(str(folder / "_lode.json"), {"stage": "pack", "shards": about})
    return str(folder)


def whole_run(
    preset: str, device: str, steps: int, sequences: int, micro: int, length: int
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    changes = {"steps": steps, "checkpoint_every": steps, "micro_batch_sequences": micro, "device": device}
    with tempfile.TemporaryDirectory() as folder:
        config = settings(preset, sequences, length, moments="bfloat16", **changes)
        shards = made_up_shards(Path(folder) / "shards", sequences * 4, length, config.model.vocab_size)
        train(config, shards, None, f"{folder}/run", lambda done, total, row: rows.append(row))
    counted = rows[min(WARM, steps - 1) :]
    names = ("tokens_per_second", "model_tflops", "mfu", "memory_gib", "loss")
    values = {name: [row[name] for row in counted] for name in names}
    median = {name: None if None in value else statistics.median(value) for name, value in values.items()}
    print(preset, median, flush=True)
    return {"sequences": sequences, "micro": micro, "length": length, "steps": steps} | median


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--presets", nargs="+")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--sequences", type=int, default=16, help="a step, on a GPU")
    parser.add_argument("--micro", type=int, default=2, help="sequences at a time, on a GPU")
    parser.add_argument("--length", type=int, default=4096, help="of a sequence, on a GPU")
    given = parser.parse_args()
    if given.device == "cuda":
        about = {"gpu": torch.cuda.get_device_name()}
        for preset in given.presets or ["proxy-lite"]:
            about[preset] = whole_run(preset, "cuda", given.steps, given.sequences, given.micro, given.length)
        record("training_speed_gpu", about, ["torch"])
        return
    about = {
        preset: {
            f"{length} positions": beside_transformers(preset, length, given.threads, given.repeats)
            for length in LENGTHS
        }
        for preset in given.presets or TURNS
    }
    ratios = {
        f"{preset}, {positions}, {n} threads": found[f"{n} threads"]["ratio"]
        for preset, lengths in about.items()
        for positions, found in lengths.items()
        for n in given.threads
    }
    result = {"bar": BAR, "ratios": ratios, "met": all(ratio >= BAR for ratio in ratios.values()), **about}
    record("training_speed", result, ["torch", "transformers"])


if __name__ == "__main__":
    main()
