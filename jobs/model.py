"""Stages after the corpus: run (training), evaluation, run/hf. The only module of jobs that loads torch."""

import os
import pathlib
from typing import Any

import pyarrow as pa

from corpus import storage
from corpus.errors import LodeError
from jobs.engine import Account, Stage, Work
from jobs.worker import Counts
from pretrain.config import TrainingConfig

EVALUATION = pa.schema(
    [
        ("source", pa.string()),
        ("loss", pa.float64()),  # nats a predicted token
        ("tokens", pa.int64()),
        (
            "bits_per_byte",
            pa.float64(),
        ),  # of the tokens that stand for text; null where the tokenizer hides its bytes
        ("bytes", pa.int64()),
    ]
)
ROOMS = ("pretrain", "jobs/model.py")


def train(work: Work, shards: Stage, heldout: Stage | None, config: TrainingConfig) -> Stage:
    """Train on shards under `run/`; a run that was killed goes on from its newest checkpoint."""

    def build(folder: str) -> Account:
        from pretrain.loop import train as run

        work.spark.stop()  # training wants the memory and all cores

        def show(done: int, total: int, metrics: dict[str, Any]) -> None:
            work.progress.update(done, total, metrics["tokens"], "tokens", loss_of(metrics))

        # A set that is too small to fill a sequence can not be measured.
        measured = heldout.folder if heldout and heldout.manifest["rows_written"] else None
        result = run(config, shards.folder, measured, folder, show)
        sequences = result["tokens"] // config.sequence_length
        counts = Counts(sequences, sequences, tokens=result["tokens"])
        result = {k: v for k, v in result.items() if k not in ("seconds", "steps_now")}
        headline = f"{config.steps:,} steps, {counts.tokens:,} tokens{headline_of(result)}"
        return Account(counts, "sequences", {"training": result, "headline": headline})

    inputs = {"shards": shards.fingerprint} | ({"heldout": heldout.fingerprint} if heldout else {})
    return work.stage("run", ROOMS, config.model_dump(mode="json"), inputs, build, resumes=True)


def loss_of(metrics: dict[str, Any]) -> str:
    """What a line of progress says of a step."""
    loss = "loss is no number" if metrics["loss"] is None else f"loss {metrics['loss']:.3f}"
    return f"{loss}, {metrics['spike']}" if metrics["spike"] else loss


def headline_of(result: dict[str, Any]) -> str:
    first, last = result.get("first_loss"), result.get("last_loss")
    return f", loss {first:.2f} → {last:.2f}" if first is not None and last is not None else ""


def evaluation(work: Work, run: Stage, heldout: Stage, tokenizer: Stage) -> Stage:
    """The finished model's loss on held-out documents, by source."""

    def build(folder: str) -> Account:
        from pretrain.errors import TrainingError
        from pretrain.evaluate import evaluate

        losses: dict[str, Any] = {}
        if heldout.manifest["rows_written"]:
            path = storage.join(tokenizer.folder, "tokenizer.json")
            try:
                losses = dict(evaluate(run.folder, heldout.folder, tokenizer=path))
            except TrainingError:
                # Also where the tokenizer hides its bytes: the loss can be told all the same.
                losses = dict(evaluate(run.folder, heldout.folder))
        rows = [{"source": source, **values} for source, values in losses.items()]
        batch = pa.RecordBatch.from_pylist(rows, EVALUATION)
        storage.write_parquet(storage.join(folder, "part-00000.parquet"), iter([batch]), EVALUATION)
        headline = ", ".join(f"{row['source']} {row['loss']:.3f}" for row in rows) or "nothing was held out"
        return Account(
            Counts(len(rows), len(rows), len(rows)), "sources", {"headline": f"held-out loss: {headline}"}
        )

    inputs = {"run": run.fingerprint, "heldout": heldout.fingerprint, "tokenizer": tokenizer.fingerprint}
    return work.stage("evaluation", ROOMS, {}, inputs, build)


def export(work: Work, run: Stage, tokenizer: Stage) -> Stage:
    """The model for Hugging Face under `run/hf/`."""

    def build(folder: str) -> Account:
        from pretrain.hf import export_hf

        if not storage.is_local(folder):
            raise LodeError(f"{folder}: a model can only be exported to a local folder.")
        scratch = pathlib.Path(folder) / "export"
        export_hf(newest(run), scratch, storage.join(tokenizer.folder, "tokenizer.json"))
        for file in sorted(scratch.iterdir()):
            os.replace(file, pathlib.Path(folder) / file.name)
        scratch.rmdir()
        return Account(
            Counts(1, 1, 1), "models", {"headline": "DeepseekV3ForCausalLM, ready for transformers"}
        )

    return work.stage(
        "run/hf", ROOMS, {}, {"run": run.fingerprint, "tokenizer": tokenizer.fingerprint}, build
    )


def newest(run: Stage) -> pathlib.Path:
    from pretrain.checkpoint import newest_checkpoint

    found = newest_checkpoint(pathlib.Path(run.folder) / "checkpoints")
    if found is None:
        raise LodeError(f"{run.folder}: no checkpoint there.")
    return found
