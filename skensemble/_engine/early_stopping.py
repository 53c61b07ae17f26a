"""skorch's ``EarlyStopping``, followed for every member by itself."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from skorch.callbacks import EarlyStopping
from torch import Tensor

from skensemble._private import Interval, StrOptions, validate_parameter_constraints

_CONSTRAINTS: dict[str, Any] = {
    "patience": [Interval(numbers.Real, 1, None, closed="left")],
    "threshold": [numbers.Real],
    "threshold_mode": [StrOptions({"rel", "abs"})],
    "lower_is_better": ["boolean"],
    "load_best": ["boolean"],
}


class MemberEarlyStopping:
    """Apply one ``EarlyStopping`` recipe to each member of a stack.

    A member that stops keeps the weights it has then, or its best ones where the recipe
    says ``load_best=True``; the others train on.

    Parameters
    ----------
    recipe : skorch.callbacks.EarlyStopping
        Monitor, patience, threshold and ``load_best``; never changed.
    n_members : int
        How many members train together.
    """

    def __init__(self, recipe: EarlyStopping, n_members: int) -> None:
        given = {name: getattr(recipe, name) for name in _CONSTRAINTS}
        validate_parameter_constraints(_CONSTRAINTS, given, "EarlyStopping")
        self.recipe = recipe
        worst = np.inf if recipe.lower_is_better else -np.inf
        self.bar = np.full(n_members, worst)
        self.misses = np.zeros(n_members, dtype=int)
        self.best_epoch = np.zeros(n_members, dtype=int)
        self.stopped = np.zeros(n_members, dtype=bool)
        self.kept: dict[int, dict[str, Tensor]] = {}

    def update(
        self, epoch: int, scores: np.ndarray, state: Callable[[int], dict[str, Tensor]]
    ) -> None:
        """Take the scores of one epoch; `state` gives a copy of a member's weights."""
        recipe = self.recipe
        improved = scores < self.bar if recipe.lower_is_better else scores > self.bar
        change = recipe.threshold * (scores if recipe.threshold_mode == "rel" else 1.0)
        bar = scores - change if recipe.lower_is_better else scores + change
        for member in np.flatnonzero(~self.stopped):
            if improved[member]:
                self.bar[member], self.misses[member] = bar[member], 0
                self.best_epoch[member] = epoch
                if recipe.load_best:
                    self.kept[int(member)] = state(int(member))
                continue
            self.misses[member] += 1
            if self.misses[member] == recipe.patience:
                self.stopped[member] = True
                if not recipe.load_best:
                    self.kept[int(member)] = state(int(member))

    @property
    def all_stopped(self) -> bool:
        """Whether there is nobody left to train."""
        return bool(self.stopped.all())
