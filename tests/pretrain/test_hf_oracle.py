"""Exported models in transformers, and transformers' models here."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3ForCausalLM,
    FineGrainedFP8Config,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.modeling_layers import MtpModel
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

from pretrain import tensors as tensor_files
from pretrain.config import Yarn
from pretrain.errors import TrainingError
from pretrain.generate import sample
from pretrain.hf import export_hf, import_hf, load_hf
from pretrain.load import load_model
from pretrain.loss import linear_cross_entropy, next_tokens
from pretrain.presets import MODELS, model_preset
from tests.pretrain.exported import save_and_export

QUICKSTART = MODELS["quickstart"].model_copy(update={"vocab_size": 1024})
GROUPED = MODELS["tiny"].model_copy(
    update={"n_routed_experts": 16, "n_group": 4, "topk_group": 2, "q_lora_rank": None, "rope_theta": 50000.0}
)
NO_MTP = MODELS["tiny"].model_copy(update={"num_nextn_predict_layers": 0, "rms_norm_eps": 1e-5})
V2 = MODELS["tiny"].model_copy(
    update={
        "scoring_func": "softmax",
        "norm_topk_prob": False,
        "num_nextn_predict_layers": 0,
        "n_shared_experts": 2,
        "q_lora_rank": None,
    }
)


@pytest.fixture
def exported(build_model, save):
    """A model and the folder that it was exported to."""

    def make(config, **arguments):
        model = build_model(config)
        return model, save(model, **arguments)

    return make


@pytest.fixture
def save(tmp_path):
    """Save a model as a checkpoint and export it; the folder."""
    return partial(save_and_export, tmp_path)


def tokens(config, length: int = 40) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


YARN = Yarn(factor=40.0, original_max_position_embeddings=16)
V2_YARN = Yarn(factor=40.0, original_max_position_embeddings=16, mscale=0.707, mscale_all_dim=0.707)
MOONLIGHT = NO_MTP.model_copy(
    update={"n_shared_experts": 2, "q_lora_rank": None, "routed_scaling_factor": 2.446, "rope_theta": 50000.0}
)
DENSE_MLA = model_preset(
    "tiny", n_routed_experts=0, n_shared_experts=0, num_experts_per_tok=0, num_nextn_predict_layers=0
)
NO_MLA = dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
LLAMA = model_preset(
    "tiny", **NO_MLA, attention="gqa", num_key_value_heads=2, head_dim=24, n_routed_experts=0, n_shared_experts=0,
    num_experts_per_tok=0, num_nextn_predict_layers=0, first_k_dense_replace=0, moe_intermediate_size=None,
    routed_scaling_factor=1.0,
)  # fmt: skip
DEEPSEEKMOE = model_preset(
    "tiny", **NO_MLA, attention="gqa", num_key_value_heads=4, head_dim=16, scoring_func="softmax", norm_topk_prob=False,
    routed_scaling_factor=1.0, num_nextn_predict_layers=0,
)  # fmt: skip


@pytest.mark.parametrize("yarn", [None, YARN], ids=["", "yarn"])
@pytest.mark.parametrize(
    "config",
    [MODELS["tiny"], QUICKSTART, GROUPED, NO_MTP, MOONLIGHT, DENSE_MLA],
    ids=["tiny", "quickstart", "grouped", "no-mtp", "moonlight", "dense"],
)
def test_transformers_gives_the_same_logits(exported, config, yarn):
    config = config.model_copy(update={"yarn": yarn})
    ours, folder = exported(config)
    theirs, about = DeepseekV3ForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not about["missing_keys"] and not about["mismatched_keys"]
    x = tokens(config)
    with torch.no_grad():
        expected = theirs(x).logits
        assert relative(ours.logits(ours(x)[0]), expected) < 1e-5
    assert theirs.config.rope_parameters["rope_theta"] == config.rope_theta
    assert (theirs.generation_config.bos_token_id, theirs.generation_config.eos_token_id) == (0, 1)


@pytest.mark.parametrize("yarn", [None, V2_YARN], ids=["", "yarn"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "n_routed_experts": 16,
            "n_group": 4,
            "topk_group": 2,
            "q_lora_rank": 32,
            "routed_scaling_factor": 16.0,
        },
    ],
    ids=["v2-lite", "v2"],
)
def test_a_softmax_router_opens_as_v2(exported, changes, yarn):
    config = V2.model_copy(update=changes | {"yarn": yarn})
    ours, folder = exported(config)
    theirs = DeepseekV2ForCausalLM.from_pretrained(folder)
    x = tokens(config)
    with torch.no_grad():
        assert relative(ours.logits(ours(x)[0]), theirs(x).logits) < 1e-5


def test_a_plain_model_opens_as_llama_and_comes_back(exported, tmp_path):
    ours, folder = exported(LLAMA)
    theirs = LlamaForCausalLM.from_pretrained(folder)
    x = tokens(LLAMA)
    with torch.no_grad():
        assert relative(ours.logits(ours(x)[0]), theirs(x).logits) < 1e-5
    theirs.save_pretrained(tmp_path / "theirs")
    back, _ = load_hf(tmp_path / "theirs")
    assert back.config == LLAMA
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in ours.state_dict().items())


def test_tied_embeddings_are_untied(tmp_path):
    torch.manual_seed(0)
    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    theirs = LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=4, tie_word_embeddings=True)).eval()
    theirs.save_pretrained(tmp_path / "hf")
    ours, _ = load_hf(tmp_path / "hf")
    x = torch.arange(20)[None]
    with torch.no_grad():
        assert relative(ours.logits(ours(x)[0]), theirs(x).logits) < 1e-5


def test_deepseekmoe_keeps_its_names(exported):
    """The layout of the 16B release, whose own code no longer runs: names and settings as it has them."""
    ours, folder = exported(DEEPSEEKMOE)
    about = json.loads((folder / "config.json").read_text())
    assert about["model_type"] == "deepseek" and about["architectures"] == ["DeepseekForCausalLM"]
    assert (
        about["moe_layer_freq"] == 1
        and about["scoring_func"] == "softmax"
        and about["num_key_value_heads"] == 4
    )
    names = load_file(folder / "model.safetensors")
    assert names["model.layers.1.mlp.experts.7.up_proj.weight"].shape == (48, 64)
    assert names["model.layers.1.self_attn.k_proj.weight"].shape == (64, 64)
    back, _ = load_hf(folder)
    assert back.config == DEEPSEEKMOE
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in ours.state_dict().items())


def test_deepseekmoe_is_llama_s_attention_with_v2_s_experts(exported):
    """`transformers` has no such model, but both halves of one."""
    ours, folder = exported(DEEPSEEKMOE)
    weights = load_file(folder / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text())
    dense = LlamaConfig(**{k: v for k, v in settings.items() if k not in ("architectures", "model_type")})
    experts = DeepseekV2Config(
        **{name: settings[name] for name in ("hidden_size", "moe_intermediate_size", "n_routed_experts")},
        **{name: settings[name] for name in ("n_shared_experts", "num_experts_per_tok", "norm_topk_prob")},
        routed_scaling_factor=1.0, topk_method="greedy", n_group=1, topk_group=1,
    )  # fmt: skip
    experts._experts_implementation = "eager"
    theirs = LlamaForCausalLM(dense).eval()
    for i, layer in list(enumerate(theirs.model.layers))[1:]:
        layer.mlp = DeepseekV2Moe(experts).eval()
        for part, name in (("gate_up_proj", ("gate_proj", "up_proj")), ("down_proj", ("down_proj",))):
            stacks = [
                torch.cat([weights.pop(f"model.layers.{i}.mlp.experts.{e}.{n}.weight") for n in name])
                for e in range(DEEPSEEKMOE.n_routed_experts)
            ]
            weights[f"model.layers.{i}.mlp.experts.{part}"] = torch.stack(stacks)
    theirs.load_state_dict(weights)
    x = tokens(DEEPSEEKMOE)
    with torch.no_grad():
        assert relative(ours.logits(ours(x)[0]), theirs(x).logits) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [{"num_nextn_predict_layers": 1}, {"scoring_func": "sigmoid"}, {"head_dim": 32}, {"yarn": YARN}],
)
def test_what_no_release_has_is_refused(exported, changes):
    with pytest.raises(TrainingError, match="release"):
        exported(DEEPSEEKMOE.model_copy(update=changes))


def test_normalised_gates_of_a_softmax_router_are_refused(exported):
    """transformers' V2 would open the folder and leave out the normalisation."""
    with pytest.raises(TrainingError, match="norm_topk_prob"):
        exported(V2.model_copy(update={"norm_topk_prob": True}))


def test_a_dense_model_goes_out_without_multi_token_prediction_only(exported):
    with pytest.raises(TrainingError, match="no experts"):
        exported(DENSE_MLA.model_copy(update={"num_nextn_predict_layers": 1}))


@pytest.mark.parametrize("yarn", [None, YARN], ids=["", "yarn"])
@pytest.mark.parametrize("config", [NO_MTP, MOONLIGHT, V2], ids=["v3", "moonlight", "v2-lite"])
def test_bfloat16_writes_the_same_tokens(build_model, save, config, yarn):
    """Greedy, all in bfloat16. The model has learned to count in steps, so that its choices are no ties of noise."""
    model = build_model(config.model_copy(update={"yarn": yarn})).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        first, step = (
            torch.randint(low, high, (8, 1), generator=generator) for low, high in ((0, 512), (1, 4))
        )
        x = (first + step * torch.arange(33)) % 512
        hidden, _ = model(x[:, :-1])
        loss, _ = linear_cross_entropy(hidden.flatten(0, 1), model.head.weight, x[:, 1:].flatten())
        optimizer.zero_grad()
        (loss / 256).backward()
        optimizer.step()
    folder = save(model, dtype="bfloat16")
    kind = DeepseekV2ForCausalLM if config.scoring_func == "softmax" else DeepseekV3ForCausalLM
    theirs = kind.from_pretrained(folder, dtype=torch.bfloat16)
    mine, _ = load_hf(folder, torch.bfloat16)
    prompt = (40 + 3 * torch.arange(6))[None]
    written = theirs.generate(prompt, max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert len(written[0].unique()) > 20
    assert sample(mine, prompt[0].tolist(), 24, 0.0, 1, 0, None).tokens == written[0, 6:].tolist()


@pytest.mark.parametrize("config", [MODELS["tiny"], V2], ids=["v3", "v2"])
def test_fp8_folders_are_read_alike(exported, config):
    """transformers dequantises our blocks to the weights that we read back."""
    # transformers takes a dimension that is no multiple of 128 for blocks of another size, unless it is one block.
    changes = {"hidden_size": 256, "moe_intermediate_size": 128, "num_nextn_predict_layers": 0}
    wide = config.model_copy(update=changes)
    ours, folder = exported(wide, dtype="fp8")
    saved = load_file(folder / "model.safetensors")
    assert saved["model.layers.1.mlp.experts.0.up_proj.weight"].dtype == torch.float8_e4m3fn
    assert saved["model.layers.1.mlp.experts.0.up_proj.weight_scale_inv"].shape == (1, 2)
    for kept in ("lm_head.weight", "model.embed_tokens.weight", "model.layers.1.mlp.gate.weight"):
        assert saved[kept].dtype == torch.bfloat16 and f"{kept}_scale_inv" not in saved
    kind = DeepseekV2ForCausalLM if config is V2 else DeepseekV3ForCausalLM
    theirs = kind.from_pretrained(
        folder, quantization_config=FineGrainedFP8Config(dequantize=True), dtype=torch.float32
    ).float()
    mine, _ = load_hf(folder)
    x = tokens(wide)
    with torch.no_grad():
        assert relative(mine.logits(mine(x)[0]), theirs(x).logits) < 1e-5
    for name, exact in ours.named_parameters():
        if name.startswith("blocks.") and exact.ndim > 1 and "router" not in name:
            error = (mine.get_parameter(name) - exact).norm() / exact.norm()
            assert 0.01 < error < 0.04  # E4M3 has three bits after the point


def test_an_imported_folder_is_a_checkpoint_like_any_other(exported, tmp_path):
    ours, folder = exported(MODELS["tiny"])
    made = import_hf(folder, tmp_path / "run")
    assert made == tmp_path / "run" / "checkpoints" / "step-00000000"
    back, special_tokens = load_model(tmp_path / "run", "cpu")
    assert special_tokens == {"bos": 0, "eos": 1, "pad": 2} and back.config == ours.config
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in ours.state_dict().items())
    again = export_hf(made, tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="holds a run already"):
        import_hf(folder, tmp_path / "run")
    _, quantised = exported(MODELS["tiny"], dtype="fp8")
    import_hf(quantised, tmp_path / "from-fp8")
    one, two = load_hf(quantised)[0].state_dict(), load_model(tmp_path / "from-fp8", "cpu")[0].state_dict()
    assert all(torch.equal(v.bfloat16(), two[k].bfloat16()) for k, v in one.items() if not k.endswith("bias"))


def test_gradients_are_those_of_transformers(exported):
    ours, folder = exported(NO_MTP)
    theirs = DeepseekV3ForCausalLM.from_pretrained(folder)
    x = tokens(NO_MTP)
    hidden, _ = ours(x)
    targets = next_tokens(x, 1, None)
    loss, _ = linear_cross_entropy(hidden.flatten(0, 1), ours.head.weight, targets.flatten())
    (loss / (2 * 39)).backward()
    theirs(x, labels=x).loss.backward()
    layer, block = theirs.model.layers[1], ours.blocks[1]
    pairs = [
        (ours.embed.weight, theirs.model.embed_tokens.weight),
        (ours.head.weight, theirs.lm_head.weight),
        (block.attention.wq_a.weight, layer.self_attn.q_a_proj.weight),
        (block.attention.wkv_a.weight, layer.self_attn.kv_a_proj_with_mqa.weight),
        (block.attention.kv_norm.weight, layer.self_attn.kv_a_layernorm.weight),
        (block.mlp.router.weight, layer.mlp.gate.weight),
        (block.mlp.experts.w13_EGD, layer.mlp.experts.gate_up_proj),
        (block.mlp.experts.w2_EDF, layer.mlp.experts.down_proj),
    ]
    for mine, other in pairs:
        assert relative(mine.grad, other.grad) < 1e-4


def test_mtp_weights_are_read_as_released(exported):
    """The module transformers builds for speculative decoding predicts the same from our weights."""
    config = MODELS["tiny"]
    ours, folder = exported(config)
    theirs = DeepseekV3ForCausalLM.from_pretrained(folder, attn_implementation="eager")
    module = MtpModel(theirs, 1)
    released = {
        name.removeprefix("model.layers.3."): value
        for name, value in load_file(folder / "model.safetensors").items()
        if name.startswith("model.layers.3.")
    }
    layer = module.layers[0]
    with torch.no_grad():
        for name in ("enorm", "hnorm", "eh_proj"):
            getattr(layer, name).weight.copy_(released[f"{name}.weight"])
        layer.post_norm.weight.copy_(released["shared_head.norm.weight"])
        block = {
            n: v for n, v in released.items() if n.split(".")[0] in {"self_attn", "mlp"} or "layernorm" in n
        }
        gates = [
            torch.cat([block.pop(f"mlp.experts.{e}.{p}_proj.weight") for p in ("gate", "up")])
            for e in range(8)
        ]
        block["mlp.experts.gate_up_proj"] = torch.stack(gates)
        down = [block.pop(f"mlp.experts.{e}.down_proj.weight") for e in range(8)]
        block["mlp.experts.down_proj"] = torch.stack(down)
        layer.mtp_block.load_state_dict(block)

        x = tokens(config)
        hidden, _ = ours(x)
        (mine,), _ = ours.predict_ahead(hidden, x)
        last = theirs.model(x).last_hidden_state[:, :-1]
        positions = torch.arange(39)[None]
        mask = torch.full((39, 39), float("-inf")).triu(1)[None, None]
        expected = layer(
            theirs.model.embed_tokens(x[:, 1:]),
            last,
            position_embeddings=theirs.model.rotary_emb(last, positions),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=None,
        )
    assert relative(mine, expected) < 1e-5
    for name, whole in (("embed_tokens", ours.embed), ("shared_head.head", ours.head)):
        assert torch.equal(released[f"{name}.weight"], whole.weight)


def test_a_model_comes_back_bit_for_bit_from_several_files(exported, monkeypatch):
    monkeypatch.setattr(tensor_files, "FILE_BYTES", 200_000)
    ours, folder = exported(MODELS["tiny"])
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 3 and not (folder / "model.safetensors").exists()
    held = {name for file in set(index["weight_map"].values()) for name in load_file(folder / file)}
    assert index["weight_map"].keys() == held
    back, special_tokens = load_hf(folder)
    assert back.config == ours.config and special_tokens == {"bos": 0, "eos": 1, "pad": 2}
    mine, other = ours.state_dict(), back.state_dict()
    assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
    assert not DeepseekV3ForCausalLM.from_pretrained(folder, output_loading_info=True)[1]["missing_keys"]


@pytest.mark.parametrize("yarn", [None, V2_YARN], ids=["", "yarn"])
@pytest.mark.parametrize(
    "config", [V2, MODELS["tiny"], GROUPED, MOONLIGHT], ids=["v2-lite", "v3", "grouped", "moonlight"]
)
def test_models_that_transformers_saved_open_here(exported, tmp_path, config, yarn):
    """transformers saves a model of its own making; it leaves out the MTP modules and not their number."""
    config = config.model_copy(update={"yarn": yarn})
    settings = AutoConfig.from_pretrained(exported(config)[1])
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(settings).eval()
    for layer in theirs.model.layers[1:]:
        if config.scoring_func == "sigmoid":
            layer.mlp.gate.e_score_correction_bias.normal_(std=0.1)
    theirs.save_pretrained(tmp_path / "theirs")
    about = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert about.get("num_nextn_predict_layers", 0) == config.num_nextn_predict_layers
    ours, _ = load_hf(tmp_path / "theirs")
    assert ours.config == config.model_copy(update={"num_nextn_predict_layers": 0})
    x = tokens(config)
    with torch.no_grad():
        assert relative(ours.logits(ours(x)[0]), theirs(x).logits) < 1e-5


def test_bfloat16_export_keeps_the_bias_exact(exported):
    ours, folder = exported(MODELS["tiny"], dtype="bfloat16")
    saved = load_file(folder / "model.safetensors")
    assert saved["lm_head.weight"].dtype == torch.bfloat16
    assert torch.equal(
        saved["model.layers.1.mlp.gate.e_score_correction_bias"], ours.blocks[1].mlp.router.bias
    )
