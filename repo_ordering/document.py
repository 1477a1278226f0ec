"""Files to repository documents: one row a repository, its files in order behind their path comments."""

import itertools
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.languages import comment_line, kind_of, language_of
from corpus.schema import document_id, to_batches
from corpus.tokens import load
from repo_ordering.edges import Graph, SourceFile
from repo_ordering.graph import GraphBuilder
from repo_ordering.order import ORDERS, components, satisfied
from repo_ordering.rows import DROPS, FILE_ROW, JUDGED, ORDERED
from repo_ordering.skeletons import fill, served, skeleton
from repo_ordering.windows import Pair, compose, in_window_coverage

POLICIES = ("ignore", "stub", "drop_file", "drop_repository")
LOST_LISTED = 1000  # of one repository
STUB_NAMES = 32  # of one stub
STUB_NAME_CHARS = 64
# Reasons of entries of which nothing is known to depend on them: links, names that are no paths, and the earlier
# of two files of one path.
NOT_FILES = frozenset(["symlink", "hardlink", "special_file", "unsafe_path", "duplicate_path"])
# Reasons of files of which nothing is lost, such as an `__init__.py` that holds a licence.
WITHOUT_CODE = frozenset(["empty_file", "no_code"])
SAMPLES = ("repository", "component", "window")
WINDOW = 16_384  # tokens, DeepSeek-Coder's
CHARS_PER_TOKEN = 3.5  # of code, where no tokenizer is given


@dataclass(frozen=True)
class OrderRepositories:
    """File rows to repository rows.

    The rows of one repository (`source` and `repository`) come together, in any number of batches; within a
    repository their order does not matter. Out comes one row a repository, with `text` the concatenation of
    its files: a comment with the path, then the file, ended by a newline. A span of `files` covers both, in
    characters, and spans lie end to end: the first line of each is the path comment.

    Beside `REPOSITORY`'s columns: `edges`, dependencies between two of its files, and `edges_satisfied`, the
    share of them whose target comes earlier; `dependencies`, the edges themselves; `unparsed`, files whose
    own dependencies are unknown and why; `stubs`, see below.

    Rows that cannot be part of a document come out with a reason and without their text: `no_repository`,
    `no_path`, `no_text`, `duplicate_path`, and every file of a `repository_too_large` (over `max_chars` of
    text). So files in == files of the rows that stay + rows dropped, and the text held never exceeds
    `max_chars` by more than a file.

    **Lost dependencies.** Behind the files of a repository may come rows of files that earlier stages dropped:
    `dropped_at` names the stage, `dropped_for` the reason, `stub` says whether the file may be told of. They
    come out nowhere, but the graph is that of all files. An edge from a file that is there to one that was
    dropped is lost (unless there was no code in it), and `lost` says what follows:

    - `ignore`: nothing, it is counted.
    - `stub`: three lines of comment stand for the dropped file, in its place in the order: its path, that it is
      left out and why, and those of its names that the files that depend on it write. A span of `stubs` covers
      them; `files` has none. So a stub says nothing that the files beside it do not say, but for the reason.
    - `drop_file`: a file goes when more than `max_lost_share` of its dependencies are lost, `dependencies_lost`;
      what depended on it loses one more, and so on until nothing changes. The outcome is one, whatever the order.
    - `drop_repository`: all files go, `dependencies_lost`, when more than that share of all of them is lost.

    **Samples.** `samples` cuts the text into parts that are to be trained on each by itself; `sample` says which:
    the whole `repository`; each `component`, files that hang together by dependencies, as DeepSeek-Coder has it;
    or `window`s of at most `window` tokens, in which files follow `order` or, with the order `clustered`, are chosen
    so that as many dependencies as possible stand earlier in the same window. Every file stands in one sample; a
    file longer than a window has one of its own. `edges_in_sample` is the share of the dependencies that stand
    earlier in the same sample. With `skeletons`, what room a window has left takes in, before its files, files of
    other windows that they depend on, without the bodies of their functions and marked `signatures only`; spans of
    `skeletons` cover them, and `edges_by_skeleton` is the share of the dependencies that they serve.
    """

    order: str = "dependency"
    seed: int = 0
    max_chars: int = 64 << 20
    samples: str = "repository"
    window: int = WINDOW
    tokenizer: tuple[str, str] | None = None  # path and mark (see `corpus.tokens.load`); estimated without
    skeletons: bool = False
    lost: str = "ignore"
    max_lost_share: float = 0.3
    stage: str = "repositories"  # what accounts call the place of what is dropped here

    def __post_init__(self) -> None:
        if self.order != "clustered" and self.order not in ORDERS:
            raise ValueError(f"no order is called {self.order!r}; there are clustered, {', '.join(ORDERS)}")
        if self.samples not in SAMPLES:
            raise ValueError(f"samples is {self.samples!r}; it is one of {', '.join(SAMPLES)}")
        if (self.order == "clustered" or self.skeletons) and self.samples != "window":
            raise ValueError("order clustered and skeletons are for windows; set samples to window")
        if self.lost not in POLICIES:
            raise ValueError(f"lost is {self.lost!r}; it is one of {', '.join(POLICIES)}")

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """Columns of the repository rows; other columns of the files are not carried over."""
        return ORDERED

    def __call__(
        self, batches: Iterator[pa.RecordBatch], account: Callable[[dict[str, Any]], None] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Repository rows and dropped file rows, with `size`, `reason` and `detail` added.

        `account` is called with a row of `ACCOUNT` for each repository, also for one of which nothing stays.
        """
        yield from to_batches(self._rows(batches, account or (lambda _: None)), JUDGED)

    def _rows(
        self, batches: Iterator[pa.RecordBatch], account: Callable[[dict[str, Any]], None]
    ) -> Iterator[dict[str, Any]]:
        for (source, repository), rows in itertools.groupby(_file_rows(batches), _repository):
            if not repository:
                for row in rows:
                    yield _dropped(row, "no_repository", row["path"] or "")
                continue
            found = yield from _Repository(self, source, repository).rows(rows)
            account(found)


class _Repository:
    """What is known of one repository while its rows come."""

    def __init__(self, settings: OrderRepositories, source: str | None, repository: str) -> None:
        self.settings = settings
        self.source, self.repository = source, repository
        self.files: dict[str, SourceFile] = {}
        self.kept: dict[str, dict[str, Any]] = {}  # path -> row, without its text
        self.absent: dict[str, tuple[tuple[str, str], bool]] = {}  # path -> (stage, reason), may be a stub
        self.fates: dict[tuple, tuple] = {}  # one of each: there may be a million files
        self.dropped: dict[tuple[str, str], list[int]] = {}  # (stage, reason) -> files, bytes
        self.builder = GraphBuilder(max_absent_chars=settings.max_chars)

    def rows(self, rows: Iterator[dict[str, Any]]) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """The repository's row and those dropped here; returns its account."""
        held: list[dict[str, Any]] | None = []
        chars = 0
        absent: Iterable[dict[str, Any]] = ()
        for row in rows:
            if row["dropped_at"] is not None:
                absent = itertools.chain([row], rows)
                break
            if verdict := _unusable(row):
                yield self.drop(row, *verdict)
            elif held is None:
                yield self.drop(row, *self.too_large)
            else:
                held.append(row)
                chars += len(row["text"])
                if chars > self.settings.max_chars:
                    for each in held:
                        yield self.drop(each, *self.too_large)
                    held = None
        for row in sorted(held or (), key=lambda row: (row["path"], row["text"], row["id"] or "")):
            text = row.pop("text")
            if row["path"] in self.files:
                yield self.drop(row, "duplicate_path", row["path"])
            else:
                self.files[row["path"]] = file = SourceFile(row["path"], row["language"], text)
                self.kept[row["path"]] = row
                self.builder.add(file)
        del held
        for row in absent:
            self.add_absent(row)
        graph = self.builder.graph()
        known = self.files.keys() | self.absent.keys()
        pairs = [pair for pair in graph.pairs() if pair[0] in self.files and pair[1] in known]
        lost = [pair for pair in pairs if pair[1] in self.absent]
        lost_for = Counter(self.absent[target][0] for _, target in lost)
        yield from self.apply(pairs, lost)
        stubs = self.stubs(lost) if self.settings.lost == "stub" else {}
        if self.files:
            yield self.document(graph, pairs, stubs)
        return {
            "source": self.source,
            "repository": self.repository,
            "files": len(self.files) + sum(files for files, _ in self.dropped.values()),
            "kept": len(self.files),
            "dropped": [
                dict(zip(DROPS, (*why, files, size, lost_for[why]), strict=True))
                for why, (files, size) in sorted(
                    self.dropped.items(), key=lambda item: (-item[1][0], item[0])
                )
            ],
            "edges": len(pairs),
            "edges_lost": len(lost),
            "lost": [
                dict(
                    zip(
                        ("source", "target", "stage", "reason"),
                        (*pair, *self.absent[pair[1]][0]),
                        strict=True,
                    )
                )
                for pair in lost[:LOST_LISTED]
            ],
            "decision": self.decision(stubs),
            "stubs": len(stubs),
        }

    @property
    def too_large(self) -> tuple[str, str]:
        return "repository_too_large", f"over {self.settings.max_chars} characters"

    def drop(self, row: dict[str, Any], reason: str, detail: str) -> dict[str, Any]:
        self.count(self.settings.stage, reason, row["size"])
        return _dropped(row, reason, detail)

    def count(self, stage: str, reason: str, size: int | None) -> None:
        counts = self.dropped.setdefault((stage, reason), [0, 0])
        counts[0] += 1
        counts[1] += size or 0

    def add_absent(self, row: dict[str, Any]) -> None:
        """A file that an earlier stage dropped. Where no file stays there is nothing that could depend on it."""
        why = sys.intern(row["dropped_at"]), sys.intern(row["dropped_for"])
        self.count(*why, row["size"])
        path = row["path"]
        if not self.files or not path or row["dropped_for"] in NOT_FILES:
            return
        language = row["language"] or language_of(path)
        language = language and sys.intern(language)
        is_new = self.builder.add_absent(path, language, row["text"])
        if is_new and row["dropped_for"] not in WITHOUT_CODE:
            fate = why, bool(row["stub"])
            self.absent[path] = self.fates.setdefault(fate, fate)

    def apply(self, pairs: list[Pair], lost: list[Pair]) -> Iterator[dict[str, Any]]:
        """Take out the files that the policy does not want without what they depend on."""
        share = self.settings.max_lost_share
        gone: dict[str, str] = {}
        if self.settings.lost == "drop_repository" and len(lost) > share * len(pairs):
            gone = dict.fromkeys(self.files, f"{len(lost)} of {len(pairs)} dependencies")
        if self.settings.lost == "drop_file":
            needs, needed_by = Counter(source for source, _ in pairs), defaultdict(list)
            for source, target in pairs:
                needed_by[target].append(source)
            without: Counter[str] = Counter()
            leaving = list(dict.fromkeys(target for _, target in lost))
            left: set[str] = set()
            while leaving:
                for source in needed_by[leaving.pop()]:
                    without[source] += 1
                    if source not in left and without[source] > share * needs[source]:
                        left.add(source)
                        leaving.append(source)
            gone = {path: f"{without[path]} of {needs[path]} dependencies" for path in sorted(left)}
        for path, detail in gone.items():
            del self.files[path]
            yield self.drop(self.kept[path], "dependencies_lost", detail)

    def stubs(self, lost: list[Pair]) -> dict[str, str]:
        """The text that stands for each dropped file that may be told of, by its path."""
        users: dict[str, list[str]] = {}
        for source, target in lost:
            if self.absent[target][1]:
                users.setdefault(target, []).append(source)
        found = {}
        for target, names in self.builder.names_used(users).items():
            language = self.builder.language(target)
            (_, reason), _ = self.absent[target]
            lines = [_path_shown(target), f"left out: {reason}"]
            names = [name for name in names if len(name) <= STUB_NAME_CHARS][:STUB_NAMES]
            if names:
                lines.append(f"used: {', '.join(names)}")
            found[target] = "".join(_comment(language, line) for line in lines)
        return found

    def document(self, graph: Graph, pairs: list[Pair], stubs: dict[str, str]) -> dict[str, Any]:
        bodies = {path: _with_comment(file) for path, file in self.files.items()} | stubs
        wanted = [pair for pair in pairs if pair[0] in bodies and pair[1] in bodies]
        samples, skeletons = self.samples(bodies, wanted)
        order = [path for sample in samples for path in sample]
        spans: dict[str, list[dict[str, Any]]] = {"file": [], "stub": [], "skeleton": []}
        bounds: list[dict[str, int]] = []
        text: list[str] = []
        end = 0
        for sample, before in zip(samples, skeletons, strict=True):
            first = end
            parts = [("skeleton", path, body) for path, body in before]
            parts += [("stub" if path in stubs else "file", path, bodies[path]) for path in sample]
            for part, path, body in parts:
                start, end = end, end + len(body)
                language = self.builder.language(path)
                spans[part].append({"path": path, "language": language, "start": start, "end": end})
                text.append(body)
            bounds.append({"start": first, "end": end})
        inside = [pair for pair in wanted if pair[1] in self.files]
        return {
            "id": document_id(self.source or "", self.repository),
            "text": "".join(text),
            "source": self.source,
            "language": _main_language(self.files.values()),
            "repository": self.repository,
            "files": spans["file"],
            "edges": len(inside),
            "edges_satisfied": satisfied(order, inside),
            "order": self.settings.order,
            "dependencies": [
                {name: getattr(edge, name) for name in ("source", "target", "kind", "guarded", "confidence")}
                for edge in graph.edges
                if edge.source in self.files and edge.target in self.files
            ],
            "unparsed": [
                {"path": path, "reason": reason}
                for path, reason in sorted(graph.unparsed.items())
                if path in self.files
            ],
            "stubs": spans["stub"],
            "sample": self.settings.samples,
            "samples": bounds,
            "edges_in_sample": in_window_coverage(samples, inside),
            "skeletons": spans["skeleton"],
            "edges_by_skeleton": served(samples, skeletons, inside),
        }

    def samples(
        self, bodies: dict[str, str], pairs: list[Pair]
    ) -> tuple[list[list[str]], list[list[tuple[str, str]]]]:
        """Paths of each sample, in order, and the skeletons that go before them."""
        settings = self.settings
        if settings.samples != "window":
            order = ORDERS[settings.order](bodies, pairs, settings.seed)
            samples = [order] if settings.samples == "repository" else _by_component(order, pairs)
            return samples, [[] for _ in samples]
        sizes = {path: self.measure(body) for path, body in bodies.items()}
        samples = compose(sizes, pairs, settings.window, settings.order, settings.seed)
        if not settings.skeletons:
            return samples, [[] for _ in samples]

        def body(path: str) -> tuple[str, int] | None:
            file = self.files.get(path)
            cut = skeleton(file) if file is not None else None
            if cut is None:
                return None
            comment = _comment(file.language, _path_shown(path)) + _comment(file.language, "signatures only")
            text = comment + cut + ("" if cut.endswith("\n") else "\n")
            return text, self.measure(text)

        return samples, fill(samples, sizes, pairs, settings.window, body)

    def measure(self, text: str) -> int:
        """Tokens of one file of a window, and one more for what its seam may cost."""
        if self.settings.tokenizer is None:
            return math.ceil(len(text) / CHARS_PER_TOKEN)
        return len(load(*self.settings.tokenizer).encode(text)) + 1

    def decision(self, stubs: dict[str, str]) -> str:
        if not self.files:
            return "dropped"
        if (self.settings.stage, "dependencies_lost") in self.dropped:
            return "files_dropped"
        return "stubs" if stubs else "kept"


def _by_component(order: list[str], pairs: list[Pair]) -> list[list[str]]:
    """The order cut into weakly connected components: each in it, and they by their first files."""
    number = {path: i for i, group in enumerate(components(order, pairs)) for path in group}
    found: dict[int, list[str]] = {}
    for path in order:
        found.setdefault(number[path], []).append(path)
    return list(found.values())


def _file_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        columns = {name: batch.column(name) for name in FILE_ROW.names if name in batch.schema.names}
        for i in range(batch.num_rows):  # row by row: a batch of a repository is large as Python objects
            yield {name: columns[name][i].as_py() if name in columns else None for name in FILE_ROW.names}


def _repository(row: dict[str, Any]) -> tuple[str | None, str | None]:
    return row["source"], row["repository"]


def _unusable(row: dict[str, Any]) -> tuple[str, str] | None:
    if not row["path"]:
        return "no_path", row["repository"]
    if row["text"] is None:
        return "no_text", row["path"]
    return None


def _dropped(row: dict[str, Any], reason: str, detail: str) -> dict[str, Any]:
    kept = {name: row[name] for name in ("id", "source", "language", "repository", "path", "size")}
    return {**kept, "reason": reason, "detail": detail}


def _path_shown(path: str) -> str:
    return "".join(" " if character.isspace() else character for character in path)


def _comment(language: str | None, line: str) -> str:
    return comment_line(language, line).rstrip("\n") + "\n"


def _with_comment(file: SourceFile) -> str:
    """The file behind a one-line comment with its path, ended by a newline."""
    comment = _comment(file.language, _path_shown(file.path))
    return comment + file.text + ("" if file.text.endswith("\n") else "\n")


def _main_language(files: Iterable[SourceFile]) -> str | None:
    """The language of most of the characters; data and prose count only where there is no code."""
    chars = Counter()
    for file in files:
        if file.language:
            chars[file.language] += len(file.text)
    # Data, prose and markup are not what a repository is in: a test's fixtures say nothing about it.
    code = [language for language in chars if kind_of(language) == "programming"]
    return min(code or chars, key=lambda language: (-chars[language], language), default=None)
