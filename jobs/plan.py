"""What a recipe will cost before a cluster is rented: rows, core-hours, shuffles, memory and disk of every stage.

Costs come from measured runs: those in `rates.toml`, which `benchmarks/plan.py` records, or a user's own finished
work folders. A stage's core-seconds and disk are a fixed cost and coefficients that are not negative for what it
handles (rows, bytes; times permutations, rounds or dimensions where the recipe decides), fitted by least squares of
relative errors. What leaves a stage is the measured share of what enters it. The shuffle of near-duplicates, the
signatures and the classifiers follow from the parameters alone.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from corpus.errors import LodeError
from corpus.mixture import mixture_epochs
from corpus.warc import SPLIT_BYTES
from filters.normaliser import MAX_CHARS
from jobs.plan_runs import CODE, MINING, PACKING, SERIAL, WEB, Amounts, Run, Settings
from jobs.recipe import Recipe
from jobs.repository_inputs import parts_of

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15}
# A gzip member with a page's headers and nothing else has some 300 bytes; crawlers cut bodies at 1 MB or so.
PAGE_BYTES = (100, 10_000_000)
REPOSITORY_BYTES = (100, 100_000_000_000)
BYTE_OPTIONS = ("--bytes", "--repository-bytes")
SOURCE_KINDS = {"pages": "web", "repositories": "repositories"}
# The runs had 2 GB for 4 cores; what does not fit is spilled.
HEAP_BYTES = 512 << 20
# So many runs tell the costs of stages by themselves.
ENOUGH = 4
DRIVER_BYTES = 3 << 30  # its heap, and Python without classifiers

# Near-duplicates, in bytes as Spark writes its rows (LZ4). A key: its band, the key, and the document's rank, text and
# node, which its other keys share. An edge or a pair: two nodes.
KEY_BYTES = 27
EXACT_KEYS = 2  # the URL and the text
EDGE_BYTES = 16
ROUNDS_OF_CLUSTERING = 4
SHINGLE_BYTES = 8  # hashes do not compress
# Of text, by the measured runs: what shares a band with others is short and repeats itself, and a document that is
# compared with several travels once.
BYTES_PER_SHINGLE = 10
# Of a stored signature: the id has the digits of two hashes, then come hashes of the URL, the text and the id, the
# bands and two lengths. A hash that Parquet puts in a dictionary takes its eight bytes and a number.
STORED_HASH, STORED_HASHES, STORED_LENGTHS = 9.5, 5, 7

Driver = Callable[[Amounts, Settings], Sequence[float]]


def rows_and_bytes(a: Amounts, s: Settings) -> Sequence[float]:
    return a.rows_in, a.bytes_in


def written(a: Amounts, s: Settings) -> Sequence[float]:
    return a.rows_in, a.bytes_out


def nothing(a: Amounts, s: Settings) -> Sequence[float]:
    return ()


def deduplication(a: Amounts, bands: int, permutations: int) -> Sequence[float]:
    return a.rows_in * (EXACT_KEYS + bands), a.bytes_in, a.bytes_in * permutations


def classified(a: Amounts) -> float:
    """Bytes of a page that a classifier reads."""
    return min(a.bytes_in / max(a.rows_in, 1e-9), MAX_CHARS)


def training(a: Amounts, s: Settings) -> Sequence[float]:
    """fastText's updates of vectors, over all rounds and targets, and its matrices."""
    models = s.rounds * s.targets
    passes = max(s.epoch * 2 * s.examples, s.passes)
    return models * passes * classified(a) * s.dim, models * s.dim * s.bucket


def training_text(a: Amounts, s: Settings) -> float:
    """Bytes of the examples of a classifier."""
    return max(2 * s.examples * classified(a), 1.0)


@dataclass(frozen=True)
class Model:
    """What the costs of a stage grow with, beside a fixed cost.

    Args:
        work: of its core-seconds.
        disk: of its folder.
        shuffle: of the bytes it shuffles; None where it shuffles nothing.
    """

    work: Driver
    disk: Driver
    shuffle: Callable[[Amounts, Settings], float] | None = None


MODELS = {
    "pages": Model(rows_and_bytes, written),
    "quality": Model(rows_and_bytes, written),
    "mining/seeds": Model(lambda a, s: (s.targets * s.seeds,), lambda a, s: (s.targets * s.seeds,)),
    "mining/examples": Model(
        lambda a, s: (s.rounds * a.rows_in, s.rounds * a.bytes_in),
        lambda a, s: (s.rounds * s.targets * s.examples * a.bytes_in / max(a.rows_in, 1),),
    ),
    "mining/models": Model(training, nothing),
    "mining/scores": Model(
        lambda a, s: (
            s.rounds * a.rows_in, s.rounds * a.bytes_in, s.rounds * s.targets * s.dim * a.rows_in * classified(a)
        ),
        lambda a, s: (s.rounds * a.rows_in,),
    ),
    "mining/statistics": Model(
        lambda a, s: (s.rounds * s.targets * a.rows_in,),
        lambda a, s: (s.rounds * s.targets * a.rows_in,),
        lambda a, s: s.rounds * s.targets * a.rows_in,
    ),
    "mined": Model(rows_and_bytes, written),
    "deduplicated": Model(
        lambda a, s: deduplication(a, s.bands, s.permutations),
        lambda a, s: (a.bytes_out, signature_bytes(a.rows_in, s.bands)),
    ),
    "decontaminated": Model(rows_and_bytes, written),
    "files": Model(rows_and_bytes, written),
    "code_rules": Model(rows_and_bytes, written),
    "code_deduplicated": Model(
        lambda a, s: (a.bytes_in, a.bytes_in * s.code_permutations), written
    ),
    "code_decontaminated": Model(rows_and_bytes, written),
    "repositories": Model(rows_and_bytes, written, lambda a, s: a.bytes_in),
    "tokenizer": Model(lambda a, s: (a.bytes_in, min(a.bytes_in, s.sample_chars)), nothing),
    "tokenized": Model(lambda a, s: (a.bytes_in,), lambda a, s: (a.bytes_in, a.tokens)),
    "heldout": Model(lambda a, s: (a.bytes_in,), nothing, lambda a, s: a.rows_in),
    "shards": Model(lambda a, s: (a.bytes_in, a.tokens), lambda a, s: (a.tokens,), lambda a, s: 4 * a.tokens),
}  # fmt: skip


def near_duplicates(a: Amounts, bands: int, pairs: float) -> float:
    """Bytes that the stage shuffles: a row for each key of a document, the pairs of documents that share a band (made
    distinct, looked up), the shingles of both, and the edges of clusters in every round."""
    keys = a.rows_in * (EXACT_KEYS + bands) * KEY_BYTES
    shingles = a.bytes_in / max(a.rows_in, 1e-9) / BYTES_PER_SHINGLE
    compared = pairs * 2 * (EDGE_BYTES + SHINGLE_BYTES * shingles)
    edges = max(a.rows_in - a.rows_out, 0.0) * EDGE_BYTES * ROUNDS_OF_CLUSTERING
    return keys + compared + edges


def signature_bytes(rows: float, bands: int) -> float:
    """Stored signatures: the document and its band keys, which do not compress."""
    return rows * (STORED_HASH * (STORED_HASHES + bands) + STORED_LENGTHS)


@dataclass(frozen=True)
class Estimate(Amounts):
    """A stage of a plan; `at_most` core-seconds are by the rates of the largest run, with its start-up in them."""

    stage: str = ""
    core_seconds: float = 0.0
    at_most: float = 0.0
    shuffle_bytes: float = 0.0
    disk_bytes: float = 0.0
    parts: int = 1

    @property
    def serial(self) -> bool:
        return self.stage in SERIAL

    def wall_seconds(self, cores: int) -> float:
        """With all cores busy, or as many as there are parts."""
        return self.core_seconds / (1 if self.serial else min(cores, self.parts))


@dataclass(frozen=True)
class Load:
    """What is to be processed."""

    pages: float = 0
    bytes: float = 0
    repositories: float = 0
    repository_bytes: float = 0


def fit(drivers: Sequence[Sequence[float]], measured: Sequence[float], fixed: bool = True) -> np.ndarray:
    """Coefficients [1 + D] >= 0 that give the least squares of relative errors; the first is the fixed cost.

    One measurement is shared out evenly among the drivers, and nothing of it is fixed.
    """
    from scipy.optimize import nnls

    x = np.array([[1.0 if fixed else 0.0, *row] for row in drivers])
    y = np.maximum(np.array(measured, float), 1e-9)
    if len(y) == 1:
        x[0, 0] = 0
        some = x[0] > 0
        return np.where(some, y[0] / max(some.sum(), 1) / np.where(some, x[0], 1), 0.0)
    scale = np.maximum(x.max(axis=0), 1e-300)
    return nnls(x / scale / y[:, None], np.ones(len(y)))[0] / scale


class Rates:
    """What measured runs say of stages. `others` serve for what the runs did not do or did not measure, and to tell
    fixed from growing costs where the runs are few."""

    def __init__(self, runs: Sequence[Run], others: Sequence[Run] = ()):
        self.runs, self.others = list(runs), list(others)

    def having(self, stage: str, name: str = "core_seconds") -> list[Run]:
        for runs in (self.runs, self.others):
            if found := [r for r in runs if stage in r.stages and getattr(r.stages[stage], name) is not None]:
                return found
        raise LodeError(f"no measured run has the stage {stage!r}; add one with --measured.")

    def share(self, stage: str, out: str, of: str) -> float:
        """What comes out of a stage for what goes in, over all runs."""
        found = [r.stages[stage] for r in self.having(stage)]
        return sum(getattr(m, out) for m in found) / max(sum(getattr(m, of) for m in found), 1e-9)

    def cost(
        self, name: str, driver: Driver, stage: str, a: Amounts, s: Settings, largest: bool = False
    ) -> float:
        """Seconds or bytes of a stage; `largest`: at the plain rates of the largest run."""

        def coefficients(runs: list[Run]) -> np.ndarray:
            return fit([driver(r.stages[stage], r.settings) for r in runs], [value(r) for r in runs])

        def value(run: Run) -> float:
            return getattr(run.stages[stage], name)

        x = np.array([1.0, *driver(a, s)])
        runs = self.having(stage, name)
        if largest:
            return float(coefficients([max(runs, key=lambda r: r.size)]) @ x)
        others = [r for r in self.others if stage in r.stages and r not in runs]
        if not others or len(runs) >= ENOUGH:
            return float(coefficients(runs) @ x)
        # Too few to tell what is fixed from what grows: the others say how, these how much.
        shape = coefficients(others)
        expected = sum(shape @ [1.0, *driver(r.stages[stage], r.settings)] for r in runs)
        return float(shape @ x) * sum(map(value, runs)) / max(expected, 1e-9)

    def text_of_pages(self, load: Load) -> float:
        """Bytes of text that come out of a crawl, by its pages and by its bytes.

        Of pages larger than any that were measured, what they have more is taken for markup and scripts.
        """
        found = [r.stages["pages"] for r in self.having("pages")]
        drivers = [(m.rows_in, m.bytes_in) for m in found]
        coefficients = fit(drivers, [m.bytes_out for m in found], fixed=False)
        largest = max(size / rows for rows, size in drivers)
        return float(coefficients @ [0.0, load.pages, min(load.bytes, load.pages * largest)])

    @property
    def collected(self) -> float:
        """Share of the pages that the targets of mining collect."""
        runs = self.having("mined")
        return sum(r.collected for r in runs) / max(sum(r.stages["mined"].rows_in for r in runs), 1)

    @property
    def pairs(self) -> float:
        """Pairs of documents that are compared, for each document."""
        runs = self.having("deduplicated")
        return sum(r.pairs for r in runs) / max(sum(r.stages["deduplicated"].rows_in for r in runs), 1)

    def words(self, a: Amounts, s: Settings) -> float:
        """Words of a classifier's vocabulary: Heaps' law with the exponent 0.6, its factor from the runs."""
        found = [r for r in [*self.runs, *self.others] if r.words > 0 and "mining/models" in r.stages]
        if not found or not s.targets:
            return 0.0
        factors = [r.words / training_text(r.stages["mining/models"], r.settings) ** 0.6 for r in found]
        # fastText holds no more than 30 million.
        return min(sum(factors) / len(factors) * training_text(a, s) ** 0.6, 30e6)

    def worker_bytes(self) -> float:
        """The largest Python worker of all runs."""
        peaks = [m.worker_bytes for run in [*self.runs, *self.others] for m in run.stages.values()]
        return max((peak for peak in peaks if peak), default=0.0)


def flow(rates: Rates, s: Settings, load: Load) -> dict[str, Amounts]:
    """What enters and leaves each stage of a recipe with these settings."""
    stages: dict[str, Amounts] = {}
    wanted = {
        "mined": s.rounds, "deduplicated": s.bands, "decontaminated": s.decontaminates,
        "code_decontaminated": s.decontaminates,
    }  # fmt: skip
    ends = []
    for chain, rows, size in (
        (WEB, load.pages, load.bytes),
        (CODE, load.repositories, load.repository_bytes),
    ):
        for name in (n for n in chain if rows and wanted.get(n, True)):
            if name == "pages":
                out = rows * rates.share(name, "rows_out", "rows_in"), rates.text_of_pages(load)
            elif name == "mined":
                stages |= {kind: Amounts(rows, size) for kind in MINING}
                longer = rates.share(name, "bytes_out", "rows_out") / rates.share(name, "bytes_in", "rows_in")
                kept = rows * (rates.collected + s.rest * (1 - rates.collected))
                out = kept, kept * size / max(rows, 1e-9) * longer
            else:
                out = (
                    rows * rates.share(name, "rows_out", "rows_in"),
                    size * rates.share(name, "bytes_out", "bytes_in"),
                )
            stages[name] = Amounts(rows, size, *out)
            rows, size = out
        ends.append((rows, size))
    rows, size = (sum(values) for values in zip(*ends, strict=True))
    density = rates.share("tokenized", "tokens", "bytes_in")
    tokens = packed(rates, s, *(density * text for _, text in ends))
    for name in PACKING:
        stages[name] = Amounts(rows, size, rows, size, tokens if name == "shards" else density * size)
    return stages


def packed(rates: Rates, s: Settings, web: float, code: float) -> float:
    """Tokens that the mixture draws from those of the web and of repositories."""
    kept = rates.collected + s.rest * (1 - rates.collected) if s.rounds else 1.0
    mined = rates.collected / kept if s.rounds and kept else 1.0
    available = {"web": web * mined, "rest": web * (1 - mined), "code": code}
    weights = {"web": s.web_weight, "rest": s.rest_weight, "code": s.code_weight}
    weights = {name: weight for name, weight in weights.items() if weight and available[name]}
    if not weights:
        return 0.0
    epochs = mixture_epochs(weights, available, s.max_epochs, s.mixture_tokens or None)  # type: ignore[arg-type]
    return sum(epochs[name] * available[name] for name in epochs)


def estimate(rates: Rates, s: Settings, load: Load, split_bytes: int = SPLIT_BYTES) -> list[Estimate]:
    """The stages of a recipe with these settings, in order."""
    stages = flow(rates, s, load)
    found = []
    web_parts = math.ceil(load.bytes / split_bytes)
    code_parts = parts_of(load.repositories, load.repository_bytes)
    for stage, a in ((name, stages[name]) for name in MODELS if name in stages):
        model = MODELS[stage]
        seconds = rates.cost("core_seconds", model.work, stage, a, s)
        disk = rates.cost("disk_bytes", model.disk, stage, a, s)
        if stage == "mining/models":
            words = rates.words(a, s)  # the last round alone keeps whole classifiers
            disk = s.targets * (s.model_bytes(words) + s.rounds * s.scorer_bytes(words))
        shuffle = 0.0
        if stage == "deduplicated":
            shuffle = near_duplicates(a, s.bands, rates.pairs * a.rows_in if s.verify else 0.0)
        elif model.shuffle:
            runs = rates.having(stage, "shuffle_bytes")
            units = sum(model.shuffle(r.stages[stage], r.settings) for r in runs)
            shuffle = (
                model.shuffle(a, s) * sum(r.stages[stage].shuffle_bytes or 0 for r in runs) / max(units, 1)
            )
        parts = (web_parts if stage not in CODE else 0) + (code_parts if stage in (*CODE, *PACKING) else 0)
        found.append(
            Estimate(
                a.rows_in,
                a.bytes_in,
                a.rows_out,
                a.bytes_out,
                a.tokens,
                stage=stage,
                core_seconds=seconds,
                at_most=max(seconds, rates.cost("core_seconds", model.work, stage, a, s, largest=True)),
                shuffle_bytes=shuffle,
                disk_bytes=disk,
                parts=max(parts, 1),
            )
        )
    return found


def backtest(runs: Sequence[Run], others: Sequence[Run] = ()) -> list[dict[str, Any]]:
    """Each run as it was measured, and as it is predicted from the others by its recipe and the size of its input.

    `error_percent` leaves the run itself out. `error_percent_other_crawl` leaves out all runs of the same crawl: what
    to expect where the crawl is unlike those that were measured. None where no run is left to predict from.
    """
    found = []
    for run in runs:
        load = Load(run.pages, run.bytes, run.repositories, run.repository_bytes)
        by = {}
        for name, kept in (
            ("predicted", [r for r in runs if r is not run]),
            ("predicted_from_other_crawls", [r for r in runs if not set(r.crawls) & set(run.crawls)]),
        ):
            by[name] = estimate(Rates(kept, others), run.settings, load) if kept or others else []
        row: dict[str, Any] = {"run": run.name, **asdict(load), "stages": []}
        for stage, m in run.stages.items():
            row["stages"].append({"stage": stage, **compared(by, [stage], [m])})
        names = list(run.stages)
        row["total"] = compared(by, names, [run.stages[name] for name in names])
        found.append(row)
    return found


def compared(by: dict[str, list[Estimate]], stages: list[str], measured: list[Any]) -> dict[str, Any]:
    """Measured and predicted values of some stages together, and the errors in percent."""
    row: dict[str, Any] = {}
    for value in ("core_seconds", "shuffle_bytes", "disk_bytes"):
        known = [getattr(m, value) for m in measured]
        row[value] = {"measured": sum(v or 0 for v in known) if any(v is not None for v in known) else None}
        for name, estimates in by.items():
            chosen = [getattr(e, value) for e in estimates if e.stage in stages]
            row[value][name] = sum(chosen) if chosen else None
        for error, name in (
            ("error_percent", "predicted"),
            ("error_percent_other_crawl", "predicted_from_other_crawls"),
        ):
            row[value][error] = percent(row[value][name], row[value]["measured"])
    return row


def percent(predicted: float | None, measured: float | None) -> float | None:
    return round(100 * (predicted / measured - 1), 1) if predicted is not None and measured else None


def plan(
    recipe: Recipe,
    load: Load,
    cores: int,
    runs: Sequence[Run],
    others: Sequence[Run] = (),
    seeds: int | None = None,
) -> dict[str, Any]:
    """Everything `lode plan` prints, as JSON values: bytes, seconds, numbers of rows.

    Args:
        load: pages in compressed bytes and repositories in bytes of archives.
        cores: for wall hours.
        runs: measured runs to plan from; `others` serve for what these did not do or measure.
        seeds: documents that a target of mining begins with; as many as training takes where it is None.

    Raises:
        LodeError: the amounts do not belong together, or to the recipe.
    """
    check(recipe, load)
    settings = Settings.of(recipe, seeds)
    if seeds is None:
        settings = replace(settings, seeds=min(settings.seeds, math.ceil(load.pages)))
    rates = Rates(runs, others)
    stages = estimate(rates, settings, load, recipe.pages.split_bytes)
    cores_of_executor = int(recipe.spark.get("spark.executor.cores", min(4, cores)))
    by_name = {e.stage: e for e in stages}
    trained = by_name.get("mining/models")
    words = rates.words(trained, settings) if trained else 0.0
    worker = rates.worker_bytes()
    held = settings.scorers_held(words) if trained else 0.0
    driver = (
        settings.model_bytes(words) if trained else 0.0
    )  # in a process of its own; one is trained at a time
    signed = by_name.get("deduplicated")
    total = {
        "core_seconds": sum(e.core_seconds for e in stages),
        "core_seconds_at_most": sum(e.at_most for e in stages),
        "serial_seconds": sum(e.core_seconds for e in stages if e.serial),
        "wall_seconds": sum(e.wall_seconds(cores) for e in stages),
        "shuffle_bytes": sum(e.shuffle_bytes for e in stages),
        "largest_shuffle_bytes": max(e.shuffle_bytes for e in stages),
        "disk_bytes": sum(e.disk_bytes for e in stages),
    }
    return {
        "recipe": recipe.name,
        **asdict(load),
        "cores": cores,
        "stages": [{**asdict(e), "serial": e.serial, "wall_seconds": e.wall_seconds(cores)} for e in stages],
        "total": total,
        "signatures": {
            "documents": signed.rows_in if signed else 0,
            "bands": settings.bands,
            "permutations": settings.permutations,
            "bytes": signature_bytes(signed.rows_in, settings.bands) if signed else 0,
        },
        "memory": {
            "executor_cores": cores_of_executor,
            "heap_bytes": HEAP_BYTES * cores_of_executor,
            "worker_bytes": worker,
            "classifier_bytes": settings.model_bytes(words) if trained else 0.0,
            "driver_bytes": DRIVER_BYTES + driver,
            "classifiers_held_bytes": held,
            "overhead_bytes": cores_of_executor * worker + held,
            "executor_bytes": cores_of_executor * (HEAP_BYTES + worker) + held,
        },
        "assumes": assumptions(recipe, settings, load, rates, seeds),
        "runs": backtest(runs, others),
    }


def check(recipe: Recipe, load: Load) -> None:
    """Refuse amounts that cannot be meant."""
    for kind, count, size, sources, limits, each in (
        ("pages", load.pages, load.bytes, recipe.web, PAGE_BYTES, "page"),
        (
            "repositories",
            load.repositories,
            load.repository_bytes,
            recipe.repositories,
            REPOSITORY_BYTES,
            "repository",
        ),
    ):
        of = "--bytes" if kind == "pages" else "--repository-bytes"
        if (count > 0) != (size > 0):
            raise LodeError(f"--{kind} and {of}: give both, more than 0 each.")
        if count and not sources:
            other = " (--repositories and --repository-bytes plan those)" if recipe.repositories else ""
            raise LodeError(
                f"--{kind}: the recipe {recipe.name!r} has no source of kind {SOURCE_KINDS[kind]!r}{other}."
            )
        if count and not limits[0] <= size / count <= limits[1]:
            raise LodeError(
                f"--{kind} {count:,.0f} in {of} {size:,.0f} are {size / count:,.1f} bytes a {each}; between "
                f"{limits[0]:,} and {limits[1]:,} were expected (compressed, as they lie on disk)."
            )
    if not load.pages and not load.repositories:
        raise LodeError(
            "nothing to plan: give --pages and --bytes, or --repositories and --repository-bytes."
        )


def assumptions(recipe: Recipe, s: Settings, load: Load, rates: Rates, seeds: int | None) -> list[str]:
    """What the numbers rest on, as sentences."""
    said = [
        "costs grow linearly from the measured runs (the logarithm of sorting and a growing share of duplicates are "
        "left out), each stage keeps the share that it kept there, cores are as fast as those that measured, and busy"
    ]
    if s.rounds:
        known = (
            f"{s.seeds:,} seeds"
            if seeds is not None
            else f"{s.examples:,.0f} seeds (as many as training takes)"
        )
        said.append(f"mining goes through all {s.rounds} rounds with {known} for each target")
    seen = [r.bytes / r.pages for r in rates.runs if r.pages]
    mean = load.bytes / load.pages if load.pages else 0
    if load.pages and seen and not 0.8 * min(seen) <= mean <= 1.25 * max(seen):
        said.append(
            f"pages of {mean:,.0f} compressed bytes are unlike the measured ones ({min(seen):,.0f} to "
            f"{max(seen):,.0f}) and not taken to hold more text: run a sample of your crawl and give its work folder "
            "with --measured"
        )
    for source, given, option in (
        (recipe.web, load.pages, "--pages and --bytes"),
        (recipe.repositories, load.repositories, "--repositories and --repository-bytes"),
    ):
        if source and not given:
            said.append(f"{', '.join(source)} left out: give {option}")
    return said


def amount(text: str, option: str) -> float:
    """`4GB`, `1.5TB`, `2 TiB`, `3.1B`, `250_000` as a number.

    Raises:
        LodeError: naming the option.
    """
    match = re.fullmatch(
        r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]{1,2})?)\s*([kmgtpb]?)(i?)(b?)", text.strip().lower()
    )
    if not match or (match.group(3) and match.group(2) in ("", "b")):
        raise LodeError(
            f"{option} {text}: not an amount; expected something like 250000, 3.1B, 4GB or 1.5TB."
        )
    number, unit, binary, is_bytes = match.groups()
    if unit == "b" and option in BYTE_OPTIONS:
        unit = ""  # 500B are bytes there, and billions elsewhere
    if is_bytes and option not in BYTE_OPTIONS:
        raise LodeError(f"{option} {text}: is a number of things, not of bytes.")
    unit = unit.upper()
    factor = 1024 ** "KMGTP".index(unit) * 1024 if binary else UNITS[unit]
    return float(number.replace("_", "").replace(",", "")) * factor
