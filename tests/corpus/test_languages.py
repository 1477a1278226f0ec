"""Languages and comments, with Pygments as the judge of both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.lexers import get_all_lexers, get_lexer_by_name
from pygments.token import Comment
from pygments.util import ClassNotFound

from corpus.languages import comment_line, language_of, languages

# Pygments calls these by other names.
ALIASES = {"Shell": "bash", "Batchfile": "batch", "Protocol Buffer": "protobuf", "Dockerfile": "docker"}
ALIASES |= {
    "Emacs Lisp": "emacs-lisp",
    "Common Lisp": "common-lisp",
    "Visual Basic .NET": "vb.net",
    "INI": "ini",
}
ALIASES |= {"Vim Script": "vim", "HCL": "hcl", "Makefile": "make", "Go": "go", "Standard ML": "sml"}


def lexer_of(language):
    try:
        return get_lexer_by_name(ALIASES.get(language, language.lower().replace(" ", "-")))
    except ClassNotFound:
        return None


def test_there_are_enough_languages():
    assert len(languages()) >= 100


def test_extensions_agree_with_pygments():
    """Where Pygments knows a language by the same name, an extension only it claims is that language here."""
    claims: dict[str, set[str]] = {}
    for name, _, patterns, _ in get_all_lexers(plugins=False):
        for pattern in patterns:
            if pattern.startswith("*.") and not set(pattern[1:]) & set("*[") and pattern == pattern.lower():
                claims.setdefault(pattern[1:], set()).add(name)
    known = set(languages())
    checked = 0
    for extension, names in sorted(claims.items()):
        if len(names) == 1 and names <= known and (found := language_of(f"src/file{extension}", "")):
            checked += 1
            # Linguist has names of its own for what Pygments reads with a broader lexer.
            assert found in names or (extension, found) in {
                (".bzl", "Starlark"),
                (".gradle", "Gradle"),
                (".svg", "SVG"),
            }, (extension, found, names)
    assert checked > 120


@pytest.mark.parametrize("language", languages())
def test_comments_are_comments(language):
    lexer = lexer_of(language)
    line = comment_line(language, "src/some/file.name")
    assert "src/some/file.name" in line and "\n" not in line
    without = {"JSON", "Text", "CSV", "TSV", "Jupyter Notebook", "MDX", "RDoc", "Textile", "Liquid"}
    if lexer is None or language in without | {
        "reStructuredText",
        "Markdown",
        "Literate CoffeeScript",
        "Diff",
    }:
        return
    code = line + "\n"
    if language in ("PHP",):
        code = "<?php\n" + code
    if language == "COBOL":
        code = "       " + code
    tokens = [
        (kind, value) for kind, value in lexer.get_tokens(code) if value.strip(" \n") and "<?php" not in value
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
    ("path", "head", "language"),
    [
        ("a/b.h", "#ifndef X\nvoid f(void);\n", "C"),
        ("a/b.h", "#pragma once\nnamespace x {\n", "C++"),
        ("a/b.h", "#import <Foundation/Foundation.h>\n@interface A : B\n@end\n", "Objective-C"),
        ("m.m", "function y = f(x)\ny = x;\nend\n", "MATLAB"),
        ("m.m", "@implementation A\n@end\n", "Objective-C"),
        ("x.pl", ":- module(a, [b/1]).\n", "Prolog"),
        ("x.pl", "use strict;\n", "Perl"),
        ("x.v", "Theorem a : b.\nProof.\n", "Coq"),
        ("x.v", "module counter(input clk);\n", "Verilog"),
        ("x.ts", '<?xml version="1.0"?>\n<!DOCTYPE TS>\n', "XML"),
        ("tool", "#!/usr/bin/env python3.11\n", "Python"),
        ("tool", "#! /bin/sh -e\n", "Shell"),
        ("tool", "#!/usr/bin/env -S node --harmony\n", "JavaScript"),
        ("tool", "# -*- mode: ruby -*-\n", "Ruby"),
        ("Makefile", "", "Makefile"),
        ("docker/Dockerfile.build", "", "Dockerfile"),
        ("CMakeLists.txt", "", "CMake"),
        ("A.PY", "", "Python"),
        ("thing.unheard-of", "", None),
        ("noname", "just words", None),
        ("", "", None),
    ],
)
def test_language_of(path, head, language):
    assert language_of(path, head) == language


@given(st.text(max_size=60), st.text(max_size=300))
def test_any_path_and_head_have_an_answer(path, head):
    assert language_of(path, head) in {None, *languages()}
