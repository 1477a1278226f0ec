"""Commands for tokenizers: train one, look at one."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from corpus.errors import LodeError
from jobs.cli_corpus import printable, show
from jobs.cli_options import Json

tokenizer = typer.Typer(no_args_is_help=True, help="A byte-level BPE of one's own, or a look at a given one.")


@tokenizer.command("train")
def train(
    input: Annotated[list[str], typer.Option(help="Documents: Parquet with id and text (repeatable).")],
    out: Annotated[str, typer.Option(help="File for the tokenizer.json.")],
    vocabulary_size: Annotated[int, typer.Option(min=1, help="Entries, special tokens among them.")] = 32_768,
    sample_chars: Annotated[
        int, typer.Option(min=1, help="Characters to train on, as many from every --input.")
    ] = 100_000_000,
    seed: int = 0,
) -> None:
    """Train a byte-level BPE with DeepSeek-V3's pre-tokenizer and special tokens."""
    from corpus import storage
    from corpus.tokens import train_tokenizer
    from jobs.engine import open_dataset
    from jobs.pack import Part, sample_texts

    texts = sample_texts([Part(open_dataset(path), None) for path in input], sample_chars, seed)
    try:
        made = train_tokenizer(texts, vocabulary_size)
    except LodeError as error:
        raise LodeError(f"lode tokenizer train --input {' '.join(input)}: {error}") from None
    storage.write_text(out, made.to_str())
    size = made.get_vocab_size()
    fewer = "" if size == vocabulary_size else f", not {vocabulary_size:,}: no more pairs occur in the text"
    characters = sum(map(len, texts))
    typer.echo(
        f"{out}: {size:,} entries{fewer}; trained on {characters:,} characters of {len(texts):,} documents"
    )


@tokenizer.command("check")
def check(
    tokenizer: Annotated[str, typer.Argument(help="A tokenizer.json.")],
    input: Annotated[str, typer.Option(help="Documents to try it on: Parquet with a column text.")],
    documents: Annotated[int, typer.Option(min=1, help="So many, from all parts of the dataset.")] = 500,
    as_json: Json = False,
) -> None:
    """Fertility by language, exactness of the round trip, special tokens: missing, and in texts."""
    from corpus.tokens import TextTokenizer
    from corpus.tokens import check as look

    found = look(TextTokenizer.load(tokenizer), documents_of(input, documents))
    if not found["texts"]:
        raise LodeError(f"{input}: no document with a text is in there.")
    show(found, as_json, listing(found))


def documents_of(dataset: str, count: int) -> Iterator[tuple[str, str | None, str]]:
    """Id, language and text of documents: the first ones of every part, `count` in all where there are as many."""
    from corpus import storage

    parts = storage.parquet_parts(dataset)
    for place, path in enumerate(parts):
        room = count // (len(parts) - place)
        known = storage.parquet_schema(path).names
        columns = ["text", *(name for name in ("id", "language") if name in known)]
        seen = 0
        for batch in storage.read_parquet(path, columns) if room else ():
            for row in batch.to_pylist():
                if seen < room and row["text"]:
                    yield str(row.get("id") or f"{path}, text {seen}"), row.get("language"), row["text"]
                    seen += 1
            if seen >= room:
                break
        count -= seen


def listing(found: dict[str, Any]) -> str:
    """What `corpus.tokens.check` found, for a reader."""
    lines = [
        f"{found['vocabulary_size']:,} entries, "
        f"{found['tokens_that_join_punctuation_and_line_breaks']:,} of them punctuation with line breaks",
        f"special tokens: {', '.join(f'{role} {i}' for role, i in found['special'].items())}",
        f"missing special tokens: {', '.join(found['missing']) or 'none'}",
    ]
    if found["changed"]:
        first = found["first_changed"]
        lines.append(
            f"{found['changed']:,} of {found['texts']:,} texts come back changed, the first of them:"
        )
        lines.append(
            f"  {first['id']}, character {first['character']:,}: {first['text']!r} is {first['decoded']!r}"
        )
    else:
        lines.append(f"all of {found['texts']:,} texts come back as they were")
    special = ", ".join(f"{name} {count:,}" for name, count in found["special_strings"].items())
    lines.append(
        f"texts with special strings in them (encoded as plain characters): {found['texts_with_special_strings']:,}"
        + (f" ({special})" if special else "")
    )
    lines += ["", "characters/token  bytes/token      tokens   texts  language"]
    lines += [
        f"{row['characters_per_token']:16.2f}  {row['bytes_per_token']:11.2f}  {row['tokens']:10,}  {row['texts']:6,}"
        f"  {language}"
        for language, row in found["languages"].items()
    ]
    return printable("\n".join(lines))


def register(app: typer.Typer) -> None:
    app.add_typer(tokenizer, name="tokenizer")
