"""How long a student trains: until it agrees with its teacher, not until it knows the labels."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from skorch.callbacks import LRScheduler

from skensemble._recipes.defaults import best_epoch
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.training import same_net
from skensemble._recipes.writing import write_net
from skensemble.distillation.plan import Plan


def patient(recipe: Recipe, plan: Plan, n_rows: int, can_stop: bool) -> Recipe:
    """Return the recipe of a student that may take more epochs than its recipe says.

    Parameters
    ----------
    recipe : Recipe
        Bound; of a plain network.
    plan : Plan
        Which says how many times the epochs, and whether rules chose them.
    n_rows : int
        Rows that the student sees.
    can_stop : bool
        Whether rows are held out, by which it stops.
    """
    if plan.by_rules:
        return recipe.with_budget(n_rows, plan.patience)
    if plan.patience == 1:
        return recipe
    training = recipe.training
    epochs = max(1, round(training.max_epochs * plan.patience))
    net = same_net(training.net) if training.net is not None else write_net(recipe)
    own = net.callbacks if net.callbacks and net.callbacks != "disable" else []
    callbacks = copy.deepcopy(own)
    _stretch(callbacks, training.max_epochs, epochs)
    if can_stop and training.early_stopping() is None:
        callbacks.append(("agreement", best_epoch(epochs)))
    net.max_epochs, net.callbacks = epochs, callbacks
    return replace(recipe, training=replace(training, net=net, max_epochs=epochs))


def _stretch(callbacks: list[Any], before: int, now: int) -> None:
    """Let a schedule that has as many epochs as the recipe have those that there are now."""
    for each in callbacks:
        callback = each[1] if isinstance(each, tuple) else each
        if isinstance(callback, LRScheduler) and callback.kwargs.get("T_max") == before:
            callback.kwargs["T_max"] = now
            callback.T_max = now
