"""What a run measured: one JSON line at a time while it runs, one Parquet table when it is done.

Two kinds of row share the table (`corpus.schema.METRICS`). Training rows (`source` is null) are one for each step.
Held-out rows are one for each source at each evaluation, and fill `source`, `heldout_loss` and `heldout_tokens` only.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.schema import METRICS
from pretrain.errors import TrainingError


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
        pq.write_table(pa.Table.from_pylist(self.rows, METRICS), fresh, compression="zstd")
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
        rows: list[dict[str, Any]] = []
        if self._lines.exists():
            for line in self._lines.read_bytes().splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    break  # a line cut short by a kill is the last one
                if not isinstance(row, dict) or "step" not in row:
                    break
                rows.append(row)
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
