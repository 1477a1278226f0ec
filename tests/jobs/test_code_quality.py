"""The stage `code_quality` on Spark: accounts, columns, the same rows however they are split; recipes that have it."""

import pathlib

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from corpus.errors import LodeError
from corpus.schema import DOCUMENT
from filters.classifier import FastTextSettings, train
from filters.normaliser import normalise
from jobs.code_quality import code_quality, screening
from jobs.engine import open_dataset
from jobs.pipeline import stage_names
from jobs.recipe import QualityCodeSection, load_recipe
from tests.jobs.conftest import RECIPE

TEXTS = {
    "good.py": ("Python", "def f(a):\n    return a + 1\n"),
    "old.py": ("Python", "print 'a'\n"),
    "cut.java": ("Java", "class A { int f() {"),
    "macros.c": ("C", "#ifdef A\nint f(int a) {\n#else\nint f(long a) {\n#endif\n  return a;\n}\n"),
    "open.c": ("C", "#ifndef A_H\nint f(int a) { return a; }\n"),
    "conflict.md": ("Markdown", "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> d\n"),
    "deep.java": ("Java", "a<" * 50_000),
    "notes.txt": ("Text", "} {"),
}


def dataset(folder: pathlib.Path, parts: int) -> str:
    files = [
        dict.fromkeys(DOCUMENT.names)
        | {"id": path, "path": path, "language": language, "text": text, "repository": "a"}
        for path, (language, text) in TEXTS.items()
    ]
    folder.mkdir()
    size = -(-len(files) // parts)
    for part in range(parts):
        some = files[part * size : (part + 1) * size]
        pq.write_table(pa.Table.from_pylist(some, DOCUMENT), folder / f"part-{part:05d}.parquet")
    return str(folder)


def kept_and_dropped(stage) -> tuple[dict[str, dict], dict[str, str]]:
    kept = [row for part in stage.parts for row in pq.read_table(part).to_pylist()]
    dropped = ds.dataset(f"{stage.folder}/dropped", format="parquet").to_table().to_pylist()
    return {row["path"]: row for row in kept}, {row["path"]: row["reason"] for row in dropped}


def test_files_are_screened_and_counted(work, tmp_path):
    stage = code_quality(work, open_dataset(dataset(tmp_path / "one", 1)), QualityCodeSection())
    kept, dropped = kept_and_dropped(stage)
    assert set(kept) == {"good.py", "macros.c", "notes.txt"}
    assert kept["good.py"]["syntax"] == kept["macros.c"]["syntax"] == 0.0
    assert kept["notes.txt"]["syntax"] is None and kept["good.py"]["quality"] is None
    assert dropped.pop("deep.java").startswith("parse_")
    assert dropped == {
        "old.py": "python2",
        "cut.java": "syntax_error",
        "open.c": "unbalanced_brackets",
        "conflict.md": "merge_conflict",
    }
    assert (stage.manifest["rows_in"], stage.manifest["rows_out"]) == (8, 3)
    again = code_quality(work, open_dataset(dataset(tmp_path / "four", 4)), QualityCodeSection())
    assert kept_and_dropped(again)[0] == kept


def test_a_classifier_goes_along_and_its_content_counts(work, tmp_path):
    texts = [[normalise(f"{word} {i}") for i in range(50)] for word in ("def return", "int ifdef")]
    path = tmp_path / "quality.bin"
    settings = FastTextSettings(dim=8, bucket=1000, min_count=1, passes=5000)
    train(*texts, settings, str(path))
    section = QualityCodeSection(classifier=str(path.with_suffix(".safetensors")), min_scores={"C": 0.5})
    before = open_dataset(dataset(tmp_path / "files", 2))
    stage = code_quality(work, before, section)
    kept, dropped = kept_and_dropped(stage)
    assert dropped["macros.c"] == "low_quality"
    assert kept["good.py"]["quality"] > 0.5
    assert not (pathlib.Path(stage.folder) / "_scratch").exists()
    assert code_quality(work, before, section).fingerprint == stage.fingerprint
    train(*texts[::-1], settings, str(path))
    assert code_quality(work, before, section).fingerprint != stage.fingerprint


def test_a_recipe_has_the_stage_only_where_it_asks_for_it(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    assert "code_quality" not in stage_names(load_recipe(str(path)))
    path.write_text(
        RECIPE + "\n[code.quality]\nmin_scores = { Python = 0.4 }\nclassifier = 'none.safetensors'\n"
    )
    recipe = load_recipe(str(path))
    names = stage_names(recipe)
    assert names.index("code_rules") + 1 == names.index("code_quality")
    with pytest.raises(LodeError, match=r"there is no file none\.safetensors"):
        screening(recipe.code.quality)
    path.write_text(RECIPE + "\n[code.quality]\nmin_score = 0.4\n")
    with pytest.raises(LodeError, match="need a `classifier`"):
        load_recipe(str(path))
