"""Views over a work folder, whole, partial and damaged; what pyarrow reads from the files is the oracle."""

import json
import pathlib

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import inspect
from corpus.errors import LodeError
from corpus.inspect import open_work, query, statistic, statistics
from tests.tiny_work import TinyWork

VIEWS = [
    "documents",
    "corpus",
    "dropped",
    "stages",
    "mining_rounds",
    "scores",
    "domains",
    "paths",
    "clusters",
    "contamination",
    "repositories",
    "edges",
    "accounts",
    "lost_dependencies",
    "windows",
    "shards",
    "shard_documents",
    "training",
    "evaluation",
    "problems",
]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> pathlib.Path:
    return TinyWork(tmp_path_factory.mktemp("work")).build()


def rows(path, sql):
    return query(open_work(str(path), 2), sql)[1]


def test_every_stage_is_a_view(work):
    connection = open_work(str(work), 2)
    found = {view: query(connection, f"SELECT count(*) FROM {view}")[1][0][0] for view in VIEWS}
    manifests = list(work.glob("**/_lode.json"))
    stages = ["pages", "mined", "deduplicated", "files", "code_rules", "repositories"]

    def whole(*folders: str) -> int:
        files = [file for folder in folders for file in (work / folder).glob("*.parquet")]
        return sum(ds.dataset(file).count_rows() for file in files)

    assert found == {
        "documents": whole(*stages),
        "corpus": whole("deduplicated", "repositories"),
        "dropped": whole(*(f"{stage}/dropped" for stage in [*stages, "shards"])),
        "stages": len(manifests),
        "mining_rounds": 2,
        "scores": 2,
        "domains": 2,
        "paths": 2,
        "clusters": 1,
        "contamination": 1,
        "repositories": 1,
        "edges": 1,
        "accounts": 1,
        "lost_dependencies": 1,
        "windows": 3,
        "shards": 1,
        "shard_documents": 2,
        "training": whole("run"),
        "evaluation": 1,
        "problems": 0,
    }


def test_columns_of_other_stages_are_null(work):
    assert rows(work, "SELECT DISTINCT target, formulas FROM documents WHERE stage = 'files'") == [
        (None, None)
    ]
    assert rows(work, "SELECT stage, target FROM documents WHERE id = 'p3' ORDER BY stage") == [
        ("deduplicated", "math"),
        ("mined", "math"),
        ("pages", None),
    ]


def test_stages_come_in_order_with_their_accounts(work):
    found = rows(
        work, "SELECT stage, rows_in, rows_out, rows_dropped, dropped['not_html'], inputs, final FROM stages"
    )
    assert found[0] == ("pages", 5, 4, 1, 1, [], False)
    assert [row[0] for row in found if row[6]] == ["deduplicated", "repositories"]
    assert all(row[1] == row[2] + row[3] for row in found)
    assert next(row[5] for row in found if row[0] == "tokenized") == ["deduplicated", "repositories"]


def test_rounds_of_an_earlier_longer_run_are_left_out(work):
    found = rows(
        work, "SELECT round, collected, precision, accepted, stopped FROM mining_rounds ORDER BY round"
    )
    assert found == [
        (1, 2, 0.9, ["a.example/m"], None),
        (2, 3, 0.9, ["a.example/m"], "the limit of 2 rounds"),
    ]
    assert rows(work, "SELECT max(round) FROM scores") == [(2,)]
    assert rows(work, "SELECT DISTINCT domain, path, accepted FROM paths") == [
        ("a.example", "a.example/m", True)
    ]


def test_one_stage_one_file_and_a_glob(work):
    stage = rows(work / "mined", "SELECT DISTINCT stage FROM documents")
    assert stage == [("mined",)]
    assert rows(work / "mined", "SELECT stage, reason FROM dropped") == [("mined", "not_collected")]
    assert rows(work / "pages" / "part-00001.parquet", "SELECT count(*) FROM corpus") == [(2,)]
    assert rows(f"{work}/pages/part-*.parquet", "SELECT DISTINCT stage, count(*) FROM corpus GROUP BY 1") == [
        ("pages", 4)
    ]


def test_documents_of_others_and_unusable_texts(tmp_path):
    """A result of `lode decontaminate` for Parquet with nothing but an id and a text; examples are no documents."""

    def write(name: str, row: dict[str, object]) -> None:
        (tmp_path / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / name / "part-00000.parquet")

    write("clean", {"id": "a", "text": "one"})
    write("clean/unusable", {"benchmark": "b.jsonl", "item": "1", "field": "answer", "text": "4"})
    write("examples", {"id": "b", "url": "u", "writing": "latin", "target": "t", "text": "two"})
    assert rows(tmp_path, "SELECT stage, id, text, url FROM documents") == [("clean", "a", "one", None)]
    assert rows(tmp_path, "FROM unusable") == [("clean", "b.jsonl", "1", "answer", "4")]


def test_nothing_there(tmp_path):
    with pytest.raises(LodeError, match="no stage and no Parquet file"):
        open_work(str(tmp_path))
    with pytest.raises(LodeError, match="no Parquet files there"):
        open_work(str(tmp_path / "missing"))


def test_missing_stages_are_empty_views(tmp_path):
    tiny = TinyWork(tmp_path)
    tiny.manifest("pages", 0, {}, [])
    connection = open_work(str(tmp_path), 2)
    for view in VIEWS:
        columns, found = query(connection, f"FROM {view}")
        assert columns and (view == "stages") == bool(found)
    for name in statistics():
        assert statistic(connection, name, "%x%")[1] == []


def test_every_question_has_an_answer_in_a_whole_folder(work):
    connection = open_work(str(work), 2)
    for name, question in statistics().items():
        assert question.question.endswith((".", "?", ")")), name
        assert statistic(connection, name, "%/m/p%")[1], name
    with pytest.raises(LodeError, match="no such question; there are accounts, bytes_by_licence,"):
        statistic(connection, "nonsense")


def test_why_tells_a_pages_way(work):
    _, found = statistic(open_work(str(work), 2), "why", "%/m/p44")
    assert [row[1:5] for row in found] == [
        ("pages", "kept", None, None),
        ("mined", "dropped", "not_collected", "math 0.1"),
    ]


def test_what_became_of_the_files_of_a_repository(work):
    connection = open_work(str(work), 2)
    assert query(
        connection,
        "SELECT path, stage, reason FROM dropped WHERE source = 'shelf' AND repository = 'tool' ORDER BY path",
    )[1] == [("tool/c.py", "code_rules", "line_too_long"), ("tool/x.bin", "files", "binary")]
    assert statistic(connection, "dropped_files")[1] == [
        ("tool", "code_rules", "line_too_long", 1, 70, "tool/c.py"),
        ("tool", "files", "binary", 1, 5, "tool/x.bin"),
    ]
    assert statistic(connection, "accounts")[1] == [
        ("repositories", "tool", 4, 2, 2, "binary 1, line_too_long 1", 2, 1, 0, "kept")
    ]
    assert statistic(connection, "lost_dependencies")[1] == [
        ("repositories", "tool", "tool/c.py", "code_rules", "line_too_long", 1, "tool/b.py")
    ]
    assert [row[1] for row in statistic(connection, "why", "tool")[1] if row[2] == "dropped"] == [
        "code_rules",
        "files",
    ]


def test_bytes_of_each_language_and_licence(work):
    """Each file once, though several stages hold it; the first has no size, as files from elsewhere."""
    assert statistic(open_work(str(work), 2), "bytes_by_licence")[1] == [
        ("Python", None, 2, 70, 1, 0),
        ("Python", "MIT", 1, 12, 1, 12),
    ]


def test_fill_in_the_middle_is_counted_from_the_tokens(work):
    _, found = statistic(open_work(str(work), 2), "fim")
    assert found == [("shards", "math", 0, None, 0.0), ("shards", "shelf", 1, 5, 1.0)]


def test_damaged_files_are_named_and_left_out(tmp_path):
    work = TinyWork(tmp_path).build()
    whole = (work / "pages" / "part-00000.parquet").read_bytes()
    (work / "pages" / "part-00000.parquet").write_bytes(whole[: len(whole) // 2])
    (work / "mined" / "part-00000.parquet").write_bytes(b"")
    (work / "files" / "_lode.json").write_text('{"stage": "files", "rows_in":')
    (work / "repositories" / "_lode.json").write_text(
        json.dumps({"stage": "repositories", "rows_in": "many"})
    )
    connection = open_work(str(work), 2)
    named = {file for file, _ in query(connection, "FROM problems")[1]}
    assert named == {
        "pages/part-00000.parquet",
        "mined/part-00000.parquet",
        "files/_lode.json",
        "repositories/_lode.json",
    }
    assert query(connection, "SELECT count(*) FROM documents WHERE stage = 'pages'")[1] == [(2,)]
    assert query(connection, "SELECT count(*) FROM documents WHERE stage = 'files'")[1] == [(3,)]
    assert query(connection, "SELECT count(*) FROM stages WHERE stage IN ('files', 'repositories')")[1] == [
        (0,)
    ]


DAMAGED = [
    "[]",
    "null",
    "7",
    '"x"',
    "{",
    "",
    '{"stage": 5}',
    '{"stage": "\\ud800"}',
    '{"stage": "s", "dropped": {"a": "b"}}',
    '{"stage": "s", "inputs": [1]}',
    '{"stage": "s", "rows_in": 1e400}',
    '{"stage": "s", "rows_in": 99999999999999999999}',
    '{"stage": "mining/round-1/models", "models": {"math": 3}, "round": [1]}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_no_manifest_is_bad_enough_to_fail(tmp_path, text):
    TinyWork(tmp_path).manifest("pages", 1, {}, [])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "_lode.json").write_text(text)
    assert rows(tmp_path, "SELECT count(*) FROM stages WHERE stage = 'pages'") == [(1,)]


def test_an_unfinished_stage_is_left_out_and_a_running_training_is_shown(tmp_path):
    work = TinyWork(tmp_path).build()
    for stage in ("mined", "run"):
        (work / stage / "_lode.json").rename(work / stage / "_running.json")
    (work / "run" / "metrics.parquet").unlink()
    lines = (work / "run" / "metrics.jsonl").read_text()
    (work / "run" / "metrics.jsonl").write_text(lines + '{"step": 41, "lo')
    connection = open_work(str(work), 2)
    assert query(connection, "SELECT count(*) FROM documents WHERE stage = 'mined'")[1] == [(0,)]
    assert query(connection, "SELECT count(*) FROM dropped WHERE stage = 'mined'")[1] == [(0,)]
    assert query(connection, "SELECT count(*), max(step) FROM training")[1] == [(len(lines.splitlines()), 40)]
    assert {file for file, _ in query(connection, "FROM problems")[1]} == {
        "mined",
        "run",
        "run/metrics.jsonl",
    }


def test_columns_of_a_wrong_type_are_null_and_a_part_without_one_is_named(tmp_path):
    work = TinyWork(tmp_path).build()
    table = pq.read_table(work / "repositories" / "part-00000.parquet")
    odd = table.set_column(table.schema.names.index("language"), "language", [[{"not": "text"}]])
    pq.write_table(odd, work / "repositories" / "part-00000.parquet")
    scores = work / "mining" / "round-1" / "scores" / "part-00000.parquet"
    pq.write_table(pq.read_table(scores).drop_columns(["url"]), scores)
    connection = open_work(str(work), 2)
    assert query(connection, "SELECT stage, typeof(language) FROM documents WHERE id IN ('f1', 'r1')")[1] == [
        ("code_rules", "VARCHAR"),
        ("files", "VARCHAR"),
        ("repositories", "VARCHAR"),
    ]
    assert query(connection, "SELECT round FROM scores")[1] == [(2,)]
    assert [file for file, _ in query(connection, "FROM problems")[1]] == ["scores"]


def test_sql_errors_are_one_sentence(work):
    connection = open_work(str(work), 2)
    for sql in ("SELEC 1", "SELECT nope FROM documents", "FROM nowhere", "SELECT 1 / 'x'"):
        with pytest.raises(LodeError, match=r"^SQL: ") as caught:
            query(connection, sql)
        assert "\n" not in str(caught.value) and "^" not in str(caught.value)


def test_duckdb_downloads_nothing_and_sees_no_variables_of_python(work):
    connection = open_work(str(work), 2)
    names = "('autoinstall_known_extensions', 'autoload_known_extensions', 'python_enable_replacements')"
    assert query(connection, f"SELECT DISTINCT value FROM duckdb_settings() WHERE name IN {names}")[1] == [
        ("false",)
    ]


def test_a_work_folder_in_another_filesystem(work):
    memory = fsspec.filesystem("memory")
    for file in work.glob("**/*"):
        if file.is_file():
            memory.pipe(f"/bucket/work/{file.relative_to(work)}", file.read_bytes())
    there = open_work("memory://bucket/work", 2)
    here = open_work(str(work), 2)
    for view in VIEWS:
        assert sorted(map(repr, query(there, f"FROM {view}")[1])) == sorted(
            map(repr, query(here, f"FROM {view}")[1])
        )


def test_a_folder_whose_name_is_a_pattern(tmp_path):
    work = TinyWork(tmp_path / "it's [1] *").build()
    assert rows(work, "SELECT count(*) FROM corpus") == [(3,)]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_literals_and_names_come_back_as_they_were(text):
    import duckdb

    found = duckdb.sql(f"SELECT {inspect.literal(text)} AS {inspect.quoted('c' + text)}")
    assert found.fetchall() == [(text,)]
    assert found.columns == ["c" + text]


def test_a_stage_that_lost_its_manifest_is_named_and_shown(tmp_path):
    work = TinyWork(tmp_path).build()
    (work / "mined" / "_lode.json").unlink()
    connection = open_work(str(work))
    assert [file for (file,) in connection.execute("SELECT file FROM problems").fetchall()] == ["mined"]
    assert connection.execute("SELECT count(*) FROM documents WHERE stage = 'mined'").fetchone() != (0,)


def test_manifests_that_nobody_can_read_and_columns_without_a_name_are_problems(tmp_path):
    work = tmp_path / "work"
    TinyWork(work).build()
    deep, looped, *_ = sorted(work.rglob("_lode.json"))
    deep.write_text("[" * 100_000 + "]" * 100_000)
    looped.unlink()
    looped.symlink_to(looped)
    part = next(work.rglob("part-*.parquet"))
    table = pa.table({"id": ["x"], "zzzz": ["y"]})
    pq.write_table(table, part)
    part.write_bytes(part.read_bytes().replace(b"zzzz", b"\xff\xfe\xff\xfe"))
    connection = open_work(str(work))
    named = {file for (file,) in query(connection, "SELECT file FROM problems")[1]}
    assert {str(deep.relative_to(work)), str(part.relative_to(work))} <= named


def test_a_run_that_has_only_its_curves_is_shown(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "tokens": 8, "loss": 2.5}\n')
    connection = open_work(str(tmp_path))
    assert query(connection, "SELECT step, loss FROM training")[1] == [(1, 2.5)]
