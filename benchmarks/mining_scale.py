"""Mining on a crawl of half a million to five million short pages: pages a second, memory, growth, what is found.

    python -m benchmarks.mining_scale [--pages 500000 5000000] [--bucket 2000000] [--scratch FOLDER]

The crawl is made here: one domain to a hundred pages, their sizes as Zipf has them; 8 % of the domains are about
mathematics, 2 % have one folder about it, and the others are about one of forty topics. A page is some 60 to 120 words
in phrases of one to six, of which 5 to 40 % are its topic's and the rest everybody's: it is planted by its place, and
may itself say little of its topic. Seeds: all pages of as few domains of mathematics as make a 25th of what is planted.
Three rounds on `local[4]`, with 100,000 passes and the classifier's other settings but for `--bucket` as
they are, whether or not they would have
stopped before.

Memory of the driver: the largest sum of resident sizes of the Java process, the Python process beside it and the
process that trains; Python workers, which are executors, are counted apart. CPU seconds are those of all processes;
seconds of the clock tell little on a machine that others use. Linux.
"""

import argparse
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.components import below
from benchmarks.record import record
from corpus.schema import DOCUMENT, document_id
from jobs.engine import Work, open_dataset
from jobs.mine import mine
from jobs.progress import Progress
from jobs.recipe import MineSection
from jobs.spark import Spark

PART = 50_000
PAGES_OF_A_DOMAIN = 100
TOPICS, PHRASES_OF_A_TOPIC, COMMON_PHRASES = 40, 2000, 10_000  # topic 0 is mathematics
MATHEMATICS, MIXED = 0.08, 0.02  # of the domains
FOLDERS = 6
SEEDED = 0.04  # of the planted pages
ROUNDS, CORES = 3, 4
# fastText takes one step a text, and from texts as short as these 20,000 steps teach it nothing yet.
PASSES = 100_000


def phrases() -> pa.Array:
    """Phrases of one to six words of 2 to 9 letters: the common ones, then those of each topic. A word is in many."""
    draw = np.random.default_rng(1)
    letters = draw.integers(97, 123, (30_000, 9), np.uint8)
    words = pa.array(
        [row[:n].tobytes().decode() for row, n in zip(letters, draw.integers(2, 10, 30_000), strict=True)]
    )
    lengths = draw.integers(1, 7, COMMON_PHRASES + TOPICS * PHRASES_OF_A_TOPIC)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    # Common phrases are of the 5,000 common words; a topic's are of any.
    most = np.repeat(np.where(np.arange(len(lengths)) < COMMON_PHRASES, 5_000, 30_000), lengths)
    chosen = words.take(pa.array((draw.random(len(most)) * most).astype(np.int64)))
    return pc.binary_join(pa.ListArray.from_arrays(ends, chosen), " ")


def zipf(size: int, exponent: float) -> np.ndarray:
    """Cumulative shares [size] of ranks whose shares fall with this exponent."""
    shares = np.cumsum(np.arange(1, size + 1, dtype=np.float64) ** -exponent)
    return shares / shares[-1]


def topics(domains: int) -> np.ndarray:
    """The topic of each folder of each domain [domains, FOLDERS]."""
    draw = np.random.default_rng(2)
    found = np.repeat(draw.integers(1, TOPICS, (domains, 1)), FOLDERS, axis=1)
    kind = draw.permutation(domains) / domains
    found[kind < MATHEMATICS] = 0
    found[(kind >= MATHEMATICS) & (kind < MATHEMATICS + MIXED), 0] = 0
    return found


def write_part(folder: str, part: int, rows: int, domains: int) -> None:
    draw = np.random.default_rng([3, part])
    domain = np.searchsorted(zipf(domains, 0.8), draw.random(rows))
    place = draw.integers(0, FOLDERS, rows)
    topic = topics(domains)[domain, place]
    lengths = draw.integers(17, 35, rows)
    page = np.repeat(np.arange(rows), lengths)
    own = draw.random(len(page)) < draw.uniform(0.05, 0.4, rows)[page]
    at = draw.random(len(page))
    chosen = np.where(
        own,
        COMMON_PHRASES
        + topic[page] * PHRASES_OF_A_TOPIC
        + np.searchsorted(zipf(PHRASES_OF_A_TOPIC, 0.7), at),
        np.searchsorted(zipf(COMMON_PHRASES, 1.0), at),
    )
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    texts = pc.binary_join(pa.ListArray.from_arrays(ends, phrases().take(pa.array(chosen))), " ")
    names = [f"site{number}.example" for number in domain.tolist()]
    urls = [
        f"https://{name}/folder{where}/{part}-{row}.html"
        for row, (name, where) in enumerate(zip(names, place.tolist(), strict=True))
    ]
    columns: dict[str, Any] = {"id": [document_id("scale", url) for url in urls], "text": texts, "url": urls}
    columns |= {"domain": names, "source": ["scale"] * rows, "language": ["en"] * rows}
    missing = {name: pa.nulls(rows, pa.string()) for name in DOCUMENT.names if name not in columns}
    table = pa.table(columns | missing).select(DOCUMENT.names).cast(DOCUMENT)
    table = table.append_column("planted", pa.array(topic == 0))
    pq.write_table(table, f"{folder}/part-{part:05d}.parquet", compression="zstd", row_group_size=10_000)


def write_crawl(folder: pathlib.Path, pages: int) -> dict[str, Any]:
    """The pages under `pages/`, and `seeds.parquet`; returns what was planted."""
    (folder / "pages").mkdir()
    domains, parts = max(pages // PAGES_OF_A_DOMAIN, 20), -(-pages // PART)
    sizes = [pages // parts + (part < pages % parts) for part in range(parts)]
    with concurrent.futures.ProcessPoolExecutor(CORES) as workers:
        list(workers.map(write_part, [str(folder / "pages")] * parts, range(parts), sizes, [domains] * parts))
    database = duckdb.connect()
    database.execute(f"create view pages as from '{folder}/pages/part-*.parquet'")
    planted = database.execute("select count(*) from pages where planted").fetchall()[0][0]
    # Domains that are about mathematics in all their folders, from the larger ones down but for the largest.
    whole = database.execute(
        "select domain, count(*) from pages group by domain having bool_and(planted) "
        f"and count(*) < {SEEDED * planted / 3} and count(*) >= 5 order by 2 desc, 1"
    ).fetchall()
    seeds, size = [], 0
    for name, count in whole:
        if size >= SEEDED * planted:
            break
        seeds.append(name)
        size += count
    database.execute(
        f"copy (select * exclude planted from pages where domain in ({str(seeds)[1:-1]}) order by id) "
        f"to '{folder}/seeds.parquet'"
    )
    return {"pages": pages, "domains": domains, "planted": planted, "seeds": size, "seed domains": len(seeds)}


def run(folder: str, bucket: int) -> dict[str, Any]:
    """Mine the crawl in `folder`; returns the manifests of the stages."""
    section = MineSection(
        targets={"mathematics": {"seeds": [f"{folder}/seeds.parquet"]}},
        classifier={"bucket": bucket, "passes": PASSES},
        max_rounds=ROUNDS,
        stop_share=1.0,
    )
    spark = Spark(f"local[{CORES}]", {}, f"{folder}/logs/spark.log")
    with Work(f"{folder}/work", spark, Progress()) as work:
        mine(work, open_dataset(f"{folder}/pages"), section, 1)
    spark.stop()
    return {
        str(path.parent.relative_to(f"{folder}/work")): json.loads(path.read_text())
        for path in pathlib.Path(folder, "work").rglob("_lode.json")
    }


@contextlib.contextmanager
def watched(pool: concurrent.futures.ProcessPoolExecutor) -> Iterator[tuple[dict[str, float], list[Any]]]:
    """Memory in GB at its highest, and (time, CPU seconds so far) of the processes below this one."""
    peak: dict[str, float] = dict.fromkeys(
        ("java", "python", "training", "driver", "workers", "a worker"), 0.0
    )
    cpu: list[tuple[float, float]] = []
    stop = threading.Event()
    ticks = os.sysconf("SC_CLK_TCK")
    seconds: dict[tuple[int, str], float] = {}  # of each process seen, which may be gone: (id, start)
    driver = pool.submit(os.getpid).result()

    def watch() -> None:
        while not stop.wait(0.25):
            now = dict.fromkeys(peak, 0.0)
            workers: set[int] = set()
            for pid in [driver, *below(driver)]:
                with contextlib.suppress(OSError, ValueError):
                    status = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    seconds[pid, status[19]] = sum(map(int, status[11:13])) / ticks
                    size = int(status[21]) * os.sysconf("SC_PAGE_SIZE") / 1e9
                    if "java" in pathlib.Path(f"/proc/{pid}/comm").read_text():
                        now["java"] += size
                        workers |= set(below(pid))
                    elif pid in workers:
                        now["workers"] += size
                        now["a worker"] = max(now["a worker"], size)
                    else:
                        now["python" if pid == driver else "training"] += size
            now["driver"] = now["java"] + now["python"] + now["training"]
            for name, value in now.items():
                peak[name] = max(peak[name], value)
            cpu.append((time.time(), sum(seconds.values())))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak, cpu
    finally:
        stop.set()
        thread.join()


def measure(pages: int, bucket: int, scratch: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        about = write_crawl(pathlib.Path(temporary), pages)
        print(json.dumps(about), flush=True)
        with (
            concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
            watched(pool) as (peak, cpu),
        ):
            began = time.perf_counter()
            manifests = pool.submit(run, temporary, bucket).result()
            seconds = time.perf_counter() - began
        stages: dict[str, Any] = {}
        times, spent = (np.array(column) for column in zip(*cpu, strict=True))
        for name, manifest in sorted(manifests.items(), key=lambda item: item[1]["started"]):
            start = datetime.fromisoformat(manifest["started"]).timestamp()
            wall = manifest["wall_seconds"]
            used = float(np.diff(np.interp([start, start + wall], times, spent))[0])
            stages[name] = {
                "seconds": round(wall, 1),
                "CPU seconds": round(used, 1),
                "pages a second and core": round(pages / max(wall * CORES, 1e-3)),
                "pages a CPU second": round(pages / max(used, 1e-3)),
            }
        found = duckdb.sql(
            f"select count(*), count(*) filter (where planted) from '{temporary}/work/mined/part-*.parquet'"
        ).fetchall()[0]
        total = float(spent[-1] - spent[0])
        return about | {
            "bucket": bucket,
            "rounds": manifests["mined"]["rounds"],
            "stopped": manifests["mined"]["stopped"],
            "collected": found[0],
            "precision": round(found[1] / max(found[0], 1), 4),
            "recall": round(found[1] / about["planted"], 4),
            "minutes": round(seconds / 60, 2),
            "CPU seconds": round(total),
            "CPU microseconds a page and round": round(1e6 * total / pages / ROUNDS, 1),
            "pages of a round a second and core": round(ROUNDS * pages / seconds / CORES),
            "peak GB": {name: round(value, 2) for name, value in peak.items()},
            "stages": stages,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pages", nargs="*", type=int, default=[500_000, 5_000_000])
    parser.add_argument("--bucket", type=int, default=2_000_000, help="of the classifier")
    parser.add_argument("--scratch", help="a folder with room: five million pages take some 8 GB")
    arguments = parser.parse_args()
    runs = []
    for pages in arguments.pages:
        runs.append(measure(pages, arguments.bucket, arguments.scratch))
        print(json.dumps(runs[-1], indent=1), flush=True)
    result: dict[str, Any] = {"runs": runs}
    if len(runs) > 1:
        first, last = runs[0], runs[-1]
        result["time of a page, last to first"] = {
            name: round(last[name] / last["pages"] / (first[name] / first["pages"]), 3)
            for name in ("minutes", "CPU seconds")
        }
        print(json.dumps(result["time of a page, last to first"]))
    record("mining_scale", result, ["pyspark", "pyarrow", "numpy", "fasttext-community"])


if __name__ == "__main__":
    main()
