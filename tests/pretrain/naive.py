"""The model once more, from the papers' equations and nothing else: a position, a head and an expert at a time.

Works in the dtype of the parameters it is given (a dict by name), so that it serves as a float64 reference.
"""

import math

import torch
from torch import Tensor

from pretrain.config import ModelConfig

Parameters = dict[str, Tensor]


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean() + eps).sqrt() * weight


def frequencies(config: ModelConfig) -> list[float]:
    width, yarn = config.rope_dim, config.yarn
    plain = [config.rope_theta ** (-2 * i / width) for i in range(width // 2)]
    if yarn is None:
        return plain

    def pair(turns: float) -> float:
        return (
            width
            * math.log(yarn.original_max_position_embeddings / (2 * math.pi * turns))
            / (2 * math.log(config.rope_theta))
        )

    low, high = max(math.floor(pair(yarn.beta_fast)), 0), min(math.ceil(pair(yarn.beta_slow)), width - 1)
    mixed = []
    for i, f in enumerate(plain):
        stretched = min(max((i - low) / max(high - low, 0.001), 0.0), 1.0)
        mixed.append(stretched * f / yarn.factor + (1 - stretched) * f)
    return mixed


def turn(x: Tensor, position: int, config: ModelConfig) -> Tensor:
    """RoPE of one head at one position."""
    out = torch.empty_like(x)
    half = len(x) // 2
    for i, f in enumerate(frequencies(config)):
        a, b = (2 * i, 2 * i + 1) if config.attention == "mla" else (i, i + half)
        cos, sin = math.cos(position * f), math.sin(position * f)
        out[a] = x[a] * cos - x[b] * sin
        out[b] = x[a] * sin + x[b] * cos
    return out


def attention(
    x: list[Tensor], p: Parameters, at: str, config: ModelConfig, documents: list[int]
) -> list[Tensor]:
    queries, keys, values, scale = [], [], [], 0.0
    for t, u in enumerate(x):
        if config.attention == "mla":
            n, r, v = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
            scale = (n + r) ** -0.5
            if config.yarn and config.yarn.mscale_all_dim:
                scale *= (0.1 * config.yarn.mscale_all_dim * math.log(config.yarn.factor) + 1) ** 2
            if config.q_lora_rank:
                q = p[f"{at}.wq_b.weight"] @ rms(p[f"{at}.wq_a.weight"] @ u, p[f"{at}.q_norm.weight"], 1e-6)
            else:
                q = p[f"{at}.wq.weight"] @ u
            c = p[f"{at}.wkv_a.weight"] @ u
            latent, shared = c[: config.kv_lora_rank], turn(c[config.kv_lora_rank :], t, config)
            kv = p[f"{at}.wkv_b.weight"] @ rms(latent, p[f"{at}.kv_norm.weight"], 1e-6)
            heads = q.view(config.num_attention_heads, -1), kv.view(config.num_attention_heads, -1)
            queries.append([torch.cat((h[:n], turn(h[n:], t, config))) for h in heads[0]])
            keys.append([torch.cat((h[:n], shared)) for h in heads[1]])
            values.append([h[n : n + v] for h in heads[1]])
        else:
            scale = config.head_dim**-0.5
            share = config.num_attention_heads // config.num_key_value_heads
            q, k, v = (
                (p[f"{at}.{name}.weight"] @ u).view(-1, config.head_dim) for name in ("wq", "wk", "wv")
            )
            queries.append([turn(h, t, config) for h in q])
            keys.append([turn(k[i // share], t, config) for i in range(len(q))])
            values.append([v[i // share] for i in range(len(q))])
    out = []
    for t, q in enumerate(queries):
        seen = [s for s in range(t + 1) if documents[s] == documents[t]]
        heads = []
        for h, head in enumerate(q):
            chance = torch.stack([head @ keys[s][h] * scale for s in seen]).softmax(0)
            heads.append(sum(chance[i] * values[s][h] for i, s in enumerate(seen)))
        out.append(p[f"{at}.wo.weight"] @ torch.cat(heads))
    return out


def swiglu(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    gate = w1 @ x
    return w2 @ (gate * gate.sigmoid() * (w3 @ x))


def chosen(scores: Tensor, bias: Tensor | None, config: ModelConfig) -> list[int]:
    rank = (scores if bias is None else scores + bias).tolist()
    size = config.n_routed_experts // config.n_group
    groups = [list(range(g * size, (g + 1) * size)) for g in range(config.n_group)]
    best = 1 if bias is None else 2
    worth = [sum(sorted((rank[e] for e in group), reverse=True)[:best]) for group in groups]
    kept = sorted(range(config.n_group), key=lambda g: -worth[g])[: config.topk_group]
    allowed = [e for g in kept for e in groups[g]]
    return sorted(allowed, key=lambda e: -rank[e])[: config.num_experts_per_tok]


def moe(x: Tensor, p: Parameters, at: str, config: ModelConfig) -> Tensor:
    logits = p[f"{at}.router.weight"] @ x
    scores = logits.sigmoid() if config.scoring_func == "sigmoid" else logits.softmax(0)
    experts = chosen(scores.detach(), p.get(f"{at}.router.bias"), config)
    total = sum(scores[e] for e in experts) if config.norm_topk_prob else 1.0
    y = torch.zeros_like(x)
    if config.n_shared_experts:
        y = swiglu(x, *(p[f"{at}.shared.w{i}.weight"] for i in (1, 2, 3)))
    for e in experts:
        gate, up = p[f"{at}.experts.w13_EGD"][e].chunk(2)
        y = y + scores[e] / total * config.routed_scaling_factor * swiglu(
            x, gate, p[f"{at}.experts.w2_EDF"][e], up
        )
    return y


def block(
    x: list[Tensor], p: Parameters, at: str, config: ModelConfig, dense: bool, documents: list[int]
) -> list[Tensor]:
    normed = [rms(u, p[f"{at}.attention_norm.weight"], config.rms_norm_eps) for u in x]
    mixed = attention(normed, p, f"{at}.attention", config, documents)
    x = [u + v for u, v in zip(x, mixed, strict=True)]
    out = []
    for u in x:
        v = rms(u, p[f"{at}.mlp_norm.weight"], config.rms_norm_eps)
        if dense:
            out.append(u + swiglu(v, *(p[f"{at}.mlp.w{i}.weight"] for i in (1, 2, 3))))
        else:
            out.append(u + moe(v, p, f"{at}.mlp", config))
    return out


def logits(
    tokens: list[int], p: Parameters, config: ModelConfig, documents: list[int] | None = None
) -> list[Tensor]:
    """Scores of the main model and of each MTP depth: tensors [S, V], [S - 1, V], ..."""
    documents = documents or [0] * len(tokens)
    x = [p["embed.weight"][t] for t in tokens]
    for i in range(config.num_hidden_layers):
        x = block(x, p, f"blocks.{i}", config, i < config.n_dense_layers, documents)
    h = [rms(u, p["norm.weight"], config.rms_norm_eps) for u in x]
    found = [torch.stack([p["head.weight"] @ u for u in h])]
    for depth in range(1, config.num_nextn_predict_layers + 1):
        at = f"mtp.{depth - 1}"
        joined = [
            torch.cat(
                (
                    rms(p["embed.weight"][tokens[i + depth]], p[f"{at}.enorm.weight"], config.rms_norm_eps),
                    rms(h[i], p[f"{at}.hnorm.weight"], config.rms_norm_eps),
                )
            )
            for i in range(len(tokens) - depth)
        ]
        x = [p[f"{at}.eh_proj.weight"] @ u for u in joined]
        x = block(x, p, f"{at}.block", config, not config.n_routed_experts, documents)
        h = [rms(u, p[f"{at}.norm.weight"], config.rms_norm_eps) for u in x]
        found.append(torch.stack([p["head.weight"] @ u for u in h]))
    return found
