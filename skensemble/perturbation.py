"""Perturbations of the input under which a student hears more of what its teachers differ in.

A step of length ``step · √D`` per row along a gradient of the teachers' outputs (Nam et
al., 2022). Inputs keep their natural range; for tables the step is taken in units of
each feature's spread. A perturbation of your own subclasses `Perturbation`.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skensemble import _parameters
from skensemble._parameters import Parameters
from skensemble._private import Interval, StrOptions

__all__ = [
    "ODS",
    "ConfODS",
    "Gaussian",
    "Perturbation",
    "TDivSDiv",
    "divergence_of_pair",
    "scaled_step",
]  # fmt: skip

# Maps rows to the logits of each network, (network, sample, class).
Networks = Callable[[Tensor], Tensor]
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


@dataclass(frozen=True, eq=False)
class Perturbation(Parameters, ABC):
    """Abstract perturbation of a batch.

    Fields are parameters that scikit-learn searches, as ``perturbation__step``.

    Parameters
    ----------
    step : float, default=1/255
        Root mean square of the step's numbers: of pixels, or, for tables, in units of each
        feature's standard deviation, for which 1/255 is very little.
    input_range : tuple of float, "auto" or None, default="auto"
        Range that altered rows are kept in; "auto" is (0, 1) for images, none for tables.

    Attributes
    ----------
    replaces : bool
        Whether the altered rows take the place of the clean ones for the labels too; else
        they are for the teacher's term alone.
    n_teachers, n_students : int
        How many networks there must be at least on either side.
    """

    step: float = 1 / 255
    input_range: Any = "auto"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "step": [Interval(numbers.Real, 0, None, closed="neither")],
        "input_range": [StrOptions({"auto"}), tuple, list, None],
    }
    replaces: ClassVar[bool] = False
    n_teachers: ClassVar[int] = 0
    n_students: ClassVar[int] = 1

    @abstractmethod
    def direction(
        self,
        x: Tensor,
        teacher: Networks,
        student: Networks,
        temperature: float,
        draw: torch.Generator,
    ) -> tuple[Tensor, Tensor | None]:
        """Return where each row is to go, and a factor for each row or None."""

    def alter(
        self,
        x: Tensor,
        teacher: Networks,
        student: Networks,
        temperature: float,
        draw: torch.Generator,
        spread: Tensor | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> Tensor:
        """Return the altered rows, inside of `bounds`."""
        where, share = self.direction(x.detach(), teacher, student, temperature, draw)
        altered = x + scaled_step(where.detach(), self.step, spread, share)
        return (altered if bounds is None else altered.clamp(*bounds)).detach()


@dataclass(frozen=True, eq=False)
class Gaussian(Perturbation):
    """The control: a random direction.

    Parameters
    ----------
    step, input_range
        See `Perturbation`.

    Examples
    --------
    >>> from skensemble.perturbation import Gaussian
    >>> Gaussian(0.1)
    Gaussian(step=0.1, input_range='auto')
    """

    def direction(
        self,
        x: Tensor,
        teacher: Networks,
        student: Networks,
        temperature: float,
        draw: torch.Generator,
    ) -> tuple[Tensor, None]:
        return torch.randn(x.shape, generator=draw, dtype=x.dtype).to(x.device), None


@dataclass(frozen=True, eq=False)
class ODS(Perturbation):
    """Output-diversified sampling: ``∇ₓ wᵀ σ(t(x) / T)``, ``w ~ U(−1, 1)^K``.

    `t` is one network of the teacher, drawn for each batch (Tashiro et al., 2020).

    Parameters
    ----------
    step, input_range
        See `Perturbation`.

    Examples
    --------
    >>> from skensemble.perturbation import ODS
    >>> ODS(0.1, input_range=(-1.0, 1.0))
    ODS(step=0.1, input_range=(-1.0, 1.0))
    """

    n_teachers: ClassVar[int] = 1

    def _gradient(
        self, x: Tensor, teacher: Networks, temperature: float, draw: torch.Generator
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
        self,
        x: Tensor,
        teacher: Networks,
        student: Networks,
        temperature: float,
        draw: torch.Generator,
    ) -> tuple[Tensor, Tensor | None]:
        return self._gradient(x, teacher, temperature, draw)[0], None


@dataclass(frozen=True, eq=False)
class ConfODS(ODS):
    """`ODS` with steps as long as the teacher is confident: times ``max_k σ(t/T)_k``.

    Parameters
    ----------
    step, input_range
        See `Perturbation`.

    Examples
    --------
    >>> from skensemble.perturbation import ConfODS
    >>> ConfODS(0.1)
    ConfODS(step=0.1, input_range='auto')
    """

    def direction(
        self,
        x: Tensor,
        teacher: Networks,
        student: Networks,
        temperature: float,
        draw: torch.Generator,
    ) -> tuple[Tensor, Tensor | None]:
        slope, proba = self._gradient(x, teacher, temperature, draw)
        return slope, proba.amax(-1)


@dataclass(frozen=True, eq=False)
class TDivSDiv(Perturbation):
    """Up the difference of two teachers, down that of the students they teach.

    ``∇ₓ (TDiv − SDiv)`` of `divergence_of_pair`, for two members drawn for each batch, the
    same two on both sides. The student is in evaluation mode for this step.

    Parameters
    ----------
    step, input_range
        See `Perturbation`.

    Examples
    --------
    >>> from skensemble.perturbation import TDivSDiv
    >>> TDivSDiv(0.1, input_range=(-1.0, 1.0))
    TDivSDiv(step=0.1, input_range=(-1.0, 1.0))
    """

    replaces: ClassVar[bool] = True
    n_teachers: ClassVar[int] = 2
    n_students: ClassVar[int] = 2

    def direction(
        self,
        x: Tensor,
        teacher: Networks,
        student: Networks,
        temperature: float,
        draw: torch.Generator,
    ) -> tuple[Tensor, None]:
        with torch.enable_grad():
            rows = x.requires_grad_()
            said, learned = teacher(rows), student(rows)
            i, j = torch.randperm(len(said), generator=draw)[:2].tolist()
            apart = divergence_of_pair(said, i, j, temperature)
            apart = apart - divergence_of_pair(learned, i, j, temperature)
            (slope,) = torch.autograd.grad(apart.sum(), rows)
        return slope, None


KINDS: dict[str, type[Any]] = {
    "gaussian": Gaussian,
    "ods": ODS,
    "confods": ConfODS,
    "tdiv-sdiv": TDivSDiv,
}


def read_perturbation(given: Any) -> Perturbation | None:
    """Return the perturbation of a name, or the one that was given, checked."""
    return _parameters.read(given, KINDS)


def describe_perturbation(given: Any) -> Any:
    """Describe a perturbation in plain numbers and names; a user's own stays as it is."""
    return _parameters.describe(given, KINDS)


def rebuild_perturbation(about: Any) -> Any:
    """Return the perturbation that a file describes."""
    return _parameters.rebuild(about, KINDS)
