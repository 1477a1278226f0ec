"""The stage `personal_data` on Spark: texts, accounts, the same rows however they are split; recipes that have it."""

import random

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from corpus.errors import LodeError
from corpus.inspect import open_work, query
from corpus.schema import DOCUMENT
from jobs.engine import open_dataset
from jobs.personal_data import personal_data
from jobs.pipeline import check_inputs, stage_names
from jobs.recipe import PersonalDataSection, load_recipe
from tests.jobs.conftest import RECIPE

TOKEN = "gh" + "p_" + "".join(random.Random(3).choices("abcdefgABCDEFG0123456789", k=36))
TEXTS = {
    "a.py": ("Python", f"# by bob@corp.com and ann@corp.com\nx = '{TOKEN}'\n" + "y = 1\n" * 30),
    "b.py": ("Python", "x = 1\n"),
    "c.conf": ("INI", "server 84.113.27.9\nserver 84.113.27.9\nother 84.113.27.10\n"),
    "d.txt": ("Text", TOKEN),
}


def dataset(folder, parts):
    files = [
        dict.fromkeys(DOCUMENT.names) | {"id": path, "path": path, "language": language, "text": text}
        for path, (language, text) in TEXTS.items()
    ]
    folder.mkdir()
    size = -(-len(files) // parts)
    for part in range(parts):
        some = files[part * size : (part + 1) * size]
        pq.write_table(pa.Table.from_pylist(some, DOCUMENT), folder / f"part-{part:05d}.parquet")
    return open_dataset(str(folder))


def kept(stage):
    return {row["path"]: row for part in stage.parts for row in pq.read_table(part).to_pylist()}


def test_texts_are_replaced_and_counted(work, tmp_path):
    stage = personal_data(work, dataset(tmp_path / "one", 1), PersonalDataSection())
    found = kept(stage)
    assert set(found) == {"a.py", "b.py", "c.conf"}
    assert found["a.py"]["text"].startswith("# by <EMAIL> and <EMAIL>\nx = '<KEY>'\ny = 1\n")
    first, second, third = (line.split()[1] for line in found["c.conf"]["text"].splitlines())
    assert first == second != third and not {"84.113.27.9", "84.113.27.10"} & {first, third}
    assert found["b.py"]["personal_data"] == []
    dropped = ds.dataset(f"{stage.folder}/dropped", format="parquet").to_table().to_pylist()
    assert [(row["path"], row["reason"], row["detail"]) for row in dropped] == [
        ("d.txt", "secrets", "1.00 of the file")
    ]
    assert stage.manifest["personal_data"] == {"email": 2, "github_token": 1, "ipv4": 3}
    assert stage.manifest["files_changed"] == 2
    _, counts = query(
        open_work(work.folder),
        "select p.kind, sum(p.count)::int from (select unnest(personal_data) p from documents) group by 1 order by 1",
    )
    assert dict(counts) == stage.manifest["personal_data"]
    again = personal_data(work, dataset(tmp_path / "four", 4), PersonalDataSection())
    assert kept(again) == found


def test_own_rules_count_by_what_they_say(work, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("email = false\n")
    before = dataset(tmp_path / "one", 1)
    stage = personal_data(work, before, PersonalDataSection(rules=str(path)))
    assert stage.manifest["personal_data"] == {"github_token": 1, "ipv4": 3}
    assert personal_data(work, before, PersonalDataSection()).fingerprint != stage.fingerprint


def test_a_recipe_has_the_stage_only_where_it_asks_for_it(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    assert "personal_data" not in stage_names(load_recipe(str(path)))
    path.write_text(RECIPE + "\n[code.personal_data]\n")
    names = stage_names(load_recipe(str(path)))
    assert names[names.index("code_decontaminated") :][:3] == [
        "code_decontaminated",
        "personal_data",
        "repositories",
    ]
    path.write_text(RECIPE + "\n[code.personal_data]\nrules = 'none.toml'\n")
    with pytest.raises(LodeError, match=r"none\.toml: the file cannot be read"):
        check_inputs(load_recipe(str(path)))
