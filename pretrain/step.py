"""One training step's gradients: the losses of a batch, a micro-batch at a time (V3 report, equations 24 and 25).

Shape suffixes: B sequences, S positions, T tokens, E experts, L expert layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.balance import auxiliary_loss
from pretrain.config import TrainingConfig
from pretrain.loader import Batch
from pretrain.loss import IGNORED, linear_cross_entropy
from pretrain.model import Transformer


@dataclass(frozen=True)
class Step:
    """What a batch gave: losses in nats a predicted token, without their weights."""

    loss: float
    mtp_loss: float | None  # mean over depths; None where none was asked for
    balance_loss: float  # the sequence-wise one, mean over layers
    source_losses: dict[str, float]  # of the next token, by the source it belongs to
    load_LE: Tensor  # tokens that chose each expert, int64, MTP's layers last


def gradients(
    model: Transformer, batch: Batch, config: TrainingConfig, mtp_weight: float, sources: list[str]
) -> Step:
    """Leave the gradient of the batch's loss in the model's parameters.

    The loss is the mean over all predicted tokens of the batch, whatever share of them a micro-batch happens to hold,
    plus `mtp_weight` times that of multi-token prediction, plus the balance losses. At a weight of 0 MTP is left out
    altogether, as if the model had none.
    """
    device = model.head.weight.device
    n_depths = len(model.mtp) if mtp_weight else 0
    depths = range(1, n_depths + 2)
    targets = [batch.targets(ahead, config.document_mask) for ahead in depths]
    counts = [max(1, int((t != IGNORED).sum())) for t in targets]
    n_sequences = len(batch.tokens_BS)
    pieces = config.sequence_length // batch.tokens_BS.shape[1]  # of a packed sequence
    micro = (config.micro_batch_sequences or n_sequences) * pieces

    sums = torch.zeros(3, dtype=torch.float64, device=device)
    by_source = torch.zeros(len(sources), dtype=torch.float64, device=device)
    load_LE = torch.zeros(
        config.model.n_moe_layers, config.model.n_routed_experts, dtype=torch.int64, device=device
    )
    for first in range(0, n_sequences, micro):
        part = slice(first, first + micro)
        tokens_BS = batch.tokens_BS[part].to(device)
        document_BS = batch.document_BS[part].to(device) if config.document_mask else None
        hidden, routings = model(tokens_BS, document_BS)
        ahead, more = model.predict_ahead(hidden, tokens_BS, document_BS) if n_depths else ([], [])
        routings += more

        losses, token_losses = [], []
        for h_BSD, target_BS, count in zip([hidden, *ahead], targets, counts, strict=True):
            target_T = target_BS[part, : h_BSD.shape[1]].flatten().to(device)
            total, each_T = linear_cross_entropy(h_BSD.flatten(0, 1), model.head.weight, target_T)
            losses.append(total / count)
            token_losses.append(each_T)
        loss = main = losses[0]
        if n_depths:
            mtp = torch.stack(losses[1:]).mean()
            loss = loss + mtp_weight * mtp
        share = len(tokens_BS) / n_sequences
        if routings:
            weighted, balance = auxiliary_loss(routings, config)
            loss = loss + share * weighted
        loss.backward()

        zero = torch.zeros_like(main)
        parts = main, mtp if n_depths else zero, share * balance if routings else zero
        sums += torch.stack(parts).detach()
        by_source += _by_source(token_losses[0], batch.source_BS[part].to(device), len(sources))
        if routings:
            load_LE[: len(routings)] += torch.stack([r.load_E for r in routings])

    main_loss, mtp_loss, balance_loss = sums.tolist()
    predicted = batch.source_BS[:, 1:][(targets[0] != IGNORED)[:, :-1]]
    n_predicted = torch.bincount(predicted, minlength=len(sources)).tolist()
    return Step(
        loss=main_loss,
        mtp_loss=mtp_loss if n_depths else None,
        balance_loss=balance_loss,
        source_losses={
            name: total / n
            for name, total, n in zip(sources, by_source.tolist(), n_predicted, strict=True)
            if n
        },
        load_LE=load_LE,
    )


def _by_source(losses_T: Tensor, source_BS: Tensor, n_sources: int) -> Tensor:
    """Sums of the losses by the source of the token that is predicted, one place on. float64 [n_sources]"""
    losses_BS = losses_T.view_as(source_BS)[:, :-1].double()
    there_BS = source_BS[:, 1:]
    return torch.stack([(losses_BS * (there_BS == source)).sum() for source in range(n_sources)])
