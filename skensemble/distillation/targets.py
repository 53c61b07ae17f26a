"""What teachers say of the rows: tables, computed once for all who need them, or functions."""

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
from skensemble.distillation.teachers import (
    ask_teacher,
    check_given_logits,
    teacher_logits,
    teacher_modules,
)
from skensemble.losses import member_divergence
from skensemble.objectives import Term

_CHUNK_ROWS = 4096


# -- asked about every batch -----------------------------------------------------------------
def asked_teacher(
    teacher: Any, classes: np.ndarray, data: FitData, recipe: Recipe, asked: Given
) -> Callable[[Tensor], Tensor]:
    """Return the teacher as a function of altered rows, one for all students that ask it."""
    rows = Rows(data.X, recipe.dtype)

    def make() -> Callable[[Tensor], Tensor]:
        return ask_teacher(teacher, classes, asked.X, rows)

    return asked.recall("asked teacher", make, (teacher,), tuple(classes))


def asked_about_layers(
    teacher: Any, name: str, layers: dict[str, str], sample: Tensor, asked: Given
) -> TeacherLayers:
    """Return the teacher's layers as a function of altered rows, one for all who ask."""

    def find() -> TeacherLayers:
        return TeacherLayers(teacher_modules(teacher, name), layers, sample)

    return asked.recall("asked layers", find, (teacher,), tuple(layers.items()))


# -- asked once about all rows ---------------------------------------------------------------
def layer_tables(
    teacher: Any, name: str, layers: dict[str, str], recipe: Recipe, data: FitData, asked: Given
) -> dict[str, np.ndarray]:
    """Return what the teacher's layers put out for all rows, by the student's layer."""
    modules = teacher_modules(teacher, name)

    def look() -> dict[str, np.ndarray]:
        found = teacher_features(modules, layers, Rows(data.X, recipe.dtype))
        return {name: value.to(recipe.dtype).numpy() for name, value in found.items()}

    return asked.recall("features", look, (teacher, data.X), tuple(layers.items()))


def logits_of(
    teacher: Any,
    classes: np.ndarray,
    recipe: Recipe,
    data: FitData,
    asked: Given,
    elsewhere: Any = None,
) -> Tensor:
    """Return what a teacher says of all rows or of those from `elsewhere`."""
    ready = asked.teacher_logits
    sources = [asked.X, asked.X_unlabelled] if elsewhere is None else [elsewhere]

    def ask() -> Tensor:
        if ready is not None:
            return check_given_logits(ready, len(data.X), len(classes), recipe.dtype)
        answers = [
            teacher_logits(teacher, source, classes, recipe.dtype)
            for source in sources
            if source is not None
        ]
        return torch.cat(answers) if len(answers) > 1 else answers[0]

    owners = (None if ready is not None else teacher, None if elsewhere is None else data.X)
    return asked.recall("logits", ask, owners, (recipe.dtype,))


def logits_tables(
    term: Term | None, diversity: bool, asked: Given, logits: Tensor
) -> dict[str, Any]:
    """Return what is made of a teacher's logits: a term's targets, and their diversity."""
    found: dict[str, Any] = {}
    if term is not None:
        found["targets"] = term_targets(term, asked, logits)
    if diversity and logits.shape[1] > 1:
        apart = asked.recall("diversity", lambda: member_divergence(logits).numpy(), (logits,))
        found["teacher_diversity"] = apart
    return found


def term_targets(term: Term, asked: Given, logits: Tensor) -> dict[str, np.ndarray]:
    """Compute what a term needs of its teacher for every row."""

    def make() -> dict[str, np.ndarray]:
        parts = [term.targets(chunk) for chunk in logits.split(_CHUNK_ROWS)]
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    return asked.recall("targets", make, (logits,), (term.targets_key(),))
