"""Losses on distributions against integrals over the simplex, and diversity by its formula."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from skensemble import losses
from skensemble.metrics import pairwise_kl


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array, dtype=float))


def integrate(f, n_classes):
    """Integrate over the simplex, by Gauss-Legendre quadrature of each coordinate's share.

    Densities are rough at the borders, so nodes crowd there: twice ``u -> u² (3 - 2u)``.
    """
    node, weight = np.polynomial.legendre.leggauss(60)
    node, weight = (node + 1) / 2, weight / 2
    for _ in range(2):
        node, weight = node**2 * (3 - 2 * node), weight * 6 * node * (1 - node)
    if n_classes == 2:
        return sum(w * f(np.array([a, 1 - a])) for a, w in zip(node, weight, strict=True))
    total = 0.0
    for a, v in zip(node, weight, strict=True):
        for b, w in zip(node * (1 - a), weight * (1 - a), strict=True):
            total += v * w * f(np.array([a, b, 1 - a - b]))
    return total


def log_density(alpha, p):
    norm = math.lgamma(alpha.sum()) - sum(math.lgamma(a) for a in alpha)
    return norm + ((alpha - 1) * np.log(p)).sum()


def dirichlet_density(alpha, p):
    return np.exp(log_density(alpha, p))


def integrated_kl(alpha, beta):
    def f(p):
        own = log_density(alpha, p)
        return np.exp(own) * (own - log_density(beta, p))

    return integrate(f, len(alpha))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_proxy_is_a_divergence_that_was_integrated(n_classes, reverse):
    rng = np.random.default_rng(n_classes)
    mean, precision = rng.dirichlet(np.full(n_classes, 3.0)), 5.0
    beta = precision * mean + 1
    gaps = []
    for s in rng.normal(size=(2, n_classes)):
        alpha = np.exp(s) + 1
        first, second = (alpha, beta) if reverse else (beta, alpha)
        ours = losses.proxy_dirichlet(
            tensor(s[None, None]), tensor(mean[None, None]), tensor([[precision]]), reverse=reverse
        )
        gaps.append(ours.item() - integrated_kl(first, second) / precision)
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-7)
    if not reverse:
        np.testing.assert_allclose(gaps, 0, atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_dirichlet_mean_entropy_and_likelihood_are_integrals(n_classes):
    rng = np.random.default_rng(n_classes)
    s = rng.normal(size=n_classes)
    alpha = np.exp(s) + 1
    mean = [integrate(lambda p, k=k: p[k] * dirichlet_density(alpha, p), n_classes)
            for k in range(n_classes)]  # fmt: skip
    np.testing.assert_allclose(losses.dirichlet_proba(tensor(s)), mean, atol=1e-8)
    # exp(-nll) of one teacher is a density: over all that the teacher may say it adds up to 1
    total = integrate(
        lambda p: np.exp(-losses.dirichlet_nll(
            tensor(np.log(alpha)[None, None]), tensor(p[None, None, None]), smoothing=0.0
        ).item()),
        n_classes,
    )  # fmt: skip
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_member_divergence_is_its_formula():
    logits = np.random.default_rng(0).normal(size=(2, 5, 3, 4))  # (network, sample, member, class)
    p = special.softmax(logits, -1)
    ours = losses.member_divergence(tensor(logits))
    for m in range(2):
        for i in range(5):
            pairs = [(p[m, i, a] * np.log(p[m, i, a] / p[m, i, b])).sum()
                     for a in range(3) for b in range(3) if a != b]  # fmt: skip
            np.testing.assert_allclose(ours[m, i], np.mean(pairs), atol=1e-12)
    np.testing.assert_allclose(float(ours[0].mean()), pairwise_kl(p[0].swapaxes(0, 1)), rtol=1e-10)
    with pytest.raises(ValueError, match="at least 2 members"):
        losses.member_divergence(torch.zeros(5, 1, 3))
