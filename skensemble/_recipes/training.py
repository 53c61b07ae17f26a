"""How a network is trained, whatever it is: the half of a recipe that fine-tuning replaces."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from torch import Tensor

from skensemble._arguments import naming
from skensemble._recipes.callbacks import ELEMENTWISE_OPTIMIZERS, _is_native_stopping, _is_stackable
from skensemble._recipes.fields import says
from skensemble._recipes.plain import full_state, plain_state

_DEFAULT_CALLBACKS = {"epoch_timer", "train_loss", "valid_loss", "valid_acc", "print_log"}


@dataclass(frozen=True)
class TrainingSettings:
    """Loss, optimiser and schedule.

    Attributes
    ----------
    shuffle : bool
        Whether each epoch runs in a new order.
    train_split : callable or None
        skorch's split, where the user asked for one.
    net : NeuralNetClassifier or None
        The user's net, which the callbacks are copied from.
    stops : bool
        Whether the net's rules of early stopping are followed.
    """

    class_weight: Tensor | None = field(default=None, metadata=says("own", "alike"))
    label_smoothing: float = field(default=0.0, metadata=says("plain", "alike"))
    optimizer: Any = field(default=torch.optim.Adam, metadata=says("own", "alike"))
    optimizer_kwargs: dict[str, Any] = field(default_factory=dict, metadata=says("own", "own"))
    lr: float = field(default=1e-3, metadata=says("plain", "free"))
    max_epochs: int = field(default=100, metadata=says("plain", "alike"))
    batch_size: int = field(default=64, metadata=says("plain", "alike"))
    valid_batch_size: int = field(default=512, metadata=says("plain", "alike"))
    shuffle: bool = field(default=True, metadata=says("plain", "alike"))
    drop_last: bool = field(default=False, metadata=says("plain", "alike"))
    train_split: Callable[..., Any] | None = field(default=None, metadata=says("no", "alike"))
    net: NeuralNetClassifier | None = field(default=None, metadata=says("no", "own"))
    device: str = field(default="cpu", metadata=says("plain", "alike"))
    compile: bool = field(default=False, metadata=says("no", "alike"))
    compile_kwargs: dict[str, Any] = field(default_factory=dict, metadata=says("no", "alike"))
    torch_load_kwargs: Any = field(default=None, metadata=says("no", "alike"))
    use_caching: Any = field(default="auto", metadata=says("no", "alike"))
    stops: bool = field(default=True, metadata=says("no", "alike"))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state in words and arrays of NumPy; see `skensemble._recipes.plain`."""
        return plain_state(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        vars(self).update(full_state(state))

    def callbacks(self) -> list[tuple[str, Callback]]:
        """Return fresh copies of the user's callbacks, parameters applied."""
        if self.net is None or self.net.callbacks == "disable" or not self.net.callbacks:
            return []
        net = same_net(self.net)
        net.callbacks = copy.deepcopy(self.net.callbacks)
        with naming("callbacks", "be such that skorch can make them"):
            net.initialize_callbacks()
        return [
            (name, callback)
            for name, callback in net.callbacks_
            if name not in _DEFAULT_CALLBACKS and callback is not None
            if self.stops or not isinstance(callback, EarlyStopping)
        ]

    def early_stopping(self) -> EarlyStopping | None:
        """Return the stopping rule that the engine follows member by member."""
        found = [cb for _, cb in self.callbacks() if _is_native_stopping(cb)]
        return found[0] if found else None

    def for_epochs(self, n_epochs: int) -> TrainingSettings:
        """Return settings that train for so many epochs and watch no rows."""
        return replace(self, max_epochs=n_epochs, train_split=None, stops=False)

    def stack_blockers(self) -> list[str]:
        """Say why networks trained so cannot train together (empty if they can)."""
        reasons = []
        if self.optimizer not in ELEMENTWISE_OPTIMIZERS:
            name = getattr(self.optimizer, "__name__", repr(self.optimizer))
            reasons.append(f"optimiser {name} is not known to act on each number alone")
        if self.compile:
            reasons.append("compile=True compiles one module at a time")
        reasons += [
            f"callback {name} sees one network at a time"
            for name, callback in self.callbacks()
            if not _is_stackable(callback)
        ]
        return reasons


def make_optimizer(maker: Any, parameters: Any, kwargs: dict[str, Any], frees: bool = False) -> Any:
    """Build an optimiser, with fused kernels where it has them and nobody objects.

    Those of SGD fail where some weights have no momentum yet, as those that a callback `frees`.
    """
    fused = {} if frees and maker is torch.optim.SGD else {"fused": True}
    try:
        return maker(parameters, **{**fused, **kwargs})
    except (TypeError, RuntimeError):
        return maker(parameters, **kwargs)


def same_net(net: NeuralNetClassifier) -> NeuralNetClassifier:
    """Return a net with the same parameters, which stay when the first one's are set anew.

    ``copy.copy`` would write and read a fitted network's weights.
    """
    twin = object.__new__(type(net))
    vars(twin).update(vars(net))
    return twin
