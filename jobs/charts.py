"""Small charts as inline SVG, without script and font; `report.css` gives the classes s1 ... s6 their colours."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

# Narrow enough that its letters are still read when a phone scales it to 330 pixels.
WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 24, 36
COLOURS = 6
HEATS = 9


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


@dataclass(frozen=True)
class Line:
    """A named line; points are (x, y), and those that are no finite numbers are left out."""

    name: str
    points: list[tuple[float, float]]

    @property
    def finite(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in self.points if x is not None and y is not None and math.isfinite(x + y)]


def short(value: float | None) -> str:
    """A number in at most five characters or so: 1,234 / 12.3K / 4.56M / 0.0021."""
    if value is None:
        return "–"
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


def tick_label(value: float, step: float) -> str:
    if abs(value) >= 1e4 or (value and abs(value) < 1e-3):
        return short(value)
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


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
    drawn = [(visible(line.name), line.finite) for line in lines if line.finite]
    if not drawn:
        return None
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    y_ticks = ticks(0.0 if zero else min(ys), max(ys))
    # Steps count from 1; an axis that begins at 0 reads better and moves nothing that could be seen.
    x_low = 0.0 if 0 < min(xs) <= 0.05 * max(xs) else min(xs)
    x_high = max(xs) if max(xs) > x_low else x_low + 1
    x_ticks = [tick for tick in ticks(x_low, x_high, 4) if x_low <= tick <= x_high]

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(across, 1), round(HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP), 1)

    parts = [f'<text class="unit" x="0" y="12">{escape(y_name)}</text>']
    for tick in y_ticks:
        y = at(x_low, tick)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        label = tick_label(tick, y_ticks[1] - y_ticks[0])
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>')
    for tick in x_ticks:
        x = at(tick, y_ticks[0])[0]
        anchor = "end" if x > WIDTH - 30 else "middle"
        parts.append(
            f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{short(tick)}</text>'
        )
    parts.append(
        f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_name)}</text>'
    )
    legend = []
    for number, (name, points) in enumerate(drawn):
        colour = f"s{number % COLOURS + 1}"
        places = [at(x, y) for x, y in points]
        path = " ".join(f"{x:g},{y:g}" for x, y in places)
        parts.append(f'<polyline class="{colour}" points="{path}"/>')
        parts.append(f'<circle class="{colour}" cx="{places[-1][0]:g}" cy="{places[-1][1]:g}" r="3"/>')
        legend.append(
            f'<li><svg class="key" viewBox="0 0 18 4" aria-hidden="true"><line class="{colour}" x1="0" x2="18" y1="2" '
            f'y2="2"/></svg>{escape(name)} <b>{escape(shown(points[-1][1]))}</b></li>'
        )
    said = "; ".join(f"{name} from {shown(points[0][1])} to {shown(points[-1][1])}" for name, points in drawn)
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: {escape(said)}">'
        f"{''.join(parts)}</svg>"
        f'<ul class="legend">{"".join(legend)}</ul>{number_table(drawn, x_name, shown)}</figure>'
    )


def number_table(
    drawn: list[tuple[str, list[tuple[float, float]]]],
    x_name: str,
    shown: Callable[[float], str],
    rows: int = 12,
) -> str:
    """Some of a chart's numbers, for those who would rather read them, or can not see it."""
    steps = sorted({x for _, points in drawn for x, _ in points})
    last = len(steps) - 1
    chosen = sorted({steps[round(place * last / (rows - 1))] for place in range(rows)})
    by_x = [dict(points) for _, points in drawn]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name, _ in drawn)
    body = "".join(
        f'<tr><th scope="row">{short(x)}</th>'
        + "".join(f"<td>{escape(shown(line[x])) if x in line else ''}</td>" for line in by_x)
        + "</tr>"
        for x in chosen
    )
    return (
        '<details class="numbers"><summary>Numbers</summary><div class="scroll"><table>'
        f'<thead><tr><th scope="col">{escape(x_name)}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
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
