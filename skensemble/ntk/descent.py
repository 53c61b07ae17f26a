"""Stochastic gradient descent on the weights of gradient features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from skensemble.ntk.gradients import Gradients
from skensemble.ntk.kernels import exact_products, fold, parts_of, unfold

_BATCH = 128
_MOMENTUM = 0.9


def descend(
    group: Sequence[Gradients],
    x: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    *,
    ridge: float,
    top: float,
    diagonal: float,
    epochs: int,
    draw: torch.Generator,
) -> list[list[Tensor]]:
    """Minimise ``sum_i w_i |f(x_i) - y_i|² + ridge |f|²``, ``f`` the mean of the networks' parts.

    Nesterov's momentum; the rate goes from its largest stable value to zero in a straight
    line, so that the noise of the batches dies away.

    Parameters
    ----------
    group : sequence of Gradients
        The networks whose features are put together.
    x, targets, weight : Tensor
        Rows, ``(row, output, column)``, and weights of rows.
    ridge : float
        Penalty of the weights.
    top : float
        Largest eigenvalue of the weighted kernel.
    diagonal : float
        Mean of the kernel's diagonal.
    epochs : int
        Passes over the rows.
    draw : Generator
        Of the order.

    Returns
    -------
    list of list of Tensor
        For each network, the weights of its features.
    """
    n_rows, root = len(x), len(group) ** 0.5
    targets = targets.to(x)
    share = torch.ones(n_rows).to(x) if weight is None else weight.to(x)
    # The noisy curvature of a batch is at most its rows' share of the trace above the true one.
    rate = 0.5 / (top + ridge + diagonal * n_rows / _BATCH * float(share.max()))
    with exact_products():
        weights = [
            [torch.zeros_like(one) for one in fold(parts_of(g, x[:1]), targets[:1])] for g in group
        ]
        speed = [[torch.zeros_like(one) for one in own] for own in weights]
        for epoch in range(epochs):
            now = rate * (1 - epoch / epochs)
            order = torch.randperm(n_rows, generator=draw).to(x.device)
            for start, stop in pairwise([*range(0, n_rows, _BATCH), n_rows]):
                rows = order[start:stop]
                parts = [parts_of(g, x[rows]) for g in group]
                ahead = [
                    [w + _MOMENTUM * v for w, v in zip(own, moved, strict=True)]
                    for own, moved in zip(weights, speed, strict=True)
                ]
                said = sum(unfold(p, own) for p, own in zip(parts, ahead, strict=True)) / root
                missed = (said - targets[rows]) * share[rows].reshape(-1, 1, 1)
                missed = missed * (n_rows / len(rows) / root)
                for p, own, moved, there in zip(parts, weights, speed, ahead, strict=True):
                    for at, slope in enumerate(fold(p, missed)):
                        moved[at] = _MOMENTUM * moved[at] - now * (slope + ridge * there[at])
                        own[at] += moved[at]
    # Predictions are the mean of the networks' parts.
    return [[one * root for one in own] for own in weights]
