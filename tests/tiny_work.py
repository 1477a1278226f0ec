"""A finished work folder in miniature, written by hand in the layout that the stages document."""

import json
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.chunks import CHUNK
from corpus.contamination import CONTAMINATION
from corpus.packing import SEQUENCE
from corpus.schema import DOCUMENT, DROPPED, METRICS
from jobs.deduplicate import FATE, LINE
from repo_ordering.rows import ACCOUNT, DROPS

HOSTILE = (
    "</pre><script>alert(1)</script><img src=x onerror=alert(2)> \u202egpj.exe\u202c \x07 {{ 7 * 7 }} "
    "<svg onload=alert(3)> &lt;b&gt; \"><a href='javascript:alert(4)'>$$\\int_0^1 x^2 dx$$"
)
PAGE = pa.schema(
    [
        *DOCUMENT,
        ("title", pa.string()),
        ("formulas", pa.int32()),
        ("target", pa.string()),
        ("score", pa.float32()),
    ]
)
STATISTIC = pa.schema(
    [(name, pa.string()) for name in ("target", "kind", "key")]
    + [(name, pa.int64()) for name in ("pages", "collected", "collected_before")]
)
SCORE = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("domain", pa.string()),
        ("characters", pa.int32()),
        ("math", pa.float64()),
    ]
)
SPAN = [("path", pa.string()), ("language", pa.string()), ("start", pa.int64()), ("end", pa.int64())]
EDGE = [("source", pa.string()), ("target", pa.string()), ("kind", pa.string()), ("guarded", pa.bool_())]
EDGE += [("confidence", pa.float64())]
ORDERED = pa.schema(
    [
        *DOCUMENT,
        ("files", pa.list_(pa.struct(SPAN))),
        ("edges", pa.int32()),
        ("edges_satisfied", pa.float64()),
        ("order", pa.string()),
        ("dependencies", pa.list_(pa.struct(EDGE))),
        ("unparsed", pa.list_(pa.struct([("path", pa.string()), ("reason", pa.string())]))),
    ]
)
EVALUATION = pa.schema([("source", pa.string()), ("loss", pa.float64()), ("tokens", pa.int64())])


def parquet(path: pathlib.Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


class TinyWork:
    """Writes stages one after another; `build` writes all of them."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.clock = 0

    def manifest(
        self, stage: str, rows_in: int, dropped: dict[str, int], inputs: list[str], **more: Any
    ) -> None:
        self.clock += 1
        lost = sum(dropped.values())
        value = {
            "lode": "0.1.0",
            "stage": stage,
            "code": "c0de",
            "parameters": {"seed": 1},
            "inputs": {f"input {k}": f"mark of {name}" for k, name in enumerate(inputs)},
            "fingerprint": f"mark of {stage}",
            "unit": "pages",
            "rows_in": rows_in,
            "rows_out": rows_in - lost,
            "rows_dropped": lost,
            "dropped": dropped,
            "rows_written": rows_in - lost,
            "bytes": 1000,
            "tokens": None,
            "started": f"2026-01-01T00:00:{self.clock:02d}Z",
            "wall_seconds": 1.5,
            "engine": "spark 4.3.0 local[2]",
        }
        path = self.folder / stage / "_lode.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value | more))

    def drop(self, stage: str, rows: list[tuple[str, str, str, str]]) -> None:
        names = ("id", "url", "reason", "detail")
        parquet(self.folder / stage / "dropped" / "part-00000.parquet",
                [dict(zip(names, row, strict=True)) for row in rows], DROPPED)  # fmt: skip

    def web(self) -> None:
        def page(name: str, text: str, domain: str = "a.example") -> dict[str, Any]:
            return {"id": name, "text": text, "source": "crawl", "url": f"https://{domain}/m/{name}",
                    "domain": domain, "language": "en", "formulas": len(name) % 2}  # fmt: skip

        near = (
            "The sum of the angles of a triangle is half a turn, as everybody knows and nobody checks. " * 5
        )
        rows = [
            page("p1", HOSTILE),
            page("p22", near + "One."),
            page("p3", near + "Two!"),
            page("p44", "d" * 400),
        ]
        rows[1]["url"] = 'https://b.example/"><img onerror=alert(5)>'
        parquet(self.folder / "pages" / "part-00000.parquet", rows[:2], PAGE)
        parquet(self.folder / "pages" / "part-00001.parquet", rows[2:], PAGE)
        self.drop("pages", [("p5", "https://a.example/m/p5", "not_html", "application/pdf")])
        self.manifest("pages", 5, {"not_html": 1}, [])
        for number, (collected, new, before) in enumerate([(2, 2, 0.0), (3, 1, 0.667)], 1):
            self.round(number, collected, new, before)
        self.round(3, 9, 9, 0.0)  # left over from an earlier run that took three
        kept = [row | {"target": "math", "score": 0.9} for row in rows[:3]]
        parquet(self.folder / "mined" / "part-00000.parquet", kept, PAGE)
        self.drop("mined", [("p44", rows[3]["url"], "not_collected", "math 0.1")])
        history = {"rounds": [{}, {}], "stopped": "the limit of 2 rounds"}
        self.manifest("mined", 4, {"not_collected": 1}, ["pages"], **history)
        parquet(self.folder / "deduplicated" / "part-00000.parquet", kept[::2], PAGE)
        self.drop("deduplicated", [("p22", rows[1]["url"], "near_duplicate", "cluster 2 kept p3")])
        fate = {"place": 1, "id": "p22", "reason": "near_duplicate", "cluster": 2, "winner": "p3"}
        fate |= {"jaccard": 0.9, "containment": 0.95}
        parquet(self.folder / "deduplicated" / "clusters" / "part-00000.parquet", [fate], FATE)
        match = {"place": 0, "id": "p3", "reason": "near_duplicate", "winner": "old", "corpus": "/earlier"}
        parquet(self.folder / "deduplicated" / "matches" / "part-00000.parquet", [match], FATE)
        line = {"line": "Follow us on all networks", "times": 7}
        parquet(self.folder / "deduplicated" / "lines" / "part-00000.parquet", [line], LINE)
        self.manifest("deduplicated", 3, {"near_duplicate": 1}, ["mined"])
        found = {"benchmark": "gsm8k.jsonl", "item": "1", "field": "question", "id": "p9", "coverage": 0.5}
        parquet(
            self.folder / "decontaminated" / "contamination" / "part-00000.parquet", [found], CONTAMINATION
        )

    def round(self, number: int, collected: int, new: int, before: float) -> None:
        at = f"mining/round-{number}"
        model = {"precision": 0.9, "recall": 0.8, "positives": 10, "negatives": 11}
        self.manifest(f"{at}/models", 21, {}, ["pages"], models={"math": model})
        scores = [{"id": "p1", "url": "u", "domain": "a.example", "characters": 9, "math": 0.25 * number}]
        parquet(self.folder / at / "scores" / "part-00000.parquet", scores, SCORE)
        self.manifest(f"{at}/scores", 1, {}, [f"{at}/models"])
        rows = [
            {"target": "math", "kind": "domain", "key": "a.example", "pages": 4, "collected": collected},
            {
                "target": "math",
                "kind": "path",
                "key": "a.example a.example/m",
                "pages": 4,
                "collected": collected,
            },
        ]
        parquet(self.folder / at / "statistics" / "part-00000.parquet",
                [row | {"collected_before": 0} for row in rows], STATISTIC)  # fmt: skip
        found = {"cut": 0.5, "pages": 4, "collected": collected, "new": new, "already_collected": before}
        found |= {"domains_over_share": 1, "paths_accepted": 1, "missed": 0}
        self.manifest(f"{at}/statistics", 2, {}, [f"{at}/scores"], round={"math": found},
                      accepted={"math": ["a.example/m"]})  # fmt: skip

    def code(self) -> None:
        files = [
            {"id": f"f{k}", "text": "x = 1\n" * k, "source": "shelf", "language": "Python", "repository": "tool",
             "path": f"tool/{name}.py"}
            for k, name in ((1, "a"), (2, "b"))
        ]  # fmt: skip
        files[1] |= {"size": 12, "licence": "MIT"}
        files.append(files[1] | {"id": "f3", "path": "tool/c.py", "size": 70, "licence": None})
        schema = pa.schema([*DOCUMENT, ("size", pa.int64()), ("licence", pa.string())])
        parquet(self.folder / "files" / "part-00000.parquet", files, schema)
        self.manifest("files", 4, {"binary": 1}, [], unit="files")
        lost = {"source": "shelf", "repository": "tool", "reason": "binary", "path": "tool/x.bin", "size": 5}
        parquet(self.folder / "files" / "dropped" / "part-00000.parquet", [lost | {"id": "f4"}], DROPPED)
        lost |= {"id": "f3", "reason": "line_too_long", "path": "tool/c.py", "language": "Python", "size": 70}
        parquet(self.folder / "code_rules" / "part-00000.parquet", files[:2], schema)
        parquet(self.folder / "code_rules" / "dropped" / "part-00000.parquet", [lost], DROPPED)
        self.manifest("code_rules", 3, {"line_too_long": 1}, ["files"], unit="files")
        edge = {
            "source": "tool/b.py",
            "target": "tool/a.py",
            "kind": "import",
            "guarded": False,
            "confidence": 1.0,
        }
        text = "# tool/a.py\nx = 1\n# tool/b.py\nx = 1\nx = 1\n"
        spans = [("tool/a.py", 0, 18), ("tool/b.py", 18, len(text))]
        row = files[0] | {
            "id": "r1", "path": None, "text": text, "edges": 1, "edges_satisfied": 1.0, "order": "dependency",
            "files": [{"path": p, "language": "Python", "start": a, "end": b} for p, a, b in spans],
            "dependencies": [edge], "unparsed": [{"path": "tool/b.py", "reason": "too_deep"}],
        }  # fmt: skip
        parquet(self.folder / "repositories" / "part-00000.parquet", [row], ORDERED)
        drops = [
            dict(zip(DROPS, drop, strict=True))
            for drop in [("files", "binary", 1, 5, 0), ("code_rules", "line_too_long", 1, 70, 1)]
        ]
        lost = {
            "source": "tool/b.py",
            "target": "tool/c.py",
            "stage": "code_rules",
            "reason": "line_too_long",
        }
        account = {"source": "shelf", "repository": "tool", "files": 4, "kept": 2, "dropped": drops, "edges": 2,
                   "edges_lost": 1, "lost": [lost], "decision": "kept", "stubs": 0}  # fmt: skip
        parquet(self.folder / "repositories" / "accounts" / "part-00000.parquet", [account], ACCOUNT)
        self.manifest("repositories", 2, {}, ["code_rules"], unit="files", rows_written=1)

    def packed(self) -> None:
        chunk = {
            "chunk": 0,
            "first": True,
            "last": True,
            "composed": False,
            "text": "t",
            "repeated": 0,
            "regions": [],
            "tokens": [7, 8, 9],
        }
        chunks = [
            chunk | {"id": i, "source": s} for i, s in (("p1", "math"), ("p3", "math"), ("r1", "shelf"))
        ]
        parquet(self.folder / "tokenized" / "part-00000.parquet", chunks, CHUNK)
        self.manifest("tokenized", 3, {}, ["deduplicated", "repositories"], unit="windows", tokens=9)
        spans = [("p1", "math", 0, 3), ("r1", "shelf", 3, 5)]
        row = {
            "tokens": [7, 8, 9, 3, 4, 5, 7, 1],
            "documents": [
                dict(zip(("id", "source", "start", "length"), span, strict=True))
                | {"chunk": 0, "epoch": 0, "offset": 0}
                for span in spans
            ],
            "completed": 2,
        }
        parquet(self.folder / "shards" / "part-00000.parquet", [row], SEQUENCE)
        self.drop("shards", [("p3", None, "remainder", "2 tokens")])
        self.manifest(
            "shards", 3, {"remainder": 1}, ["tokenized"], unit="windows", tokens=8,
            mixture={"math": {"weight": 1, "tokens": 6, "epochs": 1.0},
                     "shelf": {"weight": 3, "tokens": 3, "epochs": 1.5}},
            shards={"special_tokens": {"fim_hole": 4}, "fim_rate": {"shelf": 0.5}, "sequence_length": 8},
        )  # fmt: skip

    def trained(self, steps: int = 40) -> None:
        rows: list[dict[str, Any]] = []
        for step in range(steps + 1):
            if step:
                rows.append(
                    {"step": step, "tokens": step * 16, "loss": 9.0 - step / 10, "mtp_loss": 9.5 - step / 10,
                     "lr": 1e-3, "grad_norm": 1.0, "tokens_per_second": 1e3, "max_violation": [1.0, 0.5],
                     "expert_load": [[8, 8, 0, 16], [8, 8, 8, 8]]}
                )  # fmt: skip
            if step % 20 == 0:
                rows.append({"step": step, "tokens": step * 16, "source": "math", "heldout_loss": 9.0 - step / 20,
                             "heldout_tokens": 100})  # fmt: skip
        (self.folder / "run").mkdir(exist_ok=True)
        (self.folder / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        parquet(self.folder / "run" / "metrics.parquet", rows, METRICS)
        result = {"parameters": 5_000_000, "active_parameters": 3_000_000}
        self.manifest("run", steps, {}, ["shards"], unit="sequences", training=result)
        parquet(self.folder / "evaluation" / "part-00000.parquet", [{"source": "math", "loss": 7.0, "tokens": 99}],
                EVALUATION)  # fmt: skip
        self.manifest("evaluation", 1, {}, ["run"], unit="sources")

    def build(self) -> pathlib.Path:
        self.web()
        self.code()
        self.packed()
        self.trained()
        return self.folder
