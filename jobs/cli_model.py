"""Commands for the model: train, generate, evaluate."""

import json
from typing import Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_options import Json, Quiet, Set


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe with a table `train`.")],
    shards: Annotated[str, typer.Option(help="Folder of packed sequences.")],
    out: Annotated[str, typer.Option(help="Run directory; a run that was stopped goes on.")],
    heldout: Annotated[str | None, typer.Option(help="Packed sequences to measure the loss on.")] = None,
    change: Set = None,
    quiet: Quiet = False,
) -> None:
    """Train the bundled model on shards."""
    from corpus import storage
    from jobs.progress import Progress
    from jobs.recipe import load_recipe
    from pretrain.loop import train as run

    loaded = load_recipe(recipe, change or [])
    if loaded.train is None:
        raise LodeError(f"{recipe}: it has no [train] table.")
    about = (storage.read_json(storage.join(shards, "_lode.json")) or {}).get("shards")
    if about is None:
        raise LodeError(f"{shards}: no packed sequences there; `lode pack` writes them.")
    config = loaded.training(about["vocabulary_size"])
    with Progress(quiet) as progress:
        progress.start("train")

        def show(step: int, steps: int, metrics: dict[str, Any]) -> None:
            note = f"loss {metrics['loss']:.3f}" if "loss" in metrics else ""
            progress.update(step, steps, step * config.tokens_per_step, "tokens", note)

        summary = run(config, shards, heldout, out, show)
        progress.finish("train", f"{config.steps:,} steps to {out}")
    if quiet:
        return
    typer.echo(json.dumps(summary, indent=2))


def generate(
    model: Annotated[str, typer.Argument(help="A run directory, a checkpoint or an exported model.")],
    prompt: Annotated[str, typer.Argument(help="The text to go on from.")],
    tokenizer: Annotated[str, typer.Option(help="The tokenizer.json of its shards.")],
    tokens: Annotated[int, typer.Option(min=1)] = 64,
    temperature: Annotated[float, typer.Option(min=0)] = 0.8,
    seed: int = 0,
) -> None:
    """Let a model go on from a prompt."""
    from corpus.tokens import TextTokenizer
    from jobs.cli_corpus import printable
    from pretrain.generate import sample
    from pretrain.load import load_model

    loaded = TextTokenizer.load(tokenizer)
    network, special = load_model(model)
    if network.config.vocab_size != loaded.vocabulary_size:
        raise LodeError(
            f"{tokenizer}: it has {loaded.vocabulary_size:,} entries and the model {network.config.vocab_size:,}; "
            "give the tokenizer.json of the shards that it was trained on."
        )
    ids = [loaded.special["bos"], *loaded.encode(prompt).tolist()]
    written = sample(network, ids, tokens, temperature, top_k=50, seed=seed, eos=special.get("eos"))
    typer.echo(printable(prompt + loaded.decode(written)))


def evaluate(
    model: Annotated[str, typer.Argument(help="A run directory, a checkpoint or an exported model.")],
    shards: Annotated[str, typer.Option(help="Folder of packed sequences that it has not seen.")],
    as_json: Json = False,
) -> None:
    """The loss of a model on packed sequences, by source."""
    from pretrain.evaluate import evaluate as run

    losses = run(model, shards)
    if as_json:
        typer.echo(json.dumps(losses, indent=2))
        return
    for source, values in losses.items():
        typer.echo(f"{values['loss']:8.4f}  {values['tokens']:>10,} tokens  {source}")


def register(app: typer.Typer) -> None:
    for command in (train, generate, evaluate):
        app.command()(command)
