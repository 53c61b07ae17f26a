"""Kernel ridge regression: factored, iterated, and what leaving one row out would say.

For rows with weights ``w``, kernel ``K`` and targets ``Y``, all minimise
``sum_i w_i |f(x_i) - y_i|² + λ |f|²``. With ``S = diag(sqrt(w))`` the dual coefficients are
``α = S (S K S + λ)⁻¹ S Y``, and ``f(x) = K(x, X) α``. Rows, outputs and columns are kept
apart: kernels have the shape ``(row, output, row, output)``, targets and coefficients
``(row, output, column)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

# Ridges, relative to the mean of the kernel's diagonal, that leave-one-out chooses from.
RIDGES = tuple(np.logspace(-6, 1, 29).tolist())
_TEMPERATURES = (1e-3, 10.0)


@dataclass
class Solution:
    """Coefficients of a fit, and what each row would be told had it been left out."""

    dual: Tensor
    ridge: float
    left_out: Tensor | None = None


def mean_diagonal(diagonal: Tensor, weight: Tensor | None) -> float:
    """Return the mean of a kernel's diagonal ``(row, output)`` over weighted rows."""
    by_row = diagonal.double().mean(1)
    mean = by_row.mean() if weight is None else (by_row * weight).sum() / weight.sum()
    if not mean.isfinite():
        raise ValueError(
            "The kernel of the rows of X must be finite. Got NaN or infinity; scale the features."
        )
    return float(mean)


def factor_and_solve(
    kernel: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    ridge: float | str,
    solver: str,
    leave_one_out: bool,
) -> Solution:
    """Solve by one factorisation in float64; `kernel` may be overwritten.

    `ridge` is relative to the mean of the diagonal; "loo" chooses from `RIDGES` the one with
    the least squared error of leaving one row out, with all its outputs.
    """
    n_rows, n_outputs = kernel.shape[:2]
    scale = mean_diagonal(torch.einsum("nana->na", kernel), weight)
    root = None if weight is None else weight.double().sqrt().repeat_interleave(n_outputs)
    matrix = kernel.reshape(n_rows * n_outputs, -1).double()
    y = targets.double().reshape(n_rows * n_outputs, -1)
    if root is not None:
        matrix = matrix * root * root.unsqueeze(1)
        y = y * root.unsqueeze(1)
    if solver == "eigh" or ridge == "loo":
        values, vectors = torch.linalg.eigh(matrix)
        solve = _by_eigenvectors(values.clamp_min(0.0), vectors, y, n_outputs)
    else:
        solve = _by_cholesky(matrix, y, n_outputs, leave_one_out)

    def missed(one: float) -> Tensor:
        return _missed(*solve(one), one, weight)

    if ridge == "loo":
        share = 1.0 if weight is None else weight.double().reshape(-1, 1, 1)
        ridges = {one: float((share * missed(one * scale) ** 2).sum()) for one in RIDGES}
        chosen = min(ridges, key=lambda one: ridges[one])
    else:
        chosen = float(ridge)
    beta, blocks = solve(chosen * scale)
    dual = beta if root is None else beta * root.unsqueeze(1)
    left_out = None
    if blocks is not None:
        left_out = targets - _missed(beta, blocks, chosen * scale, weight)
    return Solution(dual.reshape(targets.shape), chosen, left_out)


Solve = Callable[[float], tuple[Tensor, Tensor | None]]


def _by_cholesky(matrix: Tensor, y: Tensor, n_outputs: int, leave_one_out: bool) -> Solve:
    def solve(ridge: float) -> tuple[Tensor, Tensor | None]:
        matrix.diagonal().add_(ridge)
        factor, info = torch.linalg.cholesky_ex(matrix)
        if int(info):
            raise ValueError(
                "The kernel with its ridge is not positive definite in the precision it was "
                f"computed in. Got a ridge of {ridge:.3g}; raise 'reg', or compute in float64 "
                "with dtype='float64'."
            )
        blocks = None
        if leave_one_out:
            blocks = _diagonal_blocks(torch.cholesky_inverse(factor), n_outputs)
        return torch.cholesky_solve(y, factor), blocks

    return solve


def _by_eigenvectors(values: Tensor, vectors: Tensor, y: Tensor, n_outputs: int) -> Solve:
    turned = vectors.T @ y
    by_row = vectors.unflatten(0, (-1, n_outputs))

    def solve(ridge: float) -> tuple[Tensor, Tensor]:
        inverse = 1 / (values + ridge)
        blocks = torch.einsum("nak,k,nbk->nab", by_row, inverse, by_row)
        return vectors @ (turned * inverse.unsqueeze(1)), blocks

    return solve


def _diagonal_blocks(matrix: Tensor, size: int) -> Tensor:
    n_rows = len(matrix) // size
    return torch.einsum("nanb->nab", matrix.view(n_rows, size, n_rows, size))


def _missed(beta: Tensor, blocks: Tensor | None, ridge: float, weight: Tensor | None) -> Tensor:
    """Return what is missed of each row that was left out, ``(row, output, column)``.

    Of a row of weight above one a unit is left out, as of a row that is there several times;
    of lighter rows all. `blocks` are the diagonal blocks of ``(S K S + λ)⁻¹``.
    """
    assert blocks is not None
    missed = ridge * beta.unflatten(0, (-1, blocks.shape[1]))
    if weight is None:
        return torch.linalg.solve(ridge * blocks, missed)
    weight = weight.double().reshape(-1, 1, 1)
    eye = torch.eye(blocks.shape[1]).to(blocks)
    pull = (eye - ridge * blocks) / weight.clamp_min(1.0)  # what the unit does to its own fit
    return torch.linalg.solve(eye - pull, missed / weight.sqrt())


# -- without the kernel ------------------------------------------------------------------------

Times = Callable[[Tensor], Tensor]


def conjugate_gradients(
    times: Times,
    targets: Tensor,
    weight: Tensor | None,
    ridge: float,
    precondition: Times | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
) -> tuple[Tensor, int]:
    """Solve ``(S K S + λ) β = S Y`` for all columns; return ``S β`` and the iterations.

    Ends when each column's residual is below `tol` times its right-hand side.
    """
    root = _root(weight, targets)
    y = targets * root

    def apply(v: Tensor) -> Tensor:
        return root * times(root * v) + ridge * v

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((0, 1))

    beta, r = torch.zeros_like(y), y.clone()
    z = r if precondition is None else precondition(r)
    p, rz, goal = z.clone(), dot(r, z), tol * dot(y, y).sqrt()
    for iteration in range(max_iter):
        if bool((dot(r, r).sqrt() <= goal).all()):
            return root * beta, iteration
        q = apply(p)
        step = rz / dot(p, q).clamp_min(torch.finfo(y.dtype).tiny)
        beta, r = beta + step * p, r - step * q
        z = r if precondition is None else precondition(r)
        rz, before = dot(r, z), rz
        p = z + rz / before.clamp_min(torch.finfo(y.dtype).tiny) * p
    raise ValueError(
        f"Conjugate gradients did not reach tol={tol:g} in max_iter={max_iter} iterations: the "
        f"residual is {float((dot(r, r).sqrt() / dot(y, y).sqrt()).max()):.2g}. Raise 'reg' or "
        "'max_iter', or use solver='cholesky'."
    )


def nystroem(columns: Tensor, rows: Tensor, weight: Tensor | None, ridge: float) -> Times:
    """Return the inverse of ``λ + C W⁻¹ Cᵀ``, the kernel seen through some of its columns.

    `columns` has the shape ``(row, output, chosen row, output)``; `rows` are the chosen.
    """
    n_rows, n_outputs = columns.shape[:2]
    root = _root(weight, columns)
    c = (columns.flatten(2) * root).reshape(n_rows * n_outputs, -1).double()
    at = (rows.unsqueeze(1) * n_outputs + torch.arange(n_outputs, device=rows.device)).flatten()
    if weight is not None:
        c = c * weight[rows].double().sqrt().repeat_interleave(n_outputs)
    values, vectors = torch.linalg.eigh(c[at])
    sure = values > 1e-6 * values[-1]  # the rest is rounding
    b = c @ (vectors[:, sure] / values[sure].sqrt())
    inner = torch.linalg.cholesky(b.T @ b + ridge * torch.eye(b.shape[1]).to(b))

    def precondition(v: Tensor) -> Tensor:
        flat = v.reshape(n_rows * n_outputs, -1).double()
        flat = (flat - b @ torch.cholesky_solve(b.T @ flat, inner)) / ridge
        return flat.reshape(v.shape).to(v.dtype)

    return precondition


def largest_eigenvalue(times: Times, like: Tensor, weight: Tensor | None) -> float:
    """Return an upper estimate of ``S K S``'s largest eigenvalue, by its powers."""
    root = _root(weight, like)
    v = (
        torch.ones_like(like[..., :1])
        + 0.1 * torch.sin(torch.arange(len(like)).to(like))[:, None, None]
    )
    size = 1.0
    for _ in range(20):
        v = v / v.norm()
        v = root * times(root * v)
        size = float(v.norm())
    return 1.05 * size


def _root(weight: Tensor | None, like: Tensor) -> Tensor:
    if weight is None:
        return like.new_ones(())
    return weight.to(like).sqrt().reshape(-1, 1, 1)


# -- probabilities -----------------------------------------------------------------------------


def fit_temperature(scores: Tensor, targets: Tensor, weight: Tensor | None) -> float:
    """Return the temperature by which scores ``(row, class)`` best explain target shares."""
    scores, targets = scores.double(), targets.double()
    share = torch.ones(len(scores)).to(scores) if weight is None else weight.double()

    def slope(log_t: float) -> float:
        """Differentiate the cross-entropy by the inverse temperature, in which it is convex."""
        p = (scores / math.exp(log_t)).softmax(-1)
        return float((share * ((p - targets) * scores).sum(-1)).sum() / share.sum())

    if not scores.isfinite().all():
        raise ValueError(
            "The kernel of the rows of X must be finite. Got NaN or infinity; scale the features."
        )
    low, high = (math.log(bound) for bound in _TEMPERATURES)
    if slope(low) <= 0:  # even colder would be better
        return _TEMPERATURES[0]
    if slope(high) >= 0:
        return _TEMPERATURES[1]
    return math.exp(brentq(slope, low, high, xtol=1e-13))
