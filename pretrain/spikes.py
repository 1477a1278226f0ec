"""Spikes: steps whose loss or gradient stands far above those before."""

import math
import statistics
from typing import Any

WINDOW, FEWEST = 100, 20


class Spikes:
    """Tells a spike by the median of the last steps: 100 of them, once there are 20.

    Without a factor no step is one; with one, a loss that is no number always is.
    """

    def __init__(self, factor: float | None) -> None:
        self._factor = factor
        self._last: list[tuple[float, float]] = []  # loss and norm of the gradient

    def is_spike(self, loss: float, grad_norm: float) -> bool:
        """Whether a step with this loss (nats) and norm of the gradient before clipping is to be left out."""
        if self._factor is None:
            return False
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return True
        if len(self._last) < FEWEST:
            return False
        usual = (statistics.median(values) for values in zip(*self._last, strict=True))
        return any(now > self._factor * before for now, before in zip((loss, grad_norm), usual, strict=True))

    def add(self, loss: float, grad_norm: float) -> None:
        """Remember a step that counted."""
        self._last = [*self._last[1 - WINDOW :], (loss, grad_norm)]

    def state(self) -> list[Any]:
        """What a resumed run needs to decide the same, as JSON."""
        return [list(step) for step in self._last]

    def restore(self, state: list[Any]) -> None:
        """Go on with what `state` gave."""
        self._last = [(float(loss), float(norm)) for loss, norm in state]
