"""Batches that are altered before they are learned, the labels with the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from skensemble._data.batches import Batch
from skensemble._seeding import Purpose, purpose_seed
from skensemble.augmentation import Augmentation
from skensemble.objectives.base import Objective, WrappedObjective


@dataclass(frozen=True, eq=False)
class Augmented(WrappedObjective):
    """Another objective, on batches that an augmentation has altered.

    Every member draws from its own seed; members that form one network, which sees one
    batch, from the first one's. Held-out rows are not altered.
    """

    augmentation: Augmentation
    n_classes: int
    draws: tuple[np.random.Generator, ...] = ()

    def key(self) -> Any:
        """Let members of equal settings train together."""
        return (type(self), self.inner.key(), self.augmentation.key(), self.n_classes)

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Objective:
        own = seeds[:1] if self.shared_batches else seeds
        draws = [np.random.default_rng(purpose_seed(seed, Purpose.AUGMENT)) for seed in own]
        return replace(self, inner=self.inner.start(seeds, shapes, dtype), draws=tuple(draws))

    def among(self, members: slice) -> Augmented:
        return replace(super().among(members), draws=self.draws[members])

    @property
    def reads_rows(self) -> bool:
        return True

    def prepare(self, batch: Batch, look: Callable[[Tensor], Tensor]) -> Batch:
        altered = self.augmentation.alter(self._own(batch), self.draws)
        return super().prepare(altered, look)

    def _own(self, batch: Batch) -> Batch:
        """Give each member a batch of its own, and its labels as shares where rows will mix."""

        def own(values: Tensor) -> Tensor:
            return values.expand(len(self.draws), *values.shape[1:])

        y = batch.y
        if self.augmentation.mixes:
            y = one_hot(y, self.n_classes).to(batch.x.dtype)
        return replace(
            batch,
            x=own(batch.x),
            y=own(y),
            weight=None if batch.weight is None else own(batch.weight),
            **batch.map_tables(own),
        )
