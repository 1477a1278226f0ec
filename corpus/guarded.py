"""A function at arm's length: run in a child process that may be killed.

A grammar can need gigabytes or minutes for 100 kB of hostile text and takes its process with it. So such work
runs in a child under limits on address space and processor time, neither of which depends on how busy the
machine is; a wall-clock limit is the last resort. It is a plain subprocess that speaks length-prefixed JSON on
its pipes, because the daemonic workers of Spark may not have multiprocessing children.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, BinaryIO

from corpus.errors import LodeError

MEMORY_LIMIT = 2 << 30  # bytes of address space of the child
CPU_LIMIT = 4.0  # seconds of processor time per request; with all around it, no file costs more than five
WALL_LIMIT = 60.0  # seconds per request; for a child that is stuck without working
START_LIMIT = 120.0  # seconds for a child to come up on a busy machine

# The child sees the modules this process sees, also when they came to an executor in an archive; but behind
# its own, lest a script's folder that rides on sys.path shadow the standard library.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BOOT = """
import sys
sys.path.insert(0, sys.argv[4])
sys.path += [path for path in sys.argv[5:] if path not in sys.path]
from corpus.guarded import main
main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
"""


class Failed(Exception):
    """No answer within the limits; `reason` is `too_long`, `out_of_memory`, `crashed` or the function's own."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Worker:
    """One child process, started when first needed and again after each death; not for several threads.

    Args:
        function: `package.module:name` of a function from JSON values to a JSON value; it may raise `Failed`.
            The child imports the module first and calls its `prepare()` where it has one.
        memory_limit: bytes of address space.
        cpu_limit: seconds of processor time for one request.
    """

    def __init__(self, function: str, memory_limit: int = MEMORY_LIMIT, cpu_limit: float = CPU_LIMIT) -> None:
        self._function = function
        self._limits = [str(memory_limit), str(cpu_limit)]
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def call(self, *request: Any) -> Any:
        """What the function makes of `request`; raises Failed, never hangs."""
        answer = self.call_all([request])[0]
        if isinstance(answer, Failed):
            raise answer
        return answer

    def call_all(self, requests: Sequence[Sequence[Any]]) -> list[Any]:
        """An answer for each request, in order: the function's value, or a `Failed`.

        The child works on one while the next are on their way. One that kills it costs only itself. One that runs
        out of memory or crashes is asked again of a new child if this one had others before it: neither what they
        left behind nor a child that somebody killed in between must decide.
        """
        messages = [_message(list(request)) for request in requests]
        answers: list[Any] = []
        while len(answers) < len(messages):
            is_new = self._child is None
            child = self._child = self._child or self._start()
            try:
                for reply in _exchange(child, messages[len(answers) :], WALL_LIMIT):
                    value, reason = json.loads(reply)
                    if reason == "out_of_memory" and not is_new:
                        self.close()
                        break
                    answers.append(value if reason is None else Failed(reason))
                    is_new = False
            except TimeoutError:
                self.close()
                answers.append(Failed("too_long"))
            except EOFError:
                child.wait()
                self.close()
                if child.returncode == -signal.SIGVTALRM:
                    answers.append(Failed("too_long"))
                elif is_new:
                    answers.append(Failed("crashed"))
            except BaseException:  # an interrupt in mid-message would leave the two out of step
                self.close()
                raise
        return answers

    def is_mine(self) -> bool:
        """Whether this process made the worker: a forked copy must not talk on its parent's pipes."""
        return self._owner == os.getpid()

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child = None
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        paths = [_ROOT, *map(os.path.abspath, sys.path)]
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, self._function, *self._limits, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # a Ctrl-C is the parent's business
        )
        # It goes with the worker at the latest, and that with its thread.
        self._end = weakref.finalize(self, _end, child, os.getpid())
        os.set_blocking(child.stdin.fileno(), False)
        try:
            next(_exchange(child, [b""], START_LIMIT))  # its greeting
        except (TimeoutError, EOFError):
            self._end()
            raise LodeError(
                f"{self._function}: its process does not start; are all packages that Lode needs installed here?"
            ) from None
        return child


def _end(child: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked from it
        child.kill()
        child.wait()
        child.stdout.close()
        child.stdin.close()


def _message(value: Any) -> bytes:
    message = json.dumps(value).encode("ascii")
    return len(message).to_bytes(4, "big") + message


def _exchange(child: subprocess.Popen[bytes], messages: Sequence[bytes], limit: float) -> Iterator[bytes]:
    """One reply for each message, each within `limit` seconds of the one before.

    Writing and reading take turns as the pipes allow, or both sides could wait for the other to read.
    """
    to_child, from_child = child.stdin.fileno(), child.stdout.fileno()
    poll = select.poll()  # select() knows no descriptor over 1,023
    poll.register(from_child, select.POLLIN)
    poll.register(to_child, select.POLLOUT)
    waiting = iter(messages)
    outgoing: memoryview | None = memoryview(b"")
    held = bytearray()
    answered = 0
    deadline = time.monotonic() + limit
    while answered < len(messages):
        if outgoing is not None and not outgoing:
            message = next(waiting, None)
            outgoing = None if message is None else memoryview(message)
            if message is None:
                poll.unregister(to_child)
        left = max(deadline - time.monotonic(), 0)
        ready = dict(poll.poll(left * 1000))
        if from_child not in ready and (to_child not in ready or not left):
            raise TimeoutError
        if to_child in ready:
            try:
                outgoing = outgoing[os.write(to_child, outgoing[: 1 << 16]) :]
            except BrokenPipeError:  # what it answered before its end still counts
                outgoing = None
                poll.unregister(to_child)
        if from_child in ready:
            chunk = os.read(from_child, 1 << 16)
            if not chunk:
                raise EOFError
            held += chunk
            while len(held) >= 4 and len(held) >= (end := 4 + int.from_bytes(held[:4], "big")):
                yield bytes(held[4:end])
                del held[:end]
                answered += 1
                deadline = time.monotonic() + limit


_local = threading.local()


def shared_worker(function: str, memory_limit: int = MEMORY_LIMIT) -> Worker:
    """This thread's worker for `function`, started again in a process that was forked from its owner."""
    workers: dict[str, Worker] = _local.__dict__.setdefault("workers", {})
    worker = workers.get(function)
    if worker is None or not worker.is_mine():
        worker = workers[function] = Worker(function, memory_limit)
    return worker


def serve(function: Callable[..., Any], requests: BinaryIO, replies: BinaryIO, cpu_limit: float) -> None:
    """Answer length-prefixed requests until the pipe closes; one that takes too long ends the process."""

    def reply(answer: Any) -> None:
        replies.write(_message(answer))
        replies.flush()

    reply("ready")
    while head := requests.read(4):
        request = json.loads(requests.read(int.from_bytes(head, "big")))
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_limit)  # not handled: SIGVTALRM kills
        try:
            answer = function(*request), None
        except Failed as failed:
            answer = None, failed.reason
        except MemoryError:
            answer = None, "out_of_memory"
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        reply(answer)


def main(function: str, memory_limit: int, cpu_limit: float) -> None:
    """Serve `function` on standard input and output within the limits: the child's whole life."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, name = function.split(":")
    loaded = import_module(module)
    getattr(loaded, "prepare", lambda: None)()
    serve(getattr(loaded, name), sys.stdin.buffer, sys.stdout.buffer, cpu_limit)
