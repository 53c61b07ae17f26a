"""The networks inside of an estimator: found, and exchanged for pruned ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from skensemble._base.fitted import unwrap
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.wraps import Slimming
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.distillation.generations import SelfDistiller
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier

__all__ = [
    "exchange",
    "is_estimator",
    "networks_of",
    "restore_recipe",
    "slimmed",
    "with_recipe",
]

_PRUNABLE = (
    NetworkClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    SelfDistiller,
    BatchEnsembleClassifier,
)


def is_estimator(source: Any) -> bool:
    """Whether something is an estimator whose networks can be pruned, not a recipe."""
    return isinstance(unwrap(source), _PRUNABLE)


def networks_of(fitted: Any) -> list[NetworkClassifier]:
    """Return the fitted networks that an estimator predicts with."""
    if isinstance(fitted, BatchEnsembleClassifier):
        if fitted.merge is None:
            raise ValueError(
                "The members of a BatchEnsembleClassifier share their weights, so that none can "
                "be pruned by itself. Set merge='factor-mean' to prune the network they are "
                "folded into."
            )
        return [fitted.merged_]
    if isinstance(fitted, DistilledClassifier):
        inside = fitted.estimators_
        if any(not is_estimator(one) for one in inside):
            raise ValueError(
                f"The students to be pruned must be networks. Got {type(inside[0]).__name__}."
            )
        return [network for one in inside for network in networks_of(one)]
    if isinstance(fitted, SelfDistiller):
        inside = fitted._students()
        if any(not is_estimator(one) for one in inside):
            raise ValueError(
                f"The generations to be pruned must be networks. Got {type(inside[0]).__name__}."
            )
        return list(inside)
    if isinstance(fitted, DeepEnsembleClassifier):
        return list(fitted.estimators_)
    return [fitted]


def exchange(fitted: Any, networks: list[NetworkClassifier]) -> Any:
    """Return a copy of a fitted estimator that predicts with other networks."""
    if isinstance(fitted, (NetworkClassifier, BatchEnsembleClassifier)):
        return networks[0]
    twin = copy.copy(fitted)
    if isinstance(fitted, SelfDistiller):
        twin.generations_, twin.generation_scores_ = networks, None
    else:
        twin.estimators_ = networks
    twin._recipe = networks[0]._recipe
    return twin


def with_recipe(source: Any, change: Callable[[Recipe], Recipe]) -> Any:
    """Return an unfitted estimator with its networks' recipe changed; a teacher's stays."""
    if not is_estimator(source):
        return change(read_recipe(source))
    estimator = clone(source)
    if not isinstance(estimator, DistilledClassifier):
        return estimator.set_params(estimator=with_recipe(estimator.estimator, change))
    if estimator.teacher is None:  # which would be an ensemble of the changed recipe
        teacher = DeepEnsembleClassifier(estimator.student, 5)
        estimator.set_params(teacher=teacher)
    return estimator.set_params(student=with_recipe(estimator._recipe_source(), change))


def restore_recipe(fitted: Any, source: Any) -> None:
    """Give a fitted estimator, and its networks, the recipe that the user wrote."""
    if not is_estimator(source):
        fitted.estimator = source
        return
    for name in ("estimator", "student", "teacher"):
        if hasattr(source, name):
            setattr(fitted, name, getattr(source, name))
    inner = source._recipe_source() if isinstance(source, DistilledClassifier) else source.estimator
    if isinstance(inner, BatchEnsembleClassifier):
        inner = inner.estimator
    for network in networks_of(fitted):
        network.estimator = inner


def slimmed(strength: float) -> Callable[[Recipe], Recipe]:
    """Return what adds the pull of network slimming to a recipe."""
    return lambda recipe: recipe.wrapped(Slimming(float(strength)))
