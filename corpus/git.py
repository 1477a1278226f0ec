"""The files of a commit in a git repository on disk, bare or with a work tree.

Only the object database and the names of commits (`HEAD`, `refs/`, `packed-refs`) are looked at. libgit2, by
pygit2, reads the objects: dulwich, in Python, takes several times as long, and the `git` program cannot be kept
from a repository's own configuration. No repository is opened as such, so that neither its configuration with
its includes, nor hooks, filters, attributes or promisor remotes have a say, and `objects/info/alternates`,
which may name any folder, is not followed: what lies there is missing. A link or a pipe among the objects makes
the repository broken. libgit2 checks the hash of each object it reads. It unpacks what a delta builds on
whatever its size, so what it may allocate and how long it may take are bounded here.
"""

import contextlib
import hashlib
import os
import re
import resource
import stat
import time
import zlib
from collections.abc import Callable, Iterator

import pygit2
from pygit2.enums import ObjectType

from corpus.archives import LINK_BYTES, Entry, EntryError, Limits, RepositoryError, walk

_ALLOWANCE = 256 << 20  # bytes that libgit2 may allocate for one object
_SECONDS = 30  # of processor time for unpacking, and one more for each so many bytes:
_BYTES_A_SECOND = 1 << 20
_TREE_ENTRY = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{20})", re.S)
_ID = re.compile(r"[0-9a-f]{40}")
_LOOSE = re.compile(rb"(blob|tree|commit|tag) (\d{1,15})")
_KINDS = {
    kind.name.lower().encode(): kind
    for kind in (ObjectType.BLOB, ObjectType.TREE, ObjectType.COMMIT, ObjectType.TAG)
}
_REVISION = re.compile(r"(?!.*\.\.)(?!.*//)[\w@+#=,%-][\w./@+#=,%-]*")
_SPECIAL = re.compile(r"[A-Z_]*HEAD")
_REFS_BYTES = 64 << 20


def git_folder(folder: str) -> str | None:
    """Where the git repository in a folder is: its `.git`, the folder itself if it is bare, None if there is
    none.

    A `.git` that is a file or a link leads elsewhere and is not followed.
    """
    inside = os.path.join(folder, ".git")
    if _is(inside, stat.S_ISDIR):
        return inside
    if _is(os.path.join(folder, "HEAD"), stat.S_ISREG) and all(
        _is(os.path.join(folder, name), stat.S_ISDIR) for name in ("objects", "refs")
    ):
        return folder
    return None


def is_git(folder: str) -> bool:
    return git_folder(folder) is not None


def git_entries(folder: str, revision: str, limits: Limits) -> tuple[str, float, Iterator[Entry]]:
    """A commit's id, its time (seconds since 1970) and its files, in git's order.

    `folder` is as `git_folder` gives it; `revision` a branch, a tag, any name below `refs/` or (the beginning
    of) a commit's id. Reasons: `no_such_revision`, `empty_repository`, `repository_broken` (a commit or a tree
    is missing or damaged, or the repository is of a kind that is not read: SHA-256, reftable), `archive_bomb`,
    `too_many_files`.
    """
    _check_format(folder)
    objects = _Objects(os.path.join(folder, "objects"))
    commit = _peel(objects, _resolve(folder, objects, revision), revision, limits)
    text = objects.whole(commit, ObjectType.COMMIT, limits.header_bytes)
    tree = re.match(rb"tree ([0-9a-f]{40})\n", text)
    if tree is None:
        raise RepositoryError("repository_broken", f"the commit {commit} has no tree")
    # The last line of the header of that name; the message cannot hold one before the empty line.
    committer = re.search(rb"\ncommitter [^\n]*> (\d{1,12}) [+-]\d+\n", text.split(b"\n\n", 1)[0] + b"\n")
    updated = float(committer[1]) if committer else 0.0
    return commit, updated, _files(objects, tree[1].decode(), limits)


def _files(objects: "_Objects", root: str, limits: Limits) -> Iterator[Entry]:
    trees = [("", root, 0)]
    seen = size = 0
    while trees:
        folder, name, depth = trees.pop()
        seen += 1
        data = objects.whole(name, ObjectType.TREE, limits.directory_bytes)
        size += len(data)
        if size > limits.headers_bytes:
            raise RepositoryError("archive_bomb", f"more than {limits.headers_bytes} bytes of trees")
        at = 0
        inside = []
        while at < len(data):
            entry = _TREE_ENTRY.match(data, at)
            if entry is None:
                raise RepositoryError("repository_broken", f"the tree {name} is damaged")
            at = entry.end()
            mode, file, blob = int(entry[1], 8), entry[2].decode("utf-8", "surrogateescape"), entry[3].hex()
            path = f"{folder}{file}"
            if "/" in file:
                yield Entry(path, "unsafe_path", 0, None, "a slash in a name")
            elif stat.S_ISDIR(mode):
                if seen + len(trees) + len(inside) >= limits.entries:
                    raise RepositoryError("too_many_files", f"more than {limits.entries} folders")
                if depth < limits.depth and len(path) < limits.path_chars and file not in (".", ".."):
                    inside.append((f"{path}/", blob, depth + 1))
                else:
                    yield Entry(path, "unsafe_path", 0, None, "a folder too deep, too long a name or ..")
            elif stat.S_ISREG(mode):
                yield _file(objects, path, blob, limits)
            elif stat.S_ISLNK(mode):
                yield Entry(path, "symlink", 0, None, _target(objects, blob))
            else:
                kind = "submodule" if entry[1] == b"160000" else f"mode {mode:o}"
                yield Entry(path, "special_file", 0, None, f"{kind} {blob}")
        trees += reversed(inside)


def _file(objects: "_Objects", path: str, blob: str, limits: Limits) -> Entry:
    try:
        size = objects.size(blob, ObjectType.BLOB)
    except EntryError as error:
        return Entry(path, "unreadable", 0, None, str(error), None, blob)
    return Entry(path, "file", size, lambda: objects.read(blob, size), "", None, blob)


def _target(objects: "_Objects", blob: str) -> str:
    try:
        size = objects.size(blob, ObjectType.BLOB)
        if size > LINK_BYTES:
            return f"{size} bytes"
        return objects.read(blob, size).decode("utf-8", "surrogateescape")
    except EntryError as error:
        return str(error)


class _Objects:
    """The object database of a repository: `EntryError` where an object is missing or damaged."""

    def __init__(self, folder: str) -> None:
        _check_files(folder)
        self.folder = folder
        self.fanout = set(os.listdir(folder))
        self.alternates = os.path.exists(os.path.join(folder, "info", "alternates"))
        try:
            self.packs = pygit2.Odb()
            self.packs.add_backend(pygit2.OdbBackendPack(folder), 1)
        except (pygit2.GitError, OSError) as error:
            raise RepositoryError("repository_broken", f"{type(error).__name__}: {error}"[:200]) from error
        self.seconds = float(_SECONDS)
        self.most = _data_bytes() + _ALLOWANCE

    def size(self, name: str, kind: ObjectType) -> int:
        loose = self._loose(name, 0)
        found, size = loose[:2] if loose else self._ask(self.packs.read_header, name)
        if found != kind:
            raise EntryError(f"the object {name} is no {kind.name.lower()}", "unreadable")
        return size

    def read(self, name: str, size: int) -> bytes:
        loose = self._loose(name, size)
        data = loose[2] if loose else self._ask(self.packs.read, name)[1]
        self.seconds += len(data) / _BYTES_A_SECOND
        if len(data) != size:
            raise EntryError(f"the object {name} is damaged", "unreadable")
        return data

    def _loose(self, name: str, most: int) -> tuple[int, int, bytes] | None:
        """Kind, size and up to `most` bytes of an object in a file of its own; whole ones are checked.

        libgit2 1.9 never comes back from such a file that is cut short.
        """
        if name[:2] not in self.fanout:
            return None
        try:
            with open(os.path.join(self.folder, name[:2], name[2:]), "rb", buffering=0) as file:
                packed = file.read(most + most // 256 + 4096)
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(packed, most + 64)
        except FileNotFoundError:
            return None
        except (OSError, zlib.error) as error:
            raise EntryError(f"the object {name} is damaged ({error})"[:200], "unreadable") from error
        header, nul, content = data.partition(b"\0")
        stated = _LOOSE.fullmatch(header)
        if not stated or not nul:
            raise EntryError(f"the object {name} is damaged (no header)", "unreadable")
        kind, size = _KINDS[stated[1]], int(stated[2])
        if size == most and (len(content) != size or hashlib.sha1(data).hexdigest() != name):
            raise EntryError(f"the object {name} is damaged (not what it is named after)", "unreadable")
        return kind, size, content

    def find(self, prefix: str) -> str | None:
        """The id of the one object whose id begins with `prefix`."""
        found = set()
        if prefix[:2] in self.fanout:
            names = (prefix[:2] + name for name in os.listdir(os.path.join(self.folder, prefix[:2])))
            found = {name for name in names if name.startswith(prefix) and _ID.fullmatch(name)}
        with contextlib.suppress(EntryError):
            kind, data = self._ask(self.packs.read, prefix)
            header = b"%s %d\0" % (ObjectType(kind).name.lower().encode(), len(data))
            found.add(hashlib.sha1(header + data).hexdigest())
        return found.pop() if len(found) == 1 else None

    def whole(self, name: str, kind: ObjectType, most: int) -> bytes:
        """An object without which the repository cannot be read."""
        try:
            size = self.size(name, kind)
            if size > most:
                raise RepositoryError("archive_bomb", f"a {kind.name.lower()} of {size} bytes")
            return self.read(name, size)
        except EntryError as error:
            raise RepositoryError("repository_broken", str(error)) from error

    def _ask(self, question: Callable, name: str) -> tuple[int, bytes | int]:
        began = time.thread_time()
        try:
            try:
                with self._bounded():
                    return question(name)
            except MemoryError:  # it may be the rest of the process that has grown
                self.most = _data_bytes() + _ALLOWANCE
                with self._bounded():
                    return question(name)
        except KeyError as error:
            where = "; objects of other repositories (alternates) are not read" if self.alternates else ""
            raise EntryError(f"the object {name} is missing{where}", "unreadable") from error
        except MemoryError as error:
            raise EntryError(f"the object {name} takes too much memory to unpack", "unreadable") from error
        except (pygit2.GitError, ValueError, OSError) as error:
            raise EntryError(f"the object {name} is damaged ({error})"[:200], "unreadable") from error
        finally:
            self.seconds -= time.thread_time() - began
            if self.seconds < 0:
                raise RepositoryError("archive_bomb", "the objects take too long to unpack")

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        """Nothing may be allocated beyond an allowance (where the system knows how much is)."""
        if self.most <= _ALLOWANCE:
            yield
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (self.most if soft < 0 else min(soft, self.most), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """Bytes of memory the process may write to, 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read().split()[5]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


def _check_files(folder: str) -> None:
    """Objects are plain files in plain folders: a link could lead out, a pipe could wait for ever."""
    if not _is(folder, stat.S_ISDIR):
        raise RepositoryError("repository_broken", "its objects are in no folder of its own")
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif not entry.is_file(follow_symlinks=False):
                        raise RepositoryError(
                            "repository_broken", f"{entry.name} among its objects is no file"
                        )
        except OSError as error:
            raise RepositoryError("repository_broken", f"objects: {type(error).__name__}") from error


def _check_format(folder: str) -> None:
    config = _text(os.path.join(folder, "config"), 1 << 20) or ""
    found = re.search(r"(?im)^\s*objectformat\s*=\s*\"?(\w+)", config)
    if found and found[1].lower() != "sha1":
        raise RepositoryError(
            "repository_broken", f"its objects are named by {found[1].lower()}, not by SHA-1"
        )
    found = re.search(r"(?im)^\s*refstorage\s*=\s*\"?(\w+)", config)
    if found and found[1].lower() != "files":
        raise RepositoryError(
            "repository_broken", f"its references are stored as {found[1].lower()}, not as files"
        )


def _resolve(folder: str, objects: _Objects, revision: str) -> str:
    """The id of the object that a revision names."""
    if not _REVISION.fullmatch(revision):
        raise RepositoryError("no_such_revision", f"{revision[:100]!r} is no branch, tag or commit")
    names = [f"refs/tags/{revision}", f"refs/heads/{revision}"]
    names += [f"refs/remotes/{revision}", f"refs/remotes/origin/{revision}", f"refs/remotes/{revision}/HEAD"]
    if _SPECIAL.fullmatch(revision):
        names.insert(0, revision)
    if revision.startswith("refs/"):
        names.insert(0, revision)
    packed = _text(os.path.join(folder, "packed-refs"), _REFS_BYTES) or ""
    for name in names:
        for _ in range(5):
            value = _text(os.path.join(folder, name), 4096)
            if value is None:
                found = re.search(rf"(?m)^({_ID.pattern}) {re.escape(name)}\r?$", packed)
                value = found[1] if found else ""
            value = value.strip()
            if _ID.fullmatch(value):
                return value
            target = value.removeprefix("ref:").strip()
            if (
                not value.startswith("ref:")
                or not target.startswith("refs/")
                or not _REVISION.fullmatch(target)
            ):
                break
            name = target
    if re.fullmatch("[0-9a-f]{4,40}", revision) and (found := objects.find(revision)):
        return found
    if (
        revision == "HEAD"
        and not packed
        and not any(files for _, files in walk(os.path.join(folder, "refs"), frozenset(), []))
    ):
        raise RepositoryError("empty_repository", "no commit yet")
    raise RepositoryError("no_such_revision", f"no branch, tag or commit {revision!r}")


def _peel(objects: _Objects, name: str, revision: str, limits: Limits) -> str:
    """The commit that a tag, or a tag of a tag, stands on."""
    for _ in range(10):
        try:
            objects.size(name, ObjectType.COMMIT)
            return name
        except EntryError as error:
            not_a_commit = error
        try:
            objects.size(name, ObjectType.TAG)
        except EntryError:
            raise RepositoryError("repository_broken", f"{revision}: {not_a_commit}") from not_a_commit
        found = re.match(
            rb"object ([0-9a-f]{40})\n", objects.whole(name, ObjectType.TAG, limits.header_bytes)
        )
        if found is None:
            break
        name = found[1].decode()
    raise RepositoryError("no_such_revision", f"{revision} leads to no commit")


def _text(path: str, most: int) -> str | None:
    """A small plain file, or None; what is longer than `most` bytes is no such file."""
    try:
        if not _is(path, stat.S_ISREG):
            return None
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError:
        return None
    return data.decode("utf-8", "replace") if len(data) <= most else None


def _is(path: str, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False
