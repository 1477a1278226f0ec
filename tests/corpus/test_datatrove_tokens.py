"""datatrove's token files: bytes that it wrote itself, and a writer made from its format with struct alone."""

import itertools
import pathlib
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus import datatrove_tokens, token_files
from corpus.errors import LodeError
from tests.corpus.token_documents import documents, imported_is_exact, read

IN_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def spec_write(path: pathlib.Path, written: list[list[int]], width: int, metadata: bool = True) -> None:
    ids = list(itertools.chain.from_iterable(written))
    ends = list(itertools.accumulate(map(len, written)))
    path.write_bytes(struct.pack(f"<{len(ids)}{'H' if width == 2 else 'I'}", *ids))
    path.with_name(f"{path.name}.index").write_bytes(struct.pack(f"<{len(ends)}Q", *ends))
    if metadata:
        text = f"org/tokenizer|{width}\n{len(ids)}\n{len(ids)} T"
        path.with_name(f"{path.name}.metadata").write_text(text)


@IN_A_FOLDER
@given(data=st.data(), width=st.sampled_from([2, 4]), metadata=st.booleans(), block=st.integers(1, 12))
def test_documents_come_in_as_they_were_written(tmp_path, data, width, metadata, block):
    most = 65_535 if width == 2 else 129_279
    written = [list(itertools.chain.from_iterable(document)) for document in data.draw(documents(most))]
    for file in tmp_path.iterdir():
        file.unlink()
    spec_write(tmp_path / "00000.ds", written, width, metadata)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_files, "BLOCK_TOKENS", block)
        patch.setattr(token_files, "BLOCK_ENTRIES", 3)
        patch.setattr(datatrove_tokens, "BLOCK_ENTRIES", 2)
        imported_is_exact(lambda: datatrove_tokens.open_files([str(tmp_path)]), written, most + 1)


def test_what_datatrove_wrote_is_read(tmp_path):
    """DocumentTokenizer and DocumentTokenizerMerger of datatrove 0.10.1 on four small texts, with GPT-2's tokenizer
    and with DeepSeek-V3's and loss masks; the expected ids are those of `tokenizers`."""
    two, four = tmp_path / "two", tmp_path / "four"
    two.mkdir()
    four.mkdir()
    ids = "2200570133158501130b0d0050c4ac7b46286700a770e40050c457001c036001c60050c49104760350c4"
    ends = "07000000000000000d0000000000000012000000000000001500000000000000"
    (two / "000_all.ds").write_bytes(bytes.fromhex(ids))
    (two / "000_all.ds.index").write_bytes(bytes.fromhex(ends))
    (two / "000_all.ds.metadata").write_text("gpt2.json|2\n21\n21.0 T")
    (two / "all.ds.metadata").write_text("gpt2.json|2\n21\n21.0 T")  # of all files, without one of its own
    rows = read(datatrove_tokens.open_files([str(two)]), 50_257, bos=50_256, eos=50_256)
    assert [row["tokens"] for row in rows] == [
        [34, 343, 5427, 389, 2835, 13], [31660, 10310, 103, 28839, 228], [87, 796, 352, 198], [1169, 886],
    ]  # fmt: skip
    ids = (
        "60770100ca1b0000dd010000dd1a000010000000010000002104000009160000010000005a000000b6010000df00000013000000"
        "c9000000010000000d070000f205000001000000"
    )
    ends = "060000000000000009000000000000000f000000000000001200000000000000"
    (four / "000_all.ds").write_bytes(bytes.fromhex(ids))
    (four / "000_all.ds.index").write_bytes(bytes.fromhex(ends))
    (four / "000_all.ds.loss").write_bytes(b"\x01" * 18)
    (four / "000_all.ds.metadata").write_text("deepseek.json|4\n18\n18.0 T")
    rows = read(datatrove_tokens.open_files([f"{four}/000_all"]))
    assert [row["tokens"] for row in rows] == [
        [96096, 7114, 477, 6877, 16], [1057, 5641], [90, 438, 223, 19, 201], [1805, 1522],
    ]  # fmt: skip


def test_a_loss_mask_that_leaves_tokens_out_is_refused(tmp_path):
    spec_write(tmp_path / "x.ds", [[2, 3, 4], [5]], 2)
    mask = tmp_path / "x.ds.loss"
    mask.write_bytes(b"\x01\x01\x01\x01")
    assert [row["tokens"] for row in read(datatrove_tokens.open_files([str(tmp_path)]))] == [[2, 3, 4], [5]]
    mask.write_bytes(b"\x01\x01\x00\x01")
    with pytest.raises(LodeError, match=r"x\.ds\.loss: takes tokens out of the loss, from token 2 on"):
        read(datatrove_tokens.open_files([str(tmp_path)]))
    mask.write_bytes(b"\x01\x01")
    with pytest.raises(LodeError, match=r"x\.ds\.loss: the file ends too soon"):
        read(datatrove_tokens.open_files([str(tmp_path)]))


# Three tokens in two documents, uint16.
DAMAGE = {
    "cut off": ("x.ds", lambda c: c[:-2], r"x\.ds: 4 bytes, but .*x\.ds\.index tells of 3 tokens"),
    "cut in a token": ("x.ds", lambda c: c[:-1], r"x\.ds: 5 bytes"),
    "empty": ("x.ds", lambda c: b"", r"x\.ds: 0 bytes"),
    "index cut off": ("x.ds.index", lambda c: c[:-3], r"x\.ds\.index: not a whole number of 8-byte entries"),
    "index too short": ("x.ds.index", lambda c: c[:-8], r"x\.ds: 6 bytes, but .* tells of 2 tokens"),
    "index empty": ("x.ds.index", lambda c: b"", r"x\.ds: 6 bytes, but .* tells of 0 tokens"),
    "index backwards": ("x.ds.index", lambda c: c[::-1], r"x\.ds\.index: a document ends before it begins"),
    "metadata of another": ("x.ds.metadata", lambda c: b"t|4\n3\n3", r"x\.ds: 6 bytes, but .* tells of 3 tokens"),
}  # fmt: skip


@pytest.mark.parametrize("entries", [1, 1000])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_clear_sentence(tmp_path, damage, entries, monkeypatch):
    monkeypatch.setattr(datatrove_tokens, "BLOCK_ENTRIES", entries)
    spec_write(tmp_path / "x.ds", [[2, 3], [4]], 2)
    name, apply, sentence = DAMAGE[damage]
    file = tmp_path / name
    file.write_bytes(apply(file.read_bytes()))
    with pytest.raises(LodeError, match=sentence):
        datatrove_tokens.open_files([str(tmp_path)])


def test_a_file_without_an_index(tmp_path):
    (tmp_path / "x.ds").write_bytes(b"\x02\x00")
    with pytest.raises(LodeError, match=r"x\.ds\.index is missing, and with it where documents end"):
        datatrove_tokens.open_files([str(tmp_path)])


@IN_A_FOLDER
@given(data=st.data(), written=st.lists(st.lists(st.integers(0, 300), max_size=5), min_size=1, max_size=8))
def test_a_changed_byte_of_the_index_is_refused_or_loses_no_token(tmp_path, data, written):
    spec_write(tmp_path / "x.ds", written, 2)
    index = tmp_path / "x.ds.index"
    content = bytearray(index.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    index.write_bytes(content)
    try:
        rows = read(datatrove_tokens.open_files([str(tmp_path)]), bos=-1, eos=-1)
    except LodeError as error:
        assert str(tmp_path) in str(error)
    else:
        tokens = list(itertools.chain.from_iterable(written))
        assert list(itertools.chain.from_iterable(row["tokens"] for row in rows)) == tokens
