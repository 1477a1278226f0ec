"""Loss on held-out documents, source by source."""

from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from pretrain.errors import TrainingError
from pretrain.load import load_model
from pretrain.loader import Batch
from pretrain.loss import token_losses
from pretrain.model import Transformer
from pretrain.shards import RowReader, Shards


class SourceLoss(TypedDict):
    """Mean cross-entropy (nats a token) over this many predicted tokens."""

    loss: float
    tokens: int


def heldout_loss(
    model: Transformer, shards: Shards, rows: list[int], batch_sequences: int, document_mask: bool = False
) -> dict[str, SourceLoss]:
    """The model's loss on these rows; a predicted token counts for the source of its document.

    With `document_mask` the first token of a document is not predicted.
    """
    device = next(model.parameters()).device
    reader, n_sources = RowReader(shards, 2), len(shards.sources)
    sums = np.zeros((n_sources, 2))
    for first in range(0, len(rows), batch_sequences):
        found = reader.read(np.array(rows[first : first + batch_sequences]))
        batch = Batch(*map(torch.from_numpy, found))
        targets = batch.targets(1, document_mask)
        with torch.no_grad():
            documents = batch.document_BS.to(device) if document_mask else None
            hidden, _ = model(batch.tokens_BS.to(device), documents)
            losses = token_losses(hidden.flatten(0, 1), model.head.weight, targets.flatten().to(device))
        # Position s predicts the token at s + 1, so its loss belongs to the source there.
        counted = (targets >= 0)[:, :-1].numpy()
        sources = batch.source_BS[:, 1:].numpy()[counted]
        values = losses.cpu().view_as(targets)[:, :-1].numpy().astype(np.float64)[counted]
        sums[:, 0] += np.bincount(sources, values, n_sources)
        sums[:, 1] += np.bincount(sources, minlength=n_sources)
    return {
        name: {"loss": float(total / count), "tokens": int(count)}
        for name, (total, count) in sorted(zip(shards.sources, sums, strict=True))
        if count
    }


def evaluate(
    path: str | Path,
    shards: str,
    *,
    batch_sequences: int = 8,
    max_sequences: int | None = None,
    device: str = "auto",
) -> dict[str, SourceLoss]:
    """Held-out loss of each source for a checkpoint, a run directory or an exported model.

    Raises TrainingError where the shards do not fit the model.
    """
    model, _ = load_model(path, device)
    data = Shards(shards)
    check_fit(data, model.config.vocab_size, model.config.max_position_embeddings)
    rows = list(range(min(len(data), max_sequences or len(data))))
    return heldout_loss(model, data, rows, batch_sequences)


def check_fit(shards: Shards, vocab_size: int, longest: int) -> None:
    """Refuse shards whose tokens or sequences the model has no place for."""
    if shards.vocabulary_size > vocab_size:
        raise TrainingError(
            f"{shards.path} was packed with a vocabulary of {shards.vocabulary_size} "
            f"but the model has {vocab_size}; "
            f"set vocab_size = {shards.vocabulary_size} or pack with the model's tokenizer"
        )
    if shards.sequence_length > longest:
        raise TrainingError(
            f"{shards.path} holds sequences of {shards.sequence_length} tokens "
            f"but the model takes {longest}; "
            f"pack with --sequence-length {longest} or raise max_position_embeddings"
        )
