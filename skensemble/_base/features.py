"""What layers of fitted networks put out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from skensemble._data.rows import Rows
from skensemble.nn._taps import Tap, find_taps, run_tapped

_CHUNK_ROWS = 1024


@contextmanager
def _evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
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
    listen = TeacherLayers(modules, layers, rows.slice(0, 2))
    for start in range(0, len(rows), _CHUNK_ROWS):
        x = rows.slice(start, min(start + _CHUNK_ROWS, len(rows)))
        for key, values in listen(x).items():
            parts[key].append(values.cpu())
    return {key: torch.cat(part) for key, part in parts.items()}


class TeacherLayers:
    """Layers of a teacher's networks as one function of a batch, by the student's layer.

    Maps rows ``(sample, ...)`` to tensors ``(sample, teacher, channel, ...)``.
    """

    def __init__(
        self, modules: Sequence[nn.Module], layers: dict[str, str], sample: torch.Tensor
    ) -> None:
        self._modules = list(modules)
        with _evaluating(self._modules):
            self._taps = [_teacher_taps(module, layers, sample) for module in self._modules]

    def __call__(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        with _evaluating(self._modules):
            heard = [
                _hear(module, taps, x)
                for module, taps in zip(self._modules, self._taps, strict=True)
            ]
        return {key: torch.stack([one[key] for one in heard], 1) for key in heard[0]}


def _teacher_taps(module: nn.Module, layers: dict[str, str], sample: torch.Tensor) -> list[Tap]:
    x = sample.to(_like(module))
    found = find_taps(module.eval(), list(layers.values()), x, "teacher")
    return [Tap(tap.module, tap.side, key) for key, tap in zip(layers, found, strict=True)]


def _hear(module: nn.Module, taps: list[Tap], x: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        like = _like(module)
        _, heard = run_tapped(module, taps, lambda: module(x.to(like).clone()))
    return heard


def _like(module: nn.Module) -> torch.Tensor:
    return next(module.parameters(), torch.empty(0))
