"""The report's part on training: curves of the loss, the learning rate and the load of the experts."""

from typing import Any

from jobs.charts import Line, heat_map, heat_strip, line_chart
from jobs.report_facts import Facts

POINTS = 200  # of a curve; more steps than that are averaged in groups
LAYERS = 12  # strips drawn at most
FEW = 6  # layers that have a line each
ROWS, COLUMNS = 64, 48  # of the map of MaxVio
# Curves and the columns they are the mean of. A number that is none is left out of the mean, and counted for the loss.
CURVES = {"loss": "loss", "mtp": "mtp_loss", "lr": "lr", "norm": "grad_norm", "speed": "tokens_per_second"}


def training(facts: Facts) -> dict[str, Any] | None:
    """Charts and figures of the run, or None where there is no step of one."""
    counted = facts.rows("SELECT count(*) AS rows, max(step) AS steps, max(tokens) AS tokens FROM training")[
        0
    ]
    if not counted["steps"]:
        return None
    steps = counted["steps"]
    group = -(-steps // POINTS)
    means = ", ".join(
        f"avg({column}) FILTER (isfinite({column})) AS {name}" for name, column in CURVES.items()
    )
    bins = facts.rows(
        f"""
        SELECT max(step) AS step, {means}
        FROM training WHERE source IS NULL GROUP BY (step - 1) // {group} ORDER BY step
        """
    )
    heldout = facts.rows(
        "SELECT source, step, heldout_loss AS loss FROM training WHERE source IS NOT NULL ORDER BY source, step"
    )
    sources = list(dict.fromkeys(row["source"] for row in heldout))
    losses = facts.rows(
        "SELECT loss FROM training WHERE source IS NULL AND loss IS NOT NULL AND isfinite(loss) ORDER BY step"
    )
    (broken,) = facts.rows(
        "SELECT count(*) AS steps, min(step) AS first FROM training WHERE source IS NULL AND NOT isfinite(loss)"
    )
    last = losses[-10:]
    summary = next(
        (m["training"] for m in facts.manifests.values() if isinstance(m.get("training"), dict)), {}
    )

    def curve(column: str, name: str) -> Line:
        return Line(name, [(row["step"], row[column]) for row in bins])

    def nats(value: float) -> str:
        return f"{value:.3f}"

    held = [Line(s, [(row["step"], row["loss"]) for row in heldout if row["source"] == s]) for s in sources]
    charts = [
        line_chart("Training loss", [curve("loss", "next token"), curve("mtp", "the token after (MTP)")],
                   "step", "nats a token", shown=nats),
        line_chart("Held-out loss", held, "step", "nats a token", shown=nats),
        line_chart("Load of the experts: MaxVio", violations(facts, group), "step", "most loaded over mean, less 1",
                   zero=True, shown=lambda value: f"{value:.2f}"),
        violation_map(facts, steps),
        line_chart("Learning rate", [curve("lr", "learning rate")], "step", "of AdamW", zero=True),
        line_chart("Throughput", [curve("speed", "tokens a second")], "step", "tokens/s", zero=True),
        line_chart("Gradient norm", [curve("norm", "before clipping")], "step", "L2 norm", zero=True),
    ]  # fmt: skip
    ends = [(line.finite[0][1], line.finite[-1][1]) for line in held if line.finite]
    return {
        "steps": steps,
        "tokens": counted["tokens"],
        "group": group,
        "broken": broken["steps"],
        "broken_first": broken["first"],
        "parameters": summary.get("parameters"),
        "active": summary.get("active_parameters"),
        "loss": (losses[0]["loss"], sum(row["loss"] for row in last) / len(last)) if losses else None,
        "heldout": tuple(sum(end[k] for end in ends) / len(ends) for k in (0, 1)) if ends else None,
        "charts": [chart for chart in charts if chart],
        "strips": strips(facts, steps),
        "evaluation": facts.rows(
            "SELECT source, loss, exp(loss) AS perplexity, tokens FROM evaluation ORDER BY source"
        ),
    }


def violation_rows(facts: Facts, group: int) -> list[dict[str, Any]]:
    """MaxVio of each expert layer, means of so many steps."""
    return facts.rows(
        f"""
        SELECT max(step) AS step, layer, avg(violation) FILTER (isfinite(violation)) AS violation
        FROM (SELECT step, unnest(max_violation) AS violation, generate_subscripts(max_violation, 1) AS layer
              FROM training WHERE source IS NULL AND max_violation IS NOT NULL)
        GROUP BY (step - 1) // {group}, layer HAVING violation IS NOT NULL ORDER BY step, layer
        """
    )


def violations(facts: Facts, group: int) -> list[Line]:
    """MaxVio of each expert layer over the steps; of many layers the greatest, the median and the least."""
    rows = violation_rows(facts, group)
    layers = sorted({row["layer"] for row in rows})
    if len(layers) <= FEW:
        return [
            Line(f"layer {layer}", [(row["step"], row["violation"]) for row in rows if row["layer"] == layer])
            for layer in layers
        ]
    by_step: dict[int, list[float]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append(row["violation"])
    chosen = (("worst layer", -1), ("median layer", None), ("best layer", 0))
    return [
        Line(
            name, [(step, sorted(v)[len(v) // 2 if place is None else place]) for step, v in by_step.items()]
        )
        for name, place in chosen
    ]


def violation_map(facts: Facts, steps: int) -> Any:
    """Where there are more layers than lines can show: a row of cells for each, neighbours in one row if need be."""
    rows = violation_rows(facts, -(-steps // COLUMNS))
    layers = max((row["layer"] for row in rows), default=0)
    if layers <= FEW:
        return None
    together = -(-layers // ROWS)
    cells: dict[int, dict[int, float]] = {}
    for row in rows:
        line = cells.setdefault((row["layer"] - 1) // together, {})
        line[row["step"]] = max(line.get(row["step"], 0.0), row["violation"])
    return heat_map(
        "MaxVio of each layer" + (f", of {together} neighbours the greatest" if together > 1 else ""),
        [(str(place * together + 1), list(line.items())) for place, line in sorted(cells.items())],
        "step", "layer", 2.0, shown=lambda value: f"{value:.2f}",
    )  # fmt: skip


def strips(facts: Facts, steps: int) -> dict[str, Any] | None:
    """How evenly each expert layer used its experts in the first and in the last twentieth of the steps."""
    span = max(1, steps // 20)
    rows = facts.rows(
        f"""
        SELECT layer, expert, coalesce(sum(load) FILTER (step <= {span}), 0) AS early,
               coalesce(sum(load) FILTER (step > {steps - span}), 0) AS late
        FROM (SELECT step, layer, unnest(loads) AS load, generate_subscripts(loads, 1) AS expert
              FROM (SELECT step, unnest(expert_load) AS loads, generate_subscripts(expert_load, 1) AS layer
                    FROM training WHERE source IS NULL AND (step <= {span} OR step > {steps - span})))
        GROUP BY layer, expert ORDER BY layer, expert
        """
    )
    if not rows:
        return None
    layers = sorted({row["layer"] for row in rows})
    drawn = []
    for layer in layers[:LAYERS]:
        here = [row for row in rows if row["layer"] == layer]
        early, late = ([float(row[when]) for row in here] for when in ("early", "late"))
        names = f"layer {layer}, first steps", f"layer {layer}, last steps"
        drawn.append((f"layer {layer}", heat_strip(early, names[0]), heat_strip(late, names[1])))
    experts = max(row["expert"] for row in rows)
    return {"rows": drawn, "more": len(layers) - len(drawn), "experts": experts, "steps": span}
