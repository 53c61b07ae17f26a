"""How a student's perturbation is read, checked, and put around its objective."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from skensemble._data.rows import FitData, Rows
from skensemble._fits.given import Given
from skensemble._recipes.recipe import Recipe
from skensemble.distillation.targets import asked_teacher
from skensemble.distillation.teachers import check_differentiable, count_teachers
from skensemble.distillation.terms import term_of
from skensemble.objectives import Objective, Perturbed
from skensemble.perturbation import ODS, ConfODS, Gaussian, Perturbation, TDivSDiv

KINDS: dict[str, type[Any]] = {
    "gaussian": Gaussian,
    "ods": ODS,
    "confods": ConfODS,
    "tdiv-sdiv": TDivSDiv,
}


def perturb(
    student: Any, objective: Objective, recipe: Recipe, data: FitData, given: Given
) -> Objective:
    """Let the teacher's term be learned on altered rows."""
    why = f"perturbation={student.perturbation!r}"
    if term_of(student, recipe.n_outputs).uses_layers:
        raise ValueError(f"{why} needs an objective on outputs. Got {student.objective!r}.")
    check_differentiable(student.teacher_, why)
    alter = student.perturbation
    alter = KINDS[alter](student.step) if isinstance(alter, str) else alter
    teacher = asked_teacher(student.teacher_, student.classes_, data, recipe, given)
    _check_numbers(alter, why, student.teacher_, recipe)
    spread, bounds = _units(student.input_range, data, recipe, given)
    temperature = float(student.temperature)
    return Perturbed(objective, alter, teacher, temperature, spread, bounds)


def _check_numbers(alter: Perturbation, why: str, teacher: Any, recipe: Recipe) -> None:
    n_students = recipe.n_members
    n_teachers = count_teachers(teacher)
    if n_teachers < alter.n_teachers or n_students < alter.n_students:
        raise ValueError(
            f"{why} needs at least {alter.n_teachers} networks in the teacher and "
            f"{alter.n_students} in the student. Got {n_teachers} and {n_students}."
        )
    if alter.n_students > 1 and n_students != n_teachers:
        raise ValueError(
            f"{why} compares the same members of teacher and student, so they must be as many. "
            f"Got {n_teachers} and {n_students}."
        )


def _units(
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

    return given.recall(("spread", joblib.hash((at, weight))), measure), bounds


def _check_range(rows: Rows, bounds: tuple[float, float]) -> None:
    found = rows.outside(bounds)
    if found is not None:
        raise ValueError(
            f"With a perturbation X must lie in 'input_range', here {bounds}, so that altered "
            f"rows can be kept in it. Got {found[0]:.3g} to {found[1]:.3g}. Normalise "
            "inside of the network (skensemble.nn.Normalize), or set 'input_range' (None for "
            "no limits)."
        )
