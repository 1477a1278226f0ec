"""Packed sequences in the order of a run: shuffled, dealt to ranks, read ahead, resumable by one number."""

import queue
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xxhash

from pretrain.errors import TrainingError
from pretrain.loss import IGNORED, next_tokens
from pretrain.shards import RowReader, Shards

COLUMNS = 64


@dataclass(frozen=True)
class Batch:
    """Sequences side by side, all [B, S]: token ids, the document each position is in (counted from 0 in
    its row), and its source as an index into `Shards.sources`; of padding both are -1.

    A document here is what one window has in a sequence; two windows of one document are two.
    """

    tokens_BS: torch.Tensor  # int64
    document_BS: torch.Tensor  # int32
    source_BS: torch.Tensor  # int32

    @property
    def cu_seqlens(self) -> torch.Tensor:
        """Where documents begin in the flattened batch, and B * S: int32, as FlashAttention's varlen takes it."""
        ends = torch.tensor([self.tokens_BS.numel()])
        return torch.cat([self._begins().flatten().nonzero()[:, 0], ends]).int()

    @property
    def max_seqlen(self) -> int:
        """Tokens of the longest document."""
        return int(self.cu_seqlens.diff().max())

    @property
    def position_BS(self) -> torch.Tensor:
        """Positions counted from 0 in each document, int64 [B, S]."""
        place = torch.arange(self.tokens_BS.shape[1]).expand(self.tokens_BS.shape)
        return place - (place * self._begins()).cummax(1).values

    def targets(self, ahead: int = 1, within_documents: bool = False) -> torch.Tensor:
        """The token `ahead` places on, int64 [B, S]; IGNORED where there is none, or only padding, and, within
        documents, where it lies in another one."""
        # Without a mask between documents the only boundary is that to the padding.
        document_BS = self.document_BS if within_documents else self.document_BS.clamp(max=0)
        return next_tokens(self.tokens_BS, ahead, None, document_BS)

    def split(self, length: int) -> "Batch":
        """Each sequence as pieces of `length` tokens, a divisor of S, that know nothing of each other."""
        parts = self.tokens_BS, self.document_BS, self.source_BS
        return Batch(*(part.reshape(-1, length) for part in parts))

    def loss_mask(self, ahead: int = 1, within_documents: bool = False) -> torch.Tensor:
        """True where `targets` has a token, bool [B, S]."""
        return self.targets(ahead, within_documents) != IGNORED

    def _begins(self) -> torch.Tensor:
        begins = torch.ones_like(self.document_BS, dtype=torch.bool)
        begins[:, 1:] = self.document_BS[:, 1:] != self.document_BS[:, :-1]
        return begins


class Order:
    """Rows of the places 0, 1, ... of an endless run of differently shuffled epochs.

    Packing has already shuffled by a hash, so neighbours in a shard are strangers, and an order needs locality
    more than it needs more chance. An epoch puts the row groups in an order of its own, lays their rows end to
    end, each group's in an order of its own, and cuts that line into 64 equal columns; place q is the next row of
    column q mod 64. A row group is thus read once, a stretch of it at a time; and of R ranks (a power of two) that
    take every R-th place each has columns, and so groups, to itself, while the order is the same for every R.
    """

    def __init__(self, group_rows: np.ndarray, seed: int) -> None:
        """Rows of each row group [G], and the seed of all orders."""
        self._sizes, self._seed = group_rows, seed
        self._starts = np.cumsum(group_rows) - group_rows
        self.rows_per_epoch = int(group_rows.sum())
        columns = np.arange(COLUMNS)
        size = (self.rows_per_epoch - columns + COLUMNS - 1) // COLUMNS
        self._column_starts = np.cumsum(size) - size
        self._epoch: tuple[int, np.ndarray, np.ndarray] = (-1, columns, columns)

    def rows(self, places: np.ndarray) -> np.ndarray:
        """The row of the folder at each of these places, int64; places in rising order."""
        epochs, within = np.divmod(places, self.rows_per_epoch)
        found = [self._rows(int(epoch), within[epochs == epoch]) for epoch in np.unique(epochs)]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _rows(self, epoch: int, places: np.ndarray) -> np.ndarray:
        if self._epoch[0] != epoch:
            order = np.argsort(_hash(np.arange(len(self._sizes)), self._seed, epoch), kind="stable")
            self._epoch = epoch, order, np.cumsum(self._sizes[order])
        _, order, ends = self._epoch
        line = self._column_starts[places % COLUMNS] + places // COLUMNS
        turn = np.searchsorted(ends, line, "right")
        group = order[turn]
        inside = line - (ends[turn] - self._sizes[group])
        rows = np.empty(len(places), np.int64)
        for one in np.unique(group).tolist():
            here = group == one
            shuffled = np.argsort(_hash(np.arange(self._sizes[one]), self._seed, epoch, one), kind="stable")
            rows[here] = self._starts[one] + shuffled[inside[here]]
        return rows


class Loader:
    """Iterator over the batches of one rank, without end; a thread reads `prefetch` of them ahead.

    A step reads the next `batch_sequences` places of the order, of which this rank gets those that are `rank`
    modulo `world`; `batch_sequences` may be set anew before any step. Memory: the row groups of 64 columns, of one
    rank of R (a power of two) those of 64 / R, and `prefetch` batches. A loader is a context manager; its thread
    ends with it. Raises TrainingError where settings do not fit together or a shard cannot be read.
    """

    def __init__(
        self,
        shards: Shards,
        batch_sequences: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        prefetch: int = 2,
    ) -> None:
        if not 0 <= rank < world:
            raise TrainingError(f"rank {rank} is not one of {world}; set rank from 0 to world - 1")
        if prefetch < 1:
            raise TrainingError(f"prefetch = {prefetch} reads nothing ahead; set it to 1 or more")
        self.shards, self.seed, self.rank, self.world, self.prefetch = shards, seed, rank, world, prefetch
        self._order = Order(shards.group_rows, seed)
        self._reader = RowReader(shards, COLUMNS // np.gcd(COLUMNS, world) + 1)
        self._sequences = 0
        self._ahead: weakref.finalize | None = None
        self.batch_sequences = batch_sequences

    @property
    def batch_sequences(self) -> int:
        """Sequences of a step, of all ranks together."""
        return self._batch

    @batch_sequences.setter
    def batch_sequences(self, count: int) -> None:
        if count < 1 or count % self.world:
            raise TrainingError(
                f"a batch of {count} sequences cannot be dealt evenly to {self.world} ranks; "
                "make batch_sequences a multiple of their number"
            )
        self.close()
        self._batch = count

    def state(self) -> dict[str, Any]:
        """Where the run is, as JSON: the same for every rank, and good for any number of them."""
        return {"sequences": self._sequences, "seed": self.seed, "fingerprint": self.shards.fingerprint()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken. Raises TrainingError where it is of another order."""
        here = self.state()
        for name, what in (("fingerprint", "other shards"), ("seed", "another seed")):
            if state.get(name) != here[name]:
                raise TrainingError(
                    f"the loader's state is of {what} than {self.shards.path} with seed {self.seed}; "
                    "give those it was saved with"
                )
        sequences = state.get("sequences")
        if not isinstance(sequences, int) or sequences < 0:
            raise TrainingError(f"the loader's state has no usable 'sequences' ({sequences!r})")
        self.close()
        self._sequences = sequences

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        if self._ahead is None:
            self._start()
        found = self._queue.get()
        if isinstance(found, BaseException):
            self.close()
            raise found
        self._sequences += self._batch
        return Batch(*map(torch.from_numpy, found))

    def close(self) -> None:
        """End the thread; the next batch starts another at the same place."""
        if self._ahead is not None:
            self._ahead()
            self._ahead = None

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        stop = threading.Event()
        self._queue: queue.Queue[Any] = queue.Queue(self.prefetch)
        # The thread holds no reference to the loader, so that one nobody uses any more ends it.
        work = (
            self._order,
            self._reader,
            self._queue,
            stop,
            self._sequences,
            self._batch,
            self.rank,
            self.world,
        )
        thread = threading.Thread(target=_read_ahead, args=work, name="lode-loader", daemon=True)
        thread.start()
        self._ahead = weakref.finalize(self, _end, thread, stop, self._queue)


def _read_ahead(
    order: Order,
    reader: RowReader,
    out: queue.Queue[Any],
    stop: threading.Event,
    first: int,
    batch: int,
    rank: int,
    world: int,
) -> None:
    """Batches from place `first` on, or the error that ends them, until told to stop."""
    while not stop.is_set():
        places = np.arange(first + (rank - first) % world, first + batch, world)
        try:
            found: Any = reader.read(order.rows(places))
        except BaseException as error:
            found = error
        # Ending empties the queue after it set `stop`, so a full one never holds this thread back for long.
        out.put(found)
        if isinstance(found, BaseException):
            return
        first += batch


def _end(thread: threading.Thread, stop: threading.Event, out: queue.Queue[Any]) -> None:
    stop.set()
    while thread.is_alive() and thread is not threading.current_thread():
        try:
            out.get(timeout=0.05)
        except queue.Empty:
            thread.join(0.05)


def _hash(values: np.ndarray, *key: int) -> np.ndarray:
    """uint64 [N]: SplitMix64 of the values under a key (Steele et al., 2014), in whole arrays."""
    seed = xxhash.xxh3_64_intdigest(" ".join(map(str, key)).encode())
    with np.errstate(over="ignore"):
        z = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
