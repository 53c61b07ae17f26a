"""What teachers say of the rows: tables, or asked batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skensemble._base.features import TeacherLayers, teacher_features
from skensemble._data.rows import FitData, Rows
from skensemble._fits.given import Given
from skensemble._recipes.recipe import Recipe
from skensemble.distillation.students import _CHUNK_ROWS
from skensemble.distillation.teachers import (
    ask_teacher,
    check_given_logits,
    teacher_logits,
    teacher_modules,
)
from skensemble.losses import member_divergence
from skensemble.objectives import TEACHER_DIVERSITY, Asked, Objective, Term


def asked_teacher(
    teacher: Any, classes: np.ndarray, data: FitData, recipe: Recipe, given: Given
) -> Callable[[Tensor], Tensor]:
    """Return the teacher as a function of altered rows, one for all students that ask it."""
    rows = Rows(data.X, recipe.dtype)
    key = ("asked", id(teacher), tuple(classes))
    return given.recall(key, lambda: ask_teacher(teacher, classes, given.X, rows))


def ask_in_batches(
    objective: Objective,
    term: Term,
    teacher: Any,
    recipe: Recipe,
    data: FitData,
    given: Given,
    *,
    classes: np.ndarray,
    layers: dict[str, str],
    name: str,
    diversity: bool = False,
) -> Asked:
    """Let the teacher be asked about each batch, as it is needed where rows are altered."""
    ask = None
    if not layers or diversity:
        ask = asked_teacher(teacher, classes, data, recipe, given)
    if not layers:
        return Asked(objective, term, ask, diversity=diversity)
    sample = Rows(data.X, recipe.dtype).slice(0, 2)

    def find() -> TeacherLayers:
        return TeacherLayers(teacher_modules(teacher, name), layers, sample)

    look = given.recall(("asked layers", id(teacher), tuple(layers.items())), find)
    shapes = {name: tuple(values.shape[1:]) for name, values in look(sample).items()}
    return Asked(objective, term, ask, look, diversity, shapes)


def teacher_targets(term: Term, given: Given, key: Any, logits: Tensor) -> dict[str, np.ndarray]:
    """Compute what a term needs of its teacher for every row, once for all who need it."""

    def make() -> dict[str, np.ndarray]:
        parts = [term.targets(chunk) for chunk in logits.split(_CHUNK_ROWS)]
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    settings = tuple(getattr(term, name) for name in term.scalars)
    return given.recall(("targets", key, term.key(), settings), make)


# -- what the teacher says -------------------------------------------------------------------
def said_of(
    student: Any,
    term: Term,
    layers: dict[str, str],
    recipe: Recipe,
    data: FitData,
    given: Given,
    outside: Any = None,
) -> dict[str, np.ndarray]:
    """Ask the teacher about all rows, or about rows from `outside` of `fit`."""
    ready = given.options.get("teacher_logits")
    if ready is not None and layers:
        raise ValueError(
            f"objective={student.objective!r} compares layers, so 'teacher_logits' are not "
            "enough; pass 'teacher', or use objective='label'."
        )
    if ready is not None and outside is not None:
        raise ValueError(
            "'teacher_logits' do not cover the validation rows of a predefined train_split; "
            "use ValidSplit, or pass 'teacher'."
        )
    extras = _layers_of(student, layers, recipe, data, given) if layers else {}
    if layers and not student.report_diversity:
        return extras
    sources = [given.X, given.options.get("X_unlabelled")] if outside is None else [outside]

    def ask() -> Tensor:
        if ready is not None:
            shape = len(data.X), len(student.classes_)
            return check_given_logits(ready, *shape, recipe.dtype)
        said = [
            teacher_logits(student.teacher_, source, student.classes_, recipe.dtype)
            for source in sources
            if source is not None
        ]
        return torch.cat(said) if len(said) > 1 else said[0]

    of = None if outside is None else id(data.X)
    who = (None if ready is not None else id(student.teacher_), recipe.dtype, of)
    logits = given.recall(("logits", *who), ask)
    if not layers:
        extras = teacher_targets(term, given, who, logits)
    if student.report_diversity and logits.shape[1] > 1:
        apart = given.recall((TEACHER_DIVERSITY, who), lambda: member_divergence(logits))
        extras = {**extras, TEACHER_DIVERSITY: apart.numpy()}
    return extras


def _layers_of(
    student: Any, layers: dict[str, str], recipe: Recipe, data: FitData, given: Given
) -> dict[str, np.ndarray]:
    """Look what the teacher's layers put out for all rows."""
    modules = teacher_modules(student.teacher_, str(student.objective))

    def look() -> dict[str, np.ndarray]:
        found = teacher_features(modules, layers, Rows(data.X, recipe.dtype))
        return {name: value.to(recipe.dtype).numpy() for name, value in found.items()}

    key = ("features", id(student.teacher_), tuple(layers.items()), id(data.X))
    return given.recall(key, look)
