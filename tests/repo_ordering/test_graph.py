"""Graphs against what compilers say, and against small trees whose edges are plain to see."""

import json

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.repository_graphs import accuracy, read_archive
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
        ("java-commons-io-2.11.0-javac", 0.96, 0.96),
        ("go-cobra-1.6.1-types", 0.92, 0.95),
        ("rust-regex-syntax-0.6.27", 0.9, 0.95),
    ],
)
def test_against_compilers(shared_data, name, precision, recall):
    oracle = json.loads((shared_data / "graphs" / f"{name}.json").read_text())
    graph = repository_graph(read_archive(shared_data / "graphs" / f"{name}.tar.gz"))
    found = accuracy(name, oracle, graph)
    assert found["precision"] >= precision and found["recall"] >= recall, found
    assert not graph.unparsed


def test_python_forms():
    tree = {
        "src/pkg/__init__.py": "from .core import run as go, stop\n",
        "src/pkg/core.py": "import json, os.path\nfrom .. import nothing\n",
        "src/pkg/sub/__init__.py": "",
        "src/pkg/sub/leaf.py": "from ...pkg import core\nfrom ..sub import (\n  other, # why\n)\n",
        "src/pkg/sub/other.py": "def f():\n    from pkg.core import (run)\n"
        "\tif x: import pkg.sub.leaf as l; import pkg.sub\n",
        "src/pkg/json.py": "",
        "tests/test_a.py": "import pkg.core\nfrom helpers import x\n'''\nimport pkg.sub.leaf\n'''\n"
        "# import pkg.json\n",
        "tests/helpers.py": 's = "\\"\\\nimport pkg.json"\nfrom pkg \\\n  import sub\nfrom pkg import *\n',
        "tools/types.py": "",
        "tools/run.py": "import types\n",
        "main.py": "import types, tools.run\r\nimport sys\r\n",
    }
    assert edges(tree) == {
        ("src/pkg/__init__.py", "src/pkg/core.py"),
        ("src/pkg/sub/leaf.py", "src/pkg/core.py"),
        ("src/pkg/sub/leaf.py", "src/pkg/sub/other.py"),
        ("src/pkg/sub/other.py", "src/pkg/core.py"),
        ("src/pkg/sub/other.py", "src/pkg/sub/leaf.py"),
        ("src/pkg/sub/other.py", "src/pkg/sub/__init__.py"),
        ("tests/test_a.py", "src/pkg/core.py"),
        ("tests/test_a.py", "tests/helpers.py"),
        ("tests/helpers.py", "src/pkg/sub/__init__.py"),
        ("tests/helpers.py", "src/pkg/__init__.py"),
        ("tools/run.py", "tools/types.py"),
        ("main.py", "tools/run.py"),
    }


def test_a_package_as_the_root_of_its_repository():
    tree = {"__init__.py": "import json\n", "a.py": "from mine.sub import b\n", "sub/b.py": "", "json.py": ""}
    tree["sub/__init__.py"] = "import mine.a\nimport other.a.b\n"
    assert edges(tree) == {("a.py", "sub/b.py"), ("sub/__init__.py", "a.py")}


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


def test_javascript_forms():
    tree = {
        "a.ts": "import type { X } from './lib/x.js'; export * from \"./lib\"; let r = /'/; "
        "import './side';\n"
        "// import './no'\nconst s = `import './no'`; const t = \"import './no'\"; /* from './no' */\n"
        "type T = import('./types').T; const v = a / b; import('./dyn'); import y = require('./y');",
        "lib/index.ts": "export { default as z,\n  w } from '../z'\nimport p from '@me/pkg/deep'\n"
        "import q from 'react'\n",
        "lib/x.ts": "import { a } from '..'\n", "index.ts": "",
        "side.js": "const y = require('./y'), z = foo.require('./no')\n",
        "types.d.ts": "", "dyn/index.tsx": "import self from '@me/pkg'\n", "y.js": "", "z.tsx": "",
        "no.ts": "",
        "packages/pkg/package.json": '{"name": "@me/pkg"}', "packages/pkg/src/index.ts": "",
        "packages/pkg/src/deep.ts": '/// <reference path="index.ts" />\n',
    }  # fmt: skip
    assert edges(tree) == {
        ("a.ts", "lib/x.ts"), ("a.ts", "lib/index.ts"), ("a.ts", "side.js"), ("a.ts", "types.d.ts"),
        ("a.ts", "dyn/index.tsx"), ("a.ts", "y.js"), ("lib/index.ts", "z.tsx"), ("lib/x.ts", "index.ts"),
        ("side.js", "y.js"), ("lib/index.ts", "packages/pkg/src/deep.ts"),
        ("dyn/index.tsx", "packages/pkg/src/index.ts"), ("packages/pkg/src/deep.ts",
        "packages/pkg/src/index.ts"),
    }  # fmt: skip


def test_java_forms():
    tree = {
        "x/A.java": "package x; import y.B; import z.*; import static y.Util.f; /** {@link D} "
        "*/ class A extends C { E e;"
        " Object o = y.F.make(); class D {} D d; }",
        "x/C.java": "package x; class C {}", "x/D.java": "package x; class D {}",
        "y/B.java": "package y; class B {}",
        "y/Util.java": "package y; class Util {}", "z/E.java": "package z; class E {}",
        "z/C.java": "package z; class C {}",
        "y/F.java": "package y; class F { String s = \"A\"; }",
    }  # fmt: skip
    assert edges(tree) == {
        ("x/A.java", target) for target in ("y/B.java", "y/Util.java", "x/C.java", "z/E.java", "y/F.java")
    }


def test_go_forms():
    tree = {
        "go.mod": "module example.org/m\n",
        "a.go": 'package m\nimport (\n q "example.org/m/p"\n "fmt"\n)\nfunc A(local int) { B(); '
        "q.New().Run(); fmt.Println(local) }\n",
        "b.go": "package m\nvar local = 1\nfunc B() { local := 2; _ = local }\n",
        "b_windows.go": "package m\nfunc A2() { B() }\nfunc plat() {}\n",
        "c.go": "package m\nfunc C() { plat() }\n",
        "a_test.go": "package m\nfunc helper() { A(1) }\n",
        "p/p.go": "package p\ntype T struct{}\nfunc New() T { return T{} }\n",
        "p/run.go": "package p\nfunc (t T) Run() {}\n",
    }
    assert edges(tree) == {
        ("a.go", "b.go"), ("a.go", "p/p.go"), ("a.go", "p/run.go"), ("b_windows.go", "b.go"),
        ("a_test.go", "a.go"), ("p/run.go", "p/p.go"),
    }  # fmt: skip
    assert edges(tree, guarded=True) == {("c.go", "b_windows.go")}


def test_rust_forms():
    tree = {
        "src/lib.rs": 'pub mod a; mod b;\n#[path = "odd.rs"] mod c;\n#[cfg(test)] mod tests;\n'
        "pub use a::deep::Deep;",
        "src/a/mod.rs": "pub mod deep; pub use self::deep::*;",
        "src/a/deep.rs": "pub struct Deep; pub fn make() {}",
        "src/b.rs": "use super::a::{Deep as D, deep}; fn f() -> D { deep::make(); vec![c::X] }\n"
        "use crate::c;",
        "src/odd.rs": "pub struct X;",
        "src/tests.rs": "use crate::Deep;",
    }
    assert edges(tree) == {
        ("src/lib.rs", "src/a/mod.rs"), ("src/lib.rs", "src/b.rs"), ("src/lib.rs", "src/odd.rs"),
        ("src/lib.rs", "src/a/deep.rs"), ("src/a/mod.rs", "src/a/deep.rs"), ("src/b.rs", "src/lib.rs"),
        ("src/b.rs", "src/a/mod.rs"), ("src/b.rs", "src/a/deep.rs"), ("src/b.rs", "src/odd.rs"),
        ("src/tests.rs", "src/lib.rs"), ("src/tests.rs", "src/a/deep.rs"),
    }  # fmt: skip
    assert edges(tree, guarded=True) == {("src/lib.rs", "src/tests.rs")}


def test_module_trees_built_to_explode():
    files = 60
    doubling = {
        f"src/m{i}.rs": "".join(f'#[path = "m{i + 1}.rs"] mod {name};' for name in "ab") for i in range(files)
    }
    doubling["src/lib.rs"] = '#[path = "m0.rs"] mod m;'
    assert len(edges(doubling)) == files
    ring = {f"src/m{i}.rs": f"pub use crate::m{(i + 1) % 9}::*; use self::X;" for i in range(9)}
    ring["src/lib.rs"] = "".join(f"mod m{i};" for i in range(9))
    assert ("src/m0.rs", "src/m1.rs") in edges(ring)


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


def test_json_has_the_agreed_shape():
    files = [
        SourceFile("b.py", "Python", "import a"),
        SourceFile("a.py", "Python", ""),
        SourceFile("x", None, "?"),
    ]
    printed = json.loads(json.dumps(graph_json(repository_graph(files))))
    assert printed == {
        "files": ["a.py", "b.py", "x"],
        "edges": [
            {"source": "b.py", "target": "a.py", "kind": "import", "guarded": False, "confidence": 1.0}
        ],
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
