import json
import pickle
import re
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.contamination import EXCERPT, NGRAM, PLACES, BenchmarkIndex, readings_of, signs
from corpus.evaluation_sets import EvaluationText, read_evaluation_sets
from corpus.ngrams import BLOCK

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether?"
)
WORDS = re.compile(r"[^\W\d_]+|\d+")


def index_of(*texts):
    """An index of items 0, 1, ... of the set `set`, each with one field."""
    return BenchmarkIndex.build(
        [EvaluationText("set", str(i), "question", (t,)) for i, t in enumerate(texts)]
    )


def items(index, page):
    """The items found in a page."""
    return [index.entries[found.entry][1] for found in index.find([page])[0]]


def test_a_question_is_found_whatever_its_case_and_white_space():
    index = index_of(QUESTION)
    page = "Some text before.\n\n" + QUESTION.upper().replace(" ", "\n  ") + " Some text after."
    (found,) = index.find([page])[0]
    assert page[found.start : found.end] == QUESTION.upper().replace(" ", "\n  ").rstrip("?")
    assert found.coverage == 1
    assert not items(index, "Natalia sold clips to 48 of her friends in June.")


@given(st.integers(0, 20), st.text(max_size=60), st.text(max_size=60))
def test_ten_words_anywhere_are_enough_and_nine_are_not(start, before, after):
    index = index_of(QUESTION)
    words = QUESTION.split()
    ten = " ".join(words[min(start, len(words) - 10) :][:10])
    assert items(index, f"{before} {ten} {after}") == ["0"]
    assert not items(index, f"zzz {' '.join(words[3:12])} zzz")


@given(
    st.lists(st.text("ab1 \n.,\u4e2d\u6587", max_size=60), min_size=1, max_size=4),
    st.lists(st.text("ab1 \n.,\u4e2d\u6587", max_size=200), min_size=1, max_size=4),
)
def test_every_document_with_an_ngram_of_a_text_is_found_and_no_other(texts, pages):
    """Against sets of tuples of words; signs do not come up, there are none."""

    def ngrams(text, n):
        words = re.findall("[a-z]+|[0-9]+|[\u4e00-\u9fff]", text)
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}, len(words)

    index = index_of(*texts)
    for page, found in zip(pages, index.find(pages), strict=True):
        expected = {}
        for number, text in enumerate(texts):
            n = min(NGRAM, ngrams(text, 1)[1])
            known = ngrams(text, n)[0]
            if n >= 3 and (common := known & ngrams(page, n)[0]):
                expected[str(number)] = (len(common), len(known))
        assert {index.entries[f.entry][1]: (f.matched, f.total) for f in found} == expected
        for f in found:
            words = re.findall("[a-z]+|[0-9]+|[\u4e00-\u9fff]", page[f.start : f.end])
            assert len(words) >= 3 and (f.start, f.end) in f.spans


def test_short_texts_match_whole_and_the_shortest_are_reported():
    index = index_of("what is seven times eight", "hello there", "")
    assert index.unusable == (
        ("set", "1", "question", "hello there"),
        ("set", "2", "question", ""),
    )
    assert items(index, "Now: what is seven times eight?") == ["0"]
    assert items(index, "Now: what is\n> **seven** times\n> eight?") == ["0"]
    assert not items(index, "what is seven times nine")
    assert not items(index, "hello there")


def test_short_texts_match_with_their_signs_only():
    index = index_of("return x + y", "$\\frac{10 i}{2-i}$")
    assert items(index, "def add(x, y):\n    return x+y\n") == ["0"]
    assert items(index, "return x\n+ y") == ["0"]
    assert not items(index, "def both(x, y):\n    return x, y\n")
    assert not items(index, "return x >= y or return_x_y")
    assert items(index, "so $\\displaystyle\\frac{10\\,i}{2 \u2212 i}$") == ["1"]
    assert not items(index, "at 10, i, 2, i")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + y", "+"),
        ("x, y", ""),
        ("a well-known word \u2014 here", ""),
        ("n-m", "-"),
        ("n \uff0b m", "+"),
        ("n \u2212 m", "-"),
        ("*seven* times **eight**", ""),
        ("a*b ** c", "***"),
        ("n\\*m", "*"),
        ("i &lt; 3", "<"),
        ("> i <\n> 3", "<"),
        ("3 \\hspace{-1cm} = 4 \\leq 5", "="),
    ],
)
def test_signs_are_told_from_punctuation_and_markup(text, expected):
    assert signs(text) == expected


def test_chinese_is_split_into_characters():
    index = index_of("小明有三十五个苹果他又买了十二个现在有多少个")
    assert items(index, "题目：小明有三十五个苹果，\n他又买了十二个，现在有多少个？") == ["0"]


FORMULA = "Let $f(x) = 3x^{2} + \\frac{1}{2} x_{1}$ where $x \\leq 12$ and find $f(4)$."


@pytest.mark.parametrize(
    "page",
    [
        "Let\n$$\nf(x)\n=\n3x^2\n+ \\frac{1}{2}x_1\n$$\nwhere $x\\leq12$ and find $f(4)$.",
        "Let \\(f\\left(x\\right) \\;=\\; 3\\,x^2 + \\frac12 x_1\\) where $x \\leq\\quad 12$ and find $f(4)$",
        "LET $F(X)=3X^2+\\FRAC{1}{2}X_1$ WHERE $X\\LEQ 12$ AND FIND $F(4)$.",
        "Let $f(x)\\hspace{1.5cm}=\\displaystyle 3~x^2+\\dfrac{1}{2}x_1$ where $x\\qquad\\leq 12$ and find $f(4)$",
        "Let f(x) = 3x² + 1/2 x₁ where x ≤ 12 and find f(4).",
        "Let \\begin{equation*}f(x)=3x^2+\\tfrac{1}{2}x\\_1\\end{equation*} where $x\\le 12$ and find $f(4)$.",
        "Let $f(x) = 3x^{2} + \\\\frac{1}{2} x_{1}$\\n where $x \\\\leq 12$ and find $f(4)$.",
        "Ｌｅｔ $f(x) = ３x^{2} + \\frac{1}{2} x_{1}$ where $x \\leq 12$ and find $f(4)$.",
    ],
)
def test_the_way_a_formula_is_set_hides_nothing(page):
    """The whole of it is found, from either side."""
    (found,) = index_of(FORMULA).find([f"Exercise: {page} Done."])[0]
    assert found.coverage == 1
    (found,) = index_of(page).find([FORMULA])[0]
    assert found.coverage == 1


@given(st.text(st.sampled_from("\\ab{}_&<>=1lt;quad fracn12 ")))
def test_readings_are_as_long_as_the_text(text):
    assert {len(reading) for reading in readings_of(text)} == {len(text)}
    assert readings_of(text.replace("_", "a"))[0] == text.replace("_", "a")


def test_calculator_marks_may_be_there_or_not():
    marked = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips in all.\n#### 72"
    plain = re.sub("<<.*?>>|####", "", marked)
    for one, other in ((marked, plain), (plain, marked)):
        (found,) = index_of(one).find([other])[0]
        assert found.coverage == 1


def test_an_underscore_by_itself_is_a_word_and_an_index_is_none():
    index = index_of("for _ in range(1, n): a = b", "a_{1} b_{2} c_{3} d_{4} e_{5}")
    assert items(index, "xs\nfor _ in range(1, n): a = b") == ["0"]
    assert items(index, "a\\_{1}, b _{2}, c _ 3, d_4, e₅") == ["1"]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
@pytest.mark.parametrize("case", [str.upper, str.lower, str.title, str.swapcase])
@pytest.mark.parametrize(
    "text",
    [
        "Μια ερώτηση για τους αριθμούς που έχει ο καθένας ξεχωριστά μας",
        "Wie groß ist die Fläche des Dreiecks, dessen Seiten alle gleich lang sind",
        "Combien de pommes l'élève garçon a-t-il achetées à Noël cette année-là",
        "Сколько яблок купил мальчик, если у него было сорок два рубля ещё",
    ],
)
def test_case_and_unicode_form_hide_nothing(text, case, form):
    index = index_of(text)
    assert items(index, unicodedata.normalize(form, case(text))) == ["0"]


def test_all_items_are_named_the_most_covered_first():
    index = index_of(
        QUESTION, QUESTION.replace("May", "June"), "Nothing of this is in the page at all, not one bit."
    )
    page = "zzz " + QUESTION.replace("May", "June")
    first, second = index.find([page])[0]
    assert (index.entries[first.entry][1], first.coverage) == ("1", 1.0)
    assert index.entries[second.entry][1] == "0" and 0 < second.coverage < 1
    whole = WORDS.findall(QUESTION)
    assert first.matched == first.total == len(whole) - NGRAM + 1


def test_the_same_for_every_batching_and_far_into_a_long_document():
    index = index_of(QUESTION)
    pad = "lorem ipsum " * (BLOCK // 12)
    pages = [
        "",
        QUESTION,
        pad + QUESTION + pad,
        pad[: BLOCK - 60] + " " + QUESTION,
        "中" * 3 * BLOCK + QUESTION,
        "x" * BLOCK,
    ]
    together = index.find(pages)
    assert together == [index.find([page])[0] for page in pages]
    assert [len(found) for found in together] == [0, 1, 1, 1, 1, 0]
    for page, found in zip(pages, together, strict=True):
        assert all(page[f.start : f.end] == QUESTION.rstrip("?") for f in found)


def test_an_index_survives_its_journey_without_its_tables():
    index = index_of(QUESTION, "return x + y")
    index.find([QUESTION])
    packed = pickle.dumps(index)
    assert len(packed) < 4000
    copy = pickle.loads(packed)
    assert copy.find([QUESTION]) == index.find([QUESTION]) and items(copy, "return x + y") == ["1"]


def test_a_page_of_repetitions_costs_no_more_than_its_length():
    numbers = "1 2 3 4 5 6 7 8 9 10 "
    index = index_of(*(f"item {i} {numbers}" for i in range(100, 400)))
    (found,) = index.find([numbers * 20_000])
    assert len(found) == 300
    assert all(f.matched == 1 and len(f.spans) <= PLACES for f in found)
    assert not index.find(["\\hspace{" * 50_000 + "<<1" * 50_000 + "&#1" * 50_000 + "_" * 50_000])[0]
    # To put marks in order takes the square of their number.
    assert not index.find(["e" + "\u0301\u0327" * 500_000])[0]


def test_rows_and_verdicts_of_a_batch():
    pages = [f"See. {QUESTION}\n" + "word " * 300, "nothing of the kind", None]
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b", "c"], "url": ["u", "v", "w"], "text": pages})
    index = BenchmarkIndex.build([EvaluationText("gsm8k", "1", "question", (QUESTION,))])
    judged, found = index.judge(batch)
    assert judged["reason"].to_pylist() == ["contaminated", None, None]
    assert judged["detail"][0].as_py().startswith("gsm8k#1: Natalia sold clips")
    (row,) = found.to_pylist()
    assert (row["benchmark"], row["item"], row["field"], row["id"], row["url"], row["path"]) == (
        "gsm8k", "1", "question", "a", "u", None,
    )  # fmt: skip
    assert pages[0][row["start"] : row["end"]] == row["excerpt"] == QUESTION.rstrip("?")
    assert len(row["excerpt"]) <= EXCERPT
    assert row["matched_ngrams"] == row["item_ngrams"] and row["coverage"] == 1


def test_every_real_text_is_found_in_a_page_that_quotes_it(shared_data):
    texts = read_evaluation_sets([str(shared_data / "benchmarks" / "*.jsonl")]).texts
    index = BenchmarkIndex.build(texts)
    assert not index.unusable
    wanted = texts[::37]
    pages = [f"Homework.\n\n> {text.variants[-1].replace(' ', chr(10))}\n\nDone." for text in wanted]
    for text, found in zip(wanted, index.find(pages), strict=True):
        assert text[:3] in {index.entries[f.entry] for f in found}, text


def test_the_true_overlaps_of_the_sample_are_found(shared_data):
    """The Bell numbers page holds MBPP 67; its code, as the list of overlaps has it."""
    rows = [json.loads(line) for line in (shared_data / "benchmarks" / "mbpp.jsonl").open()]
    code = next(row["code"] for row in rows if row["task_id"] == 67)
    index = index_of(code)
    page = (
        "```python\nbell = [[0 for i in range(n + 1)] for j in range(n + 1)]\nbell[0][0] = 1\n"
        "for i in range(1, n + 1):\n    bell[i][0] = bell[i - 1][i - 1]\n    for j in range(1, i + 1):\n```"
    )
    (found,) = index.find([page])[0]
    assert found.coverage > 0.5
