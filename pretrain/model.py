"""The transformer (V3 report, section 2): attention and DeepSeekMoE blocks, and multi-token prediction.

Shape suffixes: B sequences, S positions, D model width, V vocabulary.
"""

from typing import Literal

import torch
import xxhash
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pretrain.attention import Cache
from pretrain.config import ModelConfig
from pretrain.gqa import GQA
from pretrain.layers import Embedding, Linear, RMSNorm, SwiGLU
from pretrain.mla import MLA
from pretrain.moe import MoE, Routing
from pretrain.recompute import cheaply, recomputing
from pretrain.rope import rope_angles

Rope = tuple[Tensor, Tensor]


class Block(nn.Module):
    """Attention, then a dense or expert feed-forward layer, each on a normalised residual stream."""

    def __init__(self, config: ModelConfig, dense: bool) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = MLA(config) if config.attention == "mla" else GQA(config)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size) if dense else MoE(config)

    def forward(
        self, x_BSD: Tensor, rope: Rope, mask: Tensor | None = None, cache: Cache | None = None
    ) -> tuple[Tensor, Routing | None]:
        x_BSD = x_BSD + self.attention(cheaply(self.attention_norm, x_BSD), rope, mask, cache)
        out = self.mlp(cheaply(self.mlp_norm, x_BSD))
        y_BSD, routing = out if isinstance(out, tuple) else (out, None)
        return x_BSD + y_BSD, routing


class MTP(nn.Module):
    """One depth of multi-token prediction (V3 report, section 2.2); embedding and head are the model's own.

    The projection takes the embedding first and the hidden state second: the order of the released weights,
    not of the paper's formula.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.enorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.hnorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.eh_proj = Linear(2 * config.hidden_size, config.hidden_size)
        self.block = Block(config, dense=not config.n_routed_experts)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        h_BSD: Tensor,
        e_BSD: Tensor,
        rope: Rope,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> tuple[Tensor, Routing | None]:
        x_BSD = self.eh_proj(torch.cat((self.enorm(e_BSD), self.hnorm(h_BSD)), -1))
        x_BSD, routing = self.block(x_BSD, rope, mask, cache)
        return self.norm(x_BSD), routing


class Transformer(nn.Module):
    """Tokens int64 [B, S] to hidden states; `logits` turns those into predictions.

    `compute_dtype` is the dtype of activations and matrix products; parameters are float32. Weights are
    undefined until `init_weights` or a checkpoint fills them. `recompute` says which activations the backward pass
    makes again (`TrainingConfig.recompute`); it changes no result.
    """

    def __init__(self, config: ModelConfig, compute_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype
        self.recompute: Literal["none", "cheap", "block"] = "none"
        self.embed = Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            Block(config, dense=i < config.n_dense_layers) for i in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = Linear(config.hidden_size, config.vocab_size)
        self.mtp = nn.ModuleList(MTP(config) for _ in range(config.num_nextn_predict_layers))

    def forward(
        self, tokens_BS: Tensor, document_BS: Tensor | None = None, caches: list[Cache] | None = None
    ) -> tuple[Tensor, list[Routing]]:
        """Hidden states [B, S, D] after the final norm, and the routing of each expert layer in order.

        With `document_BS` (an integer naming each position's document) attention stays within documents. With
        `caches` (`new_caches`) the tokens go on where those end, and are added to them.
        """
        x_BSD = self._embedded(tokens_BS)
        first = caches[0].length if caches else 0
        rope, mask = self._rope(first, x_BSD), _mask(document_BS)
        routings = []
        for i, block in enumerate(self.blocks):
            x_BSD, routing = self._run(block, x_BSD, rope, mask, caches[i] if caches else None)
            if routing is not None:
                routings.append(routing)
        return self.norm(x_BSD), routings

    def predict_ahead(
        self, h_BSD: Tensor, tokens_BS: Tensor, document_BS: Tensor | None = None
    ) -> tuple[list[Tensor], list[Routing]]:
        """Hidden states [B, S - k, D] of each MTP depth k = 1, 2, ..., from those that `forward` returned.

        Position i of depth k has seen tokens up to i + k and predicts token i + k + 1. With `document_BS` that
        means something only where the two are in one document (`next_tokens`).
        """
        hidden, routings = [], []
        e_BSD = self._embedded(tokens_BS)
        for depth, module in enumerate(self.mtp, start=1):
            h_BSD = h_BSD[:, : tokens_BS.shape[1] - depth]
            # The last positions of a document have met the next one's tokens. They stay with their own, where
            # nothing that counts can look at them: it stands before them.
            mask = _mask(document_BS[:, : h_BSD.shape[1]] if document_BS is not None else None)
            h_BSD, routing = self._run(module, h_BSD, e_BSD[:, depth:], self._rope(0, h_BSD), mask)
            hidden.append(h_BSD)
            if routing is not None:
                routings.append(routing)
        return hidden, routings

    def draft(self, depth: int, h_BSD: Tensor, tokens_BS: Tensor, cache: Cache) -> Tensor:
        """Hidden states [B, S, D] of MTP module `depth` for positions that go on where `cache` ends.

        `h_BSD` are the states of the depth before (0: `forward`) at those positions, `tokens_BS` the tokens `depth`
        places after them; the result predicts the token after those.
        """
        rope = self._rope(cache.length, h_BSD)
        return self.mtp[depth - 1](h_BSD, self._embedded(tokens_BS), rope, None, cache)[0]

    def logits(self, h_BSD: Tensor) -> Tensor:
        """Scores [B, S, V] of the next token."""
        return self.head(h_BSD)

    def moe_layers(self) -> list[MoE]:
        """The expert layers in the order `forward` and then `predict_ahead` report them."""
        blocks = [*self.blocks, *(module.block for module in self.mtp)]
        return [block.mlp for block in blocks if isinstance(block.mlp, MoE)]

    def new_caches(self, batch: int, room: int) -> list[Cache]:
        """An empty cache for each layer, with room for so many positions of `batch` texts."""
        return [self._new_cache(block, batch, room) for block in self.blocks]

    def new_draft_caches(self, batch: int, room: int) -> list[Cache]:
        """The same for each MTP module."""
        return [self._new_cache(module.block, batch, room) for module in self.mtp]

    def _new_cache(self, block: Block, batch: int, room: int) -> Cache:
        width, device = block.attention.cache_width, self.head.weight.device
        return Cache(batch, room, width, device, self.compute_dtype)

    def _run(self, module: nn.Module, *inputs: Tensor | Rope | Cache | None) -> tuple[Tensor, Routing | None]:
        if not torch.is_grad_enabled() or self.recompute == "none":
            return module(*inputs)
        if self.recompute == "cheap":
            with recomputing():
                return module(*inputs)
        return checkpoint(module, *inputs, use_reentrant=False, preserve_rng_state=False)

    def _embedded(self, tokens_BS: Tensor) -> Tensor:
        return self.embed(tokens_BS).to(self.compute_dtype)

    def _rope(self, first: int, x_BSD: Tensor) -> Rope:
        return rope_angles(self.config, first, x_BSD.shape[1], x_BSD.device)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Matrices from N(0, initializer_range), norms one, biases zero; each from its own name and `seed`.

        A parameter's values thus depend on nothing but its name: neither on the device nor on its neighbours.
        """
        for name, weight in self.named_parameters():
            if weight.ndim < 2:
                weight.fill_(1.0)
                continue
            generator = torch.Generator().manual_seed(
                xxhash.xxh64_intdigest(name.encode(), seed) & (2**63 - 1)
            )
            values = torch.empty(weight.shape).normal_(
                0.0, self.config.initializer_range, generator=generator
            )
            weight.copy_(values)
        for layer in self.moe_layers():
            if layer.router.bias is not None:
                layer.router.bias.zero_()


def _mask(document_BS: Tensor | None) -> Tensor | None:
    """True [B, 1, S, S] where a query may look: back, and within its document."""
    if document_BS is None:
        return None
    same = document_BS[:, :, None] == document_BS[:, None, :]
    return same.tril()[:, None]


def count_parameters(model: Transformer) -> tuple[int, int]:
    """Parameters of the main model without MTP: all of them, and those that work on one token."""
    total = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("mtp."))
    config = model.config
    idle = config.n_routed_experts - config.num_experts_per_tok
    per_expert = 3 * config.hidden_size * (config.moe_intermediate_size or 0)
    return total, total - (config.num_hidden_layers - config.n_dense_layers) * idle * per_expert
