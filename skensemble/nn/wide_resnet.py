"""Wide residual networks (Zagoruyko and Komodakis 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skensemble.nn._stages import (
    HeNormal,
    ImageNetwork,
    PreActBlock,
    Statistics,
    check_number,
    check_size,
    conv,
    count_blocks,
    in_groups,
    make_stages,
    pre_activation,
    read_widths,
)


class WideResNet(HeNormal, ImageNetwork):
    """Wide residual network for small images, WRN-depth-widen.

    ``depth = 6 n + 4``: a 3x3 stem of `width` channels, three stages of ``n``
    pre-activation blocks of two 3x3 convolutions with ``widen * width`` times 1, 2 and 4
    channels, batch normalisation, ReLU, global average pooling, a linear head [1]_.
    Shortcuts are 1x1 convolutions, without batch normalisation, where shapes change.
    Convolutions start from ``N(0, 2 / fan_out)``.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    n_classes : int
        Number of outputs.
    depth : int, default=28
        Number of weighted layers.
    widen : int, default=2
        Widening factor, `k`.
    width : int, default=16
        Channels of the stem.
    dropout : float, default=0.0
        Probability of dropping a number before a block's second convolution; 0.3 in the
        paper's runs with dropout.
    width_list : sequence of int, default=None
        Outputs of each block's first convolution in a pruned network, one a block. None
        stands for the width of the block's stage.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a channel; the input is normalised by them.

    References
    ----------
    .. [1] Zagoruyko and Komodakis, "Wide residual networks", 2016.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import WideResNet
    >>> net = WideResNet(in_shape=(3, 32, 32), n_classes=10, depth=10, widen=1)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        depth: int = 28,
        widen: int = 2,
        width: int = 16,
        dropout: float = 0.0,
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        super().__init__(in_shape, normalize)
        n_blocks = count_blocks("WideResNet", depth, 6, 4)
        check_size("WideResNet", "widen", widen)
        check_size("WideResNet", "width", width)
        check_number("WideResNet", "dropout", dropout, 0, 1)
        n_outs = [widen * width * scale for scale in (1, 2, 4) for _ in range(n_blocks)]
        inner = in_groups(read_widths("WideResNet", width_list, n_outs), 1)

        def block(n_in: int, widths: tuple[int, ...], n_out: int, stride: int) -> nn.Module:
            return PreActBlock(n_in, (n_in, *widths), n_out, stride, dropout)

        self.stem = conv(in_shape[0], width)
        self.blocks = make_stages(block, width, n_outs, inner)
        self.tail = pre_activation(n_outs[-1], n_outs[-1])
        self.head = nn.Linear(n_outs[-1], n_classes)
        self.reset_parameters()

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""
        return self.tail(self.blocks(self.stem(x)))
