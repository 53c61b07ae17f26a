"""Normalisation of the input as a part of the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation, channel by channel.

    As the first part of a network it lets inputs stay in their natural range, such as
    [0, 1], which perturbations of the input have to know.

    Parameters
    ----------
    mean, std : sequence of float
        One number a channel of images ``(n, channels, height, width)``, or a feature of
        tables ``(n, features)``.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import Normalize
    >>> Normalize(mean=[0.5], std=[0.25])(torch.ones(1, 1, 2, 2)).unique()
    tensor([2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError(
                "'mean' and 'std' must have one length, and 'std' positive numbers. "
                f"Got mean={list(mean)!r} and std={list(std)!r}."
            )
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32))

    def reset_parameters(self) -> None:
        """Do nothing: there is nothing to learn."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised input, in its dtype."""
        # With channels last the shapes need not be known, so that torch.fx can trace this.
        x = (x.movedim(1, -1) - self.mean.to(x)) / self.std.to(x)
        return x.movedim(-1, 1)
