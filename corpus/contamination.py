r"""Overlap with evaluation sets, as DeepSeekMath (section 2.1.1) and DeepSeek-Coder (section 2.4) state it.

A document that contains any 10-gram of a benchmark text goes. A benchmark text of 3 to 9 words counts when the whole
of it occurs, with the same signs (`signs`): so little else tells `return x + y` from (x, y). Shorter texts cannot be
used and are reported, not ignored in silence.

What a word is, is up to the profile `words` of `corpus.ngrams`: letters or digits, every Chinese character by itself;
case, accents, punctuation, spaces and line breaks are nothing. Texts, of both sides, are read in up to three ways
(`readings_of`): as typed, without what only spaces a formula, so that \left( 3\,x \right) and (3x) are the same, and
without any command that puts down neither letter nor digit, so that \frac{1}{2} \leq x and 1/2 ≤ x are. A match of any
two readings is a match.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from corpus.evaluation_sets import EvaluationText
from corpus.ngrams import Block, blocks, mixed, nfc, runs, spans
from corpus.schema import judged

NGRAM = 10
SHORTEST = 3
# Of an n-gram that a document repeats, so many places are looked at; all are alike.
PLACES = 8
SPANS = 16
# At least so many hits, and as many as are left of those before, are held until they are thinned out to these.
HELD = 1 << 20
EXCERPT = 200

CONTAMINATION = pa.schema(
    [
        *((name, pa.string()) for name in ("benchmark", "item", "field", "id", "url", "path")),
        *((name, pa.int64()) for name in ("start", "end", "matched_ngrams", "item_ngrams")),
        ("coverage", pa.float64()),
        ("excerpt", pa.string()),
        ("spans", pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))),
    ]
)
UNUSABLE = pa.schema([(name, pa.string()) for name in ("benchmark", "item", "field", "text")])

# Commands of TeX that only space a formula or size what is in it.
_SPACING_COMMANDS = """
    quad qquad enspace enskip thinspace medspace thickspace negthinspace negmedspace negthickspace hfill space
    left right middle big Big bigg Bigg bigl bigr bigm Bigl Bigr Bigm biggl biggr biggm Biggl Biggr Biggm
    displaystyle textstyle scriptstyle scriptscriptstyle limits nolimits nonumber notag
"""
# Those that put down neither a letter nor a digit: other renderings have a font there, a line, or a sign.
_BARE_COMMANDS = """
    text textrm textbf textit textsf texttt textnormal mbox hbox mathrm mathbf mathit mathsf mathtt mathnormal mathbb
    mathcal mathscr mathfrak boldsymbol bm pmb rm bf it sf tt operatorname ensuremath boxed fbox
    frac dfrac tfrac cfrac over atop sqrt
    cdot cdotp times div ast star pm mp leq le geq ge leqslant geqslant neq ne ll gg approx equiv sim simeq cong propto
    ldots dots cdots dotsc dotsb vdots ddots circ degree bullet prime colon lbrace rbrace lbrack rbrack langle rangle
    lvert rvert lVert rVert vert Vert mid nmid parallel perp angle triangle square infty
    in notin ni subset subseteq supset supseteq cup cap setminus emptyset varnothing forall exists neg lnot land wedge
    lor vee to gets mapsto rightarrow leftarrow Rightarrow Leftarrow longrightarrow leftrightarrow Leftrightarrow
    implies iff therefore because sum prod int iint oint partial nabla overline underline bar hat tilde vec widehat
    widetilde overrightarrow dot ddot lfloor rfloor lceil rceil oplus otimes
"""


def _one_of(commands: str) -> str:
    """A pattern for any of the commands; those that begin alike are tried only where the text does."""
    names = {command.lower() for command in commands.split()}
    groups = {first: sorted(group) for first, group in itertools.groupby(sorted(names), key=lambda n: n[:1])}
    return "|".join(f"{first}(?:{'|'.join(name[1:] for name in group)})" for first, group in groups.items())


_SPACING = re.compile(
    r"""\\\\?(?:
        (?:"""
    + _one_of(_SPACING_COMMANDS)
    + r""")(?![a-z])
      | (?:[hv]|m)space\*?\s?\{[^{}]{0,40}\}
      | (?:hskip|vskip|mskip|kern|mkern)\s?-?[\d.]{0,8}\s?(?:pt|em|ex|mu|cm|mm|in)\b
      | (?:begin|end)\s?\{(?:math|displaymath|equation|align|aligned|alignat|gather|gathered|multline|split|eqnarray
            |flalign)\*?\}
      | (?-i:[nrt])(?![a-z])  # a line break or tab that a dump of strings left written out
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE = re.compile(
    rf"\\\\?(?:[dtc]?frac(?P<above>\d)(?P<below>\d)(?!\d)|(?:{_one_of(_BARE_COMMANDS)})(?![a-z]))",
    re.IGNORECASE,
)
# The calculator's marks of GSM8K: 16 - 3 - 4 = <<16-3-4=9>>9.
_CALCULATED = re.compile(r"<<[-+*/=().,\d\s%$]{1,120}>>")
_REFERENCE = re.compile(r"&(?:amp;)?(?:amp|lt|gt|quot|apos|nbsp|#\d{1,7}|#x[\da-f]{1,6});", re.IGNORECASE)


# An underscore by itself is a name in code, so as typed it is read as a letter that is one.
_LONE_UNDERSCORES = re.compile(r"_(?<!\w_)_*(?!\w)")


def readings_of(text: str) -> list[str]:
    """The ways to read a text, as typed first; spaces stand for what is left out, so all are of its length."""
    typed = spaced = text
    if "_" in text:
        typed = _LONE_UNDERSCORES.sub(lambda match: "\u00b5".ljust(len(match[0])), text)
    if "\\" in text:
        spaced = _SPACING.sub(_blank, spaced)
    if "&" in text:
        spaced = _REFERENCE.sub(_blank, spaced)
    bare = _BARE.sub(_blank, spaced) if "\\" in spaced else spaced
    if "<<" in text:
        bare = _CALCULATED.sub(_blank, bare)
    return list(dict.fromkeys((typed, spaced, bare)))


def _blank(match: re.Match[str]) -> str:
    begin, end = match.span()
    if match.lastgroup == "below":  # \frac12
        return f"{match['above']} {match['below']}".rjust(end - begin)
    return " " * (end - begin)


# What is at the beginning of a line because of the page around it, and dashes between words.
_LINE_MARK = re.compile(r"(?m)^[^\S\n]*(?:[>|#*]|//)+")
_ESCAPE = re.compile(r"\\(?=[^\w\s])")
_DASH = re.compile(r"(?:(?<=[^\W\d_]{2})|(?<=[^\W\d_]{2} ))-+(?= ?[^\W\d_]{2})")
_SIGN = re.compile(r"[-+=<>/%]|(?<=[\w)\]])\*{1,2}(?=[\w(\[])|(?<= )\*{1,2}(?= )")
_OTHER_SIGNS = {ord(sign) + 0xFEE0: sign for sign in "+-=<>/%*"} | dict.fromkeys(
    map(ord, "\u2012\u2013\u2014\u2212"), "-"
)


def signs(text: str) -> str:
    """The signs of a text that are neither punctuation nor markup: + - = < > / % and * between what they join."""
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    text = readings_of(text.translate(_OTHER_SIGNS))[-1]
    text = _ESCAPE.sub("", text)
    return "".join(_SIGN.findall(_DASH.sub(" ", " ".join(_LINE_MARK.sub("", text).split()))))


class Found(NamedTuple):
    """An evaluation text in a document.

    Args:
        entry: index into `BenchmarkIndex.entries`.
        start, end: characters of the longest stretch, in the document's text in NFC.
        matched, total: distinct n-grams of the text that occur in the document, and those that it has.
        spans: the first stretches that match, in order.
    """

    entry: int
    start: int
    end: int
    matched: int
    total: int
    spans: tuple[tuple[int, int], ...]

    @property
    def coverage(self) -> float:
        return self.matched / self.total


@dataclass(frozen=True)
class BenchmarkIndex:
    """The n-grams of evaluation texts, as sorted hashes.

    Args:
        entries: (benchmark, item, field) of each text that can be looked for.
        hashes: [H] uint64, sorted, distinct: 10-grams, and whole texts of 3 to 9 words with their signs.
        offsets: [H + 1] int32 (int64 if need be) into `readings`: those that have the n-gram.
        readings: [E] int32. A reading is one way to read one variant of a text.
        entry_of, ngrams_of: [R] int32: the entry of a reading, and how many distinct n-grams it has.
        lengths: the numbers of words of whole texts, in order.
        anchors, wholes: [A], [W] uint64, sorted: the first 3-grams of whole texts, and all their words.
        unusable: (benchmark, item, field, text) of texts with fewer than 3 words.
    """

    entries: tuple[tuple[str, str, str], ...]
    hashes: np.ndarray
    offsets: np.ndarray
    readings: np.ndarray
    entry_of: np.ndarray
    ngrams_of: np.ndarray
    lengths: tuple[int, ...]
    anchors: np.ndarray
    wholes: np.ndarray
    unusable: tuple[tuple[str, str, str, str], ...]

    @classmethod
    def build(cls, texts: Sequence[EvaluationText]) -> "BenchmarkIndex":
        plans = [_readings(text.variants) for text in texts]
        flat = [reading for plan in plans for reading in plan]
        owner = np.repeat(np.arange(len(plans)), [len(plan) for plan in plans])
        words, grams, anchors, wholes = _ngrams_of(flat)
        usable = words >= SHORTEST
        kept_texts = np.unique(owner[usable])
        entry = np.full(len(plans), -1, np.int64)
        entry[kept_texts] = np.arange(len(kept_texts))
        pairs = grams[np.lexsort((grams["reading"], grams["hash"]))]
        pairs = pairs[np.concatenate([pairs[1:] != pairs[:-1], [True]])] if len(pairs) else pairs
        hashes, counts = np.unique(pairs["hash"], return_counts=True)
        return cls(
            entries=tuple((texts[t].benchmark, texts[t].item, texts[t].field) for t in kept_texts.tolist()),
            hashes=hashes,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(
                np.int64 if len(pairs) >> 31 else np.int32
            ),
            readings=pairs["reading"].astype(np.int32),
            entry_of=entry[owner].astype(np.int32),
            ngrams_of=np.bincount(pairs["reading"], minlength=len(flat)).astype(np.int32),
            lengths=tuple(sorted({int(n) for n in words[usable & (words < NGRAM)]})),
            anchors=np.unique(anchors),
            wholes=np.unique(wholes),
            unusable=tuple(
                (text.benchmark, text.item, text.field, text.variants[0])
                for text, place in zip(texts, entry.tolist(), strict=True)
                if place < 0
            ),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("filter", "anchor_filter")}

    @functools.cached_property
    def filter(self) -> "Filter":
        return Filter.of(self.hashes)

    @functools.cached_property
    def anchor_filter(self) -> "Filter":
        return Filter.of(self.anchors)

    def find(self, texts: Sequence[str]) -> list[list[Found]]:
        """For each document the evaluation texts in it, the most covered first."""
        typed = [nfc(text) for text in texts]
        readings = typed.copy()
        documents = list(range(len(texts)))
        for document in range(len(texts)):
            readings[document], *others = readings_of(typed[document])
            readings += others
            documents += [document] * len(others)
        found: list[list[Found]] = [[] for _ in texts]
        hits = self._hits(readings, np.array(documents), typed)
        if len(hits):
            edges = np.flatnonzero(np.diff(hits["document"])) + 1
            for group in np.split(hits, edges):
                found[int(group["document"][0])] = self._assembled(group)
        return found

    def _hits(self, readings: Sequence[str], documents: np.ndarray, typed: Sequence[str]) -> np.ndarray:
        """Known n-grams in readings of documents: [M] of `HIT`, sorted, each in few places.

        Args:
            documents: [R] int64, the document of each reading.
            typed: the documents as they are.
        """
        parts = [np.empty(0, HIT)]
        for block in blocks(readings, "words", NGRAM - 1):
            if sum(map(len, parts[1:])) > max(HELD, len(parts[0])):
                parts = [thinned(np.concatenate(parts))]
            hashes, tokens = block.ngrams(NGRAM)
            maybe = np.flatnonzero(self.filter.maybe(hashes))
            if len(maybe):
                parts.append(self._known(hits_at(block, documents, tokens[maybe], NGRAM), hashes[maybe]))
            if not self.lengths:
                continue
            hashes, tokens = block.ngrams(SHORTEST)
            maybe = np.flatnonzero(self.anchor_filter.maybe(hashes))
            tokens = tokens[maybe[contains(self.anchors, hashes[maybe])]]
            if not len(tokens):
                continue
            room = block.offsets[np.searchsorted(block.offsets, tokens, side="right")] - tokens
            for n in self.lengths:
                here = tokens[room >= n]
                hashes = spans(block.sums, here, here + n)
                whole = np.flatnonzero(contains(self.wholes, hashes))
                if not len(whole):
                    continue
                hits = hits_at(block, documents, here[whole], n)
                places = zip(
                    hits["document"].tolist(), hits["start"].tolist(), hits["end"].tolist(), strict=True
                )
                texts = [typed[document][start:end] for document, start, end in places]
                parts.append(self._known(hits, with_signs(hashes[whole], texts)))
        return thinned(np.concatenate(parts))

    def _known(self, hits: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        """The hits whose hashes are known, with the place of each among them."""
        hits["ngram"] = np.searchsorted(self.hashes, hashes)
        hits = hits[contains(self.hashes, hashes)]
        return thinned(hits) if len(hits) > PLACES else hits

    def _assembled(self, hits: np.ndarray) -> list[Found]:
        """What the hits in one document, sorted by n-gram and place, say of evaluation texts."""
        first = self.offsets[hits["ngram"]]
        counts = self.offsets[hits["ngram"] + 1] - first
        reading = self.readings[runs(first, counts)]
        hits = np.repeat(hits, counts)
        order = np.lexsort((hits["end"], hits["start"], reading))
        reading, hits = reading[order], hits[order]
        best: dict[int, Found] = {}
        edges = np.flatnonzero(np.diff(reading)) + 1
        for at, part in zip(np.concatenate([[0], edges]).tolist(), np.split(hits, edges), strict=True):
            one = int(reading[at])
            matched, total = len(np.unique(part["ngram"])), int(self.ngrams_of[one])
            stretches = _stretches(part["start"], part["end"])
            start, end = max(stretches, key=lambda s: (s[1] - s[0], -s[0]))
            found = Found(int(self.entry_of[one]), start, end, matched, total, tuple(stretches[:SPANS]))
            before = best.get(found.entry)
            if before is None or (found.coverage, found.matched) > (before.coverage, before.matched):
                best[found.entry] = found
        return sorted(best.values(), key=lambda f: (-f.coverage, -f.matched, f.entry))

    def judge(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """`batch` with verdicts, and a row of `CONTAMINATION` for each evaluation text in each document."""
        texts = [text or "" for text in batch.column("text").to_pylist()]
        verdicts: list[tuple[str, str] | None] = []
        rows: list[dict[str, Any]] = []
        names = [name for name in ("id", "url", "path") if name in batch.schema.names]
        for place, (text, all_found) in enumerate(zip(texts, self.find(texts), strict=True)):
            if not all_found:
                verdicts.append(None)
                continue
            text = nfc(text)
            about = {name: batch.column(name)[place].as_py() for name in names}
            here = [self._row(found, text) | about for found in all_found]
            rows += here
            verdicts.append(("contaminated", "{benchmark}#{item}: {excerpt}".format(**here[0])))
        return judged(batch, verdicts), pa.RecordBatch.from_pylist(rows, CONTAMINATION)

    def _row(self, found: Found, text: str) -> dict[str, Any]:
        return {
            **dict(zip(("benchmark", "item", "field"), self.entries[found.entry], strict=True)),
            "start": found.start,
            "end": found.end,
            "matched_ngrams": found.matched,
            "item_ngrams": found.total,
            "coverage": found.coverage,
            "excerpt": excerpt(text[found.start : min(found.end, found.start + 4 * EXCERPT)]),
            "spans": [{"start": start, "end": end} for start, end in found.spans],
        }


HIT = np.dtype([("document", np.int64), ("ngram", np.int64), ("start", np.int64), ("end", np.int64)])
GRAM = np.dtype([("hash", np.uint64), ("reading", np.int64)])


@dataclass(frozen=True)
class Filter:
    """A table of bits, small enough for a cache, that says of most hashes that they are not known."""

    bits: np.ndarray  # [2^width / 8] uint8
    shift: np.uint64

    @classmethod
    def of(cls, hashes: np.ndarray) -> "Filter":
        width = min(max(16, (16 * len(hashes)).bit_length()), 30)
        shift = np.uint64(64 - width)
        flags = np.zeros(1 << width, bool)
        flags[hashes >> shift] = True
        return cls(np.packbits(flags, bitorder="little"), shift)

    def maybe(self, hashes: np.ndarray) -> np.ndarray:
        places = (hashes >> self.shift).view(np.int64)
        return (self.bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1


def hits_at(block: Block, documents: np.ndarray, tokens: np.ndarray, n: int) -> np.ndarray:
    """[M] of `HIT`: where the n-grams are that begin with these tokens."""
    hits = np.empty(len(tokens), HIT)
    hits["document"] = documents[block.first + np.searchsorted(block.offsets, tokens, side="right") - 1]
    hits["start"] = block.starts[tokens]
    hits["end"] = block.ends[tokens + n - 1]
    return hits


def with_signs(hashes: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Hashes of runs of words, and of the signs in the texts that they were read from."""
    of_signs = [xxhash.xxh3_64_intdigest(signs(text).encode()) for text in texts]
    return mixed(hashes ^ np.array(of_signs, np.uint64))


def excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def contains(known: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Whether each hash is among the sorted ones."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    return known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes


def thinned(hits: np.ndarray) -> np.ndarray:
    """Hits sorted by document, n-gram and place, none twice, and of an n-gram in a document the first `PLACES`."""
    if not len(hits):
        return hits
    hits = hits[np.lexsort((hits["end"], hits["start"], hits["ngram"], hits["document"]))]
    differs = [hits[name][1:] != hits[name][:-1] for name in ("document", "ngram", "start")]
    begins = np.concatenate([[True], differs[0] | differs[1]])
    hits, begins = (part[np.concatenate([[True], begins[1:] | differs[2]])] for part in (hits, begins))
    first = np.flatnonzero(begins)
    rank = np.arange(len(hits)) - np.repeat(first, np.diff(np.append(first, len(hits))))
    return hits[rank < PLACES]


def _stretches(starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
    """Spans, sorted by where they start, with those that overlap joined."""
    reach = np.maximum.accumulate(ends)
    first = np.concatenate([[True], starts[1:] > reach[:-1]])
    last = np.append(first[1:], True)
    return list(zip(starts[first].tolist(), reach[last].tolist(), strict=True))


def _readings(variants: Sequence[str]) -> list[str]:
    """The ways in which a text is looked for: all readings of all its variants."""
    texts = [nfc(" ".join(variant.split())) for variant in variants]
    return list(dict.fromkeys(reading for text in texts for reading in readings_of(text)))


def _ngrams_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of words [R], n-grams [G] of `GRAM`; of whole texts the first 3-grams and the words, without signs."""
    words = np.zeros(len(texts), np.int64)
    grams: list[np.ndarray] = [np.empty(0, GRAM)]
    anchors: list[np.ndarray] = [np.empty(0, np.uint64)]
    wholes: list[np.ndarray] = [np.empty(0, np.uint64)]
    for block in blocks(texts, "words", NGRAM - 1):
        here = np.diff(block.offsets)
        here[0] += block.before
        readings = np.arange(block.first, block.first + len(here))
        words[readings] = here
        hashes, tokens = block.ngrams(NGRAM)
        reading = block.first + np.searchsorted(block.offsets, tokens, side="right") - 1
        if not block.finished:
            here = here[:-1]
        short = np.flatnonzero((here >= SHORTEST) & (here < NGRAM))
        begin, end = block.offsets[short], block.offsets[short] + here[short]
        anchors.append(spans(block.sums, begin, begin + SHORTEST))
        wholes.append(spans(block.sums, begin, end))
        cut = zip(
            readings[short].tolist(), block.starts[begin].tolist(), block.ends[end - 1].tolist(), strict=True
        )
        whole = with_signs(wholes[-1], [texts[one][start:stop] for one, start, stop in cut])
        part = np.empty(len(hashes) + len(whole), GRAM)
        part["hash"] = np.concatenate([hashes, whole])
        part["reading"] = np.concatenate([reading, readings[short]])
        grams.append(part)
    return words, np.concatenate(grams), np.concatenate(anchors), np.concatenate(wholes)
