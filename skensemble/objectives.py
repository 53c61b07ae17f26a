"""Objectives: what the engine minimises, as functions of ``(logits, batch)``.

An `Objective` returns one loss a member; the engine adds them up, so that each member
gets the gradient it would get alone. A new method brings an objective, never a loop.
Distillation is the objective `Distilled`: cross-entropy with the labels plus a `Term`
that compares the student with its teacher. A term of your own subclasses `Term`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import joblib
import torch
from torch import Tensor

from skensemble import losses
from skensemble._layers import Tap
from skensemble._loader import Batch

__all__ = [
    "AdaptiveTerm", "AttentionTerm", "ConfidenceTerm", "CrossEntropy", "DirichletTerm",
    "Distilled", "FeatureTerm", "HintTerm", "LabelTerm", "LogitTerm", "Objective", "OneToOneTerm",
    "PermutedTerm", "ProxyDirichletTerm", "RelationTerm", "SharedWeights", "SumCrossEntropy",
    "Term", "TruncatedTerm",
]  # fmt: skip

_Part = TypeVar("_Part", bound="_Mergeable")


class _Mergeable:
    """Something that members trained together may have in several versions.

    Attributes
    ----------
    scalars : tuple of str
        Fields that are plain numbers and may differ between such members. Where they
        do, the field becomes a tensor of shape ``(member,)``.
    """

    scalars: ClassVar[tuple[str, ...]] = ()

    def key(self) -> Any:
        """Return what must be equal for two members to train together."""
        if not dataclasses.is_dataclass(self):
            return type(self), joblib.hash(self)
        parts: list[Any] = [type(self)]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, _Mergeable):
                parts.append(value.key())
            elif isinstance(value, Tensor):
                parts.append(tuple(value.flatten().tolist()))
            elif field.name not in self.scalars:
                parts.append(joblib.hash(value))
        return tuple(parts)


def merge(parts: Sequence[_Part]) -> _Part:
    """Join objectives of equal `key` into one for all members."""
    first: Any = parts[0]
    if all(part is first for part in parts) or not hasattr(first, "__dataclass_fields__"):
        return first
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(first):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], _Mergeable):
            changes[field.name] = merge(values)
        elif field.name in first.scalars and any(value != values[0] for value in values):
            changes[field.name] = torch.tensor(values, dtype=torch.float64)
    return replace(first, **changes) if changes else first


def _as(value: Any, like: Tensor) -> Any:
    """Bring a number a member to the device and dtype of the logits."""
    return value.to(like) if isinstance(value, Tensor) else value


class Objective(_Mergeable, ABC):
    """Maps logits ``(member, sample, class)`` and their batch to losses ``(member,)``.

    Where the members form one network, one loss of shape ``(1,)`` is for all of them.

    Attributes
    ----------
    shared_batches : bool
        Whether all members must see the same rows in the same order.
    """

    shared_batches: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each member."""

    def combine(self, logits: Tensor) -> Tensor:
        """Return the logits whose loss and accuracy are to be reported."""
        return logits

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Layers of the network that must be in ``batch.features``."""
        return ()

    @property
    def follows_progress(self) -> bool:
        """Whether the loss changes over the epochs and wants ``batch.progress``."""
        return False

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Objective:
        """Draw what is trained beside the members; `shapes` are of their features and extras."""
        return self

    def learnable(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Yield parameters of shape ``(member, ...)`` that are trained beside the members."""
        yield from ()


@dataclass(frozen=True, eq=False)
class CrossEntropy(Objective):
    """Every member learns the labels by itself."""

    class_weight: Tensor | None = None
    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        class_weight = self.class_weight
        if class_weight is not None:
            class_weight = class_weight.to(logits)
        return losses.cross_entropy(
            logits,
            batch.y,
            batch.weight,
            class_weight=class_weight,
            label_smoothing=self.label_smoothing,
        )


@dataclass(frozen=True, eq=False)
class SumCrossEntropy(CrossEntropy):
    """The members' mean logits learn the labels as one network: the trained sum."""

    shared_batches: ClassVar[bool] = True

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().__call__(losses.mean_logits(logits), batch)

    def combine(self, logits: Tensor) -> Tensor:
        """Report the one network that the members form."""
        return losses.mean_logits(logits)


@dataclass(frozen=True, eq=False)
class SharedWeights(Objective):
    """Another objective, for networks that are several members each (BatchEnsemble).

    Logits have the shape ``(network, sample, member, class)``; a network's loss is the
    mean of its members'. All members see the whole batch. A target that has one row a
    member goes to that member alone.
    """

    inner: Objective
    n_members: int

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        members = logits.transpose(1, 2).flatten(0, 1)
        losses_ = _spread(self.inner, self.n_members)(members, self._tile(batch))
        return losses_.unflatten(0, (len(logits), self.n_members)).mean(1)

    def _tile(self, batch: Batch) -> Batch:
        def tile(values: Tensor) -> Tensor:
            return values if len(values) == 1 else values.repeat_interleave(self.n_members, 0)

        extras = {
            name: values.movedim(2, 1).flatten(0, 1) if name == "own_target" else tile(values)
            for name, values in batch.extras.items()
        }
        weight = None if batch.weight is None else tile(batch.weight)
        return replace(batch, y=tile(batch.y), weight=weight, extras=extras)

    def combine(self, logits: Tensor) -> Tensor:
        """Report the mean of the members' probabilities."""
        return logits.softmax(-1).mean(2).log()

    @property
    def follows_progress(self) -> bool:
        return self.inner.follows_progress


def _spread(part: Any, n_members: int) -> Any:
    """Repeat numbers that differ between networks for each of a network's members."""
    if not hasattr(part, "__dataclass_fields__"):
        return part
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, _Mergeable):
            spread = _spread(value, n_members)
            if spread is not value:
                changes[field.name] = spread
        elif field.name in part.scalars and isinstance(value, Tensor):
            changes[field.name] = value.repeat_interleave(n_members)
    return replace(part, **changes) if changes else part


# -- distillation --------------------------------------------------------------------------


class Term(_Mergeable, ABC):
    """What a student is to have in common with its teacher.

    A subclass says in `targets` what it needs of the teacher for each row; that is
    computed once per fit, cut to batches, and found in ``batch.extras`` by `__call__`.
    Make it a frozen dataclass, and list in `scalars` the numbers that may differ between
    students trained together, which then arrive as tensors of shape ``(member,)``.

    Attributes
    ----------
    uses_layers : bool
        Whether the term compares layers, and so needs a teacher made of networks;
        their outputs are in ``batch.features`` and ``batch.extras`` under the tap's key.
    reads_logits : bool
        Whether a student of this term predicts by `log_proba` instead of a softmax.
    follows_progress : bool
        Whether the term changes over the epochs: ``batch.progress`` then goes from 0 in the
        first to 1 in the last, and is 1 on held-out rows.

    Examples
    --------
    >>> from skensemble.objectives import LabelTerm
    >>> import torch
    >>> targets = LabelTerm(temperature=1.0).targets(torch.zeros(2, 5, 4))
    >>> targets["target"].shape
    torch.Size([2, 4])
    """

    uses_layers: ClassVar[bool] = False
    reads_logits: ClassVar[bool] = False
    follows_progress: ClassVar[bool] = False

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        """Turn teacher logits ``(sample, teacher, class)`` into tensors ``(sample, ...)``."""
        return {}

    @abstractmethod
    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the disagreement of each student with its teacher, shape ``(member,)``."""

    def log_proba(self, logits: Tensor) -> Tensor:
        """Turn logits of a trained student into log-probabilities."""
        return logits.log_softmax(-1)


@dataclass(frozen=True, eq=False)
class Distilled(Objective):
    """``label_share * CE(y, softmax(s)) + teacher_share * term``.

    Rows that have no label are those whose extra ``labelled`` is zero.
    """

    labels: CrossEntropy
    term: Term
    label_share: float = 0.1
    teacher_share: float = 0.9
    layers: tuple[Tap, ...] = ()

    scalars: ClassVar[tuple[str, ...]] = ("label_share", "teacher_share")

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        label_loss = self._label_loss(logits, batch)
        teacher_loss = self.term(logits, batch)
        label_share, teacher_share = _as(self.label_share, logits), _as(self.teacher_share, logits)
        return label_share * label_loss + teacher_share * teacher_loss

    def _label_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        if "labelled" not in batch.extras:
            return self.labels(logits, batch)
        weight = batch.extras["labelled"] * (1.0 if batch.weight is None else batch.weight)
        # A batch without any label must give zero, not zero by zero.
        some = weight.sum(-1, keepdim=True) > 0
        loss = self.labels(logits, replace(batch, weight=torch.where(some, weight, 1.0)))
        return loss * some.squeeze(-1)

    @property
    def taps(self) -> tuple[Tap, ...]:
        return self.layers

    @property
    def follows_progress(self) -> bool:
        return self.term.follows_progress

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Distilled:
        if not isinstance(self.term, _Regressed):
            return self
        return replace(self, term=self.term.start(seeds, self.layers, shapes, dtype))

    def learnable(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for number, weight in enumerate(getattr(self.term, "regressors", ())):
            yield f"regressor.{number}", weight


@dataclass(frozen=True, eq=False)
class LabelTerm(Term):
    """``T² KL(σ(t/T) ‖ σ(s/T))`` (Hinton, Vinyals and Dean, 2015).

    Of several teachers, the mean of their probabilities at the temperature is learned,
    or that of their mean logits where ``averaging="logit"``.
    """

    temperature: float = 4.0
    averaging: str = "proba"

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": losses.soften(teacher, self.temperature, self.averaging)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.label_distillation(
            logits, batch.extras["target"], batch.weight, temperature=_as(self.temperature, logits)
        )


@dataclass(frozen=True, eq=False)
class OneToOneTerm(LabelTerm):
    """Each member of a student learns from one member of its teacher (Mariet et al., 2020)."""

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"own_target": (teacher / self.temperature).softmax(-1)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.label_distillation(
            logits,
            batch.extras["own_target"],
            batch.weight,
            temperature=_as(self.temperature, logits),
        )


@dataclass(frozen=True, eq=False)
class LogitTerm(Term):
    """Squared difference from the teachers' mean logits (Ba and Caruana, 2014)."""

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher.mean(-2)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.logit_regression(logits, batch.extras["target"], batch.weight)


@dataclass(frozen=True, eq=False)
class TruncatedTerm(Term):
    """Truncated scaled logits (Allen-Zhu and Li, 2023, eq. 4.2 and 4.3).

    ``one_sided`` only raises classes in which the student is below the teacher.
    """

    tau: float
    one_sided: bool = True

    scalars: ClassVar[tuple[str, ...]] = ("tau",)

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher.mean(-2)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch.extras["target"]
        return losses.truncated_distillation(
            logits, target, batch.weight, tau=_as(self.tau, logits), one_sided=self.one_sided
        )


@dataclass(frozen=True, eq=False)
class AdaptiveTerm(Term):
    """AE-KD: teachers weighed so that their gradients agree (Du et al., 2020)."""

    temperature: float = 4.0
    cap: float = 0.6

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return losses.adaptive_distillation(
            logits,
            batch.extras["target"],
            batch.weight,
            temperature=_as(self.temperature, logits),
            cap=max(self.cap, 1 / batch.extras["target"].shape[-2]),
        )


@dataclass(frozen=True, eq=False)
class DirichletTerm(Term):
    """EnD²: likelihood of the teachers' probabilities under the student's Dirichlet.

    The temperature stays where it is for the first half of the epochs and then goes to 1
    in a straight line, as a schedule that lets a flat Dirichlet find its way.
    """

    temperature: float = 4.0

    scalars: ClassVar[tuple[str, ...]] = ("temperature",)
    follows_progress: ClassVar[bool] = True

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"target": teacher.softmax(-1)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        target = batch.extras["target"]
        left = min(1.0, 2.0 * (1.0 - batch.progress))
        temperature = 1.0 + left * (_as(self.temperature, logits) - 1.0)
        return losses.dirichlet_nll(logits, target, batch.weight, temperature=temperature)


@dataclass(frozen=True, eq=False)
class ProxyDirichletTerm(Term):
    """Proxy-EnD²: KL divergence from the Dirichlet that fits the teachers best."""

    reverse: bool = True

    reads_logits: ClassVar[bool] = True

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        mean, precision = losses.proxy_dirichlet_target(teacher.softmax(-1))
        return {"mean": mean, "precision": precision}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        mean, precision = batch.extras["mean"], batch.extras["precision"]
        return losses.proxy_dirichlet(logits, mean, precision, batch.weight, reverse=self.reverse)

    def log_proba(self, logits: Tensor) -> Tensor:
        """Return the logarithm of the Dirichlet's mean, ``(exp(s) + 1) / sum``."""
        return torch.logaddexp(logits, torch.zeros_like(logits)).log_softmax(-1)


@dataclass(frozen=True, eq=False)
class ConfidenceTerm(Term):
    """CWTM: the labels, each row weighed by the teacher's largest probability."""

    temperature: float = 1.0

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        return {"confidence": losses.soften(teacher, self.temperature).amax(-1)}

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        weight = batch.extras["confidence"]
        weight = weight if batch.weight is None else weight * batch.weight
        return losses.cross_entropy(logits, batch.y, weight)


@dataclass(frozen=True, eq=False)
class PermutedTerm(LabelTerm):
    """DKPP: the teacher's probabilities, all but the largest permuted in each row."""

    seed: int = 0

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(self.seed)
        target = super().targets(teacher)["target"]
        return {"target": losses.permute_dark_knowledge(target, draw)}


class _LayerTerm(Term):
    """Compares layers of the student with layers of each teacher network."""

    uses_layers: ClassVar[bool] = True

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        total: Any = 0.0
        for number, (key, student) in enumerate(batch.features.items()):
            teachers = batch.extras[key]
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
class _Regressed(_LayerTerm):
    """Maps the student's channels to the teacher's by a learned linear map."""

    regressors: tuple[Any, ...] = ()

    def start(
        self, seeds: Sequence[int], taps: Sequence[Tap], shapes: dict[str, Any], dtype: torch.dtype
    ) -> Term:
        """Draw one map a layer, of shape (member, teacher, its channels, the student's)."""
        regressors = []
        for number, tap in enumerate(taps):
            student, (n_teachers, *teacher) = shapes["features"][tap.key], shapes["extras"][tap.key]
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
class FeatureTerm(_Regressed):
    """``‖t/‖t‖₂ − R(s)/‖R(s)‖₂‖₁`` of feature maps (Park, Yoo and Kwak, 2020, eq. 2)."""

    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        mapped = self._regress(student, number, at)
        return losses.feature_distillation(mapped, teacher, batch.weight)


@dataclass(frozen=True, eq=False)
class HintTerm(_Regressed):
    """Mean of ``(R(s) − t)²`` (FitNets: Romero et al., 2015)."""

    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        return losses.hint(self._regress(student, number, at), teacher, batch.weight)


@dataclass(frozen=True, eq=False)
class AttentionTerm(_LayerTerm):
    """Difference of normalised maps of mean squared activation (Zagoruyko, 2017)."""

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
class RelationTerm(_LayerTerm):
    """Distances and angles between rows (RKD: Park, Kim, Lu and Cho, 2019)."""

    distance: float = 25.0
    angle: float = 50.0

    def _compare(
        self, student: Tensor, teacher: Tensor, batch: Batch, number: int, at: int
    ) -> Tensor:
        return losses.relation(
            student, teacher, batch.weight, distance=self.distance, angle=self.angle
        )
