"""What a perturbation needs of teacher, student and rows."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from skensemble._data.rows import FitData, Rows
from skensemble._fits.given import Given
from skensemble._recipes.recipe import Recipe
from skensemble.distillation.teachers import count_teachers
from skensemble.perturbation import Perturbation


def check_networks(perturbation: Perturbation, teacher: Any, n_students: int) -> None:
    """Refuse teachers and students of too few networks."""
    n_teachers = count_teachers(teacher)
    if n_teachers < perturbation.n_teachers or n_students < perturbation.n_students:
        raise ValueError(
            f"perturbation={perturbation!r} needs at least {perturbation.n_teachers} networks in "
            f"the teacher and {perturbation.n_students} in the student. Got {n_teachers} and "
            f"{n_students}."
        )
    if perturbation.n_students > 1 and n_students != n_teachers:
        raise ValueError(
            f"perturbation={perturbation!r} compares the same members of teacher and student, so "
            f"they must be as many. Got {n_teachers} and {n_students}."
        )


def units(
    bounds: Any, data: FitData, recipe: Recipe, given: Given
) -> tuple[Tensor | None, tuple[float, float] | None]:
    """Return the unit of a step for each feature, and the range that rows must keep."""
    is_table = len(recipe.in_shape) == 1
    if isinstance(bounds, str):
        bounds = None if is_table else (0.0, 1.0)
    if bounds is not None:
        bounds = float(bounds[0]), float(bounds[1])
        _check_range(Rows(data.X, recipe.dtype), bounds)
    if not is_table:
        return None, bounds

    at = np.sort(data.rows)
    weight = None if data.weight is None else data.weight[at]

    def measure() -> Tensor:
        rows = np.asarray(data.X[at], np.float64)
        mean = np.average(rows, 0, weight)
        return torch.from_numpy(np.average((rows - mean) ** 2, 0, weight) ** 0.5).to(recipe.dtype)

    return given.recall("spread", measure, values=(joblib.hash((at, weight)),)), bounds


def _check_range(rows: Rows, bounds: tuple[float, float]) -> None:
    found = rows.outside(bounds)
    if found is not None:
        raise ValueError(
            f"With a perturbation X must lie in 'input_range', here {bounds}, so that altered "
            f"rows can be kept in it. Got {found[0]:.3g} to {found[1]:.3g}. Normalise "
            "inside of the network (skensemble.nn.Normalize), or set 'input_range' (None for "
            "no limits)."
        )
