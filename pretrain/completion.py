"""A gap in a text and what a model puts there: the loss of what stood in it, and whether it writes the same.

Shape suffixes: S positions, D model width, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from pretrain.errors import TrainingError
from pretrain.generate import Written, go_on, read
from pretrain.model import Transformer


class Completed(NamedTuple):
    """The loss (nats a token) of the `tokens` that stood in the gap, and what the model wrote instead."""

    loss: float
    tokens: int
    written: Written


@torch.no_grad()
def complete(
    model: Transformer,
    prompt: Sequence[int],
    gold: Sequence[int],
    max_new_tokens: int,
    eos: int | None,
    watch: Callable[[list[int]], bool] | None = None,
) -> Completed:
    """Read a prompt once; take the loss of `gold` behind it, and write greedily from the same place.

    `watch` as in `generate.sample`. Raises TrainingError where prompt and gold are empty or exceed the model's
    positions.
    """
    room = len(prompt) + max(len(gold), max_new_tokens)
    if not len(prompt) or not len(gold):
        raise TrainingError("a completion needs a token before it and one in it")
    if room > model.config.max_position_embeddings:
        raise TrainingError(
            f"a completion of {room} tokens exceeds the model's {model.config.max_position_embeddings} positions"
        )
    caches = model.new_caches(1, room)
    last_1SD = read(model, prompt, caches)[:, -1:]
    ahead_1SD = read(model, gold[:-1], caches) if len(gold) > 1 else last_1SD[:, :0]
    logits_SV = model.logits(torch.cat((last_1SD, ahead_1SD), 1)[0]).float()
    loss = F.cross_entropy(logits_SV, torch.tensor(list(gold), device=logits_SV.device)).item()
    for cache in caches:
        cache.cut(len(prompt))
    return Completed(loss, len(gold), go_on(model, last_1SD[0, -1], caches, max_new_tokens, eos, watch))


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval that holds a rate with 95 % confidence (Wilson 1927); (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / trials / 4)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def edit_similarity(one: str, other: str) -> float:
    """Twice the length of the longest common subsequence over the length of both, as code completion is scored
    (CrossCodeEval, arXiv 2310.11248; rapidfuzz calls it `fuzz.ratio`); 1 for equal texts.

    The length comes from a word of bits, a character of `other` at a time (Hyyrö 2004).
    """
    if not one and not other:
        return 1.0
    places: dict[str, int] = {}
    for i, char in enumerate(one):
        places[char] = places.get(char, 0) | 1 << i
    full = (1 << len(one)) - 1
    unmatched = full
    for char in other:
        met = unmatched & places.get(char, 0)
        unmatched = ((unmatched + met) | (unmatched - met)) & full
    common = len(one) - unmatched.bit_count()
    return 2 * common / (len(one) + len(other))
