import csv
import io
import json
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.cells import cell_len

from corpus.errors import LodeError
from corpus.inspect import open_work
from jobs import prompt
from jobs.answers import SHOWN, ask, fitted, trace_sql, write_table
from tests.tiny_work import TinyWork


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(TinyWork(tmp_path_factory.mktemp("tiny")).build())


@pytest.fixture(scope="module")
def connection(tiny):
    return open_work(tiny)


def lode(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", "inspect", *arguments],
        capture_output=True,
        cwd=pathlib.Path(__file__).parents[2],
    )


def typed(connection, *keys):
    """What the prompt prints when these keys are pressed."""
    out = io.StringIO()
    with create_pipe_input() as pipe:
        pipe.send_text("".join(keys))
        prompt.Prompt(
            connection, "work", out, input=pipe, output=DummyOutput(), history=InMemoryHistory()
        ).run()
    return out.getvalue()


LEAVE = "\x04"  # Ctrl-D


def test_the_prompt_answers_sql_over_several_lines(connection):
    said = typed(connection, "select 6 * 7\r", "as answer;\r", LEAVE)
    assert re.search(r"answer\n +42\n", said)


def test_an_error_at_the_prompt_shows_where_it_is_and_the_prompt_goes_on(connection):
    said = typed(connection, "select lenght(text) from documents;\r", "select 'still' || ' here';\r", LEAVE)
    assert "^" in said and "length" in said and "still here" in said and "Traceback" not in said


def test_commands_of_the_prompt(connection):
    said = typed(connection, ".help\r", ".views\r", ".schema shards\r", ".ask drop_reasons\r", ".quit\r")
    assert "drop_reasons" in said and "Why was something dropped" in said
    assert re.search(r"^shard_documents +\d+ columns$", said, re.MULTILINE)
    assert re.search(r"^tokens +INTEGER\[\]", said, re.MULTILINE)
    assert re.search(r"^stage +reason", said, re.MULTILINE)
    assert "no such command" in typed(connection, ".nothing\r", LEAVE)
    assert "did you mean drop_reasons" in typed(connection, ".ask drop_reason\r", LEAVE)


def test_the_prompt_shows_answers_as_json_and_csv(connection):
    said = typed(connection, ".json\r", "select [1] as a;\r", ".csv\r", "select [1] as a, 'b' as b;\r", LEAVE)
    assert '"a": [' in said and "a,b\r\n[1],b\r\n" in said


def test_an_interrupted_query_ends_and_the_prompt_goes_on(tiny):
    pressed = []

    def press(number: int) -> int:
        if not pressed:
            pressed.append(number)
            signal.raise_signal(signal.SIGINT)
        return number

    own = open_work(tiny)
    own.create_function("press", press, side_effects=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        said = typed(
            own, "select count(press(range)) from range(100000000000);\r", "select 7 as seven;\r", LEAVE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed and "Interrupted." in said and "seven" in said


def test_interrupted_typing_is_forgotten_and_the_prompt_goes_on(connection):
    said = typed(connection, "select 1 as one", "\x03", "select 2 as two;\r", LEAVE)
    assert "two" in said and "one" not in said


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("select 1", False), ("select 1;", True), ("select 1; -- done", True), ("select ';", False),
        ("select 1 -- not yet;", False), ("select 1\n", True), (".views", True), ("", True), ("quit", True),
    ],
)  # fmt: skip
def test_when_enter_sends_what_was_typed(text, sent):
    assert prompt.finished(text) is sent


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("select * from docu", "documents"), ("select rea", "reason"), (".ask drop_r", "drop_reasons"),
        (".schema shard_d", "shard_documents"), (".sch", ".schema"), ("sel", "SELECT"),
        ("select d.reas", "reason"),
    ],
)  # fmt: skip
def test_completion(connection, text, offered):
    words = prompt.Prompt(connection, "work", io.StringIO(), output=DummyOutput()).session.completer
    found = list(words.get_completions(Document(text), CompleteEvent()))
    assert offered in [completion.text for completion in found]
    whole = next(completion for completion in found if completion.text == offered)
    assert (text[: len(text) + whole.start_position] + offered).endswith(offered)


def test_history_is_kept_where_xdg_says_and_for_its_owner(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    prompt.remembered().store_string("select 1;")
    file = tmp_path / "state" / "lode" / "inspect_history"
    assert file.stat().st_mode & 0o077 == 0
    assert list(prompt.remembered().load_history_strings()) == ["select 1;"]
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "taken"))
    assert isinstance(prompt.remembered(), InMemoryHistory)


def table(connection, sql, width=80):
    out = io.StringIO()
    write_table(ask(connection, sql), out, width, connection)
    return out.getvalue()


def test_a_large_result_is_cut_and_counted(connection):
    said = table(connection, "select range as n from range(1000000)").splitlines()
    assert len(said) == SHOWN + 2 and said[-1] == f"… and {1_000_000 - SHOWN:,} more rows."


def test_a_pipe_gets_every_row_and_every_character(tiny):
    done = lode(tiny, "--sql", "select range as n, repeat('x', 300) as t from range(2500)")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 2501 and lines[-1].split() == ["2499", "x" * 300]


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5), st.integers(20, 120))
def test_no_line_is_wider_than_the_terminal_or_moves_the_cursor(texts, width):
    import duckdb

    safe = [t.encode("utf-8", "replace").decode().replace("\0", "") for t in texts]
    con = duckdb.connect()
    con.execute("create table t (a varchar, b varchar)")
    con.executemany("insert into t values (?, ?)", [[t, t] for t in [*safe, "last"]])
    said = table(con, "from t", width)
    assert all(c == "\n" or c.isprintable() for c in said)
    assert all(cell_len(line) <= width for line in said.split("\n"))


def test_hostile_text_is_made_visible(connection):
    said = table(connection, "select chr(27) || '[31mred' || chr(8238) || chr(7) as t, 1 as n")
    assert "\x1b" not in said and "\u202e" not in said and "\x07" not in said and "red" in said


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.integers(10, 200))
def test_columns_fit(natural, width):
    widths = fitted(natural, width)
    assert 1 <= len(widths) <= len(natural)
    assert sum(widths) + 2 * (len(widths) - 1) <= width


def test_csv_is_read_back_as_it_was(tiny):
    sql = "select 'a,\"b\"' || chr(10) || 'c' as t, [1, 2] as l, {'x': 'é'} as s, null as n"
    done = lode(tiny, "--sql", sql, "--csv")
    assert done.stdout.count(b"\r\n") == 2
    rows = list(csv.reader(io.StringIO(done.stdout.decode("utf-8"), newline="")))
    assert rows == [["t", "l", "s", "n"], ['a,"b"\nc', "[1, 2]", '{"x": "é"}', ""]]


def test_json_is_read_back_as_it_was(tiny):
    done = lode(tiny, "--sql", "select 1 as n, 'nan'::double as x, [0.5] as l from range(3)", "--json")
    assert json.loads(done.stdout) == [{"n": 1, "x": None, "l": [0.5]}] * 3
    assert json.loads(lode(tiny, "--sql", "select 1 where false", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sql", "select 1", "--ask", "loss"], "one thing at a time"),
        (["--json", "--csv"], "choose one"),
        (["--like", "%x%"], "--ask"),
        (["--ask", "los"], "did you mean loss?"),
        (["--sql", "from documnts"], 'Did you mean "documents'),
        (["--save", "x.duckdb", "--json"], "leave out"),
        (["--trace", "part-0.parquet:1:9-3"], "after the last"),
    ],
)
def test_what_can_not_be_asked_is_one_sentence(tiny, arguments, sentence):
    done = lode(tiny, *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_without_a_terminal_the_stages_and_views_are_listed(tiny):
    said = lode(tiny).stdout.decode()
    assert "rows_dropped" in said and "Views: accounts, " in said


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("https://a.example/x", ["https://a.example/x"]),
        ("part-00000.parquet:12", ["part-00000.parquet", 12, 0, 2**31 - 1]),
        ("w/shards/part-00000.parquet:12", ["part-00000.parquet", 12, 0, 2**31 - 1, "w/shards"]),
        ("part-00000.parquet:12:5-9", ["part-00000.parquet", 12, 5, 9]),
    ],
)
def test_what_a_key_means(key, values):
    assert trace_sql(key)[1] == values


def test_a_failing_query_in_the_middle_is_one_sentence(connection):
    answer = ask(connection, "select case when range = 900000 then error('late') end from range(1000000)")
    with pytest.raises(LodeError, match="late"):
        list(answer.rows)
