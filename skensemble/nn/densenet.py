"""Densely connected networks for small images (Huang et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from skensemble.nn._stages import (
    HeNormal,
    ImageNetwork,
    Statistics,
    check_number,
    check_size,
    conv,
    count_blocks,
    pre_activation,
    read_widths,
)


class _DenseLayer(nn.Module):
    """Appends new channels, computed of all there are, to its input."""

    def __init__(self, n_in: int, widths: tuple[int, ...], growth: int) -> None:
        super().__init__()
        n_read, *inner = widths
        layers: list[nn.Module] = [*pre_activation(n_in, n_read)]
        for n_inner in inner:
            layers += [conv(n_read, n_inner, 1), *pre_activation(n_inner, n_inner)]
            n_read = n_inner
        self.layers = nn.Sequential(*layers, conv(n_read, growth))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], 1)


class DenseNet(HeNormal, ImageNetwork):
    """Densely connected network of three blocks for small images, DenseNet-depth-growth.

    A 3x3 stem of ``2 * growth`` channels; three blocks of layers (batch normalisation, ReLU,
    3x3 convolution) that each append `growth` channels to what they read; between blocks
    batch normalisation, ReLU, a 1x1 convolution and 2x2 average pooling; batch
    normalisation, ReLU, global average pooling and a linear head [1]_. ``depth = 3 n + 4``
    with ``n`` layers a block, or ``6 n + 4`` with bottlenecks. Convolutions start from
    ``N(0, 2 / fan_out)``. Images need at least 4 pixels a side.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    n_classes : int
        Number of outputs.
    depth : int, default=40
        Number of weighted layers.
    growth : int, default=12
        Channels that each layer appends.
    bottleneck : bool, default=False
        Whether a 1x1 convolution to ``4 * growth`` channels precedes each 3x3 one.
    compression : float, default=1.0
        Share of the channels that is left between blocks; DenseNet-BC has bottlenecks and
        0.5.
    width_list : sequence of int, default=None
        Widths of a pruned network, as network slimming leaves them [2]_: for each layer and
        each convolution between blocks, how many of the channels that arrive it reads (with
        a bottleneck followed by its inner channels); last, how many the head reads. Which
        channels are read stands in buffers, evenly spread unless a state is loaded.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a channel; the input is normalised by them.

    References
    ----------
    .. [1] Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional
       networks", 2017.
    .. [2] Liu et al., "Learning efficient convolutional networks through network slimming",
       2017.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import DenseNet
    >>> net = DenseNet(in_shape=(3, 32, 32), n_classes=10, depth=10, growth=4)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        depth: int = 40,
        growth: int = 12,
        bottleneck: bool = False,
        compression: float = 1.0,
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        super().__init__(in_shape, normalize, min_side=4)
        n_layers = count_blocks("DenseNet", depth, 6 if bottleneck else 3, 4)
        check_size("DenseNet", "growth", growth)
        check_number("DenseNet", "compression", compression, 1 / growth, 1)
        arriving = _arriving(n_layers, growth, compression)
        inner = [4 * growth] if bottleneck else []
        full = _conv_inputs(arriving, inner)
        widths = read_widths("DenseNet", width_list, full)
        self.stem = conv(in_shape[0], 2 * growth)
        self.layers = _dense_blocks(arriving, iter(widths), len(inner), growth)
        self.head = nn.Linear(widths[-1], n_classes)
        self.reset_parameters()

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""
        return self.layers(self.stem(x))


def _arriving(n_layers: int, growth: int, compression: float) -> list[list[int]]:
    """Return, for each block, the channels before its layers and after the last one."""
    n_in, blocks = 2 * growth, []
    for _ in range(3):
        blocks.append([n_in + growth * at for at in range(n_layers + 1)])
        n_in = int(blocks[-1][-1] * compression)
    return blocks


def _conv_inputs(arriving: list[list[int]], inner: list[int]) -> list[int]:
    """Return what each convolution, and last the head, reads where nothing was pruned."""
    full = []
    for *before, after in arriving:
        full += [n for read in before for n in (read, *inner)] + [after]
    return full


def _dense_blocks(
    arriving: list[list[int]], widths: Iterator[int], n_inner: int, growth: int
) -> nn.Sequential:
    """Chain dense layers and what stands between the blocks, reading `widths` channels."""
    layers: list[nn.Module] = []
    for number, (*before, after) in enumerate(arriving):
        for n_in in before:
            layers.append(_DenseLayer(n_in, tuple(islice(widths, 1 + n_inner)), growth))
        n_read = next(widths)
        layers += pre_activation(after, n_read)
        if number + 1 < len(arriving):
            layers += [conv(n_read, arriving[number + 1][0], 1), nn.AvgPool2d(2)]
    return nn.Sequential(*layers)
