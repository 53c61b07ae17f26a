"""Gradients of every sample's outputs by the parameters, layer by layer.

A linear layer's gradient is the outer product ``g ⊗ a`` of what it was given, ``a``, and
of how an output moves with what it put out, ``g``. Nobody needs to write that product down:
the inner product of two such gradients is ``(a·a') (g·g')``. Layers that act at many places
(convolutions, linear layers of tokens) and norms are written out, one batched product each.

One forward pass and one backward pass an output give all of it for a whole batch. What
the layers do not explain, found out once on two rows, is differentiated by ``torch.func``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from skensemble._turns import Turns
from skensemble.nn._twins import twin
from skensemble.ntk.layers import KNOWN, Explicit, Part, Product, as_one_output, part_of_layer

_KERNELS = Turns()
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}


@dataclass(frozen=True)
class _Call:
    """One use of a layer: its input, and where its output stands in the graph."""

    layer: nn.Module
    given: Tensor
    edge: Any
    shape: tuple[int, ...]

    def no_slope(self) -> Tensor:
        """Return the slope of an output that does not depend on this layer."""
        return self.given.new_zeros(self.shape)


class Gradients:
    """What maps rows to the gradients of a module's outputs by its parameters.

    Parameters
    ----------
    module : Module
        In evaluation mode each row must be treated by itself.
    sample : Tensor of shape (2 or more, ...)
        Rows to find out on what the layers explain.
    outputs : {"full", "trace", "last"} or int
        All outputs, each by itself; all outputs as one long gradient, divided by the root
        of their number; the features that the last linear layer is given; or one output.
    layers : bool
        Whether layers are looked into at all; ``torch.func`` does everything otherwise.

    Attributes
    ----------
    n_outputs : int
        Rows of the kernel a sample.
    report : dict of str to str
        For each parameter, how it is differentiated.
    """

    def __init__(
        self, module: nn.Module, sample: Tensor, outputs: str | int = "full", layers: bool = True
    ) -> None:
        self.module = module = twin(module)
        self.outputs = outputs
        trained = {k: p for k, p in module.named_parameters() if p.requires_grad}
        self.parameters = {k: p.detach() for k, p in trained.items()}
        if not trained:
            raise ValueError("The module has no parameters that require gradients.")
        self._owners = _owners(module)
        self._sample_size = sample[0].numel()
        self._layers: set[nn.Module] = set()
        self._kept_apart: set[str] = set()  # parameters of linear layers that act once a row
        self._slopes = 0  # numbers in the slopes of all layers, for one output of one row
        with evaluating(module):
            self.all_outputs = _check_independence(module, sample[:2])
            self.picked = self._pick_outputs()
            self.n_outputs = 1 if outputs in ("trace", "last") else len(self.picked)
            self._scale = len(self.picked) ** -0.5 if outputs == "trace" else 1.0
            if outputs == "last":
                self._head = _last_linear(module, sample[:2])
                self.report = dict.fromkeys(self._owners[self._head].values(), "layer")
            else:
                self.report = self._find_layers(sample[:2]) if layers else {}
                for name in self.parameters:
                    self.report.setdefault(name, "torch.func")
        self._left = [name for name, how in self.report.items() if how == "torch.func"]

    def _pick_outputs(self) -> list[int]:
        if isinstance(self.outputs, str):
            if self.outputs not in ("full", "trace", "last"):
                raise ValueError(
                    "The 'outputs' must be 'full', 'trace', 'last' or the number of one output. "
                    f"Got {self.outputs!r} instead."
                )
            return list(range(self.all_outputs))
        if not 0 <= self.outputs < self.all_outputs:
            raise ValueError(
                f"The module has {self.all_outputs} outputs, so 'outputs' must be a number from 0 "
                f"to {self.all_outputs - 1}. Got {self.outputs}."
            )
        return [int(self.outputs)]

    # -- which layers explain their parameters -----------------------------------------------

    def _find_layers(self, sample: Tensor) -> dict[str, str]:
        """Return how each parameter is differentiated, after a look at two rows."""
        # A parameter of several layers has a name that is not among ours for all but one.
        self._layers = {
            layer
            for layer, names in self._owners.items()
            if type(layer) in KNOWN and all(name in self.parameters for name in names.values())
        }
        ours: dict[str, Tensor] = {}
        for part in self._layer_parts(sample, mixed=True):
            ours.update(part.written_out())
            if isinstance(part, Product):
                self._kept_apart.update(part.names)
        report = {}
        for name, true in self._true_gradients(sample).items():
            if true is None:  # no output has anything to do with it
                report[name] = "unused"
            elif name in ours and _close(ours[name], true):
                report[name] = "layer"
            else:
                report[name] = "torch.func"
        for layer in list(self._layers):  # which go as a whole
            names = self._owners[layer].values()
            if any(report[name] == "torch.func" for name in names):
                self._layers.discard(layer)
                report.update(dict.fromkeys(names, "torch.func"))
        return report

    def _true_gradients(self, sample: Tensor) -> dict[str, Tensor | None]:
        """Differentiate a mix of the outputs of each row in the plainest way."""
        live = {k: p.clone().requires_grad_() for k, p in self.parameters.items()}
        rows = []
        with torch.enable_grad():
            for row in sample:
                out = functional_call(self.module, live, (row.unsqueeze(0).clone(),))
                rows.append(
                    torch.autograd.grad(self._mix(out), list(live.values()), allow_unused=True)
                )
        found: dict[str, Tensor | None] = {}
        for (name, like), *grads in zip(live.items(), *rows, strict=True):
            each = [torch.zeros_like(like) if grad is None else grad for grad in grads]
            unused = all(grad is None for grad in grads)
            found[name] = None if unused else torch.stack(each).unsqueeze(1)
        return found

    def _mix(self, out: Tensor) -> Tensor:
        """Add up the outputs with weights that are all different, so that each one counts."""
        return (out[:, self.picked] * torch.arange(1.0, len(self.picked) + 1).to(out)).sum()

    # -- gradients ---------------------------------------------------------------------------

    def parts(self, x: Tensor) -> list[Part]:
        """Return the gradients for a batch of rows."""
        with evaluating(self.module):
            if self.outputs == "last":
                return [self._last_features(x)]
            found: list[Part] = self._layer_parts(x) if self._layers else []
            if self._left:
                found.append(self._functional_part(x))
        if self.outputs == "trace":
            return [as_one_output(part) for part in found]
        return found

    def numbers_per_row(self) -> int:
        """Return how many numbers `parts` keeps of one row."""
        if self.outputs == "last":
            return self.n_features()
        total = sum(self.parameters[name].numel() for name in self._left)
        for layer in self._layers:
            names = self._owners[layer].values()
            if isinstance(layer, nn.Linear) and self._kept_apart.issuperset(names):
                total += layer.in_features + 1 + layer.out_features
            else:
                total += sum(self.parameters[name].numel() for name in names)
        return len(self.picked) * total

    def numbers_on_the_way(self) -> int:
        """Return how many numbers `parts` computes of one row before it has its gradients."""
        # What layers put out is not known where none was looked into: some times the input.
        return max(32 * self._sample_size, len(self.picked) * self._slopes)

    def n_features(self) -> int:
        """Return the length of one gradient."""
        if self.outputs == "last":
            return self._head.in_features + 1
        size = sum(parameter.numel() for parameter in self.parameters.values())
        return size * len(self.picked) if self.outputs == "trace" else size

    def _last_features(self, x: Tensor) -> Explicit:
        seen: list[Tensor] = []
        handle = self._head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            with torch.no_grad():
                self.module(x.clone())
        finally:
            handle.remove()
        features = seen[-1]
        names = tuple(self._owners[self._head].values())
        if len(names) > 1:
            features = torch.cat([features, features.new_ones(len(x), 1)], 1)
        shapes: tuple[tuple[int, ...], ...] = ((self._head.in_features,), ())[: len(names)]
        return Explicit(names, shapes, features.unsqueeze(1))

    def _layer_parts(self, x: Tensor, mixed: bool = False) -> list[Part]:
        """Return the gradients that layers explain, of every output or of their mix."""
        calls, out = self._run(x)
        edges = [call.edge for call in calls]
        self._slopes = sum(math.prod(call.shape[1:]) for call in calls)
        with torch.enable_grad():
            scaled = out * self._scale
            totals = [self._mix(out)] if mixed else [scaled[:, at].sum() for at in self.picked]
        slopes: list[list[Tensor]] = [[] for _ in calls]
        for number, total in enumerate(totals if edges else ()):
            last = number == len(totals) - 1
            grads = torch.autograd.grad(total, edges, retain_graph=not last, allow_unused=True)
            for mine, call, grad in zip(slopes, calls, grads, strict=True):
                mine.append(call.no_slope() if grad is None else grad)
        by_layer: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        for call, grads_of in zip(calls, slopes, strict=True):
            by_layer.setdefault(call.layer, []).append((call.given, torch.stack(grads_of, 1)))
        return [
            part_of_layer(layer, self._owners[layer], uses, len(x))
            for layer, uses in by_layer.items()
        ]

    def _run(self, x: Tensor) -> tuple[list[_Call], Tensor]:
        """Run the module, and note what each layer is given and puts out."""
        calls: list[_Call] = []

        def note(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            fits = len(given) == 1 and out.requires_grad and len(given[0]) == len(out) == len(x)
            if fits:
                edge = torch.autograd.graph.get_gradient_edge(out)
                calls.append(_Call(layer, given[0].detach(), edge, tuple(out.shape)))

        handles = [layer.register_forward_hook(note) for layer in self._layers]
        frozen = [p for p in self.module.parameters() if p.requires_grad]
        try:
            for parameter in frozen:
                parameter.requires_grad_(False)
            with torch.enable_grad():
                out = self.module(x.detach().requires_grad_().clone())
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)
            for handle in handles:
                handle.remove()
        return calls, out

    def _functional_part(self, x: Tensor) -> Explicit:
        """Differentiate what no layer explains, a row at a time: under vmap where that can be."""
        others = {k: p for k, p in self.parameters.items() if k not in self._left}
        mine = {k: self.parameters[k] for k in self._left}

        def outputs(part: dict[str, Tensor], row: Tensor) -> Tensor:
            out = functional_call(self.module, {**others, **part}, (row.unsqueeze(0),))[0]
            return out[self.picked] * self._scale

        try:
            with warnings.catch_warnings():  # a rule that is missing may cost time, torch says
                warnings.filterwarnings("ignore", "There is a performance drop")
                found = vmap(jacrev(outputs), in_dims=(None, 0))(mine, x)
        except RuntimeError:  # no rule at all, as for some recurrent layers
            rows = [self._one_by_one(outputs, mine, row) for row in x]
            found = {name: torch.stack([row[name] for row in rows]) for name in mine}
        flat = [found[name].flatten(2) for name in self._left]
        shapes = tuple(tuple(mine[name].shape) for name in self._left)
        return Explicit(tuple(self._left), shapes, torch.cat(flat, -1).detach())

    def _one_by_one(
        self, outputs: Callable[..., Tensor], mine: dict[str, Tensor], row: Tensor
    ) -> dict[str, Tensor]:
        """Differentiate the outputs of a row in turn."""
        leaves = {name: value.detach().requires_grad_() for name, value in mine.items()}
        with torch.enable_grad():
            found = [
                torch.autograd.grad(
                    out, list(leaves.values()), retain_graph=True, materialize_grads=True
                )
                for out in outputs(leaves, row)
            ]
        return {
            name: torch.stack(each)
            for name, each in zip(leaves, zip(*found, strict=True), strict=True)
        }


# -- modules -----------------------------------------------------------------------------------


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while, without kernels that have no derivative.

    Which kernels there are is said for the whole process, so threads take turns.
    """
    with _KERNELS:
        modes = {part: part.training for part in module.modules()}
        fused = torch.backends.mha.get_fastpath_enabled()
        module.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for part, mode in modes.items():
                part.training = mode


def _owners(module: nn.Module) -> dict[nn.Module, dict[str, str]]:
    """Return, for each part with parameters of its own, their full names."""
    found: dict[nn.Module, dict[str, str]] = {}
    for prefix, part in module.named_modules():
        names = {
            k: f"{prefix}.{k}" if prefix else k
            for k, p in part._parameters.items()
            if p is not None
        }
        if names:
            found[part] = names
    return found


def _check_independence(module: nn.Module, sample: Tensor) -> int:
    """Make sure that rows do not see each other; return the number of outputs."""
    with torch.no_grad():
        both = module(sample.clone())
        alone = module(sample[[0, 0]])[:1]
    if both.dim() != 2 or len(both) != len(sample):
        raise ValueError(
            "The module must map (n_samples, ...) to (n_samples, n_outputs). "
            f"Got outputs of shape {tuple(both.shape)} for {len(sample)} rows."
        )
    if not torch.allclose(both[:1], alone, rtol=1e-3, atol=1e-5):
        raise ValueError(
            "The module's output for a row depends on the other rows of the batch, so it has no "
            "tangent kernel. Batch normalisation needs running statistics "
            "(track_running_stats=True)."
        )
    return both.shape[1]


def _last_linear(module: nn.Module, sample: Tensor) -> nn.Linear:
    """Return the linear layer that runs last."""
    order: list[tuple[nn.Linear, Tensor]] = []
    handles = [
        part.register_forward_hook(lambda layer, _, out: order.append((layer, out)))
        for part in module.modules()
        if type(part) is nn.Linear
    ]
    try:
        with torch.no_grad():
            out = module(sample.clone())
    finally:
        for handle in handles:
            handle.remove()
    if not order or not torch.equal(order[-1][1], out):
        raise ValueError(
            "The features of the last layer are what its torch.nn.Linear is given, and this module "
            "does not end in one. Use features='ntk'."
        )
    return order[-1][0]


def _close(ours: Tensor, true: Tensor) -> bool:
    if ours.shape != true.shape or not true.numel():
        return ours.shape == true.shape
    tolerance = _TOLERANCE.get(true.dtype, 1e-2) * float(true.abs().max())
    return float((ours - true).abs().max()) <= tolerance
