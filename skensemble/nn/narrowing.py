"""Modules with channels taken out, as a list of cuts says.

Cuts are plain numbers, ``{layer: {"out": [...], "in": [...], "select": [...]}}``, each the
channels to be kept: of what a layer puts out, of what it takes in, or of what batch
normalisation picks from a wider input. They say everything about a narrow module beside
how the wide one is made, so that it can be built again without looking at weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SelectBatchNorm1d", "SelectBatchNorm2d", "SelectBatchNorm3d"]

Cuts = dict[str, dict[str, list[int]]]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Select:
    """Batch normalisation of some channels of its input; the choice is a buffer."""

    index: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Pick the channels, and normalise them."""
        picked = input.index_select(1, self.index)
        return super().forward(picked)  # type: ignore[misc]


class SelectBatchNorm1d(_Select, nn.BatchNorm1d):
    """Batch normalisation of some channels of vectors or sequences."""


class SelectBatchNorm2d(_Select, nn.BatchNorm2d):
    """Batch normalisation of some channels of images.

    Where a feature map feeds several layers (pre-activation residual networks, DenseNet)
    its channels cannot be taken out, but each batch normalisation behind it may read fewer.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn.narrowing import cut
    >>> norm = cut(torch.nn.BatchNorm2d(4), {"": {"select": [1, 3]}})
    >>> norm(torch.zeros(2, 4, 5, 5)).shape
    torch.Size([2, 2, 5, 5])
    """


class SelectBatchNorm3d(_Select, nn.BatchNorm3d):
    """Batch normalisation of some channels of volumes."""


_SELECTING: dict[type, type] = {
    nn.BatchNorm1d: SelectBatchNorm1d,
    nn.BatchNorm2d: SelectBatchNorm2d,
    nn.BatchNorm3d: SelectBatchNorm3d,
}
NORMS = (*_SELECTING, *_SELECTING.values())


def cut(module: nn.Module, cuts: Cuts) -> nn.Module:
    """Take channels out of a module, in place, and return it.

    Rows and columns of the weights that stay keep their numbers.
    """
    for name, kept in cuts.items():
        layer: Any = module.get_submodule(name)
        if isinstance(layer, NORMS):
            _cut_norm(layer, kept)
        elif isinstance(layer, (nn.Linear, *CONVOLUTIONS)):
            _cut_layer(layer, kept)
        else:
            raise TypeError(f"Layers of type {type(layer).__name__} cannot be cut; got {name!r}.")
    return module


def _cut_layer(layer: Any, kept: dict[str, list[int]]) -> None:
    names = "features" if isinstance(layer, nn.Linear) else "channels"
    depthwise = getattr(layer, "groups", 1) > 1
    if "out" in kept:
        _take(layer, "weight", kept["out"])
        _take(layer, "bias", kept["out"])
        setattr(layer, f"out_{names}", len(kept["out"]))
    if depthwise and "out" in kept:
        layer.groups = layer.in_channels = len(kept["out"])
    elif "in" in kept:
        _take(layer, "weight", kept["in"], axis=1)
        setattr(layer, f"in_{names}", len(kept["in"]))


def _cut_norm(layer: Any, kept: dict[str, list[int]]) -> None:
    selects = isinstance(layer, _Select)
    at = kept["select"] if "select" in kept else kept["out"]
    for name in ("weight", "bias", "running_mean", "running_var"):
        _take(layer, name, at)
    layer.num_features = len(at)
    if selects:
        _take(layer, "index", at)
    elif "select" in kept:
        layer.__class__ = _SELECTING[type(layer)]
        layer.register_buffer("index", torch.tensor(at))


def _take(layer: nn.Module, name: str, at: Sequence[int], axis: int = 0) -> None:
    """Keep some rows of a parameter or buffer, if there is one."""
    value = getattr(layer, name, None)
    if value is None:
        return
    index = torch.tensor(list(at), device=value.device)
    taken = value.detach().index_select(axis, index).contiguous()
    if isinstance(value, nn.Parameter):
        layer.register_parameter(name, nn.Parameter(taken, value.requires_grad))
    else:
        layer.register_buffer(name, taken)


def blank(module: nn.Module, cuts: Cuts) -> nn.Module:
    """Return a copy of a module of full size in which the cut channels are zero instead.

    That takes the weights and biases of the layer *and* the scales and shifts of the batch
    normalisation behind it.
    """
    module = copy.deepcopy(module)
    with torch.no_grad():
        for layer, kept in _producers(module, cuts):
            gone = torch.ones(len(layer.weight), dtype=torch.bool)
            gone[kept] = False
            for value in (layer.weight, layer.bias):
                if value is not None:
                    value[gone.to(value.device)] = 0.0
    return module


def _producers(module: nn.Module, cuts: Cuts) -> Iterator[tuple[Any, list[int]]]:
    for name, kept in cuts.items():
        layer: Any = module.get_submodule(name)
        at = kept["select"] if "select" in kept else kept.get("out")
        if at is not None and layer.weight is not None:
            yield layer, at


def cut_widths(cuts: Cuts) -> dict[str, dict[str, int]]:
    """Return how many channels are kept where.

    >>> cut_widths({"conv": {"out": [0, 3]}})
    {'conv': {'out': 2}}
    """
    return {
        name: {side: len(at) for side, at in kept.items()} for name, kept in sorted(cuts.items())
    }
