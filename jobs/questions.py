"""Questions about code for a model: holes to fill, and lines that need another file.

Questions are a matter of text: which are asked depends on the documents alone, so that all models are asked the same.
Of more than are wanted those with the smallest hash are asked, whatever order the documents come in; memory does not
grow with the dataset. They become tokens here, behind the functions that training shards were made with.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash

from corpus import storage
from corpus.errors import LodeError
from corpus.languages import language_of
from corpus.tokens import TextTokenizer
from fim.holes import holes
from fim.transform import HOLE, prompt
from jobs.engine import open_dataset
from repo_ordering.cross_lines import cross_lines

COLUMNS = ("id", "text", "language", "path")
STRUCTS = {"files": {"path", "language", "start", "end"}, "dependencies": {"source", "target"}}
CHARS = 8  # of text held for each token of a window: more than any window has
LINES = 16  # of one repository
SPARE = 16  # tokens that an answer may have more than what stood there: cut otherwise, or blanks behind it


class Gap(NamedTuple):
    """A hole of a file and what stands around it; `head` is the path comment in front."""

    rank: int
    kind: str
    language: str
    head: str
    prefix: str
    suffix: str
    gold: str


class Line(NamedTuple):
    """A line, its file up to there, and the files that this one depends on, in the order of the document. The one at
    `needed` declares what the line names, in the line that begins at its character `declared`."""

    rank: int
    language: str
    before: list[str]
    needed: int
    declared: int
    head: str
    gold: str


class Asked(NamedTuple):
    """A question in tokens: one prompt for each way to ask it."""

    kind: str
    language: str
    prompts: list[list[int]]
    gold: list[int]
    text: str


def documents(path: str, held_out: Collection[str] | None) -> Iterator[dict[str, Any]]:
    """The rows of a dataset of code with the columns that there are, of `held_out` (ids) only where given.

    Raises LodeError where none of those is in it.
    """
    stage = open_dataset(path, ("id", "text"))
    found = False
    for part in stage.parts:
        # A repository may have tens of megabytes.
        for batch in storage.read_parquet(part, _columns(storage.parquet_schema(part)), rows=4):
            for row in batch.to_pylist():
                if row["text"] and (held_out is None or row["id"] in held_out):
                    found = True
                    yield row
    if not found and held_out is not None:
        raise LodeError(
            f"{path}: none of its documents is among those that --shards holds; give the dataset that they were packed "
            "from, or leave --shards out."
        )


def held_out(shards: str) -> set[str] | None:
    """Ids of the documents that a folder of held-out shards was packed of; None where it does not say."""
    manifest = storage.read_json(storage.join(shards, "_lode.json")) or {}
    named = manifest.get("documents")
    return {name for names in named.values() for name in names} if isinstance(named, dict) else None


def gaps(rows: Iterable[dict[str, Any]], window: int, limit: int) -> list[Gap]:
    """At most `limit` holes of each kind, one of each in a file."""
    return [gap for found in _smallest(_gaps(rows, window), limit, lambda gap: gap.kind) for gap in found]


def _gaps(rows: Iterable[dict[str, Any]], window: int) -> Iterator[Gap]:
    room = window * CHARS
    for row in rows:
        text = row["text"]
        for path, language, start, end in _files(row):
            # Behind the path comment, as in training.
            begin = text.find("\n", start, end) + 1 if row.get("files") else start
            key = f"{row['id']}\n{path}"
            for hole in holes(text, max(begin, start), end, key):
                yield Gap(
                    _rank(f"{hole.kind}\n{key}"), hole.kind, language, text[start:begin],
                    text[max(hole.start - room, begin) : hole.start], text[hole.end : min(hole.end + room, end)],
                    text[hole.start : hole.end],
                )  # fmt: skip


def lines(rows: Iterable[dict[str, Any]], window: int, limit: int) -> list[Line]:
    """At most `limit` lines that need another file, and at most 16 of one repository.

    Raises LodeError where no row is a repository with its dependencies.
    """
    told = False

    def candidates() -> Iterator[Line]:
        nonlocal told
        for row in rows:
            if row.get("files") and row.get("dependencies") is not None:
                told = True
                yield from heapq.nsmallest(LINES, _lines(row, window), key=lambda line: line.rank)

    found = [line for each in _smallest(candidates(), limit, lambda line: "") for line in each]
    if not told:
        raise LodeError(
            "--cross-file: no document has the columns files and dependencies; give what `lode order` wrote "
            "(the stage repositories)."
        )
    return found


def _lines(row: dict[str, Any], window: int) -> Iterator[Line]:
    text, room = row["text"], window * CHARS
    spans = {file["path"]: (file["start"], file["end"]) for file in row["files"]}
    languages = {path: language for path, language, _, _ in _files(row)}
    pairs = {(edge["source"], edge["target"]) for edge in row["dependencies"]}
    for line in cross_lines(text, [(path, *span) for path, span in spans.items()], pairs):
        start, end = spans[line.path][0], line.start
        earlier = [other for other, span in spans.items() if (line.path, other) in pairs and span[1] <= start]
        first, last = spans[line.declared_in]
        needed, declared = text[first:last], line.declared_at - first
        if len(needed) > room:
            comment = _comment(needed)
            needed, declared = comment + needed[declared : declared + room], len(comment)
        # The nearest ones, of which a window holds more than enough.
        held, size = {line.declared_in: needed}, len(needed)
        for other in reversed(earlier):
            size += spans[other][1] - spans[other][0]
            if size > room:
                break
            held.setdefault(other, text[slice(*spans[other])])
        before = [other for other in earlier if other in held]
        head = text[start:end]
        yield Line(
            _rank(f"{row['id']}\n{line.path}\n{end - start}"),
            languages[line.path],
            [held[other] for other in before],
            before.index(line.declared_in),
            declared,
            head if len(head) <= room else _comment(head) + head[-room:],
            text[line.start : line.end],
        )


def ask_gap(gap: Gap, tokenizer: TextTokenizer, window: int, spm: bool) -> Asked | None:
    """A hole as training lays it out; of what does not fit, the ends of the file are left out. None where the window
    has no room for the hole."""
    gold = tokenizer.encode(gap.gold).tolist()
    head = [tokenizer.special["bos"], *tokenizer.encode(gap.head).tolist()]
    room = window - len(head) - 3 - answer_tokens(gold)
    if room < 0 or not gold:
        return None
    parts: list[tuple[str, list[int]]] = []
    last = ""
    for kind, value in prompt(gap.prefix, gap.suffix, spm):
        if kind == "special":
            last = value
            parts.append(("", [tokenizer.special[value]]))
        else:
            side = "suffix" if last == HOLE else "prefix"
            parts.append((side, tokenizer.encode(value).tolist()))
    size = {side: len(ids) for side, ids in parts}
    before, after = size.get("prefix", 0), size.get("suffix", 0)
    before = min(before, max(room - after, room - room // 2))
    after = min(after, room - before)
    kept = {"prefix": slice(size.get("prefix", 0) - before, None), "suffix": slice(0, after), "": slice(None)}
    asked = head + [i for side, ids in parts for i in ids[kept[side]]]
    return Asked(gap.kind, gap.language, [asked], gold, gap.gold)


def ask_line(line: Line, tokenizer: TextTokenizer, window: int) -> Asked | None:
    """A line behind as many of the files that its own depends on as fit a window, and behind its own alone.

    Of its own file, where both do not fit, as much of the end as half the window holds; of the one that is needed then
    what follows from the declaration on, or its end. Path comments stay. None where the window has no room for these.
    """
    gold = tokenizer.encode(line.gold + "\n").tolist()
    room = window - 1 - answer_tokens(gold)
    needed = tokenizer.encode(line.before[line.needed]).tolist()
    marks = [tokenizer.encode(_comment(text)).tolist() for text in (line.head, line.before[line.needed])]
    alone = tokenizer.encode(line.head[len(_comment(line.head)) :]).tolist()
    most = max(room - len(needed), room // 2) - len(marks[0])
    if most < 0 or room // 2 <= len(marks[1]):
        return None
    alone = marks[0] + alone[max(len(alone) - most, 0) :]
    room -= len(alone)
    if len(needed) > room:
        text, n = line.before[line.needed], room - len(marks[1])
        part = tokenizer.encode(text[line.declared :]).tolist()
        if len(part) < n:
            part = tokenizer.encode(text[len(_comment(text)) :]).tolist()[-n:]
        needed = marks[1] + part[:n]
    before = {line.needed: needed}
    room -= len(needed)
    for i in reversed(range(len(line.before))):
        if i != line.needed and room:
            ids = tokenizer.encode(line.before[i]).tolist()
            if len(ids) <= room:
                before[i] = ids
                room -= len(ids)
    bos = [tokenizer.special["bos"]]
    files = [i for _, ids in sorted(before.items()) for i in ids]
    return Asked("line", line.language, [bos + files + alone, bos + alone], gold, line.gold)


def _comment(text: str) -> str:
    """The first line of a file in a document: its path comment."""
    return text[: text.find("\n") + 1]


def _columns(schema: pa.Schema) -> list[str]:
    """Those that there are and that hold what they do in Lode's own datasets."""
    found = [name for name in COLUMNS if name in schema.names]
    for name, fields in STRUCTS.items():
        kind = schema.field(name).type if name in schema.names else None
        if kind and pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
            found += [name] * (fields <= {field.name for field in kind.value_type})
    return found


def _files(row: dict[str, Any]) -> list[tuple[str, str, int, int]]:
    """Path, language and span of each file of a document; of one that is a file, of all of it."""
    files = row.get("files") or [
        {"path": row.get("path") or "", "language": row.get("language"), "start": 0, "end": len(row["text"])}
    ]
    return [
        (f["path"], f["language"] or language_of(f["path"]) or "unknown", f["start"], f["end"]) for f in files
    ]


def _smallest(items: Iterable[Any], limit: int, group: Callable[[Any], str]) -> list[list[Any]]:
    """Of each group the `limit` items with the smallest rank."""
    held: dict[str, list[tuple[int, int, Any]]] = {}
    for number, item in enumerate(items):
        heap = held.setdefault(group(item), [])
        heapq.heappush(heap, (-item.rank, -number, item))
        if len(heap) > limit:
            heapq.heappop(heap)
    return [[item for *_, item in sorted(heap, reverse=True)] for _, heap in sorted(held.items())]


def answer_tokens(gold: list[int]) -> int:
    """Tokens that an answer may have."""
    return 2 * len(gold) + SPARE


def _rank(key: str) -> int:
    return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))
