"""Who is trained by whom before and after pruning, as a sequence of fits that exist.

The five protocols are Park, Yoo and Kwak's ("On the orthogonality of knowledge distillation
with other techniques", 2020, section 4). Nothing is trained here: `Protocol` says which
`NetworkClassifier` or `DistilledClassifier` is fitted when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.frozen import FrozenEstimator

from skensemble._base.fitted import is_fitted
from skensemble._fits.given import Given, Steps
from skensemble._fits.subfit import Subfit
from skensemble._recipes.recipe import Recipe
from skensemble._seeding import Purpose, purpose_seed
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.distillation.generations import SelfDistiller
from skensemble.distillation.teachers import ready_to_fit
from skensemble.ensembles.network import NetworkClassifier
from skensemble.pruning.members import is_estimator, restore_recipe, with_recipe

__all__ = ["PROTOCOLS", "Protocol"]

PROTOCOLS = ("pre", "post", "pre-post", "self")
_LEARNS_FIRST = ("pre", "pre-post", "self")
_LEARNS_LATER = ("post", "pre-post", "self")
_STUDENTS = (DistilledClassifier, SelfDistiller)


@dataclass(frozen=True)
class Protocol:
    """Who learns from whom; the parameters of `PrunedClassifier`.

    Attributes
    ----------
    name : str or None
        One of `PROTOCOLS`, or no teacher at all.
    distill : DistilledClassifier or None
        What is learned, and from whom where not from a network of the same recipe.
    change : callable
        What is done to the recipe of the unpruned network, such as network slimming.
    precision : str or None
        Of all trainings.
    memory : joblib.Memory
        Where fits are remembered.
    verbose : int
        As that of estimators.
    augmentation : object
        Of training on; "estimator" goes on with what the network was trained with.
    """

    name: str | None
    distill: DistilledClassifier | None
    change: Callable[[Recipe], Recipe]
    precision: str | None
    memory: Any
    verbose: int
    augmentation: Any

    @property
    def teacher(self) -> Any:
        """Who teaches, where the user says so."""
        return None if self.distill is None else self.distill.teacher

    def _learner(self, teacher: Any, student: Any, **settings: Any) -> DistilledClassifier:
        """Return the user's prototype with teacher and student."""
        prototype = DistilledClassifier() if self.distill is None else self.distill
        params = prototype.get_params(deep=False)
        return DistilledClassifier(**{**params, **settings}).set_params(
            teacher=teacher, student=student
        )

    # -- before pruning --------------------------------------------------------------------

    def find_unpruned(self, source: Any, given: Given, root: int) -> Steps:
        """Return what is to be pruned, fitted: as it is, from labels, or by a teacher."""
        if is_estimator(source) and is_fitted(source):
            if self.name in _LEARNS_FIRST and not isinstance(source, _STUDENTS):
                self._refuse(source, "it is fitted already")
            return source
        unfitted = ready_to_fit(self._unfitted(source), None, root)
        wanted = Subfit(unfitted, given, self.memory)
        yield wanted
        _restore(wanted.result, source)
        return wanted.result

    def _unfitted(self, source: Any) -> Any:
        if self.name in _LEARNS_FIRST and not isinstance(source, _STUDENTS):
            return self._student(source)
        recipe = with_recipe(source, self.change)
        if is_estimator(source):
            return recipe
        return NetworkClassifier(recipe, precision=self.precision, verbose=self.verbose)

    def _student(self, source: Any) -> DistilledClassifier:
        """Return an unpruned network that learns from a teacher."""
        settings: dict[str, Any] = {"precision": self.precision, "verbose": self.verbose}
        if isinstance(source, NetworkClassifier):
            settings.update(
                augmentation=source.augmentation,
                class_weight=source.class_weight,
                precision=source.precision,
            )
            source = source.estimator
        elif is_estimator(source):
            self._refuse(source, "it has no teacher")
        teacher = self.teacher
        if teacher is None:
            teacher = NetworkClassifier(source, **settings)
        elif is_fitted(teacher) and not isinstance(teacher, FrozenEstimator):
            teacher = FrozenEstimator(teacher)  # so that a clone of the student keeps it
        student = with_recipe(source, self.change)
        return self._learner(teacher, student, **settings)

    def _refuse(self, source: Any, why: str) -> None:
        raise ValueError(
            f"protocol={self.name!r} trains the unpruned network by a teacher, but the "
            f"{type(source).__name__} cannot be taught, since {why}. Use protocol='post', a "
            "DistilledClassifier (with n_students for several), or a recipe."
        )

    # -- after pruning ---------------------------------------------------------------------

    def find_teacher(self, source: Any, unpruned: Any, given: Given, root: int) -> Steps:
        """Return who taught the unpruned network, or teaches the pruned one; None is nobody."""
        own = getattr(unpruned, "teacher_", None)
        if isinstance(unpruned, SelfDistiller):
            own = unpruned.generations_[-2]
        if self.name in ("pre", "self"):
            if self.teacher is not None and isinstance(source, _STUDENTS):
                raise ValueError(
                    f"With protocol={self.name!r} the 'estimator' learns from a teacher of its "
                    "own, and nobody from that of 'distill'. Leave it out, or use 'post' or "
                    "'pre-post'."
                )
            return own
        if self.name == "pre-post" and (self.teacher is None or not isinstance(source, _STUDENTS)):
            if own is None:
                raise ValueError(
                    "protocol='pre-post' has no teacher for fine-tuning: the 'estimator' does not "
                    "hold one. Pass it in 'distill', DistilledClassifier(teacher=...)."
                )
            return own
        if self.teacher is None:
            return unpruned if self.name == "post" else None
        if is_fitted(self.teacher):
            return self.teacher
        seed = purpose_seed(root, Purpose.TEACHER)
        wanted = Subfit(ready_to_fit(self.teacher, None, seed), given, self.memory)
        yield wanted
        return wanted.result

    def trainer(
        self, network: NetworkClassifier, recipe: Any, teacher: Any, seed: int
    ) -> NetworkClassifier | DistilledClassifier:
        """Return the estimator that trains a pruned network on, given its recipe."""
        goes_on = isinstance(self.augmentation, str) and self.augmentation == "estimator"
        settings: dict[str, Any] = {
            "augmentation": network.augmentation if goes_on else self.augmentation,
            "class_weight": network.class_weight,
            "precision": self.precision or network.precision,
            "random_state": seed,
            "verbose": self.verbose,
        }
        if self.name not in _LEARNS_LATER:
            return NetworkClassifier(recipe, **settings)
        itself = self.name == "self" or (self.name == "post" and self.teacher is None)
        return self._learner(network if itself else teacher, recipe, **settings)


def _restore(fitted: Any, source: Any) -> None:
    """Give back the recipe as the user wrote it."""
    if isinstance(source, NetworkClassifier) and isinstance(fitted, DistilledClassifier):
        source = source.estimator
    restore_recipe(fitted, source)
