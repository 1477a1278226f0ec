"""The mining loop on Spark (DeepSeekMath, section 2.1; DeepSeek-Coder-V2, section 2): rounds of stages in `mining/`.

    seeds, pages ─► examples ─► models ─► scores ─► statistics ─► accepted paths ─► the next round
                                             └────► mined, when a round finds (almost) nothing new

Each is a stage of its own, so a loop that was killed goes on inside the round. Pages are read twice a round (for
examples and for scores) and never joined with themselves; the driver holds counts by domain and path.
"""

from typing import Any

import pyarrow as pa

from corpus import mining, storage
from corpus.errors import LodeError
from corpus.extract import PAGE
from corpus.mining import Collect, Examples, Rule, Statistics
from filters.classifier import Classifier as FastText
from filters.classifier import FastTextSettings, Score, train
from filters.normaliser import normalise
from filters.scorer import scorer_path
from jobs import web
from jobs.engine import Account, Stage, Work
from jobs.recipe import MineSection
from jobs.worker import Counts, Task

ROOMS = (
    "corpus/mining.py",
    "filters/classifier.py",
    "filters/normaliser.py",
    "filters/scorer.py",
    "jobs/mine.py",
)


def mine(work: Work, pages: Stage, section: MineSection, seed: int, name: str = "mined") -> Stage:
    """Run the loop and file the collected pages under `mined/`."""
    seeds = {name: seed_stage(work, name, target.seeds, seed) for name, target in section.targets.items()}
    keys = {name: seed_keys(stage) for name, stage in seeds.items()}
    rules = tuple(Rule(name, 2.0, tuple(target.accept)) for name, target in section.targets.items())
    scores: Stage | None = None
    missed = dict.fromkeys(section.targets, 0)
    history: list[dict[str, Any]] = []
    for number in range(1, section.max_rounds + 1):
        at = f"mining/round-{number}"
        found = examples(
            work, f"{at}/examples", pages, scores, seeds, keys, rules, missed, section, seed, number
        )
        models = train_models(work, f"{at}/models", found, seeds, section, seed)
        before, earlier = scores, rules
        scores = score(work, f"{at}/scores", pages, models)
        rules = tuple(
            Rule(rule.target, models.manifest["models"][rule.target]["cut"], rule.paths) for rule in rules
        )
        seen = statistics(work, f"{at}/statistics", scores, before, rules, earlier, keys, section)
        history.append(seen.manifest["round"])
        rules = tuple(
            Rule(r.target, r.cut, tuple(sorted({*r.paths, *seen.manifest["accepted"][r.target]})))
            for r in rules
        )
        missed = {target: entry["missed"] for target, entry in seen.manifest["round"].items()}
        shares = [entry["already_collected"] for entry in seen.manifest["round"].values()]
        if number > 1 and min(shares) >= section.stop_share:
            stopped = f"at least {section.stop_share:.0%} of round {number} was collected before"
            break
    else:
        stopped = f"the limit of {section.max_rounds} rounds"
    return collect(
        work, name, pages, scores, section, rules, keys, seed, {"rounds": history, "stopped": stopped}
    )


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
    )


def inputs_of(pages: Stage, *scores: Stage | None) -> list[Task]:
    """A task for each part of the pages, with the parts of scores beside it."""
    rows = zip(pages.parts, *(stage.parts for stage in scores if stage), strict=True)
    return [Task(part, paths) for part, paths in enumerate(rows)]


def marks(**stages: Stage | None) -> dict[str, str]:
    return {name: stage.fingerprint for name, stage in stages.items() if stage}


def rules_json(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    return [{"target": r.target, "cut": r.cut, "paths": list(r.paths)} for r in rules]


def examples(
    work: Work,
    name: str,
    pages: Stage,
    scores: Stage | None,
    seeds: dict[str, Stage],
    keys: dict[str, frozenset[int]],
    rules: tuple[Rule, ...],
    missed: dict[str, int],
    section: MineSection,
    seed: int,
    number: int,
) -> Stage:
    """What the crawl gives a round for training: negatives drawn at random, and missed pages under accepted paths."""
    crawl = max(pages.manifest["rows_out"], 1)
    # As many negatives as there will be positives: the seeds, and pages that the round before missed.
    wanted = {n: min(s.manifest["rows_out"] + missed[n], section.max_examples) for n, s in seeds.items()}
    share = {n: min(count / crawl, 1.0) for n, count in wanted.items()}
    known = rules if scores or any(rule.paths for rule in rules) else ()

    def build(folder: str) -> Account:
        draw = Examples(known, tuple(section.targets), keys, share, section.held_out, seed, number)
        counts = work.map_parts(folder, inputs_of(pages, scores), mining.EXAMPLE, read=draw, unit="examples")
        return Account(counts, "examples")

    parameters = {"rules": rules_json(known), "share": share, "held_out": section.held_out, "seed": seed}
    return work.stage(
        name,
        ROOMS,
        parameters,
        marks(pages=pages, scores=scores, **{f"seeds {n}": s for n, s in seeds.items()}),
        build,
    )


def train_models(
    work: Work, name: str, found: Stage, seeds: dict[str, Stage], section: MineSection, seed: int
) -> Stage:
    """One fastText classifier a target, with its cut, precision and recall on examples it did not see."""
    settings = FastTextSettings(**section.classifier.model_dump(), seed=seed)

    def build(folder: str) -> Account:
        models: dict[str, Any] = {}
        used = 0
        for done, target in enumerate(section.targets):
            work.progress.update(done, len(section.targets), note=f"fastText for {target}")
            texts: dict[tuple[bool, bool], list[str]] = {
                (a, b): [] for a in (False, True) for b in (False, True)
            }
            enough = section.max_examples / seeds[target].manifest["rows_out"]
            for path in seeds[target].parts:
                for batch in storage.read_parquet(path, ["url", "text"]):
                    for url, text in zip(batch["url"].to_pylist(), batch["text"].to_pylist(), strict=True):
                        held = mining.fraction(seed, "held out", url) < section.held_out
                        if mining.fraction(seed, "example", url) < enough:
                            texts[True, held].append(normalise(text))
            for path in found.parts:
                for batch in storage.read_parquet(path):
                    for row in batch.to_pylist():
                        if row["target"] == target:
                            texts[row["positive"], row["held_out"]].append(normalise(row["text"]))
            model = storage.join(folder, f"{target}.bin")
            train(texts[True, False], texts[False, False], settings, model)
            classifier = FastText(scorer_path(model))
            held = {label: classifier.score_normalised(texts[label, True]) for label in (True, False)}
            cut, precision, recall = mining.choose_cut(held[True], held[False], section.precision)
            counted = {("positives" if p else "negatives"): len(texts[p, False]) for p in (True, False)}
            counted |= {
                ("held_out_positives" if p else "held_out_negatives"): len(texts[p, True])
                for p in (True, False)
            }
            models[target] = {"cut": cut, "precision": precision, "recall": recall, **counted}
            used += sum(counted.values())
        headline = "; ".join(
            f"{t}: {m['positives']:,}+{m['negatives']:,} examples, cut {m['cut']:.2f}, "
            f"held-out precision {m['precision']:.2f} recall {m['recall']:.2f}"
            for t, m in models.items()
        )
        counts = Counts(rows_in=used, rows_out=used, rows_written=0)
        return Account(counts, "examples", {"models": models, "headline": headline})

    parameters = section.model_dump(include={"classifier", "precision", "held_out", "max_examples"})
    parameters |= {"targets": list(section.targets), "seed": seed}
    return work.stage(name, ROOMS, parameters, marks(examples=found), build)


def score(work: Work, name: str, pages: Stage, models: Stage) -> Stage:
    """Every page's probability under every target's model; kept as columns, never thrown away."""
    targets = list(models.manifest["models"])
    paths = tuple((t, scorer_path(storage.join(models.folder, f"{t}.bin"))) for t in targets)
    function = Score(paths, models.fingerprint)

    def build(folder: str) -> Account:
        counts = work.map_parts(
            folder, inputs_of(pages), function.schema(pages.schema), function, unit="pages"
        )
        return Account(counts, "pages")

    return work.stage(name, ROOMS, {}, marks(pages=pages, models=models), build)


def statistics(
    work: Work,
    name: str,
    scores: Stage,
    before: Stage | None,
    rules: tuple[Rule, ...],
    earlier: tuple[Rule, ...],
    keys: dict[str, frozenset[int]],
    section: MineSection,
) -> Stage:
    """Collected shares by domain and path prefix, the prefixes accepted, and how much of the round is new."""

    def build(folder: str) -> Account:
        count = Statistics(rules, earlier if before else (), keys)
        tasks = inputs_of(scores, before)
        work_rows = work.spark.session.range(0, len(tasks), 1, len(tasks)).mapInArrow(
            Tabulate(tuple(tasks), count), "target string, kind string, key string, pages long, "
            "collected long, collected_before long",
        )  # fmt: skip
        grouped = work_rows.groupBy("target", "kind", "key").sum("pages", "collected", "collected_before")
        # Domains without a collected page and prefixes of a page or two decide nothing; they stay on the cluster.
        some = "`sum(collected)` > 0"
        wanted = grouped.where(
            f"kind = 'total' or (kind = 'domain' and {some}) "
            f"or (kind = 'path' and `sum(pages)` >= {section.min_pages} and {some})"
        )
        names = ("target", "kind", "key", "pages", "collected", "collected_before")
        rows = [dict(zip(names, row, strict=True)) for row in work.collect(wanted)]
        rows.sort(key=lambda row: (row["target"], row["kind"], row["key"]))
        storage.write_parquet(
            storage.join(folder, "part-00000.parquet"),
            iter([pa.RecordBatch.from_pylist(rows, mining.STATISTIC)]),
            mining.STATISTIC,
        )
        accepted = {
            rule.target: mining.accept_paths(
                rows, rule.target, section.domain_share, section.path_share, section.min_pages
            )
            for rule in rules
        }
        taken = {target: set(paths) for target, paths in accepted.items()}
        totals = {row["target"]: row for row in rows if row["kind"] == "total"}
        found = {
            target: {
                "pages": row["pages"],
                "collected": row["collected"],
                "new": row["collected"] - row["collected_before"],
                "already_collected": row["collected_before"] / row["collected"] if row["collected"] else 1.0,
                "domains_over_share": sum(
                    r["target"] == target
                    and r["kind"] == "domain"
                    and r["collected"] > section.domain_share * r["pages"]
                    for r in rows
                ),
                "paths_accepted": len(accepted[target]),
                "missed": sum(
                    r["pages"] - r["collected"]
                    for r in rows
                    if r["target"] == target
                    and r["kind"] == "path"
                    and r["key"].split(" ", 1)[1] in taken[target]
                ),
            }
            for target, row in totals.items()
        }
        headline = "; ".join(
            f"{t}: {n['collected']:,} pages collected, {n['already_collected']:.0%} of them before, "
            f"{n['paths_accepted']} paths accepted"
            for t, n in found.items()
        )
        counts = Counts(rows_in=len(rows), rows_out=len(rows), rows_written=len(rows))
        return Account(counts, "groups", {"round": found, "accepted": accepted, "headline": headline})

    parameters = section.model_dump(include={"domain_share", "path_share", "min_pages"})
    parameters |= {"rules": rules_json(rules), "before": rules_json(earlier) if before else []}
    return work.stage(name, ROOMS, parameters, marks(scores=scores, before=before), build)


class Tabulate:
    """mapInArrow function: rows name tasks, results are the rows of the tasks' tables."""

    def __init__(self, tasks: tuple[Task, ...], function: Statistics):
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
    scores: Stage,
    section: MineSection,
    rules: tuple[Rule, ...],
    keys: dict[str, frozenset[int]],
    seed: int,
    history: dict[str, Any],
) -> Stage:
    """The pages that the last round's rules collect, and a sample of the rest."""
    rest = section.rest

    def build(folder: str) -> Account:
        function = Collect(rules, keys, rest.name if rest else None, rest.share if rest else 0.0, seed)
        counts = work.map_parts(
            folder,
            inputs_of(pages, scores),
            function.schema(pages.schema),
            function,
            mining.read_scored,
            "pages",
        )
        return Account(counts, "pages", history | {"rules": rules_json(rules)})

    parameters = {"rules": rules_json(rules), "rest": rest.model_dump() if rest else None, "seed": seed}
    return work.stage(name, ROOMS, parameters, marks(pages=pages, scores=scores), build)
