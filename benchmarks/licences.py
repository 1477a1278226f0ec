"""What licences are found by Lode and by ScanCode, file by file, and how fast.

    python -m benchmarks.licences --peer SCANCODE [--files N] [--seed N]

SCANCODE is the command of ScanCode in an environment of its own (`pip install scancode-toolkit-mini==32.5.0
'pluggy<1.6'`). Both look at the same files: the licence files and manifests of the sample archives and of the packages
installed here, and N source files of the archives, half of them with a word such as "licence" in their first 4,096
characters. A file is compared by itself: ScanCode's expression of the whole file with what Lode takes from a licence
file's text, a manifest or a notice. Compared are the sets of identifiers (`-or-later` as `-only`, which texts alone
leave open) and what `allow = "permissive"` makes of the file; files of which that differs are listed first.

Then the licences of the sample's files by repository beside the one that its manifest gives.
"""

import argparse
import collections
import importlib.metadata
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.record import SAMPLE, record
from corpus.repositories import read_repository
from filters import licences
from filters.licence_manifests import is_manifest, stated
from filters.licence_names import is_satisfied, names_of, permissive
from filters.licences import HEAD_CHARS, RepositoryLicences, is_licence_file, licence_of_text, notice

KINDS = ("licence files", "manifests", "sources")
HINTS = ("licen", "copyright", "permission", "public domain", "redistribut")
SHOWN = 40


def sample_files() -> dict[str, dict[str, str]]:
    """Text by path for each archive of the sample."""
    return {
        archive.name: {row["path"]: row["text"] for row in read_repository(str(archive), "s") if row["text"]}
        for archive in sorted((SAMPLE / "repos").glob("*.tar.gz"))
    }


def installed_texts() -> dict[str, str]:
    """Licence files of the packages installed here, by package and name."""
    found = {}
    for package in importlib.metadata.distributions():
        for file in package.files or ():
            if ".dist-info" in str(file) and is_licence_file("", file.name.lower()):
                found[f"{package.metadata['Name']}/{file.name}"] = file.read_text("utf-8")
    return found


def chosen(
    repositories: dict[str, dict[str, str]], count: int, seed: int
) -> dict[str, list[tuple[str, str]]]:
    """(path, text) of the files to compare, by kind; a text counts once."""
    kinds: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    hinted, plain = {}, {}
    everything = [(f"{r}/{path}", text) for r, files in repositories.items() for path, text in files.items()]
    for path, text in [*everything, *installed_texts().items()]:
        folder, _, name = path.rpartition("/")
        if is_licence_file(folder, name.lower()):
            kinds["licence files"].setdefault(text, path)
        elif is_manifest(name):
            kinds["manifests"].setdefault(text, path)
        elif len(text) < 200_000:
            head = text[:HEAD_CHARS].lower()
            (hinted if any(hint in head for hint in HINTS) else plain).setdefault(text, path)
    rng = random.Random(seed)
    for texts in (hinted, plain):
        kinds["sources"] |= dict(rng.sample(list(texts.items()), min(count // 2, len(texts))))
    return {kind: [(path, text) for text, path in found.items()] for kind, found in kinds.items()}


def ours(kind: str, files: list[tuple[str, str]]) -> tuple[list[str | None], float]:
    for cached in (licences._read, licences._whole, licences._named):
        cached.cache_clear()
    began = time.process_time()
    found = []
    for path, text in files:
        name = path.rpartition("/")[2].lower()
        if kind == "licence files":
            found.append(licence_of_text(text))
        else:
            found.append(stated(name, text) if kind == "manifests" else notice(text, name))
    return found, time.process_time() - began


def theirs(scancode: str, files: list[tuple[str, str]]) -> tuple[list[str | None], float]:
    """ScanCode's expression of each file, and its wall seconds (one process) less those of an empty run."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "empty").mkdir()
        for at, (path, text) in enumerate(files):
            place = root / "files" / f"{at:05}" / path.rpartition("/")[2]
            place.parent.mkdir(parents=True)
            place.write_text(text, encoding="utf-8", newline="")
        seconds = {}
        for name in ("empty", "files"):
            began = time.perf_counter()
            command = [scancode, "--license", "--processes", "1", "--quiet", "--json", f"{name}.json", name]
            subprocess.run(command, cwd=root, check=True, stderr=subprocess.DEVNULL)
            seconds[name] = time.perf_counter() - began
        found: list[str | None] = [None] * len(files)
        for entry in json.loads((root / "files.json").read_text())["files"]:
            if entry["type"] == "file":
                found[int(entry["path"].split("/")[1])] = entry["detected_license_expression_spdx"]
    return found, seconds["files"] - seconds["empty"]


def ids(expression: str | None) -> frozenset[str]:
    return names_of(expression) if expression else frozenset()


def verdict(expression: str | None) -> str:
    if expression is None:
        return "nothing"
    return "permissive" if is_satisfied(expression, permissive()) else "not"


def compared(
    files: list[tuple[str, str]], mine: list[str | None], peers: list[str | None]
) -> tuple[dict[str, Any], list[str]]:
    same = verdicts = 0
    tally: collections.Counter[str] = collections.Counter()
    different = []
    for (path, _), lode, scancode in zip(files, mine, peers, strict=True):
        same += ids(lode) == ids(scancode)
        verdicts += verdict(lode) == verdict(scancode)
        if verdict(lode) != verdict(scancode):
            tally[f"{verdict(lode)} / {verdict(scancode)}"] += 1
        if ids(lode) != ids(scancode) or verdict(lode) != verdict(scancode):
            same_verdict = verdict(lode) == verdict(scancode)
            different.append((same_verdict, f"{path}: {lode} / {scancode}"))
    result = {
        "files": len(files),
        "same identifiers": round(same / len(files), 4),
        "same verdict": round(verdicts / len(files), 4),
        "different verdicts (lode / scancode)": dict(tally.most_common()),
    }
    return result, [line for _, line in sorted(different)]


def by_repository(repositories: dict[str, dict[str, str]]) -> tuple[dict[str, Any], float]:
    """For each archive what its list entry gives, and the files of each expression; and our seconds."""
    listed = {
        entry["file"]: entry["license"]
        for entry in json.loads((SAMPLE / "repos" / "manifest.json").read_text())
    }
    found, seconds = {}, 0.0
    for name, files in repositories.items():
        began = time.process_time()
        about = RepositoryLicences()
        for path, text in files.items():
            about.look(path, text)
        counts = collections.Counter(about.of(path) or "nothing" for path in files)
        seconds += time.process_time() - began
        given = next((value for file, value in listed.items() if file.endswith(name)), None)
        found[name] = {"listed": given, "found": dict(counts.most_common(6))}
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--peer", required=True, help="the command `scancode`")
    parser.add_argument("--files", type=int, default=400, help="source files to compare")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    repositories = sample_files()
    if not repositories:
        sys.exit(f"No archives in {SAMPLE / 'repos'}.")
    licence_of_text("nothing")  # loads the texts
    results: dict[str, Any] = {}
    for kind, files in chosen(repositories, arguments.files, arguments.seed).items():
        mine, seconds = ours(kind, files)
        peers, peer_seconds = theirs(arguments.peer, files)
        results[kind], different = compared(files, mine, peers)
        size = sum(len(text.encode()) for _, text in files) / 1e6
        results[kind] |= {
            "MB": round(size, 2),
            "MB/s": {"lode": round(size / seconds, 1), "scancode": round(size / peer_seconds, 3)},
            "different (lode / scancode)": different[:SHOWN],
        }
        print(kind, {key: value for key, value in results[kind].items() if not key.startswith("different (")})
        print(*different, sep="\n")
    found, seconds = by_repository(repositories)
    size = sum(len(text.encode()) for files in repositories.values() for text in files.values()) / 1e6
    print(json.dumps(found, indent=1))
    whole = {"MB": round(size, 1), "milliseconds a MB": round(1e3 * seconds / size, 2), "repositories": found}
    peer = subprocess.run([arguments.peer, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    record("licences", {"peer": peer, **results, "all files": whole}, ["license-expression", "numpy"])


if __name__ == "__main__":
    main()
