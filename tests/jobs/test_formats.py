"""In and out of the ecosystem: the commands, and what others read."""

import json
import os
import pathlib

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from typer.testing import CliRunner

from corpus import storage
from corpus.errors import LodeError
from jobs import token_files
from jobs.cli import app
from jobs.engine import Work
from jobs.progress import Progress
from jobs.token_files import import_tokens
from tests.corpus.test_datatrove_tokens import spec_write as write_datatrove
from tests.corpus.test_megatron import SHARD, spec_read
from tests.corpus.test_megatron import spec_write as write_megatron
from tests.jobs.conftest import lode


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    """300 entries; BOS is 0 and EOS is 1."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    names = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += [f"entry {n}" for n in range(len(names), 300)]
    made = Tokenizer(models.BPE({name: n for n, name in enumerate(names)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(names[:2])
    made.save(str(path))
    return str(path)


def rows_of(folder: pathlib.Path) -> list[dict]:
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def command(*arguments: str) -> str:
    """A command that needs no Spark, in this process; what it prints."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


DOCUMENTS = [[0, 5, 6, 7, 1], [8], [0, 1], [9, 1], [0, 10, 11], []]
KEPT = [[5, 6, 7], [8], [9], [10, 11]]


def test_megatron_files_become_a_dataset(tmp_path, tokenizer):
    for name in ("first", "second"):
        write_megatron(tmp_path / name, [[document] for document in DOCUMENTS], "uint16")
    done = lode("import", "megatron", f"{tmp_path}/first", f"{tmp_path}/second.bin", "--tokenizer", tokenizer,
                "--out", f"{tmp_path}/old", "--master", "local[2]", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    counts = (manifest[name] for name in ("rows_in", "rows_out", "rows_dropped", "tokens"))
    assert tuple(counts) == (12, 8, 4, 14)
    assert manifest["dropped"] == {"empty": 4}
    assert manifest["special_tokens"]["eos"] == 1 and manifest["vocabulary_size"] == 300
    assert "14 tokens in 8 documents; dropped: 4 empty" in done.stderr
    rows = rows_of(tmp_path / "old")
    assert [row["tokens"] for row in rows] == KEPT * 2
    assert {row["source"] for row in rows} == {"old"}
    dropped = rows_of(tmp_path / "old" / "dropped")
    assert {row["reason"] for row in dropped} == {"empty"}
    assert len({row["id"] for row in rows + dropped}) == 12
    again = lode("import", "megatron", f"{tmp_path}/first", f"{tmp_path}/second", "--tokenizer", tokenizer,
                 "--out", f"{tmp_path}/old")  # fmt: skip
    assert "unchanged" in again.stderr


def test_the_same_rows_however_the_work_is_divided(work, spark, tmp_path, tokenizer, monkeypatch):
    folder = tmp_path / "tokens"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("00000.ds", "00001.ds"):
        documents = [generator.integers(0, 300, n).tolist() for n in generator.integers(0, 30, 40)]
        write_datatrove(folder / name, documents, 2)
    whole = import_tokens(work, "datatrove", [str(folder)], tokenizer, "book")
    monkeypatch.setattr(token_files, "PART_TOKENS", 100)
    with Work(str(tmp_path / "again"), spark, Progress(quiet=True)) as other:
        pieces = import_tokens(other, "datatrove", [str(folder)], tokenizer, "book")
    assert len(pieces.parts) > len(whole.parts) == 2
    assert rows_of(pathlib.Path(whole.folder)) == rows_of(pathlib.Path(pieces.folder))
    for stage in (whole, pieces):
        counts = stage.manifest
        assert counts["rows_in"] == 80 == counts["rows_out"] + counts["rows_dropped"]


def test_files_without_documents_make_an_empty_dataset(work, tmp_path, tokenizer):
    write_megatron(tmp_path / "x", [], "int32")
    made = import_tokens(work, "megatron", [f"{tmp_path}/x"], tokenizer, "book")
    assert made.manifest["rows_in"] == 0
    assert made.schema.names == ["id", "source", "tokens"]


def test_a_token_of_another_tokenizer_is_one_sentence(work, tmp_path, tokenizer):
    write_megatron(tmp_path / "x", [[[2, 300]]], "uint16")
    with pytest.raises(
        LodeError, match=r"x\.bin: document 0 has the token 300, but the tokenizer has 300 entries"
    ):
        import_tokens(work, "megatron", [f"{tmp_path}/x"], tokenizer, "book")


def write_dataset(folder: pathlib.Path, schema: pa.Schema, parts: list[list[dict]], **about: object) -> str:
    for number, rows in enumerate(parts):
        batch = pa.RecordBatch.from_pylist(rows, schema)
        storage.write_parquet(f"{folder}/part-{number:05d}.parquet", iter([batch]), schema)
    storage.write_json(f"{folder}/_lode.json", {"stage": folder.name, "fingerprint": "f"} | about)
    return str(folder)


def sequence(name: str, tokens: list[int], offset: int, padding: int = 0) -> dict:
    span = {"id": name, "source": "s", "start": 0, "length": len(tokens), "chunk": 0, "epoch": 0}
    spans = [span | {"offset": offset}]
    if padding:
        spans.append({"id": None, "start": len(tokens), "length": padding})
    return {"tokens": tokens + [2] * padding, "documents": spans}


def test_shards_become_megatron_files(tmp_path):
    parts = [[sequence("a", [0, 5, 6], 0), sequence("a", [7, 1], 3, 1)], [sequence("b", [0, 8, 1], 0)]]
    facts = {"vocabulary_size": 300, "tokens_per_source": {"s": 8}, "tokenizer_fingerprint": "t"}
    shards = write_dataset(tmp_path / "shards", SHARD, parts, shards=facts)
    made = json.loads(
        command("export", shards, "--format", "megatron", "--out", f"{tmp_path}/out.bin", "--json")
    )
    assert spec_read(tmp_path / "out") == ([[0, 5, 6, 7, 1], [0, 8, 1]], "uint16")
    counts = {name: made[name] for name in ("documents", "tokens", "pieces", "padding", "empty", "type")}
    assert counts == {"documents": 2, "tokens": 8, "pieces": 3, "padding": 1, "empty": 0, "type": "uint16"}
    assert made["bytes"] == sum(os.path.getsize(file) for file in made["files"])


def test_a_part_that_is_missing_is_noticed_and_nothing_is_written(tmp_path):
    facts = {"vocabulary_size": 300, "tokens_per_source": {"s": 9}}
    shards = write_dataset(tmp_path / "shards", SHARD, [[sequence("a", [0, 5, 6], 0)]], shards=facts)
    done = lode("export", shards, "--format", "megatron", "--out", f"{tmp_path}/out")
    assert done.returncode == 1
    assert "3 tokens are there, but its manifest tells of 9; parts are missing" in done.stderr
    assert not list(tmp_path.glob("*out*"))


def test_what_was_imported_goes_out_as_it_came(work, tmp_path, tokenizer):
    documents = [[0, 5, 6, 7, 1], [0, 8, 1]]
    write_megatron(tmp_path / "x", [[document] for document in documents], "uint16")
    made = import_tokens(work, "megatron", [f"{tmp_path}/x"], tokenizer, "book")
    command("export", made.folder, "--format", "megatron", "--out", f"{tmp_path}/y")
    for ending in (".bin", ".idx"):
        assert (tmp_path / f"y{ending}").read_bytes() == (tmp_path / f"x{ending}").read_bytes()


def test_tokens_without_special_ones_need_a_tokenizer(tmp_path, tokenizer):
    schema = pa.schema([("id", pa.string()), ("tokens", pa.list_(pa.int32()))])
    windows = write_dataset(tmp_path / "tokenized", schema, [[{"id": "a", "tokens": [5, 6]}]])
    export = ("export", windows, "--format", "megatron", "--out", f"{tmp_path}/out")
    with pytest.raises(LodeError, match="no EOS yet; give --tokenizer"):
        command(*export)
    command(*export, "--tokenizer", tokenizer)
    assert spec_read(tmp_path / "out")[0] == [[0, 5, 6, 1]]


def test_what_cannot_be_exported_is_one_sentence(tmp_path, tokenizer):
    texts = write_dataset(tmp_path / "texts", pa.schema([("text", pa.string())]), [[{"text": "a"}]])
    with pytest.raises(LodeError, match=r"texts: no column 'tokens'"):
        command("export", texts, "--format", "megatron", "--out", f"{tmp_path}/out")
    facts = {"vocabulary_size": 300, "tokenizer_fingerprint": "another"}
    shards = write_dataset(tmp_path / "shards", SHARD, [[sequence("a", [5], 0)]], shards=facts)
    with pytest.raises(LodeError, match="was made with another one"):
        command(
            "export", shards, "--format", "megatron", "--tokenizer", tokenizer, "--out", f"{tmp_path}/out"
        )
    with pytest.raises(LodeError, match="the beginning of two files' names was expected"):
        command("export", shards, "--format", "megatron", "--out", f"{tmp_path}/")
    with pytest.raises(LodeError, match="there is no such tokenizer file"):
        command("import", "datatrove", texts, "--tokenizer", f"{tmp_path}/t.json", "--out", f"{tmp_path}/i")


# Real shards


def test_shards_of_a_run_are_read_by_megatron_and_come_back(finished, work, tmp_path):
    """The pieces of documents in the shards are the documents of the export, in order, joined where packing cut."""
    command("export", f"{finished}/shards", "--format", "megatron", "--out", f"{tmp_path}/out")
    documents, kind = spec_read(tmp_path / "out")
    assert kind == "uint16"
    tokens = [
        token
        for row in rows_of(finished / "shards")
        for span in row["documents"]
        if span["id"]
        for token in row["tokens"][span["start"] : span["start"] + span["length"]]
    ]
    assert [token for document in documents for token in document] == tokens
    assert len(tokens) == sum(
        json.loads((finished / "shards" / "_lode.json").read_text())["shards"]["tokens_per_source"].values()
    )
    path = str(finished / "tokenizer" / "tokenizer.json")
    made = import_tokens(work, "megatron", [f"{tmp_path}/out"], path, "back")
    back = [row["tokens"] for row in rows_of(pathlib.Path(made.folder))]
    special = made.manifest["special_tokens"]
    bare = [d[d[:1] == [special["bos"]] : len(d) - (d[-1:] == [special["eos"]])] for d in documents]
    assert back == [document for document in bare if document]


def test_others_open_shards(finished, tmp_path):
    datasets = pytest.importorskip("datasets", reason="not installed (a test extra)")
    parts = str(finished / "shards" / "part-*.parquet")
    rows = rows_of(finished / "shards")
    whole = datasets.load_dataset("parquet", data_files=parts, split="train", cache_dir=str(tmp_path))
    assert whole.to_list() == rows
    assert list(datasets.load_dataset("parquet", data_files=parts, split="train", streaming=True)) == rows
    query = "SELECT count(*), min(len(tokens)), max(len(tokens)), sum(list_sum(tokens)) FROM read_parquet($1)"
    with duckdb.connect() as connection:
        found = connection.execute(query, [parts]).fetchall()[0]
    assert found == (len(rows), 128, 128, sum(sum(row["tokens"]) for row in rows))
