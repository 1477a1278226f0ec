"""A corpus as DuckDB views: what is in it, what was dropped, and how it came about, one SQL query away.

Nothing is copied: a view reads the Parquet of its stages where it lies. Manifests, a few kilobytes each, become
tables. `sql/` holds one file for each question that is asked often; they need nothing but these views.
"""

import posixpath
from dataclasses import dataclass
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa

from corpus import manifests, storage
from corpus.errors import LodeError
from corpus.manifests import Manifests
from corpus.trace import add_macros

Problem = tuple[str, str]  # file, what is wrong with it

TEXT, INTEGER, REAL, FLAG = "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN"
FILES = 'STRUCT("path" VARCHAR, "language" VARCHAR, "start" BIGINT, "end" BIGINT)[]'
DEPENDENCIES = (
    'STRUCT("source" VARCHAR, "target" VARCHAR, "kind" VARCHAR, "guarded" BOOLEAN, "confidence" DOUBLE)[]'
)
SAMPLES = 'STRUCT("start" BIGINT, "end" BIGINT)[]'
UNPARSED = 'STRUCT("path" VARCHAR, "reason" VARCHAR)[]'
DROPS = 'STRUCT("stage" VARCHAR, "reason" VARCHAR, "files" BIGINT, "bytes" BIGINT, "edges_lost" BIGINT)[]'
LOST = 'STRUCT("source" VARCHAR, "target" VARCHAR, "stage" VARCHAR, "reason" VARCHAR)[]'
SPANS = 'STRUCT("id" VARCHAR, "source" VARCHAR, "start" INTEGER, "length" INTEGER, "chunk" INTEGER, "epoch" INTEGER, '
SPANS += '"offset" INTEGER)[]'

# The columns that a view has at any rate; those of a missing stage, or of an older one, are null.
DOCUMENTS = dict.fromkeys(
    ("stage", "id", "text", "source", "url", "domain", "language", "repository", "path", "title", "target"),
    TEXT,
) | {"formulas": INTEGER, "code_blocks": INTEGER, "score": REAL, "collected_by": TEXT, "licence": TEXT}
DOCUMENTS["size"] = INTEGER  # bytes, of a file
DOCUMENTS["characters"] = INTEGER  # of `text`; counted by the view where the stage did not write them
REPOSITORIES = DOCUMENTS | {
    "files": FILES,
    "edges": INTEGER,
    "edges_satisfied": REAL,
    "order": TEXT,
    "dependencies": DEPENDENCIES,
    "unparsed": UNPARSED,
    "stubs": FILES,
    "sample": TEXT,
    "samples": SAMPLES,
    "edges_in_sample": REAL,
    "skeletons": FILES,
    "edges_by_skeleton": REAL,
}
FATES = dict.fromkeys(("stage", "id", "reason", "winner", "corpus"), TEXT)
FATES |= dict.fromkeys(("jaccard", "containment"), REAL)
COLUMNS: dict[str, dict[str, str]] = {
    "documents": DOCUMENTS,
    "raw": DOCUMENTS,
    "corpus": DOCUMENTS,
    "repositories": REPOSITORIES,
    "dropped": dict.fromkeys(("stage", "id", "url", "source", "repository", "path", "language"), TEXT)
    | {"size": INTEGER, "reason": TEXT, "detail": TEXT},
    "accounts": {"stage": TEXT, "source": TEXT, "repository": TEXT}
    | dict.fromkeys(("files", "kept", "edges", "edges_lost", "stubs"), INTEGER)
    | {"decision": TEXT, "dropped": DROPS, "lost": LOST},
    "clusters": FATES | {"cluster": INTEGER},
    "matches": FATES,
    "repeated_lines": {"stage": TEXT, "line": TEXT, "times": INTEGER},
    "unusable": dict.fromkeys(("stage", "benchmark", "item", "field", "text"), TEXT),
    "contamination": dict.fromkeys(
        ("stage", "benchmark", "item", "field", "id", "url", "path", "excerpt"), TEXT
    )
    | dict.fromkeys(("start", "end", "matched_ngrams", "item_ngrams"), INTEGER)
    | {"coverage": REAL},
    "scores": {"round": INTEGER, "target": TEXT, "id": TEXT, "url": TEXT, "domain": TEXT, "score": REAL},
    "statistics": {"round": INTEGER, "target": TEXT, "kind": TEXT, "key": TEXT}
    | dict.fromkeys(("pages", "collected", "collected_before"), INTEGER),
    "windows": {"stage": TEXT, "id": TEXT, "source": TEXT, "chunk": INTEGER, "text": TEXT}
    | dict.fromkeys(("first", "last", "composed"), FLAG)
    | {"repeated": INTEGER, "tokens": "INTEGER[]"},
    "shards": {"stage": TEXT, "file": TEXT, "row": INTEGER, "tokens": "INTEGER[]", "documents": SPANS}
    | {"completed": INTEGER},
    "training": dict.fromkeys(("step", "tokens"), INTEGER)
    | dict.fromkeys(("loss", "mtp_loss", "balance_loss", "lr", "grad_norm", "tokens_per_second"), REAL)
    | {"max_violation": "DOUBLE[]", "expert_load": "BIGINT[][]", "source": TEXT}
    | {"heldout_loss": REAL, "heldout_tokens": INTEGER},
    "evaluation": {"source": TEXT, "loss": REAL, "tokens": INTEGER},
}
# Views over views.
DERIVED = {
    "domains": """
        SELECT round, target, key AS domain, pages, collected, collected_before, collected / pages AS share
        FROM statistics WHERE kind = 'domain'""",
    "paths": """
        SELECT s.round, s.target, split_part(key, ' ', 1) AS domain, substr(key, strpos(key, ' ') + 1) AS path,
               s.pages, s.collected, s.collected_before, s.collected / s.pages AS share,
               coalesce(list_contains(r.accepted, substr(key, strpos(key, ' ') + 1)), false) AS accepted
        FROM statistics s LEFT JOIN mining_rounds r USING (round, target) WHERE kind = 'path'""",
    "edges": """
        SELECT stage, repository, d.source, d.target, d.kind, d.guarded, d.confidence
        FROM (SELECT stage, repository, unnest(dependencies) AS d FROM repositories)""",
    "lost_dependencies": """
        SELECT stage, repository, d.source, d.target, d.stage AS dropped_at, d.reason
        FROM (SELECT stage, repository, unnest(lost) AS d FROM accounts)""",
    "shard_documents": """
        SELECT stage, file, row, d.id, d.source, d.start, d.length, d.chunk, d.epoch, d.offset
        FROM (SELECT stage, file, row, unnest(documents) AS d FROM shards)""",
}


@dataclass(frozen=True)
class Dataset:
    """Parquet files of one folder: those that are whole, and the columns that they have together."""

    stage: str
    paths: tuple[str, ...]
    columns: frozenset[str]
    alike: bool = False  # in the columns of all files: DuckDB need not hold all footers at once

    @property
    def scan(self) -> str:
        paths = ", ".join(map(literal, self.paths))
        return f"read_parquet([{paths}], union_by_name = {not self.alike}, hive_partitioning = false"


def open_work(path: str, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection, in memory, with views over a work folder, one stage's folder, a Parquet file or a glob.

    Views: `stages`, `documents` (every stage's), `raw` (the documents as they were read), `corpus` (those that the
    mixture is drawn from), `dropped`, `mining_rounds`, `scores`, `domains`, `paths`, `clusters`, `matches`,
    `repeated_lines`, `contamination`, `unusable`, `repositories`, `edges`, `accounts` (a repository's files and lost
    dependencies), `lost_dependencies`, `windows`, `shards`, `shard_documents`, `training`, `evaluation` and
    `problems`: what is damaged or unfinished, and is left out of the others. A stage that is not there gives no rows;
    its columns are there all the same. `trace` and `origin` (`corpus.trace`) follow a document through them.

    Args:
        path: local, or any fsspec URL; DuckDB then reads through fsspec.
        threads: as many as there are processors, unless given.

    Raises:
        LodeError: there is nothing at `path` that could be shown.
    """
    connection = connect(path, threads)
    problems: list[Problem] = []
    files = listing(path)
    found = manifests.read(path, files, problems)
    datasets = whole_datasets(path, files, found, problems)
    running = any(posixpath.basename(name) == "metrics.jsonl" for name in files)
    if not datasets and not found.stages and not problems and not running:
        raise LodeError(f"{path}: no stage and no Parquet file there; expected a work folder or a dataset.")
    add_table(connection, "mining_rounds", manifests.mining_rounds(found))
    views: dict[str, list[str]] = {name: [] for name in COLUMNS}
    first, final = first_stages(datasets, found), final_stages(datasets, found)
    for dataset in datasets:
        for name, select in selects(dataset):
            if not (name in ("scores", "statistics") and manifests.is_stale_round(found, dataset.stage)):
                views[name].append(select)
            if name == "documents":
                for view, stages in (("raw", first), ("corpus", final)):
                    views[view] += [select] if dataset.stage in stages else []
    if not views["training"]:
        add_table(connection, "live_metrics", manifests.live_metrics(files, problems))
        views["training"].append("SELECT * FROM loaded.live_metrics")
        connection.execute("DROP VIEW live_metrics")
    for name, columns in COLUMNS.items():
        add_view(connection, name, columns, views[name], problems)
    for name, sql in DERIVED.items():
        connection.execute(f"CREATE VIEW {name} AS {sql}")
    add_table(connection, "stages", manifests.stages(found, final))
    add_table(connection, "problems", manifests.problem_table(problems))
    add_macros(connection)
    return connection


def query(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of an SQL query.

    Raises:
        LodeError: DuckDB's complaint as one sentence.
    """
    try:
        result = connection.execute(sql)
        if result is None:
            raise LodeError("SQL: there is no statement in it.")
        return [column[0] for column in result.description or []], result.fetchall()
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise LodeError(f"SQL: {sentence(error)}") from error


@dataclass(frozen=True)
class Statistic:
    """A question that is asked often, and its SQL."""

    question: str
    sql: str


def statistics() -> dict[str, Statistic]:
    """The questions of `corpus/sql/` by name; the comment on top of a file says the question."""
    found = {}
    for file in sorted(resources.files("corpus").joinpath("sql").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            sql = file.read_text(encoding="utf-8")
            found[file.name.removesuffix(".sql")] = Statistic(
                sql.partition("\n")[0].removeprefix("--").strip(), sql
            )
    return found


def statistic(
    connection: duckdb.DuckDBPyConnection, name: str, pattern: str | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The answer to a named question; `pattern` (SQL's LIKE) narrows it where the question allows.

    Raises:
        LodeError: there is no question of this name, or the query fails.
    """
    known = statistics()
    if name not in known:
        raise LodeError(f"{name}: there is no such question; there are {', '.join(known)}.")
    connection.execute("SET VARIABLE pattern = ?", [pattern])
    return query(connection, known[name].sql)


def connect(path: str, threads: int | None) -> duckdb.DuckDBPyConnection:
    """DuckDB without downloads, and without a look at the caller's variables."""
    config: dict[str, Any] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    if threads:
        config["threads"] = threads
    connection = duckdb.connect(":memory:", config=config)
    if not storage.is_local(path):
        fs, _ = storage.filesystem(path)
        try:
            connection.register_filesystem(fs)
        except (duckdb.Error, ValueError) as error:
            raise LodeError(f"{path}: DuckDB can not read this kind of URL: {sentence(error)}") from error
    return connection


def listing(path: str) -> dict[str, str]:
    """Every visible file below a folder: its name in the folder and its path. One file or a glob is such a folder."""
    fs, inside = storage.filesystem(path)
    if not fs.isdir(inside):
        return {posixpath.basename(part): part for part in storage.parquet_parts(path)}
    root = inside.rstrip("/")
    files = {}
    for name in sorted(fs.find(inside)):
        relative = name[len(root) :].lstrip("/")
        if not any(
            step.startswith((".", "_counts")) or step in ("logs", "checkpoints")
            for step in relative.split("/")
        ):
            files[relative] = name if storage.is_local(path) else fs.unstrip_protocol(name)
    return files


def whole_datasets(
    path: str, files: dict[str, str], found: Manifests, problems: list[Problem]
) -> list[Dataset]:
    """The folders that hold Parquet, without files that can not be read and without stages that did not finish."""
    folders: dict[str, dict[str, str]] = {}
    for name, file in files.items():
        if name.endswith(".parquet"):
            folders.setdefault(posixpath.dirname(name), {})[name] = file
    datasets = []
    for folder, parts in folders.items():
        stage = found.stage_of(folder)
        if (
            any(folder == f or folder.startswith(f + "/") for f in found.unfinished if f)
            or "" in found.unfinished
        ):
            continue
        covered = f"{folder}/_lode.json" in files or any(
            folder.startswith(f"{f}/") or not f for f in found.folders
        )
        if found.stages and not covered and ("/" not in folder or folder.startswith("mining/")):
            problems.append(
                (folder, "no manifest, so `stages` lacks it; its rows are shown and may not be all")
            )
        paths, columns, schemas = [], set(), []
        for name, file in parts.items():
            try:
                schema = storage.parquet_schema(file)
                columns.update(schema.names)
                schemas.append(schema)
                paths.append(file)
            except UnicodeDecodeError:
                problems.append((name, "the names of its columns are no text"))
            except (LodeError, OSError, pa.ArrowException) as error:
                problems.append((name, sentence(error).removeprefix(f"{file}: ")))
        if paths:
            alike = all(schema == schemas[0] for schema in schemas)
            datasets.append(Dataset(stage, tuple(paths), frozenset(columns), alike))
    return datasets


def selects(dataset: Dataset) -> list[tuple[str, str]]:
    """The views that a dataset belongs to, each with its share of it as SQL. The columns tell what it is."""
    stage, has = dataset.stage, dataset.columns
    base, _, last = stage.rpartition("/")
    rows = dataset.scan + ")"

    def all_but(*names: str) -> str:
        left_out = ", ".join(quoted(name) for name in names if name in has)
        return f"* EXCLUDE ({left_out})" if left_out else "*"

    def of_stage(name: str) -> str:
        return f"SELECT {literal(name)} AS stage, {all_but('stage')} FROM {rows}"

    if last == "dropped" and "reason" in has:
        return [("dropped", of_stage(base))]
    if last in ("clusters", "matches") and {"cluster", "winner"} <= has:
        return [(last, of_stage(base))]
    if last == "accounts" and {"kept", "edges_lost"} <= has:
        return [(last, of_stage(base))]
    if last == "lines" and {"line", "times"} <= has:
        return [("repeated_lines", of_stage(base))]
    if last in ("contamination", "unusable") and {"benchmark", "item"} <= has:
        return [(last, of_stage(base))]
    if {"tokens", "documents"} <= has:
        scan = dataset.scan + ", filename = true, file_row_number = true)"
        columns = (
            "* EXCLUDE (filename, file_row_number), parse_filename(filename) AS file, file_row_number AS row"
        )
        return [("shards", f"SELECT {literal(stage)} AS stage, {columns} FROM {scan}")]
    if {"id", "chunk", "tokens"} <= has:
        return [("windows", of_stage(stage))]
    if {"step", "heldout_loss"} <= has:
        return [("training", f"SELECT * FROM {rows}")]
    if {"source", "loss"} <= has:
        return [("evaluation", f"SELECT * FROM {rows}")]
    if (number := manifests.round_number(stage)) is not None:
        if {"target", "kind", "key"} <= has:
            return [("statistics", f"SELECT {number} AS round, * FROM {rows}")]
        if last == "scores":
            targets = sorted(has - {"id", "url", "domain", "characters"})
            return [
                ("scores", f"SELECT {number} AS round, {literal(t)} AS target, id, url, domain, "
                           f"{quoted(t)} AS score FROM {rows}")
                for t in targets
            ]  # fmt: skip
    # Documents from elsewhere have no more than these two; examples for a classifier are none.
    if {"id", "text"} <= has and "writing" not in has:
        counted = "" if "characters" in has else ", length(TRY_CAST(text AS VARCHAR)) AS characters"
        of_documents = f"SELECT {literal(stage)} AS stage, {all_but('stage', *NESTED)}{counted} FROM {rows}"
        of_repositories = f"SELECT {literal(stage)} AS stage, {all_but('stage')}{counted} FROM {rows}"
        return [("documents", of_documents), *[("repositories", of_repositories)] * ("files" in has)]
    return []


# Columns of repositories only; lists of structures that `documents` has no use for.
NESTED = ("files", "dependencies", "unparsed", "stubs", "samples", "skeletons")


def first_stages(datasets: list[Dataset], found: Manifests) -> set[str]:
    """The stages that hold documents as they were read: no other stage's documents went into them."""
    holding = {d.stage for d in datasets if any(name == "documents" for name, _ in selects(d))}
    outside = {stage for stage in holding if not stage.startswith("mining/")} or holding
    return {stage for stage in outside if holding.isdisjoint(found.inputs(stage))}


def final_stages(datasets: list[Dataset], found: Manifests) -> set[str]:
    """The stages whose documents go into the mixture: what was cut to windows, or the ends of all chains."""
    holding = {d.stage for d in datasets if any(name == "documents" for name, _ in selects(d))}
    # A stage that dropped everything has no parts, and is the more worth seeing.
    holding |= {stage for stage, m in found.stages.items() if m.get("unit") in ("pages", "files")}
    windows = {d.stage for d in datasets if any(name == "windows" for name, _ in selects(d))}
    cut = {source for stage in windows for source in found.inputs(stage)} & holding
    if cut:
        return cut
    outside = {stage for stage in holding if not stage.startswith("mining/")} or holding
    return outside - {source for stage in outside for source in found.inputs(stage)}


def add_table(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """An Arrow table as a table of DuckDB's own, and the view of it."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS loaded")
    connection.register("arriving", table)
    connection.execute(f"CREATE TABLE loaded.{name} AS SELECT * FROM arriving")
    connection.unregister("arriving")
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM loaded.{name}")


def add_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: dict[str, str],
    parts: list[str],
    problems: list[Problem],
) -> None:
    """A view with at least `columns`, in their types, over all parts; one that does not fit is named and left out."""
    nothing = ", ".join(f"NULL::{kind} AS {quoted(column)}" for column, kind in columns.items())
    fitting = [f"SELECT {nothing} WHERE false"]
    for part in parts:
        try:
            # Each part by itself: a column of another type must not decide the type of all.
            names = {row[0].lower(): row[0] for row in connection.execute(f"DESCRIBE {part}").fetchall()}
            casts = ", ".join(
                f"TRY_CAST({quoted(names[c])} AS {kind}) AS {quoted(names[c])}"
                for c, kind in columns.items()
                if c in names
            )
            typed = f"SELECT * REPLACE ({casts}) FROM ({part})"
            connection.execute(f"DESCRIBE {typed}")
            fitting.append(typed)
        except duckdb.Error as error:
            problems.append((name, f"a part of this view does not fit and is left out: {sentence(error)}"))
    connection.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(fitting)}")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def sentence(error: BaseException) -> str:
    """The first line of an error, and DuckDB's suggestions where it has some."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("LINE ", "^"))]
    return " ".join(lines[:3]) or type(error).__name__
