import duckdb
import pyarrow.parquet as pq

from benchmarks import mining, mining_scale


def label(url, kind, domain="a.org", confidence="high", language="en"):
    return {"url": url, "class": kind, "domain": domain, "confidence": confidence, "language": language}


def test_only_sure_labels_of_domains_without_seeds_are_scored():
    rows = [
        label("1", "math"),
        label("2", "math", language="zh-cn"),
        label("3", "code", "b.org"),
        label("4", "ambiguous"),
        label("5", "math", confidence="low"),
        label("6", "code", confidence="low"),
        label("7", "math", "seed.org"),
        label("8", "code", "seed.org"),
    ]
    found = mining.scored(set("134678"), "math", frozenset({"seed.org"}), rows)
    assert (found["precision"], found["recall"], found["Chinese"]) == (0.5, 0.5, 0.0)
    assert found["F1"] == 0.5 and found["judged"] == 2 and found["wrong by domain"] == {"b.org": 1}
    found = mining.scored(set("12"), "math", frozenset(), rows)
    assert (found["precision"], found["recall"], found["Chinese"]) == (1.0, 0.6667, 1.0)
    assert mining.scored(set(), "math", frozenset(), rows)["precision"] == 0.0


def test_random_draws_are_small_and_have_seeds_enough():
    rows = [label(f"{d}/{n}", "math", f"{d}.org") for d in range(20) for n in range(5 * d)]
    rows += [label(f"c{d}/{n}", "code", f"{d}.org", language="zh") for d in range(20) for n in range(60)]
    rows += [label(f"e{d}/{n}", "code", f"{d}.org") for d in range(20) for n in range(60)]
    draws = mining.random_draws(3, rows, {row["url"] for row in rows})
    assert draws == mining.random_draws(3, rows, {row["url"] for row in rows}) and len(draws) == 6
    for target, domains in draws.values():
        assert len(domains) == mining.most_domains(target, rows)
        seeds = mining.seeds_of(target, domains, rows)
        assert len(seeds) >= mining.LEAST_SEEDS and not any(url.startswith("c") for url in seeds)


def test_a_crawl_is_planted_by_place_and_is_the_same_every_time(tmp_path):
    about = []
    for name in "ab":
        (tmp_path / name).mkdir()
        about.append(mining_scale.write_crawl(tmp_path / name, 60_000))
    parts = [sorted((tmp_path / name / "pages").glob("*.parquet")) for name in "ab"]
    assert about[0] == about[1] and len(parts[0]) == 2
    assert all(pq.read_table(a).equals(pq.read_table(b)) for a, b in zip(*parts, strict=True))
    pages = f"'{tmp_path}/a/pages/*.parquet'"
    places = duckdb.sql(
        f"select count(*), sum(planted) from (select regexp_extract(url, '.*/') as place, "
        f"count(distinct planted) as kinds, any_value(planted)::int as planted from {pages} group by 1) "
        "where kinds = 1"
    ).fetchall()[0]
    every = duckdb.sql(f"select count(distinct regexp_extract(url, '.*/')) from {pages}").fetchall()[0]
    assert places[0] == every[0]
    mixed = duckdb.sql(
        f"select count(*) from (select 1 from {pages} group by domain having count(distinct planted) = 2)"
    ).fetchall()[0]
    assert mixed[0] > 0
    seeds = duckdb.sql(
        f"select count(*), sum(planted::int) from {pages} where url in "
        f"(select url from '{tmp_path}/a/seeds.parquet')"
    ).fetchall()[0]
    assert seeds[0] == seeds[1] == about[0]["seeds"] >= mining_scale.SEEDED * about[0]["planted"]
    assert "planted" not in pq.read_schema(tmp_path / "a" / "seeds.parquet").names
