"""Swift: names and members to the file of the module that declares them."""

import random
import time

import pytest

from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph
from tests.repo_ordering.expectations import compare


def edges(tree, guarded=False):
    found = repository_graph(SourceFile(path, "Swift", text) for path, text in tree.items())
    assert not found.unparsed
    return {(e.source, e.target) for e in found.edges if e.kind == "symbol" and e.guarded is guarded}


@pytest.mark.parametrize("name, recall", [("swift-capacitor", 0.94), ("swift-vision-camera", 0.90)])
def test_against_edges_read_by_hand(shared_data, name, recall):
    count, missing, wrong = compare(name, shared_data)
    assert count >= 40
    assert len(missing) <= (1 - recall) * count and len(wrong) <= 0.03 * count, (missing, wrong)


MODULE = {
    "Base.swift": "class Base { func inherited() {} }",
    "Thing.swift": "class Thing: Base { var part: Part; static let shared = Thing()\n init(name: String) {} }",
    "Thing+More.swift": "extension Thing { func more() -> Part { part } }",
    "Part.swift": "struct Part { var size = 0\n enum Kind { case big, small } }",
    "Part+Draw.swift": "extension Part { func draw() {}\n subscript(at index: Int) -> Part { self } }",
    "Face.swift": "protocol Face { var shown: Part { get } }",
    "Face+Default.swift": "extension Face { func present() {} }",
    "Free.swift": "func free() -> Thing { Thing.shared }\nlet constant = 1\ntypealias Parts = [Part]",
    "String+Case.swift": "extension String { var shouted: String { self }\n init(part: Int) {} }",
    "Ops.swift": "infix operator <~>: AdditionPrecedence\nfunc <~> (a: Int, b: Int) -> Int { a }",
    "Other.swift": "class Other { var size = 0\n func draw() {}\n func more() {}\n private func hidden() {} }",
    "Secret.swift": "private struct Secret {}\nfileprivate func whisper() {}",
}


@pytest.mark.parametrize(
    "code, expected",
    [
        ("let x = Thing(name: \"a\")", "Thing"),
        ("func f(t: Thing) { t.more().draw() }", "Thing Thing+More Part+Draw"),
        ("func f(t: Thing?) { t?.part.draw() }", "Thing Part+Draw"),
        ("func f(t: Thing) { t.inherited() }", "Thing Base"),
        ("func f() { Thing.shared.more() }", "Thing Thing+More"),
        ("func f() { free().more() }", "Free Thing+More"),
        ("func f() { let t = free(); t.part.size }", "Free Thing Part"),
        ("func f(a: Any) { if let p = a as? Part { p.draw() } }", "Part Part+Draw"),
        ("func f(p: Part?) { guard let p else { return }; p.draw() }", "Part Part+Draw"),
        ("func f(ps: [Part]) { for p in ps { p.draw() } }", "Part Part+Draw"),
        ("func f(ps: Parts) { ps[0].draw() }", "Free Part+Draw"),
        ("func f(m: [String: Part]) { m[\"a\"]?.draw() }", "Part Part+Draw"),
        ("func f(p: Part) { _ = p[at: 3] }", "Part Part+Draw"),
        ("let k: Part.Kind = .big", "Part"),
        ("struct S: Face { var shown: Part\n func g() { present(); shown.draw() } }",
         "Face Part Face+Default Part+Draw"),
        ("extension Thing { func g() { more(); part.draw() } }", "Thing Thing+More Part+Draw"),
        ("func f<T: Face>(t: T) { t.present() }", "Face Face+Default"),
        ("let s = \"a\".shouted", "String+Case"),
        ("let s = String(part: 1)", "String+Case"),
        ("let s = String(other: 1)", ""),
        ("let s = \"\\(free())\"", "Free"),
        ("let n = 1 <~> 2", "Ops"),
        ("let f = { (p: Part) -> Int in p.draw() }", "Part Part+Draw"),
        # Names that are bound here, labels, text and comments are nobody else's.
        ("func f(free: Int, constant c: Int) { _ = free; g(constant: c) }", ""),
        ("func f() { let constant = 2; print(constant) }", ""),
        ("// Thing()\n/* Part() */ let s = \"Thing\"", ""),
        ("/* a /* b */ let x = Thing() */ let y = free()", "Free"),
        ("let p = \"/*\"; let y = free() /* /* */ Part() */ // /* \nlet z = Part()", "Free Part"),
        ("let y = free() /* /* */ Part()", "Free"),
        # Aliases of what has no members of its own.
        ("typealias H = (Int) -> Void\nfunc f(h: H) { h.anyThing }", ""),
        ("typealias E = Foreign.part\nfunc f(e: E) { e.anyThing }", ""),
        # What is private stays in its file, and what the system has is the system's.
        ("func f() { whisper(); let s: Secret }", ""),
        ("func f(v: UIView) { v.draw(); v.more().size }", ""),
    ],
)  # fmt: skip
def test_names_of_a_module(code, expected):
    tree = {f"Sources/App/{name}": text for name, text in MODULE.items()}
    tree |= {"Package.swift": "", "Sources/App/main.swift": code + "\n"}
    found = sorted(target for source, target in edges(tree) if source == "Sources/App/main.swift")
    assert found == sorted(f"Sources/App/{name}.swift" for name in expected.split())


def test_modules_see_what_they_import():
    tree = {
        "Package.swift": 'let package = Package(name: "P", targets: [.target(name: "Core", path: "Code/C"), '
        '.target(name: "App"), .testTarget(name: "AppTests")])',
        "Code/C/Core.swift": "public struct Shape {}",
        "Sources/App/App.swift": "import Core\nlet s = Shape()",
        "Sources/App/Own.swift": "let t = Shape()",
        "Sources/App/Local.swift": "struct Local {}",
        "Tests/AppTests/T.swift": "@testable import App\nlet l = Local()\nlet s = Shape()",
    }
    assert edges(tree) == {
        ("Sources/App/App.swift", "Code/C/Core.swift"),
        ("Tests/AppTests/T.swift", "Sources/App/Local.swift"),
    }


def test_conditions_guard():
    tree = {
        "A/a.swift": "#if os(iOS)\nlet x = Phone()\n#else\nlet y = Desk()\n#endif\nlet z = Desk()\n",
        "A/phone.swift": "class Phone {}",
        "A/desk.swift": "class Desk {}",
    }
    assert edges(tree, guarded=True) == {("A/a.swift", "A/phone.swift")}
    assert edges(tree) == {("A/a.swift", "A/desk.swift")}


@pytest.mark.parametrize(
    "cut",
    ["let f = {", "let f = { \n\n", "class A:", "class A<T", "func f(", "let a: [", "case", "extension A."],
)
def test_code_that_ends_in_the_middle_is_read_to_its_end(cut):
    tree = {"A/main.swift": f"let v = g()\n{cut}", "A/g.swift": "func g() {}"}
    assert edges(tree) == {("A/main.swift", "A/g.swift")}


def test_cycles_and_long_chains_end():
    tree = {
        f"A/c{i}.swift": f"class C{i}: C{(i + 1) % 300} {{ func f() {{ self.nowhereElse() }} }}\n"
        f"typealias T{i} = T{(i + 1) % 300}\nlet v{i} = v{(i + 1) % 300}.someThing\n"
        for i in range(300)
    }
    assert len(edges(tree)) == 300


def test_arrival_does_not_matter():
    files = [SourceFile(f"A/{path}", "Swift", text) for path, text in MODULE.items()]
    first = repository_graph(files)
    assert first.edges
    for seed in range(5):
        random.Random(seed).shuffle(files)
        assert repository_graph(files) == first


def test_names_that_others_write():
    builder = GraphBuilder()
    builder.add(SourceFile("A/a.swift", "Swift", "func f(t: Thing) { t.run() }\n"))
    builder.add_absent("A/b.swift", "Swift", "class Thing { func run() {}\n func walk() {} }\n")
    assert builder.names_used({"A/b.swift": ["A/a.swift"]}) == {"A/b.swift": ["Thing", "run"]}


def test_names_of_a_file_that_could_not_be_read():
    builder = GraphBuilder()
    builder.add(SourceFile("A/a.swift", "Swift", "func f() {}\n"))
    builder.add(SourceFile("A/aTests.swift", "Swift", "//" + "x" * (1 << 20)))
    assert builder.names_used({"A/a.swift": ["A/aTests.swift"]}) == {"A/a.swift": []}


def test_deep_wide_and_private_declarations_cost_no_more_than_their_length():
    tree = {
        "A/deep.swift": "extension A" + ".B" * 3000 + " {\n"
        + "".join(f"func f{i}() {{ fooBar{i}() }}\n" for i in range(3000)) + "}",
        "A/private.swift": "".join(f"class P{i} {{ private var mem{i}Ber = 1 }}\n" for i in range(6000)),
        "A/uses.swift": "func f() {\n" + "".join(f"x.mem{i}Ber\n" for i in range(6000)) + "}\n",
        "A/bases.swift": "".join(f"extension C{i % 200}: C{(7 * i + 1) % 199} {{ }}\n" for i in range(6000))
        + "class D: C1 {\n func f() {\n" + "".join(f"fooBar{i}()\n" for i in range(2000)) + "}}\n",
        "A/z.swift": "".join(f"class C{i} {{}}\n" for i in range(200)),
    }  # fmt: skip
    started = time.process_time()
    assert edges(tree) == {("A/bases.swift", "A/z.swift")}
    assert time.process_time() - started < 20  # by the square of their number it takes over a minute
