"""How a pruned network trains on: the recipe it had, and what the user wants otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import clone
from skorch import NeuralNetClassifier

from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.writing import write_net

__all__ = ["tuned"]


def tuned(recipe: Recipe, finetune: Any, from_scratch: bool) -> Recipe | None:
    """Return the recipe of fine-tuning a module, or None where there is to be none.

    Parameters
    ----------
    recipe : Recipe
        Bound, of the pruned module.
    finetune : "recipe", int, dict, NeuralNetClassifier or None
        What the user wants.
    from_scratch : bool
        Whether weights are drawn anew, so that there must be training.
    """
    if isinstance(finetune, ForgottenRecipe):
        raise ValueError(
            "The file this estimator was loaded from does not hold its 'finetune'. It can "
            "predict; to fit it, bring it back with set_params(finetune=...)."
        )
    if finetune is None or finetune == 0:
        if from_scratch:
            raise ValueError(
                "With init='scratch' the pruned network starts from random weights and must be "
                f"trained. Got finetune={finetune!r}; use 'recipe', a number of epochs, a dict or "
                "a net."
            )
        return None
    told = read_recipe(_net(recipe, finetune))
    if told.outputs_proba != recipe.outputs_proba:
        raise ValueError(
            "The criterion of 'finetune' must read what the network puts out, "
            f"{'probabilities' if recipe.outputs_proba else 'logits'}. "
            f"Got {finetune.criterion!r}."
        )
    return replace(recipe, training=told.training)


def _net(recipe: Recipe, finetune: Any) -> NeuralNetClassifier:
    if isinstance(finetune, NeuralNetClassifier):
        return finetune
    net = write_net(recipe) if recipe.training.net is None else clone(recipe.training.net)
    if isinstance(finetune, dict):
        net.set_params(**finetune)
    elif finetune != "recipe":
        net.set_params(max_epochs=int(finetune))
    return net
