"""Lists of repositories and owners who do not want to be in a corpus.

A list is a text file, or the first column of a CSV file: `owner/repository`, `owner` or an address such as
`https://github.com/owner/repository` a line, `#` for a comment. Case does not matter. Lists of hundreds of thousands of
lines are fine.
"""

import functools
import re

from corpus import storage
from corpus.errors import LodeError

_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?|git@)?(?:www\.)?[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}(?::\d+)?[/:](.+)"
)
_HEADINGS = frozenset(
    ("repository", "repo", "repo_name", "repository_name", "name", "owner", "user", "username", "url")
)
# What archives of a repository add to its name.
_VERSION = re.compile(r"-(?:v?\d[\w.+-]*|main|master|[0-9a-f]{7,40})$")


@functools.lru_cache(8)
def listed(paths: tuple[str, ...], mark: str = "") -> frozenset[str]:
    """`owner/repository` and `owner` entries of lists, in lower case. Raises LodeError where one cannot be read.

    A process reads lists once for each `mark`, such as their fingerprint.
    """
    entries = set()
    for path in storage.expand(list(paths)):
        fs, inside = storage.filesystem(path)
        try:
            with fs.open(inside, "rb", compression="infer") as file:
                lines = [line.decode("utf-8-sig", "replace") for line in file]
        except (OSError, ValueError) as error:
            raise LodeError(f"{path}: this list of repositories cannot be read ({error}).") from None
        is_table = re.search(r"\.csv(?:\.\w+)?$", path.lower()) is not None
        for number, line in enumerate(lines):
            entry = line.split(",", 1)[0] if is_table else line
            entry = re.sub(r"(?:^|\s)#.*", "", entry).strip().strip("\"'").strip().lower()
            if entry and not (is_table and number == 0 and entry in _HEADINGS):
                entries.add(_entry(path, number, entry))
    return frozenset(entries)


def _entry(path: str, number: int, entry: str) -> str:
    address = _ADDRESS.fullmatch(entry)
    place = (
        address[1] if address and ("/" in address[1] or "://" in entry or entry.startswith("git@")) else entry
    )
    parts = [part for part in place.split("?")[0].split("#")[0].split("/") if part][:2]
    if not parts or any(re.search(r"\s", part) for part in parts):
        raise LodeError(
            f"{path}, line {number + 1}: {entry[:100]!r} is neither owner/repository, nor an owner or address."
        )
    return "/".join(parts).removesuffix(".git")


def find(repository: str | None, entries: frozenset[str]) -> str | None:
    """The entry that a repository falls under, or None.

    The last two parts of its name are taken for owner and repository. A name without an owner (an archive of its own)
    falls under every entry of that repository name, since nothing tells them apart, with or without a version.
    """
    if not repository:
        return None
    parts = repository.lower().removesuffix(".git").strip("/").split("/")
    name = parts[-1]
    if len(parts) >= 2:
        candidates = [f"{parts[-2]}/{name}", parts[-2]]
    else:
        candidates = [
            name,
            *_by_name(entries).get(name, ()),
            *_by_name(entries).get(_VERSION.sub("", name), ()),
        ]
    return next((entry for entry in candidates if entry in entries), None)


@functools.lru_cache(8)
def _by_name(entries: frozenset[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in sorted(entries):
        if "/" in entry:
            found.setdefault(entry.partition("/")[2], []).append(entry)
    return found
