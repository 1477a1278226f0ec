"""Edges between languages, each rule on a small tree."""

import time

import pytest

from corpus.languages import language_of
from repo_ordering.cross import cross_edges
from repo_ordering.graph import SourceFile


def cross(tree):
    files = {path: SourceFile(path, language_of(path, text), text) for path, text in tree.items()}
    return {(e.source, e.target): e.confidence for e in cross_edges(files)}


def test_names_of_files_in_strings():
    tree = {
        "app/views.py": "render_template('index.html')\nopen('queries/by_day.sql')\nopen('../escape.sql')\n"
        "x = 'views.py'; y = 'README.md'; z = 'utils.js'\n",
        "app/templates/index.html": "<link href=\"../static/site.css\"><script src='/static/site.js'></script>",
        "app/static/site.css": "a {}", "app/static/site.js": "let a = 'views.py'", "app/queries/by_day.sql": "select 1",
        "README.md": "'app/views.py'", "tools/utils.js": "", "CMakeLists.txt": 'add("app/static/site.css")',
    }  # fmt: skip
    assert cross(tree) == {
        ("app/views.py", "app/templates/index.html"): 0.6,
        ("app/views.py", "app/queries/by_day.sql"): 0.9,
        ("app/templates/index.html", "app/static/site.css"): 0.9,
        ("app/templates/index.html", "app/static/site.js"): 0.9,
    }


def test_templates_without_suffixes():
    rails = {
        "app/controllers/posts_controller.rb": "def show\n  render 'edit'\n  render :show\nend\n",
        "app/views/posts/edit.html.erb": "<%= render 'form' %><%= render partial: 'shared/menu' %>",
        "app/views/posts/_form.html.erb": "<p>", "app/views/shared/_menu.html.erb": "<p>",
    }  # fmt: skip
    assert cross(rails) == {
        ("app/controllers/posts_controller.rb", "app/views/posts/edit.html.erb"): 0.9,
        ("app/views/posts/edit.html.erb", "app/views/posts/_form.html.erb"): 0.9,
        ("app/views/posts/edit.html.erb", "app/views/shared/_menu.html.erb"): 0.9,
    }
    blade = {
        "routes/web.php": "<?php return view('posts.show');",
        "resources/views/posts/show.blade.php": "@extends('layouts.app')\n@include('parts.menu', ['a' => 1])",
        "resources/views/layouts/app.blade.php": "", "resources/views/parts/menu.blade.php": "",
    }  # fmt: skip
    assert set(cross(blade)) == {
        ("routes/web.php", "resources/views/posts/show.blade.php"),
        ("resources/views/posts/show.blade.php", "resources/views/layouts/app.blade.php"),
        ("resources/views/posts/show.blade.php", "resources/views/parts/menu.blade.php"),
    }
    jinja = {
        "a/templates/page.html": '{% extends "base.html" %}{%- include "parts/menu.html" -%}',
        "a/templates/base.html": "", "a/templates/parts/menu.html": "", "b/templates/base.html": "",
    }  # fmt: skip
    assert set(cross(jinja)) == {
        ("a/templates/page.html", "a/templates/base.html"),
        ("a/templates/page.html", "a/templates/parts/menu.html"),
    }


def test_protobuf():
    tree = {
        "proto/shop/order.proto": 'import "shop/item.proto";\noption java_package = "org.shop.pb";\n'
        'option go_package = "example.org/shop/orderpb";\n',
        "proto/shop/item.proto": "message Item {}",
        "py/client.py": "from shop import order_pb2, order_pb2_grpc\n",
        "cc/client.cc": '#include "shop/item.pb.h"\n',
        "js/client.js": "const m = require('./order_pb');\n",
        "java/Client.java": "import org.shop.pb.Order;\n",
        "go/client.go": 'import "example.org/shop/orderpb"\n',
    }
    assert set(cross(tree)) == {
        ("proto/shop/order.proto", "proto/shop/item.proto"),
        ("py/client.py", "proto/shop/order.proto"),
        ("cc/client.cc", "proto/shop/item.proto"),
        ("js/client.js", "proto/shop/order.proto"),
        ("java/Client.java", "proto/shop/order.proto"),
        ("go/client.go", "proto/shop/order.proto"),
    }


def test_native_methods():
    tree = {
        "java/org/x/My_Lib.java": "package org.x;\nclass My_Lib { native int add(int a); }\n",
        "java/org/x/Listener.java": "package org.x;\nclass Listener {}\n",
        "kt/org/x/Other.kt": "package org.x\nclass Other { external fun go() }\n",
        "cpp/lib.cpp": "JNIEXPORT jint JNICALL Java_org_x_My_1Lib_add(JNIEnv* e) {}\n"
        'void f() { e->FindClass("org/x/Listener"); }\nvoid Java_org_x_Other_go() {}\n',
        "cpp/none.cpp": "void Java_org_x_Nobody_add() {}\n",
    }
    assert cross(tree) == {
        ("java/org/x/My_Lib.java", "cpp/lib.cpp"): 1.0,
        ("kt/org/x/Other.kt", "cpp/lib.cpp"): 1.0,
        ("cpp/lib.cpp", "java/org/x/Listener.java"): 0.9,
    }


def test_cgo_libraries_and_extension_modules():
    tree = {
        "g/a.go": 'package g\n/*\n#include "vec.h"\n#include <stdio.h>\n*/\nimport "C"\nfunc f() { C.vec_add(1) }\n',
        "g/vec.h": "int vec_add(int);", "g/vec.c": "int vec_add(int a) { return a; }", "g/other.c": "int no(void);",
        "py/load.py": "lib = ctypes.CDLL('./libfast.so.1')\n", "src/fast.c": "int f(void) { return 1; }",
        "cs/Load.cs": '[DllImport("fast")] static extern int f();',
        "py/pkg/__init__.py": "from ._speed import go\nfrom . import _rust\nimport pkg.cy\n",
        "src/speedmodule.c": "PyMODINIT_FUNC PyInit__speed(void) { return 0; }",
        "src/lib.rs": "#[pymodule]\nfn _rust(m: &Bound<PyModule>) -> PyResult<()> { Ok(()) }",
        "py/pkg/cy.pyx": "", "ext/fast/init.c": "void Init_native_ext(void) {}",
        "lib/fast.rb": "require 'fast/native_ext'\n",
    }  # fmt: skip
    assert cross(tree) == {
        ("g/a.go", "g/vec.h"): 1.0,
        ("g/a.go", "g/vec.c"): 0.6,
        ("py/load.py", "src/fast.c"): 0.6,
        ("cs/Load.cs", "src/fast.c"): 0.6,
        ("py/pkg/__init__.py", "src/speedmodule.c"): 0.9,
        ("py/pkg/__init__.py", "src/lib.rs"): 0.9,
        ("py/pkg/__init__.py", "py/pkg/cy.pyx"): 0.9,
        ("lib/fast.rb", "ext/fast/init.c"): 0.9,
    }


@pytest.mark.parametrize(
    "path, text",
    [
        ("a.py", "'" * 500_000), ("a.py", "'a" * 300_000), ("a.py", "from a" + " " * 900_000),
        ("a.html", "{% extends " * 90_000), ("a.html", "render " * 140_000), ("a.erb", "<% include" + "x" * 900_000),
        ("a.c", "Java_" * 200_000), ("a.c", "PyInit_" + "a" * 900_000), ("a.c", '"' + "a/" * 400_000),
        ("a.py", "a" * 900_000 + "_pb2"), ("a.py", "_pb2" * 250_000), ("a.proto", 'import "' * 100_000),
        ("a.go", 'import "C"\n' + "#include" * 100_000), ("a.rs", "#[pymodule" * 100_000),
        ("a.java", "\n" * 900_000), ("a.erb", " " * 900_000), ("a.java", "native package " * 60_000),
        ("a.java", "package" + " " * 900_000),
    ],
)  # fmt: skip
def test_hostile_text_takes_linear_time(path, text):
    tree = {
        path: text,
        "x.proto": "",
        "y.java": "native",
        "z.c": "Java_y",
        "templates/t.html": "",
        "w.pyx": "",
    }
    started = time.monotonic()
    cross({**tree, path: text})
    assert time.monotonic() - started < 10  # quadratic matching would take minutes


def test_many_files_of_one_name_stay_cheap():
    tree = {f"{i}/templates/index.html": "" for i in range(3000)}
    tree |= {f"{i}/app.py": "render('index.html')" for i in range(3000)}
    started = time.monotonic()
    assert len(cross(tree)) <= 3000
    assert time.monotonic() - started < 20
