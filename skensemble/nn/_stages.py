"""What the networks on images share: their frame, their checks, and the builder of stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skensemble.nn.normalize import Normalize

# Mean and standard deviation of the input, one number a channel each.
Statistics = tuple[Sequence[float], Sequence[float]]


class ImageNetwork(nn.Module, ABC):
    """Abstract network on images: normalisation, feature maps, their mean, a linear head.

    Parameters
    ----------
    in_shape : sequence of 3 int
        ``(channels, height, width)`` of one image.
    normalize : tuple of (mean, std) or None
        What is subtracted from each channel, and what it is divided by.
    min_side : int, default=1
        Pixels an image must have in each direction.
    """

    head: nn.Linear

    def __init__(
        self, in_shape: Sequence[int], normalize: Statistics | None, min_side: int = 1
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if len(in_shape) != 3:
            raise ValueError(
                f"{owner} takes images of shape (channels, height, width); "
                f"got samples of shape {tuple(in_shape)}."
            )
        if min(in_shape[1:]) < min_side:
            raise ValueError(
                f"{owner} pools its maps so often that images must have at least {min_side} x "
                f"{min_side} pixels; got samples of shape {tuple(in_shape)}. Enlarge the images, "
                "or take a network with fewer layers that pool."
            )
        self.normalize = make_normalize(owner, normalize, in_shape)

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Map normalised images to the last feature maps."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, channels, height, width)`` to logits."""
        out = self.features(self.normalize(x))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(out, 1), 1))


class HeNormal(nn.Module):
    """Mixed into a network: convolutions start as in He et al. (2015), by their fan-out."""

    def reset_parameters(self) -> None:
        """Draw ``N(0, 2 / fan_out)`` for every convolution; biases of linear layers are zero."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)


# -- checks ----------------------------------------------------------------------------------


def make_normalize(owner: str, normalize: Statistics | None, in_shape: Sequence[int]) -> nn.Module:
    """Return the network's first part: `Normalize`, or nothing to do."""
    if normalize is None:
        return nn.Identity()
    try:
        mean, std = (list(part) for part in normalize)
    except (TypeError, ValueError):
        raise ValueError(
            f"The 'normalize' of {owner} must be None or a pair (mean, std) of sequences. "
            f"Got {normalize!r} instead."
        ) from None
    if len(mean) != in_shape[0]:
        raise ValueError(
            f"The 'normalize' of {owner} must have one mean and one std for each of the "
            f"{in_shape[0]} channels (or features) of samples of shape {tuple(in_shape)}. "
            f"Got {len(mean)} means."
        )
    return Normalize(mean, std)


def check_size(owner: str, name: str, value: int) -> None:
    """Refuse a size that is no positive integer."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"The {name!r} of {owner} must be an int of at least 1. Got {value!r} instead."
        )


def check_number(owner: str, name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside of ``[low, high]``."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(
            f"The {name!r} of {owner} must be a number from {low:g} to {high:g}. "
            f"Got {value!r} instead."
        )


def count_blocks(owner: str, depth: int, each: int, other: int) -> int:
    """Return the `n` of ``depth = each * n + other``: the blocks of a stage."""
    if not isinstance(depth, Integral) or depth < each + other or (depth - other) % each:
        raise ValueError(
            f"The 'depth' of {owner} must be {each}n + {other} with n >= 1. Got {depth} instead."
        )
    return int(depth - other) // each


def read_widths(owner: str, width_list: Sequence[int] | None, full: Sequence[int]) -> list[int]:
    """Return the widths of the prunable layers, which are `full` where nothing was pruned."""
    if width_list is None:
        return list(full)
    if len(width_list) != len(full):
        raise ValueError(
            f"The 'width_list' of {owner} must have {len(full)} entries, one for each of its "
            f"prunable layers in the order they run. Got {len(width_list)}."
        )
    for number, (width, most) in enumerate(zip(width_list, full, strict=True)):
        if isinstance(width, bool) or not isinstance(width, Integral) or not 1 <= width <= most:
            raise ValueError(
                f"Entry {number} of the 'width_list' of {owner} must be an int from 1 to {most}, "
                f"the width of that layer before pruning. Got {width!r} instead."
            )
    return [int(width) for width in width_list]


def in_groups(values: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Cut a list into tuples of `size`, one a block."""
    return [tuple(values[at : at + size]) for at in range(0, len(values), size)]


# -- building --------------------------------------------------------------------------------

# Makes a block of its inputs, inner widths, outputs and stride.
Block = Callable[[int, tuple[int, ...], int, int], nn.Module]


def strides(n_blocks: int, n_stages: int = 3) -> list[int]:
    """Return each block's stride: 2 in the first block of every stage but the first."""
    return [2 if stage and not at else 1 for stage in range(n_stages) for at in range(n_blocks)]


def make_stages(
    block: Block, n_in: int, n_outs: Sequence[int], inner: Sequence[tuple[int, ...]]
) -> nn.Sequential:
    """Chain the blocks of three stages of equal length, each halving the map but the first."""
    blocks = []
    plan = zip(n_outs, inner, strides(len(n_outs) // 3), strict=True)
    for n_out, widths, stride in plan:
        blocks.append(block(n_in, widths, n_out, stride))
        n_in = n_out
    return nn.Sequential(*blocks)


def make_convs(n_in: int, widths: Sequence[int], pooled: Sequence[bool]) -> nn.Sequential:
    """Chain 3x3 convolutions with batch normalisation and ReLU; pool after those marked."""
    layers: list[nn.Module] = []
    for n_out, pool in zip(widths, pooled, strict=True):
        layers += [conv(n_in, n_out), nn.BatchNorm2d(n_out), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
        n_in = n_out
    return nn.Sequential(*layers)


def conv(n_in: int, n_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size of the map but for its stride."""
    return nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)


class ZeroPad(nn.Module):
    """A shortcut without weights: fewer positions, and new channels of zeros at the end.

    Parameters
    ----------
    n_new : int
        Channels to add.
    stride : int
        2 halves the map.
    average : bool
        Whether it is halved by the mean of 2x2 positions, as in PyramidNet, and not by
        taking every other one, as in option A of residual networks.
    """

    def __init__(self, n_new: int, stride: int, average: bool) -> None:
        super().__init__()
        self.n_new = n_new
        self.stride = stride
        self.average = average

    def forward(self, x: Tensor) -> Tensor:
        """Return the shrunk and widened maps."""
        if self.stride != 1:
            x = F.avg_pool2d(x, 2, ceil_mode=True) if self.average else x[:, :, ::2, ::2]
        return F.pad(x, (0, 0, 0, 0, 0, self.n_new)) if self.n_new else x


class ChannelSelect(nn.Module):
    """Hand on some of the channels: what is read of maps that others read in full.

    Parameters
    ----------
    n_in : int
        Channels that arrive.
    n_kept : int
        Channels that are handed on; evenly spread ones, until a state with other indices
        is loaded.
    """

    index: Tensor

    def __init__(self, n_in: int, n_kept: int) -> None:
        super().__init__()
        self.register_buffer("index", torch.arange(n_kept) * n_in // n_kept)

    def reset_parameters(self) -> None:
        """Do nothing: which channels are read is a part of the architecture."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels that are kept."""
        return torch.index_select(x, 1, self.index)


def pre_activation(n_in: int, n_read: int) -> nn.Sequential:
    """Normalise and rectify the channels that are read, all `n_in` or fewer."""
    layers: list[nn.Module] = [nn.BatchNorm2d(n_read), nn.ReLU()]
    return nn.Sequential(*([ChannelSelect(n_in, n_read)] if n_read < n_in else []), *layers)


class PreActBlock(nn.Module):
    """Batch normalisation, ReLU and a convolution, two or three times, beside a shortcut.

    Where shapes change, the shortcut is a 1x1 convolution of the activated input, without
    batch normalisation.

    Parameters
    ----------
    n_in : int
        Channels of the input.
    widths : tuple of int
        Channels that are read of the input, then the outputs of all convolutions but the
        last: one for two 3x3 convolutions, two for a bottleneck.
    n_out : int
        Channels of the output.
    stride : int
        Of the first 3x3 convolution.
    dropout : float, default=0.0
        Probability of dropping a number before the last convolution.
    """

    def __init__(
        self, n_in: int, widths: tuple[int, ...], n_out: int, stride: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        n_read, first, *more = widths
        self.before = pre_activation(n_in, n_read)
        layers: list[nn.Module] = []
        if more:
            layers += [conv(n_read, first, 1), *pre_activation(first, first)]
            layers += [conv(first, more[0], 3, stride), *pre_activation(more[0], more[0])]
            layers += [conv(more[0], n_out, 1)]
        else:
            layers += [conv(n_read, first, 3, stride), *pre_activation(first, first)]
            layers += [nn.Dropout(dropout)] if dropout else []
            layers += [conv(first, n_out)]
        self.residual = nn.Sequential(*layers)
        self.shortcut: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.shortcut = conv(n_read, n_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        active = self.before(x)
        return self.residual(active) + (x if self.shortcut is None else self.shortcut(active))
