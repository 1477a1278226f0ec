"""Two work folders beside each other, as one HTML page: what changed, and why.

Causes come first (settings, code, inputs), then what they did: stage by stage, document by document, and to the model.
A document that one corpus has and the other has not is followed to where the other lost it.
"""

import tempfile
from collections.abc import Callable
from typing import Any

from corpus import storage
from corpus.manifests import dict_of
from jobs import report, report_effects
from jobs.charts import cut, short
from jobs.report_facts import Facts, Section
from jobs.report_pair import (
    ROWS,
    Pair,
    apart,
    changes,
    delta,
    few,
    flat,
    many,
    number,
    rounds_as_one,
    table,
    told,
)

REASONS = 25  # of drops, in the table
RECIPE = "recipe.json"
# What a part may show.
NOTHING: dict[str, Any] = {
    "wrong": None,
    "same": None,
    "charts": [],
    "tables": [],
    "pairs": [],
    "note": None,
    "overlap": [],
}


def write_comparison(a: str, b: str, out: str | None = None) -> str:
    """Write the comparison of two work folders to `out` (`compare.html` in the second unless given); returns its path.

    The same folders give the same bytes.

    Raises:
        LodeError: there is nothing in one of them that could be shown.
    """
    out = out or storage.join(b, "compare.html")
    storage.write_text(out, render(a, b))
    return out


def render(a: str, b: str) -> str:
    """The page as text."""
    jinja = report.environment()
    with tempfile.TemporaryDirectory(prefix="lode-compare-") as scratch:
        pair = Pair(a, b, scratch)
        problems = [
            row | {"file": f"{which}: {row['file']}"}
            for which, facts in zip("AB", pair.both, strict=True)
            for row in facts.rows("FROM problems")
        ]
        sections, values = [], {}
        for name, (title, heading, gather) in PARTS.items():
            try:
                values[name] = gather(pair)
                if values[name] is None:
                    continue
            except report.WRONG as error:
                values[name] = {"wrong": cut(report.reason(error), 300)}
                problems.append({"file": f"section {name}", "problem": report.reason(error)})
            sections.append({"id": name, "title": title, "heading": heading, "part": NOTHING | values[name]})
        names = names_of(a, b)
        page = {
            "names": names,
            "folders": [a, b],
            "sections": sections,
            "problems": problems,
            "figures": figures(pair, values),
            # A part that can not be shown is no part that is the same.
            "identical": all("same" in part for part in values.values() if part is not None)
            and bool(sections),
        }
        for facts in pair.both:
            facts.connection.close()
    return jinja.get_template("compare.html").render(page)


def names_of(a: str, b: str) -> list[str]:
    """The last steps of the two paths, as many as tell them apart."""
    steps = [[step for step in path.split("/") if step] for path in (a, b)]
    for last in range(1, 4):
        names = ["/".join(path[-last:]) for path in steps]
        if names[0] != names[1]:
            break
    return [name or path for name, path in zip(names, (a, b), strict=True)]


def figures(pair: Pair, values: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The numbers on top: (what, how many, a word more)."""
    found = []
    if pair.stages:
        own = sum(cause.itself for cause in pair.causes.values())
        found.append(
            (
                "stages that differ",
                f"{len(pair.causes):,}",
                f"of {len(pair.stages):,}; {own:,} of them by themselves",
            )
        )
    if total := (values.get("documents") or {}).get("total"):
        found.append(
            ("documents", f"{short(total['a'])} → {short(total['b'])}", f"{number(total['in_both'])} in both")
        )
        lost = f"{number(total['only_b'])} came, {number(total['altered'])} have another text"
        found.append(("documents gone", number(total["only_a"]), lost))
    packed = [
        short((facts.stages.get(stage or "") or {}).get("tokens"))
        for facts, stage in zip(pair.both, pair.shards, strict=True)
    ]
    if "–" not in packed and packed[0] != packed[1]:
        found.append(("tokens packed", " → ".join(packed), ""))
    held = [
        facts.rows("SELECT avg(loss) AS loss FROM evaluation WHERE isfinite(loss)")[0]["loss"]
        for facts in pair.both
    ]
    if None not in held:
        found.append(
            ("loss of the model", " → ".join(f"{loss:.2f}" for loss in held), "held-out, mean of sources")
        )
    return found[:2] + found[-2:] if len(found) > 4 else found


# Causes


def recipe(facts: Facts) -> dict[str, Any] | None:
    found = storage.read_json(storage.join(facts.work, RECIPE))
    return flat(found) if isinstance(found, dict) else None


def causes(pair: Pair) -> Section:
    """Settings, code, versions and inputs that differ."""
    tables = settings(pair) + inputs(pair) + versions(pair)
    if not tables:
        return {"same": "Settings, code, versions and inputs are the same."}
    return {"tables": tables}


def settings(pair: Pair) -> list[dict[str, Any]]:
    """The recipes' differences with the stages that have them, and what else differs among the stages' parameters."""
    asked = [recipe(facts) for facts in pair.both]
    differ = changes(*asked) if None not in asked else []
    # A stage calls a setting as its recipe does, without the name of its section.
    by_name: dict[str, list[str]] = {}
    for stage, cause in pair.causes.items():
        for name, _, _ in cause.settings:
            by_name.setdefault(name.rpartition(".")[2], []).append(stage)
    rows, told_already = [], set()
    for name, old, new in differ:
        if name == "name":
            continue
        last = name.rpartition(".")[2]
        told_already.add(last)
        rows.append([cut(name, 100), *apart(old, new), few(by_name.get(last, []))])
    note = "" if None not in asked else "Without the recipes of both; from what the stages say of themselves."
    found = []
    if rows:
        columns = ["<Setting", "<A", "<B", "<At once in"]
        found.append(table("Settings of the recipe", columns, rows[:ROWS], len(rows) - ROWS, kind="wordy"))
    else_ = [
        [f"{cut(stage, 60)}: {cut(name, 80)}", *apart(old, new)]
        for stage, cause in pair.causes.items()
        for name, old, new in cause.settings
        if name.rpartition(".")[2] not in told_already
    ]
    if else_:
        title = "Other parameters of stages" if rows else "Parameters of stages"
        found.append(
            table(title, ["<Parameter", "<A", "<B"], else_[:ROWS], len(else_) - ROWS, note=note, kind="wordy")
        )
    return found


def inputs(pair: Pair) -> list[dict[str, Any]]:
    """What the stages read that no stage made, and the tokenizers."""
    rows = [
        [f"{cut(stage, 60)}: {cut(name, 60)}", *apart(old, new)]
        for stage, cause in pair.causes.items()
        for name, old, new in cause.read
    ]
    for what, key in (("its tokenizer", "tokenizer_fingerprint"), ("its vocabulary", "vocabulary_size")):
        two = [
            dict_of(facts.manifests.get(stage or "", {}).get("shards")).get(key)
            for facts, stage in zip(pair.both, pair.shards, strict=True)
        ]
        if None not in two and two[0] != two[1]:
            rows.append([f"{cut(pair.shards[1], 60)}: {what}", *apart(*two)])
    note = "Fingerprints are of names, sizes and times, by their last digits."
    return (
        [table("Inputs", ["<Input", "<A", "<B"], rows[:ROWS], len(rows) - ROWS, note=note, kind="wordy")]
        if rows
        else []
    )


def versions(pair: Pair) -> list[dict[str, Any]]:
    rows = []
    for what, key in (("Lode", "lode"), ("engine", "engine")):
        used = [sorted({row[key] for row in facts.stages.values() if row[key]}) for facts in pair.both]
        if used[0] != used[1]:
            rows.append([what, *(cut(", ".join(names) or "–", 200) for names in used)])
    by_code: dict[tuple[str, str], list[str]] = {}
    for stage, cause in pair.causes.items():
        if cause.code:
            by_code.setdefault(cause.code, []).append(stage)
    rows += [[f"code of {few(stages)}", *(cut(mark, 12) for mark in two)] for two, stages in by_code.items()]
    return (
        [table("Code and versions", ["<Of", "<A", "<B"], rows[:ROWS], len(rows) - ROWS, kind="wordy")]
        if rows
        else []
    )


# Effects on stages


def stages(pair: Pair) -> Section:
    if not pair.stages:
        return None
    if not pair.causes:
        return {"same": f"All {many(len(pair.stages), 'stage')} are the same, row for row."}
    changed = [stage_row(pair, name) for name in pair.causes]
    rounds = [row for row in changed if row["stage"].startswith("mining/")]
    others = [row for row in changed if row not in rounds] or changed
    tables = [stage_table("Stages that differ, in their order", others)]
    if rounds and others is not changed:
        tables.append(
            stage_table(f"Inside the mining loop: {many(len(rounds), 'stage')}", rounds, folded=True)
        )
    tables += reasons(pair)
    left = {name for names in pair.stale for name in names}
    quiet = [name for name in pair.stages if name not in pair.causes and name not in left]
    notes = [f"The same, row for row: {few(rounds_as_one(quiet), 12)}."] if quiet else []
    notes += [
        f"Left over in {side} from an earlier run, and not made of what is there now: {few(names, 12)}."
        for side, names in zip("AB", pair.stale, strict=True)
        if names
    ]
    return {"tables": tables, "note": " ".join(notes) or None}


def stage_row(pair: Pair, name: str) -> dict[str, Any]:
    old, new = (facts.stages.get(name) or {} for facts in pair.both)
    return {"stage": name, "old": old, "new": new, "why": pair.why(name)}


def stage_table(title: str, rows: list[dict[str, Any]], folded: bool = False) -> dict[str, Any]:
    steps = [abs((row["new"].get("rows_out") or 0) - (row["old"].get("rows_out") or 0)) for row in rows]
    body = []
    for row in rows[:ROWS]:
        old, new = row["old"], row["new"]
        unit = old.get("unit") or new.get("unit") or "rows"
        body.append(
            [told(cut(row["stage"], 60) if row["stage"] != "." else "the folder itself", cut(unit, 20)),
             f"{number(old.get('rows_in'))} → {number(new.get('rows_in'))}",
             f"{number(old.get('rows_out'))} → {number(new.get('rows_out'))}",
             delta(old.get("rows_out"), new.get("rows_out"), max(steps)), row["why"]]
        )  # fmt: skip
    columns = ["Stage", "In, A → B", "Out, A → B", "Difference", "<Why"]
    return table(title, columns, body, len(rows) - ROWS, kind="wordy", folded=folded)


def reasons(pair: Pair) -> list[dict[str, Any]]:
    """Reasons to drop a row whose numbers differ, the greatest difference first, with what changed the stage."""
    found = []
    for stage, cause in pair.causes.items():
        if cause.only:
            continue
        old, new = (dict_of((facts.stages.get(stage) or {}).get("dropped")) for facts in pair.both)
        for reason in {**old, **new}:
            if old.get(reason, 0) != new.get(reason, 0):
                found.append((stage, reason, old.get(reason, 0), new.get(reason, 0)))
    if not found:
        return []
    found.sort(key=lambda one: (-abs(one[3] - one[2]), one[:2]))
    most = abs(found[0][3] - found[0][2])
    body = [
        [told(cut(reason, 60).replace("_", " "), cut(stage, 60)), number(old), number(new), delta(old, new, most),
         pair.why(stage)]
        for stage, reason, old, new in found[:REASONS]
    ]  # fmt: skip
    columns = ["Reason", "A", "B", "Difference", "<Why"]
    return [
        table(
            "Reasons for which more or fewer were dropped", columns, body, len(found) - REASONS, kind="wordy"
        )
    ]


PARTS: dict[str, tuple[str, str, Callable[[Pair], Section]]] = {
    "causes": ("Causes", "What was done differently", causes),
    "stages": ("Stages", "Stage by stage", stages),
    "documents": ("Documents", "Document by document", report_effects.documents),
    "makeup": ("Make-up", "What the corpora are made of", report_effects.makeup),
    "mining": ("Mining", "Mining rounds", report_effects.mining),
    "tokens": ("Mixture", "Tokens, mixture and packing", report_effects.tokens),
    "training": ("Training", "Training and evaluation", report_effects.training),
}
