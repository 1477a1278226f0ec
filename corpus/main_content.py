"""Which blocks of a page are its content, and which are furniture: menus, sidebars, cookie walls, link lists.

A block is described by numbers: its length and links, the elements around it and what their names say, what it
shares its container with, where it stands. A small convolutional network over the sequence of blocks decides
(weights in `main_content.npz`, trained by `benchmarks/train_main_content.py`). A block with formulas or code always
stays, unless it is a list of links.
"""

import functools
import importlib.resources
import re
import tomllib
from collections import Counter

import numpy as np

from corpus.blocks import PLACES, Block, Walk

KINDS = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "dt", "dd", "table", "code")
_KIND_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
N_NUMBERS = 29 + 4 * 5  # of the features below that are neither a phrase, a kind nor a place
_SENTENCE_ENDS = frozenset('.!?。！？…:"”’)»')
# Whether a code point is a punctuation mark; a digit; a capital of the Latin, Greek or Cyrillic alphabet.
_IS_MARK, _IS_DIGIT, _IS_CAPITAL = np.zeros((3, 0x110000), bool)
_IS_MARK[[ord(mark) for mark in ",.;:!?，。、；：！？"]] = True
_IS_DIGIT[0x30:0x3A] = True
for _first, _last in ("AZ", "ÀÞ", "ΑΩ", "АЯ"):
    _IS_CAPITAL[ord(_first) : ord(_last) + 1] = True
_SHOWN = 120  # characters at the beginning of a block in which phrases are looked for
_PHRASES = tuple(
    tuple(phrases)
    for phrases in tomllib.loads(
        importlib.resources.files("corpus").joinpath("main_content.toml").read_text("utf-8")
    )["phrases"].values()
)
_DATE = re.compile(r"\d{4}[-/.年]\d|\d:\d\d")
# Blocks at least this likely to be content stay; a long paragraph without links, whose loss costs more, at least
# that likely. The lower bars hold where those before leave hardly anything: a short page, or one like none that the
# network has seen.
THRESHOLDS = ((0.45, 0.15), (0.15, 0.1), (0.05, 0.05))
LONG_PROSE = 200  # characters
_PART = 8192  # blocks
ENOUGH_CHARS, ENOUGH_SHARE = 250, 0.15


def main_content(walk: Walk, weights: list[int], title: str | None = None) -> list[Block]:
    """The blocks of a page that are content, in order; `weights` counts the formulas and code blocks in each.

    The first `h1` stays where it says what the page's `title` does.
    """
    blocks = walk.blocks
    if not blocks:
        return blocks
    likely = probabilities(features(walk, weights))
    chars = np.array([len(block.text) for block in blocks])
    plain = chars - np.array([block.link_chars for block in blocks])
    # A formula or a listing stands in hardly any furniture, and losing one costs more than keeping a menu.
    heavy = (np.array(weights) > 0) & (plain >= 0.5 * chars)
    enough = min(ENOUGH_CHARS, ENOUGH_SHARE * plain.sum())
    is_prose = (chars > LONG_PROSE) & (plain > 0.7 * chars)
    for ordinary, prose in THRESHOLDS:
        kept = heavy | (likely > np.where(is_prose, prose, ordinary))
        if plain[kept].sum() > enough:
            break
    else:
        kept[:] = True
    _drop_empty_sections(blocks, kept)
    headline = next((index for index, block in enumerate(blocks) if block.kind == "h1"), None)
    if headline is not None and title and _letters(blocks[headline].text) in _letters(title):
        kept[headline] = True
    return [block for block, keep in zip(blocks, kept, strict=True) if keep]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _drop_empty_sections(blocks: list[Block], kept: np.ndarray) -> None:
    """A heading goes with the section it opens: where all of that is furniture, it was furniture's heading."""
    following: Block | None = None
    for index in range(len(blocks) - 1, -1, -1):
        block = blocks[index]
        if not kept[index]:
            continue
        opens_nothing = index + 1 < len(blocks) and not kept[index + 1]
        ends_here = following is None or (following.kind[0] == "h" and following.kind <= block.kind)
        if block.kind[0] == "h" and block.kind != "h1" and opens_nothing and ends_here:
            kept[index] = False
        else:
            following = block


@functools.cache
def _network() -> dict[str, np.ndarray]:
    file = importlib.resources.files("corpus").joinpath("main_content.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files}


def probabilities(known: np.ndarray) -> np.ndarray:
    """How likely each block is to be content, from `features`: shape (blocks,).

    Two convolutions over five blocks each see a block's neighbours, the mean over all blocks sees the page. In
    float64, so that the last bits, which differ between processors, decide nothing.
    """
    net = _network()
    # A part at a time: all features of a page of many blocks in float64 would take 300 MB.
    parts = (known[at : at + _PART] @ net["own_weight"] for at in range(0, len(known), _PART))
    own = np.maximum(np.concatenate(list(parts)) + net["own_bias"], 0)
    hidden = _convolved(own, net["near_weight"]) + net["near_bias"] + own.mean(0) @ net["page_weight"]
    hidden = np.maximum(hidden, 0)
    hidden = np.maximum(_convolved(hidden, net["far_weight"]) + net["far_bias"], 0)
    logits = hidden @ net["hidden_weight"] + own @ net["skip_weight"] + net["bias"]
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def _convolved(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`rows` (n, in) convolved with `weight` (width, in, out), zeros beyond both ends."""
    width = len(weight)
    beyond = np.zeros((width // 2, rows.shape[1]))
    padded = np.concatenate([beyond, rows, beyond])
    return sum(padded[at : at + len(rows)] @ weight[at] for at in range(width))


def features(walk: Walk, weights: list[int]) -> np.ndarray:
    """What is known of each block: float32 of shape (blocks, features)."""
    blocks = walk.blocks
    n = len(blocks)
    texts = [block.text for block in blocks]
    chars = np.array([len(text) for text in texts], np.float32)
    links = np.array([block.link_chars for block in blocks], np.float32)
    plain = chars - links
    prose = np.where(chars >= 80, plain, 0)
    characters, starts = _characters(texts)
    words = 1 + _count(characters <= 32, starts)
    marks = _count(_IS_MARK[characters], starts)

    of = np.array([block.container for block in blocks])
    parents = np.maximum(np.array(walk.parents), 0)
    up1 = parents[of]
    up2 = parents[up1]
    up3 = parents[up2]
    held_chars, held_links, held_prose, held_blocks = (
        _held(values, of, walk) for values in (chars, links, prose, np.ones(n, np.float32))
    )
    inside, best_share = _best_container(walk, of, prose, marks)

    place = np.arange(n)
    h1 = [index for index, block in enumerate(blocks) if block.kind == "h1"]
    first_h1 = h1[0] if h1 else n
    repeats = Counter(texts)
    total_chars, total_prose = chars.sum(), prose.sum() + 1
    prose_before = np.cumsum(prose) - prose
    known = np.empty((n, N_NUMBERS + len(_PHRASES) + 1 + len(KINDS) + 3 * len(PLACES)), np.float32)
    numbers = [
        np.log1p(chars),
        np.log1p(words),
        links / chars,
        links >= chars * 0.95,
        chars / words / 10,
        np.log1p(marks),
        marks / words,
        _count(_IS_CAPITAL[characters], starts) / chars,
        _count(_IS_DIGIT[characters], starts) / chars,
        [text[-1] in _SENTENCE_ENDS for text in texts],
        [text[0].isupper() for text in texts],
        [repeats[text] > 1 for text in texts],
        np.log1p(np.array(weights, np.float32)),
        [block.marker != "" for block in blocks],
        np.minimum([block.indent for block in blocks], 4) / 4,
        [block.quote > 0 for block in blocks],
        place / n,
        (np.cumsum(chars) - chars) / total_chars,
        prose_before / total_prose,
        (total_prose - 1 - prose_before - prose) / total_prose,
        bool(h1),
        place > first_h1,
        np.clip((place - first_h1) / 20, -1, 1) if h1 else 0,
        inside,
        best_share,
        np.log1p(total_chars) / 10,
        links.sum() / total_chars,
        total_prose / total_chars,
        np.log1p(n) / 5,
    ]
    for up in (of, up1, up2, up3):
        held = held_chars[up]
        around = np.maximum(held, 1)
        share = held_prose[up]
        numbers += [
            np.log1p(held),
            held_links[up] / around,
            np.log1p(held_blocks[up]),
            share / total_prose,
            share / around,
        ]
    for column, values in enumerate(numbers):
        known[:, column] = values
    at = N_NUMBERS
    known[:, at : at + len(_PHRASES) + 1] = _said(texts)
    at += len(_PHRASES) + 1
    known[:, at : at + len(KINDS)] = 0
    known[place, [at + _KIND_NUMBER[block.kind] for block in blocks]] = 1
    at += len(KINDS)
    own = np.array(walk.own, np.uint64)
    places = np.array([block.places for block in blocks], np.uint64)
    for bits in (places, own[of] | own[up1], np.bitwise_or.reduce(places)):
        known[:, at : at + len(PLACES)] = np.unpackbits(
            np.atleast_1d(bits)[:, None].view(np.uint8), axis=1, count=len(PLACES), bitorder="little"
        )
        at += len(PLACES)
    return known


def _characters(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts, one after the other, and where each begins."""
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), np.uint32)
    return characters, np.cumsum([0, *map(len, texts[:-1])])


def _count(are: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How many characters of each text are such."""
    return np.add.reduceat(are, starts, dtype=np.float32)


def _said(texts: list[str]) -> np.ndarray:
    """For each group of phrases, and for dates, whether a text begins with one of them near: (texts, groups + 1)."""
    shown = [text[:_SHOWN] for text in texts]
    ends = np.cumsum([len(text) + 1 for text in shown])
    joined = "\n".join(shown)
    lower = joined.lower()
    if len(lower) != len(joined):  # a few capitals have longer small letters
        lower = "".join(one if len(one.lower()) != 1 else one.lower() for one in joined)
    said = np.zeros((len(texts), len(_PHRASES) + 1), np.float32)
    for group, phrases in enumerate(_PHRASES):
        for phrase in phrases:
            at = lower.find(phrase)
            while at >= 0:
                text = int(np.searchsorted(ends, at, side="right"))
                said[text, group] = 1
                at = lower.find(phrase, ends[text])
    for found in _DATE.finditer(joined):
        said[np.searchsorted(ends, found.start(), side="right"), -1] = 1
    return said


def _held(values: np.ndarray, of: np.ndarray, walk: Walk) -> np.ndarray:
    """The sum of `values` over all blocks in each container."""
    sums = np.cumsum(np.bincount(of, values, len(walk.parents)))
    return (sums[np.array(walk.ends) - 1] - np.concatenate([[0], sums[:-1]])).astype(np.float32)


def _best_container(
    walk: Walk, of: np.ndarray, prose: np.ndarray, marks: np.ndarray
) -> tuple[np.ndarray, float]:
    """1 for blocks in the container with the best prose, 0.5 in the one around it; and its share of all prose.

    As in Readability, a paragraph counts for its container, half for the one around that and a third beyond.
    """
    inside = np.zeros(len(of), np.float32)
    if not prose.any():
        return inside, 0.0
    score = np.where(prose > 0, 1 + marks + np.minimum(prose / 100, 3), 0)
    scores = np.zeros(len(walk.parents))
    parents = np.array(walk.parents)
    at = of
    for part in (1.0, 0.5, 0.33):
        np.add.at(scores, at[at >= 0], part * score[at >= 0])
        at = np.where(at >= 0, parents[at], -1)
    best = int(np.argmax(scores))
    around = walk.parents[best]
    if around >= 0:
        inside[(of >= around) & (of < walk.ends[around])] = 0.5
    here = (of >= best) & (of < walk.ends[best])
    inside[here] = 1
    return inside, float(prose[here].sum() / (prose.sum() + 1))
