"""Stacks that run a traced graph of layers as batched products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from skensemble._engine import batching as batching
from skensemble._engine.stacks import _Stacked
from skensemble.nn._channels import Columns
from skensemble.nn._still import is_still
from skensemble.nn._taps import Tap
from skensemble.nn._tracing import CannotStack, trace_graph
from skensemble.nn.dropout import Dropout, draw_mask


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


def _draw_as_torch(mask: Tensor, p: float, generator: torch.Generator) -> None:
    """Fill a mask with the numbers that torch's dropout would multiply with."""
    mask.bernoulli_(1 - p, generator=generator).div_(1 - p)


def _looked_up(arg: Any, values: dict[str, Any]) -> Any:
    """Return an argument with the values of other steps in their places.

    Not a function within `forward`: one that calls itself would keep all activations alive until
    the next round of garbage collection.
    """
    if isinstance(arg, _Value):
        return values[arg.name]
    if isinstance(arg, list | tuple):
        return type(arg)(_looked_up(one, values) for one in arg)
    return arg


class GraphStack(_Stacked):
    """Members run through one graph in which every linear layer is a batched product.

    Parameters
    ----------
    modules : sequence of Module
        The members; copied. Their graph may hold linear layers, embeddings, dropout, batch, layer
        and root-mean-square normalisation, and what `batching`, beside this file, knows: all that
        acts on single numbers, concatenation, slices, flattening, means and softmax.
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
        name = str(node.target)
        if node.op == "call_module":
            return self._layer(name, module.get_submodule(name))
        if node.op == "get_attr":
            known = name if name in self._names else self._state_names.get(name)
            if known is None:
                raise CannotStack(f"its constant {name!r} is neither a parameter nor a buffer")
            return lambda: self.stacked(known)
        return batching.batched(node.op, node.target)

    def _layer(self, name: str, layer: Any) -> Callable[[Tensor], Tensor]:
        kind = type(layer)
        if kind in batching.ELEMENTWISE_MODULES:
            return layer.forward
        if kind is nn.Linear:
            return self._linear(name, layer)
        if kind is Columns:
            return lambda x: batching.index_select(x, 1, self.stacked(f"{name}.at"))
        if kind is nn.Flatten:
            return lambda x: batching.flatten(x, layer.start_dim, layer.end_dim)
        if kind in (nn.Softmax, nn.LogSoftmax) and layer.dim is not None:
            along = batching.softmax if kind is nn.Softmax else batching.log_softmax
            return lambda x: along(x, layer.dim)
        if kind in (nn.Dropout, Dropout):
            return lambda x: self._dropout(x, layer)
        if kind is nn.LayerNorm:
            return self._scaled(name, layer, partial(F.layer_norm, eps=layer.eps))
        if kind is nn.RMSNorm:
            return self._scaled(name, layer, partial(F.rms_norm, eps=layer.eps))
        if kind is nn.BatchNorm1d:
            return self._batch_norm(name, layer)
        if kind is nn.Embedding:
            return self._embedding(name, layer)
        raise CannotStack(f"a {kind.__name__} layer has no batched form")

    def _linear(self, name: str, layer: nn.Linear) -> Callable[[Tensor], Tensor]:
        weight, bias = f"{name}.weight", f"{name}.bias"

        def forward(x: Tensor) -> Tensor:
            rows = x.flatten(1, -2)  # one product a member, whatever axes its samples have
            if layer.bias is None:
                out = rows @ self.stacked(weight).mT
            else:
                b = self.stacked(bias).unsqueeze(1)
                out = torch.baddbmm(b, rows, self.stacked(weight).mT)
            return out if x.dim() == 3 else out.unflatten(1, x.shape[1:-1])

        return forward

    def _embedding(self, name: str, layer: nn.Embedding) -> Callable[[Tensor], Tensor]:
        plain = layer.padding_idx is None and layer.max_norm is None
        if not plain or layer.scale_grad_by_freq or layer.sparse:
            raise CannotStack("only Embedding with its default switches has a batched form")
        return lambda x: batching.embedding(self.stacked(f"{name}.weight"), x)

    def _dropout(self, x: Tensor, layer: nn.Dropout) -> Tensor:
        if not self.training or layer.p == 0 or is_still(layer):
            return x
        # Each member draws its own mask, from the numbers it would draw alone.
        draw = draw_mask if isinstance(layer, Dropout) else _draw_as_torch
        masks = torch.empty_like(x)
        for mask, generator in zip(masks, self._draws[self.members_run], strict=True):
            draw(mask, layer.p, generator)
        return x * masks

    def _scaled(
        self, name: str, layer: Any, normalise: Callable[..., Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """Return a normalisation followed by each member's own scale and shift."""

        def forward(x: Tensor) -> Tensor:
            x = normalise(x, layer.normalized_shape)
            if layer.weight is not None:
                x = batching.aligned(torch.mul)(x, self.stacked(f"{name}.weight"))
            if getattr(layer, "bias", None) is not None:
                x = batching.aligned(torch.add)(x, self.stacked(f"{name}.bias"))
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
            learns = self.training and not is_still(layer)
            if learns:
                self.stacked(f"{name}.num_batches_tracked").add_(1)
            n_members, n_samples, n_units = x.shape
            out = F.batch_norm(
                x.transpose(0, 1).reshape(n_samples, n_members * n_units),
                flat("running_mean"), flat("running_var"), flat("weight"), flat("bias"),
                learns, momentum, layer.eps,
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

    def _forward(self, x: Tensor, n_members: int) -> Tensor:
        if len(x) != n_members:
            x = x.expand(n_members, *x.shape[1:])
        values = {self._input: x}
        for name, step, args, kwargs in self._steps:
            values[name] = step(
                *(_looked_up(arg, values) for arg in args),
                **{key: _looked_up(arg, values) for key, arg in kwargs.items()},
            )
        for tap in self.taps:
            self.features[tap.key] = values[self._places[tap.module, tap.side]]
        return values[self._output]
