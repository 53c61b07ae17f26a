"""All that makes one network, and which train in one stack."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
from joblib.hashing import NumpyHasher

from skensemble._data.batches import bounds
from skensemble._data.rows import FitData
from skensemble._data.sparse import SparseRows
from skensemble._engine.rates import rate_key
from skensemble._recipes.fields import named
from skensemble._recipes.parts import Rates
from skensemble._recipes.recipe import Recipe
from skensemble.objectives import Objective

SAMPLE_ROWS = 4
# Rows of different arrays train in one stack where none of them is larger: they are copied.
_JOINED_BYTES = 1 << 28


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
    told : FitData or None
        What a checkpoint says of them, where they are features of what the user gave.
    """

    number: int
    seed: int
    recipe: Recipe
    objective: Objective
    data: FitData
    told: FitData | None = None

    def key(self) -> Any:
        """Return what must be equal for two members to train in one stack."""
        data, recipe = self.data, self.recipe
        valid = data.valid
        return (
            recipe_key(recipe),
            rate_key(recipe.training, recipe.find(Rates) is not None),
            self.objective.key(),
            (self.starts(), _rows_key(data), data.weight is None),
            tuple((name, values.shape[1:]) for name, values in data.tables().items()),
            None if valid is None else _rows_key(valid),
        )

    def starts(self) -> tuple[int, ...]:
        """Return where batches begin, as they must alike for members that step together.

        The last one may be longer for some.
        """
        training = self.recipe.training
        return tuple(bounds(len(self.data.rows), training.batch_size, training.drop_last)[:-1])


def _rows_key(data: FitData) -> Any:
    """Return what rows of two members must share: how they can be joined."""
    X = data.X
    if type(X) in (np.ndarray, SparseRows) and X.nbytes <= _JOINED_BYTES:
        return type(X), X.shape[1:], X.dtype
    return id(X), id(data.y)


def recipe_key(recipe: Recipe) -> str:
    """Hash what recipes must share: what their fields and wraps say, beside rate and decay."""
    training = recipe.training
    alike = [
        {name: getattr(one, name) for name in named(one, "stack", "alike")}
        for one in (recipe, training)
    ]
    kwargs = {k: v for k, v in training.optimizer_kwargs.items() if k != "weight_decay"}
    callbacks = None if training.net is None else training.net.callbacks
    masked = sorted(recipe.start.masks)
    return str(_Hasher().hash((alike, kwargs, callbacks, recipe.wraps_key(), masked)))


class _Hasher(NumpyHasher):  # type: ignore[misc]
    """joblib's hash, in which functions that have no place to be found in are themselves."""

    def save(self, obj: Any) -> None:
        """Write a lambda or an inner function by its id."""
        if isinstance(obj, FunctionType) and "<" in obj.__qualname__:
            obj = "itself", id(obj)
        super().save(obj)
