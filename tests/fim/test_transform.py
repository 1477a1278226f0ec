"""Fill-in-the-middle: an exact way back, the rate asked for, and no dependence on company or order."""

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim.sentinels import SENTINELS
from fim.transform import Fim, bodies, invert

texts = st.text(max_size=200) | st.lists(
    st.sampled_from([*(s for f in SENTINELS.values() for s in vars(f).values()), "x", "\n", "\r\n", "é", "🜚"])
).map("".join)
ids = st.text(max_size=40)


@st.composite
def repositories(draw):
    """A text of several files behind path comments, and their spans."""
    parts = draw(st.lists(texts.map(lambda body: "# path.py\n" + body), min_size=1, max_size=5))
    spans, start = [], 0
    for part in parts:
        spans.append((start, start + len(part)))
        start += len(part)
    return "".join(parts), spans


@given(texts, ids, st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_inverse_is_exact(text, document, epoch, spm_rate):
    pieces = Fim(1.0, spm_rate, seed=5).pieces(text, document, epoch)
    assert invert(pieces) == text
    roles = [value for kind, value in pieces if kind == "special"]
    # A sentinel spelled out in the text never becomes a control token.
    assert roles == (["fim_begin", "fim_hole", "fim_end"] if text else [])


@given(repositories(), ids, st.sampled_from([0.0, 1.0]))
def test_a_repository_is_cut_inside_one_file_behind_its_path(repository, document, spm_rate):
    text, spans = repository
    fim = Fim(1.0, spm_rate)
    pieces = fim.pieces(text, document, files=bodies(text, spans))
    assert invert(pieces) == text
    marks = [i for i, piece in enumerate(pieces) if piece[0] == "special"]
    if not marks:
        assert all(end - start == len("# path.py\n") for start, end in spans)
        return
    before = sum(len(value) for _, value in pieces[: marks[0]])
    inside = sum(len(value) for kind, value in pieces[marks[0] : (marks[3:] or [None])[0]] if kind == "text")
    assert (before, before + inside) in [(start + len("# path.py\n"), end) for start, end in spans]
    # Where other files follow, the middle is closed.
    assert (len(marks) == 4) == (before + inside < len(text))


@given(st.text(min_size=1), ids, st.integers(0, 9))
def test_split_and_pieces_agree(text, document, epoch):
    fim = Fim(1.0)
    prefix, middle, suffix = fim.split(text, document, epoch)
    assert prefix + middle + suffix == text and middle
    laid_out = [("special", "fim_begin"), ("text", prefix), ("special", "fim_hole"), ("text", suffix)]
    laid_out += [("special", "fim_end"), ("text", middle)]
    assert fim.pieces(text, document, epoch) == [piece for piece in laid_out if piece[1]]


@given(st.text(min_size=1), ids)
def test_spm_holds_prefix_and_middle_together(text, document):
    prefix, middle, suffix = Fim(1.0).split(text, document)
    pieces = Fim(1.0, spm_rate=1.0).pieces(text, document)
    laid_out = [("special", "fim_begin"), ("special", "fim_hole"), ("text", suffix)]
    assert pieces == [p for p in [*laid_out, ("special", "fim_end"), ("text", prefix + middle)] if p[1]]


@given(st.text(min_size=3), ids, st.data())
def test_protected_span_stays_in_front(text, document, data):
    end = data.draw(st.integers(0, len(text)))
    pieces = Fim(1.0).pieces(text, document, protected=(0, end))
    assert invert(pieces) == text
    if end < len(text):
        assert "".join(value for _, value in pieces[: pieces.index(("special", "fim_begin"))]) == text[:end]
    else:
        assert pieces == [("text", text)]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rates_are_met(rate):
    n = 20_000
    fim = Fim(rate, spm_rate=rate, seed=11)
    cut = [p for i in range(n) if len(p := fim.pieces("some text", f"{i:032x}")) > 1]
    assert abs(len(cut) / n - rate) < 3 * (rate * (1 - rate) / n) ** 0.5
    spm = sum(pieces[1] == ("special", "fim_hole") and pieces[-1][1].startswith("s") for pieces in cut)
    # Prefix-suffix-middle with an empty prefix looks the same; it is 9 of the 45 places for the middle.
    expected = rate + (1 - rate) * 9 / 45
    assert abs(spm / len(cut) - expected) < 4 * (expected * (1 - expected) / len(cut)) ** 0.5


def test_every_pair_of_places_is_as_likely():
    found = {}
    for i in range(15_000):
        prefix, middle, _ = Fim(1.0, seed=2).split("abcd", str(i))
        found[len(prefix), len(middle)] = found.get((len(prefix), len(middle)), 0) + 1
    assert len(found) == 10
    assert all(abs(count - 1500) < 4 * 1500**0.5 for count in found.values())


def test_every_file_is_as_likely():
    text, spans = "aabbbbbbcc", [(0, 2), (2, 8), (8, 10), (10, 10)]
    firsts = []
    for i in range(3000):
        pieces = Fim(1.0).pieces(text, str(i), files=spans)
        firsts.append(sum(len(value) for _, value in pieces[: pieces.index(("special", "fim_begin"))]))
    assert all(abs(firsts.count(start) - 1000) < 120 for start in (0, 2, 8))


def test_a_document_s_cut_does_not_depend_on_company_or_process():
    fim = Fim(0.5, 0.5, seed=9)
    documents = [(f"text of {i} " * 5, str(i)) for i in range(300)]
    alone = {document: fim.pieces(text, document) for text, document in documents}
    random.Random(1).shuffle(documents)
    again = pickle.loads(pickle.dumps(fim))
    assert {document: again.pieces(text, document) for text, document in documents} == alone
    assert fim.pieces(*documents[0], epoch=1) != fim.pieces(*documents[0], epoch=2) or (
        fim.pieces(*documents[1], epoch=1) != fim.pieces(*documents[1], epoch=2)
    )


def test_the_draw_is_fixed_for_ever():
    """A changed hash would silently make every recipe mean something else."""
    split = Fim(1.0, seed=1).split("def f(x):\n    return x\n", "2" * 32)
    assert split == ("def ", "f(x):\n  ", "  return x\n")


def test_released_sentinels(shared_data):
    from tokenizers import Tokenizer

    found = sorted((shared_data / "tokenizer").rglob("tokenizer.json"))
    deepseek = next(Tokenizer.from_file(str(path)) for path in found if "deepseek" in str(path).lower())
    for sentinel in vars(SENTINELS["deepseek"]).values():
        assert deepseek.token_to_id(sentinel) is not None
    assert Fim(1.0).string("fim_hole") == "<｜fim▁hole｜>"


@pytest.mark.parametrize(
    "pieces",
    [
        [("special", "fim_hole"), ("text", "a")],
        [("special", "fim_begin"), ("text", "a"), ("special", "fim_end")],
        [("special", "fim_begin"), ("text", "a"), ("special", "fim_hole"), ("text", "b")],
        [("special", "eos")],
    ],
)
def test_what_was_never_made_is_not_inverted(pieces):
    with pytest.raises(ValueError, match=r"fim_|before"):
        invert(pieces)


def test_nothing_to_cut_is_not_all_to_cut():
    assert Fim(1.0).pieces("abc", "1", files=[]) == [("text", "abc")]
    assert Fim(1.0).pieces("abc", "1", files=[(2, 2)]) == [("text", "abc")]
    assert Fim(0.0).split("abc", "1") is None


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="rate"):
        Fim(1.5)
    with pytest.raises(ValueError, match="outside"):
        Fim(1.0).pieces("abc", "1", files=[(0, 9)])
