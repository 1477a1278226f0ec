"""One type for everything that changes while training: learning rate, batch and context, bias speed, MTP weight.

A schedule is a pure function of how far the run has come, so a resumed run needs no state for it and a
paper's schedule can be checked against the paper's numbers.
"""

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Progress(NamedTuple):
    """How far a run has come before a step: optimizer steps done, tokens read, share of all steps."""

    step: int
    tokens: int
    fraction: float


class Segment(BaseModel):
    """A stretch of a schedule that ends at `until` with the value `to`.

    `constant` holds `to` from the segment's beginning; the others lead there from the value before: `linear`,
    `cosine`, and `sqrt`, which falls steeply at first (the decay of warm-up, stable, decay).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: Finite = Field(gt=0)
    to: Finite
    shape: Literal["constant", "linear", "cosine", "sqrt"] = "constant"


class Piecewise(BaseModel):
    """`start` at 0, then the segments in order; the last value holds on. A bare number is a constant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Finite
    unit: Literal["fraction", "step", "token"] = "fraction"
    segments: tuple[Segment, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"start": value} if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _in_order(self) -> "Piecewise":
        ends = [segment.until for segment in self.segments]
        if ends != sorted(set(ends)):
            raise ValueError("the segments of a schedule must have increasing 'until'")
        return self

    @property
    def values(self) -> list[float]:
        """What it starts with and where each segment leads: it never leaves their range."""
        return [self.start, *(segment.to for segment in self.segments)]

    def __call__(self, progress: Progress) -> float:
        position = {"fraction": progress.fraction, "step": progress.step, "token": progress.tokens}[self.unit]
        begin, value = 0.0, self.start
        for segment in self.segments:
            if position < segment.until:
                share = (position - begin) / (segment.until - begin)
                return _between(value, segment.to, share, segment.shape)
            begin, value = segment.until, segment.to
        return value


def _between(left: float, right: float, share: float, shape: str) -> float:
    if shape == "constant":
        return right
    if shape == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    if shape == "sqrt":
        share = math.sqrt(share)
    return left + (right - left) * share
