"""Deep pyramidal residual networks (Han et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skensemble.nn._stages import (
    HeNormal,
    ImageNetwork,
    Statistics,
    ZeroPad,
    check_number,
    check_size,
    conv,
    count_blocks,
    in_groups,
    make_stages,
    read_widths,
)


class _PyramidBlock(nn.Module):
    """Convolutions between batch normalisations, without ReLU at either end."""

    def __init__(self, n_in: int, widths: tuple[int, ...], n_out: int, stride: int) -> None:
        super().__init__()
        kernels = (3, 3) if len(widths) == 1 else (1, 3, 1)
        paces = (stride, 1) if len(widths) == 1 else (1, stride, 1)
        layers: list[nn.Module] = [nn.BatchNorm2d(n_in)]
        n_last = n_in
        for at, n_next in enumerate((*widths, n_out)):
            layers += [nn.ReLU()] if at else []
            layers += [conv(n_last, n_next, kernels[at], paces[at]), nn.BatchNorm2d(n_next)]
            n_last = n_next
        self.residual = nn.Sequential(*layers)
        self.shortcut = ZeroPad(n_out - n_in, stride, average=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class PyramidNet(HeNormal, ImageNetwork):
    """Pyramidal residual network for small images, PyramidNet-depth-alpha.

    Each of the ``3 n`` blocks is wider than the one before by ``alpha / (3 n)`` channels,
    rounded. A block is batch normalisation, convolution, batch normalisation, ReLU, and so
    on up to a last batch normalisation; its shortcut takes means of 2x2 positions where the
    map is halved, and adds channels of zeros [1]_. ``depth = 9 n + 2`` with bottlenecks,
    whose outputs have 4 times as many channels, or ``6 n + 2``. Convolutions start from
    ``N(0, 2 / fan_out)``.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    n_classes : int
        Number of outputs.
    depth : int, default=110
        Number of weighted layers.
    alpha : float, default=64
        By how many channels the last block is wider than the stem.
    bottleneck : bool, default=True
        Whether a block is 1x1, 3x3 and 1x1 convolutions, or two 3x3 ones.
    width : int, default=16
        Channels of the stem.
    width_list : sequence of int, default=None
        Outputs of each convolution of a block but the last in a pruned network: two a block
        with bottlenecks, or one.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a channel; the input is normalised by them.

    References
    ----------
    .. [1] Han, Kim and Kim, "Deep pyramidal residual networks", 2017.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import PyramidNet
    >>> net = PyramidNet(in_shape=(3, 32, 32), n_classes=10, depth=11, alpha=12)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        depth: int = 110,
        alpha: float = 64,
        bottleneck: bool = True,
        width: int = 16,
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        super().__init__(in_shape, normalize)
        n_blocks = count_blocks("PyramidNet", depth, 9 if bottleneck else 6, 2)
        check_size("PyramidNet", "width", width)
        check_number("PyramidNet", "alpha", alpha, 0, float("inf"))
        planes = _planes(width, alpha, 3 * n_blocks)
        n_inner, expansion = (2, 4) if bottleneck else (1, 1)
        full = [n for n in planes for _ in range(n_inner)]
        inner = in_groups(read_widths("PyramidNet", width_list, full), n_inner)
        n_outs = [expansion * n for n in planes]
        self.stem = nn.Sequential(conv(in_shape[0], width), nn.BatchNorm2d(width))
        self.blocks = make_stages(_PyramidBlock, width, n_outs, inner)
        self.tail = nn.Sequential(nn.BatchNorm2d(n_outs[-1]), nn.ReLU())
        self.head = nn.Linear(n_outs[-1], n_classes)
        self.reset_parameters()

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""
        return self.tail(self.blocks(self.stem(x)))


def _planes(width: int, alpha: float, n_blocks: int) -> list[int]:
    """Return the widths of the blocks; the steps are summed as the paper's code does."""
    wide, planes = float(width), []
    for _ in range(n_blocks):
        wide += alpha / n_blocks
        planes.append(round(wide))
    return planes
