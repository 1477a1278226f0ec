"""Megatron's indexed datasets: PREFIX.bin with the ids of all sequences back to back, PREFIX.idx with where they lie.

The index, little-endian: the magic `MMIDIDX\\0\\0`, version 1 (uint64), a code for the ids' type (uint8), how many
sequences and document entries there are (uint64 each); then the sequences' lengths in tokens (int32), where they begin
in bytes (int64), and the sequence at which each document begins, with the number of sequences as a last entry (int64).
A document may be several sequences.
"""

import struct
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus import storage
from corpus.errors import LodeError
from corpus.token_files import TokenFile, file_size, find, names, read_array

HEADER, MAGIC = struct.Struct("<9sQBQQ"), b"MMIDIDX\0\0"
KINDS = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
CODES = {kind: code for code, kind in KINDS.items()}
# Megatron writes uint16 below this number of entries, and int32 from it on.
NARROW_VOCABULARY = 65_500
ENTRIES = 1 << 20
# Ids, and the lengths of the documents that are known by now to end in them or before.
Pieces = Iterable[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class MegatronFile(TokenFile):
    sequences: int

    @property
    def index(self) -> str:
        return self.path.removesuffix(".bin") + ".idx"

    @property
    def files(self) -> list[str]:
        return [self.path, self.index]

    def bounds(self, first: int, last: int) -> np.ndarray:
        begin = read_array(self.index, "<i8", first, last - first + 1, HEADER.size + 12 * self.sequences)
        bounds = np.full(len(begin), self.tokens)
        for start in range(int(begin[0]), min(int(begin[-1]) + 1, self.sequences), ENTRIES):
            count = min(ENTRIES, self.sequences - start)
            here = (begin >= start) & (begin < start + count)
            if here.any():
                pointers = read_array(self.index, "<i8", start, count, HEADER.size + 4 * self.sequences)
                bounds[here] = pointers[begin[here] - start] // np.dtype(self.kind).itemsize
        return bounds


def open_files(paths: list[str]) -> list[MegatronFile]:
    """The datasets of prefixes, globs or folders, each checked whole. Raises LodeError where index and ids disagree."""
    files = find(paths, ".idx", other=".bin")
    prefixes = [file.removesuffix(".idx") for file in files]
    return [open_file(prefix, name) for prefix, name in zip(prefixes, names(prefixes), strict=True)]


def open_file(prefix: str, name: str) -> MegatronFile:
    index, ids = f"{prefix}.idx", f"{prefix}.bin"
    size, stored = file_size(index), file_size(ids)
    header = read_array(index, "u1", 0, min(size, HEADER.size)).tobytes()
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        raise LodeError(f"{index}: not the index of a Megatron dataset (they begin with MMIDIDX).")
    _, version, code, sequences, entries = HEADER.unpack(header)
    if version != 1:
        raise LodeError(f"{index}: version {version} of the format; only version 1 is known.")
    if code not in KINDS:
        raise LodeError(f"{index}: its ids are of type {code}; whole numbers have {sorted(KINDS)}.")
    if size != (told := HEADER.size + 12 * sequences + 8 * entries):
        raise LodeError(
            f"{index}: {size:,} bytes, but its header tells of {told:,}; copy it again (indexes of multimodal "
            "datasets are not read)."
        )
    width, tokens = np.dtype(KINDS[code]).itemsize, 0
    for start in range(0, sequences, ENTRIES):
        count = min(ENTRIES, sequences - start)
        lengths = read_array(index, "<i4", start, count, HEADER.size).astype(np.int64)
        pointers = read_array(index, "<i8", start, count, HEADER.size + 4 * sequences)
        ends = tokens + np.cumsum(lengths)
        wrong = np.flatnonzero((lengths < 0) | (pointers != (ends - lengths) * width))
        if len(wrong):
            raise LodeError(
                f"{index}: sequence {start + wrong[0]} does not begin where the one before it ends; it is damaged."
            )
        tokens = int(ends[-1])
    before = 0
    for start in range(0, entries, ENTRIES):
        begin = read_array(index, "<i8", start, min(ENTRIES, entries - start), HEADER.size + 12 * sequences)
        if begin[0] < before or (begin[1:] < begin[:-1]).any() or (not start and begin[0]):
            raise LodeError(f"{index}: a document ends before it begins; the index is damaged.")
        before = int(begin[-1])
    if before != sequences or not entries:
        raise LodeError(f"{index}: the last document does not end with the last sequence; it is damaged.")
    if stored != tokens * width:
        how = "is cut off" if stored < tokens * width else "is of another dataset"
        raise LodeError(
            f"{ids}: {stored:,} bytes, but {index} tells of {tokens * width:,}; one of them {how}."
        )
    return MegatronFile(ids, name, KINDS[code], entries - 1, tokens, sequences)


def write(prefix: str, vocabulary_size: int | None, pieces: Pieces) -> MegatronFile:
    """One sequence a document. Both files appear when they are whole, the index last: without it the ids are nothing.

    Memory: one piece. Args: vocabulary_size: decides between uint16 and int32 as Megatron does; None is int32.
    """
    narrow = vocabulary_size is not None and vocabulary_size < NARROW_VOCABULARY
    kind = "<u2" if narrow else "<i4"
    with (
        storage.atomic_write(f"{prefix}.idx") as index,
        storage.atomic_write(f"{prefix}.bin") as ids,
        tempfile.TemporaryFile() as lengths,
    ):
        count = 0
        for values, ended in pieces:
            if len(ended) and ended.max() > np.iinfo(np.int32).max:
                raise LodeError(
                    f"{prefix}: a document has 2^31 tokens or more; the format has no room for it."
                )
            ids.write(values.astype(kind, copy=False).tobytes())
            lengths.write(ended.astype("<i4").tobytes())
            count += len(ended)
        write_index(index, kind, lengths, count)
        storage.remove(f"{prefix}.idx")  # an older one would go with the new ids for a moment
    return open_file(prefix, prefix)


def write_index(index: IO[bytes], kind: str, lengths: IO[bytes], count: int) -> None:
    """The index of `count` sequences, each a document, from a file of their lengths as int32."""
    index.write(HEADER.pack(MAGIC, 1, CODES[kind], count, count + 1))

    def blocks() -> Iterator[np.ndarray]:
        lengths.seek(0)
        while block := lengths.read(4 * ENTRIES):
            yield np.frombuffer(block, "<i4")

    for block in blocks():
        index.write(block.tobytes())
    begin = 0
    for block in blocks():
        ends = begin + np.cumsum(block, dtype=np.int64) * np.dtype(kind).itemsize
        index.write(np.concatenate(([begin], ends[:-1])).astype("<i8").tobytes())
        begin = int(ends[-1])
    for start in range(0, count + 1, ENTRIES):
        index.write(np.arange(start, min(start + ENTRIES, count + 1), dtype="<i8").tobytes())


def packed_documents(path: str, vocabulary_size: int | None, counts: Counter[str]) -> Pieces:
    """A part of packed sequences: the piece of each document in each sequence, without padding. Neighbouring pieces
    of one window, which packing has cut in two, are one document again."""
    before: pa.StructArray | None = None  # the last piece so far, which may go on
    length = 0  # of the document that ends in it
    for batch in storage.read_parquet(path, ["tokens", "documents"], rows=64):
        ids, sizes = flat(batch, path, vocabulary_size)
        spans = batch["documents"].flatten()
        begins = np.repeat(np.cumsum(sizes) - sizes, pc.list_value_length(batch["documents"]).to_numpy())
        lengths = spans.field("length").to_numpy().astype(np.int64)
        starts = begins + spans.field("start").to_numpy()
        if lengths.sum() != len(ids) or (starts != np.cumsum(lengths) - lengths).any():
            raise LodeError(f"{path}: `documents` does not cover `tokens`; pack these sequences again.")
        real = pc.is_valid(spans.field("id")).to_numpy(zero_copy_only=False)
        if not real.all():
            ids, spans = ids[np.repeat(real, lengths)], spans.filter(pa.array(real))
            lengths = lengths[real]
        counts["pieces"] += len(spans)
        counts["padding"] += int(sizes.sum()) - len(ids)
        if not len(spans):
            continue
        joined = [spans] if before is None else [before, spans]
        begin = np.append(True, ~continues(pa.concat_arrays(joined)))
        lengths = lengths if before is None else np.append(length, lengths)
        totals = np.add.reduceat(lengths, np.flatnonzero(begin))
        yield ids, totals[:-1]
        before, length = spans.slice(len(spans) - 1), int(totals[-1])
    if before is not None:
        yield np.empty(0, np.int32), np.array([length])


def continues(spans: pa.StructArray) -> np.ndarray:
    """For each piece but the first, whether it goes on, in the same window, where the piece before it ends."""
    fields = [field.name for field in spans.type]
    if "offset" not in fields:
        return np.zeros(len(spans) - 1, bool)
    before, after = spans.slice(0, len(spans) - 1), spans.slice(1)
    same = pc.equal(pc.add(before.field("offset"), before.field("length")), after.field("offset"))
    for name in ("id", "chunk", "epoch"):
        same = pc.and_(same, pc.equal(before.field(name), after.field(name)))
    return same.to_numpy(zero_copy_only=False)


def token_documents(path: str, vocabulary_size: int, bos: int, eos: int, counts: Counter[str]) -> Pieces:
    """A part of windows or of documents of tokens, each a document, with BOS and EOS where packing puts them (EOS
    alone where the tokenizer has one token for both)."""
    edges = {"first", "last"} <= set(storage.parquet_schema(path).names)
    for batch in storage.read_parquet(path, ["tokens", *(["first", "last"] if edges else [])], rows=64):
        ids, sizes = flat(batch, path, vocabulary_size)
        filled = sizes > 0
        counts["pieces"] += int(filled.sum())
        counts["empty"] += int((~filled).sum())
        first, last = (
            batch[name].to_numpy(zero_copy_only=False)[filled] if edges else True
            for name in ("first", "last")
        )
        head = np.broadcast_to(first if bos != eos else False, filled.sum())
        tail = np.broadcast_to(last, filled.sum())
        totals = sizes[filled] + head + tail
        ends = np.cumsum(totals)
        out = np.empty(int(totals.sum()), np.int32)
        own = np.ones(len(out), bool)
        for places, token in (((ends - totals)[head], bos), ((ends - 1)[tail], eos)):
            out[places], own[places] = token, False
        out[own] = ids
        yield out, totals


def flat(batch: pa.RecordBatch, path: str, vocabulary_size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The ids of a batch's rows back to back, and how many each row has."""
    tokens = batch["tokens"]
    if not pa.types.is_list(tokens.type) or tokens.type.value_type != pa.int32():
        raise LodeError(f"{path}: the column 'tokens' is {tokens.type}; lists of int32 were expected.")
    values = tokens.flatten()
    if tokens.null_count or values.null_count:
        raise LodeError(f"{path}: a row has no tokens, or null among them.")
    ids = values.to_numpy()
    most = (vocabulary_size or 1 << 31) - 1
    if len(ids) and (ids.min() < 0 or ids.max() > most):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise LodeError(
            f"{path}: token {wrong} is not in 0…{most}; take the tokenizer that it was made with."
        )
    return ids, pc.list_value_length(tokens).to_numpy().astype(np.int64)
