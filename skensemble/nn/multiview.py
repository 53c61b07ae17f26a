"""The network of the theory of ensembles and distillation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def smoothed_relu(z: Tensor, power: float = 4.0, bend: float = 1.0) -> Tensor:
    """Apply ``0``, ``z^q / (q ϱ^(q-1))`` up to ``ϱ``, and ``z - (1 - 1/q) ϱ`` beyond.

    Parameters
    ----------
    z : Tensor
        Any shape.
    power : float, default=4.0
        `q`.
    bend : float, default=1.0
        `ϱ`.

    Returns
    -------
    Tensor
        As `z`.
    """
    above = (z - bend).relu()
    low = z.relu() - above
    # Two squares are several times as fast as a fourth power.
    bent = low.square().square() if power == 4 else low**power
    return torch.add(above, bent, alpha=1 / (power * bend ** (power - 1)))


class MultiViewNet(nn.Module):
    """``F_i(X) = sum_r sum_p sReLU(<w_ir, x_p>)``: filters of each class, over all patches.

    The network of Allen-Zhu and Li [1]_, Definition 4.1 and Section 3. Use it as a recipe
    with full batches: ``NeuralNetClassifier(MultiViewNet, optimizer=SGD, lr=5, max_epochs=300,
    batch_size=-1)``.

    Parameters
    ----------
    in_shape : sequence of 2 int
        Patches of a row, and numbers of a patch.
    n_classes : int
        Number of classes.
    n_filters : int, default=6
        Filters of each class, `m`.
    power : float, default=4.0
        Exponent `q` of the smoothed ReLU.
    bend : float, default=1.0
        Where it becomes linear, `ϱ`.
    init_std : float, default=0.05
        Standard deviation of the initial weights, `σ₀`.

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> import torch
    >>> from skensemble.nn import MultiViewNet
    >>> MultiViewNet(in_shape=(14, 160), n_classes=10)(torch.zeros(2, 14, 160)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        n_filters: int = 6,
        power: float = 4.0,
        bend: float = 1.0,
        init_std: float = 0.05,
    ) -> None:
        super().__init__()
        if len(in_shape) != 2:
            raise ValueError(
                "MultiViewNet takes rows of shape (patches, numbers of a patch); "
                f"got samples of shape {tuple(in_shape)}."
            )
        self.n_classes = n_classes
        self.power = power
        self.bend = bend
        self.filters = nn.Linear(in_shape[1], n_classes * n_filters, bias=False)
        nn.init.normal_(self.filters.weight, std=init_std)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, n_patches, patch_dim)`` to ``(n_samples, n_classes)``."""
        out = smoothed_relu(self.filters(x), self.power, self.bend).sum(1)
        return torch.unflatten(out, 1, (self.n_classes, -1)).sum(-1)
