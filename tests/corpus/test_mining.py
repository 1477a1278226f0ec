import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpus.mining import Rule, accept_paths, choose_cut, fraction, path_prefixes, url_key


def test_prefixes_are_the_folders_of_a_page():
    assert path_prefixes("https://site.org/a/b/c/d/e.html?q=1#f") == [
        "site.org/a",
        "site.org/a/b",
        "site.org/a/b/c",
    ]
    assert path_prefixes("https://site.org/page.html") == []
    assert path_prefixes("https://site.org") == []


def test_a_rule_collects_by_score_then_path_then_seed():
    rule = Rule("math", 0.8, ("site.org/questions",))
    seeds = frozenset([url_key("https://other.org/x")])
    assert rule.collects("https://any.org/", 0.8, seeds) == "score"
    assert rule.collects("https://site.org/questions/1", 0.1, seeds) == "path"
    assert rule.collects("https://other.org/x", 0.1, seeds) == "seed"
    assert rule.collects("https://OTHER.org:443/x#top", 0.1, seeds) == "seed"
    assert rule.collects("https://site.org/users/1", 0.1, seeds) is None


def test_paths_are_accepted_in_domains_above_ten_percent_and_not_twice():
    def row(kind, key, pages, collected):
        return {"target": "math", "kind": kind, "key": key, "pages": pages, "collected": collected}

    rows = [
        row("domain", "good.org", 100, 50),
        row("domain", "big.org", 1000, 90),
        row("path", "good.org good.org/q", 60, 48),
        row("path", "good.org good.org/q/algebra", 20, 20),
        row("path", "good.org good.org/users", 40, 2),
        row("path", "good.org good.org/few", 3, 3),
        row("path", "big.org big.org/q", 90, 90),
    ]
    assert accept_paths(rows, "math", 0.1, 0.5, 5) == ["good.org/q"]
    assert accept_paths(rows, "code", 0.1, 0.5, 5) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.lists(st.floats(0, 1), max_size=30))
def test_the_cut_reports_the_precision_it_has(positives, negatives):
    positives, negatives = np.array(positives), np.array(negatives)
    cut, precision, recall = choose_cut(positives, negatives, 0.9)
    assert cut >= 0.5
    hits, misses = (positives >= cut).sum(), (negatives >= cut).sum()
    if hits:
        assert precision == hits / (hits + misses)
        assert recall == hits / len(positives)


def test_draws_depend_on_their_parts_alone_and_are_even():
    draws = [fraction(1, "x", i) for i in range(4000)]
    assert draws == [fraction(1, "x", i) for i in range(4000)]
    assert abs(np.mean(draws) - 0.5) < 0.02 and draws[0] != fraction(2, "x", 0)
