"""Decontamination on Spark: the index is built once here and goes to the tasks whole; each judges one part.

Beside the documents that stay lie `contamination/part-*.parquet`, one row for each evaluation text in each document,
and `unusable/`, the evaluation texts too short to be looked for.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus import installed, storage
from corpus.contamination import CONTAMINATION, SHORTEST, UNUSABLE, BenchmarkIndex
from corpus.errors import LodeError
from corpus.evaluation_sets import EvaluationSets, read_evaluation_sets
from jobs.engine import Account, Stage, Work, fingerprint_files
from jobs.recipe import DecontaminateSection
from jobs.worker import Task, part_name

ROOMS = (
    "corpus/contamination.py",
    "corpus/evaluation_sets.py",
    "corpus/installed.py",
    "corpus/ngrams.py",
    "jobs/contamination.py",
)
FOUND, UNUSED = "contamination", "unusable"
# Of the words that are found most often so many are told; of the others so many are counted at a time.
MOST_FOUND = 10
COUNTED = 100_000


@dataclass(frozen=True)
class JudgeParts:
    """Function of a task: a part's rows with verdicts; what was found in them goes to a file beside."""

    index: BenchmarkIndex
    folder: str

    def __call__(self, inputs: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        part, path = inputs[0].split("\n", 1)
        with ExitStack() as files:
            writer = None
            for batch in storage.read_parquet(path):
                verdicts, found = self.index.judge(batch)
                if found.num_rows:
                    if writer is None:
                        name = storage.join(self.folder, FOUND, part_name(int(part)))
                        file = files.enter_context(storage.atomic_write(name))
                        writer = files.enter_context(storage.parquet_writer(file, CONTAMINATION))
                    writer.write_batch(found)
                yield verdicts


def benchmark_index(section: DecontaminateSection) -> tuple[EvaluationSets, BenchmarkIndex]:
    """The evaluation sets of a recipe and the index of their n-grams.

    Raises:
        LodeError: a set cannot be read, or has no text that could be looked for.
    """
    sets = read_evaluation_sets(section.benchmarks, section.fields)
    index = BenchmarkIndex.build(sets.texts)
    usable = {benchmark for benchmark, _, _ in index.entries}
    for text in sets.texts:
        if text.benchmark not in usable:
            raise LodeError(
                f"{text.benchmark}: no text in it has {SHORTEST} words, so nothing of it could be looked for; name "
                "the columns that hold texts with --field (decontaminate.fields in a recipe)."
            )
    return sets, index


def decontaminate(work: Work, name: str, before: Stage, section: DecontaminateSection, unit: str) -> Stage:
    """Drop what contains an evaluation text, and tell of each text in which documents it was found."""
    specs = [spec for spec in section.benchmarks if spec.startswith(installed.PREFIX)]
    versions = sorted({f"{p.name} {p.version}" for spec in specs for p, _ in installed.resolve(spec)})
    files = [path for path in section.benchmarks if path not in specs]
    mark = fingerprint_files(storage.expand(files)) if files else ""

    # Before the stage begins: a set that cannot be read must not cost what was there.
    sets, index = benchmark_index(section)

    def build(folder: str) -> Account:
        if index.unusable:
            rows = [dict(zip(UNUSABLE.names, row, strict=True)) for row in index.unusable]
            path = storage.join(folder, UNUSED, part_name(0))
            storage.write_parquet(path, iter([pa.RecordBatch.from_pylist(rows, UNUSABLE)]), UNUSABLE)
        tasks = [Task(part, (f"{part}\n{path}",)) for part, path in enumerate(before.parts)]
        counts = work.map_parts(folder, tasks, before.schema, read=JudgeParts(index, folder), unit=unit)
        return Account(counts, unit, accounts(sets, index, found_parts(folder)))

    inputs = {"documents": before.fingerprint, "benchmarks": mark + json.dumps(versions)}
    return work.stage(name, ROOMS, section.model_dump(), inputs, build)


def found_parts(folder: str) -> list[str]:
    place = storage.join(folder, FOUND)
    return storage.parquet_parts(place) if storage.exists(place) else []


def accounts(sets: EvaluationSets, index: BenchmarkIndex, parts: list[str]) -> dict[str, Any]:
    """What the manifest says of each evaluation set, and which words were found most often.

    Words that many documents have are seldom an evaluation item's own: 1 2 3 4 5 6 7 8 9 10, say.
    """
    items: dict[str, set[str]] = {}
    for text in sets.texts:
        items.setdefault(text.benchmark, set()).add(text.item)
    texts = Counter(text.benchmark for text in sets.texts)
    unusable = Counter(benchmark for benchmark, *_ in index.unusable)
    found: dict[str, set[str]] = {}
    documents: Counter[str] = Counter()
    words: Counter[str] = Counter()
    example: dict[str, str] = {}
    for part in parts:
        with storage.open_parquet(part) as file:
            table = file.read(["benchmark", "item", "id", "excerpt"])
        for row in table.group_by(["benchmark", "item"]).aggregate([]).to_pylist():
            found.setdefault(row["benchmark"], set()).add(row["item"])
        count = ("id", "count_distinct", pc.CountOptions(mode="all"))
        for row in table.group_by("benchmark").aggregate([count]).to_pylist():
            documents[row["benchmark"]] += row["id_count_distinct"]
        plain = pc.replace_substring_regex(pc.utf8_lower(table["excerpt"]), r"[^\pL\pN]+", " ")
        named = pc.binary_join_element_wise(table["benchmark"], table["item"], "#")
        table = table.append_column("words", pc.utf8_trim_whitespace(plain)).append_column("named", named)
        for row in table.group_by("words").aggregate([count, ("named", "min")]).to_pylist():
            words[row["words"]] += row["id_count_distinct"]
            example.setdefault(row["words"], row["named_min"])
        if len(words) > 2 * COUNTED:
            words = Counter(dict(most_common(words, COUNTED)))
            example = {key: example[key] for key in words}
    return {
        "benchmark_items": sum(map(len, items.values())),
        "texts_too_short": len(index.unusable),
        "benchmarks": {
            name: {
                "layout": sets.layouts[name],
                "items": len(items[name]),
                "texts": texts[name],
                "unusable": unusable[name],
                "items_found": len(found.get(name, ())),
                "documents": documents[name],
            }
            for name in items
        },
        "found_most": [
            {"words": key, "documents": count, "example": example[key]}
            for key, count in most_common(words, MOST_FOUND)
        ],
        "left_out": [{"file": file, "why": why} for file, why in sets.left_out],
    }


def most_common(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def findings(manifest: dict[str, Any], folder: str) -> str:
    """A stage's manifest for a reader: a line for each evaluation set, and what asks for a look."""
    columns = ("items", "texts", "unusable", "items_found", "documents")
    rows = [["set", *(column.replace("_", " ") for column in columns)]]
    for name, about in manifest["benchmarks"].items():
        rows.append([name, *(f"{about[column]:,}" for column in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        row[0].ljust(widths[0])
        + "".join(f"  {cell:>{n}}" for cell, n in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    if manifest["found_most"]:
        lines += ["", "Found most often (what many documents say may be no item's own):"]
        lines += [f"{w['documents']:>7,}  {w['words']}  ({w['example']})" for w in manifest["found_most"]]
    if manifest["texts_too_short"]:
        count = manifest["texts_too_short"]
        short = f"Texts of fewer than {SHORTEST} words, which were not looked for: {count:,}"
        lines += ["", f"{short}; they are listed in {storage.join(folder, UNUSED)}."]
    lines += [f"Not an evaluation set: {left['file']} ({left['why']})" for left in manifest["left_out"]]
    return "\n".join(lines)
