"""Modules: the default ones, arguments that are filled in, fresh weights."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from skensemble.nn import MLP, CifarResNet


def _accepted(maker: Callable[..., Any]) -> set[str]:
    """Return the arguments a module's maker takes.

    A function that takes ``**kwargs`` and says which class it returns, as torchvision's do,
    takes those of the class.
    """
    signature = inspect.signature(maker)
    names, made = set(signature.parameters), signature.return_annotation
    takes_any = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    if takes_any and inspect.isclass(made) and issubclass(made, nn.Module):
        names |= set(inspect.signature(made).parameters)
    return names


def default_module(in_shape: tuple[int, ...]) -> Any:
    """Return the plain network for samples of a shape, or refuse the shape."""
    if len(in_shape) == 1:
        return MLP
    if len(in_shape) == 3 and in_shape[2] <= 4 < min(in_shape[:2]):
        raise ValueError(
            f"Images of shape {in_shape} look like (height, width, channels); the default "
            "network takes (channels, height, width). Use X.transpose(0, 3, 1, 2)."
        )
    if len(in_shape) == 3:
        return CifarResNet
    raise ValueError(
        f"No default network takes samples of shape {in_shape}; pass 'estimator', or give 2-D "
        "tables (n, features) or 4-D images (n, channels, height, width)."
    )


def _reinitialised(module: nn.Module) -> nn.Module:
    """Return a copy of a module with fresh weights, or refuse to."""
    fresh = copy.deepcopy(module)
    containers = []
    for name, part in fresh.named_modules():
        if hasattr(part, "reset_parameters") and any(True for _ in part.children()):
            containers.append(part)
        elif hasattr(part, "reset_parameters"):
            part.reset_parameters()
        elif part._parameters or any(True for _ in part.buffers(recurse=False)):
            raise ValueError(
                "The module was given as an instance, and its part "
                f"{name or '(the module itself)'!r} of type {type(part).__name__} has no "
                "reset_parameters(), so members could not start from different weights. "
                "Use skensemble.Pretrained(module), which starts from the weights that it has, or "
                "pass the module's class (with module__* parameters)."
            )
    for part in reversed(containers):  # a network has the last word on how its layers start
        part.reset_parameters()
    return fresh
