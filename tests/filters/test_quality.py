from dataclasses import replace
from itertools import islice

import pandas as pd
import pyarrow as pa
import pytest

from corpus.schema import DOCUMENT
from filters.language import Language, detect_language
from filters.prose import C4, Prose
from filters.quality import Quality
from filters.url_lists import Lists

RULES = Quality((), 200, 100_000, 0.25, 0.4, 0.3)
ENGLISH = Language("en", 1.0)
PROSE = (
    "A vector space over a field is a non-empty set together with a binary operation and a binary function that "
    "satisfy the axioms listed below. In this context the elements of the set are commonly called vectors, and the "
    "elements of the field are called scalars. The operation assigns to any two vectors a third one, their sum."
)
GERMAN = (
    "Ein Vektorraum ist eine algebraische Struktur, die in vielen Gebieten der Mathematik verwendet wird."
)


@pytest.mark.parametrize(
    "text, language",
    [
        (PROSE, "en"),
        (GERMAN, "de"),
        ("向量空间是一组可缩放和相加的数学实体，也是线性代数的中心内容和基本概念之一。", "zh"),
        ("ベクトル空間とは、ベクトルと呼ばれる元からなる集まりの成す数学的構造である。", "ja"),
        ("벡터 공간은 원소를 서로 더하거나 주어진 배수로 늘이거나 줄일 수 있는 공간이다.", "ko"),
        ("$x^2$ ```print(1)``` 1234", None),
    ],
)
def test_languages(text, language):
    found = detect_language(text)
    assert found.code == language
    assert 0.5 < found.score <= 1 if language else found.score == 0


@pytest.mark.parametrize(
    "text, reason",
    [
        (PROSE, None),
        ("short", "too_short"),
        (PROSE * 400, "too_long"),
        ("12345 67890 +-*/ 98765 " * 20, "few_letters"),
        ("\n".join(["Click here to subscribe to our newsletter now"] * 12), "repeated_lines"),
        ("buffalo eats grass near buffalo buffalo. " * 2 + "buffalo " * 30 + PROSE[:60], "repeated_word"),
    ],
)
def test_each_rule_has_its_reason(text, reason):
    verdict, kept = RULES.judge(text, ENGLISH)
    assert kept == text
    assert (verdict and verdict[0]) == reason


def test_formulas_and_code_are_no_reason_to_drop():
    formulas = "The roots of $ax^2+bx+c=0$ are $x=\\frac{-b\\pm\\sqrt{b^2-4ac}}{2a}$ when $a \\neq 0$. " * 3
    code = "def f(x):\n    return {k: v for k, v in x.items() if v}\n" + PROSE[:150]
    assert RULES.judge(formulas, ENGLISH) == (None, formulas)
    assert RULES.judge(code, ENGLISH) == (None, code)


def test_code_may_repeat_itself_in_its_fences():
    page = PROSE + "\n```python\n" + "x = 0\n" * 200 + "```\nThat was all of it.\n"
    assert RULES.judge(page, ENGLISH)[0][0] == "repeated_lines"
    assert replace(RULES, profile="code").judge(page, ENGLISH)[0] is None
    unclosed = PROSE + "\n```\n" + "menu\n" * 200
    assert replace(RULES, profile="code").judge(unclosed, ENGLISH)[0][0] == "repeated_lines"


def test_the_profile_prose_edits_and_judges_as_its_rules_say():
    page = "\n".join([PROSE] * 2) + "\nA set {1, 2} of numbers."
    prose = replace(RULES, profile="prose")
    assert prose.judge(page, ENGLISH)[0] == ("dup_line_frac", "0.333")
    gentle = Prose(filters=("gopher_quality", "c4"), c4=C4(curly_bracket=False, min_num_sentences=1))
    rows = pa.RecordBatch.from_pylist([{"id": "a", "text": PROSE + "\nMenu"}], DOCUMENT)
    (out,) = replace(prose, prose=gentle)(iter([rows]))
    assert out.to_pylist()[0]["text"] == PROSE
    assert out.schema.names == [*DOCUMENT.names, "language_score", "reason", "detail"]


def test_the_score_of_a_language_is_a_probability_and_can_be_asked_for():
    short = Language("en", 0.4)
    assert RULES.judge(PROSE, short)[0] is None
    verdict, _ = replace(RULES, min_language_score=0.65).judge(PROSE, short)
    assert verdict == ("uncertain_language", "en 0.400")
    rows = pa.RecordBatch.from_pylist(
        [{"id": "a", "text": text} for text in (PROSE, "1 + 1", None)], DOCUMENT
    )
    (out,) = RULES(iter([rows]))
    assert out.schema.field("language_score").type == pa.float32()
    first, second, third = out["language_score"].to_pylist()
    assert first > 0.9 and second == third == 0


def test_lists_are_asked_before_the_rules_of_a_profile(tmp_path):
    (tmp_path / "domains").write_text("bad.example\n")
    rules = replace(RULES, lists=Lists(domains=(str(tmp_path),)))
    rows = [
        {"id": "a", "text": PROSE, "url": f"http://{host}/"} for host in ("x.bad.example", "good.example")
    ]
    (out,) = rules(iter([pa.RecordBatch.from_pylist(rows, DOCUMENT)]))
    assert out["reason"].to_pylist() == ["blocked_domain", None]
    assert out["detail"].to_pylist() == ["bad.example", None]


def test_other_languages_are_dropped_when_some_are_named_and_every_row_comes_out():
    rows = pa.RecordBatch.from_pylist([{"id": "a", "text": PROSE}, {"id": "b", "text": GERMAN}], DOCUMENT)
    rules = Quality(("en",), 10, 100_000, 0.0, 1.0, 1.0)
    (out,) = rules(iter([rows]))
    assert out["reason"].to_pylist() == [None, "other_language"]
    assert out["language"].to_pylist() == ["en", "de"]


def test_languages_of_real_pages(shared_data):
    from corpus.extract import extract_pages

    labels = pd.read_parquet(shared_data / "web" / "labels.parquet")
    known = dict(zip(labels["url"], labels["lang"], strict=True))
    batches = extract_pages([str(shared_data / "web" / "dev-00003.warc.gz")], "web")
    rows = (r for b in batches for r in b.to_pylist() if r["reason"] is None and len(r["text"]) > 500)
    judged = [(known.get(r["url"]), detect_language(r["text"]).code) for r in islice(rows, 400)]
    judged = [
        (truth, found) for truth, found in judged if truth in ("en", "zh", "ja", "de", "es", "fr", "ru")
    ]
    assert len(judged) > 200
    assert sum(truth == found for truth, found in judged) >= 0.95 * len(judged)
