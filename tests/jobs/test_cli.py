"""What a user sees when something is wrong: one sentence, exit status 1, no traceback."""

import json
import os
import pathlib
import stat
import subprocess

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli_corpus import duplicates_found
from tests.jobs.conftest import lode


def sentence(done) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "Traceback" not in done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("lode: "), done.stderr
    return last


def fake_java(folder: pathlib.Path, version: str) -> pathlib.Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    return folder


def test_a_missing_recipe(tmp_path):
    assert "there is no such file" in sentence(lode("run", str(tmp_path / "none.toml")))


def test_a_missing_input(recipe, tmp_path):
    done = lode("run", str(recipe), "--work", str(tmp_path / "w"), "--set",
                f"sources.documentation.input=['{tmp_path}/nowhere.warc.gz']")  # fmt: skip
    assert "nowhere.warc.gz: there is no such file" in sentence(done)


def test_an_empty_warc(recipe, tmp_path):
    (tmp_path / "empty.warc.gz").write_bytes(b"")
    done = lode("run", str(recipe), "--work", str(tmp_path / "w"), "--set",
                f"sources.documentation.input=['{tmp_path}/empty.warc.gz']")  # fmt: skip
    assert "no page in any of the 1 input files" in sentence(done)
    assert "no text came out of it" in sentence(lode("extract", str(tmp_path / "empty.warc.gz")))


def test_the_crawl_is_not_written_over(tmp_path):
    """A stage's folder is emptied before it is written."""
    page = tmp_path / "out" / "crawl" / "page.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>Text of a page.</p>")
    said = sentence(lode("extract", str(page.parent), "--out", str(tmp_path / "out")))
    assert "which the command reads, is in there" in said and page.exists()


def test_one_file_on_the_screen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<title>T</title><p>Where \\(x^2 = 1\\) holds.</p>")
    assert lode("extract", str(page)).stdout == "Where $x^2 = 1$ holds.\n"
    (row,) = json.loads(lode("extract", "--json", str(page)).stdout)
    assert row["title"] == "T" and row["formulas"] == 1 and "reason" not in row
    page.write_text("")
    assert sentence(lode("extract", str(page))).endswith("no text came out of it: no page is in it.")
    (tmp_path / "lost.html").symlink_to(tmp_path / "nowhere")
    assert "lost.html: this link leads nowhere" in sentence(lode("extract", str(tmp_path)))


def test_a_file_where_the_work_folder_should_be(recipe, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "this is a file" in sentence(lode("run", str(recipe), "--work", str(tmp_path / "file")))


def test_a_folder_where_a_file_should_be(recipe, tmp_path):
    assert "this is a folder" in sentence(lode("run", str(tmp_path)))
    done = lode(
        "run", str(recipe), "--work", str(tmp_path / "w"), "--set", f"tokenizer={{path='{tmp_path}'}}"
    )
    assert "tokenizer" in sentence(done)


def test_a_java_that_is_too_old(recipe, tmp_path):
    home = fake_java(tmp_path / "jdk8", "1.8.0_392")
    done = lode("run", str(recipe), "--work", str(tmp_path / "w"), JAVA_HOME=str(home))
    assert "is Java 8, and Spark 4.3 needs Java 17 or 21" in sentence(done)


def test_a_full_disk(recipe, tmp_path):
    """A file system of 3 MB in memory, where the system lets a test mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True
        ).returncode
    ):
        pytest.skip("this test mounts a small file system, which needs root")
    try:
        done = lode("run", str(recipe), "--work", str(disk / "work"), "--master", "local[2]")
        assert "No space left on device" in sentence(done)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_folder_in_use_and_a_folder_with_other_things(recipe, finished, tmp_path):
    import fcntl

    with open(finished / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another lode is working in this folder" in sentence(
            lode("run", str(recipe), "--work", str(finished))
        )
    (tmp_path / "precious.txt").write_text("do not delete")
    done = lode("dedup", "--input", str(finished / "pages"), "--out", str(tmp_path), "--master", "local[1]")
    assert "holds other things" in sentence(done)
    assert (tmp_path / "precious.txt").read_text() == "do not delete"


def test_missing_columns_and_unknown_stages(recipe, finished, tmp_path):
    done = lode("dedup", "--input", str(finished / "shards"), "--out", str(tmp_path / "o"))
    assert "the column 'id' is missing" in sentence(done)
    done = lode("run", str(recipe), "--work", str(tmp_path / "w"), "--until", "shard")
    assert "did you mean 'shards'?" in sentence(done)


def test_what_dedup_says_of_itself():
    about = {"bands": 17, "rows": 7, "pairs_compared": 1098, "pairs_alike": 567, "against": []}
    settings = {"jaccard": 0.8, "verify": True, "earlier": "drop"}
    manifest = {"deduplication": about, "parameters": settings, "rows_dropped": 3}
    said = duplicates_found(manifest, "my folder")
    assert "find 98.2% of the pairs at 0.8" in said and "1,098 pairs that were compared 567" in said
    assert "lode inspect 'my folder' --sql" in said and "corpus" not in said
    about["against"] = ["/earlier"]
    assert "FROM clusters WHERE corpus" in duplicates_found(manifest, "out")
    settings |= {"verify": False, "earlier": "report"}
    said = duplicates_found(manifest, "out")
    assert "was not compared" in said and "FROM matches WHERE corpus" in said
    assert "inspect" not in duplicates_found(
        manifest | {"rows_dropped": 0, "deduplication": about | {"against": []}}, "out"
    )


def test_help_reads_like_a_table_of_contents():
    done = lode("--help")
    assert done.returncode == 0
    commands = (
        "quickstart run extract mine classify dedup decontaminate repos graph order tokenizer pack inspect"
    )
    for command in f"{commands} report review train generate evaluate export import".split():
        assert f" {command} " in done.stdout


def test_one_page_prints_its_text(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<html><head><title>Circle</title></head><body><main><h1>Circle</h1><p>The area of a circle of radius r is "
        '<script type="math/tex; mode=display">\\pi r^2</script> as everybody knows since Archimedes.</p>'
        "</main></body></html>"
    )
    done = lode("extract", str(page))
    assert done.returncode == 0, done.stderr
    assert "$$\\pi r^2$$" in done.stdout.replace(" $$", "$$").replace("$$ ", "$$")


def test_commands_work_one_by_one(finished, tmp_path):
    """Each command on the documents of a finished run, its JSON balancing like any stage."""

    def run(*arguments):
        done = lode(*arguments, "--master", "local[2]", "--quiet", "--json")
        assert done.returncode == 0, done.stderr
        manifest = json.loads(done.stdout)
        assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_dropped"]
        return manifest

    assert run("dedup", "--input", str(finished / "pages"), "--out", str(tmp_path / "d"))["rows_out"] > 0
    items = tmp_path / "items.jsonl"
    items.write_text(
        json.dumps({"id": "x", "question": "a question of which no page here has ever heard a word"})
    )
    run(
        "decontaminate",
        "--input",
        str(tmp_path / "d"),
        "--benchmarks",
        str(items),
        "--out",
        str(tmp_path / "c"),
    )
    archives = tmp_path / "repository"
    (archives / "pkg").mkdir(parents=True)
    (archives / "pkg" / "a.py").write_text("from pkg import b\n\nprint(b.VALUE)\n")
    (archives / "pkg" / "b.py").write_text("VALUE = 'something to be imported by a'\n")
    run("repos", str(archives), "--out", str(tmp_path / "files"))
    tokenizer = str(finished / "tokenizer" / "tokenizer.json")
    windows = ("--order", "clustered", "--window", "200", "--tokenizer", tokenizer)
    run("order", "--input", str(tmp_path / "files"), "--out", str(tmp_path / "ordered"), *windows)
    done = lode("order", str(archives), *windows, "--json")
    view = json.loads(done.stdout)
    assert [[part["path"] for part in sample] for sample in view["samples"]] == [["pkg/b.py", "pkg/a.py"]]
    assert (view["sample"], view["edges_in_sample"]) == ("window", 1.0)
    done = lode("order", str(archives), "--order", "clustered", "--samples", "component")
    assert done.returncode == 1 and "samples" in done.stderr and "Traceback" not in done.stderr
    done = lode("graph", str(archives), "--svg", str(tmp_path / "graph.svg"), "--json")
    assert (tmp_path / "graph.svg").read_text().count("pkg/a.py → pkg/b.py") == 1
    assert {(e["source"], e["target"]) for e in json.loads(done.stdout)["edges"]} == {
        ("pkg/a.py", "pkg/b.py")
    }
    done = lode(
        "tokenizer",
        "check",
        str(finished / "tokenizer" / "tokenizer.json"),
        "--input",
        str(tmp_path / "d"),
        "--json",
    )
    assert json.loads(done.stdout)["changed"] == 0
    run("pack", "--input", f"{tmp_path / 'c'}=0.7", "--input", f"{tmp_path / 'ordered'}=0.0", "--tokenizer",
        str(finished / "tokenizer" / "tokenizer.json"), "--sequence-length", "64", "--held-out-tokens", "500",
        "--out", str(tmp_path / "packed"))  # fmt: skip
    done = lode("inspect", str(tmp_path / "d"), "--sql", "select count(*) as n from documents", "--json")
    assert json.loads(done.stdout) == [{"n": json.loads((tmp_path / "d/_lode.json").read_text())["rows_out"]}]
    done = lode("generate", str(finished / "run"), "import", "--tokenizer",
                str(finished / "tokenizer" / "tokenizer.json"), "--tokens", "4")  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("import")


def test_one_classifier_alone(tmp_path):
    """`lode classify train` and `score`, also with a model that fastText's own package has trained."""
    kinds = {"yes": "theorem proof lemma integral", "no": "butter sugar oven flour"}
    for name, words in kinds.items():
        texts = [f"{words} of the {words.split()[i % 4]}" for i in range(24)]
        rows = [
            {"id": f"{name}{i}", "text": t, "url": f"https://{name}.org/{i}", "domain": f"{name}.org"}
            for i, t in enumerate(texts)
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    made = lode(
        *("classify", "train", "--positives", str(tmp_path / "yes.parquet"), "--bucket", "1000"),
        *("--negatives", str(tmp_path / "no.parquet"), "--out", str(tmp_path / "m.bin")),
    )
    assert made.returncode == 0, made.stderr
    assert "m.bin: " in made.stdout and "m.safetensors: " in made.stdout
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"__label__{name} {words}\n" for name, words in kinds.items()) * 50)
    theirs = fasttext.train_supervised(str(lines), dim=8, bucket=100, wordNgrams=2, thread=1, verbose=0)
    theirs.save_model(str(tmp_path / "theirs.bin"))
    score = ("classify", "score", "--input", str(tmp_path / "yes.parquet"), "--master", "local[2]", "--quiet")
    for name, more, wanted in (
        ("m.safetensors", (), "__label__yes"),
        ("theirs.bin", ("--label", "__label__no"), "__label__no"),
    ):
        out = tmp_path / f"scores of {name}"
        done = lode(*score, "--model", str(tmp_path / name), "--out", str(out), *more)
        assert done.returncode == 0, done.stderr
        model = fasttext.load_model(str((tmp_path / name).with_suffix(".bin")))
        rows = pq.read_table(out / "part-00000.parquet").to_pylist()
        assert len(rows) == 24 and not (out / "_scratch").exists()
        text = "theorem proof lemma integral of the theorem"
        expected = {label: p for p, label in model.f.predict(text + "\n", 2, 0.0, "strict")}[wanted]
        assert rows[0]["score"] == pytest.approx(min(expected, 1), abs=2e-6)
    for model, more, said in (
        ("none.bin", (), "there is no such model"),
        ("theirs.bin", ("--label", "__label__maybe"), "say which of them"),
        ("lines.txt", (), "not a fastText model"),
    ):
        assert said in sentence(
            lode(*score, "--model", str(tmp_path / model), "--out", str(tmp_path / "o"), *more)
        )
