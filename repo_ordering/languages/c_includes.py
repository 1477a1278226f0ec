"""C, C++ and their kin: `#include`, read without a parse and found from the tree because no build is run."""

import functools
import json
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile

_NOISE = re.compile(
    r"""(?P<comment> /\* [^*]*+ (?: \*(?!/) [^*]*+ )*+ (?: \*/ | \Z ) | // (?: [^\n\\]++ | \\. )*+ )
      | (?:\b(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\( .*? (?: \)(?P=mark)" | \Z ))
      | " (?: [^"\\\n]++ | \\. )*+ "?
      | (?<!\w)' (?: [^'\\\n]++ | \\. )*+ '?""",
    re.VERBOSE | re.DOTALL,
)
_DIRECTIVE = re.compile(
    r"^[ \t]*+(?:\#|%:)[ \t]*+(include|import|embed|ifdef|ifndef|if|elifdef|elifndef|elif|else|endif|define)"
    r"\b[ \t]*+([^\n]*+)",
    re.MULTILINE,
)
# Headers every hosted C implementation brings: `<time.h>` is never the repository's own `time.h`.
_SYSTEM_NAMES = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
    stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar
    wchar wctype aio cpio dirent dlfcn fcntl fmtmsg fnmatch ftw glob grp iconv langinfo libgen monetary mqueue
    ndbm netdb nl_types poll pthread pwd regex sched search semaphore spawn strings stropts syslog tar termios
    trace ulimit unistd utime utmpx wordexp alloca endian err execinfo features getopt ifaddrs malloc memory
    paths pty sysexits termio utmp values windows winsock2 io process direct conio
"""
_SYSTEM = frozenset(name + ".h" for name in _SYSTEM_NAMES.split())
_LIBC = ("stdio.h", "stdlib.h", "string.h", "stddef.h")
_NOT_DEFINED = re.compile(r"!\s*+defined\s*+\(?\s*+(\w++)\s*+\)?")
# Conditions that every build of the file settles alike: C++ reads a header for both languages, and a header that
# the repository has is there to be found.
_SETTLED = re.compile(
    r"(?:defined\s*+\(?\s*+)?__(?:cplusplus|has_include)\s*+\)?|__has_include\s*+\([^()]++\)|1"
)
_TARGET = re.compile(r'"([^"\n]+)"|<([^>\n]+)>')
_ON, _CHOICE, _OFF = range(3)  # what the build has to say about a branch

MAX_VARIANTS = 32  # of one header, for as many platforms
COMPILE_COMMANDS = "compile_commands.json"
_BUILD_FILE = re.compile(
    r"(?:^|/)(?:CMakeLists\.txt|(?:GNU)?[Mm]akefile[^/]*|[^/]+\.(?:cmake|mk|mak|am|pr[oi]))$"
)
_MAX_BUILD_CHARS = 1 << 20
_MAX_ROOTS = 64  # of one build file
_MAX_DEPTH = 32  # folders above a file that are asked
_FLAG = re.compile(r"""(?<![\w-])-(?:I|iquote|isystem)[ \t]*+["']?+([^\s"';]++)""")
_CMAKE = re.compile(r"\b(?:target_)?include_directories[ \t\n]*+\(([^()]*+)\)", re.IGNORECASE)
_QMAKE = re.compile(r"^[ \t]*+INCLUDEPATH[ \t]*+\+?=((?:[^\n\\]++|\\\n?)*+)", re.MULTILINE)
_HERE = re.compile(
    r"\$[({](?:srcdir|CMAKE_CURRENT_(?:SOURCE|LIST)_DIR|CURDIR)[)}]|\$\$(?:PWD|_PRO_FILE_PWD_)"
)
_TOP = re.compile(r"\$[({](?:(?:abs_)?top_srcdir|(?:CMAKE|PROJECT|[A-Za-z0-9_]+)_SOURCE_DIR)[)}]")


def scan(text: str) -> list[list]:
    """Includes as [name, quoted, guarded], in order; those that no build can reach (`#if 0`) are not among them."""
    text = text.replace("\r\n", "\n").replace("\\\n", " ")
    code = _NOISE.sub(lambda match: " " if match["comment"] else match[0].replace("\n", " "), text)
    found: list[list] = []
    named: dict[str, str] = {}  # macros that stand for a header's name
    branches: list[int] = []  # of the open #ifs
    count = [0, 0, 0]  # of each kind of branch
    settled: list[bool] = []  # of the open #ifs: did an earlier branch hold for certain?
    pending: str | None = None  # the macro of an `#ifndef` that may turn out to be the include guard
    started = False

    def enter(branch: int) -> None:
        branches.append(branch)
        count[branch] += 1

    for match in _DIRECTIVE.finditer(code):
        word, rest = match[1], match[2].strip()
        macro = rest.split(None, 1)[0] if rest else ""
        if word in ("if", "ifdef", "ifndef"):
            negated = _NOT_DEFINED.fullmatch(rest) if word == "if" else None
            guard = macro if word == "ifndef" else negated[1] if negated else None
            pending = guard if guard and not started else None
            is_on = word != "ifndef" and _SETTLED.fullmatch(rest)
            enter(_ON if is_on else _OFF if word == "if" and rest == "0" else _CHOICE)
            settled.append(word == "if" and rest == "1")
        elif word.startswith("el"):
            if branches:
                before = branches.pop()
                count[before] -= 1
                enter(_OFF if settled[-1] else _ON if before == _OFF and word == "else" else _CHOICE)
        elif word == "endif":
            if branches:
                count[branches.pop()] -= 1
                settled.pop()
        elif word == "define":
            if pending and macro == pending and branches and branches[-1] == _CHOICE:
                count[branches.pop()] -= 1
                enter(_ON)
            pending = None
            value = rest[len(macro) :].strip()
            if _TARGET.fullmatch(value):
                named[macro] = value
        elif not count[_OFF]:
            target = _TARGET.match(named.get(rest, rest))
            if target:
                found.append([target[1] or target[2], target[1] is not None, count[_CHOICE] > 0])
        started = True
    return found


def include_edges(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of the files in `facts`; a target may be any file of the repository (`.inc`, `.def`, tables).

    The order is the compiler's as far as the tree tells it: the includer's folder; the search list of a compile
    database; the one file whose path ends so. Of several such files it is the one under a root that a build file
    names (`-I`, `include_directories`), or that other includes from around there were found under, or that is nearest.
    """
    tree = _Tree(files)
    unclear: list[tuple[str, str, bool, list[str]]] = []
    voted: Counter[tuple[str, str]] = Counter()  # folder, root under which an include from there was found
    for path in sorted(facts):
        for name, quoted, guarded in facts[path].imports or ():
            found, candidates = tree.find(path, name, quoted)
            if found is not None:
                target, root, confidence = found
                if root is not None:
                    voted[posixpath.dirname(path), root] += 1
                yield Edge(path, target, "import", guarded, confidence)
            elif candidates:
                unclear.append((path, _clean(name), guarded, candidates))
    known: dict[str, Counter[str]] = defaultdict(Counter)  # folder -> roots, for all files below
    for (folder, root), votes in voted.items():
        for above in _up(folder):
            known[above][root] += votes
    for path, clean, guarded, candidates in unclear:
        targets, confidence = tree.choose(path, clean, candidates, known)
        for target in targets:
            yield Edge(path, target, "import", guarded or len(targets) > 1, confidence)


def _clean(name: str) -> str:
    """The part of an include's name that the path of the file ends with."""
    clean = posixpath.normpath(name.replace("\\", "/"))
    while clean.startswith("../"):
        clean = clean[3:]
    return clean


def _root(candidate: str, clean: str) -> str:
    return candidate[: len(candidate) - len(clean)].rstrip("/")


class _Tree:
    """The files of a repository as an include search sees them."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        self.files = files
        self.by_name: dict[str, list[str]] = {}
        self.folders = {""}
        for path in sorted(files):
            folder, _, name = path.rpartition("/")
            self.by_name.setdefault(name, []).append(path)
            while folder not in self.folders:
                self.folders.add(folder)
                folder = folder.rpartition("/")[0]
        # A C library has these itself; others at most one or two, for a system that lacks them.
        shared = [{posixpath.dirname(path) for path in self.by_name.get(name, ())} for name in _LIBC]
        self.has_libc = bool(set.intersection(*shared))
        self.searched = _compile_commands(files, self.folders)
        self.declared = {
            posixpath.dirname(path): roots
            for path in sorted(files)
            if _BUILD_FILE.search(path) and (roots := _declared(files[path], self.folders))
        }
        # A file of one of a hundred equal suffixes would cost its hundred each time it is asked for.
        self._matches = functools.cache(self._all_matches)

    def find(
        self, path: str, name: str, quoted: bool
    ) -> tuple[tuple[str, str | None, float] | None, list[str]]:
        """The included file with its root (None: beside) and how sure that is, or the candidates to choose from."""
        name = name.replace("\\", "/")
        if name.startswith("/"):
            return None, []
        if quoted:
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
            if beside in self.files:
                return (beside, None, 1.0), []
        for root in self.searched.get(path, ()):
            target = posixpath.normpath(posixpath.join(root, name))
            if target in self.files:
                return (target, root, 1.0), []
        clean = _clean(name)
        is_systems = not quoted and "/" not in clean and (clean in _SYSTEM or "." not in clean)
        if is_systems and not self.has_libc:
            return None, []
        candidates = self._matches(clean)
        if len(candidates) == 1:
            return (candidates[0], _root(candidates[0], clean), 0.9 if quoted or "/" in clean else 0.7), []
        return None, candidates

    def _all_matches(self, clean: str) -> list[str]:
        suffix = "/" + clean
        return [
            c for c in self.by_name.get(posixpath.basename(clean), ()) if c == clean or c.endswith(suffix)
        ]

    def choose(
        self,
        path: str,
        clean: str,
        candidates: list[str],
        known: Mapping[str, Counter[str]],
    ) -> tuple[list[str], float]:
        """Of several files of that suffix the one that is meant, and how sure that is.

        All of them where only one part of their paths tells them apart: they are one header for each platform.
        """
        by_root = {_root(candidate, clean): candidate for candidate in candidates}
        for around in _up(posixpath.dirname(path)):
            for root in self.declared.get(around, ()):
                if root in by_root:
                    return [by_root[root]], 0.9
            votes = known.get(around, {})
            ranked = sorted(((votes[root], root) for root in by_root if root in votes), reverse=True)
            if ranked and (len(ranked) == 1 or ranked[0][0] > ranked[1][0]):
                return [by_root[self._first(ranked[0][1], around, by_root)]], 0.9
            inside = [root for root in by_root if not around or f"{root}/".startswith(f"{around}/")]
            if len(inside) == 1:
                return [by_root[inside[0]]], 0.7
        parts = [candidate.split("/") for candidate in candidates[:MAX_VARIANTS]]
        differing = sum(len(set(column)) > 1 for column in zip(*parts, strict=False))
        if differing == 1 and len(set(map(len, parts))) == 1 and len(candidates) <= MAX_VARIANTS:
            return candidates, 0.6
        return [], 0.0

    def _first(self, root: str, folder: str, by_root: Mapping[str, str]) -> str:
        """The root that is searched before this one, where a build file lists both."""
        for above in _up(folder):
            declared = self.declared.get(above, ())
            if root in declared:
                return next(other for other in declared if other in by_root)
        return root


def _up(folder: str) -> Iterator[str]:
    """A folder and those above it, up to the repository's top."""
    for _ in range(_MAX_DEPTH):
        yield folder
        if not folder:
            return
        folder = posixpath.dirname(folder)
    yield ""


def _declared(file: SourceFile, folders: set[str]) -> list[str]:
    """Include roots that a build file names and that the tree has, in order."""
    text = file.text[:_MAX_BUILD_CHARS]
    words = _FLAG.findall(text)
    if file.path.endswith((".txt", ".cmake")):
        words += [word for call in _CMAKE.findall(text) for word in call.split()]
    elif file.path.endswith((".pro", ".pri")):
        words += [word for line in _QMAKE.findall(text) for word in line.split()]
    here = posixpath.dirname(file.path)
    found: dict[str, None] = {}
    for word in words:
        word = word.strip("\"'")
        top = _TOP.sub(".", word)
        for base, name in [(here, _HERE.sub(".", word))] + [("", top)] * (top != word):
            root = posixpath.normpath(posixpath.join(base, name))
            root = "" if root == "." else root
            if "$" not in name and not name.startswith("/") and root in folders:
                found[root] = None
                break
        if len(found) == _MAX_ROOTS:
            break
    return list(found)


def _compile_commands(files: Mapping[str, SourceFile], folders: set[str]) -> dict[str, list[str]]:
    """The search list of each file that a compile database of the repository names.

    Its paths are of the machine that wrote it: what they begin with, to the repository's top, is what most of its
    files' paths have before a path of the repository.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(files):
        if posixpath.basename(path) != COMPILE_COMMANDS:
            continue
        try:
            entries = [entry for entry in json.loads(files[path].text) if isinstance(entry, dict)]
        except (ValueError, TypeError, RecursionError):
            continue
        tops: Counter[str] = Counter()
        read = []
        for entry in entries:
            directory, name = entry.get("directory"), entry.get("file")
            if not isinstance(directory, str) or not isinstance(name, str):
                continue
            name = posixpath.normpath(posixpath.join(directory, name.replace("\\", "/")))
            parts = name.split("/")
            inside = next((i for i in range(len(parts)) if "/".join(parts[i:]) in files), None)
            if inside is not None:
                tops["/".join(parts[:inside])] += 1
                read.append((name, directory, entry))
        if not tops:
            continue
        top = min(tops, key=lambda top: (-tops[top], top)) + "/"
        for name, directory, entry in read:
            if name.startswith(top):
                roots = [posixpath.normpath(posixpath.join(directory, word)) + "/" for word in _flags(entry)]
                inside = [root[len(top) :].rstrip("/") for root in roots if root.startswith(top)]
                found.setdefault(name[len(top) :], [root for root in inside if root in folders])
    return found


def _flags(entry: Mapping) -> list[str]:
    """Folders searched by a command of a compile database, in the compiler's order."""
    words = entry.get("arguments")
    if not isinstance(words, list):
        words = re.findall(r'(?:[^\s"\\]|\\.|"(?:[^"\\]|\\.)*+")++', str(entry.get("command", "")))
    words = [str(word).replace('"', "").replace("\\", "") for word in words]
    found: dict[str, list[str]] = {"-iquote": [], "-I": [], "-isystem": []}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        for option, folders in found.items():
            if word.startswith(option):
                folders.append((word[len(option) :] or following).replace("\\", "/"))
    return [folder for folders in found.values() for folder in folders if folder]
