"""What the report asks of a work folder."""

import json
from typing import Any

from corpus import inspect


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
