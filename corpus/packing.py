"""Windows to sequences of one length: concatenated with nothing wasted, or placed so that next to nothing is cut.

Both ways are one. Some windows are solid: they are placed by best-fit-decreasing (Ding et al., Fewer Truncations
Improve Language Modeling, arXiv 2404.10830, section 3). The others are poured into the gaps that stay, one after
another, cut wherever a gap ends. `concat` pours all that may be cut; for `best_fit` every window is solid, and only
where the gaps would be more than `MOST_PADDING` of the tokens are a few poured after all.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from corpus.schema import VERDICT

# What a sequence is made of, end to end. The id of padding is null.
SPANS = pa.list_(
    pa.struct(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("start", pa.int32()),  # in the sequence
            ("length", pa.int32()),
            ("chunk", pa.int32()),
            ("epoch", pa.int32()),
            ("offset", pa.int32()),  # tokens of the window that came before this piece
        ]
    )
)
# `completed` counts the windows that end in a sequence; it balances the account of the packing stage.
SEQUENCE = pa.schema([("tokens", pa.list_(pa.int32())), ("documents", SPANS), ("completed", pa.int32())])
# A window on its way through the shuffle. Those that are not used carry a reason and no tokens.
PLACED = pa.schema(
    [
        ("bucket", pa.int32()),
        ("key", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("chunk", pa.int32()),
        ("epoch", pa.int32()),
        ("whole", pa.int8()),  # CUT, RATHER_NOT or WHOLE
        ("tokens", pa.list_(pa.int32())),
        *VERDICT,
    ]
)
# May a window be cut at the end of a sequence? Yes; where nothing else fills the sequence; never.
CUT, RATHER_NOT, WHOLE = range(3)
WAYS = ("concat", "best_fit")
# Of 1,000 tokens, so many may be padding before `best_fit` cuts windows.
MOST_PADDING = 1
# Tokens of the sequences that leave together: a row group, which a reader at random places takes whole.
_TOKENS = 1 << 19


@dataclass(frozen=True)
class Pieces:
    """Where windows went: the tokens [offset, offset + length) of `window` are in `sequence`.

    Arrays of one length, in the order in which they lie in the sequences; the window of padding is -1.
    """

    sequence: np.ndarray
    window: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    sequences: int


def chunk_key(*parts: object) -> int:
    """A signed 64-bit number that shuffles chunks the same way whoever computes it."""
    return xxhash.xxh3_64_intdigest("\n".join(map(str, parts)).encode()) - 2**63


def pack(
    sizes: np.ndarray, whole: np.ndarray, is_part: np.ndarray, keys: np.ndarray, length: int, how: str
) -> Pieces:
    """Place windows in sequences of `length` tokens.

    Every sequence is full but for padding. With `concat` there is some only where all other windows are `WHOLE`, with
    `best_fit` it is 0.1 % at most, unless too many are. What would not fill a last sequence has no piece: less than
    `length` tokens in all. A sequence begins with what goes on from an earlier one and ends with what goes on in a
    later one: with `concat` the next that solid windows leave a gap in.

    Args:
        sizes: tokens of each window, at least 1, [N]; of one that is `WHOLE` at most `length`.
        whole: `CUT`, `RATHER_NOT` or `WHOLE`, [N].
        is_part: of a document longer than a sequence, [N]; `best_fit` cuts such windows first.
        keys: int64, [N]; sequences come in the order of the key of their largest solid window.
        length: tokens of a sequence.
        how: `concat` or `best_fit`.
    """
    if how not in WAYS:
        raise ValueError(f"packing is {how!r}; it is one of {', '.join(WAYS)}")
    sizes, whole, keys = (np.asarray(values, np.int64) for values in (sizes, whole, keys))
    # What is placed: windows, or parts of those that are longer than a sequence.
    parts = -(-sizes // length) if how == "best_fit" else np.ones(len(sizes), np.int64)
    window = np.repeat(np.arange(len(sizes)), parts)
    offset = (np.arange(len(window)) - np.repeat(np.cumsum(parts) - parts, parts)) * length
    size = np.minimum(sizes[window] - offset, length) if how == "best_fit" else sizes
    solid = (whole[window] > CUT) & (size <= length) if how == "concat" else np.ones(len(window), bool)

    bins, home = best_fit_decreasing(np.where(solid, size, 0), length)
    total, padding = int(sizes.sum()), 0 if how == "concat" else MOST_PADDING
    most = total * 1000 // ((1000 - padding) * length)
    if bins > most:
        # A full sequence of a longer window stays as well: only the end of a window may be left over.
        kind = np.where(offset + size < sizes[window], WHOLE, whole[window])
        harm = 2 * kind - np.asarray(is_part, bool)[window]
        solid &= ~_melted(home, size, harm, bins, bins - most)[home]

    # Sequences with something solid in them, in the order of a key; those poured full lie evenly among them.
    solids, liquid = np.flatnonzero(solid), np.flatnonzero(~solid)
    largest = np.full(bins, -1)
    by_size = solids[np.argsort(size[solids], kind="stable")]
    largest[home[by_size]] = by_size
    kept = np.flatnonzero(largest >= 0)
    kept = kept[np.argsort(keys[window[largest[kept]]], kind="stable")]
    fill = np.zeros(bins, np.int64)
    np.add.at(fill, home[solids], size[solids])
    gap = length - fill[kept]
    extra = max(int(size[liquid].sum() - gap.sum()), 0) // length
    evenly = [(np.arange(count) + 0.5) / max(count, 1) for count in (len(kept), extra)]
    order = np.argsort(np.concatenate(evenly), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    number = np.full(bins, -1)
    number[kept] = place[: len(kept)]
    gaps = np.concatenate([gap, np.full(extra, length)])[order]

    # Large gaps first where some are to stay.
    into = np.arange(len(gaps)) if how == "concat" else np.argsort(-gaps, kind="stable")
    which, begins, lengths, poured = _pour(size[liquid], gaps[into])
    sequence = np.concatenate([number[home[solids]], into[poured]])
    item = np.concatenate([solids, liquid[which]])
    offset = offset[item] + np.concatenate([np.zeros(len(solids), np.int64), begins])
    lengths = np.concatenate([size[solids], lengths])
    item = window[item]
    gaps -= np.bincount(into[poured], lengths[len(solids) :], len(gaps)).astype(np.int64)
    rank = np.where(offset > 0, 0, np.where(offset + lengths < sizes[item], 2, 1))

    padded = np.flatnonzero(gaps)
    found = [
        np.concatenate([sequence, padded]),
        np.concatenate([item, np.full(len(padded), -1)]),
        np.concatenate([offset, np.zeros(len(padded), np.int64)]),
        np.concatenate([lengths, gaps[padded]]),
    ]
    sort = np.lexsort((found[1], np.concatenate([rank, np.full(len(padded), 3)]), found[0]))
    return Pieces(*(values[sort] for values in found), len(gaps))


def best_fit_decreasing(sizes: np.ndarray, length: int) -> tuple[int, np.ndarray]:
    """The number of bins of room `length`, and the bin of each item, [N]; one of size 0 has none (-1).

    Items come from the largest to the smallest, each into the bin with the least room that it fits in, or into a new
    one. Those of one size are placed together, which comes to the same: the fullest bin takes as many as it holds,
    then the next.
    """
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    home = np.full(len(sizes), -1, np.int64)
    rooms: dict[int, deque[np.ndarray]] = {}  # bins, by the room in them
    present = 0  # a bit for each room that some bin has
    bins = done = 0
    values, counts = np.unique(sizes[order], return_counts=True)
    for size, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while count:
            if fitting := present >> size:
                room = size + (fitting & -fitting).bit_length() - 1
                found = rooms[room].popleft()
            else:
                room, number = length, -(-count // (length // size))
                found = np.arange(bins, bins + number)
                bins += number
                rooms.setdefault(room, deque())
            full, rest = divmod(count, room // size)
            if full >= len(found):
                full, rest = len(found), 0
            for here, each in ((found[:full], room // size), (found[full : full + 1], rest)):
                if not len(here) or not each:
                    continue
                placed = len(here) * each
                home[order[done : done + placed]] = np.repeat(here, each)
                done += placed
                count -= placed
                if left := room - each * size:
                    rooms.setdefault(left, deque()).append(here)
                    present |= 1 << left
            if len(unused := found[full + bool(rest) :]):
                rooms[room].appendleft(unused)
            elif not rooms[room]:
                present &= ~(1 << room)
    return bins, home


def _melted(home: np.ndarray, sizes: np.ndarray, harm: np.ndarray, bins: int, number: int) -> np.ndarray:
    """Which bins are emptied, [bins]: at most `number`, and none of what is `WHOLE`.

    Whichever it is, the room that is gained is that of one bin; so those with the least `harm` in cutting a window,
    then those with the fewest windows, and of these the emptiest.
    """
    solid = home >= 0
    hardest = np.full(bins, -1)
    np.maximum.at(hardest, home[solid], harm[solid])
    windows = np.bincount(home[solid], minlength=bins)
    fill = np.bincount(home[solid], sizes[solid], minlength=bins)
    order = np.lexsort((fill, windows, hardest))
    melted = np.zeros(bins, bool)
    melted[order[hardest[order] < 2 * WHOLE - 1][:number]] = True
    return melted


def _pour(sizes: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, ...]:
    """Windows one after another into gaps one after another: the window, its offset, the length and the gap of each
    piece, as far as both last."""
    window_ends, gap_ends = np.cumsum(sizes), np.cumsum(gaps)
    end = min(sizes.sum(), gaps.sum())
    edges = np.concatenate([[0], window_ends[window_ends < end], gap_ends[gap_ends < end], [end]])
    edges = np.sort(edges, kind="stable")  # as fast as merging what is sorted
    edges = edges[np.diff(edges, prepend=-1) > 0]
    begins = edges[:-1]
    which = np.searchsorted(window_ends, begins, side="right")
    into = np.searchsorted(gap_ends, begins, side="right")
    return which, begins - (window_ends - sizes)[which], np.diff(edges), into


@dataclass(frozen=True)
class Pack:
    """Transform after the shuffle: the `PLACED` rows of one bucket to `SEQUENCE` rows.

    Their order matters only to those with the same key, id, chunk and epoch: of an id that several documents have.

    A window that is not placed to its end is dropped as `remainder`, one that is to stay whole and is longer than a
    sequence as `too_long`, one without tokens as `empty`. Memory: the tokens of a bucket twice.
    """

    sequence_length: int
    pad: int
    how: str = "concat"

    def schema(self, rows: pa.Schema) -> pa.Schema:
        return SEQUENCE

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            batch = batch.select([name for name in PLACED.names if name != "bucket"])
            sizes = pc.fill_null(pc.list_value_length(batch["tokens"]), 0)
            too_long = pc.and_(pc.equal(batch["whole"], WHOLE), pc.greater(sizes, self.sequence_length))
            why = pc.case_when(
                pc.make_struct(batch["reason"].is_valid(), pc.equal(sizes, 0), too_long),
                batch["reason"],
                pa.scalar("empty"),
                pa.scalar("too_long"),
            )
            if why.null_count == len(why):
                held.append(batch)
                continue
            yield _unused(batch.filter(why.is_valid()), why.drop_null())
            held.append(batch.filter(why.is_null()))
        if any(batch.num_rows for batch in held):
            yield from self.packed(held)

    def packed(self, held: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = pa.Table.from_batches(held)
        values = np.concatenate([batch["tokens"].flatten().to_numpy() for batch in held])
        sizes = pc.list_value_length(rows["tokens"]).to_numpy()
        rows = rows.drop_columns(["tokens"]).combine_chunks()
        held.clear()
        order = pc.sort_indices(rows, [(name, "ascending") for name in ("key", "id", "chunk", "epoch")])
        rows, order = rows.take(order), order.to_numpy()
        starts, sizes = (np.cumsum(sizes, dtype=np.int64) - sizes)[order], sizes[order]
        keys, whole, chunk = (rows[name].to_numpy() for name in ("key", "whole", "chunk"))
        pieces = pack(sizes, whole, chunk > 0, keys, self.sequence_length, self.how)

        step = max(_TOKENS // self.sequence_length, 1)
        bounds = np.searchsorted(pieces.sequence, np.arange(0, pieces.sequences + step, step))
        padding = np.full(self.sequence_length, self.pad, np.int32)
        columns = {name: rows[name].combine_chunks() for name in ("id", "source", "chunk", "epoch")}
        for left, right in pairwise(bounds.tolist()):
            window, offset, length = (
                values[left:right] for values in (pieces.window, pieces.offset, pieces.length)
            )
            begin = (starts[window] + offset).tolist()
            tokens = np.concatenate(
                [
                    values[a : a + n] if w >= 0 else padding[:n]
                    for w, a, n in zip(window.tolist(), begin, length.tolist(), strict=True)
                ]
            )
            yield self.batch(columns, sizes, tokens, pieces.sequence[left:right], window, offset, length)

        placed = np.bincount(pieces.window[pieces.window >= 0], pieces.length[pieces.window >= 0], len(sizes))
        over = np.flatnonzero(placed < sizes)
        if len(over):
            detail = [f"{sizes[i] - int(placed[i])} of {sizes[i]} tokens" for i in over.tolist()]
            lost = rows.take(over).to_batches()[0]
            lost = lost.set_column(lost.schema.get_field_index("detail"), "detail", pa.array(detail))
            yield _unused(lost, pa.array(["remainder"] * len(over)))

    def batch(
        self,
        columns: dict[str, pa.Array],
        sizes: np.ndarray,
        tokens: np.ndarray,
        sequence: np.ndarray,
        window: np.ndarray,
        offset: np.ndarray,
        length: np.ndarray,
    ) -> pa.RecordBatch:
        """Some sequences as rows, from the pieces in them."""
        count = len(tokens) // self.sequence_length
        sequence = sequence - sequence[0]
        ends = np.searchsorted(sequence, np.arange(count + 1))
        starts = np.cumsum(length) - length - sequence * self.sequence_length
        taken = pa.array(window, mask=window < 0)
        found = {
            **{name: column.take(taken) for name, column in columns.items()},
            **{"start": starts, "length": length, "offset": offset},
        }
        numbers = ("chunk", "epoch")
        found |= {name: found[name].fill_null(0) for name in numbers}
        kind = SPANS.value_type
        spans = pa.StructArray.from_arrays(
            [pa.array(found[field.name]).cast(field.type) for field in kind], fields=list(kind)
        )
        ended = (window >= 0) & (offset + length == sizes[window])
        lists = pa.array(np.arange(count + 1) * self.sequence_length, pa.int32())
        return pa.RecordBatch.from_arrays(
            [
                pa.ListArray.from_arrays(lists, pa.array(tokens, pa.int32())),
                pa.ListArray.from_arrays(pa.array(ends, pa.int32()), spans),
                pa.array(np.bincount(sequence[ended], minlength=count), pa.int32()),
                *(pa.nulls(count, field.type) for field in _ACCOUNTED[len(SEQUENCE) :]),
            ],
            schema=_JUDGED,
        )


_ACCOUNTED = [*SEQUENCE, pa.field("id", pa.string()), pa.field("source", pa.string()), *VERDICT]
_JUDGED = pa.schema(_ACCOUNTED)


def _unused(rows: pa.RecordBatch, why: pa.Array) -> pa.RecordBatch:
    """Windows that are in no sequence, each with its reason."""
    count = rows.num_rows
    columns = [
        pa.nulls(count, pa.list_(pa.int32())),
        pa.nulls(count, SPANS),
        pa.array(np.ones(count, np.int32)),
        *(rows[name] for name in ("id", "source")),
        why,
        rows["detail"],
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_JUDGED)


def packing_facts(batches: Iterable[pa.RecordBatch]) -> dict[str, int]:
    """Counts of `SEQUENCE` rows, to be added up over parts: a window is packed into one part.

    `sequences`, `tokens` (with padding), `padding`, `windows`, `pieces` of them, `cuts` (pieces that go on from
    another) and `windows_cut`.
    """
    facts = dict.fromkeys(("sequences", "tokens", "padding", "windows", "pieces", "cuts"), 0)
    cut: set[tuple[str, str, int, int]] = set()
    for batch in batches:
        pieces = batch["documents"].flatten()
        length, offset = pieces.field("length"), pieces.field("offset").to_numpy()
        is_text = pieces.field("id").is_valid().to_numpy(zero_copy_only=False)
        goes_on = is_text & (offset > 0)
        facts["sequences"] += batch.num_rows
        facts["tokens"] += int(length.to_numpy().sum())
        facts["padding"] += int(length.to_numpy()[~is_text].sum())
        facts["windows"] += int((is_text & (offset == 0)).sum())
        facts["pieces"] += int(is_text.sum())
        facts["cuts"] += int(goes_on.sum())
        cut.update(
            zip(*(pieces.field(name).filter(pa.array(goes_on)).to_pylist()
                  for name in ("id", "source", "chunk", "epoch")), strict=True)
        )  # fmt: skip
    return facts | {"windows_cut": len(cut)}


def tokens_per_source(batches: Iterable[pa.RecordBatch]) -> dict[str, int]:
    """Tokens of each source in `SEQUENCE` rows; padding has the source ``."""
    total: dict[str, int] = {}
    for batch in batches:
        values = batch.column("documents").flatten()
        sources = values.field("source").fill_null("").to_numpy(zero_copy_only=False)
        lengths = values.field("length").to_numpy(zero_copy_only=False)
        for source in np.unique(sources):
            total[source] = total.get(source, 0) + int(lengths[sources == source].sum())
    return dict(sorted(total.items()))
