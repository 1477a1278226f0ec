"""Import graph of Python packages, as grimp sees it.

    python -m benchmarks.oracles.grimp SOURCES OUT.json --package src/attr --package src/attrs

Each package is a folder below SOURCES; all of them stand in one folder. Imports in functions and under
`if TYPE_CHECKING` count, initialised parents do not. Besides OUT.json the sources are packed as OUT.tar.gz.
grimp reads the files and runs nothing of them. `pip install grimp==3.19`.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import pathlib
import sys

from benchmarks.oracles.gcc import pack


def module_files(top: pathlib.Path, package: str) -> dict[str, str]:
    """Module names of a package and their files, relative to `top`."""
    folder = top / package
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if path.name == "__init__.py" or name not in found:
            found[name] = path.relative_to(top).as_posix()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--package", action="append", required=True)
    arguments = parser.parse_args()
    if importlib.util.find_spec("grimp") is None:
        sys.exit("grimp is not installed here: pip install grimp==3.19")
    import grimp

    top = arguments.sources.resolve()
    for package in arguments.package:
        if not (top / package).is_dir():
            sys.exit(f"{top / package} is no folder; --package names one below the sources")
    roots = {(top / package).parent for package in arguments.package}
    if len(roots) > 1:
        sys.exit("the packages do not stand in one folder; ask for one folder at a time")
    sys.path.insert(0, str(roots.pop()))
    names = [pathlib.PurePath(package).name for package in arguments.package]
    graph = grimp.build_graph(*names, cache_dir=None)
    files = {name: path for package in arguments.package for name, path in module_files(top, package).items()}
    edges = {
        (files[module], files[target])
        for module in graph.modules & files.keys()
        for target in graph.find_modules_directly_imported_by(module) & files.keys() - {module}
    }
    oracle = {
        "repository": top.name,
        "language": "python",
        "oracle": f"grimp {importlib.metadata.version('grimp')}",
        "semantics": "edge [a, b]: file a imports file b; parents that are merely initialised do not count",
        "files": sorted({files[module] for module in graph.modules & files.keys()}),
        "edges": sorted(edges),
    }
    arguments.out.write_text(json.dumps(oracle, indent=0))
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(oracle['files'])} files, {len(edges)} edges")


if __name__ == "__main__":
    main()
