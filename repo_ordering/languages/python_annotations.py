"""Python: the shape of an annotation that is given as text."""

import functools

MAX_DEPTH = 6  # of arguments in arguments


@functools.lru_cache(maxsize=1 << 14)
def parse_annotation(text: str) -> tuple:
    """Alternatives of an annotation: (name, annotations of its arguments)."""
    return _parse(text, 0)


def _parse(text: str, depth: int) -> tuple:
    found = []
    for part in _split(text, "|"):
        name, bracket, rest = part.partition("[")
        arguments = _split(rest.rpartition("]")[0], ",") if bracket and depth < MAX_DEPTH else []
        found.append((name, tuple(_parse(argument, depth + 1) for argument in arguments)))
    return tuple(found)


def _split(text: str, mark: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
        elif character == mark and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
