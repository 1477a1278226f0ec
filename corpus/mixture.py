"""The mixture: how often each source is seen, so that its tokens are its share of all, to within half a window.

Each window has a draw, and its copy of epoch e the position e + draw. The mixture takes of every source the positions
below a threshold: so many whole epochs, and of the next one the windows with the lowest draws. How many tokens a
copy has is known only once it is made (fill-in-the-middle and combined tokens that are split make it longer), so
copies are made up to where an estimate says that they suffice, and the threshold is found from their exact lengths.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xxhash

from corpus.errors import LodeError

# Positions are integers: 48 bits of draw below the epoch.
EPOCH = 1 << 48
MOST_EPOCHS = 10_000
# A range of positions is counted in so many bins, then the bin in which the threshold lies.
BINS = 1024
# Copies are made for so much more than the estimate, and for so many standard deviations of the draws.
_MARGIN, _SIGMAS = 1.02, 6

Range = tuple[int, int]
# Tokens and windows of each source in `BINS` equal parts of its range; see `bin_width`.
Counted = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Share:
    """What the mixture takes of a source: `tokens` in `copies` of windows, those at positions below `end`."""

    share: float
    end: int
    tokens: int

    @property
    def epochs(self) -> float:
        return self.end / EPOCH


def draw(seed: int, name: str, chunk: int) -> int:
    """The draw of a window, in [0, EPOCH): the same whoever computes it."""
    return (
        xxhash.xxh3_64_intdigest(f"{seed}\nmixture\n{name}\n{chunk}".encode("utf-8", "surrogatepass")) >> 16
    )


def epochs_at(place: int, span: Range) -> range:
    """The epochs in which the window with this draw has a position in `span`."""
    return range(max(0, -((place - span[0]) // EPOCH)), max(0, -((place - span[1]) // EPOCH)))


def mixture_epochs(
    weights: dict[str, float], available: dict[str, int], max_epochs: float, total: int | None
) -> dict[str, float]:
    """How often each source is to be seen so that its share of the tokens is its weight, if every epoch has as many.

    Args:
        available: tokens of each source.
        total: tokens wanted at most; there are never more than `max_epochs` of the scarcest source allow.

    Raises:
        LodeError: a source with a weight has no tokens.
    """
    for source in weights:
        if not available.get(source):
            raise LodeError(
                f"mixture: the source {source!r} has a weight but no documents; lower its weight to 0."
            )
    share = {source: weight / sum(weights.values()) for source, weight in weights.items()}
    limits = {source: max_epochs * available[source] / part for source, part in share.items() if part}
    total = min([*limits.values(), *([total] if total else [])])
    return {source: part * total / available[source] for source, part in share.items()}


def bin_width(span: Range) -> int:
    return max(1, -((span[0] - span[1]) // BINS))


def mix(
    weights: dict[str, float],
    had: dict[str, tuple[int, int]],
    max_epochs: float,
    total: int | None,
    place: Callable[[dict[str, Range]], None],
    count: Callable[[dict[str, Range]], Counted],
) -> tuple[dict[str, Share], str | None]:
    """The share of each source, and the source that is seen `max_epochs` times and so limits the mixture, if one does.

    Args:
        weights: of the sources, each greater than 0.
        had: tokens and windows of each source in one epoch, before anything is done to them.
        total: tokens wanted at most.
        place: makes the copies at these positions of the sources; called with ranges that follow on each other.
        count: counts the copies that were made, by exact length.
    """
    epochs = mixture_epochs(weights, {name: tokens for name, (tokens, _) in had.items()}, max_epochs, total)
    share = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    last = round(max_epochs * EPOCH)
    made = dict.fromkeys(weights, 0)
    exact = dict.fromkeys(weights, 0)
    first: Counted = {}
    while True:
        wanted = {name: max(made[name], min(last, _reach(epochs[name], had[name][1]))) for name in weights}
        missing = {name: (made[name], wanted[name]) for name in weights if wanted[name] > made[name]}
        place(missing)
        made = wanted
        first = count({name: (0, end) for name, end in made.items()})
        exact = {name: int(first[name][0].sum()) for name in weights}
        ends = {name: exact[name] / share[name] for name in weights if made[name] == last}
        tokens = min([*ends.values(), *([total] if total else [])], default=0.0)
        short = [name for name in weights if made[name] < last and exact[name] < tokens * share[name]]
        if (tokens and not short) or all(end == last for end in made.values()):
            break
        # Where no source is at its end and no total is given, the one that the estimate takes for the scarcest goes on.
        for name in short or weights:
            here = made[name] / EPOCH
            more = tokens * share[name] / exact[name] if short and exact[name] else 2.0
            epochs[name] = here * max(more, 1.0)
    binding = min(ends, key=lambda name: (ends[name], name)) if ends else None
    if binding is not None and total and total < ends[binding]:
        binding = None
    thresholds = _thresholds({name: tokens * part for name, part in share.items()}, made, first, count)
    if binding is not None:
        thresholds[binding] = last, exact[binding]
    return {name: Share(share[name], *thresholds[name]) for name in weights}, binding


def _reach(epochs: float, windows: int) -> int:
    """The position up to which copies surely have the tokens of so many epochs."""
    part = epochs % 1.0 or 1.0
    return round((epochs * _MARGIN + _SIGMAS * (part / windows) ** 0.5 + 1 / windows) * EPOCH)


def _thresholds(
    wanted: dict[str, float],
    ends: dict[str, int],
    first: Counted,
    count: Callable[[dict[str, Range]], Counted],
) -> dict[str, tuple[int, int]]:
    """For each source the position below which its copies have the number of tokens that is nearest to `wanted`, and
    this number; `first` counts the positions from 0 to `ends`."""
    spans = {name: (0, end) for name, end in ends.items()}
    below = dict.fromkeys(wanted, 0)
    found: dict[str, tuple[int, int]] = {}
    counted = first
    while True:
        for name, (tokens, windows) in counted.items():
            (low, high), width = spans[name], bin_width(spans[name])
            sums = below[name] + np.cumsum(tokens)
            if sums[-1] <= wanted[name]:
                found[name] = (high, int(sums[-1]))
                continue
            place = int(np.searchsorted(sums, wanted[name], side="right"))
            before = int(sums[place] - tokens[place])
            start, end = low + place * width, min(low + (place + 1) * width, high)
            if windows[place] == 1 or width == 1:
                takes = wanted[name] - before > sums[place] - wanted[name]
                found[name] = (end, int(sums[place])) if takes else (start, before)
            else:
                spans[name], below[name] = (start, end), before
        left = {name: spans[name] for name in wanted if name not in found}
        if not left:
            return found
        counted = count(left)
