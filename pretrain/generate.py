"""What a model writes: sampling from the latent cache, and greedy decoding with drafts of the MTP modules.

Shape suffixes: S positions, D model width, V vocabulary; a single text is a batch of one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.attention import Cache
from pretrain.errors import TrainingError
from pretrain.load import load_model
from pretrain.model import Transformer

Watch = Callable[[list[int]], bool]


class Written(NamedTuple):
    """New token ids after a prompt, up to and without the end of the text; whether the model wrote that end; and the
    drafts of multi-token prediction, with how many of them the model itself would have written."""

    tokens: list[int]
    ended: bool = False
    drafted: int = 0
    accepted: int = 0


@torch.no_grad()
def sample(
    model: Transformer,
    prompt_tokens: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    seed: int,
    eos: int | None,
    watch: Watch | None = None,
) -> Written:
    """A token at a time. Temperature 0 takes the likeliest; else one of the `top_k` likeliest is drawn.

    Of a prompt that leaves too little room among the model's positions the beginning is left out. `watch` sees what
    has been written after each token and ends it by returning true. Raises TrainingError for a prompt that holds no
    tokens of the model, and where the new tokens alone fill its positions.
    """
    prompt = _prompt(model, prompt_tokens, max_new_tokens)
    caches = model.new_caches(1, len(prompt) + max_new_tokens)
    generator = torch.Generator().manual_seed(seed)

    def draw(logits_V: Tensor) -> int:
        values, ids = logits_V.float().cpu().topk(min(top_k, len(logits_V)))
        chances = ((values - values[0]) / temperature).softmax(-1)
        return int(ids[torch.multinomial(chances, 1, generator=generator)])

    last_D = read(model, prompt, caches)[0, -1]
    return go_on(model, last_D, caches, max_new_tokens, eos, watch, draw if temperature else likeliest)


@torch.no_grad()
def speculate(
    model: Transformer,
    prompt_tokens: Sequence[int],
    max_new_tokens: int,
    eos: int | None,
    n_draft: int | None = None,
    watch: Watch | None = None,
) -> Written:
    """The tokens of `sample` at temperature 0, in fewer passes: MTP modules draft the next tokens, one pass over all
    drafts tells which of them the model would have written (V3 report, section 5.4.3).

    `n_draft` is one a module unless given; where it is more, the last module goes on from its own states. `watch` sees
    what has been written after each pass. The same tokens but for rounding: a pass over several positions may decide
    otherwise where two tokens' scores are equal to the last bits. Raises TrainingError where the model has no MTP
    modules, and as `sample` does.
    """
    if not model.mtp:
        raise TrainingError(
            "the model has no multi-token prediction to draft with; generate without --speculative"
        )
    n_draft = len(model.mtp) if n_draft is None else n_draft
    text = _prompt(model, prompt_tokens, max_new_tokens)
    n_prompt, end = len(text), len(text) + max_new_tokens
    caches = model.new_caches(1, end)
    drafter = _Drafter(model, end)
    drafted = accepted = 0
    hidden_1SD = read(model, text, caches)
    text.append(likeliest(model.logits(hidden_1SD[0, -1])))
    while text[-1] != eos and len(text) < end and not (watch and watch(text[n_prompt:])):
        # No draft is for a place behind the end.
        drafts = drafter.draft(hidden_1SD, text, min(n_draft, end - len(text) - 1))
        hidden_1SD = read(model, [text[-1], *drafts], caches)
        own = model.logits(hidden_1SD[0]).argmax(-1).tolist()
        agreed = next((i for i, token in enumerate(drafts) if token != own[i]), len(drafts))
        new = own[: agreed + 1]
        new = new[: new.index(eos) + 1] if eos in new else new
        text += new
        drafted, accepted = drafted + len(drafts), accepted + min(agreed, len(new))
        # What was read after the first wrong draft never happened.
        hidden_1SD = hidden_1SD[:, : len(new)]
        for cache in caches:
            cache.cut(len(text) - 1)
    ended = text[-1] == eos
    return Written(text[n_prompt : len(text) - ended], ended, drafted, accepted)


class _Drafter:
    """The MTP modules along a text. Module k at position i reads the token at i + k, so its last k - 1 positions
    read drafts; what it kept of those is cut off again, and they are read anew when the tokens are known."""

    def __init__(self, model: Transformer, room: int) -> None:
        self.model, self.caches = model, model.new_draft_caches(1, room)
        # What module k has yet to read, from the position on where its cache ends.
        self.unread: list[Tensor | None] = [None] * len(self.caches)

    def draft(self, new_1SD: Tensor, text: list[int], count: int) -> list[int]:
        """`count` tokens after `text`, of which the last one has not been read; `new_1SD` are the main model's states
        at the positions before, as far as they have not been given."""
        known, n_read = list(text), len(text) - 1
        # Positions of the text, from 0 on, whose states the depth before will not have to make again.
        known_before, lengths = n_read, []
        for depth, cache in enumerate(self.caches[:count], start=1):
            begin, waiting = cache.length, self.unread[depth - 1]
            states_1SD = new_1SD if waiting is None else torch.cat((waiting, new_1SD), 1)
            new_1SD = self._step(depth, states_1SD, known[begin + depth : n_read + depth], known)
            lengths.append(max(n_read - depth + 1, begin))
            self.unread[depth - 1] = states_1SD[:, lengths[-1] - begin : known_before - begin]
            known_before = lengths[-1]
        for _ in range(len(self.caches), count):
            new_1SD = self._step(len(self.caches), new_1SD[:, -1:], known[-1:], known)
        for cache, length in zip(self.caches, lengths, strict=False):
            cache.cut(length)
        return known[len(text) :]

    def _step(self, depth: int, states_1SD: Tensor, ahead: list[int], known: list[int]) -> Tensor:
        """States of module `depth`; the token that the last of them predicts is added to `known`."""
        ahead_1S = torch.tensor([ahead], device=states_1SD.device)
        out_1SD = self.model.draft(depth, states_1SD, ahead_1S, self.caches[depth - 1])
        known.append(likeliest(self.model.logits(out_1SD[0, -1])))
        return out_1SD


def generate(
    path: str | Path,
    prompt_tokens: Sequence[int],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
    device: str = "auto",
    speculative: bool = False,
) -> Written:
    """Continue a prompt with a checkpoint, a run directory or an exported model; `speculative` means temperature 0."""
    model, special_tokens = load_model(path, device)
    eos = special_tokens.get("eos")
    if speculative:
        return speculate(model, prompt_tokens, max_new_tokens, eos)
    return sample(model, prompt_tokens, max_new_tokens, temperature, top_k, seed, eos)


def read(model: Transformer, tokens: Sequence[int], caches: list[Cache]) -> Tensor:
    """Hidden states [1, S, D] of tokens that go on where the caches end."""
    return model(torch.tensor([list(tokens)], device=model.head.weight.device), caches=caches)[0]


def likeliest(logits_V: Tensor) -> int:
    """The token with the highest score."""
    return int(logits_V.argmax())


def go_on(
    model: Transformer,
    last_D: Tensor,
    caches: list[Cache],
    max_new_tokens: int,
    eos: int | None,
    watch: Watch | None = None,
    choose: Callable[[Tensor], int] = likeliest,
) -> Written:
    """Write after what the caches hold; `last_D` is the hidden state of its last token."""
    written: list[int] = []
    while len(written) < max_new_tokens:
        token = choose(model.logits(last_D))
        if token == eos:
            return Written(written, ended=True)
        written.append(token)
        if (watch and watch(written)) or len(written) == max_new_tokens:
            break
        last_D = read(model, [token], caches)[0, -1]
    return Written(written)


def _prompt(model: Transformer, tokens: Sequence[int], room: int) -> list[int]:
    """The prompt, as much of its end as leaves `room` positions."""
    vocabulary, positions = model.config.vocab_size, model.config.max_position_embeddings
    if not len(tokens) or not all(0 <= token < vocabulary for token in tokens):
        raise TrainingError(f"the prompt must hold at least one token id, all from 0 to {vocabulary - 1}")
    if not 0 < room < positions:
        raise TrainingError(f"the model has {positions} positions; ask for 1 to {positions - 1} new tokens")
    return list(tokens)[-(positions - room) :]
