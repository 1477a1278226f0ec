"""Repository readers: real archives with known oddities, hostile ones, the same rows from every container."""

import collections
import gzip
import io
import json
import os
import pickle
import shutil
import subprocess
import tarfile
import tracemalloc
import zipfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from corpus.archives import LIMITS
from corpus.errors import LodeError
from corpus.repositories import FILE, read_repository, repository_batches, repository_name, repository_paths
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
    expected = rows_of(paths[0])
    assert [row["path"] for row in expected] == [
        "_vendor/six.py",
        "empty.py",
        "setup.py",
        "src/a.c",
        "src/café.py",
    ]
    for path in [*paths[1:], tmp_path / "folder" / "r"]:
        assert rows_of(path) == expected, path
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
        ("empty.tar.gz", gzip.compress(tar({})), "empty_repository"),
        ("nothing.tar.gz", b"", "archive_broken"),
        ("words.tar", b"these are just words" * 100, "archive_broken"),
        ("words.zip", b"these are just words" * 100, "archive_broken"),
        (
            "cut.tar.gz",
            gzip.compress(tar({f"r/{i}.py": b"x = 1\n" * 99 for i in range(50)}))[:-40],
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
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("ref")
    (root / "sub" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"\0")
    (root / "sub" / "a.py").write_text("import b\n")
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe")
    rows = rows_of(root)
    assert reasons(rows) == {"loop": "symlink", "out": "symlink", "pipe": "special_file"}
    assert [row["path"] for row in rows] == ["loop", "out", "pipe", "sub/a.py"]


def test_paths_name_repositories(tmp_path, write):
    write("b.tar.gz", gzip.compress(tar({})))
    write("notes.txt", b"")
    (tmp_path / "a").mkdir()
    found = repository_paths([f"{tmp_path}/*", f"{tmp_path}/a"])
    assert [os.path.basename(path) for path in found] == ["a", "b.tar.gz", "notes.txt"]
    assert [repository_name(path) for path in found] == ["a", "b", "notes.txt"]
    assert repository_name("installed:sympy.core") == "sympy-core"
    assert len(repository_paths(["installed:*"])) >= 20
    for missing in (f"{tmp_path}/nothing", "installed:nosuchpackage"):
        with pytest.raises(LodeError):
            repository_paths([missing])


def test_installed_trees_are_repositories():
    rows = rows_of("installed:stdlib.json")
    import json as module

    with open(module.__file__, encoding="utf-8") as file:
        assert next(row for row in rows if row["path"] == "json/__init__.py")["text"] == file.read()
    assert {row["licence"] for row in rows} == {"PSF-2.0"} and {row["repository"] for row in rows} == {
        "stdlib-json"
    }


def test_batches_have_the_agreed_columns(write):
    path = str(write("r.tar", tar(FILES)))
    (batch,) = repository_batches(
        [path], "shelf", licence_of=lambda files: "MIT" if "setup.py" in files else None
    )
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
