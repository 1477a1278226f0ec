"""Charts: what is drawn stands where its numbers say, any text and any number is harmless, and bytes are the same."""

import json
import math
import re
import subprocess
import sys

import lxml.html
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.charts import (
    HIGH,
    LEFT,
    WIDE,
    Line,
    bar_chart,
    grouped_bars,
    heat,
    heat_map,
    heat_strip,
    histogram,
    line_chart,
    svg_of,
    ticks,
    visible,
)

HOSTILE = (
    "</text></svg></style><script>alert(1)</script>",
    "\" onload='alert(2)' x=\"",
    "{{ 7 * 7 }} ${7*7} #{7} datum.x",
    "\u202egpj.exe\u202c\u2066\x00\x07\ud800\ufffe\U000e0041",
    "'] + alert(3) + ['",
    "javascript:alert(4)",
    "&lt;b&gt; &#x3c; <![CDATA[ ]]> <!-- -->",
    "two\nlines\r\n\u2028three",
    "very long " * 1_000_000,
)
NUMBERS = st.floats()


def tree_of(chart):
    """The chart as HTML reads it, once the markup is seen to be well-formed."""
    text = str(chart)
    lxml.etree.fromstring(text.replace("&nbsp;", " "))
    return lxml.html.fragment_fromstring(text)


def words(chart):
    return [text.text_content() for text in tree_of(chart).xpath("./svg//text")]


def cells(chart):
    return [[cell.text_content() for cell in row] for row in tree_of(chart).xpath(".//tr")]


def paths(chart, part):
    """The points of each path that has this in it."""
    found = [
        path for path in tree_of(chart).xpath("./svg//path") if part in lxml.html.tostring(path).decode()
    ]
    pairs = [re.findall(r"(-?[\d.e+-]+),(-?[\d.e+-]+)", path.get("d")) for path in found]
    return [[(float(x), float(y)) for x, y in points] for points in pairs]


def every_chart(name="a", value=1.0, other=2.0):
    """One of each kind; all texts are the name, all numbers one of two."""
    return [
        line_chart(
            name, [Line(name, [(value, other), (other, value), (3.0, 4.0)]), Line(name, [])], name, name
        ),
        line_chart(name, [Line(name, [(1.0, value)])], name, name, zero=True),
        bar_chart(name, [(name, value), (name, other)], name),
        histogram(name, {name: [(value, other, 3.0), (5.0, 6.0, value)]}, name, name, marks={name: value}),
        histogram(name, {name: [(1, 2, value)], name + "2": [(value, other, 3.0)]}, name, name, log=True),
        grouped_bars(name, [(name, {name: value, "b": other}), ("c", {})], name, rule=(name, value)),
        heat_map(name, [(name, [(1.0, value), (2.0, other)]), ("b", [(value, other)])], name, name, 2.0),
    ]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text_and_nothing_else(text):
    plain = every_chart()
    for chart, harmless in zip(every_chart(text), plain, strict=True):
        tree, expected = tree_of(chart), tree_of(harmless)
        kinds = [[element.tag for element in found.iter()] for found in (tree, expected)]
        assert set(kinds[0]) == set(kinds[1])
        attributes = [
            {name for element in found.iter() for name in element.attrib} for found in (tree, expected)
        ]
        assert attributes[0] <= attributes[1] | {"d"}
        assert not re.search("[\x00-\x08\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\U000e0041]", str(chart))
        assert len(chart) < 40_000
        caption = tree.xpath("./figcaption")[0].text_content()
        assert caption[:9] == " ".join(visible(text[:40]).split())[:9]


@settings(max_examples=40)
@given(NUMBERS, NUMBERS)
def test_any_two_numbers_are_drawn_inside_the_frame_or_not_at_all(value, other):
    for chart in every_chart("a", value, other):
        if chart is None:
            continue
        assert "NaN" not in chart and "Infinity" not in chart and "undefined" not in chart
        tree = tree_of(chart)
        width, height = map(float, tree.xpath("./svg")[0].get("viewbox").split()[2:])
        for path in tree.xpath("./svg//path"):
            for x, y in re.findall(r"[ML](-?[\d.e+-]+),(-?[\d.e+-]+)", path.get("d")):
                assert -1 <= float(x) <= width and -1 <= float(y) <= height


def test_nothing_to_draw_is_no_chart():
    bad = [math.nan, math.inf, -math.inf, None]
    assert line_chart("t", [], "x", "y") is None
    assert line_chart("t", [Line("a", [(k, v) for k, v in enumerate(bad)])], "x", "y") is None
    assert bar_chart("t", [("a", v) for v in bad], "x") is None
    assert histogram("t", {"a": [], "b": [(0, 1, math.nan)]}, "x", "y") is None
    assert histogram("t", {"a": [(0, 1, 2)]}, "x", "y", log=True) is None
    assert grouped_bars("t", [("a", {"b": math.nan})], "y") is None and grouped_bars("t", [], "y") is None
    assert (
        heat_map("t", [("a", [(1, math.nan)])], "x", "y", 2.0) is None
        and heat_map("t", [], "x", "y", 2.0) is None
    )


def test_a_line_goes_through_its_points():
    chart = line_chart("t", [Line("a", [(0, 0), (25, 10), (100, 5)])], "x", "y")
    (points, _end) = paths(chart, "--s1")
    assert points == [(0, HIGH), (round(WIDE / 4, 1), 0), (WIDE, HIGH / 2)]
    assert words(chart) == ["0", "20", "40", "60", "80", "100", "x", "0", "2", "4", "6", "8", "10", "y"]
    assert cells(chart) == [["x", "a"], ["0", "0"], ["25", "10"], ["100", "5"]]


def test_a_line_is_broken_where_it_is_no_number():
    chart = line_chart("t", [Line("a", [(1, 1), (2, 2), (3, math.nan), (4, 3), (5, 1)])], "x", "y")
    path = next(p.get("d") for p in tree_of(chart).xpath("./svg//path") if p.get("stroke") == "var(--s1)")
    assert path.count("M") == 2 and path.count("L") == 2
    assert "1 of 5 points are no numbers" in tree_of(chart).xpath("./ul")[0].text_content()


def test_bars_are_as_long_as_their_values_and_none_is_lost_without_a_word():
    chart = bar_chart("t", [("one", 1.0), ("two", 2.0), ("four", 4.0), ("less", -1.0)], "pages")
    (path,) = [p.get("d") for p in tree_of(chart).xpath("./svg//path")]
    wide = [float(w) for w in re.findall(r"h(-?[\d.]+)v", path)]
    assert wide == [pytest.approx(wide[2] / 4, abs=0.1), pytest.approx(wide[2] / 2, abs=0.1), wide[2], 0]
    assert words(chart) == ["one", "two", "four", "less", "1", "2", "4", "-1"]
    many = bar_chart("t", [(f"bar {k}", k) for k in range(100)], "pages")
    assert "and 60 more, not drawn" in many and len(cells(many)) == 41
    lines = line_chart("t", [Line(f"line {k}", [(1, k), (2, k)]) for k in range(100)], "x", "y")
    assert "and 88 more, not drawn" in lines


def test_bins_stand_where_they_begin_and_the_mark_between_them():
    chart = histogram("t", {"a": [(1, 10, 4), (100, 1000, 2)]}, "x", "y", log=True, marks={"cut": 100.0})
    area, outline = paths(chart, "--s1")
    third = round(WIDE / 3, 1)
    for corner in ((0, 0), (third, 0), (third, HIGH), (2 * third, HIGH / 2), (WIDE, HIGH / 2)):
        assert any(math.dist(corner, point) < 0.2 for point in outline), corner
        assert any(math.dist(corner, point) < 0.2 for point in area), corner
    assert "cut 100" in words(chart) and words(chart)[:4] == ["1", "10", "100", "1,000"]
    rule = [e for e in tree_of(chart).xpath("./svg//line") if e.get("stroke") == "var(--ink)"]
    assert [float(re.findall(r"[\d.]+", e.get("transform"))[0]) for e in rule] == [
        pytest.approx(2 * third, abs=0.2)
    ]


def test_bins_beside_each_other_are_one_outline():
    """Also below zero, and where a bin's end and the next one's start are not quite the same number."""
    bins = [(-0.3, -0.1 - 0.1, 4), (-0.2, -0.1, 4), (-0.1, 0.1 * 3 - 0.3, 4), (0, 0.1, 4), (0.2, 0.3, 4)]
    _, points = paths(histogram("t", {"a": bins}, "x", "y"), "--s1")
    grounds = {round(x) for x, y in points if y == HIGH}
    assert grounds == {0, round(WIDE * 4 / 6), round(WIDE * 5 / 6), WIDE}


def test_labels_of_axes_tell_their_ticks_apart():
    chart = line_chart("t", [Line("a", [(1, 1.1e-4), (2, 1e-3)])], "x", "y", zero=True)
    assert words(chart)[-7:] == ["0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3", "y"]
    chart = line_chart("t", [Line("a", [(1_000_000, 2.3011), (1_000_400, 2.3049)])], "x", "y")
    assert len(set(words(chart))) == len(words(chart)) and "1,000,200" in words(chart)


def test_a_group_of_bars_stands_under_its_rule():
    rows = [("round 1", {"before": 0.0}), ("round 2", {"before": 0.5}), ("round 3", {"before": 0.99})]
    chart = grouped_bars("t", rows, "share", shown=lambda v: f"{100 * v:.0f} %", rule=("stops at 98 %", 0.98))
    assert {"stops at 98 %", "round 1", "round 2", "round 3", "50 %", "99 %"} <= set(words(chart))
    (rule,) = [e for e in tree_of(chart).xpath("./svg//line") if e.get("stroke") == "var(--ink)"]
    height = float(re.findall(r"[\d.]+", rule.get("transform"))[1])
    assert height == pytest.approx(HIGH * 0.02, abs=0.2)
    tops = re.findall(
        r"M[\d.]+,([\d.]+)h", tree_of(chart).xpath("./svg//path[@fill='var(--s1)']")[0].get("d")
    )
    assert [float(top) < height for top in tops] == [False, False, True]
    assert cells(chart) == [["", "before"], ["round 1", "0 %"], ["round 2", "50 %"], ["round 3", "99 %"]]


def test_cells_of_a_heat_map_are_as_dark_as_their_values():
    rows = [("1", [(10, 0.0), (20, 0.0), (30, 2.0)]), ("2", [(10, 9.0), (20, 1.0), (30, math.nan)])]
    chart = heat_map("t", rows, "step", "layer", 2.0)
    found = {}
    for path in tree_of(chart).xpath("./svg//path"):
        for x, y, wide in re.findall(r"M([\d.]+),([\d.]+)h([\d.]+)", path.get("d")):
            found[float(x), float(y), float(wide)] = float(path.get("fill-opacity"))
    third = round(WIDE / 3, 1)
    assert found == {
        (0, 0, round(2 * WIDE / 3, 1)): 0.06,  # two cells of one colour are one
        (round(2 * WIDE / 3, 1), 0, third): 1,
        (0, HIGH / 2, third): 1,
        (third, HIGH / 2, third): pytest.approx(0.53),
    }
    big = heat_map(
        "t", [(str(k), [(x, (k * x) % 7 / 3) for x in range(48)]) for k in range(61)], "step", "layer", 2.0
    )
    assert len(big) < 100_000


def test_series_are_told_apart_without_colour():
    names = [f"s{k}" for k in range(12)]
    chart = tree_of(line_chart("t", [Line(name, [(1, k), (2, k)]) for k, name in enumerate(names)], "x", "y"))
    keys = [(line.get("class"), line.get("stroke-dasharray")) for line in chart.xpath(".//ul//line")]
    assert len(set(keys)) == 12 and len({dash for _, dash in keys[:6]}) == 6
    drawn = [(p.get("stroke"), p.get("stroke-dasharray")) for p in chart.xpath("./svg//path[@stroke]")]
    assert drawn == [(f"var(--{k})", None if d == "1,0" else d) for k, d in keys]
    bars = tree_of(grouped_bars("t", [("g", dict.fromkeys("abcd", 1.0))], "y"))
    assert len({rect.get("fill-opacity") for rect in bars.xpath(".//ul//rect")}) == 4


def test_a_chart_has_a_name_and_its_numbers_as_a_table():
    for chart in every_chart("something"):
        tree = tree_of(chart)
        (svg,) = tree.xpath("./svg")
        assert svg.get("role") == "img" and svg.get("aria-label").startswith("something: ")
        assert not tree.xpath(".//*[@id]") and not tree.xpath("./svg//*[@*[contains(., 'url(')]]")
        assert not svg.get("width") and "font" not in str(chart)
        assert tree.xpath(".//details//th[@scope='row']") and not tree.xpath(".//th[not(@scope)]")
        assert all(key.get("aria-hidden") for key in tree.xpath(".//ul//svg"))


def test_the_same_chart_has_the_same_bytes_in_another_process():
    """And after other charts, which would leave their mark where the library numbers what it draws."""
    code = "from tests.jobs.test_charts import every_chart; print(''.join(every_chart()[::-1]))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert other.stdout.strip() == "".join(every_chart()[::-1])


def test_nothing_is_fetched(tmp_path):
    """Even of a specification that asks for it."""
    (tmp_path / "data.json").write_text('[{"x": 1}]')
    command = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://[\d.:]+/", server.stdout.readline())[0] + "data.json"
        specification = {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json", "data": {"url": address}, "mark": "bar",
            "encoding": {"x": {"field": "x"}},
        }  # fmt: skip
        vl_convert.vegalite_to_svg(specification)
        with pytest.raises(ValueError):
            svg_of(json.dumps(specification))
    finally:
        server.terminate()
        _, log = server.communicate(timeout=30)
    assert log.count("GET /data.json") == 1


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
def test_ticks_cover_their_range_with_few_round_numbers(low, span):
    marks = ticks(low, low + span)
    high = low + span if span else low
    assert 2 <= len(marks) <= 9
    assert marks == sorted(set(marks))
    size = (marks[-1] - marks[0]) * 1e-6  # of rounding
    assert marks[0] <= low + size and high <= marks[-1] + size


def test_heat_of_experts():
    assert [heat(ratio) for ratio in (0, 0.5, 1, 1.5, 2, 9)] == [0, 2, 4, 6, 8, 8]
    assert heat_strip([1.0] * 256, "layer").count("<rect") == 64
    assert heat_strip([0.0, 0.0], "an idle layer").count('class="h0"') == 2
    assert LEFT + WIDE < 440
