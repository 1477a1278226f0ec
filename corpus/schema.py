"""The tables that pass between the rooms, and the one function shape that makes them.

A stage of the corpus is a `Transform`: record batches in, record batches out. Every row that goes in comes
out, with two more columns: `reason` (null for a row that stays) and `detail`. The engine files the rows that
stay under the stage and the others under its `dropped/`, so nothing can vanish.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import pyarrow as pa
import xxhash

DOCUMENT = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("repository", pa.string()),
        ("path", pa.string()),
    ]
)
FILE_SPANS = pa.list_(
    pa.struct([("path", pa.string()), ("language", pa.string()), ("start", pa.int64()), ("end", pa.int64())])
)
REPOSITORY = DOCUMENT.append(pa.field("files", FILE_SPANS))
VERDICT = [pa.field("reason", pa.string()), pa.field("detail", pa.string())]
DROPPED = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "url", "source", "repository", "path", "language")),
        ("size", pa.int64()),  # bytes, of a file
        *VERDICT,
    ]
)


class Transform(Protocol):
    """A picklable function over record batches, the same in a test, a notebook or on an executor."""

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """Columns of the rows that stay, given the columns that come in."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Every row that came in, in the same order, with `reason` and `detail` added."""


def with_verdict(schema: pa.Schema) -> pa.Schema:
    """`schema` and the two columns that say whether a row stays."""
    return pa.schema([*schema, *VERDICT])


def document_id(source: str, key: str) -> str:
    """32 hex digits naming a document for ever: its source and its key (URL, repository/path or repository)."""
    return xxhash.xxh3_128_hexdigest(f"{source}\n{key}".encode("utf-8", "surrogatepass"))


def to_batches(
    rows: Iterable[dict[str, Any]], schema: pa.Schema, max_rows: int = 256, max_chars: int = 8 << 20
) -> Iterator[pa.RecordBatch]:
    """Rows as batches bounded in number and in characters of `text`, so that no batch outgrows memory."""
    held: list[dict[str, Any]] = []
    chars = 0
    for row in rows:
        held.append(row)
        chars += len(row.get("text") or "")
        if len(held) >= max_rows or chars >= max_chars:
            yield pa.RecordBatch.from_pylist(held, schema)
            held, chars = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, schema)


def judged(batch: pa.RecordBatch, verdicts: list[tuple[str, str] | None]) -> pa.RecordBatch:
    """`batch` with one verdict a row: None keeps it, (reason, detail) drops it."""
    reasons = pa.array([v and v[0] for v in verdicts], pa.string())
    details = pa.array([v and v[1] for v in verdicts], pa.string())
    return pa.RecordBatch.from_arrays([*batch.columns, reasons, details], schema=with_verdict(batch.schema))


# Of a training run, `run/metrics.parquet`, and a line each in `metrics.jsonl` while it goes on.
METRICS = pa.schema(
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
