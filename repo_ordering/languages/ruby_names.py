"""Ruby: the files that requires and constants mean.

Requires are looked for where load paths are by convention (the `lib` of the folders around, `spec`, `test`). Constants
are looked up as Ruby does: in the scopes around, in the ancestors of the innermost one, at the top. Of several files
that open a class the one whose path spells its name declares it (Zeitwerk's rule), else the one that says most of it.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping

from repo_ordering.edges import Edge, Facts, SourceFile
from repo_ordering.places import TEST_FOLDERS, nearest

_MAX_DECLARED = 64  # files of one name that are considered
_MAX_ANCESTORS = 64  # looked at for one name
_LOAD_FOLDERS = ("lib", "spec", "test", "app", "ext")
# A repository that opens a class of Ruby, or of what most programs are built on, declares it only where a file is
# called after it.
_FOREIGN = frozenset(
    re.findall(
        r"\w+",
        "Array BasicObject Binding CGI CSV Class Comparable Complex Data Date DateTime Dir ENV ERB "
        "Encoding Enumerable Enumerator Errno Exception FalseClass Fiber File FileUtils Float GC Hash IO "
        "Integer JSON Kernel Logger Marshal MatchData Math Method Module Monitor Mutex NilClass Numeric "
        "Object ObjectSpace OpenSSL OpenStruct Pathname Proc Process Psych Queue Random Range Rational "
        "Regexp Set Shellwords Signal Singleton StandardError String StringIO StringScanner Struct Symbol "
        "Tempfile Thread Time Timeout TrueClass URI YAML Zlib ArgumentError IOError IndexError KeyError "
        "LoadError NameError NoMethodError NotImplementedError RangeError RuntimeError SecurityError "
        "TypeError Fixnum Bignum Net Digest Open3 Forwardable SimpleDelegator Rails ActiveRecord "
        "ActiveSupport ActiveModel ActiveJob ActionController ActionDispatch ActionMailer ActionView "
        "ActiveStorage ActionCable Rack Rake RSpec Minitest Test Gem Bundler I18n Nokogiri Sprockets "
        "Sidekiq Mime RbConfig RubyVM WeakRef Kconv Racc Ripper IRB RDoc Liquid",
    )
)


def resolve(facts: Mapping[str, Facts], files: Mapping[str, SourceFile]) -> Iterator[Edge]:
    """Import edges for requires, symbol edges for constants."""
    required = _Required(files)
    names = _Names(facts)
    for path in sorted(facts):
        for form, wanted in facts[path].imports or ():
            target, confidence = required.find(path, form, wanted)
            if target is not None:
                yield Edge(path, target, "import", False, confidence)
        found = facts[path].symbols
        for scope, name in found["references"] if found is not None else ():
            target, confidence = names.find(path, found["scopes"], scope, name)
            if target is not None:
                yield Edge(path, target, "symbol", False, confidence)


class _Required:
    """Files by the ways that requires write them."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        self._files = files
        self._by_name: dict[str, list[str]] = {}
        for path in sorted(files):
            self._by_name.setdefault(posixpath.basename(path), []).append(path)

    def find(self, path: str, form: str, wanted: str) -> tuple[str | None, float]:
        if form != "load_path" or wanted.startswith(("./", "../")):
            start = {"folder": posixpath.dirname(path), "file": path, "root": ""}.get(
                form, posixpath.dirname(path)
            )
            return self._at(posixpath.normpath(posixpath.join(start, wanted))), 1.0
        if wanted.startswith("/"):
            return None, 0.0
        folder = posixpath.dirname(path)
        wanted = posixpath.normpath(wanted)
        while True:
            if posixpath.basename(folder) in _LOAD_FOLDERS:
                found = self._at(posixpath.join(folder, wanted))
                if found:
                    return found, 1.0
            for load in _LOAD_FOLDERS:
                found = self._at(posixpath.join(folder, load, wanted))
                if found:
                    return found, 1.0
            if not folder:
                break
            folder = posixpath.dirname(folder)
        found = self._at(wanted) if wanted.endswith(".rb") or "/" in wanted else None
        if found:
            return found, 0.9
        name = posixpath.basename(wanted)
        ends = [f"/lib/{wanted}", f"/lib/{wanted}.rb"] + (
            [f"/{wanted}", f"/{wanted}.rb"] if "/" in wanted else []
        )
        candidates = (self._by_name.get(f"{name}.rb", []) + self._by_name.get(name, []))[:_MAX_DECLARED]
        for end in ends:
            found = nearest(path, [other for other in candidates if f"/{other}".endswith(end)])
            if found:
                return found, 0.9
        return None, 0.0

    def _at(self, path: str) -> str | None:
        for candidate in (f"{path}.rb", path):
            if candidate in self._files:
                return candidate
        return None


class _Names:
    """Constants of the repository: who declares them, and what their classes inherit."""

    def __init__(self, facts: Mapping[str, Facts]) -> None:
        self._declared: dict[str, dict[str, int]] = {}  # name -> file -> how much it says of it
        self._above: dict[str, list[tuple[str, str]]] = {}  # class -> (scope around, ancestor as written)
        self._called = {
            _spelled(posixpath.basename(path))
            for path in facts
            if posixpath.basename(posixpath.dirname(path)) in ("", *_LOAD_FOLDERS)
        }
        self._by_path: dict[str, list[str]] = {}  # unread files by what their paths spell
        self._ancestors_of: dict[str, list[str]] = {}
        self._answers: dict[tuple, str | None] = {}
        for path in sorted(facts):
            found = facts[path].symbols
            if found is None:
                parts = _spelled(path).split("/")
                for i in range(max(len(parts) - 16, 0), len(parts)):
                    self._by_path.setdefault("/".join(parts[i:]), []).append(path)
                continue
            scopes = found["scopes"]
            for name, around, superclass, mixins, weight in scopes[1:]:
                self._declare(name, path, weight + 1000 * bool(superclass))
                above = self._above.setdefault(name, [])
                for ancestor in [superclass, *mixins] if len(above) < _MAX_ANCESTORS else ():
                    if ancestor:
                        above.append((scopes[around][0] if ancestor == superclass else name, ancestor))
            for scope, name in found["constants"]:
                around = scopes[scope][0]
                whole = name[2:] if name.startswith("::") else f"{around}::{name}" if around else name
                self._declare(whole, path, 1)

    def _declare(self, name: str, path: str, weight: int) -> None:
        declaring = self._declared.setdefault(name, {})
        if path in declaring or len(declaring) < _MAX_DECLARED:
            declaring[path] = declaring.get(path, 0) + weight

    def _is_foreign(self, name: str) -> bool:
        return name in _FOREIGN and _spelled_name(name) not in self._called

    def find(self, path: str, scopes: list, scope: int, name: str) -> tuple[str | None, float]:
        """The file that declares what `name` means in a scope of a file."""
        nesting = []
        while scope > 0:
            nesting.append(scopes[scope][0])
            scope = scopes[scope][1]
        whole = self._meaning(tuple(nesting), name)
        if whole is not None:
            return self._home(path, whole)
        return self._spelled_home(path, nesting, name)

    def _meaning(self, nesting: tuple[str, ...], name: str) -> str | None:
        """The full name, or of one that is declared nowhere the longest part that is."""
        key = nesting, name
        if key not in self._answers:
            self._answers[key] = self._look(nesting, name)
        return self._answers[key]

    def _look(self, nesting: tuple[str, ...], name: str) -> str | None:
        parts = name.split("::")
        if not parts[0]:
            parts, nesting = parts[1:], ()
        whole = None
        for scope in nesting:
            if f"{scope}::{parts[0]}" in self._declared:
                whole = f"{scope}::{parts[0]}"
                break
        if whole is None and nesting:
            whole = self._inherited(nesting[0], parts[0])
        if whole is None and parts[0] in self._declared and not self._is_foreign(parts[0]):
            whole = parts[0]
        for part in parts[1:] if whole is not None else ():
            inner = f"{whole}::{part}"
            if inner not in self._declared:
                inner = self._inherited(whole, part)
            if inner is None:
                # What is not declared is made by code; a namespace says nothing of it.
                return whole if any(self._declared[whole].values()) else None
            whole = inner
        return whole

    def _inherited(self, name: str, wanted: str) -> str | None:
        for ancestor in self._ancestors(name):
            if f"{ancestor}::{wanted}" in self._declared:
                return f"{ancestor}::{wanted}"
        return None

    def _ancestors(self, name: str) -> list[str]:
        """Full names of a class's ancestors, the nearest first, without the constants that these inherit."""
        if name in self._ancestors_of:
            return self._ancestors_of[name]
        seen = {name: None}
        waiting = [name]
        for current in waiting:
            for around, written in self._above.get(current, ()):
                found = self._plain(around, written)
                if found is not None and found not in seen and len(seen) < _MAX_ANCESTORS:
                    seen[found] = None
                    waiting.append(found)
        self._ancestors_of[name] = list(seen)[1:]
        return self._ancestors_of[name]

    def _plain(self, around: str, written: str) -> str | None:
        if written.startswith("::"):
            return written[2:]
        while around:
            if f"{around}::{written}" in self._declared:
                return f"{around}::{written}"
            around = around.rpartition("::")[0]
        return (
            written
            if written in self._declared and not self._is_foreign(written.partition("::")[0])
            else None
        )

    def _home(self, path: str, name: str) -> tuple[str | None, float]:
        declaring = self._declared[name]
        if declaring.get(path):
            return None, 0.0  # it says something of it itself
        in_tests = _is_test(path)
        candidates = [other for other in declaring if in_tests or not _is_test(other)]
        if in_tests and any(not _is_test(other) for other in candidates):
            candidates = [other for other in candidates if not _is_test(other)]
        candidates = [other for other in candidates if other != path]
        if not candidates:
            return None, 0.0
        key = _spelled_name(name)
        spelled = [other for other in candidates if f"/{_spelled(other)}".endswith(f"/{key}")]
        if not spelled and not any(declaring[other] for other in candidates) and len(candidates) > 1:
            return None, 0.0  # a namespace that nobody fills
        if in_tests and len(candidates) > 1 and not spelled and all(_is_test(other) for other in candidates):
            return None, 0.0  # each test makes its own
        best = max(
            spelled or candidates,
            key=lambda other: (declaring[other], _shared(path, other), -len(other), other),
        )
        return best, 1.0 if len(candidates) == 1 or spelled else 0.9

    def _spelled_home(self, path: str, nesting: list[str], name: str) -> tuple[str | None, float]:
        """A file that could not be read and whose path spells the name."""
        if not self._by_path:
            return None, 0.0
        scopes = [] if name.startswith("::") else nesting
        for scope in [*scopes, ""]:
            whole = f"{scope}::{name}" if scope else name.removeprefix("::")
            if self._is_foreign(whole.partition("::")[0]):
                continue
            found = nearest(path, self._by_path.get(_spelled_name(whole), ())[:_MAX_DECLARED])
            if found is not None and found != path:
                return found, 0.9
        return None, 0.0


def _spelled(path: str) -> str:
    """What a path spells, however acronyms are written: `lib/html_page.rb` as `lib/htmlpage`."""
    return path.rpartition(".")[0].replace("_", "").lower()


def _spelled_name(name: str) -> str:
    return name.replace("::", "/").replace("_", "").lower()


def _is_test(path: str) -> bool:
    return not TEST_FOLDERS.isdisjoint(path.split("/")[:-1])


def _shared(left: str, right: str) -> int:
    count = 0
    for a, b in zip(left.split("/"), right.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count
