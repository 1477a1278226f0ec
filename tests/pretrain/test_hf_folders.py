"""Folders of Hugging Face: those published, those of strangers, and those in the way of an export."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from pretrain.checkpoint import newest_checkpoint
from pretrain.config import Yarn
from pretrain.errors import TrainingError
from pretrain.hf import export_hf, import_hf, load_hf
from pretrain.hf_names import our_config
from pretrain.presets import MODELS
from tests.pretrain.exported import save_and_export


@pytest.fixture
def exported(build_model, tmp_path):
    """A model and the folder that it was exported to."""

    def make(config, **arguments):
        model = build_model(config)
        return model, save_and_export(tmp_path, model, **arguments)

    return make


def test_the_tokenizer_goes_along(exported, tmp_path):
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


# The settings of each release's config.json, those we have no use for among them.
V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"}, "aux_loss_alpha": 0.001,
    "bos_token_id": 100000, "eos_token_id": 100001, "first_k_dense_replace": 1, "hidden_act": "silu",
    "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10944, "kv_lora_rank": 512,
    "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408,
    "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": False,
    "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16,
    "pretraining_tp": 1, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06, "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax",
    "seq_aux": True, "tie_word_embeddings": False, "topk_group": 1, "topk_method": "greedy",
    "torch_dtype": "bfloat16", "use_cache": True, "v_head_dim": 128, "vocab_size": 102400,
    "rope_scaling": {
        "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 4096, "type": "yarn",
    },
}  # fmt: skip
RELEASES = {
    "v2-lite": V2_LITE,
    "v2": V2_LITE | {
        "hidden_size": 5120, "num_hidden_layers": 60, "num_attention_heads": 128, "num_key_value_heads": 128,
        "q_lora_rank": 1536, "intermediate_size": 12288, "moe_intermediate_size": 1536, "n_routed_experts": 160,
        "n_group": 8, "topk_group": 3, "routed_scaling_factor": 16.0, "topk_method": "group_limited_greedy",
    },
    "moonlight": V2_LITE | {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 163840,
        "max_position_embeddings": 8192, "intermediate_size": 11264, "scoring_func": "sigmoid",
        "norm_topk_prob": True, "routed_scaling_factor": 2.446, "rms_norm_eps": 1e-05, "rope_theta": 50000.0,
        "rope_scaling": None, "topk_method": "noaux_tc", "num_nextn_predict_layers": 0, "ep_size": 1,
        "bos_token_id": 163584, "eos_token_id": 163585,
    },
    "v3": V2_LITE | {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 129280,
        "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
        "q_lora_rank": 1536, "intermediate_size": 18432, "first_k_dense_replace": 3, "moe_intermediate_size": 2048,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
        "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "norm_topk_prob": True, "topk_method": "noaux_tc",
        "num_nextn_predict_layers": 1, "ep_size": 1, "bos_token_id": 0, "eos_token_id": 1,
        "rope_scaling": V2_LITE["rope_scaling"] | {"mscale": 1.0, "mscale_all_dim": 1.0},
        "quantization_config": {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128],
        },
    },
    "deepseekmoe-16b": {
        "architectures": ["DeepseekForCausalLM"], "attention_bias": False, "aux_loss_alpha": 0.001,
        "auto_map": {"AutoModelForCausalLM": "modeling_deepseek.DeepseekForCausalLM"}, "bos_token_id": 100000,
        "eos_token_id": 100001, "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 2048,
        "intermediate_size": 10944, "max_position_embeddings": 4096, "model_type": "deepseek",
        "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_routed_experts": 64, "n_shared_experts": 2,
        "norm_topk_prob": False, "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 28,
        "num_key_value_heads": 16, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 10000,
        "scoring_func": "softmax", "seq_aux": True, "tie_word_embeddings": False, "vocab_size": 102400,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASES)
def test_published_settings_are_the_presets(name):
    """Presets are at the length first trained on, before YaRN; their parameter counts are the published ones."""
    config = our_config("config.json", RELEASES[name])
    extended = {"max_position_embeddings", "yarn", "initializer_range"}
    assert config.model_dump(exclude=extended) == MODELS[name].model_dump(exclude=extended)
    scales = {"v2-lite": 0.707, "v2": 0.707, "v3": 1.0}
    if name in scales:
        assert config.yarn == Yarn(factor=40, mscale=scales[name], mscale_all_dim=scales[name])
        assert config.max_position_embeddings == 163840
    else:
        assert config.yarn is None


def test_only_an_exported_model_is_replaced(exported, tmp_path, monkeypatch):
    _, folder = exported(MODELS["tiny"])
    checkpoint = newest_checkpoint(tmp_path / "checkpoints")
    export_hf(checkpoint, folder, dtype="bfloat16")
    assert load_file(folder / "model.safetensors")["lm_head.weight"].dtype == torch.bfloat16
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    (mine / "letter.txt").write_text("x")
    for arguments, says in (
        ({"out": mine}, "other than an exported model"),
        ({"out": mine / "letter.txt"}, "other than an exported model"),
        ({"out": tmp_path / "new", "dtype": "float16"}, "float16"),
        ({"out": tmp_path / "new", "average": True}, "holds no average"),
        ({"out": tmp_path / "new", "tokenizer_json": str(mine / "tokenizer.json")}, "give a tokenizer.json"),
    ):
        with pytest.raises(TrainingError, match=says):
            export_hf(checkpoint, **arguments)
    assert (mine / "letter.txt").read_text() == "x" and not (tmp_path / "new").exists()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert export_hf(checkpoint, ".") == here and (here / "config.json").exists()


def test_an_import_that_was_broken_off_is_made_again(exported, tmp_path):
    _, folder = exported(MODELS["tiny"])
    (tmp_path / "run" / "checkpoints" / ".partial-step-00000000").mkdir(parents=True)
    made = import_hf(folder, tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run" / "checkpoints") == made
    assert [path.name for path in made.parent.iterdir()] == [made.name]


HUGE = 10**9
STRANGE_SETTINGS = [
    ({"quantization_config": {"quant_method": "awq"}}, "quantised"),
    ({"rope_scaling": {"type": "linear", "factor": 40}}, "RoPE of type 'linear'"),
    ({"rope_scaling": [40]}, "rope_scaling"),
    ({"rope_parameters": {"rope_type": "yarn", "factor": 2, "truncate": False}}, "without truncation"),
    ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "a part of its dimensions"),
    ({"rope_interleave": False}, "RoPE on halves"),
    ({"model_type": "gpt2"}, "gpt2"),
    ({"model_type": "deepseek_v2", "topk_method": "greedy"}, "normalised gates"),
    ({"attention_bias": True}, "biases"),
    ({"hidden_act": "gelu"}, "gelu"),
    ({"hidden_size": "wide"}, "hidden_size"),
    ({"hidden_size": 128}, "the model needs"),
    ({"num_nextn_predict_layers": 2}, "lacks the weight model.layers.4.enorm"),
    ({"num_nextn_predict_layers": 0}, "does not account for"),
    ({"num_hidden_layers": HUGE}, "lacks most weights"),
    ({"num_nextn_predict_layers": HUGE}, "lacks most weights"),
    ({"n_routed_experts": HUGE}, "lacks most weights"),
    ({"hidden_size": 10**17}, "larger tensors than there can be"),
    ({"vocab_size": 10**30}, "larger tensors than there can be"),
]


@pytest.mark.parametrize(("change", "says"), STRANGE_SETTINGS)
def test_settings_that_do_not_fit_are_named(exported, change, says):
    _, folder = exported(MODELS["tiny"])
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | change))
    with pytest.raises(TrainingError, match=says) as refused:
        load_hf(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '{"a": 1' + "0" * 5000 + "}", "\udcff"])
def test_settings_that_cannot_be_read_are_one_sentence(exported, text):
    _, folder = exported(MODELS["tiny"])
    (folder / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(TrainingError, match=r"config\.json"):
        load_hf(folder)


def test_of_several_ends_the_first_is_taken(exported):
    _, folder = exported(MODELS["tiny"])
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"eos_token_id": [5, 7], "pad_token_id": "x"}))
    assert load_hf(folder)[1] == {"bos": 0, "eos": 5, "pad": None}


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        (lambda scale: scale * float("nan"), "no scale"),
        (lambda scale: -scale, "no scale"),
        (lambda scale: scale.repeat(2, 1), "another shape"),
        (lambda scale: None, "lacks the scales"),
    ],
)
def test_scales_that_are_none_are_refused_before_anything_is_written(exported, tmp_path, scale, says):
    _, folder = exported(MODELS["tiny"], dtype="fp8")
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.self_attn.kv_b_proj.weight_scale_inv"
    weights[name] = scale(weights[name])
    save_file({k: v for k, v in weights.items() if v is not None}, folder / "model.safetensors")
    with pytest.raises(TrainingError, match=says):
        import_hf(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda weight: weight.long(), "torch.int64"),
        (lambda weight: weight.double(), "F64"),
        (lambda weight: weight[:-1], "the model needs"),
        (lambda weight: None, "lacks the weight model.norm.weight"),
    ],
)
def test_weights_that_are_none_are_refused(exported, change, says):
    _, folder = exported(MODELS["tiny"])
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = change(weights["model.norm.weight"])
    save_file({k: v for k, v in weights.items() if v is not None}, folder / "model.safetensors")
    with pytest.raises(TrainingError, match=says):
        load_hf(folder)


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/passwd", "", "..", 7])
def test_an_index_reaches_no_file_outside_its_folder(exported, name):
    _, folder = exported(MODELS["tiny"])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(TrainingError, match="no file beside it"):
        load_hf(folder)


def test_pickled_weights_are_not_opened(exported):
    _, folder = exported(MODELS["tiny"])
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(TrainingError, match="run code"):
        load_hf(folder)


def test_deterministic_export(exported, tmp_path):
    _, folder = exported(MODELS["tiny"])
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    _, folder = exported(MODELS["tiny"])
    assert first == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(first) == 3
