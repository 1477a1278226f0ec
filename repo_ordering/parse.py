"""tree-sitter at arm's length.

A grammar can need gigabytes or minutes for 100 kB of hostile text and takes its process with it. So parsing
runs in a child that may be killed, under limits on address space, on the parser's own count of its work and
on processor time, none of which depend on how busy the machine is; a wall-clock limit is the last resort. It
is a plain subprocess that speaks length-prefixed JSON on its pipes, because the daemonic workers of Spark may
not have multiprocessing children.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

MEMORY_LIMIT = 2 << 30  # bytes of address space of the child
CPU_LIMIT = 5.0  # seconds of processor time per file
WALL_LIMIT = 60.0  # seconds; for a child that is stuck without working
START_LIMIT = 120.0  # seconds for a child to come up on a busy machine

# The child sees the modules this process sees, also when they came to an executor in an archive; but behind
# its own, lest a script's folder that rides on sys.path shadow the standard library.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BOOT = """
import sys
sys.path.insert(0, sys.argv[3])
sys.path += [path for path in sys.argv[4:] if path not in sys.path]
from repo_ordering.parse_child import main
main(int(sys.argv[1]), float(sys.argv[2]))
"""


class ParseFailed(Exception):
    """A file could not be parsed within the limits; `reason` is a short fixed code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Parser:
    """One child process, started when first needed and again after each death; not for several threads."""

    def __init__(self, memory_limit: int = MEMORY_LIMIT, cpu_limit: float = CPU_LIMIT) -> None:
        self._memory_limit = memory_limit
        self._cpu_limit = cpu_limit
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def scan(self, language: str, text: str) -> Any:
        """What `languages.<module>.scan_tree` makes of `text`; raises ParseFailed, never hangs."""
        request = json.dumps([language, text]).encode("ascii")
        child = self._child = self._child or self._start()
        try:
            _send(child, request)
            reply = _receive(child, time.monotonic() + WALL_LIMIT)
        except TimeoutError:
            self.close()
            raise ParseFailed("parse_too_long") from None
        except (OSError, EOFError):
            child.wait()
            self.close()
            timed_out = child.returncode == -signal.SIGVTALRM
            raise ParseFailed("parse_too_long" if timed_out else "parse_crashed") from None
        except BaseException:  # an interrupt in mid-message would leave the two out of step
            self.close()
            raise
        facts, reason = json.loads(reply)
        if reason is not None:
            raise ParseFailed(reason)
        return facts

    def is_mine(self) -> bool:
        """Whether this process made the parser: a forked copy must not talk on its parent's pipes."""
        return self._owner == os.getpid()

    def close(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None and self.is_mine():
            child.kill()
            child.wait()
            child.stdout.close()
            with contextlib.suppress(OSError):  # of a request the child did not live to read
                child.stdin.close()

    def _start(self) -> subprocess.Popen[bytes]:
        limits = [str(self._memory_limit), str(self._cpu_limit)]
        paths = [_ROOT, *map(os.path.abspath, sys.path)]
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, *limits, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is the parent's business
        )
        try:
            _receive(child, time.monotonic() + START_LIMIT)  # its greeting
        except (TimeoutError, EOFError):
            child.kill()
            child.communicate()
            raise RuntimeError("the parser's process does not start: is tree-sitter installed?") from None
        return child


def _send(child: subprocess.Popen[bytes], message: bytes) -> None:
    child.stdin.write(len(message).to_bytes(4, "big") + message)
    child.stdin.flush()


def _receive(child: subprocess.Popen[bytes], deadline: float) -> bytes:
    """One message, read from the file descriptor itself so that waiting for it can end."""

    def read(count: int) -> bytes:
        held = bytearray()
        while len(held) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                raise TimeoutError
            chunk = os.read(child.stdout.fileno(), count - len(held))
            if not chunk:
                raise EOFError
            held += chunk
        return bytes(held)

    return read(int.from_bytes(read(4), "big"))


_local = threading.local()


def shared_parser() -> Parser:
    """This thread's parser, started again in a process that was forked from its owner."""
    parser = getattr(_local, "parser", None)
    if parser is None or not parser.is_mine():
        parser = _local.parser = Parser()
        atexit.register(parser.close)
    return parser
