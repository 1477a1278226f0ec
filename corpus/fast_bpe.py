"""Byte-level BPE at several times the speed of `tokenizers`, with the same ids.

Splitting a text into words and looking each of them up in a cache is most of the work; merging is left to
`tokenizers`' own model, once for each distinct word. The split is the one that the tokenizer.json names, rewritten for
Python's `re`: every character class in it is replaced by the code points that the engine inside `tokenizers` says it
has, so that no two Unicode tables have to agree. A pre-tokenizer that is not understood for certain is refused.
"""

import json
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise, product
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

CODE_POINTS = 0x110000
SURROGATES = slice(0xD800, 0xE000)  # no text has them
EMPTY = slice(0x40000, 0xE0000)  # planes in which no character is assigned
PRIVATE = slice(0xF0000, CODE_POINTS)
ASTRAL = re.compile("[\U00010000-\U0010ffff]")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # what ByteLevel(use_regex) does

# The parts of a pattern whose meaning Oniguruma and Python share.
ESCAPE = re.compile(r"\\(?:[pP]\{\^?\w+\}|u[0-9A-Fa-f]{4}|[sSdDrnt]|[^\w\s])")
GROUP = re.compile(r"\((?:\?:|\?!|\?=|\?i:|(?!\?))")
REPEAT = re.compile(r"(?:[?*+][?+]?|\{\d+(?:,\d*)?\}(?![?+*]))")
# Ignoring case is understood for English contractions only: other letters have folds of several characters.
CONTRACTIONS = re.compile(r"\(\?i:(?:'(?:s|t|re|ve|m|ll|d)\|?)+\)")
RUN = re.compile(r"(?:\[.*\]|\\[pP]\{\w+\}|\\[sd])(?P<times>\+|\{1,\d+\}|)", re.DOTALL)

# A text is cut where hardly a tokenizer joins anything: before a blank between two letters, and after a lone line break
# before a letter. Those that do are found out and get texts whole.
SEAM = re.compile(r"(?<=[A-Za-z])(?=[ \n][A-Za-z])|(?<=\S\n)(?=[A-Za-z一-龥])")
BLOCK_CHARS = 1 << 18
WORD_CHARS = 48  # longer words are rare and not kept
GENERATION_BYTES = 64_000_000

# GPT-2's alphabet: how byte-level BPE writes the 256 bytes.
_PLAIN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PLAIN]
ALPHABET = {byte: byte for byte in _PLAIN} | {byte: 256 + place for place, byte in enumerate(_OTHERS)}
BYTES = {chr(char): byte for byte, char in ALPHABET.items()}


class UnknownPattern(Exception):
    """A pre-tokenizer, a normalizer or a model that only `tokenizers` itself can follow."""


def blocks(text: str) -> Iterator[str]:
    """A text in parts of about `BLOCK_CHARS` characters that can be encoded one by one."""
    start = 0
    while len(text) - start > BLOCK_CHARS:
        seam = SEAM.search(text, start + BLOCK_CHARS)
        if seam is None:
            break
        yield text[start : seam.start()]
        start = seam.start()
    yield text[start:]


@lru_cache(maxsize=1)
def probes() -> str:
    """Every character, but of the empty planes and of the private ones the first."""
    ranges = (0, 0xD800), (0xE000, EMPTY.start + 1), (EMPTY.stop, PRIVATE.start + 1)
    return "".join(chr(char) for start, end in ranges for char in range(start, end))


@lru_cache(maxsize=16)
def members(expression: str) -> np.ndarray:
    """Which of all code points a character class has, in the engine inside `tokenizers` (bool, read-only)."""
    asked = probes()
    others = normalizers.Replace(Regex(f"(?:{expression})+"), "").normalize_str(asked)
    found = np.zeros(CODE_POINTS, bool)
    found[np.frombuffer(asked.encode("utf-32-le"), np.uint32)] = True
    found[np.frombuffer(others.encode("utf-32-le"), np.uint32)] = False
    found[PRIVATE] = found[PRIVATE.start]
    found[[0xFFFFE, 0xFFFFF, 0x10FFFE, 0x10FFFF]] = found[EMPTY] = found[EMPTY.start]
    found.flags.writeable = False
    return found


def written(mask: np.ndarray) -> str:
    """A class of the code points below U+10000 in `mask`, for `re`: there it is a bitmap and takes constant time."""

    def ranges(mask: np.ndarray) -> list[str]:
        edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
        return [f"\\u{a:04x}-\\u{b - 1:04x}" for a, b in zip(edges[::2], edges[1::2], strict=True)]

    inside, outside = ranges(mask[:0x10000]), ranges(~mask[:0x10000])
    if not inside:
        return "(?!)"
    shorter = inside if not outside or len(inside) <= len(outside) else ["^", *outside]
    return f"[{''.join(shorter)}]"


@dataclass
class Pattern:
    """A pattern of a tokenizer.json in the terms of `re`, for texts below U+10000.

    Attributes:
        masks: the code points of each class in it.
        literals: the characters that stand for themselves.
    """

    masks: list[np.ndarray] = field(default_factory=list)
    literals: set[str] = field(default_factory=set)

    def classed(self, mask: np.ndarray) -> str:
        self.masks.append(mask)
        return written(mask)

    def translated(self, pattern: str, without: np.ndarray | None = None) -> str:
        """`pattern` for `re`, as it matches in texts that are cut wherever a character of `without` stands."""
        out, place = [], 0
        while place < len(pattern):
            rest, char = pattern[place:], pattern[place]
            if found := CONTRACTIONS.match(rest):
                self.literals.update("'STREVMLDstrevmld\u017f")
                out.append(found.group())
                taken = found.end()
            elif char == "[" or ESCAPE.match(rest):
                taken = class_end(rest) if char == "[" else ESCAPE.match(rest).end()  # type: ignore[union-attr]
                mask = members(rest[:taken])
                out.append(self.classed(mask if without is None else mask & ~without))
            elif char == "(" and (found := GROUP.match(rest)):
                if found.group() == "(?i:":
                    raise UnknownPattern(rest)
                out.append("(?:" if found.group() == "(" else found.group())
                taken = found.end()
            elif found := REPEAT.match(rest):
                out.append(found.group())
                taken = found.end()
            elif char in ")|":
                out.append(char)
                taken = 1
            elif (
                char in "\\.^$()[]{}?*+" or ord(char) > 0xFFFF or (without is not None and without[ord(char)])
            ):
                raise UnknownPattern(rest)
            else:
                self.literals.add(char)
                out.append(re.escape(char))
                taken = 1
            place += taken
        return "".join(out)

    def kinds(self) -> np.ndarray:
        """Of each code point the classes that have it, a bit each (uint64)."""
        if len(self.masks) > 64:
            raise UnknownPattern("more classes than bits")
        found = np.zeros(CODE_POINTS, np.uint64)
        for place, mask in enumerate(self.masks):
            found |= mask.astype(np.uint64) << np.uint64(place)
        return found

    def examples(self, kinds: np.ndarray) -> dict[int, str]:
        """A character below U+10000 of each kind, none of the literals."""
        usable = np.ones(0x10000, bool)
        usable[SURROGATES] = False
        usable[[ord(char) for char in self.literals]] = False
        characters = np.flatnonzero(usable)
        found, first = np.unique(kinds[characters], return_index=True)
        return {int(kind): chr(characters[place]) for kind, place in zip(found, first, strict=True)}


def class_end(pattern: str) -> int:
    """Where the bracketed class ends with which a pattern begins."""
    place = 2 if pattern[1:2] == "^" else 1
    depth = 1
    if pattern[place : place + 1] == "]":
        raise UnknownPattern(pattern)
    while depth:
        if place >= len(pattern):
            raise UnknownPattern(pattern)
        char = pattern[place]
        depth += (char == "[") - (char == "]")
        place += 2 if char == "\\" else 1
    return place


def compiled(pattern: str) -> Callable[[str], list[str]]:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise UnknownPattern(str(error)) from None
    if found.match(""):
        raise UnknownPattern("it matches nothing")
    return found.findall


def digits() -> np.ndarray:
    """What the pre-tokenizer `Digits` takes for one."""
    # Between two letters whatever is one stands apart.
    pieces = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str("a".join(probes()))
    found = np.zeros(CODE_POINTS, bool)
    found[[ord(piece) for piece, _ in pieces if len(piece) == 1 and piece != "a"]] = True
    return found


def flat(step: Any, key: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, those of sequences one by one."""
    if step is None:
        return []
    found = json.loads(step.__getstate__()) if not isinstance(step, dict) else step
    return (
        [one for inner in found[key] for one in flat(inner, key)] if found["type"] == "Sequence" else [found]
    )


def pattern_of(step: dict[str, Any]) -> str:
    """The pattern of a step that sets its matches apart and keeps everything."""
    if step["type"] != "Split" or step["behavior"] != "Isolated" or step.get("invert"):
        raise UnknownPattern(step["type"])
    if "Regex" not in step["pattern"]:
        raise UnknownPattern("a string to split at")
    return step["pattern"]["Regex"]


class Splitter:
    """What a tokenizer's pre-tokenizer does to a text, as patterns of `re`.

    Its steps but the last set runs of some characters apart (digits in threes, Chinese); what they leave is split by
    the last one, and so is each run by itself.
    """

    def __init__(self, tokenizer: Tokenizer):
        steps = flat(tokenizer.pre_tokenizer, "pretokenizers")
        if not steps or steps[-1]["type"] != "ByteLevel" or steps[-1].get("add_prefix_space", True):
            raise UnknownPattern("not byte-level")
        known = Pattern()
        runs, apart = [], np.zeros(CODE_POINTS, bool)
        if steps[-1].get("use_regex", True):
            last, first = GPT2, steps[:-1]
        elif len(steps) > 1:
            last, first = pattern_of(steps[-2]), steps[:-2]
        else:
            raise UnknownPattern("nothing is split")
        for step in first:
            if step["type"] == "Digits":
                mask, times = digits(), "{1,1}" if step.get("individual_digits") else "+"
            elif run := RUN.fullmatch(pattern_of(step)):
                times = run["times"]
                mask = members(pattern_of(step).removesuffix(times))
            else:
                raise UnknownPattern(pattern_of(step))
            if (mask & apart).any():
                raise UnknownPattern("steps that share characters")
            runs.append(known.classed(mask) + times)
            apart |= mask
        rest = known.translated(last, apart)
        alone = known.translated(last)
        # What no match takes stays together up to the next one.
        self._find = compiled("|".join([*runs, rest, f"(?:(?!{rest}){known.classed(~apart)})+"]))
        self._find_in_run = re.compile(f"{alone}|(?:(?!{alone})[^\\ud800])+").findall
        self.apart = apart.tobytes() if runs else None
        self._kinds = known.kinds()
        self._like = known.examples(self._kinds)
        self._prove(tokenizer, known)

    def _prove(self, tokenizer: Tokenizer, known: Pattern) -> None:
        """Compare with the tokenizer on three characters of every kind in every order, whole and cut at seams."""
        kinds = sorted({*self._like.values(), *known.literals, *"a一 \n\r\t0'"})
        lines = " ".join("a" * count for count in range(1, 20))
        text = "\n".join(["".join(map("".join, product(kinds, repeat=3))), lines, *lines.split()])
        theirs = [text[start:end] for _, (start, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
        if self._words(text) != theirs:
            raise UnknownPattern("it splits otherwise than Python")
        if [word for part in SEAM.split(text) for word in self._words(part)] != theirs:
            raise UnknownPattern("it joins words over a blank or a line break")

    def _words(self, text: str) -> list[str]:
        return [word for run in self.split(text) for word in self.split_run(run)]

    @lru_cache(maxsize=4096)  # noqa: B019  (a tokenizer lives as long as its process)
    def _double(self, char: str) -> str:
        """A character below U+10000 that every class of the patterns treats like this one."""
        found = self._like.get(int(self._kinds[ord(char)]))
        if found is None:
            raise UnknownPattern(char)
        return found

    def _by(self, find: Any, text: str) -> list[str]:
        if text.isascii() or len(text.encode("utf-16-le")) == 2 * len(text):
            return find(text)
        ends = accumulate(
            map(len, find(ASTRAL.sub(lambda match: self._double(match.group()), text))), initial=0
        )
        return [text[start:end] for start, end in pairwise(ends)]

    def split(self, text: str) -> list[str]:
        """The words of a text and its runs, which `split_run` splits to words; joined they are the text."""
        return self._by(self._find, text)

    def split_run(self, word: str) -> list[str]:
        if self.apart is None or not self.apart[ord(word[0])]:
            return [word]
        return self._by(self._find_in_run, word)


class Cache(dict[str, bytes]):
    """Ids of words, as the bytes of an int32 array. Bounded: there are two generations, and the older one goes.

    Threads may share one: the worst that a race costs is a word looked up twice.
    """

    def __init__(self, find: Callable[[str], bytes]):
        super().__init__()
        self.find, self.older, self.size = find, dict[str, bytes](), 0

    def __missing__(self, word: str) -> bytes:
        found = self.older.get(word) or self.find(word)
        if len(word) > WORD_CHARS:
            return found
        if self.size > GENERATION_BYTES:
            self.older, self.size = dict(self), 0
            self.clear()
        self[word] = found
        self.size += 130 + 2 * len(word) + len(found)  # two objects and a place in the table
        return found


class FastBPE:
    """Ids of texts as `tokenizer.encode` gives them, without its added tokens.

    Raises:
        UnknownPattern: from the constructor: the tokenizer has to be used as it is; from `encode`: for this text.
    """

    def __init__(self, tokenizer: Tokenizer):
        model = tokenizer.model
        if not isinstance(model, models.BPE) or model.continuing_subword_prefix or model.end_of_word_suffix:
            raise UnknownPattern("not a byte-level BPE")
        normalizers = [step["type"] for step in flat(tokenizer.normalizer, "normalizers")]
        if any(name not in ("NFC", "NFKC", "NFD", "NFKD") for name in normalizers):
            raise UnknownPattern("a normalizer that changes ASCII")
        self.normalizer = tokenizer.normalizer if normalizers else None
        self.splitter = Splitter(tokenizer)
        self.model = model
        self.cache = Cache(self._merged)
        self._tokenizer = tokenizer

    def _merged(self, run: str) -> bytes:
        apart, tokenize = self.splitter.apart, self.model.tokenize
        if apart is None or not apart[ord(run[0])]:
            return array("i", [token.id for token in tokenize(byte_level(run))]).tobytes()
        words = self.splitter.split_run(run)
        return array("i", [token.id for word in words for token in tokenize(byte_level(word))]).tobytes()

    def _encode(self, block: str) -> np.ndarray:
        return np.frombuffer(b"".join(map(self.cache.__getitem__, self.splitter.split(block))), np.int32)

    def encode(self, text: str) -> np.ndarray:
        """Ids, int32."""
        if self.normalizer is not None and not text.isascii():
            text = self.normalizer.normalize_str(text)
        return np.concatenate([self._encode(block) for block in blocks(text)])

    @cached_property
    def _lengths(self) -> np.ndarray:
        """Bytes of each token."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        lengths = np.zeros(max(vocabulary.values(), default=0) + 1, np.int64)
        for token, number in vocabulary.items():
            lengths[number] = len(token)
        return lengths

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids, int32, and the character at which each token starts, int64, or the one before it where it starts
        inside a character."""
        if self.normalizer is not None and not text.isascii() and self.normalizer.normalize_str(text) != text:
            raise UnknownPattern("a text that is not normalized")
        ids, starts, base = [], [], 0
        for block in blocks(text):
            ids.append(self._encode(block))
            starts.append(self._starts(block, ids[-1]) + base)
            base += len(block)
        return np.concatenate(ids), np.concatenate(starts)

    def _starts(self, block: str, ids: np.ndarray) -> np.ndarray:
        content = np.frombuffer(block.encode(), np.uint8)
        lengths = self._lengths[ids]
        starts = np.cumsum(lengths) - lengths
        if len(content) != lengths.sum():
            raise UnknownPattern("bytes that the vocabulary does not have")
        if len(content) == len(block):
            return starts
        leads = (content & 0xC0) != 0x80
        characters = np.cumsum(leads) - 1
        return np.maximum.accumulate(np.where(leads[starts], characters[starts], 0))


def byte_level(word: str) -> str:
    """The bytes of a word as byte-level BPE writes them."""
    if word.isascii() and word.isprintable():
        return word.replace(" ", "\u0120")
    return word.encode().decode("latin-1").translate(ALPHABET)
