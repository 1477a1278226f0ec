"""Fetching against a server that fails: what arrives is compared with the files that it serves, byte by byte."""

import contextlib
import fnmatch
import gzip
import hashlib
import io
import math
import os
import pathlib
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import commoncrawl, storage
from corpus.commoncrawl import DamagedError, Query, beside, check_archive, choose, fetch_file
from corpus.errors import LodeError
from corpus.http import HttpFiles, RefusedError, Remote
from corpus.warc import read_warc
from tests import fake_crawl

FILE = "x.warc.gz"


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> tuple[pathlib.Path, list[dict]]:
    folder = tmp_path_factory.mktemp("crawl")
    return folder, fake_crawl.build(folder)


@pytest.fixture
def server(crawl):
    with fake_crawl.serve(crawl[0]) as running:
        yield running


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    """A folder with one archive of about 60 kB, and a server for all examples of a property."""
    folder = tmp_path_factory.mktemp("one")
    pages = (
        fake_crawl.member("response", f"http://a.org/{n}", os.urandom(4000), "text/html") for n in range(15)
    )
    (folder / FILE).write_bytes(b"".join(pages))
    with fake_crawl.serve(folder) as running:
        yield running


def remote(**settings) -> Remote:
    return Remote(**({"pause": 0.002, "stall": 0.3, "retries": 5} | settings))


def get(server, path: pathlib.Path, **settings) -> dict:
    found = fetch_file(remote(**settings), server.base + FILE, str(path), lambda have, total: None)
    os.replace(beside(str(path), ".part"), path)
    return found


def reset(server) -> bytes:
    server.faults, server.log, server.ranges, server.honest_tags, server.pace = {}, [], True, True, 0.0
    server.version.clear()
    return (server.folder / FILE).read_bytes()


# The choice of files


@given(st.integers(1, 3000), st.integers(0, 50), st.data())
def test_a_choice_is_even_and_grows(total, seed, data):
    paths = [str(number) for number in range(total)]
    count = data.draw(st.integers(1, total))
    chosen = [int(path) for path in choose(paths, count, seed)]
    assert len(set(chosen)) == count and chosen == sorted(chosen)
    assert set(chosen) <= {int(path) for path in choose(paths, min(total, count + 7), seed)}
    gaps = [b - a for a, b in zip(chosen, [*chosen[1:], chosen[0] + total], strict=True)]
    assert max(gaps) <= 4 * math.ceil(total / count)


def test_a_choice_over_a_crawl_touches_every_segment():
    paths = [f"{segment}/{number}" for segment in range(100) for number in range(900)]
    segments = [path.split("/")[0] for path in choose(paths, 200, 0)]
    assert all(1 <= segments.count(str(segment)) <= 3 for segment in range(100))
    assert choose(paths, 200, 0) != choose(paths, 200, 1)


def test_names_stay_inside_the_folder():
    base = "https://data.commoncrawl.org/"
    assert commoncrawl.local_name(base, f"{base}crawl-data/a/b.warc.gz") == "crawl-data/a/b.warc.gz"
    assert commoncrawl.local_name(base, "https://other.org/x/y.warc.gz?sig=1") == "other.org/x/y.warc.gz"
    for url in (f"{base}../../etc/passwd", "https://o.org/../../.ssh/x", f"{base}/./..//a", "/etc/../x.warc"):
        name = commoncrawl.local_name(base, url)
        assert not any(step.startswith(".") or not step for step in name.split("/")), name


# Whole files

FAULTS = [
    "503", "503 0", "500", "429", "reset", "xml200", "truncate", "reset inside", "long length", "short length",
    "flip", "wrong range", "ignores If-Range", "changed",
]  # fmt: skip


@pytest.mark.parametrize("fault", [*FAULTS, "stall"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_fault_delays_and_never_harms(one_file, tmp_path, fault, ranges):
    reset(one_file)
    one_file.ranges = ranges
    one_file.faults = {FILE: [fault, "truncate", fault]}
    found = get(one_file, tmp_path / FILE)
    data = (tmp_path / FILE).read_bytes()
    served = (one_file.folder / FILE).read_bytes()
    if fault == "changed":
        assert data[: len(served)] == served
        served += fake_crawl.member("metadata", "", str(one_file.version[FILE]).encode(), "text/plain")
    assert data == served
    assert found["sha256"] == hashlib.sha256(served).hexdigest() and found["bytes"] == len(served)


@settings(max_examples=60)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=6), ranges=st.booleans(), tags=st.booleans())
def test_any_faults_in_any_order(one_file, tmp_path_factory, faults, ranges, tags):
    """What is renamed is a version that the server had; otherwise it is one sentence and nothing is renamed."""
    served = reset(one_file)
    versions = {served} | {
        served + fake_crawl.member("metadata", "", str(n).encode(), "text/plain") for n in range(1, 8)
    }
    one_file.faults, one_file.ranges, one_file.honest_tags = {FILE: list(faults)}, ranges, tags
    path = tmp_path_factory.mktemp("any") / FILE
    try:
        get(one_file, path)
    except LodeError as error:
        assert FILE in str(error) and not path.exists()
        one_file.faults = {}
        get(one_file, path)
    assert path.read_bytes() in versions


def test_a_broken_transfer_goes_on_by_range(one_file, tmp_path):
    served = reset(one_file)
    one_file.faults = {FILE: ["truncate", "truncate", "503"]}
    get(one_file, tmp_path / FILE)
    half = len(served) // 2
    quarter = half + (len(served) - half) // 2
    assert [asked for _, asked in one_file.log] == [
        None,
        f"bytes={half}-",
        f"bytes={quarter}-",
        f"bytes={quarter}-",
    ]


@pytest.mark.parametrize("honest", [True, False])
def test_a_part_of_another_version_is_not_continued(one_file, tmp_path, honest):
    """Nor where the server sends the rest of the new version as if nothing had changed."""
    reset(one_file)
    one_file.honest_tags = False  # an MD5 would tell in the end
    one_file.faults = {FILE: ["truncate", "404"]}
    with pytest.raises(RefusedError, match="404"):
        get(one_file, tmp_path / FILE)
    assert os.path.getsize(beside(str(tmp_path / FILE), ".part")) > 1000
    one_file.version[FILE] = 3
    one_file.log.clear()
    one_file.faults = {FILE: [] if honest else ["ignores If-Range"]}
    get(one_file, tmp_path / FILE)
    served = (one_file.folder / FILE).read_bytes()
    assert (tmp_path / FILE).read_bytes() == served + fake_crawl.member("metadata", "", b"3", "text/plain")
    assert len(one_file.log) == (1 if honest else 2)


def test_an_error_page_does_not_cost_the_part(one_file, tmp_path):
    served = reset(one_file)
    one_file.faults = {FILE: ["truncate", "xml200"]}
    get(one_file, tmp_path / FILE)
    rest = f"bytes={len(served) // 2}-"
    assert [asked for _, asked in one_file.log] == [None, rest, rest]


def test_retries_count_from_the_last_progress(one_file, tmp_path):
    reset(one_file)
    one_file.faults = {FILE: ["truncate", "503"] * 6}
    get(one_file, tmp_path / FILE, retries=2)
    assert len(one_file.log) == 13


def test_retries_end_in_one_sentence(one_file, tmp_path):
    reset(one_file)
    one_file.faults = {FILE: ["503"] * 100}
    with pytest.raises(
        LodeError, match="given up after 4 attempts: 503 SlowDown; run the same command again"
    ):
        get(one_file, tmp_path / FILE, retries=3)
    assert len(one_file.log) == 4 and not (tmp_path / FILE).exists()
    assert b"SlowDown" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


def test_a_file_that_always_comes_damaged_is_refused(one_file, tmp_path):
    for fault, why in (
        ("flip", "member 8"),
        ("xml200", "it begins with b'<"),
        ("short length", "ends inside"),
    ):
        reset(one_file)
        one_file.faults, one_file.honest_tags = {FILE: [fault] * 10}, False
        with pytest.raises(RefusedError, match=f"{why}.*it came 3 times, never whole"):
            get(one_file, tmp_path / FILE)
        assert list(tmp_path.iterdir()) == []


def test_an_intact_archive_that_is_not_the_promised_one(one_file, tmp_path):
    """S3's ETag of a file that was stored in one piece is its MD5."""
    reset(one_file)
    one_file.faults = {FILE: ["other bytes"] * 10}
    with pytest.raises(RefusedError, match="MD5 is not the one"):
        get(one_file, tmp_path / FILE)
    one_file.honest_tags = False
    get(one_file, tmp_path / FILE)


def test_no_length_no_file(one_file, tmp_path):
    reset(one_file)
    one_file.faults = {FILE: ["no length"]}
    with pytest.raises(RefusedError, match="does not say how long"):
        get(one_file, tmp_path / FILE)


def test_retry_after_is_heeded(one_file, tmp_path):
    reset(one_file)
    one_file.faults = {FILE: ["503 1"]}
    slept = []
    far = remote()
    far._wait = lambda: slept.append(max(0.0, far._not_before - __import__("time").monotonic()))
    fetch_file(far, one_file.base + FILE, str(tmp_path / FILE), lambda have, total: None)
    assert 0.5 < max(slept) <= 1.0
    one_file.faults = {FILE: ["503 86400"]}
    with pytest.raises(LodeError, match="come back in 86,400 s"):
        get(one_file, tmp_path / "other.warc.gz")


def test_a_block_is_waited_for_and_a_private_file_is_not(one_file, tmp_path):
    reset(one_file)
    one_file.faults = {FILE: ["403", "403"]}
    get(one_file, tmp_path / FILE)
    assert len(one_file.log) == 3
    one_file.faults = {FILE: ["denied"]}
    with pytest.raises(RefusedError, match="403 AccessDenied: it is not public"):
        get(one_file, tmp_path / "other.warc.gz")


def test_nobody_there(tmp_path):
    with pytest.raises(LodeError, match="given up after 2 attempts: Connection refused"):
        fetch_file(remote(retries=1), "http://127.0.0.1:1/x", str(tmp_path / "x"), lambda have, total: None)
    with pytest.raises(RefusedError, match="no such file"):
        fetch_file(remote(), str(tmp_path / "none.warc.gz"), str(tmp_path / "x"), lambda have, total: None)


# Verification


def compressed(form: str) -> bytes:
    pages = [b"WARC/1.0\r\n\r\n" + os.urandom(300) for _ in range(4)]
    return {
        "gzip": lambda: b"".join(map(gzip.compress, pages)),
        "zstd": lambda: b"".join(map(zstandard.ZstdCompressor(write_checksum=True).compress, pages)),
    }[form]()


@settings(max_examples=80)
@given(form=st.sampled_from(["gzip", "zstd"]), data=st.data())
def test_no_cut_and_no_flipped_byte_verifies(tmp_path_factory, form, data):
    path = tmp_path_factory.getbasetemp() / "verify.warc"
    whole = compressed(form)
    path.write_bytes(whole)
    assert check_archive(str(path))["members"] == 4
    cut = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:cut])
    with contextlib.suppress(DamagedError):
        assert check_archive(str(path))["members"] < 4  # cut between two members: only the length tells
    spot = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:spot] + bytes([whole[spot] ^ 0xFF]) + whole[spot + 1 :]
    path.write_bytes(changed)
    try:
        check_archive(str(path))
        if form == "gzip":  # the header's time, flags nobody reads, and system are under no checksum
            assert gzip.decompress(changed) == gzip.decompress(whole)
    except DamagedError:
        pass


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "x"
    for data, why in (
        (b"", "empty"), (fake_crawl.SLOW_DOWN, "begins with b'<"), (gzip.compress(b"<xml>"), "first member"),
        (gzip.compress(b"WARC/1.0") + b"tail", "member 2"), (b"\x1f\x8b\x08", "inside member 1"),
    ):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(DamagedError, match=why):
            check_archive(str(path))
    path.write_bytes(b"WARC/1.0\r\n")
    assert check_archive(str(path))["members"] is None


def test_a_bomb_is_inflated_in_bounded_memory(tmp_path):
    import tracemalloc

    for pack in (gzip.compress, zstandard.compress):
        (tmp_path / "bomb").write_bytes(pack(b"WARC/1.0\r\n" + bytes(120 << 20)))
        tracemalloc.start()
        check_archive(str(tmp_path / "bomb"))
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
        tracemalloc.stop()


# The index


def expected(rows: list[dict], **wanted: list[str]) -> set[str]:
    def fits(row: dict) -> bool:
        domain = row["url_host_name"]
        return all(
            (
                not (u := wanted.get("urls")) or any(fnmatch.fnmatchcase(row["url"], p) for p in u),
                not (d := wanted.get("domains")) or any(f".{domain}".endswith(f".{x.lower()}") for x in d),
                not (m := wanted.get("mimes")) or row["content_mime_detected"] in m,
                not (c := wanted.get("languages")) or (row["content_languages"] or "").split(",")[0] in c,
            )
        )

    return {row["url"] for row in rows if fits(row)}


def looked_up(folder: pathlib.Path, query: Query) -> tuple[set[str], int]:
    found, groups, far = set(), 0, remote()
    for path in sorted(folder.glob("cc-index/**/subset=warc/*.parquet")):
        index = commoncrawl.open_index(far, str(path), query)
        groups += len(index.groups)
        for group in index.groups:
            found |= set(commoncrawl.matching_rows(far, index, group, query)["url"].to_pylist())
    return found, groups


@pytest.mark.parametrize(
    "wanted",
    [
        {"domains": ["site3.org"]},
        {"domains": ["docs.site3.org", "SITE4.org"]},
        {"urls": ["https://www.site1.org/*"]},
        {"urls": ["https://*.site1.org/2/*", "https://docs.site2.org/0/page_2%20x.html"]},
        {"urls": ["*page_1%20x*"]},
        {"mimes": ["application/pdf"], "languages": ["eng"]},
        {"languages": ["deu"], "domains": ["site0.org", "site6.org"]},
        {"domains": ["site.org"]},
        {"urls": ["https://www.site_.org/*"]},
    ],
)
def test_the_index_finds_what_a_plain_scan_finds(crawl, wanted):
    folder, rows = crawl
    found, groups = looked_up(folder, Query(**{name: tuple(values) for name, values in wanted.items()}))
    assert found == expected(rows, **wanted)
    if "domains" in wanted or wanted.get("urls") == ["https://www.site1.org/*"]:
        assert groups < 10  # of the index's ten row groups some are never read


def test_only_successful_captures_and_older_indexes(tmp_path, crawl):
    row = dict(crawl[1][0])
    table = pa.Table.from_pylist(
        [row | {"fetch_status": 404}, row | {"fetch_status": None}, row], fake_crawl.INDEX
    )
    folder = tmp_path / "cc-index/subset=warc"
    folder.mkdir(parents=True)
    old = table.drop_columns(["content_languages", "content_digest"])
    pq.write_table(old, folder / "part.parquet")
    query = Query(urls=("*",))
    index = commoncrawl.open_index(remote(), str(folder / "part.parquet"), query)
    (only,) = commoncrawl.matching_rows(remote(), index, 0, query).to_pylist()
    assert only["url"] == row["url"] and only["languages"] is None and only["digest"] is None
    with pytest.raises(LodeError, match="no column 'content_languages'"):
        commoncrawl.open_index(remote(), str(folder / "part.parquet"), Query(languages=("deu",)))


def test_wrong_questions():
    for bad in ({"languages": ("de",)}, {"urls": ("example.org",)}, {"domains": ("https://a.org",)}):
        with pytest.raises(LodeError, match=f"--{next(iter(bad)).removesuffix('s')} "):
            Query(**bad)


@given(st.text(max_size=30), st.text(alphabet="ab*%_\\.", max_size=12))
def test_a_star_is_the_only_wildcard(url, pattern):
    import re

    table = pa.table({"fetch_status": [200], "url": ["http" + url]})
    matched = Query(urls=("http" + pattern,)).matches(table)[0].as_py()
    assert matched == bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), url, re.S))


# Records


def record_rows(crawl, count: int | None = None) -> list[dict]:
    rows = [{n: row[c] for n, c in commoncrawl._INDEX.items()} for row in crawl[1]]
    return sorted(rows, key=lambda row: (row["filename"], row["offset"]))[:count]


def records(path: str) -> list[tuple[str, bool]]:
    """(URL, whether the block has the digest that the record states), as FastWARC reads them."""
    found = []
    for record in ArchiveIterator(path, parse_http=False):
        found.append((record.headers["WARC-Target-URI"], record.verify_block_digest()))
    return found


def test_records_are_those_of_the_archive(crawl, server, tmp_path):
    """FastWARC reads what was written, and finds the block digests that the archive states."""
    rows = record_rows(crawl)[::2]
    path = str(tmp_path / "r.warc.gz")
    far = remote()
    found = commoncrawl.fetch_records(far, server.base, rows, path, lambda have, total: None)
    os.replace(beside(path, ".part"), path)
    assert (found["records"], found["dropped"]) == (len(rows), [])
    assert found["members"] == len(rows) and found["bytes"] == os.path.getsize(path)
    assert records(path) == [(row["url"], True) for row in rows]
    assert [row.url for row in read_warc(path)] == [row["url"] for row in rows]
    assert len(server.log) < len(rows) / 2  # neighbours come with one request


def test_wrong_rows_are_dropped_with_a_reason(crawl, server, tmp_path):
    rows = record_rows(crawl, 6)
    rows[1]["offset"] += 1
    rows[2]["length"] -= 9
    rows[3] |= {"url": "https://elsewhere.org/", "digest": "A" * 32}
    rows[4] |= {"url": "https://otherwise-written.org/"}  # the digest is right
    rows += [rows[5] | {"filename": "crawl-data/none.warc.gz"}, rows[5] | {"offset": 10**8}]
    rows.sort(key=lambda row: (row["filename"], row["offset"]))
    path = str(tmp_path / "r.warc.gz")
    found = commoncrawl.fetch_records(remote(), server.base, rows, path, lambda have, total: None)
    reasons = sorted(lost["reason"] for lost in found["dropped"])
    assert reasons == ["missing_file", "missing_file", "not_a_record", "not_a_record", "other_record"]
    assert found["records"] + len(found["dropped"]) == len(rows)
    assert len(records(beside(path, ".part"))) == found["records"] == 3


def test_records_survive_faults(crawl, server, tmp_path):
    rows = record_rows(crawl)
    faults = [
        "503",
        "reset",
        "truncate",
        "flip",
        "xml200",
        "wrong range",
        "long length",
        "reset inside",
        "500",
    ]
    server.faults = {".warc.gz": faults}
    path = str(tmp_path / "r.warc.gz")
    found = commoncrawl.fetch_records(remote(), server.base, rows, path, lambda have, total: None)
    assert found["dropped"] == [] and not server.faults[".warc.gz"]
    assert [url for url, good in records(beside(path, ".part")) if good] == [row["url"] for row in rows]


def test_a_block_never_costs_records(crawl, server, tmp_path):
    server.faults = {".warc.gz": ["403"] * 50}
    path = str(tmp_path / "r.warc.gz")
    with pytest.raises(LodeError, match="blocks this address"):
        commoncrawl.fetch_records(remote(), server.base, record_rows(crawl), path, lambda have, total: None)
    server.faults = {".warc.gz": ["denied"]}
    with pytest.raises(RefusedError, match="not public"):
        commoncrawl.fetch_records(remote(), server.base, record_rows(crawl), path, lambda have, total: None)
    server.faults = {}
    found = commoncrawl.fetch_records(
        remote(), server.base, record_rows(crawl), path, lambda have, total: None
    )
    assert found["dropped"] == []


@settings(max_examples=30)
@given(st.data())
def test_a_kill_anywhere_leaves_a_part_that_goes_on(crawl, tmp_path_factory, data):
    """The journal and the part may each end anywhere behind what was flushed; the result is the same."""
    rows = record_rows(crawl, 30)
    folder = tmp_path_factory.mktemp("kill")
    path, far, base = str(folder / "r.warc.gz"), remote(), str(crawl[0])
    found = commoncrawl.fetch_records(far, base, rows, path, lambda have, total: None)
    part, journal = pathlib.Path(beside(path, ".part")), pathlib.Path(beside(path, ".journal"))
    whole, log = part.read_bytes(), journal.read_bytes()
    journal.write_bytes(log[: data.draw(st.integers(0, len(log)))])
    part.write_bytes(whole[: data.draw(st.integers(0, len(whole)))] + data.draw(st.binary(max_size=20)))
    again = commoncrawl.fetch_records(far, base, rows, path, lambda have, total: None)
    assert part.read_bytes() == whole and again == found and journal.read_bytes() == log


# Reading by https, without fetching first


def test_a_url_is_read_like_a_file(crawl, server):
    name = crawl[1][0]["warc_filename"]
    local = [(row.url, row.payload) for row in read_warc(str(crawl[0] / name))]
    server.faults = {name: ["503", "truncate", "reset"]}
    fs = HttpFiles(remote(), skip_instance_cache=True)
    with fs.open(server.base + name, block_size=10_000) as file:
        assert file.read() == (crawl[0] / name).read_bytes()
    assert [(row.url, row.payload) for row in read_warc(server.base + name)] == local
    assert storage.expand([server.base + name]) == [server.base + name]
    with pytest.raises(LodeError, match=r"none\.warc\.gz: there is no such file"):
        storage.expand([server.base + "none.warc.gz"])
    with pytest.raises(LodeError, match="only be read"):
        fs.open(server.base + name, "wb")


def test_a_change_under_the_reader_is_an_error(one_file):
    reset(one_file)
    fs = HttpFiles(remote(), skip_instance_cache=True)
    with fs.open(one_file.base + FILE, block_size=1000) as file:
        file.read(1000)
        one_file.version[FILE] = 1
        with pytest.raises(LodeError, match="changed while it was read"):
            file.read(30_000)


def test_ten_thousand_short_members_are_one_pass():
    """The check is linear in the number of members: no copy of what is left for each."""
    data = gzip.compress(b"WARC/1.0\r\n\r\n") * 20_000
    members = commoncrawl._Members(True)
    for at in range(0, len(data), 1 << 20):
        members.feed(data[at : at + (1 << 20)])
    assert members.finish() == 20_000
    assert zlib.decompressobj(31).decompress(io.BytesIO(data).read(40)).startswith(b"WARC")
