"""Fill-in-the-middle over one document, in characters, before it is packed.

DeepSeek-Coder (arXiv 2401.14196, section 3.1.2) and DeepSeek-V3 (arXiv 2412.19437, section 4.1) train on
prefix-suffix-middle; the suffix-prefix-middle layout that shares its form (variant 2 of Bavarian et al.,
arXiv 2207.14255) is a switch. Cuts fall between characters, so that they often fall inside what would have
been one token, as they do where a model is used; or around whole syntax nodes (AST-FIM, arXiv 2506.00204).

The result is pieces rather than a string: `("special", role)` or `("text", characters)`. Only a special piece
may become a control token, so a document that spells a sentinel out stays text. How tokenizers spell the roles
is in `corpus.tokens.SPECIAL`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import xxhash

BEGIN, HOLE, END, STOP = "fim_begin", "fim_hole", "fim_end", "eos"
Piece = tuple[str, str]
Span = tuple[int, int]


@dataclass(frozen=True)
class Fim:
    """Which regions of a document are cut, where, and how they are laid out.

    A region is a span of characters that may be rearranged: a file behind its path comment, or the whole of a
    document without files. A cut never runs across two. Every choice is drawn from a hash of (`seed`, document id,
    epoch): it depends on no other document, nor on who processes it when.

    Args:
        rate: at level "document" the share of documents with one cut region, each region as likely as the other.
            DeepSeek-Coder's documents are single files; of a sample with many files one at most is cut, so the
            share of files that are cut is smaller. At level "file" (StarCoder2's repository context, arXiv
            2402.19173) the share of regions, each drawn on its own.
        spm_rate: the share of cut regions in the suffix-prefix-middle layout.
        syntax_rate: the share of cut regions whose middle is made of whole syntax nodes, where nodes are given.
    """

    rate: float
    spm_rate: float = 0.0
    seed: int = 0
    level: str = "document"
    syntax_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "spm_rate", "syntax_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.level not in ("document", "file"):
            raise ValueError(f"level is 'document' or 'file', not {self.level!r}")

    def cut(self, regions: Iterable[Span], document_id: str, epoch: int = 0) -> list[Span]:
        """The regions that are cut, in the order given; an empty one never is."""
        some = [(start, end) for start, end in regions if start < end]
        if self.level == "file":
            return [span for span in some if self._uniform("cut", span, document_id, epoch) < self.rate]
        if not some or self._uniform("cut", some[0], document_id, epoch) >= self.rate:
            return []
        return [some[self._below(len(some), "file", some[0], document_id, epoch)]]

    def by_syntax(self, regions: Iterable[Span], document_id: str, epoch: int = 0) -> list[Span]:
        """Those of the regions that are cut whose middle is to be made of whole nodes."""
        return [
            span
            for span in self.cut(regions, document_id, epoch)
            if self.syntax_rate and self._uniform("syntax", span, document_id, epoch) < self.syntax_rate
        ]

    def pieces(
        self,
        text: str,
        document_id: str,
        epoch: int = 0,
        regions: Sequence[Span] | None = None,
        nodes: Mapping[Span, Sequence[Span]] | None = None,
    ) -> list[Piece]:
        """The document as pieces, cut or whole.

        A middle is never empty, prefix and suffix may be. Its places are uniform over all pairs of different ones,
        the region's ends included. Each cut region stands in its place:

            prefix-suffix-middle:  begin prefix hole suffix end middle
            suffix-prefix-middle:  begin hole suffix end prefix+middle

        and where anything follows, a stop behind it: a model must learn where to end a middle, and the way back
        where it ended.

        Args:
            regions: (start, end) of what may be cut, in characters, apart from each other; the whole where not given.
            nodes: for regions in `by_syntax`, spans of syntax nodes in them, as offsets in `text`. A region without
                any is cut at random characters.

        Raises:
            ValueError: a region lies outside the text, or two that are cut overlap.
        """
        regions = [(0, len(text))] if regions is None else list(regions)
        for start, end in regions:
            if not 0 <= start <= len(text) or end > len(text):
                raise ValueError(
                    f"a span of {start} to {end} lies outside a document of {len(text)} characters"
                )
        by_syntax = set(self.by_syntax(regions, document_id, epoch)) if nodes else ()
        made: list[Piece] = []
        done = 0
        for region in sorted(self.cut(regions, document_id, epoch)):
            if region[0] < done:
                raise ValueError(f"the region of {region[0]} to {region[1]} overlaps the one before it")
            if made:
                made.append(("special", STOP))
            given = nodes.get(region, ()) if region in by_syntax else ()
            start, end = self._middle(region, given, document_id, epoch)
            spm = self._uniform("layout", region, document_id, epoch) < self.spm_rate
            made += _texts(text[done : region[0]])
            made += prompt(text[region[0] : start], text[end : region[1]], spm)
            if spm and start > region[0]:  # one text with the prefix before it, as one is read and written on
                made[-1] = ("text", text[region[0] : end])
            else:
                made.append(("text", text[start:end]))
            done = region[1]
        if made and done < len(text):
            made.append(("special", STOP))
        return made + _texts(text[done:])

    def _middle(self, region: Span, nodes: Sequence[Span], document_id: str, epoch: int) -> Span:
        """Where the middle of a region lies."""
        start, end = region
        # A pair of different places out of length + 1, without rejection: the second skips the first.
        places = end - start + 1
        first = self._below(places, "first", region, document_id, epoch)
        second = self._below(places - 1, "second", region, document_id, epoch)
        second += second >= first
        drawn = start + min(first, second), start + max(first, second)
        inside = {(a, b) for a, b in nodes if start <= a < b <= end and b - a > 1} - {region}
        if not inside:
            return drawn
        tree = sorted(inside, key=lambda span: (span[0], -span[1]))
        if self._uniform("run", region, document_id, epoch) < 0.5:
            run = aligned(drawn, region, tree)
            if run is not None:
                return run
        sizes = list(accumulate(b - a for a, b in tree))
        return tree[bisect_right(sizes, self._below(sizes[-1], "node", region, document_id, epoch))]

    def _draw(self, what: str, region: Span, document_id: str, epoch: int) -> int:
        """64 bits for one decision about one document, or about one region of it."""
        of = f"{what} {region[0]}" if self.level == "file" else what
        key = f"{of}\n{self.seed}\n{epoch}\n{document_id}"
        return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))

    def _uniform(self, what: str, region: Span, document_id: str, epoch: int) -> float:
        return (self._draw(what, region, document_id, epoch) >> 11) / (1 << 53)

    def _below(self, bound: int, what: str, region: Span, document_id: str, epoch: int) -> int:
        return self._draw(what, region, document_id, epoch) * bound >> 64


def prompt(prefix: str, suffix: str, spm: bool = False) -> list[Piece]:
    """What a model reads before it writes the middle, in the layout that `Fim` trains on."""
    head, tail = ("", prefix) if spm else (prefix, "")
    return [
        ("special", BEGIN), *_texts(head), ("special", HOLE), *_texts(suffix), ("special", END), *_texts(tail),
    ]  # fmt: skip


def aligned(drawn: Span, region: Span, tree: Sequence[Span]) -> Span | None:
    """The run of sibling nodes that comes closest to a span, by intersection over union.

    The siblings are the children of the smallest node that holds the span (or the region's outermost ones); where
    no run meets the span, it is that node itself. None where that would be the whole region.

    Args:
        tree: nodes in the region, by start, the larger of two first.
    """
    a, b = drawn
    holder = min((span for span in tree if span[0] <= a and b <= span[1]), key=_size, default=region)
    children: list[Span] = []
    for start, end in tree:
        is_below = holder[0] <= start and end <= holder[1] and (start, end) != holder
        if is_below and (not children or children[-1][1] <= start):
            children.append((start, end))
    first = sum(end <= a for _, end in children)
    last = sum(start < b for start, _ in children) - 1
    # Every node inside the span belongs to the best run: only its two ends are open, by one node each way.
    runs = [
        (children[i][0], children[j][1])
        for i in (first, first - 1, first + 1)
        for j in (last, last + 1, last - 1)
        if 0 <= i <= j < len(children)
    ]

    def overlap(span: Span) -> float:
        common = max(min(b, span[1]) - max(a, span[0]), 0)
        return common / (b - a + _size(span) - common)

    best = max(runs, key=overlap, default=holder)
    best = best if overlap(best) else holder
    return None if best == region else best


def invert(pieces: Iterable[Piece]) -> str:
    """The document that `pieces` were made of, exactly; raises ValueError for what `Fim` never makes.

    Both layouts need one rule only: what follows `end` goes where the hole is. (Suffix-prefix-middle is
    prefix-suffix-middle with an empty prefix and the prefix at the head of the middle.)
    """
    text: list[str] = []
    suffix: list[str] = []
    follows = {BEGIN: ("before", STOP), HOLE: (BEGIN,), END: (HOLE,), STOP: (END,)}
    state = "before"
    for kind, value in pieces:
        if kind == "text":
            (suffix if state == HOLE else text).append(value)
        elif state in follows.get(value, ()):
            state = value
            if state == STOP:
                text += suffix
                suffix = []
        else:
            raise ValueError(f"the control token {value} cannot follow {state}")
    if state in (BEGIN, HOLE):
        raise ValueError(f"the document ends after {state}, without its middle")
    return "".join(text + suffix)


def _texts(text: str) -> list[Piece]:
    """No piece for no text."""
    return [("text", text)] if text else []


def _size(span: Span) -> int:
    return span[1] - span[0]
