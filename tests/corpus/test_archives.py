"""Archives: `tarfile` and `git archive` say what is in them; those made to do harm cost themselves."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import struct
import subprocess
import tarfile
import zipfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.archives import LIMITS, Archive, EntryError, RepositoryError


def entries_of(tmp_path, data: bytes, limits=LIMITS, name="a.tar"):
    """(path, kind, content or detail) of each entry, or the reason why there are none."""
    (tmp_path / name).write_bytes(data)
    found = []
    try:
        for entry in Archive(str(tmp_path / name), limits):
            try:
                found.append((entry.path, entry.kind, entry.read() if entry.kind == "file" else entry.detail))
            except EntryError as error:
                found.append((entry.path, error.reason, str(error)))
    except RepositoryError as error:
        return error.reason
    return found


def packed(members, form=tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
        for name, data, more in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=90)
MEMBERS = st.lists(
    st.tuples(
        st.lists(NAMES, min_size=1, max_size=4).map("/".join),
        st.binary(max_size=1500),
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(
                    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
                ),
                "linkname": st.text("abc/é", max_size=200),
                "mtime": st.one_of(st.integers(0, 1 << 40), st.floats(0, 1e9)),
                "pax_headers": st.dictionaries(st.text("abcé", min_size=1), st.text(max_size=50)),
            },
        ),
    ),
    max_size=6,
)


@settings(max_examples=60)
@given(MEMBERS, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_headers_are_read_as_tarfile_reads_them(tmp_path_factory, members, form):
    members = [(name, b"" if about.get("type") else data, about) for name, data, about in members]
    data = packed(members, form)
    expected = []
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        for member in archive:
            if member.isreg():
                expected.append((member.name, "file", archive.extractfile(member).read()))
            elif member.issym() or member.islnk():
                expected.append((member.name, "symlink" if member.issym() else "hardlink", member.linkname))
            elif not member.isdir():
                expected.append((member.name, "special_file", f"tar entry of type {member.type!r}"))
    assert entries_of(tmp_path_factory.getbasetemp(), data) == expected


@pytest.mark.skipif(shutil.which("git") is None, reason="git makes these archives")
@pytest.mark.parametrize("form", ["tar", "zip", "tar.gz"])
def test_the_commit_that_git_notes_is_the_revision(tmp_path, form):
    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=b", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout.decode().strip()

    git("init", "-q")
    (tmp_path / "a.py").write_text("x = 1\n")
    git("add", "a.py")
    git("commit", "-qm", "one")
    git("archive", "--prefix=top/", f"--format={form}", f"--output=a.{form}", "HEAD")
    archive = Archive(f"{tmp_path}/a.{form}", LIMITS)
    assert [(entry.path, entry.read()) for entry in archive] == [("top/a.py", b"x = 1\n")]
    assert archive.revision == git("rev-parse", "HEAD")
    assert Archive(f"{tmp_path}/a.{form}", LIMITS).revision is None


PLAIN = packed([(f"r/{i}.py", b"x = %d\n" % i * 50, {}) for i in range(40)])
COMPRESSIONS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressions(tmp_path, compression):
    compress = COMPRESSIONS[compression]
    expected = entries_of(tmp_path, PLAIN)
    assert len(expected) == 40
    whole = compress(PLAIN)
    assert entries_of(tmp_path, whole) == expected
    if compression != "lzma":  # which has no notion of several streams
        assert entries_of(tmp_path, compress(PLAIN[:7777]) + compress(PLAIN[7777:])) == expected
    if compression == "zst":  # a frame that is no data
        assert entries_of(tmp_path, b"\x50\x2a\x4d\x18\4\0\0\0data" + whole) == expected
    if compression != "lzma":
        assert entries_of(tmp_path, whole + bytes(512)) == expected
    for cut in (10, len(whole) // 2, len(whole) - 3):
        assert entries_of(tmp_path, whole[:cut]) == "archive_broken", cut
    assert entries_of(tmp_path, whole + b"garbage") == "archive_broken"
    bomb = compress(packed([]) + bytes(66 << 20))
    assert entries_of(tmp_path, bomb) == "archive_bomb"
    assert entries_of(tmp_path, whole, LIMITS._replace(total_bytes=9999)) == "archive_bomb"


@pytest.mark.parametrize("at", range(0, 60, 7))
@pytest.mark.parametrize("compression", ["gz", "xz", "zst"])
def test_one_wrong_byte_is_found(tmp_path, compression, at):
    data = bytearray(COMPRESSIONS[compression](PLAIN))
    place = len(data) * at // 60
    data[place] ^= 0x10
    found = entries_of(tmp_path, bytes(data))
    # gzip's header holds a time and the like, which nothing depends on; of a zstd frame's the same holds.
    assert found == "archive_broken" or (place < 10 and found == entries_of(tmp_path, PLAIN))


def test_much_memory_asked_for_by_an_xz_header_is_refused(tmp_path):
    encoder = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])
    data = bytearray(encoder.compress(PLAIN) + encoder.flush())
    assert entries_of(tmp_path, bytes(data)) == entries_of(tmp_path, PLAIN)
    alone = bytearray(lzma.compress(PLAIN, lzma.FORMAT_ALONE))
    alone[1:5] = struct.pack("<I", 3 << 30)  # the dictionary's size
    assert entries_of(tmp_path, bytes(alone)) == "archive_broken"


def header(kind: bytes, data: bytes, size: int | None = None, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def pax(*records: tuple[str, str]) -> bytes:
    out = b""
    for key, value in records:
        body = f" {key}={value}\n".encode()
        size = len(body) + len(str(len(body)))
        size += len(str(size)) - len(str(len(body)))
        out += str(size).encode() + body
    return out


FILE = header(b"0", b"x = 1\n", name="r/a.py")
END = bytes(1024)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (header(b"x", b"1" * 500_000) + FILE, "archive_broken"),  # digits without end
        (header(b"x", b"99999999 path=a\n") + FILE, "archive_broken"),
        (header(b"x", b"0 path=a\n") + FILE, "archive_broken"),
        (header(b"x", b"-5 path=a\n") + FILE, "archive_broken"),
        (header(b"x", pax(("size", "-512"))) + FILE, "archive_broken"),
        (header(b"x", pax(("size", "9" * 18))) + FILE, "archive_broken"),
        (header(b"x", pax(("size", "nan"))) + FILE, "archive_broken"),
        (header(b"x", pax(("mtime", "nonsense"))) + FILE, [("r/a.py", "file", b"x = 1\n")]),
        (header(b"x", pax(("path", "../../up"))) + FILE, [("../../up", "file", b"x = 1\n")]),
        (header(b"g", pax(("path", "all"), ("size", "0"))) + FILE, [("r/a.py", "file", b"x = 1\n")]),
        (header(b"x", b"", size=2 << 20) + FILE, "archive_bomb"),
        (header(b"L", b"long/name\0") + FILE, [("long/name", "file", b"x = 1\n")]),
        (header(b"L", b"a\0") * 3000 + FILE, [("a", "file", b"x = 1\n")]),  # no recursion
        (
            header(b"x", pax(("GNU.sparse.map", "0,1,"), ("GNU.sparse.size", "9"))) + FILE,
            [("r/a.py", "special_file", "sparse")],
        ),
        (
            header(b"x", pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"))) + FILE,
            [("r/a.py", "special_file", "sparse")],
        ),
        (header(b"x", pax(("path", "b"))), "archive_broken"),
    ],
)
def test_odd_headers(tmp_path, data, expected):
    found = entries_of(tmp_path, data + END)
    assert found == expected or (expected == "archive_broken" and found == [])


def test_headers_and_entries_without_end(tmp_path):
    few = LIMITS._replace(entries=50, headers_bytes=9000)
    assert entries_of(tmp_path, header(b"5", b"", name="d") * 300 + END, few) == "too_many_files"
    assert entries_of(tmp_path, header(b"L", b"a\0") * 300 + FILE + END, few) == "too_many_files"
    assert entries_of(tmp_path, header(b"g", pax(("k", "v" * 3000))) * 5 + FILE + END, few) == "archive_bomb"
    sparse = bytearray(header(b"S", b""))
    sparse[482] = 1
    sparse[148:156] = b"        "
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    more = bytes(504) + b"\1" + bytes(7)
    assert entries_of(tmp_path, bytes(sparse) + more * 99 + bytes(512) + FILE + END) == [
        ("x", "special_file", "sparse"),
        ("r/a.py", "file", b"x = 1\n"),
    ]
    assert entries_of(tmp_path, bytes(sparse) + more * 99) == "archive_broken"


@settings(max_examples=200)
@given(st.data())
def test_any_damage_to_a_tar_is_an_answer(tmp_path_factory, data):
    members = [("r/" + "n" * 150, b"x" * 700, {}), ("r/é", b"y", {"pax_headers": {"comment": "z"}})]
    whole = bytearray(packed(members, data.draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 4000))] = data.draw(st.sampled_from([*b"\0 019-=\n\xff\x80"]))
    for at in range(0, 4096, 512):  # so that more than the checksum is tried
        if whole[at + 257 : at + 262] == b"ustar":
            whole[at + 148 : at + 156] = b"        "
            whole[at + 148 : at + 156] = b"%06o\0 " % sum(whole[at : at + 512])
    assert entries_of(tmp_path_factory.getbasetemp(), bytes(whole)) is not None


def zipped(members, **more) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **more) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def test_zip64_is_read(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("r/a.py", "r/b.py"):
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(b"x = 1\n")
    data = out.getvalue()
    end = data.rindex(b"PK\5\6")
    count, size, start = struct.unpack("<HII", data[end + 10 : end + 20])
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, end, 1)
    close = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    expected = [("r/a.py", "file", b"x = 1\n"), ("r/b.py", "file", b"x = 1\n")]
    assert entries_of(tmp_path, data) == expected
    assert entries_of(tmp_path, data[:end] + record + locator + close) == expected
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, 1 << 40, start)
    assert entries_of(tmp_path, data[:end] + record + locator + close) == "archive_bomb"


def test_zip_oddities(tmp_path):
    link = zipfile.ZipInfo("r/link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    members = [("r/a.py", b"x\n"), (link, b"../target"), ("r/sub/", b"")]
    assert entries_of(tmp_path, zipped(members)) == [
        ("r/a.py", "file", b"x\n"),
        ("r/link", "symlink", "../target"),
    ]
    data = bytearray(zipped([("r/a.py", b"x\n"), ("r/b.py", b"y\n")]))
    data[data.index(b"PK\1\2") + 8] |= 1
    assert [kind for _, kind, _ in entries_of(tmp_path, bytes(data))] == ["archive_broken", "file"]
    data = bytearray(zipped([("r/caf...py", b"x\n")]))
    for _ in range(2):
        place = data.index(b"caf..")
        data[place + 3 : place + 5] = "é".encode()  # without the mark that it is UTF-8
    assert entries_of(tmp_path, bytes(data))[0][0] == "r/café.py"
    assert (
        entries_of(tmp_path, zipped([("r/a.py", b"x\n")], compression=zipfile.ZIP_LZMA))[0][1]
        == "archive_broken"
    )
    many = zipped([(f"r/{i}", b"") for i in range(200)])
    assert entries_of(tmp_path, many, LIMITS._replace(entries=50)) == "too_many_files"
    # Many entries that share one compressed content.
    zeros = zipped([("r/0", bytes(1 << 20))], compression=zipfile.ZIP_DEFLATED)
    start, end = zeros.index(b"PK\1\2"), zeros.rindex(b"PK\5\6")
    entry = zeros[start:end]
    close = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 500, 500, 500 * len(entry), start, 0)
    assert entries_of(tmp_path, zeros[:start] + entry * 500 + close) == "archive_bomb"


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(RepositoryError, match="unreadable"):
        list(Archive(str(tmp_path / "a.tar"), LIMITS))


def test_archives_in_archives_are_files(tmp_path):
    inner = zipped([("evil.py", b"x\n")])
    assert entries_of(tmp_path, packed([("r/inner.zip", inner, {})])) == [("r/inner.zip", "file", inner)]


def test_the_sample_is_read_as_tarfile_reads_it(shared_data):
    for path in sorted((shared_data / "repos").glob("*.tar.gz")):
        with tarfile.open(path) as archive:
            expected = [(m.name, archive.extractfile(m).read()) for m in archive if m.isreg()]
        assert [(e.path, e.read()) for e in Archive(str(path), LIMITS) if e.kind == "file"] == expected


@pytest.mark.parametrize("name", ["PKG-INFO", "PK", "BZhello.txt", "]x"])
def test_a_tar_is_not_told_by_the_name_of_its_first_file(tmp_path, name):
    assert entries_of(tmp_path, packed([(name, b"x", {})])) == [(name, "file", b"x")]
