"""Loss on held-out documents, source by source: nats a token, and bits a byte of their text.

Shape suffixes: B sequences, S positions, V vocabulary.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import torch

from corpus.tokens import TextTokenizer
from pretrain.checkpoint import newest_checkpoint, read_state
from pretrain.errors import TrainingError
from pretrain.load import load_model
from pretrain.loader import Batch
from pretrain.loss import token_losses
from pretrain.model import Transformer
from pretrain.shards import RowReader, Shards


class SourceLoss(TypedDict):
    """Mean cross-entropy (nats a token) over this many predicted tokens; and where the tokenizer is known, of those
    that stand for text, bits a byte over this many bytes."""

    loss: float
    tokens: int
    bits_per_byte: NotRequired[float]
    bytes: NotRequired[int]


@torch.no_grad()
def heldout_loss(
    model: Transformer,
    shards: Shards,
    rows: list[int],
    batch_sequences: int,
    document_mask: bool = False,
    bytes_V: np.ndarray | None = None,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, SourceLoss]:
    """The model's loss on these rows; a predicted token counts for the source of its document.

    With `document_mask` the first token of a document is not predicted. With `bytes_V` (`token_bytes`) there are bits
    a byte as well. `show` is told how many rows are done.
    """
    device = model.head.weight.device
    reader, n_sources = RowReader(shards, 2), len(shards.sources)
    sums = np.zeros((4, n_sources))  # loss and tokens, then the loss of text and its bytes
    for first in range(0, len(rows), batch_sequences):
        found = reader.read(np.array(rows[first : first + batch_sequences]))
        batch = Batch(*map(torch.from_numpy, found))
        targets = batch.targets(1, document_mask)
        document_BS = batch.document_BS.to(device) if document_mask else None
        hidden, _ = model(batch.tokens_BS.to(device), document_BS)
        losses = token_losses(hidden.flatten(0, 1), model.head.weight, targets.flatten().to(device))
        # Position s predicts the token at s + 1, so its loss belongs to the source there.
        counted = (targets >= 0)[:, :-1].numpy()
        source = batch.source_BS[:, 1:].numpy()[counted]
        token = targets[:, :-1].numpy()[counted]
        loss = losses.cpu().view_as(targets)[:, :-1].numpy().astype(np.float64)[counted]
        size = np.zeros(len(token), np.int64) if bytes_V is None else bytes_V[token]
        for total, weights in zip(sums, (loss, np.ones(len(loss)), loss * (size > 0), size), strict=True):
            total += np.bincount(source, weights, n_sources)
        show(min(first + batch_sequences, len(rows)), len(rows))
    return {
        name: _source_loss(*numbers)
        for name, numbers in sorted(zip(shards.sources, sums.T.tolist(), strict=True))
        if numbers[1]
    }


def _source_loss(loss: float, tokens: float, text_loss: float, size: float) -> SourceLoss:
    found = SourceLoss(loss=loss / tokens, tokens=int(tokens))
    if size:
        found |= SourceLoss(bits_per_byte=text_loss / math.log(2) / size, bytes=int(size))
    return found


def token_bytes(tokenizer: TextTokenizer, vocab_size: int) -> np.ndarray:
    """Bytes of text that each token stands for, int64 [V]; 0 for special tokens, which stand for none.

    Raises TrainingError for a tokenizer whose tokens are not pieces of its text: one that is neither a byte-level BPE
    nor of SentencePiece's make.
    """
    vocabulary = tokenizer.tokenizer.get_vocab(with_added_tokens=False)
    added = {i: token.content for i, token in tokenizer.tokenizer.get_added_tokens_decoder().items()}
    special = {*tokenizer.reserved.values(), *tokenizer.special.values()}
    words = {i: word for word, i in vocabulary.items() if i not in added}
    if "ByteLevel" in repr(tokenizer.tokenizer.decoder):
        size = len  # a character a byte
    elif any("▁" in word for word in words.values()):
        size = _sentence_piece
    else:
        raise TrainingError(
            "bits a byte need a byte-level BPE or a SentencePiece tokenizer; leave --tokenizer out"
        )
    bytes_V = np.zeros(max(vocab_size, tokenizer.vocabulary_size), np.int64)
    for i, word in words.items():
        bytes_V[i] = size(word)
    for i, word in added.items():
        bytes_V[i] = len(word.encode())
    bytes_V[sorted(special)] = 0
    return bytes_V


def _sentence_piece(word: str) -> int:
    """A blank is written ▁, a byte without a character of its own <0x0A>."""
    is_byte = len(word) == 6 and word.startswith("<0x") and word.endswith(">")
    return 1 if is_byte else len(word.replace("▁", " ").encode())


def evaluate(
    path: str | Path,
    shards: str,
    *,
    tokenizer: str | None = None,
    batch_sequences: int = 8,
    max_sequences: int | None = None,
    device: str = "auto",
) -> dict[str, SourceLoss]:
    """Held-out loss of each source for a checkpoint, a run directory or an exported model; with a tokenizer.json, in
    bits a byte as well.

    Raises TrainingError where the shards, the model and the tokenizer do not fit each other.
    """
    model, _ = load_model(path, device)
    data = Shards(shards)
    check_fit(data, model.config.vocab_size, model.config.max_position_embeddings)
    check_tokenizer(data, trained_with(path).tokenizer, path)
    loaded = TextTokenizer.load(tokenizer) if tokenizer else None
    if loaded:
        check_tokenizer(data, loaded.fingerprint, tokenizer)
    bytes_V = token_bytes(loaded, model.config.vocab_size) if loaded else None
    rows = list(range(min(len(data), max_sequences or len(data))))
    return heldout_loss(model, data, rows, batch_sequences, bytes_V=bytes_V)


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


def check_tokenizer(shards: Shards, fingerprint: str | None, of: str | Path | None) -> None:
    """Refuse shards that were packed with another tokenizer than `of` is or was trained with, where that is known."""
    packed = shards.tokenizer_fingerprint
    if fingerprint and packed and fingerprint != packed:
        raise TrainingError(
            f"{shards.path} was packed with another tokenizer than that of {of}; "
            "the same ids are other words there: give what belongs together"
        )


class Trained(NamedTuple):
    """How a run saw its text: the tokenizer's fingerprint, and tokens of a sequence; None where nothing says."""

    tokenizer: str | None
    sequence_length: int | None


def trained_with(path: str | Path) -> Trained:
    """What a run or a checkpoint says of its training; nothing, of an imported model."""
    path = Path(path)
    is_one = (path / "state.json").exists()
    checkpoint = path if is_one else newest_checkpoint(path / "checkpoints") or newest_checkpoint(path)
    if checkpoint is None:
        return Trained(None, None)
    state = read_state(checkpoint)
    return Trained(state.shards.get("tokenizer_fingerprint"), state.config.get("sequence_length"))
