"""Where formulas and code wait while a page's text is made: each is replaced by an ASCII word that nothing changes."""

import dataclasses
import re
from collections.abc import Callable

import xxhash

from corpus.formulas import Formula, clean_tex
from corpus.macros import Macros

# The element that stands for a code block in a page's tree; its text is the block's word.
SHELVED = "lode-block"
_MATHEMATICS = frozenset(("math", "katex", "latex-math", "mathjax"))


@dataclasses.dataclass(frozen=True, slots=True)
class Code:
    """Code as it was typed; `language` is None for code in a line, empty where the page does not say."""

    text: str
    language: str | None

    def __str__(self) -> str:
        return _ticked(self.text) if self.language is None else _fenced(self.text, self.language)


class Shelf:
    """The formulas and the code taken out of one page. `macros` are those of the page."""

    def __init__(self, html: str, macros: Macros):
        self.macros = macros
        # No page can hold a hash of itself, not even in pieces that only meet in its text.
        self.prefix = "Q" + "".join(
            chr(65 + int(digit, 16))
            for digit in xxhash.xxh3_64_hexdigest(html.encode("utf-8", "replace"))[:9]
        )
        self.things: list[Formula | Code] = []

    def formula(self, formula: Formula) -> str:
        """The word for a formula; nothing for one that only defines macros."""
        found = self.macros.formula(formula)
        if found is None:
            return ""
        formula = found
        if self.prefix in formula.tex:  # code inside a formula: a broken page
            formula = Formula(self._joined(formula.tex, self._bare), formula.display)
        return self._put(formula)

    def block(self, code: str, language: str) -> str:
        """The word for a block of code, which may be a formula."""
        if language in _MATHEMATICS:
            tex, _ = clean_tex(code)
            return self.formula(Formula(tex, True)) if tex else ""
        return self._put(Code(code, language))

    def inline(self, code: str) -> str:
        """The word for a piece of inline code; one that holds formulas stays text."""
        return code if self.prefix in code else self._put(Code(code, None))

    def _put(self, thing: Formula | Code) -> str:
        self.things.append(thing)
        return f"{self.prefix}{len(self.things) - 1}Z"

    def _bare(self, thing: Formula | Code) -> str:
        return thing.tex if isinstance(thing, Formula) else thing.text.replace("$", r"\$")

    def _joined(self, text: str, written: Callable[[Formula | Code], str]) -> str:
        first, *others = text.split(self.prefix)
        pieces = [first]
        for other in others:
            number, _, rest = other.partition("Z")
            whole = number.isdecimal()  # broken TeX can cut a word in two
            pieces += [written(self.things[int(number)]), rest] if whole else [other]
        return "".join(pieces)

    def held(self, text: str) -> list[Formula | Code]:
        """The things whose words are in a text, in order."""
        numbers = (other.partition("Z")[0] for other in text.split(self.prefix)[1:])
        return [self.things[int(number)] for number in numbers if number.isdecimal()]

    def weight(self, text: str) -> int:
        """How many formulas and code blocks (not code in a line) the words in a text stand for."""
        if self.prefix not in text:
            return 0
        return sum(1 for thing in self.held(text) if isinstance(thing, Formula) or thing.language is not None)

    def put_back(self, text: str) -> str:
        """`text` with the things in place of their words."""
        # Two dollars in a row, between formulas side by side, would open a displayed one.
        return self._joined(text.replace("Z" + self.prefix, "Z " + self.prefix), str)


def _fenced(code: str, language: str) -> str:
    """Code between fences longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`{3,}", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def _ticked(code: str) -> str:
    """Code of one line between backticks."""
    ticks = "`" * (1 + max(map(len, re.findall(r"`+", code)), default=0))
    pad = " " if "`" in code else ""
    return f"{ticks}{pad}{code}{pad}{ticks}"
