"""Go: names and members to the file that declares them, as go/types resolves them."""

import json
import random
import textwrap
import time

import pytest

from benchmarks.repository_graphs import read_archive
from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph


def graph(tree):
    return repository_graph(
        SourceFile(path, "Go" if path.endswith(".go") else None, textwrap.dedent(text))
        for path, text in tree.items()
    )


def edges(tree, guarded=False):
    found = graph(tree)
    assert not found.unparsed
    return {(e.source, e.target) for e in found.edges if e.kind == "symbol" and e.guarded is guarded}


def targets(tree, path="main.go"):
    return sorted(target for source, target in edges(tree) if source == path)


def test_every_edge_of_go_types(shared_data):
    folder = shared_data / "graphs"
    oracle = json.loads((folder / "go-cobra-1.6.1-types.json").read_text())
    listed = set(oracle["files"])
    found = repository_graph(read_archive(folder / "go-cobra-1.6.1-types.tar.gz")).edges
    ours = {(e.source, e.target) for e in found if e.kind == "symbol" and {e.source, e.target} <= listed}
    truth = {tuple(edge) for edge in oracle["edges"]}
    assert len(ours & truth) >= 0.98 * len(truth) and len(ours - truth) <= 0.02 * len(ours)


LIBRARY = {
    "go.mod": "module example.org/m\n",
    "t.go": "package m\ntype T struct { Base; F Field; list []Field; byName map[string]*Field; ch chan Field }\n",
    "base.go": "package m\ntype Base struct { Deep int }\n",
    "basemethods.go": "package m\nfunc (b *Base) Run() Result { return Result{} }\n",
    "field.go": "package m\ntype Field struct { Name int }\n",
    "fieldmethods.go": "package m\nfunc (f Field) Do() error { return nil }\n",
    "result.go": "package m\ntype Result struct { Out int }\n",
    "face.go": "package m\ntype Face interface { Show() Result }\n",
    "new.go": "package m\nfunc New() (*T, error) { return nil, nil }\nvar Global = Make()\n",
    "make.go": "package m\nfunc Make() *T { return nil }\n",
    "fn.go": "package m\ntype Handler func(int) Field\n",
    "kind.go": "package m\ntype Kind int\n",
    "kindmethods.go": 'package m\nfunc (k Kind) String() string { return "" }\n',
    "consts.go": "package m\nconst (\n A Kind = iota\n B\n)\n",
    "other.go": "package m\ntype Other struct { Name, Run, Do, Out, Show, String int }\n",
    "box.go": "package m\ntype Box[E any] struct { Held int }\nfunc Wrap[E Face](e E) Box[E] { return Box[E]{} }\n",
}


@pytest.mark.parametrize(
    "code, expected",
    [
        ("func f(t *T) { t.Run() }", "t basemethods"),
        ("func f(t T) { _ = t.Deep }", "t base"),
        ("func f(t T) { _ = t.Base.Deep }", "t base"),
        ("func f(t T) { t.F.Do() }", "t fieldmethods"),
        ("func f() { x, err := New(); _ = err; x.Run() }", "new basemethods"),
        ("func f() { x, err := New()\n if err != nil { return }\n _ = x.Run().Out }", "new basemethods result"),
        ("func f() { x := &T{F: Field{Name: 1}}; _ = x }", "t field"),
        ("var x = []Field{{Name: 1}}", "field"),
        ("var x = map[string]Field{\"a\": {Name: 1}}", "field"),
        ("func f() { Global.Run() }", "new basemethods"),
        ("func f(t T) { for _, e := range t.list { e.Do() } }", "t fieldmethods"),
        ("func f(t T) { for k, v := range t.byName { _ = k; v.Do() } }", "t fieldmethods"),
        ("func f(t T) { t.byName[\"a\"].Do() }", "t fieldmethods"),
        ("func f(t T) { e := <-t.ch; e.Do() }", "t fieldmethods"),
        ("func f(t T) { for e := range t.ch { e.Do() } }", "t fieldmethods"),
        ("func f(t T) { select { case e := <-t.ch: e.Do() } }", "t fieldmethods"),
        ("func f(x any) { x.(*Field).Do() }", "field fieldmethods"),
        ("func f(x any) { if y, ok := x.(Face); ok { y.Show() } }", "face"),
        ("func f(x any) { switch y := x.(type) { case *Field: y.Do()\n case T: y.Run() } }",
         "field fieldmethods t basemethods"),
        ("func f(h Handler) { h(1).Do() }", "fn fieldmethods"),
        ("func f() { g := func(t T) Field { return t.F }; g(T{}).Do() }", "t fieldmethods field"),
        ("func f() { _ = (&Base{}).Run() }", "base basemethods"),
        ("func f() { x := new(Field); x.Do() }", "field fieldmethods"),
        ("func f() { x := make([]Field, 3); x[0].Do() }", "field fieldmethods"),
        ("func f() { var x []Field; x = append(x, Field{}); append(x, x[0])[0].Do() }", "field fieldmethods"),
        ("func f() { _ = Kind(3).String() }", "kind kindmethods"),
        ("func f() { B.String() }", "consts kindmethods"),
        ("func f() { _ = Wrap[Face](nil).Held }", "box face"),
        ("func f[E Face](e E) { e.Show() }", "face"),
        ("func f() { type L struct { Field }; var l L; l.Do() }", "field fieldmethods"),
        ("func f() { _ = Field.Do }", "field fieldmethods"),
        ("type Mine Base\nfunc f(m Mine) { _ = m.Deep }", "base"),
        ("type Same = Field\nfunc f(s Same) { s.Do() }", "field fieldmethods"),
        # Names that are bound here are nobody else's.
        ("func f(New int, Global string) { _ = New; _ = Global }", ""),
        ("func f() { if Make := 1; Make > 0 { _ = Make } else { _ = Make }; Make() }", "make"),
        ("func f() { { Make := 1; _ = Make }\n for Make := range 3 { _ = Make }\n }", ""),
        ("func f() { New: for { break New } }", ""),
        ("func f() { _ = struct{ New int }{New: 1} }", ""),
        # Text and comments name nothing.
        ("// New()\n/* Make() */ var s = \"New\" + `Make()`", ""),
        # Members of what other people made are not those that are called so here.
        ("import \"os/exec\"\nfunc f(c *exec.Cmd) { c.Run(); c.Out = 1 }", ""),
        ("func f(err error) { err.Show(); (\"\").String() }", ""),
    ],
)  # fmt: skip
def test_members_by_type(code, expected):
    tree = LIBRARY | {"main.go": f"package m\n{code}\n"}
    assert targets(tree) == sorted(f"{name}.go" for name in expected.split())


def test_packages_and_platforms():
    tree = {
        "go.mod": "module example.org/m\n",
        "a.go": 'package m\nimport q "example.org/m/p"\nimport "fmt"\nfunc A(local int) { B(); '
        "t := q.New(); t.Run(); fmt.Run(); local++ }\n",
        "b.go": "package m\nvar local = 1\nfunc B() { local := 2; _ = local }\n",
        "b_windows.go": "package m\nfunc A2() { B() }\nfunc plat() {}\n",
        "c.go": "package m\nfunc C() { plat(); tagged() }\n",
        "d.go": "//go:build !plan9\n\npackage m\nfunc tagged() {}\n",
        "a_test.go": "package m\nfunc helper() { A(1) }\n",
        "p/p.go": "package p\ntype T struct{}\nfunc New() T { return T{} }\n",
        "p/run.go": "package p\nfunc (t T) Run() {}\n",
    }
    assert edges(tree) == {
        ("a.go", "b.go"), ("a.go", "p/p.go"), ("a.go", "p/run.go"), ("b_windows.go", "b.go"),
        ("a_test.go", "a.go"), ("p/run.go", "p/p.go"),
    }  # fmt: skip
    assert edges(tree, guarded=True) == {("c.go", "b_windows.go"), ("c.go", "d.go")}


def test_test_packages_see_their_own_tests_only():
    tree = {
        "go.mod": "module m.org/x\n",
        "a.go": "package x\nfunc A() { hidden() }\n",
        "export_test.go": "package x\nfunc Hidden() {}\nfunc hidden() {}\n",
        "x_test.go": 'package x_test\nimport "m.org/x"\nfunc t() { x.A(); x.Hidden(); own() }\n',
        "y_test.go": "package x_test\nfunc own() {}\n",
        "gen.go": "//go:build ignore\n\npackage main\nfunc A() {}\n",
        "z/z.go": 'package z\nimport "m.org/x"\nfunc Z() { x.A(); x.Hidden() }\n',
    }
    assert edges(tree) == {
        ("x_test.go", "a.go"), ("x_test.go", "export_test.go"), ("x_test.go", "y_test.go"), ("z/z.go", "a.go"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "path, statement, target",
    [
        ("main.go", 'import "example.org/m/p"', "p/p.go"),
        ("main.go", 'import p "example.org/m/p"', "p/p.go"),
        ("main.go", 'import (\n\t// "example.org/m/q"\n\t"example.org/m/p" // why\n)', "p/p.go"),
        ("main.go", "import `example.org/m/p`", "p/p.go"),
        ("main.go", 'import "example.org/sub/p"', "sub/p/p.go"),
        ("main.go", 'import "example.org/m/sub/p"', None),  # the nested module has another name
        ("main.go", 'import "example.org/lib/p"', "vendor/example.org/lib/p/p.go"),
        ("main.go", 'import "example.org/fork/p"', "third/p/p.go"),
        ("sub/main.go", 'import "example.org/fork/p"', None),  # replaced for the other module alone
        ("main.go", 'import "elsewhere.org/m/p"', None),
        ("main.go", 'import "p"', None),
        ("main.go", 'import "./p"', "p/p.go"),
    ],
)
def test_import_paths(path, statement, target):
    places = ["p", "q", "sub/p", "vendor/example.org/lib/p", "third/p"]
    tree = {f"{place}/p.go": "package p\nfunc New() {}\n" for place in places}
    tree |= {
        "go.mod": "module example.org/m\nrequire example.org/fork v1.0.0\nreplace example.org/fork v1.0.0 => ./third\n",
        "sub/go.mod": "module example.org/sub\n",
        path: f"package main\n{statement}\nfunc f() {{ p.New() }}\n",
    }
    assert targets(tree, path) == ([target] if target else [])


def test_dot_imports_and_names_of_packages():
    tree = {
        "go.mod": "module m.org/x/v2\n",
        "a/a.go": 'package a\nimport . "m.org/x/v2/go-b"\nimport "m.org/x/v2/go-b"\nfunc f() { Dot(); bee.Plain() }\n',
        "go-b/dot.go": "package bee\nfunc Dot() {}\n",
        "go-b/plain.go": "package bee\nfunc Plain() {}\n",
    }
    assert targets(tree, "a/a.go") == ["go-b/dot.go", "go-b/plain.go"]


def test_the_root_is_guessed_where_no_module_says_it():
    tree = {
        "main.go": 'package main\nimport (\n"github.com/o/r/a"\n"github.com/pkg/errors"\n)\n'
        "func f() { a.A(); errors.New() }\n",
        "a/a.go": "package a\nfunc A() {}\n",
        "errors/errors.go": "package errors\nfunc New() {}\n",
    }
    assert targets(tree) == ["a/a.go"]
    tree["a/a.go"] = 'package a // import "canon.org/r/a"\nfunc A() {}\n'
    tree["main.go"] = 'package main\nimport "canon.org/r/a"\nfunc f() { a.A() }\n'
    assert targets(tree) == ["a/a.go"]


def test_broken_code_keeps_what_is_readable():
    tree = {
        "main.go": "package m\nfunc broken( { Other(\n\nfunc whole(t T) { t.M() }\n",
        "t.go": "package m\ntype T struct{}\n",
        "m.go": "package m\nfunc (T) M() {}\n",
    }
    assert {"m.go", "t.go"} <= set(targets(tree))


@pytest.mark.parametrize(
    "cut", ["func f(a Foo[)) {}", "type T struct { a Foo[} }", "func f() Foo[{ }", "var a Foo[=", "func f("]
)
def test_code_that_ends_in_the_middle_is_read_to_its_end(cut):
    assert targets(
        {"main.go": f"package m\n{cut}\nvar v = g()\n", "g.go": "package m\nfunc g() int { return 1 }\n"}
    ) in (
        ["g.go"],
        [],
    )  # what counts is that the file is parsed: `targets` asserts it


def test_cycles_and_long_chains_end():
    tree = {"go.mod": "module m\n"}
    for i in range(300):
        j = (i + 1) % 300
        tree[f"d{i}/a.go"] = (
            f'package d{i}\nimport "m/d{j}"\ntype T struct {{ d{j}.T }}\ntype A = d{j}.A\ntype U d{j}.U\n'
            f"var V = d{j}.V.x\nfunc f(t T, a A, u U) {{ t.no(); a.no(); u.no() }}\n"
        )
    assert len(edges(tree)) == 300


def test_arrival_does_not_matter():
    files = [SourceFile(p, "Go" if p.endswith(".go") else None, t) for p, t in LIBRARY.items()]
    first = repository_graph(files)
    for seed in range(5):
        random.Random(seed).shuffle(files)
        assert repository_graph(files) == first


def test_names_that_others_write():
    builder = GraphBuilder()
    builder.add(SourceFile("a.go", "Go", "package m\nfunc f(t T) { t.Run(); Used() }\n"))
    builder.add_absent(
        "b.go", "Go", "package m\ntype T struct{}\nfunc (T) Run() {}\nfunc Used() {}\nfunc Unused() {}\n"
    )
    assert builder.names_used({"b.go": ["a.go"]}) == {"b.go": ["Run", "T", "Used"]}


def test_many_modules_and_the_longest_replacement():
    tree = {f"m{i}/go.mod": f"module x.org/m{i}\n" for i in range(6000)}
    tree |= {f"m{i}/a.go": f'package a\nimport "x.org/m{i + 1}"\nfunc f() {{ a.G{i + 1}() }}\nfunc G{i}() {{}}\n'
             for i in range(6000)}  # fmt: skip
    tree["m5999/go.mod"] += "replace x.org => ../m1\nreplace x.org/m6000 => ../m0\n"
    tree["m0/b.go"] = "package a\nfunc G6000() {}\n"
    started = time.process_time()
    assert ("m5999/a.go", "m0/b.go") in (found := edges(tree)) and len(found) == 6000
    assert time.process_time() - started < 5  # each import against each module takes ten


def test_very_wide_embedding_and_very_long_imports_end():
    wide = "type T struct {\n" + "".join(f"E{i}\n" for i in range(5000)) + "}\n"
    wide += "".join(f"type E{i} struct {{ a int }}\n" for i in range(5000))
    wide += "func f(t T) {\n" + "".join(f"t.x{i}()\n" for i in range(5000)) + "}\n"
    started = time.process_time()
    assert edges({"a.go": "package a\n" + wide, "b.go": f'package a\nimport "{"a/" * 200_000}"\n'}) == set()
    assert time.process_time() - started < 12  # each member in each embedded type takes over twenty


def test_names_of_a_file_that_could_not_be_read():
    builder = GraphBuilder()
    builder.add(SourceFile("a.go", "Go", "package a\nfunc F() {}\n"))
    builder.add(SourceFile("a_test.go", "Go", "package a\n//" + "x" * (1 << 20)))
    assert builder.names_used({"a.go": ["a_test.go"]}) == {"a.go": []}
