"""The stage `repositories` on Spark: its accounts are the manifests', and what it does about lost dependencies."""

import io
import pathlib
import tarfile

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import DROPPED
from jobs.engine import open_dataset
from jobs.recipe import CodeSection, Source, WholeSection
from jobs.repositories import code_rules, files
from jobs.repository_documents import ReadFiles, repositories
from jobs.worker import Task
from tests.jobs.conftest import digests
from tests.tiny_work import parquet

LONG = "x = [" + "1, " * 500 + "]\n"  # a line that the rules refuse
BODY = "# a comment that holds letters enough to be taken for the work of a person\n"
SHELF = {
    "one": {"a.py": "import tables\n" + BODY, "b.py": BODY, "tables.py": BODY + LONG, "logo.png": "\0\1"},
    "two": {"a.py": "import b\n" + BODY, "b.py": BODY},
    "three": {"tables.py": LONG},
}


def rows(folder: str) -> list[dict]:
    return ds.dataset(folder, format="parquet").to_table().to_pylist()


def test_accounts_are_the_manifests(finished):
    stages = ["files", "code_rules", "code_deduplicated", "code_decontaminated", "repositories"]
    manifests = {name: storage.read_json(str(finished / name / "_lode.json")) for name in stages}
    accounts = rows(str(finished / "repositories" / "accounts"))
    assert len(accounts) == manifests["files"]["repositories"]
    assert sum(a["files"] for a in accounts) == manifests["files"]["rows_in"]
    assert sum(a["kept"] for a in accounts) == manifests["repositories"]["rows_out"]
    found = {}
    for account in accounts:
        assert account["files"] == account["kept"] + sum(d["files"] for d in account["dropped"])
        for drop in account["dropped"]:
            reason = drop["stage"], drop["reason"]
            found[reason] = found.get(reason, 0) + drop["files"]
    told = {
        (name, reason): n for name, manifest in manifests.items() for reason, n in manifest["dropped"].items()
    }
    assert found == told
    documents = {
        row["repository"]: row for row in rows(str(finished / "repositories" / "part-00000.parquet"))
    }
    for account in accounts:
        if document := documents.get(account["repository"]):
            assert account["kept"] == len(document["files"])
            assert account["edges"] - account["edges_lost"] == document["edges"]
    manifest = manifests["repositories"]
    assert manifest["edges_lost"] == sum(a["edges_lost"] for a in accounts)


@pytest.fixture
def shelf(tmp_path) -> str:
    for name, tree in SHELF.items():
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as archive:
            for path, text in tree.items():
                entry = tarfile.TarInfo(f"{name}/{path}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
    return str(tmp_path / "*.tar.gz")


def test_the_policy_of_a_recipe(work, shelf):
    read = files(
        work,
        {
            "shelf": Source(
                kind="repositories", input=[shelf.replace("*.tar.gz", f"{name}.tar.gz") for name in SHELF]
            )
        },
        0,
    )
    # A stage after a shuffle has no part for a bucket without rows; the next one counts anew.
    for part in pathlib.Path(read.folder).glob("**/part-00000.parquet"):
        part.rename(part.with_name("part-00005.parquet"))
    stays = code_rules(work, read, CodeSection())

    def stage(name: str, way=(read, stays), **whole) -> tuple[dict, dict, list]:
        section = CodeSection(whole=WholeSection(**whole))
        made = repositories(work, stays, section, 0, name, way)
        documents = [row for part in made.parts for row in rows(part)]
        accounts = sorted(rows(storage.join(made.folder, "accounts")), key=lambda a: a["repository"])
        dropped = pathlib.Path(made.folder) / "dropped"
        return documents, accounts, rows(str(dropped)) if dropped.exists() else []

    documents, (one, three, two), dropped = stage("ignored")
    assert sorted(row["repository"] for row in documents) == ["one", "two"] and not dropped
    assert (one["files"], one["kept"], one["edges"], one["edges_lost"], one["decision"]) == (
        4,
        2,
        1,
        1,
        "kept",
    )
    assert [(d["stage"], d["reason"]) for d in one["dropped"]] == [
        ("code_rules", "mean_line_too_long"),
        ("files", "binary"),
    ]
    assert one["dropped"][0]["bytes"] == len(BODY + LONG)
    assert (two["files"], two["kept"], two["edges"], two["edges_lost"]) == (2, 2, 1, 0)
    assert (three["files"], three["kept"], three["decision"]) == (1, 0, "dropped")

    documents, (one, *_), _ = stage("stubbed", lost="stub")
    (text,) = (row["text"] for row in documents if row["repository"] == "one")
    assert text.startswith("# tables.py\n# left out: mean_line_too_long\n# a.py\n") and one["stubs"] == 1

    _, (one, *_), dropped = stage("files_gone", lost="drop_file")
    assert [(d["path"], d["size"], d["reason"], d["detail"]) for d in dropped] == [
        ("a.py", len("import tables\n" + BODY), "dependencies_lost", "1 of 1 dependencies")
    ]
    assert dropped[0]["repository"] == "one" and one["decision"] == "files_dropped" and one["kept"] == 1

    documents, (one, *_), dropped = stage("gone", lost="drop_repository")
    assert [row["repository"] for row in documents] == ["two"] and len(dropped) == 2
    with pytest.raises(LodeError, match="missing"):
        stage("passed_over", way=(read,))

    # Files from elsewhere have no stages before: nothing is known to be lost.
    alone = repositories(work, open_dataset(stays.folder), CodeSection(), 0, "alone")
    (one, _) = sorted(rows(storage.join(alone.folder, "accounts")), key=lambda a: a["repository"])
    assert (one["files"], one["kept"], one["edges"], one["edges_lost"]) == (2, 2, 0, 0)


def test_the_same_rows_whatever_the_partitions(work, shelf):
    read = files(
        work,
        {
            "shelf": Source(
                kind="repositories", input=[shelf.replace("*.tar.gz", f"{name}.tar.gz") for name in SHELF]
            )
        },
        0,
    )
    stays = code_rules(work, read, CodeSection())
    section = CodeSection(whole=WholeSection(lost="stub"))
    found = []
    for partitions in ("1", "7"):
        work.spark.session.conf.set("spark.sql.shuffle.partitions", partitions)
        made = repositories(work, stays, section, 0, f"by_{partitions}", (read, stays))
        found.append(digests(pathlib.Path(made.folder)))
    assert found[0] == found[1] and len(found[0]) > 1


def test_what_is_read_of_dropped_files(tmp_path):
    """Text only where it decides what depends on a file, a stub only where something may be told."""
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "text", "source", "language", "repository", "path")]
    )

    def file(name: str, language: str, repository: str = "r") -> dict:
        return {
            "id": name,
            "text": "text",
            "source": "s",
            "language": language,
            "repository": repository,
            "path": name,
        }

    def write(stage: str, there: list[dict], gone: dict[str, str]) -> str:
        place = tmp_path / stage / "part-00000.parquet"
        parquet(place, there, schema)
        by_name = {row["id"]: row for row in everything}
        drops = [by_name[name] | {"reason": reason, "size": 9} for name, reason in gone.items()]
        for row in drops:
            row.pop("text")
        parquet(place.parent / "dropped" / place.name, drops, DROPPED)
        return str(place)

    gone = {
        "a.java": "too_long",
        "b.java": "licence_not_allowed",
        "c.java": "opted_out",
        "d.java": "too_long",
    }
    everything = [file(name, "Java", "other" if name == "d.java" else "r") for name in gone]
    everything += [
        file("e.sh", "Shell"),
        file("f.py", "Python"),
        file("g.bin", "Java"),
        file("go.mod", "Go Module"),
    ]
    later = {"e.sh": "contaminated", "go.mod": "unknown_language"}
    files = write("files", [row for row in everything if row["id"] != "g.bin"], {"g.bin": "binary"})
    rules = write("code_rules", everything[4:6], gone)
    last = write("clean", everything[5:6], later)
    read = ReadFiles((Task(0, (files, rules, last)),), ("files", "code_rules", "clean"))
    found = {row["id"]: row for batch in read(numbers()) for row in batch.to_pylist()}
    assert {
        name: (row["dropped_at"], row["text"] is not None, row["stub"]) for name, row in found.items()
    } == {
        "a.java": ("code_rules", True, True),
        "b.java": ("code_rules", True, False),
        "c.java": ("code_rules", True, False),
        "d.java": ("code_rules", False, True),  # of its repository nothing stays
        "e.sh": ("clean", False, False),
        "f.py": (None, True, None),
        "g.bin": ("files", False, False),
        "go.mod": ("clean", True, False),
    }
    write("files", everything[:1], {})
    with pytest.raises(LodeError, match="3 files that later stages dropped are not there"):
        list(read(numbers()))


def numbers():
    return iter([pa.RecordBatch.from_pydict({"id": [0]})])
