"""Parquet tables of files: every layout gives the rows of the repository, whatever order and files the rows lie in."""

import datetime
import gzip
import hashlib
import itertools
import pickle
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.archives import LIMITS
from corpus.errors import LodeError
from corpus.file_tables import FIELDS, ORDER, SHUFFLED, FinishRepositories, TableFile, is_table, read_table
from corpus.repositories import FILE, read_repository
from corpus.repository_facts import FactList, repository_key, write_facts
from corpus.schema import document_id, with_verdict

FILES = {
    "README.md": "# x\n",
    "src/a.py": "import b\n",
    "src/b.py": "x = 'é'\n",
    "LICENSE": "do as you like\n",
}
COMMIT = "c" * 40
CHANGED = datetime.datetime(2023, 9, 5, 9, 30, tzinfo=datetime.UTC)


def blob_of(text: str) -> str:
    data = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def the_stack():
    return [
        {"hexsha": blob_of(text), "size": len(text.encode()), "lang": "Python", "content": text}
        | {"max_stars_repo_name": "owner/name", "max_stars_repo_path": path, "max_stars_count": 7}
        | {"max_stars_repo_head_hexsha": COMMIT, "max_stars_repo_licenses": ["MIT", "Apache-2.0"]}
        | {"max_forks_count": forks, "max_forks_repo_name": forker}
        for (path, text), (forks, forker) in zip(
            FILES.items(),
            [(3, "owner/name"), (99, "other/name"), (None, None), (2, "owner/name")],
            strict=True,
        )
    ]


def the_stack_v2_file(path, text):
    return {
        "blob_id": blob_of(text), "path": f"/{path}", "content_id": "d" * 40, "language": "Python",
        "length_bytes": len(text.encode()), "detected_licenses": ["MIT", "Apache-2.0"], "license_type": "permissive",
        "src_encoding": "UTF-8", "is_vendor": False, "is_generated": False, "content": text,
    }  # fmt: skip


def the_stack_v2_repository():
    return {
        "repo_name": "owner/name", "snapshot_id": "a" * 40, "revision_id": COMMIT, "directory_id": "b" * 40,
        "branch_name": "refs/heads/main", "visit_date": CHANGED, "revision_date": CHANGED, "committer_date": CHANGED,
        "github_id": 1, "star_events_count": 7, "fork_events_count": 3, "gha_license_id": None, "gha_language": None,
    }  # fmt: skip


def the_stack_v2():
    return [the_stack_v2_repository() | the_stack_v2_file(*file) for file in FILES.items()]


def the_stack_v2_train():
    files = [the_stack_v2_file(*file) for file in FILES.items()]
    return [the_stack_v2_repository() | {"files": files, "num_files": len(files)}]


def github_code():
    return [
        {
            "code": text,
            "repo_name": "owner/name",
            "path": path,
            "language": "Python",
            "license": "mit",
            "size": 1,
        }
        for path, text in FILES.items()
    ]


def own():
    return [{"project": "owner/name", "file": path, "body": text} for path, text in FILES.items()]


OWN = (("repository", "project"), ("path", "file"), ("text", "body"))
LAYOUTS = {
    "the_stack": (the_stack(), ()),
    "the_stack_v2": (the_stack_v2(), ()),
    "the_stack_v2_train": (the_stack_v2_train(), ()),
    "github_code": (github_code(), ()),
    "own": (own(), OWN),
}


def table(path, rows, schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return str(path)


def shuffled(tables, buckets=4, **options):
    """What Spark's shuffle does with the rows of some tables: those of each part together, in `ORDER`."""
    rows = [
        row
        for table in tables
        for batch in read_table(table, 0, buckets, **options)
        for row in batch.to_pylist()
    ]
    names = ("bucket", *ORDER)
    rows.sort(key=lambda row: [(row[n] is not None, row[n] if row[n] is not None else 0) for n in names])
    return rows


def finished(tables, finish=None, buckets=4, **options):
    finish = pickle.loads(pickle.dumps(finish or FinishRepositories()))
    found = []
    for _, part in itertools.groupby(shuffled(tables, buckets, **options), key=lambda row: row["bucket"]):
        for batch in finish(iter([pa.RecordBatch.from_pylist(list(part), SHUFFLED)])):
            assert batch.schema == with_verdict(FILE)
            found += batch.to_pylist()
    return found


def texts(rows):
    return {row["path"]: row["text"] for row in rows}


def reasons(rows):
    return sorted((row["path"], row["reason"]) for row in rows if row["reason"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repository_in_every_layout(tmp_path, layout):
    rows, columns = LAYOUTS[layout]
    found = finished([TableFile("s", table(tmp_path / "t.parquet", rows), columns)])
    assert [row["path"] for row in found] == sorted(FILES)
    assert texts(found) == FILES and reasons(found) == []
    for row in found:
        assert row["id"] == document_id("s", f"owner/name\n{row['path']}")
        assert (row["source"], row["repository"]) == ("s", "owner/name")
        assert row["blob"] == blob_of(row["text"]) and row["encoding"] == "utf-8"
    assert {row["path"]: row["language"] for row in found}["src/a.py"] == "Python"
    if layout.startswith("the_stack"):
        assert {(row["stars"], row["forks"], row["revision"]) for row in found} == {(7, 3, COMMIT)}
        assert {row["licence"] for row in found} == {"Apache-2.0 AND MIT"}
        assert {row["size"] for row in found} == {len(text.encode()) for text in FILES.values()}
    if layout.startswith("the_stack_v2"):
        assert {row["updated"] for row in found} == {CHANGED}


@pytest.mark.parametrize("compliant", [True, False])
def test_lists_of_files_of_any_writer_and_length(tmp_path, compliant):
    many = {f"d/m{n:03d}.py": f"x = {n}\n" for n in range(300)}
    one, none, null = (
        the_stack_v2_repository() | {"repo_name": name} for name in ("a/one", "a/none", "a/null")
    )
    rows = [
        one | {"files": [the_stack_v2_file(*f) for f in many.items()]},
        none | {"files": []},
        null | {"files": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet", use_compliant_nested_type=compliant)
    found = finished([TableFile("s", str(tmp_path / "t.parquet"))])
    assert texts(row for row in found if not row["reason"]) == many
    assert [(r["repository"], r["reason"]) for r in sorted(found, key=lambda r: r["repository"]) if r["reason"]] == [
        ("a/none", "empty_repository"), ("a/null", "empty_repository")
    ]  # fmt: skip


def test_the_same_rows_as_an_archive_and_as_lodes_own_files(tmp_path):
    folder = tmp_path / "name"
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    wanted = list(read_repository(str(folder), "s"))
    rows = [{k: v for k, v in row.items() if k not in ("reason", "detail")} for row in wanted]
    assert finished([TableFile("s", table(tmp_path / "t.parquet", rows, FILE))]) == wanted


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns"), pa.timestamp("ms", "Asia/Tokyo"), pa.string(), pa.int64(), pa.date32()]
)
def test_times_of_every_kind(tmp_path, kind):
    value = {
        pa.string(): "2023-09-05T09:30:00", pa.int64(): int(CHANGED.timestamp() * 10**9), pa.date32(): CHANGED.date()
    }.get(kind, CHANGED)  # fmt: skip
    schema = pa.schema(
        [("repo_name", "string"), ("path", "string"), ("content", "large_string"), ("committer_date", kind)]
    )
    row = {"repo_name": "r", "path": "/a.py", "content": "x", "committer_date": value}
    (found,) = finished([TableFile("s", table(tmp_path / "t.parquet", [row], schema))])
    assert found["updated"] == (CHANGED.replace(hour=0, minute=0) if kind == pa.date32() else CHANGED)


def test_bytes_that_are_no_unicode_and_other_bad_rows(tmp_path):
    names = ["repo_name", "path", "content", "length_bytes", "language"]
    rows = [
        (b"r", b"/utf8.py", "é = 1\n".encode(), 7, b"Python"),
        (b"r", b"/latin.py", "# caf\xe9 au lait, d\xe9j\xe0 vu, na\xefve\n".encode("latin-1"), None, None),
        (b"r", b"/bad\xff.py", b"x", 1, None),
        (b"r", b"/nul.py", b"\0\0", 2, None),
        (b"r", b"/../up.py", b"x", 1, None),
        (b"r", b"//abs.py", b"x", 1, None),
        (b"r", b"/absent.zig", None, 10, b"Zig"),
        (b"r", b"/big.py", b"x" * (LIMITS.file_bytes + 1), None, None),
        (b"r", b"/empty.py", b"", 0, None),
        (b"r", None, b"x", 1, None),
        (None, b"/lost.py", b"x", 1, None),
        (b"", b"/lost2.py", b"x", 1, None),
        (b"r\xff", b"/in.py", b"x", -5, None),
    ]
    columns = [
        pa.array(column, pa.int64() if n == 3 else pa.binary())
        for n, column in enumerate(zip(*rows, strict=True))
    ]
    # A string column may hold anything: Parquet's writers do not look.
    columns = [c if c.type == pa.int64() else c.view(pa.string()) for c in columns]
    pq.write_table(pa.table(columns, names), tmp_path / "t.parquet")
    found = finished([TableFile("s", str(tmp_path / "t.parquet"))])
    assert len(found) == len(rows)
    assert texts(row for row in found if row["text"] is not None) == {
        "utf8.py": "é = 1\n", "latin.py": "# café au lait, déjà vu, naïve\n", "empty.py": "", "in.py": "x"
    }  # fmt: skip
    assert reasons(found) == [
        ("", "no_path"), ("../up.py", "unsafe_path"), ("/abs.py", "unsafe_path"), ("absent.zig", "no_text"),
        ("bad\\udcff.py", "unsafe_path"), ("big.py", "too_large"), ("lost.py", "no_repository"),
        ("lost2.py", "no_repository"), ("nul.py", "binary"),
    ]  # fmt: skip


def test_of_one_path_the_newest_row_counts(tmp_path):
    base = the_stack_v2()[0]
    older = base | {
        "content": "old\n",
        "committer_date": CHANGED - datetime.timedelta(days=1),
        "blob_id": "e" * 40,
    }
    for number, rows in enumerate(itertools.permutations([base, older, base])):
        found = finished([TableFile("s", table(tmp_path / f"{number}.parquet", list(rows)))])
        assert [row["text"] for row in found if row["text"] is not None] == [base["content"]]
        assert [row["reason"] for row in found].count("duplicate_path") == 2


def test_a_repository_beyond_the_limits_goes_row_by_row(tmp_path):
    file = TableFile("s", table(tmp_path / "t.parquet", the_stack_v2()))
    found = finished([file], FinishRepositories(limits=LIMITS._replace(entries=3)))
    assert [row["reason"] for row in found] == ["too_many_files"] * 4
    assert sorted(row["path"] for row in found) == sorted(FILES)
    found = finished([file], FinishRepositories(limits=LIMITS._replace(held_bytes=10)))
    assert [row["reason"] for row in found] == ["repository_too_large"] * 4


def test_what_cannot_be_read_of_a_file_is_a_row(tmp_path):
    table(tmp_path / "a.parquet", the_stack_v2())
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "short.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.parquet").write_bytes(b"no Parquet at all")
    table(tmp_path / "other.parquet", [{"x": 1}])
    # Pages overwritten behind a footer that is whole.
    (tmp_path / "worn.parquet").write_bytes(data[:40] + b"\xff" * 200 + data[240:])
    names = ["a", "other", "short", "text", "worn"]
    found = finished([TableFile("s", str(tmp_path / f"{name}.parquet")) for name in names])
    broken = [row for row in found if row["reason"] == "table_broken"]
    assert sorted(row["path"] for row in broken) == [f"{name}.parquet" for name in names[1:]]
    assert all(row["detail"] for row in broken)
    assert len(found) == len(FILES) + 4


def test_a_list_of_repositories_adds_what_it_knows(tmp_path):
    (tmp_path / "about.csv").write_text(
        "repository,stars,forks,licence,updated\nOwner/Name,1000,,ISC,2025-01-02\n"
    )
    write_facts(str(tmp_path / "about.csv"), str(tmp_path / "facts.parquet"))
    finish = FinishRepositories(facts=(("s", str(tmp_path / "facts.parquet")),))
    found = finished([TableFile("s", table(tmp_path / "t.parquet", the_stack_v2()))], finish)
    newer = datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC)
    assert {(row["stars"], row["forks"], row["updated"]) for row in found} == {(1000, 3, newer)}
    assert {row["licence"] for row in found} == {"Apache-2.0 AND MIT"}
    found = finished([TableFile("s", table(tmp_path / "t.parquet", own()), OWN)], finish)
    assert {row["licence"] for row in found} == {"ISC"}


def test_an_unknown_layout_is_one_sentence(tmp_path):
    path = table(tmp_path / "t.parquet", [{"repo_name": "r", "path": "p", "body": "x"}])
    with pytest.raises(
        LodeError, match=r'no column for the text .* repo_name, path, body\. .*text = "\.\.\."'
    ):
        TableFile("s", path).layout()
    assert TableFile("s", path, (("text", "body"),)).layout().top["text"] == ("body",)
    with pytest.raises(LodeError, match=r"no column 'boddy', which columns\.text names"):
        TableFile("s", path, (("text", "boddy"),)).layout()
    with pytest.raises(LodeError, match=r"columns\.txt: there is no such field; valid are repository"):
        TableFile("s", path, (("txt", "body"),)).layout()


def test_what_is_a_table(tmp_path):
    (tmp_path / "hub" / "data" / "python").mkdir(parents=True)
    (tmp_path / "hub" / "README.md").write_text("x")
    (tmp_path / "hub" / ".gitattributes").write_text("x")
    assert not is_table(str(tmp_path / "hub"))
    table(tmp_path / "hub" / "data" / "python" / "a.parquet", own())
    assert is_table(str(tmp_path / "hub")) and is_table(str(tmp_path / "hub" / "data"))
    assert is_table(f"{tmp_path}/hub/data/*/*.parquet")
    (tmp_path / "hub" / "load.py").write_text("x")
    assert not is_table(str(tmp_path / "hub")) and not is_table("installed:idna")


def test_keys_are_those_that_duckdb_makes():
    import duckdb

    names = ["Owner/Name", "a", "é/x", ""]
    wanted = duckdb.sql(f"SELECT left(md5(lower(unnest({names}))), 16)").fetchall()
    assert [(repository_key(name),) for name in names] == wanted


row = st.fixed_dictionaries(
    {
        "repository": st.sampled_from(["a/b", "A/b", "c", "d/e", None]),
        "path": st.sampled_from(["x.py", "y.c", "../z", "/abs", "d/x.py", "LICENSE", None]),
        "text": st.one_of(st.none(), st.text(max_size=20)),
        "stars": st.one_of(st.none(), st.integers(0, 5)),
        "revision": st.sampled_from([None, "1" * 40, "2" * 40]),
        "updated": st.one_of(st.none(), st.integers(10**9, 10**9 + 2)),
        "licence": st.sampled_from([None, "MIT"]),
    }
)


@given(rows=st.lists(row, max_size=25), data=st.data())
def test_order_and_files_and_parts_decide_nothing(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("t")
    kinds = {"stars": pa.int64(), "updated": pa.int64()}
    schema = pa.schema(
        [(name, kinds.get(name, pa.string())) for name in FIELDS if name in row.wrapped_strategy.mapping]
    )
    mixed = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    one = finished([TableFile("s", table(folder / "0.parquet", rows, schema))], buckets=1)
    two = [
        TableFile("s", table(folder / f"{n}.parquet", half, schema))
        for n, half in ((1, mixed[:cut]), (2, mixed[cut:]))
    ]
    assert len(one) == len(rows)
    kept = [r for r in one if not r["reason"]]
    assert len({r["id"] for r in kept}) == len(kept)
    assert sorted(map(repr, finished(two, buckets=data.draw(st.integers(2, 5))))) == sorted(map(repr, one))


def test_blobs_are_gits(tmp_path):
    (tmp_path / "x").write_bytes(b"hello\n")
    wanted = subprocess.run(
        ["git", "hash-object", tmp_path / "x"], capture_output=True, text=True, check=True
    ).stdout
    rows = [{"project": "r", "file": "x.py", "body": "hello\n"}]
    (found,) = finished([TableFile("s", table(tmp_path / "t.parquet", rows), OWN)])
    assert found["blob"] == wanted.strip()


def test_rows_that_differ_in_anything_have_an_order():
    assert {*ORDER} == {*SHUFFLED.names} - {"bucket"}


def test_a_repository_that_an_archive_of_the_source_is_called_like(tmp_path):
    rows = [{"project": name, "file": "a.py", "body": "x\n"} for name in ("one", "two")]
    found = finished(
        [TableFile("s", table(tmp_path / "t.parquet", rows), OWN)],
        FinishRepositories(taken=frozenset([("s", "one"), ("other", "two")])),
    )
    assert {r["repository"]: r["reason"] for r in found} == {"one": "duplicate_repository", "two": None}


def test_the_language_of_a_file_without_its_text(tmp_path):
    rows = [{"repo_name": "a/b", "path": "/x.odd", "blob_id": "1" * 40, "content": None, "language": "Perl"}]
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    (row,) = finished([TableFile("s", table(tmp_path / "t.parquet", rows, schema))])
    assert (row["reason"], row["language"]) == ("no_text", "Perl")


def test_links_in_a_circle_are_no_table(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(tmp_path)
    assert not is_table(str(tmp_path))


@pytest.mark.parametrize("name", ["list[1].csv", "li*.csv", "a?.csv.gz"])
def test_a_list_whose_name_looks_like_a_pattern(tmp_path, name):
    text = b"repository,stars\na/b,5\n"
    (tmp_path / "list1.csv").write_bytes(b"repository,stars\na/b,7\n")
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert write_facts(str(tmp_path / name), str(tmp_path / "out.parquet")) == 1
    with FactList(str(tmp_path / "out.parquet")) as facts:
        assert facts.of("a/b").stars == 5


@pytest.mark.parametrize("date", ["99999-01-01", "infinity", "-infinity", "0001-01-01 (BC)", "soon"])
def test_a_date_beyond_reason_in_a_list(tmp_path, date):
    (tmp_path / "list.csv").write_text(f"repository,updated\na/b,{date}\n")
    with pytest.raises(LodeError, match=r"updated of a/b is .*; expected a date"):
        write_facts(str(tmp_path / "list.csv"), str(tmp_path / "out.parquet"))


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.binary_view(), pa.large_binary()])
def test_strings_of_every_kind(tmp_path, kind):
    columns = {
        "repo_name": pa.array([7]),
        "path": pa.array(["a.py"]),
        "code": pa.array(["x = 1\n"]).cast(kind),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (row,) = finished([TableFile("s", str(tmp_path / "t.parquet"))])
    assert (row["repository"], row["path"], row["text"]) == ("7", "a.py", "x = 1\n")


def test_a_column_that_is_there_twice(tmp_path):
    columns = [pa.array(["a"]), pa.array(["a.py"]), pa.array(["x"]), pa.array(["y"])]
    pq.write_table(pa.table(columns, ["repo_name", "path", "code", "code"]), tmp_path / "t.parquet")
    with pytest.raises(LodeError, match="the column 'code' is there twice"):
        TableFile("s", str(tmp_path / "t.parquet")).layout()
