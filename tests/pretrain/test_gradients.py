"""Values and gradients of every block against the naive model in float64."""

import pytest
import torch

from pretrain.config import ModelConfig, Yarn
from pretrain.presets import model_preset
from tests.pretrain import naive

SMALL = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 12}
SMALL |= {"num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3, "kv_lora_rank": 12}
YARN = Yarn(factor=8.0, original_max_position_embeddings=16, mscale=0.7, mscale_all_dim=0.7)
GQA = {"attention": "gqa", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
GQA |= dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
DENSE = dict.fromkeys(("n_routed_experts", "n_shared_experts", "num_experts_per_tok"), 0)

CASES: dict[str, dict] = {
    "v3": {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "yarn": YARN},
    "v2-lite": {
        "q_lora_rank": None,
        "scoring_func": "softmax",
        "norm_topk_prob": False,
        "n_shared_experts": 2,
    },
    "v2": {"scoring_func": "softmax", "norm_topk_prob": False, "n_group": 4, "topk_group": 2},
    "deepseekmoe": {**GQA, "scoring_func": "softmax", "norm_topk_prob": False, "n_shared_experts": 0},
    "dense": {**GQA, **DENSE, "moe_intermediate_size": None, "first_k_dense_replace": 0, "yarn": YARN},
    "two-depths": {"num_nextn_predict_layers": 2},
}


@pytest.mark.parametrize("recompute", ["none", "cheap", "block"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_naive_model(build_model, name, recompute):
    config: ModelConfig = model_preset("tiny", **(SMALL | CASES[name]))
    ours = build_model(config, seed=1).train()
    ours.recompute = recompute
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 32, (1, 9), generator=generator)
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]]) if name != "two-depths" else None

    hidden, _ = ours(tokens, documents)
    ahead, _ = ours.predict_ahead(hidden, tokens, documents)
    mine = [ours.logits(h)[0] for h in (hidden, *ahead)]
    # Every output under a weight of its own, so that no gradient hides behind another.
    weights = [torch.randn(m.shape, generator=generator) for m in mine]
    sum((m * w).sum() for m, w in zip(mine, weights, strict=True)).backward()

    exact = {k: v.detach().double() for k, v in ours.state_dict().items()}
    for parameter in (exact[k] for k, _ in ours.named_parameters()):
        parameter.requires_grad_()
    expected = naive.logits(
        tokens[0].tolist(), exact, config, documents[0].tolist() if documents is not None else None
    )
    sum((m * w.double()).sum() for m, w in zip(expected, weights, strict=True)).backward()

    for m, e in zip(mine, expected, strict=True):
        assert (m - e).abs().max() / e.abs().max() < 1e-5
    for k, parameter in ours.named_parameters():
        got, want = parameter.grad, exact[k].grad
        assert want is not None and want.abs().max() > 0, k
        assert (got - want).abs().max() / want.abs().max() < 2e-5, k
