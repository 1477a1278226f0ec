"""Commands that look at a model: generate, evaluate."""

import json
import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_options import Json, Quiet

if TYPE_CHECKING:
    from corpus.tokens import TextTokenizer
    from pretrain.model import Transformer

Model = Annotated[str, typer.Argument(help="A run directory, a checkpoint or an exported model.")]
Average = Annotated[bool, typer.Option("--average", help="The running mean of a run's weights.")]


class Place(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Device = Annotated[Place, typer.Option(help="auto: the GPU where there is one.")]


def generate(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="The text to go on from.")],
    tokenizer: Annotated[
        str | None,
        typer.Option(help="tokenizer.json (default: that of the work folder or the exported model)."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="New tokens at most.")] = 64,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0 takes the likeliest token (default: 0.8).")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Draw from so many of the likeliest tokens.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    speculative: Annotated[
        bool, typer.Option("--speculative", help="Temperature 0, in fewer passes: MTP modules draft ahead.")
    ] = False,
    average: Average = False,
    device: Device = Place.auto,
    as_json: Json = False,
) -> None:
    """Let a model go on from a prompt."""
    from jobs.cli_corpus import printable
    from pretrain.generate import sample, speculate

    if speculative and temperature:
        raise LodeError("--speculative is for temperature 0; leave --temperature out.")
    if temperature is not None and not math.isfinite(temperature):
        raise LodeError(f"--temperature {temperature}: expected a number, 0 or more.")
    network, words = opened(model, tokenizer, None, average, device)
    assert words
    text = words.encode(prompt).tolist()
    room = network.config.max_position_embeddings - tokens - 1
    if 0 <= room < len(text):
        typer.echo(f"The first {len(text) - room:,} tokens of the prompt are left out: no room.", err=True)
        text = text[len(text) - room :]
    shown = ""

    def watch(written: list[int]) -> bool:
        """Print what is new, but for the bytes of a character that is not whole yet."""
        nonlocal shown
        now = words.decode(written).rstrip("\ufffd")
        if not as_json and now.startswith(shown):
            typer.echo(printable(now[len(shown) :]), nl=False)
            shown = now
        return False

    ids, eos = [words.special["bos"], *text], words.special["eos"]
    if not as_json:
        typer.echo(printable(prompt), nl=False)
    if speculative:
        found = speculate(network, ids, tokens, eos, watch=watch)
    else:
        found = sample(
            network, ids, tokens, 0.8 if temperature is None else temperature, top_k, seed, eos, watch
        )
    whole = words.decode(found.tokens)
    if not as_json:
        typer.echo(printable(whole.removeprefix(shown)))
        return
    about: dict[str, Any] = {"text": whole, "tokens": found.tokens, "ended": found.ended}
    if speculative:
        share = found.accepted / found.drafted if found.drafted else None
        about |= {"drafted": found.drafted, "accepted": found.accepted, "acceptance": share}
    typer.echo(json.dumps(about, indent=2, ensure_ascii=False))


def evaluate(
    model: Model,
    shards: Annotated[
        str | None, typer.Option(help="Packed sequences that it has not seen: loss of each source.")
    ] = None,
    infill: Annotated[
        str | None,
        typer.Option(help="Code, files or repositories: holes to fill (with --shards, of what they hold)."),
    ] = None,
    cross_file: Annotated[
        str | None, typer.Option(help="Repositories that `lode order` wrote: lines that need another file.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="tokenizer.json (default: that of the work folder or the exported model)."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Holes of each kind, and lines, at most.")] = 200,
    window: Annotated[
        int | None,
        typer.Option(min=64, help="Tokens of a question (default: those of a sequence in training)."),
    ] = None,
    spm: Annotated[bool, typer.Option("--spm", help="Holes in suffix-prefix-middle order.")] = False,
    sequences: Annotated[
        int | None, typer.Option(min=1, help="Packed sequences to read (default: all).")
    ] = None,
    batch_sequences: Annotated[int, typer.Option(min=1, help="Packed sequences at a time.")] = 8,
    average: Average = False,
    device: Device = Place.auto,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """How well a model predicts text it has not seen, fills holes in code, and uses other files of a repository."""
    from jobs.progress import Progress

    if not (shards or infill or cross_file):
        raise LodeError("there is nothing to measure: give --shards, --infill or --cross-file.")
    found: dict[str, Any] = {}
    with Progress(quiet) as progress:
        from jobs import questions
        from jobs.evaluate import fill, next_lines
        from pretrain.evaluate import check_fit, heldout_loss, token_bytes, trained_with
        from pretrain.shards import Shards

        data = Shards(shards) if shards else None
        network, words = opened(
            model, tokenizer, data, average, device, needed=not data or bool(infill or cross_file)
        )
        positions = network.config.max_position_embeddings

        def show(done: int, total: int) -> None:
            progress.update(done, total)

        if data:
            check_fit(data, network.config.vocab_size, positions)
            progress.start("loss")
            bytes_V = token_bytes(words, network.config.vocab_size) if words else None
            rows = list(range(min(len(data), sequences or len(data))))
            losses = heldout_loss(network, data, rows, batch_sequences, bytes_V=bytes_V, show=show)
            found["sources"] = {
                name: {**of, "perplexity": math.exp(min(of["loss"], 700))} for name, of in losses.items()
            }
            progress.finish("loss", f"{len(rows):,} sequences")
        size = min(window or trained_with(model).sequence_length or positions, positions)
        only = questions.held_out(shards) if shards else None
        if infill:
            assert words
            if missing := [
                role for role in ("fim_begin", "fim_hole", "fim_end") if role not in words.special
            ]:
                raise LodeError(
                    f"--infill: the tokenizer has no {missing[0]} token, so the model was not taught to."
                )
            progress.start("infill")
            gaps = questions.gaps(questions.documents(infill, only), size, limit)
            asked = [ask for gap in gaps if (ask := questions.ask_gap(gap, words, size, spm))]
            found["infill"] = fill(network, asked, words, show)
            progress.finish("infill", told(len(asked), len(gaps), "holes"))
        if cross_file:
            assert words
            progress.start("cross-file")
            lines = questions.lines(questions.documents(cross_file, only), size, limit)
            asked = [ask for line in lines if (ask := questions.ask_line(line, words, size))]
            found["cross_file"] = next_lines(network, asked, words, show)
            progress.finish("cross-file", told(len(asked), len(lines), "lines"))
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else table(found))


def told(asked: int, found: int, what: str) -> str:
    return f"{asked:,} {what}" + (f", {found - asked:,} more do not fit the window" if found > asked else "")


def opened(
    model: str, tokenizer: str | None, data: Any, average: bool, device: str, needed: bool = True
) -> tuple["Transformer", "TextTokenizer | None"]:
    """A model and the tokenizer that it was trained with; None where that is not found and not `needed`.

    Raises LodeError where shards, tokenizer and model do not belong together.
    """
    from corpus.tokens import TextTokenizer
    from jobs.evaluate import find_tokenizer
    from pretrain.evaluate import check_tokenizer, trained_with
    from pretrain.load import load_model

    network, _ = load_model(model, device, average)
    trained = trained_with(model).tokenizer
    if data:
        check_tokenizer(data, trained, model)
    known = {mark for mark in (trained, data and data.tokenizer_fingerprint) if mark}
    path = tokenizer or find_tokenizer(model, data and data.path, known)
    if path is None:
        if needed:
            raise LodeError(f"{model}: its tokenizer.json is not beside it; give --tokenizer.")
        return network, None
    words = TextTokenizer.load(path)
    if known and words.fingerprint not in known:
        of = model if trained else data.path
        raise LodeError(f"{path}: this is not the tokenizer that {of} was made with; give that one.")
    if words.vocabulary_size > network.config.vocab_size:
        raise LodeError(
            f"{path}: it has {words.vocabulary_size:,} entries and the model only {network.config.vocab_size:,}; "
            "give the tokenizer.json that it was trained with."
        )
    return network, words


def table(found: dict[str, Any]) -> str:
    """The same for a reader."""
    from jobs.cli_corpus import printable

    parts = []
    if "sources" in found:
        rows = [
            [printable(name), f"{of['loss']:.4f}", f"{of['perplexity']:,.2f}",
             f"{of['bits_per_byte']:.4f}" if "bits_per_byte" in of else "", f"{of['tokens']:,}"]
            for name, of in found["sources"].items()
        ]  # fmt: skip
        parts.append([["source", "loss", "perplexity", "bits/byte", "tokens"], *rows])
    if "infill" in found:
        rows = [
            [of["kind"], printable(of["language"]), f"{of['exact']:.1%}", f"{of['low']:.1%} to {of['high']:.1%}",
             f"{of['loss']:.4f}", f"{of['holes']:,}"]
            for of in found["infill"]
        ]  # fmt: skip
        parts.append([["hole", "language", "exact", "95 %", "loss", "holes"], *rows])
    if "cross_file" in found:
        rows = []
        for of in found["cross_file"]:
            ways = of["with_dependencies"], of["file_alone"]
            error = "" if of["standard_error"] is None else f" ± {of['standard_error']:.4f}"
            rows.append(
                [printable(of["language"]), *(f"{ways[0][k]:.{d}f} / {ways[1][k]:.{d}f}"
                  for k, d in (("exact", 3), ("similarity", 3), ("loss", 4))),
                 f"{of['loss_saved']:.4f}{error}", f"{of['lines']:,}"]
            )  # fmt: skip
        names = ["with dependencies / file alone", "exact", "similarity", "loss", "loss saved", "lines"]
        parts.append([names, *rows])
    return "\n\n".join(map(aligned, parts))


def aligned(rows: list[list[str]]) -> str:
    """Columns of text, all but the first to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    )


def register(app: typer.Typer) -> None:
    for command in (generate, evaluate):
        app.command()(command)
