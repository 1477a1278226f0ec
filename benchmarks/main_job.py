"""The main job from an empty folder: seconds of each stage, what it made, and a second run.

python -m benchmarks.main_job [work folder]
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks.record import record


def timed(*arguments: str) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "jobs.cli", *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - began, done.stderr


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / "quickstart"
        first, _ = timed("quickstart", "--out", str(work))
        second, said = timed("quickstart", "--out", str(work))
        manifests = {
            str(file.parent.relative_to(work)): json.loads(file.read_text())
            for file in work.rglob("_lode.json")
        }
    seconds = {
        name: m["wall_seconds"] for name, m in sorted(manifests.items(), key=lambda item: item[1]["started"])
    }
    run = manifests["run"]["training"]
    result = {
        "seconds": round(first, 1),
        "seconds_of_a_second_run": round(second, 1),
        "second_run_did_nothing": "Nothing to do" in said,
        "pages_in": manifests["pages"]["rows_in"],
        "repositories_in": manifests["files"]["repositories"],
        "tokens_packed": manifests["shards"]["tokens"],
        "training_loss": [run["first_loss"], run["last_loss"]],
        "held_out_loss": run["heldout"],
        "balanced": all(m["rows_in"] == m["rows_out"] + m["rows_dropped"] for m in manifests.values()),
        "seconds_of_stages": seconds,
    }
    print(json.dumps(result, indent=1))
    record("main_job", result, ["lode", "pyspark", "pyarrow", "torch"])


if __name__ == "__main__":
    main()
