"""Near-duplicates of one to ten million short documents on four cores: minutes, memory, disk, and what is found.

    python -m benchmarks.dedup_scale [--documents 1000000 2000000 5000000 10000000] [--scratch FOLDER]

Documents are eight phrases of six words each, from the pages of the sample crawl: some 300 characters, and no two
alike by themselves however many there are. One in five is a variant of an earlier one with a word or two changed, one
in fifty a copy, and one in a hundred is one and the same notice with another number in it (a hot bucket). `lode dedup`
as it comes, exact check included. Besides `results/dedup_scale.json` it draws `results/dedup_scale.svg`.
"""

import argparse
import concurrent.futures
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.components import memory
from benchmarks.record import RESULTS, SAMPLE, record
from corpus.extract import extract_pages
from corpus.schema import DOCUMENT, document_id

PART = 125_000
NOTICE = (
    "This item is no longer available. Please return to the start page or search again; your reference is {}."
)


def phrases() -> list[str]:
    """Runs of six words."""
    found = []
    for batch in extract_pages([str(path) for path in sorted((SAMPLE / "web").glob("dev-*.warc.gz"))], "web"):
        for text in batch["text"].to_pylist():
            words = (text or "").split()
            found += [" ".join(words[at : at + 6]) for at in range(0, len(words) - 6, 6)]
    return found


def write_part(folder: str, part: int, rows: int, pool: list[str]) -> None:
    draw = random.Random(part)
    texts: list[str] = []
    for number in range(rows):
        kind = draw.random()
        if kind < 0.01:
            texts.append(NOTICE.format(f"{part}-{number}"))
        elif kind < 0.03 and texts:
            texts.append(draw.choice(texts))
        elif kind < 0.23 and texts:
            words = draw.choice(texts).split(" ")
            for _ in range(draw.randrange(1, 3)):
                words[draw.randrange(len(words))] = f"w{draw.randrange(10**6)}"
            texts.append(" ".join(words))
        else:
            texts.append(" ".join(draw.choice(pool) for _ in range(8)))
    urls = [f"https://site{(part * rows + n) % 5000}.example/{part}/{n}" for n in range(rows)]
    columns: dict[str, Any] = {"id": [document_id("scale", url) for url in urls], "text": texts, "url": urls}
    columns |= {"source": ["scale"] * rows, "language": ["en"] * rows}
    missing = {name: pa.nulls(rows, pa.string()) for name in DOCUMENT.names if name not in columns}
    table = pa.table(columns | missing).select(DOCUMENT.names).cast(DOCUMENT)
    pq.write_table(table, f"{folder}/part-{part:05d}.parquet", compression="zstd", row_group_size=10_000)


def disk(folder: pathlib.Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9


def measure(documents: int, scratch: str | None, pool: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        source, out = pathlib.Path(temporary, "in"), pathlib.Path(temporary, "out")
        source.mkdir()
        parts = -(-documents // PART)
        sizes = [documents // parts + (part < documents % parts) for part in range(parts)]
        with concurrent.futures.ProcessPoolExecutor(4) as workers:
            list(workers.map(write_part, [str(source)] * parts, range(parts), sizes, [pool] * parts))
        command = [
            "lode",
            "dedup",
            "--input",
            str(source),
            "--out",
            str(out),
            "--quiet",
            "--master",
            "local[4]",
        ]
        command[:1] = [sys.executable, "-m", "jobs.cli"]
        started = time.perf_counter()
        with memory() as peak:
            subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
        manifest = json.loads((out / "_lode.json").read_text())
        about = manifest["deduplication"]
        return {
            "documents": documents,
            "text GB": round(disk(source), 2),
            "minutes": round(seconds / 60, 2),
            "documents a second": round(documents / seconds),
            "peak GB": {name: round(value, 2) for name, value in peak.items()},
            "kept": manifest["rows_out"],
            "dropped": manifest["dropped"],
            **{name: about[name] for name in ("hot_buckets", "pairs_compared", "pairs_alike", "rounds")},
            "signatures GB": round(disk(out / "signatures"), 2),
        }


def plot(rows: list[dict[str, Any]]) -> str:
    """Minutes and memory over documents, as an SVG picture."""
    width, height, left, low = 640, 300, 56, 250
    most = max(row["documents"] for row in rows)
    drawn = []
    for name, values, colour, beside in (
        ("minutes", [row["minutes"] for row in rows], "#1f6feb", 18),
        ("GB of memory at most", [row["peak GB"]["together"] for row in rows], "#9a6700", -8),
    ):
        top = max(max(values) * 1.1, 1e-9)
        points = [
            (left + (width - left - 20) * row["documents"] / most, low - (low - 30) * value / top)
            for row, value in zip(rows, values, strict=True)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), value in zip(points, values, strict=True):
            drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
            drawn.append(
                f'<text x="{x:.1f}" y="{y + beside:.1f}" fill="{colour}" text-anchor="end">{value:g}</text>'
            )
        drawn.append(f'<text x="{left + 10}" y="{34 + 18 * (len(drawn) > 9)}" fill="{colour}">{name}</text>')
    for row in rows:
        x = left + (width - left - 20) * row["documents"] / most
        drawn.append(
            f'<text x="{x:.1f}" y="{low + 20}" text-anchor="middle">{row["documents"] / 1e6:g} M</text>'
        )
    drawn.append(f'<path d="M{left},20 V{low} H{width - 10}" fill="none" stroke="#888"/>')
    style = "font:12px sans-serif;background:#fff"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="{style}">'
        f"<title>lode dedup, four cores, by number of documents</title>{''.join(drawn)}</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--documents", nargs="*", type=int, default=[10**6, 2 * 10**6, 5 * 10**6, 10**7])
    parser.add_argument("--scratch", help="a folder with room: ten million documents take some 20 GB")
    arguments = parser.parse_args()
    pool = phrases()
    rows = []
    for documents in arguments.documents:
        rows.append(measure(documents, arguments.scratch, pool))
        print(json.dumps(rows[-1]), flush=True)
    record("dedup_scale", rows, ["pyspark", "pyarrow", "numpy"])
    (RESULTS / "dedup_scale.svg").write_text(plot(rows))


if __name__ == "__main__":
    main()
