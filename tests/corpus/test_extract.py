"""The stage as a whole: nothing vanishes, nothing depends on how the work was cut."""

import gzip

import pyarrow as pa
import pytest

from corpus import extract
from corpus.extract import PAGE, Extract, extract_pages
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


def rows(*paths, **options):
    batches = list(extract_pages([str(path) for path in paths], "web", **options))
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

    def sometimes(html):
        if "raise" in html:
            raise PanicException("index out of bounds")
        return real(html)

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

    def stop(html):
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
    stage = Extract("web")
    batches = [pa.record_batch({"path": [path]}) for path in paths]
    assert stage.schema(batches[0].schema) == PAGE
    assert pa.Table.from_batches(stage(iter(batches))).to_pylist() == whole


def test_an_empty_file_has_no_rows_and_a_missing_one_is_an_error(tmp_path):
    empty = tmp_path / "empty.warc.gz"
    empty.touch()
    assert rows(empty) == []
    with pytest.raises(FileNotFoundError):
        rows(tmp_path / "missing.warc.gz")
