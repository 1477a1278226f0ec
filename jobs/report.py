"""The report: what a work folder holds, as one HTML file that needs nothing beside it, no network and no script.

Numbers come from the manifests and from DuckDB over the stages (`corpus.inspect`). Whatever was in the documents is
escaped by the template, and characters that would show nothing or turn the text around are written out.
"""

from collections.abc import Callable
from importlib import resources
from typing import Any

import jinja2

from corpus import storage
from corpus.errors import LodeError
from jobs import report_corpus
from jobs.charts import cut, short, visible
from jobs.report_facts import Facts
from jobs.report_training import training

SECTIONS: dict[str, Callable[[Facts], dict[str, Any] | None]] = {
    "funnel": report_corpus.funnel,
    "tokens": report_corpus.tokens,
    "languages": report_corpus.languages,
    "domains": report_corpus.domains,
    "mining": report_corpus.mining,
    "duplicates": report_corpus.duplicates,
    "contamination": report_corpus.contamination,
    "repositories": report_corpus.repositories,
    "packing": report_corpus.packing,
    "training": training,
    "samples": report_corpus.samples,
    "made": report_corpus.made,
}


def write_report(work: str, out: str | None = None) -> str:
    """Write the report of a work folder to `out` (`report.html` in it unless given) and return its path.

    The same folder gives the same bytes.

    Raises:
        LodeError: there is nothing at `work` that could be shown.
    """
    out = out or storage.join(work, "report.html")
    storage.write_text(out, render(work))
    return out


def render(work: str) -> str:
    """The page as text."""
    facts = Facts(work)
    values: dict[str, Any] = {}
    problems = facts.rows("FROM problems")
    for name, gather in SECTIONS.items():
        try:
            values[name] = gather(facts)
        except LodeError as error:  # a file whose end is whole and whose middle is not
            values[name] = None
            problems.append({"file": f"section {name}", "problem": str(error)})
    recipe = recipe_name(work)
    values |= {"recipe": recipe, "name": recipe or work.rstrip("/").rpartition("/")[2]}
    values |= {"figures": figures(facts, values), "problems": problems}
    return environment().get_template("report.html").render(values)


def environment() -> jinja2.Environment:
    folder = resources.files("jobs")
    found = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
        undefined=jinja2.StrictUndefined,
    )
    found.filters |= {
        "n": count,
        "short": short,
        "pct": percent,
        "seconds": seconds,
        "cut": cut,
        "width": width,
    }
    found.filters["bytes"] = byte_size
    return found


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def percent(value: float | None, digits: int = 0) -> str:
    """0.123 -> 12 %; what is small but not nothing does not become nothing, nor almost all all."""
    if value is None:
        return "–"
    if 0 < value < 0.5 * 10 ** -(digits + 2):
        return f"<{10**-digits:g}\u00a0%"
    if 1 - 0.5 * 10 ** -(digits + 2) < value < 1:
        return f">{100 - 10**-digits:g}\u00a0%"
    return f"{100 * value:.{digits}f}\u00a0%"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 9.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )


def byte_size(value: float | None) -> str:
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value and value >= limit:
            return f"{value / limit:.3g} {unit}"
    return count(value) + " B"


def width(part: float | None, whole: float | None) -> str:
    """A bar's length for `style`."""
    share = min(1.0, max(0.0, (part or 0) / whole)) if whole else 0.0
    return f"width:{100 * share:.2f}%"


def recipe_name(work: str) -> str | None:
    """The name in the recipe that a run leaves in its work folder."""
    recipe = storage.read_json(storage.join(work, "recipe.json"))
    name = recipe.get("name") if isinstance(recipe, dict) else None
    return name if isinstance(name, str) and name else None


def figures(facts: Facts, values: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The numbers on top: (what, how many, a word more)."""
    found: list[tuple[str, str, str]] = []
    for group in (values["funnel"] or {}).get("groups", []):
        if group["documents"]:
            first, last = group["stages"][0], group["stages"][-1]
            found.append(
                (f"{group['unit']} read", count(first["rows_in"]), f"{count(last['rows_out'])} of them kept")
            )
    if part := values["repositories"]:
        found.append(
            ("repositories", count(part["count"]), f"{count(part['edges'])} dependencies between their files")
        )
    if part := values["packing"]:
        found.append(
            ("tokens packed", short(part["tokens"]), f"{count(part['sequences'])} × {count(part['length'])}")
        )
    if part := values["training"]:
        if part["parameters"]:
            found.append(
                ("parameters", short(part["parameters"]), f"{short(part['active'])} active for a token")
            )
        if part["loss"]:
            found.append(
                ("training loss", f"{part['loss'][1]:.2f}", f"nats a token, from {part['loss'][0]:.2f}")
            )
        if part["heldout"]:
            found.append(
                (
                    "held-out loss",
                    f"{part['heldout'][1]:.2f}",
                    f"from {part['heldout'][0]:.2f}, mean of sources",
                )
            )
    total = sum(row["wall_seconds"] or 0 for row in facts.stages.values())
    return [*found, ("work", seconds(total), f"in {len(facts.stages)} stages")] if total else found
