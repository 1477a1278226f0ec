"""The sample that a person labels, and what is made of the labels."""

import csv
import io
import itertools
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from corpus.errors import LodeError
from corpus.mining import Place, Rule, url_key
from corpus.spot_check import (
    BANDS,
    Band,
    Drawn,
    bands_of,
    cell,
    draw,
    estimate,
    read_table,
    share_of,
    total,
    wilson,
    write_table,
)

counts = st.integers(0, 400)


def band(name: str, collected: bool, pages: int, yes: int, no: int) -> Band:
    return Band(name, collected, pages, yes, no, 0)


@given(counts, counts)
def test_wilson_is_scipys(yes, no):
    low, high = wilson(yes, yes + no)
    if yes + no:
        theirs = binomtest(yes, yes + no).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        assert low <= yes / (yes + no) <= high
    else:
        assert (low, high) == (0.0, 1.0)


@given(st.integers(1, 10**9), counts, counts.filter(bool))
def test_of_one_band_the_whole_is_the_band(pages, yes, no):
    one = band("above 1 of 1", True, pages, yes, no)
    assert [value / pages for value in total([one])] == pytest.approx([one.precision, *one.interval])


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**6), counts, counts), min_size=1, max_size=9))
def test_estimates_lie_in_their_intervals(rows):
    bands = [band(str(n), *row) for n, row in enumerate(rows)]
    told = estimate(bands)
    for name in ("precision", "recall"):
        if told[name]:
            value, low, high = told[name]
            assert 0 <= low <= value <= high <= 1
    collected = [b for b in bands if b.collected]
    assert (told["precision"] is None) == (not collected or not all(b.labelled for b in collected))


def test_nothing_left_and_nothing_found():
    sure = band("above 1 of 1", True, 100, 20, 0)
    assert estimate([sure])["recall"] == [1.0, 1.0, 1.0]
    assert estimate([band("above 1 of 1", True, 100, 0, 20)])["recall"] is None  # no positive anywhere
    assert estimate([sure, band("below 1 of 1", False, 9, 0, 0)])["recall"] is None
    value, low, high = share_of((0.0, 0.0, 5.0), (10.0, 4.0, 20.0))
    assert value == low == 0.0 and 0 < high < 1


@pytest.mark.parametrize(
    "shares", [(0.99, 0.97, 0.95, 0.8, 0.5, 0.2, 0.05, 0.01), (1, 1, 1, 0.9, 0.3, 0.02, 0, 0)]
)
def test_intervals_hold_the_truth_in_19_of_20_samples(shares):
    """2,000 samples of 25 labels a band, drawn from known shares. The intervals are approximate: a rare positive in a
    large band costs that of the recall two hundredths."""
    draws = np.random.default_rng(7)
    pages = np.array([1000, 1000, 1000, 1000, 1000, 2500, 6000, 15000])
    truth = pages * np.array(shares)
    wanted = {"precision": truth[:4].sum() / pages[:4].sum(), "recall": truth[:4].sum() / truth.sum()}
    inside = Counter()
    for _ in range(2000):
        yes = draws.binomial(25, shares)
        bands = [band(str(n), n < 4, int(pages[n]), int(yes[n]), 25 - int(yes[n])) for n in range(8)]
        told = estimate(bands)
        for name, value in wanted.items():
            inside[name] += told[name][1] - 1e-9 <= value <= told[name][2] + 1e-9
    assert inside["precision"] / 2000 > 0.935 and inside["recall"] / 2000 > 0.92


@given(
    st.dictionaries(st.integers(4000, 4500), st.integers(1, 300), max_size=60),
    st.dictionaries(st.integers(3300, 3999), st.integers(1, 3000), max_size=60),
)
def test_bands_hold_every_page_once_and_end_at_the_cut(above, below):
    groups = {"above": Counter(above), "below": Counter(below)}
    found = bands_of(groups)
    for group, there in groups.items():
        here = [(bins, pages) for _, kind, bins, pages in found if kind == group]
        assert len(here) <= BANDS
        assert sorted(number for bins, _ in here for number in bins) == sorted(there)
        assert sum(pages for _, pages in here) == there.total()
    # From the surest to the least sure.
    ends = [(max(bins), min(bins)) for _, _, bins, _ in found]
    assert all(one[1] > other[0] for one, other in itertools.pairwise(ends))


def test_bands_below_grow_by_one_factor():
    flat = Counter(dict.fromkeys(range(3000), 10))
    sizes = [pages for _, _, _, pages in bands_of({"above": Counter({4000: 400}), "below": flat})]
    assert sizes[0] == 400 and sum(sizes[1:]) == 30_000
    steps = [b / a for a, b in itertools.pairwise(sizes[1:])]
    assert sizes[1] == 100 and max(steps) < 1.05 * min(steps)


@pytest.fixture
def crawl(tmp_path):
    """Two parts of scores and pages, 600 in all, with a table of evidence; pages of 20 sites."""
    sites = [f"site{n}.example" for n in range(20)]
    rows = [
        {"id": f"{n:032x}", "url": f"https://{sites[n % 20]}/{'forum' if n % 3 else 'news'}/{n}",
         "domain": sites[n % 20], "math": ((n % 20) * 5 + n % 7 + 1) / 110, "title": "=1+1",
         "text": f"Page {n}\n\x1b[31m of many. " * 40}
        for n in range(600)
    ]  # fmt: skip
    parts, pages = [], []
    for part, some in enumerate((rows[:350], rows[350:])):
        table = pa.Table.from_pylist(some)
        parts.append((str(tmp_path / f"scores-{part}.parquet"),))
        pages.append(str(tmp_path / f"pages-{part}.parquet"))
        pq.write_table(table.select(["id", "url", "domain", "math"]), parts[-1][0])
        pq.write_table(table.select(["id", "url", "title", "text"]), pages[-1], row_group_size=40)
    np.save(tmp_path / "keys.npy", np.zeros(1, np.uint64))
    np.save(tmp_path / "pages.npy", np.array([600]))
    np.save(tmp_path / "sums.npy", np.zeros((1, 1), np.int64))
    return rows, parts, pages, Place(str(tmp_path), str(tmp_path), ("math",), "page")


def test_a_sample_is_held_out_and_even(crawl, tmp_path):
    rows, parts, _, place = crawl
    rule = Rule("math", 0.0, rejected=("site19.example/news",))
    seeds = {"math": np.unique(np.array([url_key(rows[19 * 1]["url"])], np.uint64))}

    def held_out(url):
        return int(url.rpartition("/")[2]) % 2 == 1  # the odd sites

    (sample,) = draw(parts, place, (rule,), held_out, seeds, 90, 3).values()
    assert sample.pages == 299
    bands = Counter(page.band for page in sample.drawn)
    assert len(bands) == 9 and set(bands.values()) == {10}
    for page in sample.drawn:
        row = rows[page.row + 350 * page.part]
        assert (page.id, page.url) == (row["id"], row["url"]) and held_out(page.url)
        news = row["url"].startswith("https://site19.example/news")
        assert page.collected == (page.evidence >= 0 and not news)
        assert news == (page.band == "rejected paths")
        assert row is not rows[19]
    # The parts and the order of the pages are nobody's business.
    whole = pa.concat_tables([pq.read_table(part) for (part,) in parts])
    pq.write_table(whole.take(np.random.default_rng(1).permutation(600)), tmp_path / "shuffled.parquet")
    (again,) = draw([(str(tmp_path / "shuffled.parquet"),)], place, (rule,), held_out, seeds, 90, 3).values()
    assert [p.id for p in again.drawn] == [p.id for p in sample.drawn]
    (other,) = draw(parts, place, (rule,), held_out, seeds, 90, 4).values()
    assert {p.id for p in other.drawn} != {p.id for p in sample.drawn}


def test_the_table_comes_back_with_its_labels(crawl, tmp_path):
    _, parts, pages, place = crawl
    (sample,) = draw(
        parts, place, (Rule("math", 0.0),), lambda url: True, {"math": np.empty(0, np.uint64)}, 40, 0
    ).values()
    path = tmp_path / "check.csv"
    write_table(str(path), "math", sample.drawn, pages)
    table = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    assert {row["title"] for row in table} == {"'=1+1"}
    assert all(row["snippet"].isprintable() and len(row["snippet"]) <= 300 for row in table)
    assert all(row["snippet"].startswith(f"Page {int(row['id'], 16)} ") for row in table)
    for number, row in enumerate(table):
        row["label"] = ("yes", "No ", "", "1")[number % 4]
        row["comment"] = "added"
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, table[0], delimiter=";")  # as a spreadsheet in Germany saves it
    writer.writeheader()
    writer.writerows(table)
    path.write_text(file.getvalue())
    target, bands = read_table(str(path))
    assert target == "math" and [b.name.split(":")[0] for b in bands] == [
        *(f"above {n} of 4" for n in (4, 3, 2, 1)), *(f"below {n} of 4" for n in (1, 2, 3, 4))
    ]  # fmt: skip
    assert [sum(getattr(b, kind) for b in bands) for kind in ("yes", "no", "unsure")] == [20, 10, 10]
    assert sum(b.pages for b in bands) == 600


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda text: text.replace(",above 1 of 4", ",above 7 of 4", 1), "5 of the 4 bands above the cut"),
        (lambda text: text.replace("\n,", "\nperhaps,", 1), "row 2: the label is 'perhaps'"),
        (lambda text: text.replace("label", "verdict", 1), "the column 'label' or its rows are missing"),
        (lambda text: re.sub(r".*below 1 of.*\n", "", text), "3 of the 4 bands below the cut"),
        (lambda text: text.replace(",math,", ",code,", 1), "only the column `label`"),
        (lambda text: text.splitlines()[0], "its rows are missing"),
        (lambda text: "\x00" + text[:20], "missing"),
    ],
)  # fmt: skip
def test_a_table_that_is_none(change, said, crawl, tmp_path):
    _, parts, pages, place = crawl
    (sample,) = draw(
        parts, place, (Rule("math", 0.0),), lambda url: True, {"math": np.empty(0, np.uint64)}, 40, 0
    ).values()
    path = tmp_path / "check.csv"
    write_table(str(path), "math", sample.drawn, pages)
    path.write_text(change(path.read_text("utf-8-sig")))
    with pytest.raises(LodeError, match=said.replace("(", r"\(")):
        read_table(str(path))
    with pytest.raises(LodeError, match="no such file"):
        read_table(str(tmp_path / "none.csv"))
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(LodeError, match="UTF-8"):
        read_table(str(path))


@given(st.text(max_size=50))
def test_no_cell_is_a_formula(text):
    shown = cell(text, 20)
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", " ", "＝")) and shown.isprintable()


def test_a_sample_of_nothing():
    assert bands_of({}) == [] and bands_of({"below": Counter({5: 1})})[0][3] == 1
    assert Drawn(0, 0, "a", "u", 0.0, "above 1 of 1", True, 1).collected
