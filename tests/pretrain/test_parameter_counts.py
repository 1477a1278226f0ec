"""Parameter counts against the published models."""

import pytest
import torch

from pretrain.errors import TrainingError
from pretrain.model import Transformer, count_parameters
from pretrain.presets import MODELS, model_preset


def on_meta(name: str) -> Transformer:
    with torch.device("meta"):
        return Transformer(MODELS[name])


@pytest.mark.parametrize(
    ("name", "total", "active_billions"),
    [
        ("deepseekmoe-16b", 16_375_728_128, 2.83),
        ("v2-lite", 15_706_484_224, 2.66),
        ("v2", 235_741_434_880, 21.4),
        ("moonlight", 15_960_108_544, 2.91),
        ("v3", 671_026_404_352, 37.55),
    ],
)
def test_published_models_have_their_published_size(name, total, active_billions):
    counted, active = count_parameters(on_meta(name))
    assert counted == total
    assert active / 1e9 == pytest.approx(active_billions, abs=0.03)


def test_v3_carries_mtp_and_biases_beside_the_main_model():
    model = on_meta("v3")
    mtp = sum(p.numel() for p in model.mtp.parameters())
    assert mtp / 1e9 == pytest.approx(11.6, abs=0.1)
    main = model.moe_layers()[: 61 - 3]
    assert sum(layer.router.bias.numel() for layer in main) == 14_848


@pytest.mark.parametrize(
    ("name", "millions", "active"),
    [
        ("tiny", 0.3, 0.195),
        ("debug", 74, 50),
        ("small", 400, 128),
        ("proxy-lite", 3140, 630),
        ("proxy-v3", 1990, 1640),
        ("2b-a0.4b", 2800, 660),
        ("deepseekmoe-2b", 2000, 300),  # "2B / 0.3B": the paper rounds, and leaves the head out of the latter
    ],
)
def test_small_presets_are_as_large_as_they_say(name, millions, active):
    total, working = count_parameters(on_meta(name))
    assert total / 1e6 == pytest.approx(millions, rel=0.05)
    assert working / 1e6 == pytest.approx(active, rel=0.06)


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(TrainingError, match="quickstart"):
        model_preset("huge")
    assert model_preset("tiny", vocab_size=99).vocab_size == 99
