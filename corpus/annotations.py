"""What people decided about URL paths: `annotations.toml`, which `lode review` writes and mining reads.

The file is plain: one `[[path]]` table a decision, in the order of target and prefix, so that two reviewers' files
can be compared line by line, and edited by hand.
"""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from corpus import storage
from corpus.errors import LodeError
from corpus.urls import canonical_url

DECISIONS = ("accept", "reject", "skip")
FIELDS = ("target", "prefix", "decision", "round", "note", "reviewer")
HEAD = """\
# Decisions about URL paths, for mining: accept (collect all of it, and learn from it), reject (collect nothing of it)
# or skip (no opinion; mining takes no notice). `round`: the mining round from which on a decision counts.
# `lode review` writes this file anew with every decision; edit it by hand as well, but comments do not stay.
"""


@dataclass(frozen=True)
class Annotation:
    """A decision about all pages under a path prefix, from a round on."""

    target: str
    prefix: str  # `site.org/questions`, as `corpus.mining.path_prefixes` writes it
    decision: str  # accept, reject or skip
    round: int = 1
    note: str = ""
    reviewer: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What it is about: target and prefix."""
        return self.target, self.prefix


@dataclass(frozen=True)
class Conflict:
    """One prefix, and what people who do not agree said of it."""

    target: str
    prefix: str
    said: tuple[Annotation, ...]


def read_annotations(path: str) -> list[Annotation]:
    """The `[[path]]` tables of a file: `target`, `prefix`, `decision`, and where wanted `round`, `note`, `reviewer`.

    Raises:
        LodeError: it is missing, no TOML, or a table in it is not as said.
    """
    try:
        fs, inside = storage.filesystem(path)
        content = tomllib.loads(fs.cat_file(inside).decode())
    except FileNotFoundError:
        raise LodeError(f"{path}: there is no such file of annotations.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LodeError(f"{path}: not TOML ({error}).") from None
    if extra := set(content) - {"path"}:
        raise LodeError(f"{path}: {min(extra)!r} is not known; annotations are [[path]] tables.")
    tables = content.get("path", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise LodeError(f"{path}: 'path' is no list of tables; write [[path]] above each.")
    return [annotation_of(table, f"{path}: [[path]] number {n}") for n, table in enumerate(tables, 1)]


def annotation_of(entry: dict[str, object], where: str) -> Annotation:
    """An annotation of its fields, checked. Raises LodeError, beginning with `where`."""
    if extra := set(entry) - set(FIELDS):
        raise LodeError(f"{where}: {min(extra)!r} is not known.")
    if missing := [name for name in ("target", "prefix", "decision") if not entry.get(name)]:
        raise LodeError(f"{where}: {missing[0]} is missing.")
    for name in ("target", "prefix", "note", "reviewer"):
        if not isinstance(entry.get(name, ""), str):
            raise LodeError(f"{where}: {name} is {entry[name]!r}; a string was expected.")
    if entry["decision"] not in DECISIONS:
        raise LodeError(f"{where}: decision is {entry['decision']!r}; {', '.join(DECISIONS)} was expected.")
    start = entry.get("round", 1)
    if type(start) is not int or start < 1:
        raise LodeError(f"{where}: round is {start!r}; a whole number from 1 was expected.")
    prefix = plain_prefix(str(entry["prefix"]))
    if not prefix:
        raise LodeError(
            f"{where}: prefix is {entry['prefix']!r}; an address such as site.org/questions was expected."
        )
    return Annotation(
        str(entry["target"]), prefix, str(entry["decision"]), start,
        str(entry.get("note", "")), str(entry.get("reviewer", "")),
    )  # fmt: skip


def plain_prefix(prefix: str) -> str:
    """`https://Site.org/questions/` -> `site.org/questions`, as `path_prefixes` writes it."""
    if "://" not in prefix:
        prefix = f"https://{prefix}"
    return canonical_url(prefix).partition("://")[2].rstrip("/")


def as_toml(annotations: Iterable[Annotation]) -> str:
    """The file's text: the same decisions give the same bytes."""
    tables = []
    for found in sorted(annotations, key=lambda a: (a.target, a.prefix, a.round, a.reviewer, a.decision)):
        values = [("target", found.target), ("prefix", found.prefix), ("decision", found.decision)]
        lines = ["[[path]]", *(f"{name} = {quoted(value)}" for name, value in values)]
        if found.round != 1:
            lines.append(f"round = {found.round}")
        lines += [
            f"{name} = {quoted(value)}" for name in ("note", "reviewer") if (value := getattr(found, name))
        ]
        tables.append("\n".join(lines) + "\n")
    return "\n".join([HEAD, *tables])


def quoted(text: str) -> str:
    """A TOML basic string. JSON escapes the same way, but for what no Unicode text has and for DEL."""
    clean = text.encode("utf-8", "replace").decode()
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_annotations(path: str, annotations: Iterable[Annotation]) -> None:
    """Write the whole file at once: who reads it meanwhile sees the old one or the new one.

    Raises:
        LodeError: it can not be written.
    """
    try:
        storage.write_text(path, as_toml(annotations))
    except OSError as error:
        raise LodeError(f"{path}: can not be written ({error.strerror or error}).") from None


def merge(files: Iterable[str]) -> tuple[list[Annotation], list[Conflict]]:
    """Several reviewers' files as one, and where they do not agree.

    Of one prefix a yes or a no outweighs a skip, and of a yes and a no neither is kept: it is a conflict, to be
    decided. Notes are joined, reviewers named together, and the earliest round counts.
    """
    said: dict[tuple[str, str], list[Annotation]] = {}
    for file in files:
        for found in read_annotations(file):
            said.setdefault(found.place, []).append(found)
    merged, conflicts = [], []
    for place, voices in sorted(said.items()):
        decided = [found for found in voices if found.decision != "skip"] or voices
        if len({found.decision for found in decided}) > 1:
            conflicts.append(Conflict(*place, tuple(voices)))
            continue
        merged.append(
            replace(
                decided[0],
                round=min(found.round for found in decided),
                note="; ".join(dict.fromkeys(found.note for found in decided if found.note)),
                reviewer=", ".join(dict.fromkeys(found.reviewer for found in decided if found.reviewer)),
            )
        )
    return merged, conflicts
