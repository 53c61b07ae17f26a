"""Gradients of a layer by its parameters: what they look like, and how they are written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
KNOWN = {nn.Linear, *CONVOLUTIONS, *BATCH_NORMS, nn.LayerNorm, nn.GroupNorm}


@dataclass
class Product:
    """Gradients ``g ⊗ a`` of one linear layer that acts once a sample.

    `a` has the shape ``(sample, input)``, with a column of ones last where there is a bias;
    `g` the shape ``(sample, output of the network, output of the layer)``.
    """

    names: tuple[str, ...]
    a: Tensor
    g: Tensor

    def written_out(self) -> dict[str, Tensor]:
        """Return the gradient by each parameter."""
        weight = self.names[0]
        n_in = self.a.shape[1] - (len(self.names) - 1)
        found = {weight: self.g.unsqueeze(-1) * self.a[:, None, None, :n_in]}
        if len(self.names) > 1:
            found[self.names[1]] = self.g
        return found


@dataclass
class Explicit:
    """Gradients by some parameters, written out: ``(sample, output, number)``.

    The numbers are those of one parameter after the other; or, with `channels`, a matrix of
    one row a channel: its weights, and last its bias.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    j: Tensor
    channels: int = 0

    def written_out(self) -> dict[str, Tensor]:
        """Return the gradient by each parameter."""
        return self.by_parameter(self.j)

    def by_parameter(self, numbers: Tensor) -> dict[str, Tensor]:
        """Cut the last axis into what belongs to each parameter, in its shape."""
        if self.channels:
            rows = numbers.unflatten(-1, (self.channels, -1))
            cut: Sequence[Tensor] = (rows[..., :-1], rows[..., -1])
        else:
            cut = numbers.split([math.prod(shape) for shape in self.shapes], -1)
        return {
            name: part.reshape(*numbers.shape[:-1], *shape)
            for name, shape, part in zip(self.names, self.shapes, cut, strict=True)
        }


Part = Product | Explicit


# -- one layer -------------------------------------------------------------------------------


def part_of_layer(
    layer: nn.Module, names: dict[str, str], uses: list[tuple[Tensor, Tensor]], n_rows: int
) -> Part:
    """Return the gradients of a layer, from what it was given and the slopes of its output."""
    given, slope = uses[0]
    if isinstance(layer, nn.Linear) and len(uses) == 1 and given.dim() == 2:
        if "bias" in names:
            given = torch.cat([given, given.new_ones(n_rows, 1)], 1)
        return Product(tuple(names.values()), given, slope)
    j = _written_out(layer, *uses[0], list(names))
    for given, slope in uses[1:]:
        j = j + _written_out(layer, given, slope, list(names))
    shapes = tuple(tuple(getattr(layer, attribute).shape) for attribute in names)
    in_rows = isinstance(layer, (nn.Linear, *CONVOLUTIONS)) and len(names) > 1
    return Explicit(tuple(names.values()), shapes, j, shapes[0][0] if in_rows else 0)


def _written_out(layer: nn.Module, given: Tensor, slope: Tensor, wanted: list[str]) -> Tensor:
    """Return the gradients ``(sample, output, number)`` by one use of a layer."""
    has_bias = "bias" in wanted
    if isinstance(layer, nn.Linear):
        a = given.reshape(len(given), -1, given.shape[-1])
        a = torch.cat([a, a.new_ones(*a.shape[:2], 1)], 2) if has_bias else a
        g = slope.reshape(*slope.shape[:2], -1, slope.shape[-1])
        return _products(g.transpose(2, 3), a).flatten(2)
    if isinstance(layer, CONVOLUTIONS):
        return _by_filter(layer, given, slope.flatten(3), has_bias)
    by_attribute = _by_scale(layer, given, slope)
    return torch.cat([by_attribute[attribute] for attribute in wanted], -1)


def _by_scale(layer: nn.Module, given: Tensor, slope: Tensor) -> dict[str, Tensor]:
    """Return gradients ``(sample, output, number)`` by weight and bias of a norm."""
    if isinstance(layer, nn.LayerNorm):
        shape = tuple(layer.normalized_shape)
        unit = F.layer_norm(given, shape, eps=layer.eps).unsqueeze(1)
        middle = tuple(range(2, slope.dim() - len(shape)))
        products = (slope * unit, slope)
        weight, bias = ((one.sum(middle) if middle else one).flatten(2) for one in products)
        return {"weight": weight, "bias": bias}
    if isinstance(layer, nn.GroupNorm):
        unit = F.group_norm(given, layer.num_groups, eps=layer.eps)
    else:
        norm: Any = layer
        unit = F.batch_norm(given, norm.running_mean, norm.running_var, eps=norm.eps)
    unit, g = unit.unsqueeze(1).unsqueeze(-1).flatten(3), slope.unsqueeze(-1).flatten(3)
    return {"weight": (g * unit).sum(-1), "bias": g.sum(-1)}


def _products(g: Tensor, a: Tensor) -> Tensor:
    """Multiply ``(sample, output, channel, place)`` with ``(sample, place, input)``."""
    return torch.bmm(g.flatten(1, 2), a).unflatten(1, g.shape[1:3])


def _by_filter(layer: Any, given: Tensor, g: Tensor, has_bias: bool) -> Tensor:
    """Return gradients by the filters of a convolution, its slopes with places in one axis."""
    a = _patches(layer, given, has_bias)
    n_rows, groups = a.shape[:2]
    g = g.unflatten(2, (groups, -1)).transpose(1, 2).flatten(0, 1)
    found = _products(g, a.flatten(0, 1).transpose(1, 2))  # (sample * group, output, channel, tap)
    return found.unflatten(0, (n_rows, groups)).transpose(1, 2).flatten(2)


def _patches(layer: Any, given: Tensor, has_bias: bool) -> Tensor:
    """Return what each place of a convolution sees, ``(sample, group, channel * tap, place)``.

    With a bias every place sees a one besides, last.
    """
    kernel = layer.kernel_size
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(given, _padding(layer), mode=mode).contiguous()
    places = [
        (size - d * (k - 1) - 1) // s + 1
        for size, d, k, s in zip(x.shape[2:], layer.dilation, kernel, layer.stride, strict=True)
    ]
    steps = x.stride()
    between_taps = [n * d for n, d in zip(steps[2:], layer.dilation, strict=True)]
    between_places = [n * s for n, s in zip(steps[2:], layer.stride, strict=True)]
    seen = x.as_strided(
        (*x.shape[:2], *kernel, *places), (*steps[:2], *between_taps, *between_places)
    )
    n_taps = x.shape[1] // layer.groups * math.prod(kernel)
    a = x.new_empty(len(x), layer.groups, n_taps + has_bias, math.prod(places))
    a[:, :, n_taps:] = 1.0
    seen = seen.unflatten(1, (layer.groups, -1))
    a[:, :, :n_taps].view(seen.shape).copy_(seen)  # several times as fast as torch's unfold
    return a


def _padding(layer: Any) -> list[int]:
    """Return the padding of a convolution as `F.pad` wants it, last axis first."""
    if layer.padding == "valid":
        return [0] * (2 * len(layer.kernel_size))
    if layer.padding == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [side for t in reversed(totals) for side in (t // 2, t - t // 2)]
    return [p for p in reversed(layer.padding) for _ in range(2)]


# -- several batches, several outputs ----------------------------------------------------------


def join(batches: Sequence[list[Part]]) -> list[Part]:
    """Put the gradients of consecutive batches after each other."""
    if len(batches) == 1:
        return batches[0]
    joined: list[Part] = []
    for parts in zip(*batches, strict=True):
        first: Any = parts[0]
        if isinstance(first, Product):
            a, g = (torch.cat([getattr(part, name) for part in parts]) for name in "ag")
            joined.append(Product(first.names, a, g))
        else:
            j = torch.cat([part.j for part in parts])  # type: ignore[union-attr]
            joined.append(replace(first, j=j))
    return joined


def as_one_output(part: Part) -> Part:
    """Chain the gradients of all outputs."""
    if isinstance(part, Product):
        return Product(part.names, part.a, part.g.flatten(1).unsqueeze(1))
    # Its numbers are no longer those of the parameters, one output's after the other's.
    return Explicit(part.names, part.shapes, part.j.flatten(1).unsqueeze(1))
