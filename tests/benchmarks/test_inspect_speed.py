"""The synthetic work folder in miniature: whole, accounted for, the same however it is made, and with an answer to
every question; and how the benchmark reads its page."""

import hashlib

from benchmarks import inspect_corpus
from benchmarks.inspect_speed import ten_questions
from corpus.inspect import open_work, query, statistic, statistics

# Stages that this folder has nothing of.
WITHOUT = {"contamination", "earlier", "lost_dependencies", "repeated_lines"}


def test_a_small_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(inspect_corpus, "PAGES_OF_A_PART", 600)
    monkeypatch.setattr(inspect_corpus, "REPOSITORIES_OF_A_PART", 5)
    folders = [tmp_path / "one", tmp_path / "two"]
    counts = [
        inspect_corpus.write_work(folder, 700, processes) for processes, folder in enumerate(folders, 1)
    ]
    files = [sorted(file.relative_to(folder) for file in folder.rglob("*.parquet")) for folder in folders]
    assert counts[0] == counts[1] and files[0] == files[1] and counts[0]["deduplicated"] >= 700
    for file in files[0]:
        assert len({hashlib.sha256((folder / file).read_bytes()).digest() for folder in folders}) == 1, file
    connection = open_work(str(folders[0]), 2)
    assert query(connection, "FROM problems")[1] == []
    assert query(connection, "SELECT stage FROM stages WHERE rows_in <> rows_out + rows_dropped")[1] == []
    held = dict(query(connection, "SELECT stage, count(*) FROM documents GROUP BY ALL")[1])
    gone = dict(query(connection, "SELECT stage, count(*) FROM dropped GROUP BY ALL")[1])
    for before, after in (
        ("pages", "quality"),
        ("quality", "mined"),
        ("mined", "deduplicated"),
        ("files", "code_rules"),
    ):
        assert held[before] == held[after] + gone[after]
    assert query(connection, "SELECT count(*) FROM documents WHERE length(text) <> characters OR text = ''")[
        1
    ] == [(0,)]
    assert query(
        connection, "SELECT DISTINCT len(tokens), list_sum([d.length FOR d IN documents]) FROM shards"
    )[1] == [(inspect_corpus.LENGTH, inspect_corpus.LENGTH)]
    for name in statistics():
        assert bool(statistic(connection, name, "%site%")[1]) != (name in WITHOUT), name


def test_questions_of_a_page():
    page = "# Page\n```sql\nFROM x;\n```\n### 1. One?\n```sql\nFROM a\n```\n```sql\nFROM b;\n```\n"
    page += "## 2. Two?\n```\nout\n```\n"
    assert ten_questions(page) == {"1. One?": "FROM a\n", "1. One? (2)": "FROM b;\n"}
