"""A small recipe, run once through the command for all tests that compare with it."""

import hashlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobs.engine import Work
from jobs.progress import Progress
from jobs.spark import Spark

ROOT = pathlib.Path(__file__).resolve().parents[2]

RECIPE = """
name = "small"
seed = 3

[sources.documentation]
kind = "web"
input = ["installed:numpy.linalg", "installed:numpy.lib", "installed:numpy.fft", "installed:stdlib.email"]
crawl_files = 3

[sources.code]
kind = "repositories"
input = ["installed:idna", "installed:certifi", "installed:fsspec", "installed:xxhash", "installed:tldextract"]

[mine]
max_rounds = 2
stop_share = 1.0
min_pages = 5
classifier = { dim = 16, bucket = 2000, min_count = 1, passes = 2000 }
rest = { name = "rest", share = 0.9 }
[mine.targets.algebra]
seeds = ["installed:numpy.linalg"]

[deduplicate]
[decontaminate]
benchmarks = ["installed:stdlib.statistics"]

[tokenizer]
vocabulary_size = 512
sample_chars = 300_000
[mixture]
weights = { algebra = 0.2, rest = 0.3, code = 0.5 }
[fim]
rate = { code = 0.5 }
[pack]
sequence_length = 128
held_out_tokens = 3000
tokens_per_part = 150_000

[train]
preset = "tiny"
model = { num_hidden_layers = 2 }
batch_sequences = 2
steps = 6
learning_rate = 1e-3
eval_every = 3
eval_sequences = 4
checkpoint_every = 2
threads = 1
"""


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)} | changes


def lode(*arguments: str, **changes: str) -> subprocess.CompletedProcess:
    """The command as a user runs it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(**changes),
    )


def digests(folder: pathlib.Path) -> dict[str, str]:
    """Every Parquet file below a folder by its content."""
    files = sorted(folder.rglob("*.parquet"))
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def finished(recipe, tmp_path_factory) -> pathlib.Path:
    """The work folder of an undisturbed run on two cores."""
    work = tmp_path_factory.mktemp("finished") / "work"
    done = lode("run", str(recipe), "--work", str(work), "--master", "local[2]")
    assert done.returncode == 0, done.stderr
    return work


@pytest.fixture(scope="module")
def spark(tmp_path_factory) -> Iterator[Spark]:
    """A session of two cores for the tests of one file."""
    engine = Spark("local[2]", {}, str(tmp_path_factory.mktemp("logs") / "spark.log"))
    yield engine
    engine.stop()


@pytest.fixture
def work(spark, tmp_path) -> Iterator[Work]:
    """An empty work folder of one test."""
    with Work(str(tmp_path / "work"), spark, Progress(quiet=True)) as folder:
        yield folder
