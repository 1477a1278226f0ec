"""Repository readers: real archives with known oddities, hostile ones, the same rows from every container."""

import bz2
import collections
import gzip
import io
import json
import lzma
import os
import pickle
import resource
import shutil
import subprocess
import tarfile
import tempfile
import tracemalloc
import zipfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import repositories
from corpus.archives import LIMITS
from corpus.errors import LodeError
from corpus.repositories import (
    FILE,
    RepositoryFiles,
    is_date,
    read_repository,
    repository_batches,
    repository_name,
    repository_paths,
    understand,
)
from corpus.schema import document_id, with_verdict

FILES = {
    "top-1.0/setup.py": b"import os\nprint('x')\n",
    "top-1.0/src/a.c": b"int main(void) { return 0; }\n",
    "top-1.0/src/caf\xc3\xa9.py": "x = 'e\u0301'\n".encode(),
    "top-1.0/_vendor/six.py": b"pass\n",
    "top-1.0/empty.py": b"",
}


def tar(files: dict[str, bytes], extra=()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name if isinstance(name, str) else name.decode())
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info, data in extra:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def rows_of(path, **arguments):
    return list(read_repository(str(path), "shelf", **arguments))


def undated(rows):
    """Rows without what only some containers state; git knows the blobs of files that are not read."""
    unread = {"build_artefact", "too_large"}
    return [
        row | {"updated": None, "revision": None, "blob": None if row["reason"] in unread else row["blob"]}
        for row in rows
    ]


def reasons(rows):
    return {row["path"]: row["reason"] for row in rows if row["reason"]}


@pytest.fixture
def write(tmp_path):
    def write(name: str, data: bytes):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def decoded(files):
    return {name.encode("latin-1").decode("utf-8"): data for name, data in files.items()}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_every_container_gives_the_same_rows(write, tmp_path):
    files = decoded(FILES)
    plain = tar(files)
    backwards = tar(dict(reversed(files.items())))
    paths = [
        write("r.tar", plain),
        write("r.tar.gz", gzip.compress(backwards)),
        write("r.tgz", gzip.compress(plain)),
        write("r.tar.zst", zstandard.ZstdCompressor().compress(plain)),
        write("r.zip", zipped(files)),
    ]
    for name, data in files.items():
        place = tmp_path / "folder" / "r" / name.removeprefix("top-1.0/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    expected = undated(rows_of(paths[0]))
    assert [row["path"] for row in expected] == [
        "_vendor/six.py",
        "empty.py",
        "setup.py",
        "src/a.c",
        "src/café.py",
    ]
    for path in [*paths[1:], tmp_path / "folder" / "r"]:
        assert undated(rows_of(path)) == expected, path
    by_path = {row["path"]: row for row in expected}
    assert by_path["src/a.c"]["language"] == "C" and by_path["setup.py"]["language"] == "Python"
    assert by_path["src/a.c"]["id"] == document_id("shelf", "r\nsrc/a.c")
    assert by_path["src/café.py"]["text"] == "x = 'é'\n"  # NFC
    assert by_path["_vendor/six.py"]["vendored"] and not by_path["setup.py"]["vendored"]
    assert all(row["reason"] is None for row in expected)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge of blob names")
def test_blobs_are_gits(write):
    for row in rows_of(write("r.tar", tar(FILES))):
        data = FILES[f"top-1.0/{row['path']}"] if row["path"].isascii() else None
        if data is not None:
            result = subprocess.run(
                ["git", "hash-object", "--stdin"], input=data, capture_output=True, check=True
            )
            assert row["blob"] == result.stdout.decode().strip()


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b""


def test_hostile_entries_cost_themselves(write, tmp_path):
    files = {
        "r/good.py": b"x = 1\n",
        "r/twice.py": b"old\n",
        "/etc/passwd": b"root\n",
        "r/../../up.py": b"x\n",
        "r/C:/x.py": b"x\n",
        "C:\\x.py": b"x\n",
        "r/a\nb.py": b"x\n",
        "r/" + "d/" * 80 + "deep.py": b"x\n",
        "r/big.bin": bytes(LIMITS.file_bytes + 1),
        "r/image.png": b"\x89PNG\0\0",
        "r/module.pyc": b"\0",
        "r/.git/config": b"[core]\n",
        "r/latin.py": "# coding: latin-1\n# Größe und Länge, für die Übung, daß es schön wäre\n".encode(
            "latin-1"
        ),
        "r/utf16.txt": "\ufeffhello".encode("utf-16-le"),
        "r/noise.dat": bytes(range(1, 256)) * 8,
    }
    extra = [
        link("r/link", "/etc/passwd"),
        link("r/hard", "r/good.py", tarfile.LNKTYPE),
        link("r/pipe", "", tarfile.FIFOTYPE),
        (tarfile.TarInfo("r/twice.py"), b""),
    ]
    before = sorted(os.listdir(tmp_path))
    rows = rows_of(write("r.tar.gz", gzip.compress(tar(files, extra))))
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "r.tar.gz"])
    found = collections.Counter(row["reason"] for row in rows)
    assert found == {
        None: 4,
        "unsafe_path": 6,
        "too_large": 1,
        "binary": 2,
        "build_artefact": 1,
        "symlink": 1,
        "hardlink": 1,
        "special_file": 1,
        "duplicate_path": 1,
    }
    texts = {row["path"]: row["text"] for row in rows if row["reason"] is None}
    assert set(texts) == {"good.py", "latin.py", "utf16.txt", "twice.py"}
    assert texts["twice.py"] == "" and texts["utf16.txt"] == "hello" and "Größe" in texts["latin.py"]
    assert all(row["text"] is None for row in rows if row["reason"])


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.tar.gz", gzip.compress(tar({}), mtime=0), "empty_repository"),
        ("nothing.tar.gz", b"", "archive_broken"),
        ("words.tar", b"these are just words" * 100, "archive_broken"),
        ("words.zip", b"these are just words" * 100, "archive_broken"),
        (
            "cut.tar.gz",
            gzip.compress(tar({f"r/{i}.py": b"x = 1\n" * 99 for i in range(50)}), mtime=0)[:-40],
            "archive_broken",
        ),
        ("cut.tar", tar({f"r/{i}.py": b"x = 1\n" * 999 for i in range(50)})[:100_000], "archive_broken"),
        ("cut.zip", zipped({f"r/{i}.py": b"x" for i in range(50)})[:-30], "archive_broken"),
        ("notes.txt", b"no archive", "not_a_repository"),
    ],
)
def test_a_broken_archive_is_one_row(write, name, data, reason):
    (row,) = rows_of(write(name, data))
    assert (row["reason"], row["path"], row["text"]) == (reason, name, None)


def test_a_wrong_checksum_is_found(write):
    data = bytearray(gzip.compress(tar({"r/a.py": b"x = 1\n"})))
    data[-8] ^= 0xFF
    assert rows_of(write("r.tar.gz", bytes(data)))[0]["reason"] == "archive_broken"
    data = bytearray(zipped({"r/a.py": b"x = 1\n", "r/b.py": b"y = 2\n"}))
    first = data.index(b"r/a.py") + 6
    data[first + 2] ^= 0xFF
    assert reasons(rows_of(write("r.zip", bytes(data)))) == {"a.py": "archive_broken"}


def test_a_damaged_header_in_the_middle_is_no_end(write):
    data = bytearray(tar({f"r/{i}.py": b"x\n" for i in range(20)}))
    data[1024 * 5 + 150] ^= 0xFF
    assert rows_of(write("r.tar", bytes(data)))[0]["reason"] == "archive_broken"


NAMES = st.text("abcdé.中 -_", min_size=1, max_size=8).filter(lambda n: n.strip(".") and n == n.strip())
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace"))),
    min_size=1,
    max_size=8,
)


def as_git(folder, files: dict[str, bytes]) -> None:
    subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
    stream = b"commit refs/heads/main\ncommitter a <b> 1600000000 +0000\ndata 0\n"
    for name, data in files.items():
        quoted = b"".join(b"\\%03o" % byte for byte in name.encode())
        stream += b'M 100644 inline "%s"\ndata %d\n%s\n' % (quoted, len(data), data)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, input=stream, check=True)
    with open(os.path.join(folder, "HEAD"), "w") as head:
        head.write("ref: refs/heads/main\n")


@pytest.mark.skipif(shutil.which("git") is None, reason="one of the containers is a git repository")
@settings(max_examples=25)
@given(TREES)
def test_any_tree_is_the_same_in_every_container(files):
    # A path that is another's folder cannot be; nor is the top folder known that all would share.
    files = {
        name: data for name, data in files.items() if not any(other.startswith(name + "/") for other in files)
    }
    files["top.txt"] = b"x"
    with tempfile.TemporaryDirectory() as place:
        packed = {f"r-1.0/{name}": data for name, data in files.items()}
        plain = tar(packed)
        for suffix, data in {
            "tar": tar(dict(reversed(packed.items()))),
            "tar.gz": gzip.compress(plain),
            "tar.bz2": bz2.compress(plain),
            "tar.xz": lzma.compress(plain),
            "tar.lzma": lzma.compress(plain, lzma.FORMAT_ALONE),
            "tar.zst": zstandard.ZstdCompressor().compress(plain),
            "zip": zipped(packed),
        }.items():
            with open(f"{place}/r.{suffix}", "wb") as file:
                file.write(data)
        as_git(f"{place}/r.git", files)
        for name, data in files.items():
            os.makedirs(os.path.dirname(f"{place}/r/{name}"), exist_ok=True)
            with open(f"{place}/r/{name}", "wb") as file:
                file.write(data)
        found = {name: undated(rows_of(f"{place}/{name}")) for name in sorted(os.listdir(place))}
    expected = found.pop("r")
    assert [row["path"] for row in expected] == sorted(files)
    for name, rows in found.items():
        assert rows == expected, name


def test_texts_that_wait_on_disk_are_the_same(write, monkeypatch, tmp_path):
    files = {f"r/{i % 7}/{i}.py": f"x = 'é{i}'\n".encode() * i for i in range(60)}
    path = write("r.tar", tar(files))
    expected = rows_of(path)
    (tmp_path / "waiting").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "waiting"))
    for memory in (0, 100, 5000):
        monkeypatch.setattr(repositories, "MEMORY_BYTES", memory)
        reader = read_repository(str(path), "shelf")
        rows = [next(reader)]
        assert (
            os.listdir(tmp_path / "waiting") == []
        )  # the file has no name: nothing is left of a killed reader
        assert rows + list(reader) == expected


def test_memory_does_not_grow_with_the_repository(write, monkeypatch):
    path = write("r.tar", tar({f"r/{i}.py": b"x = %d\n" % i * 40_000 for i in range(80)}))
    monkeypatch.setattr(repositories, "MEMORY_BYTES", 1 << 20)
    tracemalloc.start()
    characters = sum(len(row["text"]) for row in read_repository(str(path), "shelf"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert characters > 20 << 20 and peak < 6 << 20


def test_a_full_disk_is_one_sentence(write, monkeypatch):
    path = write("r.tar", tar({f"r/{i}.py": b"x = %d\n" % i * 9000 for i in range(80)}))
    monkeypatch.setattr(repositories, "MEMORY_BYTES", 1000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(LodeError, match=r"make room, or set TMPDIR"):
            rows_of(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def dated(name: str, data: bytes, mtime: float):
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), mtime
    return info, data


def test_the_newest_believable_time_counts(write):
    times = {
        "a": 1_500_000_000,
        "b": 1_600_000_000.5,
        "npm": 499_162_500,
        "epoch": 0,
        "future": 99_999_999_999,
    }
    rows = rows_of(
        write("r.tar", tar({}, [dated(f"r/{name}", b"x\n", time) for name, time in times.items()]))
    )
    assert {row["updated"].timestamp() for row in rows} == {1_600_000_000.5}
    npm = [dated(f"package/{name}", b"x\n", 499_162_500) for name in "ab"]
    assert {row["updated"] for row in rows_of(write("r.tgz", gzip.compress(tar({}, npm))))} == {None}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr(zipfile.ZipInfo("r/a.py", (2020, 2, 3, 4, 5, 6)), "x\n")
        out.writestr(zipfile.ZipInfo("r/b.py", (1980, 1, 1, 0, 0, 0)), "x\n")
    rows = rows_of(write("r.zip", archive.getvalue()))
    assert {row["updated"].isoformat() for row in rows} == {"2020-02-03T04:05:06+00:00"}
    assert not is_date(float("nan")) and not is_date(float("inf"))


def test_a_version_in_a_manifest_is_no_revision(write):
    files = {
        "package/package.json": b'{"version": "1.2.3", "gitHead": "' + b"a" * 40 + b'"}',
        "package/a.js": b"1\n",
    }
    assert {row["revision"] for row in rows_of(write("p-1.2.3.tgz", gzip.compress(tar(files))))} == {None}


class Spy:
    """Keeps what it is shown."""

    def __init__(self):
        self.seen = {}

    def look(self, path, text):
        assert path not in self.seen
        self.seen[path] = text

    def of(self, path):
        return f"LicenseRef-{len(self.seen)}" if path in self.seen else None


def test_licences_see_every_readable_file_once(write):
    files = {"r/a.py": b"old\n", "r/LICENSE": b"MIT\n", "r/x.png": b"\x89PNG\0"}
    extra = [dated("r/a.py", b"new\n", 0)]
    made = []
    rows = rows_of(write("r.tar", tar(files, extra)), licences=lambda: made.append(Spy()) or made[-1])
    assert [spy.seen for spy in made] == [{"a.py": "new\n", "LICENSE": "MIT\n"}]
    assert {row["licence"] for row in rows if row["reason"] is None} == {"LicenseRef-2"}


def test_files_from_elsewhere_become_the_same_rows(write):
    expected = rows_of(write("r.tar", tar(FILES)))
    with RepositoryFiles("shelf", "r") as files:
        for name, data in reversed(FILES.items()):
            files.add(name.removeprefix("top-1.0/"), data)
        assert list(files.rows()) == undated(expected)
    with RepositoryFiles("shelf", "r") as files:
        files.stars, files.forks, files.updated, files.revision = 7, 2, 1.6e9, "a" * 40
        files.add("a.unknown", b"x\n", language="Tcl", licence="MIT", size=3, blob="b" * 40, encoding="gbk")
        files.add("../up.py", b"x\n")
        files.add("b.py", None, ("no_text", "why"), size=9)
        files.add("c.py", None)
        files.add("d.jar", b"x\n")
        files.add("e.bin", b"\0")
        rows = {row["path"]: row for row in files.rows()}
    found = {path: row["reason"] for path, row in rows.items()}
    dropped = {"../up.py": "unsafe_path", "b.py": "no_text", "c.py": "unreadable", "d.jar": "build_artefact"}
    assert found == {"a.unknown": None, "e.bin": "binary", **dropped}
    kept = rows["a.unknown"]
    assert (kept["language"], kept["licence"], kept["size"], kept["blob"]) == ("Tcl", "MIT", 3, "b" * 40)
    assert (kept["stars"], kept["forks"], kept["revision"], kept["encoding"]) == (7, 2, "a" * 40, "gbk")
    assert kept["updated"].timestamp() == 1.6e9 and rows["b.py"]["size"] == 9


@pytest.mark.parametrize("container", ["gz", "zst", "zip"])
def test_a_bomb_costs_little_memory(write, container):
    zeros = b"\0" * (1 << 20)
    if container == "zip":
        out = io.BytesIO()
        with (
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("r/zeros", "w") as member,
        ):
            for _ in range(100):
                member.write(zeros)
        path = write("bomb.zip", out.getvalue())
    else:
        compressor = gzip.compress if container == "gz" else zstandard.ZstdCompressor().compress
        info = tarfile.TarInfo("r/zeros")
        info.size = 100 << 20
        path = write(f"bomb.tar.{container}", compressor(info.tobuf() + zeros * 100))
    tracemalloc.start()
    (row,) = rows_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row["reason"] == "archive_bomb"
    assert peak < 16 << 20


def test_a_huge_header_and_too_many_entries_are_given_up(write):
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = 1 << 32
    assert (
        rows_of(write("pax.tar", info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096)))[0]["reason"]
        == "archive_bomb"
    )
    many = write("many.tar", tar({f"r/{i}": b"" for i in range(50)}))
    assert rows_of(many, limits=LIMITS._replace(entries=20))[0]["reason"] == "too_many_files"
    large = write("large.tar", tar({f"r/{i}": b"words " * 100 for i in range(50)}))
    assert rows_of(large, limits=LIMITS._replace(held_bytes=9999))[0]["reason"] == "repository_too_large"


@given(st.binary(max_size=400), st.sampled_from([".tar", ".zip", ".tar.gz"]), st.integers(0, 3))
def test_any_bytes_are_rows(tmp_path_factory, noise, suffix, mode):
    base = tar({"r/a.py": b"x\n"}) if suffix == ".tar" else zipped({"r/a.py": b"x\n"})
    data = [noise, base[: len(noise)] + noise, base + noise, b"\x1f\x8b\x08" + noise][mode]
    path = tmp_path_factory.getbasetemp() / f"noise{suffix}"
    path.write_bytes(data)
    rows = rows_of(path)
    assert rows and all(row["reason"] is not None or row["text"] is not None for row in rows)


def test_a_folder_is_walked_without_following_anything(tmp_path):
    root = tmp_path / "repo"
    (root / "sub" / "__pycache__").mkdir(parents=True)
    (root / ".hg").mkdir()
    (root / ".hg" / "hgrc").write_text("x")
    (root / "sub" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"\0")
    (root / "sub" / "a.py").write_text("import b\n")
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe")
    rows = rows_of(root)
    assert reasons(rows) == {"loop": "symlink", "out": "symlink", "pipe": "special_file"}
    assert [row["path"] for row in rows] == ["loop", "out", "pipe", "sub/a.py"]


def test_a_folder_that_cannot_be_listed_has_a_row(tmp_path, monkeypatch):
    (tmp_path / "r" / "secret").mkdir(parents=True)
    (tmp_path / "r" / "a.py").write_text("x = 1\n")
    listing = os.scandir

    def scandir(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert reasons(rows_of(tmp_path / "r")) == {"secret": "unreadable"}


def test_paths_name_repositories(tmp_path, write):
    write("b.tar.gz", gzip.compress(tar({})))
    write("notes.txt", b"")
    (tmp_path / "a").mkdir()
    (tmp_path / ".hidden").mkdir()
    found = repository_paths([f"{tmp_path}/*", f"{tmp_path}/a"])
    assert [os.path.basename(path) for path in found] == ["a", "b.tar.gz", "notes.txt"]
    assert [repository_name(path) for path in found] == ["a", "b", "notes.txt"]
    assert repository_name("installed:sympy.core") == "sympy-core"
    assert len(repository_paths(["installed:*"])) >= 20
    for missing in (f"{tmp_path}/nothing", "installed:nosuchpackage"):
        with pytest.raises(LodeError):
            repository_paths([missing])


@pytest.mark.parametrize(
    ("entries", "kind", "count", "others"),
    [
        (["a.tar.gz", "b.zip", "c/"], "shelf", 3, 0),
        (["a.tar.gz", "b.tgz", "notes.txt"], "shelf", 3, 1),
        (["a.tar.gz", "setup.py", "src/"], "repository", 1, 0),
        (["a.tar.gz", "setup.py"], "repository", 1, 0),  # half is not more than half
        (["a/", "b/"], "shelf", 2, 0),
        (["a/"], "repository", 1, 0),
        (["a/", "b/", "README.md"], "repository", 1, 0),
        (["a/.git/", "b/.git/", "README.md"], "shelf", 3, 1),
        ([".git/", "a.zip", "b.zip"], "repository", 1, 0),
        ([".hidden", "a/", "b/"], "shelf", 2, 0),
        (["HEAD", "objects/", "refs/"], "repository", 1, 0),
        (["a.jar", "b.whl", "c.jar"], "repository", 1, 0),
    ],
)
def test_what_a_folder_is_taken_for(tmp_path, entries, kind, count, others):
    for entry in entries:
        place = tmp_path / "shelf" / entry
        if entry.endswith("/"):
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"")
    (taken,) = understand([f"{tmp_path}/shelf"])
    assert (taken.kind, len(taken.repositories), taken.others) == (kind, count, others)
    assert repository_paths([f"{tmp_path}/shelf"]) == list(taken.repositories)
    assert understand([f"file://{tmp_path}/shelf"])[0].kind == kind
    said = str(taken)
    assert said.startswith(f"{tmp_path}/shelf: ") and ("one repository" in said) == (kind == "repository")
    (stated,) = understand([f"{tmp_path}/shelf/*"])
    assert stated.kind == "shelf"


def test_installed_trees_are_repositories():
    rows = rows_of("installed:stdlib.json")
    import json as module

    with open(module.__file__, encoding="utf-8") as file:
        assert next(row for row in rows if row["path"] == "json/__init__.py")["text"] == file.read()
    assert {row["licence"] for row in rows} == {"PSF-2.0"} and {row["repository"] for row in rows} == {
        "stdlib-json"
    }


class SetupIsMit:
    """Everything beside or below a `setup.py` is under MIT."""

    def __init__(self):
        self.found = False

    def look(self, path, text):
        self.found |= path == "setup.py" and "import os" in text

    def of(self, path):
        return "MIT" if self.found else None


def test_batches_have_the_agreed_columns(write):
    path = str(write("r.tar", tar(FILES)))
    (batch,) = repository_batches([path], "shelf", licences=SetupIsMit)
    assert batch.schema == with_verdict(FILE)
    assert set(batch.column("licence").to_pylist()) == {"MIT"}
    assert pickle.loads(pickle.dumps(batch)).equals(batch)


def test_every_file_of_the_sample_archives_is_accounted_for(shared_data):
    manifest = json.loads((shared_data / "repos" / "manifest.json").read_text())
    for entry in manifest:
        rows = rows_of(shared_data / "repos" / entry["file"])
        if entry["file"] == "empty-repo.tar.gz":
            assert reasons(rows) == {"empty-repo.tar.gz": "empty_repository"}
            continue
        with tarfile.open(shared_data / "repos" / entry["file"]) as archive:
            members = [member for member in archive if not member.isdir()]
        assert len(rows) == len(members), entry["file"]
        found = collections.Counter(row["reason"] for row in rows)
        assert found["symlink"] == entry.get("symlinks", 0), entry["file"]
        assert found["too_large"] == len(entry.get("files_over_1mb", [])), entry["file"]
        flagged = {row["path"] for row in rows if row["vendored"]}
        for folder in entry.get("vendored_dirs", []):
            assert any(path.startswith(folder) for path in flagged), (entry["file"], folder)
        if "non_utf8_files" in entry:
            not_utf8 = [r for r in rows if r["encoding"] not in (None, "utf-8") or r["reason"] == "not_utf8"]
            assert len(not_utf8) >= 0.9 * entry["non_utf8_files"], entry["file"]


def test_a_folder_of_two_thousand_levels(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "y.py").write_text("y = 1\n")
    place = os.open(tmp_path / "deep", os.O_RDONLY)
    for _ in range(1900):
        os.mkdir("a", dir_fd=place)
        inside = os.open("a", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inside
    os.close(os.open("x.py", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    rows = list(read_repository(str(tmp_path / "deep"), "s"))
    assert [row["reason"] for row in rows] == ["unsafe_path", None]
    # What cleans up after tests calls itself for each level.
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)


@pytest.mark.parametrize("name", ["Zoë", "Iñigo Montoya", "René Dupont", "it’s", "Björn Ångström", "5 µs"])
def test_one_letter_of_latin_1_in_a_source_file(name):
    text = (
        f"/*\n * Copyright (C) 2003 {name} <x@example.org>\n * All rights reserved.\n */\nint main(void);\n"
    )
    verdict, found, _, _ = repositories.decoded(text.encode("cp1252"))
    assert verdict is None and found == text


def test_the_language_of_a_file_that_is_dropped(write):
    files = {"big.py": b"x = 1\n" * 20, "a.c": b"\x81\x8d\xfe\xff" * 3, "b.png": b"\0"}
    rows = read_repository(str(write("r.zip", zipped(files))), "s", limits=LIMITS._replace(file_bytes=100))
    assert [(row["path"], row["reason"], row["language"]) for row in rows] == [
        ("a.c", "not_utf8", "C"),
        ("b.png", "binary", None),
        ("big.py", "too_large", "Python"),
    ]
