"""Symbol graph of Python sources: which file writes a name that pyright finds declared in which other file.

    python -m benchmarks.oracles.scip SOURCES OUT.json --root src --within src/attr --indexer .../bin/scip-python

The index comes from scip-python, pyright's, with no third-party package installed. `--root` is the folder below SOURCES
that absolute imports start from; what lies in it is indexed. `--within` names folders below SOURCES whose files count
(all, where none is given). Besides OUT.json the sources are packed as OUT.tar.gz. `npm install
@sourcegraph/scip-python@0.6.6`; an index of some 400 files takes a minute.
"""

import argparse
import json
import pathlib
import posixpath
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from benchmarks.oracles.gcc import pack

# Field numbers of scip.proto: Index.documents; Document.relative_path, .occurrences; Occurrence.symbol, .symbol_roles.
_DOCUMENTS, _PATH, _OCCURRENCES, _SYMBOL, _ROLES = 2, 1, 2, 2, 3
_DEFINITION = 1


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a protobuf message, as far as scip's messages have them."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
        elif key & 7 == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            at += {1: 8, 5: 4}[key & 7]
            continue
        yield key >> 3, value


def read_index(index: bytes) -> tuple[set[str], set[tuple[str, str]]]:
    """Files of a SCIP index, and (a, b) where a has an occurrence of a global symbol defined in b."""
    uses: dict[str, set[str]] = {}
    defined: dict[str, set[str]] = {}
    for number, document in _fields(memoryview(index)):
        if number != _DOCUMENTS:
            continue
        fields = list(_fields(document))
        path = next(bytes(value).decode() for number, value in fields if number == _PATH)
        symbols = uses.setdefault(path, set())
        for number, value in fields:
            if number != _OCCURRENCES:
                continue
            occurrence = dict(_fields(value))
            symbol = bytes(occurrence.get(_SYMBOL, b"")).decode()
            if not symbol or symbol.startswith("local "):
                continue
            symbols.add(symbol)
            if occurrence.get(_ROLES, 0) & _DEFINITION:
                defined.setdefault(symbol, set()).add(path)
    edges = {
        (path, other) for path, symbols in uses.items() for name in symbols for other in defined.get(name, ())
    }
    return set(uses), {(source, target) for source, target in edges if source != target}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--within", action="append", default=[])
    parser.add_argument("--root", default=".")
    parser.add_argument("--indexer", default="scip-python")
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    if not (top / arguments.root).is_dir():
        sys.exit(f"{top / arguments.root} is no folder; --root names one below the sources")
    with tempfile.TemporaryDirectory() as folder:
        index, packages = pathlib.Path(folder, "index.scip"), pathlib.Path(folder, "packages.json")
        packages.write_text("[]")
        # By itself: below a `pyproject.toml` the indexer would call its definitions `src.attr` and its uses `attr`.
        tree = shutil.copytree(top / arguments.root, pathlib.Path(folder, top.name), symlinks=True)
        command = [arguments.indexer, "index", ".", "--quiet", "--project-name", top.name]
        command += ["--project-version", "0", "--environment", str(packages), "--output", str(index)]
        try:
            subprocess.run(command, cwd=tree, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"{arguments.indexer} gives no index of {top.name}: {error}")
        found, pairs = read_index(index.read_bytes())
    inside = {path: posixpath.normpath(posixpath.join(arguments.root, path)) for path in found}
    files, edges = set(inside.values()), {(inside[source], inside[target]) for source, target in pairs}
    if arguments.within:
        folders = tuple(folder.rstrip("/") + "/" for folder in arguments.within)
        files = {path for path in files if path.startswith(folders)}
    oracle = {
        "repository": top.name,
        "language": "python",
        "oracle": "scip-python (pyright)",
        "semantics": "edge [a, b]: a contains an occurrence of a global symbol defined in b",
        "files": sorted(files),
        "edges": sorted(edge for edge in edges if files.issuperset(edge)),
    }
    arguments.out.write_text(json.dumps(oracle, indent=0))
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(files)} files, {len(oracle['edges'])} edges")


if __name__ == "__main__":
    main()
