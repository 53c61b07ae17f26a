"""Boxes, mixtures, squares and crops, written for whole batches."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skensemble._data.batches import Batch
from skensemble._private import Interval
from skensemble.augmentation.base import Augmentation, Draws, check_fields, check_image, mixed


@dataclass(frozen=True)
class CutMix(Augmentation):
    """A box of each image is taken from another one (Yun et al., 2019).

    ``λ ~ Beta(α, α)``; a box of sides ``√(1 - λ)`` of the image's, its centre uniform, clipped at
    the borders; labels are mixed by the area, ``λ' = 1 - box / (H W)``. One box for a
    batch.

    Parameters
    ----------
    alpha : float, default=1.0
        Of the Beta distribution.
    p : float, default=0.5
        Share of the batches that are altered.

    Examples
    --------
    >>> from skensemble import NetworkClassifier
    >>> NetworkClassifier(augmentation=CutMix(alpha=0.5))
    NetworkClassifier(augmentation=CutMix(alpha=0.5, p=0.5))
    """

    alpha: float = 1.0
    p: float = 0.5

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(numbers.Real, 0, None, closed="neither")],
        "p": [Interval(numbers.Real, 0, 1, closed="both")],
    }

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def mixes(self) -> bool:
        return True

    def check(self, in_shape: tuple[int, ...]) -> None:
        check_image(self, in_shape)

    def alter(self, batch: Batch, draws: Draws) -> Batch:
        n_rows, height, width = batch.x.shape[1], *batch.x.shape[-2:]
        x = batch.x.clone()
        shares, partners = [], []
        for at, draw in enumerate(draws):
            (top, bottom), (left, right) = self._box(draw, height, width)
            partner = torch.from_numpy(draw.permutation(n_rows)).to(x.device)
            box = batch.x[at, ..., top:bottom, left:right]
            x[at, ..., top:bottom, left:right] = box[partner]
            shares.append(1 - (bottom - top) * (right - left) / (height * width))
            partners.append(partner)
        return mixed(batch, x, x.new_tensor(shares).unsqueeze(1), torch.stack(partners))

    def _box(self, draw: np.random.Generator, height: int, width: int) -> list[tuple[int, int]]:
        """Return where the box begins and ends along each axis."""
        is_on, side = draw.random() < self.p, math.sqrt(1 - draw.beta(self.alpha, self.alpha))
        box = []
        for size in (height, width):
            centre, half = int(draw.integers(size)), int(side * size) // 2 if is_on else 0
            box.append((max(0, centre - half), min(size, centre + half)))
        return box


@dataclass(frozen=True)
class MixUp(Augmentation):
    """Each row becomes ``λ x_i + (1 - λ) x_j`` (Zhang et al., 2018); also for tables.

    ``λ ~ Beta(α, α)``, one for a batch; labels are mixed likewise.

    Parameters
    ----------
    alpha : float, default=1.0
        Of the Beta distribution; 0.1 to 0.4 mix little.
    p : float, default=1.0
        Share of the batches that are altered.
    """

    alpha: float = 1.0
    p: float = 1.0

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(numbers.Real, 0, None, closed="neither")],
        "p": [Interval(numbers.Real, 0, 1, closed="both")],
    }

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def mixes(self) -> bool:
        return True

    def alter(self, batch: Batch, draws: Draws) -> Batch:
        x, n_rows = batch.x, batch.x.shape[1]
        shares, partners = [], []
        for draw in draws:
            is_on, drawn = draw.random() < self.p, draw.beta(self.alpha, self.alpha)
            shares.append(drawn if is_on else 1.0)
            partners.append(torch.from_numpy(draw.permutation(n_rows)))
        share = x.new_tensor(shares).unsqueeze(1)
        partner = torch.stack(partners).to(x.device)
        kept = share.reshape(-1, *[1] * (x.dim() - 1))
        at = torch.arange(len(x), device=x.device).unsqueeze(1)
        return mixed(batch, kept * x + (1 - kept) * x[at, partner], share, partner)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """A square of each image is filled (DeVries and Taylor, 2017).

    Its centre is any pixel of the image, at which it is clipped, so that it may be smaller.

    Parameters
    ----------
    side : int, default=16
        In pixels; the paper has 16 for CIFAR-10 and 8 for CIFAR-100.
    fill : float or tuple of float, default=0.0
        The value, or one a channel. The paper fills with the mean: 0 where images are
        normalised before, the data's mean where the network normalises them itself.
    p : float, default=1.0
        Share of the rows that are altered.
    """

    side: int = 16
    fill: float | tuple[float, ...] = 0.0
    p: float = 1.0

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "side": [Interval(numbers.Integral, 1, None, closed="left")],
        "fill": [numbers.Real, list, tuple],
        "p": [Interval(numbers.Real, 0, 1, closed="both")],
    }

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, in_shape: tuple[int, ...]) -> None:
        check_image(self, in_shape)
        if not isinstance(self.fill, (int, float)) and len(self.fill) != in_shape[0]:
            raise ValueError(
                f"The 'fill' of Cutout must be a number, or one for each of {in_shape[0]} "
                f"channels. Got {self.fill!r}."
            )

    def alter(self, batch: Batch, draws: Draws) -> Batch:
        x, n_rows = batch.x, batch.x.shape[1]
        inside = []
        is_on = [draw.random(n_rows) < self.p for draw in draws]
        for size in x.shape[-2:]:
            first = _stacked([draw.integers(size, size=n_rows) for draw in draws], x) - (
                self.side // 2
            )
            at = torch.arange(size, device=x.device)
            inside.append((at >= first.unsqueeze(-1)) & (at < first.unsqueeze(-1) + self.side))
        rows = inside[0] & _stacked(is_on, x).unsqueeze(-1)
        hole = (rows.unsqueeze(-1) & inside[1].unsqueeze(-2)).unsqueeze(2)
        return replace(batch, x=torch.where(hole, x.new_tensor(self.fill).reshape(-1, 1, 1), x))


@dataclass(frozen=True)
class CropFlip(Augmentation):
    """A random crop of the padded image, mirrored or not: what most CIFAR recipes do.

    Parameters
    ----------
    padding : int, default=4
        Pixels of zeros at each border, from which crops of the image's size are taken.
    flip : float, default=0.5
        Share of the rows that are mirrored, left and right.
    """

    padding: int = 4
    flip: float = 0.5

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "padding": [Interval(numbers.Integral, 0, None, closed="left")],
        "flip": [Interval(numbers.Real, 0, 1, closed="both")],
    }

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, in_shape: tuple[int, ...]) -> None:
        check_image(self, in_shape)

    def alter(self, batch: Batch, draws: Draws) -> Batch:
        x, n_rows, most = batch.x, batch.x.shape[1], 2 * self.padding + 1
        drawn = [(draw.integers(most, size=(2, n_rows)), draw.random(n_rows)) for draw in draws]
        down, right = _stacked([shift for shift, _ in drawn], x).movedim(1, 0).flatten(1)
        mirrored = _stacked([number < self.flip for _, number in drawn], x)
        # Windows are views of the padded images: one is copied for each row.
        padded = F.pad(x.flatten(0, 1), [self.padding] * 4)
        windows = padded.unfold(2, x.shape[-2], 1).unfold(3, x.shape[-1], 1)
        which = torch.arange(len(padded), device=x.device)
        crop = windows[which, :, down, right].unflatten(0, x.shape[:2])
        mirrored = mirrored.reshape(*x.shape[:2], 1, 1, 1)
        return replace(batch, x=torch.where(mirrored, crop.flip(-1), crop))


def _stacked(arrays: Sequence[np.ndarray], like: Tensor) -> Tensor:
    """Put the members' arrays into one tensor on the batch's device."""
    return torch.from_numpy(np.stack(arrays)).to(like.device)
