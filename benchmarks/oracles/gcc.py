"""Include graph of a C or C++ source tree, as gcc sees it.

    python -m benchmarks.oracles.gcc SOURCES OUT.json --commands BUILD/compile_commands.json
    python -m benchmarks.oracles.gcc SOURCES OUT.json --flags='-Iinclude -Isrc -DHAVE_EPOLL'

Each file is preprocessed (`gcc -E -dI`), with the commands of a compile database (`cmake
-DCMAKE_EXPORT_COMPILE_COMMANDS=ON`, `bear -- make`) or, for every source file of the tree, with the given flags.
`--commands` and `--flags` may be given several times: the graph is the union of the configurations. A header that the
machine does not have is taken as empty. Besides OUT.json the sources are packed as OUT.tar.gz.

gcc is in every distribution (`apt-get install gcc g++`).
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator

_C = {".c"}
_CPP = {".cc", ".cpp", ".cxx"}
_MARKER = re.compile(r'# \d+ "((?:[^"\\]|\\.)*)"((?: \d)*)')
_INCLUDE = re.compile(r'#include(?:_next)? *(?:"([^"]+)"|<([^>]+)>)')
_MISSING = re.compile(r"fatal error: ([^\s:]+): No such file or directory")
_MOST_STUBS = 500  # missing headers of one file


def commands(database: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str], pathlib.Path]]:
    """Folder, compiler with its flags, and source file of each entry of a compile database."""
    for entry in json.loads(database.read_text()):
        folder = pathlib.Path(entry["directory"])
        words = entry.get("arguments") or shlex.split(entry["command"])
        flags, skip = [], 0
        for word, following in zip(words[1:], [*words[2:], ""], strict=True):
            if skip:
                skip -= 1
            elif word in ("-o", "-MF", "-MT", "-MQ"):
                skip = 1
            elif word not in ("-c", "-MD", "-MMD", "-M", "-MM", "-MP") and word != entry["file"]:
                flags += [word, following] if word in ("-I", "-isystem", "-iquote", "-include") else [word]
                skip = word in ("-I", "-isystem", "-iquote", "-include")
        compiler = "g++" if pathlib.Path(entry["file"]).suffix in _CPP else "gcc"
        yield folder, [compiler, *flags], folder / entry["file"]


def sources(top: pathlib.Path, flags: str) -> Iterator[tuple[pathlib.Path, list[str], pathlib.Path]]:
    """The same for every source file of a tree with one set of flags, relative to its top."""
    for path in sorted(top.rglob("*")):
        if path.suffix in _C | _CPP and path.is_file():
            yield top, ["g++" if path.suffix in _CPP else "gcc", *shlex.split(flags)], path


def _preprocessed(folder: pathlib.Path, command: list[str], path: pathlib.Path) -> str | None:
    with tempfile.TemporaryDirectory() as stubs:
        for _ in range(_MOST_STUBS):
            done = subprocess.run(
                [*command, "-w", "-E", "-dI", "-idirafter", stubs, str(path)],
                cwd=folder,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
            missing = _MISSING.search(done.stderr)
            if missing is None:
                return done.stdout
            stub = pathlib.Path(stubs, missing[1])
            if stub.exists() or not stub.resolve().is_relative_to(pathlib.Path(stubs).resolve()):
                break
            stub.parent.mkdir(parents=True, exist_ok=True)
            stub.touch()
    return None


def edges(folder: pathlib.Path, command: list[str], path: pathlib.Path) -> set[tuple[str, str]] | None:
    """(includer, included) as real paths; (path, path) for the file itself. None where gcc cannot read it."""
    text = _preprocessed(folder, command, path)
    if text is None:
        return None
    paths: dict[str, str] = {}

    def real(name: str) -> str:
        if name not in paths:
            paths[name] = os.path.realpath(folder / name)
        return paths[name]

    roots = [
        word[len(option) :] or following
        for option in ("-iquote", "-I", "-isystem")
        for word, following in zip(command, [*command[1:], ""], strict=True)
        if word.startswith(option)
    ]
    found = {(real(str(path)), real(str(path)))}
    opened = [str(path)]

    def skipped(include: re.Match) -> None:
        """An include that gcc did not open again, because it knows the file's guard."""
        beside = [os.path.dirname(opened[-1])] if include[1] else []
        for root in [*beside, *roots]:
            target = folder / root / (include[1] or include[2])
            if target.is_file():
                found.add((real(opened[-1]), real(str(target))))
                return

    waiting: re.Match | None = None
    for line in text.splitlines():
        marker = _MARKER.match(line)
        include = None if marker else _INCLUDE.match(line)
        if marker is None and include is None:
            continue
        flags = marker[2].split() if marker else []
        if waiting is not None and "1" not in flags:
            skipped(waiting)
        waiting = include
        if "1" in flags:
            found.add((real(opened[-1]), real(marker[1])))
            opened.append(marker[1])
        elif "2" in flags and len(opened) > 1:
            opened.pop()
    if waiting is not None:
        skipped(waiting)
    return found


def pack(top: pathlib.Path, out: pathlib.Path) -> None:
    """The text files of a tree as a tar.gz."""
    with tarfile.open(out, "w:gz") as archive:
        for path in sorted(top.rglob("*")):
            if path.is_file() and not path.is_symlink() and ".git" not in path.parts:
                with path.open("rb") as file:
                    if b"\0" not in file.read(4096):
                        archive.add(path, pathlib.PurePath(top.name, path.relative_to(top)), recursive=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--commands", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--flags", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    work = [job for database in arguments.commands for job in commands(database)]
    work += [job for flags in arguments.flags for job in sources(top, flags)]
    work = [job for job in work if job[2].resolve().is_relative_to(top) and job[2].is_file()]
    found: set[tuple[str, str]] = set()
    unread = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for part in pool.map(lambda job: edges(*job), work):
            unread += part is None
            found |= part or set()
    inside = sorted(
        (os.path.relpath(a, top), os.path.relpath(b, top))
        for a, b in found
        if pathlib.Path(a).is_relative_to(top) and pathlib.Path(b).is_relative_to(top) and os.path.isfile(b)
    )
    graph = {
        "repository": top.name,
        "language": "cpp" if any(pathlib.Path(a).suffix in _CPP for a, _ in inside) else "c",
        "oracle": "gcc -E -dI (direct includes, active branches only)",
        "semantics": "edge [a, b]: file a includes file b of the repository in a configuration compiled",
        "files": sorted({path for pair in inside for path in pair}),
        "edges": [list(pair) for pair in inside if pair[0] != pair[1]],
    }
    arguments.out.write_text(json.dumps(graph, indent=0) + "\n")
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(graph['files'])} files, {len(graph['edges'])} edges, {unread} of {len(work)} runs failed")


if __name__ == "__main__":
    main()
