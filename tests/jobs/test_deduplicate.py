"""Clusters on Spark against scipy's connected components, and who stays."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from corpus.schema import DOCUMENT, document_id
from jobs.deduplicate import components, deduplicate
from jobs.engine import Work, open_dataset
from jobs.progress import Progress
from jobs.spark import Spark


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    engine = Spark("local[2]", {}, str(tmp_path_factory.mktemp("logs") / "spark.log"))
    yield engine
    engine.stop()


@pytest.fixture
def work(spark, tmp_path):
    with Work(str(tmp_path / "work"), spark, Progress(quiet=True)) as folder:
        yield folder


def graphs():
    draw = np.random.default_rng(5)
    yield "random", draw.integers(0, 400, (300, 2))
    yield "chain", np.stack([np.arange(60), np.arange(1, 61)], 1)[draw.permutation(60)]
    yield "star", np.stack([np.zeros(200, int) + 77, np.arange(200)], 1)
    yield "cycle and pair", np.array([[1, 2], [2, 3], [3, 1], [9, 8], [9, 8]])


@pytest.mark.parametrize(
    "name, edges", list(graphs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_components_are_those_of_scipy(work, name, edges):
    frame = work.spark.session.createDataFrame([tuple(map(int, e)) for e in edges], "u long, v long")
    found = {row["node"]: row["cluster"] for row in work.collect(components(work, frame))}
    size = int(edges.max()) + 1
    _, labels = connected_components(coo_matrix((np.ones(len(edges)), edges.T), (size, size)), directed=False)
    touched = sorted({int(n) for u, v in edges if u != v for n in (u, v)})
    assert sorted(found) == touched
    least = {label: min(n for n in touched if labels[n] == label) for label in set(labels[touched])}
    assert found == {n: least[labels[n]] for n in touched}


def documents(folder, parts):
    folder.mkdir()
    for number, texts in enumerate(parts):
        rows = []
        for i, (url, text) in enumerate(texts):
            rows.append({"id": document_id("s", f"{number}-{i}"), "url": url, "text": text, "source": "s"})
        pq.write_table(pa.Table.from_pylist(rows, DOCUMENT), folder / f"part-{number:05d}.parquet")
    return open_dataset(str(folder))


BASE = " ".join(f"word{i} = {i}" for i in range(120))


def test_urls_texts_and_near_duplicates_keep_the_longest(work, tmp_path):
    before = documents(
        tmp_path / "in",
        [
            [
                ("https://a.org/1", BASE),
                ("https://a.org/2", BASE + " and a few words more"),
                ("https://a.org/3", "x" * 30),
            ],
            [
                ("https://b.org/1#top", "something else entirely, of some length"),
                ("https://b.org/4", "x" * 30),
            ],
            [
                ("https://b.org/1", "something else entirely, of some length, and newer"),
                ("https://c.org", "alone here"),
            ],
        ],
    )
    stage = deduplicate(work, "out", before, 0.8, 128, 5, "math", 0)
    kept = [row for path in stage.parts for row in pq.read_table(path).to_pylist()]
    assert {row["url"] for row in kept} >= {"https://a.org/2", "https://b.org/1", "https://c.org"}
    assert len(kept) == 4
    assert stage.manifest["dropped"] == {"duplicate_text": 1, "duplicate_url": 1, "near_duplicate": 1}
    dropped = [
        row for f in (tmp_path / "work/out/dropped").glob("*.parquet") for row in pq.read_table(f).to_pylist()
    ]
    near = next(row for row in dropped if row["reason"] == "near_duplicate")
    assert near["url"] == "https://a.org/1" and near["detail"].endswith(document_id("s", "0-1"))


def test_pages_that_differ_in_their_formulas_stay(work, tmp_path):
    formulas = [
        [(f"https://m.org/{n}", f"Solve $x^{n}+{n}=0$ and then show that $y_{n} \\neq {n * 7}$.")]
        for n in range(2, 8)
    ]
    stage = deduplicate(work, "out", documents(tmp_path / "in", formulas), 0.8, 128, 5, "math", 0)
    assert stage.manifest["rows_out"] == len(formulas)


def test_real_near_duplicates_are_found(work, tmp_path, shared_data):
    import pandas as pd

    from corpus.extract import extract_pages

    pairs = pd.read_csv(shared_data / "web" / "near_dup_pairs.csv.gz")
    assert len(pairs) > 1000
    folder = tmp_path / "in"
    folder.mkdir()
    files = sorted((shared_data / "web").glob("dev-*.warc.gz"))[:1]
    for number, file in enumerate(files):
        rows = pa.Table.from_batches(list(extract_pages([str(file)], "web")))
        kept = rows.filter(pc.is_null(rows["reason"])).drop_columns(["reason", "detail"])
        pq.write_table(kept, folder / f"part-{number:05d}.parquet")
    stage = deduplicate(work, "out", open_dataset(str(folder)), 0.8, 128, 5, "math", 0)
    manifest = json.loads((tmp_path / "work/out/_lode.json").read_text())
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_dropped"]
    assert stage.manifest["dropped"]["duplicate_url"] > 0
