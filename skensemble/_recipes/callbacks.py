"""Which callbacks and optimisers the engine follows member by member."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import EarlyStopping, LRScheduler

MONITORS = ("train_loss", "valid_loss", "valid_acc")


# Optimisers whose update of a number depends on that number's own gradients alone.
ELEMENTWISE_OPTIMIZERS = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adamax,
    torch.optim.NAdam, torch.optim.RAdam, torch.optim.RMSprop, torch.optim.Adagrad,
    torch.optim.Adadelta, torch.optim.ASGD, torch.optim.Rprop,
)  # fmt: skip


def _is_native_stopping(callback: Any) -> bool:
    return type(callback) is EarlyStopping and callback.monitor in MONITORS


def _is_stackable(callback: Any) -> bool:
    if type(callback) is LRScheduler:
        return "ReduceLROnPlateau" not in (
            callback.policy,
            getattr(callback.policy, "__name__", None),
        )
    return _is_native_stopping(callback)
