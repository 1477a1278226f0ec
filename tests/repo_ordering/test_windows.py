"""Windows: each file once, budgets kept, coverage counted by hand."""

import itertools
import json
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_ordering.order import ORDERS
from repo_ordering.refine import annealed, fewer, merged, packed
from repo_ordering.windows import SPARE, compose, in_window_coverage

METHODS = ["clustered", *ORDERS]
sizes = st.dictionaries(st.integers(0, 20).map(lambda i: f"f{i}"), st.integers(0, 30), min_size=1)
pairs = st.lists(st.tuples(*[st.integers(0, 20).map(lambda i: f"f{i}")] * 2), max_size=60)


@given(sizes, pairs, st.integers(1, 60), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_each_file_once_within_budget_whatever_the_arrival(sizes, edges, budget, method, shuffler):
    windows = compose(sizes, edges, budget, method, 3)
    assert sorted(path for window in windows for path in window) == sorted(sizes)
    for window in windows:
        assert sum(sizes[path] for path in window) <= budget or sum(sizes[path] > 0 for path in window) == 1
    items, shuffled = list(sizes.items()), list(edges)
    shuffler.shuffle(items)
    shuffler.shuffle(shuffled)
    assert compose(dict(items), shuffled, budget, method, 3) == windows


def test_coverage_counts_earlier_in_the_same_window():
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]
    assert in_window_coverage([["c", "b", "a"], ["d"]], edges) == 2 / 4
    assert in_window_coverage([["a"], ["b"]], [("a", "b")]) == 0.0
    assert in_window_coverage([], []) == 1.0


def test_clustering_puts_a_file_with_what_it_needs():
    sizes = {f"{folder}/{name}": 10 for folder in "ab" for name in ("lib", "use")}
    edges = [("a/use", "b/lib"), ("b/use", "a/lib")]  # across the folders, so that the path order gets none
    assert in_window_coverage(compose(sizes, edges, 20, "clustered"), edges) == 1.0
    assert in_window_coverage(compose(sizes, edges, 20, "path"), edges) == 0.0


def test_a_budget_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        compose({"a": 1}, [], 0)


linked = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=60)


def neighbours(count, edges):
    links = [set() for _ in range(count)]
    for a, b in edges:
        if a != b and a < count and b < count:
            links[a].add(b)
            links[b].add(a)
    return links


def held(windows, links):
    return sum(len(links[a].intersection(window)) for window in windows for a in window) // 2


@given(st.lists(st.integers(0, 30), min_size=1, max_size=21), linked, st.integers(30, 90), st.integers(0, 3))
def test_refining_keeps_files_and_budgets_and_never_loses_pairs(sizes, edges, budget, seed):
    links = neighbours(len(sizes), edges)
    groups = merged(sizes, links, budget)
    windows = packed(groups, sizes, budget)
    refined = annealed([*windows, []], sizes, links, budget, seed)
    few = fewer(windows, sizes, links, budget, 1)
    for found in (groups, windows, refined, few):
        assert sorted(file for window in found for file in window) == list(range(len(sizes)))
        assert all(sum(sizes[file] for file in window) <= budget for window in found)
    assert held(refined, links) >= held(windows, links) >= held(groups, links)
    assert len(refined) <= len(windows) + 1
    assert all(refined)  # no empty window is left
    assert len(few) <= len(windows)


def test_clustering_finds_the_best_partition_of_small_graphs():
    draw = random.Random(5)
    found, best = [], []
    for _ in range(30):
        edges = {tuple(draw.sample("abcdefgh", 2)) for _ in range(12)}
        best.append(
            max(
                sum((a in half) == (b in half) for a, b in edges)
                - sum(((b, a) in edges) and a < b and (a in half) == (b in half) for a, b in edges)
                for half in map(set, itertools.combinations("abcdefgh", 4))
            )
        )
        windows = compose(dict.fromkeys("abcdefgh", 1), edges, 4)
        assert len(windows) == 2
        found.append(round(in_window_coverage(windows, edges) * len(edges)))
    # Longer cycles inside a window may cost an edge that the count of pairs does not see.
    assert sum(found) >= 0.95 * sum(best)
    assert all(ours <= most for ours, most in zip(found, best, strict=True))


def test_spare_windows_that_stay_empty_are_left_out():
    sizes = {f"f{i:02}": 10 for i in range(44)}
    assert len(compose(sizes, [("f00", "f01")], 20)) == 22


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), linked)
def test_windows_are_nearly_as_few_as_sizes_allow(lengths, edges):
    sizes = {f"f{i:02}": size for i, size in enumerate(lengths)}
    pairs = [(f"f{a:02}", f"f{b:02}") for a, b in edges]
    fewest = len(packed([[i] for i in range(len(lengths))], lengths, 100))
    # What `fewer` deals out file by file need not fit as tightly as the sizes alone would: one window at most.
    assert len(compose(sizes, pairs, 100)) <= int(fewest * SPARE) + 1


def test_every_file_needing_every_other_is_bounded():
    names = [f"f{i:03}" for i in range(120)]
    pairs = list(itertools.permutations(names, 2))
    windows = compose(dict.fromkeys(names, 10), pairs, 400)
    assert len(windows) == 3
    assert in_window_coverage(windows, pairs) == 3 * (40 * 39 / 2) / len(pairs)


def test_clustering_on_compiler_graphs(shared_data):
    from benchmarks.repository_graphs import read_archive

    covered = {"clustered": [], "topological": []}
    for name in ("python-sphinx-8.2.3", "cpp-leveldb-1.23", "ts-rxjs-7.8.2"):
        oracle = json.loads((shared_data / "graphs" / f"{name}.json").read_text())
        chars = {
            file.path: len(file.text) for file in read_archive(shared_data / "graphs" / f"{name}.tar.gz")
        }
        sizes = {path: chars[path] for path in oracle["files"]}
        for method, found in covered.items():
            windows = compose(sizes, oracle_edges := [tuple(e) for e in oracle["edges"]], 57_344, method)
            found.append(in_window_coverage(windows, oracle_edges))
    assert statistics.mean(covered["clustered"]) >= 0.28
    assert statistics.mean(covered["clustered"]) >= 2 * statistics.mean(covered["topological"])
