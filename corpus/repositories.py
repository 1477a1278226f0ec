"""Repositories from folders, archives and the packages installed here, as one row a file.

A folder is a repository (`shelf/*`: each of its children is one), an archive (`.tar`, `.tar.gz`, `.tar.zst`,
`.zip`) is one with its single top folder taken off, and so is an `installed:` name. Files come sorted by path
whatever the order they are stored in, so one repository's text is held in memory, within `Limits`. Nothing is
extracted to disk. Every file has a row: with its text, or with the reason it has none. Only the insides of
version control folders, and on disk `__pycache__`, are not files of the repository and have no row.
"""

import codecs
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from resiliparse.parse.encoding import detect_encoding

from corpus import installed
from corpus.archives import (
    LIMITS,
    VCS_FOLDERS,
    Entry,
    EntryError,
    Limits,
    RepositoryError,
    archive_entries,
    disk_entry,
    folder_entries,
)
from corpus.charset import codec_name
from corpus.errors import LodeError
from corpus.languages import HEAD_CHARS, language_of
from corpus.schema import DOCUMENT, document_id, to_batches, with_verdict
from corpus.storage import filesystem, is_local

# `blob` is git's name of the content (SHA-1 of "blob", its size and bytes); `encoding` the charset it was in;
# `vendored` says that the path looks like somebody else's code kept inside the repository.
FILE = pa.schema(
    [
        *DOCUMENT,
        ("size", pa.int64()),
        ("blob", pa.string()),
        ("licence", pa.string()),
        ("encoding", pa.string()),
        ("vendored", pa.bool_()),
    ]
)
LicenceOf = Callable[[Mapping[str, str]], str | None]

_SUFFIXES = (".tar.gz", ".tar.zst", ".tgz", ".tzst", ".tar", ".zip")
_ARTEFACTS = (".pyc", ".pyo", ".o", ".obj", ".a", ".lib", ".so", ".dll", ".dylib", ".exe", ".class", ".jar")
_ARTEFACTS += (".war", ".whl", ".egg", ".beam", ".pdb", ".ilk", ".elc", ".hi", ".rlib", ".rmeta")
_VENDORED = re.compile(
    r"(?:^|/)(?:_?vendor(?:ed|s)?|third[-_]?party|3rd[-_]?party|extern(?:als?)?|node_modules|bower_components|Pods"
    r"|Carthage|Godeps|gnulib|\.yarn)/",
    re.I,
)
_DRIVE = re.compile(r"(?:^|/)[A-Za-z]:")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_C1 = re.compile("[\x80-\x84\x86-\x9f\ufffd\ufffe\uffff]")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF16_LE, "utf-16-le"))
_BOMS += ((codecs.BOM_UTF16_BE, "utf-16-be"),)


def repository_paths(paths: Iterable[str]) -> list[str]:
    """The repositories that `paths` name, each once, sorted: `folder/*` gives its children, `installed:*`
    all.

    A path with nothing there is a `LodeError`. A URL with `*` at its end lists that folder.
    """
    found: set[str] = set()
    for path in paths:
        if path == f"{installed.PREFIX}*":
            found.update(tree["path"] for tree in installed.source_trees())
        elif path.startswith(installed.PREFIX):
            installed.resolve(path)
            found.add(path)
        else:
            found.update(_stored(path))
    return sorted(found)


def _stored(path: str) -> list[str]:
    fs, inside = filesystem(path.removesuffix("/*").rstrip("/") or "/")
    if not fs.exists(inside):
        raise LodeError(f"{path}: there is no such file or folder.")
    if not path.endswith("/*"):
        return [path.rstrip("/")]
    children = [name.rstrip("/") for name in fs.ls(inside, detail=False)]
    children = [c for c in children if not os.path.basename(c).startswith(".")]
    if not children:
        raise LodeError(f"{path}: the folder is empty.")
    return children if is_local(path) else [fs.unstrip_protocol(c) for c in children]


def repository_name(path: str) -> str:
    """`shelf/requests-2.31.0.tar.gz` is `requests-2.31.0`; `installed:sympy.core` is `sympy-core`."""
    if path.startswith(installed.PREFIX):
        return path.removeprefix(installed.PREFIX).replace(".", "-")
    name = os.path.basename(path.rstrip("/"))
    return next((name[: -len(s)] for s in _SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), name)


def repository_batches(
    paths: Iterable[str], source: str, licence_of: LicenceOf | None = None, limits: Limits = LIMITS
) -> Iterator[pa.RecordBatch]:
    """Batches of `FILE` and a verdict for the repositories at `paths`, as `repository_paths` gives them."""
    rows = (row for path in paths for row in read_repository(path, source, None, licence_of, limits))
    return to_batches(rows, with_verdict(FILE))


def read_repository(
    path: str,
    source: str,
    name: str | None = None,
    licence_of: LicenceOf | None = None,
    limits: Limits = LIMITS,
) -> Iterator[dict[str, Any]]:
    """One row a file of the repository at `path`, sorted by path, with `FILE`'s columns, `reason` and
    `detail`.

    `id` is `document_id(source, repository + newline + path)`. `name` stands for the repository in place of
    what its path is called; two repositories of one source need two names. `licence_of` is given the texts by
    path and says under what licence they are; a package installed here states its own. A repository that
    cannot be read, or has no file, is one row whose `path` is the input's name: `archive_broken`,
    `archive_bomb`, `too_many_files`, `repository_too_large`, `not_a_repository`, `unreadable` or
    `empty_repository`.

    Reasons of files: `symlink`, `hardlink`, `special_file`, `unsafe_path`, `duplicate_path`,
    `build_artefact`, `too_large`, `unreadable`, `archive_broken`, `binary`, `not_utf8`.
    """
    repository = name or repository_name(path)
    try:
        entries, licence, is_archive = _entries(path, limits)
        rows = _rows(entries, limits, is_archive)
    except RepositoryError as error:
        yield _whole(path, source, repository, error.reason, error.detail)
        return
    if not rows:
        yield _whole(path, source, repository, "empty_repository", "no files")
        return
    if licence is None and licence_of is not None:
        licence = licence_of({row["path"]: row["text"] for row in rows if row["text"] is not None})
    for row in rows:
        row.update(
            id=document_id(source, f"{repository}\n{row['path']}"),
            source=source,
            url=None,
            domain=None,
            repository=repository,
            licence=licence,
        )
        yield row


def _whole(path: str, source: str, repository: str, reason: str, detail: str) -> dict[str, Any]:
    row = dict.fromkeys(FILE.names)
    row.update(id=document_id(source, repository), source=source, repository=repository)
    row.update(path=os.path.basename(path), reason=reason, detail=detail)
    return row


def _entries(path: str, limits: Limits) -> tuple[Iterable[Entry], str | None, bool]:
    """A repository's entries, its licence where it is known beforehand, and if it is an archive."""
    if path.startswith(installed.PREFIX):
        files, package = installed.tree_files(path)
        return (disk_entry(name, place, limits) for name, place in files), package.licence, False
    if is_local(path) and os.path.isdir(path):
        return folder_entries(path, limits), None, False
    if not path.lower().endswith(_SUFFIXES):
        raise RepositoryError("not_a_repository", "neither a folder nor an archive")
    return archive_entries(path, limits), None, True


def _rows(entries: Iterable[Entry], limits: Limits, is_archive: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    held = 0
    for entry in entries:
        path = entry.path.removeprefix("./")
        if any(part in VCS_FOLDERS for part in path.split("/")[:-1]):
            continue
        row = _row(path, entry, limits)
        rows.append(row)
        held += len(row["text"] or "")
        if len(rows) > limits.entries:
            raise RepositoryError("too_many_files", f"more than {limits.entries} files")
        if held > limits.held_bytes:
            raise RepositoryError("repository_too_large", f"more than {limits.held_bytes} characters")
    if is_archive:
        _strip_top(rows)
    return _without_duplicates(rows)


def _row(path: str, entry: Entry, limits: Limits) -> dict[str, Any]:
    shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
    row: dict[str, Any] = dict.fromkeys(("text", "language", "blob", "encoding", "reason", "detail"))
    row.update(path=shown, size=entry.size, vendored=bool(_VENDORED.search(shown)))
    verdict = _unsafe(path, shown, limits) or _unread(path, entry, limits)
    if verdict is None:
        try:
            data = entry.read()
        except EntryError as error:
            verdict = ("archive_broken", str(error))
        except OSError as error:
            verdict = ("unreadable", type(error).__name__)
        else:
            row.update(size=len(data), blob=hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())
            verdict = _decode_into(row, data)
            if verdict is None:
                row["language"] = language_of(shown, row["text"][:HEAD_CHARS])
    if verdict is not None:
        row["reason"], row["detail"] = verdict
    return row


def _unsafe(path: str, shown: str, limits: Limits) -> tuple[str, str] | None:
    """A path that would lead out of the repository, or that no file system keeps apart from another."""
    parts = path.split("/")
    problem = (
        "absolute"
        if path.startswith("/") or _DRIVE.search(path)
        else "parent folder"
        if ".." in parts
        else "name is not UTF-8"
        if shown != path
        else "control character or backslash"
        if "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path)
        else f"more than {limits.depth} folders"
        if len(parts) > limits.depth
        else f"more than {limits.path_chars} characters"
        if len(path) > limits.path_chars
        else "empty name"
        if not path or "" in parts
        else None
    )
    return ("unsafe_path", problem) if problem else None


_KINDS = {"symlink": "symlink", "hardlink": "hardlink", "special": "special_file", "unreadable": "unreadable"}


def _unread(path: str, entry: Entry, limits: Limits) -> tuple[str, str] | None:
    """Why an entry is not even opened."""
    if entry.kind == "broken":
        return ("archive_broken", entry.detail)
    if entry.kind != "file":
        return (_KINDS[entry.kind], entry.detail.encode("utf-8", "backslashreplace").decode()[:200])
    if path.lower().endswith(_ARTEFACTS):
        return ("build_artefact", os.path.splitext(path)[1])
    if entry.size > limits.file_bytes:
        return ("too_large", f"{entry.size} bytes")
    return None


def _decode_into(row: dict[str, Any], data: bytes) -> tuple[str, str] | None:
    """Put the text and its charset into `row`, or say why there is none."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            try:
                row.update(text=_nfc(data[len(bom) :].decode(name)), encoding=name)
                return None
            except UnicodeDecodeError:
                break
    if b"\0" in data:
        return ("binary", f"NUL at byte {data.index(0)}")
    position = 0
    if not (b"\x1b$" in data and data.isascii()):  # escapes that switch character sets: not what it seems
        try:
            row.update(text=_nfc(data.decode("utf-8")), encoding="utf-8")
            return None
        except UnicodeDecodeError as error:
            position = error.start
    # Compressed and other machine-made bytes hold control characters all over; text in any charset does not.
    sample = data[:8192].decode("latin-1")
    if len(_CONTROL.findall(sample)) * 50 > len(sample):
        return ("binary", "control characters")
    encoding = _codec(detect_encoding(data, html5_compatible=False))
    if encoding and encoding not in ("utf-8", "ascii"):
        try:
            text = data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            text = "\ufffd"
        if not _C1.search(text):
            row.update(text=_nfc(text), encoding=encoding)
            return None
    return ("not_utf8", f"byte {data[position]:#04x} at {position}, taken for {encoding or 'nothing known'}")


def _codec(label: str | None) -> str | None:
    """The codec of a detected charset: as the web understands its name, or as Python does (IBM855, UHC)."""
    try:
        return codec_name(label) or codecs.lookup(label or "").name
    except LookupError:
        return None


def _nfc(text: str) -> str:
    return (
        text
        if text.isascii() or unicodedata.is_normalized("NFC", text)
        else unicodedata.normalize("NFC", text)
    )


def _strip_top(rows: list[dict[str, Any]]) -> None:
    """Take off the folder that all files of an archive share, if there is one."""
    safe = [row for row in rows if row["reason"] != "unsafe_path"]
    tops = {row["path"].split("/", 1)[0] for row in safe}
    if len(tops) == 1 and all("/" in row["path"] for row in safe):
        for row in safe:
            row["path"] = row["path"].split("/", 1)[1]


def _without_duplicates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sorted by path. Where an archive has a path twice the last one counts, as it would when extracted."""
    last = {row["path"]: index for index, row in enumerate(rows)}
    for index, row in enumerate(rows):
        if last[row["path"]] != index and row["reason"] is None:
            row.update(text=None, reason="duplicate_path", detail="a later entry has the same path")
    return sorted(rows, key=lambda row: (row["path"], row["reason"] or ""))
