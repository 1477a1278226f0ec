"""Python: import and symbol edges against grimp and pyright, on small trees, and on facts that mean harm."""

import gc
import json
import random
import time

import pytest

from benchmarks.repository_graphs import read_archive
from repo_ordering.graph import SourceFile, repository_graph
from repo_ordering.languages import python
from repo_ordering.languages.python_annotations import parse_annotation
from repo_ordering.parse import ParseFailed


def files_of(tree):
    return [SourceFile(path, "Python", text) for path, text in tree.items()]


def edges(tree, kind):
    return {(e.source, e.target) for e in repository_graph(files_of(tree)).edges if e.kind == kind}


def test_against_grimp_and_pyright(shared_data):
    folder = shared_data / "graphs"
    graph = repository_graph(read_archive(folder / "python-sphinx-8.2.3.tar.gz"))
    assert not graph.unparsed
    for name, kinds, bar in (
        ("python-sphinx-8.2.3", {"import"}, 0.999),
        ("python-sphinx-8.2.3-scip", {"symbol"}, 0.98),
        ("python-sphinx-8.2.3-scip", {"import", "symbol"}, 0.98),
    ):
        oracle = json.loads((folder / f"{name}.json").read_text())
        listed = set(oracle["files"])
        truth = {(source, target) for source, target in oracle["edges"]}
        found = {
            (e.source, e.target)
            for e in graph.edges
            if e.kind in kinds and e.source in listed and e.target in listed
        }
        assert len(found & truth) >= bar * len(truth), (name, kinds)
        assert len(found & truth) >= bar * len(found), (name, kinds)


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
    assert edges(tree, "import") == {
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
    assert edges(tree, "import") == {("a.py", "sub/b.py"), ("sub/__init__.py", "a.py")}


def test_imports_survive_python_2_and_broken_code():
    tree = {
        "a.py": "import b\nprint 'x' % b.f()\nexec code in ns\ntry: from c import d\nexcept E, e: pass\n",
        "b.py": "def f((x, y)): raise E, 'no'\n",
        "c.py": "d = 0777\n",
    }
    assert edges(tree, "import") == {("a.py", "b.py"), ("a.py", "c.py")}
    assert edges(tree, "symbol") == {("a.py", "b.py"), ("a.py", "c.py")}


LIBRARY = {
    "lib/__init__.py": "from .api import open_store as connect\nfrom .shapes import *\nfrom . import tools\n",
    "lib/api.py": "from lib.store import Store\n\ndef open_store(path) -> 'Store':\n    return Store(path)\n",
    "lib/store.py": "from .base import Base\nfrom .item import Item\n\nclass Store(Base):\n"
    "    def items(self) -> list[Item]: ...\n    def first(self):\n        return self.items()[0]\n"
    "    @property\n    def newest(self) -> 'Item | None': ...\n",
    "lib/base.py": "class Base:\n    def __enter__(self): return self\n    def close(self): pass\n",
    "lib/item.py": "from .owner import Owner\n\nclass Item:\n    def __init__(self):\n        self.owner = Owner()\n",
    "lib/owner.py": "class Owner:\n    name = ''\n",
    "lib/shapes.py": "__all__ = ['Square']\nclass Square: pass\nclass Hidden: pass\n",
    "lib/tools.py": "from .owner import Owner\n\ndef make(): return Owner()\n",
}


@pytest.mark.parametrize(
    "code, targets",
    [
        ("from lib import connect\n", {"__init__", "api"}),
        ("import lib\nlib.connect\n", {"__init__", "api"}),
        ("import lib as l\ndef f(): return l.tools.make().name\n", {"__init__", "tools", "owner"}),
        ("from lib import tools as t\nt.make().name\n", {"__init__", "tools", "owner"}),
        ("from lib import *\nSquare()\nHidden()\n", {"__init__", "shapes"}),
        ("from lib import connect\ns = connect('x')\ns.close()\n", {"__init__", "api", "base"}),
        ("from lib import connect\nwith connect('x') as s:\n    s.close(); s.first()\n",
         {"__init__", "api", "base", "store"}),
        ("from lib import connect\nfor i in connect('x').items():\n    i.owner\n",
         {"__init__", "api", "store", "item"}),
        ("from lib import connect\nconnect('x').first().owner.name\n", {"__init__", "api", "store", "item", "owner"}),
        ("from lib import connect\nconnect('x').newest.owner\n", {"__init__", "api", "store", "item"}),
        ("from typing import Optional\nimport lib.store\ndef f(s: Optional[lib.store.Store]): s.close()\n",
         {"store", "base"}),
        ("from lib.store import Store\nclass Mine(Store):\n    def f(self): self.close()\n", {"store", "base"}),
        ("from lib.store import Store\nclass Mine(Store):\n    def close(self): super().close()\n",
         {"store", "base"}),
        ("from lib.store import Store\ndef f(x):\n    if isinstance(x, (Store, int)): x.close()\n",
         {"store", "base"}),
        ("from lib.store import Store\ndef f(x): return isinstance(x, (int,\n  Store\n)) and x.close()\n",
         {"store", "base"}),
        ("from lib.store import Store\ndef f(x): return isn_isinstance(x, Store) and x.close()\n", {"store"}),
        ("\n\n# first\nfrom lib.item import Item\nItem().owner.name\n", {"item", "owner"}),
        ("from lib.item import Item\nclass A:\n    def __init__(self): self.i = Item()\n"
         "    def f(self): return self.i.owner.name\n", {"item", "owner"}),
        ("from lib.store import Store\nclass A:\n    def f(self, close): close.first(); self.items()\n", {"store"}),
    ],
)  # fmt: skip
def test_symbols(code, targets):
    found = {
        target for source, target in edges({**LIBRARY, "main.py": code}, "symbol") if source == "main.py"
    }
    assert found == {f"lib/{name}.py" for name in targets}


def test_a_name_is_followed_to_its_file_and_the_statement_to_the_module_it_names():
    tree = {**LIBRARY, "main.py": "from lib import Square\n"}
    assert ("main.py", "lib/__init__.py") in edges(tree, "import")
    assert ("main.py", "lib/shapes.py") in edges(tree, "symbol")


def test_a_stub_and_its_module_both_declare():
    tree = {
        "a.py": "from p.m import f\n",
        "p/__init__.py": "",
        "p/m.py": "def f(): ...\n",
        "p/m.pyi": "def f(): ...\n",
    }
    assert edges(tree, "symbol") == {("a.py", "p/m.py"), ("a.py", "p/m.pyi"), ("p/m.pyi", "p/m.py")}


def test_namespace_packages_have_members():
    tree = {
        "space/one/m.py": "def f(): pass\n",
        "main.py": "import space.one.m\nfrom space.one import m as n\nn.f()\n",
    }
    assert edges(tree, "import") == edges(tree, "symbol") == {("main.py", "space/one/m.py")}


def test_files_in_any_order_give_the_same_graph():
    files = files_of(
        {**LIBRARY, "main.py": "from lib import *\nimport lib\nlib.connect(1).first().owner.name\n"}
    )
    graph = repository_graph(files)
    for seed in range(5):
        random.Random(seed).shuffle(files)
        assert repository_graph(files) == graph


def test_a_file_without_symbols_is_still_depended_on():
    class NoParser:
        def scan(self, language, text):
            raise ParseFailed("parse_too_hard")

    files = files_of({"a.py": "from b import f\n", "b.py": "def f(): pass\n"})
    graph = repository_graph(files, NoParser())
    assert [(e.source, e.target, e.kind) for e in graph.edges] == [
        ("a.py", "b.py", "import"),
        ("a.py", "b.py", "symbol"),
    ]
    facts = {
        "a.py": python.Facts([[0, "b", ["f"]]], scan("from b import f\nimport b\nb.f.g\n")),
        "b.py": python.Facts(),
    }
    found = {(e.source, e.target, e.kind) for e in python.resolve(facts, {})}
    assert found == {("a.py", "b.py", "import"), ("a.py", "b.py", "symbol")}


def scan(text):
    from corpus import trees

    return python.scan_tree(trees.parse(trees.grammar("tree_sitter_python"), text.encode()).root_node)


CHAIN = 10_000
RESOLVED = {
    "hands on": ["from m{next} import x\n", "x = 1\n"],
    "hands all on": ["from m{next} import *\n", "x = 1\n"],
    "values of values": ["import m{next}\nx = m{next}.x.y\n", "x = 1\n"],
    "in a circle": ["from m{next} import *\nfrom m{next} import x\nx.y().z\n", "from m0 import x\nfrom m0 import *\n"],
    "line of bases": ["from m{next} import x as B\nclass x(B): pass\nx().f()\n", "class x:\n  def f(self): 0\n"],
    "its own iterator": ["class A:\n  def __iter__(self): return self\n  def f(self):\n    for a in self: a.b()\n", ""],
    "its own base": ["class A(B): pass\nclass B(A): pass\nA().f()\n", ""],
    "bases of one another": ["class A(A): pass\n" * 12 + "class B(A): pass\nB().f()\n", ""],
    "diamonds": ["class A0: pass\n" + "".join(f"class {c}{n}(A{n - 1}, B{n - 1}): pass\n" for n in range(1, 40)
                 for c in "AB") + "A39().f()\n", ""],
    "its own return": ["class A:\n  def f(self): return self.f().f()\n  p = property(f)\nA().f().f()\n", ""],
    "its own annotation": ["def f(a: 'g'): a.b\ng: 'f.a'\ndef h() -> 'h[h[h]]': h().h()[0].h\n", ""],
}  # fmt: skip


@pytest.mark.parametrize("name", RESOLVED)
def test_facts_that_mean_harm_are_resolved_in_linear_time(name):
    text, last = RESOLVED[name]
    count = CHAIN if "{next}" in text else 1
    tree = {f"m{n}.py": text.replace("{next}", str(n + 1)) for n in range(count)}
    tree[f"m{count}.py"] = last
    tree["main.py"] = "import m0\nfrom m0 import x\nm0.x.y\n"
    shapes = {path: scan(code) for path, code in list(tree.items())[:1] + list(tree.items())[-2:]}
    text_of_first = json.dumps(shapes["m0.py"])
    facts = {
        path: python.Facts(
            [], shapes.get(path) or json.loads(text_of_first.replace("m1", f"m{int(path[1:-3]) + 1}"))
        )
        for path in tree
    }
    started = time.process_time()
    found = {(e.source, e.target) for e in python.resolve(facts, {})}
    assert time.process_time() - started < 20  # a quadratic resolver would take many minutes
    assert ("main.py", "m0.py") in found
    if name == "hands on":
        assert ("main.py", f"m{count}.py") in found


def test_the_collector_is_left_as_it_was(monkeypatch):
    seen = []
    monkeypatch.setattr(python, "resolve", lambda facts, files: seen.append(gc.isenabled()) or 1 / 0)
    for turn in (gc.disable, gc.enable):
        turn()
        was = gc.isenabled()
        with pytest.raises(ZeroDivisionError):
            repository_graph(files_of({"a.py": ""}))
        assert gc.isenabled() is was
    assert seen == [False, False]


def test_annotations():
    assert parse_annotation("a.B|None") == (("a.B", ()), ("None", ()))
    assert parse_annotation("dict[str,list[B]]") == (
        ("dict", ((("str", ()),), (("list", ((("B", ()),),)),))),
    )
    parse_annotation("a[" * 200)
    parse_annotation("]|[," * 100)


def test_broken_code_never_stops_the_reader():
    text = (
        "from . import (a as b, *)\nimport a.b as c\n@d.e(1)\nclass F(g.H[i], metaclass=j):\n"
        "  def k(self, l: 'm.N' = 1, *o: p, **q) -> r[s]:\n    self.t, u = v = w() if x else y[1:2]\n"
        "    with z() as (a, b), c as d.e: return cast('f', g)(h).i\n    for j, k in l.items(): m[n] += 1\n"
        "    if (o := isinstance(p, (q, r.s))): pass\n__all__ = ['t'] + u\n__all__ += ['v']\n"
    )
    for start in range(0, len(text), 3):
        for end in range(start, len(text), 13):
            facts = {
                "p/a.py": python.Facts(None, scan(text[:start] + text[end:])),
                "p/__init__.py": python.Facts(),
            }
            list(python.resolve(facts, {}))
