"""Lists of repositories: the same answers from every format, as a dictionary would give them, for names of any kind."""

import gzip
import json

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import repository_facts
from corpus.errors import LodeError
from corpus.repository_facts import FactList, Facts, repository_key, write_facts

LINES = [
    {"repository": "https://github.com/Psf/Requests.git", "stars": 50000, "license": "Apache-2.0"},
    {"repository": "a/b", "stars": 1, "license": "MIT"},
    {"repository": "c/b", "stars": 2, "license": None},
    {"repository": "A/B", "stars": 7, "license": None},
    {"repository": "requests-2.31.0", "stars": 5, "license": "MIT"},
]


def written(path, lines):
    columns = ["repository", "stars", "license"]
    if path.name.endswith(".parquet"):
        values = ", ".join("(?, ?, ?)" for _ in lines)
        flat = [line[c] for line in lines for c in columns]
        query = f"COPY (SELECT * FROM (VALUES {values}) t({', '.join(columns)})) TO '{path}'"
        duckdb.connect().execute(query, flat)
        return str(path)
    if ".json" in path.name:
        text = "".join(json.dumps(line) + "\n" for line in lines)
    else:
        text = "".join(
            ",".join("" if line[c] is None else str(line[c]) for c in columns) + "\n" for line in lines
        )
        text = f"{','.join(columns)}\n{text}"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.csv.gz", "a.jsonl.gz"])
def test_every_format_says_the_same(tmp_path, name):
    assert write_facts(written(tmp_path / name, LINES), str(tmp_path / "facts")) == 5
    with FactList(str(tmp_path / "facts")) as facts:
        assert facts.of("psf/requests") == Facts(stars=50000, licence="Apache-2.0")
        assert facts.of("requests", "*/requests") == Facts(stars=50000, licence="Apache-2.0")
        assert facts.of("PSF/Requests", "a/b") == Facts(stars=50000, licence="Apache-2.0")
        assert facts.of("a/b") == Facts(stars=7)  # the last line counts, as a whole
        assert facts.of("b", "*/b") is None  # two owners have one
        assert facts.of("requests-2.31.0") == Facts(stars=5, licence="MIT")
        assert facts.of("nobody/nothing") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,stars\na,1\n", "the column 'repository' is missing; it has name, stars"),
        ("repository,stars\na/b,many\n", "stars of a/b is 'many'; expected a whole number"),
        ("repository,updated\na/b,yesterday\n", "updated of a/b is 'yesterday'; expected a date"),
        ('repository,stars\n"a/b,1\nc,2\n"x"y,3\n', "cannot be read as a list of repositories"),
    ],
)
def test_a_wrong_list_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(LodeError, match=sentence) as error:
        write_facts(str(tmp_path / "a.csv"), str(tmp_path / "facts"))
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_no_list(tmp_path):
    with pytest.raises(LodeError, match="there is no such file"):
        write_facts(str(tmp_path / "a.csv"), str(tmp_path / "facts"))
    with pytest.raises(LodeError, match=r"expected a list of repositories as \.csv"):
        write_facts(str(tmp_path / "a.xlsx"), str(tmp_path / "facts"))
    (tmp_path / "a.csv").write_text("repository,stars\n")
    assert write_facts(str(tmp_path / "a.csv"), str(tmp_path / "facts")) == 0
    with FactList(str(tmp_path / "facts")) as facts:
        assert facts.of("a/b") is None


names = st.text(alphabet="abAB-._é'\"%", min_size=1, max_size=4).map(lambda n: n.strip("'\" "))
repositories = st.builds("{}/{}".format, names, names).filter(
    lambda n: not n.endswith((".git", "/")) and n[0] != "/"
)


@settings(max_examples=30)
@given(
    lines=st.lists(st.tuples(repositories, st.integers(0, 9)), max_size=40),
    asked=st.lists(repositories, max_size=10),
)
def test_answers_are_those_of_a_dictionary(tmp_path_factory, lines, asked):
    folder = tmp_path_factory.mktemp("facts")
    (folder / "a.jsonl").write_text(
        "".join(json.dumps({"repository": name, "stars": n}) + "\n" for name, n in lines)
        or '{"repository": null}\n'
    )
    write_facts(str(folder / "a.jsonl"), str(folder / "facts"))
    wanted = {name.lower(): n for name, n in lines}
    with FactList(str(folder / "facts")) as facts:
        for name in [*asked, *wanted]:
            found = facts.of(name)
            assert (found and found.stars) == wanted.get(name.lower())


def test_a_long_list_is_read_a_row_group_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(repository_facts, "ROW_GROUP_ROWS", 2048)
    (tmp_path / "a.csv").write_text("repository,stars\n" + "".join(f"o{n}/n{n},{n}\n" for n in range(10_000)))
    write_facts(str(tmp_path / "a.csv"), str(tmp_path / "facts"))
    with FactList(str(tmp_path / "facts")) as facts:
        assert facts._file.num_row_groups >= 5
        reads = []
        read = facts._file.read_row_group
        monkeypatch.setattr(facts._file, "read_row_group", lambda *a, **k: reads.append(a) or read(*a, **k))
        for number in sorted(range(0, 10_000, 7), key=lambda n: repository_key(f"o{n}/n{n}")):
            assert facts.of(f"o{number}/n{number}") == Facts(stars=number)
        assert len(reads) == facts._file.num_row_groups
