"""Symbol graph of C# sources, as the Mono compiler's output refers to them.

    python -m benchmarks.oracles.mono_cecil SOURCES OUT.json --mono mono --libraries /usr/lib/mono/4.5 \\
        --tools CECIL_FOLDER --flags='-r:System.Core.dll -d:NET40' [--only Src/Library]...

`mcs` compiles the C# files below SOURCES (or below those folders of it that --only names) with symbols; Mono.Cecil
reads from the assembly what each method, field and attribute refers to. The compiler's output has more than the
source names (types of expressions) and less (constants and enumeration values are inlined, `nameof` is gone). An
edge is kept where the source names the type, or the extension method, that the assembly refers to. Besides OUT.json
the sources are packed as OUT.tar.gz.

Debian's mono-mcs, libmono-cecil-private-cil and libmono-compilerservices-symbolwriter4.0-cil have what is needed;
--tools is a folder with Mono.Cecil.dll (0.11) and Mono.CompilerServices.SymbolWriter.dll.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
from collections import defaultdict

from benchmarks.oracles.gcc import pack

PROGRAM = pathlib.Path(__file__).with_suffix(".cs")
_NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|@"(?:[^"]|"")*"|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)+\'', re.DOTALL
)
_DECLARED = re.compile(
    r"\b(?:class|struct|interface|enum)\s+(\w+)|\bdelegate\s[^;(){}]{0,400}?\b(\w+)\s*(?:<[^<>]*>)?\s*\("
)
_ACCESSOR = re.compile(r"^(?:get|set|add|remove)_")


def simple(name: str) -> str:
    """`Outer.Inner`2` -> `Inner`."""
    return name.rpartition(".")[2].partition("`")[0]


def graph(listing: str, sources: list[pathlib.Path]) -> set[tuple[str, str]]:
    """Edges between the sources by what the listing of an assembly says."""
    words, declaring = {}, defaultdict(set)
    for path in sources:
        code = _NOT_CODE.sub(" ", path.read_text("utf-8-sig", "replace"))
        words[str(path)] = set(re.findall(r"\w+", code))
        for match in _DECLARED.finditer(code):
            declaring[match[1] or match[2]].add(str(path))
    of_method, of_type, extensions, uses = defaultdict(set), defaultdict(set), set(), []
    for line in listing.splitlines():
        what, type_, *rest = line.split("\t")
        written = (
            type_.partition(".<")[0].partition("<")[0].rstrip(".")
        )  # a closure's or iterator's outer type
        if what == "type":
            of_type[written] |= set()
        elif what == "method":
            of_method[type_, rest[0]].add(rest[1])
            of_type[written].add(rest[1])
        elif what == "extension":
            extensions.add((type_, rest[0]))
        else:
            uses.append((written, type_, *rest))

    def files(type_: str) -> set[str]:
        found = of_type.get(type_) or declaring[simple(type_)]
        # One part stands for a partial type, where its name says which.
        named = {path for path in found if pathlib.Path(path).stem == simple(type_)}
        return found if len(found) == 1 else named

    edges = set()
    for written, type_, member, other, used in uses:
        other = other.partition(".<")[0].partition("<")[0].rstrip(".")
        from_files = of_method.get((type_, member)) or files(written)
        to_files = of_method.get((other, used)) or files(other)
        if len(from_files) != 1 or len(to_files) != 1:
            continue
        (source,), (target,) = from_files, to_files
        names = {simple(other), simple(other).removesuffix("Attribute")}
        if (other, used) in extensions:
            names.add(used)
        if names & words.get(source, set()):
            edges.add((source, target))
    return {(source, target) for source, target in edges if source != target}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--mono", default="mono")
    parser.add_argument("--libraries", type=pathlib.Path, default=pathlib.Path("/usr/lib/mono/4.5"))
    parser.add_argument("--tools", type=pathlib.Path, required=True)
    parser.add_argument("--flags", default="")
    parser.add_argument("--only", action="append", default=[])
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    below = [top / folder for folder in arguments.only] or [top]
    sources = sorted(path for folder in below for path in folder.rglob("*.cs"))
    compiler = [arguments.mono, str(arguments.libraries / "mcs.exe"), "-nowarn:*"]
    with tempfile.TemporaryDirectory() as folder:
        program, assembly = f"{folder}/program.exe", f"{folder}/assembly.dll"
        tools = sorted(arguments.tools.resolve().glob("Mono.*.dll"))
        for tool in tools:
            os.symlink(tool, pathlib.Path(folder, tool.name))
        references = [f"-r:{tool}" for tool in tools]
        subprocess.run([*compiler, *references, f"-out:{program}", str(PROGRAM)], check=True)
        build = [
            "-target:library",
            "-debug:full",
            "-unsafe",
            f"-out:{assembly}",
            *shlex.split(arguments.flags),
        ]
        named = pathlib.Path(folder, "sources.rsp")
        named.write_text("".join(f'"{path}"\n' for path in sources))
        subprocess.run([*compiler, *build, f"@{named}"], cwd=top, check=True)
        listing = subprocess.run(
            [arguments.mono, program, assembly], check=True, capture_output=True, text=True
        )
    edges = {(os.path.relpath(a, top), os.path.relpath(b, top)) for a, b in graph(listing.stdout, sources)}
    found = {
        "repository": top.name,
        "language": "csharp",
        "oracle": "mcs and Mono.Cecil",
        "semantics": "edge [a, b]: a names a type or extension method of b that a's compiled code refers to; constants "
        "and enumeration values are inlined and show none",
        "files": sorted(os.path.relpath(path, top) for path in sources),
        "edges": sorted(map(list, edges)),
    }
    arguments.out.write_text(json.dumps(found, indent=0) + "\n")
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(found['files'])} files, {len(edges)} edges")


if __name__ == "__main__":
    main()
