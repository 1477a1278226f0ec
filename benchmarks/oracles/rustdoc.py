"""Symbol graph of Rust crates: which file writes a name that rustdoc finds declared in which other file.

    python -m benchmarks.oracles.rustdoc SOURCES OUT.json [--registry FOLDER] [--crate NAME] [--features NAME/FEATURE]

SOURCES holds one crate or several (every Cargo.toml with a [package] in it, or those of `--crate`), which may depend on
each other; other dependencies come from FOLDER, unpacked crates as `cargo vendor` leaves them or as Debian's
librust-*-dev packages do (`dpkg -x`, below usr/share/cargo/registry). Compiled are the libraries, with default features
unless `--features` adds some. Besides OUT.json the sources are packed as OUT.tar.gz. rustc, cargo and rustdoc from
https://rustup.rs or Debian; the option that links source pages is open in stable ones by RUSTC_BOOTSTRAP=1.
"""

import argparse
import json
import os
import pathlib
import posixpath
import re
import subprocess
import sys
import tempfile
import tomllib
from urllib.parse import unquote, urldefrag

from benchmarks.oracles.gcc import pack

_LINK = re.compile(r'<a\b[^>]*\bhref="([^"]+)"')
_SOURCE_LINK = re.compile(r'class="src[^"]*"[^>]*href="([^"]+)"')


def crates_below(top: pathlib.Path) -> dict[str, pathlib.Path]:
    """Names and folders of the library crates in a tree."""
    found: dict[str, pathlib.Path] = {}
    for path in sorted(top.rglob("Cargo.toml")):
        manifest = tomllib.loads(path.read_text())
        library = manifest.get("lib", {}).get("path", "src/lib.rs")
        if "package" in manifest and (path.parent / library).is_file():
            found.setdefault(manifest["package"]["name"], path.parent)
    return found


def document(
    crates: dict[str, pathlib.Path], wanted: list[str], features: list[str], registry, work
) -> pathlib.Path:
    """Let cargo document the crates; the folder of the pages."""
    probe = work / "probe"
    (probe / "src").mkdir(parents=True)
    (probe / ".cargo").mkdir()
    (probe / "src/lib.rs").write_text("")
    extra: dict[str, list[str]] = {}
    for feature in features:
        name, _, feature = feature.partition("/")
        extra.setdefault(name, []).append(feature)
    lines = [
        '[package]\nname = "lode-probe"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]'
    ]
    for name in wanted:
        lines.append(f"{json.dumps(name)} = {{ path = {json.dumps(str(crates[name]))}, ")
        lines[-1] += f"features = {json.dumps(extra.get(name, []))} }}"
    lines.append("[patch.crates-io]")
    lines += [
        f"{json.dumps(name)} = {{ path = {json.dumps(str(folder))} }}" for name, folder in crates.items()
    ]
    (probe / "Cargo.toml").write_text("\n".join(lines) + "\n")
    if registry is not None:
        (probe / ".cargo/config.toml").write_text(
            '[source.crates-io]\nreplace-with = "given"\n[source.given]\n'
            f"directory = {json.dumps(str(registry.resolve()))}\n"
        )
    environment = os.environ | {
        "CARGO_TARGET_DIR": str(work / "target"),
        "RUSTC_BOOTSTRAP": "1",
        "RUSTDOCFLAGS": "-Zunstable-options --generate-link-to-definition --document-private-items --cap-lints=allow",
        "RUSTFLAGS": "--cap-lints=allow",
    }
    command = ["cargo", "doc", "--no-deps", "--jobs", "1", *(["--offline"] if registry is not None else [])]
    for name in wanted:
        command += ["--package", name]
    # Pages of another crate must stand to be linked to, so crates that use each other are documented twice.
    for again in ("", " --cfg=again")[: 1 + (len(wanted) > 1)]:
        environment["RUSTDOCFLAGS"] += again
        try:
            subprocess.run(command, cwd=probe, env=environment, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"cargo does not document {', '.join(wanted)}: {error}")
    return work / "target/doc"


def read_pages(pages: pathlib.Path, crates: dict[str, pathlib.Path], wanted: list[str], top: pathlib.Path):
    """Files that were compiled, relative to `top`, and the links between them."""
    files: dict[pathlib.Path, str] = {}
    for name in wanted:
        library = tomllib.loads((crates[name] / "Cargo.toml").read_text()).get("lib", {})
        crate = library.get("name", name).replace("-", "_")
        root = (crates[name] / library.get("path", "src/lib.rs")).parent
        for page in sorted((pages / "src" / crate).rglob("*.rs.html")):
            source = root / page.relative_to(pages / "src" / crate).as_posix().removesuffix(".html")
            if source.is_file():
                files[page] = source.resolve().relative_to(top).as_posix()
    edges: set[tuple[str, str]] = set()
    declared: dict[pathlib.Path, pathlib.Path | None] = {}

    def source_page(page: pathlib.Path, link: str) -> pathlib.Path | None:
        path, _ = urldefrag(unquote(link))
        if not path or "://" in path:
            return None
        return pathlib.Path(posixpath.normpath(posixpath.join(page.parent.as_posix(), path)))

    for page, path in files.items():
        for link in set(_LINK.findall(page.read_text())):
            target = source_page(page, link)
            if target is not None and target not in files and pages / "src" not in target.parents:
                # An item of another crate: its page says where it is written.
                if target not in declared:
                    match = _SOURCE_LINK.search(target.read_text()) if target.is_file() else None
                    declared[target] = source_page(target, match[1]) if match else None
                target = declared[target]
            if target in files and files[target] != path:
                edges.add((path, files[target]))
    return sorted(set(files.values())), sorted(edges)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--registry", type=pathlib.Path)
    parser.add_argument("--crate", action="append", default=[])
    parser.add_argument("--features", action="append", default=[])
    arguments = parser.parse_args()
    top = arguments.sources.resolve()
    crates = crates_below(top)
    wanted = arguments.crate or list(crates)
    if not wanted or not crates.keys() >= set(wanted):
        sys.exit(
            f"no such library crate in {top.name}: {', '.join(set(wanted) - crates.keys()) or 'none at all'}"
        )
    version = subprocess.run(
        ["rustdoc", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder).resolve()
        pages = document(crates, wanted, arguments.features, arguments.registry, work)
        files, edges = read_pages(pages, crates, wanted, top)
    oracle = {
        "repository": top.name,
        "language": "rust",
        "oracle": f"{version} --generate-link-to-definition: links of source pages to definitions",
        "semantics": "edge [a, b]: a names (path, type, function, macro, bodies included) an item defined in b; "
        "default features; test cfg excluded",
        "files": files,
        "edges": edges,
    }
    arguments.out.write_text(json.dumps(oracle, indent=0))
    pack(top, arguments.out.with_suffix(".tar.gz"))
    print(f"{len(files)} files, {len(edges)} edges")


if __name__ == "__main__":
    main()
