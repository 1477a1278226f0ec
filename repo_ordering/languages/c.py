"""C, C++ and their kin: `#include`, found from the tree because no build is run.

The search follows the compiler's order as far as the tree shows it (the includer's folder, then folders that
serve as include roots) and ends with a path suffix that only one file has. Branches of `#if` other than
include guards and `__cplusplus` mark an edge `guarded`: which of them hold is the build's decision.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile

_NOISE = re.compile(
    r"""(?P<comment> /\* [^*]*+ (?: \*(?!/) [^*]*+ )*+ (?: \*/ | \Z ) | // (?: [^\n\\]++ | \\. )*+ )
      | (?:\b(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\( .*? (?: \)(?P=mark)" | \Z ))
      | " (?: [^"\\\n]++ | \\. )*+ "?
      | ' (?: [^'\\\n]++ | \\. )*+ '?""",
    re.VERBOSE | re.DOTALL,
)
_DIRECTIVE = re.compile(
    r"^[ \t]*+\#[ \t]*+(include_next|include|import|ifdef|ifndef|if|elifdef|elifndef|elif|else|endif|define)"
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
_NOT_DEFINED = re.compile(r"!\s*+defined\s*+\(?\s*+(\w++)\s*+\)?")
_CPLUSPLUS = re.compile(r"(?:defined\s*+\(?\s*+)?__cplusplus\s*+\)?")
_TARGET = re.compile(r'"([^"\n]+)"|<([^>\n]+)>')


def scan(text: str) -> list[list]:
    """Includes as [name, quoted, guarded], in order."""
    text = text.replace("\r\n", "\n").replace("\\\n", " ")
    code = _NOISE.sub(lambda match: " " if match["comment"] else match[0].replace("\n", " "), text)
    found: list[list] = []
    named: dict[str, str] = {}  # macros that stand for a header's name
    conditions: list[bool] = []  # open #if branches: does this one leave the build a choice?
    choices = 0  # how many of them do
    pending: str | None = None  # the macro of an `#ifndef` that may turn out to be the include guard
    started = False
    for match in _DIRECTIVE.finditer(code):
        word, rest = match[1], match[2].strip()
        macro = rest.split()[0] if rest else ""
        if word in ("if", "ifdef", "ifndef"):
            negated = _NOT_DEFINED.fullmatch(rest) if word == "if" else None
            guard = macro if word == "ifndef" else negated[1] if negated else None
            pending = guard if guard and not started else None
            conditions.append(not _CPLUSPLUS.fullmatch(rest))
            choices += conditions[-1]
        elif word.startswith("el"):
            if conditions and not conditions[-1]:
                conditions[-1] = True
                choices += 1
        elif word == "endif":
            if conditions:
                choices -= conditions.pop()
        elif word == "define":
            if pending and macro == pending and conditions and conditions[-1]:
                conditions[-1] = False
                choices -= 1
            pending = None
            value = rest[len(macro) :].strip()
            if _TARGET.fullmatch(value):
                named[macro] = value
        else:
            target = _TARGET.match(named.get(rest, rest))
            if target:
                found.append([target[1] or target[2], target[1] is not None, choices > 0])
        started = True
    return found


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Edges of the files in `facts`; a target may be any file of the repository (`.inc`, `.def`, tables)."""
    by_name: dict[str, list[str]] = {}
    for path in sorted(files):
        by_name.setdefault(posixpath.basename(path), []).append(path)
    for path in sorted(facts):
        for name, quoted, guarded in facts[path].imports or ():
            found = _find(path, name, quoted, by_name, files)
            if found is not None:
                target, confidence = found
                yield Edge(path, target, "import", guarded, confidence)


def _find(
    path: str, name: str, quoted: bool, by_name: Mapping[str, list[str]], files: Mapping[str, SourceFile]
) -> tuple[str, float] | None:
    """The included file and how sure that is; None for a header from outside."""
    name = name.replace("\\", "/")
    if name.startswith("/"):
        return None
    folder = posixpath.dirname(path)
    if quoted:
        beside = posixpath.normpath(posixpath.join(folder, name))
        if beside in files:
            return beside, 1.0
    clean = posixpath.normpath(name)
    while clean.startswith("../"):
        clean = clean[3:]
    suffix = "/" + clean
    candidates = [c for c in by_name.get(posixpath.basename(clean), ()) if c == clean or c.endswith(suffix)]
    roots = {c: c[: len(c) - len(clean)].rstrip("/") for c in candidates}
    if not quoted and "/" not in clean and (clean in _SYSTEM or "." not in clean):
        return None
    if len(candidates) == 1:
        return candidates[0], 0.9 if quoted or "/" in clean else 0.7
    if not candidates:
        return None
    # Several: the include root nearest to the includer (sharing the longest path with it), if there is one.
    shared = {c: len(posixpath.commonpath(["/" + folder, "/" + roots[c]])) for c in candidates}
    best = max(shared.values())
    nearest = [c for c in candidates if shared[c] == best]
    return (nearest[0], 0.7) if len(nearest) == 1 else None
