"""What students have in common with their teachers' layers: one class an idea."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from skensemble import losses
from skensemble._data.batches import Batch
from skensemble.nn._taps import Tap
from skensemble.objectives.base import Term
from skensemble.objectives.terms import WEIGHT


@dataclass(frozen=True, eq=False)
class LayerTerm(Term):
    """Compares layers of the student with layers of each teacher network, beside the labels.

    Parameters
    ----------
    weight : float, default=1.0
        Weight of the term beside the full cross-entropy.
    layers : "last", list of str or dict of str to str, default="last"
        Layers to compare, by module name: of both networks, or of the student mapped to
        those of the teacher. "last" is the last feature map of a network on images, and the
        input of the last linear layer of others.
    """

    weight: float = 1.0
    layers: Any = "last"

    scalars: ClassVar[tuple[str, ...]] = ("weight",)
    uses_layers: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "weight": [WEIGHT],
        "layers": [str, list, tuple, dict],
    }

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        total: Any = 0.0
        for number, (key, student) in enumerate(batch.features.items()):
            teachers = batch.layers[key]
            n_teachers = teachers.shape[2]
            for at in range(n_teachers):
                one = self._compare(student, teachers[:, :, at], batch, number, at)
                total = total + one / n_teachers
        return total

    @abstractmethod
    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        """Return the disagreement in layer `number` with the teacher network `at`."""


@dataclass(frozen=True, eq=False)
class RegressedTerm(LayerTerm):
    """Maps the student's channels to the teacher's by a learned linear map."""

    regressors: tuple[Any, ...] = field(default=(), repr=False)

    def among(self, members: slice) -> RegressedTerm:
        some = tuple(one[members] for one in self.regressors)
        return replace(super().among(members), regressors=some)

    def start(
        self, seeds: Sequence[int], taps: Sequence[Tap], shapes: dict[str, Any], dtype: torch.dtype
    ) -> Term:
        """Draw one map a layer, of shape (member, teacher, its channels, the student's)."""
        regressors = []
        for number, tap in enumerate(taps):
            student, (n_teachers, *teacher) = shapes["features"][tap.key], shapes["layers"][tap.key]
            if student[1:] != tuple(teacher[1:]):
                raise ValueError(
                    f"Layer {tap.key!r} must have the same height and width in student and "
                    f"teacher. Got {tuple(student)} and {tuple(teacher)}; choose other 'layers'."
                )
            bound = student[0] ** -0.5
            size = (n_teachers, teacher[0], student[0])
            drawn = []
            for seed in seeds:
                draw = torch.Generator().manual_seed(seed + number)
                drawn.append(torch.rand(size, generator=draw, dtype=dtype) * 2 * bound - bound)
            regressors.append(torch.nn.Parameter(torch.stack(drawn).to(shapes["device"])))
        return replace(self, regressors=tuple(regressors))

    def _regress(self, student: Tensor, number: int, at: int) -> Tensor:
        weight = self.regressors[number][:, at]
        flat = student.flatten(3) if student.dim() > 3 else student.unsqueeze(-1)
        mapped = torch.einsum("moc,mbcp->mbop", weight, flat)
        return mapped.reshape(*mapped.shape[:3], *student.shape[3:])


@dataclass(frozen=True, eq=False)
class FeatureTerm(RegressedTerm):
    """``‖t/‖t‖₂ − R(s)/‖R(s)‖₂‖₁`` of feature maps (Park, Yoo and Kwak, 2020, eq. 2).

    Parameters
    ----------
    weight : float, default=1.0
        Weight of the term beside the full cross-entropy.
    layers : "last", list of str or dict of str to str, default="last"
        See `LayerTerm`.

    Examples
    --------
    >>> from skensemble.objectives import FeatureTerm
    >>> FeatureTerm(layers=["0", "2"])
    FeatureTerm(weight=1.0, layers=['0', '2'])
    """

    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        mapped = self._regress(student, number, at)
        return losses.feature_distillation(mapped, teacher, batch.weight)


@dataclass(frozen=True, eq=False)
class HintTerm(RegressedTerm):
    """Mean of ``(R(s) − t)²`` (FitNets: Romero et al., 2015).

    Parameters
    ----------
    weight : float, default=100.0
        Weight of the term beside the full cross-entropy.
    layers : "last", list of str or dict of str to str, default="last"
        See `LayerTerm`.

    Examples
    --------
    >>> from skensemble.objectives import HintTerm
    >>> HintTerm(layers={"0": "0.conv"})
    HintTerm(weight=100.0, layers={'0': '0.conv'})
    """

    weight: float = 100.0

    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        return losses.hint(self._regress(student, number, at), teacher, batch.weight)


@dataclass(frozen=True, eq=False)
class AttentionTerm(LayerTerm):
    """Difference of normalised maps of mean squared activation (Zagoruyko, 2017).

    Parameters
    ----------
    weight : float, default=1000.0
        Weight of the term beside the full cross-entropy.
    layers : "last", list of str or dict of str to str, default="last"
        See `LayerTerm`.

    Examples
    --------
    >>> from skensemble.objectives import AttentionTerm
    >>> AttentionTerm(weight=500.0)
    AttentionTerm(weight=500.0, layers='last')
    """

    weight: float = 1000.0

    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        if student.dim() == 5:
            size = (
                min(student.shape[3], teacher.shape[3]),
                min(student.shape[4], teacher.shape[4]),
            )
            student = losses.match_size(student, size)
            teacher = losses.match_size(teacher, size)
        maps = losses.attention_map(student), losses.attention_map(teacher)
        if maps[0].shape[-1] != maps[1].shape[-1]:
            raise ValueError(
                "Attention maps of student and teacher must have one size; vectors are not "
                f"pooled. Got {maps[0].shape[-1]} and {maps[1].shape[-1]} numbers; choose layers "
                "of feature maps, or of one width."
            )
        return losses.attention_transfer(*maps, batch.weight)


@dataclass(frozen=True, eq=False)
class RelationTerm(LayerTerm):
    """Distances and angles between rows (RKD: Park, Kim, Lu and Cho, 2019).

    Parameters
    ----------
    weight : float, default=1.0
        Weight of the term beside the full cross-entropy.
    layers : "last", list of str or dict of str to str, default="last"
        See `LayerTerm`.
    distance : float, default=25.0
        Weight of the distances.
    angle : float, default=50.0
        Weight of the angles.

    Examples
    --------
    >>> from skensemble.objectives import RelationTerm
    >>> RelationTerm(angle=0.0)
    RelationTerm(weight=1.0, layers='last', distance=25.0, angle=0.0)
    """

    distance: float = 25.0
    angle: float = 50.0

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **LayerTerm._parameter_constraints,
        "distance": [WEIGHT],
        "angle": [WEIGHT],
    }

    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        return losses.relation(
            student, teacher, batch.weight, distance=self.distance, angle=self.angle
        )
