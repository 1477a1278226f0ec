"""Faults that were found once, each as small as it can be shown."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import DOCUMENT
from corpus.tokens import TextTokenizer, train_tokenizer
from filters.language import Language
from filters.quality import Quality
from jobs.engine import HERE, Account, Work, limited, open_dataset, summary
from jobs.progress import Progress
from jobs.recipe import load_recipe
from jobs.repository_inputs import distinct_names
from jobs.spark import ROOMS, Spark, code_files, room_files, rooms_folder
from jobs.worker import Counts, read_counts
from tests.jobs.conftest import environment, lode
from tests.jobs.test_cli import sentence


@pytest.fixture
def work(tmp_path):
    with Work(str(tmp_path / "work"), Spark(None, {}, str(tmp_path / "log")), Progress(quiet=True)) as folder:
        yield folder


def one_row(folder: str) -> Account:
    storage.write_text(storage.join(folder, "part-00000.parquet"), "x")
    return Account(Counts(1, 1, 1))


def dataset(folder: pathlib.Path, **columns) -> str:
    rows = {
        "id": ["a", "b"],
        "text": ["one text", "another text"],
        "url": ["https://x.org/1", "https://x.org/2"],
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(rows | columns), folder / "part-00000.parquet")
    return str(folder)


def test_a_folder_named_like_a_recipe_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "quickstart").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_recipe("quickstart").name == "quickstart"


def test_a_stage_without_its_manifest_is_made_again(work):
    work.stage("pages", (), {}, {}, one_row)
    (pathlib.Path(work.folder) / "pages" / "_lode.json").unlink()
    assert work.stage("pages", (), {}, {}, one_row).manifest["rows_in"] == 1


def test_scratch_files_of_killed_processes_go(work):
    work.stage("pages", (), {}, {}, one_row)
    scratch = pathlib.Path(work.folder) / "pages" / f".model.bin.{'0' * 32}"
    scratch.write_bytes(b"2 GB")
    work.stage("pages", (), {"changed": 1}, {}, one_row)
    assert not scratch.exists()


def test_a_stage_is_never_written_over_another_ones_folder(finished, tmp_path):
    for out in (finished / "pages", finished):
        done = lode("dedup", "--input", str(finished / "pages"), "--out", str(out), "--master", "local[1]")
        assert "choose another folder" in sentence(done)
    assert list((finished / "pages").glob("part-*.parquet"))


def test_counts_are_read_below_hidden_folders(tmp_path):
    folder = tmp_path / ".hidden" / "stage"
    storage.write_json(str(folder / "_counts" / "part-00000.json"), Counts(2, 2, 2).as_json())
    assert [c.rows_in for c in read_counts(str(folder))] == [2]


def test_a_line_of_blanks_costs_no_more_than_its_length():
    rules = Quality((), 0, 10**9, 0.0, 1.0, 1.0)
    assert rules.judge("word " + " " * 2_000_000, Language("en", 1.0))[0] is None


def test_a_store_is_written_like_a_disk():
    storage.write_json("memory://regressions/y.json", {"whole": True})
    assert storage.read_json("memory://regressions/y.json") == {"whole": True}
    storage.remove("memory://regressions/y.json")
    assert not storage.exists("memory://regressions/y.json")


def test_truncation_in_a_tokenizer_file_is_not_obeyed(tmp_path):
    trained = train_tokenizer(iter(["some words to learn from"] * 5), 300)
    trained.enable_truncation(5)
    trained.enable_padding(length=40)
    (tmp_path / "t.json").write_text(trained.to_str())
    loaded = TextTokenizer.load(str(tmp_path / "t.json"))
    text = "some words to learn from and many more of them"
    assert loaded.decode(loaded.encode(text)) == text


def test_repositories_of_one_name_are_told_apart():
    assert distinct_names(["/a/alice/utils", "/a/bob/utils", "/a/bob/tools"]) == [
        ("alice/utils", "/a/alice/utils"),
        ("bob/utils", "/a/bob/utils"),
        ("tools", "/a/bob/tools"),
    ]


def test_a_limit_takes_names_in_their_order():
    names = [f"file{i}" for i in range(50_000)]
    taken = limited(names, 20_000, seed=1)
    assert len(taken) == 20_000 and taken == sorted(taken, key=lambda n: int(n[4:]))


def test_a_stage_depends_on_everything_that_its_modules_import():
    found = {str(f.relative_to(rooms_folder())) for f in code_files(("corpus/extract.py", "jobs/web.py"))}
    assert {"corpus/mathml_symbols.py", "corpus/delimiters.py", "corpus/schema.py", "jobs/web.py"} <= found
    assert "jobs/recipe.py" not in found and "pretrain/model.py" not in found
    with pytest.raises(ValueError, match="no such room"):
        room_files(("corpus/nothing.py",))
    assert len(room_files(ROOMS)) > 100


def test_datasets_are_checked_before_anything_runs(tmp_path):
    with pytest.raises(LodeError, match="'id' is int64; text was expected"):
        open_dataset(dataset(tmp_path / "a", id=[1, 2]))
    with pytest.raises(LodeError, match="'url' is int64; text was expected"):
        open_dataset(dataset(tmp_path / "url", url=[1, 2]))
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "text": "b"}\n')
    with pytest.raises(LodeError, match=r"rows\.jsonl: not a Parquet file; convert it first"):
        open_dataset(str(tmp_path / "rows.jsonl"))
    with pytest.raises(LodeError, match="'reason' has a meaning of its own"):
        open_dataset(dataset(tmp_path / "b", reason=["x", "y"]))
    (tmp_path / "c").mkdir()
    pq.write_table(pa.Table.from_pylist([], DOCUMENT), tmp_path / "c" / "part-00000.parquet")
    (tmp_path / "c" / "_running.json").write_text("{}")
    with pytest.raises(LodeError, match="did not finish"):
        open_dataset(str(tmp_path / "c"))
    parts = tmp_path / "d"
    parts.mkdir()
    for number, more in enumerate(({"url": "u"}, {})):
        pq.write_table(pa.Table.from_pylist([{"id": "a", "text": "b", **more}]), parts / f"{number}.parquet")
    with pytest.raises(
        LodeError, match=r"1\.parquet: the column 'url' is missing, but in .*0\.parquet it is string"
    ):
        open_dataset(str(parts))


def test_a_line_about_a_stage_names_a_fourth_reason_itself():
    manifest = {
        "rows_in": 20,
        "rows_out": 5,
        "unit": "documents",
        "dropped": {"a": 5, "b": 4, "c": 3, "d": 3},
    }
    assert summary(manifest).endswith("dropped: 5 a, 4 b, 3 c, 3 d")
    assert summary(manifest | {"dropped": manifest["dropped"] | {"e": 1}}).endswith("5 a, 4 b, 3 c, 4 others")


def test_a_stage_that_is_a_work_folder_spares_what_is_not_its_own(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years of work")
    with (
        Work(str(tmp_path / "work"), Spark(None, {}, "log"), Progress(quiet=True)) as folder,
        pytest.raises(LodeError, match=r"holds other things \(thesis.tex"),
    ):
        folder.stage(HERE, (), {}, {}, one_row)
    assert (tmp_path / "work" / "thesis.tex").read_text() == "years of work"


def test_a_stage_that_is_a_work_folder_is_written_anew_beside_what_came_later(tmp_path):
    with Work(str(tmp_path), Spark(None, {}, "log"), Progress(quiet=True)) as folder:
        folder.stage(HERE, (), {"a": 1}, {}, one_row)
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "part-00007.parquet").write_text("of the stage before")
        folder.stage(HERE, (), {"a": 2}, {}, one_row)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "part-00007.parquet").exists() and (tmp_path / "_lode.json").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        ("mixture.weights={algebra=0, rest=0, code=0}", "all of them are 0"),
        ("mixture.weights.code=inf", "mixture.weights.code"),
        ("pack.sequence_length=8", "pack.sequence_length"),
        ("pack.held_out_tokens=-1", "pack.held_out_tokens"),
        ("mine.rest.name='code'", "two sources of the mixture are called 'code'"),
        ("mine.targets={'../x'={seeds=['installed:numpy.fft']}}", "mine.targets"),
    ],
)
def test_settings_that_cannot_work_are_refused(recipe, change, message):
    with pytest.raises(LodeError, match=message.replace(".", r"\.")):
        load_recipe(str(recipe), [change])


def test_settings_of_spark_are_strings_whatever_they_look_like(recipe):
    assert load_recipe(str(recipe), ["spark.spark.executor.cores=4"]).spark == {"spark.executor.cores": "4"}


def test_nothing_held_out_and_a_work_folder_as_url(finished, recipe, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "w")
    done = lode("run", str(recipe), "--work", f"file://{tmp_path / 'w'}", "--master", "local[2]",
                "--set", "pack.held_out_tokens=0", "--set", "train.steps=2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "w/heldout/_lode.json").read_text())["rows_out"] == 0
    assert (tmp_path / "w/run/hf/model.safetensors").exists()


def test_ctrl_c_is_one_sentence(recipe, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "run", str(recipe), "--work", str(tmp_path / "w"), "--master", "local[1]"],
        env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not (tmp_path / "w" / "pages" / "_running.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "lode: stopped; run the same command again to go on."
    assert "Traceback" not in said


def test_bad_options_and_masters_are_sentences(finished, recipe, tmp_path):
    done = lode("pack", "--input", f"{finished / 'pages'}=-1", "--tokenizer",
                str(finished / "tokenizer" / "tokenizer.json"), "--out", str(tmp_path / "o"))  # fmt: skip
    assert "weights" in sentence(done) and "pydantic" not in done.stderr
    done = lode("run", str(recipe), "--work", str(tmp_path / "w"), "--master", "foo")
    assert "expected local[N], spark://host:port" in sentence(done)
    assert "no statement" in sentence(lode("inspect", str(finished), "--sql", ";"))


def test_a_model_is_asked_in_its_own_vocabulary(finished, tmp_path):
    (tmp_path / "other.json").write_text(train_tokenizer(iter(["other words"] * 9), 280).to_str())
    done = lode("generate", str(finished / "run"), "x", "--tokenizer", str(tmp_path / "other.json"))
    assert "this is not the tokenizer that" in sentence(done)
