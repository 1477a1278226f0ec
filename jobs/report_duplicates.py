"""The report's part on duplicates: how large the clusters are, how alike their members, and some side by side."""

import difflib
import re
from typing import Any

from corpus.inspect import literal
from jobs.charts import histogram, visible
from jobs.report_facts import Facts, Section

PAIR = 1_200  # characters of each of two near-duplicates
WORDS = 800  # of each, spaces and signs included: comparing takes the square of it
STAGES = 6
PAIRS = 4  # of a stage
SIZES = 12  # rows of the table of sizes


def duplicates(facts: Facts) -> Section:
    sizes = facts.answer("duplicates")
    found = []
    names = list(dict.fromkeys(row["stage"] for row in sizes))
    for stage in names[:STAGES]:
        rows = [row for row in sizes if row["stage"] == stage]
        lost = facts.rows(
            f"SELECT reason, count(*) AS lost FROM clusters WHERE stage = {literal(stage)} "
            "GROUP BY reason ORDER BY lost DESC, reason"
        )
        pairs = facts.rows(
            f"SELECT left(id, 200) AS id, left(winner, 200) AS winner, jaccard FROM clusters "
            f"WHERE stage = {literal(stage)} AND id <> winner ORDER BY clusters.id LIMIT 6"
        )
        parameters = facts.manifests.get(stage, {}).get("parameters", {})
        is_repository = parameters.get("unit") == "repository"
        clusters = sum(row["clusters"] for row in rows)
        found.append(
            {
                "stage": stage,
                "sizes": rows[:SIZES] if len(rows) <= SIZES else [*rows[: SIZES - 1], rows[-1]],
                "more": max(0, len(rows) - SIZES),
                "most": max(row["clusters"] for row in rows),
                "clusters": clusters,
                "mean": sum(row["members"] * row["clusters"] for row in rows) / clusters,
                "largest": rows[-1]["members"],
                "lost": lost,
                "unit": "repositories" if is_repository else "documents",
                "names": pairs if is_repository else [],
                "chart": similarities(facts, stage, parameters.get("jaccard")),
                "pairs": [] if is_repository else example_pairs(facts, stage),
            }
        )
    return {"stages": found, "more": names[STAGES:]} if found else None


def similarities(facts: Facts, stage: str, threshold: Any) -> Any:
    rows = facts.rows(
        f"""
        SELECT least(49, floor(jaccard * 50))::INTEGER AS bin, count(*) AS documents FROM clusters
        WHERE stage = {literal(stage)} AND jaccard IS NOT NULL AND reason NOT LIKE '%contained_repository'
          AND reason LIKE '%near%' GROUP BY ALL ORDER BY ALL
        """
    )
    marks = {"threshold": float(threshold)} if isinstance(threshold, int | float) else {}
    return histogram(
        "Similarity of near-duplicates to what was kept",
        {"documents": [(row["bin"] / 50, (row["bin"] + 1) / 50, row["documents"]) for row in rows]},
        "Jaccard similarity", "documents", log=False, marks=marks,
    )  # fmt: skip


def example_pairs(facts: Facts, stage: str) -> list[dict[str, Any]]:
    """Near-duplicates that differ beside what was kept, from the least alike to the most."""
    before = facts.stages.get(stage, {}).get("inputs") or []
    if not before:
        return []
    # Names first, texts of a few afterwards: of ten million documents the texts are not to be read.
    candidates = facts.rows(
        f"""
        WITH pair AS (
            SELECT id, min(winner) AS winner, min(jaccard) AS jaccard, min(cluster) AS cluster FROM clusters
            WHERE stage = {literal(stage)} AND reason LIKE '%near_duplicate' AND id <> winner AND corpus IS NULL
            GROUP BY id
        ), one AS (  -- of a cluster
            SELECT cluster, min(id) AS id FROM pair GROUP BY cluster
        ), banded AS (
            SELECT pair.*, ntile({PAIRS}) OVER (ORDER BY jaccard NULLS LAST, id) AS band
            FROM pair SEMI JOIN one USING (id)
        )
        SELECT * FROM banded QUALIFY row_number() OVER (PARTITION BY band ORDER BY id) <= 2 ORDER BY band, id
        """
    )
    if not candidates:
        return []
    texts = facts.texts([row["id"] for row in candidates], before[0]) | {
        f"kept {name}": text
        for name, text in facts.texts([row["winner"] for row in candidates], stage).items()
    }
    shown: dict[int, dict[str, Any]] = {}
    for row in candidates:
        left, right = texts.get(row["id"]), texts.get(f"kept {row['winner']}")
        if left and right and left["text"] != right["text"]:
            both = len(left["text"]) + len(right["text"])
            rank = (not 600 <= both <= 6000, row["id"])
            if row["band"] not in shown or rank < shown[row["band"]]["rank"]:
                shown[row["band"]] = {"row": row, "left": left, "right": right, "rank": rank}
    return [
        {
            "jaccard": pair["row"]["jaccard"],
            "left_name": pair["left"]["name"],
            "right_name": pair["right"]["name"],
            **dict(
                zip(("left", "right"), differences(pair["left"]["text"], pair["right"]["text"]), strict=True)
            ),
        }
        for _, pair in sorted(shown.items())
    ]


def differences(left: str, right: str) -> tuple[list[tuple[bool, str]], list[tuple[bool, str]]]:
    """Both texts around their first difference, in pieces that say whether they differ."""
    same = next(
        (k for k, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
    start = max(same - 600, left.rfind("\n", 0, max(0, same - 300)) + 1) if same > 600 else 0
    ours, theirs = (
        re.findall(r"\w+|\s+|[^\w\s]", visible(text[start : start + PAIR])[: 2 * PAIR])[:WORDS]
        for text in (left, right)
    )
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
