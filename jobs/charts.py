"""Small charts as inline SVG, without script and font: Vega-Lite draws them, `report.css` gives them their colours.

Every text comes from the caller and may be hostile. It reaches Vega only as data, never inside an expression or as the
name of a field, and leaves it escaped; what is inline here is data, and nothing is fetched.
"""

import functools
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import vl_convert
from lxml import etree
from markupsafe import Markup, escape

# Narrow enough that its letters are still read when a phone scales it to 330 pixels.
WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 24, 36
WIDE, HIGH = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM  # of what is inside the axes
COLOURS = 6
# With each colour goes a dash, and of bars a shade, for eyes and printers that see no colours.
DASHES = ([1, 0], [7, 3], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4])
HALF = 0.7  # on which neither light nor dark text is read well
SHADES = (1.0, 0.35, HALF, 0.15)
SERIES = 12  # in a chart at most
HEATS = 9
LARGEST = 1e100  # what is beyond is drawn no more than NaN


# Characters that hide, reorder or break what stands around them: controls, bidi marks and overrides, tags.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(value: Any) -> Any:
    """Text in which no character can hide: `⟨U+202E⟩` where a right-to-left override stood. Markup stays as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", value.replace("\r\n", "\n"))
    return value


def cut(text: str | None, most: int = 120) -> str:
    """A text that is too long for its place, without its end."""
    text = text or ""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def label(name: Any, most: int = 60) -> str:
    """A name as one short line in which nothing hides."""
    return cut(" ".join(visible(cut(str(name), 2 * most)).split()), most)


def finite(*values: float | None) -> bool:
    """Whether all of these can be drawn."""
    return all(value is not None and abs(value) <= LARGEST for value in values)


@dataclass(frozen=True)
class Line:
    """A named line; points are (x, y). It is broken where y is no finite number."""

    name: str
    points: list[tuple[float, float]]

    @property
    def finite(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in self.points if finite(x, y)]


def short(value: float | None) -> str:
    """A number in at most five characters or so: 1,234 / 12.3K / 4.56M / 0.0021."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    for limit, sign in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "K")):
        if abs(value) >= limit:
            scaled = value / (1e3 if sign == "K" else limit)
            return f"{scaled:.{2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0}f}{sign}"
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) < 0.01:
        return f"{value:.1e}".replace("e-0", "e-")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover a range."""
    if high - low <= max(1e-30, 1e-9 * max(abs(low), abs(high))):  # one value, but for rounding
        high = low + (abs(low) if abs(low) > 1e-30 else 1.0)
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, last + 1)]


def line_chart(
    title: str,
    lines: list[Line],
    x_name: str,
    y_name: str,
    zero: bool = False,
    shown: Callable[[float], str] = short,
) -> Markup | None:
    """A figure with lines, axes, a legend with each line's last value, and the numbers as a table behind it.

    Args:
        zero: the y axis begins at 0 and not at the least value.
        shown: how a value is written in the legend and the table.

    Returns:
        None where there is nothing to draw.
    """
    lines = [line for line in lines if line.finite]
    if not lines:
        return None
    drawn = [(label(line.name), line.finite, line.points) for line in lines[:SERIES]]
    xs = [x for _, points, _ in drawn for x, _ in points]
    ys = [y for _, points, _ in drawn for _, y in points]
    y_ticks = ticks(min(0.0, *ys) if zero else min(ys), max(ys))
    # Steps count from 1; an axis that begins at 0 reads better and moves nothing that could be seen.
    x_low, x_high = (0.0 if 0 < min(xs) <= 0.05 * max(xs) else min(xs)), max(xs)
    x_ticks = [tick for tick in ticks(x_low, x_high, 5) if x_low <= tick <= x_high]
    if x_high - x_low <= 1e-9 * max(abs(x_low), abs(x_high)):  # one point stands in the middle
        x_ticks, wing = [x_low], max(1.0, abs(x_low) * 1e-3)
        x_low, x_high = x_low - wing, x_low + wing
    layers, legend = [], []
    for number, (name, points, every) in enumerate(drawn):
        colour = f"var(--s{number % COLOURS + 1})"
        values = [{"x": x, "y": y if finite(y) else None} for x, y in every if finite(x)]
        mark = {"type": "line", "stroke": colour, "strokeDash": dash(number), "strokeWidth": 1.8}
        layers.append({"data": {"values": values}, "mark": mark})
        end = {"x": points[-1][0], "y": points[-1][1]}
        layers.append(
            {"data": {"values": [end]}, "mark": {"type": "circle", "fill": colour, "size": 26, "opacity": 1}}
        )
        gaps = len(every) - len(points)
        note = f" ({gaps:,} of {len(every):,} points are no numbers)" if gaps else ""
        legend.append(Markup("{}{} <b>{}</b>{}").format(line_key(number), name, shown(points[-1][1]), note))
    encoding = {
        "x": axis("x", x_name, (x_low, x_high), x_ticks, tick_names(x_ticks)),
        "y": axis("y", y_name, (y_ticks[0], y_ticks[-1]), y_ticks, tick_names(y_ticks)),
    }
    said = "; ".join(
        f"{name} from {shown(points[0][1])} to {shown(points[-1][1])}" for name, points, _ in drawn
    )
    columns = {k: dict(points) for k, (_, points, _) in enumerate(drawn)}
    rows = some(sorted(set(xs)), 12)
    return figure(
        title,
        said,
        picture(layers, encoding),
        legend + more(len(lines) - len(drawn)),
        [x_name, *(name for name, _, _ in drawn)],
        [[short(x), *(shown(column[x]) if x in column else "" for column in columns.values())] for x in rows],
    )


def bar_chart(
    title: str, bars: list[tuple[str, float]], x_name: str, shown: Callable[[float], str] = short
) -> Markup | None:
    """A figure with a horizontal bar for each name, longest names cut; None where there is nothing to draw."""
    drawn = [(label(name), value) for name, value in bars if finite(value)]
    if not drawn:
        return None
    rows = drawn[:40]
    left = 8 + round(7 * min(22, max(len(name) for name, _ in rows)))
    most = max(0.0, *(value for _, value in rows)) or 1.0
    values = [
        {"k": k, "v": max(0.0, value), "name": cut(name, 22), "shown": shown(value)}
        for k, (name, value) in enumerate(rows)
    ]
    words = {"type": "text", "baseline": "middle", "fill": "var(--ink)"}
    layers = [
        {"mark": {"type": "bar", "fill": "var(--s1)", "height": 13}},
        {"mark": words | {"align": "right"}, "encoding": {"x": {"value": -8}, "text": {"field": "name"}}},
        {"mark": words | {"align": "left", "dx": 6}, "encoding": {"text": {"field": "shown"}}},
    ]
    encoding = {
        "y": {"field": "k", "type": "ordinal", "axis": None, "scale": {"padding": 0}},
        "x": {
            "field": "v",
            "type": "quantitative",
            "scale": {"domain": [0, most], "nice": False},
            "axis": None,
        },
    }
    frame = {"left": left, "right": 60, "top": 2, "bottom": 2}
    return figure(
        title,
        "; ".join(f"{name} {shown(value)}" for name, value in rows[:12]),
        picture(layers, encoding, WIDTH - left - 60, 20 * len(rows), frame, values),
        more(len(drawn) - len(rows)),
        ["", x_name],
        [[name, shown(value)] for name, value in rows],
    )


def histogram(
    title: str,
    series: dict[str, list[tuple[float, float, float]]],
    x_name: str,
    y_name: str,
    log: bool = False,
    marks: dict[str, float] | None = None,
) -> Markup | None:
    """A figure of bins (low, high, count), one outline for each series; None where there is nothing to draw.

    Args:
        log: the x axis is logarithmic, and all bins are above 0.
        marks: named vertical lines.
    """
    kept = []
    for name, bins in series.items():
        found = [bin for bin in bins if finite(*bin) and (bin[0] > 0 or not log) and bin[0] <= bin[1]]
        if found:
            kept.append((label(name), sorted((start, end, max(0.0, count)) for start, end, count in found)))
    drawn = kept[:SERIES]
    if not drawn:
        return None
    marks = {label(name): at for name, at in (marks or {}).items() if finite(at) and (at > 0 or not log)}
    edges = [edge for _, bins in drawn for bin in bins for edge in bin[:2]] + list(marks.values())
    low, high = min(edges), max(edges)
    if high <= low:
        high = low * 10 if log else low + 1
    if log:
        exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        x_ticks = [10.0**k for k in exponents[:: 1 + len(exponents) // 9]] or [low]
        if len(exponents) < 3:  # a short range: 2 and 5 as well
            powers = range(exponents.start - 1, exponents.stop + 1)
            finer = [digit * 10.0**k for k in powers for digit in (1, 2, 5)]
            x_ticks = [tick for tick in finer if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)] or [low]
    else:
        x_ticks = [tick for tick in ticks(low, high, 5) if low - 1e-9 <= tick <= high + 1e-9]
    y_ticks = ticks(0.0, max(0.0, *(count for _, bins in drawn for _, _, count in bins)), 4)
    layers = []
    for number, (_, bins) in enumerate(drawn):
        colour = f"var(--s{number % COLOURS + 1})"
        outline = {"type": "line", "stroke": colour, "strokeDash": dash(number), "strokeWidth": 1.5}
        mark = {"type": "area", "interpolate": "step-after", "fill": colour, "line": outline}
        mark["fillOpacity"] = 0.8 if len(drawn) == 1 else 0.12
        layers.append({"data": {"values": steps(bins)}, "mark": mark})
    for number, (name, x) in enumerate(marks.items()):
        right = (math.log(x / low) / math.log(high / low) if log else (x - low) / (high - low)) < 0.6
        place = {"data": {"values": [{"x": x, "t": f"{name} {short(round(x, 3))}"}]}}
        layers.append(
            place | {"mark": {"type": "rule", **RULE, "y": -8, "y2": HIGH}, "encoding": {"y": None}}
        )
        words = {
            "type": "text",
            "align": "left" if right else "right",
            "dx": 5 if right else -5,
            "fill": "var(--ink)",
        }
        layers.append(
            place | {"mark": words | {"y": 14 * number}, "encoding": {"y": None, "text": {"field": "t"}}}
        )
    encoding = {
        "x": axis(
            "x",
            x_name,
            (low, high),
            x_ticks,
            tick_names(x_ticks, short) if log else tick_names(x_ticks),
            log=log,
        ),
        "y": axis("y", y_name, (0.0, y_ticks[-1]), y_ticks, tick_names(y_ticks)),
    }
    said = "; ".join(f"{name} {short(sum(bin[2] for bin in bins))} in all" for name, bins in drawn)
    said += "".join(f"; {name} at {short(round(x, 3))}" for name, x in marks.items())
    by_start = [{start: count for start, _, count in bins} for _, bins in drawn]
    starts = some(sorted({start for bins in by_start for start in bins}), 60)
    return figure(
        title,
        said,
        picture(layers, encoding),
        [Markup("{}{}").format(line_key(k), name) for k, (name, _) in enumerate(drawn)] * (len(drawn) > 1)
        + more(len(kept) - len(drawn)),
        [x_name, *(name for name, _ in drawn)],
        [
            [f"from {short(x)}", *(short(bins[x]) if x in bins else "" for bins in by_start)]
            for x in starts
        ],
    )  # fmt: skip


def steps(bins: list[tuple[float, float, float]]) -> list[dict[str, float]]:
    """The outline of bins: it falls to 0 where the next one does not begin at once."""
    points: list[dict[str, float]] = [{"x": bins[0][0], "y": 0.0}]
    for place, (start, end, count) in enumerate(bins):
        points.append({"x": start, "y": count})
        if place == len(bins) - 1 or bins[place + 1][0] - end > 1e-9 * max(abs(end), end - start):
            points += [{"x": end, "y": 0.0}]
    return points


def grouped_bars(
    title: str,
    rows: list[tuple[str, dict[str, float]]],
    y_name: str,
    shown: Callable[[float], str] = short,
    rule: tuple[str, float] | None = None,
) -> Markup | None:
    """A figure with a group of bars for each row, and a named horizontal line; None where there is nothing to draw."""
    drawn = [(label(group), {label(k): v for k, v in bars.items() if finite(v)}) for group, bars in rows[:40]]
    names = list(dict.fromkeys(name for _, bars in drawn for name in bars))[:SERIES]
    if not names:
        return None
    rule = rule if rule and finite(rule[1]) else None
    y_ticks = ticks(
        0.0, max([0.0, *(v for _, bars in drawn for v in bars.values()), *(rule[1:] if rule else ())]), 4
    )
    step = WIDE / len(drawn)
    wide = min(42.0 if len(names) == 1 else 34.0, step * 0.76 / len(names))
    fits = wide >= 6.5 * max(len(shown(v)) for _, bars in drawn for v in bars.values())
    layers: list[dict[str, Any]] = []
    for k, name in enumerate(names):
        colour = f"var(--s{k % COLOURS + 1})"
        values = [
            {"x": round(step * (g + 0.5) + (k - (len(names) - 1) / 2) * wide, 1), "y": max(0.0, bars[name]),
             "t": shown(bars[name])}
            for g, (_, bars) in enumerate(drawn)
            if name in bars
        ]  # fmt: skip
        mark = {
            "type": "bar",
            "width": round(wide - 2, 1),
            "fill": colour,
            "fillOpacity": shade(k),
            "stroke": colour,
        }
        layers.append({"data": {"values": values}, "mark": mark})
        for high in (True, False) if fits else ():  # in a bar where there is room, and above it where not
            told = [row for row in values if (row["y"] >= 0.12 * y_ticks[-1] and shade(k) != HALF) == high]
            within = {"dy": 15, "fill": "var(--card)" if shade(k) > HALF else "var(--ink)"}
            words = {"type": "text", "baseline": "alphabetic"} | (
                within if high else {"dy": -4, "fill": "var(--soft)"}
            )
            layers.append({"data": {"values": told}, "mark": words, "encoding": {"text": {"field": "t"}}})
    groups = [
        {"x": round(step * (g + 0.5), 1), "t": cut(name, max(3, int(step / 6.5)))}
        for g, (name, _) in enumerate(drawn)
    ]
    words = {"type": "text", "y": HIGH + 16, "baseline": "alphabetic", "fill": "var(--soft)"}
    layers.append(
        {"data": {"values": groups}, "mark": words, "encoding": {"y": None, "text": {"field": "t"}}}
    )
    if rule:
        place = {"data": {"values": [{"y": rule[1], "t": label(rule[0])}]}}
        layers.append(place | {"mark": {"type": "rule", **RULE, "x": 0, "x2": WIDE}, "encoding": {"x": None}})
        words = {
            "type": "text",
            "x": WIDE,
            "y": -9,
            "align": "right",
            "baseline": "alphabetic",
            "fill": "var(--ink)",
        }
        layers.append(place | {"mark": words, "encoding": {"x": None, "y": None, "text": {"field": "t"}}})
    encoding = {
        "x": {
            "field": "x",
            "type": "quantitative",
            "axis": None,
            "scale": {"domain": [0, WIDE], "nice": False},
        },
        "y": axis("y", y_name, (0.0, y_ticks[-1]), y_ticks, [shown(y) for y in y_ticks]),
    }
    return figure(
        title,
        "; ".join(
            f"{group} {', '.join(f'{name} {shown(value)}' for name, value in bars.items())}"
            for group, bars in drawn[:12]
        ),
        picture(layers, encoding),
        [Markup("{}{}").format(box_key(k), name) for k, name in enumerate(names)] * (len(names) > 1)
        + more(len(rows) - len(drawn)),
        ["", *names],
        [[group, *(shown(bars[name]) if name in bars else "" for name in names)] for group, bars in drawn],
    )  # fmt: skip


def heat_map(
    title: str,
    rows: list[tuple[str, list[tuple[float, float]]]],
    x_name: str,
    y_name: str,
    most: float,
    shown: Callable[[float], str] = short,
) -> Markup | None:
    """A figure with a row of cells for each name, darker where the value is greater, darkest from `most` on.

    Args:
        rows: (name, [(x, value)]), from top to bottom; a cell begins where the x before it ends.
    """
    drawn = [(label(name), [(x, v) for x, v in cells if finite(x, v)]) for name, cells in rows]
    xs = sorted({x for _, cells in drawn for x, _ in cells})
    if not xs:
        return None
    before = dict(zip(xs, [2 * xs[0] - xs[1] if len(xs) > 1 else xs[0] - 1, *xs], strict=False))
    values: list[dict[str, Any]] = []
    for place, (_, cells) in enumerate(drawn):
        for x, value in sorted(cells):
            heat = max(0, min(HEATS - 1, round(value / most * (HEATS - 1))))
            last = values[-1] if values else {}
            if (last.get("y"), last.get("o"), last.get("x2")) == (place, heat, before[x]):
                last["x2"] = x  # the same colour goes on
            else:
                values.append({"x": before[x], "x2": x, "y": place, "y2": place + 1, "o": heat})
    layers = [
        {
            "data": {"values": [value for value in values if value["o"] == heat]},
            "mark": {"type": "rect", "fill": "var(--s1)", "fillOpacity": heat_opacity(heat)},
        }
        for heat in sorted({value["o"] for value in values})
    ]
    x_ticks = [tick for tick in ticks(before[xs[0]], xs[-1], 4) if before[xs[0]] <= tick <= xs[-1]]
    chosen = some(list(range(len(drawn))), 8)
    places = [place + 0.5 for place in chosen]
    encoding = {
        "x": axis("x", x_name, (before[xs[0]], xs[-1]), x_ticks, tick_names(x_ticks)),
        "x2": {"field": "x2"},
        "y": axis("y", y_name, (len(drawn), 0), places, ["" for _ in chosen]),
        "y2": {"field": "y2"},
    }
    encoding["y"]["axis"]["grid"] = False
    words = {"type": "text", "align": "right", "baseline": "middle", "x": -6, "fill": "var(--soft)"}
    names = [{"y": place + 0.5, "t": cut(drawn[place][0], 6)} for place in chosen]
    alone = {"x": None, "x2": None, "y2": None, "text": {"field": "t"}}
    layers.append({"data": {"values": names}, "mark": words, "encoding": alone})
    every = [v for _, cells in drawn for _, v in cells]
    worst = max(((v, name, x) for name, cells in drawn for x, v in cells), key=lambda cell: cell[0])
    said = (
        f"{len(drawn)} rows from {shown(min(every))} to {shown(worst[0])}, at {short(worst[2])} in {worst[1]}"
    )
    columns = [dict(cells) for _, cells in drawn]
    scale = Markup('<svg class="key box" viewBox="0 0 72 10" aria-hidden="true">{}</svg>').format(
        Markup("").join(
            Markup(
                f'<rect x="{8 * heat}" width="8" height="10" fill="var(--s1)" fill-opacity="{heat_opacity(heat):g}"/>'
            )
            for heat in range(HEATS)
        )
    )
    return figure(
        title,
        said,
        picture(layers, encoding),
        [Markup("{} {} {}").format(shown(0.0), scale, f"{shown(most)} or more")],
        [x_name, *(name for name, _ in drawn)],
        [[short(x), *(shown(column[x]) if x in column else "" for column in columns)] for x in some(xs, 12)],
    )


def heat_opacity(heat: int) -> float:
    return round(0.06 + 0.94 * heat / (HEATS - 1), 3)


RULE = {"stroke": "var(--ink)", "strokeWidth": 1.4, "strokeDash": [4, 3]}


def dash(number: int) -> list[int]:
    """The dash of a line: with its colour it says which line it is, and by itself among the first six."""
    return DASHES[(number + number // COLOURS) % len(DASHES)]


def shade(number: int) -> float:
    return SHADES[number % len(SHADES)]


def line_key(number: int) -> Markup:
    return Markup(
        f'<svg class="key" viewBox="0 0 26 4" aria-hidden="true"><line class="s{number % COLOURS + 1}" x1="0" x2="26" '
        f'y1="2" y2="2" stroke-dasharray="{",".join(map(str, dash(number)))}"/></svg>'
    )


def box_key(number: int) -> Markup:
    colour = f"var(--s{number % COLOURS + 1})"
    return Markup(
        f'<svg class="key box" viewBox="0 0 14 10" aria-hidden="true"><rect x=".5" y=".5" width="13" height="9" '
        f'fill="{colour}" fill-opacity="{shade(number):g}" stroke="{colour}"/></svg>'
    )


def more(number: int) -> list[Markup]:
    """A legend's last word where not all is drawn."""
    return [Markup(f"and {number:,} more, not drawn")] if number > 0 else []


def some(values: list[Any], most: int) -> list[Any]:
    """At most so many of them, evenly, with the first and the last."""
    last = len(values) - 1
    return [values[k] for k in sorted({round(place * last / (most - 1)) for place in range(most)})]


def tick_names(values: list[float], shown: Callable[[float], str] | None = None) -> list[str]:
    """The labels of an axis, alike in their digits, and with more of these where two labels would be the same."""
    step, largest = (values[1] - values[0] if len(values) > 1 else 0), max(map(abs, values), default=0)
    if shown is None and 0 < largest < 0.01:
        shown = lambda value: f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-") if value else "0"
    elif shown is None and step and largest < 1e4:
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        shown = lambda value: f"{value:,.{digits}f}"
    names = [re.sub(r"\.0+(?=[KMBT]$)", "", (shown or short)(value)) for value in values]
    return names if len(set(names)) == len(names) else [f"{value:,.9g}" for value in values]


def axis(
    channel: str,
    name: str,
    domain: tuple[float, float],
    values: list[float],
    names: list[str],
    log: bool = False,
) -> dict[str, Any]:
    """A quantitative channel of Vega-Lite, with labels that are written here: numbers, never a text of the corpus."""
    found = {
        "title": label(name),
        "values": values,
        "labelExpr": f"{json.dumps(names)}[indexof({json.dumps(values)}, datum.value)]",
        **(
            {"titleX": WIDE, "titleY": 32, "titleAlign": "right", "grid": False, "labelFlush": 12}
            if channel == "x"
            else {}
        ),
        **({"titleX": -LEFT, "titleY": -12, "titleAlign": "left", "titleAngle": 0} if channel == "y" else {}),
    }
    scale = {"domain": list(domain), "nice": False, "zero": False} | ({"type": "log"} if log else {})
    return {"field": channel, "type": "quantitative", "axis": found, "scale": scale}


CONFIG = {
    "aria": False,
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "domain": False, "ticks": False, "labelPadding": 6, "labelColor": "var(--soft)", "titleColor": "var(--soft)",
        "gridColor": "var(--grid)", "titleFontWeight": "normal", "labelFontSize": 12, "titleFontSize": 12,
        "labelFlush": False, "labelOverlap": True, "titleBaseline": "alphabetic",
    },
    "text": {"fontSize": 12},
    "line": {"strokeJoin": "round", "strokeCap": "round"},
    "area": {"line": False},
    "font": "Roboto",  # one that is inside the library: what it measures does not depend on the machine
}  # fmt: skip


def picture(
    layers: list[dict[str, Any]],
    encoding: dict[str, Any],
    width: float = WIDE,
    height: float = HIGH,
    frame: dict[str, float] | None = None,
    values: list[dict[str, Any]] | None = None,
) -> tuple[float, float, str]:
    """(width, height, what stands inside the svg) of layers that share their axes."""
    frame = frame or {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    specification = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": width,
        "height": height,
        "padding": frame,
        "autosize": "none",
        "data": {"values": values or []},
        "encoding": encoding,
        "layer": layers,
        "config": CONFIG,
    }
    inside = svg_of(json.dumps(specification, allow_nan=False))
    return width + frame["left"] + frame["right"], height + frame["top"] + frame["bottom"], inside


@functools.lru_cache(maxsize=256)
def svg_of(specification: str) -> str:
    """What stands inside the svg of a Vega-Lite specification, without what nobody would see."""
    whole = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    return "".join(slim(child) for child in etree.fromstring(whole.encode(), parser))


KEPT = ("transform", "d", "x", "y", "x1", "x2", "y1", "y2", "text-anchor", "fill", "fill-opacity", "stroke",
        "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin")  # fmt: skip
PLACES = {"transform", "d", "x", "y", "x1", "x2", "y1", "y2"}


def slim(element: Any) -> str:
    """An element as text: without hidden paths, needless groups, fonts and digits; alike neighbours become one path."""
    tag = etree.QName(element).localname
    if tag not in ("g", "path", "line", "text", "rect") or element.get("class") in (
        "background",
        "foreground",
    ):
        return ""
    attributes = {}
    for name in KEPT:
        value = element.get(name)
        if value is not None and name in PLACES:
            value = re.sub(
                r"-?\d+(\.\d+)?(e[+-]?\d+)?", lambda number: f"{round(float(number[0]), 1):g}", value
            )
        if value not in (None, "translate(0,0)", "1,0") and (name, value) != ("text-anchor", "start"):
            attributes[name] = value
    inside, last = [], None
    for child in element:
        text = slim(child)
        if not text:
            continue
        head, found, path = text.partition(' d="')
        if found and last == head and text.endswith('"/>') and inside:
            inside[-1] = inside[-1][:-3] + path
        else:
            inside.append(text)
        last = head if found and head.startswith("<path") else None
    if tag == "g":
        body = "".join(inside)
        if not body or not attributes:
            return body
    else:
        body = str(escape(element.text or ""))
    place = attributes.pop("d", None)
    head = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    head += f' d="{escape(place)}"' if place is not None else ""
    return f"<{tag}{head}>{body}</{tag}>" if body else f"<{tag}{head}/>"


def figure(
    title: str,
    said: str,
    drawn: tuple[float, float, str],
    legend: list[Markup],
    head: list[str],
    rows: list[list[str]],
) -> Markup:
    """The frame of a chart: caption, picture, legend, and the numbers for those who would rather read them."""
    width, height, inside = drawn
    title = label(title, 200)
    keys = "".join(f"<li>{key}</li>" for key in legend)
    columns = "".join(f'<th scope="col">{escape(label(name))}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows[:60]
    )
    name = f"{escape(title)}: {escape(said)}"
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{name}">{inside}</svg>'
        + (f'<ul class="legend">{keys}</ul>' if keys else "")
        + '<details class="numbers"><summary>Numbers</summary><div class="scroll" tabindex="0"><table><thead><tr>'
        f"{columns}</tr></thead><tbody>{body}</tbody></table></div></details></figure>"
    )


def heat_strip(loads: list[float], label: str, cells: int = 64) -> Markup:
    """One cell an expert, coloured by its load over the mean load; from 64 experts on, neighbours share a cell."""
    mean = sum(loads) / len(loads) or 1.0
    wide = max(1, math.ceil(len(loads) / cells))
    groups = [loads[start : start + wide] for start in range(0, len(loads), wide)]
    ratios = [sum(group) / len(group) / mean for group in groups]
    boxes = "".join(
        f'<rect class="h{heat(ratio)}" x="{place * 10}" width="9.4" height="12"/>'
        for place, ratio in enumerate(ratios)
    )
    said = (
        f"{label}: least loaded {min(loads) / mean:.2f}, most loaded {max(loads) / mean:.2f} times the mean"
    )
    return Markup(
        f'<svg class="strip" viewBox="0 0 {len(ratios) * 10} 12" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(said)}">{boxes}</svg>'
    )


def heat(ratio: float) -> int:
    """0 (no load) ... 8 (twice the mean or more); 4 is the mean."""
    return max(0, min(HEATS - 1, round(ratio * 4)))
