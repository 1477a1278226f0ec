"""Cycles in a dependency graph: finding them, and writing their files so that few edges break."""

import random
from collections.abc import Iterable, Iterator

Pair = tuple[str, str]

# Above this many files in one cycle the local search, quadratic in the worst case, gives way to speed.
SEARCH_LIMIT = 3000
# Edges looked at in the passes of that search, which is never less than one pass.
SIFTED_LINKS = 2_000_000
# How often an order is shaken, and how many edges that may look at: small cycles get all, great ones none.
SHAKES = 30
SHAKEN_LINKS = 20_000


def strongly_connected(nodes: Iterable[str], edges: Iterable[Pair]) -> Iterator[list[str]]:
    """Strongly connected components, dependencies first (Tarjan 1972, with its own stack: no recursion).

    Roots and neighbours are visited in sorted order, so the sequence is fixed. Tarjan closes a component
    after everything it points to, which is the topological order of the condensation that we want.
    """
    targets: dict[str, list[str]] = {node: [] for node in sorted(nodes)}
    for source, target in sorted(edges):
        if source in targets and target in targets:
            targets[source].append(target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: list[str] = []
    is_open: set[str] = set()
    for start in targets:
        if start in index:
            continue
        index[start] = low[start] = len(index)
        open_nodes.append(start)
        is_open.add(start)
        work = [(start, iter(targets[start]))]
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in index:
                    index[target] = low[target] = len(index)
                    open_nodes.append(target)
                    is_open.add(target)
                    work.append((target, iter(targets[target])))
                    break
                if target in is_open:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while not component or component[-1] != node:
                        component.append(open_nodes.pop())
                        is_open.discard(component[-1])
                    yield sorted(component)


def feedback_order(start: list[str], edges: Iterable[Pair]) -> list[str]:
    """An order of the files of one cycle that breaks few edges, never more than the order `start` does.

    The greedy order of Eades, Lin and Smyth (1993) and `start` are both improved by moving one file at a
    time to its best place. The better result, `start`'s on a tie, is shaken and improved again a counted number
    of times: some of its files are moved to any place, and what breaks no more edges than before is kept.
    """
    if len(start) < 2:
        return list(start)
    members = set(start)
    depends_on: dict[str, list[str]] = {node: [] for node in start}
    needed_by: dict[str, list[str]] = {node: [] for node in start}
    for source, target in edges:
        if source in members and target in members and source != target:
            depends_on[source].append(target)
            needed_by[target].append(source)
    orders = [list(start), _eades_lin_smyth(sorted(start), depends_on, needed_by)]
    if len(start) <= SEARCH_LIMIT:
        passes = max(1, min(8, SIFTED_LINKS // max(sum(map(len, depends_on.values())), 1)))
        orders = [_sifted(order, depends_on, needed_by, passes) for order in orders]
    best = min(orders, key=lambda order: _broken(order, depends_on))
    broken = _broken(best, depends_on)
    links = sum(map(len, depends_on.values()))
    draw = random.Random(len(start))
    for _ in range(min(SHAKES, SHAKEN_LINKS // links) if links else 0):
        if not broken:
            break
        order = list(best)
        for _ in range(1 + len(order) // 8):
            order.insert(draw.randrange(len(order)), order.pop(draw.randrange(len(order))))
        order = _sifted(order, depends_on, needed_by)
        if (count := _broken(order, depends_on)) <= broken:
            best, broken = order, count
    return best


def _broken(order: list[str], depends_on: dict[str, list[str]]) -> int:
    place = {node: i for i, node in enumerate(order)}
    return sum(place[target] > place[node] for node in order for target in depends_on[node])


def _eades_lin_smyth(
    nodes: list[str], depends_on: dict[str, list[str]], needed_by: dict[str, list[str]]
) -> list[str]:
    """Peel off what needs nothing to the front, what nothing needs to the back, else the largest surplus."""
    needs = {node: len(depends_on[node]) for node in nodes}
    serves = {node: len(needed_by[node]) for node in nodes}
    # Buckets by surplus (how many more files need it than it needs) make each choice cheap; a dict keeps
    # insertion order, so a bucket is a queue with removal.
    buckets: dict[int, dict[str, None]] = {}
    top = 0

    def put(node: str) -> None:
        nonlocal top
        surplus = serves[node] - needs[node]
        buckets.setdefault(surplus, {})[node] = None
        top = max(top, surplus)

    for node in nodes:
        put(node)
    left = dict.fromkeys(nodes)
    free = [node for node in nodes if not needs[node]]
    last = [node for node in nodes if not serves[node]]
    front: list[str] = []
    back: list[str] = []

    def take(node: str, end: list[str]) -> None:
        end.append(node)
        del left[node]
        del buckets[serves[node] - needs[node]][node]
        for neighbours, count, ready in ((needed_by, needs, free), (depends_on, serves, last)):
            for other in neighbours[node]:
                if other in left:
                    del buckets[serves[other] - needs[other]][other]
                    count[other] -= 1
                    put(other)
                    if not count[other]:
                        ready.append(other)

    while left:
        if free:
            node = free.pop()
            if node in left:
                take(node, front)
        elif last:
            node = last.pop()
            if node in left:
                take(node, back)
        else:
            while not buckets.get(top):
                top -= 1
            take(next(iter(buckets[top])), front)
    return front + back[::-1]


def _sifted(
    order: list[str], depends_on: dict[str, list[str]], needed_by: dict[str, list[str]], passes: int = 8
) -> list[str]:
    """Move each file to the place where it breaks fewest edges, until a pass helps no more."""
    order = list(order)
    place = {node: i for i, node in enumerate(order)}
    for _ in range(passes):
        gained = 0
        for node in sorted(order):
            here = place[node]
            # Passing a dependency on the way back mends an edge, passing a dependent breaks one.
            steps = sorted(
                [(place[t], 1) for t in depends_on[node]] + [(place[s], -1) for s in needed_by[node]]
            )
            best, goal, balance = 0, here, 0
            for at, step in steps:  # towards the end
                if at > here:
                    balance += step
                    if balance > best:
                        best, goal = balance, at
            balance = 0
            for at, step in reversed(steps):  # towards the front
                if at < here:
                    balance -= step
                    if balance > best:
                        best, goal = balance, at
            if best:
                order.insert(goal, order.pop(here))
                for i in range(min(here, goal), max(here, goal) + 1):
                    place[order[i]] = i
                gained += best
        if not gained:
            break
    return order
