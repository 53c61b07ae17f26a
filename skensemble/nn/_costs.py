"""What a module costs: multiply-adds and zeros."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skensemble.nn.narrowing import CONVOLUTIONS

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def count_macs(module: nn.Module, sample: Tensor) -> float:
    """Count the multiply-adds of linear and convolutional layers for one row."""
    total = [0.0]

    def linear(layer: nn.Linear, _: Any, out: Tensor) -> None:
        total[0] += out[0].numel() * layer.in_features

    def convolution(layer: Any, _: Any, out: Tensor) -> None:
        total[0] += out[0].numel() * layer.weight[0].numel()

    handles = [
        part.register_forward_hook(linear if isinstance(part, nn.Linear) else convolution)
        for part in module.modules()
        if isinstance(part, (nn.Linear, *_CONVOLUTIONS))
    ]
    was_training = module.training
    with torch.no_grad():
        module.eval()(sample.clone())
    module.train(was_training)
    for handle in handles:
        handle.remove()
    return total[0]


def measure_sparsity(module: nn.Module) -> tuple[int, int]:
    """Count the zeros and all weights of convolutional and linear layers."""
    zeros = total = 0
    for part in module.modules():
        if isinstance(part, (nn.Linear, *CONVOLUTIONS)):
            weight: Any = part.weight
            zeros += int((weight == 0).sum())
            total += weight.numel()
    return zeros, total
