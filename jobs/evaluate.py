"""Questions about code for a model, and what it answers: holes to fill, and lines that need another file.

Questions are a matter of text: which are asked depends on the documents alone, so that all models are asked the same.
Of more than are wanted those with the smallest hash are asked, whatever order the documents come in; memory does not
grow with the dataset. They become tokens here, behind the functions that training shards were made with.
"""

import heapq
import posixpath
import statistics
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import xxhash

from corpus import storage
from corpus.errors import LodeError
from corpus.languages import language_of
from corpus.tokens import TextTokenizer
from fim.holes import KINDS, holes
from fim.transform import HOLE, prompt
from jobs.engine import open_dataset
from pretrain.completion import complete, edit_similarity, wilson
from pretrain.model import Transformer
from repo_ordering.cross_lines import cross_lines

Show = Callable[[int, int], None]
COLUMNS = ("id", "text", "language", "path", "files", "dependencies")
CHARS = 8  # of text held for each token of a window: more than any window has
LINES = 16  # of one repository
SPARE = (
    16  # tokens that an answer may have more than what stood there: another cut into tokens, trailing blanks
)


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
    """A line, its file up to there, and the files that this one depends on, in the order of the document;
    `needed` says which of them declares what the line names."""

    rank: int
    language: str
    before: list[str]
    needed: int
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
        there = storage.parquet_schema(part).names
        for batch in storage.read_parquet(part, [name for name in COLUMNS if name in there], rows=16):
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
        start = spans[line.path][0]
        earlier = [other for other, span in spans.items() if (line.path, other) in pairs and span[1] <= start]
        first, last = spans[line.declared_in]
        if max(line.start - start, last - first) > room:
            continue
        # The nearest ones, of which a window holds more than enough.
        held, size = {line.declared_in}, last - first
        for other in reversed(earlier):
            size += spans[other][1] - spans[other][0]
            if size > room:
                break
            held.add(other)
        before = [other for other in earlier if other in held]
        yield Line(
            _rank(f"{row['id']}\n{line.path}\n{line.start - start}"),
            languages[line.path],
            [text[slice(*spans[other])] for other in before],
            before.index(line.declared_in),
            text[start : line.start],
            text[line.start : line.end],
        )


def ask_gap(gap: Gap, tokenizer: TextTokenizer, window: int, spm: bool) -> Asked | None:
    """A hole as training lays it out; of what does not fit, the ends of the file are left out. None where the window
    has no room for the hole."""
    gold = tokenizer.encode(gap.gold).tolist()
    head = [tokenizer.special["bos"], *tokenizer.encode(gap.head).tolist()]
    room = window - len(head) - 3 - _answer(gold)
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
    """A line behind its file alone, and behind as many of the files that this one depends on as fit before it. None
    where the file and the one that is needed do not fit."""
    gold = tokenizer.encode(line.gold + "\n").tolist()
    alone = tokenizer.encode(line.head).tolist()
    room = window - 1 - len(alone) - _answer(gold)
    before = {line.needed: tokenizer.encode(line.before[line.needed]).tolist()}
    room -= len(before[line.needed])
    if room < 0:
        return None
    for i in reversed(range(len(line.before))):
        ids = before.get(i) or tokenizer.encode(line.before[i]).tolist()
        if i != line.needed and len(ids) <= room:
            before[i] = ids
            room -= len(ids)
    bos = [tokenizer.special["bos"]]
    files = [i for _, ids in sorted(before.items()) for i in ids]
    return Asked("line", line.language, [bos + files + alone, bos + alone], gold, line.gold)


def fill(
    model: Transformer, questions: list[Asked], tokenizer: TextTokenizer, show: Show
) -> list[dict[str, Any]]:
    """Of each kind of hole and each language: how many it fills exactly, up to white space at both ends, ending where
    the hole does; the interval of that rate; and the mean loss of what stood there (nats a token)."""
    answers = []
    for done, asked in enumerate(questions):
        wanted = asked.text.strip()

        def lost(tokens: list[int], wanted: str = wanted) -> bool:
            # Bytes at the end may be part of a character.
            return not wanted.startswith(tokenizer.decode(tokens).rstrip("\ufffd").strip())

        most = _answer(asked.gold)
        found = complete(model, asked.prompts[0], asked.gold, most, tokenizer.special["eos"], lost)
        exact = found.written.ended and tokenizer.decode(found.written.tokens).strip() == wanted
        answers.append((asked, exact, found.loss))
        show(done + 1, len(questions))
    rows = []
    for kind in KINDS:
        for language, of in _by_language([answer for answer in answers if answer[0].kind == kind]):
            exact = sum(answer[1] for answer in of)
            low, high = wilson(exact, len(of))
            loss = statistics.fmean(answer[2] for answer in of)
            rows.append({"kind": kind, "language": language, "holes": len(of), "exact": exact / len(of),
                         "low": low, "high": high, "loss": loss})  # fmt: skip
    return rows


def next_lines(
    model: Transformer, questions: list[Asked], tokenizer: TextTokenizer, show: Show
) -> list[dict[str, Any]]:
    """Of each language: the share of lines written exactly (up to white space at both ends), their mean similarity and
    loss (nats a token) with the files they depend on, the same for the file alone, and by how much the loss is lower
    with them, on average and with the standard error of that."""
    answers = []
    for done, asked in enumerate(questions):
        of = []
        for tokens in asked.prompts:
            found = complete(
                model, tokens, asked.gold, _answer(asked.gold), tokenizer.special["eos"],
                lambda tokens: "\n" in tokenizer.decode(tokens),
            )  # fmt: skip
            line = tokenizer.decode(found.written.tokens).split("\n")[0].strip()
            of.append((line == asked.text.strip(), edit_similarity(line, asked.text.strip()), found.loss))
        answers.append((asked, *of))
        show(done + 1, len(questions))
    rows = []
    for language, of in _by_language(answers):
        row: dict[str, Any] = {"language": language, "lines": len(of)}
        for way, place in (("with_dependencies", 1), ("file_alone", 2)):
            means = [statistics.fmean(answer[place][i] for answer in of) for i in range(3)]
            row[way] = dict(zip(("exact", "similarity", "loss"), means, strict=True))
        saved = [answer[2][2] - answer[1][2] for answer in of]
        row["loss_saved"] = statistics.fmean(saved)
        row["standard_error"] = statistics.stdev(saved) / len(saved) ** 0.5 if len(saved) > 1 else None
        rows.append(row)
    return rows


def find_tokenizer(model: str, shards: str | None, fingerprints: Collection[str]) -> str | None:
    """The tokenizer.json of a work folder or of an exported model, where it lies and is the right one."""
    places = [storage.join(model, "tokenizer.json")]
    for path in filter(None, (shards, model)):
        folder = storage.absolute(path)
        for _ in range(3):
            folder = posixpath.dirname(folder)
            places.append(storage.join(folder, "tokenizer", "tokenizer.json"))
    for place in places:
        if storage.exists(place) and fingerprints <= {TextTokenizer.load(place).fingerprint}:
            return place
    return None


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


def _by_language(answers: list[Any]) -> list[tuple[str, list[Any]]]:
    """All of them, then those of each language where there are several, most first."""
    languages: dict[str, list[Any]] = {}
    for answer in answers:
        languages.setdefault(answer[0].language, []).append(answer)
    each = sorted(languages.items(), key=lambda item: (-len(item[1]), item[0]))
    return [("all", answers), *each] if answers else []


def _answer(gold: list[int]) -> int:
    """Tokens that an answer may have."""
    return 2 * len(gold) + SPARE


def _rank(key: str) -> int:
    return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))
