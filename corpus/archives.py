"""The entries of a repository on disk or in an archive, without extracting anything.

Every reader yields `Entry` values and keeps within `Limits`. What no reader can go on from (a broken or
hostile archive) is a `RepositoryError` with its reason code; nothing here writes, follows a link or trusts a
size that an archive states about itself.
"""

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import zstandard

from corpus.storage import filesystem, is_local

VCS_FOLDERS = frozenset({".git", ".hg", ".svn", ".bzr", "CVS", ".jj"})
_READ = 1 << 16
_ZST_WINDOW = 1 << 27


class Limits(NamedTuple):
    """What one repository may cost before it is given up."""

    file_bytes: int = 1 << 20  # larger files are listed but not read
    held_bytes: int = 512 << 20  # text of one repository, which is sorted in memory
    total_bytes: int = 4 << 30  # decompressed, read or skipped
    entries: int = 100_000
    ratio: int = 200  # decompressed to compressed, once `ratio_from` bytes are out
    ratio_from: int = 64 << 20
    header_bytes: int = 1 << 20  # one extended tar header
    directory_bytes: int = 16 << 20  # a zip file's central directory
    depth: int = 64
    path_chars: int = 1024


class Entry(NamedTuple):
    """A file or something that stands where a file could: `kind` is file, symlink, hardlink or special."""

    path: str
    kind: str
    size: int
    read: Callable[[], bytes] | None = None
    detail: str = ""


LIMITS = Limits()


class EntryError(Exception):
    """One entry of an archive that cannot be read, while its neighbours can."""


class RepositoryError(Exception):
    """A whole repository that cannot be read: `reason` is a short code, `detail` says what was met."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def folder_entries(folder: str, limits: Limits) -> Iterator[Entry]:
    """Files below a folder. The insides of version control and `__pycache__` folders are no part of it."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in VCS_FOLDERS and f != "__pycache__")
        linked = [f for f in folders if os.path.islink(os.path.join(parent, f))]
        for name in sorted([*names, *linked]):
            path = os.path.join(parent, name)
            yield disk_entry(os.path.relpath(path, folder).replace(os.sep, "/"), path, limits)


def disk_entry(name: str, path: str, limits: Limits) -> Entry:
    """The entry of one file on disk; a pipe or a device is never opened."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return Entry(name, "unreadable", 0, None, type(error).__name__)
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, "symlink", 0, None, os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return Entry(name, "special", 0, None, "not a regular file")

    def read() -> bytes:
        with open(path, "rb") as file:
            return file.read(limits.file_bytes + 1)

    return Entry(name, "file", status.st_size, read)


def archive_entries(path: str, limits: Limits) -> Iterator[Entry]:
    """Entries of a tar (plain, gzip or zstd) or zip archive, told apart by their first bytes, in stored
    order.

    `read` of an entry is good until the next entry is asked for. `path` is local or an fsspec URL.
    """
    fs, inside = filesystem(path)
    try:
        file = open(inside, "rb") if is_local(path) else fs.open(inside, "rb")  # noqa: SIM115
    except OSError as error:
        raise RepositoryError("unreadable", type(error).__name__) from error
    with file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        magic = file.read(4)
        file.seek(0)
        if size == 0:
            raise RepositoryError("archive_broken", "the file is empty")
        if magic[:2] == b"PK":
            yield from _zip_entries(file, size, limits)
            return
        stream: IO[bytes] = file
        if magic[:2] == b"\x1f\x8b":
            stream = gzip.GzipFile(fileobj=file)
        elif magic == b"\x28\xb5\x2f\xfd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=_ZST_WINDOW)
            stream = decompressor.stream_reader(file, read_across_frames=True)
        yield from _tar_entries(_Metered(stream, size, limits), limits)


class _Metered:
    """A stream that gives up when more comes out of it than an honest archive of its size holds."""

    def __init__(self, stream: IO[bytes], compressed: int, limits: Limits) -> None:
        self.stream = stream
        self.most = min(limits.total_bytes, max(limits.ratio_from, limits.ratio * compressed))
        self.out = 0
        self.tail = b""

    def read(self, n: int) -> bytes:
        data = self.stream.read(n)
        self.out += len(data)
        self.tail = (self.tail + data)[-tarfile.BLOCKSIZE :]
        if self.out > self.most:
            raise RepositoryError("archive_bomb", f"more than {self.most} bytes decompressed")
        return data


class _TarInfo(tarfile.TarInfo):
    """Refuses huge extended headers (long names, pax records), which are read into memory whole."""

    max_header = LIMITS.header_bytes

    def _proc_member(self, archive):
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*extended, tarfile.SOLARIS_XHDTYPE) and self.size > self.max_header:
            raise RepositoryError("archive_bomb", f"a tar header of {self.size} bytes")
        return super()._proc_member(archive)


_TAR_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, zstandard.ZstdError, ValueError, struct.error)
_TAR_ERRORS += (OverflowError, IndexError, KeyError, RecursionError)


def _tar_entries(stream: _Metered, limits: Limits) -> Iterator[Entry]:
    try:
        archive = tarfile.open(  # noqa: SIM115
            fileobj=stream, mode="r|", tarinfo=_TarInfo, errors="surrogateescape", bufsize=_READ
        )
        while (member := archive.next()) is not None:
            archive.members = []  # it would keep one object an entry for ever
            if member.isdir():
                continue
            kind = "file" if member.isreg() else "symlink" if member.issym() else "hardlink"
            if not (member.isreg() or member.issym() or member.islnk()):
                kind = "special"
            if kind == "file":
                yield Entry(member.name, kind, member.size, lambda m=member: _read_tar(archive, m))
            else:
                yield Entry(member.name, kind, 0, None, member.linkname)
        # A damaged header looks like the end; what follows a real end is zeros. Reading on checks the
        # checksum.
        while rest := archive.fileobj.read(_READ):
            if rest.strip(b"\0"):
                raise RepositoryError("archive_broken", "data after the last readable entry")
        if stream.tail != bytes(tarfile.BLOCKSIZE):
            raise RepositoryError("archive_broken", "no end-of-archive mark: the file is cut short")
    except RepositoryError:
        raise
    except _TAR_ERRORS as error:
        raise RepositoryError("archive_broken", f"{type(error).__name__}: {error}"[:200]) from error


def _read_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        return archive.extractfile(member).read()
    except _TAR_ERRORS as error:
        raise RepositoryError("archive_broken", f"{type(error).__name__}: {error}"[:200]) from error


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError)
_ZIP_ERRORS += (struct.error, ValueError, OverflowError, IndexError)


def _zip_entries(file: IO[bytes], size: int, limits: Limits) -> Iterator[Entry]:
    try:
        _check_zip_directory(file, size, limits)
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise RepositoryError("archive_broken", f"{type(error).__name__}: {error}"[:200]) from error
    infos = archive.infolist()
    total = sum(info.file_size for info in infos)
    if total > limits.total_bytes or total > max(limits.ratio_from, limits.ratio * size):
        raise RepositoryError("archive_bomb", f"{total} bytes in a file of {size}")
    for info in infos:
        if info.is_dir():
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            yield Entry(info.filename, "symlink", 0)
        elif info.flag_bits & 1:
            yield Entry(info.filename, "broken", info.file_size, None, "encrypted")
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield Entry(info.filename, "broken", info.file_size, None, f"compression {info.compress_type}")
        else:
            yield Entry(info.filename, "file", info.file_size, lambda i=info: _read_zip(archive, i))


def _check_zip_directory(file: IO[bytes], size: int, limits: Limits) -> None:
    """The list of entries is read into memory at once, so its size is looked at first."""
    file.seek(max(0, size - 65_557))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise zipfile.BadZipFile("no end of central directory")
    (directory,) = struct.unpack("<I", tail[end + 12 : end + 16])
    if directory > limits.directory_bytes:
        raise RepositoryError("archive_bomb", f"a directory of {directory} bytes")


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as member:
            return member.read(info.file_size + 1)
    except _ZIP_ERRORS as error:
        raise EntryError(f"{type(error).__name__}: {error}"[:200]) from error
