"""Repeated lines, against CommonMark's idea of code and plain counting."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from corpus.repeated_lines import line_hashes, remove_lines

NOTICE = "Subscribe to our newsletter and never miss an article again"
OTHER = "All rights reserved by the authors of this page"
PROSE = "A sentence that stands on this page alone and on no other one."


def hashes(*lines: str) -> np.ndarray:
    found = line_hashes("\n\n".join(lines))
    assert len(found) == len(set(lines))
    return found


REPEATED = hashes(NOTICE, OTHER)


def counts(line: str) -> bool:
    return len(line_hashes(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        NOTICE,
        "Terms of use and privacy policy",
        "# Further reading on this subject",
        "| one row of a table | with words enough in it |",
        "Datenschutzgrundverordnungserklärung",
        "Все права защищены автором этой страницы",
        "版权所有未经许可不得转载",
        "このサイトについてのお問い合わせ",
        "สงวนลิขสิทธิ์ทั้งหมด",
        "Prices start from $5 and rise to $10 for all of our members and friends",
    ],
)
def test_lines_that_count(line):
    assert counts(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Home",
        "Read more about this",
        "返回首页",
        "| --- | :---: | ---: | --- | --- | ------------------- |",
        "| T | F | T | F | T | F | T | T | F |",
        "| 1 | 0 | 1 | 12345678 | 3.14159265358979323846264 |",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21",
        "x y z = a b c d e f",
        "=" * 100,
        "—" * 100,
        "★☆★☆★☆★☆★☆★☆★☆★☆★☆★☆★☆★☆★☆★☆★☆★☆",
        r"$\lim_{n\to\infty} \sum_{k=1}^{n} \frac{1}{k^2} = \frac{\pi^2}{6}$.",
        r"$$ \operatorname{Hom}(A, B) \otimes \operatorname{Hom}(B, C) \to \operatorname{Hom}(A, C) $$",
        r"\[ \mathrm{lorem} + \mathrm{ipsum} + \mathrm{dolor} + \mathrm{amet} \]",
        "``` a fence with very many words behind it that say nothing",
    ],
)
def test_lines_that_do_not_count(line):
    assert not counts(line)


def test_case_and_white_space_do_not_distinguish_and_digits_do():
    one = hashes("Last updated by the editors on 3 May 2021")
    assert hashes("  LAST updated by\tthe\u00a0editors  on 3 May 2021 \r") == one
    assert hashes("Last updated by the editors on 4 May 2021") != one
    assert hashes("ΟΔΟΣ ΤΩΝ ΜΑΘΗΜΑΤΙΚΩΝ ΣΤΗΝ ΑΘΗΝΑ ΚΑΙ ΑΛΛΟΥ") == hashes(
        "οδος των μαθηματικων στην αθηνα και αλλου"
    )


def test_a_line_is_counted_once_a_document():
    assert len(line_hashes(f"{NOTICE}\n{PROSE}\n{NOTICE}")) == 2
    assert line_hashes(f"{NOTICE}\n{PROSE}").dtype == np.uint64


@pytest.mark.parametrize(
    "before, after",
    [
        (f"{NOTICE}\n\nA\n\nB", "A\n\nB"),
        (f"A\n\n{NOTICE}\n\nB", "A\n\nB"),
        (f"A\n{NOTICE}\nB", "A\nB"),
        (f"A\n{NOTICE}\n\nB", "A\n\nB"),
        (f"A\n\n{NOTICE}\nB", "A\n\nB"),
        (f"A\n\n\n\nB\n\n{NOTICE}\n\n{OTHER}\n\n\n", "A\n\n\n\nB\n"),
        (f"A\r\n\r\n{NOTICE}\r\n\r\nB\r\n", "A\r\n\r\nB\r\n"),
        (f"A\n\n{NOTICE}", "A"),
        (f"- A\n- B\n{NOTICE.upper()}", "- A\n- B"),
        (f"{NOTICE}\n\n{OTHER}\n", ""),
        (f"A\n```\n{NOTICE}\n\n```\n\n{NOTICE}\n", f"A\n```\n{NOTICE}\n\n```\n"),
        (f"``\n{NOTICE}\n``", "``\n``"),
        (f"```inline``` code\n{NOTICE}", "```inline``` code"),
        (f"> ```\n> {NOTICE}\n\n{NOTICE}\n\nB", f"> ```\n> {NOTICE}\n\nB"),
        (f"costs $$ and $$$\n\n{NOTICE}", "costs $$ and $$$"),
    ],
)
def test_what_is_left(before, after):
    text, removed = remove_lines(before, REPEATED)
    assert text == after
    assert {line.strip().lower() for line, _ in removed} <= {NOTICE.lower(), OTHER.lower()}
    assert {key for _, key in removed} <= set(REPEATED.tolist())


@pytest.mark.parametrize(
    "text",
    [
        f"```text\n{NOTICE}\n```",
        f"~~~~\n~~~\n{NOTICE}\n~~~~",
        f"````\n```\n{NOTICE}\n```\n{NOTICE}\n````",
        f"```\n    ```\n{NOTICE}\n```",
        f"1. step\n\n   ```sh\n   {NOTICE}\n   ```",
        f"```\n{NOTICE}\n\n{NOTICE}",
        f"$$\n{NOTICE}\n$$",
        f"$$\nx\n\n{NOTICE}\n\ny\n$$",
        f"text $$ a\n{NOTICE}\nb $$ text",
        f"\\begin{{align}}\n{NOTICE}\n\\end{{align}}",
        f"\\[\n{NOTICE}\n\\]",
        f"text\n\n{NOTICE}\n--- | :---:\nA | B",
        f"> {NOTICE}\n> | --- | ---: |\n> | A | B |",
    ],
)
def test_code_formulas_and_heads_of_tables_stay(text):
    assert remove_lines(text, REPEATED) == (text, [])
    assert len(line_hashes(text)) == 0


LINES = st.sampled_from(
    [NOTICE, OTHER, PROSE, "", "", " ", "short", "# " + NOTICE, "```", "```py", "~~~", "~~~~", "````", "  ```", "$$",
     "a $$ b", "``` x ` y", f"> {NOTICE}", "> ```", "\\begin{align}", "\\end{align}", "x\r",
     "| --- | --- |", "--- | -", f"| {NOTICE} | A |", f"{NOTICE} | A"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(LINES, max_size=25).map("\n".join), st.text(), st.text("`~$>\n ab", max_size=60))


@given(TEXTS)
def test_removal_is_idempotent_and_takes_only_whole_repeated_lines(text):
    after, removed = remove_lines(text, REPEATED)
    assert remove_lines(after, REPEATED) == (after, [])
    gone = [line for line, _ in removed]
    assert all(line.strip() in (NOTICE, OTHER) for line in gone)

    def solid(lines: list[str]) -> list[str]:
        return [line for line in lines if line.strip()]

    left = iter(solid(text.split("\n")))
    assert all(line in left for line in solid(after.split("\n")))  # in order, nothing altered
    assert len(solid(after.split("\n"))) + len(gone) == len(solid(text.split("\n")))
    assert (after == text) == (not gone)
    assert not set(line_hashes(after).tolist()) & set(REPEATED.tolist())


@given(st.lists(LINES.filter(lambda line: "$" not in line and "\\" not in line), max_size=25))
def test_what_commonmark_calls_code_or_the_head_of_a_table_stays_and_all_else_counts(lines):
    shielded: set[int] = set()
    for token in MarkdownIt("commonmark").enable("table").parse("\n".join(lines)):
        if token.type in ("fence", "thead_open") and token.map:
            shielded.update(range(*token.map))
    marked = [
        line.replace("newsletter", f"newsletter {number}") if NOTICE in line else line
        for number, line in enumerate(lines)
    ]
    found = set(line_hashes("\n".join(marked)).tolist())
    for number, line in enumerate(marked):
        # A row that would be a head if it had as many columns as the row below is left alone as well.
        is_clear = number in shielded or "|" not in "".join(lines[number + 1 : number + 2])
        if is_clear and "newsletter" in line and line[0] not in "#>":
            assert (int(line_hashes(line)[0]) in found) == (number not in shielded)


def test_all_lines_of_a_sample_that_go_are_outside_of_code(shared_data):
    """On real pages: whatever occurs three times goes, and the code that CommonMark sees is as it was."""
    from corpus.extract import extract_pages

    texts: list[str] = []
    for batch in extract_pages([str(shared_data / "web" / "dev-00003.warc.gz")], "web"):
        texts += [text for text in batch["text"].to_pylist() if text]
        if len(texts) > 200:
            break
    keys, times = np.unique(np.concatenate([line_hashes(text) for text in texts]), return_counts=True)
    repeated = keys[times >= 3]
    after = [remove_lines(text, repeated)[0] for text in texts]
    assert after != texts
    fence = re.compile(r"^(`{3,})[^`\n]*\n.*?^\1`*$", re.M | re.S)
    assert [fence.findall(text) for text in after] == [fence.findall(text) for text in texts]
    assert [re.findall(r"\$\$.*?\$\$", text) for text in after] == [
        re.findall(r"\$\$.*?\$\$", text) for text in texts
    ]


@pytest.mark.parametrize(
    "text",
    ["`" * 10**6,
     "```\n" * 10**5,
     "$$\n" * 10**5, "> " * 10**6, " " * 10**6 + "```", "$" * 10**6, "1. " * 10**5 + "```",
     f"{NOTICE}\n" * 10**5, "\ud800" * 10**5, "a" * 10**6,
     "~~~" + "`" * 10**6, "a\n" + "---|" * 10**5 + "x",
     "a|\n" + " " * 10**6 + "---x", "$$\n\n" * 10**5, "```" + "` " * 10**5],
    ids=range(15),
)  # fmt: skip
def test_hostile_texts_cost_linear_time(text):
    line_hashes(text)
    assert remove_lines(text, np.empty(0, np.uint64)) == (text, [])
