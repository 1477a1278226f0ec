"""What a run measured: one JSON line at a time while it runs, one Parquet table when it is done.

Two kinds of row share the table. Training rows (`source` is null) are one for each step. Held-out rows are
one for each source at each evaluation, and fill `source`, `heldout_loss` and `heldout_tokens` only.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.errors import TrainingError

SCHEMA = pa.schema(
    [
        ("step", pa.int64()),  # optimizer steps done
        ("tokens", pa.int64()),  # tokens read so far
        ("loss", pa.float64()),  # cross-entropy of the next token, nats
        ("mtp_loss", pa.float64()),  # mean over depths, nats, without its weight
        ("balance_loss", pa.float64()),  # mean over layers, without its weight
        ("lr", pa.float64()),
        ("bias_update_speed", pa.float64()),
        ("mtp_loss_weight", pa.float64()),
        ("grad_norm", pa.float64()),  # before clipping
        ("batch_sequences", pa.int64()),  # packed sequences of this step
        ("context_length", pa.int64()),  # tokens of each piece the model saw
        ("spike", pa.string()),  # what became of a spike: "skipped", or "rolled back" in the first step after
        ("source_loss", pa.map_(pa.string(), pa.float64())),  # `loss` by the source of the predicted token
        ("tokens_per_second", pa.float64()),
        ("model_tflops", pa.float64()),  # 10^12 floating-point operations a second, by the model's shape
        ("mfu", pa.float64()),  # those over the GPU's bfloat16 peak; null elsewhere
        ("memory_gib", pa.float64()),  # the most a GPU held in this step; null elsewhere
        ("max_violation", pa.list_(pa.float64())),  # of each expert layer, MTP's last
        ("expert_load", pa.list_(pa.list_(pa.int64()))),  # tokens of this step, layer by expert
        ("source", pa.string()),
        ("heldout_loss", pa.float64()),
        ("heldout_tokens", pa.int64()),
    ]
)


class Metrics:
    """The rows of one run in `out/metrics.jsonl`; those after `step` are of a run cut short, and go.

    With `tensorboard` each number is an event in `out/tensorboard/` as well.
    """

    def __init__(self, out: Path, step: int | None, tensorboard: bool = False) -> None:
        self._lines, self._table = out / "metrics.jsonl", out / "metrics.parquet"
        self.rows = [] if step is None else [row for row in self._read() if row["step"] <= step]
        out.mkdir(parents=True, exist_ok=True)
        self._rewrite()
        self._events = _event_writer(out / "tensorboard", self.rows) if tensorboard else None

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; it is in the file when this returns."""
        self.rows.append(row)
        self._file.write(_line(row))
        self._file.flush()
        if self._events:
            _add_events(self._events, row)

    def cut(self, step: int) -> None:
        """Forget what was measured after a step: the run went back to it."""
        self._file.close()
        self.rows = [row for row in self.rows if row["step"] <= step]
        self._rewrite()

    def finish(self) -> Path:
        """Write the Parquet table and return its path."""
        self.close()
        fresh = self._table.with_suffix(".partial")
        rows = [row | {"source_loss": list((row.get("source_loss") or {}).items())} for row in self.rows]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), fresh, compression="zstd")
        os.replace(fresh, self._table)
        return self._table

    def close(self) -> None:
        self._file.close()
        if self._events:
            self._events.close()

    def _rewrite(self) -> None:
        fresh = self._lines.with_suffix(".partial")
        fresh.write_text("".join(_line(row) for row in self.rows))
        os.replace(fresh, self._lines)
        self._file = self._lines.open("a")

    def _read(self) -> list[dict[str, Any]]:
        rows = []
        if self._lines.exists():
            for line in self._lines.read_text().splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break  # a line cut short by a kill is the last one
        return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"


def _event_writer(folder: Path, rows: list[dict[str, Any]]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError("tensorboard = true needs the package: pip install tensorboard") from None
    # Steps that a killed run wrote and this one repeats disappear from the plots.
    return SummaryWriter(str(folder), purge_step=rows[-1]["step"] + 1 if rows else 0)


def _add_events(events: Any, row: dict[str, Any]) -> None:
    step, source = row["step"], row.get("source")
    for name, value in row.items():
        if name in ("step", "source") or value is None:
            continue
        if name == "source_loss":
            for each, loss in value.items():
                events.add_scalar(f"loss/{each}", loss, step)
        elif name == "max_violation":
            for layer, violation in enumerate(value):
                events.add_scalar(f"max_violation/layer_{layer}", violation, step)
        elif isinstance(value, int | float):
            events.add_scalar(f"{name}/{source}" if source else name, value, step)
