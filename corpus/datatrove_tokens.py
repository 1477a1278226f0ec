"""Token files of datatrove's `DocumentTokenizer` and `DocumentTokenizerMerger`, which nanotron and others train on.

`NAME.ds` holds the ids as uint16 or uint32, `NAME.ds.index` the token at which each document ends as uint64, both
little-endian and without a header. `NAME.ds.loss`, where there is one, says with a byte for each token whether it
counts for the loss. `NAME.ds.metadata` is for people: tokenizer and bytes a token, then twice how many tokens.
"""

from dataclasses import dataclass

import numpy as np

from corpus import storage
from corpus.errors import LodeError
from corpus.token_files import BLOCK_ENTRIES, TokenFile, file_size, find, names, read_array

ENDING = ".ds"


@dataclass(frozen=True)
class DatatroveFile(TokenFile):
    masked: bool  # has a `.loss` beside it

    @property
    def files(self) -> list[str]:
        return [self.path, f"{self.path}.index", *([f"{self.path}.loss"] if self.masked else [])]

    def bounds(self, first: int, last: int) -> np.ndarray:
        before = min(first, 1)  # the end of the document before is where the first begins
        ends = read_array(f"{self.path}.index", "<u8", first - before, last - first + before)
        return np.concatenate(([0][before:], ends)).astype(np.int64)

    def read(self, start: int, end: int) -> np.ndarray:
        if self.masked and not (counts := read_array(f"{self.path}.loss", "u1", start, end - start)).all():
            place = start + int(np.argmin(counts))
            raise LodeError(
                f"{self.path}.loss: takes tokens out of the loss, from token {place} on, and documents here have no "
                "such mask; delete this file if every token is to be learned."
            )
        return super().read(start, end)


def open_files(paths: list[str]) -> list[DatatroveFile]:
    """`.ds` files, globs or folders of them, each checked against its index. Raises LodeError where they disagree."""
    files = find(paths, ENDING)
    return [open_file(path, name) for path, name in zip(files, names(files), strict=True)]


def open_file(path: str, name: str) -> DatatroveFile:
    index, size = f"{path}.index", file_size(path)
    if not storage.exists(index):
        raise LodeError(f"{path}: {index} is missing, and with it where documents end (save_index=True).")
    documents, odd = divmod(file_size(index), 8)
    if odd:
        raise LodeError(f"{index}: not a whole number of 8-byte entries; copy it again.")
    tokens = 0
    for start in range(0, documents, BLOCK_ENTRIES):
        ends = read_array(index, "<u8", start, min(BLOCK_ENTRIES, documents - start))
        if ends[0] < tokens or (ends[1:] < ends[:-1]).any():
            raise LodeError(f"{index}: a document ends before it begins; this is not the index of {path}.")
        tokens = int(ends[-1])
    width = bytes_per_token(path) or (size // tokens if tokens else 2)
    if width not in (2, 4) or size != tokens * width:
        raise LodeError(
            f"{path}: {size:,} bytes, but {index} tells of {tokens:,} tokens of 2 or 4 bytes; one of them is cut off, "
            "or of another file."
        )
    return DatatroveFile(path, name, f"<u{width}", documents, tokens, storage.exists(f"{path}.loss"))


def bytes_per_token(path: str) -> int | None:
    """What `.metadata` says, where it does."""
    if not storage.exists(f"{path}.metadata"):
        return None
    fs, inside = storage.filesystem(f"{path}.metadata")
    first = fs.cat_file(inside).decode("utf-8", "replace").partition("\n")[0]
    width = first.rpartition("|")[2]
    return int(width) if width in ("2", "4") else None
