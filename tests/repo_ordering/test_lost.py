"""Dependencies lost through drops: known repositories, every policy, accounts that balance, stubs that tell nothing."""

import json
import random
import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.repository_graphs import is_symbolic, read_archive
from corpus.chunks import regions
from corpus.schema import document_id
from repo_ordering.document import NOT_FILES, OrderRepositories
from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph
from repo_ordering.order import seeded_key
from repo_ordering.rows import ACCOUNT, FILE_ROW, JUDGED

SECRET = "zanzibar"  # in every dropped file, and nowhere else

# language: files of one repository, the one that is dropped, who depends on it, and the names that those write.
REPOSITORIES = {
    "Python": (
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "from .tables import WIDTH, height as h\nfrom pkg.b import *\n",
            "pkg/b.py": "import pkg.tables\n",
            "pkg/tables.py": f"WIDTH = 1\nheight = 2\n{SECRET} = 3\n",
        },
        "pkg/tables.py",
        ["pkg/a.py", "pkg/b.py"],
        ["WIDTH", "height"],
    ),
    "C": (
        {
            "src/a.c": '#include "tables.h"\n',
            "src/b.c": '#include "a.h"\n',
            "src/a.h": "",
            "src/tables.h": f"int {SECRET};",
        },
        "src/tables.h",
        ["src/a.c"],
        [],
    ),
    "JavaScript": (
        {"a.js": 'import {x} from "./tables"\n', "tables.js": f"export const x = {SECRET};\n"},
        "tables.js",
        ["a.js"],
        ["x"],
    ),
    "Java": (
        {
            "p/A.java": "package p; class A { Table t; int n = Width.of(t); }",
            "p/Table.java": f"package p; class Table {{ int {SECRET}; }} class Width {{}} class Z {SECRET} {{}}",
        },
        "p/Table.java",
        ["p/A.java"],
        ["Table", "Width"],
    ),
    "Go": (
        {
            "main.go": 'package main\nimport "example.com/m/t"\nfunc main() { t.Show(t.Width) }\n',
            "t/t.go": f"package t\nconst Width = 1\nfunc Show(n int) {{}}\nfunc {SECRET}() {{}}\n",
        },
        "t/t.go",
        ["main.go"],
        ["Show", "Width"],
    ),
    "Rust": (
        {
            "src/lib.rs": "mod tables;\nuse tables::Width;\nfn f(w: Width) { tables::show(w) }\n",
            "src/tables.rs": f"pub struct Width;\npub fn show(w: Width) {{}}\nfn {SECRET}() {{}}\n",
        },
        "src/tables.rs",
        ["src/lib.rs"],
        ["Width", "show"],
    ),
}
MANIFESTS = {"Go": ("go.mod", "module example.com/m\n"), "Rust": ("Cargo.toml", '[package]\nname = "m"\n')}


def row(path, text, language, repository="r", stage=None, reason=None, stub=True):
    return {
        "id": document_id("s", f"{repository}\n{path}"), "text": text, "source": "s", "language": language,
        "repository": repository, "path": path, "size": len(text or "x"), "dropped_at": stage,
        "dropped_for": reason, "stub": stub if stage else None,
    }  # fmt: skip


def run(rows, size=3, **policy):
    transform = OrderRepositories(**policy)
    rows = sorted(rows, key=lambda r: (r["repository"], r["dropped_at"] is not None))
    batches = [pa.RecordBatch.from_pylist(rows[i : i + size], FILE_ROW) for i in range(0, len(rows), size)]
    accounts = []
    out = []
    for batch in transform(iter(batches), accounts.append):
        assert batch.schema == JUDGED
        out += batch.to_pylist()
    assert pa.Table.from_pylist(accounts, ACCOUNT).to_pylist() == accounts
    return [r for r in out if not r["reason"]], [r for r in out if r["reason"]], accounts


def known(language, reason="line_too_long", stub=True):
    """One of the repositories above, its one file dropped, and the manifest too, which no rule of code lets through."""
    files, gone, _, _ = REPOSITORIES[language]
    rows = [
        row(path, text, language, stage="code_rules" if path == gone else None,
            reason=reason if path == gone else None, stub=stub)
        for path, text in files.items()
    ]  # fmt: skip
    if language in MANIFESTS:
        rows.append(row(*MANIFESTS[language], None, stage="code_rules", reason="unknown_language"))
    return rows


@pytest.mark.parametrize("language", REPOSITORIES)
def test_what_was_lost_is_told(language):
    _, gone, users, _ = REPOSITORIES[language]
    (document,), dropped, (account,) = run(known(language))
    assert not dropped
    lost = [
        {"source": user, "target": gone, "stage": "code_rules", "reason": "line_too_long"} for user in users
    ]
    assert account["lost"] == lost
    assert account["edges_lost"] == len(users) and account["edges"] == document["edges"] + len(users)
    assert account["decision"] == "kept" and document["stubs"] == []
    assert gone not in [span["path"] for span in document["files"]]
    assert SECRET not in document["text"]


@pytest.mark.parametrize("language", REPOSITORIES)
def test_a_stub_tells_what_the_files_beside_it_say(language):
    _, gone, users, names = REPOSITORIES[language]
    (document,), dropped, (account,) = run(known(language), lost="stub")
    assert not dropped and account["decision"] == "stubs" and account["stubs"] == 1
    (stub,) = document["stubs"]
    assert stub["path"] == gone
    text = document["text"][stub["start"] : stub["end"]]
    lines = text.splitlines()
    mark = "#" if language == "Python" else "//"
    if language == "C":  # of C there are two kinds of comment
        mark = lines[0].partition(" ")[0]
    assert [line.removeprefix(mark).removesuffix("*/").strip() for line in lines] == [
        gone, "left out: line_too_long", *([f"used: {', '.join(names)}"] if names else [])
    ]  # fmt: skip
    assert SECRET not in document["text"]
    # Spans of files and stubs lie end to end, dependencies first, and no hole to fill lies in a stub.
    spans = sorted(document["files"] + document["stubs"], key=lambda span: span["start"])
    assert [s["start"] for s in spans] == [0, *(s["end"] for s in spans[:-1])]
    assert spans[-1]["end"] == len(document["text"])
    order = [span["path"] for span in spans]
    assert all(order.index(gone) < order.index(user) for user in users)
    for region in regions(document["text"], document["files"], 0, len(document["text"])):
        assert region["end"] <= stub["start"] or region["start"] >= stub["end"]
    kept = [span["path"] for span in document["files"]]
    assert len(kept) == account["kept"] and gone not in kept


def test_of_what_must_not_be_told_there_is_no_stub():
    rows = known("Python", reason="licence_not_allowed", stub=False)
    (document,), _, (account,) = run(rows, lost="stub")
    assert account["edges_lost"] == 2 and account["stubs"] == 0 and document["stubs"] == []
    assert document["text"] == run(rows)[0][0]["text"]


def test_a_repository_over_the_share_goes_whole():
    rows = known("Python")  # 2 of its 4 dependencies are lost
    kept, dropped, (account,) = run(rows, lost="drop_repository", max_lost_share=0.4)
    assert not kept and account["decision"] == "dropped" and account["kept"] == 0
    assert [(r["path"], r["reason"], r["detail"]) for r in dropped] == [
        (path, "dependencies_lost", "2 of 4 dependencies")
        for path in ("pkg/__init__.py", "pkg/a.py", "pkg/b.py")
    ]
    assert {(d["stage"], d["reason"], d["files"]) for d in account["dropped"]} == {
        ("code_rules", "line_too_long", 1), ("repositories", "dependencies_lost", 3),
    }  # fmt: skip
    kept, dropped, _ = run(rows, lost="drop_repository", max_lost_share=0.5)
    assert len(kept[0]["files"]) == 3 and not dropped


def includes(graph):
    return {
        path: "".join(f'#include "{target}"\n' for target in sorted(targets))
        for path, targets in graph.items()
    }


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 9).map("f{}.h".format), st.sets(st.integers(0, 9).map("f{}.h".format)), max_size=10
    ),
    st.sets(st.integers(0, 9).map("f{}.h".format)),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(0, 99),
)
def test_files_go_until_no_one_has_lost_too_much(graph, gone, share, seed):
    rows = [
        row(path, text, "C", stage="code_rules" if path in gone else None, reason="too_long" if path in gone else None)
        for path, text in includes(graph).items()
    ]  # fmt: skip
    random.Random(seed).shuffle(rows)
    kept, dropped, _ = run(rows, lost="drop_file", max_lost_share=share)
    # The slow way: look at all files anew until a look finds nothing to take out.
    needs = {path: {t for t in targets if t in graph and t != path} for path, targets in graph.items()}
    left = {path for path in graph if path in gone}
    while more := {
        path for path in graph if path not in left and len(needs[path] & left) > share * len(needs[path])
    }:
        left |= more
    assert sorted(s["path"] for r in kept for s in r["files"]) == sorted(set(graph) - left)
    assert {r["path"]: r["detail"] for r in dropped} == {
        path: f"{len(needs[path] & left)} of {len(needs[path])} dependencies" for path in left - gone
    }


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_edges_of_the_files_that_stay_are_those_of_the_whole_repository(data):
    language = data.draw(st.sampled_from(sorted(REPOSITORIES)))
    files = [SourceFile(path, language, text) for path, text in REPOSITORIES[language][0].items()]
    if language in MANIFESTS:
        path, text = MANIFESTS[language]
        files.append(SourceFile(path, None, text))
    gone = data.draw(st.sets(st.sampled_from([file.path for file in files]), max_size=len(files) - 1))
    builder = GraphBuilder()
    for file in files:
        if file.path not in gone:
            builder.add(file)
    for file in data.draw(st.permutations([file for file in files if file.path in gone])):
        assert builder.add_absent(file.path, file.language, file.text)
    whole = repository_graph(files)
    assert [e for e in builder.graph().edges if e.source not in gone] == [
        e for e in whole.edges if e.source not in gone
    ]


@pytest.mark.parametrize(
    "name, precision, recall",
    [
        ("python-sphinx-8.2.3", 1.0, 1.0),
        ("ts-rxjs-7.8.2", 1.0, 1.0),
        ("c-redis-7.0.15", 0.9, 1.0),
        ("cpp-leveldb-1.23", 1.0, 1.0),
        ("java-commons-io-2.11.0-javac", 0.95, 0.95),
        ("go-cobra-1.6.1-types", 0.9, 0.9),
        ("rust-regex-syntax-0.6.27", 0.7, 1.0),
    ],
)
def test_lost_dependencies_against_compilers(shared_data, name, precision, recall):
    """A fifth of the files is dropped: which dependencies do compilers say are lost?

    A build takes no branch that it does not need (`#if`, `cfg(test)`), so precision is less than that of the rest.
    """
    oracle = json.loads((shared_data / "graphs" / f"{name}.json").read_text())
    files = read_archive(shared_data / "graphs" / f"{name}.tar.gz")
    gone = {file.path for file in files if seeded_key(7, file.path) % 5 == 0}
    rows = [
        row(f.path, f.text, f.language, *(("r", "code_rules", "too_long") if f.path in gone else ()))
        for f in files
    ]
    _, _, (account,) = run(rows, 256)
    listed = set(oracle["files"])
    found = {(e["source"], e["target"]) for e in account["lost"] if {e["source"], e["target"]} <= listed}
    # Accounts know no kinds; compilers know nothing of tests and other languages, and gcc nothing of symbols.
    kinds = ("import", "symbol") if is_symbolic(name) else ("import",)
    found &= {(e.source, e.target) for e in repository_graph(files).edges if e.kind in kinds}
    known = {(s, t) for s, t in oracle["edges"] if s != t and s not in gone and t in gone}
    assert len(known) > 2
    assert len(found & known) >= max(precision * len(found), recall * len(known)), (len(found), len(known))


STAGES = ["files", "code_rules", "code_quality"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["x.py", "y.py", "d/__init__.py", "go.mod", "A.java", None]),
            st.none() | st.sampled_from(["import x", "import y\nimport d", "class A {}"]),
            st.none()
            | st.tuples(st.sampled_from(STAGES), st.sampled_from(["binary", "too_long", "symlink"])),
        ),
        max_size=14,
    ),
    st.sampled_from(["ignore", "stub", "drop_file", "drop_repository"]),
    st.integers(1, 5),
)
def test_accounts_balance(found, policy, size):
    rows = [
        row(path, text, "Java" if path == "A.java" else "Python", name, *(fate or (None, None)))
        for name, path, text, fate in found
    ]
    kept, dropped, accounts = run(rows, size, lost=policy, max_lost_share=0.1, max_chars=40)
    assert sum(r["dropped_at"] is None for r in rows) == sum(len(r["files"]) for r in kept) + len(dropped)
    assert [a["repository"] for a in accounts] == sorted({r["repository"] for r in rows})
    for account in accounts:
        mine = [r for r in rows if r["repository"] == account["repository"]]
        documents = [r for r in kept if r["repository"] == account["repository"]]
        assert account["files"] == len(mine) == account["kept"] + sum(d["files"] for d in account["dropped"])
        assert account["kept"] == sum(len(r["files"]) for r in documents)
        assert account["stubs"] == sum(len(r["stubs"]) for r in documents)
        assert (account["decision"] == "dropped") == (not documents)
        assert len(account["lost"]) == account["edges_lost"] <= account["edges"]
        assert sum(d["edges_lost"] for d in account["dropped"]) == account["edges_lost"]
        assert not {e["reason"] for e in account["lost"]} & NOT_FILES


def test_nothing_is_parsed_where_no_file_stays(monkeypatch):
    monkeypatch.setattr("repo_ordering.graph.GraphBuilder._read", lambda *_: pytest.fail("parsed"))
    rows = [row("A.java", "class A {}", "Java", stage="code_rules", reason="too_long")]
    kept, dropped, (account,) = run(rows)
    assert not kept and not dropped
    assert (account["files"], account["kept"], account["edges"], account["decision"]) == (1, 0, 0, "dropped")


@pytest.mark.parametrize(
    "stage, reason, text", [("code_rules", "empty_file", ""), ("code_quality", "no_code", "# (c)\n")]
)
def test_a_file_without_code_is_no_loss(stage, reason, text):
    rows = [row("p/__init__.py", text, "Python", stage=stage, reason=reason),
            row("main.py", "import p\n", "Python")]  # fmt: skip
    _, _, (account,) = run(rows)
    assert (account["files"], account["edges"], account["edges_lost"]) == (2, 0, 0)


def test_a_file_that_could_not_be_read_is_lost_by_its_path():
    rows = [
        row("big.h", None, None, stage="files", reason="too_large"),
        row("a.c", '#include "big.h"\n', "C"),
    ]
    rows += [
        row("big.py", None, None, stage="files", reason="not_utf8"),
        row("a.py", "import big\n", "Python"),
    ]
    _, _, (account,) = run(rows)
    assert [(e["source"], e["target"], e["reason"]) for e in account["lost"]] == [
        ("a.c", "big.h", "too_large"), ("a.py", "big.py", "not_utf8"),
    ]  # fmt: skip


def test_facts_of_dropped_files_are_bounded():
    names = [f"T{k:03d}" for k in range(100)]
    rows = [row("A.java", f"class A {{ {' '.join(f'{n} x{n};' for n in names)} }}", "Java")]
    rows += [row(f"{n}.java", f"class {n} {{}}" + " " * 90, "Java", stage="code_rules", reason="few_letters")
             for n in names]  # fmt: skip
    _, _, (account,) = run(rows, max_chars=5_000)
    assert 0 < account["edges_lost"] < 60  # some 50 files of 100 characters
    assert account["files"] == 101


def test_long_and_many_names_are_cut():
    names = ["n" * 100, *(f"n{k}" for k in range(50))]
    rows = [row("a.py", f"from b import {', '.join(names)}\n", "Python"),
            row("b.py", "", "Python", stage="code_rules", reason="too_long")]  # fmt: skip
    (document,), _, _ = run(rows, lost="stub")
    (stub,) = document["stubs"]
    told = re.findall(r"\bn\w+", document["text"][stub["start"] : stub["end"]].splitlines()[2])
    assert len(told) == 32 and max(map(len, told)) <= 3
