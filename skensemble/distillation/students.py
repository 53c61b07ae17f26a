"""What students of all kinds share: networks that were taught, and what they were told."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._engine.results import MemberResult
from skensemble._recipes.recipe import Recipe
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier


class StudentClassifier(BaseNetworkClassifier):
    """Networks that were taught, averaged by probability where there are several."""

    def _networks(self) -> Sequence[nn.Module]:
        return [network for student in self._students() for network in student._networks()]

    def _recipes(self) -> Sequence[Recipe]:
        return [recipe for student in self._students() for recipe in student._recipes()]

    def _students(self) -> list[Any]:
        """Return the networks that predict."""
        return self.estimators_

    def _by_student(self, logits: Tensor) -> list[tuple[Any, Tensor]]:
        """Return each student with its own logits, of one network or of several."""
        students = self._students()
        return list(zip(students, logits.chunk(len(students)), strict=True))

    def _fuse_log_proba(self, logits: Tensor) -> Tensor:
        each = [student._fuse_log_proba(own) for student, own in self._by_student(logits)]
        return each[0] if len(each) == 1 else torch.stack(each).logsumexp(0) - math.log(len(each))

    def _fuse_proba(self, logits: Tensor) -> Tensor:
        each = [student._fuse_proba(own) for student, own in self._by_student(logits)]
        return each[0] if len(each) == 1 else torch.stack(each).mean(0)

    def _fuse_score(self, logits: Tensor) -> Tensor:
        if len(self._students()) == 1:
            return self._students()[0]._fuse_score(logits)
        return self._fuse_log_proba(logits)

    def _teaching(self, logits: Tensor) -> Tensor:
        return torch.cat([student._teaching(own) for student, own in self._by_student(logits)])

    def _make_student(self, recipe: Recipe, seed: int, result: MemberResult) -> Any:
        source: Any = self._recipe_source()
        settings = {
            "augmentation": self.augmentation,
            "class_weight": self.class_weight,
            "precision": self.precision,
            "random_state": seed,
        }
        if isinstance(source, BatchEnsembleClassifier):
            student: Any = clone(source).set_params(**settings)
        else:
            student = NetworkClassifier(source, **settings)
        student.classes_, student.n_features_in_ = self.classes_, self.n_features_in_
        if isinstance(student, NetworkClassifier):
            student._reading = self._how_to_read(recipe.n_outputs)
        student._set_result(recipe, result)
        return student

    def _make_member(self, recipe: Recipe, seed: int, result: MemberResult) -> Any:
        """Make a student that teaches nobody any more."""
        student = self._make_student(recipe, seed, result)
        self._name_features([student])
        return student

    def _how_to_read(self, n_classes: int) -> Callable[[Tensor], Tensor] | None:
        """Return what turns logits into log-probabilities, where that is not a softmax."""
        return None

    def _name_features(self, students: list[NetworkClassifier]) -> None:
        """Tell students the names of the features, once they need not teach nameless rows."""
        for student in students:
            if hasattr(self, "feature_names_in_"):
                student.feature_names_in_ = self.feature_names_in_

    @abstractmethod
    def _recipe_source(self) -> Any:
        """Return what the user gave as the recipe of a student."""

    @property
    def module_(self) -> nn.Module:
        """The fitted network, the first where there are several."""
        return self._students()[0].module_

    @property
    def history_(self) -> list[dict[str, Any]]:
        """The training record of `module_`."""
        return self._students()[0].history_
