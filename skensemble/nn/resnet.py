"""Residual networks for small images (He et al. 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from skensemble.nn._stages import (
    ImageNetwork,
    Statistics,
    ZeroPad,
    check_size,
    conv,
    count_blocks,
    in_groups,
    make_stages,
    read_widths,
)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut that changes shape where they do."""

    def __init__(
        self, n_in: int, widths: tuple[int, ...], n_out: int, stride: int, shortcut: str
    ) -> None:
        super().__init__()
        (inner,) = widths
        self.conv1 = conv(n_in, inner, 3, stride)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv(inner, n_out)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if (stride != 1 or n_in != n_out) and shortcut == "A":
            self.shortcut = ZeroPad(n_out - n_in, stride, average=False)
        elif stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(conv(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(ImageNetwork):
    """Residual network of three stages for small images.

    ``depth = 6 n + 2``: a 3x3 stem, three stages of ``n`` blocks with `width`,
    ``2 * width`` and ``4 * width`` channels, global average pooling, a linear head [1]_.
    Weights start as torch starts them, not from the paper's normal distribution.

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
    shortcut : {"A", "B"}, default="B"
        What a shortcut is where shapes change: every other position and channels of zeros
        (option A), or a 1x1 convolution with batch normalisation (option B).
    width_list : sequence of int, default=None
        Outputs of each block's first convolution in a pruned network, one a block. None
        stands for the width of the block's stage.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a channel; the input is normalised by them.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import CifarResNet
    >>> CifarResNet(in_shape=(3, 32, 32), n_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        depth: int = 8,
        width: int = 16,
        shortcut: str = "B",
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        super().__init__(in_shape, normalize)
        n_blocks = count_blocks("CifarResNet", depth, 6, 2)
        check_size("CifarResNet", "width", width)
        if shortcut not in ("A", "B"):
            raise ValueError(
                f"The 'shortcut' of CifarResNet must be 'A' or 'B'. Got {shortcut!r} instead."
            )
        n_outs = [width * scale for scale in (1, 2, 4) for _ in range(n_blocks)]
        inner = in_groups(read_widths("CifarResNet", width_list, n_outs), 1)
        self.stem = conv(in_shape[0], width)
        self.bn = nn.BatchNorm2d(width)
        self.blocks = make_stages(partial(_BasicBlock, shortcut=shortcut), width, n_outs, inner)
        self.head = nn.Linear(n_outs[-1], n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""
        return self.blocks(F.relu(self.bn(self.stem(x))))
