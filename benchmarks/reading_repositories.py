"""Reading repositories: bytes a second of one core, step by step, and the memory of one worker.

    python -m benchmarks.reading_repositories [--archives FILE ...] [--repeat N] [--gigabytes N]

Speed is in decompressed bytes by second of process time, over the sample's archives (or those given), each step with
all before it. Beside it stand two ways without Lode: `tarfile` extracting an archive to disk and each file being read
and decoded as UTF-8, and `git archive` of the same files as one commit, piped to nowhere. Of the published pipelines
datatrove, NeMo Curator and Dolma read tables and JSON lines; none has a reader of archives or of git.

Memory is the peak of a process of its own that reads one archive: the largest of those above, an honest one of so many
gigabytes in files of a megabyte, one of 99,999 tiny files, and some made to do harm.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any
from unittest import mock

from isal import igzip

from benchmarks.record import SAMPLE, record
from corpus import repositories
from corpus.archives import LIMITS, Archive
from corpus.repositories import FILE, read_repository
from corpus.schema import to_batches
from filters.code_rules import CodeRules
from filters.licences import RepositoryLicences

CHILD = """
import collections, json, sys, time
from corpus.repositories import repository_batches
from filters.licences import RepositoryLicences
def peak():  # not getrusage, which counts what the process was forked from
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) >> 10
before = peak()
began, reasons, characters = time.process_time(), collections.Counter(), 0
for batch in repository_batches([sys.argv[1]], "benchmark", RepositoryLicences):
    reasons.update(reason or "kept" for reason in batch.column("reason").to_pylist())
    characters += sum(len(text or "") for text in batch.column("text").to_pylist())
print(json.dumps({"rows": dict(reasons), "characters": characters, "seconds": round(time.process_time() - began, 1),
    "peak MB": peak(), "of it before reading MB": before}))
"""


def decompress(path: str) -> None:
    for entry in Archive(path, LIMITS):
        if entry.read is not None:
            entry.read()


def rows(path: str, licences: Any = None) -> Iterator[dict[str, Any]]:
    return read_repository(path, "benchmark", licences=licences)


def read(path: str) -> None:
    no_language = mock.patch.object(repositories, "language_of", lambda path, text="": None)
    with no_language, mock.patch.object(repositories, "is_vendored", lambda path: False):
        for _ in rows(path):
            pass


def with_language(path: str) -> None:
    for _ in rows(path):
        pass


def with_licences(path: str) -> None:
    for _ in rows(path, RepositoryLicences):
        pass


def in_batches(path: str, rules: CodeRules | None = None) -> None:
    batches = to_batches((row for row in rows(path, RepositoryLicences) if row["reason"] is None), FILE)
    for _ in rules(batches) if rules else batches:
        pass


def extracted(path: str) -> None:
    """What a script without a library of readers does."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
        for parent, _, names in os.walk(folder):
            for name in names:
                with (
                    contextlib.suppress(UnicodeDecodeError, FileNotFoundError),
                    open(os.path.join(parent, name), encoding="utf-8") as file,
                ):
                    file.read()


STEPS: dict[str, Callable[[str], None]] = {
    "entries of the archive": decompress,
    "+ text, charset, blob, order": read,
    "+ language, vendored": with_language,
    "+ licences": with_licences,
    "+ Arrow batches": in_batches,
    "+ rules deepseek-coder": lambda path: in_batches(path, CodeRules("deepseek-coder")),
    "+ rules starcoder2": lambda path: in_batches(path, CodeRules("starcoder2")),
    "peer: tarfile to disk and back": extracted,
}


def decompressed(path: str) -> int:
    with igzip.open(path) as file:
        return sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b""))


def speeds(archives: list[str], repeat: int) -> dict[str, Any]:
    """MB a second of each step over all archives, the best of several rounds, and the slowest archive."""
    sizes = {path: decompressed(path) for path in archives}
    best = {step: dict.fromkeys(archives, float("inf")) for step in STEPS}
    for _ in range(repeat):
        for path in archives:  # the steps take turns, so that a busy machine slows all of them
            for step, work in STEPS.items():
                began = time.process_time()
                work(path)
                best[step][path] = min(best[step][path], time.process_time() - began)
    total = sum(sizes.values())
    result: dict[str, Any] = {
        "archives": len(archives),
        "MB": round(total / 1e6, 1),
        "MB a second": {},
        "slowest": {},
    }
    for step, seconds in best.items():
        result["MB a second"][step] = round(total / 1e6 / sum(seconds.values()), 1)
        slowest = min(
            (path for path in archives if sizes[path] > 1e6), key=lambda path: sizes[path] / seconds[path]
        )
        speed = round(sizes[slowest] / 1e6 / seconds[slowest], 1)
        result["slowest"][step] = f"{os.path.basename(slowest)}, {speed} MB/s"
        print(f"{step:35}{result['MB a second'][step]:8} MB/s; {result['slowest'][step]}", flush=True)
    return result


def git_speed(archives: list[str]) -> dict[str, float]:
    """MB a second out of a packed git repository with the files of all archives, ours and `git archive`'s."""
    with tempfile.TemporaryDirectory() as folder:
        for path in archives:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        git = ["git", "-c", "user.name=a", "-c", "user.email=b", "-C", folder]
        for command in (["init", "-q"], ["add", "-f", "."], ["commit", "-qm", "all"], ["gc", "-q"]):
            subprocess.run([*git, *command], check=True)
        began = time.process_time()
        size = sum(row["size"] or 0 for row in rows(folder) if row["reason"] is None)
        lode = time.process_time() - began
        before = os.times()
        subprocess.run([*git, "archive", "-o", os.devnull, "--format=tar", "HEAD"], check=True)
        after = os.times()
        peer = after.children_user + after.children_system - before.children_user - before.children_system
    found = {
        "lode, with text and language": round(size / 1e6 / lode, 1),
        "git archive": round(size / 1e6 / peer, 1),
    }
    print("git", found, flush=True)
    return found


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def honest(file: IO[bytes], gigabytes: int) -> None:
    words = [f"value_{i * 7919 % 1009}" for i in range(200_000)]
    text = "".join(
        f"    {a} = {b}({i})\n" for i, (a, b) in enumerate(zip(words, reversed(words), strict=True))
    ).encode()
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for number in range(gigabytes * 1000):
            start = number * 977 % (len(text) - 1_000_000)
            add(archive, f"r/d{number % 50}/f{number}.py", b"%08d " % number + text[start : start + 999_991])


def tiny(file: IO[bytes], _: int) -> None:
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for number in range(99_999):
            add(archive, f"r/d{number % 999}/f{number}.py", b"x = %d\n" % number)


def zeros(file: IO[bytes], _: int) -> None:
    for _ in range(10_000):
        file.write(bytes(1 << 20))


def a_million_entries(file: IO[bytes], _: int) -> None:
    block = tarfile.TarInfo("r/file.py").tobuf()
    for _ in range(1000):
        file.write(block * 1000)


def long_headers(file: IO[bytes], _: int) -> None:
    """Half a megabyte of name before each of a thousand files."""
    info = tarfile.TarInfo("@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 19
    for number in range(1000):
        file.write(info.tobuf(tarfile.GNU_FORMAT) + (b"%d" % number).ljust(1 << 19, b"n"))
        file.write(tarfile.TarInfo("x").tobuf())


def long_names_in_little(file: IO[bytes], _: int) -> None:
    """Ninety-nine thousand names of 600 characters."""
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for number in range(99_000):
            add(archive, f"r/{'n' * 600}{number}.py", b"x\n")


def overlapping_zip(file: IO[bytes], _: int) -> None:
    """Fifty thousand entries that are one megabyte of zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r/a.py", b" " * (1 << 20))
    data = out.getvalue()
    start, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    count, entry = 50_000, data[start:end]
    close = b"PK\5\6" + b"\0\0\0\0" + count.to_bytes(2, "little") * 2
    close += (count * len(entry)).to_bytes(4, "little") + start.to_bytes(4, "little") + b"\0\0"
    file.write(data[:start] + entry * count + close)


MADE: dict[str, tuple[str, Callable[[IO[bytes], int], None]]] = {
    "honest": ("tar.gz", honest),
    "99,999 tiny files": ("tar.gz", tiny),
    "hostile: 10 GB of zeros": ("tar.gz", zeros),
    "hostile: a million entries": ("tar.gz", a_million_entries),
    "hostile: long headers": ("tar.gz", long_headers),
    "hostile: long names": ("tar.gz", long_names_in_little),
    "hostile: overlapping zip": ("zip", overlapping_zip),
}


def memory(largest: str, gigabytes: int) -> dict[str, Any]:
    found = {"largest of the archives": in_a_process(largest)}
    for name, (suffix, make) in MADE.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"made.{suffix}"
            with path.open("wb") if suffix == "zip" else igzip.open(path, "wb", compresslevel=1) as file:
                make(file, gigabytes)
            name = f"{name}, {gigabytes} GB" if make is honest else name
            found[name] = {"file MB": round(path.stat().st_size / 1e6, 1), **in_a_process(str(path))}
            print(name, found[name], flush=True)
    return found


def in_a_process(path: str) -> dict[str, Any]:
    run = subprocess.run([sys.executable, "-c", CHILD, path], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    sample = sorted(map(str, (SAMPLE / "repos").glob("*.tar.gz")))
    parser.add_argument("--archives", nargs="*", default=sample, help="tar files compressed by gzip")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--gigabytes", type=int, default=4, help="size of the honest archive; 0 leaves memory out"
    )
    arguments = parser.parse_args()
    if not arguments.archives:
        sys.exit("No archives: name some with --archives.")
    with_language(arguments.archives[0])  # loads the tables
    in_batches(arguments.archives[0], CodeRules("starcoder2"))
    result = {"speed": speeds(arguments.archives, arguments.repeat), "git": git_speed(arguments.archives)}
    if arguments.gigabytes:
        result["memory"] = memory(max(arguments.archives, key=os.path.getsize), arguments.gigabytes)
    record(
        "reading_repositories", result | {"zlib": zlib.ZLIB_RUNTIME_VERSION}, ["isal", "pygit2", "zstandard"]
    )


if __name__ == "__main__":
    main()
