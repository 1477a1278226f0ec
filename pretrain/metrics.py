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
        ("tokens_per_second", pa.float64()),
        ("max_violation", pa.list_(pa.float64())),  # of each expert layer, MTP's last
        ("expert_load", pa.list_(pa.list_(pa.int64()))),  # tokens of this step, layer by expert
        ("source", pa.string()),
        ("heldout_loss", pa.float64()),
        ("heldout_tokens", pa.int64()),
    ]
)


class Metrics:
    """The rows of one run in `out/metrics.jsonl`; those after `step` are of a run cut short, and go."""

    def __init__(self, out: Path, step: int | None) -> None:
        self._lines, self._table = out / "metrics.jsonl", out / "metrics.parquet"
        self.rows = [] if step is None else [row for row in self._read() if row["step"] <= step]
        out.mkdir(parents=True, exist_ok=True)
        fresh = self._lines.with_suffix(".partial")
        fresh.write_text("".join(_line(row) for row in self.rows))
        os.replace(fresh, self._lines)
        self._file = self._lines.open("a")

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; it is in the file when this returns."""
        self.rows.append(row)
        self._file.write(_line(row))
        self._file.flush()

    def finish(self) -> Path:
        """Write the Parquet table and return its path."""
        self._file.close()
        fresh = self._table.with_suffix(".partial")
        pq.write_table(pa.Table.from_pylist(self.rows, SCHEMA), fresh, compression="zstd")
        os.replace(fresh, self._table)
        return self._table

    def close(self) -> None:
        self._file.close()

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
