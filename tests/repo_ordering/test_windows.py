"""Windows: each file once, budgets kept, coverage counted by hand."""

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_ordering.order import ORDERS
from repo_ordering.windows import compose, in_window_coverage

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
    assert statistics.mean(covered["clustered"]) >= 0.2
    assert statistics.mean(covered["clustered"]) >= 2 * statistics.mean(covered["topological"])
