"""What every reader of MathML needs of its tree."""

import re

from lxml import etree

# Deeper trees are hostile: real formulas stay below thirty levels.
MAX_DEPTH = 100


class TooDeepError(ValueError):
    """A formula is nested deeper than MAX_DEPTH."""


def local_name(element: etree._Element) -> str:
    """The tag without namespace or prefix, in lower case; empty for comments and processing instructions."""
    tag = element.tag
    return tag.rsplit("}", 1)[-1].rsplit(":", 1)[-1].lower() if isinstance(tag, str) else ""


def children_of(element: etree._Element) -> list[etree._Element]:
    """Child elements, without comments and processing instructions."""
    return [child for child in element if isinstance(child.tag, str)]


def text_of(element: etree._Element) -> str:
    """All text inside, blanks trimmed and collapsed as MathML asks of its tokens."""
    return re.sub(r"[ \t\r\n]+", " ", "".join(element.itertext())).strip(" ")
