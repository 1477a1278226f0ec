"""Heights in running text: formulas where they are clear, never a wrong number anywhere."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.scripts import script, settle


def read(markup: str) -> str:
    out = ""
    for piece in re.split(r"(<su[pb]>.*?</su[pb]>)", markup):
        found = re.fullmatch(r"<(su[pb])>(.*?)</su[pb]>", piece)
        out += script(out, re.sub("<[^>]+>", "", found[2]), found[1], "<a" in found[2]) if found else piece
    return settle(out, str)


@pytest.mark.parametrize(
    "markup, expected",
    [
        ("so x<sup>2</sup> + y<sub>i</sub> = 1 holds", "so $x^{2} + y_{i} = 1$ holds"),
        ("f(x) = ax<sup>2</sup> + bx + c, where", "$f(x) = ax^{2} + bx + c$, where"),
        (
            "(a + b)<sup>2</sup> = a<sup>2</sup> + 2ab + b<sup>2</sup>.",
            "$(a + b)^{2} = a^{2} + 2ab + b^{2}$.",
        ),
        ("E = mc<sup>2</sup>.", "$E = mc^{2}$."),
        ("∑<sub>i=1</sub><sup>n</sup> a<sub>i</sub> ≤ 3", r"$\sum_{i=1}^{n} a_{i} \leq 3$"),
        ("sin<sup>2</sup>θ + cos<sup>2</sup>θ = 1", r"$\sin^{2}\theta + \cos^{2}\theta = 1$"),
        ("so y′ + y = x<sup>2</sup>", "so $y' + y = x^{2}$"),
        # Scripts that plain text can carry.
        ("let a<sub>n</sub> be", "let a_n be"),
        ("x<sub>i</sub><sup>2</sup> and x<sub>i+1</sub>", "x_i^2 and x_{i+1}"),
        ("in O(n<sup>2</sup>) time", "in O(n^2) time"),
        ("in ℝ<sup>n</sup> is", "in ℝ^n is"),
        ("the x<sup>2</sup>-axis", "the x^2-axis"),
        ("at 3 × 10<sup>8</sup> m/s", "at 3 × 10^8 m/s"),
        ("in kg·m<sup>2</sup>·s<sup>-2</sup>", "in kg·m^2·s^-2"),
        ("2H<sub>2</sub> + O<sub>2</sub> → 2H<sub>2</sub>O", "2H_2 + O_2 → 2H_2O"),
        ("half of |a − b|<sup>2</sup> = 1 < |c", "half of |a − b|^2 = 1 < |c"),
        ("about 10<sup>6</sup> cells", "about 10^6 cells"),
        ("25 m<sup>2</sup> and 3 m/s<sup>2</sup>", "25 m^2 and 3 m/s^2"),
        ("area in km<sup>2</sup>", "area in km^2"),
        (
            "H<sub>2</sub>O, CO<sub>2</sub>, SO<sub>4</sub><sup>2-</sup>",
            "H_2O, CO_2, SO_4^{2-}",
        ),
        ("the <sup>14</sup>C method", "the ^14C method"),
        # Heights that mean nothing.
        ("the 1<sup>st</sup> of May", "the 1st of May"),
        ("au XX<sup>e</sup> siècle, M<sup>me</sup> Curie", "au XXe siècle, Mme Curie"),
        ("word<sup>[1]</sup> and word<sup><a>2</a></sup>.", "word[1] and word[2]."),
        ("Windows<sup>TM</sup>", "WindowsTM"),
        ("text<sup>citation needed</sup>", "text citation needed"),
        ("<sup>1</sup> See below", "1 See below"),
    ],
)
def test_runs(markup, expected):
    assert read(markup) == expected


def test_scripts_of_scripts():
    inner = "−x" + script("x", "2", "sup", False)
    assert settle("y = e" + script("e", inner, "sup", False), str) == "$y = e^{-x^{2}}$"


@given(
    st.lists(
        st.one_of(
            st.text("ab1+=() ,.", max_size=5),
            st.builds(
                lambda k, t: f"<{k}>{t}</{k}>", st.sampled_from(["sup", "sub"]), st.text("i12+n", max_size=3)
            ),
        ),
        max_size=12,
    )
)
def test_no_letter_or_digit_is_lost(pieces):
    markup = "".join(pieces)
    plain = re.sub(r"<[^>]+>", "", markup)
    found = read(markup)
    assert re.sub(r"[^abin12]", "", found) == re.sub(r"[^abin12]", "", plain)
    assert not re.search("[\ue0f1-\ue0f3]", found)


@pytest.mark.parametrize("piece", ["x{}", "x{}+", "(x{}", ")x{} ", "{}", "a ", "x{}=(", "a,{}"])
def test_hostile_repetition_ends(piece):
    text = piece.format(script("x", "2", "sup", False))
    start = time.process_time()
    settle(text * (1_000_000 // len(text)), str)
    assert time.process_time() - start < 20
