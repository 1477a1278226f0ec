"""Fill-in-the-middle over one document, in characters, before it is packed.

DeepSeek-Coder (arXiv 2401.14196, section 3.1.2) and DeepSeek-V3 (arXiv 2412.19437, section 4.1) train on
prefix-suffix-middle; the suffix-prefix-middle layout that shares its form (variant 2 of Bavarian et al.,
arXiv 2207.14255) is a switch. Cuts fall between characters, so that they often fall inside what would have
been one token, as they do where a model is used.

The result is pieces rather than a string: `("special", role)` or `("text", characters)`. Only a special piece
may become a control token, so a document that spells a sentinel out stays text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import xxhash

from fim.sentinels import SENTINELS, Sentinels

BEGIN, HOLE, END, STOP = "fim_begin", "fim_hole", "fim_end", "eos"
Piece = tuple[str, str]
Span = tuple[int, int]


@dataclass(frozen=True)
class Fim:
    """Which documents are cut, where, and how they are laid out.

    `rate` is the share of documents cut, `spm_rate` the share of those in the suffix-prefix-middle layout.
    Every choice is drawn from a hash of (`seed`, document id, epoch): it does not depend on any other
    document, nor on who processes it when.
    """

    rate: float
    spm_rate: float = 0.0
    seed: int = 0
    sentinels: Sentinels = SENTINELS["deepseek"]

    def __post_init__(self) -> None:
        for name in ("rate", "spm_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")

    def split(self, text: str, document_id: str, epoch: int = 0) -> tuple[str, str, str] | None:
        """Prefix, middle and suffix of a document; None for one that stays as it is.

        The two cut points are uniform over all pairs of different places, the ends included: the middle is
        never empty, prefix and suffix may be. An empty document stays as it is.
        """
        span = self._middle([(0, len(text))], document_id, epoch)
        return span and (text[: span[0]], text[span[0] : span[1]], text[span[1] :])

    def pieces(
        self,
        text: str,
        document_id: str,
        epoch: int = 0,
        files: Sequence[Span] | None = None,
        protected: Span | None = None,
    ) -> list[Piece]:
        """The document as pieces, cut or whole.

        `files` are the (start, end) spans of what may be cut, in characters, where that is not all of `text`:
        of several one is chosen, each as likely as the other, and rearranged in its place; a cut never runs
        across two. `protected` is a span no cut may touch, the path comment; what stands before it in its
        file is left alone as well. `bodies` gives the spans of a repository document without their path
        comments. A document with nothing to cut stays whole.

        prefix-suffix-middle:  begin prefix hole suffix end middle
        suffix-prefix-middle:  begin hole suffix end prefix+middle
        """
        regions = [(0, len(text))] if files is None else list(files)
        if protected is not None:
            regions = [_behind(region, protected) for region in regions]
        for start, end in regions:
            if not 0 <= start <= len(text) or end > len(text):
                raise ValueError(
                    f"a span of {start} to {end} lies outside a document of {len(text)} characters"
                )
        span = self._middle(regions, document_id, epoch)
        if span is None:
            return _texts(text)
        start, end = next(region for region in regions if region[0] <= span[0] and span[1] <= region[1])
        prefix, middle, suffix = text[start : span[0]], text[span[0] : span[1]], text[span[1] : end]
        if self._uniform("layout", document_id, epoch) < self.spm_rate:
            prefix, middle = "", prefix + middle
        laid_out = [("special", BEGIN), *_texts(prefix), ("special", HOLE), *_texts(suffix)]
        laid_out += [("special", END), *_texts(middle)]
        after = text[end:]
        # Where more text follows, the middle needs its own stop: a model must learn where to end it, and
        # the way back where it ended.
        return [*_texts(text[:start]), *laid_out, *([("special", STOP), ("text", after)] if after else [])]

    def string(self, role: str) -> str:
        """How the tokenizer spells a FIM role (`fim_begin`, `fim_hole`, `fim_end`)."""
        return {BEGIN: self.sentinels.begin, HOLE: self.sentinels.hole, END: self.sentinels.end}[role]

    def _middle(self, regions: Sequence[Span], document_id: str, epoch: int) -> Span | None:
        """Where the middle lies, None for a document that is not cut."""
        regions = [(start, end) for start, end in regions if start < end]
        if not regions or self._uniform("cut", document_id, epoch) >= self.rate:
            return None
        start, end = regions[self._below(len(regions), "file", document_id, epoch)]
        # A pair of different places out of length + 1, without rejection: the second skips the first.
        places = end - start + 1
        first = self._below(places, "first", document_id, epoch)
        second = self._below(places - 1, "second", document_id, epoch)
        second += second >= first
        return start + min(first, second), start + max(first, second)

    def _draw(self, what: str, document_id: str, epoch: int) -> int:
        """64 bits for one decision about one document."""
        key = f"{what}\n{self.seed}\n{epoch}\n{document_id}"
        return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))

    def _uniform(self, what: str, document_id: str, epoch: int) -> float:
        return (self._draw(what, document_id, epoch) >> 11) / (1 << 53)

    def _below(self, bound: int, what: str, document_id: str, epoch: int) -> int:
        return self._draw(what, document_id, epoch) * bound >> 64


def bodies(text: str, files: Iterable[Span]) -> list[Span]:
    """Spans of a repository document without the first line of each, which is the path comment."""
    found = []
    for start, end in files:
        newline = text.find("\n", start, end)
        found.append((newline + 1 if newline >= 0 else end, end))
    return found


def invert(pieces: Iterable[Piece]) -> str:
    """The document that `pieces` were made of, exactly; raises ValueError for what `Fim` never makes.

    Both layouts need one rule only: what follows `end` goes where the hole is. (Suffix-prefix-middle is
    prefix-suffix-middle with an empty prefix and the prefix at the head of the middle.)
    """
    parts: dict[str, list[str]] = {"before": [], BEGIN: [], HOLE: [], END: [], STOP: []}
    follows = {BEGIN: "before", HOLE: BEGIN, END: HOLE, STOP: END}
    state = "before"
    for kind, value in pieces:
        if kind == "text":
            parts[state].append(value)
        elif follows.get(value) == state:
            state = value
        else:
            raise ValueError(f"the control token {value} cannot follow {state}")
    if state in (BEGIN, HOLE):
        raise ValueError(f"the document ends after {state}, without its middle")
    return "".join(part for role in ("before", BEGIN, END, HOLE, STOP) for part in parts[role])


def _texts(text: str) -> list[Piece]:
    """No piece for no text."""
    return [("text", text)] if text else []


def _behind(region: Span, protected: Span) -> Span:
    """What of a region lies behind a protected span that touches it."""
    start, end = region
    if protected[1] <= start or protected[0] >= end:
        return region
    return min(max(start, protected[1]), end), end
