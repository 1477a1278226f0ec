"""The stage as a whole: nothing vanishes, nothing depends on how the work was cut."""

import gzip
import itertools
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from corpus import extract
from corpus.errors import LodeError
from corpus.extract import PAGE, Extraction, extract_pages
from corpus.schema import document_id, with_verdict
from corpus.warc import read_warc

TEXT = "<p>Enough words to be a paragraph of a page, and a few more so that nothing is too short.</p>" * 4


def warc(pages: list[tuple[str, bytes, str]]) -> bytes:
    out = b""
    for url, body, status in pages:
        block = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n\r\n".encode() + body
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(block)}\r\n\r\n"
        )
        out += gzip.compress(head.encode() + block + b"\r\n\r\n")
    return out


def rows(*paths, start=0, end=None, **how):
    batches = list(extract_pages([str(path) for path in paths], "web", Extraction(**how), start, end))
    return pa.Table.from_batches(batches, with_verdict(PAGE)).to_pylist()


def test_a_page_becomes_a_document(tmp_path):
    body = f"<title>T</title><body>{TEXT}<pre>x = 1</pre><script type='math/tex'>a^2</script></body>".encode()
    path = tmp_path / "a.warc.gz"
    path.write_bytes(warc([("http://WWW.Example.org:80/a?utm_source=x#f", body, "200 OK")]))
    (row,) = rows(path)
    assert row["id"] == document_id("web", "http://www.example.org/a")
    assert row["url"] == "http://WWW.Example.org:80/a?utm_source=x#f" and row["domain"] == "example.org"
    assert row["title"] == "T" and row["formulas"] == 1 and row["code_blocks"] == 1
    assert "$a^2$" in row["text"] and "```\nx = 1\n```" in row["text"]
    assert row["date"] == "2026-01-02T03:04:05Z" and row["source"] == "web"
    text = row["text"]
    assert (row["characters"], row["words"], row["lines"]) == (
        len(text),
        len(text.split()),
        len(text.split("\n")),
    )
    assert row["language"] is row["repository"] is row["path"] is row["reason"] is row["detail"] is None


def test_reasons(tmp_path, monkeypatch):
    pages = [
        ("http://a.org/1", b"gone", "404 Not Found"),
        ("http://a.org/2", b"<html><body><script>x</script></body></html>", "200 OK"),
        ("http://a.org/3", b"<p>" + b"x" * 5000, "200 OK"),
        ("http://a.org/4", b"<body>" + b"<div>" * 3000 + b"x", "200 OK"),
        ("http://a.org/5", TEXT.encode() + b"<!-- raise -->", "200 OK"),
        ("http://a.org/6", TEXT.encode(), "200 OK"),
    ]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(warc(pages) + b"damaged")
    real = extract.extract_text

    class PanicException(BaseException):
        pass

    def sometimes(html, expand_macros):
        if "raise" in html:
            raise PanicException("index out of bounds")
        return real(html, expand_macros)

    monkeypatch.setattr(extract, "extract_text", sometimes)
    found = rows(path, max_page_chars=4000)
    assert [(row["url"], row["reason"]) for row in found[:6]] == [
        ("http://a.org/1", "not_ok_status"),
        ("http://a.org/2", "no_text"),
        ("http://a.org/3", "page_too_large"),
        ("http://a.org/4", "page_too_large"),
        ("http://a.org/5", "extraction_failed"),
        ("http://a.org/6", None),
    ]
    assert found[4]["detail"] == "PanicException"
    assert all(row["text"] is None for row in found if row["reason"])
    # What has no URL is named by its place.
    assert found[6]["url"] is None and found[6]["path"].startswith(str(path)) and found[6]["reason"]
    assert len({row["id"] for row in found}) == len(found) == 7


def test_a_keyboard_interrupt_is_no_reason(tmp_path, monkeypatch):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(warc([("http://a.org/1", TEXT.encode(), "200 OK")]))

    def stop(html, expand_macros):
        raise KeyboardInterrupt

    monkeypatch.setattr(extract, "extract_text", stop)
    with pytest.raises(KeyboardInterrupt):
        rows(path)


def test_wet_and_loose_files(tmp_path):
    wet = tmp_path / "a.warc.wet.gz"
    text = "Grüße\n\tan alle"
    head = "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a.org/\r\n"
    head += f"Content-Length: {len(text.encode())}\r\n\r\n"
    wet.write_bytes(gzip.compress(head.encode() + text.encode() + b"\r\n\r\n"))
    loose = tmp_path / "page.html"
    loose.write_text(TEXT)
    one, two = rows(wet, loose)
    assert one["text"] == text and one["reason"] is None
    assert two["url"] == loose.as_uri() and two["domain"] is None and two["reason"] is None


def test_every_record_of_the_odd_archives_has_its_row(shared_data):
    paths = sorted(str(path) for path in (shared_data / "web" / "odd").glob("*.warc*"))
    records = [record for path in paths for record in read_warc(path)]
    found = rows(*paths)
    assert len(found) == len(records) == 21
    assert (
        sum(row["reason"] is None for row in found) == sum(record.reason is None for record in records) == 12
    )
    assert all(row["text"] for row in found if row["reason"] is None)


def test_rows_do_not_depend_on_how_the_files_are_shared_out(shared_data):
    paths = sorted(str(path) for path in (shared_data / "web" / "odd").glob("*.warc*"))
    whole = rows(*paths)
    assert whole == [row for path in paths for row in rows(path)]


def test_an_empty_file_has_no_rows_and_a_missing_one_is_an_error(tmp_path):
    empty = tmp_path / "empty.warc.gz"
    empty.touch()
    assert rows(empty) == []
    with pytest.raises(FileNotFoundError):
        rows(tmp_path / "missing.warc.gz")


def test_opt_out_signals_are_a_column_and_a_reason(tmp_path):
    pages = [
        ("http://a.org/1", b"<meta name='robots' content='noai, noindex'>" + TEXT.encode(), "200 OK"),
        ("http://a.org/2", TEXT.encode(), "200 OK\r\nX-Robots-Tag: gptbot: noai\r\nTDM-Reservation: 1"),
        ("http://a.org/3", TEXT.encode(), "200 OK"),
    ]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(warc(pages))
    assert [row["opt_out"] for row in rows(path)] == [
        ["noai", "noindex"],
        ["gptbot:noai", "tdm-reservation"],
        [],
    ]
    found = rows(path, drop_opt_out=("noai", "tdm-reservation"))
    assert [(row["reason"], row["detail"]) for row in found] == [
        ("opted_out", "noai"),
        ("opted_out", "tdm-reservation"),
        (None, None),
    ]


def test_bounds_of_one_page(tmp_path, monkeypatch):
    """Too many tags, too much time: the page is dropped and the next one comes."""
    pages = [
        ("http://a.org/1", b"<br>" * 300 + TEXT.encode(), "200 OK"),
        ("http://a.org/2", b"<!-- slow -->" + TEXT.encode(), "200 OK"),
        ("http://a.org/3", b"<!-- deaf -->" + TEXT.encode(), "200 OK"),
        ("http://a.org/4", TEXT.encode(), "200 OK"),
    ]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(warc(pages))
    real = extract.extract_text

    def slow(html, expand_macros):
        while "slow" in html:
            pass
        if "deaf" in html:  # a library that turns the alarm into an error of its own
            try:
                while True:
                    pass
            except BaseException:
                raise ValueError("interrupted") from None
        return real(html, expand_macros)

    monkeypatch.setattr(extract, "extract_text", slow)
    monkeypatch.setattr(extract, "MAX_TAGS", 200)
    found = rows(path, seconds=0.2)
    assert [(row["reason"], row["detail"]) for row in found] == [
        ("page_too_large", "308 tags"),
        ("extraction_timeout", "0.2 seconds"),
        ("extraction_timeout", "0.2 seconds"),
        (None, None),
    ]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_outside_the_main_thread_there_is_no_clock(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(warc([("http://a.org/1", TEXT.encode(), "200 OK")]))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(rows, path, seconds=1e-9).result()[0]["reason"] is None


def test_an_extractor_that_never_works_stops_the_job(tmp_path, monkeypatch):
    """Rather than dropping every page of a crawl; one page that works shows that it can."""
    pages = [(f"http://a.org/{number}", TEXT.encode(), "200 OK") for number in range(150)]
    bad, good = tmp_path / "bad.warc.gz", tmp_path / "good.warc.gz"
    bad.write_bytes(warc(pages))
    good.write_bytes(warc([("http://a.org/good", b"<!-- good -->" + TEXT.encode(), "200 OK"), *pages]))
    real = extract.extract_text

    def broken(html, expand_macros):
        if "good" in html:
            return real(html, expand_macros)
        raise ImportError("no such symbol")

    monkeypatch.setattr(extract, "extract_text", broken)
    with pytest.raises(LodeError, match=r"first 100 pages all failed with ImportError.*reinstall"):
        rows(bad)
    assert [row["reason"] for row in rows(good)] == [None] + ["extraction_failed"] * 150


def test_parts_of_a_file_make_the_same_rows(shared_data):
    path = str(shared_data / "web" / "dev-00000.warc.gz")
    size = os.path.getsize(path)
    cuts = [0, size // 50, size // 49, size // 40]
    whole = rows(path, end=cuts[-1])
    assert len(whole) > 20
    assert whole == [
        row for start, end in itertools.pairwise(cuts) for row in rows(path, start=start, end=end)
    ]
