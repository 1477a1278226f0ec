"""The report's part on mining: what each round collected, how much of it was known, and when the loop stops."""

import math
from typing import Any

from corpus import storage
from corpus.inspect import literal
from jobs.charts import grouped_bars, histogram, short
from jobs.report_facts import Facts, Section

STOP = 0.98  # DeepSeekMath's, and the default of a recipe
BINS = 40
ROUNDS = 6  # whose scores are drawn
PATHS = 40
TARGETS = 8


def mining(facts: Facts) -> Section:
    rounds = facts.answer("mining_rounds")
    if not rounds:
        return None
    accepted = facts.rows(
        "SELECT target, left(path, 300) AS path, max(pages) AS pages, arg_max(share, round) AS share, "
        "min(round) AS round FROM paths WHERE accepted GROUP BY target, path ORDER BY target, round, path"
    )
    stop = stop_share(facts)
    names = list(dict.fromkeys(row["target"] for row in rounds))
    targets = {
        target: {
            "rounds": [row for row in rounds if row["target"] == target][-40:],
            "rule": [chart for chart in (overlap(target, rounds, stop), growth(target, rounds)) if chart],
            "charts": [
                chart for chart in (*scores(facts, target, rounds), evidence(facts, target, rounds)) if chart
            ],
            "paths": [row for row in accepted if row["target"] == target][:PATHS],
            "accepted": sum(row["target"] == target for row in accepted),
            "grown": grown(facts, target),
        }
        for target in names[:TARGETS]
    }
    return {
        "targets": targets,
        "more": names[TARGETS:],
        "stop": stop,
        "stopped": next((row["stopped"] for row in rounds if row["stopped"]), None),
    }


def stop_share(facts: Facts) -> float:
    """The share of a round collected before at which the loop stops, from the recipe where it is known."""
    recipe = storage.read_json(storage.join(facts.work, "recipe.json"))
    mine = recipe.get("mine") if isinstance(recipe, dict) else None
    share = mine.get("stop_share") if isinstance(mine, dict) else None
    return float(share) if isinstance(share, int | float) and 0 < share <= 1 else STOP


def percents(value: float) -> str:
    """Short enough to stand in a bar; near the rule, where it matters, with a decimal."""
    shown = f"{100 * value:.{1 if 0.95 <= value < 1 else 0}f}"
    return f"{shown.removesuffix('.0')}\u00a0%"


def overlap(target: str, rounds: list[dict[str, Any]], stop: float) -> Any:
    """The rule that ends the loop: how much of a round the one before had collected."""
    rows = [
        (f"round {row['round']}", {"collected before": row["already_collected"]})
        for row in rounds
        if row["target"] == target and row["already_collected"] is not None
    ]
    return grouped_bars(
        "Share of a round collected before", rows, "share of the round's pages", shown=percents,
        rule=(f"stops at {percents(stop)}", stop),
    )  # fmt: skip


def growth(target: str, rounds: list[dict[str, Any]]) -> Any:
    rows = [
        (f"round {row['round']}", {"known before": row["collected"] - row["new"], "new": row["new"]})
        for row in rounds
        if row["target"] == target and None not in (row["collected"], row["new"])
    ]
    return grouped_bars("Pages collected in each round", rows, "pages", shown=short)


def scores(facts: Facts, target: str, rounds: list[dict[str, Any]]) -> list[Any]:
    """How a round's classifier scored all pages, with the least evidence that was collected, as a probability."""
    counts = facts.rows(
        f"""
        SELECT round, floor(greatest(0, least(score, 0.999999)) * {BINS})::INTEGER AS bin, count(*) AS pages
        FROM scores WHERE target = {literal(target)} AND score IS NOT NULL GROUP BY ALL ORDER BY ALL
        """
    )
    numbers = sorted({row["round"] for row in counts})
    last = len(numbers) - 1
    chosen = sorted({numbers[round(k * last / (ROUNDS - 1))] for k in range(ROUNDS)}) if numbers else []
    cuts = {row["round"]: row["cut"] for row in rounds if row["target"] == target}
    charts = []
    for number in chosen:
        bins = [
            (row["bin"] / BINS, (row["bin"] + 1) / BINS, row["pages"]) for row in counts if row["round"] == number
        ]  # fmt: skip
        cut = cuts.get(number)
        marks = {} if cut is None else {"cut": 1 / (1 + math.exp(-max(-50.0, min(50.0, cut))))}
        charts.append(
            histogram(f"Scores in round {number}", {"pages": bins}, "classifier's probability", "pages",
                      log=False, marks=marks)
        )  # fmt: skip
    return charts


def evidence(facts: Facts, target: str, rounds: list[dict[str, Any]]) -> Any:
    """The evidence that decided in the last round, of what was collected and what was left."""
    stages = [name for name, manifest in facts.manifests.items() if isinstance(manifest.get("rounds"), list)]
    if not stages or "evidence" not in facts.columns("documents"):
        return None
    stage = literal(stages[-1])
    rows = facts.rows(
        f"""
        WITH pages AS (
            SELECT 'collected' AS fate, evidence FROM documents WHERE stage = {stage} AND target = {literal(target)}
            UNION ALL
            SELECT 'left', TRY_CAST(regexp_extract(detail, ' evidence (-?[0-9.]+) cut', 1) AS DOUBLE) FROM dropped
            WHERE stage = {stage} AND starts_with(detail, {literal(target + " ")})
        )
        SELECT fate, floor(greatest(-20, least(evidence, 20)) * 4)::INTEGER AS bin, count(*) AS pages
        FROM pages WHERE evidence IS NOT NULL GROUP BY ALL ORDER BY ALL
        """
    )
    series = {
        fate: [(row["bin"] / 4, (row["bin"] + 1) / 4, row["pages"]) for row in rows if row["fate"] == fate]
        for fate in dict.fromkeys(row["fate"] for row in rows)
    }
    cut = next(
        (row["cut"] for row in reversed(rounds) if row["target"] == target and row["cut"] is not None), None
    )
    return histogram("Evidence in the last round", series, "evidence, a logit", "pages", log=False,
                     marks={} if cut is None else {"cut": cut})  # fmt: skip


def grown(facts: Facts, target: str) -> list[dict[str, Any]]:
    """Where the pages come from that the last round found and no earlier one."""
    return facts.rows(
        f"""
        SELECT left(domain, 200) AS domain, pages, collected, collected - coalesce(collected_before, 0) AS new
        FROM domains
        WHERE target = {literal(target)} AND new > 0
          AND round = (SELECT max(round) FROM domains WHERE target = {literal(target)})
        ORDER BY new DESC, domain LIMIT 10
        """
    )
