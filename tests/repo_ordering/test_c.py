"""C and C++: includes against gcc, calls against the linker, and small trees whose edges are plain to see."""

import json
import time

import pytest

from benchmarks.repository_graphs import read_archive
from repo_ordering.edges import Facts
from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph
from repo_ordering.languages import c

LANGUAGE = {"c": "C", "h": "C++", "cc": "C++", "hpp": "C++", "m": "Objective-C"}


def graph(tree):
    return repository_graph(
        SourceFile(path, LANGUAGE.get(path.rpartition(".")[2]), text) for path, text in tree.items()
    )


def edges(tree, kind, guarded=False):
    return {(e.source, e.target) for e in graph(tree).edges if e.kind == kind and e.guarded is guarded}


@pytest.mark.parametrize(
    "name, precision, recall", [("c-redis-7.0.15", 0.97, 0.99), ("cpp-leveldb-1.23", 0.99, 0.99)]
)
def test_includes_are_those_of_gcc(shared_data, name, precision, recall):
    oracle = json.loads((shared_data / "graphs" / f"{name}.json").read_text())
    found = repository_graph(read_archive(shared_data / "graphs" / f"{name}.tar.gz"))
    listed, truth = set(oracle["files"]), set(map(tuple, oracle["edges"]))
    ours = [e for e in found.edges if e.kind == "import" and e.source in listed and e.target in listed]
    hits = len(truth & {(e.source, e.target) for e in ours})
    wrong = len({(e.source, e.target) for e in ours if not e.guarded} - truth)
    assert hits / len(truth) >= recall and hits / (hits + wrong) >= precision
    assert not found.unparsed


def test_branches_of_the_preprocessor():
    text = """
#ifndef A_H
#define A_H
#include "plain.h"
#ifdef __cplusplus
#include "cpp.h"
#endif
#if 0
#include "never.h"
#if X
#include "never.h"
#endif
#else
#include "always.h"
#endif
#if 1
#include "one.h"
#elif X
#include "never.h"
#else
#include "never.h"
#endif
#if __has_include("there.h")
#  include "there.h"
#endif
#ifdef WIN32
#include "win.h"
#elif defined(APPLE)
#include "apple.h"
#else
#include "other.h"
#endif
%:include "digraph.h"
#include_next "next.h"
#embed "data.bin"
int million = 1'000'000; char quote = '"'; // #include "never.h"
#include "after.h" /* done */
#endif
"""
    found = {(name, guarded) for name, _, guarded in c.scan(text)}
    sure = ["plain.h", "cpp.h", "always.h", "one.h", "there.h", "digraph.h", "data.bin", "after.h"]
    assert found == {(n, False) for n in sure} | {(n, True) for n in ("win.h", "apple.h", "other.h")}


def test_an_ambiguous_include_is_found_where_others_are():
    tree = {
        "a/include/util.h": "",
        "a/include/only_a.h": "",
        "a/src/x.c": '#include "only_a.h"',
        "a/src/deep/y.c": "#include <util.h>",
        "b/include/util.h": "",
        "b/x.c": '#include "util.h"',
        "tests/a/z.c": '#include "util.h"\n#include "only_a.h"',
        "z.c": '#include "util.h"',
    }
    assert edges(tree, "import") == {
        ("a/src/x.c", "a/include/only_a.h"),
        ("a/src/deep/y.c", "a/include/util.h"),
        ("b/x.c", "b/include/util.h"),
        ("tests/a/z.c", "a/include/only_a.h"),
        ("tests/a/z.c", "a/include/util.h"),
    } | {("z.c", "a/include/util.h")}


@pytest.mark.parametrize(
    "build",
    [
        {"app/Makefile": "CFLAGS += -O2 -I. -I../second/inc -I../first/inc\n"},
        {"app/CMakeLists.txt": "target_include_directories(app PRIVATE\n ../second/inc ../first/inc)\n"},
        {"CMakeLists.txt": 'include_directories("${CMAKE_SOURCE_DIR}/second/inc" ${X}/first)\n'},
        {"app/app.pro": "INCLUDEPATH += $$PWD/../second/inc \\\n ../first/inc\n"},
        {
            "build/compile_commands.json": json.dumps(
                [
                    {
                        "directory": "/home/a/project/build",
                        "file": "../app/main.c",
                        "command": "cc -I/usr/include -isystem /home/a/project/first/inc -I../second/inc -c x",
                    }
                ]
            )
        },
    ],
)
def test_build_files_say_where_to_look(build):
    tree = {"first/inc/x.h": "", "second/inc/x.h": "", "app/main.c": "#include <x.h>"} | build
    assert edges(tree, "import") == {("app/main.c", "second/inc/x.h")}


@pytest.mark.parametrize("text", ["", "[", "[1, {}]", "{}", '[{"directory": 1, "file": []}]', "[" * 99_999])
def test_a_broken_compile_database_is_no_matter(text):
    tree = {"compile_commands.json": text, "a.c": '#include "a.h"', "a.h": ""}
    assert edges(tree, "import") == {("a.c", "a.h")}


def test_headers_of_the_system_are_not_the_repositorys_unless_it_is_a_c_library():
    tree = {"compat/time.h": "", "a.c": "#include <time.h>\n#include <vector>", "b/vector": ""}
    assert not edges(tree, "import")
    tree |= {f"include/{name}.h": "" for name in ("stdio", "stdlib", "string", "stddef")}
    tree["x/b.c"] = "#include <stdio.h>"
    assert ("x/b.c", "include/stdio.h") in edges(tree, "import")


def test_one_header_for_each_platform_is_guarded():
    tree = {f"arch/{name}/bits.h": "" for name in ("arm", "x86")} | {"src/a.c": '#include "bits.h"'}
    assert edges(tree, "import", guarded=True) == {
        ("src/a.c", f"arch/{name}/bits.h") for name in ("arm", "x86")
    }
    assert not edges(tree, "import")


LIBRARY = {
    "include/api.h": "#ifndef API\n#define API\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
    "EXPORT int api_open(const char *);\nint api_close(int);\nextern int api_count;\n"
    "static inline int api_twice(int x) { return 2 * x; }\n#define API_LOG(x) api_log(1, x)\n"
    "void api_log(int, char *);\n#ifdef __cplusplus\n}\n#endif\n#endif\n",
    "src/open.c": '#include "api.h"\nstatic int helper(void) { return 0; }\n'
    "int api_open(const char *n) { return helper(); }\n",
    "src/unix/close.c": '#include "../all.h"\nint api_close(int x) { return x; }\n',
    "src/win/close.c": '#include "../all.h"\nint api_close(int x) { return -x; }\n',
    "src/log.c": '#include "api.h"\nint api_count = 0;\nvoid api_log(int n, char *s) {}\n',
    "src/all.h": '#include "api.h"\n',
    "src/other.c": "int helper(void) { return 1; }\nint hidden(void) { return 2; }\n",
    "app/main.c": '#include "../src/all.h"\nint main(void) { API_LOG("x"); api_twice(1); hidden(); helper();\n'
    "#ifdef MORE\n  api_close(1);\n#endif\n  return api_open(0); }\n",
    "src/user.c": "int f(int (*hidden)(void)) { return hidden(); }\nint g() { return unknown(helper()); }\n",
}  # fmt: skip


def test_a_call_leads_to_the_file_that_defines_the_function():
    assert edges(LIBRARY, "symbol") == {
        ("app/main.c", "src/open.c"),
        ("app/main.c", "src/log.c"),  # through a macro
        ("app/main.c", "include/api.h"),  # where the function itself is
        ("src/user.c", "src/other.c"),  # that no header declares, and that another file has for itself
    }
    assert edges(LIBRARY, "symbol", guarded=True) == {
        ("app/main.c", "src/unix/close.c"),
        ("app/main.c", "src/win/close.c"),
    }
    sure = {(e.source, e.target): e.confidence for e in graph(LIBRARY).edges if e.kind == "symbol"}
    assert sure["app/main.c", "src/open.c"] == 0.9 and sure["src/user.c", "src/other.c"] == 0.6


def test_an_implementation_leads_to_its_header():
    tree = LIBRARY | {"src/data.c": "int x;", "src/data.h": "broken (", "src/more.c": "", "app/more.h": ""}
    assert edges(tree, "header") == {
        ("src/open.c", "include/api.h"),
        ("src/log.c", "include/api.h"),
        ("src/unix/close.c", "include/api.h"),
        ("src/win/close.c", "include/api.h"),
        ("src/data.c", "src/data.h"),
    }


def test_members_and_scopes_of_cpp():
    tree = {
        "db.h": "namespace n {\nclass EXPORT Table final : public Base {\n public:\n  explicit Table(int);\n"
        "  static Table* Open(const char*);\n  int Lookup(int) const;\n  int inlined() { return 1; }\n};\n"
        "template <class T> struct Box { T get_it(); };\nvoid Free(Table*);\n}\n",
        "table.cc": '#include "db.h"\nnamespace n {\nTable::Table(int x) : a(x) {}\n'
        "int Table::Lookup(int k) const { return k; }\ntemplate <class T> T Box<T>::get_it() { return T(); }\n}\n",
        "open.cc": '#include "db.h"\nnamespace n { Table* Table::Open(const char* c) { return new Table(1); } }\n',
        "free.cc": '#include "db.h"\nnamespace n { void Free(Table* t) { delete t; }\n'
        "namespace { int Local() { return 1; } } }\n",
        "use.cc": '#include "db.h"\nint main() { n::Table* t = n::Table::Open("x"); t->Lookup(1); n::Free(t);\n'
        "  std::string s; s.size(); Local(); return t->inlined(); }\n",
        "far.cc": "int f(X* x) { return x->Lookup(1); }\n",
        "string.cc": "int String::size() { return 1; }\n",
    }
    assert edges(tree, "symbol") == {
        ("open.cc", "table.cc"),
        ("use.cc", "open.cc"),
        ("use.cc", "table.cc"),
        ("use.cc", "free.cc"),
        ("use.cc", "db.h"),
    }
    assert edges(tree, "header") == {(path, "db.h") for path in ("table.cc", "open.cc", "free.cc")}


def test_of_two_definitions_the_one_whose_header_is_included():
    tree = {}
    for part in ("ours", "vendored"):
        tree[f"{part}/sds.h"] = "int sdslen(char *);\n"
        tree[f"{part}/sds.c"] = '#include "sds.h"\nint sdslen(char *s) { return 0; }\n'
        tree[f"{part}/use.c"] = '#include "sds.h"\nint use(char *s) { return sdslen(s); }\n'
    assert edges(tree, "symbol") == {(f"{part}/use.c", f"{part}/sds.c") for part in ("ours", "vendored")}


def test_the_order_of_arrival_does_not_matter():
    paths = sorted(LIBRARY)
    files = [SourceFile(p, LANGUAGE[p.rpartition(".")[2]], LIBRARY[p]) for p in paths]
    assert repository_graph(files) == repository_graph(files[::-1])


def test_what_a_stub_tells():
    builder = GraphBuilder()
    for path, text in LIBRARY.items():
        builder.add(SourceFile(path, LANGUAGE[path.rpartition(".")[2]], text))
    assert builder.names_used({"src/open.c": ["app/main.c"], "include/api.h": ["src/open.c"]}) == {
        "src/open.c": ["api_open"],
        "include/api.h": [],
    }


def symbols(**given):
    empty = ("defined", "static", "declared", "called", "bound", "types", "named")
    empty += ("defined_if", "called_if", "macros_if")
    return {key: [] for key in empty} | {"macros": {}} | given


def test_resolving_is_linear_on_hostile_facts():
    count = 20_000
    facts, files = {}, {}
    for number in range(count):
        path = f"{number % 97}/f{number}.{'h' if number % 2 else 'c'}"
        includes = [[f"f{number + 1}.h", True, False], ["same.h", True, False]]  # one chain through all
        facts[path] = Facts(
            includes,
            symbols(
                defined=["same", f"d{number}"],
                declared=["same", f"d{number + 1}"],
                called=["same", f"d{number + 1}", "M0", ".same"],
                macros={f"M{number}": [f"M{number + 1}", "M0"]},
            ),
        )
        files[path] = SourceFile(path, "C", "")
        same = f"{number}/same.h"
        files[same], facts[same] = SourceFile(same, "C", ""), Facts([[f"f{number}.h", True, False]], None)
    started = time.process_time()
    found = list(c.resolve(facts, files))
    assert time.process_time() - started < 30  # a bound against quadratic work, far above what it takes
    assert found
