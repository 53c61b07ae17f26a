"""Recipes in words and arrays, for pickles and for readers that trust no other package's classes.

A skorch net is an object of skorch that holds classes of torch. Whoever reads files by a list of
trusted classes, as skops does, would have to trust all of these, and could not make some at all.
So what is known here stands in the state of an estimator as a `Known` name or as a `Made` object,
of which only the names in this file are read; anything else stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from torch import Tensor, nn
from torch.utils.data import DataLoader

from skensemble._recipes.callbacks import ELEMENTWISE_OPTIMIZERS

_THINGS: dict[str, Any] = {
    **{f"torch.optim.{one.__name__}": one for one in ELEMENTWISE_OPTIMIZERS},
    **{str(one): one for one in (torch.float32, torch.float64, torch.bfloat16)},
    "torch.nn.CrossEntropyLoss": nn.CrossEntropyLoss,
    "torch.nn.NLLLoss": nn.NLLLoss,
    "torch.utils.data.DataLoader": DataLoader,
    "skorch.dataset.Dataset": Dataset,
    "print": print,
}
_NAMES = {id(thing): name for name, thing in _THINGS.items()}
_CLASSES: dict[str, type] = {
    one.__name__: one
    for one in (
        NeuralNetClassifier, ValidSplit, EarlyStopping, GradientNormClipping, LRScheduler,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A class, function or dtype that has a name here."""

    name: str

    def full(self) -> Any:
        """Return what is named."""
        return _THINGS[self.name]


@dataclass(frozen=True)
class Made:
    """An object of a class that has a name here, and its attributes."""

    name: str
    state: Any

    def full(self) -> Any:
        """Return the object, without calling its constructor."""
        cls = _CLASSES[self.name]
        made: Any = object.__new__(cls)
        vars(made).update(full_state(self.state))
        return made


@dataclass(frozen=True)
class Numbers:
    """A tensor on the CPU."""

    values: np.ndarray

    def full(self) -> Any:
        """Return the tensor."""
        return torch.tensor(self.values)


def plain(value: Any) -> Any:
    """Return a value in which all that is known here is named."""
    if id(value) in _NAMES:
        return Known(_NAMES[id(value)])
    if type(value) is Tensor and value.device.type == "cpu" and not value.requires_grad:
        return value if value.dtype == torch.bfloat16 else Numbers(value.numpy())
    if _CLASSES.get(type(value).__name__) is type(value) and not _is_initialized(value):
        # Never the object's own dict, which objects that share this one would share in a pickle
        # and not once they are read: hashes would differ.
        return Made(type(value).__name__, plain_state(vars(value)))
    return _inside(value, plain)


def full(value: Any) -> Any:
    """Return a value in which all names are what they name."""
    if isinstance(value, (Known, Made, Numbers)):
        return value.full()
    return _inside(value, full)


def _is_initialized(value: Any) -> bool:
    """Whether a net holds a module and an optimiser, which its own pickles know how to write."""
    return bool(getattr(value, "initialized_", False))


def _inside(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change what stands in a plain dict, list or tuple, which stays itself if nothing does."""
    if type(value) is dict:
        changed: Any = {name: change(one) for name, one in value.items()}
        same = all(changed[name] is one for name, one in value.items())
    elif type(value) in (list, tuple):
        changed = type(value)(change(one) for one in value)
        same = all(new is one for new, one in zip(changed, value, strict=True))
    else:
        return value
    return value if same else changed


def plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an object for its pickle."""
    return {name: plain(value) for name, value in state.items()}


def full_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that `plain_state` was given; older pickles have them as they are."""
    return {name: full(value) for name, value in state.items()}
