"""How an estimator's augmentation is put around its objective."""

from __future__ import annotations

from typing import Any

from skensemble._data.rows import FitData, Rows
from skensemble._fits.given import Given
from skensemble._recipes.recipe import Recipe
from skensemble.augmentation.names import read_augmentation
from skensemble.objectives import Objective
from skensemble.objectives.augmented import Augmented


def augment(
    estimator: Any, objective: Objective, recipe: Recipe, data: FitData, given: Given
) -> Objective:
    """Let an objective be learned on altered batches, where the estimator says so."""
    if estimator.augmentation is None:
        return objective
    augmentation = read_augmentation(estimator.augmentation)
    augmentation.check(recipe.in_shape)
    if augmentation.unit_range:
        rows = Rows(data.X, recipe.dtype)
        found = given.recall("outside [0, 1]", lambda: rows.outside((0.0, 1.0)), (data.X,))
        if found is not None:
            raise ValueError(
                f"augmentation={estimator.augmentation!r} needs images of bytes, or of floats in "
                f"[0, 1]. Got {found[0]:.3g} to {found[1]:.3g}. Divide X by its range and "
                "normalise inside of the network (skensemble.nn.Normalize)."
            )
    return Augmented(objective, augmentation, recipe.n_outputs)
