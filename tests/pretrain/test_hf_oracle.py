"""Exported models in transformers, and transformers' models here."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import (
    AutoTokenizer,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
)
from transformers.modeling_layers import MtpModel

from pretrain import hf
from pretrain.checkpoint import State, save_checkpoint
from pretrain.errors import TrainingError
from pretrain.hf import export_hf, hf_tensors, import_hf
from pretrain.loss import linear_cross_entropy, next_tokens
from pretrain.presets import MODELS

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
def exported(tmp_path, build_model):
    """Save a model as a checkpoint and export it: (our model, folder)."""

    def make(config, **arguments):
        model = build_model(config)
        shards = {"special_tokens": {"bos": 0, "eos": 1, "pad": 2}}
        state = State(1, 1, {"model": config.model_dump(mode="json")}, shards, "", {})
        optimizer = torch.optim.AdamW(model.parameters())
        checkpoint = save_checkpoint(tmp_path / "checkpoints", state, model, optimizer, keep=1)
        return model, export_hf(checkpoint, tmp_path / "hf", **arguments)

    return make


def tokens(config, length: int = 40) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


@pytest.mark.parametrize(
    "config", [MODELS["tiny"], QUICKSTART, GROUPED, NO_MTP], ids=["tiny", "quickstart", "grouped", "no-mtp"]
)
def test_transformers_gives_the_same_logits(exported, config):
    ours, folder = exported(config)
    theirs, about = DeepseekV3ForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not about["missing_keys"] and not about["mismatched_keys"]
    x = tokens(config)
    with torch.no_grad():
        expected = theirs(x).logits
        assert relative(ours.logits(ours(x)[0]), expected) < 1e-5
    assert theirs.config.rope_parameters["rope_theta"] == config.rope_theta
    assert (theirs.generation_config.bos_token_id, theirs.generation_config.eos_token_id) == (0, 1)


def test_a_softmax_router_opens_as_v2(exported):
    ours, folder = exported(V2)
    theirs = DeepseekV2ForCausalLM.from_pretrained(folder)
    x = tokens(V2)
    with torch.no_grad():
        assert relative(ours.logits(ours(x)[0]), theirs(x).logits) < 1e-5


def test_gradients_are_those_of_transformers(exported):
    ours, folder = exported(NO_MTP)
    theirs = DeepseekV3ForCausalLM.from_pretrained(folder)
    x = tokens(NO_MTP)
    hidden, _ = ours(x)
    targets = next_tokens(x, 1, None)
    (linear_cross_entropy(hidden.flatten(0, 1), ours.head.weight, targets.flatten()) / (2 * 39)).backward()
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
    monkeypatch.setattr(hf, "_FILE_BYTES", 200_000)
    ours, folder = exported(MODELS["tiny"])
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 3 and not (folder / "model.safetensors").exists()
    assert index["weight_map"].keys() == dict(hf_tensors(ours)).keys()
    back, special_tokens = import_hf(folder)
    assert back.config == ours.config and special_tokens == {"bos": 0, "eos": 1, "pad": 2}
    mine, other = ours.state_dict(), back.state_dict()
    assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
    assert not DeepseekV3ForCausalLM.from_pretrained(folder, output_loading_info=True)[1]["missing_keys"]


def test_models_that_transformers_saved_open_here(tmp_path):
    shape = GROUPED.model_dump(exclude={"rope_theta", "scoring_func"}) | {"num_nextn_predict_layers": 0}
    config = DeepseekV3Config(**shape, rope_parameters={"rope_type": "default", "rope_theta": 50000.0})
    torch.manual_seed(0)
    theirs = DeepseekV3ForCausalLM(config).eval()
    for layer in theirs.model.layers[1:]:
        layer.mlp.gate.e_score_correction_bias.normal_(std=0.1)
    theirs.save_pretrained(tmp_path / "hf")
    ours, _ = import_hf(tmp_path / "hf")
    assert ours.config.rope_theta == 50000.0
    x = tokens(GROUPED)
    with torch.no_grad():
        assert relative(ours.logits(ours(x)[0]), theirs(x).logits) < 1e-5


def test_bfloat16_export_keeps_the_bias_exact(exported):
    ours, folder = exported(MODELS["tiny"], dtype="bfloat16")
    saved = load_file(folder / "model.safetensors")
    assert saved["lm_head.weight"].dtype == torch.bfloat16
    assert torch.equal(
        saved["model.layers.1.mlp.gate.e_score_correction_bias"], ours.blocks[1].mlp.router.bias
    )


def test_the_tokenizer_goes_along(exported, tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<bos>", "<eos>", "<pad>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["a vein of ore"], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    _, folder = exported(MODELS["tiny"], tokenizer_json=str(tmp_path / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs.encode("ore\nλ") == tokenizer.encode("ore\nλ").ids
    assert theirs.decode(theirs.encode("a  vein , of λ ore")) == "a  vein , of λ ore"
    assert (theirs.bos_token, theirs.eos_token, theirs.pad_token) == ("<bos>", "<eos>", "<pad>")


def test_what_cannot_be_read_or_overwritten_is_named(exported, tmp_path):
    _, folder = exported(MODELS["tiny"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(TrainingError, match="not an exported model"):
        export_hf(next((tmp_path / "checkpoints").iterdir()), tmp_path / "mine")
    about = json.loads((folder / "config.json").read_text())
    for change, says in (
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised"),
        ({"rope_scaling": {"type": "yarn", "factor": 40}}, "scaled RoPE"),
        ({"model_type": "llama"}, "llama"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": 128}, "the model needs"),
        ({"num_hidden_layers": 4, "num_nextn_predict_layers": 1}, "lacks"),
    ):
        (folder / "config.json").write_text(json.dumps(about | change))
        with pytest.raises(TrainingError, match=says):
            import_hf(folder)
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(TrainingError, match=r"model\.safetensors"):
        import_hf(folder)


def test_deterministic_export(exported, tmp_path):
    _, folder = exported(MODELS["tiny"])
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    _, folder = exported(MODELS["tiny"])
    assert first == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert_close(len(first), 3)
