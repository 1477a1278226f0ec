"""Lines of code that need another file: those that name, for the first time in their file, what a file they depend on
declares.

RepoBench (arXiv 2306.03091) and CrossCodeEval (arXiv 2310.11248) ask for such lines to see what a model makes of a
repository. Here the edges come from the repository's graph; what a file declares is read off its lines, by forms that
the languages share, so that one reading serves all of them.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

MOST_CHARS = 400  # of a line: longer ones are data

_BEFORE = (
    "class|const|def|define|enum|fn|fun|func|function|interface|let|macro_rules!|module|object|protocol|record|"
    "struct|trait|type|typealias|typedef|union|val|var"
)
_DECLARED = (
    # The word that declares, maybe a receiver (Go, Ruby), then the name.
    re.compile(
        rf"\s*#?\s*(?:[\w@]+(?:\(\w+\))?\s){{0,4}}(?:{_BEFORE})\s+(?:\([^)]*\)\s*|self\.)?([A-Za-z_]\w+)"
    ),
    # A constant at the margin.
    re.compile(r"([A-Za-z_]\w+)\s*(?::[^=]+)?=(?!=)"),
    # C and C++: a type at the margin, then a name with parameters that is no statement.
    re.compile(
        r"(?!(?:assert|await|case|delete|else|goto|new|print|raise|return|throw|yield)\b)"
        r"[A-Za-z_][\w:<>,*& ]*[\s*&]([A-Za-z_]\w+)\s*\([^;]*$"
    ),
    # Java, C#, C++: modifiers, a type, a name with parameters.
    re.compile(
        r"\s+(?:(?:public|protected|private|internal|static|final|abstract|override|virtual|async)\s)+"
        r"[\w<>\[\], ?]*?([A-Za-z_]\w+)\s*\("
    ),
)
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_IMPORT = re.compile(
    r"\s*(?:from|import|include|export\b.*\bfrom|using|use|package|require\w*|#\s*include|__all__)\b|.*\brequire\s*\("
)
_COMMENT = re.compile(r"\s*(?:#(?!\w)|//|/\*|\*|--|<!--|>>>|'''|\"\"\")")
# What tells a line that does something from an entry of a list, such as that of an import.
_WORKS = re.compile(r"[(.=\[]")
_KEYWORDS = {
    "abstract",
    "catch",
    "elif",
    "else",
    "extends",
    "final",
    "function",
    "implements",
    "return",
    "static",
    "while",
}


class CrossLine(NamedTuple):
    """A line `text[start:end]`, without its end, of the file at `path`; `name`, which it holds, is declared in the file
    `declared_in`, which stands earlier, by the line that begins at `declared_at`."""

    path: str
    start: int
    end: int
    name: str
    declared_in: str
    declared_at: int


def cross_lines(
    text: str, files: Iterable[tuple[str, int, int]], dependencies: Collection[tuple[str, str]]
) -> list[CrossLine]:
    """The lines of a repository's document that need an earlier file, in the order of the text.

    A name counts where one of the files that its file depends on declares it, and no other of them. A line counts
    where it is the first in its file to hold the name, uses it (as a call, a member, or by a spelling that no common
    word has), does not declare it anew, and is no import, comment or entry of a list.

    Args:
        files: (path, start, end) of each, in the order of the text; the first line of each is its path comment.
        dependencies: pairs of paths, of which the first depends on the second.
    """
    files = list(files)
    declared = {path: declares(text[start:end]) for path, start, end in files}
    place = {path: i for i, (path, _, _) in enumerate(files)}
    starts = {path: start for path, start, _ in files}
    needs: dict[str, list[str]] = {}
    for source, target in sorted(dependencies):
        if source in place and target in place and place[target] < place[source]:
            needs.setdefault(source, []).append(target)
    found = []
    for path, start, end in files:
        earlier = needs.get(path, ())
        owners = Counter(name for other in earlier for name in declared[other])
        sought = {name: other for other in earlier for name in declared[other] if owners[name] == 1}
        at = start
        for number, line in enumerate(text[start:end].split("\n") if sought else ()):
            new = [match for match in _NAME.finditer(line) if match[0] in sought]
            # The first line is the path comment.
            if new and number and len(line) <= MOST_CHARS and _is_code(line):
                used = [match[0] for match in new if _is_used(line, match) and match[0] not in declares(line)]
                ends = at + len(line.rstrip("\r"))
                for name in used[:1]:
                    other = sought[name]
                    found.append(
                        CrossLine(path, at, ends, name, other, starts[other] + declared[other][name])
                    )
            for match in new:
                sought.pop(match[0], None)
            at += len(line) + 1
    return found


def declares(text: str) -> dict[str, int]:
    """Names of four characters or more that a file's lines declare, and where the first such line begins."""
    found: dict[str, int] = {}
    at = 0
    for line in text.split("\n"):
        if len(line) <= MOST_CHARS and not _COMMENT.match(line):
            for form in _DECLARED:
                if (match := form.match(line)) and len(match[1]) >= 4 and match[1] not in _KEYWORDS:
                    found.setdefault(match[1], at)
        at += len(line) + 1
    return found


def _is_code(line: str) -> bool:
    return bool(_WORKS.search(line)) and not _IMPORT.match(line) and not _COMMENT.match(line)


def _is_used(line: str, name: re.Match[str]) -> bool:
    """Whether a name stands where a word of prose, or a parameter, would not."""
    spelled = "_" in name[0] or not name[0].islower()
    return spelled or line[: name.start()].endswith((".", "::", "->")) or line[name.end() :].startswith("(")
