"""Residual networks for small images (He et al. 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (1x1 convolution where shapes change)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Residual network of three stages for small images, projection shortcuts.

    ``depth = 6 n + 2``: a 3x3 stem, three stages of ``n`` blocks with `width`,
    ``2 * width`` and ``4 * width`` channels, global average pooling, a linear head.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    n_classes : int
        Number of outputs.
    depth : int, default=8
        Number of weighted layers; 20, 56 and 110 are the published ones.
    width : int, default=16
        Channels of the first stage.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import CifarResNet
    >>> CifarResNet(in_shape=(3, 32, 32), n_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, in_shape: Sequence[int], n_classes: int, depth: int = 8, width: int = 16
    ) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(
                "CifarResNet takes images of shape (channels, height, width); "
                f"got samples of shape {tuple(in_shape)}."
            )
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f"The 'depth' of CifarResNet must be 6n + 2 with n >= 1. Got {depth} instead."
            )
        self.stem = nn.Conv2d(in_shape[0], width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        n_in = width
        for stage, n_out in enumerate((width, 2 * width, 4 * width)):
            for block in range((depth - 2) // 6):
                blocks.append(_BasicBlock(n_in, n_out, 2 if stage and not block else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_in, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, channels, height, width)`` to logits."""
        out = self.blocks(F.relu(self.bn(self.stem(x))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(out, 1), 1))
