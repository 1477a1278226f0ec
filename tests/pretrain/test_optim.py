"""Optimizers against torch's own, singular value decompositions and sums by hand."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pretrain.errors import TrainingError
from pretrain.model import Transformer
from pretrain.optim import NEWTON_SCHULZ, Average, Optimizer, orthogonalised


def moved(weights: list[torch.Tensor], make, steps: int = 5) -> list[torch.Tensor]:
    """Weights after steps with gradients that are the same for every optimizer."""
    parameters = [nn.Parameter(w.clone()) for w in weights]
    step = make(parameters)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        step()
    return [p.detach() for p in parameters]


class Holder(nn.Module):
    """Parameters under names as a Transformer has them."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        super().__init__()
        for name, p in parameters.items():
            module = self
            *path, last = name.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter(last, p)


def ours(names: list[str], config, rate: float = 1e-2):
    def make(parameters):
        optimizer = Optimizer(Holder(dict(zip(names, parameters, strict=True))), config)
        return lambda: optimizer.step(rate)

    return make


@pytest.fixture
def weights() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(6, 4), torch.randn(9)]


NAMES = ["blocks.0.attention.wq.weight", "norm.weight"]


def adamw(parameters):
    groups = [
        {"params": parameters[:1], "weight_decay": 0.1},
        {"params": parameters[1:], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8).step


def test_adamw_is_torchs_with_norms_left_alone(training, weights):
    for one, other in zip(moved(weights, ours(NAMES, training())), moved(weights, adamw), strict=True):
        assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_rounded_moments_stay_near(training, weights):
    exact = moved(weights, adamw, steps=50)
    rounded = moved(weights, ours(NAMES, training(moments="bfloat16")), steps=50)
    for start, one, other in zip(weights, rounded, exact, strict=True):
        assert (one - other).norm() / (other - start).norm() < 0.02
    model = Holder({"blocks.0.attention.wq.weight": nn.Parameter(weights[0].clone())})
    optimizer = Optimizer(model, training(moments="bfloat16"))
    model.blocks._modules["0"].attention.wq.weight.grad = torch.ones(6, 4)
    optimizer.step(1e-2)
    kinds = {name.split(".")[0]: value.dtype for name, value in optimizer.tensors().items()}
    assert kinds == {"step": torch.float32, "exp_avg": torch.bfloat16, "exp_avg_sq": torch.bfloat16}


def test_rounding_the_moments_is_all_that_differs(training, weights):
    """Each step is torch's on moments that were rounded after the one before."""

    def rounded_between(parameters):
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}]
        reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)

        def step():
            reference.step()
            for state in reference.state.values():
                for kind in ("exp_avg", "exp_avg_sq"):
                    state[kind].copy_(state[kind].bfloat16())

        return step

    mine = moved(weights, ours(NAMES, training(moments="bfloat16")), steps=20)
    for one, other in zip(mine, moved(weights, rounded_between, steps=20), strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1e6])
def test_newton_schulz_forgets_the_scale(scale):
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    steps = NEWTON_SCHULZ["eight_and_two"]
    assert_close(orthogonalised(x * scale, steps), orthogonalised(x, steps), rtol=1e-4, atol=1e-5)


def test_rounded_second_moments_follow_a_gradient_that_shrinks(training):
    """Rounding to nearest could freeze a moment; at V3's betas it follows to within 8 percent."""
    weight = nn.Parameter(torch.zeros(1, 64))
    optimizer = Optimizer(
        Holder({"blocks.0.w.weight": weight}), training(moments="bfloat16", weight_decay=0.0)
    )
    for step in range(400):
        weight.grad = torch.full_like(weight, 1.0 if step < 100 else 0.125)
        optimizer.step(1e-3)
    held = optimizer.tensors()["exp_avg_sq.blocks.0.w.weight"].float()
    assert_close(held, torch.full_like(held, 0.125**2), rtol=0.08, atol=0)


@pytest.mark.parametrize("shape", [(16, 24), (24, 16)])
def test_muon_is_torchs_on_a_matrix(training, shape):
    torch.manual_seed(0)
    start = [torch.randn(shape)]

    def theirs(parameters):
        return torch.optim.Muon(
            parameters, lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ).step

    (mine,) = moved(start, ours(NAMES[:1], training(optimizer="muon")))
    (other,) = moved(start, theirs)
    # torch iterates in bfloat16, we on a CPU in float32.
    assert (mine - other).norm() / (other - start[0]).norm() < 0.03


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (3, 16, 24)])
def test_an_update_of_muon_has_the_size_asked_for(training, shape):
    """0.2 in Moonlight (section 2.2), so that rates and decay tuned for AdamW serve; here another."""
    start = torch.zeros(shape)
    config = training(optimizer="muon", muon_rms=0.18, newton_schulz="eight_and_two")
    (after,) = moved([start], ours(["blocks.1.mlp.experts.w2_EDF"], config, rate=1e-3), steps=1)
    assert after.square().mean().sqrt().item() == pytest.approx(0.18e-3, rel=0.01)


def test_muon_takes_each_expert_and_each_half_by_itself(training):
    torch.manual_seed(0)
    stack = torch.randn(3, 10, 6)
    (whole,) = moved([stack], ours(["blocks.1.mlp.experts.w13_EGD"], training(optimizer="muon")), steps=1)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(stack.shape, generator=generator)
    for e in range(3):
        for half in (slice(0, 5), slice(5, 10)):
            update = orthogonalised(grad[e, half], NEWTON_SCHULZ["five"])
            expected = stack[e, half] * (1 - 1e-2 * 0.1) - 1e-2 * 0.2 * 6**0.5 * update
            assert_close(whole[e, half], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "least", "most"), [("five", 0.6, 1.25), ("eight_and_two", 0.99, 1.01)])
def test_newton_schulz_makes_singular_values_one(kind, least, most):
    torch.manual_seed(0)
    x = torch.randn(4, 20, 32) @ torch.diag(torch.logspace(0, -1.5, 32))
    u, s, vh = torch.linalg.svd(x.double(), full_matrices=False)
    y = orthogonalised(x, NEWTON_SCHULZ[kind])
    values = torch.linalg.svdvals(y.double())
    assert s.max() / s.min() > 10  # not orthogonal to begin with
    assert least < values.min() and values.max() < most
    if kind == "eight_and_two":
        assert (y - u @ vh).abs().max() < 0.01


def test_every_parameter_moves_once(training, small_model):
    for choice in (
        {},
        {"optimizer": "muon"},
        {"moments": "bfloat16"},
        {"optimizer": "muon", "moments": "bfloat16"},
    ):
        model = Transformer(small_model)
        model.init_weights(0)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = Optimizer(model, training(weight_decay=0.0, **choice))
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        optimizer.step(1e-3)
        for name, p in model.named_parameters():
            change = (p - before[name]).abs()
            assert change.max() > 0 and p.grad is None, name
            if "muon" not in choice.values():
                # Adam's first step moves every entry by the learning rate.
                assert_close(change, torch.full_like(change, 1e-3), rtol=0.02, atol=0)
        kinds = {key.split(".")[0] for key in optimizer.tensors()}
        assert ("momentum" in kinds) == (choice.get("optimizer") == "muon")


@pytest.mark.parametrize(
    "choice",
    [{}, {"moments": "bfloat16"}, {"optimizer": "muon"}, {"optimizer": "muon", "moments": "bfloat16"}],
)
def test_a_loaded_state_goes_on_bit_for_bit(training, small_model, choice):
    def run(model, optimizer, steps):
        for step in steps:
            for i, p in enumerate(model.parameters()):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1000 * step + i))
            optimizer.step(1e-3)

    config = training(**choice)
    one, two = Transformer(small_model), Transformer(small_model)
    one.init_weights(0)
    first = Optimizer(one, config)
    run(one, first, range(3))
    two.load_state_dict(one.state_dict())
    second = Optimizer(two, config)
    second.load({key: value.clone() for key, value in first.tensors().items()})
    run(one, first, range(3, 6))
    run(two, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_state_of_something_else_is_refused_and_changes_nothing(training, small_model):
    def after_a_step(**choice):
        model = Transformer(small_model)
        model.init_weights(0)
        optimizer = Optimizer(model, training(**choice))
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step(1e-3)
        return optimizer

    one = after_a_step()
    before = {key: value.clone() for key, value in one.tensors().items()}
    for of_model in ({"exp_avg.norm.weight": torch.zeros(3)}, {"exp_avg.nothing": torch.zeros(3)}):
        with pytest.raises(TrainingError, match="another model"):
            one.load(of_model)
    lacking = {key: value for key, value in before.items() if key != "exp_avg_sq.norm.weight"}
    for choice in ({"optimizer": "muon"}, {"moments": "bfloat16"}):
        with pytest.raises(TrainingError, match="another optimizer"):
            one.load(after_a_step(**choice).tensors())
    with pytest.raises(TrainingError, match=r"another optimizer.*norm\.weight"):
        one.load(lacking)
    assert before.keys() == one.tensors().keys()
    assert all(torch.equal(value, one.tensors()[key]) for key, value in before.items())
    one.load({})  # before the first step there is none
    assert not one.tensors()


@pytest.mark.parametrize("slow", [{"beta2": 0.999}, {"optimizer": "muon", "muon_momentum": 0.99}])
def test_moments_that_rounding_would_stop_are_refused(training, small_model, slow):
    model = Transformer(small_model)
    with pytest.raises(TrainingError, match=list(slow)[-1]):
        Optimizer(model, training(moments="bfloat16", **slow))
    Optimizer(model, training(**slow))


def test_muons_matrices_of_one_shape_do_not_meet(training):
    """Worked on together, each moves as it would alone; one without a gradient stays."""
    names = [f"blocks.{i}.attention.wq.weight" for i in range(3)]
    torch.manual_seed(0)
    starts = [torch.randn(6, 4) for _ in names]
    grads = [torch.randn(6, 4), None, torch.randn(6, 4) * 1e-4]
    together, alone = [nn.Parameter(w.clone()) for w in starts], [nn.Parameter(w.clone()) for w in starts]
    for parameters in (together, alone):
        for p, grad in zip(parameters, grads, strict=True):
            p.grad = None if grad is None else grad.clone()
    ours(names, training(optimizer="muon"))(together)()
    for name, p in zip(names, alone, strict=True):
        ours([name], training(optimizer="muon"))([p])()
    for one, other in zip(together, alone, strict=True):
        assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert torch.equal(together[1], starts[1])


@pytest.mark.parametrize("choice", [{}, {"moments": "bfloat16"}, {"optimizer": "muon"}])
def test_weights_without_a_gradient_stay(training, small_model, choice):
    model = Transformer(small_model)
    model.init_weights(0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.embed.weight.grad = torch.ones_like(model.embed.weight)
    optimizer = Optimizer(model, training(**choice))
    optimizer.step(0.1)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name != "embed.weight"), name
    assert {key.partition(".")[2] for key in optimizer.tensors()} == {"embed.weight"}


def test_the_average_remembers_as_long_as_it_has_seen():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 4.0)
    average = Average(model, decay=0.5)
    expected = 4.0
    for n, value in enumerate((1.0, 2.0, 8.0, 3.0), start=1):
        nn.init.constant_(model.weight, value)
        average.update()
        kept = min(0.5, n / (n + 10))
        expected = kept * expected + (1 - kept) * value
    assert average.tensors()["weight"].item() == pytest.approx(expected)
    again = Average(model, decay=0.5)
    again.load(average.tensors())
    for one in (average, again):
        one.update()
    assert torch.equal(average.tensors()["weight"], again.tensors()["weight"])
    for lacking in ({"updates": torch.tensor(1)}, {"weight": torch.zeros(1, 1)}):
        with pytest.raises(TrainingError, match="another model"):
            again.load(lacking)
    assert torch.equal(average.tensors()["weight"], again.tensors()["weight"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_average_of_a_gpus_weights_is_that_of_the_same_on_a_cpu():
    """Its copies are on their way while the next steps run."""
    models = [nn.Linear(512, 512, device=device) for device in ("cpu", "cuda")]
    models[1].load_state_dict(models[0].state_dict())
    averages = [Average(model, decay=0.9) for model in models]
    for step in range(20):
        change = torch.randn(512, 512, generator=torch.Generator().manual_seed(step))
        for model, average in zip(models, averages, strict=True):
            with torch.no_grad():
                model.weight += change.to(model.weight.device)
            average.update()
    here, there = (average.tensors() for average in averages)
    assert all(torch.equal(here[name], there[name]) for name in here)
