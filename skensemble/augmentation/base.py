"""What every augmentation is, how labels are mixed, and several in turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from skensemble._data.batches import Batch
from skensemble._private import validate_parameter_constraints

Draws = Sequence[np.random.Generator]


def mixed(batch: Batch, x: Tensor, share: Tensor, partner: Tensor) -> Batch:
    """Mix the labels of rows that were mixed, ``q = λ w_i y_i + (1 - λ) w_j y_j``.

    The sum of `q` is the row's new weight, and `q` over its sum are the shares of the
    classes. With :func:`skensemble.losses.cross_entropy` the row's loss is then
    ``λ w_i CE(y_i) + (1 - λ) w_j CE(y_j)``: each label counts as much as its own row does,
    and the weights of a batch add up to what they did before. A row without a label, of
    ``X_unlabelled``, brings a weight and no label.

    Parameters
    ----------
    batch : Batch
        As it was; ``y`` holds shares of classes, ``(n_members, n_samples, n_classes)``.
    x : Tensor of shape (n_members, n_samples, ...)
        The mixed rows.
    share : Tensor of shape (n_members, n_samples or 1)
        How much of a mixed row is the row that stood there before.
    partner : Tensor of shape (n_members, n_samples), dtype int64
        The row that the rest comes from.

    Returns
    -------
    Batch
        The batch of the mixed rows.

    Examples
    --------
    >>> import torch
    >>> from skensemble._data.batches import Batch
    >>> batch = Batch(torch.zeros(1, 2, 3), torch.eye(2)[None], torch.tensor([[1.0, 3.0]]))
    >>> both = mixed(batch, batch.x, torch.tensor([[0.5]]), torch.tensor([[1, 0]]))
    >>> both.weight, both.y[0, 0]
    (tensor([[2., 2.]]), tensor([0.2500, 0.7500]))
    """
    at = torch.arange(len(partner), device=partner.device).unsqueeze(1)

    def mix(values: Tensor) -> Tensor:
        kept = share.reshape(*share.shape, *[1] * (values.dim() - 2))
        return kept * values + (1 - kept) * values[at, partner]

    labelled = batch.labelled
    if batch.weight is None and labelled is None:
        return replace(batch, x=x, y=mix(batch.y))
    weight = torch.ones_like(batch.y[..., 0]) if batch.weight is None else batch.weight
    mass = weight if labelled is None else weight * labelled
    total, counts = mix(weight), mix(mass)
    return weighed(batch, x, mix(mass.unsqueeze(-1) * batch.y), total, counts)


def weighed(batch: Batch, x: Tensor, q: Tensor, total: Tensor, counts: Tensor) -> Batch:
    """Return a batch of rows of weight `total`, of which `counts` are labelled as `q` says."""
    some = (counts > 0).unsqueeze(-1)
    y = torch.where(some, q / torch.where(some, counts.unsqueeze(-1), 1.0), batch.y)
    labelled = batch.labelled
    if labelled is not None:
        labelled = counts / torch.where(total > 0, total, 1.0)
    return replace(batch, x=x, y=y, weight=total, labelled=labelled)


def check_fields(owner: Any) -> None:
    """Raise where a parameter is not what the table of constraints says."""
    table = owner._parameter_constraints
    given = {name: getattr(owner, name) for name in table}
    validate_parameter_constraints(table, given, type(owner).__name__)


def check_image(owner: Any, in_shape: tuple[int, ...]) -> None:
    """Raise unless rows are images."""
    if len(in_shape) != 3:
        raise ValueError(
            f"{type(owner).__name__} is for images, so X must have the shape (n_samples, channels, "
            f"height, width). Got rows of shape {in_shape}; MixUp is for tables too."
        )


class Augmentation(ABC):
    """Abstract augmentation.

    Examples
    --------
    >>> class Noise(Augmentation):
    ...     def alter(self, batch, draws):
    ...         noise = [torch.from_numpy(one.normal(size=batch.x.shape[1:])) for one in draws]
    ...         return replace(batch, x=batch.x + 0.1 * torch.stack(noise).to(batch.x))
    """

    @property
    def mixes(self) -> bool:
        """Whether rows are mixed, so that labels are shares ``(member, sample, class)``."""
        return False

    @property
    def unit_range(self) -> bool:
        """Whether rows must lie in [0, 1]."""
        return False

    def check(self, in_shape: tuple[int, ...]) -> None:  # noqa: B027 (most alter any)
        """Raise unless rows of this shape can be altered."""

    def key(self) -> Any:
        """Return what is equal for members that can train together."""
        return type(self), joblib.hash(self)

    @abstractmethod
    def alter(self, batch: Batch, draws: Draws) -> Batch:
        """Return an altered batch; members draw from the generators of their numbers.

        The batch must not be written into. Every tensor of it starts with ``(member, sample)``.
        """


@dataclass(frozen=True)
class InTurn(Augmentation):
    """Several augmentations, one after the other; what a list becomes.

    Parameters
    ----------
    parts : tuple of Augmentation
        In their order.
    """

    parts: tuple[Augmentation, ...]

    def __post_init__(self) -> None:
        fine = isinstance(self.parts, tuple) and self.parts
        if not fine or not all(isinstance(part, Augmentation) for part in self.parts):
            raise ValueError(
                f"The 'parts' of InTurn must be a tuple of augmentations. Got {self.parts!r} "
                "instead; a list as 'augmentation' takes names and functions too."
            )

    @property
    def mixes(self) -> bool:
        return any(part.mixes for part in self.parts)

    @property
    def unit_range(self) -> bool:
        return any(part.unit_range for part in self.parts)

    def check(self, in_shape: tuple[int, ...]) -> None:
        for part in self.parts:
            part.check(in_shape)

    def key(self) -> Any:
        return type(self), tuple(part.key() for part in self.parts)

    def alter(self, batch: Batch, draws: Draws) -> Batch:
        for part in self.parts:
            batch = part.alter(batch, draws)
        return batch
