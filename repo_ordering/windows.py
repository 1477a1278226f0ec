"""Which files share a training window.

Order alone says little once a repository is cut to a context length: what counts is how many dependencies
stand earlier in the same window. Every file stands in exactly one window; one larger than the budget has a
window of its own, which the packer cuts.
"""

from collections.abc import Iterable, Mapping, Sequence

from repo_ordering.order import ORDERS, dependency
from repo_ordering.refine import annealed, fewer, merged, packed

Pair = tuple[str, str]

# How many windows clustering may use, next to packing the files by size alone: a little room to move in.
SPARE = 1.05


def compose(
    sizes: Mapping[str, int], edges: Iterable[Pair], budget: int, method: str = "clustered", seed: int = 0
) -> list[list[str]]:
    """Windows of at most `budget` (characters or tokens, as `sizes` are), each a list of paths in order.

    `method` is `clustered`, or one of `order.ORDERS` cut wherever the next file does not fit.
    """
    if budget < 1:
        raise ValueError(f"a window's budget is at least 1, not {budget}")
    pairs = sorted({(s, t) for s, t in edges if s != t and s in sizes and t in sizes})
    if method == "clustered":
        return _clustered(sizes, pairs, budget, seed)
    return cut(ORDERS[method](sizes, pairs, seed), sizes, budget)


def in_window_coverage(windows: Sequence[Sequence[str]], edges: Iterable[Pair]) -> float:
    """Share of edges whose target stands earlier in the window of its source; 1.0 without edges."""
    place = {path: (number, i) for number, window in enumerate(windows) for i, path in enumerate(window)}
    pairs = {(s, t) for s, t in edges if s != t and s in place and t in place}
    hits = sum(place[t][0] == place[s][0] and place[t][1] < place[s][1] for s, t in pairs)
    return hits / len(pairs) if pairs else 1.0


def cut(order: Iterable[str], sizes: Mapping[str, int], budget: int) -> list[list[str]]:
    """An order cut into windows: a new one where the next file does not fit."""
    windows: list[list[str]] = []
    room = 0
    for path in order:
        if not windows or sizes[path] > room:
            windows.append([])
            room = budget
        windows[-1].append(path)
        room -= sizes[path]
    return windows


def _clustered(sizes: Mapping[str, int], pairs: list[Pair], budget: int, seed: int) -> list[list[str]]:
    """Greedy merging, refined by annealing (see `refine`), in no more windows than `SPARE` allows.

    Files in a window are put in `dependency` order, and windows in the order of the repository as a whole.
    """
    order = dependency(sizes, pairs, seed)
    place = {path: i for i, path in enumerate(order)}
    links: list[set[int]] = [set() for _ in order]
    lengths = [sizes[path] for path in order]
    for source, target in pairs:
        a, b = place[source], place[target]
        if lengths[a] <= budget and lengths[b] <= budget:
            links[a].add(b)
            links[b].add(a)
    fitting = [i for i, length in enumerate(lengths) if length <= budget]
    alone = [[i] for i, length in enumerate(lengths) if length > budget]
    groups = [group for group in merged(lengths, links, budget) if lengths[group[0]] <= budget]
    fewest = len(packed([[i] for i in fitting], lengths, budget))
    windows = packed(groups, lengths, budget)
    most = int(fewest * SPARE)
    windows = fewer(windows, lengths, links, budget, most)
    windows += [[] for _ in range(len(windows), most)]
    windows = annealed(windows, lengths, links, budget, seed) + alone
    owner = {order[i]: number for number, window in enumerate(windows) for i in window}
    inside: list[list[Pair]] = [[] for _ in windows]
    for source, target in pairs:
        if owner[source] == owner[target]:
            inside[owner[source]].append((source, target))
    return [
        dependency([order[i] for i in windows[number]], inside[number], seed)
        for number in sorted(range(len(windows)), key=lambda number: min(windows[number]))
    ]
