"""A look at what a model writes: plain sampling, the whole prefix computed anew for each token."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pretrain.errors import TrainingError
from pretrain.load import load_model
from pretrain.model import Transformer


@torch.no_grad()
def sample(
    model: Transformer,
    prompt_tokens: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    seed: int,
    eos: int | None,
) -> list[int]:
    """New token ids after the prompt, up to and without `eos`. Temperature 0 takes the likeliest token."""
    if not prompt_tokens or not all(0 <= token < model.config.vocab_size for token in prompt_tokens):
        raise TrainingError(
            f"the prompt must hold at least one token id, all below {model.config.vocab_size}"
        )
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    tokens, written = list(prompt_tokens), []
    for _ in range(max_new_tokens):
        window = torch.tensor([tokens[-model.config.max_position_embeddings :]], device=device)
        hidden, _ = model(window)
        logits = model.logits(hidden[:, -1]).float()[0].cpu()
        if temperature == 0:
            token = int(logits.argmax())
        else:
            values, ids = logits.topk(min(top_k, len(logits)))
            chances = (values / temperature).softmax(-1)
            token = int(ids[torch.multinomial(chances, 1, generator=generator)])
        if token == eos:
            break
        tokens.append(token)
        written.append(token)
    return written


def generate(
    path: str | Path,
    prompt_tokens: Sequence[int],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
    device: str = "auto",
) -> list[int]:
    """Continue a prompt with a checkpoint, a run directory or an exported model; the new token ids."""
    model, special_tokens = load_model(path, device)
    return sample(model, prompt_tokens, max_new_tokens, temperature, top_k, seed, special_tokens.get("eos"))
