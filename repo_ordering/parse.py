"""tree-sitter at arm's length: what a file imports, declares and uses, found by a process that may be killed."""

from typing import Any

from corpus.guarded import CPU_LIMIT, MEMORY_LIMIT, Failed, Worker, shared_worker

SCAN = "repo_ordering.parse_child:scan"


class ParseFailed(Exception):
    """A file could not be parsed within the limits; `reason` is a short fixed code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Parser:
    """A worker that scans; not for several threads."""

    def __init__(
        self,
        memory_limit: int = MEMORY_LIMIT,
        cpu_limit: float = CPU_LIMIT,
        worker: Worker | None = None,
    ) -> None:
        self._worker = worker or Worker(SCAN, memory_limit, cpu_limit)

    def scan(self, language: str, text: str) -> Any:
        """What `languages.<module>.scan_tree` makes of `text`; raises ParseFailed, never hangs."""
        try:
            return self._worker.call(language, text)
        except Failed as failed:
            raise ParseFailed(f"parse_{failed.reason}") from None

    def close(self) -> None:
        """End the child, if there is one."""
        self._worker.close()


def shared_parser() -> Parser:
    """This thread's parser, also in a process that was forked from its owner."""
    return Parser(worker=shared_worker(SCAN))
