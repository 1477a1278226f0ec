"""Megatron's format, against readers and writers made from its specification with nothing but struct and numpy."""

import itertools
import os
import pathlib
import struct
from collections import Counter
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus import megatron, storage, token_files
from corpus.errors import LodeError
from corpus.token_files import TOKENS
from tests.corpus.token_documents import BOS, EOS, documents, imported_is_exact, read, stripped

TYPES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "uint16": 8}
IN_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def spec_write(prefix: pathlib.Path, written: list[list[list[int]]], kind: str) -> None:
    """A dataset as Megatron-LM's builder lays it out: `written` are documents, each a list of sequences."""
    sequences = [sequence for document in written for sequence in document]
    prefix.with_suffix(".bin").write_bytes(b"".join(np.array(s, kind).tobytes() for s in sequences))
    lengths = [len(s) for s in sequences]
    pointers = [0, *itertools.accumulate(n * np.dtype(kind).itemsize for n in lengths)][: len(lengths)]
    begins = [0, *itertools.accumulate(len(document) for document in written)]
    prefix.with_suffix(".idx").write_bytes(
        b"MMIDIDX\x00\x00"
        + struct.pack("<QBQQ", 1, TYPES[kind], len(sequences), len(begins))
        + struct.pack(f"<{len(lengths)}i", *lengths)
        + struct.pack(f"<{len(pointers)}q", *pointers)
        + struct.pack(f"<{len(begins)}q", *begins)
    )


def spec_read(prefix: pathlib.Path) -> tuple[list[list[int]], str]:
    """Documents of a dataset and the type of its ids, each sequence fetched from where its pointer says."""
    index, ids = prefix.with_suffix(".idx").read_bytes(), prefix.with_suffix(".bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, entries = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    at = 34
    lengths = struct.unpack_from(f"<{sequences}i", index, at)
    pointers = struct.unpack_from(f"<{sequences}q", index, at + 4 * sequences)
    begins = struct.unpack_from(f"<{entries}q", index, at + 12 * sequences)
    assert len(index) == at + 12 * sequences + 8 * entries
    kind = {code: kind for kind, code in TYPES.items()}[code]
    found = []
    for first, last in itertools.pairwise(begins):
        tokens: list[int] = []
        for n in range(first, last):
            tokens += np.frombuffer(ids, kind, lengths[n], pointers[n]).tolist()
        found.append(tokens)
    assert sum(lengths) * np.dtype(kind).itemsize == len(ids)
    return found, kind


def joined(written: list[list[list[int]]]) -> list[list[int]]:
    return [list(itertools.chain.from_iterable(document)) for document in written]


@IN_A_FOLDER
@given(data=st.data(), kind=st.sampled_from(list(TYPES)))
def test_documents_come_in_as_they_were_written(tmp_path, data, kind):
    most = min(np.iinfo(kind).max, 100_000)
    written = data.draw(documents(int(most)))
    spec_write(tmp_path / "x", written, kind)
    imported_is_exact(lambda: megatron.open_files([f"{tmp_path}/x"]), joined(written), most + 1)


@IN_A_FOLDER
@given(written=documents(300), block=st.integers(1, 12), entries=st.integers(1, 5))
def test_the_size_of_blocks_changes_nothing(tmp_path, written, block, entries):
    spec_write(tmp_path / "x", written, "uint16")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_files, "BLOCK_TOKENS", block)
        patch.setattr(token_files, "BLOCK_ENTRIES", entries)
        patch.setattr(megatron, "ENTRIES", entries)
        imported_is_exact(lambda: megatron.open_files([f"{tmp_path}/x"]), joined(written), 301)


def test_what_megatron_core_wrote_is_read(tmp_path):
    """IndexedDatasetBuilder of megatron-core 0.16.1: two sequences, one, EOS alone, three of which one is empty."""
    (tmp_path / "x.bin").write_bytes(bytes.fromhex("050006000700080001000000dbff0100010009000a000b000100"))
    (tmp_path / "x.idx").write_bytes(
        bytes.fromhex(
            "4d4d494449445800000100000000000000080700000000000000050000000000000003000000020000000300000001000000010000"
            "000000000003000000000000000000000006000000000000000a000000000000001000000000000000120000000000000014000000"
            "00000000140000000000000000000000000000000200000000000000030000000000000004000000000000000700000000000000"
        )
    )
    rows = read(megatron.open_files([f"{tmp_path}/x"]), 65_500)
    assert [row["tokens"] for row in rows] == [[5, 6, 7, 8], [65_499], [], [9, 10, 11]]
    assert [row["reason"] for row in rows] == [None, None, "empty", None]
    assert spec_read(tmp_path / "x")[0] == [[5, 6, 7, 8, 1], [0, 65_499, 1], [1], [9, 10, 11, 1]]


def test_one_token_for_bos_and_eos_is_taken_off_at_both_ends(tmp_path):
    spec_write(tmp_path / "x", [[[7, 5, 7]], [[7, 7, 7]], [[7, 7]], [[7]], [[5]]], "uint16")
    rows = read(megatron.open_files([f"{tmp_path}/x"]), bos=7, eos=7)
    assert [row["tokens"] for row in rows] == [[5], [7], [], [], [5]]


# Packed sequences


def packed(
    windows: list[tuple[str, int, int, list[int]]], length: int, room: list[int]
) -> list[dict[str, Any]]:
    """Windows one after the other in sequences; before window n `room[n]` tokens of padding end the sequence, if it
    has so little room left."""
    sequences: list[dict[str, Any]] = []
    row: dict[str, Any] = {"tokens": [], "documents": []}

    def place(tokens: list[int], **span: Any) -> None:
        nonlocal row
        row["documents"].append(
            {**span, "source": "book", "start": len(row["tokens"]), "length": len(tokens)}
        )
        row["tokens"] += tokens
        if len(row["tokens"]) == length:
            sequences.append(row)
            row = {"tokens": [], "documents": []}

    for (name, chunk, epoch, tokens), most in zip(windows, room, strict=True):
        if row["tokens"] and length - len(row["tokens"]) <= most:
            place([9] * (length - len(row["tokens"])), id=None)
        offset = 0
        while offset < len(tokens):
            piece = tokens[offset : offset + length - len(row["tokens"])]
            place(piece, id=name, chunk=chunk, epoch=epoch, offset=offset)
            offset += len(piece)
    if row["tokens"]:
        place([9] * (length - len(row["tokens"])), id=None)
    return sequences


SPAN = pa.struct(
    [("id", pa.string()), ("source", pa.string()), ("start", pa.int32()), ("length", pa.int32())]
    + [(name, pa.int32()) for name in ("chunk", "epoch", "offset")]
)
SHARD = pa.schema([("tokens", pa.list_(pa.int32())), ("documents", pa.list_(SPAN))])


def write_shard(path: str, rows: list[dict[str, Any]], batch: int = 2, schema: pa.Schema = SHARD) -> str:
    batches = [pa.RecordBatch.from_pylist(rows[n : n + batch], schema) for n in range(0, len(rows), batch)]
    storage.write_parquet(path, iter(batches), schema)
    return path


@IN_A_FOLDER
@given(
    data=st.data(), length=st.integers(2, 9), vocabulary_size=st.sampled_from([100, 65_499, 65_500, 129_280])
)
def test_packed_sequences_go_out_as_their_windows(tmp_path, data, length, vocabulary_size):
    ids = st.lists(st.integers(0, vocabulary_size - 1), min_size=1, max_size=30)
    key = st.tuples(st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 1))
    windows = [(*data.draw(key), tokens) for tokens in data.draw(st.lists(ids, max_size=8))]
    room = data.draw(st.lists(st.integers(0, 2), min_size=len(windows), max_size=len(windows)))
    sequences = packed(windows, length, room)
    part = write_shard(f"{tmp_path}/part.parquet", sequences)
    counts: Counter[str] = Counter()
    made = megatron.write(
        f"{tmp_path}/out", vocabulary_size, megatron.packed_documents(part, vocabulary_size, counts)
    )
    found, kind = spec_read(tmp_path / "out")
    assert kind == ("uint16" if vocabulary_size < 65_500 else "int32")
    assert found == [tokens for *_, tokens in windows]
    assert (made.documents, made.tokens) == (len(windows), sum(len(tokens) for *_, tokens in windows))
    assert counts["padding"] + made.tokens == length * len(sequences)
    assert counts["pieces"] == sum(span["id"] is not None for row in sequences for span in row["documents"])


def test_pieces_of_a_window_that_are_apart_stay_apart(tmp_path):
    """What packing puts between two pieces of a window would have to be kept aside to join them."""
    key = ("id", "chunk", "epoch", "offset")
    spans = [("a", 0, 0, 0), ("b", 0, 0, 2), ("a", 0, 0, 2), ("a", 0, 0, 4), ("a", 1, 0, 6), ("a", 1, 1, 8)]
    rows = [
        {"tokens": [n, n], "documents": [dict(zip(key, span, strict=True)) | {"start": 0, "length": 2}]}
        for n, span in enumerate(spans)
    ]
    part = write_shard(f"{tmp_path}/part.parquet", rows)
    megatron.write(f"{tmp_path}/out", None, megatron.packed_documents(part, None, Counter()))
    found, kind = spec_read(tmp_path / "out")
    assert found == [[0, 0], [1, 1], [2, 2, 3, 3], [4, 4], [5, 5]]
    assert kind == "int32"


def test_sequences_that_do_not_say_which_window_go_out_piece_by_piece(tmp_path):
    old = pa.struct([SPAN.field(n) for n in range(4)])
    schema = pa.schema([("tokens", pa.list_(pa.int32())), ("documents", pa.list_(old))])
    part = write_shard(
        f"{tmp_path}/part.parquet", packed([("a", 0, 0, [1, 2, 3, 4, 5])], 3, [0]), schema=schema
    )
    megatron.write(f"{tmp_path}/out", 100, megatron.packed_documents(part, 100, Counter()))
    assert spec_read(tmp_path / "out")[0] == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize("change", [{"length": 2}, {"start": 1}])
def test_spans_that_do_not_cover_a_sequence_are_refused(tmp_path, change):
    rows = packed([("a", 0, 0, [1, 2, 3])], 3, [0])
    rows[0]["documents"][0] |= change
    part = write_shard(f"{tmp_path}/part.parquet", rows)
    with pytest.raises(LodeError, match=r"part\.parquet: `documents` does not cover"):
        list(megatron.packed_documents(part, 100, Counter()))


# Documents of tokens


@IN_A_FOLDER
@given(
    written=st.lists(st.lists(st.integers(2, 99), max_size=6), max_size=9), bos=st.sampled_from([BOS, EOS])
)
def test_documents_of_tokens_go_out_with_bos_and_eos_and_come_back(tmp_path, written, bos):
    rows = [{"id": str(n), "source": "book", "tokens": tokens} for n, tokens in enumerate(written)]
    part = write_shard(f"{tmp_path}/part.parquet", rows, schema=TOKENS)
    counts: Counter[str] = Counter()
    pieces = megatron.token_documents(part, 100, bos, EOS, counts)
    made = megatron.write(f"{tmp_path}/out", 100, pieces)
    filled = [tokens for tokens in written if tokens]
    assert spec_read(tmp_path / "out")[0] == [[bos] * (bos != EOS) + tokens + [EOS] for tokens in filled]
    assert counts == Counter(pieces=len(filled), empty=len(written) - len(filled))
    assert [row["tokens"] for row in read([made], bos=bos)] == filled


def test_windows_have_bos_and_eos_only_where_their_document_begins_and_ends(tmp_path):
    schema = pa.schema([("tokens", pa.list_(pa.int32())), ("first", pa.bool_()), ("last", pa.bool_())])
    edges = [(True, False), (False, False), (False, True), (True, True)]
    rows = [{"tokens": [n + 5], "first": first, "last": last} for n, (first, last) in enumerate(edges)]
    part = write_shard(f"{tmp_path}/part.parquet", rows, schema=schema)
    megatron.write(f"{tmp_path}/out", 100, megatron.token_documents(part, 100, BOS, EOS, Counter()))
    assert spec_read(tmp_path / "out")[0] == [[BOS, 5], [6], [7, EOS], [BOS, 8, EOS]]


@pytest.mark.parametrize("token", [-1, 100])
def test_a_token_that_the_tokenizer_does_not_have_is_not_written(tmp_path, token):
    part = write_shard(f"{tmp_path}/part.parquet", [{"tokens": [3, token]}], schema=TOKENS)
    with pytest.raises(LodeError, match=rf"part\.parquet: token {token} is not in 0…99"):
        megatron.write(f"{tmp_path}/out", 100, megatron.token_documents(part, 100, BOS, EOS, Counter()))
    assert not list(tmp_path.glob("*out*"))


# Whole or not at all


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path):
    def broken():
        yield np.array([3, 4]), np.array([2])
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        megatron.write(f"{tmp_path}/out", 100, broken())
    assert os.listdir(tmp_path) == []
    megatron.write(f"{tmp_path}/out", 100, [(np.array([5]), np.array([1]))])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OSError, match="No space left"):
        megatron.write(f"{tmp_path}/out", 100, broken())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_may_lie_in_an_object_store():
    url = "memory://megatron/out"
    made = megatron.write(url, 100, [(np.array([5, 6, 7]), np.array([2, 1]))])
    assert (made.documents, made.tokens) == (2, 3)
    store = fsspec.filesystem("memory")
    assert sorted(store.ls("/megatron", detail=False)) == ["/megatron/out.bin", "/megatron/out.idx"]
    for given_as in (url, f"{url}.idx", "memory://megatron", "memory://megatron/*.idx"):
        assert [row["tokens"] for row in read(megatron.open_files([given_as]))] == [[5, 6], [7]]


def test_pointers_pass_the_limits_of_32_bits(tmp_path):
    """Files of 12 GB with next to nothing on the disk: the ids are a hole."""
    lengths = np.array([2**31 - 1, 2**31 - 1, 5, 2**31 - 1], "<i4")
    with open(tmp_path / "lengths", "w+b") as file, open(tmp_path / "x.idx", "wb") as index:
        file.write(lengths.tobytes())
        megatron.write_index(index, "<u2", file, len(lengths))
    pointers = np.frombuffer((tmp_path / "x.idx").read_bytes(), "<i8", 4, 34 + 16)
    assert pointers.tolist() == [0, 2 * (2**31 - 1), 4 * (2**31 - 1), 4 * (2**31 - 1) + 10]
    with open(tmp_path / "x.bin", "wb") as ids:
        ids.truncate(2 * int(lengths.sum(dtype=np.int64)))
        ids.seek(4 * (2**31 - 1))
        ids.write(np.array([BOS, 5, 6, 7, EOS], "<u2").tobytes())
    rows = read(megatron.open_files([f"{tmp_path}/x"]))
    assert [row["tokens"] for row in rows] == [[], [], [5, 6, 7], []]
    assert [row["reason"] for row in rows] == ["too_long", "too_long", None, "too_long"]
    assert rows[0]["detail"] == "2147483647 tokens"


def test_a_document_that_does_not_fit_the_format_is_refused(tmp_path):
    with pytest.raises(LodeError, match=r"2\^31 tokens"):
        megatron.write(f"{tmp_path}/out", 100, [(np.empty(0, np.int32), np.array([2**31]))])


# Damage


def change(at: int, form: str, *values: object):
    packed = struct.pack(f"<{form}", *values)
    return lambda content: content[:at] + packed + content[at + len(packed) :]


# Three sequences of 2, 1 and 3 tokens in two documents, uint16.
DAMAGE = {
    "bin cut off": (".bin", lambda c: c[:-1], r"x\.bin: 11 bytes, but .* tells of 12; one of them is cut off"),
    "bin of another": (".bin", lambda c: c + c, r"x\.bin: 24 bytes, but .* is of another dataset"),
    "idx cut off": (".idx", lambda c: c[:-8], r"x\.idx: 86 bytes, but its header tells of 94"),
    "idx in the header": (".idx", lambda c: c[:20], r"x\.idx: not the index of a Megatron dataset"),
    "idx empty": (".idx", lambda c: b"", r"x\.idx: not the index of a Megatron dataset"),
    "another magic": (".idx", change(0, "6s", b"TNTIDX"), r"x\.idx: not the index of a Megatron dataset"),
    "another version": (".idx", change(9, "Q", 2), r"x\.idx: version 2"),
    "floats": (".idx", change(17, "B", 7), r"x\.idx: its ids are of type 7"),
    "no such type": (".idx", change(17, "B", 9), r"x\.idx: its ids are of type 9"),
    "another type": (".idx", change(17, "B", 4), r"x\.idx: sequence 1 does not begin where"),
    "billions of sequences": (".idx", change(18, "Q", 2**62), r"x\.idx: 94 bytes, but its header"),
    "a negative length": (".idx", change(34, "i", -2), r"x\.idx: sequence 0 does not begin"),
    "a pointer": (".idx", change(34 + 12 + 8, "q", 2**40), r"x\.idx: sequence 1 does not begin"),
    "no first document": (".idx", change(70, "q", 1), r"x\.idx: a document ends before it begins"),
    "documents backwards": (".idx", change(70, "2q", 0, 9), r"x\.idx: a document ends before it begins"),
    "documents end early": (".idx", change(86, "q", 2), r"x\.idx: the last document does not end"),
    "no documents at all": (".idx", lambda c: change(26, "Q", 0)(c)[:70], r"x\.idx: the last document"),
}  # fmt: skip


@pytest.mark.parametrize("entries", [1, 1000])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_clear_sentence(tmp_path, damage, entries, monkeypatch):
    monkeypatch.setattr(megatron, "ENTRIES", entries)
    spec_write(tmp_path / "x", [[[2, 3], [4]], [[5, 6, 7]]], "uint16")
    ending, apply, sentence = DAMAGE[damage]
    file = tmp_path / f"x{ending}"
    file.write_bytes(apply(file.read_bytes()))
    with pytest.raises(LodeError, match=sentence):
        megatron.open_files([f"{tmp_path}/x"])


@IN_A_FOLDER
@given(data=st.data(), written=documents(300))
def test_a_changed_byte_of_the_index_is_refused_or_loses_no_token(tmp_path, data, written):
    spec_write(tmp_path / "x", written, "uint16")
    index = tmp_path / "x.idx"
    content = bytearray(index.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    index.write_bytes(content)
    try:
        rows = read(megatron.open_files([f"{tmp_path}/x"]), bos=-1, eos=-1)
    except LodeError as error:
        assert str(tmp_path) in str(error)
    else:
        tokens = list(itertools.chain.from_iterable(joined(written)))
        assert list(itertools.chain.from_iterable(row["tokens"] for row in rows)) == tokens


def test_an_index_without_any_entry(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"")
    (tmp_path / "x.idx").write_bytes(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, 0, 0))
    with pytest.raises(LodeError, match=r"x\.idx: the last document does not end with the last sequence"):
        megatron.open_files([f"{tmp_path}/x"])


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(LodeError, match=r"nothing\.idx: there is no such file"):
        megatron.open_files([f"{tmp_path}/nothing"])
    (tmp_path / "x.idx").write_bytes(b"")
    with pytest.raises(LodeError, match=r"x\.bin: there is no such file; ids and index lie side by side"):
        megatron.open_files([f"{tmp_path}/x"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.bin").write_bytes(b"")
    with pytest.raises(LodeError, match=r"empty: no file in this folder ends in \.idx"):
        megatron.open_files([f"{tmp_path}/empty"])


def test_a_token_that_the_tokenizer_does_not_have_is_named(tmp_path):
    spec_write(tmp_path / "x", [[[2, 3]], [], [[4], [500, 5]]], "int32")
    with pytest.raises(LodeError, match=r"x\.bin: document 2 has the token 500, but the tokenizer has 500 "):
        read(megatron.open_files([f"{tmp_path}/x"]), 500)
    spec_write(tmp_path / "x", [[[2, -3]]], "int64")
    with pytest.raises(LodeError, match="document 0 has the token -3"):
        read(megatron.open_files([f"{tmp_path}/x"]))


def test_documents_of_files_with_one_name_have_ids_of_their_own(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        spec_write(tmp_path / folder / "data_text_document", [[[2]], [[3]]], "uint16")
    files = megatron.open_files([str(tmp_path), f"{tmp_path}/a/data_text_document.bin"])
    assert [file.name for file in files] == ["a/data_text_document", "b/data_text_document"]
    rows = read(files)
    assert len({row["id"] for row in rows}) == len(rows) == 4
    alone = read(megatron.open_files([f"{tmp_path}/a"]))
    assert [stripped(row["tokens"]) for row in alone] == [[2], [3]]
