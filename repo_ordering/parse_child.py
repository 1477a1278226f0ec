"""The child process of `parse`: reads [language, text], answers [facts, null] or [null, reason]."""

import functools
import json
import resource
import signal
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, BinaryIO

import tree_sitter

from repo_ordering.languages import PARSED

# tree-sitter asks for leave to go on about once per 64 bytes of ordinary code; hostile text makes it ask
# without end. The count depends on the text alone, so the verdict is the same everywhere.
BASE_STEPS = 20_000
STEPS_PER_BYTE = 0.25


@functools.cache
def _grammar(language: str) -> tuple[ModuleType, tree_sitter.Language]:
    module = import_module(f"repo_ordering.languages.{PARSED[language]}")
    return module, tree_sitter.Language(module.grammar())


def scan(language: str, text: str) -> tuple[Any, str | None]:
    """Facts of one file and None, or None and the reason there are none."""
    source = text.encode("utf-8", "replace")
    limit = BASE_STEPS + int(STEPS_PER_BYTE * len(source))
    steps = 0

    def cancel(*_: object) -> bool:
        nonlocal steps
        steps += 1
        return steps > limit

    def read(offset: int, _: object) -> bytes:
        return source[offset : offset + (1 << 16)]

    module, grammar = _grammar(language)
    parser = tree_sitter.Parser(grammar)
    try:
        tree = parser.parse(read, progress_callback=cancel)
    except ValueError:
        return None, "parse_too_hard"
    return module.scan_tree(tree.root_node), None


def serve(requests: BinaryIO, replies: BinaryIO, cpu_limit: float) -> None:
    """Answer length-prefixed requests until the pipe closes; one that takes too long ends the process."""
    _reply(replies, "ready")
    while head := requests.read(4):
        language, text = json.loads(requests.read(int.from_bytes(head, "big")))
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_limit)  # not handled: SIGVTALRM kills
        try:
            answer = scan(language, text)
        except MemoryError:
            answer = None, "parse_out_of_memory"
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        _reply(replies, answer)


def _reply(replies: BinaryIO, answer: Any) -> None:
    message = json.dumps(answer).encode("ascii")
    replies.write(len(message).to_bytes(4, "big") + message)
    replies.flush()


def main(memory_limit: int, cpu_limit: float) -> None:
    """Serve on standard input and output within `memory_limit` bytes and `cpu_limit` seconds a file."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for language in PARSED:  # a grammar that is not installed shows before the first file, not at each
        _grammar(language)
    serve(sys.stdin.buffer, sys.stdout.buffer, cpu_limit)
