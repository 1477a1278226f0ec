"""Screening: every limit drops what is over it and nothing else, and what stays is untouched."""

import pickle
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.guarded import Failed
from corpus.schema import with_verdict
from filters.classifier import FastTextSettings, train
from filters.code_quality import (
    REASONS,
    CodeQuality,
    Readability,
    default_limits,
    limits_of,
    without_comments,
)
from filters.normaliser import normalise
from filters.syntax import Syntax

CODE = "".join(
    f"def function_{i}(argument):\n    result = argument + {i}\n    return result * {i}\n\n" for i in range(9)
)
CONFLICT = "<<<<<<< HEAD\nint a;\n=======\nint b;\n>>>>>>> topic\n"


def rows(*files):
    return pa.RecordBatch.from_pylist([{"text": text, "language": language} for language, text in files])


def reason(text, language="Python", **settings):
    verdict = CodeQuality(**settings).readable(text, language)
    return verdict and verdict[0]


@pytest.mark.parametrize(
    "expected, text",
    [
        (None, CODE),
        ("merge_conflict", CODE + CONFLICT),
        ("merge_conflict", CODE + CONFLICT.replace("=======\n", "||||||| base\nint c;\n=======\n")),
        ("no_code", "# All that was here\n# is commented out.\n"),
        ("mostly_comments", "# Nearly all that was here is commented out.\n" * 20 + "import a\n"),
        (
            "mostly_strings",
            "a = [\n" + "".join(f'    "a text of the table, number {i}",\n' for i in range(99)) + "]\n",
        ),
        ("mostly_digits", "a = [\n" + "".join(f"    {i}{i}{i}, {i}{i}\n" for i in range(100, 199)) + "]\n"),
        ("repeated_lines", CODE + "result = function_1(result)\n" * 99),
        ("short_names", "".join(f"a={c}(b,{c})\nc=d[{c}]+e\n" for c in "abcdefghijklmnop")),
        ("long_names", "".join(f"{'x' * 30}{i} = {'y' * 40}{i}\n" for i in range(20))),
        ("deep_nesting", "".join(f"{' ' * 40}result = argument + {i}\n" for i in range(20))),
        ("many_todos", "".join(f"def function_{i}():\n    pass  # TODO: number {i}\n" for i in range(20))),
    ],
)
def test_each_measure_has_its_reason(expected, text):
    assert reason(text) == expected
    assert expected is None or expected in REASONS


def test_small_files_are_not_measured_by_averages():
    assert reason("a = 1\n" * 9) is None
    assert reason("") is None
    assert reason("# a\n") == "no_code"


def test_what_is_no_programming_language_is_not_measured():
    text = "a = 1\n" * 99
    assert [reason(text, language) for language in ("Python", "Text", "CSV", None)] == [
        "repeated_lines",
        None,
        None,
        None,
    ]
    assert reason(CONFLICT, None) == "merge_conflict"


def test_headings_of_sevens_are_no_conflict():
    assert reason("Heading\n=======\n\n<<<<<<< HEAD\ntext\n") is None
    assert reason("<<<<<<< a\n>>>>>>> b\n=======\n<<<<<<< c\n") is None


def test_heuristics_can_be_switched_off_and_limits_lifted():
    text = "a = 1\n" * 99
    assert reason(text, heuristics=False) is None
    limits = default_limits()
    limits["languages"]["Python"] = {"max_repeated_share": False, "min_mean_name": False}
    assert reason(text, limits=limits) is None
    assert reason(text, "Ruby", limits=limits) == "repeated_lines"


@pytest.mark.parametrize(
    "syntax, language, expected",
    [
        (Syntax(0.0), "Java", None),
        (Syntax(0.001), "Java", "syntax_error"),
        (Syntax(0.001), "C", None),
        (Syntax(0.9), "C", "syntax_error"),
        (Syntax(None), "Objective-C", None),
        (Syntax(0.0, "} without {"), "C", "unbalanced_brackets"),
        (Syntax(0.0, "python2"), "Python", "python2"),
        (Failed("too_hard"), "Java", "parse_too_hard"),
        (Failed("crashed"), "Java", "parse_crashed"),
    ],
)
def test_syntax_becomes_a_verdict(syntax, language, expected):
    verdict = CodeQuality().well_formed(syntax, language)
    assert (verdict and verdict[0]) == expected
    assert expected is None or expected in REASONS


def test_rows_keep_their_order_and_gain_two_columns():
    batch = rows(
        ("Python", CODE),
        ("Python", CODE + CONFLICT),
        ("Java", "class A {"),
        (None, None),
        ("Text", "a"),
        ("C", "int a;\n"),
    )
    (found,) = CodeQuality()(iter([batch]))
    assert found.schema == with_verdict(CodeQuality().schema(batch.schema))
    assert found["text"] == batch["text"]
    assert found["reason"].to_pylist() == [None, "merge_conflict", "syntax_error", None, None, None]
    assert found["syntax"].to_pylist()[0] == 0.0
    assert found["syntax"].to_pylist()[1] is None  # what is dropped already is not parsed
    assert found["syntax"].to_pylist()[4:] == [None, 0.0]
    assert found["quality"].null_count == len(batch)
    (without,) = CodeQuality(syntax=False)(iter([batch]))
    assert without["reason"].to_pylist() == [None, "merge_conflict", None, None, None, None]


def test_python_2_may_be_kept():
    batch = rows(("Python", "print 'a'\n"))
    assert next(CodeQuality()(iter([batch])))["reason"].to_pylist() == ["python2"]
    assert next(CodeQuality(python2=True)(iter([batch])))["reason"].to_pylist() == [None]


def test_many_rows_at_once_and_one_by_one_are_the_same(monkeypatch):
    files = [("Python", CODE), ("Java", "class A {}"), ("Java", "class A {"), ("C", "}"), ("TOML", "a=1")] * 3
    (together,) = CodeQuality()(iter([rows(*files)]))
    monkeypatch.setattr("filters.code_quality.REQUEST_CHARS", 1)
    (split,) = CodeQuality()(iter([rows(*files)]))
    alone = [row for file in files for row in next(CodeQuality()(iter([rows(file)]))).to_pylist()]
    assert together.to_pylist() == split.to_pylist() == alone


def test_a_classifier_scores_what_is_left_with_a_least_score_for_each_language(tmp_path):
    good = [normalise(f"def clean_{i}(value): return value") for i in range(60)]
    bad = [normalise(f"var _0x{i} = eval ( unescape )") for i in range(60)]
    path = str(tmp_path / "quality.bin")
    train(good, bad, FastTextSettings(dim=8, bucket=1000, min_count=1, passes=5000), path)
    batch = rows(("Python", CODE), ("Ruby", "eval unescape\n"), ("Lua", "eval ( unescape )\n"), ("C", "}"))
    rules = CodeQuality(
        classifier=path.replace(".bin", ".safetensors"), min_score=0.5, min_scores={"Lua": 0.0}
    )
    (found,) = pickle.loads(pickle.dumps(rules))(iter([batch]))
    assert found["reason"].to_pylist() == [None, "low_quality", None, "unbalanced_brackets"]
    scores = found["quality"].to_pylist()
    assert scores[0] > 0.5 > scores[1] and scores[3] is None
    assert found["detail"].to_pylist()[1] == f"{scores[1]:.4f}"


def test_own_limits_lie_over_those_that_come_with_lode(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('max_digit_share = 0.3\n[languages."C"]\nmax_error_share = false\n')
    limits = limits_of(str(path))
    assert limits["max_digit_share"] == 0.3
    assert limits["languages"]["C"] == {"max_error_share": False}
    assert limits["languages"]["C++"] == default_limits()["languages"]["C++"]
    assert CodeQuality(limits).well_formed(Syntax(1.0), "C") is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("max_digits_share = 1", "did you mean 'max_digit_share'"),
        ("max_digit_share = '1'", "has to be a number"),
        ("max_digit_share = true", "has to be a number"),
        ("languages = 1", "languages holds tables"),
        ("a = ", "not TOML"),
    ],
)
def test_wrong_limits_are_a_sentence(tmp_path, text, message):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(LodeError, match=message):
        limits_of(str(path))
    with pytest.raises(LodeError, match="cannot be read"):
        limits_of(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    "language, text, code",
    [
        ("Python", "# a\nb  # c\n  # d\n", "\nb  # c\n\n"),
        ("C", "/* a\n b */ c\n  // d\ne /* f */\n", " c\n\ne /* f */\n"),
        ("JavaScript", 'a = "src/**/*.js"\n', 'a = "src/**/*.js"\n'),
        ("C", "/* without end", ""),
    ],
)
def test_comments_that_begin_a_line_go(language, text, code):
    assert without_comments(text, language)[0] == code


@given(
    st.text(alphabet="a1 \t\n\r#/*\"'\\<>={}é\u2028", max_size=200),
    st.sampled_from(["Python", "C", "Lua", "Haskell"]),
)
def test_measures_are_shares(text, language):
    facts = Readability(text, language)
    for share in (facts.comment_share, facts.string_share, facts.digit_share, facts.repeated_share):
        assert 0 <= share <= 1
    assert facts.mean_name >= 0 and facts.mean_indentation >= 0 and facts.todo_share >= 0


@pytest.mark.parametrize(
    "text",
    [
        "<<<<<<< HEAD\n" * 70_000,
        "<<<<<<< HEAD\n" + "=======\n" * 120_000,
        "/*\n" * 300_000,
        "'\\" * 500_000,
        "\"'" * 500_000,
        " " * 1_000_000,
        "a" * 1_000_000,
        "\n".join("a" * i for i in range(1400)),
    ],
)
def test_measures_are_linear(text):
    started = time.monotonic()
    for language in ("C", "Python", "Haskell"):
        CodeQuality().readable(text, language)
    assert time.monotonic() - started < 15  # quadratic time would take minutes
