"""In which order the files of a repository are written.

Every order is a function of the set of paths, the set of edges and the seed alone: the order in which files
arrive changes nothing. An edge is a pair (source, target), the source depending on the target; it is
satisfied when the target is written earlier.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator

import xxhash

from repo_ordering.cycles import feedback_order, strongly_connected

Pair = tuple[str, str]


def seeded_key(seed: int, path: str) -> int:
    """A path's place in a shuffle that depends on nothing but the seed and the path."""
    return xxhash.xxh3_64_intdigest(f"{seed}\n{path}".encode("utf-8", "surrogatepass"))


def components(files: Iterable[str], edges: Iterable[Pair]) -> list[list[str]]:
    """Weakly connected components, each sorted, in the order of their first path."""
    parent = {path: path for path in files}

    def root(path: str) -> str:
        while parent[path] != path:
            parent[path] = parent[parent[path]]
            path = parent[path]
        return path

    for source, target in edges:
        a, b = root(source), root(target)
        if a != b:
            parent[max(a, b)] = min(a, b)
    groups: dict[str, list[str]] = {}
    for path in sorted(parent):
        groups.setdefault(root(path), []).append(path)
    return list(groups.values())


def satisfied(order: Iterable[str], edges: Iterable[Pair]) -> float:
    """Share of edges whose target is written before its source; 1.0 where there is none to satisfy."""
    place = {path: i for i, path in enumerate(order)}
    pairs = {(s, t) for s, t in edges if s != t and s in place and t in place}
    return sum(place[t] < place[s] for s, t in pairs) / len(pairs) if pairs else 1.0


def topological(files: Iterable[str], edges: Iterable[Pair], seed: int = 0) -> list[str]:
    """Algorithm 1 of DeepSeek-Coder (arXiv 2401.14196, section 2.2).

    Within each weakly connected component the file with the fewest unmet dependencies comes next, the fewest
    and not zero, so that cycles are got through. The paper draws ties at random; here the draw is a seeded
    hash of the path.
    """
    order: list[str] = []
    for group, pairs in _parts(files, edges):
        order += _algorithm_1(group, pairs, seed)
    return order


def dependency(files: Iterable[str], edges: Iterable[Pair], seed: int = 0) -> list[str]:
    """Dependencies first wherever that is possible, and as often as possible inside cycles.

    Strongly connected components are written in a topological order of their condensation, which satisfies
    every edge between them; inside one, the better of Algorithm 1 and a feedback-arc order (see
    `cycles.feedback_order`) is taken, so no more edges are broken than by `topological`.
    """
    order: list[str] = []
    for group, pairs in _parts(files, edges):
        place = {path: i for i, path in enumerate(_algorithm_1(group, pairs, seed))}
        knots = list(strongly_connected(group, pairs))
        knot_of = {path: i for i, knot in enumerate(knots) for path in knot}
        inside: list[list[Pair]] = [[] for _ in knots]
        for source, target in pairs:
            if knot_of[source] == knot_of[target]:
                inside[knot_of[source]].append((source, target))
        for knot, knot_pairs in zip(knots, inside, strict=True):
            order += feedback_order(sorted(knot, key=place.__getitem__), knot_pairs)
    return order


def by_path(files: Iterable[str], edges: Iterable[Pair] = (), seed: int = 0) -> list[str]:
    """Sorted by path: a folder's files stand together."""
    return sorted(set(files))


def random(files: Iterable[str], edges: Iterable[Pair] = (), seed: int = 0) -> list[str]:
    """Shuffled by a seeded hash of the path, as DeepSeek-Coder-V2 and StarCoder2 do."""
    return sorted(set(files), key=lambda path: (seeded_key(seed, path), path))


ORDERS: dict[str, Callable[..., list[str]]] = {
    "topological": topological,
    "dependency": dependency,
    "path": by_path,
    "random": random,
}


def _parts(files: Iterable[str], edges: Iterable[Pair]) -> Iterator[tuple[list[str], list[Pair]]]:
    """Weakly connected components with the edges inside them: unique, sorted, between known files."""
    known = set(files)
    pairs = sorted({(s, t) for s, t in edges if s != t and s in known and t in known})
    groups = components(known, pairs)
    number = {path: i for i, group in enumerate(groups) for path in group}
    inside: list[list[Pair]] = [[] for _ in groups]
    for pair in pairs:
        inside[number[pair[0]]].append(pair)
    yield from zip(groups, inside, strict=True)


def _algorithm_1(group: list[str], pairs: list[Pair], seed: int) -> list[str]:
    unmet = dict.fromkeys(group, 0)
    dependents: dict[str, list[str]] = {path: [] for path in group}
    for source, target in pairs:
        unmet[source] += 1
        dependents[target].append(source)
    tie = {path: seeded_key(seed, path) for path in group}
    heap = [(unmet[path], tie[path], path) for path in group]
    heapq.heapify(heap)
    order: list[str] = []
    placed: set[str] = set()
    while heap:
        _, _, path = heapq.heappop(heap)
        if path in placed:  # an entry from before its count fell
            continue
        placed.add(path)
        order.append(path)
        for dependent in dependents[path]:
            if dependent not in placed:
                unmet[dependent] -= 1
                heapq.heappush(heap, (unmet[dependent], tie[dependent], dependent))
    return order
