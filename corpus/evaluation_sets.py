"""Evaluation sets as published: files to texts, each with the set, item and field that it comes from.

A row's layout is recognised by its columns, whatever the file is called (see `LAYOUTS`). Short final answers, test
lists and harness code are in no layout: they are numbers, or the same in every item.
"""

import bz2
import csv
import gzip
import io
import json
import posixpath
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from corpus import installed, storage
from corpus.errors import LodeError

Row = dict[str, Any]


class EvaluationText(NamedTuple):
    """One text of an item: `variants` are other ways in which the same text is commonly written out."""

    benchmark: str
    item: str
    field: str
    variants: tuple[str, ...]


@dataclass
class EvaluationSets:
    """What was read: the texts, the layout of each set, and the files of folders that are no sets, with the reason."""

    texts: list[EvaluationText] = field(default_factory=list)
    layouts: dict[str, str] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class Layout(NamedTuple):
    """Columns that tell a layout, and which of its columns hold texts.

    Args:
        needs: the columns by which it is recognised (one of several where they are joined by `|`).
        question, solution: the columns of texts. The first of `question` is one text with what `options` hold.
        unused: what is left out, and why.
        alone: the question without its options is looked for as well.
    """

    name: str
    needs: tuple[str, ...]
    question: tuple[str, ...]
    solution: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    unused: str = ""
    alone: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.question, *self.solution)

    def fits(self, row: Row) -> bool:
        return all(any(name in row for name in need.split("|")) for need in self.needs)


LETTERS = ("A", "B", "C", "D", "E", "F", "G", "H", "I", "J")
CHOICES = tuple(LETTERS[:6])
# The first that fits is taken: the narrower stands before the wider.
LAYOUTS = (
    Layout(
        "miniF2F",
        ("formal_statement", "informal_statement|informal_stmt|informal_prefix"),
        ("informal_statement", "informal_stmt", "informal_prefix", "formal_statement"),
        ("informal_proof",),
        unused="header: imports, the same in every item",
    ),
    Layout(
        "HumanEval",
        ("prompt", "canonical_solution"),
        ("prompt",),
        ("canonical_solution",),
        unused="test, entry_point: the harness",
    ),
    Layout(
        "MultiPL-E",
        ("prompt", "tests", "language"),
        ("prompt",),
        unused="tests, stop_tokens, original: the harness",
    ),
    Layout(
        "MBPP",
        ("code", "test_list", "text|prompt"),
        ("text", "prompt"),
        ("code",),
        unused="test_list, challenge_test_list, test_setup_code, test_imports: assertions",
    ),
    Layout("MATH", ("problem", "solution"), ("problem",), ("solution",), unused="answer: short and final"),
    Layout(
        "AGIEval",
        ("passage", "question", "options", "label"),
        ("question", "passage"),
        ("other",),
        ("options",),
        unused="label, answer: a letter, or short and final",
        alone=True,
    ),
    Layout("MMLU", ("question", "choices"), ("question",), options=("choices",), unused="answer: an index"),
    Layout(
        "MMLU-Pro",
        ("question", "options"),
        ("question",),
        ("cot_content",),
        options=("options",),
        unused="answer, answer_index: which option",
    ),
    Layout(
        "columns of choices",
        ("question|Question", "A", "B", "C", "D"),
        ("question", "Question"),
        ("explanation",),
        CHOICES,
        unused="answer: a letter",
    ),
    Layout(
        "CMATH",
        ("golden", "question|input"),
        ("question", "input"),
        unused="golden: a number",
    ),
    Layout(
        "MGSM",
        ("question", "answer", "answer_number"),
        ("question",),
        ("answer",),
        unused="answer_number, equation_solution: short and final",
    ),
    Layout(
        "chat",
        ("messages",),
        ("messages",),
        unused="answer: short and final; what the role `system` says: the same in every item",
    ),
)
# Told from any questions with answers by the line that ends an answer.
GSM8K = Layout("GSM8K", ("question", "answer"), ("question",), ("answer",))
# Any other set is asked for these, in this order.
KNOWN = (
    *("question", "problem", "prompt", "input", "instruction", "query", "text", "passage", "story"),
    *("statement", "informal_statement", "nl_statement", "formal_statement", "informal_proof", "nl_proof"),
    *("answer", "solution", "rationale", "explanation", "output", "response", "completion", "code"),
)
NAMES = ("id", "task_id", "unique_id", "problem_id", "question_id", "problem_name", "name", "idx", "index")
KINDS = re.compile(r"\.(jsonl|ndjson|json|parquet|csv|tsv)(\.gz|\.zst|\.zstd|\.bz2)?$", re.IGNORECASE)
LETTERED = re.compile(r"\s*[(\[]?[A-J][)\].:、．]\s*")


def read_evaluation_sets(paths: Sequence[str], fields: Sequence[str] = ()) -> EvaluationSets:
    """The texts of all sets in files, globs and folders, and of the doctests that `installed:` specs name.

    A folder is walked. What lies in it and is of another kind than JSONL, JSON, Parquet, CSV or TSV (a licence, say)
    is passed over; what has no known layout is told in `left_out`. A file that is named itself must be a set.

    Args:
        fields: the columns that hold texts, in every set, instead of those of its layout.

    Raises:
        LodeError: a file cannot be read or understood, or nothing was found.
    """
    sets = EvaluationSets()
    files: dict[str, str] = {}  # and the folder in whose walk it was found, if so
    folders: dict[str, str] = {}
    for path in paths:
        if path.startswith(installed.PREFIX):
            items = installed.evaluation_items(path)
            if not items:
                raise LodeError(f"{path}: there are no doctests in it, so nothing could be looked for.")
            for item in items:
                sets.texts += [
                    EvaluationText(path, item["id"], f, (item[f],)) for f in ("question", "answer")
                ]
            sets.layouts[path] = "doctests"
            continue
        fs, inside = storage.filesystem(path)
        folder = storage.absolute(path) if fs.isdir(inside) else ""
        folders |= {path: folder} if folder else {}
        for file in storage.expand([path]):
            files[file] = folder if folder and files.get(file) != "" else ""
    names = shortest_names(list(files))
    read: set[str] = set()
    for file, folder in files.items():
        if folder and not KINDS.search(file):
            continue
        try:
            rows, is_single = read_rows(file)
            benchmark = names[file]
            if is_single and folder:  # a folder with a file for each problem is one set
                benchmark = posixpath.basename(folder)
                rows = [{"id": file[len(folder) + 1 :].rpartition(".")[0]} | without_names(rows[0])]
            texts, layout = texts_of(rows, benchmark, file, fields)
        except LodeError as error:
            if not folder:
                raise
            sets.left_out.append((names[file], str(error)))
            continue
        read.add(folder)
        sets.texts += texts
        sets.layouts.setdefault(benchmark, layout)
    for path, folder in folders.items():
        if folder not in read:
            why = next((f" ({why})" for name, why in sets.left_out), "")
            raise LodeError(f"{path}: no evaluation set in this folder, so nothing could be looked for{why}.")
    return sets


def shortest_names(files: list[str]) -> dict[str, str]:
    """A name for each file: the last steps of its path, as few as tell it from the others."""
    names = {file: posixpath.basename(file) for file in files}
    steps = 1
    while len(set(names.values())) < len(files):
        steps += 1
        often = Counter(names.values())
        names = {f: "/".join(f.split("/")[-steps:]) if often[n] > 1 else n for f, n in names.items()}
    return names


def without_names(row: Row) -> Row:
    return {column: value for column, value in row.items() if column not in NAMES}


# --- files to rows ----------------------------------------------------------------------------------------


def read_rows(path: str) -> tuple[list[Row], bool]:
    """Rows of a JSONL, JSON, Parquet, CSV or TSV file, compressed or not; and whether it is one JSON object.

    CSV without a header is MMLU's (question, four choices, letter) where it has six columns; TSV without one is
    MGSM's (question, number).
    """
    kind = KINDS.search(path)
    if not kind:
        raise LodeError(f"{path}: JSONL, JSON, Parquet, CSV or TSV was expected (also .gz, .zst or .bz2).")
    what = kind[1].lower()
    if what == "parquet":
        rows = [row for batch in storage.read_parquet(path) for row in batch.to_pylist()]
        return checked(rows, path), False
    text = contents(path, (kind[2] or "").lower())
    if what in ("csv", "tsv"):
        return checked(separated(text, path, "\t" if what == "tsv" else ","), path), False
    if what == "json" or text.lstrip()[:1] == "[":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass  # lines of JSON are often called .json
        else:
            if isinstance(value, dict):
                inside = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
                is_single = layout_of(value) is not None or len(inside) != 1
                return ([value], True) if is_single else (checked(inside[0], path), False)
            return checked(value, path), False
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # nothing else ends a line of JSON
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise LodeError(f"{path}, line {number}: not JSON ({error}).") from None
    return checked(rows, path), False


def contents(path: str, compression: str) -> str:
    fs, inside = storage.filesystem(path)
    try:
        data = fs.cat_file(inside)
        if compression == ".gz":
            data = gzip.decompress(data)
        elif compression == ".bz2":
            data = bz2.decompress(data)
        elif compression:
            with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
                data = stream.read()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise LodeError(f"{path}: cannot be read ({error}).") from None
    return data.decode("utf-8-sig", "replace")


def separated(text: str, path: str, delimiter: str) -> list[Row]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if line]
    except csv.Error as error:
        raise LodeError(f"{path}: not a table ({error}).") from None
    if not lines:
        return []
    width = len(lines[0])
    if (
        delimiter == ","
        and width == 6
        and all(len(row) == 6 and row[5].strip() in LETTERS[:4] for row in lines)
    ):
        return [{"question": line[0], "choices": line[1:5], "answer": line[5]} for line in lines]
    if delimiter == "\t" and width == 2 and lines[0][1].strip().replace(",", "").lstrip("-").isdigit():
        return [{"question": line[0], "answer": "", "answer_number": "".join(line[1:])} for line in lines]
    return [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]


def checked(rows: Any, path: str) -> list[Row]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise LodeError(f"{path}: rows with named columns were expected.")
    if not rows:
        raise LodeError(f"{path}: no items in it.")
    return rows


# --- rows to texts ----------------------------------------------------------------------------------------


def layout_of(row: Row) -> Layout | None:
    """The layout of a row by its columns; any columns of `KNOWN` make one of their own."""
    for layout in LAYOUTS:
        if layout.fits(row):
            return layout
    if GSM8K.fits(row) and "####" in str(row["answer"]):
        return GSM8K
    columns = tuple(n for n in KNOWN if n in row and (isinstance(row[n], str | None) or strings(row[n])))
    options = tuple(name for name in ("options", "choices") if name in row)
    return Layout(f"columns {', '.join(columns)}", (), columns, options=options) if columns else None


def texts_of(
    rows: list[Row], benchmark: str, path: str, fields: Sequence[str] = ()
) -> tuple[list[EvaluationText], str]:
    """The texts of the rows of a set, and the name of its layout."""
    texts: list[EvaluationText] = []
    chosen = Layout(f"columns {', '.join(fields)}", (), tuple(fields))
    name = chosen.name
    seen: Counter[str] = Counter()
    if fields and not any(strings(row.get(column)) for row in rows for column in fields):
        raise LodeError(
            f"{path}: no row has a text in {', '.join(fields)}; there are {', '.join(map(str, list(rows[0])[:12]))}."
        )
    for number, row in enumerate(rows):
        layout = chosen if fields else layout_of(row)
        if layout is None:
            raise LodeError(
                f"{path}, row {number + 1}: {', '.join(map(str, list(row)[:8]))} is no layout known here; name the "
                "columns that hold texts with --field (decontaminate.fields in a recipe)."
            )
        item = next((str(row[n]) for n in NAMES if isinstance(row.get(n), str | int)), str(number))
        seen[item] += 1
        item = item if seen[item] == 1 else f"{item} ({seen[item]})"
        found = [
            EvaluationText(benchmark, item, column, variants)
            for column in dict.fromkeys(layout.columns)
            for variants in variants_of(row, column, layout)
        ]
        # An item without any text is an item all the same, and one that cannot be looked for.
        texts += found or [EvaluationText(benchmark, item, layout.columns[0], ("",))]
        name = layout.name if number == 0 else name
    return texts, name


def variants_of(row: Row, column: str, layout: Layout) -> list[tuple[str, ...]]:
    """The texts of a column, each in the ways in which it is commonly written out."""
    texts = strings(row.get(column))
    if not layout.options or column not in layout.question or not texts:
        return [(text,) for text in texts]
    options = [text for name in layout.options for text in strings(row.get(name))]
    if not options or column != next(name for name in layout.question if strings(row.get(name))):
        return [(text,) for text in texts]
    plain = [LETTERED.sub("", option, count=1) if LETTERED.match(option) else option for option in options]
    lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, plain, strict=False)]
    whole = tuple("\n".join((texts[0], *these)) for these in (plain, lettered))
    return [(texts[0], *whole) if layout.alone else whole]


def strings(value: Any) -> list[str]:
    """The texts in a value: a string, a list of them, the messages of a chat, or what a structure calls its text."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list):
        return [text for entry in value for text in strings(entry)]
    if isinstance(value, dict) and value.get("role") != "system":
        return [t for name in ("content", "text", "solution") if name in value for t in strings(value[name])]
    return []
