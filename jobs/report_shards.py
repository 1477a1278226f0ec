"""The report's parts on what is trained on: the mixture of the sources, and how its sequences were packed."""

from typing import Any

from corpus.inspect import literal
from jobs.charts import bar_chart, grouped_bars, short
from jobs.report_facts import Facts, Section, shards_stage
from jobs.report_mining import percents

SHARDS = 14  # files whose mixture is drawn
SOURCES = 20


def tokens(facts: Facts) -> Section:
    """What the mixture asked of each source, what was packed of it, and whether every shard has the same mixture."""
    stage = shards_stage(facts)
    mixture = facts.manifests.get(stage or "", {}).get("mixture") or {}
    packed = {row["source"]: row for row in facts.answer("tokens_per_source") if row["stage"] == stage}
    middle = {row["source"]: row for row in facts.answer("fim") if row["stage"] == stage}
    asked = (facts.manifests.get(stage or "", {}).get("shards") or {}).get("fim_rate") or {}
    weights = {source: entry.get("weight") or 0 for source, entry in mixture.items()}
    rows = [
        {
            "source": source,
            "available": mixture.get(source, {}).get("tokens"),
            "epochs": mixture.get(source, {}).get("epochs"),
            "wanted": weights.get(source, 0) / sum(weights.values()) if sum(weights.values()) else None,
            "tokens": packed.get(source, {}).get("tokens", 0),
            "share": packed.get(source, {}).get("share", 0.0),
            "documents": packed.get(source, {}).get("documents", 0),
            "fim_rate": asked.get(source, 0.0),
            "fim_windows": middle.get(source, {}).get("windows", 0),
            "fim_share": middle.get(source, {}).get("share", 0.0),
        }
        for source in sorted({*mixture, *packed})
    ]
    rows.sort(key=lambda row: (-row["tokens"], row["source"]))
    if not rows:
        return None
    chart = grouped_bars(
        "Share of the tokens: asked, and packed",
        [
            (row["source"], {"asked": row["wanted"] or 0.0, "packed": row["share"]})
            for row in rows[:8]
        ],
        "share of all tokens",
        shown=percents,
    )  # fmt: skip
    return {
        "rows": rows[:SOURCES],
        "more": len(rows[SOURCES:]),
        "total": sum(row["tokens"] for row in rows),
        "chart": chart,
        "fim": any(row["fim_rate"] or row["fim_windows"] for row in rows),
        **mixture_per_shard(facts, stage, [row["source"] for row in rows]),
    }


def mixture_per_shard(facts: Facts, stage: str | None, sources: list[str]) -> dict[str, Any]:
    """Each file's share of each source; from the seventh source on they share a colour."""
    counts = facts.rows(
        f"""
        SELECT file, coalesce(source, 'padding') AS source, sum(length)::BIGINT AS tokens FROM shard_documents
        WHERE stage = {literal(stage or "")} GROUP BY ALL ORDER BY ALL
        """
    )
    files = list(dict.fromkeys(row["file"] for row in counts))
    totals = {file: sum(row["tokens"] for row in counts if row["file"] == file) for file in files}
    by_file: dict[str, dict[str, float]] = {file: {} for file in files}
    for row in counts:
        by_file[row["file"]][row["source"]] = row["tokens"] / (totals[row["file"]] or 1)
    spread = [
        (source, min(shares), max(shares))
        for source in sources[:SOURCES]
        if (shares := [by_file[file].get(source, 0.0) for file in files])
    ]
    return {
        "colours": {source: min(number, 6) for number, source in enumerate(sources[:12], 1)},
        "shards": [(file, totals[file], by_file[file]) for file in files[:SHARDS]],
        "shards_in_all": len(files),
        "spread": spread if len(files) > 1 else [],
    }


def packing(facts: Facts) -> Section:
    stage = shards_stage(facts)
    rows = [row for row in facts.answer("packing") if row["stage"] == stage]
    if not rows:
        return None
    (row,) = rows
    lost = facts.rows(
        f"SELECT coalesce(sum(TRY_CAST(split_part(detail, ' ', 1) AS BIGINT)), 0) AS tokens, count(*) AS windows "
        f"FROM dropped WHERE stage = {literal(stage or '')} AND reason = 'remainder'"
    )[0]
    inside = row["tokens_of_documents"] or 0
    whole = row["tokens"] + lost["tokens"]
    return {
        "stage": stage,
        "sequences": row["sequences"],
        "length": row["sequence_length"],
        "tokens": row["tokens"],
        "pieces": row["pieces_per_sequence"],
        "windows": row["windows_completed"],
        "cuts": row.get("cuts"),
        "parts": [("placed", inside), ("padding", row["tokens"] - inside), ("remainder", lost["tokens"])],
        "whole": whole,
        "efficiency": inside / whole if whole else None,
        "lost_windows": lost["windows"],
        "dropped": facts.stages.get(stage or "", {}).get("dropped", {}),
        "chart": pieces(facts, stage),
    }


def pieces(facts: Facts, stage: str | None) -> Any:
    """How many pieces of documents stand in a sequence."""
    rows = facts.rows(
        f"""
        SELECT least(12, len([d.id FOR d IN documents IF d.id IS NOT NULL])) AS pieces, count(*) AS sequences
        FROM shards WHERE stage = {literal(stage or "")} GROUP BY ALL ORDER BY ALL
        """
    )
    names = [
        (f"{row['pieces']}{' or more' if row['pieces'] == 12 else ''}", row["sequences"]) for row in rows
    ]
    return bar_chart("Pieces of documents in a sequence", names, "sequences", shown=short)
