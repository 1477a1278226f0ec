"""A fastText model brought down to its scorer: one float for each word and bucket, in a file that is mapped.

    NAME.bin (fastText's format) ─► rows . (output of the positive label - output of the other) ─► NAME.safetensors

Any reader of safetensors opens a scorer; what is said about it is JSON under `lode` in its metadata.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from corpus import storage
from corpus.errors import LodeError
from filters.normaliser import NORMALISATION, Normaliser

POSITIVE, NEGATIVE = "__label__yes", "__label__no"
FORMAT = 1  # of the scorer's file
FNV_BASIS, FNV_PRIME = 2166136261, 16777619
LONG_WORD = 64  # bytes; from there on hashed one by one
KINDS = {"F32": np.float32, "U32": np.uint32, "I64": np.int64, "U8": np.uint8}


def scorer_path(path: str) -> str:
    """Where `train` writes the scorer of the model at `path`."""
    return path.removesuffix(".bin") + ".safetensors"


def fnv(words: Sequence[bytes]) -> np.ndarray:
    """fastText's hashes uint32 of words: FNV-1a, but bytes from 128 up are extended by their sign."""
    hashes = np.full(len(words), FNV_BASIS, np.uint32)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    data = np.frombuffer(b"".join(words), np.int8).astype(np.int32).view(np.uint32)
    order = np.argsort(-lengths, kind="stable")
    order = order[np.searchsorted(-lengths[order], -LONG_WORD) :]  # longest first, without the long ones
    starts = (np.cumsum(lengths) - lengths)[order]
    sizes = -lengths[order]
    found = hashes[order]
    for at in range(-int(sizes[0]) if len(sizes) else 0):
        some = int(np.searchsorted(sizes, -at))
        found[:some] ^= data[starts[:some] + at]
        found[:some] *= np.uint32(FNV_PRIME)
    hashes[order] = found
    for i in np.flatnonzero(lengths > LONG_WORD).tolist():
        value = FNV_BASIS
        for byte in words[i]:
            value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * FNV_PRIME) & 0xFFFFFFFF
        hashes[i] = value
    return hashes


class FastTextFile:
    """A model in fastText's format, mapped: what of it a scorer needs.

    Raises:
        LodeError: it is none, it is cut short, or of a kind that does not come down to one number a row.
    """

    def __init__(self, path: str, name: str):
        self.name = name
        self.data = (
            np.asarray(np.memmap(path, np.uint8, "r")) if os.path.getsize(path) else np.empty(0, np.uint8)
        )
        self.bytes = memoryview(self.data)
        self.at = 0
        if self.integers(1)[0] != 793712314:
            raise LodeError(f"{name}: not a fastText model.")
        version, self.dim, *_, self.word_ngrams, loss, model, bucket, _, maxn, _ = self.integers(13)
        self.skip(8)
        size, self.words, labels = self.integers(3)
        self.skip(8)
        pruned = int(self.array(np.int64, 1)[0])
        if version == 11:
            maxn = 0  # older models of sentences have no character n-grams, whatever they say
        why = None
        if version not in (11, 12):
            why = f"version {version}"
        elif model != 3:
            why = "word vectors, not a classifier"
        elif loss != 3:
            why = "another loss than softmax"
        elif labels != 2:
            why = f"{labels} labels"
        elif maxn > 0:
            why = "character n-grams (maxn)"
        elif pruned >= 0:
            why = "quantised"
        if why is None:
            self.entries = self.dictionary(size)
            why = "quantised" if self.array(np.uint8, 1)[0] else None
        if why:
            raise LodeError(
                f"{name}: this fastText model is not supported ({why}); use one with two labels, loss softmax and "
                "maxn 0, not quantised."
            )
        self.rows = self.matrix()
        if self.array(np.uint8, 1)[0]:
            raise LodeError(f"{name}: this fastText model is quantised; use the model that it was made from.")
        self.outputs = self.matrix()
        # With single words alone there are no buckets, whatever the settings say.
        self.bucket = len(self.rows) - self.words
        wrong = self.word_ngrams > 1 and self.bucket != bucket
        if wrong or self.bucket < 0 or len(self.outputs) != labels:
            raise self.damaged()

    def damaged(self) -> LodeError:
        return LodeError(f"{self.name}: not a whole fastText model; copy or train it again.")

    def skip(self, count: int) -> None:
        self.at += count

    def array(self, kind: Any, count: int) -> np.ndarray:
        end = self.at + count * np.dtype(kind).itemsize
        if count < 0 or end > len(self.data):
            raise self.damaged()
        found = self.data[self.at : end].view(kind)
        self.at = end
        return found

    def integers(self, count: int) -> list[int]:
        return self.array(np.int32, count).tolist()

    def matrix(self) -> np.ndarray:
        rows, columns = self.array(np.int64, 2).tolist()
        if columns != self.dim or rows < 0:
            raise self.damaged()
        return self.array(np.float32, rows * columns).reshape(rows, columns)

    def dictionary(self, size: int) -> list[bytes]:
        entries = []
        for _ in range(size):
            end = self.at
            while True:  # words are short; the file is not
                piece = bytes(self.bytes[end : end + 64])
                zero = piece.find(b"\0")
                if zero >= 0:
                    break
                if not piece:
                    raise self.damaged()
                end += 64
            entries.append(bytes(self.bytes[self.at : end + zero]))
            self.at = end + zero + 10  # its end, a count and a type
        return entries


def collapse(
    model: str,
    path: str,
    positive: str | None = None,
    normaliser: Normaliser | None = None,
    made: dict[str, Any] | None = None,
    name: str | None = None,
) -> None:
    """Write the scorer of a fastText model, trained here or elsewhere, as safetensors.

    Memory: the vocabulary and a float for each row. The sums are made in float64.

    Args:
        model: a local file in fastText's format.
        positive: the label whose probability is the score; None: `__label__yes`.
        normaliser: what the texts of its training were normalised with; None: `normalise`.
        made: what is known about the training.
        name: how errors call the model.

    Raises:
        LodeError: the model is damaged or of another kind (see `FastTextFile`), or has no such label.
    """
    from safetensors.numpy import save

    name = name or model
    file = FastTextFile(model, name)
    words, labels = (
        file.entries[: file.words],
        [w.decode("utf-8", "replace") for w in file.entries[file.words :]],
    )
    if (positive or POSITIVE) not in labels:
        raise LodeError(
            f"{name}: has the labels {' and '.join(labels)}; say which of them is the positive one."
        )
    if not words:
        raise LodeError(
            f"{name}: fastText found no word often enough; give it more examples or a lower min_count."
        )
    yes = labels.index(positive or POSITIVE)
    direction = file.outputs[yes].astype(np.float64) - file.outputs[1 - yes].astype(np.float64)
    step = max(1, (16 << 20) // file.dim // 8)
    rows = np.empty(len(file.rows), np.float32)
    for start in range(0, len(rows), step):
        rows[start : start + step] = file.rows[start : start + step].astype(np.float64) @ direction
    if not np.isfinite(rows).all():
        raise LodeError(
            f"{name}: holds numbers that are not finite; train it again with a lower learning rate."
        )
    hashes = fnv(words)
    order = np.argsort(hashes, kind="stable").astype(np.uint32)
    normaliser = normaliser or Normaliser()
    about = {
        "format": FORMAT,
        "labels": [labels[yes], labels[1 - yes]],
        "word_ngrams": file.word_ngrams,
        "bucket": file.bucket,
        "words": file.words,
        "dim": file.dim,
        "normaliser": normaliser.identity,
        "model_sha256": hashlib.sha256(file.data).hexdigest(),
        **(made or {}),
    }
    tensors = {
        "rows": rows,  # words, then buckets: its share of the logit, before the mean
        "hashes": hashes,
        "by_hash": order,
        "sorted_hashes": hashes[order],
        "word_ends": np.cumsum([len(word) for word in words], dtype=np.int64),
        "word_bytes": np.frombuffer(b"".join(words), np.uint8),
        "tokenizer": np.frombuffer((normaliser.json or "").encode(), np.uint8),
    }
    with storage.atomic_write(path) as target:
        target.write(save(tensors, {"lode": json.dumps(about, ensure_ascii=False)}))


def mapped(path: str, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a scorer, mapped and shared by all processes of the host, and what is said about it."""
    if not os.path.exists(path):
        raise LodeError(f"{name}: there is no such model.")
    try:
        data = np.asarray(np.memmap(path, np.uint8, "r"))
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8:start].tobytes())
        about = json.loads(header.pop("__metadata__")["lode"])
        arrays = {}
        for key, entry in header.items():
            first, last = entry["data_offsets"]
            arrays[key] = data[start + first : start + last].view(KINDS[entry["dtype"]])
            if [len(arrays[key])] != entry["shape"]:
                raise ValueError("cut short")
        words = about["words"]
        sizes = [len(arrays[key]) for key in ("rows", "hashes", "by_hash", "sorted_hashes", "word_ends")]
        if sizes != [words + about["bucket"], *[words] * 4] or arrays["word_ends"][-1] != len(
            arrays["word_bytes"]
        ):
            raise ValueError("its parts do not fit")
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise LodeError(f"{name}: not a classifier, or not a whole one ({error}).") from error
    version = (about["format"], about["normaliser"]["normalisation"])
    if version != (FORMAT, NORMALISATION):
        raise LodeError(f"{name}: was made by another version of Lode; train it again.")
    return arrays, about
