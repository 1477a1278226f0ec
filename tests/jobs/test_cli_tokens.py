import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from corpus.errors import LodeError
from corpus.tokens import SPECIAL
from jobs.cli import app

TEXTS = [
    "def f(x):\n    return x;\n\n",
    "Ein Satz. Noch einer!\n",
    None,
    f"a {SPECIAL['eos'][0]} in a text",
    "",
] * 8


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("documents")
    for part in range(2):
        ids = [f"{part}-{place}" for place in range(len(TEXTS))]
        pq.write_table(pa.table({"id": ids, "text": TEXTS}), folder / f"part-{part}.parquet")
    return str(folder)


@pytest.fixture(scope="module")
def trained(documents, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    done = run("train", "--input", documents, "--vocabulary-size", "300", "--out", path)
    assert "300 entries; trained on" in done
    return path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["tokenizer", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_training_again_gives_the_same_file_and_says_when_the_text_was_too_little(
    documents, trained, tmp_path
):
    again = str(tmp_path / "again.json")
    run("train", "--input", documents, "--vocabulary-size", "300", "--out", again)
    with open(trained) as first, open(again) as second:
        assert first.read() == second.read()
    done = run("train", "--input", documents, "--vocabulary-size", "9000", "--out", again)
    assert "not 9,000: no more pairs" in done


def test_a_check_reads_documents_without_a_language_from_every_part(documents, trained):
    found = json.loads(run("check", trained, "--input", documents, "--documents", "10", "--json"))
    assert found["texts"] == 10 and found["languages"]["unknown"]["texts"] == 10 and found["changed"] == 0
    assert found["special_strings"] == {SPECIAL["eos"][0]: found["texts_with_special_strings"]}
    printed = run("check", trained, "--input", documents, "--documents", "10")
    assert "all of 10 texts come back as they were" in printed and "unknown" in printed
    assert "missing special tokens: none" in printed


def test_errors_name_the_file_or_the_setting(documents, trained, tmp_path):
    with pytest.raises(LodeError, match="200 entries: 256 bytes and 6 special"):
        run("train", "--input", documents, "--vocabulary-size", "200", "--out", str(tmp_path / "x.json"))
    assert not os.path.exists(tmp_path / "x.json")
    nothing = str(tmp_path / "nothing.parquet")
    pq.write_table(pa.table({"id": ["a", "b"], "text": pa.array(["", None], pa.string())}), nothing)
    with pytest.raises(LodeError, match="no text to train"):
        run("train", "--input", nothing, "--out", str(tmp_path / "x.json"))
    with pytest.raises(LodeError, match="no document with a text"):
        run("check", trained, "--input", nothing)
    with pytest.raises(LodeError, match="no such tokenizer"):
        run("check", str(tmp_path / "none.json"), "--input", documents)
