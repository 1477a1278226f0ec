"""How fast repositories become graphs on one core, and what hostile files cost.

    python -m benchmarks.graph_speed [ARCHIVE...]

Speed: for each language the files of that language in the archives (those of the sample, and any others named), a
repository at a time; parser, resolver and the child process that parses share one core; text in memory, the child
started. Hostile files: nesting, broken text and long lines in every language; the seconds until the graph is there, the
peak memory of the child, and the reason that is recorded.
"""

import argparse
import multiprocessing
import os
import pathlib
import resource
import time

from benchmarks.record import SAMPLE, record
from corpus.errors import LodeError
from repo_ordering.edges import SourceFile
from repo_ordering.graph import repository_graph
from repo_ordering.languages import MODULES
from repo_ordering.parse import Parser
from repo_ordering.views import files_of_path

N = 100_000
HOSTILE = {
    "a<a<": "a<" * (N // 2),
    "[": "[" * (N * 3 // 2),
    "{": "{" * N,
    "f(": "f(" * (N // 2),
    "if(x){": "if(x){" * (N // 6),
    "class A{": "class A{" * (N // 8),
    "open string": '"' + "\\x" * N,
    "NUL": "\0" * N,
    "invalid UTF-8": bytes(range(128, 256)).decode("utf-8", "replace") * 1000,
    "random": "".join(chr(33 + i * 7919 % 94) for i in range(N)),
    "20 MB line": "x = 1; " * 3_000_000,
}


def speed(archives: list[pathlib.Path], parser: Parser) -> list[dict]:
    """MB/s and files/s of each language over all archives."""
    sums: dict[str, list[float]] = {}
    for archive in archives:
        try:
            files = files_of_path(str(archive))
        except LodeError:
            continue  # the sample has an empty repository
        for language in sorted({file.language for file in files if file.language in MODULES}):
            these = [file for file in files if file.language == language]
            repository_graph([SourceFile("warm", language, "")], parser)
            started = time.perf_counter()
            graph = repository_graph(these, parser)
            seconds = time.perf_counter() - started
            found = sums.setdefault(language, [0, 0, 0, 0, 0])
            size = sum(len(file.text.encode("utf-8", "replace")) for file in these)
            for i, value in enumerate(
                (size / 1e6, len(these), seconds, len(graph.edges), len(graph.unparsed))
            ):
                found[i] += value
    return [
        {
            "language": language,
            "mb": size,
            "files": int(files),
            "mb_per_s": size / seconds,
            "files_per_s": files / seconds,
            "edges": int(edges),
            "unparsed": int(unparsed),
        }
        for language, (size, files, seconds, edges, unparsed) in sorted(sums.items())
    ]


def hostile(language: str) -> dict:
    """What hostile texts cost, and whether the next file parses. In a process of its own, so that the peak is its."""
    parser = Parser()
    rows = []
    for name, text in HOSTILE.items():
        repository_graph([SourceFile("warm", language, "")], parser)
        started = time.perf_counter()
        graph = repository_graph([SourceFile("a", language, text)], parser)
        seconds = time.perf_counter() - started
        after = repository_graph([SourceFile("b", language, "")], parser)
        reason = graph.unparsed.get("a")
        rows.append(
            {"text": name, "seconds": seconds, "reason": reason, "next_file_parses": not after.unparsed}
        )
    parser.close()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"language": language, "peak_mb_of_the_child": peak, "texts": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", type=pathlib.Path, nargs="*")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    archives = [
        *sorted(SAMPLE.glob("repos/*.tar.gz")),
        *sorted(SAMPLE.glob("graphs/*.tar.gz")),
        *arguments.archives,
    ]
    rates = speed(archives, Parser())
    for row in rates:
        print(
            f"{row['language']:<14} {row['mb']:7.2f} MB {row['files']:6} files {row['mb_per_s']:7.2f} MB/s "
            f"{row['files_per_s']:7.0f} files/s {row['edges']:7} edges {row['unparsed']:4} unparsed"
        )
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        costs = pool.map(hostile, sorted(MODULES), chunksize=1)
    for cost in costs:
        worst = max(cost["texts"], key=lambda row: row["seconds"])
        reasons = sorted({row["reason"] or "parsed" for row in cost["texts"]})
        failed = sum(not row["next_file_parses"] for row in cost["texts"])
        print(
            f"{cost['language']:<14} at most {worst['seconds']:5.2f} s ({worst['text']}), "
            f"{cost['peak_mb_of_the_child']:5.0f} MB; {', '.join(reasons)}; {failed} next files fail"
        )
    record("graph_speed", {"speed": rates, "hostile": costs}, ["lode", "tree-sitter"])


if __name__ == "__main__":
    main()
