"""Repositories from folders, archives, git and the packages installed here, as one row a file.

A folder is a repository (or a shelf of them, see `repository_paths`), a git repository is read at a revision,
an archive (`.tar`, also compressed by gzip, bzip2, xz or zstd, and `.zip`) is one with its single top folder
taken off, and so is an `installed:` name. Files come sorted by path whatever the order they are stored in:
texts wait in memory while they are few, then in an unnamed temporary file, so that a worker's memory does not
grow with the repository. Nothing else is written. Every file has a row: with its text, or with the reason it
has none. Only the insides of version control folders, and on disk `__pycache__`, are not files of the
repository and have no row.
"""

import codecs
import contextlib
import datetime
import hashlib
import itertools
import os
import posixpath
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple, NoReturn, Protocol

import pyarrow as pa
import xxhash
from resiliparse.parse.encoding import detect_encoding

from corpus import installed
from corpus.archives import (
    ARCHIVES,
    LIMITS,
    VCS_FOLDERS,
    Archive,
    Entry,
    EntryError,
    Limits,
    RepositoryError,
    disk_entry,
    folder_entries,
)
from corpus.charset import codec_name, nfc
from corpus.errors import LodeError
from corpus.git import git_entries, git_folder, is_git
from corpus.languages import is_vendored, language_of
from corpus.schema import DOCUMENT, document_id, to_batches, with_verdict
from corpus.storage import filesystem, is_local

# `blob` is git's name of the content (SHA-1 of "blob", its size and bytes); `revision` the commit; `licence`
# the SPDX expression for this file, null where nothing says; `encoding` the charset it was in; `vendored` says
# that the path looks like somebody else's code kept inside the repository; `updated` is the newest change
# known of the repository.
FILE = pa.schema(
    [
        *DOCUMENT,
        ("size", pa.int64()),
        ("blob", pa.string()),
        ("revision", pa.string()),
        ("licence", pa.string()),
        ("encoding", pa.string()),
        ("vendored", pa.bool_()),
        ("stars", pa.int64()),
        ("forks", pa.int64()),
        ("updated", pa.timestamp("us", tz="UTC")),
    ]
)


class Licences(Protocol):
    """Says under what licence each file of one repository is, once it has looked at all of them."""

    def look(self, path: str, text: str) -> None:
        """Take note of a readable file. Files come in any order, each path once."""

    def of(self, path: str) -> str | None:
        """The SPDX expression that holds for the file at `path`; None where nothing says."""


# Bytes of text of one repository that are held in memory; more wait on disk.
MEMORY_BYTES = 64 << 20
_KNOWN_BY_NAME = {"too_large", "not_utf8", "no_text"}  # of these the name alone tells the language
CHARSET_BYTES = 64 << 10  # of a file, are looked at to tell its charset
_ARTEFACTS = {".pyc", ".pyo", ".o", ".obj", ".a", ".lib", ".so", ".dll", ".dylib", ".exe", ".class", ".jar"}
_ARTEFACTS |= {".war", ".whl", ".egg", ".beam", ".pdb", ".ilk", ".elc", ".hi", ".rlib", ".rmeta"}
_DRIVE = re.compile(r"(?:^|/)[A-Za-z]:")
_PLAIN = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.A)  # a safe path of the usual kind
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_CONTROL = bytes([*range(9), *range(14, 27), *range(28, 32)])
_C1 = re.compile("[\x80-\x84\x86-\x9f\ufffd\ufffe\uffff]")
_SIDE_BY_SIDE = re.compile(rb"[\x80-\xff]{2}")
_DOS = re.compile("cp(?:437|7..|8..)")
_LOW = re.compile(rb"[\x80-\x9f]")
# Charsets that the detector takes others for, and that nobody used.
_UNUSED = {"iso8859-3": "cp1252", "iso8859-10": "cp1252", "iso8859-16": "cp1250"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF16_LE, "utf-16-le"))
_BOMS += ((codecs.BOM_UTF16_BE, "utf-16-be"),)
_FIRST_DATE = 315_619_200  # 1980-01-02: zip files without a date have the day before
_NPM_DATE = 499_162_500  # 1985-10-26, which `npm pack` gives to every file


class Understood(NamedTuple):
    """What a path was taken for: `kind` is repository, shelf or installed."""

    path: str
    kind: str
    repositories: tuple[str, ...]
    others: int  # things on a shelf that are neither a folder nor an archive

    def __str__(self) -> str:
        if self.kind == "repository":
            return f"{self.path}: one repository"
        count = len(self.repositories) - self.others
        others = f", {self.others:,} other files" if self.others else ""
        return f"{self.path}: {count:,} {'repository' if count == 1 else 'repositories'}{others}"


def repository_paths(paths: Iterable[str]) -> list[str]:
    """The repositories that `paths` name, each once, sorted; see `understand`."""
    return sorted({path for taken in understand(paths) for path in taken.repositories})


def understand(paths: Iterable[str]) -> list[Understood]:
    """What each of `paths` names.

    A folder is a shelf, whose children are repositories each, if it ends in `/*`; or if it is no git
    repository and either more than half of its entries are archives or git repositories, or it has two folders
    or more and no file. Hidden entries do not count. Any other folder is one repository, and so is a file,
    also one that cannot be read as one: it gets a row that says so. `installed:*` is a shelf of every package
    installed here. A path with nothing there, and an empty folder with `/*`, is a `LodeError`.
    """
    taken = []
    for path in paths:
        if path == f"{installed.PREFIX}*":
            trees = tuple(tree["path"] for tree in installed.source_trees())
            taken.append(Understood(path, "installed", trees, 0))
        elif path.startswith(installed.PREFIX):
            installed.resolve(path)
            taken.append(Understood(path, "repository", (path,), 0))
        else:
            taken.append(_stored(path))
    return taken


def _stored(path: str) -> Understood:
    stated = path.endswith("/*")
    place = path.removesuffix("/*").rstrip("/") or "/"
    fs, inside = filesystem(place)
    try:
        if not fs.exists(inside):
            raise LodeError(f"{path}: there is no such file or folder.")
        if not stated and (not fs.isdir(inside) or (is_local(place) and is_git(inside))):
            return Understood(path, "repository", (place,), 0)
        children = _children(place, fs, inside)
    except OSError as error:
        raise LodeError(f"{path}: cannot be listed ({error.strerror or type(error).__name__}).") from error
    archives = sum(not folder and child.lower().endswith(ARCHIVES) for child, folder in children)
    folders = [child for child, folder in children if folder]
    if not stated:
        known = archives + (sum(map(is_git, map(local, folders))) if is_local(place) else 0)
        if not (2 * known > len(children) or (len(folders) >= 2 and len(folders) == len(children))):
            return Understood(path, "repository", (place,), 0)
    if not children:
        raise LodeError(f"{path}: the folder is empty.")
    others = len(children) - len(folders) - archives
    return Understood(path, "shelf", tuple(sorted(child for child, _ in children)), others)


def _children(place: str, fs: Any, inside: str) -> list[tuple[str, bool]]:
    """Visible entries of a folder, and which of them are folders."""
    if is_local(place):
        with os.scandir(inside) as entries:
            found = [(os.path.join(place, entry.name), entry.is_dir()) for entry in entries]
    else:
        listed = fs.ls(inside, detail=True)
        found = [(fs.unstrip_protocol(e["name"].rstrip("/")), e["type"] == "directory") for e in listed]
    return [(child, folder) for child, folder in found if not os.path.basename(child).startswith(".")]


def local(path: str) -> str:
    """A local path or `file://` URL as a path."""
    return filesystem(path)[1]


def repository_name(path: str) -> str:
    """`shelf/requests-2.31.0.tar.gz` is `requests-2.31.0`; `installed:sympy.core` is `sympy-core`."""
    if path.startswith(installed.PREFIX):
        return path.removeprefix(installed.PREFIX).replace(".", "-")
    name = shown(os.path.basename(path.rstrip("/")))
    endings = (*ARCHIVES, ".git")
    return next((name[: -len(s)] for s in endings if name.lower().endswith(s) and len(name) > len(s)), name)


def shown(name: str) -> str:
    """A name as valid Unicode: bytes that were none are written as escapes."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def repository_batches(
    paths: Iterable[str],
    source: str,
    licences: Callable[[], Licences] | None = None,
    limits: Limits = LIMITS,
    revision: str = "HEAD",
) -> Iterator[pa.RecordBatch]:
    """Batches of `FILE` and a verdict for the repositories at `paths`, as `repository_paths` gives them."""
    rows = (row for path in paths for row in read_repository(path, source, None, licences, limits, revision))
    return to_batches(rows, with_verdict(FILE))


def read_repository(
    path: str,
    source: str,
    name: str | None = None,
    licences: Callable[[], Licences] | None = None,
    limits: Limits = LIMITS,
    revision: str = "HEAD",
) -> Iterator[dict[str, Any]]:
    """One row a file of the repository at `path`, sorted by path, with `FILE`'s columns, `reason` and
    `detail`.

    `id` is `document_id(source, repository + newline + path)`. `name` stands for the repository in place of
    what its path is called; two repositories of one source need two names. `licences` makes a fresh object
    for the repository, which looks at its texts and says under what licence each file is; a package installed
    here states its own. `revision` is a branch, a tag or a commit and counts for git repositories. A
    repository that cannot be read, or has no file, is one row whose `path` is the input's name:
    `archive_broken`, `archive_bomb`, `too_many_files`, `repository_too_large`, `repository_broken`,
    `no_such_revision`, `not_a_repository`, `unreadable` or `empty_repository`.

    Reasons of files: `symlink`, `hardlink`, `special_file` (also a git submodule), `unsafe_path`,
    `duplicate_path`, `build_artefact`, `too_large`, `unreadable` (also a git object that is missing or
    damaged), `archive_broken`, `binary`, `not_utf8`.
    """
    repository = name or repository_name(path)
    with RepositoryFiles(source, repository, licences, limits) as files:
        try:
            opened = _open(path, limits, revision)
            files.licence, files.revision, files.updated = opened.licence, opened.revision, opened.updated
            for entry in opened.entries:
                files.add_entry(entry)
            if isinstance(opened.entries, Archive):
                files.revision = opened.entries.revision
                files.strip_top()
        except RepositoryError as error:
            yield unread_repository(source, repository, os.path.basename(path), error.reason, error.detail)
            return
        if not len(files):
            yield unread_repository(
                source, repository, os.path.basename(path), "empty_repository", "no files"
            )
            return
        yield from files.rows()


def unread_repository(source: str, repository: str, path: str, reason: str, detail: str) -> dict[str, Any]:
    """The one row of a repository that cannot be read."""
    row: dict[str, Any] = dict.fromkeys((*FILE.names, "reason", "detail"))
    row.update(id=document_id(source, repository), source=source, repository=repository)
    row.update(path=shown(path), reason=reason, detail=shown(detail))
    return row


class _Opened(NamedTuple):
    entries: Iterable[Entry]
    licence: str | None = None  # of every file, where it is known beforehand
    revision: str | None = None
    updated: float | None = None


def _open(path: str, limits: Limits, revision: str) -> _Opened:
    if path.startswith(installed.PREFIX):
        files, package = installed.tree_files(path)
        return _Opened((disk_entry(name, place, limits) for name, place in files), package.licence)
    if is_local(path) and os.path.isdir(local(path)):
        if folder := git_folder(local(path)):
            commit, updated, entries = git_entries(folder, revision, limits)
            return _Opened(entries, revision=commit, updated=updated)
        return _Opened(folder_entries(local(path), limits))
    if not path.lower().endswith(ARCHIVES):
        raise RepositoryError("not_a_repository", "neither a folder nor an archive")
    return _Opened(Archive(path, limits))


class _File:
    """What is held in memory of a file while its repository is read."""

    __slots__ = (
        "blob",
        "detail",
        "encoding",
        "language",
        "length",
        "licence",
        "path",
        "reason",
        "size",
        "start",
    )

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = size
        self.start = self.length = 0
        self.blob = self.encoding = self.language = self.licence = self.reason = self.detail = None


class RepositoryFiles:
    """The files of one repository: taken in in any order, given back once, as rows sorted by path.

        with RepositoryFiles("github", "owner/name", RepositoryLicences) as files:
            files.stars = 7
            files.add("src/a.py", data)
            yield from files.rows()

    `revision`, `licence` (of every file, in place of what `licences` finds), `stars`, `forks` and `updated`
    (seconds since 1970) may be set until `rows` is called. Texts beyond `MEMORY_BYTES` wait in an unnamed
    temporary file, which goes with the object or the process. Taking in more than the limits allow raises
    `RepositoryError` (`too_many_files`, `repository_too_large`), a full temporary folder `LodeError`.
    """

    def __init__(
        self,
        source: str,
        repository: str,
        licences: Callable[[], Licences] | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self.source = source
        self.repository = repository
        self.revision: str | None = None
        self.licence: str | None = None
        self.stars: int | None = None
        self.forks: int | None = None
        self.updated: float | None = None
        self._limits = limits
        self._licences = licences
        self._files: list[_File] = []
        self._texts = _Texts()

    def __enter__(self) -> "RepositoryFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._texts.close()

    def __len__(self) -> int:
        return len(self._files)

    def add(
        self,
        path: str,
        data: bytes | None,
        verdict: tuple[str, str] | None = None,
        *,
        size: int | None = None,
        blob: str | None = None,
        encoding: str | None = None,
        language: str | None = None,
        licence: str | None = None,
    ) -> None:
        """Take in a file's bytes, or None and the (reason, detail) it has none for.

        `size`, `blob` and `encoding` are those of the original where `data` is not its very bytes; `language`
        and `licence` count where nothing in the repository tells. Of several files at one path the last
        counts. A path that leads out of the repository, an artefact, a file too large and bytes that are no
        text get their reason here.
        """
        original = size if size is not None else len(data or b"")
        file = self._listed(path, original)
        if file.reason is None and (verdict := verdict or self._unread(file)):
            file.reason, file.detail = verdict
        elif file.reason is None and data is None:
            file.reason, file.detail = "unreadable", "no content"
        elif file.reason is None:
            self._take(file, data, blob)
            file.size = original
            if file.reason is None:
                file.encoding = encoding or file.encoding
        file.language = file.language or language
        file.blob = file.blob or blob
        file.licence = licence

    def add_entry(self, entry: Entry) -> None:
        """Take in an entry of an archive, a folder or a commit; the insides of version control are skipped."""
        path = entry.path
        if path.startswith("./") or "/./" in path:
            path = "/".join(part for part in path.split("/") if part != ".")
        if any(f"{folder}/" in path for folder in VCS_FOLDERS) and VCS_FOLDERS.intersection(
            path.split("/")[:-1]
        ):
            return
        file = self._listed(path, entry.size)
        file.blob = entry.blob
        if entry.modified is not None and entry.modified > (self.updated or 0) and is_date(entry.modified):
            self.updated = entry.modified
        if file.reason is not None:
            return
        if entry.kind != "file":
            file.reason, file.detail = entry.kind, shown(entry.detail[:200])
        elif verdict := self._unread(file):
            file.reason, file.detail = verdict
        else:
            try:
                data = entry.read()
            except EntryError as error:
                file.reason, file.detail = error.reason, str(error)
            except OSError as error:
                file.reason, file.detail = "unreadable", type(error).__name__
            else:
                self._take(file, data, entry.blob)

    def strip_top(self) -> None:
        """Take off the folder that all files share, if there is one."""
        safe = [file for file in self._files if file.reason != "unsafe_path"]
        # What macOS adds beside the folder that is packed is no sign of a second one.
        tops = {file.path.split("/", 1)[0] for file in safe if not file.path.startswith("__MACOSX/")}
        if len(tops) != 1:
            return
        top = f"{tops.pop()}/"
        if all(file.path.startswith((top, "__MACOSX/")) for file in safe):
            for file in safe:
                file.path = file.path.removeprefix(top)

    def rows(self) -> Iterator[dict[str, Any]]:
        """`FILE`'s columns, `reason` and `detail` of every file."""
        last = {file.path: file for file in self._files}
        for file in self._files:
            if file.reason is None and last[file.path] is not file:
                file.reason, file.detail = "duplicate_path", "a later file has the same path"
        files = sorted(self._files, key=lambda file: (file.path, file.reason or ""))
        licences = None if self.licence or not self._licences else self._licences()
        if licences is not None:
            for file in files:
                if file.reason is None:
                    licences.look(file.path, self._texts.read(file.start, file.length))
        key = f"{self.source}\n{self.repository}\n"
        updated = None
        if self.updated is not None and is_date(self.updated):
            updated = datetime.datetime.fromtimestamp(self.updated, datetime.UTC)
        for file in files:
            kept = file.reason is None
            yield {
                "id": xxhash.xxh3_128_hexdigest((key + file.path).encode()),
                "text": self._texts.read(file.start, file.length) if kept else None,
                "source": self.source,
                "url": None,
                "domain": None,
                "language": file.language
                or (language_of(file.path) if file.reason in _KNOWN_BY_NAME else None),
                "repository": self.repository,
                "path": file.path,
                "size": file.size,
                "blob": file.blob,
                "revision": self.revision,
                "licence": self.licence
                or (licences.of(file.path) if kept and licences is not None else None)
                or file.licence,
                "encoding": file.encoding if kept else None,
                "vendored": is_vendored(file.path),
                "stars": self.stars,
                "forks": self.forks,
                "updated": updated,
                "reason": file.reason,
                "detail": file.detail,
            }

    def _listed(self, path: str, size: int) -> _File:
        if len(self._files) >= self._limits.entries:
            raise RepositoryError("too_many_files", f"more than {self._limits.entries} files")
        name = shown(path)
        problem = _unsafe(path, name, self._limits)
        if problem and len(name) > self._limits.path_chars:  # a name of a megabyte is not held
            name = f"{name[: self._limits.path_chars]}…{xxhash.xxh3_64_hexdigest(name.encode())}"
        file = _File(name, size)
        if problem:
            file.reason, file.detail = "unsafe_path", problem
        self._files.append(file)
        return file

    def _unread(self, file: _File) -> tuple[str, str] | None:
        """Why a file is not even opened."""
        ending = posixpath.splitext(file.path)[1]
        if ending.lower() in _ARTEFACTS:
            return ("build_artefact", ending)
        if file.size > self._limits.file_bytes:
            return ("too_large", f"{file.size} bytes")
        return None

    def _take(self, file: _File, data: bytes, blob: str | None) -> None:
        file.size = len(data)
        if file.size > self._limits.file_bytes:  # it grew since it was listed
            file.reason, file.detail = "too_large", f"more than {self._limits.file_bytes} bytes"
            return
        file.blob = blob or hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        verdict, text, utf8, file.encoding = decoded(data)
        if verdict is not None:
            file.reason, file.detail = verdict
            return
        file.language = language_of(file.path, text)
        file.start, file.length = self._texts.add(utf8)
        if self._texts.bytes > self._limits.held_bytes:
            raise RepositoryError(
                "repository_too_large", f"more than {self._limits.held_bytes} bytes of text"
            )


class _Texts:
    """UTF-8 texts, in memory while they are few and then in a file without a name."""

    def __init__(self) -> None:
        self.bytes = 0
        self._held: dict[int, bytes] | None = {}
        self._file: IO[bytes] | None = None

    def add(self, text: bytes) -> tuple[int, int]:
        """Where the text will be found: start and length in bytes."""
        start = self.bytes
        self.bytes += len(text)
        if not text:
            return start, 0
        try:
            if self._held is not None:
                if self.bytes <= MEMORY_BYTES:
                    self._held[start] = text
                    return start, len(text)
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
                self._file.writelines(self._held.values())
                self._held = None
            self._file.write(text)
        except OSError as error:
            self._full(error)
        return start, len(text)

    def read(self, start: int, length: int) -> str:
        if not length:
            return ""
        if self._held is not None:
            return self._held[start].decode()
        try:
            self._file.flush()
            return os.pread(self._file.fileno(), length, start).decode()
        except OSError as error:
            self._full(error)

    def close(self) -> None:
        self._held = None
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written is not missed
                self._file.close()

    def _full(self, error: OSError) -> NoReturn:
        why = error.strerror or type(error).__name__
        raise LodeError(
            f"{tempfile.gettempdir()}: {why} while the files of a large repository wait there; make room, or set "
            "TMPDIR to another folder."
        ) from error


def is_date(seconds: float) -> bool:
    """Whether a time of a change is one, and no default of a packer (1970, 1980, npm's 1985) or in the future."""
    return _FIRST_DATE <= seconds <= time.time() + 86_400 and seconds != _NPM_DATE


def _unsafe(path: str, name: str, limits: Limits) -> str | None:
    """Why a path would lead out of the repository, or no file system keeps it apart from another."""
    if (
        path == name
        and _PLAIN.fullmatch(path)
        and len(path) <= limits.path_chars
        and path.count("/") < limits.depth
    ):
        return None
    parts = path.split("/")
    return (
        "absolute"
        if path.startswith("/") or _DRIVE.search(path)
        else "parent folder"
        if ".." in parts
        else "name is not UTF-8"
        if name != path
        else "control character or backslash"
        if _ODD.search(path)
        else f"more than {limits.depth} folders"
        if len(parts) > limits.depth
        else f"more than {limits.path_chars} characters"
        if len(path) > limits.path_chars
        else "empty name"
        if "" in parts or "." in parts
        else None
    )


def decoded(data: bytes) -> tuple[tuple[str, str] | None, str, bytes, str | None]:
    """Why the bytes are no text or None, the text in NFC, the same as UTF-8, and the charset it was in."""
    if data.isascii() and b"\0" not in data and b"\x1b$" not in data:
        return None, data.decode("ascii"), data, "utf-8"
    verdict, text, encoding = _decoded(data)
    normal = nfc(text)
    if normal is text and encoding == "utf-8" and not data.startswith(codecs.BOM_UTF8):
        return verdict, text, data, encoding
    return verdict, normal, normal.encode(), encoding


def _decoded(data: bytes) -> tuple[tuple[str, str] | None, str, str | None]:
    for bom, name in _BOMS:
        if data.startswith(bom):
            try:
                text = data[len(bom) :].decode(name)
            except UnicodeDecodeError:
                break
            nul = text.find("\0")
            return (None, text, name) if nul < 0 else (("binary", f"NUL at character {nul}"), "", None)
    if b"\0" in data:
        return ("binary", f"NUL at byte {data.index(0)}"), "", None
    position = 0
    if not data.isascii():  # ASCII gets here by escapes that switch character sets: not what it seems
        try:
            return None, data.decode("utf-8"), "utf-8"
        except UnicodeDecodeError as error:
            position = error.start
    # Compressed and other machine-made bytes hold control characters all over; text in any charset does not.
    sample = data[:8192]
    if (len(sample) - len(sample.translate(None, _CONTROL))) * 50 > len(sample):
        return ("binary", "control characters"), "", None
    encoding = _charset(data)
    names = [encoding]
    if not _SIDE_BY_SIDE.search(data):
        # Letters that stand alone among ASCII are an author's name; the detector has little to go by. Those of DOS are
        # mostly below 0xa0.
        names.append("cp1252")
        if _DOS.fullmatch(encoding or "") and not _LOW.search(data):
            names.reverse()
    for name in names:
        if name and name not in ("utf-8", "ascii"):
            with contextlib.suppress(UnicodeError, LookupError):
                text = data.decode(name)
                if not _C1.search(text) and "\0" not in text:
                    return None, text, name
    detail = f"byte {data[position]:#04x} at {position}, taken for {encoding or 'nothing known'}"
    return ("not_utf8", detail), "", None


def _charset(data: bytes) -> str | None:
    """The codec of the charset that the bytes seem to be in."""
    if len(data) > CHARSET_BYTES and not data.isascii():
        # Of a long file the lines that are not ASCII tell.
        telling = itertools.islice((line for line in data.split(b"\n") if not line.isascii()), CHARSET_BYTES)
        data = b"\n".join(telling)
    return _codec(detect_encoding(data[:CHARSET_BYTES], html5_compatible=False))


def _codec(label: str | None) -> str | None:
    """The codec of a detected charset: as the web understands its name, or as Python does (IBM855, UHC)."""
    try:
        name = codec_name(label) or codecs.lookup(label or "").name
        return _UNUSED.get(name, name)
    except LookupError:
        return None
