"""Blocks as light Markdown: headings, lists, quotations, tables and code, a blank line between paragraphs."""

from collections.abc import Iterable

from corpus.blocks import QUOTE, Block, Frame

_TERMS = frozenset(("dt", "dd"))
# Lists and quotations within each other that are drawn: beyond, an indentation says nothing any more.
_MAX_FRAMES = 10


def markdown(blocks: Iterable[Block]) -> str:
    """The text of `blocks`, in order."""
    out: list[str] = []
    before: Block | None = None
    opened: set[Frame] = set()
    for block in blocks:
        if before is not None:
            out.append("\n" if _is_tight(before, block) else "\n\n")
        out.append(_written(block, opened))
        before = block
    return "".join(out)


def _is_tight(before: Block, block: Block) -> bool:
    """Whether a block goes on the line below the one before it, as items of a list and definitions do."""
    if before.kind == "li":
        is_part = block.frame is not None and block.frame.has_heading
        return (block.kind == "li" or block.marker != "") and not is_part
    return before.kind in _TERMS and block.kind in _TERMS


def _written(block: Block, opened: set[Frame]) -> str:
    if block.kind == "code":  # as typed, wherever it stands
        return block.text
    text = block.text
    if block.kind[0] == "h":
        text = f"{'#' * int(block.kind[1])} {text}"
    if block.frame is None:
        return text
    first, others = _leads(block.frame, opened)
    return first + text.replace("\n", "\n" + others)


def _leads(frame: Frame | None, opened: set[Frame]) -> tuple[str, str]:
    """What stands before the first line of a block and before the others; the innermost item counts as opened.

    An item is opened by its first block that is content; one whose text is all furniture indents nothing.
    """
    first: list[str] = []
    others: list[str] = []
    is_innermost = True
    while frame is not None and len(first) < _MAX_FRAMES:
        blank = " " * len(frame.marker)
        if frame.marker == QUOTE:
            first.append(QUOTE)
            others.append(QUOTE)
        elif not frame.has_heading:
            if frame in opened:
                first.append(blank)
                others.append(blank)
            elif is_innermost:
                opened.add(frame)
                first.append(frame.marker)
                others.append(blank)
            is_innermost = False
        frame = frame.outer
    return "".join(reversed(first)), "".join(reversed(others))
