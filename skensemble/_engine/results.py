"""What training leaves of a member."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class MemberResult:
    """What training leaves of one member.

    Attributes
    ----------
    state : dict of Tensor
        The state dict of the user's module, on the CPU, with versions and extra state.
    history : list of dict
        One row an epoch: ``epoch``, ``train_loss``, ``valid_loss``, ``valid_acc``, ``dur``.
    diverged_at : int or None
        The epoch in which the loss stopped being finite.
    best_epoch : int or None
        The epoch that a rule of early stopping found best.
    """

    state: dict[str, Tensor]
    history: list[dict[str, Any]] = field(default_factory=list)
    diverged_at: int | None = None
    best_epoch: int | None = None
