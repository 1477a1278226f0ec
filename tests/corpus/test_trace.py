"""From tokens back to pages and files, and from an address forward to its end; and the same in a saved file."""

import pathlib
import shutil
import subprocess
import sys

import duckdb
import pytest

from corpus.errors import LodeError
from corpus.inspect import open_work, query
from corpus.saved import save
from corpus.trace import plain_key
from tests.tiny_work import TinyWork


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    work = tmp_path_factory.mktemp("trace") / "work"
    TinyWork(work).build()
    return work


def rows(connection, sql: str) -> list[dict]:
    columns, found = query(connection, sql)
    return [dict(zip(columns, row, strict=True)) for row in found]


def test_every_document_of_the_work_folder_can_be_followed(folder):
    connection = open_work(str(folder))
    for row in rows(connection, "SELECT DISTINCT stage, id, url FROM documents WHERE id IS NOT NULL"):
        events = rows(connection, f"FROM trace('{row['id']}')")
        assert (row["stage"], "kept") in {(event["stage"], event["fate"]) for event in events}
        assert [event["place"] for event in events] == sorted(event["place"] for event in events)
    for row in rows(connection, "SELECT stage, id, reason FROM dropped WHERE id IS NOT NULL"):
        events = rows(connection, f"FROM trace('{row['id']}')")
        assert (row["stage"], "dropped", row["reason"]) in {
            (e["stage"], e["fate"], e["reason"]) for e in events
        }


def test_all_spellings_of_an_address_find_it(folder):
    connection = open_work(str(folder))
    (row,) = rows(connection, "SELECT id, url FROM documents WHERE url LIKE 'http%' ORDER BY id LIMIT 1")
    plain = row["url"].partition("://")[2]
    host, slash, rest = plain.partition("/")
    spellings = [
        row["url"],
        plain,
        f"  {row['url']}#part ",
        f"HTTP://WWW.{host.upper()}{slash}{rest}",
        f"{row['url']}/",
    ]
    for spelling in [*spellings, plain_key(row["url"])]:
        assert row["id"] in {event["id"] for event in rows(connection, f"FROM trace('{spelling}')")}, spelling
    assert (
        rows(connection, f"FROM trace('{row['url']}x')")
        == rows(connection, "FROM trace('nobody/nothing')")
        == []
    )


def test_every_token_of_a_shard_has_an_origin(folder):
    connection = open_work(str(folder))
    spans = rows(connection, "FROM shard_documents WHERE id IS NOT NULL")
    assert spans
    for span in spans:
        first, last = span["start"], span["start"] + span["length"] - 1
        found = rows(connection, f"FROM origin('{span['file']}', {span['row']}, {first}, {last})")
        assert (span["stage"], span["id"]) in {(one["stage"], one["id"]) for one in found}
        assert all(one["start"] <= last and one["start"] + one["length"] > first for one in found)
    assert rows(connection, "FROM origin('part-00000.parquet', 99999, 0, 1)") == []


def test_without_windows_a_file_is_followed_with_its_whole_repository(folder, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(folder, work)
    (row,) = rows(
        open_work(str(folder)),
        "SELECT id, repository, files[1].path AS path FROM repositories SEMI JOIN shard_documents USING (id) LIMIT 1",
    )
    for stage in rows(open_work(str(folder)), "SELECT DISTINCT stage FROM windows"):
        shutil.rmtree(work / stage["stage"])
    connection = open_work(str(work))
    events = rows(connection, f"FROM trace('{row['repository']} {row['path']}')")
    packed = [event for event in events if event["fate"] == "packed"]
    assert packed and {event["id"] for event in packed} == {row["id"]}
    one = packed[0]
    (origin, *_) = rows(
        connection, f"FROM origin('{one['file']}', {one['row']}, {one['start']}, {one['start']})"
    )
    assert row["path"] in origin["files"]


def test_a_near_duplicate_is_followed_into_what_was_kept_for_it(folder):
    connection = open_work(str(folder))
    pairs = rows(connection, "SELECT DISTINCT id, winner FROM clusters WHERE id <> winner")
    assert pairs
    for pair in pairs:
        events = rows(connection, f"FROM trace('{pair['id']}')")
        assert {event["id"] for event in events if event["of_winner"]} <= {pair["winner"]}
    kept = {event["id"] for event in rows(connection, "SELECT id FROM documents")}
    known = [pair for pair in pairs if pair["winner"] in kept]
    assert known
    for pair in known:
        events = rows(connection, f"FROM trace('{pair['id']}')")
        assert pair["winner"] in {event["id"] for event in events if event["of_winner"]}


def test_a_saved_file_answers_without_lode(folder, tmp_path):
    save(open_work(str(folder)), str(tmp_path / "corpus.duckdb"))
    ours = open_work(str(folder))
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); assert 'corpus' not in sys.modules; "
        "[print(v, c.execute(f'SELECT count(*) FROM {v}').fetchone()[0]) for (v,) in "
        "c.execute(\"SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' ORDER BY 1\")"
        ".fetchall()]; "
        "print(len(c.execute('FROM trace(?)', [sys.argv[2]]).fetchall()))"
    )
    (one,) = rows(ours, "SELECT id FROM shard_documents WHERE id IS NOT NULL LIMIT 1")
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "corpus.duckdb"), one["id"]],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    *counts, events = run.stdout.splitlines()
    assert int(events) == len(rows(ours, f"FROM trace('{one['id']}')")) > 0
    names = [name for (name,) in query(ours, "SELECT view_name FROM duckdb_views() WHERE NOT internal AND "
                                             "schema_name = 'main' ORDER BY 1")[1]]  # fmt: skip
    assert counts == [f"{name} {query(ours, f'SELECT count(*) FROM {name}')[1][0][0]}" for name in names]
    assert {"documents", "shards", "stages", "problems", "paths"} <= set(names)
    assert (tmp_path / "corpus.duckdb").stat().st_size < 20_000_000


def test_saving_replaces_its_own_file_and_no_other(folder, tmp_path):
    connection = open_work(str(folder))
    place = tmp_path / "corpus.duckdb"
    save(connection, str(place))
    save(connection, str(place))
    assert query(connection, "SELECT count(*) FROM stages")[1][0][0] > 0  # the connection is as it was
    with duckdb.connect(str(place)) as other:
        other.execute("CREATE TABLE mine AS SELECT 1 AS x")
    with pytest.raises(LodeError, match="not only"):
        save(connection, str(place))
    place.write_text("a letter")
    with pytest.raises(LodeError, match="not, or not only, such views"):
        save(connection, str(place))
    assert place.read_text() == "a letter"
    with pytest.raises(LodeError, match="this is a folder"):
        save(connection, str(tmp_path))
    with pytest.raises(LodeError, match="can not be written"):
        save(connection, str(tmp_path / "none" / "x.duckdb"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.duckdb"]


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(b"\xff\x00PAR1" * 50),
    "middle": lambda path: path.write_bytes(
        (content := path.read_bytes())[: len(content) // 3] + b"\xaa" * 40 + content[len(content) // 3 + 40 :]
    ),
    "gone": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "list": lambda path: path.write_text("[1, 2]"),
    "types": lambda path: path.write_text(
        '{"stage": 3, "inputs": [], "dropped": 7, "rows_in": "x", "parameters": null}'
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_whatever_is_damaged_the_rest_is_shown(folder, tmp_path, kind):
    """Each file of the work folder, all kinds of damage taking turns."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = files[list(DAMAGE).index(kind) :: len(DAMAGE)]
    whole = {stage for (stage,) in query(open_work(str(folder)), "SELECT stage FROM stages")[1]}
    for number, file in enumerate(files):
        work = tmp_path / str(number)
        shutil.copytree(folder, work)
        DAMAGE[kind](work / file)
        connection = open_work(str(work))
        seen = {stage for (stage,) in query(connection, "SELECT stage FROM stages")[1]}
        assert len(whole - seen) <= 1, file
        for (view,) in query(
            connection, "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"
        )[1]:
            try:
                query(connection, f"SELECT count(*) FROM {view}")
            except LodeError as error:  # a file whose end is whole and whose middle is not
                assert kind == "middle" and "\n" not in str(error)
        shutil.rmtree(work)
