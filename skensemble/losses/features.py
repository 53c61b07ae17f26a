"""Losses between layers of a student and of its teacher.

Features have the shape ``(member, sample, channel, *spatial)``; the teacher's member
axis may be 1, and so may that of the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from skensemble.losses.classification import weighted_mean
from skensemble.losses.distillation import require_shape

__all__ = [
    "attention_map",
    "attention_transfer",
    "feature_distillation",
    "hint",
    "match_size",
    "relation",
]


def _unit(vectors: Tensor, eps: float) -> Tensor:
    """Divide by the 2-norm; vectors no longer than `eps` stay, so their gradient is finite."""
    squared = vectors.square().sum(-1, keepdim=True)
    return vectors / torch.where(squared > eps**2, squared, 1.0).sqrt()


def feature_distillation(
    student: Tensor, teacher: Tensor, weight: Tensor | None = None, *, norm_eps: float = 1e-8
) -> Tensor:
    """1-norm between directions of features, ``|t / |t|_2 - s / |s|_2|_1``.

    Park, Yoo and Kwak (2020), eq. 2, with the student's features already regressed to the
    teacher's shape, and each sample's flattened.

    Parameters
    ----------
    student : Tensor of shape (n_members, n_samples, n_channels, ...)
        Student features.
    teacher : Tensor of shape (n_members or 1, n_samples, n_channels, ...)
        Teacher features.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.
    norm_eps : float, default=1e-8
        Features whose 2-norm is no larger are not divided by it.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> student, teacher = torch.tensor([[[0.0, 5.0]]]), torch.tensor([[[3.0, 4.0]]])
    >>> feature_distillation(student, teacher)
    tensor([0.8000])
    """
    require_shape("teacher", teacher, student.shape)
    gap = _unit(teacher.flatten(2), norm_eps) - _unit(student.flatten(2), norm_eps)
    return weighted_mean(gap.abs().sum(-1), weight)


def hint(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared difference of features (Romero et al., 2015, "FitNets").

    Parameters
    ----------
    student : Tensor of shape (n_members, n_samples, n_channels, ...)
        Student features, regressed to the teacher's shape.
    teacher : Tensor of shape (n_members or 1, n_samples, n_channels, ...)
        Teacher features.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.

    Returns
    -------
    Tensor of shape (n_members,)
        The mean over all elements, and the weighted mean over samples.

    Examples
    --------
    >>> import torch
    >>> hint(torch.zeros(1, 2, 3), torch.full((1, 2, 3), 2.0))
    tensor([4.])
    """
    require_shape("teacher", teacher, student.shape)
    return weighted_mean((student - teacher).square().flatten(2).mean(-1), weight)


def attention_map(feature: Tensor) -> Tensor:
    """Mean of squared activations over channels, ``q / |q|_2`` with ``q = mean_c F_c²``.

    Zagoruyko and Komodakis (2017), "Paying more attention to attention". Of vectors,
    which have no positions, the squared entries themselves are taken.

    Parameters
    ----------
    feature : Tensor of shape (n_members, n_samples, n_channels, ...)
        Outputs of a layer.

    Returns
    -------
    Tensor of shape (n_members, n_samples, n_positions)
        Maps of length one; zero where all activations are.

    Examples
    --------
    >>> import torch
    >>> attention_map(torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]]))
    tensor([[[1., 0.]]])
    """
    squared = feature.square()
    return _unit(squared.mean(2).flatten(2) if squared.dim() > 3 else squared, eps=1e-12)


def attention_transfer(
    student_maps: Tensor, teacher_maps: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Mean squared difference of attention maps, ``mean (Q_S - Q_T)²``.

    Parameters
    ----------
    student_maps : Tensor of shape (n_members, n_samples, n_positions)
        Maps of the student, see :func:`attention_map`.
    teacher_maps : Tensor of shape (n_members or 1, n_samples, n_positions)
        Maps of the teacher.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> attention_transfer(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]]))
    tensor([1.])
    """
    require_shape("teacher_maps", teacher_maps, student_maps.shape)
    return weighted_mean((student_maps - teacher_maps).square().mean(-1), weight)


def match_size(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring larger maps to a height and width by adaptive average pooling.

    Parameters
    ----------
    feature : Tensor of shape (n_members, n_samples, n_channels, height, width)
        Outputs of a layer.
    size : tuple of two ints
        Height and width wanted, none larger than that of `feature`.

    Returns
    -------
    Tensor of shape (n_members, n_samples, n_channels, height, width)
        The pooled maps.

    Examples
    --------
    >>> import torch
    >>> match_size(torch.ones(2, 3, 4, 8, 8), (4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """
    if feature.dim() != 5 or any(
        small > large for small, large in zip(size, feature.shape[3:], strict=True)
    ):
        raise ValueError(
            "feature must have the shape (n_members, n_samples, n_channels, height, width), "
            f"at least {tuple(size)} high and wide. Got {tuple(feature.shape)}."
        )
    if tuple(feature.shape[3:]) == tuple(size):
        return feature
    pooled = functional.adaptive_avg_pool2d(feature.flatten(0, 1), (size[0], size[1]))
    return pooled.reshape(*feature.shape[:3], *size)


def relation(
    student: Tensor,
    teacher: Tensor,
    weight: Tensor | None = None,
    *,
    distance: float = 25.0,
    angle: float = 50.0,
    max_samples: int = 64,
) -> Tensor:
    """Huber loss of distances and angles between samples (RKD).

    Distances of pairs are divided by their mean over pairs of different samples; angles
    are cosines in all triplets, at the first `max_samples` rows since their number grows
    as its cube. Both losses are weighted means over all pairs and triplets, weighed by the
    products of sample weights. Park, Kim, Lu and Cho (2019), "Relational knowledge
    distillation".

    Parameters
    ----------
    student : Tensor of shape (n_members, n_samples, ...)
        Student features.
    teacher : Tensor of shape (n_members or 1, n_samples, ...)
        Teacher features, of any width; they are detached.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.
    distance, angle : float, default=25.0, 50.0
        Weights of the two losses.
    max_samples : int, default=64
        Rows that take part in the angles.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> rows = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]])
    >>> relation(2 * rows, rows)
    tensor([0.])
    """
    require_shape("teacher", teacher.flatten(2)[..., 0], tuple(student.shape[:2]))
    student, teacher = student.flatten(2), teacher.detach().flatten(2)
    if weight is None:
        weight = student.new_ones(1, student.shape[1])
    pairs = weight.unsqueeze(-1) * weight.unsqueeze(-2)
    gap = _scaled_distances(student, pairs) - _scaled_distances(teacher, pairs)
    loss = distance * (pairs * _huber(gap)).sum((-1, -2)) / pairs.sum((-1, -2))
    if not angle:
        return loss
    first = weight[:, :max_samples]
    gap = _cosines(student[:, :max_samples]) - _cosines(teacher[:, :max_samples])
    total = torch.einsum("mkij,mk,mi,mj->m", _huber(gap), first, first, first)
    # The first rows may all have zero weight though the batch does not.
    count = first.sum(-1) ** 3
    return loss + angle * total / torch.where(count > 0, count, 1.0)


def _huber(gap: Tensor) -> Tensor:
    size = gap.abs()
    return torch.where(size < 1, 0.5 * gap.square(), size - 0.5)


def _scaled_distances(rows: Tensor, pairs: Tensor) -> Tensor:
    """Distances ``(member, sample, sample)`` over their mean, with zeros for a row and itself."""
    # Differences, not products: those of equal rows must be zero, with a gradient of zero.
    raw = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").clamp_min(1e-6)
    other = 1 - torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    raw, pairs = raw * other, pairs * other
    count = pairs.sum((-1, -2), keepdim=True)
    mean = (pairs * raw).sum((-1, -2), keepdim=True) / torch.where(count > 0, count, 1.0)
    return raw / mean.clamp_min(1e-6)


def _cosines(rows: Tensor) -> Tensor:
    """Cosines ``(member, sample k, i, j)`` of the angles between ``i`` and ``j`` at ``k``."""
    sides = _unit(rows.unsqueeze(1) - rows.unsqueeze(2), eps=1e-6)
    return sides @ sides.mT
