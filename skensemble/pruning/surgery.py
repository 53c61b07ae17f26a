"""Find the channels of a module that can be taken out, by following them through its graph.

Inner channels go from the layer that makes them, a convolution or a linear layer, through
batch normalisation, activations that map zero to zero, pooling, flattening and dropout, to
the layers that read them. Where they meet a sum, a concatenation, the output, a grouped or
a shared layer, or anything unknown, they are left alone, and it is said why.
"""

from __future__ import annotations

import copy
import math
import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from skensemble._seeding import torch_seeded
from skensemble.nn._still import is_hooked
from skensemble.nn._tracing import CannotStack, trace_graph
from skensemble.nn.narrowing import CONVOLUTIONS, NORMS, Cuts, blank, cut

__all__ = ["CannotPrune", "Channels", "Group", "check_same", "find_channels", "make_cuts"]

_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Tanh, nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh,
    nn.Hardswish, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold, nn.LogSigmoid,
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.Upsample, nn.ZeroPad2d,
)  # fmt: skip
# Functions and methods of one tensor that act on each number alone; whether they map zero
# to zero is tried.
_ELEMENTWISE_NAMES = {
    "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "celu", "gelu",
    "silu", "mish", "tanh", "tanh_", "sigmoid", "hardtanh", "hardswish", "hardsigmoid",
    "softplus", "softsign", "tanhshrink", "abs", "square", "neg", "mul", "truediv", "div", "add",
    "sub", "pow", "clamp", "sin", "cos", "exp", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "contiguous", "clone", "detach",
}  # fmt: skip
_POOL_NAMES = {
    f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)
} | {"interpolate"}
_FLAT_NAMES = {"flatten", "view", "reshape", "squeeze"}
_REDUCTIONS = {"mean", "sum", "amax"}
_SHAPE_NAMES = {"size", "dim", "numel", "getattr"}
_JOINS = {"cat", "concat", "concatenate", "stack"}
_SUMS = {"add", "iadd", "add_", "sub"}


class CannotPrune(ValueError):
    """Why a module cannot be pruned; the message is for the user."""


@dataclass(frozen=True)
class Port:
    """A layer that channels go into; each is `repeat` neighbouring numbers of its input."""

    layer: str
    repeat: int = 1


@dataclass(frozen=True)
class Group:
    """Channels that can be taken out.

    Attributes
    ----------
    layer : str
        The layer that makes them, or the batch normalisation that picks them.
    kind : {"conv", "linear", "norm"}
        What it is.
    n_channels : int
        How many there are.
    norms : tuple of Port
        Batch normalisations on the way.
    readers : tuple of Port
        Layers that take them in.
    """

    layer: str
    kind: str
    n_channels: int
    norms: tuple[Port, ...] = ()
    readers: tuple[Port, ...] = ()

    @property
    def scale(self) -> str | None:
        """The batch normalisation whose scale belongs to each channel, if there is one."""
        if self.kind == "norm":
            return self.layer
        return next((norm.layer for norm in self.norms if norm.repeat == 1), None)


@dataclass
class Channels:
    """What of a module can be taken out, and what is left alone and why."""

    groups: list[Group] = field(default_factory=list)
    left_alone: dict[str, str] = field(default_factory=dict)


class _CannotFollow(Exception):
    """The channels cannot be followed any further; the message says what they meet."""


class _Shapes(fx.Interpreter):
    """Run a graph and write down the shape of every tensor in it."""

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if isinstance(out, Tensor):
            n.meta["shape"] = tuple(out.shape)
        return out


def find_channels(module: nn.Module, sample: Tensor) -> Channels:
    """Find the groups of channels of a module.

    Parameters
    ----------
    module : Module
        Anything that torch.fx can trace; it is not changed.
    sample : Tensor of shape (n_few, ...)
        At least two rows of what it takes.

    Returns
    -------
    Channels
        The groups, in the order of the graph, and what is left alone.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> found = find_channels(net, torch.zeros(2, 4))
    >>> found.groups[0].layer, found.left_alone
    ('0', {'2': "its channels are the network's output"})
    """
    was_training = module.training
    try:
        found = _Follower(module.eval(), sample).find()
        with torch_seeded(0):  # dropout draws
            also = _Follower(module.train(), sample).find()
    except CannotStack as error:
        raise CannotPrune(
            f"Channels are found by tracing the module with torch.fx, and {error}. Use "
            "method='magnitude', which masks single weights and needs no trace, or take the "
            "branches on data out of its forward."
        ) from error
    finally:
        module.train(was_training)
    for group in [group for group in found.groups if group not in also.groups]:
        found.groups.remove(group)
        found.left_alone[group.layer] = "its use differs between training and prediction"
    return found


class _Follower:
    """Follows channels through the graph of one module."""

    def __init__(self, module: nn.Module, sample: Tensor) -> None:
        self.graph = trace_graph(module)
        self.modules: dict[str, Any] = dict(module.named_modules(remove_duplicate=False))
        # Running the graph must neither draw nor count: shapes are the same in evaluation.
        twin = copy.deepcopy(module).eval()
        with torch.no_grad():
            _Shapes(fx.GraphModule(twin, self.graph)).run(sample.clone())
        targets = [node.target for node in self.graph.nodes if node.op == "call_module"]
        self.calls = Counter(id(self.modules[str(target)]) for target in targets)
        tensors = [
            id(value)
            for part in set(self.modules.values())
            for value in part._parameters.values()
            if value is not None
        ]
        self.holders = Counter(tensors)

    def find(self) -> Channels:
        found = Channels()
        nodes = [node for node in self.graph.nodes if node.op == "call_module"]
        for node in nodes:
            layer = self.modules[str(node.target)]
            if isinstance(layer, (nn.Linear, *CONVOLUTIONS)):
                self._add(found, node, "linear" if isinstance(layer, nn.Linear) else "conv")
        for node in nodes:
            name = str(node.target)
            behind = {norm.layer for group in found.groups for norm in group.norms}
            if isinstance(self.modules[name], NORMS) and name not in behind:
                self._add(found, node, "norm")
        return found

    def _add(self, found: Channels, node: fx.Node, kind: str) -> None:
        name = str(node.target)
        layer = self.modules[name]
        try:
            self._check_own(layer)
            shape = node.meta["shape"]
            axis = len(shape) - 1 if kind == "linear" else 1
            # A set, since channels may reach a layer on two ways.
            ports = dict.fromkeys(self._follow(node, axis, 1))
            norms = tuple(p for p in ports if isinstance(self.modules[p.layer], NORMS))
            readers = tuple(p for p in ports if p not in norms)
            found.groups.append(Group(name, kind, shape[axis], norms, readers))
        except _CannotFollow as reason:
            if kind != "norm":  # a norm has its layer's reason
                found.left_alone[name] = str(reason)

    def _check_own(self, layer: Any) -> None:
        """Make sure that a layer's weights are its own and what they seem."""
        if self.calls[id(layer)] > 1:
            raise _CannotFollow("it is used more than once")
        if any(self.holders[id(value)] > 1 for value in layer.parameters(recurse=False)):
            raise _CannotFollow("it shares its weights with another layer")
        if parametrize.is_parametrized(layer):
            raise _CannotFollow("its weights are parametrised")
        if is_hooked(layer):
            raise _CannotFollow("a hook changes what it does")
        if getattr(layer, "groups", 1) > 1:
            raise _CannotFollow("it is a grouped convolution")

    def _follow(self, node: fx.Node, axis: int, repeat: int) -> Iterator[Port]:
        """Yield where the channels of a node arrive; `axis` is theirs."""
        for user in node.users:
            if user.op == "output":
                raise _CannotFollow("its channels are the network's output")
            if _name_of(user) in _SHAPE_NAMES:
                self._check_shape_only(user)
            elif user.op == "call_module":
                yield from self._into_module(user, node, axis, repeat)
            else:
                yield from self._into_function(user, node, axis, repeat)

    def _check_shape_only(self, user: fx.Node) -> None:
        """Let sizes be asked for, but not the number of channels."""
        name, args = _name_of(user), user.args
        if name in ("dim", "numel") or (name == "size" and args[1:] and args[1] != 1):
            return
        if name == "getattr" and args[1] in ("dtype", "device", "ndim"):
            return
        picks = [_name_of(one) == "getitem" and one.args[1] != 1 for one in user.users]
        if name == "numel" or not picks or not all(picks):
            raise _CannotFollow("its number of channels is asked for")

    def _into_module(self, user: fx.Node, node: fx.Node, axis: int, repeat: int) -> Iterator[Port]:
        name, layer = str(user.target), self.modules[str(user.target)]
        if isinstance(layer, (nn.Linear, *NORMS, *CONVOLUTIONS)):
            self._check_reader(name, layer, node, axis)
            yield Port(name, repeat)
            if isinstance(layer, NORMS):
                yield from self._follow(user, axis, repeat)
        elif isinstance(layer, _ELEMENTWISE):
            if layer(torch.zeros(1)).item() != 0:
                raise _CannotFollow(f"its activation {type(layer).__name__} does not map 0 to 0")
            yield from self._follow(user, axis, repeat)
        elif isinstance(layer, _POOLS) and axis == 1 and len(node.meta["shape"]) > 2:
            if getattr(layer, "return_indices", False):
                raise _CannotFollow(f"{name!r} returns indices")
            yield from self._follow(user, axis, repeat)
        elif isinstance(layer, nn.Flatten):
            yield from self._flatten(user, node, axis, repeat)
        else:
            raise _CannotFollow(f"it goes into {name!r}, a {type(layer).__name__}")

    def _check_reader(self, name: str, layer: Any, node: fx.Node, axis: int) -> None:
        try:
            self._check_own(layer)
        except _CannotFollow as reason:
            raise _CannotFollow(f"it goes into {name!r}, and {reason}") from None
        last = len(node.meta["shape"]) - 1
        if axis != (last if isinstance(layer, nn.Linear) else 1) or hasattr(layer, "index"):
            raise _CannotFollow(f"{name!r} reads it along another axis")

    def _into_function(
        self, user: fx.Node, node: fx.Node, axis: int, repeat: int
    ) -> Iterator[Port]:
        name = _name_of(user)
        if name in _JOINS:
            raise _CannotFollow("its channels are joined to others")
        tensors = [one for one in user.all_input_nodes if "shape" in one.meta]
        if name in _SUMS and len(tensors) > 1:
            raise _CannotFollow("its channels are added to others")
        alone = tensors == [node] and user.args and user.args[0] is node
        if name in _ELEMENTWISE_NAMES and tensors == [node]:
            if not _keeps_zero(user, node):
                raise _CannotFollow(f"{name} does not map 0 to 0")
            yield from self._follow(user, axis, repeat)
        elif name in _POOL_NAMES and alone and axis == 1:
            yield from self._follow(user, axis, repeat)
        elif name in _FLAT_NAMES and user.args and user.args[0] is node:
            yield from self._flatten(user, node, axis, repeat)
        elif name in _REDUCTIONS and alone and _reduced_after(user, node, axis):
            yield from self._follow(user, axis, repeat)
        else:
            raise _CannotFollow(f"it goes into {name}, which is not known to keep channels apart")

    def _flatten(self, user: fx.Node, node: fx.Node, axis: int, repeat: int) -> Iterator[Port]:
        before, after = node.meta["shape"], user.meta.get("shape")
        if axis != 1 or after != (before[0], math.prod(before[1:])):
            raise _CannotFollow(f"{_name_of(user)} mixes its channels with others")
        if (width := _literal_width(user)) is not None:
            raise _CannotFollow(
                f"{_name_of(user)} says that there are {width} numbers; use flatten(1)"
            )
        yield from self._follow(user, 1, repeat * math.prod(before[2:]))


def _literal_width(user: fx.Node) -> int | None:
    """Return the last number of the shape that a view is given, unless that is left open."""
    if _name_of(user) not in ("view", "reshape"):
        return None
    given = user.kwargs.get("shape", user.kwargs.get("size", user.args[1:]))
    while isinstance(given, (list, tuple)) and given:
        given = given[-1]
    return given if isinstance(given, int) and given >= 0 else None


def _name_of(node: fx.Node) -> str:
    """Return the plain name of a function or method, whatever module of torch has it."""
    if node.op in ("call_method", "call_module"):
        return str(node.target)
    if node.op != "call_function":
        return node.op
    return _KNOWN.get(node.target, getattr(node.target, "__name__", str(node.target)))


# Functions that go by another name, such as the two halves of max_pool2d.
_KNOWN: dict[Any, str] = {
    **{getattr(F, name): name for name in _POOL_NAMES},
    operator.getitem: "getitem",
}


def _keeps_zero(user: fx.Node, node: fx.Node) -> bool:
    """Try whether a function of one tensor maps zeros to zeros."""

    def zeros(one: fx.Node) -> Any:
        return torch.zeros(1, 1, 1, 1) if one is node else 1  # others are sizes

    args: Any = fx.map_arg(user.args, zeros)
    kwargs: Any = fx.map_arg(user.kwargs, zeros)
    try:
        call: Any = user.target
        if user.op == "call_method":
            call = getattr(torch.Tensor, str(user.target))
        out = call(*args, **kwargs)
    except (RuntimeError, TypeError, AttributeError, ZeroDivisionError):
        return False
    return isinstance(out, Tensor) and bool((out == 0).all())


def _reduced_after(user: fx.Node, node: fx.Node, axis: int) -> bool:
    """Whether a mean is taken over axes behind that of the channels alone."""
    dims = user.kwargs.get("dim", user.args[1] if len(user.args) > 1 else None)
    dims = [dims] if isinstance(dims, int) else dims
    n_axes = len(node.meta["shape"])
    if not isinstance(dims, (list, tuple)) or not all(isinstance(dim, int) for dim in dims):
        return False
    return all(dim % n_axes > axis for dim in dims)


# -- cuts ----------------------------------------------------------------------------------


def make_cuts(groups: list[Group], kept: dict[str, list[int]]) -> Cuts:
    """Turn the channels to keep of each group into cuts; whole groups need none."""
    cuts: Cuts = {}
    for group in groups:
        at = kept.get(group.layer)
        if at is None or len(at) == group.n_channels:
            continue
        own = "select" if group.kind == "norm" else "out"
        cuts.setdefault(group.layer, {})[own] = list(at)
        for norm in group.norms:
            cuts.setdefault(norm.layer, {})["out"] = _repeated(at, norm.repeat)
        for reader in group.readers:
            cuts.setdefault(reader.layer, {})["in"] = _repeated(at, reader.repeat)
    return cuts


def _repeated(at: list[int], repeat: int) -> list[int]:
    return [channel * repeat + i for channel in at for i in range(repeat)]


def check_same(module: nn.Module, narrow: nn.Module, cuts: Cuts, sample: Tensor) -> None:
    """Raise unless a narrow module says what the wide one says with the channels at zero.

    Parameters
    ----------
    module : Module
        The wide one.
    narrow : Module
        What surgery made of it.
    cuts : dict
        What was cut.
    sample : Tensor of shape (n_few, ...)
        Rows to compare on.
    """
    masked, removed = blank(module, cuts).eval(), copy.deepcopy(narrow).eval()
    try:
        a, tolerance = _run(masked.double(), sample.double()), 1e-8
    except RuntimeError:  # a forward that brings numbers of its own in float32
        a, tolerance = _run(masked.to(sample.dtype), sample), 1e-4
    try:
        b = _run(removed.to(a.dtype), sample.to(a.dtype))
    except RuntimeError as error:
        raise CannotPrune(
            f"The pruned module does not run: {error}. Name the layers at fault in 'skip'; cut "
            f"were {', '.join(sorted(cuts))}."
        ) from error
    scale = 1.0 + float(a.abs().max())
    if a.shape != b.shape or _gap(a, b) > tolerance * scale:
        raise CannotPrune(
            "With its channels taken out the module says something else than with its channels "
            f"set to zero, by up to {_gap(a, b):.2g}. Name the layers at fault in 'skip'; cut "
            f"were {', '.join(sorted(cuts))}."
        )


def _run(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return module(x.clone())


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.shape == b.shape else math.inf


def perform(module: nn.Module, cuts: Cuts, sample: Tensor) -> nn.Module:
    """Return a copy of a module with channels taken out, once it is shown to be right."""
    narrow = cut(copy.deepcopy(module), cuts)
    if cuts:
        check_same(module, narrow, cuts, sample)
    return narrow


def without(channels: Channels, gone: list[Group], why: str) -> Channels:
    """Leave more groups alone, for a reason."""
    return replace(
        channels,
        groups=[group for group in channels.groups if group not in gone],
        left_alone={**channels.left_alone, **{group.layer: why for group in gone}},
    )
