"""WARC reading against the archives' own manifest and labels, and against hand-made damage."""

import gzip
import hashlib
import json
import zlib

import brotli
import duckdb
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import content, warc
from corpus.warc import MAX_RECORD_BYTES, read_warc

HTML = b"<!doctype html><html><head><title>t</title></head><body><p>Hello, page.</p></body></html>"


def record(
    url: str, block: bytes, kind: str = "response", media: str = "application/http; msgtype=response"
) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{hashlib.md5(url.encode()).hexdigest()}>\r\nContent-Type: {media}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/html; charset=utf-8", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def page(number: int) -> bytes:
    # Incompressible enough that a byte flipped in the middle falls into the deflate stream.
    noise = hashlib.sha512(str(number).encode()).hexdigest().encode() * 3
    return record(f"http://example.org/{number}", http(HTML + noise))


def read(tmp_path, data: bytes, name: str = "x.warc.gz"):
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_warc(str(path)))


def test_sample_records_are_those_the_labels_list(shared_data):
    """URL, status, offset and body digest of every record, as those who made the crawl recorded them."""
    name = "dev-00000.warc.gz"
    labels = duckdb.sql(
        f"""select warc_offset, url, status, edit, bytes, sha1 from '{shared_data}/web/labels.parquet'
        where warc_file like '%{name}'"""
    ).fetchall()
    expected = {row[0]: row[1:] for row in labels}
    seen = {row.position: row for row in read_warc(str(shared_data / "web" / name))}
    assert set(seen) == set(expected)
    exact = 0
    for position, row in seen.items():
        url, status, edit, size, sha1 = expected[position]
        assert row.url == url and row.status == status
        if status != 200:
            assert row.reason == "not_ok_status"
        elif row.content_type and row.content_type.startswith("image/"):
            assert row.reason == "not_html"
        elif not edit:
            assert row.reason is None
            assert len(row.payload) == size and hashlib.sha1(row.payload).hexdigest() == sha1
            exact += 1
        elif "binary" in edit:
            assert row.reason == "not_html"
        elif edit == "empty body":
            assert row.reason == "empty_body"
        else:
            assert row.reason is None and b"<" in row.payload[:400]
    assert exact > 1000


# What each file's manifest entry says may be expected, or better: (readable records, reasons of the others).
ODD = {
    "01-truncated-last-member.warc.gz": (1, ["truncated"]),
    "02-garbage-between-members.warc.gz": (2, ["unreadable_record"]),
    "03-content-length-too-large.warc": (1, ["truncated"]),
    "04-content-length-too-small.warc": (1, ["wrong_length"]),
    "05-no-http-headers.warc.gz": (0, ["truncated"]),
    "06-whole-file-one-member.warc.gz": (3, []),
    "07-plain.warc": (3, []),
    "08-other-types.warc.gz": (0, ["revisit", "not_a_response", "derived_record", "not_http"]),
    "09-empty.warc.gz": (0, []),
    "10-bad-http-header.warc.gz": (1, []),
}


def test_odd_archives(shared_data):
    folder = shared_data / "web" / "odd"
    assert {entry["file"] for entry in json.loads((folder / "manifest.json").read_text())} == set(ODD)
    for name, (readable, reasons) in ODD.items():
        rows = list(read_warc(str(folder / name)))
        assert [row.reason for row in rows if row.reason] == reasons, name
        assert sum(row.reason is None for row in rows) == readable, name


@pytest.mark.parametrize("form", ["members", "one_member", "zstd", "zstd_frames", "plain"])
def test_containers(tmp_path, form):
    pages = [page(number) for number in range(3)]
    pack = {
        "members": lambda: b"".join(map(gzip.compress, pages)),
        "one_member": lambda: gzip.compress(b"".join(pages)),
        "zstd": lambda: zstandard.compress(b"".join(pages)),
        "zstd_frames": lambda: b"".join(map(zstandard.compress, pages)),
        "plain": lambda: b"".join(pages),
    }[form]
    rows = read(tmp_path, pack(), "x.warc" if form == "plain" else "x.warc.gz")
    assert [(row.url, row.status, row.reason) for row in rows] == [
        (f"http://example.org/{number}", 200, None) for number in range(3)
    ]
    assert all(row.payload.startswith(HTML) and row.charset == "utf-8" for row in rows)
    assert rows[0].date == "2026-01-02T03:04:05Z"


ENCODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
    "identity": bytes,
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_content_encodings(tmp_path, name):
    (row,) = read(
        tmp_path, record("http://a.org/", http(ENCODINGS[name](HTML), f"Content-Encoding: {name}")), "x.warc"
    )
    assert row.payload == HTML


def test_raw_deflate_and_chunks(tmp_path):
    raw = zlib.compressobj(wbits=-15)
    deflated = raw.compress(HTML) + raw.flush()
    chunked = b"".join(
        b"%x;ext=1\r\n%s\r\n" % (len(HTML[i : i + 7]), HTML[i : i + 7]) for i in range(0, len(HTML), 7)
    )
    chunked += b"0\r\n\r\n"
    assert content.undo(deflated, "", "deflate", 1 << 20) == HTML
    assert content.undo(chunked, "chunked", "", 1 << 20) == HTML
    # A crawler undid them and left the headers.
    assert content.undo(HTML, "chunked", "gzip", 1 << 20) == HTML


def test_bombs_and_wrong_encodings(tmp_path):
    bomb = zlib.compress(b"<html>" + b"\0" * (MAX_RECORD_BYTES + 1))
    blocks = [http(bomb, "Content-Encoding: deflate"), http(b"\x03\x01\x02rubbish", "Content-Encoding: br")]
    rows = read(
        tmp_path, b"".join(record(f"http://a.org/{i}", block) for i, block in enumerate(blocks)), "x.warc"
    )
    assert [row.reason for row in rows] == ["record_too_large", "bad_content_encoding"]
    for encode in (brotli.compress, zstandard.compress, gzip.compress):
        name = {brotli.compress: "br", zstandard.compress: "zstd", gzip.compress: "gzip"}[encode]
        with pytest.raises(content.BodyTooLargeError):
            content.undo(encode(b"<p>" + b"a" * 100_000), "", name, 50_000)


def test_what_is_no_page_says_so(tmp_path):
    blocks = [
        (http(b"gone", status="404 Not Found"), "not_ok_status", "404"),
        (http(b""), "empty_body", ""),
        (http(b"\x89PNG\r\n\x1a\n" + bytes(50)), "not_html", "binary"),
        (http(HTML).replace(b"text/html", b"application/pdf"), "not_html", "application/pdf"),
        (b"no status line here", "bad_http", "no status line"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000 + b"\r\n\r\nbody", "bad_http", None),
    ]
    data = b"".join(record(f"http://a.org/{i}", block) for i, (block, _, _) in enumerate(blocks))
    rows = read(tmp_path, data + page(7), "x.warc")
    assert [row.reason for row in rows] == [reason for _, reason, _ in blocks] + [None]
    for row, (_, _, detail) in zip(rows, blocks, strict=False):
        assert detail is None or row.detail == detail


def test_vague_types_are_sniffed(tmp_path):
    for media in (b"application/octet-stream", b"text/plain", b""):
        block = http(HTML).replace(b"text/html; charset=utf-8", media)
        assert read(tmp_path, record("http://a.org/", block), "x.warc")[0].reason is None
        block = http(b"just words").replace(b"text/html; charset=utf-8", media)
        assert read(tmp_path, record("http://a.org/", block), "x.warc")[0].reason == "not_html"


def test_requests_and_metadata_are_no_rows_and_wet_is_text(tmp_path):
    info = record("http://a.org/", b"software: x\r\n", "warcinfo", "application/warc-fields")
    request = record(
        "http://a.org/", b"GET / HTTP/1.1\r\n\r\n", "request", "application/http; msgtype=request"
    )
    wet = record("http://a.org/", "Grüße".encode(), "conversion", "text/plain")
    (row,) = read(tmp_path, info + request + wet, "x.warc.wet")
    assert row.is_text and row.payload.decode() == "Grüße" and row.reason is None


def test_files_that_are_no_archives(tmp_path):
    assert read(tmp_path, b"") == []
    assert read(tmp_path, gzip.compress(b"")) == []
    slow_down = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"
    assert [row.reason for row in read(tmp_path, slow_down)] == ["unreadable_record"]
    (loose,) = read(tmp_path, HTML, "page.html")
    assert loose.payload == HTML and loose.url.startswith("file:///") and loose.status is None
    with pytest.raises(FileNotFoundError):
        list(read_warc(str(tmp_path / "missing.warc.gz")))


def test_a_lost_connection_is_not_damage(monkeypatch):
    """An error of the storage is raised, so that the task is tried again and no row is lost."""
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/broken.warc.gz", b"".join(gzip.compress(page(number)) for number in range(400)))
    opened = fs.open("/broken.warc.gz")
    real, calls = opened.read, []

    def read_some(size=-1):
        calls.append(size)
        if len(calls) > 3:
            raise ConnectionResetError("peer")
        return real(min(size, 4096) if size >= 0 else size)

    opened.read = read_some
    monkeypatch.setattr(type(fs), "open", lambda *a, **k: opened)
    with pytest.raises(ConnectionResetError):
        list(read_warc("memory://broken.warc.gz"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_costs_one_record(tmp_path_factory, data):
    """Any run of bytes overwritten within one member leaves all other records readable."""
    members = [gzip.compress(page(number)) for number in range(5)]
    hit = data.draw(st.integers(0, 4))
    start = data.draw(st.integers(0, len(members[hit]) - 1))
    # A whole header's worth of damage: single flipped bits may hit a field nobody reads (time, OS).
    rubbish = data.draw(st.binary(min_size=12, max_size=40))
    member = members[hit]
    if start + len(rubbish) > len(member):
        start = len(member) - len(rubbish)
    damaged = member[:start] + rubbish + member[start + len(rubbish) :]
    blob = b"".join(members[:hit]) + damaged + b"".join(members[hit + 1 :])
    rows = read(tmp_path_factory.getbasetemp(), blob)
    readable = {row.url for row in rows if row.reason is None}
    others = {f"http://example.org/{number}" for number in range(5) if number != hit}
    assert others <= readable
    assert len(rows) >= 5 or damaged == member


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 3000), form=st.sampled_from(["members", "plain"]))
def test_a_cut_file_keeps_all_before_the_cut(tmp_path_factory, cut, form):
    pages = [page(number) if form == "plain" else gzip.compress(page(number)) for number in range(4)]
    blob = b"".join(pages)
    cut = min(cut, len(blob))
    whole = sum(len(b"".join(pages[: number + 1])) <= cut for number in range(4))
    rows = read(tmp_path_factory.getbasetemp(), blob[:cut], "cut.warc" if form == "plain" else "cut.warc.gz")
    assert [row.url for row in rows if row.reason is None][:whole] == [
        f"http://example.org/{number}" for number in range(whole)
    ]
    left = cut - len(b"".join(pages[:whole]))
    if left > 4 and whole < 4 and left < len(pages[whole]) - 12:
        assert any(row.reason for row in rows)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.sampled_from([b"", b"WARC/1.0\r\n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_are_read_without_an_error(tmp_path_factory, rubbish, head):
    for row in read(tmp_path_factory.getbasetemp(), head + rubbish + page(1)):
        assert row.reason or row.payload


def packed(form: str, pages: list[bytes]) -> bytes:
    """Records in a container that gives each a place of its own."""
    if form == "dictionary":
        known = zstandard.train_dictionary(1024, [page(number) for number in range(200)])
        compress = zstandard.ZstdCompressor(dict_data=known).compress
        return content.dictionary_frame(known.as_bytes()) + b"".join(map(compress, pages))
    compress = {"members": gzip.compress, "frames": zstandard.compress, "plain": bytes}[form]
    return b"".join(map(compress, pages))


SPLITTABLE = {"members": "x.warc.gz", "frames": "x.warc.zst", "dictionary": "y.warc.zst", "plain": "x.warc"}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_parts_of_a_file_give_each_record_once(tmp_path_factory, data):
    """Split anywhere, whole or damaged: the rows are those of the unsplit file, in their order."""
    form = data.draw(st.sampled_from(list(SPLITTABLE)))
    kinds = data.draw(st.lists(st.sampled_from("pppprct"), min_size=1, max_size=7))
    makers = {
        "p": page,
        "r": lambda i: record(f"http://a.org/{i}", b"GET / HTTP/1.1\r\n\r\n", "request"),
        "c": lambda i: record(f"http://a.org/{i}", b"plain words", "conversion", "text/plain"),
        "t": lambda i: record(f"http://a.org/{i}", http(HTML)[:-9])[: -data.draw(st.integers(1, 30))],
    }
    blob = bytearray(packed(form, [makers[kind](number) for number, kind in enumerate(kinds)]))
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(blob)))
        blob[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
    path = tmp_path_factory.getbasetemp() / SPLITTABLE[form]
    path.write_bytes(blob)
    whole = list(read_warc(str(path)))
    cuts = sorted(data.draw(st.lists(st.integers(1, len(blob) + 5), max_size=4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warc, "_LOOK_BACK", data.draw(st.sampled_from([0, 300, 8 << 20])))
        parts = [
            list(read_warc(str(path), start, end))
            for start, end in zip([0, *cuts], [*cuts, None], strict=True)
        ]
    assert [row for part in parts for row in part] == whole


def test_an_archive_inside_a_record_is_not_the_crawl(tmp_path):
    """A split in the middle of a page that is an archive itself: its records are no records of the crawl."""
    inner = b"".join(gzip.compress(page(number)) for number in range(100, 110))
    outer = [page(0), record("http://a.org/x.warc.gz", http(inner)), page(2)]
    for form in ("members", "plain"):
        blob = packed(form, outer)
        path = tmp_path / SPLITTABLE[form]
        path.write_bytes(blob)
        whole = list(read_warc(str(path)))
        assert len(whole) == 3
        middle = len(blob) // 2
        assert [*read_warc(str(path), 0, middle), *read_warc(str(path), middle)] == whole


def test_ranges(tmp_path):
    pages = [page(number) for number in range(50)]
    for form, name in SPLITTABLE.items():
        path = tmp_path / name
        path.write_bytes(packed(form, pages))
        size = path.stat().st_size
        found = warc.ranges(str(path), size, 4000)
        assert found[0] == (0, 4000) and found[-1] == ((len(found) - 1) * 4000, None) and len(found) > 1
        assert warc.ranges(str(path), size) == [(0, None)]
        rows = [row.url for part in found for row in read_warc(str(path), *part)]
        assert rows == [f"http://example.org/{number}" for number in range(50)]
    # A member of many records behind one of a single record is nobody's but the first reader's.
    path = tmp_path / "mixed.warc.gz"
    path.write_bytes(gzip.compress(pages[0]) + gzip.compress(b"".join(pages[1:])))
    found = warc.ranges(str(path), path.stat().st_size, 1000)
    assert len(found) > 1 and [len(list(read_warc(str(path), *part))) for part in found][:2] == [50, 0]
    whole = {"w.warc.gz": gzip.compress(b"".join(pages)), "w.warc.zst": zstandard.compress(b"".join(pages))}
    for name, blob in (whole | {"p.html": HTML * 100, "info.warc.gz": gzip.compress(b"")}).items():
        (tmp_path / name).write_bytes(blob)
        assert warc.ranges(str(tmp_path / name), len(blob), 10) == [(0, None)]


@pytest.mark.parametrize("name", ["w.warc.gz", "w.warc.zst"])
def test_a_file_compressed_as_a_whole_keeps_all_before_its_damage(tmp_path, name):
    pages = [page(number) for number in range(3000)]
    pack = gzip.compress if name.endswith("gz") else zstandard.compress
    blob = pack(b"".join(pages))
    path = tmp_path / name
    half = len(blob) // 2
    damaged = blob[:half] + b"\xff" * 8 + blob[half + 8 :]
    for data in (blob, blob[:half], damaged):
        path.write_bytes(data)
        rows = list(read_warc(str(path)))
        kept = [row.url for row in rows if row.reason is None]
        assert kept[:1200] == [f"http://example.org/{number}" for number in range(1200)]
        if data is blob:
            assert len(rows) == len(kept) == 3000
        else:
            assert rows[-1].reason == "truncated_archive" and len(kept) < 3000


def test_members_of_several_records_are_read_behind_damage(tmp_path):
    members = [
        gzip.compress(b"".join(page(100 * member + number) for number in range(100))) for member in range(4)
    ]
    half = len(members[1]) // 2
    members[1] = members[1][:half] + b"\xff" * 8 + members[1][half + 8 :]
    urls = {row.url for row in read(tmp_path, b"".join(members)) if row.reason is None}
    assert {f"http://example.org/{number}" for number in [*range(110), *range(200, 400)]} <= urls


def test_what_is_unpacked_can_be_read_again_in_small_memory(tmp_path, monkeypatch):
    """A record that claims more than there is makes the reader go back, also behind its window."""
    monkeypatch.setattr(content, "_WINDOW", 1000)
    pages = [page(number) for number in range(3000)]
    liar = pages[1300].replace(b"Content-Length: ", b"Content-Length: 999")
    data = b"".join([*pages[:1300], liar, *pages[1301:]])
    for blob in (gzip.compress(data), zstandard.compress(data)):
        rows = read(tmp_path, blob)
        assert [row.url for row in rows if row.reason is None] == [
            f"http://example.org/{number}" for number in range(3000) if number != 1300
        ]
    # Going back costs the file once more, so there is an end to it, and it is counted.
    data = b"".join([*pages[:1300], *[liar] * 20, *pages[1301:]])
    rows = read(tmp_path, gzip.compress(data))
    assert 1300 <= [row.reason for row in rows].count(None) < 2999
    assert rows[-1].reason == "truncated_archive" and "wrong lengths" in rows[-1].detail


def test_dictionaries(tmp_path):
    """A dictionary at the head of a `.warc.zst`, as it is or compressed, serves every frame behind it."""
    known = zstandard.train_dictionary(1024, [page(number) for number in range(200)])
    frames = [zstandard.ZstdCompressor(dict_data=known).compress(page(number)) for number in range(20)]
    damaged = [*frames[:7], b"\0" * 40, *frames[8:]]
    for data in (known.as_bytes(), zstandard.compress(known.as_bytes())):
        head = content.dictionary_frame(data)
        rows = read(tmp_path, head + b"".join(frames), "x.warc.zst")
        assert [row.url for row in rows] == [f"http://example.org/{number}" for number in range(20)]
        rows = read(tmp_path, head + b"".join(damaged), "x.warc.zst")
        assert [row.reason for row in rows] == [None] * 7 + ["unreadable_record"] + [None] * 12
    whole = zstandard.ZstdCompressor(dict_data=known).compress(b"".join(page(n) for n in range(20)))
    rows = read(tmp_path, content.dictionary_frame(known.as_bytes()) + whole, "x.warc.zst")
    assert [row.reason for row in rows] == [None] * 20
    other = b"\x50\x2a\x4d\x18\x04\0\0\0note" + b"".join(zstandard.compress(page(n)) for n in range(3))
    assert [row.reason for row in read(tmp_path, other, "x.warc.zst")] == [None] * 3


def test_a_last_record_that_took_in_another_gives_it_back(tmp_path):
    """Bytes are missing from a page, as many as the page behind it has: its length fits the end of the file."""
    pages = [page(number) for number in range(3)]
    gone = len(pages[2]) - 3
    body = http(HTML + b"x" * 2000)
    long = record("http://a.org/long", body)
    blob = pages[0] + long.replace(b"x" * gone, b"", 1) + pages[2]
    rows = read(tmp_path, blob, "x.warc")
    assert [(row.url, row.reason) for row in rows] == [
        ("http://example.org/0", None),
        ("http://a.org/long", "wrong_length"),
        ("http://example.org/2", None),
    ]
