"""Activations that are not kept but made again in the backward pass (V3 report, section 3.2.3).

`cheaply` runs a function whose result costs little to make: a normalisation, an up-projection, an activation. Within
`recomputing()` nothing that the backward pass needs refers to that result; where a later operation would have kept
it, it keeps a note of how to make it again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor


class _Call:
    """One run of a function: how to repeat it, and what repeating gave, until its own backward pass is over."""

    def __init__(self, function: Callable[..., Any], inputs: list[Any]) -> None:
        self.function, self.packed = function, inputs
        self.again: tuple[list[Tensor], tuple[Tensor, ...]] | None = None

    def repeat(self) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Inputs cut off from their history, and the results made of them."""
        if self.again is None:
            inputs = [_unpack(packed).detach().requires_grad_() for packed in self.packed]
            with torch.enable_grad():
                self.again = inputs, _as_tuple(self.function(*inputs))
        return self.again


class _Note:
    """Stands for a view of one result of a call."""

    def __init__(self, call: _Call, which: int, view: Tensor) -> None:
        self.call, self.which = call, which
        self.place = view.size(), view.stride(), view.storage_offset()


class _Cheap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.call = call
        return _as_tuple(call.function(*inputs))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, results = ctx.call.repeat()
        # Parameters that the function uses get their gradients here, as leaves.
        torch.autograd.backward(results, grads)
        ctx.call.again = None
        return (None, *(x.grad for x in inputs))


_results: ContextVar[dict[int, tuple[_Call, int, Tensor]] | None] = ContextVar("results", default=None)


@contextmanager
def recomputing() -> Iterator[None]:
    """Results of `cheaply` within are made again when needed. They live until the end, so that no other tensor
    can take the place in memory by which they are known."""
    token = _results.set({})
    try:
        with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
            yield
    finally:
        _results.reset(token)


def cheaply(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """function(*inputs), a tensor or a tuple of them, each result a new tensor of its own memory."""
    held = _results.get()
    if held is None or not torch.is_grad_enabled():
        return function(*inputs)
    call = _Call(function, [_pack(x) for x in inputs])
    results = _Cheap.apply(call, *inputs)
    for which, result in enumerate(results):
        held[result.untyped_storage().data_ptr()] = call, which, result
    return results if len(results) > 1 else results[0]


def _pack(x: Tensor) -> Any:
    held = _results.get() or {}
    found = held.get(x.untyped_storage().data_ptr())
    return _Note(found[0], found[1], x) if found else x


def _unpack(packed: Any) -> Tensor:
    if not isinstance(packed, _Note):
        return packed
    _, results = packed.call.repeat()
    return results[packed.which].detach().as_strided(*packed.place)


def _as_tuple(results: Any) -> tuple[Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)
