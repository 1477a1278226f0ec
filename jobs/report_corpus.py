"""The report's parts on the corpus: each asks `Facts` and returns what the template shows, or None for nothing."""

import json
from typing import Any

from corpus.inspect import literal, quoted
from jobs.charts import cut, histogram, visible
from jobs.report_facts import Facts, Section

EXCERPT = 1_500  # characters of a sample
SOURCES = 6  # in a histogram; the others are one
STAGES = 200  # in the account
SETTINGS = 80  # of a stage
DOMAINS = 20
LICENCES = 16
CHECKED = 6  # stages of decontamination
# Columns that say how good a document was found, and what they are called.
SCORES = {
    "quality": "learned quality of code",
    "syntax": "share of the code that parses",
    "language_score": "certainty of the language",
    "score": "mining score",
}


def funnel(facts: Facts) -> Section:
    """Rows of every stage, in the order of the data's way and not of the clock."""
    chains = facts.chains()
    groups = []
    for chain in chains:
        chain = [stage for stage in chain if not stage.startswith("crawl/")]
        if any(stage in facts.stages for stage in chain):
            is_code = facts.rows(f"SELECT 1 FROM repositories WHERE stage = {literal(chain[-1])} LIMIT 1")
            title = "From source trees to repositories" if is_code else "From crawl to documents"
            groups.append(group_of(facts, title, chain, documents=True))
    inside = {stage for chain in chains for stage in chain}
    after = [
        name
        for name, row in facts.stages.items()
        if name not in inside
        and (row["inputs"] or row["unit"] == "windows")
        and not name.startswith(("mining/", "crawl/"))
    ]
    if after:
        groups.append(group_of(facts, "From documents to sequences and a model", after, documents=False))
    return {"groups": groups, "times": times(facts)} if groups else None


def group_of(facts: Facts, title: str, stages: list[str], documents: bool) -> dict[str, Any]:
    rows = []
    for name in stages[:STAGES]:
        row = facts.stages[name]
        reasons = sorted(row["dropped"].items(), key=lambda item: (-item[1], item[0]))
        # A stage that makes something else than rows of its input (a tokenizer, a model) has no bar.
        bar = documents or row["unit"] == "windows"
        more = reasons[8:]
        others = [(f"{len(more)} other reasons", sum(number for _, number in more))] if more else []
        rows.append({**row, "reasons": [*reasons[:8], *others], "bar": bar})
    most = max((row["rows_in"] or 0 for row in rows if row["bar"]), default=0)
    return {
        "title": title,
        "stages": rows,
        "most": most,
        "unit": rows[0]["unit"] or "rows",
        "documents": documents,
    }


def times(facts: Facts) -> list[tuple[str, float]]:
    """Seconds of each stage; a mining round counts as one."""
    spent: dict[str, float] = {}
    for name, row in facts.stages.items():
        if name.startswith("mining/"):
            name = " ".join(name.split("/")[:2])
        spent[name] = spent.get(name, 0.0) + (row["wall_seconds"] or 0.0)
    return sorted(spent.items(), key=lambda item: (-item[1], item[0]))[:16]


def documents(facts: Facts) -> Section:
    """How long documents are, in characters and in tokens, and how they were scored."""
    rows = facts.rows(
        """
        SELECT coalesce(target, source, 'unknown') AS source, count(*) AS documents, sum(characters)::BIGINT AS chars,
               quantile_disc(characters, [0.1, 0.5, 0.9]) AS parts, max(characters) AS longest
        FROM corpus GROUP BY ALL ORDER BY documents DESC, source
        """
    )
    if not rows:
        return None
    drawn = [row["source"] for row in rows[:SOURCES]]
    charts = [
        lengths("Length of documents, in characters", "characters", drawn, facts.rows(
            """
            SELECT coalesce(target, source, 'unknown') AS source,
                   floor(2 * log2(greatest(characters, 1)))::INTEGER AS bin, count(*) AS documents
            FROM corpus GROUP BY ALL ORDER BY ALL
            """)),
        lengths("Length of documents, in tokens of the shards", "tokens", drawn, facts.rows(
            """
            WITH whole AS (
                SELECT source, id, sum(length) AS tokens FROM shard_documents
                WHERE id IS NOT NULL AND coalesce(epoch, 0) = 0 GROUP BY source, id
            )
            SELECT source, floor(2 * log2(greatest(tokens, 1)))::INTEGER AS bin, count(*) AS documents
            FROM whole GROUP BY ALL ORDER BY ALL
            """)),
        lengths("Formulas on a page that has any", "formulas", drawn, facts.rows(
            """
            SELECT coalesce(target, source, 'unknown') AS source, floor(log2(formulas))::INTEGER AS bin,
                   count(*) AS documents
            FROM corpus WHERE formulas > 0 GROUP BY ALL ORDER BY ALL
            """), 1),
        *scores(facts),
    ]  # fmt: skip
    return {
        "rows": rows[:20],
        "more": len(rows[20:]),
        "total": sum(row["documents"] for row in rows),
        "chars": sum(row["chars"] or 0 for row in rows),
        "charts": [chart for chart in charts if chart],
    }


def lengths(title: str, unit: str, drawn: list[str], counts: list[dict[str, Any]], doubling: int = 2) -> Any:
    """So many bins to each doubling, as shares of a source's documents: a small source has a shape, too."""
    series: dict[str, dict[int, int]] = {}
    for row in counts:
        name = row["source"] if row["source"] in drawn else "others"
        bins = series.setdefault(name, {})
        bins[row["bin"]] = bins.get(row["bin"], 0) + row["documents"]
    ordered = [name for name in [*drawn, "others"] if name in series]
    shares = {
        name: [
            (2 ** (bin / doubling), 2 ** ((bin + 1) / doubling), many / sum(series[name].values()))
            for bin, many in bins
        ]
        for name in ordered
        if (bins := sorted(series[name].items()))
    }
    return histogram(title, shares, unit, "share of the source's documents", log=True)


def scores(facts: Facts) -> list[Any]:
    """A histogram of each score that documents carry, at the last stage that gave it."""
    has = [name for name in SCORES if name in facts.columns("documents")]
    if not has:
        return []
    scored = {
        row["stage"]: row
        for row in facts.rows(
            f"SELECT stage, {', '.join(f'count({quoted(name)}) AS {quoted(name)}' for name in has)} "
            "FROM documents GROUP BY stage"
        )
    }
    charts = []
    for name in has:
        stages = [stage for stage in facts.stages if scored.get(stage, {}).get(name)]
        if not stages:
            continue
        bins = facts.rows(
            f"""
            SELECT floor(greatest(0, least({quoted(name)}, 0.999999)) * 40)::INTEGER AS bin, count(*) AS documents
            FROM documents WHERE stage = {literal(stages[-1])} AND {quoted(name)} IS NOT NULL GROUP BY ALL ORDER BY ALL
            """
        )
        title = f"{SCORES[name].capitalize()}, of {stages[-1]}"
        found = [(row["bin"] / 40, (row["bin"] + 1) / 40, row["documents"]) for row in bins]
        charts.append(histogram(title, {"documents": found}, SCORES[name], "documents", log=False))
    return charts


def languages(facts: Facts) -> Section:
    kinds = []
    for kind, title in (("page", "Of pages"), ("file", "Of files")):
        rows = [row for row in facts.answer("languages") if row["kind"] == kind]
        if rows:
            total = sum(row["chars"] for row in rows)
            rest = {
                "documents": sum(r["documents"] for r in rows[12:]),
                "chars": sum(r["chars"] for r in rows[12:]),
            }
            kinds.append(
                {"title": title, "rows": rows[:12], "total": total, "rest": rest, "others": len(rows[12:])}
            )
    return {"kinds": kinds} if kinds else None


def domains(facts: Facts) -> Section:
    rows = facts.answer("domains")
    formulas = {row["target"]: row for row in facts.answer("formulas")[:12]}
    return {"rows": rows[:DOMAINS], "count": len(rows), "formulas": formulas} if rows else None


def licences(facts: Facts) -> Section:
    """Bytes of files by licence, of those read and of those that stay."""
    held = facts.rows(
        "SELECT stage FROM documents WHERE path IS NOT NULL AND repository IS NOT NULL GROUP BY stage "
        "HAVING count(licence) > 0"
    )
    stages = [stage for stage in facts.stages if {"stage": stage} in held]
    if not stages:
        return None
    first, last = stages[0], stages[-1]
    rows = facts.rows(
        f"""
        SELECT left(licence, 200) AS licence, count(*) FILTER (stage = {literal(first)}) AS files,
               (sum(size) FILTER (stage = {literal(first)}))::BIGINT AS bytes,
               count(*) FILTER (stage = {literal(last)}) AS files_kept,
               (sum(size) FILTER (stage = {literal(last)}))::BIGINT AS bytes_kept
        FROM documents WHERE stage IN ({literal(first)}, {literal(last)})
        GROUP BY ALL ORDER BY bytes_kept DESC NULLS LAST, files_kept DESC, licence NULLS LAST
        """
    )
    return {
        "rows": rows[:LICENCES],
        "more": len(rows[LICENCES:]),
        "rest": {
            key: sum(row[key] or 0 for row in rows[LICENCES:])
            for key in ("files", "bytes", "files_kept", "bytes_kept")
        },
        "total": sum(row["bytes_kept"] or 0 for row in rows),
        "most": max((row["bytes_kept"] or 0 for row in rows), default=0),
        "first": first,
        "last": last,
    }


def contamination(facts: Facts) -> Section:
    checked = [name for name, manifest in facts.manifests.items() if "benchmark_items" in manifest]
    rows = [
        facts.stages[name]
        | {
            "items": facts.manifests[name]["benchmark_items"],
            "benchmarks": facts.manifests[name].get("parameters", {}).get("benchmarks", []),
            "too_short": facts.manifests[name].get("texts_too_short", 0),
            "most": facts.manifests[name].get("found_most", [])[:12],
            "sets": dict(list(facts.manifests[name].get("benchmarks", {}).items())[:40]),
            "more_sets": max(0, len(facts.manifests[name].get("benchmarks", {})) - 40),
            # Of a text of ten words or fewer all is found or nothing: that says little of where it came from.
            "found": facts.rows(
                "SELECT left(coalesce(url, path, id), 300) AS name, left(benchmark || '#' || item, 300) AS item, "
                "coverage, left(excerpt, 400) AS excerpt "
                f"FROM contamination WHERE stage = {literal(name)} AND item_ngrams > 1 "
                "QUALIFY row_number() OVER (PARTITION BY benchmark, contamination.item "
                "ORDER BY coverage DESC, coalesce(url, path, id), field) = 1 "
                "ORDER BY coverage DESC, benchmark, contamination.item LIMIT 8"
            ),
        }
        for name in checked[:CHECKED]
    ]
    return {"stages": rows, "more": checked[CHECKED:]} if rows else None


def samples(facts: Facts) -> Section:
    """Of each source two documents drawn by their ids, and one with formulas."""
    chosen = facts.rows(
        """
        SELECT coalesce(target, source, 'unknown') AS source, stage, min(id, 2) AS ids,
               min(id) FILTER (formulas > 0) AS with_formulas, count(*) AS documents
        FROM corpus GROUP BY ALL ORDER BY source, stage
        """
    )
    sources: dict[str, list[dict[str, Any]]] = {}
    for row in chosen[:12]:
        ids = list(dict.fromkeys([*filter(None, [row["with_formulas"]]), *(row["ids"] or [])]))
        texts = facts.texts(ids, row["stage"], EXCERPT)
        for name in ids:
            if name in texts:
                shown = visible(texts[name]["text"])[: 2 * EXCERPT]
                sources.setdefault(row["source"], []).append(texts[name] | {"text": shown})
    return {"sources": sources, "excerpt": EXCERPT, "more": len(chosen[12:])} if sources else None


def made(facts: Facts) -> Section:
    """Versions, the engine, every stage's account and parameters, and the command that makes it again."""
    rows = list(facts.stages.values())
    shown = [row for row in rows if not row["stage"].startswith("mining/round-")]
    return {
        "versions": sorted({row["lode"] for row in rows if row["lode"]})[:8],
        "engines": sorted({row["engine"] for row in rows if row["engine"]})[:8],
        "started": min((row["started"] for row in rows if row["started"]), default=None),
        "seconds": sum(row["wall_seconds"] or 0 for row in rows),
        "stages": rows[:STAGES],
        "more": len(rows[STAGES:]),
        "steps": [
            row
            | {
                "says": parameters_of(facts.manifests[row["stage"]].get("parameters")),
                "code": row["code"],
            }
            for row in shown[:60]
        ],
        "more_steps": len(shown[60:]),
    }


def parameters_of(parameters: Any) -> list[tuple[str, str]]:
    """A stage's parameters, one a line with its path: `prose.c4.min_num_sentences`, `5`."""
    found: list[tuple[str, Any]] = []

    def add(path: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                add(f"{cut(path, 100)}.{key}" if path else str(key), inner)
        else:
            found.append((path, value))

    if isinstance(parameters, dict) and parameters:
        add("", parameters)
    told = [
        (cut(path, 100), cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 200))
        for path, value in found[:SETTINGS]
    ]
    return [*told, ("…", f"{len(found) - SETTINGS:,} more")] if len(found) > SETTINGS else told
