"""The command that trains: `lode train`."""

import json
from typing import Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_options import Quiet, Set


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe with a table `train`.")],
    shards: Annotated[str, typer.Option(help="Folder of packed sequences.")],
    out: Annotated[str, typer.Option(help="Run directory; a run that was stopped goes on.")],
    heldout: Annotated[str | None, typer.Option(help="Packed sequences to measure the loss on.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from", help="A run, a checkpoint or a Hugging Face folder whose weights to begin with."
        ),
    ] = None,
    change: Set = None,
    quiet: Quiet = False,
) -> None:
    """Train the bundled model on shards."""
    from corpus import storage
    from jobs.model import loss_of
    from jobs.progress import Progress
    from jobs.recipe import load_recipe
    from pretrain.loop import train as run

    changes = [*(change or []), *([f"train.start_from={json.dumps(start_from)}"] if start_from else [])]
    loaded = load_recipe(recipe, changes)
    if loaded.train is None:
        raise LodeError(f"{recipe}: it has no [train] table.")
    about = (storage.read_json(storage.join(shards, "_lode.json")) or {}).get("shards")
    if about is None:
        raise LodeError(f"{shards}: no packed sequences there; `lode pack` writes them.")
    config = loaded.training(about["vocabulary_size"])
    with Progress(quiet) as progress:
        progress.say(settings_of(config.model_dump(mode="json")))
        progress.start("train")

        def show(step: int, steps: int, metrics: dict[str, Any]) -> None:
            progress.update(step, steps, metrics["tokens"], "tokens", loss_of(metrics))

        summary = run(config, shards, heldout, out, show)
        progress.finish("train", f"{config.steps:,} steps to {out}")
    if quiet:
        return
    typer.echo(json.dumps(summary, indent=2))


def settings_of(config: dict[str, Any]) -> str:
    """All settings of a run, a line each, tables and schedules on one."""
    model = config.pop("model")
    lines = [f"{name} = {json.dumps(value)}" for name, value in config.items()]
    lines += ["[model]", *(f"{name} = {json.dumps(value)}" for name, value in model.items())]
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    app.command()(train)
