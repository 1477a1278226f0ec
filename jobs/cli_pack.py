"""`lode pack`: documents to shards."""

import os
from enum import StrEnum
from typing import Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_corpus import done, work_in
from jobs.cli_options import Json, Master, Quiet


class Packing(StrEnum):
    concat = "concat"
    best_fit = "best_fit"


class Level(StrEnum):
    document = "document"
    file = "file"


Weights = Annotated[
    list[str],
    typer.Option(help="DIR=WEIGHT, one for each source: documents, or tokens that `lode import` wrote."),
]
Rates = Annotated[
    list[str] | None,
    typer.Option(help="Share of documents with fill-in-the-middle, or SOURCE=SHARE (repeatable)."),
]


def pack(
    input: Weights,
    tokenizer: Annotated[str, typer.Option(help="A tokenizer.json.")],
    out: Annotated[str, typer.Option(help="Work folder; shards are in its shards/ and heldout/.")],
    sequence_length: Annotated[int, typer.Option(min=16)] = 4096,
    packing: Annotated[
        Packing, typer.Option(help="best_fit cuts next to no document, concat pads nothing.")
    ] = Packing.concat,
    fim_rate: Rates = None,
    fim_spm_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Of these, share in suffix-prefix-middle order.")
    ] = 0.0,
    fim_level: Annotated[
        Level, typer.Option(help="file: every file of a repository is drawn on its own.")
    ] = Level.document,
    fim_syntax_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Of these, share whose middle is a whole syntax node.")
    ] = 0.0,
    split_newlines: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of tokens joining punctuation and line breaks that are split."
        ),
    ] = 0.0,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens at most (default: what --max-epochs allows).")
    ] = None,
    max_epochs: Annotated[float, typer.Option(help="No source is seen more often.")] = 4,
    held_out_tokens: Annotated[int, typer.Option(min=0, help="Tokens of each source kept aside.")] = 50_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Mixture, fill-in-the-middle and packing: documents to shards that `lode train` reads."""
    from jobs import pack as stages
    from jobs.recipe import FimSection, MixtureSection, PackSection, TokenizerSection, section_of

    weights = weights_of(input)
    named = {name: weight for name, (_, weight) in weights.items()}
    fim = FimSection(
        rate=rates_of(fim_rate or [], list(weights)),
        spm_rate=fim_spm_rate, level=fim_level.value, syntax_rate=fim_syntax_rate,
    )  # fmt: skip
    mixture = section_of(MixtureSection, weights=named, max_epochs=max_epochs, tokens=tokens)
    section = PackSection(
        sequence_length=sequence_length, packing=packing.value, split_newlines=split_newlines,
        held_out_tokens=held_out_tokens,
    )  # fmt: skip
    parts = [stages.part(path, name) for name, (path, _) in weights.items()]
    stages.check(parts, tokenizer, fim)
    with work_in(out, master, quiet, *(path for path, _ in weights.values())) as work:
        made = stages.tokenizer(work, parts, TokenizerSection(path=tokenizer), seed)
        windows = stages.tokenized(work, parts, made, section, fim)
        aside = stages.heldout(work, windows, made, section, seed)
        shards = stages.shards(work, windows, aside, made, mixture, fim, section, seed)
        if not (quiet or as_json):
            work.progress.say(described(shards.manifest))
        done(shards, as_json)


def number(option: str, item: str, text: str, like: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise LodeError(f"--{option} {item}: expected {like}.") from None


def weights_of(inputs: list[str]) -> dict[str, tuple[str, float]]:
    """The path and weight of each source, by the name of its folder."""
    found: dict[str, tuple[str, float]] = {}
    for item in inputs:
        path, _, weight = item.rpartition("=")
        name = os.path.basename(path.rstrip("/")).removesuffix(".parquet")
        value = number("input", item, weight, "DIR=WEIGHT, such as corpus/math=0.3")
        if not name or not 0 <= value < float("inf"):
            raise LodeError(f"--input {item}: expected DIR=WEIGHT; weights are numbers, 0 or more.")
        if name in found:
            raise LodeError(f"--input {item}: two sources are called {name!r}; rename a folder.")
        found[name] = (path, value)
    if not any(weight for _, weight in found.values()):
        raise LodeError("--input: the weights of all sources are 0, so there is nothing to pack.")
    return found


def rates_of(items: list[str], sources: list[str]) -> dict[str, float]:
    """The rate of fill-in-the-middle of each source: what is said of it, or of all."""
    from jobs.recipe import nearest

    found: dict[str, float] = {}
    of_all = 0.0
    for item in items:
        source, equals, text = item.rpartition("=")
        rate = number("fim-rate", item, text, "a share such as 0.5, or SOURCE=SHARE")
        if not 0 <= rate <= 1:
            raise LodeError(f"--fim-rate {item}: a share lies between 0 and 1.")
        if not equals:
            of_all = rate
        elif source not in sources:
            raise LodeError(f"--fim-rate {item}: no --input has this name{nearest(source, sources)}")
        else:
            found[source] = rate
    rates = dict.fromkeys(sources, of_all) | found
    return {name: rate for name, rate in rates.items() if rate}


def described(manifest: dict[str, Any]) -> str:
    """What the mixture became, for a reader."""
    lines = []
    for name, of in manifest["mixture"].items():
        line = f"{name}: {of['share']:.3%} of the tokens (asked {of['asked']:.3%}), {of['epochs']:.4g} epochs"
        if fim := of.get("fim"):
            line += f", fill-in-the-middle {fim['rate']:.2%} (asked {fim['asked']:.2%})"
            line += f", {fim['too_long']:,} too long for it" if fim["too_long"] else ""
        lines.append(
            line
            + (
                "; it limits the whole: more would be over --max-epochs"
                if name == manifest["limited_by"]
                else ""
            )
        )
    packing = manifest["shards"]["packing"]
    lines.append(
        f"{packing['sequences']:,} sequences, {packing['padding']:,} tokens of padding, {packing['windows_cut']:,} of "
        f"{packing['windows']:,} windows cut"
    )
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    app.command()(pack)
