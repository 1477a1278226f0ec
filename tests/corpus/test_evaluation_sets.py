import bz2
import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.contamination import BenchmarkIndex
from corpus.errors import LodeError
from corpus.evaluation_sets import read_evaluation_sets, read_rows, shortest_names

# Rows as the sets are published, with the texts that are to be looked for, by field.
PUBLISHED = {
    "GSM8K": (
        {"question": "How many eggs are left?", "answer": "She sells 9 eggs.\n#### 9"},
        {"question": ["How many eggs are left?"], "answer": ["She sells 9 eggs.\n#### 9"]},
    ),
    "MATH": (
        {"problem": "Find $x$.", "level": "Level 5", "type": "Algebra", "solution": "It is $\\boxed{2}$."},
        {"problem": ["Find $x$."], "solution": ["It is $\\boxed{2}$."]},
    ),
    "MATH-500": (
        {"problem": "Find $x$.", "solution": "It is 2.", "answer": "2", "subject": "Algebra", "level": 2,
         "unique_id": "test/algebra/1.json"},
        {"problem": ["Find $x$."], "solution": ["It is 2."]},
    ),
    "HumanEval": (
        {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "canonical_solution": "    return 1\n",
         "test": "def check(candidate):\n    assert candidate() == 1\n"},
        {"prompt": ["def f():\n"], "canonical_solution": ["    return 1\n"]},
    ),
    "MultiPL-E": (
        {"name": "HumanEval_0_f", "language": "js", "prompt": "function f(){\n", "doctests": "transform",
         "original": "/x.py", "prompt_terminology": "reworded", "tests": "test();", "stop_tokens": ["\n}"]},
        {"prompt": ["function f(){\n"]},
    ),
    "MBPP": (
        {"task_id": 2, "text": "Write a function.", "code": "def f(): pass", "test_list": ["assert f()"],
         "test_setup_code": "", "challenge_test_list": []},
        {"text": ["Write a function."], "code": ["def f(): pass"]},
    ),
    "MBPP sanitized": (
        {"source_file": "x.ipynb", "task_id": 2, "prompt": "Write a function.", "code": "def f(): pass",
         "test_imports": [], "test_list": ["assert f()"]},
        {"prompt": ["Write a function."], "code": ["def f(): pass"]},
    ),
    "CMATH": (
        {"grade": 1, "question": "还剩多少页？", "golden": "9", "reasoning_step": 1, "num_digits": 2},
        {"question": ["还剩多少页？"]},
    ),
    "MGSM": (
        {"question": "Pregunta: ¿Cuántos huevos?", "answer": None, "answer_number": 18, "equation_solution": None},
        {"question": ["Pregunta: ¿Cuántos huevos?"]},
    ),
    "miniF2F": (
        {"name": "mathd_1", "split": "test", "informal_prefix": "/-- Show it. -/", "formal_statement": "theorem t",
         "goal": "x", "header": "import Mathlib"},
        {"informal_prefix": ["/-- Show it. -/"], "formal_statement": ["theorem t"]},
    ),
    "chat": (
        {"messages": [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "How many?"},
                      {"role": "assistant", "content": ""}], "answer": "18"},
        {"messages": ["How many?"]},
    ),
    "any questions": (
        {"id": 7, "question": "Who?", "answer": "Nobody at all.", "source": "x"},
        {"question": ["Who?"], "answer": ["Nobody at all."]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layouts_are_known_by_their_columns(name, tmp_path):
    row, fields = PUBLISHED[name]
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    texts = read_evaluation_sets([str(tmp_path / "a.jsonl")]).texts
    found: dict[str, list[str]] = {}
    for text in texts:
        found.setdefault(text.field, []).append(text.variants[0])
    assert found == fields


CHOICES = ["zero", "four", "two", "six"]


def test_a_question_and_its_choices_are_one_text(tmp_path):
    whole = (
        "What is the degree?\nzero\nfour\ntwo\nsix",
        "What is the degree?\nA. zero\nB. four\nC. two\nD. six",
    )
    table = pa.table(
        {"question": ["What is the degree?"], "subject": ["algebra"], "choices": [CHOICES], "answer": [1]}
    )
    pq.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    with (tmp_path / "abstract_algebra_test.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["What is the degree?", *CHOICES, "B"])
    with (tmp_path / "val.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "A", "B", "C", "D", "answer"])
        writer.writerow([3, "What is the degree?", *CHOICES, "B"])
    options = ["(A)zero", "(B)four", "(C)two", "(D)six"]
    agieval = {
        "passage": None,
        "question": "What is the degree?",
        "options": options,
        "label": "B",
        "answer": None,
    }
    agieval["other"] = {"solution": "Look it up."}
    (tmp_path / "agieval.jsonl").write_text(json.dumps(agieval))
    sets = read_evaluation_sets([str(tmp_path)])
    assert {(t.benchmark, t.field): t.variants for t in sets.texts} == {
        ("abstract_algebra_test.csv", "question"): whole,
        ("test-00000-of-00001.parquet", "question"): whole,
        ("val.csv", "question"): whole,
        ("agieval.jsonl", "question"): ("What is the degree?", *whole),
        ("agieval.jsonl", "other"): ("Look it up.",),
    }
    index = BenchmarkIndex.build(sets.texts)
    for page in (
        "What is the degree? (a) zero (b) four (c) two (d) six",
        "what is the degree? zero, four, two, six",
    ):
        assert {index.entries[f.entry][0] for f in index.find([page])[0]} == set(sets.layouts)


def test_a_folder_of_problems_is_one_set(tmp_path):
    for split, number in (("train", 1), ("test", 1), ("test", 2)):
        folder = tmp_path / "MATH" / split / "algebra"
        folder.mkdir(parents=True, exist_ok=True)
        problem = {"problem": f"Problem {number}", "level": "Level 1", "type": "Algebra", "solution": "So."}
        (folder / f"{number}.json").write_text(json.dumps(problem, indent=2))
    (tmp_path / "MATH" / "README.md").write_text("Which this is no part of.")
    sets = read_evaluation_sets([str(tmp_path / "MATH")])
    assert {t.benchmark for t in sets.texts} == {"MATH"} and not sets.left_out
    assert {t.item for t in sets.texts} == {"train/algebra/1", "test/algebra/1", "test/algebra/2"}


def test_mgsm_as_it_came_out(tmp_path):
    (tmp_path / "mgsm_fr.tsv").write_text("Combien d'œufs ?\t18\nEt combien de poules ?\t1,200\n")
    texts = read_evaluation_sets([str(tmp_path / "mgsm_fr.tsv")]).texts
    assert [t.variants for t in texts] == [("Combien d'œufs ?",), ("Et combien de poules ?",)]


def test_every_container_has_the_same_rows(tmp_path):
    rows = [{"id": "a", "question": "one\u2028two\x85three"}, {"id": "b", "question": "four"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    data = lines.encode()
    (tmp_path / "1.jsonl").write_bytes(b"\xef\xbb\xbf" + data)
    (tmp_path / "2.jsonl.gz").write_bytes(gzip.compress(data[:30]) + gzip.compress(data[30:]))
    (tmp_path / "3.jsonl.zst").write_bytes(pa.compress(data, "zstd", asbytes=True))
    (tmp_path / "4.jsonl.bz2").write_bytes(bz2.compress(data))
    (tmp_path / "5.json").write_text(lines)
    (tmp_path / "6.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "7.json").write_text(json.dumps({"version": 1, "data": rows}))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "8.parquet")
    with (tmp_path / "9.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "question"], *([row["id"], row["question"]] for row in rows)])
    files = sorted(tmp_path.iterdir())
    assert len(files) == 9
    for file in files:
        assert read_rows(str(file))[0] == rows, file.name


def test_fields_that_are_named_go_before_the_layout(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "x", "answer": "#### y", "note": "a text"}))
    texts = read_evaluation_sets([str(tmp_path / "a.jsonl")], ["note"]).texts
    assert [(t.field, t.variants) for t in texts] == [("note", ("a text",))]
    with pytest.raises(
        LodeError, match=r"a.jsonl: no row has a text in nothing; there are question, answer, note"
    ):
        read_evaluation_sets([str(tmp_path / "a.jsonl")], ["nothing"])


def test_items_have_names_of_their_own(tmp_path):
    rows = [
        {"task_id": 4, "question": "x"},
        {"task_id": 4, "question": "y"},
        {"question": "z"},
        {"question": " "},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = read_evaluation_sets([str(tmp_path / "a.jsonl")]).texts
    # The last has no text. It is an item all the same.
    assert [(t.item, t.variants) for t in texts] == [
        ("4", ("x",)),
        ("4 (2)", ("y",)),
        ("2", ("z",)),
        ("3", ("",)),
    ]


def test_sets_of_one_name_are_told_apart():
    assert shortest_names(["/a/cmath/test.jsonl", "/a/gsm8k/test.jsonl", "/a/x.jsonl"]) == {
        "/a/cmath/test.jsonl": "cmath/test.jsonl",
        "/a/gsm8k/test.jsonl": "gsm8k/test.jsonl",
        "/a/x.jsonl": "x.jsonl",
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"other": "x"}', r"a.jsonl, row 1: other is no layout known here; name the columns"),
        ("a.jsonl", b'{"question": "x"', r"a.jsonl, line 1: not JSON"),
        ("a.jsonl", b'{"question": "x"}\n[1]\n', r"a.jsonl: rows with named columns were expected"),
        ("a.jsonl", b"", r"a.jsonl: no items in it"),
        ("a.json", b"3", r"a.json: rows with named columns were expected"),
        ("a.json", b"[" * 100_000, r"a.json, line 1: not JSON"),
        ("a.jsonl.gz", b"no gzip", r"a.jsonl.gz: cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"question": "x"}', mtime=0)[:-9], r"a.jsonl.gz: cannot be read"),
        ("a.jsonl.zst", b"no zstd", r"a.jsonl.zst: cannot be read"),
        ("a.parquet", b"no parquet", r"a.parquet: not a whole Parquet file"),
        ("a.csv", b'question\n"' + b"x" * 200_000, r"a.csv: not a table"),
        ("a.txt", b"question", r"a.txt: JSONL, JSON, Parquet, CSV or TSV was expected"),
    ],
)
def test_what_cannot_be_read_is_named(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LodeError, match=said):
        read_evaluation_sets([str(tmp_path / name)])


def test_a_folder_tells_what_is_no_set_and_must_have_one(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps([{"file": "a.jsonl", "sha256": "0"}]))
    with pytest.raises(LodeError, match=r"no evaluation set in this folder.*manifest.json, row 1"):
        read_evaluation_sets([str(tmp_path)])
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "x"}))
    sets = read_evaluation_sets([str(tmp_path)])
    assert [name for name, _ in sets.left_out] == ["manifest.json"] and len(sets.texts) == 1
    with pytest.raises(LodeError, match=r"manifest.json, row 1: file, sha256 is no layout"):
        read_evaluation_sets([str(tmp_path / "*.json*")])


def test_doctests_of_installed_modules_are_a_set():
    sets = read_evaluation_sets(["installed:stdlib.statistics"])
    assert {t.field for t in sets.texts} == {"question", "answer"}
    with pytest.raises(LodeError, match="no doctests"):
        read_evaluation_sets(["installed:stdlib.json.scanner"])


def test_every_set_of_the_sample_is_read(shared_data):
    layouts = read_evaluation_sets([str(shared_data / "benchmarks")]).layouts
    known = {"gsm8k": "GSM8K", "humaneval.": "HumanEval", "humaneval_": "MultiPL-E", "mbpp": "MBPP", "cmath": "CMATH",
             "mgsm": "chat", "minif2f": "miniF2F", "agieval": "AGIEval"}  # fmt: skip
    assert len(layouts) == 13
    for name, layout in layouts.items():
        assert layout == next(value for start, value in known.items() if name.startswith(start))
    texts = read_evaluation_sets([str(shared_data / "benchmarks" / "gsm8k_test.jsonl")]).texts
    assert len(texts) == 2 * 1319
