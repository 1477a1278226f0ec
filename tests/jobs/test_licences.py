"""Opt-outs and the licence policy in the stage `code_rules`: whom they drop, and that a changed list is noticed."""

import io
import tarfile

import pyarrow.dataset as ds
import pytest

from corpus.errors import LodeError
from jobs.pipeline import check_inputs
from jobs.recipe import CodeSection, LicencesSection, Recipe, Source, section_of
from jobs.repositories import code_rules, files

BODY = "# a comment that holds letters enough to be taken for the work of a person\n"
SHELF = {
    "free": {
        "a.py": "# SPDX-License-Identifier: MIT\n" + BODY,
        "b.py": "# License: GPLv3\n" + BODY,
        "c.py": "x = 1" * 300,
    },
    "none": {"a.py": BODY},
    "gone": {"a.py": "# SPDX-License-Identifier: MIT\n" + BODY, "b.py": "x = 1" * 300},
}


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "shelf"
    for name, texts in SHELF.items():
        (folder / name).mkdir(parents=True)
        with tarfile.open(folder / name / f"{name}.tar.gz", "w:gz") as out:
            for path, text in texts.items():
                info = tarfile.TarInfo(f"{name}/{path}")
                info.size = len(text)
                out.addfile(info, io.BytesIO(text.encode()))
    return folder


def dropped(stage):
    table = ds.dataset(f"{stage.folder}/dropped", format="parquet").to_table()
    return {(row["repository"], row["path"]): (row["reason"], row["detail"]) for row in table.to_pylist()}


def test_what_may_not_be_used_goes_first(work, shelf, tmp_path):
    source = Source(kind="repositories", input=[str(shelf / name / f"{name}.tar.gz") for name in SHELF])
    read = files(work, {"shelf": source}, 0)
    lists = tmp_path / "opt_out.txt"
    lists.write_text("# asked\nGone\n")

    def stage(**licences):
        return code_rules(work, read, CodeSection(licences=LicencesSection(**licences)))

    anything = dropped(stage())
    assert set(anything) == {("free", "c.py"), ("gone", "b.py")}
    found = dropped(stage(allow="permissive", opt_out=[str(lists)]))
    assert found == {
        ("free", "b.py"): ("licence_not_allowed", "GPL-3.0-only"),
        ("free", "c.py"): ("licence_unknown", "nothing says"),
        ("none", "a.py"): ("licence_unknown", "nothing says"),
        ("gone", "a.py"): ("opted_out", "gone"),
        ("gone", "b.py"): ("opted_out", "gone"),
    }
    found = dropped(stage(allow="permissive-or-none", opt_out=[str(lists)]))
    assert found[("free", "c.py")] == anything[("free", "c.py")] and ("none", "a.py") not in found
    lists.write_text("someone/else\n")
    found = dropped(stage(allow="permissive-or-none", opt_out=[str(lists)]))
    assert ("gone", "a.py") not in found and found[("free", "b.py")][0] == "licence_not_allowed"
    lists.write_text("what is this\n")
    with pytest.raises(LodeError, match=r"opt_out\.txt, line 1"):
        stage(opt_out=[str(lists)])


def test_a_policy_that_is_none_is_a_sentence():
    with pytest.raises(LodeError, match="'MTI' is no SPDX identifier"):
        section_of(LicencesSection, allow=["MTI"])


def test_a_list_that_is_not_there_is_known_before_the_first_stage(tmp_path):
    (tmp_path / "shelf" / "one").mkdir(parents=True)
    (tmp_path / "shelf" / "one" / "a.py").write_text("x = 1\n")
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "sources": {"s": {"kind": "repositories", "input": [f"{tmp_path}/shelf/*"]}},
            "code": {"licences": {"opt_out": [str(tmp_path / "none.txt")]}},
            "tokenizer": {"vocabulary_size": 300},
            "mixture": {"weights": {"s": 1}},
        }
    )
    with pytest.raises(LodeError, match=r"none\.txt: there is no such file"):
        check_inputs(recipe)
