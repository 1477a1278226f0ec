"""What the tests of token files share: documents to try, and a file's documents as Lode reads them."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from corpus.schema import VERDICT
from corpus.token_files import TOKENS, ReadDocuments, TokenFile, ranges

BOS, EOS = 0, 1


def documents(most: int) -> st.SearchStrategy[list[list[list[int]]]]:
    """Documents of 0 to 3 sequences, with ids up to `most` and many of BOS and EOS among them."""
    ids = st.one_of(st.sampled_from([BOS, EOS, most]), st.integers(0, most))
    return st.lists(st.lists(st.lists(ids, max_size=6), max_size=3), max_size=12)


def stripped(tokens: list[int], bos: int = BOS, eos: int = EOS) -> list[int]:
    """A document without the BOS before it and the EOS after it."""
    tokens = tokens[1:] if tokens[:1] == [bos] else tokens
    return tokens[:-1] if tokens[-1:] == [eos] else tokens


def read(
    files: list[Any], vocabulary_size: int = 1 << 17, part: int = 1 << 20, bos: int = BOS, eos: int = EOS
) -> list[dict[str, Any]]:
    """All rows of files, judged, read in parts of about `part` tokens."""
    parts = ranges(files, part)
    reader = ReadDocuments(parts, "book", vocabulary_size, bos, eos)
    batches = [batch for number in range(len(parts)) for batch in reader((f"{number}\npath",))]
    assert all(batch.schema == pa.schema([*TOKENS, *VERDICT]) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def imported_is_exact(
    open_files: Callable[[], list[TokenFile]], written: list[list[int]], vocabulary_size: int
) -> None:
    """Every document in its order, without BOS and EOS; the empty ones dropped; the same rows in parts of any size."""
    rows = read(open_files(), vocabulary_size)
    assert [row["tokens"] for row in rows] == [stripped(tokens) for tokens in written]
    empty = [not stripped(tokens) for tokens in written]
    assert [row["reason"] == "empty" for row in rows] == empty
    assert [row["detail"] for row in rows] == [
        f"{len(tokens)} tokens" if none else None for tokens, none in zip(written, empty, strict=True)
    ]
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["source"] for row in rows} <= {"book"}
    assert read(open_files(), vocabulary_size, part=3) == rows
