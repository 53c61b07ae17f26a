"""Solvers of kernel machines against their formulas."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skensemble.ntk import solvers


def problem(n=9, n_outputs=1, n_columns=2, seed=0, weighted=True):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n * n_outputs, n * n_outputs + 2))
    kernel = torch.from_numpy(a @ a.T).reshape(n, n_outputs, n, n_outputs)
    targets = torch.from_numpy(rng.normal(size=(n, n_outputs, n_columns)))
    weight = torch.from_numpy(rng.uniform(0.5, 2, n)) if weighted else None
    return kernel, targets, weight


def slow_dual(kernel, targets, weight, ridge):
    """Minimise the weighted squared error by its normal equations ``(W K + λ) α = W Y``."""
    n, o = targets.shape[:2]
    k, y = kernel.reshape(n * o, -1).numpy(), targets.reshape(n * o, -1).numpy()
    w = np.ones(n) if weight is None else weight.numpy()
    w = np.repeat(w, o)[:, None]
    return np.linalg.solve(w * k + ridge * np.eye(n * o), w * y).reshape(targets.shape)


def slow_scale(kernel, weight):
    diagonal = np.array([np.trace(kernel[i, :, i].numpy()) / kernel.shape[1]
                         for i in range(len(kernel))])  # fmt: skip
    return np.average(diagonal, weights=weight)


@pytest.mark.parametrize("solver", ["cholesky", "eigh"])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_factoring_solves_and_leaves_one_out(solver, n_outputs, weighted):
    kernel, targets, weight = problem(n_outputs=n_outputs, weighted=weighted)
    reg = 0.3
    ours = solvers.factor_and_solve(kernel.clone(), targets, weight, reg, solver, True)
    ridge = reg * slow_scale(kernel, weight)
    np.testing.assert_allclose(ours.dual, slow_dual(kernel, targets, weight, ridge), rtol=1e-9)
    for i in range(len(targets)):  # by brute force
        rest = [j for j in range(len(targets)) if j != i]
        w = None if weight is None else weight[rest]
        if weight is not None and weight[i] > 1:  # one unit of it
            rest, w = list(range(len(targets))), weight.clone()
            w[i] -= 1
        dual = slow_dual(kernel[rest][:, :, rest], targets[rest], w, ridge)
        said = np.einsum("anb,nbc->ac", kernel[i][:, rest].numpy(), dual)
        np.testing.assert_allclose(ours.left_out[i], said, rtol=1e-8)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_loo_chooses_the_ridge_of_the_least_error(n_outputs):
    kernel, targets, weight = problem(n_outputs=n_outputs)
    ours = solvers.factor_and_solve(kernel.clone(), targets, weight, "loo", "cholesky", False)

    def error(reg):
        one = solvers.factor_and_solve(kernel.clone(), targets, weight, reg, "cholesky", True)
        return float((weight[:, None, None] * (targets - one.left_out) ** 2).sum())

    errors = {reg: error(reg) for reg in solvers.RIDGES}
    assert ours.ridge == min(errors, key=errors.get)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_conjugate_gradients_agree_with_factoring(weighted, preconditioned):
    kernel, targets, weight = problem(20, 2, weighted=weighted)
    rows = torch.tensor([3, 7, 11, 12])
    condition = None
    if preconditioned:
        condition = solvers.nystroem(kernel[:, :, rows], rows, weight, 0.5)
    dual, steps = solvers.conjugate_gradients(
        lambda v: torch.einsum("namb,mbc->nac", kernel, v), targets, weight, 0.5, condition, 1e-12
    )
    np.testing.assert_allclose(dual, slow_dual(kernel, targets, weight, 0.5), rtol=1e-7)
    assert steps <= 60


def test_nystroem_of_all_rows_is_the_inverse():
    kernel, targets, weight = problem(8, 2)
    inverse = solvers.nystroem(kernel, torch.arange(8), weight, 2.0)
    root = weight.sqrt().repeat_interleave(2)
    full = kernel.reshape(16, 16) * root * root[:, None] + 2.0 * torch.eye(16)
    expected = torch.linalg.solve(full, targets.reshape(16, -1)).reshape(targets.shape)
    torch.testing.assert_close(inverse(targets), expected, rtol=1e-5, atol=1e-6)


def test_conjugate_gradients_that_do_not_arrive_say_so():
    kernel, targets, _ = problem(20)
    with pytest.raises(ValueError, match="did not reach tol=1e-12 in max_iter=2 iterations"):
        solvers.conjugate_gradients(
            lambda v: torch.einsum("namb,mbc->nac", kernel, v), targets, None, 1e-3, None, 1e-12, 2
        )


def test_the_temperature_has_the_least_cross_entropy():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 3)), np.eye(3)[rng.integers(0, 3, 50)]
    scores = scores + labels
    weight = rng.uniform(0.5, 2, 50)

    def loss(log_t):
        z = scores / np.exp(log_t[0])
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -(weight * (labels * log_p).sum(1)).sum()

    best = np.exp(minimize(loss, [0.0]).x[0])
    args = (torch.from_numpy(a) for a in (scores, labels, weight))
    assert solvers.fit_temperature(*args) == pytest.approx(best, rel=1e-3)
