"""C#: names as the compiler resolves them, partial types, extension methods, projects."""

import time

import pytest

from repo_ordering.graph import SourceFile, repository_graph
from tests.repo_ordering.expectations import compare


def graph(tree):
    files = [SourceFile(path, "C#" if path.endswith(".cs") else "XML", text) for path, text in tree.items()]
    return [edge for edge in repository_graph(files).edges if edge.kind in ("import", "symbol")]


def edges(tree, guarded=False, kind="symbol"):
    return {(e.source, e.target) for e in graph(tree) if e.guarded is guarded and e.kind == kind}


@pytest.mark.parametrize("name", ["csharp-newtonsoft", "csharp-keepass"])
def test_against_edges_read_by_hand(shared_data, name):
    count, missing, wrong = compare(name, shared_data)
    assert count >= 40
    assert len(missing) <= 0.02 * count and len(wrong) <= 0.02 * count, (missing, wrong)


DECLARED = {
    "A.cs": "namespace Lib { public class A { public static int X; public class Inner {} } }",
    "G.cs": "namespace Lib; public class A<T> {} public interface IFace<T> {}",
    "Mark.cs": "namespace Lib { class MarkAttribute : System.Attribute {} }",
    "Mark2.cs": "namespace Lib { class Mark {} delegate void Done(int x); enum Kind { One } record R(int X); }",
    "Deep.cs": "namespace Lib.Deep { struct S {} static class Help { public static int F() => 1; } }",
    "Top.cs": "class Top {}",
}


@pytest.mark.parametrize(
    "code, targets",
    [
        ("using Lib; class Z : A {}", ["A.cs"]),
        ("using Lib; class Z { A<int> a; }", ["G.cs"]),
        ("using Lib; class Z : IFace<A> {}", ["A.cs", "G.cs"]),
        ("namespace Lib.Other; class Z { A.Inner i; Deep.S s; }", ["A.cs", "Deep.cs"]),
        ("namespace Lib.Other { class Z { int i = A.X; } }", ["A.cs"]),
        ("class Z { Lib.A a = new global::Lib.A(); Lib.Deep.S s; }", ["A.cs", "Deep.cs"]),
        ("using D = Lib.Deep; class Z { D.S s; }", ["Deep.cs"]),
        ("using B = Lib.A; class Z { B b; }", ["A.cs"]),
        ("using static Lib.Deep.Help; class Z { int i = F(); }", ["Deep.cs"]),
        ("using Lib; [Mark] class Z {}", ["Mark.cs"]),
        ("using Lib; class Z { void M(object o) { if (o is Mark && true) {} } }", ["Mark2.cs"]),
        ("using Lib; class Z { Done d; Kind k = Kind.One; }", ["Mark2.cs"]),
        ("using Lib; class Z { string s = nameof(A); object o = typeof(IFace<>); }", ["A.cs", "G.cs"]),
        ("using Lib; class Z { void M<T>() where T : A { M<R>(); try {} catch (Mark e) {} } }", ["A.cs", "Mark2.cs"]),
        ("using Lib; /// <see cref=\"A\"/>\n// A\nclass Z { string s = \"A\"; }", []),
        ("using Lib; class A { A a; }", []),
        ("using Lib; class Z { class A {} A a; }", []),
        ("using Lib; class Z { Z A; void M() { A.X(); } }", []),
        ("using Lib; class Z<A> { A a; }", []),
        ("class Z { A a; Top t; }", ["Top.cs"]),
        ("namespace N { using Lib; class Y { A a; } } namespace M { class Z { R r; } }", ["A.cs"]),
        ("class Z { void M() { var x = new Lib.A { }; Lib.Deep.Help.F(); } }", ["A.cs", "Deep.cs"]),
    ],
)  # fmt: skip
def test_names(code, targets):
    assert edges({**DECLARED, "Z.cs": code}) - edges(DECLARED) == {("Z.cs", target) for target in targets}


def test_only_static_usings_and_aliases_name_files():
    tree = {**DECLARED, "Z.cs": "using Lib; using static Lib.Deep.Help; using B = Lib.A;"}
    assert edges(tree, kind="import") == {("Z.cs", "Deep.cs"), ("Z.cs", "A.cs")}


def test_bases_bring_in_their_nested_types_and_members():
    tree = {
        "Base.cs": "namespace N { class Base { protected class Row {} public int Size; } }",
        "Row.cs": "namespace N { class Row {} }",
        "Size.cs": "namespace N { class Size { public static int Max; } }",
        "Z.cs": "namespace N { class Z : Base { Row r; int M() => Size.Max; } }",
    }
    assert edges(tree) == {("Z.cs", "Base.cs")}


def test_the_part_of_a_type_that_declares_the_member():
    tree = {
        "Form.cs": "partial class Form : Window { void Start() { Build(); } public static int Count; }",
        "Form.Designer.cs": "partial class Form { void Build() { } public static void Close() {} int unused; }",
        "Window.cs": "class Window {}",
        "One.cs": "class One { Form form; }",
        "Two.cs": "class Two { void M() { Form.Close(); } }",
        "Three.cs": "class Three { void M(Form form) { form.Build(); } }",
    }
    assert edges(tree) == {
        ("Form.cs", "Window.cs"), ("Form.cs", "Form.Designer.cs"), ("One.cs", "Form.cs"),
        ("Two.cs", "Form.Designer.cs"), ("Three.cs", "Form.cs"), ("Three.cs", "Form.Designer.cs"),
    }  # fmt: skip


def test_extension_methods():
    tree = {
        "Ext.cs": "namespace E { static class Ext { public static int Twice(this int x, int y = 0) => x; } }",
        "Tool.cs": "namespace N { class Tool { public static void Twice() {} } }",
        "In.cs": "using E; class In { int M(int a) => a.Twice(1); }",
        "Many.cs": "using E; class Many { int M(int a) => a.Twice(1, 2); }",
        "Static.cs": "using E; using N; class Static { void M() { Tool.Twice(); } }",
        "Out.cs": "class Out { int M(int a) => a?.Twice(); }",
    }
    found = {(e.source, e.target): e.confidence for e in graph(tree)}
    assert found == {("In.cs", "Ext.cs"): 0.6, ("Static.cs", "Tool.cs"): 1.0}


def test_what_holds_under_a_condition():
    tree = {
        "A.cs": "namespace N { class A {} }",
        "B.cs": "#if OLD\nnamespace N { class B { A a; } }\n#endif",
        "Z.cs": "namespace N { class Z {\n#if OLD\n A a;\n#else\n C c;\n#endif\n D d; B b; } }",
        "C.cs": "namespace N { class C {} }",
        "D.cs": "namespace N { class D {} }",
    }
    assert edges(tree) == {("B.cs", "A.cs"), ("Z.cs", "D.cs")}
    assert edges(tree, guarded=True) == {("Z.cs", "A.cs"), ("Z.cs", "C.cs"), ("Z.cs", "B.cs")}


def test_projects_decide_between_declarations_and_bring_in_usings():
    one = "namespace Lib { public class One {} }"
    tree = {
        "a/A.csproj": "<Project><ItemGroup><ProjectReference Include='..\\b\\B.csproj' /></ItemGroup></Project>",
        "b/B.csproj": "<Project/>", "c/C.csproj": "<Project/>",
        "a/Z.cs": "using Lib; class Z { One one; }",
        "b/One.cs": one, "c/One.cs": one, "c/deep/Z.cs": "using Lib; class Z { One one; }",
    }  # fmt: skip
    assert edges(tree) == {("a/Z.cs", "b/One.cs"), ("c/deep/Z.cs", "c/One.cs")}
    usings = {
        "Directory.Build.props": "<Project><Using Include='Lib.Shared' /></Project>",
        "p/P.csproj": "<ImplicitUsings>enable</ImplicitUsings><Using Alias='Al' Include='Own.Two' />",
        "p/Global.cs": "global using Own;",
        "p/Own.cs": "namespace Own { class Two {} class Three {} }",
        "p/IO.cs": "namespace System.IO { class Odd {} }",
        "Shared.cs": "namespace Lib.Shared { class Four {} }",
        "p/Z.cs": "class Z { Al a; Three b; Odd c; Four d; }",
        "q/Z.cs": "class Y { Al a; Three b; Odd c; Four d; }",
    }
    assert edges(usings) == {
        ("p/Z.cs", "p/Own.cs"), ("p/Z.cs", "p/IO.cs"), ("p/Z.cs", "Shared.cs"), ("q/Z.cs", "Shared.cs"),
    }  # fmt: skip


def test_a_namespace_whose_end_is_lost_still_counts():
    tree = {
        "Z.cs": "namespace N {\nclass Z {\nvoid M() {\n#if A\nif (x) {\n#else\nfor (;;) {\n#endif\nB.F(); }\n}\n",
        "B.cs": "namespace N { class B { public static void F() {} } }",
        "Y.cs": "namespace N { class Y { Z z; } }",
    }  # fmt: skip
    assert {(e.source, e.target) for e in graph(tree)} == {("Z.cs", "B.cs"), ("Y.cs", "Z.cs")}


def test_names_declared_everywhere_rings_of_bases_and_chains_of_projects():
    count = 1500
    tree = {
        f"p{i}/Same.cs": f"namespace N {{ class Same {{ Only{i} o; }} class Only{i} : Only{i + 1} {{ Same s; }} }}"
        for i in range(count)
    }
    tree |= {
        f"p{i}/P.csproj": f'<ProjectReference Include="../p{i + 1}/P.csproj" />' for i in range(0, count, 2)
    }
    tree |= {
        f"u/U{i}.cs": f"namespace N {{ class U{i} : U{(i + 1) % count} {{ Same s; Part p; Twin.Deep d; }} }}"
        for i in range(count)
    }
    tree |= {
        f"v/V{i}.cs": f"namespace N {{ partial class Part {{ int F{i}, G; void M() {{ F{i + 1}(); G(); }} }} }}"
        for i in range(count)
    }
    tree |= {
        f"w/W{i}.cs": "using A=A;using static N.Same;namespace N { partial class Twin : Twin { class Deep : Deep {} }}"
        for i in range(count)
    }
    started = time.monotonic()
    found = graph(tree)
    assert time.monotonic() - started < 60  # quadratic work would take far longer
    assert len(found) < 40 * len(tree)


def test_what_is_nested_too_deep_or_named_too_long_costs_no_more_than_its_length():
    deep = "".join(f"class B{i} : C {{ X{i} f;" for i in range(2000)) + "}" * 2000
    spaces = "".join(f"namespace a{i} {{ class C{i} {{ X{i} x; }}" for i in range(2000)) + "}" * 2000
    types = "class C {} " + "".join(f"class X{i} {{}}" for i in range(2000))
    long = f"namespace {'n' * 100_000} {{ {types} }}"
    started = time.process_time()
    found = edges({"deep.cs": deep, "spaces.cs": spaces, "types.cs": types, "long.cs": long})
    assert found == {("deep.cs", "types.cs"), ("spaces.cs", "types.cs")}
    assert time.process_time() - started < 3  # by the square of the depth it takes over ten


def test_many_parts_of_many_types():
    one = {f"a{k}.cs": "".join(f"partial class P {{ int m{i}_{k}; }}" for i in range(3000)) for k in range(2)}
    many = {f"b{k}.cs": "".join(f"partial class P{i} {{ int m{i}; }}" for i in range(3000)) for k in range(2)}
    started = time.process_time()
    assert edges(one | many) == set()
    assert time.process_time() - started < 4  # each type with each name takes over ten
