"""`lode plan`: what a recipe will cost."""

import json
import os
import sys
from typing import Annotated, Any

import typer

from jobs.cli_options import Json, Set


def plan(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a recipe that comes with Lode.")],
    pages: Annotated[str, typer.Option(help="Pages of the crawl, such as 5000 or 3.1B.")] = "0",
    size: Annotated[
        str, typer.Option("--bytes", help="Compressed bytes they come in, such as 4GB or 1.5TB.")
    ] = "0",
    repositories: Annotated[str, typer.Option(help="Repositories.")] = "0",
    repository_size: Annotated[
        str, typer.Option("--repository-bytes", help="Bytes of their archives.")
    ] = "0",
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Seed documents of a target (default: as many as training takes)."),
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores, for wall hours (default: those of this machine).")
    ] = None,
    measured: Annotated[
        list[str] | None,
        typer.Option(help="A finished work folder to take the rates from, such as of a sample (repeatable)."),
    ] = None,
    measured_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores that made --measured, where its engine does not tell.")
    ] = None,
    change: Set = None,
    as_json: Json = False,
) -> None:
    """What a recipe will cost: rows, core-hours, shuffles, memory and disk, with the estimate's own error."""
    from jobs import plan as plans
    from jobs.plan_runs import packaged_runs, run_of
    from jobs.recipe import load_recipe

    load = plans.Load(
        plans.amount(pages, "--pages"),
        plans.amount(size, "--bytes"),
        plans.amount(repositories, "--repositories"),
        plans.amount(repository_size, "--repository-bytes"),
    )
    made = load_recipe(recipe, change or [])
    runs, others = packaged_runs(), []
    if measured:
        runs, others = [run_of(work, measured_cores) for work in measured], runs
    found = plans.plan(made, load, cores or len(os.sched_getaffinity(0)), runs, others, seeds)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found)


def show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    # A terminal has a width; a file or a pipe gets every character.
    wide = None if sys.stdout.isatty() else 100_000
    console = Console(highlight=False, markup=False, width=wide)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage", no_wrap=True)
    for name in (
        "rows in",
        "text in",
        "rows out",
        "core-hours",
        "at most",
        f"hours on {found['cores']:,} cores",
        "shuffle",
        "disk",
    ):
        table.add_column(name, justify="right")
    for e in found["stages"]:
        table.add_row(
            e["stage"] + (" *" if e["serial"] else ""), count(e["rows_in"]), size_of(e["bytes_in"]),
            count(e["rows_out"]) if e["rows_out"] else "",
            *(hours(e[name]) for name in ("core_seconds", "at_most", "wall_seconds")),
            size_of(e["shuffle_bytes"]), size_of(e["disk_bytes"]),
        )  # fmt: skip
    total = found["total"]
    table.add_row(
        "total", "", "", "", hours(total["core_seconds"]), hours(total["core_seconds_at_most"]),
        hours(total["wall_seconds"]),
        size_of(total["shuffle_bytes"]), size_of(total["disk_bytes"]), style="bold",
    )  # fmt: skip
    console.print(table)
    signed, memory = found["signatures"], found["memory"]
    said = []
    if signed["documents"]:
        said.append(
            f"Signatures: {count(signed['documents'])} of {signed['permutations']} permutations in {signed['bands']} "
            f"bands, {size_of(signed['bytes'])} on disk."
        )
    models = ""
    if memory["classifiers_held_bytes"]:
        models = f", and {size_of(memory['classifiers_held_bytes'])} of classifiers that all share"
    said += [
        f"Memory of an executor with {memory['executor_cores']} cores: {size_of(memory['executor_bytes'])}, of it "
        f"{size_of(memory['heap_bytes'])} heap (spark.executor.memory) and {size_of(memory['overhead_bytes'])} for "
        f"Python (spark.executor.memoryOverhead: {size_of(memory['worker_bytes'])} for each core{models}). "
        f"Of the driver: {size_of(memory['driver_bytes'])}.",
        f"Disk: {size_of(total['disk_bytes'])} in the work folder; {size_of(total['largest_shuffle_bytes'])} on all "
        "executors' own disks together, for the largest shuffle.",
        "Core-hours are fitted to the measured runs; at most: by the plain rates of the largest, start-up and all. "
        "A stage with * runs on one core.",
        f"Assumed: {'; '.join(found['assumes'])}.",
    ]
    for line in said:
        console.print(line, soft_wrap=True)
    if any(run["stages"] for run in found["runs"]):
        show_errors(console, found["runs"])


def show_errors(console: Any, runs: list[dict[str, Any]]) -> None:
    """The estimate's own error: every measured run as predicted from the others."""
    from rich.table import Table

    console.print(
        "\nMeasured runs, each predicted from the others (core-seconds: measured, predicted, error):"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage")
    for run in runs:
        table.add_column(run["run"], justify="right")
    names = list(dict.fromkeys(each["stage"] for run in runs for each in run["stages"]))
    for name in names:
        cells = [next((e for e in run["stages"] if e["stage"] == name), None) for run in runs]
        table.add_row(name, *(cell(e["core_seconds"]) if e else "" for e in cells))
    for title, value in (("total", "core_seconds"), ("shuffle", "shuffle_bytes"), ("disk", "disk_bytes")):
        table.add_row(
            title, *(cell(run["total"][value], value != "core_seconds") for run in runs), style="bold"
        )
    others = [run["total"]["core_seconds"]["error_percent_other_crawl"] for run in runs]
    table.add_row(
        "total, from other crawls", *("" if e is None else f"{e:+.0f} %" for e in others), style="bold"
    )
    console.print(table)


def cell(value: dict[str, float | None], is_bytes: bool = False) -> str:
    if value["measured"] is None:
        return ""
    shown = [
        "?" if v is None else size_of(v) if is_bytes else f"{v:.1f}"
        for v in (value["measured"], value["predicted"])
    ]
    error = "" if value["error_percent"] is None else f" {value['error_percent']:+.0f} %"
    return f"{shown[0]} {shown[1]}{error}"


def count(number: float) -> str:
    """A number in full below a million, else three digits and its unit, as `--pages` takes them."""
    if number < 999_999.5:
        return f"{number:,.0f}"
    number /= 1e6
    for unit in ("M", "B"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:,.3g}T"


def size_of(number: float) -> str:
    """Decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5:
            return f"{number:.3g} {unit}" if number else ""
        number /= 1000
    return f"{number:,.3g} PB" if number < 999.5 else f"{number:,.0f} PB"


def hours(seconds: float) -> str:
    value = seconds / 3600
    if value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2g}"


def register(app: typer.Typer) -> None:
    app.command()(plan)
