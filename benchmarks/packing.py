"""Packing two ways side by side: what is cut, what is padded, what is left over, and speed.

    python -m benchmarks.packing [--crawl WARC ...] [--archives FILE ...] [--tokenizer FILE] [--lengths N ...]

Documents are the pages of the sample crawl and the repositories of the sample (or of the files given). They are cut
to windows and packed by `concat` and `best_fit`. A truncation is a document that fits a sequence and is yet cut. Then
the same for documents of made lengths, a log-normal distribution as web text has it (median 665 tokens, 1,000,000
documents), placed as one bucket; and the speed and the memory of the transform on a bucket of 64 million tokens, with
windows of that kind and with short ones, each in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.record import SAMPLE, record
from corpus.chunks import Chunks
from corpus.extract import extract_pages
from corpus.packing import CUT, PLACED, WAYS, Pack, pack, packing_facts
from corpus.repositories import repository_batches
from repo_ordering.document import OrderRepositories

LENGTHS = (2048, 4096, 16384)
MADE = 1_000_000
BUCKET = 64_000_000
DRAWS = {"web": (6.5, 1.1), "short": (4.2, 1.1)}  # of lengths: mean and standard deviation of their logarithm
CHILD = """
import json, sys
from benchmarks.packing import transform
print(json.dumps(transform(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
"""


def documents(arguments: argparse.Namespace) -> Iterator[pa.RecordBatch]:
    for batch in extract_pages(arguments.crawl, "web"):
        yield batch.filter(batch["reason"].is_null())
    for path in arguments.archives:
        files = repository_batches([path], "repositories")
        kept = (batch.filter(batch["reason"].is_null()) for batch in files)
        for batch in OrderRepositories()(kept):
            yield batch.filter(batch["reason"].is_null())


def placed(read: list[pa.RecordBatch], tokenizer: str, length: int) -> tuple[list[pa.RecordBatch], set[str]]:
    """Windows as `PLACED`, and the ids of the documents that fit a sequence."""
    found: list[pa.RecordBatch] = []
    windows: Counter[str] = Counter()
    for batch in Chunks(tokenizer, "", length, lambda paths: iter(read), None)(("",)):
        batch = batch.filter(batch["reason"].is_null())
        count = batch.num_rows
        windows.update(batch["id"].to_pylist())
        # Beginning and end of a document are tokens too.
        rows = zip(*(batch[name].to_pylist() for name in ("first", "last")), batch["tokens"], strict=True)
        tokens = [np.r_[[0] * first, ids.values.to_numpy(), [1] * last] for first, last, ids in rows]
        ends = np.cumsum([0, *map(len, tokens)], dtype=np.int32)
        columns = {
            "bucket": pa.array(np.zeros(count, np.int32)),
            "key": pa.array(np.random.default_rng(len(windows)).integers(-(2**63), 2**63 - 1, count)),
            "epoch": pa.array(np.zeros(count, np.int32)),
            "whole": pa.array(np.full(count, CUT, np.int8)),
            "tokens": pa.ListArray.from_arrays(ends, np.concatenate(tokens).astype(np.int32)),
        }
        arrays = [columns[name] if name in columns else batch[name] for name in PLACED.names]
        found.append(pa.RecordBatch.from_arrays(arrays, schema=PLACED))
    return found, {name for name, count in windows.items() if count == 1}


def measure(windows: list[pa.RecordBatch], fitting: set[str], length: int, how: str) -> dict[str, Any]:
    began = time.process_time()
    out = list(Pack(length, 1, how)(iter(windows)))
    seconds = time.process_time() - began
    facts = packing_facts(batch.filter(batch["reason"].is_null()) for batch in out)
    cut: set[str] = set()
    lost = 0
    for batch in out:
        pieces = batch["documents"].flatten()
        cut.update(pieces.field("id").filter(pc.greater(pieces.field("offset"), 0)).to_pylist())
        lost += sum(int(text.split()[0]) for text in batch["detail"].to_pylist() if text)
    tokens = sum(len(batch["tokens"].flatten()) for batch in windows)
    assert tokens == facts["tokens"] - facts["padding"] + lost
    return {
        **facts,
        "truncations": len(cut & fitting),
        "padding share": facts["padding"] / max(facts["tokens"], 1),
        "remainder": lost,
        "million tokens a second": round(tokens / seconds / 1e6, 1),
    }


def lengths(draw: str, count: int, most: int) -> np.ndarray:
    """Windows of documents of made lengths: those that are too long are full windows and a rest."""
    mean, deviation = DRAWS[draw]
    sizes = np.random.default_rng(0).lognormal(mean, deviation, count).astype(np.int64) + 1
    parts = -(-sizes // most)
    found = np.full(parts.sum(), most)
    found[np.cumsum(parts) - 1] = sizes - (parts - 1) * most
    return found


def made(length: int, how: str) -> dict[str, Any]:
    """A million documents as one bucket: only where they go, without their tokens."""
    sizes = lengths("web", MADE, length)
    keys = np.random.default_rng(1).permutation(len(sizes))
    began = time.process_time()
    pieces = pack(sizes, np.full(len(sizes), CUT), sizes == length, keys, length, how)
    seconds = time.process_time() - began
    return {
        "windows": len(sizes),
        "tokens": int(sizes.sum()),
        "windows_cut": len(np.unique(pieces.window[pieces.offset > 0])),
        "cuts": int((pieces.offset > 0).sum()),
        "padding share": float(pieces.length[pieces.window < 0].sum() / (pieces.sequences * length)),
        "seconds": round(seconds, 2),
    }


def transform(draw: str, length: int, how: str) -> dict[str, Any]:
    """Speed, and peak memory over what the interpreter and its libraries take, of one bucket."""

    def peak() -> int:  # not getrusage, which counts what the process was forked from
        with open("/proc/self/status") as lines:
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10

    sizes = lengths(draw, 2 * BUCKET // 100, length)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), BUCKET)]
    draws = np.random.default_rng(1)
    began_at, spent = peak(), 0.0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal spent
        for at in range(0, len(sizes), 1000):
            began = time.process_time()
            part = sizes[at : at + 1000]
            count = len(part)
            zeros = np.zeros(count, np.int32)
            ids = draws.integers(0, 129_280, part.sum(), dtype=np.int32)
            columns = [
                zeros, draws.integers(-(2**63), 2**63 - 1, count), [f"{i:032x}" for i in range(at, at + count)],
                ["web"] * count, zeros, zeros, np.full(count, CUT, np.int8),
                pa.ListArray.from_arrays(np.cumsum([0, *part], dtype=np.int32), ids), [None] * count, [None] * count,
            ]  # fmt: skip
            arrays = [pa.array(column, field.type) for column, field in zip(columns, PLACED, strict=True)]
            batch = pa.RecordBatch.from_arrays(arrays, schema=PLACED)
            spent += time.process_time() - began
            yield batch

    began = time.process_time()
    sequences = sum(batch.num_rows for batch in Pack(length, 1, how)(batches()))
    seconds = time.process_time() - began - spent
    return {
        "windows": len(sizes),
        "sequences": sequences,
        "million tokens a second": round(sizes.sum() / seconds / 1e6),
        "peak MB": peak() - began_at,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    crawl = sorted(map(str, (SAMPLE / "web").glob("dev-*.warc.gz")))
    archives = sorted(map(str, (SAMPLE / "repos").glob("*.tar.gz")))
    tokenizer = str(SAMPLE / "tokenizer" / "deepseek" / "tokenizer.json")
    parser.add_argument("--crawl", nargs="*", default=crawl, help="WARC files")
    parser.add_argument("--archives", nargs="*", default=archives, help="repositories")
    parser.add_argument("--tokenizer", default=tokenizer)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    arguments = parser.parse_args()
    read = [batch for batch in documents(arguments) if batch.num_rows]
    if not read:
        sys.exit("No documents: name some with --crawl or --archives.")
    names = ("id", "source", "language", "text", "files")
    read = [batch.select([name for name in names if name in batch.schema.names]) for batch in read]
    result: dict[str, Any] = {
        "documents": sum(batch.num_rows for batch in read),
        "characters": sum(pc.sum(pc.utf8_length(batch["text"])).as_py() or 0 for batch in read),
    }
    for length in arguments.lengths:
        windows, fitting = placed(read, arguments.tokenizer, length)
        found = {how: measure(windows, fitting, length, how) for how in WAYS}
        shares = {
            name: round(found["best_fit"][name] / max(found["concat"][name], 1), 5)
            for name in ("truncations", "windows_cut", "cuts")
        }
        result[f"sample, {length}"] = {
            "documents that fit": len(fitting),
            **found,
            "best_fit of concat": shares,
        }
        print(length, json.dumps(result[f"sample, {length}"], indent=1))
    for length in arguments.lengths:
        result[f"made, {length}"] = {how: made(length, how) for how in WAYS}
        print(length, json.dumps(result[f"made, {length}"]))
    for draw in DRAWS:
        result[f"a bucket, {draw}"] = {
            how: json.loads(
                subprocess.run(
                    [sys.executable, "-c", CHILD, draw, "4096", how], check=True, capture_output=True
                ).stdout
            )
            for how in WAYS
        }
        print(draw, json.dumps(result[f"a bucket, {draw}"]))
    record("packing", result, ["numpy", "pyarrow", "tokenizers"])


if __name__ == "__main__":
    main()
