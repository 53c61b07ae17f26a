"""Twins of modules, which share their numbers and nothing else."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def twin(module: nn.Module) -> nn.Module:
    """Return a module of the same weights, for hooks and modes that nobody else is to notice.

    Other threads may run the module at the same time. Parameters are objects of their own over
    the same storage, so that whether they want gradients is the twin's affair too.
    """
    memo: dict[int, Any] = {
        id(one): nn.Parameter(one.detach(), requires_grad=one.requires_grad)
        for one in module.parameters()
    }
    memo.update({id(one): one for one in module.buffers()})
    return copy.deepcopy(module, memo)
