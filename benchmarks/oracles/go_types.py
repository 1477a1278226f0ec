"""Symbol graph of a Go repository, as go/types resolves its names.

    python -m benchmarks.oracles.go_types SOURCES OUT.json

`go list -deps` finds the packages of the folder and what they import, in the module or the GOPATH in which the
folder lies (set GO111MODULE and GOPATH as for a build); those that are not installed are taken as empty, and the
errors that follow are counted. Besides OUT.json the sources are packed as OUT.tar.gz.

Go is in every distribution (`apt-get install golang-go`); Debian's golang-*-dev packages make a GOPATH of libraries
below /usr/share/gocode.
"""

import argparse
import json
import os
import pathlib
import subprocess

from benchmarks.oracles.gcc import pack

PROGRAM = pathlib.Path(__file__).with_suffix(".go")


def go(words: list[str], folder: pathlib.Path, given: bytes = b"", **environment: str) -> bytes:
    """Standard output of a go command."""
    return subprocess.run(
        ["go", *words],
        cwd=folder,
        input=given,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    packages = go(["list", "-e", "-deps", "-json", "./..."], top)
    found = json.loads(go(["run", str(PROGRAM), str(top)], PROGRAM.parent, packages, GO111MODULE="off"))
    graph = {
        "repository": top.name,
        "language": "go",
        "oracle": f"go/types ({go(['env', 'GOVERSION'], top).decode().strip()}) Uses -> declaring file",
        "semantics": "edge [a, b]: a uses an identifier (methods and fields too) that b declares; the files of one "
        "platform's build; tests excluded",
        "files": sorted(found["Files"] or ()),
        "edges": sorted(found["Edges"] or ()),
    }
    arguments.out.write_text(json.dumps(graph, indent=0) + "\n")
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(graph['files'])} files, {len(graph['edges'])} edges, {found['Errors']} type errors")


if __name__ == "__main__":
    main()
