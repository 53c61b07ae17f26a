"""VGG networks with batch normalisation for small images."""

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

# Convolutions of each of five stages, of `width` times 1, 2, 4, 8 and 8 channels.
STAGES = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(HeNormal, ImageNetwork):
    """VGG network with batch normalisation and a linear head, for small images.

    Five stages of 3x3 convolutions without bias, each with batch normalisation and ReLU,
    the first four followed by max pooling; then global average pooling and one linear layer
    in place of the three of the paper [1]_, as in network slimming [2]_. Convolutions start
    from ``N(0, 2 / fan_out)``. Images need at least 16 pixels a side.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    n_classes : int
        Number of outputs.
    depth : {8, 11, 13, 16, 19}, default=19
        Number of weighted layers in the paper's count, which has three linear ones.
    width : int, default=64
        Channels of the first stage.
    width_list : sequence of int, default=None
        Outputs of each convolution in a pruned network; sixteen at depth 19. None stands for
        ``width`` times 1, 2, 4, 8 and 8.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a channel; the input is normalised by them.

    References
    ----------
    .. [1] Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
       recognition", 2015.
    .. [2] Liu et al., "Learning efficient convolutional networks through network slimming",
       2017.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import VGG
    >>> VGG(in_shape=(3, 32, 32), n_classes=10, depth=8)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        depth: int = 19,
        width: int = 64,
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        super().__init__(in_shape, normalize, min_side=16)
        if depth not in STAGES:
            raise ValueError(f"The 'depth' of VGG must be one of {sorted(STAGES)}. Got {depth!r}.")
        check_size("VGG", "width", width)
        scales = zip(STAGES[depth], (1, 2, 4, 8, 8), strict=True)
        full = [width * scale for n_convs, scale in scales for _ in range(n_convs)]
        ends = [at == n - 1 for n in STAGES[depth] for at in range(n)]
        widths = read_widths("VGG", width_list, full)
        self.layers = make_convs(in_shape[0], widths, [*ends[:-1], False])
        self.head = nn.Linear(widths[-1], n_classes)
        self.reset_parameters()

    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""
        return self.layers(x)
