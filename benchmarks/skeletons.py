"""What windows of real repositories keep: dependencies earlier in the same window, and as signatures of what is not.

    python -m benchmarks.skeletons [ARCHIVE...]

Our own graph of each archive (those of the sample, and any others named), windows of 16,384 and 131,072 tokens of the
DeepSeek tokenizer, Algorithm 1 cut where the next file does not fit beside `clustered` with skeletons. `growth` is what
skeletons add to the text.
"""

import argparse
import pathlib
import statistics

from benchmarks.record import SAMPLE, record
from corpus.errors import LodeError
from corpus.tokens import TextTokenizer
from repo_ordering.document import OrderRepositories
from repo_ordering.views import files_of_path, order_of_files

TOKENIZER = SAMPLE / "tokenizer" / "deepseek" / "tokenizer.json"
FEWEST_EDGES = 10  # a repository with fewer says little


def measure(archive: pathlib.Path, tokenizer: tuple[str, str]) -> dict | None:
    """One row of the table; None where there is too little to measure."""
    try:
        files = files_of_path(str(archive))
    except LodeError:
        return None  # the sample has an empty repository
    row: dict = {"repository": archive.name.removesuffix(".tar.gz"), "files": len(files)}
    for label, window in (("16k", 16_384), ("128k", 131_072)):
        common = {"samples": "window", "window": window, "tokenizer": tokenizer}
        theirs = order_of_files(files, OrderRepositories("topological", **common))
        ours = order_of_files(files, OrderRepositories("clustered", skeletons=True, **common))
        if ours["edges"] < FEWEST_EDGES:
            return None
        added = sum(part["characters"] for sample in ours["samples"] for part in sample if part["skeleton"])
        text = sum(
            part["characters"] for sample in ours["samples"] for part in sample if not part["skeleton"]
        )
        row |= {
            "edges": ours["edges"],
            f"{label}_topological": theirs["edges_in_sample"],
            f"{label}_clustered": ours["edges_in_sample"],
            f"{label}_skeletons": ours["edges_by_skeleton"],
            f"{label}_growth": added / text,
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", type=pathlib.Path, nargs="*")
    archives = [*sorted(SAMPLE.glob("repos/*.tar.gz")), *parser.parse_args().archives]
    tokenizer = (str(TOKENIZER), TextTokenizer.load(str(TOKENIZER)).fingerprint)
    rows = [row for archive in archives if (row := measure(archive, tokenizer))]
    columns = [column for column in rows[0] if "k_" in column]
    rows.append({"repository": "mean"} | {c: statistics.mean(row[c] for row in rows) for c in columns})
    print(f"{'':<28}", " ".join(f"{column:>16}" for column in columns))
    for row in rows:
        print(f"{row['repository']:<28}", " ".join(f"{row[column]:16.3f}" for column in columns))
    record("skeletons", rows, ["lode"])


if __name__ == "__main__":
    main()
