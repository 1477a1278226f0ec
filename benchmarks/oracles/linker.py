"""Call graph of C or C++ source files, as the linker sees it: who defines the functions that a file leaves undefined.

    python -m benchmarks.oracles.linker SOURCES OUT.json --commands BUILD/compile_commands.json
    python -m benchmarks.oracles.linker SOURCES OUT.json --flags='-Iinclude -Isrc'

Each file is compiled (`-O0 -c`) as in `benchmarks.oracles.gcc`; a file that does not compile is left out. A function
that a file needs and that exactly one other object defines is an edge. Where several define it (platforms, files that
include others whole), and for variables, the pairs are listed as `unsure`, for a score to leave out. Besides OUT.json
the sources are packed as OUT.tar.gz. `apt-get install gcc g++ binutils`.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import tempfile
from collections import defaultdict

from benchmarks.oracles.gcc import commands, pack, sources


def symbols(folder: pathlib.Path, command: list[str], path: pathlib.Path) -> dict[str, set[str]] | None:
    """Functions that the object of a file defines, variables it holds, names it needs; None where it has none."""
    with tempfile.TemporaryDirectory() as made:
        target = os.path.join(made, "a.o")
        flags = ["-w", "-O0", "-fno-lto", "-c", str(path), "-o", target]
        if subprocess.run([*command, *flags], cwd=folder, capture_output=True).returncode:
            return None
        listed = subprocess.run(["nm", target], capture_output=True, text=True).stdout
    words = [line.split()[-2:] for line in listed.splitlines()]
    kinds = {"defines": "TW", "holds": "BDGRSV", "needs": "U"}
    return {key: {name for kind, name in words if kind in letters} for key, letters in kinds.items()}


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
    by_path = {
        os.path.relpath(path.resolve(), top): (folder, command, path) for folder, command, path in work
    }
    by_path = {path: job for path, job in sorted(by_path.items()) if not path.startswith("..")}
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        read = dict(zip(by_path, pool.map(lambda job: symbols(*job), by_path.values()), strict=True))
    read = {path: found for path, found in read.items() if found is not None}
    definers: dict[str, set[str]] = defaultdict(set)
    holders: dict[str, set[str]] = defaultdict(set)
    for path, found in read.items():
        for name in found["defines"]:
            definers[name].add(path)
        for name in found["holds"]:
            holders[name].add(path)
    edges: set[tuple[str, str]] = set()
    unsure: set[tuple[str, str]] = set()
    for path, found in read.items():
        for name in found["needs"]:
            pairs = edges if len(definers.get(name, ())) == 1 else unsure
            pairs.update((path, definer) for definer in definers.get(name, ()))
            unsure.update((path, holder) for holder in holders.get(name, ()))
    graph = {
        "repository": top.name,
        "language": "cpp" if any(path.endswith((".cc", ".cpp", ".cxx")) for path in read) else "c",
        "oracle": "gcc -O0 -c, nm",
        "semantics": "edge [a, b]: the object of a refers to a function that of all objects b's alone defines",
        "files": sorted(read),
        "edges": sorted(map(list, edges)),
        "unsure": sorted(map(list, unsure - edges)),
    }
    arguments.out.write_text(json.dumps(graph, indent=0) + "\n")
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(read)} files, {len(edges)} edges, {len(by_path) - len(read)} files do not compile")


if __name__ == "__main__":
    main()
