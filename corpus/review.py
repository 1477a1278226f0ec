"""What a person needs to see to decide about URL paths after a mining round (DeepSeekMath, section 2.1).

Domains by the share of their pages that is collected, the tree of paths of each, sample pages, and the paths where a
decision moves most, each with a sentence that says why. Everything is read through the views of `corpus.inspect`.
"""

import json
from dataclasses import dataclass
from math import sqrt
from typing import Any

import duckdb

from corpus import inspect, storage
from corpus.annotations import plain_prefix
from corpus.errors import LodeError
from corpus.mining import path_prefixes

EXCERPT = 2_000  # characters of a sample page
NODES = 2_000  # of a domain's tree, those with the most pages
DOMAINS = 500  # shown at once
SCANNED = 200_000  # pages of a domain that samples are drawn from
Z = 1.96  # 95 %


@dataclass(frozen=True)
class Suggestion:
    """A path worth a decision: `moves` pages would be collected, or no longer."""

    prefix: str
    domain: str
    decision: str  # accept, reject, or look: read before deciding
    moves: int
    why: str


class Review:
    """The last whole round of a loop, or the one asked for.

    Raises:
        LodeError: there is no mining round in the work folder.
    """

    def __init__(self, work: str, round_number: int | None = None):
        self.work = work
        self.connection = inspect.open_work(work)
        self.manifests = {
            row["stage"]: json.loads(row["manifest"])
            for row in rows_of(self.connection, "SELECT stage, manifest FROM stages")
        }
        known = [
            row["round"]
            for row in rows_of(self.connection, "SELECT DISTINCT round FROM statistics ORDER BY 1")
        ]
        if not known:
            raise LodeError(f"{work}: no mining round that is finished; run lode mine, or lode run, first.")
        if round_number is not None and round_number not in known:
            raise LodeError(f"{work}: no round {round_number}; there are {', '.join(map(str, known))}.")
        self.round = round_number or known[-1]
        self.settings = self.manifests.get(f"mining/round-{self.round}/statistics", {}).get("parameters", {})
        self.domain_share = float(self.settings.get("domain_share", 0.1))
        self.path_share = float(self.settings.get("path_share", 0.66))
        self._pages = self._pages_scan()

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        # A cursor of its own: requests come from several threads.
        return rows_of(self.connection.cursor(), sql, *values)

    def targets(self) -> list[dict[str, Any]]:
        """Each target with its pages, those collected, and domains by the more-than-10-% rule."""
        return self.rows(
            """
            SELECT d.target, coalesce(any_value(t.pages), sum(d.pages)) AS pages,
                   coalesce(any_value(t.collected), sum(d.collected)) AS collected,
                   count(d.domain) AS domains, count(d.domain) FILTER (d.share > ?) AS domains_over_share
            FROM (SELECT DISTINCT target FROM statistics WHERE round = ?) every
            JOIN domains d ON d.target = every.target AND d.round = ?
            LEFT JOIN (SELECT target, pages, collected FROM statistics WHERE round = ? AND kind = 'total') t
                ON t.target = d.target
            GROUP BY d.target ORDER BY d.target
            """,
            self.domain_share, self.round, self.round, self.round,
        )  # fmt: skip

    def domains(self, target: str, search: str = "") -> list[dict[str, Any]]:
        """Domains with a collected page, most collected share first; `search` is a part of their name."""
        return self.rows(
            f"""
            SELECT domain, pages, collected, collected_before, share, share > ? AS over
            FROM domains WHERE round = ? AND target = ? AND contains(domain, ?)
            ORDER BY share DESC, pages DESC, domain LIMIT {DOMAINS}
            """,
            self.domain_share, self.round, target, search.lower(),
        )  # fmt: skip

    def tree(self, target: str, domain: str) -> dict[str, Any]:
        """The path prefixes of a domain that hold enough pages, in the order of a tree, and how many are left out."""
        found = self.rows(
            """
            SELECT path AS prefix, pages, collected, collected_before, share, accepted FROM paths
            WHERE round = ? AND target = ? AND domain = ? ORDER BY pages DESC, path
            """,
            self.round, target, domain,
        )  # fmt: skip
        shown = sorted(found[:NODES], key=lambda node: node["prefix"].split("/"))
        return {"nodes": shown, "more": max(0, len(found) - NODES)}

    def samples(self, target: str, prefix: str, count: int = 8) -> dict[str, Any]:
        """Pages under a prefix: half of them nearest to an even score, where the classifier doubts, half spread over
        all scores; with the start of their text. The same ones each time.
        """
        prefix = plain_prefix(prefix)
        rows = self.rows(
            f"""
            SELECT id, url, score FROM scores
            WHERE round = ? AND target = ? AND (domain = ? OR contains(url, ?)) ORDER BY id LIMIT {SCANNED}
            """,
            self.round, target, prefix.split("/")[0], prefix,
        )  # fmt: skip
        under = [row for row in rows if prefix in path_prefixes(row["url"] or "")]
        by_score = sorted(under, key=lambda row: (-row["score"], row["id"]))
        doubtful = sorted(under, key=lambda row: (abs(row["score"] - 0.5), row["id"]))[: count // 2]
        rest = [row for row in by_score if row not in doubtful]
        step = max(1, len(rest) // max(1, count - len(doubtful)))
        chosen = sorted([*doubtful, *rest[::step]][:count], key=lambda row: (-row["score"], row["id"]))
        texts = self._texts([row["id"] for row in chosen])
        for row in chosen:
            row |= texts.get(row["id"], {"title": None, "text": None, "characters": None, "language": None})
        scores = [row["score"] for row in by_score]
        quartiles = [scores[len(scores) * k // 4] for k in (1, 2, 3)] if scores else []
        return {"prefix": prefix, "pages": len(under), "quartiles": quartiles, "samples": chosen}

    def suggestions(self, target: str) -> list[Suggestion]:
        """Paths worth a decision, those first that move the most pages."""
        nodes = self.rows(
            "SELECT domain, path, pages, collected, collected_before, share, accepted FROM paths "
            "WHERE round = ? AND target = ? ORDER BY path",
            self.round, target,
        )  # fmt: skip
        by_path = {node["path"]: node for node in nodes}
        found: dict[str, Suggestion] = {}
        for node in nodes:  # what lies above comes first
            above = [by_path[path] for path in path_prefixes_above(node["path"]) if path in by_path]
            suggestion = self._suggestion(node, above)
            # What is suggested of a whole need not be said of its parts.
            said = {found[other["path"]].decision for other in above if other["path"] in found}
            if suggestion and suggestion.decision not in said:
                found[node["path"]] = suggestion
        return sorted(found.values(), key=lambda s: (-s.moves, s.prefix))

    def _suggestion(self, node: dict[str, Any], above: list[dict[str, Any]]) -> Suggestion | None:
        pages, collected, share = node["pages"], node["collected"], node["share"]
        low, high = wilson(collected, pages)
        seen = f"{collected:,} of {pages:,} pages collected (95 % interval: {100 * low:.0f} to {100 * high:.0f} %)"

        def suggest(decision: str, moves: int, why: str) -> Suggestion | None:
            return (
                Suggestion(node["path"], node["domain"], decision, moves, f"{seen}{why}") if moves else None
            )

        if node["accepted"]:
            return suggest(
                "accept", pages - collected, ": the statistics accept it; a person's word keeps it so"
            )
        if above and above[-1]["share"] > 0.5 and high < above[-1]["share"] / 2:
            of = f"{100 * above[-1]['share']:.0f} %"
            return suggest(
                "reject", collected, f", though {of} of all that lies above it: another kind of pages"
            )
        if any(other["accepted"] for other in above):
            return None
        if low >= 0.5 and share < self.path_share:
            asked = f"{100 * self.path_share:.0f} %"
            return suggest(
                "accept", pages - collected, f": most are of the kind, but not the {asked} asked for"
            )
        if high <= self.domain_share:
            return suggest("reject", collected, ": strays")
        new = collected - node["collected_before"]
        if self.round > 1 and new > collected / 2 and new >= 10:
            return suggest("look", new, f"; {new:,} of them came in this round: does it spread?")
        return None

    def _pages_scan(self) -> str | None:
        """SQL that reads the pages that were scored: in this work folder, or where the loop was told to find them."""
        scores = self.manifests.get(f"mining/round-{self.round}/scores", {})
        mark = scores.get("inputs", {}).get("pages")
        for stage, manifest in self.manifests.items():
            if mark and manifest.get("fingerprint") == mark:
                return f"(SELECT * FROM documents WHERE stage = {inspect.literal(stage)})"
        folder = self.manifests.get("mined", {}).get("pages")
        if not isinstance(folder, str):
            return None
        try:
            parts = storage.parquet_parts(folder)
        except LodeError:
            return None
        listed = ", ".join(map(inspect.literal, parts))
        return f"read_parquet([{listed}], union_by_name = true)" if parts else None

    def _texts(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """Title, language and the start of the text of some pages, as far as they can be read."""
        if self._pages is None or not ids:
            return {}
        marks = ", ".join("?" for _ in ids)
        select = f"SELECT * FROM {self._pages} WHERE id IN ({marks})"
        try:
            names = {row["column_name"] for row in self.rows(f"DESCRIBE {select}", *ids)}
            columns = [name if name in names else f"NULL AS {name}" for name in ("title", "language")]
            found = self.rows(
                f"SELECT id, {', '.join(columns)}, left(text, {EXCERPT}) AS text, length(text) AS characters "
                f"FROM ({select})", *ids,
            )  # fmt: skip
        except LodeError:  # the pages have been moved since
            return {}
        return {row.pop("id"): row for row in found}


def path_prefixes_above(prefix: str) -> list[str]:
    """`site.org/a/b` -> `site.org`, `site.org/a`."""
    steps = prefix.split("/")
    return ["/".join(steps[:count]) for count in range(1, len(steps))]


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if not whole:
        return 0.0, 1.0
    share, term = part / whole, Z * Z / whole
    middle = (share + term / 2) / (1 + term)
    half = Z * sqrt(share * (1 - share) / whole + term / (4 * whole)) / (1 + term)
    return max(0.0, middle - half), min(1.0, middle + half)


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str, *values: Any) -> list[dict[str, Any]]:
    """The rows of a query with parameters, by column name. Raises LodeError with DuckDB's complaint."""
    try:
        result = connection.execute(sql, list(values))
        columns = [column[0] for column in result.description or []]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    except (duckdb.Error, OSError) as error:
        raise LodeError(f"SQL: {inspect.sentence(error)}") from error
