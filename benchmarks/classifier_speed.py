"""The page classifier beside fastText's own binary: the same model, numbers, speed on one core, memory of workers.

    python -m benchmarks.classifier_speed --fasttext BINARY [--crawl WARC ...] [--documents 20000]

BINARY is fastText's command-line program: `pip download --no-deps --no-binary :all: fasttext-community==0.11.9` (or
fasttext==0.9.3), unpack, and in `src/` `g++ -O3 -march=native -funroll-loops -std=c++17 -pthread *.cc -o fasttext`.
The pages of the sample crawl (or of the WARC files given), cut to pieces of 3,000 characters and repeated, are labelled
by a hash of their domain, which is no task but a real load. The model has the paper's settings, and made-up words fill
its vocabulary up to 500,000. Times are seconds of a core; the two sides take turns, and medians are compared.
"""

import argparse
import multiprocessing
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import xxhash

from benchmarks.record import SAMPLE, record
from corpus.extract import extract_pages
from filters.classifier import Classifier, FastTextSettings, shuffled, train
from filters.normaliser import kinds, normalise
from filters.scorer import NEGATIVE, POSITIVE, collapse, scorer_path

PIECE = 3_000
WORDS = 500_000
ROUNDS = 5
WORKERS = (1, 2, 4)
SECONDS = 10


def pieces(crawl: list[str], wanted: int) -> tuple[list[str], list[bool]]:
    texts, labels = [], []
    for batch in extract_pages(crawl, "web"):
        for text, domain in zip(batch["text"].to_pylist(), batch["domain"].to_pylist(), strict=True):
            cut = [text[at : at + PIECE] for at in range(0, len(text or ""), PIECE)]
            texts += cut
            labels += [xxhash.xxh3_64_intdigest((domain or "").encode()) % 2 == 0] * len(cut)
    order = np.random.default_rng(0).permutation(max(wanted, len(texts)))[:wanted] % max(len(texts), 1)
    return [texts[i] for i in order], [labels[i] for i in order]


def fillers(texts: list[str]) -> list[str]:
    """Lines of made-up words, each often enough for the vocabulary."""
    missing = WORDS - len({word for text in texts for word in text.split()})
    names = [f"filler{number}" for number in range(max(missing, 0))]
    return [" ".join(names[at : at + 500]) for at in range(0, len(names), 500) for _ in range(3)]


def core_seconds(command: list[str], output: pathlib.Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with output.open("wb") as file:
        subprocess.run(command, stdout=file, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def own_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def equality(printed: str, scores: np.ndarray) -> dict[str, Any]:
    """Both labels as the binary prints them, beside ours."""
    worst, labels = {POSITIVE: 0.0, NEGATIVE: 0.0}, 0
    unclipped = 0.0
    for line, score in zip(printed.splitlines(), scores, strict=True):
        fields = line.split()
        theirs = dict(zip(fields[::2], map(float, fields[1::2]), strict=True))
        # fastText shows p + 1e-5, which for the surest is more than 1.
        ours = {POSITIVE: score, NEGATIVE: 1 - score + (2e-5 if score < 0.99998 else 1e-5)}
        for label in worst:
            worst[label] = max(worst[label], abs(min(theirs[label], 1.0) - min(ours[label], 1.0)))
        unclipped = max(unclipped, abs(theirs[POSITIVE] - score))
        labels += (fields[0] == POSITIVE) == (score >= 0.5)
    return {
        "documents": len(scores),
        "same label": int(labels),
        "largest difference": {label: float(value) for label, value in worst.items()},
        "largest difference to __label__yes where it may pass 1": float(unclipped),
    }


def trained_by_binary(
    binary: str, examples: list[list[str]], settings: FastTextSettings, folder: str, texts: list[str]
) -> np.ndarray:
    """Scores of the model that the binary trains on the same lines with the same arguments."""
    lines = os.path.join(folder, "lines.txt")
    counts = shuffled(((POSITIVE, examples[0]), (NEGATIVE, examples[1])), settings.seed, folder, lines)
    epoch = max(settings.epoch, -(-settings.passes // counts.total()))
    arguments = {"dim": settings.dim, "lr": settings.lr, "wordNgrams": settings.word_ngrams}
    arguments |= {"minCount": settings.min_count, "epoch": epoch, "bucket": settings.bucket}
    arguments |= {"seed": settings.seed, "thread": 1, "verbose": 0}
    command = [binary, "supervised", "-input", lines, "-output", os.path.join(folder, "binary")]
    command += [word for name, value in arguments.items() for word in (f"-{name}", str(value))]
    subprocess.run(command, check=True, capture_output=True)
    model, scorer = os.path.join(folder, "binary.bin"), os.path.join(folder, "binary.safetensors")
    collapse(model, scorer)
    os.remove(model)
    return Classifier(scorer).score_normalised(texts)


def memory() -> dict[str, float]:
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {"rss": found["Rss"], "pss": found["Pss"]}


def worker(scorer: str, file: str, start: int, report: int) -> None:
    """A worker as Spark's daemon forks it: open the scorer, score for a while, say how much and how large it is."""
    model = Classifier(scorer)
    with open(file, encoding="utf-8", errors="surrogatepass") as lines:
        texts = [line for number, line in enumerate(lines) if number % 16 == start]
    model.score_normalised(texts[:256])
    os.write(report, b"ready\n")
    os.read(report_back[0], 1)
    done, began, began_here = 0, time.monotonic(), time.process_time()
    while time.monotonic() < began + SECONDS:
        for at in range(0, len(texts), 256):
            model.score_normalised(texts[at : at + 256])
            done += len(texts[at : at + 256])
    speed, of_core = done / (time.monotonic() - began), done / (time.process_time() - began_here)
    held = memory()
    os.write(report, f"{speed} {of_core} {held['rss']} {held['pss']}\n".encode())
    os.read(report_back[0], 1)  # memory is shared as long as all are there
    os._exit(0)


report_back = (0, 0)


def workers(count: int, scorer: str, file: str) -> dict[str, float]:
    global report_back
    reads, writes = os.pipe()
    report_back = os.pipe()
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            worker(scorer, file, number, writes)
        children.append(child)
    with os.fdopen(reads) as reports:
        for _ in range(count):
            reports.readline()
        os.write(report_back[1], b"g" * count)
        rows = [[float(value) for value in reports.readline().split()] for _ in range(count)]
        os.write(report_back[1], b"e" * count)
        for child in children:
            os.waitpid(child, 0)
    for end in (writes, *report_back):
        os.close(end)
    speeds, of_core, rss, pss = zip(*rows, strict=True)
    return {
        "documents/s": sum(speeds),
        "documents/s of a core": statistics.mean(of_core),
        "largest RSS MB": max(rss),
        "sum of PSS MB": sum(pss),
    }


def all_workers(scorer: str, file: str) -> dict[int, list[dict[str, float]]]:
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in WORKERS}
    for _ in range(3):
        for count in WORKERS:
            runs[count].append(workers(count, scorer, file))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--fasttext", required=True, help="fastText's command-line binary")
    sample = sorted(map(str, (SAMPLE / "web").glob("dev-*.warc.gz")))
    parser.add_argument("--crawl", nargs="*", default=sample, help="WARC files")
    parser.add_argument("--documents", type=int, default=20_000)
    arguments = parser.parse_args()
    if not arguments.crawl:
        sys.exit("No pages: name some with --crawl.")
    kinds()  # a table that each process makes once
    texts, labels = pieces(arguments.crawl, arguments.documents)
    normalised = [normalise(text) for text in texts]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in normalised)
    examples = [[t for t, y in zip(normalised, labels, strict=True) if y is kind] for kind in (True, False)]
    examples[1] += fillers(normalised)
    result: dict[str, Any] = {"documents": len(texts), "MB normalised": round(size / 1e6, 1)}
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "m.bin")
        settings = FastTextSettings()
        began = time.monotonic()
        train(examples[0], examples[1], settings, model)
        scorer = scorer_path(model)
        ours = Classifier(scorer)
        spent = time.monotonic() - began
        theirs = trained_by_binary(arguments.fasttext, examples, settings, folder, normalised)
        result["model"] = {
            "words": ours.about["words"],
            "buckets": ours.about["bucket"],
            "seconds of training": round(spent, 1),
            "MB of NAME.bin": round(os.path.getsize(model) / 1e6, 1),
            "MB of NAME.safetensors": round(os.path.getsize(scorer) / 1e6, 1),
            # The package and the binary come from two compilers, so the last bits differ before anything else does.
            "largest difference of scores if the binary trains": float(
                np.abs(theirs - ours.score_normalised(normalised)).max()
            ),
        }
        print(result["model"])
        file, one = pathlib.Path(folder, "texts.txt"), pathlib.Path(folder, "one.txt")
        file.write_text("\n".join(normalised) + "\n", encoding="utf-8", errors="surrogatepass")
        one.write_text("a\n")
        output = pathlib.Path(folder, "printed.txt")
        command = [arguments.fasttext, "predict-prob", model]
        seconds: dict[str, list[float]] = {"fastText": [], "lode": [], "lode with normalising": []}
        for _ in range(ROUNDS):
            loading = core_seconds([*command, str(one), "2"], output)
            seconds["fastText"].append(core_seconds([*command, str(file), "2"], output) - loading)
            seconds["lode"].append(own_seconds(lambda: ours.score_normalised(normalised)))
            seconds["lode with normalising"].append(own_seconds(lambda: ours.score(texts)))
            print({name: round(values[-1], 2) for name, values in seconds.items()})
        result["equality"] = equality(output.read_text(), ours.score_normalised(normalised))
        print(result["equality"])
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        result["one core"] = {
            name: {
                "seconds": round(value, 2),
                "documents/s": round(len(texts) / value),
                "MB/s": round(size / value / 1e6, 1),
                "times fastText": round(medians["fastText"] / value, 2),
            }
            for name, value in medians.items()
        }
        print(result["one core"])
        os.remove(model)
        # From a fresh process: the texts and models of this one are none of theirs.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            runs = fresh.submit(all_workers, scorer, str(file)).result()
        result["workers"] = {
            str(count): {name: round(statistics.median(r[name] for r in found)) for name in found[0]}
            for count, found in runs.items()
        }
        first, last = result["workers"][str(WORKERS[0])], result["workers"][str(WORKERS[-1])]
        result["MB for each further worker"] = round(
            (last["sum of PSS MB"] - first["sum of PSS MB"]) / (WORKERS[-1] - 1)
        )
        # By the clock, which other work on the machine slows, and by what a core does while it is ours.
        result["times as fast with 4 workers"] = {
            "by the clock": round(last["documents/s"] / first["documents/s"], 2),
            "by seconds of a core": round(
                WORKERS[-1] * last["documents/s of a core"] / first["documents/s of a core"], 2
            ),
        }
        print(result["workers"])
    record("classifier_speed", result, ["fasttext-community", "numpy", "safetensors"])


if __name__ == "__main__":
    main()
