"""The report: what a work folder holds, as one HTML file that needs nothing beside it, no network and no script.

Numbers come from the manifests and from DuckDB over the stages (`corpus.inspect`). Whatever was in the documents is
escaped by the template, and characters that would show nothing or turn the text around are written out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from corpus import storage
from corpus.errors import LodeError
from jobs import report_corpus, report_duplicates, report_mining, report_repositories, report_shards
from jobs.charts import cut, short, visible
from jobs.report_facts import Facts, Section
from jobs.report_training import training


@dataclass(frozen=True)
class Part:
    """A section: its name in the contents, its heading, and what gathers it; `report_parts.html` shows it."""

    title: str
    heading: str
    gather: Callable[[Facts], Section]


# A file whose end is whole and whose middle is not, or a manifest in which something else stands than Lode writes.
WRONG = (LodeError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
WRONG += (jinja2.TemplateError,)

# In the order of the page; a group stands together in the contents.
PARTS: list[dict[str, Part]] = [
    {
        "funnel": Part("Funnel", "What came in, what stayed, and why the rest went", report_corpus.funnel),
        "documents": Part("Documents", "Length and quality of documents", report_corpus.documents),
        "languages": Part("Languages", "Languages", report_corpus.languages),
        "domains": Part("Domains", "Domains", report_corpus.domains),
        "licences": Part("Licences", "Licences", report_corpus.licences),
    },
    {
        "mining": Part("Mining", "Mining rounds", report_mining.mining),
        "duplicates": Part("Duplicates", "Duplicates", report_duplicates.duplicates),
        "contamination": Part("Decontamination", "Decontamination", report_corpus.contamination),
        "repositories": Part("Repositories", "Repositories", report_repositories.repositories),
    },
    {
        "tokens": Part("Mixture", "Tokens of each source", report_shards.tokens),
        "packing": Part("Packing", "Packing", report_shards.packing),
        "training": Part("Training", "Training", training),
    },
    {
        "samples": Part("Samples", "A few documents", report_corpus.samples),
        "made": Part("Provenance", "How it was made", report_corpus.made),
    },
]


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
    jinja = environment()
    macros = jinja.get_template("report_parts.html").module
    problems = facts.rows("FROM problems")
    recipe = recipe_name(work)
    values: dict[str, Any] = {}
    sections, contents = [], []
    for group in PARTS:
        shown = []
        for name, part in group.items():
            try:
                values[name] = part.gather(facts)
                if values[name] is None:
                    continue
                values[name]["recipe"] = recipe or "RECIPE"
                body = getattr(macros, name)(values[name])
            except WRONG as error:
                values[name] = None
                problems.append({"file": f"section {name}", "problem": reason(error)})
                body = Markup('<p class="warn">This part can not be shown: {}</p>').format(
                    visible(cut(reason(error), 300))
                )
            sections.append({"id": name, "heading": part.heading, "body": body})
            shown.append((name, part.title))
        contents.append(shown)
    page: dict[str, Any] = {"name": recipe or work.rstrip("/").rpartition("/")[2]}
    page |= {"figures": figures(facts, values), "problems": problems, "sections": sections}
    page["contents"] = [group for group in contents if group]
    return jinja.get_template("report.html").render(page)


def reason(error: Exception) -> str:
    if isinstance(error, LodeError):
        return str(error)
    return f"a manifest or a column holds something unexpected ({type(error).__name__}: {error})"


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
        "stage": stage_name,
    }
    found.filters["bytes"] = byte_size
    return found


def count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def many(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


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
    if value is None:
        return "–"
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value and value >= limit:
            return f"{value / limit:.3g}\u00a0{unit}"
    return count(value) + "\u00a0B"


def width(part: float | None, whole: float | None) -> str:
    """A bar's length for `style`."""
    share = min(1.0, max(0.0, (part or 0) / whole)) if whole else 0.0
    return f"width:{max(100 * share, 0.01 if share else 0):.2f}%"


def stage_name(value: str) -> str:
    """A stage's name for people; one command writes its stage into the folder itself."""
    return "this folder" if value in (".", "") else cut(value, 60)


def recipe_name(work: str) -> str | None:
    """The name in the recipe that a run leaves in its work folder."""
    recipe = storage.read_json(storage.join(work, "recipe.json"))
    name = recipe.get("name") if isinstance(recipe, dict) else None
    return name if isinstance(name, str) and name else None


def figures(facts: Facts, values: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The numbers on top: (what, how many, a word more)."""
    found: list[tuple[str, str, str]] = []
    for group in (values.get("funnel") or {}).get("groups", []):
        if group["documents"]:
            first, last = group["stages"][0], group["stages"][-1]
            found.append(
                (f"{group['unit']} read", count(first["rows_in"]), f"{count(last['rows_out'])} of them kept")
            )
    if part := values.get("repositories"):
        found.append(
            ("repositories", count(part["count"]), f"{count(part['edges'])} dependencies between their files")
        )
    if part := values.get("packing"):
        found.append(
            ("tokens packed", short(part["tokens"]), f"{count(part['sequences'])} × {count(part['length'])}")
        )
    if part := values.get("training"):
        if all(isinstance(part[name], int | float) for name in ("parameters", "active")):
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
    return [*found, ("work", seconds(total), f"in {many(len(facts.stages), 'stage')}")] if total else found
