"""Objectives: what the engine minimises, as functions of ``(logits, batch)``.

An objective returns one loss a member; the engine adds them up, so that each member
gets the gradient it would get alone. A new method brings an objective, never a loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from skensemble import losses
from skensemble._loader import Batch


class Objective(Protocol):
    """Map logits ``(member, sample, class)`` and their batch to losses ``(member,)``.

    Where the members form one network, one loss of shape ``(1,)`` is for all of them.

    Attributes
    ----------
    shared_batches : bool
        Whether all members must see the same rows in the same order.
    """

    shared_batches: bool

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each member."""
        ...

    def combine(self, logits: Tensor) -> Tensor:
        """Return the logits whose loss and accuracy are to be reported."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """Every member learns the labels by itself."""

    class_weight: Tensor | None = None
    label_smoothing: float = 0.0
    shared_batches = False

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        class_weight = self.class_weight
        if class_weight is not None:
            class_weight = class_weight.to(logits)
        return losses.cross_entropy(
            logits,
            batch.y,
            batch.weight,
            class_weight=class_weight,
            label_smoothing=self.label_smoothing,
        )

    def combine(self, logits: Tensor) -> Tensor:
        """Report each member by itself."""
        return logits


@dataclass(frozen=True)
class SumCrossEntropy(CrossEntropy):
    """The members' mean logits learn the labels as one network: the trained sum."""

    shared_batches = True

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().__call__(losses.mean_logits(logits), batch)

    def combine(self, logits: Tensor) -> Tensor:
        """Report the one network that the members form."""
        return losses.mean_logits(logits)
