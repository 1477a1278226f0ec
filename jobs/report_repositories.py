"""The report's part on repositories: how they are ordered, one of them as a picture, and what they have lost."""

import posixpath
from typing import Any

from markupsafe import Markup

from corpus.inspect import literal
from jobs.charts import cut, visible
from jobs.report_facts import Facts, Section
from repo_ordering.edges import Edge, Graph
from repo_ordering.picture import SAMPLES, graph_svg

READABLE = 24  # files of a repository that is shown, if there is one of about that size
MOST = 60  # files of it at most
ROW = 22  # pixels of a file in the list


def repositories(facts: Facts) -> Section:
    orders = facts.answer("orders")
    if not orders:
        return None
    kinds = facts.rows("SELECT kind, count(*) AS edges FROM edges GROUP BY kind ORDER BY edges DESC, kind")
    unparsed = facts.rows(
        "SELECT u.reason, count(*) AS files FROM (SELECT unnest(unparsed) AS u FROM repositories) "
        "GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    largest = facts.rows(
        """
        SELECT left(repository, 200) AS repository, language, len(files) AS files, characters AS chars, edges,
               edges_satisfied, len(samples) AS samples
        FROM repositories ORDER BY chars DESC NULLS LAST, repository LIMIT 12
        """
    )
    return {
        "orders": orders[:8],
        "count": sum(row["repositories"] for row in orders),
        "files": sum(row["files"] or 0 for row in orders),
        "edges": sum(row["edges"] or 0 for row in orders),
        "kinds": kinds[:8],
        "unparsed": unparsed[:8],
        "largest": largest,
        "example": example(facts),
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


def example(facts: Facts) -> Section:
    """One repository that can be taken in at a glance: with several samples if there is one, and of some size."""
    chosen = facts.rows(
        f"""
        SELECT stage, id, repository FROM repositories
        WHERE len(files) BETWEEN 2 AND {MOST} AND edges > 0
        ORDER BY len(samples) NOT BETWEEN 2 AND 12, least(edges, 60) / (abs(len(files) - {READABLE}) + 6) DESC, id
        LIMIT 1
        """
    )
    if not chosen:
        return None
    where = f"WHERE stage = {literal(chosen[0]['stage'])} AND id = {literal(chosen[0]['id'])}"
    (row,) = facts.rows(
        f"""
        SELECT repository, "order", sample, files, dependencies, samples, edges, edges_satisfied, edges_in_sample
        FROM repositories {where} LIMIT 1
        """
    )
    windows = facts.rows(f"SELECT count(*) AS windows FROM windows WHERE id = {literal(chosen[0]['id'])}")
    files = [file["path"] for file in row["files"]]
    samples = split(row["files"], row["samples"] or [])
    edges = tuple(Edge(**{**edge, "guarded": bool(edge["guarded"])}) for edge in row["dependencies"] or [])
    edges = tuple(edge for edge in edges if {edge.source, edge.target} <= set(files))
    graph = Graph(tuple(sorted(files)), tuple(sorted(edges)))
    listing = order_list(files, samples, graph.pairs())
    return row | {
        "name": row["repository"],
        "count": len(files),
        "pairs": len(graph.pairs()),
        "windows": windows[0]["windows"],
        "cuts": len(samples),
        "picture": Markup(graph_svg(graph, visible(row["repository"] or "a repository"), samples)),
        **listing,
    }


def split(files: list[dict[str, Any]], samples: list[dict[str, Any]]) -> list[list[str]]:
    """The paths of the files of each sample, both given by their characters in the repository's text."""
    starts = [sample["start"] for sample in samples] or [0]
    parts: list[list[str]] = [[] for _ in starts]
    for file in files:
        inside = sum(start <= file["start"] for start in starts)
        parts[max(0, inside - 1)].append(file["path"])
    return [part for part in parts if part]


def order_list(files: list[str], samples: list[list[str]], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The files in their order, and an arc from each to those it depends on.

    Arcs are cubic curves in a box 100 wide and `ROW` high for each file, to be stretched to any width.
    """
    place = {path: number for number, path in enumerate(files)}
    sample = {path: number for number, part in enumerate(samples) for path in part}
    shared = len(posixpath.commonprefix(files).rpartition("/")[0]) + 1
    shared = shared if shared > 1 else 0
    rows = [
        {
            "path": cut(path, 200),
            "name": posixpath.basename(path),
            "folder": posixpath.dirname(path[shared:]),
            "sample": sample[path],
            "colour": sample[path] % SAMPLES + 1,
        }
        for path in files
    ]
    arcs: dict[str, list[Markup]] = {"first": [], "apart": [], "late": []}
    for source, target in pairs:
        low, high = place[target], place[source]
        kind = "late" if low > high else "apart" if sample[source] != sample[target] else "first"
        y0, y1 = ((at + 0.5) * ROW for at in (high, low))
        out = 8 + 126 * min(1.0, abs(high - low) / max(1, len(files) - 1)) ** 0.7
        said = cut(visible(f"{source} needs {target}"), 200)
        arcs[kind].append(
            Markup(
                '<path class="{}" d="M0,{:.0f}C{:.1f},{:.0f} {:.1f},{:.0f} 0,{:.0f}"><title>{}</title></path>'
            ).format(kind, y0, out, y0, out, y1, y1, said)
        )
    drawn = [arc for found in arcs.values() for arc in found]
    count = {kind: len(found) for kind, found in arcs.items()}
    return {"rows": rows, "arcs": drawn, "height": ROW * len(files), "arc_count": count}
