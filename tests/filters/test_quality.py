import pandas as pd
import pyarrow as pa
import pytest

from corpus.schema import DOCUMENT
from filters.language import detect_language
from filters.quality import Quality

RULES = Quality((), 200, 100_000, 0.25, 0.4, 0.3)
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
    assert detect_language(text) == language


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
    verdict = RULES.verdict(text, "en")
    assert (verdict and verdict[0]) == reason


def test_formulas_and_code_are_no_reason_to_drop():
    formulas = "The roots of $ax^2+bx+c=0$ are $x=\\frac{-b\\pm\\sqrt{b^2-4ac}}{2a}$ when $a \\neq 0$. " * 3
    code = "def f(x):\n    return {k: v for k, v in x.items() if v}\n" + PROSE[:150]
    assert RULES.verdict(formulas, "en") is None or RULES.verdict(formulas, "en")[0] == "repeated_lines"
    assert RULES.verdict(code, "en") is None


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
    rows = [r for b in batches for r in b.to_pylist() if r["reason"] is None and len(r["text"]) > 500]
    judged = [(known.get(r["url"]), detect_language(r["text"])) for r in rows[:600]]
    judged = [
        (truth, found) for truth, found in judged if truth in ("en", "zh", "ja", "de", "es", "fr", "ru")
    ]
    assert len(judged) > 200
    assert sum(truth == found for truth, found in judged) >= 0.9 * len(judged)
