"""A real cluster: a standalone master and two workers on loopback, with a bare Python on the workers."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from jobs.java import find_java
from tests.jobs.conftest import digests, environment, lode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(ready, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.2)


@pytest.fixture
def cluster(tmp_path):
    """URL of a Spark master with two workers. They know no package of Lode's: their Python is the bare one."""
    import pyspark

    home = pathlib.Path(pyspark.__file__).parent
    bare = os.path.join(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    clean |= {
        "SPARK_HOME": str(home), "JAVA_HOME": find_java(), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_NO_DAEMONIZE": "1",
        "SPARK_DAEMON_MEMORY": "512m", "PYSPARK_PYTHON": bare,
    }  # fmt: skip
    port, pages = free_port(), [free_port() for _ in range(3)]
    url = f"spark://127.0.0.1:{port}"
    log = (tmp_path / "cluster.log").open("wb")
    spark = "org.apache.spark.deploy"
    commands = [
        [f"{spark}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(pages[0])]
    ]
    for number in (1, 2):
        commands.append(
            [f"{spark}.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--work-dir",
             str(tmp_path / f"worker{number}"), "--webui-port", str(pages[number]), url]
        )  # fmt: skip
    processes = [
        subprocess.Popen(
            [str(home / "bin" / "spark-class"), *command],
            env=clean,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        for command in commands
    ]
    registered = lambda: (tmp_path / "cluster.log").read_bytes().count(b"Successfully registered with master")
    try:
        wait_until(lambda: registered() >= 2, 60, "registration of two workers")
        yield url, bare
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(timeout=30)
        log.close()


def test_a_cluster_gives_the_bytes_of_one_machine(cluster, finished, recipe, tmp_path):
    url, bare = cluster
    done = lode(
        "run", str(recipe), "--work", str(tmp_path / "work"), "--master", url, "--until", "shards",
        "--set", "spark.spark.executor.memory=512m", PYSPARK_PYTHON=bare, SPARK_LOCAL_IP="127.0.0.1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mine = digests(tmp_path / "work")
    theirs = {k: v for k, v in digests(finished).items() if not k.startswith(("run/", "evaluation/"))}
    assert mine == theirs
    assert environment()["PYTHONPATH"]  # the driver has Lode on its path; the workers got it from the driver
    for number in (1, 2):
        shipped = list((tmp_path / f"worker{number}").rglob("lode_packages"))
        assert shipped, f"worker {number} ran nothing"
