import json

import pytest

from corpus.errors import LodeError
from jobs.pipeline import check_inputs
from jobs.recipe import CodeSection, load_recipe, recipe_names
from tests.jobs.conftest import RECIPE


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_that_come_with_lode_are_valid(name):
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", ["continue", "yarn"])
def test_settings_are_checked_before_the_model_to_go_on_with_is_there(name):
    config = load_recipe(name).training()
    assert config.start_from == "model" and config.batch_sequences.start in (1024, 1920)
    for change, says in (
        ("train.optimiser=muon", "unknown key 'train.optimiser'; did you mean 'optimizer'"),
        ("train.batch_sequences=0", "batch_sequences must be 1 or more"),
        ("train.model.yarn.factr=2", "factr"),
    ):
        with pytest.raises(LodeError, match=says):
            load_recipe(name, [change])


def test_a_model_to_go_on_with_that_is_not_there_is_known_at_once(recipe, tmp_path):
    with pytest.raises(LodeError, match="no model at"):
        check_inputs(load_recipe(str(recipe), [f"train.start_from={tmp_path}/nowhere", "train.preset=tiny"]))


def test_changing_one_of_a_model_s_yarn_keeps_the_others(tmp_path):
    from pretrain.presets import MODELS

    yarn = {"factor": 40.0, "mscale": 0.707, "mscale_all_dim": 0.707}
    shape = type(MODELS["tiny"]).model_validate(MODELS["tiny"].model_dump() | {"yarn": yarn})
    state = {"config": {"model": shape.model_dump(mode="json")}, "step": 0, "tokens": 0}
    state |= {"shards": {}, "shards_fingerprint": "", "loader": {}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    changes = [f"train.start_from={json.dumps(str(tmp_path))}", "train.model.yarn={ factor = 8 }"]
    found = load_recipe("yarn", changes).training(vocabulary_size=1024)
    assert found.model.yarn is not None
    assert (found.model.yarn.factor, found.model.yarn.mscale) == (8.0, 0.707)
    assert found.model.max_position_embeddings == 163840


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "sequence_length",
            "sequence_lenght",
            "unknown key 'pack.sequence_lenght'; did you mean 'sequence_length'?",
        ),
        ("seeds = [", "seed = [", "unknown key 'mine.targets.algebra.seed'; did you mean 'seeds'?"),
        ("dim = 16", "dims = 16", "unknown key 'mine.classifier.dims'; did you mean 'dim'?"),
        ("steps = 6", "stepps = 6", "unknown key 'train.stepps'; did you mean 'steps'?"),
        (
            "num_hidden_layers",
            "num_layers",
            "unknown key 'train.model.num_layers'; did you mean 'num_hidden_layers'?",
        ),
        ("[quality]", "[qualitty]", None),
        ("min_chars = 10", "min_chars = 2_000_000", "min_chars (2000000) is more than max_chars (1000000)."),
        ("min_chars = 10", 'languages = ["eng"]', "'quality.languages.0': 'eng' is not a code of ISO 639-1"),
        (
            "[quality]",
            '[pages]\ndrop_opt_out = ["noia"]\n[quality]',
            "no signal 'noia'; did you mean 'noai'?",
        ),
        ("steps = 6", 'steps = "six"', "'train.steps'"),
        ("vocabulary_size = 512", "", "give either `path` or `vocabulary_size`"),
        (
            "code = 0.5 }\n[fim]",
            "cod = 0.5 }\n[fim]",
            "mixture.weights.cod: there is no such source; did you mean 'code'?",
        ),
        ('preset = "tiny"', 'preset = "tinny"', "tinny"),
        ('kind = "web"', 'kind = "wet"', "'sources.documentation.kind'"),
        ("seed = 3", "seed = ", "not valid TOML"),
    ],
)
def test_a_fault_names_its_key_and_line(tmp_path, old, new, message):
    text = RECIPE + "\n[quality]\nmin_chars = 10\n"
    path = tmp_path / "r.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LodeError) as error:
        load_recipe(str(path))
    said = str(error.value)
    assert str(path) in said and "\n" not in said and not said.endswith("?.")
    assert (message or "unknown key 'qualitty'; did you mean 'quality'?") in said
    changed = next(
        (i for i, line in enumerate(path.read_text().splitlines(), 1) if new and new in line), None
    )
    if "unknown key" in said:
        assert f"line {changed}:" in said


def test_settings_are_changed_on_the_command_line(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    changes = [
        "pack.sequence_length=64",
        "sources.code.input=['a', 'b']",
        "spark.spark.executor.memory=2g",
        "name=x",
    ]
    recipe = load_recipe(str(path), changes)
    assert recipe.pack.sequence_length == 64 and recipe.sources["code"].input == ["a", "b"]
    assert recipe.spark == {"spark.executor.memory": "2g"} and recipe.name == "x"
    with pytest.raises(LodeError, match="expected key=value"):
        load_recipe(str(path), ["pack"])


def test_what_is_no_recipe_is_said_so(tmp_path):
    with pytest.raises(LodeError, match="did you mean 'quickstart'"):
        load_recipe("quikstart")
    with pytest.raises(LodeError, match="this is a folder"):
        load_recipe(str(tmp_path))


def test_a_recipe_refuses_rules_that_cannot_be_understood(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("max_lin = 5\n")
    assert CodeSection(rules="strict").rules == "strict"
    for rules, says in (("starcoder", "no such set"), (str(path), "no key 'max_lin'")):
        with pytest.raises(LodeError, match=says):
            CodeSection(rules=rules)
