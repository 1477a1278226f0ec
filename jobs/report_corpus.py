"""The report's parts on the corpus: each asks `Facts` and returns what the template shows, or None for nothing."""

import difflib
import json
import re
from typing import Any

from corpus.inspect import literal
from jobs.charts import cut
from jobs.report_facts import Facts, shards_stage

EXCERPT = 1_500  # characters of a sample
PAIR = 1_200  # characters of each of two near-duplicates
Section = dict[str, Any] | None


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
        if name not in inside and row["inputs"] and not name.startswith(("mining/", "crawl/"))
    ]
    if after:
        groups.append(group_of(facts, "From documents to sequences and a model", after, documents=False))
    return {"groups": groups, "times": times(facts)} if groups else None


def group_of(facts: Facts, title: str, stages: list[str], documents: bool) -> dict[str, Any]:
    rows = []
    for name in stages:
        row = facts.stages[name]
        reasons = sorted(row["dropped"].items(), key=lambda item: (-item[1], item[0]))
        # A stage that makes something else than rows of its input (a tokenizer, a model) has no bar.
        bar = documents or row["unit"] == "windows"
        rows.append({**row, "reasons": reasons[:8], "others": sum(n for _, n in reasons[8:]), "bar": bar})
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


def tokens(facts: Facts) -> Section:
    """What the mixture asked of each source, and what was packed of it."""
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
    return {"rows": rows, "total": sum(row["tokens"] for row in rows)} if rows else None


def languages(facts: Facts) -> Section:
    kinds = []
    for kind, title in (("page", "Of pages"), ("file", "Of files")):
        rows = [row for row in facts.answer("languages") if row["kind"] == kind]
        if rows:
            total = sum(row["chars"] for row in rows)
            rest = {
                "documents": sum(r["documents"] for r in rows[10:]),
                "chars": sum(r["chars"] for r in rows[10:]),
            }
            kinds.append(
                {"title": title, "rows": rows[:10], "total": total, "rest": rest, "others": len(rows[10:])}
            )
    return {"kinds": kinds} if kinds else None


def domains(facts: Facts) -> Section:
    rows = facts.answer("domains")
    formulas = {row["target"]: row for row in facts.answer("formulas")}
    return {"rows": rows[:15], "count": len(rows), "formulas": formulas} if rows else None


def mining(facts: Facts) -> Section:
    rounds = facts.answer("mining_rounds")
    if not rounds:
        return None
    accepted = facts.rows(
        "SELECT target, path, max(pages) AS pages, arg_max(share, round) AS share, min(round) AS round "
        "FROM paths WHERE accepted GROUP BY target, path ORDER BY target, round, path"
    )
    targets = {
        target: {
            "rounds": [row for row in rounds if row["target"] == target],
            "paths": [row for row in accepted if row["target"] == target][:40],
            "accepted": sum(row["target"] == target for row in accepted),
        }
        for target in dict.fromkeys(row["target"] for row in rounds)
    }
    return {"targets": targets, "stopped": next((row["stopped"] for row in rounds if row["stopped"]), None)}


def duplicates(facts: Facts) -> Section:
    sizes = facts.answer("duplicates")
    found = []
    for stage in dict.fromkeys(row["stage"] for row in sizes):
        rows = [row for row in sizes if row["stage"] == stage]
        lost = facts.rows(
            f"SELECT reason, count(*) AS lost FROM clusters WHERE stage = {literal(stage)} "
            "GROUP BY reason ORDER BY lost DESC, reason"
        )
        pairs = facts.rows(
            f"SELECT id, winner, jaccard FROM clusters WHERE stage = {literal(stage)} AND id <> winner "
            "ORDER BY id LIMIT 6"
        )
        is_repository = facts.manifests.get(stage, {}).get("parameters", {}).get("unit") == "repository"
        found.append(
            {
                "stage": stage,
                "sizes": rows[:12],
                "most": max(row["clusters"] for row in rows),
                "clusters": sum(row["clusters"] for row in rows),
                "lost": lost,
                "unit": "repositories" if is_repository else "documents",
                "names": pairs if is_repository else [],
                "pair": None if is_repository else example_pair(facts, stage),
            }
        )
    return {"stages": found} if found else None


def example_pair(facts: Facts, stage: str) -> Section:
    """Two near-duplicates that differ, side by side: the first by its id among those of a readable length."""
    before = facts.stages.get(stage, {}).get("inputs") or []
    if not before:
        return None
    pairs = facts.rows(
        f"""
        WITH pair AS (
            SELECT id, min(winner) AS winner FROM clusters
            WHERE stage = {literal(stage)} AND reason = 'near_duplicate' GROUP BY id ORDER BY id LIMIT 200
        )
        SELECT coalesce(a.url, a.path, a.id) AS left_name, coalesce(b.url, b.path, b.id) AS right_name,
               left(a.text, 20000) AS left_text, left(b.text, 20000) AS right_text
        FROM pair JOIN documents a ON a.id = pair.id AND a.stage = {literal(before[0])}
                  JOIN documents b ON b.id = pair.winner AND b.stage = {literal(stage)}
        WHERE a.text <> b.text ORDER BY length(a.text) NOT BETWEEN 300 AND 3000, pair.id LIMIT 1
        """
    )
    if not pairs:
        return None
    (pair,) = pairs
    left, right = differences(pair["left_text"], pair["right_text"])
    return pair | {"left": left, "right": right}


def differences(left: str, right: str) -> tuple[list[tuple[bool, str]], list[tuple[bool, str]]]:
    """Both texts around their first difference, in pieces that say whether they differ."""
    same = next(
        (k for k, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
    start = max(0, left.rfind("\n", 0, max(0, same - 300)) + 1) if same > 600 else 0
    ours, theirs = (re.findall(r"\w+|\s+|[^\w\s]", text[start : start + PAIR]) for text in (left, right))
    pieces: tuple[list[tuple[bool, str]], list[tuple[bool, str]]] = ([], [])
    if start:
        for side in pieces:
            side.append((False, "… "))
    for kind, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        for side, words in ((pieces[0], ours[a:b]), (pieces[1], theirs[c:d])):
            if words:
                side.append((kind != "equal", "".join(words)))
    for side, text in zip(pieces, (left, right), strict=True):
        if len(text) > start + PAIR:
            side.append((False, " …"))
    return pieces


def contamination(facts: Facts) -> Section:
    checked = [name for name, manifest in facts.manifests.items() if "benchmark_items" in manifest]
    rows = [
        facts.stages[name]
        | {
            "items": facts.manifests[name]["benchmark_items"],
            "benchmarks": facts.manifests[name].get("parameters", {}).get("benchmarks", []),
            "too_short": facts.manifests[name].get("texts_too_short", 0),
            "most": facts.manifests[name].get("found_most", []),
            "sets": facts.manifests[name].get("benchmarks", {}),
            # Of a text of ten words or fewer all is found or nothing: that says little of where it came from.
            "found": facts.rows(
                "SELECT coalesce(url, path, id) AS name, benchmark || '#' || item AS item, coverage, excerpt "
                f"FROM contamination WHERE stage = {literal(name)} AND item_ngrams > 1 "
                "QUALIFY row_number() OVER (PARTITION BY benchmark, item ORDER BY coverage DESC, name, field) = 1 "
                "ORDER BY coverage DESC, benchmark, item LIMIT 8"
            ),
        }
        for name in checked
    ]
    return {"stages": rows} if rows else None


def repositories(facts: Facts) -> Section:
    orders = facts.answer("orders")
    if not orders:
        return None
    kinds = facts.rows("SELECT kind, count(*) AS edges FROM edges GROUP BY kind ORDER BY edges DESC, kind")
    unparsed = facts.rows(
        "SELECT u.reason, count(*) AS files FROM (SELECT unnest(unparsed) AS u FROM repositories) "
        "GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return {
        "orders": orders,
        "count": sum(row["repositories"] for row in orders),
        "files": sum(row["files"] or 0 for row in orders),
        "edges": sum(row["edges"] or 0 for row in orders),
        "kinds": kinds[:8],
        "unparsed": unparsed[:8],
        "largest": facts.answer("repositories")[:12],
        **drops_of_repositories(facts),
    }


def drops_of_repositories(facts: Facts) -> dict[str, Any]:
    """Files and dependencies that repositories lost, of those of which something stays, by reason."""
    alive = "FROM accounts WHERE decision <> 'dropped'"
    (total,) = facts.rows(
        "SELECT count(*) AS repositories, sum(files)::BIGINT AS files, sum(kept)::BIGINT AS kept, "
        "sum(edges)::BIGINT AS edges, sum(edges_lost)::BIGINT AS edges_lost, sum(stubs)::BIGINT AS stubs, "
        f"count(*) FILTER (edges_lost > 0) AS with_losses {alive}"
    )
    reasons = facts.rows(
        "SELECT d.stage, d.reason, sum(d.files)::BIGINT AS files, sum(d.bytes)::BIGINT AS bytes, "
        f"sum(d.edges_lost)::BIGINT AS edges_lost FROM (SELECT unnest(dropped) AS d {alive}) "
        "GROUP BY ALL ORDER BY files DESC, d.stage, d.reason"
    )
    return {
        "whole": total if total["files"] else None,
        "reasons": reasons[:12],
        "more_reasons": len(reasons[12:]),
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
        "parts": [("placed", inside), ("padding", row["tokens"] - inside), ("remainder", lost["tokens"])],
        "whole": whole,
        "efficiency": inside / whole if whole else None,
        "lost_windows": lost["windows"],
        "dropped": facts.stages.get(stage or "", {}).get("dropped", {}),
    }


def samples(facts: Facts) -> Section:
    rows = facts.answer("samples")
    sources = list(dict.fromkeys(row["source"] for row in rows))[:12]
    found = {source: [row for row in rows if row["source"] == source] for source in sources}
    return {"sources": found, "excerpt": EXCERPT} if rows else None


def made(facts: Facts) -> Section:
    """Versions, the engine, every stage's account, and the command that makes it again."""
    rows = list(facts.stages.values())
    return {
        "versions": sorted({row["lode"] for row in rows if row["lode"]}),
        "engines": sorted({row["engine"] for row in rows if row["engine"]}),
        "stages": rows[:200],
        "parameters": {
            row["stage"]: cut(
                json.dumps(facts.manifests[row["stage"]].get("parameters"), ensure_ascii=False, indent=1),
                2_000,
            )
            for row in rows[:200]
            if not row["stage"].startswith("mining/")
        },
    }
