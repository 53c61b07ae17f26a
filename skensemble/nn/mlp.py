"""Multi-layer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from skensemble.nn._stages import Statistics, make_normalize, read_widths

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU}


class MLP(nn.Module):
    """Fully connected layers with an activation, and optionally dropout, in between.

    Parameters
    ----------
    in_shape : sequence of int
        Shape of one sample; more than one axis is flattened.
    n_classes : int
        Number of outputs.
    hidden : sequence of int, default=(128, 128)
        Width of each hidden layer.
    activation : {"relu", "gelu", "tanh", "silu"}, default="relu"
        What follows each hidden layer.
    dropout : float, default=0.0
        Probability of dropping a hidden unit in training.
    width_list : sequence of int, default=None
        Widths of the hidden layers of a pruned network; None stands for `hidden`.
    normalize : tuple of (mean, std), default=None
        One mean and one standard deviation a feature, or a channel of images; the input is
        normalised by them.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import MLP
    >>> MLP(in_shape=(64,), n_classes=10)(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
        width_list: Sequence[int] | None = None,
        normalize: Statistics | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"The 'activation' of MLP must be one of {sorted(ACTIVATIONS)}. "
                f"Got {activation!r} instead."
            )
        self.normalize = make_normalize("MLP", normalize, in_shape)
        widths = [math.prod(in_shape), *read_widths("MLP", width_list, hidden)]
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, *in_shape)`` to logits ``(n_samples, n_classes)``."""
        return self.layers(self.normalize(x))
