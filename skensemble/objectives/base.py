"""What every objective is, and learning from labels alone."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import joblib
import torch
from torch import Tensor

from skensemble import losses
from skensemble._data.batches import Batch
from skensemble._parameters import Parameters
from skensemble.nn._taps import Tap

_Part = TypeVar("_Part", bound="Mergeable")


class Mergeable:
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
            if isinstance(value, Mergeable):
                parts.append(value.key())
            elif isinstance(value, Tensor):
                parts.append(tuple(value.flatten().tolist()))
            elif field.name not in self.scalars:
                parts.append(joblib.hash(value))
        return tuple(parts)

    def among(self: _Part, members: slice) -> _Part:
        """Return what was merged and begun for all members as it is for some of them."""
        if not dataclasses.is_dataclass(self):
            return self
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Mergeable):
                changes[field.name] = value.among(members)
            elif field.name in self.scalars and isinstance(value, Tensor):
                changes[field.name] = value[members]
        return replace(self, **changes) if changes else self


def merge(parts: Sequence[_Part]) -> _Part:
    """Join objectives of equal `key` into one for all members."""
    first: Any = parts[0]
    if all(part is first for part in parts) or not hasattr(first, "__dataclass_fields__"):
        return first
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(first):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], Mergeable):
            changes[field.name] = merge(values)
        elif field.name in first.scalars and any(value != values[0] for value in values):
            changes[field.name] = torch.tensor(values, dtype=torch.float64)
    return replace(first, **changes) if changes else first


def as_like(value: Any, like: Tensor) -> Any:
    """Bring a number a member to the device and dtype of the logits."""
    return value.to(like) if isinstance(value, Tensor) else value


class Objective(Mergeable, ABC):
    """Maps logits ``(member, sample, class)`` and their batch to losses ``(member,)``.

    Where the members form one network, one loss of shape ``(1,)`` is for all of them.
    """

    @abstractmethod
    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each member."""

    def combine(self, logits: Tensor) -> Tensor:
        """Return the logits whose loss and accuracy are to be reported."""
        return logits

    @property
    def shared_batches(self) -> bool:
        """Whether all members must see the same rows in the same order."""
        return False

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Layers of the network that must be in ``batch.features``."""
        return ()

    @property
    def targets_of_members(self) -> bool:
        """Whether targets have an entry for each member that one network has inside."""
        return False

    @property
    def follows_progress(self) -> bool:
        """Whether the loss changes over the epochs and wants ``batch.progress``."""
        return False

    @property
    def reads_rows(self) -> bool:
        """Whether `prepare` reads or alters ``batch.x``, which features then cannot stand for."""
        return False

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Objective:
        """Get ready to train members of these seeds; `shapes` are of features and layers.

        What is trained beside the members, or drawn for each batch, begins here.
        """
        return self

    def prepare(self, batch: Batch, look: Callable[[Tensor], Tensor]) -> Batch:
        """Alter a batch before the forward pass; `look` gives the members' logits of rows."""
        return batch

    def adjust(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Alter the gradients of named parameters, after the backward pass and before the step.

        Names are those of the user's module; stacked members' parameters have an axis in front.
        """

    def measures(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return further numbers a member ``(member,)``, whose means go to the history."""
        return {}

    def held_out_scores(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return scores of held-out rows ``(member, sample)``; their means go to the history."""
        return {}

    def learnable(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Yield parameters of shape ``(member, ...)`` that are trained beside the members."""
        yield from ()


class Classifies(Objective):
    """An objective whose outputs are logits of classes."""

    def held_out_scores(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return which rows are classified as they should be."""
        right = self.combine(logits).argmax(-1) == batch.y
        return {"valid_acc": right.to(logits.dtype)}


@dataclass(frozen=True, eq=False)
class CrossEntropy(Classifies):
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

    @property
    def shared_batches(self) -> bool:
        """Members are parts of one network."""
        return True

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().__call__(losses.mean_logits(logits), batch)

    def combine(self, logits: Tensor) -> Tensor:
        """Report the one network that the members form."""
        return losses.mean_logits(logits)


@dataclass(frozen=True, eq=False)
class WrappedObjective(Objective):
    """Another objective, and something more."""

    inner: Objective

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.inner(logits, batch)

    def combine(self, logits: Tensor) -> Tensor:
        return self.inner.combine(logits)

    @property
    def shared_batches(self) -> bool:
        return self.inner.shared_batches

    @property
    def taps(self) -> tuple[Tap, ...]:
        return self.inner.taps

    @property
    def targets_of_members(self) -> bool:
        return self.inner.targets_of_members

    @property
    def follows_progress(self) -> bool:
        return self.inner.follows_progress

    @property
    def reads_rows(self) -> bool:
        return self.inner.reads_rows

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Objective:
        return replace(self, inner=self.inner.start(seeds, shapes, dtype))

    def prepare(self, batch: Batch, look: Callable[[Tensor], Tensor]) -> Batch:
        return self.inner.prepare(batch, look)

    def held_out_scores(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.inner.held_out_scores(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.inner.measures(logits, batch)

    def adjust(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        self.inner.adjust(parameters)

    def learnable(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        yield from self.inner.learnable()


class Term(Parameters, Mergeable, ABC):
    """What a student is to have in common with its teacher.

    A subclass says in `targets` what it needs of the teacher for each row; that is
    computed once per fit, cut to batches, and found in ``batch.targets`` by `__call__`.
    Make it a frozen dataclass, whose fields are then parameters that scikit-learn searches
    (``objective__name``), and list in `scalars` the numbers that may differ between students
    trained together, which then arrive as tensors of shape ``(member,)``.

    Attributes
    ----------
    weight : float or None
        What the term is multiplied with beside the full cross-entropy; a field of that name
        makes it a parameter. ``None``: it shares with the labels, by the student's `alpha`.
    uses_layers : bool
        Whether the term compares layers, and so needs a teacher made of networks; the
        student's are in ``batch.features`` and the teacher's in ``batch.layers``, under the
        name of the student's layer. A field `layers` says which.
    reads_logits : bool
        Whether a student of this term predicts by `log_proba` instead of a softmax.
    follows_progress : bool
        Whether the term changes over the epochs: ``batch.progress`` then goes from 0 in the
        first to 1 in the last, and is 1 on held-out rows.
    targets_of_members : bool
        Whether `targets` have an entry for each member of a student with members,
        ``(sample, member, ...)``, so that the teacher must have as many.

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
    targets_of_members: ClassVar[bool] = False

    @property
    def weight(self) -> float | None:
        """The share of a term that has no weight of its own is the student's `alpha`."""
        return None

    def layer_names(self) -> dict[str, str]:
        """Return the teacher's layer for each of the student's that is compared."""
        if not self.uses_layers:
            return {}
        layers: Any = getattr(self, "layers", "last")
        if isinstance(layers, dict):
            return dict(layers)
        names = [layers] if isinstance(layers, str) else list(layers)
        if not names:
            raise ValueError("The 'layers' to compare must be at least one. Got none.")
        return {name: name for name in names}

    def bind(self, n_classes: int, temperature: float, averaging: str) -> Term:
        """Return the term with what it left to its student, as ``None``, filled in."""
        student = {"temperature": temperature, "averaging": averaging}
        left = {name: value for name, value in student.items() if getattr(self, name, "") is None}
        return replace(self, **left) if left else self  # type: ignore[type-var]

    def targets(self, teacher: Tensor) -> dict[str, Tensor]:
        """Turn teacher logits ``(sample, teacher, class)`` into tensors ``(sample, ...)``."""
        return {}

    def targets_key(self) -> Any:
        """Return what is equal for terms whose targets are."""
        numbers = tuple(getattr(self, name) for name in self.scalars if name != "weight")
        return self.key(), numbers

    @abstractmethod
    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the disagreement of each student with its teacher, shape ``(member,)``."""

    def log_proba(self, logits: Tensor) -> Tensor:
        """Turn logits of a trained student into log-probabilities."""
        return logits.log_softmax(-1)


class DistributionTerm(Term):
    """Abstract term whose students predict distributions of probabilities: Dirichlets."""

    @abstractmethod
    def concentration(self, logits: Tensor) -> Tensor:
        """Turn logits of a trained student into the parameters of its Dirichlets."""
