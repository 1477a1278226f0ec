"""The whole syntax nodes of a piece of code, for cuts that respect its structure (AST-FIM, arXiv 2506.00204)."""

from corpus.guarded import Failed, shared_worker
from repo_ordering.languages import MODULES

Span = tuple[int, int]
_FIND = "repo_ordering.nodes_child:spans"
# More than fits any window; it keeps the parse within its limits of time wherever it runs.
MOST_CHARS = 1 << 20


def node_spans(language: str | None, text: str) -> list[Span]:
    """Spans in characters of the named nodes in a piece of code, by start, the larger of two first.

    A piece need not be a whole file: nodes with errors inside are left out, those beside them are not. Left out are
    also the root and nodes of one character. Of nodes with the same span there is one; of more than
    `nodes_child.MOST_NODES` the largest. There are none for a language that is not in `MODULES` or has no grammar
    there, and for text that cannot be parsed within the limits of `corpus.guarded`.
    """
    if language not in MODULES or len(text) > MOST_CHARS:
        return []
    try:
        return [(start, end) for start, end in shared_worker(_FIND).call(language, text)]
    except Failed:
        return []
