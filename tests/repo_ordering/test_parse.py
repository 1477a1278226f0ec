"""The parser's child process: hostile text costs its own file, never the process and never for long."""

import os
import pickle
import subprocess
import sys
import time

import pytest

from corpus.errors import LodeError
from repo_ordering.graph import SourceFile, repository_graph
from repo_ordering.parse import ParseFailed, Parser
from repo_ordering.views import files_of_path

N = 100_000
HOSTILE_PARSED = [
    ("C++", "{" * N),
    ("C++", "int x=" + "(" * N),
    ("C++", "int x = a<" + "a<" * (N // 2)),
    ("C++", "template<" * (N // 9)),
    ("C", "[" * (3 * N // 2)),
    ("C", "void f(){" * (N // 9)),
    ("C", "#if A\n" * (N // 6)),
    ("Objective-C", "\0" * N),
    ("Python", "[" * N),
    ("Python", "f(" * (N // 3) + "a.b" + ").c" * (N // 3)),
    ("Python", "a<" * (N // 2)),
    ("Python", "class A:\n" + "".join(" " * n + "class A:\n" for n in range(1, 400))),
    ("Python", "".join(" " * n + "def f(a=b.c):\n" for n in range(400)) + " " * 400 + "a.b.c"),
    ("Python", "a.b" + ".c" * (4 * N)),
    ("Python", "x = " * N + "y"),
    ("Python", "\0" * N),
    ("Java", "a<" * (N // 2)),
    ("Java", "class A{" + "{" * N),
    ("Java", "@A(" * (N // 3)),
    ("Java", "\0" * N),
    ("Java", "a" + ".b()" * (N // 2)),
    ("Java", "class A { " + "@a " * N + "}"),
    ("Java", "class A { int a" + ", a" * N + "; }"),
    ("Kotlin", "a<" * (N // 2)),
    ("Kotlin", "class A { " * (N // 5)),
    ("Kotlin", "fun <" * N),
    ("Kotlin", "class A : B<" + "a," * N),
    ("Kotlin", "\0" * N),
    ("Scala", "[" * (3 * N // 2)),
    ("Scala", "object A { " * (N // 5)),
    ("Scala", "import a.{" * N),
    ("Scala", "a : " * N),
    ("Scala", '"${' * N),
    ("Go", "[" * N),
    ("Go", "func f(){" + "a:=b.c;" * N),
    ("Go", "package p\nvar x=" + "f(" * N),
    ("Go", "package p\nfunc f(" + "a[b " * N),
    ("Go", "package p\ntype T " + "struct{a " * (N // 4)),
    ("Go", "package p\nfunc f(){" + "func(){" * (N // 4)),
    ("Go", "package p\nfunc f(){" + "a," * N + "b:=1}"),
    ("Go", "package p\n" + "".join(f"var a{i} = a{i + 1}.b\n" for i in range(N // 8))),
    ("Swift", "[" * N),
    ("Swift", "{" * N),
    ("Swift", "/*" * N),
    ("Swift", "class A{" * (N // 4)),
    ("Swift", "func f<T>(){" * (N // 6)),
    ("Swift", "let a: A" + ".B" * N),
    ("Swift", 'let a = "\\(' * (N // 4)),
    ("Swift", "#if a\n" * (N // 2)),
    ("Rust", "use a::{" * (N // 8)),
    ("Rust", 'r#"' * (2 * N)),
    ("Rust", "mod a{" * (N // 6)),
    ("Rust", "cfg_if! { if #[cfg(a)] {" * (N // 24)),
    ("Rust", "m! { mod a; }" * (N // 13)),
    ("Rust", "#[cfg(x)]" * (N // 9)),
    ("Rust", "/*" * N + '"' * N),
    ("Rust", "a::" * N),
    ("Ruby", "module A;" * (N // 9)),
    ("Ruby", "A::" * N),
    ("Ruby", "require(" * (N // 8)),
    ("Ruby", "[" * N),
    ("Ruby", '"#{' * (N // 3)),
    ("Ruby", "<<A\n" * (N // 4)),
    ("Ruby", "\0" * N),
    ("JavaScript", "[" * (3 * N // 2)),
    ("JavaScript", "{" * N),
    ("JavaScript", "export {a" + ", a" * N),
    ("JavaScript", "a.b = " * (N // 6)),
    ("JavaScript", "\0" * N),
    ("TypeScript", "a<" * (N // 2)),
    ("TypeScript", "namespace a{" * (N // 12)),
    ("TypeScript", "export const {a:" * (N // 16)),
    ("TypeScript", "import a = " * (N // 11)),
    ("TSX", "<a>" * (N // 3)),
    ("TSX", "<a b={" * (N // 6)),
    ("C#", "a<" * (N // 2)),
    ("C#", "[" * (3 * N // 2)),
    ("C#", "class A{int x=a.b" + ".c" * (3 * N) + ";}"),
    ("C#", "namespace a{" * (N // 12) + "class B{" * (N // 8)),
    ("C#", "#if A\n" * (N // 6)),
    ("C#", "\0" * N),
    ("PHP", "<?php " + "[" * (3 * N // 2)),
    ("PHP", "<?php include " + "'a'." * N + "'b';"),
    ("PHP", "<?php include " + "dirname(" * (N // 8)),
    ("PHP", "<?php " + "namespace a;use b;" * (N // 18)),
    ("PHP", "<?php " + "!" * N + "a;"),
    ("PHP", "\0" * N),
]
HOSTILE_SCANNED = [
    ("Python", '"""' * N + '\\"""' * N),
    ("Python", '"\\' * N),
    ("Python", "from a import (" * (N // 2)),
    ("Python", "from " + ". " * (4 * N)),
    ("Python", "\\\n" * (4 * N)),
    ("C", "/*" * (5 * N)),
    ("C", "#ifdef __cplusplus\n" * (N // 4) + '#include "a.h"\n' * (N // 4)),
    ("C", "#if defined" + " " * (9 * N) + "x"),
    ("C", 'R"(' * (3 * N)),
    ("JavaScript", '"\\"' * (3 * N)),
    ("JavaScript", "=/[" * (3 * N)),
    ("JavaScript", "`${" * (3 * N)),
    ("JavaScript", "/ " * (4 * N)),
    ("JavaScript", "import from require " * (N // 2)),
    ("JavaScript", "/** @import {" * (N // 2)),
    ("Vue", '<script "' * N),
    ("Svelte", "<script>" * N),
    ("TypeScript", "import './" + "../" * (3 * N) + "'"),
]


@pytest.fixture(scope="module")
def parser():
    parser = Parser(cpu_limit=2.0)
    yield parser
    parser.close()


@pytest.mark.parametrize("language, text", HOSTILE_PARSED)
def test_hostile_text_ends_in_facts_or_a_reason_and_the_next_file_parses(parser, language, text):
    started = time.monotonic()
    graph = repository_graph([SourceFile("a", language, text)], parser)
    assert set(graph.unparsed.values()) <= {
        "parse_crashed",
        "parse_too_long",
        "parse_too_hard",
        "parse_out_of_memory",
    }
    assert time.monotonic() - started < 30  # a bound against hanging, far above what the limits allow
    assert parser.scan("Java", "class B {}")["types"][0][0] == "B"


def test_the_memory_eater_is_stopped_by_its_limit(parser):
    with pytest.raises(ParseFailed) as failure:
        parser.scan("Java", "a<" * (N // 2))
    assert failure.value.reason in {"parse_crashed", "parse_out_of_memory", "parse_too_hard"}


@pytest.mark.parametrize("language, text", HOSTILE_SCANNED)
def test_scanners_are_linear_on_hostile_text(parser, language, text):
    files = [SourceFile("a", language, text), SourceFile("b", language, text[: len(text) // 2])]
    started = time.monotonic()
    repository_graph(files, parser)
    assert time.monotonic() - started < 10  # quadratic scanning would take minutes


def test_processor_time_is_limited():
    parser = Parser(cpu_limit=0.05)
    with pytest.raises(ParseFailed) as failure:
        parser.scan("Java", "class A{int x=" + "1+" * 400_000 + "1;}")
    assert failure.value.reason == "parse_too_long"
    parser.close()


def test_a_long_file_has_no_edges_and_says_so():
    files = [SourceFile("a.py", "Python", "import b\n" + "#" * (1 << 20)), SourceFile("b.py", "Python", "")]
    graph = repository_graph(files)
    assert graph.edges == ()
    assert graph.unparsed == {"a.py": "file_too_long_to_parse"}


def test_broken_code_never_crashes_the_child(parser):
    sources = {
        "Java": "package a.b; import static c.D.*; @X class A<T extends B> extends C { int f() { "
        "return D.g(x); } }",
        "Go": 'package p\nimport (\n x "a/b"\n)\ntype T struct { a, b int }\n'
        "func (t T) F(a int) { x.Y(T{a: 1}) }\n",
        "Rust": "#[cfg(test)] mod a { use super::{b as c, d::*}; pub fn f() -> X { g!(a::B); } }\n"
        "use e::{self};",
    }
    for language, source in sources.items():
        for start in range(0, len(source), 3):
            for end in range(start, len(source), 17):
                assert parser.scan(language, source[:start] + source[end:]) is not None


def test_the_child_works_in_a_daemonic_process_and_after_a_fork():
    """Spark's workers are forked daemons; multiprocessing refuses such a process children."""
    script = (
        "import multiprocessing as m\n"
        "from repo_ordering.parse import shared_parser\n"
        "def work(q): q.put(shared_parser().scan('Java', 'class A {}')['types'][0][:1])\n"
        "if __name__ == '__main__':\n"
        "    shared_parser().scan('Java', 'class B {}')\n"
        "    c = m.get_context('fork'); q = c.Queue(); p = c.Process(target=work, args=(q,), daemon=True)\n"
        "    p.start(); print(q.get(timeout=60)); p.join()\n"
        "    print(shared_parser().scan('Java', 'class C {}')['types'][0][:1])\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["['A']", "['C']"], done.stderr


def test_a_missing_grammar_is_an_error_and_not_a_reason(monkeypatch):
    monkeypatch.setattr("corpus.guarded._BOOT", "import sys; sys.exit(1)")
    with pytest.raises(LodeError, match="does not start"):
        Parser().scan("Java", "class A {}")


def test_edges_and_files_pickle():
    graph = repository_graph([SourceFile("a.py", "Python", "import b"), SourceFile("b.py", "Python", "")])
    assert pickle.loads(pickle.dumps(graph)) == graph


@pytest.mark.parametrize(
    "archive",
    ["okio-1.16.0", "guzzlehttp-psr7-2.4.5", "newtonsoft-json-6.0.8", "cjson-1.7.15", "thor-1.2.1"],
)
def test_every_child_finds_the_same(shared_data, archive):
    """A query's captures come in no fixed order; what is made of them may not depend on it."""
    files = files_of_path(str(shared_data / "repos" / f"{archive}.tar.gz"))
    graphs = []
    for _ in range(3):
        parser = Parser()
        graphs.append(repository_graph(files, parser))
        parser.close()
    assert graphs[0].edges and graphs[0] == graphs[1] == graphs[2]
