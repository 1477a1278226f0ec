"""Token files of other toolkits: written from packed sequences, and read as a dataset that `lode pack` takes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from corpus import datatrove_tokens, megatron, storage
from corpus.errors import LodeError
from corpus.token_files import TOKENS, ReadDocuments, TokenFile, ranges
from corpus.tokens import TextTokenizer
from jobs.engine import HERE, Account, Stage, Work, fingerprint_files, open_dataset
from jobs.progress import Progress
from jobs.worker import Task

PART_TOKENS = 1 << 26


def import_tokens(work: Work, form: str, paths: list[str], tokenizer: str, source: str) -> Stage:
    """Documents of a toolkit's token files as rows of `TOKENS`, without BOS and EOS; those without tokens are dropped.

    A document's id is made of its source, its file's name and its number in it. Raises LodeError where files are
    damaged or hold tokens that the tokenizer does not have.
    """
    loaded = TextTokenizer.load(tokenizer)
    read: dict[str, Callable[[list[str]], list[Any]]] = {
        "megatron": megatron.open_files,
        "datatrove": datatrove_tokens.open_files,
    }
    files: list[TokenFile] = read[form](paths)
    inputs = {f"file {n}": fingerprint_files(file.files) for n, file in enumerate(files)}
    inputs["tokenizer"] = loaded.fingerprint
    about = {
        "format": form,
        "tokenizer_fingerprint": loaded.fingerprint,
        "vocabulary_size": loaded.vocabulary_size,
        "special_tokens": loaded.special,
    }

    def build(folder: str) -> Account:
        parts = ranges(files, PART_TOKENS) or ((files[0], 0, 0),)
        tasks = [Task(number, (f"{number}\n{part[0].path}",)) for number, part in enumerate(parts)]
        special = loaded.special
        function = ReadDocuments(parts, source, loaded.vocabulary_size, special["bos"], special["eos"])
        counts = work.map_parts(folder, tasks, TOKENS, read=function, unit="documents")
        headline = f"{counts.tokens:,} tokens in {counts.rows_out:,} documents"
        if counts.dropped:
            headline += "; dropped: " + ", ".join(f"{n:,} {reason}" for reason, n in counts.dropped.items())
        return Account(counts, "documents", about | {"headline": headline})

    rooms = (
        "corpus/token_files.py",
        "corpus/megatron.py",
        "corpus/datatrove_tokens.py",
        "jobs/token_files.py",
    )
    return work.stage(HERE, rooms, {"format": form, "source": source}, inputs, build)


def export_megatron(path: str, prefix: str, tokenizer: str | None, progress: Progress) -> dict[str, Any]:
    """A dataset with a column `tokens` as PREFIX.bin and PREFIX.idx; returns what was written.

    Packed sequences give the pieces of documents in them; anything else its rows, each with BOS and EOS of the
    `tokenizer` where packing would put them. Raises LodeError where the counts do not come out even.
    """
    prefix = prefix.removesuffix(".bin").removesuffix(".idx")
    if prefix.endswith("/"):
        raise LodeError(
            f"--out {prefix}: the beginning of two files' names was expected, such as {prefix}mixture."
        )
    stage = open_dataset(path, needs=())
    names = stage.schema.names
    if "tokens" not in names:
        raise LodeError(f"{path}: no column 'tokens'; `lode pack` and `lode import` write it.")
    facts = stage.manifest.get("shards") or stage.manifest
    loaded = TextTokenizer.load(tokenizer) if tokenizer else None
    known = facts.get("tokenizer_fingerprint")
    if loaded and known and known != loaded.fingerprint:
        raise LodeError(f"--tokenizer {tokenizer}: {path} was made with another one (fingerprint {known}).")
    size = loaded.vocabulary_size if loaded else facts.get("vocabulary_size")
    counts: Counter[str] = Counter()
    special = (loaded.special if loaded else None) or facts.get("special_tokens")
    packed = "documents" in names
    if not packed and not (special and size):
        raise LodeError(f"{path}: these tokens have no EOS yet; give --tokenizer, which has it.")

    def pieces() -> Any:
        for number, part in enumerate(stage.parts):
            if packed:
                rows = megatron.packed_documents(part, size, counts)
            else:
                rows = megatron.token_documents(part, size, special["bos"], special["eos"], counts)
            for ids, lengths in rows:
                counts["documents"] += len(lengths)
                counts["tokens"] += len(ids)
                yield ids, lengths
                progress.update(number, len(stage.parts), counts["tokens"], "tokens")
        told = sum(facts.get("tokens_per_source", {}).values())
        if packed and told and told != counts["tokens"]:
            raise LodeError(
                f"{path}: {counts['tokens']:,} tokens are there, but its manifest tells of {told:,}; parts are missing "
                "or not of this run."
            )

    written = megatron.write(prefix, size, pieces())
    if (written.documents, written.tokens) != (counts["documents"], counts["tokens"]):
        raise LodeError(f"{prefix}: not all documents were written; this is a fault in Lode.")
    result = {"files": [written.path, written.index], "type": "uint16" if written.kind == "<u2" else "int32"}
    result |= {name: counts[name] for name in ("documents", "tokens", "pieces", "padding", "empty")}
    return result | {"bytes": storage.size(written.path) + storage.size(written.index)}
