"""Lines that a crawl repeats: licence notes, menus, calls to subscribe, in pages that are otherwise no duplicates.

The unit is the line, as in CCNet (Wenzek et al., 2020, section 3.1) and RefinedWeb (Penedo et al., 2023, section 3.3),
but counted over documents: what stands in enough of them leaves all of them. A line counts if it

- has at least 30 letters, or at least 5 words and 20 letters; letters of scripts without spaces between words weigh
  three. What stands between single dollars is no letter: a formula may recur;
- is not inside fenced code, nor a fence (``` or ~~~, as CommonMark pairs them; an open one shields the rest);
- is not displayed mathematics: between two lines `$$`, or in a paragraph that contains `$$`, `\\[` or `\\begin{`;
- is not the head of a table, without which the rows below would be none.

So rows of dashes, of truth tables and of numbers stay. Lines are the same whatever their case and their white space;
digits, signs and marks distinguish them.
"""

import re
from collections.abc import Iterator

import numpy as np
import xxhash

_LETTERS_ALONE = 30
_LETTERS, _WORDS = 20, 5
# Bytes of a line in which letters are looked for.
_LOOKED_AT = 200
_NO_LETTERS = bytes(byte for byte in range(256) if not chr(byte).isalpha() or byte > 127)
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_INLINE = re.compile(rb"\$[^$]*\$")
# A fence may stand in a list or a quotation.
_FENCE = re.compile(r"(?P<before>[\s>*+-]*(?:\d{1,9}[.)]\s+)?)(?P<run>`{3,}(?=[^`]*$)|~{3,})")
_DISPLAY = ("$$", "\\[", "\\begin{")
_UNDER_HEAD = re.compile(r"[\s>]*+\|?(?:\s*+:?-++:?\s*+\|)++(?:\s*+:?-++:?)?\s*+")


def line_hashes(text: str) -> np.ndarray:
    """Hashes [L] uint64 of the lines of `text` that count, each once, sorted."""
    found = {key for _, key in _counting(text)}
    return np.sort(np.fromiter(found, np.uint64, len(found)))


def remove_lines(text: str, repeated: np.ndarray) -> tuple[str, list[tuple[str, int]]]:
    """`text` without its lines whose hash is in `repeated` (uint64, sorted), and these lines with their hashes.

    Nothing else changes, but for blank lines: where a line went, those behind it go too if there are some, or
    nothing, in front of it; at the end those in front of it go.
    """
    counting = list(_counting(text))
    hashes = np.array([key for _, key in counting], np.uint64)
    at = np.searchsorted(repeated, hashes)
    hits = np.zeros(len(hashes), bool)
    inside = at < len(repeated)
    hits[inside] = repeated[at[inside]] == hashes[inside]
    if not hits.any():
        return text, []
    gone = {counting[index][0]: counting[index][1] for index in np.flatnonzero(hits).tolist()}
    lines = text.split("\n")
    # What follows the last line break is a line only if there is something.
    ending = lines.pop() if not lines[-1] else None
    kept: list[str] = []
    removed: list[tuple[str, int]] = []
    is_behind_gap = False
    for number, line in enumerate(lines):
        if number in gone:
            removed.append((line, gone[number]))
            is_behind_gap = True
        elif is_behind_gap and _is_blank(line) and (not kept or _is_blank(kept[-1])):
            continue
        else:
            kept.append(line)
            is_behind_gap = is_behind_gap and _is_blank(line)
    if is_behind_gap:
        while kept and _is_blank(kept[-1]):
            kept.pop()
    if ending is not None and kept:
        kept.append(ending)
    return "\n".join(kept), removed


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _counting(text: str) -> Iterator[tuple[int, int]]:
    """Numbers of the lines that count, and their hashes: of lower case with single spaces."""
    lower = text.lower()
    has_shields = "```" in text or "~~~" in text or ("---" in text and "|" in text)
    has_shields = has_shields or any(mark in text for mark in _DISPLAY)
    shielded = _shielded(lower.split("\n")) if has_shields else b""
    # As bytes, because letters of ASCII are counted fastest there, and are often enough.
    for number, line in enumerate(lower.encode("utf-8", "surrogatepass").split(b"\n")):
        if len(line) < _LETTERS or (has_shields and shielded[number]):
            continue
        looked_at = (_INLINE.sub(b" ", line) if b"$" in line else line)[:_LOOKED_AT]
        letters = len(looked_at.translate(None, _NO_LETTERS))
        is_ascii = line.isascii()
        if letters < _LETTERS_ALONE and not is_ascii:
            letters = _letters(looked_at.decode("utf-8", "ignore"))
        if letters < _LETTERS or (letters < _LETTERS_ALONE and len(looked_at.split()) < _WORDS):
            continue
        if not is_ascii:  # there may be other blanks in it
            line = " ".join(line.decode("utf-8", "surrogatepass").split()).encode("utf-8", "surrogatepass")
        yield number, xxhash.xxh3_64_intdigest(b" ".join(line.split()))


def _letters(line: str) -> int:
    """Letters of all scripts, by their weight; exact below `_LETTERS_ALONE`."""
    letters = sum(map(str.isalpha, line))
    return letters if letters >= _LETTERS_ALONE else letters + 2 * len(_UNSPACED.findall(line))


def _shielded(lines: list[str]) -> bytearray:
    """1 for each line that is code, displayed mathematics or the head of a table."""
    shielded = bytearray(len(lines))
    fence: re.Match[str] | None = None
    paragraph = 0
    is_display = False
    opened: int | None = None  # the line `$$` that may open displayed mathematics
    for number, line in enumerate(lines):
        if fence is not None and (">" not in fence["before"] or line.lstrip().startswith(">")):
            shielded[number] = 1
            paragraph = number + 1
            if _closes(fence, line):
                fence = None
            continue
        fence = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence or _is_blank(line):
            if is_display:
                shielded[paragraph:number] = b"\1" * (number - paragraph)
            paragraph, is_display = number + 1, False
            if fence:
                shielded[number], opened = 1, None
        elif ("$" in line or "\\" in line) and any(mark in line for mark in _DISPLAY):
            is_display = True
            if line.strip() == "$$":
                if opened is not None:
                    shielded[opened:number] = b"\1" * (number - opened)
                opened = number if opened is None else None
        elif "---" in line and number and _UNDER_HEAD.fullmatch(line):
            shielded[number - 1] = 1
    if is_display:
        shielded[paragraph:] = b"\1" * (len(lines) - paragraph)
    return shielded


def _closes(fence: re.Match[str], line: str) -> bool:
    """Whether a line closes a fence: as long, as deep in quotations, nothing behind it, not indented like code."""
    bare = line.lstrip(" \t>")
    before = line[: len(line) - len(bare)]
    if before.count(">") != fence["before"].count(">") or len(before) - len(fence["before"]) > 3:
        return False
    bare = bare.rstrip()
    return bare.startswith(fence["run"]) and not bare.strip(fence["run"][0])
