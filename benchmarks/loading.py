"""How fast packed sequences come off a disk: Lode's loader beside two usual ways, tokens a second.

    python -m benchmarks.loading [--tokens 128000000] [--repeats 5]

`rows` is a torch DataLoader over a map-style dataset that reads a Parquet row when it is asked for one, as loops
written in an afternoon do, with the last row group it read kept. `flat` is a memory-mapped file of int32 tokens and a
shuffled index, the access pattern of Megatron's GPTDataset: no documents, sources or checks. Both yield int64 [B, S].
Shards are written by Lode's own packing from made-up documents. All run one after another in one process each,
caches warm, in turns, with opening and starting; a rank of R reads its own share. Memory is the peak of a process that
does nothing else.
"""

import argparse
import json
import multiprocessing
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.record import record
from corpus.packing import PLACED, SEQUENCE, Pack, tokens_per_source
from corpus.storage import write_json, write_parquet
from pretrain.loader import Loader
from pretrain.shards import Shards

VOCABULARY = 100_000
# What one H100 trains of a 16B mixture of experts in BF16: Megatron-Bridge, Moonlight-16B-A3B, 16 H100s.
H100 = 22_528


def write(folder: pathlib.Path, tokens: int, length: int) -> None:
    """Shards of made-up documents, token ids as skewed as text's, and the same tokens as a flat file."""
    random, per_part, packed = np.random.default_rng(0), 16_000_000, []
    for part in range(max(1, tokens // per_part)):
        sizes = np.minimum(random.lognormal(6.5, 1.0, per_part // 1100).astype(np.int64) + 1, length)
        ids = np.minimum(random.zipf(1.2, int(sizes.sum())), VOCABULARY - 1).astype(np.int32)
        n, offsets = len(sizes), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        columns = {
            "bucket": np.zeros(n, np.int32),
            "key": random.integers(-(2**62), 2**62, n),
            "id": [f"{part:016x}{i:016x}" for i in range(n)],
            "source": [("code", "web", "math")[i % 3] for i in range(n)],
            "chunk": np.zeros(n, np.int32),
            "epoch": np.zeros(n, np.int32),
            "whole": np.zeros(n, np.int8),
            "tokens": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)),
        }
        nothing = {name: pa.nulls(n, PLACED.field(name).type) for name in ("reason", "detail")}
        placed = pa.RecordBatch.from_pydict(columns | nothing, schema=PLACED)
        rows = [batch.select(SEQUENCE.names) for batch in Pack(length, 0)(iter([placed]))]
        rows = [batch.filter(batch["tokens"].is_valid()) for batch in rows]
        rows = [batch for batch in rows if batch.num_rows]
        write_parquet(str(folder / f"part-{part:05d}.parquet"), iter(rows), SEQUENCE)
        packed += rows
    with open(folder / "flat.bin", "wb") as file:
        for batch in packed:
            file.write(batch["tokens"].flatten().to_numpy().tobytes())
    about = {"sequence_length": length, "vocabulary_size": VOCABULARY, "special_tokens": {}}
    about["tokens_per_source"] = tokens_per_source(packed)
    write_json(str(folder / "_lode.json"), {"stage": "pack", "shards": about})


class Rows(torch.utils.data.Dataset):
    def __init__(self, folder: str) -> None:
        self.files = [pq.ParquetFile(path) for path in sorted(pathlib.Path(folder).glob("part-*.parquet"))]
        self.groups = [
            (file, group, row)
            for file in self.files
            for group in range(file.num_row_groups)
            for row in range(file.metadata.row_group(group).num_rows)
        ]
        self.last: tuple = (None, None)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, i: int) -> torch.Tensor:
        file, group, row = self.groups[i]
        if self.last[0] != (id(file), group):
            self.last = (id(file), group), file.read_row_group(group, columns=["tokens"], use_threads=False)
        return torch.tensor(self.last[1]["tokens"][row].as_py())


def batches(how: str, folder: str, length: int, batch: int, world: int) -> Iterator[torch.Tensor]:
    if how == "lode":
        with Loader(Shards(folder), batch * world, 0, 0, world) as loader:
            for found in loader:
                yield found.tokens_BS
    elif how == "rows":
        yield from torch.utils.data.DataLoader(Rows(folder), batch)
    else:
        flat = np.memmap(f"{folder}/flat.bin", np.int32, "r").reshape(-1, length)
        random = np.random.default_rng(0)
        while True:
            order = random.permutation(len(flat))
            for first in range(0, len(order) - batch + 1, batch):
                rows = [flat[i].astype(np.int64) for i in order[first : first + batch]]
                yield torch.from_numpy(np.stack(rows))


def measure(pipe, how: str, folder: str, length: int, batch: int, world: int, tokens: int) -> None:
    torch.set_num_threads(1)
    began, cpu, seen = time.perf_counter(), time.process_time(), 0
    for found in batches(how, folder, length, batch, world):
        seen += found.numel()
        if seen >= tokens:
            break
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    # Not getrusage: its peak is inherited from the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    pipe.send({"tokens_per_second": seen / seconds, "per_cpu_second": seen / cpu, "peak_mib": peak})


def in_a_process(*arguments) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(there, *arguments))
    process.start()
    there.close()
    found = here.recv()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=128_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    result: dict = {"tokens": asked.tokens, "h100_tokens_per_second": H100, "rates": []}
    with tempfile.TemporaryDirectory() as root:
        for length in (4096, 16384):
            folder = pathlib.Path(root, str(length))
            folder.mkdir()
            write(folder, asked.tokens, length)
            batch = 32 * 4096 // length
            total = len(Shards(str(folder))) * length
            runs = [("lode", 1, total), ("lode", 2, total // 2), ("lode", 8, total // 8)]
            runs += [("flat", 1, total), ("rows", 1, 4_000_000)]
            found: dict = {run: [] for run in runs}
            for _ in range(asked.repeats):
                for how, world, tokens in runs:
                    found[how, world, tokens].append(
                        in_a_process(how, str(folder), length, batch, world, tokens)
                    )
            for (how, world, tokens), each in found.items():
                row = {"how": how, "sequence_length": length, "batch": batch, "world": world, "read": tokens}
                row |= {name: round(statistics.median(one[name] for one in each)) for name in each[0]}
                row["times_h100"] = round(row["tokens_per_second"] / H100)
                result["rates"].append(row)
                print(json.dumps(row))
            lode, flat, rows = (
                next(
                    r
                    for r in result["rates"]
                    if (r["how"], r["sequence_length"], r["world"]) == (how, length, 1)
                )
                for how in ("lode", "flat", "rows")
            )
            for name, other in (("flat", flat), ("rows", rows)):
                ratio = round(lode["tokens_per_second"] / other["tokens_per_second"], 2)
                result[f"times_{name}_{length}"] = ratio
                print(f"{length}: {ratio} times {name}")
    record("loading", result, ["pyarrow", "torch", "numpy"])


if __name__ == "__main__":
    main()
