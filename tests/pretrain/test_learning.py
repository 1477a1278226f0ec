"""What `benchmarks/learning.py` counts: the same tokens for both models, and whole names as holes."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.learning import LONGEST, ngram_losses, spans_of_names
from benchmarks.ngram import NGram
from pretrain.evaluate import heldout_loss
from pretrain.model import Transformer
from pretrain.shards import RowReader, Shards


class Uniform(NGram):
    """Knows nothing, as a model with a head of zeros."""

    def probabilities(self, sequences: np.ndarray) -> np.ndarray:
        return np.full(sequences.shape, 1 / self.vocabulary)


def test_losses_are_means_over_the_tokens_of_each_source_but_the_first(heldout, shards):
    held = Shards(heldout)
    tokens, _, sources = RowReader(held, 2).read(np.arange(len(held)))
    model = NGram(RowReader(Shards(shards), 2).read(np.arange(40))[0], 64)
    probability = model.probabilities(tokens)
    expected: dict[str, list[float]] = {}
    for row, column in np.ndindex(tokens.shape):
        if column:
            name = held.sources[sources[row, column]]
            expected.setdefault(name, []).append(-math.log(probability[row, column]))
    assert ngram_losses(model, held) == pytest.approx({k: sum(v) / len(v) for k, v in expected.items()})


def test_knowing_nothing_costs_both_models_the_same(heldout, shards, small_model):
    held = Shards(heldout)
    network = Transformer(small_model)
    network.init_weights(0)
    network.head.weight.data.zero_()
    found = heldout_loss(network, held, list(range(len(held))), 4)
    baseline = Uniform(RowReader(Shards(shards), 2).read(np.arange(40))[0], 64)
    assert {k: v["loss"] for k, v in found.items()} == pytest.approx(ngram_losses(baseline, held))


@pytest.mark.parametrize(
    ("pieces", "spans"),
    [
        (["(", "area", ")"], [(1, 2)]),
        ([" long", "_na", "me", "("], [(0, 3)]),
        (["(", "a", "b", "c", "d", ")"], []),  # a name of more tokens than a hole may have
        (["x", "=", "ab", ";"], []),  # names too short to be one
        ([" area"], []),  # it may go on
        (["(", "are", "a1", " ", "=", "1", "abc", " "], [(1, 3)]),  # 1abc is no name
    ],
)
def test_holes_are_whole_names(pieces, spans):
    assert spans_of_names(pieces) == spans


@given(
    st.lists(st.sampled_from(["a", "bcd", "_e", "1", " f", " ghi", " ", "(", ".j", "é", "k "]), max_size=12)
)
def test_a_hole_is_a_whole_word_of_the_text(pieces):
    words = {match.span() for match in re.finditer(r"\w+", "".join(pieces))}
    for i, j in spans_of_names(pieces):
        before, name = "".join(pieces[:i]), "".join(pieces[i:j])
        begin = len(before) + name.startswith(" ")
        assert (begin, len(before) + len(name)) in words
        assert 1 <= j - i <= LONGEST
