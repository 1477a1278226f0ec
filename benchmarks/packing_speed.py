"""Text to packed shards on one core, beside datatrove and Megatron-LM on the same text with the same tokenizers.

    python -m benchmarks.packing_speed --peer datatrove=PYTHON --peer megatron=PYTHON [--megabytes 30 90] [--repeats 3]

A run is a command from the start of its process to the end of its last: `lode pack` on local[1] (mixture, shuffle,
packing, manifests; the JVM and the Python workers share the core), datatrove's tokenize, shuffle, merge and shuffle,
and Megatron-LM's preprocess_data, which neither shuffles nor packs, by its own classes (`packing_peers` says what to
install in each PYTHON, and what is left out). All are pinned to the same core and take turns. Texts are the pages of
the sample crawl, the files of the sample repositories and what the folders given hold, no text twice.

Every tool runs on a smaller and a larger share of the texts. What a run costs before its first text falls out of the
difference between the two: `steady` is the larger less the smaller, medians of each. CPU seconds are those of all
processes of a run, each as last seen of four times a second, and count where others use the machine as well. Memory is
the largest sum over all processes of a run of their proportional sets. The tools' tokens must be the same but for those
that begin and end a document, and for special strings in a text, which only Lode keeps apart from control tokens; else
nothing is recorded.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from benchmarks.dedup_corpus import real_texts
from benchmarks.dedup_speed import version, whole
from benchmarks.record import SAMPLE, record
from corpus import storage
from corpus.schema import document_id

PEERS = pathlib.Path(__file__).with_name("packing_peers.py")
PACKAGES = {"datatrove": "datatrove", "megatron": "megatron-core"}
BARS = {"datatrove": 3.0, "megatron": 1.5}
SEQUENCE_LENGTH = 4096
PARTS = 4
# Bytes of a text at most: one of them must not decide what a core does for a second.
LONGEST = 1 << 20
# Share of tokens that special strings in texts, and long texts tokenized in pieces, may make a difference of.
MOST_APART = 1e-4


def distinct(folders: list[str]) -> Iterator[str]:
    """Real texts in an order that mixes the sources, none twice."""
    seen: set[int] = set()
    for text in real_texts(folders, SAMPLE, random.Random(0)):
        mark = xxhash.xxh3_64_intdigest(text.encode())
        if mark not in seen and len(text) <= LONGEST:
            seen.add(mark)
            yield text


def write_texts(texts: list[str], folder: pathlib.Path) -> None:
    """The same documents as Parquet in a few parts and as JSON lines."""
    folder.mkdir(parents=True)
    ids = [document_id("packing", str(number)) for number in range(len(texts))]
    for part in range(PARTS):
        chosen = slice(len(texts) * part // PARTS, len(texts) * (part + 1) // PARTS)
        table = pa.table({"id": ids[chosen], "text": texts[chosen], "source": ["texts"] * len(texts[chosen])})
        pq.write_table(
            table,
            folder / f"part-{part:05d}.parquet",
            compression="zstd",
            row_group_size=storage.ROW_GROUP_ROWS,
        )
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as lines:
        for name, text in zip(ids, texts, strict=True):
            lines.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")


def tokenizers(folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, str]]:
    """Folder with tokenizer.json and tokenizer_config.json, and the token that ends a document, of each tokenizer."""
    found = {}
    vocabulary = json.loads((SAMPLE / "tokenizer" / "gpt2" / "encoder.json").read_text())
    merges = (SAMPLE / "tokenizer" / "gpt2" / "vocab.bpe").read_text("utf-8").splitlines()[1:]
    gpt2 = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges if merge]))
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.decoder = decoders.ByteLevel()
    gpt2.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    deepseek = (SAMPLE / "tokenizer" / "deepseek" / "tokenizer.json").read_text("utf-8")
    for name, content, bos, eos in (
        ("deepseek", deepseek, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        ("gpt2", gpt2.to_str(), "<|endoftext|>", "<|endoftext|>"),
    ):
        place = folder / name
        place.mkdir(parents=True)
        (place / "tokenizer.json").write_text(content, "utf-8")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}
        (place / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
        found[name] = (place, eos)
    return found


def commands(
    texts: pathlib.Path, out: str, tokenizer: pathlib.Path, eos: str, peers: dict[str, str]
) -> dict[str, list[str]]:
    """What is run, by the tool's name."""
    program = str(pathlib.Path(sys.executable).with_name("lode"))
    lode = [
        program,
        "pack",
        "--input",
        f"{texts}=1",
        "--tokenizer",
        str(tokenizer / "tokenizer.json"),
        "--out",
        out,
    ]
    lode += ["--sequence-length", str(SEQUENCE_LENGTH), "--max-epochs", "1", "--held-out-tokens", "0"]
    found = {"lode": [*lode, "--master", "local[1]"]}
    for tool, python in peers.items():
        found[tool] = [python, str(PEERS), tool, str(texts), out, str(tokenizer), eos]
    return found


def written(tool: str, out: str, peers: dict[str, str]) -> dict[str, int]:
    """Documents and tokens that a tool wrote, without those that begin and end documents."""
    if tool in peers:
        asked = subprocess.run(
            [peers[tool], str(PEERS), "count", tool, out], check=True, capture_output=True, text=True
        )
        found = json.loads(asked.stdout.splitlines()[-1])
        return {"documents": found["documents"], "tokens": found["tokens"] - found["documents"]}
    parts = storage.parquet_parts(f"{out}/tokenized")
    shards = storage.read_json(f"{out}/shards/_lode.json")
    return {
        "documents": sum(sum(pq.read_table(part, columns=["first"])["first"].to_pylist()) for part in parts),
        "tokens": storage.read_json(f"{out}/tokenized/_lode.json")["tokens"],
        "packed_tokens": sum(shards["shards"]["tokens_per_source"].values()),
        "padding_tokens": shards["shards"]["padding_tokens"],
    }


def stage_seconds(out: str) -> dict[str, float]:
    """Seconds of each stage of Lode's, by its manifests."""
    names = ("tokenizer", "tokenized", "heldout", "shards")
    return {name: storage.read_json(f"{out}/{name}/_lode.json")["wall_seconds"] for name in names}


def steady(small: list[dict[str, float]], large: list[dict[str, float]], clock: str) -> float:
    """Seconds that the text between the smaller and the larger input takes."""
    return median(run[clock] for run in large) - median(run[clock] for run in small)


def summary(
    runs: dict[str, list[list[dict[str, float]]]], megabytes: list[float], tokens: list[int]
) -> dict[str, Any]:
    """Speeds of each tool on the larger input with and without what a run costs in any case, and Lode's ratios.

    Args:
        runs: by tool, runs on the smaller and on the larger input.
    """
    rows: dict[str, Any] = {}
    for tool, (small, large) in runs.items():
        rows[tool] = {"memory_mb": round(max(run["memory_mb"] for run in large))}
        for clock in ("seconds", "cpu_seconds"):
            whole, slope = median(run[clock] for run in large), steady(small, large, clock)
            rows[tool][clock] = {
                "runs": [[round(run[clock], 2) for run in size] for size in (small, large)],
                "mb_per_s": round(megabytes[1] / whole, 2),
                "steady_mb_per_s": round((megabytes[1] - megabytes[0]) / slope, 2),
                "steady_tokens_per_s": round((tokens[1] - tokens[0]) / slope),
            }
    for row in rows.values():
        for clock in ("seconds", "cpu_seconds"):
            for speed in ("mb_per_s", "steady_mb_per_s"):
                row[clock][f"lode_is_faster_by{'_steady' * speed.startswith('steady')}"] = round(
                    rows["lode"][clock][speed] / row[clock][speed], 2
                )
    return rows


def show(rows: dict[str, Any]) -> None:
    print(
        f"{'':12}{'MB/s':>8}{'steady':>8}{'Mtokens/s':>11}{'by CPU':>8}{'peak MB':>9}{'Lode faster by':>16}",
        end="",
    )
    print(f"{'steady':>8}{'by CPU':>8}")
    for tool, row in rows.items():
        wall, cpu = row["seconds"], row["cpu_seconds"]
        print(
            f"{tool:12}{wall['mb_per_s']:8.2f}{wall['steady_mb_per_s']:8.2f}{wall['steady_tokens_per_s'] / 1e6:11.2f}"
            f"{cpu['steady_mb_per_s']:8.2f}{row['memory_mb']:9}{wall['lode_is_faster_by']:16.2f}"
            f"{wall['lode_is_faster_by_steady']:8.2f}{cpu['lode_is_faster_by_steady']:8.2f}"
            f"{f'   (bar: {BARS[tool]:.1f})' if tool in BARS else ''}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peer", action="append", default=[], metavar="TOOL=PYTHON", help=", ".join(PACKAGES)
    )
    parser.add_argument("--megabytes", type=float, nargs=2, default=[30, 90], help="of text, two sizes")
    parser.add_argument("--folder", nargs="*", default=[], help="more folders of text")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", help="folder for texts and what the tools write")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--tokenizer", nargs="*", default=["deepseek", "gpt2"])
    parser.add_argument("--note", default="", help="what else ran on the machine, for the record")
    parser.add_argument("--dry", action="store_true", help="no record")
    arguments = parser.parse_args()
    peers = dict(peer.split("=", 1) for peer in arguments.peer)
    if unknown := set(peers) - set(PACKAGES):
        sys.exit(f"--peer {min(unknown)}: there are {', '.join(PACKAGES)}.")
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        scratch = pathlib.Path(name)
        sizes, texts, megabytes = [], [], 0.0
        found = distinct(arguments.folder)
        for number, wanted in enumerate(sorted(arguments.megabytes)):
            while megabytes < wanted and (text := next(found, None)) is not None:
                texts.append(text)
                megabytes += len(text.encode()) / 1e6
            write_texts(texts, scratch / f"texts-{number}")
            sizes.append({"documents": len(texts), "megabytes": round(megabytes, 3)})
        if sizes[1]["megabytes"] < sizes[0]["megabytes"] * 1.2:
            sys.exit(
                f"There are {megabytes:.0f} MB of text here; name more with --folder, or lower --megabytes."
            )
        result: dict[str, Any] = {"note": arguments.note} if arguments.note else {}
        result |= {"texts": sizes, "sequence_length": SEQUENCE_LENGTH}
        result["peers"] = {tool: version(PACKAGES[tool], python) for tool, python in peers.items()}
        known = tokenizers(scratch / "tokenizers")
        result["tokenizers"] = {
            name: compared(name, *known[name], scratch, sizes, peers, arguments.repeats, arguments.core)
            for name in arguments.tokenizer
        }
    if not arguments.dry:
        record("packing_speed", result, ["lode", "pyspark", "pyarrow", "tokenizers", "numpy"])


def compared(
    name: str,
    tokenizer: pathlib.Path,
    eos: str,
    scratch: pathlib.Path,
    sizes: list[dict[str, Any]],
    peers: dict[str, str],
    repeats: int,
    core: int,
) -> dict[str, Any]:
    """All tools with one tokenizer, in turns."""
    runs: dict[str, list[list[dict[str, float]]]] = {tool: [[], []] for tool in ("lode", *peers)}
    counts: dict[str, list[dict[str, int]]] = {tool: [{}, {}] for tool in runs}
    of_stages: dict[str, float] = {}
    out = str(scratch / "out")
    for _ in range(repeats):
        for size in (0, 1):
            for tool, command in commands(scratch / f"texts-{size}", out, tokenizer, eos, peers).items():
                run = whole(["taskset", "--cpu-list", str(core), *command])
                runs[tool][size].append(run)
                if not counts[tool][size]:
                    counts[tool][size] = written(tool, out, peers)
                if tool == "lode" and size == 1:
                    of_stages = stage_seconds(out)
                shutil.rmtree(out)
                shown = " ".join(f"{key} {value:.1f}" for key, value in run.items())
                print(f"{name:10}{tool:10}{sizes[size]['megabytes']:7.1f} MB  {shown}", flush=True)
    for tool in peers:
        for size in (0, 1):
            ours, theirs = counts["lode"][size], counts[tool][size]
            apart = abs(ours["tokens"] - theirs["tokens"]) / theirs["tokens"]
            if ours["documents"] != theirs["documents"] or apart > MOST_APART:
                sys.exit(f"{name}: Lode wrote {ours}, {tool} {theirs}: not the same work.")
    rows = summary(runs, [size["megabytes"] for size in sizes], [count["tokens"] for count in counts["lode"]])
    show(rows)
    return {"tools": rows, "counts": counts, "seconds_of_lode_s_stages": of_stages}


if __name__ == "__main__":
    main()
