"""The mixture: shares of tokens that are exact for any lengths, in any order of the windows and any partitioning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.mixture import BINS, EPOCH, Range, bin_width, draw, epochs_at, mix, mixture_epochs


class Windows:
    """Windows of some sources in memory, whose copies get longer in a way of their own, as those with a middle do."""

    def __init__(self, lengths: dict[str, np.ndarray], growth: dict[str, float], seed: int = 0):
        rng = np.random.default_rng(seed)
        self.draws = {name: rng.integers(0, EPOCH, len(found)) for name, found in lengths.items()}
        self.lengths, self.growth = lengths, growth
        self.placed: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in lengths}
        self.counts = 0

    @property
    def had(self) -> dict[str, tuple[int, int]]:
        return {name: (int(found.sum()), len(found)) for name, found in self.lengths.items()}

    def sizes(self, name: str, epoch: int) -> np.ndarray:
        """Exact lengths of the copies of an epoch: a window's grow by 0 to twice the source's growth."""
        turn = (self.draws[name] >> 8) * (2 * epoch + 1) % 1000 / 1000
        return self.lengths[name] + (self.lengths[name] * turn * 2 * self.growth.get(name, 0)).astype(int)

    def place(self, ranges: dict[str, Range]) -> None:
        for name, (low, high) in ranges.items():
            for epoch in range(low // EPOCH, -(-high // EPOCH)):
                at = self.draws[name] + epoch * EPOCH
                here = (low <= at) & (at < high)
                self.placed[name].append((at[here], self.sizes(name, epoch)[here]))

    def copies(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        at, sizes = zip(*self.placed[name], strict=True)
        return np.concatenate(at), np.concatenate(sizes)

    def count(self, ranges: dict[str, Range]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        self.counts += 1
        found = {}
        for name, span in ranges.items():
            at, sizes = self.copies(name)
            here = (span[0] <= at) & (at < span[1])
            bins = (at[here] - span[0]) // bin_width(span)
            tokens = np.bincount(bins, sizes[here], BINS).astype(np.int64)
            found[name] = (tokens, np.bincount(bins, minlength=BINS))
        return found

    def used(self, name: str, end: int) -> np.ndarray:
        at, sizes = self.copies(name)
        return sizes[at < end]


def mixed(windows: Windows, weights, max_epochs=4.0, total=None):
    return mix(weights, windows.had, max_epochs, total, windows.place, windows.count)


def test_a_million_sequences_have_the_shares_that_were_asked():
    """Coder's mixture in 10^6 sequences of 4,096 tokens, from sources of very different sizes and growth."""
    rng = np.random.default_rng(1)

    def lengths(count):
        return np.minimum(rng.lognormal(7.5, 1.3, count).astype(int) + 1, 4084)

    sources = {"code": lengths(800_000), "english": lengths(900_000), "chinese": lengths(60_000)}
    weights = {"code": 87, "english": 10, "chinese": 3}
    windows = Windows(sources, {"code": 0.02})
    shares, binding = mixed(windows, weights, 4.0, 4096 * 10**6)
    total = sum(share.tokens for share in shares.values())
    for name, weight in weights.items():
        assert shares[name].tokens == windows.used(name, shares[name].end).sum()
        assert abs(shares[name].tokens / total / (weight / 100) - 1) < 1e-3
        assert abs(shares[name].tokens / total - weight / 100) < 1e-5
        made = sum(sizes.sum() for _, sizes in windows.placed[name])
        assert made < 1.2 * shares[name].tokens
    assert binding is None or shares[binding].epochs == 4
    assert abs(total / (4096 * 10**6) - 1) < 1e-3 or binding


SOURCES = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(1, 4000), min_size=1, max_size=60), min_size=1
)


@given(SOURCES, st.data())
def test_every_source_is_within_half_a_window_of_its_share(sources, data):
    weights = {name: data.draw(st.floats(0.01, 100)) for name in sources}
    growth = {name: data.draw(st.floats(0, 2)) for name in sources}
    max_epochs = data.draw(st.floats(0.2, 5))
    total = data.draw(st.none() | st.integers(1, 20_000))
    windows = Windows({name: np.array(found) for name, found in sources.items()}, growth)
    shares, binding = mixed(windows, weights, max_epochs, total)

    def made(name):
        return windows.used(name, round(max_epochs * EPOCH)).sum()

    asked = total if binding is None else made(binding) / shares[binding].share
    for name, share in shares.items():
        largest = max(windows.sizes(name, epoch).max() for epoch in range(6))
        assert share.tokens == windows.used(name, share.end).sum()
        assert share.epochs <= max_epochs + 1e-9
        assert abs(share.tokens - asked * share.share) <= largest / 2 + 1
    if binding is not None:
        assert shares[binding].end == round(max_epochs * EPOCH)


@given(SOURCES, st.randoms())
def test_the_order_of_the_windows_does_not_matter(sources, random):
    one = Windows({name: np.array(found) for name, found in sources.items()}, {"a": 0.3})
    other = Windows(one.lengths, one.growth)
    for name in sources:
        order = random.sample(range(len(sources[name])), len(sources[name]))
        other.lengths = other.lengths | {name: one.lengths[name][order]}
        other.draws[name] = one.draws[name][order]
    assert mixed(one, dict.fromkeys(sources, 1)) == mixed(other, dict.fromkeys(sources, 1))


def test_a_large_source_of_which_little_is_wanted_is_not_made_as_a_whole():
    rng = np.random.default_rng(2)
    windows = Windows({"large": rng.integers(1, 4000, 10**6), "small": rng.integers(1, 4000, 10**4)}, {})
    shares, binding = mixed(windows, {"large": 1, "small": 1}, 1.0)
    assert binding == "small" and shares["small"].end == EPOCH
    assert 0.009 < shares["large"].epochs < 0.011
    assert sum(len(sizes) for _, sizes in windows.placed["large"]) < 1.2 * 10**4
    assert windows.counts < 5


def test_where_estimates_are_far_too_low_or_too_high_more_is_made():
    for growth in ({"a": 5.0}, {"b": 5.0}):
        windows = Windows({name: np.full(10_000, 100) for name in "ab"}, growth)
        shares, binding = mixed(windows, {"a": 1, "b": 3}, 2.0)
        assert binding == ("b" if "a" in growth else "a") or shares[binding].epochs == 2
        assert abs(shares["b"].tokens / shares["a"].tokens - 3) < 0.01


@given(st.integers(0, EPOCH - 1), st.integers(0, 3 * EPOCH), st.integers(0, 3 * EPOCH))
def test_ranges_that_follow_on_each_other_make_every_copy_once(place, middle, end):
    low, high = sorted((middle, end))
    parts = [*epochs_at(place, (0, low)), *epochs_at(place, (low, high))]
    assert parts == [*epochs_at(place, (0, high))] == [e for e in range(3) if e * EPOCH + place < high]


def test_draws_are_spread_evenly_and_depend_on_seed_document_and_window():
    draws = np.array([draw(0, f"document {i // 3}", i % 3) for i in range(20_000)])
    assert len(set(draws.tolist())) == len(draws)
    seen = np.bincount(draws // (EPOCH // 16), minlength=16)
    assert np.all(np.abs(seen - 1250) < 5 * 1250**0.5)
    assert draw(1, "document 0", 0) != draws[0]


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=5),
    st.lists(st.floats(0.01, 10), min_size=5, max_size=5),
)
def test_estimated_epochs_meet_the_weights_and_the_limit(available, weights):
    have = {str(i): n for i, n in enumerate(available)}
    weights = {str(i): weights[i] for i in range(len(available))}
    epochs = mixture_epochs(weights, have, 3, None)
    assert max(epochs.values()) == pytest.approx(3)
    tokens = {s: epochs[s] * have[s] for s in have}
    for source in have:
        assert tokens[source] / sum(tokens.values()) == pytest.approx(weights[source] / sum(weights.values()))
    fewer = mixture_epochs(weights, have, 3, 10)
    assert sum(fewer[s] * have[s] for s in have) == pytest.approx(min(10, sum(tokens.values())))
    with pytest.raises(LodeError, match="no documents"):
        mixture_epochs(weights, {}, 3, None)


def test_no_source_is_estimated_to_be_seen_more_often_than_allowed():
    assert mixture_epochs({"a": 1, "b": 1}, {"a": 10, "b": 1000}, 4, 1000) == {"a": 4.0, "b": 0.04}
    assert mixture_epochs({"a": 1, "b": 1}, {"a": 10, "b": 1000}, 4, 20) == {"a": 1.0, "b": 0.01}
