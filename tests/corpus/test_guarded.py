"""A function behind limits: each request has its own answer or its own reason, whatever its neighbours do."""

import os
import resource
import signal
import threading
import time

import pytest

from corpus.errors import LodeError
from corpus.guarded import Failed, Worker, shared_worker

HERE = "tests.corpus.test_guarded:"


kept = []


def prepare():
    """Run in the child before the first request."""
    os.environ["LODE_TEST_PREPARED"] = "yes"


def act(what, value=None):
    """What the child does in these tests."""
    if what == "echo":
        return value
    if what == "prepared":
        return os.environ.get("LODE_TEST_PREPARED")
    if what == "eat":
        return len(bytearray(value))
    if what == "keep":
        kept.append(bytearray(value))
        return value
    if what == "pid":
        return os.getpid()
    if what == "spin":
        while True:
            pass
    if what == "sleep":
        time.sleep(value)
    if what == "refuse":
        raise Failed("too_hard")
    if what == "fail":
        raise ValueError
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "long":
        return "x" * value
    return None


@pytest.fixture
def worker():
    worker = Worker(HERE + "act", memory_limit=1 << 30, cpu_limit=0.2)
    yield worker
    worker.close()


def reasons(answers):
    return [answer.reason if isinstance(answer, Failed) else answer for answer in answers]


def test_a_request_that_ends_the_child_costs_only_itself(worker):
    requests = [
        ("echo", 1),
        ("die",),
        ("echo", 2),
        ("refuse",),
        ("eat", 2 << 30),
        ("fail",),
        ("spin",),
        ("echo", 3),
    ]
    expected = [1, "crashed", 2, "too_hard", "out_of_memory", "crashed", "too_long", 3]
    assert reasons(worker.call_all(requests)) == expected
    assert reasons(worker.call_all(requests[::-1])) == expected[::-1]


def test_a_child_that_was_killed_from_outside_is_nobody_s_fault(worker):
    worker.call("echo", 1)
    os.kill(worker._child.pid, signal.SIGKILL)
    assert reasons(worker.call_all([("echo", 1), ("die",), ("echo", 2)])) == [1, "crashed", 2]


def test_what_others_left_in_memory_decides_nothing(worker):
    # Together they are over the limit of 1 GB, each alone is not.
    assert worker.call_all([("keep", 700 << 20)] * 3) == [700 << 20] * 3
    assert reasons(worker.call_all([("echo", 1), ("eat", 2 << 30), ("echo", 2)])) == [1, "out_of_memory", 2]


def test_a_process_with_more_than_a_thousand_open_files(worker):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1050)]
    try:
        assert worker.call("echo", 1) == 1
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_child_ends_with_its_thread():
    pids = []
    thread = threading.Thread(target=lambda: pids.append(shared_worker(HERE + "act").call("pid")))
    thread.start()
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_the_module_is_prepared_once_the_child_is_up(worker):
    assert worker.call("prepared") == "yes"


def test_large_requests_and_replies_do_not_block_each_other(worker):
    size = 3 << 20  # many times what a pipe holds
    requests = [("long", size), ("echo", "y" * size)] * 4
    assert [len(answer) for answer in worker.call_all(requests)] == [size] * 8


def test_a_child_that_is_stuck_without_working_ends_at_the_wall(worker, monkeypatch):
    worker.call("echo", 1)
    monkeypatch.setattr("corpus.guarded.WALL_LIMIT", 0.3)
    assert reasons(worker.call_all([("sleep", 60), ("echo", 2)])) == ["too_long", 2]


def test_text_that_is_no_unicode_crosses_the_pipe(worker):
    assert worker.call("echo", "a\ud800\0\U0001f600") == "a\ud800\0\U0001f600"


def test_no_request_needs_no_child(worker):
    assert worker.call_all([]) == []
    assert worker._child is None


def test_a_function_that_cannot_be_loaded_is_an_error_and_not_a_reason():
    with pytest.raises(LodeError, match="does not start"):
        Worker("tests.corpus.no_such_module:act").call("echo", 1)


def test_a_thread_has_one_worker_for_a_function():
    assert shared_worker(HERE + "act") is shared_worker(HERE + "act")
    assert shared_worker(HERE + "act") is not shared_worker("filters.syntax:check")
