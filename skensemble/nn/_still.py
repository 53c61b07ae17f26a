"""Parts of a network that run as in prediction, whatever mode it is in."""

from __future__ import annotations

from typing import Any

from torch import nn


def stay_still(part: nn.Module) -> None:
    """Let a part, without those inside of it, run in evaluation mode from now on.

    Batch normalisation then keeps its averages, and dropout drops nothing. A hook, since the mode
    is set from many places, and a hook is copied and pickled with the part.
    """
    if not is_still(part):
        part.register_forward_pre_hook(_hold)


def is_still(part: nn.Module) -> bool:
    """Whether a part stays in evaluation mode."""
    return _hold in part._forward_pre_hooks.values()


def is_hooked(part: nn.Module) -> bool:
    """Whether hooks, other than that of a part that stays still, may change what a part does."""
    before = [hook for hook in part._forward_pre_hooks.values() if hook is not _hold]
    return bool(before or part._forward_hooks)


def _hold(part: nn.Module, inputs: Any) -> None:
    if part.training:
        part.training = False
