"""Everything needed to build and train one member; `_recipe_reading` makes it of a user's net."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from skensemble._recipes.callbacks import ELEMENTWISE_OPTIMIZERS, _is_native_stopping, _is_stackable
from skensemble._recipes.modules import _accepted, _default_module, _reinitialised
from skensemble._seeding import Purpose, purpose_seed, torch_seeded
from skensemble.nn import BatchEnsemble
from skensemble.nn._channels import OnPart, part_columns
from skensemble.nn._outputs import member_logits
from skensemble.nn.batch_ensemble import FAST_WEIGHTS
from skensemble.nn.narrowing import cut
from skensemble.objectives.base import CrossEntropy
from skensemble.objectives.sparse import scaled_norms

# Arguments of modules that are filled in from the data; torchvision calls the last as it does.
FILLED = ("in_shape", "n_classes", "num_classes")


_DEFAULT_CALLBACKS = {"epoch_timer", "train_loss", "valid_loss", "valid_acc", "print_log"}


# The scales' first value in network slimming (Liu et al. 2017).
_SLIM_START = 0.5


@dataclass(frozen=True)
class Start:
    """What a network starts from, other than weights drawn from its seed.

    Attributes
    ----------
    state : dict of Tensor or None
        Its weights, after pruning.
    masks : dict of Tensor
        Which numbers of named parameters are kept (one) and which stay zero.
    """

    state: dict[str, Tensor] | None = None
    masks: dict[str, Tensor] = field(default_factory=dict)

    def put(self, module: nn.Module) -> None:
        """Give the weights to a module, and mask them."""
        if self.state is not None:
            module.load_state_dict(self.state)
        with torch.no_grad():
            for name, mask in self.masks.items():
                module.get_parameter(name).mul_(mask)


@dataclass(frozen=True)
class Recipe:
    """One member's module, loss, optimiser and schedule.

    Attributes
    ----------
    module : callable or Module
        Class (or factory) called with `module_kwargs`, or an instance to re-initialise.
    outputs_proba : bool
        Whether the module returns probabilities (skorch's ``NLLLoss``) or logits.
    shuffle : bool
        Whether each epoch runs in a new order.
    train_split : callable or None
        skorch's split, where the user asked for one.
    net : NeuralNetClassifier or None
        The user's net, which the callbacks are copied from.
    writes_input : bool
        Whether the module alters the batch it is given.
    channels_last : bool
        Whether the module is given images in channels-last memory order.
    rank1 : dict or None
        Arguments of `BatchEnsemble`, where a network is many that share their weights; it
        then returns ``(n_samples, n_members, n_classes)``.
    linear : dict or None
        Arguments of `Linearised`, where a network is used through its gradients.
    part : tuple of int or None
        ``(part, n_splits)`` where the module is given one part of the channels alone.
    slimming : float or None
        Strength of the pull of batch normalisation's scales to zero; they then start at 0.5.
    pruned : tuple of dict
        What was cut out of the module, one after the other; see `skensemble.nn.narrowing`.
    start : Start or None
        What training starts from, where that is not drawn from the seed.
    """

    module: Any
    module_kwargs: dict[str, Any] = field(default_factory=dict)
    outputs_proba: bool = False
    class_weight: Tensor | None = None
    label_smoothing: float = 0.0
    optimizer: Any = torch.optim.Adam
    optimizer_kwargs: dict[str, Any] = field(default_factory=dict)
    lr: float = 1e-3
    max_epochs: int = 100
    batch_size: int = 64
    valid_batch_size: int = 512
    shuffle: bool = True
    drop_last: bool = False
    train_split: Callable[..., Any] | None = None
    net: NeuralNetClassifier | None = None
    device: str = "cpu"
    compile: bool = False
    compile_kwargs: dict[str, Any] = field(default_factory=dict)
    torch_load_kwargs: Any = None
    use_caching: Any = "auto"
    in_shape: tuple[int, ...] = ()
    n_classes: int = 0
    dtype: torch.dtype = torch.float32
    precision: str | None = None
    writes_input: bool = False
    channels_last: bool = False
    rank1: dict[str, Any] | None = None
    linear: dict[str, Any] | None = None
    part: tuple[int, int] | None = None
    slimming: float | None = None
    pruned: tuple[dict[str, Any], ...] = ()
    start: Start | None = None

    # -- building ----------------------------------------------------------------------

    def bind(self, X: Any, n_classes: int, precision: str | None = None) -> Recipe:
        """Fit the recipe to data: shapes, dtype, and arguments the module left open.

        Float64 rows train in float64 on the CPU; all else trains in float32. A module that
        is given a part of the channels is told the shape of that part.
        """
        if self.class_weight is not None and len(self.class_weight) != n_classes:
            raise ValueError(
                f"The 'criterion__weight' of the net must have one number a class, {n_classes}. "
                f"Got {len(self.class_weight)} instead."
            )
        whole = tuple(int(n) for n in X.shape[1:])
        in_shape = self._seen(whole)
        is_double = X.dtype == np.float64 and torch.device(self.device).type == "cpu"
        module = _default_module(in_shape) if self.module is None else self.module
        kwargs = self.module_kwargs
        if not isinstance(module, nn.Module) or kwargs:
            known = _accepted(type(module) if isinstance(module, nn.Module) else module)
            data = dict(zip(FILLED, (in_shape, int(n_classes), int(n_classes)), strict=True))
            kwargs = {**{key: data[key] for key in data if key in known}, **kwargs}
        return replace(
            self,
            module=module,
            module_kwargs=kwargs,
            in_shape=whole,
            n_classes=int(n_classes),
            dtype=torch.float64 if is_double else torch.float32,
            precision=precision,
        )

    def _columns(self, n_channels: int) -> slice:
        part, n_splits = (0, 1) if self.part is None else self.part
        return part_columns(n_channels, n_splits, part)

    def _seen(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what the module is given of a sample."""
        if self.part is None:
            return in_shape
        columns = self._columns(in_shape[0])
        return (columns.stop - columns.start, *in_shape[1:])

    def build(self, seed: int) -> nn.Module:
        """Make a module with the initial weights that belong to `seed`, on the CPU."""
        with torch_seeded(purpose_seed(seed, Purpose.INIT)):
            if isinstance(self.module, nn.Module) and not self.module_kwargs:
                module = _reinitialised(self.module)
            elif isinstance(self.module, nn.Module):
                module = type(self.module)(**self.module_kwargs)
            else:
                module = self.module(**self.module_kwargs)
            if not isinstance(module, nn.Module):
                raise TypeError(
                    "The 'module' of the net must make a torch.nn.Module. "
                    f"Got {type(module).__name__} from {self.module!r} instead."
                )
            if any(isinstance(p, UninitializedParameter) for p in module.parameters()):
                with torch.no_grad():
                    module.eval()(torch.zeros(2, *self._seen(self.in_shape)))
            if self.rank1 is not None:
                module = BatchEnsemble(module, **self.rank1)
            if self.linear is not None:
                from skensemble.ntk.linearised import Linearised  # which imports this module

                module = Linearised(module, **self.linear)
            if self.part is not None:
                module = OnPart(self._columns(self.in_shape[0]), module)
            for cuts in self.pruned:
                module = cut(module, cuts)
            if self.slimming is not None:
                for _, norm in scaled_norms(module):
                    nn.init.constant_(norm.weight, _SLIM_START)
        module = module.to(self.dtype)
        if self.start is not None:
            self.start.put(module)
        return module

    def narrow(self) -> Recipe:
        """Return the recipe of one network, where this is that of many that share weights."""
        kwargs = dict(self.optimizer_kwargs)
        groups = [group for group in kwargs.pop("param_groups", []) if group[0] not in FAST_WEIGHTS]
        if groups:
            kwargs["param_groups"] = groups
        return replace(self, rank1=None, optimizer_kwargs=kwargs)

    def restore(self, state: dict[str, Tensor]) -> nn.Module:
        """Make a module with the given weights, ready to predict."""
        module = replace(self, start=None).build(0)
        module.load_state_dict(state)
        return module.eval()

    def forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """Run a module on a batch, in reduced precision where that was asked for."""
        x = x.clone() if self.writes_input else x
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.precision is None:
            return module(x)
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return module(x).to(x.dtype)

    # -- what the engine needs -----------------------------------------------------------

    def objective(self) -> CrossEntropy:
        """Return the plain objective of the recipe's criterion."""
        return CrossEntropy(self.class_weight, self.label_smoothing)

    def callbacks(self) -> list[tuple[str, Callback]]:
        """Return fresh copies of the user's callbacks, parameters applied."""
        if self.net is None or self.net.callbacks == "disable" or not self.net.callbacks:
            return []
        net = same_net(self.net)
        net.callbacks = copy.deepcopy(self.net.callbacks)
        net.initialize_callbacks()
        return [
            (name, callback)
            for name, callback in net.callbacks_
            if name not in _DEFAULT_CALLBACKS and callback is not None
        ]

    def early_stopping(self) -> EarlyStopping | None:
        """Return the stopping rule that the engine follows member by member."""
        found = [cb for _, cb in self.callbacks() if _is_native_stopping(cb)]
        return found[0] if found else None

    def stack_blockers(self) -> list[str]:
        """Say why members of this recipe cannot train together (empty if they can)."""
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


def same_net(net: NeuralNetClassifier) -> NeuralNetClassifier:
    """Return a net with the same parameters, which stay when the first one's are set anew.

    ``copy.copy`` would write and read a fitted network's weights.
    """
    twin = object.__new__(type(net))
    vars(twin).update(vars(net))
    return twin


def run_networks(modules: Sequence[nn.Module], recipes: Sequence[Recipe], x: Tensor) -> Tensor:
    """Run networks on a batch, each as its own recipe says; return logits of members."""
    outputs = [own.forward(module, x) for own, module in zip(recipes, modules, strict=True)]
    return member_logits(outputs, [own.outputs_proba for own in recipes])
