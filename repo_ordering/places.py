"""Which of several files of one name is meant: the one whose folders are most like the asker's."""

from collections.abc import Sequence

# Folders that hold tests, and nothing that is tested.
TEST_FOLDERS = frozenset(["test", "tests", "__tests__", "spec", "specs", "unittest", "unittests", "e2e"])
# Folders that say what kind of file lies below them, not what it is about.
_ASIDE = TEST_FOLDERS | {"src", "lib", "main", "source", "sources", "include"}
# An implementation comes before its declaration.
_DECLARATIONS = (".h", ".hh", ".hpp", ".hxx", ".d.ts", ".pyi")


def nearest(path: str, candidates: Sequence[str]) -> str | None:
    """The candidate whose folders share most with those of `path`, from the file up and then from the root.

    None where two are as near. `src`, `test` and their like do not count: `tests/a/test_b.py` is near `src/a/b.py`.
    """
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    mine = _folders(path)

    def likeness(candidate: str) -> tuple[int, int, bool]:
        theirs = _folders(candidate)
        is_declaration = candidate.endswith(_DECLARATIONS)
        return _shared(mine[::-1], theirs[::-1]), _shared(mine, theirs), not is_declaration

    ranked = sorted(((likeness(candidate), candidate) for candidate in candidates), reverse=True)
    return ranked[0][1] if ranked[0][0] > ranked[1][0] else None


def _folders(path: str) -> list[str]:
    return [part for part in path.split("/")[:-1] if part.lower() not in _ASIDE]


def _shared(left: list[str], right: list[str]) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count
