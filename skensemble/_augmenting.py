"""How an estimator's augmentation is read, checked, and put around its objective."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import joblib
import numpy as np
from sklearn.utils import _safe_indexing

from skensemble._fitting import Given
from skensemble._loader import FitData, Rows
from skensemble._private import StrOptions
from skensemble._recipe import Recipe
from skensemble._recipe_reading import ForgottenRecipe
from skensemble.augmentation import (
    Augmentation,
    AutoAugment,
    CropFlip,
    CutMix,
    Cutout,
    InTurn,
    MixUp,
    RandAugment,
    Transform,
)
from skensemble.objectives import Augmented, Objective

KINDS: dict[str, type[Augmentation]] = {
    "cutmix": CutMix,
    "mixup": MixUp,
    "cutout": Cutout,
    "autoaugment": AutoAugment,
    "randaugment": RandAugment,
    "crop-flip": CropFlip,
}
# What a file can describe.
_DESCRIBED: tuple[type[Any], ...] = (*KINDS.values(), InTurn)
CONSTRAINTS: list[Any] = [
    StrOptions(set(KINDS)), Augmentation, callable, list, tuple, ForgottenRecipe, None,
]  # fmt: skip


def read_augmentation(given: Any) -> Augmentation:
    """Turn what the user passed into one augmentation."""
    if isinstance(given, ForgottenRecipe):
        raise ValueError(
            f"The file this estimator was loaded from does not hold its {given.missing[0]}. "
            "It can predict; to fit it, bring it back with set_params(augmentation=...)."
        )
    if isinstance(given, Augmentation):
        return given
    if isinstance(given, str) and given in KINDS:
        return KINDS[given]()
    if isinstance(given, (list, tuple)) and given:
        return InTurn(tuple(read_augmentation(part) for part in given))
    if isinstance(given, type) or not callable(given):
        raise ValueError(
            f"An 'augmentation' must be one of {sorted(KINDS)}, an object of "
            "skensemble.augmentation, a callable such as torchvision's transforms, or a list of at "
            f"least one of these. Got {given!r} instead."
        )
    return Transform(given)


def augment(
    estimator: Any, objective: Objective, recipe: Recipe, data: FitData, given: Given
) -> Objective:
    """Let an objective be learned on altered batches, where the estimator says so."""
    if estimator.augmentation is None:
        return objective
    augmentation = read_augmentation(estimator.augmentation)
    augmentation.check(recipe.in_shape)
    if augmentation.unit_range:
        rows = Rows(data.X, recipe.dtype)
        found = given.recall(("outside [0, 1]", id(data.X)), lambda: rows.outside((0.0, 1.0)))
        if found is not None:
            raise ValueError(
                f"augmentation={estimator.augmentation!r} needs images of bytes, or of floats in "
                f"[0, 1]. Got {found[0]:.3g} to {found[1]:.3g}. Divide X by its range and "
                "normalise inside of the network (skensemble.nn.Normalize)."
            )
    return Augmented(objective, augmentation, recipe.n_classes)


def rows_as_given(valid: FitData, given: Given) -> Any:
    """Return held-out rows for a teacher to be asked about: a frame's rows as a frame."""
    if hasattr(given.X, "columns"):
        return _safe_indexing(given.X, valid.rows)
    return held_apart(valid, given).X


def held_apart(valid: FitData, given: Given) -> FitData:
    """Cut held-out rows out of all rows, so that a teacher can be asked about them alone."""
    X, rows = valid.X, valid.rows

    def cut() -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(rows)  # stores on disk want increasing numbers
        found = np.asarray(X[rows[order]])
        return found[np.argsort(order)], valid.y[rows]

    found, y = given.recall(("held apart", id(X), id(valid.y), joblib.hash(rows)), cut)
    weight = None if valid.weight is None else valid.weight[rows]
    extras = {name: values[rows] for name, values in valid.extras.items()}
    return replace(valid, X=found, y=y, weight=weight, rows=np.arange(len(rows)), extras=extras)


def describe_augmentation(given: Any) -> Any:
    """Describe an augmentation in plain numbers and names, for a file."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, (list, tuple)):
        return [describe_augmentation(part) for part in given]
    if type(given) in _DESCRIBED:
        values = {one.name: getattr(given, one.name) for one in fields(given)}
        if isinstance(given, InTurn):
            values = {"parts": describe_augmentation(given.parts)}
        return {"class": type(given).__name__, **values}
    return {"class": None}  # a function, which no file holds


def rebuild_augmentation(about: Any) -> Any:
    """Return the augmentation that a file describes, as far as it does."""
    if about is None or isinstance(about, str):
        return about
    if isinstance(about, list):
        parts = [rebuild_augmentation(part) for part in about]
        lost = [part for part in parts if isinstance(part, ForgottenRecipe)]
        return lost[0] if lost else parts
    if about["class"] is None:
        return ForgottenRecipe(("augmentation",))
    values = {name: value for name, value in about.items() if name != "class"}
    for name, value in values.items():
        if name == "parts":
            value = rebuild_augmentation(value)
        if isinstance(value, ForgottenRecipe):
            return value
        values[name] = tuple(value) if isinstance(value, list) else value
    return {cls.__name__: cls for cls in _DESCRIBED}[about["class"]](**values)
