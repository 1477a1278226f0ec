"""The entries of a repository on disk or in an archive, without extracting anything.

Every reader yields `Entry` values and keeps within `Limits`. What no reader can go on from (a broken or
hostile archive) is a `RepositoryError` with its reason code; nothing here writes, follows a link or trusts a
size that an archive states about itself. Archives inside archives are files.
"""

import bz2
import calendar
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import zstandard
from isal import igzip_lib

from corpus.storage import filesystem, is_local

# What an archive's name ends in; how it is compressed, its first bytes tell.
ARCHIVES = (
    ".tar.gz",
    ".tgz",
    ".tar.zst",
    ".tzst",
    ".tar.bz2",
    ".tbz2",
    ".tbz",
    ".tar.xz",
    ".txz",
    ".tar.lzma",
)
ARCHIVES += (".tlz", ".tar", ".zip")
VCS_FOLDERS = frozenset({".git", ".hg", ".svn", ".bzr", "CVS", ".jj"})
SKIPPED_FOLDERS = VCS_FOLDERS | {"__pycache__"}  # on disk
LINK_BYTES = 4096  # the target of a link is shown as its detail
_ZIP = (b"PK\3\4", b"PK\5\6", b"PK\7\x08", b"PK00")  # a tar can begin with a name such as PKG-INFO
_READ = 1 << 16
_ZST_WINDOW = 1 << 27
_ZST_PIECE = 128
_LZMA_MEMORY = 256 << 20
_COMMIT = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Limits(NamedTuple):
    """What one repository may cost before it is given up."""

    file_bytes: int = 1 << 20  # larger files are listed but not read
    held_bytes: int = 4 << 30  # text of one repository, which waits on disk to be sorted
    total_bytes: int = 4 << 30  # decompressed, read or skipped
    entries: int = 100_000  # of an archive also as many folders
    ratio: int = 200  # decompressed to compressed, once `ratio_from` bytes are out
    ratio_from: int = 64 << 20
    header_bytes: int = 1 << 20  # one extended tar header, one tree of git
    headers_bytes: int = 64 << 20  # all extended tar headers
    directory_bytes: int = 16 << 20  # a zip file's central directory
    depth: int = 64
    path_chars: int = 1024


class Entry(NamedTuple):
    """A file, or something that stands where a file could: then `kind` is the reason why it is none."""

    path: str
    kind: str  # file, symlink, hardlink, special_file, unsafe_path, unreadable or archive_broken
    size: int
    read: Callable[[], bytes] | None = None
    detail: str = ""
    modified: float | None = None  # seconds since 1970, where an archive states it
    blob: str | None = None  # git's name of the content, where it is known and checked


LIMITS = Limits()


class EntryError(Exception):
    """One entry that cannot be read, while its neighbours can."""

    def __init__(self, detail: str, reason: str = "archive_broken") -> None:
        super().__init__(detail)
        self.reason = reason


class RepositoryError(Exception):
    """A whole repository that cannot be read: `reason` is a short code, `detail` says what was met."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def folder_entries(folder: str, limits: Limits) -> Iterator[Entry]:
    """Files below a folder. The insides of version control and `__pycache__` folders are no part of it."""
    problems: list[OSError] = []
    for seen, (parent, names) in enumerate(walk(folder, SKIPPED_FOLDERS, problems)):
        if seen >= limits.entries:
            raise RepositoryError("too_many_files", f"more than {limits.entries} folders")
        inside = "" if parent == folder else os.path.relpath(parent, folder).replace(os.sep, "/") + "/"
        for name in names:
            yield disk_entry(inside + name, os.path.join(parent, name), limits)
    for problem in problems:
        name = os.path.relpath(problem.filename, folder).replace(os.sep, "/")
        yield Entry(name, "unreadable", 0, None, f"folder: {type(problem).__name__}")


def walk(folder: str, without: frozenset[str], problems: list[OSError]) -> Iterator[tuple[str, list[str]]]:
    """Each folder from `folder` down, but for those called as in `without`, and the names of what else is in it: files,
    links, pipes. `os.walk` calls itself for each level, and a path can have two thousand."""
    pending = [folder]
    while pending:
        parent = pending.pop()
        names, folders = [], []
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        names.append(entry.name)
                    elif entry.name not in without:
                        folders.append(entry.path)
        except OSError as error:
            problems.append(error)
        yield parent, sorted(names)
        pending += sorted(folders, reverse=True)


def disk_entry(name: str, path: str, limits: Limits) -> Entry:
    """The entry of one file on disk; a pipe or a device is never opened."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return Entry(name, "symlink", 0, None, os.readlink(path))
    except OSError as error:
        return Entry(name, "unreadable", 0, None, type(error).__name__)
    if not stat.S_ISREG(status.st_mode):
        return Entry(name, "special_file", 0, None, "not a regular file")

    def read() -> bytes:
        with open(path, "rb", buffering=0) as file:
            return file.read(limits.file_bytes + 1)

    return Entry(name, "file", status.st_size, read)


class Archive:
    """The entries of a tar (plain or compressed by gzip, bzip2, xz, lzma or zstd) or zip archive, in stored
    order.

    Its kind is told by its first bytes. `read` of an entry is good until the next entry is asked for. `path`
    is local or an fsspec URL. `revision`, once the entries are read, is the commit that `git archive` notes
    in what it makes, else None.
    """

    def __init__(self, path: str, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.revision: str | None = None

    def __iter__(self) -> Iterator[Entry]:
        fs, inside = filesystem(self.path)
        try:
            if is_local(self.path) and not stat.S_ISREG(os.stat(inside).st_mode):
                raise RepositoryError("unreadable", "not a regular file")
            file = open(inside, "rb") if is_local(self.path) else fs.open(inside, "rb")  # noqa: SIM115
        except OSError as error:
            raise RepositoryError("unreadable", type(error).__name__) from error
        with file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            magic = file.read(6)
            file.seek(0)
            if size == 0:
                raise RepositoryError("archive_broken", "the file is empty")
            if magic[:4] in _ZIP:
                yield from self._zip(file, size)
            else:
                yield from self._tar(_Stream(_chunks(file, magic), size, self.limits))

    def _tar(self, stream: "_Stream") -> Iterator[Entry]:
        headers = _TarHeaders(stream, self.limits)
        try:
            while (member := headers.next()) is not None:
                info, kind, detail = member
                if kind == "file":
                    yield Entry(
                        info.name, kind, info.size, lambda n=info.size: stream.exactly(n), "", info.mtime
                    )
                elif kind != "folder":
                    yield Entry(info.name, kind, 0, None, detail, info.mtime)
            # What follows the end is zeros; reading on checks the checksum.
            while rest := stream.read(_READ):
                if rest.strip(b"\0"):
                    raise RepositoryError("archive_broken", "data after the last readable entry")
            if stream.tail != bytes(tarfile.BLOCKSIZE):
                raise RepositoryError("archive_broken", "no end-of-archive mark: the file is cut short")
            self.revision = headers.commit
        except _TAR_ERRORS as error:
            raise _broken(error) from error

    def _zip(self, file: IO[bytes], size: int) -> Iterator[Entry]:
        limits = self.limits
        try:
            _check_zip_directory(file, size, limits)
            archive = zipfile.ZipFile(file)
        except _ZIP_ERRORS as error:
            raise _broken(error) from error
        infos = archive.infolist()
        if len(infos) > 2 * limits.entries:
            raise RepositoryError("too_many_files", f"more than {2 * limits.entries} entries")
        total = sum(info.file_size for info in infos)
        if total > limits.total_bytes or total > max(limits.ratio_from, limits.ratio * size):
            raise RepositoryError("archive_bomb", f"{total} bytes in a file of {size}")
        self.revision = _commit(archive.comment)
        for info in infos:
            if info.is_dir():
                continue
            name, modified = _zip_name(info), _zip_time(info)
            if info.flag_bits & 1:
                yield Entry(name, "archive_broken", info.file_size, None, "encrypted", modified)
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                detail = f"compression {info.compress_type}"
                yield Entry(name, "archive_broken", info.file_size, None, detail, modified)
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield Entry(name, "symlink", 0, None, _zip_link(archive, info), modified)
            else:
                read = lambda i=info: _read_zip(archive, i)
                yield Entry(name, "file", info.file_size, read, "", modified)


def _broken(error: Exception) -> RepositoryError:
    return RepositoryError("archive_broken", f"{type(error).__name__}: {error}"[:200])


def _commit(comment: bytes) -> str | None:
    return comment.decode() if _COMMIT.fullmatch(comment) else None


def _chunks(file: IO[bytes], magic: bytes) -> Iterator[bytes]:
    """The decompressed bytes of a file in pieces of bounded size."""
    if magic[:2] == b"\x1f\x8b":
        return _members(file, lambda: igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP))
    if magic[:3] == b"BZh" and magic[4:] in (b"1A", b"\x17r"):  # a block, or the end of none
        return _members(file, bz2.BZ2Decompressor)
    if magic == b"\xfd7zXZ\0" or magic[:3] == b"\x5d\0\0":
        return _members(file, lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY))
    if magic[:4] == b"\x28\xb5\x2f\xfd" or (magic[1:4] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5):
        return _members(file, _Zstd)
    return iter(lambda: file.read(_READ), b"")


def _members(file: IO[bytes], new: Callable) -> Iterator[bytes]:
    """What is in compressed members that stand one after the other, with zeros between and after them."""
    decompressor = new()
    while True:
        data = b""
        if decompressor.eof:
            data = decompressor.unused_data.lstrip(b"\0")
            while not data:
                if not (data := file.read(_READ)):
                    return
                data = data.lstrip(b"\0")
            decompressor = new()
        elif decompressor.needs_input:
            data = file.read(_READ)
            if not data:
                raise EOFError("the file is cut short")
        if out := decompressor.decompress(data, _READ):
            yield out


class _Zstd:
    """A zstd frame, with the calls of the standard library's decompressors."""

    def __init__(self) -> None:
        # `stream_reader` takes a frame that is cut short for a whole one. This knows its end, but no bound of
        # what comes out, so it is fed little: four bytes can be a block of 128 kB.
        self.frame = zstandard.ZstdDecompressor(max_window_size=_ZST_WINDOW).decompressobj()
        self.data = b""
        self.at = 0

    @property
    def eof(self) -> bool:
        return self.frame.eof

    @property
    def needs_input(self) -> bool:
        return self.at >= len(self.data)

    @property
    def unused_data(self) -> bytes:
        return self.frame.unused_data + self.data[self.at :]

    def decompress(self, data: bytes, _: int) -> bytes:
        if data:
            self.data, self.at = data, 0
        self.at += _ZST_PIECE
        return self.frame.decompress(self.data[self.at - _ZST_PIECE : self.at])


class _Stream:
    """Bytes out of `chunks`, which give up when they are more than an honest archive of its size holds."""

    def __init__(self, chunks: Iterator[bytes], compressed: int, limits: Limits) -> None:
        self.chunks = chunks
        self.most = min(limits.total_bytes, max(limits.ratio_from, limits.ratio * compressed))
        self.position = 0  # of what was read, of all that came out
        self.out = 0
        self.chunk = b""
        self.at = 0
        self.tail = b""

    def read(self, n: int) -> bytes:
        """`n` bytes, or fewer at the end."""
        at, end = self.at, self.at + n
        if end <= len(self.chunk):
            self.at = end
            self.position += n
            return self.chunk[at:end]
        parts = [self.chunk[at:]]
        missing = n - len(parts[0])
        while missing > 0 and self._fill():
            parts.append(self.chunk[:missing])
            self.at = len(parts[-1])
            missing -= self.at
        data = b"".join(parts)
        self.position += len(data)
        return data

    def exactly(self, n: int) -> bytes:
        try:
            data = self.read(n)
        except _TAR_ERRORS as error:
            raise _broken(error) from error
        if len(data) < n:
            raise RepositoryError("archive_broken", "the file is cut short")
        return data

    def skip_to(self, position: int) -> None:
        missing = position - self.position
        if missing < 0:
            raise RepositoryError("archive_broken", "a negative size")
        while missing > len(self.chunk) - self.at:
            held = len(self.chunk) - self.at
            self.position += held
            missing -= held
            if not self._fill():
                raise RepositoryError("archive_broken", "the file is cut short")
        self.at += missing
        self.position += missing

    def _fill(self) -> bool:
        self.chunk, self.at = next(self.chunks, b""), 0
        self.out += len(self.chunk)
        if self.out > self.most:
            raise RepositoryError("archive_bomb", f"more than {self.most} bytes decompressed")
        size = tarfile.BLOCKSIZE
        self.tail = self.chunk[-size:] if len(self.chunk) >= size else (self.tail + self.chunk)[-size:]
        return bool(self.chunk)


_TAR_ERRORS = (tarfile.TarError, OSError, EOFError, igzip_lib.error, lzma.LZMAError, zstandard.ZstdError)
_TAR_ERRORS += (ValueError, OverflowError, MemoryError)
_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED += (tarfile.XGLTYPE,)


class _TarHeaders:
    """The headers of a tar. `tarfile` reads a plain one; its treatment of extended and sparse ones has no
    bounds of time and memory, so these are read here: of names the first that is stated counts, of what
    counts for all files only the commit, and a sparse file is listed and not read."""

    def __init__(self, stream: _Stream, limits: Limits) -> None:
        self.stream = stream
        self.limits = limits
        self.commit: str | None = None
        self.end = 0  # of the last entry's data
        self.headers = 0
        self.extended_bytes = 0

    def next(self) -> tuple[tarfile.TarInfo, str, str] | None:
        """The next entry, its kind (`Entry.kind`, or folder) and detail; None at the end."""
        self.stream.skip_to(self.end)
        stated: dict[str, bytes] = {}
        while True:
            block = self.stream.read(tarfile.BLOCKSIZE)
            if not block.strip(b"\0"):
                return None
            self.headers += 1
            if self.headers > 4 * self.limits.entries:
                raise RepositoryError("too_many_files", f"more than {4 * self.limits.entries} headers")
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if info.type not in _EXTENDED:
                return self._entry(info, block, stated)
            for name, value in self._extended(info):
                stated.setdefault(name, value)

    def _entry(
        self, info: tarfile.TarInfo, block: bytes, stated: dict[str, bytes]
    ) -> tuple[tarfile.TarInfo, str, str]:
        if stated:
            if (path := stated.get("GNU.sparse.name", stated.get("path"))) is not None:
                info.name = path.decode("utf-8", "surrogateescape")
            if "linkpath" in stated:
                info.linkname = stated["linkpath"].decode("utf-8", "surrogateescape")
            info.size = int(stated.get("size", info.size))
            info.mtime = _seconds(stated.get("mtime"), info.mtime)
        is_sparse = info.type == tarfile.GNUTYPE_SPARSE
        if is_sparse:
            more = block[482]
            while more:
                more = self.stream.exactly(tarfile.BLOCKSIZE)[504]
        self.end = self.stream.position
        if info.size < 0:
            raise RepositoryError("archive_broken", "a negative size")
        if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES:
            self.end += -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if is_sparse or any(name.startswith("GNU.sparse.") for name in stated):
            return info, "special_file", "sparse"
        if info.isreg():
            return info, "file", ""
        if info.issym() or info.islnk():
            return info, "symlink" if info.issym() else "hardlink", info.linkname
        return info, "folder" if info.isdir() else "special_file", f"tar entry of type {info.type!r}"

    def _extended(self, info: tarfile.TarInfo) -> Iterator[tuple[str, bytes]]:
        """What a header that stands before another one states about it."""
        self.extended_bytes += info.size
        limits = self.limits
        if info.size > limits.header_bytes or self.extended_bytes > limits.headers_bytes or info.size < 0:
            raise RepositoryError("archive_bomb", f"a tar header of {info.size} bytes")
        data = self.stream.exactly(-(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)[: info.size]
        if info.type == tarfile.GNUTYPE_LONGNAME:
            yield "path", data.split(b"\0", 1)[0]
        elif info.type == tarfile.GNUTYPE_LONGLINK:
            yield "linkpath", data.split(b"\0", 1)[0]
        else:
            records = dict(_pax_records(data))
            if info.type == tarfile.XGLTYPE:
                self.commit = _commit(records.get("comment", b"")) or self.commit
            else:
                yield from records.items()


def _pax_records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """`LENGTH KEY=VALUE` and a newline, LENGTH counting all of it (POSIX pax)."""
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 12)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not at < end <= len(data) or data[end - 1 : end] != b"\n" or not equals:
            raise RepositoryError("archive_broken", "a damaged extended header")
        yield name.decode("utf-8", "replace"), value
        at = end


def _seconds(stated: bytes | None, otherwise: float) -> float:
    try:
        return otherwise if stated is None else float(stated)
    except ValueError:
        return otherwise


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError)
_ZIP_ERRORS += (struct.error, ValueError, OverflowError, IndexError)


def _check_zip_directory(file: IO[bytes], size: int, limits: Limits) -> None:
    """The list of entries is read into memory at once, so its size is looked at first."""
    start = max(0, size - 65_557 - 76)
    file.seek(start)
    tail = file.read()
    file.seek(0)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise zipfile.BadZipFile("no end of central directory")
    count, directory = struct.unpack("<HI", tail[end + 10 : end + 16])
    if (
        end >= 76
        and tail[end - 20 : end - 16] == b"PK\x06\x07"
        and tail[end - 76 : end - 72] == b"PK\x06\x06"
    ):
        count, directory = struct.unpack("<QQ", tail[end - 44 : end - 28])  # zip64
    if count > 2 * limits.entries:
        raise RepositoryError("too_many_files", f"{count} entries")
    if directory > limits.directory_bytes:
        raise RepositoryError("archive_bomb", f"a directory of {directory} bytes")


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Names are CP437 unless marked as UTF-8; many packers write UTF-8 without the mark."""
    if info.filename.isascii() or info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _zip_time(info: zipfile.ZipInfo) -> float | None:
    try:
        return calendar.timegm((*info.date_time, 0, 0, 0))
    except ValueError:
        return None


def _zip_link(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    if info.file_size > LINK_BYTES:
        return f"{info.file_size} bytes"
    try:
        return _read_zip(archive, info).decode("utf-8", "surrogateescape")
    except EntryError:
        return ""


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as member:
            return member.read(info.file_size + 1)
    except _ZIP_ERRORS as error:
        raise EntryError(f"{type(error).__name__}: {error}"[:200]) from error
