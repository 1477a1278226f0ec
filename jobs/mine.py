"""The mining loop on Spark (DeepSeekMath, section 2.1; DeepSeek-Coder-V2, section 2): rounds of stages in `mining/`.

    seeds, pages ─► examples ─► models ─► scores ─► statistics ─► accepted paths ─► the next round
                                             └────► mined, when a round finds (almost) nothing new

Each is a stage of its own, so a loop that was killed goes on inside the round. The texts of the crawl are read once a
round, for its scores, and once more in the first, which draws its negatives for all; later rounds read texts only where
a path was accepted. Everything else goes by the scores. The crawl is never joined with itself: what a page's
neighbours say lies in a table of places that every host maps. The driver holds counts by domain and path.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from corpus import mining, storage
from corpus.annotations import Annotation, plain_prefix, read_annotations
from corpus.errors import LodeError
from corpus.extract import PAGE
from corpus.mining import Collect, Examples, Place, Rule, Spread, Statistics, Sums
from filters.classifier import Classifier as FastText
from filters.classifier import FastTextSettings, Score, train
from filters.normaliser import Normaliser
from filters.scorer import scorer_path
from jobs import web
from jobs.engine import Account, Stage, Work, spark_schema
from jobs.recipe import MineSection
from jobs.worker import Counts, Task

ROOMS = (
    "corpus/mining.py",
    "corpus/urls.py",
    "filters/classifier.py",
    "filters/normaliser.py",
    "filters/scorer.py",
    "jobs/mine.py",
)
ANNOTATIONS = "annotations.toml"  # in a work folder: what `lode review` writes
CALIBRATION_BANDS = 10
# How far a round's cut follows the valley between the two heaps of evidence. With all of it the loop stands still after
# a round or two; with nothing of it, what lies on the slope draws more of its kind in and the net widens for ever.
CAUTION = 0.25


@dataclass(frozen=True)
class Round:
    """What a finished round hands to the next."""

    scores: Stage
    statistics: Stage
    rules: tuple[Rule, ...]
    evidence: Place


def mine(work: Work, pages: Stage, section: MineSection, seed: int, name: str = "mined") -> Stage:
    """Run the loop and file the collected pages under `mined/`.

    A decision that counts from the next round on (`lode review` writes such) makes a loop go on that would have ended.
    """
    targets = section.targets
    seeds = {target: seed_stage(work, target, found.seeds, seed) for target, found in targets.items()}
    keys = {target: seed_keys(stage) for target, stage in seeds.items()}
    said = annotations(work, section)
    pool: Stage | None = None
    last_models: Stage | None = None
    before: list[Round] = []
    history: list[dict[str, Any]] = []
    stopped = ""
    while not stopped:
        number = len(before) + 1
        at = f"mining/round-{number}"
        rules = rules_of(section, said, number, before[-1].statistics if before else None)
        found = examples(work, f"{at}/examples", pages, seeds, keys, rules, before, section, seed)
        pool = pool or found
        models = train_models(work, f"{at}/models", found, pool, seeds, keys, rules, section, seed)
        scores = score(work, f"{at}/scores", pages, models)
        seen = statistics(work, f"{at}/statistics", scores, before, rules, seeds, keys, section, seed)
        rules = tuple(replace(rule, cut=seen.manifest["round"][rule.target]["cut"]) for rule in rules)
        place = Place(seen.folder, seen.fingerprint, tuple(targets), section.evidence)
        before.append(Round(scores, seen, rules, place))
        drop_model(last_models, models)
        last_models = models
        history.append(seen.manifest["round"])
        shares = [entry["already_collected"] for entry in seen.manifest["round"].values()]
        if any(found.round == number + 1 for found in said):
            continue
        if number > 1 and min(shares) >= section.stop_share:
            stopped = f"at least {section.stop_share:.0%} of round {number} was collected before"
        elif number >= section.max_rounds:
            stopped = f"the limit of {section.max_rounds} rounds"
    if waiting := [found for found in said if found.round > len(before)]:
        work.progress.say(
            f"{len(waiting)} annotations count from round {min(found.round for found in waiting)} on, which was not "
            f"reached: the loop ended after {len(before)} ({stopped})."
        )
    return collect(work, name, pages, before, section, keys, seed, {"rounds": history, "stopped": stopped})


def drop_model(last: Stage | None, models: Stage) -> None:
    """Of the rounds before keep the scorers alone: they are all that a model knows, and fastText's own files, of 2 GB
    each with the paper's settings, would fill the disk."""
    for target in models.manifest["models"] if last else ():
        storage.remove(storage.join(last.folder, f"{target}.bin"))


def annotations(work: Work, section: MineSection) -> list[Annotation]:
    """What a person said about paths: in the recipe, from round one on, and in the file of annotations, which is that
    of the work folder unless the recipe names another."""
    found = [
        Annotation(target, plain_prefix(prefix), decision)
        for target, about in section.targets.items()
        for decision, prefixes in (("accept", about.accept), ("reject", about.reject))
        for prefix in prefixes
    ]
    file = section.annotations
    if file is None:
        own = work.path(ANNOTATIONS)
        fs, inside = storage.filesystem(own)
        if not fs.exists(inside):
            return found
        file = own
    read = [said for said in read_annotations(file) if said.decision != "skip"]
    if section.annotations is None:
        work.progress.say(f"{len(read)} decisions about paths are read from {file}.")
    for said in read:
        if said.target not in section.targets:
            raise LodeError(
                f"{file}: the target {said.target!r} is not mined for; there are {', '.join(section.targets)}."
            )
    return found + read


def rules_of(
    section: MineSection, said: list[Annotation], number: int, last: Stage | None
) -> tuple[Rule, ...]:
    """The rules that a round begins with: annotations up to it, and the paths that the last round's statistics accept.

    The last word on a prefix counts, and no means no.
    """
    rules = []
    for target in section.targets:
        mine = [a for a in said if a.target == target and a.round <= number]
        rejected = {a.prefix for a in mine if a.decision == "reject"}
        accepted = {a.prefix for a in mine if a.decision == "accept"} - rejected
        learnt = last.manifest["accepted"][target] if last and section.widen == "statistics" else ()
        rules.append(
            Rule(target, float("inf"), tuple(sorted(accepted)), tuple(sorted(rejected)), tuple(learnt))
        )
    return tuple(rules)


def seed_stage(work: Work, name: str, inputs: list[str], seed: int) -> Stage:
    """The seed documents of a target: extracted from files, or taken from Parquet of documents."""
    files, mark = web.warc_files(work, f"mining/seeds/{name}-crawl", inputs, 4, seed)

    def build(folder: str) -> Account:
        tables = [path for path in files if path.endswith(".parquet")]
        archives = [web.page_item(name, path) for path in files if not path.endswith(".parquet")]
        total = Counts()
        if archives:
            tasks = [Task(part, (item,)) for part, item in enumerate(archives)]
            total.add(work.map_parts(folder, tasks, PAGE, read=web.ReadPages(), unit="pages"))
        for part, path in enumerate(tables, len(archives)):
            schema = storage.parquet_schema(path)
            if missing := {"text", "url"} - set(schema.names):
                raise LodeError(f"{path}: seeds need the columns text and url; {min(missing)} is missing.")
            rows = storage.write_parquet(
                storage.join(folder, f"part-{part:05d}.parquet"), storage.read_parquet(path), schema
            )
            total.add(Counts(rows_in=rows, rows_out=rows, rows_written=rows))
        if not total.rows_out:
            raise LodeError(f"mine.targets.{name}.seeds: no document came out of {', '.join(inputs)}.")
        return Account(total, "pages")

    return work.stage(f"mining/seeds/{name}", (*web.PAGE_ROOMS, "jobs/mine.py"), {}, {"files": mark}, build)


def seed_keys(stage: Stage) -> frozenset[int]:
    """Keys of the seeds' URLs: known positives that no round may draw as negatives."""
    return frozenset(
        mining.url_key(url)
        for path in stage.parts
        for batch in storage.read_parquet(path, ["url"])
        for url in batch.column("url").to_pylist()
        if url
    )


def inputs_of(first: Stage, *beside: Stage) -> list[Task]:
    """A task for each part of a stage, with the same parts of others beside it."""
    rows = zip(first.parts, *(stage.parts for stage in beside), strict=True)
    return [Task(part, paths) for part, paths in enumerate(rows)]


def marks(**stages: Stage | None) -> dict[str, str]:
    return {name: stage.fingerprint for name, stage in stages.items() if stage}


def rules_json(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    return [
        {
            "target": r.target,
            "cut": r.cut if np.isfinite(r.cut) else None,
            "accepted": list(r.accepted),
            "rejected": list(r.rejected),
            "learnt": list(r.learnt),
        }
        for r in rules
    ]


def examples(
    work: Work,
    name: str,
    pages: Stage,
    seeds: dict[str, Stage],
    keys: dict[str, frozenset[int]],
    rules: tuple[Rule, ...],
    before: list[Round],
    section: MineSection,
    seed: int,
) -> Stage:
    """What the crawl gives a round for training: pages under accepted paths, and in the first round a random draw."""
    crawl = max(pages.manifest["rows_out"], 1)
    # Twice as many as the largest training takes, so that those in the right scripts are enough.
    draw = min(2 * section.max_examples / crawl, 1.0)
    widened = before[-1].statistics.manifest["round"] if before else {}
    keep = {
        target: min(section.max_examples / max(widened[target]["under_accepted"], 1), 1.0) if widened else 1.0
        for target in section.targets
    }

    last = before[-1] if before else None
    beside = [round.scores for round in before[-1:-3:-1]]

    def build(folder: str) -> Account:
        choose = Examples(
            rules, keys, draw, keep, seed, last.evidence if last else None, last.rules if last else ()
        )
        counts = work.map_parts(
            folder, inputs_of(pages, *beside), mining.EXAMPLE, read=choose, unit="examples"
        )
        return Account(counts, "examples")

    parameters = {"rules": rules_json(rules), "draw": draw, "keep": keep, "seed": seed}
    inputs = marks(pages=pages, statistics=last.statistics if last else None)
    inputs |= marks(**{f"seeds {target}": stage for target, stage in seeds.items()})
    return work.stage(name, ROOMS, parameters, inputs, build)


@dataclass(frozen=True)
class TrainingSet:
    """The examples of one target in a round. Positives: its seeds and the pages under accepted paths. Negatives: of
    the pages drawn from the crawl those that are neither, nor were collected by the round before, as many in each
    script as the positives have."""

    rule: Rule
    seeds: Stage
    found: Stage
    pool: Stage
    keys: frozenset[int]
    section: MineSection
    seed: int

    def is_held_out(self, key: str) -> bool:
        return mining.fraction(self.seed, "held out", key) < self.section.held_out

    def positives(self, held_out: bool) -> Iterator[str]:
        enough = self.section.max_examples / self.seeds.manifest["rows_out"]
        for path in self.seeds.parts:
            for batch in storage.read_parquet(path, ["url", "text"]):
                for url, text in zip(batch["url"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    key = url or text  # a seed may have no address
                    if (
                        text
                        and self.is_held_out(key) == held_out
                        and mining.fraction(self.seed, "example", key) < enough
                    ):
                        yield text
        for path in self.found.parts:
            for batch in storage.read_parquet(path):
                for row in batch.to_pylist():
                    if row["target"] != self.rule.target or row["text"] is None:
                        continue
                    if self.is_held_out(row["url"] or row["id"]) == held_out:
                        yield row["text"]

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Pages of the pool that the round before collected."""
        return frozenset(
            row["id"]
            for path in self.found.parts
            for batch in storage.read_parquet(path, ["id", "target", "writing"])
            for row in batch.to_pylist()
            if row["target"] == self.rule.target and row["writing"] is None
        )

    def drawn(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        for path in self.pool.parts:
            for batch in storage.read_parquet(path, columns):
                for row in batch.to_pylist():
                    if row["target"] is not None or row["id"] in self.left_out:
                        continue
                    if mining.url_key(row["url"]) not in self.keys and not self.rule.widens(row["url"]):
                        yield row

    def negatives(self, shares: dict[str, float], held_out: bool) -> Iterator[str]:
        for row in self.drawn(mining.EXAMPLE.names):
            share = shares.get(row["writing"], 0.0)
            if (
                self.is_held_out(row["url"] or row["id"]) == held_out
                and mining.fraction(self.seed, "negative", self.rule.target, row["id"]) < share
            ):
                yield row["text"]

    def balance(self) -> tuple[int, dict[str, float]]:
        """How often each positive is gone through, and the share of the drawn pages of each script to take.

        Few positives are repeated rather than paired with as few negatives, which would show too little of the crawl:
        there are as many negatives as make up `passes` with the epochs asked for.
        """
        scripts = Counter(map(mining.writing, self.positives(False)))
        positives = max(scripts.total(), 1)
        settings = self.section.classifier
        wanted = min(max(positives, settings.passes // (2 * settings.epoch)), self.section.max_examples)
        there = Counter(
            row["writing"]
            for row in self.drawn(["id", "url", "writing", "target"])
            if not self.is_held_out(row["url"] or row["id"])
        )
        shares = {
            script: min(wanted * count / positives / max(there[script], 1), 1.0)
            for script, count in sorted(scripts.items())
        }
        negatives = sum(shares[script] * there[script] for script in shares)
        return max(1, round(negatives / positives)), shares


def train_models(
    work: Work,
    name: str,
    found: Stage,
    pool: Stage,
    seeds: dict[str, Stage],
    keys: dict[str, frozenset[int]],
    rules: tuple[Rule, ...],
    section: MineSection,
    seed: int,
) -> Stage:
    """One fastText classifier a target, and what it makes of examples that it did not see."""
    values = section.classifier.model_dump()
    tokenizer = values.pop("tokenizer")
    settings = FastTextSettings(**values, seed=seed)
    normaliser = Normaliser(tokenizer)

    def build(folder: str) -> Account:
        models: dict[str, Any] = {}
        used = 0
        for done, rule in enumerate(rules):
            work.progress.update(done, len(rules), note=f"fastText for {rule.target}")
            chosen = TrainingSet(rule, seeds[rule.target], found, pool, keys[rule.target], section, seed)
            copies, shares = chosen.balance()
            model = storage.join(folder, f"{rule.target}.bin")
            train(
                normalised(normaliser, chosen.positives(False)),
                normalised(normaliser, chosen.negatives(shares, False)),
                settings,
                model,
                normaliser,
                copies,
            )
            classifier = FastText(scorer_path(model))
            held = {
                True: scores_of(classifier, chosen.positives(True)),
                False: scores_of(classifier, chosen.negatives(shares, True)),
            }
            counted = {
                "positives": classifier.about["positives"] // copies,
                "negatives": classifier.about["negatives"],
                "copies": copies,
                "held_out_positives": len(held[True]),
                "held_out_negatives": len(held[False]),
            }
            models[rule.target] = {
                "epochs": classifier.about["epochs"],
                **counted,
                **quality(held[True], held[False]),
            }
            used += sum(n for kind, n in counted.items() if kind != "copies")
        headline = "; ".join(
            f"{t}: {m['positives']:,}+{m['negatives']:,} examples, "
            f"held-out precision {m['precision']:.2f} recall {m['recall']:.2f}"
            for t, m in models.items()
        )
        counts = Counts(rows_in=used, rows_out=used, rows_written=0)
        return Account(counts, "examples", {"models": models, "headline": headline})

    parameters = section.model_dump(include={"classifier", "held_out", "max_examples"})
    parameters |= {"rules": rules_json(rules), "normaliser": normaliser.identity, "seed": seed}
    return work.stage(name, ROOMS, parameters, marks(examples=found, pool=pool), build)


def normalised(normaliser: Normaliser, texts: Iterator[str]) -> Iterator[str]:
    for block in blocks(texts):
        yield from normaliser.batch(block)


def scores_of(classifier: FastText, texts: Iterator[str]) -> np.ndarray:
    return np.concatenate([np.empty(0), *(classifier.score(block) for block in blocks(texts))])


def blocks(texts: Iterator[str], most: int = 256) -> Iterator[list[str]]:
    held: list[str] = []
    for text in texts:
        held.append(text)
        if len(held) == most:
            yield held
            held = []
    if held:
        yield held


def quality(positives: np.ndarray, negatives: np.ndarray) -> dict[str, Any]:
    """Precision and recall at one half on held-out examples, balanced, and how well the scores are calibrated.

    Negatives are drawn from the crawl and some of them are positives that nobody knows yet, so the precision is a
    lower bound. `calibration`: for each tenth of the score the mean score, the share of positives, and the examples.
    """
    weight = len(positives) / max(len(negatives), 1)
    hits, misses = float((positives >= 0.5).sum()), float((negatives >= 0.5).sum()) * weight
    scores = np.concatenate([positives, negatives])
    labels = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    band = np.minimum((scores * CALIBRATION_BANDS).astype(np.int64), CALIBRATION_BANDS - 1)
    calibration = [
        {
            "mean_score": round(float(scores[here].mean()), 4),
            "positives": round(float(labels[here].mean()), 4),
            "examples": int(here.sum()),
        }
        for number in range(CALIBRATION_BANDS)
        if (here := band == number).any()
    ]
    return {
        "precision": hits / (hits + misses) if hits else 0.0,
        "recall": hits / max(len(positives), 1),
        "calibration": calibration,
    }


def score(work: Work, name: str, pages: Stage, models: Stage) -> Stage:
    """Every page's probability under every target's model; kept as columns, never thrown away."""
    targets = list(models.manifest["models"])
    paths = tuple((t, scorer_path(storage.join(models.folder, f"{t}.bin"))) for t in targets)
    function = Score(paths, models.fingerprint)

    def build(folder: str) -> Account:
        counts = work.map_parts(
            folder, inputs_of(pages), function.schema(pages.schema), function, unit="pages", resumes=True
        )
        return Account(counts, "pages")

    return work.stage(name, ROOMS, {}, marks(pages=pages, models=models), build, resumes=True)


def statistics(
    work: Work,
    name: str,
    scores: Stage,
    before: list[Round],
    rules: tuple[Rule, ...],
    seeds: dict[str, Stage],
    keys: dict[str, frozenset[int]],
    section: MineSection,
    seed: int,
) -> Stage:
    """The evidence of places, the cut on it, collected shares by domain and path prefix, the prefixes accepted."""
    targets = tuple(section.targets)
    last = before[-1] if before else None
    # A round goes by the mean of its logits and those of the round before, so two rounds back are looked at.
    beside = [round.scores for round in before[-1:-3:-1]]

    def build(folder: str) -> Account:
        write_evidence(work, folder, inputs_of(scores, *beside[:1]), targets)
        place = Place(folder, f"{folder} {scores.fingerprint}", targets, section.evidence)
        spread = Spread(place, rules, keys, section.held_out, seed)
        counted = tabulate(work, inputs_of(scores, *beside[:1]), spread, mining.COUNTED, ["target", "bin"])
        cuts = {
            rule.target: choose_cut(
                [row for row in counted if row["target"] == rule.target],
                section,
                seeds[rule.target],
                last.statistics.manifest["round"][rule.target]["collected"] if last else 0,
            )
            for rule in rules
        }
        cut = tuple(replace(rule, cut=cuts[rule.target]["cut"]) for rule in rules)
        count = Statistics(place, cut, last.evidence if last else None, last.rules if last else (), keys)
        some = "`collected` > 0"
        # Domains without a collected page and prefixes of a page or two decide nothing; they stay on the cluster.
        rows = tabulate(
            work, inputs_of(scores, *beside), count, mining.STATISTIC, ["target", "kind", "key"],
            f"kind = 'total' or (kind = 'domain' and {some}) "
            f"or (kind = 'path' and pages >= {section.min_pages} and {some})",
        )  # fmt: skip
        storage.write_parquet(
            storage.join(folder, "part-00000.parquet"),
            iter([pa.RecordBatch.from_pylist(rows, mining.STATISTIC)]),
            mining.STATISTIC,
        )
        accepted = {
            target: mining.accept_paths(
                rows, target, section.domain_share, section.path_share, section.min_pages
            )
            for target in targets
        }
        found = {
            target: round_of(rows, target, accepted[target], section) | cuts[target] for target in targets
        }
        headline = "; ".join(
            f"{t}: {n['collected']:,} pages collected, {n['already_collected']:.0%} of them before, "
            f"{n['paths_accepted']} paths accepted"
            for t, n in found.items()
        )
        counts = Counts(rows_in=len(rows), rows_out=len(rows), rows_written=len(rows))
        return Account(counts, "groups", {"round": found, "accepted": accepted, "headline": headline})

    parameters = section.model_dump(
        include={
            "domain_share", "path_share", "min_pages", "evidence", "keep", "min_score", "budget_tokens", "precision",
            "growth", "held_out",
        }
    )  # fmt: skip
    parameters |= {"rules": rules_json(rules), "before": rules_json(last.rules) if last else [], "seed": seed}
    inputs = marks(scores=scores, **{f"before {n}": stage for n, stage in enumerate(beside, 1)})
    return work.stage(name, ROOMS, parameters, inputs, build)


def write_evidence(work: Work, folder: str, tasks: list[Task], targets: tuple[str, ...]) -> None:
    """Add up the logits of every place of the crawl and write the table that `mining.Evidence` maps."""
    rows = work.spark.session.range(0, len(tasks), 1, max(len(tasks), 1)).mapInArrow(
        Tabulate(tuple(tasks), Sums(targets)), spark_schema(mining.SUMS)
    )
    columns = [f"sums[{t}] as s{t}" for t in range(len(targets))]
    added = [f"sum(s{t}) as s{t}" for t in range(len(targets))]
    flat = rows.selectExpr("key", "pages", *columns)
    from pyspark.sql import functions as F

    # A place with one page says nothing that the page does not say itself.
    grouped = (
        flat.groupBy("key")
        .agg(F.expr("sum(pages) as pages"), *map(F.expr, added))
        .where("pages > 1 or key = 0")
    )
    with work.small_rows(), work.spark_errors():
        table = grouped.toArrow()
    hashes = table["key"].to_numpy().view(np.uint64)
    order = np.argsort(hashes)
    arrays = {
        "keys": hashes[order],
        "pages": table["pages"].to_numpy()[order],
        "sums": np.stack([table[f"s{t}"].to_numpy()[order] for t in range(len(targets))], axis=1),
    }
    for name, array in arrays.items():
        with storage.atomic_write(storage.join(folder, f"{name}.npy")) as file:
            np.save(file, array, allow_pickle=False)


def tabulate(
    work: Work, tasks: list[Task], function: Any, schema: pa.Schema, by: list[str], where: str | None = None
) -> list[dict[str, Any]]:
    """Add up what `function` counts in each part, by the columns `by`; sorted rows."""
    rows = work.spark.session.range(0, len(tasks), 1, max(len(tasks), 1)).mapInArrow(
        Tabulate(tuple(tasks), function), spark_schema(schema)
    )
    from pyspark.sql import functions as F

    counts = [name for name in schema.names if name not in by]
    grouped = rows.groupBy(*by).agg(*(F.sum(name).alias(name) for name in counts))
    with work.small_rows(), work.spark_errors():
        found = (grouped.where(where) if where else grouped).toArrow().to_pylist()
    return sorted(found, key=lambda row: tuple(row[name] for name in by))


def choose_cut(
    rows: list[dict[str, Any]], section: MineSection, seeds: Stage, collected: int
) -> dict[str, Any]:
    """The cut of a round on the evidence, and what it was chosen by.

    Whatever keeps the pages, no round collects more than `growth` times what is known, or what the last one collected:
    early rounds know little, and their first choices are their good ones.
    """
    counts = {name: np.zeros(2 * mining.EDGE + 1, np.int64) for name in mining.COUNTED.names[2:]}
    for row in rows:
        for name in counts:
            counts[name][row["bin"]] += row[name]
    known = seeds.manifest["rows_out"] + int(counts["known"].sum() - counts["seeds"].sum())
    by_growth = mining.rank_cut(counts["pages"], section.growth * max(known, collected))
    chosen: dict[str, Any] = {}
    if section.keep == "tokens":
        budget = (section.budget_tokens or 0) * mining.CHARACTERS_PER_TOKEN
        cut = final = mining.rank_cut(counts["characters"], budget)
    elif section.keep == "precision":
        cut, chosen["estimated_precision"] = mining.precision_cut(
            counts["pages"], counts["held_out"], section.precision
        )
        final = cut
    else:
        least = float(mining.logit(np.array([section.min_score]))[0])
        above = int(counts["pages"][mining.bin_of(np.array([least]))[0] :].sum())
        share = min(max(above / max(int(counts["pages"].sum()), 1), 1e-9), 0.5)
        # The rarer the target is in the crawl, the more of what stands on the slope is not of it.
        weight = min(float(np.log((1 - share) / share)) / 2, 1.0)
        between = mining.valley(counts["pages"], known_median(counts["known"]))
        cut = max(least, round(weight * min(between, CAUTION), 2))
        final = max(least, round(weight * between, 2))
    return {
        "cut": max(cut, by_growth),
        "cut_by": section.keep if cut >= by_growth else "growth",
        "final_cut": max(final, by_growth),
        "known": known,
        "under_accepted": int(counts["known"].sum() - counts["seeds"].sum()),
        **chosen,
    }


def known_median(known: np.ndarray) -> float:
    """The median evidence of the known positives, from their numbers by bins."""
    at = np.repeat(np.arange(len(known)), known)
    return mining.edge_of(int(np.median(at))) if len(at) else 0.0


def round_of(
    rows: list[dict[str, Any]], target: str, accepted: list[str], section: MineSection
) -> dict[str, Any]:
    """A round's figures for a target from its statistics."""
    mine = [row for row in rows if row["target"] == target]
    total = next((row for row in mine if row["kind"] == "total"), None)
    pages, collected, again = (
        (total["pages"], total["collected"], total["collected_before"]) if total else (0, 0, 0)
    )
    taken = set(accepted)
    return {
        "pages": pages,
        "collected": collected,
        "new": collected - again,
        "already_collected": again / collected if collected else 1.0,
        "domains_over_share": sum(
            row["kind"] == "domain" and row["collected"] > section.domain_share * row["pages"] for row in mine
        ),
        "paths_accepted": len(accepted),
        "missed": sum(
            row["pages"] - row["collected"]
            for row in mine
            if row["kind"] == "path" and row["key"].split(" ", 1)[1] in taken
        ),
    }


class Tabulate:
    """mapInArrow function: rows name tasks, results are the rows of the tasks' tables."""

    def __init__(self, tasks: tuple[Task, ...], function: Any):
        self.tasks = tasks
        self.function = function

    def __call__(self, batches: Any) -> Any:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self.function(self.tasks[number].inputs)


def collect(
    work: Work,
    name: str,
    pages: Stage,
    rounds: list[Round],
    section: MineSection,
    keys: dict[str, frozenset[int]],
    seed: int,
    history: dict[str, Any],
) -> Stage:
    """The pages that the last round's rules collect, and a sample of the rest."""
    rest = section.rest
    last = rounds[-1]
    scores = [round.scores for round in rounds[-1:-3:-1]]
    rules = tuple(
        replace(rule, cut=last.statistics.manifest["round"][rule.target]["final_cut"]) for rule in last.rules
    )

    def build(folder: str) -> Account:
        function = Collect(
            last.evidence, rules, keys, rest.name if rest else None, rest.share if rest else 0.0, seed
        )
        schema = function.schema(pages.schema)
        counts = work.map_parts(folder, inputs_of(pages, *scores), schema, read=function, unit="pages")
        return Account(counts, "pages", history | {"rules": rules_json(rules), "pages": pages.folder})

    parameters = {"rules": rules_json(rules), "rest": rest.model_dump() if rest else None, "seed": seed}
    inputs = marks(
        pages=pages, statistics=last.statistics, **{f"scores {n}": s for n, s in enumerate(scores)}
    )
    return work.stage(name, ROOMS, parameters, inputs, build)
