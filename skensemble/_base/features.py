"""What layers of fitted networks put out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from skensemble._data.rows import Rows
from skensemble.nn._taps import Tap, find_taps, run_tapped
from skensemble.nn._twins import twin

_CHUNK_ROWS = 1024


@contextmanager
def evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put modules into evaluation mode inside the block, and back after it."""
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)


def teacher_features(
    modules: Sequence[nn.Module], layers: dict[str, str], rows: Rows
) -> dict[str, torch.Tensor]:
    """Return what layers put out, by the student's layer: ``(sample, teacher, channel, ...)``."""
    parts: dict[str, list[torch.Tensor]] = {key: [] for key in layers}
    ask = TeacherLayers(modules, layers, rows.slice(0, 2))
    for start in range(0, len(rows), _CHUNK_ROWS):
        x = rows.slice(start, min(start + _CHUNK_ROWS, len(rows)))
        for key, values in ask(x).items():
            parts[key].append(values.cpu())
    return {key: torch.cat(part) for key, part in parts.items()}


class TeacherLayers:
    """Layers of a teacher's networks as one function of a batch, by the student's layer.

    Maps rows ``(sample, ...)`` to tensors ``(sample, teacher, channel, ...)``.
    """

    def __init__(
        self, modules: Sequence[nn.Module], layers: dict[str, str], sample: torch.Tensor
    ) -> None:
        self._modules = [twin(module) for module in modules]
        with evaluating(self._modules):
            self._taps = [_teacher_taps(module, layers, sample) for module in self._modules]

    def __call__(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        with evaluating(self._modules):
            found = [
                _layer_outputs(module, taps, x)
                for module, taps in zip(self._modules, self._taps, strict=True)
            ]
        return {key: torch.stack([one[key] for one in found], 1) for key in found[0]}


def _teacher_taps(module: nn.Module, layers: dict[str, str], sample: torch.Tensor) -> list[Tap]:
    x = sample.to(first_parameter(module))
    found = find_taps(module.eval(), list(layers.values()), x, "teacher")
    return [Tap(tap.module, tap.side, key) for key, tap in zip(layers, found, strict=True)]


def _layer_outputs(module: nn.Module, taps: list[Tap], x: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        like = first_parameter(module)
        _, found = run_tapped(module, taps, lambda: module(x.to(like).clone()))
    return found


def first_parameter(module: nn.Module) -> torch.Tensor:
    return next(module.parameters(), torch.empty(0))
