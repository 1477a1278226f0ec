"""Does the loop learn? `small` at a reduced width against a 5-gram model, and with fill-in-the-middle against without.

    lode run benchmarks/learning.toml --work plain
    lode run benchmarks/learning.toml --work fim --set fim.rate.repositories=0.5
    python -m benchmarks.learning plain fim [--steps 1200]

Three things are measured on held-out text. (1) Loss per source of the model, after two and a half passes over two
million tokens, and of a 5-gram model with modified Kneser-Ney smoothing (`ngram.py`) of the same two million; both
predict the same tokens, and neither sees across a sequence's begin. (2) Loss of left-to-right code after training with
FIM at half of it, against none, same seed and steps. (3) Words of held-out code cut out and filled in greedily: exact
matches with prefix and suffix in the order of training (PSM), and with the prefix alone.
"""

import argparse
import hashlib
import json
import re
import time
from typing import Any

import numpy as np

from benchmarks.ngram import NGram
from benchmarks.record import record
from corpus.tokens import TextTokenizer
from pretrain.config import TrainingConfig
from pretrain.evaluate import heldout_loss
from pretrain.generate import sample
from pretrain.load import load_model
from pretrain.loop import train
from pretrain.model import Transformer
from pretrain.presets import model_preset
from pretrain.schedule import Piecewise, Segment
from pretrain.shards import RowReader, Shards

CODE = "repositories"
BEFORE, AFTER = 160, 80  # tokens a hole has on its two sides, at most
NAME = re.compile(r" ?[A-Za-z_]\w{2,}")
LONGEST = 3  # tokens of a name

Hole = tuple[list[int], list[int], list[int]]  # tokens before it, of it, after it


def config_of(shards: Shards, steps: int, threads: int | None) -> TrainingConfig:
    """`small`'s make at a quarter of its width and depth, Muon, warm-up, stable, decay; no MTP, for a CPU's sake."""
    shape = model_preset(
        "small", vocab_size=shards.vocabulary_size, hidden_size=192, num_hidden_layers=3, num_attention_heads=4,
        kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=48, intermediate_size=512,
        moe_intermediate_size=128, n_routed_experts=16, num_experts_per_tok=2, num_nextn_predict_layers=0,
        initializer_range=0.02,
    )  # fmt: skip
    settings = {
        "model": shape,
        "sequence_length": shards.sequence_length,
        "batch_sequences": 8,
        "steps": steps,
        "learning_rate": Piecewise(
            start=4e-3, segments=(Segment(until=0.6, to=4e-3), Segment(until=1.0, to=2e-4, shape="linear"))
        ),
        "warmup_steps": 30,
        "optimizer": "muon",
        "bias_update_speed": Piecewise(
            start=0.01, segments=(Segment(until=0.6, to=0.01), Segment(until=1.0, to=0.001))
        ),
        "eval_every": 200,
        "eval_sequences": 64,
        "checkpoint_every": 200,
        "threads": threads,
    }
    return TrainingConfig.model_validate(settings)


def trained(work: str, config: TrainingConfig) -> tuple[Transformer, float]:
    """The model after its run, which goes on where it was stopped; and minutes."""
    out = f"{work}/learning"
    began = time.monotonic()

    def show(step: int, steps: int, row: dict[str, Any]) -> None:
        if step % 50 == 0:
            print(
                f"  {work}: step {step}/{steps}, loss {row['loss']:.3f}, {row['tokens_per_second']:,.0f} tokens/s",
                flush=True,
            )

    train(config, f"{work}/shards", f"{work}/heldout", out, show)
    return load_model(out, "cpu")[0], (time.monotonic() - began) / 60


def ngram_losses(model: NGram, held: Shards) -> dict[str, float]:
    """Mean loss of each source on the tokens that a model predicts: all but the first of a sequence."""
    tokens, _, sources = RowReader(held, 2).read(np.arange(len(held)))
    losses = -np.log(model.probabilities(tokens))[:, 1:]
    there = sources[:, 1:]
    return {
        name: float(losses[there == i].mean()) for i, name in enumerate(held.sources) if (there == i).any()
    }


def holes(held: Shards, tokenizer: TextTokenizer) -> list[Hole]:
    """Names in held-out code, one in each sequence that has room, drawn by a hash of the row."""
    tokens, documents, sources = RowReader(held, 2).read(np.arange(len(held)))
    code, special = held.sources.index(CODE), set(tokenizer.special.values())
    found = []
    for row in range(len(held)):
        places = np.flatnonzero(sources[row] == code)
        runs = np.split(places, np.flatnonzero(np.diff(documents[row][places])) + 1)
        text = [t for t in tokens[row][max(runs, key=len)].tolist() if t not in special]
        names = spans_of_names([tokenizer.decode([t]) for t in text])
        names = [(i, j) for i, j in names if i >= 60 and j <= len(text) - 40]
        if names:
            i, j = names[int(hashlib.sha256(f"{row}".encode()).hexdigest(), 16) % len(names)]
            found.append((text[max(0, i - BEFORE) : i], text[i:j], text[j : j + AFTER]))
    return found


def spans_of_names(pieces: list[str]) -> list[tuple[int, int]]:
    """From which token to which a name goes, where it begins and ends with a token's border."""
    found = []
    for i, piece in enumerate(pieces):
        if i and not piece.startswith(" ") and re.search(r"\w$", pieces[i - 1]):
            continue
        j = next((j for j in range(i + 1, len(pieces)) if not re.fullmatch(r"\w+", pieces[j])), len(pieces))
        closed = j < len(pieces) and not re.match(r"\w", pieces[j])
        if closed and j - i <= LONGEST and NAME.fullmatch("".join(pieces[i:j])):
            found.append((i, j))
    return found


def matches(model: Transformer, found: list[Hole], special: dict[str, int], psm: bool) -> int:
    """How many holes are filled with the very tokens that were cut out."""
    right = 0
    for prefix, middle, suffix in found:
        prompt = [special["bos"], *prefix]
        if psm:
            prompt = [
                special["bos"],
                special["fim_begin"],
                *prefix,
                special["fim_hole"],
                *suffix,
                special["fim_end"],
            ]
        right += sample(model, prompt, len(middle), 0.0, 1, 0, None).tokens == middle
    return right


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plain")
    parser.add_argument("fim")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    plain, held = Shards(f"{arguments.plain}/shards"), Shards(f"{arguments.plain}/heldout")
    config = config_of(plain, arguments.steps, arguments.threads)
    tokenizer = TextTokenizer.load(f"{arguments.plain}/tokenizer/tokenizer.json")
    found = holes(held, tokenizer)

    result: dict[str, Any] = {
        "tokens": len(plain) * plain.sequence_length,
        "steps": config.steps,
        "tokens read": config.steps * round(config.batch_sequences.start) * plain.sequence_length,
        "holes": len(found),
        "models": {},
    }
    tokens = RowReader(plain, 4).read(np.arange(len(plain)))[0]
    result["5-gram"] = ngram_losses(NGram(tokens, plain.vocabulary_size), held)
    print("5-gram", json.dumps(result["5-gram"]), flush=True)
    for name, work in (("fim 0", arguments.plain), ("fim 0.5", arguments.fim)):
        model, minutes = trained(work, config)
        losses = heldout_loss(model, held, list(range(len(held))), 16)
        result["models"][name] = {
            "loss": {source: value["loss"] for source, value in losses.items()},
            "psm": matches(model, found, tokenizer.special, psm=True),
            "prefix alone": matches(model, found, tokenizer.special, psm=False),
            "minutes": round(minutes, 1),
        }
        print(name, json.dumps(result["models"][name]), flush=True)
    result["parameters"] = sum(p.numel() for p in model.parameters())
    record("learning", result, ["torch", "tokenizers"])


if __name__ == "__main__":
    main()
