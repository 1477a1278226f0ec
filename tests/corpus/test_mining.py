import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import mining
from corpus.mining import (
    EDGE,
    Evidence,
    Rule,
    Sums,
    accept_paths,
    bin_of,
    edge_of,
    fraction,
    levels,
    logit,
    path_prefixes,
    precision_cut,
    rank_cut,
    url_key,
    valley,
    writing,
)


def test_prefixes_are_the_host_and_the_folders_of_a_page():
    assert path_prefixes("https://site.org/a/b/c/d/e.html?q=1#f") == [
        "site.org",
        "site.org/a",
        "site.org/a/b",
        "site.org/a/b/c",
    ]
    assert path_prefixes("https://docs.site.org/page.html") == ["docs.site.org"]
    assert path_prefixes("https://site.org") == ["site.org"]
    assert path_prefixes("") == []
    assert levels("https://docs.site.org/a/b", "site.org") == [
        "site.org ",
        "docs.site.org",
        "docs.site.org/a",
    ]
    assert levels(None, None) == []


def test_a_rule_collects_by_score_then_path_then_seed():
    rule = Rule("math", 0.5, ("site.org/questions",), ("site.org/questions/off-topic", "bad.org"))
    seeds = frozenset([url_key("https://other.org/x")])
    assert rule.collects("https://any.org/", 0.6, 0.5, seeds) == "score"
    assert rule.collects("https://any.org/", 0.4, 0.5, seeds) == "path"
    assert rule.collects("https://site.org/questions/1", -9, -9, seeds) == "path"
    assert rule.collects("https://other.org/x", -9, -9, seeds) == "seed"
    assert rule.collects("https://OTHER.org:443/x#top", -9, -9, seeds) == "seed"
    assert rule.collects("https://site.org/users/1", -9, -9, seeds) is None
    assert rule.collects("https://bad.org/a/b", 9, 9, seeds) is None


def test_the_longest_annotated_prefix_decides_and_statistics_do_not_overrule_a_person():
    rule = Rule("math", 0.5, ("site.org/q",), ("site.org", "site.org/q/off"), ("site.org/blog", "open.org"))
    assert rule.widens("https://site.org/q/1") and rule.widens("https://open.org/x/y")
    assert not rule.widens("https://site.org/q/off/1")
    assert not rule.widens("https://site.org/blog/1")  # learnt, but a person rejected the site
    assert not Rule("math", 0.5).widens("https://site.org/q/1")


def test_paths_are_accepted_in_domains_above_ten_percent_and_not_twice():
    def row(kind, key, pages, collected):
        return {"target": "math", "kind": kind, "key": key, "pages": pages, "collected": collected}

    rows = [
        row("domain", "good.org", 100, 50),
        row("domain", "big.org", 1000, 90),
        row("path", "good.org good.org", 100, 50),
        row("path", "good.org good.org/q", 60, 48),
        row("path", "good.org good.org/q/algebra", 20, 20),
        row("path", "good.org good.org/users", 40, 2),
        row("path", "good.org good.org/few", 3, 3),
        row("path", "big.org big.org/q", 90, 90),
    ]
    assert accept_paths(rows, "math", 0.1, 0.66, 5) == ["good.org/q"]
    assert accept_paths(rows, "math", 0.0, 0.66, 5) == ["big.org/q", "good.org/q"]
    assert accept_paths(rows, "code", 0.1, 0.66, 5) == []


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Let x be a number.", "latin"),
        ("Straße und Übung", "latin"),
        ("设 $x$ 是一个实数,则 $x^2 \\ge 0$ 成立", "unspaced"),
        ("これは文章です", "unspaced"),
        ("이것은 문장입니다", "hangul"),
        ("Пусть x число", "cyrillic"),
        ("", "latin"),
        ("a mostly English page with one 词 in it", "latin"),
    ],
)
def test_scripts_are_told_apart(text, script):
    assert writing(text) == script


# Pages: their address and score. Domains nest in hosts and folders, as the world's do.
PAGES = st.lists(
    st.tuples(
        st.sampled_from(["a.org", "b.org"]),
        st.sampled_from(["", "www."]),
        st.lists(st.sampled_from(["x", "y"]), max_size=5),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=25,
)


def scores_part(path, pages):
    rows = {
        "id": [str(i) for i in range(len(pages))],
        "url": [
            f"https://{host}{domain}/" + "/".join([*folders, f"{i}.html"])
            for i, (domain, host, folders, _) in enumerate(pages)
        ],
        "domain": [domain for domain, *_ in pages],
        "characters": [100] * len(pages),
        "math": [score for *_, score in pages],
    }  # fmt: skip
    table = pa.table(rows)
    pq.write_table(table, path)
    return table


def evidence_of(folder, parts):
    """The table of places as the statistics of a round add it up."""
    total: dict[int, list[int]] = {}
    for part in parts:
        for batch in Sums(("math",))((str(part),)):
            for row in batch.to_pylist():
                entry = total.setdefault(row["key"], [0, 0])
                entry[0] += row["pages"]
                entry[1] += row["sums"][0]
    kept = {np.int64(k).view(np.uint64): v for k, v in total.items() if v[0] > 1 or k == 0}
    keys = np.array(sorted(kept), np.uint64)
    np.save(folder / "keys.npy", keys)
    np.save(folder / "pages.npy", np.array([kept[k][0] for k in keys]))
    np.save(folder / "sums.npy", np.array([[kept[k][1]] for k in keys]))
    return Evidence(str(folder), ("math",))


def by_definition(table):
    """Evidence from the formula of `Evidence`, page by page, in plain Python."""
    rows = table.to_pylist()
    z = [float(logit(np.array([row["math"]]))[0]) for row in rows]
    chains = [levels(row["url"], row["domain"]) for row in rows]
    found = []
    for i, chain in enumerate(chains):
        mean = sum(z) / len(z)
        for level, place in enumerate(chain):
            others = [
                z[j]
                for j, other in enumerate(chains)
                if j != i and len(other) > level and other[level] == place
            ]
            mean = (sum(others) + mining.SHRINKAGE * mean) / (len(others) + mining.SHRINKAGE)
        found.append(mining.OWN_SHARE * z[i] + (1 - mining.OWN_SHARE) * mean)
    return found


@settings(max_examples=40, deadline=None)
@given(PAGES)
def test_evidence_is_what_its_formula_says(tmp_path_factory, pages):
    folder = tmp_path_factory.mktemp("evidence")
    table = scores_part(folder / "scores.parquet", pages)
    found = evidence_of(folder, [folder / "scores.parquet"])
    logits = logit(table["math"].to_numpy())[:, None]
    seen = found.of(table["url"].to_pylist(), table["domain"].to_pylist(), logits)[:, 0]
    np.testing.assert_allclose(seen, by_definition(table), atol=1e-5)


def test_sums_do_not_depend_on_the_parts_or_the_order_of_pages(tmp_path):
    draw = np.random.Generator(np.random.PCG64(1))
    pages = [("a.org", "", ["x"] * int(draw.integers(4)), float(draw.random())) for _ in range(300)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    table = scores_part(tmp_path / "one/0.parquet", pages)
    mixed = table.take(draw.permutation(300))
    pq.write_table(mixed.slice(0, 100), tmp_path / "two/0.parquet")
    pq.write_table(mixed.slice(100), tmp_path / "two/1.parquet")
    one = evidence_of(tmp_path / "one", [tmp_path / "one/0.parquet"])
    two = evidence_of(tmp_path / "two", [tmp_path / "two/0.parquet", tmp_path / "two/1.parquet"])
    for name in ("keys", "pages", "sums"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_levels_that_do_not_count_are_left_out(tmp_path):
    table = scores_part(tmp_path / "s.parquet", [("a.org", "", ["x"], 0.9), ("a.org", "", ["y"], 0.2)] * 5)
    evidence_of(tmp_path, [tmp_path / "s.parquet"])
    logits = logit(table["math"].to_numpy())[:, None]
    alone = Evidence(str(tmp_path), ("math",), "page").of(
        table["url"].to_pylist(), table["domain"].to_pylist(), logits
    )
    np.testing.assert_array_equal(alone, logits)
    domain = Evidence(str(tmp_path), ("math",), "domain").of(
        ["https://a.org/x/1", "https://a.org/y/1"], ["a.org", "a.org"], logits[:1].repeat(2, 0)
    )
    assert domain[0] == domain[1]


@given(st.floats(-60, 60))
def test_a_bin_begins_at_its_edge(evidence):
    number = int(bin_of(np.array([evidence]))[0])
    assert 0 <= number <= 2 * EDGE
    if abs(evidence) < 39:
        assert edge_of(number) <= evidence + 1e-9 and evidence < edge_of(number + 1) + 1e-9


@given(st.lists(st.integers(0, 2 * EDGE), max_size=60), st.integers(0, 80))
def test_no_more_than_the_budget_lies_above_the_rank_cut(bins, budget):
    counts = np.bincount(np.array(bins, np.int64), minlength=2 * EDGE + 1)
    cut = rank_cut(counts, budget)
    above = int(counts[[edge_of(i) >= cut for i in range(2 * EDGE + 1)]].sum())
    assert above <= budget
    assert cut == edge_of(0) or above + counts[round(cut / mining.BIN) + EDGE - 1] > budget


def heaps(*places):
    draw = np.random.Generator(np.random.PCG64(3))
    return np.bincount(
        bin_of(np.concatenate([draw.normal(at, wide, many) for at, wide, many in places])),
        minlength=2 * EDGE + 1,
    )


def test_two_heaps_are_cut_where_few_pages_lie():
    assert 0.4 < valley(heaps((-2, 0.8, 5000), (2.5, 0.7, 500)), 2.5) < 1.2
    assert valley(heaps((-1, 1.0, 5000)), 2.5) == 0.0  # one heap
    assert valley(heaps((-2, 0.8, 5000), (2.5, 0.7, 500)), -1.0) == 0.0


def test_the_estimated_precision_is_the_true_one_where_held_out_positives_are_like_all():
    draw = np.random.Generator(np.random.PCG64(5))
    positives, others = draw.normal(3, 1, 20_000), draw.normal(-1, 1.2, 80_000)
    pages = np.bincount(bin_of(np.concatenate([positives, others])), minlength=2 * EDGE + 1)
    held_out = np.bincount(bin_of(draw.normal(3, 1, 2_000)), minlength=2 * EDGE + 1)
    for wanted in (0.8, 0.9, 0.95):
        cut, estimate = precision_cut(pages, held_out, wanted)
        true = (positives >= cut).sum() / ((positives >= cut).sum() + (others >= cut).sum())
        assert estimate >= wanted and true == pytest.approx(estimate, abs=0.05)


def test_without_held_out_positives_no_precision_is_claimed():
    assert precision_cut(np.ones(2 * EDGE + 1), np.zeros(2 * EDGE + 1), 0.9) == (0.0, 0.0)


def test_draws_depend_on_their_parts_alone_and_are_even():
    draws = [fraction(1, "x", i) for i in range(4000)]
    assert draws == [fraction(1, "x", i) for i in range(4000)]
    assert abs(np.mean(draws) - 0.5) < 0.02 and draws[0] != fraction(2, "x", 0)
