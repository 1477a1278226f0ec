"""Commands that go in and out of the ecosystem: export and import."""

import json
import os
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_corpus import done, show, work_in
from jobs.cli_options import Json, Master, Out, Quiet

imports = typer.Typer(
    help="Models of Hugging Face folders, and token files of other toolkits.", no_args_is_help=True
)

Tokenizer = Annotated[str, typer.Option(help="The tokenizer.json that they were written with.")]
Source = Annotated[
    str | None, typer.Option(help="The name of this source (default: the name of the folder --out).")
]


class Format(StrEnum):
    hf = "hf"
    megatron = "megatron"


class Width(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    fp8 = "fp8"


def export(
    input: Annotated[
        str,
        typer.Argument(help="hf: a run directory or a checkpoint. megatron: shards, or a stage of tokens."),
    ],
    out: Annotated[str, typer.Option(help="hf: folder for the model. megatron: PREFIX of .bin and .idx.")],
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.hf,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="hf: the tokenizer.json to go with it. megatron: has BOS and EOS of unpacked documents."
        ),
    ] = None,
    dtype: Annotated[
        Width, typer.Option(help="hf: of the weights; fp8 has a scale for each 128 x 128 block, as V3's.")
    ] = Width.float32,
    average: Annotated[bool, typer.Option(help="hf: the running mean of the run's weights.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A model for `transformers`, vLLM and SGLang (MTP weights included), or tokens for Megatron."""
    from jobs.progress import Progress

    if format == Format.hf:
        import pathlib

        from pretrain.checkpoint import newest_checkpoint
        from pretrain.hf import export_hf

        folder = pathlib.Path(input)
        checkpoint = newest_checkpoint(folder / "checkpoints") or folder
        with Progress(quiet) as progress:
            progress.start("export")
            export_hf(checkpoint, out, tokenizer, dtype=dtype, average=average, show=bytes_done(progress))
            progress.finish("export", str(checkpoint))
        show({"model": out}, as_json, f"Model: {out}")
        return
    from jobs.token_files import export_megatron

    with Progress(quiet) as progress:
        progress.start("export")
        made = export_megatron(input, out, tokenizer, progress)
        left = [
            f"{made[name]:,} {what}"
            for name, what in (("padding", "of padding"), ("empty", "empty rows"))
            if made[name]
        ]
        text = f"{made['tokens']:,} tokens in {made['documents']:,} documents, {made['type']}"
        progress.finish("export", text + (f" (left out: {', '.join(left)})" if left else ""))
    if as_json:
        typer.echo(json.dumps(made, indent=2))


def bytes_done(progress: Any) -> Callable[[int, int], None]:
    """Shows how much of a model is written."""
    return lambda done, total: progress.update(done, total, done // 1_000_000, "MB", "")


@imports.command("hf")
def import_model(
    folder: Annotated[str, typer.Argument(help="A model's folder: config.json and safetensors.")],
    out: Annotated[str, typer.Option(help="Run directory to make, with the model as its checkpoint.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A model of DeepSeek's or Llama's make, for `lode train --from`, `generate` and `evaluate`."""
    from jobs.progress import Progress
    from pretrain.hf import import_hf

    with Progress(quiet) as progress:
        progress.start("import")
        checkpoint = import_hf(folder, out, bytes_done(progress))
        progress.finish("import", folder)
    show({"checkpoint": str(checkpoint)}, as_json, f"Checkpoint: {checkpoint}")


def import_files(
    form: str,
    files: list[str],
    tokenizer: str,
    out: str,
    source: str | None,
    master: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from jobs.token_files import import_tokens

    name = source or os.path.basename(out.rstrip("/"))
    if not name:
        raise LodeError(f"--out {out}: this folder has no name; give --source.")
    with work_in(out, master, quiet, *files) as work:
        done(import_tokens(work, form, files, tokenizer, name), as_json)


@imports.command("megatron")
def import_megatron(
    prefix: Annotated[
        list[str], typer.Argument(help="PREFIX of .bin and .idx; folders or globs of such files.")
    ],
    tokenizer: Tokenizer,
    out: Out,
    source: Source = None,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Megatron's indexed datasets."""
    import_files("megatron", prefix, tokenizer, out, source, master, as_json, quiet)


@imports.command("datatrove")
def import_datatrove(
    files: Annotated[
        list[str], typer.Argument(help="Files NAME.ds with NAME.ds.index; folders or globs of them.")
    ],
    tokenizer: Tokenizer,
    out: Out,
    source: Source = None,
    master: Master = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What datatrove's DocumentTokenizer and DocumentTokenizerMerger write."""
    import_files("datatrove", files, tokenizer, out, source, master, as_json, quiet)


def register(app: typer.Typer) -> None:
    app.command()(export)
    app.add_typer(imports, name="import")
