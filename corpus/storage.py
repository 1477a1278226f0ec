"""Files by path or URL, through fsspec: the same calls for a laptop's disk and a bucket."""

import contextlib
import errno
import glob
import json
import os
import posixpath
import re
import tomllib
import uuid
from collections.abc import Collection, Iterator
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.errors import LodeError

# Small row groups are read at random by the training loader and keep a worker's memory flat.
ROW_GROUP_ROWS = 512
SCRATCH = re.compile(r"\..+\.[0-9a-f]{32}")
# What `lode fetch` notes beside the archives.
FETCH_NOTES = ("_fetch.jsonl", "_records.parquet")

# fsspec's own reader needs another package and gives up at the first 503.
for _scheme in ("http", "https"):
    fsspec.register_implementation(_scheme, "corpus.http.HttpFiles", clobber=True)


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec filesystem of a path or URL, and the path in it."""
    try:
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        raise LodeError(f"{path}: this kind of URL needs another package: {error}") from error
    except ValueError as error:
        raise LodeError(f"{path}: {error}") from error


def is_local(path: str) -> bool:
    return "://" not in path or path.startswith("file://")


def absolute(path: str) -> str:
    """A local path from the root (also of a `file://` URL), any other URL as it is; without a slash at its end."""
    whole = os.path.abspath(filesystem(path)[1]) if is_local(path) else path
    return whole.rstrip("/") or "/"


def join(folder: str, *names: str) -> str:
    return posixpath.join(folder, *names)


def exists(path: str) -> bool:
    fs, inside = filesystem(path)
    return fs.exists(inside)


def make_folder(path: str) -> None:
    fs, inside = filesystem(path)
    fs.makedirs(inside, exist_ok=True)


def remove(path: str) -> None:
    """Delete a file or a folder with all that is in it; nothing there is no error."""
    fs, inside = filesystem(path)
    with contextlib.suppress(FileNotFoundError):
        fs.rm(inside, recursive=True)


def visible_names(path: str) -> list[str]:
    """Names in a folder, without hidden ones and without `logs`, which belongs to the run and not to a stage."""
    fs, inside = filesystem(path)
    names = fs.ls(inside, detail=False) if fs.exists(inside) else []
    names = sorted(posixpath.basename(name.rstrip("/")) for name in names)
    return [name for name in names if not name.startswith(".") and name != "logs"]


def remove_folder_contents(path: str, keep: Collection[str] = ()) -> None:
    """Delete what `visible_names` names, but for some, and what a killed process left half written."""
    remove_scratch(path)
    for name in set(visible_names(path)).difference(keep):
        remove(join(path, name))


def remove_scratch(path: str) -> None:
    """Delete what a killed process left half written in a folder."""
    fs, inside = filesystem(path)
    for entry in fs.find(inside) if fs.exists(inside) else []:
        if SCRATCH.fullmatch(posixpath.basename(entry)):
            fs.rm(entry)


def size(path: str) -> int:
    fs, inside = filesystem(path)
    return fs.size(inside) or 0


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole or not at all, also if the process is killed.

    Object stores publish a file when it is closed; on a disk it is written beside its place and renamed, so a
    second attempt at the same task may run at the same time and the last one wins with the same bytes.
    """
    fs, inside = filesystem(path)
    if not is_local(path):
        file = fs.open(inside, "wb", autocommit=False)
        try:
            yield file
            file.close()
            file.commit()
        except BaseException:
            with contextlib.suppress(Exception):
                file.discard()
            raise
        return
    os.makedirs(os.path.dirname(inside), exist_ok=True)
    scratch = f"{os.path.dirname(inside)}/.{os.path.basename(inside)}.{uuid.uuid4().hex}"
    try:
        with open(scratch, "wb") as file:
            yield file
        os.replace(scratch, inside)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(scratch)
        raise


def write_text(path: str, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str) -> Any:
    """The JSON in `path`, or None where there is no whole JSON file."""
    fs, inside = filesystem(path)
    try:
        return json.loads(fs.cat_file(inside))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, RecursionError, ValueError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself
            return None
        raise


def write_parquet(path: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
    """Batches as one Parquet file, atomically and with the same bytes every time; returns the rows written."""
    rows = 0
    with atomic_write(path) as file, parquet_writer(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)
            rows += batch.num_rows
    return rows


def parquet_writer(file: IO[bytes], schema: pa.Schema, keys: int = 0) -> pq.ParquetWriter:
    """A writer; with `keys` a row group says which of about so many ids and URLs it holds (Bloom filters)."""
    named = [name for name in ("id", "url") if keys and name in schema.names]
    filters = {name: {"ndv": keys, "fpp": 0.01} for name in named}
    return pq.ParquetWriter(file, schema, compression="zstd", bloom_filter_options=filters or None)


def expand(paths: list[str]) -> list[str]:
    """Files, globs and folders (their files, recursively) as a sorted list of files; nothing found is an error."""
    found: set[str] = set()
    for path in paths:
        fs, inside = filesystem(path)
        matches = fs.glob(inside) if glob.has_magic(inside) and not fs.exists(inside) else [inside]
        here: set[str] = set()
        for match in matches:
            if fs.isdir(match) and fs.exists(join(match, "_lode.json")):
                here.update(fs.glob(join(match, "part-*.parquet")))
            elif fs.isdir(match):
                names = ((name, posixpath.basename(name)) for name in fs.find(match))
                here.update(n for n, last in names if not last.startswith(".") and last not in FETCH_NOTES)
            elif fs.exists(match):
                here.add(match)
        if not here:
            raise LodeError(f"{path}: there is no such file, or nothing in it.")
        found.update(here if is_local(path) else (fs.unstrip_protocol(name) for name in here))
    return sorted(found)


def parquet_parts(dataset: str) -> list[str]:
    """The Parquet files of a dataset: a stage's folder, one file or a glob, in order of their names."""
    fs, inside = filesystem(dataset)
    if fs.isdir(inside):
        names = [n for n in fs.ls(inside, detail=False) if n.endswith(".parquet")]
    else:
        names = fs.glob(inside)
    if not names:
        raise LodeError(f"{dataset}: no Parquet files there; expected a stage's folder, a file or a glob.")
    return sorted(names if is_local(dataset) else (fs.unstrip_protocol(n) for n in names))


def read_toml(path: str, where: str) -> dict[str, Any]:
    """A TOML file that a user wrote; `where` begins the LodeError for one that cannot be read."""
    try:
        fs, inside = filesystem(path)
        return tomllib.loads(fs.cat_file(inside).decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise LodeError(f"{where}: not TOML ({error}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LodeError(f"{where}: the file cannot be read ({error}).") from error


def read_parquet(path: str, columns: list[str] | None = None, rows: int = 256) -> Iterator[pa.RecordBatch]:
    """One Parquet file in batches of at most `rows` rows."""
    fs, inside = filesystem(path)
    with open_parquet(path, fs, inside) as file:
        if columns and (missing := [c for c in columns if c not in file.schema_arrow.names]):
            raise LodeError(f"{path}: the column {missing[0]!r} is missing.")
        yield from file.iter_batches(batch_size=rows, columns=columns, use_threads=False)


@contextlib.contextmanager
def open_parquet(path: str, fs: Any = None, inside: str | None = None) -> Iterator[pq.ParquetFile]:
    if fs is None or inside is None:
        fs, inside = filesystem(path)
    try:
        stream = fs.open(inside, "rb")
    except FileNotFoundError:
        raise LodeError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise LodeError(f"{path}: this is a folder; a Parquet file was expected.") from None
    with stream:
        try:
            file = pq.ParquetFile(stream)
        except pa.ArrowInvalid as error:
            if not inside.endswith(".parquet"):
                how = "DuckDB: COPY (FROM 'x.jsonl') TO 'x.parquet'"
                raise LodeError(f"{path}: not a Parquet file; convert it first ({how}).") from None
            raise LodeError(f"{path}: not a whole Parquet file ({error}).") from None
        yield file


def parquet_schema(path: str) -> pa.Schema:
    with open_parquet(path) as file:
        return file.schema_arrow.remove_metadata()


def parquet_rows(path: str) -> int:
    with open_parquet(path) as file:
        return file.metadata.num_rows
