"""Fill-in-the-middle: an exact way back, the rate asked for, and no dependence on company or order."""

import multiprocessing
import random
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from corpus.tokens import SPECIAL, TextTokenizer, train_tokenizer
from fim.transform import Fim, aligned, invert, prompt

CONTROL = sorted({name for names in SPECIAL.values() for name in names})
HALVES = [part for name in CONTROL for part in (name[: len(name) // 2], name[len(name) // 2 :])]
ODD = [*CONTROL, *HALVES, "x", " ", "\n", "\r\n", "\0", "\x7f", "\x1b", "é", "e\u0301", "🜚", "数", "\u2028"]
texts = st.text(max_size=200) | st.lists(st.sampled_from(ODD), max_size=12).map("".join)
ids = st.text(max_size=40)
rates = st.sampled_from([0.0, 0.5, 1.0])
levels = st.sampled_from(["document", "file"])
COMMENT = "# path.py\n"


@st.composite
def repositories(draw):
    """A text of several files behind path comments, the spans behind those, and nodes in them."""
    parts = draw(st.lists(texts, min_size=1, max_size=5))
    regions, nodes, text = [], {}, ""
    for part in parts:
        region = len(text) + len(COMMENT), len(text) + len(COMMENT) + len(part)
        places = st.integers(*region)
        nodes[region] = draw(
            st.lists(st.tuples(places, places).map(lambda pair: tuple(sorted(pair))), max_size=6)
        )
        regions.append(region)
        text += COMMENT + part
    return text, regions, nodes


@given(repositories(), ids, st.integers(0, 3), rates, rates, levels)
def test_inverse_is_exact(repository, document, epoch, spm_rate, syntax_rate, level):
    text, regions, nodes = repository
    fim = Fim(1.0, spm_rate, seed=5, level=level, syntax_rate=syntax_rate)
    pieces = fim.pieces(text, document, epoch, regions, nodes)
    assert invert(pieces) == text
    assert all(value for _, value in pieces)
    assert not any(a[0] == b[0] == "text" for a, b in pairwise(pieces))
    cuts = len(fim.cut(regions, document, epoch))
    some = sum(start < end for start, end in regions)
    assert cuts == (some if level == "file" else min(some, 1))
    roles = [value for kind, value in pieces if kind == "special"]
    last_ends = bool(cuts) and regions[-1] in fim.cut(regions, document, epoch)
    expected = ["fim_begin", "fim_hole", "fim_end", "eos"] * cuts
    assert roles == (expected[:-1] if last_ends else expected)


@given(repositories(), ids, rates, levels)
def test_cuts_stay_in_their_regions(repository, document, spm_rate, level):
    text, regions, _ = repository
    fim = Fim(1.0, spm_rate, level=level)
    pieces = fim.pieces(text, document, 0, regions)
    found, at = [], 0
    for kind, value in [*pieces, ("special", "eos")]:
        if kind == "text":
            at += len(value)
        elif value == ("eos" if len(found) % 2 else "fim_begin"):
            found.append(at)
    assert list(zip(found[::2], found[1::2], strict=True)) == fim.cut(regions, document)


@given(st.text(min_size=1), ids, st.integers(0, 9))
def test_both_layouts_hold_the_same_cut(text, document, epoch):
    psm = Fim(1.0).pieces(text, document, epoch)
    spm = Fim(1.0, spm_rate=1.0).pieces(text, document, epoch)
    parts = {key: "".join(v for k, v in group if k == "text") for key, group in _by_role(psm)}
    prefix, suffix, middle = (parts[role] for role in ("fim_begin", "fim_hole", "fim_end"))
    assert prefix + middle + suffix == text and middle
    # Variant 2 of Bavarian et al.: begin hole suffix end prefix+middle.
    assert spm == [
        piece
        for piece in [
            ("special", "fim_begin"), ("special", "fim_hole"), ("text", suffix),
            ("special", "fim_end"), ("text", prefix + middle),
        ]
        if piece[1]
    ]  # fmt: skip
    assert psm == [*prompt(prefix, suffix), ("text", middle)]
    assert invert([*prompt(prefix, suffix, spm=True), ("text", middle)]) == text


def _by_role(pieces):
    role, marked = "before", []
    for kind, value in pieces:
        role = value if kind == "special" else role
        marked.append((role, (kind, value)))
    return [
        (role, [piece for _, piece in group]) for role, group in groupby(marked, key=lambda pair: pair[0])
    ]


@pytest.mark.parametrize("level", ["document", "file"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rates_are_met(rate, level):
    n = 20_000
    fim = Fim(rate, spm_rate=rate, seed=11, level=level, syntax_rate=rate)
    regions = [(0, 9), (9, 9), (12, 20)]
    cut = [fim.cut(regions, f"{i:032x}") for i in range(n)]
    chances = n * 2 if level == "file" else n
    total = sum(map(len, cut))
    assert abs(total / chances - rate) < 3 * (rate * (1 - rate) / chances) ** 0.5
    assert level == "file" or max(map(len, cut)) == 1
    syntax = sum(len(fim.by_syntax(regions, f"{i:032x}")) for i in range(n))
    assert abs(syntax / total - rate) < 3 * (rate * (1 - rate) / total) ** 0.5
    whole = [p for i in range(n) if len(p := fim.pieces("some text", f"{i:032x}")) > 1]
    spm = sum(pieces[1] == ("special", "fim_hole") and pieces[-1][1].startswith("s") for pieces in whole)
    # Prefix-suffix-middle with an empty prefix looks the same; it is 9 of the 45 places for the middle.
    expected = rate + (1 - rate) * 9 / 45
    assert abs(spm / len(whole) - expected) < 3 * (expected * (1 - expected) / len(whole)) ** 0.5


def test_regions_of_a_file_level_document_are_drawn_on_their_own():
    fim = Fim(0.5, seed=3, level="file")
    regions = [(0, 5), (5, 10), (10, 15)]
    counts = {}
    for i in range(8000):
        cut = tuple(fim.cut(regions, str(i)))
        counts[cut] = counts.get(cut, 0) + 1
    assert len(counts) == 8
    assert all(abs(count - 1000) < 4 * 1000**0.5 for count in counts.values())


def test_every_pair_of_places_is_as_likely():
    found = {}
    for i in range(15_000):
        parts = {role: group[-1][1] for role, group in _by_role(Fim(1.0, seed=2).pieces("abcd", str(i)))}
        key = "".join(c for c in parts["fim_begin"] if c in "abcd" and len(parts["fim_begin"]) < 5)
        found[key, parts["fim_end"]] = found.get((key, parts["fim_end"]), 0) + 1
    assert len(found) == 10
    assert all(abs(count - 1500) < 4 * 1500**0.5 for count in found.values())


def test_every_file_is_as_likely():
    spans = [(0, 2), (2, 8), (8, 10), (10, 10)]
    firsts = [start for i in range(3000) for start, _ in Fim(1.0).cut(spans, str(i))]
    assert all(abs(firsts.count(start) - 1000) < 120 for start in (0, 2, 8))


@pytest.mark.parametrize("level", ["document", "file"])
def test_a_document_s_cut_does_not_depend_on_company_or_process(level):
    fim = Fim(0.5, 0.5, seed=9, level=level, syntax_rate=0.5)
    regions = [(0, 9), (9, 20), (22, 30)]
    nodes = {region: [(region[0] + 1, region[1] - 1)] for region in regions}
    documents = [(f"text of {i} " * 5, f"{i}:0", 1, regions, nodes) for i in range(1000)]
    alone = {document[1]: fim.pieces(*document) for document in documents}
    random.Random(1).shuffle(documents)
    for processes in (1, 8):
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            made = pool.starmap(fim.pieces, documents, chunksize=7)
        assert {document[1]: pieces for document, pieces in zip(documents, made, strict=True)} == alone
    assert any(fim.pieces(*d[:2], epoch=1) != fim.pieces(*d[:2], epoch=2) for d in documents[:9])


def test_the_draw_is_fixed_for_ever():
    """A changed hash would silently make every recipe mean something else."""
    pieces = Fim(1.0, seed=1).pieces("def f(x):\n    return x\n", "2" * 32)
    assert pieces == [*prompt("def ", "  return x\n"), ("text", "f(x):\n  ")]
    files = [(0, 8), (10, 30)]
    assert Fim(0.5, seed=1, level="file").cut(files, "3" * 32) == [(0, 8)]
    nodes = {(10, 30): [(10, 15), (16, 22), (17, 21), (25, 30)]}
    fim = Fim(1.0, spm_rate=0.5, seed=1, level="file", syntax_rate=1.0)
    assert fim.pieces("0123456789" * 3, "2" * 32, 0, files, nodes) == [
        *prompt("012345", "67", spm=True), ("special", "eos"), ("text", "89"),
        *prompt("012345", "23456789"), ("text", "678901"),
    ]  # fmt: skip


NODES = [(2, 12), (3, 5), (6, 9), (10, 11), (14, 18)]


def test_a_middle_by_syntax_is_nodes():
    region = (0, 20)
    fim = Fim(1.0, syntax_rate=1.0)
    found = {fim._middle(region, [*NODES, region], str(i), 0) for i in range(3000)}
    assert set(NODES) - {(10, 11)} <= found and region not in found
    # All others are runs of siblings.
    assert found <= {(2, 12), (3, 5), (6, 9), (14, 18), (3, 9), (2, 18)}
    assert {fim._middle(region, [region, (4, 5), (30, 40)], str(i), 0) for i in range(99)} == {
        fim._middle(region, [], str(i), 0) for i in range(99)
    }


def test_without_syntax_nodes_change_nothing():
    text = "a" * 20
    nodes = {(0, 20): NODES}
    for i in range(50):
        assert Fim(1.0).pieces(text, str(i), nodes=nodes) == Fim(1.0).pieces(text, str(i))
    mixed = Fim(1.0, syntax_rate=0.5)
    for i in range(50):
        same = mixed.pieces(text, str(i), nodes=nodes) == Fim(1.0).pieces(text, str(i))
        assert same or mixed.by_syntax([(0, 20)], str(i))


def test_a_larger_node_is_likelier():
    fim = Fim(1.0, syntax_rate=1.0)
    found = [fim._middle((0, 99), [(0, 30), (40, 50)], str(i), 0) for i in range(8000)]
    alone = [span for i, span in enumerate(found) if fim._uniform("run", (0, 99), str(i), 0) >= 0.5]
    share = alone.count((0, 30)) / len(alone)
    assert abs(share - 0.75) < 3 * (0.75 * 0.25 / len(alone)) ** 0.5


@st.composite
def trees(draw):
    """Nested spans in (0, 40): those of a random bracketing."""
    spans = draw(st.sets(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=14))
    kept = []
    for a, b in sorted(spans):
        if (
            b - a > 1
            and b - a < 40
            and all(b <= c or d <= a or (c <= a and b <= d) or (a <= c and d <= b) for c, d in kept)
        ):
            kept.append((a, b))
    return sorted(kept, key=lambda span: (span[0], -span[1]))


@given(trees(), st.integers(0, 39), st.integers(1, 40))
def test_the_aligned_run_is_the_best_of_all(tree, start, length):
    region, drawn = (0, 40), (start, min(start + length, 40))
    holder = min(
        [s for s in [*tree, region] if s[0] <= drawn[0] and drawn[1] <= s[1]], key=lambda s: s[1] - s[0]
    )
    below = [s for s in tree if s != holder and holder[0] <= s[0] and s[1] <= holder[1]]
    children = [s for s in below if not any(o != s and o[0] <= s[0] and s[1] <= o[1] for o in below)]

    def iou(span):
        common = max(0, min(span[1], drawn[1]) - max(span[0], drawn[0]))
        return common / (span[1] - span[0] + drawn[1] - drawn[0] - common)

    runs = [(a, b) for a, _ in children for _, b in children if a < b]
    best = max(map(iou, runs), default=0)
    found = aligned(drawn, region, tree)
    if best == 0:
        assert found == (None if holder == region else holder)
    elif found is None:
        assert iou(region) == best
    else:
        assert found in runs and iou(found) == pytest.approx(best)


@pytest.fixture(scope="module")
def hostile():
    """A small tokenizer in which the control tokens of all families are control tokens."""
    made = train_tokenizer(iter(["def f(x):\n    return x + 1\n" * 3, "<| fim prefix |> " * 3, "数学"]), 400)
    made.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in CONTROL])
    special = {role: made.token_to_id(names[0]) for role, names in SPECIAL.items()}
    return TextTokenizer(made, "0" * 32, special)


def in_tokens(pieces, tokenizer):
    parts = [
        np.array([tokenizer.special[value]], np.int32)
        if kind == "special"
        else np.asarray(tokenizer.encode(value))
        for kind, value in pieces
    ]
    return np.concatenate([np.zeros(0, np.int32), *parts]).tolist()


def from_tokens(tokens, tokenizer):
    """Pieces again: at control tokens, by their ids alone."""
    roles = {tokenizer.special[role]: role for role in ("fim_begin", "fim_hole", "fim_end", "eos")}
    pieces = []
    for role, group in groupby(tokens, key=roles.get):
        if role is None:
            pieces.append(("text", tokenizer.decode(list(group))))
        else:
            pieces += [("special", role) for _ in group]
    return pieces


def check(text, document, fim, tokenizer, control):
    half = len(text) // 2
    pieces = fim.pieces(text, document, regions=[(0, half), (half, len(text))])
    tokens = in_tokens(pieces, tokenizer)
    placed = [tokenizer.special[value] for kind, value in pieces if kind == "special"]
    assert [token for token in tokens if token in control] == placed
    assert from_tokens(tokens, tokenizer) == pieces
    assert invert(pieces) == text


@settings(max_examples=10_000)
@given(st.lists(st.sampled_from(ODD), max_size=9).map("".join), st.integers(0, 99))
def test_no_control_token_comes_from_a_text(hostile, text, document):
    control = set(hostile.tokenizer.get_added_tokens_decoder())
    assert len(control) >= len(CONTROL)
    check(text, str(document), Fim(0.9, 0.5, level="file"), hostile, control)


@pytest.fixture(scope="module")
def released(shared_data):
    return TextTokenizer.load(str(shared_data / "tokenizer" / "deepseek" / "tokenizer.json"))


@given(texts, ids)
def test_no_control_token_of_a_released_tokenizer_comes_from_a_text(released, text, document):
    control = set(released.tokenizer.get_added_tokens_decoder())
    check(text, document, Fim(0.9, 0.5, level="file"), released, control)


@pytest.mark.parametrize(
    "pieces",
    [
        [("special", "fim_hole"), ("text", "a")],
        [("special", "fim_begin"), ("text", "a"), ("special", "fim_end")],
        [("special", "fim_begin"), ("text", "a"), ("special", "fim_hole"), ("text", "b")],
        [("special", "eos")],
        [*prompt("a", "b"), ("text", "c"), *prompt("d", "e")],
        [*prompt("a", "b"), ("text", "c"), ("special", "eos"), ("special", "eos")],
    ],
)
def test_what_was_never_made_is_not_inverted(pieces):
    with pytest.raises(ValueError, match=r"fim_|before|eos"):
        invert(pieces)


def test_nothing_to_cut_is_not_all_to_cut():
    assert Fim(1.0).pieces("abc", "1", regions=[]) == [("text", "abc")]
    assert Fim(1.0, level="file").pieces("abc", "1", regions=[(2, 2)]) == [("text", "abc")]
    assert Fim(0.0).pieces("abc", "1") == [("text", "abc")]
    assert Fim(1.0).pieces("", "1") == []


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="rate"):
        Fim(1.5)
    with pytest.raises(ValueError, match="syntax_rate"):
        Fim(0.5, syntax_rate=-1)
    with pytest.raises(ValueError, match="level"):
        Fim(0.5, level="repository")
    with pytest.raises(ValueError, match="outside"):
        Fim(1.0).pieces("abc", "1", regions=[(0, 9)])
    with pytest.raises(ValueError, match="overlaps"):
        Fim(1.0, level="file").pieces("abcdef", "1", regions=[(0, 4), (2, 6)])
