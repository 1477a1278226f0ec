"""Symbol graph of PHP sources, as nikic/php-parser resolves their names.

    python -m benchmarks.oracles.php_parser SOURCES OUT.json [--php 'php -d ...'] [--parser AUTOLOAD]

Classes, functions and constants are joined by their fully qualified names; one that several files declare is left out
of the graph. Besides OUT.json the sources are packed as OUT.tar.gz.

Debian's php-cli and php-parser (4.15) have what is needed; --parser names the library's autoload.php.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
from collections import defaultdict

from benchmarks.oracles.gcc import pack

PROGRAM = pathlib.Path(__file__).with_suffix(".php")


def edges(facts: dict[str, dict]) -> set[tuple[str, str]]:
    """(user, declaring file) of every name that one file declares."""
    found = set()
    for declared, used, fold in (
        ("classes", "used", str.lower),
        ("functions", "calls", str.lower),
        ("constants", "fetches", str),
    ):
        files = defaultdict(set)
        for path, each in facts.items():
            for name in each[declared]:
                files[fold(name)].add(path)
        for path, each in facts.items():
            for name, or_global in each[used]:
                homes = files.get(fold(name)) or files.get(fold(or_global)) or ()
                if len(homes) == 1:
                    found |= {(path, home) for home in homes if home != path}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--php", default="php")
    parser.add_argument("--parser", default="/usr/share/php/PhpParser/autoload.php")
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    sources = sorted(top.rglob("*.php"))
    done = subprocess.run(
        [*shlex.split(arguments.php), str(PROGRAM), arguments.parser],
        input="".join(f"{path}\n" for path in sources),
        capture_output=True,
        text=True,
        check=True,
    )
    facts = {
        os.path.relpath(path, top): json.loads(line)
        for path, line in zip(sources, done.stdout.splitlines(), strict=True)
    }
    read = {path: each for path, each in facts.items() if each is not None}
    found = {
        "repository": top.name,
        "language": "php",
        "oracle": "nikic/php-parser, names resolved",
        "semantics": "edge [a, b]: a names a class, function or constant (imports too) that only b declares",
        "files": sorted(read),
        "edges": sorted(map(list, edges(read))),
    }
    arguments.out.write_text(json.dumps(found, indent=0) + "\n")
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(read)} files, {len(found['edges'])} edges, {len(facts) - len(read)} files not parsed")


if __name__ == "__main__":
    main()
