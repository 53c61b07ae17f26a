"""Perturbations of the input under which a student hears more of what its teachers differ in.

A step of length ``step · √D`` per row along a gradient of the teachers' outputs (Nam et
al., 2022). Inputs keep their natural range; for tables the step is taken in units of
each feature's spread. A perturbation of your own subclasses `Perturbation`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

__all__ = [
    "ODS",
    "ConfODS",
    "Gaussian",
    "Perturbation",
    "TDivSDiv",
    "divergence_of_pair",
    "scaled_step",
]  # fmt: skip

# Maps rows to what each network says of them, (network, sample, class).
Voices = Callable[[Tensor], Tensor]
_EPS = 1e-12


def scaled_step(
    direction: Tensor, step: float, spread: Tensor | None = None, share: Tensor | None = None
) -> Tensor:
    """Scale directions to ``step · √D``, row by row: ``ε = step √D g / (‖g‖₂ + eps)``.

    Parameters
    ----------
    direction : Tensor of shape (n_samples, ...)
        The gradient of something with respect to the rows.
    step : float
        Root mean square of the step's numbers, such as 1/255.
    spread : Tensor of shape (...), default=None
        Units of the numbers of a row; the norm is taken in these units.
    share : Tensor of shape (n_samples,), default=None
        A factor for each row.

    Returns
    -------
    Tensor of shape (n_samples, ...)
        The steps; zero where the direction is.

    Examples
    --------
    >>> import torch
    >>> scaled_step(torch.tensor([[3.0, 4.0]]), step=0.5)
    tensor([[0.4243, 0.5657]])
    """
    flat = direction if spread is None else direction * spread
    norm = flat.flatten(1).norm(dim=1) + _EPS
    factor = step * math.sqrt(flat[0].numel()) / norm
    if share is not None:
        factor = factor * share
    out = flat * factor.view(-1, *[1] * (flat.dim() - 1))
    return out if spread is None else out * spread


def divergence_of_pair(logits: Tensor, i: int, j: int, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of member `i` with member `j`, whose gradient is not followed.

    ``−Σ_k sg(p_j,k) log p_i,k``.

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        What the members say.
    i, j : int
        Two members.
    temperature : float, default=1.0
        Of the probabilities.

    Returns
    -------
    Tensor of shape (n_samples,)
        One number a row.

    Examples
    --------
    >>> import torch
    >>> divergence_of_pair(torch.zeros(2, 1, 2), 0, 1)
    tensor([0.6931])
    """
    log_p = (logits[i] / temperature).log_softmax(-1)
    return -((logits[j] / temperature).softmax(-1).detach() * log_p).sum(-1)


@dataclass(frozen=True)
class Perturbation(ABC):
    """Abstract perturbation of a batch.

    Attributes
    ----------
    step : float
        Root mean square of the step's numbers, in units of the features' spread for tables.
    replaces : bool
        Whether the altered rows take the place of the clean ones for the labels too; else
        they are for the teacher's term alone.
    n_teachers, n_students : int
        How many networks there must be at least on either side.
    """

    step: float = 1 / 255

    replaces: ClassVar[bool] = False
    n_teachers: ClassVar[int] = 0
    n_students: ClassVar[int] = 1

    @abstractmethod
    def direction(
        self, x: Tensor, teacher: Voices, student: Voices, temperature: float, draw: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return where each row is to go, and a factor for each row or None."""

    def alter(
        self,
        x: Tensor,
        teacher: Voices,
        student: Voices,
        temperature: float,
        draw: torch.Generator,
        spread: Tensor | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> Tensor:
        """Return the altered rows, inside of `bounds`."""
        where, share = self.direction(x.detach(), teacher, student, temperature, draw)
        altered = x + scaled_step(where.detach(), self.step, spread, share)
        return (altered if bounds is None else altered.clamp(*bounds)).detach()


@dataclass(frozen=True)
class Gaussian(Perturbation):
    """The control: a random direction."""

    def direction(
        self, x: Tensor, teacher: Voices, student: Voices, temperature: float, draw: torch.Generator
    ) -> tuple[Tensor, None]:
        return torch.randn(x.shape, generator=draw, dtype=x.dtype).to(x.device), None


@dataclass(frozen=True)
class ODS(Perturbation):
    """Output-diversified sampling: ``∇ₓ wᵀ σ(t(x) / T)``, ``w ~ U(−1, 1)^K``.

    `t` is one network of the teacher, drawn for each batch (Tashiro et al., 2020).
    """

    n_teachers: ClassVar[int] = 1

    def _gradient(
        self, x: Tensor, teacher: Voices, temperature: float, draw: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            rows = x.requires_grad_()
            logits = teacher(rows)
            at = int(torch.randint(len(logits), (), generator=draw))
            proba = (logits[at] / temperature).softmax(-1)
            w = torch.rand(proba.shape, generator=draw, dtype=proba.dtype) * 2 - 1
            (slope,) = torch.autograd.grad((w.to(proba.device) * proba).sum(), rows)
        return slope, proba.detach()

    def direction(
        self, x: Tensor, teacher: Voices, student: Voices, temperature: float, draw: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        return self._gradient(x, teacher, temperature, draw)[0], None


@dataclass(frozen=True)
class ConfODS(ODS):
    """`ODS` with steps as long as the teacher is confident: times ``max_k σ(t/T)_k``."""

    def direction(
        self, x: Tensor, teacher: Voices, student: Voices, temperature: float, draw: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        slope, proba = self._gradient(x, teacher, temperature, draw)
        return slope, proba.amax(-1)


@dataclass(frozen=True)
class TDivSDiv(Perturbation):
    """Up the difference of two teachers, down that of the students they teach.

    ``∇ₓ (TDiv − SDiv)`` of `divergence_of_pair`, for two members drawn for each batch, the
    same two on both sides. The student is in evaluation mode for this step.
    """

    replaces: ClassVar[bool] = True
    n_teachers: ClassVar[int] = 2
    n_students: ClassVar[int] = 2

    def direction(
        self, x: Tensor, teacher: Voices, student: Voices, temperature: float, draw: torch.Generator
    ) -> tuple[Tensor, None]:
        with torch.enable_grad():
            rows = x.requires_grad_()
            said, learned = teacher(rows), student(rows)
            i, j = torch.randperm(len(said), generator=draw)[:2].tolist()
            apart = divergence_of_pair(said, i, j, temperature)
            apart = apart - divergence_of_pair(learned, i, j, temperature)
            (slope,) = torch.autograd.grad(apart.sum(), rows)
        return slope, None
