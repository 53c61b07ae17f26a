"""Dropout that spends less time on its random numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


def draw_mask(mask: Tensor, p: float, generator: torch.Generator | None = None) -> None:
    """Fill a mask with zeros, a share `p` of it, and with what keeps the mean elsewhere."""
    n_draws = -(-mask.numel() // 4)
    bits = torch.empty(n_draws, dtype=torch.int64, device=mask.device)
    bits.random_(-(1 << 63), None, generator=generator)
    dropped = min(round(p * _LEVELS), _LEVELS - 1)
    levels = bits.view(torch.int16)[: mask.numel()].view(mask.shape)
    mask.copy_(levels >= dropped - _LEVELS // 2).mul_(_LEVELS / (_LEVELS - dropped))


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` whose masks are cut from random 64-bit numbers, four from each.

    On a CPU torch draws one number for each unit, which takes a small network as long as its
    matrix products. Here it is 16 bits of a number, so that `p` is met to 1/65536.

    Parameters
    ----------
    p : float, default=0.5
        Probability of dropping a number in training.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import Dropout
    >>> Dropout(0.5)(torch.ones(2, 3)).unique().tolist() in ([0.0], [2.0], [0.0, 2.0])
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop numbers in training, and scale those that stay."""
        if not self.training or self.p == 0:
            return input
        mask = torch.empty_like(input)
        draw_mask(mask, self.p)
        return input * mask
