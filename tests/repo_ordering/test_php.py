"""PHP: names as the compiler resolves them, includes, and what composer.json says."""

import json
import time

import pytest

from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph
from tests.repo_ordering.expectations import compare


def edges(tree, kind=None):
    files = [SourceFile(path, "PHP" if path.endswith(".php") else None, text) for path, text in tree.items()]
    found = repository_graph(files).edges
    return {(e.source, e.target) for e in found if e.kind in ("import", "symbol") and kind in (None, e.kind)}


@pytest.mark.parametrize("name", ["php-psr7", "php-monolog"])
def test_against_edges_read_by_hand(shared_data, name):
    count, missing, wrong = compare(name, shared_data)
    assert count >= 40
    assert len(missing) <= 0.02 * count and len(wrong) <= 0.02 * count, (missing, wrong)


DECLARED = {
    "lib/Base.php": "<?php namespace Lib; abstract class Base {}",
    "lib/Face.php": "<?php namespace Lib; interface Face { const K = 1; }",
    "lib/Shared.php": "<?php namespace Lib; trait Shared {}",
    "lib/Suit.php": "<?php namespace Lib; enum Suit: string { case A = 'a'; }",
    "lib/functions.php": "<?php namespace Lib; function go() {} const LIMIT = 3;",
    "global.php": "<?php function help() {} define('DEEP', 1); class Plain {}",
}


@pytest.mark.parametrize(
    "code, targets",
    [
        ("use Lib\\Base; class A extends Base {}", ["lib/Base.php"]),
        ("class A extends \\Lib\\Base implements \\lib\\FACE {}", ["lib/Base.php", "lib/Face.php"]),
        ("use Lib\\{Base as B, Face}; new B; $x instanceof Face;", ["lib/Base.php", "lib/Face.php"]),
        ("use Lib; class A { use Lib\\Shared; }", ["lib/Shared.php"]),
        ("namespace Lib; function f(?Face $f, Base|Suit $g) {}", ["lib/Base.php", "lib/Face.php", "lib/Suit.php"]),
        ("namespace Lib\\Sub; echo \\Lib\\Face::K, Face::K;", ["lib/Face.php"]),
        ("namespace Lib; echo namespace\\Suit::A->value, LIMIT; go();", ["lib/Suit.php", "lib/functions.php"]),
        ("namespace X; use function Lib\\go; use const Lib\\LIMIT;", ["lib/functions.php"]),
        ("namespace X; help(); return [DEEP => 1];", ["global.php"]),
        ("namespace X; \\HELP();", ["global.php"]),
        ("namespace X; new Plain;", []),
        ("try {} catch (\\Lib\\Base | Plain $e) {}", ["lib/Base.php", "global.php"]),
        ("#[\\Lib\\Base(\\Plain::class)] class A {}", ["lib/Base.php", "global.php"]),
        ("use Lib\\Base; /** @param Face $x */ # Plain\n// new Plain\n$a = 'new Plain';", ["lib/Base.php"]),
        ("$a->help(); A::help(); new Help;", []),
        ("namespace A { use Lib\\Face as B; B::K; } namespace C { B::K; \\help(); }", ["lib/Face.php", "global.php"]),
        ("$f = fn(Plain $p) => go(...); new class extends Plain {};", ["global.php"]),
        ("class A { function m() { return new static ?? self::X ?? parent::y(); } }", []),
    ],
)  # fmt: skip
def test_names(code, targets):
    assert edges({**DECLARED, "a.php": "<?php " + code}) == {("a.php", target) for target in targets}


def test_a_use_is_an_import_and_its_name_a_symbol():
    tree = {**DECLARED, "a.php": "<?php use Lib\\Base;"}
    assert edges(tree, "import") == edges(tree, "symbol") == {("a.php", "lib/Base.php")}


@pytest.mark.parametrize(
    "path, code, target",
    [
        ("src/a.php", "require __DIR__ . '/../inc/x.php';", "inc/x.php"),
        ("src/a.php", "require_once(dirname(__FILE__) . '/b.php');", "src/b.php"),
        ("src/deep/a.php", 'include dirname(__DIR__, 2) . "/inc/x.php";', "inc/x.php"),
        ("src/deep/a.php", "include dirname(dirname(__DIR__)) . '/inc/x.php';", "inc/x.php"),
        ("src/a.php", "include 'b.php';", "src/b.php"),
        ("src/a.php", "include 'inc/x.php';", "inc/x.php"),
        ("src/a.php", "require ROOT . INC . '/x.php';", "inc/x.php"),
        ("src/a.php", 'include "$root/inc/x.php";', "inc/x.php"),
        ("src/a.php", "include $root . '/view.phtml';", None),
        ("src/a.php", "include __DIR__ . '/' . $name . '.php';", None),
        ("src/a.php", "include __DIR__ . '/../../../inc/x.php';", None),
        ("src/a.php", "include;", None),
        ("src/a.php", "include __DIR__ . '/../view.phtml';", "view.phtml"),
    ],
)
def test_includes(path, code, target):
    tree = {
        "inc/x.php": "",
        "src/b.php": "",
        "view.phtml": "",
        "root.php": "<?php define('ROOT', __DIR__ . '/'); const INC = 'inc';",
        path: "<?php " + code,
    }
    found = {pair for pair in edges(tree, "import") if pair[0] == path}
    assert found == ({(path, target)} if target else set())


def test_composer_decides_between_files_of_one_name():
    one = "<?php namespace App; class One {}"
    tree = {
        "composer.json": json.dumps({"autoload": {"psr-4": {"App\\": ["src", "gen/"]}}}),
        "old/One.php": one,
        "src/One.php": one,
        "x/a.php": "<?php new \\App\\One;",
    }
    assert edges(tree) == {("x/a.php", "src/One.php")}
    tree["composer.json"] = json.dumps({"autoload": {"psr-0": {"App": "old/.."}}})
    assert edges(tree) == set()  # no file of that path, and two that are as near
    for text in ("[", "[]", '{"autoload": []}', '{"autoload": {"psr-4": {"": 3, "App\\\\": [[]]}}}'):
        tree["composer.json"] = text
        assert edges(tree) == set()


def test_a_file_that_could_not_be_read_is_found_by_its_path():
    found = GraphBuilder()
    found.add(SourceFile("pkg/composer.json", None, '{"autoload": {"psr-4": {"App\\\\": "src"}}}'))
    found.add(SourceFile("a.php", "PHP", "<?php use App\\Model\\User;"))
    found.add(SourceFile("pkg/src/Model/User.php", "PHP", "<?php #" + "x" * (1 << 20)))
    assert ("a.php", "pkg/src/Model/User.php") in found.graph().pairs()


def test_doubles_and_fallbacks_are_not_meant():
    tree = {
        "inc/l10n.php": "<?php function __() {} function _n() {}",
        "admin/noop.php": "<?php function __() {}",
        "admin/page.php": "<?php __();",
    }
    assert edges(tree) == {("admin/page.php", "inc/l10n.php")}


def test_one_name_declared_everywhere_and_constants_built_to_explode():
    count = 4000
    tree = {
        f"d{i}/f.php": f"<?php function f() {{}} class C{{}} g{i}(); f(); new C;" for i in range(count // 2)
    }
    tree |= {f"u{i}/f.php": "<?php f(); new C; include B30 . '/f.php';" for i in range(count // 2)}
    tree["c.php"] = "<?php const B0 = 'xxxxxxxxxxxx';" + "".join(
        f"const B{i} = B{i - 1} . B{i - 1};" for i in range(1, 31)
    )
    tree["r.php"] = "<?php const R = R . R; include R . '/f.php';"
    started = time.monotonic()
    assert edges(tree) == {(f"u{i}/f.php", "c.php") for i in range(count // 2)}
    assert time.monotonic() - started < 60  # quadratic work would take far longer
