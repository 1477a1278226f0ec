"""Languages with Linguist as the judge, comments with Pygments."""

import importlib.resources
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment
from pygments.util import ClassNotFound

from corpus import languages as module
from corpus.languages import comment_line, is_vendored, kind_of, language_of, languages

# Pygments calls these by other names.
ALIASES = {
    "Batchfile": "batch",
    "Dockerfile": "docker",
    "HCL": "hcl",
    "INI": "ini",
    "Protocol Buffer": "protobuf",
    "Rocq Prover": "coq",
    "Shell": "bash",
    "Standard ML": "sml",
    "Unix Assembly": "gas",
    "Vim script": "vim",
    "Visual Basic .NET": "vb.net",
    "Wolfram Language": "mathematica",
}


def lexer_of(language):
    try:
        return get_lexer_by_name(ALIASES.get(language, language.lower().replace(" ", "-")))
    except ClassNotFound:
        return None


def patterns():
    text = importlib.resources.files("corpus").joinpath("linguist.json").read_text(encoding="utf-8")
    groups = json.loads(text)["heuristics"]
    tests = [test for group in groups for _, tests in group["rules"] for test in tests]
    return sorted({(pattern, tuple(literals)) for _, stated in tests for pattern, literals in stated})


def test_there_are_all_languages_of_linguist():
    assert len(languages()) >= 800
    assert {kind_of(language) for language in languages()} == {"programming", "markup", "data", "prose"}
    assert kind_of("Python") == "programming" and kind_of("JSON") == "data" and kind_of("Klingon") is None


def test_what_is_written_by_hand_names_languages_that_are():
    own = module._own()
    stated = [
        name for kind in ("comments", "comment_pairs") for names in own[kind].values() for name in names
    ]
    assert set(stated) <= set(languages()) and len(stated) == len(set(stated))
    extensions = module._linguist().extensions
    for extension, language in own["usual"].items():
        assert len(extensions[extension]) > 1 and language in extensions[extension]


# Pygments has other things by these names, or reads them as text with a language inside.
NOT_JUDGED = {"Diff", "Julia REPL", "Markdown", "Odin", "Python console", "Teal", "reStructuredText", "ucode"}
COMMENTED = sorted(language for language in module._comments().keys() - NOT_JUDGED if lexer_of(language))


@pytest.mark.parametrize("language", COMMENTED)
def test_comments_are_comments(language):
    line = comment_line(language, "src/some/file.name")
    assert "src/some/file.name" in line and "\n" not in line
    code = line + "\n"
    if language in ("PHP", "Hack"):
        code = "<?php\n" + code
    if language == "COBOL":
        code = "       " + code
    tokens = [
        (kind, v) for kind, v in lexer_of(language).get_tokens(code) if v.strip(" \n") and "<?php" not in v
    ]
    assert tokens and all(kind in Comment for kind, _ in tokens), (language, line, tokens)


@given(st.sampled_from(languages()), st.text(max_size=80))
def test_a_comment_stays_one_line_and_is_closed_once(language, text):
    line = comment_line(language, text)
    assert len(line.splitlines()) <= 1
    for closing in ("*/", "-->"):
        if line.endswith(closing):
            assert line.count(closing) == 1


@pytest.mark.parametrize(
    ("path", "text", "language"),
    # What Linguist says where it needs no classifier (`python -m benchmarks.languages` asks it of real files).
    [
        ("a/b.h", "#ifndef X\nvoid f(void);\n", "C"),
        ("a/b.h", "#pragma once\nnamespace x {\n", "C++"),
        ("a/b.h", "/* class */\nint std;\n", "C"),
        ("a/b.h", "#import <Foundation/Foundation.h>\n@interface A : B\n@end\n", "Objective-C"),
        ("a/b.h", "#include <vector>\n", "C++"),
        ("m.m", "% a comment\nfunction y = f(x)\n", "MATLAB"),
        ("m.m", "@implementation A\n@end\n", "Objective-C"),
        ("m.m", "(* Mathematica *)\nf[x_] := x\n(* end *)\n", "Wolfram Language"),
        ("m.m", ":- module foo.\n", "Mercury"),
        ("x.pl", ":- module(a, [b/1]).\n", "Prolog"),
        ("x.pl", "use strict;\nmy $x = 1;\n", "Perl"),
        ("x.pl", "use v6;\nmodule A;\n", "Raku"),
        ("x.pm", "/* XPM */\n", "X PixMap"),
        ("x.t", "use strict;\nuse Test::More;\n", "Perl"),
        ("x.t", "% turing\nvar x : int := 1\n", "Turing"),
        ("x.v", "Theorem a : b.\nProof.\nQed.\n", "Rocq Prover"),
        ("x.v", "module counter(input clk);\n", "Verilog"),
        ("x.v", "fn main() {\n}\n", "V"),
        ("x.ts", '<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS version="2.0">\n', "XML"),
        ("x.ts", "export const a: number = 1;\n", "TypeScript"),
        ("x.tsx", '<?xml version="1.0"?>\n', "XML"),
        ("x.md", "# Title\n", "Markdown"),
        ("x.md", '(define_insn "x"\n', "GCC Machine Description"),
        ("x.md", ";; GCC\n(define_x)\n", "GCC Machine Description"),
        ("x.cls", "\\NeedsTeXFormat{LaTeX2e}\n\\ProvidesClass{x}\n", "TeX"),
        ("x.cls", "VERSION 1.0 CLASS\nBEGIN\n  MultiUse = -1\nEND\n", "VBA"),
        ("x.cls", "Class A.B {\n}\n", "ObjectScript"),
        ("x.fs", "module A\nlet x = 1\n", "F#"),
        ("x.fs", "#version 330\n", "GLSL"),
        ("x.fs", ": square dup * ;\n", "Forth"),
        ("x.pro", "HEADERS += a.h\nSOURCES += a.c\n", "QMake"),
        ("x.pro", "a(X) :- b(X).\n", "Prolog"),
        ("x.pro", "function f, x\n", "IDL"),
        ("x.pro", "-keep class a.b\n", "Proguard"),
        ("x.rs", "use std::io;\n", "Rust"),
        ("x.rs", '#pragma version(1)\n#include "x"\n', "RenderScript"),
        ("x.sql", "SELECT 1;\n", "SQL"),
        ("x.sql", "CREATE FUNCTION f() RETURNS int AS $$ BEGIN; $$ LANGUAGE plpgsql;\n", "PLpgSQL"),
        ("x.sql", "USE x\nGO\nDECLARE @a int\n", "TSQL"),
        ("x.sql", "select systimestamp from dual connect by level < 3;\n", "PLSQL"),
        ("x.asm", "  mov eax, 1\n", "Assembly"),
        ("x.asm", "  moveq #1,d0\n", "Motorola 68K Assembly"),
        ("x.s", "\tmovl %eax, %ebx\n", "Unix Assembly"),
        ("x.r", "x <- 1\n", "R"),
        ("x.r", "REBOL [Title: 1]\n", "Rebol"),
        ("x.d", "module a.b;\nimport std.stdio;\n", "D"),
        ("x.d", "BEGIN { trace(1); }\n", "DTrace"),
        ("x.d", "foo.o: bar.c \\\n bar.h\n", "Makefile"),
        ("x.php", "<?php echo 1;\n", "PHP"),
        ("x.php", "<?hh\n", "Hack"),
        ("x.inc", "<?php\n", "PHP"),
        ("x.inc", "%macro x\n  mov eax, 1\n", "Assembly"),
        ("x.json", '{"openapi": "3.0.1"}\n', "OASv3-json"),
        ("x.json", '{"swagger": "2.0"}\n', "OASv2-json"),
        ("x.json", '{"a": 1}\n', "JSON"),
        ("x.yml", "openapi: 3.0.0\n", "OASv3-yaml"),
        ("x.yaml", "a: b\n", "YAML"),
        ("x.properties", "# c\na=b\n", "Java Properties"),
        ("x.properties", "[s]\na=b\n", "INI"),
        ("x.txt", "words\n", "Text"),
        ("x.txt", "*tag* help\n\n vim:tw=78:ft=help:norl:\n", "Vim Help File"),
        ("x.txt", "127.0.0.1 localhost\n", "Hosts File"),
        ("x.1", ".TH LS 1\n.SH NAME\nls\n", "Roff Manpage"),
        ("x.1", "just words\n", "Text"),
        ("x.1m", ".Dd x\n.Dt X 1\n.Sh N\n", "Roff Manpage"),
        ("x.cs", "using System;\n", "C#"),
        ("x.ml", "let rec f x = x\n", "OCaml"),
        ("x.ex", 'defmodule A do\n  @moduledoc "x"\nend\n', "Elixir"),
        ("x.es", "%% erl\nmain(_) ->\n", "Erlang"),
        ("x.l", "(defun f (x) x)\n", "Common Lisp"),
        ("x.n", ".TH x n\n", "Roff"),
        ("x.sol", "pragma solidity ^0.8.0;\n", "Solidity"),
        ("x.sol", "nothing\n", None),
        ("x.stl", "solid a\nfacet\nendsolid a\n", "STL"),
        ("x.lean", "import Mathlib\n", "Lean 4"),
        ("x.lean", "import data.nat\n", "Lean"),
        ("x.scm", "(define (f x) x)\n", "Scheme"),
        ("x.mod", "MODULE a;\n", "Modula-2"),
        ("x.mod", "<!ENTITY a>\n", "XML"),
        ("x.html", "<p>\n", "HTML"),
        ("x.html", "<emu-clause id=x>\n", "Ecmarkup"),
        ("x.pp", "class a {\n  user { 'x':\n    ensure => present,\n  }\n}\n", "Puppet"),
        ("x.pp", "program a;\nbegin\nend.\n", "Pascal"),
        ("x.gd", "extends Node\n", "GDScript"),
        ("x.b", "implement Cmd;\n", "Limbo"),
        ("x.cairo", "%builtins output range_check\n", "Cairo Zero"),
        ("x.cairo", "fn main() {}\n", "Cairo"),
        ("tool", "#!/usr/bin/env python3.11\n", "Python"),
        ("tool", "#! /bin/sh -e\n", "Shell"),
        ("tool", "#!/usr/bin/env -vS FOO=bar ruby -w\n", "Ruby"),
        ("tool", '#!/bin/sh\n# \\\nexec tclsh "$0" "$@"\n', "Tcl"),
        ("tool", "#!/usr/bin/osascript -l JavaScript\n", None),
        ("tool", "#!\n", None),
        ("tool", "#!/usr/bin/env\n", None),
        ("x.cgi", "#!/usr/bin/python\n", "Python"),
        ("x.fcgi", "#!/usr/bin/env ruby\n", "Ruby"),
        ("x.inc", "#!/usr/bin/php\n", "PHP"),
        ("x.py", "#!/bin/sh\n", "Shell"),
        ("tool", "# -*- mode: ruby -*-\n", "Ruby"),
        ("tool", "-*- C++ -*-\n", "C++"),
        ("a.h", "// -*- C++ -*-\n", "C++"),
        ("a.h", "/* -*- tab-width: 4; mode: objc; c-basic-offset: 4 -*- */\n", "Objective-C"),
        ("x.txt", "# -*- coding: utf-8 -*-\n", "Text"),
        ("x.c", "# -*- no-such-mode -*-\n", "C"),
        ("tool", "\n\n# vim: set ft=perl ts=4 :\n", "Perl"),
        ("tool", "# vim: noai:ft=sh:ts=2\n", "Shell"),
        ("tool", "/* vi:se ft=c: */\n", "C"),
        ("tool", "# vim700: ft=python\n", "Python"),
        ("tool", "# ex: ft=python\n", "Python"),
        ("tool", "# index: ft=python\n", None),
        ("x.h", "1\n2\n3\n4\n5\n6\n// vim: ft=cpp\n7\n8\n9\n0\n1\n2\n", "C"),
        ("x.h", "int a;\n" * 20 + "// vim: ft=cpp\n", "C++"),
        ("tool", "# vim: titlestring=a\\ ft=sh ft=python\n", "Python"),
        ("x.vba", 'UseVimball\nfinish\n" vim: ft=vim\n', "Vim script"),
        ("Makefile", "", "Makefile"),
        ("CMakeLists.txt", "x", "CMake"),
        ("Dockerfile", "FROM x\n", "Dockerfile"),
        ("docker/app.Dockerfile", "FROM x\n", "Dockerfile"),
        ("docker/Dockerfile.build", "FROM x\n", None),
        ("Cargo.lock", "[[package]]\n", "TOML"),
        ("package-lock.json", "{}\n", "JSON"),
        ("tsconfig.json", "{}\n", "JSON with Comments"),
        (".bashrc", "x\n", "Shell"),
        (".gitignore", "x\n", "Ignore List"),
        (".eslintrc", "{}\n", "JSON with Comments"),
        (".py", "x\n", "Python"),
        ("a.PY", "x\n", "Python"),
        ("index.html.erb", "x\n", "HTML+ERB"),
        ("x.app.src", "x\n", "Erlang"),
        ("x.xml.dist", "<a/>\n", "XML"),
        ("Jenkinsfile", "x\n", "Groovy"),
        ("go.mod", "module x\n", "Go Module"),
        ("go.sum", "x\n", "Go Checksums"),
        ("LICENSE", "x\n", "Text"),
        ("README", "x\n", None),
        ("thing.unheard-of", "x\n", None),
        ("noname", "just words\n", None),
        ("noname", '<?xml version="1.0"?>\n<a/>\n', "XML"),
        ("x.csproj", "<Project>\n", "XML"),
        ("x.F90", "x\n", "Fortran Free Form"),
        ("x.f90", "x\n", "Fortran Free Form"),
        ("x.ipynb", "{}\n", "Jupyter Notebook"),
        ("x.tf", "x\n", "HCL"),
        ("BUILD.bazel", "x\n", "Starlark"),
        ("BUILD", "x\n", "Starlark"),
        ("x.vue", "<template>\n", "Vue"),
    ],
)
def test_language_of(path, text, language):
    assert language_of(f"some/folder/{path}", text) == language


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [  # where Linguist asks its classifier, and where it knows no program of that version
        ("x.cls", "public class A {}\n", "Apex"),
        ("x.m", "function y = f(x)\ny = x;\nend\n", "MATLAB"),
        ("setup.cfg", "[metadata]\n", "INI"),
        ("x.res", "<?xml version='1.0'?>\n", "XML"),
        ("x.pl", "1;\n", "Perl"),
        ("tool", "#!/usr/bin/perl5.30.1\n", "Perl"),
        ("tool", "#!/usr/bin/lua5.3\n", "Lua"),
    ],
)
def test_the_usual_language_where_nothing_tells(path, text, language):
    assert language_of(path, text) == language


@given(st.text(max_size=60), st.text(max_size=300))
def test_any_path_and_text_have_an_answer(path, text):
    assert language_of(path, text) in {None, *languages()}


EXTENSIONS = sorted(module._linguist().rules)


@settings(max_examples=300)
@given(st.sampled_from(EXTENSIONS), st.text("\n\n\t a_1:;=.,(){}[]<>\"'/*#%@-!\\$^|é", max_size=200))
def test_any_text_has_an_answer_by_its_content(extension, text):
    assert language_of(f"x{extension}", text) in {None, *languages()}


@pytest.mark.parametrize(
    ("path", "text"),
    [  # each took longer than anybody waits, or the square of its length
        ("x.cairo", "%builtins " + "a" * 50_000 + "!"),
        ("x.txt", "vim:" + " a=b:c=d" * 6_000 + " ft=help!"),
        ("x", "# vim:" + " a=b:c=d" * 6_000 + " ft=c!"),
        ("x.ls", "package" + " " * 50_000 + "!"),
        ("x.al", "ENUM" + "\n" * 50_000 + "!"),
        ("x.d", "a" + "\nimport " * 6_000),
        ("x.d", "a: " + "\nX.Y" * 12_000),
        ("x.service", "=\n[a]\n" + "m\n" * 25_000),
        ("x.pl", "#:-" + "\na" * 25_000),
        ("x" + ".a" * 50_000, ""),
        ("x", "-*-" * 20_000),
        ("x", "#!/usr/bin/env" + " -i" * 20_000),
        ("x", "#!/bin/sh\n" + "exec a$0" * 20_000),
    ],
)
def test_hostile_text_is_read_as_fast_as_any(path, text):
    language_of(path, text)


@given(
    st.lists(
        st.sampled_from(["a", "\n", " ", "\t", "\r", "a" * 600, " " * 300, "\n" * 300, "\n \n"]), max_size=60
    )
)
def test_tamed_text_has_neither_long_lines_nor_long_blanks(pieces):
    text = "".join(pieces)
    tamed = module._tamed(text)
    assert max(map(len, tamed.split("\n"))) < 2 * module._LINE
    assert not re.search(rf"\s{{{2 * module._BLANK}}}", tamed)
    if len(text) < module._BLANK:
        assert tamed == text


@pytest.mark.parametrize(("pattern", "literals"), [p for p in patterns() if p[1]][::10])
def test_what_an_expression_finds_has_one_of_its_literals(pattern, literals):
    lowered = "i" in (re.match(r"(\(\?[a-z]+\))?", pattern)[1] or "")

    @settings(max_examples=5, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.from_regex(re.compile(pattern, re.ASCII | re.MULTILINE)))
    def check(found):
        found = "\n" + found
        assert any(literal in (found.lower() if lowered else found) for literal in literals)

    check()


RUBY = [
    r"^\s*a",
    r"^\s+a1",
    r"\s*a1",
    r"^[^#]+:-",
    r"^[^#]*:-",
    r"^[^\[#]+:-",
    r'^(?i)[^"m]*mov',
    r"import\s+[\w\s,.:]*;",
    r"^begin[\s\S]*^end",
    r"^[#\s]*\[[^\]]+\]",
    r"package\s*[\w\.\/\*\s]*\s*\{",
    r"%b(\s+)([A-Za-z0-9_]+\s*)*$",
    r"(?:\A\W{0,3}|^)\s*a",
    r"(^a|b1)|(?i:^#a)",
    r"(?im)^a.*1$",
]
PIECES = [
    "a",
    "b1",
    "A",
    "1",
    " ",
    "\n",
    "\n",
    "#",
    "[",
    "]",
    ":-",
    '"',
    "mov",
    "import ",
    ";",
    "begin",
    "end",
    "package",
]


@pytest.mark.parametrize("ruby", RUBY)
@settings(max_examples=200)
@given(pieces=st.lists(st.sampled_from([*PIECES, "{", "%b", "."]), max_size=14))
def test_a_rewritten_expression_finds_the_same(ruby, pieces):
    pytest.importorskip("yaml")
    from benchmarks.linguist_tables import to_python

    text = "".join(pieces)
    plain = re.sub(r"^\^\(\?i\)(.*)", r"(?i)^\1", ruby.replace("(?im)", "(?is)"))
    expected = re.search(plain, text, re.ASCII | re.MULTILINE) is not None
    found = False
    for pattern in to_python(ruby):
        after_newline = bool(re.match(r"(\(\?[a-z]+\))?\\n", pattern))
        compiled = re.compile(pattern, re.ASCII | re.MULTILINE)
        found = found or compiled.search("\n" + text, not after_newline) is not None
    assert found == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/pip/_vendor/requests/api.py", True),
        ("vendor/a.go", True),
        ("src/thirdparty/x.c", True),
        ("a/node_modules/x/index.js", True),
        ("static/jquery-3.1.min.js", True),
        ("types/index.d.ts", True),
        ("deps/a.c", True),
        ("src/deps/a.c", False),
        ("ios/Pods/A/a.m", True),
        ("gnulib/lib/a.c", True),
        ("configure", True),
        ("src/vendoring.py", False),
        ("src/admin.js", False),
        ("README.md", False),
    ],
)
def test_is_vendored(path, expected):
    assert is_vendored(path) == expected
