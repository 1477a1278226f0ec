"""Safetensors files a tensor at a time, so that a model larger than the memory can be read and written."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pretrain.errors import TrainingError

_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
FILE_BYTES = 4 << 30
LARGEST_HEADER = 100_000_000  # as the library has it

Show = Callable[[int, int], None]  # bytes written, of how many


class Stored(NamedTuple):
    """Where a tensor lies: `begin` bytes into its file."""

    file: Path
    kind: str
    shape: tuple[int, ...]
    begin: int


class Reader:
    """The tensors of one file, or of a folder's `model.safetensors` or files with an index.

    Files are read, not mapped into memory, where what was touched would stay. Raises TrainingError for what cannot be
    read; an index may only name files that lie beside it.
    """

    def __init__(self, path: Path) -> None:
        self._stored: dict[str, Stored] = {}
        for file in [path] if path.is_file() else _files_of(path):
            for name, stored in _header(file):
                if name in self._stored:
                    other = self._stored[name].file.name
                    raise TrainingError(f"{path}: {name} is in two files, {other} and {file.name}")
                self._stored[name] = stored

    def add_alias(self, name: str, other: str) -> None:
        """Let a name that is not there stand for another tensor."""
        if name not in self._stored and other in self._stored:
            self._stored[name] = self._stored[other]

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored[name].shape

    def dtype(self, name: str) -> torch.dtype:
        stored = self._stored[name]
        if stored.kind not in _DTYPES:
            raise TrainingError(
                f"{stored.file}: {name} has the type {stored.kind}, which no model of ours has"
            )
        return _DTYPES[stored.kind]

    def read(self, name: str, expert: int | None = None, rows: slice | None = None) -> Tensor:
        """A tensor; or of a stack [E, N, ...] the matrix of one expert, or some of its rows."""
        stored, dtype, shape = self._stored[name], self.dtype(name), self.shape(name)
        first = 0
        if expert is not None:
            begin, end, _ = (rows or slice(None)).indices(shape[1])
            first = (expert * shape[1] + begin) * math.prod(shape[2:])
            shape = (end - begin, *shape[2:])
        raw = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        try:
            with stored.file.open("rb") as file:
                file.seek(stored.begin + first * dtype.itemsize)
                complete = file.readinto(raw.data) == len(raw)
        except OSError as error:
            raise TrainingError(f"{stored.file}: {name} cannot be read ({error})") from None
        if not complete:
            raise TrainingError(f"{stored.file} was cut short while it was read")
        return torch.from_numpy(raw).view(dtype).view(shape) if len(raw) else torch.empty(shape, dtype=dtype)


def _header(file: Path) -> Iterator[tuple[str, Stored]]:
    """The tensors that a file says it holds: side by side, from its header to its end, each as long as its shape."""
    try:
        with file.open("rb") as raw:
            size = int.from_bytes(raw.read(8), "little")
            if size > LARGEST_HEADER:
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(raw.read(size))
        header.pop("__metadata__", None)
        end = 0
        for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            (begin, last), shape, kind = about["data_offsets"], tuple(about["shape"]), about["dtype"]
            if not all(type(n) is int and n >= 0 for n in (begin, last, *shape)):
                raise ValueError(f"{name} has the shape {shape} at {begin} to {last}")
            wanted = math.prod(shape) * _DTYPES[kind].itemsize if kind in _DTYPES else last - begin
            if begin != end or last - begin != wanted:
                raise ValueError(
                    f"{name} of shape {shape} at {begin} to {last} overlaps, or has another size"
                )
            end = last
            yield name, Stored(file, kind, shape, 8 + size + begin)
        if file.stat().st_size != 8 + size + end:
            raise ValueError(f"it has {file.stat().st_size} bytes and not {8 + size + end}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(f"{file} cannot be read ({error}); get it anew") from None


class Entry(NamedTuple):
    """A tensor to be written: `parts` gives its values in order, in pieces of whole rows of any leading shape."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: Callable[[], Iterable[Tensor]]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_file(
    path: Path, entries: list[Entry], show: Show | None = None, before: int = 0, total: int = 0
) -> None:
    """One safetensors file, each entry asked for its values when its turn comes.

    `show` is told the bytes written and of how many; `before` of a `total` lie in other files.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        begin, end = end, end + entry.nbytes
        header[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in entries:
            written = 0
            for part in entry.parts():
                raw = part.detach().to("cpu", entry.dtype).contiguous().flatten().view(torch.uint8)
                written += file.write(raw.numpy().data)
            if written != entry.nbytes:
                raise ValueError(f"{entry.name}: {written} bytes written, {entry.nbytes} promised")
            before += written
            if show:
                show(before, total or end)


def write_folder(folder: Path, entries: list[Entry], show: Show | None = None) -> None:
    """`model.safetensors`, or numbered files of bounded size and their index."""
    files: list[list[Entry]] = [[]]
    held = 0
    for entry in entries:
        if files[-1] and held + entry.nbytes > FILE_BYTES:
            files.append([])
            held = 0
        files[-1].append(entry)
        held += entry.nbytes
    total, done = sum(entry.nbytes for entry in entries), 0
    names = ["model.safetensors"]
    if len(files) > 1:
        names = [f"model-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)]
    for name, held_entries in zip(names, files, strict=True):
        write_file(folder / name, held_entries, show, done, total)
        done += sum(entry.nbytes for entry in held_entries)
    if len(files) > 1:
        where = {entry.name: name for name, group in zip(names, files, strict=True) for entry in group}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _files_of(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        single = folder / "model.safetensors"
        if not single.exists():
            raise TrainingError(f"{folder} holds no model.safetensors; other formats run code when opened")
        return [single]
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(f"{index} cannot be read ({error!r}); get it anew") from None
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
            raise TrainingError(f"{index} names {name!r}, which is no file beside it")
    return [folder / name for name in sorted(names)]
