"""How long a student trains: until it agrees with its teacher, not until it knows the labels."""

from __future__ import annotations

from dataclasses import replace

from skorch.callbacks import EarlyStopping

from skensemble._recipes.recipe import Recipe
from skensemble._recipes.training import same_net
from skensemble._recipes.writing import write_net
from skensemble.distillation.plan import Plan

# Epochs without a better agreement on held-out rows, as a share of all.
_SHARE = 0.15


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
    net.max_epochs = epochs
    if can_stop and training.early_stopping() is None:
        stopping = EarlyStopping(
            monitor="valid_loss", patience=max(5, round(_SHARE * epochs)), threshold=0.0,
            load_best=True, sink=_say_nothing,
        )  # fmt: skip
        own = net.callbacks if net.callbacks and net.callbacks != "disable" else []
        net.callbacks = [*own, ("agreement", stopping)]
    return replace(recipe, training=replace(training, net=net, max_epochs=epochs))


def _say_nothing(message: str) -> None:
    """Leave a line unsaid; skorch's callbacks print otherwise."""
