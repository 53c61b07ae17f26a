"""The networks inside of an estimator that is to be pruned, and its recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skensemble._base.estimator import BaseNetworks
from skensemble._base.fitted import unwrap
from skensemble._base.states import innermost
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.wraps import Slimming
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier

__all__ = ["is_estimator", "networks_of", "restore_recipe", "slimmed", "with_recipe"]


def is_estimator(source: Any) -> bool:
    """Whether something is an estimator whose networks can be pruned, not a recipe."""
    inner = unwrap(source)
    return isinstance(inner, BaseNetworks) and not inner._learns_targets


def networks_of(unpruned: Any, classes: np.ndarray, train_on: bool) -> list[NetworkClassifier]:
    """Return the networks of a fitted estimator, or say why they cannot be pruned.

    Parameters
    ----------
    unpruned : classifier
        Fitted.
    classes : ndarray
        Of the rows at hand.
    train_on : bool
        Whether its networks are to be trained on one by one.
    """
    if not is_estimator(unpruned):
        raise TypeError(
            "The 'estimator' must be a recipe (skorch net, module or None) or an estimator "
            f"of networks. Got {type(unpruned).__name__}."
        )
    if not np.array_equal(unpruned.classes_, classes):
        raise ValueError(
            "The fitted 'estimator' must know the classes of y, "
            f"{classes.tolist()}. It knows {unpruned.classes_.tolist()}."
        )
    networks: list[NetworkClassifier] = unpruned._prunable()
    if not networks[0]._recipe.is_network:
        raise ValueError("A linearised network cannot be pruned; prune the network itself.")
    if isinstance(unpruned, DeepEnsembleClassifier) and unpruned.joint and train_on:
        raise ValueError(
            "The members of an ensemble with joint=True are parts of one network and cannot "
            "be trained on one by one. Use finetune=None, or joint=False."
        )
    return networks


def with_recipe(source: Any, change: Callable[[Recipe], Recipe]) -> Any:
    """Return an unfitted estimator with its networks' recipe changed; a teacher's stays."""
    if is_estimator(source):
        return source._with_recipe(change)
    return change(read_recipe(source))


def restore_recipe(fitted: Any, source: Any) -> None:
    """Give a fitted estimator, and its networks, the recipe that the user wrote."""
    written = innermost(source)
    if is_estimator(source):
        for name in {source._recipe_parameter, "teacher"} & set(source.get_params(deep=False)):
            setattr(fitted, name, getattr(source, name))
    else:
        setattr(fitted, fitted._recipe_parameter, source)
    for network in fitted._prunable():
        network.estimator = written


def slimmed(strength: float) -> Callable[[Recipe], Recipe]:
    """Return what adds the pull of network slimming to a recipe."""

    def change(recipe: Recipe) -> Recipe:
        keeps = recipe.origin is not None and recipe.origin.keeps
        return recipe.wrapped(Slimming(float(strength), keeps))

    return change
