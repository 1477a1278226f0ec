"""The manifests of a work folder as tables: its stages, its mining rounds, its training run while it still goes on."""

import json
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from corpus import storage
from corpus.schema import METRICS

MANIFEST, RUNNING = "_lode.json", "_running.json"
ROUND = re.compile(r"(?:^|/)mining/round-(\d{1,6})/")

STAGES = pa.schema(
    [
        ("stage", pa.string()),
        ("unit", pa.string()),
        ("rows_in", pa.int64()),
        ("rows_out", pa.int64()),
        ("rows_dropped", pa.int64()),
        ("dropped", pa.map_(pa.string(), pa.int64())),
        ("rows_written", pa.int64()),
        ("bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("started", pa.string()),
        ("wall_seconds", pa.float64()),
        ("engine", pa.string()),
        ("lode", pa.string()),
        ("code", pa.string()),
        ("headline", pa.string()),
        ("fingerprint", pa.string()),
        ("inputs", pa.list_(pa.string())),  # the stages it was made from
        ("final", pa.bool_()),  # its documents are what the mixture is drawn from
        ("manifest", pa.string()),  # all of it, as JSON
    ]
)
FOUND_PER_ROUND = (
    "cut",
    "pages",
    "collected",
    "new",
    "already_collected",
    "domains_over_share",
    "paths_accepted",
    "missed",
)
MODEL = ("precision", "recall", "positives", "negatives", "held_out_positives", "held_out_negatives")
REAL = {"already_collected", "cut", "precision", "recall"}
ROUNDS = pa.schema(
    [
        ("round", pa.int64()),
        ("target", pa.string()),
        *((name, pa.float64() if name in REAL else pa.int64()) for name in (*FOUND_PER_ROUND, *MODEL)),
        ("accepted", pa.list_(pa.string())),
        ("stopped", pa.string()),
    ]
)
PROBLEMS = pa.schema([("file", pa.string()), ("problem", pa.string())])


@dataclass
class Manifests:
    """The finished stages of a folder by name, and the folders (relative to it) of those that did not finish."""

    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)  # folder -> stage
    unfinished: set[str] = field(default_factory=set)
    name: str = ""  # of the folder itself, where it is a dataset without a manifest

    def stage_of(self, folder: str) -> str:
        """The stage that a folder belongs to: `mined/dropped` of a work folder, and of `mined` itself, is one."""
        above = folder
        while above and above not in self.folders:
            above = posixpath.dirname(above)
        base = self.folders.get(above, self.name)
        return posixpath.join(base, folder[len(above) :].lstrip("/")).rstrip("/")

    def inputs(self, stage: str) -> list[str]:
        """The stages whose fingerprints a stage's manifest names, in the order it names them."""
        by_fingerprint = {manifest["fingerprint"]: name for name, manifest in self.stages.items()}
        named = self.stages.get(stage, {}).get("inputs", {})
        return [by_fingerprint[mark] for mark in named.values() if mark in by_fingerprint]


def read(path: str, files: dict[str, str], problems: list[tuple[str, str]]) -> Manifests:
    """All manifests among `files` (name in the folder -> path); damaged and missing ones are named in `problems`."""
    name = posixpath.basename(path.rstrip("/"))
    if any(character in name for character in "*?["):
        name = posixpath.basename(posixpath.dirname(path))
    is_dataset = any(file.endswith(".parquet") and "/" not in file for file in files)
    found = Manifests(name=name.removesuffix(".parquet") if is_dataset else "")
    for file in files:
        folder, base = posixpath.split(file)
        if base == MANIFEST:
            manifest = checked(storage.read_json(files[file]))
            if manifest is None:
                problems.append((file, "this manifest is damaged; the stage is missing from `stages`"))
                continue
            found.stages[manifest["stage"]] = manifest
            found.folders[folder] = manifest["stage"]
        elif base == RUNNING and posixpath.join(folder, MANIFEST) not in files:
            so_far = "its rows are left out"
            if posixpath.join(folder, "metrics.jsonl") in files:
                so_far = "its curves are shown as far as they go"
            problems.append((folder or name, f"this stage did not finish; {so_far}"))
            found.unfinished.add(folder)
    return found


def checked(value: Any) -> dict[str, Any] | None:
    """A manifest whose fields have their types, or None."""
    if not isinstance(value, dict) or not isinstance(value.get("stage"), str) or not value["stage"]:
        return None
    value = {"inputs": {}, "dropped": {}, "fingerprint": "", **value}
    whole = all(isinstance(value[name], dict) for name in ("inputs", "dropped"))
    whole = whole and all(isinstance(mark, str) for mark in (*value["inputs"].values(), value["fingerprint"]))
    if not whole or stage_row(value) is None:
        return None
    return value


def stage_row(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """A manifest's fields in the types of `STAGES`, or None where one has another type."""
    row = {name: manifest.get(name) for name in STAGES.names}
    row |= {"dropped": sorted(manifest["dropped"].items()), "inputs": [], "final": False}
    row["manifest"] = json.dumps(manifest, ensure_ascii=False)
    try:
        pa.RecordBatch.from_pylist([row], STAGES)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return row


def stages(found: Manifests, final: set[str]) -> pa.Table:
    """One row a finished stage, in the order in which they started."""
    rows = []
    for name, manifest in found.stages.items():
        row = stage_row(manifest) or {}
        rows.append(row | {"inputs": found.inputs(name), "final": name in final})
    rows.sort(key=lambda row: (row["started"] or "", row["stage"]))
    return pa.Table.from_pylist(rows, STAGES)


def round_number(stage: str) -> int | None:
    match = ROUND.search(f"{stage}/")
    return int(match.group(1)) if match else None


def is_stale_round(found: Manifests, stage: str) -> bool:
    """Whether a mining round is left over from an earlier, longer run of the loop."""
    lengths = [len(m["rounds"]) for m in found.stages.values() if isinstance(m.get("rounds"), list)]
    number = round_number(stage)
    return bool(lengths) and number is not None and number > max(lengths)


def mining_rounds(found: Manifests) -> pa.Table:
    """One row a round and target: what it collected, how good its classifier was, the paths that it accepted."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for stage, manifest in found.stages.items():
        number = round_number(stage)
        if number is None or is_stale_round(found, stage):
            continue
        for key, names in (("round", FOUND_PER_ROUND), ("models", MODEL)):
            for target, values in dict_of(manifest.get(key)).items():
                row = rows.setdefault((number, target), {"round": number, "target": target})
                row |= {name: numeric(dict_of(values).get(name), name in REAL) for name in names}
        for target, paths in dict_of(manifest.get("accepted")).items():
            row = rows.setdefault((number, target), {"round": number, "target": target})
            row["accepted"] = (
                [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
            )
    reasons = [m["stopped"] for m in found.stages.values() if isinstance(m.get("stopped"), str)]
    last = max((number for number, _ in rows), default=0)
    for (number, _), row in rows.items():
        row["stopped"] = reasons[0] if reasons and number == last else None
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], ROUNDS)


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def numeric(value: Any, real: bool) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not real and not -(2**63) <= value < 2**63:
        return None
    return float(value) if real else int(value)


def live_metrics(files: dict[str, str], problems: list[tuple[str, str]]) -> pa.Table:
    """`metrics.jsonl` of a run that goes on; a line that was cut short is the last one."""
    rows: list[dict[str, Any]] = []
    for name, path in files.items():
        if posixpath.basename(name) != "metrics.jsonl":
            continue
        fs, inside = storage.filesystem(path)
        for number, line in enumerate(fs.cat_file(inside).splitlines(), 1):
            try:
                row = json.loads(line)
                pa.RecordBatch.from_pylist([row], METRICS)
                rows.append(row)
            except (ValueError, TypeError, AttributeError, OverflowError, pa.ArrowException):
                problems.append((name, f"line {number} is damaged and left out, and those after it"))
                break
    return pa.Table.from_pylist(rows, METRICS)


def problem_table(problems: list[tuple[str, str]]) -> pa.Table:
    rows = [{"file": file, "problem": problem} for file, problem in sorted(set(problems))]
    return pa.Table.from_pylist(rows, PROBLEMS)
