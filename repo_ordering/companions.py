"""Tests and what they test, by how the world names its files.

Most tests also import what they test; then the edge of kind `test` says which of the imported files it is. Where
they do not (Go, Swift and Ruby by convention, a program run by a script), it is the only edge there is.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from corpus.languages import kind_of
from repo_ordering.edges import Edge, SourceFile
from repo_ordering.places import TEST_FOLDERS, nearest

_SUFFIX_FOLDER = re.compile(r"(?:[._-]|(?<=[a-z]))(?:[Tt]ests?|[Ss]pecs?|[Uu]nit[Tt]ests?)$")
# What is taken off the stem of a test; the first that fits.
_AFFIXES = [
    re.compile(pattern)
    for pattern in (
        r"^(?P<of>.+)[._-](?:unit_?tests?|tests?|specs?|e2e|it)$",  # foo_test, foo.spec, foo-test, foo_unittest
        r"^tests?[._-](?P<of>.+)$",  # test_foo
        r"^(?P<of>.*[a-z0-9])(?:UnitTests?|Tests?|TestCase|Specs?|IT)$",  # FooTest, FooTests, FooSpec, FooIT
    )
]
# TestFoo; outside a folder of tests it is rather a double, such as a TestClock.
_TEST_FIRST = re.compile(r"^Tests?(?P<of>[A-Z].*)$")
_MOST_NAMED = 64  # files of one name that are considered
_KIN = [
    {"C", "C++", "Objective-C", "Objective-C++", "Cuda"},
    {"Java", "Kotlin", "Scala", "Groovy"},
    {"JavaScript", "TypeScript", "TSX", "Vue", "Svelte"},
    {"Python", "Cython"},
]
_KIN_OF = {language: number for number, kin in enumerate(_KIN) for language in kin}


def test_edges(files: Mapping[str, SourceFile], edges: Iterable[Edge]) -> Iterator[Edge]:
    """From each test to the one file that it is named after, given the other edges.

    Of several files of that name it is one that the test depends on, or else the one whose folders are most like
    the test's; where that does not settle it, there is none. A file of a test folder that is not named as a test
    counts where it depends on the file whose name it has. Sure (1.0) where the test depends on it by its code,
    0.9 where the name is unique, 0.6 where the folders decide.
    """
    tests: list[tuple[str, str, bool]] = []  # path, stem of what it tests, whether its own name says so
    by_stem: dict[tuple[str, object], list[str]] = {}
    for path in sorted(files):
        language = files[path].language
        if language is None or kind_of(language) != "programming":
            continue
        stem = _stem(path)
        in_tests = _in_tests(path)
        affixes = [*_AFFIXES, _TEST_FIRST] if in_tests else _AFFIXES
        of = next((match["of"] for affix in affixes if (match := affix.match(stem))), None)
        if of is not None or in_tests:
            tests.append((path, of or stem, of is not None or "/__tests__/" in f"/{path}"))
        else:
            by_stem.setdefault((_folded(stem), _KIN_OF.get(language, language)), []).append(path)
    depends: dict[str, set[str]] = {path: set() for path, _, _ in tests}
    for edge in edges:
        if edge.source in depends:
            depends[edge.source].add(edge.target)
    for path, stem, says_so in tests:
        language = files[path].language
        named = by_stem.get((_folded(stem), _KIN_OF.get(language, language)), [])[:_MOST_NAMED]
        used = [other for other in named if other in depends[path]]
        found = nearest(path, used or (named if says_so else []))
        if found is not None:
            yield Edge(path, found, "test", False, 1.0 if used else 0.9 if len(named) == 1 else 0.6)


def _stem(path: str) -> str:
    """The file's name up to its language's suffix: `a.test` of `a.test.ts`."""
    name = posixpath.basename(path).removesuffix(".d.ts")
    return posixpath.splitext(name)[0]


def _in_tests(path: str) -> bool:
    return any(part in TEST_FOLDERS or _SUFFIX_FOLDER.search(part) for part in path.split("/")[:-1])


def _folded(stem: str) -> str:
    """`FooBar`, `foo_bar` and `foo-bar` are one name."""
    return re.sub(r"[._-]", "", stem).lower()
