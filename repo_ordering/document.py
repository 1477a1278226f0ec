"""Files to repository documents: one row a repository, its files in order behind their path comments."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.languages import comment_line
from corpus.schema import REPOSITORY, document_id, to_batches, with_verdict
from repo_ordering.edges import Graph, SourceFile
from repo_ordering.graph import repository_graph
from repo_ordering.order import ORDERS, satisfied
from repo_ordering.windows import compose

DEPENDENCY = pa.struct(
    [
        ("source", pa.string()),
        ("target", pa.string()),
        ("kind", pa.string()),
        ("guarded", pa.bool_()),
        ("confidence", pa.float64()),
    ]
)
ORDERED = pa.schema(
    [
        *REPOSITORY,
        ("edges", pa.int32()),
        ("edges_satisfied", pa.float64()),
        ("order", pa.string()),
        ("dependencies", pa.list_(DEPENDENCY)),
        ("unparsed", pa.list_(pa.struct([("path", pa.string()), ("reason", pa.string())]))),
    ]
)
WINDOW_CHARS = 57_344  # about 16K tokens of code, the window DeepSeek-Coder trained on
# Data, prose and markup, by Linguist's types: a test's fixtures say nothing about a repository's language.
_NOT_CODE = frozenset(
    [
        "CSV",
        "HTML",
        "INI",
        "JSON",
        "Markdown",
        "Org",
        "SVG",
        "TOML",
        "Text",
        "XML",
        "YAML",
        "reStructuredText",
    ]
)


def file_order(graph: Graph, sizes: dict[str, int], order: str, seed: int, window: int) -> list[str]:
    """Paths in the order named: one of `order.ORDERS`, or `clustered`, windows of `window` end to end."""
    return [path for group in compose(sizes, graph.pairs(), window, order, seed) for path in group]


@dataclass(frozen=True)
class OrderRepositories:
    """File rows to repository rows.

    The rows of one repository (`source` and `repository`) come together, in any number of batches; within a
    repository their order does not matter. Out comes one row a repository, with `text` the concatenation of
    its files: a comment with the path, then the file, ended by a newline. A span of `files` covers both, in
    characters, and spans lie end to end: the first line of each is the path comment.

    Beside `REPOSITORY`'s columns: `edges`, dependencies between two of its files, and `edges_satisfied`, the
    share of them whose target comes earlier; `dependencies`, the edges themselves; `unparsed`, files whose
    own dependencies are unknown and why.

    Rows that cannot be part of a document come out with a reason and without their text: `no_repository`,
    `no_path`, `no_text`, `duplicate_path`, and every file of a `repository_too_large` (over `max_chars` of
    text). So files in == files of the rows that stay + rows dropped, and the text held never exceeds
    `max_chars` by more than a file.
    """

    order: str = "dependency"
    seed: int = 0
    max_chars: int = 64 << 20
    window_chars: int = WINDOW_CHARS

    def __post_init__(self) -> None:
        if self.order != "clustered" and self.order not in ORDERS:
            raise ValueError(f"no order is called {self.order!r}; there are clustered, {', '.join(ORDERS)}")

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """Columns of the repository rows; other columns of the files are not carried over."""
        return ORDERED

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Repository rows and dropped file rows, with `reason` and `detail` added."""
        yield from to_batches(self._rows(batches), with_verdict(ORDERED))

    def _rows(self, batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
        current: tuple[str, str] | None = None
        held: list[dict[str, Any]] = []
        chars = 0
        too_large = False
        for row in _file_rows(batches):
            verdict = _unusable(row)
            if verdict is not None:
                yield _dropped(row, *verdict)
                continue
            key = (row["source"] or "", row["repository"])
            if key != current:
                if held:
                    yield from self._repository(held)
                current, held, chars, too_large = key, [], 0, False
            if too_large:
                yield self._oversized(row)
                continue
            held.append(row)
            chars += len(row["text"])
            if chars > self.max_chars:
                too_large = True
                yield from map(self._oversized, held)
                held = []
        if held:
            yield from self._repository(held)

    def _oversized(self, row: dict[str, Any]) -> dict[str, Any]:
        return _dropped(row, "repository_too_large", f"over {self.max_chars} characters")

    def _repository(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        files: dict[str, SourceFile] = {}
        for row in sorted(rows, key=lambda row: (row["path"], row["text"], row["id"] or "")):
            if row["path"] in files:
                yield _dropped(row, "duplicate_path", row["path"])
            else:
                files[row["path"]] = SourceFile(row["path"], row["language"], row["text"])
        graph = repository_graph(files.values())
        bodies = {path: _with_comment(file) for path, file in files.items()}
        sizes = {path: len(body) for path, body in bodies.items()}
        order = file_order(graph, sizes, self.order, self.seed, self.window_chars)
        spans = []
        start = 0
        for path in order:
            end = start + sizes[path]
            spans.append({"path": path, "language": files[path].language, "start": start, "end": end})
            start = end
        source, repository = rows[0]["source"], rows[0]["repository"]
        yield {
            "id": document_id(source or "", repository),
            "text": "".join(bodies[path] for path in order),
            "source": source,
            "language": _main_language(files.values()),
            "repository": repository,
            "files": spans,
            "edges": len(graph.pairs()),
            "edges_satisfied": satisfied(order, graph.pairs()),
            "order": self.order,
            "dependencies": [
                {name: getattr(edge, name) for name in ("source", "target", "kind", "guarded", "confidence")}
                for edge in graph.edges
            ],
            "unparsed": [{"path": path, "reason": reason} for path, reason in sorted(graph.unparsed.items())],
        }


def _file_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    names = ("id", "text", "source", "language", "repository", "path")
    for batch in batches:
        columns = [batch.column(batch.schema.get_field_index(name)) for name in names]
        for i in range(batch.num_rows):  # row by row: a batch of a repository is large as Python objects
            yield {name: column[i].as_py() for name, column in zip(names, columns, strict=True)}


def _unusable(row: dict[str, Any]) -> tuple[str, str] | None:
    if not row["repository"]:
        return "no_repository", row["path"] or ""
    if not row["path"]:
        return "no_path", row["repository"]
    if row["text"] is None:
        return "no_text", row["path"]
    return None


def _dropped(row: dict[str, Any], reason: str, detail: str) -> dict[str, Any]:
    kept = {name: row[name] for name in ("id", "source", "language", "repository", "path")}
    return {**kept, "reason": reason, "detail": detail}


def _with_comment(file: SourceFile) -> str:
    """The file behind a one-line comment with its path, ended by a newline."""
    path = "".join(" " if character.isspace() else character for character in file.path)
    comment = comment_line(file.language, path).rstrip("\n") + "\n"
    return comment + file.text + ("" if file.text.endswith("\n") else "\n")


def _main_language(files: Iterable[SourceFile]) -> str | None:
    """The language of most of the characters; data and prose count only where there is no code."""
    chars = Counter()
    for file in files:
        if file.language:
            chars[file.language] += len(file.text)
    code = [language for language in chars if language not in _NOT_CODE]
    return min(code or chars, key=lambda language: (-chars[language], language), default=None)
