"""How a pruned network trains on: the recipe it had, and what the user wants otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import nn

from skensemble._forgotten import ForgottenRecipe
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe

__all__ = ["tuned"]

# What of a recipe says how to train, and not what.
_TRAINING = (
    "class_weight", "label_smoothing", "optimizer", "optimizer_kwargs", "lr", "max_epochs",
    "batch_size", "valid_batch_size", "shuffle", "drop_last", "train_split", "net", "device",
    "compile", "compile_kwargs", "torch_load_kwargs", "use_caching",
)  # fmt: skip


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
    return replace(recipe, **{name: getattr(told, name) for name in _TRAINING})


def _net(recipe: Recipe, finetune: Any) -> NeuralNetClassifier:
    if isinstance(finetune, NeuralNetClassifier):
        return finetune
    net = _plain_net(recipe) if recipe.net is None else clone(recipe.net)
    if isinstance(finetune, dict):
        net.set_params(**finetune)
    elif finetune != "recipe":
        net.set_params(max_epochs=int(finetune))
    return net


def _plain_net(recipe: Recipe) -> NeuralNetClassifier:
    """Return a net that says what a recipe without one says."""
    return NeuralNetClassifier(
        nn.Identity,
        criterion=nn.NLLLoss if recipe.outputs_proba else nn.CrossEntropyLoss,
        optimizer=recipe.optimizer,
        lr=recipe.lr,
        max_epochs=recipe.max_epochs,
        batch_size=recipe.batch_size,
        iterator_train__shuffle=recipe.shuffle,
        iterator_train__drop_last=recipe.drop_last,
        iterator_valid__batch_size=recipe.valid_batch_size,
        train_split=recipe.train_split,
        device=recipe.device,
        **{f"optimizer__{key}": value for key, value in recipe.optimizer_kwargs.items()},
    )
