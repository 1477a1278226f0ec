"""Java, Kotlin and Scala: names against small trees, against hand-read repositories and against javac."""

import json
import random
import time

import pytest

from benchmarks.repository_graphs import read_archive, score
from repo_ordering.graph import SourceFile, repository_graph
from tests.repo_ordering.expectations import compare

LANGUAGE = {"java": "Java", "kt": "Kotlin", "scala": "Scala"}


def files(tree):
    return [SourceFile(path, LANGUAGE[path.rpartition(".")[2]], text) for path, text in tree.items()]


def edges(tree, kind="symbol"):
    return {(edge.source, edge.target) for edge in repository_graph(files(tree)).edges if edge.kind == kind}


def targets(tree, source):
    return {target for path, target in edges(tree) if path == source}


def test_java_against_javac(shared_data):
    name = shared_data / "graphs" / "java-commons-io-2.11.0-javac"
    graph = repository_graph(read_archive(name.with_name(name.name + ".tar.gz")))
    oracle = json.loads(name.with_name(name.name + ".json").read_text())
    assert score(oracle, graph, ["symbol"])["f1"] > 0.99
    assert score(oracle, graph, ["symbol", "import"])["f1"] > 0.98


def test_kotlin_read_by_hand(shared_data):
    edges, missing, wrong = compare("kotlin-screens", shared_data)
    assert edges >= 40 and len(missing) <= 0.05 * edges and len(wrong) <= 0.05 * edges, (missing, wrong)


def test_scala_against_scalac(shared_data):
    edges, missing, wrong = compare("scala-interpreter", shared_data)
    assert edges >= 40 and len(missing) <= 0.3 * edges and len(wrong) <= 0.05 * edges, (missing, wrong)


def test_java_forms():
    tree = {
        "x/A.java": "package x; import y.B; import z.*; import static y.Util.f; /** {@link D} "
        "*/ class A extends C { E e;"
        " Object o = y.F.make(f()); class D {} D d; }",
        "x/C.java": "package x; class C {}",
        "x/D.java": "package x; class D {}",
        "y/B.java": "package y; class B {}",
        "y/Util.java": "package y; class Util { static int f() {} static int g() {} }",
        "z/E.java": "package z; class E {}",
        "z/C.java": "package z; class C {}",
        "y/F.java": 'package y; class F { String s = "A"; }',
    }
    assert edges(tree) == {("x/A.java", each) for each in ("y/Util.java", "x/C.java", "z/E.java", "y/F.java")}
    assert edges(tree, "import") == {("x/A.java", "y/B.java"), ("x/A.java", "y/Util.java")}


def test_java_members_are_found_through_types():
    tree = {
        "a/Base.java": "package a; class Base { int kept; Part part() { return null; } static class Key {} }",
        "a/Mid.java": "package a; class Mid extends Base {}",
        "a/Part.java": "package a; class Part { Deep deep; }",
        "a/Deep.java": "package a; class Deep { void go(int n) {} }",
        "a/Field.java": "package a; class Field extends Mid { int f() { return kept; } }",
        "a/Local.java": "package a; class Local { void f(Mid m) { m.part().deep.go(1); } }",
        "a/Nested.java": "package a; class Nested extends Mid { Key key; }",
        "a/Made.java": "package a; class Made { void f() { new Mid().part(); } void g(String m) { m.part(); } }",
        "a/Cast.java": "package a; class Cast { void f(Object o) { ((Mid) o).part(); } }",
        "a/Hidden.java": "package a; class Hidden extends Mid { int f(int kept) { return kept; } }",
        "a/Generic.java": "package a; class Generic<Deep> { Deep d; }",
        "a/Reference.java": "package a; class Reference { Object f = Mid::part; }",
    }
    assert targets(tree, "a/Field.java") == {"a/Mid.java", "a/Base.java"}
    assert targets(tree, "a/Local.java") == {"a/Mid.java", "a/Base.java", "a/Part.java", "a/Deep.java"}
    assert targets(tree, "a/Nested.java") == {"a/Mid.java", "a/Base.java"}
    assert targets(tree, "a/Made.java") == {"a/Mid.java", "a/Base.java"}
    assert targets(tree, "a/Cast.java") == {"a/Mid.java", "a/Base.java"}
    assert targets(tree, "a/Hidden.java") == {"a/Mid.java"}
    assert targets(tree, "a/Generic.java") == set()
    assert targets(tree, "a/Reference.java") == {"a/Mid.java", "a/Base.java"}


def test_a_class_of_two_modules_is_the_nearer_one():
    tree = {
        f"{module}/src/{part}/java/p/{name}.java": f"package p; class {name} {{ {body} }}"
        for module in ("core", "android/core")
        for part, name, body in (
            ("main", "Set", ""),
            ("main", "Map", "Set s;"),
            ("test", "MapTest", "Map m;"),
        )
    }
    tree["other/src/main/java/p/Use.java"] = "package p; class Use { Map m; }"
    assert edges(tree) == {
        (f"{module}/src/{part}", f"{module}/src/{target}")
        for module in ("core", "android/core")
        for part, target in (
            ("main/java/p/Map.java", "main/java/p/Set.java"),
            ("test/java/p/MapTest.java", "main/java/p/Map.java"),
        )
    } | {("other/src/main/java/p/Use.java", "core/src/main/java/p/Map.java")}


def test_kotlin_forms():
    tree = {
        "a/Main.kt": "package a\nimport b.Shape\nimport b.Circle as Round\nimport b.area\nimport c.*\n"
        "// Unused\nclass Main(val shape: Shape) : Base(), Named by Other {\n"
        '  fun f(): Round = make("${Inside.x} Quoted")\n  val a = shape.area()\n  fun g() = limit\n}\n',
        "a/Base.kt": "package a\nopen class Base\n",
        "a/Named.kt": "package a\ninterface Named {\n  val name: String\n}\n",
        "a/Other.kt": 'package a\nobject Other : Named { override val name = "" }\n',
        "a/Unused.kt": "package a\nclass Unused\nclass Quoted\n",
        "a/Inside.kt": "package a\nobject Inside { const val x = 1 }\n",
        "b/Shape.kt": "package b\ninterface Shape\n",
        "b/Circle.kt": "package b\nclass Circle : Shape\n",
        "b/Extensions.kt": "package b\nfun Shape.area(): Int = 1\n",
        "c/Make.kt": '@file:JvmName("Makers")\npackage c\nfun make(s: String) = TODO()\n',
        "c/limits.kt": "package c\nval limit = 3\nprivate fun f() { val hidden = 1; class Local }\n",
        "j/Uses.java": "package j; import c.LimitsKt; class Uses { int f() { return LimitsKt.getLimit(); } }",
        "j/Named.java": "package j; class Named { Object o = c.Makers.make(null); a.Base b; }",
    }
    assert targets(tree, "a/Main.kt") == {
        "a/Base.kt", "a/Named.kt", "a/Other.kt", "a/Inside.kt", "b/Shape.kt", "b/Circle.kt", "b/Extensions.kt",
        "c/Make.kt", "c/limits.kt",
    }  # fmt: skip
    assert targets(tree, "a/Other.kt") == {"a/Named.kt"}
    assert targets(tree, "b/Extensions.kt") == {"b/Shape.kt"}
    assert targets(tree, "j/Uses.java") == {"c/limits.kt"}
    assert targets(tree, "j/Named.java") == {"c/Make.kt", "a/Base.kt"}
    assert targets(tree, "c/limits.kt") == set()


SHOP = {
    "model/Item.scala": "package shop.model\ncase class Item(name: String, price: Money)\n",
    "model/Money.scala": "package shop.model\nclass Money(val cents: Long) extends AnyVal\n"
    "object Money { val Zero = new Money(0) }\n",
    "model/Order.scala": "package shop\npackage model\ncase class Order(items: List[Item], by: Customer) {\n"
    "  def total: Money = items.map(_.price).foldLeft(Money.Zero)(Sums.add)\n}\n",
    "model/Customer.scala": "package shop.model\ntrait Customer { def name: String; def kind: Kind }\n",
    "model/Kind.scala": "package shop.model\nsealed trait Kind\nobject Kind {\n  case object Plain extends Kind\n}\n",
    "model/Sums.scala": "package shop.model\nobject Sums { def add(a: Money, b: Money): Money = a }\n",
    "model/package.scala": "package shop\npackage object model {\n  type Basket = List[Item]\n"
    "  def empty: Basket = Nil\n}\n",
    "store/Store.scala": "package shop.store\nimport shop.model._\n"
    "trait Store { def find(id: Key): Option[Order]; def basket: Basket = empty }\n",
    "store/Key.scala": "package shop.store\ncase class Key(id: Long)\n",
    "store/Memory.scala": "package shop.store\nimport shop.model.{Order => Bought, Item => _}\n"
    "import scala.collection.mutable\n"
    "class Memory extends Store with Logging {\n  private val rows = mutable.Map[Key, Bought]()\n"
    '  def find(id: Key) = { log("find"); rows.get(id) }\n}\n',
    "store/Logging.scala": "package shop.store\ntrait Logging { self: Store =>\n"
    "  protected def log(s: String): Unit = Console.println(s)\n}\n",
    "store/Item.scala": "package shop.store\nclass Item\n",
    "web/Server.scala": "package shop\npackage web\nimport model.Order\nimport store.Memory\nimport Json._\n"
    "object Server extends App {\n  val all = new Memory\n  def show(o: Order): String = write(o)\n"
    "  val routes = Routes(all)\n}\n",
    "web/Json.scala": "package shop.web\nimport shop.model.Order\n"
    'object Json { def write(o: Order): String = quote("") }\n',
    "web/helpers.scala": "package shop\n\npackage object web { def quote(s: String) = s }\n",
    "web/Routes.scala": "package shop.web\nimport shop.store.{Store, Key}\nclass Routes(s: Store) {\n"
    "  def get(id: Long) = s.find(Key(id)).map(Json.write)\n}\n"
    "object Routes { def apply(s: Store) = new Routes(s) }\n",
    "new/Show.scala": "package shop.fresh\n\ntrait Show[A]:\n  def show(a: A): String\n",
    "new/Givens.scala": "package shop.fresh\n\nimport shop.model.{Money, Kind as Sort}\n\n"
    "given moneyShow: Show[Money] with\n  def show(m: Money) = m.cents.toString\n\n"
    "def plain: Sort = Sort.Plain\n",
    "new/Colour.scala": "package shop.fresh\n\nenum Colour:\n  case Red, Green\n\n"
    "extension (c: Colour) def bright: Boolean = true\n",
    "new/Paint.scala": "package shop.fresh\n\nimport shop.model.*\n\nobject Paint:\n"
    "  def apply(c: Colour): Boolean = c.bright\n  def cost(using s: Show[Money]) = plain\n"
    "  def twice = Sums.add(Money.Zero, Money.Zero)\n",
    "java/Till.java": "package shop.java; import shop.model.Money; class Till { Money in; shop.web.Json j; }",
}
SHOP_EDGES = {
    "model/Item.scala": ["model/Money.scala"],
    "model/Money.scala": [],
    "model/Order.scala": ["model/Item.scala", "model/Customer.scala", "model/Money.scala", "model/Sums.scala"],
    "model/Customer.scala": ["model/Kind.scala"],
    "model/Kind.scala": [],
    "model/Sums.scala": ["model/Money.scala"],
    "model/package.scala": ["model/Item.scala"],
    "store/Store.scala": ["store/Key.scala", "model/Order.scala", "model/package.scala"],
    "store/Key.scala": [],
    "store/Memory.scala": ["store/Store.scala", "store/Logging.scala", "store/Key.scala", "model/Order.scala"],
    "store/Logging.scala": ["store/Store.scala"],
    "web/Server.scala": ["model/Order.scala", "store/Memory.scala", "web/Json.scala", "web/Routes.scala"],
    "web/Json.scala": ["model/Order.scala", "web/helpers.scala"],
    "web/helpers.scala": [],
    "web/Routes.scala": ["store/Store.scala", "store/Key.scala", "web/Json.scala"],
    "new/Show.scala": [],
    "new/Givens.scala": ["new/Show.scala", "model/Money.scala", "model/Kind.scala"],
    "new/Colour.scala": [],
    "new/Paint.scala": [
        "new/Colour.scala", "new/Show.scala", "new/Givens.scala", "model/Money.scala", "model/Sums.scala",
    ],
    "java/Till.java": ["model/Money.scala", "web/Json.scala"],
}  # fmt: skip


@pytest.mark.parametrize("source", sorted(SHOP_EDGES))
def test_scala_forms(source):
    assert targets(SHOP, source) == set(SHOP_EDGES[source])


def test_arrival_does_not_matter():
    shuffled = list(SHOP.items())
    random.Random(5).shuffle(shuffled)
    assert repository_graph(files(dict(shuffled))) == repository_graph(files(SHOP))


def test_a_file_that_cannot_be_parsed_has_no_symbols_and_stops_no_other():
    tree = {"p/A.java": "package p; class A { B b; C c; }", "p/B.java": "package p; class B {}"}
    tree["p/C.java"] = "package p; class C {" + "a<" * 50_000
    graph = repository_graph(files(tree))
    assert ("p/A.java", "p/B.java") in {(edge.source, edge.target) for edge in graph.edges}


def test_names_are_resolved_in_linear_time_however_they_are_tied():
    chain = {
        f"p/C{i}.java": f"package p; class C{i} extends C{i + 1} {{ int f() {{ return x{i}; }} }}"
        for i in range(2000)
    }
    ring = {
        f"q/R{i}.java": f"package q; class R{i} extends R{(i + 1) % 500} {{ int f() {{ return y; }} }}"
        for i in range(500)
    }
    same = {
        f"m{i}/S.kt": "package s\nclass S : T() { val s: S = S.make() }\nfun top() = top()\n"
        for i in range(1500)
    }
    started = time.process_time()
    found = edges(chain | ring | same)
    assert time.process_time() - started < 60
    assert ("p/C0.java", "p/C1.java") in found and ("q/R499.java", "q/R0.java") in found
