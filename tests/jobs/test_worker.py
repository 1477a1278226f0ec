"""The part writer and the bucket reader, without Spark."""

import errno

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.schema import DOCUMENT, with_verdict
from jobs.worker import Counts, MapParts, Task, WriteBuckets, by_bucket, read_counts, reported, write_part

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])


def judged(verdicts, size=7):
    rows = [
        {"id": str(i), "text": "x" * i, "reason": v, "detail": v and "why"} for i, v in enumerate(verdicts)
    ]
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], with_verdict(SCHEMA))


@given(st.lists(st.sampled_from([None, "a", "b"]), max_size=60))
def test_every_row_is_kept_or_dropped_in_order(tmp_path_factory, verdicts):
    folder = tmp_path_factory.mktemp("stage")
    counts = write_part(str(folder), 3, judged(verdicts), SCHEMA)
    kept = pq.read_table(folder / "part-00003.parquet")["id"].to_pylist()
    assert kept == [str(i) for i, v in enumerate(verdicts) if v is None]
    assert counts.rows_in == len(verdicts) == counts.rows_out + sum(counts.dropped.values())
    dropped = folder / "dropped" / "part-00003.parquet"
    found = pq.read_table(dropped).to_pylist() if dropped.exists() else []
    assert [(r["id"], r["reason"]) for r in found] == [(str(i), v) for i, v in enumerate(verdicts) if v]


def test_sparse_batches_become_few_row_groups(tmp_path):
    write_part(str(tmp_path), 0, judged([None if i % 10 == 0 else "a" for i in range(6000)]), SCHEMA)
    assert pq.ParquetFile(tmp_path / "part-00000.parquet").num_row_groups == 1
    long = [{"id": str(i), "text": "x" * (1 << 20), "reason": None, "detail": None} for i in range(70)]
    write_part(
        str(tmp_path), 1, (pa.RecordBatch.from_pylist([row], with_verdict(SCHEMA)) for row in long), SCHEMA
    )
    assert pq.ParquetFile(tmp_path / "part-00001.parquet").num_row_groups == 3


def test_characters_are_counted_in_the_type_that_is_there(tmp_path):
    """A stage may have changed a text; a column of that name which holds something else is nobody's to change."""
    row = dict.fromkeys(DOCUMENT.names, "é🙂") | {"reason": None, "detail": None}
    for part, kind, value, counted in (
        (0, None, None, 2), (1, pa.int32(), 7, 2), (2, pa.int64(), None, 2), (3, pa.string(), "seven", "seven")
    ):  # fmt: skip
        schema = DOCUMENT if kind is None else pa.schema([("characters", kind), *DOCUMENT])
        rows = [row | {"characters": value}, row | {"text": None, "characters": value}]
        write_part(
            str(tmp_path), part, iter([pa.RecordBatch.from_pylist(rows, with_verdict(schema))]), schema
        )
        table = pq.read_table(tmp_path / f"part-{part:05d}.parquet")
        assert table["characters"].to_pylist() == [counted, None if kind != pa.string() else "seven"]
        assert table.schema.field("characters").type == (kind or pa.int64())
        assert table.drop_columns("characters").schema.names == DOCUMENT.names


def test_documents_are_found_by_id_and_url(tmp_path):
    """Each row group of documents carries Bloom filters, as DuckDB sees them; tables of numbers do not."""
    rows = [
        dict.fromkeys(DOCUMENT.names) | {"id": f"i{k}", "text": "t", "url": f"u{k}"} for k in range(10_000)
    ]
    batches = pa.Table.from_pylist(rows, with_verdict(DOCUMENT)).to_batches(max_chunksize=256)
    write_part(str(tmp_path), 0, iter(batches), DOCUMENT)
    path = tmp_path / "part-00000.parquet"
    found = duckdb.sql(
        f"SELECT path_in_schema, count(*), count(bloom_filter_offset) FROM parquet_metadata('{path}') GROUP BY ALL"
    ).fetchall()
    groups = pq.ParquetFile(path).num_row_groups
    assert groups == 2
    assert {row for row in found if row[2]} == {("id", groups, groups), ("url", groups, groups)}
    for key in (0, 5_000, 9_999):
        assert duckdb.sql(f"SELECT url FROM '{path}' WHERE id = 'i{key}'").fetchall() == [(f"u{key}",)]
    probe = duckdb.sql(
        f"SELECT bool_or(NOT bloom_filter_excludes) FROM parquet_bloom_probe('{path}', 'id', 'absent')"
    )
    assert probe.fetchall() == [(False,)]


def test_only_documents_get_characters(tmp_path):
    write_part(str(tmp_path), 0, judged([None]), SCHEMA)
    assert pq.read_schema(tmp_path / "part-00000.parquet").names == ["id", "text"]


def test_a_failed_task_leaves_no_part(tmp_path):
    def broken(_):
        yield from judged([None] * 20)
        raise ValueError("in the middle")

    run = MapParts((Task(0, ("x",)),), str(tmp_path), SCHEMA, broken)
    with pytest.raises(ValueError, match="in the middle"):
        run.run(Task(0, ("x",)))
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == []
    assert read_counts(str(tmp_path)) == []


def test_a_transform_that_loses_a_row_is_found_out(tmp_path):
    class Loses:
        def schema(self, rows):
            return rows

        def __call__(self, batches):
            for batch in batches:
                yield from judged([None] * (batch.num_rows - 1))

    read = lambda _: iter([pa.RecordBatch.from_pylist([{"id": "a", "text": "b"}] * 3, SCHEMA)])
    run = MapParts((Task(0, ("x",)),), str(tmp_path), SCHEMA, read, Loses())
    (result,) = run(iter([pa.RecordBatch.from_pydict({"id": [0]})]))
    assert "3 rows went in and 2 came out" in result["error"][0].as_py()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), max_size=12), st.integers(1, 6))
def test_buckets_are_told_apart_wherever_batches_end(runs, size):
    rows = [
        {"bucket": b, "id": f"{b}-{i}", "text": ""} for b, n in sorted(dict(runs).items()) for i in range(n)
    ]
    schema = pa.schema([("bucket", pa.int32()), *SCHEMA])
    batches = [pa.RecordBatch.from_pylist(rows[i : i + size], schema) for i in range(0, len(rows), size)]
    found = {
        b: [i for batch in stream for i in batch["id"].to_pylist()] for b, stream in by_bucket(iter(batches))
    }
    assert found == {b: [r["id"] for r in rows if r["bucket"] == b] for b, _ in runs}


def test_a_bucket_that_fails_leaves_its_rows_to_nobody(tmp_path):
    class FailsOnOne:
        def schema(self, rows):
            return rows

        def __call__(self, batches):
            first = next(batches)
            if first["id"][0].as_py() == "1-0":
                raise LodeError("bucket one is bad")
            yield from judged([None] * first.num_rows)

    schema = pa.schema([("bucket", pa.int32()), *SCHEMA])
    rows = [{"bucket": b, "id": f"{b}-{i}", "text": ""} for b in (0, 1, 2) for i in range(2)]
    batches = [pa.RecordBatch.from_pylist([row], schema) for row in rows]
    batches = [pa.Table.from_batches(batches).combine_chunks().to_batches()[0]]
    errors = [b["error"][0].as_py() for b in WriteBuckets(str(tmp_path), SCHEMA, FailsOnOne())(iter(batches))]
    assert errors == [None, "bucket one is bad", None]


def test_only_errors_that_no_retry_mends_become_sentences():
    with reported("writing x") as result:
        raise OSError(errno.ENOSPC, "No space left on device", "/full/disk")
    assert result["error"] == "No space left on device while writing x (/full/disk)"
    with pytest.raises(ConnectionResetError), reported("reading y"):
        raise ConnectionResetError("gone")


def test_counts_survive_their_file():
    counts = Counts(5, 3, 3)
    counts.dropped.update(["a", "a"])
    assert Counts.from_json(counts.as_json()) == counts


def test_dropped_rows_of_documents_keep_their_names(tmp_path):
    row = dict.fromkeys(DOCUMENT.names, "v") | {"reason": "r", "detail": "d"}
    write_part(str(tmp_path), 0, iter([pa.RecordBatch.from_pylist([row], with_verdict(DOCUMENT))]), DOCUMENT)
    (found,) = pq.read_table(tmp_path / "dropped" / "part-00000.parquet").to_pylist()
    kept = dict.fromkeys(("id", "url", "source", "repository", "path", "language"), "v")
    assert found == kept | {"size": None, "reason": "r", "detail": "d"}
