"""Layers of a network by name: where they are, and what they put out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Tap:
    """A place in a network: what a module takes in or puts out.

    Attributes
    ----------
    module : str
        The module's name, as in ``named_modules``.
    side : {"output", "input"}
        Which of the two.
    key : str
        The name under which the features are handed on.
    """

    module: str
    side: str = "output"
    key: str = ""


def listen(module: nn.Module, taps: Sequence[Tap], hear: Callable[[str, Tensor], None]) -> list:
    """Call `hear(key, features)` whenever a tapped module runs; returns the hooks' handles."""

    def hook(tap: Tap) -> Any:
        return lambda _, inputs, output: hear(tap.key, inputs[0] if tap.side == "input" else output)

    return [module.get_submodule(tap.module).register_forward_hook(hook(tap)) for tap in taps]


def run_tapped(
    module: nn.Module, taps: Sequence[Tap], forward: Callable[[], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run `forward` and return its result with the features heard at the taps."""
    heard: dict[str, Tensor] = {}
    handles = listen(module, taps, heard.__setitem__)
    try:
        return forward(), heard
    finally:
        for handle in handles:
            handle.remove()


def find_taps(module: nn.Module, layers: Sequence[str], x: Tensor, owner: str) -> tuple[Tap, ...]:
    """Look up layers by name; ``"last"`` is what the classifier's head is given.

    That is the last feature map of a network on images (before it is pooled to a point),
    and otherwise the input of the last linear layer.
    """
    names = {name for name, _ in module.named_modules() if name}
    missing = [layer for layer in layers if layer != "last" and layer not in names]
    if missing:
        raise ValueError(
            f"The 'layers' must name modules of the {owner}, or be 'last'. Got {missing[0]!r}; "
            f"there are {', '.join(sorted(names)) or 'none'}."
        )
    return tuple(
        _last(module, x, owner) if layer == "last" else Tap(layer, key=layer) for layer in layers
    )


def _last(module: nn.Module, x: Tensor, owner: str) -> Tap:
    calls: list[tuple[str, nn.Module, Any, Any]] = []
    handles = [
        part.register_forward_hook(
            lambda part, inputs, output, name=name: calls.append((name, part, inputs, output))
        )
        for name, part in module.named_modules()
        if name
    ]
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(x[:2].clone())
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    maps = [
        name
        for name, _, _, output in calls
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[2:].numel() > 1
    ]
    if maps:
        return Tap(maps[-1], key="last")
    heads = [name for name, part, _, _ in calls if isinstance(part, nn.Linear)]
    if not heads:
        raise ValueError(
            f"The {owner} has no feature map and no linear layer, so its layer 'last' is not "
            "known. Name the 'layers' to compare."
        )
    return Tap(heads[-1], "input", "last")


def captured_shapes(module: nn.Module, taps: Sequence[Tap], x: Tensor) -> dict[str, Any]:
    """Return the shape, without the sample axis, of the features at each tap."""
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()
            _, heard = run_tapped(module, taps, lambda: module(x[:2].clone()))
    finally:
        module.train(was_training)
    return {key: tuple(value.shape[1:]) for key, value in heard.items()}
