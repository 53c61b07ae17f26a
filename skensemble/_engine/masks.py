"""Weights that stay zero: masks put on again after every step of the optimiser.

Momentum, decay and Adam's moments would otherwise bring pruned weights back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from skensemble._recipes.recipe import Recipe


class MemberMasks:
    """The members' masks, stacked as their parameters are.

    Parameters
    ----------
    recipes : sequence of Recipe
        The members' recipes; all of them, or none, have masks, of the same parameters.
    device : str
        Where the parameters are.
    """

    def __init__(self, recipes: Sequence[Recipe], device: str) -> None:
        each = [one.start.masks for one in recipes]
        self._masks = {
            name: torch.stack([masks[name] for masks in each]).to(device) for name in each[0]
        }

    @property
    def needed(self) -> bool:
        """Whether there are any."""
        return bool(self._masks)

    def apply(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Set to zero what is masked."""
        seen: dict[str, int] = {}
        with torch.no_grad():
            for name, parameter in parameters:
                if name not in self._masks:
                    continue
                mask = self._masks[name]
                if mask.dim() > parameter.dim():  # members called in turn come one by one
                    mask = mask[seen.get(name, 0)]
                    seen[name] = seen.get(name, 0) + 1
                parameter.mul_(mask)
