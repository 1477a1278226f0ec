import json

import pytest

from corpus.errors import LodeError
from jobs.recipe import DecontaminateSection
from jobs.web import benchmark_texts, read_rows


def test_only_a_line_feed_ends_a_line_of_json(tmp_path):
    rows = [{"question": "one\u2028two\x85three"}, {"question": "four"}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n")
    assert read_rows(str(tmp_path / "a.jsonl")) == rows


def test_chats_and_several_fields_are_texts_of_one_item(tmp_path):
    row = {"id": "x", "messages": [{"role": "user", "content": "a question"}], "answer": "18"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    texts = benchmark_texts(DecontaminateSection(benchmarks=[str(tmp_path / "a.jsonl")]))
    assert sorted(texts) == [("a.jsonl#x", "18"), ("a.jsonl#x", "a question")]


def test_sets_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"other": "x"}')
    with pytest.raises(LodeError, match=r"a.jsonl, row 1: none of the fields .* is a text there"):
        benchmark_texts(DecontaminateSection(benchmarks=[str(tmp_path / "a.jsonl")]))
    (tmp_path / "a.jsonl").write_text('{"question": "x"')
    with pytest.raises(LodeError, match=r"a.jsonl, line 1: not JSON"):
        benchmark_texts(DecontaminateSection(benchmarks=[str(tmp_path / "a.jsonl")]))


def test_every_set_of_the_sample_is_read(shared_data):
    files = sorted((shared_data / "benchmarks").glob("*.jsonl"))
    assert len(files) > 10
    for file in files:
        texts = benchmark_texts(DecontaminateSection(benchmarks=[str(file)]))
        lines = sum(1 for line in file.read_bytes().split(b"\n") if line.strip())
        assert len({item for item, _ in texts}) == lines, file.name
