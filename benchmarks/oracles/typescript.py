"""Import or symbol graph of JavaScript and TypeScript sources, as the TypeScript compiler sees them.

    python -m benchmarks.oracles.typescript SOURCES OUT.json --library .../node_modules/typescript [--symbols]

Every `.ts`, `.tsx`, `.js`, `.jsx`, `.mts`, ... below SOURCES outside `node_modules` is in the program, with the options
of `--config` (a tsconfig.json) where one is given. Besides OUT.json the sources are packed as OUT.tar.gz; for
`--symbols` name it NAME-types.json. It needs node and `npm install typescript@5.8`.
"""

import argparse
import json
import pathlib
import subprocess
import sys

from benchmarks.oracles.gcc import pack

PROGRAM = pathlib.Path(__file__).with_suffix(".cjs")
SEMANTICS = {
    "imports": "edge [a, b]: a imports, re-exports from, requires or import()s b (literal specifiers; "
    "type-only imports and triple-slash paths too)",
    "symbols": "edge [a, b]: an identifier in a has a declaration in b, members too, aliases looked through",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--symbols", action="store_true")
    parser.add_argument("--config", type=pathlib.Path)
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    kind = "symbols" if arguments.symbols else "imports"
    command = [
        "node",
        "--max-old-space-size=4096",
        str(PROGRAM),
        str(arguments.library.resolve()),
        str(top),
        kind,
    ]
    command += [str(arguments.config.resolve())] if arguments.config else []
    try:
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        sys.exit(f"TypeScript gives no graph of {top.name}: {error}")
    graph = {
        "repository": top.name,
        "language": "ts",
        "oracle": f"typescript {found['version']}",
        "semantics": SEMANTICS[kind],
        "files": sorted(found["files"]),
        "edges": sorted(found["edges"]),
    }
    arguments.out.write_text(json.dumps(graph, indent=0) + "\n")
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(graph['files'])} files, {len(graph['edges'])} edges")


if __name__ == "__main__":
    main()
