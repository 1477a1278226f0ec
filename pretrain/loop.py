"""The training loop: batches in, checkpoints and metrics out; the same weights however often it was cut."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pretrain.checkpoint import (
    State,
    check_same_run,
    checkpoint_name,
    newest_checkpoint,
    read_state,
    restore,
    save_checkpoint,
)
from pretrain.config import TrainingConfig
from pretrain.errors import TrainingError
from pretrain.evaluate import SourceLoss, check_fit, heldout_loss
from pretrain.load import find_device
from pretrain.loader import Batch, Loader, Order
from pretrain.loss import linear_cross_entropy
from pretrain.metrics import Metrics
from pretrain.model import Transformer, count_parameters
from pretrain.moe import max_violation, move_bias
from pretrain.optim import build_optimizer
from pretrain.schedule import Progress
from pretrain.shards import Shards

ProgressCallback = Callable[[int, int, dict[str, Any]], None]


def train(
    config: TrainingConfig,
    shards: str,
    heldout: str | None,
    out: str,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train a model on packed shards, or go on with the run that `out` holds.

    Writes `out/checkpoints/step-*/`, `out/metrics.jsonl` while it runs and `out/metrics.parquet` at the
    end, and returns a summary, its path relative to `out`. `progress` is called after each step with the
    steps done, all steps and the step's metrics. Raises TrainingError where shards, settings or an
    earlier run in `out` do not fit together.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    data = _fitting(config, shards)
    held = _fitting(config, heldout) if heldout else None
    if held and held.tokenizer_fingerprint != data.tokenizer_fingerprint:
        raise TrainingError(
            f"{heldout} and {shards} were packed with different tokenizers; pack both with one"
        )
    run = _Run(config, data, held, Path(out), progress)
    try:
        return run.to_the_end()
    finally:
        run.metrics.close()
        run.loader.close()


def _fitting(config: TrainingConfig, path: str) -> Shards:
    shards = Shards(path)
    check_fit(shards, config.model.vocab_size, config.model.max_position_embeddings)
    if shards.sequence_length != config.sequence_length:
        raise TrainingError(
            f"{path} holds sequences of {shards.sequence_length} tokens "
            f"but the run is set to {config.sequence_length}; "
            f"set sequence_length = {shards.sequence_length} or pack again"
        )
    return shards


class _Run:
    """A run under way: what `train` needs from one step to the next."""

    def __init__(
        self,
        config: TrainingConfig,
        data: Shards,
        held: Shards | None,
        out: Path,
        progress: ProgressCallback | None,
    ) -> None:
        self.config, self.data, self.held, self.progress = config, data, held, progress
        self.checkpoints = out / "checkpoints"
        self.device = find_device(config.device)
        dtype = {"auto": "bfloat16" if self.device.type == "cuda" else "float32"}.get(
            config.dtype, config.dtype
        )
        self.model = Transformer(config.model, getattr(torch, dtype))
        resumed = newest_checkpoint(self.checkpoints)
        if resumed:
            state = read_state(resumed)
            check_same_run(resumed, state, config, data.fingerprint())
        else:
            self.model.init_weights(config.seed)
        self.model.to(self.device)
        self.optimizer = build_optimizer(self.model, config)
        self.loader = Loader(data, config.batch_sequences, config.seed)
        self.step = 0
        if resumed:
            self.loader.restore(state.loader)
            restore(resumed, self.model, self.optimizer)
            self.step = state.step
        self.metrics = Metrics(out, self.step if resumed else None)

    @property
    def tokens(self) -> int:
        return self.step * self.config.tokens_per_step

    def to_the_end(self) -> dict[str, Any]:
        began, first = time.perf_counter(), self.step
        if not self.metrics.rows:
            self._evaluate()
        while self.step < self.config.steps:
            row = self._train_step()
            self.metrics.add(row)
            last = self.step == self.config.steps
            if last or self.step % self.config.eval_every == 0:
                self._evaluate()
            if last or self.step % self.config.checkpoint_every == 0:
                self._save()
            if self.progress:
                self.progress(self.step, self.config.steps, row)
        self.metrics.finish()
        seconds = time.perf_counter() - began
        return self._summary() | {"steps_now": self.step - first, "seconds": seconds}

    def _train_step(self) -> dict[str, Any]:
        """One optimizer step on the next batch, and its row of metrics."""
        config, began = self.config, time.perf_counter()
        now = Progress(self.step, self.tokens, self.step / config.steps)
        warmup = min(1.0, (self.step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        lr, mtp_weight = config.learning_rate(now) * warmup, config.mtp_loss_weight(now)
        speed = config.bias_update_speed(now)

        sums, load_LE = self._accumulate_gradients(next(self.loader), mtp_weight)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        losses = dict(
            zip(("loss", "mtp_loss", "balance_loss", "grad_norm"), [*sums.tolist(), float(norm)], strict=True)
        )
        if not all(math.isfinite(value) for value in losses.values()):
            raise TrainingError(
                f"the loss is no longer a number at step {self.step + 1} ({losses}); "
                "lower learning_rate or clip_norm"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for layer, load_E in zip(self.model.moe_layers(), load_LE, strict=True):
            move_bias(layer.router, load_E, speed)
        self.step += 1
        return {
            "step": self.step,
            "tokens": self.tokens,
            **losses,
            "mtp_loss": losses["mtp_loss"] if self.model.mtp else None,
            "lr": lr,
            "bias_update_speed": speed,
            "mtp_loss_weight": mtp_weight,
            "max_violation": max_violation(load_LE).tolist(),
            "expert_load": load_LE.tolist(),
            "tokens_per_second": config.tokens_per_step / (time.perf_counter() - began),
        }

    def _accumulate_gradients(self, batch: Batch, mtp_weight: float) -> tuple[Tensor, Tensor]:
        """Gradients of the batch's mean loss, a micro-batch at a time.

        Returns (cross-entropy, MTP cross-entropy, balance loss) of the batch, each without its weight, and
        the tokens each expert got, int64 [L, E].
        """
        config, model = self.config, self.model
        depths = range(1, len(model.mtp) + 2)
        targets = [batch.targets(ahead, config.document_mask) for ahead in depths]
        # Means are taken over the whole batch, whatever share of padding a micro-batch happens to get.
        counts = [max(1, int((t >= 0).sum())) for t in targets]
        micro = config.micro_batch_sequences or config.batch_sequences
        n_micro = config.batch_sequences // micro
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        load_LE = torch.zeros(config.model.n_moe_layers, config.model.n_routed_experts, dtype=torch.int64)
        load_LE = load_LE.to(self.device)
        for first in range(0, config.batch_sequences, micro):
            part = slice(first, first + micro)
            tokens_BS = batch.tokens_BS[part].to(self.device)
            document_BS = batch.document_BS[part].to(self.device) if config.document_mask else None
            hidden, routings = model(tokens_BS, document_BS)
            ahead, more = model.predict_ahead(hidden, tokens_BS, document_BS)
            routings += more
            losses = [
                linear_cross_entropy(
                    h_BSD.flatten(0, 1),
                    model.head.weight,
                    t[part, : h_BSD.shape[1]].flatten().to(self.device),
                )
                / count
                for h_BSD, t, count in zip([hidden, *ahead], targets, counts, strict=True)
            ]
            main = losses[0]
            mtp = sum(losses[1:], torch.zeros_like(main)) / max(1, len(ahead))
            balance = sum((r.balance for r in routings), torch.zeros_like(main)) / n_micro
            (main + mtp_weight * mtp + config.balance_loss_weight * balance).backward()
            mean_balance = balance / max(1, len(routings))
            sums += torch.stack((main, mtp, mean_balance)).detach()
            if routings:
                load_LE += torch.stack([r.load_E for r in routings])
        return sums, load_LE

    def _evaluate(self) -> None:
        """Held-out rows of the metrics for the weights as they are."""
        if not self.held:
            return
        count = min(len(self.held), self.config.eval_sequences or len(self.held))
        rows = np.sort(Order(self.held.group_rows, self.config.seed).rows(np.arange(count))).tolist()
        size = self.config.micro_batch_sequences or self.config.batch_sequences
        found = heldout_loss(self.model, self.held, rows, size, self.config.document_mask)
        for source, result in found.items():
            place = {"step": self.step, "tokens": self.tokens, "source": source}
            self.metrics.add(place | {"heldout_loss": result["loss"], "heldout_tokens": result["tokens"]})

    def _save(self) -> None:
        state = State(
            self.step,
            self.tokens,
            self.config.identity(),
            self.data.about,
            self.data.fingerprint(),
            self.loader.state(),
        )
        save_checkpoint(self.checkpoints, state, self.model, self.optimizer, self.config.keep_checkpoints)

    def _summary(self) -> dict[str, Any]:
        total, active = count_parameters(self.model)
        losses = [row["loss"] for row in self.metrics.rows if row.get("source") is None]
        recent = losses[-10:]
        held = [row for row in self.metrics.rows if row.get("source") is not None]
        return {
            "steps": self.step,
            "tokens": self.tokens,
            "parameters": total,
            "active_parameters": active,
            "first_loss": losses[0],
            "last_loss": sum(recent) / len(recent),  # one batch alone would be noise
            "heldout": {"first": _by_source(held, 0), "last": _by_source(held, self.step)},
            "checkpoint": f"checkpoints/{checkpoint_name(self.step)}",
        }


def _by_source(rows: list[dict[str, Any]], step: int) -> dict[str, SourceLoss]:
    return {
        row["source"]: {"loss": row["heldout_loss"], "tokens": row["heldout_tokens"]}
        for row in rows
        if row["step"] == step
    }
