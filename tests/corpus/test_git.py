"""Git repositories: what git itself says is in a commit, and repositories made to do harm."""

import collections
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import zlib

import pytest

from corpus.archives import LIMITS
from corpus.git import git_folder
from corpus.repositories import read_repository

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge here")
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    **{f"GIT_{who}_DATE": "1600000000 +0200" for who in ("AUTHOR", "COMMITTER")},
}


def git(folder, *arguments: str, data: bytes = b"") -> str:
    command = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *arguments]
    run = subprocess.run(command, cwd=folder, env=ENVIRONMENT, input=data, capture_output=True, check=True)
    return run.stdout.decode("utf-8", "surrogateescape").strip()


def rows_of(path, revision="HEAD", limits=LIMITS):
    return list(read_repository(str(path), "shelf", limits=limits, revision=revision))


def texts(rows):
    return {row["path"]: row["text"] for row in rows if row["reason"] is None}


def reasons(rows):
    return {row["path"]: row["reason"] for row in rows if row["reason"]}


@pytest.fixture
def repository(tmp_path) -> pathlib.Path:
    """Two commits on main, one on side, two tags, a link, an executable, a submodule; then an unstaged change."""
    folder = tmp_path / "repo"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("old = 1\n")
    (folder / "ünï.md").write_text("# Title\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/a.py")
    (folder / "data.bin").write_bytes(bytes(range(256)))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1")
    (folder / "src" / "a.py").write_text("new = 2\n")
    git(folder, "add", ".")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git(folder, "commit", "-qm", "two")
    git(folder, "tag", "-a", "-m", "a tag", "v2")
    git(folder, "tag", "-a", "-m", "a tag of a tag", "v2-again", "v2")
    git(folder, "branch", "side/way", "v1")
    (folder / "src" / "a.py").write_text("not committed\n")
    (folder / "untracked.py").write_text("x = 1\n")
    return folder


def agree(folder, revision):
    """The rows are what `git ls-tree` lists and `git cat-file` shows."""
    rows = {row["path"]: row for row in rows_of(folder, revision)}
    listed = git(folder, "ls-tree", "-r", "-z", revision).rstrip("\0").split("\0")
    assert rows.keys() == {line.split("\t", 1)[1] for line in listed}
    for line in listed:
        about, path = line.split("\t", 1)
        mode, _, blob = about.split()
        row = rows[path]
        if mode.startswith("100"):
            assert row["blob"] == blob
            assert row["size"] == int(git(folder, "cat-file", "-s", blob))
            if row["reason"] is None:
                assert row["text"].strip() == git(folder, "cat-file", "blob", blob)
        assert row["revision"] == git(folder, "rev-parse", f"{revision}^{{commit}}")
        assert int(row["updated"].timestamp()) == int(git(folder, "log", "-1", "--format=%ct", revision))
    return rows


def test_a_commit_is_what_git_says_it_is(repository, tmp_path):
    head = agree(repository, "HEAD")
    assert reasons(head.values()) == {"link": "symlink", "module": "special_file", "data.bin": "binary"}
    assert head["src/a.py"]["text"] == "new = 2\n" and head["link"]["detail"] == "src/a.py"
    assert head["module"]["detail"] == f"submodule {'1' * 40}"
    commit = git(repository, "rev-parse", "HEAD")
    first = git(repository, "rev-parse", "v1")
    for packed in (False, True):
        if packed:
            git(repository, "gc", "-q")
        for name in ("main", "v2", "v2-again", "refs/heads/main", commit, commit[:9]):
            assert rows_of(repository, name) == list(head.values()), name
        for name in ("v1", "side/way", first, first[:7]):
            assert texts(agree(repository, name).values())["src/a.py"] == "old = 1\n"
    git(tmp_path, "clone", "-q", "--bare", "repo", "repo.git")
    assert rows_of(tmp_path / "repo.git") == list(head.values())
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow/repo")
    assert rows_of(tmp_path / "shallow" / "repo") == list(head.values())
    assert rows_of(tmp_path / "shallow" / "repo", "origin/main") == list(head.values())


@pytest.mark.parametrize(
    "revision", ["nothing", "HEAD~1", "../../etc/passwd", "", "-x", "refs/", "0" * 40, "a" * 9999]
)
def test_an_unknown_revision_is_said(repository, revision):
    (row,) = rows_of(repository, revision)
    assert row["reason"] in ("no_such_revision", "repository_broken") and row["path"] == "repo"


def test_an_empty_repository(tmp_path):
    git(tmp_path, "init", "-q", "new")
    assert reasons(rows_of(tmp_path / "new")) == {"new": "empty_repository"}
    git(tmp_path / "new", "commit", "-q", "--allow-empty", "-m", "nothing")
    assert reasons(rows_of(tmp_path / "new")) == {"new": "empty_repository"}


def objects_of(repository):
    return repository / ".git" / "objects"


def loose(repository, name):
    return objects_of(repository) / name[:2] / name[2:]


def test_missing_and_damaged_objects(repository):
    blob = git(repository, "rev-parse", "HEAD:src/a.py")
    place = loose(repository, blob)
    whole = place.read_bytes()
    place.unlink()
    (row,) = [row for row in rows_of(repository) if row["path"] == "src/a.py"]
    assert (row["reason"], row["blob"]) == ("unreadable", blob) and "missing" in row["detail"]
    place.write_bytes(zlib.compress(b"blob 8\0evil = 3"))  # its hash is another one
    assert reasons(rows_of(repository))["src/a.py"] == "unreadable"
    place.write_bytes(whole[:-6])
    assert reasons(rows_of(repository))["src/a.py"] == "unreadable"
    place.write_bytes(whole)
    assert "src/a.py" not in reasons(rows_of(repository))
    loose(repository, git(repository, "rev-parse", "HEAD:src")).unlink()
    assert reasons(rows_of(repository)) == {"repo": "repository_broken"}


@pytest.mark.parametrize("at", [0, 5, 12, 40, 100, -1, -25])
def test_a_damaged_pack_costs_itself(repository, at):
    git(repository, "gc", "-q", "--aggressive")
    (pack,) = objects_of(repository).glob("pack/*.pack")
    data = bytearray(pack.read_bytes())
    data[at] ^= 0x55
    pack.chmod(0o644)
    pack.write_bytes(data)
    known = {path: row["blob"] for path, row in agree_or_nothing(repository).items()}
    rows = rows_of(repository)
    assert rows
    for row in rows:  # nothing that is read is anything but what git's name of it says
        if row["reason"] is None:
            content = row["text"].encode()
            assert row["blob"] == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            assert known.get(row["path"], row["blob"]) == row["blob"]


def agree_or_nothing(repository):
    try:
        return agree(repository, "HEAD")
    except (AssertionError, subprocess.CalledProcessError):
        return {}


def test_a_truncated_index_or_pack_is_a_broken_repository(repository):
    git(repository, "gc", "-q")
    for suffix in ("idx", "pack"):
        (file,) = objects_of(repository).glob(f"pack/*.{suffix}")
        whole = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(whole[: len(whole) // 3])
        assert set(reasons(rows_of(repository)).values()) & {"repository_broken", "unreadable"}
        file.write_bytes(whole)
    assert texts(rows_of(repository))


def test_nothing_outside_the_repository_is_read(repository, tmp_path):
    shutil.copytree(repository, tmp_path / "secret")
    # Objects by way of alternates.
    shutil.rmtree(objects_of(repository))
    (objects_of(repository) / "info").mkdir(parents=True)
    (objects_of(repository) / "info" / "alternates").write_text(f"{tmp_path}/secret/.git/objects\n")
    (row,) = rows_of(repository)
    assert row["reason"] == "repository_broken" and "alternates" in row["detail"]
    # Objects by way of a link; a pipe among them.
    shutil.rmtree(objects_of(repository))
    objects_of(repository).symlink_to(tmp_path / "secret" / ".git" / "objects")
    assert reasons(rows_of(repository)) == {"repo": "repository_broken"}
    objects_of(repository).unlink()
    shutil.copytree(tmp_path / "secret" / ".git" / "objects", objects_of(repository))
    os.mkfifo(objects_of(repository) / "pack" / "pack-1.idx")
    assert reasons(rows_of(repository)) == {"repo": "repository_broken"}
    # References by way of names, links and pipes.
    (objects_of(repository) / "pack" / "pack-1.idx").unlink()
    for name in (
        "ref: ../../secret/.git/refs/heads/main",
        "ref: /etc/passwd",
        "ref: refs/heads/../../../x",
        "x" * 9999,
    ):
        (repository / ".git" / "HEAD").write_text(name)
        assert reasons(rows_of(repository)) == {"repo": "no_such_revision"}
    (repository / ".git" / "HEAD").unlink()
    os.mkfifo(repository / ".git" / "HEAD")
    assert reasons(rows_of(repository)) == {"repo": "no_such_revision"}


def test_a_pointer_to_a_repository_elsewhere_is_not_followed(repository, tmp_path):
    for name in ("file", "link"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.py").write_text("x = 1\n")
    (tmp_path / "file" / ".git").write_text(f"gitdir: {repository}/.git\n")
    (tmp_path / "link" / ".git").symlink_to(repository / ".git")
    for name in ("file", "link"):
        assert git_folder(str(tmp_path / name)) is None
        rows = rows_of(tmp_path / name)
        assert texts(rows)["a.py"] == "x = 1\n" and {row["revision"] for row in rows} == {None}
    (tmp_path / "half" / ".git").mkdir(parents=True)
    (tmp_path / "half" / "a.py").write_text("x = 1\n")
    assert reasons(rows_of(tmp_path / "half")) == {"half": "repository_broken"}


def test_configuration_and_hooks_have_no_say(repository, tmp_path):
    expected = rows_of(repository)
    os.mkfifo(tmp_path / "pipe")
    ran = tmp_path / "ran"
    with open(repository / ".git" / "config", "a", encoding="utf-8") as config:
        config.write(f'[include]\n\tpath = {tmp_path}/pipe\n[core]\n\tfsmonitor = "touch {ran}"\n')
        config.write(
            f'\tsshCommand = "touch {ran}"\n\tworktree = /etc\n[filter "x"]\n\tsmudge = "touch {ran}"\n'
        )
        config.write('[remote "origin"]\n\tpromisor = true\n[extensions]\n\tpartialClone = origin\n')
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text("* filter=x\n")
    (repository / ".git" / "commondir").write_text("/etc\n")
    assert rows_of(repository) == expected and not ran.exists()


@pytest.mark.parametrize(("key", "value"), [("objectformat", "sha256"), ("refstorage", "reftable")])
def test_kinds_that_are_not_read(repository, key, value):
    with open(repository / ".git" / "config", "a", encoding="utf-8") as config:
        config.write(f"[extensions]\n\t{key} = {value}\n")
    (row,) = rows_of(repository)
    assert row["reason"] == "repository_broken" and value in row["detail"].lower()


def put(repository, kind: str, data: bytes) -> str:
    return git(repository, "hash-object", "-w", "--literally", "-t", kind, "--stdin", data=data)


def commit_of(repository, tree: str) -> str:
    text = f"tree {tree}\nauthor a <b> 1600000000 +0000\ncommitter a <b> 1600000000 +0000\n\nm\n"
    return put(repository, "commit", text.encode())


def tree_entry(mode: str, name: bytes, blob: str) -> bytes:
    return mode.encode() + b" " + name + b"\0" + bytes.fromhex(blob)


def test_hostile_trees(repository):
    blob = put(repository, "blob", b"x = 1\n")
    names = [b"..", b"../up.py", b"/etc/passwd", b"a/b.py", b"c:\\x.py", b"\xff.py", b"new\nline", b"good.py"]
    inside = put(repository, "tree", tree_entry("100644", b"passwd", blob))
    entries = b"".join(tree_entry("100644", name, blob) for name in names)
    entries += tree_entry("100644", b"good.py", blob) + tree_entry("120000", b"link", blob)
    entries += tree_entry("40000", b"..", inside) + tree_entry("40000", b".git", inside)
    entries += tree_entry("20000", b"device", blob) + tree_entry("100644", b"tree.py", inside)
    rows = rows_of(repository, commit_of(repository, put(repository, "tree", entries)))
    found = collections.Counter(row["reason"] for row in rows)
    expected = {
        None: 1,
        "duplicate_path": 1,
        "unsafe_path": 8,
        "symlink": 1,
        "special_file": 1,
        "unreadable": 1,
    }
    assert found == expected
    assert texts(rows) == {"good.py": "x = 1\n"}


def test_trees_without_end(repository):
    blob = put(repository, "blob", b"x = 1\n")
    tree = put(repository, "tree", tree_entry("100644", b"a.py", blob))
    for _ in range(100):  # a hundred folders deep
        tree = put(repository, "tree", tree_entry("40000", b"d", tree))
    assert list(reasons(rows_of(repository, commit_of(repository, tree))).values()) == ["unsafe_path"]
    tree = put(repository, "tree", b"")
    for _ in range(10):  # ten to the tenth folders, no file
        tree = put(repository, "tree", b"".join(tree_entry("40000", b"d%d" % i, tree) for i in range(10)))
    rows = rows_of(repository, commit_of(repository, tree), LIMITS._replace(entries=3000))
    assert reasons(rows) == {"repo": "too_many_files"}
    for damage in (b"100644 a", b"100644 a\0" + b"1" * 19, b"x" * 50, b"999999 a\0" + b"1" * 20):
        commit = commit_of(repository, put(repository, "tree", damage))
        assert reasons(rows_of(repository, commit)) == {"repo": "repository_broken"}
    assert reasons(rows_of(repository, put(repository, "commit", b"nonsense"))) == {
        "repo": "repository_broken"
    }


def pack_header(kind: int, size: int) -> bytes:
    byte, size, out = (kind << 4) | (size & 15), size >> 4, b""
    while size:
        out, byte, size = out + bytes([byte | 0x80]), size & 0x7F, size >> 7
    return out + bytes([byte])


def number(value: int) -> bytes:
    out = b""
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


FRESH = """
import json, sys
import corpus.git
from corpus.repositories import read_repository
corpus.git._ALLOWANCE = 32 << 20
rows = read_repository(sys.argv[1], "shelf", revision=sys.argv[2])
print(json.dumps({row["path"]: [row["reason"], row["detail"]] for row in rows}))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="only where /proc tells how much is held")
def test_a_delta_bomb_costs_little_memory(repository):
    """Ten bytes that are copied out of a large object; in a new process, which holds no memory to spare."""
    size = 64 << 20
    compressor, named = zlib.compressobj(9), hashlib.sha1(b"blob %d\0" % size)
    zeros = bytes(1 << 20)
    body = []
    for _ in range(size >> 20):
        body.append(compressor.compress(zeros))
        named.update(zeros)
    body.append(compressor.flush())
    delta = number(size) + number(10) + bytes([0x90, 10])
    pack = b"PACK" + struct.pack(">II", 2, 2) + pack_header(3, size) + b"".join(body)
    pack += pack_header(7, len(delta)) + named.digest() + zlib.compress(delta)
    pack += hashlib.sha1(pack).digest()
    place = objects_of(repository) / "pack" / "bomb.pack"
    place.write_bytes(pack)
    git(repository, "index-pack", str(place))
    for suffix in ("pack", "idx"):
        os.rename(
            place.with_suffix(f".{suffix}"),
            place.with_name(f"pack-{hashlib.sha1(pack).hexdigest()}.{suffix}"),
        )
    small = hashlib.sha1(b"blob 10\0" + bytes(10)).hexdigest()
    entries = tree_entry("100644", b"large", named.hexdigest()) + tree_entry("100644", b"small", small)
    commit = commit_of(repository, put(repository, "tree", entries))
    command = [sys.executable, "-c", FRESH, str(repository), commit]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert {path: reason for path, (reason, _) in found.items()} == {
        "large": "too_large",
        "small": "unreadable",
    }
    assert "memory" in found["small"][1]


def test_trees_that_take_memory_or_time_are_given_up(repository):
    """Folders that wait are counted as they are found, and so are the bytes of trees."""
    tree = put(repository, "tree", tree_entry("100644", b"a.py", put(repository, "blob", b"x = 1\n")))
    wide = b"".join(tree_entry("40000", b"d%05d" % i, tree) for i in range(3000))
    commit = commit_of(repository, put(repository, "tree", wide))
    (row,) = rows_of(repository, commit, LIMITS._replace(entries=2999))
    assert row["reason"] == "too_many_files" and "folders" in row["detail"]
    long = put(repository, "tree", tree_entry("100644", b"n" * 100_000, "1" * 40))
    wide = b"".join(tree_entry("40000", b"d%05d" % i, long) for i in range(100))
    commit = commit_of(repository, put(repository, "tree", wide))
    assert reasons(rows_of(repository, commit, LIMITS._replace(headers_bytes=1 << 20))) == {
        "repo": "archive_bomb"
    }


def test_references_a_thousand_folders_deep(tmp_path):
    git(tmp_path, "init", "-q", "--bare", "repo.git")
    place = os.open(tmp_path / "repo.git" / "refs", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=place)
        inside = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inside
    os.close(place)
    assert list(reasons(rows_of(tmp_path / "repo.git")).values()) == ["empty_repository"]
    # What cleans up after tests calls itself for each level.
    subprocess.run(["rm", "-rf", tmp_path / "repo.git"], check=True)


def test_a_branch_of_any_letters(repository):
    git(repository, "branch", "größe/変更", "v1")
    assert texts(rows_of(repository, "größe/変更"))["src/a.py"] == "old = 1\n"


def test_a_name_of_any_bytes_among_the_objects(repository):
    os.symlink("x", os.fsencode(repository / ".git" / "objects") + b"/\xe9")
    (row,) = rows_of(repository)
    assert row["reason"] == "repository_broken" and row["detail"].encode().startswith(b"\\udce9 among")
