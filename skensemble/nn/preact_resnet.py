"""Residual networks of pre-activation bottlenecks (He et al. 2016b)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skensemble.nn._stages import (
    HeNormal,
    ImageNetwork,
    PreActBlock,
    Statistics,
    check_size,
    conv,
    count_blocks,
    in_groups,
    make_stages,
    pre_activation,
    read_widths,
)


class PreActResNet(HeNormal, ImageNetwork):
    """Residual network of pre-activation bottleneck blocks for small images.

    ``depth = 9 n + 2``: a 3x3 stem of `width` channels, three stages of ``n`` blocks of
    1x1, 3x3 and 1x1 convolutions, whose outputs have ``4 * width``, ``8 * width`` and
    ``16 * width`` channels, batch normalisation, ReLU, global average pooling, a linear
    head [1]_. Convolutions start from ``N(0, 2 / fan_out)``.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    n_classes : int
        Number of outputs.
    depth : int, default=56
        Number of weighted layers; 56, 110 and 164 are common.
    width : int, default=16
        Channels of the stem, and inner channels of the first stage.
    width_list : sequence of int, default=None
        Widths of a pruned network, three a block and one at the end, as network slimming
        leaves them [2]_: how many of its input's channels the block reads, the outputs of
        its first and of its second convolution; last, how many channels the head reads.
        Which channels are read stands in buffers, evenly spread unless a state is loaded.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a channel; the input is normalised by them.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun, "Identity mappings in deep residual networks", 2016.
    .. [2] Liu et al., "Learning efficient convolutional networks through network slimming",
       2017.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import PreActResNet
    >>> net = PreActResNet(in_shape=(3, 32, 32), n_classes=10, depth=11)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        depth: int = 56,
        width: int = 16,
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        super().__init__(in_shape, normalize)
        n_blocks = count_blocks("PreActResNet", depth, 9, 2)
        check_size("PreActResNet", "width", width)
        inner = [width * scale for scale in (1, 2, 4) for _ in range(n_blocks)]
        n_outs = [4 * n for n in inner]
        n_ins = [width, *n_outs]
        blocks = [n for one in zip(n_ins, inner, inner, strict=False) for n in one]
        widths = read_widths("PreActResNet", width_list, [*blocks, n_outs[-1]])
        self.stem = conv(in_shape[0], width)
        self.blocks = make_stages(PreActBlock, width, n_outs, in_groups(widths[:-1], 3))
        self.tail = pre_activation(n_outs[-1], widths[-1])
        self.head = nn.Linear(widths[-1], n_classes)
        self.reset_parameters()

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""
        return self.tail(self.blocks(self.stem(x)))
