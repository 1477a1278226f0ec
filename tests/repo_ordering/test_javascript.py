"""JavaScript and TypeScript: what module specifiers name, and names looked through re-exports."""

import json
import time

import pytest

from benchmarks.repository_graphs import accuracy, read_archive
from repo_ordering.edges import Facts
from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph
from repo_ordering.languages import javascript

LANGUAGE = {"js": "JavaScript", "mjs": "JavaScript", "ts": "TypeScript", "tsx": "TSX", "json": "JSON",
            "vue": "Vue", "svelte": "Svelte"}  # fmt: skip


def edges(tree, kind="import"):
    files = [SourceFile(path, LANGUAGE.get(path.rpartition(".")[2]), text) for path, text in tree.items()]
    return {(edge.source, edge.target) for edge in repository_graph(files).edges if edge.kind == kind}


@pytest.mark.parametrize(
    "name, precision, recall", [("ts-rxjs-7.8.2", 0.99, 0.99), ("ts-rxjs-7.8.2-scip", 0.95, 0.95)]
)
def test_against_typescript(shared_data, name, precision, recall):
    oracle = json.loads((shared_data / "graphs" / f"{name}.json").read_text())
    graph = repository_graph(read_archive(shared_data / "graphs" / "ts-rxjs-7.8.2.tar.gz"))
    found = accuracy(name, oracle, graph)
    assert found["precision"] >= precision and found["recall"] >= recall, found
    if name.endswith("-scip"):
        assert found["symbol_precision"] >= precision and found["symbol_recall"] >= recall, found


def test_paths_of_tsconfig_through_extends_with_comments_and_trailing_commas():
    tree = {
        "tsconfig.base.json": '{ // base\n "compilerOptions": {"baseUrl": ".", "paths": {"@/*": ["lib/*"], '
        '"@/deep/*": ["deep/*",], "one": ["lib/x"],},},}',
        "app/tsconfig.json": '{"extends": "../tsconfig.base"}',
        "app/a.ts": "import '@/x'; import '@/deep/y'; import 'one'; import 'lib/z'; import '@/none'",
        "lib/x.ts": "", "lib/z.tsx": "", "deep/y/index.ts": "", "lib/deep/y.ts": "",
    }  # fmt: skip
    assert edges(tree) == {("app/a.ts", path) for path in ("lib/x.ts", "deep/y/index.ts", "lib/z.tsx")}


def test_packages_point_to_the_sources_of_what_they_build():
    tree = {
        "packages/a/package.json": '{"name": "@me/a", "exports": {".": {"import": "./dist/index.mjs"}, '
        '"./*": {"types": "./dist/types/*.d.ts", "default": "./dist/*.js"}}, "imports": {"#in/*": "./src/inner/*.js"}}',
        "packages/a/src/index.ts": "import '#in/x'; import '@me/a/one'", "packages/a/src/one.ts": "",
        "packages/a/src/inner/x.ts": "", "packages/b/package.json": '{"name": "b", "main": "lib/main.js"}',
        "packages/b/lib/main.js": "import '@me/a'; import '@me/a/one'; import 'npm:b'; import 'https://x/b'",
        "c.js": "require.resolve('b'); jest.mock('./packages/b/lib/main.js'); x.require('./packages/a/src/one')",
    }  # fmt: skip
    assert edges(tree) == {
        ("packages/a/src/index.ts", "packages/a/src/inner/x.ts"),
        ("packages/a/src/index.ts", "packages/a/src/one.ts"),
        ("packages/b/lib/main.js", "packages/a/src/index.ts"),
        ("packages/b/lib/main.js", "packages/a/src/one.ts"),
        ("c.js", "packages/b/lib/main.js"),
    }


def test_forms_of_import():
    tree = {
        "a.js": "const t = `x ${cond ? `${import('./b')}` : '}'} import './no'`; const r = /'\"/;\n"
        "/** @type {import('./c').C} @example await import('./no') */\n/** @import { D } from './d' */\n"
        "define('me', ['./e', './f'], function () {}); export * as g from './g'",
        "t.ts": "/** @type {import('./no').N} */ let x: import('./b').B",
        **{f"{name}.js": "" for name in ("b", "c", "d", "e", "f", "g", "no")},
    }
    assert edges(tree) == {("a.js", f"{name}.js") for name in "bcdefg"} | {("t.ts", "b.js")}


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


def test_quotes_and_slashes_of_jsx_hide_nothing():
    tree = {
        "a.tsx": "const p = <p title='x'>It's a `quote\n<B/></p>;\nimport b from './b';\n",
        "b.tsx": "const c = <A b={d} />; const L = lazy(() => import('./c')); const q = <A>don't</A>\nimport './d';",
        "c.tsx": "", "d.tsx": "",
    }  # fmt: skip
    assert edges(tree) == {("a.tsx", "b.tsx"), ("b.tsx", "c.tsx"), ("b.tsx", "d.tsx")}


def test_scripts_of_components():
    tree = {
        "App.vue": "<template><p>Don't `</p></template>\n<!-- <script>import './no'</script> -->\n"
        "<script setup lang='ts' generic=\"T extends A<B>\">\nimport B from './B.svelte'\nimport { x } from './x'"
        "</script><script src='./y.js'></script><style>@import './no.js';</style>",
        "B.svelte": "<script module>export const a = 1; import './y'</script>\n<h1>import './no'</h1>",
        "x.ts": "import App from './App.vue'; import B from './B'", "y.js": "", "no.js": "",
    }  # fmt: skip
    assert edges(tree) == {
        ("App.vue", "B.svelte"), ("App.vue", "x.ts"), ("App.vue", "y.js"), ("B.svelte", "y.js"),
        ("x.ts", "App.vue"), ("x.ts", "B.svelte"),
    }  # fmt: skip


def test_referenced_types():
    tree = {
        "app/a.ts": "/// <reference types='env' />\n/// <reference types=\"pkg\" />\n"
        "/// <reference types='./near' />\n/// <reference types='node' />",
        "app/tsconfig.json": '{"compilerOptions": {"typeRoots": ["./typings"], "baseUrl": "."}}',
        "app/typings/env/index.d.ts": "", "app/near.d.ts": "", "app/node.ts": "",
        "pkg/package.json": '{"name": "pkg", "types": "t.d.ts"}', "pkg/t.d.ts": "",
    }  # fmt: skip
    assert edges(tree) == {
        ("app/a.ts", target) for target in ("app/typings/env/index.d.ts", "pkg/t.d.ts", "app/near.d.ts")
    }


def test_installed_packages_count_where_node_would_find_them():
    tree = {
        "app/deep/a.js": "import 'dep'; import 'dep/lib'; import '@me/x'; import 'elsewhere'",
        "app/node_modules/dep/package.json": '{"name": "dep", "main": "m.js"}',
        "app/node_modules/dep/m.js": "", "app/node_modules/dep/lib.js": "",
        "node_modules/dep/index.js": "", "node_modules/@me/x/index.js": "", "packages/dep/index.js": "",
        "packages/dep/package.json": '{"name": "dep"}', "other.js": "import 'dep'",
        "other/node_modules/elsewhere/package.json": '{"name": "elsewhere"}',
        "other/node_modules/elsewhere/index.js": "",
    }  # fmt: skip
    assert edges(tree) == {
        ("app/deep/a.js", "app/node_modules/dep/m.js"), ("app/deep/a.js", "app/node_modules/dep/lib.js"),
        ("app/deep/a.js", "node_modules/@me/x/index.js"), ("other.js", "node_modules/dep/index.js"),
    }  # fmt: skip


def test_names_that_a_user_writes_of_a_module():
    builder = GraphBuilder()
    builder.add(
        SourceFile("lib.ts", "TypeScript", "export function f() {}\nexport class C {}\nexport let unused = 1")
    )
    builder.add(
        SourceFile("use.ts", "TypeScript", "import { f } from './lib'; import * as lib from './lib'; lib.C")
    )
    builder.add(SourceFile("App.vue", "Vue", "<script>import { unused } from './lib'</script>"))
    assert builder.names_used({"lib.ts": ["use.ts", "App.vue"], "App.vue": ["use.ts"]}) == {
        "lib.ts": ["C", "f"],
        "App.vue": [],
    }


def test_resolving_a_very_large_repository_is_linear():
    """The same names exported everywhere through cyclic and long chains of re-exports, and packages of one name."""
    count = 50_000
    files = {f"d{i % 100}/m{i}.ts": SourceFile(f"d{i % 100}/m{i}.ts", "TypeScript", "") for i in range(count)}
    paths = list(files)
    facts = {}
    for i, path in enumerate(paths):
        other = [f"../{paths[(i * k + 1) % count][:-3]}" for k in (1, 7)]
        symbols = {
            "imports": [[other[0], f"n{k}", f"n{k}"] for k in range(3)] + [["pkg/deep/name", "*", "p"]],
            "exports": [[f"own{i}", ""]], "reexports": [[name, "*", "*"] for name in other],
            "members": [["p", "x"], ["n1", "y"]],
            "classes": [["C", "n1", ["m"]]], "uses": [["C", "z"], ["n2", "m"]], "typedefs": [],
            "types": [], "documented": [],
        }  # fmt: skip
        facts[path] = Facts({"code": ["pkg/deep/name"], "types": []}, symbols)
    started = time.process_time()
    assert sum(1 for _ in javascript.resolve(facts, files)) > count
    assert time.process_time() - started < 20  # a bound against what is quadratic: that would take hours


def test_names_are_looked_through_to_the_declaring_file():
    tree = {
        "index.ts": "export * from './one'; export { default as two, b as c } from './two'; export * as ns from './ns'",
        "one.ts": "import { hidden } from './deep'; export { hidden as shown }; export const { p, q: [r] } = x",
        "deep.ts": "export function hidden() {}",
        "two.ts": "export default class Two {}\nexport let b = 1",
        "ns.ts": "export * from './members'", "members.ts": "export enum M { A }",
        "use.ts": "import { shown, ns } from './index'; ns.M; import * as all from './index'; all.two()",
        "pattern.ts": "import { r } from './index'", "gone.ts": "import { missing } from './index'",
    }  # fmt: skip
    found = edges(tree, "symbol")
    assert {pair for pair in found if pair[0] != "index.ts"} == {
        ("one.ts", "deep.ts"), ("use.ts", "deep.ts"), ("use.ts", "ns.ts"), ("use.ts", "members.ts"),
        ("use.ts", "index.ts"), ("use.ts", "two.ts"), ("ns.ts", "members.ts"),
        ("pattern.ts", "one.ts"), ("gone.ts", "index.ts"),
    }  # fmt: skip


def test_commonjs_names():
    tree = {
        "index.js": "module.exports = { A: require('./a'), get b() { return require('./b').b } }",
        "a.js": "module.exports = class A {}", "b.js": "exports.b = 1",
        "main.js": "module.exports = require('./index')",
        "use.js": "const { A } = require('./main'); const all = require('./index'); all.b",
    }  # fmt: skip
    found = edges(tree, "symbol")
    assert {target for source, target in found if source == "use.js"} == {"a.js", "index.js", "b.js"}


def test_members_of_what_has_a_plain_type():
    tree = {
        "base.ts": "export class Base { close() {} constructor() { this.field = 1 } }",
        "middle.ts": "import { Base as B } from './base'; export abstract class Middle extends B { own() {} }",
        "top.ts": "import Mid from './index'; export default class Top extends Mid implements X {}",
        "index.ts": "export { Middle as default } from './middle'",
        "typed.ts": "import Top from './top'; function f(a: Top, b: Top) { a.close(); b.missing }",
        "made.ts": "import Top from './top'; const c = new Top(); c.field",
        "named.ts": "export const f = (middle, base) => { middle.own(); base.absent() }",
        "said.js": "/** @typedef {import('./base').Base} Base */\n/** @typedef {import('./plain')} Plain */\n"
        "/** @param {Base} x @param {Plain} y */\nmodule.exports = (x, y) => { x.close(); y.go() }",
        "unsaid.js": "/** @typedef {import('./plain')} Plain */\nmodule.id",
        "plain.js": "class Plain { go() {} }\nmodule.exports = Plain", "module.js": "class Module { get id() {} }",
        "twice.ts": "class Twin { a() {} }", "thrice.ts": "class Twin { a() {} }", "guess.ts": "twin.a()",
    }  # fmt: skip
    found = edges(tree, "symbol")
    assert {pair for pair in found if pair[0] not in ("top.ts", "index.ts", "middle.ts")} == {
        ("typed.ts", "top.ts"), ("typed.ts", "base.ts"), ("made.ts", "top.ts"), ("made.ts", "base.ts"),
        ("named.ts", "middle.ts"), ("said.js", "base.ts"), ("said.js", "plain.js"),
    }  # fmt: skip


def test_classes_that_extend_each_other_end():
    tree = {f"{i}.ts": f"import {{ C as D }} from './{1 - i}'; export class C extends D {{}}" for i in (0, 1)}
    tree["use.ts"] = "import { C } from './0'; let c: C; c.member"
    assert edges(tree, "symbol") == {("0.ts", "1.ts"), ("1.ts", "0.ts"), ("use.ts", "0.ts")}


def test_long_and_cyclic_chains_of_reexports_end():
    length = 3000
    tree = {
        f"m{i}.ts": f"export * from './m{(i + 1) % length}'; export * from './m{i // 2}'"
        for i in range(length)
    }
    tree["use.ts"] = "import { nothing, " + ", ".join(f"n{i}" for i in range(50)) + " } from './m0'"
    assert ("use.ts", "m0.ts") in edges(tree, "symbol")
