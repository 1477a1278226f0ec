"""Optimizers: AdamW as in V3 (report, section 4.2), Muon as in Moonlight (arXiv 2502.16982) and V4, and the running
mean of the weights.

Weights are float32, and so serve as their own master copies.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from pretrain.config import TrainingConfig
from pretrain.errors import TrainingError

# Coefficients (a, b, c) of x -> a x + b x^3 + c x^5 on singular values. Keller Jordan's polynomial rises fast and
# settles anywhere in [0.7, 1.2]; V4 ends with two steps of one that settles at 1.
_FAST, _EXACT = (3.4445, -4.7750, 2.0315), (2.0, -1.5, 0.5)
NEWTON_SCHULZ = {"five": (_FAST,) * 5, "eight_and_two": (_FAST,) * 8 + (_EXACT,) * 2}

SLOWEST_ROUNDED = 0.98  # the highest beta with which moments in bfloat16 follow gradients


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW whose two moments are kept in bfloat16 (V3 report, section 3.3.3), all arithmetic in float32.

    Rounding to nearest is enough: a step moves the first moment by a tenth of its distance from the gradient and the
    second by a twentieth (betas 0.9 and 0.95), and they stop short of their goal by at most 4 and 8 percent: half of
    bfloat16's last place over that share. Gradients that vary leave no bias. With a beta of 0.999 the second moment
    would hardly move at all.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": 0.0, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            settings = {name: group[name] for name in ("lr", "eps", "weight_decay")}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros((), device=weight.device)
                    state["exp_avg"] = torch.zeros_like(weight, dtype=torch.bfloat16)
                    state["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.bfloat16)
                # One parameter at a time, so that no more than its own moments are held in float32.
                first, second = state["exp_avg"].float(), state["exp_avg_sq"].float()
                adamw(
                    [weight], [weight.grad], [first], [second], [], [state["step"]],
                    beta1=beta1, beta2=beta2, **settings, amsgrad=False, maximize=False, fused=True,
                )  # fmt: skip
                state["exp_avg"].copy_(first)
                state["exp_avg_sq"].copy_(second)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal: every direction of a matrix moves by the same amount.

    An update has `muon_rms` as the root mean square of its entries, so that AdamW's learning rate and weight decay
    serve (Moonlight, section 2.2). A parameter [..., n, m] is a stack of matrices, each of them moved by itself; each
    of `halves` stacks two along n. Matrices of one shape are worked on together.
    """

    def __init__(
        self, weights: list[nn.Parameter], halves: set[nn.Parameter], config: TrainingConfig
    ) -> None:
        super().__init__(weights, {"lr": 0.0, "weight_decay": config.weight_decay})
        self.halves, self.momentum, self.rms = halves, config.muon_momentum, config.muon_rms
        self.steps, self.dtype = NEWTON_SCHULZ[config.newton_schulz], getattr(torch, config.moments)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            alike: dict[Any, list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    # Experts are many as they are: no more than one stack of them is held twice.
                    alike.setdefault(weight.shape if weight.ndim == 2 else weight, []).append(weight)
            for weights in alike.values():
                updates = torch.stack([self._with_momentum(weight) for weight in weights])
                if weights[0] in self.halves:
                    updates = updates.unflatten(-2, (2, -1))
                rate = group["lr"] * self.rms * max(updates.shape[-2:]) ** 0.5
                updates = orthogonalised(updates, self.steps)
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update.reshape(weight.shape), alpha=-rate)

    def _with_momentum(self, weight: nn.Parameter) -> Tensor:
        """The gradient's mean over the last steps, as it will be when the gradient comes once more (Nesterov)."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight, dtype=self.dtype)
        momentum = state["momentum"].float().lerp_(weight.grad, 1 - self.momentum)
        state["momentum"].copy_(momentum)
        return momentum.lerp(weight.grad, 1 - self.momentum)


def orthogonalised(x: Tensor, steps: tuple[tuple[float, float, float], ...]) -> Tensor:
    """About the nearest matrices [..., n, m] whose singular values are all one, at any scale of x: Newton-Schulz
    iteration, in bfloat16 on a GPU."""
    tall = x.shape[-2] > x.shape[-1]
    y = (x.mT if tall else x).reshape(-1, *sorted(x.shape[-2:]))
    y = y / y.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    y = y.to(torch.bfloat16 if x.is_cuda else torch.float32)
    for a, b, c in steps:
        square = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(square, square, square, beta=b, alpha=c), y, beta=a)
    return (y.mT if tall else y).reshape(x.shape).to(x.dtype)


class Optimizer:
    """All of a model's parameters, each in one optimizer: matrices decay, norms do not.

    With Muon, embedding, head and norms stay with AdamW (Moonlight, V4); routers, matrices like others
    in both, do not. A weight without a gradient stays as it is, its moments too. Raises TrainingError where moments
    in bfloat16 could not follow the gradients.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        used = ("beta1", "beta2") + (("muon_momentum",) if config.optimizer == "muon" else ())
        slow = [name for name in used if getattr(config, name) > SLOWEST_ROUNDED]
        if slow and config.moments == "bfloat16":
            raise TrainingError(
                f'moments = "bfloat16" would stand still with {slow[0]} = {getattr(config, slow[0])}; '
                f'take at most {SLOWEST_ROUNDED}, or moments = "float32"'
            )
        self._weights = dict(model.named_parameters())
        within = {name for name in self._weights if name.startswith(("blocks.", "mtp."))}
        muon = {n for n in within if self._weights[n].ndim >= 2} if config.optimizer == "muon" else set()
        rest = [p for name, p in self._weights.items() if name not in muon]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        betas = config.beta1, config.beta2
        adam: torch.optim.Optimizer
        if config.moments == "bfloat16":
            adam = RoundedAdamW(groups, betas, config.adam_eps)
        else:
            adam = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=config.adam_eps, fused=True)
        self._moments = getattr(torch, config.moments)
        self._optimizers: dict[str, torch.optim.Optimizer] = dict.fromkeys(self._weights, adam)
        self._all = [adam]
        if muon:
            halves = {self._weights[n] for n in muon if n.endswith("w13_EGD")}
            self._all.append(Muon([self._weights[n] for n in sorted(muon)], halves, config))
            self._optimizers |= dict.fromkeys(muon, self._all[1])

    def step(self, learning_rate: float) -> None:
        """Move every weight that has a gradient, and forget the gradients."""
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Forget the gradients and move nothing."""
        for weight in self._weights.values():
            weight.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The state by kind and parameter, `exp_avg.blocks.0.attention.wq.weight`; views, not copies."""
        return {
            f"{kind}.{name}": value
            for name, weight in self._weights.items()
            for kind, value in self._optimizers[name].state.get(weight, {}).items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on with a state that `tensors` gave, which is taken over and not copied. Raises TrainingError where it is
        of another model or optimizer, and then changes nothing."""
        found: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            weight = self._weights.get(name)
            if weight is None or value.shape != (() if kind == "step" else weight.shape):
                raise TrainingError(f"the optimizer's state is of another model: {key} does not fit")
            found.setdefault(name, {})[kind] = value.to(weight.device)
        for name, state in found.items():
            kinds = dict.fromkeys(("exp_avg", "exp_avg_sq"), self._moments) | {"step": torch.float32}
            if isinstance(self._optimizers[name], Muon):
                kinds = {"momentum": self._moments}
            if {kind: value.dtype for kind, value in state.items()} != kinds:
                raise TrainingError(
                    f"the optimizer's state is of another optimizer: {', '.join(sorted(state))} of {name} do not fit "
                    "the settings optimizer and moments"
                )
        for name, weight in self._weights.items():
            self._optimizers[name].state[weight] = found.get(name, {})


class Average:
    """An exponential moving average of a model's weights, float32 on the CPU (V3 report, section 3.2.3).

    It remembers at most as many steps as it has seen: the n-th update keeps min(decay, n / (n + 10)) of it, so that the
    first weights do not linger. Weights of a GPU are averaged in a thread of their own while the next step is on its
    way; until then a copy of them in pinned memory waits.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights, self._decay, self._updates = dict(model.named_parameters()), decay, 0
        self._values = {
            name: weight.detach().to("cpu", torch.float32, copy=True)
            for name, weight in self._weights.items()
        }
        self._thread = ThreadPoolExecutor(1, "average")
        self._pending: Future[None] | None = None
        self._landing = {
            name: torch.empty(weight.shape, pin_memory=True)
            for name, weight in self._weights.items()
            if weight.is_cuda
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of a step in."""
        self._settle()
        self._updates += 1
        kept = min(self._decay, self._updates / (self._updates + 10))
        if not self._landing:
            return self._take_in(self._weights, kept)
        # In the order of the stream: the next step may move the weights only after they are copied.
        for name, landing in self._landing.items():
            landing.copy_(self._weights[name], non_blocking=True)
        landed = torch.cuda.Event()
        landed.record()
        self._pending = self._thread.submit(self._take_in, self._landing, kept, landed)

    def tensors(self) -> dict[str, Tensor]:
        """The average of each parameter by name, and `updates`, int64 []. Views, not copies."""
        self._settle()
        return {**self._values, "updates": torch.tensor(self._updates)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on with what `tensors` gave. Raises TrainingError where it is of another model, and then changes
        nothing."""
        self._settle()
        for name, value in {**self._values, "updates": torch.tensor(0)}.items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise TrainingError(f"the average of the weights is of another model: {name} does not fit")
        for name, value in self._values.items():
            value.copy_(tensors[name])
        self._updates = int(tensors["updates"])

    @torch.no_grad()
    def _take_in(self, weights: dict[str, Any], kept: float, landed: torch.cuda.Event | None = None) -> None:
        if landed is not None:
            landed.synchronize()
        for name, value in self._values.items():
            value.lerp_(weights[name].float(), 1 - kept)

    def _settle(self) -> None:
        """Wait for the update under way, if any."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None
