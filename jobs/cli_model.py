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


def loss_of(metrics: dict[str, Any]) -> str:
    """What a line of progress says of a step."""
    loss = "loss is no number" if metrics["loss"] is None else f"loss {metrics['loss']:.3f}"
    return f"{loss}, {metrics['spike']}" if metrics["spike"] else loss


def generate(
    model: Annotated[str, typer.Argument(help="A run directory, a checkpoint or an exported model.")],
    prompt: Annotated[str, typer.Argument(help="The text to go on from.")],
    tokenizer: Annotated[str, typer.Option(help="The tokenizer.json of its shards.")],
    tokens: Annotated[int, typer.Option(min=1)] = 64,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=1, help="Draw among so many.")] = 50,
    seed: int = 0,
    speculative: Annotated[
        bool,
        typer.Option(help="Likeliest tokens, drafted by multi-token prediction: the same, in fewer passes."),
    ] = False,
    average: Annotated[bool, typer.Option(help="The running mean of the run's weights.")] = False,
    as_json: Json = False,
) -> None:
    """Let a model go on from a prompt."""
    from corpus.tokens import TextTokenizer
    from jobs.cli_corpus import printable
    from pretrain.generate import sample, speculate
    from pretrain.load import load_model

    loaded = TextTokenizer.load(tokenizer)
    network, special = load_model(model, average=average)
    if network.config.vocab_size < loaded.vocabulary_size:
        raise LodeError(
            f"{tokenizer}: it has {loaded.vocabulary_size:,} entries and the model {network.config.vocab_size:,}; "
            "give the tokenizer.json of the shards that it was trained on."
        )
    ids = [loaded.special["bos"], *loaded.encode(prompt).tolist()]
    if speculative:
        written = speculate(network, ids, tokens, special.get("eos"))
    else:
        written = sample(network, ids, tokens, temperature, top_k, seed, special.get("eos"))
    # A model may have more entries than its tokenizer, for round numbers.
    known = [token for token in written.tokens if token < loaded.vocabulary_size]
    text = loaded.decode(known)
    if as_json:
        typer.echo(json.dumps({"text": text, **written._asdict()}, ensure_ascii=False))
        return
    typer.echo(printable(prompt + text))
    if speculative:
        typer.echo(f"{written.accepted} of {written.drafted} drafted tokens were right.", err=True)


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
