"""Rules of who stays, against DuckDB's own sort and the standard library's reading of dates."""

import contextlib
import datetime
import functools
import math
import pickle

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import survivor
from corpus.errors import LodeError
from corpus.survivor import RULES, Ordering, parse_ordering

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("score", pa.float32()),
        ("stars", pa.uint64()),
        ("price", pa.decimal128(20, 2)),
        ("day", pa.date32()),
        ("seen", pa.timestamp("us", "UTC")),
        ("kept", pa.bool_()),
        ("edges", pa.int32()),
        ("files", pa.list_(pa.string())),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(max_size=3),
            "text": st.none() | st.text(max_size=5),
            "url": st.none() | st.text(max_size=5),
            "date": st.none() | st.dates().map(str),
            "score": st.none() | st.floats(width=32),
            "stars": st.none() | st.integers(0, 2**64 - 1),
            "price": st.none() | st.decimals(-1000, 1000, places=2),
            "day": st.none() | st.dates(),
            "seen": st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
            "kept": st.none() | st.booleans(),
            "edges": st.none() | st.integers(-(2**31), 2**31 - 1),
            "files": st.none() | st.lists(st.text(max_size=2), max_size=2),
        }
    ),
    min_size=1,
    max_size=20,
)
ORDERINGS = [
    "score DESC",
    "score NULLS FIRST, url",
    "stars DESC, edges",
    "price, day DESC NULLS FIRST",
    "seen DESC, kept",
    "kept DESC, upper(url) DESC, len(files)",
    "CASE WHEN score > 0 THEN edges ELSE length(text) END DESC, coalesce(url, text)",
    "edges / 2, nullif(length(text), 2) DESC",
]


def keys(rule: str, rows: list[dict], schema: pa.Schema = SCHEMA) -> tuple[Ordering, list[tuple]]:
    ordering = parse_ordering(rule, schema)
    batch = pa.RecordBatch.from_pylist(rows, schema)
    columns = ordering.keys(batch)
    assert [column.type for column in columns] == ordering.types(schema)
    return ordering, list(zip(*(column.to_pylist() for column in columns), strict=True))


def before(ordering: Ordering, one: tuple, other: tuple) -> int:
    """What Spark makes of the keys: plain comparisons, strings by their bytes."""
    for term, a, b in zip(ordering.terms, one, other, strict=True):
        if a is None or b is None:
            if (a is None) != (b is None):
                return -1 if (a is None) == term.nulls_first else 1
            continue
        if isinstance(a, str):
            a, b = a.encode(), b.encode()
        if a != b:
            return -1 if (a < b) != term.descending else 1
    return 0


@settings(max_examples=40)
@given(ROWS, st.sampled_from(ORDERINGS))
def test_keys_sort_as_duckdb_sorts_the_rows(rows, rule):
    for row in rows:  # NaN is missing to us and the greatest number to DuckDB
        row["score"] = None if row["score"] is not None and math.isnan(row["score"]) else row["score"]
    ordering, found = keys(rule, rows)
    ranks = sorted(
        range(len(rows)), key=functools.cmp_to_key(lambda i, j: before(ordering, found[i], found[j]))
    )
    numbered = pa.Table.from_pylist(rows, SCHEMA).append_column("row", pa.array(range(len(rows))))
    with duckdb.connect() as connection:
        connection.register("numbered", numbered)
        expected = connection.execute(f"SELECT row FROM numbered ORDER BY {rule}, row").fetchall()
    assert ranks == [row for (row,) in expected]


@settings(max_examples=40)
@given(ROWS, st.sampled_from(ORDERINGS))
def test_keys_do_not_depend_on_the_batch(rows, rule):
    ordering, together = keys(rule, rows)
    ordering = pickle.loads(pickle.dumps(ordering))
    alone = [keys(rule, [row])[1][0] for row in rows]
    assert repr(alone) == repr(together)


def winner(rule: str, rows: list[dict]) -> str:
    rows = [{"id": str(number), **row} for number, row in enumerate(rows)]
    schema = pa.schema([SCHEMA.field(name) for name in SCHEMA.names if any(name in row for row in rows)])
    ordering, found = keys(rule, rows, schema)
    best = min(
        zip(found, rows, strict=True), key=functools.cmp_to_key(lambda a, b: before(ordering, a[0], b[0]))
    )
    return best[1]["id"]


@pytest.mark.parametrize(
    "rule, rows, expected",
    [
        ("score", [{"score": 0.2}, {"score": None}, {"score": 0.9}, {"score": math.nan}], "2"),
        ("score ASC", [{"score": 0.9}, {"score": None}, {"score": 0.2}, {"score": math.nan}], "2"),
        ("Score DESC", [{"score": -math.inf}, {"score": None}, {"score": math.nan}], "0"),
        ("score NULLS FIRST", [{"score": 0.1}, {"score": math.nan}], "1"),
        (" Longest ", [{"text": "aaa"}, {"text": "aaaa"}, {"text": None}], "1"),
        ("longest", [{"text": "aaaa"}, {"text": "数学数学数"}], "1"),
        ("most_starred", [{"stars": 3}, {"stars": 2**64 - 1}, {"stars": 2**63}], "1"),
        ("earliest", [{"date": "2024-03-01T00:00:00Z"}, {"date": None}, {"date": "2024-02-28"}], "2"),
    ],
)  # fmt: skip
def test_winners(rule, rows, expected):
    assert winner(rule, rows) == expected


# In order of time; the standard library reads the first group, the second is what else archives write.
INSTANTS = [
    "2023-12-31T23:30:00-01:00",
    "2024-01-01T00:45:00",
    "2024-01-01T08:00:00+07:00",
    "2024-01-01T01:30:00.25Z",
    "2024-01-02",
    "2024-01-02 00:00:01+00:00",
]
OTHERS = {
    "2021": "2021-01-01",
    "2021-05": "2021-05-01",
    "20210601": "2021-06-01",
    "20210602030405": "2021-06-02T03:04:05",
}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_earliest_is_an_instant_at_any_precision_and_in_any_zone(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    survivor._database.cache_clear()  # which zone it is in, a database learns when it is opened

    def microseconds(stated: str) -> int:
        at = datetime.datetime.fromisoformat(stated)
        at = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
        return (at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)

    for stated, same in [*((text, text) for text in INSTANTS), *OTHERS.items()]:
        assert keys("earliest", [{"date": stated}])[1] == [(microseconds(same),)], stated
    found = [key for (key,) in keys("earliest", [{"date": text} for text in INSTANTS])[1]]
    assert found == sorted(found) and len(set(found)) == len(found)
    assert (
        keys("earliest", [{"date": "last Tuesday"}, {"date": ""}, {"date": "infinity"}])[1] == [(None,)] * 3
    )


def test_best_known_goes_by_what_there_is():
    day = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    rows = [
        {"stars": None, "forks": 7, "updated": None, "characters": 9},
        {"stars": 3, "forks": 4, "updated": day, "characters": 1},
        {"stars": 3, "forks": 4, "updated": day, "characters": 2},
        {"stars": 5, "forks": None, "updated": day + datetime.timedelta(1), "characters": 99},
    ]
    types = {"updated": pa.timestamp("us", "UTC")}
    for columns, best in (
        (("stars", "forks", "updated", "characters"), 2),
        (("stars", "forks", "characters"), 0),
        (("stars", "characters"), 3),
        (("updated", "characters"), 3),
        (("forks", "characters"), 0),
        (("characters",), 3),
    ):
        schema = pa.schema([(name, types.get(name, pa.int64())) for name in columns])
        ordering, found = keys("best_known", [{name: row[name] for name in columns} for row in rows], schema)
        ranked = sorted(range(4), key=functools.cmp_to_key(lambda i, j: before(ordering, found[i], found[j])))  # noqa: B023
        assert ranked[0] == best, columns
    written = pa.schema([("updated", pa.string()), ("text", pa.string())])
    assert keys("best_known", [{"updated": "2024-01-01", "text": "abc"}], written)[1] == [
        (int(day.timestamp() * 1e6), 3)
    ]


def test_earliest_takes_dates_that_are_typed():
    schema = pa.schema([("date", pa.timestamp("s", "Europe/Berlin"))])
    early = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert keys("earliest", [{"date": early}], schema)[1] == [(int(early.timestamp() * 1e6),)]


def test_a_rule_is_not_offered_for_itself():
    with pytest.raises(LodeError, match="no column 'score'; there are id, text") as raised:
        parse_ordering("score", pa.schema([("id", pa.string()), ("text", pa.string())]))
    assert "did you mean" not in str(raised.value)


@pytest.mark.parametrize(
    "rule, said",
    [
        ("scor DESC", "did you mean 'score'?"),
        ("best", "no column 'best'"),
        ("(SELECT max(score) FROM documents)", "not a subquery"),
        ("score IN (SELECT 1)", "not a subquery"),
        ("max(score)", "function max works on many rows"),
        ("row_number() OVER (ORDER BY score)", "not a window function"),
        ("sum(score) OVER ()", "not a window function"),
        ("unnest(files)", "no function unnest of single rows"),
        ("read_text(url)", "no function read_text of single rows"),
        ("current_setting(url)", "current_setting depends on more"),
        ("getvariable(url)", "getvariable depends on more"),
        ("score + random()", "random depends on more"),
        ("seen - now()", "now depends on more"),
        ("age(seen)", "age depends on more"),
        ("ago(INTERVAL 1 DAY) < seen", "ago depends on more"),
        ("current_timestamp - seen", "no column 'current_timestamp'"),
        ("rowid", "no column 'rowid'"),
        ("ALL", "not a star"),
        ("COLUMNS('score')", "not a star"),
        ("1", "names no column"),
        ("#1", "number of a column"),
        ("pi()", "names no column"),
        ("$1", "not a parameter"),
        ("list_transform(files, x -> x)", "not a lambda"),
        ("url COLLATE nocase", "lower(...)"),
        ("score LIMIT 1", "only what may stand behind ORDER BY"),
        ("score; DROP TABLE documents", "neither score"),
        ("score; SELECT 1", "only what may stand behind ORDER BY"),
        ("score UNION SELECT 1", "neither score"),
        ("score /* and", "neither score"),
        ("score,,url", "neither score"),
        ("", "neither score"),
        ("files", "VARCHAR[], which cannot be sorted"),
        ("INTERVAL 1 DAY * edges", "INTERVAL, which cannot be sorted"),
        ("length(score)", "No function matches"),
        ("+".join(["score"] * 5000), "keep rule"),
    ],
)  # fmt: skip
def test_what_a_rule_may_not_do(rule, said):
    with pytest.raises(LodeError) as raised:
        parse_ordering(rule, SCHEMA)
    message = str(raised.value)
    assert said in message and "\n" not in message and len(message) < 400


def test_a_rule_nested_too_deep_is_no_crash():
    with contextlib.suppress(LodeError):  # versions of DuckDB differ in what is too deep
        assert parse_ordering("(" * 3000 + "score" + ")" * 3000, SCHEMA).columns == ("score",)


@pytest.mark.parametrize("rule", RULES)
def test_a_named_rule_says_which_column_it_lacks(rule):
    with pytest.raises(LodeError, match=r"no column '(score|text|date|stars)'; there are id, path\."):
        parse_ordering(rule, pa.schema([("id", pa.string()), ("path", pa.string())]))


def test_longest_and_earliest_take_the_next_best_column():
    schema = pa.schema([("characters", pa.int32()), ("published", pa.string())])
    assert parse_ordering("longest", schema).columns == ("characters",)
    assert parse_ordering("earliest", schema).columns == ("published",)


def test_a_value_that_breaks_an_expression_is_one_sentence():
    ordering = parse_ordering("CAST(url AS INTEGER)", SCHEMA)
    batch = pa.RecordBatch.from_pylist([{"url": "1"}, {"url": "x"}], SCHEMA)
    with pytest.raises(
        LodeError, match=r"keep rule 'CAST\(url AS INTEGER\)'.*Could not convert string 'x'.*TRY_CAST"
    ):
        ordering.keys(batch)
    assert keys("TRY_CAST(url AS INTEGER)", [{"url": "1"}, {"url": "x"}])[1] == [(1,), (None,)]


def test_a_column_that_goes_missing_is_named():
    ordering = parse_ordering("score", SCHEMA)
    with pytest.raises(LodeError, match="no column 'score'"):
        ordering.keys(pa.RecordBatch.from_pylist([{"url": "a"}]))


def test_columns_are_matched_as_sql_does():
    schema = pa.schema(
        [("Score", pa.float64()), ("with space", pa.int64()), ("file", pa.struct([("n", pa.int8())]))]
    )
    assert parse_ordering('score DESC, "with space", file.n', schema).columns == (
        "Score",
        "with space",
        "file",
    )
    rows = [{"Score": 1.5, "with space": 2, "file": {"n": 3}}]
    assert keys('score DESC, "with space", file.n', rows, schema)[1] == [(1.5, 2, 3)]


def test_zeros_are_one_number():
    assert len({str(key) for key in keys("score", [{"score": 0.0}, {"score": -0.0}])[1]}) == 1


def test_an_empty_batch_has_keys_without_rows():
    assert keys("score, url", [])[1] == []
