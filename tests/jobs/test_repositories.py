"""`lode repos` as a user runs it: any number of cores, any order of the rows, killed and run again, wrong inputs."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.repositories import FILE, read_repository
from jobs import repositories
from jobs.engine import Work, limited
from jobs.progress import Progress
from jobs.recipe import Source
from jobs.repository_inputs import bounds, distinct_names, grouped, parts_of
from tests.jobs.conftest import digests, environment, lode


def archive(path, files):
    with tarfile.open(path, "w:gz") as out:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{path.name}/{name}")
            info.size = len(text.encode())
            out.addfile(info, io.BytesIO(text.encode()))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Sixty small repositories, a broken one among them, and a large one at the end."""
    folder = tmp_path_factory.mktemp("in") / "shelf"
    folder.mkdir()
    chance = random.Random(5)
    for number in range(60):
        names = {
            f"src/m{n}.py": f"import m{n + 1}\nx = {chance.random()}\n" for n in range(chance.randint(1, 6))
        }
        archive(folder / f"r{number:02d}-1.0.tar.gz", names | {"LICENSE": "x\n", "data.bin": "\0"})
    (folder / "broken.zip").write_bytes(b"PK nonsense")
    archive(folder / "zz-1.0.tar.gz", {f"a{n}.py": f"x = {n}\n" * 20 for n in range(1500)})
    return folder


@pytest.fixture(scope="module")
def unbroken(shelf, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "out"
    done = lode("repos", str(shelf), "--out", str(out), "--master", "local[2]")
    assert done.returncode == 0, done.stderr
    assert "62 repositories" in done.stderr
    return out


def rows_of(folder, columns=None):
    return [
        row
        for f in sorted(folder.glob("part-*.parquet"))
        for row in pq.read_table(f, columns=columns).to_pylist()
    ]


def files(work, **source):
    return repositories.files(work, {"s": Source(kind="repositories", **source)}, 0)


def sorted_rows(stage):
    rows = [row for part in stage.parts for row in pq.read_table(part).to_pylist()]
    return sorted(rows, key=lambda row: (row["repository"], row["path"]))


def test_rows_are_those_of_the_reader_and_all_are_accounted_for(shelf, unbroken):
    manifest = json.loads((unbroken / "_lode.json").read_text())
    wanted, reasons = [], {}
    for path in sorted(shelf.iterdir()):
        for row in read_repository(str(path), "repositories", licences=repositories.RepositoryLicences):
            reason = row.pop("reason")
            row.pop("detail")
            if reason:
                reasons[reason] = reasons.get(reason, 0) + 1
            else:
                wanted.append(row | {"characters": len(row["text"])})
    assert rows_of(unbroken) == wanted
    assert manifest["dropped"] == reasons == {"archive_broken": 1, "binary": 60}
    assert manifest["repositories"] == 62 and manifest["rows_in"] == len(wanted) + 61
    written = FILE.append(pa.field("characters", pa.int64()))
    assert pq.read_schema(unbroken / "part-00000.parquet").remove_metadata() == written
    assert len(list(unbroken.glob("part-*"))) > 3


def test_killed_and_run_again_on_one_core(shelf, unbroken, tmp_path):
    out = tmp_path / "out"
    arguments = ["repos", str(shelf), "--out", str(out), "--master", "local[1]"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *arguments], env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(out.glob("_counts/part-*.json")):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {f.name: f.stat().st_mtime_ns for f in out.glob("_counts/part-*.json")}
    made = {name: (out / name.replace(".json", ".parquet")).stat().st_ino for name in finished}
    cut_short = not (out / "_lode.json").exists()
    done = lode(*arguments)
    assert done.returncode == 0, done.stderr
    assert digests(out) == digests(unbroken)
    if cut_short:  # parts that were done are not made again
        assert {name: (out / name.replace(".json", ".parquet")).stat().st_ino for name in made} == made


def tables(folder, rows, count, seed):
    """Rows, shuffled, in the layout of The Stack v2 over some files."""
    folder.mkdir()
    rows = rows.copy()
    random.Random(seed).shuffle(rows)
    names = {"repository": "repo_name", "text": "content", "size": "length_bytes", "blob": "blob_id"}
    for number in range(count):
        part = [
            {names.get(k, k): row[k] for k in ("repository", "path", "text", "size", "blob")}
            for row in rows[number::count]
        ]
        pq.write_table(pa.Table.from_pylist(part), folder / f"train-{number:05d}.parquet")
    return folder


def test_a_table_of_shuffled_rows_gives_the_rows_of_the_archives(unbroken, work, tmp_path):
    rows = rows_of(unbroken)
    one = files(work, input=[str(tables(tmp_path / "a", rows, 3, seed=1))])
    assert one.manifest["repositories"] == 61 and one.manifest["rows_in"] == len(rows)
    wanted = [row | {"source": "s", "id": None, "updated": None, "licence": None} for row in rows]
    assert [row | {"id": None, "updated": None, "licence": None} for row in sorted_rows(one)] == sorted(
        wanted, key=lambda row: (row["repository"], row["path"])
    )
    # Another order, other files, fewer cores: each repository in one part, in order, the same bytes.
    folder = str(tables(tmp_path / "b", rows, 5, seed=2))
    done = lode("repos", folder, "--out", str(tmp_path / "out"), "--source", "s", "--master", "local[1]")
    assert done.returncode == 0, done.stderr
    assert "a table of files in 5 Parquet files" in done.stderr
    seen = [row["repository"] for row in rows_of(tmp_path / "out")]
    assert len({name for name, before in zip(seen, [None, *seen], strict=False) if name != before}) == 61
    assert sum(name != before for name, before in zip(seen, [None, *seen], strict=False)) == 61
    again = sorted(rows_of(tmp_path / "out"), key=lambda row: (row["repository"], row["path"]))
    assert again == sorted_rows(one)


def test_archives_and_a_table_in_many_parts(shelf, unbroken, work, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.repository_inputs.PART_BYTES", (2048, 4096))
    folder = tables(
        tmp_path / "t", [row for row in rows_of(unbroken) if row["repository"] < "r30"], 2, seed=3
    )
    stage = files(work, input=[str(folder), str(shelf / "r40-1.0.tar.gz"), str(shelf / "r41-1.0.tar.gz")])
    assert stage.manifest["repositories"] == 32
    assert len(stage.parts) > 3
    places = {}
    for part in stage.parts:
        for name in pq.read_table(part, columns=["repository"])["repository"].to_pylist():
            places.setdefault(name, set()).add(part)
    assert len(places) == 32 and all(len(parts) == 1 for parts in places.values())


def test_a_limit_takes_whole_repositories_of_a_table(unbroken, work, tmp_path):
    rows = [row for row in rows_of(unbroken) if row["repository"] < "r30"]
    stage = files(work, input=[str(tables(tmp_path / "t", rows, 2, seed=3))], limit=7)
    kept = sorted_rows(stage)
    chosen = {row["repository"] for row in kept}
    assert len(chosen) == stage.manifest["repositories"] == 7
    assert len(kept) == sum(row["repository"] in chosen for row in rows)


def test_a_list_adds_stars_and_counts_what_it_does_not_have(shelf, unbroken, work, tmp_path):
    (tmp_path / "about.csv").write_text(
        "repository,stars,forks,licence,updated,revision\nr00-1.0,5,1,MIT,2024-05-01,v1\nsomeone/r01-1.0,6,,,,\n"
        "a/r02-1.0,1,,,,\nb/r02-1.0,1,,,,\nshelf/r03-1.0,9,,,,\n"
    )
    source = [str(shelf / f"r0{n}-1.0.tar.gz") for n in range(5)]
    stage = files(work, input=source, about=str(tmp_path / "about.csv"))
    stars = {row["repository"]: row["stars"] for row in sorted_rows(stage)}
    assert stars == {"r00-1.0": 5, "r01-1.0": 6, "r02-1.0": None, "r03-1.0": 9, "r04-1.0": None}
    assert stage.manifest["about"] == {"s": {"lines": 5, "unknown": 2}}
    first = sorted_rows(stage)[0]
    assert (first["forks"], first["revision"], str(first["updated"].date())) == (1, "v1", "2024-05-01")
    rows = [row for row in rows_of(unbroken) if row["repository"] < "r05"]
    with Work(str(tmp_path / "other"), work.spark, Progress(quiet=True)) as other:
        found = files(
            other, input=[str(tables(tmp_path / "t", rows, 2, 1))], about=str(tmp_path / "about.csv")
        )
    assert {row["repository"]: row["stars"] for row in sorted_rows(found)}["r00-1.0"] == 5
    assert found.manifest["about"] == {"s": {"lines": 5, "unknown": 4}}


def test_names_of_any_bytes(work, tmp_path):
    folder = tmp_path / "odd"
    (folder / "a\nb").mkdir(parents=True)
    (folder / "a\nb" / "x.py").write_text("x = 1\n")
    os.mkdir(os.path.join(os.fsencode(folder), b"caf\xe9"))
    with open(os.path.join(os.fsencode(folder), b"caf\xe9", b"y.py"), "w") as file:
        file.write("y = 1\n")
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    stage = files(work, input=[f"{folder}/*"])
    assert stage.manifest["dropped"] == {"not_a_repository": 1}
    assert [(row["repository"], row["text"]) for row in sorted_rows(stage)] == [
        ("a\nb", "x = 1\n"),
        ("caf\\udce9", "y = 1\n"),
    ]


def test_a_second_run_notices_what_changed(shelf, work, tmp_path):
    folder = tmp_path / "one"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("x = 1\n")
    first = files(work, input=[str(folder)])
    assert files(work, input=[str(folder)]).manifest == first.manifest
    (folder / "src" / "a.py").write_text("x = 22\n")
    second = files(work, input=[str(folder)])
    assert second.fingerprint != first.fingerprint
    assert [row["text"] for row in sorted_rows(second)] == ["x = 22\n"]


def test_small_repositories_share_parts_and_a_large_one_has_its_own():
    many = grouped([str(n) for n in range(10_000)], [20_000] * 10_000)
    assert sum(map(len, many)) == 10_000 and len(many) == parts_of(10_000, 10_000 * 20_000) <= 256
    few = grouped(list("abcde"), [1, 1, 100 << 20, 1, 1])
    assert few == [("a", "b"), ("c",), ("d", "e")]
    assert bounds(10**7, 10**13) == (512, 64 << 20)


def test_names_of_repositories_side_by_side_differ():
    paths = ["/a/x.tar.gz", "/a/x.zip", "/b/x.zip", "/b/y", "/c/d.zip", "/c/d.zip.zip", "/c/d"]
    names = [name for name, _ in distinct_names(paths)]
    assert names == ["x.tar.gz", "x.zip", "b/x", "y", "d.zip", "d.zip.zip", "d"]
    deep = [f"/{top}/a/b/c/d/e/f/g/h/x.tar.gz" for top in ("v1", "v2")]
    assert [name for name, _ in distinct_names(deep)] == [f"{top}/a/b/c/d/e/f/g/h/x" for top in ("v1", "v2")]
    odd = ["/caf\udce9/x", "/cafe/x", "/y\udce9", "/y\\udce9"]
    names = [name for name, _ in distinct_names(odd)]
    assert len({*names}) == 4 and all(name.encode() for name in names)


def test_a_limit_over_names_of_any_bytes():
    assert len(limited(["/a/caf\udce9", "/a/b"], 1, 0)) == 1


def test_a_table_and_an_archive_of_one_name(work, tmp_path):
    archive(tmp_path / "one.tar.gz", {"a.py": "x = 1\n"})
    rows = [{"repository": name, "path": "a.py", "text": "y = 2\n"} for name in ("one", "two")]
    rows.append({"repository": "three", "path": "b.bin", "text": "\0"})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (tmp_path / "about.csv").write_text("repository,stars\none,5\n")
    stage = files(
        work,
        input=[str(tmp_path / "t.parquet"), str(tmp_path / "one.tar.gz")],
        about=str(tmp_path / "about.csv"),
    )
    assert [(row["repository"], row["text"]) for row in sorted_rows(stage)] == [
        ("one", "x = 1\n"),
        ("two", "y = 2\n"),
    ]
    assert stage.manifest["dropped"] == {"binary": 1, "duplicate_repository": 1}
    assert stage.manifest["repositories"] == 3  # one that lost all its files is one, too
    assert stage.manifest["about"] == {"s": {"lines": 1, "unknown": 2}}


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (lambda f: None, ["{f}/none"], "there is no such file or folder"),
        (lambda f: (f / "empty").mkdir(), ["{f}/empty/*"], "the folder is empty"),
        (lambda f: pq.write_table(pa.table({"repo_name": ["a"], "path": ["b"]}), f / "t.parquet"), ["{f}/t.parquet"],
         "no column for the text of a file; the table has repo_name, path"),
        (lambda f: (f / "t.parquet").write_text("x"), ["{f}/t.parquet"], "not a whole Parquet file"),
        (lambda f: (f / "a.csv").write_text("name\nx\n"), ["{f}", "--about", "{f}/a.csv"],
         "the column 'repository' is missing; it has name"),
        (lambda f: None, ["{f}", "--column", "text"], "expected FIELD=COLUMN"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_one_sentence(tmp_path, make, arguments, sentence):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "main.py").write_text("x = 1\n")
    make(folder)
    done = lode(
        "repos",
        *[a.format(f=folder) for a in arguments],
        "--out",
        str(tmp_path / "out"),
        "--master",
        "local[1]",
    )
    assert done.returncode == 1 and sentence in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) <= 2


def test_settings_of_repositories_are_no_settings_of_a_crawl():
    with pytest.raises(ValueError, match="'about' is for sources of kind `repositories`"):
        Source(kind="web", input=["x"], about="y")
