"""Stacks that run a traced graph of layers as batched products."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from skensemble._engine.stacks import _Stacked
from skensemble.nn._channels import Columns
from skensemble.nn._taps import Tap
from skensemble.nn._tracing import CannotStack, trace_graph

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
