"""Where results are kept, with what they need to be believed: command, versions, machine."""

import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from typing import Any

SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def record(name: str, result: Any, packages: list[str]) -> pathlib.Path:
    """Write a result to `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    about = {
        # Where things lay on the machine that measured says nothing.
        "command": " ".join(["python -m", f"benchmarks.{name}", *map(os.path.basename, sys.argv[1:])]),
        "machine": f"{len(os.sched_getaffinity(0))} cores of {processor()}",
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(about | {"result": result}, indent=1, ensure_ascii=False) + "\n")
    print(f"\n{path.relative_to(RESULTS.parents[1])}")
    return path
