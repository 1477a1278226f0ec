"""Lode in a Spark session that others started: a notebook's, or spark-submit's."""

import pathlib
import subprocess
import sys

import pyspark

from jobs.java import find_java
from tests.jobs.conftest import ROOT, digests, environment

# What a notebook does, in a process of its own: a session belongs to a process.
NOTEBOOK = """
import sys
from pyspark.sql import SparkSession
session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
from jobs.cli import run_in
from jobs.recipe import load_recipe
run_in(sys.argv[2], load_recipe(sys.argv[1]), master=None, until="deduplicated", quiet=True)
assert session.range(3).count() == 3, "the session that was there before was stopped"
"""


def stages_like(finished: pathlib.Path, work: pathlib.Path) -> None:
    mine, theirs = digests(work), digests(finished)
    assert any(name.startswith("deduplicated/") for name in mine)
    assert mine == {name: theirs[name] for name in mine}


def test_a_session_that_exists_is_used_and_left_running(finished, recipe, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, str(recipe), str(tmp_path / "work")],
        env=environment(JAVA_HOME=find_java(), SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stages_like(finished, tmp_path / "work")


def test_under_spark_submit(finished, recipe, tmp_path):
    submit = pathlib.Path(pyspark.__file__).parent / "bin" / "spark-submit"
    done = subprocess.run(
        [str(submit), "--master", "local[2]", "--conf", "spark.ui.enabled=false", str(ROOT / "jobs" / "cli.py"),
         "run", str(recipe), "--work", str(tmp_path / "work"), "--until", "deduplicated"],
        env=environment(JAVA_HOME=find_java(), SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable,
                        PYSPARK_DRIVER_PYTHON=sys.executable),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    stages_like(finished, tmp_path / "work")
