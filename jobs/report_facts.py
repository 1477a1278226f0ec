"""What the report asks of a work folder."""

import json
from typing import Any

from corpus import inspect

Section = (
    dict[str, Any] | None
)  # what the template shows of a part of the report; None where there is nothing


class Facts:
    """A work folder to ask: SQL over its views, and the manifests by stage, in the order in which they started."""

    def __init__(self, work: str):
        self.work = work
        self.connection = inspect.open_work(work)
        self.stages = {
            row["stage"]: row | {"dropped": dict(row["dropped"] or {})} for row in self.rows("FROM stages")
        }
        self.manifests = {name: json.loads(row["manifest"]) for name, row in self.stages.items()}

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self._dicts(inspect.query(self.connection, sql))

    def answer(self, question: str) -> list[dict[str, Any]]:
        """The answer to one of the questions in `corpus/sql/`."""
        return self._dicts(inspect.statistic(self.connection, question))

    def columns(self, view: str) -> list[str]:
        return [row["column_name"] for row in self.rows(f"DESCRIBE {view}")]

    def texts(self, ids: list[str], stage: str, most: int = 20_000) -> dict[str, dict[str, Any]]:
        """The beginnings of a stage's documents by id, with their name and length in characters."""
        found = {}
        for name in dict.fromkeys(ids):
            # One at a time: DuckDB leaves the texts of the others unread for an equality, but not for a list.
            rows = self.rows(
                f"""
                SELECT id, left(coalesce(url, path, repository, id), 300) AS name, left(text, {most}) AS text,
                       characters AS chars
                FROM documents WHERE stage = {inspect.literal(stage)} AND id = {inspect.literal(name)} LIMIT 1
                """
            )
            found |= {row["id"]: row for row in rows}
        return found

    @staticmethod
    def _dicts(result: tuple[list[str], list[tuple[Any, ...]]]) -> list[dict[str, Any]]:
        columns, rows = result
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def chains(self) -> list[list[str]]:
        """For each stage whose documents go into the mixture, the stages they came through, first to last."""
        return [self._chain(name) for name, row in self.stages.items() if row["final"]]

    def _chain(self, name: str) -> list[str]:
        chain = [name]
        while before := [
            s for s in self.stages[chain[0]]["inputs"] if not s.startswith("mining/") and s not in chain
        ]:
            chain.insert(0, before[0])
        return chain


def shards_stage(facts: Facts) -> str | None:
    """The stage that holds the sequences to train on."""
    mixed = [name for name, manifest in facts.manifests.items() if isinstance(manifest.get("mixture"), dict)]
    found = mixed or [row["stage"] for row in facts.rows("SELECT DISTINCT stage FROM shards ORDER BY 1")]
    return found[-1] if found else None
