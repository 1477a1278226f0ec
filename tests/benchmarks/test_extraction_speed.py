import os
import subprocess
import sys

import pytest

from benchmarks.extraction_speed import alone, deal, descendants
from corpus.warc import read_warc
from tests.corpus.test_extract import warc

PRINT = """
import json, os
held = b"x" * (50 << 20)
print(json.dumps({"cores": len(os.sched_getaffinity(0)), "cpu_before": 0}))
"""


def test_a_crawl_is_dealt_out_record_by_record(tmp_path):
    pages = [(f"http://a.org/{n}", f"<p>page {n}".encode(), "200 OK") for n in range(10)]
    source = tmp_path / "crawl.warc.gz"
    source.write_bytes(warc(pages))
    paths = deal([str(source)], str(tmp_path / "dealt"), 2, 3)
    urls = [[record.url for record in read_warc(path)] for path in paths]
    assert urls == [["http://a.org/0", "http://a.org/6"], ["http://a.org/3", "http://a.org/9"]]
    whole = deal([str(source)], str(tmp_path / "all"), 1, 1)
    assert [record.payload for record in read_warc(whole[0])] == [body for _, body, _ in pages]


def test_a_contestant_has_one_core_and_its_memory_is_its_own():
    run = alone([sys.executable, "-c", PRINT], {min(os.sched_getaffinity(0))})
    assert run["cores"] == 1
    assert run["peak_mb"] > 50
    assert run["cpu_seconds"] > 0


def test_a_contestant_that_fails_stops_the_measurement():
    with pytest.raises(SystemExit, match="failed with status 3"):
        alone([sys.executable, "-c", "raise SystemExit(3)"], os.sched_getaffinity(0))


def test_processes_below_this_one_are_found():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in descendants(os.getpid())
    finally:
        child.communicate(b"\n")
    assert child.pid not in descendants(os.getpid())
