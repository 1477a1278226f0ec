"""What a mining run did with a page, read back from its folder: no Spark, and only the columns that it takes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus import mining, spot_check, storage
from corpus.errors import LodeError
from corpus.mining import OWN_SHARE, UNIT, Evidence, Logits, Place, Rule
from corpus.urls import canonical_url, registered_domain
from filters.classifier import Classifier
from filters.scorer import scorer_path
from jobs.engine import MANIFEST, Stage, open_dataset
from jobs.worker import part_name

NGRAMS = 10


@dataclass(frozen=True)
class Round:
    """A round that has at least scored its pages; `statistics` is None where it came no further."""

    number: int
    examples: Stage
    models: Stage
    scores: Stage
    statistics: Stage | None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What the round went by, with its cuts."""
        if not self.statistics:
            return ()
        return tuple(
            replace(rule, cut=self.statistics.manifest["round"][rule.target]["cut"])
            for rule in rules_of(self.statistics.manifest["parameters"]["rules"])
        )


def rules_of(entries: list[dict[str, Any]]) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            entry["target"],
            float("inf") if entry["cut"] is None else entry["cut"],
            *(tuple(entry[kind]) for kind in ("accepted", "rejected", "learnt")),
        )
        for entry in entries
    )


class Run:
    """The rounds of a mining run that belong together, and `mined` if it is theirs.

    Args:
        folder: what `lode mine --out` or `lode run --work` wrote; the run may be unfinished.

    Raises:
        LodeError: no round in it has scored its pages.
    """

    def __init__(self, folder: str):
        self.folder = storage.absolute(folder)
        self.rounds: list[Round] = []
        while found := self.round(len(self.rounds) + 1):
            self.rounds.append(found)
            if not found.statistics:
                break
        if not self.rounds:
            raise LodeError(f"{folder}: no mining round has scored its pages there; run lode mine first.")
        self.mined = self.stage("mined")
        last = self.rounds[-1].statistics
        if self.mined and not (last and self.mined.manifest["inputs"].get("statistics") == last.fingerprint):
            # A longer run was there before, or settings have changed and it has not come to its end again.
            ends = [r.statistics.fingerprint for r in self.rounds if r.statistics]
            theirs = self.mined.manifest["inputs"].get("statistics")
            if theirs in ends:
                self.rounds = self.rounds[: ends.index(theirs) + 1]
            else:
                self.mined = None
        self.targets = tuple(self.rounds[0].models.manifest["models"])

    def stage(self, name: str) -> Stage | None:
        folder = storage.join(self.folder, name)
        manifest = storage.read_json(storage.join(folder, MANIFEST))
        return Stage(folder, manifest) if manifest and "fingerprint" in manifest else None

    def round(self, number: int) -> Round | None:
        """A round whose stages follow from one another and from the round before; a rerun may have left others."""
        names = ("examples", "models", "scores", "statistics")
        examples, models, scores, statistics = (self.stage(f"mining/round-{number}/{n}") for n in names)
        if not (
            examples
            and models
            and scores
            and models.manifest["inputs"].get("examples") == examples.fingerprint
            and scores.manifest["inputs"].get("models") == models.fingerprint
        ):
            return None
        if self.rounds and scores.manifest["inputs"]["pages"] != self.pages_mark:
            return None
        wanted = {"scores": scores.fingerprint}
        wanted |= {f"before {n}": r.scores.fingerprint for n, r in enumerate(self.rounds[:-3:-1], 1)}
        if statistics and statistics.manifest["inputs"] != wanted:
            if self.rounds:  # nor do its scores have to belong to the rounds before
                return None
            statistics = None
        return Round(number, examples, models, scores, statistics)

    @property
    def pages_mark(self) -> str:
        return self.rounds[0].scores.manifest["inputs"]["pages"]

    @property
    def held_out_share(self) -> float:
        return self.rounds[0].models.manifest["parameters"]["held_out"]

    def is_held_out(self, url: str | None) -> bool:
        """Whether the trainings left out a page with this address; as `jobs.mine` draws it."""
        seed = self.rounds[0].models.manifest["parameters"]["seed"]
        return mining.fraction(seed, "held out", url) < self.held_out_share

    @property
    def last(self) -> Round:
        """The last round that chose what to collect."""
        done = [found for found in self.rounds if found.statistics]
        if not done:
            raise LodeError(
                f"{self.folder}: the first round has not come to its cut; run lode mine to the end."
            )
        return done[-1]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What decides in the end: those of `mined`, or of the last round as far as it is."""
        if self.mined:
            return rules_of(self.mined.manifest["rules"])
        found = self.last.statistics.manifest["round"]
        return tuple(replace(rule, cut=found[rule.target]["final_cut"]) for rule in self.last.rules)

    def place(self, found: Round) -> Place:
        manifest = found.statistics.manifest
        return Place(
            found.statistics.folder,
            manifest["fingerprint"],
            tuple(rule.target for rule in found.rules),
            manifest["parameters"]["evidence"],
        )

    def score_parts(self, found: Round) -> list[tuple[str, ...]]:
        """For each part of the crawl the scores of a round, and after the first those of the round before."""
        beside = [found.scores, *(r.scores for r in self.rounds if r.number == found.number - 1)]
        return list(zip(*(stage.parts for stage in beside), strict=True))

    def pages(self, given: str | None) -> Stage | None:
        """The crawl: `given`, or where the run says that it was; None if it is not there any more.

        Raises:
            LodeError: `given` is not what was mined.
        """
        if given:
            found = open_dataset(given)
            if found.fingerprint != self.pages_mark:
                raise LodeError(
                    f"--pages {given}: these are not the pages that {self.folder} was mined from."
                )
            return found
        noted = [self.mined.manifest["pages"]] if self.mined and "pages" in self.mined.manifest else []
        for path in (*noted, *(storage.join(self.folder, name) for name in ("quality", "pages"))):
            try:
                found = open_dataset(path)
            except LodeError:
                continue
            if found.fingerprint == self.pages_mark:
                return found
        return None


@dataclass(frozen=True)
class Address:
    """A row of the crawl: the same part and row of the pages and of every round's scores."""

    part: int
    row: int
    id: str
    url: str
    domain: str | None


def explain(run: Run, url: str, pages: str | None = None) -> dict[str, Any]:
    """Everything that decided about the page with this address, in any spelling, as JSON values.

    Raises:
        LodeError: it is not in the crawl that was mined; the stage that dropped it before is named.
    """
    crawl = run.pages(pages)
    found = find(run, url)
    if not found:
        raise LodeError(f"{url}: not among the {run.rounds[0].scores.manifest['rows_out']:,} pages that were mined"
                        f"{dropped_before(run, url)}.")  # fmt: skip
    page = found[0]
    text = None
    if crawl:
        drawn = spot_check.Drawn(page.part, page.row, page.id, page.url, 0.0, "", False, 0)
        text = spot_check.texts_of([drawn], crawl.parts)[page.part, page.row][1]
    targets = {}
    for target in run.targets:
        seed = is_seed(run, target, page.url)
        rounds = [of_round(run, number, target, page, seed) for number in range(len(run.rounds))]
        targets[target] = {"seed": seed, "rounds": rounds, "ngrams": None}
        if text is not None:
            model = storage.join(run.rounds[-1].models.folder, f"{target}.bin")
            parts = Classifier(scorer_path(model)).explain(text)
            named = [{"ngram": ngram, "share": share, "times": times} for ngram, share, times in parts]
            targets[target]["ngrams"] = {
                "for": [part for part in named if part["share"] > 0][:NGRAMS],
                "against": [part for part in named[::-1] if part["share"] < 0][:NGRAMS],
            }
    return {
        "url": page.url,
        "id": page.id,
        "pages_with_this_address": len(found),
        "held_out": run.is_held_out(page.url),
        "targets": targets,
        "end": end_of(run, page),
    }


def find(run: Run, url: str) -> list[Address]:
    """The rows with an address, in the order of the crawl."""
    wanted, domain = canonical_url(url), registered_domain(url)
    # Its domain first: the addresses of all others need not be brought to one spelling.
    for near in (True, False):
        found = []
        for part, path in enumerate(run.rounds[0].scores.parts):
            first = 0
            for batch in storage.read_parquet(path, ["id", "url", "domain"], rows=65_536):
                rows = np.arange(batch.num_rows)
                if near:
                    same = pc.fill_null(
                        pc.equal(batch["domain"], pa.scalar(domain, batch["domain"].type)), False
                    )
                    rows = np.flatnonzero(same.to_numpy(zero_copy_only=False))
                urls = batch["url"].take(pa.array(rows)).to_pylist()
                for row, address in zip(rows.tolist(), urls, strict=True):
                    if address and canonical_url(address) == wanted:
                        found.append(Address(part, first + row, batch["id"][row].as_py(), address,
                                             batch["domain"][row].as_py()))  # fmt: skip
                first += batch.num_rows
        if found:
            return found
    return []


def dropped_before(run: Run, url: str) -> str:
    """The stage of a recipe that dropped a page before the mining, as the end of a sentence."""
    wanted = canonical_url(url)
    for name in ("quality", "pages"):
        dropped = storage.join(run.folder, name, "dropped")
        if run.stage(name) and storage.exists(dropped):
            for path in storage.parquet_parts(storage.join(dropped, "part-*.parquet")):
                for batch in storage.read_parquet(path, ["url", "reason", "detail"], rows=65_536):
                    for row, address in enumerate(batch["url"].to_pylist()):
                        if address and canonical_url(address) == wanted:
                            detail = batch["detail"][row].as_py()
                            why = batch["reason"][row].as_py() + (f", {detail}" if detail else "")
                            why = "".join(c for c in why if c.isprintable())
                            return f"; the stage {name} dropped it ({why})"
    return ""


def is_seed(run: Run, target: str, url: str) -> bool:
    key = mining.url_key(url)
    stage = run.stage(f"mining/seeds/{target}")
    return any(
        address and mining.url_key(address) == key
        for path in (stage.parts if stage else ())
        for batch in storage.read_parquet(path, ["url"], rows=65_536)
        for address in batch["url"].to_pylist()
    )


def row_of(path: str, row: int, columns: list[str]) -> pa.RecordBatch:
    """One row of a Parquet file; of the file only the row group around it is read."""
    with storage.open_parquet(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < first + rows:
                table = file.read_row_group(group, columns=columns, use_threads=False)
                return table.slice(row - first, 1).combine_chunks().to_batches()[0]
            first += rows
    raise LodeError(f"{path}: has fewer rows than the pages beside it; run lode mine again.")


def rows_with(paths: list[str], key: str, columns: list[str]) -> list[dict[str, Any]]:
    """The rows of Parquet files with an id."""
    found = []
    for path in paths:
        for batch in storage.read_parquet(path, columns, rows=65_536):
            found += batch.filter(pc.fill_null(pc.equal(batch["id"], key), False)).to_pylist()
    return found


def of_round(run: Run, number: int, target: str, page: Address, seed: bool) -> dict[str, Any]:
    """What one round made of a page for one target."""
    here = run.rounds[number]
    columns = ["id", "url", "domain", *run.targets]
    now = row_of(here.scores.parts[page.part], page.row, columns)
    score = now.column(target)[0].as_py()
    rows = rows_with(here.examples.parts, page.id, ["id", "target", "writing"])
    if own := [row for row in rows if row["target"] == target]:
        example = (
            "a positive, under an accepted path"
            if own[0]["writing"]
            else "no negative, it was collected before"
        )
    else:
        example = "drawn from the crawl" if any(row["target"] is None for row in rows) else None
    told = {
        "round": here.number,
        "score": score,
        "own_logit": float(mining.logit(np.array([score]))[0]),
        "example": example,
    }
    if not here.statistics:
        return told
    before = [
        pa.Table.from_batches([row_of(r.scores.parts[page.part], page.row, columns)])
        for r in run.rounds
        if r.number == here.number - 1
    ]
    place = run.place(here)
    t = place.targets.index(target)
    logits = Logits(place.targets).of(now, before)
    rule = here.rules[t]
    final = next(r for r in run.rules if r.target == target)
    evidence, levels = levels_of(place, page, logits, t)
    seeds = frozenset([mining.url_key(page.url)] if seed else ())
    own = float(logits[0, t])
    prefixes = mining.path_prefixes(page.url)
    told |= {
        "logit": own,
        "levels": levels,
        "evidence": evidence,
        "cut": rule.cut,
        "collected_by": rule.collects(page.url, own, evidence, seeds),
        "annotated": next(
            (
                {"prefix": p, "decision": decision}
                for p in reversed(prefixes)
                for decision, some in (("reject", "rejected"), ("accept", "accepted"))
                if p in rule.sets[some]
            ),
            None,
        ),
        "accepted_path": next((p for p in prefixes if p in rule.sets["learnt"]), None),
    }
    if here.number == run.last.number:
        told["final_cut"] = final.cut
        told["finally_collected_by"] = final.collects(page.url, own, evidence, seeds)
    return told


def levels_of(place: Place, page: Address, logits: np.ndarray, t: int) -> tuple[float, list[dict[str, Any]]]:
    """The evidence of a page, and how it comes about: for each place around it the other pages that were scored, the
    mean of their logits, and the estimate so far."""
    evidence = Evidence(place.folder, place.targets, place.level)
    most = evidence.most
    whole = int(evidence.pages[0]), float(evidence.sums[0, t] / max(int(evidence.pages[0]), 1) / UNIT)
    found = [{"place": None, "pages": whole[0], "mean": whole[1], "estimate": whole[1]}]
    own = int(np.rint(logits[0, t] * UNIT))
    value = float(evidence.of([page.url], [page.domain], logits)[0, t])
    for depth, name in enumerate(mining.levels(page.url, page.domain, most), 1):
        key = np.array([mining.place_key(name)], np.uint64)
        entry = {
            "place": name.strip(),
            "kind": "domain" if name.endswith(" ") else "path",
            "pages": 0,
            "mean": None,
        }
        if spot_check.among(key, evidence.keys)[0]:
            at = int(np.searchsorted(evidence.keys, key)[0])
            entry["pages"] = int(evidence.pages[at]) - 1
            entry["mean"] = (int(evidence.sums[at, t]) - own) / max(entry["pages"], 1) / UNIT
        evidence.most = depth
        down = float(evidence.of([page.url], [page.domain], logits)[0, t])
        entry["estimate"] = (down - OWN_SHARE * float(logits[0, t])) / (1 - OWN_SHARE)
        found.append(entry)
    return value, found if most else []


def end_of(run: Run, page: Address) -> dict[str, Any] | None:
    """Where the page is now: in `mined`, or dropped and why; None where the run has not come to its end."""
    if not run.mined:
        return None
    names = ["id", "target", "score", "evidence", "collected_by"]
    for folder, columns, where in (
        (run.mined.folder, names, "mined"),
        (storage.join(run.mined.folder, "dropped"), ["id", "reason", "detail"], "dropped"),
    ):
        path = storage.join(folder, part_name(page.part))
        if storage.exists(path) and (rows := rows_with([path], page.id, columns)):
            return {"where": where} | {name: value for name, value in rows[0].items() if name != "id"}
    return None


def sample(run: Run, pages: str | None, size: int, seed: int) -> dict[str, tuple[str, spot_check.Sample]]:
    """Write a spot check for each target into the run's folder; its name and what is in it, by target.

    Raises:
        LodeError: the pages are not there any more.
    """
    crawl = run.pages(pages)
    if not crawl:
        raise LodeError(f"{run.folder}: the pages that were mined are not found; name them with --pages.")
    if not run.held_out_share:
        raise LodeError(
            f"{run.folder}: this run kept no page from its trainings (held_out = 0); none can be drawn."
        )
    seeds = {}
    for target in run.targets:
        stage = run.stage(f"mining/seeds/{target}")
        urls = (
            url
            for path in (stage.parts if stage else ())
            for batch in storage.read_parquet(path, ["url"], rows=65_536)
            for url in batch["url"].to_pylist()
            if url
        )
        seeds[target] = np.unique(np.fromiter(map(mining.url_key, urls), np.uint64))
    made = {}
    drawn = spot_check.draw(
        run.score_parts(run.last), run.place(run.last), run.rules, run.is_held_out, seeds, size, seed
    )
    for target, found in drawn.items():
        name = f"spot-check-{target}.csv"
        spot_check.write_table(storage.join(run.folder, name), target, found.drawn, crawl.parts)
        made[target] = (name, found)
    return made
