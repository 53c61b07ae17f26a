"""Networks that see a part of the channels alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def part_columns(n_channels: int, n_splits: int, part: int) -> slice:
    """Return the channels of one of `n_splits` parts; what is left over at the end is in none.

    >>> part_columns(7, 3, 1)
    slice(2, 4, None)
    """
    size = n_channels // n_splits
    return slice(part * size, (part + 1) * size)


def require_channels(n_channels: int, name: str, n_splits: int, owner: str) -> None:
    """Refuse more parts than there are channels."""
    if n_channels < n_splits:
        raise ValueError(
            f"Found array with {n_channels} feature(s) (channels) while a minimum of "
            f"{name}={n_splits} is required by {owner}."
        )


class Columns(nn.Module):
    """Some of the channels (axis 1).

    Which ones is a buffer, so that networks of different parts are one stack.
    """

    at: Tensor

    def __init__(self, columns: slice) -> None:
        super().__init__()
        self.register_buffer("at", torch.arange(columns.start, columns.stop))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, all channels, ...)`` to ``(n_samples, channels, ...)``."""
        return x.index_select(1, self.at)


class OnPart(nn.Module):
    """A network behind the choice of its channels."""

    def __init__(self, columns: slice, body: nn.Module) -> None:
        super().__init__()
        self.columns = Columns(columns)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on its channels."""
        return self.body(self.columns(x))
