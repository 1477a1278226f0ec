"""PHP: where composer.json says that classes are, and which files includes name."""

import json
import posixpath
from collections.abc import Iterator, Mapping

from repo_ordering.edges import SourceFile

MAX_DECLARED = 64  # files that declare one name; more is data, and none of them is meant
MAX_STEPS = 128  # in putting together one path
MAX_PATH = 4096


class Autoload:
    """Where composer.json says that classes are."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        self._files = files
        self._folders: dict[str, list[tuple[str, bool]]] = {}  # prefix -> (folder, is PSR-0)
        for path in sorted(files):
            if posixpath.basename(path) != "composer.json":
                continue
            try:
                stated = json.loads(files[path].text)
            except (ValueError, RecursionError):
                continue
            for section in ("autoload", "autoload-dev"):
                self._add(posixpath.dirname(path), stated.get(section) if isinstance(stated, dict) else None)

    def _add(self, root: str, stated: object) -> None:
        for standard in ("psr-4", "psr-0") if isinstance(stated, dict) else ():
            prefixes = stated.get(standard)
            for prefix, folders in prefixes.items() if isinstance(prefixes, dict) else ():
                for folder in folders if isinstance(folders, list) else [folders]:
                    if isinstance(folder, str):
                        place = posixpath.normpath(posixpath.join(root, folder.lstrip("/")))
                        known = self._folders.setdefault(prefix.strip("\\").lower(), [])
                        known.append((place, standard == "psr-0"))

    def files(self, name: str) -> Iterator[str]:
        """Files that a class may be in, the longest prefix first."""
        if not self._folders:
            return
        parts = name.split("\\")
        for count in range(min(len(parts), 32), -1, -1):
            for folder, is_psr_0 in self._folders.get("\\".join(parts[:count]).lower(), ())[:MAX_DECLARED]:
                below = parts if is_psr_0 else parts[count:]
                if is_psr_0 and below:
                    below = [*below[:-1], below[-1].replace("_", "/")]
                path = posixpath.normpath(posixpath.join(folder, *below) + ".php") if below else ""
                if path in self._files:
                    yield path


class Paths:
    """Files that includes name."""

    def __init__(self, known: Mapping[str, Mapping], files: Mapping[str, SourceFile]) -> None:
        self._files = files
        self._constants: dict[str, tuple[str, list] | None] = {}
        for path in known:
            for name, parts in known[path]["constants"]:
                if all(kind in ("text", "folder") for kind, _ in parts):
                    made, is_rooted = self._place(path, parts)
                    parts = [["place", made]] if is_rooted else [["text", made]]
                # A constant that is set in several ways is none.
                known_as = self._constants.setdefault(name, (path, parts))
                if known_as is not None and known_as[1] != parts:
                    self._constants[name] = None
        self._named: dict[str, list[str]] = {}
        for path in sorted(files):
            self._named.setdefault(posixpath.basename(path), []).append(path)

    def find(self, path: str, parts: list[list]) -> tuple[str | None, float]:
        place, is_rooted = self._place(path, parts)
        if not place or place.endswith("/"):
            return None, 0.0
        if is_rooted:
            place = posixpath.normpath(place)
            return (place, 1.0) if place in self._files else (None, 0.0)
        if place.startswith("/") and place.count("/") == 1:
            return None, 0.0  # of a folder that is not known
        place = posixpath.normpath(place).lstrip("/")
        while place.startswith("../"):
            place = place[3:]
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
        for candidate in dict.fromkeys((place, beside)):
            if candidate in self._files:
                return candidate, 0.9
        ending = [
            other
            for other in self._named.get(posixpath.basename(place), [])[:MAX_DECLARED]
            if other.endswith("/" + place)
        ]
        return (ending[0], 0.9) if len(ending) == 1 and "/" in place else (None, 0.0)

    def _place(self, path: str, parts: list[list]) -> tuple[str, bool]:
        """The path that the parts make, and whether it starts at the repository's root; "" where it is unknown."""
        made, is_rooted = "", False
        waiting = [(path, part) for part in reversed(parts)]
        for _ in range(MAX_STEPS):
            if not waiting:
                return made, is_rooted
            at, (kind, value) = waiting.pop()
            if kind == "text":
                if len(made) + len(value) > MAX_PATH:
                    return "", False
                made += value
            elif kind == "place":
                if made:
                    return "", False
                made, is_rooted = value, True
            elif kind == "folder":
                if made:
                    return "", False
                folder = posixpath.dirname(at)
                for _ in range(value):
                    if not folder:
                        return "", False  # above the repository
                    folder = posixpath.dirname(folder)
                made, is_rooted = folder or ".", True
            elif kind == "constant" and self._constants.get(value) is not None:
                where, inside = self._constants[value]
                waiting += [(where, part) for part in reversed(inside)]
            elif made:
                return "", False
        return "", False
