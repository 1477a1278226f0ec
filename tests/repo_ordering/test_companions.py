"""Tests and what they test, by name."""

import pytest

from repo_ordering.graph import SourceFile, repository_graph

LANGUAGE = {
    "py": "Python", "java": "Java", "go": "Go", "ts": "TypeScript", "js": "JavaScript", "rb": "Ruby", "cc": "C++",
    "h": "C++", "cs": "C#", "swift": "Swift", "php": "PHP", "ex": "Elixir", "exs": "Elixir", "json": "JSON",
}  # fmt: skip


def tied(*paths, **texts):
    files = [SourceFile(path, LANGUAGE[path.rpartition(".")[2]], texts.get(path, "")) for path in paths]
    return {(e.source, e.target): e.confidence for e in repository_graph(files).edges if e.kind == "test"}


@pytest.mark.parametrize(
    "test, tested",
    [
        ("tests/test_core.py", "src/pkg/core.py"),
        ("pkg/core_test.py", "pkg/core.py"),
        ("src/test/java/a/CoreTest.java", "src/main/java/a/Core.java"),
        ("src/test/java/a/CoreIT.java", "src/main/java/a/Core.java"),
        ("src/test/java/a/TestCore.java", "src/main/java/a/Core.java"),
        ("pkg/core_test.go", "pkg/core.go"),
        ("src/core.spec.ts", "src/core.ts"),
        ("src/__tests__/core.js", "src/core.js"),
        ("src/core-test.js", "src/core.ts"),
        ("spec/lib/core_spec.rb", "lib/core.rb"),
        ("db/core_unittest.cc", "db/core.cc"),
        ("My.Tests/CoreTests.cs", "My/Core.cs"),
        ("Tests/MyTests/CoreTests.swift", "Sources/My/Core.swift"),
        ("tests/CoreTest.php", "src/Core.php"),
        ("test/my/core_test.exs", "lib/my/core.ex"),
        ("tests/test_foo_bar.py", "lib/FooBar.py"),
    ],
)
def test_a_test_is_tied_to_what_it_is_named_after(test, tested):
    assert tied(test, tested, "other.py", "other.js") == {(test, tested): 0.9}


@pytest.mark.parametrize(
    "paths",
    [
        ("latest.py", "la.py"),
        ("src/TestClock.java", "src/Clock.java"),  # a double, not in a folder of tests
        ("tests/helpers.py", "src/helpers.py"),  # in such a folder, but not named as a test
        ("tests/core.test.json", "tests/core.json"),
        ("test_core.py", "core.rb"),  # another language
        ("test_core.py", "a/core.py", "b/core.py"),  # which of them, nothing says
    ],
)
def test_other_names_are_no_tests(paths):
    assert tied(*paths) == {}


def test_of_several_files_the_one_used_or_nearest_is_meant():
    paths = ("tests/a/test_core.py", "src/a/core.py", "src/b/core.py")
    assert tied(*paths) == {("tests/a/test_core.py", "src/a/core.py"): 0.6}
    paths = ("tests/test_core.py", "a/core.py", "b/core.py")
    assert tied(*paths, **{"tests/test_core.py": "import b.core\n"}) == {
        ("tests/test_core.py", "b/core.py"): 1.0
    }
    paths = ("db/arena_test.cc", "db/arena.cc", "include/db/arena.h")
    assert tied(*paths) == {("db/arena_test.cc", "db/arena.cc"): 0.6}
    paths = ("tests/helpers.py", "src/pkg/__init__.py", "src/pkg/helpers.py")
    imports = {"tests/helpers.py": "from pkg import helpers\n"}
    assert tied(*paths, **imports) == {("tests/helpers.py", "src/pkg/helpers.py"): 1.0}
