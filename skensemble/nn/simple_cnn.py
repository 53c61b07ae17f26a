"""A plain convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skensemble.nn._stages import (
    HeNormal,
    ImageNetwork,
    Statistics,
    check_size,
    make_convs,
    read_widths,
)


class SimpleCNN(HeNormal, ImageNetwork):
    """Convolutions of doubling width with max pooling in between, and a linear head.

    `depth` 3x3 convolutions without bias, each with batch normalisation and ReLU; after
    each but the last, 2x2 max pooling; global average pooling; a linear head. Convolutions
    start from ``N(0, 2 / fan_out)``. Images need at least ``2 ** (depth - 1)`` pixels a
    side.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    n_classes : int
        Number of outputs.
    depth : int, default=3
        Number of convolutions.
    width : int, default=32
        Channels of the first one; each further one has twice as many.
    width_list : sequence of int, default=None
        Outputs of each convolution in a pruned network.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a channel; the input is normalised by them.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import SimpleCNN
    >>> SimpleCNN(in_shape=(1, 8, 8), n_classes=10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        depth: int = 3,
        width: int = 32,
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        check_size("SimpleCNN", "depth", depth)
        super().__init__(in_shape, normalize, min_side=2 ** (depth - 1))
        check_size("SimpleCNN", "width", width)
        full = [width * 2**at for at in range(depth)]
        widths = read_widths("SimpleCNN", width_list, full)
        self.layers = make_convs(in_shape[0], widths, [True] * (depth - 1) + [False])
        self.head = nn.Linear(widths[-1], n_classes)
        self.reset_parameters()

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""
        return self.layers(x)
