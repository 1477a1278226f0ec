"""Mining the sample crawl from few seeds: precision and recall by round on domains that gave no seed, and ablations.

    python -m benchmarks.mining [--draws NAME ...] [--random 3] [--variants NAME ...] [--ablate NAME ...]
                                [--workers 2] [--work FOLDER]

A draw names a class of the crawl's labels (math, code) and N of the domains that have pages of it; its seeds are the
English pages of that class there. Draws are a few fixed ones and, with `--random K`, K for each class, drawn by
number among all choices of N domains (N: a tenth of the class's domains, rounded down) with at least 50 seeds. `over a
tenth` marks draws of more domains than that.

Scored is what a round, or the loop, collects, by URL, on labels of high confidence and on pages of domains that gave no
seed; pages labelled ambiguous or not at all count for neither side. `Chinese` is the recall of pages in Chinese.

Variants, of the draws that `--ablate` names: `domain` (neighbours are the pages of a domain, not of its folders);
`page` (no neighbours: each page by its own score); `annotations` (no path accepted without a person); `alone` (both of
these: the classifier and nothing else); `bpe` (words cut by the sample's DeepSeek tokenizer). Settings are the defaults
but for 200,000 buckets instead of 2,000,000, since three thousand pages fill no more.
"""

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import pathlib
import random
import tempfile
import time
from collections import defaultdict
from typing import Any

import duckdb
import pyarrow.parquet as pq

from benchmarks.record import SAMPLE, record
from corpus import mining
from jobs import web
from jobs.engine import Stage, Work
from jobs.mine import mine
from jobs.progress import Progress
from jobs.recipe import MineSection, Source
from jobs.spark import Spark

BUCKET = 200_000
SHARE = 10  # a draw has at most one in so many of its class's domains
LEAST_SEEDS = 50
TOKENIZER = SAMPLE / "tokenizer" / "deepseek" / "tokenizer.json"
DRAWS = {
    "m_pcc": ("math", "pcc.edu"),
    "m_aak": ("math", "aakinshin.net"),
    "m2a": ("math", "pcc.edu metamath.org"),
    "m2b": ("math", "metamath.org aakinshin.net"),
    "m2c": ("math", "hplgit.github.io pcc.edu"),
    "m3b": ("math", "pcc.edu metamath.org branimircacic.github.io"),
    "m3c": ("math", "metamath.org aakinshin.net alex-jordan.github.io"),
    "m3d": ("math", "gap-system.org hplgit.github.io pcc.edu"),
    "c4a": ("code", "python.org qt.io llvm.org nodejs.org"),
    "c4b": ("code", "postgresql.org scikit-learn.org kernel.org twisted.org"),
    "c4c": ("code", "oracle.com cmake.org sqlalchemy.org erlang.org"),
}
ABLATED = ("m_pcc", "m2a", "c4a")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "domain": {"evidence": "domain"},
    "page": {"evidence": "page"},
    "annotations": {"widen": "annotations"},
    "alone": {"evidence": "page", "widen": "annotations"},
    "bpe": {"classifier": {"tokenizer": str(TOKENIZER)}},
}
LABELS = f"""
select url, any_value(domain) as domain, any_value(class) as class, any_value(label_confidence) as confidence,
       any_value(lang) as language
from '{SAMPLE}/web/labels.parquet' where status = 200 group by url order by url
"""


def labels() -> list[dict[str, Any]]:
    return duckdb.sql(LABELS).to_arrow_table().to_pylist()


def most_domains(target: str, rows: list[dict[str, Any]]) -> int:
    return len({row["domain"] for row in rows if row["class"] == target}) // SHARE


def seeds_of(target: str, domains: frozenset[str], rows: list[dict[str, Any]]) -> list[str]:
    return [
        row["url"]
        for row in rows
        if row["class"] == target and row["domain"] in domains and row["language"] == "en"
    ]


def random_draws(
    count: int, rows: list[dict[str, Any]], there: set[str]
) -> dict[str, tuple[str, frozenset[str]]]:
    """For each class, domains drawn without regard to what is in them but for the number of seeds."""
    found = {}
    for target in ("math", "code"):
        size = defaultdict(int)
        for row in rows:
            size[row["domain"]] += row["class"] == target and row["language"] == "en" and row["url"] in there
        choices = itertools.combinations(sorted(d for d in size if size[d]), most_domains(target, rows))
        enough = [c for c in choices if sum(size[domain] for domain in c) >= LEAST_SEEDS]
        for number, choice in enumerate(
            random.Random(f"draws of {target}").sample(enough, min(count, len(enough)))
        ):
            found[f"{target}_random_{number}"] = (target, frozenset(choice))
    return found


def extract(folder: pathlib.Path) -> Stage:
    """The pages of the sample crawl, extracted once for all draws."""
    source = Source(kind="web", input=[str(path) for path in sorted((SAMPLE / "web").glob("dev-*.warc.gz"))])
    spark = Spark("local[2]", {}, str(folder / "logs" / "spark.log"))
    with Work(str(folder), spark, Progress(quiet=True)) as work:
        stage = web.pages(work, {"web": source}, 1)
    spark.stop()
    return stage


def scored(
    collected: set[str], target: str, seeded: frozenset[str], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Precision and recall of a set of URLs, on labels of high confidence in domains that gave no seed."""
    judged = [
        row
        for row in rows
        if row["confidence"] == "high" and row["class"] != "ambiguous" and row["domain"] not in seeded
    ]
    wanted = [row for row in judged if row["class"] == target]
    hits = sum(row["url"] in collected for row in wanted)
    wrong = sum(row["url"] in collected and row["class"] != target for row in judged)
    chinese = [row for row in wanted if (row["language"] or "").startswith("zh")]
    precision, recall = hits / max(hits + wrong, 1), hits / max(len(wanted), 1)
    both = max(precision + recall, 1e-9)
    return {
        "collected": len(collected),
        "judged": hits + wrong,
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "F1": round(2 * precision * recall / both, 4),
        "Chinese": round(sum(row["url"] in collected for row in chinese) / max(len(chinese), 1), 4),
        "wrong by domain": dict(
            sorted(
                (
                    (name, len(list(some)))
                    for name, some in itertools.groupby(
                        sorted(r["domain"] for r in judged if r["url"] in collected and r["class"] != target)
                    )
                ),
                key=lambda item: -item[1],
            )[:5]
        ),
    }


def collected_in(
    work: str, number: int, target: str, section: MineSection, keys: frozenset[int]
) -> list[str]:
    """The URLs of the pages that a round collected: decided again from its scores, its evidence and its cut.

    Raises:
        RuntimeError: they are not as many as the round says.
    """
    at = pathlib.Path(work, "mining")
    about = json.loads((at / f"round-{number}" / "statistics" / "_lode.json").read_text())
    (said,) = about["parameters"]["rules"]
    rule = mining.Rule(
        target,
        about["round"][target]["cut"],
        *(tuple(said[name]) for name in ("accepted", "rejected", "learnt")),
    )
    place = mining.Place(
        str(at / f"round-{number}" / "statistics"), about["fingerprint"], (target,), section.evidence
    )
    scores = [
        sorted(map(str, (at / f"round-{earlier}" / "scores").glob("part-*.parquet")))
        for earlier in (number, number - 1)
        if earlier
    ]
    found = []
    for paths in zip(*scores, strict=True):
        for batch, before in mining.read_beside(paths):
            (decided,) = mining.decide(place, (rule,), {target: keys}, batch, before)
            found += [url for url, (why, *_) in zip(batch["url"].to_pylist(), decided, strict=True) if why]
    if len(found) != about["round"][target]["collected"]:
        raise RuntimeError(
            f"round {number}: {len(found)} pages decided again, of {about['round'][target]['collected']}"
        )
    return found


def run(
    name: str, target: str, domains: frozenset[str], variant: str, pages: Stage, folder: str
) -> dict[str, Any]:
    """One draw under one variant: the loop, and what each of its rounds collected."""
    rows = labels()
    wanted = set(seeds_of(target, domains, rows))
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        seeds = pq.read_table(pages.parts, columns=["url", "domain", "text"])
        keys = frozenset(map(mining.url_key, wanted))
        kept = [i for i, url in enumerate(seeds["url"].to_pylist()) if url in wanted]
        pq.write_table(seeds.take(kept), f"{temporary}/seeds.parquet")
        settings = VARIANTS[variant]
        classifier = {"bucket": BUCKET, **settings.get("classifier", {})}
        section = MineSection(
            targets={target: {"seeds": [f"{temporary}/seeds.parquet"]}},
            **{**settings, "classifier": classifier},
        )
        began = time.perf_counter()
        spark = Spark("local[1]", {}, f"{temporary}/logs/spark.log")
        with Work(f"{temporary}/work", spark, Progress(quiet=True)) as work:
            mined = mine(work, pages, section, 1)
        spark.stop()
        seconds = time.perf_counter() - began
        found = pq.read_table(mined.parts, columns=["url", "target"]).to_pylist()
        final = {row["url"] for row in found if row["target"] == target}
        rounds = []
        for number, entry in enumerate(mined.manifest["rounds"], 1):
            about = entry[target]
            collected = collected_in(f"{temporary}/work", number, target, section, keys)
            figures = scored(set(collected), target, domains, rows)
            already = {"already collected": round(about["already_collected"], 4), "cut": about["cut"]}
            rounds.append({"round": number, **already, **figures})
        return {
            "draw": name,
            "class": target,
            "variant": variant,
            "domains": sorted(domains),
            "over a tenth": len(domains) > most_domains(target, rows),
            "seeds": len(kept),
            "rounds": rounds,
            "stopped": mined.manifest["stopped"],
            "mined": scored(final, target, domains, rows),
            "seconds": round(seconds, 1),
        }


def shown(result: dict[str, Any]) -> str:
    """One line a round, and one for what was mined."""
    mark = " (more than a tenth of the domains)" if result["over a tenth"] else ""
    lines = [f"{result['draw']} {result['variant']}: {result['seeds']} seeds{mark}"]
    for entry in [*result["rounds"], {"round": "mined", **result["mined"]}]:
        lines.append(
            f"  {entry['round']!s:>5}  precision {entry['precision']:.3f}  recall {entry['recall']:.3f}  "
            f"Chinese {entry['Chinese']:.3f}  F1 {entry['F1']:.3f}  collected {entry['collected']:,}"
            + (f"  before {entry['already collected']:.1%}  cut {entry['cut']:.2f}" if "cut" in entry else "")
        )
    return "\n".join([*lines, f"  {result['stopped']}; {result['seconds']:.0f} s", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--draws", nargs="*", default=list(DRAWS), help=f"of {', '.join(DRAWS)}")
    parser.add_argument("--random", type=int, default=3, metavar="K", help="so many more draws of each class")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--ablate", nargs="*", default=list(ABLATED), help="draws of the variants but the first"
    )
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--work", help="a folder that keeps the extracted pages for the next time")
    arguments = parser.parse_args()
    rows = labels()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments.work or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        pages = extract(folder)
        there = {
            url for part in pages.parts for url in pq.read_table(part, columns=["url"])["url"].to_pylist()
        }
        draws = {name: (DRAWS[name][0], frozenset(DRAWS[name][1].split())) for name in arguments.draws}
        draws |= random_draws(arguments.random, rows, there)
        results = []
        with concurrent.futures.ProcessPoolExecutor(
            arguments.workers, multiprocessing.get_context("spawn"), max_tasks_per_child=1
        ) as pool:
            runs = [
                pool.submit(run, name, target, domains, variant, pages, str(folder))
                for variant in arguments.variants
                for name, (target, domains) in draws.items()
                if variant == "default" or name in arguments.ablate
            ]
            for done in runs:
                results.append(done.result())
                print(shown(results[-1]), flush=True)
    counts = {
        target: len({row["domain"] for row in rows if row["class"] == target}) for target in ("math", "code")
    }
    result = {"bucket": BUCKET, "domains of the class": counts, "runs": results}
    record("mining", result, ["pyspark", "pyarrow", "fasttext-community", "duckdb"])


if __name__ == "__main__":
    main()
