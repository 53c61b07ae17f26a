"""Sparsity asked for in training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skensemble.objectives.base import WrappedObjective


@dataclass(frozen=True, eq=False)
class Slimmed(WrappedObjective):
    """Another objective, and ``strength * Σ|γ|`` over the scales of batch normalisation.

    The subgradient ``strength * sign(γ)`` is added after the backward pass, as network
    slimming does (Liu et al. 2017), so that the loss that is recorded stays the inner one.

    Attributes
    ----------
    scales : tuple of str
        The names of the scales.
    """

    strength: float
    scales: tuple[str, ...]

    def adjust(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        parameters = list(parameters)
        self.inner.adjust(parameters)
        for name, gamma in parameters:
            if name in self.scales and gamma.grad is not None:
                gamma.grad.add_(gamma.detach().sign(), alpha=self.strength)


def scale_names(module: torch.nn.Module) -> tuple[str, ...]:
    """Return the names of the scales of a module's batch normalisation."""
    return tuple(f"{name}.weight" for name, _ in scaled_norms(module))


def scaled_norms(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """Return the batch normalisations of a module that have a scale, with their names."""
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    return [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, kinds) and part.weight is not None
    ]
