"""Linear heads of networks: what they are given, and many of them on one backbone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def find_input(module: nn.Module, layer: str, run: Callable[[], Tensor]) -> Tensor | None:
    """Run a network and return what its head was given, a vector for each sample.

    None where the head is not linear, or is not the last thing that is done.
    """
    heard, output = _run_heard(module, layer, run)
    return _vectors(module.get_submodule(layer), heard, output)


def _run_heard(
    module: nn.Module, layer: str, run: Callable[[], Tensor]
) -> tuple[list[tuple[Any, Any]], Tensor]:
    heard: list[tuple[Any, Any]] = []
    own = threading.get_ident()  # others may run the module at the same time

    def hear(_: Any, inputs: Any, output: Any) -> None:
        if threading.get_ident() == own:
            heard.append((inputs, output))

    handle = module.get_submodule(layer).register_forward_hook(hear)
    try:
        output = run()
    finally:
        handle.remove()
    return heard, output


def _vectors(head: nn.Module, heard: list[tuple[Any, Any]], output: Any) -> Tensor | None:
    if not isinstance(head, nn.Linear) or len(heard) != 1:
        return None
    (given,), out = heard[0]
    # In reduced precision the output is brought back to the dtype of the rows.
    is_last = out is output or (
        isinstance(output, Tensor)
        and out.dtype != output.dtype
        and torch.equal(out, output.to(out))
    )
    return given if is_last and given.dim() == 2 else None


def run_heads(
    modules: Sequence[nn.Module], layer: str, run: Callable[[], Tensor]
) -> list[Tensor] | None:
    """Run the first network, and of the others their heads alone; None where that will not do.

    Parameters
    ----------
    modules : sequence of Module
        Networks of one frozen backbone, which they come to share in memory.
    layer : str
        The head.
    run : callable
        Runs the first one.
    """
    if len(modules) < 2 or not share_backbone(modules, layer):
        return None
    heard, output = _run_heard(modules[0], layer, run)
    given = _vectors(modules[0].get_submodule(layer), heard, output)
    if given is None:
        return None
    return [output, *(one.get_submodule(layer)(given) for one in modules[1:])]


def share_backbone(modules: Sequence[nn.Module], layer: str) -> bool:
    """Let networks have the first one's tensors, but the head's; tell whether all are equal."""
    first = _tensors(modules[0], layer)
    return all(_take_over(module, first, layer) for module in modules[1:])


def _take_over(module: nn.Module, first: dict[str, Tensor], layer: str) -> bool:
    own = _tensors(module, layer)
    if own.keys() != first.keys():
        return False
    for name, value in own.items():
        if value is first[name]:
            continue
        if value.device != first[name].device or not torch.equal(value, first[name]):
            return False
        owner, _, leaf = name.rpartition(".")
        part = module.get_submodule(owner)
        held: Any = part._parameters if leaf in part._parameters else part._buffers
        held[leaf] = first[name]
    return True


def _tensors(module: nn.Module, layer: str) -> dict[str, Tensor]:
    """Return parameters and buffers that are not the head's."""
    named = [*module.named_parameters(remove_duplicate=False)]
    named += module.named_buffers(remove_duplicate=False)  # type: ignore[arg-type]
    return {name: value for name, value in named if not name.startswith(f"{layer}.")}
