"""From documents to packed sequences: windows, the mixture, and packing without cross-document waste.

A document longer than the context window is cut to windows before anything else is decided about it, so that
fill-in-the-middle never loses its middle. What is mixed, shuffled and packed are these pieces, called chunks.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from corpus.errors import LodeError
from corpus.schema import VERDICT
from corpus.tokens import TextTokenizer, load

# BOS, EOS, three sentinels, and room for the tokens that cutting a text in three can add.
OVERHEAD = 12

# Where fill-in-the-middle may cut, in characters of the chunk: the files in it without their path comments. Null
# means anywhere.
REGIONS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
CHUNK = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("chunk", pa.int32()),
        ("first", pa.bool_()),  # of its document, or of a sample of it: it begins and ends there
        ("last", pa.bool_()),
        ("composed", pa.bool_()),  # of files that belong together: rather not to be cut
        ("text", pa.string()),
        ("regions", REGIONS),
        ("tokens", pa.list_(pa.int32())),
    ]
)
SPANS = pa.list_(
    pa.struct([("id", pa.string()), ("source", pa.string()), ("start", pa.int32()), ("length", pa.int32())])
)
# `completed` counts the chunks that end in a sequence; it balances the account of the packing stage.
SEQUENCE = pa.schema([("tokens", pa.list_(pa.int32())), ("documents", SPANS), ("completed", pa.int32())])
# A chunk on its way through the shuffle. Those that are not used carry a reason and no tokens.
PLACED = pa.schema(
    [
        ("bucket", pa.int32()),
        ("key", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("whole", pa.int8()),  # CUT, RATHER_NOT or WHOLE
        ("tokens", pa.list_(pa.int32())),
        *VERDICT,
    ]
)


def windows(text: str, starts: list[int], limit: int, seams: list[int]) -> list[tuple[int, int]]:
    """Token ranges [first, end) of at most `limit` tokens that cover a text.

    A cut falls on a seam (a file's beginning) in the last half of the window where there is one, else after the
    last line break in its last quarter, else wherever the window is full; never inside a character.

    Args:
        starts: the character at which each token begins.
        seams: character offsets of good places to cut, sorted.
    """
    ranges: list[tuple[int, int]] = []
    first, count = 0, len(starts)
    while count - first > limit:
        full = first + limit
        while full > first + 1 and starts[full] == starts[full - 1]:
            full -= 1
        end = full
        seam = seams[bisect_right(seams, starts[full]) - 1] if seams and seams[0] <= starts[full] else -1
        if seam > starts[first + limit // 2]:
            while starts[end - 1] >= seam:
                end -= 1
        else:
            for place in range(full, max(first + limit * 3 // 4, first + 1), -1):
                if starts[place] > starts[place - 1] and text[starts[place] - 1] == "\n":
                    end = place
                    break
        ranges.append((first, end))
        first = end
    ranges.append((first, count))
    return ranges


@dataclass(frozen=True)
class Chunks:
    """Function: parts of documents to rows of `CHUNK`. Their source is `name`, or each row's `target` or `source`."""

    tokenizer: str
    mark: str  # of the tokenizer's content
    sequence_length: int
    read: Any  # paths -> batches of documents
    name: str | None

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        tokenizer = load(self.tokenizer, self.mark)
        schema = pa.schema([*CHUNK, *VERDICT])
        for batch in self.read(paths):
            for place in range(batch.num_rows):  # one by one: a repository is large as Python objects
                (row,) = batch.slice(place, 1).to_pylist()
                rows = list(self.cut(row, tokenizer))
                for start in range(0, len(rows), 512):
                    yield pa.RecordBatch.from_pylist(rows[start : start + 512], schema)

    def cut(self, row: dict[str, Any], tokenizer: TextTokenizer) -> Iterator[dict[str, Any]]:
        text = row["text"] or ""
        files = row.get("files") or []
        parts = [*files, *(row.get("stubs") or []), *(row.get("skeletons") or [])]
        seams = sorted(span["start"] for span in parts)
        number = 0
        for sample in row.get("samples") or [{"start": 0, "end": len(text)}]:
            base, size = sample["start"], sample["end"] - sample["start"]
            body = text[base : sample["end"]]
            ids, starts = tokenizer.encode_with_offsets(body)
            inside = [seam - base for seam in seams if 0 <= seam - base < size]
            ranges = windows(body, starts, self.sequence_length - OVERHEAD, inside)
            for first, end in ranges:
                left = starts[first] if first and first < len(starts) else len(body) if first else 0
                right = starts[end] if end < len(starts) else len(body)
                yield {
                    "id": row["id"],
                    "source": self.name or row.get("target") or row["source"],
                    "chunk": number,
                    "first": first == 0,
                    "last": end == len(ids),
                    "composed": row.get("sample") == "window" and len(ranges) == 1,
                    "text": body[left:right],
                    "regions": regions(text, files, base + left, base + right) if files else None,
                    "tokens": ids[first:end],
                    "reason": None if end > first else "empty",
                    "detail": None,
                }
                number += 1


def regions(text: str, files: list[dict[str, Any]], left: int, right: int) -> list[dict[str, int]]:
    """The parts of text[left:right] that lie in one file each, behind the file's path comment."""
    found = []
    for file in files:
        start, end = max(file["start"], left), min(file["end"], right)
        if start < end and file["start"] >= left:
            start = text.find("\n", start, end) + 1 or end
        if start < end:
            found.append({"start": start - left, "end": end - left})
    return found


def chunk_key(*parts: object) -> int:
    """A signed 64-bit number that shuffles chunks the same way whoever computes it."""
    return xxhash.xxh3_64_intdigest("\n".join(map(str, parts)).encode()) - 2**63


def mixture_epochs(
    weights: dict[str, float], available: dict[str, int], max_epochs: float, total: int | None
) -> dict[str, float]:
    """How often each source is seen so that its share of the tokens is its weight.

    Args:
        available: tokens of each source.
        total: tokens wanted at most; there are never more than `max_epochs` of the scarcest source allow.

    Raises:
        LodeError: a source with a weight has no tokens.
    """
    for source in weights:
        if not available.get(source):
            raise LodeError(
                f"mixture: the source {source!r} has a weight but no documents; lower its weight to 0."
            )
    share = {source: weight / sum(weights.values()) for source, weight in weights.items()}
    limits = {source: max_epochs * available[source] / part for source, part in share.items() if part}
    total = min([*limits.values(), *([total] if total else [])])
    return {source: part * total / available[source] for source, part in share.items()}


def copies(epochs: float, draw: float) -> int:
    """How often a chunk is used: every whole epoch, and the fraction that is left over for the lowest draws."""
    return int(epochs) + (draw < epochs - int(epochs))


# May a chunk be cut at the end of a sequence? Yes; where nothing else fills the sequence; never.
CUT, RATHER_NOT, WHOLE = range(3)
Chunk = tuple[str, str, int, list[int]]  # id, source, one of these three, tokens
# Whole chunks that may wait for a sequence of their own before a gap is padded instead of filled.
MOST_WAITING = 256


class Packer:
    """Packs chunks one after another into sequences of exactly `length` tokens.

    A chunk that is `WHOLE` (it carries a middle to be learned) is never cut: it waits for the next sequence, and
    others fill the gap. One that is `RATHER_NOT` waits too, and is cut where nothing else would fill the gap: its
    rest then fills those of the sequences that follow, so that one cut keeps many whole. Any other chunk is cut
    at the end of a sequence and goes on in a later one. Only where nothing but `WHOLE` chunks is left does a gap
    stay, and it is filled with `pad`.
    """

    def __init__(self, length: int, pad: int):
        self.length = length
        self.pad = pad
        self.waiting: deque[Chunk] = deque()
        self.rest: Chunk | None = None
        self.start()

    def start(self) -> None:
        self.tokens: list[int] = []
        self.spans: list[dict[str, Any]] = []
        self.completed = 0

    def sequences(self, chunks: Iterable[Chunk]) -> Iterator[tuple[list[int], list[dict[str, Any]], int]]:
        """Tokens, document spans and the number of chunks that end in it, for each full sequence.

        Afterwards `left_over` names the chunks that found no place.
        """
        stream = iter(chunks)
        while (chunk := self.following(stream)) is not None:
            name, source, whole, tokens = chunk
            room = self.length - len(self.tokens)
            piece, rest = tokens[:room], tokens[room:]
            if rest:
                self.rest = (name, source, whole, rest)
            elif chunk is self.rest:
                self.rest = None
            self.spans.append({"id": name, "source": source, "start": len(self.tokens), "length": len(piece)})
            self.tokens += piece
            self.completed += not rest
            if len(self.tokens) == self.length:
                yield self.tokens, self.spans, self.completed
                self.start()

    def following(self, stream: Iterator[Chunk]) -> Chunk | None:
        """What goes next into the sequence: a whole chunk that fits, the rest of a cut one, the next of the stream."""
        room = self.length - len(self.tokens)
        for place, chunk in enumerate(self.waiting):
            if len(chunk[3]) <= room:
                del self.waiting[place]
                return chunk
        if self.rest is not None:
            return self.rest
        while len(self.waiting) < MOST_WAITING:
            chunk = next(stream, None)
            if chunk is None:
                break
            if chunk[2] == CUT or len(chunk[3]) <= room:
                return chunk
            self.waiting.append(chunk)
        for place, chunk in enumerate(self.waiting):
            if chunk[2] == RATHER_NOT:
                del self.waiting[place]
                return chunk
        return ("", "", CUT, [self.pad] * room) if len(self.waiting) == MOST_WAITING else None

    def left_over(self) -> list[tuple[str, int]]:
        """(id, tokens) of the chunks in the unfinished sequence, and of those that still wait for one."""
        found = [(span["id"], span["length"]) for span in self.spans if span["id"]]
        return found + [(name, len(tokens)) for name, _, _, tokens in self.waiting]


@dataclass(frozen=True)
class Pack:
    """Transform after the shuffle: one bucket of `PLACED` rows, in order of their key, to `SEQUENCE` rows."""

    sequence_length: int
    pad: int

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return SEQUENCE

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([*SEQUENCE, pa.field("id", pa.string()), *VERDICT])
        unused: list[dict[str, Any]] = []

        def chunks() -> Iterator[Chunk]:
            for batch in batches:
                for row in batch.to_pylist():
                    if row["reason"]:
                        unused.append({k: row[k] for k in ("id", "reason", "detail")} | {"completed": 1})
                    else:
                        yield row["id"], row["source"], row["whole"], row["tokens"]

        packer = Packer(self.sequence_length, self.pad)
        held: list[dict[str, Any]] = []
        for tokens, spans, completed in packer.sequences(chunks()):
            padded = sum(not span["id"] for span in spans)
            spans = [span if span["id"] else {**span, "id": None, "source": None} for span in spans]
            held.append({"tokens": tokens, "documents": spans, "completed": completed - padded})
            if len(held) + len(unused) >= 256:
                yield pa.RecordBatch.from_pylist(held + unused, schema)
                held.clear()
                unused.clear()
        held += unused
        held += [
            {"id": name, "reason": "remainder", "detail": f"{count} tokens", "completed": 1}
            for name, count in packer.left_over()
        ]
        if held:
            yield pa.RecordBatch.from_pylist(held, schema)


def tokens_per_source(batches: Iterable[pa.RecordBatch]) -> dict[str, int]:
    """Tokens of each source in `SEQUENCE` rows; padding has the source ``."""
    total: dict[str, int] = {}
    for batch in batches:
        values = batch.column("documents").flatten()
        sources = values.field("source").fill_null("").to_numpy(zero_copy_only=False)
        lengths = values.field("length").to_numpy(zero_copy_only=False)
        for source in np.unique(sources):
            total[source] = total.get(source, 0) + int(lengths[sources == source].sum())
    return dict(sorted(total.items()))
