"""How an estimator's augmentation is read, checked, and put around its objective."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from skensemble._forgotten import ForgottenRecipe
from skensemble._private import StrOptions
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
