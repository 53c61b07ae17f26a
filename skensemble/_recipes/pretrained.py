"""What a user says of a network that has weights: what is kept, frozen and drawn anew."""

from __future__ import annotations

import enum
import hashlib
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import nn

from skensemble._parameters import Parameters
from skensemble._private import StrOptions
from skensemble._recipes.parts import Frozen, NewHead, Rates
from skensemble._recipes.wraps import Wrap

_BACKBONE = "backbone"
# Arguments by which makers of networks are asked for weights: torchvision's, timm's.
_ASKING = ("weights", "pretrained")


@dataclass(eq=False)
class Pretrained(Parameters):
    """A recipe whose network starts from weights that are there.

    It is given wherever an estimator takes a recipe. Every member starts from the same weights, so
    members differ by their new heads, the order of their batches, dropout and augmentation.

    Parameters
    ----------
    network : NeuralNetClassifier, Module, or callable
        A network with weights, a function that makes one (it is called once a fit), or an unfitted
        net of skorch whose ``module`` is one of them. It is never changed; clones share it.
    start : {"weights", "reset"}, default="weights"
        Whether members keep the weights, or draw their own from their seeds.
    head : str or None, default="last"
        The layer that is replaced by one with a number for each class, drawn from the member's
        seed: the last linear layer (or last convolution of one pixel), or one by name. ``None``
        keeps the network as it is.
    freeze : "backbone", list of str or None, default=None
        What learns nothing: all but the head, or parts and parameters by name. Frozen batch
        normalisation keeps its averages, frozen dropout drops nothing. ``None`` leaves
        all as the network has it.
    rates : dict of str to float or None, default=None
        By what the learning rate is multiplied for parts and parameters by name; the longest
        name that fits has the say.

    See Also
    --------
    skensemble.preprocessing.ModuleFeatures : A layer's output as features for any classifier.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import DeepEnsembleClassifier, NetworkClassifier, Pretrained
    >>> X, y = load_iris(return_X_y=True)
    >>> first = NetworkClassifier(random_state=0).fit(X, y == 0)
    >>> heads = Pretrained(first.module_, freeze="backbone")
    >>> ensemble = DeepEnsembleClassifier(heads, n_estimators=2, random_state=0).fit(X, y)
    >>> ensemble.predict_proba(X).shape
    (150, 3)
    """

    network: Any
    start: str = "weights"
    head: str | None = "last"
    freeze: Any = None
    rates: Mapping[str, float] | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "network": [NeuralNetClassifier, nn.Module, callable],
        "start": [StrOptions({"weights", "reset"})],
        "head": [str, None],
        "freeze": [StrOptions({_BACKBONE}), list, tuple, None],
        "rates": [dict, None],
    }

    def __sklearn_clone__(self) -> Pretrained:
        """Return a twin with the same module, which nobody changes."""
        network: Any = self.network
        if isinstance(network, NeuralNetClassifier):
            told = network.get_params(deep=False)
            held = told.pop("module")
            others = {name: clone(value, safe=False) for name, value in told.items()}
            network = type(network)(module=held, **others)
        return Pretrained(network, self.start, self.head, self.freeze, self.rates)

    def check_params(self) -> None:
        """Raise unless all parameters are what the table of constraints says."""
        super().check_params()
        for name in self.freeze if isinstance(self.freeze, (list, tuple)) else ():
            if not isinstance(name, str) or not name:
                raise ValueError(
                    "The 'freeze' of Pretrained must be 'backbone', None, or a list of names. "
                    f"Got {self.freeze!r}."
                )
        for name, factor in (self.rates or {}).items():
            if not (isinstance(name, str) and name and _is_factor(factor)):
                raise ValueError(
                    "The 'rates' of Pretrained must be names with finite numbers of at least 0. "
                    f"Got {name!r}: {factor!r}."
                )

    def weights_digest(self) -> str:
        """Return a hash of the weights that are there, by which a checkpoint knows them."""
        network = self.network
        module = network.module if isinstance(network, NeuralNetClassifier) else network
        found = hashlib.sha256()
        for name, value in module.state_dict().items() if isinstance(module, nn.Module) else ():
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()[:16]

    def wraps(self) -> tuple[Wrap, ...]:
        """Return what is done to the network."""
        found: list[Wrap] = []
        if self.head is not None:
            found.append(NewHead(self.head))
        if self.freeze == _BACKBONE:
            found.append(Frozen((self.head or "last",), others=True))
        elif self.freeze:
            found.append(Frozen(tuple(self.freeze)))
        if self.rates:
            factors = ((name, float(factor)) for name, factor in self.rates.items())
            found.append(Rates(tuple(factors)))
        return tuple(found)


def _is_factor(value: Any) -> bool:
    return isinstance(value, numbers.Real) and 0 <= float(value) < math.inf


@dataclass(frozen=True)
class Origin:
    """Where a recipe's network comes from, if it is more than a class.

    Attributes
    ----------
    written : Pretrained
        What the user wrote.
    module : Module or None
        The network with its weights, once it is made.
    """

    written: Any
    module: nn.Module | None = field(default=None)

    @property
    def keeps(self) -> bool:
        """Whether members start from the weights."""
        return bool(self.written.start == "weights")


def asked_for_weights(maker: Callable[..., Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Return the arguments by which a function is asked for a network that has weights."""
    if isinstance(maker, nn.Module) or inspect.isclass(maker):
        return []
    signature = inspect.signature(maker).parameters
    defaults = {name: one.default for name, one in signature.items()}
    told = {name: kwargs.get(name, defaults.get(name)) for name in _ASKING}
    return [name for name, value in told.items() if _asks(name, value)]


def _asks(name: str, value: Any) -> bool:
    if name == "pretrained":
        return value is True
    return isinstance(value, str | enum.Enum)


RESET_WARNING = (
    "The recipe's module is an instance, whose weights are not kept: every network draws its own. "
    "Say what is meant: Pretrained(module) starts from the weights, "
    "Pretrained(module, start='reset') or the module's class draws new ones."
)
