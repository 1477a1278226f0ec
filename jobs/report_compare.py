"""Two work folders beside each other, as one HTML page: what changed, and why.

Causes come first (settings, code, inputs), then what they did: stage by stage, document by document, and to the model.
Documents are compared by their ids: those that one corpus has and the other has not are followed to where the other
one lost them.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from typing import Any

from corpus import storage
from corpus.inspect import literal
from corpus.saved import save
from jobs import report
from jobs.charts import Line, cut, line_chart, short
from jobs.report_facts import Facts

ROWS = 40  # of a table
EXAMPLES = 3  # of each fate
HASHED = 4_000_000_000  # characters of a corpus whose texts are compared, and not only their lengths
NAMED = 300  # characters of a name
# Keys that say where and when, and not what.
WHERE = {"work", "folder", "paths", "pages"}


class Pair:
    """Two folders, A and B, and one connection that asks both: B's views are in the schema `b`."""

    def __init__(self, a: str, b: str, scratch: str):
        self.a, self.b = Facts(a), Facts(b)
        place = storage.join(scratch, "b.duckdb")
        save(self.b.connection, place)
        if not storage.is_local(b):
            with contextlib.suppress(Exception):  # the same kind of URL as A is known already
                self.a.connection.register_filesystem(storage.filesystem(b)[0])
        self.a.connection.execute(f"ATTACH {literal(place)} AS b (READ_ONLY)")
        self.a.connection.execute(f"SET temp_directory = {literal(scratch)}")

    @property
    def both(self) -> tuple[Facts, Facts]:
        return self.a, self.b

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.a.rows(sql)


def write_comparison(a: str, b: str, out: str | None = None) -> str:
    """Write the comparison of two work folders to `out` (`compare.html` in the second unless given); returns its path.

    Raises:
        LodeError: there is nothing in one of them that could be shown.
    """
    out = out or storage.join(b, "compare.html")
    storage.write_text(out, render(a, b))
    return out


def render(a: str, b: str) -> str:
    """The page as text."""
    with tempfile.TemporaryDirectory(prefix="lode-compare-") as scratch:
        pair = Pair(a, b, scratch)
        sections = []
        for name, (title, heading, gather) in PARTS.items():
            try:
                found = gather(pair)
            except report.WRONG as error:
                found = {"same": f"This part can not be compared: {cut(report.reason(error), 300)}"}
            if found:
                sections.append(
                    {
                        "id": name,
                        "title": title,
                        "heading": heading,
                        "lede": None,
                        "same": None,
                        "tables": [],
                        "charts": [],
                    }
                    | found
                )
        names = [short_name(a), short_name(b)]
        problems = [
            row | {"file": f"{which}: {row['file']}"}
            for which, facts in zip("AB", pair.both, strict=True)
            for row in facts.rows("FROM problems")
        ]
        identical = not changed_settings(pair) and not [row for row in stage_rows(pair) if row["cause"]]
        pair.a.connection.execute("DETACH b")
    page = {
        "names": names,
        "folders": [a, b],
        "sections": sections,
        "problems": problems,
        "identical": identical,
    }
    return report.environment().get_template("compare.html").render(page)


def short_name(work: str) -> str:
    return work.rstrip("/").rpartition("/")[2] or work


# Causes


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings by their path: `mine.classifier.dim`."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def settings_of(facts: Facts) -> dict[str, str]:
    """The recipe, as far as it is there, and every stage's parameters."""
    recipe = storage.read_json(storage.join(facts.work, "recipe.json"))
    if isinstance(recipe, dict):
        return dict(flat(recipe))
    found = {}
    for stage, manifest in facts.manifests.items():
        found |= {f"{stage}: {name}": value for name, value in flat(manifest.get("parameters") or {})}
    return found


def changed_settings(pair: Pair) -> list[tuple[str, str | None, str | None]]:
    before, after = (settings_of(facts) for facts in pair.both)
    names = [*before, *(name for name in after if name not in before)]
    return [
        (name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name) and name.rpartition(".")[2] not in WHERE
    ]


def causes(pair: Pair) -> dict[str, Any] | None:
    """Settings, versions, code."""
    changed = changed_settings(pair)
    tables = []
    if changed:
        body = [[name, shown(old), shown(new)] for name, old, new in changed[:ROWS]]
        tables.append(table("Settings that differ", ["Setting", "<A", "<B"], body, len(changed) - ROWS))
    versions = []
    for what, key in (("Lode", "lode"), ("engine", "engine")):
        used = [sorted({row[key] for row in facts.stages.values() if row[key]}) for facts in pair.both]
        versions.append([what, *(", ".join(names) or "–" for names in used)])
    differ = [row for row in versions if row[1] != row[2]]
    if differ:
        tables.append(table("Versions that differ", ["Of", "<A", "<B"], differ))
    code = [
        [stage, pair.a.stages[stage]["code"], pair.b.stages[stage]["code"]]
        for stage in pair.a.stages
        if stage in pair.b.stages and pair.a.stages[stage]["code"] != pair.b.stages[stage]["code"]
    ]
    if code:
        tables.append(
            table("Stages whose code differs", ["Stage", "<A", "<B"], code[:ROWS], len(code) - ROWS)
        )
    same = None if tables else "Settings, versions and code are the same."
    return {"tables": tables, "same": same}


def shown(value: str | None) -> str:
    return "–" if value is None else cut(value, 160)


# Effects on stages


def stage_rows(pair: Pair) -> list[dict[str, Any]]:
    """Every stage of either folder in B's order, and what changed it: itself, or a stage before it."""
    order = [*pair.b.stages, *(stage for stage in pair.a.stages if stage not in pair.b.stages)]
    found = []
    for stage in order:
        old, new = pair.a.stages.get(stage), pair.b.stages.get(stage)
        found.append({"stage": stage, "old": old, "new": new, "cause": cause_of(pair, stage)})
    return found


def cause_of(pair: Pair, stage: str) -> str | None:
    old, new = pair.a.stages.get(stage), pair.b.stages.get(stage)
    if old is None or new is None:
        return "only in B" if old is None else "only in A"
    if old["fingerprint"] == new["fingerprint"]:
        return None
    reasons = []
    before, after = (facts.manifests[stage] for facts in pair.both)
    old_settings, new_settings = (
        dict(flat(manifest.get("parameters") or {})) for manifest in (before, after)
    )
    names = sorted(
        name for name in {**old_settings, **new_settings} if old_settings.get(name) != new_settings.get(name)
    )
    if names:
        reasons.append("its settings: " + ", ".join(names[:4]) + (" …" if len(names) > 4 else ""))
    if old["code"] != new["code"]:
        reasons.append("its code")
    inputs = [
        other
        for other in dict.fromkeys(new["inputs"])
        if other in pair.a.stages
        and pair.a.stages[other]["fingerprint"] != pair.b.stages[other]["fingerprint"]
    ]
    outside = {key for key in {**before.get("inputs", {}), **after.get("inputs", {})}
               if before.get("inputs", {}).get(key) != after.get("inputs", {}).get(key)}  # fmt: skip
    if inputs:
        reasons.append("its input: " + ", ".join(inputs[:3]))
    elif outside:
        reasons.append("its input: " + ", ".join(sorted(outside)[:3]))
    return "; ".join(reasons) or "another run of the same"


def stages(pair: Pair) -> dict[str, Any] | None:
    every = stage_rows(pair)
    changed = [row for row in every if row["cause"]]
    if not every:
        return None
    if not changed:
        return {"same": f"All {len(every)} stages are the same, row for row."}
    body = []
    for row in changed:
        old, new = row["old"] or {}, row["new"] or {}
        body.append(
            [cut(row["stage"], 60), number(old.get("rows_out")), number(new.get("rows_out")),
             difference(old.get("rows_out"), new.get("rows_out")), cut(row["cause"], 200)]
        )  # fmt: skip
    tables = [
        table("Stages that differ, in order", ["Stage", "Rows out, A", "B", "Difference", "<Changed by"], body[:ROWS],
              len(body) - ROWS)
    ]  # fmt: skip
    reasons = []
    for row in changed:
        old, new = ((row[key] or {}).get("dropped") or {} for key in ("old", "new"))
        for reason in {**old, **new}:
            if old.get(reason, 0) != new.get(reason, 0):
                reasons.append((row["stage"], reason, old.get(reason, 0), new.get(reason, 0)))
    reasons.sort(key=lambda one: (-abs(one[3] - one[2]), one[:2]))
    if reasons:
        body = []
        for stage, reason, old, new in reasons[:ROWS]:
            name = f"{cut(stage, 60)}: {cut(reason, 60).replace('_', ' ')}"
            body.append([name, number(old), number(new), difference(old, new)])
        tables.append(table("Reasons for which more or fewer were dropped", ["Reason", "A", "B", "Difference"], body,
                            len(reasons) - ROWS))  # fmt: skip
    quiet = len(every) - len(changed)
    return {
        "tables": tables,
        "lede": f"{quiet} of {len(every)} stages are the same, row for row." if quiet else None,
    }


# Effects on documents


def documents(pair: Pair) -> dict[str, Any] | None:
    """Whose documents are in both corpora, and where the others ended."""
    size = "SELECT count(*) AS n, coalesce(sum(characters), 0) AS c FROM corpus"
    sizes = [facts.rows(size)[0] for facts in pair.both]
    if not sizes[0]["n"] and not sizes[1]["n"]:
        return None
    by_text = max(size["c"] for size in sizes) <= HASHED
    content = "hash(any_value(text))" if by_text else "any_value(characters)"
    for which, schema in (("ours", ""), ("theirs", "b.main.")):
        pair.a.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {which} AS SELECT id, any_value(coalesce(target, source)) AS source, "
            f"any_value(left(coalesce(url, concat_ws(' ', repository, path), id), {NAMED})) AS name, "
            f"{content} AS content FROM {schema}corpus WHERE id IS NOT NULL GROUP BY id"
        )
    rows = pair.rows(
        """
        SELECT coalesce(a.source, b.source) AS source, count(a.id) AS a, count(b.id) AS b,
               count(*) FILTER (a.id IS NULL) AS only_b, count(*) FILTER (b.id IS NULL) AS only_a,
               count(*) FILTER (a.id IS NOT NULL AND b.id IS NOT NULL AND a.content <> b.content) AS altered
        FROM ours a FULL JOIN theirs b USING (id) GROUP BY ALL ORDER BY only_a + only_b DESC, source
        """
    )
    total = {key: sum(row[key] for row in rows) for key in ("a", "b", "only_a", "only_b", "altered")}
    if not total["only_a"] + total["only_b"] + total["altered"]:
        return {"same": f"Both corpora hold the same {number(total['a'])} documents."}
    what = "text" if by_text else "length"
    columns = ["Source", "A", "B", "Only in A", "Only in B", f"Other {what}"]
    body = [
        [cut(row["source"], 60), *(number(row[key]) for key in total)]
        for row in [*rows, {"source": "all"} | total]
    ]
    tables = [table("Documents of each source", columns, body[:ROWS], len(body) - ROWS)]
    for here, there, schema, mine, other in (
        ("A", "B", "b.main.", "ours", "theirs"), ("B", "A", "", "theirs", "ours"),
    ):  # fmt: skip
        if found := fates(pair, schema, mine, other):
            body = [
                [cut(row["fate"], 120), number(row["n"]), "\n".join(cut(name, 120) for name in row["names"])]
                for row in found
            ]
            caption = f"What became in {there} of the documents that only {here} has"
            columns = [f"Fate in {there}", "Documents", "<For instance"]
            tables.append(table(caption, columns, body[:ROWS], len(body) - ROWS))
    return {"tables": tables, "lede": f"Compared by id; of documents in both, the {what} is compared."}


def fates(pair: Pair, schema: str, mine: str, other: str) -> list[dict[str, Any]]:
    """Where the folder behind `schema` lost the documents of `mine` that `other` has not."""
    return pair.rows(
        f"""
        WITH lost AS (SELECT id, name FROM {mine} ANTI JOIN {other} USING (id)),
        place AS (SELECT stage, row_number() OVER () AS place FROM {schema}stages),
        dropped_there AS (
            SELECT id, arg_max(stage || ': ' || replace(reason, '_', ' '), place) AS fate
            FROM {schema}dropped SEMI JOIN lost USING (id) LEFT JOIN place USING (stage) GROUP BY id
        ),
        seen AS (
            SELECT id, arg_max(stage, place) AS stage
            FROM {schema}documents SEMI JOIN lost USING (id) LEFT JOIN place USING (stage) GROUP BY id
        ),
        told AS (
            SELECT l.name,
                coalesce('dropped in ' || d.fate, 'not taken on after ' || s.stage, 'was not in the input') AS fate
            FROM lost l LEFT JOIN dropped_there d USING (id) LEFT JOIN seen s USING (id)
        )
        SELECT fate, count(*) AS n, min(name, {EXAMPLES}) AS names FROM told GROUP BY fate ORDER BY n DESC, fate
        """
    )


def tallies(pair: Pair) -> dict[str, Any] | None:
    """Languages, domains and licences whose numbers differ most."""
    asked = [
        ("Languages", "languages", ("kind", "language"), "chars", "characters"),
        ("Domains", "domains", ("domain",), "pages", "pages"),
        ("Licences", "bytes_by_licence", ("licence",), "bytes_kept", "bytes kept"),
        ("Tokens in shards", "tokens_per_source", ("stage", "source"), "tokens", "tokens"),
    ]
    tables = []
    for title, question, keys, column, unit in asked:
        counts: dict[str, list[int]] = {}
        for side, facts in enumerate(pair.both):
            for row in facts.answer(question):
                name = " ".join(str(row[key]) if row[key] is not None else "nothing said" for key in keys)
                counts.setdefault(name, [0, 0])[side] += int(row[column] or 0)
        differ = sorted(((name, *two) for name, two in counts.items() if two[0] != two[1]),
                        key=lambda one: (-abs(one[2] - one[1]), one[0]))  # fmt: skip
        if differ:
            body = [
                [cut(name, 80), number(old), number(new), difference(old, new)]
                for name, old, new in differ[:15]
            ]
            tables.append(
                table(f"{title}, by {unit}", [title, "A", "B", "Difference"], body, len(differ) - 15)
            )
    return {"tables": tables} if tables else {"same": "Languages, domains, licences and tokens are the same."}


def mining(pair: Pair) -> dict[str, Any] | None:
    found = [{(r["target"], r["round"]): r for r in facts.rows("FROM mining_rounds")} for facts in pair.both]
    keys = sorted({*found[0], *found[1]})
    if not keys:
        return None
    fields = ("collected", "already_collected", "precision", "recall", "paths_accepted")
    if all(found[0].get(key, {}).get(f) == found[1].get(key, {}).get(f) for key in keys for f in fields):
        return {"same": "The mining rounds are the same."}
    body = []
    for target, turn in keys:
        a, b = (side.get((target, turn), {}) for side in found)
        pairs = [(number(a.get(f)), number(b.get(f))) if f in ("collected", "paths_accepted")
                 else (report.percent(a.get(f)), report.percent(b.get(f))) for f in fields]  # fmt: skip
        body.append([f"{cut(target, 40)} {turn}", *(f"{one} | {two}" for one, two in pairs)])
    columns = ["Round", "Collected, A | B", "known before", "precision", "recall", "paths accepted"]
    return {"tables": [table("Mining rounds", columns, body[:ROWS], len(body) - ROWS)]}


# Effects on the model


def training(pair: Pair) -> dict[str, Any] | None:
    """Curves over each other, and the last values."""
    losses, held, tables = [], [], []
    ends: dict[str, list[float | None]] = {}
    for side, (name, facts) in enumerate(zip("AB", pair.both, strict=True)):
        (counted,) = facts.rows("SELECT max(step) AS steps FROM training WHERE source IS NULL")
        group = -(-(counted["steps"] or 1) // 200)
        rows = facts.rows(
            f"SELECT max(step) AS step, avg(loss) FILTER (isfinite(loss)) AS loss FROM training WHERE source IS NULL "
            f"GROUP BY (step - 1) // {group} ORDER BY step"
        )
        losses.append(Line(f"{name}, next token", [(row["step"], row["loss"]) for row in rows]))
        rows = facts.rows(
            "SELECT source, step, heldout_loss AS loss FROM training WHERE source IS NOT NULL ORDER BY source, step"
        )
        for source in dict.fromkeys(row["source"] for row in rows):
            points = [(row["step"], row["loss"]) for row in rows if row["source"] == source]
            held.append(Line(f"{name}, {source}", points))
            ends.setdefault(f"held-out loss of {source}", [None, None])[side] = points[-1][1]
        last = facts.rows(
            "SELECT avg(loss) AS loss, median(tokens_per_second) AS speed, max(tokens) AS tokens FROM (FROM training "
            "WHERE source IS NULL AND isfinite(loss) ORDER BY step DESC LIMIT 10)"
        )[0]
        for what, key in (
            ("training loss, last ten steps", "loss"),
            ("tokens a second", "speed"),
            ("tokens", "tokens"),
        ):
            ends.setdefault(what, [None, None])[side] = last[key]
        for row in facts.rows("SELECT source, loss FROM evaluation ORDER BY source"):
            ends.setdefault(f"loss of the finished model on {row['source']}", [None, None])[side] = row[
                "loss"
            ]
    told = {name: two for name, two in ends.items() if two != [None, None]}
    if not told:
        return None
    if all(one == two for name, (one, two) in told.items() if name != "tokens a second"):
        return {"same": "The runs ended with the same losses."}
    body = [
        [cut(name, 80), *(decimal(value) for value in two),
         "–" if None in two else f"{two[1] - two[0]:+.3f}" if abs(two[0]) < 1000 else difference(two[0], two[1])]
        for name, two in told.items()
    ]  # fmt: skip
    tables.append(
        table("Where the runs ended", ["Value", "A", "B", "Difference"], body[:ROWS], len(body) - ROWS)
    )
    charts = [
        line_chart("Training loss", losses, "step", "nats a token", shown=decimal),
        line_chart("Held-out loss", held, "step", "nats a token", shown=decimal),
    ]
    return {"tables": tables, "charts": [chart for chart in charts if chart]}


# What the template shows


def table(caption: str, columns: list[str], body: list[list[str]], more: int = 0) -> dict[str, Any]:
    return {"caption": caption, "columns": columns, "rows": body, "more": max(0, more)}


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) < 1000 else short(value)


def difference(old: float | None, new: float | None) -> str:
    """`+1,204 (+12 %)`."""
    if old is None or new is None:
        return "–"
    share = f" ({100 * (new - old) / old:+.3g} %)" if old else ""
    return f"{new - old:+,.0f}{share}" if new != old else "0"


# Name in the contents, heading, and what gathers it.
PARTS: dict[str, tuple[str, str, Any]] = {
    "causes": ("Causes", "What was done differently", causes),
    "stages": ("Stages", "Stage by stage", stages),
    "documents": ("Documents", "Document by document", documents),
    "mining": ("Mining", "Mining rounds", mining),
    "tallies": ("Contents", "What the corpora are made of", tallies),
    "training": ("Model", "The model", training),
}
