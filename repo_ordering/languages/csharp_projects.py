"""C#: which project a file belongs to, and what the project brings in."""

import posixpath
import re
from collections.abc import Mapping

from repo_ordering.edges import SourceFile

_REFERENCE = re.compile(
    r"""<ProjectReference\s[^>]{0,400}?\bInclude\s{0,8}=\s{0,8}["']([^"'<>]{1,400})["']"""
)
_USING = re.compile(r"<Using\s([^>]{1,400})>")
_ATTRIBUTE = re.compile(r"""\b(Include|Static|Alias)\s{0,8}=\s{0,8}["']([^"'<>]{1,400})["']""")
_IMPLICIT = re.compile(r"<ImplicitUsings>\s{0,8}(?:enable|true)\s{0,8}</", re.IGNORECASE)
# What `<ImplicitUsings>` brings in; it matters to repositories that declare such names themselves.
_IMPLICIT_USINGS = (
    "System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Net.Http", "System.Threading",
    "System.Threading.Tasks",
)  # fmt: skip
_PROJECT = ".csproj"
MAX_PROJECTS = 256  # that one sees
_SHARED = ("Directory.Build.props", "Directory.Build.targets")


class Projects:
    """Which project a file belongs to (the folder of the nearest .csproj), and what each references and uses."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        self._references: dict[str, set[str]] = {}
        self._usings: dict[str, list[tuple[str, str]]] = {}
        self._of: dict[str, str] = {}
        self._closures: dict[str, set[str]] = {}
        self._stated: dict[str, list[tuple[str, str]]] = {}
        for path in sorted(files):
            is_project = path.endswith(_PROJECT)
            if not is_project and posixpath.basename(path) not in _SHARED:
                continue
            text, folder = files[path].text, posixpath.dirname(path)
            usings = self._usings.setdefault(folder, [])
            if _IMPLICIT.search(text):
                usings += [("", name) for name in _IMPLICIT_USINGS]
            for stated in _USING.findall(text):
                attributes = dict(_ATTRIBUTE.findall(stated))
                if "Include" in attributes:
                    usings.append((attributes.get("Alias", ""), attributes["Include"]))
            if is_project:
                found = self._references.setdefault(folder, set())
                for name in _REFERENCE.findall(text):
                    place = posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
                    found.add(posixpath.dirname(place))

    def of(self, path: str) -> str:
        """The folder of a file's project; the repository's root where it is of none."""
        folder = posixpath.dirname(path)
        climbed = []
        while folder not in self._of:
            climbed.append(folder)
            if folder in self._references or not folder:
                self._of[folder] = folder
                break
            folder = folder.rpartition("/")[0]  # `posixpath.dirname` never gets above "/"
        found = self._of[folder]
        for each in climbed:
            self._of[each] = found
        return found

    def references(self, project: str) -> set[str]:
        """Projects that one sees, through others too."""
        if project not in self._closures:
            seen = {project}
            waiting = [project]
            while waiting:
                for other in sorted(self._references.get(waiting.pop(), ())):
                    if other not in seen and len(seen) < MAX_PROJECTS:
                        seen.add(other)
                        waiting.append(other)
            self._closures[project] = seen
        return self._closures[project]

    def usings(self, path: str) -> list[tuple[str, str]]:
        """(alias or "", name) of each using that the files of a folder have from its project and those above."""
        folder = posixpath.dirname(path)
        if folder not in self._stated:
            stated: list[tuple[str, str]] = []
            at = folder
            while True:
                stated += self._usings.get(at, ())
                if not at:
                    break
                at = at.rpartition("/")[0]
            self._stated[folder] = stated
        return self._stated[folder]
