"""Everything needed to build and train one member; `reading` makes it of a user's net."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from skensemble._arguments import naming
from skensemble._recipes.defaults import choose
from skensemble._recipes.fields import says
from skensemble._recipes.modules import _accepted, _reinitialised, default_module
from skensemble._recipes.parts import Frozen, NewHead, Rates
from skensemble._recipes.plain import full_state, plain_state
from skensemble._recipes.pretrained import Origin, asked_for_weights
from skensemble._recipes.training import TrainingSettings
from skensemble._recipes.wraps import Wrap
from skensemble._seeding import Purpose, purpose_seed, torch_seeded
from skensemble.nn._heads import run_heads
from skensemble.nn._outputs import member_logits
from skensemble.objectives import Objective
from skensemble.objectives.base import CrossEntropy

# Arguments of modules that are filled in from the data; torchvision calls the last as it does.
FILLED = ("in_shape", "n_classes", "num_classes")

_Kind = TypeVar("_Kind", bound=Wrap)


@dataclass(frozen=True)
class Start:
    """What a network starts from, other than weights drawn from its seed.

    Attributes
    ----------
    state : dict of Tensor or None
        Its weights, after pruning; empty where they are yet to come.
    masks : dict of Tensor
        Which numbers of named parameters are kept (one) and which stay zero.
    """

    state: dict[str, Tensor] | None = None
    masks: dict[str, Tensor] = field(default_factory=dict)

    def put(self, module: nn.Module) -> None:
        """Give the weights to a module, and mask them."""
        if self.state:
            module.load_state_dict(self.state)
        with torch.no_grad():
            for name, mask in self.masks.items():
                module.get_parameter(name).mul_(mask)


@dataclass(frozen=True)
class Recipe:
    """One member: its module, how that is trained, and what is put around it.

    Attributes
    ----------
    module : callable or Module
        Class (or factory) called with `module_kwargs`, or an instance to re-initialise.
    outputs_proba : bool
        Whether the module returns probabilities (skorch's ``NLLLoss``) or logits.
    training : TrainingSettings
        Loss, optimiser and schedule.
    wraps : tuple of Wrap
        What is done to the module once it is made, from the inside out.
    start : Start
        What training starts from.
    in_shape : tuple of int
        Shape of a sample.
    n_outputs : int
        How many numbers a network returns for a sample.
    writes_input : bool
        Whether the module alters the batch it is given.
    channels_last : bool
        Whether the module is given images in channels-last memory order.
    table : TablePreprocessor or None
        What reads raw tables, where the user left that to us.
    chosen : bool
        Whether the module and its training were chosen by rules, as the user gave none.
    origin : Origin or None
        The network that the user wrote a `Pretrained` of.
    """

    module: Any = field(metadata=says("own", "alike"))
    module_kwargs: dict[str, Any] = field(default_factory=dict, metadata=says("own", "alike"))
    outputs_proba: bool = field(default=False, metadata=says("plain", "alike"))
    training: TrainingSettings = field(
        default_factory=TrainingSettings, metadata=says("own", "own")
    )
    wraps: tuple[Wrap, ...] = field(default=(), metadata=says("own", "own"))
    start: Start = field(default_factory=Start, metadata=says("no", "own"))
    in_shape: tuple[int, ...] = field(default=(), metadata=says("plain", "alike"))
    n_outputs: int = field(default=0, metadata=says("plain", "alike"))
    dtype: torch.dtype = field(default=torch.float32, metadata=says("own", "alike"))
    precision: str | None = field(default=None, metadata=says("plain", "alike"))
    writes_input: bool = field(default=False, metadata=says("plain", "alike"))
    channels_last: bool = field(default=False, metadata=says("plain", "alike"))
    table: Any = field(default=None, metadata=says("own", "alike"))
    chosen: bool = field(default=False, metadata=says("plain", "alike"))
    origin: Origin | None = field(default=None, metadata=says("no", "own"))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state in words and arrays of NumPy; see `skensemble._recipes.plain`."""
        return plain_state(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        vars(self).update(full_state(state))

    # -- building ----------------------------------------------------------------------

    def bind(self, X: Any, n_outputs: int, precision: str | None = None) -> Recipe:
        """Fit the recipe to data: shapes, dtype, and arguments the module left open.

        Float64 rows train in float64 on the CPU; all else trains in float32. A module that
        is given a part of the channels is told the shape of that part.
        """
        weight = self.training.class_weight
        if weight is not None and len(weight) != n_outputs:
            raise ValueError(
                f"The 'criterion__weight' of the net must have one number a class, {n_outputs}. "
                f"Got {len(weight)} instead."
            )
        whole = tuple(int(n) for n in X.shape[1:])
        in_shape = self._shapes(whole)[0]
        is_double = X.dtype == np.float64 and torch.device(self.training.device).type == "cpu"
        module = default_module(in_shape) if self.module is None else self.module
        kwargs = self.module_kwargs
        if not isinstance(module, nn.Module) or kwargs:
            known = _accepted(type(module) if isinstance(module, nn.Module) else module)
            data = dict(zip(FILLED, (in_shape, int(n_outputs), int(n_outputs)), strict=True))
            if asked_for_weights(module, kwargs):  # which have a number of classes of their own
                data = {"in_shape": in_shape}
            kwargs = {**{key: data[key] for key in data if key in known}, **kwargs}
        bound = replace(
            self,
            module=module,
            module_kwargs=kwargs,
            in_shape=whole,
            n_outputs=int(n_outputs),
            dtype=torch.float64 if is_double else torch.float32,
            precision=precision,
        )
        return bound if self.origin is None else bound._begun(self.origin)

    def _begun(self, origin: Origin) -> Recipe:
        """Return the recipe with the network that all members start from."""
        with torch_seeded(0):
            module = self.module if self.is_made else self._make()
        wraps = tuple(one.bound(module, self.n_outputs) for one in self.wraps)
        return replace(self, wraps=wraps, origin=replace(origin, module=module))

    def by_rules(self, X: Any, n_rows: int) -> Recipe:
        """Return what is trained where the user gave no recipe, chosen by the rows and columns."""
        whole = tuple(int(n) for n in X.shape[1:])
        seen = self._shapes(whole)[0]
        default_module(seen)  # which refuses shapes that nothing is made for
        choice = choose(seen, n_rows, None if self.table is None else self.table.layout_)
        kwargs = {**choice.module_kwargs, **self.module_kwargs}
        training = choice.training
        return replace(
            self, module=choice.module, module_kwargs=kwargs, training=training, chosen=True
        )

    def with_budget(self, n_rows: int, times: float) -> Recipe:
        """Return the recipe that the rules choose, trained on other rows and longer.

        Parameters
        ----------
        n_rows : int
            Rows to train on.
        times : float
            How many times a plain network's steps it may take.
        """
        seen = self._shapes(self.in_shape)[0]
        layout = None if self.table is None else self.table.layout_
        return replace(self, training=choose(seen, n_rows, layout, times).training)

    def summary(self) -> str:
        """Say in a line which network is trained how."""
        told = self.training
        name = getattr(self.module, "__name__", type(self.module).__name__)
        decay = told.optimizer_kwargs.get("weight_decay", 0.0)
        return (
            f"{name}, {told.optimizer.__name__} at {told.lr:g} with decay {decay:g}, batches of "
            f"{told.batch_size}, at most {told.max_epochs} epochs"
        )

    def _shapes(self, whole: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shapes of what the module and each wrap, from the inside out, are given."""
        shapes = [whole]
        for one in reversed(self.wraps):
            shapes.append(one.seen(shapes[-1]))
        return shapes[::-1]

    def build(self, seed: int) -> nn.Module:
        """Make a module with the initial weights that belong to `seed`, on the CPU."""
        seen, *shapes = self._shapes(self.in_shape)
        with torch_seeded(purpose_seed(seed, Purpose.INIT)):
            module = self._make_start()
            if any(isinstance(p, UninitializedParameter) for p in module.parameters()):
                with torch.no_grad():
                    module.eval()(torch.zeros(2, *seen))
            for one, shape in zip(self.wraps, shapes, strict=True):
                module = one.wrap(module, shape)
        module = module.to(self.dtype)
        self.start.put(module)
        return module

    @property
    def is_made(self) -> bool:
        """Whether the module is one already, and none is to be made of its class."""
        return isinstance(self.module, nn.Module) and not self.module_kwargs

    def _make_start(self) -> nn.Module:
        """Make the module itself, which nothing is put around yet, as training is to find it."""
        if self.origin is not None and self.origin.keeps and self.origin.module is not None:
            return copy.deepcopy(self.origin.module)
        if self.is_made:
            # Weights that are put in afterwards need none of before.
            has_state = self.start.state is not None
            return copy.deepcopy(self.module) if has_state else _reinitialised(self.module)
        return self._make()

    def _make(self) -> nn.Module:
        """Make a module of what makes modules."""
        maker = type(self.module) if isinstance(self.module, nn.Module) else self.module
        with naming("module", f"be made with {self.module_kwargs}"):
            module = maker(**self.module_kwargs)
        if not isinstance(module, nn.Module):
            raise TypeError(
                "The 'module' of the net must make a torch.nn.Module. "
                f"Got {type(module).__name__} from {self.module!r} instead."
            )
        return module

    def restore(self, state: dict[str, Tensor]) -> nn.Module:
        """Make a module with the given weights, ready to predict."""
        module = self.blank()
        module.load_state_dict(state)
        return module.eval()

    def blank(self) -> nn.Module:
        """Make a module that is to be given its weights."""
        return replace(self, start=Start({})).build(0)

    def forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """Run a module on a batch, in reduced precision where that was asked for."""
        x = x.clone() if self.writes_input else x
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.precision is None:
            return module(x)
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return module(x).to(x.dtype)

    def written(self, given: Any) -> Any:
        """Return what a user would write for one network, where `given` is the estimator's."""
        if self.origin is not None:
            return self.origin.written
        return given if self.chosen or self.training.net is None else self.training.net

    # -- other recipes ---------------------------------------------------------------------

    def fresh(self) -> Recipe:
        """Return the recipe of a network that starts from weights drawn from its seed."""
        return replace(self, start=Start())

    def on(self, device: str) -> Recipe:
        """Return the recipe on another device."""
        return replace(self, training=replace(self.training, device=device))

    def wrapped(self, *wraps: Wrap) -> Recipe:
        """Return the recipe with more put around its module."""
        return replace(self, wraps=(*self.wraps, *wraps))

    def without(self, kind: type[Wrap]) -> Recipe:
        """Return the recipe without one kind of wrap, and what came with it."""
        training = self._without_those(one for one in self.wraps if isinstance(one, kind))
        wraps = tuple(one for one in self.wraps if not isinstance(one, kind))
        return replace(self, wraps=wraps, training=training)

    def training_as_given(self) -> TrainingSettings:
        """Return the training settings without what came with wraps."""
        return self._without_those(self.wraps)

    def _without_those(self, wraps: Iterable[Wrap]) -> TrainingSettings:
        training = self.training
        for one in wraps:
            training = one.as_given(training)
        return training

    def of_member(self, number: int) -> Recipe:
        """Return the recipe of one member of an ensemble, which may see a part of the data."""
        return replace(self, wraps=tuple(one.of_member(number) for one in self.wraps))

    # -- what is asked of the wraps ----------------------------------------------------------

    def find(self, kind: type[_Kind]) -> _Kind | None:
        """Return the first wrap of a kind, if there is one."""
        return next((one for one in self.wraps if isinstance(one, kind)), None)

    def wraps_key(self) -> tuple[Any, ...]:
        """Return what of the wraps must be equal for networks to train in one stack."""
        return tuple(one.key() for one in self.wraps)

    @property
    def only_head(self) -> str | None:
        """The one layer that learns, of a network whose others are those that all start from."""
        starts = self.origin is not None and self.origin.keeps
        is_plain = starts and self.start.state is None and not self.start.masks
        return self.frozen_but if is_plain else None

    @property
    def frozen_but(self) -> str | None:
        """The one layer that is not frozen, of a network that nothing else is put around."""
        frozen = self.find(Frozen)
        plain = all(isinstance(one, NewHead | Frozen | Rates) for one in self.wraps)
        return frozen.backbone_of if frozen is not None and plain else None

    @property
    def n_members(self) -> int:
        """How many members the module holds."""
        return math.prod(one.count_members() for one in self.wraps)

    @property
    def shares_layers(self) -> bool:
        """Whether the module holds members that share their layers."""
        return any(one.shares_layers for one in self.wraps)

    @property
    def is_network(self) -> bool:
        """Whether the module is a network of layers, not a kernel machine made of one."""
        return all(one.is_network for one in self.wraps)

    # -- what the engine needs -----------------------------------------------------------

    def objective(self) -> CrossEntropy:
        """Return the plain objective of the recipe's criterion."""
        return CrossEntropy(self.training.class_weight, self.training.label_smoothing)

    def regularised(self, objective: Objective, module: nn.Module) -> Objective:
        """Add to an objective what the wraps ask for in training."""
        for one in self.wraps:
            objective = one.regularised(objective, module)
        return objective


def run_networks(modules: Sequence[nn.Module], recipes: Sequence[Recipe], x: Tensor) -> Tensor:
    """Run networks on a batch, each as its own recipe says; return logits of members."""
    outputs = [own.forward(module, x) for own, module in zip(recipes, modules, strict=True)]
    return _as_logits(outputs, recipes)


def run_members(modules: Sequence[nn.Module], recipes: Sequence[Recipe], x: Tensor) -> Tensor:
    """Run networks on a batch as `run_networks` does, a backbone that they share once.

    They come to share it in memory here; they are not to be traced or differentiated.
    """
    heads = {own.frozen_but for own in recipes}
    first = recipes[0]
    if len(heads) > 1 or first.frozen_but is None or any(own.precision for own in recipes):
        return run_networks(modules, recipes, x)
    outputs = run_heads(modules, first.frozen_but, lambda: first.forward(modules[0], x))
    if outputs is None:
        return run_networks(modules, recipes, x)
    return _as_logits(outputs, recipes)


def _as_logits(outputs: Sequence[Tensor], recipes: Sequence[Recipe]) -> Tensor:
    return member_logits(outputs, [own.outputs_proba for own in recipes])
