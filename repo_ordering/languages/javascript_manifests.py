"""JSON of JavaScript's tools: with comments and trailing commas, and the targets of `exports` and `imports`."""

import json
import re
from typing import Any

_JSON_NOISE = re.compile(r'("(?:[^"\\\n]++|\\.)*+"?)|//[^\n]*+|/\*.*?(?:\*/|\Z)', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\\n]++|\\.)*+"?)|,(?=\s*+[}\]])')
MAX_TARGETS = 64  # of one entry of `exports`


def read_json(text: str) -> dict:
    """JSON with comments and trailing commas; empty where it is something else."""
    for clean in (False, True):
        if clean:
            text = _JSON_NOISE.sub(lambda match: match[1] or " ", text)
            text = _TRAILING_COMMA.sub(lambda match: match[1] or "", text)
        try:
            value = json.loads(text.removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else {}
    return {}


def targets_of(entries: Any, subpath: str, mark: str) -> list[str]:
    """Targets of a subpath in `exports` or `imports`, of all conditions, in order."""
    if not isinstance(entries, dict) or not any(str(key).startswith(mark) for key in entries):
        entries = {".": entries} if mark == "." else {}
    best, middle = entries.get(subpath), ""
    if subpath not in entries or "*" in subpath:
        size = -1
        for pattern, value in entries.items():
            head, star, tail = pattern.partition("*")
            if (
                star
                and len(head) > size
                and len(subpath) >= len(head) + len(tail)
                and subpath.startswith(head)
                and subpath.endswith(tail)
            ):
                best, middle, size = value, subpath[len(head) : len(subpath) - len(tail)], len(head)
    found: list[str] = []
    waiting = [best]
    while waiting and len(found) < MAX_TARGETS:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value.replace("*", middle))
        elif isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            waiting += [value[key] for key in sorted(value, key=_rank, reverse=True)]
    return found


def _rank(condition: str) -> int:
    """Sources before what is built of them; otherwise as written (sorting is stable, then turned round)."""
    return {"source": 0, "development": 1}.get(condition, 2)
