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

N = 100_000
HOSTILE_PARSED = [
    ("Java", "a<" * (N // 2)),
    ("Java", "class A{" + "{" * N),
    ("Java", "@A(" * (N // 3)),
    ("Java", "\0" * N),
    ("Go", "[" * N),
    ("Go", "func f(){" + "a:=b.c;" * N),
    ("Go", "package p\nvar x=" + "f(" * N),
    ("Rust", "use a::{" * (N // 8)),
    ("Rust", 'r#"' * (2 * N)),
    ("Rust", "mod a{" * (N // 6)),
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
    assert parser.scan("Java", "class B {}")["types"] == ["B"]


def test_the_memory_eater_is_stopped_by_its_limit(parser):
    with pytest.raises(ParseFailed) as failure:
        parser.scan("Java", "a<" * (N // 2))
    assert failure.value.reason in {"parse_crashed", "parse_out_of_memory", "parse_too_hard"}


@pytest.mark.parametrize("language, text", HOSTILE_SCANNED)
def test_scanners_are_linear_on_hostile_text(language, text):
    files = [SourceFile("a", language, text), SourceFile("b", language, text[: len(text) // 2])]
    started = time.monotonic()
    repository_graph(files)
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
        "def work(q): q.put(shared_parser().scan('Java', 'class A {}')['types'])\n"
        "if __name__ == '__main__':\n"
        "    shared_parser().scan('Java', 'class B {}')\n"
        "    c = m.get_context('fork'); q = c.Queue(); p = c.Process(target=work, args=(q,), daemon=True)\n"
        "    p.start(); print(q.get(timeout=60)); p.join()\n"
        "    print(shared_parser().scan('Java', 'class C {}')['types'])\n"
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
