"""Syntax checks: against the interpreter's own files, a compiler where there is one, and text made to do harm."""

import ast
import json
import pathlib
import shutil
import subprocess
import sysconfig
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.guarded import Failed, Worker
from filters.syntax import CHECK, GRAMMARS, Syntax, brackets_fault, check_all, is_checked, one_branch

GOOD = {
    "C": "#define BEGIN {\n#ifdef A\nint f(int a) {\n#else\nint f(long a) {\n#endif\n  return a;\n}\n",
    "C++": 'template <class T> auto f(T a) { return a; }\nauto x = R"(a { " )";\nint y = 1\'000;\n',
    "C#": "#region A\nclass A {\n#if NET\n  int f() {\n#else\n  int g() {\n#endif\n    return 1; } }\n#endregion\n",
    "Cuda": "__global__ void f(float *a) { a[threadIdx.x] = 0; }\nvoid g() { f<<<1, 2>>>(0); }\n",
    "Go": "package a\n\nfunc f() int { return 1 }\n",
    "JSON": '{"a": [1, null]}\n',
    "JSON with Comments": '// a\n{"a": [1,],}\n',
    "Java": "class A { int f() { return 1; } }\n",
    "JavaScript": "export const f = async () => <a href='b'>{1}</a>\n",
    "Kotlin": "fun f(a: Int): Int = a + 1\n",
    "Objective-C": '#import "A.h"\n@implementation A\n- (void)f { [self g:@"{"]; }\n@end\n',
    "Objective-C++": '@implementation A\n- (void)f { std::string a("("); }\n@end\n',
    "PHP": "<p><?php function f($a) { return $a['b']; } ?></p>\n",
    "Python": "def f(a: int) -> int:\n    return a\n",
    "Ruby": "def f(a)\n  a.map { |b| b + 1 }\nend\n",
    "Rust": "fn f<'a>(a: &'a str) -> &'a str { a }\n",
    "Scala": "object A { def f(a: Int): Int = a + 1 }\n",
    "Shell": 'f() {\n  if [ "$1" ]; then echo "${1%.*}"; fi\n}\n',
    "SVG": '<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>\n',
    "Swift": "#if os(iOS)\nfunc f() {\n#else\nfunc g() {\n#endif\n  let a = #selector(b)\n}\n",
    "TOML": "[a]\nb = 1\n",
    "TSX": "const f = (a: number) => <b c={a} />\n",
    "TypeScript": 'declare const a: import("./b").C<{ d: string }>;\n',
    "XML": '<?xml version="1.0" encoding="latin-1"?><!DOCTYPE a SYSTEM "a.dtd"><a>&nbsp;é</a>\n',
}


@pytest.fixture(scope="module")
def worker():
    worker = Worker(CHECK, memory_limit=1 << 30, cpu_limit=2.0)
    yield worker
    worker.close()


def of(worker, language, text):
    return check_all([(language, text)], worker)[0]


def is_fine(syntax):
    return not isinstance(syntax, Failed) and not syntax.error_share and not syntax.fault


@pytest.mark.parametrize("language", GOOD)
def test_good_files_have_no_errors_and_cut_ones_do(worker, language):
    text = GOOD[language]
    assert of(worker, language, text) in (Syntax(0.0), Syntax(None))
    cut = text[: 1 + (max(map(text.rfind, "([{")) if language not in ("SVG", "XML") else text.rfind("<"))]
    assert not is_fine(of(worker, language, cut)), cut


def test_every_grammar_is_tried():
    assert set(GRAMMARS) <= set(GOOD)
    assert is_checked("C") and is_checked("Python")
    assert not is_checked("Markdown") and not is_checked(None)


def test_python_is_judged_as_the_interpreter_does(worker):
    """The standard library and the parser's own tests of what is wrong."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(folder.glob("[a-d]*.py"))[:40]
    for found in check_all([("Python", file.read_text(encoding="utf-8")) for file in files], worker):
        assert found == Syntax(0.0)
    wrong = ["def f(:\n", "x = 5\n  y = 6\n", "if x:\ny = 1\n", "a b\n", "f() = 1\n", "x = (1\n", "'", "\0"]
    for text, found in zip(wrong, check_all([("Python", text) for text in wrong], worker), strict=True):
        with pytest.raises((SyntaxError, ValueError)):
            ast.parse(text)
        assert found.error_share > 0 and found.fault is None, text


@pytest.mark.parametrize(
    "text",
    [
        "print 'a'\n",
        "print >>f, 'a' % b, c; print\nprint 1\n",
        "exec 'a' in b\n",
        "try:\n    pass\nexcept A, e:\n    pass\n",
        "raise A, 'b'\n",
        "x = 10L\n",
        "x = 0777\n",
        "x = a <> b\n",
        "x = `a`\n",
        "x = ur'a'\n",
        "def f((a, b)): pass\n",
    ],
)
def test_python_2_has_a_name_of_its_own(worker, text):
    with pytest.raises(SyntaxError):
        ast.parse(text)
    assert of(worker, "Python", text) == Syntax(0.0, "python2")
    assert of(worker, "Python", text + "def f(:\n").fault is None  # wrong in any version


@pytest.mark.parametrize("text", ["type A = int\n", "def f[T](a: T): pass\n", "x = f'{a['b']}'\n"])
def test_newer_python_than_the_interpreter_stays(worker, text):
    assert of(worker, "Python", text) == Syntax(0.0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_all_that_json_writes_is_json(value):
    from filters.syntax import check

    assert check("JSON", json.dumps(value, indent=1)) == Syntax(0.0)
    assert check("JSON", f"{json.dumps(value)}\n{json.dumps(value)}\n") == Syntax(0.0)


def test_other_text_under_a_language_s_name(worker):
    prose = "It was the best of times, it was the worst of times; it was the age of wisdom.\n" * 20
    for language in GOOD:
        # Of the first three only brackets are looked at, and prose is commands.
        if language not in ("Cuda", "Objective-C", "Objective-C++", "Shell"):
            assert of(worker, language, prose).error_share > 0, language


def test_flow_is_not_judged_by_a_grammar_that_does_not_know_it(worker):
    assert of(worker, "JavaScript", "/**\n * @flow strict\n */\ntype A = {| b: ?string |};\n") == Syntax(None)


def test_a_macro_on_a_line_of_its_own_is_no_error(worker):
    c = "#include <a.h>\nA_BEGIN_DECLS\n\nA_EXPORT(int)\nint a(void);\n\nA_END_DECLS\n"
    cpp = "namespace a\n{\nA_BEGIN_VERSION\n\ntemplate<class T>\nclass b\n{\n  A_OBJECT\n  T c;\n};\nA_END_VERSION\n}\n"
    assert check_all([("C", c), ("C++", cpp)], worker) == [Syntax(0.0), Syntax(0.0)]


def test_one_branch_keeps_lines_and_takes_the_first_branch_that_can_be():
    text = "a\n#if 0\nb\n#elif X\nc\n#else\nd\n#endif\n#define E \\\n  f\ng\n"
    assert one_branch(text) == ("a\n\n\n\nc\n\n\n\n\n\ng\n", None)
    assert one_branch("#if 1\n#if 0\na\n#else\nb\n#endif\n#else\nc\n#endif\n")[0].split() == ["b"]
    assert one_branch("#ifndef A_H\nint a;\n")[1] == "#if without #endif"
    assert one_branch("#endif\n")[1] == "#endif without #if"


@pytest.mark.skipif(not shutil.which("cpp"), reason="no C preprocessor")
def test_one_branch_reads_what_the_preprocessor_reads():
    text = "#if 0\na\n#else\n#if 1\nb\n#else\nc\n#endif\nd\n#endif\n"
    text += "#if 1\ne\n#elif 1\nf\n#endif\n#if 0\ng\n#elif 1\nh\n#endif\n"
    text += "#if 0 /* why */\ni\n#endif\n#if (0) // why\nj\n#endif\n"
    # A comment goes on behind its directive, and the directive behind its comment.
    text += "#define A /* one\n two) */ three\nk\n#define B \\\n /* \\\n */ \\\n four\nl\n"
    text += "/* or\n#if 1\n */\nm\n#if 1 /* x */ /* y\n#else\n*/\nn\n#else\no\n#endif\n"
    text += "\"/*\"\n#if 0\np\n#endif\n'/*'\n// /*\n#if 0\nq\n#endif\nr\n"
    left, fault = one_branch(text)
    read, expected = (
        subprocess.run(["cpp", "-P"], input=code, capture_output=True, text=True, check=True).stdout.split()
        for code in (left, text)  # of the first it takes the comments alone
    )
    assert read == expected == [*"bdehklmn", '"/*"', "'/*'", "r"]
    assert fault is None


@pytest.mark.parametrize(
    "text, fault",
    [
        ("int f() { return (1); }", None),
        ("// {\n/* ( */ char a[] = \"{\"; char b = '{';", None),
        ("it's a stray quote\n{}", None),
        ('R"x(}})" )x" {}', None),
        ("{(})", "} without {"),
        ("}", "} without {"),
        ("{ [ ]", "{ without its end"),
        ("/* {", "a comment without end"),
        ('R"(', "a raw string without end"),
    ],
)
def test_brackets(text, fault):
    assert brackets_fault(text) == fault


N = 100_000
HOSTILE = [
    ("C", "{" * N),
    ("C", '"' * N),
    ("C", "/*" * N),
    ("C", "#if A\n" * N),
    ("C++", 'R"(' * N),
    ("C++", "a<" * N),
    ("C#", "a<" * N),
    ("Java", "a<" * N),
    ("JSON", "[" * N),
    ("JSON", "1" * N),
    ("JavaScript", "`${" * N),
    ("Kotlin", "a<" * N),
    ("PHP", "<?php " + "[" * N),
    ("Python", "(" * N),
    ("Python", "-" * N + "1"),
    ("Python", "x = " + "9" * N),
    ("Python", "if a:\n" * 100),
    ("Ruby", "[" * N),
    ("Scala", "[`" * N),
    ("Shell", "$(" * N),
    ("Swift", "a<" * N),
    ("TOML", "a=" + "[" * N),
    ("TOML", "a." * N + "a=1"),
    ("TypeScript", 'import("' * N),
    ("XML", "<a>" * N),
    (
        "XML",
        '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12))
        + "]><a>&m;</a>",
    ),
]


@pytest.mark.parametrize("language, text", HOSTILE)
def test_hostile_text_ends_in_an_answer_or_a_reason_and_the_next_file_is_read(worker, language, text):
    started = time.monotonic()
    found = of(worker, language, text)
    if isinstance(found, Failed):
        assert found.reason in {"too_hard", "too_long", "out_of_memory", "crashed"}
    assert time.monotonic() - started < 30  # a bound against hanging, far above what the limits allow
    assert of(worker, "Python", "a = 1\n") == Syntax(0.0)


def test_an_external_entity_is_not_read(worker, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("<b>")  # would be an error where it stands
    text = f'<!DOCTYPE a [<!ENTITY b SYSTEM "{secret.as_uri()}">]><a>&b;</a>'
    assert of(worker, "XML", text) == Syntax(0.0)


def test_the_answers_do_not_depend_on_what_is_asked_together(worker):
    files = list(GOOD.items())
    together = check_all(files, worker)
    assert together == [of(worker, *file) for file in files]
