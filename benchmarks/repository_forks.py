"""Forks, near-duplicate releases and repositories within others: what goes, beside a comparison of all with all.

    python -m benchmarks.repository_forks [--work DIR] [--master local[2]] [--sizes 5000 10000 20000]

1. The sample's repositories, as they are and after the rules of DeepSeek-Coder: which of them go.
2. Planted: of each of a dozen of them a fork of every kind below, in a dataset with the originals (but "within": there
   with the collection alone). What goes is compared with the sets of 5-grams of all pairs, made here by a regular
   expression and Python's own sets.
3. Small synthetic repositories, one of ten a fork and one of twenty a collection of ten others: seconds and pairs.
"""

import argparse
import itertools
import pathlib
import random
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import SAMPLE, record
from corpus.candidates import LEAST_SHINGLES
from corpus.repositories import read_repository
from corpus.schema import DOCUMENT, document_id
from filters.code_rules import CodeRules
from jobs.deduplicate import deduplicate
from jobs.engine import Stage, Work, open_dataset
from jobs.progress import Progress
from jobs.recipe import CodeDeduplicateSection
from jobs.spark import Spark

SECTION = CodeDeduplicateSection()
FILES = pa.schema([*DOCUMENT, ("vendored", pa.bool_())])
TOKEN = re.compile(r"\w+|[^\w\s]")
LICENCE = re.compile(r"(^|/)(un)?(licen[cs]e|copying|notice)[^/]*$", re.I)
BASES = (
    "axios-1.7.2", "attrs-24.2.0", "capacitor-ios-6.2.0", "cjson-1.7.15", "guzzlehttp-psr7-2.4.5", "lodash-4.17.21",
    "lua-5.4.4", "okio-1.16.0", "requests-2.32.3", "rich-13.7.1", "sinatra-3.0.5", "thor-1.2.1",
)  # fmt: skip
# A file of a repository: its text, and whether it is vendored.
Repository = dict[str, tuple[str, bool]]


def sample(rules: str | None) -> dict[str, Repository]:
    """The sample's repositories, all readable files or those that rules leave."""
    found: dict[str, Repository] = {}
    for path in sorted((SAMPLE / "repos").glob("*.tar.gz")):
        rows = [row for row in read_repository(str(path), "sample") if row["reason"] is None]
        if rules and rows:
            plain = [{name: row.get(name) for name in FILES.names} for row in rows]
            judged = CodeRules(rules)(iter(pa.Table.from_pylist(plain, FILES).to_batches()))
            rows = [row for batch in judged for row in batch.to_pylist() if row["reason"] is None]
        if rows:
            found[path.name.removesuffix(".tar.gz")] = {r["path"]: (r["text"], r["vendored"]) for r in rows}
    return found


def run(work: Work, name: str, repositories: Iterable[tuple[str, Repository]], parts: int = 4) -> Stage:
    folder = pathlib.Path(work.path(f"{name}-files"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    writers = [pq.ParquetWriter(folder / f"part-{n:05d}.parquet", FILES) for n in range(parts)]
    for (called, files), writer in zip(repositories, itertools.cycle(writers), strict=False):
        rows = [
            {"id": document_id("f", f"{called}\n{path}"), "source": "f", "repository": called, "path": path}
            | {"text": text, "vendored": vendored}
            for path, (text, vendored) in sorted(files.items())
        ]
        writer.write_table(pa.Table.from_pylist(rows, FILES))
    for writer in writers:
        writer.close()
    before = open_dataset(str(folder), ("id", "text", "source", "repository"))
    return deduplicate(work, name, before, SECTION, 0, "repository")


def gone(stage: Stage) -> dict[str, dict[str, Any]]:
    paths = pathlib.Path(stage.folder, "clusters").glob("*.parquet")
    return {row["id"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def grams(files: Repository) -> set[int]:
    """The 5-grams of tokens of the files that are the repository's own."""
    found: set[int] = set()
    for path, (text, vendored) in files.items():
        if not vendored and not LICENCE.search(path):
            tokens = TOKEN.findall(text)
            found.update(map(hash, zip(*(tokens[at:] for at in range(5)), strict=False)))
    return found


def edited(files: Repository, share: float, draw: random.Random) -> Repository:
    """A share of the files gets another text in every fourth line."""
    changed = dict(files)
    for path in draw.sample(sorted(files), round(share * len(files))):
        lines = files[path][0].split("\n")
        for at in range(draw.randrange(4), len(lines), 4):
            lines[at] = " ".join(f"changed_{draw.randrange(10**9)}" for _ in range(6))
        changed[path] = ("\n".join(lines), files[path][1])
    return changed


def planted(kind: str, bases: dict[str, Repository], draw: random.Random) -> Iterator[tuple[str, Repository]]:
    """Repositories of one kind beside the originals; a fork is called `ORIGINAL fork`."""
    for name, files in bases.items():
        others = draw.sample(sorted(set(bases) - {name}), 10)
        paths = sorted(files)
        if kind.startswith("edited"):
            yield f"{name} fork", edited(files, float(kind.split()[1]) / 100, draw)
        elif kind == "folders renamed":
            yield f"{name} fork", {f"src/{path.replace('/', '/new_')}": file for path, file in files.items()}
        elif kind == "files in another order":
            order = draw.sample(paths, len(paths))
            yield (
                f"{name} fork",
                {f"{n:05}{path[-20:].replace('/', '-')}": files[path] for n, path in enumerate(order)},
            )
        elif kind == "half of the files":
            yield f"{name} fork", {path: files[path] for path in draw.sample(paths, -(-len(paths) // 2))}
        elif kind == "within ten others" or kind == "within ten others, a fifth edited":
            # The original is among ten others, each a third of its size, that are nobody else's.
            yield f"{name} fork", edited(files, 0.2, draw) if "edited" in kind else files
        elif kind == "vendored":
            yield (
                f"{name} user",
                {f"vendor/{path}": (text, True) for path, (text, _) in files.items()} | app(name, draw),
            )
        elif kind == "licence":
            licence = {"LICENSE": (terms(), False)}
            yield f"{name} one", app(f"{name} one", draw) | licence
            yield f"{name} two", app(f"{name} two", draw) | licence
        if kind.startswith("within"):
            made = {f"packages/{name}/{path}": file for path, file in files.items()}
            size = sum(text.count("\n") for text, _ in files.values()) // 3
            for other in others:
                made |= {f"packages/{other}/{p}": f for p, f in app(f"{name} {other}", draw, size).items()}
            yield f"{name} monorepo", made


def app(name: str, draw: random.Random, lines: int = 150) -> Repository:
    words = [f"{name.split('-')[0]}_{n}" for n in range(300)]
    text = "\n".join(
        f"{draw.choice(words)} = {draw.choice(words)}({draw.choice(words)})" for _ in range(lines)
    )
    return {"app.py": (text, False)}


def terms() -> str:
    draw = random.Random("terms")
    return "\n".join(" ".join(f"term{draw.randrange(2000)}" for _ in range(12)) for _ in range(600))


KINDS = ("edited 0", "edited 5", "edited 20", "edited 40", "folders renamed", "files in another order",
         "half of the files", "within ten others", "within ten others, a fifth edited", "vendored",
         "licence")  # fmt: skip


def against_all_pairs(work: Work, kind: str, bases: dict[str, Repository]) -> dict[str, Any]:
    made = dict(planted(kind, bases, random.Random(kind)))
    originals = {} if kind.startswith(("within", "licence")) else bases
    repositories = originals | made
    went = gone(run(work, kind.replace(" ", "-"), repositories.items()))
    sets = {name: grams(files) for name, files in repositories.items()}
    found = missed = too_small = 0
    shares = []
    for one, other in itertools.combinations(sets, 2):
        both = len(sets[one] & sets[other])
        most = both / max(min(len(sets[one]), len(sets[other])), 1)
        if most >= SECTION.containment or both >= SECTION.jaccard * len(sets[one] | sets[other]):
            if one in went or other in went:
                found += 1
            elif min(len(sets[one]), len(sets[other])) < LEAST_SHINGLES:
                too_small += 1
            else:
                missed += 1
        if one.split(" ")[0] == other.split(" ")[0]:  # an original and what was made of it
            shares.append(most)
    wrong = []
    for name, row in went.items():
        mine, kept = sets[name], sets[row["winner"]]
        if len(mine & kept) < min(SECTION.containment * len(mine), SECTION.jaccard * len(mine | kept)):
            wrong.append(name)
    return {
        "repositories": len(repositories),
        "planted pairs": len(shares),
        "share of the smaller, least and most": [round(min(shares), 3), round(max(shares), 3)],
        "pairs alike or contained": found + missed + too_small,
        "one of them went": found,
        "too small to be contained": too_small,
        "missed": missed,
        "went": dict(Counter(row["reason"] for row in went.values())),
        "went wrongly": wrong,
    }


def of_sample(work: Work, rules: str | None) -> dict[str, Any]:
    repositories = sample(rules)
    went = gone(run(work, f"sample-{rules}", repositories.items()))
    sets = {name: grams(files) for name, files in repositories.items()}
    unrelated = {
        f"{one} | {other}": len(sets[one] & sets[other]) / max(min(len(sets[one]), len(sets[other])), 1)
        for one, other in itertools.combinations(sets, 2)
        if one.split("-")[0] != other.split("-")[0]
    }
    most = max(unrelated, key=lambda pair: unrelated[pair])
    return {
        "repositories": len(repositories),
        "went": {
            name: {key: row[key] for key in ("reason", "winner")}
            | {key: round(row[key], 3) for key in ("jaccard", "containment")}
            for name, row in sorted(went.items())
        },
        "most alike of others": {most: round(unrelated[most], 3)},
    }


def synthetic(count: int, lines: list[str], draw: random.Random) -> Iterator[tuple[str, Repository]]:
    """Small repositories of lines of real code, forks of earlier ones, and collections of ten of these."""
    held: list[Repository] = []
    for number in range(count):
        kind = draw.random()
        if len(held) == 200 and kind < 0.1:
            files = edited(draw.choice(held), draw.choice([0.0, 0.2, 0.4]), draw)
        elif len(held) == 200 and kind < 0.15:
            files = {f"{n}/{path}": file for n in range(10) for path, file in draw.choice(held).items()}
        else:
            files = {}
            for n in range(draw.randrange(2, 6)):
                chosen = [
                    f"{draw.choice(lines)} name_{draw.randrange(10**7)}"
                    for _ in range(draw.randrange(20, 120))
                ]
                files[f"file{n}.py"] = ("\n".join(chosen), False)
            held.append(files)
            if len(held) > 200:
                held.pop(draw.randrange(200))
        yield f"{number:07}", files


def scale(work: Work, sizes: list[int]) -> list[dict[str, Any]]:
    lines = sorted(
        {
            line
            for files in sample("deepseek-coder").values()
            for text, _ in files.values()
            for line in text.split("\n")
        }
    )
    found = []
    for size in sizes:
        began = time.perf_counter()
        stage = run(work, f"scale-{size}", synthetic(size, lines, random.Random(0)), 8)
        about = stage.manifest["deduplication"]
        found.append(
            {
                "repositories": size,
                "megabytes": round((stage.manifest["bytes"]) / 1e6),
                "seconds": round(stage.manifest["wall_seconds"], 1),
                "seconds with writing the input": round(time.perf_counter() - began, 1),
                "pairs compared": [about["pairs_compared"], about["containment_compared"]],
                "contained": about["contained"],
                "files that went": stage.manifest["dropped"],
            }
        )
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--sizes", type=int, nargs="*", default=[5000, 10000, 20000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or temporary
        spark = Spark(options.master, {}, str(pathlib.Path(folder) / "spark.log"))
        with Work(folder, spark, Progress(quiet=True)) as work:
            result: dict[str, Any] = {
                "containment": SECTION.containment,
                "jaccard": SECTION.jaccard,
                "sample": {},
            }
            for rules in (None, "deepseek-coder"):
                result["sample"][rules or "no rules"] = of_sample(work, rules)
                print(result["sample"][rules or "no rules"], flush=True)
            bases = {name: files for name, files in sample("deepseek-coder").items() if name in BASES}
            result["planted"] = {}
            for kind in KINDS:
                result["planted"][kind] = against_all_pairs(work, kind, bases)
                print(kind, result["planted"][kind], flush=True)
            result["scale"] = scale(work, options.sizes)
        spark.stop()
    record("repository_forks", result, ["pyspark", "pyarrow", "numpy"])


if __name__ == "__main__":
    main()
