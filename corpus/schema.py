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
