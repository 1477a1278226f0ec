"""The pages stage on Spark: parts of large files, opt-out, and what must stop a job instead of emptying it."""

import gzip
import os

import pyarrow.parquet as pq
import pytest

from corpus import storage
from corpus.errors import LodeError
from jobs import web
from jobs.engine import Work
from jobs.progress import Progress
from jobs.recipe import PagesSection, Source
from jobs.spark import Spark
from tests.corpus.test_extract import TEXT, warc
from tests.jobs.conftest import ROOT, lode


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    spark = Spark("local[2]", {}, str(folder / "log"))
    with Progress(quiet=True) as progress, Work(str(folder / "work"), spark, progress) as opened:
        yield opened
    spark.stop()


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crawl")
    meta = ("", "<meta name='robots' content='noai'>")
    pages = [(f"http://a.org/{n}", f"{meta[n % 2]}<p>Page {n}.{TEXT}".encode(), "200 OK") for n in range(40)]
    (folder / "by-record.warc.gz").write_bytes(warc(pages))
    (folder / "whole.warc.gz").write_bytes(gzip.compress(gzip.decompress(warc(pages[:5]))))
    return folder


def rows(stage):
    return [row for part in stage.parts for row in pq.read_table(part).to_pylist()]


def test_parts_of_a_file_make_the_same_rows(work, crawl):
    sources = {"web": Source(kind="web", input=[str(crawl)])}
    whole = web.pages(work, sources, 0, "whole")
    split = web.pages(work, sources, 0, "split", PagesSection(split_bytes=3000))
    assert len(whole.parts) == 2 and len(split.parts) > 3
    assert rows(split) == rows(whole) and len(rows(whole)) == 45


def test_pages_whose_publisher_opts_out_are_dropped_where_asked(work, crawl):
    sources = {"web": Source(kind="web", input=[str(crawl)])}
    stage = web.pages(work, sources, 0, "opted", PagesSection(drop_opt_out=["noai"]))
    assert stage.manifest["dropped"] == {"opted_out": 22}
    assert all(row["opt_out"] == [] for row in rows(stage))
    dropped = pq.read_table(storage.join(stage.folder, "dropped")).to_pylist()
    assert {row["detail"] for row in dropped} == {"noai"}


def test_a_signal_that_does_not_exist_is_refused():
    """Or it would be obeyed by dropping nothing."""
    assert PagesSection(drop_opt_out=["gptbot:noindex", "train-ai=n"])
    with pytest.raises(ValueError, match="there is no signal 'noia'; did you mean 'noai'"):
        PagesSection(drop_opt_out=["noia"])
    done = lode("extract", "x.warc", "--drop-opt-out", "noia")
    assert done.returncode != 0 and "did you mean 'noai'?" in done.stderr and "Traceback" not in done.stderr


def test_what_cannot_be_read_in_a_folder_is_named(work, crawl, tmp_path):
    os.symlink(crawl / "by-record.warc.gz", tmp_path / "good.warc.gz")
    os.symlink(tmp_path / "nowhere", tmp_path / "lost.warc.gz")
    sources = {"web": Source(kind="web", input=[str(tmp_path)])}
    with pytest.raises(LodeError, match=r"lost\.warc\.gz: this link leads nowhere"):
        web.pages(work, sources, 0, "linked")
    os.remove(tmp_path / "lost.warc.gz")
    assert len(rows(web.pages(work, sources, 0, "linked"))) == 40
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    if not os.access(locked, os.R_OK):  # root may
        with pytest.raises(LodeError, match="locked: cannot be read"):
            web.pages(work, sources, 0, "linked")
    locked.chmod(0o700)


def test_a_worker_that_cannot_import_stops_the_job(crawl, tmp_path):
    """Rather than dropping every page as failed: the driver has lxml here, its workers do not."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif any('pyspark' in word for word in sys.orig_argv):\n    sys.modules['lxml'] = None\n"
    )
    out = tmp_path / "out"
    done = lode("extract", str(crawl), "--out", str(out), PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode != 0 and "lxml" in done.stderr and "Traceback" not in done.stderr
    assert not (out / "_lode.json").exists()
