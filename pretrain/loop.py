"""The training loop: batches in, checkpoints and metrics out; the same weights however often it was cut."""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pretrain.balance import max_violation, move_bias
from pretrain.checkpoint import (
    State,
    check_same_run,
    checkpoint_name,
    newest_checkpoint,
    read_state,
    read_tensors,
    restore,
    save_checkpoint,
)
from pretrain.config import TrainingConfig
from pretrain.errors import TrainingError
from pretrain.evaluate import SourceLoss, check_fit, heldout_loss
from pretrain.flops import peak_flops, training_flops_per_token
from pretrain.load import fill_from, find_device
from pretrain.loader import Loader, Order
from pretrain.metrics import Metrics
from pretrain.model import Transformer, count_parameters
from pretrain.optim import Average, Optimizer
from pretrain.process import Stopped, asked_to_stop, deterministic, memory_named
from pretrain.schedule import Progress
from pretrain.shards import Shards
from pretrain.spikes import Spikes
from pretrain.step import Step, gradients

ProgressCallback = Callable[[int, int, dict[str, Any]], None]

MOST_ROLLED_BACK = 3  # times from one checkpoint on
MOST_SKIPPED = 20  # steps in a row


def train(
    config: TrainingConfig,
    shards: str,
    heldout: str | None,
    out: str,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train a model on packed shards, or go on with the run that `out` holds.

    Writes `out/settings.json`, `out/checkpoints/step-*/`, `out/metrics.jsonl` while it runs and `out/metrics.parquet`
    at the end, and returns a summary, its path relative to `out`. `progress` is called after each step with the steps
    done, all steps and the step's metrics. At SIGTERM or Ctrl-C the step in hand is finished and saved, and Stopped
    raised. Raises TrainingError where shards, settings or an earlier run in `out` do not fit together.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    data = _fitting(config, shards)
    held = _fitting(config, heldout) if heldout else None
    if held and held.tokenizer_fingerprint != data.tokenizer_fingerprint:
        raise TrainingError(
            f"{heldout} and {shards} were packed with different tokenizers; pack both with one"
        )
    with deterministic(config.deterministic), memory_named(), asked_to_stop() as asked:
        run = _Run(config, data, held, Path(out), progress)
        try:
            return run.to_the_end(asked)
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
        self.model.recompute = config.recompute
        self.step = self.tokens = 0
        self.rolled_back = 0  # times since the checkpoint that a spike leads back to
        self.skipped = 0  # steps in a row
        self.fresh: list[str] = []  # weights that the model begun with lacks
        resumed = newest_checkpoint(self.checkpoints)
        state = read_state(resumed) if resumed else None
        if resumed and state:
            check_same_run(resumed, state, config, data.fingerprint())
        elif any(self.checkpoints.glob("step-*")):
            raise TrainingError(
                f"none of the checkpoints in {self.checkpoints} is whole; remove them to begin anew"
            )
        else:
            self.model.init_weights(config.seed)
            if config.start_from:
                self.fresh = fill_from(self.model, config.start_from, data)
        self.model.to(self.device)
        self.optimizer = Optimizer(self.model, config)
        self.average = Average(self.model, config.ema_decay) if config.ema_decay is not None else None
        self.spikes = Spikes(config.spike_factor)
        self.loader = Loader(data, round(config.batch_sequences(self._now())), config.seed)
        if resumed and state:
            self.loader.restore(state.loader)
            self._go_to(resumed, state)
            self.rolled_back = state.rolled_back
        self.metrics = Metrics(out, self.step if resumed else None, config.tensorboard)
        _write_settings(out / "settings.json", config)

    def _now(self) -> Progress:
        return Progress(self.step, self.tokens, self.step / self.config.steps)

    def to_the_end(self, asked: Callable[[], int | None]) -> dict[str, Any]:
        config, began, first = self.config, time.perf_counter(), self.step
        if not self.metrics.rows:
            self._evaluate()
        while self.step < config.steps:
            row = self._train_step()
            self.metrics.add(row)
            last, stop = self.step == config.steps, asked()
            if last or self.step % config.eval_every == 0:
                self._evaluate()
            if last or stop or self.step % config.checkpoint_every == 0:
                self._save()
            if self.progress:
                self.progress(self.step, config.steps, row)
            if stop and not last:
                raise Stopped(self.step, config.steps, stop)
        self.metrics.finish()
        seconds = time.perf_counter() - began
        return self._summary() | {"steps_now": self.step - first, "seconds": seconds}

    def _train_step(self) -> dict[str, Any]:
        """One optimizer step on the next batch, and its row of metrics."""
        config, spike = self.config, None
        while True:
            began, now = time.perf_counter(), self._now()
            batch_sequences = round(config.batch_sequences(now))
            if self.loader.batch_sequences != batch_sequences:
                self.loader.batch_sequences = batch_sequences
            length = self._context_length(now)
            batch = next(self.loader).split(length)
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            mtp_weight = config.mtp_loss_weight(now)
            found = gradients(self.model, batch, config, mtp_weight, self.data.sources)
            norm = self._clip(config.clip_norm)
            if not self.spikes.is_spike(found.loss, norm):
                break
            if config.after_spike == "roll_back" and self._roll_back():
                spike = "rolled back"
                continue
            spike = "skipped"
            break
        learning_rate = config.learning_rate(now) * self._warm(config.warmup_steps)
        speed = config.bias_update_speed(now)
        if spike == "skipped":
            self.optimizer.drop_gradients()
            self._count_skipped()
        else:
            self.skipped = 0
            self._check_finite(found, norm)
            self.optimizer.step(learning_rate)
            for layer, load_E in zip(self.model.moe_layers(), found.load_LE, strict=True):
                move_bias(layer.router, load_E, speed)
            if self.average:
                self.average.update()
            self.spikes.add(found.loss, norm)
        self.step += 1
        n_tokens = batch_sequences * config.sequence_length
        self.tokens += n_tokens
        seconds = time.perf_counter() - began
        return {
            "step": self.step,
            "tokens": self.tokens,
            "loss": _number(found.loss),
            "mtp_loss": _number(found.mtp_loss),
            "balance_loss": _number(found.balance_loss),
            "grad_norm": _number(norm),
            "lr": learning_rate,
            "bias_update_speed": speed,
            "mtp_loss_weight": mtp_weight,
            "max_violation": max_violation(found.load_LE).tolist(),
            "expert_load": found.load_LE.tolist(),
            "batch_sequences": batch_sequences,
            "context_length": length,
            "spike": spike,
            "source_loss": {name: _number(loss) for name, loss in found.source_losses.items()},
            **self._speed(n_tokens, length, seconds),
        }

    def _clip(self, most: float) -> float:
        """Scale the gradients down to a norm of `most`, if they exceed it; their norm before."""
        parameters = list(self.model.parameters())
        total = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        norm = float(total)
        if not norm <= most:  # also where it is no number
            torch.nn.utils.clip_grads_with_norm_(parameters, most, total)
        return norm

    def _warm(self, steps: int) -> float:
        return min(1.0, (self.step + 1) / steps) if steps else 1.0

    def _context_length(self, now: Progress) -> int:
        """The largest divisor of the packed sequences' length that is not above the schedule."""
        whole = self.config.sequence_length
        wanted = int(self.config.context_length(now)) if self.config.context_length else whole
        return next(length for length in range(min(wanted, whole), 0, -1) if whole % length == 0)

    def _check_finite(self, found: Step, norm: float) -> None:
        losses = {"loss": found.loss, "mtp_loss": found.mtp_loss or 0.0, "balance_loss": found.balance_loss}
        losses["grad_norm"] = norm
        if not all(math.isfinite(value) for value in losses.values()):
            raise TrainingError(
                f"the loss is no longer a number at step {self.step + 1} ({losses}); "
                "lower learning_rate or clip_norm, or set spike_factor to leave such steps out"
            )

    def _count_skipped(self) -> None:
        self.skipped += 1
        if self.skipped == MOST_SKIPPED:
            raise TrainingError(
                f"the last {MOST_SKIPPED} steps, up to {self.step + 1}, were all spikes, so nothing is learned; "
                "raise spike_factor, or lower learning_rate, and begin with the last good checkpoint by start_from"
            )

    def _speed(self, n_tokens: int, length: int, seconds: float) -> dict[str, float | None]:
        tflops = training_flops_per_token(self.config.model, length) * n_tokens / seconds / 1e12
        peak, on_gpu = peak_flops(self.device), self.device.type == "cuda"
        return {
            "tokens_per_second": n_tokens / seconds,
            "model_tflops": tflops,
            "mfu": tflops * 1e12 / peak if peak else None,
            "memory_gib": torch.cuda.max_memory_allocated(self.device) / 2**30 if on_gpu else None,
        }

    def _roll_back(self) -> bool:
        """Go back to the newest checkpoint, and on with the batches after the one that spiked. False where there is
        none, or going back has not helped. One that a signal asked for is passed over: a run that was never stopped
        does not have it, and is to end with the same bits."""
        newest = newest_checkpoint(self.checkpoints, self.config.checkpoint_every)
        if newest is None or self.rolled_back == MOST_ROLLED_BACK:
            return False
        self.optimizer.drop_gradients()
        self._go_to(newest, read_state(newest))
        self.metrics.cut(self.step)
        self.rolled_back += 1
        return True

    def _go_to(self, checkpoint: Path, state: State) -> None:
        """Weights, optimizer and the place in the schedules as they were; the place in the data is left alone."""
        restore(checkpoint, self.model)
        self.optimizer.load(read_tensors(checkpoint, "optimizer.safetensors"))
        if self.average:
            self.average.load(read_tensors(checkpoint, "average.safetensors"))
        self.spikes.restore(state.spikes)
        self.step, self.tokens = state.step, state.tokens

    def _evaluate(self) -> None:
        """Held-out rows of the metrics for the weights as they are."""
        if not self.held:
            return
        count = min(len(self.held), self.config.eval_sequences or len(self.held))
        rows = np.sort(Order(self.held.group_rows, self.config.seed).rows(np.arange(count))).tolist()
        size = self.config.micro_batch_sequences or round(self.config.batch_sequences(self._now()))
        found = heldout_loss(self.model, self.held, rows, size, self.config.document_mask)
        for source, result in found.items():
            place = {"step": self.step, "tokens": self.tokens, "source": source}
            self.metrics.add(place | {"heldout_loss": result["loss"], "heldout_tokens": result["tokens"]})

    def _save(self) -> None:
        config = self.config
        if self.step % config.checkpoint_every == 0:
            self.rolled_back = 0
        state = State(
            self.step,
            self.tokens,
            config.identity(),
            self.data.about,
            self.data.fingerprint(),
            self.loader.state(),
            self.spikes.state(),
            self.rolled_back,
        )
        files = {
            "model.safetensors": self.model.state_dict(),
            "optimizer.safetensors": self.optimizer.tensors(),
        }
        if self.average:
            files["average.safetensors"] = self.average.tensors()
        may_go_back = config.after_spike == "roll_back" and self.step < config.steps
        every = config.checkpoint_every if may_go_back else 1
        save_checkpoint(self.checkpoints, state, files, config.keep_checkpoints, every)

    def _summary(self) -> dict[str, Any]:
        total, active = count_parameters(self.model)
        losses = [row["loss"] for row in self.metrics.rows if row.get("loss") is not None]
        recent = losses[-10:]  # one batch alone would be noise
        held = [row for row in self.metrics.rows if row.get("source") is not None]
        return {
            "steps": self.step,
            "tokens": self.tokens,
            "parameters": total,
            "active_parameters": active,
            "first_loss": losses[0] if losses else None,
            "last_loss": sum(recent) / len(recent) if recent else None,
            "heldout": {"first": _by_source(held, 0), "last": _by_source(held, self.step)},
            "checkpoint": f"checkpoints/{checkpoint_name(self.step)}",
        } | ({"fresh": self.fresh} if self.fresh else {})


def _write_settings(path: Path, config: TrainingConfig) -> None:
    text = json.dumps(config.model_dump(mode="json"), indent=1) + "\n"
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _number(value: float | None) -> float | None:
    """JSON and Parquet know no infinity."""
    return value if value is not None and math.isfinite(value) else None


def _by_source(rows: list[dict[str, Any]], step: int) -> dict[str, SourceLoss]:
    return {
        row["source"]: {"loss": row["heldout_loss"], "tokens": row["heldout_tokens"]}
        for row in rows
        if row["step"] == step
    }
