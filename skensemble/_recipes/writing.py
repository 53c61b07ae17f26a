"""A recipe as the net that a user would have written: the way back of `read_recipe`."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNetClassifier
from torch import nn

from skensemble._recipes.recipe import FILLED, Recipe


def write_net(recipe: Recipe) -> NeuralNetClassifier:
    """Return an unfitted net that says what a recipe without one says."""
    told = recipe.training
    own = {key: value for key, value in recipe.module_kwargs.items() if key not in FILLED}
    criterion: dict[str, Any] = {}
    if told.class_weight is not None:
        criterion["criterion__weight"] = told.class_weight
    if told.label_smoothing:
        criterion["criterion__label_smoothing"] = told.label_smoothing
    return NeuralNetClassifier(
        recipe.module,
        criterion=nn.NLLLoss if recipe.outputs_proba else nn.CrossEntropyLoss,
        optimizer=told.optimizer,
        lr=told.lr,
        max_epochs=told.max_epochs,
        batch_size=told.batch_size,
        iterator_train__shuffle=told.shuffle,
        iterator_train__drop_last=told.drop_last,
        iterator_valid__batch_size=told.valid_batch_size,
        train_split=told.train_split,
        device=told.device,
        **criterion,
        **{f"module__{key}": value for key, value in own.items()},
        **{f"optimizer__{key}": value for key, value in told.optimizer_kwargs.items()},
    )
