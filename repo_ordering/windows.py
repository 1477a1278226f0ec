"""Which files share a training window.

Order alone says little once a repository is cut to a context length: what counts is how many dependencies
stand earlier in the same window. Every file stands in exactly one window; one larger than the budget has a
window of its own, which the packer cuts.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from repo_ordering.order import ORDERS, dependency

Pair = tuple[str, str]


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
    """Greedy merging: the two groups with the most edges for their joint size become one while they fit.

    Files in a group are then put in `dependency` order, and groups into windows in the order of the
    repository as a whole, each into the first window with room.
    """
    order = dependency(sizes, pairs, seed)
    place = {path: i for i, path in enumerate(order)}
    members: dict[int, list[str]] = {place[path]: [path] for path in order}
    weight = {number: sizes[path] for path, number in place.items()}
    links: dict[int, Counter[int]] = {number: Counter() for number in members}
    for source, target in pairs:
        links[place[source]][place[target]] += 1
        links[place[target]][place[source]] += 1

    def offer(a: int, b: int) -> tuple[float, int, int, int]:
        joint = weight[a] + weight[b]
        return (-links[a][b] / max(joint, 1), min(a, b), max(a, b), joint)

    heap = [offer(a, b) for a in links for b in links[a] if a < b and weight[a] + weight[b] <= budget]
    heapq.heapify(heap)
    while heap:
        found = heapq.heappop(heap)
        _, a, b, _ = found
        if a not in members or b not in members or offer(a, b) != found:
            continue  # one of the two has been merged since
        members[a] += members.pop(b)
        weight[a] += weight.pop(b)
        for other, count in links.pop(b).items():
            del links[other][b]
            if other != a:
                links[a][other] += count
                links[other][a] += count
        for other in links[a]:
            if weight[a] + weight[other] <= budget:
                heapq.heappush(heap, offer(a, other))
    inside: dict[int, list[Pair]] = {number: [] for number in members}
    owner = {path: number for number, group in members.items() for path in group}
    for source, target in pairs:
        if owner[source] == owner[target]:
            inside[owner[source]].append((source, target))
    groups = [dependency(members[number], inside[number], seed) for number in sorted(members)]
    return _first_fit(groups, sizes, budget)


def _first_fit(groups: list[list[str]], sizes: Mapping[str, int], budget: int) -> list[list[str]]:
    """Each group into the first window with room for it, found through a tree of the largest rooms."""
    windows: list[list[str]] = []
    width = 1
    while width < len(groups):
        width *= 2
    room = [budget] * (2 * width)  # a tournament: a node holds the larger room of its children
    for group in groups:
        size = min(sum(sizes[path] for path in group), budget)  # a single file over the budget fills a window
        node = 1
        while node < width:
            node = 2 * node if room[2 * node] >= size else 2 * node + 1
        if node - width == len(windows):
            windows.append([])
        windows[node - width] += group
        room[node] -= size
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return windows
