"""A sample of mined pages for a person to judge, and what the judgements say of all pages.

evidence of held-out pages ─► bands that end at the cut ─► as many pages of each, drawn by hash ─► a table with an empty
column `label` ─► precision of a band ─► precision and recall of the whole

A mining run holds a tenth of all addresses out of every training, by their hash. The sample is drawn from those, so no
page is in it of which a classifier was told the answer, and those that may be in it are a random part of the crawl.
"""

import csv
import heapq
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from corpus import storage
from corpus.errors import LodeError
from corpus.mining import Place, Rule, bin_of, edge_of, fraction, path_prefixes, read_beside, url_key

BANDS = 4  # on either side of the cut
SNIPPET = 300
COLUMNS = (
    "label",
    "url",
    "title",
    "snippet",
    "target",
    "band",
    "collected",
    "pages_in_band",
    "evidence",
    "id",
)
NEEDED = ("label", "target", "band", "collected", "pages_in_band")
LABELS = dict.fromkeys(("yes", "y", "1", "true"), True) | dict.fromkeys(("no", "n", "0", "false"), False)
LABELS |= dict.fromkeys(("", "?", "unsure"), None)
Z = NormalDist().inv_cdf(0.975)  # all intervals are 95 % intervals
# A spreadsheet takes a cell that begins like this for a formula, also in full width.
FORMULA = tuple("=+-@＝＋－＠")
NUMBERED = re.compile(r"(above|below) \d+ of (\d+)")


@dataclass(frozen=True)
class Drawn:
    """A page in the sample: where it lies in the crawl, and its band."""

    part: int
    row: int
    id: str
    url: str
    evidence: float
    band: str
    collected: bool
    pages_in_band: int


@dataclass(frozen=True)
class Sample:
    """One target's sample, and how many pages it was drawn from."""

    drawn: list[Drawn]
    pages: int


def among(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the keys [N] are in `known`, which is sorted."""
    at = np.searchsorted(known, keys)
    there = at < len(known)
    there[there] = known[at[there]] == keys[there]
    return there


def draw(
    parts: Sequence[tuple[str, ...]],
    place: Place,
    rules: tuple[Rule, ...],
    held_out: Callable[[str | None], bool],
    seeds: dict[str, np.ndarray],
    size: int,
    seed: int,
) -> dict[str, Sample]:
    """About `size` pages for each target, equally many of each band, chosen by a hash of their ids.

    Above the cut the bands hold equally many pages. Below it the nearest holds as many as one above, and each
    further one more by a constant factor, so that all pages are in one. Paths that a person accepted or rejected are
    bands of their own: there the evidence decides nothing. Seeds are left out. Time is linear in the pages; memory is
    bounded by the bins of evidence.

    Args:
        parts: for each part of the crawl its scores, and where there was a round before its scores in that.
        held_out: whether a page with this address was kept from all trainings.
        seeds: sorted `url_key`s [S] uint64 of each target's seeds.
    """
    most = -(-size // BANDS)
    counts: defaultdict[tuple[int, str], Counter[int]] = defaultdict(Counter)
    best: defaultdict[tuple[int, str, int], list[tuple[float, str, int, int, str, float]]] = defaultdict(list)
    for part, paths in enumerate(parts):
        first = 0
        for whole, before in read_beside(paths):
            rows = np.flatnonzero([held_out(url) for url in whole["url"].to_pylist()])
            batch, before = whole.take(rows), [table.take(rows) for table in before]
            _, evidence = place.of(batch, before)
            bins = bin_of(evidence)
            ids, urls = batch["id"].to_pylist(), [url or "" for url in batch["url"].to_pylist()]
            addresses = np.fromiter(map(url_key, urls), np.uint64, len(urls))
            for t, rule in enumerate(rules):
                for at in np.flatnonzero(~among(addresses, seeds[rule.target])).tolist():
                    value, number = float(evidence[at, t]), int(bins[at, t])
                    said = rule.person(path_prefixes(urls[at])) if rule.accepted or rule.rejected else None
                    group = said or ("above" if value >= rule.cut else "below")
                    counts[t, group][number] += 1
                    rank = -fraction(seed, "spot check", rule.target, ids[at])
                    entry = (rank, ids[at], part, first + int(rows[at]), urls[at], value)
                    held = best[t, group, number]
                    (heapq.heappush if len(held) < most else heapq.heappushpop)(held, entry)
            first += whole.num_rows
    found = {}
    for t, rule in enumerate(rules):
        bands = bands_of({group: bins for (target, group), bins in counts.items() if target == t})
        each = max(min(size // max(len(bands), 1), most), 1)
        drawn = []
        for name, group, inside, pages in bands:
            held = heapq.nlargest(each, (entry for number in inside for entry in best[t, group, number]))
            collected = group in ("above", "accept")
            drawn += [(rank, Drawn(part, row, key, url, value, name, collected, pages))
                      for rank, key, part, row, url, value in held]  # fmt: skip
        # In the order of their hashes: who labels them is not to see where a band begins.
        drawn.sort(key=lambda item: (-item[0], item[1].id, item[1].part, item[1].row))
        found[rule.target] = Sample([page for _, page in drawn], sum(band[3] for band in bands))
    return found


def bands_of(counts: dict[str, Counter[int]]) -> list[tuple[str, str, list[int], int]]:
    """Bands as (name, group, bins, pages), from the surest page to the least sure.

    Args:
        counts: pages by bins of evidence, for the groups `above` and `below` the cut, `accept` and `reject`.
    """
    above, below = (sum(counts.get(group, Counter()).values()) for group in ("above", "below"))
    step = above / BANDS if above else below / 4**BANDS
    sizes = {"above": [above / BANDS] * BANDS, "below": growing(step, below)}
    found = []
    for group, word in (("above", 1), ("below", -1)):
        bins = sorted(counts.get(group, ()), reverse=word < 0)  # outwards from the cut
        pages = np.array([counts[group][number] for number in bins], np.int64)
        ends = np.cumsum(sizes[group])[:-1]
        which = np.searchsorted(ends, np.cumsum(pages) - pages, side="right")
        inside = [np.flatnonzero(which == band).tolist() for band in np.unique(which)]
        here = []
        for number, rows in enumerate(inside, 1):
            low, high = sorted((bins[rows[0]], bins[rows[-1]]))
            name = f"{group} {number} of {len(inside)}: {edge_of(low):.2f} to {edge_of(high + 1):.2f}"
            here.append((name, group, [bins[row] for row in rows], int(pages[rows].sum())))
        found += here[::-1] if group == "above" else here
    for group, place in (("accept", 0), ("reject", len(found) + 1)):
        if bins := counts.get(group):
            found.insert(place, (f"{group}ed paths", group, sorted(bins), sum(bins.values())))
    return found


def growing(step: float, pages: int) -> list[float]:
    """Sizes of bands that begin with `step` pages, grow by a constant factor and hold all pages together."""
    if BANDS * step >= pages:
        return [pages / BANDS] * BANDS
    roots = np.roots([*[1.0] * (BANDS - 1), 1 - pages / step])
    factor = max(root.real for root in roots if abs(root.imag) < 1e-9)
    return [step * factor**number for number in range(BANDS)]


def texts_of(drawn: Sequence[Drawn], pages: Sequence[str]) -> dict[tuple[int, int], tuple[str, str]]:
    """Title and text of pages by (part, row); row groups without one of them are not read."""
    wanted: defaultdict[int, set[int]] = defaultdict(set)
    for page in drawn:
        wanted[page.part].add(page.row)
    found = {}
    for part, rows in wanted.items():
        with storage.open_parquet(pages[part]) as file:
            columns = [name for name in ("title", "text") if name in file.schema_arrow.names]
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                here = sorted(row for row in rows if first <= row < end)
                if here:
                    table = file.read_row_group(group, columns=columns, use_threads=False)
                    for row in here:
                        values = {name: table[name][row - first].as_py() or "" for name in columns}
                        found[part, row] = (values.get("title", ""), values["text"])
                first = end
    return found


def write_table(path: str, target: str, drawn: Sequence[Drawn], pages: Sequence[str]) -> None:
    """The sample as CSV with an empty column `label`, UTF-8 with the mark by which spreadsheets know it."""
    texts = texts_of(drawn, pages)
    file = io.StringIO(newline="")
    rows = csv.writer(file)
    rows.writerow(COLUMNS)
    for page in drawn:
        title, text = texts[page.part, page.row]
        rows.writerow(
            ["", cell(page.url, 2000), cell(title, SNIPPET), cell(text, SNIPPET), target, page.band,
             "yes" if page.collected else "no", page.pages_in_band, f"{page.evidence:.3f}", page.id]
        )  # fmt: skip
    storage.write_text(path, "\ufeff" + file.getvalue())


def cell(text: str, most: int) -> str:
    """Text of the web for a spreadsheet: one line, nothing that is not shown, nothing that is computed."""
    line = " ".join(text[: 20 * most].split())
    line = "".join(c for c in line if c.isprintable())[:most].strip()
    return f"'{line}" if line.startswith(FORMULA) else line


@dataclass(frozen=True)
class Band:
    """A band's labels: of `pages` pages `yes` + `no` were judged."""

    name: str
    collected: bool
    pages: int
    yes: int
    no: int
    unsure: int

    @property
    def labelled(self) -> int:
        return self.yes + self.no

    @property
    def precision(self) -> float:
        return self.yes / self.labelled if self.labelled else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.yes, self.labelled)


def read_table(path: str) -> tuple[str, list[Band]]:
    """The target of a labelled sample, and its bands in their order.

    Raises:
        LodeError: it is no such table, a label is none, or a band is missing.
    """
    fs, inside = storage.filesystem(path)
    try:
        with fs.open(inside, "rb") as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise LodeError(f"{path}: there is no such file; lode mine --sample writes one.") from None
    except UnicodeDecodeError:
        raise LodeError(f"{path}: not UTF-8; save it as CSV in UTF-8.") from None
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)  # a spreadsheet writes what its country uses
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise LodeError(f"{path}: not a table as lode mine --sample writes it ({error}).") from None
    if missing := [name for name in NEEDED if not rows or name not in rows[0]]:
        raise LodeError(
            f"{path}: the column {missing[0]!r} or its rows are missing; start from the file of --sample."
        )
    bands: dict[str, Counter[str]] = {}
    facts: dict[str, tuple[str, str, str]] = {}
    for number, row in enumerate(rows, 2):
        label = (row["label"] or "").strip().lower()
        if label not in LABELS:
            raise LodeError(
                f"{path}, row {number}: the label is {label[:40]!r}; yes, no or nothing was expected."
            )
        name = row["band"] or ""
        here = (row["target"] or "", row["collected"] or "", row["pages_in_band"] or "")
        if facts.setdefault(name, here) != here or not here[2].isdecimal() or here[1] not in ("yes", "no"):
            raise LodeError(f"{path}, row {number}: only the column `label` is to be changed.")
        bands.setdefault(name, Counter())[str(LABELS[label])] += 1
    targets = {target for target, _, _ in facts.values()}
    if len(targets) > 1:
        raise LodeError(
            f"{path}: holds rows for {' and '.join(sorted(targets)[:2])}; give one target's file at a time."
        )
    numbered = Counter(found.groups() for found in map(NUMBERED.match, bands) if found)
    for (side, many), there in numbered.items():
        if there != int(many):
            raise LodeError(
                f"{path}: has {there} of the {many} bands {side} the cut; only the column `label` is to be changed."
            )
    found = [
        Band(name, facts[name][1] == "yes", int(facts[name][2]), count["True"], count["False"], count["None"])
        for name, count in bands.items()
    ]
    return targets.pop(), sorted(found, key=place_of)


def place_of(band: Band) -> tuple[int, int]:
    """Sorts bands from the surest page to the least sure."""
    number = int(band.name.split()[1]) if NUMBERED.match(band.name) else 0
    order = ("accepted", "above", "below", "rejected")
    return order.index(band.name.split()[0]) if band.name.split()[0] in order else 9, (
        -number if band.collected else number
    )


def wilson(yes: int, labelled: int) -> tuple[float, float]:
    """Wilson's 95 % interval for the share of positives (Journal of the American Statistical Association 22, 1927)."""
    if not labelled:
        return 0.0, 1.0
    share = yes / labelled
    middle = (share + Z * Z / (2 * labelled)) / (1 + Z * Z / labelled)
    half = Z / (1 + Z * Z / labelled) * (share * (1 - share) / labelled + (Z / (2 * labelled)) ** 2) ** 0.5
    # Rounding must not put the share itself outside.
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


def total(bands: Sequence[Band]) -> tuple[float, float, float]:
    """Positives in some bands with their 95 % interval: (estimate, low, high) in pages.

    The estimate is the stratified one, the sum of pages x precision of each band (Cochran, section 5.2). The interval
    recovers each band's variance from its own Wilson limits (MOVER: Zou and Donner, Statistics in Medicine 27, 2008):
    estimate -+ sqrt(sum of (pages x (precision - limit))^2). Unlike the usual standard error it does not become zero
    where all labels of a band agree.
    """
    middle = sum(band.pages * band.precision for band in bands)
    down = sum((band.pages * (band.precision - band.interval[0])) ** 2 for band in bands) ** 0.5
    up = sum((band.pages * (band.interval[1] - band.precision)) ** 2 for band in bands) ** 0.5
    return middle, max(middle - down, 0.0), min(middle + up, float(sum(band.pages for band in bands)))


def estimate(bands: Sequence[Band]) -> dict[str, Any]:
    """Precision and recall of what was collected, among the pages that could be drawn, each with its 95 % interval.

    Precision: positives in the collected bands / their pages. Recall r = A / (A + B) of A positives collected and B
    left: its interval has every r for which 0 lies in the interval of (1 - r) A - r B (MOVER again; for ratios see
    Newcombe, Statistical Methods in Medical Research 25, 2016). A figure is None where a band has no label.
    """
    taken, left = ([band for band in bands if band.collected is side] for side in (True, False))
    known = {side: all(band.labelled for band in some) for side, some in (("taken", taken), ("left", left))}
    found: dict[str, Any] = {
        "precision": None,
        "recall": None,
        "pages_collected": sum(b.pages for b in taken),
    }
    found["pages_left"] = sum(b.pages for b in left)
    if taken and known["taken"]:
        pages = found["pages_collected"]
        found["precision"] = [value / pages for value in total(taken)]
    if taken and all(known.values()):
        a, b = total(taken), total(left)
        if a[0] + b[0] > 0:
            found["recall"] = share_of(a, b)
    return found


def share_of(a: tuple[float, float, float], b: tuple[float, float, float]) -> list[float]:
    """A / (A + B) and its interval, of two independent estimates with theirs."""
    share = a[0] / (a[0] + b[0])

    def low(r: float) -> float:
        return (1 - r) * a[0] - r * b[0] - (((1 - r) * (a[0] - a[1])) ** 2 + (r * (b[2] - b[0])) ** 2) ** 0.5

    def high(r: float) -> float:
        return (1 - r) * a[0] - r * b[0] + (((1 - r) * (a[2] - a[0])) ** 2 + (r * (b[0] - b[1])) ** 2) ** 0.5

    # `low` is concave and falls through 0 once between 0 and the estimate; `high` is convex and does above it.
    ends = []
    for function, start, stop in ((low, 0.0, share), (high, share, 1.0)):
        for _ in range(60):
            middle = (start + stop) / 2
            start, stop = (middle, stop) if function(middle) > 0 else (start, middle)
        ends.append((start + stop) / 2)
    return [share, min(ends[0], share), max(ends[1], share)]
