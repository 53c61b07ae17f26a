"""How much channels and weights matter, and which of them stay: pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "filter_l1",
    "largest",
    "magnitude",
    "magnitude_masks",
    "n_kept",
    "scale_size",
    "widen",
]

# int(10 * 0.7) may be 6 for want of the last bit.
_EPS = 1e-9


def filter_l1(weight: Tensor) -> Tensor:
    """Sum of absolute weights of each filter: ``Σ|W[j]|`` (Li et al. 2017).

    Parameters
    ----------
    weight : Tensor of shape (n_out, ...)
        Weight of a convolutional or linear layer.

    Returns
    -------
    Tensor of shape (n_out,)
        One score a filter.

    Examples
    --------
    >>> import torch
    >>> filter_l1(torch.tensor([[1.0, -2.0], [0.5, 0.0]]))
    tensor([3.0000, 0.5000])
    """
    return weight.flatten(1).abs().sum(1)


def scale_size(scale: Tensor) -> Tensor:
    """Size of the scales of batch normalisation: ``|γ|`` (Liu et al. 2017).

    Parameters
    ----------
    scale : Tensor of shape (n_channels,)
        The scales.

    Returns
    -------
    Tensor of shape (n_channels,)
        One score a channel.
    """
    return scale.abs()


def magnitude(weight: Tensor) -> Tensor:
    """Size of each weight: ``|w|`` (Han et al. 2015).

    Parameters
    ----------
    weight : Tensor
        Any shape.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    return weight.abs()


def n_kept(n: int, keep: float) -> int:
    """Return ``int(n * keep)``, safe from rounding.

    Parameters
    ----------
    n : int
        How many there are.
    keep : float
        Share in [0, 1].

    Returns
    -------
    int
        How many stay.

    Examples
    --------
    >>> n_kept(16, 0.7), n_kept(100, 0.29)
    (11, 29)
    """
    return int(n * keep + _EPS)


def largest(scores: Sequence[Tensor], n: int) -> list[list[int]]:
    """Pick the `n` largest numbers over several layers; of equal ones the first.

    Parameters
    ----------
    scores : sequence of Tensor of shape (n_channels,)
        One a layer.
    n : int
        How many to keep in all.

    Returns
    -------
    list of list of int
        For each layer the positions that are kept, in order.

    Examples
    --------
    >>> import torch
    >>> largest([torch.tensor([3.0, 1.0]), torch.tensor([2.0, 5.0, 0.0])], 3)
    [[0], [0, 1]]
    """
    joined = torch.cat([one.double() for one in scores])
    best = torch.zeros(len(joined), dtype=torch.bool)
    best[joined.argsort(descending=True, stable=True)[:n]] = True
    parts = best.split([len(one) for one in scores])
    return [part.nonzero().flatten().tolist() for part in parts]


def widen(scores: Tensor, kept: Sequence[int], min_channels: int, round_to: int) -> list[int]:
    """Keep more channels where fewer than a minimum would stay, or no full multiple.

    Parameters
    ----------
    scores : Tensor of shape (n_channels,)
        Scores of one layer.
    kept : sequence of int
        The channels that are to stay, the largest ones.
    min_channels : int
        Smallest number to stay.
    round_to : int
        Round up to a multiple of this.

    Returns
    -------
    list of int
        The channels that stay, in order; never more than there are.

    Examples
    --------
    >>> import torch
    >>> widen(torch.tensor([0.1, 0.9, 0.5, 0.3]), [], 1, 2)
    [1, 2]
    """
    n = -(-max(len(kept), min_channels) // round_to) * round_to
    return largest([scores], min(n, len(scores)))[0]


def magnitude_masks(weights: Sequence[Tensor], keep: float) -> list[Tensor]:
    """Mask all but the largest weights, by one threshold over all that are given.

    Parameters
    ----------
    weights : sequence of Tensor
        Weights of one layer or of many.
    keep : float
        Share of the weights to keep.

    Returns
    -------
    list of Tensor
        Masks of the weights' shapes and dtypes: one to keep, zero to drop.

    Examples
    --------
    >>> import torch
    >>> magnitude_masks([torch.tensor([[3.0, -1.0]]), torch.tensor([[2.0, 0.5]])], 0.5)
    [tensor([[1., 0.]]), tensor([[1., 0.]])]
    """
    scores = [magnitude(weight).flatten() for weight in weights]
    kept = largest(scores, n_kept(sum(len(one) for one in scores), keep))
    masks = []
    for weight, at in zip(weights, kept, strict=True):
        mask = torch.zeros(weight.numel(), dtype=weight.dtype)
        mask[at] = 1.0
        masks.append(mask.view(weight.shape))
    return masks
