"""The published rules, against a plain restatement of them and against real files."""

import pickle
import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.code_rules import broken_rules, rows_of
from corpus.errors import LodeError
from corpus.languages import languages
from corpus.repositories import FILE, repository_batches
from corpus.schema import with_verdict
from filters.code_rules import (
    KEYS,
    REASONS,
    CodeRules,
    Limits,
    alphabetic_share,
    encoded_spans,
    first_lines,
    has_line_over,
    rule_set,
    rule_sets,
)
from filters.generated import generator

DEEPSEEK = CodeRules("deepseek-coder")
STARCODER = CodeRules("starcoder2")
STRICT = CodeRules("strict")
PUBLISHED_SETS = [CodeRules(name) for name in ("deepseek-coder", "coder-v2", "starcoder2")]
CODE = st.text(alphabet="abcXYZ019 \n\t\r\v\x1c(){};=+-#é中\x85\u2028\\u,", max_size=400)
PIECES = [
    "ab ",
    "0x1f,",
    "\\xfe",
    "\\u00e9",
    "word",
    " ",
    "\n",
    "-",
    "é",
    "aGVsbG8=",
    "ff",
    "g",
    "_",
    "\t",
    "\xa0",
    "\u3000",
]


def reason(rules, text, language="Python", path="a.py"):
    verdict = rules.verdict(text, language, path)
    return verdict and verdict[0]


def agrees(rules, name, text, language, path):
    """Lode drops the file if a rule is broken, for one of the broken rules; Linguist's have an oracle of their own."""
    ours = reason(rules, text, language, path)
    broken = broken_rules(name, text, language, path)
    if ours in ("generated", "minified", "lock_file") and ours not in broken:
        return True
    return ours in broken if broken else ours is None


LANGUAGES = st.sampled_from(
    ["Python", "C", "JSON", "YAML", "XSLT", "Markdown", "Text", "WebAssembly", "Swift", None]
)
NAMES = st.sampled_from(
    ["a.py", "README", "docs/Notes.txt", "requirements-dev.txt", "list.txt", "readme-old.txt"]
)


@given(CODE, st.integers(1, 60), LANGUAGES, NAMES, st.booleans())
@example("a" * 101, 1, "Python", "a.py", False)
@example("a" * 100, 1, "Python", "a.py", False)
@example("word\n", 1000, "JSON", "a.py", False)
@example("word\r\n", 513, "YAML", "a.py", False)
@example("ab " * 8 + "#\n", 60, "C", "a.py", False)
def test_rules_are_the_papers(text, times, language, name, prologue):
    text = ('<?xml version="1.0"?>\n' if prologue else "") + text * times
    for rules, set_name in zip(PUBLISHED_SETS, ("deepseek-coder", "coder-v2", "starcoder2"), strict=True):
        assert agrees(rules, set_name, text, language, name)


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.integers(1, 120)), max_size=12))
@example([("aGVsbG8=", 128)])
@example([("aGVsbG8=", 129), ("- ", 600)])
@example([("0x1f,", 206), ("word-", 600)])
@example([("ab ", 100), ("é", 1), ("word ", 30)])
def test_encoded_data_is_the_papers(pieces):
    text = "words of it; " + "".join(piece * times for piece, times in pieces) + "; the end."
    assert agrees(STARCODER, "starcoder2", text, "Markdown", "a.md")


def test_rules_are_the_papers_on_real_files(shared_data):
    names = (
        "requests-2.32.3",
        "cjson-1.7.15",
        "lua-5.4.4",
        "okio-1.16.0",
        "lodash-4.17.21",
        "docutils-0.21.2",
    )
    rows = rows_of([str(shared_data / "repos" / f"{name}.tar.gz") for name in names])
    assert len(rows) > 1000
    for row in rows:
        for rules, set_name in zip(PUBLISHED_SETS, ("deepseek-coder", "coder-v2", "starcoder2"), strict=True):
            assert agrees(rules, set_name, row["text"], row["language"], row["path"]), row["path"]


@pytest.mark.parametrize(
    ("text", "language", "path", "expected"),
    [
        ("a" * 100 + "\n", "Python", "a.py", None),
        ("a" * 101 + "\n", "Python", "a.py", "mean_line_too_long"),
        ("a" * 1000 + "\n" + "b\n" * 20, "Python", "a.py", None),
        ("a" * 1001 + "\n" + "b\n" * 20, "Python", "a.py", "line_too_long"),
        ("aaaa" + "1" * 12, "Python", "a.py", None),
        ("aaaa" + "1" * 13, "Python", "a.py", "few_letters"),
        ("中文字" + "1" * 9, "Python", "a.py", None),
        (" " * 86 + "<?xml version=", "XSLT", "a.xsl", "few_letters"),
        ("x" * 50 + "\n" + "y" * 35 + "<?xml version='1.0'?>\nok\n", "C", "a.c", "xml_prologue"),
        ("x" * 50 + "\n" + "y" * 36 + "<?xml version='1.0'?>\nok\n", "C", "a.c", None),
        ("word " * 9 + "four", "JSON", "a.json", "too_short"),
        ("word\n" * 10, "JSON", "a.json", None),
        ("word\n" * 1000, "YAML", "a.yml", None),
        ("word\n" * 1000 + "x", "YAML", "a.yml", "too_long"),
        (
            "<p>" + "seen\n" * 20 + "</p>",
            "HTML",
            "a.html",
            "html_little_text",
        ),  # 99 characters
        ("<p>" + "seen\n" * 21 + "</p>", "HTML", "a.html", None),
        ("<script>" + "var a;\n" * 90 + "</script>" + "seen\n" * 21, "HTML", "a.html", "html_little_text"),
        ("words\n", None, "a.unknown", "unknown_language"),
        ("words\n", "Swift", "a.swift", "language_not_listed"),
        ("", "Python", "__init__.py", "empty_file"),
        (" \n\n", "Python", "__init__.py", "empty_file"),
    ],
)
def test_deepseek_boundaries(text, language, path, expected):
    assert reason(DEEPSEEK, text, language, path) == expected


@pytest.mark.parametrize(
    ("text", "language", "path", "expected"),
    [
        ("a word\n" * 100_001, "Python", "a.py", "too_many_lines"),
        ("a word\n" * 100_000, "Python", "a.py", None),
        ("word " * 4000, "Markdown", "a.md", None),
        ("word " * 20_001, "Markdown", "a.md", "line_too_long"),
        ("word " * 4000, "Python", "a.py", "mean_line_too_long"),
        ("a word\n" * 513, "YAML", "a.yml", "too_many_lines"),
        ("a word\n" * 512, "YAML", "a.yml", None),
        ("words\n", "Text", "docs/README.txt", None),
        ("words\n", "Text", "requirements-dev.txt", None),
        ("words\n", "Text", "data/list.txt", "text_name"),
        ("# line\n# This file is GENERATED by x\ncode\n", "Python", "a.py", "generated"),
        ("# line\n" * 5 + "# auto-generated\n", "Python", "a.py", None),
        ("words\n", "Text", "docs/readme-old.txt", "text_name"),
        ("words\n", "Text", "old-requirements.txt", None),
        ("# auto-generated\n", "Python", "a.py", "generated"),
        ("# " + "a word " * 2000 + "Auto-Generated\n", "Markdown", "a.md", "generated"),
        ("<?xml version='1.0'?>\n<words>of it</words>\n", "XML", "a.xml", None),
        ("words\n", "JSON", "a/package-lock.json", "lock_file"),
        ("words\n", "TOML", "Cargo.lock", "lock_file"),
        ("words\n", "YAML", "yarn.lock", None),
        ("var a=1;" * 20, "JavaScript", "lib/jquery.js", "minified"),
        ("words = '" + "QUJD\n" * 205 + "'\n", "Python", "a.py", "encoded_data"),
        ("words = '" + "QUJD\n" * 80 + "'\n" + "a word of text\n" * 50, "Python", "a.py", None),
        ("x = [\n" + ("0xab," * 10 + "\n") * 24 + "words in a list of them ]\n", "C", "a.c", "encoded_data"),
        ("i32.const 1111111\n" * 9, "WebAssembly", "a.wat", None),
    ],
)
def test_starcoder_boundaries(text, language, path, expected):
    assert reason(STARCODER, text, language, path) == expected


@given(st.text())
def test_alphabetic_share_counts_letters(text):
    wanted = sum(map(str.isalpha, text)) / len(text) if text else 0.0
    assert alphabetic_share(text) == wanted
    wanted = sum(map(str.isalnum, text)) / len(text) if text else 0.0
    assert alphabetic_share(text, count_digits=True) == wanted


PUBLISHED = {
    "base64": re.compile(r"[a-zA-Z0-9+/\n=]{64,}"),
    "hexadecimal": re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}"),
    "unicode escapes": re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}"),
}


@given(st.lists(st.sampled_from(PIECES), max_size=120).map("".join))
@example("\\x00" * 20)
@example("de ad be ef " * 9 + "z")
@example("zz" + "ab," * 12)
def test_encoded_spans_are_those_of_the_published_patterns(text):
    wanted = {kind: [m.span() for m in pattern.finditer(text)] for kind, pattern in PUBLISHED.items()}
    assert encoded_spans(text) == wanted


@given(st.text(alphabet="ab\n\r\u2028", max_size=60), st.integers(1, 12))
def test_lines_are_found_without_splitting(text, count):
    assert has_line_over(text, count) == any(len(line) > count for line in text.split("\n"))
    assert first_lines(text, count) == text.splitlines()[:count]


def test_hostile_text_is_judged_in_linear_time():
    for text in (
        "ab " * 300_000,
        "a" * 1_000_000,
        "<script" * 140_000,
        "\\u00" * 250_000,
        "00," + " " * 1_000_000,
    ):
        for rules in (DEEPSEEK, STARCODER):
            assert rules.verdict(text, "HTML", "a.html") is not None
            assert rules.verdict("w\n" * 1000 + text, "Markdown", "a.md") is not None


@given(st.text(max_size=300), st.sampled_from([None, "Python", "HTML", "JSON", "Text"]), st.text(max_size=20))
def test_every_verdict_has_a_known_reason(text, language, path):
    for rules in (*PUBLISHED_SETS, STRICT):
        verdict = rules.verdict(text, language, path, True)
        assert verdict is None or (verdict[0] in REASONS and isinstance(verdict[1], str))


@pytest.mark.parametrize(
    ("path", "text", "wanted"),
    [
        ("a/b.js.map", "{}", "source map"),
        ("a/b.js", "var a\n//# sourceMappingURL=b.js.map\n", "with a source map"),
        ("a/b.js", "//# sourceMappingURL=b.js.map\nvar a\nvar b\n", None),
        ("a.map", '{"version":3,"sources":[]}', "source map"),
        ("a.js", "(function() {\n  var _i, _len, _ref;\n}).call(this);\n", "CoffeeScript"),
        ("a.js", "(function() {\n  var _i, b, c;\n}).call(this);\n", None),
        ("a.js", "// Generated by CoffeeScript 1.12.7\nvar a;\n", "CoffeeScript"),
        ("a.js", "module.exports = (function() {\n /*\n * Generated by PEG.js 0.9\n */\n", "PEG.js"),
        ("a.py", "# Generated by the protocol buffer compiler.  DO NOT EDIT!\nx\n", "protocol buffers"),
        ("a.py", "x\n\n\n# Generated by the protocol buffer compiler.  DO NOT EDIT!\n", None),
        ("a.js", "//\n" * 5 + "// GENERATED CODE -- DO NOT EDIT!\n", "protocol buffers"),
        ("a.h", "/* DO NOT EDIT THIS FILE - it is machine generated */\n#include <jni.h>\n", "javah"),
        ("a.c", "/* Generated by Cython 3.0 */\nint a;\n", "Cython"),
        ("a.go", "package a\n\n// Code generated by MockGen. DO NOT EDIT.\n", "Go"),
        ("a.go", "// This is no Code generated by hand\npackage a\n", None),
        ("a.rb", "#\n# DO NOT MODIFY!!!!\n# This file is automatically generated by Racc 1.4\n", "Racc"),
        ("A.java", "/* The following code was generated by JFlex 1.4 */\nclass A {}\n", "JFlex"),
        ("Form.Designer.cs", "class A {}\n", ".NET designer"),
        ("A.cs.meta", "fileFormatVersion: 2\nguid: 1\n", "Unity"),
        ("a.cc", "// Generated by the gRPC C++ plugin.\nint a;\n", "gRPC"),
        ("a.dart", "// GENERATED CODE - DO NOT MODIFY BY HAND\nvar a;\n", "Dart"),
        ("src/__generated__/a.graphql.ts", "export {}\n", "GraphQL Relay"),
        ("web/node_modules/a/a.js", "a()\n", "node_modules"),
        ("vendor/github.com/a/b/c.go", "package b\n", "Go vendor"),
        ("vendor/assets/a.go", "package b\n", None),
        ("Pods/A/a.m", "int a;\n", "CocoaPods"),
        ("MyPods/A/a.m", "int a;\n", None),
        ("a.yml", "---\nhttp: 1\nrecorded_with: VCR 5.0\n", "VCR"),
        ("a.xml", "<?xml?>\n<doc>\n<assembly>\n</assembly>\n</doc>\n", ".NET documentation"),
        ("a.html", '<html>\n<meta name="generator" content="groff 1.22">\n', "stated in HTML"),
        ("a.html", '<html>\n<meta name="generator" content="Hugo 0.9">\n', None),
        ("a.html", "<html>\n<!-- Generated by Doxygen 1.9.1 -->\n", "Doxygen"),
        ("a.ps", "%!PS\n%%Creator: groff version 1.22\n", "PostScript"),
        ("a.ps", "%!PS\n%%Creator: a person\n\ncurrentfile eexec\n0123456789abcdef\n", "PostScript"),
        ("a.ps", "%!PS\n%%Creator: a person\n", None),
        ("man/a.Rd", "% Generated by roxygen2: do not edit by hand\n\\name{a}\n", "roxygen2"),
        ("ppport.h", "\n" * 8 + "Automatically created by Devel::PPPort\n\n\n", "Devel::PPPort"),
        ("a.yyp", '{\n"id": 1,\n"modelName": "GMProject",\n}\n', "GameMaker Studio"),
        ("a.rbi", "# typed: true\n\n# DO NOT EDIT MANUALLY\n#\n# Please run `bin/tapioca gem`.\n", "Tapioca"),
        ("a.py", "x = 1\n", None),
    ],
)
def test_generated_files_as_linguist_finds_them(path, text, wanted):
    assert generator(path, text) == wanted


@pytest.mark.parametrize(
    ("path", "text", "wanted"),
    [
        ("a_pb2.py", "x = 1\n", "protocol buffers"),
        ("parse.c", "/* A Bison parser, made by GNU Bison 3.8. */\n", "Bison"),
        ("lex.c", "#line 3\n/* A lexical scanner generated by flex */\n", "Flex"),
        ("P.py", "# Generated from P.g4 by ANTLR 4.9\n", "ANTLR"),
        ("moc.cc", "/****\n** Meta object code from reading C++ file 'a.h'\n** Created by: The Qt\n", "Qt"),
        ("configure", "#! /bin/sh\n# Guess values.\n# Generated by GNU Autoconf 2.71\n", "GNU Autotools"),
        ("a.ts", "/**\n * @generated by a tool\n */\n", "@generated"),
        ("a.ts", "// mail me@generated.org\n", None),
        ("a.rs", "// This file was generated by a script.\n", "says so itself"),
        ("a.rs", "// DO NOT EDIT: machine generated\n", "says so itself"),
        ("a.py", "# The names are generated by a script.\n", None),
    ],
)
def test_generated_files_that_linguist_does_not_know(path, text, wanted):
    assert generator(path, text) is None
    assert generator(path, text, ("linguist", "more")) == wanted


def test_strict_adds_what_the_papers_do_not_state():
    assert STRICT.verdict("value = 1\n", "Python", "lib/_vendor/a.py", True) == (
        "vendored",
        "lib/_vendor/a.py",
    )
    assert STRICT.verdict("value = 1\n", "Python", "lib/a.py", False) is None
    assert STARCODER.verdict("value = 1\n", "Python", "lib/_vendor/a.py", True) is None
    assert reason(STRICT, "words\n", "YAML", "web/yarn.lock") == "lock_file"
    assert reason(STRICT, "words\n", "JavaScript", "lib/jquery.min.js") == "minified"
    assert reason(STRICT, "words\n", "YAML", "a.yml") == "too_short"
    assert reason(STRICT, "<?xml version='1.0'?>\n<words/>\n", "XML", "a.xml") == "xml_prologue"


def test_the_transform_keeps_rows_and_order():
    rows = [
        {"id": str(i), "text": "value = 1\n" if i % 2 else None, "language": "Python", "vendored": i == 3}
        for i in range(5)
    ]
    batch = pa.RecordBatch.from_pylist(rows, FILE)
    (out,) = STRICT(iter([batch]))
    assert out.schema == with_verdict(STRICT.schema(FILE))
    assert out.column("id").to_pylist() == list("01234")
    assert out.column("reason").to_pylist() == ["empty_file", None, "empty_file", "vendored", "empty_file"]


def test_sets_name_languages_that_there_are():
    known = set(languages())
    for facts in map(rule_set, rule_sets()):
        assert {*facts.get("listed", ()), *facts["languages"]} - known <= {"Maple"}
    assert set(KEYS) == {*Limits._fields, "listed"}


def test_rules_of_ones_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        'base = "starcoder2"\nmax_line = 50\nlisted = ["C", "Python"]\n'
        "[languages.C]\nmax_line = false\n[languages.YAML]\nmax_chars = 9\n"
    )
    rules = CodeRules(str(path))
    path.unlink()
    long = "a long line of words " * 4 + "\n"
    for own in (rules, pickle.loads(pickle.dumps(rules))):
        assert own.verdict(long, "Python", "a.py") == ("line_too_long", "84")
        assert own.verdict(long, "C", "a.c") is None
        assert own.verdict("# auto-generated\n", "C", "a.c") == ("generated", "auto-generated")
        assert own.verdict(long, "Go", "a.go") == ("language_not_listed", "Go")
    assert rules.facts["languages"]["YAML"] == {"max_lines": 512, "max_chars": 9}
    path.write_text("max_chars = 9\n")
    alone = CodeRules(str(path))
    assert alone.verdict("{}" * 4, "Brainfuck", "a.b") is None
    assert reason(alone, "{}" * 5) == "too_long"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_lin = 5", "no key 'max_lin'; did you mean 'max_line'"),
        ('max_line = "5"', "max_line = '5' has to be a whole number above 0"),
        ("max_line = 0.5", "max_line = 0.5 has to be a whole number"),
        ("min_alphabetic_share = 25", "has to be a number from 0 to 1"),
        ("listed = [1]", "has to be a list of strings"),
        ("vendored = 1", "has to be true or false"),
        ('base = "starcoder"', "base = 'starcoder' is no set"),
        ('base = "starcoder2', "not TOML"),
        ("languages = 3", "languages holds tables"),
        ('[languages.C]\nlisted = ["C"]', "languages.\"C\": there is no key 'listed'"),
        ('generated = ["enry"]', "not 'enry'"),
    ],
)
def test_wrong_rules_are_one_clear_sentence(tmp_path, text, says):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(LodeError, match=re.escape(says)) as raised:
        CodeRules(str(path))
    assert str(path) in str(raised.value) and str(raised.value).count("\n") == 0


def test_an_unknown_set_is_one_clear_sentence(tmp_path):
    with pytest.raises(LodeError, match="give deepseek-coder, coder-v2, starcoder2, strict or the path"):
        CodeRules("deepseek")
    with pytest.raises(LodeError, match="cannot be read"):
        CodeRules(str(tmp_path / "none.toml"))


def test_oddities_of_the_sample_archives_end_with_their_reason(shared_data):
    expected = {
        "lodash-4.17.21": (r"\.min\.js$", "minified"),
        "axios-1.7.2": (r"\.min\.js$", "minified"),
        "rxjs-7.8.1": (r"\.js\.map$", "generated"),
    }
    for repository, (pattern, why) in expected.items():
        rows = rows_of([str(shared_data / "repos" / f"{repository}.tar.gz")])
        odd = [row for row in rows if re.search(pattern, row["path"])]
        assert odd
        for row in odd:
            assert reason(STARCODER, row["text"], row["language"], row["path"]) == why
            assert DEEPSEEK.verdict(row["text"], row["language"], row["path"]) is not None
    path = str(shared_data / "repos" / "requests-2.32.3.tar.gz")
    (out,) = DEEPSEEK(batch.select(FILE.names) for batch in repository_batches([path], "s"))
    verdicts = dict(zip(out.column("path").to_pylist(), out.column("reason").to_pylist(), strict=True))
    assert verdicts["src/requests/sessions.py"] is None and verdicts["LICENSE"] == "language_not_listed"
