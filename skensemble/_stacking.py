"""M networks as one module with a leading member axis.

Three ways to run them, one contract: ``forward`` maps inputs ``(M or 1, B, ...)`` to
outputs ``(M, B, K)``; parameters carry the user's names; ``member_state`` hands back
the state dict of one member. Which one is used changes the speed, never the result.

- `LoopStack` calls the members in turn: any module.
- `GraphStack` reads the module's graph and replaces each linear layer by one batched
  matrix product: multi-layer perceptrons, with or without residual connections.
- `VmapStack` vectorises the module's own forward with :func:`torch.func.vmap`.
"""

from __future__ import annotations

import copy
import operator
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from skensemble._channels import Columns
from skensemble._layers import Tap, listen
from skensemble._states import map_state, versions, with_versions
from skensemble.nn.normalize import Normalize


class CannotStack(Exception):
    """Why modules cannot be run together; the message is for the user."""


class MemberStack(nn.Module, ABC):
    """Abstract stack of ``n_members`` networks of one architecture."""

    n_members: int
    taps: tuple[Tap, ...] = ()
    features: dict[str, Tensor]  # what the taps gave in the last forward, (member, sample, ...)

    def tap(self, taps: Sequence[Tap]) -> None:
        """Ask for the features of layers; every forward then leaves them in `features`."""
        self.taps = tuple(taps)
        self.features = {}

    @abstractmethod
    def learnable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield parameters under the names they have in the user's module."""

    @abstractmethod
    def member_state(self, member: int) -> dict[str, Tensor]:
        """Return a copy of one member's state dict."""

    def shown(self) -> nn.Module:
        """Return the module that a user's callback is shown: the network that is trained."""
        return self

    def set_draws(self, generators: Sequence[torch.Generator]) -> None:
        """Take the members' generators, for stacks that draw random numbers themselves."""


class LoopStack(MemberStack):
    """Members called in turn.

    Parameters
    ----------
    modules : sequence of Module
        The members; trained in place.
    channels_last : bool, default=False
        Whether to run images in channels-last memory order.
    """

    def __init__(self, modules: Sequence[nn.Module], channels_last: bool = False) -> None:
        super().__init__()
        self.n_members = len(modules)
        self.members = nn.ModuleList(modules)
        self.channels_last = channels_last
        if channels_last:
            self.members.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def tap(self, taps: Sequence[Tap]) -> None:
        super().tap(taps)
        self._heard: list[dict[str, Tensor]] = [{} for _ in self.members]
        for member, heard in zip(self.members, self._heard, strict=True):
            listen(member, taps, heard.__setitem__)

    def forward(self, x: Tensor) -> Tensor:
        """Run each member on its own batch, or all on the one there is."""
        inputs = x.unbind(0)
        if len(x) != self.n_members:  # each its own, since a module may write into its input
            inputs = tuple(x[0].clone() for _ in range(self.n_members))
        if self.channels_last:
            inputs = tuple(xi.contiguous(memory_format=torch.channels_last) for xi in inputs)
        outputs = [member(xi) for member, xi in zip(self.members, inputs, strict=True)]
        for tap in self.taps:
            self.features[tap.key] = torch.stack([heard[tap.key] for heard in self._heard])
        return outputs[0].unsqueeze(0) if len(outputs) == 1 else torch.stack(outputs)

    def learnable(self) -> Iterator[tuple[str, nn.Parameter]]:
        for member in self.members:
            yield from member.named_parameters()

    def shown(self) -> nn.Module:
        return self.members[0] if self.n_members == 1 else self

    def member_state(self, member: int) -> dict[str, Tensor]:
        return map_state(self.members[member].state_dict(), _copied)


def _copied(value: Tensor) -> Tensor:
    return value.detach().clone()


class _Stacked(MemberStack):
    """Parameters and buffers with a leading member axis, under the user's names."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.n_members = len(modules)
        self._names: dict[str, str] = {}
        first = modules[0]
        for name, value in first.named_parameters():
            members = [module.get_parameter(name).detach() for module in modules]
            self._names[name] = name.replace(".", "/")
            self.register_parameter(
                self._names[name], nn.Parameter(torch.stack(members), value.requires_grad)
            )
        for name, _ in first.named_buffers():
            self._names[name] = name.replace(".", "/")
            buffers = [module.get_buffer(name) for module in modules]
            self.register_buffer(self._names[name], torch.stack(buffers))
        # Tied parameters stand once above but under each of their names in a state dict.
        state = first.state_dict()
        self._versions = versions(state)
        self._state_names = self._find_state_names(first, state)

    def _find_state_names(self, module: nn.Module, state: dict[str, Any]) -> dict[str, str]:
        known: dict[int, str] = {}
        tensors = {
            **dict(module.named_parameters(remove_duplicate=False)),
            **dict(module.named_buffers(remove_duplicate=False)),
        }
        for name, value in tensors.items():
            if name in self._names:
                known[id(value)] = name
        for name in state:
            if name not in tensors:
                raise CannotStack(f"its state {name!r} is no parameter or buffer")
        return {name: known[id(tensors[name])] for name in state}

    def stacked(self, name: str) -> Tensor:
        """Return a stacked parameter or buffer by the user's name."""
        return getattr(self, self._names[name])

    def learnable(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, key in self._names.items():
            if key in self._parameters:
                yield name, getattr(self, key)

    def member_state(self, member: int) -> dict[str, Tensor]:
        names = self._state_names.items()
        members = ((name, _copied(self.stacked(at)[member])) for name, at in names)
        return with_versions(members, self._versions)


class VmapStack(_Stacked):
    """Members vectorised by :func:`torch.func.vmap` over :func:`torch.func.functional_call`.

    Parameters
    ----------
    modules : sequence of Module
        The members; copied.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__(modules)
        # In a tuple so that it is neither moved nor listed as a child: it has no data.
        self._skeleton = (copy.deepcopy(modules[0]).to("meta"),)

    def forward(self, x: Tensor) -> Tensor:
        """Run all members on their batches at once."""
        names = {name: self.stacked(name) for name in self._names}
        shared = len(x) != self.n_members
        batched = torch.func.vmap(self._one, in_dims=(0, None if shared else 0), randomness="error")
        output, features = batched(names, x[0] if shared else x)
        if self.taps:
            self.features = features
        return output

    def _one(self, tensors: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        heard: dict[str, Tensor] = {}
        skeleton = self._skeleton[0]
        handles = listen(skeleton, self.taps, heard.__setitem__)
        try:
            return torch.func.functional_call(skeleton, tensors, (x,)), heard
        finally:
            for handle in handles:
                handle.remove()

    def train(self, mode: bool = True) -> VmapStack:
        """Set the mode of the members too."""
        super().train(mode)
        if hasattr(self, "_skeleton"):
            self._skeleton[0].train(mode)
        return self


# Modules and functions that act on each number alone: the member axis passes through.
_ELEMENTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
    nn.Tanhshrink, nn.Threshold, nn.LogSigmoid, nn.Identity,
)  # fmt: skip
_ELEMENTWISE_FUNCTIONS = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.tanh,
    F.sigmoid, F.softplus, F.hardtanh, F.hardswish, torch.relu, torch.tanh, torch.sigmoid,
    torch.add, torch.sub, torch.mul, operator.add, operator.sub, operator.mul,
    operator.neg, operator.truediv, torch.sin, torch.cos, torch.exp, torch.square,
}  # fmt: skip
_SOFTMAXES: dict[Any, Callable[..., Tensor]] = {
    torch.softmax: torch.softmax,
    torch.log_softmax: torch.log_softmax,
    F.softmax: torch.softmax,
    F.log_softmax: torch.log_softmax,
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
}
_ELEMENTWISE_METHODS = {"relu", "tanh", "sigmoid", "add", "sub", "mul", "square", "exp"}


@dataclass(frozen=True)
class _Value:
    """Stands for what a node of the graph computed."""

    name: str


@dataclass(frozen=True)
class GraphNode:
    """A node of a traced graph, free of the module it was traced from."""

    op: str
    name: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Tracer(fx.Tracer):
    """A tracer that leaves the modules of other threads alone.

    While it traces, torch.fx changes ``Module.__call__`` for the whole process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call modules of other threads as if nothing was traced."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Also leave whole the choice of channels, and what asks its input for numbers."""
        whole = isinstance(m, Columns | Normalize)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """Hand attributes to other threads as they are."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


_TRACING = threading.Lock()


def trace_graph(module: nn.Module) -> fx.Graph:
    """Trace a module's forward; one thread at a time."""
    try:
        with _TRACING:
            return _Tracer().trace(module)
    except Exception as error:  # fx raises whatever the user's code raises on proxies
        raise CannotStack(f"its forward cannot be traced ({error})") from error


def trace(module: nn.Module) -> tuple[GraphNode, ...]:
    """Trace a module once a fit, as nodes that can be sent to workers."""

    def value(node: fx.Node) -> Any:
        return _Value(node.name)

    return tuple(
        GraphNode(
            node.op,
            node.name,
            node.target,
            fx.map_arg(node.args, value),  # type: ignore[arg-type]
            fx.map_arg(node.kwargs, value),  # type: ignore[arg-type]
        )
        for node in trace_graph(module).nodes
    )


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


class GraphStack(_Stacked):
    """Members run through one graph in which every linear layer is a batched product.

    Parameters
    ----------
    modules : sequence of Module
        The members; copied. Their graph may hold linear layers, activations, sums,
        flattening, dropout, batch and layer normalisation of vectors, and softmax.
    graph : sequence of GraphNode, default=None
        What `trace` made of one of them; traced here if not given.
    """

    def __init__(
        self, modules: Sequence[nn.Module], graph: Sequence[GraphNode] | None = None
    ) -> None:
        super().__init__(modules)
        self._draws: Sequence[torch.Generator] = ()
        self._places: dict[tuple[str, str], str] = {}
        self._steps: list[tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        output: str | None = None
        for node in trace(modules[0]) if graph is None else graph:
            if node.op == "placeholder":
                if hasattr(self, "_input"):
                    raise CannotStack("its forward takes more than one argument")
                self._input = node.name
            elif node.op == "output":
                output = node.args[0].name if isinstance(node.args[0], _Value) else None
            else:
                step = self._translate(node, modules[0])
                if node.op == "call_module":
                    self._places[node.target, "output"] = node.name
                    if node.args and isinstance(node.args[0], _Value):
                        self._places[node.target, "input"] = node.args[0].name
                self._steps.append((node.name, step, node.args, node.kwargs))
        if output is None:
            raise CannotStack("its forward returns more than one tensor")
        self._output = output

    def _translate(self, node: GraphNode, module: nn.Module) -> Callable[..., Any]:
        if node.op == "call_module":
            return self._layer(str(node.target), module.get_submodule(str(node.target)))
        if node.op == "call_function" and node.target in _ELEMENTWISE_FUNCTIONS:
            return node.target  # type: ignore[return-value]
        if node.op == "call_method" and node.target in _ELEMENTWISE_METHODS:
            return _method(str(node.target))
        if node.target in _SOFTMAXES and {*node.args[1:], *node.kwargs.values()} <= {1, -1}:
            along = _SOFTMAXES[node.target]
            return lambda x, *_, **__: along(x, -1)
        is_flatten = node.target in (torch.flatten, "flatten")
        if is_flatten and node.args[1:] in ((1,), (1, -1)) and not node.kwargs:
            return lambda x, *_: x.flatten(2)
        raise CannotStack(f"{node.target} has no batched form")

    def _layer(self, name: str, layer: Any) -> Callable[[Tensor], Tensor]:
        kind = type(layer)
        if kind in _ELEMENTWISE_MODULES:
            return layer.forward
        if kind is nn.Linear:
            return self._linear(name, layer)
        if kind is Columns:
            return lambda x: self._columns(name, x)
        if kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            return lambda x: x.flatten(2)
        if kind in (nn.Softmax, nn.LogSoftmax) and layer.dim in (1, -1):
            along = F.softmax if kind is nn.Softmax else F.log_softmax
            return lambda x: along(x, -1)
        if kind is nn.Dropout:
            return lambda x: self._dropout(x, layer.p)
        if kind is nn.LayerNorm and len(layer.normalized_shape) == 1:
            return self._layer_norm(name, layer)
        if kind is nn.BatchNorm1d:
            return self._batch_norm(name, layer)
        raise CannotStack(f"a {kind.__name__} layer has no batched form")

    def _linear(self, name: str, layer: nn.Linear) -> Callable[[Tensor], Tensor]:
        weight, bias = f"{name}.weight", f"{name}.bias"
        if layer.bias is None:
            return lambda x: x @ self.stacked(weight).mT
        return lambda x: torch.baddbmm(self.stacked(bias).unsqueeze(1), x, self.stacked(weight).mT)

    def _columns(self, name: str, x: Tensor) -> Tensor:
        at = self.stacked(f"{name}.at")  # (member, channel)
        return x[torch.arange(len(at), device=x.device)[:, None], :, at].transpose(1, 2)

    def _dropout(self, x: Tensor, p: float) -> Tensor:
        if not self.training or p == 0:
            return x
        # Each member draws its own mask, from the numbers it would draw alone.
        masks = [torch.empty_like(x[0]).bernoulli_(1 - p, generator=g) for g in self._draws]
        return x * torch.stack(masks).div_(1 - p)

    def _layer_norm(self, name: str, layer: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            x = F.layer_norm(x, layer.normalized_shape, eps=layer.eps)
            if layer.weight is not None:
                x = x * self.stacked(f"{name}.weight").unsqueeze(1)
            if layer.bias is not None:
                x = x + self.stacked(f"{name}.bias").unsqueeze(1)
            return x

        return forward

    def _batch_norm(self, name: str, layer: nn.BatchNorm1d) -> Callable[[Tensor], Tensor]:
        if layer.momentum is None or not layer.track_running_stats or not layer.affine:
            raise CannotStack("only BatchNorm1d with its default switches has a batched form")
        momentum: float = layer.momentum

        def flat(what: str) -> Tensor:
            return self.stacked(f"{name}.{what}").flatten()

        def forward(x: Tensor) -> Tensor:
            if x.dim() != 3:
                raise CannotStack("BatchNorm1d has a batched form on vectors only")
            if self.training:
                self.stacked(f"{name}.num_batches_tracked").add_(1)
            n_members, n_samples, n_units = x.shape
            out = F.batch_norm(
                x.transpose(0, 1).reshape(n_samples, n_members * n_units),
                flat("running_mean"), flat("running_var"), flat("weight"), flat("bias"),
                self.training, momentum, layer.eps,
            )  # fmt: skip
            return out.view(n_samples, n_members, n_units).transpose(0, 1)

        return forward

    def set_draws(self, generators: Sequence[torch.Generator]) -> None:
        self._draws = generators

    def tap(self, taps: Sequence[Tap]) -> None:
        super().tap(taps)
        for tap in taps:
            if (tap.module, tap.side) not in self._places:
                raise CannotStack(f"its layer {tap.module!r} is not a node of its graph")

    def forward(self, x: Tensor) -> Tensor:
        """Run the graph on all members at once."""
        if len(x) != self.n_members:
            x = x.expand(self.n_members, *x.shape[1:])
        values = {self._input: x}

        def lookup(arg: Any) -> Any:
            return values[arg.name] if isinstance(arg, _Value) else arg

        for name, step, args, kwargs in self._steps:
            values[name] = step(*map(lookup, args), **{k: lookup(v) for k, v in kwargs.items()})
        for tap in self.taps:
            self.features[tap.key] = values[self._places[tap.module, tap.side]]
        return values[self._output]
