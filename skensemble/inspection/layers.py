"""Layers of a network on images: which there are, and what they put out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skensemble._base.estimator import BaseNetworks
from skensemble.inspection.networks import Network
from skensemble.nn._taps import Tap, listen

# Names of layers that an error lists.
_MOST_NAMES = 8


def check_images(inner: BaseNetworks, X: Any, owner: str) -> Any:
    """Return checked rows, which must be images."""
    X = inner._check_X(X, reset=False)
    if len(X.shape) != 4:
        raise ValueError(
            f"The 'X' of {owner} must be images, (n_samples, channels, height, width), and the "
            f"estimator fitted to such. Got rows of shape {tuple(X.shape[1:])}."
        )
    return X


def find_layer(network: Network, layer: str | None, x: Tensor, owner: str) -> str:
    """Return the name of a layer that puts out maps; None is the last convolution.

    The last one that is run, of those whose map has more than one position: an average over a
    single position says nothing of places. One of 1 x 1 pixels is taken only where there is
    no other, since the last of those is often a shortcut around the layers that count.
    """
    shapes = _shapes(network, x)
    maps = [name for name, shape in shapes.items() if len(shape) == 4]
    if layer is None:
        kinds: dict[str, Any] = dict(network.module.named_modules())
        wide = [name for name in maps if shapes[name][2:].numel() > 1]
        found = [name for name in wide if isinstance(kinds[name], nn.Conv2d)]
        found = [name for name in found if max(kinds[name].kernel_size) > 1] or found
        if not found:
            raise ValueError(
                f"The 'estimator' of {owner} must have a convolution whose map has more than one "
                f"position, or a 'layer' must be named. Got a {type(network.module).__name__} in "
                f"which maps come from {_listed(wide)}."
            )
        return found[-1]
    if layer not in maps:
        what = f"which puts out {tuple(shapes[layer])}" if layer in shapes else "which is not run"
        raise ValueError(
            f"The 'layer' of {owner} must name a layer that puts out maps (sample, channel, "
            f"height, width). Got {layer!r}, {what}; there are {_listed(maps)}."
        )
    return layer


def _listed(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[-_MOST_NAMES:]) + (f" and {rest} before" if rest > 0 else "") or "none"


def _shapes(network: Network, x: Tensor) -> dict[str, torch.Size]:
    """Return the shape that each layer puts out, in the order in which they last ran."""
    names = [name for name, _ in network.module.named_modules() if name]
    shapes: dict[str, torch.Size] = {}

    def hear(name: str, output: Any) -> None:
        shapes.pop(name, None)
        if isinstance(output, Tensor):
            shapes[name] = output.shape

    handles = listen(network.module, [Tap(name, key=name) for name in names], hear)
    with torch.no_grad():
        network.logits(x)
    for handle in handles:
        handle.remove()
    return shapes


class Layer:
    """What a layer of a network puts out, as a function of a batch.

    The network is a twin that belongs to nobody else, so its hook may stay.
    """

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self._heard: dict[str, Tensor] = {}
        # A copy: activations after the layer may write into what it puts out.
        listen(network.module, [Tap(name)], lambda key, out: self._heard.update({key: out.clone()}))

    def __call__(self, x: Tensor) -> Tensor:
        """Return maps ``(sample, channel, height, width)`` in the dtype of the batch."""
        self._network.logits(x)
        return self._heard.pop("").to(x.dtype)
