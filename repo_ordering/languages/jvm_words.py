"""Words of Java, Kotlin and Scala code, read off the text without its comments and strings."""

import re

MAX_CHAIN = 16  # steps of a.b().c that are followed

_NOISE = re.compile(
    rb"//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z)"
    rb'|"""(?:[^"]|"(?!""))*(?:"""|\Z)|"(?:[^"\\\n]|\\.)*(?:"|(?=\n)|\Z)'
    rb"|'(?:[^'\\\n]|\\[^\n]{1,6})'"
)
_TEMPLATE = re.compile(rb"\$\{([^{}]*)\}|\$([A-Za-z_]\w*)")
BARE = re.compile(r"(?<![\w$.@])([^\W\d][\w$]*)(\s*\()?")
CHAIN = re.compile(r"(?<![\w$.])[^\W\d][\w$]*(?:(?:\?|!!)?\.[^\W\d][\w$]*)*")
AFTER_DOT = re.compile(r"\.([^\W\d][\w$]*)")
_WORDS = """
abstract as assert boolean break byte case catch char class const continue data def default do double else enum
extends final finally float for forSome fun goto given if implements implicit import in init inline instanceof
int interface internal is it lateinit lazy long match native new null object open operator out override package
private protected public return sealed short static strictfp super suspend switch synchronized then this throw
throws trait transient true false try type typealias val var vararg void volatile when where while with
yield
"""
KEYWORDS = frozenset(_WORDS.split())


def code_of(source: bytes) -> str:
    """The text with its comments gone and of its strings only what `${}` evaluates."""

    def kept(found: re.Match) -> bytes:
        text = found[0]
        if text[:1] != b'"' or b"$" not in text:
            return b" "
        return b" " + b" ; ".join(a or b for a, b in _TEMPLATE.findall(text)) + b" "

    return _NOISE.sub(kept, source).decode("utf-8", "replace")


def bare_words(code: str) -> tuple[set[str], set[str]]:
    """Names that follow no dot: those that are called, and the others."""
    called: set[str] = set()
    named: set[str] = set()
    for word, is_call in set(BARE.findall(code)):
        (called if is_call else named).add(word)
    return called - KEYWORDS, named - KEYWORDS


def uses(code: str, types: dict[str, str]) -> dict[str, list]:
    """What Kotlin or Scala code names, as `jvm` wants it; `types` of variables, "" where not written."""
    called, named = bare_words(code)
    chains = set()
    for chain in set(CHAIN.findall(code)):
        if "." not in chain or len(chain) > 256:
            continue
        root, *steps = (word.rstrip("?!") for word in chain.split("."))
        kind = types.get(root)
        if root in ("this", "super"):
            chains.add(("this", *steps))
        elif kind:
            chains.add(("=" + kind, *steps))
        elif kind is None and root not in KEYWORDS:
            chains.add((root, *steps))
    local = {name for name in types if not name[:1].isupper()}
    return {
        "names": [],
        "called": sorted(called),
        "bare": sorted(named - local),
        "dotted": sorted(set(AFTER_DOT.findall(code))),
        "chains": sorted(list(chain)[: MAX_CHAIN + 1] for chain in chains),
    }
