"""All that makes one network, and which train in one stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import joblib

from skensemble._data.rows import FitData
from skensemble._engine.rates import rate_key
from skensemble._recipes.recipe import Recipe
from skensemble.nn.narrowing import cut_widths
from skensemble.objectives import Objective

SAMPLE_ROWS = 4


@dataclass(frozen=True)
class Member:
    """All that makes one network.

    Attributes
    ----------
    number : int
        Its place among the members of its fit.
    seed : int
        What its random numbers come from.
    recipe : Recipe
        Its module and optimiser, bound to the data.
    objective : Objective
        What it minimises.
    data : FitData
        The rows it learns, and those that are held out.
    """

    number: int
    seed: int
    recipe: Recipe
    objective: Objective
    data: FitData

    def key(self) -> Any:
        """Return what must be equal for two members to train in one stack."""
        data, recipe = self.data, self.recipe
        valid = data.valid
        return (
            recipe_key(recipe),
            rate_key(recipe),
            self.objective.key(),
            (id(data.X), id(data.y), len(data.rows), data.weight is None),
            tuple((name, values.shape) for name, values in data.tables().items()),
            None if valid is None else (id(valid.X), id(valid.y), len(valid.rows)),
        )


def recipe_key(recipe: Recipe) -> str:
    """Hash what recipes must share beside rate, weight decay and which part they see.

    Of pruned networks the widths must agree, not the channels that were kept.
    """
    part = None if recipe.part is None else (0, recipe.part[1])
    kwargs = {k: v for k, v in recipe.optimizer_kwargs.items() if k != "weight_decay"}
    callbacks = None if recipe.net is None else recipe.net.callbacks
    widths = [cut_widths(cuts) for cuts in recipe.pruned]
    starts = None if recipe.start is None else sorted(recipe.start.masks)
    alike = replace(
        recipe, lr=0.0, optimizer_kwargs=kwargs, net=None, part=part, pruned=(), start=None
    )
    return joblib.hash((vars(alike), callbacks, widths, starts))
