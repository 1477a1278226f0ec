"""Symbol graph of Java sources, as javac resolves their names.

    python -m benchmarks.oracles.javac SOURCES OUT.json --root src/main/java [--root ...] [--classpath A.jar:B.jar]

The files below the roots (folders in SOURCES) are compiled together, module descriptors aside; nothing of them is run.
A library that is not on the classpath costs the names that need it: the errors are counted. Besides OUT.json the
sources are packed as OUT.tar.gz.

javac 17 is in every distribution (`apt-get install openjdk-17-jdk-headless`).
"""

import argparse
import json
import pathlib
import subprocess

from benchmarks.oracles.gcc import pack

PROGRAM = pathlib.Path(__file__).with_suffix(".java")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--root", action="append", required=True)
    parser.add_argument("--classpath", default="")
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    found = {
        path.relative_to(top).as_posix()
        for root in arguments.root
        for path in (top / root).rglob("*.java")
        if path.name != "module-info.java"
    }
    done = subprocess.run(
        ["java", "-Xss64m", str(PROGRAM), str(top), arguments.classpath],
        input="\n".join(sorted(found)),
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    version = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=True).stdout.strip()
    graph = {
        "repository": top.name,
        "language": "java",
        "oracle": f"{version} tree API (symbols resolved by javac)",
        "semantics": "edge [a, b]: a names a class, member or constant declared in b (code only: imports and javadoc "
        "excluded); same-package uses present",
        "files": sorted({row[0] for row in rows}),
        "edges": sorted([source, target] for source, target in rows if target),
    }
    arguments.out.write_text(json.dumps(graph, indent=0) + "\n")
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(graph['files'])} files, {len(graph['edges'])} edges, {done.stderr.strip()} compile errors")


if __name__ == "__main__":
    main()
