"""What a run asks of its process: to be told of signals, the same bits every time, a word about memory."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from pretrain.errors import TrainingError


class Stopped(TrainingError):
    """The run was asked to end and has saved where it is."""

    def __init__(self, step: int, steps: int, number: int) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.exit_status = 128 + number  # as shells tell a signal
        super().__init__(
            f"stopped by {name} after step {step:,} of {steps:,}, all saved; the same command goes on"
        )


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int | None]]:
    """The signal that asks the run to end, if one came; a second Ctrl-C ends it at once. Handlers belong to the main
    thread; elsewhere whoever started the thread decides."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    mine = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)} if mine else {}
    try:
        yield lambda: asked[0] if asked else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Only operations that give the same bits every time; one that cannot is an error of torch's own naming."""
    before = torch.are_deterministic_algorithms_enabled()
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def memory_named() -> Iterator[None]:
    """Memory that does not suffice is a TrainingError that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not full and "can't allocate memory" not in str(error):  # torch's words on a CPU
            raise
        raise TrainingError(
            "there is not enough memory for this run; lower micro_batch_sequences, "
            "set recompute = 'cheap' or 'block', or take a smaller model"
        ) from None
