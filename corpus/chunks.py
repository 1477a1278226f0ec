"""From documents to windows: what is mixed, shuffled and packed.

A document longer than the context is cut to windows before anything else is decided about it, so that
fill-in-the-middle never loses its middle. These pieces are called chunks.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.errors import LodeError
from corpus.languages import kind_of
from corpus.schema import VERDICT
from corpus.tokens import TextTokenizer, load

# BOS, EOS, three sentinels, and room for the tokens that cutting a text in three can add.
OVERHEAD = 12

# Where fill-in-the-middle may cut, in characters of the chunk's text: parts of one file each, behind its path
# comment; a document without files is one part.
REGIONS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("language", pa.string())]))
CHUNK = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("chunk", pa.int32()),
        ("first", pa.bool_()),  # of its document, or of a sample of it: it begins and ends there
        ("last", pa.bool_()),
        ("composed", pa.bool_()),  # of files that belong together: rather not to be cut
        ("repeated", pa.int32()),  # characters at the head of `text` that repeat a path comment
        ("text", pa.string()),  # null where the document came as tokens
        ("regions", REGIONS),
        ("tokens", pa.list_(pa.int32())),
    ]
)
# Of a row of documents, what is read.
READ = (
    "id",
    "source",
    "target",
    "language",
    "text",
    "tokens",
    "files",
    "stubs",
    "skeletons",
    "samples",
    "sample",
)
# White space with a line break in it, and what comes after it.
_BREAK = re.compile(r"[\n\r]\s*")
_HEADING = re.compile(r"#{1,6} ")
# Behind or before white space, or behind a sentence where there is none.
_SPLITS = re.compile(r"\s|[。！？]|.\s", re.S)
# Lines of code that belong to what is above them.
_CLOSES = re.compile(r"[}\])>{]|</|#e[ln]|(?:end|else|elif|except|finally|catch)\b")
_AROUND = 64
# A path comment that takes more than this share of a window is not repeated.
_COMMENT_SHARE = 8
# Rows come out in batches of so many, or of so many tokens.
_ROWS, _TOKENS = 512, 4 << 20


@dataclass(frozen=True)
class _File:
    """A file of a document: characters [start, end), the code behind its path comment from `body` on."""

    start: int
    body: int
    end: int
    language: str | None


def windows(
    text: str,
    starts: Sequence[int] | np.ndarray,
    limit: int,
    seams: Sequence[int] = (),
    head: Callable[[int], int] = lambda place: 0,
    is_code: Callable[[int], bool] = lambda place: False,
) -> list[tuple[int, int]]:
    """Token ranges [first, end) of at most `limit` tokens that cover a text.

    A cut falls on a seam (a file's beginning) in the last quarter of the window where there is one. Else it falls in
    the last eighth: in code before a line that is indented least, rather behind a blank line; in prose before a
    heading or a paragraph; before any line; at a blank, or behind a full stop where blanks are not written; else
    wherever the window is full. It never falls inside a character nor between CR and LF.

    Args:
        starts: the character at which each token begins.
        seams: character offsets of good places to cut, sorted.
        head: tokens that a window beginning at this character repeats; its own are fewer by so many.
        is_code: whether this character is part of code.
    """
    starts = np.asarray(starts, np.int64)
    ranges: list[tuple[int, int]] = []
    first, count = 0, len(starts)
    while True:
        room = limit - (head(int(starts[first])) if first else 0)
        if count - first <= room:
            ranges.append((first, count))
            return ranges
        end = _cut(text, starts, first, first + room, seams, is_code)
        ranges.append((first, end))
        first = end


def _cut(
    text: str, starts: np.ndarray, first: int, full: int, seams: Sequence[int], is_code: Callable[[int], bool]
) -> int:
    """The token before which a window that begins at `first` ends, `full` at the latest."""
    last = full
    while last > first and not _may_cut(text, starts, last):
        last -= 1
    if last == first:  # one character is longer than the window
        return full
    quarter, eighth = (first + (full - first) * parts // 8 for parts in (6, 7))
    seam = bisect_right(seams, int(starts[last])) - 1
    if seam >= 0 and seams[seam] >= starts[quarter]:
        place = int(np.searchsorted(starts, seams[seam]))
        if first < place <= last and _may_cut(text, starts, place):
            return place
    low = max(eighth, first + 1)
    begin, stop = int(starts[low]), int(starts[last])
    lines: list[tuple[tuple[Any, ...], int, int]] = []
    # White space around the part counts: whether a line stands behind a blank one, and how far it is indented.
    for match in _BREAK.finditer(text, max(begin - _AROUND, 0), stop + _AROUND):
        if match.start() > stop:
            break
        run, behind = match.group(), match.end()
        line = max(run.rfind("\n"), run.rfind("\r")) + 1
        blank = max(run.count("\n"), run.count("\r")) > 1
        indent = len(run[line:].expandtabs(4))
        if is_code(behind - 1):
            rank: tuple[Any, ...] = (_CLOSES.match(text, behind) is not None, indent, not blank)
        else:
            rank = (not (blank and _HEADING.match(text, behind)), not blank, indent)
        # Of lines that are equally good the last.
        lines.append((rank, -(match.start() + line), behind))
    for _, line, behind in sorted(lines):
        token = int(np.searchsorted(starts, -line))
        # A token may join the line break and what the next line is indented by.
        if low <= token <= last and starts[token] <= behind and _may_cut(text, starts, token):
            return token
    for token in range(last, low - 1, -1):
        place = int(starts[token])
        if _SPLITS.match(text, place - 1) and _may_cut(text, starts, token):
            return token
    return last


def _may_cut(text: str, starts: np.ndarray, token: int) -> bool:
    place = int(starts[token])
    return place > starts[token - 1] and not (text[place - 1] == "\r" and text[place] == "\n")


def regions(
    text: str, files: Sequence[dict[str, Any]], left: int, right: int, head: int = 0
) -> list[dict[str, Any]]:
    """The parts of text[left:right] that lie in one file each, behind the file's path comment.

    Args:
        files: spans with `start`, `end` and `language`, in order.
        head: characters that are put before text[left:right]; places are counted from there.
    """
    return _regions([_file(text, file) for file in files], left, right, head)


def _regions(files: Sequence[_File], left: int, right: int, head: int) -> list[dict[str, Any]]:
    found = []
    first = max(bisect_right(files, left, key=lambda file: file.start) - 1, 0)
    for file in map(files.__getitem__, range(first, len(files))):
        if file.start >= right:
            break
        start, end = max(file.body, left), min(file.end, right)
        if start < end:
            found.append({"start": start - left + head, "end": end - left + head, "language": file.language})
    return found


def _file(text: str, span: dict[str, Any]) -> _File:
    body = text.find("\n", span["start"], span["end"]) + 1 or span["end"]
    return _File(span["start"], body, span["end"], span.get("language"))


@dataclass(frozen=True)
class Chunks:
    """Function: parts of documents to rows of `CHUNK`. Their source is `name`, or each row's `target` or `source`.

    Documents are texts, or, from files of tokens, ids in a column `tokens`.
    """

    tokenizer: str
    mark: str  # of the tokenizer's content
    sequence_length: int
    read: Any  # paths -> batches of documents
    name: str | None

    def __call__(self, paths: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        tokenizer = load(self.tokenizer, self.mark)
        rows: list[dict[str, Any]] = []
        held = 0
        for batch in self.read(paths):
            columns = {name: batch.column(name) for name in READ if name in batch.schema.names}
            for place in range(batch.num_rows):  # one by one: a repository is large as Python objects
                row = {name: self.value(name, column[place]) for name, column in columns.items()}
                for chunk in self.cut(row, tokenizer):
                    rows.append(chunk)
                    held += len(chunk["tokens"])
                    if len(rows) == _ROWS or held >= _TOKENS:
                        yield as_batch(rows)
                        rows, held = [], 0
        if rows:
            yield as_batch(rows)

    def value(self, name: str, scalar: pa.Scalar) -> Any:
        if name == "tokens":  # not as Python objects: there may be millions
            return scalar.values.to_numpy(zero_copy_only=False) if scalar.is_valid else None
        return scalar.as_py()

    def cut(self, row: dict[str, Any], tokenizer: TextTokenizer) -> Iterator[dict[str, Any]]:
        """Rows of `CHUNK`, with a verdict, of one document."""
        source = self.name or row.get("target") or row["source"]
        document = {"id": row["id"], "source": source}
        limit = self.sequence_length - OVERHEAD
        if row["id"] is None:  # it would pass for padding
            yield {**self.part(document, 0, ()), "reason": "no_id"}
            return
        if row.get("text") is None:
            yield from self.cut_tokens(document, row.get("tokens"), limit, tokenizer.vocabulary_size)
            return
        text = row["text"]
        files = [_file(text, span) for span in row.get("files") or []]
        parts = [*(row.get("files") or []), *(row.get("stubs") or []), *(row.get("skeletons") or [])]
        seams = sorted(span["start"] for span in parts)
        begins = [file.start for file in files]
        comments: dict[int, Any] = {}

        def file_at(place: int) -> _File | None:
            """The file that this character is in."""
            number = bisect_right(begins, place) - 1
            return files[number] if number >= 0 and place < files[number].end else None

        def comment(place: int) -> Any:
            """Tokens of the path comment that a window beginning at this character, behind it, repeats."""
            file = file_at(place)
            if file is None or place < file.body or file.body == file.end:
                return ()
            if file.start not in comments:
                line = text[file.start : file.body]
                ids = tokenizer.encode(line) if len(line) <= 64 * limit else ()
                # Something of the file itself has to fit as well.
                most = min(self.sequence_length // _COMMENT_SHARE, limit - 8)
                comments[file.start] = ids if len(ids) <= most else ()
            return comments[file.start]

        def is_code(place: int) -> bool:
            file = file_at(place)
            language = file.language if file else row.get("language")
            return kind_of(language or "") not in (None, "prose")

        number = 0
        for sample in row.get("samples") or [{"start": 0, "end": len(text)}]:
            base, stop = sample["start"], sample["end"]
            body = text[base:stop]
            ids: Any = tokenizer.encode(body) if len(body) <= 3 * limit else None
            starts: Any = ()
            if ids is None or len(ids) > limit:
                ids, starts = tokenizer.encode_with_offsets(body)
            ranges = [(0, len(ids))]
            if len(ids) > limit:
                inside = [
                    seam - base
                    for seam in seams[bisect_right(seams, base - 1) : bisect_right(seams, stop - 1)]
                ]
                ranges = windows(
                    body, starts, limit, inside,
                    lambda place, base=base: len(comment(base + place)),
                    lambda place, base=base: is_code(base + place),
                )  # fmt: skip
            for first, end in ranges:
                left = base + (int(starts[first]) if first else 0)
                right = base + int(starts[end]) if end < len(ids) else stop
                again: Any = comment(left) if first else ()
                file = file_at(left)
                head = text[file.start : file.body] if file is not None and len(again) else ""
                here = _regions(files, left, right, len(head))
                if not parts and left < right:
                    here = [{"start": 0, "end": right - left, "language": row.get("language")}]
                yield {
                    **document,
                    "chunk": number,
                    "first": first == 0,
                    "last": end == len(ids),
                    "composed": row.get("sample") == "window" and len(ranges) == 1,
                    "repeated": len(head),
                    "text": head + text[left:right],
                    "regions": here,
                    "tokens": np.concatenate(
                        [np.asarray(again, np.int32), np.asarray(ids[first:end], np.int32)]
                    ),
                    "reason": None if end > first else "empty",
                    "detail": None,
                }
                number += 1

    def cut_tokens(
        self, document: dict[str, Any], ids: Any, limit: int, vocabulary_size: int
    ) -> Iterator[dict[str, Any]]:
        """A document without text: full windows, wherever they end."""
        ids = np.asarray(() if ids is None else ids, np.int32)
        outside = ids[(ids < 0) | (ids >= vocabulary_size)]
        if len(outside):
            raise LodeError(
                f"document {document['id']} has the token {outside[0]}, which the tokenizer does not have; pack "
                "it with the tokenizer that it was made with."
            )
        for number, first in enumerate(range(0, max(len(ids), 1), limit)):
            yield {
                **self.part(document, number, ids[first : first + limit]),
                "last": first + limit >= len(ids),
                "reason": None if len(ids) else "empty",
            }

    def part(self, document: dict[str, Any], number: int, tokens: Any) -> dict[str, Any]:
        """A row without text."""
        return {
            **document,
            "chunk": number,
            "first": number == 0,
            "last": True,
            "composed": False,
            "repeated": 0,
            "text": None,
            "regions": [],
            "tokens": np.asarray(tokens, np.int32),
            "reason": None,
            "detail": None,
        }


def as_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of `CHUNK` with a verdict; their tokens are arrays."""
    schema = pa.schema([*CHUNK, *VERDICT])
    ends = np.cumsum([0, *(len(row["tokens"]) for row in rows)], dtype=np.int32)
    tokens = pa.ListArray.from_arrays(ends, np.concatenate([row["tokens"] for row in rows]))
    columns = [
        tokens if field.name == "tokens" else pa.array([row[field.name] for row in rows], field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
