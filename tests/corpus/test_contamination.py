import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.contamination import BenchmarkIndex, Decontaminate

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether?"
)


def test_a_question_is_found_whatever_its_case_and_white_space():
    index = BenchmarkIndex.build([("item", QUESTION)])
    page = "Some text before.\n\n" + QUESTION.upper().replace(" ", "\n  ") + " Some text after."
    assert index.match(page)[0] == "item"
    assert index.match("Natalia sold clips to 48 of her friends in June.") is None


@given(st.integers(0, 20), st.text(max_size=60), st.text(max_size=60))
def test_ten_words_anywhere_are_enough_and_nine_are_not(start, before, after):
    words = QUESTION.split()
    index = BenchmarkIndex.build([("item", QUESTION)])
    ten = " ".join(words[min(start, len(words) - 10) :][:10])
    assert index.match(f"{before} {ten} {after}") is not None
    nine = " ".join(words[3:12])
    assert index.match(f"zzz {nine} zzz") is None


def test_short_items_match_whole_and_the_shortest_are_reported():
    index = BenchmarkIndex.build([("five", "what is seven times eight"), ("two", "hello there")])
    assert index.unusable == ["two"]
    assert index.match("Now: what is seven times eight?") == ("five", "what is seven times eight")
    assert index.match("what is seven times nine") is None
    assert index.match("hello there") is None


def test_chinese_is_split_into_characters():
    index = BenchmarkIndex.build([("cmath", "小明有三十五个苹果他又买了十二个现在有多少个")])
    assert index.match("题目：小明有三十五个苹果，他又买了十二个，现在有多少个？")[0] == "cmath"


def test_a_dropped_row_names_the_item():
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b"], "text": [QUESTION, "nothing of the kind"]})
    (out,) = Decontaminate(BenchmarkIndex.build([("gsm8k#1", QUESTION)]))(iter([batch]))
    assert out["reason"].to_pylist() == ["contaminated", None]
    assert out["detail"][0].as_py().startswith("gsm8k#1: natalia sold")


@pytest.mark.parametrize("name", ["gsm8k_test", "humaneval", "cmath_test"])
def test_every_real_item_is_found_in_a_page_that_quotes_it(shared_data, name):
    rows = [json.loads(line) for line in (shared_data / "benchmarks" / f"{name}.jsonl").open()]
    texts = [row.get("question") or row["prompt"] for row in rows][:200]
    index = BenchmarkIndex.build([(str(i), text) for i, text in enumerate(texts)])
    assert not index.unusable
    assert all(index.match(f"Homework.\n> {text}\nDone.") for text in texts)
