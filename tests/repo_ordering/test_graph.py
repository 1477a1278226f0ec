"""Graphs against what compilers say, and against small trees whose edges are plain to see."""

import json

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.repository_graphs import accuracy, archive_of, read_archive
from repo_ordering.graph import SourceFile, graph_json, repository_graph

LANGUAGE = {"py": "Python", "pyi": "Python", "c": "C", "h": "C", "cc": "C++", "js": "JavaScript",
"ts": "TypeScript",
            "tsx": "TSX", "java": "Java", "go": "Go", "rs": "Rust"}  # fmt: skip


def edges(tree, guarded=False):
    files = [SourceFile(path, LANGUAGE.get(path.rpartition(".")[2]), text) for path, text in tree.items()]
    return {(e.source, e.target) for e in repository_graph(files).edges if e.guarded is guarded}


@pytest.mark.parametrize(
    "name, precision, recall",
    [
        ("python-sphinx-8.2.3", 0.99, 0.99),
        ("ts-rxjs-7.8.2", 0.99, 0.99),
        ("c-redis-7.0.15", 0.97, 0.99),
        ("cpp-leveldb-1.23", 0.97, 0.99),
        ("python-sphinx-8.2.3-scip", 0.97, 0.97),
        ("ts-rxjs-7.8.2-scip", 0.97, 0.9),
        ("java-commons-io-2.11.0-javac", 0.97, 0.99),
        ("go-cobra-1.6.1-types", 0.98, 0.99),
        ("rust-regex-syntax-0.6.27", 0.95, 0.98),
    ],
)
def test_against_compilers(shared_data, name, precision, recall):
    oracle = json.loads((shared_data / "graphs" / f"{name}.json").read_text())
    graph = repository_graph(read_archive(archive_of(shared_data / "graphs" / f"{name}.json")))
    found = accuracy(name, oracle, graph)
    assert found["precision"] >= precision and found["recall"] >= recall, found
    assert not graph.unparsed


def test_c_forms():
    tree = {
        "include/lib/api.h": "#ifndef API_H\n#define API_H\n#include \"types.h\"\n#ifdef __cplusplus\n"
        "#include <lib/cpp.h>\n"
        "#endif\n#endif\n",
        "include/lib/types.h": "#pragma once\n",
        "include/lib/cpp.h": "#if !defined(CPP_H)\n#define CPP_H\n#include \"types.h\"\n#endif",
        "include/time.h": "",
        "src/a.c": "#include <lib/api.h>\n#include <time.h>\n// #include \"b.h\"\n/*\n#include \"b.h\"\n*/\n"
        "#if HAS_EPOLL\n#  include \"epoll.c\"\n#else\n#include \"select.c\"\n#endif\n#include \"b.h\"\n",
        "src/b.h": "char *s = \"\\\n#include \\\"epoll.c\\\"\";\n#define NAME \"select.c\"\n#include NAME\n",
        "src/epoll.c": "", "src/select.c": "",
    }  # fmt: skip
    assert edges(tree) == {
        ("include/lib/api.h", "include/lib/types.h"),
        ("include/lib/api.h", "include/lib/cpp.h"),
        ("include/lib/cpp.h", "include/lib/types.h"),
        ("src/a.c", "include/lib/api.h"),
        ("src/a.c", "src/b.h"),
        ("src/b.h", "src/select.c"),
    }
    assert edges(tree, guarded=True) == {("src/a.c", "src/epoll.c"), ("src/a.c", "src/select.c")}


@given(st.lists(st.sampled_from(["a.py", "b.py", "p/__init__.py", "p/c.py"]), unique=True), st.data())
def test_arrival_does_not_matter(paths, data):
    words = ["import a", "from p import c", "from . import c", "from p.c import *", "x = 1"]
    files = [
        SourceFile(path, "Python", "\n".join(data.draw(st.lists(st.sampled_from(words), max_size=3))))
        for path in paths
    ]
    graph = repository_graph(files)
    assert repository_graph(data.draw(st.permutations(files))) == graph
    assert {edge.source for edge in graph.edges} | {edge.target for edge in graph.edges} <= set(paths)


IMPORTS = {
    "Python": "from . import a\nfrom ..x import y\n",
    "C": '#include "a.h"\n#include <b/a.h>\n',
    "Java": "package b; import c.D; class E extends D {}",
    "Kotlin": "package b\nimport c.D\nclass E: D()",
    "Scala": "package b\nimport c.D\nclass E extends D",
    "Go": 'package a\nimport "x/y/b"\nfunc f() { b.G() }',
    "Rust": "mod a; use crate::b::C; use super::d;",
    "TypeScript": "import a from './a'; import b from 'b'",
    "C#": "using A.B; namespace C { class D : E {} }",
    "PHP": "<?php namespace A; use B\\C; require __DIR__.'/a.php'; class D extends C {}",
    "Ruby": "require 'a/b'\nrequire_relative '../c'\nclass A::B < C; end",
    "Swift": "import A\nclass B: C {}",
}


@pytest.mark.parametrize("language", sorted(IMPORTS))
@pytest.mark.parametrize(
    "paths", [["/a.{}", "/b/a.{}", "//x.{}"], ["../a.{}", "b//a.{}"], [".{}", "", "a/", "é\n/b .{}"]]
)
def test_odd_paths_end_in_a_graph(language, paths):
    """Walking up from `/` never ends: such a file stays in the graph, without edges."""
    suffix = {"Java": "java", "Rust": "rs", "C": "h", "TypeScript": "ts", "Python": "py"}.get(
        language, language.lower()
    )
    files = [SourceFile(path.format(suffix), language, IMPORTS[language]) for path in paths]
    graph = repository_graph(files)
    assert graph.files == tuple(sorted(file.path for file in files))
    assert not any(path.startswith("/") for pair in graph.pairs() for path in pair)


def test_json_has_the_agreed_shape():
    files = [
        SourceFile("b.h", "C", '#include "a.h"'),
        SourceFile("a.h", "C", ""),
        SourceFile("x", None, "?"),
    ]
    printed = json.loads(json.dumps(graph_json(repository_graph(files))))
    assert printed == {
        "files": ["a.h", "b.h", "x"],
        "edges": [{"source": "b.h", "target": "a.h", "kind": "import", "guarded": False, "confidence": 1.0}],
    }


def test_python_agrees_with_the_interpreter_s_own_parser(shared_data):
    """ast is the oracle for what is imported; the scanner never builds a tree."""
    import ast

    from repo_ordering.languages.python import scan

    compared = 0
    for file in read_archive(shared_data / "graphs" / "python-sphinx-8.2.3.tar.gz"):
        if file.language != "Python" or file.path.startswith("tests/"):
            continue
        expected = []
        for node in ast.walk(ast.parse(file.text)):
            if isinstance(node, ast.Import):
                expected += [[0, alias.name, []] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                expected.append([node.level, node.module or "", [alias.name for alias in node.names]])
        assert sorted(scan(file.text)) == sorted(expected), file.path
        compared += 1
    assert compared > 150


def test_graph_of_networkx_is_not_acyclic_by_accident(shared_data):
    """The order tests need real cycles; say so if the data ever lose them."""
    oracle = json.loads((shared_data / "graphs" / "python-sphinx-8.2.3.json").read_text())
    graph = networkx.DiGraph([tuple(edge) for edge in oracle["edges"]])
    assert max(map(len, networkx.strongly_connected_components(graph))) > 50
