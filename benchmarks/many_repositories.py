"""Ten thousand small repositories through `lode repos`: seconds, memory, and whether kill -9 in the middle shows.

    python -m benchmarks.many_repositories [--repositories 10000] [--cores 2] [--scratch FOLDER]

The repositories are made by splitting the sample's archives: each has two to six files of one archive, in its own
folders, drawn by a seed until there are enough; of ten, seven are `.tar.gz`, two `.zip` and one is a folder. The
command runs once undisturbed. Then it runs again elsewhere, is killed with all its processes when half of its parts
are there, and is run once more. Both results are compared byte for byte, and row by row with the archives that were
written.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from typing import Any

import pyarrow.parquet as pq

from benchmarks.record import SAMPLE, record

TAR, ZIP, FOLDER = "tar.gz", "zip", "folder"
KINDS = (TAR,) * 7 + (ZIP,) * 2 + (FOLDER,)


def sample_files(archive: pathlib.Path) -> list[tuple[str, bytes]]:
    """The plain files of an archive, below its top folder."""
    with tarfile.open(archive) as opened:
        members = [m for m in opened if m.isfile() and "/" in m.name]
        return [(m.name.split("/", 1)[1], opened.extractfile(m).read()) for m in members]


def write(path: pathlib.Path, kind: str, files: list[tuple[str, bytes]]) -> None:
    """One repository; the same bytes every time."""
    if kind == FOLDER:
        for name, data in files:
            place = path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    elif kind == ZIP:
        with zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in files:
                out.writestr(zipfile.ZipInfo(f"{path.name}/{name}"), data)
    else:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as out:
            for name, data in files:
                info = tarfile.TarInfo(f"{path.name}/{name}")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
        pathlib.Path(f"{path}.tar.gz").write_bytes(gzip.compress(stream.getvalue(), 1, mtime=0))


def split_sample(shelf: pathlib.Path, count: int) -> dict[str, int]:
    """Write `count` repositories; returns the number of files of each."""
    archives = [
        files for path in sorted((SAMPLE / "repos").glob("*.tar.gz")) if (files := sample_files(path))
    ]
    weights = [len(files) for files in archives]
    draw = random.Random(0)
    made = {}
    for number in range(count):
        (files,) = draw.choices(archives, weights)
        kind = draw.choice(KINDS)
        name = f"r{number:05d}"
        chosen = dict(draw.sample(files, min(len(files), draw.randint(2, 6))))
        # Where a name is a file in one version and a folder in another, a folder on disk cannot hold both.
        write(shelf / name, kind, list(chosen.items()))
        made[name] = len(chosen)
    return made


def processes(group: int) -> dict[int, tuple[str, int]]:
    """(what it is, peak bytes in memory) of each process of a group."""
    found = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, KeyError):  # it may end meanwhile
            if os.getpgid(int(entry.name)) != group:
                continue
            command = (entry / "cmdline").read_bytes().split(b"\0")
            status = dict(
                line.split(":\t", 1) for line in (entry / "status").read_text().splitlines() if ":\t" in line
            )
            kind = (
                "jvm" if command[0].endswith(b"java") else "worker" if b"jobs.daemon" in command else "driver"
            )
            found[int(entry.name)] = (kind, int(status["VmHWM"].split()[0]) << 10)
    return found


def run(shelf: pathlib.Path, out: pathlib.Path, cores: int, kill_at: int | None = None) -> dict[str, Any]:
    """`lode repos`, in a process group of its own; killed when so many parts are done."""
    command = [sys.executable, "-m", "jobs.cli", "repos", str(shelf), "--out", str(out)]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--master", f"local[{cores}]", "--quiet"],
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    peak: dict[str, int] = {}
    while process.poll() is None:
        for kind, size in processes(process.pid).values():
            peak[kind] = max(peak.get(kind, 0), size)
        if kill_at is not None and len(list(out.glob("_counts/part-*.json"))) >= kill_at:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.1)
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"lode repos ended with {process.returncode}")
    return {
        "seconds": round(time.monotonic() - began, 1),
        "peak_mb": {kind: round(size / 1e6) for kind, size in sorted(peak.items())},
    }


def digests(out: pathlib.Path) -> dict[str, str]:
    return {
        str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(out.rglob("*.parquet"))
    }


def files_in(out: pathlib.Path) -> Counter[str]:
    """How many files each repository has among the rows, kept or dropped."""
    found: Counter[str] = Counter()
    for file in sorted(out.rglob("part-*.parquet")):
        found.update(pq.read_table(file, columns=["repository"])["repository"].to_pylist())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--scratch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        shelf, whole, broken = (pathlib.Path(folder, name) for name in ("shelf", "whole", "broken"))
        shelf.mkdir()
        made = split_sample(shelf, options.repositories)
        unbroken = run(shelf, whole, options.cores)
        manifest = json.loads((whole / "_lode.json").read_text())
        parts = len(list(whole.glob("part-*.parquet")))
        killed = run(shelf, broken, options.cores, kill_at=parts // 2)
        kept = {
            f.stem: (broken / f"{f.stem}.parquet").stat().st_ino for f in broken.glob("_counts/part-*.json")
        }
        resumed = run(shelf, broken, options.cores)
        again = json.loads((broken / "_lode.json").read_text())
        result = {
            "repositories": manifest["repositories"],
            "files": manifest["rows_in"],
            "dropped": manifest["dropped"],
            "text_mb": round(manifest["bytes"] / 1e6, 1),
            "parts": parts,
            "cores": options.cores,
            "unbroken": unbroken,
            "repositories_per_second": round(manifest["repositories"] / manifest["wall_seconds"], 1),
            "killed": killed,
            "parts_done_when_killed": len(kept),
            "parts_made_again": sum(
                (broken / f"{name}.parquet").stat().st_ino != ino for name, ino in kept.items()
            ),
            "resumed": resumed,
            "same_bytes": digests(whole) == digests(broken),
            "same_account": all(manifest[n] == again[n] for n in ("rows_in", "rows_out", "dropped", "bytes")),
            "every_file_has_a_row": files_in(whole) == Counter(made),
        }
    print(json.dumps(result, indent=1))
    record("many_repositories", result, ["pyspark", "pyarrow"])


if __name__ == "__main__":
    main()
