"""A lesson: what a student learns of a teacher, from which rows, and how much it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from skensemble._base.features import TeacherLayers
from skensemble._data.rows import FitData, Rows
from skensemble._engine.members import SAMPLE_ROWS
from skensemble._fits.given import Given
from skensemble._recipes.recipe import Recipe
from skensemble.distillation.held_out import held_apart, rows_as_given
from skensemble.distillation.perturbing import check_networks, units
from skensemble.distillation.targets import (
    Heard,
    asked_about_layers,
    asked_teacher,
    layer_tables,
    logits_of,
    logits_tables,
)
from skensemble.distillation.teachers import (
    check_differentiable,
    check_same_reading,
    count_teachers,
)
from skensemble.distillation.unlabelled import agreeing
from skensemble.nn._taps import Tap, find_taps
from skensemble.objectives import Objective, Term
from skensemble.objectives.base import CrossEntropy
from skensemble.objectives.distilled import AskedPerBatch, Distilled, Perturbed
from skensemble.perturbation import Perturbation


def shares(term: Term, alpha: float) -> tuple[float, float]:
    """Return what the labels' and the teacher's terms are multiplied with."""
    return (1.0 - alpha, float(alpha)) if term.weight is None else (1.0, float(term.weight))


@dataclass(frozen=True, eq=False)
class Lesson:
    """What the students of one fit learn of a teacher.

    Attributes
    ----------
    term : Term
        What students are to have in common with the teacher, nothing of it left open.
    name : str
        How the user wrote the term, for errors.
    teacher : classifier or None
        Fitted; None where `asked` brings its logits.
    classes : ndarray of shape (n_classes,)
        The labels of the students.
    label_share, teacher_share : float
        What the labels' and the teacher's terms are multiplied with.
    asked : Given
        What the teacher is asked about, with ready answers where there are, and where what it
        says is remembered.
    altered_by : str
        The parameter that alters rows before the student sees them, if one does. The teacher
        is then asked about every batch, and beforehand about held-out rows alone.
    perturbation : Perturbation or None
        How rows are altered along the gradients of the teacher.
    temperature : float
        Of the perturbation.
    reports_diversity : bool
        Whether to tell how far the networks of the teacher are apart.
    heard : Heard
        What is heard of the teacher beside its word on the rows it was trained on.
    """

    term: Term
    name: str
    teacher: Any
    classes: np.ndarray
    label_share: float
    teacher_share: float
    asked: Given
    altered_by: str = ""
    perturbation: Perturbation | None = None
    temperature: float = 1.0
    reports_diversity: bool = False
    heard: Heard = field(default_factory=Heard)

    @property
    def layers(self) -> dict[str, str]:
        """The teacher's layer for each of the student's that is compared."""
        return self.term.layer_names()

    # -- the labels' objective becomes that of the lesson ------------------------------------

    def teach(
        self, recipe: Recipe, data: FitData, given: Given, labels: CrossEntropy
    ) -> tuple[FitData, Objective]:
        """Add what the teacher says to the data, and its term to the labels' objective.

        `given` remembers, for all fits on the same rows, the held-out rows that are cut out.
        """
        if self.teacher_share == 0:
            self._check_no_rows_for_the_teacher(data)
            return data, labels
        self._check(recipe)
        if self.layers or self.altered_by:
            check_same_reading(recipe.table, self.teacher)
        tables = {} if self.altered_by else self._tables(recipe, data)
        said = tables.pop("said", None)
        if said is not None:
            data = agreeing(data, said, given)
        taps: tuple[Tap, ...] = ()
        if self.layers:
            sample = Rows(data.X, recipe.dtype).slice(0, SAMPLE_ROWS)
            taps = find_taps(recipe.build(0), list(self.layers), sample, "student")
        objective = Distilled(labels, self.term, self.label_share, self.teacher_share, taps)
        valid = data.valid
        if valid is not None:
            valid = self._teach_held_out(recipe, data, valid, given, tables)
        return replace(data, valid=valid, **tables), objective

    def alter(self, objective: Objective, recipe: Recipe, data: FitData) -> Objective:
        """Let the teacher be asked about every batch, where rows are altered, and alter them."""
        if self.teacher_share == 0 or not self.altered_by:
            return objective
        objective = self._ask_per_batch(objective, recipe, data)
        if self.perturbation is None:
            return objective
        why = f"perturbation={self.perturbation!r}"
        if self.layers:
            raise ValueError(f"{why} needs an objective on outputs. Got {self.name}.")
        check_differentiable(self.teacher, why)
        check_networks(self.perturbation, self.teacher, recipe.n_members)
        spread, bounds = units(self.perturbation.input_range, data, recipe, self.asked)
        return Perturbed(
            objective, self.perturbation, self._ask(recipe, data), self.temperature, spread, bounds
        )

    # -- what the teacher says ---------------------------------------------------------------

    def _tables(
        self, recipe: Recipe, data: FitData, elsewhere: Any = None, *, keep: bool = True
    ) -> dict[str, Any]:
        """Ask about all rows, or about rows from `elsewhere`; return fields of the data."""
        asked = self.asked if keep else replace(self.asked, shared={})
        self._check_ready(elsewhere)
        found: dict[str, Any] = {}
        if self.layers:
            found["layers"] = layer_tables(
                self.teacher, self.name, self.layers, recipe, data, asked
            )
            if not self.reports_diversity:
                return found
        parts = logits_of(
            self.teacher, self.classes, recipe.dtype, data, asked, elsewhere, self.heard
        )
        return {**logits_tables(self._wanted, self.reports_diversity, asked, parts), **found}

    @property
    def _wanted(self) -> Term | None:
        return None if self.layers else self.term

    def _teach_held_out(
        self, recipe: Recipe, data: FitData, valid: FitData, given: Given, tables: dict[str, Any]
    ) -> FitData:
        if valid.X is not data.X:  # predefined, and no other fit's
            outside = self._tables(recipe, valid, valid.X, keep=False)
            outside.pop("said", None)
            if data.labelled is not None:
                outside["labelled"] = np.ones(len(valid.X))
            return replace(valid, **outside)
        if self.altered_by:  # held-out rows are not altered, so the teacher is asked at once
            source = rows_as_given(valid, self.asked.X, given, recipe.table is not None)
            valid = held_apart(valid, given)
            tables = self._tables(recipe, valid, source)
            tables.pop("said", None)
        return replace(valid, **tables)

    def _ask(self, recipe: Recipe, data: FitData) -> Callable[[Tensor], Tensor]:
        return asked_teacher(self.teacher, self.classes, data, recipe, self.asked)

    def _ask_per_batch(self, objective: Objective, recipe: Recipe, data: FitData) -> AskedPerBatch:
        diversity = self.reports_diversity and count_teachers(self.teacher) > 1
        ask = self._ask(recipe, data) if diversity or not self.layers else None
        if not self.layers:
            return AskedPerBatch(objective, self.term, ask, diversity=diversity)
        sample = Rows(data.X, recipe.dtype).slice(0, 2)
        look: TeacherLayers = asked_about_layers(
            self.teacher, self.name, self.layers, sample, self.asked
        )
        shapes = {name: tuple(values.shape[1:]) for name, values in look(sample).items()}
        return AskedPerBatch(objective, self.term, ask, look, diversity, shapes)

    # -- what cannot be ----------------------------------------------------------------------

    def _check(self, recipe: Recipe) -> None:
        if self.altered_by and self.teacher is None:
            raise ValueError(
                f"{self.altered_by} alters rows and asks the teacher again, so "
                "'teacher_logits' are not enough. Pass 'teacher'."
            )
        if recipe.shares_layers and self.layers:
            raise ValueError(
                f"objective={self.name} compares layers, which the members of a "
                "BatchEnsembleClassifier share. Use objective='label'."
            )
        if self.term.targets_of_members:
            self._check_as_many_teachers(recipe)

    def _check_as_many_teachers(self, recipe: Recipe) -> None:
        if not recipe.shares_layers:
            raise ValueError(
                "averaging='one-to-one' needs a student with members, a BatchEnsembleClassifier. "
                "Got one of a single network; use 'proba' or 'logit'."
            )
        ready = self.asked.teacher_logits
        if ready is None:
            n_teachers = count_teachers(self.teacher)
        else:
            n_teachers = len(ready) if np.ndim(ready) == 3 else 1
        if n_teachers != recipe.n_members:
            raise ValueError(
                "One-to-one distillation needs as many members in the teacher as in the student. "
                f"Got {n_teachers} and {recipe.n_members}; set n_estimators={n_teachers} for the "
                "student, or averaging='proba' so that all members learn from the teacher's mean."
            )

    def _check_no_rows_for_the_teacher(self, data: FitData) -> None:
        if data.labelled is not None:
            raise ValueError(
                "'X_unlabelled' and 'transfer' need a teacher's term, which has no weight here. "
                f"Got objective={self.name} with a share of {self.teacher_share:g}; leave the rows "
                "out, or set 'alpha', or the term's 'weight', above 0."
            )

    def _check_ready(self, elsewhere: Any) -> None:
        if self.asked.teacher_logits is None:
            return
        if self.layers:
            raise ValueError(
                f"objective={self.name} compares layers, so 'teacher_logits' are not "
                "enough; pass 'teacher', or use objective='label'."
            )
        if elsewhere is not None:
            raise ValueError(
                "'teacher_logits' do not cover the validation rows of a predefined train_split; "
                "use ValidSplit, or pass 'teacher'."
            )

    def check_diversity(self, recipe: Recipe, data: FitData) -> None:
        """Refuse to report what there is nothing of."""
        if data.teacher_diversity is not None or recipe.n_members > 1:
            return
        asks = self.altered_by and self.teacher_share > 0
        if asks and count_teachers(self.teacher) > 1:
            return
        raise ValueError(
            "report_diversity=True needs a teacher of at least 2 networks whose term has a weight, "
            "or a student with members. Got neither; use an ensemble as the teacher, or a "
            "BatchEnsembleClassifier as the student."
        )
