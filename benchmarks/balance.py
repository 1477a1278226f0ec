"""How evenly experts are used from a skewed start: V3's bias controller, V1's loss, and neither.

    lode run benchmarks/learning.toml --work WORK
    python -m benchmarks.balance WORK [--steps 300] [--seeds 3] [--threads N]

WORK is a work folder of `lode run` with `shards` and `heldout`. All routers begin with two favourites: every embedding
gets a direction in common, and two experts of each layer like it. Runs of one seed see the same weights and the same
batches. MaxVio is over the loads of the last 100 steps together (MaxVio_global, arXiv 2408.15664, section 4.1), mean
over layers. Losses are of the next token alone, without what balancing adds.
"""

import argparse
import pathlib
import statistics
import tempfile
from typing import Any

import torch

from benchmarks.record import record
from pretrain.balance import max_violation
from pretrain.checkpoint import State, save_checkpoint
from pretrain.config import TrainingConfig
from pretrain.loop import train
from pretrain.model import Transformer
from pretrain.presets import model_preset
from pretrain.schedule import Piecewise, Segment
from pretrain.shards import Shards

LAST = 100
NONE = {"bias_update_speed": 0.0, "balance_loss_weight": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    # V3's speed of 0.001 goes with a tenth of this learning rate and a hundred thousand steps; a bias that moves slower
    # than AdamW moves the scores never catches up.
    "bias controller": {"bias_update_speed": 0.02},
    "auxiliary loss": NONE | {"expert_balance_weight": 0.01},
    "neither": NONE,
}


def config_of(shards: Shards, seed: int, steps: int, **changes: Any) -> TrainingConfig:
    """A small run on these shards."""
    shape = model_preset(
        "small", vocab_size=shards.vocabulary_size, hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
        kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=8, v_head_dim=32, intermediate_size=352,
        moe_intermediate_size=64, n_routed_experts=16, num_experts_per_tok=2, num_nextn_predict_layers=0,
        initializer_range=0.02,
    )  # fmt: skip
    settings = {
        "model": shape,
        "sequence_length": shards.sequence_length,
        "batch_sequences": 8,
        "steps": steps,
        "learning_rate": Piecewise(
            start=2e-3, segments=(Segment(until=0.5, to=2e-3), Segment(until=1.0, to=2e-4, shape="cosine"))
        ),
        "warmup_steps": 20,
        "eval_every": steps,
        "eval_sequences": 128,
        "checkpoint_every": steps,
        "seed": seed,
    }
    return TrainingConfig.model_validate(settings | changes)


def skewed(config: TrainingConfig, folder: pathlib.Path) -> pathlib.Path:
    """Fresh weights in which two experts of each layer are everybody's favourites."""
    model = Transformer(config.model)
    model.init_weights(config.seed)
    direction = torch.randn(config.model.hidden_size, generator=torch.Generator().manual_seed(config.seed))
    direction /= direction.norm()
    with torch.no_grad():
        model.embed.weight += config.model.initializer_range * config.model.hidden_size**0.5 * direction
        for layer in model.moe_layers():
            layer.router.weight[:2] += 0.3 * direction
    state = State(0, 0, {"model": config.model.model_dump(mode="json")}, {}, "", {})
    return save_checkpoint(folder, state, {"model.safetensors": model.state_dict()}, keep=1)


def measure(work: str, seed: int, steps: int, changes: dict[str, Any]) -> dict[str, float]:
    """One run: MaxVio of its first step and over its last, and its losses."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        shards = Shards(f"{work}/shards")
        start = skewed(config_of(shards, seed, steps), folder / "start")
        config = config_of(shards, seed, steps, start_from=str(start), **changes)
        rows: list[dict[str, Any]] = []
        summary = train(
            config, f"{work}/shards", f"{work}/heldout", str(folder / "run"), lambda *r: rows.append(r[2])
        )
    loads = torch.tensor([row["expert_load"] for row in rows])
    held = summary["heldout"]["last"].values()
    return {
        "first": float(max_violation(loads[0]).mean()),
        "max_violation": float(max_violation(loads[-LAST:].sum(0)).mean()),
        "a_batch": float(torch.stack([max_violation(load) for load in loads[-LAST:]]).mean()),
        "loss": statistics.mean(row["loss"] for row in rows[-LAST:]),
        "heldout_loss": sum(s["loss"] * s["tokens"] for s in held) / sum(s["tokens"] for s in held),
    }


def paired(found: dict[str, list[dict[str, Any]]], name: str) -> dict[str, list[float]]:
    """What each seed's loss has more than under the bias controller."""
    return {
        key: [other[key] - own[key] for other, own in zip(found[name], found["bias controller"], strict=True)]
        for key in ("loss", "heldout_loss")
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    print(f"{'':16} seed   first  last {LAST}  a batch    loss  held out")
    for seed in range(arguments.seeds):
        for name, changes in VARIANTS.items():
            one = measure(arguments.work, seed, arguments.steps, {"threads": arguments.threads} | changes)
            found[name].append(one)
            print(
                f"{name:16} {seed:4} {one['first']:7.2f} {one['max_violation']:9.3f} {one['a_batch']:8.3f} "
                f"{one['loss']:7.4f} {one['heldout_loss']:9.4f}",
                flush=True,
            )
    more = {name: paired(found, name) for name in VARIANTS if name != "bias controller"}
    for name, losses in more.items():
        print(f"{name}: loss less the controller's {[round(x, 4) for x in losses['loss']]}")
    record("balance", {"steps": arguments.steps, "runs": found, "less_the_controllers": more}, ["torch"])


if __name__ == "__main__":
    main()
