"""A repository's graph as one SVG picture: files on a circle by folder, dependencies bundled along the folders.

Hierarchical edge bundling (Holten 2006): a dependency is drawn from file to file by way of the folders that it
leaves and enters, so that many between the same folders become one strand.
"""

import html
import math
from collections import Counter
from collections.abc import Sequence

from repo_ordering.edges import Graph

MOST_POINTS = 300  # on the circle; beyond, files are drawn as their folders
RADIUS = 420.0
LABEL_ROOM = 190.0
LABEL_CHARS = 34
LARGE = 17.0  # height of letters in a picture that a page shows beside other things
SAMPLES = 6  # colours of samples, taken in turn
BUNDLING = 0.85  # 0: straight lines, 1: all along the folders
KINDS = ("import", "symbol", "test", "header", "cross")
STYLE = """
:root { --ground: #fff; --ink: #24292f; --pale: #8c959f; --ring: #d0d7de; --import: #2f6fdd; --symbol: #16907a;
  --test: #c77400; --header: #8250df; --cross: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --ink: #e6edf3; --pale: #7d8590; --ring: #30363d;
  --import: #6ea8fe; --symbol: #4cc9ad; --test: #f0a742; --header: #bc8cff; --cross: #ff7b72; } }
svg { background: var(--ground); font-family: system-ui, sans-serif; }
text { fill: var(--ink); } .pale { fill: var(--pale); } .ring { fill: none; stroke: var(--ring); stroke-width: 5; }
.edge { fill: none; stroke-opacity: .45; } .edge:hover { stroke-opacity: 1; stroke-width: 3; }
"""


def graph_svg(graph: Graph, name: str, samples: Sequence[Sequence[str]] | None = None) -> str:
    """The picture, complete and without scripts; names from the repository are escaped.

    With `samples`, the files of each in the order in which they are written, it is for a page with a heading and
    style of its own: each file has its place in the order, and a dot of class `sample1` ... `sample6` for its sample.
    """
    kinds: dict[tuple[str, str], Counter[str]] = {}
    group = _grouped(graph)
    for edge in graph.edges:
        pair = group[edge.source], group[edge.target]
        if pair[0] != pair[1]:
            kinds.setdefault(pair, Counter())[edge.kind] += 1
    shown = sorted({point for pair in kinds for point in pair}, key=lambda point: point.split("/"))
    angles = _angles(shown)
    size = 2 * (RADIUS + LABEL_ROOM)
    linked = {path for pair in graph.pairs() for path in pair}
    alone = len(graph.files) - len(linked)
    collapsed = sum(group[path] != path for path in linked)
    said = f"{len(graph.files)} files ({alone} without dependencies), {len(graph.pairs())} dependencies"
    said += f"; {collapsed} files are drawn as their folders" if collapsed else ""
    top = 70 if samples is None else 0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size:.0f} {size + top:.0f}" role="img" '
        f'aria-label="{_escaped(f"Dependencies of {_short(name, 80)}: {said}")}">'
    ]
    if samples is None:
        parts += [
            f"<style>{STYLE}</style>",
            f'<text x="20" y="34" font-size="22" font-weight="600">{_escaped(_short(name, 80))}</text>',
            f'<text x="20" y="58" font-size="14" class="pale">{_escaped(said)}</text>',
        ]
    parts += [f'<g transform="translate({size / 2:.0f} {size / 2 + top:.0f})">', *_rings(shown, angles)]
    for (source, target), found in sorted(kinds.items()):
        kind = max(KINDS, key=lambda kind: (found[kind], -KINDS.index(kind)))
        title = f"{source} → {target}: {', '.join(k for k in KINDS if found[k])}"
        parts.append(
            f'<path class="edge" stroke="var(--{kind})" stroke-width="{1 + math.log2(found.total()) / 2:.1f}" '
            f'd="{_curve(_way(source, target, angles))}"><title>{_escaped(title)}</title></path>'
        )
    height = min(LARGE if samples else 11.0, 2 * math.pi * RADIUS / max(len(shown), 1) * 0.9)
    places = _places(samples or [])
    for point in shown:
        parts.append(_label(point, angles[point], height, *places.get(point, (0, 0))))
    parts += ["</g>", *_legend(kinds, size, LARGE if samples else 14), "</svg>"]
    return "\n".join(parts) + "\n"


def _grouped(graph: Graph) -> dict[str, str]:
    """The point that stands for each file: itself, or its folder at the depth at which there are few enough."""
    linked = {path for pair in graph.pairs() for path in pair}
    depth = max((path.count("/") for path in linked), default=0) + 1
    while depth > 1 and len({_prefix(path, depth) for path in linked}) > MOST_POINTS:
        depth -= 1
    counts = Counter(_prefix(path, depth) for path in linked)
    few = {point for point, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:MOST_POINTS]}
    return {path: found if (found := _prefix(path, depth)) in few else "…" for path in graph.files}


def _prefix(path: str, depth: int) -> str:
    parts = path.split("/")
    return path if len(parts) <= depth else "/".join(parts[:depth]) + "/"


def _angles(points: Sequence[str]) -> dict[str, float]:
    """Places on the circle, in radians from the top; folders are a gap apart. Folders have the mean of theirs."""
    places: list[float] = []
    at = 0.0
    for before, point in zip(["", *points], points, strict=False):
        at += 1.0 if not places or before.rpartition("/")[0] == point.rpartition("/")[0] else 1.8
        places.append(at)
    whole = at + 1.8 if places else 1.0
    angles = {point: 2 * math.pi * place / whole for point, place in zip(points, places, strict=True)}
    inside: dict[str, list[float]] = {}
    for point in points:
        for folder in _folders(point):
            inside.setdefault(folder, []).append(angles[point])
    return angles | {
        folder: sum(found) / len(found) for folder, found in inside.items() if folder not in angles
    }


def _folders(point: str) -> list[str]:
    """The folders around a point, from the root down, each ended by `/`."""
    parts = point.rstrip("/").split("/")[:-1]
    return ["/".join(parts[: i + 1]) + "/" for i in range(len(parts))]


def _way(source: str, target: str, angles: dict[str, float]) -> list[tuple[float, float]]:
    """Points from file to file by way of the folders, pulled towards the straight line between the two."""
    up, down = _folders(source), _folders(target)
    shared = 0
    while shared < min(len(up), len(down)) and up[shared] == down[shared]:
        shared += 1
    deepest = max(len(up), len(down)) + 1
    top = [up[shared - 1]] if shared else [""]
    way = [source, *up[shared:][::-1], *top, *down[shared:], target]
    points = []
    for name in way:
        depth = deepest if name in (source, target) else name.count("/")
        radius = RADIUS * depth / deepest
        angle = angles.get(name, 0.0)
        points.append((radius * math.sin(angle), -radius * math.cos(angle)))
    (x0, y0), (x1, y1) = points[0], points[-1]
    last = len(points) - 1
    return [
        (
            BUNDLING * x + (1 - BUNDLING) * (x0 + (x1 - x0) * i / last),
            BUNDLING * y + (1 - BUNDLING) * (y0 + (y1 - y0) * i / last),
        )
        for i, (x, y) in enumerate(points)
    ]


def _curve(points: list[tuple[float, float]]) -> str:
    """A uniform cubic B-spline through the ends, as Bézier curves."""
    points = [points[0], points[0], *points, points[-1], points[-1]]
    path = ""
    for i in range(1, len(points) - 2):
        (x0, y0), (x1, y1), (x2, y2) = points[i - 1], points[i], points[i + 1]
        start = (x0 + 4 * x1 + x2) / 6, (y0 + 4 * y1 + y2) / 6
        x3, y3 = points[i + 2]
        end = (x1 + 4 * x2 + x3) / 6, (y1 + 4 * y2 + y3) / 6
        path = path or f"M{start[0]:.1f},{start[1]:.1f}"
        path += f"C{(2 * x1 + x2) / 3:.1f},{(2 * y1 + y2) / 3:.1f} "
        path += f"{(x1 + 2 * x2) / 3:.1f},{(y1 + 2 * y2) / 3:.1f} {end[0]:.1f},{end[1]:.1f}"
    return path


def _rings(points: Sequence[str], angles: dict[str, float]) -> list[str]:
    """An arc for each folder of files that stand together."""
    parts: list[str] = []
    groups: dict[str, list[str]] = {}
    for point in points:
        groups.setdefault(point.rstrip("/").rpartition("/")[0], []).append(point)
    for folder, inside in groups.items():
        first, last = (angles[point] for point in (inside[0], inside[-1]))
        first, last = first - 0.004, last + 0.004
        radius = RADIUS + 7
        ends = [(radius * math.sin(a), -radius * math.cos(a)) for a in (first, last)]
        large = int(last - first > math.pi)
        parts.append(
            f'<path class="ring" d="M{ends[0][0]:.1f},{ends[0][1]:.1f} A{radius:.0f},{radius:.0f} 0 {large} 1 '
            f'{ends[1][0]:.1f},{ends[1][1]:.1f}"><title>{_escaped(folder or "(top)")}/</title></path>'
        )
    return parts


def _places(samples: Sequence[Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Of each file its place in the order, and the colour of its sample, both from 1 on."""
    numbered = [(path, k % SAMPLES + 1) for k, sample in enumerate(samples) for path in sample]
    return {path: (place, colour) for place, (path, colour) in enumerate(numbered, 1)}


def _label(point: str, angle: float, height: float, place: int = 0, colour: int = 0) -> str:
    degrees = math.degrees(angle) - 90
    left = math.pi < angle % (2 * math.pi)
    away = RADIUS + (19 if place else 14)
    turn = f"rotate({degrees:.2f}) translate({away:.0f} 0)" + (" rotate(180)" if left else "")
    anchor = ' text-anchor="end"' if left else ""
    name = point.rstrip("/").rpartition("/")[2] + ("/" if point.endswith("/") else "")
    shown = _escaped(_short(name, LABEL_CHARS))
    dot = ""
    if place:
        shown = _escaped(_short(name, int(LABEL_ROOM / height / 0.6) - 5))
        number = f'<tspan class="place">{place}</tspan>'
        shown = f"{shown} {number}" if left else f"{number} {shown}"
        x, y = ((RADIUS + 7) * f(angle) for f in (math.sin, math.cos))
        dot = f'<circle class="sample{colour}" cx="{x:.1f}" cy="{-y:.1f}" r="6"/>'
    return (
        f'{dot}<text transform="{turn}" font-size="{height:.1f}" dy=".32em"{anchor}>'
        f"{shown}<title>{_escaped(point)}</title></text>"
    )


def _legend(kinds: dict[tuple[str, str], Counter[str]], size: float, height: float) -> list[str]:
    total = sum(kinds.values(), Counter())
    parts = []
    for i, kind in enumerate(kind for kind in KINDS if total[kind]):
        y = 34 + 1.4 * height * i
        parts.append(
            f'<path d="M{size - 170:.0f},{y - 5:.0f} h26" stroke="var(--{kind})" stroke-width="4"/>'
            f'<text x="{size - 136:.0f}" y="{y:.0f}" font-size="{height:.0f}">{kind} '
            f'<tspan class="pale">{total[kind]:,}</tspan></text>'
        )
    return parts


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _escaped(text: str) -> str:
    """Text that XML can hold and that shows as it is: no markup, no control or direction characters."""
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
